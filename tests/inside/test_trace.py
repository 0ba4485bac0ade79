"""Traces: every activation against the reference, reading and editing, gradients, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import esmkit
from esmkit.encoder.activations import LAYER_STEPS, MAPS, OF_HEADS
from esmkit.errors import InputError, NonFiniteError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.inside import mean_of
from esmkit.reference import encoder as reference
from esmkit.sequences.tokens import encode
from esmkit.sequences.windows import windows
from oracles.checkpoints import make_checkpoint, random_sequence
from oracles.passes import Bumped

EVERYTHING = ["embedding", "L*.*", "final"]


@pytest.fixture(scope="module", params=[None, False], ids=["default", "plain"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Esm2:
    folder = make_checkpoint(tmp_path_factory.mktemp("inside") / "m", (3, 4, 32))
    return load(folder, "cpu", compiled=request.param)


def expected(model: Esm2, ids: Any) -> dict[str, np.ndarray]:
    """Every activation of the reference in float64, all tokens."""
    tensors = {name: tensor.numpy() for name, tensor in model.network.state_dict().items()}
    parameters = reference.read_parameters(tensors, model.heads)
    found = reference.encode(parameters, ids[None], trace=True)
    assert found.trace is not None
    steps = {"embedding": found.hidden_states[0][0], "final": found.hidden_states[-1][0]}
    for layer, of_layer in enumerate(found.trace):
        steps |= {f"L{layer}.{step}": values[0] for step, values in of_layer.items()}
    return steps


def assert_relative(actual: Any, wanted: Any, name: str, most: float = 1e-5) -> None:
    assert actual.shape == wanted.shape, name
    assert actual.dtype == np.float32
    assert np.abs(actual - wanted).max() <= most * np.abs(wanted).max(), name


def test_the_reference_has_the_same_names(model: Esm2):
    steps = expected(model, encode("MKTV"))
    names = {f"L{layer}.{step}" for layer in range(3) for step in LAYER_STEPS}
    assert set(steps) == names | {"embedding", "final"}
    tensors = {name: tensor.numpy() for name, tensor in model.network.state_dict().items()}
    found = reference.encode(
        reference.read_parameters(tensors, 4), encode("MKTV")[None], trace=True
    )
    assert found.trace is not None
    assert found.trace[0]["feed_forward_residual"] is found.trace[0]["residual"]  # its old name
    with pytest.raises(KeyError):
        found.trace[0]["nonsense"]


def test_every_activation_is_the_references_with_neighbours_and_masks(model: Esm2):
    proteins = {f"P{n}": random_sequence(n, n) for n in (1, 40, 40 + 27, 7, 40)}
    masks = {"P7": [0, 6], "P67": range(5, 20)}
    found = list(model.trace(proteins, keep=EVERYTHING, mask=masks))
    assert [one.id for one in found] == list(proteins)
    for one in found:
        ids = encode(one.sequence, mask=masks.get(one.id, ()))
        wanted = expected(model, ids)
        assert list(one) == [n for n in wanted if n != "final"] + ["final"] or set(one) == set(
            wanted
        )
        for name, values in wanted.items():
            assert_relative(one.tokens(name), values, f"{one.id} {name}")
            inner = values[..., 1:-1, 1:-1] if name.endswith(MAPS) else values[..., 1:-1, :]
            assert_relative(one[name], inner, name)
            assert_relative(one.bos(name), values[..., 0, :], name)
            assert_relative(one.eos(name), values[..., -1, :], name)
        for step in OF_HEADS:
            short = step.removeprefix("head_")
            np.testing.assert_array_equal(one[f"L1H2.{short}"], one[f"L1.{step}"][2])
        assert one.mask == tuple(masks.get(one.id, ()))


def test_reading_changes_no_bit(model: Esm2):
    proteins = [random_sequence(n, n) for n in (90, 33, 33, 8)]
    plain = [one.residues for one in model.embed(proteins, batch_tokens=1024)]
    nothing = list(model.trace(proteins))
    everything = list(model.trace(proteins, keep=EVERYTHING))
    few = list(model.trace(proteins, keep=["L1H0.weights", "L0.feed_forward_output"]))
    for one, bare, whole, some in zip(plain, nothing, everything, few, strict=True):
        np.testing.assert_array_equal(bare.final, one)
        np.testing.assert_array_equal(whole.final, one)
        np.testing.assert_array_equal(some.final, one)
        np.testing.assert_array_equal(some["L1H0.weights"], whole["L1H0.weights"])
        assert len(bare) == 0


def test_the_mean_is_that_of_embed(model: Esm2):
    sequence = random_sequence(60, 3)
    np.testing.assert_array_equal(model.trace(sequence).mean, model.embed(sequence).mean)


def test_what_is_linear_adds_up(model: Esm2):
    seen = model.trace(random_sequence(50, 5), keep=EVERYTHING)
    total = seen["embedding"].astype(np.float64)
    for layer, parts in enumerate(model.parts().layers):
        weight = parts.output.weight.detach().double().numpy()
        for head in range(4):
            total = total + seen[f"L{layer}H{head}.output"] @ weight[:, head * 8 : head * 8 + 8].T
        total = total + parts.output.bias.detach().double().numpy()
        total = total + seen[f"L{layer}.feed_forward_output"]
        assert_relative(seen[f"L{layer}.residual"], total, f"layer {layer}")


def test_windows_are_means_of_what_each_says(model: Esm2, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("esmkit.sequences.windows.MAX_RESIDUES", 20)
    monkeypatch.setattr("esmkit.sequences.windows.WINDOW_OVERLAP", 10)
    monkeypatch.setattr("esmkit.inside.tracing.cut_into_pieces", lambda p, _: windows(len(p), 20))
    sequence, names = random_sequence(47, 1), ["L1.residual", "L2H1.weights", "L0.query"]
    seen = model.trace(sequence, keep=names, mask=[12, 30])
    assert seen.pieces == tuple(windows(47, 20))
    sums: dict[str, Any] = dict.fromkeys(names, 0.0)
    counts: dict[str, Any] = dict.fromkeys(names, 0.0)
    for start, stop in seen.pieces:
        mask = [i - start for i in (12, 30) if start <= i < stop]
        alone = expected(model, encode(sequence[start:stop], mask=mask))
        for name in names:
            values = alone["L2.weights"][1] if "weights" in name else alone[name]
            wide = np.zeros(
                (47, 47) if "weights" in name else (*values.shape[:-2], 47, values.shape[-1])
            )
            here = np.zeros_like(wide)
            where = slice(start, stop)
            place = (where, where) if "weights" in name else (..., where, slice(None))
            inner = values[1:-1, 1:-1] if "weights" in name else values[..., 1:-1, :]
            wide[place], here[place] = inner, 1
            sums[name], counts[name] = sums[name] + wide, counts[name] + here
    for name in names:
        with np.errstate(invalid="ignore"):
            wanted = sums[name] / counts[name]
        np.testing.assert_array_equal(np.isnan(seen[name]), np.isnan(wanted))
        assert_relative(np.nan_to_num(seen[name]), np.nan_to_num(wanted), name)
    # Its own values put into each window change no bit
    again = model.trace(sequence, edit={"L1.residual": seen, "L2H1.weights": seen}, mask=[12, 30])
    np.testing.assert_array_equal(again.final, seen.final)
    with pytest.raises(InputError, match="4 windows, each with a BOS"):
        seen.tokens("L1.residual")
    with pytest.raises(InputError, match='long="whole"'):
        seen.gradient(lambda s: s.mean.sum(), of="final")
    assert seen.bos("L1.residual").shape == (32,)


# ------------------------------------------------------------------------------------ edits


@pytest.mark.parametrize("name", ["embedding", *(f"L1.{s}" for s in LAYER_STEPS), "final"])
def test_a_run_patched_with_itself_changes_no_bit_and_with_another_becomes_it(
    model: Esm2, name: str
):
    sequence, other = random_sequence(40, 1), random_sequence(40, 2)
    own = model.trace(sequence, keep=[name])
    for value in (own, own.tokens(name), own[name], lambda x: x, lambda x: x.numpy().copy()):
        changed = model.trace(sequence, edit={name: value}, keep=[name])
        np.testing.assert_array_equal(changed.final, own.final)
        np.testing.assert_array_equal(changed[name], own[name])
    theirs = model.trace(other, keep=[name])
    patched = model.trace(sequence, edit={name: theirs}, keep=[name])
    np.testing.assert_array_equal(patched.tokens(name), theirs.tokens(name))
    assert np.abs(patched.final - own.final).max() > 1e-3
    if name in (
        "embedding",
        "L1.residual",
        "L1.attention_residual",
    ):  # all that comes after follows
        np.testing.assert_array_equal(patched.final, theirs.final)


@pytest.mark.parametrize(
    ("name", "step"),
    [("embedding", None), *((f"L1.{step}", step) for step in LAYER_STEPS), ("final", None)],
)
def test_an_edited_pass_is_that_of_the_reference(model: Esm2, name: str, step: str | None):
    sequence = random_sequence(30, 4)
    seen = model.trace(sequence, keep=[name])
    change = 0.3 * np.random.default_rng(1).normal(size=seen.tokens(name).shape)
    oracle = Bumped(model, encode(sequence))
    layer = None if step is None else 1
    wanted = oracle.run((layer, step or name), change).final
    value = (seen.tokens(name) + change).astype(np.float32)
    found = model.trace(sequence, edit={name: value}, keep=["final"])
    assert_relative(found.tokens("final"), wanted, name, most=2e-5)


def test_places_heads_and_order_of_edits(model: Esm2):
    sequence = random_sequence(30, 6)
    plain = model.trace(sequence, keep="L1.*")
    seen = model.trace(
        sequence,
        keep=["L1.head_output", "L1.query"],
        edit={"L1H2.output[3,10:12,-1,eos]": "zero", "L1.query": 2, "L1H0.query": lambda x: -x},
    )
    assert not seen.tokens("L1.head_output")[2, [4, 11, 12, 30, 31]].any()
    np.testing.assert_array_equal(seen["L1H0.query"], np.full((30, 8), -2, np.float32))
    np.testing.assert_array_equal(seen["L1H1.query"], np.full((30, 8), 2, np.float32))
    only = model.trace(sequence, keep="L1.head_output", edit={"L1H2.output[3,10:12,-1,eos]": 0})
    where = (plain.tokens("L1.head_output") != only.tokens("L1.head_output")).any(axis=2)
    assert np.argwhere(where).tolist() == [[2, n] for n in (4, 11, 12, 30, 31)]
    three = np.ones((4, 8), np.float32)
    part = model.trace(sequence, keep="L1H2.output", edit={"L1H2.output[3,10:12,-1]": three})
    assert (part["L1H2.output"] == 1).all(axis=1).nonzero()[0].tolist() == [3, 10, 11, 29]


def test_means_over_named_proteins(model: Esm2):
    proteins = {"A": random_sequence(30, 1), "B": random_sequence(11, 2)}
    usual = mean_of(model, proteins, ["L1.head_output", "L0.residual"])
    each = [model.trace(p, keep=["L1.head_output", "L0.residual"]) for p in proteins.values()]
    wanted = np.concatenate([one["L0.residual"] for one in each]).mean(axis=0)
    np.testing.assert_allclose(usual["L0.residual"], wanted, rtol=0, atol=1e-5)
    assert usual.ids == ("A", "B")
    assert usual.residues == 41
    seen = model.trace("MKTV", edit={"L1H3.output": usual}, keep="L1H3.output")
    np.testing.assert_array_equal(seen.tokens("L1H3.output"), np.tile(usual["L1H3.output"], (6, 1)))
    with pytest.raises(OptionError, match=r"L2.residual is not among these means"):
        model.trace("MKTV", edit={"L2.residual": usual})
    with pytest.raises(OptionError, match="each pair of residues and so no mean"):
        mean_of(model, proteins, ["L1.*"])


@given(
    step=st.sampled_from(LAYER_STEPS),
    residues=st.integers(1, 12),
    row=st.lists(st.integers(-12, 11), min_size=1, max_size=3),
)
@settings(max_examples=25)
def test_an_edit_reaches_the_residues_that_are_named_and_no_other(
    tiny: Esm2, step: str, residues: int, row: list[int]
):
    sequence, name = random_sequence(residues, residues), f"L1.{step}"
    edit = {f"{name}[{','.join(map(str, row))}]": 9.0}
    if not all(-residues <= r < residues for r in row):
        with pytest.raises(InputError, match="has residue indices 0 to"):
            tiny.trace(sequence, edit=edit)
        return
    plain = tiny.trace(sequence, keep=name)
    seen = tiny.trace(sequence, keep=name, edit=edit)
    axis = 1 if step in OF_HEADS else 0
    a, b = (np.moveaxis(one.tokens(name), axis, 0) for one in (plain, seen))
    named = {r % residues + 1 for r in row}
    for token in range(residues + 2):
        assert (b[token] == 9).all() if token in named else (a[token] == b[token]).all()


# ------------------------------------------------------------------------------------ gradients


def test_gradients_are_central_differences_of_the_reference(model: Esm2):
    sequence, mask = random_sequence(24, 7), [5]
    seen = model.trace(sequence, mask=mask)
    names = ["embedding", *(f"L1.{step}" for step in LAYER_STEPS), "final", "L2H1.weights"]

    def metric(s: Any) -> torch.Tensor:
        return 3 * s.contacts[3, 12] + s.final[5, 3] + s["L2.residual"][4].norm()

    found = seen.gradient(metric, of=names)
    oracle = Bumped(model, encode(sequence, mask=mask))

    def number(what: Any, change: Any) -> float:
        run = oracle.run(what, change)
        last = run.steps[2, "residual"]
        return 3 * run.contacts[3, 12] + run.final[6, 3] + float(np.linalg.norm(last[5]))

    assert found.value == pytest.approx(number(None, 0), rel=1e-10)
    random = np.random.default_rng(0)
    assert set(found) == set(names)
    for name in names:
        layer, step = (int(name[1]), name.split(".")[1]) if "." in name else (None, name)
        slope = found.tokens(name)
        direction = random.normal(size=slope.shape)
        direction *= 1e-5 / np.abs(direction).max()
        whole = direction
        if "H" in name:
            whole = np.zeros((4, *direction.shape))
            whole[1] = direction
        at = (layer, step)
        # The error of central differences goes with the square of the step, and much at a <mask>,
        # whose embedding is 0 before a norm: a second step removes it
        once = number(at, whole) - number(at, -whole)
        half = 2 * (number(at, whole / 2) - number(at, -whole / 2))
        wanted = (4 * half - once) / 6
        assert (slope * direction).sum() == pytest.approx(wanted, rel=1e-6), name


def test_gradients_of_edited_runs_and_in_float32(model: Esm2):
    sequence = random_sequence(24, 8)
    edit = {"L1H2.output": "zero", "L0.query[3]": 0.5}
    seen = model.trace(sequence, edit=edit)
    exact = seen.gradient(lambda s: s.mean[3], of=["L0.residual", "L1.head_output"])
    single = seen.gradient(
        lambda s: s.mean[3], of=["L0.residual", "L1.head_output"], dtype="float32"
    )
    assert exact.value == pytest.approx(float(seen.mean[3]), abs=1e-5)
    for name in exact:
        np.testing.assert_allclose(single[name], exact[name], atol=1e-4 * np.abs(exact[name]).max())
    with torch.inference_mode():
        again = seen.gradient(lambda s: s.mean[3], of="L0.residual")
    np.testing.assert_array_equal(again["L0.residual"], exact["L0.residual"])
    # What the metric does not depend on has the gradient 0
    none = seen.gradient(lambda s: s["L0.residual"].sum(), of=["L0.residual", "L2.residual"])
    assert (none["L0.residual"] == 1).all()
    assert not none["L2.residual"].any()


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (lambda s: s.final, r"a tensor of shape \(24, 32\), and a gradient is that of one number"),
        (lambda s: 3.0, r"returned 3\.0 \(a float\)"),
        (lambda s: s.final[0, 0].item(), "a float"),
        (lambda s: s.final[0, 0].detach(), "does not depend on L1.residual"),
        (lambda s: s["L1.residul"], "did you mean L1.residual"),
    ],
)
def test_metrics_that_are_refused(model: Esm2, metric: Any, said: str):
    seen = model.trace(random_sequence(24, 8))
    with pytest.raises(OptionError, match=said):
        seen.gradient(metric, of="L1.residual")


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("L1.residul", "did you mean L1.residual"),
        ("l1h1.outptu", "did you mean L1H1.output"),
        ("L9.residual", "layers 0 to 2 with heads 0 to 3"),
        ("L1H7.output", "layers 0 to 2 with heads 0 to 3"),
        ("L1H1.residual", "L1H1 has key, output"),
        ("finl", "did you mean final"),
        ("nonsense", "names are 'embedding'"),
        ("L7*.residual", "L7"),
        ("", "names are"),
        (5, "not 5"),
        (("L1", 4), "not 4"),
    ],
)
def test_unknown_activations_are_refused_with_the_near_ones(model: Esm2, name: Any, said: str):
    keep: Any = name if isinstance(name, int | tuple) else [name]
    with pytest.raises(OptionError, match=said):
        model.trace("MKTV", keep=keep)
    if isinstance(name, str):
        with pytest.raises(OptionError, match=said):
            model.trace("MKTV", edit={name: "zero"})


def test_patterns(model: Esm2):
    def kept(*names: str) -> list[str]:
        return list(model.trace("MK", keep=names))

    assert (
        kept("L*.residual") == kept("*.residual") == ["L0.residual", "L1.residual", "L2.residual"]
    )
    assert kept("L1.*") == [f"L1.{step}" for step in LAYER_STEPS]
    assert kept("L1H*.output") == [f"L1H{n}.output" for n in range(4)]
    assert len(kept("*.output")) == len(kept("L*H*.output")) == 12
    assert len(kept("all")) == 3 * len(LAYER_STEPS) + 2  # this checkpoint has no masked-LM head
    assert kept("l1h3.OUTPUT", "L1H3.head_output", "embedding") == ["embedding", "L1H3.output"]


@pytest.mark.parametrize(
    ("edit", "kind", "said"),
    [
        ({"L1H1.output": np.zeros((3, 4))}, OptionError, r"\(8,\) .* \(4, 8\) .* or \(6, 8\)"),
        ({"L1.weights": np.zeros((3, 4))}, OptionError, r"takes \(4, 4, 4\) for its residues or"),
        ({"L1H1.output": lambda x: x[1:]}, OptionError, r"returned shape \(5, 8\)"),
        ({"L1H1.output[7]": 0}, InputError, "residue indices 0 to 3"),
        ({"L1H1.output[2:9]": 0}, InputError, "residue indices 0 to 3"),
        ({"L1H1.output[x]": 0}, OptionError, r"not \[x\]"),
        ({"L1H1.output[": 0}, OptionError, "L1H1.output"),
        ({"L1H1.output": "mean"}, OptionError, "not 'mean'"),
        ({"L1H1.output": None}, OptionError, "not None"),
        ({"L1H1.output": True}, OptionError, "not True"),
        ({"L1H1.output": ["a"]}, OptionError, "not a list"),
        (["L1H1.output"], OptionError, "edits are a dict"),
        ({4: 0}, OptionError, "not 4"),
    ],
)
def test_edits_that_are_refused(model: Esm2, edit: Any, kind: type[Exception], said: str):
    with pytest.raises(kind, match=said):
        model.trace("MKTV", edit=edit)


def test_values_of_other_runs_that_do_not_fit(model: Esm2):
    short = model.trace("MKT", keep="L1H1.output")
    with pytest.raises(InputError, match="has 3 residues and 'sequence_1' 4"):
        model.trace("MKTV", edit={"L1H1.output": short})
    with pytest.raises(OptionError, match=r"L1H0.output was not kept"):
        model.trace("MKTV", edit={"L1H0.output": short})
    with pytest.raises(OptionError, match=r"L0.residual was not kept"):
        short["L0.residual"]


def test_a_trace_that_does_not_fit_says_its_size(model: Esm2, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(OptionError, match=r"10\.8 kB for a trace of 'sequence_1' \(40 residues\)"):
        model.trace("M" * 40, keep=["L1.key", "L1.query"], max_bytes=10_000)
    monkeypatch.setattr("esmkit.inside.memory.free_memory", lambda: 10**8)
    with pytest.raises(OptionError, match=r"do not fit into memory, of which .* are free"):
        model.trace("M" * 4_000, keep="L*.weights", long="whole")


def test_what_an_edit_makes_infinite_is_said(model: Esm2):
    with pytest.raises(NonFiniteError, match="'sequence_1'"):
        model.trace("MKTV", edit={"L1.residual": float("nan")})


def test_masks_of_many_proteins_are_named(model: Esm2):
    with pytest.raises(OptionError, match="dict from ID"):
        model.trace(["MKTV", "MK"], mask=[1])
    with pytest.raises(InputError, match="cannot mask residue index 9"):
        model.trace("MKTV", mask=[9])


def test_results_of_many(model: Esm2, tmp_path: Path):
    table = model.trace({"A": "MKTV", "B": "MK"}, keep="L1.residual").to_frame()
    assert table["id"].tolist() == ["A", "B"]
    assert table["shape"].tolist() == ["(4, 32)", "(2, 32)"]
    (tmp_path / "x.fasta").write_text(">A\nMKTV\n")
    assert next(model.trace(tmp_path / "x.fasta")).id == "A"
    assert esmkit.inside.trace is not None
