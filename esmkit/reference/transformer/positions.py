"""Where a token stands: sines added to the embedding, a learned table, or a rotation of the heads.

Sources in brackets are those of `esmkit.reference.encoder`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from esmkit.errors import InputError
from esmkit.reference.bounds import at_least
from esmkit.reference.encoder import Array, inverse_frequencies

SINUSOID_BASE = 10_000.0  # [1], section 3.5


def sinusoidal_positions(tokens: int, width: int, *, dtype: DTypeLike = np.float64) -> Array:
    """Write each position as waves of growing length ([1], section 3.5).

    Parameters
    ----------
    tokens : int, T
    width : int, D, even: column 2i is the sine, column 2i + 1 the cosine of one wave
    dtype : float64 (default) or float32

    Returns
    -------
    (T, D) in [-1, 1]

    Raises
    ------
    InputError
        If the width is odd.
    OptionError
        If tokens or width is below 1.

    See Also
    --------
    learned_positions : A table that is learned.
    rotary_angles : Queries and keys that are turned.

    References
    ----------
    [1] Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762.

    Examples
    --------
    >>> sinusoidal_positions(2, 4).round(3)
    array([[0.   , 1.   , 0.   , 1.   ],
           [0.841, 0.54 , 0.01 , 1.   ]])
    """
    at_least(1, tokens=tokens, width=width)
    if width % 2:
        raise InputError(f"width {width}: sinusoidal positions need an even width")
    wave = np.arange(0, width, 2) / width  # (D/2,): 2i / D
    angles = np.arange(tokens)[:, None] / SINUSOID_BASE**wave  # (T, 1) / (D/2,) -> (T, D/2)
    pairs = np.stack([np.sin(angles), np.cos(angles)], axis=-1)  # two of (T, D/2) -> (T, D/2, 2)
    return pairs.reshape(tokens, width).astype(dtype)  # (T, D/2, 2) -> (T, D)


def learned_positions(table: Array, tokens: int) -> Array:
    """Take the first T rows of a learned table (positions, D) ([1], section 3.5, table 3 row E).

    T is `tokens`.

    Raises
    ------
    InputError
        If the sequence is longer than the table: nothing was learned for what lies beyond.

    Examples
    --------
    >>> learned_positions(np.arange(6.0).reshape(3, 2), 2)
    array([[0., 1.],
           [2., 3.]])
    """
    at_least(1, tokens=tokens)
    if tokens > len(table):
        raise InputError(f"{tokens} tokens, but positions were learned for {len(table)} only")
    return table[:tokens]


def embed(ids: ArrayLike, embedding: Array, positions: Array) -> Array:
    """Look up tokens, scale them by sqrt(D), add their positions ([1], sections 3.4 and 3.5).

    Parameters
    ----------
    ids : (B, T) int
    embedding : (V, D)
    positions : (T, D), from `sinusoidal_positions` or `learned_positions`

    Returns
    -------
    (B, T, D)

    Raises
    ------
    InputError
        If an id is outside the vocabulary, or the shapes do not fit.

    Examples
    --------
    >>> embed([[1, 0]], np.eye(4), sinusoidal_positions(2, 4)).round(2)  # sqrt(4) = 2
    array([[[0.  , 3.  , 0.  , 1.  ],
            [2.84, 0.54, 0.01, 1.  ]]])
    """
    ids = np.asarray(ids)
    vocabulary, width = embedding.shape
    if ids.ndim != 2 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"ids {ids.dtype} {ids.shape}: give integers (sequences, tokens)")
    if positions.shape != (ids.shape[1], width):
        raise InputError(f"positions {positions.shape}: these ids need {(ids.shape[1], width)}")
    for row, column in np.argwhere((ids < 0) | (ids >= vocabulary))[:1]:
        raise InputError(
            f"sequence {row}, position {column}: token id {ids[row, column]} is outside the "
            f"vocabulary, 0 to {vocabulary - 1}"
        )
    return embedding[ids] * math.sqrt(width) + positions


def rotary_angles(places: ArrayLike, head_width: int, dtype: DTypeLike) -> tuple[Array, Array]:
    """Tabulate cos and sin for tokens that stand at any places ([3], eq. 15).

    Parameters
    ----------
    places : (T,) int
    head_width : int, K, even
    dtype : float64 or float32, of the result; the frequencies are those of ESM-2, in float32

    Returns
    -------
    two arrays (T, K)

    Raises
    ------
    InputError
        If the width of a head is odd, or places are no list.

    Examples
    --------
    >>> cos, sin = rotary_angles([0, 7], 4, "float64")
    >>> cos.shape, sin[0]
    ((2, 4), array([0., 0., 0., 0.]))
    """
    at_least(1, head_width=head_width)
    if np.ndim(places) != 1:
        raise InputError(f"places of shape {np.shape(places)}: give a list of them")
    if head_width % 2:
        raise InputError(f"heads of width {head_width}: rotary positions need an even width")
    angles = np.asarray(places)[:, None] * inverse_frequencies(head_width).astype(np.float64)
    angles = np.concatenate([angles, angles], axis=-1)  # (T, K/2) -> (T, K): once for each half
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)
