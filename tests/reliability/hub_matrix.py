"""Every command that takes ``--model`` in every situation of ``hub_situations``, in real processes.

``python tests/reliability/hub_matrix.py`` runs all of them with the patience of real use (some
minutes of a processor) and prints a table in Markdown; ``--json`` the figures; ``--short`` runs each
situation with one command and with little patience.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from oracles.hub import hub  # noqa: E402
from oracles.hub_situations import REPO, SITUATIONS, Cell, Situation, workplace  # noqa: E402

COMMANDS = {
    "embed": "embed x.fasta",
    "attention": "attention x.fasta",
    "contacts": "contacts x.fasta",
    "score": "score x.fasta",
    "score variants": "score variants x.fasta --mutations m.csv",
    "trace": "trace x.fasta --keep L1.residual",
    "verify": "verify x.fasta",
    "verify --against": "verify x.fasta --against theirs.csv",
    "explore": "explore x.fasta",
    "reproduce": "reproduce --structures few",
    "weights fetch": "weights fetch",
    "weights path": "weights path",
    "contacts evaluate": "contacts evaluate --structures few",
    "contacts fit": "contacts fit --structures few",
    "score fit": "score fit many.fasta --draws 1 --epochs 1",
    "heads": "heads --structures chains -o heads --no-control --no-ablation --resamples 100",
    "heads atlas": "heads atlas profiled --structures chains",
    "embed on Ray": "embed x.fasta --engine ray --num-workers 1 -o x.dataset",
}
DEAR = {*("contacts evaluate", "contacts fit", "score fit", "heads", "heads atlas"), "embed on Ray"}
"""They read structures or start Ray, and then compute for seconds: only in the situations ``for_all``,
and in the short form only where they get no weights."""


OF_RAY = 60.0
"""Seconds that Ray itself may take to start, before anybody asks for weights."""

LOST = 255
"""Python's fork server gives this where it missed a child's end; esmkit itself never ends with it."""

LONGEST = 600.0
"""Seconds after which a command counts as hanging."""


@dataclass
class Outcome:
    """What a command came to in a situation."""

    command: str
    situation: str
    good: bool
    seconds: float
    processor: float
    sent: float
    why: str = ""
    said: str = ""


def in_a_process(words: list[str], cell: dict[str, Any], patience: float) -> None:
    """Run a command in this process, which was made for it."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(Path(cell["place"]) / f"../{cell['name']}.{name}", os.O_CREAT | os.O_WRONLY)
        os.dup2(file, number)
    os.chdir(cell["place"])
    os.environ.update(cell["environment"])
    import pytest

    from esmkit.cli import main
    from esmkit.encoder.checkpoints import download
    from esmkit.encoder.checkpoints import hub as asking
    from oracles.hub import set_constant, set_endpoint

    patch = pytest.MonkeyPatch()
    set_endpoint(patch, cell["environment"]["HF_ENDPOINT"])
    set_constant(patch, "HF_HUB_CACHE", str(Path(cell["environment"]["HF_HOME"]) / "hub"))
    set_constant(patch, "HF_HUB_OFFLINE", "HF_HUB_OFFLINE" in cell["environment"])
    set_constant(patch, "HF_TOKEN_PATH", str(Path(cell["environment"]["HF_HOME"]) / "token"))
    download.STALL_SECONDS *= patience
    download.WINDOW_SECONDS *= patience
    download.PIECE = 1024  # bytes that count as getting on: these weights are small
    if cell["patient"]:  # no figure of such a cell is a time, and the machine may be busy
        asking.PROBE_SECONDS = 30.0
    sys.argv = ["esmkit", *words]
    began = time.monotonic(), time.process_time()
    try:
        main()
    except SystemExit as end:
        status_of(cell).write_text(json.dumps(end.code))
        raise
    finally:
        took = [time.monotonic() - began[0], time.process_time() - began[1]]
        (Path(cell["place"]) / f"../{cell['name']}.seconds").write_text(json.dumps(took))


def status_of(cell: dict[str, Any]) -> Path:
    """The file in which a command leaves the status that it ends with."""
    return Path(cell["place"]) / f"../{cell['name']}.status"


class Runner:
    """Starts commands as processes that have imported everything before they begin."""

    def __init__(self, folder: Path, patience: float) -> None:
        self.folder, self.patience = folder, patience
        os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS)])
        os.environ["OMP_NUM_THREADS"] = "1"
        os.environ["ESMKIT_CACHE"] = str(folder / "esmkit")
        for name in ("HF_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            os.environ.pop(name, None)
        os.environ["no_proxy"] = "127.0.0.1"
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(
            [
                *(
                    "torch",
                    "transformers",
                    "huggingface_hub",
                    "pytest",
                    "esmkit.cli",
                    "esmkit.esm2",
                ),
                *("matplotlib.pyplot", "pandas", "h5py", "oracles.hub", "oracles.hub_situations"),
            ]
        )

    def start(self, words: list[str], cell: Cell) -> Any:
        facts = {
            "place": str(cell.place),
            "name": cell.name,
            "patient": cell.situation.gives,
            "environment": {
                "HF_ENDPOINT": cell.endpoint,
                "HF_HOME": str(cell.home),
                **cell.environment,
            },
        }
        # Ray's own processes import everything anew in any case
        how = multiprocessing.get_context("spawn") if "ray" in words else self.context
        process: Any = how.Process(target=in_a_process, args=(words, facts, self.patience))
        process.status = status_of(facts)
        process.status.unlink(missing_ok=True)
        process.start()
        return process

    def end(self, process: Any) -> int | None:
        process.join(LONGEST)
        if process.exitcode is None:
            process.kill()
            process.join()
            return None
        if process.exitcode == LOST and process.status.exists():
            return json.loads(process.status.read_text())
        return process.exitcode


def words_of(command: str) -> list[str]:
    words = COMMANDS[command].split()
    return [*words, REPO] if command == "weights fetch" else [*words, "--model", REPO]


def run_cell(runner: Runner, command: str, situation: Situation) -> Outcome:
    """Run a command in a situation, and judge what it came to."""
    name = f"{command}-{situation.name}".replace(" ", "_").replace(":", "")
    folder = Path(tempfile.mkdtemp(prefix="cell-", dir=runner.folder))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        there = stack.enter_context(hub())
        cell = Cell(there, situation, folder, runner.folder / "model", name)
        shutil.copytree(runner.folder / "work", cell.place)
        stack.enter_context(situation.made(cell))
        before = cell.listing()
        codes = _run(runner, command, cell)
        seconds, processor = cell.seconds()
        errors = [cell.text(number) for number in range(len(codes))]
        sent = there.bytes_of("model.safetensors") / cell.size
        outcome = Outcome(command, situation.name, False, seconds, processor, sent)
        outcome.why = _judge(cell, codes, errors, before, outcome)
        outcome.good = not outcome.why
        if outcome.why:
            outcome.said = errors[-1][-2000:]
    return outcome


def _run(runner: Runner, command: str, cell: Cell) -> list[int | None]:
    """Run it as the situation says: once, twice at once, or killed on its way and once more."""
    words = words_of(command)
    if cell.situation.how == "at once":
        second = Cell(cell.hub, cell.situation, cell.folder, cell.model, cell.name + "-second")
        second.copy_of(cell, runner.folder / "work")
        both = [runner.start(words, one) for one in (cell, second)]
        cell.also = [second]
        return [runner.end(process) for process in both]
    if cell.situation.how == "killed":
        process = runner.start(words, cell)
        end = time.monotonic() + LONGEST
        while not cell.arrived() and process.is_alive() and time.monotonic() < end:
            time.sleep(0.01)
        process.kill()
        process.join()
        cell.kept = cell.arrived()
        _end_of_children(cell)
    return [runner.end(runner.start(words, cell))]


def _end_of_children(cell: Cell) -> None:
    """Forget what the killed one said."""
    for file in cell.folder.glob("*.std*"):
        file.unlink()


def _judge(
    cell: Cell, codes: list[int | None], errors: list[str], before: set[str], outcome: Outcome
) -> str:
    """Say what is wrong; nothing if all is as it should be."""
    situation = cell.situation
    if None in codes:
        return f"did not end in {LONGEST:.0f} s"
    if any("Traceback" in text for text in errors):
        return "a traceback"
    if situation.gives:
        # reproduce and verify tell by their code what they have found
        if any(code != 0 for code in codes):
            return f"ended with {codes}"
        if situation.how == "killed" and not (cell.kept and outcome.sent < 1.5):
            return f"sent {outcome.sent:.2f}, of which {cell.kept} bytes before the kill"
        if situation.sent is not None and abs(outcome.sent - situation.sent) > 0.02:
            return f"sent {outcome.sent:.2f} of the weights, not {situation.sent}"
        return ""
    lines = [line for line in errors[0].splitlines() if "error:" in line.lower()]
    if codes != [1] or len(lines) != 1:
        return f"ended with {codes} and {len(lines)} sentences"
    outcome.said = lines[0].replace(str(cell.folder), "")
    if situation.says not in lines[0]:
        return "another sentence"
    if cell.listing() != before:
        return f"left {sorted(cell.listing() ^ before)}"
    if list(cell.home.glob("hub/models--*/snapshots/*/model.safetensors")):
        return "half a file under the name of a whole one"
    start = OF_RAY if "Ray" in outcome.command else 0.0
    if outcome.seconds > situation.within + start:
        return f"took {outcome.seconds:.0f} s"
    return ""


def chosen(short: bool, only: list[str]) -> Iterator[tuple[str, Situation]]:
    """Yield commands and situations; in the short form each situation with one command."""
    commands = [name for name in COMMANDS if not only or name in only]
    cheap = [name for name in commands if name not in DEAR]
    for number, situation in enumerate(SITUATIONS):
        if short:
            all_but = ("embed on Ray", "heads atlas")  # which need more than weights
            some = cheap if situation.gives else [n for n in commands if n not in all_but]
            yield some[number % len(some)], situation
            continue
        for command in commands:
            if command not in DEAR or situation.for_all:
                yield command, situation


def run(given: argparse.Namespace) -> list[Outcome]:
    """Run all cells: those that wait for something aside, as waiting costs no processor.

    What ``given.keep`` holds of an earlier run is not run again.
    """
    kept = given.keep.read_text("utf-8").splitlines() if given.keep and given.keep.exists() else []
    found = [Outcome(**json.loads(line)) for line in kept]
    done = {(one.command, one.situation) for one in found}
    cells = [(c, s) for c, s in chosen(given.short, given.only) if s.possible()]
    cells = [(c, s) for c, s in cells if (c, s.name) not in done][given.part :: given.of]
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="hub-matrix-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        workplace(folder / "work", folder / "model", profiled=not given.short)
        runner = Runner(folder, given.patience)
        with ThreadPoolExecutor(12) as waiting, ThreadPoolExecutor(2) as working:
            started = [
                (waiting if s.waits else working).submit(run_cell, runner, c, s) for c, s in cells
            ]
            for future in as_completed(started):
                found.append(future.result())
                if not found[-1].good:
                    print(asdict(found[-1]), file=sys.stderr)
                if given.keep:
                    with given.keep.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(found[-1])) + "\n")
    return found


def table(found: list[Outcome]) -> str:
    """Write a line for each situation, in Markdown."""
    lines = [
        "| situation | commands | as promised | s, median and most | sent |",
        "|---|---|---|---|---|",
    ]
    for situation in SITUATIONS:
        some = [o for o in found if o.situation == situation.name]
        if not some:
            lines.append(f"| {situation.name} | not run: {situation.needs} | | | |")
            continue
        seconds = sorted(o.seconds for o in some)
        times = "" if situation.gives else f"{seconds[len(some) // 2]:.1f}, {seconds[-1]:.1f}"
        low, high = (pick(o.sent for o in some) for pick in (min, max))
        sent = f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"
        what = "weights" if situation.gives else "one sentence"
        good = sum(o.good for o in some)
        lines.append(f"| {situation.name} | {len(some)} | {what}: {good} | {times} | {sent} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--patience", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--keep", type=Path, help="a file of outcomes, which is gone on with")
    parser.add_argument("--part", type=int, default=0, help="of several at once, from 0")
    parser.add_argument("--of", type=int, default=1)
    given = parser.parse_args()
    outcomes = run(given)
    print(json.dumps([asdict(o) for o in outcomes]) if given.json else table(outcomes))
    sys.exit(not all(o.good for o in outcomes))
