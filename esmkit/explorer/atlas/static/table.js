"use strict";
// The table of heads, and the controls that search, sort and filter it.

(function (app) {
  const [first, second] = app.models;
  const body = document.querySelector("#heads tbody");
  let shown = [];

  // Numbers that stand beside the chosen one, where the page has them
  const BRIEF = ["distance", "bos", "repeat_score", "copying"];
  const removals = first.numbers.filter((number) => number.group.startsWith("Effects of removal"));
  const brief = [
    ...BRIEF.map((key) => first.numberByKey.get(key)),
    removals.find((number) => number.key.endsWith("precision_change")),
    removals.find((number) => number.key.includes("loss")),
  ].filter(Boolean);

  /** The columns: how each is called, and what its cell says of a head. */
  function columns() {
    const chosen = app.numberOf(app.state.number);
    const numbers = (model, sort, number, more = {}) => ({
      sort, number, title: number.title, unit: app.unit(number), ...more,
      cell: (name) => model.number(number.key, name),
    });
    const label = (model, sort, title) => ({
      sort, title, cell: (name) => model.byName.get(name), label: true,
    });
    const head = { sort: "head", title: "Head", head: true };
    if (!app.compared)
      return [
        head, label(first, "label", "Label"), numbers(first, "number", chosen, { chosen: true }),
        ...brief.filter((number) => number.key !== chosen.key).map((number) => numbers(first, number.key, number, { wide: true })),
      ];
    return [
      head, label(first, "label", `Label, ${first.name}`), label(second, "label2", `Label, ${second.name}`),
      numbers(first, "number", chosen, { chosen: true, title: `${chosen.title}, ${first.name}` }),
      numbers(second, "number2", chosen, { chosen: true, title: `${chosen.title}, ${second.name}` }),
      { sort: "difference", number: { key: "_change" }, title: "difference, second less first", unit: app.unit(chosen),
        cell: (name) => ({ value: app.difference(chosen.key, name), low: NaN, high: NaN, q: NaN }) },
    ];
  }

  function cell(column, name) {
    if (column.head) {
      const box = app.make("th", null, { scope: "row" });
      box.append(app.make("button", name, { type: "button", class: "plain", tabindex: "-1", "data-open": name }));
      return box;
    }
    const box = app.make("td", null, { class: [column.number ? "number" : "", column.wide ? "wide" : ""].join(" ").trim() });
    const found = column.cell(name);
    if (column.label) {
      if (!found) box.textContent = "no such head";
      else {
        const tag = app.make("span", null, { class: "tag", "aria-hidden": "true" });
        tag.style.setProperty("--family", `var(--family-${found.family})`);
        box.append(tag, found.label);
      }
      return box;
    }
    box.append(app.value(found.value, column.number));
    const beside = column.chosen ? [app.interval(found), app.qText(found.q)].filter(Boolean).join(" ") : "";
    if (beside && !Number.isNaN(found.value)) box.append(" ", app.make("span", beside, { class: "beside" }));
    return box;
  }

  function draw() {
    shown = app.found();
    const all = columns();
    body.replaceChildren(...shown.map((name) => {
      const row = app.make("tr", null, { "data-name": name });
      row.append(...all.map((column) => cell(column, name)));
      row.addEventListener("click", () => app.set({ head: name }));
      return row;
    }));
    if (!shown.length) {
      const row = app.make("tr");
      row.append(app.make("td", "No head is left: clear the search, the label or the limits.", { colspan: all.length }));
      body.append(row);
    }
    const total = app.names.length;
    const insufficient = shown.filter((name) => first.byName.has(name) && Number.isNaN(first.number(app.state.number, name).value)).length;
    app.byId("count").textContent =
      `${shown.length} of ${total} head${total === 1 ? "" : "s"}` +
      (insufficient ? `; of ${insufficient} the number is not known, for lack of support` : "") + ".";
    app.fadeHeads(new Set(shown));
    heading(all);
    mark();
  }

  function heading(all) {
    const row = app.make("tr");
    for (const column of all) {
      const mine = app.state.sort === column.sort;
      const box = app.make("th", null, {
        scope: "col", "aria-sort": mine ? (app.state.down ? "descending" : "ascending") : "none",
        class: [column.number ? "number" : "", column.wide ? "wide" : ""].join(" ").trim(),
      });
      const button = app.make("button", `${column.title}${mine ? (app.state.down ? " ▼" : " ▲") : ""}`, {
        type: "button", class: "plain", "data-sort": column.sort,
      });
      button.addEventListener("click", () => {
        app.set({ sort: column.sort, down: mine ? !app.state.down : Boolean(column.number) });
        document.querySelector(`#heads [data-sort="${CSS.escape(column.sort)}"]`).focus();
      });
      box.append(button);
      if (column.unit) box.append(app.make("span", column.unit, { class: "unit" }));
      row.append(box);
    }
    document.querySelector("#heads thead").replaceChildren(row);
  }

  /** One button of the table is reached by Tab: that of the open head, or the first. */
  function mark() {
    const open = shown.includes(app.state.head) ? app.state.head : shown[0];
    for (const row of body.querySelectorAll("tr[data-name]")) {
      const is = row.dataset.name === app.state.head;
      if (is) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
      row.querySelector("button").tabIndex = row.dataset.name === open ? 0 : -1;
    }
  }

  /** Scroll the table, and nothing else, to the open head. */
  function toOpen() {
    const row = [...body.children].find((one) => one.dataset.name === app.state.head);
    const box = app.byId("heads-scroll");
    if (!row) return;
    const [top, height] = [row.offsetTop - document.querySelector("#heads thead").offsetHeight, row.offsetHeight];
    if (top < box.scrollTop) box.scrollTop = top;
    else if (row.offsetTop + height > box.scrollTop + box.clientHeight) box.scrollTop = row.offsetTop + height - box.clientHeight;
  }

  /** Open the head so many rows further down. */
  app.step = function (by) {
    const at = shown.indexOf(app.state.head);
    const next = shown[at < 0 ? 0 : app.clamp(at + by, 0, shown.length - 1)];
    if (next) app.set({ head: next });
    return next;
  };

  body.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1, Home: -1e9, End: 1e9 }[event.key];
    if (!by || !shown.length) return;
    event.preventDefault();
    const name = app.step(by);
    [...body.querySelectorAll("[data-open]")].find((button) => button.dataset.open === name).focus({ preventScroll: true });
  });

  /** The rows as CSV, in the order of the table, with intervals and q of the chosen number. */
  app.csv = function () {
    const chosen = app.state.number;
    const text = (value) => {
      const plain = /^[=+\-@\t\r＝＋－＠]/.test(value) ? `'${value}` : value; // or a spreadsheet runs it
      return /[",\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
    };
    const number = (value) => (Number.isNaN(value) ? "" : String(Number(value.toPrecision(7))));
    const lines = [["name", ...app.models.flatMap((model, place) => {
      const tail = place ? "_2" : "";
      return [`label${tail}`, ...["", "_low", "_high", "_q"].map((end) => text(chosen) + end + tail)];
    })].join(",")];
    for (const name of shown)
      lines.push([name, ...app.models.flatMap((model) => {
        const { value, low, high, q } = model.number(chosen, name);
        return [text((model.byName.get(name) || { label: "" }).label), ...[value, low, high, q].map(number)];
      })].join(","));
    return [...lines, ""].join("\n");
  };

  function download() {
    const url = URL.createObjectURL(new Blob([app.csv()], { type: "text/csv" }));
    const link = app.make("a", null, { href: url, download: "heads.csv" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  // ------------------------------------------------------------------------------- controls

  function fillLabels() {
    const select = app.byId("label");
    select.append(app.make("option", "any", { value: "" }));
    const every = app.models.flatMap((model) => model.heads);
    for (const [family, words] of Object.entries(app.families)) {
      const mine = every.filter((head) => head.family === family);
      if (!mine.length) continue;
      const group = app.make("optgroup", null, { label: words });
      group.append(app.make("option", `${words}: all ${mine.length}`, { value: `family:${family}` }));
      const labels = [...new Set(mine.map((head) => head.label))].sort();
      for (const label of labels)
        group.append(app.make("option", `${label}: ${mine.filter((head) => head.label === label).length}`, { value: `label:${label}` }));
      select.append(group);
    }
  }

  function fillNumbers() {
    const groups = new Map();
    for (const key of app.keys) {
      const number = app.numberOf(key);
      if (!groups.has(number.group)) groups.set(number.group, app.make("optgroup", null, { label: number.group }));
      groups.get(number.group).append(app.make("option", number.title, { value: key }));
    }
    app.byId("number").append(...groups.values());
  }

  function show() {
    for (const name of ["find", "label", "number"]) {
      const input = app.byId(name);
      if (input.value !== app.state[name]) input.value = app.state[name];
    }
    for (const name of ["least", "most"]) {
      const input = app.byId(name);
      const value = app.state[name];
      if (input.value === "" ? value !== null : Number(input.value) !== value) input.value = value ?? "";
    }
    app.byId("differ").checked = app.state.differ;
    const number = app.numberOf(app.state.number);
    app.byId("number-note").textContent =
      `${number.title[0].toUpperCase()}${number.title.slice(1)}: ${app.unit(number) || "no unit"}` +
      `${number.note ? `; ${number.note}` : ""}. ${number.group}.`;
  }

  app.startTable = function () {
    fillLabels();
    fillNumbers();
    const limit = (text) => (text === "" || Number.isNaN(Number(text)) ? null : Number(text));
    app.byId("find").addEventListener("input", (event) => app.set({ find: event.target.value }));
    app.byId("label").addEventListener("change", (event) => app.set({ label: event.target.value }));
    app.byId("differ").addEventListener("change", (event) => app.set({ differ: event.target.checked }));
    app.byId("differ-label").hidden = !app.compared;
    // Limits are of one number, so another begins without
    app.byId("number").addEventListener("change", (event) =>
      app.set({ number: event.target.value, least: null, most: null, sort: "number", down: true }));
    for (const name of ["least", "most"])
      app.byId(name).addEventListener("input", (event) => app.set({ [name]: limit(event.target.value) }));
    app.byId("filters").addEventListener("submit", (event) => event.preventDefault());
    app.byId("clear").addEventListener("click", (event) => {
      event.preventDefault();
      app.set({ find: "", label: "", differ: false, least: null, most: null });
    });
    app.byId("download").addEventListener("click", download);
    app.follow(["find", "label", "differ", "number", "least", "most"], show);
    app.follow(["find", "label", "differ", "number", "least", "most", "sort", "down"], draw);
    app.follow(["head"], () => { mark(); toOpen(); });
    app.state.head = app.found()[0];
    show();
    draw();
    toOpen();
  };
})(esmkitExplorer);
