"""What looks on as a forward pass goes by, and may change what it sees.

Every activation of the pass is handed to a :class:`Watch` under its name
(:mod:`esmkit.encoder.activations`) and goes on as what it returns. This one lets all pass; those that
keep and edit are in :mod:`esmkit.inside`.
"""

from collections.abc import Callable, Sequence

import torch

from esmkit.encoder.activations import MAPS
from esmkit.encoder.packing import Group
from esmkit.encoder.rotary import Rotary, rotate

__all__ = ["INSIDE", "Watch", "attention_in_steps", "sum_in_steps"]

INSIDE = ("rotated_query", "rotated_key", *MAPS)
"""Steps of attention that the fast operations take in one go."""

LARGEST_STREAM = 16.0
"""How much larger than what is added to it the stream may be, if that is to be had as a difference: it
is then exact to 16 roundings of float32, 1e-6."""


class Watch:
    """Sees each activation as it is made; this one lets all pass."""

    def sees(self, layer: int, *steps: str) -> bool:
        """Say whether any of these steps is to be shown, though the pass can do without it."""
        return False

    def edits(self, layer: int, *steps: str) -> bool:
        """Say whether any of these steps may go on as something else."""
        return False

    def at(self, layer: int | None, step: str, x: torch.Tensor) -> torch.Tensor:
        """Take an activation of a row of tokens, and return what goes on in its place.

        Parameters
        ----------
        layer : int, optional
            From 0; None for ``embedding`` and ``final``.
        step : str
            One of :data:`esmkit.encoder.activations.LAYER_STEPS`.
        x : torch.Tensor
            (1, T, D or F); of heads (1, H, T, K). It must not be changed in place.
        """
        return x

    def at_map(self, layer: int, step: str, tokens: slice, x: torch.Tensor) -> torch.Tensor:
        """Take scores or weights of one sequence, (H, n, n), and return what goes on.

        Parameters
        ----------
        layer : int
        step : {'scores', 'weights'}
        tokens : slice
            Where the sequence stands in the row.
        x : torch.Tensor, shape (H, n, n)
        """
        return x


def sum_in_steps(
    layer: int,
    step: str,
    x: torch.Tensor,
    total: torch.Tensor,
    make: Callable[[], torch.Tensor],
    watch: Watch,
) -> torch.Tensor:
    """Show what is added to the stream to a watch, and return the stream as that leaves it.

    Where an edit changes nothing the result is that of the pass without it, to the last bit: the
    fast operations take product and sum in one go, which is rounded otherwise.

    Parameters
    ----------
    layer, step
        What it is that is added.
    x, total : torch.Tensor, shape (1, T, D)
        The stream, and what it is afterwards as the pass has it.
    make : callable
        Computes what is added, if the difference of the two is not exact enough.
    watch : Watch
    """
    if torch.is_grad_enabled():
        own = make()
    else:
        own = total - x
        if x.dtype.itemsize < 4 or bool(x.abs().max() > LARGEST_STREAM * own.abs().max()):
            own = make()
    output = watch.at(layer, step, own)
    if not watch.edits(layer, step):
        return total
    if torch.is_grad_enabled():
        return x + output
    return torch.where(output == own, total, x + output)


def attention_in_steps(
    layer: int,
    projected: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    mixed: torch.Tensor,
    rotary: Rotary,
    groups: tuple[Group, ...],
    watch: Watch,
) -> torch.Tensor:
    """Show turned queries and keys, scores and weights to a watch, and attend as it leaves them.

    Queries whose weights no edit has changed gather what the fast operations give them.

    Parameters
    ----------
    layer : int
    projected : tuple of three torch.Tensor, shape (1, H, T, K)
        Query, key and value, not yet turned by their positions.
    mixed : torch.Tensor, shape (1, T, H, K)
        What the heads gather in the pass without edits.
    rotary : tuple of two torch.Tensor, shape (1, T, K)
    groups : tuple of Group
    watch : Watch

    Returns
    -------
    torch.Tensor, shape (1, T, H, K)
    """
    query, key, value = projected
    edited = watch.edits(layer, *INSIDE)
    own = rotate(query, *rotary) * query.shape[-1] ** -0.5, rotate(key, *rotary)  # (1, H, T, K)
    turned = [watch.at(layer, n, x) for n, x in zip(INSIDE[:2], own, strict=True)]
    if not (edited or watch.sees(layer, *MAPS)):
        return mixed
    parts = []
    for tokens in (part for group in groups for part in group.sequences()):
        scores = watch.at_map(layer, "scores", tokens, _scores(turned, tokens))  # (H, n, n)
        weights = watch.at_map(layer, "weights", tokens, scores.softmax(dim=-1))
        if not edited:
            continue
        gathered = (weights.to(value.dtype) @ value[0, :, tokens]).transpose(0, 1)  # (n, H, K)
        if not torch.is_grad_enabled():
            untouched = _scores(own, tokens).softmax(dim=-1)
            same = (weights == untouched).all(dim=-1).T[..., None]  # (n, H, 1)
            gathered = torch.where(same, mixed[0, tokens], gathered)
        parts.append(gathered)
    rest = mixed[0, groups[-1].tokens.stop :]  # tokens that only fill up a block
    return torch.cat([*parts, rest])[None] if edited else mixed


def _scores(turned: Sequence[torch.Tensor], tokens: slice) -> torch.Tensor:
    """Return Q K^T of one sequence, (H, n, n); in float32 if the model computes in less."""
    exact = torch.promote_types(turned[0].dtype, torch.float32)
    query, key = (x[0, :, tokens].to(exact) for x in turned)
    return query @ key.transpose(1, 2)
