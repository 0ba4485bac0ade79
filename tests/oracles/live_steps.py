"""The steps and guesses of a live page, computed by its own scripts in node, without a browser."""

import base64
import json
import shutil
import subprocess
from functools import cache
from importlib import resources
from typing import Any

import pytest

from esmkit.encoder.encoder import Encoder
from esmkit.explorer.live.engine import engine_text
from esmkit.explorer.live.weights import pack_weights
from esmkit.explorer.offline import static_text

NODE = shutil.which("node") or ""

LIVE = "esmkit.explorer.live"
SCRIPTS = ("reading.js", "equations.js", "rows.js", "walk.js", "steps_live.js", "guess.js")
"""Scripts that draw nothing until they are asked to."""

STUB = """
globalThis.window = globalThis;
const job = JSON.parse(require("fs").readFileSync(0, "utf8"));
const texts = { data: "{}", "data-colours": "{}", "data-weights": job.weights };
globalThis.document = { getElementById: (id) => (id in texts && texts[id] !== null ? { textContent: texts[id] } : null) };
"""

DRIVER = """
(async function (app) {
  const markup = (lines) => lines.filter((line) => typeof line !== "string").map(app.mathMarkup);
  const found = [];
  const alive = setInterval(() => {}, 1000); // the engine's own waiting keeps no process alive
  const client = await esmkitLive.connect({ manifest: job.manifest, weights: job.weights, worker: false });
  app.live = client;
  if (job.withoutRows) texts["data-weights"] = null;
  for (const { sequence, options, places, then } of job.runs) {
    const run = await client.run(sequence, options);
    const walks = [];
    for (const place of places) {
      const steps = await app.liveSteps(run, place);
      walks.push(steps.map((step) => {
        const picked = app.pickedOf(step);
        return {
          name: step.name, title: step.title, text: step.text, picked, mean: step.mean, variance: step.variance,
          vectors: step.vectors.map((vector) => ({ name: vector.name, label: vector.label, values: Array.from(vector.values) })),
          equations: markup(step.equations(picked)), first: markup(step.equations(0)),
        };
      }));
    }
    const guess = app.guessOf(run);
    const other = then ? app.guessOf(await client.run(then, {})) : null;
    found.push({
      walks,
      guess: guess && { shares: Array.from(guess.shares), bits: Array.from(guess.bits), own: Array.from(guess.own, (v) => (Number.isNaN(v) ? null : v)), perplexity: guess.perplexity },
      pairs: then ? Array.from(app.alignSequences(then, sequence)) : null,
      moved: other ? Array.from(app.movedSince(guess, other), (v) => (Number.isNaN(v) ? null : v)) : null,
    });
  }
  clearInterval(alive);
  process.stdout.write(JSON.stringify(found));
})(esmkitExplorer).catch((error) => { console.error(error.stack); process.exit(1); });
"""


@cache
def _script() -> str:
    own = "\n".join(static_text(name, LIVE) for name in SCRIPTS)
    return "\n".join((STUB, engine_text(), static_text("common.js"), own, DRIVER))


def live_files() -> dict[str, str]:
    """Return every script of the live page by its name."""
    folder = resources.files(LIVE) / "static"
    return {f.name: f.read_text() for f in folder.iterdir() if f.name.endswith(".js")}


def run_steps(
    model: Encoder, runs: list[dict[str, Any]], *, bits: Any = 16, without_rows: bool = False
) -> list[dict[str, Any]]:
    """Run the page's scripts in node.

    Parameters
    ----------
    model : Encoder
    runs : list of dict
        ``sequence``, ``options`` of the run, ``places`` (layer, head, query, key, end) whose steps are
        wanted, and ``then``, a sequence that the guess is compared with.
    without_rows : bool
        Whether the page no longer holds its weights as text.
    """
    if not NODE:
        pytest.skip("node is not installed (apt-get install nodejs)")
    manifest, weights = pack_weights(model, bits)
    job = {
        "manifest": manifest,
        "weights": base64.b64encode(weights).decode(),
        "withoutRows": without_rows,
        "runs": [{"options": {}, "places": [], "then": None, **one} for one in runs],
    }
    done = subprocess.run(
        [NODE, "-e", _script()], input=json.dumps(job), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
