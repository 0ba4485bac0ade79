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
    states.history = [{ sequence: app.data.sequence, off: [], words: `start: ${app.data.id}` }];
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
      option.querySelector(".power").textContent = is ? "○" : "⏻";
      option.querySelector(".power").title = is ? "Switch this head on" : "Switch this head off";
      const words = app.headWords(app.heads.get(option.dataset.head));
      option.setAttribute("aria-label", is ? `${words}, off` : words);
    }
    const button = app.byId("switch-head");
    const is = off.includes(app.state.head);
    button.textContent = `Switch ${app.state.head} ${is ? "on" : "off"}`;
    app.byId("switch-text").textContent = is
      ? "Its output is 0: it adds nothing to the residual stream, in all layers after it the model goes on without it. Its own map is still made, and the contact head still reads it."
      : "";
  }

  function headControls() {
    const place = app.make("div", null, { class: "controls" });
    const button = app.make("button", "", { type: "button", id: "switch-head" });
    button.addEventListener("click", () => states.toggleHead(app.state.head));
    place.append(button, app.make("span", "", { id: "switch-text", class: "muted" }));
    app.byId("head-evidence").after(place);
    for (const option of document.querySelectorAll("#grid .head")) {
      const power = app.make("span", "⏻", { class: "power", "aria-hidden": "true" });
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
    app.byId("all-on").addEventListener("click", () => states.change({ off: [] }, "all heads on"));
    app.follow(["off", "head", "summaries"], offHeads);
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
      states.change({ sequence: app.data.sequence, off: [] }, `back to the start: ${app.data.id}`));
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

  app.afterStart = function () {
    headControls();
    controls();
    provenance();
    if (app.startSequence) app.startSequence();
    if (app.startCompare) app.startCompare();
    if (app.startGuess) app.startGuess();
    if (app.startLiveSteps) app.startLiveSteps();
  };
})(esmkitExplorer);
