"""Labels of heads from a profile of ``esmkit heads``, in memory or in its folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit.encoder.names import head_name
from esmkit.errors import InputError
from esmkit.files.tables import from_spreadsheet
from esmkit.plots.profiles import FAMILIES, family, kinds_of
from esmkit.text import missing

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.heads.result import HeadProfile

__all__ = ["HeadLabel", "Labels", "check_profile", "known_family", "read_labels"]


@dataclass(frozen=True)
class HeadLabel:
    """Label of a head, the evidence for it, and its family (see ``esmkit.plots.profiles``)."""

    label: str
    evidence: str
    family: str


@dataclass(frozen=True)
class Labels:
    """Labels by name of head, and where they are from."""

    heads: Mapping[str, HeadLabel]
    source: str
    note: str = ""


def read_labels(profile: "HeadProfile | str | Path", model: "Encoder") -> Labels:
    """Return what a profile says about the heads of a model.

    Parameters
    ----------
    profile : HeadProfile or path
        A result of :func:`esmkit.heads.profile`, or the folder that ``esmkit heads`` wrote.
    model : Encoder

    Raises
    ------
    InputError
        If there is no such folder, its tables cannot be read, or it is about a model of another
        shape.
    """
    if isinstance(profile, str | Path):
        heads, kinds, provenance = _read_folder(Path(profile))
    else:
        heads, provenance, kinds = profile.heads, profile.provenance, kinds_of(profile)
    found = {
        str(row["name"]): HeadLabel(
            str(row["label"]), str(row["evidence"]), known_family(family(str(row["label"]), kinds))
        )
        for _, row in heads.iterrows()
    }
    wanted = {head_name(n, h) for n in range(model.layers) for h in range(model.heads)}
    if set(found) != wanted:
        raise InputError(
            f"the profile is about {len(found)} heads and {model.checkpoint.name} has "
            f"{len(wanted)}; make one for these weights with `esmkit heads`"
        )
    of = provenance.get("checkpoint", {})
    chains = len(provenance.get("chains", []))
    note = ""
    if of.get("sha256") not in (None, model.checkpoint.sha256):
        note = f"The labels of heads are from a profile of {of.get('name')}, not of these weights."
    return Labels(
        found, f"esmkit heads, {of.get('name', 'unknown weights')}, {chains} chains", note
    )


def check_profile(profile: Any) -> None:
    """Refuse a folder that is none of ``esmkit heads``, before a model is loaded for it."""
    if isinstance(profile, str | Path):
        _read_folder(Path(profile))


def known_family(name: str) -> str:
    """Return the key of a family of labels that pages have a colour for; ``none`` for any other."""
    return name if name in FAMILIES else "none"


def _read_folder(folder: Path) -> tuple[Any, dict[str, str], dict[str, Any]]:
    import pandas

    if not folder.is_dir():
        raise InputError(f"{missing(folder, 'folder')}; `esmkit heads` writes one")
    try:
        heads = pandas.read_csv(folder / "heads.csv", keep_default_na=False)
        effects = pandas.read_csv(folder / "effects.csv", usecols=["property", "kind"])
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        for table in (heads, effects):
            for column in table.select_dtypes(["object", "string"]):
                table[column] = table[column].astype(str).map(from_spreadsheet)
        heads[["name", "label", "evidence"]]
        if not isinstance(provenance.get("checkpoint", {}), dict):
            raise ValueError("provenance.json names no checkpoint")
    except (OSError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{str(folder)!r} is not a folder that `esmkit heads` wrote ({error}); give one with "
            "heads.csv, effects.csv and provenance.json"
        ) from None
    kinds = dict(zip(effects["property"].astype(str), effects["kind"].astype(str), strict=True))
    return heads, kinds, provenance
