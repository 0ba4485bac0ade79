"""Work side by side in threads, each with one of PyTorch's.

A pass of some 1,000 tokens is too small to be shared between threads: they wait for each other after
every operation. Given a pass each, they do not.

What Python itself does of a pass holds its lock, which one thread can hold at a time, so that there
is an end to this: see :data:`MOST_PASSES`.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import torch

__all__ = ["MOST_PASSES", "side_by_side", "threads_of_a_pass"]

MOST_PASSES = 16
"""Most passes that are computed side by side; with more cores each has several threads, and as many
times the tokens.

With products, attention and norms slept for as long as they take (``python -m benchmarks cores``, two cores
with AVX2), 16 passes at once of one thread each are 15 times as fast as one, 32 are 21 times, and 128
are too; 16 passes of eight threads each are 72 times as fast."""

Item = TypeVar("Item")
Made = TypeVar("Made")


class SideBySide(Protocol):
    """Applies a function to items, and yields the results in order.

    Items that are large enough to be shared between threads are done one at a time, by all.
    """

    def __call__(
        self,
        make: Callable[[Item], Made],
        items: Iterable[Item],
        *,
        alone: Callable[[Item], bool] = lambda item: False,
    ) -> Iterator[Made]: ...


_here = threading.local()


def threads_of_a_pass() -> int:
    """Return how many of PyTorch's threads share a pass on a CPU: one, unless there are over 16.

    In a thread of :func:`side_by_side` those that it was given, elsewhere those that it would give.
    """
    share: int | None = getattr(_here, "share", None)
    return share or -(-torch.get_num_threads() // MOST_PASSES)


@contextlib.contextmanager
def side_by_side(device: torch.device | None, *, share: int = 1) -> Iterator[SideBySide]:
    """Give a ``map`` that keeps the order and works in as many threads as PyTorch has on a CPU.

    It runs ahead by as many items as are worked on, so that memory stays small. On another device,
    with one thread or without a device it is a plain ``map``.

    Parameters
    ----------
    device : torch.device, optional
    share : int
        How many of PyTorch's threads share an item; see :func:`threads_of_a_pass`.
    """
    threads = torch.get_num_threads()
    workers = max(1, threads // share)
    if device is None or device.type != "cpu" or workers == 1:
        yield _one_by_one
        return
    with contextlib.ExitStack() as stack:
        pool: ThreadPoolExecutor | None = None

        def run(
            make: Callable[[Item], Made],
            items: Iterable[Item],
            *,
            alone: Callable[[Item], bool] = lambda item: False,
        ) -> Iterator[Made]:
            nonlocal pool
            waiting: deque[Future[Made]] = deque()
            for item in items:
                if alone(item):
                    while waiting:
                        yield waiting.popleft().result()
                    yield make(item)
                    continue
                if pool is None:
                    pool = stack.enter_context(_pool(workers, share, threads))
                waiting.append(pool.submit(make, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        yield run


def _one_by_one(
    make: Callable[[Item], Made],
    items: Iterable[Item],
    *,
    alone: Callable[[Item], bool] = lambda item: False,
) -> Iterator[Made]:
    return map(make, items)


@contextlib.contextmanager
def _pool(workers: int, share: int, threads: int) -> Iterator[ThreadPoolExecutor]:
    """Start threads that use so many threads of PyTorch's each; the program's have ``threads``.

    After an error what waits is dropped, and what is being computed is not waited for: a run that
    is stopped has something to write first.
    """
    started = threading.Barrier(workers + 1)

    def start() -> None:
        _here.share = share
        torch.set_num_threads(share)
        # In a thread's first operation PyTorch sets the number that was set last: this, still
        torch.get_num_threads()
        started.wait()

    pool = ThreadPoolExecutor(workers, "esmkit", initializer=start)
    try:
        for _ in range(workers):  # a thread is started for each task that finds none idle
            pool.submit(int)
        started.wait()
        # The program's own threads, those to come too, keep their number
        torch.set_num_threads(threads)
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
