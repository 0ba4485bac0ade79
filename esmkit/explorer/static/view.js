"use strict";
// The view of the explorer in its address: #head=L5H4&query=14&key=2. Residues are numbered from 1,
// as everywhere on the page.

(function (app) {
  const { number, whole, oneOf, flag } = app.parse;
  const residue = (text) => {
    const value = whole(1, app.residues)(text);
    return value === undefined ? undefined : value - 1;
  };

  /** Residues of a brushed region, q0-q1,k0-k1; or a-b of links that begin or end there. */
  function region(text) {
    const found = /^(\d+)-(\d+)(?:,(\d+)-(\d+))?$/.exec(text);
    if (!found) return undefined;
    const ends = found.slice(1).filter((end) => end !== undefined).map(residue);
    if (ends.includes(undefined)) return undefined;
    const [q0, q1, k0 = q0, k1 = q1] = ends;
    return q0 > q1 || k0 > k1 ? undefined : { q0, q1, k0, k1, either: ends.length === 2 };
  }
  const regionText = ({ q0, q1, k0, k1, either }) =>
    `${q0 + 1}-${q1 + 1}` + (either ? "" : `,${k0 + 1}-${k1 + 1}`);

  app.fields = {
    head: ["head", (text) => (app.heads.has(text) ? text : undefined), String],
    query: ["query", residue, (value) => value + 1],
    key: ["key", residue, (value) => value + 1],
    threshold: ["threshold", number(0, Infinity), (value) => Number(value.toPrecision(4))],
    symmetric: ["apc", flag, (value) => (value ? "yes" : "no")],
    contacts: ["truth", flag, (value) => (value ? "yes" : "no")],
    colours: ["scale", oneOf("linear", "sqrt"), String],
    rows: ["top", (text) => (["25", "50", "100", "250"].includes(text) ? Number(text) : undefined), String],
    separation: ["separation", whole(0, 1e6), String],
    farthest: ["farthest", whole(0, 1e6), String],
    region: ["brush", region, regionText],
  };
  app.always = ["head", "query", "key"];

  /** Take over what an address asks for: the head first, for it may bring a pair of its own. */
  app.take = function ({ head, ...rest }) {
    if (head !== undefined) app.set({ head });
    app.set(rest);
  };
})(esmkitExplorer);
