"""The two runs of a patch: what was given for them, and in which residues they differ."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from esmkit.arguments import items_of, what_is
from esmkit.errors import InputError, OptionError
from esmkit.inside.corruption import is_mutation, mutated
from esmkit.inside.edits import Place
from esmkit.inside.gradients import Metric
from esmkit.inside.metrics import log_odds
from esmkit.sequences.given import one_protein
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import encode
from esmkit.sequences.windows import Long, cut_into_pieces

__all__ = ["Run", "differing_residues", "metric_of", "two_runs"]


@dataclass(frozen=True)
class Run:
    """One of the two runs: a sequence, and which of its residues, from 0, are hidden in it."""

    protein: Protein
    mask: tuple[int, ...]

    @property
    def place(self) -> Place:
        """The sequence as what a pass is to call it; it is read at once."""
        residues = len(self.protein)
        return Place(repr(self.protein.id), residues, 0, 1, 0, residues)


def two_runs(clean: Any, corrupted: Any, clean_mask: Any, mask: Any, long: Long) -> tuple[Run, Run]:
    """Return the clean and the corrupted run, from what :func:`esmkit.patch` was given for them.

    Raises
    ------
    InputError
        If they are not equally long, would be read in windows, or lack a residue of a mask.
    OptionError
        If there is no corrupted run, a mutation does not fit, or a mask is a dict.
    """
    one = one_protein(clean, "one protein is the clean run")
    if corrupted is None:
        if mask is None:
            raise OptionError(
                "the corrupted run is a protein as long as the clean one, a mutation such as 'A24G', or None "
                "with residues to hide, such as mask=[23]"
            )
        other = Protein(f"{one.id}_hidden", one.sequence)
    elif is_mutation(corrupted):
        other = mutated(one, corrupted)
    else:
        other = one_protein(corrupted, "one protein is the corrupted run")
    if len(one) != len(other):
        raise InputError(
            f"{one.id!r} has {len(one):,} residues and {other.id!r} {len(other):,}, and values are put in "
            "residue by residue; take a corrupted sequence of the same length"
        )
    pieces = cut_into_pieces(one, long)
    if len(pieces) > 1:
        raise InputError(
            f"{one.id!r} has {len(one):,} residues and would be read in {len(pieces)} windows, and a patch "
            'is in one pass; use `long="whole"`, or give a part of it'
        )
    stop = pieces[0][1]
    found = []
    for protein, hidden in ((one, clean_mask), (other, mask)):
        if isinstance(hidden, Mapping):
            raise OptionError(
                "what patch hides is residues of one protein, such as [23], not a dict"
            )
        items: Any = () if hidden is None else hidden
        items = items if items_of(items) is None else items_of(items)
        read = Protein(protein.id, protein.sequence[:stop], protein.header)
        encode(read.sequence, mask=items)  # which refuses what is no residue
        found.append(Run(read, tuple(sorted({int(index) for index in items}))))
    return found[0], found[1]


def differing_residues(one: Run, other: Run) -> tuple[int, ...]:
    """Return the residues, from 1, in which two runs differ."""
    pairs = zip(one.protein.sequence, other.protein.sequence, strict=True)
    letters = {n for n, (a, b) in enumerate(pairs) if a != b}
    both = set(one.mask) & set(other.mask)
    hidden = set(one.mask) ^ set(other.mask)
    return tuple(sorted(n + 1 for n in (letters - both) | hidden))


def metric_of(metric: Any, runs: tuple[Run, Run], differing: tuple[int, ...]) -> Metric:
    """Return the metric, made from its name if it has one."""
    if callable(metric):
        return cast(Metric, metric)
    if metric != "log_odds":
        raise OptionError(
            "a metric is 'log_odds' or a function of a run's activations, such as lambda seen: "
            f"seen.contact_scores[3, 40], not {what_is(metric)}"
        )
    if len(differing) != 1:
        raise OptionError(
            f"the metric 'log_odds' is that of the one residue in which the runs differ, and they differ "
            f"in {len(differing)}; name it with esmkit.inside.log_odds(residue, letter, against)"
        )
    number = differing[0]
    a, b = (run.protein.sequence[number - 1] for run in runs)
    for letter, run in zip((a, b), runs, strict=True):
        if letter not in AMINO_ACIDS:
            raise OptionError(
                f"residue {number} of {run.protein.id!r} is {letter}, which is no amino acid and has no "
                "log-odds; name two letters with esmkit.inside.log_odds(residue, letter, against)"
            )
    return log_odds(number, a, "others" if a == b else b)
