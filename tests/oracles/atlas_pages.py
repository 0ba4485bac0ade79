"""A small folder as ``esmkit heads`` leaves it, about a tiny model, for tests of the atlas."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from esmkit.data import demo_structure, replication, ts50
from esmkit.esm2 import Esm2
from esmkit.files.tables import write_table
from esmkit.heads.made import record
from esmkit.heads.report.files import write_tables
from esmkit.heads.result import HeadProfile
from esmkit.structure import Structure
from oracles.head_profiles import made_ablation, made_profile

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">"
"""A name that would run a script if it were taken for markup."""


def chains() -> list[Structure]:
    """Four chains, one with a name that no page may run, and one that was not profiled."""
    shortest = sorted(ts50(), key=len)
    hostile = dataclasses.replace(shortest[0], id=HOSTILE)
    bonded = next(chain for chain in replication() if chain.id == "1fas_A")
    return [demo_structure(), hostile, bonded, *shortest[1:3]]


def profile_of(model: Esm2, **options: Any) -> HeadProfile:
    """An invented profile of a model of 2 layers of 4 heads, on the first four chains."""
    given: dict[str, Any] = {
        "labels": {"L0H0": "BOS sink", "L0H1": "offset -1", "L1H3": "insufficient"},
        "rename": {"rare": HOSTILE},
        "checkpoint": model.checkpoint.to_dict(),
        "chains": [chain.id for chain in chains()[:4]],
    }
    found = made_profile(**{**given, **options})
    heads = found.heads.assign(evidence=[f"as planted, {HOSTILE}", *found.heads["evidence"][1:]])
    return dataclasses.replace(found, heads=heads)


def ablation_of() -> pandas.DataFrame:
    """The invented ablation, with a measure of which the atlas knows nothing."""
    table = made_ablation()
    loss = np.linspace(-0.01, 0.05, len(table))
    new = {"masked_lm_loss_change": loss, "masked_lm_loss_low": loss - 0.01}
    return table.assign(**new, masked_lm_loss_high=loss + 0.02, masked_lm_loss_q=0.04)


def circuits_of(profile: HeadProfile) -> pandas.DataFrame:
    """A table of circuits; copying is highest in the last head, and not known of the third."""
    heads = profile.heads[["name", "layer", "head"]]
    copying = np.linspace(-0.7, 0.7, len(heads))
    copying[2] = np.nan
    return heads.assign(copying=copying, copying_q=0.01)


def write_folder(folder: Path, profile: HeadProfile, *, repeats: bool = False) -> Path:
    """Write what a finished folder has, but for figures and pages."""
    folder.mkdir()
    write_tables(profile, folder, circuits_of(profile))
    write_table(folder / "ablation.csv", ablation_of(), "csv")
    if repeats:
        scores = np.linspace(0.0, 0.7, len(profile.heads))
        table = profile.heads[["name"]].assign(repeat_score=scores, repeat_control=0.01)
        table = table.assign(repeat_low=scores - 0.02, repeat_high=scores + 0.02)
        write_table(folder / "repeats.csv", table, "csv")
    (folder / "provenance.json").write_text(json.dumps({**profile.provenance, "left_out": []}))
    record(folder, {"task": "heads"}, "done", {})
    return folder
