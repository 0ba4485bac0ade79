"""Attention in memory and reduced to numbers: windows, batches, definitions."""

import warnings

import numpy as np
import pandas
import pytest
import torch
from scipy.stats import entropy as scipy_entropy

from esmkit.attention import extract, passes
from esmkit.attention.extract import attention
from esmkit.attention.maps import AttentionMaps
from esmkit.attention.options import columns_of
from esmkit.attention.summaries import reduce_maps, summarize
from esmkit.encoder.checkpoints.network import use_eager_attention
from esmkit.errors import InputError, NonFiniteError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.sequences import windows as cutting
from oracles.checkpoints import make_checkpoint, random_sequence
from oracles.commands import write_fasta

SEQUENCES = [random_sequence(n, n) for n in (30, 12, 30, 44, 5)]


def assert_same(a: AttentionMaps, b: AttentionMaps) -> None:
    # Softmax weights are at most 1; two orders of summation differ by rounding
    for x, y in ((a.maps, b.maps), (a.bos, b.bos), (a.eos, b.eos)):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-6)


def test_batch_order_and_neighbours_change_nothing(tiny: Esm2):
    together = list(attention(tiny, SEQUENCES))
    backwards = list(attention(tiny, SEQUENCES[::-1]))[::-1]
    small = list(attention(tiny, SEQUENCES, batch_tokens=1))
    for sequence, a, b, c in zip(SEQUENCES, together, backwards, small, strict=True):
        assert a.sequence == sequence
        assert_same(a, b)
        assert_same(a, c)
        assert_same(a, tiny.attention(sequence))


def test_one_sequence_a_path_or_many(tiny: Esm2, tmp_path):
    fasta = write_fasta(tmp_path / "x.fasta", {"a first": SEQUENCES[0], "b": SEQUENCES[1]})
    for source in (fasta, str(fasta)):
        found = list(attention(tiny, source))
        assert [(m.id, m.header) for m in found] == [("a", "a first"), ("b", "b")]
    assert tiny.attention(SEQUENCES[0]).maps.shape == (8, 30, 30)
    assert list(attention(tiny, [])) == []
    with pytest.raises(InputError, match="residue 3: 'J' is not an amino acid esmkit knows"):
        tiny.attention("ACJ")
    with pytest.raises(InputError, match=r"was left out by `on_invalid=.skip.`; nothing is left"):
        tiny.attention("ACJ", on_invalid="skip")
    with pytest.raises(OptionError, match="long is 'window' or"):
        tiny.attention("ACD", long="sometimes")  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="there is no L9H0"):
        tiny.attention("ACD", heads="L9H0")


def averaged_windows(model: Esm2, sequence: str, pieces) -> np.ndarray:
    """Maps of each window on its own, put together pair by pair the plain way."""
    residues = len(sequence)
    seen: list[list[list[np.ndarray]]] = [[[] for _ in range(residues)] for _ in range(residues)]
    for start, stop in pieces:
        maps = model.attention(sequence[start:stop]).maps
        for i in range(start, stop):
            for j in range(start, stop):
                seen[i][j].append(maps[:, i - start, j - start])
    out = np.full((8, residues, residues), np.nan)
    for i in range(residues):
        for j in range(residues):
            if seen[i][j]:
                out[:, i, j] = np.mean(seen[i][j], axis=0)
    return out


@pytest.mark.parametrize("residues", [13, 20, 25])
def test_long_chains_in_windows(tiny: Esm2, monkeypatch, residues: int):
    monkeypatch.setattr(cutting, "WINDOW_OVERLAP", 6)
    pieces = cutting.windows(residues, 12)
    assert len(pieces) > 1
    for home in (extract, passes):
        monkeypatch.setattr(home, "cut_into_pieces", lambda protein, long: pieces)
    sequence = random_sequence(residues, 3)
    maps = tiny.attention(sequence)
    monkeypatch.undo()
    assert maps.windows == len(pieces)
    np.testing.assert_allclose(
        maps.maps, averaged_windows(tiny, sequence, pieces), rtol=0, atol=1e-6
    )
    assert np.isnan(maps.maps[:, 0, -1]).all()
    assert np.isfinite(maps.bos).all()
    with pytest.raises(OptionError, match=r"was read in \d windows, and rollout needs every pair"):
        maps.rollout()


def test_other_policies_for_long_chains(tiny: Esm2):
    sequence = random_sequence(1030, 1)
    cut = tiny.attention(sequence, long="truncate", heads="L0H0")
    assert cut.sequence == sequence[:1022]
    whole = tiny.attention(sequence, long="whole", heads="L0H0")
    assert whole.maps.shape == (1, 1030, 1030)
    assert np.isfinite(whole.maps).all()
    with pytest.raises(InputError, match=r"has 1,030 residues and the model was trained on 1,022"):
        tiny.attention(sequence, long="error")


def test_half_precision_maps_are_float32_and_sum_to_one(tiny_folder):
    model = load(tiny_folder, "cpu", "bfloat16")
    maps = model.attention(SEQUENCES[0])
    assert maps.maps.dtype == np.float32
    np.testing.assert_allclose(maps.maps.sum(-1) + maps.bos + maps.eos, 1, rtol=0, atol=1e-5)


def test_not_a_number_names_sequence_layer_and_remedy(tmp_path):
    folder = make_checkpoint(tmp_path / "broken", (2, 4, 32))
    model = load(folder, "cpu")
    with torch.no_grad():
        model.network.encoder.layer[1].attention.self.key.bias[0] = torch.nan  # type: ignore[union-attr,index]
    with pytest.raises(
        NonFiniteError,
        match=r"attention of layer 1 is NaN or infinite for sequence 'sequence_1'; check the check",
    ):
        model.attention(SEQUENCES[0])


def naive(maps: np.ndarray) -> dict[str, float]:
    """The definitions of esmkit.attention.summaries, spelled out for one map with specials."""
    inner = maps[1:-1, 1:-1].astype(np.float64)
    residues = len(inner)
    place = np.arange(residues)
    found = {
        "entropy": float(np.mean([scipy_entropy(row) for row in inner]) / np.log(residues)),
        "distance": float(np.average(np.abs(np.subtract.outer(place, place)), weights=inner)),
        "bos": float(maps[1:-1, 0].mean()),
        "eos": float(maps[1:-1, -1].mean()),
    }
    for offset in range(-32, 33):
        total = sum(inner[i, i + offset] for i in range(residues) if 0 <= i + offset < residues)
        found[f"offset_{offset}"] = float(total / inner.sum())
    return found


@pytest.mark.parametrize("residues", [2, 7, 50])
def test_reductions_are_what_their_definitions_say(tiny: Esm2, residues: int):
    sequence = random_sequence(residues, 5)
    maps = tiny.attention(sequence)
    table = summarize(tiny, [sequence])
    assert len(table) == 8
    for row, name, inner, bos, eos in zip(
        table.to_dict("records"), maps, maps.maps, maps.bos, maps.eos, strict=True
    ):
        whole = np.zeros((residues + 2, residues + 2))
        whole[1:-1, 1:-1], whole[1:-1, 0], whole[1:-1, -1] = inner, bos, eos
        assert row["name"] == name
        assert f"L{row['layer']}H{row['head']}" == name
        assert row["length"] == residues
        for column, value in naive(whole).items():
            assert row[column] == pytest.approx(value, abs=2e-6, rel=2e-6), column
        profile = [row[f"offset_{offset}"] for offset in range(-32, 33)]
        assert sum(profile) <= 1 + 1e-5
        if residues <= 33:
            assert sum(profile) == pytest.approx(1, abs=1e-5)


def test_reductions_of_extreme_maps():
    even = torch.full((1, 6, 6), 1 / 6)
    identity = torch.eye(6)[None]
    to_bos = torch.zeros(1, 6, 6)
    to_bos[:, :, 0] = 1
    reduce = ("entropy", "distance", "special", "offsets")
    rows = {
        name: dict(zip(columns_of(reduce), reduce_maps(m, reduce)[0].tolist(), strict=True))
        for name, m in {"even": even, "identity": identity, "to BOS": to_bos}.items()
    }
    assert rows["even"]["entropy"] == pytest.approx(1)
    assert rows["even"]["distance"] == pytest.approx(
        np.mean([[abs(i - j) for i in range(4)] for j in range(4)])
    )
    assert rows["identity"]["entropy"] == pytest.approx(0, abs=1e-6)
    assert rows["identity"]["offset_0"] == 1
    assert rows["to BOS"]["bos"] == 1
    assert np.isnan(rows["to BOS"]["entropy"])  # no row has a residue to speak of
    single = reduce_maps(torch.full((1, 3, 3), 1 / 3), ("entropy",))
    assert single.tolist() == [[0.0]]


def test_windows_are_reduced_each_by_itself(tiny: Esm2):
    sequence = random_sequence(1100, 2)
    whole = summarize(tiny, [sequence], reduce=("special", "distance"), heads=["L1H2"])
    parts = [
        summarize(tiny, [sequence[a:b]], reduce=("special", "distance"), heads=["L1H2"])
        for a, b in cutting.windows(1100)
    ]
    mean = pandas.concat(parts)[["distance", "bos", "eos"]].mean()
    np.testing.assert_allclose(
        whole[["distance", "bos", "eos"]].iloc[0].to_numpy(float), mean.to_numpy(), rtol=1e-5
    )


def test_summaries_say_what_they_take(tiny: Esm2):
    assert set(summarize(tiny, "ACDEF")["id"]) == {"sequence_1"}
    assert list(summarize(tiny, {"P1": "ACDEF", "P2": "MKT"})["id"].unique()) == ["P1", "P2"]
    with pytest.raises(OptionError, match="reduce takes entropy, distance, special, offsets, not"):
        summarize(tiny, ["ACDEF"], reduce=("mean",))  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = summarize(tiny, SEQUENCES, reduce=("special", "entropy"), layers=(1,))
    assert list(table.columns) == ["id", "length", "layer", "head", "name", "entropy", "bos", "eos"]
    assert list(table["id"].unique()) == [f"sequence_{n}" for n in range(1, 6)]
    assert set(table["layer"]) == {1}


def test_another_attention_implementation_changes_nothing(tiny_folder):
    """The network's own attention, which would let packed proteins see each other, has no part."""
    model = load(tiny_folder, "cpu")
    before = list(model.attention(SEQUENCES[:2])), list(model.embed(SEQUENCES[:2]))
    use_eager_attention(model.network)
    after = list(model.attention(SEQUENCES[:2])), list(model.embed(SEQUENCES[:2]))
    for a, b in zip(before[0], after[0], strict=True):
        np.testing.assert_array_equal(a.maps, b.maps)
    for a, b in zip(before[1], after[1], strict=True):
        np.testing.assert_array_equal(a.residues, b.residues)


def test_distance_keeps_its_digits_on_long_proteins():
    random = np.random.default_rng(0)
    maps = random.dirichlet(np.full(1002, 0.1), size=1002)[None]
    inner = maps[0, 1:-1, 1:-1]
    place = np.arange(1000)
    expected = np.average(np.abs(np.subtract.outer(place, place)), weights=inner)
    found = reduce_maps(torch.tensor(maps, dtype=torch.float32), ("distance",))
    assert float(found[0, 0]) == pytest.approx(expected, rel=2e-6)
