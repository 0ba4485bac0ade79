"""Damaged structure files give a Structure or an EsmkitError, whatever the damage."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esmkit.errors import EsmkitError
from esmkit.structure import Structure, chains_of, read_structure
from oracles.structure_files import NAMES, chain_lines, residue_lines, seqres, to_mmcif

QUICK = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])

PDB = "\n".join(
    [
        *seqres([NAMES[x] for x in "ACDMFGHIKLMNP"]),
        "MODRES 1ABC MSE A    4  MET",
        "MODEL        1",
        *chain_lines("ACD"),
        *residue_lines(4, "MSE", record="HETATM", altloc="A", occupancy=0.5),
        *chain_lines("GHI", 6, chain="B"),
        "ENDMDL",
        "END",
    ]
)
CIF = to_mmcif(PDB.splitlines(), {"1": 1, "2": 2, "3": 3}, ["ALA", "CYS", "ASP", "MET"])


def check(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        chains = chains_of(path)
    except EsmkitError:
        return
    assert chains
    for chain in chains:
        try:
            structure = read_structure(path, chain.chain)
        except EsmkitError:
            continue
        size = len(structure)
        assert isinstance(structure, Structure)
        assert size == len(structure.residue_numbers) == len(structure.cb) > 0
        assert len(structure.secondary_structure) == size
        for pairs in (structure.hydrogen_bonds, structure.strand_partners, structure.disulfides):
            assert ((pairs >= 0) & (pairs < size)).all()
        contacts = structure.contacts()
        np.testing.assert_array_equal(contacts, contacts.T)
        assert not contacts[~structure.resolved].any()
        assert structure._repr_html_()
    with pytest.raises(EsmkitError):
        read_structure(path, "no such chain")


@QUICK
@given(
    content=st.binary(max_size=300), packed=st.booleans(), start=st.sampled_from([b"", b"data_"])
)
def test_random_bytes(tmp_path: Path, content: bytes, packed: bool, start: bytes):
    content = start + content
    check(tmp_path / "x.pdb", gzip.compress(content) if packed else content)


def mutated(text: str) -> st.SearchStrategy[str]:
    """Replace, cut, repeat or swap pieces of a text."""
    place = st.integers(0, len(text))
    piece = st.text("ACN .0123456789-?'\"#_;\nHETAMLOX\u00e9\t", max_size=12)
    change = st.tuples(st.sampled_from(["put", "over", "cut", "again"]), place, place, piece)

    def apply(changes: list[tuple[str, int, int, str]]) -> str:
        out = text
        for kind, i, j, new in changes:
            a, b = sorted((i, j))
            if kind == "put":
                out = out[:i] + new + out[i:]
            elif kind == "over":  # the columns stay where they are
                out = out[:i] + new + out[i + len(new) :]
            elif kind == "cut":
                out = out[:a] + out[min(b, a + 200) :]
            else:
                out = out[:b] + out[a:b][:400] + out[b:]
        return out

    return st.lists(change, min_size=1, max_size=5).map(apply)


@QUICK
@given(text=mutated(PDB))
def test_mutated_pdb(tmp_path: Path, text: str):
    check(tmp_path / "x.pdb", text.encode())


@QUICK
@given(text=mutated(CIF))
def test_mutated_mmcif(tmp_path: Path, text: str):
    check(tmp_path / "x.cif", text.encode())


@QUICK
@given(
    steps=st.lists(
        st.tuples(
            st.integers(-999, 9999),
            st.sampled_from(["ALA", "GLY", "MSE", "UNK", "DA", "HOH", "QQQ"]),
            st.sampled_from(["ATOM", "HETATM"]),
            st.sampled_from([" ", "A", "B"]),
            st.floats(-999, 999),
        ),
        min_size=1,
        max_size=12,
    ),
    names=st.lists(st.sampled_from(["ALA", "GLY", "MET", "ACE"]), max_size=12),
)
def test_odd_chains(tmp_path: Path, steps: list, names: list[str]):
    lines = seqres(names)
    for number, name, record, altloc, place in steps:
        at = round(place / 3.8, 2)
        lines += residue_lines(number, name, record=record, altloc=altloc, at=at)
    check(tmp_path / "x.pdb", "\n".join(lines).encode())
    check(tmp_path / "x.cif", to_mmcif(lines, {str(i): i % 7 for i in range(30)}, names).encode())


def test_the_unchanged_files_are_read(tmp_path: Path):
    """So that the tests above do not damage what was never right."""
    for name, text, sequence in [("x.pdb", PDB, "ACDMFGHIKLMNP"), ("x.cif", CIF, "ACDM")]:
        (tmp_path / name).write_text(text)
        assert read_structure(tmp_path / name, "A").sequence == sequence
        check(tmp_path / name, text.encode())
