"""Tables and figures of a profile as files; the summary beside them is in ``summary``."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit import plots
from esmkit.errors import MissingDependencyError, install_command
from esmkit.files.disk import place_of, write_durably
from esmkit.files.names import file_name
from esmkit.files.tables import open_table, write_table
from esmkit.heads.report.answers import QUESTIONS
from esmkit.heads.report.masked_loss import has_loss
from esmkit.heads.report.paper import head_table, table_latex, table_markdown
from esmkit.plots.profiles import kinds_of, offset_columns, without_hit
from esmkit.plots.protocols import Profile
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = [
    "ATLAS",
    "FIGURES",
    "LOSS",
    "NO_PARQUET",
    "SHOWN",
    "figure_names",
    "write_figures",
    "write_paper",
    "write_tables",
]

LOSS = "masked-LM loss"
"""Name of the figure of what heads are worth for guessing hidden residues."""

FIGURES = "figures"
"""The folder of the figures in that of the report."""

ATLAS = "atlas.html"
"""The page with all heads, to search and compare; made by the explorer, and listed with the others."""

SHOWN = (*QUESTIONS, "ablation", LOSS, "repeats", "offsets", "properties")
"""Figures that the summary shows."""

NO_PARQUET = (
    "effects.parquet was not written, for pyarrow is not installed "
    f"({install_command('esmkit[parquet]')}); effects.csv holds the same."
)

Shown = dict[str, tuple[str, str, str]]
"""Title of a figure, its path from the summary, and the ``<img>`` that holds it; by its name."""


def write_tables(
    profile: Profile,
    folder: Path,
    circuits: "pandas.DataFrame | None",
    ablation: "pandas.DataFrame | None" = None,
) -> tuple[list[Path], list[str]]:
    """Write what was measured; return the paths, and what the summary has to say about them."""
    heads: Any = profile.heads
    _, offsets = offset_columns(heads)
    tables: dict[str, Any] = {"effects": profile.effects, "heads": heads.drop(columns=offsets)}
    if offsets:
        tables["offsets"] = heads[["name", "layer", "head", *offsets]]
    tables |= {"circuits": circuits} if circuits is not None else {}
    for name in ("replication", "disulfides", "repeats"):
        found = getattr(profile, name)
        tables |= {name: found} if found is not None else {}
    written, notes = [], []
    for name, table in tables.items():
        write_table(folder / f"{name}.csv", table, "csv")
        written.append(folder / f"{name}.csv")
    written += write_paper(profile, folder, ablation)
    path = place_of(folder / "effects.parquet")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open_table("parquet", unfinished, profile.provenance) as writer:
            writer.add(profile.effects)
        unfinished.replace(path)
        written.append(path)
    except MissingDependencyError:
        notes.append(NO_PARQUET)
        path.unlink(missing_ok=True)  # one of an earlier run would contradict effects.csv
    finally:
        unfinished.unlink(missing_ok=True)
    return written, notes


def write_paper(profile: Profile, folder: Path, ablation: "pandas.DataFrame | None") -> list[Path]:
    """Write the line of each head for a paper, as CSV, Markdown and LaTeX; return the paths."""
    table = head_table(profile, ablation)
    write_table(folder / "table.csv", table, "csv")
    for name, text in {
        "table.md": table_markdown(profile, table),
        "table.tex": table_latex(profile, table),
    }.items():
        write_durably(folder / name, text.encode("utf-8", "replace"))
    return [folder / f"table.{kind}" for kind in ("csv", "md", "tex")]


def figure_names(profile: Profile, ablation: "pandas.DataFrame | None" = None) -> list[str]:
    """Return the names of the figures of a report: no grid for a property without a hit."""
    kinds, empty = kinds_of(profile), set(without_hit(profile))
    looked_for = [name for name, kind in kinds.items() if kind != "offset" and name not in empty]
    names = [*looked_for, "offsets", *(["properties"] if looked_for else [])]
    if profile.repeats is not None and len(profile.repeats):
        names.append("repeats")
    if ablation is not None and _has_numbers(ablation):
        names.append("ablation")
    if ablation is not None and has_loss(ablation):
        names.append(LOSS)
    return names


def _has_numbers(ablation: Any) -> bool:
    return bool(ablation[["precision_change", "drift_cosine"]].notna().to_numpy().any())


def write_figures(
    profile: Profile,
    folder: Path,
    ablation: "pandas.DataFrame | None",
    kind: str,
    *,
    only: Collection[str] | None = None,
    progress: Say = silent,
) -> tuple[list[Path], Shown]:
    """Draw the figures, one after the other, so that they never all lie in memory.

    Parameters
    ----------
    profile : HeadProfile
    folder : Path
        That of the report.
    ablation : pandas.DataFrame, optional
    kind : {'png', 'svg', 'pdf'}
    only : collection of str, optional
        Figures that are saved, by their names; the others are drawn for the summary alone.
    progress : callable
        Called with the name of each figure before its turn.

    Returns
    -------
    tuple of list of Path and dict
        The files, and what the summary shows.
    """
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    shown: Shown = {}
    for name in figure_names(profile, ablation):
        saved = only is None or name in only
        if not saved and name not in SHOWN:
            continue
        progress(name)
        figure = _drawn(profile, name, ablation)
        path = folder / FIGURES / f"{file_name(name)}.{kind}"
        if saved:
            plots.save(figure, path)
            written.append(path)
        if name in SHOWN:
            title = figure.get_suptitle()
            shown[name] = (title, f"{FIGURES}/{path.name}", plots.inline_html(figure))
    return written, shown


def _drawn(profile: Profile, name: str, ablation: Any) -> "Figure":
    if name in kinds_of(profile):
        return plots.property_grid(profile, name)
    if name == "offsets":
        return plots.offset_profiles(profile)
    if name == "properties":
        return plots.property_map(profile)
    if name == "repeats":
        return plots.repeat_scores(profile)
    if name == LOSS:
        return plots.masked_loss(profile, ablation)
    return plots.ablation_scatter(profile, ablation)
