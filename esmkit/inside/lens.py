"""The logit lens: what each layer would say, if it were the last.

The stream after each layer goes through the final norm and the masked-LM head, as that of the last
does (nostalgebraist 2020, "interpreting GPT: the logit lens"). It is a lens and not a measurement: norm
and head were fitted for the last layer alone, and earlier layers may hold what the head cannot read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.arguments import as_array, checked
from esmkit.encoder.activations import Activation
from esmkit.encoder.encoder import Encoder
from esmkit.errors import OptionError
from esmkit.inside.components import seen_at_once
from esmkit.inside.result import Trace
from esmkit.inside.tracing import compute
from esmkit.score.probabilities import entropy_of, log_softmax_20
from esmkit.sequences.given import OneProtein, one_protein
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.proteins import Protein
from esmkit.sequences.windows import Long

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["LogitLens", "logit_lens"]


@dataclass(frozen=True, eq=False)
class LogitLens:
    """What each layer would say of each of R residues, read through the last norm and the head.

    The norm and the masked-LM head were fitted for the last layer only: what an earlier layer does
    not say here, it may still know.

    Attributes
    ----------
    id, header, sequence : str
    layers : tuple of str
        ``embedding``, ``L0``, ...; M of them.
    logits : numpy.ndarray of float32, shape (M, R, 33)
        Those of the last layer are the model's own.
    hidden : tuple of int
        Residues, from 1, that were hidden when they were asked for.
    checkpoint, head : str
        Name of the weights, and of the masked-LM head if it is not theirs.

    See Also
    --------
    esmkit.Esm2.logit_lens : Makes it.

    References
    ----------
    nostalgebraist 2020, interpreting GPT: the logit lens.

    Examples
    --------
    >>> lens = esmkit.load().logit_lens("MKTVRQERLKSIVRIL", mask=[9])  # doctest: +SKIP
    >>> lens.hidden, lens.log_probability.shape, lens.log_probabilities.shape  # doctest: +SKIP
    ((10,), (7, 16), (7, 16, 20))
    >>> lens.by_layer()["layer"].tolist()  # doctest: +SKIP
    ['embedding', 'L0', 'L1', 'L2', 'L3', 'L4', 'L5']
    >>> lens.to_frame().query("hidden and layer == 'L5'")["residue"].tolist()  # doctest: +SKIP
    ['K']
    >>> figure = lens.plot()  # doctest: +SKIP
    """

    id: str
    header: str
    sequence: str
    layers: tuple[str, ...]
    logits: NDArray[np.float32] = field(repr=False)
    hidden: tuple[int, ...] = ()
    checkpoint: str = ""
    head: str = ""

    def __len__(self) -> int:
        return len(self.sequence)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return ``log_probabilities``."""
        return as_array(self.log_probabilities, dtype, copy)

    @property
    def log_probabilities(self) -> NDArray[np.float32]:
        """Natural logarithm of the probability of each amino acid: float32, (M, R, 20)."""
        return self._log_probabilities

    @property
    def log_probability(self) -> NDArray[np.float32]:
        """That of the residue that is there: float32, (M, R); NaN for X, B, U, Z and O."""
        return self._log_probability

    @cached_property
    def _log_probabilities(self) -> NDArray[np.float32]:
        return log_softmax_20(self.logits).astype(np.float32)

    @cached_property
    def _log_probability(self) -> NDArray[np.float32]:
        found = np.full((len(self.layers), len(self)), np.nan, np.float32)
        for residue, letter in enumerate(self.sequence):
            if letter in AMINO_ACIDS:
                place = AMINO_ACIDS.index(letter)
                found[:, residue] = self.log_probabilities[:, residue, place]
        return found

    def to_frame(self) -> "pandas.DataFrame":
        """Return a table of layers and residues.

        Returns
        -------
        pandas.DataFrame
            A row for each layer and residue: ``layer`` (its name), ``residue_number`` (from 1),
            ``residue``, ``hidden``, ``log_probability`` (natural), ``rank`` of the residue that is
            there (1 if it is the most likely), ``entropy_bits``, ``expected`` (the most likely one)
            and ``expected_probability``.
        """
        import pandas

        rank = (self.log_probabilities > self.log_probability[..., None]).sum(axis=2) + 1
        known = ~np.isnan(self.log_probability)
        best = self.log_probabilities.argmax(axis=2)
        count = len(self.layers)
        table = {
            "layer": np.repeat(self.layers, len(self)),
            "residue_number": np.tile(np.arange(1, len(self) + 1, dtype=np.int32), count),
            "residue": list(self.sequence) * count,
            "hidden": [n in set(self.hidden) for n in range(1, len(self) + 1)] * count,
            "log_probability": self.log_probability.ravel(),
            "rank": pandas.array(rank.ravel(), dtype="Int8"),
            "entropy_bits": (entropy_of(self.log_probabilities) / np.log(2)).ravel(),
            "expected": [AMINO_ACIDS[place] for place in best.ravel()],
            "expected_probability": np.exp(self.log_probabilities.max(axis=2)).ravel(),
        }
        table["rank"][~known.ravel()] = pandas.NA
        return pandas.DataFrame(table)

    def by_layer(self) -> "pandas.DataFrame":
        """Return means over residues: ``layer``, ``log_probability``, ``perplexity``, ``accuracy``,
        ``entropy_bits``.
        """  # noqa: D205 - one line would be too long
        import pandas

        known = ~np.isnan(self.log_probability[0])
        mean = self.log_probability[:, known].astype(np.float64)
        own = np.array([AMINO_ACIDS.find(letter) for letter in self.sequence])
        hits = self.log_probabilities.argmax(axis=2) == own
        if not known.any():
            raise OptionError(f"{self.id!r} has none of the 20 amino acids to take a mean over")
        return pandas.DataFrame(
            {
                "layer": list(self.layers),
                "log_probability": mean.mean(axis=1),
                "perplexity": np.exp(-mean.mean(axis=1)),
                "accuracy": hits[:, known].mean(axis=1),
                "entropy_bits": entropy_of(self.log_probabilities)[:, known].mean(axis=1)
                / np.log(2),
            }
        )

    @checked
    def plot(self, *, path: str | Path | None = None) -> "Figure":
        """Draw it with :func:`esmkit.plots.logit_lens`.

        Parameters
        ----------
        path : path, optional
            Where to save: PNG, SVG or PDF by its extension.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from esmkit.plots.lens import logit_lens

        return logit_lens(self, path=path)

    def _repr_html_(self) -> str:
        from esmkit.plots.figure import inline_html

        return inline_html(self.plot())


@checked
def logit_lens(
    model: Encoder,
    protein: OneProtein,
    *,
    mask: Any = "each",
    long: Long = "window",
    batch_tokens: int = 2_048,
    progress: bool = False,
) -> LogitLens:
    """Say what each layer would expect at each residue, if it were the last.

    Parameters
    ----------
    model : Encoder
        With a masked-LM head.
    protein : one protein
        As :meth:`esmkit.Esm2.embed` takes it; R residues.
    mask : 'each', iterable of int, or None
        Hide each residue in turn, which takes R passes and says what is expected of its surroundings;
        or read once with these residues, counted from 0, hidden; or with none, where the model sees
        what it is asked for.
    long : {'window', 'whole', 'truncate', 'error'}
        What is read in windows is refused.
    batch_tokens : int
        Tokens of one pass.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    LogitLens

    Raises
    ------
    CheckpointError
        If the model has no masked-LM head.
    OptionError
        If ``mask`` is something else.
    InputError
        If it is not one protein, or one that is read in windows.

    See Also
    --------
    esmkit.Esm2.score : What the whole model expects.

    References
    ----------
    nostalgebraist 2020, interpreting GPT: the logit lens.

    Examples
    --------
    >>> lens = esmkit.load().logit_lens("MKTVRQERLKSIVRIL")                  # doctest: +SKIP
    >>> lens.layers[0], lens.layers[-1], lens.log_probabilities.shape        # doctest: +SKIP
    ('embedding', 'L5', (7, 16, 20))
    """
    head = model.lm_head
    one = one_protein(protein, "the lens is for one protein")
    each = isinstance(mask, str)
    if each and mask != "each":
        raise OptionError(
            f"what is hidden is 'each', residues such as [23], from 0, or None, not {mask!r}"
        )
    keep = [Activation("embedding"), *(Activation("residual", n) for n in range(model.layers))]
    first = seen_at_once(model, one, () if each else mask, long, [a.name for a in keep])
    read = Protein(one.id, first.sequence, one.header)
    if not each:
        logits = _logits(model, head, first, keep)
        hidden = tuple(index + 1 for index in first.mask)
    else:
        copies = _copies(model, read, keep, long, batch_tokens, progress)
        rows = [_logits(model, head, seen, keep, [n]) for n, seen in enumerate(copies)]
        logits, hidden = np.concatenate(rows, axis=1), tuple(range(1, len(read) + 1))
    return LogitLens(
        id=one.id,
        header=one.header,
        sequence=first.sequence,
        layers=("embedding", *(f"L{n}" for n in range(model.layers))),
        logits=logits,
        hidden=hidden,
        checkpoint=model.checkpoint.name,
        head="" if head.facts["source"] == "checkpoint" else str(head.facts["name"]),
    )


def _copies(
    model: Encoder, protein: Protein, keep: Any, long: Long, batch_tokens: int, progress: bool
) -> Iterator[Trace]:
    """Yield a trace with each residue hidden in turn."""
    from tqdm import tqdm

    copies = [Protein(f"{protein.id}:{n + 1}", protein.sequence) for n in range(len(protein))]
    masks = {copy.id: [n] for n, copy in enumerate(copies)}
    batches = compute(
        *(model, enumerate(copies), keep), mask=masks, long=long, batch_tokens=batch_tokens
    )
    with tqdm(total=len(copies), unit="residue", disable=not progress) as bar:
        for batch in batches:
            for _, seen in batch:
                yield seen
                bar.update()


def _logits(
    model: Encoder, head: Any, seen: Trace, keep: Any, residues: Any = None
) -> NDArray[np.float32]:
    """Return the logits after each layer, (M, r, 33), of all residues or of some."""
    found = []
    norm = model.parts().final_norm
    with torch.inference_mode():
        for one in keep[:-1]:
            stream = torch.from_numpy(seen.tokens(one.name)).to(model.device, model.dtype)
            found.append(head.logits(norm(stream[None])[0]).cpu().numpy()[1:-1])
    found.append(seen.logits)  # of the last layer, as the model has them
    every = np.stack(found)
    return every if residues is None else every[:, residues]
