"use strict";
// Starts the model in the page, and holds what belongs to all of its parts: status, progress, keys,
// heads that are off, the address.

(function (app) {
  const states = app.states;
  const status = app.byId("live-status");

  /** Say something in the status line, which screen readers read out. */
  app.say = function (text, problem = false) {
    status.textContent = text;
    status.classList.toggle("problem", problem);
  };

  /** Say that a state is computed, and what became of the contacts. */
  app.saySeconds = function (seconds) {
    const { words } = states.history[states.at];
    const change = app.before && app.contactChange ? app.contactChange().words : "";
    app.say(`${words}: computed in ${app.number(Math.max(0.01, seconds), 2)} s${change ? `; ${change}` : ""}.`);
  };

  function progress(share) {
    const bar = app.byId("live-progress");
    bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    bar.firstElementChild.style.width = `${100 * share}%`;
  }

  /** Unpack the weights, and run the protein that the page begins with. */
  app.beforeStart = async function () {
    const { checkpoint } = app.data.model;
    app.byId("live-text").textContent =
      `${checkpoint.name} itself runs in this page, on your machine; no sequence leaves it. Click a residue, or focus it and type a letter, to change it; or type or paste a sequence of your own.`;
    const text = (name) => app.byId(`data-${name}`).textContent;
    await app.pause(); // so that the words above are seen first
    app.live = await esmkitLive.connect({ manifest: app.data.manifest, weights: text("weights"), kernel: text("kernel") || null, progress });
    progress(1);
    app.say("Computing …");
    const base = { name: app.data.id, sequence: app.data.sequence };
    states.history = [{ sequence: base.sequence, base, off: [], means: "output", words: `start: ${base.name}` }];
    if (!(await states.show(0))) throw new Error(app.byId("live-status").textContent);
    app.byId("live-progress").hidden = true;
    app.byId("live-body").hidden = false;
  };

  // ------------------------------------------------------------------------------ heads that are off

  function offHeads() {
    const off = app.state.off ? app.state.off.split(",") : [];
    app.byId("off-list").replaceChildren(...off.map((name) => {
      const button = app.make("button", `${name} is off ✕`, { type: "button", "aria-label": `Switch ${name} on` });
      button.addEventListener("click", () => states.toggleHead(name));
      return button;
    }));
    app.byId("all-on").hidden = !off.length;
    for (const option of document.querySelectorAll("#grid .head")) {
      const is = off.includes(option.dataset.head);
      option.classList.toggle("off", is);
      option.querySelector(".power").textContent = is ? "on" : "off";
      option.querySelector(".power").title = is ? "Switch this head on" : "Switch this head off";
      const words = app.headWords(app.heads.get(option.dataset.head));
      option.setAttribute("aria-label", is ? `${words}, off` : words);
    }
    const button = app.byId("switch-head");
    const is = off.includes(app.state.head);
    button.textContent = `Switch ${app.state.head} ${is ? "on" : "off"}`;
    app.byId("switch-text").textContent = is ? `${app.state.head} is off.` : "";
    for (const id of ["off-means-label", "off-text"]) app.byId(id).hidden = !off.length;
    app.byId("off-means").value = app.state.means;
    app.byId("off-text").textContent = offWords(off);
  }

  /** What it means that heads are off, and what it cannot change. */
  function offWords(off) {
    const last = app.data.model.layers - 1;
    const atEnd = off.every((name) => app.heads.get(name).layer === last);
    const output = "What a head that is off has gathered is set to 0 before W_O: it adds nothing to the residual stream, and the layers after it go on without it. Its own map is still made" +
      (app.state.means === "output" ? ", and the contact head still reads it." : ".") +
      (atEnd ? ` All that are off are in layer ${last}, the last: no map is made after them, so maps stay as they were; hidden states and what the model expects change.` : "");
    const map = "The contact head reads a map of zeros in place of that of a head that is off.";
    return { output, map: `${map} The model itself runs as before.`, both: `${output} ${map}` }[app.state.means];
  }

  function headControls() {
    const place = app.make("div", null, { class: "controls" });
    const button = app.make("button", "", { type: "button", id: "switch-head" });
    button.addEventListener("click", () => states.toggleHead(app.state.head));
    place.append(button, app.make("span", "", { id: "switch-text", class: "muted" }));
    app.byId("head-evidence").after(place);
    for (const option of document.querySelectorAll("#grid .head")) {
      const power = app.make("span", "off", { class: "power", "aria-hidden": "true" });
      power.addEventListener("click", (event) => {
        event.stopPropagation();
        states.toggleHead(option.dataset.head);
      });
      option.append(power);
    }
    app.byId("grid").addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() !== "o" || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      states.toggleHead(app.state.head);
    });
    app.byId("grid-text").textContent += " O, or the sign at its corner, switches a head off and on.";
    app.byId("off-means").addEventListener("change", (event) => {
      const { value } = event.target;
      states.change({ means: value }, `off means: ${event.target.selectedOptions[0].textContent}`);
    });
    app.byId("all-on").addEventListener("click", () => states.change({ off: [] }, "all heads on"));
    app.follow(["run", "off", "head", "summaries"], offHeads);
    offHeads();
  }

  // ------------------------------------------------------------------------------------- history

  function history() {
    const list = app.byId("history");
    list.replaceChildren(...states.history.map((one, at) => {
      const item = app.make("li", null, at === states.at ? { "aria-current": "true" } : {});
      const button = app.make("button", one.words, { type: "button", class: "plain" });
      button.addEventListener("click", () => states.show(at));
      item.append(button);
      return item;
    }));
    app.byId("undo").disabled = states.at === 0;
    app.byId("redo").disabled = states.at === states.history.length - 1;
    app.byId("restart").disabled = app.state.sequence === app.data.sequence && !app.state.off;
  }

  function keys(event) {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    if (event.target.closest("textarea, input")) return; // there the browser has an undo of its own
    const key = event.key.toLowerCase();
    if (key === "z") (event.shiftKey ? states.redo : states.undo)();
    else if (key === "y") states.redo();
    else return;
    event.preventDefault();
  }

  function controls() {
    app.byId("undo").addEventListener("click", states.undo);
    app.byId("redo").addEventListener("click", states.redo);
    app.byId("restart").addEventListener("click", () =>
      states.change({ ...states.history[0] }, `back to the start: ${app.data.id}`));
    document.addEventListener("keydown", keys);
    app.follow(["run"], history);
    app.follow(["busy"], () => document.body.setAttribute("aria-busy", String(app.state.busy)));
    history();
  }

  function provenance() {
    const { check, manifest } = app.data;
    const { kind, place } = app.live;
    const where = `${kind === "wasm" ? "WebAssembly" : "JavaScript"}, ${place === "worker" ? "in a thread of its own" : "in the page's own thread"}`;
    const rows = [
      ["The model here", `${app.data.model.checkpoint.name} runs in this page from weights of ${manifest.bits} bits, by ${where}. On ${app.count(check.residues, "residue")} of ${app.data.id} the largest difference that packing the weights makes is ${app.number(check.map, 2)} of an attention weight (in ${check.where})${check.contact === null ? "" : `, ${app.number(check.contact, 2)} of a contact's score`}, and ${app.number(check.hidden, 2)} of the last hidden states, whose largest magnitude is ${app.number(check.hidden_largest, 2)}.`],
    ];
    const list = app.byId("provenance");
    const before = [...list.querySelectorAll("dt")].find((term) => term.textContent === "Made with") || null;
    for (const [name, text] of rows) {
      list.insertBefore(app.make("dt", name), before);
      list.insertBefore(app.make("dd", text), before);
    }
  }

  /** Where the structure is, on a sequence that is not the one it was laid on. */
  function structureWords() {
    const place = app.byId("live-structure");
    const start = app.data.sequence;
    place.hidden = !app.data.structure || app.state.sequence === start;
    if (place.hidden) return;
    const { name } = app.data.structure;
    const { sequence } = app.state;
    if (!app.structure) place.textContent = `${name} is not the structure of this sequence, so it is left out.`;
    else if (start.length === sequence.length) place.textContent = `${name} stays as it is, a structure of the starting sequence, from which ${app.count(app.mutations(start, sequence).length, "residue")} differ${app.mutations(start, sequence).length === 1 ? "s" : ""}.`;
    else place.textContent = `${name} is a structure of the starting sequence, laid on this one with one gap: ${app.changeWords(start, sequence)}.`;
  }

  // ------------------------------------------------------------------------------------- address

  const nonsense = [];

  /** Read one value of an address; what is none is told, and passed over. */
  const reading = (name, parse) => (text) => {
    const value = text.length > 5000 ? undefined : parse(text);
    if (value === undefined) nonsense.push(name);
    return value;
  };

  function mutated(text) {
    const letters = [...app.data.sequence];
    for (const one of text.split(",")) {
      const [, from, number, to] = /^([A-Z])(\d{1,4})([A-Z])$/.exec(one) || [];
      if (!from || letters[number - 1] !== from || !app.AMINO_ACIDS.includes(to)) return undefined;
      letters[number - 1] = to;
    }
    return app.mutations(app.data.sequence, letters.join("")).join(",");
  }

  function typed(text) {
    const read = app.readSequence(text);
    return read.error ? undefined : read.sequence;
  }

  function heads(text) {
    const names = text.split(",");
    return names.every((name) => app.heads.has(name)) ? [...new Set(names)].join(",") : undefined;
  }

  function addressFields() {
    const residue = app.parse.whole(1, app.mostResidues);
    const place = (text) => (residue(text) === undefined ? undefined : residue(text) - 1);
    app.fields.query[1] = place;
    app.fields.key[1] = place;
    for (const [name, field] of Object.entries(app.fields)) field[1] = reading(name, field[1]);
    app.fields.mutations = ["mutations", reading("mutations", mutated), String];
    app.fields.sequence = ["pasted", reading("sequence", typed), String];
    app.fields.without = ["means", reading("without", app.parse.oneOf("output", "map", "both")), String];
    app.fields.off = ["off", reading("off", heads), String];
    const takeView = app.take;
    app.take = async function ({ mutations, pasted, off, means = "output", ...view }) {
      const asked = mutations !== undefined || pasted !== undefined || off !== undefined;
      if (asked) {
        let sequence = pasted ?? app.data.sequence;
        if (mutations) for (const one of mutations.split(",")) {
          const at = Number(one.slice(1, -1)) - 1;
          sequence = sequence.slice(0, at) + one.at(-1) + sequence.slice(at + 1);
        }
        const names = off ? off.split(",") : [];
        const words = [sequence === app.data.sequence ? "" : app.changeWords(app.data.sequence, sequence), names.length ? `${names.join(", ")} off` : ""];
        const { head, ...rest } = view;
        if (head !== undefined) app.set({ head });
        const base = pasted === undefined ? states.history[0].base : { name: "sequence from the address", sequence };
        await states.change({ sequence, base, off: names, means }, `from the address: ${words.filter(Boolean).join("; ") || "the start"}`);
        view = rest;
      }
      for (const name of ["query", "key"]) if (view[name] >= app.residues) {
        nonsense.push(name);
        delete view[name];
      }
      takeView(view);
    };
    /** After what the address does ask for is computed, which has words of its own. */
    const told = async () => {
      while (app.state.busy) await new Promise((done) => setTimeout(done, 30));
      if (nonsense.length) app.say(`The address asks for ${[...new Set(nonsense)].join(", ")} that this page does not have; passed over.`, true);
      nonsense.length = 0;
    };
    addEventListener("hashchange", () => setTimeout(told));
    setTimeout(told);
  }

  /** What stands at the top of a page that runs the model. */
  function about() {
    const { checkpoint, layers, heads: count } = app.data.model;
    app.byId("about").textContent =
      `This page runs a protein language model (${checkpoint.name}: ${layers} layers of ${count} heads) on ${app.data.id}, ${app.count(app.data.sequence.length, "residue")}, and on any sequence you make of it or put in its place. ` +
      "Everything below follows: the maps of the heads, links, contacts, and every step of the computation. The address of the page holds what you see, mutations and short sequences too: copy it to share the view.";
    const links = document.querySelector(".top .actions");
    for (const [id, text] of [["compare-section", "Changes"], ["live-section", "Sequence"]])
      links.prepend(app.make("a", text, { href: `#${id}` }), " ");
    links.querySelector("[href='#steps-section']").href = "#live-steps";
    const expects = app.make("a", "Guess", { href: "#guess" });
    links.insertBefore(expects, links.querySelector("[href='#live-steps']")).after(" ");
  }

  app.afterStart = function () {
    about();
    addressFields();
    app.follow(["run"], structureWords);
    app.follow(["run"], () => {
      app.byId("title").textContent = app.name;
      document.title = `${app.name} · ESM-2 live · esmkit`;
    });
    headControls();
    controls();
    provenance();
    if (app.startSequence) app.startSequence();
    if (app.startCompare) app.startCompare();
    if (app.startGuess) app.startGuess();
    if (app.startLiveSteps) app.startLiveSteps();
  };
})(esmkitExplorer);
