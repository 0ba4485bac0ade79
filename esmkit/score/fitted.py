"""A masked-LM head that was fitted: its numbers, how good it is, and its file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from esmkit.score.held_out import HeldOut

__all__ = ["FittedHead"]


@dataclass(frozen=True)
class FittedHead:
    """A masked-LM head that was fitted, how good it is, and what it was fitted to.

    Attributes
    ----------
    tensors : dict from str to torch.Tensor
        float32: ``dense.weight`` (D, D), ``dense.bias``, ``layer_norm.weight``, ``layer_norm.bias``
        (D,) and ``bias`` (33,). The decoder is the encoder's token embedding.
    facts : dict
        What its file says of it.
    validation : HeldOut
        How good it is on the residues that decided when to stop.
    perplexities : list of float
        Of these residues after each epoch, over all 33 tokens.

    See Also
    --------
    esmkit.score.fit_lm_head : Fits it.

    Examples
    --------
    >>> proteins = sorted(esmkit.data.training_proteins("held_out"), key=len)[:25]  # doctest: +SKIP
    >>> fitted = esmkit.score.fit_lm_head(
    ...     esmkit.load(), proteins[:20], validation=proteins[20:], draws=1, epochs=2
    ... )  # doctest: +SKIP
    >>> fitted.validation.proteins, fitted.best_epoch, len(fitted.perplexities)  # doctest: +SKIP
    (5, 2, 2)
    >>> fitted.save("head.safetensors").name  # doctest: +SKIP
    'head.safetensors'
    """

    tensors: dict[str, Any]
    facts: dict[str, Any]
    validation: HeldOut
    perplexities: list[float]

    @property
    def best_epoch(self) -> int:
        """Number, from 1, of the epoch whose weights these are."""
        return int(np.argmin(self.perplexities)) + 1

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write it to a file that ``esmkit.load(lm_head=path)`` reads.

        Parameters
        ----------
        path : str or Path
        force : bool
            Overwrite a file that exists.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OutputError
            If it exists and ``force`` is not set, or it cannot be written.
        """
        from safetensors.torch import save

        from esmkit.files.disk import check_output, disk_errors, write_durably

        path = Path(path)
        check_output(path, force=force, named="path", forced="force=True")
        text = json.dumps(self.facts, ensure_ascii=False, sort_keys=True)
        tensors = {name: self.tensors[name].contiguous() for name in sorted(self.tensors)}
        with disk_errors(path):
            write_durably(path, save(tensors, metadata={"facts": text}))
        return path
