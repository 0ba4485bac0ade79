"""What a trace of one protein is: activations by name."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.arguments import checked, what_is
from esmkit.encoder.activations import Activation, Activations
from esmkit.encoder.watch import INSIDE
from esmkit.errors import InputError, OptionError
from esmkit.inside.edits import Edit, Place
from esmkit.inside.gradients import Exact, Metric, gradients
from esmkit.inside.memory import check_map
from esmkit.sequences.windows import WindowMean

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder

__all__ = ["Trace"]

FINAL = Activation("final")
LOGITS = Activation("logits")


class Trace(Mapping[str, NDArray[np.float32]]):
    """Activations of one protein, a mapping from their names to arrays.

    Arrays are float32 and have the residues in order, R of them, without BOS and EOS: (R, D),
    (H, R, K) or (H, R, R), of one head (R, K) or (R, R). Of a protein that was read in windows
    each value is the mean over those that hold the residue, or the pair; NaN for pairs that were in
    none. Scores and weights are made when they are asked for, from the turned queries and keys, which are
    what is held; of all else the arrays are the trace's own, and changing one changes the trace.

    Made by :meth:`esmkit.Esm2.trace`.

    Parameters
    ----------
    model : Encoder
    known, protein, places, keep, values
        What the pass has left: names, ID, header and sequence, where its pieces stood in the
        passes, and of each piece the arrays that were kept.
    edits : sequence of Edit
        What took the place of activations.
    mask : sequence of int
        Residues, from 0, that were replaced by ``<mask>``.

    Attributes
    ----------
    id, header, sequence : str
        Of the protein; the sequence as far as it was read.
    pieces : tuple of (start, stop)
        The parts in which it was read.
    mask : tuple of int
        Residues, from 0, that were replaced by ``<mask>``.

    See Also
    --------
    esmkit.Esm2.trace : Makes it.
    esmkit.trace_file : The same of FASTA files, on disk.

    Examples
    --------
    >>> seen = esmkit.load().trace("MKTVRQERLKSIVRIL", keep=["L5.residual"])   # doctest: +SKIP
    >>> seen["L5.residual"].shape, seen.mean.shape                            # doctest: +SKIP
    ((16, 320), (320,))
    >>> seen.bos("L5.residual").shape, seen.eos("L5.residual").shape  # doctest: +SKIP
    ((320,), (320,))
    >>> seen.tokens("L5.residual").shape  # doctest: +SKIP
    (18, 320)
    >>> seen.final.shape, seen.logits.shape  # doctest: +SKIP
    ((16, 320), (16, 33))
    >>> seen.to_frame()["name"].tolist()  # doctest: +SKIP
    ['L5.residual']
    """

    id: str
    header: str
    sequence: str

    def __init__(
        self,
        model: "Encoder",
        known: Activations,
        protein: tuple[str, str, str],
        places: "Sequence[Place]",
        keep: Sequence[Activation],
        values: Sequence[Mapping[Activation, NDArray[np.float32]]],
        *,
        edits: "Sequence[Edit]" = (),
        mask: Sequence[int] = (),
    ) -> None:
        self.id, self.header, self.sequence = protein
        self.pieces: tuple[tuple[int, int], ...] = tuple(
            (place.start, place.stop) for place in places
        )
        self.mask: tuple[int, ...] = tuple(mask)
        self._model = model
        self._known = known
        self._keep = tuple(keep)
        self._edits = tuple(edits)
        self._values = values
        self._places = tuple(places)
        self._made: dict[Activation, NDArray[np.float32]] = {}

    # ------------------------------------------------------------------------ by name

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """Return an activation of the residues; one head's also if that of all heads was kept.

        Raises
        ------
        OptionError
            If there is no such activation, or it was not kept.
        """
        return self._residues(self._known.find(name))

    def __iter__(self) -> Iterator[str]:
        return (one.name for one in self._keep)

    def __len__(self) -> int:
        return len(self._keep)

    def __contains__(self, name: object) -> bool:
        return any(one.name == name for one in self._keep)

    def tokens(self, name: str) -> NDArray[np.float32]:
        """Return the activation ``name`` of all tokens, BOS first and EOS last; of maps in both directions.

        Raises
        ------
        OptionError
            If it was not kept.
        InputError
            If the protein was read in windows, each of which has a BOS and an EOS.
        """
        if len(self.pieces) > 1:
            raise InputError(
                f"{self.id!r} was read in {len(self.pieces)} windows, each with a BOS and an EOS; "
                'take their means with .bos and .eos, or read it at once with `long="whole"`'
            )
        return self._piece(self._known.find(name), 0)

    def bos(self, name: str) -> NDArray[np.float32]:
        """Return the activation ``name`` at BOS, of maps the row of BOS; the mean over windows."""
        return self._special(name, 0)

    def eos(self, name: str) -> NDArray[np.float32]:
        """Return the activation ``name`` at EOS, of maps the row of EOS; the mean over windows."""
        return self._special(name, -1)

    # ------------------------------------------------------------------------ what follows

    @property
    def final(self) -> NDArray[np.float32]:
        """The last hidden state of the residues, (R, D); kept in every trace."""
        return self._residues(FINAL)

    @property
    def mean(self) -> NDArray[np.float32]:
        """The mean of the last hidden state over residues, (D,), as :meth:`esmkit.Esm2.embed` has it."""
        return torch.from_numpy(self.final[None]).mean(dim=1)[0].numpy()

    @property
    def logits(self) -> NDArray[np.float32]:
        """Logits of the masked-LM head for the residues, (R, 33).

        Raises
        ------
        CheckpointError
            If the model has no masked-LM head.
        """
        return self._residues(LOGITS)

    @checked
    def gradient(self, metric: Metric, of: Any, *, dtype: Exact = "float64") -> "Gradient":
        """Differentiate one number of this run with respect to its activations.

        The run is computed again, with its edits and masks, whatever was kept of it.

        Parameters
        ----------
        metric : callable
            Given the activations as tensors (:class:`esmkit.inside.gradients.Live`): ``seen.logits``,
            ``seen.final``, ``seen.mean``, ``seen.contacts`` or ``seen["L5.residual"]``, of the
            residues alone. It returns one number, a 0-d tensor.
        of : str or iterable of str
            Names or patterns of activations.
        dtype : {'float64', 'float32'}
            What the pass is computed in; float64 takes memory for a copy of the weights.

        Returns
        -------
        Gradient
            A mapping as a trace is one, in ``dtype``, with the metric as ``.value``.

        Raises
        ------
        OptionError
            If there is no such activation, or the metric is not one number.
        InputError
            If the protein was read in windows.

        Examples
        --------
        >>> seen = esmkit.load().trace("MKTVRQERLKSIVRIL")                     # doctest: +SKIP
        >>> slope = seen.gradient(lambda s: s.contacts[2, 12], of="L5.weights")  # doctest: +SKIP
        >>> slope["L5H4.weights"].shape                                       # doctest: +SKIP
        (16, 16)
        """
        if len(self.pieces) > 1:
            raise InputError(
                f"{self.id!r} was read in {len(self.pieces)} windows, and a gradient is that of one "
                'pass; trace it with `long="whole"`'
            )
        chosen = self._known.choose(of)
        if not chosen:
            raise OptionError(
                "name at least one activation for the gradient, such as 'L5.residual'"
            )
        if dtype not in ("float64", "float32"):
            raise OptionError(f"dtype is 'float64' or 'float32', not {what_is(dtype)}")
        place = self._places[0]
        value, found = gradients(
            *(self._model, self._known, self.sequence, place, metric, chosen),
            mask=self.mask,
            edits=self._edits,
            dtype=dtype,
        )
        protein = self.id, self.header, self.sequence
        gradient = Gradient(self._model, self._known, protein, [place], chosen, [found])
        gradient.value = value
        return gradient

    def to_frame(self) -> "pandas.DataFrame":
        """Return what was kept as a table: name, shape, bytes, mean and largest magnitude."""
        import pandas

        rows = [
            {
                "name": name,
                "shape": str(array.shape),
                "bytes": array.nbytes,
                "mean": float(np.nanmean(array)),
                "largest": float(np.nanmax(np.abs(array))),
            }
            for name, array in self.items()
        ]
        return pandas.DataFrame(rows, columns=["name", "shape", "bytes", "mean", "largest"])

    def __repr__(self) -> str:
        names = list(self)
        some = ", ".join(names[:3]) + (f", ... ({len(names)} in all)" if len(names) > 3 else "")
        what = f": {some}" if names else ""
        return f"Trace({self.id!r}, {len(self.sequence):,} residues{what})"

    # ------------------------------------------------------------------------ for edits

    def value_for(self, activation: Activation, place: "Place | None" = None) -> Any:
        """Return what an ``activation`` had in the piece at a ``place``, for a run that is to have it.

        Raises
        ------
        OptionError
            If it was not kept.
        InputError
            If the sequences differ in length, or were not read in the same pieces.
        """
        self._source(activation)
        if place is None:
            return None
        here = len(self.sequence)
        if place.residues != here:
            raise InputError(
                f"{activation.name} of {self.id!r} has {here:,} residues and {place.name} "
                f"{place.residues:,}; take values from a sequence of the same length"
            )
        if (place.start, place.stop) not in self.pieces:
            raise InputError(
                f"{self.id!r} and {place.name} were not read in the same windows; trace both with "
                "the same `long`"
            )
        return self._piece(activation, self.pieces.index((place.start, place.stop)))

    # ------------------------------------------------------------------------ how it is held

    def _source(self, one: Activation) -> Activation:
        """Return under which activation something is kept, or say that it is not."""
        if one == FINAL or one in self._keep:
            return one
        if one.head is not None and one.of_all_heads in self._keep:
            return one.of_all_heads
        if one == LOGITS:
            return one
        kept = ", ".join(list(self)[:5]) + ", ..." * (len(self) > 5) if self._keep else "nothing"
        raise OptionError(
            f"{one.name} was not kept in the trace of {self.id!r}, which has {kept}; name it in "
            "`keep`"
        )

    def _piece(self, one: Activation, number: int) -> NDArray[np.float32]:
        """Return an activation of all tokens of one piece."""
        source = self._source(one)
        if source == LOGITS and LOGITS not in self._values[number]:
            return _logits(self._model, self._values[number][FINAL])
        values = self._values[number].get(source)
        if values is None and one.is_map:
            return self._map(one, number)
        values = self._values[number][source]
        return values if source == one else values[one.head]

    def _map(self, one: Activation, number: int) -> NDArray[np.float32]:
        """Return scores or weights, which follow from turned queries and keys, as the pass has them."""
        turned = [self._values[number][Activation(step, one.layer)] for step in INSIDE[:2]]
        heads = slice(None) if one.head is None else slice(one.head, one.head + 1)
        check_map(one.name, turned[0][heads].shape)
        query, key = (torch.from_numpy(x[heads]) for x in turned)  # (h, T, K)
        with torch.inference_mode():
            made = query @ key.transpose(1, 2)
            made = made if one.step == "scores" else made.softmax(dim=-1)
        return made.numpy() if one.head is None else made[0].numpy()

    def _residues(self, one: Activation) -> NDArray[np.float32]:
        if len(self.pieces) == 1:
            return _inner(self._piece(one, 0), one)
        if one not in self._made:
            first, axis = self._piece(one, 0), one.token_axis
            shape = list(first.shape)
            shape[axis] = len(self.sequence)
            if one.is_map:
                shape[axis + 1] = len(self.sequence)
            axes = (-2, -1) if one.is_map else (axis - first.ndim,)
            mean = WindowMean(tuple(shape), axes)
            for number, (start, stop) in enumerate(self.pieces):
                mean.add(start, stop, _inner(self._piece(one, number), one))
            self._made[one] = mean.divide(self.pieces)
        return self._made[one]

    def _special(self, name: str, at: int) -> NDArray[np.float32]:
        one = self._known.find(name)
        if one.is_map and len(self.pieces) > 1:
            raise InputError(
                f"{self.id!r} was read in {len(self.pieces)} windows, and a row of {one.name} is "
                'over the tokens of one; read it at once with `long="whole"`'
            )
        each: list[Any] = [
            self._piece(one, n).take(at, one.token_axis) for n in range(len(self.pieces))
        ]
        if len(each) == 1:
            return each[0]
        mean: Any = np.stack(each).mean(axis=0)
        return mean


class Gradient(Trace):
    """The gradient of a metric with respect to activations, by their names.

    Attributes
    ----------
    value : float
        The metric.
    """

    value: float = float("nan")

    def __repr__(self) -> str:
        return super().__repr__().replace("Trace(", f"Gradient({self.value:.6g}, ", 1)


def _inner(values: NDArray[np.float32], one: Activation) -> NDArray[np.float32]:
    """Return values of residues out of those of tokens."""
    if one.is_map:
        return values[..., 1:-1, 1:-1]
    return values[:, 1:-1] if one.token_axis else values[1:-1]


def _logits(model: Any, final: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits (T, 33) of last hidden states (T, D)."""
    states = torch.from_numpy(final).to(model.device)
    with torch.inference_mode():
        return model.lm_head.logits(states).float().cpu().numpy()
