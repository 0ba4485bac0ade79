"use strict";
// Light and dark, and the colours of maps on each of them.

(function (app) {
  const root = document.documentElement;
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

  app.isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);

  /** A colour of the style sheet, such as "--ink". */
  app.colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  const pack = (r, g, b, a = 255) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;

  /** 256 colours as 32-bit RGBA, from nothing to the largest value. */
  app.palette = function () {
    const table = app.colourTables[app.isDark() ? "dark" : "light"];
    return Uint32Array.from({ length: 256 }, (_, i) => pack(table[3 * i], table[3 * i + 1], table[3 * i + 2]));
  };

  app.UNKNOWN = pack(150, 150, 150);

  const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));

  /** 256 colours from the background of thumbnails to one colour. */
  app.ramp = function (colour) {
    const [from, to] = [rgb(app.colour("--map")), rgb(colour)];
    return Uint32Array.from({ length: 256 }, (_, i) => {
      const [r, g, b] = from.map((low, c) => Math.round(low + ((to[c] - low) * i) / 255));
      return pack(r, g, b);
    });
  };

  // Families of labels, as in esmkit.plots.profiles; the words stand beside the colours.
  app.families = {
    pair: "a kind of pair",
    residue: "a kind of residue",
    position: "an offset, or positional",
    sink: "BOS or EOS",
    repeat: "the other copy of a repeat",
    none: "mixed or insufficient",
  };
  app.familyColour = (name) => app.colour(`--family-${name || "plain"}`);

  const changed = [];
  app.followTheme = (listener) => changed.push(listener);

  function apply() {
    const button = app.byId("theme");
    button.textContent = app.isDark() ? "◐ Light" : "◐ Dark";
    for (const listener of changed) listener();
  }

  app.byId("theme").addEventListener("click", () => {
    root.dataset.theme = app.isDark() ? "light" : "dark";
    apply();
  });
  prefersDark.addEventListener("change", apply);
  app.applyTheme = apply;
})(esmkitExplorer);
