"""The fast form for float32 on a CPU: products of oneDNN or MKL, and attention compiled for it.

The same formulas in fewer passes over memory, over the network's own weights; nothing of PyTorch or
transformers is changed. Results differ by rounding: ``tests/test_real_checkpoint.py`` bounds it.

- Matrix products of float32 run in oneDNN where there is AVX-512. PyTorch has them from MKL, which uses
  half the width of the registers of processors that are not Intel's: on an AMD EPYC with AVX-512, two
  threads, 440 instead of 190 billion operations a second. Without AVX-512 MKL uses all there is: there
  they stay PyTorch's (:func:`onednn_is_faster`).
- Small weights are kept beside the network's in the layout in which oneDNN reads them, which it would
  otherwise make for each product.
- GELU and the sum with the residual stream are done as oneDNN's product is written; after PyTorch's on a
  block that is still in the cache.

oneDNN's products have no public name in PyTorch, and may change or go. So they are tried against
PyTorch's when a model is loaded (:mod:`esmkit.encoder.trial`), and PyTorch's take their place if
anything is wrong.
"""

import itertools
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from esmkit.encoder.blocks import BlockOperations, is_plain
from esmkit.encoder.checkpoints.parts import LayerParts
from esmkit.encoder.compiled import compile_attention
from esmkit.encoder.operations import ROWS, Observe, filled_up, starts_of
from esmkit.encoder.packing import Group
from esmkit.encoder.rotary import Rotary, rotate
from esmkit.encoder.threads import threads_of_a_pass

__all__ = ["FastOperations", "in_blocks", "onednn_is_faster", "onednn_product"]

MOST_ROWS = 1024
"""oneDNN gets blocks of 1,024 tokens for each thread that shares a pass, and a last one of a multiple of
64, filled up with zeros.

It keeps a compiled primitive, with scratch memory, for each of the last shapes that it has seen (see
:func:`esmkit.encoder.process.tune_process`), and packs have ever new shapes."""

MOST_KEPT_BYTES = 4 * 2**20
"""Largest weight of which copies are kept beside it, in oneDNN's layout: those of the 35M model."""

FEED_FORWARD_PARTS = 2
"""Parts of the inner width that are summed one after the other.

On the demo proteins the last hidden state is then at most 1.2e-5 from that in float64, with MKL's
products 1e-5; with one part 1.6e-5, at the same speed; with four 1.2e-5 and a tenth slower."""


def onednn_is_faster() -> bool:
    """Say whether oneDNN's products are to be tried: not where PyTorch has MKL's, and no AVX-512."""
    return not (
        torch.backends.mkl.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX2"
    )


def onednn_product() -> Any:
    """Return oneDNN's linear product with fused operations.

    Raises
    ------
    RuntimeError
        If this PyTorch lacks it.
    """
    if not torch.backends.mkldnn.is_available():
        raise RuntimeError("this PyTorch is built without oneDNN")
    try:
        return torch.ops.mkldnn._linear_pointwise
    except AttributeError:
        raise RuntimeError("this PyTorch lacks its linear product") from None


class FastOperations(BlockOperations):
    """oneDNN's products or PyTorch's in blocks, and attention, compiled or PyTorch's.

    Parameters
    ----------
    products : bool
        Whether products are oneDNN's.
    compiled : bool
        Whether attention is compiled for this CPU.
    """

    def __init__(self, *, products: bool, compiled: bool) -> None:
        self.products = products
        self.compiled = compiled
        self.rows: int = ROWS if products else BlockOperations.rows
        self._weights = _Weights()

    def __getstate__(self) -> dict[str, Any]:
        return {"products": self.products, "compiled": self.compiled}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def linear(
        self, x: torch.Tensor, dense: nn.Linear, *, add: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return W x + b, plus ``add``; without it in two halves of the sum: less is rounded."""
        if not (self.products and is_plain(x, dense)):
            return super().linear(x, dense, add=add)
        product, bias = onednn_product(), dense.bias
        if add is not None:
            (weight,) = self._weights.rows(dense, 1)
            return in_blocks(lambda x, add: product.binary(x, add, weight, bias, "add"), x, add)
        first, second = self._weights.columns(dense, 2)
        half = first.shape[1]

        def in_halves(x: torch.Tensor) -> torch.Tensor:
            summed = product(x[..., :half], first, bias, "none", [], "")
            return product.binary(x[..., half:], summed, second, None, "add")

        return in_blocks(in_halves, x)

    def feed_forward(
        self,
        normed: torch.Tensor,
        layer: LayerParts,
        *,
        add: torch.Tensor,
        hidden: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return W_2 GELU(W_1 x + b_1) + b_2, plus ``add``, in parts of the inner width."""
        expand, contract = layer.expand, layer.contract
        if not (self.products and is_plain(normed, expand) and is_plain(normed, contract)):
            return super().feed_forward(normed, layer, add=add, hidden=hidden)
        product, parts = onednn_product(), self._inner(layer)
        seen: list[torch.Tensor] = []  # the parts of each block

        def in_parts(normed: torch.Tensor, summed: torch.Tensor) -> torch.Tensor:
            # The fewer products a sum runs over, the less it is rounded; and a part of the widest
            # tensor stays in the cache where the whole does not.
            bias = contract.bias
            for part, rows, columns in parts:
                inner = product(normed, rows, expand.bias[part], "gelu", [], "none")
                summed = product.binary(inner, summed, columns, bias, "add")
                bias = None
                if hidden is not None:
                    seen.append(inner)
            return summed

        total = in_blocks(in_parts, normed, add)
        if hidden is not None:
            blocks = zip(*[iter(seen)] * len(parts), strict=True)
            whole = torch.cat([torch.cat(block, dim=-1) for block in blocks], dim=-2)
            hidden.append(whole[..., : normed.shape[-2], :])
        return total

    def expand(self, normed: torch.Tensor, layer: LayerParts) -> torch.Tensor:
        """Return GELU(W_1 x + b_1), made as in :meth:`feed_forward`, to the last bit."""
        expand, contract = layer.expand, layer.contract
        if not (self.products and is_plain(normed, expand) and is_plain(normed, contract)):
            return super().expand(normed, layer)
        product, parts = onednn_product(), self._inner(layer)

        def in_parts(normed: torch.Tensor) -> torch.Tensor:
            made = [
                product(normed, rows, expand.bias[part], "gelu", [], "none")
                for part, rows, _ in parts
            ]
            return torch.cat(made, dim=-1)

        return in_blocks(in_parts, normed)

    def contract(
        self, hidden: torch.Tensor, layer: LayerParts, *, add: torch.Tensor
    ) -> torch.Tensor:
        """Return W_2 h + b_2, plus ``add``, summed as in :meth:`feed_forward`, to the last bit."""
        contract = layer.contract
        if not (self.products and is_plain(hidden, layer.expand) and is_plain(hidden, contract)):
            return super().contract(hidden, layer, add=add)
        product, parts = onednn_product(), self._inner(layer)

        def in_parts(hidden: torch.Tensor, summed: torch.Tensor) -> torch.Tensor:
            bias = contract.bias
            for part, _, columns in parts:
                inner = hidden[..., part].contiguous()
                summed = product.binary(inner, summed, columns, bias, "add")
                bias = None
            return summed

        return in_blocks(in_parts, hidden, add)

    def _inner(self, layer: LayerParts) -> list[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Return the parts of the inner width: which units, their rows of W_1, their columns of W_2."""
        rows = self._weights.rows(layer.expand, FEED_FORWARD_PARTS)
        columns = self._weights.columns(layer.contract, FEED_FORWARD_PARTS)
        stops = itertools.accumulate(part.shape[1] for part in columns)
        parts = [slice(a, b) for a, b in itertools.pairwise([0, *stops])]
        return list(zip(parts, rows, columns, strict=True))

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rotary: Rotary,
        groups: tuple[Group, ...],
        observe: Observe | None = None,
    ) -> torch.Tensor:
        """Attend within each sequence, once for the whole row; see :meth:`Operations.attend`."""
        given = (query, key, value, *rotary)
        if not self.compiled or any(
            x.dtype != torch.float32 or x.device.type != "cpu" or x.stride(-1) != 1 for x in given
        ):
            return super().attend(query, key, value, rotary, groups, observe)
        scaling = query.shape[-1] ** -0.5
        if observe is not None:
            observe(rotate(query, *rotary), rotate(key, *rotary), scaling)
        starts = starts_of(groups, query.shape[2])
        turns = rotary[0][0], rotary[1][0]
        return compile_attention()(query[0], key[0], value[0], starts, scaling, turns)[None]


def in_blocks(fast: Callable[..., torch.Tensor], *rows: torch.Tensor) -> torch.Tensor:
    """Apply a function of rows to blocks of few sizes; the last is filled up with zeros."""
    tokens, most = rows[0].shape[-2], MOST_ROWS * threads_of_a_pass()
    parts = []
    for start in range(0, max(1, tokens), most):
        block = [x[..., start : start + most, :] for x in rows]
        parts.append(fast(*(filled_up(x, dim=x.ndim - 2) for x in block)))
    whole = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2)
    return whole if whole.shape[-2] == tokens else whole[..., :tokens, :].contiguous()


class _Weights:
    """Weights as products take them: in parts of their rows or columns, each contiguous.

    Of small weights they are kept in oneDNN's own layout until the weight is changed: to copy the parts
    for each product takes 3 % of the time, and oneDNN would lay them out anew each time. What is written
    behind PyTorch's back (``weight.data``, a NumPy array that shares its memory) is not seen; what is
    written under ``torch.no_grad()`` is.
    """

    def __init__(self) -> None:
        self._kept: weakref.WeakKeyDictionary[
            nn.Linear, dict[tuple[int, int], tuple[Any, list[torch.Tensor], torch.Tensor]]
        ] = weakref.WeakKeyDictionary()

    def rows(self, dense: nn.Linear, parts: int) -> list[torch.Tensor]:
        """Return a weight, (outputs, inputs), in parts of its outputs."""
        return self._of(dense, parts, 0)

    def columns(self, dense: nn.Linear, parts: int) -> list[torch.Tensor]:
        """Return a weight in parts of its inputs, what a sum is cut into."""
        return self._of(dense, parts, 1)

    def _of(self, dense: nn.Linear, parts: int, dim: int) -> list[torch.Tensor]:
        weight = dense.weight
        # A tensor made in inference mode may change without a trace: nothing is kept of it
        tracked = not weight.is_inference()
        state = (weight.data_ptr(), weight._version if tracked else None)
        kept = self._kept.setdefault(dense, {})
        if tracked and (known := kept.get((parts, dim))) is not None and known[0] == state:
            return known[1]
        width = -(-weight.shape[dim] // parts)
        made = [part.contiguous() for part in weight.detach().split(width, dim)]
        if tracked and weight.nbytes <= MOST_KEPT_BYTES:
            made = [_laid_out(part) for part in made]
            # With the weight itself: no other is laid where it is while its copies are here
            kept[parts, dim] = (state, made, weight.detach())
        return made


def _laid_out(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight in the layout that oneDNN wants for a block of rows, or as it is."""
    try:
        return torch.ops.mkldnn._reorder_linear_weight(weight, MOST_ROWS)
    except (AttributeError, RuntimeError):  # it has no public name either
        return weight
