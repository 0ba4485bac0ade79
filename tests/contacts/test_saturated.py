"""Pairs that a float32 probability cannot tell apart are ranked by their logits, everywhere."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from esmkit.contacts import ContactHead, ContactMap, contacts_file, evaluate
from esmkit.contacts.kept_maps import KeptMaps, pack, unpack
from esmkit.contacts.saturated import Saturated, find_saturated, in_windows, rankable
from esmkit.contacts.scores import ranked_pairs
from esmkit.esm2 import Esm2
from esmkit.files.run_options import Run
from esmkit.sequences import windows as cutting
from oracles.checkpoints import random_sequence
from oracles.commands import write_fasta
from oracles.contact_oracles import Planted, eager, numpy_corrected, plain_scores

SEQUENCE = random_sequence(60, 5)


@pytest.fixture(scope="module")
def steep(tiny: Esm2) -> ContactHead:
    """A regression so steep that most of its probabilities are 0 or 1."""
    weights = np.zeros(8)
    weights[5] = 3e5
    return ContactHead.regression(tiny, weights, 5.0, source="steep")


@pytest.fixture(scope="module")
def exact(tiny: Esm2) -> np.ndarray:
    """The logits of SEQUENCE by another implementation, in float64."""
    return 3e5 * numpy_corrected(eager(tiny.checkpoint.folder), SEQUENCE)[5] + 5.0


def by_logit(logits: np.ndarray, least: int = 6) -> list[tuple[int, int]]:
    size = len(logits)
    pairs = [(i, j) for i in range(size) for j in range(i + least, size)]
    return sorted(pairs, key=lambda pair: -logits[pair])


def same_order(found: list[tuple[int, int]], logits: np.ndarray) -> None:
    """The order of the logits, but for what float32 attention leaves open."""
    assert sorted(found) == sorted(by_logit(logits))
    values = np.array([logits[pair] for pair in found])
    assert (np.diff(values) <= 1e-4 * np.abs(values).max()).all()


def test_a_table_is_in_the_order_of_the_logits(tiny: Esm2, steep, exact):
    found = tiny.contacts(SEQUENCE, head=steep)
    ones = (found.probability[np.triu_indices(60, 6)] == 1).sum()
    assert ones > 200  # else there is nothing to see
    table = found.to_frame()
    same_order(list(zip(table["i_number"] - 1, table["j_number"] - 1, strict=True)), exact)
    assert table["probability"].is_monotonic_decreasing
    assert table["probability"].dtype == np.float32
    assert len(found.to_frame(min_probability=1.0)) == ones


def test_scores_are_those_of_the_logits(tiny: Esm2, steep, exact):
    """Contacts where the logit is high: ties at 1 would be in the order of residues."""
    i, j = np.triu_indices(60, 6)
    close = exact > np.quantile(exact[i, j], 0.97)
    structure: Any = Planted("p", SEQUENCE, close)
    expected = plain_scores(exact, close, structure.resolved)
    result = evaluate(tiny, [structure], steep)
    for name, row in expected.items():
        for cut in ("P@L", "P@L/5", "AUC-PR"):
            assert result.chains.loc[("p", name), cut] == pytest.approx(row[cut], abs=1e-3)
    ties = plain_scores(tiny.contacts(SEQUENCE, head=steep).probability, close, structure.resolved)
    assert ties["long"]["P@L/5"] < expected["long"]["P@L/5"]  # what it was


@pytest.mark.parametrize("kind", ["tsv", "rr"])
def test_files_are_in_the_order_of_the_logits(tiny, steep, exact, tmp_path: Path, kind: str):
    fasta = write_fasta(tmp_path / "x.fasta", {"p": SEQUENCE})
    target = tmp_path / f"x.{kind}"
    contacts_file(tiny, fasta, target, lambda _: steep, run=Run(progress=False))
    if kind == "tsv":
        table = pandas.read_csv(target, sep="\t")
        found = list(zip(table["i_number"] - 1, table["j_number"] - 1, strict=True))
    else:
        lines = [line.split() for line in target.read_text().splitlines()]
        pairs = [line for line in lines if len(line) == 5 and line[0].isdigit()]
        found = [(int(line[0]) - 1, int(line[1]) - 1) for line in pairs]
    same_order(found, exact)


def test_over_windows_they_are_ranked_by_the_mean_logit(tiny, steep, monkeypatch):
    plain = [tiny.contacts(SEQUENCE[a:b], head=steep) for a, b in [(0, 40), (20, 60)]]
    monkeypatch.setattr(cutting, "MAX_RESIDUES", 40)
    monkeypatch.setattr(cutting, "WINDOW_OVERLAP", 20)
    monkeypatch.setattr(cutting.windows, "__defaults__", (40,))
    found = tiny.contacts(SEQUENCE, head=steep)
    assert found.windows == 2
    logits: dict[tuple[int, int], list[float]] = {}
    for start, one in zip((0, 20), plain, strict=True):
        sure = one.saturated
        for i, j, logit in zip(sure.rows, sure.columns, sure.logits, strict=True):
            logits.setdefault((i + start, j + start), []).append(float(logit))
    table = found.to_frame()
    ones = table[table["probability"] == 1]
    means = [
        np.mean(logits[i - 1, j - 1])
        for i, j in zip(ones["i_number"], ones["j_number"], strict=True)
    ]
    assert len(means) > 100
    assert (np.diff(means) <= 1e-3).all()


def test_where_nothing_saturates_nothing_is_kept(tiny: Esm2):
    found = tiny.contacts(SEQUENCE)
    assert found.saturated is None
    assert rankable(found.probability, None) is found.probability
    assert pack(found.probability, None).ndim == 1
    by_heads = tiny.contacts(SEQUENCE, heads="L0H1")
    assert by_heads.saturated is None


@st.composite
def maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A probability and the logits it is of, many of them far out, some equal."""
    size = draw(st.integers(2, 9))
    choices = [-200.0, -90.0, -71.0, -3.0, 0.0, 2.0, 6.9, 7.0, 16.0, 17.0, 18.0, 40.0, 41.0]
    count = size * size
    flat: Any = draw(st.lists(st.sampled_from(choices), min_size=count, max_size=count))
    logits = np.triu(np.array(flat, np.float32).reshape(size, size))
    logits = logits + np.triu(logits, 1).T
    return torch.sigmoid(torch.from_numpy(logits)).numpy(), logits


@given(maps())
def test_the_order_is_that_of_probability_then_logit(case):
    probability, logits = case
    sure = find_saturated(torch.from_numpy(probability), torch.from_numpy(logits))
    ranking = rankable(probability, sure)
    np.testing.assert_array_equal(ranking.astype(np.float32) == probability, True)
    np.testing.assert_array_equal(ranking, ranking.T)
    found = list(zip(*ranked_pairs(ranking, least=1), strict=True))
    pairs = [(i, j) for i in range(len(logits)) for j in range(i + 1, len(logits))]
    assert found == sorted(pairs, key=lambda p: (-float(probability[p]), -float(logits[p])))


@given(maps())
def test_packing_loses_nothing(case):
    probability, logits = case
    sure = find_saturated(torch.from_numpy(probability), torch.from_numpy(logits))
    values, again = unpack(pack(probability, sure))
    np.testing.assert_array_equal(values, probability)
    assert (again is None) == (sure is None)
    if sure is not None and again is not None:
        for name in ("rows", "columns", "logits"):
            np.testing.assert_array_equal(getattr(again, name), getattr(sure, name))


def test_kept_maps_keep_them(tiny, steep, tmp_path: Path):
    found = dataclasses.replace(tiny.contacts(SEQUENCE, head=steep), id="p")
    kept = KeptMaps(tmp_path / "maps")
    kept.begin()
    kept.add(found)
    kept.add(ContactMap("q", "q", "ACD", np.eye(3, dtype=np.float32)))
    kept.end()
    first, second = kept
    assert first.to_frame().equals(found.to_frame())
    assert second.saturated is None


def test_windows_that_have_none():
    one = Saturated(np.array([0]), np.array([3]), np.array([20], np.float32))
    assert in_windows([(0, None), (5, None)]) is None
    both = in_windows(
        [(4, one), (9, None), (0, Saturated(one.rows + 4, one.columns + 4, -1 * one.logits))]
    )
    assert both is not None
    assert (both.rows.tolist(), both.columns.tolist(), both.logits.tolist()) == ([4], [7], [0])
