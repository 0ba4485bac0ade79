"""Means of activations over named proteins: what a head says whatever the residue is."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.encoder.activations import Activation, Activations
from esmkit.encoder.encoder import Encoder
from esmkit.errors import InputError, OptionError
from esmkit.inside.tracer import activations_of
from esmkit.inside.tracing import compute
from esmkit.sequences.given import ManyProteins, OneProtein, one_or_many
from esmkit.sequences.windows import Long

__all__ = ["Means", "mean_of"]


class Means(Mapping[str, NDArray[np.float32]]):
    """Means over all residues of some proteins, a mapping from names of activations to arrays.

    Each has the shape of one residue, such as (D,), (H, K) or, of one head, (K,). Given as the value
    of an edit, it puts the mean of that activation in its place (mean ablation; Wang et al. 2022,
    arXiv:2211.00593). Made by :func:`mean_of`.

    Parameters
    ----------
    known : Activations
        All that the model has.
    values : mapping from Activation to numpy.ndarray of float32
        The means.
    ids : iterable of str
        The proteins.
    residues : int
        How many residues the means are over.

    Attributes
    ----------
    ids : tuple of str
        The proteins.
    residues : int
        How many residues the means are over.

    See Also
    --------
    esmkit.Esm2.trace : Takes them as the value of an edit.

    Examples
    --------
    >>> usual = mean_of(esmkit.load(), esmkit.data.demo_proteins()[:3], "L4.head_output")  # doctest: +SKIP
    >>> usual.ids, usual.residues, list(usual)  # doctest: +SKIP
    (('1UBI_A', 'P60137', 'P84001'), 164, ['L4.head_output'])
    >>> usual["L4.head_output"].shape  # doctest: +SKIP
    (20, 16)
    """

    def __init__(
        self,
        known: Activations,
        values: Mapping[Activation, NDArray[np.float32]],
        ids: Iterable[str],
        residues: int,
    ) -> None:
        self._known = known
        self._values = dict(values)
        self.ids: tuple[str, ...] = tuple(ids)
        self.residues = residues

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self.value_for(self._known.find(name))

    def __iter__(self) -> Iterator[str]:
        return (one.name for one in self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Means({len(self)} activations over {self.residues:,} residues of {len(self.ids)} proteins)"

    def value_for(self, activation: Activation, place: Any = None) -> NDArray[np.float32]:
        """Return the mean of an activation, of one residue's shape.

        Parameters
        ----------
        activation : Activation
        place : Place, optional
            Not looked at: a mean is the same everywhere.

        Returns
        -------
        numpy.ndarray of float32

        Raises
        ------
        OptionError
            If it is not among these.
        """
        found = self._values.get(activation)
        if found is not None:
            return found
        whole = self._values.get(activation.of_all_heads) if activation.head is not None else None
        if whole is None:
            raise OptionError(
                f"{activation.name} is not among these means, which have {', '.join(list(self)[:5])}"
                f"{', ...' * (len(self) > 5)}; name it when they are made"
            )
        return whole[activation.head]


@checked
def mean_of(
    model: Encoder,
    proteins: OneProtein | ManyProteins,
    keep: Any,
    *,
    long: Long = "window",
    batch_tokens: int = 2_048,
) -> Means:
    """Average activations over all residues of proteins, BOS and EOS left out.

    Parameters
    ----------
    model : Encoder
    proteins : one protein, or many
        As :meth:`esmkit.Esm2.trace` takes them.
    keep : str or iterable of str
        Names or patterns of activations; scores and weights, which have no mean over residues,
        are refused.
    long, batch_tokens
        As in :meth:`esmkit.Esm2.trace`.

    Returns
    -------
    Means
        Sums are in float64, results float32.

    Raises
    ------
    OptionError
        If there is no such activation, or it is a map.
    InputError
        If there is no protein.

    Examples
    --------
    >>> model = esmkit.load()                                                # doctest: +SKIP
    >>> usual = mean_of(model, esmkit.data.demo_proteins(), "L4.head_output")  # doctest: +SKIP
    >>> model.trace("MKTVRQERLK", edit={"L4H7.output": usual}).mean.shape    # doctest: +SKIP
    (320,)
    """
    known = activations_of(model)
    chosen = known.choose(keep)
    maps = [one.name for one in chosen if one.is_map]
    if maps:
        raise OptionError(
            f"{maps[0]} has a value for each pair of residues and so no mean over them; edit it with "
            "a number, an array or a function"
        )
    if not chosen:
        raise OptionError("name at least one activation to average, such as 'L4H7.output'")
    _, stream = one_or_many(proteins)
    sums: dict[Activation, NDArray[np.float64]] = {}
    ids, residues = [], 0
    for batch in compute(model, enumerate(stream), chosen, long=long, batch_tokens=batch_tokens):
        for _, one in batch:
            ids.append(one.id)
            residues += len(one.sequence)
            for activation in chosen:
                total = one[activation.name].sum(axis=activation.token_axis, dtype=np.float64)
                sums[activation] = sums[activation] + total if activation in sums else total
    if not residues:
        raise InputError("there is no protein to average activations over; give at least one")
    means = {one: (total / residues).astype(np.float32) for one, total in sums.items()}
    return Means(known, means, ids, residues)
