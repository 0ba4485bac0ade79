"use strict";
// Amino-acid matrices of a head: what its weights alone say. Letters stand in groups that are alike.

(function (app) {
  const GROUPS = ["AVILM", "FWY", "CGP", "STNQ", "DE", "HKR"];
  const ORDER = GROUPS.join("");
  const CELL = 13;
  const arrays = app.remember((name) => app.bytes(name), 8);

  /** The OV matrix of a head, or its QK matrix at a place of the offsets: 20 x 20 values. */
  app.matrixOf = function (model, name, place = null) {
    const kind = place === null ? "ov" : "qk";
    const { index } = model.byName.get(name);
    const count = place === null ? 1 : model.circuits.offsets.length;
    const codes = new Int8Array(arrays(`${model.place}-${kind}`));
    const scale = new Float32Array(arrays(`${model.place}-${kind}-scales`))[index];
    const start = (index * count + (place ?? 0)) * 400;
    return Float32Array.from(codes.subarray(start, start + 400), (code) => code * scale);
  };

  const at = (model, row, column) => 20 * model.circuits.letters.indexOf(row) + model.circuits.letters.indexOf(column);

  /** What a matrix says beyond its rows and columns: how much the pair of letters matters. */
  function spread(values) {
    const [rows, columns] = [new Float64Array(20), new Float64Array(20)];
    let total = 0;
    values.forEach((value, i) => {
      rows[Math.floor(i / 20)] += value / 20;
      columns[i % 20] += value / 20;
      total += value / 400;
    });
    return values.reduce((sum, value, i) => sum + (value - rows[Math.floor(i / 20)] - columns[i % 20] + total) ** 2, 0);
  }

  /** Place of the offset that is shown: that asked for, or where the pair of letters matters most. */
  app.offsetPlace = function (model, name) {
    const { offsets } = model.circuits;
    const asked = offsets.indexOf(app.state.offset);
    if (asked >= 0) return asked;
    const sizes = offsets.map((_, place) => spread(app.matrixOf(model, name, place)));
    return sizes.indexOf(Math.max(...sizes));
  };

  /** A matrix as coloured squares, rows and columns named by letters. */
  function picture(model, values, largest, [row, column], label) {
    const left = 26;
    const side = left + 20 * CELL + 4;
    const svg = app.draw("svg", { viewBox: `0 0 ${side} ${side}`, width: side, role: "img", "aria-label": label });
    [...ORDER].forEach((letter, i) => {
      const middle = left + (i + 0.5) * CELL;
      svg.append(app.draw("text", { x: middle, y: left - 4, class: "letter" }, letter));
      svg.append(app.draw("text", { x: left - 8, y: middle + 3.5, class: "letter" }, letter));
    });
    svg.append(app.draw("text", { x: left + 10 * CELL, y: 9, class: "letter soft" }, `${column} →`));
    svg.append(app.draw("text", { x: 8, y: left + 10 * CELL, class: "letter soft", transform: `rotate(-90 8 ${left + 10 * CELL})` }, `← ${row}`));
    [...ORDER].forEach((one, i) => [...ORDER].forEach((other, j) => {
      const value = values[at(model, one, other)];
      const share = Math.round((100 * Math.abs(value)) / (largest || 1));
      const square = app.draw("rect", { x: left + j * CELL, y: left + i * CELL, width: CELL, height: CELL });
      square.style.fill = `color-mix(in srgb, var(${value > 0 ? "--forward" : "--backward"}) ${share}%, var(--map))`;
      square.append(app.draw("title", {}, `${row} ${one}, ${column} ${other}: ${app.signed(value, 2)}`));
      svg.append(square);
    }));
    let edge = 0;
    for (const group of GROUPS.slice(0, -1)) {
      edge += group.length;
      const place = left + edge * CELL;
      svg.append(app.draw("line", { x1: place, x2: place, y1: left, y2: side - 4, class: "group" }));
      svg.append(app.draw("line", { y1: place, y2: place, x1: left, x2: side - 4, class: "group" }));
    }
    return svg;
  }

  /** The pairs of letters with the largest values, as text. */
  function largestPairs(model, values, arrow) {
    const { letters } = model.circuits;
    const pairs = [...values].map((value, i) => ({ value, text: `${letters[Math.floor(i / 20)]}${arrow}${letters[i % 20]}` }));
    pairs.sort((a, b) => b.value - a.value);
    const said = (some) => some.map(({ text, value }) => `${text} ${app.signed(value, 2)}`).join(", ");
    return `Largest: ${said(pairs.slice(0, 4))}. Smallest: ${said(pairs.slice(-3).reverse())}.`;
  }

  function figure(model, values, largest, axes, title, text, arrow) {
    const box = app.make("figure");
    const caption = app.make("figcaption");
    caption.append(app.make("strong", title), ` ${text} `, app.make("span", largestPairs(model, values, arrow), { class: "muted" }));
    box.append(picture(model, values, largest, axes, `${title} ${largestPairs(model, values, arrow)}`), caption);
    return box;
  }

  const top = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

  /** Both matrices, as a block of a card. */
  app.matricesBlock = function (model, head) {
    const box = app.make("div");
    box.append(app.make("h4", "Amino acids, from its weights alone"));
    if (!model.circuits) {
      box.append(app.make("p", "There are no matrices in this page.", { class: "muted" }));
      return box;
    }
    const ov = app.matrixOf(model, head.name);
    const place = app.offsetPlace(model, head.name);
    const qk = app.matrixOf(model, head.name, place);
    const offset = model.circuits.offsets[place];
    const every = Math.max(...model.circuits.offsets.map((_, one) => top(app.matrixOf(model, head.name, one))));
    const pair = app.make("div", null, { class: "matrices" });
    pair.append(
      figure(model, qk, every, ["query", "key"], "QK, where it looks.",
        `Score of each key for each query ${app.signed(offset)} residues away, before the softmax, less the mean over keys; colours reach ±${app.number(every, 2)}, the largest at any offset.`, "→"),
      figure(model, ov, top(ov), ["source", "target"], "OV, what it writes.",
        `How much looking at one amino acid speaks for each (product with its embedding); colours reach ±${app.number(top(ov), 2)}.`, "→"));
    box.append(pair, app.make("p",
      `Orange is more, blue less. ${head.layer ? "A token is taken to hold its own embedding alone: an approximation in every layer but the first, whose heads read just that." : "In layer 0 that is exactly what the head reads."} Values have 8 bits.`,
      { class: "muted" }));
    return box;
  };
})(esmkitExplorer);
