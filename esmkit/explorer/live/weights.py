"""The weights of an encoder in few bytes, for a page that runs it.

Matrices are integers with one scale per row, that is for each output; everything else is float32.
A value is off by at most half a step of its row. The embedding, W^V and W^O get one byte more: errors
of what heads carry are not averaged away by the softmax, and make most of the error of the whole.

Largest differences from the reference in float64 with the model's own weights, on the 15 demo proteins
of 38 to 388 residues, the offline checkpoint; half precision for comparison:

======================================  =======  =========  ========
..                                      16 bits  half pr.   8 bits
======================================  =======  =========  ========
last hidden states, up to 5.3           7.3e-4   5.3e-3     0.20
hidden states before it, up to 48       2.4e-3   1.9e-2     0.59
attention weights, 0 to 1               2.1e-4   1.2e-3     0.073
contacts, 0 to 1                        5.4e-4   4.2e-3     0.12
logits of the masked-LM head, up to 30  1.7e-3   1.2e-2     0.47
bytes                                   16.4 MB  15.0 MB    8.9 MB
======================================  =======  =========  ========
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from esmkit.errors import OptionError
from esmkit.reference import encoder as reference
from esmkit.reference.masked_lm import MaskedLmHead, read_masked_lm_head
from esmkit.sequences.tokens import TOKENS

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.encoder.lm_head import LmHead

__all__ = ["FORMAT", "LARGEST_BYTES", "MOST_RESIDUES", "Bits", "pack_weights", "unpack_weights"]

Bits = Literal[16, 8]

FORMAT = "esmkit live weights 1"

FINER = {16: 24, 8: 16}
"""Bits of a weight of the embedding, W^V and W^O, by those of all others."""

FINER_PARTS = ("value", "output")

LARGEST_BYTES = 40_000_000
"""Most bytes of weights: as base64 a page is a third larger, and unpacked they take 2 to 4 times it."""

MOST_RESIDUES = 1_022
"""Longest sequence that a page runs: ESM-2 was trained on at most 1,024 tokens, with BOS and EOS."""

HEAD_FACTS = ("source", "name", "sha256", "note")
"""What a page says of its masked-LM head."""

ALIGNMENT = 4
"""Every tensor begins at a multiple of it, so that a browser can view it as float32."""


@dataclass
class _Packing:
    """Tensors laid one after the other, and where each is."""

    bits: int
    chunks: list[bytes] = field(default_factory=list)
    tensors: dict[str, dict[str, Any]] = field(default_factory=dict)
    size: int = 0

    def vector(self, name: str, values: NDArray[np.floating]) -> None:
        offset = self._append(values.astype("<f4"))
        self.tensors[name] = {"offset": offset, "shape": list(values.shape), "bits": 32}

    def matrix(self, name: str, values: NDArray[np.floating], *, finer: bool = False) -> None:
        bits = FINER[self.bits] if finer else self.bits
        largest = 2 ** (bits - 1) - 1
        scales = (np.abs(values).max(axis=1) / largest).astype("<f4")
        scales[scales == 0] = 1.0
        codes = np.rint(values / scales[:, None].astype(np.float64))
        codes = np.clip(codes, -largest, largest)  # the scale is rounded to float32
        # The lowest bytes of little-endian integers: two's complement of any width
        integers = codes.astype("<i4").view(np.uint8).reshape(values.size, 4)
        offset = self._append(integers[:, : bits // 8])
        self.tensors[name] = {
            "offset": offset,
            "shape": list(values.shape),
            "bits": bits,
            "scales": self._append(scales),
        }

    def affine(self, name: str, p: reference.Affine, *, finer: bool = False) -> None:
        self.matrix(name + ".weight", p.weight, finer=finer)
        self.vector(name + ".bias", p.bias)

    def norm(self, name: str, p: reference.Affine) -> None:
        self.vector(name + ".weight", p.weight)
        self.vector(name + ".bias", p.bias)

    def _append(self, values: NDArray[Any]) -> int:
        data, offset = values.tobytes(), self.size
        data += bytes(-len(data) % ALIGNMENT)
        self.chunks.append(data)
        self.size += len(data)
        return offset


def pack_weights(model: "Encoder", bits: Bits = 16) -> tuple[dict[str, Any], bytes]:
    """Pack everything that a page needs to run a model.

    Parameters
    ----------
    model : Encoder
        Any ESM-2; its weights as they are in memory, with its masked-LM head if there is one.
    bits : {16, 8}
        Size of a weight of a matrix; those named above have 24 or 16.

    Returns
    -------
    manifest : dict
        JSON-ready: shapes of the model, its tokens, what it needs beside tensors, and of each tensor
        ``offset``, ``shape``, ``bits`` (of a code; 32 for float32) and of a matrix the offset of its
        ``scales``, float32. A weight is its code times the scale of its row.
    data : bytes
        The tensors, little-endian.

    Raises
    ------
    OptionError
        If `bits` is neither 16 nor 8, or the weights take more than 40 MB.

    Examples
    --------
    >>> manifest, data = pack_weights(esmkit.load())                       # doctest: +SKIP
    >>> f"{manifest['layers']} layers, {len(data) / 1e6:.1f} MB"           # doctest: +SKIP
    '6 layers, 16.4 MB'
    """
    if bits not in FINER or isinstance(bits, bool):
        raise OptionError(f"weights take 16 or 8 bits, not {bits!r}")
    count = sum(p.numel() for p in model.network.parameters())
    _refuse_large(count, bits)
    tensors = {name: t.float().cpu().numpy() for name, t in model.network.state_dict().items()}
    parameters = reference.read_parameters(tensors, model.heads)
    lm_head = model.lm_head if model.has_lm_head else None  # warns if it was fitted
    head = _head_of(lm_head, tensors) if lm_head else None
    packing = _pack(parameters, head, bits)
    contact = parameters.contact if model.has_contact_head else None
    first = parameters.layers[0]
    manifest = {
        "format": FORMAT,
        "bits": bits,
        "layers": len(parameters.layers),
        "heads": parameters.heads,
        "width": parameters.embedding.shape[1],
        "hidden": first.expand.weight.shape[0],
        "tokens": list(TOKENS),
        "frequencies": [float(value) for value in parameters.inverse_frequencies],
        "keptInTraining": 1 - reference.TRAIN_MASK_RATE,
        "epsilon": reference.LAYER_NORM_EPS,
        "contact": contact
        and {"weight": contact.weight[0].tolist(), "bias": float(contact.bias[0])},
        "lmHead": lm_head and {n: lm_head.facts[n] for n in HEAD_FACTS if n in lm_head.facts},
        "mostResidues": MOST_RESIDUES,
        "tensors": packing.tensors,
        "bytes": packing.size,
        "checkpoint": model.checkpoint.to_dict(),
    }
    return manifest, b"".join(packing.chunks)


def _refuse_large(count: int, bits: int) -> None:
    size = count * bits // 8
    if size <= LARGEST_BYTES:
        return
    smaller = count <= LARGEST_BYTES and bits == 16
    raise OptionError(
        f"{count / 1e6:,.0f} million weights of {bits} bits are {size / 1e6:,.0f} MB, and a page "
        f"holds at most {LARGEST_BYTES / 1e6:.0f} MB of them; "
        + (
            "pack them with `live_bits=8`"
            if smaller
            else "take a smaller ESM-2, such as the one of 8M"
        )
    )


def _head_of(lm_head: "LmHead", tensors: dict[str, NDArray[Any]]) -> MaskedLmHead:
    parts = lm_head.weights.tensors()
    arrays = {name: part.detach().float().cpu().numpy() for name, part in parts.items()}
    return read_masked_lm_head(tensors, arrays)


def _pack(parameters: reference.Parameters, head: MaskedLmHead | None, bits: int) -> _Packing:
    packing = _Packing(bits)
    packing.matrix("embedding", parameters.embedding, finer=True)
    for number, layer in enumerate(parameters.layers):
        of = f"L{number}."
        packing.norm(of + "attention_norm", layer.attention_norm)
        for part in ("query", "key", "value", "output"):
            packing.affine(of + part, getattr(layer.attention, part), finer=part in FINER_PARTS)
        packing.norm(of + "feed_forward_norm", layer.feed_forward_norm)
        packing.affine(of + "expand", layer.expand)
        packing.affine(of + "contract", layer.contract)
    packing.norm("final_norm", parameters.final_norm)
    if head is not None:
        packing.affine("lm_dense", head.dense)
        packing.norm("lm_norm", head.norm)
        packing.vector("lm_decoder.bias", head.decoder.bias)
        if head.decoder.weight is not parameters.embedding and not np.array_equal(
            head.decoder.weight, parameters.embedding
        ):
            packing.matrix("lm_decoder.weight", head.decoder.weight, finer=True)
    return packing


def unpack_weights(manifest: dict[str, Any], data: bytes) -> dict[str, NDArray[np.float32]]:
    """Return the tensors as the engine reads them, by name.

    Parameters
    ----------
    manifest : dict
    data : bytes
        From :func:`pack_weights`.

    Returns
    -------
    dict of str to numpy.ndarray of float32
        Matrices (out, in), vectors (out,).
    """
    tensors = {}
    for name, at in manifest["tensors"].items():
        shape, offset, width = tuple(at["shape"]), at["offset"], at["bits"] // 8
        count = math.prod(shape)
        if "scales" not in at:
            tensors[name] = np.frombuffer(data, "<f4", count, offset).reshape(shape).copy()
            continue
        integers = np.zeros((count, 4), np.uint8)
        codes = np.frombuffer(data, np.uint8, count * width, offset).reshape(count, width)
        integers[:, 4 - width :] = codes  # the upper bytes, so that the sign is theirs
        values = (integers.view("<i4").reshape(shape) >> (32 - at["bits"])).astype(np.float32)
        tensors[name] = values * np.frombuffer(data, "<f4", shape[0], at["scales"])[:, None]
    return tensors
