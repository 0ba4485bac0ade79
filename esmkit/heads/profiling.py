"""The profile of all heads: every property, its background, its statistics and its controls."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.attention.options import MAX_OFFSET, columns_of
from esmkit.encoder.names import HeadChoice, choose_heads
from esmkit.errors import InputError, OptionError
from esmkit.files.provenance import run_provenance
from esmkit.heads.labels import Rules, describe
from esmkit.heads.measuring import CENTRE, Measured, measure
from esmkit.heads.properties import Property, standard_properties
from esmkit.heads.result import HeadProfile
from esmkit.heads.resume import Keeper
from esmkit.heads.statistics import (
    Effects,
    benjamini_hochberg,
    bonferroni,
    inflation,
)
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["profile"]

Array = NDArray[np.float64]


@checked
def profile(
    model: "Encoder",
    structures: Iterable["Structure"],
    *,
    properties: Sequence[Property] | None = None,
    control: bool = True,
    resamples: int = 2_000,
    seed: int = 0,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    progress: Say = silent,
    keep: Keeper = Keeper(),  # noqa: B008 - keeps nothing
) -> HeadProfile:
    """Measure what each attention head looks at, with backgrounds, intervals and controls.

    Parameters
    ----------
    model : Encoder
    structures : iterable of Structure
        Chains, such as :func:`esmkit.data.ts50`; those over 1,022 residues, repeats and those
        hardly resolved are left out and listed.
    properties : sequence of Property, optional
        By default :func:`esmkit.heads.standard_properties`.
    control : bool
        Measure the same architecture with seeded random weights as well, one model or some
        (:func:`esmkit.heads.untrained.control_models`). Without it ``p`` is no more than ``p_shift``.
    resamples : int
        Bootstrap samples of proteins.
    seed : int
        Seed of the bootstrap and of the random weights.
    rules : Rules
        Thresholds of labels, figures and texts.
    progress : callable
        Called with the ID of each chain before its turn.
    keep : Keeper
        Stores what was measured of each chain, and returns what it already has.

    Returns
    -------
    HeadProfile
        Columns of ``effects``: ``name``, ``layer``, ``head``, ``property``, ``kind``; ``share``,
        the part of the head's weight between residues that is on labelled pairs; ``background``,
        that expected from its own offsets and queries (:mod:`esmkit.heads.scores`; for offsets:
        from an even spread); ``difference`` and its 95 % interval ``low``, ``high`` over proteins;
        ``ratio`` and ``log_odds`` of share and background; ``p``, against labels that are shifted and heads that are not trained,
        ``p_shift``, against shifts alone, and the ``inflation`` between the two
        (:mod:`esmkit.heads.statistics`); ``q`` (Benjamini-Hochberg) and ``p_bonferroni`` of ``p``
        over all heads and properties; ``arc_share`` and ``arc_background`` for weights of at least
        0.3, in the proteins with the property; ``arcs``, ``proteins`` and ``labelled``, the
        support; ``half_a`` and ``half_b`` (with ``half_b_low``, ``half_b_high``), the difference in
        every second protein and in the others; ``position_only``, the share of a head that knows
        nothing but its mean offsets; ``weight``, that between residues of the chains with the
        property, to which shares refer; ``best_in``, the proteins in which this head has the
        largest difference of all; ``random``, the difference of the same head in the first model
        with random weights, and ``random_limit``, the 95th percentile of its size over all heads
        of all of them. NaN where the support
        is insufficient: a property in fewer than 10 proteins, or fewer than 100 arcs.

    Raises
    ------
    InputError
        If no chain can be used.
    OptionError
        If two properties have one name, or a number is out of range.

    Examples
    --------
    >>> chains = esmkit.data.ts50()[:10]
    >>> found = profile(esmkit.load(), chains, resamples=100, control=False)  # doctest: +SKIP
    >>> found.best("long-range contact", 1)["name"].item()                   # doctest: +SKIP
    'L5H4'
    """
    chosen = list(standard_properties() if properties is None else properties)
    names = [of.name for of in chosen]
    if not chosen or len(set(names)) < len(names):
        raise OptionError("give at least one property, and each name once")
    if resamples < 100:
        raise OptionError(f"resamples is at least 100, not {resamples}")
    choice = choose_heads(None, "all", of_layers=model.layers, of_heads=model.heads)
    left_out: list[tuple[str, str]] = []
    chains = list(structures) if control else structures
    measured = measure(
        model, chains, chosen, choice, progress=progress, left_out=left_out, keep=keep
    )
    if not measured.chains:
        why = f" ({left_out[0][0]}: {left_out[0][1]})" if left_out else ""
        raise InputError(f"no chain can be used{why}; give protein chains of 3 to 1,022 residues")
    random = _controls(model, chains, chosen, choice, seed, progress, keep) if control else None
    effects = measured.accumulator.effects(
        resamples=resamples, seed=seed, inflated=random.inflation if random else 1.0
    )
    table = _effects_table(chosen, choice, measured, effects, random)
    provenance = run_provenance(
        "heads",
        checkpoint=model.checkpoint.to_dict(),
        shape={"layers": model.layers, "heads": model.heads, "width": model.width},
        settings={
            "chains": measured.chains,
            "properties": names,
            "resamples": resamples,
            "seed": seed,
            "rules": asdict(rules),
            "control": control,
            "random_models": random.models if random else 0,
        },
        dtype=str(model.dtype).removeprefix("torch."),
        device=model.device.type,
        compiled=model.compiled,
        made_from={},
        command="",
        packages=("torch", "transformers", "numpy", "pandas", "mdtraj"),
    )
    return HeadProfile(table, _heads_table(choice, measured, table, rules), provenance, left_out)


@dataclass
class Controls:
    """Effects of heads of models with random weights, on the same chains."""

    models: int
    inflation: Array  # (P,)
    differences: Array  # (models, n, P)


def _controls(
    model: "Encoder",
    chains: Iterable["Structure"],
    properties: Sequence[Property],
    choice: HeadChoice,
    seed: int,
    progress: Callable[[str], None],
    keep: Keeper,
) -> Controls:
    from esmkit.heads.untrained import control_models, with_random_weights

    models = control_models(model)
    deviations, differences = [], []
    for number in range(models):
        untrained = with_random_weights(model, seed=seed + number)
        found = measure(
            *(untrained, chains, properties, choice),
            progress=progress,
            keep=keep,
            stage=1 + number,
        ).accumulator
        deviations.append(found.deviations())
        differences.append(found.effects(resamples=1, seed=seed).difference)
    return Controls(models, inflation(np.concatenate(deviations)), np.stack(differences))


def _effects_table(
    properties: Sequence[Property],
    choice: HeadChoice,
    measured: Measured,
    effects: Effects,
    random: Controls | None,
) -> "pandas.DataFrame":
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
    table = {
        "name": np.repeat(choice.names, count),
        "layer": np.repeat([layer for layer, _ in choice.heads], count),
        "head": np.repeat([head for _, head in choice.heads], count),
        "property": np.tile([of.name for of in properties], heads),
        "kind": np.tile([of.kind for of in properties], heads),
        "share": effects.share,
        "background": effects.background,
        "difference": effects.difference,
        "low": effects.low,
        "high": effects.high,
        "ratio": ratio,
        "log_odds": log_odds,
        "p": effects.p,
        "p_shift": effects.p_shift,
        "q": benjamini_hochberg(effects.p),
        "p_bonferroni": bonferroni(effects.p),
        "arc_share": effects.arc_share,
        "arc_background": effects.arc_background,
        "arcs": gathered.arcs,
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
    if random is not None:
        table["inflation"] = random.inflation[None]
        table["random"] = random.differences[0]
        size = np.abs(random.differences).reshape(-1, count)
        known = ~np.isnan(size).all(0)
        limit = np.full(count, np.nan)
        limit[known] = np.nanquantile(size[:, known], 0.95, axis=0)
        table["random_limit"] = limit[None]
    flat = {
        name: values if np.ndim(values) == 1 else column(values) for name, values in table.items()
    }
    return pandas.DataFrame(flat)


def _heads_table(
    choice: HeadChoice, measured: Measured, effects: "pandas.DataFrame", rules: Rules
) -> "pandas.DataFrame":
    import pandas

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
        label, evidence = describe(facts, of_head[name], rules)  # type: ignore[arg-type]
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
