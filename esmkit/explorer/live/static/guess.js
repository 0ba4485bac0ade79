"use strict";
// What the masked-LM head expects at each site: the numbers, and how two states of the page differ.
// Nothing is drawn here.

(function (app) {
  /** Amino acids by chemistry, as in esmkit's map of variants, and rows before which a kind begins. */
  app.LETTERS = "AVILMCFYWGPSTNQHKRDE";
  app.LETTER_GROUPS = [6, 9, 11, 15, 18];

  const COUNT = app.LETTERS.length;

  /** Probabilities of the 20 amino acids at each residue, R x 20; the softmax goes over these alone. */
  app.probabilitiesOf = function (run) {
    const { tokens } = app.live.manifest;
    const columns = Array.from(app.LETTERS, (letter) => tokens.indexOf(letter));
    const size = run.sequence.length;
    const wide = run.logits.length / (size + 2);
    const shares = new Float64Array(size * COUNT);
    for (let i = 0; i < size; i++) {
      const at = (i + 1) * wide;
      let top = -Infinity;
      for (const column of columns) top = Math.max(top, run.logits[at + column]);
      let total = 0;
      columns.forEach((column, a) => (total += shares[i * COUNT + a] = Math.exp(run.logits[at + column] - top)));
      for (let a = 0; a < COUNT; a++) shares[i * COUNT + a] /= total;
    }
    return shares;
  };

  /** Everything that is shown of one state: shares, bits of each site, the residue's own share. */
  app.guessOf = function (run) {
    if (!run.logits) return null;
    const shares = app.probabilitiesOf(run);
    const size = run.sequence.length;
    const bits = new Float64Array(size);
    const own = new Float64Array(size);
    let lost = 0;
    let known = 0;
    for (let i = 0; i < size; i++) {
      let entropy = 0;
      for (let a = 0; a < COUNT; a++) {
        const p = shares[i * COUNT + a];
        if (p > 0) entropy -= p * Math.log2(p);
      }
      bits[i] = Math.log2(COUNT) - entropy;
      const letter = app.LETTERS.indexOf(run.sequence[i]);
      own[i] = letter < 0 ? NaN : shares[i * COUNT + letter];
      if (letter < 0) continue;
      lost -= Math.log(own[i]);
      known += 1;
    }
    return { sequence: run.sequence, shares, bits, own, perplexity: known ? Math.exp(lost / known) : NaN };
  };

  /** Letters of a site, the likeliest first: {letter, share}. */
  app.lettersAt = function (guess, i) {
    const row = guess.shares.subarray(i * COUNT, (i + 1) * COUNT);
    return app.largestOf(row, COUNT, (v) => v).map((a) => ({ letter: app.LETTERS[a], share: row[a] }));
  };

  /** How much of the probability of each site has moved since another state, 0 to 1 (half the sum of
   *  absolute differences); NaN at residues that the other one does not have. */
  app.movedSince = function (now, then) {
    const places = app.alignSequences(then.sequence, now.sequence);
    return Float64Array.from(places, (other, i) => {
      if (other < 0) return NaN;
      let sum = 0;
      for (let a = 0; a < COUNT; a++) sum += Math.abs(now.shares[i * COUNT + a] - then.shares[other * COUNT + a]);
      return sum / 2;
    });
  };
})(esmkitExplorer);
