"use strict";
// The large map of the open head: colours, threshold, true contacts, hovering, picking, brushing.

(function (app) {
  let plot = null;
  let largest = 1; // of the values that are shown: the top of the threshold
  let cut = 1; // where the colours end
  let block = 1;

  /** Find the largest value, and where colours end; of corrected maps among pairs six or more apart, for the diagonal is larger. */
  function findLargest() {
    const values = app.shown();
    const size = app.residues;
    const least = app.state.apc ? Math.min(6, size - 1) : 0;
    let top = 0;
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) {
        const value = values[i * size + j];
        if (value > top && Math.abs(i - j) >= least) top = value;
      }
    largest = top || 1;
    // Colours end at the (R/2)-th largest value, from a histogram: sorting a million takes too long.
    const bins = new Uint32Array(4096);
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) {
        const value = values[i * size + j];
        if (value > 0 && Math.abs(i - j) >= least) bins[Math.min(4095, Math.floor((4096 * value) / largest))]++;
      }
    let bin = 4095;
    for (let seen = bins[bin]; bin > 0 && seen < size / 2; ) seen += bins[--bin];
    cut = (largest * (bin + 1)) / 4096;
  }

  function paint() {
    if (!plot) return;
    block = app.blockFor(plot);
    const { threshold, scale, brush } = app.state;
    const values = app.shown();
    const palette = app.palette();
    const size = app.residues;
    const across = Math.ceil(size / block);
    const pixels = new Uint32Array(across * across);
    for (let row = 0; row < across; row++) {
      for (let column = 0; column < across; column++) {
        // The largest of a block: a mean would make single links fade away.
        let value = NaN;
        let inside = false;
        for (let i = row * block; i < Math.min(size, (row + 1) * block); i++)
          for (let j = column * block; j < Math.min(size, (column + 1) * block); j++) {
            const one = values[i * size + j];
            if (!(one <= value) && one === one) value = one;
            inside ||= !brush || app.inBrush(i, j);
          }
        let colour = app.UNKNOWN;
        if (value === value) {
          const share = value < threshold || value <= 0 ? 0 : Math.min(1, value / cut);
          colour = palette[Math.round(255 * (scale === "sqrt" ? Math.sqrt(share) : share))];
        }
        pixels[row * across + column] = inside ? colour : ((colour & 0x00ffffff) | 0x48000000) >>> 0;
      }
    }
    app.showImage("map-image", pixels, across, across, block);
  }

  function paintBar() {
    const bar = app.byId("bar");
    app.drawBar(bar);
    const what = app.state.apc ? "corrected weight (both directions, less the average product)" : "attention weight, 0 to 1";
    const root = app.state.scale === "sqrt" ? "square-root" : "linear";
    const below = app.state.apc ? "; values below 0 as 0" : "";
    const hidden = app.state.threshold > 0 ? `; below ${app.number(app.state.threshold)} not drawn` : "";
    app.byId("bar-high").textContent = `≥ ${app.number(cut)}`;
    app.byId("bar-text").textContent = `${what}, ${root} scale${below}${hidden}`;
    bar.setAttribute("aria-label", `Colours from 0 to ${app.number(cut)} and more: ${what}, ${root} scale`);
  }

  function overlay() {
    const x = [];
    const y = [];
    if (app.structure && app.state.truth) {
      for (let i = 0; i < app.residues; i++)
        for (let j = i + 6; j < app.residues; j++)
          if (app.isContact(i, j)) {
            x.push(j + 1, i + 1);
            y.push(i + 1, j + 1);
          }
    }
    app.fill("map-truth", { x, y });
  }

  function sizeMarks() {
    const cell = plot.frame_width / Math.abs(plot.x_range.end - plot.x_range.start);
    const size = app.clamp(0.85 * cell, 2.5, 22);
    app.part("map-truth-glyph").glyph.setv({ size: { value: size }, line_width: { value: size < 4 ? 0.7 : 1.3 } });
  }

  function facts() {
    const head = app.heads.get(app.state.head);
    app.byId("map-title").textContent = `${head.name}${head.label ? `: ${head.label}` : ""}`;
    const rows = [
      ["mean weight on BOS", app.percent(head.bos)],
      ["on EOS", app.percent(head.eos)],
      ["mean distance", `${app.number(head.distance, 2)} residues`],
    ];
    if (app.structure) {
      rows.push(
        ["weight on true contacts*", `${app.percent(head.on_contacts)}, by chance ${app.percent(head.background)}`],
        ["long-range P@L, P@L/2**", `${app.number(head.precision, 2)}, ${app.number(head.precision_half, 2)}`]);
    }
    app.byId("head-facts").replaceChildren(
      ...rows.map(([name, value]) => {
        const pair = app.make("div");
        pair.append(app.make("dt", name), app.make("dd", value));
        return pair;
      }));
    const notes = [];
    if (head.evidence) notes.push(`Profile: ${head.evidence}.`);
    if (app.structure) notes.push("* of that between residues six or more apart; chance is their share of contacts. **\u00a0of the map made symmetric, less what its rows and columns have in common (APC, average product correction); P@L is explained beside the contacts.");
    app.byId("head-evidence").textContent = notes.join(" ");
  }

  function thresholdText() {
    const values = app.shown();
    const { threshold, separation, apc } = app.state;
    const size = app.residues;
    let kept = 0, mass = 0, total = 0, all = 0, right = 0, judged = 0;
    for (let i = 0; i < size; i++)
      for (let j = apc ? i + 1 : 0; j < size; j++) {
        const value = values[i * size + j];
        if (!(value === value)) continue;
        all++;
        total += value;
        if (value < threshold) continue;
        kept++;
        mass += value;
        if (threshold > 0 && Math.abs(i - j) >= Math.max(6, separation) && !Number.isNaN(app.distance(i, j))) {
          judged++;
          if (app.isContact(i, j)) right++;
        }
      }
    const count = (n) => n.toLocaleString("en");
    let text = threshold > 0
      ? `${count(kept)} of ${count(all)} pairs reach ${app.number(threshold)}`
      : `All ${count(all)} pairs are shown`;
    if (!apc && threshold > 0) text += ` and hold ${app.percent(total ? mass / total : 0)} of the weight between residues`;
    if (app.structure && threshold > 0) {
      const least = Math.max(6, separation);
      text += judged
        ? `; of those ${least} or more apart, ${count(right)} of ${count(judged)} (${app.percent(right / judged)}) are true contacts`
        : `; none of them is ${least} or more apart`;
    }
    app.byId("threshold-text").textContent = `${text}.`;
  }

  // ------------------------------------------------------------------------ pairs and picking

  /** What is known about a pair, a line each. */
  app.pairLines = function (i, j) {
    const lines = [`query ${app.describe(i)}`, `key ${app.describe(j)}`];
    const weight = app.mapOf(app.state.head).weights[i * app.residues + j];
    lines.push(`weight ${app.number(weight)}${Number.isNaN(weight) ? " (never in one window)" : ""}`);
    if (app.state.apc) lines.push(`corrected ${app.number(app.corrected(app.state.head)[i * app.residues + j])}`);
    lines.push(`separation ${j - i > 0 ? "+" : ""}${j - i}`.replace("-", "−"));
    if (app.structure) {
      const distance = app.distance(i, j);
      lines.push(
        Number.isNaN(distance)
          ? "distance not known"
          : `distance ${distance.toFixed(1)} Å${i === j ? "" : app.isContact(i, j) ? ", a contact" : ", no contact"}`);
    }
    if (app.data.contacts && i !== j) lines.push(`contact head's score ${app.probability(i, j).toFixed(2)}`);
    if (app.moreOfPair) lines.push(...app.moreOfPair(i, j));
    return lines;
  };

  function showPick() {
    const { query, key } = app.state;
    const card = app.byId("pair");
    card.replaceChildren(app.make("h3", query === null ? "No pair picked" : `${app.residue(query)} looks at ${app.residue(key)}`));
    if (query !== null) {
      const list = app.make("ul");
      for (const line of app.pairLines(query, key)) list.append(app.make("li", line));
      card.append(list);
    } else card.append(app.make("p", "Pick a cell of a map, an arc, a residue or a row of the table."));
    for (const name of ["map", "contacts"]) {
      const [across, down] = [app.part(`${name}-query`), app.part(`${name}-key`)];
      if (!across) continue;
      across.location = query === null ? null : query + 1;
      down.location = query === null ? null : key + 1;
      app.fill(`${name}-pick`, query === null ? { x: [], y: [] } : { x: [key + 1], y: [query + 1] });
    }
  }

  function hover(event) {
    const [i, j] = [app.at(event.y), app.at(event.x)];
    app.tip(i === null || j === null ? null : app.pairLines(i, j));
  }

  function pick(event) {
    const [i, j] = [app.at(event.y), app.at(event.x)];
    if (i !== null && j !== null) app.set({ query: i, key: j });
  }
  app.hoverPair = hover;
  app.pickPair = pick;

  // ---------------------------------------------------------------------------------- brushing

  /** Residues from 0 that an interval of positions covers. */
  app.interval = function (a, b) {
    const [low, high] = a < b ? [a, b] : [b, a];
    return [app.clamp(Math.round(low), 1, app.residues) - 1, app.clamp(Math.round(high), 1, app.residues) - 1];
  };

  function brushed(event) {
    const g = event.geometry;
    if (g.type !== "rect" || event.final === false) return;
    const [k0, k1] = app.interval(g.x0, g.x1);
    const [q0, q1] = app.interval(g.y0, g.y1);
    app.set({ brush: { q0, q1, k0, k1, either: false } });
  }

  function showBrush() {
    const b = app.state.brush;
    app.part("map-brush").setv(
      b && !b.either
        ? { visible: true, left: b.k0 + 0.5, right: b.k1 + 1.5, top: b.q1 + 1.5, bottom: b.q0 + 0.5 }
        : { visible: false });
    // An end of the protein is an open end: its field stays empty
    const open = { q0: 0, q1: app.residues - 1, k0: 0, k1: app.residues - 1 };
    for (const [id, end] of Object.entries(open)) {
      app.byId(id).value = b && !b.either && b[id] !== end ? b[id] + 1 : "";
      app.byId(id).max = app.residues;
    }
    const between = (from, to) =>
      from === 0 && to === app.residues - 1 ? "all"
        : from === 0 ? `up to ${app.residue(to)}`
          : to === app.residues - 1 ? `from ${app.residue(from)} on`
            : `${app.residue(from)} to ${app.residue(to)}`;
    app.byId("brush-text").textContent = !b
      ? "No region is brushed: arcs and table are about the whole map."
      : b.either
        ? `Brushed: links that begin or end in ${app.residue(b.q0)} to ${app.residue(b.q1)}.`
        : `Brushed: queries ${between(b.q0, b.q1)}, keys ${between(b.k0, b.k1)}.`;
  }

  function brushForm(event) {
    event.preventDefault();
    const number = (id, none) => {
      const value = parseInt(app.byId(id).value, 10);
      return Number.isNaN(value) ? none : app.clamp(value, 1, app.residues);
    };
    const [q0, q1] = app.interval(number("q0", 1), number("q1", app.residues));
    const [k0, k1] = app.interval(number("k0", 1), number("k1", app.residues));
    app.set({ brush: { q0, q1, k0, k1, either: false } });
  }

  // ---------------------------------------------------------------------------------- keyboard

  function keys(event) {
    const step = event.shiftKey ? 10 : 1;
    const moves = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] };
    const { query, key } = app.state;
    if (moves[event.key]) {
      const [dq, dk] = moves[event.key];
      const inside = (value) => app.clamp(value, 0, app.residues - 1);
      app.set({ query: inside((query ?? 0) + dq), key: inside((key ?? 0) + dk) });
    } else if (event.key === "+" || event.key === "=") app.zoom(plot, 0.5, (key ?? 0) + 1, (query ?? 0) + 1);
    else if (event.key === "-") app.zoom(plot, 2, (key ?? 0) + 1, (query ?? 0) + 1);
    else if (event.key === "0") app.zoom(plot, Infinity, 1, 1);
    else if (event.key === "Escape") app.set({ brush: null });
    else return;
    event.preventDefault();
  }

  // ----------------------------------------------------------------------------------- controls

  const slider = app.byId("threshold");
  const number = app.byId("threshold-number");

  function showThreshold() {
    slider.value = Math.round(1000 * Math.sqrt(Math.min(1, app.state.threshold / largest)));
    number.value = Number(app.state.threshold.toPrecision(3));
    slider.setAttribute("aria-valuetext", app.number(app.state.threshold));
  }

  function controls() {
    const choice = app.byId("head");
    for (const head of app.data.heads) choice.append(new Option(app.headWords(head), head.name));
    choice.addEventListener("change", () => app.set({ head: choice.value }));
    app.follow(["head"], () => (choice.value = app.state.head));
    app.follow(["summaries"], () => {
      for (const option of choice.options) option.textContent = app.headWords(app.heads.get(option.value));
    });
    app.follow(["apc", "truth", "scale"], () => {
      app.byId("apc").checked = app.state.apc;
      app.byId("truth").checked = app.state.truth;
      app.byId("scale").value = app.state.scale;
    });
    slider.addEventListener("input", () => app.set({ threshold: largest * (slider.value / 1000) ** 2 }));
    number.addEventListener("change", () => app.set({ threshold: Math.max(0, Number(number.value) || 0) }));
    app.byId("apc").addEventListener("change", (event) => app.set({ apc: event.target.checked, threshold: 0 }));
    app.byId("truth").addEventListener("change", (event) => app.set({ truth: event.target.checked }));
    app.byId("scale").addEventListener("change", (event) => app.set({ scale: event.target.value }));
    app.byId("brush").addEventListener("submit", brushForm);
    app.byId("clear-brush").addEventListener("click", () => app.set({ brush: null }));
    app.byId("map").addEventListener("keydown", keys);
  }

  function ranges() {
    sizeMarks();
    if (app.blockFor(plot) !== block) paint();
  }

  function ofStructure() {
    app.byId("truth-label").hidden = !app.structure;
    app.byId("map-strips").hidden = !app.structure;
    app.strips("map");
  }

  function label() {
    const what = app.state.apc ? "symmetric and corrected" : "queries from top to bottom, keys from left to right";
    app.byId("map").setAttribute("aria-label", `Attention map of ${app.state.head}, ${what}. Arrow keys move the picked pair.`);
  }

  app.startMap = function () {
    plot = app.part("map");
    controls();
    findLargest();
    app.follow(["run", "head", "apc"], findLargest);
    app.follow(["run", "head", "apc", "threshold", "scale", "brush"], paint);
    app.follow(["run", "head", "apc", "threshold", "scale"], paintBar);
    app.follow(["run", "head", "summaries"], facts);
    app.follow(["run", "head", "apc", "threshold"], showThreshold);
    app.follow(["run", "head", "apc", "threshold", "separation"], thresholdText);
    app.follow(["run", "head", "apc"], label);
    app.follow(["run", "truth"], overlay);
    app.follow(["run"], ofStructure);
    app.follow(["run"], sizeMarks);
    app.follow(["run", "query", "key", "head", "apc"], showPick);
    app.follow(["run", "brush"], showBrush);
    app.followTheme(() => {
      app.strips("map");
      paint();
      paintBar();
    });
    app.on("map", "mousemove", hover);
    app.on("map", "mouseleave", () => app.tip(null));
    app.on("map", "tap", pick);
    app.on("map", "selectiongeometry", brushed);
    for (const range of [plot.x_range, plot.y_range]) range.change.connect(ranges);
    for (const step of [facts, showThreshold, thresholdText, label, ofStructure, overlay, showBrush, sizeMarks]) step();
  };
  app.showPick = showPick;
})(esmkitExplorer);
