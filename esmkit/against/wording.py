"""What was found of one part, as a verdict with causes, notes and a row for each record."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from esmkit.against.expected import Expected, State
from esmkit.against.geometry import THIN, Likeness, likeness
from esmkit.against.hypotheses import Hypothesis, pooling_words
from esmkit.against.records import Records
from esmkit.against.result import Cause, PartDiagnosis
from esmkit.against.rows import order_words, row_words, token_words
from esmkit.against.search import Search
from esmkit.against.sources import PLAIN, WINDOWS
from esmkit.against.trial import Fit
from esmkit.against.weighted import weight_words
from esmkit.encoder.encoder import Encoder
from esmkit.sequences.windows import MAX_RESIDUES

__all__ = ["row_of", "told"]

MOST_NOTES = 4
"""Records of which the cause says what each was."""


def row_of(
    name: str,
    records: Records,
    number: int,
    verdict: str,
    cause: str,
    before: Fit | None = None,
    after: Fit | None = None,
) -> dict[str, object]:
    """Return one row of the table."""
    belongs = number if after is None else after.belongs_to
    return {
        "part": name,
        "record": records.names[number],
        "id": records.proteins[number].id,
        "verdict": verdict,
        "cause": cause,
        "relative_before": None if before is None else before.relative,
        "relative_after": None if after is None else after.relative,
        "absolute_after": None if after is None else after.absolute,
        "belongs_to": records.proteins[belongs].id,
    }


def told(
    model: Encoder,
    records: Records,
    search: Search,
    expected: Expected,
    state: State,
    hypotheses: Sequence[Hypothesis],
    causes: list[Cause],
    alike: bool,
    name: str,
    of: int,
) -> PartDiagnosis:
    """Turn what was found into a verdict."""
    causes, notes, right, rows = list(causes), [], [], []
    for hypothesis in hypotheses:
        numbers = [n for n, by in state.by.items() if by is hypothesis]
        groups: dict[str, list[int]] = {}
        for number in numbers:
            words = hypothesis.words(model.layers, (expected.layer, expected.pool))
            if expected.any_layer and len(hypothesis.layers) == 1:
                words = [w for w in words if not w.startswith("hidden state")] + (
                    [words[0]] if hypothesis.layers[0] > model.layers else []
                )
            if records.rows:
                words += row_words(records, hypothesis.pooling, number)
            if state.fits[number].belongs_to != number:
                words.append("under the name of another")
            groups.setdefault("; ".join(words), []).append(number)
        for what, members in groups.items():
            verdict = "differs" if what else "same"
            rows += [
                (n, row_of(name, records, n, verdict, what, state.before.get(n), state.fits[n]))
                for n in members
            ]
            if not what:
                right += members
                continue
            remedies = hypothesis.remedies(
                model.layers, (expected.layer, expected.pool), any_layer=expected.any_layer
            )
            causes.append(_cause(records, hypothesis, what, remedies, members, state, of))
    copied = state.copied(records)
    if copied:
        cause = _copies(records, copied, alike, state, of)
        causes.append(cause)
        rows += [
            (n, row_of(name, records, n, "differs", cause.what, state.before.get(n)))
            for n in copied
        ]
    left = [n for n in range(len(records)) if n not in state.fits and n not in copied]
    tried = list(search.tried)
    verdict = "differs" if causes else "same"
    if left:
        verdict, cause = _unexplained(records, search, left, alike, state, of)
        causes.append(cause)
        rows += [
            (n, row_of(name, records, n, verdict, cause.what, state.before.get(n))) for n in left
        ]
    notes += _notes(model, records, expected, state, hypotheses)
    summary = _summary(model, records, expected, state, hypotheses, causes, right, of)
    table = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    return PartDiagnosis(name, verdict, summary, causes, notes, tried, table)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.median(known)) if known else None


def _cause(
    records: Records,
    hypothesis: Hypothesis,
    what: str,
    remedies: Sequence[str],
    members: Sequence[int],
    state: State,
    of: int,
) -> Cause:
    found = {n: state.fits[n] for n in members}
    evidence, remedies = [], list(remedies)
    if records.rows and any(row_words(records, hypothesis.pooling, n) for n in members):
        remedies.append("write the states of all residues and no others, tokens 1 to R of R + 2")
    moved = {n: fit.belongs_to for n, fit in found.items() if fit.belongs_to != n}
    if moved:
        words, more = order_words(records, moved)
        what = what.replace("under the name of another", words)
        evidence += more
        remedies.append(
            "pair vectors and IDs anew, in one order"
            if records.by_id
            else "give the file with the IDs of its rows, or bring the rows into the order of the FASTA"
        )
    notes = {n: fit.source.note for n, fit in found.items() if fit.source and fit.source.note}
    if notes:
        evidence.append(_notes_of_records(records, notes))
    if hypothesis.pooling == "padded":
        counts = Counter(found[n].pads + records.tokens[n] for n in members)
        (to, times), *_ = counts.most_common(1)
        evidence.append(f"{times:,} of them padded to {to:,} tokens")
    if hypothesis.pooling == "weighted":
        evidence += [
            f"{records.names[n]}: {weight_words(weights)}"
            for n in members[:3]
            if (weights := found[n].weights) is not None
        ]
    if hypothesis.post.kind == "scale":
        what, remedies = _scaled(records, hypothesis, found, what, remedies)
        evidence.append(_norm_words(records, members))
    if hypothesis.half:
        evidence.append(
            "esmkit's own pass in that precision is about as far off, and in that direction"
        )
    before = _median([state.before[n].relative for n in members if n in state.before])
    after = _median([fit.relative for fit in found.values()])
    names = [records.names[n] for n in members]
    return Cause(what, names, of, before, after, evidence, "; ".join(dict.fromkeys(remedies)))


def _notes_of_records(records: Records, notes: dict[int, str]) -> str:
    """Say in which way records were altered: once if it is the same in all."""
    if len(set(notes.values())) == 1 and len(notes) > 1:
        return f"in all of them: {next(iter(notes.values()))}"
    listed = [f"{records.names[n]}: {note}" for n, note in notes.items()][:MOST_NOTES]
    more = f"; and {len(notes) - MOST_NOTES:,} more" if len(notes) > MOST_NOTES else ""
    return "; ".join(listed) + more


def _scaled(
    records: Records,
    hypothesis: Hypothesis,
    found: dict[int, Fit],
    what: str,
    remedies: list[str],
) -> tuple[str, list[str]]:
    """Say what vectors were multiplied by, as far as it shows, and what to do about it.

    A sum is a mean multiplied by a number: which of them it was shows only where the factor does.
    """
    times = hypothesis.post.words
    norms = np.linalg.norm(records.digests[list(found)], axis=-1)
    if len(norms) > 1 and np.allclose(norms, norms[0], rtol=1e-3):
        return what.replace(times, f"{times}, to one length: normalised (L2)"), remedies
    factors = np.array([fit.factor for fit in found.values()])
    same, layers = np.allclose(factors, factors[0], rtol=1e-3), len(hypothesis.layers)
    if same and layers > 1 and abs(factors[0] - layers) < 1e-3 * layers:
        what = what.replace("the mean of hidden states", "the sum of hidden states")
        return what.replace(f"; {times}", ""), remedies[:-1]
    total, by_residues = pooling_words("sum"), "divide by the number of residues"
    residues = np.array([len(records.proteins[fit.belongs_to]) for fit in found.values()])
    of_sum = factors if hypothesis.pooling == "sum" else factors / residues
    summed = hypothesis.pooling in ("sum", "mean") and len(set(residues)) > 1 and of_sum[0] > 0
    if hypothesis.pooling == "sum":  # which a mean is too, multiplied by a number
        what = what.replace(f"{total}; ", "")
        remedies = [remedy for remedy in remedies if remedy != by_residues]
    if summed and np.allclose(of_sum, of_sum[0], rtol=1e-3):
        divided = f"{total.partition(',')[0]} divided by {1 / of_sum[0]:.4g} in every record"
        return what.replace(times, divided), [*remedies[:-1], f"{by_residues} of each record"]
    if same and len(factors) > 1:
        what = what.replace(times, f"each vector multiplied by {factors[0]:.4g}")
    return what, remedies


def _norm_words(records: Records, members: Sequence[int]) -> str:
    """Say how long vectors are."""
    norms = np.linalg.norm(records.digests[list(members)], axis=-1)
    if np.allclose(norms, norms[0], rtol=1e-3):
        return f"all vectors have the norm {norms[0]:.4g}"
    return f"the norms of the vectors are {norms.min():.3g} to {norms.max():.3g}"


def _copies(records: Records, copied: dict[int, int], alike: bool, state: State, of: int) -> Cause:
    """Return the cause of vectors that stand under several names."""
    names = records.names
    examples = "; ".join(f"{names[n]} holds {names[m]}" for n, m in list(copied.items())[:3])
    before = _median([state.before[n].relative for n in copied if n in state.before])
    same = ": every record holds the same vector" if alike else ""
    return Cause(
        f"the vector of another protein, which has it too{same}",
        *([names[n] for n in copied], of, before),
        evidence=[examples],
        remedy="give each protein its own vector: of a batch, each its own row",
    )


def _unexplained(
    records: Records,
    search: Search,
    left: Sequence[int],
    alike: bool,
    state: State,
    of: int,
) -> tuple[str, Cause]:
    """Say what records are that no hypothesis explains."""
    names = [records.names[n] for n in left]
    before = _median([state.before[n].relative for n in left if n in state.before])
    if alike:
        what = "every record holds the same vector"
        return "differs", Cause(what, names, of, before, remedy="embed each protein by itself")
    numbers = [n for n in search.sample if n in set(left)]
    given = records.digests[numbers]
    own = [replace(one, own=_chosen(one.own, search.sample, numbers)) for one in search.first]
    found = likeness(given, own, same_width=True)
    near = found.kind == "other weights" or found.words.startswith(THIN)
    if near and any(_exact(state.by[n]) for n in state.fits):
        found = Likeness(
            "unknown",
            "not known: near this model's embeddings, and other records are exactly its own; another "
            "version of these sequences, or another cut, would look like this",
            found.evidence,
        )
    known = found.kind in ("other weights", "other model", "random")
    remedies = {
        "other weights": "make sure that the sequences and the pooling are the same and that dropout was "
        "off (`model.eval()`), then compare with the checkpoint that they were made with (`model`)",
        "other model": "find out which model made them, and how",
        "random": "find out how these vectors were made, or embed the proteins again",
    }
    remedy = remedies.get(found.kind, "")
    return (
        "differs" if known and found.kind != "other model" else "unknown",
        Cause(found.words, names, of, before, evidence=found.evidence, remedy=remedy),
    )


def _exact(hypothesis: Hypothesis) -> bool:
    """Tell whether what it explains can come from this model's weights alone."""
    return not hypothesis.half and hypothesis.post.kind != "affine"


def _chosen(
    own: NDArray[np.float64], sample: Sequence[int], numbers: Sequence[int]
) -> NDArray[np.float64]:
    return own[[list(sample).index(n) for n in numbers]]


def _notes(
    model: Encoder,
    records: Records,
    expected: Expected,
    state: State,
    hypotheses: Sequence[Hypothesis],
) -> list[str]:
    """Say what is worth knowing and no mistake."""
    notes = []
    if records.storage.words and state.fits and not any(h.half for h in hypotheses):
        notes.append(f"the numbers are stored with {records.storage.words}, which is no mistake")
    notes += _row_notes(records, state)
    if expected.any_layer and hypotheses:
        notes.append(f"it is hidden state {hypotheses[0].layers[0]}; the file does not say which")
    long = [n for n in state.fits if len(records.proteins[n]) > MAX_RESIDUES]
    if long and all(state.by[n].source is PLAIN for n in long):
        which = f"{len(long):,} longer than {MAX_RESIDUES:,} residues: "
        if PLAIN in expected.sources and WINDOWS in expected.sources:
            notes.append(f"{which}read whole or in esmkit's windows, either of which is right")
        elif len(expected.sources) > 1:
            notes.append(f"{which}the file says that they were cut there")
    return notes


def _row_notes(records: Records, state: State) -> list[str]:
    """Say which rows of arrays are no residues."""
    of_tokens = [n for n, by in state.by.items() if by.pooling == "tokens"]
    rows_more = [len(records.arrays[n]) - len(records.proteins[n]) for n in of_tokens]
    return [token_words(records)] if min(rows_more, default=0) > 0 else []


def _summary(
    model: Encoder,
    records: Records,
    expected: Expected,
    state: State,
    hypotheses: Sequence[Hypothesis],
    causes: Sequence[Cause],
    right: Sequence[int],
    of: int,
) -> str:
    """Return one sentence on the part."""
    kind = "vectors of residues" if records.rows else f"{expected.pool} embeddings"
    kind = kind.replace("bos embeddings", "embeddings (BOS token)")
    layer = expected.layer
    if expected.any_layer and hypotheses:
        layer = hypotheses[0].layers[0]
    named = "the last layer" if layer == model.layers else f"hidden state {layer}"
    if not causes:
        largest = max((state.fits[n].absolute for n in right), default=0.0)
        stored = f" and storage with {records.storage.words}" if records.storage.words else ""
        return (
            f"these are this model's {kind} of {named}, to rounding{stored} "
            f"(largest difference {largest:.1e})"
        )
    main = max(causes, key=lambda cause: len(cause.records))
    if not right:
        if len(causes) == 1:
            return main.what
        others = f"{len(causes) - 1} more {'cause' if len(causes) == 2 else 'causes'}"
        return f"{main.what} ({len(main.records):,} of {of:,}), and {others}"
    other = "; ".join(f"{len(c.records):,} {c.what}" for c in causes[:3])
    return f"{len(right):,} of {of:,} are this model's {kind} of {named}; not so: {other}"
