"""How esmkit grows: memory with the number of proteins, time and memory with length, threads, start-up.

python -m benchmarks memory length threads startup
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import IO

import numpy as np

from benchmarks.harness import Result, ratios, run_in_turn, table
from benchmarks.proteome import proteome, write_fasta
from esmkit.sequences.proteins import Protein

COUNTS = (1_000, 10_000, 100_000)
LENGTHS = (128, 256, 512, 1_024, 2_048, 4_096)
SHORT = (8, 16)
"""Residues of the pieces of which there are many: so short that 100,000 of them take minutes."""

NAME = "esmkit embed"

Work = Callable[[], None]


def pieces(count: int, *, seed: int = 0) -> list[Protein]:
    """Return short, different pieces of the proteome's proteins."""
    text = "".join(protein.sequence.rstrip("*") for protein in proteome())
    random = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        start, length = int(random.integers(len(text) - SHORT[1])), int(random.integers(*SHORT))
        found[text[start : start + length]] = None
    return [Protein(id=f"s{n}", header=f"s{n}", sequence=piece) for n, piece in enumerate(found)]


def memory(rounds: int, *, most: int = COUNTS[-1]) -> list[str]:
    """Peak memory of ``esmkit embed`` for more and more proteins."""
    chosen = {count: pieces(count) for count in COUNTS if count <= most}
    runs: dict[int, list[Result]] = {count: [] for count in chosen}
    with tempfile.TemporaryDirectory() as folder:
        for count, proteins in chosen.items():
            write_fasta(proteins, Path(folder) / f"{count}.fasta")
        for _ in range(rounds):
            for count, of_count in runs.items():
                given: dict[str, object] = {"fasta": str(Path(folder) / f"{count}.fasta")}
                of_count += run_in_turn("benchmarks.embed", [NAME], given, 1)[NAME]
    lines = ["| proteins | residues | seconds | peak memory | times the first | above the model |"]
    lines.append("|---|---|---|---|---|---|")
    first = [run.total_bytes for run in runs[COUNTS[0]]]
    for count, of_count in runs.items():
        total = [run.total_bytes for run in of_count]
        times = [b / a for a, b in zip(first, total, strict=True)]
        lines.append(
            f"| {count:,} | {sum(map(len, chosen[count])):,} "
            f"| {median(run.seconds for run in of_count):.1f} | {median(total) / 1e6:.0f} MB "
            f"| {median(times):.2f} ({min(times):.2f} to {max(times):.2f}) "
            f"| {median(run.peak_bytes for run in of_count) / 1e6:.0f} MB |"
        )
    return lines


def one_length(residues: int) -> str:
    """Return a sequence of that length: real proteins, end to end."""
    text = "".join(protein.sequence.rstrip("*") for protein in proteome(40))
    return text[:residues]


def esmkit_whole(folder: Path, residues: int) -> Work:
    """``Esm2.embed`` of one sequence, in one piece."""
    import esmkit

    model = esmkit.load()
    model.embed("MKTVRQERLKSIVRILERSKEPVSGAQ")
    sequence = one_length(residues)

    def work() -> None:
        model.embed(sequence, long="whole", residues=False)

    return work


def _hugging_face(residues: int, attention: str) -> Work:
    import torch
    from transformers import EsmModel

    from esmkit.encoder.checkpoints import resolve
    from esmkit.sequences.tokens import encode

    network = EsmModel.from_pretrained(
        resolve("auto").folder, add_pooling_layer=False, attn_implementation=attention
    ).eval()
    ids = torch.from_numpy(encode(one_length(residues)))[None]

    def work() -> None:
        with torch.no_grad():
            network(ids).last_hidden_state[0, 1:-1].mean(0)

    with torch.no_grad():
        network(ids[:, :30])
    return work


def sdpa_whole(folder: Path, residues: int) -> Work:
    """Hugging Face with SDPA."""
    return _hugging_face(residues, "sdpa")


def eager_whole(folder: Path, residues: int) -> Work:
    """Hugging Face with eager attention."""
    return _hugging_face(residues, "eager")


PROGRAMS: dict[str, Callable[..., Work]] = {
    "esmkit": esmkit_whole,
    "Hugging Face, SDPA": sdpa_whole,
    "Hugging Face, eager": eager_whole,
}


def length(rounds: int) -> list[str]:
    """Time and memory of one sequence of more and more residues."""
    lines = []
    for residues in LENGTHS:
        lines += ["", f"{residues:,} residues:", ""]
        results = run_in_turn("benchmarks.scaling", list(PROGRAMS), {"residues": residues}, rounds)
        lines += table(results, "esmkit")
    return lines


def threads(rounds: int, *, count: int = 100) -> list[str]:
    """``esmkit embed`` with one thread and with two, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = proteome(count)
        fasta = str(write_fasta(chosen, Path(folder) / "in.fasta"))
        given: dict[str, object] = {"fasta": fasta}
        one, two = [], []
        for _ in range(rounds):
            for number, runs in ((1, one), (2, two)):
                done = run_in_turn("benchmarks.embed", [NAME], given, 1, threads=number)
                runs.append(done[NAME][0].seconds)
    residues = sum(map(len, chosen))
    return [
        "| threads | seconds | residues/s | times slower than two |",
        "|---|---|---|---|",
        *(
            f"| {number} | {median(runs):.1f} | {residues / median(runs):,.0f} "
            f"| {ratios(two, runs)} |"
            for number, runs in ((1, one), (2, two))
        ),
    ]


@contextmanager
def at_a_terminal(command: list[str]) -> Iterator[IO[bytes]]:
    """Run a command whose standard error is a terminal; yield what is shown there."""
    ours, theirs = os.openpty()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs):
        os.close(theirs)
        with os.fdopen(ours, "rb", buffering=0) as screen:
            yield screen
            with suppress(OSError):  # which is how a terminal ends
                while screen.read(4096):
                    pass


def startup(rounds: int) -> list[str]:
    """Whole processes from their start to their end."""
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder) / "one.fasta"
        fasta.write_text(">p\nMKTVRQERLKSIVRILERSKEPVSGAQ\n")
        esmkit = [sys.executable, "-m", "esmkit"]
        out = ["-o", str(Path(folder) / "one.h5"), "--force", "-q"]
        commands = {
            "`esmkit --help`": [*esmkit, "--help"],
            "`python -c 'import torch, transformers'`": [
                *(sys.executable, "-c", "import torch, transformers.models.esm.modeling_esm")
            ],
            "`esmkit embed` of one sequence": [*esmkit, "embed", str(fasta), *out],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                begun = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                seconds[name].append(time.perf_counter() - begun)
            begun = time.perf_counter()
            first = "its first word on a terminal"
            with at_a_terminal([*esmkit, "embed", str(fasta), *out[:-1]]) as screen:
                screen.read(1)
                seconds.setdefault(first, []).append(time.perf_counter() - begun)
    lines = ["| process | seconds, median (least to most) |", "|---|---|"]
    for name, runs in seconds.items():
        lines.append(f"| {name} | {median(runs):.2f} ({min(runs):.2f} to {max(runs):.2f}) |")
    parts = "; ".join(f"{name} {spent:.2f} s" for name, spent in import_parts().items())
    return [
        *lines,
        "",
        f"What the second consists of, by `python -X importtime`, which takes some time itself: {parts}. "
        "What follows PyTorch comes with `transformers.models.esm.modeling_esm` alone, whose modules import "
        "each other at their tops; no option of transformers was found that leaves any of it out.",
    ]


def import_parts() -> dict[str, float]:
    """Return the seconds that importing PyTorch and ESM-2's model takes, by what is imported."""
    code = (
        "import torch, sys; sys.stderr.write('and\\n'); import transformers.models.esm.modeling_esm"
    )
    command = [sys.executable, "-X", "importtime", "-c", code]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    parts: dict[str, float] = {}
    first = "PyTorch"
    for line in told.splitlines():
        if line == "and":
            first = "more of PyTorch for transformers"
        found = re.match(r"import time: +(\d+) \| +\d+ \| +(\w+)", line)
        if found is None:
            continue
        name = {"torch": first, "transformers": "transformers itself", "scipy": "SciPy"}
        name |= {"numpy": "NumPy", "sympy": "SymPy"}
        part = name.get(found[2], "all else")
        parts[part] = parts.get(part, 0) + int(found[1]) / 1e6
    return dict(sorted(parts.items(), key=lambda pair: -pair[1]))
