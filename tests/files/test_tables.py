"""Tables on disk: one writer of CSV and TSV, one of Parquet, whatever the rows come as."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from esmkit.errors import OptionError, OutputError
from esmkit.files.tables import (
    ROW_GROUP_BYTES,
    ParquetTable,
    TextTable,
    open_table,
    without_formulas,
    write_table,
)

TABLE: Any = pandas.DataFrame(
    {
        "id": ["P1", "=1+1", 'a,"b"\tc', None],
        "score": np.array([0.1, 1e-7, 2.5, np.nan], np.float32),
        "n": [1, -2, 3, 4],
    }
)

# Written by hand: float32 in the fewest digits, a quote before the formula, cells with a separator
# or a quote in quotes, nothing for what is missing.
CSV = 'id,score,n\nP1,0.1,1\n\'=1+1,1e-07,-2\n"a,""b""\tc",2.5,3\n,,4\n'
TSV = 'id\tscore\tn\nP1\t0.1\t1\n\'=1+1\t1e-07\t-2\n"a,""b""\tc"\t2.5\t3\n\t\t4\n'


@pytest.mark.parametrize(("kind", "expected"), [("csv", CSV), ("tsv", TSV)])
def test_text_is_the_same_from_pandas_at_once_and_in_pieces(tmp_path: Path, kind, expected):
    write_table(tmp_path / "whole", TABLE, kind)
    with open_table(kind, tmp_path / "pieces", {}) as writer:
        writer.add(TABLE[:1])
        writer.add(TABLE[1:])
    assert (tmp_path / "whole").read_bytes() == expected.encode()
    assert (tmp_path / "pieces").read_bytes() == expected.encode()
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "pieces"}


@pytest.mark.parametrize(("kind", "expected"), [("csv", CSV), ("tsv", TSV)])
def test_rows_of_cells_are_the_text_of_pandas(kind, expected):
    text = io.StringIO()
    with TextTable(text, kind) as writer:
        rows = list(zip(*(TABLE[name] for name in ("id", "score", "n")), strict=True))[:3]
        writer.add_rows(list(TABLE), ((name, np.float32(score), n) for name, score, n in rows))
    assert not text.closed  # who opened a stream closes it
    assert text.getvalue() == expected[: text.tell()]
    assert text.getvalue().count("\n") == 4


def test_a_table_without_formulas_is_not_copied():
    plain = pandas.DataFrame({"id": ["P1", "P2"], "n": [-1, 2]})
    assert without_formulas(plain) is plain
    safe = without_formulas(TABLE)
    assert safe["id"].tolist()[:3] == ["P1", "'=1+1", 'a,"b"\tc']
    assert TABLE["id"][1] == "=1+1"


def test_text_that_cannot_be_written_leaves_the_old_table(tmp_path: Path):
    path = tmp_path / "x.csv"
    write_table(path, TABLE)
    with pytest.raises(OutputError, match=r"cannot write to .*nowhere"):
        write_table(tmp_path / "nowhere" / "x.csv", TABLE)
    (tmp_path / "x.csv.tmp").mkdir()  # where the new one would be written first
    with pytest.raises(OutputError, match="cannot write to"):
        write_table(path, TABLE[:1])
    assert path.read_bytes() == CSV.encode()


def test_parquet_from_pandas_and_from_arrow_is_one_table(tmp_path: Path):
    rows = TABLE[["score", "n"]]
    with open_table("parquet", tmp_path / "pandas", {"task": "t"}) as writer:
        writer.add(rows[:1])
        writer.add(rows[1:])
    stream = io.BytesIO()
    with ParquetTable(stream, {"provenance": '{"task": "t"}'}) as writer:
        writer.add_arrow(pyarrow.Table.from_pandas(rows, preserve_index=False))
    assert not stream.closed
    one = pyarrow.parquet.read_table(tmp_path / "pandas")
    other = pyarrow.parquet.read_table(io.BytesIO(stream.getvalue()))
    assert one.equals(other, check_metadata=True)
    assert one.schema.metadata == {b"provenance": b'{"task": "t"}'}
    assert one.to_pandas().equals(rows)


def test_parquet_writes_while_rows_come(tmp_path: Path):
    rows = pandas.DataFrame({"x": np.arange(ROW_GROUP_BYTES // 16, dtype=np.int64)})
    writer = ParquetTable(tmp_path / "x.parquet", {})
    writer.add(rows)
    assert not (tmp_path / "x.parquet").exists()
    writer.add(rows)  # a row group is full
    assert (tmp_path / "x.parquet").exists()
    writer.add(rows)
    writer.close()
    found = pyarrow.parquet.ParquetFile(tmp_path / "x.parquet")
    assert found.num_row_groups == 2
    assert found.read()["x"].to_pylist() == [*range(len(rows))] * 3


def test_parquet_of_no_rows_has_its_columns():
    stream = io.BytesIO()
    with ParquetTable(stream, {}) as writer:
        writer.add_arrow(pyarrow.table({"x": pyarrow.array([], pyarrow.int32())}))
    assert pyarrow.parquet.read_table(io.BytesIO(stream.getvalue())).schema.names == ["x"]


def test_kinds_of_tables(tmp_path: Path):
    with pytest.raises(OptionError, match="a table is csv, tsv or parquet, not 'xlsx'"):
        open_table("xlsx", tmp_path / "x", {})
    with pytest.raises(OptionError, match="a table is csv, tsv or parquet, not 'parquet'"):
        open_table("parquet", io.StringIO(), {})
