"use strict";
// What changed: the state that is compared with (A), the one on show (B), and B less A, for the map of
// the open head and for contacts; the heads and the contacts that changed most.

(function (app) {
  const states = app.states;
  const MOST = 300; // pixels along a picture; longer proteins share them
  const SEPARATION = 6;
  const CONTACT = 0.5; // score from which a pair is counted as a contact that is predicted
  const ROWS = 10;
  const LEAST = { map: 0.01, contacts: 0.02 }; // ends of a scale of differences: less is noise
  const panels = {};

  const NOTABLE = { share: 5e-4, score: 5e-3 }; // less is not worth a row of a table

  const signed = (value) => (value > 0 ? "+" : "") + app.number(value, 2);
  const kept = app.remember((key) => app.mapOfRun(app.before, app.heads.get(key.split(" ")[1])), 2);
  const mapOfBefore = (name) => kept(`${app.state.before} ${name}`);

  /** Score of a pair of residues in any run. */
  function contactIn(run, i, j) {
    if (!run.contacts) return NaN;
    if (i === j) return 0;
    const size = run.tokens - 2;
    const [a, b] = i < j ? [i, j] : [j, i];
    return run.contacts[a * size - (a * (a + 1)) / 2 + (b - a - 1)];
  }

  /** What is compared: each a function of two residues of B; NaN where A does not have the pair. */
  function values() {
    const size = app.residues;
    const places = app.alignSequences(app.before.sequence, app.sequence);
    const was = app.before.tokens - 2;
    const inA = (value) => (i, j) => (places[i] < 0 || places[j] < 0 ? NaN : value(places[i], places[j]));
    const before = mapOfBefore(app.state.head).weights;
    const now = app.mapOf(app.state.head).weights;
    return {
      size, was, related: app.related(app.before.sequence, app.sequence),
      map: { a: (i, j) => before[i * was + j], b: (i, j) => now[i * size + j], inA: inA((i, j) => before[i * was + j]) },
      contacts: { a: (i, j) => contactIn(app.before, i, j), b: (i, j) => contactIn(app.run, i, j), inA: inA((i, j) => contactIn(app.before, i, j)) },
    };
  }

  // ------------------------------------------------------------------------------- the pictures

  /** 256 colours from blue through the background to vermilion. */
  function diverging() {
    const middle = app.isDark() ? [3, 2, 16] : [255, 255, 255];
    const ends = [app.isDark() ? [88, 180, 240] : [0, 114, 178], app.isDark() ? [255, 145, 70] : [213, 94, 0]];
    return Uint32Array.from({ length: 256 }, (_, n) => {
      const share = (n - 127.5) / 127.5;
      const to = ends[share < 0 ? 0 : 1];
      const [r, g, b] = middle.map((low, c) => Math.round(low + (to[c] - low) * Math.abs(share)));
      return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
    });
  }

  /** The (R/2)-th largest magnitude, as in the large map: where colours end. */
  function cutOf(value, size, floor) {
    const all = new Float32Array(size * size);
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) all[i * size + j] = Math.abs(value(i, j)) || 0;
    return Math.max(floor, app.nthLargest(all, Math.max(0, Math.floor(size / 2) - 1)));
  }

  function paint(panel, size, value, cut, difference) {
    const block = Math.ceil(size / MOST);
    const side = Math.ceil(size / block);
    const colours = difference ? diverging() : app.palette();
    const { canvas, bar } = panel;
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d");
    const image = context.createImageData(side, side);
    const pixels = new Uint32Array(image.data.buffer);
    for (let row = 0; row < side; row++)
      for (let column = 0; column < side; column++) {
        let top = NaN;
        for (let i = row * block; i < Math.min(size, (row + 1) * block); i++)
          for (let j = column * block; j < Math.min(size, (column + 1) * block); j++) {
            const one = value(i, j);
            if (one === one && !(Math.abs(one) <= Math.abs(top))) top = one;
          }
        const share = app.clamp(top / cut, -1, 1);
        pixels[row * side + column] = Number.isNaN(top) ? app.UNKNOWN : colours[Math.round(difference ? 127.5 + 127.5 * share : 255 * Math.max(0, share))];
      }
    context.putImageData(image, 0, 0);
    const strip = bar.getContext("2d").createImageData(256, 1);
    new Uint32Array(strip.data.buffer).set(colours);
    bar.getContext("2d").putImageData(strip, 0, 0);
    panel.low.textContent = difference ? `≤ ${app.number(-cut, 2)}` : "0";
    panel.high.textContent = difference ? `≥ +${app.number(cut, 2)}` : `≥ ${app.number(cut, 2)}`;
  }

  function newPanel(kind, which) {
    const figure = app.make("figure", null, { class: "panel", id: `panel-${kind}-${which}` });
    const caption = app.make("figcaption");
    const frame = app.make("div", null, { class: "frame" });
    const canvas = app.make("canvas", null, { role: "img" });
    const ring = app.make("span", null, { class: "ring", "aria-hidden": "true" });
    const scale = app.make("div", null, { class: "scale", "aria-hidden": "true" });
    const [low, bar, high] = [app.make("span"), app.make("canvas", null, { width: 256, height: 1 }), app.make("span")];
    frame.append(canvas, ring);
    scale.append(low, bar, high);
    figure.append(caption, frame, scale);
    app.byId(`compare-${kind}`).append(figure);
    const panel = { figure, caption, canvas, ring, low, bar, high };
    const at = (event) => {
      const size = which === "a" ? app.before.tokens - 2 : app.residues;
      const cell = (offset, length) => app.clamp(Math.floor((offset / length) * size), 0, size - 1);
      return [cell(event.offsetY, canvas.clientHeight), cell(event.offsetX, canvas.clientWidth)];
    };
    /** The same pair in B, or null: a picture of A has residues of its own. */
    const inB = ([i, j]) => {
      if (which !== "a") return [i, j];
      const places = app.alignSequences(app.before.sequence, app.sequence);
      const pair = [places.indexOf(i), places.indexOf(j)];
      return pair.includes(-1) ? null : pair;
    };
    canvas.addEventListener("pointermove", (event) => {
      const pair = inB(at(event));
      app.tip(pair ? lines(kind, ...pair) : ["a residue that only A has"]);
    });
    canvas.addEventListener("pointerleave", () => app.tip(null));
    canvas.addEventListener("click", (event) => {
      const pair = inB(at(event));
      if (pair) app.set({ query: pair[0], key: pair[1] });
    });
    return panel;
  }

  /** What is known of a pair in both states. */
  function lines(kind, i, j) {
    const { inA, b } = values()[kind];
    const [a, now] = [inA(i, j), b(i, j)];
    const what = kind === "map" ? "weight" : "score";
    const names = kind === "map" ? [`query ${app.residue(i)}`, `key ${app.residue(j)}`] : [app.residue(i), app.residue(j)];
    return [...names, `${what} in A ${app.number(a)}`, `now ${app.number(now)}`, Number.isNaN(a) ? "no counterpart in A" : `change ${signed(now - a)}`];
  }

  /** Lines for the card of the picked pair. */
  app.moreOfPair = function (i, j) {
    if (!app.before) return [];
    const found = values();
    if (!found.related) return [];
    const [a, b] = [found.map.inA(i, j), found.map.b(i, j)];
    const more = Number.isNaN(a) ? ["no counterpart in the state compared with"] : [`weight before ${app.number(a)}, change ${signed(b - a)}`];
    const [was, is] = [found.contacts.inA(i, j), found.contacts.b(i, j)];
    if (!Number.isNaN(was) && !Number.isNaN(is)) more.push(`contact head's score before ${was.toFixed(2)}, change ${signed(is - was)}`);
    return more;
  };

  function drawKind(kind, found) {
    const { a, b, inA } = found[kind];
    const difference = (i, j) => b(i, j) - inA(i, j);
    const cut = kind === "contacts" ? 1 : Math.max(cutOf(a, found.was, 1e-6), cutOf(b, found.size, 1e-6));
    const of = panels[kind];
    paint(of.a, found.was, a, cut, false);
    paint(of.b, found.size, b, cut, false);
    of.difference.figure.hidden = !found.related;
    const name = kind === "map" ? app.state.head : "Contacts";
    of.a.caption.textContent = `A: ${states.labelOf(states.other)}`;
    of.b.caption.textContent = `B, on show: ${states.labelOf(states.history[states.at])}`;
    of.a.canvas.setAttribute("aria-label", `${name} of A`);
    of.b.canvas.setAttribute("aria-label", `${name} of B`);
    if (!found.related) {
      app.byId(`compare-${kind}-text`).textContent = "";
      return;
    }
    paint(of.difference, found.size, difference, cutOf(difference, found.size, LEAST[kind]), true);
    of.difference.caption.textContent = "B − A: orange more, blue less";
    let [up, down] = [{ value: 0 }, { value: 0 }];
    for (let i = 0; i < found.size; i++)
      for (let j = 0; j < found.size; j++) {
        const value = difference(i, j);
        if (value > up.value) up = { value, i, j };
        if (value < down.value) down = { value, i, j };
      }
    const pair = ({ value, i, j }) => (value === 0 ? "none" : `${signed(value)} ${kind === "map" ? `(${app.residue(i)} looks at ${app.residue(j)})` : `(${app.residue(i)} and ${app.residue(j)})`}`);
    const share = states.moved && states.moved.get(app.state.head);
    const moved = kind === "map" && share >= NOTABLE.share ? `${app.percent(share)} of the weight of ${app.state.head} is elsewhere than in A. ` : "";
    const text = up.value === 0 && down.value === 0 ? "The same in both." : `${moved}Largest increase ${pair(up)}, largest decrease ${pair(down)}.`;
    app.byId(`compare-${kind}-text`).textContent = text;
    of.difference.canvas.setAttribute("aria-label", `${name}, B less A. ${text}`);
  }

  function rings() {
    if (!app.before || !panels.map) return;
    const { query, key } = app.state;
    const places = app.alignSequences(app.before.sequence, app.sequence);
    for (const of of Object.values(panels))
      for (const [which, { ring }] of Object.entries(of)) {
        const pair = which === "a" ? [places[query], places[key]] : [query, key];
        const size = which === "a" ? app.before.tokens - 2 : app.residues;
        ring.hidden = query === null || pair.some((place) => !(place >= 0));
        ring.style.top = `${((pair[0] + 0.5) / size) * 100}%`;
        ring.style.left = `${((pair[1] + 0.5) / size) * 100}%`;
      }
  }

  // ----------------------------------------------------------------------------------- in words

  /** Contacts gained and lost: pairs six or more apart, of residues that both states have. */
  const changes = app.remember(function () {
    const found = { gained: 0, lost: 0, pairs: [], words: "" };
    if (!app.before || !app.before.contacts || !app.run.contacts) return found;
    const { related, contacts: { inA, b } } = values();
    if (!related) return found;
    let edge = NOTABLE.score;
    const cut = () => {
      found.pairs.sort((x, y) => Math.abs(y.is - y.was) - Math.abs(x.is - x.was));
      found.pairs.length = Math.min(found.pairs.length, ROWS);
      if (found.pairs.length === ROWS) edge = Math.abs(found.pairs[ROWS - 1].is - found.pairs[ROWS - 1].was);
    };
    for (let i = 0; i < app.residues; i++)
      for (let j = i + SEPARATION; j < app.residues; j++) {
        const [was, is] = [inA(i, j), b(i, j)];
        if (Number.isNaN(was)) continue;
        if (was < CONTACT && is >= CONTACT) found.gained++;
        if (was >= CONTACT && is < CONTACT) found.lost++;
        if (Math.abs(is - was) <= edge) continue;
        found.pairs.push({ i, j, was, is });
        if (found.pairs.length > 20 * ROWS) cut();
      }
    cut();
    found.words = `${app.count(found.gained, "contact")} gained, ${found.lost} lost`;
    return found;
  }, 1);
  app.contactChange = () => changes(app.state.before);

  function table(titles, rows) {
    const found = app.make("table");
    const head = app.make("tr");
    for (const title of titles) head.append(app.make("th", title, { scope: "col" }));
    found.append(head);
    for (const cells of rows) {
      const row = app.make("tr");
      for (const cell of cells) {
        const place = app.make("td");
        place.append(cell);
        row.append(place);
      }
      found.append(row);
    }
    return found;
  }

  function button(text, label, act) {
    const made = app.make("button", text, { type: "button", class: "plain", "aria-label": label });
    made.addEventListener("click", act);
    return made;
  }

  function heads() {
    const place = app.byId("compare-heads");
    if (!states.moved) return place.replaceChildren(app.make("p", "Comparing all heads …", { class: "muted" }));
    const rows = [...states.moved].filter(([, share]) => share >= NOTABLE.share).sort((a, b) => b[1] - a[1]).slice(0, ROWS);
    if (!rows.length) return place.replaceChildren(app.make("p", `No head has moved ${app.percent(NOTABLE.share)} of its weight.`, { class: "muted" }));
    place.replaceChildren(
      table(["Head", "Weight that moved", ""], rows.map(([name, share]) => [
        button(name, `Open ${name}`, () => app.set({ head: name })), app.percent(share),
        [app.heads.get(name).label, app.state.off.split(",").includes(name) ? "is off" : ""].filter(Boolean).join(", "),
      ])),
      app.make("p", "The share of its weight that a head gives to other tokens than in A: half the sum of the absolute changes of a row, mean over the queries that both have.", { class: "muted" }));
  }

  function contacts() {
    const place = app.byId("compare-pairs");
    const change = app.contactChange();
    if (!change.pairs.length) return place.replaceChildren(app.make("p", `No pair six or more apart has changed its score by ${NOTABLE.score} or more.`, { class: "muted" }));
    const truth = app.structure ? ["True contact"] : [];
    const rows = change.pairs.slice(0, ROWS).map(({ i, j, was, is }) => [
      button(`${app.residue(i)} ${app.residue(j)}`, `Pick ${app.residue(i)} and ${app.residue(j)}`, () => app.set({ query: i, key: j })),
      was.toFixed(2), is.toFixed(2), signed(is - was),
      ...truth.map(() => (Number.isNaN(app.distance(i, j)) ? "not known" : app.isContact(i, j) ? "yes" : "no")),
    ]);
    const same = app.before.sequence.length === app.residues ? "" : " Only pairs that both states have.";
    place.replaceChildren(
      table(["Pair", "A", "B", "Change", ...truth], rows),
      app.make("p", `${change.words}: pairs six or more apart whose score passes ${CONTACT}.${same}`, { class: "muted" }));
  }

  /** Precision of the contacts in both states, where the structure lies on both alike. */
  function scores() {
    const place = app.byId("compare-scores");
    place.replaceChildren();
    if (!app.structure || !app.run.contacts || app.before.tokens !== app.run.tokens || !app.related(app.before.sequence, app.sequence)) return;
    const before = app.scoresOfRun((i, j) => contactIn(app.before, i, j));
    const now = app.store.scores();
    const share = (value) => (value === null || Number.isNaN(value) ? "none" : value.toFixed(2));
    const cell = (name, n) => `${share(before[n][name])} → ${share(now[n][name])}`;
    const found = table(["Range", "P@L, A → B", "P@L/2", "P@L/5"], now.map((row, n) => [row.range, cell("P@L", n), cell("P@L/2", n), cell("P@L/5", n)]));
    found.className = "scores narrow";
    place.append(found);
  }

  // ------------------------------------------------------------------------------------ together

  function words(related) {
    const [a, b] = [app.before.sequence, app.sequence];
    const [one, two] = [states.other, states.history[states.at]];
    const parts = [`A is ${states.labelOf(one)}; B, on show, is ${states.labelOf(two)}.`];
    if (a === b) parts.push("The sequence is the same.");
    else if (!related) parts.push("The two sequences have too little in common for differences, which need residues that are the same in both.");
    else if (a.length === b.length) parts.push(`From A to B: ${app.changeWords(a, b)}; compared position by position.`);
    else parts.push(`From A to B: ${app.changeWords(a, b)}. The one sequence is laid on the other with one gap, where that keeps most residues the same; grey has no counterpart.`);
    app.byId("compare-text").textContent = parts.join(" ");
  }

  function draw() {
    const shown = app.before !== null;
    app.byId("compare-body").hidden = !shown;
    app.byId("compare").value = app.state.compare;
    app.byId("compare").options[2].disabled = !states.pinned;
    app.byId("compare-section").hidden = states.history.length < 2 && !states.pinned;
    if (!shown) {
      app.byId("compare-text").textContent = "What is on show is the state that it would be compared with.";
      return;
    }
    const found = values();
    words(found.related);
    app.byId("compare-lists").hidden = !found.related;
    app.byId("compare-map-title").textContent = `Map of ${app.state.head}`;
    drawKind("map", found);
    const has = Boolean(app.run.contacts && app.before.contacts);
    for (const id of ["compare-contacts", "compare-contacts-text", "compare-contacts-title"]) app.byId(id).hidden = !has;
    if (has) drawKind("contacts", found);
    scores();
    heads();
    contacts();
    rings();
  }

  app.startCompare = function () {
    for (const kind of ["map", "contacts"]) {
      panels[kind] = {};
      for (const which of ["a", "b", "difference"]) panels[kind][which] = newPanel(kind, which);
    }
    app.byId("compare").addEventListener("change", (event) => {
      app.set({ compare: event.target.value });
      states.show(states.at);
    });
    app.byId("pin").addEventListener("click", () => states.pin());
    app.follow(["run", "before", "head"], draw);
    app.follow(["summaries"], () => app.before && (heads(), drawKind("map", values()), contacts()));
    app.follow(["query", "key"], rings);
    app.followTheme(draw);
    draw();
  };
})(esmkitExplorer);
