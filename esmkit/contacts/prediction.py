"""Contact maps from streamed attention: no more than one running sum per protein is kept."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.attention.extract import compute
from esmkit.attention.options import AttentionOptions
from esmkit.attention.passes import Piece
from esmkit.contacts.correction import CorrectedSum, correct
from esmkit.contacts.head import ContactHead
from esmkit.contacts.map import ContactMap
from esmkit.contacts.saturated import Saturated, find_saturated, in_windows
from esmkit.encoder.names import Heads
from esmkit.errors import OptionError
from esmkit.sequences.given import ManyProteins, OneProtein, one_or_many, only_result
from esmkit.sequences.many import Results, one_table
from esmkit.sequences.proteins import OnInvalid, Protein
from esmkit.sequences.windows import Long, WindowMean, cut_into_pieces

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder

__all__ = ["contacts", "corrected_maps", "predict", "predict_rankable"]


def predict(
    model: "Encoder",
    items: Iterable[tuple[int, Protein]],
    head: ContactHead,
    *,
    long: Long,
    batch_tokens: int,
    missing: NDArray[np.bool_] | None = None,
) -> Iterator[list[tuple[int, NDArray[np.float32]]]]:
    """Predict the contacts of numbered proteins, pass by pass.

    Parameters
    ----------
    model : Encoder
    items : iterable of (int, Protein)
    head : ContactHead
    long : {'window', 'whole', 'truncate', 'error'}
        Rule for long sequences.
    batch_tokens : int
        Most tokens of a pass.
    missing : numpy.ndarray of bool, optional
        By number, the proteins that are wanted; by default all.

    Yields
    ------
    list of (int, numpy.ndarray of float32, shape (R, R))
        Symmetric maps of the proteins that a pass has completed; over windows the mean, and NaN
        for pairs that were never in one window.

    See Also
    --------
    esmkit.Esm2.contacts : The same for one protein, or a stream.

    Examples
    --------
    >>> model, proteins = esmkit.load(), esmkit.data.demo_proteins()[:3]  # doctest: +SKIP
    >>> head = esmkit.ContactHead.of_checkpoint(model)  # doctest: +SKIP
    >>> for batch in esmkit.contacts.predict(
    ...     model, enumerate(proteins), head, long="window", batch_tokens=128
    ... ):
    ...     print([(number, found.shape) for number, found in batch])  # doctest: +SKIP
    [(0, (76, 76)), (1, (38, 38))]
    [(2, (50, 50))]
    """
    for done in predict_rankable(
        model, items, head, long=long, batch_tokens=batch_tokens, missing=missing
    ):
        yield [(number, values) for number, values, _ in done]


def predict_rankable(
    model: "Encoder",
    items: Iterable[tuple[int, Protein]],
    head: ContactHead,
    *,
    long: Long,
    batch_tokens: int,
    missing: NDArray[np.bool_] | None = None,
) -> Iterator[list[tuple[int, NDArray[np.float32], Saturated | None]]]:
    """Do what :func:`predict` does, and give the logits of pairs that are too sure as well."""
    head.check_fits(model)
    places = {of: place for place, of in enumerate(head.choice.heads)}
    weights = torch.tensor(head.weights, dtype=torch.float32, device=model.device)
    sums: dict[tuple[int, int], CorrectedSum] = {}
    whole: dict[int, tuple[NDArray[np.float32], Saturated | None]] = {}
    windows: dict[int, list[tuple[Piece, NDArray[np.float32], Saturated | None]]] = {}
    finishing = threading.Lock()

    # Called in several threads at once, but all of a piece in one, in the order of the heads
    def take(piece: Piece, layer: int, heads: Sequence[int], block: torch.Tensor) -> None:
        key, residues = (piece.number, piece.index), piece.stop - piece.start
        if key not in sums:
            sums[key] = CorrectedSum(residues, block.device)
        first = places[layer, heads[0]]
        sums[key].add(block[:, 1:-1, 1:-1], weights[first : first + len(heads)])
        if first + len(heads) == len(places):
            finish(piece, sums.pop(key))

    def finish(piece: Piece, done: CorrectedSum) -> None:
        values = done.result()
        saturated = None
        if head.method == "regression":
            logits = values + head.bias
            values = torch.sigmoid(logits)
            # Equal numbers in a vector and behind the last may differ in their last bit
            values = (values + values.T) / 2
            saturated = find_saturated(values, logits)
        if piece.count == 1:
            whole[piece.number] = values.cpu().numpy(), saturated
            return
        with finishing:
            found = windows.setdefault(piece.number, [])
            found.append((piece, values.cpu().numpy(), saturated))
            if len(found) == piece.count:
                whole[piece.number] = _averaged(windows.pop(piece.number))

    for done in compute(
        model,
        items,
        head.choice,
        take,
        long=long,
        batch_tokens=batch_tokens,
        missing=missing,
        prepare=lambda maps: maps,  # as they are, in the thread that has made them
        in_turn=False,
    ):
        yield [(number, *whole.pop(number)) for number in done]


def _averaged(
    found: "list[tuple[Piece, NDArray[np.float32], Saturated | None]]",
) -> "tuple[NDArray[np.float32], Saturated | None]":
    """Return the mean of a protein's windows, summed from the first, and where it is too sure."""
    found.sort(key=lambda one: one[0].index)
    residues = found[0][0].residues
    mean = WindowMean((residues, residues), (-2, -1))
    for piece, values, _ in found:
        mean.add(piece.start, piece.stop, values)
    pieces = [(piece.start, piece.stop) for piece, *_ in found]
    return mean.divide(pieces), in_windows([(piece.start, sure) for piece, _, sure in found])


@overload
def contacts(
    model: "Encoder",
    proteins: OneProtein,
    *,
    head: ContactHead | None = None,
    heads: Heads | None = None,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 2_048,
    progress: bool = False,
) -> ContactMap: ...
@overload
def contacts(
    model: "Encoder",
    proteins: ManyProteins,
    *,
    head: ContactHead | None = None,
    heads: Heads | None = None,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 2_048,
    progress: bool = False,
) -> Results[ContactMap]: ...
@checked
def contacts(
    model: "Encoder",
    proteins: OneProtein | ManyProteins,
    *,
    head: ContactHead | None = None,
    heads: Heads | None = None,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 2_048,
    progress: bool = False,
) -> ContactMap | Results[ContactMap]:
    """Predict the contacts of one protein, or stream those of many.

    Parameters
    ----------
    model : Encoder
    proteins : one protein, or many
        One: a sequence, a Protein, Biopython's Seq or SeqRecord, an (ID, sequence) tuple. Many: a
        FASTA path (a ``Path``, or text with a dot or a slash in it), a dict from ID to sequence, a
        table with a column ``sequence``, a Series, (ID, sequence) pairs, or a list, array or
        generator of what is one. See :mod:`esmkit.sequences.given`.
    head : ContactHead, optional
        By default the checkpoint's own.
    heads : str, pair of int, or sequence of these, optional
        Take the mean of the corrected maps of these heads instead, such as ``"L5H4"`` or
        ``(5, 4)``.
    long, on_invalid, batch_tokens
        As in :class:`esmkit.attention.options.AttentionOptions`; windows are averaged, and pairs that were
        never in one window are NaN.
    progress : bool
        With many, show a progress bar on standard error.

    Returns
    -------
    ContactMap or Results
        Of many the results in input order, each computed when it is asked for; see
        :class:`esmkit.sequences.many.Results`.

    Raises
    ------
    CheckpointError
        If the checkpoint has no contact head and none is given.
    InputError, OptionError, NonFiniteError
        With the record and the remedy.

    See Also
    --------
    esmkit.contacts_file : The same from FASTA files to a file, which survives a kill.
    esmkit.contacts.evaluate : How good they are, on structures.

    References
    ----------
    Rao et al. 2021, Transformer protein language models are unsupervised structure learners,
    doi:10.1101/2020.12.15.422761.

    Examples
    --------
    >>> contacts = esmkit.load().contacts("MKTVRQERLKSIVRILERSKEPVSGAQL")   # doctest: +SKIP
    >>> contacts.probability.shape                                        # doctest: +SKIP
    (28, 28)
    """
    AttentionOptions(long=long, on_invalid=on_invalid, batch_tokens=batch_tokens)  # checks them
    if head is not None and heads is not None:
        raise OptionError("give head or heads, not both")
    if heads is not None:
        head = ContactHead.mean_of(model, heads)
    chosen = ContactHead.of_checkpoint(model) if head is None else head
    single, stream = one_or_many(proteins, on_invalid=on_invalid)
    results = _results(model, stream, chosen, long=long, batch_tokens=batch_tokens)
    if single:
        return only_result(results, "predict")
    return Results(results, stream, ContactMap, "contacts", frame=_frame, progress=progress)


def _frame(found: Sequence[ContactMap]) -> "pandas.DataFrame":
    return one_table((one.id, one.to_frame()) for one in found)


def _results(
    model: "Encoder", stream: Iterable[Protein], head: ContactHead, *, long: Long, batch_tokens: int
) -> Iterator[ContactMap]:
    held: dict[int, Protein] = {}

    def numbered() -> Iterator[tuple[int, Protein]]:
        for number, protein in enumerate(stream):
            held[number] = protein
            yield number, protein

    for batch in predict_rankable(model, numbered(), head, long=long, batch_tokens=batch_tokens):
        for number, values, saturated in batch:
            protein = held.pop(number)
            yield ContactMap(
                id=protein.id,
                header=protein.header,
                sequence=protein.sequence[: len(values)],
                probability=values,
                method=head.method,
                source=head.source,
                windows=len(cut_into_pieces(protein, long)),
                checkpoint=model.checkpoint.name,
                saturated=saturated,
            )


def corrected_maps(model: "Encoder", protein: Protein) -> NDArray[np.float32]:
    """Return the corrected maps of every head of one protein, the features of a contact head.

    Parameters
    ----------
    model : Encoder
    protein : Protein
        Of R residues, at most 1,022.

    Returns
    -------
    numpy.ndarray of float32, shape (N * H, R, R)
        Layer by layer, each symmetric.

    Raises
    ------
    InputError
        If the protein is longer than the model was trained for: its maps would not be of one piece.

    References
    ----------
    Dunn, Wahl and Gloor 2008, doi:10.1093/bioinformatics/btm604 (average product correction). Rao et al.
    2021, doi:10.1101/2020.12.15.422761 (for attention).

    Examples
    --------
    >>> maps = esmkit.contacts.corrected_maps(esmkit.load(), esmkit.data.demo_proteins()[0])  # doctest: +SKIP
    >>> maps.shape, bool((maps == maps.transpose(0, 2, 1)).all())  # doctest: +SKIP
    ((120, 76, 76), True)
    """
    from esmkit.encoder.names import choose_heads

    choice = choose_heads(None, "all", of_layers=model.layers, of_heads=model.heads)
    residues = len(protein)
    maps = np.empty((len(choice.heads), residues, residues), np.float32)

    def take(piece: Piece, layer: int, heads: Sequence[int], block: torch.Tensor) -> None:
        first = layer * model.heads + heads[0]
        maps[first : first + len(heads)] = correct(block[:, 1:-1, 1:-1]).cpu().numpy()

    for _ in compute(model, [(0, protein)], choice, take, long="error", batch_tokens=1):
        pass
    return maps
