"use strict";
// Strongest links of a head on an example chain: as arcs over the sequence, in words and in a table.

(function (app) {
  const SVG = "http://www.w3.org/2000/svg";
  const EMPTY = 65535;
  const LINKS = 40;
  const FAR = 6; // contacts begin here (CASP)
  const CONTACT = 8; // Å between Cβ

  /** Make an element of a drawing. */
  app.draw = function (tag, attributes = {}, text) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const SECONDARY = { H: "α-helix", G: "3-10 helix", I: "π-helix", P: "κ-helix", E: "β-strand", B: "β-bridge", T: "turn", S: "bend", "-": "coil", " ": "coil" };
  const KINDS = {
    contact: "contact: Cβ closer than 8 Å, six or more apart",
    other: "no contact",
    near: "fewer than six apart",
    unknown: "not resolved in the structure",
  };

  const arrays = app.remember((name) => app.bytes(name), 12);

  /** Links of a head on an example, strongest first. */
  app.linksOf = function (model, name, place, far) {
    const codes = new Uint16Array(arrays(`${model.place}-links-${place}`));
    const cb = new Float32Array(arrays(`${model.place}-coordinates-${place}`));
    const start = (model.byName.get(name).index * 2 + Number(far)) * LINKS * 3;
    const found = [];
    for (let i = start; i < start + LINKS * 3; i += 3) {
      const [query, key, code] = codes.subarray(i, i + 3);
      if (query === EMPTY) break;
      let square = 0;
      for (let axis = 0; axis < 3; axis++) square += (cb[3 * query + axis] - cb[3 * key + axis]) ** 2;
      const distance = Math.sqrt(square);
      const near = Math.abs(query - key) < FAR;
      const kind = near ? "near" : Number.isNaN(distance) ? "unknown" : distance < CONTACT ? "contact" : "other";
      found.push({ query, key, weight: code / EMPTY, distance, kind });
    }
    return found;
  };

  /** Whether only links six or more apart are shown: as asked, or as the label wants it. */
  app.far = (head) => (app.state.apart === "auto" ? head.family === "pair" : app.state.apart === "far");

  /** What the links say, in a sentence. */
  function sentence(example, name, links, far) {
    const count = (kind) => links.filter((link) => link.kind === kind).length;
    if (!links.length) return `${name} has no links of ${far ? "six or more apart" : "any separation"} in ${example.id}.`;
    const range = `weights ${app.number(links.at(-1).weight, 2)} to ${app.number(links[0].weight, 2)}`;
    const background = `of all such pairs ${app.percent(example.contacts / example.pairs)} are`;
    const are = (number) => (number === 1 ? "1 is a contact" : `${number || "none"} are contacts`);
    if (far)
      return `Of the ${links.length} strongest links of ${name} six or more apart in ${example.id} (${range}) ${are(count("contact"))} of the structure; ${background}.`;
    const apart = links.length - count("near");
    const first = `Of the ${links.length} strongest links of ${name} in ${example.id} (${range})`;
    if (!apart) return `${first} none is between residues six or more apart, as contacts are.`;
    return `${first} ${apart} ${apart === 1 ? "is" : "are"} between residues six or more apart; of these ${are(count("contact"))}. ${background[0].toUpperCase()}${background.slice(1)}.`;
  }

  function elements(secondary) {
    const found = [];
    [...secondary].forEach((letter, i) => {
      const kind = "HGIP".includes(letter) ? "helix" : "EB".includes(letter) ? "strand" : null;
      const before = found.at(-1);
      if (kind && before && before.kind === kind && before.last === i - 1) before.last = i;
      else if (kind) found.push({ first: i, last: i, kind });
    });
    return found;
  }

  /** Arcs above lead to a key later in the sequence, those below to one earlier. */
  function arcs(example, links, width, label) {
    const size = example.sequence.length;
    const [left, right, band] = [12, 12, 7];
    const x = (i) => left + ((i + 0.5) / size) * (width - left - right);
    const rise = ({ query, key }) => Math.max(5, 100 * Math.sqrt(Math.abs(key - query) / size));
    const highest = (up) => Math.max(0, ...links.filter((link) => link.key > link.query === up).map(rise));
    const middle = highest(true) + band + 4;
    const height = middle + band + highest(false) + 22;
    const svg = app.draw("svg", { width, height, role: "img", "aria-label": label });
    const largest = links.length ? links[0].weight : 1;
    svg.append(app.draw("line", { x1: x(0), x2: x(size - 1), y1: middle, y2: middle, class: "chain" }));
    for (const { first, last, kind } of elements(example.secondary)) {
      const thick = kind === "helix" ? band : 0.6 * band;
      svg.append(app.draw("rect", { x: x(first - 0.5), width: x(last + 0.5) - x(first - 0.5), y: middle - thick, height: 2 * thick, class: kind, rx: 2 }));
    }
    // The strongest are drawn last, on top
    for (const link of [...links].reverse()) {
      const up = link.key > link.query;
      const [from, to] = [x(Math.min(link.query, link.key)), x(Math.max(link.query, link.key))];
      const y = middle + (up ? -band - 1 : band + 1);
      const share = link.weight / largest;
      const arc = app.draw("path", {
        d: `M ${from.toFixed(1)} ${y} A ${((to - from) / 2).toFixed(2)} ${rise(link).toFixed(1)} 0 0 ${up ? 1 : 0} ${to.toFixed(1)} ${y}`,
        class: `link ${link.kind}`, "stroke-width": (0.8 + 1.9 * share).toFixed(2), "stroke-opacity": (0.45 + 0.5 * share).toFixed(2),
      });
      arc.append(app.draw("title", {}, words(example, link).join(", ")));
      svg.append(arc);
    }
    const step = [10, 20, 25, 50, 100, 200].find((one) => size / one <= Math.max(3, width / 70)) || 500;
    for (let tick = step; tick <= size; tick += step)
      svg.append(app.draw("text", { x: x(tick - 1), y: height - 4, "text-anchor": "middle", class: "soft" }, String(tick)));
    return svg;
  }

  const residue = (example, i) => `${example.sequence[i]}${i + 1}`;

  function words(example, link) {
    const distance = Number.isNaN(link.distance) ? "distance not known" : `${link.distance.toFixed(1)} Å`;
    return [`query ${residue(example, link.query)}`, `key ${residue(example, link.key)}`, `weight ${app.number(link.weight, 2)}`, distance];
  }

  function table(example, links) {
    const box = app.make("details", null, { class: "more" });
    box.append(app.make("summary", `These ${links.length} links as a table`));
    const scroll = app.make("div", null, { class: "scroll plain-table", tabindex: "0", role: "region", "aria-label": `Links in ${example.id}` });
    const made = app.make("table");
    const head = app.make("tr");
    for (const title of ["Query", "Key", "Separation", "Weight", "Distance (Å)", "Contact"]) head.append(app.make("th", title, { scope: "col" }));
    made.append(app.make("thead"), app.make("tbody"));
    made.tHead.append(head);
    for (const link of links) {
      const row = app.make("tr");
      const place = (i) => `${residue(example, i)} ${SECONDARY[example.secondary[i]] || ""}`;
      for (const text of [
        place(link.query), place(link.key), String(link.key - link.query).replace("-", "−"), app.number(link.weight),
        Number.isNaN(link.distance) ? "not known" : link.distance.toFixed(1),
        { contact: "yes", other: "no", near: "fewer than six apart", unknown: "not known" }[link.kind],
      ]) row.append(app.make("td", text));
      made.tBodies[0].append(row);
    }
    scroll.append(made);
    box.append(scroll);
    return box;
  }

  /** The links of a head on the chosen chain, as a block of its card. */
  app.linksBlock = function (model, head) {
    const box = app.make("div");
    box.append(app.make("h4", "Strongest links on an example chain"));
    const example = model.examples[Math.min(app.state.chain, model.examples.length - 1)];
    if (!example) {
      box.append(app.make("p", "There are none in this page.", { class: "muted" }));
      return box;
    }
    const place = model.examples.indexOf(example);
    const links = app.linksOf(model, head.name, place, app.far(head));
    const said = sentence(example, head.name, links, app.far(head));
    const plot = app.make("div", null, { class: "plot" });
    const legend = app.make("ul", null, { class: "legend" });
    for (const [kind, text] of Object.entries(KINDS)) {
      const count = links.filter((link) => link.kind === kind).length;
      if (!count) continue;
      const item = app.make("li");
      item.append(app.make("span", null, { class: `line ${kind}`, "aria-hidden": "true" }), `${text}: ${count}`);
      legend.append(item);
    }
    for (const kind of ["helix", "strand"]) {
      if (!elements(example.secondary).some((element) => element.kind === kind)) continue;
      const item = app.make("li");
      item.append(app.make("span", null, { class: `swatch ${kind}`, "aria-hidden": "true" }), kind);
      legend.append(item);
    }
    box.append(app.make("p", said), plot, legend,
      app.make("p", `Above the sequence links to a key later in it, below to one earlier; width follows the weight. ${example.id} has ${example.sequence.length} residues and was taken for ${example.why}.`, { class: "muted" }),
      table(example, links));
    app.drawnWide(plot, (width) => arcs(example, links, width, said));
    return box;
  };

  // A drawing is as wide as its place, also after the window changed; letters keep their size.
  const drawings = new Map();
  const watcher = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const width = Math.floor(contentRect.width);
      const drawing = drawings.get(target);
      if (!drawing || width < 50 || drawing.width === width) continue;
      drawing.width = width;
      target.replaceChildren(drawing.make(width));
    }
  });

  app.drawnWide = function (place, make) {
    drawings.set(place, { make, width: 0 });
    watcher.observe(place);
  };

  /** Forget the drawings of cards that are gone. */
  app.forgetDrawings = function () {
    for (const place of drawings.keys()) watcher.unobserve(place);
    drawings.clear();
  };
})(esmkitExplorer);
