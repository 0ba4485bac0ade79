"use strict";
// What the model expects at each site, drawn: a map of 20 letters along the sequence, what is known of
// the site that is picked, the same with the residue hidden, and what has changed since another state.

(function (app) {
  const ROW = 12; // px of a letter
  const BAND = 30; // px of the bars above and below
  const AXIS = 18;
  const GAP = 5;
  const LEAST = 4; // px of a residue; longer proteins are scrolled sideways
  const LEFT = 18;
  const MOST = 10; // rows of the table of changes
  const CHANGED = 0.05; // share of probability from which on a site is counted as changed

  const view = { letter: null, hidden: null, guess: null, then: null, moved: null };
  const parts = {};
  const kept = new WeakMap();

  /** What is shown of a run, made once. */
  function guessOf(run) {
    if (!run) return null;
    if (!kept.has(run)) kept.set(run, app.guessOf(run));
    return kept.get(run);
  }

  const heightOf = () => BAND + GAP + app.LETTERS.length * ROW + AXIS + (view.moved ? BAND + GAP : 0);
  const top = (row) => BAND + GAP + row * ROW;
  const siteName = (i, sequence = view.guess.sequence) => `${sequence[i]}${i + 1}`;

  function prepare(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "10px system-ui, sans-serif";
    pen.textBaseline = "middle";
    return pen;
  }

  function paintLetters() {
    const pen = prepare(parts.letters, LEFT, heightOf());
    pen.fillStyle = app.colour("--ink");
    pen.textAlign = "center";
    Array.from(app.LETTERS).forEach((letter, row) => pen.fillText(letter, LEFT / 2, top(row) + ROW / 2 + 0.5));
    pen.fillStyle = app.colour("--muted");
    pen.fillText("bits", LEFT / 2 - 1, BAND / 2);
    if (view.moved) pen.fillText("Δ", LEFT / 2, heightOf() - BAND / 2);
  }

  const css = (packed) => `rgb(${packed & 255},${(packed >> 8) & 255},${(packed >> 16) & 255})`;

  function paint() {
    const { guess } = view;
    if (!guess || !parts.scroll.clientWidth) return;
    const size = guess.sequence.length;
    const width = Math.max(parts.scroll.clientWidth, size * LEAST);
    const step = width / size;
    paintLetters();
    const pen = prepare(parts.map, width, heightOf());
    const table = Array.from(app.palette(), css);
    const gap = step > 6 ? 0.6 : 0;
    const [ink, line, bar, mark, paper] = ["--ink", "--line", "--bar", "--mark", "--panel"].map(app.colour);
    for (let i = 0; i < size; i++) {
      const x = i * step;
      pen.fillStyle = bar;
      const high = (guess.bits[i] / Math.log2(app.LETTERS.length)) * (BAND - 2);
      pen.fillRect(x, BAND - high, Math.max(step - 1, 0.8), high);
      for (let row = 0; row < app.LETTERS.length; row++) {
        pen.fillStyle = table[Math.round(255 * Math.sqrt(guess.shares[i * app.LETTERS.length + row]))];
        pen.fillRect(x, top(row), step - gap, ROW - 0.6);
      }
      const own = app.LETTERS.indexOf(guess.sequence[i]);
      if (own >= 0) {
        pen.fillStyle = mark;
        pen.strokeStyle = paper;
        pen.beginPath();
        pen.arc(x + (step - gap) / 2, top(own) + ROW / 2, Math.min(2.6, step / 2.4), 0, 7);
        pen.fill();
        pen.lineWidth = 0.7;
        pen.stroke();
      }
      if (view.moved && view.moved[i] > 0) {
        pen.fillStyle = app.colour("--forward");
        const moved = view.moved[i] * (BAND - 2);
        pen.fillRect(x, heightOf() - moved, Math.max(step - 1, 0.8), moved);
      }
    }
    pen.fillStyle = paper;
    for (const row of app.LETTER_GROUPS) pen.fillRect(0, top(row) - 1.2, width, 1.2);
    pen.fillStyle = line;
    pen.fillRect(0, BAND, width, 1);
    if (view.moved) pen.fillRect(0, heightOf() - 1, width, 1);
    axis(pen, size, step);
    const query = app.state.query;
    if (query !== null && query < size) {
      pen.strokeStyle = mark;
      pen.lineWidth = 2;
      pen.strokeRect(query * step - 0.5, 1, step, heightOf() - 2);
      if (view.letter !== null) {
        pen.strokeStyle = ink;
        pen.lineWidth = 1.5;
        pen.strokeRect(query * step, top(view.letter), step - gap, ROW - 0.6);
      }
    }
  }

  function axis(pen, size, step) {
    pen.fillStyle = app.colour("--muted");
    pen.textAlign = "center";
    const every = [1, 2, 5, 10, 20, 50, 100, 200].find((n) => n * step >= 34) || 500;
    for (let n = every; n <= size; n += every) {
      const x = (n - 0.5) * step;
      const text = siteName(n - 1);
      const half = pen.measureText(text).width / 2;
      pen.fillText(text, app.clamp(x, half, size * step - half), top(app.LETTERS.length) + AXIS / 2);
    }
  }

  // ------------------------------------------------------------------------------------ words

  const share = (letter) => `${letter.letter} ${app.percent(letter.share)}`;

  function spoken(i) {
    const found = app.lettersAt(view.guess, i);
    const letter = view.letter === null ? "" : `${app.LETTERS[view.letter]} ${app.percent(view.guess.shares[i * app.LETTERS.length + view.letter])}; `;
    return `${siteName(i)}: ${letter}likeliest ${found.slice(0, 3).map(share).join(", ")}`;
  }

  /** Where the letter that is there stands among all, in words. */
  function rankOf(guess, i) {
    const found = app.lettersAt(guess, i);
    const rank = found.findIndex(({ letter }) => letter === guess.sequence[i]);
    if (rank < 0) return `${guess.sequence[i]} is none of the 20 amino acids, so it has no probability here.`;
    const which = rank === 0 ? "the likeliest" : `number ${rank + 1} of 20`;
    return `The residue that is there, ${guess.sequence[i]}, gets ${app.percent(found[rank].share)}: ${which}.`;
  }

  function barCell(value) {
    const cell = app.make("td");
    const bar = app.make("span", null, { class: "share-bar", "aria-hidden": "true" });
    bar.style.width = `${(6 * value).toFixed(2)}em`;
    cell.append(bar, app.make("span", app.percent(value)));
    return cell;
  }

  function siteTable(i) {
    const { guess } = view;
    const hidden = view.hidden && view.hidden.site === i && view.hidden.run === app.run ? view.hidden.guess : null;
    const then = view.then && view.moved && view.moved[i] > 0 ? view.then : null;
    const other = then ? app.alignSequences(then.sequence, guess.sequence)[i] : -1;
    const shown = app.lettersAt(hidden || guess, i).slice(0, 5).map(({ letter }) => letter);
    if (!shown.includes(guess.sequence[i]) && app.LETTERS.includes(guess.sequence[i])) shown.push(guess.sequence[i]);
    const table = app.make("table", null, { class: "guess-table" });
    const head = app.make("tr");
    const columns = ["Amino acid", "in sight", ...(hidden ? ["hidden"] : []), ...(then ? ["before the change"] : [])];
    head.append(...columns.map((text) => app.make("th", text, { scope: "col" })));
    const body = app.make("tbody");
    for (const letter of shown) {
      const row = app.make("tr");
      const a = app.LETTERS.indexOf(letter);
      row.append(app.make("th", letter === guess.sequence[i] ? `${letter} (there)` : letter, { scope: "row" }));
      row.append(barCell(guess.shares[i * app.LETTERS.length + a]));
      if (hidden) row.append(barCell(hidden.shares[i * app.LETTERS.length + a]));
      if (then) row.append(barCell(then.shares[other * app.LETTERS.length + a]));
      body.append(row);
    }
    const top_ = app.make("thead");
    top_.append(head);
    table.append(app.make("caption", `The likeliest amino acids at ${siteName(i)}`), top_, body);
    return [table, hidden];
  }

  function drawSite() {
    const { guess } = view;
    const i = app.state.query;
    if (!guess || i === null || i >= guess.sequence.length) return;
    const [table, hidden] = siteTable(i);
    const lines = [`At ${siteName(i)} the model gives ${app.lettersAt(guess, i).slice(0, 5).map(share).join(", ")}. ${rankOf(guess, i)}`];
    if (hidden)
      lines.push(`Hidden, so that the model has to guess from the other ${guess.sequence.length - 1} residues: ${app.lettersAt(hidden, i).slice(0, 5).map(share).join(", ")}. ${rankOf(hidden, i)}`);
    parts.site.replaceChildren(app.make("h3", `Site ${siteName(i)}`), ...lines.map((text) => app.make("p", text)));
    parts.table.replaceChildren(table);
    parts.hide.textContent = `Hide ${siteName(i)} and ask`;
    parts.hide.disabled = guess.sequence.length < 2;
    parts.map.setAttribute("aria-valuenow", i + 1);
    parts.map.setAttribute("aria-valuetext", spoken(i));
  }

  function drawChange() {
    const { guess, then, moved } = view;
    parts.change.hidden = !moved;
    if (!moved) return;
    const order = app.largestOf(moved, moved.length, (v) => (Number.isNaN(v) ? -1 : v));
    const many = order.filter((i) => moved[i] >= CHANGED).length;
    const pairs = app.alignSequences(then.sequence, guess.sequence);
    const fresh = moved.reduce((count, v) => count + (Number.isNaN(v) ? 1 : 0), 0);
    parts.changeText.textContent =
      `At ${many} of ${guess.sequence.length} sites ${app.percent(CHANGED)} of the probability or more has moved to other amino acids` +
      `${fresh ? `; ${fresh} residues were not there before and are left out` : ""}. ` +
      `Pseudo-perplexity of one pass: ${app.number(then.perplexity, 4)} before, ${app.number(guess.perplexity, 4)} now.`;
    const body = app.make("tbody");
    for (const i of order.slice(0, MOST).filter((site) => moved[site] > 0)) {
      const row = app.make("tr");
      const button = app.make("button", siteName(i), { type: "button", class: "plain" });
      button.addEventListener("click", () => pickSite(i));
      const cell = app.make("th", null, { scope: "row" });
      cell.append(button);
      const [a, b] = [app.lettersAt(then, pairs[i])[0], app.lettersAt(guess, i)[0]];
      row.append(cell, app.make("td", siteName(pairs[i], then.sequence)), barCell(moved[i]), app.make("td", share(a)), app.make("td", share(b)));
      body.append(row);
    }
    const head = app.make("tr");
    head.append(...["Site", "before", "moved", "likeliest before", "likeliest now"].map((text) => app.make("th", text, { scope: "col" })));
    const heads = app.make("thead");
    heads.append(head);
    parts.changeTable.replaceChildren(app.make("caption", "Sites that changed most"), heads, body);
    parts.changeTable.hidden = !body.children.length;
  }

  // ----------------------------------------------------------------------------------- events

  function pickSite(i) {
    if (app.pickResidue) app.pickResidue(i);
    else app.set({ query: i });
  }

  async function hide() {
    const { run } = app;
    const site = app.state.query;
    parts.hide.disabled = true;
    parts.said.textContent = `Hiding ${siteName(site)} and asking the model…`;
    try {
      const hidden = await app.live.run(run.sequence, { off: run.off || [], mask: [site] });
      if (!hidden) throw new Error("another run came first; ask again");
      view.hidden = { run, site, guess: app.guessOf(hidden) };
      parts.said.textContent = `${siteName(site, run.sequence)} hidden: ${app.lettersAt(view.hidden.guess, site).slice(0, 3).map(share).join(", ")}; answered in ${app.number(hidden.seconds, 2)} s.`;
    } catch (error) {
      parts.said.textContent = `The model could not be asked: ${error.message}`;
    }
    parts.hide.disabled = false;
    drawSite();
  }

  function keys(event) {
    const size = view.guess.sequence.length;
    const { query } = app.state;
    const to = {
      ArrowLeft: query - 1, ArrowRight: query + 1, PageDown: query - 10, PageUp: query + 10, Home: 0, End: size - 1,
    }[event.key];
    const down = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if ((to === undefined && !down) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (down) {
      const now = view.letter ?? app.LETTERS.indexOf(view.guess.sequence[query]);
      view.letter = app.clamp(now + down, 0, app.LETTERS.length - 1);
      parts.map.setAttribute("aria-valuetext", spoken(query));
      paint();
    } else pickSite(app.clamp(to, 0, size - 1));
  }

  function under(event) {
    const size = view.guess.sequence.length;
    const i = app.clamp(Math.floor((event.offsetX / parts.map.clientWidth) * size), 0, size - 1);
    const row = Math.floor((event.offsetY - BAND - GAP) / ROW);
    return [i, row >= 0 && row < app.LETTERS.length ? row : null];
  }

  function tell(event) {
    const [i, row] = under(event);
    const { guess, moved } = view;
    const lines = [siteName(i)];
    if (row !== null) lines.push(`${app.LETTERS[row]}: ${app.percent(guess.shares[i * app.LETTERS.length + row])}`);
    lines.push(`likeliest ${app.lettersAt(guess, i).slice(0, 3).map(share).join(", ")}`, `${app.number(guess.bits[i])} of ${app.number(Math.log2(20))} bits`);
    if (moved && !Number.isNaN(moved[i])) lines.push(`${app.percent(moved[i])} moved since before`);
    app.tip(lines);
  }

  // ------------------------------------------------------------------------------------ start

  function draw() {
    view.guess = guessOf(app.run);
    if (!view.guess) return;
    const { before } = app;
    view.then = before && before.logits && before !== app.run ? guessOf(before) : null;
    view.moved = view.then ? app.movedSince(view.guess, view.then) : null;
    const { guess } = view;
    parts.facts.textContent = `One pass with every residue in sight: the pseudo-perplexity of this pass is ${app.number(guess.perplexity, 4)}, e to the mean of −log p of the residues that are there. A model that sees the answer does better than one that has to guess, so this is lower than the pseudo-perplexity of hiding each residue in turn.`;
    parts.map.setAttribute("aria-valuemax", guess.sequence.length);
    parts.map.setAttribute("aria-label", `Probabilities of 20 amino acids at ${guess.sequence.length} residues, drawn as a map`);
    drawSite();
    drawChange();
    paint();
  }

  function bar() {
    const canvas = app.make("canvas", null, { width: 256, height: 1, role: "img", "aria-label": "Colours of probabilities from 0 to 1, square-root scale" });
    canvas.redraw = function () {
      const pen = canvas.getContext("2d");
      app.palette().forEach((packed, i) => {
        pen.fillStyle = css(packed);
        pen.fillRect(i, 0, 1, 1);
      });
    };
    canvas.redraw();
    const row = app.make("div", null, { class: "colourbar" });
    row.append(app.make("span", "0"), canvas, app.make("span", "1"), app.make("span", "probability (square-root scale); dots: the residue that is there", { class: "muted" }));
    return row;
  }

  function build(section) {
    parts.facts = app.make("p", null, { class: "muted" });
    parts.letters = app.make("canvas", null, { "aria-hidden": "true" });
    parts.map = app.make("canvas", null, { tabindex: 0, role: "slider", "aria-valuemin": 1, "aria-describedby": "guess-help", id: "guess-map" });
    parts.scroll = app.make("div", null, { class: "guess-scroll" });
    parts.scroll.append(parts.map);
    parts.scroll.redraw = paint;
    const map = app.make("div", null, { class: "guess-map" });
    map.append(parts.letters, parts.scroll);
    parts.site = app.make("div", null, { class: "guess-site" });
    parts.hide = app.make("button", "Hide it and ask", { type: "button", id: "guess-hide" });
    parts.said = app.make("p", null, { class: "muted", role: "status" });
    parts.table = app.make("div", null, { class: "guess-scroll" });
    parts.change = app.make("div", null, { class: "guess-change" });
    parts.changeText = app.make("p");
    parts.changeTable = app.make("table", null, { class: "guess-table" });
    const scroll = app.make("div", null, { class: "guess-scroll" });
    scroll.append(parts.changeTable);
    parts.change.append(app.make("h3", "What changed"), parts.changeText, scroll);
    const site = app.make("div");
    site.append(parts.site, parts.hide, parts.said, parts.table);
    const below = app.make("div", null, { class: "guess-below" });
    below.append(site, parts.change);
    section.append(
      app.make("p", "The masked-LM head was trained to guess hidden residues. Each column is one residue of the sequence, each row an amino acid, grouped by chemistry: aliphatic, aromatic, special, polar, positive, negative. Bars above say how sure the model is (4.32 bits: one amino acid has all the probability); bars below, after a change, how much of the probability has moved.", { class: "muted" }),
      parts.facts, map, bar(),
      app.make("p", "Click a site to pick it. With the keyboard: left and right move along the sequence, up and down through the letters.", { class: "muted", id: "guess-help" }),
      below);
    parts.hide.addEventListener("click", hide);
    parts.map.addEventListener("keydown", keys);
    parts.map.addEventListener("pointermove", tell);
    parts.map.addEventListener("pointerleave", () => app.tip(null));
    parts.map.addEventListener("click", (event) => {
      const [i, row] = under(event);
      view.letter = row;
      if (i === app.state.query) {
        drawSite();
        paint();
      } else pickSite(i);
    });
    app.watchSize(parts.scroll);
  }

  app.startGuess = function () {
    const section = app.byId("guess");
    if (!section) return;
    section.setAttribute("aria-labelledby", "guess-title");
    section.replaceChildren(app.make("h2", "What the model expects", { id: "guess-title" }));
    if (!app.live.manifest.lmHead) {
      section.append(app.make("p", "These weights have no masked-LM head, so the model in this page has no opinion about which residue stands where. A checkpoint with a head, or one that was fitted with esmkit score, shows it here.", { class: "muted" }));
      return;
    }
    build(section);
    app.follow(["run", "before"], draw);
    app.follow(["query"], () => {
      drawSite();
      paint();
    });
    app.followTheme(() => {
      paint();
      section.querySelectorAll(".colourbar canvas").forEach((canvas) => canvas.redraw());
    });
    draw();
  };
})(esmkitExplorer);
