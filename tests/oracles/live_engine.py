"""The engine of live pages run in node, and what the reference says in its place."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esmkit.encoder.encoder import Encoder
from esmkit.explorer.live.engine import engine_text, kernel_bytes
from esmkit.explorer.live.weights import Bits, pack_weights
from esmkit.reference import encoder as reference
from esmkit.reference.masked_lm import MaskedLmHead, masked_lm_steps, read_masked_lm_head
from esmkit.sequences.tokens import encode

RUNNER = Path(__file__).with_name("live_engine.js")


def node() -> str:
    """Return node's path: that of the system, or the one that Playwright brings; else skip."""
    found = shutil.which("node")
    playwright = find_spec("playwright")
    if not found and playwright and playwright.origin:
        beside = Path(playwright.origin).parent / "driver" / "node"
        found = str(beside) if beside.exists() else None
    if not found:
        pytest.skip("there is no node (apt-get install nodejs, or pip install playwright)")
    return found


@dataclass
class Ask:
    """One run: a sequence, the engine's options, and tokens of layers whose steps to tell."""

    sequence: str
    options: dict[str, Any] = field(default_factory=dict)
    steps: Sequence[tuple[int, int]] = ()


@dataclass
class Told:
    """What the engine answers."""

    kind: str
    why: str
    heap_bytes: int
    progress: list[float]
    runs: list[dict[str, Any]]


def run_engine(
    model: Encoder,
    asks: Sequence[Ask],
    folder: Path,
    *,
    bits: Bits = 16,
    kernel: bool = True,
    text: str | None = None,
    slices: bool = False,
    manifest: dict[str, Any] | None = None,
) -> Told:
    """Run sequences through the engine; `text` in place of its scripts, for what must fail."""
    folder.mkdir(parents=True, exist_ok=True)
    packed, data = pack_weights(model, bits)
    requests = [{"sequence": a.sequence, "options": a.options, "steps": a.steps} for a in asks]
    said = {"manifest": packed | (manifest or {}), "requests": requests, "slices": slices}
    (folder / "request.json").write_text(json.dumps(said))
    (folder / "weights.bin").write_bytes(data)
    (folder / "engine.js").write_text(engine_text() if text is None else text)
    (folder / "kernel.wasm").unlink(missing_ok=True)
    if kernel:
        (folder / "kernel.wasm").write_bytes(kernel_bytes())
    command = [node(), str(RUNNER), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads((folder / "result.json").read_text())
    numbers = np.fromfile(folder / "result.bin", "<f4")

    def loaded(value: Any) -> Any:
        if isinstance(value, dict) and set(value) == {"at", "length"}:
            return numbers[value["at"] : value["at"] + value["length"]]
        if isinstance(value, dict):
            return {name: loaded(one) for name, one in value.items()}
        return [loaded(one) for one in value] if isinstance(value, list) else value

    runs = loaded(told["answers"])
    return Told(told["kind"], told["why"], told["heapBytes"], told["progress"], runs)


@dataclass
class Expected:
    """The reference in float64, for one sequence."""

    encoding: reference.Encoding
    contacts: NDArray[np.float64] | None
    head: dict[str, NDArray[np.float64]]
    parameters: reference.Parameters


def weights_of(model: Encoder) -> tuple[reference.Parameters, MaskedLmHead | None]:
    """Weights of a model for the reference, float64."""
    tensors = {name: t.float().numpy() for name, t in model.network.state_dict().items()}
    head = None
    if model.has_lm_head:
        fitted = {n: t.float().numpy() for n, t in model.lm_head.weights.tensors().items()}
        head = read_masked_lm_head(tensors, fitted)
    return reference.read_parameters(tensors, model.heads), head


def expected(
    parameters: reference.Parameters,
    head: MaskedLmHead | None,
    sequence: str,
    mask: Sequence[int] = (),
) -> Expected:
    """Run the reference."""
    ids = encode(sequence, mask=mask)[None]
    encoding = reference.encode(parameters, ids, attentions=True, trace=True)
    assert encoding.attentions is not None
    contacts = None
    if parameters.contact is not None:
        whole = reference.contact_probabilities(parameters, encoding.attentions, ids)[0]
        contacts = whole[np.triu_indices(len(sequence), 1)]
    steps = masked_lm_steps(encoding.hidden_states[-1], head) if head else {}
    return Expected(encoding, contacts, steps, parameters)


def differences(run: dict[str, Any], want: Expected) -> dict[str, tuple[float, float]]:
    """Largest difference and largest value of each kind of array in a run."""
    encoding, heads = want.encoding, want.parameters.heads
    assert encoding.trace is not None
    found: dict[str, tuple[float, float]] = {}

    def compare(name: str, actual: Any, value: Any) -> None:
        actual, value = np.asarray(actual, np.float64).ravel(), np.asarray(value).ravel()
        assert actual.shape == value.shape, (name, actual.shape, value.shape)
        before = found.setdefault(name, (0.0, 0.0))
        if value.size:  # one residue has no contacts
            worst, size = float(np.abs(actual - value).max()), float(np.abs(value).max())
            assert np.isfinite(worst), name
            found[name] = (max(before[0], worst), max(before[1], size))

    states = zip(run["hidden"], encoding.hidden_states, strict=True)
    for number, (actual, value) in enumerate(states):
        last = number == len(encoding.hidden_states) - 1
        compare("last hidden" if last else "hidden", actual, value)
    for number, steps in enumerate(encoding.trace):
        for name, full in (("query", "rotated_query"), ("key", "rotated_key"), ("value", "value")):
            compare(name, run[name][number], steps[full])
        q, k = (
            run[name][number].astype(np.float64).reshape(heads, run["tokens"], -1)
            for name in ("query", "key")
        )
        compare("maps", reference.softmax(q @ k.swapaxes(1, 2)), steps["weights"])
        before, added = encoding.hidden_states[number], steps["attention_output"]
        lengths = [np.linalg.norm(v[0], axis=1) for v in (before, added, before + added)]
        compare("lengths", run["lengths"][number], lengths)
        compare("contribution", run["contribution"][number], head_lengths(want, number))
    if want.contacts is not None:
        compare("contacts", run["contacts"], want.contacts)
    if want.head:
        compare("logits", run["logits"], want.head["logits"])
    return found


def head_lengths(want: Expected, layer: int) -> NDArray[np.float64]:
    """Length of what each head adds to each token, (H, T)."""
    assert want.encoding.trace is not None
    mixed = want.encoding.trace[layer]["head_output"][0]  # (H, T, K)
    heads, _, width = mixed.shape
    output = want.parameters.layers[layer].attention.output.weight
    parts = output.reshape(len(output), heads, width)  # (D, H, K)
    return np.linalg.norm(np.einsum("htk,dhk->htd", mixed, parts), axis=-1)
