"""Corrupted runs: a protein with a mutation, or with a stretch in another order."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from esmkit.arguments import checked, what_is
from esmkit.errors import InputError, OptionError
from esmkit.sequences.given import OneProtein, one_protein
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.proteins import Protein
from esmkit.sequences.sites import parse_sites

__all__ = ["is_mutation", "mutated", "scrambled"]

_MUTATION = re.compile(r"([A-Za-z])(\d{1,9})([A-Za-z*=])")


def is_mutation(given: Any) -> bool:
    """Say whether something is written as mutations are, ``A24G`` or ``A24G,L30P``: with numbers.

    >>> is_mutation("A24G"), is_mutation("MKTV"), is_mutation("A24G:L30P")
    (True, False, True)
    """
    return (
        isinstance(given, str)
        and not set("/.") & set(given)
        and bool(re.search(r"[A-Za-z]\d", given))
    )


@checked
def mutated(protein: OneProtein, mutations: str | Sequence[str]) -> Protein:
    """Return a protein with substitutions.

    Parameters
    ----------
    protein : one protein
    mutations : str or sequence of str
        Such as ``A24G``: the letter that is there, the residue, counted from 1, the new letter, one
        of the 20 amino acids. Several are a list, or joined by ``,`` or ``:``.

    Returns
    -------
    Protein
        Its ID has the mutations after that of the protein.

    Raises
    ------
    OptionError
        If one is written otherwise, the protein has no such residue or another letter there, the
        new letter is no amino acid, or is the old one.

    Examples
    --------
    >>> mutated("MKTAYIAK", "T3G,A4G").sequence
    'MKGGYIAK'
    """
    one = one_protein(protein, "one protein is mutated")
    given = [mutations] if isinstance(mutations, str) else list(mutations)
    texts = [text.strip() for each in given for text in re.split(r"[,:;]", each) if text.strip()]
    letters, changed = list(one.sequence), set()
    if not texts:
        raise OptionError("name at least one mutation, such as A24G")
    for text in texts:
        match = _MUTATION.fullmatch(text)
        if match is None:
            raise OptionError(
                f"a mutation is written like A24G, the letter that is there, its number and the new "
                f"letter, not {what_is(text)}"
            )
        old, number, new = match[1].upper(), int(match[2]), match[3].upper()
        parse_sites(f"{old}{number}", "mutations").spans(one.sequence, one.id)  # which it has
        if new not in AMINO_ACIDS:
            raise OptionError(
                f"the new letter of {text} is {match[3]!r}; it is one of the amino acids {AMINO_ACIDS}"
            )
        if new == old or number in changed:
            what = "changes nothing" if new == old else "names a residue twice"
            raise OptionError(f"{text} {what}; name a residue once, with another amino acid")
        letters[number - 1] = new
        changed.add(number)
    return Protein(f"{one.id}_{'_'.join(texts)}", "".join(letters))


@checked
def scrambled(protein: OneProtein, stretch: Any, *, seed: int = 0) -> Protein:
    """Return a protein in which the residues of a stretch are in another, random order.

    A repeat of which one copy is scrambled has the same composition and length, and is none.

    Parameters
    ----------
    protein : one protein
    stretch : str, or pair of int
        First and last residue, counted from 1, such as ``41-80``.
    seed : int

    Returns
    -------
    Protein

    Raises
    ------
    OptionError
        If the protein has no such stretch.
    InputError
        If all its residues are the same, so that there is no other order.

    Examples
    --------
    >>> scrambled("MKTAYIAKMKTAYIAK", "9-16", seed=1).sequence[:8]
    'MKTAYIAK'
    """
    from esmkit.sequences.sites import parse_stretch

    one = one_protein(protein, "a stretch of one protein is scrambled")
    spans = parse_stretch(stretch, "stretch").spans(one.sequence, one.id)
    start, stop = spans[0].start - 1, spans[0].stop
    inside = one.sequence[start:stop]
    if len(set(inside)) < 2:
        raise InputError(
            f"residues {start + 1} to {stop} of {one.id!r} are all {inside[0]}, so there is no other "
            "order; name another stretch"
        )
    random, mixed = np.random.default_rng(seed), inside
    while mixed == inside:
        mixed = "".join(random.permutation(list(inside)))
    sequence = one.sequence[:start] + mixed + one.sequence[stop:]
    return Protein(f"{one.id}_scrambled_{start + 1}-{stop}", sequence)
