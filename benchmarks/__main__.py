"""Run the benchmarks and write ``benchmarks/RESULTS.md``.

python -m benchmarks                     all of them, on 200 proteins
python -m benchmarks embed startup       some; the other sections of the file stay
python -m benchmarks --full              the whole proteome, and 100,000 sequences
"""

import datetime
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks import (
    attention,
    contacts,
    cores,
    gpu,
    inside,
    live,
    precision,
    scaling,
    score,
    sizes,
)
from benchmarks.embed import FLOOR, PROGRAMS, SLOW, agreement, how
from benchmarks.gpu import operations
from benchmarks.harness import THREADS, machine, run_in_turn, table
from benchmarks.peak import in_words, peaks
from benchmarks.proteome import proteome, write_fasta
from esmkit.esm2 import load
from esmkit.sequences.proteins import Protein

RESULTS = Path(__file__).with_name("RESULTS.md")
OURS = "esmkit embed"

HEADER = """# Benchmarks

Made by `python -m benchmarks` (`pip install -c constraints.txt -e '.[bench]'`). Programs run in turn, A B A B, each time in a process of its own, with the same weights (the offline checkpoint), proteins and threads; loading the model is not counted. Ratios are taken round by round: the median, and in brackets the least and the most. The machines are shared: seconds vary from run to run, ratios much less.
"""


def embed(rounds: int, full: bool, proteins: int) -> list[str]:
    """Everybody who embeds, on the same proteins, and how far the results are apart."""
    chosen, before = proteome(None if full else proteins), peaks(THREADS)
    residues = sum(map(len, chosen))
    with tempfile.TemporaryDirectory() as folder:
        fasta = str(write_fasta(chosen, Path(folder) / "in.fasta"))
        few = str(write_fasta(chosen[:12], Path(folder) / "few.fasta"))
        apart = agreement(few, Path(folder))
        results = run_in_turn("benchmarks.embed", list(PROGRAMS), {"fasta": fasta}, rounds)
        slow = run_in_turn("benchmarks.others", list(SLOW), {"fasta": few}, 1)
        slow |= run_in_turn("benchmarks.embed", [OURS], {"fasta": few}, 1)
    lines = [f"{len(chosen):,} proteins, {residues:,} residues, means to a file:", ""]
    lines += table(results, OURS)
    lines += ["", of_the_peak(chosen, [run.seconds for run in results[OURS]], before)]
    lines += ["", "How each was run, with two threads and in float32:", ""]
    lines += [f"- {name}: {how(name)}." for name in (*PROGRAMS, *SLOW)]
    lines += ["", "Largest difference of a mean embedding from esmkit's, on 12 of the proteins: "]
    lines[-1] += "; ".join(f"{n} {value:.1e}" for n, value in apart.items() if n != OURS) + "."
    lines += ["", f"On these 12 ({sum(map(len, chosen[:12])):,} residues), once:", ""]
    return lines + table(slow, OURS)


def of_the_peak(
    proteins: Sequence[Protein], seconds: Sequence[float], before: dict[str, float]
) -> str:
    """Say what the processor can do at most, and how much of it esmkit made of its time."""
    peak = {kind: max(rate, before[kind]) for kind, rate in peaks(THREADS).items()}
    if not peak:
        return "The processor's peak was not measured: there is no C compiler."
    tokens = np.array([len(protein.sequence.rstrip("*")) + 2 for protein in proteins])
    rate = operations(load(), tokens) / statistics.median(seconds)
    return (
        f"The processor's peak, measured before and after in {THREADS} threads, in 10^9 multiplications "
        f"and additions a second: {in_words(peak)}. `{OURS}` made {rate / 1e9:,.0f} of products and "
        f"attention alone, {rate / peak['float32']:.0%}; softmax, norms, reading and writing are not "
        "counted as work."
    )


def floor(rounds: int, full: bool, proteins: int) -> list[str]:
    """The part of esmkit's time that nothing but a faster product or attention could save."""
    chosen = proteome(None if full else proteins)
    with tempfile.TemporaryDirectory() as folder:
        fasta = str(write_fasta(chosen, Path(folder) / "in.fasta"))
        results = run_in_turn("benchmarks.embed", list(FLOOR), {"fasta": fasta}, rounds)
    residues = sum(map(len, chosen))
    lowest = list(FLOOR)[-1]
    lines = [
        f"{len(chosen):,} proteins, {residues:,} residues. The floor is the encoder's matrix products "
        "and PyTorch's attention calls alone, on zeros, in the same shapes and with the same products:",
        "",
    ]
    return lines + table(results, lowest)


PARTS: dict[str, tuple[str, Callable[[int, bool, int], list[str]]]] = {
    "embed": ("Embeddings", embed),
    "floor": ("Embeddings and the floor", floor),
    "attention": ("Attention maps to a file", lambda rounds, *_: attention.report(rounds)),
    "contacts": ("Contact maps in memory", lambda rounds, *_: contacts.report(rounds)),
    "inside": ("Reading the inside of a pass", lambda rounds, *_: inside.report(rounds)),
    "score": ("Every site hidden in turn", lambda rounds, *_: score.report(rounds)),
    "live": ("The model in a page", lambda *_: live.report()),
    "startup": ("Start-up", lambda rounds, *_: scaling.startup(rounds)),
    "memory": (
        "Memory and the number of sequences",
        lambda rounds, full, _: scaling.memory(rounds, most=100_000 if full else 10_000),
    ),
    "length": ("One sequence of many residues", lambda rounds, *_: scaling.length(rounds)),
    "threads": ("Threads", lambda rounds, *_: scaling.threads(rounds)),
    "precision": ("Precision", lambda *_: precision.report()),
    "sizes": ("Larger models", lambda rounds, *_: sizes.report(rounds)),
    "cores": ("Many cores", lambda rounds, *_: cores.report(rounds)),
    "gpu": ("GPU", lambda rounds, *_: gpu.gpu(rounds)),
}


def sections(text: str) -> dict[str, str]:
    """Split a results file into its sections by title."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return {title: body.strip() for title, body in zip(parts[1::2], parts[2::2], strict=True)}


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--full", is_flag=True, help="The whole proteome, and 100,000 short sequences.")
@click.option("--proteins", default=200, show_default=True, help="Drawn from the proteome.")
@click.option("--rounds", default=3, show_default=True, help="How often each program runs.")
@click.option("-o", "--output", type=Path, default=RESULTS, help="By default RESULTS.md here.")
def main(parts: tuple[str, ...], full: bool, proteins: int, rounds: int, output: Path) -> None:
    """Run the chosen parts; each is written as soon as it is there."""
    for part in parts or tuple(PARTS):
        title, run = PARTS[part]
        print(f"# {title}", file=sys.stderr)
        lines = run(rounds, full, proteins)
        today = datetime.date.today().isoformat()
        lines += ["", f"{today}; {machine()}; {rounds} round{'s' * (rounds > 1)}."]
        known = sections(output.read_text(encoding="utf-8")) if output.exists() else {}
        known[title] = "\n".join(lines).strip()
        order = [name for name, _ in PARTS.values() if name in known]
        body = "\n".join(f"## {name}\n\n{known[name]}\n" for name in order)
        output.write_text(f"{HEADER}\n{body}", encoding="utf-8")
        print("\n".join(lines), end="\n\n")


if __name__ == "__main__":
    main()
