"""Train a small ESM-2 on real proteins, and keep what it was on the way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from esmkit.arguments import what_is
from esmkit.errors import InputError, OptionError
from esmkit.reference.bounds import above_zero, at_least, given_proteins
from esmkit.reference.training.batches import (
    Batch,
    crops_of,
    hide,
    in_pieces,
    random_batch,
    repeat_rows,
)
from esmkit.reference.training.model import (
    MaskedLm,
    masked_lm_loss,
    masked_lm_loss_and_gradients,
)
from esmkit.reference.training.optimizer import Adam, clip_gradients, learning_rate
from esmkit.sequences.proteins import Protein

__all__ = ["Training", "held_out_batch", "loss_of", "train"]

PIECE = 64
"""Crops of one pass where only the loss is asked for."""


@dataclass(frozen=True, eq=False)
class Training:
    """What `train` returns.

    Attributes
    ----------
    model : MaskedLm
        After the last step.
    history : list of dict
        One row for each look at the held-out proteins: ``step``; ``tokens``, seen so far;
        ``training_loss``, over as many crops of the proteins trained on, hidden in the same way;
        ``held_out_loss``; both in nats; ``perplexity``, exp of the held-out loss.
        `pandas.DataFrame` takes it as it is.
    snapshots : dict of int to MaskedLm
        The model at each of these steps, the untrained one (0) first.
    """

    model: MaskedLm
    history: list[dict[str, float]]
    snapshots: dict[int, MaskedLm] = field(repr=False)


def held_out_batch(
    proteins: Sequence[Protein],
    *,
    tokens: int = 64,
    crops: int | None = None,
    repeated: bool = False,
    seed: int = 0,
) -> Batch:
    """Cut proteins into crops and hide 15 % of the residues, all behind ``<mask>``.

    Parameters
    ----------
    proteins : sequence of Protein
        What a model is judged on.
    tokens : int
        Of each crop.
    crops : int, optional
        How many are drawn at random; by default all are kept.
    repeated : bool
        Write a stretch of each over and over, as `repeat_rows` does.
    seed : int
        Of the crops and of what is hidden.

    Returns
    -------
    Batch

    Raises
    ------
    OptionError
        If a number is out of range.
    InputError
        If there is no protein, or none is long enough.

    Examples
    --------
    >>> proteins = esmkit.data.demo_proteins()
    >>> held_out_batch(proteins, tokens=32, crops=4).ids.shape
    (4, 32)
    """
    at_least(0, seed=seed)
    if crops is not None:
        at_least(1, crops=crops)
    generator = np.random.default_rng(seed)
    cut = crops_of(proteins, tokens)
    if crops is not None and crops < len(cut):
        cut = cut[np.sort(generator.choice(len(cut), crops, replace=False))]
    return hide(repeat_rows(cut, generator) if repeated else cut, generator, corrupt=False)


def loss_of(model: MaskedLm, batch: Batch) -> float:
    """Return the loss over a batch of any size, in nats per chosen place.

    Parameters
    ----------
    model : MaskedLm
    batch : Batch
        Such as `held_out_batch` makes.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If no place of it is chosen.

    Examples
    --------
    >>> from esmkit.reference.training import random_masked_lm
    >>> model = random_masked_lm(0, layers=1, width=16, hidden=32)
    >>> batch = held_out_batch(esmkit.data.demo_proteins(), tokens=32, crops=4)
    >>> round(loss_of(model, batch), 1)
    3.3
    """
    _check_held_out(batch)
    total = 0.0
    for piece in in_pieces(batch, PIECE):
        mean = masked_lm_loss(model, piece.ids, piece.targets, piece.chosen)
        total += mean * int(piece.chosen.sum())
    return total / int(batch.chosen.sum())


def train(
    model: MaskedLm,
    proteins: Sequence[Protein],
    held_out: Batch,
    *,
    steps: int,
    batch: int = 16,
    tokens: int = 64,
    rate: float = 3e-3,
    warm_up: int = 50,
    decay: float = 0.01,
    clip: float = 1.0,
    repeated: bool = False,
    look_at: Sequence[int] = (),
    seed: int = 0,
    say: Callable[[dict[str, float]], object] | None = None,
) -> Training:
    """Train on random crops: loss, gradients, one step of Adam, and again.

    Parameters
    ----------
    model : MaskedLm
        Where to begin; it stays as it is.
    proteins : sequence of Protein
        To train on.
    held_out : Batch
        What the model is judged on.
    steps : int
        How many batches, at least 1.
    batch, tokens : int
        Crops in a batch and tokens of a crop.
    rate, warm_up : float, int
        The highest learning rate, and after how many steps it is reached; then it falls to 0.
    decay, clip : float
        Weight decay, and the greatest length of the gradient.
    repeated : bool
        Train on crops in which a stretch is written over and over; see `repeat_rows`.
    look_at : sequence of int
        Steps after which the held-out loss is measured and a snapshot kept; the first and the last
        always are.
    seed : int
        The same seed gives the same training, on one machine to the last bit.
    say : callable, optional
        Is given each row of the history as soon as there is one, such as `print`.

    Returns
    -------
    Training

    Raises
    ------
    OptionError
        If a number is out of range: no step, no crop, a rate of 0, a look after the last step.
    InputError
        If there is no protein, or nothing is held out.

    See Also
    --------
    held_out_batch : What the model is judged on.
    random_masked_lm : Where training starts.
    save_checkpoint : Keeping what was trained, for `esmkit.load`.

    Examples
    --------
    >>> from esmkit.reference.training import random_masked_lm
    >>> proteins = esmkit.data.demo_proteins()
    >>> held_out = held_out_batch(proteins[:4], tokens=32, crops=4)
    >>> model = random_masked_lm(0, layers=1, width=16, hidden=32)
    >>> training = train(model, proteins[4:], held_out, steps=3, batch=2, tokens=32)
    >>> [row["step"] for row in training.history], sorted(training.snapshots)
    ([0, 3], [0, 3])
    """
    at_least(1, steps=steps, batch=batch)
    at_least(0, warm_up=warm_up, seed=seed)
    above_zero(rate=rate, clip=clip)
    given_proteins(proteins, "train on")
    _check_held_out(held_out)
    late = [step for step in look_at if not 0 <= step <= steps]
    if late:
        raise OptionError(f"look_at has {late[0]}; there are steps 0 to {steps}")
    generator = np.random.default_rng(seed)
    adam = Adam(rate, second=0.98, decay=decay)  # 0.98: as ESM-2, for gradients change quickly
    looks = {0, steps, *look_at}
    history: list[dict[str, float]] = []
    snapshots: dict[int, MaskedLm] = {}
    crops, length = held_out.ids.shape
    seen = held_out_batch(proteins, tokens=length, crops=crops, repeated=repeated, seed=seed)
    for step in range(steps + 1):
        if step in looks:
            loss = loss_of(model, held_out)
            row: dict[str, float] = {
                "step": step,
                "tokens": step * batch * tokens,
                "training_loss": loss_of(model, seen),
                "held_out_loss": loss,
                "perplexity": float(np.exp(loss)),
            }
            history.append(row)
            snapshots[step] = model
            if say is not None:
                say(row)
        if step < steps:
            drawn = random_batch(proteins, generator, size=batch, tokens=tokens, repeated=repeated)
            _, gradients = masked_lm_loss_and_gradients(
                model, drawn.ids, drawn.targets, drawn.chosen
            )
            gradients, _ = clip_gradients(gradients, clip)
            model = adam.step(model, gradients, learning_rate(step, steps, rate, warm_up=warm_up))
    return Training(model, history, snapshots)


def _check_held_out(batch: Batch) -> None:
    if not isinstance(batch, Batch):
        raise InputError(f"the batch is {what_is(batch)}; make one with held_out_batch")
    if not batch.chosen.any():
        raise InputError("no residue of the batch is asked for; the mean over none is no number")
