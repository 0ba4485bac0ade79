"""One numbering everywhere: a pair of a table, of a figure and of the authors is one pair."""

import gzip
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from esmkit import plots
from esmkit.contacts import ContactMap
from esmkit.contacts.to_file import Watch
from esmkit.contacts.written import Chosen, RrWriter, TsvWriter
from esmkit.data import demo_structure
from esmkit.plots.author_numbers import author_ticks
from esmkit.sequences.proteins import Protein
from esmkit.structure import Structure, read_structure
from oracles.commands import write_fasta

UBIQUITIN = demo_structure()
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
TAG = "MGSSHHHHHHSSGLVPRGSH"


@dataclass(frozen=True)
class Case:
    """Ubiquitin as it was expressed, and as its structure was solved and numbered.

    Residues of ubiquitin are counted from 0: those of ``lost`` have no coordinates, and
    ``authors`` are the numbers in the file.
    """

    before: str
    after: str
    mutated: tuple[int, ...]
    lost: frozenset[int]
    authors: tuple[tuple[int, str], ...]
    with_seqres: bool

    @property
    def sequence(self) -> str:
        letters = [("A" if x != "A" else "G") if k in self.mutated else x for k, x in LETTER_OF]
        return self.before + "".join(letters) + self.after

    def write(self, path: Path) -> Path:
        """Write the file that the authors would have: the demo's, renumbered."""
        lines, seen = [], -1
        last = ""
        with gzip.open(UBIQUITIN.path, "rt") as handle:
            for line in handle:
                if line.startswith("ATOM"):
                    seen += line[22:27] != last
                    last = line[22:27]
                    if seen not in self.lost:
                        number, code = self.authors[seen]
                        lines.append(f"{line[:22]}{number:>4}{code or ' '}{line[27:]}")
                elif line.startswith("SEQRES") and self.with_seqres:
                    lines.append(line)
        path.write_text("".join(lines))
        return path

    def author_of(self, residue: int) -> str:
        """The authors' number of a residue of the sequence, from 1; empty where there is none."""
        k = residue - 1 - len(self.before)
        if not 0 <= k < 76 or k in self.lost:
            return ""
        number, code = self.authors[k]
        return f"{number}{code}"

    def touch(self, i: int, j: int) -> bool:
        """Whether two residues of the sequence, from 1, are in contact in the structure."""
        if not self.author_of(i) or not self.author_of(j):
            return False
        offset = 1 + len(self.before)
        return bool(UBIQUITIN.contacts()[i - offset, j - offset])


LETTER_OF = list(enumerate(UBIQUITIN.sequence))
PLAIN = tuple((k, "") for k in range(76))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    before = draw(st.text(LETTERS, max_size=25))
    after = draw(st.text(LETTERS, max_size=12))
    # Unresolved stretches: at the ends or a loop, which is unresolved with its flanks as they are
    lost = set(range(draw(st.integers(0, 4)))) | set(range(76 - draw(st.integers(0, 5)), 76))
    if draw(st.booleans()):
        start, length = draw(st.integers(20, 45)), draw(st.integers(1, 8))
        # Which of two equal letters beside a gap is missing cannot be told
        assume(UBIQUITIN.sequence[start] != UBIQUITIN.sequence[start + length])
        assume(UBIQUITIN.sequence[start - 1] != UBIQUITIN.sequence[start + length - 1])
        lost |= set(range(start, start + length))
    else:
        start, length = 40, 0
    sites = [k for k in range(10, 66) if not start - 6 <= k <= start + length + 6]
    mutated = draw(st.lists(st.sampled_from(sites), max_size=2, unique=True))
    number = draw(st.sampled_from([-30, -5, -1, 0, 1, 2, 568, 1001]))
    authors: list[tuple[int, str]] = []
    inserted = draw(st.sets(st.integers(1, 75), max_size=3))
    jump_at, jump = draw(st.integers(5, 70)), draw(st.sampled_from([0, 0, 300]))
    for k in range(76):
        if authors and k in inserted:
            last, code = authors[-1]
            authors.append((last, chr(ord(code) + 1) if code else "A"))
            continue
        number += jump if k == jump_at else 0
        authors.append((number, ""))
        number += 1
    return Case(before, after, tuple(mutated), frozenset(lost), tuple(authors), draw(st.booleans()))


def marks(figure: Figure) -> dict[str, set[tuple[int, int]]]:
    """Marked pairs by label, i < j, by what the axes of the figure call them."""
    return {
        str(one.get_label()): {
            (min(x, y), max(x, y)) for x, y in np.asarray(one.get_offsets()).astype(int).tolist()
        }
        for one in figure.axes[0].collections
        if isinstance(one, PathCollection)
    }


def second_axes(figure: Figure) -> list[dict[int, str]]:
    """Labels of the second axes, by the place where they stand."""
    found = []
    for axes, which in zip(figure.axes[0].child_axes, "xy", strict=False):
        axis = getattr(axes, f"{which}axis")
        labels = [label.get_text() for label in axis.get_ticklabels()]
        found.append(dict(zip(map(int, axis.get_ticklocs()), labels, strict=True)))
    return found


class _One(Watch):
    has_structures = True

    def __init__(self, structure: Structure) -> None:
        self._structure = structure

    def structure_of(self, name: str) -> Structure:
        return self._structure


def written(found: ContactMap, structure: Structure) -> tuple[pandas.DataFrame, list[list[str]]]:
    """The table and the RR lines of a map, as they are written, read again as text."""
    protein = Protein(found.id, found.sequence, "")
    tsv, rr = io.StringIO(), io.StringIO()
    TsvWriter(tsv, Chosen(), _One(structure)).add(protein, found)
    RrWriter(rr, Chosen()).add(protein, found)
    table = pandas.read_csv(
        io.StringIO(tsv.getvalue()), sep="\t", dtype=str, keep_default_na=False, quoting=3
    )
    lines = [line.split() for line in rr.getvalue().splitlines()]
    return table, [line for line in lines if len(line) == 5 and line[2:4] == ["0", "8"]]


@settings(max_examples=12, deadline=None)
@example(Case(TAG, "", (), frozenset(), PLAIN, True))  # the tag of 20, and numbers from 0
@example(Case("", "", (), frozenset(range(36, 41)), PLAIN, False))
@given(cases())
def test_a_pair_is_the_same_pair_everywhere(tmp_path_factory: Any, case: Case):
    folder = tmp_path_factory.mktemp("case")
    structure = read_structure(str(case.write(folder / "s.pdb")))
    sequence = case.sequence
    residues = len(sequence)
    values = np.random.default_rng(residues).beta(0.3, 4, (residues, residues)).astype(np.float32)
    found = ContactMap("p", "", sequence, np.maximum(values, values.T), source="made up")

    # Tables: numbers and letters of the sequence, numbers of the authors
    table, rr = written(found, structure)
    assert list(table.columns)[-3:] == ["structure", "i_author_number", "j_author_number"]
    assert set(table["structure"]) == {structure.id}
    for which in "ij":
        numbers = table[f"{which}_number"].astype(int)
        assert list(table[which]) == [sequence[n - 1] for n in numbers]
        assert list(table[f"{which}_author_number"]) == [case.author_of(n) for n in numbers]
    names = table[["i_number", "j_number"]].astype(int).to_numpy().tolist()
    assert names == [[int(i), int(j)] for i, j, *_ in rr]
    frame = found.top(20, structure=structure)
    assert frame[["i_number", "j_number"]].to_numpy().tolist() == names[:20]
    assert list(frame["i_author_number"]) == list(table["i_author_number"][:20])

    # The figure: marks, letters on the axes, the authors' numbers on second axes, the title
    figure = plots.contact_map(found, structure)
    drawn = marks(figure)
    known = [n for n in range(1, residues + 1) if case.author_of(n)]
    counted = [(i, j) for i, j in names if case.author_of(i) and case.author_of(j)]
    strongest = drawn["true positive"] | drawn["false positive"]
    if len(structure) >= 76 - len([k for k in case.lost if k < 4 or k >= 71]):  # no gap to align
        assert strongest == set(map(tuple, counted[: len(known)]))
        for label in ("false positive", "true positive", "found", "missed"):
            assert all(case.touch(i, j) == (label != "false positive") for i, j in drawn[label])
        contacts = {(i, j) for i, j in counted if case.touch(i, j)}
        assert drawn["found"] | drawn["missed"] == contacts
    axes = figure.axes[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0.5, residues + 0.5), (residues + 0.5, 0.5))
    assert f" · {residues} residues · " in figure.get_suptitle()
    for number, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        assert label.get_text() in (f"{int(number)}", f"{sequence[int(number) - 1]}{int(number)}")
    differs = any(case.author_of(n) not in ("", str(n)) for n in range(1, residues + 1))
    assert len(axes.child_axes) == 2 * differs
    for of_axis in second_axes(figure):
        assert of_axis
        assert all(label == case.author_of(number) != "" for number, label in of_axis.items())


def test_residues_that_a_structure_lacks_inside(tmp_path: Path):
    """A loop that the file knows nothing of, as the numbers jump: the sequence counts through it."""
    jump = tuple((k, "") if k < 32 else (k + 400, "") for k in range(76))
    case = Case("GSHM", "", (), frozenset(range(32, 40)), jump, False)
    structure = read_structure(str(case.write(tmp_path / "s.pdb")))
    assert len(structure) == 68
    found = ContactMap("p", "", case.sequence, np.zeros((80, 80), np.float32))
    assert list(found.numbering(structure).authors) == [case.author_of(n) for n in range(1, 81)]
    assert found.numbering(structure).has_gaps
    figure = plots.contact_map(found, structure)
    contacts = {
        (i, j)
        for i in range(1, 81)
        for j in range(i + 1, 81)
        if case.touch(i, j) and j - i - 8 * (i <= 36 < 44 < j) >= 6
    }
    drawn = marks(figure)
    assert drawn["found"] | drawn["missed"] == contacts


@pytest.mark.parametrize(
    ("authors", "expected"),
    [
        ([], []),
        (["", ""], []),
        (["7"], [(1, "7")]),
        ([str(n) for n in range(-3, 97)], [(1, "-3"), (24, "20"), (44, "40"), (64, "60")]),
        (["", *(f"52{x}" for x in "ABCDEFG"), ""], [(2, "52A"), (8, "52G")]),
    ],
)
def test_second_axes_have_round_numbers_and_the_ends(authors, expected):
    found = author_ticks(authors, 5)
    assert found[: len(expected)] == expected
    if authors and authors[-1]:
        assert found[-1] == (len(authors), authors[-1])


def test_the_pair_of_the_command_line(run, tiny_folder, tmp_path):
    """As a person would: a tagged FASTA and a file numbered from 0, negative numbers as they are."""
    case = replace(
        Case(TAG, "", (), frozenset(), PLAIN, True), authors=tuple((k - 2, "") for k in range(76))
    )
    case.write(tmp_path / "s.pdb")
    write_fasta(tmp_path / "in.fasta", {"p tagged": case.sequence, "other": "MKTVRQERLK"})
    done = run(
        *("contacts", "in.fasta", "--structure", "s.pdb", "-o", "o.tsv", "-m", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in (tmp_path / "o.tsv").read_text().splitlines()]
    assert rows[0][-3:] == ["structure", "i_author_number", "j_author_number"]
    for name, i, _, j, *_, structure, author_i, author_j in rows[1:]:
        if name == "other":
            assert (structure, author_i, author_j) == ("", "", "")
        else:
            assert structure == "s_A"
            assert (author_i, author_j) == (case.author_of(int(i)), case.author_of(int(j)))
    assert any(row[-2] == "-2" for row in rows)
