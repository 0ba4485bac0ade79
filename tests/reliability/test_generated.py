"""A few thousand of the inputs of ``generated.py``: each read with all that must hold, or refused.

``ESMKIT_TRIALS=40`` makes forty times as many; a million are made by the script itself. A fault names
its kind, seed and number, with which the script makes that input again.
"""

from collections import Counter

import pytest
from fuzzing import TRIALS
from generated import KINDS, run, table_of

INPUTS = {
    **{"fasta": 1_000, "structures": 300, "mutations": 1_000, "words": 2_000},
    **{"files": 300, "against": 300, "commands": 30},
}
SEED = 900_000
"""Of none of the blocks that make up the million."""


@pytest.mark.parametrize("kind", KINDS)
def test_inputs(kind: str):
    blocks = run(kind, INPUTS[kind] * TRIALS, SEED, None)
    assert not [fault for block in blocks for fault in block.faults]
    read, refused, reasons = Counter(), Counter(), set()
    for block in blocks:
        read.update(block.read)
        refused.update(block.refused)
        reasons |= set(block.reasons)
    assert read.total() + refused.total() == INPUTS[kind] * TRIALS
    # Neither noise that nothing reads nor files that nothing is wrong with
    assert 0.05 < read.total() / (read.total() + refused.total()) < 0.9
    assert len(reasons) > 10
    assert len(set(read) | set(refused)) > 4  # kinds of damage, formats, commands


def test_one_seed_is_one_block(tmp_path):
    tally = tmp_path / "tally.jsonl"
    first, again, other = (
        run("mutations", 200, seed, tally)[0].line() for seed in (SEED, SEED, SEED + 1)
    )
    for timed in ("slowest_seconds", "slowest_input", "processor_seconds", "peak_mb"):
        del first[timed], again[timed]
    assert first == again
    assert first["refused"] != other["refused"]
    table = table_of([tally])
    assert "| mutations | 900000 to 900001 | 400 |" in table  # the repeated block counts once


def test_a_fault_is_found_and_kept(tmp_path, monkeypatch):
    import parsers

    def broken(folder):
        def one(data: bytes) -> None:
            if b"A" in data:
                raise RuntimeError("a defect")

        return one

    monkeypatch.setitem(parsers.FACTORIES, "mutations", broken)
    (block,) = run("mutations", 50, SEED, tmp_path / "tally.jsonl")
    assert 10 < len(block.faults) < 50
    assert "RuntimeError: a defect (test_generated.py:" in block.faults[0]
    kept = sorted((tmp_path / "faults").iterdir())
    assert len(kept) == len(block.faults)
    assert all(b"A" in path.read_bytes() for path in kept)
