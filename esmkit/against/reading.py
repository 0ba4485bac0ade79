"""Any file of embeddings as :class:`Given`: whatever wrote it, told by what it holds."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from esmkit.against.arrays import read_hdf5, read_npy, read_npz
from esmkit.against.given import Given, Lazy, Part
from esmkit.against.listed import with_ids_beside
from esmkit.against.plain import read_json, read_pickled
from esmkit.against.pytorch import read_folder, read_pytorch, read_safetensors
from esmkit.against.tables import read_feather, read_parquet
from esmkit.against.texts import read_text_table
from esmkit.embeddings.reader import EmbeddingFile
from esmkit.errors import EsmkitError, InputError, MissingDependencyError
from esmkit.files.contents import describe, format_of_content
from esmkit.files.outputs import is_stream
from esmkit.paths import no_name
from esmkit.text import missing, open_text, shorten

__all__ = ["read_given"]

_OTHER_TASKS = ("attention", "score", "trace", "contacts")


def read_given(path: str | Path) -> Given:
    """Open a file, or a folder of ``.pt`` files, of embeddings that anybody made.

    Parameters
    ----------
    path : path

    Returns
    -------
    Given

    Raises
    ------
    InputError
        If there is none, it is cut off, or it holds something else; the sentence says what.
    """
    place = Path(path)
    if (why := no_name(path)) is not None:
        raise InputError(why)
    if not place.exists():
        raise InputError(missing(path))
    if is_stream(place):
        raise InputError(
            f"{str(path)!r} is a stream, which cannot be read twice; save it to a file"
        )
    try:
        own = _own(place)
        found = own if own is not None else _foreign(place)
        try:
            if any(len(part.arrays) for part in found.parts):
                return with_ids_beside(found, place)
            raise InputError(f"{str(path)!r} holds no records; make the file anew")
        except BaseException:
            if found.close is not None:
                found.close()
            raise
    except MissingDependencyError:
        raise
    except EsmkitError as error:
        raise InputError(str(error)) from None
    except MemoryError:
        raise InputError(
            f"{str(path)!r} does not fit into memory; write fewer records a file"
        ) from None
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(
            f"{str(path)!r} is not a file of embeddings, or is damaged ({_short(why)}); copy or make "
            "it again"
        ) from None
    except Exception as error:  # pandas, pyarrow and PyTorch raise what comes up
        raise InputError(
            f"{str(path)!r} cannot be read ({type(error).__name__}: {_short(str(error))}); copy or "
            "make it again"
        ) from None


def _short(text: str) -> str:
    return shorten(" ".join(text.split()).replace("; ", ", "), 120)


def _own(place: Path) -> Given | None:
    """Return what ``esmkit embed`` wrote; None if esmkit did not write it."""
    try:
        file = EmbeddingFile(place)
    except EsmkitError as error:
        told = ("attention maps", "log-probabilities")
        if any(words in str(error) for words in told):
            raise
        return None
    try:
        found = _of_esmkit(file, place)
    except BaseException:
        file.close()
        raise
    if found is None:
        file.close()
    return found


def _of_esmkit(file: EmbeddingFile, place: Path) -> Given | None:
    """Return the parts of a file; None where it does not say that esmkit made it."""
    facts = file.provenance
    if not facts.get("checkpoint"):  # a table of that form that somebody else may have written
        return None
    if facts.get("task") in _OTHER_TASKS:
        raise InputError(
            f"{str(place)!r} is a file of `esmkit {facts['task']}`; give one of embeddings"
        )
    layers, options = facts.get("layers") or [None], facts.get("options", facts)
    per = facts.get("per", options.get("per", "protein"))
    pool = None if per == "residue" else facts.get("pool", options.get("pool"))
    long = facts.get("long", options.get("long"))
    parts = []
    for number, layer in enumerate(layers):
        several = len(layers) > 1

        def get(name: str, number: int = number, several: bool = several) -> Any:
            return file[name][number] if several else file[name]

        names = {name: name for name in file}
        title = f"layer {layer}" if several else ""
        parts.append(Part(Lazy(names, get), title, layer, pool, long))
    kind = f"embeddings that esmkit wrote, per {per}"
    return Given(str(place), kind, parts, {}, facts.get("checkpoint") or {}, file.close)


def _foreign(place: Path) -> Given:
    path = str(place)
    if place.is_dir():
        return read_folder(path)
    head = _head(place)
    if not head:
        raise InputError(f"{path!r} is empty; copy or make it again")
    if head.startswith(b"\x93NUMPY"):
        return read_npy(path)
    kind = format_of_content(place)
    if kind == "h5":
        return read_hdf5(path)
    if kind == "parquet":
        return read_parquet(path, {})
    if head.startswith(b"ARROW1"):
        return read_feather(path)
    if kind == "npz":
        with zipfile.ZipFile(place) as archive:
            pickled = any(name.endswith("data.pkl") for name in archive.namelist())
        return read_pytorch(path) if pickled else read_npz(path)
    if _is_safetensors(head):
        return read_safetensors(path)
    if place.suffix.lower() in (".pt", ".pth"):
        return read_pytorch(path)
    if head.startswith(b"\x80") or place.suffix.lower() in (".pkl", ".pickle"):
        return read_pickled(path)
    if _is_json(place, head):
        return read_json(path)
    text = not (b"\0" in head or head.startswith((b"\x80", b"%PDF", b"\x89PNG")))
    what = describe(place)
    if head.startswith(b"\x1f\x8b") or (kind == "csv") or (text and what.startswith("text that")):
        return read_text_table(path, {})
    raise InputError(f"{path!r} holds no embeddings: it is {what}")


def _head(place: Path) -> bytes:
    with place.open("rb") as stream:
        return stream.read(512)


def _is_safetensors(head: bytes) -> bool:
    """Tell the format by its length of a header and the JSON that follows."""
    length = int(np.frombuffer(head[:8].ljust(8, b"\0"), "<u8")[0])
    return head[8:10] in (b'{"', b"{}") and 2 <= length < 2**32


def _is_json(place: Path, head: bytes) -> bool:
    """Tell JSON by its first sign, gzip or not."""
    if head.startswith(b"\x1f\x8b"):
        with open_text(place, "JSON", "*.json") as stream:
            head = stream.read(64).encode()
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
