"""PDB files as programs write them: the same chain, in each dialect, is read as the same chain.

The chain is written by a small writer below, which knows the dialects from what the programs
write; gemmi and Biopython's PDBParser read the dialects that they know as a check on the writer.
"""

import gzip
import itertools
import string
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from Bio.Data.PDBData import protein_letters_3to1 as LETTERS
from Bio.PDB.PDBParser import PDBParser
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from esmkit.data import demo_structure
from esmkit.errors import InputError
from esmkit.structure import Structure, chains_of, read_structure, read_structures
from esmkit.structure.given import read_chains
from oracles.structure_files import (
    ATOMS,
    NAMES,
    atom_line,
    chain_lines,
    residue_lines,
    seqres,
    ubiquitin_text,
)

QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def read(tmp_path: Path):
    """Write lines to a file and read it back."""

    def reader(lines: list[str], chain: str | None = None, name: str = "x.pdb", **options):
        (tmp_path / name).write_text("\n".join([*lines, ""]))
        return read_structure(tmp_path / name, chain, **options)

    return reader


# A writer of dialects


def hybrid36(value: int, width: int) -> str:
    """As cctbx writes numbers that are too long: A000 follows 9999 (Grosse-Kunstleve, 2006)."""
    if value < 10**width:
        return f"{value:>{width}}"
    value += 10 * 36 ** (width - 1) - 10**width
    digits, lower = string.digits + string.ascii_uppercase, value >= 36**width
    value -= 26 * 36 ** (width - 1) if lower else 0
    text = ""
    while value:
        value, digit = divmod(value, 36)
        text = digits[digit] + text
    return text.lower() if lower else text


def hexadecimal(value: int, width: int) -> str:
    """As VMD writes them."""
    return f"{value:>{width}}" if value < 10**width else f"{value:>{width}x}"


def stars(value: int, width: int) -> str:
    return f"{value:>{width}}" if value < 10**width else "*" * width


def modulo(value: int, width: int) -> str:
    """As GROMACS writes them."""
    return f"{value % 10**width if value > 0 else value:>{width}}"


def longer(value: int, width: int) -> str:
    """As printf writes them: the rest of the line moves to the right."""
    return f"{value:>{width}}"


Number = Callable[[int, int], str]

SERIALS: dict[str, Number] = {
    "hybrid-36": hybrid36,
    "hexadecimal": hexadecimal,
    "stars": stars,
    "modulo": modulo,
    "longer": longer,
}

AMBER = {"H": ["HID", "HIE", "HIP"], "C": ["CYX", "CYM"], "D": ["ASH"], "E": ["GLH"], "K": ["LYN"]}
CHARMM = {"H": ["HSD", "HSE", "HSP"], "K": ["LSN"], "D": ["ASPP"], "E": ["GLUP"]}
GROMOS = {
    "H": ["HISA", "HISB", "HISH", "HIS1"],
    "C": ["CYSH", "CYS1", "CYS2"],
    "K": ["LYSH"],
    "R": ["ARGN"],
    "D": ["ASPH"],
    "E": ["GLUH"],
}


def residue_name(letter: str, names: str, at_end: str, which: int) -> str:
    table = {"amber": AMBER, "charmm": CHARMM, "gromos": GROMOS}.get(names, {})
    found = table.get(letter, [NAMES[letter]])
    name = found[which % len(found)]
    return at_end + name if names == "amber" and len(name) == 3 else name


def dialect_line(
    atom: str,
    residue: str,
    chain: str,
    xyz: tuple[float, float, float],
    *,
    serial: int,
    serials: str,
    number: int,
    numbers: str,
    segment: str = "",
    record: str = "ATOM",
) -> str:
    """One line; ``column 6`` and ``column 27`` take the column that the format leaves blank."""
    if serials == "column 6":
        start = f"{record}{serial:>{11 - len(record)}}"
    else:
        start = f"{record:<6}{SERIALS[serials](serial, 5)}"
    if numbers == "column 27":
        place = f"{number:>4} " if number < 10_000 else f"{number}"
    elif numbers == "left":
        place = f"{number:<5}"
    else:
        place = f"{SERIALS[numbers](number, 4)} "
    x, y, z = xyz
    who = f"{residue:>3}{chain:>2}" if len(residue) < 4 else f"{residue}{chain:>1}"
    name = f" {atom:<3}" if len(atom) < 4 else atom
    return (
        f"{start} {name} {who}{place}   {x:8.3f}{y:8.3f}{z:8.3f}{1:6.2f}{10:6.2f}"
        f"      {segment:<4}{atom[0]:>2}"
    )


@st.composite
def dialects(draw: st.DrawFn) -> dict:
    names = draw(st.sampled_from(["standard", "lower", "mixed", "amber", "charmm", "gromos"]))
    chain = draw(st.sampled_from(["A", "", "z", "7", "AB", "b2"]))
    if names in ("amber", "gromos", "charmm") and len(chain) > 1:
        chain = chain[0]  # four letters and two do not fit
    return {
        "sequence": draw(st.text("ACDEFGHIKLMNPQRSTVWY", min_size=2, max_size=9)),
        "first": draw(st.sampled_from([-3, 1, 998, 9_990, 9_997, 9_999])),
        "serial": draw(st.sampled_from([1, 99_980, 99_999, 123_456])),
        "serials": draw(st.sampled_from([*SERIALS, "column 6"])),
        "numbers": draw(st.sampled_from([*SERIALS, "column 27", "left"])),
        "names": names,
        "chain": chain,
        "segment": draw(st.sampled_from(["", "PROA", "A", "1ABC"])),
        "which": draw(st.integers(0, 3)),
        "around": draw(st.booleans()),
    }


def write(d: dict) -> list[str]:
    """The lines of a chain in a dialect, ligands and waters after it."""
    lines, serial = [], itertools.count(d["serial"])
    size = len(d["sequence"])
    common = {"serials": d["serials"], "numbers": d["numbers"], "segment": d["segment"]}
    for i, letter in enumerate(d["sequence"]):
        end = "N" if i == 0 else "C" if i == size - 1 else ""
        name = residue_name(letter, d["names"], end, d["which"])
        if d["names"] in ("lower", "mixed"):
            name = name.lower() if d["names"] == "lower" else name.capitalize()
        for atom, (x, y, z) in ATOMS.items():
            if atom == "CB" and letter == "G":
                continue
            atom_name = atom.lower() if d["names"] == "lower" else atom
            place = (3.8 * i + x, y, z)
            number = d["first"] + i
            lines.append(
                dialect_line(
                    atom_name, name, d["chain"], place, serial=next(serial), number=number, **common
                )
            )
    if d["around"]:
        lines.append("TER")
        for i, (name, atom) in enumerate([("HOH", "O"), ("DPPC", "N"), ("TIP3", "OH2")]):
            chain = d["chain"] if len(name) < 4 else d["chain"][:1]
            lines.append(
                dialect_line(
                    atom,
                    name,
                    chain,
                    (0, 40, 3.0 * i),
                    serial=next(serial),
                    number=d["first"] + size + i,
                    **common,
                )
            )
    return [*lines, "END"]


BASE = {
    "sequence": "AHC",
    "first": 9_998,
    "serial": 99_998,
    "serials": "stars",
    "numbers": "stars",
    "names": "standard",
    "chain": "A",
    "segment": "",
    "which": 0,
    "around": True,
}


@QUICK
@given(d=dialects())
@example(d=BASE | {"sequence": "AH", "numbers": "hexadecimal"})
@example(d=BASE | {"numbers": "longer", "serials": "longer"})
@example(d=BASE | {"names": "amber", "chain": ""})
@example(d=BASE | {"names": "gromos", "first": 1})
@example(d=BASE | {"chain": "AB", "numbers": "modulo"})
@example(d=BASE | {"sequence": "AAAAA"})
def test_a_chain_in_any_dialect(tmp_path: Path, d: dict):
    path = tmp_path / "x.pdb"
    path.write_text("\n".join(write(d)))
    chains = [chain for chain in chains_of(path) if chain.kind == "protein"]
    assert [chain.chain for chain in chains] == [d["chain"]]
    structure = read_structure(path, d["chain"])
    size = len(d["sequence"])
    assert structure.sequence == d["sequence"]
    assert structure.residue_numbers == tuple(str(d["first"] + i) for i in range(size))
    counted = max(d["first"] + size - 10_000, 0) if d["numbers"] == "stars" else 0
    said = f"{counted} residue number(s) are stars; they are counted on"
    assert (said in structure.notes) == (counted > 0)
    assert structure.resolved.all()
    expected = np.array([[ATOMS[name] for name in ("N", "CA", "C", "O")]] * size)
    expected[:, :, 0] += 3.8 * np.arange(size)[:, None]
    # half of the last of three decimals, and float32
    np.testing.assert_allclose(structure.backbone, expected, atol=6e-4, rtol=0)
    beta = np.where(np.array([x == "G" for x in d["sequence"]])[:, None], ATOMS["CA"], ATOMS["CB"])
    beta[:, 0] += 3.8 * np.arange(size)
    away = np.linalg.norm(beta[:, None] - beta[None], axis=2)
    near = (away < 8) & ~np.eye(size, dtype=bool)
    np.testing.assert_array_equal(structure.contacts(), near)


@pytest.mark.parametrize("numbers", ["column 27", "longer", "hybrid-36", "hexadecimal"])
def test_gaps_across_9999(read, numbers: str):
    d = BASE | {"around": False, "numbers": numbers, "serials": "column 6", "chain": ""}
    before = write(d | {"sequence": "AW", "first": 9_998})[:-1]
    after = write(d | {"sequence": "CK", "first": 10_002})
    after = [f"{x[:-48]}{float(x[-48:-40]) + 15:8.3f}{x[-40:]}" for x in after[:-1]]
    if numbers == "hexadecimal":  # 2712 after 9999 is decimal as well as hexadecimal
        after = [x.replace(" 2712 ", " 271a ").replace(" 2713 ", " 271b ") for x in after]
        assert read([*before, *after]).residue_numbers[-1] == "10011"
        return
    structure = read([*before, *after])
    assert structure.sequence == "AWXXCK"
    assert structure.residue_numbers == ("9998", "9999", "", "", "10002", "10003")


@pytest.mark.parametrize(
    ("change", "reader"),
    [
        ({"numbers": "hybrid-36", "serials": "hybrid-36"}, "gemmi"),
        ({"numbers": "hybrid-36", "serials": "column 6"}, "gemmi"),
        ({"chain": "AB", "numbers": "hybrid-36", "serials": "hybrid-36"}, "gemmi"),
        ({"first": 5}, "gemmi"),
        ({"first": 5}, "biopython"),
        ({"first": 5, "chain": "", "segment": "PROA"}, "biopython"),
    ],
)
def test_the_writer_against_other_readers(tmp_path: Path, change: dict, reader: str):
    d = BASE | {"around": False} | change
    path = tmp_path / "x.pdb"
    path.write_text("\n".join(write(d)))
    mine = read_structure(path)
    if reader == "gemmi":
        chain = gemmi.read_structure(str(path))[0][0]
        found = [(r.name, str(r.seqid), [a.pos.tolist() for a in r]) for r in chain]
        assert chain.name == mine.chain
    else:
        bio: Any = PDBParser(QUIET=True).get_structure("x", path)
        residues = next(bio.get_chains())
        found = [(r.resname, str(r.id[1]), [a.coord.tolist() for a in r]) for r in residues]
    assert "".join(LETTERS[name] for name, _, _ in found) == mine.sequence
    assert tuple(number for _, number, _ in found) == mine.residue_numbers
    for i, (_, _, atoms) in enumerate(found):
        np.testing.assert_allclose(mine.backbone[i], atoms[:4], atol=1e-5, rtol=0)


# Where a chain ends


def unlike(z: float = 30.0, **options) -> list[str]:
    return chain_lines("KEDA", shift=z, **options)


def test_ter_divides_chains_of_one_name(read, tmp_path: Path):
    lines = [*chain_lines("AWC"), "TER", *unlike(), "TER", "END"]
    note = "the file calls 2 chains 'A', divided by TER: A, A~2"
    for chain, sequence in (("A", "AWC"), ("A~2", "KEDA")):
        structure = read(lines, chain)
        assert structure.sequence == sequence
        assert structure.chain == chain
        assert structure.notes == (note,)
    with pytest.raises(InputError, match=r"has 2 protein chains: A \(protein, 3 residues\), A~2 "):
        read(lines)
    with pytest.raises(InputError, match=r"has no chain 'B'; it has A \(.*\), A~2 \(protein, 4"):
        read(lines, "B")
    path = f"{tmp_path / 'x.pdb'}:A~2"
    assert read_structure(path).sequence == "KEDA"
    said: list[str] = []
    assert read_chains([path], said.append)[0].id == "x_A~2"
    assert said == [f"x_A~2: {note}"]
    assert [s.id for s in read_structures(tmp_path)] == ["x_A", "x_A~2"]


def test_chains_without_names_have_numbers(read):
    lines = [
        *chain_lines("MKTAY", chain=" "),
        "TER",
        *chain_lines("WCHKL", 6, chain=" ", shift=30),
        "TER",
        atom_line("O", "WAT", " ", 11, (0, 0, 60)),
        "END",
    ]
    assert read(lines, "1").sequence == "MKTAY"
    assert read(lines, "2").sequence == "WCHKL"
    assert read(lines, "2").residue_numbers == ("6", "7", "8", "9", "10")
    assert read(lines, "2").notes == ("the file names none of 2 chains, divided by TER: 1, 2",)
    with pytest.raises(InputError, match=r"has 2 protein chains: 1 \(.*\), 2 \(.*name one, as in"):
        read(lines)
    # the only one needs no name, and has 1 as well
    only = lines[: lines.index("TER")]
    assert read(only).id == "x"
    assert read(only, "1").sequence == read(only, "").sequence == "MKTAY"


def test_numbers_of_chains_without_names_are_nobody_elses(read):
    lines = [*chain_lines("AWC", chain=" "), "TER", *unlike(chain=" "), "TER"]
    lines += chain_lines("MMM", chain="1", shift=60)
    assert read(lines, "1").sequence == "MMM"
    assert read(lines, "1~2").sequence == "AWC"
    assert read(lines, "2").sequence == "KEDA"


def segmented(lines: list[str], segment: str) -> list[str]:
    return [f"{line[:66]:<72}{segment:<4}{line[76:]}" for line in lines]


@pytest.mark.parametrize("name", [" ", "P"])
@pytest.mark.parametrize("first", [1, 4])
def test_segments_tell_chains_apart(read, name: str, first: int):
    one = segmented(chain_lines("AWC", chain=name), "PROA")
    two = segmented(unlike(first=first, chain=name), "PROB")
    water = segmented([atom_line("OH2", "TIP3"[:3], name, 1, (0, 0, 60))], "WAT1")
    lines = [*one, *two, *water]
    assert read(lines, "PROA").sequence == "AWC"
    assert read(lines, "PROB").sequence == "KEDA"
    assert read(lines, "PROB").id == "x_PROB"
    assert "divided by the segment column: PROA, PROB" in read(lines, "PROB").notes[0]
    if name == " ":
        assert read(lines, "2").chain == "PROB"
        assert read(one, "PROA").chain == ""
    # segments of one chain, and the name of the entry in the same columns, divide nothing
    half = [line[:72] + ("PR1 " if i < 8 else "PR2 ") + line[76:] for i, line in enumerate(one)]
    assert read(half).sequence == "AWC"
    assert not read(half).notes


@pytest.mark.parametrize("name", [" ", "A"])
def test_numbers_that_begin_anew_divide_chains(read, name: str):
    lines = [*chain_lines("AWC", chain=name), *unlike(chain=name)]
    first, second = ("A", "A~2") if name == "A" else ("1", "2")
    assert read(lines, first).sequence == "AWC"
    assert read(lines, second).sequence == "KEDA"
    assert "numbers that begin anew" in read(lines, second).notes[0]


def test_what_ter_does_not_divide(read):
    bonded = [*chain_lines("AWC"), "TER", *chain_lines("KE", 4)]
    assert read(bonded).sequence == "AWCKE"
    # a break, where the full sequence has room for both sides
    names = [NAMES[letter] for letter in "AWCGGGKE"]
    broken = [*seqres(names), *chain_lines("AWC"), "TER", *chain_lines("KE", 7)]
    assert read(broken).sequence == "AWCGGGKE"
    # ligands and waters of the chain, after its TER
    ligand = residue_lines(1, "GLU", at=20, shift=50, record="HETATM")
    assert read([*chain_lines("AWC"), "TER", *ligand]).sequence == "AWC"
    other = chain_lines("KEDA", chain="B", shift=30)
    after = [*chain_lines("AWC"), "TER", *other, "TER", *ligand]
    assert [s.sequence for s in (read(after, "A"), read(after, "B"))] == ["AWC", "KEDA"]
    assert not read(after, "A").notes


def test_a_modified_residue_begins_the_second_chain(read):
    second = residue_lines(1, "MSE", record="HETATM", shift=30) + chain_lines("KE", 2, shift=30)
    assert read([*chain_lines("AWC"), "TER", *second], "A~2").sequence == "MKE"


def test_a_copy_has_the_full_sequence_of_its_name(read):
    names = [NAMES[letter] for letter in "GGAWCGG"]
    lines = [*seqres(names), *chain_lines("AWC", 3), "TER", *chain_lines("AWC", 3, shift=30)]
    for chain in ("A", "A~2"):
        assert read(lines, chain).sequence == "GGAWCGG"
    # another protein has not
    lines = [*seqres(names), *chain_lines("AWC", 3), "TER", *unlike(first=3)]
    assert [read(lines, chain).sequence for chain in ("A", "A~2")] == ["GGAWCGG", "KEDA"]
    assert len(read(lines, "A~2").notes) == 1  # that TER divides, not that SEQRES does not fit


def test_dna_after_a_protein_without_names(read):
    dna = [
        atom_line(atom, name, " ", 3 + i, (3 * i, j, 40))
        for i, name in enumerate(["DA5", "DG", "DC", "DT", "DG", "DC3"], 1)
        for j, atom in enumerate(["P", "C1'"])
    ]
    structure = read([*chain_lines("AWC", chain=" "), "TER", *dna])
    assert structure.sequence == "AWC"
    assert structure.chain == ""


# Lines that are not protein, and damaged lines


WATER = atom_line("O", "HOH", "A", 4, (0, 0, 41))

JUNK = {
    "stars": WATER[:22] + "****" + WATER[26:],
    "no number": WATER[:22] + "    " + WATER[26:],
    "number": WATER[:22] + " x-1" + WATER[26:],
    "coordinate": WATER[:30] + "********" + WATER[38:],
    "nan": WATER[:30] + "     nan" + WATER[38:],
    "cut": WATER[:40],
    "occupancy": WATER[:54] + "   inf" + WATER[60:],
    "ligand": atom_line("C1", "LIG", "L", 1, (0, 0, 0), record="HETATM")[:35],
    "lipid": atom_line("C1", "DPPC", "A", 1, (0, 0, 0))[:45],
    "prose": "HETATM that nobody understands",
}


@pytest.mark.parametrize("what", JUNK)
@pytest.mark.parametrize("at", [0, 7, 99])
def test_a_line_that_is_not_protein_is_left_out(read, what: str, at: int):
    lines = chain_lines("AWC")
    lines.insert(at, JUNK[what])
    structure = read(lines)
    assert structure.sequence == "AWC"
    assert structure.resolved.all()
    [note] = structure.notes
    line = min(at, 15) + 1
    assert (
        f"1 line(s) that are not protein could not be read and were left out: line {line}, " in note
    )
    assert JUNK[what].strip()[:40] in note


@pytest.mark.parametrize(
    ("cut", "what"),
    [
        (slice(22, 26), "residue number"),
        (slice(30, 38), "coordinate"),
        (slice(46, 54), "coordinate"),
        (slice(54, 60), "occupancy"),
    ],
)
@pytest.mark.parametrize("name", ["TRP", "trp", "MSE"])
def test_a_damaged_line_of_the_protein_is_an_error(read, cut: slice, what: str, name: str):
    lines = [*residue_lines(1), *residue_lines(2, name), *residue_lines(3)]
    line = lines[6]
    lines[6] = line[: cut.start] + "x?".rjust(cut.stop - cut.start) + line[cut.stop :]
    with pytest.raises(InputError, match=rf"x.pdb', line 7: missing or wrong {what}.* in 'ATOM"):
        read(lines)


def test_ligands_of_five_letters(read):
    # Biopython's PDBIO writes the name in full and moves the rest of the line
    ligand = "HETATM   16  C10 A1AA6 A 402     -55.030  27.266  -6.517  1.00 10.00           C  "
    structure = read([*chain_lines("AWC"), ligand])
    assert structure.sequence == "AWC"
    assert not structure.notes
    assert [str(c) for c in chains_of(structure.path)] == ["A (protein, 3 residues)"]


@pytest.mark.parametrize("name", ["DPPC", "POPC", "DOPE", "CHL1", "LYSO"])
@pytest.mark.parametrize("chain", [" ", "A", "L"])
def test_lipids_are_no_residues(read, name: str, chain: str):
    if name == "LYSO" and chain != " ":
        pytest.skip("LYSOA may as well be lysine of chain OA")
    lipid = [
        atom_line(atom, name, "", 6 + i, (60 + 1.4 * j, 8 * i, 0))
        for i in range(3)
        for j, atom in enumerate(["N", "C13", "P", "C1", "C2", "C"])
    ]
    lipid = [line[:21] + chain + line[22:] for line in lipid]
    structure = read([*chain_lines("MKTAY", chain="A" if chain != " " else " "), "TER", *lipid])
    assert structure.sequence == "MKTAY"


# Residues that are not written in one piece, or share a number


def test_atoms_that_are_appended_to_the_chain(read):
    late = chain_lines("AWC", atoms=["CB"])
    oxygen = residue_lines(2, "TRP", atoms=["O"])
    early = [x for x in chain_lines("AWC", atoms=["N", "CA", "C", "O"]) if x not in oxygen]
    whole = read(chain_lines("AWC"))
    for lines in (
        [*early, *oxygen, *late],
        [*early, *late, *oxygen],
        [*early, "TER", *oxygen, *late],
        [*early, *segmented([*oxygen, *late], "SIDE")],
    ):
        structure = read(lines)
        assert structure.sequence == "AWC"
        assert not structure.notes
        np.testing.assert_array_equal(structure.backbone, whole.backbone)
        np.testing.assert_array_equal(structure.cb, whole.cb)
    # an atom that is there already makes it a repeat
    again = residue_lines(2, "TRP", atoms=["CB"], shift=9)
    structure = read([*chain_lines("AWC"), *again])
    np.testing.assert_array_equal(structure.cb, whole.cb)


@pytest.mark.parametrize("second", ["TRP", "ALA"])
def test_two_neighbours_with_one_number(read, second: str):
    lines = [*residue_lines(1, "MET"), *residue_lines(2, "ALA")]
    lines += [x[:22] + "   2" + x[26:] for x in residue_lines(3, second)]
    lines += [x[:22] + "   3" + x[26:] for x in residue_lines(4, "CYS")]
    structure = read(lines)
    assert structure.sequence == f"MA{LETTERS[second]}C"
    assert structure.residue_numbers == ("1", "2", "2", "3")
    assert structure.resolved.all()
    assert not structure.notes
    # not bonded, it is the residue again
    away = [x[:22] + "   2" + x[26:] for x in residue_lines(2, second, shift=3.0)]
    structure = read([*residue_lines(1, "MET"), *residue_lines(2), *away, *residue_lines(3)])
    assert structure.sequence == "MAA"


def test_insertion_codes_before_and_after(read):
    codes = [(52, " "), (52, "A"), (52, "B"), (53, " "), (100, "B"), (100, "A"), (100, " ")]
    lines = [
        line
        for i, (number, code) in enumerate(codes)
        for line in residue_lines(number, NAMES["ACDEFHI"[i]], at=i, icode=code)
    ]
    structure = read(lines)
    assert structure.sequence == "ACDEFHI"
    assert structure.residue_numbers == ("52", "52A", "52B", "53", "100B", "100A", "100")


# Frames


def test_end_divides_frames(read):
    frames = [x for z in (0, 5, 9) for x in (*chain_lines("AWC", shift=z), "END")]
    structure = read(frames)
    assert structure.sequence == "AWC"
    assert structure.model == 1
    assert structure.notes == ("END divides the file into 3 models; model 1 was read",)
    np.testing.assert_allclose(structure.backbone[:, :, 2], 0)
    np.testing.assert_allclose(read(frames, model=3).backbone[:, :, 2], 9)
    with pytest.raises(InputError, match=r"has no model 4; it has 1, 2, 3$"):
        read(frames, model=4)


def test_end_between_files_put_together(read):
    lines = [*chain_lines("AWC"), "END", *chain_lines("KEDA", chain="B", shift=30), "END"]
    assert read(lines, "B").sequence == "KEDA"
    lines = [*chain_lines("AWC"), "END", *unlike(), "END"]
    assert read(lines, "A~2").sequence == "KEDA"


# A backbone alone


def test_a_backbone_gets_ideal_beta_carbons(read):
    lines = [
        line
        for line in ubiquitin_text().splitlines()
        if not line.startswith("ATOM") or line[12:16].strip() in ("N", "CA", "C", "O")
    ]
    whole, bare = demo_structure(), read(lines)
    assert bare.resolved.all()
    assert bare.notes == (
        "no residue has a Cβ (a backbone alone); ideal ones were put on N, Cα and C",
    )
    error = np.linalg.norm(bare.cb - whole.cb, axis=1)
    # Real Cβ of ubiquitin are as far as this from where ideal geometry has them.
    assert np.median(error) < 0.1
    assert error.max() < 0.5
    both = (bare.contacts() & whole.contacts()).sum()
    assert both / (bare.contacts() | whole.contacts()).sum() > 0.97
    # glycine has its Cα, as ever
    glycines = [i for i, letter in enumerate(bare.sequence) if letter == "G"]
    np.testing.assert_array_equal(bare.cb[glycines], bare.ca[glycines])
    # a bond of 1.52 Å, tetrahedral to N and C, on the side of an L-amino acid
    others = [i for i in range(len(bare)) if i not in glycines]
    n, ca, c = (bare.backbone[others, k] for k in range(3))
    bond = bare.cb[others] - ca
    np.testing.assert_allclose(np.linalg.norm(bond, axis=1), 1.52, atol=0.1)
    assert (np.einsum("ij,ij->i", np.cross(n - ca, c - ca), bond) > 0).all()


# Other formats


PQR = [
    "REMARK   1 PQR file generated by PDB2PQR",
    "ATOM      1  N   MET {}  1      27.340  24.430   2.614 -0.3000 1.8500",
    "ATOM      2  CA  MET {}  1      26.266  25.413   2.842  0.2100 2.2750",
    "ATOM      3  C   MET {}  1      26.913 -26.639 -13.531  0.5100 2.0000",
    "ATOM 4 CB MET {} 1 25.112 24.880 3.649 0.0000 2.0000",
    "ATOM      5  N    GLN {}  2     26.335  27.770   3.258 -0.4700 1.8500",
    "ATOM      6  CA   GLN {}  2     26.850  29.021   3.898  0.0700 2.2750",
    "ATOM      7  C    GLN {}  2     26.100  29.253   5.202  0.5100 2.0000",
    "TER",
    "END",
]


@pytest.mark.parametrize("chain", ["", "A"])
def test_pqr(read, chain: str):
    structure = read([line.format(chain) for line in PQR], name="x.pqr")
    assert (structure.chain, structure.sequence) == (chain, "MQ")
    np.testing.assert_allclose(structure.backbone[0, 2], [26.913, -26.639, -13.531], atol=1e-5)
    np.testing.assert_allclose(structure.cb[0], [25.112, 24.88, 3.649], atol=1e-5)


def test_pdbqt(read):
    lines = ["REMARK  Name = x", "ROOT"]
    lines += [f"{line[:66]:<70}{-0.062:6.3f} C " for line in chain_lines("AWC")]
    structure = read([*lines, "ENDROOT", "TORSDOF 0"], name="x.pdbqt")
    assert structure.sequence == "AWC"
    assert not structure.notes


OTHERS = {
    "x.fasta": (">P1\nMKT\n", "It is FASTA, which has no coordinates; give a structure"),
    "x.mol2": ("@<TRIPOS>MOLECULE\nx\n", "It is MOL2; write it as PDB or mmCIF"),
    "x.sdf": ("x\n  RDKit  3D\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n", "an SDF or MOL file"),
    "x.gro": (
        "Protein\n1\n    1MET      N    1   5.202   4.356   3.155\n   8.0 8.0 8.0\n",
        "It is a GRO file; write it as PDB with `gmx editconf",
    ),
    "x.xyz": ("1\nx\nC 0.0 1.0 2.0\n", "It is an XYZ file, which has no residues"),
    "x.json": ('[{"predicted_aligned_error": [[0]]}]', r"PAE\) of AlphaFold; give the PDB or mmCIF"),
    "y.json": ('{"entry": 1}', "It is JSON; give the PDB or mmCIF file that belongs to it"),
    "x.html": ("<!DOCTYPE html>\n<html></html>", "It is a web page; download the PDB or mmCIF"),
    "x.xml": ('<?xml version="1.0"?>\n<PDBx:datablock>\n', "It is PDBML; give the PDB or mmCIF"),
    "n.pdb": ("<?xml version='1.0'?><Error><Code>NoSuchKey</Code>", "answer of a server that has no"),
    "x.psf": ("PSF CMAP\n\n 1 !NTITLE\n", "It is a PSF file, which has no coordinates"),
    "x.prmtop": ("%VERSION  VERSION_STAMP = V0001.000\n", "It is an Amber topology"),
    "x.dssp": ("==== Secondary Structure Definition by\n", "It is the output of DSSP"),
    "t.pdb": ("ATOM 1 N MET A 1 27.3 24.2 2.6\n", "It is not in the columns of the PDB format"),
    "h.pdb": ("HEADER    X\nREMARK   2\n", "It is the head of a PDB file without its atoms"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_named(tmp_path: Path, name: str):
    text, match = OTHERS[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"is no structure file: it begins with .*{match}"):
        read_structure(tmp_path / name)


BINARY = {
    "x.bcif": (
        b"\x83\xa7encoder\xabmol*/ciftools\xaadataBlocks",
        "It is BinaryCIF; give the mmCIF",
    ),
    "x.mmtf": (b"\xde\x00'\xabmmtfVersion\xa50.2.0", "It is MMTF; give the mmCIF"),
    "x.dcd": (b"T\0\0\0CORD\x01\0\0\0", "It is a trajectory"),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_binary_formats_are_named(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]):
    data, match = BINARY[name]
    (tmp_path / name).write_bytes(pack(data))
    with pytest.raises(InputError, match=match):
        read_structure(tmp_path / name)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_archives_are_not_read_as_text(tmp_path: Path, pack: Callable[[bytes], bytes]):
    (tmp_path / "x.pdb").write_text("\n".join(chain_lines("AWC")))
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "x.pdb")
    packed = tmp_path / "x.pdb.gz"
    packed.write_bytes(pack((tmp_path / "x.tar").read_bytes()))
    with pytest.raises(InputError, match="is a tar archive; unpack it and name the PDB/mmCIF"):
        read_structure(packed)
    packed.write_bytes(gzip.compress(gzip.compress(b"x")))
    with pytest.raises(InputError, match="is packed with gzip twice"):
        read_structure(packed)
    packed.write_bytes(gzip.compress(b"PK\x03\x04"))
    with pytest.raises(InputError, match="is zip data"):
        read_structure(packed)


# Files that gemmi writes


@pytest.mark.parametrize("options", [{}, {"ter_records": False}, {"seqres_records": False}])
def test_what_gemmi_writes_of_ubiquitin(tmp_path: Path, options: dict):
    original = demo_structure()
    found = gemmi.read_structure(str(original.path))
    assert found[0][0].name == "A"
    found.setup_entities()
    path = tmp_path / "x.pdb"
    path.write_text(found.make_pdb_string(gemmi.PdbWriteOptions(**options)))
    assert same(read_structure(path), original)
    found[0][0].name = "AB"  # columns 21-22
    path.write_text(found.make_pdb_string(gemmi.PdbWriteOptions(**options)))
    assert same(read_structure(path, "AB"), original)


def same(one: Structure, two: Structure) -> bool:
    np.testing.assert_array_equal(one.backbone, two.backbone)
    np.testing.assert_array_equal(one.cb, two.cb)
    return one.sequence == two.sequence and one.residue_numbers == two.residue_numbers


FOLDX_AND_MORE = {
    "H": ["H1S", "H2S", "H1D", "H2D", "H1E", "H2E"],  # FoldX; Amber's phosaa10
    **{"S": ["S1P"], "T": ["T1P"], "Y": ["Y1P"], "G": ["GHP"]},
    **{"D": ["AS4", "IAS"], "E": ["GL4", "FGA"]},  # Amber at constant pH; wwPDB
}


@pytest.mark.parametrize("table", [AMBER, CHARMM, GROMOS, FOLDX_AND_MORE])
def test_names_of_protonation_states(read, table: dict[str, list[str]]):
    pairs = [(letter, name) for letter, names in table.items() for name in names]
    lines = []
    for i, (_, name) in enumerate(pairs, 1):
        for x in residue_lines(i, name[:3], chain=" "):
            lines.append(f"{x[:17]}{name:<4}{x[21:]}")
    assert read(lines).sequence == "".join(letter for letter, _ in pairs)


@pytest.mark.parametrize("change", [str.lower, str.title])
def test_records_in_either_case(read, change: Callable[[str], str]):
    lines = ["MODEL        1", *chain_lines("AWCK"), "TER", "ENDMDL"]
    lines = seqres([NAMES[c] for c in "AWCKG"]) + lines + ["MODEL        2", *chain_lines("AWCK")]
    structure = read([change(line[:6]) + line[6:] for line in lines])
    assert (structure.sequence, structure.chain, structure.notes) == ("AWCKG", "A", ())


def late(record: str) -> list[str]:
    """AWCKGY with its residues 1, 3 and 6 at the end of the chain, as record."""
    residues = [
        residue_lines(i, NAMES[c], record=record if i in (1, 3, 6) else "ATOM")
        for i, c in enumerate("AWCKGY", 1)
    ]
    return [line for i in (1, 3, 4, 0, 2, 5) for line in residues[i]]


@pytest.mark.parametrize("record", ["ATOM", "HETATM"])
@pytest.mark.parametrize("head", [[], seqres([NAMES[c] for c in "AWCKGYA"])])
def test_residues_appended_to_the_chain_stand_where_they_are_bonded(
    read, record: str, head: list[str]
):
    structure = read(head + late(record))
    assert structure.sequence == ("AWCKGYA" if head else "AWCKGY")
    assert structure.residue_numbers[:6] == tuple("123456")
    assert (np.diff(structure.ca[:6, 0]) > 3).all()
    assert "order of the numbers" in " ".join(structure.notes)


def test_the_order_of_the_file_counts_where_residues_are_bonded(read):
    # As of fusions, the second part of which is numbered from 1001 on; and with nothing bonded
    inserted = [*chain_lines("AW"), *residue_lines(1001, at=3), *residue_lines(3, "CYS", at=4)]
    assert read(inserted).residue_numbers == ("1", "2", "1001", "3")
    apart = [*chain_lines("AW"), *residue_lines(1001, at=9), *residue_lines(30, "CYS", at=30)]
    assert [n for n in read(apart).residue_numbers if n] == ["1", "2", "1001", "30"]


def test_ter_at_a_gap_of_a_named_chain(read):
    # As pdb_tidy of pdb-tools writes it
    first, second = chain_lines("AWC"), chain_lines("KGY", first=8)
    structure = read([*first, "TER", *second, "TER"])
    assert structure.sequence == "AWCXXXXKGY"
    assert "TER between residues 3 and 8" in " ".join(structure.notes)
    blank = [line[:21] + " " + line[22:] for line in [*first, "TER".ljust(30), *second]]
    assert read(segmented(blank, "PROA")).sequence == "AWCXXXXKGY"
    ended = [*first, atom_line("OXT", "CYS", "A", 3, (14.0, 0.0, 0.0))]
    for lines in (
        [*ended, "TER", *second],  # the chain does end there
        [*first, "TER", *chain_lines("KGY", first=8, shift=40.0)],  # too far for four residues
        [*first, "TER", *chain_lines("KGY", first=101)],  # too many for a loop
        blank,  # no name
    ):
        names = ["A", "A~2"] if lines[0][21] == "A" else ["1", "2"]
        assert [read(lines, name).sequence for name in names] == ["AWC", "KGY"]


def test_commands_say_what_was_decided_on_structures(tmp_path: Path):
    from esmkit.cli.options import LISTED_NOTES, structures_of

    lines = [*chain_lines("AWC"), "TER", *chain_lines("KGY", first=8)]
    for i in range(LISTED_NOTES + 2):
        (tmp_path / f"{i:02}.pdb").write_text("\n".join(lines))
    said: list[str] = []
    structures_of(str(tmp_path), said.append)
    assert said[0] == "00_A: TER between residues 3 and 8 is taken for a gap of the chain"
    assert said[LISTED_NOTES:] == ["and 2 more notes like these"]


def test_a_chromophore_without_a_backbone_of_its_own_is_noted(read):
    atoms = dict(zip(("N1", "CA1", "C3", "O3"), ("N", "CA", "C", "O"), strict=True))
    places = {new: ATOMS[old] for new, old in atoms.items()}
    lines = [
        atom_line(name, "CRO", "A", 3, (11.4 + x, y, z), record="HETATM")
        for name, (x, y, z) in places.items()
    ]
    lines = [*chain_lines("AW"), *lines, *chain_lines("KG", first=4)]
    structure = read(lines)
    assert structure.sequence == "AWXKG"
    assert "CRO 3 is bonded into the chain" in " ".join(structure.notes)
    ligand = [line[:30] + "  50.000" + line[38:] for line in lines]
    ligand = [new if "CRO" in new else old for new, old in zip(ligand, lines, strict=True)]
    assert not any("CRO" in note for note in read(ligand).notes)


def test_structures_are_given_as_paths_of_any_kind(tmp_path: Path):
    from esmkit.structure.given import structure_of

    class OfBytes:
        def __fspath__(self) -> bytes:
            return f"{path}:B".encode()

    path = tmp_path / "x.pdb"
    path.write_text("\n".join([*chain_lines("AWC"), *chain_lines("KGY", chain="B")]))
    for given_so in (f"{path}:B", Path(f"{path}:B"), OfBytes()):
        assert structure_of(given_so).sequence == "KGY"
    assert read_structure(Path(f"{path}:B")).sequence == "KGY"
    with pytest.raises(InputError, match="not a Structure of gemmi; write it to a file"):
        structure_of(gemmi.read_structure(str(path)))
