"""Names of records: which there are, which one is meant, and what is offered if none is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esmkit.errors import EsmkitError, UnknownIdError
from esmkit.sequences.ids import accession_of, by_name, find, id_in, matching, names_in, near

HBA, HBB = "sp|P69905|HBA_HUMAN", "sp|P68871|HBB_HUMAN"

# Headers as the databases write them, from their own pages of help; the ID comes first
NAMES = {
    f"{HBA} Hemoglobin subunit alpha OS=Homo sapiens": [HBA, "P69905", "HBA_HUMAN"],
    "tr|A0A024R161|A0A024R161_HUMAN x": [
        *("tr|A0A024R161|A0A024R161_HUMAN", "A0A024R161", "A0A024R161_HUMAN"),
    ],
    "sp|P05067-2|A4_HUMAN Isoform": ["sp|P05067-2|A4_HUMAN", "P05067-2", "A4_HUMAN", "P05067"],
    "NP_000508.1 hemoglobin": ["NP_000508.1", "NP_000508"],
    "gi|4504347|ref|NP_000549.1| hemoglobin": [
        *("gi|4504347|ref|NP_000549.1|", "4504347", "NP_000549.1", "NP_000549"),
    ],
    "UniRef90_P69905 Cluster": ["UniRef90_P69905", "P69905"],
    "UniRef50_UPI0000131EF5": ["UniRef50_UPI0000131EF5", "UPI0000131EF5"],
    "AF-P69905-F1": ["AF-P69905-F1", "P69905"],
    "pdb|1UBI|A Chain A": ["pdb|1UBI|A", "1UBI_A", "1UBI"],
    "1UBI_A": ["1UBI_A", "1UBI"],
    "XP_1.1 a\x01XP_2.1 b": ["XP_1.1", "XP_2.1", "XP_1", "XP_2"],
    "XP_1.1\x01XP_2.1 b": ["XP_1.1", "XP_2.1", "XP_1", "XP_2"],
    "plain": ["plain"],
    "a|b": ["a|b", "a", "b"],
    "|": ["|"],
    "": [],
    "  ": [],
}


@pytest.mark.parametrize("header", NAMES)
def test_names_in_headers_of_databases(header: str):
    assert list(names_in(header)) == NAMES[header]
    assert id_in(header) == (NAMES[header] or [""])[0]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (HBA, HBA),
        ("P69905", HBA),
        ("HBB_HUMAN", HBB),
        ("NP_1", "NP_1.2"),
        ("Q9", "Q9"),  # the whole ID, though another has it as a part
        ("P05067", "sp|P05067|A4_HUMAN"),  # though an isoform has it as well
        ("P05067-2", "sp|P05067-2|A4_HUMAN"),
    ],
)
def test_the_one_record_that_is_meant(wanted: str, meant: str):
    ids = [HBA, HBB, "NP_1.2", "x|Q9", "Q9", "sp|P05067-2|A4_HUMAN", "sp|P05067|A4_HUMAN"]
    assert find(ids, wanted) == meant
    assert find(iter(ids), wanted) == meant
    assert find(dict.fromkeys(ids), wanted) == meant


@pytest.mark.parametrize(
    ("ids", "wanted", "message"),
    [
        ([HBA, HBB], "P69906", f"there is no ID 'P69906'; near ones are '{HBA}'"),
        ([HBA, HBB], "hba_human", f"there is no ID 'hba_human'; near ones are '{HBA}', '{HBB}'"),
        ([HBA, HBB], "xyz", f"there is no ID 'xyz'; there are 2, such as '{HBA}', '{HBB}'"),
        ([], "P1", "there is no ID 'P1': there are no records"),
        (
            [HBA, "tr|P69905|OTHER"],
            "P69905",
            f"the ID 'P69905' may mean 2 records: '{HBA}', 'tr|P69905|OTHER'; give the whole ID of "
            "one",
        ),
        (
            ["a.1", "a.2"],
            "a",
            "the ID 'a' may mean 2 records: 'a.1', 'a.2'; give the whole ID of one",
        ),
        ([HBA], 0, f"an ID is text, not int; give one such as '{HBA}'"),
    ],
)
def test_no_record_or_several(ids: list[str], wanted: str, message: str):
    with pytest.raises(UnknownIdError, match=f"^{re.escape(message)}$") as caught:
        find(ids, wanted)
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, EsmkitError)
    assert str(caught.value) == message  # not its repr, as of a KeyError


def test_many_near_ones_are_few_in_the_message():
    ids = [f"protein_{number}" for number in range(1_000)]
    assert len(near(ids, "protein_1000")) == 5
    with pytest.raises(UnknownIdError) as caught:
        find([f"x{number}|same" for number in range(100)], "same")
    assert "may mean 100 records" in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("name", "accession"),
    [
        (HBA, "P69905"),
        ("tr|A0A024R161|A0A024R161_HUMAN", "A0A024R161"),
        ("sp|P05067-2|A4_HUMAN", "P05067-2"),
        ("P69905.2", "P69905"),
        ("UniRef100_P69905", "P69905"),
        ("AF-P69905-F1", "P69905"),
        ("1UBI_A", "1UBI_A"),
        ("NP_000508.1", "NP_000508.1"),
        ("x|y", "x|y"),
        ("p69905", "p69905"),
        ("", ""),
    ],
)
def test_accession_numbers(name: str, accession: str):
    assert accession_of(name) == accession


words = st.text(st.characters(categories=["L", "N", "P"], max_codepoint=0x2FFF), min_size=1)


@given(st.lists(words, unique=True, min_size=1), st.data())
def test_any_id_is_found_by_itself_and_any_name_means_who_has_it(ids: list[str], data):
    for name in ids:
        assert find(ids, name) == name
        for other in names_in(name):
            assert find([name], other) == name
    wanted = data.draw(words)
    found = matching(ids, wanted)
    assert all(wanted in names_in(name) for name in found)
    assert bool(found) == any(wanted in names_in(name) for name in ids)
    try:
        assert [find(ids, wanted)] == found
    except UnknownIdError:
        assert len(found) != 1


@given(st.lists(st.text(), max_size=5), st.text())
def test_any_text_is_looked_for(ids: list[str], wanted: str):
    try:
        assert find(ids, wanted) in ids
    except UnknownIdError as error:
        assert str(error).isprintable()  # noqa: PT017 - either answer is right


@given(st.lists(st.sampled_from([name for name in NAMES if name.strip()]), unique=True))
def test_an_index_of_names_finds_what_a_look_at_all_of_them_finds(headers: list[str]):
    meant = by_name(headers)
    for wanted in {form for header in headers for form in names_in(header)}:
        if wanted not in headers:
            assert matching(meant.get(wanted, ()), wanted) == matching(headers, wanted)
