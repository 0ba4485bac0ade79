"use strict";
// Words around the views, the view in the address, and the order in which all starts.

(function (app) {
  const [first, second] = app.models;

  /** Say in a sentence or two what the page is, before anything else. */
  function about() {
    const heads = first.heads.length;
    const removed = first.ablated ? ", and what is lost without it" : "";
    const beside = second ? ` Beside each stands the head of the same name of ${second.name}.` : "";
    app.byId("header").firstElementChild.textContent = app.models.map((model) => model.name).join(" beside ");
    app.byId("about").textContent =
      `This page shows what each of the ${heads} attention heads of a protein language model (${first.name}, ${first.layers} layers) looks at, measured on ${first.chains} protein chains of known structure, what its weights say about amino acids${removed}.${beside} ` +
      "Choose a head in the grid or the table; its card follows below. The address of the page holds what you see: copy it to share the view.";
    const notes = app.byId("notes");
    for (const note of app.data.notes) notes.append(app.make("li", note));
    notes.hidden = !notes.children.length;
  }

  function reading() {
    const samples = first.resamples ? ` (${first.resamples} bootstrap samples)` : "";
    const lines = [
      "A share is the part of a head's weight between residues that is on such pairs; what is expected comes from its own distances and queries in each chain. A difference is in percentage points.",
      `Intervals are 95%, over proteins${samples}. q is the false discovery rate; beside each number stands over how many heads and properties it was corrected. Up to ${first.maxQ} counts as significant.`,
      "Insufficient means too little support: a property in fewer than 10 chains is not judged, and a head without any property that can be judged is labelled so. “Mixed” means that properties were judged and none was large and sure enough.",
      `The verdict goes by size and not by q alone: ${app.data.sizes.join("; ")}.`,
      first.control
        ? "q allows for what heads of untrained networks show on the same chains."
        : "No untrained network was measured beside this one, so that q allows for shifted labels alone.",
      "Where a head looks is not what it is for: see the effects of its removal.",
    ];
    if (second) lines.push("The difference of two models is that of their numbers; it has no interval of its own.");
    app.byId("reading").append(...lines.map((line) => app.make("li", line)));
  }

  function provenance() {
    const rows = [];
    for (const model of app.models) {
      const { checkpoint } = model;
      rows.push(
        ["Weights", `${model.name} (${checkpoint.official ? "official" : "not official"}), ${model.layers} layers, ${model.heads.length} heads; ${checkpoint.source || "unknown source"}`],
        ["SHA-256", checkpoint.sha256 || "not known"],
        ["Profile", `${model.chains} chains${model.ablated > 0 ? `; heads taken away on ${model.ablated}` : ""}${model.command ? `; ${model.command}` : ""}`]);
      if (model.examples.length)
        rows.push(["Example chains", `${model.examples.map((example) => `${example.id}: ${example.why}, ${example.sequence.length} residues`).join("; ")}. Chosen by their structures alone; 40 links a head and chain.`]);
    }
    rows.push(["Made with", `esmkit ${app.data.esmkit}${app.data.command ? `: ${app.data.command}` : ""}`]);
    for (const [name, words] of rows) app.byId("provenance").append(app.make("dt", name), app.make("dd", words));
  }

  function fields() {
    const { number, whole, oneOf, flag } = app.parse;
    const yes = (value) => (value ? "yes" : "no");
    const known = (options) => (text) => (options.includes(text) ? text : undefined);
    const labels = [...app.byId("label").options].map((option) => option.value);
    const sorts = ["head", "label", "number", ...(second ? ["label2", "number2", "difference"] : app.keys)];
    const offsets = [...app.byId("offset").options].map((option) => option.value);
    const last = Math.max(0, first.examples.length - 1);
    app.fields = {
      head: ["head", (text) => (app.order.has(text) ? text : undefined), String],
      find: ["find", (text) => text.slice(0, 200), String],
      label: ["label", known(labels), String],
      differ: ["differ", flag, yes],
      number: ["number", known(app.keys), String],
      from: ["least", number(-Infinity, Infinity), String],
      to: ["most", number(-Infinity, Infinity), String],
      sort: ["sort", known(sorts), String],
      order: ["down", (text) => ({ down: true, up: false })[text], (value) => (value ? "down" : "up")],
      chain: ["chain", whole(0, last), String],
      links: ["apart", oneOf("auto", "any", "far"), String],
      offset: ["offset", (text) => (text !== "" && offsets.includes(text) ? Number(text) : undefined), String],
      all: ["all", flag, yes],
    };
    app.always = ["head"];
  }

  function start() {
    about();
    reading();
    provenance();
    app.startTable();
    app.startHeads();
    app.startCard();
    fields();
    app.applyTheme();
    app.startAddress();
    document.documentElement.dataset.ready = "true";
  }

  try {
    start();
  } catch (error) {
    const place = app.byId("problem");
    place.hidden = false;
    place.textContent = `This page could not start: ${error.message}. It is tested in Chromium; any browser from 2023 on should do.`;
    console.error(error);
  }
})(esmkitExplorer);
