"""The strip of pLDDT beside maps on a predicted structure."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from esmkit import AttentionMaps, ContactMap
from esmkit.data import demo_structure
from esmkit.encoder.names import choose_heads
from esmkit.plots import attention_head, contact_map
from esmkit.plots.colours import PLDDT
from esmkit.structure import Structure

COLOURS = {to_hex(colour) for _, colour in PLDDT.values()}


def predicted() -> Structure:
    plddt = np.full(76, 95.0)
    plddt[10:20] = [90, 89.99, 70, 69.99, 50, 49.99, 0, np.nan, np.nan, 100]
    return dataclasses.replace(demo_structure(), plddt=plddt)


def strips(figure: Any) -> list[dict[int, str]]:
    """Return for each strip the colour of each residue, by its number in the sequence."""
    found = []
    for axes in figure.axes:
        boxes = [p for p in axes.patches if isinstance(p, Rectangle)]
        boxes = [p for p in boxes if to_hex(p.get_facecolor()) in COLOURS]
        colours: dict[int, str] = {}
        for box in boxes:
            along = box.get_width() > 1 or box.get_height() == 1
            first, count = (
                (box.get_x(), box.get_width()) if along else (box.get_y(), box.get_height())
            )
            for number in range(round(first + 0.5), round(first + 0.5 + count)):
                colours[number] = to_hex(box.get_facecolor())
        if colours:
            found.append(colours)
    return found


def legend_texts(figure: Any) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def expected(structure: Structure, tag: int) -> dict[int, str]:
    """Return the colours of residues behind a tag, by the limits of the AlphaFold database."""
    assert structure.plddt is not None
    found = {}
    for row, value in enumerate(structure.plddt.tolist()):
        if not np.isnan(value):
            which = 0 if value >= 90 else 1 if value >= 70 else 2 if value >= 50 else 3
            found[row + tag + 1] = ["#0053d6", "#65cbf3", "#ffdb13", "#ff7d45"][which]
    return found


def figure_of(structure: Structure, kind: str, tag: str) -> Any:
    sequence = tag + structure.sequence
    values = np.zeros((len(sequence),) * 2, np.float32)
    if kind == "contacts":
        return contact_map(ContactMap("u", "", sequence, values), structure)
    one = choose_heads(["L0H0"], "all", of_layers=1, of_heads=1)
    none = np.zeros((1, len(sequence)), np.float32)
    maps = AttentionMaps("u", "", sequence, one, none, none, lambda place: values + 0.01)
    return attention_head(maps, "L0H0", structure=structure)


@pytest.mark.parametrize("tag", ["", "MHHHHHHGS"])
@pytest.mark.parametrize("kind", ["contacts", "attention"])
def test_each_residue_has_the_colour_of_its_class(kind: str, tag: str) -> None:
    structure = predicted()
    figure = figure_of(structure, kind, tag)
    wanted = expected(structure, len(tag))
    assert strips(figure) == [wanted, wanted]  # above the map and beside it
    assert [text for text in legend_texts(figure) if "pLDDT" in text] == list(PLDDT)


@pytest.mark.parametrize("kind", ["contacts", "attention"])
def test_an_experimental_structure_has_no_strip(kind: str) -> None:
    figure = figure_of(demo_structure(), kind, "")
    assert strips(figure) == []
    assert not [text for text in legend_texts(figure) if "pLDDT" in text]


def test_residues_left_out_are_said() -> None:
    figure = figure_of(predicted().confident(70), "contacts", "")
    texts = " ".join(text.get_text() for text in figure.texts)
    assert "residues of pLDDT below 70 not counted" in texts
    assert "pLDDT below 70 not" not in " ".join(
        text.get_text() for text in figure_of(predicted(), "contacts", "").texts
    )
