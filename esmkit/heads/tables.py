"""Tables of a profile: a row for each head and property, and a row for each head."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.attention.options import MAX_OFFSET, columns_of
from esmkit.encoder.names import HeadChoice
from esmkit.heads.controls import Controls
from esmkit.heads.judgement import CONTROLS
from esmkit.heads.labels import Rules, describe
from esmkit.heads.measuring import CENTRE, Measured
from esmkit.heads.properties import Property
from esmkit.heads.statistics import FAMILIES, Effects, benjamini_hochberg, bonferroni, within

if TYPE_CHECKING:
    import pandas

__all__ = ["beyond_controls", "effects_table", "heads_table"]

Array = NDArray[np.float64]


def beyond_controls(
    properties: Sequence[Property], measured: Measured, *, resamples: int, seed: int
) -> Array:
    """Return the interval of each ratio over that of the property's control: (2, n, P), or NaN."""
    places = {of.name: place for place, of in enumerate(properties)}
    found = np.full((2, len(measured.facts), len(properties)), np.nan)
    for name, control in CONTROLS.items():
        if name in places and control in places:
            ends = measured.accumulator.between(
                places[name], places[control], resamples=resamples, seed=seed
            )
            found[:, :, places[name]] = ends
    return found


def effects_table(
    properties: Sequence[Property],
    choice: HeadChoice,
    measured: Measured,
    effects: Effects,
    untrained: Controls | None,
    beyond: Array,
) -> "pandas.DataFrame":
    """Return the effects of n heads, a row for each head and property.

    Columns are explained in :func:`esmkit.heads.profile`; ``beyond`` is what :func:`beyond_controls`
    returns.
    """
    import pandas

    heads, count = len(choice.heads), len(properties)
    gathered = measured.accumulator

    def column(values: Any) -> Any:
        return np.broadcast_to(values, (heads, count)).reshape(-1)

    with np.errstate(invalid="ignore", divide="ignore"):
        odds = effects.share / (1 - effects.share), effects.background / (1 - effects.background)
        ratio, log_odds = effects.share / effects.background, np.log(odds[0] / odds[1])
    ratio[~np.isfinite(ratio)] = np.nan
    log_odds[~np.isfinite(log_odds)] = np.nan
    families = np.tile([FAMILIES[of.kind] for of in properties], heads)
    p = effects.p.reshape(-1)
    table = {
        "name": np.repeat(choice.names, count),
        "layer": np.repeat([layer for layer, _ in choice.heads], count),
        "head": np.repeat([head for _, head in choice.heads], count),
        "property": np.tile([of.name for of in properties], heads),
        "kind": np.tile([of.kind for of in properties], heads),
        "family": families,
        "share": effects.share,
        "background": effects.background,
        "difference": effects.difference,
        "low": effects.low,
        "high": effects.high,
        "ratio": ratio,
        "ratio_low": effects.ratio_low,
        "ratio_high": effects.ratio_high,
        "log_odds": log_odds,
        "p": effects.p,
        "p_shift": effects.p_shift,
        "q": within(families, benjamini_hochberg, p),
        "p_bonferroni": within(families, bonferroni, p),
        "arc_share": effects.arc_share,
        "arc_background": effects.arc_background,
        "arcs": gathered.arcs,
        "pooled_arc_share": effects.pooled_arc_share,
        "pooled_arcs": gathered.pooled_arcs[:, None],
        "proteins": gathered.proteins[None],
        "labelled": gathered.labelled[None],
        "half_a": effects.half[0],
        "half_b": effects.half[1],
        "half_b_low": effects.half_low,
        "half_b_high": effects.half_high,
        "position_only": measured.position_only(),
        "weight": effects.weight,
        "best_in": effects.best_in,
    }
    table |= _of_controls(properties, ratio, beyond)
    if untrained is not None:
        table["inflation"] = untrained.inflation[None]
        for kind, differences in (("random", untrained.random), ("permuted", untrained.permuted)):
            table[kind] = differences[0]
            table[f"{kind}_limit"] = _limit(differences)[None]
    flat = {
        name: values if np.ndim(values) == 1 else column(values) for name, values in table.items()
    }
    return pandas.DataFrame(flat)


def _of_controls(properties: Sequence[Property], ratio: Array, interval: Array) -> dict[str, Array]:
    """Return the columns of ratios over that of the property's control, (n, P) each, or NaN."""
    places = {of.name: place for place, of in enumerate(properties)}
    beyond = np.full(ratio.shape, np.nan)
    for name, control in CONTROLS.items():
        if name in places and control in places:
            with np.errstate(invalid="ignore", divide="ignore"):
                beyond[:, places[name]] = ratio[:, places[name]] / ratio[:, places[control]]
    beyond[~np.isfinite(beyond)] = np.nan
    names = ("beyond_control", "beyond_control_low", "beyond_control_high")
    return dict(zip(names, (beyond, *interval), strict=True))


def _limit(differences: Array) -> Array:
    """Return the 95th percentile of the size of (M, n, P) differences over M and n: (P,)."""
    size = np.abs(differences).reshape(-1, differences.shape[2])
    known = ~np.isnan(size).all(0)
    limit = np.full(size.shape[1], np.nan)
    limit[known] = np.nanquantile(size[:, known], 0.95, axis=0)
    return limit


OF_REPEATS = ("repeat_score", "repeat_low", "repeat_high", "repeat_control", "repeat_control_high")
"""Columns of :func:`esmkit.heads.repeat_scores` that heads have too."""


def heads_table(
    choice: HeadChoice,
    measured: Measured,
    effects: "pandas.DataFrame",
    rules: Rules,
    repeats: "pandas.DataFrame | None" = None,
) -> "pandas.DataFrame":
    """Return a row for each of n heads, with its label; columns as in ``HeadProfile.heads``."""
    import pandas

    copying = (
        {row["name"]: row for row in repeats.to_dict("records")} if repeats is not None else {}
    )

    chains = len(measured.chains)
    entropy, distance, bos, eos = (measured.facts / chains).T
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = measured.offsets / measured.offsets.sum(1, keepdims=True)
        every, by_offset, overall = measured.squares.T
        positional = (by_offset - overall) / (every - overall)
    top = shares.argmax(1)
    window = shares[:, CENTRE - MAX_OFFSET : CENTRE + MAX_OFFSET + 1]
    rows = []
    of_head = {name: rows.to_dict("records") for name, rows in effects.groupby("name", sort=False)}
    for place, (layer, head) in enumerate(choice.heads):
        name = choice.names[place]
        facts = {
            "entropy": entropy[place],
            "distance": distance[place],
            "bos": bos[place],
            "eos": eos[place],
            "top_offset": int(top[place]) - CENTRE,
            "top_offset_share": shares[place, top[place]],
            "positional": positional[place],
        }
        of_copies: Any = copying.get(name, {})
        label, evidence = describe({**facts, **of_copies}, of_head[name], rules)  # type: ignore[arg-type]
        facts |= {column: of_copies[column] for column in OF_REPEATS if column in of_copies}
        rows.append(
            {
                "name": name,
                "layer": layer,
                "head": head,
                "label": label,
                "evidence": evidence,
                **facts,
                **dict(zip(columns_of(("offsets",)), window[place], strict=True)),
            }
        )
    return pandas.DataFrame(rows)
