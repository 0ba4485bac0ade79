"""Results on their way to a shard: from several threads, written in one of its own, none lost."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esmkit.errors import OutputError
from esmkit.files.pending import Pending
from esmkit.files.shards import ShardReader
from esmkit.files.work_folder import WorkFolder


@pytest.fixture
def work(tmp_path: Path):
    folder = WorkFolder(tmp_path / "o.h5", {"a": 1})
    yield folder
    folder.close()


def result(number: int) -> np.ndarray:
    return np.full(10, number, np.float32)  # 40 bytes


def kept(work: WorkFolder) -> set[int]:
    with ShardReader(work.shard_of) as shards:
        return {number for number in work.shard_of if (shards[number] == number).all()}


def test_nothing_is_lost_from_many_threads(work: WorkFolder):
    def fill(first: int) -> None:
        for number in range(first, first + 200):
            pending.add(number, result(number))
            pending.flush_if_full()

    with Pending(work, 400) as pending:
        threads = [threading.Thread(target=fill, args=(200 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert kept(work) == set(range(800))
    assert 10 < len(work.shard_of.paths()) <= 80


def test_a_shard_is_written_while_others_are_filled(work: WorkFolder, monkeypatch):
    """And no more than one waits: memory does not grow where the disk is slow."""
    write, go_on, writing = WorkFolder.write, threading.Event(), threading.Event()

    def slow(self: WorkFolder, arrays: Any) -> None:
        writing.set()
        assert go_on.wait(20)
        write(self, arrays)

    monkeypatch.setattr(WorkFolder, "write", slow)
    with Pending(work, 80) as pending:
        for number in (0, 1, 2):
            pending.add(number, result(number))
            pending.flush_if_full()
        assert writing.wait(20)
        pending.add(3, result(3))
        waiting = threading.Thread(target=pending.flush_if_full)
        waiting.start()
        time.sleep(0.1)
        assert waiting.is_alive()  # the first is not whole
        assert not kept(work)
        go_on.set()
        waiting.join(20)
        assert not waiting.is_alive()
    assert kept(work) == {0, 1, 2, 3}


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_what_comes_after_the_end_is_dropped(work: WorkFolder, error: BaseException | None):
    """A pass that nobody waits for any more writes nothing into a folder that may be another's."""
    pending = Pending(work, 40)
    pending.add(0, result(0))
    pending.__exit__(type(error), error, None)
    pending.add(1, result(1))
    pending.flush_if_full()
    assert kept(work) == {0}


def test_a_failing_disk_is_told_and_nothing_lost(work: WorkFolder, monkeypatch):
    """By the next flush, or at the end; what could not be written is tried once more."""
    write, fails = WorkFolder.write, [True]

    def failing(self: WorkFolder, arrays: Any) -> None:
        if fails:
            fails.pop()
            raise OutputError("full")
        write(self, arrays)

    monkeypatch.setattr(WorkFolder, "write", failing)

    def run(first: int, *then: Any) -> None:
        with Pending(work, 40) as pending:
            pending.add(first, result(first))
            pending.flush_if_full()
            for step in then:
                step(pending)

    with pytest.raises(OutputError, match="full"):
        run(0, lambda pending: pending.add(1, result(1)), Pending.flush)
    assert kept(work) == {0, 1}
    fails.append(True)
    with pytest.raises(OutputError, match="full"):
        run(2)
    assert kept(work) == {0, 1, 2}
    fails.append(True)
    with pytest.raises(ZeroDivisionError):
        run(3, lambda _: 1 / 0)
    assert kept(work) == {0, 1, 2, 3}
    fails += [True, True]
    with pytest.raises(ZeroDivisionError):  # the first error is the one to report
        run(4, lambda _: 1 / 0)
    assert kept(work) == {0, 1, 2, 3}
