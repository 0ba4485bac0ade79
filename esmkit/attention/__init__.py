"""Attention maps: in memory, to a file, to figures, and summed up in numbers.

``extract`` computes them, ``maps`` is what comes out, ``to_file`` writes them from FASTA to the HDF5
of ``hdf5``, ``to_figures`` draws such a file, ``to_views`` shows
its heads on structures as ``on_structure`` says, ``summaries`` keeps numbers instead of maps.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.attention.hdf5 import AttentionFile
    from esmkit.attention.maps import AttentionMaps
    from esmkit.attention.options import AttentionOptions
    from esmkit.attention.summaries import reduce_maps, summarize
    from esmkit.attention.to_figures import attention_figures
    from esmkit.attention.to_file import attention_file

__all__ = [
    "AttentionFile",
    "AttentionMaps",
    "AttentionOptions",
    "attention_figures",
    "attention_file",
    "reduce_maps",
    "summarize",
]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "AttentionFile": "hdf5",
            "AttentionMaps": "maps",
            "AttentionOptions": "options",
            "attention_figures": "to_figures",
            "attention_file": "to_file",
            "reduce_maps": "summaries",
            "summarize": "summaries",
        },
    )
