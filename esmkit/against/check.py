"""Whether a file holds a model's embeddings of some proteins, and if not, what happened."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from esmkit.against.examine import examine
from esmkit.against.expected import Expected, sources_for
from esmkit.against.given import Given, Lazy, Part, check_arrays
from esmkit.against.layout import laid_out
from esmkit.against.naming import Pairing, pair
from esmkit.against.reading import read_given
from esmkit.against.result import Diagnosis, PartDiagnosis
from esmkit.arguments import checked
from esmkit.encoder.encoder import Encoder
from esmkit.errors import EsmkitError, InputError, OptionError
from esmkit.sequences.fasta import fasta_records
from esmkit.sequences.proteins import Protein, clean_proteins, read_fasta
from esmkit.text import Say, shorten, silent, visible

__all__ = ["compare", "texts_of", "verify_against"]

MOST_PARTS = 200
"""Layers and kinds of vectors of one file."""

_LISTED = 3


@checked
def verify_against(
    model: Encoder,
    path: str | Path,
    proteins: str | Path | Iterable[Protein] | None = None,
    *,
    layer: int | None = None,
    pool: str | None = None,
    progress: Say = silent,
) -> Diagnosis:
    """Say whether a file holds this model's embeddings of some proteins, and if not, what happened.

    The file may be anybody's: HDF5 as UniProt, bio_embeddings, ProtTrans, ProtSpace, protembedder
    or scikit-bio write it, Parquet, CSV, TSV, npz, npy (with PEPE's table of headers), PyTorch's
    ``.pt`` (that of fair-esm's ``extract.py``, or a folder of them; nothing in it is run),
    safetensors, or what :func:`esmkit.embed_file` wrote. Vectors of proteins, of residues or of
    tokens, of one layer or several, are told apart by their shapes.

    Each record is computed anew in the way that is expected. Records that differ by more than
    rounding are explained by a search: another hidden state or a mean of several, another pooling,
    special tokens or padding in the mean, cuts and windows, altered sequences, token dropout,
    half precision, scaled, centred or reordered columns, shuffled or shifted names, and two of them
    at once; then by what the distances between proteins say: other weights, another model, random
    numbers. What is explained is explained to rounding, record by record; what is only likely is
    said to be so.

    Parameters
    ----------
    model : Encoder
        In float32.
    path : path
        The file, or a folder of ``.pt`` files.
    proteins : path or iterable of Protein, optional
        A FASTA file, or proteins; by default the sequences that the file itself has.
    layer : int, optional
        Hidden state that the file should hold, 0..N or negative; by default what the file says, or
        the last. Of a file that says that it has several, this one is looked at.
    pool : {'mean', 'bos'}, optional
        Pooling that vectors of proteins should have; by default what the file says, or the mean.
        Of a file that says that it has several, this one is looked at.
    progress : callable
        Called with a sentence for each step.

    Returns
    -------
    Diagnosis
        ``.verdict`` is ``same``, ``differs`` or ``unknown``.

    Raises
    ------
    InputError
        If the file cannot be read, holds something else, or has none of the proteins.
    OptionError
        If the model is not in float32, or there is no such layer or pooling.

    Examples
    --------
    >>> model = esmkit.load()                                               # doctest: +SKIP
    >>> fasta = esmkit.data.ubiquitin_fasta()                               # doctest: +SKIP
    >>> options = esmkit.EmbedOptions(layers=[5])                           # doctest: +SKIP
    >>> esmkit.embed_file(model, fasta, "layer5.h5", options)               # doctest: +SKIP
    >>> esmkit.verify_against(model, "layer5.h5", fasta, layer=6)           # doctest: +SKIP
    Diagnosis(differs: hidden state 5 and not 6, one layer too early)
    """
    if isinstance(proteins, str | Path):
        chosen = list(read_fasta(proteins))
        texts = texts_of(proteins, chosen)
        return compare(model, path, chosen, texts, layer=layer, pool=pool, progress=progress)
    return compare(model, path, proteins, None, layer=layer, pool=pool, progress=progress)


def compare(
    model: Encoder,
    path: str | Path,
    proteins: Iterable[Protein] | None,
    texts: Sequence[str] | None,
    *,
    layer: int | None = None,
    pool: str | None = None,
    progress: Say = silent,
) -> Diagnosis:
    """Do what :func:`verify_against` does, with proteins that have been read already.

    Parameters
    ----------
    model, path, layer, pool, progress
        See :func:`verify_against`.
    proteins : iterable of Protein, optional
    texts : sequence of str, optional
        What the FASTA says of each, letter by letter (:func:`texts_of`); by default its sequence.
    """
    if model.dtype != torch.float32:
        raise OptionError("verification is about float32: load the model with dtype float32")
    if pool not in (None, "mean", "bos"):
        raise OptionError(f"pool is 'mean' or 'bos', not {pool!r}")
    wanted = None if layer is None else model.resolve_layers([layer])[0]
    given = read_given(path)
    try:
        chosen, written = _proteins(given, proteins)
        given = laid_out(given, model.width, chosen)
        return _diagnose(model, given, chosen, list(texts or written), wanted, pool, progress)
    except (MemoryError, RuntimeError) as error:
        # PyTorch has no class of its own for the memory of a CPU
        of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not of_memory and "alloc" not in str(error):
            raise
        raise InputError(
            f"{given.path!r} does not fit into memory; give a FASTA of fewer of its proteins"
        ) from None
    finally:
        if given.close is not None:
            given.close()


def _proteins(given: Given, proteins: Iterable[Protein] | None) -> tuple[list[Protein], list[str]]:
    """Return the proteins and their sequences."""
    if proteins is None:
        if not given.sequences:
            raise InputError(
                f"{given.path!r} has no sequences in it; give the FASTA that it was made of"
            )
        items = [Protein(name, text.strip()) for name, text in given.sequences.items()]
        return list(clean_proteins(items)), [item.sequence for item in items]
    chosen = list(proteins)
    for one in chosen:
        if not hasattr(one, "sequence"):
            raise InputError(
                f"proteins are Protein records, not {type(one).__name__}; give those that "
                "esmkit.read_fasta returns, or a FASTA file"
            )
    return chosen, [one.sequence for one in chosen]


def texts_of(path: str | Path, proteins: Sequence[Protein]) -> list[str]:
    """Return the sequences of a FASTA as they are written, for proteins that were read from it."""
    written: dict[str, list[str]] = {}
    for record in fasta_records(path):
        written.setdefault(record.header, []).append(record.sequence)
    found = []
    for protein in proteins:
        texts = written.get(protein.header, [])
        found.append(texts.pop(0) if texts else protein.sequence)
    return found


def _diagnose(
    model: Encoder,
    given: Given,
    proteins: list[Protein],
    texts: list[str],
    layer: int | None,
    pool: str | None,
    say: Say,
) -> Diagnosis:
    if not proteins:
        raise InputError("there is no protein to compare with; give at least one")
    parts: list[PartDiagnosis] = []
    notes = list(given.notes)
    chosen, left_out = _chosen(model, list(_expanded(model, given, proteins)), layer, pool)
    for number, part in enumerate(chosen):
        names = list(part.arrays)
        if not names:
            raise InputError(f"{given.path!r} holds no records; make the file anew")
        pairing = pair(names, proteins, given.path)
        if not number:
            notes += _pairing_notes(pairing, proteins)
        arrays = check_arrays(part, list(pairing.proteins), given.path)
        for piece, name in _columns(model, arrays, part.name):
            if part.name or name:
                say(f"looking at {name or part.name}")
            parts.append(
                examine(
                    *(model, piece, pairing, proteins, texts),
                    _expected(model, part, layer, pool),
                    name=name,
                    path=given.path,
                    say=say,
                )
            )
    notes += [*left_out, *_checkpoint_notes(model, given)]
    return Diagnosis(given.path, given.kind, model.checkpoint.to_dict(), parts, notes)


def _stated(model: Encoder, part: Part) -> int | None:
    """Return the hidden state that a part says it is, 0..N."""
    try:
        return None if part.layer is None else model.resolve_layers([part.layer])[0]
    except EsmkitError:
        return None  # a number that is no layer of this model


def _chosen(
    model: Encoder, parts: list[Part], layer: int | None, pool: str | None
) -> tuple[list[Part], list[str]]:
    """Return the parts that are asked for, and a note on the others.

    Of a file that has several layers, or poolings, and says which is which, those that state another
    are none of the question; of one that states a single other one, this is what is asked.
    """
    kept, what = parts, []
    for wanted, words, told in (
        (layer, f"hidden state {layer}", lambda part: _stated(model, part)),
        (pool, f"pooling {pool}", lambda part: part.pool),
    ):
        stated = {told(part) for part in kept} - {None}
        if wanted in stated and len(stated) > 1:
            kept = [part for part in kept if told(part) in (None, wanted)]
            what.append(words)
    if not what:
        return kept, []
    return kept, [
        f"only what the file has of {' and '.join(what)} was looked at: {len(kept):,} of "
        f"{len(parts):,} parts"
    ]


def _expected(model: Encoder, part: Part, layer: int | None, pool: str | None) -> Expected:
    stated = layer if layer is not None else _stated(model, part)
    return Expected(
        model.layers if stated is None else stated,
        pool or part.pool or "mean",
        stated is None and part.name.startswith("index "),
        sources_for(part.long),
    )


def _expanded(model: Encoder, given: Given, proteins: Sequence[Protein]) -> Iterator[Part]:
    """Yield parts of one layer each, of arrays that have an axis of layers too."""
    if len(given.parts) > MOST_PARTS:
        raise InputError(
            f"{given.path!r} holds {len(given.parts):,} kinds of arrays; give a file with one array "
            "for each protein"
        )
    lengths = {len(protein) for protein in proteins}
    for part in given.parts:
        first = next(iter(part.arrays), None)
        shape = () if first is None else np.shape(part.arrays[first])
        layers = shape[0] if len(shape) > 1 else 0
        of_layers = len(shape) == 3 and layers > 1
        if len(shape) == 2 and layers in (model.layers, model.layers + 1):
            shapes = {np.shape(array)[0] for array in part.arrays.values()}
            near = {layers, layers - 1, layers - 2, layers - 3}
            of_layers = len(shapes) == 1 and not lengths <= near
        if not of_layers or layers > MOST_PARTS:
            yield part
            continue
        for index in range(layers):
            number = index + (model.layers + 1 - layers)
            stated = number if layers in (model.layers, model.layers + 1) else None
            get = _at(part, index)
            names = {name: name for name in part.arrays}
            title = f"index {index} of {layers}"
            yield replace(part, arrays=Lazy(names, get), name=title, layer=stated)


def _at(part: Part, index: int) -> Any:
    return lambda name: part.arrays[name][index]


def _columns(model: Encoder, arrays: dict[str, Any], name: str) -> Iterator[tuple[Any, str]]:
    """Yield vectors of the model's width; those of several put side by side one by one."""
    width = next(iter(arrays.values())).shape[-1]
    times = width // model.width
    if times * model.width != width or not 1 < times <= model.layers + 4:
        yield arrays, name
        return
    for block in range(times):
        where = slice(block * model.width, (block + 1) * model.width)
        title = f"{name}{', ' * bool(name)}columns {where.start + 1:,} to {where.stop:,}"
        yield {key: array[..., where] for key, array in arrays.items()}, title


def _pairing_notes(pairing: Pairing, proteins: Sequence[Protein]) -> list[str]:
    def listed(names: Sequence[str]) -> str:
        more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
        return ", ".join(shorten(visible(name), 40) for name in names[:_LISTED]) + more

    notes = []
    if pairing.distinct:
        notes.append(
            f"the file has no IDs and as many records as there are different sequences, "
            f"{len(pairing.proteins):,}: they were taken for these in the order of the FASTA"
        )
    elif pairing.by_place:
        first = next(name for name, place in pairing.proteins.items() if not place)
        notes.append(
            "the file has no IDs: its first record was taken for the first protein, and so on"
            if first == "row 0"
            else "the file has no IDs but numbers, which were taken for places: "
            f"{shorten(visible(first))!r} is the first protein"
        )
    if pairing.absent:
        ids = [proteins[n].id for n in pairing.absent]
        notes.append(
            f"{len(ids):,} of {len(proteins):,} proteins are not in the file: {listed(ids)}"
        )
    if pairing.repeated:
        one = len(pairing.repeated) == 1
        notes.append(
            f"{len(pairing.repeated):,} {'record has' if one else 'records have'} an ID that another "
            f"has before, and {'was' if one else 'were'} left out: {listed(pairing.repeated)}"
        )
    if pairing.unknown:
        notes.append(
            f"{len(pairing.unknown):,} {'record' if len(pairing.unknown) == 1 else 'records'} of the "
            f"file {'is' if len(pairing.unknown) == 1 else 'are'} of other proteins: {listed(pairing.unknown)}"
        )
    return notes


def _checkpoint_notes(model: Encoder, given: Given) -> list[str]:
    """Say which weights the file says it was made with, if others."""
    name, hashed = given.checkpoint.get("name"), given.checkpoint.get("sha256")
    own = model.checkpoint
    if not name or hashed == own.sha256:
        return []
    if name != own.name:
        return [
            f"the file says that it was made with {shorten(visible(str(name)))}; it was compared "
            f"with {own.name}"
        ]
    if not hashed:
        return []
    return [
        f"the file says that it was made with other weights named {own.name} (SHA-256 "
        f"{shorten(visible(str(hashed)), 12)})"
    ]
