"""The model in a page: how long a run takes in Chromium and in node, and what memory it takes.

    python -m benchmarks live

One thread, as in a page: the default checkpoint's weights in 16 bits, the engine's kernel for
WebAssembly, or plain JavaScript in its place. Each number is the median of several runs after one
that is not counted, in plain JavaScript from 300 residues on of a single run; start is unpacking the weights, base64 included in Chromium.
"""

import base64
import json
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

LENGTHS = (100, 300, 1_000)

RUNS = {"wasm": (7, 5, 3), "javascript": (3, 1, 1)}
"""How often each length is run, by kernel; what is run once has no run before it that is not counted."""

RESIDUES = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVVHSLAKWKRQTLGQHDFSAGEGLYTHMKALRPDEDRL"

MEASURE = """
async function measured(make, lengths, runs, residues) {
  const begun = performance.now();
  const engine = await make();
  const found = { kind: engine.kind, start: performance.now() - begun, seconds: [] };
  for (let i = 0; i < lengths.length; i++) {
    const sequence = residues.repeat(1 + lengths[i] / residues.length).slice(0, lengths[i]);
    const times = [];
    for (let n = runs[i] > 1 ? 0 : 1; n <= runs[i]; n++) {
      const before = performance.now();
      const run = await engine.run(sequence);
      if (n > 0) times.push(performance.now() - before);
      found.heap = run.heapBytes || engine.heapBytes;
    }
    times.sort((a, b) => a - b);
    found.seconds.push(times[times.length >> 1] / 1000);
  }
  return found;
}
"""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval'; "
    "worker-src blob:"
)


def packed() -> dict[str, Any]:
    """Return manifest, weights and kernel of the default checkpoint."""
    import esmkit
    from esmkit.explorer.live.engine import kernel_bytes
    from esmkit.explorer.live.weights import pack_weights

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manifest, data = pack_weights(esmkit.load())
    return {"manifest": manifest, "weights": data, "kernel": kernel_bytes()}


def in_node(given: dict[str, Any], kind: str) -> dict[str, Any]:
    """Measure in node."""
    from esmkit.explorer.live.engine import engine_text

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "engine.js").write_text(engine_text())
        (folder / "manifest.json").write_text(json.dumps(given["manifest"]))
        (folder / "weights").write_bytes(given["weights"])
        (folder / "kernel").write_bytes(given["kernel"])
        said = json.dumps([LENGTHS, RUNS[kind], RESIDUES])
        (folder / "run.js").write_text(
            f"""{MEASURE}
            const fs = require("fs");
            const folder = process.argv[2];
            require(folder + "/engine.js");
            const bytes = (name) => Uint8Array.from(fs.readFileSync(folder + "/" + name)).buffer;
            const weights = bytes("weights");
            const kernel = {json.dumps(kind)} === "wasm" ? bytes("kernel") : null;
            const manifest = JSON.parse(fs.readFileSync(folder + "/manifest.json"));
            const make = () => esmkitLive.createEngine({{ manifest, weights, kernel }});
            measured(make, ...{said}).then((found) => console.log(JSON.stringify(found)));"""
        )
        node = shutil.which("node") or "node"
        command = [node, str(folder / "run.js"), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def in_chromium(given: dict[str, Any], kind: str) -> dict[str, Any]:
    """Measure in headless Chromium, from a file, in a worker."""
    from playwright.sync_api import sync_playwright

    from esmkit.explorer.live.engine import engine_text

    texts = {
        "manifest": json.dumps(given["manifest"]).replace("<", "\\u003c"),
        "weights": base64.b64encode(given["weights"]).decode(),
        "kernel": base64.b64encode(given["kernel"]).decode() if kind == "wasm" else "",
    }
    tags = "".join(f'<script type="text/plain" id="{n}">{t}</script>' for n, t in texts.items())
    page = f"""<!DOCTYPE html><html><head><meta charset="utf-8">
    <meta http-equiv="Content-Security-Policy" content="{POLICY}"></head><body>{tags}
    <script>{engine_text()}</script><script>{MEASURE}
    const text = (id) => document.getElementById(id).textContent;
    const make = () => esmkitLive.connect({{
      manifest: JSON.parse(text("manifest")), weights: text("weights"), kernel: text("kernel"),
    }});</script></body></html>"""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as starter:
        path = Path(name) / "page.html"
        path.write_text(page)
        browser = starter.chromium.launch(executable_path=shutil.which("chromium"))
        try:
            tab = browser.new_page()
            tab.goto(path.as_uri())
            arguments = [LENGTHS, RUNS[kind], RESIDUES]
            return tab.evaluate("(given) => measured(make, ...given)", arguments)
        finally:
            browser.close()


def rows() -> list[dict[str, Any]]:
    """Measure all four."""
    given = packed()
    return [
        {"where": where, **measure(given, kind)}
        for where, measure in (("Chromium", in_chromium), ("node", in_node))
        for kind in RUNS
    ]


def report() -> list[str]:
    """Run everything and return a table."""
    names = {"wasm": "WebAssembly", "javascript": "plain JavaScript"}
    lengths = " | ".join(f"{length:,} residues" for length in LENGTHS)
    lines = [
        "A run of the model in a page, one thread, seconds:",
        "",
        f"| | {lengths} | start | heap |",
        "|---|" + "---|" * (len(LENGTHS) + 2),
    ]
    for row in rows():
        seconds = " | ".join(f"{value:.2f}" for value in row["seconds"])
        lines.append(
            f"| {row['where']}, {names[row['kind']]} | {seconds} | {row['start'] / 1000:.2f} | "
            f"{row['heap'] / 1e6:.0f} MB |"
        )
    return lines


if __name__ == "__main__":
    print("\n".join(report()))
