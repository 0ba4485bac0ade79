"use strict";
// The card of the open head, one for each model: label and reason, numbers, where it looks.

(function (app) {
  const SHOWN = 8;

  const text = (tag, words, attributes) => app.make(tag, words, attributes);

  /** A table that scrolls sideways where it has no room; with the keyboard too. */
  function scrolled(table, label) {
    const box = app.make("div", null, { class: "plain-table", tabindex: "0", role: "region", "aria-label": label });
    box.append(table);
    return box;
  }

  /** Share of the weight between residues at each offset, as bars. */
  function offsets(model, name, width, label) {
    const shares = model.profile(name);
    const [left, right, top, bottom, height] = [46, 8, 8, 32, 120];
    const largest = Math.max(...shares, 1e-9);
    const step = (width - left - right) / shares.length;
    const svg = app.draw("svg", { width, height: top + height + bottom, role: "img", "aria-label": label });
    for (const part of [0, 0.5, 1]) {
      const y = top + height * (1 - part);
      svg.append(app.draw("line", { x1: left, x2: width - right, y1: y, y2: y, class: "axis" }));
      svg.append(app.draw("text", { x: left - 5, y: y + 4, "text-anchor": "end", class: "soft" }, app.number(100 * largest * part, 2)));
    }
    shares.forEach((share, i) => {
      const high = (height * share) / largest;
      const bar = app.draw("rect", { x: left + i * step + 0.5, width: Math.max(1, step - 1), y: top + height - high, height: high, class: "bar" });
      bar.append(app.draw("title", {}, `offset ${app.signed(model.offsets[i])}: ${app.percent(share)}`));
      svg.append(bar);
      if (model.offsets[i] % 16 === 0)
        svg.append(app.draw("text", { x: left + (i + 0.5) * step, y: top + height + 14, "text-anchor": "middle", class: "soft" }, app.signed(model.offsets[i])));
    });
    svg.append(app.draw("text", { x: (left + width - right) / 2, y: top + height + 28, "text-anchor": "middle", class: "soft" }, "offset, key − query (residues)"));
    svg.append(app.draw("text", { x: 11, y: top + height / 2, "text-anchor": "middle", class: "soft", transform: `rotate(-90 11 ${top + height / 2})` }, "% of weight"));
    return svg;
  }

  function offsetsBlock(model, head) {
    const box = app.make("div");
    const shares = [...model.profile(head.name)];
    box.append(text("h4", "Where it looks along the sequence"));
    if (!shares.length) {
      box.append(text("p", "The profile has no offsets.", { class: "muted" }));
      return box;
    }
    const best = shares.map((share, i) => [share, model.offsets[i]]).sort((a, b) => b[0] - a[0]).slice(0, 3);
    const inside = shares.reduce((sum, share) => sum + share, 0);
    const said = `Most at ${best.map(([share, offset]) => `${app.signed(offset)} (${app.percent(share)})`).join(", ")}; ${app.percent(Math.max(0, 1 - inside))} of the weight between residues is farther than 32.`;
    const plot = app.make("div", null, { class: "plot" });
    box.append(plot, text("p", said, { class: "muted" }));
    app.drawnWide(plot, (width) => offsets(model, head.name, width, `Offsets of ${head.name}: ${said}`));
    return box;
  }

  /** Difference and interval on a line with 0. */
  function line(row, low, high) {
    const [width, height] = [130, 12];
    const x = (value) => 3 + ((value - low) / (high - low || 1)) * (width - 6);
    const svg = app.draw("svg", { width, height, "aria-hidden": "true" });
    svg.append(
      app.draw("line", { x1: x(0), x2: x(0), y1: 0, y2: height, class: "zero" }),
      app.draw("line", { x1: x(row.low), x2: x(row.high), y1: height / 2, y2: height / 2, class: "interval" }),
      app.draw("circle", { cx: x(row.difference), cy: height / 2, r: 3, class: "dot" }));
    return svg;
  }

  const plainQ = (q) => app.qText(q).replace("q = ", "").replace("q ", "");
  const points = (share) => app.signed(100 * share, 2);

  function effectsBlock(model, head) {
    const box = app.make("div");
    box.append(text("h4", "What it looks at"));
    const every = model.effectsOf(head.name);
    // What is confirmed comes first, then by size
    const sure = (row) => Number(row.rank > 0 && row.rank < 255);
    const known = every.filter((row) => !Number.isNaN(row.difference))
      .sort((a, b) => sure(b) - sure(a) || b.difference - a.difference);
    const rows = app.state.all
      ? [...known, ...every.filter((row) => Number.isNaN(row.difference))]
      : known.filter((row) => row.kind !== "offset").slice(0, SHOWN);
    if (!known.length) {
      box.append(text("p", "Insufficient: no property occurs in enough proteins.", { class: "muted" }));
      if (!app.state.all) return box;
    }
    const finite = rows.flatMap((row) => [row.low, row.high, row.difference]).filter(Number.isFinite);
    const [low, high] = [Math.min(0, ...finite), Math.max(0, ...finite)];
    const made = app.make("table");
    const titles = ["Pairs or residues", "% of weight (expected)", "difference, points", "ratio", "q", "verdict"];
    const header = app.make("tr");
    header.append(...titles.map((title) => text("th", title, { scope: "col" })));
    made.append(app.make("thead"), app.make("tbody"));
    made.tHead.append(header);
    for (const row of rows) made.tBodies[0].append(effectRow(row, low, high, model));
    const scroll = scrolled(made, `What ${head.name} looks at`);
    const counts = ["pair", "residue", "offset"].map((kind) => every.find((row) => row.kind === kind && !Number.isNaN(row.difference))).filter(Boolean);
    box.append(scroll, text("p",
      `${app.state.all ? "All" : `${rows.length} of`} ${every.length} properties, those confirmed first. Expected: from its own distances and queries. In brackets 95% intervals over chains. ${counts.map((row) => row.note.split(";")[0]).join("; ")}.`,
      { class: "muted" }));
    return box;
  }

  function effectRow(row, low, high, model) {
    const made = app.make("tr");
    made.append(text("th", row.name, { scope: "row" }));
    if (Number.isNaN(row.difference)) {
      made.append(text("td", row.note.startsWith("insufficient") ? row.note : "insufficient for this head", { colspan: 5, class: "muted" }));
      return made;
    }
    const drawn = text("td", `${points(row.difference)} [${points(row.low)}, ${points(row.high)}]`);
    drawn.append(line(row, low, high));
    const ratio = Number.isNaN(row.ratio) ? "not known" : `${row.ratio.toFixed(2)}×`;
    const sure = row.q <= model.maxQ && row.rank > 0 && row.rank < 255;
    made.append(
      text("td", `${app.number(100 * row.share, 2)} (${app.number(100 * row.background, 2)})`), drawn,
      text("td", ratio), text("td", plainQ(row.q)),
      text("td", row.size || "not judged", { class: sure ? "verdict confirmed" : "verdict" }));
    return made;
  }

  /** Numbers of some groups, a line each. */
  function numbersTable(model, head, numbers) {
    const made = app.make("table");
    const header = app.make("tr");
    header.append(...["", "value [95% interval]", "unit", "q"].map((title) => text("th", title, { scope: "col", ...(title ? {} : { "aria-label": "number" }) })));
    made.append(app.make("thead"));
    made.tHead.append(header);
    for (const group of [...new Set(numbers.map((number) => number.group))]) {
      const part = app.make("tbody");
      const mine = numbers.filter((number) => number.group === group);
      const row = app.make("tr");
      row.append(text("th", group, { scope: "rowgroup", colspan: 4 }));
      part.append(row);
      for (const number of mine) {
        const found = model.number(number.key, head.name);
        const line = app.make("tr");
        line.append(text("th", number.title, { scope: "row", ...(number.note ? { title: number.note } : {}) }),
          text("td", `${app.value(found.value, number)} ${app.interval(found)}`.trim()),
          text("td", app.unit(number)), text("td", plainQ(found.q)));
        part.append(line);
      }
      made.append(part);
    }
    const scroll = scrolled(made, `Further numbers of ${head.name}`);
    return scroll;
  }

  function removalBlock(model, head) {
    const box = app.make("div");
    box.append(text("h4", "Effects of its removal"));
    const numbers = model.numbers.filter((number) => number.group.startsWith("Effects of removal"));
    if (!numbers.length) {
      box.append(text("p", "Nothing was taken away: the folder has no ablation.", { class: "muted" }));
      return box;
    }
    const groups = [...new Set(numbers.map((number) => number.group))];
    const made = app.make("table");
    const header = app.make("tr");
    // "Effects of removal" stands above; the columns say what the head was set to
    const titles = groups.map((group) => group.replace(/^Effects of removal,? ?/, "") || "head taken away");
    header.append(...["Change of", ...titles.map((title) => `${title} [95% interval]`), "unit"].map((title) => text("th", title, { scope: "col" })));
    made.append(app.make("thead"), app.make("tbody"));
    made.tHead.append(header);
    for (const title of [...new Set(numbers.map((number) => number.title))]) {
      const mine = groups.map((group) => numbers.find((number) => number.title === title && number.group === group));
      const row = app.make("tr");
      row.append(text("th", title, { scope: "row" }), ...mine.map((number) => removalCell(model, head, number)),
        text("td", app.unit(mine.find(Boolean))));
      made.tBodies[0].append(row);
    }
    const scroll = scrolled(made, `Effects of the removal of ${head.name}`);
    const counts = [...new Set(numbers.map((number) => (number.note || "").split("; ").at(-1)).filter(Boolean))];
    box.append(scroll, text("p",
      `Without the head less with it: below 0 the head helps contacts. Intervals over chains (${counts.join(", ")}); q is over all heads, for each way of removal.`,
      { class: "muted" }));
    return box;
  }

  function removalCell(model, head, number) {
    const cell = app.make("td");
    if (!number) {
      cell.append(text("span", "the same", { class: "beside" }));
      return cell;
    }
    const found = model.number(number.key, head.name);
    cell.append(`${app.value(found.value, number)} ${app.interval(found)}`.trim());
    if (!Number.isNaN(found.q)) cell.append(app.make("br"), text("span", app.qText(found.q), { class: "beside" }));
    return cell;
  }

  function othersBlock(model, head) {
    const box = app.make("div");
    const numbers = model.numbers.filter((number) => ["Weights alone", "Disulfides", "Repeats"].includes(number.group));
    if (!numbers.length) return box;
    box.append(text("h4", numbers.some((number) => number.group === "Repeats") ? "Repeats, disulfides, and weights alone" : "Disulfides, and weights alone"));
    box.append(numbersTable(model, head, numbers));
    const notes = [...new Set(numbers.flatMap((number) => (number.note || "").split("; ")).filter(Boolean))];
    if (notes.length) box.append(text("p", `q: ${notes.join("; ")}.`, { class: "muted" }));
    return box;
  }

  function facts(model, head) {
    const list = app.make("dl", null, { class: "facts" });
    for (const number of model.numbers.filter((one) => one.group === "Whole map")) {
      const { value } = model.number(number.key, head.name);
      const item = app.make("div");
      const unit = number.unit === "0 to 1" ? "" : ` ${number.unit}`;
      item.append(text("dt", number.title), text("dd", `${app.number(value, 2)}${unit}`));
      list.append(item);
    }
    return list;
  }

  // What was asked of the second set, as esmkit.heads.replication.STATES has it
  const STATES = { label: "its label", confirmed: "confirmed effects", large: "effects that are large but whose q is too high here" };
  const HOLDS = { yes: "holds", no: "does not hold", insufficient: "cannot be judged (insufficient)" };

  /** What a second set of chains said of its effects. */
  function repeated(head) {
    const said = Object.entries(STATES).map(([state, words]) => {
      const rows = head.repeated.filter((row) => row.state === state).map((row) => {
        const difference = row.difference === null ? "" : ` (${app.signed(row.difference, 2)} points [${app.number(row.low, 2)}, ${app.number(row.high, 2)}])`;
        return `${row.property} ${HOLDS[row.holds] || row.holds}${difference}`;
      });
      return rows.length ? `${words}: ${rows.join("; ")}` : "";
    });
    return text("p", `On a second set of chains, ${said.filter(Boolean).join(". Of ")}.`, { class: "muted" });
  }

  function card(model, name) {
    const head = model.byName.get(name);
    const box = app.make("article");
    const top = app.make("div", null, { class: "top-of-card" });
    const where = app.compared ? `, ${model.name}` : "";
    if (!head) {
      box.append(text("h3", `${name}${where}`), text("p", "This model has no such head."));
      return box;
    }
    box.style.setProperty("--family", `var(--family-${head.family})`);
    top.append(text("h3", `${name}${where}: ${head.label}`), text("p", `Why: ${head.evidence}.`), facts(model, head));
    if (head.repeated.length) top.append(repeated(head));
    const [left, right] = [app.make("div"), app.make("div")];
    left.append(offsetsBlock(model, head), effectsBlock(model, head), removalBlock(model, head));
    right.append(app.linksBlock(model, head), app.matricesBlock(model, head), othersBlock(model, head));
    box.append(top, left, right);
    return box;
  }

  function draw() {
    app.forgetDrawings();
    const { head } = app.state;
    const [first, second] = app.models.map((model) => model.byName.get(head));
    const label = app.compared
      ? `${(first || { label: "no such head" }).label}, beside ${(second || { label: "no such head" }).label}`
      : first.label;
    app.byId("card-title").textContent = `Open head: ${head}, ${label}`;
    app.byId("cards").className = app.compared ? "two-models" : "one-model";
    app.byId("cards").replaceChildren(...app.models.map((model) => card(model, head)));
  }

  function fill() {
    const { examples } = app.models[0];
    const chain = app.byId("chain");
    examples.forEach((example, place) => chain.append(app.make("option", `${example.id} (${example.why})`, { value: place })));
    const { circuits } = app.models.find((model) => model.circuits) || {};
    const offset = app.byId("offset");
    offset.append(app.make("option", "where pairs matter most", { value: "" }));
    for (const value of circuits ? circuits.offsets : []) offset.append(app.make("option", app.signed(value), { value }));
    for (const [control, has] of [[chain, examples.length], [app.byId("apart"), examples.length], [offset, circuits]])
      control.parentElement.hidden = !has;
  }

  function show() {
    app.byId("chain").value = app.state.chain;
    app.byId("apart").value = app.state.apart;
    app.byId("offset").value = app.state.offset ?? "";
    app.byId("all").checked = app.state.all;
  }

  app.startCard = function () {
    fill();
    app.byId("chain").addEventListener("change", (event) => app.set({ chain: Number(event.target.value) }));
    app.byId("apart").addEventListener("change", (event) => app.set({ apart: event.target.value }));
    app.byId("offset").addEventListener("change", (event) => app.set({ offset: event.target.value === "" ? null : Number(event.target.value) }));
    app.byId("all").addEventListener("change", (event) => app.set({ all: event.target.checked }));
    app.byId("before").addEventListener("click", () => app.step(-1));
    app.byId("after").addEventListener("click", () => app.step(1));
    app.follow(["chain", "apart", "offset", "all"], show);
    app.follow(["head", "chain", "apart", "offset", "all"], draw);
    show();
    draw();
  };
})(esmkitExplorer);
