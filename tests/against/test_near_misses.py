"""Files that look like a mistake but are another: what is not known is not said with certainty."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import esmkit
from esmkit.against import check, states, trial, verify_against
from esmkit.against import search as searching
from esmkit.against.geometry import likeness
from esmkit.against.halves import CHANCE, kinship
from esmkit.against.hypotheses import Hypothesis
from esmkit.against.records import Records
from esmkit.against.scoring import Candidate
from esmkit.against.search import Search
from esmkit.against.sources import PLAIN
from esmkit.encoder.encoder import Encoder
from esmkit.errors import InputError
from esmkit.esm2 import Esm2
from esmkit.sequences.proteins import Protein
from oracles.planted import Maker, Vectors, fine_tuned, half, noisy, proteins_of, rolled, written

LENGTHS = (41, 76, 38, 95, 60, 55, 72, 49)


def relative(given: Vectors, own: Vectors) -> float:
    return float(
        np.median([np.linalg.norm(given[n] - x) / np.linalg.norm(x) for n, x in own.items()])
    )


@pytest.mark.parametrize("count", [8, 3])
def test_weights_near_these_are_not_half_precision(
    count: int, maker: Maker, tiny: Esm2, tmp_path: Path
):
    """Weights that move embeddings as far as bfloat16 does are other weights all the same."""
    proteins = proteins_of(LENGTHS[:count])
    texts = {p.id: p.sequence for p in proteins}
    right = maker.means(texts)
    theirs = maker.means(texts, model=maker.changed(noisy(0.002)))
    # within what a pass in bfloat16 explains by its size alone
    assert 1e-4 < relative(theirs, right) < 3 * relative(half(maker, texts, torch.bfloat16), right)
    found = verify_against(tiny, written(tmp_path / "tuned.h5", theirs), proteins)
    assert "half precision (" not in found.to_text(), found.to_text()
    assert "other weights of the same shape" in found.to_text()
    assert found.verdict == ("differs" if count == 8 else "unknown")


def test_two_passes_in_half_precision_go_the_same_way(maker: Maker):
    texts = {p.id: p.sequence for p in proteins_of(LENGTHS[:3])}
    right = np.stack(list(maker.means(texts).values()))
    coarse = np.stack(list(half(maker, texts, torch.bfloat16).values())) - right
    # the weights alone in bfloat16: what every pass in it has in common
    rounded = maker.changed(lambda m: m.to(torch.bfloat16).float())
    weights = np.stack(list(maker.means(texts, model=rounded).values())) - right
    tuned = np.stack(list(maker.means(texts, model=fine_tuned(maker, 1)).values())) - right
    assert kinship(coarse, weights) > 0.3
    assert abs(kinship(coarse, tuned)) < CHANCE / np.sqrt(96) < kinship(coarse, weights)
    assert kinship(coarse, np.zeros_like(coarse)) == 0


@pytest.mark.parametrize("read_in", ["one piece", "windows"])
def test_long_proteins_under_other_names(read_in: str, maker: Maker, tiny: Esm2, tmp_path: Path):
    """Read whole or in windows, which are looked for side by side."""
    proteins = proteins_of((40, 1_030, 1_045))
    right = maker.means({p.id: p.sequence for p in proteins})
    if read_in == "windows":
        right = {p.id: tiny.embed(p, long="window").mean for p in proteins}
    found = verify_against(tiny, written(tmp_path / "moved.h5", rolled(right)), proteins)
    (cause,) = found.parts[0].causes
    assert cause.what == "names and vectors shifted by 1 place"
    assert cause.records == [p.id for p in proteins]


def test_copies_are_under_their_own_names(maker: Maker, tiny: Esm2, tmp_path: Path):
    """Of two copies each is as much like the other as like itself."""
    proteins = proteins_of(LENGTHS[:4])
    proteins += [Protein(f"copy{n}", proteins[n].sequence) for n in range(2)]
    texts = {p.id: p.sequence for p in proteins}
    theirs = maker.means(texts, model=fine_tuned(maker, 5))
    found = verify_against(tiny, written(tmp_path / "copies.h5", theirs), proteins)
    (cause,) = found.parts[0].causes
    assert cause.what.startswith("other weights of the same shape: another checkpoint")


@pytest.mark.parametrize("altered", ["an end written anew", "a point mutation"])
def test_some_of_other_sequences_are_no_other_weights(
    altered: str, maker: Maker, tiny: Esm2, tmp_path: Path
):
    """Records that are exactly this model's say whose weights the others are of."""
    proteins = proteins_of((41, 76, 38, 95, 60, 55, 72, 49, 64, 51, 83, 45))
    texts = {p.id: p.sequence for p in proteins}
    changed = {
        "an end written anew": lambda t: f"{t[:-7]}WLKWYPW",
        "a point mutation": lambda t: f"{t[:20]}{'W' if t[20] != 'W' else 'G'}{t[21:]}",
    }[altered]
    odd = [p.id for p in proteins[::2]]
    theirs = maker.means({n: changed(t) if n in odd else t for n, t in texts.items()})
    found = verify_against(tiny, written(tmp_path / "versions.h5", theirs), proteins)
    (cause,) = found.parts[0].causes
    assert found.verdict == "unknown"
    assert cause.records == odd
    assert cause.what.startswith("not known: near this model's embeddings, and other records are")
    assert not cause.remedy


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (lambda h: h[1:-1:2].mean(0), "the mean over 9 of 17 residues, from 1 to 17"),
        (lambda h: h[5:12].mean(0), "the mean over 7 of 17 residues, 5 to 11"),
        (lambda h: torch.softmax(h[:, 3], 0) @ h, "; BOS and EOS too"),
        (lambda h: 3 * h[4] - h[9], "weights of residues from -1 to 3, together 2"),
    ],
)
def test_any_sum_of_own_states_is_known(pool, words: str, maker: Maker, tiny: Esm2, tmp_path: Path):
    """With fewer tokens than numbers, whose states these are shows whatever the weights."""
    proteins = proteins_of((17, 12, 15))
    texts = {p.id: p.sequence for p in proteins}
    theirs = maker.pooled(texts, pool)
    found = verify_against(tiny, written(tmp_path / "theirs.h5", theirs), proteins)
    assert found.verdict == "differs"
    (cause,) = found.parts[0].causes
    assert cause.what.startswith("a weighted sum of this model's own states")
    assert words in cause.evidence[0]
    # other weights are no such sum, and neither is what is rounded coarsely
    tuned = maker.pooled(texts, pool) | {"P0": np.random.default_rng(0).normal(size=32)}
    for vectors in (
        {n: v + 0.01 * np.random.default_rng(1).normal(size=32) for n, v in theirs.items()},
        {n: np.round(v, 1) for n, v in theirs.items()},
        tuned,
    ):
        found = verify_against(tiny, written(tmp_path / "others.h5", vectors), proteins)
        assert found.verdict != "same"
        named = {n for c in found.parts[0].causes if "weighted sum" in c.what for n in c.records}
        assert named == ({"P1", "P2"} if vectors is tuned else set())


def test_eight_bits_are_storage_and_no_mistake(real: Esm2, tmp_path: Path):
    proteins = list(esmkit.data.demo_proteins()[:3])
    right = {p.id: real.embed(p).mean for p in proteins}
    scale = {n: np.abs(v).max() / 127 for n, v in right.items()}
    kept = {n: (np.round(v / scale[n]) * scale[n]).astype(np.float32) for n, v in right.items()}
    assert relative(kept, right) > 0.005
    found = verify_against(real, written(tmp_path / "int8.h5", kept), proteins)
    assert found.passed, found.to_text()
    assert "storage with steps of 8 bits" in found.to_text()
    moved = {n: v + 0.02 * np.random.default_rng(0).normal(size=len(v)) for n, v in right.items()}
    assert not verify_against(real, written(tmp_path / "x.h5", moved), proteins).passed


def whitened(vectors: np.ndarray) -> np.ndarray:
    """Decorrelate columns and give each a variance of 1, with numpy's SVD."""
    rest = vectors - vectors.mean(axis=0)
    left, _, right = np.linalg.svd(rest, full_matrices=False)
    return np.sqrt(len(vectors)) * left @ right


def families(count: int = 24, width: int = 64) -> np.ndarray:
    random = np.random.default_rng(3)
    return np.repeat(random.normal(size=(count // 4, width)), 4, 0) + 0.4 * random.normal(
        size=(count, width)
    )


def own(vectors: np.ndarray) -> list[Candidate]:
    """As many candidates as a model of 33 layers has, of which one is the vectors'."""
    random = np.random.default_rng(5)
    noise = [random.normal(size=vectors.shape) for _ in range(67)]
    return [Candidate(PLAIN, (n,), "mean", one, 0) for n, one in enumerate([*noise, vectors])]


def test_what_another_model_shares_shows_among_many_layers():
    """Random directions keep distances between proteins, and nothing else of the vectors."""
    vectors = families()
    turned = vectors @ np.random.default_rng(7).normal(size=(64, 64))
    found = likeness(turned, own(vectors), same_width=True)
    assert found.kind == "other model", found
    shuffled = turned[np.random.default_rng(8).permutation(24)]
    assert likeness(shuffled, own(vectors), same_width=True).kind == "unknown"


def test_vectors_of_no_likeness_may_be_whitened():
    """Nothing tells whitened vectors from random numbers, if all that they shared is gone."""
    random = np.random.default_rng(1)
    vectors = random.normal(size=(400, 12)) @ random.normal(size=(12, 64)) + 0.05 * random.normal(
        size=(400, 64)
    )
    for given in (whitened(vectors)[:24], random.normal(size=(24, 64))):
        found = likeness(given, own(vectors[:24]), same_width=True)
        assert found.kind != "unknown"
        if found.kind == "random":
            assert found.words.startswith("like random numbers, or whitened")
    assert found.kind == "random"  # of those that are


def test_all_that_are_near_may_be_of_other_sequences():
    vectors = families()
    near = vectors + 0.05 * np.random.default_rng(4).normal(size=vectors.shape)
    found = likeness(near, own(vectors), same_width=True)
    assert found.kind == "other weights"
    assert found.words.startswith("other weights of the same shape: another checkpoint")
    assert "or sequences, pooling or numbers altered in a way that is not known" in found.words


def test_padding_is_looked_for_up_to_a_length(
    tiny: Esm2, maker: Maker, monkeypatch: pytest.MonkeyPatch
):
    """The longest protein of a file does not decide how much memory every other takes."""
    for module in (searching, trial):
        monkeypatch.setattr(module, "MOST_PADDED", 128)
    monkeypatch.setattr(searching, "LONGEST_PADDED", 64)
    read: list[int] = []
    plain = states.padded

    def noted(model: Encoder, ids: np.ndarray, pads: int, layers: list[int]) -> Any:
        read.append(len(ids) + pads)
        return plain(model, ids, pads, layers)

    passed = trial.read

    def noted_read(model: Encoder, requests: list, layers: list, **options: Any) -> list:
        read.extend(len(piece.ids) for request in requests for piece in request.pieces)
        return passed(model, requests, layers, **options)

    for module in (searching, trial):
        monkeypatch.setattr(module, "padded", noted)
        monkeypatch.setattr(module, "read", noted_read)
    proteins = proteins_of((30, 40, 300))
    texts = [p.sequence for p in proteins]
    vectors = list(
        maker.batch(dict(zip("abc", texts, strict=True)), lambda h, m: h[:90].mean(0)).values()
    )
    records = Records.of(["a", "b", "c"], proteins, texts, vectors, [0, 1, 2])
    search = Search(tiny, records, (2, "mean"))
    search.sample = [0, 1]
    found = search._padded([0, 1])
    assert found is not None
    assert found.pooling == "padded"
    held = trial.fits(tiny, records, found, [0, 1, 2])
    assert {n: (fit.explained, fit.pads) for n, fit in held.items()} == {
        0: (True, 58),
        1: (True, 48),
    }
    assert max(read) == 128
    read.clear()
    search._unmasked([0, 1, 2])
    attended = Hypothesis(PLAIN, (2,), "mean", padded_to={"a": 302, "b": 60, "c": 302})
    assert list(trial.fits(tiny, records, attended, [0, 1, 2])) == [1]
    assert max(read) <= 128


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_too_little_memory_is_said(
    error: Exception, tiny: Esm2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*given: object) -> None:
        raise error

    proteins = proteins_of((30,))
    path = written(tmp_path / "large.h5", {"P0": np.ones(tiny.width, np.float32)})
    monkeypatch.setattr(check, "_diagnose", full)
    with pytest.raises(InputError, match=r"fit into memory; give a FASTA of fewer of its proteins"):
        verify_against(tiny, path, proteins)
    error = RuntimeError("another")
    with pytest.raises(RuntimeError, match="another"):
        verify_against(tiny, path, proteins)
