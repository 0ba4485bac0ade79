"""What the benchmark of variants reads out of a wheel: a sheet of a workbook, and text of a source."""

import ast
import io
import zipfile
from pathlib import Path

import pandas
import pytest

from benchmarks import variants

SPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def workbook() -> bytes:
    """A workbook of two sheets, as Excel writes them: shared texts, numbers, holes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(
            "xl/sharedStrings.xml",
            f"<sst {SPACE}><si><t>variant</t></si><si><r><t>sc</t></r><r><t>ore</t></r></si>"
            "<si><t>A2G</t></si></sst>",
        )
        archive.writestr(
            "xl/workbook.xml",
            f"<workbook {SPACE}><sheets><sheet name='other'/><sheet name='bla'/></sheets></workbook>",
        )
        archive.writestr(
            "xl/worksheets/sheet2.xml",
            f"<worksheet {SPACE}><sheetData>"
            '<row><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'
            '<row><c r="A2" t="s"><v>2</v></c><c r="B2"><v>-0.5</v></c></row>'
            '<row><c r="A3" t="s"><v>2</v></c><c r="B3"/></row>'
            "</sheetData></worksheet>",
        )
    return made.getvalue()


def test_a_sheet_is_read():
    found = variants.sheet(workbook(), "bla")
    assert found.columns.tolist() == ["variant", "score"]
    assert found.score.tolist()[0] == "-0.5"
    assert found.score.isna().tolist() == [False, True]


def test_text_is_taken_from_a_source_that_is_not_run():
    source = ast.parse("def f():\n    wild = 'MK' + 'TA' + 'Y'\n    raise SystemExit")
    assert variants.text_of(source, "wild") == "MKTAY"
    with pytest.raises(SystemExit, match="there is no other"):
        variants.text_of(source, "other")


def test_another_wheel_is_refused(tmp_path: Path):
    (tmp_path / "x.whl").write_bytes(b"PK")
    with pytest.raises(SystemExit, match="is not mutagenesis-visualization"):
        variants.members(tmp_path / "x.whl")


def test_the_table_of_the_docs():
    row = {"prediction": "pllr", "spearman": 0.3491, "low": 0.3, "high": 0.4, "ndcg": 0.7}
    table = pandas.DataFrame([{**row, "top_recall": 0.1}])
    assert variants.markdown(table).splitlines()[-1] == (
        "| pllr | 0.349 | 0.300 to 0.400 | 0.700 | 0.100 |"
    )
