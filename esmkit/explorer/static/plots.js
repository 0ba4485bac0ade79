"use strict";
// Bokeh figures: embedding, finding their parts by name, sizes, colours of light and dark.

(function (app) {
  const documents = {};

  /** Embed all figures of the page. */
  app.embedFigures = async function () {
    const items = JSON.parse(app.byId("data-figures").textContent);
    for (const [place, item] of Object.entries(items)) {
      if (place === "contacts" && !app.data.contacts) continue;
      await Bokeh.embed.embed_item(item, place);
      documents[place] = Bokeh.documents[Bokeh.documents.length - 1];
    }
    for (const place of Object.keys(documents)) nameTools(app.byId(place));
    app.followTheme(paint);
    new ResizeObserver(fit).observe(document.querySelector("main"));
    fit();
  };

  const named = new WeakSet();

  /** Bokeh's tools are elements without a role or a name, which Tab reaches: give them both. What else
   *  it makes reachable, the drawing, answers to no key. */
  function nameTools(root) {
    for (const part of root.querySelectorAll("*")) {
      if (part.matches(".bk-events")) part.tabIndex = -1;
      if (part.matches(".bk-OnOffButton, .bk-ClickButton, .bk-tool-overflow")) {
        part.setAttribute("role", "button");
        part.setAttribute("aria-label", part.title || "More tools");
        if (part.matches(".bk-OnOffButton")) part.setAttribute("aria-pressed", String(part.classList.contains("bk-active")));
      }
      const inside = part.shadowRoot;
      if (!inside || named.has(inside)) continue;
      named.add(inside);
      const watched = { childList: true, subtree: true, attributes: true, attributeFilter: ["class", "title"] };
      new MutationObserver(() => nameTools(inside)).observe(inside, watched);
      nameTools(inside);
    }
  }

  /** A figure, source or annotation by its name, wherever it is. */
  app.part = function (name) {
    for (const of of Object.values(documents)) {
      const found = of.get_model_by_name(name);
      if (found) return found;
    }
    return null;
  };

  app.fill = function (name, data) {
    const source = app.part(name);
    if (source) source.data = data;
  };

  const SQUARES = { map: 560, contacts: 400 };
  const BESIDE = 110; // pixels of axes and toolbar beside a frame

  function fit() {
    for (const [name, size] of Object.entries(SQUARES)) {
      const plot = app.part(name);
      if (!plot) continue;
      const room = app.byId(name).parentElement.clientWidth - BESIDE;
      const side = Math.max(180, Math.min(size, room));
      if (plot.frame_width !== side) plot.setv({ frame_width: side, frame_height: side });
    }
  }

  function paint() {
    const ink = app.colour("--ink");
    const soft = app.colour("--line");
    for (const of of Object.values(documents)) {
      for (const plot of of._all_models.values()) {
        if (plot.type !== "Figure") continue;
        plot.setv({
          background_fill_color: app.colour("--map"),
          outline_line_color: soft,
        });
        for (const grid of plot.center) if (grid.type === "Grid") grid.grid_line_color = soft;
        plot.toolbar.styles = app.isDark() ? { filter: "invert(0.85)" } : {};
        for (const side of ["above", "below", "left", "right"]) {
          for (const axis of plot[side]) {
            if (!axis.type.endsWith("Axis")) continue;
            axis.setv({
              axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: soft,
              major_tick_line_color: soft, minor_tick_line_color: null,
              axis_label_text_font_style: "normal", axis_label_text_font_size: "12px",
              major_label_text_font_size: "11px",
            });
          }
        }
      }
    }
    const mark = app.colour("--mark");
    for (const name of ["map", "contacts"]) {
      for (const which of ["query", "key"]) {
        const span = app.part(`${name}-${which}`);
        if (span) span.line_color = mark;
      }
    }
    for (const name of ["map-pick", "contacts-pick", "arcs-pick"]) {
      const found = app.part(`${name}-glyph`);
      if (found) found.glyph.line_color = { value: mark };
    }
    for (const name of ["map-brush", "arcs-brush"]) {
      const box = app.part(name);
      if (box) box.setv({ fill_color: mark, line_color: mark });
    }
    app.part("map-truth-glyph").glyph.line_color = { value: app.colour("--truth") };
    app.part("arcs-letters-glyph").glyph.text_color = { value: ink };
  }

  /** Draw secondary structure beside a map, above and to the left; helices thicker than strands. */
  app.strips = function (name) {
    const room = 0.5 - app.part(name).x_range.bounds[0];
    const data = { left: [], right: [], top: [], bottom: [], colour: [] };
    for (const { first, last, kind } of app.elements()) {
      const [from, to] = [first + 0.5, last + 1.5];
      const [far, near] = kind === "helix" ? [0.5 - 0.9 * room, 0.5 - 0.2 * room] : [0.5 - 0.7 * room, 0.5 - 0.4 * room];
      data.left.push(from, far);
      data.right.push(to, near);
      data.top.push(far, from);
      data.bottom.push(near, to);
      data.colour.push(app.colour(`--${kind}`), app.colour(`--${kind}`));
    }
    app.fill(`${name}-secondary`, data);
  };

  /** Put RGBA pixels (height x width) into an image source that covers the residues from 0.5 on. */
  app.showImage = function (name, pixels, width, height, block) {
    const source = app.part(name);
    const Kind = source.data.image[0].constructor;
    source.data = {
      image: [new Kind(pixels, [height, width])],
      x: [0.5], y: [0.5], dw: [width * block], dh: [height * block],
    };
  };

  /** Draw the colours of maps from left to right. */
  app.drawBar = function (canvas) {
    const context = canvas.getContext("2d");
    const image = context.createImageData(256, 1);
    new Uint32Array(image.data.buffer).set(app.palette());
    context.putImageData(image, 0, 0);
  };

  /** How many residues share a pixel when this many are in sight. */
  app.blockFor = (plot) => {
    const span = (range) => Math.abs(range.end - range.start);
    const across = Math.min(app.residues, Math.max(span(plot.x_range), span(plot.y_range)));
    return Math.max(1, Math.ceil(across / Math.max(400, plot.frame_width || 560)));
  };

  /** Residue of an event's position, from 0, or null outside. */
  app.at = (position) => {
    const i = Math.round(position) - 1;
    return i >= 0 && i < app.residues ? i : null;
  };

  /** Zoom a figure around a point, or show all of it. */
  app.zoom = function (plot, factor, x, y) {
    const [low, high] = plot.x_range.bounds;
    const half = (range) => (Math.abs(range.end - range.start) * factor) / 2;
    const [hx, hy] = [half(plot.x_range), half(plot.y_range)];
    const span = (centre, h) => {
      const size = Math.min(Math.max(h, 3), (high - low) / 2);
      const middle = app.clamp(centre, low + size, high - size);
      return [middle - size, middle + size];
    };
    const [x0, x1] = span(x, hx);
    const [y0, y1] = span(y, hy);
    plot.x_range.setv({ start: x0, end: x1 });
    plot.y_range.setv({ start: y1, end: y0 });
  };

  /** Give figures the length of another sequence; what was zoomed shows all of it again. */
  app.resizeFigures = function () {
    const last = app.residues + 0.5;
    const span = (plot, [low, high]) => plot.x_range.setv({ bounds: [low, high], start: low, end: high });
    for (const name of Object.keys(SQUARES)) {
      const plot = app.part(name);
      if (!plot) continue;
      const first = 0.5 - app.data.strip * app.residues;
      span(plot, [first, last]);
      plot.y_range.setv({ bounds: [first, last], start: last, end: first });
    }
    span(app.part("arcs"), [0, app.residues + 1]); // the figure below shares the range
    span(app.part("scores"), [-0.5, app.residues + 1.5]);
  };

  const tip = app.byId("tip");
  let pointer = [0, 0];
  document.addEventListener("pointermove", (event) => (pointer = [event.clientX, event.clientY]), true);

  /** Show lines of text beside the pointer, or nothing. */
  app.tip = function (lines) {
    tip.hidden = !lines;
    if (!lines) return;
    tip.replaceChildren(...lines.map((line) => app.make("div", line)));
    const [x, y] = pointer;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${x + 16 + box.width > innerWidth ? x - 12 - box.width : x + 16}px`;
    tip.style.top = `${Math.min(y + 16, innerHeight - box.height - 4)}px`;
  };
})(esmkitExplorer);
