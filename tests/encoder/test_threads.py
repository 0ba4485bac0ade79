"""Work side by side: order, threads, memory and errors."""

import threading
import time

import pytest
import torch

from esmkit.embeddings import embed as embedding
from esmkit.encoder import packing
from esmkit.encoder import threads as of_passes
from esmkit.encoder.operations import filled_up
from esmkit.encoder.threads import side_by_side, threads_of_a_pass

CPU = torch.device("cpu")


@pytest.fixture(params=[2, 3])
def threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_from_threads_that_use_one_each(threads: int):
    seen: set[tuple[int, int]] = set()

    def make(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        seen.add((threading.get_ident(), torch.get_num_threads()))
        return item * item

    with side_by_side(CPU) as run:
        assert list(run(make, range(40))) == [n * n for n in range(40)]
        assert list(run(make, range(3))) == [0, 1, 4]
        assert list(run(make, [])) == []
    assert len(seen) == threads
    assert {count for _, count in seen} == {1}
    assert threading.get_ident() not in {name for name, _ in seen}


def test_the_programs_own_threads_keep_their_number(threads: int):
    """PyTorch gives a new thread the number that was set last, in whatever thread."""

    def counted() -> int:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return found[0]

    with side_by_side(CPU) as run:
        for _ in run(str, range(5)):
            assert torch.get_num_threads() == threads
            assert counted() == threads
    assert torch.get_num_threads() == threads
    assert counted() == threads


def test_large_items_are_done_alone_by_all_threads(threads: int):
    busy: set[int] = set()

    def make(item: int) -> tuple[int, int, int]:
        busy.add(item)
        time.sleep(0.002)
        others = len(busy) - 1
        busy.remove(item)
        return item, torch.get_num_threads(), others

    with side_by_side(CPU) as run:
        found = list(run(make, range(20), alone=lambda item: item % 7 == 0))
    assert [item for item, *_ in found] == list(range(20))
    for item, count, others in found:
        assert count == (threads if item % 7 == 0 else 1)
        assert others == 0 or item % 7


def test_it_runs_ahead_by_few(threads: int):
    taken: list[int] = []

    def items():
        for item in range(50):
            taken.append(item)
            yield item

    with side_by_side(CPU) as run:
        for result in run(int, items()):
            assert len(taken) <= result + 1 + threads


def test_an_error_ends_it_and_what_waits_is_dropped(threads: int):
    made: list[int] = []

    def make(item: int) -> int:
        if item == 3:
            raise ValueError("no more")
        time.sleep(0.001)
        made.append(item)
        return item

    with pytest.raises(ValueError, match="no more"), side_by_side(CPU) as run:
        for _ in run(make, range(1000)):
            pass
    assert {0, 1, 2} <= set(made)
    assert len(made) < 20
    assert torch.get_num_threads() == threads


def test_a_stop_waits_for_nothing(threads: int):
    begun, go_on = threading.Event(), threading.Event()

    def make(item: int) -> int:
        if item:
            begun.set()
            go_on.wait(30)
        return item

    def stopped() -> None:
        with side_by_side(CPU) as run:
            for _ in run(make, range(threads)):
                begun.wait(30)
                raise SystemExit(130)

    start = time.monotonic()
    with pytest.raises(SystemExit):
        stopped()
    assert time.monotonic() - start < 20
    go_on.set()


def test_with_one_thread_or_another_device_it_is_a_map():
    before = torch.get_num_threads()
    own = threading.get_ident()
    try:
        for count, device in ((1, CPU), (2, None), (2, torch.device("meta"))):
            torch.set_num_threads(count)
            with side_by_side(device) as run:
                assert list(run(lambda _: threading.get_ident(), range(3))) == [own] * 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cores", "share", "workers"),
    [(1, 1, 1), (2, 1, 2), (16, 1, 16), (17, 2, 8), (32, 2, 16), (33, 3, 11), (128, 8, 16)],
)
def test_with_many_cores_each_pass_has_several(cores: int, share: int, workers: int, set_threads):
    """Up to 16 passes at once, each of as many times the tokens as it has threads."""
    set_threads(cores)
    assert threads_of_a_pass() == share
    assert packing.pass_tokens() == 1_024 * share
    assert packing.most_tokens(10**6, CPU) == 1_024 * share
    assert packing.most_tokens(700, CPU) == 700
    assert packing.most_tokens(10**6, torch.device("cuda")) == 10**6
    seen: set[tuple[int, int, int, int]] = set()
    ready = threading.Barrier(workers)

    def make(item: int) -> int:
        ready.wait(20)  # as many as that are at work at once
        rows = len(filled_up(torch.zeros(1, 2), dim=0))
        count = torch.get_num_threads()
        seen.add((threading.get_ident(), count, threads_of_a_pass(), rows))
        return item

    with side_by_side(CPU, share=threads_of_a_pass()) as run:
        assert list(run(make, range(2 * workers))) == list(range(2 * workers))
    assert len(seen) == workers
    assert {found[1:] for found in seen} == {(share, share, 64 * share)}
    assert torch.get_num_threads() == cores


def test_shared_passes_give_the_same_numbers(set_threads, tiny, monkeypatch):
    """To rounding, whatever the number of cores; and the very same up to 16."""
    drawn = torch.Generator().manual_seed(0)
    letters = "ACDEFGHIKLMNPQRSTVWY"
    lengths = [1, 5, 300, 299, 1_021, *range(20, 400, 7)]
    proteins = {
        f"p{n}": "".join(letters[i] for i in torch.randint(20, (size,), generator=drawn))
        for n, size in enumerate(lengths)
    }
    passes: list[int] = []
    read = embedding._read

    def counted(pieces, **given):
        passes.append(sum(piece.tokens for piece in pieces))
        return read(pieces, **given)

    monkeypatch.setattr(embedding, "_read", counted)

    def embed(cores: int, most: int = 16) -> torch.Tensor:
        passes.clear()
        set_threads(cores)
        monkeypatch.setattr(of_passes, "MOST_PASSES", most)
        return torch.stack(
            [torch.from_numpy(found.mean) for found in tiny.embed(proteins, residues=False)]
        )

    alone = embed(1)
    assert max(passes) <= 1_024
    few = len(passes)
    assert torch.equal(embed(2), alone)
    assert torch.equal(embed(5), alone)
    for cores, most in ((2, 1), (4, 2), (5, 2), (6, 2)):
        found = embed(cores, most)
        assert 1_024 < max(passes) <= 1_024 * -(-cores // most)
        assert len(passes) < few
        assert torch.allclose(found, alone, rtol=0, atol=5e-6)
