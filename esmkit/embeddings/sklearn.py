"""ESM-2 embeddings as a scikit-learn transformer."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import what_is, whole_number
from esmkit.embeddings.embed import Embedding, embed
from esmkit.encoder.encoder import Encoder
from esmkit.errors import InputError, OptionError
from esmkit.sequences.given import ManyProteins, OneProtein, one_or_many

if TYPE_CHECKING:
    # scikit-learn carries no types; these are those of what an embedder has from its classes
    class BaseEstimator:
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def __sklearn_tags__(self) -> Any: ...
        def __getstate__(self) -> dict[str, Any]: ...

    class TransformerMixin:
        def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any: ...
        def set_output(
            self, *, transform: Literal["default", "pandas", "polars"] | None = None
        ) -> Self: ...
else:
    from sklearn.base import BaseEstimator, TransformerMixin

__all__ = ["EsmEmbedder"]


class EsmEmbedder(TransformerMixin, BaseEstimator):
    """Turn protein sequences into pooled ESM-2 embeddings.

    There is nothing to fit: the model is frozen. ``fit`` only loads it, and ``transform`` does so
    if need be. Clones and pickles leave it out and load it again; a loaded model that is given is
    shared by clones, and pickles hold it.

    Parameters
    ----------
    model : str, Path or Esm2
        A name or path as :func:`esmkit.load` takes it, or a model that is loaded; then ``device``,
        ``dtype`` and ``compiled`` stay as they are by default.
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
        model: str | Path | Encoder = "auto",
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

    def fit(self, X: OneProtein | ManyProteins, y: Any = None) -> "EsmEmbedder":
        """Load the model; nothing is learned from ``X``.

        Parameters
        ----------
        X : proteins
            As :meth:`transform` takes them; looked at, not embedded.
        y : object, optional
            Taken for scikit-learn's sake.

        Returns
        -------
        EsmEmbedder
            Itself.

        Raises
        ------
        InputError
            If ``X`` is nothing that holds proteins.
        OptionError
            If a loaded model is given and a device, dtype or ``compiled`` beside it.
        CheckpointError
            See :func:`esmkit.load`.
        """
        if not isinstance(X, Iterator):  # which would be used up, and transform looks as well
            one_or_many(X, on_invalid="skip")
        self._loaded()
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
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

    def _more_tags(self) -> dict[str, object]:
        """Return the same tags for scikit-learn before 1.6."""
        return {
            "X_types": ["string", "1darray"],
            "requires_fit": False,
            "stateless": True,
            "no_validation": True,
            "preserves_dtype": [],
        }

    def transform(self, X: OneProtein | ManyProteins) -> NDArray[np.float32]:
        """Embed proteins.

        Parameters
        ----------
        X : B proteins
            Whatever :meth:`esmkit.Esm2.embed` takes: a list, a one-dimensional array, a Series, a
            table with a column ``sequence``, a dict, a FASTA path. One protein is one row.

        Returns
        -------
        numpy.ndarray of float32, shape (B, D)
            Row b belongs to sequence b. After ``set_output(transform="pandas")`` a DataFrame with
            the index of ``X``; that of a Series since scikit-learn 1.8.

        Raises
        ------
        InputError
            If ``X`` is nothing that holds proteins, or is empty, or a sequence is not acceptable.
        OptionError
            If a parameter has a value that it cannot have.

        Examples
        --------
        >>> peptides = {"oxytocin": "CYIQNCPLG", "vasopressin": "CYFQNCPRG"}  # doctest: +SKIP
        >>> EsmEmbedder(esmkit.load()).transform(peptides).shape  # doctest: +SKIP
        (2, 320)
        """
        if not isinstance(self.pool, str) or self.pool not in ("mean", "bos"):
            raise OptionError(f"pool is 'mean' or 'bos', not {what_is(self.pool)}")
        if isinstance(self.on_invalid, str) and self.on_invalid == "skip":
            raise OptionError("a transformer returns a row per sequence: skip is not possible here")
        if whole_number(self.layer) is None:
            raise OptionError(f"layer is a whole number, not {what_is(self.layer)}")
        found: Any = embed(
            self._loaded(),
            X,  # type: ignore[arg-type]
            layers=self.layer,
            residues=False,
            long=self.long,  # type: ignore[arg-type]
            on_invalid=self.on_invalid,  # type: ignore[arg-type]
        )
        rows = [
            getattr(one, self.pool) for one in ([found] if isinstance(found, Embedding) else found)
        ]
        if not rows:
            raise InputError("X is empty: 0 sequence(s); give at least one")
        return np.stack(rows)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return ``esm2_0`` to ``esm2_<D-1>``.

        Parameters
        ----------
        input_features : object, optional
            Taken for scikit-learn's sake.

        Returns
        -------
        numpy.ndarray of str, shape (D,)

        Examples
        --------
        >>> EsmEmbedder(esmkit.load()).get_feature_names_out()[[0, -1]].tolist()  # doctest: +SKIP
        ['esm2_0', 'esm2_319']
        """
        return np.array([f"esm2_{i}" for i in range(self._loaded().width)], dtype=object)

    def _loaded(self) -> Encoder:
        if isinstance(self.model, Encoder):
            beside = {"device": "auto", "dtype": "float32", "compiled": None}
            for name, default in beside.items():
                value = getattr(self, name)
                if not isinstance(value, type(default)) or value != default:
                    raise OptionError(
                        f"the model is loaded already, so {name}={what_is(value)} has no "
                        "effect; give it to esmkit.load"
                    )
            return self.model
        wanted = (self.model, self.device, self.dtype, self.compiled)
        known = all(isinstance(one, str | Path | bool | None) for one in wanted)
        if not known or getattr(self, "_model_key", None) != wanted:  # load says what is wrong
            self._model = Encoder.load(self.model, self.device, self.dtype, compiled=self.compiled)
            self._model_key = wanted
        return self._model

    def __sklearn_clone__(self) -> "EsmEmbedder":
        """Return a new embedder with the same parameters; a loaded model is shared, not copied."""
        copied = type(self)(**self.get_params(deep=False))
        for name in ("_sklearn_output_config", "_metadata_request"):  # as scikit-learn's clone does
            if hasattr(self, name):
                setattr(copied, name, deepcopy(getattr(self, name)))
        return copied

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {k: v for k, v in state.items() if k not in ("_model", "_model_key")}
