"""What a line of a PDB file means, in the format of the wwPDB and as programs really write it.

wwPDB format 3.3 is columns. What does not fit them is written in several ways: atom numbers over
99,999 and residue numbers over 9,999 in more columns, in hexadecimal (VMD), in hybrid-36 (cctbx,
Phenix: http://cci.lbl.gov/hybrid_36/), modulo 10,000 (GROMACS) or as stars; chain names of two
letters in columns 21-22; residue names of four letters in columns 18-21 (CHARMM, Amber, GROMOS),
and of five, by which Biopython's PDBIO moves the rest of the line.
"""

import re
from collections import defaultdict
from typing import NamedTuple

from esmkit.structure.letters import WATERS, is_known, nucleotides

__all__ = ["AtomLine", "DamagedLine", "LineReader", "is_atom_line", "is_ter", "model_number"]

MAX_COORDINATE = 1e6
"""Å; PDB has room for 9,999.999, and what is larger than this is a damaged number."""

COORDINATE = f"coordinate (Å, below {MAX_COORDINATE:,.0f})"
OCCUPANCY = "occupancy (a number, or blank for 1)"
NUMBER = "residue number"

_POINTS = (34, 42, 50)  # where the decimal points of x, y and z stand, from 0
_END_OF_COORDINATES = 54
_MOST_COLUMNS_MOVED = 3
_STARS = re.compile(r"\*+$")
_LONG_SERIAL = re.compile(r"\d{6,8}(?= )")
_FIRST_HYBRID = 10 * 36**3  # A000, which stands for 10,000
_DIGITS = 18  # of a number of a model
_LAST_DECIMAL = 9999  # what follows is 2710 in hexadecimal, A000 in hybrid-36, 0 modulo 10,000


class AtomLine(NamedTuple):
    """One atom as its line gives it.

    ``line`` counts from 0, ``block`` the TER lines before it that ended a part of its chain, and
    ``xyz`` is in Å. ``segment`` stands in columns 73-76, which the format has no longer.
    """

    line: int
    block: int
    chain: str
    segment: str
    residue: str
    number: int
    insertion: str
    hetero: bool
    name: str
    altloc: str
    xyz: tuple[float, float, float]
    occupancy: float
    b_factor: float = float("nan")


class DamagedLine(Exception):
    """A line of an atom that cannot be read; ``is_protein`` says whether it has to be."""

    def __init__(self, what: str, is_protein: bool) -> None:
        super().__init__(what)
        self.what = what
        self.is_protein = is_protein


def is_atom_line(line: str) -> bool:
    """Tell whether a line is an atom; a number over 99,999 may begin right after ``ATOM``."""
    if line.startswith("ATOM"):
        return line[4:6] == "  " or line[5:11].isdigit()
    return line.startswith("HETATM")


def is_ter(line: str) -> bool:
    """Tell whether a line ends a chain."""
    return line.startswith("TER") and line[3:4] in ("", " ")


def model_number(line: str) -> int:
    """Return the number of a MODEL line, 0 if it has none."""
    words = line[5:].split()
    return int(words[0][:_DIGITS]) if words and _is_decimal(words[0]) else 0


class LineReader:
    """Reads lines of atoms one after the other, as the meaning of some depends on others.

    Parameters
    ----------
    lines : list of str
        All lines of the file.
    is_pqr : bool
        Whether the fields are divided by blanks, as in PQR files.

    Attributes
    ----------
    counted : int
        Residues of a protein whose numbers are stars, so that they follow the one before.
    """

    def __init__(self, lines: list[str], is_pqr: bool = False) -> None:
        self._lines = lines
        self._is_pqr = is_pqr
        self._two_letters: frozenset[str] | None = None
        self._blocks: dict[str, int] = defaultdict(int)
        self._last: AtomLine | None = None
        self._names: set[str] = set()  # atoms so far of a residue whose number is stars
        self._is_hex = False
        self._wrapped = 0
        self.counted: int = 0

    def end_chain(self, every: bool = False) -> None:
        """Take note of a TER line, or of the end of everything so far."""
        if self._last is None:
            return
        for chain in list(self._blocks) if every else [self._last.chain]:
            self._blocks[chain] += 1
        self._last, self._is_hex, self._wrapped = None, False, 0

    def read(self, index: int) -> AtomLine:
        """Read the atom of one line.

        Raises
        ------
        DamagedLine
            If something that is needed is missing or no number.
        """
        line = self._lines[index]
        atom = self._pqr(index, line) if self._is_pqr else self._columns(index, line)
        self._last = atom
        return atom

    def _columns(self, index: int, line: str) -> AtomLine:
        long_name = ""
        if not line[34:35] == line[42:43] == line[50:51] == ".":
            line, long_name = _straightened(line)
        residue, chain = long_name or line[17:20].strip().upper(), line[21:22].strip()
        if line[20:21] != " " or line[17:18] == " ":
            residue, chain = self._residue_and_chain(line)
        needed = is_known(residue) or (len(line) < 20 and line.startswith("ATOM"))
        try:
            xyz = float(line[30:38]), float(line[38:46]), float(line[46:54])
        except ValueError:
            raise DamagedLine(COORDINATE, needed) from None
        if len(line) < _END_OF_COORDINATES or not all(abs(v) < MAX_COORDINATE for v in xyz):
            raise DamagedLine(COORDINATE, needed)  # 12.3 of 12.345 would pass; NaN is not smaller
        try:
            occupancy = float(line[54:60]) if line[54:60].strip() else 1.0
        except ValueError:
            occupancy = float("nan")
        if not abs(occupancy) < float("inf"):
            raise DamagedLine(OCCUPANCY, needed)
        name = line[12:16].strip().upper()
        number, insertion = self._number(line, chain, residue, name)
        segment = line[72:76].strip() if len(line) > 72 else ""
        if segment and not segment.replace("_", "").isalnum():  # as the charges of PDBQT
            segment = ""
        return AtomLine(
            index,
            self._blocks[chain],
            chain,
            segment,
            residue,
            number,
            insertion,
            line[0] == "H",
            name,
            line[16],
            xyz,
            occupancy,
            _b_factor(line[60:66]),
        )

    def _residue_and_chain(self, line: str) -> tuple[str, str]:
        """Read columns 18-22, where column 21 is used or column 18 is not.

        ``ALAAA`` is ALA of chain AA, ``POPCA`` is POPC of chain A: names of four letters that
        are known are taken for such, and those that begin with a common residue have a chain of
        two letters. The rest is decided by the other residues of the chain.
        """
        four, three = line[17:21].strip().upper(), line[17:20].strip().upper()
        last = line[20:21]
        if not last.strip() or not line[21:22].strip():
            return four, line[21:22].strip()
        if line[17:18] == " " and is_known(four) and not _is_common(three):
            return four, line[21:22].strip()
        chain = line[20:22].strip()
        if chain in self._chains_of_two_letters():
            return three, chain
        return (three, chain) if _is_common(three) and not is_known(four) else (four, chain[1:])

    def _chains_of_two_letters(self) -> frozenset[str]:
        """Find columns 21-22 that follow common residues, over all lines; once for a file."""
        if self._two_letters is None:
            self._two_letters = frozenset(
                line[20:22]
                for line, _ in map(_straightened, filter(is_atom_line, self._lines))
                if line[20:21].strip()
                and line[21:22].strip()
                and _is_common(line[17:20].strip().upper())
                and not is_known(line[17:21].strip().upper())
            )
        return self._two_letters

    def _number(self, line: str, chain: str, residue: str, name: str) -> tuple[int, str]:
        """Read residue number and insertion code, columns 23-27."""
        text, insertion = line[22:26].strip(), line[26:27].strip()
        last = self._last if self._last is not None and self._last.chain == chain else None
        if self._last is not None and last is None:
            self._is_hex, self._wrapped = False, 0
        if insertion.isdigit() and insertion.isascii() and _is_decimal(text):
            return int(text + insertion), ""  # five digits
        if _is_decimal(text):
            self._names.clear()
            number = int(text)
            if self._is_hex or self._wrapped or (last and last.number >= _LAST_DECIMAL):
                number = self._after_9999(text, number, last)
            return number, insertion
        number = self._coded(text, last)
        if number is not None:
            self._names.clear()
            return number, insertion
        if not (_STARS.match(text) and is_known(residue)):
            raise DamagedLine(NUMBER, is_known(residue))
        # Without a number a residue ends where its name changes or an atom comes again.
        if last is not None and self._names and last.residue == residue and name not in self._names:
            self._names.add(name)
            return last.number, ""
        self._names = {name}
        self.counted += 1
        return (last.number + 1 if last else 1), ""

    def _after_9999(self, text: str, number: int, last: AtomLine | None) -> int:
        """Return what a decimal number stands for where numbers have passed 9,999."""
        if len(text) < 4 and self._is_hex:
            self._is_hex = False  # begun anew
        if last and last.number == _LAST_DECIMAL and text == f"{_LAST_DECIMAL + 1:x}":
            self._is_hex = True
        if self._is_hex:
            return int(text, 16)
        if last and number == 0 and last.number % (_LAST_DECIMAL + 1) == _LAST_DECIMAL:
            self._wrapped += _LAST_DECIMAL + 1
        elif last and number + self._wrapped < last.number:
            self._wrapped = 0
        return number + self._wrapped

    def _coded(self, text: str, last: AtomLine | None) -> int | None:
        """Return a residue number in hexadecimal or hybrid-36; None if it is neither."""
        if len(text) != 4 or not (text.isascii() and text.isalnum()):
            return None
        is_one_case = text in (text.lower(), text.upper())
        is_hex = is_one_case and set(text.lower()) <= set("0123456789abcdef")
        after = self._is_hex or (last is not None and last.number == 0x9FFF)
        # What is less would be decimal: 100A is a number with its insertion code.
        if is_hex and (after or (text[0].isdigit() and int(text, 16) >= _LAST_DECIMAL)):
            self._is_hex = True
            return int(text, 16)
        if not (is_one_case and text[0].isalpha()):
            return None
        number = int(text, 36) - _FIRST_HYBRID + _LAST_DECIMAL + 1
        return number + (26 * 36**3 if text[0].islower() else 0)

    def _pqr(self, index: int, line: str) -> AtomLine:
        """Read a line of a PQR file: fields between blanks, the chain may be missing."""
        words = line.split()
        match = re.fullmatch(r"([A-Za-z]?)(-?\d+)([A-Za-z]?)", words[-6] if len(words) > 9 else "")
        residue = words[3].upper() if len(words) > 3 else ""
        if match is None or len(words) > 11:
            raise DamagedLine(NUMBER, is_known(residue))
        try:
            x, y, z = map(float, words[-5:-2])
        except ValueError:
            raise DamagedLine(COORDINATE, is_known(residue)) from None
        if not all(abs(v) < MAX_COORDINATE for v in (x, y, z)):
            raise DamagedLine(COORDINATE, is_known(residue))
        chain = words[4] if len(words) == 11 else match[1]
        hetero = line.startswith("H")
        block = self._blocks[chain]
        return AtomLine(
            *(index, block, chain, "", residue, int(match[2]), match[3], hetero),
            *(words[2].upper(), " ", (x, y, z), 1.0),
        )


def _straightened(line: str) -> tuple[str, str]:
    """Put the columns of a line back where a number or name that was too long has moved them.

    Returns
    -------
    line : str
        The line, or that with the columns of the format.
    residue : str
        The name of the residue if it was too long for its columns, else ``""``.
    """
    moved = _moved(line)
    if not moved:
        return line, ""
    serial = _LONG_SERIAL.match(line, 6)
    if serial and serial.end() - 11 <= moved:
        return _straightened(line[:6] + line[serial.end() - 5 :])
    if line[22 : 26 + moved].isdigit():  # of five digits the last stands where column 27 is read
        return line[:27] + line[27 + moved :], ""
    name = line[17 : 20 + moved]
    if " " not in name and line[20 + moved] == " ":
        return f"{line[:17]}{name[:3]} {line[21 + moved :]}", name.upper()
    return line, ""


def _moved(line: str) -> int:
    """Return by how many columns the coordinates stand too far to the right, 0 if unclear."""
    for moved in range(_MOST_COLUMNS_MOVED + 1):
        if all(line[i + moved : i + moved + 1] == "." for i in _POINTS):
            return moved
    return 0


def _b_factor(text: str) -> float:
    """Return a B-factor, NaN if it cannot be read: nothing that is always needed depends on it."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _is_decimal(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit()


def _is_common(name: str) -> bool:
    """Tell whether a residue name of up to three letters is one that chains are made of."""
    from Bio.Data.PDBData import protein_letters_3to1 as standard

    return name in standard or name in nucleotides() or name in WATERS
