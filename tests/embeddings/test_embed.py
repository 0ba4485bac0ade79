"""Pooling, windows, long policies and streams, in memory."""

from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from esmkit.embeddings.embed import embed
from esmkit.embeddings.options import EmbedOptions
from esmkit.embeddings.sklearn import EsmEmbedder
from esmkit.errors import InputError, OptionError
from esmkit.esm2 import Esm2
from esmkit.sequences import windows as of_windows
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import encode
from esmkit.sequences.windows import MAX_RESIDUES, cut_into_pieces, windows
from oracles.checkpoints import assert_close, random_sequence
from oracles.commands import write_fasta


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> int:
    """Windows of 20 residues, so that long policies can be tested on short sequences."""
    monkeypatch.setattr(of_windows, "MAX_RESIDUES", 20)
    monkeypatch.setattr(of_windows, "WINDOW_OVERLAP", 10)
    monkeypatch.setattr(of_windows.windows, "__defaults__", (20,))
    return 20


def test_mean_is_over_residues_only(tiny: Esm2):
    sequence = random_sequence(40, 0)
    result = tiny.embed(sequence)
    (states,) = tiny.hidden_states([encode(sequence)])
    assert_close(result.residues, states[0, 1:-1])
    assert_close(result.mean, states[0, 1:-1].mean(0))
    assert_close(result.bos, states[0, 0])
    # The usual mistake, a mean over BOS and EOS as well, is far off
    assert np.abs(result.mean - states[0].mean(0)).max() > 1e-2
    assert result.mean.dtype == result.residues.dtype == np.float32


def test_several_layers_lead(tiny: Esm2):
    sequence = random_sequence(12, 1)
    result = tiny.embed(sequence, layers=[0, 2])
    assert result.layers == (0, 2)
    assert (result.mean.shape, result.residues.shape) == ((2, 32), (2, 12, 32))
    assert_close(result.mean[1], tiny.embed(sequence).mean)
    assert tiny.embed(sequence, layers="all").mean.shape == (3, 32)
    assert tiny.embed(sequence, layers=0).mean.shape == (32,)


def test_stream_is_in_input_order_and_independent_of_batching(tiny: Esm2):
    sequences = [random_sequence(n, n) for n in (30, 5, 60, 5, 31, 1, 44)]
    big = list(tiny.embed(sequences))
    small = list(tiny.embed(sequences, batch_tokens=40))
    assert [r.sequence for r in big] == [r.sequence for r in small] == sequences
    assert [r.id for r in big][:2] == ["sequence_1", "sequence_2"]
    for a, b, sequence in zip(big, small, sequences, strict=True):
        assert_close(a.residues, b.residues)
        assert_close(a.mean, tiny.embed(sequence).mean)


def test_stream_is_lazy(tiny: Esm2):
    def endless():
        while True:
            yield random_sequence(50, 0)

    first = next(iter(tiny.embed(endless(), batch_tokens=100)))
    assert first.residues.shape == (50, 32)


def test_what_can_be_embedded(tiny: Esm2, tmp_path: Path):
    path = write_fasta(tmp_path / "two.fasta", {"a first": "MKT", "b": "mkv*"})
    assert [(r.id, r.header, r.sequence) for r in tiny.embed(path)] == [
        ("a", "a first", "MKT"),
        ("b", "b", "MKV"),
    ]
    assert [r.id for r in cast("Any", tiny.embed(str(path)))] == ["a", "b"]
    assert tiny.embed(Protein("x", "MKT")).id == "x"
    assert tiny.embed("mkt").sequence == "MKT"


def test_result_shows_well(tiny: Esm2):
    result = tiny.embed(Protein("x", "MKT", "x <b>bold</b>"))
    assert repr(result) == "Embedding(x: 3 residues, layer(s) 2, width 32)"
    html = result._repr_html_()
    assert "x &lt;b&gt;bold" in html
    assert "float32 (3, 32)" in html
    assert "not kept" in next(iter(tiny.embed(["MKT"], residues=False)))._repr_html_()


@given(st.integers(1, 400), st.integers(2, 60).map(lambda n: 2 * n))
def test_windows_cover_every_residue_with_half_overlap(residues: int, size: int):
    step_overlap = of_windows.WINDOW_OVERLAP
    of_windows.WINDOW_OVERLAP = size // 2
    try:
        parts = windows(residues, size)
    finally:
        of_windows.WINDOW_OVERLAP = step_overlap
    assert parts[0][0] == 0
    assert parts[-1][1] == residues
    if residues <= size:
        assert parts == [(0, residues)]
    else:
        assert all(stop - start == size for start, stop in parts)
        for (a, b), (c, _) in pairwise(parts):
            assert a < c <= b - size // 2  # the last window may overlap more


def test_windows_of_a_35000_residue_chain():
    parts = windows(35_000)
    assert len(parts) == 68
    assert parts[:2] == [(0, 1022), (511, 1533)]
    assert parts[-1] == (35_000 - MAX_RESIDUES, 35_000)


def test_windows_are_averaged_where_they_overlap(tiny: Esm2, short_windows: int):
    sequence = random_sequence(47, 9)
    parts = windows(47)
    total, seen = np.zeros((47, 32)), np.zeros((47, 1))
    starts = []
    for start, stop in parts:
        (states,) = tiny.hidden_states([encode(sequence[start:stop])])
        total[start:stop] += states[0, 1:-1]
        seen[start:stop] += 1
        starts.append(states[0, 0])
    assert seen.max() > 1
    for batch_tokens in (4_096, 30):  # all windows at once, and one by one
        result = tiny.embed(sequence, batch_tokens=batch_tokens)
        assert_close(result.residues, total / seen)
        assert_close(result.mean, (total / seen).mean(0))
        assert_close(result.bos, np.mean(starts, 0))
    pooled = next(iter(tiny.embed([sequence], residues=False)))
    with pytest.raises(OptionError, match=r"residues of .* were not kept; embed with residues="):
        pooled.residues  # noqa: B018
    assert_close(pooled.mean, (total / seen).mean(0))


def test_long_policies(tiny: Esm2, short_windows: int):
    sequence = random_sequence(30, 4)
    whole = tiny.embed(sequence, long="whole")
    (states,) = tiny.hidden_states([encode(sequence)])
    assert_close(whole.residues, states[0, 1:-1])
    cut = tiny.embed(sequence, long="truncate")
    assert cut.sequence == sequence[:20]
    assert_close(cut.residues, tiny.embed(sequence[:20]).residues)
    windowed = tiny.embed(sequence)
    assert np.abs(windowed.residues - whole.residues).max() > 1e-3  # not the same thing
    with pytest.raises(InputError, match=r"'sequence_1' has 30 residues and .* `long=\"window\"`"):
        tiny.embed(sequence, long="error")


def test_exactly_the_training_length_is_not_long():
    protein = Protein("p", "A" * MAX_RESIDUES)
    for policy in ("window", "whole", "truncate", "error"):
        assert cut_into_pieces(protein, policy) == [(0, MAX_RESIDUES)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per": "atom"}, "per is 'protein' or 'residue', not 'atom'"),
        ({"pool": "max"}, "pool is 'mean' or 'bos', not 'max'"),
        ({"long": "cut"}, "long is 'window' or 'whole' or 'truncate' or 'error', not 'cut'"),
        ({"on_invalid": "x"}, "on_invalid is 'error' or 'replace' or 'skip' or 'degap', not 'x'"),
        ({"batch_tokens": 0}, "batch_tokens is at least 1, not 0"),
    ],
)
def test_options_that_do_not_exist(options, message):
    with pytest.raises(OptionError, match=message):
        EmbedOptions(**options)


def test_bad_sequences_in_memory(tiny: Esm2):
    with pytest.raises(InputError, match=r"sequence 'sequence_1', residue 3: 'J' is not an amino"):
        tiny.embed("MKJ")
    assert tiny.embed("MKJ", on_invalid="replace").sequence == "MKX"
    with pytest.raises(InputError, match=r"was left out by `on_invalid=.skip.`"):
        tiny.embed("MKJ", on_invalid="skip")
    with pytest.raises(InputError, match="item 2 is 5; give a sequence, a Protein"):
        list(tiny.embed(["MK", 5]))  # type: ignore[list-item]


def test_device_transfer_keeps_results(tiny: Esm2):
    """Results own their memory: they are not views of a batch that would be kept alive."""
    results = list(tiny.embed([random_sequence(30, i) for i in range(20)]))
    assert all(isinstance(r.residues, np.ndarray) for r in results)
    assert not any(torch.is_tensor(r.mean) for r in results)


class TestSklearn:
    def test_rows_are_the_mean_embeddings(self, tiny_folder, tiny: Esm2):
        sequences = [random_sequence(n, n) for n in (20, 10, 33)]
        embedder = EsmEmbedder(str(tiny_folder), device="cpu")
        matrix = embedder.fit_transform(sequences)
        assert (matrix.shape, matrix.dtype) == ((3, 32), np.float32)
        for row, sequence in zip(matrix, sequences, strict=True):
            assert_close(row, tiny.embed(sequence).mean)
        assert list(embedder.get_feature_names_out()[:2]) == ["esm2_0", "esm2_1"]

    def test_in_a_pipeline_cloned_and_pickled(self, tiny_folder):
        import pickle

        from sklearn.base import clone
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        sequences = ["A" * n + "K" * 9 for n in range(1, 7)] + [
            "W" * 9 + "G" * n for n in range(1, 7)
        ]
        labels = [0] * 6 + [1] * 6
        pipeline = make_pipeline(EsmEmbedder(str(tiny_folder), device="cpu"), LogisticRegression())
        cast("Any", clone(pipeline)).fit(sequences, labels)
        assert pipeline.fit(sequences, labels).score(sequences, labels) == 1.0
        assert "_model" in vars(pipeline[0])
        again = pickle.loads(pickle.dumps(pipeline))
        assert "_model" not in vars(again[0])
        assert list(again.predict(sequences)) == labels

    def test_errors(self, tiny_folder):
        embedder = EsmEmbedder(str(tiny_folder))
        with pytest.raises(InputError, match="cannot take None for proteins"):
            embedder.transform(None)  # pyright: ignore[reportArgumentType]
        with pytest.raises(OptionError, match="pool is 'mean' or 'bos', not 'max'"):
            EsmEmbedder(str(tiny_folder), pool="max").transform(["MKT"])
        with pytest.raises(OptionError, match="skip is not possible here"):
            EsmEmbedder(str(tiny_folder), on_invalid="skip").transform(["MKT"])


def test_embed_of_a_whole_module_is_the_method(tiny: Esm2):
    np.testing.assert_array_equal(embed(tiny, "MKT").mean, tiny.embed("MKT").mean)
