"""A process that has PyTorch, the model and all that commands import, and forks the runs.

Python with PyTorch takes seconds to start; a fork takes hundredths.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import kill_moments


class Warm:
    """Everything loaded once.

    Parameters
    ----------
    model : str
    hub : str
        Address of a Hub on this machine.
    """

    def __init__(self, model: str, hub: str = "") -> None:
        import torch

        torch.set_num_threads(1)  # threads do not survive a fork
        import pytest

        import esmkit.cli.options
        import esmkit.heads.report.summary
        import esmkit.plots.figure
        import esmkit.score.passes
        import esmkit.score.sites
        from esmkit.esm2 import load
        from esmkit.files import pending as runs
        from oracles.head_profiles import small_profile

        self.hub = hub
        self.model = loaded = load(model, "cpu")
        esmkit.cli.options.ModelChoice.load = lambda self: loaded
        # Many shards, as in a run of hours; little of each kind in a profile, figures of few dots
        runs.SHARD_SECONDS = (0.05, 60.0)
        esmkit.score.sites.PORTION_TOKENS = esmkit.score.passes.PORTION_TOKENS = 512
        small_profile(pytest.MonkeyPatch())
        esmkit.plots.figure.SAVED_DPI = esmkit.plots.figure.SHOWN_DPI = 30

    def learn(self, command: str, folder: Path) -> None:
        """Run a command, and import here what it has imported."""
        modules = folder / "modules.json"
        code = self.wait(self.fork(command, folder, leave=lambda: _write_modules(modules)))
        if code:
            raise AssertionError((folder / "log.txt").read_text())
        for name in json.loads(modules.read_text()):
            if name not in sys.modules and not name.startswith("_pytest"):
                with contextlib.suppress(Exception), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    importlib.import_module(name)

    def run(self, command: str, folder: Path) -> None:
        """Run a command to its end."""
        code = self.wait(self.fork(command, folder))
        assert code == 0, (folder / "log.txt").read_text()

    def measure(self, command: str, folder: Path) -> dict[str, float]:
        """Run a command to its end; return steps, seconds, and seconds of writing."""
        facts: dict[str, float] = {}
        place = folder / "facts.json"

        def leave() -> None:
            begun = facts.pop("begun", None)
            facts["writing"] = 0.0 if begun is None else time.monotonic() - begun
            steps = facts["steps"]  # before the file that says so is opened
            place.write_text(json.dumps({**facts, "steps": steps}))

        start = time.monotonic()
        process = self.fork(
            command, folder, prepare=lambda: kill_moments.watched(facts), leave=leave
        )
        code = self.wait(process)
        seconds = time.monotonic() - start
        assert code == 0, (folder / "log.txt").read_text()
        found = json.loads(place.read_text())
        place.unlink()
        return {**found, "seconds": seconds}

    @staticmethod
    def wait(process: int) -> int:
        """Return the exit code, or the number of the signal with a minus."""
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def fork(
        self,
        command: str,
        folder: Path,
        die: "tuple[str, float] | None" = None,
        *,
        prepare: Any = None,
        leave: Any = None,
    ) -> int:
        """Start a command in a folder; return the process id."""
        process = os.fork()
        if process:
            return process
        code = 99
        try:
            os.chdir(folder)
            (folder / "tmp").mkdir(exist_ok=True)
            tempfile.tempdir = str(folder / "tmp")
            if command.startswith("weights"):
                os.environ["ESMKIT_CACHE"] = str(folder / "cache")
            # A shell that starts this in the background passes "ignore SIGINT" on
            signal.signal(signal.SIGINT, signal.default_int_handler)
            log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if self.hub:
                _ask(self.hub, folder)
            kill_moments.count_results()
            if prepare is not None:
                prepare()
            if die is not None:
                kill_moments.arm(*die)
            code = _main(command)
            if leave is not None:
                leave()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)


def _main(command: str) -> int:
    """Run the command line; leave a line in its log when it has begun to listen to signals."""
    from esmkit import cli
    from esmkit.cli import stopping

    sys.argv = ["esmkit", *command.split()]
    install = stopping.signal.set_wakeup_fd

    def ready(*args: Any, **kwargs: Any) -> int:
        os.write(2, b"ready\n")
        return install(*args, **kwargs)

    stopping.signal.set_wakeup_fd = ready  # type: ignore[assignment]
    try:
        cli.main()
    except SystemExit as stop:
        sys.stdout.flush()
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _ask(hub: str, folder: Path) -> None:
    """Let huggingface_hub ask a Hub on this machine, with a cache in the folder."""
    import pytest

    from esmkit.encoder.checkpoints import download
    from esmkit.encoder.checkpoints import hub as asking
    from oracles.hub import set_constant, set_endpoint

    patch = pytest.MonkeyPatch()
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    os.environ["no_proxy"] = "127.0.0.1"
    set_endpoint(patch, hub)
    set_constant(patch, "HF_HUB_CACHE", str(folder / "hub"))
    set_constant(patch, "HF_HUB_OFFLINE", False)
    set_constant(patch, "HF_TOKEN_PATH", str(folder / "token"))
    for module in (download, asking):
        patch.setattr(module, "STALL_SECONDS", 20.0)
    patch.setattr(asking, "PROBE_SECONDS", 20.0)


def _write_modules(path: Path) -> None:
    path.write_text(json.dumps(sorted(sys.modules)))
