"use strict";
// Step by step to the end: every step of one token through a layer, and after the last layer to the
// probabilities, each with its numbers and its equation. The numbers come from the model in the page.

(function (app) {
  const REST = 400; // ms without a change after which steps that are out of sight follow too
  const place = { end: false, picked: {}, asked: 0, near: true, later: 0 };
  let section = null;
  const controls = {};

  const place_ = (name) => /^L(\d+)H(\d+)$/.exec(name).slice(1).map(Number);

  /** Names of the tokens of a run: <cls>, residues or <mask>, <eos>. */
  app.tokenNames = (run) => [
    "<cls>", ...Array.from(run.sequence, (letter, i) => ((run.mask || []).includes(i) ? "<mask>" : letter)), "<eos>",
  ];

  const wordFor = (run) => (token) =>
    token === 0 ? "BOS" : token === run.sequence.length + 1 ? "EOS" : `${run.sequence[token - 1]}${token}`;

  /** Everything the section shows, as steps with numbers, words and equations. */
  app.liveSteps = async function (run, { layer, head, query, key, end }) {
    const model = app.live.manifest;
    const [token, otherToken] = [query + 1, key + 1];
    const deepest = model.layers - 1;
    const at = end ? deepest : layer;
    const tokenName = wordFor(run);
    const here = await app.live.steps(run, at, token);
    const other = token === otherToken ? here : await app.live.steps(run, at, otherToken);
    const width = model.width;
    const given = {
      run, model, layer: at, head, token, otherToken, tokenName, here, other,
      names: app.tokenNames(run), masked: run.mask || [], me: tokenName(token), them: tokenName(otherToken),
      before: run.hidden[at].subarray(token * width, (token + 1) * width), last: at === deepest,
      off: (run.off || []).includes(`L${at}H${head}`), visible: !(run.mask || []).includes(query),
    };
    if (!end) return app.walkLayer(given);
    return app.walkEnd({ ...given, before: here.residual, end: here });
  };

  // ---------------------------------------------------------------------------------- drawing

  const idOf = (step) => `step-${step.name.replace(/\W/g, "-")}`;

  function card(step) {
    const item = app.make("li", null, { class: "live-step", "data-step": step.name, id: idOf(step) });
    const title = app.make("h3", step.title, { tabindex: -1 });
    title.append(app.make("code", step.name));
    const numbers = app.make("div", null, { class: "live-numbers" });
    numbers.append(title, ...step.text.map((text) => app.make("p", text)));
    // One stop of the Tab key for all lines of a step: long ones are scrolled with the arrow keys
    const mathOf = app.make("div", null, { class: "equations", tabindex: 0, role: "group", "aria-label": `Equations: ${step.title}` });
    const write = (d) => mathOf.replaceChildren(...step.equations(d).map((tree) => {
      if (typeof tree === "string") return app.make("p", tree, { class: "muted" });
      const line = app.make("div", null, { class: "equation" });
      line.append(app.mathElement(tree));
      return line;
    }));
    const picked = app.pickedOf(step, place.picked[step.name]);
    const followers = [];
    step.vectors.forEach((vector, n) => {
      const last = n === step.vectors.length - 1;
      const own = last || vector.follows ? picked : app.largestOf(vector.values, 1)[0];
      const pick = (i) => {
        place.picked[step.name] = i;
        write(i);
        followers.forEach((box) => box.moveTo(i));
        if (vector.pairs && i > 0 && i < vector.values.length - 1) app.pickKeySoon(i - 1);
      };
      const box = app.drawVector(vector, vector.pairs ? vector.marks[0] : own, last || vector.follows ? pick : null);
      if (last || vector.follows) followers.push(box);
      numbers.append(box);
    });
    write(picked);
    item.append(numbers, mathOf);
    return item;
  }

  let soon = 0;
  /** Pick another key once the keys are at rest: each change asks the model. */
  app.pickKeySoon = function (key) {
    clearTimeout(soon);
    soon = setTimeout(() => app.set({ key }), 350);
  };

  function words() {
    const { layers } = app.live.manifest;
    const [layer] = place_(app.state.head);
    controls.where.textContent = place.end
      ? `After the last layer: from the final norm to the probabilities.`
      : `Layer ${layer} of 0 to ${layers - 1}.`;
    controls.layer.value = place.end ? "end" : String(layer);
    controls.head.value = String(place_(app.state.head)[1]);
    controls.head.disabled = place.end;
    controls.back.disabled = !place.end && layer === 0;
    controls.next.disabled = place.end;
    const after = layer === layers - 1 ? "Final norm and logits →" : "Next layer →";
    controls.next.textContent = after;
    controls.onward.textContent = after;
    controls.onward.hidden = place.end;
    controls.query.value = app.state.query + 1;
    controls.key.value = app.state.key + 1;
    for (const field of [controls.query, controls.key]) field.max = app.run.sequence.length;
  }

  async function draw() {
    const { run } = app;
    const { query, key, head } = app.state;
    if (!section || !run || query === null || query >= run.sequence.length) return;
    place.later = 0;
    const asked = ++place.asked;
    const [layer, number] = place_(head);
    words();
    let steps;
    try {
      steps = await app.liveSteps(run, { layer, head: number, query, key: Math.min(key ?? query, run.sequence.length - 1), end: place.end });
    } catch (error) {
      if (asked === place.asked) controls.said.textContent = `These steps could not be computed: ${error.message}`;
      return;
    }
    if (asked !== place.asked) return; // a newer question is on its way
    const focus = section.contains(document.activeElement) ? document.activeElement.dataset.vector : null;
    controls.list.replaceChildren(...steps.map(card));
    controls.jump.replaceChildren(...steps.map((step) => {
      const item = app.make("li");
      const link = app.make("a", step.name.replace(/^.*\./, ""), { href: `#${idOf(step)}` });
      link.addEventListener("click", (event) => {
        event.preventDefault(); // the address holds the view
        const title = app.byId(idOf(step)).querySelector("h3");
        title.scrollIntoView();
        title.focus({ preventScroll: true });
      });
      item.append(link);
      return item;
    }));
    if (focus) {
      const again = [...section.querySelectorAll("[data-vector]")].find((e) => e.dataset.vector === focus);
      if (again) again.focus({ preventScroll: true });
    }
    app.shownSteps = steps;
    section.dataset.shown = `${head} ${query} ${key} ${place.end ? "end" : ""}`;
    controls.said.setAttribute("aria-live", section.contains(document.activeElement) ? "polite" : "off");
    controls.said.textContent = place.end
      ? `${steps.length} steps after the last layer, for ${wordFor(run)(query + 1)}`
      : `${steps.length} steps of layer ${layer}, head ${number}, for ${wordFor(run)(query + 1)} beside ${wordFor(run)(key + 1)}`;
  }

  /** Draw now, or where the section is out of sight once the rest of the page is at rest. */
  function follow() {
    clearTimeout(place.later);
    place.asked++; // what is on its way is of the past
    if (place.near) draw();
    else place.later = setTimeout(draw, REST);
  }

  function watch() {
    new IntersectionObserver(([{ isIntersecting }]) => {
      place.near = isIntersecting;
      if (!isIntersecting || !place.later) return;
      clearTimeout(place.later);
      place.later = 0;
      draw();
    }, { rootMargin: "400px" }).observe(section);
  }

  /** Go to a layer, or with "end" to what follows the last one. */
  function go(to) {
    const wasEnd = place.end;
    place.end = to === "end";
    const [layer, head] = place_(app.state.head);
    const next = place.end ? app.state.head : `L${to}H${head}`;
    if (next !== app.state.head) app.set({ head: next });
    else if (place.end !== wasEnd || Number(to) !== layer) draw();
  }

  function step(by) {
    const { layers } = app.live.manifest;
    const [layer] = place_(app.state.head);
    const now = place.end ? layers : layer;
    const to = app.clamp(now + by, 0, layers);
    go(to === layers ? "end" : to);
  }

  function build() {
    const { layers, heads, width, hidden } = app.live.manifest;
    section.setAttribute("aria-labelledby", "live-steps-title");
    const field = (label, element) => {
      const around = app.make("label", `${label} `);
      around.append(element);
      return around;
    };
    const select = (options) => {
      const element = app.make("select");
      for (const [value, text] of options) element.append(app.make("option", text, { value }));
      return element;
    };
    controls.query = app.make("input", null, { type: "number", min: 1, id: "live-query" });
    controls.key = app.make("input", null, { type: "number", min: 1, id: "live-key" });
    controls.layer = select([...Array.from({ length: layers }, (_, n) => [n, `layer ${n}`]), ["end", "after the last"]]);
    controls.layer.id = "live-layer";
    controls.head = select(Array.from({ length: heads }, (_, n) => [n, `H${n}`]));
    controls.head.id = "live-head";
    controls.back = app.make("button", "← Layer before", { type: "button", id: "live-back" });
    controls.next = app.make("button", "Next layer →", { type: "button", id: "live-next" });
    controls.onward = app.make("button", "Next layer →", { type: "button", id: "live-onward" });
    controls.where = app.make("p", "", { class: "muted", id: "live-where" });
    controls.said = app.make("p", "", { class: "muted", "aria-live": "polite", id: "live-said" });
    controls.jump = app.make("ul", null, { class: "jump" });
    const navigation = app.make("nav", null, { "aria-label": "Steps" });
    navigation.append(controls.jump);
    controls.list = app.make("ol", null, { class: "live-list" });
    const row = app.make("div", null, { class: "controls", role: "group", "aria-label": "What the steps are of" });
    row.append(
      field("Residue (query)", controls.query), field("looking at (key)", controls.key),
      field("Layer", controls.layer), field("Head", controls.head), controls.back, controls.next);
    section.replaceChildren(
      app.make("h2", "Step by step to the end", { id: "live-steps-title" }),
      app.make("p", `Everything that happens to one residue, from its embedding to a probability for each amino acid: ${layers} layers, each with ${heads} heads and ${hidden} feed-forward units, on a stream of ${width} numbers. Names are those of esmkit's trace and reference. Bars above the line are positive, below it negative; click a bar, or focus a drawing and use the arrow keys, and the equation is written for that number.`, { class: "muted" }),
      row, controls.where, navigation, controls.said, controls.list, controls.onward);
    for (const name of ["query", "key"]) {
      controls[name].addEventListener("change", () => {
        const value = Math.round(Number(controls[name].value)) || 1;
        app.set({ [name]: app.clamp(value, 1, app.run.sequence.length) - 1 });
        words();
      });
    }
    controls.layer.addEventListener("change", () => go(controls.layer.value));
    controls.head.addEventListener("change", () => app.set({ head: `L${place_(app.state.head)[0]}H${controls.head.value}` }));
    controls.back.addEventListener("click", () => step(-1));
    controls.next.addEventListener("click", () => step(1));
    controls.onward.addEventListener("click", () => {
      step(1);
      section.scrollIntoView();
      controls.next.focus({ preventScroll: true });
    });
  }

  app.startLiveSteps = function () {
    section = app.byId("live-steps");
    if (!section) return;
    build();
    watch();
    app.follow(["query", "key", "run"], follow);
    app.follow(["head"], () => {
      if (place.end && !section.contains(document.activeElement)) place.end = false; // chosen in another view
      follow();
    });
    app.followTheme(() => app.redrawVectors(section));
    draw();
  };
})(esmkitExplorer);
