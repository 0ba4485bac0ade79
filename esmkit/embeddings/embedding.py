"""The embedding of one protein, and how it is shown."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import as_array
from esmkit.errors import OptionError

__all__ = ["Embedding"]


@dataclass(frozen=True)
class Embedding:
    """Hidden states of one protein.

    L layers were asked for; with one layer the leading axis is left out, as in the files.

    Attributes
    ----------
    id, header, sequence : str
        The protein. ``sequence`` is what was embedded (shorter than the input if truncated).
    layers : tuple of int
        Hidden state numbers, 0..N.
    mean : numpy.ndarray of float32, shape (D,) or (L, D)
        Mean over residues; BOS and EOS take no part.
    bos : numpy.ndarray of float32, shape (D,) or (L, D)
        The BOS token; over windows, its mean.
    kept_residues : numpy.ndarray of float32, or None
        What :attr:`residues` returns; None if they were not kept.

    See Also
    --------
    esmkit.Esm2.embed : Makes it.
    esmkit.EmbeddingFile : Embeddings on disk.

    Examples
    --------
    >>> insulin_a = esmkit.load().embed("GIVEQCCTSICSLYQLENYCN")  # doctest: +SKIP
    >>> insulin_a.mean.shape, insulin_a.residues.shape  # doctest: +SKIP
    ((320,), (21, 320))
    >>> insulin_a  # doctest: +SKIP
    Embedding(sequence_1: 21 residues, layer(s) 6, width 320)
    >>> np.stack([insulin_a, insulin_a]).shape  # doctest: +SKIP
    (2, 320)
    """

    id: str
    header: str
    sequence: str
    layers: tuple[int, ...]
    mean: NDArray[np.float32]
    bos: NDArray[np.float32]
    kept_residues: NDArray[np.float32] | None = field(repr=False)

    @property
    def residues(self) -> NDArray[np.float32]:
        """One vector per residue: float32, (R, D) or (L, R, D), row 0 the first residue.

        Raises
        ------
        OptionError
            If they were not kept.
        """
        if self.kept_residues is None:
            raise OptionError(
                f"the residues of {self.id!r} were not kept; embed with residues=True"
            )
        return self.kept_residues

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return ``mean``, the vector of the protein: ``np.stack(list_of_embeddings)`` is (B, D)."""
        return as_array(self.mean, dtype, copy)

    def __repr__(self) -> str:
        which = ", ".join(map(str, self.layers))
        return (
            f"Embedding({self.id}: {len(self.sequence)} residues, layer(s) {which}, "
            f"width {self.mean.shape[-1]})"
        )

    def _repr_html_(self) -> str:
        from html import escape

        rows = {
            "residues": f"{len(self.sequence):,}",
            "layer(s)": ", ".join(map(str, self.layers)),
            ".mean": f"float32 {self.mean.shape}",
            ".bos": f"float32 {self.bos.shape}",
            ".residues": "not kept"
            if self.kept_residues is None
            else f"float32 {self.residues.shape}",
        }
        body = "".join(f"<tr><th>{k}</th><td>{v}</td></tr>" for k, v in rows.items())
        title = escape(self.header if self.header.startswith(self.id) else self.id)
        return f"<table><caption>{title}</caption>{body}</table>"
