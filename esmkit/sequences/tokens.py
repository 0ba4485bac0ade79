"""The 33 tokens of ESM-2, and residues to token ids through a lookup table.

``EsmTokenizer`` of transformers splits on letters it knows and merges a run of letters it does
not know into one ``<unk>`` (``ACJJDEF`` becomes 8 tokens instead of 9), so that residue ``i`` is
no longer token ``i + 1``. A 256-entry table cannot do that: every residue is one token, and a
sequence of R residues is R + 2 tokens by construction.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked, items_of, what_is, whole_number
from esmkit.errors import InputError

__all__ = ["BOS", "EOS", "MASK", "PAD", "TOKENS", "UNKNOWN", "decode", "encode"]

TOKENS: tuple[str, ...] = (
    *("<cls>", "<pad>", "<eos>", "<unk>"),
    *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
    *("<null_1>", "<mask>"),
)
"""Token of each id, in the order of ESM-2's embedding matrix (fair-esm, ``esm/constants.py``)."""

BOS = TOKENS.index("<cls>")
PAD = TOKENS.index("<pad>")
EOS = TOKENS.index("<eos>")
UNKNOWN = TOKENS.index("<unk>")
MASK = TOKENS.index("<mask>")

SPECIALS = 2
"""Tokens that are not residues: BOS before and EOS after each sequence."""

_NO_TOKEN = 255

_TABLE = np.full(256, _NO_TOKEN, dtype=np.uint8)
for _id, _token in enumerate(TOKENS):
    if len(_token) == 1 and _token not in ".-":  # gaps are in the vocabulary, not in proteins
        _TABLE[ord(_token)] = _id


@checked
def encode(sequence: str, *, mask: Iterable[int] = ()) -> NDArray[np.int64]:
    """Turn residues into token ids with BOS and EOS around them.

    Parameters
    ----------
    sequence : str
        Upper-case residues: the 20 amino acids and X, B, U, Z, O. R letters.
    mask : iterable of int
        0-based residue indices to replace by ``<mask>``.

    Returns
    -------
    numpy.ndarray of int64, shape (T,)
        T = R + 2.

    Raises
    ------
    InputError
        If the sequence is empty, a letter has no token or a masked index is out of range or a
        boolean.

    See Also
    --------
    decode : The way back.

    Examples
    --------
    >>> encode("MK")
    array([ 0, 20, 15,  2])
    """
    if not sequence:
        raise InputError("the sequence is empty; give at least one residue")
    codes = np.frombuffer(sequence.encode("latin-1", errors="replace"), dtype=np.uint8)
    ids = np.empty(len(codes) + SPECIALS, dtype=np.int64)
    ids[0], ids[-1] = BOS, EOS
    ids[1:-1] = _TABLE[codes]
    unknown = np.flatnonzero(ids == _NO_TOKEN)
    if unknown.size:
        position = int(unknown[0])
        raise InputError(
            f"residue {position:,}: {sequence[position - 1]!r} has no token in ESM-2; use one of "
            "the 20 amino acids or X (esmkit.sequences.clean_sequence folds case and checks)"
        )
    masked = items_of(mask)
    for given in [mask] if masked is None else masked:
        if isinstance(given, bool | np.bool_):  # True would pass for index 1
            raise InputError("mask takes residue indices; of booleans give numpy.flatnonzero(mask)")
        index = whole_number(given)
        if masked is None or index is None:
            raise InputError(f"mask takes residue indices, a list of them, not {what_is(given)}")
        if not 0 <= index < len(sequence):
            raise InputError(
                f"cannot mask residue index {index}: the sequence has indices 0 to "
                f"{len(sequence) - 1}"
            )
        ids[index + 1] = MASK
    return ids


def decode(ids: Sequence[int] | NDArray[np.integer]) -> str:
    """Return the tokens of the ids as text, specials in angle brackets.

    Examples
    --------
    >>> decode([0, 20, 15, 2])
    '<cls>MK<eos>'
    """
    unknown = [int(i) for i in ids if not 0 <= int(i) < len(TOKENS)]
    if unknown:
        raise InputError(f"token id {unknown[0]} is not one of 0 to {len(TOKENS) - 1}")
    return "".join(TOKENS[int(i)] for i in ids)
