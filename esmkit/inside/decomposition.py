"""Who writes what: the last residual, and the last hidden state, as sums over components."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked, what_is
from esmkit.encoder.encoder import Encoder
from esmkit.errors import OptionError
from esmkit.inside.components import (
    KEEP,
    Component,
    HeldNorm,
    components_of,
    seen_at_once,
    written,
)
from esmkit.inside.effects import Effects
from esmkit.inside.result import Trace
from esmkit.sequences.given import OneProtein
from esmkit.sequences.windows import Long
from esmkit.text import near

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["Decomposition", "decompose"]

NORM_BIAS = Component("bias", "bias")
"""The bias of the final norm: a summand of the last hidden state, and of no residual."""


class Decomposition(Mapping[str, NDArray[np.float32]]):
    """The residual stream of one protein of R residues as a sum, a mapping from component to array.

    ``parts["L5H4"]`` is what that head adds to the stream through its columns of W^O, float32,
    (R, D). The components are ``embedding``, ``L0H0``, ..., ``L0.attention_bias``,
    ``L0.feed_forward``, ...; they sum to :attr:`residual`. Each is made when it is asked for.

    :meth:`direct` is what becomes of it in the last hidden state, with the scale of the final norm
    held at what it was; these and ``bias``, that of the norm, sum to :attr:`final`. A direct effect
    leaves out what later layers make of what a component has written.

    Parameters
    ----------
    model : Encoder
    seen : Trace
        A run of it, with all that its components are made of.

    Attributes
    ----------
    id, header, sequence : str
    mask : tuple of int
        Residues, from 0, that were replaced by ``<mask>``.

    See Also
    --------
    esmkit.Esm2.decompose : Makes it.
    esmkit.Esm2.attribute_logit : What each component adds to a logit.

    Examples
    --------
    >>> parts = esmkit.load().decompose("MKTVRQERLKSIVRIL")  # doctest: +SKIP
    >>> len(parts), parts["L5H4"].shape  # doctest: +SKIP
    (133, (16, 320))
    >>> parts.residual.shape, parts.final.shape  # doctest: +SKIP
    ((16, 320), (16, 320))
    >>> whole = sum(parts.direct(name) for name in (*parts, "bias"))  # doctest: +SKIP
    >>> bool(np.allclose(whole, parts.final, atol=1e-3))  # doctest: +SKIP
    True
    >>> shares = parts.to_frame()["direct_share"]  # doctest: +SKIP
    >>> round(float(shares.sum()), 3)  # doctest: +SKIP
    1.0
    >>> parts.effects().top(1)["component"].item()  # doctest: +SKIP
    'L5.feed_forward'
    >>> figure = parts.plot()  # doctest: +SKIP
    """

    id: str
    header: str
    sequence: str

    def __init__(self, model: Encoder, seen: Trace) -> None:
        self.id, self.header, self.sequence = seen.id, seen.header, seen.sequence
        self.mask: tuple[int, ...] = seen.mask
        self.checkpoint: str = model.checkpoint.name
        self._model, self._seen = model, seen
        every = components_of(model.layers, model.heads)
        self._by_name = {one.name: one for one in every}

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """Return what a component adds to the stream, (R, D).

        Raises
        ------
        OptionError
            If there is none of that name.
        """
        return self._written(self._find(name)).astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @property
    def residual(self) -> NDArray[np.float32]:
        """The stream after the last layer, (R, D), as the pass has it."""
        return self._seen[f"L{self._model.layers - 1}.residual"]

    @property
    def final(self) -> NDArray[np.float32]:
        """The last hidden state, (R, D), as the pass has it."""
        return self._seen.final

    @checked
    def direct(self, name: str) -> NDArray[np.float32]:
        """Return the direct effect of a component on the last hidden state, (R, D).

        Parameters
        ----------
        name : str
            A component, or ``bias``: the bias of the final norm.

        Returns
        -------
        numpy.ndarray of float32, shape (R, D)

        Raises
        ------
        OptionError
            If there is none of that name.
        """
        if name == NORM_BIAS.name:
            return self._direct(NORM_BIAS).astype(np.float32)
        return self._direct(self._find(name)).astype(np.float32)

    def to_frame(self) -> "pandas.DataFrame":
        """Return how much each component counts.

        Returns
        -------
        pandas.DataFrame
            A row for each: ``component``, ``kind``, ``layer``, ``head``; ``norm``, the mean over
            residues of the length of what it writes; ``share`` of the last residual, the sum over
            residues of the dot product with it, over that of its square; ``direct_norm`` and
            ``direct_share`` the same of the last hidden state. Shares sum to 1; a component that
            works against the sum has a negative one.
        """
        import pandas

        residual, final = (x.astype(np.float64) for x in (self.residual, self.final))
        rows = []
        for one in (*self._by_name.values(), NORM_BIAS):
            part = self._written(one) if one is not NORM_BIAS else np.zeros_like(residual)
            direct = self._direct(one, part)
            rows.append(
                {
                    "component": one.name,
                    "kind": one.kind,
                    "layer": one.layer,
                    "head": one.head,
                    "norm": float(np.linalg.norm(part, axis=1).mean()),
                    "share": float((part * residual).sum() / (residual**2).sum()),
                    "direct_norm": float(np.linalg.norm(direct, axis=1).mean()),
                    "direct_share": float((direct * final).sum() / (final**2).sum()),
                }
            )
        table = pandas.DataFrame(rows)
        return table.astype({"layer": "Int64", "head": "Int64"})

    def effects(self) -> Effects:
        """Return the shares of the last hidden state in percent, ``direct_share``, with their figure."""
        table: Any = self.to_frame()
        table = table[["component", "kind", "layer", "head"]].assign(
            contribution=100 * table["direct_share"]
        )
        return Effects(
            value=float(table["contribution"].sum()),
            what="who writes the last hidden state",
            unit="percent of it, direct effects",
            id=self.id,
            sequence=self.sequence,
            checkpoint=self.checkpoint,
            table=table,
        )

    @checked
    def plot(self, *, path: str | Path | None = None) -> "Figure":
        """Draw the share of each head in the last hidden state; see :meth:`effects`.

        Parameters
        ----------
        path : path, optional
            Where to save: PNG, SVG or PDF by its extension.

        Returns
        -------
        matplotlib.figure.Figure
        """
        return self.effects().plot(path=path)

    def __repr__(self) -> str:
        return (
            f"Decomposition({self.id!r}, {len(self.sequence):,} residues, {len(self)} components)"
        )

    def _repr_html_(self) -> str:
        return self.effects()._repr_html_()

    # ------------------------------------------------------------------------ how it is made

    @cached_property
    def _norm(self) -> HeldNorm:
        return HeldNorm.at(self._model.parts().final_norm, self.residual.astype(np.float64))

    def _find(self, name: Any) -> Component:
        found = self._by_name.get(name) if isinstance(name, str) else None
        if found is None:
            close = near(str(name), self._by_name, 3)
            last = self._model.layers - 1
            hint = f"did you mean {' or '.join(close)}?" if close else "see list(parts)"
            raise OptionError(
                f"there is no component {what_is(name)}; {hint} Components are embedding, L0H0 to "
                f"L{last}H{self._model.heads - 1}, L{last}.attention_bias and L{last}.feed_forward"
            )
        return found

    def _written(self, one: Component) -> NDArray[np.float64]:
        return written(self._model, self._seen, one)

    def _direct(
        self, one: Component, part: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        if one is NORM_BIAS:
            return np.tile(self._norm.bias, (len(self.sequence), 1))
        return self._norm.direct(self._written(one) if part is None else part)


@checked
def decompose(
    model: Encoder, protein: OneProtein, *, mask: Any = None, long: Long = "window"
) -> Decomposition:
    """Take the residual stream of a protein apart into what each component has written into it.

    Parameters
    ----------
    model : Encoder
    protein : one protein
        As :meth:`esmkit.Esm2.embed` takes it.
    mask : iterable of int, optional
        Residues, counted from 0, to replace by ``<mask>``.
    long : {'window', 'whole', 'truncate', 'error'}
        What is read in windows is refused.

    Returns
    -------
    Decomposition

    Raises
    ------
    InputError
        If it is not one protein, or one that is read in windows.

    Examples
    --------
    >>> parts = esmkit.load().decompose("MKTVRQERLKSIVRIL")                  # doctest: +SKIP
    >>> parts["L5H4"].shape, parts.direct("L5.feed_forward").shape           # doctest: +SKIP
    ((16, 320), (16, 320))
    >>> bool(np.allclose(sum(parts.values()), parts.residual, atol=1e-3))    # doctest: +SKIP
    True
    """
    return Decomposition(model, seen_at_once(model, protein, mask, long, KEEP))
