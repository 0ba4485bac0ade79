"""Embedding files: what is written is what is read, by esmkit and by other libraries."""

import csv
import io
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import esmkit
from esmkit.embeddings.reader import EmbeddingFile
from esmkit.embeddings.writers import EMBEDDING_FORMATS, open_writer
from esmkit.errors import MissingDependencyError, OptionError, OutputError
from esmkit.files.arrays import dataset_key, protein_id
from esmkit.files.provenance import provenance_sidecar
from esmkit.files.tables import PIECE_BYTES, ROW_GROUP_BYTES
from esmkit.sequences.proteins import Protein

WIDTH = 5

# in an order that is not alphabetic; each has broken some reader or other
NAMES = [
    *("sp|P69905|HBA", "a/b", "a%b", "a%2Fb", "a%252Fb", ".", "..", "...", "../up", "/root", "z/"),
    *("NA", "nan", "null", "1e5", "007", "True", "", "-", "a,b", 'quo"te', "a\\b", "a;b", "=1+1"),
    *("β-actin", "蛋白", "x" * 300, "a", "a.npy", "a.npy.npy", "__provenance__", "provenance"),
    *("id", "e0", "A", "ID~2", "%", "%%", "%2", "+", "a+b"),
]
NAMES.remove("")  # an ID is never empty


def as_cell(text: str) -> str:
    """Return text as it stands in a CSV, lest a spreadsheet compute it."""
    return f"'{text}" if text.startswith(("-", "+", "=")) else text


Case = tuple[str, list[int]]
CASES: list[Case] = [
    ("protein", [3]),
    ("residue", [3]),
    ("protein", [0, 3]),
    ("residue", [3, 0, 1]),
]
case_ids = ["pooled", "per residue", "pooled, 2 layers", "per residue, 3 layers"]


def example(per: str, layers: list[int], names: list[str] = NAMES) -> dict[str, NDArray]:
    """Random values of every magnitude, in the shape that embed hands to a writer."""
    random = np.random.default_rng(7)
    values = {}
    for number, name in enumerate(names):
        shape = (WIDTH,) if per == "protein" else (1 + number % 4, WIDTH)
        if len(layers) > 1:
            shape = (len(layers), *shape)
        mantissa = random.normal(size=shape)
        values[name] = (mantissa * 10.0 ** random.integers(-30, 30, shape)).astype(np.float32)
    return values


def protein_of(name: str, values: NDArray, per: str) -> Protein:
    length = values.shape[-2] if per == "residue" else 3
    return Protein(name, "NAMK"[:length], f"{name} some “header”")


def provenance_of(per: str, layers: list[int]) -> dict[str, Any]:
    return {"per": per, "layers": layers, "checkpoint": {"name": "tiny"}, "notes": "é\n" * 3}


def write(path: Path, values: dict[str, NDArray], per: str, layers: list[int]) -> Path:
    kind = path.suffix.removeprefix(".")
    provenance = provenance_of(per, layers)
    writer = open_writer(kind, path, provenance, layers=layers, per=per)
    for name, array in values.items():
        writer.add(protein_of(name, array, per), array)
    writer.close()
    if kind == "csv":  # CSV has no place for it: whoever writes the file writes this beside it
        provenance_sidecar(path).write_text(json.dumps(provenance))
    return path


def same_bits(found: NDArray, expected: NDArray) -> bool:
    return (
        found.dtype == np.float32
        and found.shape == expected.shape
        and np.array_equal(found.view(np.uint32), expected.view(np.uint32))
    )


# ---------------------------------------------------------------------------- round trips


@pytest.mark.parametrize(("per", "layers"), CASES, ids=case_ids)
@pytest.mark.parametrize("kind", EMBEDDING_FORMATS)
def test_what_is_written_is_read(tmp_path: Path, kind: str, per: str, layers: list[int]):
    values = example(per, layers)
    with esmkit.read(write(tmp_path / f"x.{kind}", values, per, layers)) as found:
        assert list(found) == list(values)  # every ID as it was, in input order
        assert len(found) == len(values)
        for name, array in values.items():
            assert same_bits(found[name], array), name
            assert name in found
        assert "absent" not in found
        assert found.provenance == provenance_of(per, layers)
        assert found.layers == layers


@pytest.mark.parametrize("kind", EMBEDDING_FORMATS)
def test_unknown_id(tmp_path: Path, kind: str):
    with esmkit.read(write(tmp_path / f"x.{kind}", example("protein", [3]), "protein", [3])) as x:
        for name in ("absent", "a%2Fb%"):
            with pytest.raises(KeyError):
                x[name]


@pytest.mark.parametrize("kind", EMBEDDING_FORMATS)
def test_attributes_say_what_the_format_keeps(tmp_path: Path, kind: str):
    values = example("protein", [3])
    kept = {
        "h5": {"id", "header", "length"},
        "parquet": {"header", "length"},
        "csv": {"header", "length"},
        "npz": set(),
    }
    with esmkit.read(write(tmp_path / f"x.{kind}", values, "protein", [3])) as found:
        for name in values:
            facts = found.attributes(name)
            assert set(facts) == kept[kind]
            expected = {"id": name, "header": f"{name} some “header”", "length": 3}
            assert {key: expected[key] for key in facts} == facts


@given(st.text(min_size=1), st.text(min_size=1))
def test_keys_are_one_to_one(one: str, two: str):
    for name in (one, two, f"{one}.npy"):
        key = dataset_key(name)
        assert protein_id(key) == name
        assert "/" not in key
        assert key.strip(".")
        assert not key.endswith(".npy")
    assert (dataset_key(one) == dataset_key(two)) == (one == two)


@pytest.mark.parametrize(
    ("name", "key"),
    [("sp|P69905|HBA_HUMAN", "sp|P69905|HBA_HUMAN"), ("a/b", "a%2Fb"), ("50%", "50%25")],
)
def test_ordinary_ids_are_their_own_keys(name: str, key: str):
    assert dataset_key(name) == key


@pytest.mark.parametrize("kind", ["npz", "parquet", "csv"])
def test_equal_input_gives_equal_bytes(tmp_path: Path, kind: str):
    values = example("residue", [3])
    one = write(tmp_path / f"one.{kind}", values, "residue", [3])
    two = write(tmp_path / f"two.{kind}", values, "residue", [3])
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("kind", EMBEDDING_FORMATS)
@pytest.mark.parametrize("names", [["007", "7", "1e5"], ["NA", "nan"], ["True", "False"]])
def test_ids_that_look_like_values_stay_names(tmp_path: Path, kind: str, names: list[str]):
    values = example("protein", [3], names)
    with esmkit.read(write(tmp_path / f"x.{kind}", values, "protein", [3])) as found:
        assert list(found) == names
        assert list(found.to_frame().index) == names
        assert all(same_bits(found[name], values[name]) for name in names)


# ---------------------------------------------------------------------------- other readers


@pytest.mark.parametrize(("per", "layers"), CASES, ids=case_ids)
def test_h5_as_h5py_sees_it(tmp_path: Path, per: str, layers: list[int]):
    values = example(per, layers)
    with h5py.File(write(tmp_path / "x.h5", values, per, layers), "r") as file:
        assert list(file) == [dataset_key(name) for name in values]  # input order
        assert list(file)[:4] == ["sp|P69905|HBA", "a%2Fb", "a%25b", "a%252Fb"]
        for dataset, (name, array) in zip(file.values(), values.items(), strict=True):
            assert isinstance(dataset, h5py.Dataset)
            assert dataset.dtype == np.float32
            assert same_bits(np.asarray(dataset), array)
            assert dataset.attrs["id"] == name
            assert dataset.attrs["header"] == f"{name} some “header”"
            assert dataset.attrs["length"] == len(protein_of(name, array, per))
        assert json.loads(str(file.attrs["provenance"])) == provenance_of(per, layers)


def test_h5_holds_long_provenance_and_headers(tmp_path: Path):
    provenance = {"skipped": ["x" * 100] * 2_000}
    assert len(json.dumps(provenance)) > 3 * 65_536
    writer = open_writer("h5", tmp_path / "x.h5", provenance, layers=[1], per="protein")
    header = "P " + "é" * 16_000
    writer.add(Protein("P" * 4_096, "MK", header), np.zeros(3, np.float32))
    writer.close()
    with esmkit.read(tmp_path / "x.h5") as found:
        assert found.provenance == provenance
        assert found.attributes("P" * 4_096)["header"] == header


@pytest.mark.parametrize(("per", "layers"), CASES, ids=case_ids)
def test_npz_as_numpy_sees_it(tmp_path: Path, per: str, layers: list[int]):
    values = example(per, layers)
    path = write(tmp_path / "x.npz", values, per, layers)
    with np.load(path, allow_pickle=False) as file:
        assert file.files == ["__provenance__", *(dataset_key(name) for name in values)]
        for name, array in values.items():
            assert same_bits(file[dataset_key(name)], array)
        assert json.loads(str(file["__provenance__"])) == provenance_of(per, layers)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def expected_rows(values: dict[str, NDArray], per: str, layers: list[int]) -> list[dict]:
    rows = []
    for name, array in values.items():
        protein = protein_of(name, array, per)
        for number, layer in enumerate(layers):
            of_layer = array[number] if len(layers) > 1 else array
            accession = "P69905" if "|P69905|" in name else name
            row = {"id": name, "accession": accession, "header": f"{name} some “header”"}
            row |= {"length": len(protein), "layer": layer}
            if per == "protein":
                rows.append({**row, "vector": of_layer})
                continue
            for index, letter in enumerate(protein.sequence):
                rows.append(
                    {
                        **row,
                        "residue_number": index + 1,
                        "residue": letter,
                        "vector": of_layer[index],
                    }
                )
    return rows


@pytest.mark.parametrize(("per", "layers"), CASES, ids=case_ids)
def test_csv_as_the_csv_module_sees_it(tmp_path: Path, per: str, layers: list[int]):
    values = example(per, layers)
    path = write(tmp_path / "x.csv", values, per, layers)
    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    expected = expected_rows(values, per, layers)
    columns = [f"e{i}" for i in range(WIDTH)]
    assert list(rows[0]) == [*(name for name in expected[0] if name != "vector"), *columns]
    for row, wanted in zip(rows, expected, strict=True):
        vector = np.array([np.float32(row.pop(column)) for column in columns])
        assert same_bits(vector, wanted.pop("vector"))
        for column in ("id", "accession", "header"):
            wanted[column] = as_cell(wanted[column])
        assert row == {name: str(value) for name, value in wanted.items()}


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_every_float32_survives_csv(bits: list[int]):
    vector = np.array(bits, np.uint32).view(np.float32)
    vector = vector[np.isfinite(vector)]
    if not vector.size:
        return
    text = io.StringIO()
    writer = open_writer("csv", text, {}, layers=[1], per="protein")
    writer.add(Protein("P", "MK"), vector)
    writer.close()
    words = text.getvalue().splitlines()[1].split(",")[5:]
    assert same_bits(np.array([np.float32(word) for word in words]), vector)
    table = pandas.read_csv(io.StringIO(text.getvalue()))  # as people will read it
    assert same_bits(table.iloc[0, 5:].to_numpy(np.float32), vector)


@pytest.mark.parametrize(("per", "layers"), CASES, ids=case_ids)
def test_parquet_as_pyarrow_sees_it(tmp_path: Path, per: str, layers: list[int]):
    values = example(per, layers)
    table = pyarrow.parquet.read_table(write(tmp_path / "x.parquet", values, per, layers))
    assert table.schema.field("embedding").type == pyarrow.list_(pyarrow.float32(), WIDTH)
    assert json.loads(table.schema.metadata[b"provenance"]) == provenance_of(per, layers)
    for row, wanted in zip(table.to_pylist(), expected_rows(values, per, layers), strict=True):
        vector = np.array(row.pop("embedding"), np.float32)
        assert same_bits(vector, wanted.pop("vector"))
        assert row == wanted


def test_parquet_of_several_row_groups(tmp_path: Path):
    values = {f"P{i}": np.full(2, i, np.float32) for i in range(6_000)}
    path = write(tmp_path / "x.parquet", values, "protein", [3])
    each = ROW_GROUP_BYTES // (PIECE_BYTES + 60)  # a row of two values takes some 60 bytes
    groups = pyarrow.parquet.ParquetFile(path)
    sizes = [groups.metadata.row_group(n).num_rows for n in range(groups.num_row_groups)]
    assert len(sizes) == 3
    assert sum(sizes) == 6_000
    assert sizes[:2] == [pytest.approx(each, rel=0.02)] * 2
    with esmkit.read(path) as found:
        assert {name: array.tolist() for name, array in found.items()} == {
            f"P{i}": [i, i] for i in range(6_000)
        }


def test_row_groups_of_wide_rows_are_bounded_in_bytes(tmp_path: Path):
    """One protein per residue with many times the size of a row group, and one after it."""
    rows = 4 * ROW_GROUP_BYTES // (4 * 1_280)
    letters = ("ACDEFGHIKL" * rows)[:rows]
    values = np.arange(rows * 1_280, dtype=np.float32).reshape(rows, 1_280)
    path = tmp_path / "x.parquet"
    writer = open_writer("parquet", path, provenance_of("residue", [3]), layers=[3], per="residue")
    writer.add(Protein("long", letters, "long"), values)
    writer.add(Protein("short", "MK", "short"), values[:2] + 1)
    writer.close()
    groups = pyarrow.parquet.ParquetFile(path)
    sizes = [groups.metadata.row_group(n).num_rows for n in range(groups.num_row_groups)]
    assert max(sizes) * 1_280 * 4 <= 1.1 * ROW_GROUP_BYTES
    assert sum(sizes) == rows + 2
    with esmkit.read(path) as found:
        assert same_bits(found["long"], values)
        assert same_bits(found["short"], values[:2] + 1)


# ---------------------------------------------------------------------------- pandas


@pytest.mark.parametrize("kind", EMBEDDING_FORMATS)
@pytest.mark.parametrize(("per", "layers"), CASES, ids=case_ids)
def test_frame_has_a_row_per_protein_layer_and_residue(tmp_path, kind, per, layers):
    values = example(per, layers)
    with esmkit.read(write(tmp_path / f"x.{kind}", values, per, layers)) as found:
        frame = found.to_frame()
    expected = expected_rows(values, per, layers)
    levels = ["id", *["layer"] * (len(layers) > 1), *["residue_number"] * (per == "residue")]
    assert list(frame.index.names) == levels
    keys = [tuple(row[level] for level in levels) for row in expected]
    assert list(frame.index) == (keys if len(levels) > 1 else [key[0] for key in keys])
    assert list(frame.columns) == ["accession", "header", *range(WIDTH)]
    assert list(frame["accession"]) == [row["accession"] for row in expected]
    if kind == "npz":  # which has no place for it
        assert frame["header"].isna().all()
    else:
        assert list(frame["header"]) == [row["header"] for row in expected]
    vectors = np.stack([row["vector"] for row in expected])
    assert same_bits(frame.loc[:, 0:].to_numpy(), vectors)
    with esmkit.read(tmp_path / f"x.{kind}") as found:
        numbers = found.to_frame(facts=False)
    assert list(numbers.columns) == list(range(WIDTH))
    assert numbers.index.equals(frame.index)
    assert same_bits(numbers.to_numpy(), vectors)


@pytest.mark.parametrize(("per", "layers"), CASES, ids=case_ids)
def test_csv_from_standard_output_has_the_same_frame(tmp_path: Path, per, layers):
    path = write(tmp_path / "x.csv", example(per, layers), per, layers)
    frames = []
    for _ in range(2):
        with esmkit.read(path) as found:
            frames.append(found.to_frame())
            assert found.layers == layers
        provenance_sidecar(path).unlink(missing_ok=True)
    pandas.testing.assert_frame_equal(*frames)


# ---------------------------------------------------------------------------- errors


def test_missing_file(tmp_path: Path):
    for path, said in (
        (tmp_path / "no.h5", "there is no file {!r}; check the path"),
        (tmp_path, "{!r} is a folder, and none of `esmkit embed --engine ray`; name a file in it"),
        (
            Path("/dev/null"),
            "{!r} is a stream, which cannot be read twice; save it to a file first",
        ),
    ):
        with pytest.raises(OutputError, match=f"^{re.escape(said.format(str(path)))}$"):
            esmkit.read(path)


def test_suffix_in_capitals(tmp_path: Path):
    path = write(tmp_path / "x.h5", {"P": np.zeros(3, np.float32)}, "protein", [3])
    with esmkit.read(path.rename(tmp_path / "X.H5")) as found:
        assert list(found) == ["P"]


@pytest.mark.parametrize("kind", ["h5", "npz", "parquet"])
def test_file_cut_short(tmp_path: Path, kind: str):
    path = write(tmp_path / f"x.{kind}", example("protein", [3]), "protein", [3])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(OutputError, match=r" is not a file of embeddings, or is damaged \("):
        esmkit.read(path)


def test_unknown_format(tmp_path: Path):
    with pytest.raises(OptionError, match=r"^format is h5, parquet, npz, csv, not 'xlsx'$"):
        open_writer("xlsx", tmp_path / "x", {}, layers=[1], per="protein")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "x.parquet", example("protein", [3]), "protein", [3])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    wanted = (
        r"^Parquet files need pyarrow, which is not installed; install it with "
        r'`pip install "esmkit\[parquet\]"`, or use another format$'
    )
    with pytest.raises(MissingDependencyError, match=wanted):
        open_writer("parquet", tmp_path / "y.parquet", {}, layers=[1], per="protein")
    with pytest.raises(MissingDependencyError, match=wanted):
        esmkit.read(path)


def test_repr_names_file_and_checkpoint(tmp_path: Path):
    path = write(tmp_path / "x.h5", {"P": np.zeros(3, np.float32)}, "protein", [3])
    with esmkit.read(path) as found:
        assert isinstance(found, EmbeddingFile)
        assert repr(found) == "EmbeddingFile(x.h5: 1 proteins, tiny)"


def test_csv_shows_what_a_terminal_would_obey():
    """The table goes to standard output with ``-o -``; a header holds whatever a file holds."""
    text = io.StringIO()
    writer = open_writer("csv", text, {}, layers=[6], per="protein")
    writer.add(Protein("P1", "MK", "P1\x01P2 a\tb\x1b[2Jc"), np.zeros(2, np.float32))
    writer.close()
    assert text.getvalue().split("\n")[1].split(",")[2] == "P1[U+0001]P2 a\tb[U+001B][2Jc"
