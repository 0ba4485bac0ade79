"""The embed task beyond one machine: ranges of FASTA files through a pool of Ray workers.

``ranges`` cuts files at record boundaries, ``storage`` reads and writes folders wherever they are,
``dataset`` is the layout of the output, ``worker`` runs on the cluster, ``cluster`` starts or joins
Ray, ``pipeline`` drives the whole, and ``check`` and ``merge`` read the result. Ray is imported in
``cluster`` and ``pipeline`` only, when they run: checking and merging need no Ray.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esmkit.embeddings.cluster.check import check_dataset
    from esmkit.embeddings.cluster.cluster import Workers
    from esmkit.embeddings.cluster.merge import merge_dataset
    from esmkit.embeddings.cluster.pipeline import embed_dataset

__all__ = ["Workers", "check_dataset", "embed_dataset", "merge_dataset"]

_HOME = {
    "Workers": "cluster",
    "check_dataset": "check",
    "embed_dataset": "pipeline",
    "merge_dataset": "merge",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'esmkit.embeddings.cluster' has no attribute {name!r}")
    return getattr(importlib.import_module(f"esmkit.embeddings.cluster.{_HOME[name]}"), name)
