"use strict";
// Words around the views, and the order in which they start.

(function (app) {
  /** Say in a sentence or two what the page is, before anything else. */
  function about() {
    const { checkpoint, layers, heads } = app.data.model;
    app.byId("about").textContent =
      `This page shows where the attention heads of a protein language model (${checkpoint.name}: ${layers} layers of ${heads} heads) look in ${app.data.id}, ${app.residues} residues. ` +
      "Choose a head in the grid and a pair of residues in its map; the links, the contacts and the steps of the computation follow. The address of the page holds what you see: copy it to share the view.";
  }

  function names() {
    const { id, header } = app.data;
    app.byId("title").textContent = id;
    const rest = header.startsWith(id) ? header.slice(id.length).trim() : header;
    app.byId("header").firstElementChild.textContent = rest;
    const notes = app.byId("notes");
    for (const note of app.data.notes) notes.append(app.make("li", note));
    if (app.data.model.checkpoint.note) notes.append(app.make("li", app.data.model.checkpoint.note));
    notes.hidden = !notes.children.length;
  }

  function provenance() {
    const { checkpoint, layers, heads, dtype, device } = app.data.model;
    const { structure, contacts, check, labels, pieces } = app.data;
    const rows = [
      ["Protein", `${app.data.id}, ${app.residues} residues${pieces.length > 1 ? `, read in ${pieces.length} overlapping windows` : ""}`],
      ["Weights", `${checkpoint.name} (${checkpoint.official ? "official" : "not official"}): ${layers} layers of ${heads} heads`],
      ["Source", `${checkpoint.source}${checkpoint.revision ? `, revision ${checkpoint.revision}` : ""}`],
      ["SHA-256", checkpoint.sha256],
    ];
    if (structure)
      rows.push(["Structure", `${structure.name}: ${structure.aligned} residues aligned with the sequence, ${app.percent(structure.identity)} identical; ${structure.contacts} contacts (Cβ closer than 8 Å)${structure.notes.length ? `. ${structure.notes.join(". ")}` : ""}`]);
    if (contacts) rows.push(["Contacts", contacts.source]);
    if (labels) rows.push(["Labels of heads", labels.source]);
    if (!app.data.live) // a page that runs the model says how exact it is itself
      rows.push(["Numbers", `Maps are made in the browser from the queries and keys of esmkit's reference encoder, held in 16 bits. The largest difference of a weight from the model's own (${dtype} on ${device}) is ${app.number(check.largest, 2)}, in ${check.where}. Thumbnails have 8 bits, residual streams 8 bits for each token.`]);
    rows.push(["Made with", `esmkit ${app.data.esmkit}${app.data.command ? `: ${app.data.command}` : ""}`]);
    for (const [name, text] of rows) app.byId("provenance").append(app.make("dt", name), app.make("dd", text));
  }

  /** Open the head that is best on this structure, or one that a profile says sees contacts, or one
   *  in which residues far apart look at each other: most others only watch a neighbour. */
  function first() {
    const best = (heads, value) => heads.reduce((a, b) => ((value(b) ?? -1) > (value(a) ?? -1) ? b : a)).name;
    const { heads } = app.data;
    if (app.structure) return best(heads, (head) => head.precision_half);
    const named = heads.filter((head) => /contact/.test(head.label || ""));
    return best(named.length ? named : heads, (head) => head.reach);
  }

  async function start() {
    if (app.beforeStart) await app.beforeStart();
    app.state.head = first();
    about();
    names();
    provenance();
    app.startHeads();
    await app.embedFigures();
    app.startMap();
    app.startLinks();
    app.startArcs();
    app.startContacts();
    app.startSteps();
    app.byId("head").value = app.state.head;
    app.applyTheme();
    if (app.links.length) app.set({ query: app.links[0].query, key: app.links[0].key });
    else app.pickResidue(0);
    if (app.afterStart) app.afterStart();
    app.startAddress();
    document.documentElement.dataset.ready = "true";
  }

  start().catch((error) => {
    const place = app.byId("problem");
    place.hidden = false;
    place.textContent = `This page could not start: ${error.message}. It is tested in Chromium; any browser from 2022 on should do.`;
    console.error(error);
  });
})(esmkitExplorer);
