"""One part of a file: what it is, in rounds of trying and searching."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from esmkit.against.expected import Expected, State
from esmkit.against.geometry import all_alike, likeness, width_words
from esmkit.against.hypotheses import Hypothesis
from esmkit.against.naming import Pairing
from esmkit.against.padding import PADDED
from esmkit.against.records import Records
from esmkit.against.result import Cause, PartDiagnosis
from esmkit.against.scoring import Candidate, candidates
from esmkit.against.search import Search
from esmkit.against.sources import PLAIN
from esmkit.against.states import read
from esmkit.against.trial import Fit, fits
from esmkit.against.wording import row_of, told
from esmkit.encoder.encoder import Encoder
from esmkit.errors import InputError
from esmkit.sequences.proteins import Protein
from esmkit.text import Say

__all__ = ["examine"]

ROUNDS = 6
"""Hypotheses that are looked for, one after the other, each for what the others left."""


def examine(
    model: Encoder,
    arrays: dict[str, NDArray[np.float32]],
    pairing: Pairing,
    proteins: Sequence[Protein],
    texts: Sequence[str],
    expected: Expected,
    *,
    name: str,
    path: str,
    say: Say,
) -> PartDiagnosis:
    """Say what the arrays of one part are.

    Parameters
    ----------
    model : Encoder
    arrays : dict from str to numpy.ndarray of float32
        By the name of the record; of one width.
    pairing : Pairing
    proteins : sequence of Protein
    texts : sequence of str
        What the FASTA says of each, as it is written.
    expected : Expected
    name, path : str
        The part and the file.
    say : callable
    """
    bad, causes = _unusable(arrays, path)
    usable = [n for n in arrays if n not in bad]
    places = [pairing.proteins[n] for n in usable]
    records = Records.of(
        usable,
        [proteins[p] for p in places],
        [texts[p] for p in places],
        [arrays[n] for n in usable],
        places,
        by_id=not pairing.by_place,
    )
    of = len(arrays)
    width = records.arrays[0].shape[-1]
    if width != model.width:
        return _of_other_width(model, records, width, causes, name, expected, of)
    distinct = len({protein.sequence for protein in records.proteins})
    alike = all_alike(records.digests) and distinct > 1
    search = Search(model, records, (expected.layer, expected.pool), say)
    state = State()
    hypotheses = _rounds(model, records, search, expected, state, say)
    return told(
        *(model, records, search, expected, state, hypotheses, causes, alike, name, of),
    )


def _unusable(arrays: dict[str, NDArray[np.float32]], path: str) -> tuple[set[str], list[Cause]]:
    """Return the records that hold no vectors, and what to say of them."""
    whole = {n: bool(np.isfinite(a).all()) for n, a in arrays.items()}
    odd = [n for n in arrays if not whole[n]]
    zero = [n for n, a in arrays.items() if whole[n] and not a.any()]
    if len(odd) + len(zero) == len(arrays):
        raise InputError(
            f"every record of {path!r} {'holds NaN, or numbers beyond float32' if odd else 'is all zeros'}; make the "
            "file anew" + (", in float32" if odd else "")
        )
    causes = []
    for names, what in ((odd, "NaN or infinity in the vector"), (zero, "nothing but zeros")):
        if names:
            remedy = "embed these again" + (" in float32" if names is odd else "")
            causes.append(Cause(what, names, len(arrays), remedy=remedy))
    return {*odd, *zero}, causes


def _rounds(
    model: Encoder,
    records: Records,
    search: Search,
    expected: Expected,
    state: State,
    say: Say,
) -> list[Hypothesis]:
    """Explain records, one hypothesis after the other; the expected ones come first."""
    first = [Hypothesis(PLAIN, (expected.layer,), expected.pool)]
    if records.rows:
        first = [Hypothesis(PLAIN, (expected.layer,), p) for p in ("residues", "tokens")]
    left = list(range(len(records)))
    for hypothesis in first:
        say("comparing every record with what it should be")
        found = fits(model, records, hypothesis, left, expected.sources)
        for number, fit in found.items():
            kept = state.before.get(number)
            if kept is None or fit.relative < kept.relative:
                state.before[number] = fit
        left = _take(state, hypothesis, found, left, records)
    used = [h for h in first if h in state.by.values()]
    if not left and records.storage.words:
        nearer = search.nearer(range(len(records)))
        if nearer is not None:
            found = fits(model, records, nearer, range(len(records)))
            better = [n for n, f in found.items() if f.relative < state.fits[n].relative]
            if len(better) > 0.9 * len(records):
                _take(state, nearer, found, list(range(len(records))), records)
                return [nearer]
    for _ in range(ROUNDS):
        copied = state.copied(records)
        left = [n for n in left if n not in copied]
        if not left:
            break
        before = len(left)
        for hypothesis in search.find(left):
            found = fits(model, records, hypothesis, left)
            left = _take(state, hypothesis, found, left, records)
            if len(left) < before:
                _take_longest(model, state, hypothesis, records)
                used.append(hypothesis)
                break
        else:
            break
    return used


def _take_longest(model: Encoder, state: State, hypothesis: Hypothesis, records: Records) -> None:
    """Of batches with pooled padding, take the longest records too: they have none, but the rest."""
    if hypothesis.pooling not in PADDED:
        return
    alone = (PLAIN, hypothesis.layers, PADDED[hypothesis.pooling].alone)
    longest = [
        n
        for n, by in state.by.items()
        if (by.source, by.layers, by.pooling) == alone and by.cost == hypothesis.cost
    ]
    _take(state, hypothesis, fits(model, records, hypothesis, longest), longest, records)


def _take(
    state: State,
    hypothesis: Hypothesis,
    found: dict[int, Fit],
    left: Sequence[int],
    records: Records,
) -> list[int]:
    """Note the records that a hypothesis explains; return those that are left."""
    for number, fit in found.items():
        if fit.explained:
            state.fits[number], state.by[number] = fit, hypothesis
    return [n for n in left if n not in state.fits]


def _of_other_width(
    model: Encoder,
    records: Records,
    width: int,
    causes: list[Cause],
    name: str,
    expected: Expected,
    of: int,
) -> PartDiagnosis:
    """Say what vectors of another width may be."""
    what = width_words(width, model.width, model.layers * model.heads)
    evidence: list[str] = []
    if len(records) > 1 and not records.rows:
        search = Search(model, records, (expected.layer, expected.pool))
        numbers = search.choose(range(len(records)))
        search.sample = numbers
        own = _own_means(search, numbers)
        found = likeness(records.digests[numbers], own, same_width=False)
        evidence = found.evidence
        if found.kind == "random":
            what = f"{what}; like random numbers, or whitened"
    cause = Cause(
        what, records.names, of, evidence=evidence, remedy="give the model that they are of"
    )
    rows = [row_of(name, records, n, "differs", what) for n in range(len(records))]
    return PartDiagnosis(name, "differs", what, [cause, *causes], rows=rows)


def _own_means(search: Search, numbers: Sequence[int]) -> list[Candidate]:
    requests = [search.request(PLAIN, n) for n in numbers]
    stats = read(search.model, [r for r in requests if r], search.layers)
    own = candidates(search.records, PLAIN, stats, search.choices, search.expected)
    return [one for block in own for one in block if one.pooling in ("mean", "bos")]
