"""ESM-2 embeddings as a scikit-learn transformer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from esmkit.embed import embed
from esmkit.errors import InputError, OptionError
from esmkit.model import Esm2, load
from esmkit.sequences import Protein

__all__ = ["EsmEmbedder"]


class EsmEmbedder(TransformerMixin, BaseEstimator):
    """Turn protein sequences into pooled ESM-2 embeddings.

    There is nothing to fit: the model is frozen. It is loaded at the first ``transform`` and left
    out of pickles.

    Parameters
    ----------
    model : str
        See :func:`esmkit.load`.
    layer : int
        Hidden state 0..N, or negative from the end.
    pool : {'mean', 'bos'}
        Mean over residues, or the BOS token.
    long, on_invalid, device, dtype
        See :func:`esmkit.embed.embed` and :func:`esmkit.load`.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> pipeline = make_pipeline(EsmEmbedder(), LogisticRegression())
    >>> pipeline.fit(sequences, labels)                             # doctest: +SKIP
    """

    def __init__(
        self,
        model: str = "auto",
        *,
        layer: int = -1,
        pool: str = "mean",
        long: str = "window",
        on_invalid: str = "error",
        device: str = "auto",
        dtype: str = "float32",
    ) -> None:
        self.model = model
        self.layer = layer
        self.pool = pool
        self.long = long
        self.on_invalid = on_invalid
        self.device = device
        self.dtype = dtype

    def fit(self, X: Sequence[str | Protein], y: Any = None) -> "EsmEmbedder":
        """Do nothing but return self."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, X: Sequence[str | Protein]) -> NDArray[np.float32]:
        """Embed sequences.

        Parameters
        ----------
        X : sequence of B str or Protein

        Returns
        -------
        numpy.ndarray of float32, shape (B, D)
            Row b belongs to sequence b.

        Raises
        ------
        InputError
            If ``X`` is one string instead of a sequence of them, or a sequence is not acceptable.
        """
        if isinstance(X, str):
            raise InputError("X is one string; give a list of sequences")
        if self.pool not in ("mean", "bos"):
            raise OptionError(f"pool is 'mean' or 'bos', not {self.pool!r}")
        if self.on_invalid == "skip":
            raise OptionError("a transformer returns a row per sequence: skip is not possible here")
        results = embed(
            self._loaded(),
            list(X),
            layers=self.layer,
            residues=False,
            long=self.long,  # type: ignore[arg-type]
            on_invalid=self.on_invalid,  # type: ignore[arg-type]
        )
        return np.stack([getattr(result, self.pool) for result in results])

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return ``esm2_0`` to ``esm2_<D-1>``."""
        return np.array([f"esm2_{i}" for i in range(self._loaded().width)], dtype=object)

    def _loaded(self) -> Esm2:
        wanted = (self.model, self.device, self.dtype)
        if getattr(self, "_model_key", None) != wanted:
            self._model = load(*wanted)
            self._model_key = wanted
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {k: v for k, v in state.items() if k not in ("_model", "_model_key")}
