"""Command lines of every command, from its own options, and what each leaves behind."""

import contextlib
import io
import os
import random
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from damage import ODD
from grammars import CORPUS

from esmkit.cli import cli, main
from esmkit.encoder.checkpoints import fetch
from esmkit.errors import CheckpointError, EsmkitError
from oracles.checkpoints import SHAPES, make_checkpoint, random_sequence
from oracles.commands import Done
from oracles.structure_files import chain_lines

__all__ = ["a_command_line", "commands", "workplace"]

NUMBERS = (
    *(
        "0",
        "1",
        "2",
        "3",
        "5",
        "20",
        "-1",
        "1.5",
        "1e3",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "+1",
        " 1 ",
    ),
    *("9" * 20, "-" + "9" * 20, "1" * 5_000, "0x10", "1_0", "\u0663", "\u00b2", "", "one"),
)
WORDS = ("all", "auto", "", " ", ",", "-", "--", "..", "/", "x" * 300, "\u202e", "\x1b[2J", "é")
GOOD: dict[str, tuple[str, ...]] = {
    "--layers": ("0", "1", "all", "0,1", "-1"),
    "--heads": ("L0H0", "L1H3", "L0", "L0H0,L1H1"),
    "--plot-heads": ("L0H0", "L1H3"),
    "--max-bytes": ("10GB", "100MB"),
    "--residues": ("5", "K3", "2-4", "2-4,7"),
    "--mark": ("5", "2-4", "3,5"),
    "--zoom": ("2-9", "1-5"),
    "--domains": ("first=1-5", "a=1-5,b=6-9", "good.tsv"),
    "--reduce": ("entropy", "offsets", "special"),
    "--keep": ("L0.residual", "final", "L1H2.output"),
    "--edit": ("L0H1.output=zero", "L0.weights=zero"),
    "--id": ("A", "B"),
    "--only": ("head-L5H4",),
    "--mutations": ("good.csv", "M1A", "M1A,K2A"),
    "--mutant-column": ("mutant",),
    "--measured": ("DMS_score",),
    "--device": ("cpu", "auto"),
    "--against": ("good.h5", "good.npz", "theirs.csv"),
    "--top": ("1", "5"),
    "--structure": ("good.pdb", "good.pdb:A"),
    "--output": ("new",),
    "--plot": ("new-figures",),
}
"""Values that are right, which three in four are."""

VALUES: dict[str, tuple[str, ...]] = {
    "--layers": ("0", "1", "all", "0,1", "-1", "1,0", "0,0", "9", "0-2", "0;1", *NUMBERS),
    "--heads": ("L0H0", "L1H3", "L0", "l1h3", "L0H0,L0H0", "L9H9", "H0", "L\u0660H0", *WORDS),
    "--plot-heads": ("L0H0", "L1", "all", "L9H9", *WORDS),
    "--max-bytes": ("10GB", "1 kB", "-1GB", "1e300TB", "GB", "nanGB", "10 bananas", *NUMBERS),
    "--residues": ("5", "K3", "2-4", "2-4,7", "9999", "0", "A:3", *WORDS, *NUMBERS),
    "--mark": ("5", "K3,2-4", "B:2", "9999", *WORDS),
    "--zoom": ("2-9", "1..5", "5", "9-2", "1-99999", *WORDS),
    "--domains": (
        "first=1-5",
        "a=1-5,b=3-9",
        "a=9-1",
        "good.tsv",
        "good.fasta",
        "none.tsv",
        *WORDS,
    ),
    "--reduce": ("entropy", "all", "offsets,special", "entropy,entropy", "none", *WORDS),
    "--keep": ("L0.residual", "final", "L1H2.output", "L*.weights", "all", "L9.query", *WORDS),
    "--edit": (
        "L0H1.output=zero",
        "L0.weights=zero",
        "final=mean",
        "=",
        "L0H1.output=1e999",
        *WORDS,
    ),
    "--id": ("A", "B", "C", "P60137", *WORDS),
    "--only": ("head-L5H4", "proteingym,golden-logits", "none", *WORDS),
    "--mutations": (
        "good.csv",
        "A1C",
        "M1A,K2A",
        "K3R:R5A",
        "good.fasta",
        "none.csv",
        "folder",
        *WORDS,
    ),
    "--mutant-column": ("mutant", "DMS_score", "none", *WORDS),
    "--measured": ("DMS_score", "mutant", "none", *WORDS),
    "--device": ("auto", "cpu", "cuda", "cuda:99", "cpu:7", "meta", "mps", "tpu", *WORDS),
    "--against": (
        "good.h5",
        "good.npz",
        "theirs.csv",
        "good.fasta",
        "odd.h5",
        "none.h5",
        "folder",
        *WORDS,
    ),
    "--top": ("1", "L", "L/2", "2L", "L/0", "5", *NUMBERS, *WORDS),
    "--on-structure": ("html", "pymol", "chimerax", *WORDS),
    "--structures": ("folder", "none", "good.pdb", "good.fasta", ""),
    "--model": (),
}
FASTAS = (
    *("good.fasta",) * 40,
    *(
        "long.fasta",
        "odd.fasta",
        "none.fasta",
        "-",
        ".",
        "/dev/null",
        "",
        "good.pdb",
        "packed.fasta.gz",
    ),
)
INPUTS = (
    "good.pdb",
    "good.pdb:A",
    "good.pdb:Z",
    "good.fasta",
    "good.csv",
    "none",
    "chains",
    "folder",
    "",
)
OUTPUTS = (
    *("new.h5", "new.csv", "new.npz", "new.parquet", "new.tsv", "new.html", "new", "-", "there.h5"),
    *(
        "folder",
        "no/such/new.h5",
        "",
        ".",
        "/",
        "y" * 300 + ".h5",
        "good.fasta",
        "new.H5",
        "new.h5.work",
    ),
)
MODELS = (
    *("MODEL",) * 80,
    *(
        "none",
        "folder",
        "good.fasta",
        "facebook/nothing",
        "",
        "esm2_t6_8M_UR50D",
        "../x",
        "x" * 300,
    ),
)
SLOW = {
    "heads": {"--structures": ("folder", "none", "good.pdb", "good.fasta", "")},
    "reproduce": {"--structures": ("folder", "none", "good.pdb", "")},
    "contacts evaluate": {"--structures": ("chains", "folder", "none", "good.pdb", "")},
    "contacts fit": {"--structures": ("chains", "folder", "none", "good.pdb", "")},
    "score fit": {"--epochs": ("1", "0", "x"), "--draws": ("1", "0", "-1")},
}
"""Options without which a command would take the structures that come with esmkit, or minutes."""

NEVER = {"--engine", "--address", "--num-workers", "--cpus-per-worker", "--gpus-per-worker"} | {
    *("--range-size", "--compile", "--wheel")
}
"""Options of a cluster, of a compiler and of a package index, which are no part of this."""


def commands() -> dict[str, click.Command]:
    """Return every command that can be run, by its words."""
    found: dict[str, click.Command] = {}

    def look(command: click.Command, words: tuple[str, ...]) -> None:
        if words and not (isinstance(command, click.Group) and not command.params):
            found[" ".join(words)] = command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                look(inner, (*words, name))

    look(cli, ())
    return found


def _value(option: click.Option, chance: random.Random) -> str:
    name = max(option.opts, key=len)
    if chance.randrange(4) and name in GOOD:
        return chance.choice(GOOD[name])
    if chance.randrange(4) and isinstance(option.type, click.IntRange):
        return str(max(option.type.min or 0, 1))
    if name in VALUES:
        return chance.choice(VALUES[name])
    if isinstance(option.type, click.Choice):
        known = [str(choice) for choice in option.type.choices]
        return chance.choice([*known * 8, "", "x", known[0].upper()])
    if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
        return chance.choice(NUMBERS)
    if name in ("--output", "--plot", "--merge"):
        return chance.choice(OUTPUTS)
    return chance.choice((*INPUTS, *WORDS))


def a_command_line(chance: random.Random, known: dict[str, click.Command]) -> list[str]:
    """Return a command with options of its own, and sometimes a word that is out of place."""
    name = chance.choice([*known])
    command, words = known[name], name.split()
    parameters = [p for p in command.params if isinstance(p, click.Option)]
    options = [p for p in parameters if not NEVER & set(p.opts)]
    if any("--model" in p.opts for p in options):
        words += ["--model", chance.choice(MODELS)]
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    if arguments and chance.randrange(12):
        where = (
            FASTAS
            if arguments[0].name == "fasta"
            else ("folder", "none", "good.fasta", *MODELS[80:])
        )
        words += chance.choices(
            where, k=chance.choice((1, 1, 1, 2)) if arguments[0].nargs < 0 else 1
        )
    for option, values in SLOW.get(name, {}).items():
        words += [option, chance.choice(values)]
    if name == "verify" and chance.randrange(3):
        words += ["--against", chance.choice(VALUES["--against"])]
    taken = {word for word in words if word.startswith("--")}
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        if not options:
            break
        option = chance.choice(options)
        if taken & set(option.opts) and not option.multiple:
            continue
        taken |= set(option.opts)
        words.append(chance.choice([*option.opts, *option.secondary_opts]))
        if not option.is_flag:
            words.append(_value(option, chance))
    if not chance.randrange(12):
        odd = chance.choice((*WORDS, *NUMBERS, *ODD[:30], "--help", "-x", "--version", "--force=1"))
        words.insert(chance.randrange(len(words) + 1), odd)
    return words


# ---------------------------------------------------------------------------- running them


def _fill(folder: Path) -> None:
    """Write the files that the command lines name."""
    import h5py
    import numpy as np

    for name in ("folder", "full", "chains"):
        (folder / name).mkdir(parents=True)
    (folder / "full" / "somebody's").write_text("precious")
    (folder / "there.h5").write_text("precious")
    (folder / "good.fasta").write_text(">A\nMKTVRQERLKSA\n>B x\nACDEFGHIKLMNPQRSTVWY\n")
    (folder / "long.fasta").write_text(f">L\n{random_sequence(1_030, 1)}\n")
    for name in ("odd.fasta", "packed.fasta.gz"):
        source = {"odd.fasta": "alignment_dashes.fasta"}.get(name, name)
        shutil.copy(CORPUS / source, folder / name)
    for path in (folder / "good.pdb", folder / "chains" / "one.pdb", folder / "chains" / "two.pdb"):
        path.write_text("\n".join(chain_lines("ACDEFGHIKLMNPQRS")))
    (folder / "good.csv").write_text("mutant,DMS_score\nM1A,0.5\nK2R:T3A,-1\n")
    (folder / "good.tsv").write_text("id\tname\tstart\tend\nA\tfirst\t1\t5\n")
    vectors = {name: np.linspace(n, n + 1, 32, dtype=np.float32) for n, name in enumerate("AB")}
    np.savez(folder / "good.npz", A=vectors["A"], B=vectors["B"])
    for name, odd in (("good.h5", False), ("odd.h5", True)):
        with h5py.File(folder / name, "w") as file:
            for key, vector in vectors.items():
                file[key] = np.stack([vector, vector]) if odd and key == "A" else vector
    rows = [",".join([key, *map(str, vector)]) for key, vector in vectors.items()]
    head = ",".join(["id", *(f"e{n}" for n in range(32))])
    (folder / "theirs.csv").write_text("\n".join([head, *rows]) + "\n")


class Workplace:
    """A folder with files, a tiny model outside of it, and no network."""

    def __init__(self, root: Path) -> None:
        self.root, self.kept, self.place = root, root / "kept", root / "work"
        self.model = make_checkpoint(root / "tiny", SHAPES[0], lm_head=True)
        self.kept.mkdir()
        _fill(self.kept)
        self.known = commands()

    def run(self, arguments: list[str]) -> Done:
        """Run ``esmkit`` in this process."""
        before, stopped = warnings.showwarning, signal.signal
        streams = sys.stdin, sys.stdout, sys.stderr, sys.argv
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        sys.stdin = io.TextIOWrapper(io.BytesIO(b">S\nMKTVRQ\n" * ("-" in arguments)), "utf-8")
        sys.stdout, sys.stderr, sys.argv = out, err, ["esmkit", *arguments]
        there = Path.cwd()
        os.chdir(self.place)
        code: Any = None
        try:
            signal.signal = lambda *_: None
            with warnings.catch_warnings():
                main()
        except SystemExit as end:
            code = end.code
        finally:
            os.chdir(there)
            signal.signal = stopped
            warnings.showwarning = before
            sys.stdin, sys.stdout, sys.stderr, sys.argv = streams
        texts = [stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)]
        return Done(int(code or 0), *texts)

    def check(self, arguments: list[str]) -> None:
        """Run a command line on fresh files, and see what it left.

        Raises
        ------
        EsmkitError
            The sentence of a command that failed as it should.
        """
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.kept, self.place)
        given = [word.replace("MODEL", str(self.model)) for word in arguments]
        given = [word.replace("\0", "") for word in given]  # which no word of a command can hold
        done = self.run(given)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (0, 1, 2), done
        if "--force" not in given:
            for name in ("there.h5", "full/somebody's"):
                assert (self.place / name).read_text() == "precious", name
            for path in self.kept.rglob("*"):
                there = self.place / path.relative_to(self.kept)
                assert path.is_dir() or there.read_bytes() == path.read_bytes(), path.name
        outside = {path.name for path in self.root.iterdir()}
        assert outside <= {"kept", "work", "tiny", "cache"}, outside
        if done.returncode:
            lines = [x for x in done.stderr.splitlines() if "error:" in x.lower()]
            if not lines and "verify" in given:  # its table is the reason
                raise EsmkitError("the files differ: the table of `verify` says where and how much")
            assert len(lines) == 1, done.stderr
            raise EsmkitError(lines[0][:1_900])  # words of the command line may be long


@contextlib.contextmanager
def workplace(root: Path) -> Iterator[Callable[[list[str]], None]]:
    """Return what runs and checks a command line, with no package index and no Hub in reach."""

    def no_index(*_: object) -> Path:
        raise CheckpointError("there is no package index in this test; that is as it should be")

    replaced = [(fetch, "_pip_download", no_index), (fetch, "hub_cached", lambda *_: None)]
    replaced.append((fetch, "hub_answers", lambda *_, **__: False))
    kept = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    cache = os.environ.get("ESMKIT_CACHE")
    os.environ["ESMKIT_CACHE"] = str(root / "cache")
    try:
        for module, name, value in replaced:
            setattr(module, name, value)
        yield Workplace(root).check
    finally:
        for module, name, value in kept:
            setattr(module, name, value)
        if cache is None:
            del os.environ["ESMKIT_CACHE"]
        else:
            os.environ["ESMKIT_CACHE"] = cache
