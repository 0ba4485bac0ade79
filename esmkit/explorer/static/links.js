"use strict";
// The strongest links of the open head: chosen once for table and arcs, sorted, downloaded as CSV.

(function (app) {
  const every = [
    { name: "query", title: "Query", value: (link) => link.query },
    { name: "key", title: "Key", value: (link) => link.key },
    { name: "separation", title: "Separation", value: (link) => link.key - link.query },
    { name: "weight", title: "Weight", value: (link) => link.weight },
    { name: "distance", title: "Distance (Å)", value: (link) => app.distance(link.query, link.key), structure: true },
    { name: "contact", title: "Contact", value: (link) => Number(app.isContact(link.query, link.key)), structure: true },
  ];
  let columns = every;

  app.links = [];

  /** The strongest links that threshold, separation and brush leave, strongest first. */
  function choose() {
    const values = app.shown();
    const { top, threshold, separation, apc } = app.state;
    const farthest = app.state.farthest ?? Infinity;
    const size = app.residues;
    let found = [];
    let edge = -Infinity;
    // Ties stay in the order of query and key, as in AttentionMaps.top.
    const cut = () => {
      found.sort((a, b) => b.weight - a.weight || a.query - b.query || a.key - b.key);
      found.length = Math.min(found.length, top);
      if (found.length === top) edge = found[top - 1].weight;
    };
    for (let i = 0; i < size; i++)
      for (let j = apc ? i : 0; j < size; j++) {
        const weight = values[i * size + j];
        if (!(weight > edge) || weight < threshold || weight <= 0) continue;
        if (Math.abs(i - j) < separation || Math.abs(i - j) > farthest) continue;
        if (!app.inBrush(i, j) && !(apc && app.inBrush(j, i))) continue;
        found.push({ query: i, key: j, weight });
        if (found.length > 8 * top) cut();
      }
    cut();
    app.links = found;
  }

  function sorted() {
    const { column, down } = app.state.sort;
    const value = (columns.find((one) => one.name === column) || every[3]).value;
    const rank = (link) => {
      const v = value(link);
      return Number.isNaN(v) ? -Infinity : v;
    };
    return [...app.links].sort((a, b) => (down ? rank(b) - rank(a) : rank(a) - rank(b)));
  }

  function cells(link) {
    const distance = app.distance(link.query, link.key);
    const words = {
      query: app.residue(link.query),
      key: app.residue(link.key),
      separation: String(link.key - link.query).replace("-", "−"),
      weight: app.number(link.weight),
      distance: Number.isNaN(distance) ? "not known" : distance.toFixed(1),
      contact: Number.isNaN(distance) ? "not known" : app.isContact(link.query, link.key) ? "yes" : "no",
    };
    return columns.map((column) => words[column.name]);
  }

  function draw() {
    const body = document.querySelector("#links tbody");
    const rows = sorted().map((link) => {
      const row = app.make("tr", null, { "data-pair": `${link.query},${link.key}` });
      cells(link).forEach((text, place) => {
        const cell = app.make("td");
        if (place === 0) {
          const button = app.make("button", text, {
            type: "button", class: "plain", "aria-label": `Pick ${text} and ${app.residue(link.key)}`,
          });
          cell.append(button);
        } else cell.textContent = text;
        if (app.structure && place < 2) {
          const i = place ? link.key : link.query;
          cell.append(app.make("span", ` ${app.secondaryName(i)}`, { class: "muted" }));
        }
        row.append(cell);
      });
      row.addEventListener("click", () => app.set({ query: link.query, key: link.key }));
      return row;
    });
    if (!rows.length) {
      const row = app.make("tr");
      row.append(app.make("td", "No link is left: lower the threshold, widen the separation, or clear the brush.", { colspan: columns.length }));
      rows.push(row);
    }
    body.replaceChildren(...rows);
    app.byId("links-title").textContent = `Strongest links of ${app.state.head}${app.state.apc ? ", corrected" : ""}`;
    marks();
  }

  function marks() {
    const picked = `${app.state.query},${app.state.key}`;
    for (const row of document.querySelectorAll("#links tbody tr")) {
      const is = row.dataset.pair === picked;
      row.classList.toggle("picked", is);
      if (is) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  function heading() {
    const row = app.make("tr");
    for (const column of columns) {
      const { sort } = app.state;
      const mine = sort.column === column.name;
      const cell = app.make("th", null, { scope: "col", "aria-sort": mine ? (sort.down ? "descending" : "ascending") : "none" });
      const title = column.name === "weight" && app.state.apc ? "Corrected" : column.title;
      const button = app.make("button", `${title}${mine ? (sort.down ? " ▼" : " ▲") : ""}`, { type: "button", class: "plain", "data-sort": column.name });
      button.addEventListener("click", () => {
        app.set({ sort: { column: column.name, down: mine ? !sort.down : column.name !== "query" && column.name !== "key" } });
        document.querySelector(`[data-sort="${column.name}"]`).focus();
      });
      cell.append(button);
      row.append(cell);
    }
    document.querySelector("#links thead").replaceChildren(row);
  }

  /** The rows as CSV, in the order of the table; columns as AttentionMaps.top has them. */
  app.csv = function () {
    const measure = app.state.apc ? "corrected" : "weight";
    const names = ["head", "query_number", "query", "key_number", "key", "separation", measure];
    if (app.structure) names.push("query_secondary_structure", "key_secondary_structure", "distance", "contact");
    const lines = sorted().map(({ query, key, weight }) => {
      const row = [app.state.head, query + 1, app.sequence[query], key + 1, app.sequence[key], key - query, Number(weight.toPrecision(6))];
      if (app.structure) {
        const distance = app.distance(query, key);
        const known = !Number.isNaN(distance);
        row.push(app.secondary(query), app.secondary(key), known ? distance.toFixed(3) : "", known ? app.isContact(query, key) : "");
      }
      return row.join(",");
    });
    return [names.join(","), ...lines, ""].join("\n");
  };

  function download() {
    const url = URL.createObjectURL(new Blob([app.csv()], { type: "text/csv" }));
    const name = (app.name || app.data.id).replace(/[^A-Za-z0-9._-]+/g, "_").slice(0, 60) || "protein";
    const link = app.make("a", null, { href: url, download: `${name}.${app.state.head}.csv` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  app.startLinks = function () {
    const count = app.byId("top");
    const separation = app.byId("separation");
    const farthest = app.byId("farthest");
    const ofSequence = () => {
      columns = every.filter((column) => !column.structure || app.structure);
      separation.max = farthest.max = app.residues - 1;
    };
    ofSequence();
    app.follow(["run"], ofSequence);
    // Of a peptide too short for six, every pair is shown.
    if (app.residues <= 12) app.state.separation = Number((separation.value = 1));
    count.addEventListener("change", () => app.set({ top: Number(count.value) }));
    separation.addEventListener("change", () => app.set({ separation: Math.max(0, Math.round(Number(separation.value)) || 0) }));
    farthest.addEventListener("change", () => {
      const value = parseInt(farthest.value, 10); // an empty field is an open end
      app.set({ farthest: Number.isNaN(value) ? null : app.clamp(value, 0, app.residues - 1) });
    });
    const show = () => {
      count.value = app.state.top;
      separation.value = app.state.separation;
      farthest.value = app.state.farthest ?? "";
    };
    app.follow(["top", "separation", "farthest"], show);
    show();
    app.byId("download").addEventListener("click", download);
    choose();
    heading();
    draw();
    app.follow(["run", "head", "apc", "threshold", "separation", "farthest", "top", "brush"], choose);
    app.follow(["run", "sort", "apc"], heading);
    app.follow(["run", "head", "apc", "threshold", "separation", "farthest", "top", "brush", "sort"], draw);
    app.follow(["query", "key"], marks);
  };
})(esmkitExplorer);
