"""The parts of an ``EsmModel`` under the names that esmkit uses, so that nobody else needs its own."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import EsmModel

__all__ = ["LayerParts", "Parts", "contact_layer", "frequency_buffers", "parts_of"]


@dataclass(frozen=True, slots=True)
class LayerParts:
    """The modules of one encoder layer, the network's own: a change of a weight is seen.

    Attributes
    ----------
    attention_norm, feed_forward_norm : torch.nn.LayerNorm
        Over D, before either half of the layer.
    query, key, value, output : torch.nn.Linear
        W^Q, W^K, W^V and W^O, D to D; head h has rows (of W^O: columns) h K to (h + 1) K.
    expand, contract : torch.nn.Linear
        The feed-forward half: D to its inner width, and back.
    """

    attention_norm: nn.Module
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear
    feed_forward_norm: nn.Module
    expand: nn.Linear
    contract: nn.Linear


@dataclass(frozen=True, slots=True)
class Parts:
    """The modules of a whole encoder.

    Attributes
    ----------
    embedding : torch.nn.Module
        Token ids to vectors of width D.
    token_dropout : bool
        Whether ``<mask>`` embeddings are zeroed and the rest rescaled.
    inverse_frequencies : torch.Tensor, shape (K / 2,)
        Frequencies of the rotary positions, as the checkpoint has them.
    heads : int
        H.
    layers : tuple of LayerParts, length N
    final_norm : torch.nn.Module
    """

    embedding: nn.Module
    token_dropout: bool
    inverse_frequencies: torch.Tensor
    heads: int
    layers: tuple[LayerParts, ...]
    final_norm: nn.Module


def parts_of(network: EsmModel) -> Parts:
    """Name the parts of a network; nothing is copied or changed, and it takes microseconds."""
    encoder: Any = network.encoder
    # Before transformers 5 each layer had a copy of the frequencies, all the same
    holder: Any = getattr(network, "rotary_embeddings", None)
    if holder is None:
        holder = encoder.layer[0].attention.self.rotary_embeddings
    return Parts(
        embedding=network.get_input_embeddings(),
        token_dropout=bool(network.config.token_dropout),
        inverse_frequencies=holder.inv_freq,
        heads=network.config.num_attention_heads,
        layers=tuple(_layer(layer) for layer in encoder.layer),
        final_norm=encoder.emb_layer_norm_after,
    )


def _layer(layer: Any) -> LayerParts:
    attention = layer.attention
    return LayerParts(
        attention_norm=attention.LayerNorm,
        query=attention.self.query,
        key=attention.self.key,
        value=attention.self.value,
        output=attention.output.dense,
        feed_forward_norm=layer.LayerNorm,
        expand=layer.intermediate.dense,
        contract=layer.output.dense,
    )


def contact_layer(network: EsmModel) -> nn.Linear:
    """Return the contact head: N * H inputs, layer by layer, and one output before the sigmoid."""
    head: Any = network.contact_head
    return head.regression


def frequency_buffers(network: EsmModel) -> dict[str, torch.Tensor]:
    """Return every buffer of rotary frequencies that a network holds, under its name."""
    return {name: b for name, b in network.named_buffers() if name.endswith("inv_freq")}
