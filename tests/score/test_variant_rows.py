"""Tables of mutations: every dialect of CSV and TSV, data frames, and what is missing in them."""

import gzip
import re
from pathlib import Path

import pandas
import pytest

from esmkit.errors import EsmkitError, InputError, OptionError
from esmkit.score.variants.rows import MutationTable, read_mutations

ROWS = [("A24G", "0.5"), ("L3P:K7R", "-1.25"), ("K7_L9del", "")]


def read(path: Path, text: str, **options: str) -> MutationTable:
    path.write_text(text)
    return read_mutations(path, **options)


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("column", ["mutant", "Mutation", "hgvs_pro", "AA Change", "variant"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_dialect_is_read(separator: str, column: str, end: str, tmp_path: Path):
    lines = [separator.join([column, "DMS_score", "note"])]
    lines += [separator.join([mutant, score, '"a, b; c"']) for mutant, score in ROWS]
    table = read(tmp_path / "x.csv", end.join(lines) + end, measured="DMS_score")
    assert [row.mutant for row in table.rows] == [mutant for mutant, _ in ROWS]
    assert [row.measured for row in table.rows][:2] == [0.5, -1.25]
    assert table.rows[2].measured != table.rows[2].measured
    assert [row.where for row in table.rows] == [f"line {n} of 'x.csv'" for n in (2, 3, 4)]


def test_gzip_bom_comments_and_decimal_commas(tmp_path: Path):
    text = "\ufeff# Accession: urn:mavedb:1\n#\nmutant;score\nA24G;0,5\n\nL3P;1,25\n"
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    table = read_mutations(path, measured="score")
    assert [(row.where, row.measured) for row in table.rows] == [
        ("line 4 of 'x.csv.gz'", 0.5),
        ("line 6 of 'x.csv.gz'", 1.25),
    ]


def test_a_list_without_names_of_columns(tmp_path: Path):
    table = read(tmp_path / "x.txt", "A24G\nL3P:K7R\np.(Ala24Gly)\n")
    assert [row.mutant for row in table.rows] == ["A24G", "L3P:K7R", "p.(Ala24Gly)"]
    assert table.rows[1].where == "line 2 of 'x.txt'"
    table = read(tmp_path / "x.txt", "A24A\nL3P\n")  # wrong as it is, the first line is one of them
    assert [row.mutant for row in table.rows] == ["A24A", "L3P"]


def test_files_of_proteingym_are_read_as_they_are(tmp_path: Path):
    text = "mutant,mutated_sequence,DMS_score,DMS_score_bin\nM1A,AKT,0.1,0\nM1A:T3S,AKS,0.2,1\n"
    table = read(tmp_path / "s.csv", text, measured="DMS_score")
    assert table.wild_type() == "MKT"
    assert [row.mutated for row in table.rows] == ["AKT", "AKS"]
    indels = "mutated_sequence,DMS_score,DMS_score_bin\nMKTTAY,0.1,0\n"
    assert read(tmp_path / "i.csv", indels).rows[0].mutated == "MKTTAY"
    older = "mutant,DMS_score,DMS_score_bin\nMKTTAY,0.1,0\n"
    row = read(tmp_path / "o.csv", older).rows[0]
    assert (row.mutant, row.mutated) == ("", "MKTTAY")


def test_several_wild_types_and_none_are_refused(tmp_path: Path):
    text = "mutant,mutated_sequence\nM1A,AKT\nM1G,GKS\n"
    with pytest.raises(
        InputError, match=r"come from 2 wild types, such as those of line 2 of 's.csv'"
    ):
        read(tmp_path / "s.csv", text).wild_type()
    with pytest.raises(InputError, match="does not say which protein its variants are of"):
        read_mutations(["A24G"]).wild_type()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'x.csv' is empty"),
        ("mutant,score\n", "'x.csv' has column names and no row"),
        ("position,letter\n3,A\n", "has no column that is known to hold mutations: its columns are "
         "'position', 'letter'; rename one to mutant, or name it with `mutant_column`"),
        (">P1\nMKT\n", "'x.csv' is a FASTA file"),
    ],
)  # fmt: skip
def test_a_table_without_mutations_is_refused(text: str, said: str, tmp_path: Path):
    with pytest.raises(InputError, match=re.escape(said)):
        read(tmp_path / "x.csv", text)


def test_columns_that_are_not_there_are_said_with_near_ones(tmp_path: Path):
    text = "mutant,DMS_score\nA24G,0.5\n"
    with pytest.raises(InputError, match=r"as `measured` has it.*did you mean 'DMS_score'"):
        read(tmp_path / "x.csv", text, measured="DMS_scor")
    with pytest.raises(InputError, match="no column 'muta', as `mutant_column` has it"):
        read(tmp_path / "x.csv", text, column="muta")
    with pytest.raises(InputError, match=re.escape("there is no file")):
        read_mutations(tmp_path / "not.csv")


def test_cells_that_are_wrong_are_problems_of_their_row(tmp_path: Path):
    text = "mutant,score\n,1\nA24G,high\nL3P,NA\nK7R,inf\n"
    rows = read(tmp_path / "x.csv", text, measured="score").rows
    assert "the mutation is missing" in rows[0].problem
    assert "column 'score' has 'high'; write a number" in rows[1].problem
    assert rows[2].problem == rows[3].problem == ""
    assert rows[3].measured != rows[3].measured


def test_frames_lists_and_dicts():
    frame = pandas.DataFrame(
        {"mutant": ["A24G", None], "fitness": [0.5, float("nan")]}, index=[7, 9]
    )
    table = read_mutations(frame, measured="fitness")
    assert table.rows[0].where == "row 1 (index 7)"
    assert "the mutation is missing" in table.rows[1].problem
    table = read_mutations({"P1": ["A24G"], "P2": "L3P"})
    assert [(row.owner, row.mutant) for row in table.rows] == [("P1", "A24G"), ("P2", "L3P")]
    assert "it is missing" in read_mutations(["A24G", None]).rows[1].problem
    for bad in (24, {24: ["A24G"]}):
        with pytest.raises(OptionError):
            read_mutations(bad)
    with pytest.raises(InputError, match="the list of mutations is empty; give some"):
        read_mutations([])
    with pytest.raises(
        OptionError, match="`measured` names a column, and the mutations are no table"
    ):
        read_mutations(["A24G"], measured="x")


def test_commas_in_text_separate_variants_as_in_the_command():
    """In a cell of a table, or an element of a list, they join the changes of one variant."""
    for given in ("A24G,L3P:K7R", " A24G, L3P:K7R,", ["A24G", "L3P:K7R"]):
        assert [row.mutant for row in read_mutations(given).rows] == ["A24G", "L3P:K7R"]
    table = read_mutations({"P1": "A24G,p.[Leu3Pro,Lys7Arg]"})
    assert [row.mutant for row in table.rows] == ["A24G", "p.[Leu3Pro,Lys7Arg]"]
    assert [row.mutant for row in read_mutations(["A24G,L3P"]).rows] == ["A24G,L3P"]


def test_a_file_is_one_whatever_its_name_and_a_spreadsheet_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("scan", "scan.dat", "A24G"):
        Path(name).write_text("mutant\nL3P\n")
        assert [row.mutant for row in read_mutations(name).rows] == ["L3P"]
        assert [row.mutant for row in read_mutations(str(tmp_path / name)).rows] == ["L3P"]
    with pytest.raises(InputError, match="there is no file"):
        read_mutations("runs/scan")
    for name in ("dms.xlsx", "DMS.XLS", "dms.ods"):
        with pytest.raises(InputError, match="is a spreadsheet; save its table as CSV"):
            read_mutations(name)
    assert [row.mutant for row in read_mutations("A24G/K7R").rows] == ["A24G/K7R"]
    assert read_mutations("A24G\0").rows[0].mutant == "A24G\0"
    assert read_mutations(500 * "A24G:").rows


@pytest.mark.parametrize("seed", range(40))
def test_damaged_tables_are_refused_in_words_or_read(seed: int, tmp_path: Path):
    import random

    chance = random.Random(seed)
    good = b"mutant,mutated_sequence,DMS_score\nM1A,AKT,0.1\nT3S,MKS,0.2\n"
    data = bytearray(good)
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    path = tmp_path / "x.csv"
    path.write_bytes(bytes(data))
    said = ""
    try:
        assert read_mutations(path).rows
    except EsmkitError as error:
        said = str(error)
    assert not said or "; " in said or ": " in said
