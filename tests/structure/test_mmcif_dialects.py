"""mmCIF as programs write it: each dialect of a chain gives what the chain's PDB file gives."""

import io
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import gemmi
import numpy as np
import pytest
from Bio.PDB.mmcifio import MMCIFIO
from Bio.PDB.PDBParser import PDBParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esmkit.errors import InputError
from esmkit.structure import Structure, chains_of, read_structure
from esmkit.structure.cif import read_blocks
from oracles.structure_files import ATOMS, atom_line, chain_lines, residue_lines, to_mmcif


class R(NamedTuple):
    """A residue: name, author number, insertion code, place in the extended chain, HETATM or not."""

    name: str
    number: int
    code: str
    at: int
    hetero: bool


def pdb(residues: list[R]) -> str:
    lines = []
    for r in residues:
        record = "HETATM" if r.hetero else "ATOM"
        atoms = ["O"] if r.name == "HOH" else ATOMS
        options = {"record": record, "icode": r.code or " ", "atoms": atoms}
        lines += residue_lines(r.number, r.name, at=r.at, **options)
    return "\n".join([*lines, "END", ""])


COLUMNS = (
    *("group_PDB", "label_atom_id", "label_alt_id", "label_comp_id", "label_asym_id"),
    *("label_entity_id", "label_seq_id", "Cartn_x", "Cartn_y", "Cartn_z", "occupancy"),
    *("pdbx_PDB_ins_code", "auth_seq_id", "auth_asym_id", "pdbx_PDB_model_num"),
)


def mmcif(residues: list[R], style: str, chain: str = "A") -> str:
    rows = []
    polymer = [r for r in residues if r.at < FAR]
    first = min(r.at for r in polymer)
    letter, counted, before = 64, 0, None
    for r in residues:
        is_polymer = r.at < FAR
        kind = (r.hetero, r.name if r.hetero else "")
        letter += kind != before
        before, counted = kind, counted + (not r.hetero)
        asym, entity, label = {
            "biopython": (chr(letter), "?", "." if r.hetero else str(counted)),
            "pymol": (".", ".", str(r.number)),
            "openmm": ("A", "?", str(r.number)),
            "phenix": ("A", "?", str(polymer.index(r) + 1) if is_polymer else "."),
            "authors": ("?", "?", "?"),
            "wwpdb": ("P" if is_polymer else "Q", "1" if is_polymer else "2",
                      str(r.at - first + 1) if is_polymer else "."),
        }[style]  # fmt: skip
        for line in pdb([r]).splitlines()[:-1]:
            row = ["HETATM" if r.hetero else "ATOM", line[12:16].strip(), ".", r.name, asym, entity]
            row += [label, *line[30:54].split(), "1.00", r.code or "?", str(r.number), chain, "1"]
            rows.append(row)
    names = [f"_atom_site.{name}" for name in COLUMNS]
    return "\n".join(["data_x", "#", "loop_", *names, *map(" ".join, rows), "#", ""])


FAR = 1000


def read(path: Path, text: str, chain: str | None = None) -> Structure:
    path.write_text(text)
    return read_structure(path, chain)


def assert_same(one: Structure, two: Structure) -> None:
    assert one.sequence == two.sequence
    assert one.residue_numbers == two.residue_numbers
    assert one.notes == two.notes
    for name in ("backbone", "cb", "sg"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


QUICK = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

residue = st.tuples(
    st.sampled_from(["ALA", "CYS", "GLY", "MSE", "SEP", "UNK"]),
    st.sampled_from([0, 0, 0, 0, 1, 4]),  # residues that are missing before it
    st.booleans(),  # inserted, so that its number is that of the one before
)


@st.composite
def chains(draw: st.DrawFn) -> list[R]:
    """A chain with gaps, insertion codes and modified residues in HETATM rows; ligands, water."""
    residues: list[R] = []
    number, at = draw(st.integers(-3, 90)), 1
    for name, missing, is_inserted in draw(st.lists(residue, min_size=2, max_size=10)):
        code = ""
        if residues and is_inserted and not missing:
            code = chr(ord(residues[-1].code) + 1) if residues[-1].code else "A"
        elif residues:
            number, at = number + missing, at + missing
            number += 1
        at += 1
        residues.append(R(name, number, code, at, name in ("MSE", "SEP")))
    if all(r.hetero for r in residues):
        residues[0] = residues[0]._replace(name="ALA", hetero=False)
    # A modified residue next to a gap on both sides, or at an end, is not told from a ligand.
    bonded = {(a.at, b.at) for a, b in pairwise(residues) if b.at == a.at + 1}
    ends = {x for pair in bonded for x in pair}
    residues = [
        r if r.at in ends or not r.hetero else r._replace(name="ALA", hetero=False)
        for r in residues
    ]
    if draw(st.booleans()):
        residues += [R("GLU", 900, "", FAR + 5, True), R("HOH", 901, "", FAR + 9, True)]
    return residues


@QUICK
@given(
    residues=chains(), style=st.sampled_from(["biopython", "pymol", "openmm", "phenix", "authors"])
)
def test_each_dialect_is_read_as_its_pdb_file(tmp_path: Path, residues: list[R], style: str):
    expected = read(tmp_path / "x.pdb", pdb(residues))
    assert_same(read(tmp_path / "x.cif", mmcif(residues, style)), expected)


@QUICK
@given(residues=chains())
def test_positions_of_wwpdb_count_without_the_sequence_too(tmp_path: Path, residues: list[R]):
    ours = read(tmp_path / "x.cif", mmcif(residues, "wwpdb"))
    polymer = [r for r in residues if r.at < FAR]
    there = {r.at - polymer[0].at: f"{r.number}{r.code}" for r in polymer}
    assert ours.residue_numbers == tuple(there.get(i, "") for i in range(max(there) + 1))


@QUICK
@given(
    residues=chains(),
    upper=st.booleans(),
    before=st.sampled_from(["", "data_first\n_entry.id x\n", "data_f\nloop_\n_a.b\n_a.c\n1 'loop_'\n"]),
    after=st.sampled_from(["", "data_restraints\n_chem_comp.id ALA\n"]),
    order=st.permutations(range(len(COLUMNS))),
)  # fmt: skip
def test_case_blocks_and_order_do_not_matter(
    tmp_path: Path, residues: list[R], upper: bool, before: str, after: str, order: list[int]
):
    text = mmcif(residues, "biopython")
    expected = read(tmp_path / "x.pdb", pdb(residues))
    head, loop, body = text.partition("loop_\n")
    lines = body.split("\n#\n")[0].splitlines()
    names, rows = lines[: len(COLUMNS)], [line.split() for line in lines[len(COLUMNS) :]]
    names = [names[i] for i in order]
    if upper:
        head, loop, before, after = head.upper(), loop.upper(), before.upper(), after.upper()
        names = [name.upper() for name in names]
        rows = [[*row[:3], row[3].lower(), *row[4:]] for row in rows]
    cells = [" ".join(row[i] for i in order) for row in rows]
    text = before + head + loop + "\n".join([*names, *cells, "#", ""]) + after
    assert_same(read(tmp_path / "x.cif", text), expected)


def by_biopython(text: str) -> str:
    structure = PDBParser(QUIET=True).get_structure("x", io.StringIO(text))
    handle, writer = io.StringIO(), MMCIFIO()
    writer.set_structure(structure)
    writer.save(handle)
    return handle.getvalue()


SEMET = [x for i, n in enumerate(["MSE", "LYS", "MSE", "ALA", "MSE"], 1)
         for x in residue_lines(i, n, record="HETATM" if n == "MSE" else "ATOM")]  # fmt: skip
GAP = [*chain_lines("MKT"), *chain_lines("AYI", 8)]


@pytest.mark.parametrize("chain", ["A", " "])
@pytest.mark.parametrize(("lines", "sequence"), [(SEMET, "MKMAM"), (GAP, "MKTXXXXAYI")])
def test_files_of_biopython(tmp_path: Path, lines: list[str], sequence: str, chain: str):
    text = "\n".join([*(line[:21] + chain + line[22:] for line in lines), "END", ""])
    structure = read(tmp_path / "x.cif", by_biopython(text))
    assert structure.sequence == sequence
    assert_same(structure, read(tmp_path / "x.pdb", text))
    assert (structure.id, structure.chain) == ("x_A" if chain == "A" else "x", chain.strip())


def test_a_missing_occupancy_of_biopython_is_1(tmp_path: Path):
    text = by_biopython(
        "\n".join([*(x[:54] + 6 * " " + x[60:] for x in chain_lines("AW")), "END", ""])
    )
    assert " None " in text
    assert read(tmp_path / "x.cif", text).sequence == "AW"


def test_segments_tell_chains_without_names_apart(tmp_path: Path):
    text = mmcif([R("ALA", 1, "", 1, False), R("TRP", 2, "", 2, False)], "openmm", ".")
    two = text.replace(" A ? 2 ", " B ? 2 ")
    (tmp_path / "x.cif").write_text(two.replace(" ? ", " . "))
    assert [chain.chain for chain in chains_of(tmp_path / "x.cif")] == ["A", "B"]


# Data blocks, columns and rows


def cif(sequence: str = "AW", **options) -> str:
    labels = {str(i): i for i in range(1, len(sequence) + 1)}
    return to_mmcif(chain_lines(sequence), labels, [], **options)


def test_of_several_blocks_with_atoms_the_first_is_read(tmp_path: Path):
    structure = read(tmp_path / "x.cif", cif() + cif("CCC").replace("TEST", "OTHER"))
    assert structure.sequence == "AW"
    assert structure.notes == ("2 data blocks of the file have atoms; the first is read, 'TEST'",)


def test_two_tables_of_atoms_in_a_block_are_refused(tmp_path: Path):
    text = cif() + cif("CCC").partition("#\n")[2]
    with pytest.raises(InputError, match=r"damaged mmCIF file \(two tables of atoms in one data"):
        read(tmp_path / "x.cif", text)


WATER = atom_line("O", "HOH", "A", 301, (0, 0, 19), record="HETATM")
LIGAND = atom_line("C1", "LIG", "A", 302, (0, 0, 29), record="HETATM")
FAULTS = [
    ("19.000", "?"),
    (" 1.00 10.0 301 ", " x 10.0 301 "),
    (" 301 A", " 30-1 A"),
    (" 301 A", " A000 A"),
]
FAULTS += [("29.000", "nan"), (" C1 . ", " C1 AB "), (" 302 A", " 3.2 A")]


@pytest.mark.parametrize(("old", "new"), FAULTS)
def test_a_row_that_is_not_protein_never_refuses_the_file(tmp_path: Path, old: str, new: str):
    lines = [*chain_lines("AW"), WATER, LIGAND]
    text = to_mmcif(lines, {"1": 1, "2": 2}, [])
    assert old in text
    structure = read(tmp_path / "x.cif", text.replace(old, new))
    assert structure.sequence == "AW"
    (note,) = structure.notes
    assert note.startswith(
        "1 row(s) without a number, coordinates, occupancy or alternate location"
    )
    assert note.endswith(("left out: HOH (1)", "left out: LIG (1)"))
    chains_of(tmp_path / "x.cif")


@pytest.mark.parametrize(
    ("old", "new"), [(" 3.800 0.000 0.000", " ? 0 0"), (" 10.0 1 A", " 10.0 x A")]
)
def test_a_row_of_the_protein_that_is_damaged_does(tmp_path: Path, old: str, new: str):
    with pytest.raises(
        InputError, match=r"x.cif', atom 1: missing or wrong (coord|residue number in)"
    ):
        read(tmp_path / "x.cif", cif().replace(old, new, 1))


def test_insertion_codes_in_the_author_number(tmp_path: Path):
    codes = [(52, " "), (52, "A"), (52, "B"), (53, " ")]
    lines = [x for i, (n, c) in enumerate(codes) for x in residue_lines(n, at=i, icode=c)]
    text = to_mmcif(lines, {"52": 1, "52A": 2, "52B": 3, "53": 4}, [])
    for code in "AB":
        text = text.replace(" 10.0 52 A 1\n", " 10.0 52 A 1\n")
        text = "\n".join(
            line.replace(f" {code} ", " ? ", 1).replace(" 10.0 52 ", f" 10.0 52{code} ")
            if f" P 1 {2 + (code == 'B')} {code} " in line else line
            for line in text.splitlines()
        )  # fmt: skip
    assert "52B" in text
    structure = read(tmp_path / "x.cif", text + "\n")
    assert structure.residue_numbers == ("52", "52A", "52B", "53")


def test_neighbours_with_one_author_number(tmp_path: Path):
    text = cif("AAW").replace(" 10.0 2 A", " 10.0 1 A")
    structure = read(tmp_path / "x.cif", text)
    assert structure.sequence == "AAW"
    assert structure.residue_numbers == ("1", "1", "3")
    assert structure.resolved.all()
    assert not structure.notes


def test_a_chain_is_found_by_its_label_too(tmp_path: Path):
    text = to_mmcif(chain_lines("AW"), {"1": 1, "2": 2}, ["ALA", "TRP"])
    structure = read(tmp_path / "x.cif", text, "P")
    assert (structure.chain, structure.id) == ("A", "x_A")
    assert structure.notes == ("'P' is the label of this chain; its authors call it 'A'",)
    assert not read(tmp_path / "x.cif", text, "A").notes


def test_other_polymers_of_an_author_chain_are_noted(tmp_path: Path):
    text = to_mmcif(chain_lines("AWC"), {"1": 1, "2": 2, "3": 3}, ["ALA", "TRP"])
    structure = read(tmp_path / "x.cif", text.replace(" CYS P 1 3 ", " CYS Q 3 1 "))
    assert structure.sequence == "AW"
    assert structure.notes == (
        "1 residue(s) of other polymers in this chain (label_asym_id Q) are left out; it is read as P",
    )


def test_positions_that_do_not_fit_the_sequence_are_aligned(tmp_path: Path):
    # entity_poly_seq is there, but label_seq_id counts the residues with coordinates
    names = ["MET", "LYS", "THR", "GLY", "GLY", "ALA", "TYR", "ILE", "CYS"]
    lines = [*chain_lines("MK"), *chain_lines("AYIC", 6)]
    labels = {number: i for i, number in enumerate("126789", 1)}
    structure = read(tmp_path / "x.cif", to_mmcif(lines, labels, names))
    assert structure.sequence == "MKTGGAYIC"
    assert np.flatnonzero(~structure.resolved).tolist() == [2, 3, 4]


def test_a_labelled_residue_after_a_gap_is_of_the_polymer(tmp_path: Path):
    # all labels count; the last residue is bonded to nothing, but the file says where it is
    lines = [*chain_lines("AW"), *residue_lines(5, "MSE", record="HETATM")]
    text = to_mmcif(lines, {"1": 1, "2": 2, "5": 3}, [])
    assert read(tmp_path / "x.cif", text).sequence == "AWXXM"
    assert read(tmp_path / "x.cif", to_mmcif(lines, {"1": 1, "2": 2}, [])).sequence == "AW"


def test_residues_without_a_position_among_those_that_have_one(tmp_path: Path):
    names = ["LYS", "ALA", "MSE", "TRP"]
    lines = [*residue_lines(2), *residue_lines(3, "MSE", record="HETATM"), *chain_lines("W", 4)]
    text = to_mmcif(lines, {"2": 2, "4": 4}, names).replace(" L 2 . ", " L 1 . ")
    structure = read(tmp_path / "x.cif", text)
    assert structure.sequence == "KAMW"
    assert structure.resolved.tolist() == [False, True, True, True]


CODE = "_entity_poly.entity_id 1\n_entity_poly.type 'polypeptide(L)'\n"
CODE += "_entity_poly.pdbx_seq_one_letter_code\n;MA(QQQ)\nW\n;\n"


@pytest.mark.parametrize("canonical", ["", "_entity_poly.pdbx_seq_one_letter_code_can MAKW\n"])
def test_the_sequence_in_letters(tmp_path: Path, canonical: str):
    lines = [*chain_lines("MA"), *residue_lines(3, "QQQ", record="HETATM"), *chain_lines("W", 4)]
    text = to_mmcif(lines[5:], {"2": 2, "3": 3, "4": 4}, []).replace(
        "data_TEST\n", f"data_T\n{CODE}{canonical}"
    )
    structure = read(tmp_path / "x.cif", text)
    assert structure.sequence == ("MAKW" if canonical else "MAXW")
    assert structure.resolved.tolist() == [False, True, True, True]
    note = "1 residue(s) QQQ have no letter of their own, read as X"
    assert structure.notes == (() if canonical else (note,))


def test_the_canonical_sequence_counts_where_the_other_is_not_known(tmp_path: Path):
    code = "_entity_poly.entity_id 1\n_entity_poly.pdbx_seq_one_letter_code ?\n"
    code += "_entity_poly.pdbx_seq_one_letter_code_can GAKMW\n"
    text = to_mmcif([*chain_lines("A", 2), *chain_lines("W", 5)], {"2": 2, "5": 5}, [])
    text = text.replace("data_TEST\n", f"data_T\n{code}")
    assert read(tmp_path / "x.cif", text).sequence == "GAKMW"


def test_a_sequence_is_found_by_the_chain_where_atoms_have_no_entity(tmp_path: Path):
    text = to_mmcif(chain_lines("AW", 2), {}, ["MET", "ALA", "TRP"], leave_out=("label_entity_id",))
    strand = "data_T\n_entity_poly.entity_id 1\n_entity_poly.pdbx_strand_id B,A\n"
    assert read(tmp_path / "x.cif", text.replace("data_TEST\n", strand)).sequence == "MAW"


@pytest.mark.parametrize(
    "gone", [("group_PDB",), ("label_entity_id", "label_asym_id"), ("label_seq_id",)]
)
def test_columns_that_are_not_there(tmp_path: Path, gone: tuple[str, ...]):
    lines = [*chain_lines("AW"), WATER, LIGAND, *residue_lines(400, "GLU", at=50, record="HETATM")]
    text = to_mmcif(lines, {"1": 1, "2": 2}, [], leave_out=gone)
    assert read(tmp_path / "x.cif", text).sequence == "AW"


def test_names_and_residues_of_the_authors_alone(tmp_path: Path):
    text = cif().replace("label_atom_id", "auth_atom_id").replace("label_comp_id", "auth_comp_id")
    assert read(tmp_path / "x.cif", text).sequence == "AW"


def test_numbers_with_an_uncertainty(tmp_path: Path):
    structure = read(tmp_path / "x.cif", cif().replace(" 3.800 ", " 3.800(12) "))
    assert structure.backbone[0, 0, 0] == np.float32(3.8)


# Letters


def test_what_a_letter_does_not_say_is_noted(tmp_path: Path):
    names = ["ALA", "DAL", "CRO", "UNK", "DAL", "TRP"]
    chemistry = "_chem_comp.id CRO\n_chem_comp.mon_nstd_parent_comp_id 'THR, TYR, GLY'\n"
    lines = [x for i, name in enumerate(names, 1) if name != "CRO" for x in residue_lines(i, name)]
    text = to_mmcif(lines, {str(i): i for i in range(1, 7)}, names)
    structure = read(tmp_path / "x.cif", text.replace("data_TEST\n", f"data_T\n{chemistry}"))
    assert structure.sequence == "AAXXAW"
    assert structure.notes == (
        "2 residue(s) DAL are D-amino acids, read as A",
        "1 residue(s) CRO (from THR, TYR, GLY) have no letter of their own, read as X",
        "1 residue(s) UNK are not known to the file's authors, read as X",
    )


def test_the_mirrored_letters_are_those_of_gemmi(tmp_path: Path):
    from esmkit.structure.letters import _MIRRORED, letter_of

    for name, letter in _MIRRORED.items():
        assert gemmi.find_tabulated_residue(name).one_letter_code == letter.lower()
        assert letter_of(name, {}) == letter
    assert len(_MIRRORED) == 19


# The text of CIF

words = st.sampled_from(
    [
        "1",
        "a'b",
        "?",
        ".",
        "'x y'",
        '"it\'s"',
        "'a'b'",
        "'loop_'",
        "'data_x'",
        "x#y",
        "'_a.b'",
        "\n;t\n u;\n;\n",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    blocks=st.lists(
        st.tuples(st.lists(words, max_size=3), st.lists(st.tuples(words, words), max_size=4)),
        min_size=1,
        max_size=3,
    ),
    comment=st.sampled_from(["", " # a 'comment", "\t"]),
)
def test_the_text_is_read_as_gemmi_reads_it(blocks: list, comment: str):
    text = ""
    for i, (singles, rows) in enumerate(blocks):
        text += f"Data_b{i}{comment}\n"
        text += "".join(f"_S.x{k} {word}{comment}\n" for k, word in enumerate(singles))
        if rows:
            text += "LOOP_\n_l.A\n_l.b\n" + "".join(f"{a} {b}{comment}\n" for a, b in rows)
    ours = read_blocks(text.split("\n"))
    theirs = gemmi.cif.read_string(text)
    assert [name for name, _ in ours] == [block.name for block in theirs]
    for (_, items), block in zip(ours, theirs, strict=True):
        tags = [
            tag
            for item in block
            for tag in (item.loop.tags if item.loop else [item.pair[0]])  # type: ignore[index]
        ]
        assert list(items) == [tag.lower() for tag in tags]
        for tag in tags:
            values = [
                cell if cell in "?." else gemmi.cif.as_string(cell)
                for cell in block.find_values(tag)
            ]
            assert items[tag.lower()] == values
