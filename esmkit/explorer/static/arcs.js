"use strict";
// The strongest links as arcs along the sequence, secondary structure, and the mass on BOS and EOS.

(function (app) {
  const POINTS = 33;
  const FLATTENED = 0.7; // power of the distance that makes the height: short arcs stay visible
  const BAND = 0.09; // half of the height that the sequence takes
  let plot = null;
  let farthest = 1;

  /** Height of an arc at a position; 0 beside it. */
  function heightAt(link, x) {
    const [a, b] = [link.query + 1, link.key + 1].sort((p, q) => p - q);
    if (x < a || x > b || a === b) return 0;
    const along = (2 * (x - a)) / (b - a) - 1;
    const top = 0.95 * ((b - a) / farthest) ** FLATTENED;
    return top * Math.sqrt(Math.max(0, 1 - along * along));
  }

  const side = (link) => (app.state.apc || link.key > link.query ? 1 : -1);

  function draw() {
    const links = [...app.links].reverse(); // the strongest on top
    farthest = Math.max(1, ...links.map((link) => Math.abs(link.key - link.query)));
    const largest = Math.max(1e-12, ...links.map((link) => link.weight));
    const { query, key } = app.state;
    const picked = (link) => (link.query === query && link.key === key) || (app.state.apc && link.query === key && link.key === query);
    const touches = (link) => query !== null && (link.query === query || link.key === query);
    const some = links.some(touches);
    const data = { xs: [], ys: [], width: [], alpha: [], colour: [] };
    for (const link of links) {
      const xs = [];
      const ys = [];
      const [a, b] = [link.query + 1, link.key + 1];
      for (let p = 0; p < POINTS; p++) {
        const x = (a + b) / 2 - ((b - a) / 2) * Math.cos((Math.PI * p) / (POINTS - 1));
        xs.push(x);
        ys.push(side(link) * (BAND + heightAt(link, x)));
      }
      const share = link.weight / largest;
      data.xs.push(xs);
      data.ys.push(ys);
      data.width.push(picked(link) ? 4 : 0.7 + 2.3 * share);
      data.alpha.push(picked(link) ? 1 : (0.4 + 0.5 * share) * (some && !touches(link) ? 0.55 : 1));
      data.colour.push(picked(link) ? app.colour("--mark") : app.state.apc || link.key > link.query ? app.colour("--forward") : app.colour("--backward"));
    }
    app.fill("arcs-links", data);
    const dots = query === null ? [] : [query + 1, key + 1];
    app.fill("arcs-pick", { x: dots, y: dots.map(() => 0) });
  }

  function words() {
    const count = app.links.length;
    const legend = app.byId("arcs-legend");
    legend.replaceChildren();
    const add = (colour, text, dashed) => {
      const item = app.make("li");
      const line = app.make("span", null, { class: dashed ? "line dashed" : "line", "aria-hidden": "true" });
      line.style.borderColor = colour;
      item.append(line, text);
      legend.append(item);
    };
    if (app.state.apc) add("var(--forward)", "pair, symmetric and corrected");
    else {
      add("var(--forward)", "above: to a key later in the sequence");
      add("var(--backward)", "below: to a key earlier");
    }
    if (app.structure) {
      add("var(--helix)", "helix");
      add("var(--strand)", "strand");
    }
    const head = app.heads.get(app.state.head);
    add("var(--truth)", `weight on BOS, mean ${app.percent(head.bos)}`);
    add("var(--ink)", `weight on EOS, mean ${app.percent(head.eos)}`, true);
    app.byId("arcs-text").textContent =
      `The ${count} strongest link${count === 1 ? "" : "s"} of ${app.state.head} from the table; width and opacity follow the weight. ` +
      "Drag to brush a stretch of the sequence, click an arc or a residue to pick it. The lower curve is the weight that each query gives to the two special tokens.";
  }

  function track() {
    const data = { left: [], right: [], top: [], bottom: [], colour: [] };
    for (const { first, last, kind } of app.elements()) {
      const half = kind === "helix" ? BAND : 0.7 * BAND; // told apart by height as well
      data.left.push(first + 0.5);
      data.right.push(last + 1.5);
      data.top.push(half);
      data.bottom.push(-half);
      data.colour.push(app.colour(`--${kind}`));
    }
    app.fill("arcs-secondary", data);
  }

  function letters() {
    const [from, to] = [plot.x_range.start, plot.x_range.end];
    const room = (plot.inner_width || 1000) / (to - from);
    const data = { x: [], y: [], text: [] };
    if (room >= 8)
      for (let i = Math.max(0, Math.ceil(from) - 1); i < Math.min(app.residues, Math.floor(to)); i++) {
        data.x.push(i + 1);
        data.y.push(0);
        data.text.push(app.sequence[i]);
      }
    app.fill("arcs-letters", data);
  }

  function special() {
    const { bos, eos } = app.mapOf(app.state.head);
    const x = Array.from({ length: app.residues }, (_, i) => i + 1);
    app.fill("special-bos", { x, y: Array.from(bos) });
    app.fill("special-eos", { x, y: Array.from(eos) });
    let top = 0;
    for (let i = 0; i < app.residues; i++) top = Math.max(top, bos[i], eos[i]);
    app.part("special").y_range.setv({ start: 0, end: Math.max(top * 1.1, 0.01) });
  }

  /** The link whose arc is nearest to a position, if one is near. */
  function nearest(x, y) {
    let best = null;
    let least = 0.05;
    for (const link of app.links) {
      if ((y > 0 ? 1 : -1) !== side(link)) continue;
      const height = heightAt(link, x);
      if (!height) continue;
      const away = Math.abs(Math.abs(y) - BAND - height);
      if (away < least) [best, least] = [link, away];
    }
    return best;
  }

  function hover(event) {
    const i = app.at(event.x);
    const link = Math.abs(event.y) > BAND ? nearest(event.x, event.y) : null;
    if (link) app.tip(app.pairLines(link.query, link.key));
    else if (i !== null && Math.abs(event.y) <= BAND) app.tip([app.describe(i)]);
    else app.tip(null);
  }

  /** Pick an arc; or a residue, beside the key to which it gives most. */
  function pick(event) {
    const link = Math.abs(event.y) > BAND ? nearest(event.x, event.y) : null;
    if (link) return app.set({ query: link.query, key: link.key });
    const i = app.at(event.x);
    if (i !== null && Math.abs(event.y) <= BAND) app.pickResidue(i);
  }

  /** Pick a residue as query, beside the key it gives most weight to. */
  app.pickResidue = function (i) {
    const { weights } = app.mapOf(app.state.head);
    let key = i;
    for (let j = 0; j < app.residues; j++)
      if (weights[i * app.residues + j] > weights[i * app.residues + key]) key = j;
    app.set({ query: i, key });
  };

  function brushed(event) {
    if (event.final === false) return;
    const [q0, q1] = app.interval(event.geometry.x0, event.geometry.x1);
    app.set({ brush: { q0, q1, k0: q0, k1: q1, either: true } });
  }

  function showBrush() {
    const b = app.state.brush;
    app.part("arcs-brush").setv(b && b.either
      ? { visible: true, left: b.q0 + 0.5, right: b.q1 + 1.5 }
      : { visible: false });
  }

  function hoverSpecial(event) {
    const i = app.at(event.x);
    if (i === null) return app.tip(null);
    const { bos, eos } = app.mapOf(app.state.head);
    app.tip([`query ${app.describe(i)}`, `weight on BOS ${app.number(bos[i])}`, `weight on EOS ${app.number(eos[i])}`]);
  }

  app.startArcs = function () {
    plot = app.part("arcs");
    app.follow(["run", "head", "apc", "threshold", "separation", "farthest", "top", "brush", "query", "key"], draw);
    app.follow(["run", "head", "apc", "threshold", "separation", "farthest", "top", "brush", "summaries"], words);
    app.follow(["run", "head"], special);
    app.follow(["run"], track);
    app.follow(["run"], letters);
    app.follow(["brush"], showBrush);
    app.followTheme(() => {
      draw();
      track();
      app.part("special-bos-line").glyph.line_color = { value: app.colour("--truth") };
      app.part("special-eos-line").glyph.line_color = { value: app.colour("--ink") };
    });
    app.on("arcs", "mousemove", hover);
    app.on("arcs", "mouseleave", () => app.tip(null));
    app.on("arcs", "tap", pick);
    app.on("arcs", "selectiongeometry", brushed);
    app.on("special", "mousemove", hoverSpecial);
    app.on("special", "mouseleave", () => app.tip(null));
    app.on("special", "tap", (event) => app.at(event.x) !== null && app.pickResidue(app.at(event.x)));
    plot.x_range.change.connect(letters);
    plot.properties.inner_width.change.connect(letters);
    for (const step of [words, special, letters]) step();
  };
})(esmkitExplorer);
