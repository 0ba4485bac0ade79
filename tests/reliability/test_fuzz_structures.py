"""Damaged and generated structure files, small and of real size: a chain, or a reason."""

import gzip
import random
from pathlib import Path

import numpy as np
import pytest
from fuzzing import Tally, many, peak
from hypothesis import given
from hypothesis import strategies as st

from esmkit.data import demo_structure
from esmkit.errors import InputError
from esmkit.sequences.proteins import ALLOWED_LETTERS
from esmkit.structure import Structure, chains_of, read_structure
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

TOKENS = [
    *("ATOM  ", "HETATM", "TER", "MODEL        2", "ENDMDL", "END", "SEQRES", "MSE", "UNK", "HOH", " DA"),
    *("A", "B", " ", "", "?", ".", "'", '"', ";", "\n;", "#", "loop_", "data_y", "_atom_site.id", "\n"),
    *("nan", "inf", "-inf", "1e9", "1e400", "********", "0x10", "-999", "9999", "A000", "\uff11", "1_0"),
    *("\0", "\t", "\r", "\x1b[2J", "\ufeff", "\u2028", "\u00e9", "A" * 100, "_atom_site.label_seq_id"),
]  # fmt: skip


def changed(text: str, seed: int) -> str:
    """Damage a file as people, programs and disks do."""
    chance = random.Random(seed)
    lines = text.split("\n")
    for _ in range(chance.choice([1, 1, 2, 4, 9])):
        row = chance.randrange(len(lines))
        line = lines[row]
        a = chance.randrange(len(line) + 1)
        new = chance.choice(TOKENS)
        kind = chance.randrange(9)
        if kind == 0:
            lines[row] = line[:a] + new + line[a + len(new) :]  # the columns stay where they are
        elif kind == 1:
            lines[row] = line[:a] + new + line[a:]
        elif kind == 2:
            lines[row] = line[:a]
        elif kind == 3:
            del lines[row : row + chance.choice([1, 1, 3, 40])]
        elif kind == 4:
            lines[row:row] = lines[row : row + chance.choice([1, 5, 60])]
        elif kind == 5:
            other = chance.randrange(len(lines))
            lines[row], lines[other] = lines[other], lines[row]
        elif kind == 6:
            words = line.split()
            if words:
                words[chance.randrange(len(words))] = new
                lines[row] = " ".join(words)
        elif kind == 7:
            lines = lines[: row + 1]
        else:
            lines[row] = line[:a] + chr(chance.randrange(32, 0x3000)) + line[a + 1 :]
        lines = lines or [""]
    return "\n".join(lines)


def small_files() -> list[str]:
    paths = sorted([*CORPUS.glob("*.pdb"), *CORPUS.glob("*.cif")])
    return [path.read_text(encoding="utf-8") for path in paths]


seeds = st.integers(0, 2**32 - 1)
bases = st.one_of(st.just(PDB), st.just(CIF), st.sampled_from(small_files()))
mutated = st.builds(changed, bases, seeds)
cells = st.sampled_from(
    [*TOKENS, "1", "2", "-1", "0.5", "CA", "N", "C", "CB", "ALA", "GLY", "ATOM"]
)


@st.composite
def tables(draw: st.DrawFn) -> str:
    """An mmCIF file of arbitrary columns and cells."""
    columns = draw(
        st.lists(
            st.sampled_from(
                [
                    "group_PDB",
                    "id",
                    "label_atom_id",
                    "label_alt_id",
                    "label_comp_id",
                    "label_asym_id",
                    "label_entity_id",
                    "label_seq_id",
                    "auth_seq_id",
                    "auth_asym_id",
                    "pdbx_PDB_ins_code",
                    "occupancy",
                    "Cartn_x",
                    "Cartn_y",
                    "Cartn_z",
                    "pdbx_PDB_model_num",
                ]
            ),
            min_size=4,
            max_size=16,
        )
    )
    rows = draw(st.lists(st.lists(cells, min_size=len(columns), max_size=len(columns)), max_size=8))
    text = "".join(f"_atom_site.{name}\n" for name in columns)
    quoted = (" ".join(f"'{c}'" if not c or " " in c else c for c in row) for row in rows)
    return f"data_x\nloop_\n{text}" + "\n".join(quoted) + "\n"


def check(structure: Structure) -> None:
    size = len(structure)
    assert size > 0
    assert set(structure.sequence) <= ALLOWED_LETTERS
    assert structure.id.isprintable()
    assert structure.protein.header.isprintable()
    assert size == len(structure.residue_numbers) == len(structure.cb) == len(structure.backbone)
    assert (np.abs(structure.backbone[np.isfinite(structure.backbone)]) < 1e6).all()
    assert not np.isinf(structure.cb).any()


@pytest.mark.parametrize(("kind", "examples"), [("mutated", 250), ("tables", 120), ("packed", 60)])
def test_structure_files(tmp_path: Path, kind: str, examples: int):
    tally = Tally(f"structures, {kind}")
    path = tmp_path / "x.any"

    @many(examples)
    @given(text=tables() if kind == "tables" else mutated, seed=seeds)
    def run(text: str, seed: int) -> None:
        data = text.encode("utf-8", errors="replace")
        if kind == "packed":
            whole = gzip.compress(data, 1)
            cut = seed % 3
            data = whole if cut else whole[: seed % len(whole)]
        path.write_bytes(data)
        with tally.trial():
            for chain in chains_of(path):
                if chain.kind != "protein":
                    continue
                structure = read_structure(path, chain.chain)
                check(structure)
                if seed % 16 == 0:  # DSSP takes longer than all of the reading
                    assert len(structure.secondary_structure) == len(structure)
                    assert not structure.contacts()[~structure.resolved].any()

    run()
    if kind == "tables":  # next to none is a structure
        tally.outcomes["accepted"] += 1
    tally.report()


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
