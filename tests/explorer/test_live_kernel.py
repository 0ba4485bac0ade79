"""The kernel for WebAssembly: built again, and its functions one by one beside NumPy and SciPy."""

import json
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.polynomial import polynomial
from numpy.typing import NDArray
from scipy.special import erf, erfcx, softmax

from esmkit.errors import MissingDependencyError
from esmkit.explorer.live.engine import engine_text, kernel_bytes
from esmkit.explorer.live.kernel import build
from esmkit.explorer.live.kernel.fit import coefficients
from oracles.live_engine import node

STATIC = build.KERNEL.parent

CALL = """
require(process.argv[2]);
const fs = require("fs");
const { kernel, puts, call, result } = JSON.parse(fs.readFileSync(process.argv[3]));
const heap = esmkitLive.createHeap(kernel ? Uint8Array.from(fs.readFileSync(kernel)).buffer : null);
const at = {};
for (const [name, values] of Object.entries(puts)) at[name] = heap.put(Float32Array.from(values));
for (const [name, ...rest] of call) heap.kernel[name](...rest.map((one) => at[one] ?? one));
console.log(JSON.stringify(result.map((name) => Array.from(heap.view(at[name], puts[name].length)))));
"""


class Kernel:
    """One of the two kernels: puts arrays on its heap, calls a function, reads arrays back."""

    def __init__(self, folder: Path, compiled: bool) -> None:
        self.folder, self.compiled = folder, compiled
        (folder / "engine.js").write_text(engine_text())
        (folder / "call.js").write_text(CALL)

    def __call__(
        self, *calls: list, result: str, **puts: NDArray[np.floating]
    ) -> list[NDArray[np.float64]]:
        path = str(build.KERNEL) if self.compiled else None
        values = {name: np.ravel(one).tolist() for name, one in puts.items()}
        said = {"kernel": path, "puts": values, "call": calls, "result": result.split()}
        (self.folder / "call.json").write_text(json.dumps(said))
        names = ("call.js", "engine.js", "call.json")
        command = [node(), *(str(self.folder / name) for name in names)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [np.array(one) for one in json.loads(done.stdout)]


@pytest.fixture(params=[True, False], ids=["wasm", "javascript"])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Kernel:
    return Kernel(tmp_path, request.param)


def panels(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = matrix.shape
    padded = np.zeros((-(-rows // 8) * 8, columns), np.float32)
    padded[:rows] = matrix
    return padded.reshape(-1, 8, columns).swapaxes(1, 2)


def random(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("tokens", "inner", "outer"), [(1, 7, 5), (4, 16, 8), (11, 9, 19)])
def test_products(kernel: Kernel, tokens: int, inner: int, outer: int):
    x, w, b = random(tokens, inner), random(outer, inner, seed=1), random(outer, seed=2)
    y = random(tokens, outer, seed=3)
    add = ["linear", "x", inner, tokens, inner, "w", "b", outer, "y", outer, 1]
    plain = ["linear", "x", inner, tokens, inner, "w", 0, outer, "z", outer, 0]
    put = ["pack", "raw", outer, inner, inner, 1, "packed"]
    found = kernel(
        *(add, plain, put),
        **{"x": x, "w": panels(w), "b": b, "y": y, "z": y, "raw": w, "packed": 9 + panels(w)},
        result="y z packed",
    )
    exact = x.astype(float) @ w.astype(float).T
    np.testing.assert_allclose(found[0].reshape(y.shape), exact + b + y, atol=1e-5)
    np.testing.assert_allclose(found[1].reshape(y.shape), exact, atol=1e-5)
    np.testing.assert_array_equal(found[2], panels(w).ravel())


@pytest.mark.parametrize("width", [8, 10, 33])
def test_norm(kernel: Kernel, width: int):
    x, gain, bias = 3 + 50 * random(3, width), random(width, seed=1), random(width, seed=2)
    call = ["norm", "x", 3, width, "gain", "bias", 1e-5, "y"]
    (found,) = kernel(call, x=x, gain=gain, bias=bias, y=0 * x, result="y")
    exact = x.astype(float)
    exact = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(found.reshape(x.shape), exact * gain + bias, atol=5e-6)


def test_gelu_is_exact(kernel: Kernel):
    """Within float32's rounding of x times the normal distribution; the tanh fit is 5e-4 away."""
    x = np.concatenate([np.linspace(-12, 12, 2001), [0, 1e-20, 60, -60, 1e4, -1e4]])
    x = x.astype(np.float32)
    (found,) = kernel(["gelu", "x", len(x)], x=x, result="x")
    exact = x.astype(float) * 0.5 * (1 + erf(x.astype(float) / np.sqrt(2)))
    np.testing.assert_allclose(found, exact, rtol=2e-7, atol=2e-7)
    near_zero = np.abs(x) < 1
    np.testing.assert_allclose(found[near_zero], exact[near_zero], rtol=1e-6, atol=0)


def test_the_polynomial_is_that_of_the_fit():
    known = coefficients()
    for path in (STATIC / "plain.js", build.SOURCE):
        found = re.search(r"ERFCX(?:\[\])? = [\[{](.*?)[\]}]", path.read_text(), re.DOTALL)
        assert found
        numbers = [float(text.strip().rstrip("f")) for text in found[1].split(",") if text.strip()]
        np.testing.assert_allclose(numbers, known, rtol=1e-8, atol=1e-14)
    z = np.linspace(0, 30, 5001)
    assert abs(polynomial.polyval((z - 2) / (z + 2), known) - erfcx(z)).max() < 4e-9


@pytest.mark.parametrize(("tokens", "width"), [(3, 4), (13, 16), (24, 10)])
def test_attention_of_a_head(kernel: Kernel, tokens: int, width: int):
    q, k, v = (3 * random(tokens, width, seed=n) for n in range(3))
    residues, stride = tokens - 2, width + 3
    room = np.zeros(4 * (tokens + 8) * (width + 8) + 8 * (tokens + 8))
    before = random(residues, residues, seed=4)
    call = ["attend", "q", "k", "v", tokens, width, "room", "y", stride, 0.7, "map", "sums"]
    found = kernel(
        call,
        **{"q": q, "k": k, "v": v, "room": room, "y": np.zeros((tokens, stride))},
        **{"map": before, "sums": np.full(residues, 9.0)},
        result="y map sums",
    )
    weights = softmax(q.astype(float) @ k.astype(float).T, axis=1)
    mixed = found[0].reshape(tokens, stride)
    np.testing.assert_allclose(mixed[:, :width], weights @ v, atol=1e-5)
    assert not mixed[:, width:].any()
    inside = weights[1:-1, 1:-1]
    np.testing.assert_allclose(found[1].reshape(before.shape), before + 0.7 * inside, atol=2e-6)
    np.testing.assert_allclose(found[2], inside.sum(0) + inside.sum(1), atol=5e-6)


def test_rotation(kernel: Kernel):
    tokens, heads, width = 5, 3, 6
    x, angles = random(tokens, heads * width), random(tokens, width // 2, seed=1)
    call = ["turn", "x", tokens, heads, width, "cos", "sin", 0.5, "y"]
    only = ["turn", "x", tokens, heads, width, 0, 0, 1, "z"]
    puts = {"x": x, "cos": np.cos(angles), "sin": np.sin(angles), "y": 0 * x, "z": 0 * x}
    turned, moved = kernel(call, only, **puts, result="y z")
    by_head = x.reshape(tokens, heads, width).swapaxes(0, 1)
    pairs = by_head[..., :3] + 1j * by_head[..., 3:]  # a pair is a complex number
    pairs = 0.5 * pairs * np.exp(1j * angles)
    exact = np.concatenate([pairs.real, pairs.imag], axis=-1)
    np.testing.assert_allclose(turned.reshape(by_head.shape), exact, atol=1e-6)
    np.testing.assert_array_equal(moved, by_head.ravel().astype(np.float64))


# ------------------------------------------------------------------------------------- building


def test_the_kernel_is_small_and_asks_for_nothing(tmp_path: Path):
    assert len(kernel_bytes()) < 16_000
    (tmp_path / "kernel.wasm").write_bytes(kernel_bytes())
    script = "const m = new WebAssembly.Module(require('fs').readFileSync(process.argv[1]));"
    script += "console.log(JSON.stringify([WebAssembly.Module.imports(m), "
    script += "WebAssembly.Module.exports(m).map((e) => e.name).sort()]))"
    command = [node(), "-e", script, str(tmp_path / "kernel.wasm")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    imports, exports = json.loads(done.stdout)
    assert imports == []
    assert exports == sorted([*build.EXPORTS, "memory"])


@pytest.mark.skipif(find_spec("ziglang") is None, reason="pip install ziglang==0.13.0")
def test_building_gives_the_same_bytes():
    assert build.compile_kernel() == kernel_bytes()


def test_without_the_compiler_it_says_which(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> str:
        raise build.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(build.metadata, "version", missing)
    words = "the kernel is built with ziglang 0.13.0, and here is none; pip install ziglang==0.13.0"
    with pytest.raises(MissingDependencyError, match=re.escape(words)):
        build.compile_kernel()
    monkeypatch.setattr(build.metadata, "version", lambda name: "0.12.0")
    with pytest.raises(MissingDependencyError, match=re.escape("and here is 0.12.0")):
        build.compile_kernel()
