"""Embeddings: in memory, to a file, on a cluster, as a scikit-learn transformer.

``embed`` computes them, ``to_file`` does so from FASTA to one file that survives a kill, ``writers``
and ``reader`` know the formats, ``options`` what can be asked for; ``cluster`` is the same task on Ray.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.embeddings.embed import Embedding
    from esmkit.embeddings.options import EmbedOptions
    from esmkit.embeddings.reader import EmbeddingFile
    from esmkit.embeddings.sklearn import EsmEmbedder
    from esmkit.embeddings.to_file import embed_file

__all__ = ["EmbedOptions", "Embedding", "EmbeddingFile", "EsmEmbedder", "embed_file"]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "EmbedOptions": "options",
            "Embedding": "embed",
            "EmbeddingFile": "reader",
            "EsmEmbedder": "sklearn",
            "embed_file": "to_file",
        },
    )
