"""Structure files: every hard case of PDB and mmCIF, against mdtraj, scipy, mkdssp and columns.

esmkit reads through Biopython, so Biopython is no oracle here.
"""

import gzip
import pickle
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest
from scipy.spatial.distance import cdist

import esmkit
from esmkit.data import demo_proteins, demo_structure
from esmkit.errors import InputError, OptionError
from esmkit.structure import Structure, chains_of, read_structure, read_structures, split_chain
from oracles.structure_files import (
    NAMES,
    atom_line,
    chain_lines,
    residue_lines,
    seqres,
    to_mmcif,
    ubiquitin_text,
)


def write(path: Path, lines: list[str] | str) -> Path:
    path.write_text(lines if isinstance(lines, str) else "\n".join([*lines, "END", ""]))
    return path


@pytest.fixture
def read(tmp_path: Path):
    """Write lines to a file and read it back."""

    def reader(lines: list[str] | str, chain: str | None = None, name: str = "x.pdb", **options):
        return read_structure(write(tmp_path / name, lines), chain, **options)

    return reader


# Ubiquitin, against independent readers


# Å: Biopython holds float32, whose step is 4e-6 at 50 Å; mdtraj holds nanometres in float32.
FLOAT32 = 1e-5


def test_ubiquitin_against_mdtraj(tmp_path: Path):
    ours = demo_structure()
    theirs: Any = mdtraj.load_pdb(write(tmp_path / "1ubi.pdb", ubiquitin_text()))
    residues = [r for r in theirs.topology.residues if r.is_protein]
    assert [str(r.resSeq) for r in residues] == list(ours.residue_numbers)
    xyz = 10 * theirs.xyz[0].astype(np.float64)
    cb = [xyz[r.atom("CA" if r.name == "GLY" else "CB").index] for r in residues]
    backbone = [[xyz[r.atom(name).index] for name in ("N", "CA", "C", "O")] for r in residues]
    np.testing.assert_allclose(ours.cb, cb, rtol=0, atol=FLOAT32)
    np.testing.assert_allclose(ours.backbone, backbone, rtol=0, atol=FLOAT32)
    np.testing.assert_array_equal(ours.ca, ours.backbone[:, 1])
    assert ours.sequence == demo_proteins()[0].sequence
    assert ours.id == "1ubi_A"
    assert ours.resolved.all()
    assert not ours.notes


def test_distances_and_contacts_against_scipy():
    cb = {}
    for line in ubiquitin_text().splitlines():
        if line[:4] == "ATOM" and line[12:16].strip() == ("CA" if line[17:20] == "GLY" else "CB"):
            cb[int(line[22:26])] = [float(line[i : i + 8]) for i in (30, 38, 46)]
    assert len(cb) == 76
    expected = cdist(list(cb.values()), list(cb.values()))
    ours = demo_structure()
    assert ours.distances.dtype == np.float32
    np.testing.assert_allclose(ours.distances, expected, rtol=0, atol=FLOAT32)
    for cutoff in (8.0, 4, 12.5):
        contacts = ours.contacts(cutoff)
        assert contacts.dtype == bool
        np.testing.assert_array_equal(contacts, (expected < cutoff) & ~np.eye(76, dtype=bool))
    np.testing.assert_array_equal(ours.contacts(), ours.contacts(8.0))


@pytest.mark.parametrize("cutoff", [0, -1, np.nan, np.inf, "8", None])
def test_a_cutoff_is_a_positive_number(cutoff):
    with pytest.raises(OptionError, match=f"cutoff of .* number.*, not {cutoff!r}"):
        demo_structure().contacts(cutoff)


def energies(backbone: np.ndarray, sequence: str) -> np.ndarray:
    """Kabsch-Sander energies [C=O, N-H] in kcal/mol, from the formula of the paper."""
    n, _, c, o = backbone.transpose(1, 0, 2)
    direction = np.zeros_like(n)
    direction[1:] = (c - o)[:-1]
    direction[1:] /= np.linalg.norm(direction[1:], axis=1, keepdims=True)
    h = n + direction  # DSSP puts H at 1 Å from N, against the C=O before
    energy = 27.9 * (1 / cdist(o, n) + 1 / cdist(c, h) - 1 / cdist(o, h) - 1 / cdist(c, n))
    energy[:, [i for i, letter in enumerate(sequence) if letter == "P"]] = 0
    energy[:, 0] = 0
    return energy


def test_hydrogen_bonds_against_the_formula():
    ours = demo_structure()
    energy = energies(ours.backbone, ours.sequence)
    n = len(ours)
    for i in range(n):  # a residue has no bond with itself, nor N-H with the C=O just before it
        energy[i, i] = 0
        if i:
            energy[i - 1, i] = 0
    expected = set()
    for donor in range(n):
        best = np.argsort(energy[:, donor])[:2]
        expected |= {(donor, int(a)) for a in best if energy[a, donor] < -0.5}
    assert {tuple(pair) for pair in ours.hydrogen_bonds.tolist()} == expected
    assert len(expected) > 40
    assert ours.hydrogen_bonds.dtype == np.int64


# mkdssp 4.2.2 on the file of ubiquitin without the ATOM lines of these residues; `.` stands for
# what it prints as a chain break, and P (polyproline) is written as coil.
WITH_BREAKS = {
    (): "-EEEEEETTS-EEEEE--TT-BHHHHHHHHHHHH---GGGEEEEETTEE--TTSBGGGGT--TT-EEEEEE--S--",
    (28,): "-EEEEEETTS-EEEEE--TT-BHHHH-.-HHHHH---GGGEEEEETTEE--TTSBGGGGT--TT-EEEEEE--S--",
    (44,): "-EEEEEETTS-EEEEE--TT-BHHHHHHHHHHHH---GGGEE-.-TT----TTSBGGGGT--TT-EEEEEE--S--",
    (4, 5): "-B-..-BTTS-----B--TT-BHHHHHHHHHHHH---GGGEEEEETTEE--TTSBGGGGT--TT---EEEE--S--",
    (70,): "-EEEEE-TTS-EEEEE--TT-BHHHHHHHHHHHH---GGG---EETTEE--TTSBGGGGT--TT-EEE-.---S--",
}


@pytest.mark.parametrize("gone", WITH_BREAKS)
def test_secondary_structure_across_breaks_against_mkdssp(read, gone: tuple[int, ...]):
    lines = ubiquitin_text().splitlines()
    kept = [x for x in lines if not (x.startswith("ATOM") and int(x[22:26]) in gone)]
    ours = read(kept)
    whole = demo_structure()
    assert ours.sequence == whole.sequence  # SEQRES
    assert [i + 1 for i in np.flatnonzero(~ours.resolved)] == list(gone)
    assert ours.secondary_structure == WITH_BREAKS[gone]
    three = str.maketrans("HGIEBTS-", "HHHEECCC")
    assert ours.secondary_structure_3 == WITH_BREAKS[gone].translate(three)
    # the residue after a break has no amide hydrogen that could be placed
    assert not set(gone) & set(ours.hydrogen_bonds[:, 0].tolist())


def test_strand_partners_of_ubiquitin():
    # columns BP1 and BP2 of mkdssp 4.2.2, 1-based there
    expected = (
        "2:16,3:15,4:14,4:66,5:13,5:67,6:12,6:68,7:69,22:55,41:71,42:70,43:69,44:49,44:68,45:48"
    )
    pairs = [tuple(int(i) - 1 for i in pair.split(":")) for pair in expected.split(",")]
    ours = demo_structure().strand_partners
    assert ours.dtype == np.int64
    assert [tuple(pair) for pair in ours.tolist()] == pairs


# The sequence and its gaps


def test_gaps_by_numbering(read):
    structure = read([*residue_lines(1), *residue_lines(2, "GLY"), *residue_lines(6, "TRP")])
    assert structure.sequence == "AGXXXW"
    assert structure.residue_numbers == ("1", "2", "", "", "", "6")
    assert structure.resolved.tolist() == [True, True, False, False, False, True]
    assert np.isnan(structure.distances[2]).all()
    assert structure.distances[0, 5] == pytest.approx(
        np.linalg.norm(structure.cb[0] - structure.cb[5])
    )
    assert not structure.contacts(1000)[2].any()
    assert structure.secondary_structure[2:5] == "..."


def test_bonded_neighbours_have_no_gap_whatever_their_numbers(read):
    structure = read([*residue_lines(1), *residue_lines(1001, at=2), *residue_lines(1000, at=3)])
    assert structure.sequence == "AAA"
    assert structure.residue_numbers == ("1", "1001", "1000")
    assert not structure.notes


def test_without_c_the_alphas_tell_who_is_bonded(read):
    lines = [*residue_lines(1, atoms=["N", "CA", "CB"]), *residue_lines(5, at=2)]
    assert read(lines).sequence == "AA"
    lines = [*residue_lines(1, atoms=["N", "CA", "CB"]), *residue_lines(5, at=5)]
    assert read(lines).sequence == "AXXXA"


def test_absurd_jumps_write_no_x(read):
    lines = [*residue_lines(1), *residue_lines(203, at=100), *residue_lines(204, at=101)]
    structure = read(lines)
    assert structure.sequence == "AAA"
    assert structure.notes == (
        "the numbering jumps by 202 between residues 1 and 203; no X written",
    )
    lines = [*residue_lines(1), *residue_lines(202, at=100)]
    assert len(read(lines)) == 202


def test_a_gap_too_wide_for_its_numbers_writes_no_x(read):
    structure = read([*residue_lines(1), *residue_lines(3, at=20)])
    assert structure.sequence == "AA"
    assert structure.notes == (
        "72 Å between residues 1 and 3, too far for 1 missing; no X written",
    )


def test_seqres_gives_the_missing_residues(read):
    names = [NAMES[letter] for letter in "MKACDEFGHIKLMW"]
    lines = seqres(names) + chain_lines("ACD", 3) + chain_lines("IKL", 10)
    structure = read(lines)
    assert structure.sequence == "MKACDEFGHIKLMW"
    assert np.flatnonzero(structure.resolved).tolist() == [2, 3, 4, 9, 10, 11]
    assert structure.residue_numbers[2:5] == ("3", "4", "5")
    assert structure.residue_numbers[0] == ""
    assert not structure.notes


@pytest.mark.parametrize(("number", "expected"), [(5, [0, 1, 4]), (4, [0, 1, 3]), (3, [0, 1, 2])])
def test_numbering_decides_between_equal_places_in_seqres(read, number: int, expected: list[int]):
    # AW(AAA): which of three alanines is there?
    lines = seqres([NAMES[x] for x in "AWAAA"]) + chain_lines("AW")
    structure = read([*lines, *residue_lines(number, at=20)])
    assert structure.sequence == "AWAAA"
    assert np.flatnonzero(structure.resolved).tolist() == expected


def test_bonded_residues_stay_together_in_seqres(read):
    # An alignment letter by letter could put the first A of "AC" before the gap.
    lines = seqres([NAMES[x] for x in "WAGGAC"]) + chain_lines("W") + chain_lines("AC", 5)
    assert np.flatnonzero(read(lines).resolved).tolist() == [0, 4, 5]


def test_runs_find_their_place_in_seqres_whatever_their_numbers(read):
    lines = seqres([NAMES[x] for x in "MACDEFGHIKLMW"]) + chain_lines("ACD", 7)
    lines += [x for i in range(2) for x in residue_lines(501 + i, NAMES["KL"[i]], at=40 + i)]
    structure = read(lines)
    assert structure.sequence == "MACDEFGHIKLMW"
    assert structure.residue_numbers[1:4] == ("7", "8", "9")
    assert structure.residue_numbers[9:11] == ("501", "502")


def test_bonds_decide_where_the_numbers_do_not_fit(read):
    # the A of "AC" could stand before the gap as well; the W of "WG" is a mutation
    lines = seqres([NAMES[x] for x in "KAGGACLMNPQRSTVFG"]) + chain_lines("K", 50)
    lines += [*chain_lines("AC", 5), *chain_lines("LMNPQRSTV", 7), *chain_lines("WG", 16)]
    structure = read(lines)
    assert structure.sequence == "KAGGACLMNPQRSTVWG"
    assert np.flatnonzero(~structure.resolved).tolist() == [1, 2, 3]


def test_a_mutated_end_stays_with_the_residue_it_is_bonded_to(read):
    # W stands for the D; the full sequence has a W of its own where residues are missing
    lines = seqres([NAMES[x] for x in "MKDWLACEFGHIKLPQRST"]) + chain_lines("MKW", 50)
    structure = read([*lines, *chain_lines("ACEFGHIKLPQRST", 5)])
    assert structure.sequence == "MKWWLACEFGHIKLPQRST"
    assert np.flatnonzero(~structure.resolved).tolist() == [3, 4]
    # what stands alone finds its letter
    structure = read([*lines[:-5], *residue_lines(90, "TRP"), *chain_lines("ACEFGHIKLPQRST", 5)])
    assert structure.sequence == "MKDWLACEFGHIKLPQRST"
    assert np.flatnonzero(~structure.resolved).tolist() == [2, 4]


def test_numbers_that_count_the_full_sequence_are_taken_as_they_are(read):
    structure = read(seqres(["ALA"] * 5) + chain_lines("AA", 3))
    assert np.flatnonzero(structure.resolved).tolist() == [2, 3]


def test_seqres_of_another_chain_is_not_used(read):
    wrong = [NAMES[x] for x in "WWWWWWWWWW"]
    structure = read(seqres(wrong) + chain_lines("ACDEF"))
    assert structure.sequence == "ACDEF"
    assert "the full sequence that the file gives does not fit" in structure.notes[0]
    assert read(seqres(wrong[:3]) + chain_lines("ACDEF")).sequence == "ACDEF"


def test_one_residue_that_seqres_names_otherwise_has_the_letter_of_its_atoms(read):
    structure = read(seqres([NAMES[x] for x in "ACDEFGHIKLM"]) + chain_lines("ACDEFGHIKLV"))
    assert structure.sequence == "ACDEFGHIKLV"


def test_caps_are_no_residues(read):
    lines = seqres(["ACE", "ALA", "TRP", "NH2"]) + residue_lines(
        0, "ACE", record="HETATM", atoms=["C", "O"]
    )
    structure = read(
        [*lines, *chain_lines("AW"), *residue_lines(3, "NH2", record="HETATM", atoms=["N"])]
    )
    assert structure.sequence == "AW"
    assert structure.resolved.all()


def test_caps_in_mmcif_shift_the_positions(read):
    text = to_mmcif(chain_lines("AW"), {"1": 2, "2": 4}, ["ACE", "ALA", "LYS", "TRP", "NH2"])
    structure = read(text, name="y.cif")
    assert structure.sequence == "AKW"
    assert structure.resolved.tolist() == [True, False, True]


def test_insertion_codes_keep_their_order_and_make_no_gaps(read):
    codes = [(52, " "), (52, "A"), (52, "B"), (53, " ")]
    lines = [x for i, (n, c) in enumerate(codes) for x in residue_lines(n, at=i, icode=c)]
    structure = read(lines)
    assert structure.residue_numbers == ("52", "52A", "52B", "53")
    assert structure.sequence == "AAAA"
    np.testing.assert_allclose(structure.ca[:, 0], [1.25, 5.05, 8.85, 12.65], rtol=0, atol=FLOAT32)
    # inserted residues that are missing leave no number behind
    assert read(lines[:5] + [x for x in lines if x[26] == "B"]).sequence == "AA"


# Alternatives


@pytest.mark.parametrize(
    ("of_a", "of_b", "expected"), [(0.4, 0.6, 3.0), (0.6, 0.4, 0.0), (0.5, 0.5, 0.0)]
)
def test_alternate_locations(read, of_a: float, of_b: float, expected: float):
    a = residue_lines(2, altloc="A", occupancy=of_a)
    b = residue_lines(2, altloc="B", occupancy=of_b, shift=3.0)
    mixed = [line for pair in zip(a, b, strict=True) for line in pair]
    for lines in (mixed, a + b, b + a):
        structure = read([*residue_lines(1), *lines, *residue_lines(3)])
        assert structure.sequence == "AAA"
        np.testing.assert_allclose(structure.backbone[1, :, 2], expected)
        np.testing.assert_allclose(structure.cb[1, 2], 1.25 + expected)


def test_one_location_for_the_whole_residue(read):
    # single atoms of A have the higher occupancy, but on the whole it is B
    a = residue_lines(1, altloc="A", occupancy=0.3)
    a[0] = a[0].replace("  0.30", "  0.90")
    b = residue_lines(1, altloc="B", occupancy=0.6, shift=3.0, atoms=["N", "CA", "C", "CB"])
    structure = read([*a, *b, *residue_lines(2)])
    np.testing.assert_allclose(structure.backbone[0, [0, 1, 2], 2], 3.0)
    np.testing.assert_allclose(structure.backbone[0, 3, 2], 0.0)  # B has no O


def test_alternate_locations_of_ubiquitin(read):
    lines = ubiquitin_text().splitlines()
    random = np.random.default_rng(0)
    out, alphas = [], []
    for line in lines:
        x = float(line[30:38]) if line.startswith("ATOM") else 0.0
        if line.startswith("ATOM") and int(line[22:26]) % 3 == 0:
            other = x = x + 1 + float(np.round(random.random(), 3))
            out.append(f"{line[:16]}A{line[17:54]}  0.35{line[60:]}")
            out.append(f"{line[:16]}B{line[17:30]}{other:8.3f}{line[38:54]}  0.65{line[60:]}")
        else:
            out.append(line)
        if line.startswith("ATOM") and line[12:16] == " CA ":
            alphas.append([x, float(line[38:46]), float(line[46:54])])
    ours = read(out)
    assert len(alphas) == 76
    np.testing.assert_allclose(ours.ca, alphas, rtol=0, atol=FLOAT32)
    assert np.abs(ours.ca - demo_structure().ca).max() > 1


def test_two_residues_at_one_place(read):
    serine = residue_lines(2, "SER", altloc="A", occupancy=0.4)
    tryptophan = residue_lines(2, "TRP", altloc="B", occupancy=0.6, shift=3.0)
    mixed = [line for pair in zip(serine, tryptophan, strict=True) for line in pair]
    labels = {"1": 1, "2": 2, "3": 3}
    for middle in (serine + tryptophan, tryptophan + serine, mixed):
        lines = [*residue_lines(1), *middle, *residue_lines(3)]
        for structure in (read(lines), read(to_mmcif(lines, labels, []), name="y.cif")):
            assert structure.sequence == "AWA"
            np.testing.assert_allclose(structure.backbone[1, :, 2], 3.0)
            np.testing.assert_allclose(structure.cb[1, 2], 4.25)
            assert not any("more than once" in note for note in structure.notes)


@pytest.mark.parametrize(("occupancy", "letter"), [(0.4, "W"), (0.6, "M")])
def test_alternatives_in_atom_and_hetatm_lines(read, occupancy: float, letter: str):
    one = residue_lines(2, "MSE", altloc="A", occupancy=occupancy, record="HETATM")
    two = residue_lines(2, "TRP", altloc="B", occupancy=1 - occupancy)
    structure = read([*residue_lines(1), *one, *two, *residue_lines(3)])
    assert structure.sequence == f"A{letter}A"
    assert not structure.notes


def test_alternate_chains_one_after_the_other(read):
    a = [*residue_lines(2, "SER", altloc="A", occupancy=0.4), *residue_lines(3, altloc="A")]
    b = [*residue_lines(2, "TRP", altloc="B", occupancy=0.6), *residue_lines(3, altloc="B")]
    assert read([*residue_lines(1), *a, *b]).sequence == "AWA"
    assert read([*residue_lines(1), *b, *a]).residue_numbers == ("1", "2", "3")


def test_of_atoms_that_are_given_twice_the_first_counts(read):
    lines = residue_lines(1)
    for altloc in (" ", "A"):
        one = [line[:16] + altloc + line[17:] for line in lines]
        twice = [*one, *[line[:30] + "   9.999" + line[38:] for line in one]]
        structure = read([*twice, *residue_lines(2)])
        np.testing.assert_array_equal(structure.backbone[:, :, 0] == np.float32(9.999), False)
        assert structure.sequence == "AA"
        assert not structure.notes


@pytest.mark.parametrize(
    ("name", "letter"),
    [
        ("MSE", "M"),
        ("SEC", "U"),
        ("PYL", "O"),
        ("ASX", "B"),
        ("GLX", "Z"),
        ("SEP", "S"),
        ("UNK", "X"),
        ("HIE", "H"),
        ("HSD", "H"),
        ("CYX", "C"),
        ("QQQ", "X"),
    ],
)
def test_modified_and_rare_residues(read, name: str, letter: str):
    record = "ATOM" if name in ("HIE", "HSD", "CYX") else "HETATM"
    structure = read([*residue_lines(1), *residue_lines(2, name, record=record), *residue_lines(3)])
    assert structure.sequence == f"A{letter}A"
    assert structure.resolved.all()


def test_modres_names_the_parent(read):
    modres = "MODRES 1ABC QQQ A    2  TRP  MADE UP"
    structure = read([modres, *residue_lines(1), *residue_lines(2, "QQQ", record="HETATM")])
    assert structure.sequence == "AW"
    # MODRES also marks glycosylated residues, whose parent they are themselves
    structure = read(["MODRES 1ABC ASN A    1  ASN  GLYCOSYLATION SITE", *residue_lines(1, "ASN")])
    assert structure.sequence == "N"


def test_modified_residues_at_the_ends_are_bonded(read):
    lines = residue_lines(1, "MSE", record="HETATM") + residue_lines(2)
    assert read([*lines, *residue_lines(3, "MSE", record="HETATM")]).sequence == "MAM"


@pytest.mark.parametrize("modres", [["MODRES 1ABC MSE A    9  MET"], []])
def test_modified_residues_at_breaks(read, modres: list[str]):
    mse = residue_lines(5, "MSE", record="HETATM")
    lines = [*modres, *residue_lines(1), *mse, *residue_lines(9, "MSE", record="HETATM")]
    # the last one is bonded to nothing: without MODRES it is a ligand
    assert read(lines).sequence == ("AXXXMXXXM" if modres else "A")
    # what stands before an ATOM residue is inside the chain
    assert read([*lines, *residue_lines(12)]).sequence == "AXXXMXXXMXXA"


def test_ligands_and_waters_are_left_out(read):
    lines = [
        *chain_lines("AW"),
        "TER",
        *residue_lines(1, "GLU", record="HETATM", at=30),  # a free amino acid, numbered like one
        *residue_lines(3, "HEM", record="HETATM", atoms=["C", "O"]),
        atom_line("CA", "CA", "A", 4, (0, 0, 9), record="HETATM"),  # calcium
        atom_line("O", "HOH", "A", 5, (0, 0, 19), record="HETATM"),
    ]
    structure = read(lines)
    assert structure.sequence == "AW"
    assert not structure.notes
    np.testing.assert_array_equal(structure.ca, read(chain_lines("AW")).ca)


def test_a_ligand_with_alternate_locations_is_no_alternative(read):
    two = [x for a in "AB" for x in residue_lines(2, "TRP", altloc=a, occupancy=0.5)]
    ligand = residue_lines(2, "GLU", at=30, altloc="A", occupancy=0.9, record="HETATM")
    assert read([*residue_lines(1), *two, *residue_lines(3), *ligand]).sequence == "AWA"


def test_hydrogens_change_nothing(read):
    lines = chain_lines("AW")
    hydrogen = atom_line("H", "ALA", "A", 1, (9, 9, 9))
    with_hydrogens = read([*lines[:2], hydrogen, *lines[2:]])
    np.testing.assert_array_equal(with_hydrogens.backbone, read(lines).backbone)


def test_a_second_copy_of_the_chain_is_another_chain(read):
    copy = [*chain_lines("AW"), "TER", *chain_lines("AW", at=None, shift=30.0)]
    structure = read(copy, "A")
    assert structure.sequence == "AW"
    assert structure.notes == ("the file calls 2 chains 'A', divided by TER: A, A~2",)
    np.testing.assert_allclose(structure.backbone[:, :, 2], 0)
    np.testing.assert_allclose(read(copy, "A~2").backbone[:, :, 2], 30)
    # what the first copy lacks is not taken from the second
    half = [x for x in chain_lines("AW") if x[12:16] != " CB " or x[22:26] != "   2"]
    structure = read([*half, "TER", *chain_lines("AW", shift=30.0)], "A")
    assert structure.resolved.tolist() == [True, False]


def test_a_residue_that_is_given_again_is_left_out(read):
    again = residue_lines(1, at=0, shift=30.0)
    structure = read([*chain_lines("AWC"), *again])
    assert structure.sequence == "AWC"
    assert structure.notes == ("1 residue(s) are given more than once; the first counts",)
    np.testing.assert_allclose(structure.backbone[:, :, 2], 0)


# Models, chains, kinds


def test_models(read):
    lines = ["MODEL        3", *chain_lines("AW"), "ENDMDL", "MODEL        7"]
    lines += [*chain_lines("AW", shift=2.0), "ENDMDL"]
    assert read(lines).model == 3
    np.testing.assert_allclose(read(lines).backbone[:, :, 2], 0)
    np.testing.assert_allclose(read(lines, model=7).backbone[:, :, 2], 2)
    assert read(["MODEL        0", *lines[1:]], model=0).model == 0
    with pytest.raises(InputError, match=r"x.pdb' has no model 4; it has 3, 7$"):
        read(lines, model=4)
    assert read(chain_lines("AW"), model=1).model == 1
    with pytest.raises(InputError, match=r"x.pdb' has no model 2; it has 1$"):
        read(chain_lines("AW"), model=2)


@pytest.mark.parametrize("between", [["ENDMDL", "MODEL        1"], ["ENDMDL"], ["MODEL        1"]])
def test_the_first_of_models_that_are_not_told_apart(read, between: list[str]):
    lines = ["MODEL        1", *chain_lines("AW"), *between, *chain_lines("AWC", shift=2.0)]
    for model in (None, 1):
        structure = read(lines, model=model)
        assert structure.sequence == "AW"
        np.testing.assert_allclose(structure.backbone[:, :, 2], 0)
        assert not structure.notes


NUCLEOTIDES = [
    atom_line(atom, name, "N", i, (3 * i, j, 20))
    for i, name in enumerate(["DA", "DG", "DT"], 1)
    for j, atom in enumerate(["P", "C1'"])
]


def test_several_chains(read, tmp_path: Path):
    water = atom_line("O", "HOH", "W", 1, (0, 0, 19), record="HETATM")
    lines = [*chain_lines("AW"), *chain_lines("ACD", chain="b"), *NUCLEOTIDES, water]
    path = str(write(tmp_path / "c.pdb", lines))
    expected = ["A (protein, 2 residues)", "b (protein, 3 residues)"]
    expected += ["N (nucleic acid, 3 residues)", "W (water, 1 residue)"]
    assert [str(chain) for chain in chains_of(path)] == expected
    assert read(lines, "b").sequence == "ACD"
    assert read_structure(f"{path}:b").id == "c_b"
    for chain, match in [
        (
            None,
            r"has 2 protein chains: A \(protein, 2 residues\), b \(.*\); name one, as in c.pdb:A$",
        ),
        (
            "B",
            r"has no chain 'B'; it has A \(protein.*, N \(nucleic acid, 3 residues\), W \(water, 1",
        ),
        (
            "N",
            r"chain 'N' of .* is no protein: N \(nucleic acid, 3 residues\); the protein chains are A",
        ),
        ("W", r"chain 'W' of .* is no protein: W \(water, 1 residue\); the protein chains are A"),
    ]:
        with pytest.raises(InputError, match=match):
            read_structure(path, chain)
    with pytest.raises(InputError, match=r"has no protein chain; it has N \(nucleic acid, 3"):
        read(NUCLEOTIDES)


def test_many_chains_are_not_all_listed(read):
    lines = [x for c in "ABCDEFGHIJKLMNOPQRST" for x in chain_lines("AW", chain=c)]
    with pytest.raises(
        InputError, match=r"has 20 protein chains: .*L \(protein, 2 residues\) and 8 more;"
    ):
        read(lines)


def test_a_chain_without_a_name(read):
    structure = read(chain_lines("AW", chain=" "))
    assert (structure.chain, structure.id) == ("", "x")
    assert structure.protein.header == "x x.pdb"
    assert read(chain_lines("AW", chain=" "), " ").sequence == "AW"


# What is missing


def test_missing_cb_is_not_resolved(read):
    lines = [*chain_lines("AG"), *residue_lines(3, atoms=["N", "CA", "C", "O"]), *residue_lines(4)]
    structure = read(lines)
    assert structure.resolved.tolist() == [True, True, False, True]
    np.testing.assert_array_equal(structure.cb[1], structure.ca[1])
    assert structure.residue_numbers[2] == "3"
    assert structure.secondary_structure == "----"
    assert structure.notes == ("1 residue(s) without Cβ count as not resolved",)


@pytest.mark.parametrize("sequence", ["AWC", "AGC"])
def test_alpha_traces_are_refused(read, sequence: str):
    with pytest.raises(InputError, match=r"chain 'A' of '.*x.pdb' has no Cβ atoms, between which"):
        read(chain_lines(sequence, atoms=["CA"]))


def test_polyglycine_needs_no_cb(read):
    assert read(chain_lines("GGG")).resolved.all()


def test_an_incomplete_backbone_has_no_letter(read):
    lines = ubiquitin_text().splitlines()
    kept = [
        x for x in lines if not (x[:4] == "ATOM" and x[12:16] == " O  " and int(x[22:26]) == 30)
    ]
    structure = read(kept)
    assert structure.resolved.all()
    assert structure.secondary_structure[29] == "."
    assert structure.secondary_structure.count(".") == 1
    assert structure.secondary_structure_3[29] == "."


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_tiny_chains(read, size: int):
    structure = read(chain_lines("ACDEF"[:size]))
    assert structure.secondary_structure == "-" * size
    assert structure.distances.shape == (size, size)
    for pairs in (structure.hydrogen_bonds, structure.strand_partners, structure.disulfides):
        assert pairs.shape == (0, 2)
        assert pairs.dtype == np.int64


def test_no_complete_backbone_at_all(read):
    structure = read(chain_lines("ACD", atoms=["N", "CA", "CB"]))
    assert structure.secondary_structure == "..."
    assert structure.hydrogen_bonds.shape == structure.strand_partners.shape == (0, 2)


def test_disulfides(read):
    lines = []
    for number, z in enumerate([0.0, 2.0, 9.0, 4.6], 1):
        lines += residue_lines(number, "CYS")
        lines.append(atom_line("SG", "CYS", "A", number, (0, 9, z)))
    assert read(lines).disulfides.tolist() == [[0, 1]]


# mmCIF

LABELS = {"11": 2, "12": 3, "12A": 4, "20": 6}
POLYMER = ["GLY", "ALA", "TRP", "MSE", "LYS", "CYS"]


def mmcif_lines() -> list[str]:
    return [
        *residue_lines(11, "ALA"),
        *residue_lines(12, "TRP"),
        *residue_lines(12, "MSE", at=13, icode="A", record="HETATM"),
        *residue_lines(20, "CYS", at=15),
        *residue_lines(99, "GLU", record="HETATM", at=40),
        atom_line("O", "HOH", "A", 201, (0, 0, 19), record="HETATM"),
    ]


@pytest.mark.parametrize("category", ["entity_poly_seq", "pdbx_poly_seq_scheme"])
def test_mmcif_label_numbers_give_the_positions(read, category: str):
    structure = read(to_mmcif(mmcif_lines(), LABELS, POLYMER, category=category), name="y.cif")
    assert structure.sequence == "GAWMKC"
    assert structure.residue_numbers == ("", "11", "12", "12A", "", "20")
    assert structure.resolved.tolist() == [False, True, True, True, False, True]
    assert structure.id == "y_A"  # the authors' chain, not the asym P
    np.testing.assert_allclose(structure.ca[5, 0], 15 * 3.8 + 1.25, atol=1e-3)


def test_mmcif_without_its_sequence(read):
    structure = read(to_mmcif(mmcif_lines(), LABELS, []), name="y.cif")
    assert structure.sequence == "AWMXC"  # by the label numbers: 2, 3, 4, 6
    structure = read(to_mmcif(mmcif_lines(), {}, []), name="y.cif")
    assert structure.sequence == "AWMXXXXXXXC"  # by the authors' numbers: 12A, 20


def test_mmcif_positions_in_another_polymer_are_none(read):
    text = to_mmcif(mmcif_lines(), LABELS, POLYMER)
    # a residue of a second polymer under the same author chain
    other = to_mmcif(residue_lines(30, "TYR"), {"30": 3}, []).splitlines()
    rows = [x.replace(" P 1 3 ", " Q 3 3 ") for x in other if x.startswith("ATOM")]
    assert len(rows) == 5
    structure = read(text.rstrip("#\n") + "\n" + "\n".join(rows) + "\n", name="y.cif")
    assert structure.sequence == "GAWMKC"
    assert "30" not in structure.residue_numbers


def test_mmcif_with_an_incomplete_sequence(read):
    text = to_mmcif(mmcif_lines(), LABELS, POLYMER).replace("1 5 LYS", "1 7 LYS")
    assert read(text, name="y.cif").sequence == "AWMXC"


def test_mmcif_with_a_position_outside_its_sequence(read):
    structure = read(to_mmcif(mmcif_lines(), {**LABELS, "20": 7}, POLYMER), name="y.cif")
    assert structure.sequence == "AWMXXC"
    assert "the full sequence that the file gives does not fit" in structure.notes[0]


def test_mmcif_without_numbers_that_are_not_used(read):
    lines = [line[:54] + "     ." + line[60:] for line in chain_lines("AW")]
    text = to_mmcif(lines, {"1": 1, "2": 2}, []).replace(" 10.0 ", " ? ")
    assert read(text, name="y.cif").sequence == "AW"


@pytest.mark.parametrize("names", [[], ["ALA", "ALA"]])
def test_mmcif_positions_from_0(read, names: list[str]):
    lines = [*residue_lines(1), *residue_lines(2, at=5)]
    assert read(to_mmcif(lines, {"1": 0, "2": 1}, names), name="y.cif").sequence == "AA"


def test_mmcif_with_few_columns(read):
    less = ("auth_seq_id", "auth_asym_id", "pdbx_PDB_model_num", "pdbx_PDB_ins_code", "occupancy")
    less += ("label_alt_id", "label_entity_id", "group_PDB")
    structure = read(
        to_mmcif(chain_lines("AW"), {"1": 1, "2": 2}, [], leave_out=less), name="y.cif"
    )
    assert (structure.sequence, structure.chain) == ("AW", "P")


def test_mmcif_models_and_altlocs(read):
    a = residue_lines(2, altloc="A", occupancy=0.4)
    b = residue_lines(2, altloc="B", occupancy=0.6, shift=3.0)
    lines = ["MODEL 1", *chain_lines("A"), "MODEL 5", *residue_lines(1), *a, *b]
    text = to_mmcif(lines, {"1": 1, "2": 2}, ["ALA", "ALA"])
    assert read(text, name="y.cif").resolved.tolist() == [True, False]
    assert read(text.replace(" 1\n", " x\n"), name="y.cif").model == 1
    zero = read(text.replace(" 5\n", " 0\n"), name="y.cif", model=0)
    assert (zero.model, zero.resolved.sum()) == (0, 2)
    second = read(text, name="y.cif", model=5)
    assert second.model == 5
    np.testing.assert_allclose(second.backbone[:, 0, 2], [0, 3])
    with pytest.raises(InputError, match=r"y.cif' has no model 2; it has 1, 5$"):
        read(text, name="y.cif", model=2)


def test_mmcif_and_pdb_agree_on_ubiquitin(read):
    lines = ubiquitin_text().splitlines()
    names = [NAMES[letter] for letter in demo_structure().sequence]
    text = to_mmcif(lines, {str(i): i for i in range(1, 77)}, names)
    ours, pdb = read(text, name="y.cif"), demo_structure()
    assert ours.sequence == pdb.sequence
    assert ours.residue_numbers == pdb.residue_numbers
    assert ours.secondary_structure == pdb.secondary_structure
    np.testing.assert_array_equal(ours.cb, pdb.cb)


def test_the_content_says_the_format_and_gzip_is_seen(tmp_path: Path):
    text = to_mmcif(chain_lines("AW"), {"1": 1, "2": 2}, ["ALA", "TRP"])
    for name in ("a.cif.gz", "a.pdb", "a.txt"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
        assert read_structure(path).sequence == "AW"
    assert read_structure(tmp_path / "a.cif.gz").id == "a_A"
    assert read_structure(tmp_path / "a.txt").id == "a.txt_A"


def test_windows_line_ends_and_a_byte_order_mark(tmp_path: Path):
    path = tmp_path / "w.pdb"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(chain_lines("AW")).encode())
    assert read_structure(path).sequence == "AW"


# Errors


def bad_files(folder: Path) -> dict[str, tuple[bytes, str]]:
    text = ("\n".join(chain_lines("AW")) + "\n").encode()
    cif = to_mmcif(chain_lines("AW"), {"1": 1, "2": 2}, []).encode()
    line = text.splitlines()[0]
    return {
        "empty.pdb": (b"", r"empty.pdb' is empty; a structure file is in PDB or mmCIF format"),
        "blank.pdb": (b"\n \n", r"blank.pdb' is empty; a structure"),
        "p.fasta": (
            b">P1\nMKT\n",
            r"p.fasta' is no structure file: it begins with '>P1' and has neither",
        ),
        "x.xml": (
            b"<?xml version='1.0'?>",
            r"x.xml' is no structure file: it begins with \"<\?xml version",
        ),
        "x.zip": (
            b"PK\x03\x04...",
            r"x.zip' is zip data; give plain PDB/mmCIF text or PDB/mmCIF packed with gzip",
        ),
        "cut.pdb.gz": (
            gzip.compress(text)[:-30],
            r"cut.pdb.gz' is a damaged gzip file \(.*\); copy",
        ),
        "bad.gz": (b"\x1f\x8bnonsense", r"bad.gz' is a damaged gzip file"),
        "head.pdb": (
            b"HEADER    X\nREMARK   1\n",
            r"head.pdb' is no structure file: it begins with",
        ),
        "none.cif": (b"data_X\n_cell.a 1\n", r"none.cif' has no atoms; download it again"),
        "short.pdb": (
            line[:40],
            r"short.pdb', line 1: missing or wrong coordinate \(Å, below 1,000,000\) in "
            r"'ATOM      1  N   ALA A   1       3.800  '; the line is cut or its columns have moved",
        ),
        "after.pdb": (
            b"\n" + text + b"\nANISOU x\n" + line[:40],
            r"after.pdb', line 14: missing or wrong coordinate",
        ),
        "text.pdb": (
            line[:30] + b"   abc  " + line[38:],
            r"line 1: missing or wrong coordinate .* in '.*   abc     0.000",
        ),
        "nan.pdb": (line[:30] + b"   nan  " + line[38:], r"line 1: missing or wrong coordinate"),
        "far.pdb": (line[:30] + b" 1000000" + line[38:], r"line 1: missing or wrong coordinate"),
        "occ.pdb": (
            line[:54] + b"  x.00",
            r"line 1: missing or wrong occupancy \(a number, or blank for 1\) in 'ATOM.*x.00'",
        ),
        "num.pdb": (
            line[:22] + b" 1-2" + line[26:],
            r"line 1: missing or wrong residue number in 'ATOM .* 1-2 .*; the line is cut or its",
        ),
        "quote.cif": (
            b"data_X\n_a.b 'x\n",
            r"quote.cif' is a damaged mmCIF file \(Line ended with",
        ),
        "loop.cif": (b"data_X\nloop_\nvalue\n", r"loop.cif' is a damaged mmCIF file"),
        "cut.cif": (
            cif[:-30],
            r"cut.cif' is cut short: its last atom is incomplete; download it again",
        ),
        "col.cif": (
            to_mmcif(chain_lines("A"), {}, [], leave_out=("Cartn_y",)).encode(),
            r"col.cif' has atoms without _atom_site.Cartn_y; write it again",
        ),
        "xyz.cif": (cif.replace(b"3.800", b"?"), r"xyz.cif', atom 1: missing or wrong coordinate"),
        "occ.cif": (
            cif.replace(b"1.00 10.0", b"x 10.0", 1),
            r"occ.cif', atom 1: missing or wrong occupancy",
        ),
        "num.cif": (
            cif.replace(b"10.0 1 A 1", b"10.0 1B A 1", 1),
            r"num.cif', atom 1: missing or wrong residue number",
        ),
        "alt.cif": (
            cif.replace(b" CB . ", b" CB AB ", 1),
            r"alt.cif', atom 5: missing or wrong alternate location \(one character\) in",
        ),
    }


@pytest.mark.parametrize("name", bad_files(Path()))
def test_files_that_are_no_structures(tmp_path: Path, name: str):
    content, match = bad_files(tmp_path)[name]
    (tmp_path / name).write_bytes(content)
    for function in (read_structure, chains_of):
        with pytest.raises(InputError, match=match):
            function(tmp_path / name)


def test_paths_that_are_no_files(tmp_path: Path):
    with pytest.raises(InputError, match=r"there is no file '.*1ubi.pdb'; check the path"):
        read_structure(tmp_path / "1ubi.pdb")
    with pytest.raises(
        InputError, match=r"is a folder; name the PDB/mmCIF files in it, such as .*1ubi.pdb"
    ):
        read_structure(tmp_path)
    with pytest.raises(InputError, match=r"cannot read"):
        read_structure("a\0b")


def test_lines_that_are_not_used_do_no_harm(read):
    odd = ["HEADER    X                                       12-FOO-99   1ABC", "REMARK 350"]
    lines = [x[:60] + " x.xx" for x in chain_lines("AW")]  # no B factor, no element
    anisou = "ANISOU    1  N   ALA A   1     x"
    assert read([*odd, lines[0], anisou, "", *lines[1:], "CONECT", "END"]).sequence == "AW"
    assert read([x[:54] for x in chain_lines("AW")]).sequence == "AW"


@pytest.mark.parametrize("number", [0, 4, 7])
def test_models_that_are_numbered_in_other_columns(read, number: int):
    lines = [f"MODEL {number}", *chain_lines("AW"), "ENDMDL"]
    assert read(lines, model=number).model == number


# FILE:CHAIN and folders


@pytest.mark.parametrize(
    ("text", "file", "chain"),
    [
        ("1ake.pdb", "1ake.pdb", None),
        ("1ake.pdb:A", "1ake.pdb", "A"),
        ("dir/1ake.cif.gz:AA", "dir/1ake.cif.gz", "AA"),
        (r"C:\data\1ake.pdb", r"C:\data\1ake.pdb", None),
        (r"C:\data\1ake.pdb:B", r"C:\data\1ake.pdb", "B"),
        ("C:1ake.pdb", "C:1ake.pdb", None),
        ("C:1ake.pdb:B", "C:1ake.pdb", "B"),
        ("C:/1ake.pdb", "C:/1ake.pdb", None),
        ("a:b/c.pdb", "a:b/c.pdb", None),
        (":A", ":A", None),
    ],
)
def test_split_chain(text: str, file: str, chain: str | None):
    assert split_chain(text) == (Path(file), chain)


def test_split_chain_prefers_files_that_exist(tmp_path: Path):
    path = write(tmp_path / "odd:A", chain_lines("AW"))
    assert split_chain(str(path)) == (path, None)
    assert split_chain(f"{path}:A") == (path, "A")
    with pytest.raises(
        InputError, match=r"names no chain after the colon; write FILE:CHAIN, such as"
    ):
        split_chain("x.pdb:")


def test_read_structures(tmp_path: Path):
    write(tmp_path / "1.pdb", [*chain_lines("AW"), *chain_lines("CC", chain="B"), *NUCLEOTIDES])
    (tmp_path / "2.PDB.gz").write_bytes(gzip.compress("\n".join(chain_lines("DDD")).encode()))
    write(tmp_path / "2.ent", chain_lines("EEE"))
    write(tmp_path / "3.cif", "nonsense")
    write(tmp_path / "4.pdb", NUCLEOTIDES)
    write(tmp_path / "5.pdb", [*chain_lines("AW"), *chain_lines("AW", chain="T", atoms=["CA"])])
    write(tmp_path / "notes.txt", "not read")
    report: list[tuple[Path, str]] = []
    found = list(read_structures(tmp_path, report=report))
    assert [s.id for s in found] == ["1_A", "1_B", "2_A", "2_A~2", "5_A"]
    assert sorted(s.sequence for s in found) == ["AW", "AW", "CC", "DDD", "EEE"]
    assert [path.name for path, _ in report] == ["1.pdb", "3.cif", "4.pdb", "5.pdb"]
    reasons = [reason for _, reason in report]
    assert reasons[0] == "chain N (nucleic acid, 3 residues) is no protein"
    assert "is no structure file" in reasons[1]
    assert "has no protein chain" in reasons[2]
    assert "has no Cβ atoms" in reasons[3]
    with pytest.raises(InputError, match=r"3.cif' is no structure file"):
        list(read_structures(tmp_path))


def test_folders_without_structures(tmp_path: Path):
    with pytest.raises(
        InputError, match=r"has no structure files; put files there that end in .pdb, .ent"
    ):
        next(read_structures(tmp_path))
    with pytest.raises(InputError, match=r"there is no folder '.*nowhere'; check the path"):
        next(read_structures(tmp_path / "nowhere"))


# The record


def test_the_table():
    pytest.importorskip("pandas")
    structure = demo_structure()
    table = structure.to_frame()
    assert list(table.columns[:5]) == [
        *("residue_number", "author_number", "letter", "secondary_structure", "resolved")
    ]
    assert "".join(table.letter) == structure.sequence
    assert "".join(table.secondary_structure) == structure.secondary_structure
    assert table.residue_number.tolist() == list(range(1, 77))
    np.testing.assert_array_equal(table[["cb_x", "cb_y", "cb_z"]].to_numpy(), structure.cb)
    np.testing.assert_array_equal(table[["ca_x", "ca_y", "ca_z"]].to_numpy(), structure.ca)


def test_how_it_shows_itself(read):
    structure = demo_structure()
    assert repr(structure) == "Structure(1ubi_A: 76 residues, 76 resolved)"
    assert len(structure) == 76
    html = structure._repr_html_()
    assert "<caption>1ubi_A</caption>" in html
    assert structure.secondary_structure[:60] in html
    assert "<b>" not in read(chain_lines("AW"), name="<b>.pdb")._repr_html_()


def test_the_protein_is_ready_for_the_model(tiny):
    protein = demo_structure().protein
    assert protein == esmkit.Protein(
        "1ubi_A", demo_structure().sequence, "1ubi_A 1ubi.pdb.gz, chain A"
    )
    assert tiny.embed(protein).residues.shape == (76, tiny.width)


def test_ids_have_no_blanks(read):
    assert read(chain_lines("AW"), name="my file.v2.pdb").id == "my_file.v2_A"


def test_arrays_are_read_only_and_the_record_is_frozen():
    structure = demo_structure()
    for name in ("cb", "ca", "backbone", "sg", "distances", "resolved", "hydrogen_bonds"):
        array = getattr(structure, name)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    structure.contacts()[0] = True  # a fresh array each time
    assert not structure.contacts()[0].all()
    with pytest.raises(AttributeError):
        structure.id = "other"  # type: ignore[misc]


def test_it_survives_pickling():
    structure = demo_structure()
    copy = pickle.loads(pickle.dumps(structure))
    assert isinstance(copy, Structure)
    assert copy.secondary_structure == structure.secondary_structure
