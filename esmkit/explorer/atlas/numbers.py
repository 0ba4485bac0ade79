"""Tables of a profile as what the atlas says: heads, their numbers, their properties."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.explorer.labels import known_family
from esmkit.heads.judgement import SIZES, judge
from esmkit.heads.statistics import FAMILIES, MIN_PROTEINS
from esmkit.plots.profiles import family, kinds_of, offset_columns

if TYPE_CHECKING:
    import pandas

    from esmkit.heads.result import HeadProfile

__all__ = [
    "EFFECT_FIELDS",
    "INSUFFICIENT",
    "Number",
    "head_rows",
    "numbers_of",
    "offsets_of",
    "property_rows",
    "size_words",
]

EFFECT_FIELDS = (
    *("share", "background", "difference", "low", "high", "ratio", "ratio_low", "ratio_high"),
    *("q", "half_a", "half_b", "half_b_low", "half_b_high"),
)
"""Columns of effects that a card shows, in the order of the page's array."""

INSUFFICIENT = 255
"""Code of an effect that could not be judged."""

Array = NDArray[np.float64]

FACTS = {
    "entropy": ("entropy of its weights", "0 to 1", 1.0),
    "distance": ("mean distance it looks", "residues", 1.0),
    "bos": ("weight on BOS", "%", 100.0),
    "eos": ("weight on EOS", "%", 100.0),
    "top_offset_share": ("weight at its first offset", "%", 100.0),
    "positional": ("maps explained by offsets", "%", 100.0),
}
"""Title, unit and factor of what is known of whole maps."""

CIRCUITS = {
    "copying": ("copying by OV", "-1 to 1"),
    "blosum_ov": ("OV against BLOSUM62", "Spearman correlation"),
    "blosum_qk": ("QK against BLOSUM62, at its best offset", "Spearman correlation"),
    "offset": ("offset with the largest QK score", "residues"),
    "offset_score": ("QK score there, over the mean", "before the softmax"),
}
"""Title and unit of columns of ``circuits.csv``."""

REPEATS = {
    "repeat_score": ("weight on the other copy of a repeat", "repeat_"),
    "repeat_control": ("the same, two unrelated halves", "repeat_control_"),
    "next_score": ("weight on the residue after the copy", "next_"),
    "real_difference": ("real internal repeats: more than beside the copy", "real_"),
}
"""Title of columns about repeats, and what the columns of their intervals begin with."""

HEADS_TESTED = "false discovery rate over {count:,} heads"


@dataclass(frozen=True, eq=False)
class Number:
    """One number of every head, by which the page sorts and filters.

    Attributes
    ----------
    key, title, unit, group : str
        Key in the address; words.
    values : numpy.ndarray of float64, shape (4, n)
        Value, ends of its 95 % interval, false discovery rate; NaN where there is none.
    note : str
        What q was corrected over, and on how much it rests.
    """

    key: str
    title: str
    unit: str
    group: str
    values: Array = field(repr=False)
    note: str = ""

    def facts(self) -> dict[str, str]:
        """Return its words, JSON-ready."""
        return {
            name: getattr(self, name)
            for name in ("key", "title", "unit", "group", "note")
            if getattr(self, name)
        }


def head_rows(profile: "HeadProfile") -> list[dict[str, Any]]:
    """Return name, label, evidence and family of each head, and what a second set said of it."""
    kinds = kinds_of(profile)
    repeated: dict[str, list[dict[str, str]]] = {}
    if profile.replication is not None:
        for row in profile.replication.to_dict("records"):
            repeated.setdefault(str(row["name"]), []).append(
                {key: str(row[key]) for key in ("property", "state", "holds")}
                | {
                    key: _points(row[f"other_{key}"])  # type: ignore[dict-item]
                    for key in ("difference", "low", "high")
                }
            )
    return [
        {
            "name": str(row["name"]),
            "layer": int(row["layer"]),
            "head": int(row["head"]),
            "label": str(row["label"]),
            "evidence": str(row["evidence"]),
            "family": known_family(family(str(row["label"]), kinds)),
            "repeated": repeated.get(str(row["name"]), []),
        }
        for row in profile.heads.to_dict("records")
    ]


def _points(share: Any) -> float | None:
    return None if np.isnan(float(share)) else 100 * float(share)


def numbers_of(
    profile: "HeadProfile",
    circuits: "pandas.DataFrame | None",
    repeats: "pandas.DataFrame | None" = None,
) -> list[Number]:
    """Return the numbers of heads from all tables but the ablation.

    Parameters
    ----------
    profile : HeadProfile
    circuits : pandas.DataFrame, optional
        As :meth:`esmkit.heads.circuits.Circuits.to_frame` returns it.
    repeats : pandas.DataFrame, optional
        Columns ``name``, ``repeat_score``, ``repeat_control`` and others; by default those of the
        profile, if it has them.
    """
    heads: Any = profile.heads
    found = [*_properties(profile), *_facts(heads)]
    found += _repeats(profile, repeats)
    if circuits is not None:
        table = circuits.set_index("name").reindex(heads["name"])
        for key, (title, unit) in CIRCUITS.items():
            if key in table:
                found.append(_number(table, key, title, unit, "Weights alone"))
    if profile.disulfides is not None and "auc" in profile.disulfides:
        table: Any = profile.disulfides.set_index("name").reindex(heads["name"])
        bonds, chains = (int(max(table[c], default=0)) for c in ("bonds", "chains"))
        note = f"{bonds:,} bonds in {chains:,} chains; 0.5 is no preference"
        title = "bonded cysteines before others of the chain"
        found.append(_number(table, "auc", title, "AUC, 0 to 1", "Disulfides", note, stem=""))
    return found


def _number(
    table: Any,
    key: str,
    title: str,
    unit: str,
    group: str,
    note: str = "",
    *,
    factor: float = 1.0,
    stem: str | None = None,
) -> Number:
    """Return a column as a number, with the interval and q beside it if there are any."""
    stem = f"{key}_" if stem is None else stem
    parts = [key, *(f"{stem}{end}" for end in ("low", "high", "q"))]
    values = np.full((4, len(table)), np.nan)
    for place, name in enumerate(parts):
        if name in table:
            values[place] = table[name].to_numpy(np.float64) * (factor if place < 3 else 1.0)
    tested = int(np.isfinite(values[3]).sum())
    told = [HEADS_TESTED.format(count=tested)] * bool(tested) + [note] * bool(note)
    return Number(key, title, unit, group, values, "; ".join(told))


def _facts(heads: Any) -> Iterator[Number]:
    for key, (title, unit, factor) in FACTS.items():
        if key in heads:
            yield _number(heads, key, title, unit, "Whole map", factor=factor)


def _repeats(profile: "HeadProfile", repeats: Any) -> Iterator[Number]:
    """Yield the numbers about repeats, from whichever table has them."""
    heads: Any = profile.heads
    tables = [repeats, getattr(profile, "repeats", None), heads]
    for key, (title, stem) in REPEATS.items():
        for table in tables:
            if table is None or key not in table or table["name"].duplicated().any():
                continue
            table = table.set_index("name").reindex(heads["name"])
            counts = [f"{int(max(table[c])):,} {c}" for c in ("sequences",) if c in table]
            yield _number(
                *(table, key, title, "weight, 0 to 1", "Repeats", "; ".join(counts)), stem=stem
            )
            break


def _properties(profile: "HeadProfile") -> Iterator[Number]:
    """Yield the share beyond what is expected, in percentage points, of each property."""
    names = list(profile.heads["name"])
    for of in property_rows(profile)[0]:
        table = _of_property(profile, of["name"], names)
        values = np.full((4, len(names)), np.nan)
        for place, key in enumerate(("difference", "low", "high", "q")):
            if key in table:
                values[place] = table[key].to_numpy(np.float64) * (100 if place < 3 else 1)
        key = f"property:{of['name']}"
        yield Number(
            key, of["name"], "points over expected", GROUPS[of["kind"]], values, of["note"]
        )


GROUPS = {
    "pair": "Pairs of residues",
    "residue": "Kinds of residues",
    "offset": "Offsets",
}
"""Groups of properties, by their kind."""


def _of_property(profile: "HeadProfile", name: str, names: list[str]) -> Any:
    effects: Any = profile.effects
    rows = effects[effects["property"] == name]
    return rows.drop_duplicates("name").set_index("name").reindex(names)


def property_rows(
    profile: "HeadProfile",
) -> tuple[list[dict[str, Any]], NDArray[np.float32], NDArray[np.uint8]]:
    """Return what is known of each property.

    Returns
    -------
    list of dict
        ``name``, ``kind``, ``proteins`` and ``labelled`` (its support), and ``note``, over what its
        q was corrected.
    numpy.ndarray of float32, shape (P, F, n)
        :data:`EFFECT_FIELDS` of each head.
    numpy.ndarray of uint8, shape (P, n)
        Place of the effect's size in :data:`esmkit.heads.judgement.SIZES`, or 255 where the
        property is in too few proteins.
    """
    effects: Any = profile.effects
    names = list(profile.heads["name"])
    kinds = kinds_of(profile)
    rows = []
    numbers = np.full((len(kinds), len(EFFECT_FIELDS), len(names)), np.nan, np.float32)
    sizes = np.full((len(kinds), len(names)), INSUFFICIENT, np.uint8)
    for place, (name, kind) in enumerate(kinds.items()):
        table = _of_property(profile, str(name), names)
        for at, column in enumerate(EFFECT_FIELDS):
            if column in table:
                numbers[place, at] = table[column].to_numpy(np.float64)
        for at, row in enumerate(table.to_dict("records")):
            if np.isfinite(row["difference"]) and "half_b_low" in row:
                sizes[place, at] = judge(row, profile.rules).rank
        proteins = int(np.nanmax(table["proteins"])) if "proteins" in table else 0
        same = effects[(effects["kind"] == kind) & effects["q"].notna()]
        note = (
            f"q within {FAMILIES.get(kind, kind)}: {same['name'].nunique():,} heads x "
            f"{same['property'].nunique():,} properties; in {proteins:,} chains"
        )
        if table["difference"].isna().all():
            note = f"insufficient: in {proteins:,} chains, at least {MIN_PROTEINS} are needed"
        labelled = int(np.nanmax(table["labelled"])) if "labelled" in table else 0
        rows.append(
            {
                "name": str(name),
                "kind": str(kind),
                "proteins": proteins,
                "labelled": labelled,
                "note": note,
            }
        )
    return rows, numbers, sizes


def offsets_of(profile: "HeadProfile") -> tuple[list[int], NDArray[np.float32]]:
    """Return offsets and the share of the weight between residues at each, (n, O)."""
    offsets, columns = offset_columns(profile.heads)
    heads: Any = profile.heads
    return offsets, heads[columns].to_numpy(np.float32)


def size_words() -> list[str]:
    """Return the words for the sizes of effects, smallest first."""
    return ["not confirmed" if size == "none" else words for size, words in SIZES.items()]
