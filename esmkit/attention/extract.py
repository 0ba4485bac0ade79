"""The attention task in memory: per-head maps of proteins, streamed out of the forward pass.

:mod:`esmkit.attention.to_file` runs the same computation from FASTA files to a file on disk, and
:mod:`esmkit.attention.summaries` keeps numbers instead of maps.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.attention.maps import AttentionMaps
from esmkit.attention.options import AttentionOptions
from esmkit.attention.passes import Pass, Piece, passes_of
from esmkit.encoder import packing
from esmkit.encoder.encoder import Encoder
from esmkit.encoder.names import HeadChoice, Heads, Layers, choose_heads
from esmkit.encoder.stream import Prepare, Sink
from esmkit.encoder.threads import side_by_side, threads_of_a_pass
from esmkit.errors import NonFiniteError
from esmkit.sequences.given import ManyProteins, OneProtein, one_or_many, only_result
from esmkit.sequences.many import Results, one_table
from esmkit.sequences.proteins import OnInvalid, Protein
from esmkit.sequences.windows import Long, WindowMean, cut_into_pieces

if TYPE_CHECKING:
    import pandas

__all__ = ["Assembly", "attention", "compute"]

Take = Callable[[Piece, int, Sequence[int], Any], None]
"""Given a piece, a layer, h heads and their float32 maps (h, T, T), BOS and EOS included, or what
``prepare`` made of these."""


def compute(
    model: Encoder,
    items: Iterable[tuple[int, Protein]],
    choice: HeadChoice,
    take: Take,
    *,
    long: Long,
    batch_tokens: int,
    missing: NDArray[np.bool_] | None = None,
    prepare: Prepare | None = None,
    in_turn: bool = True,
) -> Iterator[list[int]]:
    """Run proteins through the model and hand out each map as soon as it exists.

    Parameters
    ----------
    model : Encoder
    items : iterable of (int, Protein)
        Proteins under numbers of the caller's; each number once.
    choice : HeadChoice
        Which maps.
    take : callable
        Called with (piece, layer, heads, maps) for every piece, layer and block of heads. Maps are
        float32 (h, T, T) on the model's device, ``[query, key]``, BOS first and EOS last.
    long, batch_tokens
        As in :class:`esmkit.attention.options.AttentionOptions`.
    missing : numpy.ndarray of bool, optional
        For each number whether it is wanted; passes without any that is are left out.
    prepare : callable, optional
        Makes of a block of maps what ``take`` is given in their place; called in several threads
        at once, where work on large blocks is done best. With it passes are computed side by side,
        one in each thread, unless there are very few.
    in_turn : bool
        Whether ``take`` is called in the order of the proteins and never twice at once: what is prepared
        of a pass is held until its turn, and should be small. Otherwise it is called as soon as there is
        something to take, in several threads at once, for one piece in one of them.

    Yields
    ------
    list of int
        After each pass, the numbers of the proteins that it has completed.

    Raises
    ------
    NonFiniteError
        If a map is NaN or infinite; it has not been handed out.
    """

    def check(maps: torch.Tensor) -> tuple[bool, Any]:
        # A softmax with a NaN or infinity among its scores is NaN in the whole row
        finite = bool(torch.isfinite(maps[:, :, 0].sum()))
        return finite, prepare(maps) if prepare is not None and finite else maps

    def run(one: Pass, sink: Sink) -> None:
        pack = packing.pack(one.tokens, model.device)
        states, heads = [model.layers], choice.by_layer
        model.forward(pack, states, names=one.names, sink=sink, heads=heads, prepare=check)

    def hand_out(one: Pass, layer: int, place: int, heads: Sequence[int], made: Any) -> None:
        if not one.wanted[place]:
            return
        finite, maps = made
        if not finite:
            raise NonFiniteError(
                f"the attention of layer {layer} is NaN or infinite for sequence "
                f"{one.names[place]!r}; {model.non_finite_remedy}"
            )
        take(one.pieces[place], layer, heads, maps)

    def read(one: Pass) -> _Read:
        if prepare is None or not in_turn or one.shared:  # if shared, its turn has come
            run(one, partial(hand_out, one))
            return _Read(one, [])
        found = _Read(one, [])
        try:
            run(one, lambda *made: found.made.append(made))
        except NonFiniteError as error:  # what was made before is handed out first
            found.error = error
        return found

    passes = passes_of(items, model.device, long=long, batch_tokens=batch_tokens, missing=missing)
    device = model.device if prepare is not None else None
    with side_by_side(device, share=threads_of_a_pass()) as map_passes:
        for found in map_passes(read, passes, alone=lambda one: one.shared):
            for made in found.made:
                hand_out(found.one, *made)
            if found.error is not None:
                raise found.error
            done = found.one.completed()
            if done:
                yield done


@dataclass(slots=True)
class _Read:
    """A pass and what was made in it: (layer, place, heads, maps), if it waits for its turn."""

    one: Pass
    made: list[tuple[Any, ...]]
    error: NonFiniteError | None = None


class Assembly:
    """Puts the maps of one protein together, averaging where windows overlap.

    Parameters
    ----------
    heads : int
        n.
    pieces : sequence of (start, stop)
        The parts in which the protein is read; the last one ends at residue R.

    Attributes
    ----------
    maps : numpy.ndarray of float32, shape (n, R, R)
    bos, eos : numpy.ndarray of float32, shape (n, R)
    """

    def __init__(self, heads: int, pieces: Sequence[tuple[int, int]]) -> None:
        self._pieces = pieces
        residues = pieces[-1][1]
        self._maps = WindowMean((heads, residues, residues), (-2, -1))
        self._bos, self._eos = (WindowMean((heads, residues), (-1,)) for _ in range(2))
        self.maps: NDArray[np.float32] = self._maps.sums
        self.bos: NDArray[np.float32] = self._bos.sums
        self.eos: NDArray[np.float32] = self._eos.sums

    def add(self, places: Sequence[int], start: int, stop: int, maps: NDArray[np.float32]) -> None:
        """Take maps (h, T, T), specials included, of the piece from start to stop."""
        for place, of_head in zip(places, maps, strict=True):
            self._maps.add(start, stop, of_head[1:-1, 1:-1], at=(place,))
            self._bos.add(start, stop, of_head[1:-1, 0], at=(place,))
            self._eos.add(start, stop, of_head[1:-1, -1], at=(place,))

    def finish(self) -> None:
        """Turn sums over windows into means, and pairs never seen together into NaN."""
        for sums in (self._maps, self._bos, self._eos):
            sums.divide(self._pieces)


@overload
def attention(
    model: Encoder,
    proteins: OneProtein,
    *,
    heads: Heads | None = None,
    layers: Layers = "all",
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 2_048,
    progress: bool = False,
) -> AttentionMaps: ...
@overload
def attention(
    model: Encoder,
    proteins: ManyProteins,
    *,
    heads: Heads | None = None,
    layers: Layers = "all",
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 2_048,
    progress: bool = False,
) -> Results[AttentionMaps]: ...
@checked
def attention(
    model: Encoder,
    proteins: OneProtein | ManyProteins,
    *,
    heads: Heads | None = None,
    layers: Layers = "all",
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 2_048,
    progress: bool = False,
) -> AttentionMaps | Results[AttentionMaps]:
    """Extract the attention maps of one protein, or stream those of many.

    Parameters
    ----------
    model : Encoder
    proteins : one protein, or many
        One: a sequence, a Protein, Biopython's Seq or SeqRecord, an (ID, sequence) tuple. Many: a
        FASTA path (a ``Path``, or text with a dot or a slash in it), a dict from ID to sequence, a
        table with a column ``sequence``, a Series, (ID, sequence) pairs, or a list, array or
        generator of what is one. See :mod:`esmkit.sequences.given`.
    heads : str, pair of int, or sequence of these, optional
        Names such as ``L5H4``, pairs such as ``(5, 4)``, or ``L5`` for a whole layer; by default
        all heads of ``layers``.
    layers : int, sequence of int, or 'all'
        Attention layers 0..N-1, or negatives from the end.
    long, on_invalid, batch_tokens
        As in :class:`esmkit.attention.options.AttentionOptions`.
    progress : bool
        With many, show a progress bar on standard error.

    Returns
    -------
    AttentionMaps or Results
        Of many the results in input order, each computed when it is asked for; see
        :class:`esmkit.sequences.many.Results`. A result takes n x R x R x 4 bytes: 460 MB for 120
        heads and 1,000 residues.

    Raises
    ------
    InputError, OptionError, NonFiniteError
        With the record and the remedy.

    Examples
    --------
    >>> maps = esmkit.load().attention("MKTVRQERLKSIVRILERSKEPVSG", heads=["L5H4"])  # doctest: +SKIP
    >>> maps.maps.shape                                                            # doctest: +SKIP
    (1, 25, 25)
    """
    AttentionOptions(long=long, on_invalid=on_invalid, batch_tokens=batch_tokens)  # checks them
    choice = choose_heads(
        *(heads, layers),
        of_layers=model.layers,
        of_heads=model.heads,
    )
    single, stream = one_or_many(proteins, on_invalid=on_invalid)
    results = _assembled(model, stream, choice, long=long, batch_tokens=batch_tokens)
    if single:
        return only_result(results, "read")
    return Results(results, stream, AttentionMaps, "attention", frame=_frame, progress=progress)


def _frame(found: Sequence[AttentionMaps]) -> "pandas.DataFrame":
    return one_table((one.id, one.top()) for one in found)


def _assembled(
    model: Encoder, stream: Iterable[Protein], choice: HeadChoice, *, long: Long, batch_tokens: int
) -> Iterator[AttentionMaps]:
    """Yield whole results in input order; passes keep that order."""
    held: dict[int, tuple[Protein, Assembly]] = {}
    places = {head: place for place, head in enumerate(choice.heads)}

    def numbered() -> Iterator[tuple[int, Protein]]:
        for number, protein in enumerate(stream):
            pieces = cut_into_pieces(protein, long)
            held[number] = (protein, Assembly(len(choice.heads), pieces))
            yield number, protein

    def take(piece: Piece, layer: int, heads: Sequence[int], maps: torch.Tensor) -> None:
        where = [places[layer, head] for head in heads]
        held[piece.number][1].add(where, piece.start, piece.stop, maps.cpu().numpy())

    for done in compute(model, numbered(), choice, take, long=long, batch_tokens=batch_tokens):
        for number in done:
            protein, assembly = held.pop(number)
            assembly.finish()
            residues = assembly.maps.shape[-1]
            yield AttentionMaps(
                id=protein.id,
                header=protein.header,
                sequence=protein.sequence[:residues],
                choice=choice,
                bos=assembly.bos,
                eos=assembly.eos,
                get=assembly.maps.__getitem__,
                windows=len(cut_into_pieces(protein, long)),
                checkpoint=model.checkpoint.name,
            )
