"use strict";
// A vector as bars: blue below 0, orange above. It is one control: arrow keys or a click pick an
// entry, a pointer shows it, and a screen reader is told its value.

(function (app) {
  const HEIGHT = 46;
  const DIGITS = 5;

  const watcher = new ResizeObserver((entries) => {
    for (const { target } of entries) if (target.redraw) target.redraw();
  });

  /** What a vector is, in a sentence. */
  app.vectorWords = function ({ label, values, note, labels }) {
    const low = values.reduce((a, b) => Math.min(a, b), Infinity);
    const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const most = app.largestOf(values, 3).map((i) => `${labels ? labels(i) : `number ${i + 1}`} ${app.number(values[i])}`);
    return `${label}: ${values.length} numbers from ${app.number(low)} to ${app.number(high)}${note ? `, ${note}` : ""}; largest ${most.join(", ")}`;
  };

  const nameOf = (vector, i) =>
    vector.labels ? `${vector.labels(i)}` : `${vector.unit || "number"} ${i + 1} of ${vector.values.length}`;

  const valueOf = (vector, i) => (vector.share ? `${app.percent(vector.values[i])} (${app.number(vector.values[i], DIGITS)})` : app.number(vector.values[i], DIGITS));

  function paint(canvas, vector, picked) {
    const { values } = vector;
    const width = canvas.clientWidth;
    if (!width) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(HEIGHT * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const low = Math.min(0, values.reduce((a, b) => Math.min(a, b), 0));
    const high = Math.max(0, values.reduce((a, b) => Math.max(a, b), 0));
    const room = HEIGHT - 4;
    const y = (value) => 2 + ((high - value) / (high - low || 1)) * room;
    const step = width / values.length;
    const [plus, minus, mark, sink, bar] = ["--forward", "--backward", "--mark", "--family-sink", "--bar"].map(app.colour);
    if (vector.range) {
      pen.fillStyle = mark;
      pen.globalAlpha = 0.18;
      pen.fillRect(vector.range[0] * step, 0, (vector.range[1] - vector.range[0]) * step, HEIGHT);
      pen.globalAlpha = 1;
    }
    const wide = step > 3 ? step - 1 : Math.max(step, 1 / ratio);
    for (let i = 0; i < values.length; i++) {
      const special = vector.special && vector.special.includes(i);
      const marked = vector.marks && vector.marks.includes(i);
      pen.fillStyle = marked ? mark : special ? sink : vector.pairs ? bar : values[i] < 0 ? minus : plus;
      const [top, bottom] = values[i] < 0 ? [y(0), y(values[i])] : [y(values[i]), y(0)];
      pen.fillRect(i * step, top, wide, Math.max(bottom - top, 0.4));
    }
    pen.fillStyle = app.colour("--line");
    pen.fillRect(0, y(0) - 0.25, width, 0.5);
    if (picked !== null) {
      pen.strokeStyle = mark;
      pen.lineWidth = 1.5;
      pen.strokeRect(picked * step - 1, 1, Math.max(wide, 2) + 2, HEIGHT - 2);
    }
  }

  /** The drawing of a vector; `pick` is called with the number of an entry from 0. */
  app.drawVector = function (vector, picked, pick) {
    const box = app.make("div", null, { class: "vector" });
    const head = app.make("p", null, { class: "vector-head" });
    head.append(app.make("b", vector.label));
    const facts = [`${vector.values.length} ${vector.unit || "number"}s`, vector.note].filter(Boolean).join(" · ");
    head.append(app.make("span", facts, { class: "muted" }));
    const now = app.make("span", null, { class: "vector-now" });
    head.append(now);
    const canvas = app.make("canvas", null, {
      tabindex: 0, role: "slider", "aria-label": app.vectorWords(vector), "data-vector": vector.name,
      "aria-valuemin": 1, "aria-valuemax": vector.values.length,
    });
    canvas.style.height = `${HEIGHT}px`;
    let place = picked;
    const show = function () {
      now.textContent = `${nameOf(vector, place)}: ${valueOf(vector, place)}`;
      canvas.setAttribute("aria-valuenow", place + 1);
      canvas.setAttribute("aria-valuetext", `${nameOf(vector, place)}: ${valueOf(vector, place)}`);
      paint(canvas, vector, place);
    };
    const move = function (to) {
      place = app.clamp(to, 0, vector.values.length - 1);
      show();
      if (pick) pick(place);
    };
    const under = (event) => app.clamp(Math.floor((event.offsetX / canvas.clientWidth) * vector.values.length), 0, vector.values.length - 1);
    canvas.addEventListener("keydown", (event) => {
      const last = vector.values.length - 1;
      const to = {
        ArrowLeft: place - 1, ArrowDown: place - 1, ArrowRight: place + 1, ArrowUp: place + 1,
        PageDown: place - 10, PageUp: place + 10, Home: 0, End: last,
      }[event.key];
      if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      move(to);
    });
    canvas.addEventListener("pointermove", (event) => {
      const i = under(event);
      app.tip([`${vector.label}, ${nameOf(vector, i)}`, valueOf(vector, i)]);
    });
    canvas.addEventListener("pointerleave", () => app.tip(null));
    canvas.addEventListener("click", (event) => move(under(event)));
    canvas.redraw = () => paint(canvas, vector, place);
    box.moveTo = function (to) {
      place = to;
      show();
    };
    watcher.observe(canvas);
    show();
    box.append(head, canvas);
    return box;
  };

  /** Draw all vectors of a part of the page again, in other colours. */
  app.redrawVectors = function (part) {
    for (const canvas of part.querySelectorAll("canvas")) if (canvas.redraw) canvas.redraw();
  };

  /** Call a canvas' redraw whenever its size changes. */
  app.watchSize = (canvas) => watcher.observe(canvas);
})(esmkitExplorer);
