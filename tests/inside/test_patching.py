"""Patching: against hooks on transformers' own network, against finite differences, and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import EsmForMaskedLM

import esmkit
from esmkit.errors import CheckpointError, InputError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.inside import NothingToRestoreWarning, contact_score, log_odds, mutated, scrambled
from esmkit.inside.corruption import is_mutation
from esmkit.sequences.tokens import TOKENS, encode
from oracles.checkpoints import make_checkpoint, random_sequence


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Esm2:
    folder = make_checkpoint(tmp_path_factory.mktemp("patch") / "m", (3, 4, 32), lm_head=True)
    return load(folder, "cpu")


class Hooked:
    """transformers' EsmForMaskedLM in float64, patched with plain hooks."""

    def __init__(self, model: Esm2) -> None:
        self.network: Any = EsmForMaskedLM.from_pretrained(model.checkpoint.folder).double().eval()

    def logits(self, sequence: str, mask: Any, hooks: Any = ()) -> torch.Tensor:
        handles = [add(hook) for add, hook in hooks]
        with torch.no_grad():
            found = self.network(torch.from_numpy(encode(sequence, mask=mask))[None]).logits[
                0, 1:-1
            ]
        for handle in handles:
            handle.remove()
        return found

    def place(self, name: str) -> tuple[Any, Any, Callable[[Any], Any]]:
        """Return the module, whether it is its input, and which part of it an activation is."""
        layers = self.network.esm.encoder.layer
        if name == "embedding":
            return self.network.esm.embeddings, False, lambda x: x
        layer, step = layers[int(name[1])], name.split(".")[1]
        if "H" in name:
            columns = slice(int(name[3]) * 8, int(name[3]) * 8 + 8)
            return layer.attention.output.dense, True, lambda x: x[..., columns]
        where = {
            "attention_output": layer.attention.output.dense,
            "feed_forward_output": layer.output.dense,
            "residual": layer,
        }
        return where[step], False, lambda x: x

    def hook(self, name: str, take: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        """Return how to put something in the place of an activation."""
        module: Any
        module, is_input, part = self.place(name)

        def change(x: Any) -> Any:
            whole = (x[0] if isinstance(x, tuple) else x).clone()
            part(whole).copy_(take(part(whole)))
            return (whole, *x[1:]) if isinstance(x, tuple) else whole

        if is_input:
            return module.register_forward_pre_hook, lambda _, given: change(given)
        return module.register_forward_hook, lambda _, __, out: change(out)

    def patched(self, name: str, token: int | None, clean: Any, corrupted: Any) -> torch.Tensor:
        seen: list[torch.Tensor] = []

        def keep(x: torch.Tensor) -> torch.Tensor:
            seen.append(x.clone())
            return x

        def put(x: torch.Tensor) -> torch.Tensor:
            tokens = slice(None) if token is None else slice(token, token + 1)
            x = x.clone()
            x[:, tokens] = seen[0][:, tokens]
            return x

        self.logits(clean[0], clean[1], [self.hook(name, keep)])
        return self.logits(corrupted[0], corrupted[1], [self.hook(name, put)])


@pytest.fixture(scope="module")
def hooked(model: Esm2) -> Hooked:
    return Hooked(model)


@pytest.mark.parametrize("what", ["heads", "layers", "positions", "L1H*.output"])
def test_every_patch_is_that_of_plain_hooks(model: Esm2, hooked: Hooked, what: str):
    sequence, other = random_sequence(11, 1), random_sequence(11, 2)
    found: Any = esmkit.patch(
        model,
        *(sequence, other, log_odds(4, "A", "G")),
        what=what,
        mask=[3],
        clean_mask=[3, 6],
        by_residue=True if "*" in what else None,
        batch_tokens=40,  # three copies in a pass, and a last one that is not full
    )
    table = found.to_frame()
    assert (
        len(table) == {"heads": 12, "layers": 6, "positions": 4 * 13, "L1H*.output": 4 * 13}[what]
    )
    runs = (sequence, [3, 6]), (other, [3])

    def number(logits: torch.Tensor) -> float:
        return float(logits[3, TOKENS.index("A")] - logits[3, TOKENS.index("G")])

    clean, corrupted = (number(hooked.logits(*run)) for run in runs)
    assert found.clean == pytest.approx(clean, abs=2e-5)
    assert found.corrupted == pytest.approx(corrupted, abs=2e-5)
    tokens = ["BOS", *(f"{letter}{n}" for n, letter in enumerate(sequence, 1)), "EOS"]
    assert (
        table["token"].tolist()[:13] == (tokens if len(table) > 12 else ["all"] * len(table))[:13]
    )
    for row in table.to_dict("records"):
        token = None if row["token"] == "all" else tokens.index(row["token"])
        wanted = number(hooked.patched(row["activation"], token, *runs))
        assert row["metric"] == pytest.approx(wanted, abs=3e-5), row
        assert row["change"] == pytest.approx(wanted - corrupted, abs=5e-5), row
        assert row["restoration"] == pytest.approx(row["change"] / (found.clean - found.corrupted))
    assert found.differing == tuple(
        n
        for n, (a, b) in enumerate(zip(sequence, other, strict=True), 1)
        if (a != b and n != 4) or n == 7
    )


@given(residues=st.integers(1, 20), copies=st.integers(1, 4), seed=st.integers(0, 9))
@settings(max_examples=8, deadline=None)
def test_a_run_patched_with_itself_changes_nothing(
    model: Esm2, residues: int, copies: int, seed: int
):
    sequence = random_sequence(residues, seed)
    names = [
        "L*H*.output",
        "L*.attention_output",
        "L*.residual",
        "L1.weights",
        "L2.query",
        "embedding",
    ]
    with pytest.warns(NothingToRestoreWarning, match=r"the metric is .* in both runs"):
        found: Any = model.patch(
            *(sequence, sequence, lambda s: s.logits[0, 5] + s.mean[2]),
            what=names,
            batch_tokens=copies * (residues + 2),
        )
    assert (found.table["change"] == 0.0).all()
    assert (found.table["attributed"] == 0.0).all()
    assert found.table["restoration"].isna().all()
    assert np.isnan(found.rank_correlation)
    assert found.clean == found.corrupted


def test_what_restores_all_restores_exactly_one(model: Esm2):
    sequence = random_sequence(20, 3)
    found: Any = model.patch(
        sequence, None, "log_odds", mask=[4], what=["embedding", "L*.residual"], method="exact"
    )
    assert found.differing == (5,)
    assert (found.table["restoration"] == 1.0).all()
    assert found.table["attributed"].isna().all()
    assert np.isnan(found.rank_correlation)
    assert "against the others at residue 5" in found.metric


def test_attribution_patching_is_the_slope_of_patches(model: Esm2):
    """Its estimate is the derivative along the way from corrupted to clean, by finite differences."""
    sequence, other = random_sequence(18, 4), random_sequence(18, 5)
    metric = contact_score(3, 12)
    found: Any = model.patch(
        sequence,
        other,
        metric,
        what=["L1H*.output", "L0.residual", "L2H1.key"],
        method="attribution",
    )
    assert found.table["metric"].isna().all()
    keep = found.table["activation"].tolist()
    a, b = (model.trace(s, keep=keep) for s in (sequence, other))
    assert len(found.table) == 6
    for row in found.table.to_dict("records"):
        name, step, ends = row["activation"], 2e-2, []
        for sign in (1, -1):
            value = b.tokens(name) + sign * step * (a.tokens(name) - b.tokens(name))
            run = model.trace(other, edit={name: value}, keep=["L*.weights"])
            shim: Any = run.gradient(metric, of=name)
            ends.append(shim.value)  # the metric of that run, in float64
        assert row["attributed"] == pytest.approx(
            (ends[0] - ends[1]) / (2 * step), rel=2e-2, abs=2e-4
        )


def test_the_rank_correlation_is_spearmans(model: Esm2):
    found: Any = model.patch(random_sequence(15, 6), random_sequence(15, 7), log_odds(3, "A"))
    a, b = (found.table[name].rank() for name in ("change", "attributed"))
    assert found.rank_correlation == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-12)


def test_results_are_shown(model: Esm2, tmp_path: Any):
    sequence = random_sequence(15, 8)
    other = scrambled(sequence, "8-15")
    assert other.sequence[:7] == sequence[:7]
    assert sorted(other.sequence) == sorted(sequence)
    assert other.sequence != sequence
    for number, what in enumerate(("heads", "layers", "positions")):
        found = model.patch(sequence, other, log_odds(9, "A", "C"), what=what)
        found.plot(path=tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 5_000
        assert "<img" in found._repr_html_()
        top: Any = found.top(3)
        assert top["restoration"].is_monotonic_decreasing
        assert "patches" in repr(found)
    with pytest.raises(OptionError, match="at least 1"):
        found.top(0)
    # Heads by residues: the rows that matter
    by_residue = model.patch(
        sequence, other, log_odds(9, "A", "C"), by_residue=True, method="attribution"
    )
    by_residue.plot(path=tmp_path / "by_residue.svg")
    assert len(by_residue.table) == 12 * 17


def test_mutations():
    assert mutated("MKTAY", "T3G, A4W").sequence == "MKGWY"
    assert mutated("MKTAY", ["t3g"]).sequence == "MKGAY"
    assert mutated("MKTAY", "T3G").id == "sequence_1_T3G"
    assert is_mutation("K10E")
    assert not is_mutation("MKTV")
    assert not is_mutation("data/seq1.fasta")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("A24G", "there is no residue 24"),
        ("M3G", "residue 3 of 'sequence_1' is T, not M"),
        ("T3B", r"new letter of T3B is 'B'"),
        ("T3*", "is '\\*'"),
        ("T3T", "changes nothing"),
        ("T3G,T3A", "twice"),
        ("T3", "written like A24G"),
        ("T0G", "no residue 0"),
    ],
)
def test_mutations_that_do_not_fit(model: Esm2, change: str, said: str):
    with pytest.raises(OptionError, match=said):
        model.patch("MKTAY", change)


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda m: m.patch("MKTV", "MKT", log_odds(1, "A")), InputError, "has 4 residues and .* 3"),
        (lambda m: m.patch("MKTV", None), OptionError, "residues to hide, such as mask"),
        (lambda m: m.patch("MKTV", None, mask=[9]), InputError, "cannot mask residue index 9"),
        (lambda m: m.patch("MKTV", None, mask={"a": [1]}), OptionError, "not a dict"),
        (lambda m: m.patch("MKTV", "MAAV"), OptionError, "they differ in 2"),
        (lambda m: m.patch("MKTV", "MXTV"), OptionError, "is X, which is no amino acid"),
        (lambda m: m.patch("MKTV", "K2A", "logodds"), OptionError, "not 'logodds'"),
        (lambda m: m.patch("MKTV", "K2A", lambda s: s.final), OptionError, r"shape \(4, 32\)"),
        (lambda m: m.patch("MKTV", "K2A", lambda s: 3.0), OptionError, "a float"),
        (lambda m: m.patch("MKTV", "K2A", log_odds(9, "A")), InputError, "is of residue 9"),
        (lambda m: m.patch("MKTV", "K2A", contact_score(1, 9)), InputError, "is of residue 9"),
        (lambda m: m.patch("MKTV", "K2A", what="head"), OptionError, "one of 'heads', 'layers'"),
        (
            lambda m: m.patch("MKTV", "K2A", what=["L1.residul"]),
            OptionError,
            "did you mean L1.resid",
        ),
        (lambda m: m.patch("MKTV", "K2A", what="logits"), OptionError, "follows from the logits"),
        (lambda m: m.patch("MKTV", "K2A", what=[]), OptionError, "at least one activation"),
        (lambda m: m.patch("MKTV", "K2A", method="fast"), OptionError, "`method` is 'both'"),
        (lambda m: m.patch("M" * 1_100, "M1A"), InputError, 'long="whole"'),
        (lambda m: m.patch(["MKTV", "MK"], "M1A"), InputError, "clean run, and 2"),
        (lambda m: log_odds(0, "A"), OptionError, "counted from 1, not 0"),
        (lambda m: log_odds(1, "J"), OptionError, "not 'J'"),
        (
            lambda m: contact_score("a", 3),  # type: ignore[arg-type]
            OptionError,
            "`residue` is .* not 'a'",
        ),
        (lambda m: contact_score(3, True), OptionError, "partner .* not True"),
        (lambda m: scrambled("MMMMM", "2-4"), InputError, "are all M"),
        (lambda m: scrambled("MKTAY", "2-9"), OptionError, "there is no residue 9"),
    ],
)
def test_what_is_refused(model: Esm2, call: Any, kind: type[Exception], said: str):
    with pytest.raises(kind, match=said):
        call(model)


def test_what_the_metric_needs_has_to_be_there(tiny: Esm2):
    with pytest.raises(CheckpointError, match="no masked-LM head"):
        tiny.patch("MKTV", "K2A")
    assert len(tiny.patch("MKTVAAA", "K2A", contact_score(1, 6)).table) == 8
