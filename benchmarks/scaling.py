"""How esmkit grows: memory with the number of proteins, time and memory with length, threads, start-up.

python -m benchmarks memory length threads startup
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.harness import ratios, run_in_turn, table
from benchmarks.proteome import proteome, write_fasta
from esmkit.sequences import Protein

COUNTS = (1_000, 10_000, 100_000)
LENGTHS = (128, 256, 512, 1_024, 2_048, 4_096)
SHORT = (8, 16)
"""Residues of the pieces of which there are many: so short that 100,000 of them take minutes."""

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
    """Peak memory of ``esmkit embed`` for more and more proteins, once each."""
    lines = ["| proteins | residues | seconds | peak memory | times the first | above the model |"]
    lines.append("|---|---|---|---|---|---|")
    first = 0
    for count in (n for n in COUNTS if n <= most):
        chosen = pieces(count)
        with tempfile.TemporaryDirectory() as folder:
            fasta = write_fasta(chosen, Path(folder) / "in.fasta")
            results = run_in_turn("benchmarks.embed", ["esmkit embed"], {"fasta": str(fasta)}, 1)
        (run,) = results["esmkit embed"]
        first = first or run.total_bytes
        lines.append(
            f"| {count:,} | {sum(map(len, chosen)):,} | {run.seconds:.1f} "
            f"| {run.total_bytes / 1e6:.0f} MB | {run.total_bytes / first:.2f} "
            f"| {run.peak_bytes / 1e6:.0f} MB |"
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

    from esmkit.alphabet import encode
    from esmkit.checkpoints import resolve

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
    name = "esmkit embed"
    with tempfile.TemporaryDirectory() as folder:
        chosen = proteome(count)
        fasta = str(write_fasta(chosen, Path(folder) / "in.fasta"))
        one, two = [], []
        for _ in range(rounds):
            for number, runs in ((1, one), (2, two)):
                done = run_in_turn("benchmarks.embed", [name], {"fasta": fasta}, 1, threads=number)
                runs.append(done[name][0].seconds)
    residues = sum(map(len, chosen))
    return [
        "| threads | seconds | residues/s | times slower than two |",
        "|---|---|---|---|",
        *(
            f"| {number} | {statistics.median(runs):.1f} | {residues / statistics.median(runs):,.0f} "
            f"| {ratios(two, runs)} |"
            for number, runs in ((1, one), (2, two))
        ),
    ]


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
    lines = ["| process | seconds, median (least to most) |", "|---|---|"]
    for name, runs in seconds.items():
        lines.append(
            f"| {name} | {statistics.median(runs):.2f} ({min(runs):.2f} to {max(runs):.2f}) |"
        )
    return lines
