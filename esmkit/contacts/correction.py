"""Average product correction (APC): from attention to maps in which contacts stand out.

A map a is symmetrised, s = a + its transpose, and loses what its row and column sums explain:
s_ij - s_i. s_.j / s_.. (Dunn et al. 2008; for attention Rao et al. 2021, ``symmetrize`` and ``apc``
of fair-esm). Sums are over all residues, the diagonal included.

A contact map is a weighted sum of the corrected maps of many heads. The correction of each head is
an outer product, so the sum of all needs two matrices only, however many heads there are: the
weighted sum of maps and that of outer products.
"""

import torch

__all__ = ["CorrectedSum", "correct", "corrected_sum"]


def correct(inner: torch.Tensor) -> torch.Tensor:
    """Symmetrise maps and correct each by its average product.

    Parameters
    ----------
    inner : torch.Tensor of float32, shape (h, R, R)
        Attention between residues, not renormalised.

    Returns
    -------
    torch.Tensor of float32, shape (h, R, R)

    Examples
    --------
    >>> correct(torch.tensor([[[0.5, 0.5], [0.25, 0.25]]])).round(decimals=3)
    tensor([[[-0.0210,  0.0210],
             [ 0.0210, -0.0210]]])
    """
    both = inner + inner.transpose(1, 2)
    sums = both.sum(2)  # (h, R)
    return both - sums[:, :, None] * sums[:, None, :] / sums.sum(1)[:, None, None]


def _weighted(inner: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted sum of maps, not symmetrised, and that of their products, both (R, R)."""
    maps = torch.tensordot(weights, inner, dims=1)
    sums = inner.sum(2) + inner.sum(1)  # (h, R): rows of A + A^T
    scaled = sums * (weights / sums.sum(1))[:, None]
    return maps, scaled.T @ sums


def corrected_sum(inner: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted sum of corrected maps, for sums from which maps are taken away again.

    Parameters
    ----------
    inner : torch.Tensor of float32, shape (h, R, R)
        Attention between residues, not renormalised.
    weights : torch.Tensor of float32, shape (h,)
        Negative weights take maps away.

    Returns
    -------
    torch.Tensor of float32, shape (R, R)
        Symmetric up to rounding. Equal to what :class:`CorrectedSum` gives up to rounding too: that
        one symmetrises once at the end, this one each block of heads, and the order of float32
        sums is part of the result.
    """
    maps, products = _weighted(inner, weights)
    return maps + maps.T - products


class CorrectedSum:
    """The weighted sum of the corrected maps of one sequence of R residues, block by block.

    Parameters
    ----------
    residues : int
        R.
    device : torch.device
        Where the maps are.
    """

    def __init__(self, residues: int, device: torch.device) -> None:
        self._maps = torch.zeros(residues, residues, device=device)
        self._products = torch.zeros(residues, residues, device=device)

    def add(self, inner: torch.Tensor, weights: torch.Tensor) -> None:
        """Add maps (h, R, R) with weights (h,)."""
        maps, products = _weighted(inner, weights)
        self._maps += maps
        self._products += products

    def result(self) -> torch.Tensor:
        """Return the sum: float32, (R, R), symmetric."""
        total = self._maps + self._maps.T - self._products
        return (total + total.T) / 2  # the products are symmetric up to rounding
