"""The page's side of the engine: a worker, or the page itself; only the newest run is computed."""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esmkit.esm2 import Esm2
from esmkit.explorer.live.engine import engine_text, kernel_bytes
from esmkit.explorer.live.weights import pack_weights
from oracles.explorer_pages import Opened, chromium
from oracles.live_engine import expected, node, weights_of

POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'"
WORKERS = "; worker-src blob:"

# What is asked of a client, in node and in a page alike.
ASKED = """async function asked(client) {
  const seen = [];
  const first = client.run("ACDEFGHIKLMNPQRSTVWY".repeat(25), {}, (share) => seen.push(share));
  const second = client.run("ACDEF");
  const aside = client.run("MKV", { lane: "aside", mask: [1] });
  const third = client.run("ACDEFG", { off: ["L0H1"] });
  const tokens = (await Promise.all([first, second, aside, third])).map((run) => run && run.tokens);
  const long = client.run("ACDEFGHIKLMNPQRSTVWY".repeat(10));
  const run = await aside;
  const steps = await client.steps(run, 1, 2); // while the long one is under way
  const whole = await long;
  let words = "";
  await client.run("AJA").catch((error) => (words = error.message));
  const after = await client.run("MKV");
  return {
    kind: client.kind, place: client.place, tokens, words, seen,
    steps: Array.from(steps.residual), masked: Array.from(run.hidden[2]),
    after: Array.from(after.hidden[2]), long: Array.from(whole.contacts), heap: after.heapBytes,
  };
}"""


def packed(model: Esm2) -> dict[str, str]:
    manifest, data = pack_weights(model)
    return {
        "manifest": json.dumps(manifest),
        "weights": base64.b64encode(data).decode(),
        "kernel": base64.b64encode(kernel_bytes()).decode(),
    }


def check(told: dict[str, Any], model: Esm2) -> None:
    """The newest run of each lane is there, and numbers are those of the reference."""
    assert told["tokens"] == [None, None, 5, 8]
    words = 'residue 2: "J" has no token in ESM-2; use one of the 20 amino acids or X'
    assert told["words"] == words
    assert all(0 <= share <= 1 for share in told["seen"])
    assert told["heap"] > 1e5
    of = weights_of(model)
    masked, after = expected(*of, "MKV", [1]), expected(*of, "MKV")
    for name, want in (("masked", masked), ("after", after)):
        np.testing.assert_allclose(
            told[name], want.encoding.hidden_states[-1].ravel(), atol=3e-3, err_msg=name
        )
    assert masked.encoding.trace is not None
    residual = masked.encoding.trace[1]["residual"][0, 2]
    np.testing.assert_allclose(told["steps"], residual, atol=3e-3)
    long = expected(*of, "ACDEFGHIKLMNPQRSTVWY" * 10)
    assert long.contacts is not None
    np.testing.assert_allclose(told["long"], long.contacts, atol=1e-3)


@pytest.mark.parametrize("kernel", [True, False], ids=["wasm", "javascript"])
def test_without_workers_it_runs_where_it_is(tiny_lm: Esm2, tmp_path: Path, kernel: bool):
    (tmp_path / "engine.js").write_text(engine_text())
    given = packed(tiny_lm)
    if not kernel:
        given["kernel"] = ""
    (tmp_path / "given.json").write_text(json.dumps(given))
    script = f"""
    {ASKED}
    require(process.argv[2]);
    const given = JSON.parse(require("fs").readFileSync(process.argv[3]));
    esmkitLive.connect({{ ...given, manifest: JSON.parse(given.manifest) }})
      .then(asked).then((told) => console.log(JSON.stringify(told)));
    """
    (tmp_path / "asks.js").write_text(script)
    names = ("asks.js", "engine.js", "given.json")
    command = [node(), *(str(tmp_path / name) for name in names)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["kind"], told["place"]) == ("wasm" if kernel else "javascript", "page")
    check(told, tiny_lm)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def page(model: Esm2, path: Path, policy: str) -> Path:
    given = packed(model)
    texts = "".join(
        f'<script type="text/plain" id="{name}">{text}</script>' for name, text in given.items()
    )
    path.write_text(
        f"""<!DOCTYPE html><html><head><meta charset="utf-8">
        <meta http-equiv="Content-Security-Policy" content="{policy}"></head><body>{texts}
        <script>{engine_text()}</script><script>{ASKED}
        const text = (id) => document.getElementById(id).textContent;
        globalThis.told = esmkitLive.connect({{
          manifest: JSON.parse(text("manifest")), weights: text("weights"), kernel: text("kernel"),
        }}).then(asked);
        document.documentElement.dataset.ready = "true";</script></body></html>"""
    )
    return path


@pytest.mark.browser
@pytest.mark.parametrize(
    ("policy", "kind", "place"),
    [
        (POLICY + WORKERS, "wasm", "worker"),
        (POLICY.replace("'unsafe-eval'", "'wasm-unsafe-eval'") + WORKERS, "wasm", "worker"),
        (POLICY.replace("'unsafe-eval'", "") + WORKERS, "javascript", "worker"),
        (POLICY, "wasm", "page"),
        (POLICY.replace("'unsafe-eval'", ""), "javascript", "page"),
    ],
)
def test_under_content_policies(
    browser: Any, tiny_lm: Esm2, tmp_path: Path, policy: str, kind: str, place: str
):
    opened = Opened(browser, page(tiny_lm, tmp_path / "page.html", policy))
    try:
        told = opened.tab.evaluate("told")
        assert (told["kind"], told["place"]) == (kind, place)
        check(told, tiny_lm)
        refused = [text for text in opened.problems if "Creating a worker" not in text]
        assert refused == []
        assert bool(opened.problems) == (place == "page")  # the browser tells that it refused one
    finally:
        opened.close()
