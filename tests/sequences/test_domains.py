"""Domains, as text, dict, list, data frame and file."""

from pathlib import Path
from typing import Any

import pandas
import pytest

from esmkit.errors import EsmkitError, InputError, OptionError
from esmkit.sequences.domains import Domain, check_domains, parse_domains

TWO = (Domain("kinase", 10, 120), Domain("SH2", 130, 200))


@pytest.mark.parametrize(
    "given",
    [
        "kinase:10-120,SH2:130-200",
        " kinase : 10 - 120 ; SH2:130-200",
        {"kinase": "10-120", "SH2": (130, 200)},
        [("kinase", 10, 120), ("SH2", "130", 200.0)],
        pandas.DataFrame({"Name": ["kinase", "SH2"], "begin": [10, 130], "END": [120, 200]}),
    ],
)
def test_ways_of_giving_domains(given: Any):
    assert parse_domains(given).of_each(["P1"]) == {"P1": TWO}


@pytest.mark.parametrize("text", ["name,start,end\n{}", "# made up\nDomain\tFrom\tTo\n{}\n\n"])
def test_files(text: str, tmp_path: Path):
    separator = "\t" if "\t" in text else ","
    rows = "\n".join(separator.join(map(str, domain)) for domain in TWO)
    (tmp_path / "domains.txt").write_text(text.format(rows))
    for path in (tmp_path / "domains.txt", str(tmp_path / "domains.txt")):
        assert parse_domains(path).of_each(["P1"]) == {"P1": TWO}


def test_tables_of_many_proteins(tmp_path: Path):
    (tmp_path / "d.csv").write_text("id,name,start,end\nP1,a,1,9\nP2,b,2,8\nP9,c,3,7\n")
    found = parse_domains(tmp_path / "d.csv").of_each(["sp|P1|X", "P2", "P3"])
    assert found == {"sp|P1|X": (Domain("a", 1, 9),), "P2": (Domain("b", 2, 8),)}
    with pytest.raises(OptionError, match="`domains` are of 'P1', and that is not here"):
        parse_domains(tmp_path / "d.csv").of_each(["Q1"])
    with pytest.raises(OptionError, match="`domains` are of one protein, and there are 2; give a"):
        parse_domains("a:1-9").of_each(["P1", "P2"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("kinase", "neither domains such as kinase:10-120,SH2:130-200 nor a file"),
        ("kinase:10", "neither domains"),
        ("kinase:10-120,SH2", "not 'SH2'"),
        ("kinase:120-10", "domain 'kinase' of `domains` runs backwards; write 10-120"),
        (":10-20", "a domain of `domains` has a name, not ''"),
        ("kinase:0-20", "counted from 1, not at 0"),
        ([], "`domains` names none"),
        (7, "not 7"),
        (None, "not None"),
        ([("a", 1)], "not a tuple"),
        ([("a", 1.5, 3)], r"not at 1.5 \(a float\)"),
        ({"a": 5}, "not 5"),
        (pandas.DataFrame({"name": ["a"], "start": [1]}), "has no column end"),
    ],
)
def test_slips(given: Any, message: str):
    with pytest.raises(EsmkitError, match=message):
        parse_domains(given)


def test_slips_in_files(tmp_path: Path):
    path = tmp_path / "d.csv"
    for text, message in (
        ("", "is empty; give a table"),
        ("name,start,end\n", "has no rows"),
        ("name,start,end\na,1\n", "line 2: 2 cells and 3 columns"),
        ("a,1,5\n", "has no column name"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            parse_domains(path)


def test_domains_beyond_the_protein():
    check_domains(TWO, 200)
    with pytest.raises(
        OptionError, match="'SH2' of `domains` ends at 200, and the residues of 'P1'"
    ):
        check_domains(TWO, 199, "P1")
