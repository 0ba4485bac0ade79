"""Maps on the way to scores and figures: what is kept, what is not, and what is damaged."""

import io
from pathlib import Path

import numpy as np
import pytest

from esmkit.contacts.kept_maps import KeptMaps, square, upper_triangle
from esmkit.contacts.map import ContactMap
from esmkit.errors import OutputError


def made(name: str, residues: int) -> ContactMap:
    values = np.random.default_rng(residues).random((residues, residues), np.float32)
    values = (values + values.T) * np.float32(0.5)
    sequence = "A" * residues
    return ContactMap(name, f"{name} header", sequence, values, method="heads", source="made")


@pytest.fixture
def maps() -> list[ContactMap]:
    return [made("a", 7), made("b", 1), made("c", 30)]


def keep(path: Path, maps: list[ContactMap], only: set[str] | None = None) -> KeptMaps:
    kept = KeptMaps(path, only)
    kept.begin()
    for each in maps:
        kept.add(each)
    kept.end()
    return kept


def test_a_triangle_is_the_whole_of_a_symmetric_map(maps):
    for each in maps:
        assert np.array_equal(square(upper_triangle(each.probability)), each.probability)


@pytest.mark.parametrize("only", [None, {"a", "c"}, {"b"}])
def test_maps_come_back_as_they_were(tmp_path: Path, maps, only):
    kept = keep(tmp_path / "maps", maps, only)
    assert kept.are_there()
    wanted = [each for each in maps if only is None or each.id in only]
    for found, each in zip(kept, wanted, strict=True):
        assert np.array_equal(found.probability, each.probability)
        assert vars(found).keys() == vars(each).keys()
        for name in ("id", "header", "sequence", "method", "source"):
            assert getattr(found, name) == getattr(each, name)


def test_there_is_no_file_where_no_map_is_wanted(tmp_path: Path, maps):
    kept = keep(tmp_path / "maps", maps, set())
    assert kept.are_there()
    assert list(kept) == []
    assert not (tmp_path / "maps").exists()


def test_who_wants_more_than_was_kept_is_told(tmp_path: Path, maps):
    keep(tmp_path / "maps", maps, {"a", "b"})
    assert KeptMaps(tmp_path / "maps", {"b"}).are_there()
    assert not KeptMaps(tmp_path / "maps", {"b", "c"}).are_there()
    assert not KeptMaps(tmp_path / "maps").are_there()
    assert not KeptMaps(tmp_path / "no such").are_there()


def test_a_file_cut_off_anywhere_is_an_error_or_not_there(tmp_path: Path, maps):
    path = tmp_path / "maps"
    keep(path, maps)
    whole = path.read_bytes()
    damaged = 0
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        kept = KeptMaps(path)
        if kept.are_there():  # the beginning, which says what was kept, is whole
            damaged += 1
            with pytest.raises(OutputError, match="is damaged; delete it"):
                list(kept)
    assert damaged > 10


def test_a_file_cut_between_two_maps_is_damaged(tmp_path: Path, maps):
    """Where one map ends and the next begins, what is left reads as a whole file of fewer."""
    path = tmp_path / "maps"
    keep(path, maps)
    whole = path.read_bytes()
    arrays, ends = io.BytesIO(whole), []
    while arrays.tell() < len(whole):
        np.load(arrays)
        ends.append(arrays.tell())
    assert len(ends) == 8  # what was kept, facts and values of three maps, how many there are
    for end in ends[0:7:2]:
        path.write_bytes(whole[:end])
        assert KeptMaps(path).are_there()
        with pytest.raises(OutputError, match="is damaged; delete it"):
            list(KeptMaps(path))


def test_numbers_written_over_are_damaged(tmp_path: Path, maps):
    path = tmp_path / "maps"
    keep(path, maps)
    whole = bytearray(path.read_bytes())
    place = whole.rindex(maps[2].probability[0, :20].tobytes())
    whole[place + 6] ^= 1
    path.write_bytes(whole)
    with pytest.raises(OutputError, match="is damaged; delete it"):
        list(KeptMaps(path))
