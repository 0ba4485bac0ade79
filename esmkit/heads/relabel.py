"""A profile of an earlier version, which has no repeats, gets them: nothing else is measured again."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from esmkit.encoder.names import choose_heads
from esmkit.heads.judgement import UNREPEATED
from esmkit.heads.labels import describe
from esmkit.heads.measuring import measure
from esmkit.heads.properties import Property
from esmkit.heads.resume import Keeper
from esmkit.heads.tables import OF_REPEATS
from esmkit.heads.unrepeated import unrepeated_columns

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.heads.result import HeadProfile
    from esmkit.structure import Structure

__all__ = ["with_repeats"]


def with_repeats(
    profile: "HeadProfile",
    model: "Encoder",
    structures: "Sequence[Structure]",
    properties: Sequence[Property],
    repeats: "pandas.DataFrame",
    *,
    keep: Keeper = Keeper(),  # noqa: B008 - keeps nothing
) -> "HeadProfile":
    """Return a profile with what repeats add to it: their scores, the tests without them, labels.

    The chains go through the model once more; what the profile has of controls is taken from it.

    Parameters
    ----------
    profile : HeadProfile
        Of this model, on these chains, for these properties.
    model : Encoder
    structures : sequence of Structure
    properties : sequence of Property
        In the order of the profile.
    repeats : pandas.DataFrame
        What :func:`esmkit.heads.repeat_scores` returned.
    keep : Keeper
        Stores what was measured of each chain, and returns what it already has.

    Returns
    -------
    HeadProfile
        Every number that there was is the same.
    """
    choice = choose_heads(None, "all", of_layers=model.layers, of_heads=model.heads)
    measured = measure(model, structures, properties, choice, keep=keep, again=True)
    effects: Any = profile.effects
    effects = effects.drop(columns=[c for c in effects.columns if c.startswith(UNREPEATED)])
    if measured.apart is not None and measured.repeated:
        inflation: Any = 1.0
        if "inflation" in effects.columns:
            inflation = effects["inflation"].to_numpy()[: len(properties)]
        asked: Any = {name: profile.provenance[name] for name in ("resamples", "seed")}
        effects = effects.assign(
            **unrepeated_columns(properties, measured.apart, inflation, **asked)
        )
    of_head = {name: rows.to_dict("records") for name, rows in effects.groupby("name", sort=False)}
    copying = {row["name"]: row for row in repeats.to_dict("records")}
    heads: Any = profile.heads.drop(columns=list(OF_REPEATS), errors="ignore")
    facts = heads.drop(columns=["label", "evidence"]).to_dict("records")
    told = [
        describe({**row, **copying[row["name"]]}, of_head[row["name"]], profile.rules)
        for row in facts
    ]
    heads["label"], heads["evidence"] = (list(each) for each in zip(*told, strict=True))
    place = list(heads.columns).index("positional") + 1
    for number, column in enumerate(OF_REPEATS):
        heads.insert(place + number, column, [copying[name][column] for name in heads["name"]])
    provenance: dict[str, Any] = {}
    for name, value in profile.provenance.items():  # in the order of a profile made at once
        provenance[name] = value
        provenance |= {"repeated": measured.repeated} if name == "chains" else {}
    provenance["rules"] = asdict(profile.rules)  # there was none for repeats
    return replace(profile, effects=effects, heads=heads, provenance=provenance, repeats=repeats)
