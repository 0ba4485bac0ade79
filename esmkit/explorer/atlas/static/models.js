"use strict";
// The models of the page, and the state: what is searched, sorted, filtered and open.

(function (app) {
  const floats = (name) => new Float32Array(app.bytes(name));

  /** One model: its heads and the numbers of each. */
  function read(facts, place) {
    const heads = new Map(facts.heads.map((head, index) => [head.name, { ...head, index }]));
    const count = facts.heads.length;
    const values = floats(`${place}-numbers`);
    const numbers = new Map(facts.numbers.map((number, at) => [number.key, { ...number, at }]));
    const shares = floats(`${place}-shares`);
    const effects = floats(`${place}-effects`);
    const sizes = new Uint8Array(app.bytes(`${place}-sizes`));
    const fields = app.data.fields;
    return {
      ...facts, place, byName: heads, numberByKey: numbers,

      /** A number of a head: value, low, high and q; NaN where there is none. */
      number(key, name) {
        const number = numbers.get(key);
        const head = heads.get(name);
        const part = (row) => (number && head ? values[(number.at * 4 + row) * count + head.index] : NaN);
        return { value: part(0), low: part(1), high: part(2), q: part(3) };
      },

      /** Shares of the weight between residues at each offset. */
      profile(name) {
        const width = facts.offsets.length;
        return shares.subarray(heads.get(name).index * width, (heads.get(name).index + 1) * width);
      },

      /** The effects of a head, one for each property; `size` is undefined where it is insufficient. */
      effectsOf(name) {
        const { index } = heads.get(name);
        return facts.properties.map((property, at) => {
          const row = { ...property, size: app.data.sizes[sizes[at * count + index]], rank: sizes[at * count + index] };
          fields.forEach((field, f) => { row[field] = effects[(at * fields.length + f) * count + index]; });
          return row;
        });
      },
    };
  }

  app.models = app.data.models.map(read);
  app.compared = app.models.length > 1;
  const [first, second] = app.models;

  // Heads by name, those of the first model first; a model of another shape may have more.
  app.names = [...new Set(app.models.flatMap((model) => model.heads.map((head) => head.name)))];
  app.order = new Map(app.names.map((name, place) => [name, place]));

  app.heads = new Map(first.heads.map((head) => [head.name, head])); // those of the grid
  const example = first.examples[0];
  app.gridOf = {
    heads: first.heads, pictures: "0-thumbnails", section: "card-section",
    side: example ? Math.min(example.sequence.length, 64) : 1,
    words: `Colours and words are those of the labels${app.compared ? ` of ${first.name}` : ""}.` +
      (example ? ` Pictures are maps of ${example.id}, ${example.sequence.length} residues: queries from top to bottom, keys from left to right.` : ""),
  };

  /** What a number is called, with its unit. */
  app.numberOf = (key) => first.numberByKey.get(key) || (second && second.numberByKey.get(key));
  app.unit = (number) => (number.unit || "").replace(/-(?=\d)/g, "−");
  const keys = [...new Set(app.models.flatMap((model) => model.numbers.map((number) => number.key)))];
  app.keys = keys;

  const start = ["property:long-range contact", "property:helix partner"].find((key) => keys.includes(key)) || keys[0];
  app.state = {
    head: first.heads[0].name, find: "", label: "", differ: false, number: start, least: null, most: null,
    sort: "number", down: true, chain: 0, apart: "auto", offset: null, all: false,
  };

  // ------------------------------------------------------------------------------- choosing

  // A change or a difference has a sign; an effect without enough proteins is called insufficient
  const isProperty = (number) => number.key.startsWith("property:");
  const isChange = (number) => isProperty(number) || number.key.endsWith("_change");

  app.signed = (value, digits = 3) => (value > 0 ? "+" : "") + app.number(value, digits);

  /** A value of a number as text. */
  app.value = function (value, number, digits = 3) {
    if (Number.isNaN(value) && isProperty(number)) return "insufficient";
    return isChange(number) ? app.signed(value, digits) : app.number(value, digits);
  };

  app.interval = ({ low, high }) =>
    Number.isNaN(low) || Number.isNaN(high) ? "" : `[${app.number(low, 2)}, ${app.number(high, 2)}]`;

  app.qText = (q) => (Number.isNaN(q) ? "" : q < 1e-9 ? "q < 1e−9" : `q = ${app.number(q, 1)}`);

  /** The label that a filter asks for: one, or all of a family (family:pair). */
  function labelled(head) {
    const { label } = app.state;
    if (!label) return true;
    if (!head) return false;
    return label.startsWith("family:") ? head.family === label.slice(7) : head.label === label.slice(6);
  }

  /** The difference of the second model and the first. */
  app.difference = (key, name) => second.number(key, name).value - first.number(key, name).value;

  /** Names of heads that search and filters leave, in order. */
  app.found = function () {
    const { find, differ, number, least, most } = app.state;
    const words = find.toLowerCase().split(/\s+/).filter(Boolean);
    return app.names.filter((name) => {
      const heads = app.models.map((model) => model.byName.get(name));
      const text = heads.map((head) => (head ? `${name} ${head.label} ${head.evidence}` : name)).join(" ").toLowerCase();
      if (!words.every((word) => text.includes(word))) return false;
      if (!heads.some(labelled)) return false;
      if (differ && app.compared && (heads[0] || {}).label === (heads[1] || {}).label) return false;
      if (least === null && most === null) return true;
      const { value } = (first.byName.has(name) ? first : second).number(number, name);
      return value >= (least ?? -Infinity) && value <= (most ?? Infinity);
    }).sort(compare);
  };

  /** What the table is sorted by; undefined and NaN come last in both directions. */
  function rank(name) {
    const { sort, number } = app.state;
    if (sort === "head") return app.order.get(name);
    if (sort === "label" || sort === "label2") return (app.models[sort === "label" ? 0 : 1].byName.get(name) || {}).label;
    if (sort === "difference") return app.difference(number, name);
    return (sort === "number2" ? second : first).number(sort.startsWith("number") ? number : sort, name).value;
  }

  function compare(one, other) {
    const [a, b] = [rank(one), rank(other)];
    const missing = (value) => value === undefined || Number.isNaN(value);
    if (missing(a) || missing(b)) return missing(a) - missing(b) || app.order.get(one) - app.order.get(other);
    const way = a < b ? -1 : a > b ? 1 : 0;
    return (app.state.down ? -way : way) || app.order.get(one) - app.order.get(other);
  }
})(esmkitExplorer);
