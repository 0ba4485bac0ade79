"""Rotary positions (Su et al. 2021): queries and keys are turned by angles that grow along the sequence."""

import torch

__all__ = ["Rotary", "rotate"]

Rotary = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of the angles, (T, K) each; the two halves of K are the same."""


def rotate(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Turn queries or keys by their positions.

    Parameters
    ----------
    x : torch.Tensor, shape (..., H, T, K)
        The two halves of the last axis are the coordinates.
    cosines, sines : torch.Tensor, shape (..., T, K)

    Returns
    -------
    torch.Tensor, shape (..., H, T, K)
    """
    half = x.shape[-1] // 2
    cosines, sines = cosines.unsqueeze(-3), sines.unsqueeze(-3)
    turned = x * cosines
    # Product and sum are rounded one after the other, as in transformers
    turned[..., :half] -= x[..., half:] * sines[..., :half]
    turned[..., half:] += x[..., :half] * sines[..., half:]
    return turned
