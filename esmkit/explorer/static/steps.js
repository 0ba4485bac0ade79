"use strict";
// What one head does for one query, step by step, with the numbers of the reference encoder.

(function (app) {
  const { headWidth, width, heads: perLayer } = app.data.model;
  const MOST = 5; // values that are shown one by one

  /** The window in which a residue is farthest from the ends. */
  function windowOf(i) {
    const room = (w) => Math.min(i - w.start, w.start + w.tokens - 3 - i);
    return app.windows.reduce((best, w) => (room(w) > room(best) ? w : best));
  }

  const tokenName = (window, token) =>
    token === 0 ? "BOS" : token === window.tokens - 1 ? "EOS" : app.residue(window.start + token - 1);

  const largest = (...lists) => lists.reduce((top, list) => list.reduce((t, v) => Math.max(t, Math.abs(v)), top), 1e-12);

  function colourOf(share) {
    const to = share < 0 ? [0, 114, 178] : [213, 94, 0]; // blue below 0, vermilion above
    const from = app.isDark() ? [29, 30, 38] : [255, 255, 255];
    const part = Math.min(1, Math.abs(share));
    return `rgb(${from.map((low, c) => Math.round(low + (to[c] - low) * part)).join(",")})`;
  }

  /** A vector as a row of cells, with its name and what it sums up to. */
  function strip(name, values, limit, note = "") {
    const row = app.make("div", null, { class: "strip" });
    row.append(app.make("span", name, { class: "strip-name" }));
    const low = values.reduce((a, b) => Math.min(a, b), Infinity);
    const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const about = `${name}: ${values.length} numbers from ${app.number(low)} to ${app.number(high)}`;
    const canvas = app.make("canvas", null, { width: values.length, height: 1, role: "img", "aria-label": about, class: values.length > 64 ? "wide" : "" });
    canvas.style.setProperty("--cells", values.length);
    const context = canvas.getContext("2d");
    values.forEach((value, i) => {
      context.fillStyle = colourOf(value / limit);
      context.fillRect(i, 0, 1, 1);
    });
    canvas.addEventListener("pointermove", (event) => {
      const i = Math.floor((event.offsetX / canvas.clientWidth) * values.length);
      if (i >= 0 && i < values.length) app.tip([`${name}, number ${i + 1} of ${values.length}`, app.number(values[i])]);
    });
    canvas.addEventListener("pointerleave", () => app.tip(null));
    row.append(canvas, app.make("span", note, { class: "strip-note" }));
    return row;
  }

  const put = (number, ...parts) => app.byId(`step-${number}`).replaceChildren(...parts);
  const say = (text) => app.make("p", text);

  /** Everything the panel shows, as numbers. */
  app.steps = function (headName, query, key) {
    const head = app.heads.get(headName);
    const vectors = app.vectors(headName);
    const window = windowOf(query);
    const token = query - window.start + 1;
    const inside = key >= window.start && key < window.start + window.tokens - 2;
    const keyToken = inside ? key - window.start + 1 : token;
    const take = (what, t) => vectors[what].subarray((window.first + t) * headWidth, (window.first + t + 1) * headWidth);
    const q = take("query", token);
    const k = take("key", keyToken);
    const scores = app.scoresOf(vectors, window, token);
    const weights = app.softmax(scores);
    const mix = new Float64Array(headWidth);
    for (let s = 0; s < window.tokens; s++) {
      const value = take("value", s);
      for (let d = 0; d < headWidth; d++) mix[d] += weights[s] * value[d];
    }
    const order = Array.from(weights.keys()).sort((a, b) => weights[b] - weights[a]);
    return { head, window, token, keyToken, q, k, scores, weights, mix, order, take };
  };

  /** The residual stream around a layer, at one token; null where the page leaves it out. */
  function residual(found) {
    const { layer, head } = found.head;
    const at = found.window.first + found.token;
    const lengths = app.store.lengths(layer);
    const length = (row) => lengths[row * app.tokens + at];
    const contribution = app.store.contribution(found.head.name)[at];
    const result = { before: length(0), added: length(1), after: length(2), contribution };
    const stored = app.store.residual(layer, at);
    if (!stored) return result;
    const { before, added, output: matrix, scale } = stored;
    const part = new Float32Array(width);
    for (let row = 0; row < width; row++) {
      let sum = 0;
      for (let d = 0; d < headWidth; d++) sum += matrix[row * width + head * headWidth + d] * found.mix[d];
      part[row] = sum * scale;
    }
    return { ...result, vectors: { before, part, added, after: before.map((v, i) => v + added[i]) } };
  }
  app.residualOf = residual;

  function cosine(a, b) {
    let dot = 0, aa = 0, bb = 0;
    for (let i = 0; i < a.length; i++) {
      dot += a[i] * b[i];
      aa += a[i] * a[i];
      bb += b[i] * b[i];
    }
    return dot / Math.sqrt(aa * bb || 1);
  }

  function bars(found) {
    const { scores, weights, window, token, keyToken } = found;
    const x = Array.from(scores.keys(), (s) => (s === 0 ? 0 : s === window.tokens - 1 ? app.residues + 1 : window.start + s));
    const colours = x.map((_, s) => (s === keyToken ? app.colour("--mark") : s === 0 || s === window.tokens - 1 ? app.colour("--family-sink") : app.colour("--bar")));
    app.fill("scores-bars", { x, top: Array.from(scores), colour: colours });
    app.fill("weights-bars", { x, top: Array.from(weights), colour: colours });
    const low = scores.reduce((a, b) => Math.min(a, b), 0);
    const high = scores.reduce((a, b) => Math.max(a, b), 0);
    const room = 0.06 * (high - low || 1);
    app.part("scores").y_range.setv({ start: low < 0 ? low - room : 0, end: high > 0 ? high + room : 0 });
    app.part("weights").y_range.setv({ start: 0, end: 1.08 * weights.reduce((a, b) => Math.max(a, b), 0) });
    app.byId("steps").setAttribute("aria-label", `Scores and weights of ${tokenName(window, token)} over ${window.tokens} tokens, BOS first and EOS last`);
  }

  function draw() {
    const { query, key, head: name } = app.state;
    if (query === null || app.byId("steps-section").hidden) return;
    const found = app.steps(name, query, key);
    const { head, window, token, keyToken, q, k, scores, weights, mix, order, take } = found;
    const [me, other] = [tokenName(window, token), tokenName(window, keyToken)];
    app.byId("step-query").value = query + 1;
    app.byId("step-key").value = key + 1;
    const products = q.map((value, d) => value * k[d]);
    const limit = largest(q, k);

    put(1,
      say(`The state of ${me} before layer ${head.layer} is ${width} numbers. Normalised and multiplied by W_Q of ${head.name} it becomes a query of ${headWidth} numbers, divided by √${headWidth} and turned by its position ${token} (rotary).`),
      strip(`query of ${me}`, q, limit));
    put(2,
      say(`Every token has a key of ${headWidth} numbers, turned by its own position, so that scores depend on the distance. The score is the sum of the products, number by number.`),
      strip(`query of ${me}`, q, limit),
      strip(`key of ${other}`, k, limit),
      strip("products", products, largest(products), `sum: score ${app.number(scores[keyToken])}`));
    const special = weights[0] + weights[window.tokens - 1];
    put(3,
      say(`Each score becomes e to its power, divided by the sum over all ${window.tokens} tokens: weights that sum to 1. ${other} gets ${app.number(weights[keyToken])}; BOS ${app.number(weights[0])} and EOS ${app.number(weights[window.tokens - 1])}, residues together ${app.number(1 - special)}.`));
    bars(found);
    const shown = order.slice(0, MOST);
    const rest = new Float64Array(headWidth);
    for (const s of order.slice(MOST)) take("value", s).forEach((value, d) => (rest[d] += weights[s] * value));
    const parts = shown.map((s) => take("value", s).map((value) => value * weights[s]));
    const top = largest(mix, rest, ...parts);
    put(4,
      say(`Every token also has a value of ${headWidth} numbers. The head's result is their sum, each times its weight: the ${shown.length} largest weights${order.length > MOST ? ", and all other tokens together" : ""}.`),
      ...shown.map((s, place) => strip(`${app.number(weights[s])} × value of ${tokenName(window, s)}`, parts[place], top)),
      ...(order.length > MOST ? [strip(`${order.length - MOST} other tokens`, rest, top)] : []),
      strip(`result of ${head.name}`, mix, top, "the sum"));
    drawResidual(found, me);
  }

  function drawResidual(found, me) {
    const { head } = found;
    const r = residual(found);
    const lines = [
      say(`W_O turns the result of ${head.name} into ${width} numbers. Together with those of the other ${perLayer - 1} heads of layer ${head.layer} and a bias they are added to the state of ${me}, the residual stream.`),
    ];
    const note = (length) => `length ${app.number(length)}`;
    if (r.vectors) {
      const { before, part, added, after } = r.vectors;
      const limit = largest(before, after) / 2;
      lines.push(
        strip("before", before, limit, note(r.before)),
        strip(`+ ${head.name}`, part, limit, note(r.contribution)),
        strip(`+ all ${perLayer} heads, bias`, added, limit, note(r.added)),
        strip("after attention", after, limit, note(r.after)),
        say(`What ${head.name} adds has a cosine of ${app.number(cosine(part, before), 2)} with the state before, and of ${app.number(cosine(part, added), 2)} with what the whole layer adds. All four rows have one scale, cut at half of the largest number.`));
    } else {
      lines.push(say(`Lengths of these vectors: before ${app.number(r.before)}, what ${head.name} adds ${app.number(r.contribution)}, what the layer adds ${app.number(r.added)}, after ${app.number(r.after)}.`));
    }
    put(5, ...lines);
  }

  app.startSteps = function () {
    if (app.data.live) {
      app.byId("steps-section").hidden = true; // that page has steps of its own, from embedding to logits
      return;
    }
    app.byId("steps-text").textContent =
      "One query residue and one head, as the encoder computes it (Vaswani et al. 2017; rotary positions: Su et al. 2021). Numbers are from esmkit's reference encoder; blue is below 0, orange above, and pointing at a cell shows its number. In the two plots BOS stands before the first residue and EOS after the last, both in purple; the picked key is bright blue." +
      (app.windows.length > 1 ? " This protein is read in windows; the steps are those of the window in which the residue is farthest from the ends." : "");
    for (const [id, name] of [["step-query", "query"], ["step-key", "key"]]) {
      const field = app.byId(id);
      const ends = () => (field.max = app.residues);
      ends();
      app.follow(["run"], ends);
      field.addEventListener("change", () => {
        const value = Math.round(Number(field.value)) || 1;
        app.set({ [name]: app.clamp(value, 1, app.residues) - 1 });
      });
    }
    const tell = (figure, name) => (event) => {
      const found = app.state.query === null ? null : app.steps(app.state.head, app.state.query, app.state.key);
      if (!found) return;
      const at = Math.round(event.x);
      const s = at === 0 ? 0 : at === app.residues + 1 ? found.window.tokens - 1 : at - found.window.start;
      const inside = s >= 0 && s < found.window.tokens;
      app.tip(inside ? [tokenName(found.window, s), `score ${app.number(found.scores[s])}`, `weight ${app.number(found.weights[s])}`] : null);
    };
    for (const figure of ["scores", "weights"]) {
      app.on(figure, "mousemove", tell(figure));
      app.on(figure, "mouseleave", () => app.tip(null));
      app.on(figure, "tap", (event) => app.at(event.x) !== null && app.set({ key: app.at(event.x) }));
    }
    app.follow(["run", "query", "key", "head"], draw);
    app.followTheme(draw);
  };
})(esmkitExplorer);
