"""Invented profiles of heads with planted effects, and real ones of which little is measured."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pandas
import pytest

from esmkit.data import repeat_proteins
from esmkit.heads.result import HeadProfile
from esmkit.plots.figure import HouseFigure

PAIRS = (
    # name, kind, share and background of the planted head, proteins, labelled pairs
    ("long-range contact", "pair", 0.05, 0.02, 50, 18_000),
    ("helix partner", "pair", 0.19, 0.16, 47, 6_000),
    ("strand partner", "pair", 0.008, 0.003, 45, 2_000),
    ("disulfide", "pair", 0.006, 0.001, 15, 80),
    ("cysteine pair", "pair", 0.02, 0.004, 30, 800),
    ("rare", "pair", np.nan, np.nan, 3, 9),
    ("to strand", "residue", 0.30, 0.25, 48, 90_000),
    ("offset -1", "offset", 0.02, 0.01, 50, 6_000),
)
"""By default for 2 layers of 4 heads, of which L1H2 has these effects and the others chance."""


def made_profile(
    layers: int = 2,
    heads: int = 4,
    *,
    properties: Sequence[Any] = PAIRS,
    labels: dict[str, str] | None = None,
    rename: dict[str, str] | None = None,
    **provenance: Any,
) -> HeadProfile:
    """Return a profile in which L1H2 (or the last head, if there is none) has all effects."""
    names = [(layer, head) for layer in range(layers) for head in range(heads)]
    planted = (1, 2) if (1, 2) in names else names[-1]
    rows, random = [], np.random.default_rng(0)
    for layer, head in names:
        for name, kind, share, background, proteins, labelled in properties:
            own = (layer, head) == planted
            chance = 0.0 if np.isnan(background) else random.uniform(-0.02, 0.02) * background
            real = share if own else background + chance
            gone = np.isnan(background)
            difference = real - background
            odds = np.log(real / (1 - real)) - np.log(background / (1 - background))
            rows.append(
                {
                    "name": f"L{layer}H{head}",
                    "layer": layer,
                    "head": head,
                    "property": (rename or {}).get(name, name),
                    "kind": kind,
                    "family": f"{kind}s",
                    "share": real,
                    "background": background,
                    "difference": difference,
                    "low": difference - 0.2 * abs(difference),
                    "high": difference + 0.2 * abs(difference) + 1e-9,
                    "ratio": real / background,
                    "log_odds": odds,
                    "p": np.nan if gone else 1e-9 if own else 0.5,
                    "q": np.nan if gone else 1e-8 if own else 0.6,
                    "p_bonferroni": np.nan if gone else 1e-6 if own else 1.0,
                    "arc_share": np.nan,
                    "arc_background": np.nan,
                    "arcs": 50,
                    "proteins": proteins,
                    "labelled": labelled,
                    "half_a": difference * 1.1,
                    "half_b": difference * 0.9,
                    "half_b_low": difference * 0.5,
                    "half_b_high": difference * 1.3,
                    "position_only": background * 0.9,
                    "random": 0.0 if not gone else np.nan,
                    "random_limit": 1e-4 if not gone else np.nan,
                }
            )
    shares = random.dirichlet(np.ones(65), size=len(names)) * 0.9
    table = pandas.DataFrame(
        {
            "name": [f"L{layer}H{head}" for layer, head in names],
            "layer": [layer for layer, _ in names],
            "head": [head for _, head in names],
            "label": [
                (labels or {}).get(
                    f"L{layer}H{head}",
                    (rename or {}).get("long-range contact", "long-range contact")
                    if (layer, head) == planted
                    else "mixed",
                )
                for layer, head in names
            ],
            "evidence": "as planted",
            "entropy": 0.5,
            "distance": 20.0,
            "bos": 0.1,
            "eos": 0.05,
            "top_offset": 1,
            "top_offset_share": 0.1,
            "positional": 0.2,
            **{f"offset_{n - 32}": shares[:, n] for n in range(65)},
        }
    )
    facts = {
        "checkpoint": {"name": "tiny", "source": "a test", "official": True, "sha256": "ab" * 32},
        "chains": [f"chain{n}" for n in range(50)],
        "properties": list(dict.fromkeys(row["property"] for row in rows)),
        "resamples": 2000,
        "seed": 0,
        "rules": {"max_q": 0.05, "min_ratio": 1.25, "min_difference": 0.005},
        "control": True,
    }
    return HeadProfile(pandas.DataFrame(rows), table, {**facts, **provenance})


def made_ablation() -> pandas.DataFrame:
    """Return ablations of all heads of the invented profile; L1H2 costs most, by its map alone.

    Set to zero, L0H3 moves the mean embedding most; set to its mean, hardly.
    """
    rows = []
    for mode, size in (("mean", 0.5), ("zero", 1.0)):
        for layer in range(2):
            for head in range(4):
                worst = (layer, head) == (1, 2)
                change = -0.02 * size if worst else 0.001 * head
                output, by_map = (0.0, change) if layer else (change, 0.0)
                far = mode == "zero" and (layer, head) == (0, 3)
                rows.append(
                    {
                        "name": f"L{layer}H{head}",
                        "mode": mode,
                        "precision_change": change,
                        "low": change - 0.005,
                        "high": change + 0.005,
                        "drift_cosine": 0.01 * size if worst else 0.0001 * (head + 1) + 0.1 * far,
                        "chains": 20,
                        "scored": 20,
                        "output_change": output,
                        "output_low": output - 0.004,
                        "output_high": output + 0.004,
                        "map_change": by_map,
                        "map_low": by_map - 0.003,
                        "map_high": by_map + 0.003,
                        "q": 0.01 if worst else 0.4,
                        "output_q": 0.3 if not layer else np.nan,
                        "map_q": 0.02 if worst else np.nan,
                        "refit_weight": 3.0 if worst else 0.0,
                        "refit_precision": 0.1 if worst else 0.13,
                        "refit_change": -0.03 if worst else 0.0,
                        "refit_low": -0.04 if worst else 0.0,
                        "refit_high": -0.02 if worst else 0.0,
                        "refit_q": 0.001 if worst else np.nan,
                        "refit_scored": 50,
                    }
                )
    return pandas.DataFrame(rows)


def with_repeats(profile: HeadProfile, copying: Sequence[str] = ("L1H1",)) -> HeadProfile:
    """Return a profile with repeat scores, in which some heads copy and have the label for it."""
    heads: Any = profile.heads.copy()
    high = heads["name"].isin(list(copying))
    table = heads[["name", "layer", "head"]].copy()
    score = np.where(high, 0.5, 0.012)
    table = table.assign(
        repeat_score=score,
        repeat_low=0.9 * score,
        repeat_high=1.1 * score,
        repeat_control=0.01,
        repeat_control_low=0.009,
        repeat_control_high=0.011,
        repeat_difference=score - 0.01,
        repeat_difference_low=0.9 * score - 0.01,
        repeat_difference_high=1.1 * score - 0.01,
        to_first=score,
        to_second=score,
        next_score=0.011,
        next_control=0.01,
        sequences=30,
        pairs=3_706,
        random_most=0.009,
        permuted_most=0.03,
        models=3,
        real_weight=0.4 * score,
        real_background=0.004,
        real_difference=0.4 * score - 0.004,
        real_low=0.3 * score - 0.004,
        real_high=0.5 * score - 0.004,
        real_above=14,
        real_proteins=14,
    )
    heads.loc[high, "label"] = "repeat"
    columns = ("repeat_score", "repeat_low", "repeat_high", "repeat_control", "repeat_control_high")
    return replace(profile, heads=heads.assign(**{c: table[c] for c in columns}), repeats=table)


REPEATED, REAL_REPEATS = 4, 2
"""Pairs of sequences that are made, and real proteins with repeats, in :func:`small_profile`."""


def small_profile(patch: pytest.MonkeyPatch, *, figures: bool = False) -> None:
    """Let ``esmkit heads`` measure little of each kind: for tests of what becomes of a run.

    Its figures, which take half of the time, are a few dots that depend on what they show, unless
    ``figures`` are asked for.
    """
    if not figures:
        patch.setattr("esmkit.heads.report.files._drawn", dots)
    proteins = sorted(repeat_proteins(), key=len)[:REAL_REPEATS]
    whole = import_module("esmkit.heads.circuits").circuits
    patch.setattr("esmkit.heads.untrained.CONTROL_HEADS", 1)
    patch.setattr("esmkit.heads.measure_all.ABLATION_CHAINS", 2)
    patch.setattr("esmkit.heads.repeats.SEQUENCES", REPEATED)
    patch.setattr("esmkit.data.repeat_proteins", lambda: proteins)
    patch.setattr("esmkit.heads.circuits.circuits", partial(whole, permutations=20, controls=10))


def dots(profile: Any, name: str, ablation: Any) -> HouseFigure:
    """Return what stands for a figure of a profile: its colour depends on the numbers."""
    figure = HouseFigure(figsize=(0.5, 0.5))
    figure.suptitle(name)
    numbers = profile.effects["difference"] if name != "ablation" else ablation["drift_cosine"]
    colour = 0.5 + 0.4 * float(np.sin(1e6 * numbers.sum()))
    figure.set_facecolor((colour, colour, colour))
    return figure
