"""Who writes what: sums over components, of the stream, of logits and of contacts."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import esmkit
from esmkit.contacts import ContactHead
from esmkit.encoder.checkpoints import FittedHeadWarning
from esmkit.errors import CheckpointError, InputError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.tokens import TOKENS
from oracles.checkpoints import make_checkpoint, random_sequence


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Esm2:
    folder = make_checkpoint(tmp_path_factory.mktemp("sums") / "m", (3, 4, 32), lm_head=True)
    return load(folder, "cpu")


def assert_relative(actual: Any, wanted: Any, most: float = 1e-5) -> None:
    assert np.abs(np.asarray(actual) - wanted).max() <= most * np.abs(wanted).max()


@given(residues=st.integers(1, 30), masked=st.booleans())
@settings(max_examples=10, deadline=None)
def test_the_stream_is_the_sum_of_what_is_written(model: Esm2, residues: int, masked: bool):
    parts = model.decompose(random_sequence(residues, residues), mask=[0] if masked else None)
    assert len(parts) == len(list(parts)) == 1 + 3 * (4 + 2)
    whole = sum(x.astype(np.float64) for x in parts.values())
    assert_relative(whole, parts.residual)
    direct = sum(parts.direct(name).astype(np.float64) for name in [*parts, "bias"])
    assert_relative(direct, parts.final)
    table: Any = parts.to_frame()
    assert table["share"].sum() == pytest.approx(1, abs=1e-5)
    assert table["direct_share"].sum() == pytest.approx(1, abs=1e-5)
    assert parts.effects().value == pytest.approx(100, abs=1e-3)


def test_what_a_head_writes_is_what_its_removal_takes_away(model: Esm2):
    """Of the last layer: what its head wrote is missing before the feed-forward half."""
    sequence = random_sequence(20, 3)
    name = "L2.attention_residual"
    before, after = (
        model.trace(sequence, keep=name, edit=edit)[name] for edit in (None, {"L2H1.output": 0})
    )
    assert_relative(model.decompose(sequence)["L2H1"], before - after)


def test_adapters_are_seen(tmp_path: Any):
    model = load(make_checkpoint(tmp_path / "m", (2, 4, 32), lm_head=True), "cpu")

    class Adapter(torch.nn.Module):
        def __init__(self, base: torch.nn.Linear) -> None:
            super().__init__()
            self.base, self.extra = base, torch.nn.Linear(32, 32, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.base(x) + self.extra(x)

    output: Any = model.network.encoder.layer[1].attention.output  # type: ignore[index]
    output.dense = Adapter(output.dense)
    parts = model.decompose(random_sequence(12, 1))
    assert_relative(sum(x.astype(np.float64) for x in parts.values()), parts.residual)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("letter", "against"), [(None, None), ("A", "G"), ("W", "others")])
def test_attributions_of_a_logit_sum_to_it(
    model: Esm2, masked: bool, letter: str | None, against: str | None
):
    sequence = random_sequence(25, 4)
    if letter == sequence[8]:
        letter = "C"
    found: Any = model.attribute_logit(sequence, 9, letter, against=against, masked=masked)
    logits = model.trace(sequence, mask=[8] if masked else []).logits[8].astype(np.float64)
    wanted = logits[TOKENS.index(letter or sequence[8])]
    if against == "others":
        others = [one for one in AMINO_ACIDS if one != letter]
        wanted -= np.mean([logits[TOKENS.index(one)] for one in others])
    elif against:
        wanted -= logits[TOKENS.index(against)]
    assert found.value == pytest.approx(wanted, abs=1e-6)
    largest = found.table["contribution"].abs().max()
    assert abs(found.table["contribution"].sum() - wanted) < 1e-5 * max(largest, abs(wanted))
    assert found.by_kind()["contribution"].sum() == pytest.approx(
        found.table["contribution"].sum(), rel=1e-9
    )
    assert (found.table.set_index("component")["contribution"]["embedding"] == 0) == masked


def test_an_attribution_is_the_change_of_the_held_head(model: Esm2):
    """Independent: PyTorch differentiates the head with its gate and scales detached."""
    sequence = random_sequence(25, 5)
    found = model.attribute_logit(sequence, 9, "A", against="G").table
    seen = model.trace(sequence, mask=[8], keep=["L2.residual", "L1.feed_forward_output"])
    parts, head = model.parts(), model.lm_head.weights
    x = torch.tensor(seen["L2.residual"][8], dtype=torch.float64, requires_grad=True)

    def norm(v: torch.Tensor, layer: Any) -> torch.Tensor:
        scale = (v.var(correction=0) + layer.eps).rsqrt().detach()
        return (v - v.mean()) * scale * layer.weight.double() + layer.bias.double()

    z = norm(x, parts.final_norm) @ head.dense.weight.double().T + head.dense.bias.double()
    gate = (torch.nn.functional.gelu(z) / z).detach()
    embedding: Any = parts.embedding.weight
    logits = norm(gate * z, head.norm) @ embedding.double().T + head.bias.double()
    number = logits[TOKENS.index("A")] - logits[TOKENS.index("G")]
    (slope,) = torch.autograd.grad(number, x)
    wanted = float(slope.numpy() @ seen["L1.feed_forward_output"][8])
    ours = found.set_index("component")["contribution"]["L1.feed_forward"]
    assert ours == pytest.approx(wanted, rel=1e-6)


def test_attributions_of_a_contact_sum_to_its_score(model: Esm2):
    sequence = random_sequence(40, 6)
    found = model.attribute_contact(sequence, f"{sequence[3]}4", 20)
    p = model.contacts(sequence).probability[3, 19].astype(np.float64)
    assert found.value == pytest.approx(np.log(p / (1 - p)), abs=2e-4)
    assert found.table["contribution"].sum() == pytest.approx(found.value, rel=1e-12)
    # By hand: symmetrised, corrected by its average product
    weights, bias = model.contact_regression()
    a = model.trace(sequence, keep="L1.weights")["L1H2.weights"].astype(np.float64)
    s = a + a.T
    by_hand = weights[4 + 2] * (s - np.outer(s.sum(1), s.sum(0)) / s.sum())[3, 19]
    by_name = found.table.set_index("component")["contribution"]
    assert by_name["L1H2"] == pytest.approx(by_hand, rel=1e-5, abs=1e-7)
    assert by_name["bias"] == bias
    mean = ContactHead.mean_of(model, ["L1H2", "L0H1"])
    two: Any = model.attribute_contact(sequence, 4, 20, head=mean)
    assert (two.table["contribution"] != 0).sum() == 2
    assert two.value == pytest.approx(
        model.contacts(sequence, head=mean).probability[3, 19], abs=1e-6
    )


def test_tables_and_figures(model: Esm2, tmp_path: Any):
    sequence = random_sequence(30, 7)
    logit: Any = model.attribute_logit(sequence, 5, against="others")
    assert logit.top(3, kind="head")["kind"].tolist() == ["head"] * 3
    assert logit.to_frame()["share"].sum() == pytest.approx(1)
    for number, one in enumerate(
        (logit, model.decompose(sequence), model.attribute_contact(sequence, 2, 9))
    ):
        one.plot(path=tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 5_000
        assert "<img" in one._repr_html_()
    assert "31" not in repr(logit)
    with pytest.raises(OptionError, match="one of embedding, head"):
        logit.top(kind="heads")
    with pytest.raises(OptionError, match="at least 1"):
        logit.top(0)


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda m: m.decompose("MKTV")["L1H9"], OptionError, "no component 'L1H9'; did you mean"),
        (lambda m: m.decompose("MKTV").direct("nonsense"), OptionError, "Components are embedding"),
        (lambda m: m.decompose(["MKTV", "MK"]), InputError, "this is done for one protein, and 2"),
        (lambda m: m.decompose("M" * 1_100), InputError, 'long="whole"'),
        (lambda m: m.attribute_logit("MKTV", 9), OptionError, "there is no residue 9"),
        (lambda m: m.attribute_logit("MKTV", "A2"), OptionError, "residue 2 .* is K, not A"),
        (lambda m: m.attribute_logit("MKTV", "1-2"), OptionError, "is one residue, such as M1"),
        (lambda m: m.attribute_logit("MKTV", 2, "B"), OptionError, "not 'B'"),
        (lambda m: m.attribute_logit("MKTV", 2, "KA"), OptionError, "not 'KA'"),
        (lambda m: m.attribute_logit("MXTV", 2), OptionError, "not 'X'"),
        (lambda m: m.attribute_logit("MKTV", 2, against="*"), OptionError, "'others' or None"),
        (lambda m: m.attribute_logit("MKTV", 2, against="K"), OptionError, "both K"),
        (lambda m: m.attribute_contact("MKTV", 2, 2), OptionError, "both residues are K2"),
        (lambda m: m.attribute_contact("MKTV", 2, 7), OptionError, "`partner` has it"),
    ],
)
def test_what_is_refused(model: Esm2, call: Any, kind: type[Exception], said: str):
    with pytest.raises(kind, match=said):
        call(model)


def test_without_a_masked_lm_head_there_is_no_logit(tiny: Esm2):
    with pytest.raises(CheckpointError, match="no masked-LM head"):
        tiny.attribute_logit("MKTV", 2)


@pytest.mark.weights
def test_ubiquitin_with_the_real_weights(real: Esm2):
    protein = esmkit.Protein("ubiquitin", esmkit.data.demo_structure().sequence)
    parts = real.decompose(protein)
    assert_relative(sum(x.astype(np.float64) for x in parts.values()), parts.residual)
    direct = sum(parts.direct(name).astype(np.float64) for name in [*parts, "bias"])
    assert_relative(direct, parts.final)
    # The hairpin of strands 1 and 2: the head that is known to see contacts sees it
    contact: Any = real.attribute_contact(protein, "F4", "T12")
    assert contact.top(1)["component"].tolist() == ["L5H4"]
    p = real.contacts(protein).probability[3, 11].astype(np.float64)
    assert contact.value == pytest.approx(np.log(p / (1 - p)), abs=1e-3)


@pytest.mark.weights
def test_a_logit_of_the_real_weights(real: Esm2):
    if not real.has_lm_head:
        pytest.skip("no masked-LM head")
    protein = esmkit.Protein("ubiquitin", esmkit.data.demo_structure().sequence)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FittedHeadWarning)
        found: Any = real.attribute_logit(protein, "K48", against="others")
    assert found.table["contribution"].sum() == pytest.approx(found.value, abs=1e-5)
