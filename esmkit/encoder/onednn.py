"""Faster forms of what an EsmModel consists of, on a CPU: the same formulas, in fewer passes.

The class of a module is changed in the one network that is given; weights stay where they are, and
nothing of transformers or PyTorch is patched. Results differ by rounding:
``tests/test_real_checkpoint.py`` bounds it.

- Matrix products of float32 run in oneDNN. PyTorch has them from MKL, which uses half the width of
  the registers of processors that are not Intel's: on an AMD EPYC with AVX-512, two threads, 440
  instead of 190 billion operations a second. The weights need no other layout.
- GELU and the sum with the residual stream are done as the product is written, not in passes of
  their own; transformers spells the erf formula of GELU out in four. On other devices GELU has one.
"""

import contextlib
import ctypes
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, EsmModel
from transformers.models.esm import modeling_esm

__all__ = ["filled_up", "speed_up"]

# oneDNN keeps a compiled primitive, with scratch memory, for each of the last 1,024 shapes it has
# seen. Packs have ever new shapes: on a proteome of 2,100 proteins that cost 0.7 GB, growing from
# start to end, for GELU alone. Products therefore run on blocks of few sizes, whose primitives fit
# here. Read when the first primitive is made; a user's value stays.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

MOST_ROWS = 1024
ROWS = 64
"""oneDNN gets blocks of 1,024 tokens and a last one of a multiple of 64, filled up with zeros."""

MOST_KEPT_BYTES = 4 * 2**20
"""Of a weight whose parts are kept as copies beside it."""

FEED_FORWARD_PARTS = 2
"""Parts of the inner width that are summed one after the other.

On the demo proteins the last hidden state is then at most 1.2e-5 from that in float64, as it is with
MKL's products; with one part 1.6e-5, at the same speed; with four 1.2e-5 and a tenth slower."""


def _onednn() -> Any:
    """Return oneDNN's linear product with fused operations, or None if this PyTorch lacks it."""
    if not torch.backends.mkldnn.is_available():
        return None
    try:
        return torch.ops.mkldnn._linear_pointwise
    except AttributeError:
        return None


def filled_up(x: torch.Tensor, *, dim: int) -> torch.Tensor:
    """Add zeros to a dimension up to a multiple of 64; what has such a size already is returned."""
    missing = -x.shape[dim] % ROWS
    if not missing:
        return x
    return nn.functional.pad(x, (0, 0) * (x.ndim - 1 - dim) + (0, missing))


def _in_blocks(fast: Callable[..., torch.Tensor], *rows: torch.Tensor) -> torch.Tensor:
    """Apply a function of rows to blocks of few sizes; the last is filled up with zeros."""
    tokens = rows[0].shape[-2]
    parts = []
    for start in range(0, tokens, MOST_ROWS):
        block = [x[..., start : start + MOST_ROWS, :] for x in rows]
        parts.append(fast(*(filled_up(x, dim=x.ndim - 2) for x in block)))
    whole = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2)
    return whole if tokens % ROWS == 0 else whole[..., :tokens, :].contiguous()


def _columns(dense: nn.Linear, parts: int) -> list[torch.Tensor]:
    """Return parts of the columns of a weight, what a sum is cut into, each contiguous.

    Those of small weights, up to the 35M model's, are kept until the weight is changed: to copy them
    for each product takes 3 % of the time.
    """
    weight = dense.weight
    state = (parts, weight.data_ptr(), weight._version)
    kept = dense.__dict__.get("_kept_columns")
    if kept is not None and kept[0] == state:
        return kept[1]
    width = -(-dense.in_features // parts)
    columns = [weight[:, at : at + width].contiguous() for at in range(0, dense.in_features, width)]
    if weight.nbytes <= MOST_KEPT_BYTES:
        dense.__dict__["_kept_columns"] = (state, columns)
    return columns


class _Linear(nn.Linear):
    """A linear product by oneDNN, in two halves of what is summed over: less is rounded."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return _in_blocks(self._fast, input)

    def _fast(self, x: torch.Tensor) -> torch.Tensor:
        product, (first, second) = _onednn(), _columns(self, 2)
        half = first.shape[1]
        summed = product(x[..., :half], first, self.bias, "none", [], "")
        return product.binary(x[..., half:], summed, second, None, "add")


class _SelfAttention(modeling_esm.EsmSelfAttention):
    """Self-attention that leaves scale and rotary positions to the packed attention."""

    def forward(self, hidden_states: torch.Tensor, *rest: Any, **options: Any) -> Any:
        if "groups" not in options:
            return super().forward(hidden_states, *rest, **options)
        rotary = options.pop("position_embeddings")
        tokens = hidden_states.shape[1]
        filled = filled_up(hidden_states, dim=1)  # once for all three
        query, key, value = (
            product(filled)[:, :tokens]
            .unflatten(-1, (self.num_attention_heads, self.attention_head_size))
            .transpose(1, 2)  # (1, H, T, K)
            for product in (self.query, self.key, self.value)
        )
        attend = AttentionInterface()[self.config._attn_implementation]
        scaling = self.attention_head_size**-0.5
        options.pop("attention_mask", None)
        mixed, _ = attend(self, query, key, value, None, scaling=scaling, rotary=rotary, **options)
        return mixed.flatten(2), None


class _Intermediate(modeling_esm.EsmIntermediate):
    """The first half of the feed-forward layer with a GELU in one pass."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return nn.functional.gelu(self.dense(hidden_states))


class _Layer(modeling_esm.EsmLayer):
    """A layer whose feed-forward half is done in parts of its inner width."""

    def feed_forward_chunk(self, attention_output: torch.Tensor) -> torch.Tensor:
        normed = self.LayerNorm(attention_output)
        return _in_blocks(self._fast, normed, attention_output)

    def _fast(self, normed: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        product, expand, contract = _onednn(), self.intermediate.dense, self.output.dense
        summed, bias = residual, contract.bias
        # The fewer products a sum runs over, the less it is rounded; and a part of the widest
        # tensor stays in the cache where the whole does not.
        start = 0
        for columns in _columns(contract, FEED_FORWARD_PARTS):
            part = slice(start, start + columns.shape[1])
            inner = product(normed, expand.weight[part], expand.bias[part], "gelu", [], "none")
            summed = product.binary(inner, summed, columns, bias, "add")
            start, bias = part.stop, None
        return summed


class _SelfOutput(modeling_esm.EsmSelfOutput):
    """W^O and the sum with the residual stream."""

    def forward(self, hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
        product, weight, bias = _onednn(), self.dense.weight, self.dense.bias
        return _in_blocks(
            lambda x, residual: product.binary(x, residual, weight, bias, "add"),
            hidden_states,
            input_tensor,
        )


def keep_freed_memory() -> None:
    """Let the C library keep what PyTorch frees, to be used again; a user's own setting stays.

    Activations take a megabyte each. glibc gives so much back to the system at once, which hands it
    out again in pages filled with zeros: an eighth of the time of an embedding. It now keeps up to
    256 MiB. Other C libraries have no such setting.
    """
    if {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():
        return
    with contextlib.suppress(OSError, AttributeError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(-3, 32 * 2**20)  # M_MMAP_THRESHOLD: the most that it allows
        set_option(-1, 256 * 2**20)  # M_TRIM_THRESHOLD


def speed_up(network: EsmModel) -> None:
    """Change the classes of a network's modules to the faster ones, where they can be used.

    Parameters
    ----------
    network : transformers.EsmModel
        In evaluation mode, on its device and in its dtype; dropout takes no part.
    """
    first = next(network.parameters())
    on_cpu = first.device.type == "cpu" and first.dtype == torch.float32 and _onednn() is not None
    if first.device.type == "cpu":
        keep_freed_memory()
    for module in network.modules():
        if type(module) is modeling_esm.EsmIntermediate:
            module.__class__ = _Intermediate
        if on_cpu and type(module) is modeling_esm.EsmLayer:
            module.__class__ = _Layer
        if on_cpu and type(module) is modeling_esm.EsmSelfAttention:
            for product in (module.query, module.key, module.value):
                product.__class__ = _Linear
            module.__class__ = _SelfAttention
        if on_cpu and type(module) is modeling_esm.EsmSelfOutput:
            module.__class__ = _SelfOutput
