"""Marks, sites, stretches, domains and structures on figures of attention, in one numbering."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

import esmkit
from esmkit import plots
from esmkit.attention.maps import AttentionMaps
from esmkit.attention.on_structure import head_view
from esmkit.encoder.names import choose_heads
from esmkit.errors import InputError, OptionError, UnknownIdError
from esmkit.plots import colours, matrix, secondary, tracks
from esmkit.plots.annotations import annotations_of
from esmkit.plots.arcs import own_separation

UBIQUITIN = esmkit.data.demo_structure()
TAG = "MGSSHHHHHHSSGLVPRGSH"


def made(sequence: str, square: np.ndarray | None = None, **changes: Any) -> AttentionMaps:
    """Maps of two heads over a sequence, with these numbers or made-up ones."""
    size = len(sequence)
    if square is None:
        square = np.random.default_rng(size).random((size, size)).astype(np.float32) / size
    nothing = np.zeros((2, size), np.float32)
    choice = choose_heads(None, "all", of_layers=1, of_heads=2)
    values = {"id": "P1", "header": "P1", "sequence": sequence, "choice": choice}
    values |= {"bos": nothing, "eos": nothing, "get": lambda place: square}
    return AttentionMaps(**(values | changes))


def texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    found = [cast(Text, artist).get_text() for artist in figure.findobj(Text)]
    return [text for text in found if text]


def links(figure: Figure) -> set[tuple[int, int]]:
    """(query, key) of the arcs, from where they begin and end."""
    found = set()
    for axes in figure.axes[:2]:
        for arcs in axes.collections:
            if isinstance(arcs, LineCollection):
                found |= {(round(s[0][0]), round(s[-1][0])) for s in arcs.get_segments()}
    return found


# One numbering


@settings(max_examples=25, deadline=None)
@given(st.integers(-30, 30), st.data())
def test_a_residue_has_one_number_everywhere(shift: int, data: st.DataObject):
    """Tags in front, or residues lost there, change no number but the author's beside it."""
    before, lost = max(0, shift), max(0, -shift)
    sequence = (TAG * 2)[:before] + UBIQUITIN.sequence[lost:]
    query = data.draw(st.integers(1, len(sequence)))
    key = data.draw(st.integers(1, len(sequence)).filter(lambda n: n != query))
    square = np.full((len(sequence),) * 2, 1e-6, np.float32)
    square[query - 1, key - 1] = 0.9
    maps = made(sequence, square)
    row = maps.top(1, head="L0H0", min_separation=1, structure=UBIQUITIN).iloc[0]
    assert (row["query_number"], row["key_number"]) == (query, key)
    assert (row["query"], row["key"]) == (sequence[query - 1], sequence[key - 1])
    own = [str(n - before + lost) if n > before else "" for n in (query, key)]
    assert [row["query_author_number"], row["key_author_number"]] == own
    of = annotations_of("P1", sequence, structure=UBIQUITIN, mark=query)
    assert [span.start for span in of.marks] == [query]
    assert of.marks[0].first == sequence[query - 1]
    assert of.numbering is not None
    assert [of.numbering.authors[n - 1] for n in (query, key)] == own
    assert of.numbers_differ == (shift != 0)


def test_figures_count_the_users_residues_and_show_the_authors_beside_them():
    maps = made(TAG + UBIQUITIN.sequence)
    figure = plots.attention_head(maps, "L0H0", structure=UBIQUITIN, mark="K68")
    axes = figure.axes[0]
    assert axes.get_xlim() == (0.5, 96.5)
    shown = texts(figure)
    assert shown.count("number in 1ubi_A") == 2
    labels = {label.get_text() for label in axes.get_xticklabels()}
    assert {"M1", "H20", "G96"} <= labels
    second = cast(Any, axes.child_axes[0])
    at = dict(
        zip([t.get_text() for t in second.get_xticklabels()], second.get_xticks(), strict=True)
    )
    assert at["1"] == 21
    assert at["76"] == 96
    same = plots.attention_head(made(UBIQUITIN.sequence), "L0H0", structure=UBIQUITIN)
    assert "number in 1ubi_A" not in texts(same)  # they would be the same


# A stretch


@pytest.mark.parametrize("zoom", ["50-120", "1-2", "230-300", (100, 170)])
def test_a_stretch_is_what_its_axes_say(zoom: Any):
    sequence = (UBIQUITIN.sequence * 4)[:300]
    maps = made(sequence)
    found = annotations_of("P1", sequence, zoom=zoom)
    figure = plots.attention_head(maps, "L0H0", zoom=zoom)
    axes = figure.axes[0]
    first, last = found.first, found.last
    assert figure.get_suptitle().endswith(f"head L0H0 · residues {first} to {last}")
    assert (axes.get_xlim(), axes.get_ylim()) == (
        (first - 0.5, last + 0.5),
        (last + 0.5, first - 0.5),
    )
    image = np.asarray(axes.get_images()[0].get_array())
    np.testing.assert_array_equal(image, maps["L0H0"][first - 1 : last, first - 1 : last])
    profile = cast(Any, figure.axes[1].patches[0]).get_data()
    np.testing.assert_allclose(profile.values, maps["L0H0"].mean(0)[first - 1 : last], rtol=1e-5)
    assert profile.edges[0] == first - 0.5
    letters = [label.get_text() for label in axes.get_xticklabels(minor=True)]
    if last - first < 80:
        assert letters == list(sequence[first - 1 : last])
    grid = plots.attention_grid(maps, zoom=zoom)
    np.testing.assert_array_equal(np.asarray(grid.axes[0].get_images()[0].get_array()), image)
    assert any(f"query residue {first} to {last}" in text for text in texts(grid))
    arcs = plots.attention_arcs(maps, "L0H0", zoom=zoom, min_separation=1)
    assert all(first <= n <= last for pair in links(arcs) for n in pair)


def test_a_residue_of_three_hundred_is_found():
    for residues in (81, 120, 300, 351, 1_520):
        axes = plots.attention_head(made("A" * residues), "L0H0").axes[0]
        for axis in (axes.xaxis, axes.yaxis):
            numbers = axis.get_ticklocs()
            assert numbers[0] == 1
            assert numbers[-1] == residues
            step = numbers[2] - numbers[1]
            assert residues / step > 7
            between = np.diff(np.sort(np.concatenate([numbers, axis.get_ticklocs(minor=True)])))
            assert max(between[1:]) <= step / 4
            assert len(numbers) <= 20


# Sites and marks


def test_only_links_from_or_to_residues_are_listed_and_drawn():
    maps = made(UBIQUITIN.sequence)
    ways: list[dict[str, Any]] = [{"residue": "K48"}, {"residues": "48"}, {"residues": [48]}]
    for options in ways:
        table = maps.top(10_000, head="L0H0", **options)
        assert len(table) == 2 * 76 - 1
        pairs = table[["query_number", "key_number"]].to_numpy()
        assert (pairs == 48).any(axis=1).all()
    every = maps.top(10_000, head="L0H0")
    there = every[(every["query_number"] == 48) | (every["key_number"] == 48)]
    np.testing.assert_array_equal(there["weight"], table["weight"])
    inside = maps.top(10_000, head="L0H0", zoom="40-50", residue=48)
    assert len(inside) == 2 * 11 - 1
    figure = plots.attention_arcs(maps, "L0H0", residues="K48,K63")
    assert links(figure)
    assert all({48, 63} & set(pair) for pair in links(figure))
    assert any("only links from or to K48, K63" in text for text in texts(figure))
    with pytest.raises(OptionError, match="give `residue` or `residues`, not both"):
        maps.top(residue=48, residues=63)
    with pytest.raises(OptionError, match="residue 48 of 'P1' is K, not R as `residue` has it"):
        maps.top(residue="R48")


def test_only_links_of_residues_are_drawn_on_the_structure():
    sequence = TAG + UBIQUITIN.sequence
    maps = made(sequence)
    view = head_view(maps, "L0H0", UBIQUITIN, 10_000, 6, residues=[68])  # K48, and the tag before
    ends = {frozenset((link.one, link.other)) for link in view.links}
    assert ends == {frozenset((47, other)) for other in range(76) if abs(other - 47) >= 6}
    assert not head_view(maps, "L0H0", UBIQUITIN, 10_000, 6, residues=[3]).links  # of the tag


def test_what_was_not_asked_for_is_covered():
    maps = made(UBIQUITIN.sequence)
    axes = plots.attention_head(maps, "L0H0", residues="K48").axes[0]
    opacity = np.asarray(axes.get_images()[1].get_array())[..., 3]
    touched = np.zeros((76, 76), bool)
    touched[47] = touched[:, 47] = True
    assert (opacity[touched] == 0).all()
    assert (opacity[~touched] > 0.5).all()
    long = made("A" * 3_001)  # pooled: the one row is not lost
    opacity = np.asarray(
        plots.attention_head(long, "L0H0", residues="1502").axes[0].get_images()[1].get_array()
    )[..., 3]
    assert len(opacity) < 1_600
    assert (opacity == 0).all(axis=1).sum() == 1


def test_marks_stand_at_their_residues():
    maps = made(UBIQUITIN.sequence)
    figure = plots.attention_head(maps, "L0H0", mark="K48,K63,70-73,2", zoom="40-76")
    axes = figure.axes[0]
    lines = [line for line in axes.lines if to_hex(line.get_color()) == colours.MARK]
    ends = [np.asarray(line.get_xdata()) for line in lines]
    across = {places[0] for places in ends if len(set(places)) == 1}
    assert {48, 63} <= across
    assert 2 not in across  # not in the stretch
    names = texts(figure)
    assert names.count("K48") == names.count("70-73") == 2
    assert "Q2" not in names
    assert "marked" in names


def test_marks_on_rollout_are_named():
    maps = made(UBIQUITIN.sequence)
    assert "marked: K48, K63" in texts(plots.attention_flow(maps, mark="K48,K63"))
    assert not any("marked" in text for text in texts(plots.attention_flow(maps)))


@pytest.mark.parametrize(("count", "mark"), [(80, "8"), (1_300, "1100"), (2_000, "1100-1200")])
def test_names_of_marks_end_before_the_strips_beside_them(count: int, mark: str):
    sequence = "W" * count
    figure = plots.attention_head(made(sequence), "L0H0", mark=mark, domains=f"one:1-{count}")
    figure.draw_without_rendering()
    name = mark if "-" in mark else f"W{mark}"
    label = max(
        (
            cast(Text, one).get_window_extent()
            for one in figure.findobj(Text)
            if one.get_text() == name
        ),
        key=lambda box: box.x0,
    )
    strips = [axes.get_window_extent() for axes in figure.axes if axes.patches]
    assert any(box.x0 >= label.x1 and box.y0 < label.y0 < box.y1 for box in strips)
    assert not any(
        box.x0 < label.x1 and box.x1 > label.x0 for box in strips if box.width < box.height / 5
    )


@given(st.lists(st.integers(1, 100), min_size=1, max_size=9, unique=True), st.floats(0.5, 10))
def test_labels_never_overlap(places: list[int], least: float):
    places = sorted(places)
    moved = tracks.apart(places, least, 0.5, 100.5)
    assert len(moved) == len(places)
    assert all(other - one >= least - 1e-6 for one, other in pairwise(moved))
    assert moved[0] >= 0.5 + least / 2 - 1e-6
    assert moved[-1] <= 100.5 - least / 2 + 1e-6
    if all(other - one >= least for one, other in pairwise(places)):
        inside = [min(max(p, 0.5 + least / 2), 100.5 - least / 2) for p in places]
        if inside == places:
            np.testing.assert_allclose(moved, places)


# Strips


@pytest.mark.parametrize("draw", [plots.attention_head, plots.attention_arcs])
def test_domains_are_boxes_over_their_residues(draw: Callable[..., Figure]):
    maps = made(UBIQUITIN.sequence * 3)
    domains = {"one": (1, 76), "two": (70, 160), "three": "162-200", "$x_": (205, 220)}
    figure = draw(maps, "L0H0", domains=domains)
    boxes = {}
    for axes in figure.axes:
        for patch in axes.patches:
            if patch.get_label() in domains and hasattr(patch, "get_width"):
                box = cast(Any, patch)
                if box.get_height() == 1:
                    boxes[patch.get_label()] = (
                        box.get_x(),
                        box.get_x() + box.get_width(),
                        id(axes),
                    )
    assert {name: box[:2] for name, box in boxes.items()} == {
        "one": (0.5, 76.5),
        "two": (69.5, 160.5),
        "three": (161.5, 200.5),
        "$x_": (204.5, 220.5),
    }
    assert boxes["one"][2] == boxes["three"][2] != boxes["two"][2]  # overlapping ones lie apart
    assert {"one", "two", "one 1-76", "three 162-200"} <= set(texts(figure))
    cut = draw(maps, "L0H0", domains=domains, zoom="60-100")
    assert {"one 1-76", "two 70-160"} <= set(texts(cut))
    assert not any("three" in text for text in texts(cut))


@pytest.mark.parametrize("draw", [plots.attention_head, plots.attention_arcs])
def test_secondary_structure_stands_where_the_sequence_has_it(draw: Callable[..., Figure]):
    figure = draw(made(TAG + UBIQUITIN.sequence), "L0H0", structure=UBIQUITIN)
    found = [c for axes in figure.axes for c in axes.collections if c.get_label() == "helix"]
    begins = [s[0][0] for c in found[:1] for s in cast(LineCollection, c).get_segments()]
    letters = "." * 20 + UBIQUITIN.secondary_structure_3
    assert begins == [a for letter, a, _ in secondary.runs(letters) if letter == "H"]
    assert to_hex(cast(Any, found[0]).get_colors()[0]) == colours.HELIX


def test_helix_and_strand_have_one_colour_each_on_the_page_too():
    page = (Path(esmkit.__file__).parent / "explorer/static/explorer.css").read_text()
    light = page.split("@media")[0]
    assert re.search(r"--helix:\s*([#\w]+)", light)[1] == colours.HELIX  # type: ignore[index]
    assert re.search(r"--strand:\s*([#\w]+)", light)[1] == colours.STRAND  # type: ignore[index]
    everything = {colours.HELIX, colours.STRAND, colours.MARK, *colours.DOMAINS}
    assert len(everything) == 3 + len(colours.DOMAINS)
    for other in (Path(esmkit.__file__).parent / "plots").glob("*.py"):
        if other.name != "colours.py":
            text = other.read_text().lower()
            assert colours.HELIX not in text
            assert colours.STRAND not in text


# Heads whose links are near, and pairs that no window had


def test_a_head_that_watches_neighbours_is_drawn_with_its_own_links():
    near = np.eye(40, k=4, dtype=np.float32) * np.float32(0.9) + np.float32(0.001)
    assert own_separation(near) == 1
    figure = plots.attention_arcs(made("A" * 40, near), "L0H0")
    assert {(n, n + 4) for n in range(1, 37)} <= links(figure)
    assert any(
        "at least 1 residue apart, most of its weight is within 5" in t for t in texts(figure)
    )
    far = np.eye(40, k=20, dtype=np.float32) * np.float32(0.9) + np.float32(0.001)
    figure = plots.attention_arcs(made("A" * 40, far), "L0H0")
    assert all(abs(key - query) >= 6 for query, key in links(figure))
    assert any(text.startswith("at least 6 residues apart ·") for text in texts(figure))


def test_grey_is_promised_only_where_there_is_some():
    square = np.full((60, 60), 0.01, np.float32)
    square[:20, 40:] = square[40:, :20] = np.nan
    maps = made("A" * 60, square, windows=2)
    grey = "grey: pairs never in one window"
    assert any(grey in text for text in texts(plots.attention_head(maps, "L0H0")))
    assert any(grey in text for text in texts(plots.attention_grid(maps)))
    for figure in (
        plots.attention_arcs(maps, "L0H0"),
        plots.attention_head(maps, "L0H0", zoom="21-40"),
        plots.attention_grid(maps, zoom="21-40"),
    ):
        assert not any("grey" in text for text in texts(figure))
        assert any("read in 2 windows" in text for text in texts(figure))


def test_a_map_of_one_colour_says_why():
    for value, words in (
        (np.nan, "not known: none of these pairs was ever in one window"),
        (0.0, "nothing above 0 between these residues"),
    ):
        square = np.full((9, 9), value, np.float32)
        assert words in texts(plots.attention_head(made("A" * 9, square), "L0H0"))


# What does not fit


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mark": "H5"}, OptionError, "residue 5 of 'P1' is V, not H as `mark` has it"),
        ({"zoom": "70-77"}, OptionError, "there is no residue 77 of 'P1'"),
        ({"zoom": "5"}, OptionError, "`zoom` is one stretch"),
        (
            {"residues": "5", "zoom": "10-20"},
            OptionError,
            "none of `residues` is among residues 10",
        ),
        ({"residues": "Q9:5"}, UnknownIdError, "there is no ID 'Q9'"),
        ({"domains": "a:1-77"}, OptionError, "'a' of `domains` ends at 77"),
        ({"structure": "nowhere.pdb"}, InputError, "nowhere.pdb"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], error: type, message: str):
    maps = made(UBIQUITIN.sequence)
    for draw in (
        lambda: plots.attention_grid(maps, **options),
        lambda: plots.attention_head(maps, "L0H0", **options),
        lambda: plots.attention_arcs(maps, "L0H0", **options),
        lambda: maps.plot("L0H0", **options),
    ):
        with pytest.raises(error, match=message):
            draw()


def test_ticks_of_a_stretch():
    assert matrix.residue_ticks(120, 8, first=51) == [51, 60, 70, 80, 90, 100, 110, 120]
    assert matrix.residue_ticks(52, 8, first=51) == [51, 52]
    assert matrix.residue_ticks(300, 18, first=99) == [99, *range(120, 300, 20), 300]


def test_marks_do_not_cross_what_arcs_say():
    figure = plots.attention_arcs(made("MKTVRQERLK" * 3), "L0H0", mark="3,20")
    said = [text for axes in figure.axes for text in axes.texts if "towards" in text.get_text()]
    assert len(said) == 2
    legend = figure.axes[0].get_legend()
    assert legend is not None
    for box in (*(text.get_bbox_patch() for text in said), legend.get_frame()):
        assert box is not None
        assert box.get_visible()
        assert box.get_facecolor() == (1, 1, 1, 1)
