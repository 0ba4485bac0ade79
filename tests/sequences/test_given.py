"""What was given: every form in which people have proteins, and all else refused at the call."""

import collections
import contextlib
import itertools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from Bio import SeqIO
from Bio.Align import MultipleSeqAlignment
from Bio.Seq import MutableSeq, Seq
from Bio.SeqRecord import SeqRecord
from hypothesis import given
from hypothesis import strategies as st

from esmkit.data import demo_fasta, demo_structure
from esmkit.errors import EsmkitError, InputError
from esmkit.sequences.given import one_or_many, one_protein
from esmkit.sequences.proteins import AMINO_ACIDS, Protein, read_fasta
from esmkit.sequences.tables import ID_COLUMNS, SEQUENCE_COLUMNS
from oracles.commands import write_fasta

A, B = "MKTAYIAKQR", "ACDEFGHIKLMN"
UNNAMED = [("sequence_1", A), ("sequence_2", B)]
NAMED = [("P1", A), ("P2", B)]


class Custom:
    """Something that merely iterates."""

    def __iter__(self) -> Any:
        return iter([A, B])


class Letters(Sequence[str]):
    """A sequence of a library that is not known here, such as a record of an indexed FASTA file."""

    def __len__(self) -> int:
        return len(A)

    def __getitem__(self, place: Any) -> str:
        return A[place]


class Located(os.PathLike):
    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def taken(value: Any, **options: Any) -> tuple[bool, list[tuple[str, str]]]:
    single, stream = one_or_many(value, **options)
    return single, [(protein.id, protein.sequence) for protein in stream]


ONE = {
    "text": (A, "sequence_1"),
    "small letters, blanks, a stop": ("mktay iakqr\n*", "sequence_1"),
    "NumPy's text": (np.str_(A), "sequence_1"),
    "Protein": (Protein("P1", A), "P1"),
    "Protein of a Seq": (Protein("P1", Seq(A)), "P1"),  # type: ignore[arg-type]
    "Seq": (Seq(A), "sequence_1"),
    "MutableSeq": (MutableSeq(A), "sequence_1"),
    "SeqRecord": (SeqRecord(Seq(A), id="P1"), "P1"),
    "SeqRecord without ID": (SeqRecord(Seq(A)), "sequence_1"),
    "pair": (("P1", A), "P1"),
    "pair of a Seq": (("P1", Seq(A)), "P1"),
    "pair of a record": (("P1", SeqRecord(Seq(A), id="other")), "P1"),
    "pair with a number": ((7, A), "7"),
}


@pytest.mark.parametrize("name", ONE)
def test_one(name: str):
    value, expected = ONE[name]
    assert taken(value) == (True, [(expected, A)])


def test_a_structure_is_one():
    structure = demo_structure()
    assert taken(structure) == (True, [(structure.protein.id, structure.sequence)])


FRAME = pd.DataFrame({"ID": ["P1", "P2"], "pH": [7.0, 6.5], "Sequence": [A, B]})
MANY: dict[str, tuple[Any, list[tuple[str, str]]]] = {
    "list": ([A, B], UNNAMED),
    "tuple of long texts": ((A + B, A + B), [("sequence_1", A + B), ("sequence_2", A + B)]),
    "tuple of three": ((A, B, A), [*UNNAMED, ("sequence_3", A)]),
    "generator": ((s for s in (A, B)), UNNAMED),
    "map": (map(Seq, (A, B)), UNNAMED),
    "deque": (collections.deque([A, B]), UNNAMED),
    "Seqs": ([Seq(A), MutableSeq(B)], UNNAMED),
    "records": ([SeqRecord(Seq(A), id="P1"), SeqRecord(Seq(B), id="P2")], NAMED),
    "mixture": ([A, SeqRecord(Seq(B), id="P2"), ("x", A), Protein("y", B)], [
        UNNAMED[0], NAMED[1], ("x", A), ("y", B)
    ]),
    "dict": ({"P1": A, "P2": B}, NAMED),
    "dict of kinds": ({"P1": Seq(A), "P2": SeqRecord(Seq(B), id="z")}, NAMED),
    "dict of numbers": ({1: A, np.int64(2): B}, [("1", A), ("2", B)]),
    "OrderedDict": (collections.OrderedDict([("P2", B), ("P1", A)]), NAMED[::-1]),
    "values of a dict": ({"P1": A, "P2": B}.values(), UNNAMED),
    "items of a dict": ({"P1": A, "P2": B}.items(), NAMED),
    "pairs": (NAMED, NAMED),
    "tuple of pairs": (tuple(NAMED), NAMED),
    "zip": (zip(["P1", "P2"], [A, B], strict=True), NAMED),
    "enumerate": (enumerate([A, B]), [("0", A), ("1", B)]),
    "array": (np.array([A, B]), UNNAMED),
    "array of objects": (np.array([Seq(A), Seq(B)], dtype=object)[:0], []),
    "structured array": (
        np.array([("P1", A), ("P2", B)], dtype=[("id", "U9"), ("seq", "U20")]), NAMED
    ),
    "DataFrame": (FRAME, NAMED),
    "DataFrame without IDs": (FRAME[["Sequence"]], UNNAMED),
    "DataFrame with an index": (FRAME.set_index("ID"), NAMED),
    "DataFrame that was filtered": (FRAME[["Sequence"]][FRAME["pH"] < 7], [("1", B)]),
    "UniProt": (
        pd.DataFrame({"Entry": ["P1", "P2"], "Entry Name": ["a", "b"], "Sequence": [A, B]}), NAMED
    ),
    "empty DataFrame": (FRAME.iloc[:0], []),
    "Series": (FRAME["Sequence"], UNNAMED),
    "Series with an index": (pd.Series([A, B], index=["P1", "P2"]), NAMED),
    "Series of Seq": (pd.Series([Seq(A), Seq(B)], index=["P1", "P2"]), NAMED),
    "categories": (FRAME["Sequence"].astype("category"), UNNAMED),
    "pandas array": (FRAME["Sequence"].array, UNNAMED),
    "pandas Index": (pd.Index([A, B]), UNNAMED),
    "rows as tuples": (FRAME[["ID", "Sequence"]].itertuples(index=False), NAMED),
    "pyarrow": (pa.table({"id": ["P1", "P2"], "sequence": [A, B]}), NAMED),
    "pyarrow column": (pa.chunked_array([[A], [B]]), UNNAMED),
    "alignment": (
        MultipleSeqAlignment([SeqRecord(Seq(A), id="P1"), SeqRecord(Seq(A), id="P2")]),
        [("P1", A), ("P2", A)],
    ),
    "nothing": ([], []),
    "generator of nothing": (iter(()), []),
}  # fmt: skip


@pytest.mark.parametrize("name", MANY)
def test_many(name: str):
    value, expected = MANY[name]
    assert taken(value) == (False, expected)


@pytest.mark.parametrize(
    "kind", ["Path", "text", "PathLike", "list", "tuple", "glob", "map", "texts that are made"]
)
def test_paths(tmp_path: Path, kind: str):
    path = write_fasta(tmp_path / "two.fasta", {"P1 words": A, "P2": B})
    value = {
        "Path": path,
        "text": str(path),
        "PathLike": Located(path),
        "list": [path],
        "tuple": (str(path),),
        "glob": tmp_path.glob("*.fasta"),
        "map": map(str, tmp_path.glob("*.fasta")),
        "texts that are made": (str(path) for path in tmp_path.iterdir()),
    }[kind]
    assert taken(value) == (False, NAMED)


@pytest.mark.parametrize("kind", ["DNA", "mRNA", "ss-RNA"])
def test_a_record_that_says_it_is_no_protein_is_refused(kind: str):
    """As Biopython reads it from GenBank; short ones are too short to be remarked on."""
    record = SeqRecord(Seq("ATGGCGTTTAAACCC"), id="g", annotations={"molecule_type": kind})
    for value in (record, [record], {"P1": record}, ("P1", record)):
        with pytest.raises(InputError, match=rf"is {kind}, as its record .*record.translate\(\)"):
            list(one_or_many(value)[1])
    assert one_or_many(record.translate(id=True))[0]
    record.seq = Seq(A)  # translated in place: the annotation is left behind
    assert [protein.sequence for protein in one_or_many(record)[1]] == [A]


def test_biopython_reads_what_esmkit_reads():
    expected = list(read_fasta(demo_fasta()))
    with demo_fasta().open() as handle:
        listed = list(SeqIO.parse(handle, "fasta"))
    index = SeqIO.index(str(demo_fasta()), "fasta")
    with demo_fasta().open() as handle, contextlib.closing(index):
        for parsed in (SeqIO.parse(handle, "fasta"), listed, SeqIO.to_dict(listed), index):
            single, stream = one_or_many(parsed)
            assert (single, list(stream)) == (False, expected)


@pytest.mark.parametrize("column", SEQUENCE_COLUMNS)
@pytest.mark.parametrize("name", ["id", *ID_COLUMNS[-3:]])
def test_names_of_columns(column: str, name: str):
    for change in (str, str.upper, str.title, lambda text: text.replace("_", " ")):
        frame = pd.DataFrame({"n": [1, 2], change(column): [A, B], change(name): ["P1", "P2"]})
        assert taken(frame) == (False, NAMED)


REFUSED: dict[str, tuple[Any, str]] = {
    "None": (None, "cannot take None for proteins; give a sequence"),
    "number": (7, "cannot take 7 for proteins"),
    "float": (1.5, r"cannot take 1\.5 \(a float\)"),
    "bool": (True, "cannot take True"),
    "object": (object(), "cannot take an object"),
    "bytes": (b"MKT", r"cannot take a bytes for proteins; give text, such as value\.decode"),
    "range": (range(3), "cannot take a range"),
    "set": ({A, B}, "a set has no order"),
    "frozenset": (frozenset([A]), "a set has no order"),
    "keys of a dict": ({"WT": A}.keys(), "the keys of a dict are IDs: give the dict itself"),
    "letters": (iter(A), "cannot take a str_ascii_iterator"),
    "keys": (iter({"WT": A}), "cannot take a dict_keyiterator"),
    "custom": (Custom(), "cannot take a Custom"),
    "a sequence of letters": (Letters(), "cannot take a Letters"),
    "keys backwards": (reversed({"WT": A}), "cannot take a dict_reversekeyiterator"),
    "type": (str, "cannot take a type"),
    "array of no axis": (np.array(A), r"an ndarray of shape \(\) is no list"),
    "array of two axes": (np.array([[A, B]]), r"an ndarray of shape \(1, 2\) is no list"),
    "numbers": (np.arange(3), "item 1 is 0; give"),
    "in a list": ([A, 5], "item 2 is 5"),
    "None in a list": ([A, None], "item 2 is None"),
    "nested": ([[A, B]], "item 1 is a list; give one flat list"),
    "dicts in a list": ([{"id": "P1"}], "item 1 is a dict; give .* pairs"),
    "triples": ([("P1", A, 1)], "item 1 is a tuple of 3"),
    "rows": (FRAME.itertuples(), "item 1 is a Pandas of 4"),
    "iterrows": (FRAME.iterrows(), "item 1 is a pair whose second is a Series"),
    "groups": (iter(FRAME.groupby("ID")), "item 1 is a pair whose second is a DataFrame"),
    "two sequences in a pair": ([(A + B, B)], "item 1 is a pair of two sequences"),
    "pair without ID": ([(None, A)], "the first of item 1 is None; an ID is text"),
    "pair with NaN": ([(float("nan"), A)], r"the first of item 1 is nan"),
    "short texts in a tuple": (("WT", A), "may be an ID with its sequence or two sequences"),
    "dict of lists": ({"P1": [A, B]}, "the value of 'P1' is a list; a sequence"),
    "dict of dicts": ({"P1": {"a": A}}, "the value of 'P1' is a dict"),
    "dict of None": ({"P1": A, "P2": None}, "the value of 'P2' is missing"),
    "dict of paths": ({"P1": "a.fasta"}, "the value of 'P1' is a path"),
    "dict with tuples": ({("a", 1): A}, "a key is a tuple; an ID is text"),
    "columns": ({"id": ["P1"], "sequence": [A]}, "has columns for keys"),
    "a record": ({"id": "P1", "sequence": A}, "for one record"),
    "a row": (FRAME.iloc[0], "the Series is one row of a table"),
    "other columns": (
        pd.DataFrame({"a": [A], "b": [B]}),
        r"its columns are 'a', 'b'; rename one to 'sequence', or give pairs: zip\(table",
    ),
    "two columns": (pd.DataFrame({"seq": [A], "sequence": [B]}), "2 columns that may hold"),
    "NaN": (
        pd.DataFrame({"sequence": [A, np.nan]}),
        r"row 2 of column 'sequence' is missing \(nan",
    ),
    "None in a table": (
        FRAME.set_index("ID").replace(B, None),
        r"row 2 \(index 'P2'\) of column 'Sequence'",
    ),
    "NA": (pd.Series([A, pd.NA], index=["x", "y"], dtype="string"), r"row 2 \(index 'y'\) is miss"),
    "no ID": (FRAME.replace("P1", None), "the ID in row 1 of column 'ID' is missing"),
    "numbers in a column": (pd.DataFrame({"sequence": [A, 5]}), "row 2 of column 'sequence' is 5"),
    "levels": (FRAME.set_index(["ID", "pH"]), "the index has 2 levels"),
    "Protein of a number": (Protein("a", 5), "the sequence of the protein is 5"),  # type: ignore[arg-type]
    "Seq of a length alone": (Seq(None, 5), "the sequence of the protein is not known"),
    "FASTA text": (">P1\nMKT\n", "begins with '>', as FASTA does"),
    "FASTA text in a list": ([">P1\nMKT\n"], "item 1 is text that begins with '>'"),
    "no file": ("nothing.fasta", "there is no file 'nothing.fasta'; check the path$"),
    "no file in a list": ([demo_fasta(), "nothing.fasta"], "there is no file 'nothing.fasta'"),
    "gaps": ("MK..TV", "if this is an aligned sequence, remove its gaps"),
    "path among sequences": ([A, "x.fasta"], "item 2 is a path .* where a sequence belongs"),
    "folder": (Path(__file__).parent, "is a folder; name the FASTA files in it"),
    "no FASTA": (Path(__file__), "is not FASTA"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_at_the_call(name: str):
    value, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        one_or_many(value)
    assert "\n" not in str(caught.value)


def test_labels_of_rows_are_written_as_they_are():
    for label, shown in ((1.5, r"1\.5"), (True, "True"), (np.int64(7), "7")):
        series = pd.Series([A, None], index=pd.Index(["x", label], dtype=object))
        with pytest.raises(InputError, match=rf"row 2 \(index {shown}\) is missing"):
            one_or_many(series)


@pytest.mark.parametrize("make", [list, tuple, np.array, iter, pd.Series])
def test_the_letters_of_one_sequence_are_told_of(make: Any):
    """They may be many peptides of one residue, so they are not refused."""
    given = make(list(A))
    with pytest.warns(UserWarning, match="'sequence_3' is of one letter.*join them") as caught:
        assert [p.sequence for p in one_or_many(given)[1]] == list(A)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(one_or_many(["M", "K", B])[1])) == 3


def test_the_names_of_columns_are_told_of():
    """Over a table that is iterated over, or as the first row of a file that has them."""
    frame = FRAME[["ID", "Sequence"]]
    for value in (list(frame), iter(frame), frame.columns, [("ID", "Sequence"), *NAMED]):
        with pytest.warns(UserWarning, match="reads like English text"):
            list(one_or_many(value)[1])


def test_an_open_file_is_refused_by_its_name():
    with demo_fasta().open() as handle:
        with pytest.raises(InputError, match=r"give the path of the file, '.*demo\.fasta'"):
            one_or_many(handle)
        assert handle.read(1) == ">"  # nothing was read


def test_an_empty_file_is_refused_at_the_call(tmp_path: Path):
    (tmp_path / "empty.fasta").write_text("")
    with pytest.raises(InputError, match="is empty"):
        one_or_many(tmp_path / "empty.fasta")


def test_later_items_of_a_generator_are_refused_when_they_come():
    _, stream = one_or_many(iter([A, None]))
    assert next(stream).sequence == A
    for _ in range(2):  # and again, rather than end as if all were there
        with pytest.raises(InputError, match="item 2 is None"):
            next(stream)


def test_one_protein_of_many():
    assert one_protein([A], "a page").sequence == A
    assert one_protein(Seq(A), "a page").sequence == A
    with pytest.raises(InputError, match="a page, and 2 are given"):
        one_protein([A, B], "a page")
    with pytest.raises(InputError, match="a page, and none are given"):
        one_protein([], "a page")


letters = st.text(AMINO_ACIDS, min_size=1, max_size=30)
names = st.text(st.characters(categories=["L", "N"], max_codepoint=0x2FF), min_size=1, max_size=12)
records = st.dictionaries(names.map(lambda name: f"{name}_1"), letters, max_size=5)


@pytest.mark.filterwarnings("ignore::esmkit.sequences.remarks.OddSequenceWarning")
@given(records)
def test_whatever_holds_the_same_gives_the_same(table: dict[str, str]):
    """A dict, a table and pairs of the same proteins, in any form, are the same proteins."""
    ids, sequences = list(table), list(table.values())
    frame = pd.DataFrame({"sequence": sequences, "id": ids}, dtype=object)
    expected = list(table.items())
    forms: list[Any] = [
        table,
        frame,
        frame.set_index("id"),
        frame.set_index("id")["sequence"],
        frame.to_records(index=False) if table else frame,
        list(table.items()),
        zip(ids, sequences, strict=True),
        [Protein(*pair) for pair in table.items()],
        [SeqRecord(Seq(s), id=i) for i, s in table.items()],
        pa.table({"sequence": pa.array(sequences, pa.string()), "id": pa.array(ids, pa.string())}),
    ]
    for form in forms:
        assert taken(form) == (False, expected)


anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8).filter(lambda text: "/" not in text and text != "-")
    | st.binary(max_size=4)
    | letters.map(Seq),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.lists(inner, max_size=3).map(iter)
        | st.lists(inner, max_size=2).map(lambda items: pd.Series(items, dtype=object))
    ),
    max_leaves=6,
)


@pytest.mark.filterwarnings("ignore::esmkit.sequences.remarks.OddSequenceWarning")
@given(anything)
def test_anything_is_taken_or_refused_in_one_sentence(value: Any):
    try:
        _, stream = one_or_many(value, on_invalid="replace")
        found = list(itertools.islice(stream, 20))
    except EsmkitError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either answer is right
    else:
        assert all(isinstance(protein, Protein) for protein in found)
