"""Figures of attention: what they show is what the maps hold, at the right residues."""

import base64
import dataclasses
import io
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from PIL import Image

from esmkit import plots
from esmkit.attention.extract import attention
from esmkit.attention.maps import AttentionMaps
from esmkit.encoder.names import choose_heads
from esmkit.errors import OptionError, OutputError
from esmkit.esm2 import Esm2, load
from esmkit.plots import matrix, thumbnails
from esmkit.plots.figure import fit
from esmkit.sequences.proteins import Protein
from oracles.checkpoints import SHAPES, make_checkpoint, random_sequence

SEQUENCE = random_sequence(37, seed=3)
LAYERS, HEADS, _ = SHAPES[0]


def settings() -> dict[str, Any]:
    """All settings but the backend: looking at that one imports pyplot."""
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}


@pytest.fixture(autouse=True)
def nothing_leaks():
    """No figure changes the caller's settings or opens a window."""
    before = settings()
    had_pyplot = "matplotlib.pyplot" in sys.modules
    yield
    assert settings() == before
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    assert had_pyplot or pyplot is None
    assert pyplot is None or pyplot.get_fignums() == []


@pytest.fixture(scope="module")
def maps(tiny: Esm2) -> AttentionMaps:
    return attention(tiny, Protein("P1", SEQUENCE, "P1 a protein"))


def invented(squares: NDArray[np.float32], **changes: Any) -> AttentionMaps:
    """Maps of one layer that hold these numbers, (n, R, R)."""
    count, residues, _ = squares.shape
    mass = np.zeros((count, residues), np.float32)
    made = AttentionMaps(
        id="P1",
        header="P1",
        sequence=random_sequence(residues, seed=0),
        choice=choose_heads(None, "all", of_layers=1, of_heads=count),
        bos=mass + np.float32(0.02),
        eos=mass + np.float32(0.03),
        get=squares.__getitem__,
    )
    return dataclasses.replace(made, **changes)


def softmax_maps(count: int, residues: int, seed: int = 0) -> NDArray[np.float32]:
    raw = np.exp(np.random.default_rng(seed).normal(0, 2, (count, residues, residues)))
    return (0.95 * raw / raw.sum(-1, keepdims=True)).astype(np.float32)


def shown(image: AxesImage) -> NDArray[np.float32]:
    return np.ma.filled(cast(Any, image.get_array()).astype(np.float32), np.nan)


def texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    found = [cast(Any, artist).get_text() for artist in figure.findobj(matplotlib.text.Text)]  # type: ignore[attr-defined]
    return [text for text in found if text]


def tick_texts(axis: Any, *, minor: bool = False) -> list[tuple[float, str]]:
    return [
        (location, label.get_text())
        for location, label in zip(
            axis.get_ticklocs(minor=minor), axis.get_ticklabels(minor=minor), strict=True
        )
    ]


# The grid


def test_grid_shows_every_map_under_its_name_on_one_scale(maps: AttentionMaps):
    figure = plots.attention_grid(maps)
    images = figure.axes[0].get_images()
    assert [image.get_label() for image in images] == list(maps.heads)
    assert len(images) == LAYERS * HEADS
    for image in images:
        np.testing.assert_array_equal(shown(image), maps[str(image.get_label())])
    assert len({id(image.norm) for image in images}) == 1
    assert images[0].norm.vmin == 0
    expected = np.percentile(maps.maps, thumbnails.PERCENTILE)
    np.testing.assert_allclose(
        cast(float, images[0].norm.vmax), expected, rtol=1e-6
    )  # float32 against float64
    assert {
        *maps.heads,
        "P1 · attention of 8 heads",
        f"37 residues · {maps.checkpoint}",
        "attention weight, cut at the 98.5th percentile",
    } <= set(texts(figure))


def test_grid_has_layers_as_rows_and_heads_as_columns(maps: AttentionMaps):
    axes = plots.attention_grid(maps).axes[0]
    assert axes.yaxis_inverted()
    corners = {image.get_label(): image.get_extent() for image in axes.get_images()}
    for name, (left, right, bottom, top) in corners.items():
        assert left < right
        assert top < bottom  # rows run downwards, the first query on top
        layer, head = int(str(name)[1]), int(str(name)[3])
        assert left == corners[f"L0H{head}"][0]
        assert top == corners[f"L{layer}H0"][3]
    assert corners["L0H0"][0] < corners["L0H1"][0]
    assert corners["L0H0"][3] < corners["L1H0"][3]
    names = {text.get_text(): text.get_position() for text in axes.texts}
    for name, (left, right, _, top) in corners.items():
        across, down = names[str(name)]
        assert left < across < right
        assert top - 0.2 < down < top


def test_first_query_is_drawn_on_top_and_first_key_on_the_left():
    square = np.full((1, 4, 4), 0.001, np.float32)
    square[0, 0, 3] = 0.9  # query 1, key 4: top right
    for figure in (
        plots.attention_grid(invented(square)),
        plots.attention_head(invented(square), "L0H0"),
    ):
        image = figure.axes[0].get_images()[0]
        figure.dpi = 100
        with io.BytesIO() as buffer:
            figure.savefig(buffer, format="png")
            pixels = np.asarray(Image.open(buffer).convert("L"), float)
        box = image.get_window_extent().extents
        left, bottom, right, top = (round(value) for value in box)
        drawn = pixels[len(pixels) - top : len(pixels) - bottom, left:right]
        quarter = len(drawn) // 8
        assert drawn[quarter, -quarter] < 50
        assert (
            min(drawn[quarter, quarter], drawn[-quarter, -quarter], drawn[-quarter, quarter]) > 200
        )


def test_chosen_heads_are_laid_out_in_reading_order(tiny: Esm2):
    for heads, rows in ((["L1H3"], 1), (["L1H3", "L0H2"], 1), (["L0", "L1H3"], 2), (["L1"], 2)):
        chosen = attention(tiny, SEQUENCE, heads=heads)
        images = plots.attention_grid(chosen).axes[0].get_images()
        assert [image.get_label() for image in images] == list(chosen.heads)
        places = [(image.get_extent()[3], image.get_extent()[0]) for image in images]
        assert places == sorted(places)
        assert len({top for top, _ in places}) == rows


@pytest.mark.slow
def test_large_models_fit(tmp_path: Path):
    model = load(make_checkpoint(tmp_path / "deep", (33, 20, 40)), "cpu")
    figure = plots.attention_grid(attention(model, SEQUENCE))
    images = figure.axes[0].get_images()
    assert (images[0].get_label(), images[-1].get_label()) == ("L0H0", "L32H19")
    assert len(images) == 660
    assert figure.get_size_inches()[0] == 7.2
    boxes = [text.get_window_extent() for text in figure.axes[0].texts[:20]]
    assert all(one.x1 < other.x0 for one, other in pairwise(boxes))
    wide = plots.attention_grid(invented(softmax_maps(40, 5)))
    assert wide.get_size_inches()[0] == 7.2  # one layer only: rows of eight


@pytest.mark.slow
def test_grid_reads_one_map_at_a_time():
    squares, held = softmax_maps(6, 2_000), []

    def get(place: int) -> NDArray[np.float32]:
        held.append(place)
        return squares[place]

    images = plots.attention_grid(invented(squares, get=get)).axes[0].get_images()
    assert held == list(range(6))
    assert all(shown(image).size <= 690**2 for image in images)  # 2.3 inches at 300 dpi


# Pooling and colours


@pytest.mark.parametrize("residues", [1, 7, 100, 101, 250, 1_501])
def test_pooling_keeps_each_maximum_in_its_place(residues: int):
    square = softmax_maps(1, residues, seed=residues)[0]
    pooled, block = matrix.pool(square, 100)
    assert len(pooled) == -(-residues // block) <= 100
    for row in range(0, len(pooled), 7):
        for column in range(0, len(pooled), 5):
            rows, columns = slice(row * block, (row + 1) * block), slice(column * block, None)
            expected = square[rows, columns][:, :block].max()
            assert pooled[row, column] == expected
    assert pooled.max() == square.max()


def test_pooling_is_nan_only_where_a_whole_block_is():
    square = np.full((4, 4), np.nan, np.float32)
    square[0, 0] = 0.5
    pooled, block = matrix.pool(square, 2)
    assert block == 2
    np.testing.assert_array_equal(pooled, [[0.5, np.nan], [np.nan, np.nan]])


def test_colours_fall_evenly_from_white_to_black():
    steps = matrix.colours()(np.linspace(0, 1, 256))[:, :3]
    np.testing.assert_array_equal(steps[0], 1)
    lightness = matrix.lightness(steps)
    # Magma's darkest colour is not quite black, so the last step alone is shorter.
    np.testing.assert_allclose(np.diff(lightness)[:-1], -100 / 255, atol=0.01)
    assert 0 < lightness[-1] < 0.2
    np.testing.assert_allclose(
        matrix.lightness(np.array([[1.0, 0, 0], [0.5, 0.5, 0.5]])),
        [53.24, 53.39],  # sRGB red, in any table of colours, and mid grey
        atol=0.01,
    )


def test_scale_is_that_of_what_is_there():
    values = np.array([0, 0.1, np.nan, 0.4], np.float32)
    assert matrix.scale([values], 100).vmax == np.float32(0.4)
    assert matrix.scale([values, np.ones(1, np.float32)], 100).vmax == 1
    for nothing in (np.zeros(3, np.float32), np.full(3, np.nan, np.float32)):
        assert (matrix.scale([nothing], 99).vmin, matrix.scale([nothing], 99).vmax) == (0, 1)


# Axes


def test_ticks_are_round_numbers_with_the_ends():
    assert matrix.residue_ticks(76, 10) == [1, 10, 20, 30, 40, 50, 60, 70, 76]
    assert matrix.residue_ticks(1, 10) == [1]
    assert matrix.residue_ticks(3, 10) == [1, 2, 3]
    assert matrix.residue_ticks(101, 10) == [1, 20, 40, 60, 80, 101]
    assert len(matrix.residue_ticks(35_000, 10)) <= 12


def test_short_proteins_have_every_letter_and_long_ones_some(maps: AttentionMaps):
    axes = plots.attention_head(maps, "L0H0").axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        assert tick_texts(axis, minor=True) == list(enumerate(SEQUENCE, start=1))
        assert tick_texts(axis) == [(n, str(n)) for n in (1, 5, 10, 15, 20, 25, 30, 37)]
    long = invented(softmax_maps(1, 230))
    axes = plots.attention_head(long, "L0H0").axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        numbers = [1, *range(20, 201, 20), 230]
        between = [n for n in range(5, 231, 5) if n not in numbers]
        assert tick_texts(axis, minor=True) == [(n, "") for n in between]
        assert tick_texts(axis) == [(n, f"{long.sequence[n - 1]}{n}") for n in numbers]


# One head


def test_head_shows_map_profile_and_mass_aligned(maps: AttentionMaps):
    figure = plots.attention_head(maps, "l1h2")
    square, profile, mass, _ = figure.axes
    image = square.get_images()[0]
    np.testing.assert_array_equal(shown(image), maps["L1H2"])
    assert tuple(image.get_extent()) == (0.5, 37.5, 37.5, 0.5)
    assert (square.get_xlim(), square.get_ylim()) == ((0.5, 37.5), (37.5, 0.5))
    assert (profile.get_xlim(), mass.get_ylim()) == (square.get_xlim(), square.get_ylim())
    at, over, beside = (axes.get_position() for axes in (square, profile, mass))
    assert (over.x0, over.x1) == (at.x0, at.x1)
    assert (beside.y0, beside.y1) == (at.y0, at.y1)
    np.testing.assert_allclose(
        cast(Any, profile.patches[0]).get_data().values, maps["L1H2"].mean(0), rtol=1e-5
    )
    place = maps.heads.index("L1H2")
    bos, eos = (cast(Any, patch).get_data() for patch in mass.patches)
    np.testing.assert_array_equal(bos.values, maps.bos[place])
    np.testing.assert_array_equal(eos.values - eos.baseline, (eos.values - bos.values))
    np.testing.assert_allclose(
        eos.values + maps["L1H2"].sum(1), 1, atol=1e-5
    )  # rows and mass make up 1
    assert {"P1 · attention of head L1H2", "to BOS", "to EOS"} <= set(texts(figure))


def test_profile_is_the_mean_of_the_queries_that_saw_a_residue():
    square = softmax_maps(1, 30)
    square[0, :20, 25:] = np.nan
    square[0, :, 7] = np.nan
    profile = plots.attention_head(invented(square, windows=2), "L0H0").axes[1].patches[0]
    expected = np.nanmean(np.delete(square[0], 7, axis=1), axis=0)
    got = cast(Any, profile).get_data().values
    np.testing.assert_allclose(np.delete(got, 7), expected, rtol=1e-5)
    assert got[7] == 0


# Arcs


@pytest.mark.parametrize("options", [{}, {"count": 5}, {"min_separation": 1, "count": 80}])
def test_arcs_join_the_strongest_pairs(maps: AttentionMaps, options: dict[str, Any]):
    figure = plots.attention_arcs(maps, "L1H2", **options)
    count = options.get("count", 37)
    expected = maps.top(count, head="L1H2", min_separation=options.get("min_separation", 6))
    drawn = []
    for axes, sign in zip(figure.axes, (1, -1), strict=True):
        (arcs,) = (found for found in axes.collections if isinstance(found, LineCollection))
        widths, colours = cast(Any, arcs).get_linewidths(), cast(Any, arcs).get_colors()
        for points, width, colour in zip(arcs.get_segments(), widths, colours, strict=True):
            (query, start), (key, end) = points[0], points[-1]
            np.testing.assert_allclose((start, end), 0, atol=1e-12)
            assert (key - query) * sign > 0  # forward above, backward below
            drawn.append((float(width), round(query), round(key), float(colour[3])))
    drawn.sort(reverse=True)
    columns = ("query_number", "key_number")
    pairs = set(zip(*(expected[column] for column in columns), strict=True))
    assert {(query, key) for _, query, key, _ in drawn} == pairs
    assert len(drawn) == len(expected) == count
    shares = np.sort(expected["weight"].to_numpy() / expected["weight"].max())[::-1]
    np.testing.assert_allclose([width for width, *_ in drawn], 0.3 + 1.9 * shares, rtol=1e-6)
    np.testing.assert_allclose([alpha for *_, alpha in drawn], 0.3 + 0.7 * shares, rtol=1e-6)
    strongest = expected.iloc[0]
    assert drawn[0][1:3] == (strongest["query_number"], strongest["key_number"])


def test_arcs_are_as_high_as_they_are_long(maps: AttentionMaps):
    figure = plots.attention_arcs(maps, "L0H1")
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()[::-1]
    segments = [s for axes in figure.axes for s in cast(Any, axes.collections[0]).get_segments()]
    tallest = max(segments, key=lambda points: points[:, 1].max())
    longest = max(segments, key=lambda points: abs(points[-1, 0] - points[0, 0]))
    np.testing.assert_array_equal(tallest, longest)
    np.testing.assert_allclose(tallest[:, 1].max(), 1)
    assert tick_texts(figure.axes[0].xaxis, minor=True) == list(enumerate(SEQUENCE, start=1))


# Layer means and rollout


def test_flow_shows_layer_means_and_rollout(maps: AttentionMaps):
    figure = plots.attention_flow(maps)
    means, _, rollout, _ = figure.axes
    for layer, image in enumerate(means.get_images()):
        assert image.get_label() == f"layer {layer}"
        np.testing.assert_array_equal(shown(image), maps.layer_mean(layer))
    assert len(means.get_images()) == LAYERS
    assert len({id(image.norm) for image in means.get_images()}) == 1
    np.testing.assert_array_equal(shown(rollout.get_images()[0]), maps.rollout())


@pytest.mark.parametrize("layers", [1, 6, 33])
def test_flow_says_what_its_axes_are_on_the_page(layers: int):
    one = np.eye(9, dtype=np.float32)
    heads = choose_heads(None, "all", of_layers=layers, of_heads=1)
    none = np.zeros((layers, 9), np.float32)
    figure = plots.attention_flow(
        AttentionMaps("made", "made", "MKTVRQERL", heads, none, none, lambda place: one)
    )
    (said,) = (text for text in figure.texts if "query" in text.get_text())
    assert said.get_text() == "down: query residue, across: key residue"
    box, page = said.get_window_extent(), figure.bbox
    assert page.y0 < box.y0
    assert box.y1 < page.y1
    under = [axes.get_tightbbox() for axes in figure.axes]
    assert not any(box.overlaps(one) for one in under if one is not None)


def test_flow_needs_all_heads_and_one_window(tiny: Esm2):
    with pytest.raises(OptionError, match="layer 0 is here with 0 of its 4 heads"):
        plots.attention_flow(attention(tiny, SEQUENCE, heads=["L1"]))
    windowed = invented(softmax_maps(2, 5), windows=2)
    with pytest.raises(OptionError, match="was read in 2 windows, and rollout needs every pair"):
        plots.attention_flow(windowed)


# Odd input


@pytest.mark.parametrize("residues", [1, 2, 6])
def test_tiny_proteins(tiny: Esm2, residues: int, tmp_path: Path):
    maps = attention(tiny, "MKTVRQ"[:residues])
    for number, figure in enumerate(
        [
            plots.attention_grid(maps),
            plots.attention_head(maps, "L0H0"),
            plots.attention_arcs(maps, "L0H0"),
            plots.attention_arcs(maps, "L0H0", min_separation=1),
            plots.attention_flow(maps),
        ]
    ):
        plots.save(figure, tmp_path / f"{number}.png")
    assert any("no links to show" in t for t in texts(plots.attention_arcs(maps, "L0H0"))) == (
        residues == 1
    )
    plural = "1 residue" if residues == 1 else f"{residues} residues"
    assert f"{plural} · {maps.checkpoint}" in texts(plots.attention_grid(maps))


@pytest.mark.slow
def test_windows_leave_grey_where_pairs_were_never_seen(tiny: Esm2, tmp_path: Path):
    maps = attention(tiny, random_sequence(1_500, seed=1))
    assert maps.windows > 1
    figure = plots.attention_grid(maps)
    corner = figure.axes[0].get_images()[0]
    assert np.isnan(shown(corner)[0, -1])
    drawn = np.asarray(corner.cmap(corner.norm(shown(corner))))
    np.testing.assert_allclose(drawn[0, -1, :3], 0.78, atol=0.01)
    assert any("grey: pairs never in one window" in text for text in texts(figure))
    plots.save(figure, tmp_path / "grid.png")
    figure = plots.attention_head(maps, "L0H0", path=tmp_path / "head.png")
    assert np.isnan(shown(figure.axes[0].get_images()[0])[0, -1])
    plots.attention_arcs(maps, "L0H0", path=tmp_path / "arcs.png")


def test_maps_without_any_number(tmp_path: Path):
    maps = invented(np.full((3, 9, 9), np.nan, np.float32), windows=2)
    plots.attention_grid(maps, path=tmp_path / "grid.png")
    plots.attention_head(maps, "L0H1", path=tmp_path / "head.png")
    plots.attention_arcs(maps, "L0H1", path=tmp_path / "arcs.png")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("draw", [plots.attention_head, plots.attention_arcs])
def test_a_head_that_is_not_there(draw: Any, maps: AttentionMaps):
    with pytest.raises(OptionError, match="head L1H9 is not here; there are L0H0, L0H1"):
        draw(maps, "L1H9")
    with pytest.raises(OptionError, match="a head is named like L5H4"):
        draw(maps, "L1")


def test_an_id_is_text_and_never_a_formula(tmp_path: Path):
    name = "sp|P1|$\\nosuch$" + "W" * 200
    maps = invented(softmax_maps(2, 9), id=name)
    for figure in (plots.attention_grid(maps), plots.attention_head(maps, "L0H0")):
        plots.save(figure, tmp_path / "x.svg")
        assert ">sp|P1|$\\nosuch$" in (tmp_path / "x.svg").read_text()
        title = next(text for text in texts(figure) if text.startswith("sp|"))
        assert title.endswith("…")
    for count, points in ((20, 9), (80, 8), (200, 9)):  # smaller before it is cut
        figure = plots.attention_grid(invented(softmax_maps(2, 9), id="n" * count))
        title: Any = figure._suptitle  # type: ignore[attr-defined]
        assert title.get_text().endswith("…") == (count == 200)
        assert title.get_fontsize() == points
    assert fit("short", 1, 9) == "short"
    assert fit("iiii" * 50, 1, 9) != fit("WWWW" * 50, 1, 9)


# Files and notebooks


@pytest.mark.parametrize("kind", ["png", "svg", "pdf", "PNG"])
def test_the_same_figure_gives_the_same_bytes(
    kind: str, maps: AttentionMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first, second = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    for path, now in ((first, "1000000000"), (second, "1100000000")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", now)  # what Matplotlib takes for the date
        plots.attention_head(maps, "L0H0", path=path)
    assert first.read_bytes() == second.read_bytes()
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind.lower()]
    assert first.read_bytes().startswith(start)
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_png_has_300_dots_per_inch(maps: AttentionMaps, tmp_path: Path):
    figure = plots.attention_grid(maps, path=tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        assert image.size == tuple(int(inches * 300) for inches in figure.get_size_inches())
        np.testing.assert_allclose(image.info["dpi"], (300, 300), atol=0.01)


def test_text_stays_text(maps: AttentionMaps, tmp_path: Path):
    plots.attention_grid(maps, path=tmp_path / "grid.svg")
    for name in maps.heads:
        assert f">{name}</text>" in (tmp_path / "grid.svg").read_text()
    plots.attention_grid(maps, path=tmp_path / "grid.pdf")
    assert b"/FontFile2" in (tmp_path / "grid.pdf").read_bytes()  # TrueType, type 42


def test_saving_says_what_is_wrong(maps: AttentionMaps, tmp_path: Path):
    with pytest.raises(OptionError, match=r"end the name in \.png, \.svg or \.pdf"):
        plots.attention_grid(maps, path=tmp_path / "grid.jpg")
    with pytest.raises(OutputError, match=r"there is no folder .*nowhere'; make it first"):
        plots.attention_grid(maps, path=tmp_path / "nowhere" / "grid.png")
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*taken\.png"):
        plots.attention_grid(maps, path=tmp_path / "taken.png")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


def test_the_callers_style_changes_nothing(maps: AttentionMaps, tmp_path: Path):
    plots.attention_head(maps, "L0H0", path=tmp_path / "a.png")
    changes: Any = {"font.size": 30, "axes.facecolor": "black", "savefig.bbox": "tight"}
    with matplotlib.rc_context(changes):
        plots.attention_head(maps, "L0H0", path=tmp_path / "b.png")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_inline_html_holds_the_picture_and_its_title():
    maps = invented(softmax_maps(2, 9), id='<b>&"')
    html = plots.inline_html(plots.attention_grid(maps))
    assert html.startswith('<img alt="&lt;b&gt;&amp;&quot; · attention of 2 heads" width="900"')
    data = html.split("base64,")[1].removesuffix('">')
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.format == "PNG"
    assert plots.inline_html(Figure()).startswith('<img alt="figure"')


def test_results_draw_themselves(maps: AttentionMaps, tiny: Esm2, tmp_path: Path):
    assert maps.plot().get_suptitle() == "P1 · attention of 8 heads"
    assert maps.plot("L1H0").get_suptitle() == "P1 · attention of head L1H0"
    one = attention(tiny, Protein("P1", SEQUENCE, "P1"), heads=["L1H3"])
    assert one.plot(path=tmp_path / "one.pdf").get_suptitle() == "P1 · attention of head L1H3"
    assert (tmp_path / "one.pdf").is_file()
    assert "<img alt=" in maps._repr_html_()
    data, size = cast(Any, maps.plot())._repr_png_()
    assert data.startswith(b"\x89PNG")
    assert size == {"width": 900}


def test_matplotlib_is_imported_for_figures_only():
    code = "import esmkit.attention.maps, sys; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.weights
def test_real_heads_look_as_published(real: Esm2, demo: list[Protein]):
    """L5H4 holds ubiquitin's hairpin and L2H3 the next residue, where the pictures show them."""
    maps = attention(real, demo[0])
    images = {
        image.get_label(): shown(image) for image in plots.attention_grid(maps).axes[0].get_images()
    }
    next_residue = images["L2H3"]
    assert np.diagonal(next_residue, 1).mean() > 0.8
    hairpin = images["L5H4"][1, 13]  # Q2 and T14 face each other in the first two strands
    assert hairpin > np.percentile(images["L5H4"], 99.5)
