"""The embed task in memory: hidden states of proteins, pooled or per residue, as a stream.

:mod:`esmkit.embeddings.to_file` runs the same computation from FASTA files to a file on disk.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.embeddings.embedding import Embedding
from esmkit.embeddings.options import EmbedOptions
from esmkit.encoder import packing
from esmkit.encoder.encoder import Encoder
from esmkit.encoder.names import Layers
from esmkit.encoder.threads import side_by_side, threads_of_a_pass
from esmkit.errors import InputError
from esmkit.sequences.given import ManyProteins, OneProtein, one_or_many, only_result
from esmkit.sequences.many import Results
from esmkit.sequences.proteins import OnInvalid, Protein
from esmkit.sequences.tokens import SPECIALS, encode
from esmkit.sequences.windows import Long, WindowMean, cut_into_pieces, tokens_of

if TYPE_CHECKING:
    import pandas

__all__ = ["Embedding", "compute", "embed"]

LOOK_AHEAD_BATCHES = 32
"""Input that is held and sorted by length at a time, in batches."""

LOOK_AHEAD_BYTES = 128 * 2**20
"""Most memory of results that wait for their window; fewer batches are held if they would take
more."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A part of a protein that is read at once: all of it, or a window of a long one."""

    number: int
    protein: Protein
    start: int
    stop: int
    index: int  # which piece of the protein it is
    of: int  # into how many the protein is cut

    @property
    def tokens(self) -> int:
        return self.stop - self.start + SPECIALS


@dataclass(frozen=True, slots=True)
class _Read:
    """Values of a stretch, in float32: BOS and mean (L, D) and, if need be, residues (L, R, D)."""

    bos: NDArray[np.float32]
    mean: NDArray[np.float32]
    residues: NDArray[np.float32] | None


class _Windows:
    """Puts the pieces of one long protein together, averaging where they overlap."""

    def __init__(self, layers: int, residues: int, width: int) -> None:
        self._residues = WindowMean((layers, residues, width), (-2,))
        self._bos = np.zeros((layers, width), np.float32)
        self._pieces: list[tuple[int, int]] = []
        self._early: dict[int, tuple[_Stretch, _Read]] = {}  # pieces whose turn has not come

    def add(self, piece: _Stretch, read: _Read) -> bool:
        """Take one piece; return whether it was the last that was missing.

        Sums are made in the order of the sequence, whichever piece is read first: the last bit of
        a sum of three depends on the order.
        """
        self._early[piece.index] = (piece, read)
        while len(self._pieces) in self._early:
            piece, read = self._early.pop(len(self._pieces))
            assert read.residues is not None  # those of pieces are kept
            self._residues.add(piece.start, piece.stop, read.residues)
            self._bos += read.bos
            self._pieces.append((piece.start, piece.stop))
        return len(self._pieces) == piece.of

    def result(self) -> _Read:
        residues = self._residues.divide(self._pieces)
        mean = torch.from_numpy(residues).mean(dim=1).numpy()
        return _Read(self._bos / np.float32(len(self._pieces)), mean, residues)


def _read(
    pieces: Sequence[_Stretch], *, model: Encoder, layers: Sequence[int], keep_residues: bool
) -> list[_Read]:
    """Run pieces through the model in one pass."""
    ids = [encode(piece.protein.sequence[piece.start : piece.stop]) for piece in pieces]
    pack = packing.pack(ids, model.device)
    names = [piece.protein.id for piece in pieces]
    states = model.forward(pack, layers, names=names, check=False)
    where = dict(pack.sequences())
    each = [states[:, where[place]] for place in range(len(pieces))]  # (L, T, D)
    # One transfer from the device for all pooled vectors, and for whether all numbers are finite
    starts = torch.stack([of_piece[:, 0].float() for of_piece in each])  # (B, L, D)
    means = torch.stack([of_piece[:, 1:-1].float().mean(dim=1) for of_piece in each])
    finite = torch.isfinite(states).all().float()[None]
    values = torch.cat((starts.flatten(), means.flatten(), finite)).cpu().numpy()
    if not values[-1]:
        model.refuse_non_finite(pack, states, names)
    pooled = values[:-1].reshape(2, *starts.shape)
    return [
        _Read(bos, mean, _residues(of_piece) if keep_residues or piece.of > 1 else None)
        for piece, bos, mean, of_piece in zip(pieces, *pooled, each, strict=True)
    ]


def _residues(states: torch.Tensor) -> NDArray[np.float32]:
    """Return the residues' states without BOS and EOS, and without the rest of the pass."""
    return np.array(states[:, 1:-1].float().cpu().numpy(), order="C")


def _embedding(
    piece: _Stretch, read: _Read, layers: Sequence[int], *, keep_residues: bool
) -> Embedding:
    """Return the result for the protein of a piece, the last one that was read."""
    residues = read.residues if keep_residues else None
    one = len(layers) == 1
    stop = piece.stop if piece.of == 1 else len(piece.protein)
    return Embedding(
        piece.protein.id,
        piece.protein.header,
        piece.protein.sequence[:stop],
        tuple(layers),
        read.mean[0] if one else read.mean,
        read.bos[0] if one else read.bos,
        residues[0] if one and residues is not None else residues,
    )


def _passes(
    model: Encoder,
    items: Iterable[tuple[int, Protein]],
    options: EmbedOptions,
    budget: int,
    missing: NDArray[np.bool_] | None,
    first_first: bool,
) -> Iterator[list[_Stretch]]:
    """Cut a stream of proteins into passes; leave out those of which nothing is missing."""
    most = packing.most_tokens(options.batch_tokens, model.device)
    costs = ((tokens_of(protein, options.long), (number, protein)) for number, protein in items)
    for window in packing.look_ahead(costs, budget):
        pieces = []
        for number, protein in window:
            cut = cut_into_pieces(protein, options.long)
            pieces += [
                _Stretch(number, protein, start, stop, index, len(cut))
                for index, (start, stop) in enumerate(cut)
            ]
        batches = packing.batches_by_tokens([piece.tokens for piece in pieces], most)
        if first_first:
            batches.sort(key=min)  # the same passes, to the last bit: only when is another matter
        for batch in batches:
            chosen = [pieces[i] for i in batch]
            if missing is None or any(missing[piece.number] for piece in chosen):
                yield chosen


def compute(
    model: Encoder,
    items: Iterable[tuple[int, Protein]],
    layers: Sequence[int],
    options: EmbedOptions,
    *,
    keep_residues: bool,
    missing: NDArray[np.bool_] | None = None,
    one_by_one: bool = False,
    first_first: bool = False,
) -> Iterator[list[tuple[int, Embedding]]]:
    """Embed numbered proteins pass by pass, in the order in which passes are computed.

    Windows of the stream are sorted by length and cut into passes by token budget. Both depend
    on the stream and the options alone, so a run that goes on where another one stopped computes
    the very passes that are missing. On a CPU several are computed side by side.

    Parameters
    ----------
    model : Encoder
    items : iterable of (int, Protein)
        Proteins under numbers of the caller's; each number once.
    layers : sequence of int
        Hidden states 0..N, already resolved.
    options : EmbedOptions
    keep_residues : bool
        Keep ``residues`` as well, which takes memory.
    missing : numpy.ndarray of bool, optional
        Results that are wanted, by number; a pass without any is not computed.
    one_by_one : bool
        Give each pass all threads, which is better for one or two.
    first_first : bool
        Compute the pass with the first protein first, and so on, so that results in input order
        begin to come after the first pass; otherwise the longest proteins come first.

    Yields
    ------
    list of (int, Embedding)
        The results that a pass has completed.
    """
    per_token = len(layers) * model.width * 4 if keep_residues else 1
    most = LOOK_AHEAD_BATCHES * options.batch_tokens
    budget = max(options.batch_tokens, min(most, LOOK_AHEAD_BYTES // per_token))
    windows: dict[int, _Windows] = {}  # of proteins some of whose pieces have been read

    def read(pieces: list[_Stretch]) -> tuple[list[_Stretch], list[_Read]]:
        found = _read(pieces, model=model, layers=layers, keep_residues=keep_residues)
        return pieces, found

    def is_large(pieces: list[_Stretch]) -> bool:
        return pieces[0].tokens > packing.pass_tokens()

    passes = _passes(model, items, options, budget, missing, first_first)
    device = None if one_by_one else model.device
    with side_by_side(device, share=threads_of_a_pass()) as run:
        for pieces, found in run(read, passes, alone=is_large):
            done = []
            for piece, of_piece in zip(pieces, found, strict=True):
                if missing is not None and not missing[piece.number]:
                    continue
                if piece.of > 1:
                    if piece.number not in windows:
                        size = (len(layers), len(piece.protein), model.width)
                        windows[piece.number] = _Windows(*size)
                    if not windows[piece.number].add(piece, of_piece):
                        continue
                    of_piece = windows.pop(piece.number).result()
                done.append(
                    (piece.number, _embedding(piece, of_piece, layers, keep_residues=keep_residues))
                )
            if done:
                yield done


@overload
def embed(
    model: Encoder,
    proteins: OneProtein,
    *,
    layers: Layers = -1,
    residues: bool = True,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 4_096,
    progress: bool = False,
) -> Embedding: ...
@overload
def embed(
    model: Encoder,
    proteins: ManyProteins,
    *,
    layers: Layers = -1,
    residues: bool = True,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 4_096,
    progress: bool = False,
) -> Results[Embedding]: ...
@checked
def embed(
    model: Encoder,
    proteins: OneProtein | ManyProteins,
    *,
    layers: Layers = -1,
    residues: bool = True,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 4_096,
    progress: bool = False,
) -> Embedding | Results[Embedding]:
    """Embed one protein, or stream many.

    Parameters
    ----------
    model : Encoder
    proteins : one protein, or many
        One: a sequence, a Protein, Biopython's Seq or SeqRecord, an (ID, sequence) tuple. Many: a
        FASTA path (a ``Path``, or text with a dot or a slash in it), a dict from ID to sequence, a
        table with a column ``sequence``, a Series, (ID, sequence) pairs, or a list, array or
        generator of what is one. See :mod:`esmkit.sequences.given`.
    layers : int, sequence of int, or 'all'
        Hidden states 0 (token embedding) to N (last layer), or negatives.
    residues : bool
        Keep the vector of every residue; without them a stream needs little memory.
    long, on_invalid, batch_tokens
        Rules for long sequences and unknown letters, and size of a pass; see
        :class:`EmbedOptions`.
    progress : bool
        With many, show a progress bar on standard error.

    Returns
    -------
    Embedding or Results
        Of many the results in input order, each computed when it is asked for; with ``.ids``,
        ``.to_frame()`` and ``.to_numpy()``. See :class:`esmkit.sequences.many.Results`.

    Raises
    ------
    InputError, OptionError, NonFiniteError
        The message names the record and the remedy.

    See Also
    --------
    esmkit.embed_file : The same from FASTA files to a file, which survives a kill.
    esmkit.sklearn.EsmEmbedder : The same as a scikit-learn transformer.

    References
    ----------
    Lin et al. 2023, Evolutionary-scale prediction of atomic-level protein structure with a language
    model, Science 379, 1123, doi:10.1126/science.ade2574.

    Examples
    --------
    >>> embedding = esmkit.load().embed("MKTVRQERLKSIVRILERSKEPVSG")    # doctest: +SKIP
    >>> embedding.mean.shape, embedding.residues.shape                # doctest: +SKIP
    ((320,), (25, 320))
    """
    options = EmbedOptions(long=long, on_invalid=on_invalid, batch_tokens=batch_tokens)
    numbers = model.resolve_layers(layers)
    single, stream = one_or_many(proteins, on_invalid=on_invalid)
    batches = compute(
        *(model, enumerate(stream), numbers, options),
        keep_residues=residues,
        one_by_one=single,
        first_first=True,
    )
    results = _in_order(batches)
    if single:
        return only_result(results, "embed")
    return Results(
        *(results, stream, Embedding, "embed"),
        frame=_frame,
        array=_means,
        progress=progress,
    )


def _means(embeddings: Sequence[Embedding]) -> NDArray[np.float32]:
    """Return the mean vectors of proteins: float32, (B, D) or (B, L, D)."""
    if not embeddings:
        raise InputError("there is no protein, and so no array of embeddings")
    return np.stack([one.mean for one in embeddings])


def _frame(embeddings: Sequence[Embedding]) -> "pandas.DataFrame":
    """Return the mean vectors of proteins as a table; see :meth:`Results.to_frame`."""
    import pandas

    if not embeddings:
        return pandas.DataFrame(index=pandas.Index([], name="id"))
    ids, layers = [one.id for one in embeddings], embeddings[0].layers
    index = pandas.Index(ids, name="id")
    if len(layers) > 1:
        index = pandas.MultiIndex.from_product([ids, layers], names=["id", "layer"])
    means = _means(embeddings)
    return pandas.DataFrame(means.reshape(-1, means.shape[-1]), index=index)


def _in_order(batches: Iterable[list[tuple[int, Embedding]]]) -> Iterator[Embedding]:
    """Yield results 0, 1, 2, ..., holding those of a window that overtook others."""
    ready: dict[int, Embedding] = {}
    given = 0
    for batch in batches:
        ready.update(batch)
        while given in ready:
            yield ready.pop(given)
            given += 1
