"""Hand-made structure files: an extended chain of real bond lengths, and its lines of text."""

import gzip
from collections.abc import Iterable

from Bio.Data.PDBData import protein_letters_1to3

from esmkit.data import demo_structure

# Å: one residue of a chain that runs along x, 3.8 Å for each residue; C-N is 1.33.
ATOMS = {
    "N": (0.0, 0.0, 0.0),
    "CA": (1.25, 0.7, 0.0),
    "C": (2.47, 0.0, 0.0),
    "O": (2.47, -1.23, 0.0),
    "CB": (1.25, 1.5, 1.25),
}
NAMES = {letter: name.upper() for letter, name in protein_letters_1to3.items()}


def atom_line(
    name: str,
    residue: str,
    chain: str,
    number: int,
    xyz: Iterable[float],
    *,
    icode: str = " ",
    altloc: str = " ",
    occupancy: float = 1.0,
    record: str = "ATOM",
) -> str:
    x, y, z = xyz
    return (
        f"{record:<6}{1:>5} {' ' + name if len(name) < 4 else name:<4}{altloc}{residue:>3} {chain}"
        f"{number:>4}{icode}   {x:8.3f}{y:8.3f}{z:8.3f}{occupancy:6.2f}{10:6.2f}"
        f"          {name[0]:>2}"
    )


def residue_lines(
    number: int,
    name: str = "ALA",
    *,
    at: float | None = None,
    chain: str = "A",
    shift: float = 0.0,
    atoms: Iterable[str] = ATOMS,
    **options,
) -> list[str]:
    """The lines of a residue at place ``at`` of the extended chain, moved by ``shift`` along z."""
    start = 3.8 * (number if at is None else at)
    return [
        atom_line(
            atom,
            name,
            chain,
            number,
            (start + ATOMS[atom][0], ATOMS[atom][1], ATOMS[atom][2] + shift),
            **options,
        )
        for atom in atoms
        if not (atom == "CB" and name == "GLY")
    ]


def chain_lines(sequence: str, first: int = 1, **options) -> list[str]:
    lines = []
    for number, letter in enumerate(sequence, first):
        lines += residue_lines(number, NAMES[letter], **options)
    return lines


def seqres(names: list[str], chain: str = "A") -> list[str]:
    return [
        f"SEQRES {i // 13 + 1:>3} {chain} {len(names):>4}  {' '.join(names[i : i + 13])}"
        for i in range(0, len(names), 13)
    ]


def ubiquitin_text() -> str:
    return gzip.decompress(demo_structure().path.read_bytes()).decode()


ATOM_SITE = (
    *("group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id"),
    *("label_asym_id", "label_entity_id", "label_seq_id", "pdbx_PDB_ins_code"),
    *("Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv"),
    *("auth_seq_id", "auth_asym_id", "pdbx_PDB_model_num"),
)


def to_mmcif(
    lines: list[str],
    labels: dict[str, int],
    names: list[str],
    *,
    category: str = "entity_poly_seq",
    leave_out: tuple[str, ...] = (),
) -> str:
    """Rewrite the atoms of a PDB file as mmCIF.

    ``labels`` gives the position in the sequence for each author number; other residues have none.
    The polymer is asym ``P`` of entity 1, the rest is asym ``L`` of entity 2.
    """
    rows, model = [], 1
    for line in lines:
        if line.startswith("MODEL"):
            model = int(line[6:])
        if not line.startswith(("ATOM", "HETATM")):
            continue
        number, icode = line[22:26].strip(), line[26].strip()
        label = labels.get(number + icode, ".")
        asym, entity = ("L", "2") if label == "." else ("P", "1")
        row = [line[:6].strip(), "1", "C", line[12:16].strip(), line[16].strip() or "."]
        row += [line[17:20].strip(), asym, entity, str(label), icode or "?"]
        row += [line[30:38].strip(), line[38:46].strip(), line[46:54].strip()]
        row += [line[54:60].strip(), "10.0", number, line[21].strip() or ".", str(model)]
        cells = dict(zip(ATOM_SITE, row, strict=True))
        rows.append(" ".join(v for k, v in cells.items() if k not in leave_out))
    keys = [f"_atom_site.{name}" for name in ATOM_SITE if name not in leave_out]
    text = ["data_TEST", "#"]
    if names:
        owner = {
            "entity_poly_seq": ("entity_id", "num", "1"),
            "pdbx_poly_seq_scheme": ("asym_id", "seq_id", "P"),
        }
        key, number, value = owner[category]
        text += ["loop_", f"_{category}.{key}", f"_{category}.{number}", f"_{category}.mon_id"]
        text += [f"{value} {i} {name}" for i, name in enumerate(names, 1)] + ["#"]
    return "\n".join([*text, "loop_", *keys, *rows, "#", ""])
