"""The transformer for scikit-learn: ``from esmkit.sklearn import EsmEmbedder``."""

from esmkit.embeddings.sklearn import EsmEmbedder

__all__ = ["EsmEmbedder"]
