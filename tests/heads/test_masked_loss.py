"""The masked-LM loss without a head equals that of Hugging Face's own model without it."""

import dataclasses
import json
import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import EsmForMaskedLM

from esmkit import plots
from esmkit.data import demo_structure, ts50
from esmkit.errors import CheckpointError, InputError, NonFiniteError, OptionError, OutputError
from esmkit.esm2 import Esm2, load
from esmkit.files.names import file_name
from esmkit.files.run_options import Run
from esmkit.heads import masked_loss
from esmkit.heads.ablation import ablate
from esmkit.heads.hidden_rows import PARTS, HiddenRow, hidden_parts
from esmkit.heads.made import record
from esmkit.heads.masked_loss import COLUMNS, loss_without
from esmkit.heads.measure_all import Measuring
from esmkit.heads.profiling import profile
from esmkit.heads.reading import read_profile, read_table
from esmkit.heads.report import page as pages
from esmkit.heads.report.paper import head_table, table_latex, table_markdown
from esmkit.heads.report.summary import summary, write_report
from esmkit.heads.resume import LOSS, Keeper, loss_keys
from esmkit.heads.to_folder import profile_to_folder
from esmkit.plots.figure import HouseFigure
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.tokens import TOKENS, encode
from oracles.checkpoints import make_checkpoint
from oracles.head_profiles import made_ablation, made_profile

IDS = [TOKENS.index(letter) for letter in AMINO_ACIDS]


@pytest.fixture(scope="module")
def chains() -> Any:
    """Three chains of different lengths; one has an unknown residue."""
    first, second = sorted(ts50(), key=len)[:2]
    odd = dataclasses.replace(first, sequence="X" + first.sequence[1:])
    return [demo_structure(), odd, second]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("lm") / "m", (3, 2, 24), lm_head=True)


@pytest.fixture(scope="module")
def model(folder) -> Esm2:
    return load(folder, "cpu")


class Theirs:
    """Hugging Face's model; W^O of some heads zeroed, or their outputs set by a hook."""

    def __init__(self, folder) -> None:
        self.network: Any = EsmForMaskedLM.from_pretrained(folder, attn_implementation="eager")
        self.network.eval()
        self.width = 24 // 2

    def dense(self, layer: int) -> Any:
        return self.network.esm.encoder.layer[layer].attention.output.dense

    @torch.no_grad()
    def loss(self, chains, draws: int, seed: int) -> np.ndarray:
        """Loss of each chain, (chains,): one copy at a time, nothing of esmkit but what is hidden."""
        found = []
        for chain in chains:
            lost = []
            for part in hidden_parts(chain.sequence, seed)[:draws]:
                ids = torch.from_numpy(encode(chain.sequence, mask=part.tolist()))[None]
                logits = self.network(ids, attention_mask=torch.ones_like(ids)).logits[0].double()
                odds = logits[1 + part][:, IDS].log_softmax(-1)
                truth = [AMINO_ACIDS.index(chain.sequence[i]) for i in part]
                lost += [-float(row[place]) for row, place in zip(odds, truth, strict=True)]
            found.append(np.mean(lost))
        return np.array(found)

    def without(self, layer: int, heads: list[int], *given) -> np.ndarray:
        dense = self.dense(layer)
        kept = dense.weight.clone()
        with torch.no_grad():
            for head in heads:
                dense.weight[:, head * self.width : (head + 1) * self.width] = 0
            found = self.loss(*given)
            dense.weight.copy_(kept)
        return found

    def at_mean(self, layer: int, head: int, chains, draws: int, seed: int) -> np.ndarray:
        """The loss if a head says its mean over the residues of all hidden copies."""
        seen, where = [], slice(head * self.width, (head + 1) * self.width)
        dense: Any = self.dense(layer)
        handle = dense.register_forward_pre_hook(
            lambda module, inputs: seen.append(inputs[0][0, 1:-1, where].clone())
        )
        self.loss(chains, draws, seed)
        handle.remove()
        mean = torch.cat(seen).double().mean(0).float()

        def replace(module, inputs):
            joined = inputs[0].clone()
            joined[..., where] = mean
            return (joined,)

        handle = dense.register_forward_pre_hook(replace)
        found = self.loss(chains, draws, seed)
        handle.remove()
        return found


@pytest.mark.parametrize("draws", [2, 7])
def test_every_loss_equals_hugging_face_without_the_head(folder, model, chains, draws):
    table: Any = loss_without(model, chains, draws=draws, seed=3)
    theirs, given = Theirs(folder), (chains, draws, 3)
    intact = theirs.loss(*given)
    rows = table.set_index(["name", "mode"])
    for layer in range(3):
        whole = theirs.without(layer, [0, 1], *given)
        for head in range(2):
            zeroed = theirs.without(layer, [head], *given)
            row = rows.loc[(f"L{layer}H{head}", "zero")]
            np.testing.assert_allclose(row["masked_lm_loss"], zeroed.mean(), atol=1e-5)
            change = (zeroed - intact).mean()
            np.testing.assert_allclose(row["masked_lm_loss_change"], change, atol=1e-5)
            assert abs(change) > 1e-4  # so that there is something to compare
            change = (whole - intact).mean()
            np.testing.assert_allclose(row["layer_loss_change"], change, atol=1e-5)
            if draws == 2:
                mean = theirs.at_mean(layer, head, *given)
                row = rows.loc[(f"L{layer}H{head}", "mean")]
                np.testing.assert_allclose(row["masked_lm_loss"], mean.mean(), atol=1e-5)
    hidden = sum(sum(map(len, hidden_parts(c.sequence, 3)[:draws])) for c in chains)
    assert (table["masked_lm_residues"] == hidden).all()
    if draws == PARTS:
        assert hidden == sum(map(len, chains)) - 1


def without_output(folder, to, head: slice, layer: int = 1) -> Esm2:
    """The checkpoint with W^O of a head of a layer 0: what it says reaches nobody."""
    new = make_checkpoint(to, (3, 2, 24), lm_head=True)
    tensors = load_file(new / "model.safetensors")
    tensors[f"esm.encoder.layer.{layer}.attention.output.dense.weight"][:, head] = 0
    save_file(tensors, new / "model.safetensors", metadata={"format": "pt"})
    return load(new, "cpu")


@pytest.mark.parametrize("layer", [0, 2])
def test_a_head_that_nobody_hears_changes_nothing_to_the_last_bit(folder, tmp_path, chains, layer):
    deaf = without_output(folder, tmp_path / "m", slice(12, 24), layer)
    table: Any = loss_without(deaf, chains, heads=[f"L{layer}"])
    own = table[table["head"] == 1]
    for name in ("masked_lm_loss_change", "masked_lm_loss_low", "masked_lm_loss_high"):
        assert list(own[name]) == [0, 0]
    assert own[["masked_lm_loss_p", "masked_lm_loss_q"]].isna().all(axis=None)
    assert (table.loc[table["head"] == 0, "masked_lm_loss_change"] != 0).all()


def test_neither_order_nor_rows_nor_other_heads_matter(model, chains, monkeypatch):
    one = loss_without(model, chains)
    assert list(one.columns) == ["name", "layer", "head", "mode", *COLUMNS]
    pandas.testing.assert_frame_equal(loss_without(model, chains[::-1]), one)
    some: Any = loss_without(model, chains, heads=["L1H1"])
    alone: Any = one[one["name"] == "L1H1"].reset_index(drop=True)
    own = [name for name in alone.columns if not name.endswith("_q") and "layer_" not in name]
    pandas.testing.assert_frame_equal(some[own], alone[own])
    monkeypatch.setattr(masked_loss, "PASS_TOKENS", 1)
    pandas.testing.assert_frame_equal(loss_without(model, chains), one, rtol=0, atol=1e-4)


def test_intervals_are_over_chains_and_need_two(model, chains):
    table = loss_without(model, chains, modes="mean")
    for name in ("masked_lm_loss", "layer_loss"):
        low, change, high = table[[f"{name}_{of}" for of in ("low", "change", "high")]].to_numpy().T
        assert np.all(low <= change)
        assert np.all(change <= high)
        assert np.all(low < high)
    each = [loss_without(model, [c], modes="mean", heads=["L0H0"]) for c in chains]
    assert np.isnan(each[0]["masked_lm_loss_low"][0])
    assert list(table["mode"]) == ["mean"] * 6


def test_the_parts_cover_a_chain_once():
    parts = hidden_parts("MKTVRQXERLKSIVRILEBZ", seed=1)
    assert sorted(np.concatenate(parts)) == [i for i in range(20) if i not in (6, 18, 19)]
    assert len(parts) == 7
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [p.tolist() for p in parts] != [
        p.tolist() for p in hidden_parts("MKTVRQXERLKSIVRILEBZ", seed=2)
    ]
    assert hidden_parts("XXX", seed=0) == []


def test_a_chain_without_amino_acids_counts_for_nothing(model, chains):
    unknown = dataclasses.replace(chains[0], id="z", sequence="X" * len(chains[0]))
    alone: Any = loss_without(model, [unknown], modes="mean")
    assert alone["masked_lm_loss_change"].isna().all()
    both: Any = loss_without(model, [*chains, unknown], modes="zero")
    pandas.testing.assert_frame_equal(both, loss_without(model, chains, modes="zero"))


class Kept(Keeper):
    """Keeps in a dict."""

    def __init__(self) -> None:
        self.arrays: dict[Any, Any] = {}

    def get(self, stage, place, names):
        assert stage == LOSS
        return self.arrays.get(place)

    def put(self, stage, place, arrays):
        self.arrays[place] = dict(arrays)


def test_what_is_kept_is_not_measured_again(model, chains, monkeypatch):
    keep, told = Kept(), []
    first = loss_without(model, chains, keep=keep, progress=told.append)
    assert len(keep.arrays) == len(told) == len(set(told)) == 9
    assert told[0] == f"{min(c.id for c in chains)} L0"
    gone = [keep.arrays.pop(place) for place in (0, 4)]
    computed: list[int] = []
    losses = masked_loss._Hiding.losses

    def counted(self, place, layer, *rest):
        computed.append(place * 3 + layer)
        return losses(self, place, layer, *rest)

    monkeypatch.setattr(masked_loss._Hiding, "losses", counted)
    pandas.testing.assert_frame_equal(loss_without(model, chains, keep=keep), first)
    assert sorted(computed) == [0, 4]
    np.testing.assert_array_equal(keep.arrays[4]["loss"], gone[1]["loss"])


def test_what_is_kept_rests_on_chains_head_draws_and_seed(chains):
    facts = {"source": "checkpoint"}
    keys = [
        loss_keys(chains, facts, draws=4, seed=0),
        loss_keys(chains[::-1], facts, draws=4, seed=0),
        loss_keys(chains, {"source": "fitted"}, draws=4, seed=0),
        loss_keys(chains, facts, draws=7, seed=0),
        loss_keys(chains, facts, draws=4, seed=1),
    ]
    assert len({key(LOSS, 0) for key in keys} | {keys[0](LOSS, 1)}) == 6


def test_errors_say_what_to_do(model, tiny, chains, monkeypatch):
    with pytest.raises(CheckpointError, match="has no masked-LM head; fit one"):
        loss_without(tiny, chains)
    assert masked_loss.head_facts(tiny) is None
    assert masked_loss.head_facts(model) == {"source": "checkpoint"}
    for draws in (0, 8, 1.5, True):
        with pytest.raises(OptionError, match=r"the parts of a chain .* 1 to 7, not"):
            loss_without(model, chains, draws=draws)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="modes are 'mean', 'zero' or both"):
        loss_without(model, chains, modes="half")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="comes twice"):
        loss_without(model, [chains[0]] * 2)
    monkeypatch.setattr(HiddenRow, "sums", lambda self: torch.full((3, 2, 12), torch.nan).double())
    with pytest.raises(NonFiniteError, match="without a head of layer 0 the model returns NaN"):
        loss_without(model, chains)


@pytest.fixture
def work(model, chains, monkeypatch):
    """Return a run of ``esmkit heads`` that is quick, and tells what it said."""
    monkeypatch.setattr("esmkit.files.pending.SHARD_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(
        Measuring, "_repeats", lambda self, *_: pandas.DataFrame({"name": [], "copies": []})
    )
    monkeypatch.setattr("esmkit.heads.profiling.profile", _plain_profile)
    monkeypatch.setattr("esmkit.heads.to_folder._Job.lacks_repeats", lambda *_: False)
    table = pandas.DataFrame({"name": ["L0H0"], "copying": [0.5]})
    monkeypatch.setattr(
        "esmkit.heads.circuits.circuits", lambda _, **__: SimpleNamespace(to_frame=lambda: table)
    )
    monkeypatch.setattr("esmkit.heads.report.files._drawn", _dot)

    def run(folder, given=model, **options):
        said: list[str] = []
        asked = {"resamples": 100, "control": False, **options}
        profile_to_folder(lambda: given, lambda: chains, folder, **asked, run=Run(say=said.append))
        return said

    return run


def _plain_profile(model, structures, **options) -> Any:
    """The profile without repeats, which have tests of their own."""
    options["repeats"] = None
    return profile(model, structures, **options)


def _dot(of: Any, name: str, ablation: Any) -> HouseFigure:
    figure = HouseFigure(figsize=(0.2, 0.2))
    figure.suptitle(name)
    return figure


def _contents(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _stop_after(patch, count: int) -> None:
    """Stop when a chain has been measured a few times."""
    losses, done = masked_loss._Hiding.losses, []

    def few(self, *given):
        if len(done) == count:
            raise KeyboardInterrupt
        done.append(given)
        return losses(self, *given)

    patch.setattr(masked_loss._Hiding, "losses", few)


def test_the_folder_has_the_loss_and_goes_on_with_it(work, model, chains, tmp_path, monkeypatch):
    work(tmp_path / "whole")
    whole = _contents(tmp_path / "whole")
    table: Any = read_table(tmp_path / "whole" / "ablation.csv")
    plain = ablate(model, chains)
    pandas.testing.assert_frame_equal(table[plain.columns], plain, check_exact=True)
    loss = loss_without(model, chains)
    pandas.testing.assert_frame_equal(table[loss.columns], loss, check_exact=True)
    facts = json.loads(whole["provenance.json"])
    assert facts["lm_head"] == {"source": "checkpoint"}
    assert f"figures/{file_name('masked-LM loss')}.png" in whole
    of_paper: Any = read_table(tmp_path / "whole" / "table.csv")
    means = table[table["mode"] == "mean"].reset_index(drop=True)
    assert list(of_paper["loss_change_nats"]) == list(means["masked_lm_loss_change"])
    assert "## What the model was trained to do, without the head" in whole["summary.md"].decode()

    with monkeypatch.context() as patch:  # stopped in the middle
        _stop_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            work(tmp_path / "stopped")
    _stop_after(monkeypatch, 5)  # of nine
    work(tmp_path / "stopped")
    assert _contents(tmp_path / "stopped") == whole


def test_a_folder_of_before_gets_the_loss_alone(work, tmp_path, monkeypatch):
    folder = tmp_path / "heads"
    work(folder)
    whole = _contents(folder)
    facts, found = json.loads(whole["provenance.json"]), read_profile(folder)
    tables: Any = {
        "ablation": read_table(folder / "ablation.csv").drop(columns=list(COLUMNS)),
        "circuits": read_table(folder / "circuits.csv"),
    }
    provenance = {name: value for name, value in found.provenance.items() if name != "lm_head"}
    shutil.rmtree(folder)
    write_report(dataclasses.replace(found, provenance=provenance), folder, **tables)
    record(folder, facts["identity"], "done", {})
    monkeypatch.setattr("esmkit.heads.ablation.ablate", lambda *_, **__: pytest.fail("again"))
    monkeypatch.setattr("esmkit.heads.profiling.profile", lambda *_, **__: pytest.fail("again"))
    with monkeypatch.context() as patch:
        _stop_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            work(folder)
    _stop_after(monkeypatch, 5)
    assert any(
        "holds an ablation without the masked-LM loss; it is added" in s for s in work(folder)
    )
    assert _contents(folder) == whole
    with pytest.raises(OutputError):  # whole as it is
        work(folder)


def test_without_a_masked_lm_head_one_sentence_says_so(work, tiny, tmp_path):
    work(tmp_path / "heads", given=tiny)
    found = _contents(tmp_path / "heads")
    assert json.loads(found["provenance.json"])["lm_head"] is None
    assert "Not measured: this model has no masked-LM head" in found["summary.md"].decode()
    assert b"masked_lm" not in found["ablation.csv"]
    assert b"loss" not in found["table.csv"]
    assert not any("masked" in name for name in found)


def made_losses() -> Any:
    """A made-up ablation of the heads of a made-up profile: one head matters."""
    table = made_ablation()
    change = np.where(table["name"] == "L0H1", 0.05, 0.001 * np.arange(len(table)))
    return table.assign(
        layer=table["name"].str[1].astype(int),
        masked_lm_loss=2.5 + change,
        masked_lm_loss_change=change,
        masked_lm_loss_low=change - 0.01,
        masked_lm_loss_high=change + 0.01,
        masked_lm_loss_p=0.001,
        masked_lm_loss_q=np.where(table["name"] == "L0H1", 0.01, 0.5),
        masked_lm_residues=1_234,
        layer_loss_change=0.2,
        layer_loss_low=0.1,
        layer_loss_high=0.3,
    )


def test_the_summary_begins_with_the_sizes():
    facts = {"source": "fitted", "name": "a head", "trained_on": "ten proteins"}
    of, table = made_profile(lm_head=facts), made_losses()
    text = pages.to_markdown(summary(of, ablation=table))
    section = text.split("## What the model was trained to do, without the head")[1]
    section = section.split("\n## ")[0]
    assert "2.500 nats per hidden residue (a perplexity of 12.18)" in section
    assert "It rises most without L0H1 +0.0500 [+0.0400, +0.0600];" in section
    assert "the loss rises without 1 of 8 heads, and falls without 0" in section
    assert "+5.1% in perplexity" in section
    assert "fitted to this encoder afterwards (a head)" in section
    assert "It was fitted to ten proteins" in section
    assert "1,234 residues" in section
    assert "| L0 | +0.200 [+0.100, +0.300] |" in section
    own = {"source": "checkpoint"}
    text = pages.to_markdown(summary(made_profile(lm_head=own), ablation=table))
    assert "by the checkpoint's own masked-LM head" in text
    # A table without the loss, and nothing known of a head: nothing is said
    assert "trained to do" not in pages.to_markdown(
        summary(made_profile(), ablation=made_ablation())
    )


def test_the_paper_has_what_is_lost_beside_what_is_looked_for():
    of, table = made_profile(), made_losses()
    text = table_markdown(of, head_table(of, table))
    (row,) = (line for line in text.splitlines() if line.startswith("| L0H1 |"))
    assert row.endswith("| +50.0 [+40.0, +60.0] |")
    cells = {line.count("|") for line in text.splitlines() if line.startswith("| ")}
    assert len(cells) == 1
    latex = table_latex(of, head_table(of, table))
    assert "$+$50.0 [$+$40.0, $+$60.0]" in latex
    width = latex.split(r"\begin{longtable}{")[1].split("}")[0]
    (row,) = (line for line in latex.splitlines() if line.startswith("L1H2 &"))
    assert row.count("&") == len(width) - 1 == 9
    assert table_latex(of, head_table(of)).split(r"\begin{longtable}{")[1].startswith("lllrrlll}")
    assert "loss_change_nats" not in head_table(of, made_ablation())


def test_the_figure_shows_each_head_once(tmp_path):
    of, table = made_profile(), made_losses()
    figure = plots.masked_loss(of, table, path=tmp_path / "f.png")
    looks, contacts, ranking, layers = figure.axes
    for axes in (looks, contacts):
        up = np.concatenate([np.asarray(c.get_offsets())[:, 1] for c in axes.collections])
        np.testing.assert_allclose(up.max(), 50)
        assert len(up) == 8
    assert ranking.get_yticklabels()[0].get_text().startswith("L0H1")
    assert [text.get_text() for text in layers.get_xticklabels()] == ["L0", "L1"]
    with pytest.raises(OptionError, match="has no masked-LM loss"):
        plots.masked_loss(of, made_ablation())
    no_contacts = table.drop(columns="precision_change")
    assert len(plots.masked_loss(of, no_contacts).axes) == 3
