"""The trace in memory: every named activation of a pass, read and edited."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked, items_of
from esmkit.encoder import packing
from esmkit.encoder.activations import Activation
from esmkit.encoder.encoder import Encoder
from esmkit.errors import OptionError
from esmkit.inside.edits import Edit, Edits, Place, read_edits
from esmkit.inside.memory import check_memory
from esmkit.inside.result import FINAL, LOGITS, Trace
from esmkit.inside.tracer import Tracer, activations_of, held_for
from esmkit.sequences.given import ManyProteins, OneProtein, one_or_many, only_result
from esmkit.sequences.many import Results, one_table
from esmkit.sequences.proteins import OnInvalid, Protein
from esmkit.sequences.tokens import SPECIALS, encode
from esmkit.sequences.windows import Long, check_choices, cut_into_pieces

if TYPE_CHECKING:
    import pandas

__all__ = ["Masks", "compute", "trace"]

Masks: TypeAlias = Iterable[int] | Mapping[str, Iterable[int]]
"""Residues that are replaced by ``<mask>``, from 0; of many proteins by their IDs."""


class TraceOptions:
    """Rules for sequences, and size of a pass."""

    def __init__(self, long: Long, on_invalid: OnInvalid, batch_tokens: int) -> None:
        self.long, self.on_invalid = long, on_invalid
        self.batch_tokens: int = batch_tokens
        check_choices(self, {"long": Long, "on_invalid": OnInvalid})


def compute(
    model: Encoder,
    items: Iterable[tuple[int, Protein]],
    keep: Sequence[Activation],
    edits: Sequence[Edit] = (),
    *,
    mask: Masks | None = None,
    long: Long = "window",
    batch_tokens: int = 2_048,
    missing: NDArray[np.bool_] | None = None,
    max_bytes: int | None = None,
) -> Iterator[list[tuple[int, Trace]]]:
    """Trace numbered proteins pass by pass, in order.

    Parameters
    ----------
    model : Encoder
    items : iterable of (int, Protein)
        Proteins under numbers of the caller's; each number once.
    keep, edits
        What to keep and change.
    mask : iterable of int, or mapping from ID to these, optional
    long, batch_tokens, max_bytes
        As in :func:`trace`.
    missing : numpy.ndarray of bool, optional
        For each number whether it is wanted; passes without any that is are left out.

    Yields
    ------
    list of (int, Trace)
        The results that a pass has completed.

    Raises
    ------
    InputError, OptionError, NonFiniteError
        The message names the record.
    """
    known = activations_of(model)
    watched = [one for one in dict.fromkeys((*held_for(keep, edits), FINAL)) if one != LOGITS]
    held: dict[int, list[tuple[Place, dict[Activation, NDArray[np.float32]]]]] = {}
    most = packing.most_tokens(batch_tokens, model.device)
    for part in packing.look_ahead(_pieces(items, long), most):
        places = [place for _, place, _ in part]
        if missing is not None and not any(missing[number] for number, _, _ in part):
            continue
        check_memory(known, keep, places, max_bytes)
        ids = [
            encode(
                protein.sequence[place.start : place.stop],
                mask=[
                    i - place.start for i in _masked(mask, protein) if place.start <= i < place.stop
                ],
            )
            for _, place, protein in part
        ]
        pack = packing.pack(ids, model.device)
        tracer = Tracer(pack, places, watched, edits)
        model.forward(pack, [model.layers], names=[place.name for place in places], watch=tracer)
        done = []
        for (number, place, protein), values in zip(part, tracer.kept, strict=True):
            arrays = {one: x.float().cpu().numpy() for one, x in values.items()}
            held.setdefault(number, []).append((place, arrays))
            if place.index < place.count - 1:
                continue
            found = held.pop(number)
            if missing is None or missing[number]:
                read = protein.sequence[: place.stop]
                done.append(
                    (
                        number,
                        Trace(
                            model,
                            known,
                            (protein.id, protein.header, read),
                            [of_piece for of_piece, _ in found],
                            keep,
                            [arrays for _, arrays in found],
                            edits=edits,
                            mask=_masked(mask, protein),
                        ),
                    )
                )
        if done:
            yield done


def _masked(mask: Masks | None, protein: Protein) -> list[int]:
    """Return the masked residues of a protein, checked."""
    of_many: Any = mask
    given = of_many.get(protein.id, ()) if isinstance(mask, Mapping) else of_many
    if given is None:
        return []
    encode(protein.sequence, mask=given)  # which refuses what is no residue
    return sorted({int(index) for index in given})


def _pieces(
    items: Iterable[tuple[int, Protein]], long: Long
) -> Iterator[tuple[int, tuple[int, Place, Protein]]]:
    for number, protein in items:
        cut = cut_into_pieces(protein, long)
        residues = cut[-1][1]
        for index, (start, stop) in enumerate(cut):
            place = Place(repr(protein.id), residues, index, len(cut), start, stop)
            yield stop - start + SPECIALS, (number, place, protein)


@overload
def trace(
    model: Encoder,
    proteins: OneProtein,
    *,
    keep: str | Iterable[str] = (),
    edit: Edits | None = None,
    mask: Masks | None = None,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 2_048,
    max_bytes: int | None = None,
    progress: bool = False,
) -> Trace: ...
@overload
def trace(
    model: Encoder,
    proteins: ManyProteins,
    *,
    keep: str | Iterable[str] = (),
    edit: Edits | None = None,
    mask: Masks | None = None,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 2_048,
    max_bytes: int | None = None,
    progress: bool = False,
) -> Results[Trace]: ...
@checked
def trace(
    model: Encoder,
    proteins: OneProtein | ManyProteins,
    *,
    keep: Any = (),
    edit: Any = None,
    mask: Any = None,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 2_048,
    max_bytes: int | None = None,
    progress: bool = False,
) -> Trace | Results[Trace]:
    """Read and edit what a pass computes, of one protein or of many.

    Parameters
    ----------
    model : Encoder
    proteins : one protein, or many
        As :meth:`esmkit.Esm2.embed` takes them; see :mod:`esmkit.sequences.given`.
    keep : str or iterable of str
        Names of activations to keep, such as ``L5.residual`` and ``L5H4.output``, or patterns such as
        ``L*.residual`` and ``L5.*``; ``all`` for everything. See
        :mod:`esmkit.encoder.activations`. The last hidden state is always kept.
    edit : dict from str, optional
        What takes the place of activations, by name: ``"zero"``, a number, an array, the means of
        :func:`esmkit.inside.mean_of`, another Trace, or a function; at some residues only by
        ``"L4H7.output[10:20]"``. See :mod:`esmkit.inside.edits`. What is kept is kept as it is
        after the edits.
    mask : iterable of int, optional
        Residues, counted from 0, to replace by ``<mask>``; of many proteins a dict from ID to
        these.
    long, on_invalid, batch_tokens
        Rules for long sequences and unknown letters, and size of a pass; see
        :class:`esmkit.AttentionOptions`.
    max_bytes : int, optional
        Refuse a trace that takes more; by default more than is free.
    progress : bool
        With many, show a progress bar on standard error.

    Returns
    -------
    Trace or Results
        Of many the results in input order, each computed when it is asked for.

    Raises
    ------
    OptionError
        If there is no such activation, an edit has the wrong shape, or the trace is too large.
    InputError, NonFiniteError
        The message names the record and the remedy.

    Examples
    --------
    >>> model = esmkit.load()                                                # doctest: +SKIP
    >>> seen = model.trace("MKTVRQERLKSIVRIL", keep=["L5.residual", "L5H4.output"],
    ...                    edit={"L4H7.output": "zero"})                     # doctest: +SKIP
    >>> seen["L5H4.output"].shape                                            # doctest: +SKIP
    (16, 16)
    """
    TraceOptions(long, on_invalid, batch_tokens)  # checks them
    known = activations_of(model)
    chosen = known.choose(keep)
    edits = read_edits(edit, known)
    if LOGITS in chosen or any(one.activation == LOGITS for one in edits):
        _ = model.lm_head  # which says what to do if there is none
    if mask is not None and not isinstance(mask, Mapping):
        mask = items_of(mask) if items_of(mask) is not None else mask
    single, stream = one_or_many(proteins, on_invalid=on_invalid)
    if not single and mask is not None and not isinstance(mask, Mapping):
        raise OptionError(
            "of many proteins mask is a dict from ID to residues, such as {'P1': [7]}"
        )
    batches = compute(
        *(model, enumerate(stream), chosen, edits),
        mask=mask,
        long=long,
        batch_tokens=batch_tokens,
        max_bytes=max_bytes,
    )
    results = (one for batch in batches for _, one in batch)
    if single:
        return only_result(results, "trace")
    return Results(results, stream, Trace, "trace", frame=_frame, progress=progress)


def _frame(found: Sequence[Trace]) -> "pandas.DataFrame":
    return one_table((one.id, one.to_frame()) for one in found)
