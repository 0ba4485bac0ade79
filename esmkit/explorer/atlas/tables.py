"""Tables of ``esmkit heads`` as the atlas takes them, and what the page of another folder holds."""

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit.errors import InputError
from esmkit.explorer.atlas.page import FORMAT, LINKS, Weights
from esmkit.heads.reading import read_profile, read_table
from esmkit.heads.report.files import ATLAS
from esmkit.heads.result import HeadProfile
from esmkit.text import missing

if TYPE_CHECKING:
    import pandas

__all__ = ["Tables", "other_of", "read_tables"]

TAKEN = ("ov", "ov-scales", "qk", "qk-scales", "thumbnails", "links-", "coordinates-")
"""Arrays that are taken from the page of another folder: the tables have none of them."""

_BLOCK = re.compile(r'<script type="[a-z/]+" id="(data[^"]*)">([^<]*)</script>')


@dataclass(frozen=True, eq=False)
class Tables:
    """What ``esmkit heads`` measured of the heads of a model."""

    profile: HeadProfile
    ablation: "pandas.DataFrame | None" = None
    circuits: "pandas.DataFrame | None" = None
    repeats: "pandas.DataFrame | None" = None


def read_tables(folder: Path) -> Tables:
    """Read all tables of a folder that ``esmkit heads`` wrote.

    Raises
    ------
    InputError
        If there is no such folder, or a table in it cannot be read.
    """
    profile = read_profile(folder)
    others: dict[str, Any] = {}
    for name in ("ablation", "circuits"):
        if (folder / f"{name}.csv").exists():
            others[name] = _table(folder / f"{name}.csv")
    for path in sorted(
        folder.glob("*repeat*.csv")
    ):  # of random and of real repeats, where there are
        table = _table(path)
        if not table["name"].duplicated().any():
            known = others.get("repeats")
            new = ["name", *table.columns.difference([] if known is None else known.columns)]
            others["repeats"] = table if known is None else known.merge(table[new], on="name")
    return Tables(profile, **others)


def _table(path: Path) -> Any:
    try:
        table: Any = read_table(path)
        table["name"]
    except (OSError, ValueError, LookupError) as error:
        raise InputError(
            f"{str(path)!r} is not a table that `esmkit heads` wrote ({error}); move it away, or "
            "make the folder anew"
        ) from None
    return table


def other_of(given: "HeadProfile | str | Path") -> tuple[Tables, Weights]:
    """Return the tables of a model to compare with, and what its own atlas has besides.

    Raises
    ------
    InputError
        If it is a folder, and none of ``esmkit heads``.
    """
    if isinstance(given, HeadProfile):
        return Tables(given), ({}, {})
    folder = Path(given)
    if not folder.is_dir():
        raise InputError(f"{missing(folder, 'folder')}; `esmkit heads` writes one")
    tables = read_tables(folder)
    return tables, _weights_in(folder / ATLAS, len(tables.profile.heads))


def _weights_in(path: Path, heads: int) -> Weights:
    """Return matrices and links from a page that esmkit wrote; nothing from any other."""
    try:
        blocks = dict(_BLOCK.findall(path.read_text(encoding="utf-8")))
        data = json.loads(blocks["data"])
        model = data["models"][0]
        if data["format"] != FORMAT or len(model["heads"]) != heads:
            return {}, {}
        said = {"circuits": model["circuits"], "examples": list(model["examples"])}
        arrays = {
            name.removeprefix("data-0-"): base64.b64decode(text)
            for name, text in blocks.items()
            if name.startswith(tuple(f"data-0-{taken}" for taken in TAKEN))
        }
        _check(said, arrays, heads)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}, {}
    return said, arrays


def _check(said: dict[str, Any], arrays: dict[str, bytes], heads: int) -> None:
    """Refuse arrays of other sizes than the page reads."""
    sizes = {}
    if said["circuits"] is not None:
        offsets = len(said["circuits"]["offsets"])
        sizes |= {"ov": 400 * heads, "ov-scales": 4 * heads}
        sizes |= {"qk": 400 * heads * offsets, "qk-scales": 4 * heads}
    for place, example in enumerate(said["examples"]):
        sizes |= {f"links-{place}": 2 * heads * 2 * LINKS * 3}
        sizes |= {f"coordinates-{place}": 12 * len(example["sequence"])}
    if any(len(arrays[name]) != size for name, size in sizes.items()):
        raise ValueError("the arrays of the page are of other sizes")
