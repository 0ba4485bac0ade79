"""The engine of live pages, in node, beside the reference in float64 and beside itself."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esmkit.encoder.encoder import Encoder
from esmkit.esm2 import Esm2, load
from esmkit.explorer.live.engine import engine_text
from esmkit.reference import encoder as reference
from oracles.checkpoints import make_checkpoint, random_sequence
from oracles.live_engine import (
    Ask,
    Told,
    differences,
    expected,
    head_lengths,
    run_engine,
    weights_of,
)

UBIQUITIN = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"

ROUNDED = 3e-4
"""Largest difference as a share of the largest value of its kind, for 16 bits: a weight is off by
1/65,534 of the largest of its row, and some hundred such errors add up over a few layers."""


@pytest.fixture(scope="module", params=[(2, 4, 32), (3, 2, 24), (4, 5, 40), (2, 3, 42)])
def shaped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Tiny models; neither the last's width nor its head width is a multiple of 4."""
    folder = tmp_path_factory.mktemp("live") / "model"
    return load(make_checkpoint(folder, request.param, lm_head=True), "cpu")


def one(told: Told) -> dict[str, Any]:
    assert len(told.runs) == 1
    assert "error" not in told.runs[0], told.runs[0]
    return told.runs[0]


def close(run: dict[str, Any], want: Any) -> bool:
    found = differences(run, want)
    assert {"hidden", "last hidden", "query", "maps", "contribution", "lengths"} <= set(found)
    assert {"contacts", "logits"} <= set(found)
    return all(worst <= ROUNDED * max(size, 1.0) for worst, size in found.values())


@pytest.mark.parametrize("kernel", [True, False], ids=["wasm", "javascript"])
def test_a_run_is_the_reference(shaped: Encoder, tmp_path: Path, kernel: bool):
    lengths = (1, 2, 5, 6, 13, 40)
    asks = [Ask(random_sequence(n, n)) for n in lengths]
    told = run_engine(shaped, asks, tmp_path, kernel=kernel)
    assert told.kind == ("wasm" if kernel else "javascript"), told.why
    parameters, head = weights_of(shaped)
    for ask, run in zip(asks, told.runs, strict=True):
        assert run["sequence"] == ask.sequence
        assert run["tokens"] == len(ask.sequence) + 2
        assert close(run, expected(parameters, head, ask.sequence)), len(ask.sequence)
    assert told.progress == sorted(told.progress)
    assert told.progress[-1] == 1
    assert told.heap_bytes > 4 * sum(p.numel() for p in shaped.network.parameters()) * 0.9


def test_webassembly_and_plain_javascript_agree(shaped: Encoder, tmp_path: Path):
    asks = [Ask(random_sequence(n, n), steps=[(1, 1)]) for n in (9, 30)]
    fast, plain = (run_engine(shaped, asks, tmp_path, kernel=k) for k in (True, False))
    for a, b in zip(fast.runs, plain.runs, strict=True):
        for name in ("query", "key", "value", "contribution", "lengths", "hidden", "logits"):
            several = isinstance(a[name], list)
            for x, y in zip(
                *((a[name], b[name]) if several else ([a[name]], [b[name]])), strict=True
            ):
                # Of the largest value: random weights make small differences of large numbers
                np.testing.assert_allclose(x, y, atol=1e-5 * np.abs(y).max(), err_msg=name)
        np.testing.assert_allclose(a["contacts"], b["contacts"], atol=1e-5)
        assert set(a["steps"][0]) == set(b["steps"][0])


def test_in_slices_and_at_once_are_the_same(tiny_lm: Esm2, tmp_path: Path):
    asks = [Ask(random_sequence(n, n)) for n in (20, 7)]
    first = run_engine(tiny_lm, asks, tmp_path)
    second = run_engine(tiny_lm, asks, tmp_path, slices=True)
    for a, b in zip(first.runs, second.runs, strict=True):
        np.testing.assert_array_equal(a["contacts"], b["contacts"])
        np.testing.assert_array_equal(a["hidden"][-1], b["hidden"][-1])


def test_eight_bits_are_near(tiny_lm: Esm2, tmp_path: Path):
    sequence = random_sequence(30, 3)
    run = one(run_engine(tiny_lm, [Ask(sequence)], tmp_path, bits=8))
    worst, size = differences(run, expected(*weights_of(tiny_lm), sequence))["last hidden"]
    assert 1e-3 * size < worst < 0.1 * size  # 256 times as coarse


def test_masked_residues(shaped: Encoder, tmp_path: Path):
    sequence, mask = random_sequence(12, 5), [0, 7, 11]
    run = one(run_engine(shaped, [Ask(sequence, {"mask": mask})], tmp_path))
    want = expected(*weights_of(shaped), sequence, mask)
    assert close(run, want)
    assert not close(run, expected(*weights_of(shaped), sequence))
    assert not run["hidden"][0].reshape(14, -1)[8].any()
    assert run["mask"] == mask


@pytest.mark.parametrize("kernel", [True, False], ids=["wasm", "javascript"])
def test_a_head_switched_off_is_that_of_the_inside(tiny_lm: Esm2, tmp_path: Path, kernel: bool):
    sequence = random_sequence(25, 8)
    ask = Ask(sequence, {"off": ["L0H2", "l1h3"]}, steps=[(0, 4)])
    run = one(run_engine(tiny_lm, [ask], tmp_path, kernel=kernel))
    names = ("L0.residual", "final")
    traced = tiny_lm.trace(sequence, keep=names, edit={"L0H2.output": 0, "L1H3.output": 0})
    width = tiny_lm.width
    np.testing.assert_allclose(
        run["hidden"][1].reshape(-1, width)[1:-1], traced["L0.residual"], rtol=ROUNDED, atol=2e-3
    )
    np.testing.assert_allclose(
        run["hidden"][2].reshape(-1, width)[1:-1], traced["final"], rtol=ROUNDED, atol=2e-3
    )
    assert not run["contribution"][0].reshape(4, -1)[2].any()
    assert not run["steps"][0]["head_output"].reshape(4, -1)[2].any()
    # The contact head still reads all maps, as in the ablation
    maps = [
        reference.softmax(
            run["query"][n].reshape(4, 27, 8) @ run["key"][n].reshape(4, 27, 8).swapaxes(1, 2)
        )[None].astype(np.float64)
        for n in range(2)
    ]
    parameters, _ = weights_of(tiny_lm)
    ids = np.array([[0, *[5] * 25, 2]])
    whole = reference.contact_probabilities(parameters, maps, ids)[0]
    np.testing.assert_allclose(run["contacts"], whole[np.triu_indices(25, 1)], atol=1e-4)


@pytest.mark.parametrize("kernel", [True, False], ids=["wasm", "javascript"])
def test_a_map_switched_off_is_a_term_less(tiny_lm: Esm2, tmp_path: Path, kernel: bool):
    sequence = random_sequence(25, 8)
    run = one(run_engine(tiny_lm, [Ask(sequence, {"offMap": ["L1H0"]})], tmp_path, kernel=kernel))
    parameters, head = weights_of(tiny_lm)
    weight = parameters.contact.weight.copy()  # type: ignore[union-attr]
    weight[0, 4] = 0
    without = reference.Parameters(
        **{**vars(parameters), "contact": reference.Affine(weight, parameters.contact.bias)}  # type: ignore[union-attr]
    )
    assert close(run, expected(without, head, sequence))


def test_steps_of_a_token(shaped: Encoder, tmp_path: Path):
    sequence = random_sequence(11, 2)
    places = [(0, 0), (shaped.layers - 1, 12), (1, 6)]
    for kernel in (True, False):
        run = one(run_engine(shaped, [Ask(sequence, {}, places)], tmp_path, kernel=kernel))
        want = expected(*weights_of(shaped), sequence)
        assert want.encoding.trace is not None
        for (layer, token), steps in zip(places, run["steps"], strict=True):
            trace = dict(want.encoding.trace[layer])
            names = set(trace) | set(want.head)
            own = {"stream", "feed_forward_expanded", "lm_dense"}
            assert set(steps) == names | own
            for name, value in {**trace, **want.head}.items():
                value = value[0][:, token] if value[0].ndim == 3 else value[0][token]
                atol = ROUNDED * max(1, np.abs(value).max())
                np.testing.assert_allclose(steps[name], value.ravel(), atol=atol, err_msg=name)
            stream = want.encoding.hidden_states[layer][0, token]
            np.testing.assert_allclose(steps["stream"], stream, atol=2e-3)
            gelu = reference.gelu(steps["feed_forward_expanded"].astype(float))
            np.testing.assert_allclose(steps["feed_forward_hidden"], gelu, atol=1e-6)


def test_lengths_of_what_heads_add(tiny: Esm2, tmp_path: Path):
    sequence = random_sequence(10, 4)
    run = one(run_engine(tiny, [Ask(sequence)], tmp_path))
    want = expected(*weights_of(tiny), sequence)
    np.testing.assert_allclose(
        run["contribution"][1].reshape(4, 12), head_lengths(want, 1), rtol=1e-3
    )
    assert run["logits"] is None  # no masked-LM head


BREAKS = {
    "rotary": (r"f\[to \+ i\] = a \* c - b \* s", "f[to + i] = a * c + b * s"),
    "erf": (r"f\[i\] = live\.geluOf\(f\[i\]\)", "f[i] = 0.5 * f[i] * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (f[i] + 0.044715 * f[i] ** 3)))"),
    "kept": (r"manifest\.keptInTraining /", "1 /"),
    "mask": (r"/ \(1 - masked / ids\.length\)", "/ 1"),
    "scale": (r"size \*\* -0\.5 : 1", "1 : 1"),
    "apc": (r" - off\[i \* residues \+ j\]", ""),
}  # fmt: skip


def test_what_is_broken_is_seen(tiny_lm: Esm2, tmp_path: Path):
    sequence, mask = random_sequence(20, 6), [3, 4, 5]
    want = expected(*weights_of(tiny_lm), sequence, mask)
    ask = Ask(sequence, {"mask": mask})
    assert close(one(run_engine(tiny_lm, [ask], tmp_path, kernel=False)), want)
    for name, (pattern, new) in BREAKS.items():
        broken, count = re.subn(pattern, lambda _, new=new: new, engine_text())
        assert count == 1, name
        run = one(run_engine(tiny_lm, [ask], tmp_path, kernel=False, text=broken))
        assert not close(run, want), name


def test_errors_say_what_is_wrong(tiny: Esm2, tmp_path: Path):
    asks = {
        "the sequence is empty; give at least one residue": Ask(""),
        'residue 2: "J" has no token in ESM-2; use one of the 20 amino acids or X': Ask("AJA"),
        'residue 1: "<" has no token in ESM-2; use one of the 20 amino acids or X': Ask("<cls>"),
        "1023 residues are too many for this page: at most 1022": Ask("A" * 1023),
        "cannot mask residue index 3: there are 0 to 2": Ask("AAA", {"mask": [3]}),
        'there is no head "L2H0": L0H0 to L1H3': Ask("AAA", {"off": ["L2H0"]}),
        'there is no head "x": L0H0 to L1H3': Ask("AAA", {"offMap": ["x"]}),
        "there is no layer 2: 0 to 1": Ask("AAA", {}, [(2, 0)]),
        "there is no token 5: 0 to 4": Ask("AAA", {}, [(1, 5)]),
    }
    told = run_engine(tiny, [*asks.values(), Ask("AAA")], tmp_path)
    assert [run["error"] for run in told.runs[:-1]] == list(asks)
    assert told.runs[-1]["tokens"] == 5  # and the engine goes on


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"format": "other"}, 'these weights are "other"; this page reads esmkit live weights 1'),
        ({"bytes": 1}, "bytes, not 1: the page is damaged"),
    ],
)
def test_damaged_weights_are_refused(tiny: Esm2, tmp_path: Path, given: dict, words: str):
    with pytest.raises(AssertionError, match=re.escape(words)):
        run_engine(tiny, [Ask("AAA")], tmp_path, manifest=given)


@pytest.mark.weights
@pytest.mark.filterwarnings("ignore::esmkit.encoder.checkpoints.FittedHeadWarning")
@pytest.mark.parametrize("kernel", [True, False], ids=["wasm", "javascript"])
def test_the_real_model(real: Esm2, demo: list, tmp_path: Path, kernel: bool):
    """Within 1e-3 of float64: last hidden state, maps, contacts; inside, of the largest value."""
    small = [protein.sequence for protein in demo if len(protein.sequence) <= 100]
    mutant = UBIQUITIN[:43] + "A" + UBIQUITIN[44:]
    asks = [Ask(sequence, steps=[(5, 9)]) for sequence in [*small, mutant]]
    told = run_engine(real, asks, tmp_path, kernel=kernel)
    parameters, head = weights_of(real)
    for ask, run in zip(asks, told.runs, strict=True):
        want = expected(parameters, head, ask.sequence)
        found = differences(run, want)
        for name in ("last hidden", "maps", "contacts"):
            assert found[name][0] < 1e-3, (name, found[name])
        for name, (worst, size) in found.items():
            assert worst < 5e-4 * max(size, 1), (name, worst, size)
        assert want.encoding.trace is not None
        np.testing.assert_allclose(
            run["steps"][0]["residual"],
            want.encoding.trace[5]["residual"][0, 9],
            atol=5e-3,
        )
    assert told.heap_bytes < 40e6
