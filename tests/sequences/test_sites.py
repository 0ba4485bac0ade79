"""Residues as people name them: every way of writing them, and every slip."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esmkit.errors import EsmkitError, OptionError, UnknownIdError
from esmkit.sequences.sites import parse_sites, parse_stretch, residue_numbers

HAEMOGLOBIN = (
    "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHFDLSHGSAQVKGHGKKVADALTNAVAHVDDMPNALSALSDLHAHKL"
    "RVDPVNFKLLSHCLLVTLAAHLPAEFTPAVHASLDKFLASVSTVLTSKYR"
)


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ("59,88-92", (59, 88, 89, 90, 91, 92)),
        (" H59 , h88 ", (59, 88)),
        ("His59;HIS88", (59, 88)),
        ("H88-R93", (88, 89, 90, 91, 92, 93)),
        ("88 – 90", (88, 89, 90)),  # noqa: RUF001 - a dash of a text
        ("142,1", (1, 142)),
        (59, (59,)),
        (np.int64(59), (59,)),
        ([88, 59], (59, 88)),
        ((59, 88), (59, 88)),
        (np.array([59, 88]), (59, 88)),
        (range(88, 91), (88, 89, 90)),
        ([59, "88-90", "H91"], None),
        ({59, 88}, (59, 88)),
        ("P69905:59,88", (59, 88)),
        ({"P69905": [59, 88]}, (59, 88)),
        ({"P69905": "59,88"}, (59, 88)),
    ],
)
def test_ways_of_naming_residues(given: Any, numbers: tuple[int, ...] | None):
    name = "sp|P69905|HBA_HUMAN"
    if numbers is None:
        with pytest.raises(OptionError, match=r"residue 91 of .* is K, not H as `residues` has it"):
            residue_numbers(given, HAEMOGLOBIN, name=name)
        return
    assert residue_numbers(given, HAEMOGLOBIN, name=name) == numbers


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "`mark` names no residue; give some, such as 59,88-92, or leave it out"),
        (" , ", "`mark` names no residue"),
        ([], "`mark` names no residue"),
        ({}, "`mark` names no residue"),
        ("0", "there is no residue 0, as `mark` has it; count from 1"),
        (0, "there is no residue 0"),
        ("0-5", "there is no residue 0"),
        (-3, "takes residues such as 59, 88-92 or H59, not -3; count from 1"),
        ("-3", "not -3; count from 1"),
        ("92-88", "the range 92-88 of `mark` runs backwards; write 88-92"),
        ("H92-F88", "write F88-H92"),
        ("59,59", "names residue 59 twice, as 59 and as 59; name it once"),
        ("50-60,H59", "names residue 59 twice, as 50-60 and as H59"),
        ([59, 59], "names residue 59 twice"),
        ("H59A", "'H59A' is a mutation; name its residue, H59"),
        ("88:92", "takes a range as 88-92"),
        ("Abc59", "not 'Abc59'"),
        ("H", "not 'H'"),
        ("59.0", "not '59.0'"),
        (59.0, r"not 59.0 \(a float\)"),
        (True, "not True"),
        (None, "not None"),
        ([None], "not None"),
        ("1e3", "not '1e3'"),
        ("9999999999999999999999", "not '9999999999999999999999'"),
        ("٥٩", "takes residues such as"),
        (":59", "not ':59'"),
        ("59-", "not '59-'"),
        ("1-2-3", "not '1-2-3'"),
        ({5: "59"}, "the keys of `mark` are IDs of proteins, not 5"),
    ],
)
def test_slips_are_refused_before_any_protein_is_known(given: Any, message: str):
    with pytest.raises(OptionError, match=message) as refused:
        parse_sites(given, "mark")
    assert "`mark`" in str(refused.value)
    assert "; " in str(refused.value)


def test_the_letter_that_is_there_is_named():
    with pytest.raises(
        OptionError,
        match=r"residue 58 of 'P69905' is G, not H as `mark` has it \(the nearest H is H59\); write "
        "G58, or count from the first residue of the sequence given",
    ):
        residue_numbers("H58", HAEMOGLOBIN, name="P69905", option="mark")
    with pytest.raises(OptionError, match=r"residue 2 is H, not W as .*\(there is no W\)"):
        residue_numbers("W2", "MHKAA")
    with pytest.raises(OptionError, match="residue 5 is A, not K"):
        residue_numbers("2-K5", "MHKAA")


def test_residues_that_a_protein_lacks():
    with pytest.raises(
        OptionError, match=r"there is no residue 143 of 'P69905'.* are 1 to 142; count"
    ):
        residue_numbers("140-143", HAEMOGLOBIN, name="P69905")
    with pytest.raises(OptionError, match="there is no residue 999999999"):
        residue_numbers("1-999999999", HAEMOGLOBIN)  # at once, without making the list


def test_several_proteins_need_to_be_told_apart():
    names = ["sp|P69905|HBA_HUMAN", "sp|P68871|HBB_HUMAN", "1UBI:A"]
    with pytest.raises(
        OptionError,
        match=r"`residues` names residues of one protein, and there are 3; say whose they are, such "
        r"as sp\|P69905\|HBA_HUMAN:59, or take one protein with `ids`",
    ):
        parse_sites("59,88").of_each(names)
    with pytest.raises(OptionError, match="say whose"):
        parse_sites("59,P69905:88").of_each(names)
    found = parse_sites("P69905:59,88-92,1UBI:A:H68,P68871:64").of_each(names)
    assert {name: str(sites) for name, sites in found.items()} == {
        names[0]: "Sites(59,88-92)",
        names[2]: "Sites(H68)",
        names[1]: "Sites(64)",
    }
    with pytest.raises(UnknownIdError, match="there is no ID 'P69906'"):
        parse_sites("P69906:59").of_each(names)
    with pytest.raises(OptionError, match="names residue 59 twice"):  # by two names of one protein
        parse_sites("P69905:59,HBA_HUMAN:59").of_each(names)
    assert parse_sites("P69905:59,P68871:59").of_each(names).keys() == set(names[:2])


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20, unique=True), st.data())
def test_what_is_written_is_what_is_read(numbers: list[int], data: st.DataObject):
    sequence = "".join(data.draw(st.lists(st.sampled_from("ACDEFGHIKLMNPQRSTVWY"), min_size=300)))
    letters = data.draw(st.booleans())
    text = ",".join(f"{sequence[n - 1] if letters else ''}{n}" for n in numbers)
    assert residue_numbers(text, sequence) == tuple(sorted(numbers))
    assert residue_numbers(numbers, sequence) == tuple(sorted(numbers))
    spans = parse_sites(text).spans(sequence)
    assert [sequence[n - 1] for span in spans for n in [span.start]] == [s.first for s in spans]
    first, last = min(numbers), max(numbers)
    if first < last:
        everything = residue_numbers(f"{first}-{last}", sequence)
        assert everything == tuple(range(first, last + 1))


@given(st.text(max_size=12) | st.lists(st.integers() | st.text(max_size=5), max_size=4))
def test_whatever_is_written_is_read_or_refused_in_one_sentence(written: Any):
    refused = ""
    found: tuple[int, ...] = ()
    try:
        found = residue_numbers(written, "MHKAA", name="p")
    except EsmkitError as error:
        refused = str(error)
    assert bool(found) != bool(refused)
    assert "\n" not in refused
    assert all(1 <= number <= 5 for number in found)


def test_stretches():
    for given_ in ("2-4", (2, 4), [2, 4], np.array([2, 4]), {"p": (2, 4)}, {"p": "2-4"}, "p:H2-A4"):
        assert parse_stretch(given_).of_each(["p"])["p"].numbers("MHKAA", "p") in ((2, 3, 4),)
    for wrong in ("2", "2-3,4-5", 2, "2-2", [2, 3, 4]):
        with pytest.raises(OptionError, match="`zoom` is one stretch of at least 2 residues"):
            parse_stretch(wrong)
    with pytest.raises(OptionError, match="the range 4-2 of `zoom` runs backwards; write 2-4"):
        parse_stretch((4, 2))
