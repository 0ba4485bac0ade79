"""The search for a hypothesis that explains records which are not what they should be."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from esmkit.against.altered import alterations_of, of_a_kind
from esmkit.against.columns import (
    INCREASING,
    LEAST_ORDERED,
    fitted_columns,
    keeps_order,
    reordered_columns,
)
from esmkit.against.halves import half_bounds
from esmkit.against.hypotheses import Hypothesis, layer_choices
from esmkit.against.padding import PADDED
from esmkit.against.records import Records
from esmkit.against.scoring import Candidate, Score, best, candidates, scores
from esmkit.against.sources import (
    PLAIN,
    WINDOWS,
    Source,
    sources_of,
    unmasked,
    with_padding,
)
from esmkit.against.states import MOST_PADDED, Request, padded, read
from esmkit.against.weighted import MOST_TOKENS, weights_of
from esmkit.encoder.encoder import Encoder
from esmkit.sequences.windows import MAX_RESIDUES
from esmkit.text import Say, silent

__all__ = ["Search"]

Array = NDArray[np.float64]

SAMPLE = 24
"""Records that every layer and pooling is tried on."""

SAMPLE_TOKENS = 8_000
"""Most tokens of these."""

EACH = 2
"""Records that every source is tried on: a match to rounding is no chance, of one record even."""

LEAST_FOR_COLUMNS = 6
"""Records from which two numbers for each column are fitted; fewer would prove nothing."""

COARSEST = 2e-3
"""Relative rounding up to which a sum with fitted weights is looked for: what is left of another model's
vectors is larger."""

LONGEST_PADDED = 1_024
"""Tokens up to which padding in the mean is looked for, if no record is longer."""


class Search:
    """Looks for hypotheses; remembers what it tried.

    Parameters
    ----------
    model : Encoder
    records : Records
    expected : (int, str)
        Layer and pooling that the file should have.
    say : callable
    """

    def __init__(
        self, model: Encoder, records: Records, expected: tuple[int, str], say: Say = silent
    ) -> None:
        self.model = model
        self.records = records
        self.expected = expected
        self.tried: dict[str, None] = {}
        self.layers: range = range(model.layers + 3)
        self.choices: list[tuple[tuple[int, ...], int]] = layer_choices(model.layers)
        self.first: list[Candidate] = []
        self.sample: list[int] = []
        self._plain_scores: list[Score] = []
        self._near: list[tuple[float, Hypothesis]] = []
        self._say = say

    def find(self, unexplained: Sequence[int]) -> Iterator[Hypothesis]:
        """Yield hypotheses that may explain some of these records, the plainest first.

        One that explains a sample under other names may explain no record in the end: the next is
        looked for then.
        """
        self.sample = self.choose(unexplained)
        self._near = []
        steps: list[tuple[str, Callable[[Sequence[int]], Hypothesis | None]]] = [
            ("every hidden state and pooling, and the order of the records", self._plain),
            ("padding in the mean", self._padded),
            ("columns reordered, scaled or shifted", self._columns),
            ("altered sequences and passes, cuts and windows", self._sources),
            ("padding that is attended to", self._unmasked),
            ("half precision", self._half),
            ("sums of states with any weights", self._weighted),
            ("numbers put through a function", self._increasing),
            ("ends left out, tags, letters written as others", self._altered),
        ]
        for words, step in steps:
            self._say(f"trying {words}")
            self.tried[words] = None
            found = step(unexplained)
            if found is not None:
                yield found

    def choose(self, unexplained: Sequence[int]) -> list[int]:
        """Choose records: of all lengths, short enough to be read often."""
        tokens = self.records.tokens
        order = sorted(unexplained, key=lambda n: tokens[n])
        short = [n for n in order if tokens[n] <= MAX_RESIDUES + 2] or order[:EACH]
        spread = np.unique(np.linspace(0, len(short) - 1, min(SAMPLE, len(short))).astype(int))
        chosen: list[int] = []
        for n in (short[place] for place in spread):
            if chosen and sum(tokens[m] for m in [*chosen, n]) > SAMPLE_TOKENS:
                break
            chosen.append(n)
        return chosen

    def request(self, source: Source, number: int) -> Request | None:
        """Return how a source reads a record; None where it does not apply."""
        return source.request(self.records.proteins[number], self.records.texts[number])

    def _scored(
        self, source: Source, numbers: Sequence[int], requests: Sequence[Request]
    ) -> tuple[list[Candidate], list[Score]]:
        """Read records in one way and score every layer and pooling."""
        parts = source.change(self.model.parts()) if source.change else None
        plain, rows = source in (PLAIN, WINDOWS), bool(self.records.rows)
        stats = read(
            self.model, requests, self.layers, rows=rows, others=plain and not rows, parts=parts
        )
        # means of several layers of an altered sequence are two oddities too many
        choices = [c for c in self.choices if len(c[0]) == 1 or plain]
        made = list(candidates(self.records, source, stats, choices, self.expected))
        found = [score for block in made for score in scores(self.records, numbers, block)]
        return [one for block in made for one in block], found

    def _hypothesis(self, score: Score) -> Hypothesis:
        chosen = score.candidate
        return Hypothesis(chosen.source, chosen.layers, chosen.pooling, score.post, score.reordered)

    def _plain(self, unexplained: Sequence[int]) -> Hypothesis | None:
        numbers = self.sample
        requests = [self.request(PLAIN, n) for n in numbers]
        self.first, found = self._scored(PLAIN, numbers, [r for r in requests if r])
        if all(len(self.records.proteins[n]) > MAX_RESIDUES for n in numbers):
            requests = [self.request(WINDOWS, n) for n in numbers]
            found += self._scored(WINDOWS, numbers, [r for r in requests if r])[1]
        self._plain_scores = [s for s in found if s.post.kind == "none"]
        chosen = best(found)
        return None if chosen is None else self._hypothesis(chosen)

    def nearer(self, numbers: Sequence[int]) -> Hypothesis | None:
        """Return a hypothesis that is much nearer than the expected one, where both may fit.

        Numbers stored coarsely fit the expected embedding within their rounding though EOS be in
        the mean of a long protein.
        """
        self.sample = self.choose(numbers)
        requests = [self.request(PLAIN, n) for n in self.sample]
        _, found = self._scored(PLAIN, self.sample, [r for r in requests if r])
        found = [s for s in found if s.post.kind == "none" and not s.reordered]
        plain = [s for s in found if s.cost == 0]
        chosen = best(found)
        if chosen is None or not plain or chosen.cost == 0 or not chosen.explained.all():
            return None
        return self._hypothesis(chosen) if chosen.mean_square < 0.7 * plain[0].mean_square else None

    def _padded(self, unexplained: Sequence[int]) -> Hypothesis | None:
        """Look for padding that nothing attends to and that is pooled; its tokens are counted."""
        if self.records.rows:
            return None
        tokens = self.records.tokens
        longest = min(max(*tokens, LONGEST_PADDED), MOST_PADDED)
        for number in [n for n in self.sample if tokens[n] < min(max(tokens), longest)][:EACH]:
            found = self._padded_alike(number, longest - tokens[number])
            if found is not None:
                return found
        return None

    def _padded_alike(self, number: int, pads: int) -> Hypothesis | None:
        """Return the layer and pooling by which a record may have such padding in it."""
        request = self.request(PLAIN, number)
        assert request is not None  # the plain source reads everything
        (piece,) = request.pieces
        given, found = self.records.digests[number], []
        layers = range(self.model.layers + 1)
        for layer, states in enumerate(padded(self.model, piece.ids, pads, layers)):
            for name, pooling in PADDED.items():
                vectors = pooling.make(states, len(piece.ids))[1:]
                with np.errstate(divide="ignore", invalid="ignore"):
                    norms = np.linalg.norm(vectors, axis=-1)
                    off = np.linalg.norm(vectors - given, axis=-1) / norms
                off = off / self.records.storage.tolerance(norms, len(given))
                found.append((float(np.nanmin(off, initial=np.inf)), layer, name))
        off, layer, name = min(found)
        return Hypothesis(PLAIN, (layer,), name) if off <= 1 else None

    def _columns(self, unexplained: Sequence[int]) -> Hypothesis | None:
        """Vectors whose columns are in another order, or scaled and shifted one by one."""
        if self.records.rows or not self.first:
            return None
        given = self.records.digests[self.sample]
        for one in self.first:
            if np.isfinite(one.own).all():
                post = reordered_columns(self.records, one.own, given)
                if post is not None:
                    return Hypothesis(PLAIN, one.layers, one.pooling, post)
        if len(self.sample) < LEAST_FOR_COLUMNS:
            return None
        fits = [
            (post, one)
            for one in self.first
            if np.isfinite(one.own).all()
            for post in [fitted_columns(self.records, one.own, given)]
            if post is not None
        ]
        if not fits:
            return None
        post, one = min(fits, key=lambda pair: pair[1].cost)
        return Hypothesis(PLAIN, one.layers, one.pooling, post)

    def _weighted(self, unexplained: Sequence[int]) -> Hypothesis | None:
        """Look for sums of the states of fewer tokens than a vector has numbers."""
        if self.records.rows:
            return None
        tokens = self.records.tokens
        few = [n for n in self.sample if tokens[n] <= MOST_TOKENS * self.model.width][:EACH]
        requests = [request for n in few if (request := self.request(PLAIN, n))]
        if not requests:
            return None
        off = np.empty((len(few), len(self.layers)))
        each = read(self.model, requests, self.layers, rows=True)
        for row, number, stats in zip(off, few, each, strict=True):
            assert stats.rows is not None
            given = self.records.digests[number]
            norm = float(np.linalg.norm(given))
            allowed = self.records.storage.tolerance(np.array([norm]), len(given))[0]
            if allowed > COARSEST:
                return None
            for place, states in enumerate(stats.rows.astype(np.float64)):
                rest = given - weights_of(states, given) @ states
                row[place] = float(np.linalg.norm(rest)) / norm / allowed
        explained = (off <= 1).sum(axis=0)  # one is no chance
        most = np.flatnonzero(explained == explained.max())
        layer = int(most[off[:, most].min(axis=0).argmin()])
        return Hypothesis(PLAIN, (layer,), "weighted") if explained[layer] else None

    def _increasing(self, unexplained: Sequence[int]) -> Hypothesis | None:
        """Vectors whose numbers are in the order of their own, such as logarithms of them."""
        given = self.records.digests[self.sample]
        if self.records.rows or min(len(np.unique(one)) for one in given) < LEAST_ORDERED:
            return None
        fits = [
            one
            for one in self.first
            if np.isfinite(one.own).all() and keeps_order(self.records, one.own, given)
        ]
        if not fits:
            return None
        one = min(fits, key=lambda one: one.cost)
        return Hypothesis(PLAIN, one.layers, one.pooling, INCREASING)

    def _sources(self, unexplained: Sequence[int]) -> Hypothesis | None:
        proteins = self.records.proteins
        found: list[tuple[int, Score]] = []
        order = sorted(unexplained, key=lambda n: (len(proteins[n]) < 20, len(proteins[n])))
        for source in sources_of([proteins[n] for n in order]):
            fitting = ((n, self.request(source, n)) for n in order)
            chosen = [(n, request) for n, request in fitting if request is not None][:EACH]
            if not chosen:
                continue
            numbers = [n for n, _ in chosen]
            _, scored = self._scored(source, numbers, [request for _, request in chosen])
            top = best(scored)
            if top is not None:
                found.append((int(top.explained.sum()) * -1, top))
                if top.cost <= 1 and top.explained.all() and len(chosen) == min(EACH, len(order)):
                    break  # no other source can be plainer
            self._note_near(scored, numbers)
        if not found:
            return None
        return self._hypothesis(min(found, key=lambda pair: (pair[1].cost, pair[0]))[1])

    def _altered(self, unexplained: Sequence[int]) -> Hypothesis | None:
        """Look for alterations of which each record may have another."""
        if self.records.rows:
            return None
        proteins, left = self.records.proteins, set(unexplained)
        known = [protein for n, protein in enumerate(proteins) if n not in left]
        order = sorted(unexplained, key=lambda n: (len(proteins[n]) < 20, len(proteins[n])))
        for number in order[:EACH]:
            for sources in alterations_of(proteins[number], known):
                pairs = [(s, r) for s in sources if (r := self.request(s, number)) is not None]
                if not pairs:
                    continue
                requests = [request for _, request in pairs]
                _, scored = self._scored(sources[0], [number] * len(pairs), requests)
                top = best([s for s in scored if s.post.kind == "none" and not s.reordered])
                if top is not None:
                    chosen = pairs[int(top.explained.argmax())][0]
                    tokens = sum(self.records.tokens[n] for n in unexplained)
                    variants = of_a_kind(chosen, sources, tokens)
                    return replace(self._hypothesis(top), source=chosen, variants=variants)
        return None

    def _note_near(self, scored: Sequence[Score], numbers: Sequence[int]) -> None:
        """Remember a source that comes much nearer than every plain reading of the same records."""
        same = [s for s in scored if s.post.kind == "none" and not s.reordered]
        if not same:
            return
        near = min(same, key=lambda s: s.mean_square)
        places = [self.sample.index(n) for n in numbers if n in self.sample]
        plain_ones = [s.residuals for s in self._plain_scores if not s.reordered]
        if len(places) < len(numbers) or not plain_ones:
            return
        squares = np.stack(plain_ones)[:, places] ** 2
        known = np.isfinite(squares)
        means = np.where(known, squares, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        plain = float(means[known.any(axis=1)].min(initial=np.inf))
        if near.mean_square < 0.5 * plain:
            self._near.append((near.mean_square, self._hypothesis(near)))

    def _unmasked(self, unexplained: Sequence[int]) -> Hypothesis | None:
        """Batches padded without an attention mask: which lengths were padded to is tried."""
        tokens = self.records.tokens
        order = sorted(self.sample, key=lambda n: tokens[n])
        left = set(unexplained)
        seen: dict[tuple[int, int], Score | None] = {}
        found: list[tuple[int, int, str, dict[int, int], Score]] = []
        for words, to in self._padded_lengths().items():
            # records that are right had no padding, and those that are not had some
            odd = sum((to[n] > tokens[n]) != (n in left) for n in range(len(tokens)))
            chosen = [n for n in order if tokens[n] < to[n] <= MOST_PADDED][:EACH]
            for number in chosen:
                if (number, to[number]) not in seen:
                    seen[number, to[number]] = self._padded_to(words, number, to[number])
            tops = [top for n in chosen if (top := seen[n, to[n]]) is not None]
            if tops:
                found.append((-len(tops), odd, words, to, tops[0]))
        if not found:
            return None
        _, _, words, to, top = min(found, key=lambda one: one[:2])
        named = {self.records.names[n]: length for n, length in to.items()}
        source = replace(top.candidate.source, words=_NO_MASK.format(words))
        return replace(self._hypothesis(top), source=source, padded_to=named)

    def _padded_lengths(self) -> dict[str, dict[int, int]]:
        """Return, by the rule, to how many tokens each record was padded; in the FASTA's order."""
        order = np.argsort(self.records.places, kind="stable")
        tokens = [self.records.tokens[n] for n in order]
        return {
            words: dict(zip(order.tolist(), to, strict=True))
            for words, to in unmasked(tokens).items()
        }

    def _padded_to(self, words: str, number: int, to: int) -> Score | None:
        source = Source(
            _NO_MASK.format(words),
            lambda protein, text: None,
            remedy="pass the attention mask of the batch to the model",
        )
        request = with_padding(self.records.proteins[number], to)
        return best(self._scored(source, [number], [request])[1])

    def _half(self, unexplained: Sequence[int]) -> Hypothesis | None:
        """Whatever comes nearest, if a pass in half precision is as far off, and in that direction."""
        plain = [s for s in self._plain_scores if np.isfinite(s.residuals).all()]
        if not plain:
            return None
        least = min(s.mean_square for s in plain)
        alike = [s for s in plain if s.mean_square <= MARGIN_OF_HALVES * least]
        chosen = min(alike, key=lambda s: (s.cost, s.mean_square))
        found, square = self._hypothesis(chosen), chosen.mean_square
        if self._near and min(near for near, _ in self._near) < 0.5 * square:
            square, found = min(self._near, key=lambda pair: pair[0])
        bounds = half_bounds(self, found)
        for dtype, bound in bounds.items():
            if square**0.5 <= bound:
                return replace(found, half=dtype, slack=2 * bound)
        return None


_NO_MASK = "padding attended to like residues, no attention mask ({})"

MARGIN_OF_HALVES = 1.05
"""The same for half precision, where rounding itself makes the squares."""
