"""Embeddings: in memory, to a file, on a cluster, as a scikit-learn transformer."""
