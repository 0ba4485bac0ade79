"""ESM-2 embeddings as a scikit-learn transformer."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from esmkit.embeddings.embed import embed
from esmkit.encoder.encoder import Encoder
from esmkit.errors import InputError, OptionError
from esmkit.sequences.proteins import Protein

__all__ = ["EsmEmbedder"]


class EsmEmbedder(TransformerMixin, BaseEstimator):
    """Turn protein sequences into pooled ESM-2 embeddings.

    There is nothing to fit: the model is frozen. ``fit`` only loads it, and ``transform`` does so
    if need be. Clones and pickles leave it out and load it again.

    Parameters
    ----------
    model : str or Path
        See :func:`esmkit.load`.
    layer : int
        Hidden state 0..N, or negative from the end.
    pool : {'mean', 'bos'}
        Mean over residues, or the BOS token.
    long, on_invalid, device, dtype, compiled
        See :func:`esmkit.embeddings.embed.embed` and :func:`esmkit.load`.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> pipeline = make_pipeline(EsmEmbedder(), LogisticRegression())
    >>> sequences = [protein.sequence for protein in esmkit.data.demo_proteins()[:4]]
    >>> fitted = pipeline.fit(sequences, ["short", "long", "short", "long"])   # doctest: +SKIP
    >>> fitted.predict_proba(sequences).shape                                 # doctest: +SKIP
    (4, 2)
    """

    def __init__(
        self,
        model: str | Path = "auto",
        *,
        layer: int = -1,
        pool: str = "mean",
        long: str = "window",
        on_invalid: str = "error",
        device: str = "auto",
        dtype: str = "float32",
        compiled: bool | None = None,
    ) -> None:
        self.model = model
        self.layer = layer
        self.pool = pool
        self.long = long
        self.on_invalid = on_invalid
        self.device = device
        self.dtype = dtype
        self.compiled = compiled

    def fit(self, X: Iterable[str | Protein], y: Any = None) -> "EsmEmbedder":
        """Load the model; nothing is learned from ``X``.

        Raises
        ------
        InputError
            If ``X`` is one string or a table instead of a sequence of strings.
        CheckpointError
            See :func:`esmkit.load`.
        """
        _refuse_tables(X)
        self._loaded()
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        # Not scikit-learn's validation, which is about numbers: the rules of esmkit.sequences.proteins
        tags.no_validation = True
        assert tags.transformer_tags is not None  # TransformerMixin sets them
        tags.transformer_tags.preserves_dtype = []  # float32, whatever comes in
        return tags

    def transform(self, X: Iterable[str | Protein]) -> NDArray[np.float32]:
        """Embed sequences.

        Parameters
        ----------
        X : iterable of B str or Protein
            A list, a one-dimensional array or a pandas Series.

        Returns
        -------
        numpy.ndarray of float32, shape (B, D)
            Row b belongs to sequence b. After ``set_output(transform="pandas")`` a DataFrame with
            the index of ``X``.

        Raises
        ------
        InputError
            If ``X`` is one string or a table instead of a sequence of strings, or is empty, or a
            sequence is not acceptable.
        OptionError
            If a parameter has a value that it cannot have.
        """
        _refuse_tables(X)
        sequences = list(X)
        if not sequences:
            raise InputError("X is empty: 0 sequence(s); give at least one")
        if self.pool not in ("mean", "bos"):
            raise OptionError(f"pool is 'mean' or 'bos', not {self.pool!r}")
        if self.on_invalid == "skip":
            raise OptionError("a transformer returns a row per sequence: skip is not possible here")
        results = embed(
            self._loaded(),
            sequences,
            layers=self.layer,
            residues=False,
            long=self.long,  # type: ignore[arg-type]
            on_invalid=self.on_invalid,  # type: ignore[arg-type]
        )
        return np.stack([getattr(result, self.pool) for result in results])

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return ``esm2_0`` to ``esm2_<D-1>``."""
        return np.array([f"esm2_{i}" for i in range(self._loaded().width)], dtype=object)

    def _loaded(self) -> Encoder:
        wanted = (self.model, self.device, self.dtype, self.compiled)
        if getattr(self, "_model_key", None) != wanted:
            self._model = Encoder.load(self.model, self.device, self.dtype, compiled=self.compiled)
            self._model_key = wanted
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {k: v for k, v in state.items() if k not in ("_model", "_model_key")}


def _refuse_tables(X: Any) -> None:
    """Refuse what is not a sequence of sequences.

    Iterating over a table or a dictionary gives the names of its columns, which are letters too:
    ``sequence`` would be embedded as a protein of eight residues.
    """
    shape = tuple(getattr(X, "shape", (0,)))
    kind = "sparse " if issparse(X) else ""
    what = f"a {kind}{type(X).__name__}" + (f" of shape {shape}" if len(shape) != 1 else "")
    if isinstance(X, str | Protein):
        what = "one string" if isinstance(X, str) else "one Protein"
    elif len(shape) == 1 and isinstance(X, Iterable) and not isinstance(X, bytes | Mapping):
        return
    raise InputError(f"X is {what}; give a list of sequences, or a column: table['sequence']")
