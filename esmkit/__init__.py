"""esmkit: look inside a protein language model.

>>> import esmkit
>>> model = esmkit.load()                       # doctest: +SKIP
>>> model.embed("MKTVRQERLKSIVRIL").mean        # doctest: +SKIP

The names below are the public ones. They are imported when first used, so that ``import esmkit``
does not load PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from esmkit._version import __version__

if TYPE_CHECKING:
    from esmkit import contacts, data, errors, explorer, heads, plots, structure
    from esmkit.attention.hdf5 import AttentionFile
    from esmkit.attention.maps import AttentionMaps
    from esmkit.attention.options import AttentionOptions
    from esmkit.attention.to_file import attention_file
    from esmkit.contacts.head import ContactHead
    from esmkit.contacts.map import ContactMap
    from esmkit.contacts.to_file import contacts_file
    from esmkit.embeddings import sklearn
    from esmkit.embeddings.embed import Embedding
    from esmkit.embeddings.options import EmbedOptions
    from esmkit.embeddings.reader import read
    from esmkit.embeddings.to_file import embed_file
    from esmkit.encoder.encoder import Esm2, load
    from esmkit.errors import EsmkitError
    from esmkit.explorer.gather import explore
    from esmkit.explorer.page import Explorer
    from esmkit.reference import encoder as reference
    from esmkit.reference import transformer as blueprint
    from esmkit.sequences import tokens as alphabet
    from esmkit.sequences.proteins import Protein, read_fasta
    from esmkit.structure import Structure, read_structure, read_structures

__all__ = [
    "AttentionFile",
    "AttentionMaps",
    "AttentionOptions",
    "ContactHead",
    "ContactMap",
    "EmbedOptions",
    "Embedding",
    "Esm2",
    "EsmkitError",
    "Explorer",
    "Protein",
    "Structure",
    "__version__",
    "alphabet",
    "attention_file",
    "blueprint",
    "contacts",
    "contacts_file",
    "data",
    "embed_file",
    "errors",
    "explore",
    "explorer",
    "heads",
    "load",
    "plots",
    "read",
    "read_fasta",
    "read_structure",
    "read_structures",
    "reference",
    "sklearn",
    "structure",
]

_HOME = {
    "AttentionFile": "esmkit.attention.hdf5",
    "AttentionMaps": "esmkit.attention.maps",
    "AttentionOptions": "esmkit.policies",
    "EmbedOptions": "esmkit.policies",
    "Embedding": "esmkit.embeddings.embed",
    "Esm2": "esmkit.encoder.encoder",
    "EsmkitError": "esmkit.errors",
    "Explorer": "esmkit.explorer.page",
    "Protein": "esmkit.sequences.proteins",
    "Structure": "esmkit.structure",
    "ContactHead": "esmkit.contacts.head",
    "ContactMap": "esmkit.contacts.map",
    "attention_file": "esmkit.attention.to_file",
    "contacts_file": "esmkit.contacts.to_file",
    "embed_file": "esmkit.embeddings.to_file",
    "explore": "esmkit.explorer.gather",
    "load": "esmkit.encoder.encoder",
    "read": "esmkit.embeddings.reader",
    "read_fasta": "esmkit.sequences.proteins",
    "read_structure": "esmkit.structure",
    "read_structures": "esmkit.structure",
}
_MODULES = (
    "alphabet",
    "blueprint",
    "contacts",
    "data",
    "errors",
    "explorer",
    "heads",
    "plots",
    "reference",
    "sklearn",
    "structure",
)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"esmkit.{name}")
    else:
        raise AttributeError(f"module 'esmkit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
