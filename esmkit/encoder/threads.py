"""Work side by side in threads, each with one of PyTorch's.

A pass of some 1,000 tokens is too small to be shared between threads: they wait for each other after
every operation. Given a pass each, they do not.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import torch

__all__ = ["side_by_side"]

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


@contextlib.contextmanager
def side_by_side(device: torch.device | None) -> Iterator[SideBySide]:
    """Give a ``map`` that keeps the order and works in as many threads as PyTorch has on a CPU.

    It runs ahead by as many items as there are threads, so that memory stays small. On another
    device, with one thread or without a device it is a plain ``map``.

    Parameters
    ----------
    device : torch.device, optional
    """
    threads = torch.get_num_threads()
    if device is None or device.type != "cpu" or threads == 1:
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
                    pool = stack.enter_context(_pool(threads))
                waiting.append(pool.submit(make, item))
                if len(waiting) > threads:
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
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Start threads that use one thread of PyTorch's each.

    After an error what waits is dropped, and what is being computed is not waited for: a run that
    is stopped has something to write first.
    """
    started = threading.Barrier(threads + 1)

    def start() -> None:
        torch.set_num_threads(1)
        # In a thread's first operation PyTorch sets the number that was set last, wherever: 1, still
        torch.get_num_threads()
        started.wait()

    pool = ThreadPoolExecutor(threads, "esmkit", initializer=start)
    try:
        for _ in range(threads):  # a thread is started for each task that finds none idle
            pool.submit(int)
        started.wait()
        # The program's own threads, those to come too, keep their number
        torch.set_num_threads(threads)
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
