"""Hidden states, attention maps and contacts of the same proteins, computed by each implementation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.encoder import packing
from esmkit.encoder.checkpoints.network import load_network
from esmkit.encoder.encoder import Encoder
from esmkit.reference import encoder as reference
from esmkit.sequences.tokens import PAD

__all__ = ["Array", "Implementations"]

Array = NDArray[np.floating[Any]]
Outputs = tuple[Sequence[Array], Sequence[Array]]


class Implementations:
    """The three implementations with the same weights, one protein or one padded batch at a time."""

    def __init__(self, model: Encoder) -> None:
        self.model = model
        network, _ = load_network(model.checkpoint)
        network.set_attn_implementation("eager")
        self.network = network.eval()
        tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        if not model.has_contact_head:
            tensors = {n: t for n, t in tensors.items() if not n.startswith("contact_head")}
        self.parameters = reference.read_parameters(tensors, model.heads)

    @torch.inference_mode()
    def hugging_face(self, ids: NDArray[np.int64]) -> tuple[list[Array], list[Array], Array | None]:
        """Hidden states (B, T, D), attentions (B, H, T, T) and contacts of ids (B, T)."""
        tokens = torch.from_numpy(ids)
        mask = (tokens != PAD).long()
        output = self.network(
            tokens, attention_mask=mask, output_hidden_states=True, output_attentions=True
        )
        contacts = None
        if self.model.has_contact_head:
            contacts = self.network.predict_contacts(tokens, mask).numpy()
        states = [state.numpy() for state in output.hidden_states]
        return states, [maps.numpy() for maps in output.attentions], contacts

    def reference(self, ids: NDArray[np.int64]) -> tuple[Outputs, Array | None]:
        """Compute the same from scratch, in float64."""
        encoding = reference.encode(self.parameters, ids, attentions=True)
        maps = encoding.attentions or ()
        contacts = None
        if self.model.has_contact_head:
            contacts = reference.contact_probabilities(self.parameters, maps, ids)
        return (encoding.hidden_states, maps), contacts

    def packed(self, ids: NDArray[np.int64], neighbours: Sequence[NDArray[np.int64]]) -> Array:
        """All hidden states (N+1, T, D) of a sequence that shares a pack with others."""
        return np.asarray(self.model.hidden_states([*neighbours, ids], "all")[-1])

    def streamed(self, ids: NDArray[np.int64]) -> list[Array]:
        """Attention maps (H, T, T) of one sequence, layer by layer, as the stream hands them out."""
        shape = (self.model.heads, len(ids), len(ids))
        maps: list[Array] = [np.zeros(shape, np.float32) for _ in range(self.model.layers)]

        def keep(layer: int, _: int, heads: Sequence[int], block: torch.Tensor) -> None:
            maps[layer][list(heads)] = block.cpu().numpy()

        pack = packing.pack([ids], self.model.device)
        self.model.forward(pack, [self.model.layers], sink=keep)
        return maps
