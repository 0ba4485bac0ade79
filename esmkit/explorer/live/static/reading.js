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

  /** Text as it can be shown: signs that steer a terminal or the direction of writing are left out. */
  app.visible = (text) => text.replace(/[\p{C}]/gu, " ").replace(/\s+/g, " ").trim();

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

  const RARE = /[BJOUXZ]/g;
  const CODES = new Set("ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split(" "));

  /** What is odd about letters that can be read, as esmkit's own reader remarks on them. */
  function remarkOn(letters) {
    if (letters.length >= 30 && /^[ACGTUN]*$/.test(letters))
      return "it is of A, C, G, T, U and N alone, like DNA or RNA; ESM-2 reads proteins, so translate it first";
    const codes = letters.match(/.{1,3}/g);
    if (letters.length % 3 === 0 && codes.length >= 3 && codes.every((code) => CODES.has(code)))
      return "it is of three-letter codes such as MetLysThr, read as three residues each; write one letter for each";
    const rare = (letters.match(RARE) || []).length;
    if (rare >= 3 && rare > 0.1 * letters.length)
      return "over a tenth of it is B, O, U, X or Z, letters for residues that are rare or not known; check that it is a sequence";
    return null;
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
    const odd = remarkOn(letters);
    if (odd) notes.push(odd);
    return { sequence: letters, header, notes };
  };

  /** For each residue of `now` the residue of `before` that it is, or -1: position by position where
   *  they are as long as each other, else with one gap, where it keeps most residues the same. */
  app.alignSequences = function (before, now) {
    const extra = now.length - before.length;
    if (extra === 0) return Int32Array.from({ length: now.length }, (_, i) => i);
    const [short, long, gap] = extra > 0 ? [before, now, extra] : [now, before, -extra];
    let same = 0; // with the gap before the first residue, then moved to the right
    for (let i = 0; i < short.length; i++) if (short[i] === long[i + gap]) same++;
    let [best, at] = [same, 0];
    for (let i = 0; i < short.length; i++) {
      same += (short[i] === long[i]) - (short[i] === long[i + gap]);
      if (same >= best) [best, at] = [same, i + 1];
    }
    return Int32Array.from({ length: now.length }, (_, i) =>
      i < at ? i : extra < 0 ? i + gap : i < at + gap ? -1 : i - gap);
  };

  /** Whether two sequences have enough in common to be compared residue by residue: half of the shorter, and
   *  of a few residues, which are the same by chance, a third of the longer. */
  app.related = function (before, now) {
    const places = app.alignSequences(before, now);
    const same = places.filter((place, i) => place >= 0 && before[place] === now[i]).length;
    if (same < 5 && 3 * same < Math.max(before.length, now.length)) return false;
    return 2 * same >= Math.min(before.length, now.length);
  };

  /** What makes one sequence of another, in a few words: "K6A", "2 residues inserted after L5". */
  app.changeWords = function (before, now) {
    if (before === now) return "the same sequence";
    if (!app.related(before, now)) return `another sequence, ${count(now.length, "residue")}`;
    if (before.length === now.length) {
      const changed = app.mutations(before, now);
      if (changed.length <= 3) return changed.join(", ");
      return `${changed.length} residues changed`;
    }
    const places = app.alignSequences(before, now);
    const extra = now.length - before.length;
    const first = places.findIndex((place, i) => place !== i);
    const at = first < 0 ? now.length : first;
    const where = at ? ` after ${before[at - 1]}${at}` : " before the first";
    const changed = places.filter((place, i) => place >= 0 && before[place] !== now[i]).length;
    return `${count(Math.abs(extra), "residue")} ${extra > 0 ? "inserted" : "deleted"}${where}${changed ? `, ${changed} changed` : ""}`;
  };

  /** Substitutions between two sequences of one length: "K6A". */
  app.mutations = (before, now) =>
    [...now].flatMap((letter, i) => (letter === before[i] ? [] : [`${before[i]}${i + 1}${letter}`]));
})(esmkitExplorer);
