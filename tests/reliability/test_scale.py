"""Long sequences and many of them: memory stays flat, time stays linear.

``ESMKIT_TRIALS`` multiplies the numbers of records; at 20 they are a million records read and
100,000 embedded. ``ESMKIT_TALLY=FILE`` adds a line of JSON with the figures of each test.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from fuzzing import TRIALS, peak

import esmkit
from esmkit.esm2 import Esm2
from esmkit.files.work_folder import WorkFolder
from esmkit.sequences.index import InputIndex
from esmkit.sequences.proteins import AMINO_ACIDS
from oracles.checkpoints import random_sequence
from oracles.commands import write_fasta


def tally(**figures: object) -> None:
    target = os.environ.get("ESMKIT_TALLY")
    if target:
        with Path(target).open("a") as handle:
            handle.write(json.dumps(figures) + "\n")


def many_records(path: Path, count: int, residues: int = 30) -> None:
    """Write so many different records, named P0, P1, ..."""
    random = np.random.default_rng(1)
    letters = np.frombuffer(AMINO_ACIDS.encode(), np.uint8)
    with path.open("w") as handle:
        for start in range(0, count, 10_000):
            rows = letters[random.integers(0, 20, (min(10_000, count - start), residues))]
            handle.writelines(
                f">P{start + i} peptide\n{row.tobytes().decode()}\n" for i, row in enumerate(rows)
            )


MEASURE = """
import sys, tempfile, time
from pathlib import Path
from esmkit.sequences.index import InputIndex
sys.path.insert(0, sys.argv[2])
from fuzzing import peak
before, start, seen = peak(), time.process_time(), []
with tempfile.TemporaryDirectory() as scratch:
    index = InputIndex.build([sys.argv[1]], scratch=Path(scratch))
indexed = time.process_time() - start
for count, _ in enumerate(index.proteins(), 1):
    if count % (len(index.lengths) // 4) == 0:
        seen.append(round(peak() - before))
print(len(index.lengths), index.sequences, indexed, time.process_time() - start, *seen)
"""


def test_many_records_are_validated_and_streamed(tmp_path: Path):
    """Only hashes are kept: some hundred bytes for each record, none while they stream."""
    count = 50_000 * min(TRIALS, 20)
    many_records(tmp_path / "x.fasta", count)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "x.fasta"), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    records, sequences, indexed, both, *peaks = map(float, done.stdout.split())
    assert records == sequences == count
    assert peaks[-1] > 1  # the measure measures
    assert max(peaks) < 30 + 400 * count / 1e6  # MB
    assert peaks[-1] - peaks[0] < 5 + 150 * count / 1e6  # the IDs' hashes once more
    tally(
        test="records read",
        records=count,
        index_seconds=round(indexed, 1),
        both_passes_seconds=round(both, 1),
        peak_growth_mb=peaks,
    )


def test_many_ids_in_one_h5(run, tmp_path: Path, tiny_folder: Path):
    """Written, opened and read back in time that grows with their number, not faster."""
    took = {}
    for count in (1_000 * min(TRIALS, 20), 5_000 * min(TRIALS, 20)):
        many_records(tmp_path / "x.fasta", count)
        start, before = time.process_time(), peak(reset=True)
        done = run("embed", "x.fasta", "--model", tiny_folder, "-q", "--force", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        written, grown = time.process_time() - start, peak() - before
        start = time.process_time()
        with esmkit.read(tmp_path / "x.h5") as found:
            opened = time.process_time() - start
            assert len(found) == count
            assert next(iter(found)) == "P0"
            total = sum(float(array[0]) for array in found.values())
        assert np.isfinite(total)
        with h5py.File(tmp_path / "x.h5") as file:
            assert np.asarray(file[f"P{count - 1}"]).shape == (32,)
        took[count] = (written, opened, time.process_time() - start, grown)
        tally(
            test="IDs in one h5",
            ids=count,
            write_open_read_seconds=took[count][:3],
            growth_mb=grown,
        )
    few, more = took.values()
    assert more[0] < 5 * few[0] * 2 + 1
    assert more[2] < 5 * few[2] * 2 + 1
    assert more[3] < 400


WRITE = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[2])
from fuzzing import peak
from esmkit.embeddings.writers import open_writer
from esmkit.sequences.proteins import Protein
writer = open_writer("h5", Path(sys.argv[1]), {}, layers=[6], per="protein")
before, values = peak(), np.zeros(320, np.float32)
for number in range(15_000):
    writer.add(Protein(id=f"P{number}", header=f"P{number}", sequence="MK"), values)
    if number == 1_000:
        few = peak() - before
writer.close()
print(few, peak() - before)
"""


def test_writing_an_h5_takes_no_more_memory_for_many_proteins(tmp_path: Path):
    """With HDF5's own settings its cache of B-trees takes 56 MB more for 15,000 than for 1,000."""
    command = [sys.executable, "-c", WRITE, str(tmp_path / "x.h5"), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    few, many = map(float, done.stdout.split())
    assert many > 0.1  # the measure measures
    assert many - few < 15


READ = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from fuzzing import peak
from esmkit.files.shards import ShardReader
from esmkit.files.work_folder import WorkFolder
work = WorkFolder(Path(sys.argv[1]), {})
before = peak()
with ShardReader(work.shard_of) as shards:
    total = sum(int(shards[number].sum()) for number in sorted(work.shard_of, key=lambda n: n % 97))
assert total == len(work.shard_of)
print(peak() - before)
"""


def test_reading_results_holds_none_of_them(tmp_path: Path):
    """100 MB in shards, read in an order that goes from one to another."""
    work = WorkFolder(tmp_path / "x.h5", {})
    for first in range(0, 200, 10):
        results = np.zeros((10, 512, 1024), np.int8)
        results[:, 0, 0] = 1
        work.write({first + place: one.astype(np.int8) for place, one in enumerate(results)})
    work.close()
    command = [sys.executable, "-c", READ, str(tmp_path / "x.h5"), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 10


def test_equal_sequences_are_computed_once(run, tmp_path: Path, tiny_folder: Path, monkeypatch):
    count = 3_000 * min(TRIALS, 20)
    sequence = random_sequence(30, 1)
    write_fasta(tmp_path / "x.fasta", {f"P{i}": sequence for i in range(count)})
    tokens = []
    forward = Esm2.forward

    def counted(self: Esm2, pack, *arguments, **options):
        tokens.append(pack.ids.shape[1])
        return forward(self, pack, *arguments, **options)

    monkeypatch.setattr(Esm2, "forward", counted)
    done = run("embed", "x.fasta", "--model", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sum(tokens) == 32
    assert f"{count - 1:,} repeated sequence(s), computed once" in done.stderr
    with esmkit.read(tmp_path / "x.h5") as found:
        assert len(found) == count
        np.testing.assert_array_equal(found["P0"], found[f"P{count - 1}"])
    tally(test="equal sequences", records=count, forward_tokens=sum(tokens))


@pytest.mark.slow
@pytest.mark.weights
def test_a_chain_as_long_as_there_are_with_real_weights(real: Esm2):
    """Titin has 34,350 residues. In windows its cost is linear; by default a fourth of it is run."""
    residues = 35_000 if TRIALS > 1 else 9_000
    sequence = random_sequence(residues, 1)
    before, start = peak(reset=True), time.process_time()
    found = real.embed(sequence, long="window")
    seconds, grown = time.process_time() - start, peak() - before
    assert found.residues.shape == (residues, 320)
    assert np.isfinite(found.residues).all()
    assert grown < 2_000
    tally(test=f"{residues:,} residues, windows", seconds=round(seconds, 1), growth_mb=round(grown))


def test_the_index_of_an_input_is_small(tmp_path: Path):
    """Arrays of the index: 16 bytes of digest and a few numbers for each record."""
    many_records(tmp_path / "x.fasta", 2_000)
    index = InputIndex.build([tmp_path / "x.fasta"], scratch=tmp_path)
    size = sum(a.nbytes for a in (index.unique_of, index.first_of, index.lengths, index.digests))
    assert size == 2_000 * (8 + 8 + 8 + 16)
