"""What packing the weights changes: the reference encoder with the weights of a page, and the model's."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.encoder.names import head_name
from esmkit.explorer.live.weights import unpack_weights as unpack
from esmkit.reference import encoder as reference
from esmkit.sequences.tokens import encode

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = ["CHECKED", "compare_packed", "unpack"]

CHECKED = 300
"""Residues on which packed weights are compared: maps of all heads are in memory twice."""


def compare_packed(
    model: "Encoder", sequence: str, manifest: dict[str, Any], data: bytes
) -> dict[str, Any]:
    """Return the largest differences between a pass with packed weights and one with the model's.

    Both are the reference encoder in float32, on at most 300 residues.

    Parameters
    ----------
    model : Encoder
    sequence : str
    manifest : dict
    data : bytes
        From :func:`esmkit.explorer.live.weights.pack_weights`.

    Returns
    -------
    dict
        ``map`` in units of attention weight, 0 to 1, and ``where``, the head; ``hidden`` of the last
        hidden states and ``hidden_largest``, their largest magnitude; ``contact`` of the score, or
        None without a contact head; ``residues``.
    """
    sequence = sequence[:CHECKED]
    tensors = {name: t.float().cpu().numpy() for name, t in model.network.state_dict().items()}
    exact = reference.read_parameters(tensors, model.heads, dtype=np.float32)
    packed = _parameters(exact, unpack(manifest, data))
    ids = encode(sequence)[None]
    maps, hidden, contacts = _run(exact, ids)
    other_maps, other_hidden, other_contacts = _run(packed, ids)
    of_heads = np.array(
        [np.abs(a - b)[0].max((1, 2)) for a, b in zip(maps, other_maps, strict=True)]
    )
    layer, head = np.unravel_index(int(of_heads.argmax()), of_heads.shape)
    contact = None
    if contacts is not None and other_contacts is not None:
        contact = float(np.abs(contacts - other_contacts).max(initial=0))
    return {
        "map": float(of_heads.max()),
        "where": head_name(int(layer), int(head)),
        "hidden": float(np.abs(hidden - other_hidden).max()),
        "hidden_largest": float(np.abs(hidden).max()),
        "contact": contact,
        "residues": len(sequence),
    }


def _parameters(exact: reference.Parameters, tensors: dict[str, Any]) -> reference.Parameters:
    def affine(name: str) -> reference.Affine:
        return reference.Affine(tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    layers = []
    for number in range(len(exact.layers)):
        of = f"L{number}."
        attention = [affine(of + part) for part in ("query", "key", "value", "output")]
        layers.append(
            reference.Layer(
                affine(of + "attention_norm"),
                reference.Attention(*attention),
                affine(of + "feed_forward_norm"),
                affine(of + "expand"),
                affine(of + "contract"),
            )
        )
    return reference.Parameters(
        tensors["embedding"],
        tuple(layers),
        affine("final_norm"),
        exact.inverse_frequencies,
        exact.heads,
        exact.contact,
    )


def _run(
    parameters: reference.Parameters, ids: NDArray[np.int64]
) -> tuple[tuple[NDArray[Any], ...], NDArray[Any], NDArray[Any] | None]:
    found = reference.encode(parameters, ids, attentions=True)
    maps = found.attentions or ()
    contacts = None
    if parameters.contact is not None:
        contacts = reference.contact_probabilities(parameters, maps, ids)
    return maps, found.hidden_states[-1], contacts
