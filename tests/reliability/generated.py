"""Generate inputs of every kind from kept seeds, a million if need be, and tell what became of them.

    python tests/reliability/generated.py fasta --inputs 100000 --tally FILE
    python tests/reliability/generated.py files --seed 17 --input 233     # one of them again
    python tests/reliability/generated.py --table FILE...                 # sums of tallies

An input is read, with all that must hold afterwards (:mod:`parsers`), or refused by one sentence,
within ``SECONDS`` of processor time, without a warning, a file or an open file left behind. What does
otherwise is a fault: it is counted, and kept beside the tally. Every block of inputs adds a line with
its seed to the tally, by which it is made again.
"""

import argparse
import contextlib
import faulthandler
import json
import random
import re
import resource
import shutil
import signal
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from arrays import a_file_to_read, an_embedding_file  # noqa: E402
from grammars import MAKERS  # noqa: E402
from parsers import opened, refusal, scratch  # noqa: E402

from esmkit.errors import EsmkitError  # noqa: E402

KINDS = (*MAKERS, "files", "against", "commands")
BLOCK = 1_000
"""Inputs of one seed; of command lines a tenth."""

SECONDS = 5.0
"""Of processor time for one input; of a command line thirty, as the first one loads PyTorch."""

STUCK = 300
"""Seconds after which an input that C code does not return from ends the run, with a traceback."""

MEMORY = 12 * 2**30
"""Of addresses: what asks for more gets a MemoryError, as in a process that has little memory."""


@dataclass
class Block:
    """What became of the inputs of one seed."""

    kind: str
    seed: int
    read: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    slowest_input: int = 0
    seconds: float = 0.0

    def line(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "seed": self.seed,
            "inputs": self.read.total() + self.refused.total() + len(self.faults),
            "read": dict(self.read),
            "refused": dict(self.refused),
            "reasons": sorted(self.reasons),
            "faults": self.faults,
            "slowest_seconds": round(self.slowest, 3),
            "slowest_input": self.slowest_input,
            "processor_seconds": round(self.seconds, 2),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


def chance_of(kind: str, seed: int, number: int) -> random.Random:
    """Return the chance that makes one input: the same on every machine and in every run."""
    return random.Random(f"{kind}/{seed}/{number}")


def reason_of(text: str) -> str:
    """Return an error without its particulars: quoted text, numbers, names of files."""
    text = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "…", text)
    return re.sub(r"\d[\d,.]*", "#", text)[:60]


@contextlib.contextmanager
def asked(kind: str) -> Iterator[tuple[Callable[[random.Random], tuple[str, Any]], Any]]:
    """Return what makes an input of a kind, and what reads and checks it."""
    if kind == "commands":
        from command_lines import a_command_line, commands, workplace

        known = commands()

        def make(chance: random.Random) -> tuple[str, Any]:
            words = a_command_line(chance, known)
            named = (" ".join(words[:count]) for count in (2, 1))
            return next((name for name in named if name in known), "another word"), words

        root = scratch()
        try:
            with workplace(root) as check:
                yield make, check
        finally:
            shutil.rmtree(root)
        return
    with opened(kind) as check:
        yield {**MAKERS, "files": a_file_to_read, "against": an_embedding_file}[kind], check


def _too_long(*_: object) -> None:
    raise TimeoutError("an input took longer than it may")


def _files_open() -> set[str]:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return set()
    found = set()
    for link in folder.iterdir():
        with contextlib.suppress(OSError):
            found.add(str(link.readlink()))
    return {name for name in found if name.startswith(("/dev/shm/fuzz-", "/tmp/fuzz-"))}


def run_block(kind: str, seed: int, count: int, make: Any, check: Any, kept: Path | None) -> Block:
    """Make the inputs of a seed and read them."""
    block, allowed = Block(kind, seed), 6 * SECONDS if kind == "commands" else SECONDS
    begun = time.process_time()
    for number in range(count):
        label, made = make(chance_of(kind, seed, number))
        start = time.process_time()
        faulthandler.dump_traceback_later(STUCK, exit=True)
        signal.setitimer(signal.ITIMER_PROF, allowed)
        wrong: BaseException | None = None
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("ignore" if kind == "commands" else "always")
            try:
                check(made)
                block.read[label] += 1
            except EsmkitError as error:
                try:
                    block.reasons[reason_of(refusal(error))] += 1
                    block.refused[label] += 1
                except AssertionError as fault:
                    wrong = fault
            except Exception as error:
                wrong = error
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        spent = time.process_time() - start
        if spent > block.slowest:
            block.slowest, block.slowest_input = spent, number
        if wrong is None and warned:
            wrong = AssertionError(f"a warning: {warned[0].message}")
        if wrong is None and spent > allowed:
            wrong = AssertionError(f"{spent:.1f} s of processor time")
        if wrong is not None:
            _keep(block, number, made, wrong, kept)
    faulthandler.cancel_dump_traceback_later()
    left = _files_open()
    if left:
        block.faults.append(f"{kind}/{seed}: left open: {sorted(left)[0]}")
    block.seconds = time.process_time() - begun
    return block


def _keep(block: Block, number: int, made: Any, wrong: BaseException, kept: Path | None) -> None:
    """Note a fault, and where it was raised; keep what made it."""
    trace = wrong.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = (
        "" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    )
    name = f"{block.kind}/{block.seed}/{number}"
    text = f"{name}: {type(wrong).__name__}: {wrong!s:.300} ({where})"
    block.faults.append(text)
    print(text.encode("ascii", "backslashreplace").decode(), file=sys.stderr, flush=True)
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        data = made if isinstance(made, bytes) else json.dumps(made).encode()
        (kept / name.replace("/", "-")).write_bytes(data)


def run(kind: str, inputs: int, seed: int, tally: Path | None) -> list[Block]:
    """Run so many inputs of a kind, from a seed on, and add a line for each block to a file."""
    size = BLOCK // 10 if kind == "commands" else BLOCK
    found = []
    old = signal.signal(signal.SIGPROF, _too_long)
    try:
        with asked(kind) as (make, check):
            while inputs > 0:
                kept = None if tally is None else tally.parent / "faults"
                found.append(run_block(kind, seed, min(size, inputs), make, check, kept))
                if tally is not None:
                    with tally.open("a", encoding="utf-8") as handle:
                        handle.write(json.dumps(found[-1].line()) + "\n")
                inputs -= size
                seed += 1
    finally:
        signal.signal(signal.SIGPROF, old)
    return found


def table_of(paths: list[Path]) -> str:
    """Return what tallies add up to, as Markdown: a row for each kind, and one for each damage."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    slowest: dict[str, float] = defaultdict(float)
    seeds: dict[str, set[int]] = defaultdict(set)
    reasons: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        for text in path.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            kind = line["kind"]
            if line["seed"] in seeds[kind]:
                continue  # the same inputs once more
            seeds[kind].add(line["seed"])
            reasons[kind] |= set(line["reasons"])
            slowest[kind] = max(slowest[kind], line["slowest_seconds"])
            sums[kind]["inputs"] += line["inputs"]
            sums[kind]["faults"] += len(line["faults"])
            sums[kind]["seconds"] += line["processor_seconds"]
            for outcome in ("read", "refused"):
                sums[kind][outcome] += sum(line[outcome].values())
                for damage, count in line[outcome].items():
                    sums[f"{kind}: {damage}"][outcome] += count
    rows = ["| kind | seeds | inputs | read | refused | kinds of reason | slowest | faults |"]
    rows.append("|---|---|---:|---:|---:|---:|---:|---:|")
    for kind in (kind for kind in KINDS if kind in sums):
        one, numbers = sums[kind], sorted(seeds[kind])
        rows.append(
            f"| {kind} | {numbers[0]} to {numbers[-1]} | {one['inputs']:,} | {one['read']:,} | "
            f"{one['refused']:,} | {len(reasons[kind])} | {slowest[kind]:.2f} s | {one['faults']} |"
        )
    whole = Counter()
    for kind in KINDS:
        whole.update(sums.get(kind, Counter()))
    rows.append(
        f"| **all** | | **{whole['inputs']:,}** | {whole['read']:,} | {whole['refused']:,} | | | "
        f"**{whole['faults']}** |"
    )
    rows += ["", "| what was done | inputs | read |", "|---|---:|---:|"]
    for name, one in sorted((n, c) for n, c in sums.items() if ": " in n):
        total = one["read"] + one["refused"]
        rows.append(f"| {name} | {total:,} | {one['read'] / total:.0%} |")
    rows.append(f"\nProcessor time: {whole['seconds'] / 60:.0f} minutes.")
    return "\n".join(rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("kind", nargs="?", choices=KINDS)
    options.add_argument("--inputs", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--input", type=int)
    options.add_argument("--tally", type=Path)
    options.add_argument("--table", type=Path, nargs="+")
    given = options.parse_args()
    if given.table:
        print(table_of(given.table))
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if given.input is not None:
        with asked(given.kind) as (make, check):
            label, made = make(chance_of(given.kind, given.seed, given.input))
            print(label, repr(made)[:3_000], sep="\n")
            check(made)
            return
    found = run(given.kind, given.inputs, given.seed, given.tally)
    read, refused = (sum(getattr(b, n).total() for b in found) for n in ("read", "refused"))
    faults = [fault for block in found for fault in block.faults]
    spent = sum(block.seconds for block in found)
    print(f"{given.kind}, seeds {given.seed} to {found[-1].seed}: {read:,} read, {refused:,} refused,"
          f" {len(faults)} faults, {spent:.0f} s")  # fmt: skip
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
