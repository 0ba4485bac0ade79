"""FASTA, structures, tables of mutations and words of options, made by rule and then damaged.

Every maker takes the numbers that chance gives and returns what kind of thing was done, and bytes.
"""

import functools
import gzip
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from damage import ENCODINGS, ENDS, ODD, hurt, hurt_text

from esmkit.data import demo_structure
from esmkit.sequences.letters import ALLOWED_LETTERS
from oracles.structure_files import NAMES as THREE
from oracles.structure_files import residue_lines, seqres, to_mmcif

CORPUS = Path(__file__).parent / "corpus"
AMINO = "ACDEFGHIKLMNPQRSTVWY"
SEQUENCE = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQK"
"""Beginning of ubiquitin (P0CG48), of which mutations are made."""

Made = tuple[str, bytes]


@functools.cache
def _corpus(*endings: str) -> list[bytes]:
    paths = sorted(path for ending in endings for path in CORPUS.glob(f"*{ending}"))
    return [path.read_bytes() for path in paths if path.stat().st_size < 20_000]


# ------------------------------------------------------------------------------------ FASTA

LETTERS = "".join(sorted(ALLOWED_LETTERS))
FASTA_WORDS = (
    ">",
    ">A",
    "> ",
    ">sp|",
    "*",
    "**",
    "-",
    ".",
    "J",
    "j",
    ";",
    "LOCUS",
    "CLUSTAL",
    "B Z",
)
IDS = (
    *(
        "A",
        "A",
        "A~2",
        "B",
        "sp|P69905|HBA_HUMAN Hemoglobin OS=Homo sapiens",
        ">A",
        "=1+1",
        "1abc_A",
    ),
    *(
        "",
        " ",
        "1ABC_a",
        "x" * 5_000,
        "a/b",
        "..",
        "NA",
        "nan",
        "1e5",
        "é",
        "\U0001f9ec",
        "a,b",
        "%2F",
    ),
)


def letters_of(chance: random.Random) -> str:
    """A sequence, mostly a good one."""
    text = "".join(chance.choices(LETTERS, k=chance.choice((1, 3, 10, 60, 61, 300))))
    kind = chance.randrange(40)
    if kind == 0:
        text = text.lower()
    elif kind == 1:
        place = chance.randrange(len(text) + 1)
        text = text[:place] + chance.choice((*ODD, *FASTA_WORDS)) + text[place:]
    elif kind == 2:
        text += "*"
    elif kind == 3:
        text = "".join(chance.choices("ACGTUN", k=40))
    elif kind == 4:
        text = "".join(chr(chance.randrange(1, 0x3000)) for _ in range(chance.randrange(9)))
    elif kind == 5:
        text = ""
    return text


def fasta_text(chance: random.Random) -> str:
    """A FASTA file as a program may write it."""
    parts = []
    wrap = chance.choice((0, 0, 1, 10, 60, 80))
    for number in range(chance.choice((1, 1, 2, 3, 8))):
        name = f"P{number}" if chance.randrange(3) else chance.choice(IDS)
        if not chance.randrange(6):
            name += " " + "".join(chance.choices(ODD[:30], k=3))
        sequence = letters_of(chance)
        if wrap:
            sequence = "\n".join(sequence[i : i + wrap] for i in range(0, len(sequence), wrap))
        parts.append(f">{name}\n{sequence}\n")
    if not chance.randrange(20):
        parts.insert(0, chance.choice(("; comment\n", "\ufeff", "\n\n", " ", "@", "#\n")))
    return "".join(parts)


def written(chance: random.Random) -> bytes:
    """A FASTA file as a person may have written it: odd in every place at once."""
    parts = []
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        kind = chance.randrange(14)
        name = chance.choice(IDS) if kind else "".join(chance.choices((*ODD[:24], *IDS), k=3))
        if kind == 1:
            name += " " + "".join(chance.choices(ODD[:24], k=4))
        start = chance.choice(("; comment\n", "\ufeff>", "", " >", "@")) if kind == 2 else ">"
        parts += [start, name, chance.choice(("\n", "\n", "\n", *ENDS))]
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            parts += [letters_of(chance), chance.choice(("\n", "\n", "\n", *ENDS))]
    encoding = chance.choice(ENCODINGS) if not chance.randrange(3) else "utf-8"
    return "".join(parts).encode(encoding, errors="replace")


def a_fasta(chance: random.Random) -> Made:
    kind = chance.randrange(12)
    if kind == 0:
        return "written by hand", written(chance)
    if kind == 1:
        seed = chance.choice(_corpus(".fasta", ".fasta.gz"))
        return "hostile files, damaged", hurt(chance, seed)[1]
    if kind == 2 and not chance.randrange(3):
        return "noise", chance.randbytes(chance.randrange(99))
    return hurt_text(chance, fasta_text(chance), FASTA_WORDS)


# ------------------------------------------------------------------------------- structures

STRUCTURE_WORDS = (
    *(
        "ATOM  ",
        "HETATM",
        "TER",
        "MODEL        2",
        "ENDMDL",
        "END",
        "SEQRES",
        "MODRES",
        "MSE",
        "UNK",
    ),
    *("HOH", " DA", "A", "B", " ", "", "?", ".", "'", '"', ";", "\n;", "loop_", "data_y", "A000"),
    *("_atom_site.id", "_entity_poly.type", "********", "1e9", "1e400", "-999", "9999", "ALA"),
)
COLUMNS = (
    *("group_PDB", "id", "label_atom_id", "label_alt_id", "label_comp_id", "label_asym_id"),
    *("label_entity_id", "label_seq_id", "auth_seq_id", "auth_asym_id", "pdbx_PDB_ins_code"),
    *("occupancy", "Cartn_x", "Cartn_y", "Cartn_z", "pdbx_PDB_model_num"),
)
CELLS = (
    *STRUCTURE_WORDS,
    "1",
    "2",
    "-1",
    "0.5",
    "CA",
    "N",
    "C",
    "CB",
    "GLY",
    "ATOM",
    "nan",
    "\uff11",
)
FIELDS = ((0, 6), (6, 11), (12, 16), (16, 17), (17, 20), (21, 22), (22, 26), (26, 27), (30, 38))
FIELDS += ((38, 46), (46, 54), (54, 60), (60, 66))
"""Columns of an atom in PDB."""


@functools.cache
def _ubiquitin() -> tuple[list[str], list[str], list[str]]:
    lines = gzip.decompress(demo_structure().path.read_bytes()).decode().splitlines()
    head = [line for line in lines if line[:6] in ("HEADER", "SEQRES", "MODRES", "HELIX ")]
    atoms = [line for line in lines if line.startswith("ATOM")]
    waters = [line for line in lines if line.startswith("HETATM")]
    return head, atoms[:160], waters[:6]


def _chains(chance: random.Random) -> tuple[list[str], list[list[str]]]:
    """Atoms of one chain or several, and what SEQRES has of each."""
    atoms, names, line = [], [], 0
    for chain in "AB"[: chance.choice((1, 1, 1, 2))]:
        letters = "".join(chance.choices(AMINO, k=chance.choice((3, 6, 12))))
        residues = [THREE[letter] for letter in letters]
        if not chance.randrange(4):
            place = chance.randrange(len(residues))
            residues[place] = chance.choice(("MSE", "UNK", "SEP", "HOH", "DA", "ACE", "  A", "XXX"))
        first = chance.choice((1, 1, -3, 0, 998, 9_990))
        for number, name in enumerate(residues, first):
            if chance.randrange(9):  # some are not resolved
                atoms += residue_lines(number, name, at=line, chain=chain)
            line += 1
        names.append(residues)
    return atoms, names


def a_pdb(chance: random.Random) -> str:
    if not chance.randrange(4):
        head, atoms, waters = _ubiquitin()
        return "\n".join([*head, *atoms, "TER", *waters, "END", ""])
    atoms, names = _chains(chance)
    lines = [line for n, of in enumerate(names) for line in seqres(of, "AB"[n])]
    lines = lines if chance.randrange(3) else []
    if not chance.randrange(6):
        return "\n".join(
            [*lines, "MODEL        1", *atoms, "ENDMDL", "MODEL        2", *atoms, "ENDMDL", ""]
        )
    return "\n".join([*lines, *atoms, "TER", "END", ""])


def a_cif(chance: random.Random) -> str:
    atoms, names = _chains(chance)
    labels = {str(i): i for i in range(1, len(names[0]) + 1)}
    leave_out = tuple(chance.sample(COLUMNS, 1)) if not chance.randrange(6) else ()
    return to_mmcif(atoms, labels, names[0], leave_out=leave_out)


def _table(chance: random.Random) -> bytes:
    """An mmCIF table of arbitrary columns and cells."""
    columns = chance.sample(COLUMNS, chance.randint(4, len(COLUMNS)))
    lines = [f"_atom_site.{name}" for name in columns]
    for _ in range(chance.randrange(8)):
        cells = [chance.choice(CELLS) for _ in columns]
        lines.append(" ".join(f"'{c}'" if not c or " " in c else c for c in cells))
    return ("data_x\nloop_\n" + "\n".join(lines) + "\n").encode("utf-8", "replace")


def _field(chance: random.Random, text: str) -> str:
    """Write something else into a column of a PDB line, which keeps its length."""
    lines = text.split("\n")
    for _ in range(chance.choice((1, 1, 2, 5))):
        row = chance.randrange(len(lines))
        start, stop = chance.choice(FIELDS)
        new = chance.choice((*CELLS, *ODD[:40]))[: stop - start].rjust(stop - start)
        lines[row] = lines[row][:start].ljust(start) + new + lines[row][stop:]
    return "\n".join(lines)


def a_structure(chance: random.Random) -> Made:
    kind = chance.randrange(12)
    if kind == 0:
        return "mmCIF of any columns", _table(chance)
    if kind == 1:
        seed = chance.choice(_corpus(".pdb", ".cif"))
        return "hostile files, damaged", hurt(chance, seed)[1]
    if kind < 4:
        return "columns of PDB", _field(chance, a_pdb(chance)).encode("utf-8", "replace")
    text = a_pdb(chance) if kind < 8 else a_cif(chance)
    return hurt_text(chance, text, STRUCTURE_WORDS, often=3)


# -------------------------------------------------------------------------------- mutations

MUTATION_WORDS = (
    *("A12G", "p.(Ala12Gly)", "p.Met1?", "del", "ins", "dup", "delins", "fs", "Ter", "_", ":", "/"),
    *(
        "WT",
        "=",
        "mutant",
        "mutated_sequence",
        "DMS_score",
        "hgvs_pro",
        "#",
        "X1A",
        "A0G",
        "c.76A>T",
    ),
)
CODES = {letter: name.capitalize() for letter, name in THREE.items()}


def a_variant(chance: random.Random) -> str:
    """A mutation of the sequence, in one of the ways to write it; one in ten is of another."""
    pieces = []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        place = chance.randrange(len(SEQUENCE) - 4)
        old, new = SEQUENCE[place], chance.choice(AMINO)
        if not chance.randrange(10):
            old, place = chance.choice(AMINO), chance.choice((place, 10**6, 0, 2**63))
        three = chance.randrange(3) == 0
        old, new = (CODES[old], CODES[new]) if three else (old, new)
        after = SEQUENCE[place + 1] if place + 1 < len(SEQUENCE) else "A"
        after = CODES[after] if three else after
        pieces.append(
            chance.choice(
                (
                    *(f"{old}{place + 1}{new}",) * 6,
                    f"{old}{place + 1}del",
                    f"{old}{place + 1}dup",
                    f"{old}{place + 1}_{after}{place + 2}ins{new}{new}",
                    f"{old}{place + 1}_{after}{place + 2}delins{new}",
                    f"{old}{place + 1}{chance.choice(('=', '*', 'Ter', 'fs', '?', ''))}",
                )
            )
        )
    text = chance.choice((":", ":", ":", ";", ",", "/", "+", " ", "_")).join(pieces)
    kind = chance.randrange(12)
    if kind == 0:
        return f"p.{text}"
    if kind == 1:
        return f"NP_000468.1:p.({text})"
    if kind == 2:
        return f"p.[{text}]"
    return chance.choice((text.lower(), text.upper())) if kind == 3 else text


def _cell(text: str, separator: str, chance: random.Random) -> str:
    quoted = separator in text or "\n" in text or not chance.randrange(20)
    return '"' + text.replace('"', '""') + '"' if quoted else text


def mutation_table(chance: random.Random) -> str:
    """A table of mutations, of any of the forms that are read."""
    sign = chance.choice((",", ",", "\t", ";"))
    columns = [chance.choice(("mutant", "variant", "hgvs_pro", "Mutation", "aa_change"))]
    whole = not chance.randrange(4)
    columns += ["mutated_sequence"] * whole + ["DMS_score"] * chance.randrange(2)
    columns += chance.choice((["protein"], ["id", "id"], [], [], [], ["note"]))
    chance.shuffle(columns)
    lines = [sign.join(columns)] if chance.randrange(8) else []
    for _ in range(chance.choice((1, 2, 4, 12))):
        cells = []
        for column in columns:
            if column == "mutated_sequence":
                place = chance.randrange(len(SEQUENCE))
                cells.append(SEQUENCE[:place] + chance.choice(AMINO) + SEQUENCE[place + 1 :])
            elif column == "DMS_score":
                cells.append(chance.choice(("0.5", "-1", "1,5", "", "NA", "inf", "1e400", "x")))
            elif column in ("protein", "id"):
                cells.append(chance.choice(("P0CG48", "", "other", "P0CG48 ")))
            elif column == "note":
                cells.append(chance.choice(("", "a note", 'with "quotes"', "a\nb", "é")))
            else:
                cells.append(a_variant(chance))
        lines.append(sign.join(_cell(cell, sign, chance) for cell in cells))
    if not chance.randrange(10):
        lines.insert(0, chance.choice(("# urn:mavedb:1", "", "\ufeff", "sep=;")))
    return "\n".join(lines) + "\n"


def a_mutation(chance: random.Random) -> Made:
    kind = chance.randrange(10)
    if kind < 2:
        return "one mutation", a_variant(chance).encode("utf-8", "replace")
    if kind == 2:
        text = _nudged(chance, a_variant(chance), MUTATION_WORDS)
        return "one mutation, damaged", text.encode("utf-8", "replace")
    if kind == 3:
        text = "\n".join(a_variant(chance) for _ in range(chance.choice((1, 3, 20))))
        return "a list", text.encode("utf-8", "replace")
    return hurt_text(chance, mutation_table(chance), MUTATION_WORDS)


# -------------------------------------------------------------------------- words of options

PARTS = (
    *("L5H4", "L0H1", "L1", "l1h3", "all", "-1", "0", "1", "2", "K48", "Lys48", "10-20", "12..20"),
    *(
        "A:5",
        "P69905:3-9",
        "10GB",
        "1.5 kB",
        "500",
        "MB",
        "L0.residual",
        "L1H3.output",
        "L0.weights",
    ),
    *("embedding", "final", "logits", "zero", "mean", "name=1-30", "kinase=30-60", "1-30"),
)
APT: tuple[tuple[str, ...], ...] = (
    *(("L5H4", "L0H1", "l1h3", " L12H0 "),) * 3,
    ("0", "1", "-1", "all", "6"),
    ("L0H1", "L1H3", "L1", "L0H0"),
    *(("5", "K48", "Lys48", "10-20", "A:5", "P69905:3-9"), ("10-20", "12..20", "1-5")),
    ("10GB", "1.5 kB", "500", "2e9", "4MiB"),
    ("L0.residual=zero", "L1H3.output=zero", "L0.weights=zero", "final"),
    *(("a", "\x1b[2J", "é\u202e"), ("kinase:10-120", "SH2:130-200", "a:1-5")),
    ("L0.residual", "L1H3.output", "L*.query", "embedding", "final", "all"),
)
"""Words that are right, for each of the twelve readers of :mod:`parsers`."""

JOINTS = (",", ",", ",", "-", ":", "=", ".", "..", " ", ";", "", "|", "/")


def _nudged(chance: random.Random, text: str, words: Sequence[str]) -> str:
    """Change a few signs or words of a short text."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        place = chance.randrange(len(text) + 1)
        kind = chance.randrange(5)
        new = chance.choice((words, ODD)[kind % 2]) if kind < 3 else chr(chance.randrange(0x3000))
        text = text[:place] + ("" if kind == 4 else new) + text[place + chance.randrange(3) :]
    return text


def a_word(chance: random.Random) -> Made:
    """A text for one of the readers of options (the first byte says for which)."""
    number = chance.randrange(len(APT) * 20)
    reader, words = bytes([number]), APT[number % len(APT)]
    text = chance.choice(words)
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        joint = "," if chance.randrange(3) else chance.choice(JOINTS)
        text += joint + chance.choice(words if chance.randrange(4) else PARTS)
    kind = chance.randrange(3)
    if kind == 0:
        return "none", reader + text.encode()
    if kind == 1:
        return "signs and words", reader + _nudged(chance, text, PARTS).encode("utf-8", "replace")
    return hurt(chance, reader + text.encode(), often=20)


MAKERS: dict[str, Callable[[random.Random], Made]] = {
    "fasta": a_fasta,
    "structures": a_structure,
    "mutations": a_mutation,
    "words": a_word,
}
