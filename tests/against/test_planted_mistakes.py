"""Planted mistakes, made by transformers alone, are named; right embeddings are never accused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from esmkit.against import verify_against
from esmkit.against.records import Records
from esmkit.against.scoring import Candidate, best, scores
from esmkit.against.sources import PLAIN
from esmkit.esm2 import Esm2
from esmkit.sequences.proteins import Protein
from oracles.checkpoints import random_sequence
from oracles.planted import Maker, mistakes, proteins_of, shuffled, stacked, written

PLANTED = mistakes()

LENGTHS = (41, 76, 38, 95, 60, 55, 72, 49)
"""No two alike, in no order: sorting by length shows."""


SLOW = {
    *("no attention mask", "computed in float16", "random", "other weights"),
    *("a layer early in bfloat16", "the same for all", "read in reverse", "small letters"),
    *("rotary frequencies anew", "no special tokens", "first methionine cut"),
    *("sum, no token dropout", "mean of two layers", "BOS token, normalised"),
    *("last 12 residues cut", "a tag in front", "L written as I"),
}
"""Of mistakes that take the whole search there are quick ones of the same kind among the others."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in PLANTED]
)
def test_planted_mistakes_are_named(name: str, maker: Maker, tiny: Esm2, tmp_path: Path):
    words, make = PLANTED[name]
    letters = "UBZO" if name.startswith("rare") else ""
    proteins = proteins_of(LENGTHS, letters)
    vectors = make(maker, {p.id: p.sequence for p in proteins})
    found = verify_against(tiny, written(tmp_path / "theirs.h5", vectors), proteins)
    assert found.verdict == "differs", found.to_text()
    assert words in found.to_text()
    named = [cause for cause in found.parts[0].causes if words in "\n".join(cause.lines())]
    assert named
    assert all(cause.remedy for cause in named)
    assert len(found.to_frame()) >= len(proteins) - 1  # a record of NaN has no row


@pytest.mark.parametrize(
    ("lengths", "letters"),
    [(LENGTHS, ""), ((30, 20, 25), ""), ((60,), ""), ((1, 2, 3, 5, 8), ""), ((9, 30, 44), "XBUZO")],
    ids=["eight", "three", "one", "peptides", "rare letters"],
)
@pytest.mark.parametrize("stored", ["float32", "float16", "4 decimals"])
def test_right_embeddings_are_not_accused(
    lengths: tuple[int, ...], letters: str, stored: str, maker: Maker, tiny: Esm2, tmp_path: Path
):
    proteins = proteins_of(lengths, letters)
    vectors = maker.means({p.id: p.sequence for p in proteins})
    if stored == "float16":
        vectors = stacked(vectors, lambda x: x.astype(np.float16))
    if stored == "4 decimals":
        vectors = stacked(vectors, lambda x: np.round(x, 4))
    found = verify_against(tiny, written(tmp_path / "theirs.h5", vectors), proteins)
    assert found.passed, found.to_text()
    assert (stored in found.to_text()) == (stored != "float32")


def test_one_vector_stored_coarsely_is_no_multiple(maker: Maker, tiny: Esm2, tmp_path: Path):
    """A sum multiplied by a number is nearer than the mean, by what storage moved; it is not believed."""
    proteins = proteins_of((60,))
    vectors = maker.means({p.id: p.sequence for p in proteins}, 1)
    vectors["P0"][3] = 37.3  # as large as the largest of ESM-2's hidden states
    own = Candidate(PLAIN, (1,), "mean", np.stack([vectors["P0"]]).astype(float), 1)
    sums = replace(own, pooling="sum", own=60 * own.own, cost=2)
    given = [vectors["P0"].astype(np.float16).astype(np.float32)]
    records = Records.of(["P0"], proteins, [proteins[0].sequence], given, [0])
    found = scores(records, [0], [own, sums])
    assert [s.candidate.pooling for s in found if s.explained.all() and s.post.kind == "scale"]
    chosen = best(found)
    assert chosen is not None
    assert (chosen.candidate.pooling, chosen.post.kind) == ("mean", "none")


def test_an_order_of_proteins_of_one_length_is_not_one_of_length(
    maker: Maker, tiny: Esm2, tmp_path: Path
):
    proteins = proteins_of((40,) * 6)
    vectors = shuffled(maker.means({p.id: p.sequence for p in proteins}))
    found = verify_against(tiny, written(tmp_path / "moved.h5", vectors), proteins)
    assert found.verdict == "differs"
    assert "order of length" not in found.to_text()


def test_duplicates_and_near_copies(maker: Maker, tiny: Esm2, tmp_path: Path):
    """Proteins that differ by one residue are told apart; copies under each other's names are right."""
    first = random_sequence(60, 3)
    texts = [first, first, first[:30] + "W" + first[31:], first[:31] + "W" + first[32:]]
    proteins = [Protein(f"P{n}", text) for n, text in enumerate(texts)]
    right = maker.means({p.id: p.sequence for p in proteins})
    order = ["P1", "P0", "P2", "P3"]  # of copies
    moved = {name: right[of] for name, of in zip(right, order, strict=True)}
    assert verify_against(tiny, written(tmp_path / "copies.h5", moved), proteins).passed
    order = ["P0", "P1", "P3", "P2"]
    moved = {name: right[of] for name, of in zip(right, order, strict=True)}
    found = verify_against(tiny, written(tmp_path / "near.h5", moved), proteins)
    assert "1 pair swapped" in found.to_text()
    assert found.to_frame().set_index("id").loc["P2", "belongs_to"] == "P3"


@pytest.mark.parametrize("mutants", [False, True])
@pytest.mark.parametrize("whose", ["P0", "P2", "nobody's"])
def test_one_vector_for_all_is_said_to_be_whose_it_is(
    whose: str, mutants: bool, maker: Maker, tiny: Esm2, tmp_path: Path
):
    """Also of mutants, which with one letter written as another would be the protein it is of."""
    proteins = proteins_of((40, 30, 50))
    if mutants:
        text = proteins[0].sequence.replace("W", "A")
        letters = (text, f"{text[:7]}W{text[8:]}", f"{text[:20]}W{text[21:]}")
        proteins = [Protein(f"P{n}", sequence) for n, sequence in enumerate(letters)]
    right = maker.means({p.id: p.sequence for p in proteins})
    drawn = np.random.default_rng(7).normal(size=tiny.width).astype(np.float32)
    given = dict.fromkeys(right, right.get(whose, drawn))
    found = verify_against(tiny, written(tmp_path / "same.h5", given), proteins)
    (cause,) = found.parts[0].causes
    if whose == "nobody's":
        assert cause.what == "every record holds the same vector"
        assert len(cause.records) == 3
    else:
        assert cause.what.startswith(
            "the vector of another protein, which has it too: every record"
        )
        assert set(cause.records) == {"P0", "P1", "P2"} - {whose}
        assert f"{cause.records[0]} holds {whose}" in found.to_text()
    assert cause.remedy


def test_each_record_has_its_own_cause(maker: Maker, tiny: Esm2, tmp_path: Path):
    proteins = proteins_of(LENGTHS)
    right = maker.means({p.id: p.sequence for p in proteins})
    cut = maker.means({p.id: p.sequence[:50] for p in proteins})
    sums = PLANTED["sum"][1](maker, {p.id: p.sequence for p in proteins})
    mixed = {**right, "P1": cut["P1"], "P3": cut["P3"], "P5": sums["P5"]}
    found = verify_against(tiny, written(tmp_path / "mixed.h5", mixed), proteins)
    (part,) = found.parts
    assert {tuple(cause.records): cause.what for cause in part.causes} == {
        ("P1", "P3"): "cut after 50 residues",
        ("P5",): "the sum over residues, not the mean",
    }
    assert part.summary.startswith("5 of 8 are this model's mean embeddings of the last layer")
    frame = found.to_frame().set_index("id")
    assert list(frame["verdict"]).count("same") == 5
    before, after = frame.loc["P1", ["relative_before", "relative_after"]].tolist()
    assert before > 1e-3 > 1e-5 > after


def test_few_records_are_thin_evidence(maker: Maker, tiny: Esm2, tmp_path: Path):
    """Two vectors near the right ones are not called other weights."""
    proteins = proteins_of((40, 50))
    random = np.random.default_rng(5)
    right = maker.means({p.id: p.sequence for p in proteins})
    near = stacked(right, lambda x: x + 0.15 * x.std() * random.normal(size=x.shape))
    found = verify_against(tiny, written(tmp_path / "near.h5", near), proteins)
    assert found.verdict == "unknown"
    assert "2 records are thin evidence" in found.to_text()
    assert "tried: " in found.to_text()


@pytest.mark.parametrize(
    "rows", ["residues", "tokens", "late", "BOS first, cut", "reversed", "padded"]
)
def test_arrays_of_residues(rows: str, maker: Maker, tiny: Esm2, tmp_path: Path):
    proteins = proteins_of((41, 30, 36))
    whole = {p.id: maker.states(maker.ids(p.sequence))[-1].numpy() for p in proteins}
    layer = {p.id: maker.states(maker.ids(p.sequence))[1].numpy() for p in proteins}
    zeros = np.zeros((41, tiny.width), np.float32)
    made, words = {
        "residues": ({n: h[1:-1] for n, h in whole.items()}, ""),
        "tokens": (whole, "rows 1 to R are residues"),
        "late": ({n: h[2:-1] for n, h in whole.items()}, "from the second residue on"),
        "BOS first, cut": ({n: h[:-2] for n, h in whole.items()}, "one residue late"),
        "reversed": ({n: h[1:-1] for n, h in layer.items()}, "hidden state 1 and not 2"),
        "padded": (
            {n: np.concatenate([h[1:-1], zeros])[:41] for n, h in whole.items()},
            "",
        ),
    }[rows]
    found = verify_against(tiny, written(tmp_path / "rows.h5", made), proteins)
    assert words in found.to_text(), found.to_text()
    assert found.passed == (rows in ("residues", "tokens", "padded")), found.to_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Token indices sequence length")
def test_proteins_too_long_for_the_model_that_were_cut(maker: Maker, tiny: Esm2, tmp_path: Path):
    proteins = proteins_of((60, 1_040, 1_101))
    right = maker.means({p.id: p.sequence for p in proteins})
    assert verify_against(tiny, written(tmp_path / "whole.h5", right), proteins).passed
    short = maker.means({p.id: p.sequence[:1_022] for p in proteins})
    found = verify_against(tiny, written(tmp_path / "cut.h5", short), proteins)
    (cause,) = found.parts[0].causes
    assert (cause.what, cause.records) == ("cut after 1,022 residues", ["P1", "P2"])


def test_a_remedy_names_the_option_of_the_command(
    run, maker: Maker, tiny_folder: Path, tmp_path: Path
):
    proteins = proteins_of(LENGTHS[:3])
    (tmp_path / "x.fasta").write_text("".join(f">{p.id}\n{p.sequence}\n" for p in proteins))
    written(tmp_path / "x.h5", maker.means({p.id: p.sequence for p in proteins}, 1))
    done = run("verify", "x.fasta", "--against", "x.h5", "--model", tiny_folder, cwd=tmp_path)
    assert done.returncode == 1
    assert "remedy: take hidden state 2, or say that 1 is meant (--layer)" in done.stdout
