"""Numbers in place of attention maps: what a head does on a protein, in one row.

Definitions, for the map a of one head on R residues, after BOS and EOS have been set apart:

``entropy``
    Mean over query residues i of the Shannon entropy of the row, divided by log R. The row is
    rescaled to 1 first: 0 is all weight on one residue, 1 is even weight on all.
``distance``
    Sum of a_ij times the distance of i and j over the sum of a_ij, in residues (mean attention distance, Vig 2019).
``special``
    ``bos`` and ``eos``: mean over query residues of the weight given to these two tokens.
``offsets``
    ``offset_-32`` to ``offset_32``: the share of all weight between residues that goes from i to
    i + offset. Together they are at most 1; the rest goes further.

Rows whose whole weight is on BOS and EOS have no entropy and are left out of its mean; a map of
nothing else has NaN. A protein read in windows has the mean over its windows, weighted by their
residues.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.attention.extract import compute
from esmkit.attention.options import MAX_OFFSET, AttentionOptions, Reduction, columns_of
from esmkit.attention.passes import Piece
from esmkit.encoder.names import HeadChoice, Heads, choose_heads
from esmkit.errors import InputError, OptionError
from esmkit.sequences.given import ManyProteins, OneProtein, one_or_many
from esmkit.sequences.proteins import Protein

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder

__all__ = ["reduce_maps", "reduced", "summarize"]


def reduce_maps(maps: torch.Tensor, reduce: Sequence[Reduction]) -> torch.Tensor:
    """Reduce the maps of one protein.

    Parameters
    ----------
    maps : torch.Tensor of float32, shape (h, R + 2, R + 2)
        ``[query, key]`` with BOS first and EOS last; rows sum to 1.
    reduce : sequence of str
        Names of reductions, in any order.

    Returns
    -------
    torch.Tensor of float32, shape (h, columns)
        Columns as :func:`esmkit.attention.options.columns_of` names them.

    Examples
    --------
    >>> maps = torch.full((1, 6, 6), 1 / 6)  # one head that looks everywhere alike
    >>> reduce_maps(maps, ["entropy", "special"])  # entropy, and the weight on BOS and on EOS
    tensor([[1.0000, 0.1667, 0.1667]])
    """
    inner = maps[:, 1:-1, 1:-1]  # (h, R, R)
    total = inner.sum(dim=(1, 2))  # (h,)
    parts = {name: _REDUCTIONS[name](maps, inner, total) for name in reduce}
    return torch.cat([parts[name] for name in _REDUCTIONS if name in parts], dim=1)


def _entropy(maps: torch.Tensor, inner: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    residues = inner.shape[1]
    mass = inner.sum(2)  # (h, R)
    # of p = a / m: -sum p log p = (sum -a log a) / m + log m; entr(0) is 0
    of_row = torch.special.entr(inner).sum(2) / mass + mass.log()
    of_row = of_row.masked_fill(mass == 0, torch.nan)  # all weight on BOS or EOS: no such row
    scale = float(np.log(residues)) if residues > 1 else 1.0
    return (of_row.nanmean(1, keepdim=True) / scale).clamp(0, 1)


def _distance(maps: torch.Tensor, inner: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    place = torch.arange(inner.shape[1], device=inner.device, dtype=torch.float32)
    apart = (place[:, None] - place).abs()
    # Row by row first: one sum of a million float32 terms would lose three digits
    return ((inner * apart).sum(2).sum(1) / total)[:, None]


def _special(maps: torch.Tensor, inner: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    return maps[:, 1:-1, [0, -1]].mean(1)


def _offsets(maps: torch.Tensor, inner: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    shares = inner.new_zeros(len(inner), 2 * MAX_OFFSET + 1)
    most = min(MAX_OFFSET, inner.shape[1] - 1)
    for offset in range(-most, most + 1):
        along = torch.diagonal(inner, offset, dim1=1, dim2=2)
        shares[:, offset + MAX_OFFSET] = along.sum(1) / total
    return shares


_REDUCTIONS: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "entropy": _entropy,
    "distance": _distance,
    "special": _special,
    "offsets": _offsets,
}


def reduced(
    model: "Encoder",
    items: Iterable[tuple[int, Protein]],
    choice: HeadChoice,
    options: AttentionOptions,
    *,
    missing: NDArray[np.bool_] | None = None,
) -> Iterator[list[tuple[int, NDArray[np.float32]]]]:
    """Reduce numbered proteins, pass by pass.

    Yields
    ------
    list of (int, numpy.ndarray of float32, shape (n, columns))
        The proteins that a pass has completed.
    """
    columns = len(columns_of(options.reduce))
    sums: dict[int, NDArray[np.float64]] = {}
    weights: dict[int, int] = {}
    places = {head: place for place, head in enumerate(choice.heads)}

    def reduce(maps: torch.Tensor) -> NDArray[np.float64]:
        return reduce_maps(maps, options.reduce).cpu().double().numpy()

    def take(piece: Piece, layer: int, heads: Sequence[int], values: NDArray[np.float64]) -> None:
        held = sums.setdefault(piece.number, np.zeros((len(choice.heads), columns)))
        residues = piece.stop - piece.start
        if places[layer, heads[0]] == 0:
            weights[piece.number] = weights.get(piece.number, 0) + residues
        held[[places[layer, head] for head in heads]] += residues * values

    for done in compute(
        model,
        items,
        choice,
        take,
        long=options.long,
        batch_tokens=options.batch_tokens,
        missing=missing,
        prepare=reduce,
    ):
        yield [(n, (sums.pop(n) / weights.pop(n)).astype(np.float32)) for n in done]


@checked
def summarize(
    model: "Encoder",
    proteins: OneProtein | ManyProteins,
    *,
    reduce: Sequence[Reduction] = ("entropy", "distance", "special", "offsets"),
    heads: Heads | None = None,
    **options: Any,
) -> "pandas.DataFrame":
    """Reduce the attention of proteins to a table, never keeping a map.

    Parameters
    ----------
    model : Encoder
    proteins : one protein, or many
        As :meth:`esmkit.Esm2.attention` takes them.
    reduce : sequence of {'entropy', 'distance', 'special', 'offsets'}
        Defined at the top of this module.
    heads : str, pair of int, or sequence of these, optional
        Names such as ``L5H4``, or pairs such as ``(5, 4)``; by default all.
    **options
        ``layers``, ``long``, ``on_invalid`` and ``batch_tokens`` of
        :class:`esmkit.attention.options.AttentionOptions`.

    Returns
    -------
    pandas.DataFrame
        A row for each protein and head: ``id``, ``length``, ``layer``, ``head``, ``name``, and
        the columns of the reductions as float32.

    References
    ----------
    Vig and Belinkov 2019, Analyzing the Structure of Attention in a Transformer Language Model,
    arXiv:1906.04284 (mean attention distance).

    Examples
    --------
    >>> model = esmkit.load()                                          # doctest: +SKIP
    >>> table = summarize(model, "MKTVRQERLKSIVRILERSKEPVSG", reduce=["entropy"])  # doctest: +SKIP
    >>> table.shape, list(table.columns)[-1]                           # doctest: +SKIP
    ((120, 6), 'entropy')
    """
    import pandas

    chosen = AttentionOptions(
        heads=heads,  # type: ignore[arg-type] - whichever way, they become names
        reduce=reduce,  # type: ignore[arg-type]
        **options,
    )
    choice = choose_heads(chosen.heads, chosen.layers, of_layers=model.layers, of_heads=model.heads)
    if not chosen.reduce:
        raise OptionError(f"reduce is one or more of {', '.join(_REDUCTIONS)}")
    _, stream = one_or_many(proteins, on_invalid=chosen.on_invalid)
    kept: dict[int, Protein] = {}

    def numbered() -> Iterator[tuple[int, Protein]]:
        for number, protein in enumerate(stream):
            kept[number] = protein
            yield number, protein

    tables = [
        rows_of(kept.pop(number), choice, values, chosen.reduce)
        for batch in reduced(model, numbered(), choice, chosen)
        for number, values in batch
    ]
    if not tables:
        raise InputError("there is no protein whose attention could be reduced")
    return pandas.concat(tables, ignore_index=True)


def rows_of(
    protein: Protein,
    choice: HeadChoice,
    values: NDArray[np.float32],
    reduce: Sequence[Reduction],
) -> "pandas.DataFrame":
    """Return the rows of one protein as a table."""
    import pandas

    facts = pandas.DataFrame(
        {
            "id": protein.id,
            "length": len(protein),
            "layer": [layer for layer, _ in choice.heads],
            "head": [head for _, head in choice.heads],
            "name": choice.names,
        }
    )
    return pandas.concat([facts, pandas.DataFrame(values, columns=columns_of(reduce))], axis=1)
