"""What identifies a run, what its output records of its making, and how two runs differ.

Every task that can go on after a kill compares :func:`run_identity`; what such a task writes holds
:func:`run_provenance`, if it has a place for it. Nothing here needs PyTorch.
"""

import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from esmkit._version import __version__
from esmkit.sequences.windows import MAX_RESIDUES

__all__ = [
    "PROVENANCE",
    "change",
    "parse_provenance",
    "provenance_of_attribute",
    "provenance_sidecar",
    "run_identity",
    "run_provenance",
]

PROVENANCE = "provenance"
"""Name under which HDF5 attributes and Parquet metadata hold the provenance, as JSON."""

_OF_COMMANDS = {"range-size": "range_bytes", "plot-format": "kind"}
"""Entries that commands call otherwise than Python does, by more than a hyphen."""

_FORMS: dict[str, type] = {
    **{"task": str, "per": str, "layers": list},
    **{"checkpoint": dict, "options": dict, "lm_head": dict, "model_shape": dict},
}
"""What readers of files take entries of provenance for; one that is null is not there."""

MAX_SHOWN = 60
"""Characters of a value that a message shows."""


def parse_provenance(text: str | bytes) -> dict[str, Any]:
    """Return the provenance that a file holds as JSON.

    Raises
    ------
    ValueError
        If it is damaged, or another program's word of that name: no object of JSON, or one whose
        entries are not of the kind that esmkit writes.

    Examples
    --------
    >>> parse_provenance('{"task": "embed", "layers": [6]}')["layers"]
    [6]
    >>> parse_provenance('{"layers": 6}')
    Traceback (most recent call last):
        ...
    ValueError: its provenance says layers 6, where a list should be
    """
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"its provenance is {_brief(found)}, where an object of JSON should be")
    words = {str: "text", list: "a list", dict: "an object"}
    for name, form in _FORMS.items():
        given = found.get(name)
        if given is None:
            found.pop(name, None)
        elif not isinstance(given, form):
            raise ValueError(
                f"its provenance says {name} {_brief(given)}, where {words[form]} should be"
            )
    layers = found.get("layers", [])
    if not all(type(layer) is int for layer in layers):
        raise ValueError(
            f"its provenance says layers {_brief(layers)}, where whole numbers should be"
        )
    checkpoint = found.get("checkpoint", {})
    name = checkpoint.get("name")
    if name is None:
        checkpoint.pop("name", None)
    elif not isinstance(name, str):
        raise ValueError(
            f"its provenance says the checkpoint's name {_brief(name)}, where text should be"
        )
    return found


def provenance_of_attribute(text: str | bytes) -> dict[str, Any]:
    """Return the provenance of an attribute, whose name other programs give to theirs too.

    Raises
    ------
    ValueError
        If it is cut off or damaged. What is of another form and does not name esmkit is another
        program's: the file is read as that of somebody else.

    Examples
    --------
    >>> provenance_of_attribute('{"task": "embed", "esmkit": "0.2.0"}')["task"]
    'embed'
    >>> provenance_of_attribute("made with ProtT5 by the core facility")
    {}
    """
    try:
        return parse_provenance(text)
    except ValueError as error:
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        cut = isinstance(error, json.JSONDecodeError) and said.lstrip().startswith("{")
        if cut or '"esmkit"' in said:
            raise
        return {}


def change(name: str, before: Any, now: Any) -> str:
    """Say how an entry of a fingerprint has changed; of two long lists only what one of them has.

    >>> change("layers", [2], [0])
    'layers was [2], now [0]'
    >>> change("on-invalid", "error", "skip")
    '`on_invalid` was "error", now "skip"'
    """
    if "-" in name:  # an option of several words, kept under the name that commands give it
        name = f"`{_OF_COMMANDS.get(name, name.replace('-', '_'))}`"
    lists = isinstance(before, list) and isinstance(now, list) and len(before + now) > 2
    if lists and len(_text(before + now)) > MAX_SHOWN:
        gone = [value for value in before if value not in now]
        new = [value for value in now if value not in before]
        only = [f"{_brief(v)} only {when}" for v, when in ((gone, "then"), (new, "now")) if v]
        sizes = f"{name} was {len(before):,} values, now {len(now):,}"
        return f"{sizes}: {', '.join(only) or 'in another order'}"
    first, second = _text(before), _text(now)
    start = 0
    if _brief(before) == _brief(now):  # they differ further on
        pairs = enumerate(zip(first, second, strict=False))
        start = next((n for n, (a, b) in pairs if a != b), MAX_SHOWN) - 10
    skipped = "…" if start else ""
    return f"{name} was {skipped}{_brief(before, start)}, now {skipped}{_brief(now, start)}"


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _brief(value: object, start: int = 0) -> str:
    text = _text(value)[start:]
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def provenance_sidecar(path: Path) -> Path:
    """Return where the provenance of a CSV stands: CSV itself has no place for it.

    >>> provenance_sidecar(Path("seqs.csv")).name
    'seqs.csv.provenance.json'
    """
    return path.with_name(path.name + ".provenance.json")


def run_identity(
    task: str, *, checkpoint: str, dtype: str, device: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything that the results of a run depend on: work of another is never gone on with.

    Parameters
    ----------
    task : str
        Name of the command.
    checkpoint : str
        SHA-256 of the weights.
    dtype, device : str
        Number format and device of the model.
    settings : mapping
        Input and options of the task, JSON-ready; names are those of the command line, for a
        message shows those that differ.

    Returns
    -------
    dict
        JSON-ready, with the version of esmkit.

    Examples
    --------
    >>> facts = run_identity(
    ...     "embed", checkpoint="ab12", dtype="float32", device="cpu", settings={"layers": [6]}
    ... )
    >>> sorted(facts)
    ['checkpoint', 'device', 'dtype', 'esmkit', 'layers', 'task']
    """
    return {
        "task": task,
        "esmkit": __version__,
        "checkpoint": checkpoint,
        **settings,
        "dtype": dtype,
        "device": device,
    }


def run_provenance(
    task: str,
    *,
    checkpoint: Mapping[str, Any],
    shape: Mapping[str, int],
    settings: Mapping[str, Any],
    dtype: str,
    device: str,
    compiled: bool | str,
    made_from: Mapping[str, Any],
    command: str,
    packages: Iterable[str],
) -> dict[str, Any]:
    """Return what an output records of its making: no dates, so that equal runs give equal files.

    Parameters
    ----------
    task : str
        Name of the command.
    checkpoint : mapping
        What is known of the weights.
    shape : mapping from str to int
        ``layers``, ``heads`` and ``width`` of the model.
    settings : mapping
        Options of the task, JSON-ready.
    dtype, device : str
        Number format and device of the model.
    compiled : bool or str
        Whether attention was compiled; see :meth:`esmkit.files.work_folder.WorkFolder.compiled`.
    made_from : mapping
        Input files and what was done to them, as far as it is known.
    command : str
        The command line, or nothing.
    packages : iterable of str
        Installed packages whose versions are recorded.

    Returns
    -------
    dict
        JSON-ready.
    """
    return {
        "task": task,
        "esmkit": __version__,
        "checkpoint": dict(checkpoint),
        "model_shape": {name: shape[name] for name in ("layers", "heads", "width")},
        **settings,
        "max_residues": MAX_RESIDUES,
        "dtype_model": dtype,
        "device": device,
        "compiled": compiled,
        **made_from,
        "command": command,
        "versions": {name: version(name) for name in packages},
    }
