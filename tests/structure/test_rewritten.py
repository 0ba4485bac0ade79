"""Real files before and after other programs' writers, against the sequences that wwPDB gives.

Biopython's and gemmi's writers, with and without the sequence: the residues with coordinates, their
letters, numbers, places and the gaps between them are the same. gemmi is an oracle too: it tells
the canonical sequence of a file.
"""

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest
from Bio.PDB.mmcifio import MMCIFIO
from Bio.PDB.MMCIFParser import MMCIFParser
from Bio.PDB.PDBIO import PDBIO
from Bio.PDB.PDBParser import PDBParser

from esmkit.structure import Structure, chains_of, read_structure

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path.name for path in CORPUS.glob("*.gz"))


def proteins(path: Path) -> dict[str, Structure]:
    chains = [chain.chain for chain in chains_of(path) if chain.kind == "protein"]
    return {chain: read_structure(path, chain) for chain in chains}


def by_biopython(path: Path, target: Path, kind: str) -> None:
    parser = (MMCIFParser if ".cif" in path.name else PDBParser)(QUIET=True)
    with gzip.open(path, "rt") as handle, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structure = parser.get_structure("x", handle)
    writer = MMCIFIO() if kind == "cif" else PDBIO()
    writer.set_structure(structure)
    writer.save(str(target))


def by_gemmi(path: Path, target: Path, kind: str, with_sequence: bool, labels: str) -> None:
    structure = gemmi.read_structure(str(path))
    if labels == "new":
        structure.setup_entities()
        structure.assign_label_seq_id()
    elif labels == "none":
        for residue in (r for model in structure for chain in model for r in chain):
            residue.subchain, residue.entity_id, residue.label_seq = "", "", None
    if kind == "pdb":
        options = gemmi.PdbWriteOptions(minimal=not with_sequence)
        target.write_text(structure.make_pdb_string(options))
    elif with_sequence:
        structure.make_mmcif_document().write_file(str(target))
    else:
        groups = gemmi.MmcifOutputGroups(False, atoms=True, group_pdb=True)
        structure.make_mmcif_document(groups).write_file(str(target))


WRITERS: dict[str, tuple[bool, Callable[[Path, Path], None]]] = {
    "biopython.cif": (False, lambda a, b: by_biopython(a, b, "cif")),
    "biopython.pdb": (False, lambda a, b: by_biopython(a, b, "pdb")),
    "gemmi.cif": (True, lambda a, b: by_gemmi(a, b, "cif", True, "old")),
    "gemmi.pdb": (True, lambda a, b: by_gemmi(a, b, "pdb", True, "old")),
    "gemmi_new_labels.cif": (True, lambda a, b: by_gemmi(a, b, "cif", True, "new")),
    "gemmi_atoms.cif": (False, lambda a, b: by_gemmi(a, b, "cif", False, "old")),
    "gemmi_atoms_new_labels.cif": (False, lambda a, b: by_gemmi(a, b, "cif", False, "new")),
    "gemmi_atoms_no_labels.cif": (False, lambda a, b: by_gemmi(a, b, "cif", False, "none")),
    "gemmi_atoms.pdb": (False, lambda a, b: by_gemmi(a, b, "pdb", False, "old")),
}


def core(structure: Structure) -> tuple[slice, str]:
    """From the first to the last residue with coordinates, those in between as x."""
    is_there = [number != "" for number in structure.residue_numbers]
    first, last = is_there.index(True), len(is_there) - is_there[::-1].index(True)
    letters = zip(structure.sequence, is_there, strict=True)
    return slice(first, last), "".join(c if there else "x" for c, there in letters)[first:last]


def assert_same(one: Structure, two: Structure, with_sequence: bool) -> None:
    assert one.chain == two.chain
    (a, letters), (b, others) = core(one), core(two)
    assert letters == others
    if with_sequence:
        assert one.sequence == two.sequence
        assert a == b
    assert one.residue_numbers[a] == two.residue_numbers[b]
    for name in ("backbone", "cb", "sg"):  # PDB has three decimals
        np.testing.assert_allclose(getattr(one, name)[a], getattr(two, name)[b], atol=1.1e-3)
    np.testing.assert_array_equal(one.resolved[a], two.resolved[b])
    close = np.abs(one.distances[a, a] - 8) > 0.01  # no rounding decides
    np.testing.assert_array_equal(one.contacts()[a, a][close], two.contacts()[b, b][close])


@pytest.mark.parametrize("name", FILES)
def test_rewritten_files_hold_the_same_chains(tmp_path: Path, name: str):
    before = proteins(CORPUS / name)
    assert before
    for kind, (with_sequence, write) in WRITERS.items():
        target = tmp_path / kind
        write(CORPUS / name, target)
        after = proteins(target)
        assert list(after) == list(before), kind
        for chain, structure in before.items():
            assert_same(structure, after[chain], with_sequence)


@pytest.mark.parametrize("name", ["1a8o", "2xhe_b"])
def test_the_two_formats_of_an_entry_agree(name: str):
    one, two = (proteins(CORPUS / f"{name}.{kind}.gz") for kind in ("cif", "pdb"))
    assert list(one) == list(two)
    for chain in one:
        assert_same(one[chain], two[chain], with_sequence=True)
        assert one[chain].notes == two[chain].notes


def canonical(path: Path) -> dict[str, str]:
    """The sequence of each chain: wwPDB's own of mmCIF, SEQRES with gemmi's letters of PDB."""
    if ".cif" in path.name:
        names = ["pdbx_strand_id", "pdbx_seq_one_letter_code_can"]
        rows = gemmi.cif.read(str(path)).sole_block().find("_entity_poly.", names)
        return {
            chain: "".join(row.str(1).split()) for row in rows for chain in row.str(0).split(",")
        }
    structure = gemmi.read_structure(str(path))
    structure.setup_entities()
    letters = {}
    for chain in structure[0]:
        entity = structure.get_entity_of(chain.get_polymer())
        known = [
            gemmi.find_tabulated_residue(name)
            for name in (entity or gemmi.Entity("")).full_sequence
        ]
        letters[chain.name] = "".join(found.one_letter_code.upper() for found in known)
    return letters


@pytest.mark.parametrize("name", [name for name in FILES if "7cfn" not in name])
def test_the_sequence_is_the_canonical_one_of_wwpdb(name: str):
    expected = canonical(CORPUS / name)
    model = gemmi.read_structure(str(CORPUS / name))[0]
    for chain, ours in proteins(CORPUS / name).items():
        assert ours.sequence == expected[chain].replace(" ", "X")
        there = [r for r in model[chain].first_conformer() if r.find_atom("N", "*")]
        numbers = {f"{r.seqid.num}{r.seqid.icode}".strip() for r in there if r.find_atom("CA", "*")}
        assert {number for number in ours.residue_numbers if number} == numbers
