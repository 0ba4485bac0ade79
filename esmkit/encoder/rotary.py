"""Rotary positions (Su et al. 2021): queries and keys are turned by angles that grow along the sequence."""

import torch

__all__ = ["Rotary", "rotary_tables", "rotate"]

Rotary = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of the angles, (1, T, K) each; the two halves of K are the same."""


def rotary_tables(
    positions: torch.Tensor, inverse_frequencies: torch.Tensor, dtype: torch.dtype
) -> Rotary:
    """Return cosines and sines of the angles of positions.

    Parameters
    ----------
    positions : torch.Tensor of int64, shape (..., T)
    inverse_frequencies : torch.Tensor of float32, shape (K / 2,)
    dtype : torch.dtype
        Data type of the result; angles are float32, or float64 if it is that.

    Returns
    -------
    tuple of two torch.Tensor, shape (..., T, K)
    """
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    angles = positions[..., None].to(exact) * inverse_frequencies.to(exact)  # (..., T, K/2)
    angles = torch.cat((angles, angles), dim=-1)  # (..., T, K)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Turn queries or keys by their positions, in float32.

    Parameters
    ----------
    x : torch.Tensor, shape (..., H, T, K)
        The two halves of the last axis are the coordinates.
    cosines, sines : torch.Tensor, shape (..., T, K)

    Returns
    -------
    torch.Tensor of the dtype of x, shape (..., H, T, K)
    """
    half = x.shape[-1] // 2
    cosines, sines = cosines.unsqueeze(-3), sines.unsqueeze(-3)
    given = x.float() if x.dtype.itemsize < 4 else x
    turned = given * cosines
    # Product and sum are rounded one after the other, as in transformers
    turned[..., :half] -= given[..., half:] * sines[..., :half]
    turned[..., half:] += given[..., :half] * sines[..., half:]
    return turned.to(x.dtype)
