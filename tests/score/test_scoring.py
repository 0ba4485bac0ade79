"""Scores against a plain implementation from the formulas, with transformers' EsmForMaskedLM."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import EsmForMaskedLM

from esmkit.encoder.masked import masked_logits
from esmkit.errors import CheckpointError, EsmkitError, InputError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.score import passes, sites
from esmkit.score.probabilities import AMINO_ACID_TOKENS, entropy_of, log_softmax_20
from esmkit.score.sites import count_of_portions, portions
from esmkit.sequences import windows as cutting
from esmkit.sequences.proteins import AMINO_ACIDS, Protein
from esmkit.sequences.tokens import MASK, TOKENS, encode
from oracles.checkpoints import random_sequence

CLOSE = {"rtol": 0, "atol": 1e-5}


def oracle_of(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """transformers' own model: token ids (T,) to logits (T, 33), one sequence at a time."""
    network = EsmForMaskedLM.from_pretrained(folder).eval()

    def logits(ids: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(input_ids=torch.from_numpy(ids)[None]).logits[0].numpy()

    return logits


def plain_masked(logits: Callable, sequence: str, size: int = 10**9) -> np.ndarray:
    """log p(a | all others), (R, 20), from the definition: hide, read, softmax over the 20."""
    found = []
    for place in range(len(sequence)):
        start = min(max(0, place - size // 2), max(0, len(sequence) - size))
        ids = encode(sequence[start : start + size])
        ids[place - start + 1] = MASK
        row = logits(ids)[place - start + 1].astype(np.float64)
        chosen = [row[TOKENS.index(letter)] for letter in AMINO_ACIDS]
        found.append(chosen - np.log(np.sum(np.exp(chosen))))
    return np.array(found)


def test_log_probabilities_of_hidden_residues(any_scored_folder: Path):
    model, oracle = load(any_scored_folder, "cpu"), oracle_of(any_scored_folder)
    for length in (1, 2, 17, 40):
        sequence = random_sequence(length, length)
        table = model.log_probabilities(sequence)
        expected = plain_masked(oracle, sequence)
        assert expected.std() > 0.3 or length == 1  # far from uniform, or the test says little
        np.testing.assert_allclose(table, expected, **CLOSE)
        assert list(table.columns) == list(AMINO_ACIDS)
        assert list(table.index) == [(n, letter) for n, letter in enumerate(sequence, 1)]
        own = [expected[n, AMINO_ACIDS.index(letter)] for n, letter in enumerate(sequence)]
        wanted = float(np.exp(-np.mean(own)))
        assert model.pseudo_perplexity(sequence) == pytest.approx(wanted, rel=1e-5)


def test_one_pass(any_scored_folder: Path):
    model, oracle = load(any_scored_folder, "cpu"), oracle_of(any_scored_folder)
    sequence = random_sequence(33, 1)
    logits = oracle(encode(sequence))[1:-1]
    found = model.logits(sequence)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, logits, **CLOSE)
    expected = log_softmax_20(logits)
    np.testing.assert_allclose(model.log_probabilities(sequence, masked=False), expected, **CLOSE)
    score = model.score(sequence, masked=False)
    own = [expected[n, AMINO_ACIDS.index(letter)] for n, letter in enumerate(sequence)]
    assert score.one_pass_perplexity == pytest.approx(np.exp(-np.mean(own)), rel=1e-5)
    assert score.one_pass_perplexity != pytest.approx(model.pseudo_perplexity(sequence), rel=1e-2)
    with pytest.raises(OptionError, match="no pseudo-perplexity"):
        _ = score.pseudo_perplexity
    with pytest.raises(OptionError, match="was hidden"):
        _ = model.score(sequence).one_pass_perplexity


def test_tokens_of_the_amino_acids():
    assert [TOKENS[token] for token in AMINO_ACID_TOKENS] == list(AMINO_ACIDS)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=33, max_size=33))
def test_probabilities_sum_to_one_whatever_the_logits_are(row: list[float]):
    logs = log_softmax_20(np.array(row, np.float32))
    assert np.exp(logs).sum() == pytest.approx(1)
    assert -1e-9 <= entropy_of(logs) <= np.log(20) + 1e-9
    assert logs.argmax() == np.array(row, np.float32)[list(AMINO_ACID_TOKENS)].argmax()


@pytest.mark.filterwarnings("ignore::esmkit.sequences.remarks.OddSequenceWarning")
def test_letters_that_are_no_amino_acid_are_left_out_and_counted(scored: Esm2, scored_folder: Path):
    sequence = "MKXVRQUBLKZOTWY"
    score = scored.score(sequence)
    expected = plain_masked(oracle_of(scored_folder), sequence)
    np.testing.assert_allclose(score.log_probabilities, expected, **CLOSE)
    known = [n for n, letter in enumerate(sequence) if letter in AMINO_ACIDS]
    own = [expected[n, AMINO_ACIDS.index(sequence[n])] for n in known]
    assert (score.counted, score.left_out) == (10, 5)
    assert score.pseudo_perplexity == pytest.approx(np.exp(-np.mean(own)), rel=1e-5)
    entropy = [-np.sum(np.exp(expected[n]) * expected[n]) / np.log(2) for n in known]
    assert score.mean_entropy == pytest.approx(np.mean(entropy), rel=1e-5)
    assert score.mean_surprise == pytest.approx(np.log2(score.pseudo_perplexity))
    hits = [AMINO_ACIDS[expected[n].argmax()] == sequence[n] for n in known]
    assert score.accuracy == pytest.approx(np.mean(hits))
    table = score.to_frame(all_letters=True)
    assert list(np.flatnonzero(table["log_probability"].isna())) == [2, 6, 7, 10, 11]
    assert table["rank"].isna().equals(table["log_probability"].isna())
    ranks = [int((expected[n] > value).sum()) + 1 for n, value in zip(known, own, strict=True)]
    assert table["rank"].dropna().tolist() == ranks
    assert table["expected"].tolist() == [AMINO_ACIDS[row.argmax()] for row in expected]
    np.testing.assert_allclose(table[list(AMINO_ACIDS)], expected, **CLOSE)
    assert "5 of them left out" in repr(score)


@pytest.mark.filterwarnings("ignore::esmkit.sequences.remarks.OddSequenceWarning")
def test_a_protein_of_letters_without_probability_has_no_perplexity(scored: Esm2):
    score = scored.score("XXBX")
    assert (score.counted, score.left_out) == (0, 4)
    assert np.isnan(score.pseudo_perplexity)
    assert np.isfinite(score.log_probabilities).all()
    assert np.isnan(scored.pseudo_perplexity("XX"))


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> int:
    """A model that was trained on 20 residues, with portions of a few sites."""
    for module in (cutting, sites):
        monkeypatch.setattr(module, "MAX_RESIDUES", 20)
    monkeypatch.setattr(cutting, "WINDOW_OVERLAP", 10)
    for module in (sites, passes):
        monkeypatch.setattr(module, "PORTION_TOKENS", 7 * 22)
    for function, size in ((cutting.windows, 20), (cutting.window_around, 20)):
        monkeypatch.setattr(function, "__defaults__", (size,))
    return 20


@pytest.mark.parametrize("length", [19, 20, 21, 47])
def test_long_proteins(scored: Esm2, scored_folder: Path, short_windows: int, length: int):
    oracle, sequence = oracle_of(scored_folder), random_sequence(length, 5)
    around = scored.score(sequence)
    expected = plain_masked(oracle, sequence, short_windows)
    np.testing.assert_allclose(around.log_probabilities, expected, **CLOSE)
    assert around.windows == max(1, length - short_windows + 1)
    whole = scored.log_probabilities(sequence, long="whole")
    np.testing.assert_allclose(whole, plain_masked(oracle, sequence), **CLOSE)
    start = scored.score(sequence, long="truncate")
    assert start.sequence == sequence[:short_windows]
    wanted = plain_masked(oracle, sequence[:short_windows])
    np.testing.assert_allclose(start.log_probabilities, wanted, **CLOSE)
    total, seen = np.zeros((length, 33)), np.zeros((length, 1))
    for a, b in cutting.windows(length):
        total[a:b] += oracle(encode(sequence[a:b]))[1:-1]
        seen[a:b] += 1
    np.testing.assert_allclose(scored.logits(sequence), total / seen, **CLOSE)
    if length > short_windows:
        for masked in (True, False):
            with pytest.raises(InputError, match="the model was trained on 20"):
                scored.score(sequence, long="error", masked=masked)


def test_portions_cover_every_site_once(short_windows: int):
    for length in range(1, 60):
        for long in ("window", "whole", "truncate"):
            found = list(portions(3, Protein("p", length * "A"), long))
            assert len(found) == count_of_portions(length, long) == found[0].of
            assert [one.index for one in found] == list(range(len(found)))
            covered = [place for one in found for place in one.places()]
            assert covered == list(range(min(length, 20) if long == "truncate" else length))


def test_a_score_does_not_depend_on_the_neighbours(scored: Esm2):
    proteins = [random_sequence(n, n) for n in (30, 5, 61, 30, 1)]
    for masked in (True, False):
        many = list(scored.score(proteins, masked=masked))
        for sequence, found in zip(proteins, many, strict=True):
            alone = scored.score(sequence, masked=masked)
            np.testing.assert_allclose(
                found.log_probabilities, alone.log_probabilities, rtol=0, atol=2e-6
            )


def test_results_of_many(scored: Esm2, tmp_path: Path):
    given = {"a": "MKTVRQ", "b": "GSHX", "c": "W"}
    singles = {name: scored.score(sequence) for name, sequence in given.items()}
    table = scored.score(given).to_frame()
    assert list(table.index) == ["a", "b", "c"]
    assert table["pseudo_perplexity"].tolist() == pytest.approx(
        [one.pseudo_perplexity for one in singles.values()]
    )
    assert table["left_out"].tolist() == [0, 1, 0]
    values = scored.pseudo_perplexity(given)
    of_b = float(values.to_frame().loc["b", "pseudo_perplexity"])  # type: ignore[arg-type]
    assert of_b == pytest.approx(singles["b"].pseudo_perplexity)
    assert values.to_numpy().shape == (3,)
    letters = scored.log_probabilities(given).to_frame()
    assert letters.index.names == ["id", "residue_number", "residue"]
    pandas.testing.assert_frame_equal(letters.loc["b"], singles["b"].letters())
    arrays = scored.logits(given)
    assert [array.shape for array in scored.logits(given)] == [(6, 33), (4, 33), (1, 33)]
    assert arrays.to_frame().query("id == 'b'")["residue_number"].tolist() == [1, 2, 3, 4]
    fasta = tmp_path / "x.fasta"
    fasta.write_text(">a\nMKTVRQ\n>b\nGSHX\n")
    assert [one.id for one in scored.score(fasta)] == ["a", "b"]


def test_a_model_without_a_head_is_refused_before_anything_is_computed(tiny: Esm2):
    assert not tiny.has_lm_head
    for method in (tiny.score, tiny.logits, tiny.log_probabilities, tiny.pseudo_perplexity):
        with pytest.raises(CheckpointError, match="has no masked-LM head; "):
            method("MKTV")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"long": "cut"}, "long is 'window' or 'whole'"),
        ({"masked": "no"}, "masked of score is True or False"),
        ({"batch_tokens": 0}, "batch_tokens is at least 1"),
    ],
)
def test_bad_options(scored: Esm2, options, says: str):
    with pytest.raises(OptionError, match=says):
        scored.score("MKTV", **options)


@pytest.mark.parametrize("given", ["MK-TV", "", ["MKTV", "M4"]])
def test_bad_sequences(scored: Esm2, given):
    with pytest.raises(EsmkitError):
        list(scored.score(given))


def test_requests_of_a_long_protein_share_windows(monkeypatch, scored: Esm2, short_windows: int):
    """All sites before the middle of the first window are hidden in it: it is given once."""
    seen: list[int] = []

    def counted(model, requests, **options):
        requests = list(requests)
        seen.extend(len(positions) for _, positions in requests)
        return masked_logits(model, iter(requests), **options)

    monkeypatch.setattr(passes, "masked_logits", counted)
    scored.score(random_sequence(40, 1))
    assert sum(seen) == 40
    assert seen[:2] == [7, 4]  # a portion, and the rest of the first window
