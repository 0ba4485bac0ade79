"""Sequences altered so that each record may be another way: ends left out, tags, other letters."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from esmkit.against.sources import Source, sequence_changed, token_changed
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.proteins import Protein

__all__ = ["alterations_of", "of_a_kind"]

MOST_LEFT_OUT = 60
"""Residues at one end up to which they are tried: signal peptides have 16 to 40, few have more."""

FRONT = (
    *("HHHHHH", "MHHHHHH", "MGSSHHHHHHSSGLVPRGSH", "MGSSHHHHHHSSGLVPRGSHM", "GSHM", "GSH", "GPLGS"),
    *(
        "GS",
        "GA",
        "SNA",
        "G",
        "S",
        "DYKDDDDK",
        "MDYKDDDDK",
        "MYPYDVPDYA",
        "MEQKLISEEDL",
        "MASWSHPQFEK",
    ),
)
"""Tags before the first residue, and what is left of them when they are cut off."""

BACK = (
    *("HHHHHH", "HHHHHHHH", "LEHHHHHH", "AAALEHHHHHH", "GSHHHHHH", "DYKDDDDK", "YPYDVPDYA"),
    *("EQKLISEEDL", "WSHPQFEK", "GSAWSHPQFEK", "ENLYFQ", "LVPR", "G", "GG", "GGGGS"),
)
"""Tags after the last residue."""

ANYTHING = ("A", "G", "X", "<mask>", "<unk>")
"""What any letter is written as."""

ALIKE = {
    **{"C": "SU", "I": "LV", "L": "IM", "M": "LI", "N": "DB", "D": "NBE", "Q": "EZ", "E": "QZD"},
    **{"K": "R", "R": "K", "S": "TC", "T": "S", "F": "Y", "Y": "F", "V": "I", "W": "F", "H": "Q"},
    **{"X": "LS", "U": "CS", "O": "K", "B": "DN", "Z": "EQ"},
}
"""Further letters that a letter is written as: like it, or ambiguous."""

MOST_READ = 150_000
"""Tokens up to which all alterations of a kind are tried on every record."""

FEW = 4
"""Letters up to which each is tried as every other."""


def alterations_of(protein: Protein, known: Iterable[Protein]) -> Iterator[list[Source]]:
    """Yield ways to alter a protein, those of one kind together; their ``note`` tells them apart.

    Parameters
    ----------
    protein : Protein
        The record that is not explained.
    known : iterable of Protein
        Those that are: the letters in them were left as they are.
    """
    most = min(MOST_LEFT_OUT, len(protein) // 2)
    yield _one_kind(
        "residues at the beginning left out, a signal peptide perhaps",
        ((f"the first {n:,}", lambda s, n=n: s[n:]) for n in range(2, most + 1)),
    )
    yield _one_kind(
        "residues at the end left out",
        ((f"the last {n:,}", lambda s, n=n: s[:-n]) for n in range(2, most + 1)),
    )
    yield _one_kind(
        "a tag, or what is left of one, before the first residue",
        (
            *((tag, lambda s, tag=tag: tag + s) for tag in FRONT),
            *(
                (f"{tag} in place of M", lambda s, tag=tag: tag + s[s.startswith("M") :])
                for tag in FRONT
                if protein.sequence.startswith("M")
            ),
        ),
    )
    yield _one_kind(
        "a tag after the last residue", ((tag, lambda s, tag=tag: s + tag) for tag in BACK)
    )
    yield _letters(protein, known)


def of_a_kind(chosen: Source, sources: Sequence[Source], tokens: int) -> tuple[Source, ...]:
    """Return the alterations that records of so many tokens are tried with: of many, one alone.

    Parameters
    ----------
    chosen : Source
        The one that explains a record; it comes first.
    sources : sequence of Source
        Those of its kind.
    tokens : int
    """
    if tokens * len(sources) > MOST_READ:
        return (chosen,)
    return (chosen, *(one for one in sources if one is not chosen))


def _one_kind(words: str, changes: Iterable[tuple[str, Callable[[str], str]]]) -> list[Source]:
    return [Source(words, sequence_changed(change), note=note) for note, change in changes]


def _letters(protein: Protein, known: Iterable[Protein]) -> list[Source]:
    """Return the ways to write one letter as another."""
    there = set(protein.sequence)
    letters = sorted(there - set().union(*(one.sequence for one in known))) or sorted(there)
    every = len(letters) <= FEW
    found = []
    for letter in letters:
        targets = dict.fromkeys((*ANYTHING, *(AMINO_ACIDS if every else ALIKE.get(letter, ""))))
        for other in targets:
            if other != letter:
                request = token_changed(letter, other)
                note = f"{letter} as {other}"
                found.append(Source("one letter written as another", request, note=note))
    return found
