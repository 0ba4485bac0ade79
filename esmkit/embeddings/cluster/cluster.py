"""Ray: started on this machine or joined, asked what it has, and kept quiet."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esmkit.embeddings.cluster.starting import check_folders, end_parts, is_late, not_started
from esmkit.errors import OptionError, needed

__all__ = ["WorkerPool", "Workers", "connect", "import_ray", "plan_workers", "worker_bytes"]

ANSWER_SECONDS = 5.0
"""Time in which a cluster must answer at its address."""

PASSED_ON = (
    *("ESMKIT_CACHE", "ESMKIT_TUNE_PROCESS"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT"),
)
"""Environment variables that workers on other machines get too, where they are set."""

HEALTH_SECONDS = 20.0
"""Time that Ray's own check of a cluster may take, the start of its process included."""

BASE_BYTES = 700 * 2**20
"""Memory of a worker besides its weights: 795 MB at the peak with ESM-2 8M
(benchmarks/distributed.py)."""

OBJECT_STORE_BYTES = 200 * 2**20
"""Object store of a local cluster. Only a few ranges wait between readers and workers."""


@dataclass(frozen=True)
class Workers:
    """Workers that are asked for.

    Attributes
    ----------
    address : str, optional
        ``HOST:PORT`` of a Ray cluster, or ``auto`` for the one that this machine is part of; by
        default a cluster is started on this machine for the time of the run.
    number : int, optional
        Workers, each with a model of its own; by default as many as there are processors (or GPUs)
        and memory for.
    cpus : int
        Processors of each worker, and threads of PyTorch.
    gpus : float, optional
        GPUs of each worker; a part such as 0.5 lets two share one. By default one with
        the device ``cuda``, or if the cluster has any.

    Examples
    --------
    >>> from esmkit.embeddings.cluster import Workers
    >>> Workers(number=4, cpus=2)
    Workers(address=None, number=4, cpus=2, gpus=None)
    """

    address: str | None = None
    number: int | None = None
    cpus: int = 1
    gpus: float | None = None

    def __post_init__(self) -> None:
        if self.number is not None and self.number < 1:
            raise OptionError(f"there is at least 1 worker, not {self.number}")
        if self.cpus < 1:
            raise OptionError(f"a worker has at least 1 processor, not {self.cpus}")
        if self.gpus is not None and self.gpus < 0:
            raise OptionError(f"a worker has 0 GPUs or more, not {self.gpus}")


@dataclass(frozen=True)
class WorkerPool:
    """Workers that were decided on: so many, each with processors and GPUs, on one device."""

    number: int
    cpus: int
    gpus: float
    device: str


def import_ray() -> Any:
    """Return Ray with Ray Data, without usage reports and with its own messages off.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    # Read by Ray when it is imported: no reports of usage, no lines of its C++ part on the terminal
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with (
        needed("a cluster", "ray", extra="ray", instead="embed without a cluster"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        import ray
        import ray.data
    return ray


def worker_bytes(weights_bytes: int) -> int:
    """Estimate the memory of one worker: the programs, the weights twice, and a batch."""
    return BASE_BYTES + 2 * weights_bytes


@contextlib.contextmanager
def connect(workers: Workers) -> Iterator[Any]:
    """Join the cluster asked for, or start one on this machine and end it afterwards.

    Yields
    ------
    module
        Ray, connected.

    Raises
    ------
    OptionError
        If no cluster answers, or this machine has fewer processors than asked for.
    """
    if workers.address is None:
        # Ray's name for "the loopback address is enough", which on Linux is not its default
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    ray = import_ray()
    if ray.is_initialized():  # by the program that calls us: its cluster, which stays
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray\.")
            yield ray
        return
    handlers = {
        number: signal.getsignal(number)
        for name in ("SIGINT", "SIGTERM", "SIGHUP")
        if (number := getattr(signal, name, None)) is not None
    }
    try:
        if workers.address is None:
            _start(ray, workers)
        else:
            _join(ray, workers.address)
        for number, handler in handlers.items():  # Ray puts its own in their place
            with contextlib.suppress(ValueError, TypeError):  # not in the main thread
                signal.signal(number, handler)
        _hush()
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", module=r"ray\."
            )  # advice to who calls Ray, not esmkit
            yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, workers: Workers) -> None:
    here = _processors()
    number = workers.number or max(1, here // workers.cpus)
    if number * workers.cpus > here:
        raise OptionError(
            f"{number} worker(s) of {workers.cpus} processor(s) need {number * workers.cpus}, and "
            f"this machine has {here}; ask for a smaller "
            "`number` or fewer `cpus`"
        )
    check_folders()
    for last in (False, True):
        try:
            with _silent():
                ray.init(
                    address="local",  # or Ray would join whatever cluster it finds a trace of
                    num_cpus=here,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                    object_store_memory=OBJECT_STORE_BYTES,
                )
            return
        except Exception as error:  # of a program that does not start Ray raises many kinds
            end_parts(error)
            if last or not is_late(str(error)):
                raise not_started(error) from None
            ray.shutdown()  # a busy machine: what was slow to load is in memory now


def _processors() -> int:
    """Return the processors that this process may use: under Slurm fewer than there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _join(ray: Any, address: str) -> None:
    wrong = OptionError(
        f"no Ray cluster answers at {address!r}; give the HOST:PORT that `ray start --head` "
        "prints (port 6379), or auto on a machine of the cluster, or leave `address` out to start "
        "one here"
    )
    # What `auto` means to Ray; whatever it names is looked at as if it had been given here
    named = os.environ.get("RAY_ADDRESS") if address == "auto" else None
    if named and named not in ("auto", "local"):
        try:
            _join(ray, named)
        except OptionError as error:
            raise OptionError(f"environment variable RAY_ADDRESS: {error}") from None
        return
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or "/" in host:
            raise OptionError(
                f"address is HOST:PORT or auto, not {address!r}; with ray:// addresses, run the "
                "command on a machine of the cluster instead"
            )
        if not _answers(host, int(port), address):
            raise wrong
    paths = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        with _silent():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": paths} if paths else None,
            )
    except ConnectionError:
        raise wrong from None
    except Exception as error:  # its token, its version, its folders
        raise OptionError(
            f"the Ray cluster at {address!r} does not take this program: "
            f"{' '.join(str(error).split())[:300]}"
        ) from None


def _answers(host: str, port: int, address: str) -> bool:
    """Tell whether a Ray cluster answers; a port of something else would hold ray.init for minutes."""
    try:
        socket.create_connection((host, port), ANSWER_SECONDS).close()
        words = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
        done = subprocess.run(
            [*words, "--skip-version-check"], capture_output=True, timeout=HEALTH_SECONDS
        )
    except (OSError, OverflowError, subprocess.TimeoutExpired):
        return False
    if b"AuthenticationError" in done.stderr:
        raise OptionError(
            f"the Ray cluster at {address!r} asks for its token; set RAY_AUTH_MODE=token and make "
            "the token known to Ray as its page on token authentication says"
        )
    return done.returncode == 0


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Drop what Ray's C++ part writes to standard error while it starts; its errors are raised."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _hush() -> None:
    """Keep Ray's own lines off the terminal: what matters is said by esmkit, the rest is in its logs."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with contextlib.suppress(ImportError, AttributeError):
        from ray._private import worker

        # Notes of the cluster about workers that died go to standard output; there is no public
        # switch, and nothing is lost if this name goes
        worker.print_to_stdstream = lambda *_, **__: None


def plan_workers(ray: Any, workers: Workers, device: str, weights: Path) -> WorkerPool:
    """Decide how many workers of what kind there will be, and make sure that the cluster has room.

    Raises
    ------
    OptionError
        If the device is none that Ray knows, or processors, GPUs or memory do not suffice.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise OptionError(f"on a cluster `device` is auto, cpu or cuda, not {device!r}")
    has = ray.cluster_resources()
    gpus = workers.gpus
    if gpus is None:
        gpus = 1.0 if device == "cuda" or (device == "auto" and has.get("GPU", 0) >= 1) else 0.0
    if gpus and device == "cpu":
        raise OptionError('`gpus` asks for GPUs and `device="cpu"` for none; leave one out')
    if device == "cuda" and not gpus:
        raise OptionError(
            '`device="cuda"` needs a GPU for each worker; give `workers=Workers(gpus=1)`'
        )
    needed = worker_bytes(sum(p.stat().st_size for p in weights.iterdir() if p.is_file()))
    room = {
        "processors": (has.get("CPU", 0) / workers.cpus, f"{has.get('CPU', 0):g}"),
        "memory": (has.get("memory", 0) / needed, f"{has.get('memory', 0) / 2**30:.1f} GiB"),
    }
    if gpus:
        room["GPUs"] = (has.get("GPU", 0) / gpus, f"{has.get('GPU', 0):g}")
    most = int(min(count for count, _ in room.values()))
    number = workers.number or max(1, most)
    asked = {
        "processors": f"{number * workers.cpus}",
        "memory": f"about {number * needed / 2**30:.1f} GiB ({needed / 2**30:.1f} GiB each)",
        "GPUs": f"{number * gpus:g}",
    }
    for what, (count, there) in room.items():
        if count < number:
            remedy = (
                f"`workers=Workers(number={most})`" if most else "fewer `cpus`, or more machines"
            )
            raise OptionError(
                f"{number} worker(s) need {asked[what]} of {what}, and the cluster has {there}; "
                f"use {remedy}"
            )
    return WorkerPool(number, workers.cpus, gpus, "cuda" if gpus else "cpu")
