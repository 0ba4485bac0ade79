"""The weights of a loaded model, sorted for the reference: the two share numbers and no code."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from esmkit.arguments import checked
from esmkit.encoder.encoder import Encoder
from esmkit.reference.encoder import Parameters, read_parameters
from esmkit.reference.masked_lm import MaskedLmHead, read_masked_lm_head

__all__ = ["masked_lm_head_of", "parameters_of"]


@checked
def parameters_of(model: Encoder, dtype: DTypeLike = "float64") -> Parameters:
    """Return the weights of a model for `encode`; they are copies, free to be changed.

    Parameters
    ----------
    model : Encoder
        What ``esmkit.load`` returned, on any device and of any data type.
    dtype : float64 (default) or float32
        The type of every later computation. A checkpoint holds float32, which both hold exactly.

    Returns
    -------
    esmkit.reference.Parameters
        ``contact`` is None where the checkpoint has no contact regression.

    Raises
    ------
    OptionError
        If `dtype` is neither float32 nor float64.

    Examples
    --------
    >>> parameters = parameters_of(esmkit.load())         # doctest: +SKIP
    >>> parameters.embedding.shape, parameters.heads      # doctest: +SKIP
    ((33, 320), 20)
    """
    tensors = _arrays(model.network.state_dict())
    if not model.has_contact_head:  # then transformers made one up, at random
        tensors = {n: a for n, a in tensors.items() if not n.startswith("contact_head")}
    return read_parameters(tensors, model.heads, dtype=dtype)


@checked
def masked_lm_head_of(model: Encoder, dtype: DTypeLike = "float64") -> MaskedLmHead:
    """Return the weights of a model's masked-LM head for `masked_lm_logits`.

    Parameters
    ----------
    model : Encoder
        What ``esmkit.load`` returned. A head of its checkpoint or a fitted one will do.
    dtype : float64 (default) or float32

    Returns
    -------
    MaskedLmHead

    Raises
    ------
    CheckpointError
        If the model has no masked-LM head.

    Warns
    -----
    FittedHeadWarning
        If the head was fitted to the checkpoint afterwards, once for a process.

    Examples
    --------
    >>> model = esmkit.load()                                                # doctest: +SKIP
    >>> masked_lm_head_of(model).decoder.weight.shape                        # doctest: +SKIP
    (33, 320)
    """
    head = model.lm_head.weights.tensors()
    return read_masked_lm_head(_arrays(model.network.state_dict()), _arrays(head), dtype=dtype)


def _arrays(tensors: Any) -> dict[str, NDArray[np.floating[Any]]]:
    """Return tensors of any device and floating-point type as NumPy arrays of float32."""
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}
