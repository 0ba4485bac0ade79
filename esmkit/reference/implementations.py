"""Hidden states, attention maps, contacts and logits of the same proteins, by each implementation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.encoder import packing
from esmkit.encoder.checkpoints.network import (
    load_masked_lm,
    load_network,
    use_eager_attention,
)
from esmkit.encoder.encoder import Encoder
from esmkit.reference import encoder as reference
from esmkit.reference import masked_lm
from esmkit.reference.fair_esm import fair_esm_network
from esmkit.sequences.tokens import PAD

if TYPE_CHECKING:
    from transformers import EsmForMaskedLM, EsmModel

    from esmkit.encoder.lm_head import LmHead

__all__ = ["Array", "Implementations", "Outputs"]

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Outputs:
    """What one implementation says of a padded batch of token ids (B, T)."""

    states: Sequence[Array]
    """N + 1 of (B, T, D)."""
    maps: Sequence[Array]
    """N of (B, H, T, T)."""
    contacts: Array | None
    """(B, R, R); None without a contact head."""
    logits: Array | None
    """(B, T, 33); None without a masked-LM head."""


class Implementations:
    """The implementations with the same weights, one protein or one padded batch at a time.

    Parameters
    ----------
    model : Encoder
        In float32.

    Attributes
    ----------
    lm_head : LmHead or None
        The masked-LM head of ``model``.
    has_fair_esm : bool
        Whether fair-esm is installed, and there is a head whose logits it can compute.
    """

    def __init__(self, model: Encoder) -> None:
        self.model = model
        self.lm_head: LmHead | None = model.lm_head if model.has_lm_head else None
        network, _ = load_network(model.checkpoint)
        use_eager_attention(network)
        self.network: EsmModel = network.eval()
        tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        if not model.has_contact_head:
            tensors = {n: t for n, t in tensors.items() if not n.startswith("contact_head")}
        self.parameters: reference.Parameters = reference.read_parameters(tensors, model.heads)
        self.masked_lm: EsmForMaskedLM | None = None
        self.has_fair_esm: bool = False
        self._fair_esm = None
        if self.lm_head is None:
            return
        fitted = self.lm_head.facts["source"] == "fitted"
        own = self.lm_head.weights.tensors() if fitted else None
        self.masked_lm = load_masked_lm(model.checkpoint, self.network, own).eval()
        state = {name: tensor.detach() for name, tensor in self.masked_lm.state_dict().items()}
        self._head = masked_lm.read_masked_lm_head(
            {name: tensor.numpy() for name, tensor in state.items()},
            None if own is None else {name: tensor.numpy() for name, tensor in own.items()},
        )
        self._fair_esm = fair_esm_network(state, self.network.config)
        self.has_fair_esm = self._fair_esm is not None

    @torch.inference_mode()
    def hugging_face(self, ids: NDArray[np.int64]) -> Outputs:
        """Compute everything for ids (B, T) with transformers, in float32."""
        tokens = torch.from_numpy(ids)
        mask = (tokens != PAD).long()
        network: Any = self.masked_lm or self.network
        output = network(
            tokens, attention_mask=mask, output_hidden_states=True, output_attentions=True
        )
        contacts = None
        if self.model.has_contact_head:
            contacts = self.network.predict_contacts(tokens, mask).numpy()
        states = [state.numpy() for state in output.hidden_states]
        maps = [maps.numpy() for maps in output.attentions]
        logits = None if self.masked_lm is None else output.logits.numpy()
        return Outputs(states, maps, contacts, logits)

    def reference(self, ids: NDArray[np.int64], *, attentions: bool = True) -> Outputs:
        """Compute the same from scratch, in float64."""
        encoding = reference.encode(self.parameters, ids, attentions=attentions)
        maps = encoding.attentions or ()
        contacts = logits = None
        if self.model.has_contact_head and attentions:
            contacts = reference.contact_probabilities(self.parameters, maps, ids)
        if self.lm_head is not None:
            logits = masked_lm.masked_lm_logits(encoding, self._head)
        return Outputs(encoding.hidden_states, maps, contacts, logits)

    @torch.inference_mode()
    def fair_esm(self, ids: NDArray[np.int64]) -> Array:
        """Compute the logits (B, T, 33) of ids (B, T) with fair-esm, in float32."""
        network: Any = self._fair_esm
        return network(torch.from_numpy(ids))["logits"].numpy()

    def packed(self, ids: NDArray[np.int64], neighbours: Sequence[NDArray[np.int64]]) -> Array:
        """All hidden states (N+1, T, D) of a sequence that shares a pack with others."""
        return np.asarray(self.model.hidden_states([*neighbours, ids], "all")[-1])

    def logits(self, states: Array) -> Array:
        """Logits (T, 33) from all hidden states (N+1, T, D), by esmkit's own head."""
        head: Any = self.lm_head
        with torch.inference_mode():
            last = torch.from_numpy(states[-1]).to(self.model.device)
            return head.logits(last).cpu().numpy()

    def streamed(self, ids: NDArray[np.int64]) -> list[Array]:
        """Attention maps (H, T, T) of one sequence, layer by layer, as the stream hands them out."""
        shape = (self.model.heads, len(ids), len(ids))
        maps: list[Array] = [np.zeros(shape, np.float32) for _ in range(self.model.layers)]

        def keep(layer: int, _: int, heads: Sequence[int], block: torch.Tensor) -> None:
            maps[layer][list(heads)] = block.cpu().numpy()

        pack = packing.pack([ids], self.model.device)
        self.model.forward(pack, [self.model.layers], sink=keep)
        return maps
