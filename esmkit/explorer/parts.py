"""What every page about one protein says: the protein, the model, its structure."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.errors import InputError, OptionError
from esmkit.explorer.structure import Truth
from esmkit.sequences.given import OneProtein, one_protein
from esmkit.sequences.letters import RecordError
from esmkit.sequences.proteins import Protein
from esmkit.sequences.windows import Long, cut_into_pieces

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = [
    "MAX_RESIDUES_SHOWN",
    "PAGE_BYTES",
    "array_bytes",
    "model_facts",
    "protein_and_windows",
    "structure_facts",
]

PAGE_BYTES = 60_000_000
"""Largest page; what does not fit is left out, heads last."""

MAX_RESIDUES_SHOWN = 5_000
"""A browser holds a map of 5,000 x 5,000 weights in 100 MB."""


def protein_and_windows(protein: OneProtein, long: Long) -> tuple[Protein, list[tuple[int, int]]]:
    """Return the protein as it is read, truncated if that was asked for, and its windows."""
    try:
        one = one_protein(protein, "a page is about one protein")
    except RecordError as error:  # its remedies are those of functions that take many proteins
        remedy = "give another sequence, with X for residues that are not known"
        raise InputError(f"{error.reason}; {remedy}") from None
    pieces = cut_into_pieces(one, long)
    one = Protein(one.id, one.sequence[: pieces[-1][1]], one.header)
    if len(one) > MAX_RESIDUES_SHOWN:
        raise OptionError(
            f"{one.id!r} has {len(one):,} residues and a page shows at most "
            f'{MAX_RESIDUES_SHOWN:,}; cut the sequence, or use `long="truncate"`'
        )
    return one, pieces


def model_facts(model: "Encoder") -> dict[str, Any]:
    """Return what a page says about the model, JSON-ready."""
    return {
        "checkpoint": model.checkpoint.to_dict(),
        "layers": model.layers,
        "heads": model.heads,
        "width": model.width,
        "headWidth": model.width // model.heads,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
    }


def structure_facts(truth: Truth | None, arrays: dict[str, bytes]) -> dict[str, Any] | None:
    """Return what a page says about the structure; its coordinates go into the arrays."""
    if truth is None:
        return None
    arrays["coordinates"] = array_bytes(truth.cb)
    return {
        "name": truth.name,
        "secondary": truth.secondary,
        "numbers": truth.numbers,
        "resolved": truth.length,
        "aligned": truth.aligned,
        "identity": truth.identity,
        "contacts": int(np.triu(truth.contacts).sum()),
        "notes": truth.notes,
    }


def array_bytes(*arrays: NDArray[Any] | None) -> bytes:
    """Return arrays one after the other, little-endian as in every browser."""
    return b"".join(
        np.ascontiguousarray(a, a.dtype.newbyteorder("<")).tobytes()
        for a in arrays
        if a is not None
    )
