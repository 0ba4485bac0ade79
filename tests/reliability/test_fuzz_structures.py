"""Damaged and generated structure files, small and of real size: a chain, or a reason."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from fuzzing import Tally, peak

from esmkit.data import demo_structure
from esmkit.errors import InputError
from esmkit.sequences.proteins import ALLOWED_LETTERS
from esmkit.structure import Structure, read_structure
from oracles.structure_files import NAMES as THREE
from oracles.structure_files import residue_lines, to_mmcif

CORPUS = Path(__file__).parent / "corpus"

REAL = gzip.decompress(demo_structure().path.read_bytes()).decode().splitlines()
HEAD = [line for line in REAL if line[:6] in ("HEADER", "SEQRES", "MODRES", "HELIX ")]
ATOMS = [line for line in REAL if line.startswith("ATOM")][:160]
WATERS = [line for line in REAL if line.startswith("HETATM")][:6]
PDB = "\n".join([*HEAD, *ATOMS, "TER", *WATERS, "END", ""])
NAMES = [name for line in HEAD if line.startswith("SEQRES") for name in line[19:].split()]
CIF = to_mmcif([*ATOMS, *WATERS], {str(i): i for i in range(1, 30)}, NAMES)


def check(structure: Structure) -> None:
    size = len(structure)
    assert size > 0
    assert set(structure.sequence) <= ALLOWED_LETTERS
    assert structure.id.isprintable()
    assert structure.protein.header.isprintable()
    assert size == len(structure.residue_numbers) == len(structure.cb) == len(structure.backbone)
    assert (np.abs(structure.backbone[np.isfinite(structure.backbone)]) < 1e6).all()
    assert not np.isinf(structure.cb).any()


def test_the_files_are_read_before_they_are_damaged(tmp_path: Path):
    for name, text in (("x.pdb", PDB), ("x.cif", CIF)):
        (tmp_path / name).write_text(text)
        structure = read_structure(tmp_path / name, "A")
        check(structure)
        assert structure.sequence == demo_structure().sequence
        assert structure.resolved.sum() == 21


def test_files_that_unfold_without_end(tmp_path: Path):
    """A packed file of any size is given up once it is larger than any structure."""
    path = tmp_path / "x.pdb.gz"
    before = peak(reset=True)
    for block in (b"\0" * 2**20, b"REMARK 1\n" * 100_000):
        with gzip.open(path, "wb", 1) as handle:
            for _ in range(200):
                handle.write(block)
        with pytest.raises(
            InputError, match=r"is larger than any structure esmkit reads \(over 134,"
        ):
            read_structure(path)
    assert peak() - before < 2_000


def test_a_chain_of_9999_residues(tmp_path: Path):
    """The longest that a PDB file can number."""
    letters = ("ACDEFGHIKLMNPQRSTVWY" * 500)[:9_999]
    lines: list[str] = []
    for number, letter in enumerate(letters):
        height, place = divmod(number, 1_000)
        lines += residue_lines(number + 1, THREE[letter], at=place, shift=20 * height)
    (tmp_path / "x.pdb").write_text("\n".join(lines))
    tally = Tally("long chain")
    with tally.trial():
        structure = read_structure(tmp_path / "x.pdb")
        assert structure.sequence == letters
        check(structure)
    assert tally.outcomes["accepted"] == 1
