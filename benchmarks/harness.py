"""Run programs in turn, each time in a fresh process, and compare them as ratios.

A program is a function ``prepare(folder) -> work`` in a module of this folder; ``work()`` is what
is measured: its wall time, and how far the resident memory rises above what it was before. Rounds
go A B A B ..., so that whatever else the machine does falls on all alike.
"""

import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

THREADS = 2
"""Threads of PyTorch, in every program."""

SAMPLE_SECONDS = 0.01
"""How often the resident memory is looked at."""


@dataclass(frozen=True)
class Result:
    """What one run of one program took."""

    seconds: float
    peak_bytes: int
    """Above what was resident before, the loaded model included."""
    total_bytes: int = 0
    """In all."""


def measure(work: Callable[[], None]) -> Result:
    """Run ``work`` once."""
    process = psutil.Process()
    before = peak = process.memory_info().rss
    running = True

    def watch() -> None:
        nonlocal peak
        while running:
            peak = max(peak, process.memory_info().rss)
            time.sleep(SAMPLE_SECONDS)

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.perf_counter()
    try:
        work()
    finally:
        seconds = time.perf_counter() - begun
        running = False
        watcher.join()
    return Result(seconds, peak - before, peak)


def run_in_turn(
    module: str,
    programs: Sequence[str],
    arguments: dict[str, object],
    rounds: int,
    *,
    threads: int = THREADS,
) -> dict[str, list[Result]]:
    """Run each program ``rounds`` times, in turn, and return the results of each."""
    results: dict[str, list[Result]] = {name: [] for name in programs}
    for turn in range(rounds):
        for name in programs:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-m", "benchmarks.harness", module, name, folder]
                command += [json.dumps(arguments), str(threads)]
                environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
                done = subprocess.run(
                    command, env=environment, stdout=subprocess.PIPE, text=True, check=True
                )
            result = Result(**json.loads(done.stdout.splitlines()[-1]))
            results[name].append(result)
            print(
                f"{turn + 1}/{rounds} {name}: {result.seconds:.2f} s, "
                f"{result.peak_bytes / 1e6:.0f} MB",
                file=sys.stderr,
            )
    return results


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Return theirs / ours round by round: the median, and the least and the most."""
    values = [b / a for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(values):.2g} ({min(values):.2g} to {max(values):.2g})"


def table(results: dict[str, list[Result]], ours: str) -> list[str]:
    """Return a Markdown table: every program against ours."""
    lines = [
        "| program | seconds | times slower | peak memory above the loaded model | times more |",
        "|---|---|---|---|---|",
    ]
    base = results[ours]
    for name, runs in results.items():
        seconds = [run.seconds for run in runs]
        peaks = [run.peak_bytes for run in runs]
        slower = ratios([run.seconds for run in base], seconds) if name != ours else "1"
        more = ratios([run.peak_bytes for run in base], peaks) if name != ours else "1"
        lines.append(
            f"| {name} | {statistics.median(seconds):.2f} | {slower} "
            f"| {statistics.median(peaks) / 1e6:.0f} MB | {more} |"
        )
    return lines


def _processor() -> str:
    """Return the processor's name and the instructions PyTorch uses of it."""
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = found[0] if found else platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def machine() -> str:
    """Return what the figures were measured with, in one line."""
    packages = ("torch", "transformers", "numpy", "h5py")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {THREADS} threads, "
        f"Python {platform.python_version()}, {versions}"
    )


if __name__ == "__main__":  # one run of one program, in a process of its own
    import logging

    import torch

    logging.disable(logging.WARNING)
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = os.environ["TQDM_DISABLE"] = "1"
    warnings.simplefilter("ignore")
    module_name, program, scratch, given, count = sys.argv[1:]
    torch.set_num_threads(int(count))
    module = importlib.import_module(module_name)
    prepare = {**module.PROGRAMS, **getattr(module, "FLOOR", {})}[program]
    outcome = measure(prepare(Path(scratch), **json.loads(given)))
    print(json.dumps(outcome.__dict__))
