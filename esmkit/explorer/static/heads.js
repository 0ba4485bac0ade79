"use strict";
// The grid of thumbnails: one option for each head, reached by Tab once and by arrow keys inside.

(function (app) {
  const grid = app.byId("grid");
  // What the page shows: its heads, pictures of so many pixels a side, and where a click leads
  const { heads, pictures: name, section } = app.gridOf;
  const packed = app.bytes(name) && new Uint8Array(app.bytes(name));
  const picturesOf = () => (app.store ? app.store.pictures() : packed);
  const layers = [...new Set(heads.map((head) => head.layer))];
  const options = new Map();

  /** What is said about a head in a few words. */
  app.headWords = function (head) {
    const words = [`${head.name}`];
    if (head.label) words.push(head.label);
    if (head.precision_half !== null && head.precision_half !== undefined)
      words.push(`long-range P@L/2 ${app.number(head.precision_half, 2)}`);
    return words.join(", ");
  };

  function build() {
    const most = Math.max(...layers.map((layer) => heads.filter((h) => h.layer === layer).length));
    grid.style.setProperty("--columns", most);
    for (const layer of layers) {
      const row = app.make("div", null, { class: "row", role: "group", "aria-label": `Layer ${layer}` });
      row.append(app.make("div", `L${layer}`, { class: "layer", "aria-hidden": "true" }));
      for (const head of heads.filter((h) => h.layer === layer)) {
        const option = app.make("div", null, {
          class: "head", role: "option", id: `option-${head.name}`, tabindex: "-1", "data-head": head.name,
          "aria-label": app.headWords(head), "aria-selected": "false",
          title: app.headWords(head) + (head.evidence ? `: ${head.evidence}` : ""),
        });
        const canvas = app.make("canvas", null, { "aria-hidden": "true" });
        option.append(canvas, app.make("span", `H${head.head}`, { class: "name", "aria-hidden": "true" }));
        if (head.label) option.append(app.make("span", head.label, { class: "label", "aria-hidden": "true" }));
        option.addEventListener("click", () => {
          app.set({ head: head.name });
          option.focus({ preventScroll: true });
          app.byId(section).scrollIntoView();
        });
        options.set(head.name, option);
        row.append(option);
      }
      grid.append(row);
    }
  }

  function draw() {
    const ramps = {};
    const pictures = picturesOf();
    const size = app.gridOf.side;
    heads.forEach((head, place) => {
      const family = head.family || "plain";
      const option = options.get(head.name);
      option.style.setProperty("--family", app.familyColour(family));
      const ramp = head.family ? (ramps[family] ??= app.ramp(app.familyColour(family))) : (ramps.plain ??= app.palette());
      const canvas = option.querySelector("canvas");
      if (canvas.width !== size) canvas.width = canvas.height = size;
      const context = canvas.getContext("2d");
      const image = context.createImageData(size, size);
      const pixels = new Uint32Array(image.data.buffer);
      for (let i = 0; i < pixels.length; i++) pixels[i] = ramp[pictures ? pictures[place * size * size + i] : 255];
      context.putImageData(image, 0, 0);
    });
  }

  function legend() {
    if (!heads[0].family) return;
    const list = app.byId("families");
    list.hidden = false;
    for (const [family, words] of Object.entries(app.families)) {
      const count = heads.filter((head) => head.family === family).length;
      const item = app.make("li");
      const swatch = app.make("span", null, { class: "swatch", "aria-hidden": "true" });
      swatch.style.background = `var(--family-${family})`;
      item.append(swatch, `${words}: ${count}`);
      list.append(item);
    }
  }

  function select() {
    for (const [name, option] of options) {
      const chosen = name === app.state.head;
      option.setAttribute("aria-selected", String(chosen));
      option.tabIndex = chosen ? 0 : -1;
    }
  }

  // Arrows move the focus and open the head, as in every list of choices.
  grid.addEventListener("keydown", (event) => {
    const now = app.heads.get(app.state.head) || heads[0];
    const row = heads.filter((head) => head.layer === now.layer);
    const at = row.indexOf(now);
    const other = (step) => {
      const layer = layers[app.clamp(layers.indexOf(now.layer) + step, 0, layers.length - 1)];
      const there = heads.filter((head) => head.layer === layer);
      return there.find((head) => head.head === now.head) || there[Math.min(at, there.length - 1)];
    };
    const next = {
      ArrowRight: () => row[Math.min(at + 1, row.length - 1)],
      ArrowLeft: () => row[Math.max(at - 1, 0)],
      ArrowDown: () => other(1),
      ArrowUp: () => other(-1),
      Home: () => row[0],
      End: () => row[row.length - 1],
    }[event.key];
    if (!next) return;
    event.preventDefault();
    app.set({ head: next().name });
    options.get(app.state.head).focus();
  });

  /** Show the heads of some names as they are, and the others faint. */
  app.fadeHeads = (kept) => options.forEach((option, name) => option.classList.toggle("faint", !kept.has(name)));

  app.startHeads = function () {
    const count = heads.length;
    const scale = "Each picture has its own scale, from 0 to a weight that as many pairs reach as half the residues; blocks of residues show their largest weight.";
    app.byId("grid-text").textContent =
      `${count} head${count === 1 ? "" : "s"}: rows are layers, columns heads. Open one with a click, or with the arrow keys.${picturesOf() ? ` ${scale}` : ""} ${app.gridOf.words}`.trim();
    build();
    legend();
    // Some browsers show no scroll bar before one scrolls
    new ResizeObserver(() => { app.byId("grid-more").hidden = grid.scrollWidth <= grid.clientWidth; }).observe(grid);
    select();
    app.follow(["head"], select);
    app.follow(["run", "summaries"], () => {
      draw();
      for (const head of heads) {
        const option = options.get(head.name);
        option.setAttribute("aria-label", app.headWords(head));
        option.title = app.headWords(head) + (head.evidence ? `: ${head.evidence}` : "");
      }
    });
    app.followTheme(draw);
  };
})(esmkitExplorer);
