"""Secondary structure of a chain among others of its file, against mdtraj on the whole file."""

import gzip
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esmkit.data import demo_structure, ts50
from esmkit.structure import Structure, read_structure, read_structures


def cut(source: Path, after: int, folder: Path, gap: int = 2) -> Path:
    """Write a chain as two, A and B, some residues apart; the first residue of each is a proline.

    mdtraj gives the first residue of a chain the amide hydrogen that the last one before it would
    place; a proline has none.
    """
    lines = gzip.decompress(source.read_bytes()).decode().splitlines()
    atoms = [line for line in lines if line.startswith("ATOM") and line[16] in " A"]
    numbers = list(dict.fromkeys(line[22:27] for line in atoms))
    rows = []
    for chain, part in (("A", numbers[:after]), ("B", numbers[after + gap :])):
        for line in atoms:
            if line[22:27] in part and line[12:16].strip() in ("N", "CA", "C", "O", "CB"):
                name = "PRO" if line[22:27] == part[0] else line[17:20]
                rows.append(f"{line[:17]}{name} {chain}{line[22:]}")
        rows.append("TER")
    path = folder / f"cut{after}.pdb"
    path.write_text("\n".join([*rows, "END"]) + "\n")
    return path


def of_mdtraj(path: Path) -> list[str]:
    """The letters of each chain, from the whole file."""
    whole: Any = mdtraj.load_pdb(str(path))
    letters = mdtraj.compute_dssp(whole, simplified=False)[0]
    places = [residue.chain.index for residue in whole.topology.residues]
    return [
        "".join(
            "-" if x == " " else x for x, place in zip(letters, places, strict=True) if place == c
        )
        for c in range(whole.n_chains)
    ]


@settings(max_examples=12, deadline=None)
@given(number=st.integers(0, 49), part=st.floats(0.2, 0.8))
def test_letters_are_those_of_the_whole_file(tmp_path_factory, number: int, part: float):
    chain = ts50()[number]
    path = cut(chain.path, int(part * len(chain)), tmp_path_factory.mktemp("cut"))
    found = list(read_structures(path.parent))
    assert [one.secondary_structure for one in found] == of_mdtraj(path)
    assert [read_structure(path, one.chain).secondary_structure for one in found] == of_mdtraj(path)


def test_strands_that_pair_with_another_chain_are_strands(tmp_path: Path):
    # the last strand of ubiquitin, a chain of its own, pairs with the first ones
    first, second = read_structures(cut(demo_structure().path, 60, tmp_path).parent)
    alone = (
        second.secondary_structure.count("E"),
        Structure(**{name: getattr(second, name) for name in FIELDS}).secondary_structure.count(
            "E"
        ),
    )
    assert alone == (6, 0)
    assert first.around_letters[:3] == second.sequence[:3]
    assert len(second.around) == len(first)
    # pairs and bonds are those within the chain
    for chain in (first, second):
        for pairs in (chain.strand_partners, chain.hydrogen_bonds):
            assert (pairs < len(chain)).all()


FIELDS = (
    *("id", "path", "chain", "model", "sequence", "residue_numbers"),
    *("backbone", "cb", "sg"),
)


def test_a_chain_alone_is_what_it_was():
    for chain in ts50()[:5]:
        assert chain.around.shape == (0, 4, 3)
        assert chain.around_letters == ""


def test_what_is_far_away_does_not_count(tmp_path: Path):
    path = cut(demo_structure().path, 40, tmp_path)
    lines = path.read_text().splitlines()
    moved = [
        f"{line[:30]}{float(line[30:38]) + 100:8.3f}{line[38:]}" if line[21:22] == "B" else line
        for line in lines
    ]
    path.write_text("\n".join(moved) + "\n")
    chain = read_structure(path, "A")
    assert len(chain.around) == 0
    assert [chain.secondary_structure] == of_mdtraj(path)[:1]


def test_the_arrays_are_read_only_and_nucleic_acids_do_not_count(tmp_path: Path):
    path = cut(demo_structure().path, 40, tmp_path)
    chain = read_structure(path, "A")
    with pytest.raises(ValueError, match="read-only"):
        chain.around[0] = 0
    with path.open("a") as handle:
        for number in range(1, 5):
            for atom in ("P", "C1'", "N1"):
                handle.write(f"ATOM   9999  {atom:3}  DA C{number:4}      30.000  30.000  30.000\n")
    np.testing.assert_array_equal(read_structure(path, "A").around, chain.around)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_models_that_are_written_as_chains_do_not_bond_to_each_other(tmp_path: Path, shift: float):
    text = gzip.decompress(demo_structure().path.read_bytes()).decode()
    atoms = [line for line in text.splitlines() if line.startswith("ATOM")]
    rows = [*atoms, "TER"]
    for chain in "BC":
        rows += [
            f"{row[:21]}{chain}{row[22:30]}{float(row[30:38]) + shift:8.3f}{row[38:]}"
            for row in atoms
        ]
        rows.append("TER")
    path = tmp_path / "models.pdb"
    path.write_text("\n".join([*rows, "END"]) + "\n")
    for chain in read_structures(tmp_path):
        assert chain.secondary_structure == demo_structure().secondary_structure
        assert chain.notes[0].startswith("2 other chain(s) lie where this one is")
