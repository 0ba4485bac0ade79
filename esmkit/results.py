"""One function that reads back whatever esmkit wrote."""

from pathlib import Path
from typing import Any

from esmkit.arguments import checked
from esmkit.attention.hdf5 import AttentionFile
from esmkit.embeddings.reader import EmbeddingFile
from esmkit.files.contents import format_of_content
from esmkit.files.hdf5 import open_hdf5
from esmkit.files.provenance import PROVENANCE, parse_provenance
from esmkit.files.reading import UNREADABLE
from esmkit.inside.hdf5 import TraceFile
from esmkit.paths import is_file
from esmkit.score.reader import ScoreFile, holds_scores

__all__ = ["read"]


@checked
def read(path: str | Path) -> Any:
    """Open what esmkit wrote: embeddings, contacts, attention maps, scores, traces, whatever its name.

    Embeddings may be HDF5, Parquet, npz, CSV, or a folder of ``--engine ray``; those that UniProt,
    bio_embeddings or ProtTrans wrote are read too, with an empty ``provenance``.

    Parameters
    ----------
    path : path

    Returns
    -------
    EmbeddingFile
        Output of ``esmkit embed``: a mapping from ID to float32 array, (D,) per protein or (R, D)
        per residue, with a leading layer axis if several layers were asked for; with
        ``.provenance`` and ``.to_frame()``.
    AttentionFile
        Output of ``esmkit attention``: a mapping from ID to
        :class:`esmkit.attention.maps.AttentionMaps`.
    TraceFile
        Output of ``esmkit trace``: a mapping from ID to :class:`esmkit.inside.hdf5.StoredTrace`.
    ScoreFile
        Output of ``esmkit score``: a mapping from ID to that protein's numbers; with
        ``.to_frame()``.

    Raises
    ------
    OutputError
        If the file is missing, or holds something else; the sentence says what.

    Examples
    --------
    >>> demo = esmkit.data.demo_fasta()
    >>> esmkit.embed_file(esmkit.load, demo, "demo.h5")                      # doctest: +SKIP
    >>> esmkit.read("demo.h5")["P69905"].shape                               # doctest: +SKIP
    (320,)
    >>> esmkit.attention_file(esmkit.load, demo, "demo.attention.h5")        # doctest: +SKIP
    >>> esmkit.read("demo.attention.h5")["P69905"]["L5H4"].shape             # doctest: +SKIP
    (142, 142)
    >>> ubiquitin = esmkit.data.ubiquitin_fasta()
    >>> esmkit.score_file(esmkit.load, ubiquitin, "ubiquitin.score.tsv")     # doctest: +SKIP
    >>> int(esmkit.read("ubiquitin.score.tsv")["1UBI_A"]["counted"])         # doctest: +SKIP
    76
    """
    place = Path(path)
    task = _task_of(place) if is_file(place) else None
    if task == "attention":
        return AttentionFile(path)
    if task == "trace":
        return TraceFile(path)
    if is_file(place) and holds_scores(place):
        return ScoreFile(path)
    return EmbeddingFile(path)


def _task_of(path: Path) -> str | None:
    """Return which task wrote an HDF5 file; what cannot be read is left to the reader to refuse."""
    try:
        if format_of_content(path) != "h5":
            return None
        with open_hdf5(path) as handle:
            return parse_provenance(str(handle.attrs[PROVENANCE])).get("task")
    except UNREADABLE:
        return None
