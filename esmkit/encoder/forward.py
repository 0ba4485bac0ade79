"""The forward pass of ESM-2, written out over the parameters of an untouched ``EsmModel``.

B sequences lie end to end in one row of T tokens, BOS and EOS of each included. Everything but
attention works token by token; attention runs within each sequence, so that no token is padding.
D is the width, N the number of layers, H of heads, K = D / H the width of a head.

Products and attention are those of :class:`esmkit.encoder.operations.Operations`: PyTorch's, or
faster ones for a CPU that gave the same numbers when the model was loaded.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import torch

from esmkit.encoder.checkpoints.parts import LayerParts, Parts
from esmkit.encoder.forks import make_ready
from esmkit.encoder.operations import Operations, filled_up
from esmkit.encoder.packing import Group, Pack
from esmkit.encoder.rotary import Rotary, rotary_tables
from esmkit.encoder.stream import MapStream
from esmkit.encoder.watch import INSIDE, Watch, attention_in_steps, sum_in_steps
from esmkit.sequences.tokens import MASK

__all__ = ["Row", "embed_tokens", "encoder_layer", "enter", "forward", "remaining_layers"]

TRAIN_MASK_RATIO = 0.15 * 0.8
"""Share of tokens that were <mask> in training: 15 % chosen, 80 % of those masked (ESM-2)."""


@dataclass(frozen=True, slots=True)
class Row:
    """What all layers of one pass share.

    Attributes
    ----------
    groups : tuple of Group
        Which tokens of the row are one sequence.
    rotary : tuple of two torch.Tensor, shape (1, T, K)
        Cosines and sines of the positions.
    operations : Operations
        How products and attention are computed.
    stream : MapStream, optional
        Where attention maps go as they are made.
    watch : Watch
        Sees every activation, and may change it.
    """

    groups: tuple[Group, ...]
    rotary: Rotary
    operations: Operations
    stream: MapStream | None = None
    watch: Watch = Watch()  # noqa: RUF009 - it holds nothing


def forward(
    pack: Pack,
    parts: Parts,
    operations: Operations,
    *,
    layers: Collection[int],
    stream: MapStream | None = None,
    watch: Watch = Watch(),  # noqa: B008 - it holds nothing
) -> dict[int, torch.Tensor]:
    """Run the encoder over a pack.

    Parameters
    ----------
    pack : Pack
        B sequences of T tokens in all.
    parts : Parts
        The parameters.
    operations : Operations
    layers : collection of int
        Hidden states to return: 0 is the token embedding, N the last layer after the final norm.
    stream : MapStream, optional
    watch : Watch
        Sees every activation, and may change it.

    Returns
    -------
    dict from int to torch.Tensor, shape (T, D)
        The hidden states asked for.
    """
    tokens, last = pack.ids.shape[1], len(parts.layers)
    states = {}
    x, row = enter(pack, parts, operations, stream=stream, watch=watch)  # (1, T, D)
    for number, layer in enumerate(parts.layers):
        if number in layers:
            states[number] = x[0, :tokens]  # (T, D)
        x = encoder_layer(number, x, layer, row)  # (1, T, D)
    if last in layers:
        states[last] = watch.at(None, "final", parts.final_norm(x))[0, :tokens]  # (T, D)
    return states


def enter(
    pack: Pack,
    parts: Parts,
    operations: Operations,
    *,
    stream: MapStream | None = None,
    watch: Watch = Watch(),  # noqa: B008 - it holds nothing
) -> tuple[torch.Tensor, Row]:
    """Return hidden state 0, (1, T, D), and what the layers need beside it.

    On a CPU the row is filled up with zeros, once, to a size that products are fast on; these
    tokens belong to no sequence.
    """
    make_ready(pack.ids.device)
    x, positions = embed_tokens(pack, parts), pack.positions  # (1, T, D), (1, T)
    if x.device.type == "cpu":
        rows = operations.rows
        x, positions = filled_up(x, dim=1, rows=rows), filled_up(positions, dim=1, rows=rows)
    rotary = rotary_tables(positions, parts.inverse_frequencies, x.dtype)  # (1, T, K) each
    return watch.at(None, "embedding", x), Row(pack.groups, rotary, operations, stream, watch)


def embed_tokens(pack: Pack, parts: Parts) -> torch.Tensor:
    """Return the token embeddings after token dropout, (1, T, D).

    ``<mask>`` embeddings are zeroed and each sequence is scaled by (1 - 0.12) / (1 - its own share
    of masks). ``EsmModel`` takes that share over the whole row, which for a pack would mix the
    sequences.
    """
    embedded = parts.embedding(pack.ids)  # (1, T, D)
    if not parts.token_dropout:
        return embedded
    is_mask = pack.ids == MASK  # (1, T)
    exact = torch.promote_types(embedded.dtype, torch.float32)
    share = torch.zeros(pack.ids.shape, dtype=exact, device=pack.ids.device)
    if pack.has_mask:
        for _, tokens in pack.sequences():
            share[0, tokens] = is_mask[0, tokens].to(exact).mean()
    embedded = embedded.masked_fill(is_mask[..., None], 0.0)
    return (embedded * (1 - TRAIN_MASK_RATIO) / (1 - share)[..., None]).to(embedded.dtype)


def encoder_layer(number: int, x: torch.Tensor, layer: LayerParts, row: Row) -> torch.Tensor:
    """Run one layer: x + attention(norm(x)), then x + feed_forward(norm(x)).

    Every activation is shown to the row's watch under its name, and goes on as what that returns.

    Parameters
    ----------
    number : int
        Which layer it is, from 0.
    x : torch.Tensor, shape (1, T, D)
        The residual stream.
    layer : LayerParts
    row : Row

    Returns
    -------
    torch.Tensor, shape (1, T, D)
    """
    at = partial(row.watch.at, number)
    normed = at("attention_input", layer.attention_norm(x))  # (1, T, D)
    heads = attention(number, normed, layer, row).transpose(1, 2)  # (1, H, T, K)
    heads = at("head_output", heads).transpose(1, 2)  # (1, T, H, K)
    x = at("attention_residual", join_heads(number, heads, x, layer, row))
    normed = at("feed_forward_input", layer.feed_forward_norm(x))  # (1, T, D)
    return at("residual", feed_forward(number, normed, x, layer, row))


def attention(number: int, normed: torch.Tensor, layer: LayerParts, row: Row) -> torch.Tensor:
    """Let each token attend to the tokens of its sequence: (1, T, D) to (1, T, H, K)."""
    operations, watch = row.operations, row.watch
    width = row.rotary[0].shape[-1]  # K
    query, key, value = (
        watch.at(
            *(number, step),
            operations.linear(normed, projection)  # (1, T, D)
            .unflatten(-1, (-1, width))  # (1, T, H, K)
            .transpose(1, 2),  # (1, H, T, K)
        )
        for step, projection in (
            ("query", layer.query),
            ("key", layer.key),
            ("value", layer.value),
        )
    )
    observe = None if row.stream is None else partial(row.stream.observe, number)
    mixed = operations.attend(query, key, value, row.rotary, row.groups, observe)  # (1, T, H, K)
    if not watch.sees(number, *INSIDE):
        return mixed
    return attention_in_steps(number, (query, key, value), mixed, row.rotary, row.groups, watch)


def join_heads(
    number: int, heads: torch.Tensor, x: torch.Tensor, layer: LayerParts, row: Row
) -> torch.Tensor:
    """Return x + W^O heads: (1, T, H, K) and (1, T, D) to (1, T, D)."""
    linear, watch = row.operations.linear, row.watch
    total = linear(heads.flatten(2), layer.output, add=x)  # (1, T, D)
    if not watch.sees(number, "attention_output"):
        return total
    make = partial(linear, heads.flatten(2), layer.output)
    return sum_in_steps(number, "attention_output", x, total, make, watch)


def feed_forward(
    number: int, normed: torch.Tensor, x: torch.Tensor, layer: LayerParts, row: Row
) -> torch.Tensor:
    """Return x + W_2 GELU(W_1 normed + b_1) + b_2, all (1, T, D)."""
    operations, watch = row.operations, row.watch
    if not watch.sees(number, "feed_forward_hidden", "feed_forward_output"):
        return operations.feed_forward(normed, layer, add=x)
    if watch.edits(number, "feed_forward_hidden", "feed_forward_output"):
        hidden = watch.at(number, "feed_forward_hidden", operations.expand(normed, layer))
        total = operations.contract(hidden, layer, add=x)
    else:
        seen: list[torch.Tensor] = []
        total = operations.feed_forward(normed, layer, add=x, hidden=seen)
        hidden = watch.at(number, "feed_forward_hidden", seen[0])  # (1, T, F)
    if not watch.sees(number, "feed_forward_output"):
        return total
    make = partial(operations.contract, hidden, layer, add=torch.zeros_like(x))
    return sum_in_steps(number, "feed_forward_output", x, total, make, watch)


def remaining_layers(x: torch.Tensor, parts: Parts, row: Row, *, first: int) -> torch.Tensor:
    """Run the layers from ``first`` on, and the final norm: (1, T, D) to (1, T, D)."""
    for number in range(first, len(parts.layers)):
        x = encoder_layer(number, x, parts.layers[number], row)
    return row.watch.at(None, "final", parts.final_norm(x))
