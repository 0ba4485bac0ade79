"""Embeddings in files of PyTorch, read without running anything in them, and in safetensors."""

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from esmkit.against.given import Given, Part, by_unique_name
from esmkit.against.named import beside, given_of_objects, part_of
from esmkit.against.pickled import read_pickle
from esmkit.against.plain import given_of_plain
from esmkit.encoder.checkpoints.trust import refuse_packed
from esmkit.errors import CheckpointError, InputError
from esmkit.files.arrays import refuse_unfolding
from esmkit.text import shorten

__all__ = ["read_folder", "read_pytorch", "read_safetensors"]

_KINDS = {
    "mean_representations": "mean",
    "representations": None,
    "bos_representations": "bos",
}
"""What ``extract.py`` of fair-esm writes for each layer, and the pooling of it."""


def _load(path: Path) -> Any:
    """Return what a file of PyTorch holds: tensors, text, numbers, lists and dicts only."""
    import torch

    try:
        refuse_packed(path)
        with warnings.catch_warnings():  # of PyTorch to whoever wrote the file
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError as error:
        raise InputError(f"{error.reason}; save the embeddings again with torch.save") from None
    except MemoryError:
        raise
    except Exception as error:  # of a file that is no pickle PyTorch raises whatever comes up
        named = re.search(r"(?:GLOBAL |[Ff]unction |class )([\w.]+)", str(error))
        if named and named[1].startswith("numpy"):
            try:
                return _of_numpy(path)
            except ValueError:
                pass  # tensors beside arrays, or an object
        if named:
            raise InputError(
                f"{str(path)!r} holds a Python object that is not a tensor ({named[1]}), which "
                "reading would run; save tensors only, or write npz"
            ) from None
        raise InputError(
            f"{str(path)!r} is not a file of PyTorch, or it is damaged; copy or make it again"
        ) from None


def _of_numpy(path: Path) -> Any:
    """Return arrays of NumPy that ``torch.save`` pickled, without running anything."""
    if not zipfile.is_zipfile(path):
        raise ValueError("the form of PyTorch before 1.6")
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        held = archive.getinfo(name)
        refuse_unfolding(name, held.file_size, held.compress_size)
        with archive.open(name) as member:
            return read_pickle(member)


def _numpy(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        if value.is_sparse or value.is_quantized:
            raise InputError("a tensor of the file is sparse or quantised; save plain tensors")
        kept = value.detach()
        size = kept.numel() * kept.element_size()
        refuse_unfolding("tensor", size, kept.untyped_storage().nbytes())
        return (kept.float() if kept.dtype == torch.bfloat16 else kept).numpy()
    return value


def read_pytorch(path: str) -> Given:
    """Read a ``.pt``: of ``extract.py``, a dict from ID to tensor, or one tensor."""
    import torch

    found = _load(Path(path))
    if _has_arrays(found):
        remedy = "save a dict from ID to tensor"
        return given_of_plain(path, "arrays in a file of PyTorch", found, remedy)
    if isinstance(found, torch.Tensor) and not found.ndim:
        raise InputError(f"{path!r} holds a single number; give a file of embeddings")
    if isinstance(found, torch.Tensor):
        return given_of_objects(path, "a tensor of PyTorch", {"embeddings": _numpy(found)})
    if isinstance(found, list | tuple) and found and all(map(torch.is_tensor, found)):
        rows = {f"row {n}": _numpy(tensor) for n, tensor in enumerate(found)}
        return Given(path, "a list of tensors without IDs", [part_of(rows, "")])
    if isinstance(found, list | tuple) and found:  # IDs and their vectors
        remedy = "save a dict from ID to tensor"
        return given_of_plain(path, "a file of PyTorch", _in_numpy(found), remedy)
    if not isinstance(found, dict) or not found:
        raise InputError(
            f"{path!r} holds {'nothing' if not found else f'a {type(found).__name__}'}, where a "
            "tensor or a dict of tensors should be; give a file of embeddings"
        )
    if set(_KINDS) & set(found):
        return Given(path, "a file of fair-esm's extract.py", _extracted([(Path(path), found)]))
    if _are_weights(found):
        raise InputError(
            f"{path!r} holds weights of a model and no embeddings; give it with `model`, and a file "
            "of embeddings here"
        )
    if "label" in found and "contacts" in found:
        raise InputError(
            f"{path!r} holds contacts of extract.py of fair-esm and no embeddings; run it once more, "
            "and let it include the mean"
        )
    plain = {k: v for k, v in found.items() if isinstance(v, torch.Tensor | list | tuple)}
    arrays = {str(key): _numpy(value) for key, value in plain.items()}
    bad = next((k for k in found if k not in plain), None)
    if bad is None:
        return given_of_objects(path, "a dict of tensors", arrays)
    told = beside(path, "a dict of tensors", arrays)  # what else it says may be the model's name
    if told is None:
        raise InputError(
            f"{shorten(repr(bad))} in {path!r} is of type {type(found[bad]).__name__}, where a tensor "
            "should be; give a dict from ID to tensor"
        )
    return told


def _in_numpy(found: Any) -> Any:
    if isinstance(found, list | tuple):
        return type(found)(map(_in_numpy, found))
    return _numpy(found)


def _has_arrays(found: Any) -> bool:
    """Tell what holds arrays of NumPy in place of tensors."""
    inner = found.values() if isinstance(found, Mapping) else found
    several = isinstance(found, Mapping | list | tuple)
    return isinstance(found, np.ndarray) or (
        several and any(isinstance(one, np.ndarray) for one in inner)
    )


def _are_weights(found: Mapping[Any, Any]) -> bool:
    """Tell a model's weights, as its own dict or within one, by what PyTorch calls them."""
    for inner in (found, found.get("model"), found.get("state_dict")):
        if isinstance(inner, Mapping) and any(str(n).endswith((".weight", ".bias")) for n in inner):
            return True
    return False


def _extracted(files: list[tuple[Path, Mapping[str, Any]]]) -> list[Part]:
    """Return the parts of what extract.py wrote: each kind, of each layer."""
    parts: dict[tuple[str, int], dict[str, Any]] = {}
    labels = by_unique_name(str(found.get("label", path.stem)) for path, found in files)
    for label, (path, found) in zip(labels, files, strict=True):
        for kind in _KINDS:
            layers = found.get(kind, {})
            if not isinstance(layers, Mapping) or not all(isinstance(n, int) for n in layers):
                raise InputError(
                    f"{kind!r} in {str(path)!r} is no dict from the number of a layer to a tensor, as "
                    "extract.py of fair-esm writes it; make the file anew"
                )
            for layer, tensor in layers.items():
                parts.setdefault((kind, layer), {})[label] = _numpy(tensor)
    several = len(parts) > 1
    return [
        Part(arrays, f"{kind}, layer {layer}" if several else "", layer, _KINDS[kind])
        for (kind, layer), arrays in parts.items()
    ]


def read_folder(path: str) -> Given:
    """Read a folder of ``.pt`` files of ``extract.py``, or of one array for each protein.

    Raises
    ------
    InputError
        If there are none, or they are of several kinds.
    """
    folder = Path(path)
    files = sorted(folder.rglob("*.pt"))
    if files:
        read = [(file, _load(file)) for file in files]
        if all(isinstance(f, dict) and set(_KINDS) & set(f) for _, f in read):
            return Given(path, "a folder of fair-esm's extract.py", _extracted(read))
        arrays = {}
        for file, found in read:
            if not hasattr(found, "numpy"):
                raise InputError(
                    f"{str(file)!r} is not what extract.py of fair-esm writes, nor a tensor; name "
                    "one file"
                )
            arrays[file.relative_to(folder).with_suffix("").as_posix()] = _numpy(found)
        return Given(path, "a folder of tensors", [part_of(arrays, "")])
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise InputError(
            f"{path!r} is a folder without .pt or .npy files; name a file of embeddings"
        )
    loaded = {file.stem: np.load(file, allow_pickle=False) for file in files}
    if len(files) == 1 or any(a.ndim > 2 for a in loaded.values()):
        raise InputError(
            f"{path!r} is a folder of arrays; name one of them, such as {files[0].name}"
        )
    return Given(path, "a folder of arrays, one for each protein", [part_of(loaded, "")])


def read_safetensors(path: str) -> Given:
    """Read safetensors: a tensor for each protein."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
    except (SafetensorError, KeyError) as error:
        raise InputError(
            f"{path!r} is no whole file of safetensors ({error}); make it anew"
        ) from None
    if not found:
        raise InputError(f"{path!r} is safetensors without anything in it; make the file anew")
    return given_of_objects(path, "safetensors", found)
