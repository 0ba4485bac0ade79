"""The two engines in turn on one core each, memory and processor time of every role, and how
workers add up.

Rates are residues for each second of processor time, which a busy machine distorts less than the
clock; wall times stand beside them.

python -m benchmarks.distributed [--proteins 300] [--rounds 3]
"""

import argparse
import heapq
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.proteome import proteome, write_fasta

ROLES = {"MapWorker": "worker", "raylet": "Ray's own", "gcs_server": "Ray's own"}
"""What a process is by a word of its command line; the first is the driver, others are Ray's own."""

RANGE_BYTES = 2**20
SECONDS_LOADING = 20.0
"""Until every worker has its model: generous on an idle machine, seen on a busy one."""


class Run:
    """One run of a command: wall time; processor time and peak memory by role."""

    def __init__(self, words: Sequence[str]) -> None:
        self.peak: dict[str, int] = {}
        self.spent: dict[int, tuple[str, float]] = {}
        begun = time.perf_counter()
        process = psutil.Popen([sys.executable, "-m", "esmkit", *words], stderr=subprocess.DEVNULL)
        watcher = threading.Thread(target=self._watch, args=(process,))
        watcher.start()
        if process.wait():
            raise SystemExit(f"esmkit {' '.join(words)} failed")
        self.seconds = time.perf_counter() - begun
        watcher.join()

    def _watch(self, process: psutil.Popen) -> None:
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            now: dict[str, int] = {}
            for one in [process, *process.children(recursive=True)]:
                try:
                    role = "driver" if one.pid == process.pid else _role(one)
                    size = one.memory_info().rss
                    # Workers are compared one by one; the rest is what they cost together
                    now[role] = (
                        max(now.get(role, 0), size)
                        if role == "worker"
                        else (now.get(role, 0) + size)
                    )
                    times = one.cpu_times()
                    self.spent[one.pid] = (role, times.user + times.system)
                except psutil.Error:
                    continue
            for role, size in now.items():
                self.peak[role] = max(self.peak.get(role, 0), size)
            time.sleep(0.1)

    def cpu(self, *roles: str) -> float:
        """Return the processor time of the processes with these roles, in seconds."""
        return sum(seconds for role, seconds in self.spent.values() if role in roles)


def _role(process: psutil.Process) -> str:
    line = " ".join(process.cmdline())
    return next((role for word, role in ROLES.items() if word in line), "Ray's own")


def measure(count: int, rounds: int) -> dict[str, list[Run]]:
    """Run a few and all of the proteins through each engine, in turn."""
    found: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few = write_fasta(proteome(10), folder / "few.fasta")
        all_of_them = write_fasta(proteome(count), folder / "all.fasta")
        for _ in range(rounds):
            for size, fasta in (("few", few), ("all", all_of_them)):
                local = ["embed", str(fasta), "-q", "-o", str(folder / "o.parquet"), "--force"]
                ray = ["embed", str(fasta), "-q", "--engine", "ray", "--num-workers", "1"]
                ray += ["-o", str(folder / "out"), "--restart"]
                found.setdefault(f"local, {size}", []).append(Run(local))
                found.setdefault(f"ray, {size}", []).append(Run(ray))
            many = [*ray, "--range-size", "1K"]
            found.setdefault("ray, ranges of 1 KiB", []).append(Run(many))
    return found


def makespan(ranges: int, seconds_each: float, workers: int, driver_seconds: float) -> float:
    """Simulate: ranges go one by one to whoever is free, each after a moment of the driver."""
    free = [SECONDS_LOADING] * workers
    heapq.heapify(free)
    driver = end = 0.0
    for _ in range(ranges):
        begin = max(heapq.heappop(free), driver)
        driver = begin + driver_seconds if begin == driver else driver + driver_seconds
        end = max(end, begin + seconds_each)
        heapq.heappush(free, begin + seconds_each)
    return end


def _median(runs: list[Run], role: str) -> float:
    return statistics.median(run.cpu(role) for run in runs)


def report(count: int, rounds: int) -> list[str]:
    """Return the tables as lines."""
    runs = measure(count, rounds)
    residues = sum(map(len, proteome(count)))
    few = sum(map(len, proteome(10)))
    roles = ("driver", "worker", "Ray's own")
    lines = [
        "| run | seconds | processor s: driver, workers, Ray's own | peak MB: the same |",
        "|---|---|---|---|",
    ]
    for name, found in runs.items():
        took = statistics.median(run.seconds for run in found)
        cpu = ", ".join(f"{_median(found, role):.1f}" for role in roles)
        peak = ", ".join(f"{max(r.peak.get(role, 0) for r in found) / 1e6:.0f}" for role in roles)
        lines.append(f"| {name} | {took:.1f} | {cpu} | {peak} |")
    rate = {
        engine: (residues - few)
        / max(1e-9, _median(runs[f"{engine}, all"], role) - _median(runs[f"{engine}, few"], role))
        for engine, role in (("local", "driver"), ("ray", "worker"))
    }
    ranges = max(1, sum(len(p.id) + len(p) + 3 for p in proteome(count)) // 1024)
    more = _median(runs["ray, ranges of 1 KiB"], "driver") - _median(runs["ray, all"], "driver")
    each = max(0.0, more / ranges)
    lines += ["", f"{count} proteins, {residues:,} residues, medians of {rounds} round(s)"]
    lines += [
        f"residues for each second of a core, beyond the first 10 proteins: local "
        f"{rate['local']:,.0f}, ray {rate['ray']:,.0f}"
    ]
    lines += [f"driver: {1000 * each:.0f} ms of a core for each of about {ranges} more ranges"]
    lines += ["", "| workers | hours | share of ideal |", "|---|---|---|"]
    total = 60_000_000 * 300 // RANGE_BYTES  # letters; headers add ranges, not work
    seconds = RANGE_BYTES / rate["ray"]
    for workers in (1, 10, 100, 1_000):
        took = makespan(total, seconds, workers, each)
        lines.append(
            f"| {workers:,} | {took / 3600:,.1f} | {total * seconds / workers / took:.3f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proteins", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print("\n".join(report(given.proteins, given.rounds)))


if __name__ == "__main__":
    main()
