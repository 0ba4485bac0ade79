"use strict";
// A sequence as a reader types or pastes it, read by the rules of esmkit's own reader and told in its
// words; and how two sequences lie on each other. No text from here is ever read as HTML.

(function (app) {
  const AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY";
  const ALLOWED = new Set(`${AMINO_ACIDS}XBUZO`);
  const GAPS = new Set("-.~\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d");
  const LONGEST_TEXT = 1_000_000;
  app.AMINO_ACIDS = AMINO_ACIDS;
  app.mostResidues = app.data.manifest ? app.data.manifest.mostResidues : 0;

  const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
  app.count = count;

  /** A letter as it can be shown: what is not plain ASCII by its code. */
  const shown = (letter) =>
    /[!-~]/.test(letter) ? `'${letter}'` : `U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

  function whatItIs(letter) {
    if (GAPS.has(letter)) return ["a gap, and ESM-2 reads unaligned sequences", "remove the gaps"];
    const what = "not an amino acid esmkit knows";
    if (letter === "*") return ["a stop inside the sequence", "use X, or cut the sequence there"];
    if (/[:/|]/.test(letter)) return [`${what} (does it join chains? ESM-2 reads one chain at a time)`, "give one chain"];
    if (letter === ">") return [`${what} (it is the mark of a FASTA header)`, "give one record, its header on a line of its own"];
    if (letter === "<") return [`${what} (is it a token such as <mask>?)`, "give residues alone, with X for one that is unknown"];
    if (/[,;]/.test(letter)) return [`${what} (are these several sequences?)`, "give one"];
    if (/[()[\]{}]/.test(letter)) return [`${what} (is it a modified residue, written out?)`, "write the letter of its parent, or X"];
    if (/["'`]/.test(letter)) return [`${what} (it is a quotation mark)`, "remove it"];
    if (/\p{L}/u.test(letter) || letter === "?") return [what, "use X"];
    return [/[\p{C}]/u.test(letter) ? `${what} (it cannot be seen)` : what, "remove it"];
  }

  /**
   * Read what was typed: residues, or one FASTA record.
   *
   * Returns {sequence, header, notes: what was done to it} or {error: what is wrong, and the remedy}.
   */
  app.readSequence = function (text) {
    if (text.length > LONGEST_TEXT)
      return { error: `the text has ${count(text.length, "character")} and no protein has nearly as many; give one sequence` };
    let [header, body] = ["", text.replace(/^[\s\uFEFF]+/, "")];
    if (body.startsWith(">")) {
      const end = body.search(/[\r\n]/);
      header = (end < 0 ? body : body.slice(0, end)).slice(1).trim();
      body = end < 0 ? "" : body.slice(end);
      const records = 1 + (body.match(/[\r\n][ \t]*>/g) || []).length;
      if (records > 1) return { error: `the text holds ${records} FASTA records; give one` };
    }
    const notes = [];
    const digits = (body.match(/[0-9]/g) || []).length;
    if (digits) notes.push(`${count(digits, "digit")} of a numbered listing removed`);
    let letters = body.replace(/[\s0-9]+/g, "");
    if (letters.endsWith("*")) {
      letters = letters.slice(0, -1);
      notes.push("the stop at its end removed");
    }
    if (!letters) return { error: "the sequence is empty; type or paste residues, such as MKTVRQERLK" };
    if (/[a-z]/.test(letters)) {
      letters = letters.replace(/[a-z]/g, (letter) => letter.toUpperCase());
      notes.push("small letters read as capitals");
    }
    const wrong = [];
    let place = 0;
    for (const letter of letters) {
      place++;
      if (!ALLOWED.has(letter)) wrong.push([letter, place]);
    }
    if (wrong.length) {
      const [letter, at] = wrong[0];
      const [what, remedy] = whatItIs(letter);
      const more = wrong.length > 1 ? ` (and ${(wrong.length - 1).toLocaleString("en")} more such letters)` : "";
      return { error: `residue ${at.toLocaleString("en")}: ${shown(letter)} is ${what}${more}; ${remedy}` };
    }
    if (letters.length > app.mostResidues)
      return { error: `the sequence has ${count(letters.length, "residue")} and this page reads at most ${app.mostResidues.toLocaleString("en")}; cut it, or make a page for it with esmkit explore, which reads long proteins in windows` };
    return { sequence: letters, header, notes };
  };

  /** For each residue of `now` the residue of `before` that it is, or -1: position by position where
   *  they are as long as each other, else by what they have in common at their beginning and end. */
  app.alignSequences = function (before, now) {
    if (before.length === now.length) return Int32Array.from({ length: now.length }, (_, i) => i);
    const shorter = Math.min(before.length, now.length);
    let first = 0;
    while (first < shorter && before[first] === now[first]) first++;
    let last = 0;
    while (last < shorter - first && before[before.length - 1 - last] === now[now.length - 1 - last]) last++;
    return Int32Array.from({ length: now.length }, (_, i) =>
      i < first ? i : i >= now.length - last ? i + before.length - now.length : -1);
  };

  /** What makes one sequence of another, in a few words: "K6A", "2 residues inserted after L5". */
  app.changeWords = function (before, now) {
    if (before === now) return "the same sequence";
    if (before.length === now.length) {
      const changed = app.mutations(before, now);
      if (changed.length <= 3) return changed.join(", ");
      return changed.length > now.length / 2 ? "another sequence" : `${changed.length} residues changed`;
    }
    const places = app.alignSequences(before, now);
    const kept = places.filter((place) => place >= 0).length;
    if (2 * kept < Math.min(before.length, now.length)) return `another sequence, ${count(now.length, "residue")}`;
    const first = places.findIndex((place, i) => place !== i);
    const at = first < 0 ? now.length : first;
    const [lost, gained] = [before.length - kept, now.length - kept];
    const after = at ? ` after ${before[at - 1]}${at}` : " before the first";
    if (!lost) return `${count(gained, "residue")} inserted${after}`;
    if (!gained) return `${count(lost, "residue")} deleted${after}`;
    return `${count(lost, "residue")} replaced by ${gained}${after}`;
  };

  /** Substitutions between two sequences of one length: "K6A". */
  app.mutations = (before, now) =>
    [...now].flatMap((letter, i) => (letter === before[i] ? [] : [`${before[i]}${i + 1}${letter}`]));
})(esmkitExplorer);
