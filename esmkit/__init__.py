"""Look inside a protein language model: ESM-2 on your own proteins.

>>> import esmkit
>>> model = esmkit.load()                                  # doctest: +SKIP
>>> model.embed("MKTVRQERLKSIVRIL").residues.shape         # doctest: +SKIP
(16, 320)

The model
    ``load``              load ESM-2 with a checkpoint; returns an ``Esm2``
    ``Esm2``              ``.embed()``, ``.attention()``, ``.contacts()``, ``.score()``,
                          ``.score_variants()``, ``.trace()``, ``.decompose()``,
                          ``.attribute_logit()``, ``.attribute_contact()``, ``.logit_lens()``,
                          ``.network``
Proteins and structures
    ``Protein``           one protein: ID, sequence, header
    ``read_fasta``        stream the proteins of FASTA files
    ``Structure``         one chain: contacts, secondary structure, disulfides
    ``read_structure``    read one chain of a PDB or mmCIF file
    ``read_structures``   read all chains of a folder
    ``data``              the proteins and structures that travel with esmkit
Results
    ``Embedding``         hidden states of one protein
    ``AttentionMaps``     attention maps of one protein, per head
    ``Trace``             what a pass computed of one protein, by name
    ``ContactMap``        predicted contacts of one protein
    ``ContactHead``       which attention heads count how much in a contact map
    ``ProteinScore``      what the model expects at each residue of one protein
    ``patch``             which activations of one run restore what another has lost
    ``explore``           make an interactive page about one protein
    ``Explorer``          such a page
    ``atlas``             make one page with all heads of a model
    ``Atlas``             such a page
    ``reproduce``         compare published results with what is measured here
    ``Reproduction``      the table of that
Files
    ``read``              open what esmkit wrote, whatever it is
    ``EmbeddingFile``     embeddings on disk: a mapping from ID to array
    ``AttentionFile``     attention maps on disk: a mapping from ID to ``AttentionMaps``
    ``ScoreFile``         scores on disk: a mapping from ID to numbers
    ``embed_file``        embed FASTA files into one file; survives a kill
    ``attention_file``    the same for attention maps
    ``contacts_file``     the same for contact maps
    ``score_file``        the same for what the masked-LM head says of each protein
    ``trace_file``        the same for activations of the pass
    ``EmbedOptions``      what to embed, and how
    ``AttentionOptions``  which maps to extract, and how
    ``ScoreOptions``      what to score, and how
    ``TraceOptions``      which activations to keep, and how
    ``Run``               overwrite or go on, progress, messages
Checking
    ``verify_against``    are embeddings that somebody made this model's, or what happened?
    ``Diagnosis``         what it found
Further
    ``EsmEmbedder``       a scikit-learn transformer
    ``heads``             what each head looks at: ``heads.profile(model, structures)``
    ``inside``            reading, editing and differentiating what a pass computes
    ``contacts``          scoring and fitting of contact maps
    ``score``             what the masked-LM head says: probabilities, variants
    ``plots``             every figure
    ``reference``         the encoder from scratch, and ``reference.verify``
    ``sequences``         tokens, and the rules for sequences
    ``structure``         more about the chains of structure files
    ``explorer``          the package behind ``explore``
    ``sklearn``           its module, ``esmkit.embeddings.sklearn``, under a shorter name
    ``errors``            what esmkit raises; all are ``EsmkitError``
    ``EsmkitError``       an error with a remedy

Names are imported when they are first used, so that ``import esmkit`` does not load PyTorch.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names
from esmkit._version import __version__

if TYPE_CHECKING:
    from esmkit import (
        against,
        contacts,
        data,
        errors,
        explorer,
        heads,
        inside,
        plots,
        reference,
        score,
        sequences,
        sklearn,
        structure,
    )
    from esmkit.against.check import verify_against
    from esmkit.against.result import Diagnosis
    from esmkit.attention.hdf5 import AttentionFile
    from esmkit.attention.maps import AttentionMaps
    from esmkit.attention.options import AttentionOptions
    from esmkit.attention.to_file import attention_file
    from esmkit.contacts.head import ContactHead
    from esmkit.contacts.map import ContactMap
    from esmkit.contacts.to_file import contacts_file
    from esmkit.embeddings.embed import Embedding
    from esmkit.embeddings.options import EmbedOptions
    from esmkit.embeddings.reader import EmbeddingFile
    from esmkit.embeddings.sklearn import EsmEmbedder
    from esmkit.embeddings.to_file import embed_file
    from esmkit.errors import EsmkitError
    from esmkit.esm2 import Esm2, load
    from esmkit.explorer.atlas.make import atlas
    from esmkit.explorer.atlas.page import Atlas
    from esmkit.explorer.gather import explore
    from esmkit.explorer.page import Explorer
    from esmkit.files.run_options import Run
    from esmkit.inside.options import TraceOptions
    from esmkit.inside.patching import patch
    from esmkit.inside.result import Trace
    from esmkit.inside.to_file import trace_file
    from esmkit.published.reproducing import reproduce
    from esmkit.published.table import Reproduction
    from esmkit.results import read
    from esmkit.score.options import ScoreOptions
    from esmkit.score.protein_score import ProteinScore
    from esmkit.score.reader import ScoreFile
    from esmkit.score.to_file import score_file
    from esmkit.sequences.proteins import Protein, read_fasta
    from esmkit.structure.read import read_structure, read_structures
    from esmkit.structure.record import Structure

__all__ = [
    "Atlas",
    "AttentionFile",
    "AttentionMaps",
    "AttentionOptions",
    "ContactHead",
    "ContactMap",
    "Diagnosis",
    "EmbedOptions",
    "Embedding",
    "EmbeddingFile",
    "Esm2",
    "EsmEmbedder",
    "EsmkitError",
    "Explorer",
    "Protein",
    "ProteinScore",
    "Reproduction",
    "Run",
    "ScoreFile",
    "ScoreOptions",
    "Structure",
    "Trace",
    "TraceOptions",
    "__version__",
    "against",
    "atlas",
    "attention_file",
    "contacts",
    "contacts_file",
    "data",
    "embed_file",
    "errors",
    "explore",
    "explorer",
    "heads",
    "inside",
    "load",
    "patch",
    "plots",
    "read",
    "read_fasta",
    "read_structure",
    "read_structures",
    "reference",
    "reproduce",
    "score",
    "score_file",
    "sequences",
    "sklearn",
    "structure",
    "trace_file",
    "verify_against",
]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Atlas": "explorer.atlas.page",
            "AttentionFile": "attention.hdf5",
            "AttentionMaps": "attention.maps",
            "AttentionOptions": "attention.options",
            "ContactHead": "contacts.head",
            "ContactMap": "contacts.map",
            "Diagnosis": "against.result",
            "EmbedOptions": "embeddings.options",
            "Embedding": "embeddings.embed",
            "EmbeddingFile": "embeddings.reader",
            "Esm2": "esm2",
            "EsmEmbedder": "embeddings.sklearn",
            "EsmkitError": "errors",
            "Explorer": "explorer.page",
            "Protein": "sequences.proteins",
            "ProteinScore": "score.protein_score",
            "Reproduction": "published.table",
            "Run": "files.run_options",
            "ScoreFile": "score.reader",
            "ScoreOptions": "score.options",
            "Structure": "structure.record",
            "Trace": "inside.result",
            "TraceOptions": "inside.options",
            "atlas": "explorer.atlas.make",
            "attention_file": "attention.to_file",
            "contacts_file": "contacts.to_file",
            "embed_file": "embeddings.to_file",
            "explore": "explorer.gather",
            "load": "esm2",
            "patch": "inside.patching",
            "read": "results",
            "read_fasta": "sequences.proteins",
            "read_structure": "structure.read",
            "read_structures": "structure.read",
            "reproduce": "published.reproducing",
            "trace_file": "inside.to_file",
            "score_file": "score.to_file",
            "verify_against": "against.check",
        },
        {
            "against": "against",
            "contacts": "contacts",
            "data": "data",
            "errors": "errors",
            "explorer": "explorer",
            "heads": "heads",
            "inside": "inside",
            "plots": "plots",
            "reference": "reference",
            "score": "score",
            "sequences": "sequences",
            "sklearn": "sklearn",
            "structure": "structure",
        },
    )
