"""From proteins to their scores, one after the other, for every function that scores in memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.encoder.encoder import Encoder
from esmkit.score.options import ScoreOptions
from esmkit.score.passes import Logits, masked_sites, one_pass
from esmkit.score.probabilities import log_softmax_20
from esmkit.score.protein_score import ProteinScore
from esmkit.score.sites import Sites, portions
from esmkit.sequences.given import ManyProteins, OneProtein, one_or_many, only_result
from esmkit.sequences.many import ProteinStream, Results
from esmkit.sequences.proteins import Protein
from esmkit.sequences.windows import cut_into_pieces

if TYPE_CHECKING:
    import pandas

__all__ = ["name_of_head", "results_of", "score_of", "windows_of"]


def name_of_head(model: Encoder) -> str:
    """Return the name of a masked-LM head that is not the checkpoint's; empty if it is.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    facts = model.lm_head.facts
    return str(facts["name"]) if facts["source"] == "fitted" else ""


def results_of(
    model: Encoder,
    proteins: OneProtein | ManyProteins,
    options: ScoreOptions,
    task: str,
    *,
    make: Callable[[ProteinScore], Any] | None,
    kind: type,
    frame: "Callable[[Sequence[Any], list[str]], pandas.DataFrame]",
    array: Callable[[Sequence[Any]], NDArray[Any]] | None = None,
    progress: bool,
) -> Any:
    """Return what is made of the score of one protein, or of its logits, or the results of many."""
    head = name_of_head(model)
    single, stream = one_or_many(proteins, on_invalid=options.on_invalid)

    def found() -> Iterator[Any]:
        for protein, values in logits_of_each(model, stream, options, single):
            yield make(score_of(model, head, protein, values, options)) if make else values

    if single:
        return only_result(found(), task)
    return Results(
        *(found(), stream, kind, task),
        frame=lambda items: frame(items, stream.ids[: len(items)]),
        array=array,
        progress=progress,
    )


def logits_of_each(
    model: Encoder, stream: ProteinStream, options: ScoreOptions, single: bool
) -> Iterator[tuple[Protein, Logits]]:
    """Yield each protein, as far as it was read, with its logits, in input order."""
    if options.masked:
        yield from _masked(model, stream, options)
        return
    batches = one_pass(model, enumerate(stream), options, one_by_one=single, first_first=True)
    ready: dict[int, tuple[Protein, Logits]] = {}
    given = 0
    for batch in batches:
        ready |= {number: (protein, values) for number, protein, values in batch}
        while given in ready:
            protein, values = ready.pop(given)
            given += 1
            yield Protein(protein.id, protein.sequence[: len(values)], protein.header), values


def _masked(
    model: Encoder, stream: Iterable[Protein], options: ScoreOptions
) -> Iterator[tuple[Protein, Logits]]:
    def every_site() -> Iterator[Sites]:
        for number, protein in enumerate(stream):
            yield from portions(number, protein, options.long)

    parts: list[Logits] = []
    for sites, values in masked_sites(model, every_site(), batch_tokens=options.batch_tokens):
        parts.append(values)
        if len(parts) == sites.of:
            yield sites.protein, np.concatenate(parts)
            parts = []


def score_of(
    model: Encoder, head: str, protein: Protein, values: Logits, options: ScoreOptions
) -> ProteinScore:
    """Return the score of a protein, as far as it was read, from its logits."""
    return ProteinScore(
        *(protein.id, protein.header, protein.sequence),
        log_softmax_20(values).astype(np.float32),
        masked=options.masked,
        windows=windows_of(len(protein), options),
        checkpoint=model.checkpoint.name,
        head=head,
    )


def windows_of(residues: int, options: ScoreOptions) -> int:
    """Return in how many different windows the residues of a protein are read."""
    cut = cut_into_pieces(Protein("", residues * "X"), options.long)
    if len(cut) == 1 or not options.masked:
        return len(cut)
    return residues - (cut[0][1] - cut[0][0]) + 1
