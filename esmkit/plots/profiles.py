"""Rows of a profile of heads, and effects that count, for figures and reports."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from esmkit.errors import OptionError
from esmkit.plots.protocols import Profile
from esmkit.text import did_you_mean

if TYPE_CHECKING:
    import pandas


__all__ = [
    "CLIP",
    "FAMILIES",
    "best_head",
    "chosen",
    "family",
    "judged",
    "kinds_of",
    "literal",
    "of_property",
    "offset_columns",
    "one_line",
    "source",
    "specialisation",
    "visible_effects",
    "without_hit",
]

CLIP = 2.0
"""End of the colours of log2 odds: four times the odds."""


def of_property(profile: Profile, name: str) -> "pandas.DataFrame":
    """Return the effects of a property, a row for each head, or say which there are."""
    effects: Any = profile.effects
    rows = effects[effects["property"] == name]
    if rows.empty:
        names = list(effects["property"].unique())
        raise OptionError(
            f"there is no property {name!r} in this profile; there are {', '.join(names)}"
            f"{did_you_mean(name, names)}"
        )
    return rows


def judged(profile: Profile, effects: Any) -> Any:
    """Return effects with a column more, ``significant``: bool, by the rules of the profile.

    A property with a control (any two cysteines, for disulfides) has to be more than that explains.
    """
    significant = effects["q"] <= profile.rules.max_q
    if "beyond_control_low" in effects.columns:
        significant &= ~(effects["beyond_control_low"] <= 1)
    return effects.assign(significant=significant)


def best_head(rows: Any) -> "pandas.Series | None":
    """Return the significant row with the largest difference above 0, if there is one.

    Parameters
    ----------
    rows : pandas.DataFrame
        As :func:`judged` returns them.
    """
    found = rows[rows["significant"] & (rows["difference"] > 0)]
    return None if found.empty else found.loc[found["difference"].idxmax()]


def visible_effects(profile: Profile) -> "pandas.DataFrame":
    """Return log2 odds ratios, heads x properties: 0 if not significant, NaN if insufficient.

    Fixed offsets are left out. Below the background is significant too: by the false discovery rate
    of the other tail, and an interval that ends below 0.
    """
    effects: Any = profile.effects
    effects = judged(profile, effects[effects["kind"] != "offset"])
    more = effects["significant"]
    q_of_less = effects.groupby("kind")["p"].transform(lambda p: _q_of_less(p.to_numpy()))
    less = (q_of_less <= profile.rules.max_q) & (effects["high"] < 0)
    known = effects["difference"].notna()
    odds = effects["log_odds"] / np.log(2)
    # a share of 0 has no log odds: as far below the background as the colours go
    odds = odds.where(odds.notna() | ~known, -CLIP)
    rows = effects.assign(shown=odds.where(more | less | ~known, 0.0))
    names, properties = rows["name"].unique(), rows["property"].unique()
    return rows.pivot(index="name", columns="property", values="shown").loc[names, properties]


def _q_of_less(p: Any) -> Any:
    """Return the false discovery rates of the other tail, that a share is below its background."""
    from scipy.stats import false_discovery_control

    q = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        q[known] = false_discovery_control(1 - p[known])
    return q


def specialisation(profile: Profile) -> "pandas.Series":
    """Return the largest significant difference of each head, fixed offsets left out; else NaN."""
    effects = judged(profile, profile.effects)
    counted = effects["significant"] & (effects["difference"] > 0) & (effects["kind"] != "offset")
    return effects["difference"].where(counted).groupby(effects["name"], sort=False).max()


def without_hit(profile: Profile) -> dict[str, str]:
    """Return the properties that no head looks for significantly more than expected, and why.

    Offsets are left out. The reasons begin a sentence: one for properties that were judged, one
    for those that too few chains have.
    """
    effects = judged(profile, profile.effects)
    effects = effects[effects["kind"] != "offset"]
    above = effects["significant"] & (effects["difference"] > 0)
    any_head = effects.assign(  # one pass over the rows: a report asks for this several times
        judged=effects["difference"].notna(),
        looks=above,
        differs=effects["q"] <= profile.rules.max_q,
    ).groupby("property", sort=False)[["judged", "looks", "differs"]]
    found: dict[str, str] = {}
    for name, was_judged, looks, differs in any_head.any().itertuples():
        if not was_judged:
            found[str(name)] = "In too few chains to be judged"
        elif differs and not looks:
            found[str(name)] = "No head looks there more than on the pairs that are its control"
        elif not looks:
            found[str(name)] = (
                "No head looks there significantly more than expected "
                f"(q of at most {profile.rules.max_q:g})"
            )
    return found


def offset_columns(table: Any) -> tuple[list[int], list[str]]:
    """Return offsets and the columns that hold them."""
    names = [name for name in table.columns if name.startswith("offset_")]
    return [int(name.removeprefix("offset_")) for name in names], names


def chosen(profile: Profile, heads: Sequence[str]) -> "pandas.DataFrame":
    """Return the rows of these heads, or say which there are."""
    there = list(profile.heads["name"])
    missing = [name for name in heads if name not in there]
    if missing or not heads:
        raise OptionError(
            f"there is no head {missing[0] if missing else ''!r} in this profile; "
            f"there are {there[0]} to {there[-1]}"
        )
    table: Any = profile.heads
    return table[table["name"].isin(list(heads))]


FAMILIES = {
    "pair": "a kind of pair",
    "residue": "a kind of residue",
    "position": "an offset, or positional",
    "sink": "BOS or EOS",
    "repeat": "the other copy of a repeat",
    "none": "mixed or insufficient",
}
"""What a label is about, by the key of its family."""


def family(label: str, kinds: "Mapping[str, str]") -> str:
    """Return the family of a label, given the kind of each property.

    >>> family("BOS sink", {}), family("strand", {"to strand": "residue"}), family("mixed", {})
    ('sink', 'residue', 'none')
    """
    if label.endswith(" sink"):
        return "sink"
    if label == "repeat" and label not in kinds:
        return "repeat"
    if label == "positional" or label.startswith("offset "):
        return "position"
    return kinds.get(label) or kinds.get(f"to {label}") or "none"


def kinds_of(profile: Profile) -> dict[str, str]:
    """Return the kind of each property."""
    effects: Any = profile.effects
    return dict(zip(effects["property"], effects["kind"], strict=True))


def source(profile: Profile) -> str:
    """Return checkpoint and number of chains, as subtitles have it."""
    chains = len(profile.provenance["chains"])
    name = one_line(profile.provenance["checkpoint"]["name"])
    return f"{name} · {chains:,} chain{'s' * (chains != 1)}"


def one_line(text: str) -> str:
    r"""Return a name without line breaks, for which no font has a sign.

    >>> one_line("active\n site")
    'active site'
    """
    return " ".join(str(text).split())


def literal(texts: Iterable[Any]) -> None:
    """Keep a ``$`` in a name from starting a formula."""
    for text in texts:
        text.set_parse_math(False)
