"""The atlas in the folder of ``esmkit heads``: the page itself is made by a room above this one."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from esmkit.files.disk import write_durably
from esmkit.text import Say, working

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.heads.result import HeadProfile
    from esmkit.structure import Structure

__all__ = ["Page", "write_atlas"]

Page = Callable[
    [
        "HeadProfile",
        "Encoder",
        "list[Structure]",
        "pandas.DataFrame | None",
        "pandas.DataFrame | None",
    ],
    str,
]
"""Makes a page for the folder from the profile, model, chains, circuits and ablation."""


def write_atlas(
    page: Page | None,
    staged: Path,
    folder: Path,
    found: "HeadProfile",
    model: "Encoder",
    chains: "list[Structure]",
    *,
    circuits: "pandas.DataFrame | None" = None,
    ablation: "pandas.DataFrame | None" = None,
    say: Say,
) -> None:
    """Make the page of all heads, if one is wanted, in ``staged``, where the report was written.

    Without ``circuits`` those are taken that ``folder`` holds.
    """
    from esmkit.heads.reading import read_table
    from esmkit.heads.report.files import ATLAS

    if page is None:
        return
    if circuits is None and (folder / "circuits.csv").exists():
        circuits = read_table(folder / "circuits.csv")
    with working(say, "atlas: matrices, and links of the example chains"):
        text = page(found, model, chains, circuits, ablation)
    write_durably(staged / ATLAS, text.encode("utf-8", "replace"))
