"""Figures of variants: which cell has which colour, how long proteins are wrapped, what is said."""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from esmkit import plots
from esmkit.data import demo_structure
from esmkit.errors import InputError, OptionError
from esmkit.plots.variants import LETTERS, MOST_BLOCKS
from oracles.checkpoints import random_sequence


def scan(sequence: str, seed: int = 0) -> pandas.DataFrame:
    random = np.random.default_rng(seed)
    rows = [
        (number, new, random.normal() - 1)
        for number, old in enumerate(sequence, 1)
        for new in LETTERS
        if new != old
    ]
    return pandas.DataFrame(rows, columns=["residue_number", "mutant_residue", "score"])


def maps(figure: Any) -> list[Any]:
    return [axes for axes in figure.axes if axes.images]


def test_every_score_is_where_its_letter_and_residue_are():
    sequence = random_sequence(130, 1)
    table = scan(sequence).sample(frac=0.7, random_state=1)
    table = pandas.concat([table, pandas.DataFrame({"residue_number": [None], "score": [9.0]})])
    figure = plots.variant_map("p", sequence, table)
    seen = {}
    for axes in maps(figure):
        (image,) = axes.images
        left, right, bottom, top = image.get_extent()
        assert (bottom, top) == (19.5, -0.5)
        values = image.get_array()
        assert values.shape == (20, right - left)
        for row, column in zip(*np.nonzero(~np.ma.getmaskarray(values)), strict=True):
            seen[int(left + 0.5 + column), LETTERS[row]] = float(values[row, column])
    single = table[table.residue_number.notna()]
    expected = {(int(n), a): s for n, a, s in single.itertuples(index=False)}
    assert seen == expected
    assert figure.get_suptitle() == f"p · {len(single):,} single substitutions"


@pytest.mark.parametrize(("residues", "blocks"), [(1, 1), (80, 1), (81, 2), (263, 4), (1_520, 8)])
def test_long_proteins_go_over_several_rows(residues: int, blocks: int):
    sequence = random_sequence(residues, 2)
    found = maps(plots.variant_map("p", sequence, scan(sequence)))
    assert len(found) == blocks <= MOST_BLOCKS
    edges = [axes.images[0].get_extent()[:2] for axes in found]
    assert edges[0][0] == 0.5
    assert edges[-1][1] == residues + 0.5
    assert all(one[1] == other[0] for one, other in itertools.pairwise(edges))


def test_zero_is_white_and_dots_are_the_wild_type():
    sequence = "MKXTA"
    table: Any = scan("MKTTA")
    table = table[table.residue_number != 3]
    (axes, *_) = maps(plots.variant_map("p", sequence, table))
    norm = axes.images[0].norm
    assert norm(0.0) == 0.5
    assert norm.vmax == -norm.vmin
    assert np.allclose(axes.images[0].cmap(norm(0.0))[:3], 0.97, atol=0.01)
    low, high = axes.images[0].cmap(0.05), axes.images[0].cmap(0.95)
    assert low[0] > low[2]  # less likely is red
    assert high[2] > high[0]
    dots = axes.collections[0].get_offsets()
    assert [(int(x), LETTERS[int(y)]) for x, y in dots] == [(1, "M"), (2, "K"), (4, "T"), (5, "A")]


def test_bars_are_the_means():
    sequence = random_sequence(12, 3)
    table = scan(sequence)
    figure = plots.variant_map("p", sequence, table)
    bars = next(axes for axes in figure.axes if axes.patches and axes.get_ylabel() == "mean")
    patches: Any = bars.patches
    heights = [bar.get_height() for bar in patches]
    np.testing.assert_allclose(heights, table.groupby("residue_number").score.mean())


def test_structure_marks_and_stretch(tmp_path: Path):
    structure = demo_structure()
    sequence = structure.protein.sequence
    path = tmp_path / "x.svg"
    figure = plots.variant_map(
        "u", sequence, scan(sequence), structure=structure, mark="K48", zoom="40-76", path=path
    )
    assert figure.get_suptitle().endswith("· residues 40 to 76")
    assert "703 single" in figure.get_suptitle()
    text = path.read_text()
    assert re.search(r"helix \(1UBI|helix \(", text)
    assert ">K48<" in text
    again = tmp_path / "y.svg"
    plots.variant_map(
        "u", sequence, scan(sequence), structure=structure, mark="K48", zoom="40-76", path=again
    )
    assert again.read_text() == text


def test_what_cannot_be_drawn_is_said(tmp_path: Path):
    empty = pandas.DataFrame({"residue_number": [], "mutant_residue": [], "score": []})
    with pytest.raises(InputError, match="'p' has no score of a single substitution"):
        plots.variant_map("p", "MKT", empty)
    with pytest.raises(InputError, match="among the residues shown"):
        plots.variant_map("p", "MKTAY", scan("MK"), zoom="3-5")
    with pytest.raises(OptionError, match="there is no residue 9"):
        plots.variant_map("p", "MKT", scan("MKT"), mark="9")
    none = pandas.DataFrame({"score": [1.0, np.nan], "measured": [np.nan, 1.0]})
    with pytest.raises(InputError, match="no variant of 'p' has both"):
        plots.variant_scatter("p", none)


@pytest.mark.parametrize("count", [1, 2, 150, 1_600])
def test_scores_beside_measurements(count: int):
    from scipy.stats import spearmanr

    random = np.random.default_rng(count)
    measured = random.normal(size=count)
    table = pandas.DataFrame({"score": measured + random.normal(size=count), "measured": measured})
    figure = plots.variant_scatter("p", table, label="pllr", measured="fitness")
    assert figure.get_suptitle() == "p · pllr beside fitness"
    said = figure.texts[-1].get_text()
    assert f"{count:,} variants" in said
    if count > 2:
        found: Any = spearmanr(table.score, table.measured)
        assert f"{found.statistic:.3f}" in said


def test_where_lower_is_fitter_the_correlation_has_the_sign_of_the_table():
    table = pandas.DataFrame({"score": [-3.0, 0.5, -1, 2], "measured": [4.0, 2, 3, 1]})
    figure = plots.variant_scatter("p", table, higher_is_better=False)
    said = figure.texts[-1].get_text()
    assert said == "4 variants · Spearman 1.000 with fitness, lower is fitter"
