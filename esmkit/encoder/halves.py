"""The fast form for bfloat16 on a CPU that multiplies bfloat16: products, norms and attention of halves.c.

One instruction multiplies two pairs of bfloat16 where one pair of float32 fits. Products are of bfloat16
and summed in float32; so are scores and softmax, and the residual stream and its norms stay float32 from the first layer to
the last: each step is rounded once, where the next one reads it. Results are of the model's data type.

The library is compiled for the CPU at hand and tried against PyTorch when a model is loaded, as that of
:mod:`esmkit.encoder.compiled`; elsewhere bfloat16 is PyTorch's.
"""

import ctypes
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from esmkit.encoder.checkpoints.parts import LayerParts, Parts
from esmkit.encoder.compiled import compile_library
from esmkit.encoder.operations import Observe, Operations, starts_of
from esmkit.encoder.packing import Group
from esmkit.encoder.rotary import Rotary, rotate

__all__ = ["HalfOperations", "halves_library", "try_library", "with_wide_stream"]

SOURCE = Path(__file__).with_name("halves.c")

NEEDS = ("__AVX512BF16__", "products of bfloat16 (AVX512-BF16)")
"""The macro of compilers, and what it stands for."""

FLAGS: tuple[str, ...] = ()
"""Further flags; ``-DESMKIT_PLAIN`` compiles the same in plain C, for any processor, and slow."""

PANEL = 64
"""Outputs that are packed together."""

LANES = 16
"""Widths are multiples of this."""

MOST_HEAD_WIDTH = 256

HALVES, GELU, FLOATS = range(3)
"""What becomes of the sums of a product: see ``halves.c``."""


class _Product(ctypes.Structure):
    """The struct of the same name in ``halves.c``."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "w", "bias", "add", "out")),
        *((name, ctypes.c_int64) for name in ("x_row", "add_row", "out_row")),
        *((name, ctypes.c_int64) for name in ("rows", "inputs", "outputs", "kind")),
    ]


class _Tensors(ctypes.Structure):
    """The struct of the same name in ``halves.c``."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "out", "cosines", "sines")),
        *(
            (f"{name}_{axis}", ctypes.c_int64)
            for name in ("q", "k", "v", "out")
            for axis in ("head", "token")
        ),
    ]


@cache
def halves_library() -> ctypes.CDLL:
    """Compile and load ``halves.c``, or find it in the cache.

    Raises
    ------
    OptionError
        If the processor lacks what it is made of, or it cannot be compiled.
    """
    needs = None if "-DESMKIT_PLAIN" in FLAGS else NEEDS
    _, path = compile_library(SOURCE, trial=f"{__name__}:try_library", flags=FLAGS, needs=needs)
    return _load(path)


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    pointer, whole, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    library.esmkit_product.argtypes = [pointer, whole]
    library.esmkit_product.restype = None
    library.esmkit_norm.argtypes = [*[pointer] * 4, long, long, ctypes.c_float, whole]
    library.esmkit_norm.restype = None
    library.esmkit_attention.argtypes = [
        *(pointer, pointer, whole, whole, whole, ctypes.c_float, whole)
    ]
    library.esmkit_attention.restype = whole
    return library


def try_library(path: str) -> None:
    """Load a compiled library and compute with it; done in a process of its own."""
    library = _load(Path(path))
    x = torch.ones(7, 32)
    weights = _Packed.of(torch.ones(48, 32), torch.ones(48))
    half = _norm(library, x, torch.ones(32), torch.zeros(32), 1e-5)
    _product(library, half, weights, GELU)
    _product(library, half, weights, FLOATS, add=torch.ones(7, 48))
    query = torch.ones(3, 7, 16, dtype=torch.bfloat16)
    turns = torch.ones(7, 16), torch.zeros(7, 16)
    _attend(library, query, query, query, [0, 2, 7], 0.25, turns)


class _Packed:
    """A linear layer as ``halves.c`` reads it: W in panels of bfloat16, b in float32."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, outputs: int) -> None:
        self.weight, self.bias, self.outputs = weight, bias, outputs

    @classmethod
    def of(cls, weight: torch.Tensor, bias: torch.Tensor) -> "_Packed":
        """Pack W (outputs, inputs) and b."""
        outputs, inputs = weight.shape
        missing = -outputs % PANEL
        whole = nn.functional.pad(weight.detach().to(torch.bfloat16), (0, 0, 0, missing))
        panels = whole.view(-1, PANEL, inputs // 2, 2).transpose(1, 2).contiguous()
        return cls(panels, nn.functional.pad(bias.detach().float(), (0, missing)), outputs)

    @property
    def inputs(self) -> int:
        return 2 * self.weight.shape[1]


def _product(
    library: ctypes.CDLL,
    x: torch.Tensor,
    weights: _Packed,
    kind: int,
    *,
    add: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return W x + b of bfloat16 rows (T, inputs), as halves, their GELU, or floats plus ``add``."""
    out = x.new_empty(
        len(x), weights.outputs, dtype=torch.float32 if kind == FLOATS else torch.bfloat16
    )
    given = _Product(
        *(x.data_ptr(), weights.weight.data_ptr(), weights.bias.data_ptr()),
        None if add is None else add.data_ptr(),
        out.data_ptr(),
        *(x.stride(0), 0 if add is None else add.stride(0), out.stride(0)),
        *(len(x), weights.inputs, weights.outputs, kind),
    )
    library.esmkit_product(ctypes.byref(given), torch.get_num_threads())
    return out


def _norm(
    library: ctypes.CDLL, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """Return the layer norm of float32 rows (T, D) as bfloat16."""
    out = x.new_empty(x.shape, dtype=torch.bfloat16)
    library.esmkit_norm(
        *(x.data_ptr(), scale.data_ptr(), shift.data_ptr(), out.data_ptr()),
        *(len(x), x.shape[1], epsilon, torch.get_num_threads()),
    )
    return out


def _attend(
    library: ctypes.CDLL,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: list[int],
    scaling: float,
    turns: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Attend within each sequence: (H, T, K), not turned yet, to (T, H, K)."""
    heads, tokens, width = query.shape
    mixed = query.new_empty(tokens, heads, width)
    strides = [x.stride()[:2] for x in (query, key, value)]
    strides.append((mixed.stride(1), mixed.stride(0)))
    given = _Tensors(
        *(x.data_ptr() for x in (query, key, value, mixed, *turns)),
        *(step for pair in strides for step in pair),
    )
    cuts = np.asarray(starts, np.int64)
    if library.esmkit_attention(
        *(ctypes.byref(given), cuts.ctypes.data, len(cuts) - 1, heads, width),
        *(scaling, torch.get_num_threads()),
    ):
        raise RuntimeError("attention could not allocate its scratch memory")
    return mixed


class HalfOperations(Operations):
    """Products and attention of ``halves.c``; PyTorch's for whatever it cannot do.

    Weights are packed when they are first used, and kept: they take as much memory again.
    """

    compiled = True

    def __init__(self) -> None:
        self._packed: weakref.WeakKeyDictionary[nn.Linear, tuple[Any, _Packed, Any]] = (
            weakref.WeakKeyDictionary()
        )

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()

    def _run(
        self, x: torch.Tensor, dense: nn.Linear, kind: int, add: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """Return a product, (1, T, inputs) to (1, T, outputs), or None where it is PyTorch's."""
        if not _is_plain(x, dense) or (add is not None and not _is_stream(add)):
            return None
        rows = x[0] if x.stride(-1) == 1 else x[0].contiguous()
        added = None if add is None else (add[0] if add.stride(-1) == 1 else add[0].contiguous())
        return _product(halves_library(), rows, self._of(dense), kind, add=added)[None]

    def _of(self, dense: nn.Linear) -> _Packed:
        """Return a layer's weights packed, kept until they are changed."""
        weight, bias = dense.weight, dense.bias
        # Tensors made in inference mode may change without a trace: nothing is kept of them
        tracked = not (weight.is_inference() or bias.is_inference())
        state = tracked and (weight.data_ptr(), weight._version, bias.data_ptr(), bias._version)
        kept = self._packed.get(dense)
        if tracked and kept is not None and kept[0] == state:
            return kept[1]
        packed = _Packed.of(weight, bias)
        if tracked:
            # With the weights themselves: no others are laid where they are while these are here
            self._packed[dense] = (state, packed, (weight.detach(), bias.detach()))
        return packed

    def linear(
        self, x: torch.Tensor, dense: nn.Linear, *, add: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return W x + b in bfloat16, or in float32 plus ``add``."""
        x = _narrow(x, dense)
        made = self._run(x, dense, HALVES if add is None else FLOATS, add)
        return super().linear(x, dense, add=add) if made is None else made

    def expand(self, normed: torch.Tensor, layer: LayerParts) -> torch.Tensor:
        """Return GELU(W_1 x + b_1) in bfloat16."""
        normed = _narrow(normed, layer.expand)
        made = self._run(normed, layer.expand, GELU)
        return super().expand(normed, layer) if made is None else made

    def contract(
        self, hidden: torch.Tensor, layer: LayerParts, *, add: torch.Tensor
    ) -> torch.Tensor:
        """Return W_2 h + b_2, plus ``add``, in float32."""
        hidden = _narrow(hidden, layer.contract)
        made = self._run(hidden, layer.contract, FLOATS, add)
        return super().contract(hidden, layer, add=add) if made is None else made

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
        given = (query, key, value)
        width = query.shape[-1]
        if (
            torch.is_grad_enabled()
            or width % 2
            or width > MOST_HEAD_WIDTH
            or any(x.dtype != torch.bfloat16 or x.device.type != "cpu" for x in given)
            or any(x.stride(-1) != 1 for x in given)
        ):
            return super().attend(query, key, value, rotary, groups, observe)
        scaling = width**-0.5
        if observe is not None:
            observe(rotate(query, *rotary), rotate(key, *rotary), scaling)
        starts = starts_of(groups, query.shape[2])
        cosines, sines = (turns[0].float().contiguous() for turns in rotary)
        return _attend(
            *(halves_library(), query[0], key[0], value[0], starts, scaling, (cosines, sines))
        )[None]


def _narrow(x: torch.Tensor, dense: nn.Module) -> torch.Tensor:
    """Return what a layer reads in the data type of its weights."""
    weight = getattr(dense, "weight", None)
    return x if weight is None or x.dtype == weight.dtype else x.to(weight.dtype)


def _is_plain(x: torch.Tensor, dense: nn.Module) -> bool:
    """Say whether a product can be that of ``halves.c``; see :func:`esmkit.encoder.blocks.is_plain`."""
    return (
        type(dense) is nn.Linear
        and x.ndim == 3
        and x.dtype == dense.weight.dtype == torch.bfloat16
        and x.device.type == dense.weight.device.type == "cpu"
        and dense.bias is not None
        and not dense.in_features % 2
        and not dense.out_features % LANES
        and not torch.is_grad_enabled()
        and not dense._forward_hooks
        and not dense._forward_pre_hooks
    )


def _is_plain_norm(norm: nn.Module) -> bool:
    """Say whether a layer norm has weights, no hook, and nothing stands in its place."""
    return (
        type(norm) is nn.LayerNorm
        and norm.weight is not None
        and norm.bias is not None
        and not (norm._forward_hooks or norm._forward_pre_hooks)
    )


def _is_stream(x: torch.Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu"


class _Wide(nn.Module):
    """The token embedding in float32: what a stream of float32 begins with."""

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self._of = [embedding]  # in a list it is no part of this module

    @property
    def weight(self) -> torch.Tensor:
        return self._of[0].weight  # type: ignore[return-value]

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self._of[0](ids).float()


class _WideNorm(nn.Module):
    """A layer norm of a float32 stream, whose result is of the data type of the weights."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self._of = [norm]

    def __getattr__(self, name: str) -> Any:
        if name in ("weight", "bias", "eps", "normalized_shape"):
            return getattr(self._of[0], name)
        return super().__getattr__(name)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm = self._of[0]
        if not _is_plain_norm(norm):
            return norm(x.to(torch.bfloat16))
        scale, shift = norm.weight.float(), norm.bias.float()
        width = x.shape[-1]
        if torch.is_grad_enabled() or width % LANES or not _is_stream(x) or not x.is_contiguous():
            made = nn.functional.layer_norm(x.float(), (width,), scale, shift, norm.eps)
            return made.to(norm.weight.dtype)
        rows = x.reshape(-1, width)
        return _norm(halves_library(), rows, scale, shift, norm.eps).view(x.shape)


def with_wide_stream(parts: Parts) -> Parts:
    """Return parts between which the residual stream is float32."""

    def layer(one: LayerParts) -> LayerParts:
        return LayerParts(
            _WideNorm(one.attention_norm),
            *(one.query, one.key, one.value, one.output),
            _WideNorm(one.feed_forward_norm),
            *(one.expand, one.contract),
        )

    return Parts(
        _Wide(parts.embedding),
        *(parts.token_dropout, parts.inverse_frequencies, parts.heads),
        tuple(layer(one) for one in parts.layers),
        _WideNorm(parts.final_norm),
    )
