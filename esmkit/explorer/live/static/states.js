"use strict";
// The states that a reader goes through (a sequence, and heads that are off), their runs, undo, and
// how a run becomes what the views of the explorer show.

(function (app) {
  const KEPT_BYTES = 120_000_000; // of runs that undo and comparisons need not compute again
  const HEAVY = 400; // residues from which the time is said before

  app.run = null; // the run on show
  app.before = null; // the run it is compared with, or null
  app.states = { history: [], at: -1, target: -1, pinned: null, settled: false };
  Object.assign(app.state, { sequence: app.data.sequence, off: "", means: "output", busy: false, summaries: 0, compare: "before", before: 0, mutations: null, pasted: null });

  const states = app.states;
  const runs = new Map(); // by key, in the order of their use
  const summaries = new WeakMap();
  let newest = 0;

  app.keyOf = ({ sequence, off, means }) => `${sequence}|${off.join(",")}|${off.length ? means : ""}`;

  /** What a head that is off is without: its output, its map in the contact head, or both. */
  const optionsOf = ({ off, means }) => ({ off: means === "map" ? [] : off, offMap: means === "output" ? [] : off });

  const bytesOf = (run) =>
    Object.values(run).flat().reduce((sum, value) => sum + (ArrayBuffer.isView(value) ? value.byteLength : 0), 0);

  /** The run of a state, computed or remembered; null where a newer one was asked for meanwhile. */
  async function runOf(wanted) {
    const key = app.keyOf(wanted);
    let run = runs.get(key);
    if (run) runs.delete(key);
    else run = await app.live.run(wanted.sequence, optionsOf(wanted));
    if (!run) return null;
    runs.set(key, run);
    let held = [...runs.values()].reduce((sum, one) => sum + bytesOf(one), 0);
    for (const [old, one] of runs) {
      if (held <= KEPT_BYTES || runs.size <= 2) break;
      if (old === key || one === app.before) continue;
      runs.delete(old);
      held -= bytesOf(one);
    }
    states.cost ??= { seconds: run.seconds, work: workOf(run.sequence.length) };
    return run;
  }

  /** Products of a pass, up to a factor: of the weights for each token, of maps for each pair. */
  function workOf(residues) {
    const { width } = app.data.model;
    const tokens = residues + 2;
    return tokens * (12 * width * width + 2 * tokens * width);
  }

  /** How long a sequence of this length takes here, in words, where that is worth saying. */
  app.timeWords = function (residues) {
    if (residues < HEAVY || !states.cost) return "";
    const seconds = (states.cost.seconds * workOf(residues)) / states.cost.work;
    return `about ${app.number(Math.max(0.1, seconds), 1)} s on this machine, and the pictures of all heads some more`;
  };

  // ------------------------------------------------------------------------ what the views read

  /** Where the structure's residues are in a sequence: see `app.load`. */
  app.placesOf = function (sequence) {
    const start = app.data.sequence;
    if (!app.data.structure || sequence === start) return null;
    return app.related(start, sequence) && app.alignSequences(start, sequence);
  };

  function storeOf(run) {
    const tokens = run.tokens;
    const store = {
      vectors: (name) => app.vectorsOf(run, app.heads.get(name)),
      contribution(name) {
        const { layer, head } = app.heads.get(name);
        return run.contribution[layer].subarray(head * tokens, (head + 1) * tokens);
      },
      lengths: (layer) => run.lengths[layer],
      residual: () => null, // the steps of the live page show these vectors
      contacts: () => run.contacts && ((pair) => run.contacts[pair]),
      scores: () => (app.structure && run.contacts ? app.scoresOfRun(app.probability) : null),
      pictures: () => states.pictures,
    };
    return store;
  }

  /** Facts and pictures of all heads of a run, in slices; the open head first. */
  async function summarise(run, id) {
    const heads = app.data.heads;
    const done = summaries.get(run);
    const side = app.gridOf.side;
    const found = done || { rows: new Map(), pictures: new Uint8Array(heads.length * side * side) };
    const openFirst = [...heads.keys()].sort((a, b) => (heads[b].name === app.state.head) - (heads[a].name === app.state.head));
    states.pictures = found.pictures;
    const changes = new Map();
    const compared = app.before && app.related(app.before.sequence, run.sequence);
    const places = compared && app.alignSequences(app.before.sequence, run.sequence);
    let since = performance.now();
    for (const number of openFirst) {
      const head = heads[number];
      const before = compared ? app.before : null;
      let row = found.rows.get(head.name);
      if (!row || before) {
        const map = app.mapOfRun(run, head);
        if (!row) {
          row = app.factsOf(map);
          found.rows.set(head.name, row);
          found.pictures.set(app.thumbnailOf(map.weights, run.tokens - 2), number * side * side);
        }
        if (before) changes.set(head.name, app.movedWeight(app.mapOfRun(before, head), map, places));
      }
      Object.assign(head, row);
      if (performance.now() - since < 25) continue;
      await app.pause();
      if (id !== newest) return false;
      since = performance.now();
    }
    summaries.set(run, found);
    states.moved = compared ? changes : null;
    states.settled = true;
    app.set({ summaries: app.state.summaries + 1 });
    return true;
  }

  app.pause = () => new Promise((done) => setTimeout(done));

  // ----------------------------------------------------------------------------------- showing

  /** The state that the present one is compared with, or null. */
  function comparedWith(at) {
    const { history, pinned } = states;
    const one = app.state.compare === "pinned" ? pinned : app.state.compare === "start" ? history[0] : history[at - 1];
    return one && app.keyOf(one) !== app.keyOf(history[at]) ? one : null;
  }

  /** Where a residue of one sequence is in another, or the nearest there is. */
  function moved(residue, from, to) {
    if (residue === null || from === to) return residue;
    const place = app.alignSequences(from, to).indexOf(residue);
    return place >= 0 ? place : app.clamp(residue, 0, to.length - 1);
  }

  /** Show a state of the history; resolves to whether it is on show. */
  states.show = async function (at, extra = {}) {
    const id = ++newest;
    const wanted = states.history[at];
    states.target = at;
    states.settled = false;
    const started = performance.now();
    app.set({ busy: true });
    try {
      const other = comparedWith(at);
      const run = await runOf(wanted);
      const before = run && id === newest && other ? await runOf(other) : null;
      if (!run || id !== newest || (other && !before)) return false; // the newer one goes on
      states.other = before && other; // the state that app.before is the run of
      put(at, run, before, extra);
      app.set({ busy: false });
      const seconds = (performance.now() - started) / 1000;
      app.saySeconds(seconds);
      return await summarise(run, id);
    } catch (error) {
      if (id === newest) {
        states.target = states.at;
        states.settled = true;
        app.set({ busy: false });
        app.say(`This could not be computed: ${error.message}.`, true);
      }
      return false;
    }
  };

  const nameOf = ({ base, sequence }) =>
    base.sequence === sequence ? base.name : `${base.name}, ${app.changeWords(base.sequence, sequence)}`;

  /** What a state is, wherever one came from to it: "1ubi_A, T7A; L5H4 off". */
  states.labelOf = function (state) {
    const { off, means } = state;
    const how = { output: "", map: " (map)", both: " (output and map)" }[means];
    return nameOf(state) + (off.length ? `; ${off.join(", ")} off${how}` : "");
  };

  function put(at, run, before, extra) {
    const from = app.run ? app.run.sequence : run.sequence;
    const first = !app.run;
    states.at = at;
    const { sequence, off, means } = states.history[at];
    [app.run, app.before] = [run, before];
    app.name = nameOf(states.history[at]);
    app.load({ sequence, pieces: [[0, sequence.length]], store: storeOf(run), places: app.placesOf(sequence) });
    const open = app.heads.get(app.state.head);
    Object.assign(open, app.factsOf(app.mapOfRun(run, open)));
    states.pictures = (summaries.get(run) || {}).pictures || (from.length === sequence.length && states.pictures) || null;
    states.moved = null;
    const start = app.data.sequence;
    const few = sequence.length === start.length ? app.mutations(start, sequence) : null;
    const asMutations = few && few.length && few.length <= 20 ? few.join(",") : null;
    const changes = {
      run: app.state.run + 1, before: app.state.before + 1, sequence, off: off.join(","), means,
      mutations: asMutations,
      pasted: sequence !== start && !asMutations && sequence.length <= 400 ? sequence : null,
    };
    if (!first) {
      changes.query = moved(app.state.query, from, sequence);
      changes.key = moved(app.state.key, from, sequence);
      if (from.length !== sequence.length) {
        changes.brush = null;
        app.resizeFigures();
      }
    }
    app.set({ ...changes, ...extra });
  }

  /** Go on to another state: what lay ahead, after an undo, is dropped. */
  states.change = async function (edit, words, extra) {
    const now = states.history[states.target];
    const next = { ...now, ...edit, words };
    next.off = [...next.off].sort((a, b) => app.data.heads.indexOf(app.heads.get(a)) - app.data.heads.indexOf(app.heads.get(b)));
    if (app.keyOf(next) === app.keyOf(now)) {
      app.say("That is what is on show already.");
      return true;
    }
    states.history.splice(states.target + 1, Infinity, next);
    return states.show(states.target + 1, extra);
  };

  states.undo = () => (states.target > 0 ? states.show(states.target - 1) : app.say("There is nothing to undo."));
  states.redo = () => (states.target < states.history.length - 1 ? states.show(states.target + 1) : app.say("There is nothing to redo."));

  states.pin = function () {
    states.pinned = { ...states.history[states.at] };
    app.set({ compare: "pinned" });
    return states.show(states.at);
  };

  states.toggleHead = function (name) {
    const { off } = states.history[states.target];
    const is = off.includes(name);
    return states.change({ off: is ? off.filter((one) => one !== name) : [...off, name] }, `${name} ${is ? "on" : "off"}`);
  };

  states.mutate = function (i, letter) {
    const { sequence } = states.history[states.target];
    const words = `${sequence[i]}${i + 1}${letter}`;
    return states.change({ sequence: sequence.slice(0, i) + letter + sequence.slice(i + 1) }, words);
  };
})(esmkitExplorer);
