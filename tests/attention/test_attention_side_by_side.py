"""Passes of short proteins computed side by side hand out what one after the other hands out."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import esmkit
from esmkit.attention import extract
from esmkit.attention.passes import Piece, passes_of
from esmkit.encoder.names import choose_heads
from esmkit.errors import NonFiniteError
from esmkit.esm2 import Esm2, load
from oracles.checkpoints import make_checkpoint, random_sequence

LENGTHS = (20, 50, 7, 31, 1, 44, 44, 90, 12, 38, 60, 5)
BATCH_TOKENS = 64

Taken = list[tuple[int, int, int, tuple[int, ...], np.ndarray]]


def proteins(without: str = "") -> list[esmkit.Protein]:
    drawn = [random_sequence(size, number) for number, size in enumerate(LENGTHS)]
    if without:
        drawn = [sequence.replace(without, "A") for sequence in drawn]
    return [esmkit.Protein(id=f"p{n}", sequence=sequence) for n, sequence in enumerate(drawn)]


def handed_out(
    model: Esm2,
    given: Sequence[esmkit.Protein],
    *,
    missing: np.ndarray | None = None,
    prepare: Callable[[torch.Tensor], Any] | None = torch.Tensor.numpy,
    taken: Taken | None = None,
    in_turn: bool = True,
) -> tuple[Taken, list[list[int]]]:
    """Return what ``compute`` hands out, in its order, and the proteins completed by each pass."""
    found: Taken = [] if taken is None else taken

    def take(piece: Piece, layer: int, heads: Sequence[int], maps: Any) -> None:
        found.append(
            (piece.number, piece.index, layer, tuple(heads), torch.as_tensor(maps).numpy().copy())
        )

    done = extract.compute(
        *(model, enumerate(given), choose_heads(None, "all", of_layers=2, of_heads=4), take),
        long="window",
        batch_tokens=BATCH_TOKENS,
        missing=missing,
        prepare=prepare,
        in_turn=in_turn,
    )
    return found, list(done)


def assert_equal(one: tuple[Taken, Any], other: tuple[Taken, Any], *, atol: float) -> None:
    assert one[1] == other[1]
    assert [entry[:4] for entry in one[0]] == [entry[:4] for entry in other[0]]
    for (*_, maps), (*_, others) in zip(one[0], other[0], strict=True):
        np.testing.assert_allclose(maps, others, rtol=0, atol=atol)


@pytest.mark.parametrize("missing", [None, np.arange(len(LENGTHS)) % 3 > 0], ids=["all", "some"])
def test_the_same_maps_in_the_same_order(tiny: Esm2, set_threads, missing):
    set_threads(1)
    alone = handed_out(tiny, proteins(), missing=missing)
    assert len(alone[1]) > 4
    for threads in (2, 3):
        set_threads(threads)
        seen: set[str] = set()

        def prepare(maps: torch.Tensor, seen: set[str] = seen) -> np.ndarray:
            seen.add(threading.current_thread().name)
            assert torch.get_num_threads() == 1
            return maps.numpy()

        assert_equal(handed_out(tiny, proteins(), missing=missing, prepare=prepare), alone, atol=0)
        assert len(seen) > 1
        # as they are made, every pass by all threads
        assert_equal(handed_out(tiny, proteins(), missing=missing, prepare=None), alone, atol=1e-6)


@pytest.mark.parametrize("missing", [None, np.arange(len(LENGTHS)) % 3 > 0], ids=["all", "some"])
def test_the_same_maps_as_they_are_made(tiny: Esm2, set_threads, missing):
    """In any order, in several threads at once; passes are completed in their order all the same."""
    set_threads(1)
    alone = handed_out(tiny, proteins(), missing=missing)
    set_threads(2)
    meeting = threading.Barrier(2)
    taking: Taken = []

    class Together(list[Any]):
        def append(self, entry: Any) -> None:
            if entry[0] < 2:  # each of the first two waits in `take` for the other
                meeting.wait(20)
            super().append(entry)

    if missing is None:
        two = [proteins()[1], proteins()[5], *proteins()]  # of as many tokens as a pass takes
        taking = Together()
        handed_out(tiny, two, in_turn=False, taken=taking)
        assert {entry[0] for entry in taking} == set(range(len(two)))
    found = handed_out(tiny, proteins(), missing=missing, in_turn=False)
    assert found[1] == alone[1]
    found[0].sort(key=lambda entry: entry[:4])
    alone[0].sort(key=lambda entry: entry[:4])
    assert_equal(found, alone, atol=1e-6)


@pytest.mark.parametrize(
    ("threads", "passes", "shared"),
    [(1, 1, True), (2, 1, True), (2, 2, False), (4, 2, True), (4, 3, False), (16, 5, False)],
)
def test_few_passes_are_shared(set_threads, threads: int, passes: int, shared: bool):
    """Also if some are there already: a run that goes on makes the same passes in the same way."""
    set_threads(threads)
    items = list(enumerate(proteins()[1:2] * passes))
    options: Any = {"long": "window", "batch_tokens": 52}
    cut = list(passes_of(items, torch.device("cpu"), **options))
    assert [one.shared for one in cut] == [shared] * passes
    missing = np.arange(passes) == passes - 1
    (left,) = passes_of(items, torch.device("cpu"), missing=missing, **options)
    assert left.shared == shared
    assert left.pieces[0].number == passes - 1


def test_a_shared_pass_is_made_in_all_threads(tiny: Esm2, set_threads, monkeypatch):
    set_threads(2)
    monkeypatch.setattr("esmkit.encoder.stream.BLOCK_BYTES", 1)  # a block for each head
    names: set[str] = set()

    def prepare(maps: torch.Tensor) -> np.ndarray:
        names.add(threading.current_thread().name)
        return maps.numpy()

    for in_turn in (True, False):
        names.clear()
        handed_out(tiny, proteins()[7:8], prepare=prepare, in_turn=in_turn)
        assert len(names) == 2


def test_what_waits_is_bounded(tiny: Esm2, set_threads):
    """A consumer that stops has made few passes run ahead of it."""
    set_threads(2)
    made: list[int] = []
    stopped = threading.Event()

    def prepare(maps: torch.Tensor) -> np.ndarray:
        made.append(len(maps))
        return maps.numpy()

    def take(*_: Any) -> None:
        stopped.set()
        raise KeyboardInterrupt

    many = proteins() * 20
    with pytest.raises(KeyboardInterrupt):
        for _ in extract.compute(
            *(tiny, enumerate(many), choose_heads(None, "all", of_layers=2, of_heads=4), take),
            long="window",
            batch_tokens=BATCH_TOKENS,
            prepare=prepare,
        ):
            pass
    assert stopped.is_set()
    assert len(made) < 2 * 8 * 4 * 3  # layers, sequences of a pass, passes


@pytest.mark.parametrize("in_turn", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_was_made_before_a_nan_is_handed_out(tmp_path, set_threads, threads, in_turn):
    """The pass of the broken protein too, as far as it came; and the error names the protein."""
    model = load(make_checkpoint(tmp_path / "broken", (2, 4, 32)), "cpu")
    with torch.no_grad():
        weight = model.network.get_input_embeddings().weight
        weight[esmkit.sequences.encode("W")[1]] = torch.nan  # type: ignore[index,operator]
    given = proteins(without="W")
    assert not any("W" in protein.sequence for protein in given)
    given[9] = esmkit.Protein(id="p9", sequence="MKWT")
    set_threads(threads)
    taken: Taken = []
    with pytest.raises(NonFiniteError, match="of layer 0 is NaN or infinite for sequence 'p9'"):
        handed_out(model, given, taken=taken, in_turn=in_turn)
    numbers = {number for number, *_ in taken}
    assert set(range(8)) <= numbers
    assert 9 not in numbers
    assert all(np.isfinite(maps).all() for *_, maps in taken)
