"""Figures of contacts: what they mark and count is what maps and structures hold."""

import dataclasses
import io
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas
import pytest
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import PowerNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from test_plots import nothing_leaks, shown, texts, tick_texts  # noqa: F401 - a fixture for all

from esmkit import plots
from esmkit.contacts import ContactMap, precision_curves
from esmkit.contacts.scores import RANGES, ranked_pairs
from esmkit.data import demo_structure
from esmkit.errors import InputError, OptionError
from esmkit.esm2 import Esm2
from esmkit.plots import matrix, precision, secondary
from esmkit.structure import Structure
from oracles.checkpoints import random_sequence

UBIQUITIN = demo_structure()
GREY = 0.78


def invented(sequence: str, seed: int = 0, **changes: Any) -> ContactMap:
    """A symmetric map of random probabilities, most of them small."""
    random = np.random.default_rng(seed)
    half = random.beta(0.3, 4, (len(sequence), len(sequence)))
    made = ContactMap(
        id="P1",
        header="P1",
        sequence=sequence,
        probability=np.maximum(half, half.T).astype(np.float32),
        source="contact head of tiny",
        checkpoint="tiny",
    )
    return dataclasses.replace(made, **changes)


def without(structure: Structure, lost: slice) -> Structure:
    """The structure with a stretch that has no coordinates."""
    backbone, cb = structure.backbone.copy(), structure.cb.copy()
    backbone[lost], cb[lost] = np.nan, np.nan
    return dataclasses.replace(structure, backbone=backbone, cb=cb)


def part(structure: Structure, kept: slice) -> Structure:
    """Some residues of a structure."""
    names = ("sequence", "residue_numbers", "backbone", "cb", "sg")
    return dataclasses.replace(
        structure, **{name: getattr(structure, name)[kept] for name in names}
    )


def marks(figure: Figure) -> dict[str, list[tuple[int, int]]]:
    """Marks of the map by label: (column, row) as residue numbers."""
    found = {}
    for collection in figure.axes[0].collections:
        if isinstance(collection, PathCollection):
            offsets = np.asarray(collection.get_offsets())
            found[str(collection.get_label())] = [(int(x), int(y)) for x, y in offsets]
    return found


def legend(figure: Figure) -> list[str]:
    """Every line of the legends, headings first."""
    return [
        text.get_text() for one in figure.legends for text in (one.get_title(), *one.get_texts())
    ]


def expected_marks(
    values: NDArray[np.float32], contacts: NDArray[np.bool_], resolved: NDArray[np.bool_]
) -> dict[str, set[tuple[int, int]]]:
    """The same in plain Python, pair by pair: residue numbers i < j."""
    size = len(values)
    pairs = [
        (-float(values[i, j]), i, j)
        for i in range(size)
        for j in range(i + 6, size)
        if resolved[i] and resolved[j] and not np.isnan(values[i, j])
    ]
    top = {(i + 1, j + 1) for _, i, j in sorted(pairs)[: int(resolved.sum())]}
    true = {(i + 1, j + 1) for i in range(size) for j in range(i + 6, size) if contacts[i, j]}
    return {
        "true positive": top & true,
        "false positive": top - true,
        "found": top & true,
        "missed": true - top,
    }


def check_marks(
    figure: Figure, contacts: ContactMap, structure: Structure, *, before: int = 0
) -> None:
    """Hold the marks against those expected; the structure has residues before the sequence."""
    found, on_structure = marks(figure), expected_marks(*contacts.onto(structure))
    expected = {
        label: {
            (i - before, j - before)
            for i, j in pairs
            if before < i and j <= before + len(contacts)  # the sequence has both
        }
        for label, pairs in on_structure.items()
    }
    assert set(found) == set(expected)
    for label in ("true positive", "false positive"):
        assert len(set(found[label])) == len(found[label])
        assert {(i, j) for j, i in found[label]} == expected[label]  # column j, row i: above
    for label in ("found", "missed"):
        assert len(set(found[label])) == len(found[label])
        assert set(found[label]) == expected[label]  # column i, row j: below
    right, wrong = len(expected["true positive"]), len(expected["false positive"])
    lost = len(expected["missed"])
    assert legend(figure)[:6] == [
        f"{right + wrong} strongest pairs",
        f"true positive {right}",
        f"false positive {wrong}",
        f"{right + lost} true contacts",
        f"found {right}",
        f"missed {lost}",
    ]


# The map beside a structure


@pytest.mark.parametrize("seed", range(4))
def test_marks_are_the_strongest_pairs_right_and_wrong(seed: int):
    contacts = invented(UBIQUITIN.sequence, seed)
    figure = plots.contact_map(contacts, UBIQUITIN)
    check_marks(figure, contacts, UBIQUITIN)
    found = marks(figure)
    assert len(found["true positive"]) + len(found["false positive"]) == 76
    assert len(found["true positive"]) > 0
    assert len(found["found"]) + len(found["missed"]) == 141  # at least 6 apart, in 1UBI


def test_marks_of_equal_values_are_in_the_order_of_scores():
    values = np.round(invented(UBIQUITIN.sequence).probability, 1)
    contacts = invented(UBIQUITIN.sequence, probability=values)
    figure = plots.contact_map(contacts, UBIQUITIN)
    check_marks(figure, contacts, UBIQUITIN)
    i, j = (numbers[:76] + 1 for numbers in ranked_pairs(values))
    found = marks(figure)
    assert {*found["true positive"], *found["false positive"]} == set(
        zip(j.tolist(), i.tolist(), strict=True)
    )


def test_predictions_are_above_the_diagonal_and_nothing_but_contacts_below():
    contacts = invented(UBIQUITIN.sequence)
    axes = plots.contact_map(contacts, UBIQUITIN).axes[0]
    (image,) = axes.get_images()
    upper = np.triu(np.ones((76, 76), bool))
    np.testing.assert_array_equal(shown(image)[upper], contacts.probability[upper])
    np.testing.assert_array_equal(shown(image)[~upper], 0)
    assert tuple(image.get_extent()) == (0.5, 76.5, 76.5, 0.5)
    assert (axes.get_xlim(), axes.get_ylim()) == ((0.5, 76.5), (76.5, 0.5))
    for axis in (axes.xaxis, axes.yaxis):
        assert tick_texts(axis, minor=True) == list(enumerate(UBIQUITIN.sequence, start=1))
        assert tick_texts(axis)[:2] == [(1, "1"), (10, "10")]  # letters stand between


def test_a_pair_is_drawn_in_its_corner():
    """In the pixels: a contact of the ends is top right when predicted, bottom left when true."""
    contacts = invented(UBIQUITIN.sequence, probability=np.zeros((76, 76), np.float32))
    contacts.probability[0, 75] = contacts.probability[75, 0] = 1
    for structure, dark in ((None, (True, True)), (UBIQUITIN, (True, False))):
        figure = plots.contact_map(contacts, structure)
        image = figure.axes[0].get_images()[0]
        for mark in [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]:
            mark.set_visible(False)
        figure.dpi = 200
        with io.BytesIO() as buffer:
            figure.savefig(buffer, format="png", dpi=200)
            pixels = np.asarray(Image.open(buffer).convert("L"), float)
        left, bottom, right, top = (round(v) for v in image.get_window_extent().extents)
        square = pixels[len(pixels) - top : len(pixels) - bottom, left:right]
        half = len(square) // 152
        assert (square[half, -half] < 50) == dark[0]
        assert (square[-half, half] < 50) == dark[1]
        assert square[half * 20, -half * 20] > 250


def test_close_pairs_are_covered_and_never_marked():
    contacts = invented(UBIQUITIN.sequence)
    for structure in (None, UBIQUITIN):
        figure = plots.contact_map(contacts, structure)
        (band,) = (cast(Any, patch).get_data() for patch in figure.axes[0].patches)
        covered = np.zeros((76, 76), bool)
        for column in range(76):
            assert (band.edges[column], band.edges[column + 1]) == (column + 0.5, column + 1.5)
            rows = np.arange(1, 77)
            covered[:, column] = (rows > band.baseline[column]) & (rows < band.values[column])
        apart = np.abs(np.subtract.outer(np.arange(76), np.arange(76)))
        np.testing.assert_array_equal(covered, apart < 6)
        assert all(abs(x - y) >= 6 for found in marks(figure).values() for x, y in found)
        assert "under 6 apart" in legend(figure)
        assert "not known" not in legend(figure)


def test_marks_differ_in_shape_and_in_colour():
    axes = plots.contact_map(invented(UBIQUITIN.sequence), UBIQUITIN).axes[0]
    found = {str(c.get_label()): c for c in axes.collections if isinstance(c, PathCollection)}
    right, wrong = found["true positive"], found["false positive"]
    corners = [np.shape(mark.get_paths()[0].vertices) for mark in (right, wrong)]
    assert corners[0] != corners[1]
    np.testing.assert_allclose(np.asarray(right.get_facecolor())[0], to_rgba("#0072B2"))
    np.testing.assert_allclose(np.asarray(wrong.get_edgecolor())[0], to_rgba("#D55E00"))
    greys = [
        matrix.lightness(np.asarray(found[n].get_facecolor())[0, :3]) for n in ("found", "missed")
    ]
    assert greys[1] - greys[0] > 40


def test_titles_say_who_what_and_how_good():
    contacts = invented(UBIQUITIN.sequence)
    figure = plots.contact_map(contacts, UBIQUITIN)
    score = contacts.score(UBIQUITIN)["P@L"]
    assert figure.get_suptitle() == "P1 · predicted contacts · 76 residues · contact head of tiny"
    assert (
        f"below the diagonal: true contacts of 1ubi_A · P@L short {score['short']:.2f}, "
        f"medium {score['medium']:.2f}, long {score['long']:.2f}"
    ) in texts(figure)
    assert len(set(score)) == 3
    heads = dataclasses.replace(contacts, source="head L1H2", method="heads", windows=2)
    figure = plots.contact_map(heads)
    assert figure.get_suptitle() == "P1 · predicted contacts · 76 residues · head L1H2 · tiny"
    assert (
        "both halves show the prediction · read in 2 windows, grey: pairs never in one window"
    ) in texts(figure)


def test_the_structure_of_another_protein_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="do not belong together"):
        plots.contact_map(invented(random_sequence(76, 1)), UBIQUITIN, path=tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


# Without a structure


def test_without_a_structure_both_halves_are_the_prediction():
    contacts = invented(UBIQUITIN.sequence)
    before = contacts.probability.copy()
    figure = plots.contact_map(contacts)
    np.testing.assert_array_equal(shown(figure.axes[0].get_images()[0]), contacts.probability)
    np.testing.assert_array_equal(contacts.probability, before)
    assert marks(figure) == {}
    assert legend(figure) == ["not counted", "under 6 apart"]
    assert len(figure.axes) == 2  # the map and its colours
    assert "contact head's score (0 to 1)" in texts(figure)


def test_probabilities_have_one_scale_and_scores_their_own():
    weak = invented(UBIQUITIN.sequence, probability=np.full((76, 76), 0.02, np.float32))
    for contacts in (weak, invented(UBIQUITIN.sequence)):
        norm = plots.contact_map(contacts).axes[0].get_images()[0].norm
        assert isinstance(norm, PowerNorm)
        assert (norm.vmin, norm.vmax, norm.gamma) == (0, 1, 0.7)
    scores = np.random.default_rng(0).normal(0, 0.05, (76, 76)).astype(np.float32)
    scores = (scores + scores.T) / 2
    np.fill_diagonal(scores, 9)  # never counts
    contacts = invented(UBIQUITIN.sequence, probability=scores, method="heads")
    for structure in (None, UBIQUITIN):
        figure = plots.contact_map(contacts, structure)
        image = figure.axes[0].get_images()[0]
        counted = np.maximum(scores[np.triu_indices(76, 6)], 0)
        assert image.norm.vmin == 0
        np.testing.assert_allclose(
            cast(float, image.norm.vmax), np.percentile(counted, 99.8), rtol=1e-6
        )
        assert (
            np.asarray(cast(Any, image).cmap(cast(Any, image).norm(-0.01)))[:3].min() == 1
        )  # white
        assert "score, cut at the 99.8th percentile" in texts(figure)
    check_marks(figure, contacts, UBIQUITIN)


def test_scores_that_are_all_negative(tmp_path: Path):
    below = np.full((76, 76), -0.5, np.float32)
    contacts = invented(UBIQUITIN.sequence, probability=below, method="heads")
    figure = plots.contact_map(contacts, UBIQUITIN, path=tmp_path / "x.png")
    check_marks(figure, contacts, UBIQUITIN)
    norm = figure.axes[0].get_images()[0].norm
    assert (norm.vmin, norm.vmax) == (0, 1)


# What is not known


def test_unresolved_residues_are_grey_below_and_never_marked():
    lost = slice(20, 33)
    structure, contacts = without(UBIQUITIN, lost), invented(UBIQUITIN.sequence)
    figure = plots.contact_map(contacts, structure)
    check_marks(figure, contacts, structure)
    assert "63 strongest pairs" in legend(figure)
    assert legend(figure)[-1] == "not known"
    below = np.tril(np.ones((76, 76), bool), -1)
    gone = np.zeros((76, 76), bool)
    gone[lost], gone[:, lost] = True, True
    image = shown(figure.axes[0].get_images()[0])
    np.testing.assert_array_equal(np.isnan(image), gone & below)
    np.testing.assert_array_equal(image[~below], contacts.probability[~below])
    drawn_cells = np.asarray(figure.axes[0].get_images()[0].cmap(np.array([np.nan])))[0]
    np.testing.assert_allclose(drawn_cells[:3], GREY, atol=0.01)
    strip = figure.axes[1].collections
    covered = [segment for c in strip[:2] for segment in cast(Any, c).get_segments()]
    covered += [path.vertices for path in strip[2].get_paths()]
    assert covered
    for points in covered:  # nothing is drawn over residues 21 to 33
        assert points[:, 0].max() <= 20.5 or points[:, 0].min() >= 33.5


def test_pairs_never_seen_together_are_grey_and_never_marked(tmp_path: Path):
    values = invented(UBIQUITIN.sequence).probability.copy()
    values[:20, 50:], values[50:, :20] = np.nan, np.nan
    contacts = invented(UBIQUITIN.sequence, probability=values, windows=2)
    for structure in (None, UBIQUITIN):
        figure = plots.contact_map(contacts, structure, path=tmp_path / "x.png")
        image = shown(figure.axes[0].get_images()[0])
        assert np.isnan(image[:20, 50:]).all()
        assert np.isnan(image).sum() == (520 if structure else 1_040)  # 20 x 26 pairs
        assert legend(figure)[-1] == "not known"
    check_marks(figure, contacts, UBIQUITIN)
    # true contacts among them are missed, as the model says nothing of them
    assert any(x <= 20 and y > 50 for x, y in marks(figure)["missed"])


def test_a_sequence_shorter_than_its_structure_is_drawn_alone():
    contacts = invented(UBIQUITIN.sequence[10:70])
    figure = plots.contact_map(contacts, UBIQUITIN)
    check_marks(figure, contacts, UBIQUITIN, before=10)
    image = shown(figure.axes[0].get_images()[0])
    np.testing.assert_array_equal(np.triu(image), np.triu(contacts.probability))
    assert tick_texts(figure.axes[0].xaxis)[-1] == (60, "60")
    assert "76 strongest pairs" in legend(figure)  # L is that of the structure
    assert "60 residues" in (figure.get_suptitle() or "")


def test_a_longer_sequence_is_drawn_whole():
    structure, contacts = part(UBIQUITIN, slice(5, 70)), invented(UBIQUITIN.sequence)
    figure = plots.contact_map(contacts, structure)
    check_marks(figure, contacts, structure, before=-5)
    image = shown(figure.axes[0].get_images()[0])
    upper = np.triu(np.ones((76, 76), bool))
    np.testing.assert_array_equal(image[upper], contacts.probability[upper])
    known = np.zeros((76, 76), bool)
    known[5:70, 5:70] = True
    np.testing.assert_array_equal(np.isnan(image), ~known & ~upper)
    assert "(65 of 76 residues)" in " ".join(texts(figure))
    assert "76 residues" in (figure.get_suptitle() or "")


@pytest.mark.parametrize("residues", [1, 3, 6, 7, 20])
def test_short_chains(residues: int, tmp_path: Path):
    structure = part(UBIQUITIN, slice(0, residues))
    contacts = invented(structure.sequence)
    plots.contact_map(contacts, path=tmp_path / "alone.png")
    figure = plots.contact_map(contacts, structure, path=tmp_path / "both.png")
    check_marks(figure, contacts, structure)
    if residues < 25:  # no long range
        assert "long n/a" in " ".join(texts(figure))
    if residues <= 6:
        assert legend(figure)[:4:3] == ["0 strongest pairs", "0 true contacts"]
    heads = dataclasses.replace(contacts, method="heads")
    plots.contact_map(heads, structure, path=tmp_path / "heads.png")


def test_a_chain_without_any_coordinate(tmp_path: Path):
    structure, contacts = without(UBIQUITIN, slice(0, 76)), invented(UBIQUITIN.sequence)
    with pytest.raises(InputError, match="do not belong together"):
        plots.contact_map(invented(UBIQUITIN.sequence[:70]), structure)
    figure = plots.contact_map(contacts, structure, path=tmp_path / "x.png")
    assert marks(figure) == {"true positive": [], "false positive": [], "found": [], "missed": []}
    assert "P@L short n/a, medium n/a, long n/a" in " ".join(texts(figure))


def test_nothing_but_nan(tmp_path: Path):
    nothing = np.full((76, 76), np.nan, np.float32)
    for method in ("regression", "heads"):
        contacts = invented(UBIQUITIN.sequence, probability=nothing, method=method)
        plots.contact_map(contacts, path=tmp_path / "alone.png")
        figure = plots.contact_map(contacts, UBIQUITIN, path=tmp_path / "both.png")
        check_marks(figure, contacts, UBIQUITIN)


def test_long_proteins_fit(tmp_path: Path):
    figure = plots.contact_map(invented(random_sequence(1_700, 0)), path=tmp_path / "x.png")
    assert shown(figure.axes[0].get_images()[0]).shape == (850, 850)  # 5 inches at 300 dpi


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_saved_by_extension_and_the_same_each_time(kind: str, tmp_path: Path):
    contacts = invented(UBIQUITIN.sequence, id="sp|P1|$\\nosuch$")
    for name in "ab":
        figure = contacts.plot(UBIQUITIN, path=tmp_path / f"{name}.{kind}")
    assert figure.get_size_inches()[0] == 7.2
    first = (tmp_path / f"a.{kind}").read_bytes()
    assert first == (tmp_path / f"b.{kind}").read_bytes()
    assert first.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind])
    with pytest.raises(OptionError, match=r"end the name in \.png, \.svg or \.pdf"):
        contacts.plot(path=tmp_path / "x.jpg")


def test_results_show_themselves():
    assert '<img alt="P1 · predicted contacts' in invented(UBIQUITIN.sequence)._repr_html_()


def test_legends_stay_inside_the_figure_and_apart():
    figure = plots.contact_map(invented(UBIQUITIN.sequence), without(UBIQUITIN, slice(3, 9)))
    figure.draw_without_rendering()
    boxes = [one.get_window_extent() for one in figure.legends]
    assert len(boxes) == 4
    width, _ = figure.get_size_inches() * figure.dpi
    assert all(box.x1 < width for box in boxes)
    assert all(upper.y0 > lower.y1 for upper, lower in pairwise(boxes))
    assert boxes[-1].y0 > figure.axes[0].get_window_extent().y0
    assert boxes[0].y1 < figure.axes[-1].get_window_extent().y0  # under the colour bar


# Marks, stretches, domains


def test_a_stretch_counts_what_it_shows():
    contacts = invented(UBIQUITIN.sequence)
    whole = marks(plots.contact_map(contacts, UBIQUITIN))
    figure = plots.contact_map(contacts, UBIQUITIN, zoom="20-60")
    seen = {
        label: [pair for pair in pairs if min(pair) >= 20 and max(pair) <= 60]
        for label, pairs in whole.items()
    }
    assert marks(figure) == seen
    axes = figure.axes[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((19.5, 60.5), (60.5, 19.5))
    (image,) = axes.get_images()
    assert tuple(image.get_extent()) == (19.5, 60.5, 60.5, 19.5)
    upper = np.triu(np.ones((41, 41), bool))
    np.testing.assert_array_equal(shown(image)[upper], contacts.probability[19:60, 19:60][upper])
    right, wrong = len(seen["true positive"]), len(seen["false positive"])
    assert legend(figure)[:3] == [
        f"{right + wrong} of 76 strongest pairs",
        f"true positive {right}",
        f"false positive {wrong}",
    ]
    assert f"{len(seen['found']) + len(seen['missed'])} of 141 true contacts" in legend(figure)
    assert "residues 20 to 60 of 76" in (figure.get_suptitle() or "")
    assert tick_texts(axes.xaxis, minor=True) == [
        (n, UBIQUITIN.sequence[n - 1]) for n in range(20, 61)
    ]
    assert figure.axes[1].get_xlim() == (19.5, 60.5)  # the secondary structure


def test_a_stretch_of_a_windowed_protein_promises_grey_where_there_is_some():
    values = invented(UBIQUITIN.sequence).probability.copy()
    values[:20, 50:], values[50:, :20] = np.nan, np.nan
    contacts = invented(UBIQUITIN.sequence, probability=values, windows=2)
    for zoom, grey in ((None, True), ("1-60", True), ("1-50", False)):
        said = " ".join(texts(plots.contact_map(contacts, zoom=zoom)))
        assert "read in 2 windows" in said
        assert ("never in one window" in said) == grey


def test_marks_and_domains_stand_at_their_residues(tmp_path: Path):
    figure = plots.contact_map(
        invented(UBIQUITIN.sequence),
        UBIQUITIN,
        mark="H68,20-22",
        domains="one:5-30,two:40-70",
        path=tmp_path / "x.png",
    )
    axes = figure.axes[0]
    across = [np.asarray(line.get_xdata()).tolist() for line in axes.lines]
    lines = [places[0] for places in across if len(set(places)) == 1]
    assert lines == [68]
    assert {"H68", "20-22"} <= set(texts(figure))
    boxes = {
        patch.get_label(): (patch.get_x(), patch.get_x() + patch.get_width())
        for one in figure.axes[1:]
        for patch in one.patches
        if isinstance(patch, Rectangle) and patch.get_width() > 1
    }
    assert boxes == {"one": (4.5, 30.5), "two": (39.5, 70.5)}


def test_pairs_that_were_not_asked_for_are_covered():
    figure = plots.contact_map(invented(UBIQUITIN.sequence), residues="K48,10-12")
    _, veil = figure.axes[0].get_images()
    covered = np.asarray(cast(Any, veil).get_array())[..., 3] > 0
    asked = np.zeros(76, bool)
    asked[[47, 9, 10, 11]] = True
    np.testing.assert_array_equal(covered, ~(asked[:, None] | asked))
    assert "both halves show the prediction · only pairs of 10-12, K48" in texts(figure)
    for wrong in ({"residues": "H48"}, {"mark": 77}, {"zoom": "5"}, {"domains": "x:70-80"}):
        with pytest.raises(OptionError, match=f"`{next(iter(wrong))}`"):
            plots.contact_map(invented(UBIQUITIN.sequence), **cast(Any, wrong))


# Secondary structure


def test_secondary_structure_stands_at_its_residues_on_both_axes():
    figure = plots.contact_map(invented(UBIQUITIN.sequence), UBIQUITIN)
    square, over, beside = figure.axes[:3]
    assert over.get_xlim() == square.get_xlim()
    assert beside.get_ylim() == square.get_ylim()
    at, above, right = (axes.get_position() for axes in (square, over, beside))
    assert (above.x0, above.x1) == (at.x0, at.x1)
    assert above.y0 >= at.y1
    assert (right.y0, right.y1) == (at.y0, at.y1)
    assert right.x0 >= at.x1
    letters = UBIQUITIN.secondary_structure_3
    for axes, along in ((over, 0), (beside, 1)):
        rebuilt = ["?"] * 76
        for letter, collection in zip("CHE", axes.collections, strict=True):
            if isinstance(collection, LineCollection):
                shapes = [np.asarray(segment) for segment in collection.get_segments()]
            else:
                assert isinstance(collection, PolyCollection)
                shapes = [np.asarray(path.vertices) for path in collection.get_paths()]
            for points in shapes:
                first, last = points[:, along].min() + 0.5, points[:, along].max() + 0.5
                for residue in range(round(first), round(last)):
                    assert rebuilt[residue - 1] == "?"
                    rebuilt[residue - 1] = letter
                assert np.abs(points[:, 1 - along]).max() <= 0.5
        assert "".join(rebuilt) == letters


@pytest.mark.parametrize("length", [1, 2, 3, 12, 40])
def test_waves_turn_as_helices_do_and_arrows_point_to_the_end(length: int):
    points = secondary.wave(4.5, 4.5 + length)
    np.testing.assert_allclose(points[[0, -1]], [[4.5, 0], [4.5 + length, 0]], atol=1e-9)
    turns = np.abs(np.diff(points[:, 1])).sum() / (4 * 0.36)
    assert turns == pytest.approx(length / 3.6, abs=0.36)  # half a turn more or less, at most
    corners = secondary.arrow(4.5, 4.5 + length)
    assert corners[:, 0].min() == 4.5
    tip = corners[corners[:, 0].argmax()]
    np.testing.assert_array_equal(tip, [4.5 + length, 0])


# Precision by rank


def curves_of(chains: int, **options: Any) -> Any:
    found = [invented(UBIQUITIN.sequence, seed).onto(UBIQUITIN) for seed in range(chains)]
    return precision_curves(found, **options)


def lines(axes: Any) -> dict[str, NDArray[np.float64]]:
    return {line.get_label(): np.asarray(line.get_xydata()) for line in axes.get_lines()}


def test_curves_are_those_of_the_table(tmp_path: Path):
    table = curves_of(5, up_to=2)
    figure = plots.precision_by_rank(table, path=tmp_path / "rank.png")
    assert len(figure.axes) == 3
    for axes, name in zip(figure.axes, RANGES, strict=True):
        assert axes.get_title().startswith(f"{name} range")
        rows = table[table["range"] == name]
        for label, column in (
            ("mean", "precision"),
            ("ceiling", "ceiling"),
            ("background", "background"),
        ):
            np.testing.assert_array_equal(lines(axes)[label], rows[["k/L", column]].to_numpy())
        (band,) = axes.collections
        edges = np.asarray(band.get_paths()[0].vertices)
        for at, low, high in rows[["k/L", "low", "high"]].to_numpy():
            reached = edges[edges[:, 0] == at, 1]
            assert (reached.min(), reached.max()) == (low, high)
        assert tick_texts(axes.xaxis) == [(0.2, "L/5"), (0.5, "L/2"), (1, "L"), (2, "2L")]
        assert axes.get_xlim() == (0, 2)
        assert axes.get_ylim()[0] == 0
    (key,) = figure.legends
    assert [text.get_text() for text in key.get_texts()] == [
        *("mean", "95 % interval", "ceiling", "background")
    ]
    assert any(text.startswith("5 chains · mean and 95 %") for text in texts(figure))


def test_few_chains_have_no_band():
    for chains, bands in ((1, 0), (3, 0), (4, 1)):
        figure = plots.precision_by_rank(curves_of(chains))
        assert [len(axes.collections) for axes in figure.axes] == [bands] * 3
        assert any("bootstrap" in text for text in texts(figure)) == bool(bands)
        assert any("interval" in text for text in legend(figure)) == bool(bands)


def test_several_curves_are_told_apart():
    named = {"contact head": curves_of(4), "head L5H4": curves_of(4, seed=1)}
    named["head L5H4"]["precision"] /= 2
    figure = plots.precision_by_rank(named)
    for axes in figure.axes:
        found = {line.get_label(): line for line in axes.get_lines()}
        one, two = found["contact head"], found["head L5H4"]
        assert one.get_color() != two.get_color()
        assert one.get_linestyle() != two.get_linestyle()
        np.testing.assert_allclose(
            np.asarray(two.get_ydata()) * 2, np.asarray(one.get_ydata()), rtol=1e-12
        )
    assert legend(figure)[1:3] == ["contact head", "head L5H4"]


def test_ranges_without_pairs_are_empty(tmp_path: Path):
    structure = part(UBIQUITIN, slice(0, 20))
    table = precision_curves([invented(structure.sequence).onto(structure)])
    figure = plots.precision_by_rank(table, path=tmp_path / "x.svg")
    assert np.isnan(lines(figure.axes[2])["mean"][:, 1]).all()
    assert np.isfinite(lines(figure.axes[0])["mean"][:, 1]).any()


def test_no_curve_is_an_error():
    for nothing in ({}, pandas.DataFrame(), {"x": curves_of(1).iloc[:0]}):
        with pytest.raises(OptionError, match="there is no curve to draw; make some with"):
            plots.precision_by_rank(nothing)


# The grid of heads


def head_table(layers: int = 6, heads: int = 20, seed: int = 0) -> Any:
    """Rows in no order, as a ranking has them."""
    random = np.random.default_rng(seed)
    rows = [
        {"name": f"L{layer}H{head}", "layer": layer, "head": head, "range": name}
        | {cut: random.beta(1, 5) for cut in ("P@L", "P@L/2", "P@L/5")}
        for layer in range(layers)
        for head in range(heads)
        for name in RANGES
    ]
    return pandas.DataFrame(rows).sample(frac=1, random_state=seed)


def cells(figure: Figure) -> dict[tuple[int, int], str]:
    """Numbers of the grid by layer and head."""
    found = {}
    for text in figure.axes[0].texts:
        head, layer = text.get_position()
        found[int(layer), int(head)] = text.get_text()
    return found


@pytest.mark.parametrize(("measure", "name"), [("P@L/2", "long"), ("P@L", "short")])
def test_numbers_of_the_grid_are_those_of_the_table(measure: str, name: str, tmp_path: Path):
    table = head_table()
    options: Any = {} if measure == "P@L/2" else {"measure": measure, "range": name}
    figure = plots.head_precision_grid(table, path=tmp_path / "heads.pdf", **options)
    rows = table[table["range"] == name]
    expected = {(r["layer"], r["head"]): r[measure] for _, r in rows.iterrows()}
    assert {place: float(text) for place, text in cells(figure).items()} == {
        place: round(value, 2) for place, value in expected.items()
    }
    (mesh,) = (c for c in figure.axes[0].collections)
    values = np.asarray(cast(Any, mesh.get_array()))
    assert values.shape == (6, 20)
    assert {place: values[place] for place in expected} == expected
    assert figure.axes[0].yaxis_inverted()  # layer 0 on top, as in the grid of attention
    best = max(expected, key=lambda place: expected[place])
    (frame,) = (p for p in figure.axes[0].patches if isinstance(p, Rectangle))
    assert frame.get_xy() == (best[1] - 0.5, best[0] - 0.5)
    assert f"best (framed): L{best[0]}H{best[1]} {expected[best]:.2f}" in texts(figure)
    assert f"{measure}, {name} range" in (figure.get_suptitle() or "")


def test_numbers_stay_in_their_cells_and_can_be_read():
    for layers, heads in ((6, 20), (36, 40), (2, 60), (1, 1)):
        figure = plots.head_precision_grid(head_table(layers, heads))
        figure.draw_without_rendering()
        axes = figure.axes[0]
        (x0, y0), (x1, y1) = axes.transData.transform([(0, 0), (1, 1)])
        for text in axes.texts[:40]:
            box = text.get_window_extent()
            assert box.width < abs(x1 - x0)
            assert box.height < abs(y1 - y0)
            assert float(text.get_fontsize()) >= 5
            layer, head = (int(n) for n in reversed(text.get_position()))
            value = np.asarray(cast(Any, axes.collections[0].get_array()))[layer, head]
            mapped = cast(Any, axes.collections[0])
            background = matrix.lightness(np.asarray(mapped.cmap(mapped.norm(value)))[:3])
            ink = {"black": 0, "white": 100}[str(text.get_color())]
            assert abs(background - ink) > 40
        width = figure.get_size_inches()[0]
        assert width == 7.2 if heads <= 39 else width >= 7.2


def test_reference_values_are_marked_on_the_colours():
    figure = plots.head_precision_grid(head_table(), background=0.03, contact_head=0.95)
    bar = figure.axes[1]
    marked = {
        float(cast(Any, line.get_xdata())[0])
        for line in bar.get_lines()
        if line.get_marker() == "v"
    }
    assert marked == {0.03, 0.95}
    assert bar.get_xlim()[1] >= 0.95  # the scale goes on to where the contact head is
    assert {"background", "contact head"} <= set(texts(figure))
    assert any(text.endswith("· background 0.03 · contact head 0.95") for text in texts(figure))
    alone = plots.head_precision_grid(head_table(), contact_head=0.2)
    assert "background" not in texts(alone)
    bare = plots.head_precision_grid(head_table())
    assert not [line for line in bare.axes[1].get_lines() if line.get_marker() == "v"]


def test_heads_that_are_missing_are_grey(tmp_path: Path):
    table = head_table(2, 3)
    table = table[~((table["layer"] == 0) & (table["head"] == 1))].copy()
    table.loc[(table["layer"] == 1) & (table["head"] == 2), "P@L/2"] = np.nan
    figure = plots.head_precision_grid(table, path=tmp_path / "x.png")
    assert set(cells(figure)) == {(0, 0), (0, 2), (1, 0), (1, 1)}
    np.testing.assert_allclose(to_rgba(figure.axes[0].get_facecolor())[:3], GREY)
    table["P@L/2"] = np.nan
    figure = plots.head_precision_grid(table, path=tmp_path / "x.png")
    assert (cells(figure), list(figure.axes[0].patches)) == ({}, [])
    table["P@L/2"] = 0.0
    figure = plots.head_precision_grid(table, path=tmp_path / "x.png")
    assert set(cells(figure).values()) == {".00"}


def test_numbers_have_two_digits():
    given = [0.0, 0.004, 0.159, 0.996, 0.994, 1.0]
    assert [precision.two_digits(value) for value in given] == [
        *(".00", ".00", ".16", "1", ".99", "1")
    ]


def test_tables_that_do_not_fit():
    table = head_table(2, 2)
    with pytest.raises(OptionError, match="no column 'P@L/3'; there are name, layer, head, range"):
        plots.head_precision_grid(table, measure="P@L/3")
    with pytest.raises(OptionError, match="no range 'wide'; there are "):
        plots.head_precision_grid(table, range="wide")
    with pytest.raises(OptionError, match="several rows of range 'long'; average them over chains"):
        plots.head_precision_grid(pandas.concat([table, table]))
    with pytest.raises(OptionError, match="no range 'long'; there are none"):
        plots.head_precision_grid(table.iloc[:0])


# On the real checkpoint


@pytest.mark.weights
def test_ubiquitin_is_drawn_with_what_the_checkpoint_finds(real: Esm2):
    contacts = real.contacts(UBIQUITIN.protein)
    figure = contacts.plot(UBIQUITIN)
    check_marks(figure, contacts, UBIQUITIN)
    assert legend(figure)[1:3] == ["true positive 27", "false positive 49"]
