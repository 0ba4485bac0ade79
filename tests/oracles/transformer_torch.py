"""Whole transformers in PyTorch with the weights of `esmkit.reference.transformer`.

`layers_of` gives PyTorch's own layers, post-LN with ReLU, for positions that are added to the
embedding. `TorchTransformer` is written out: for gradients by autograd, to count operations, and for
rotary positions, which it applies as a multiplication of complex numbers.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from esmkit.reference import transformer as blueprint
from esmkit.reference.training import tree_arrays, tree_map


def perturbed(model: Any, seed: int = 7, by: float = 0.1) -> Any:
    """Move every number of a model, so that gains are not 1 and biases not 0."""
    generator = np.random.default_rng(seed)
    return tree_map(lambda array: array + by * generator.normal(size=array.shape), model)


def _fill(linear: Any, p: Any) -> None:
    linear.weight.copy_(torch.tensor(p.weight))
    linear.bias.copy_(torch.tensor(p.bias))


def _fill_attention(module: nn.MultiheadAttention, p: Any) -> None:
    parts = (p.query, p.key, p.value)
    module.in_proj_weight.copy_(torch.tensor(np.concatenate([part.weight for part in parts])))
    module.in_proj_bias.copy_(torch.tensor(np.concatenate([part.bias for part in parts])))
    _fill(module.out_proj, p.output)


def layers_of(stack: Any) -> nn.Module:
    """PyTorch's own encoder or decoder with the weights of a stack; no norm after the last layer."""
    decoder = isinstance(stack, blueprint.DecoderStack)
    width, hidden = stack.embedding.shape[1], len(stack.layers[0].expand.bias)
    kind: Any = nn.TransformerDecoderLayer if decoder else nn.TransformerEncoderLayer
    sizes = {"dropout": 0.0, "batch_first": True, "dtype": torch.float64}
    layer = kind(width, stack.heads, hidden, **sizes)
    if decoder:
        module: Any = nn.TransformerDecoder(layer, len(stack.layers))
    else:
        module = nn.TransformerEncoder(layer, len(stack.layers), enable_nested_tensor=False)
    with torch.no_grad():
        for one, p in zip(module.layers, stack.layers, strict=True):
            _fill_attention(one.self_attn, p.attention)
            _fill(one.linear1, p.expand)
            _fill(one.linear2, p.contract)
            norms = [p.attention_norm, p.feed_forward_norm]
            if decoder:
                _fill_attention(one.multihead_attn, p.cross_attention)
                norms.insert(1, p.cross_attention_norm)
            for number, norm in enumerate(norms, start=1):
                _fill(getattr(one, f"norm{number}"), norm)
    return module


class TorchTransformer:
    """A Transformer or DecoderOnly whose numbers are PyTorch's leaves.

    Parameters
    ----------
    model : Transformer or DecoderOnly
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.leaves = {
            name: torch.tensor(array, requires_grad=True)
            for name, array in tree_arrays(model).items()
        }

    def gradients(self) -> dict[str, np.ndarray]:
        """After ``backward()``: gradients by name, 0 where autograd found no way."""
        return {
            name: np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy()
            for name, leaf in self.leaves.items()
        }

    def logits(self, ids: Any, *, source: Any = None, places: Any = None, **padding: Any) -> Tensor:
        """Return (B, T, V); `padding` is present and source_present, (B, T) and (B, S) bool."""
        memory, turn = None, None
        if source is not None:
            memory, turn = self._stack(
                "encoder", self.model.encoder, source, None, None, padding.get("source_present")
            )
        x, _ = self._stack(
            "decoder",
            self.model.decoder,
            ids,
            places,
            (memory, turn, padding.get("source_present")),
            padding.get("present"),
        )
        return self._linear("output", x)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self.leaves[f"{name}.weight"], self.leaves[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.leaves[f"{name}.weight"], self.leaves[f"{name}.bias"]
        return functional.layer_norm(x, x.shape[-1:], weight, bias)

    def _stack(
        self, name: str, stack: Any, ids: Any, places: Any, beside: Any, present: Any
    ) -> tuple[Tensor, Tensor | None]:
        ids = torch.tensor(np.asarray(ids))
        where = torch.arange(ids.shape[1]) if places is None else torch.tensor(places)
        width, turn = stack.embedding.shape[1], None
        x = functional.embedding(ids, self.leaves[f"{name}.embedding"]) * math.sqrt(width)
        if stack.positions == "sinusoidal":
            waves = torch.arange(0, width, 2, dtype=torch.float64) / width
            angles = where[:, None] / 10_000.0**waves
            x = x + torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        elif stack.positions == "learned":
            x = x + self.leaves[f"{name}.table"][where]
        else:
            head = width // stack.heads
            rates = 10_000.0 ** -(torch.arange(0, head, 2, dtype=torch.float32) / head)
            angles = where[:, None] * rates.double()
            turn = torch.polar(torch.ones_like(angles), angles)  # (T, K/2) complex
        causal = beside is not None
        for number in range(len(stack.layers)):
            layer = f"{name}.layers.{number}"
            mask = _mask(ids, ids, present, causal)
            added = self._attend(f"{layer}.attention", x, x, stack.heads, mask, turn, turn)
            x = self._norm(f"{layer}.attention_norm", x + added)
            if beside is not None and beside[0] is not None:
                memory, memory_turn, kept = beside
                mask = _mask(ids, memory[..., 0], kept, False)
                added = self._attend(
                    f"{layer}.cross_attention", x, memory, stack.heads, mask, turn, memory_turn
                )
                x = self._norm(f"{layer}.cross_attention_norm", x + added)
            hidden = self._linear(f"{layer}.expand", x).relu()
            x = self._norm(
                f"{layer}.feed_forward_norm", x + self._linear(f"{layer}.contract", hidden)
            )
        return x, turn

    def _attend(self, name: str, x: Any, y: Any, heads: int, mask: Any, turn: Any, other: Any):
        def split(part: str, x: Tensor) -> Tensor:
            return self._linear(f"{name}.{part}", x).unflatten(-1, (heads, -1)).transpose(1, 2)

        query, key, value = split("query", x), split("key", y), split("value", y)
        if turn is not None:
            query, key = _turned(query, turn), _turned(key, other)
        # Written out, for PyTorch's own counter of operations passes over its fused attention
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        out = scores.masked_fill(~mask, -math.inf).softmax(dim=-1) @ value
        return self._linear(f"{name}.output", out.transpose(1, 2).flatten(2))


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    turned = torch.complex(first, second) * turn
    return torch.cat([turned.real, turned.imag], dim=-1)


def _mask(ids: Tensor, others: Tensor, present: Any, causal: bool) -> Tensor:
    mask = torch.ones(len(ids), 1, ids.shape[1], others.shape[1], dtype=torch.bool)
    if causal:
        mask = mask.tril()
    if present is not None:
        mask = mask & torch.tensor(present)[:, None, None, :]
    return mask
