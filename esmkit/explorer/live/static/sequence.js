"use strict";
// The residues, one after the other, each to be changed; and the field for another sequence.

(function (app) {
  const states = app.states;
  const GROUPS = [
    ["aliphatic", "AVLIM"], ["aromatic", "FWY"], ["polar", "STNQ"], ["acidic", "DE"], ["basic", "KRH"], ["special", "CGP"],
  ];
  const NAMES = {
    A: "alanine", R: "arginine", N: "asparagine", D: "aspartate", C: "cysteine", Q: "glutamine", E: "glutamate",
    G: "glycine", H: "histidine", I: "isoleucine", L: "leucine", K: "lysine", M: "methionine", F: "phenylalanine",
    P: "proline", S: "serine", T: "threonine", W: "tryptophan", Y: "tyrosine", V: "valine", X: "unknown",
    B: "aspartate or asparagine", Z: "glutamate or glutamine", U: "selenocysteine", O: "pyrrolysine",
  };
  const place = app.byId("residues");
  let focus = 0; // the residue that Tab reaches
  let open = null; // the residue whose letters are shown
  let soon = 0; // what waits for a pause in typing

  // ------------------------------------------------------------------------------- the residues

  function words(i) {
    const base = states.history[states.at].base.sequence;
    const letter = app.sequence[i];
    const was = base.length === app.residues && base[i] !== letter ? `, ${base[i]} at first` : "";
    return `${NAMES[letter]} ${i + 1}${was}`;
  }

  function drawResidues() {
    const start = states.history[states.at].base.sequence;
    const places = app.alignSequences(start, app.sequence);
    focus = Math.min(focus, app.residues - 1);
    const buttons = Array.from({ length: app.residues }, (_, i) => {
      const letter = app.sequence[i];
      const kind = { H: "helix", G: "helix", I: "helix", E: "strand", B: "strand" }[app.secondary(i)];
      const changed = places[i] < 0 || start[places[i]] !== letter;
      const button = app.make("button", letter, {
        type: "button", class: `residue${changed ? " changed" : ""}${kind ? ` ${kind}` : ""}`, "data-residue": i,
        "aria-label": words(i), tabindex: i === focus ? 0 : -1,
      });
      button.append(app.make("small", (i + 1) % 10 === 0 || i === 0 ? String(i + 1) : "", { "aria-hidden": "true" }));
      return button;
    });
    const had = place.contains(document.activeElement);
    place.replaceChildren(...buttons);
    mark();
    if (had) buttons[focus].focus({ preventScroll: true });
    if (open !== null && open >= app.residues) close();
    if (open !== null) drawLetters();
  }

  function mark() {
    for (const button of place.children) {
      const i = Number(button.dataset.residue);
      if (i === open) button.setAttribute("aria-pressed", "true");
      else button.removeAttribute("aria-pressed");
    }
  }

  function reach(i) {
    place.children[focus].tabIndex = -1;
    focus = app.clamp(i, 0, app.residues - 1);
    place.children[focus].tabIndex = 0;
    place.children[focus].focus();
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inLine = () => {
      const top = place.children[0].offsetTop;
      const count = [...place.children].findIndex((button) => button.offsetTop > top);
      return count < 0 ? app.residues : count;
    };
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    const letter = event.key.toUpperCase();
    if (event.key in moves) reach(focus + moves[event.key]);
    else if (event.key === "ArrowUp") reach(focus - inLine());
    else if (event.key === "ArrowDown") reach(focus + inLine());
    else if (event.key.length === 1 && app.AMINO_ACIDS.includes(letter)) mutate(focus, letter);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  }

  function mutate(i, letter) {
    if (app.sequence[i] === letter) return app.say(`Residue ${i + 1} is ${NAMES[letter]} already.`);
    return states.mutate(i, letter);
  }

  // --------------------------------------------------------------------------------- its letters

  function show(i) {
    open = i;
    focus = i;
    app.byId("letters").hidden = false;
    drawLetters();
    mark();
    if (app.state.query !== i) app.pickResidue(i);
  }

  function close() {
    open = null;
    app.byId("letters").hidden = true;
    mark();
  }

  function drawLetters() {
    app.byId("letters-title").textContent = `Change ${app.residue(open)} to`;
    app.byId("letters-all").replaceChildren(...GROUPS.map(([name, letters]) => {
      const group = app.make("div", null, { class: "letters", role: "group", "aria-label": name });
      group.append(app.make("span", name, { "aria-hidden": "true" }));
      for (const letter of letters) {
        const own = letter === app.sequence[open];
        const button = app.make("button", letter, {
          type: "button", "data-letter": letter, "aria-label": `${NAMES[letter]}${own ? ", as it is" : ""}`, title: NAMES[letter],
        });
        button.disabled = own;
        button.addEventListener("click", async () => {
          await mutate(open, letter);
          place.children[open]?.focus({ preventScroll: true });
        });
        group.append(button);
      }
      return group;
    }));
  }

  // --------------------------------------------------------------------- another sequence, as text

  function note(text, problem = false) {
    app.byId("sequence-note").textContent = text;
    app.byId("sequence-note").classList.toggle("problem", problem);
    app.byId("sequence-text").setAttribute("aria-invalid", String(problem));
  }

  const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

  function preview() {
    const field = app.byId("sequence-text");
    if (!field.value.trim()) return note("");
    const read = app.readSequence(field.value);
    if (read.error) return note(sentence(read.error), true);
    const time = app.timeWords(read.sequence.length);
    note(sentence([app.count(read.sequence.length, "residue"), ...read.notes, ...(time ? [time] : [])].join("; ")));
  }

  async function submit(event) {
    event.preventDefault();
    clearTimeout(soon); // it would put its words in place of these
    const read = app.readSequence(app.byId("sequence-text").value);
    if (read.error) {
      note(sentence(read.error), true);
      app.byId("sequence-text").focus();
      return;
    }
    const from = app.sequence;
    const name = app.visible(read.header).slice(0, 60);
    const time = app.timeWords(read.sequence.length);
    if (time) app.say(`Computing ${app.count(read.sequence.length, "residue")}: ${time} …`);
    const { base } = states.history[states.target];
    const mine = !name && app.related(base.sequence, read.sequence) ? base : { name: name || "a sequence of yours", sequence: read.sequence };
    await states.change({ sequence: read.sequence, base: mine }, `${name ? `${name}: ` : ""}${app.changeWords(from, read.sequence)}`);
  }

  app.startSequence = function () {
    place.addEventListener("keydown", keys);
    place.addEventListener("click", (event) => {
      const button = event.target.closest("[data-residue]");
      if (button) show(Number(button.dataset.residue));
    });
    app.byId("letters").addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      const i = open;
      close();
      place.children[i].focus();
    });
    app.byId("letters-close").addEventListener("click", () => {
      const i = open;
      close();
      place.children[i].focus();
    });
    app.byId("sequence-form").addEventListener("submit", submit);
    app.byId("sequence-text").addEventListener("input", () => {
      clearTimeout(soon);
      soon = setTimeout(preview, 150);
    });
    app.byId("sequence-text").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) app.byId("sequence-form").requestSubmit();
    });
    app.follow(["run"], drawResidues);
    drawResidues();
  };
})(esmkitExplorer);
