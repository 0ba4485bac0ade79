"""Means over the windows of long sequences, against loops over residues and pairs."""

import itertools
from itertools import product
from typing import Any

import numpy as np
import pytest

from esmkit.sequences import windows as cutting
from esmkit.sequences.windows import WindowMean, window_around, windows


@pytest.fixture(params=[(12, 40), (12, 13), (12, 12)], ids=str)
def pieces(request: pytest.FixtureRequest, monkeypatch) -> list[tuple[int, int]]:
    monkeypatch.setattr(cutting, "WINDOW_OVERLAP", 5)
    size, residues = request.param
    return windows(residues, size)


def mean_of(values: list[np.float32]) -> Any:
    """Add in float32, in order, and divide."""
    total = np.float32(0)
    for value in values:
        total += value
    return total / np.float32(len(values)) if values else np.nan


def test_residues_in_the_middle_of_an_array(pieces):
    """Layers, residues, width: as embeddings are."""
    random, residues = np.random.default_rng(1), pieces[-1][1]
    given = [random.random((2, b - a, 3), np.float32) for a, b in pieces]
    mean = WindowMean((2, residues, 3), (-2,))
    for (start, stop), values in zip(pieces, given, strict=True):
        mean.add(start, stop, values)
    found = mean.divide(pieces)
    assert found.dtype == np.float32
    for layer, r, d in product(range(2), range(residues), range(3)):
        of = [v[layer, r - a, d] for (a, b), v in zip(pieces, given, strict=True) if a <= r < b]
        assert found[layer, r, d] == mean_of(of)


@pytest.mark.parametrize("height", [1, 7, 100])
def test_pairs_whole_and_in_bands(pieces, height):
    """Maps of two heads, one added at a time; and the second in bands of rows."""
    random, residues = np.random.default_rng(2), pieces[-1][1]
    given = [random.random((2, b - a, b - a), np.float32) for a, b in pieces]
    mean = WindowMean((2, residues, residues), (-2, -1))
    for head in (1, 0):
        for (start, stop), values in zip(pieces, given, strict=True):
            mean.add(start, stop, values[head], at=(head,))
    found = mean.divide(pieces)
    for head, i, j in product(range(2), range(residues), range(residues)):
        of = [
            v[head, i - a, j - a]
            for (a, b), v in zip(pieces, given, strict=True)
            if a <= i < b and a <= j < b
        ]
        np.testing.assert_array_equal(found[head, i, j], mean_of(of))
    assert np.isnan(found).any() == (len(pieces) > 1)
    for top in range(0, residues, height):
        band = WindowMean((min(height, residues - top), residues), (-2, -1), top=top)
        for (start, stop), values in zip(pieces, given, strict=True):
            rows = band.rows(start, stop)
            assert (rows.start < rows.stop) == (start < top + height and top < stop)
            band.add(start, stop, values[1][rows])
        np.testing.assert_array_equal(band.divide(pieces), found[1, top : top + height])


@pytest.mark.parametrize("residues", [1023, 1500, 1533, 1534, 1535, 2044, 2045, 5000, 34350])
def test_what_windows_share(residues: int):
    """Neighbours share half; the last two more, for the last ends where the sequence does."""
    pieces = windows(residues)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == residues
    assert all(stop - start == 1022 for start, stop in pieces)
    shared = [a[1] - b[0] for a, b in itertools.pairwise(pieces)]
    assert shared[:-1] == [511] * (len(shared) - 1)
    assert 511 <= shared[-1] <= 1021
    times = np.zeros(residues, int)
    for start, stop in pieces:
        times[start:stop] += 1
    assert set(times) <= {1, 2, 3}


@pytest.mark.parametrize(("residues", "size"), [(1, 6), (6, 6), (7, 6), (25, 6), (25, 5)])
def test_a_residue_is_as_near_the_middle_of_its_window_as_it_can_be(residues: int, size: int):
    size_there = min(size, residues)
    of_any = [(start, start + size_there) for start in range(residues - size_there + 1)]
    for place in range(residues):
        start, stop = window_around(place, residues, size)
        assert (start, stop) in of_any
        assert start <= place < stop
        off = [abs(place - (a + b - 1) / 2) for a, b in of_any]
        assert abs(place - (start + stop - 1) / 2) == min(off)
