"""The embed task beyond one machine: ranges of FASTA files through a pool of Ray workers.

``ranges`` cuts files at record boundaries, ``storage`` reads and writes folders wherever they are,
``dataset`` is the layout of the output, ``worker`` runs on the cluster, ``cluster`` starts or joins
Ray, ``pipeline`` drives the whole, and ``check`` and ``merge`` read the result. Ray is imported in
``cluster`` and ``pipeline`` only, when they run: checking and merging need no Ray.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.embeddings.cluster.check import check_dataset
    from esmkit.embeddings.cluster.cluster import Workers
    from esmkit.embeddings.cluster.merge import merge_dataset
    from esmkit.embeddings.cluster.pipeline import embed_dataset

__all__ = ["Workers", "check_dataset", "embed_dataset", "merge_dataset"]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Workers": "cluster",
            "check_dataset": "check",
            "embed_dataset": "pipeline",
            "merge_dataset": "merge",
        },
    )
