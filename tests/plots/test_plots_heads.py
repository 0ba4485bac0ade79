"""Figures of heads: what they show is what the tables hold."""

from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from esmkit import plots
from esmkit.errors import OptionError
from esmkit.heads.statistics import benjamini_hochberg
from esmkit.plots.card import CHANCE
from esmkit.plots.labels import name_points
from esmkit.plots.profiles import family, specialisation, visible_effects
from esmkit.text import percent, signed
from oracles.head_profiles import PAIRS, made_ablation, made_profile

NAME = "long-range contact"
HOSTILE = "<b>$x_1$|[a](b)\n</b>"


def texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    found: list[Any] = figure.findobj(Text)
    return [text.get_text() for text in found if text.get_text()]


def shown(image: Any) -> np.ndarray:
    return np.ma.filled(image.get_array().astype(float), np.nan)


@pytest.mark.parametrize("shape", [(2, 4), (3, 1), (1, 9), (6, 20)])
def test_grid_shows_differences_where_heads_are(shape: tuple[int, int]):
    profile = made_profile(*shape)
    figure = plots.property_grid(profile, NAME)
    rows: Any = profile.effects[profile.effects["property"] == NAME]
    image: Any = figure.axes[0].get_images()[0]
    expected = 100 * rows["difference"].to_numpy().reshape(shape)
    np.testing.assert_array_equal(shown(image), expected)
    assert image.norm.vmax == -image.norm.vmin == np.abs(expected).max()
    numbers = [text.get_text() for text in figure.axes[0].texts]
    assert numbers == [signed(value, 1) for value in expected.ravel()]


def test_grid_marks_chance_and_frames_the_best_significant_head():
    profile = made_profile()
    # the largest difference is chance: the frame goes to the next
    chosen = (profile.effects["name"] == "L0H0") & (profile.effects["property"] == NAME)
    profile.effects.loc[chosen, ["difference", "q"]] = [0.9, 0.06]
    figure = plots.property_grid(profile, NAME)
    boxes = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    rows: Any = profile.effects[profile.effects["property"] == NAME]
    hatched = {box.get_label() for box in boxes if box.get_hatch()}
    assert hatched == set(rows.loc[rows["q"] > 0.05, "name"])
    assert "L0H0" in hatched
    (frame,) = [box for box in boxes if not box.get_hatch()]
    assert frame.get_xy() == (1.5, 0.5)  # L1H2, planted
    assert any("best head L1H2: 5.0% against 2.0%" in text for text in texts(figure))


def test_grid_without_support_is_grey_and_says_so():
    figure = plots.property_grid(made_profile(), "rare")
    assert np.isnan(shown(figure.axes[0].get_images()[0])).all()
    assert len(figure.axes[0].texts) == 1  # no numbers; words across it say that there are none
    found = texts(figure)
    assert "insufficient support" in found
    assert any(text.startswith("insufficient: ") for text in found)


def test_grid_of_a_property_that_is_not_there_lists_those_that_are():
    with pytest.raises(OptionError, match="no property 'x' in this profile; there are long-range"):
        plots.property_grid(made_profile(), "x")


def test_small_effects_have_two_digits():
    profile = made_profile()
    profile.effects["difference"] *= 0.05
    numbers = [text.get_text() for text in plots.property_grid(profile, NAME).axes[0].texts]
    assert "+0.15" in numbers


def test_offset_profiles_show_every_head_once_by_layer():
    profile = made_profile(4, 3)
    figure = plots.offset_profiles(profile)
    columns = [f"offset_{offset}" for offset in range(-32, 33)]
    panels = [axes for axes in figure.axes if axes.get_images()]
    assert [axes.get_title(loc="left") for axes in panels] == [f"layer {n}" for n in range(4)]
    for layer, axes in enumerate(panels):
        (image,) = axes.get_images()
        rows: Any = profile.heads[profile.heads["layer"] == layer][columns]
        np.testing.assert_array_equal(shown(image), rows.to_numpy())
        assert [label.get_text() for label in axes.get_yticklabels()] == ["H0", "H1", "H2"]
        assert image.get_extent()[:2] == [-32.5, 32.5]
        assert image.norm is panels[0].get_images()[0].norm


def test_offset_profiles_of_some_heads():
    figure = plots.offset_profiles(made_profile(), ["L1H2"])
    (axes,) = [axes for axes in figure.axes if axes.get_images()]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["H2"]
    with pytest.raises(OptionError, match="no head 'L9H9' in this profile; there are L0H0 to L1H3"):
        plots.offset_profiles(made_profile(), ["L9H9"])


def test_map_shows_log_odds_beside_the_names_of_its_rows():
    profile = made_profile(6, 5)
    effects: Any = profile.effects
    effects.loc[effects["difference"] > 0, "q"] = 0.01
    below = effects["difference"] < 0
    effects.loc[below, "p"] = np.resize([0.999999, 0.6], below.sum())  # every second one is less
    known = effects["p"].notna()
    less = pandas.Series(np.nan, effects.index)
    less[known] = benjamini_hochberg(1 - effects.loc[known, "p"].to_numpy())
    effects["q_less"] = less
    assert 10 < (less <= 0.05).sum() < below.sum()
    axes = plots.property_map(profile).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    properties = [label.get_text() for label in axes.get_xticklabels()]
    assert sorted(properties) == sorted(
        name for name, kind, *_ in PAIRS if kind != "offset" and name != "rare"
    )
    values = shown(axes.get_images()[0])
    table: Any = profile.effects.set_index(["name", "property"])
    for i, name in enumerate(names):
        for j, what in enumerate(properties):
            row = table.loc[(name, what)]
            if np.isnan(row["difference"]):
                assert np.isnan(values[i, j])
            elif row["q"] > 0.05 and not (row["high"] < 0 and row["q_less"] <= 0.05):
                assert values[i, j] == 0
            else:
                assert values[i, j] == row["log_odds"] / np.log(2)
    labels = dict(zip(profile.heads["name"], profile.heads["label"], strict=True))
    assert [text.get_text() for text in axes.texts] == [labels[name] for name in names]
    assert len(names) == specialisation(profile).notna().sum() > 20


def test_map_leaves_out_properties_without_a_hit_and_names_them():
    profile = made_profile()
    effects: Any = profile.effects
    effects.loc[effects["property"].isin(["disulfide", "to strand"]), "q"] = 0.3
    figure = plots.property_map(profile)
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert set(names) == {
        *("long-range contact", "helix partner", "strand partner", "cysteine pair"),
    }
    said = " ".join(texts(figure))
    assert "none of these heads has a significant effect: disulfide, to strand." in said
    assert "too few chains have it: rare." in said
    assert "the 1 of 8 heads that has a significant effect" in said


def test_captions_and_names_are_neither_cut_nor_over_each_other():
    names = {name: f"{name} {'x' * 12} {n}" for n, (name, *_) in enumerate(PAIRS)}
    profile = made_profile(6, 20, rename=names)
    effects: Any = profile.effects
    planted = effects["name"] == "L1H2"
    chosen = names["long-range contact"], names["helix partner"]
    effects.loc[planted & ~effects["property"].isin(chosen), "q"] = 0.3
    figure = plots.property_map(profile)
    figure.draw_without_rendering()
    page = figure.bbox
    written: list[Any] = [text for text in figure.findobj(Text) if text.get_text()]
    for text in written:
        box = text.get_window_extent()
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1, text.get_text()
        assert box.y0 >= page.y0 - 1
        assert box.y1 <= page.y1 + 1, text.get_text()
    below = [text for text in figure.texts if text.get_text()]
    boxes = [text.get_window_extent().padded(-1) for text in below]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number]), below[number].get_text()


def test_offset_profiles_say_what_their_axis_is():
    for layers in (1, 4, 6):
        figure = plots.offset_profiles(made_profile(layers, 3))
        figure.draw_without_rendering()
        labels = [axes.get_xlabel() for axes in figure.axes if axes.get_images()]
        lowest = min(layers, 3)
        assert labels[-lowest:] == ["offset (key - query, residues)"] * lowest
        assert not any(labels[:-lowest])
        boxes = [axes.xaxis.label.get_window_extent() for axes in figure.axes if axes.get_xlabel()]
        for number, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:number])


def test_numbers_of_hatched_cells_can_be_read():
    """White on dark; the hatch does not run through them."""
    figure = plots.property_grid(made_profile(rules={"max_q": 1e-9}), NAME)
    by_text = {text.get_text(): text for text in figure.axes[0].texts}
    planted = by_text["+3.0"]
    assert planted.get_color() == "white"
    assert planted.get_bbox_patch() is not None


def test_map_takes_the_heads_with_the_largest_effects_and_says_so():
    figure = plots.property_map(made_profile(), most=1)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["L1H2"]
    assert any(text.startswith("1 of 8 heads: those with the largest") for text in texts(figure))
    with pytest.raises(OptionError, match="most is at least 1, not 0"):
        plots.property_map(made_profile(), most=0)


def test_map_of_two_properties_and_of_no_effect():
    profile = made_profile(properties=PAIRS[:2])
    plots.property_map(profile)
    profile.effects["q"] = 1.0
    found = texts(plots.property_map(profile))
    assert any(text.startswith("none of 8 heads has a significant effect") for text in found)


def test_a_share_of_nothing_is_shown_as_far_less():
    profile = made_profile()
    first = profile.effects.index[0]
    profile.effects.loc[first, ["log_odds", "high", "p"]] = [np.nan, -0.001, 1.0]
    assert visible_effects(profile).iloc[0, 0] == -2


def drawn(axes: Any) -> set[tuple[float, float]]:
    points = [p for p in axes.collections if isinstance(p, PathCollection)]
    return {(float(x), float(y)) for p in points for x, y in np.asarray(p.get_offsets())}


def test_ablation_puts_points_where_the_tables_say():
    profile, ablation = made_profile(), made_ablation()
    figure = plots.ablation_scatter(profile, ablation)
    contacts, drift, _, both = figure.axes
    wanted = specialisation(profile).fillna(0)
    mean: Any = ablation[ablation["mode"] == "mean"].set_index("name")
    zero: Any = ablation[ablation["mode"] == "zero"].set_index("name")
    for axes, measure, unit in ((contacts, "precision_change", 100), (drift, "drift_cosine", 1)):
        expected = {(100 * wanted[name], unit * r[measure]) for name, r in mean.iterrows()}
        assert drawn(axes) == expected
        assert axes.get_title(loc="left") == "head set to its mean"
        assert "L1H2" in [text.get_text() for text in axes.texts]
    pairs = zip(mean["drift_cosine"], zero["drift_cosine"], strict=True)
    assert drawn(both) == {(float(x), float(y)) for x, y in pairs}
    assert (both.get_xscale(), both.get_yscale()) == ("log", "log")
    rank = mean["drift_cosine"].rank().corr(zero["drift_cosine"].rank())
    assert both.get_title(loc="left").endswith(f"rank correlation {rank:.2f}")
    assert "L0H3" in [text.get_text() for text in both.texts]


def test_ablation_tells_output_map_and_refit_apart():
    profile, ablation = made_profile(), made_ablation()
    ranking: Any = plots.ablation_scatter(profile, ablation).axes[2]
    lead: Any = ablation[ablation["mode"] == "mean"]
    table: Any = lead.sort_values(by="precision_change")
    names = [label.get_text() for label in ranking.get_yticklabels()]
    assert names[0] == "L1H2"
    assert set(names) == set(table["name"])
    columns = ["precision_change", "output_change", "map_change", "refit_change"]
    rates = ["q", "output_q", "map_q", "refit_q"]
    points: list[Any] = [p for p in ranking.collections if isinstance(p, PathCollection)]
    lines: list[Any] = [p for p in ranking.collections if isinstance(p, LineCollection)]
    assert len(points) == 8
    assert len(lines) == 4
    by_name: Any = table.set_index("name").loc[names]
    for number, (column, rate) in enumerate(zip(columns, rates, strict=True)):
        sure = by_name[rate].to_numpy() <= 0.05
        for kept, dots in zip((sure, ~sure), points[2 * number : 2 * number + 2], strict=True):
            across, up = np.asarray(dots.get_offsets()).T
            np.testing.assert_array_equal(across, 100 * by_name[column].to_numpy()[kept])
            np.testing.assert_array_equal(np.round(up), np.flatnonzero(kept))
            white = to_rgba("white") == tuple(dots.get_facecolor()[0])
            assert white == (kept is not sure)
        prefix = {"precision_change": ""}.get(column, column.replace("change", ""))
        ends = np.array([segment[:, 0] for segment in lines[number].get_segments()])
        expected = 100 * by_name[[f"{prefix}low", f"{prefix}high"]].to_numpy()
        np.testing.assert_array_equal(ends, expected)
    said = [text.get_text() for text in ranking.get_legend().get_texts()]
    assert said == [
        "head gone: output and map",
        "its output gone (later maps change)",
        "its map gone from the contact regression",
        "regression fitted anew without its map",
    ]
    assert ranking.get_title(loc="left").endswith("(filled: q ≤ 0.05)")


def test_ablation_draws_what_a_table_has():
    short: Any = made_ablation()[["name", "mode", "precision_change", "drift_cosine"]]
    figure = plots.ablation_scatter(made_profile(), short)
    assert len(figure.axes) == 4
    assert figure.axes[2].get_legend() is None
    assert "filled" not in figure.axes[2].get_title(loc="left")
    one: Any = short[short["mode"] == "zero"]
    titles = [
        axes.get_title(loc="left") for axes in plots.ablation_scatter(made_profile(), one).axes
    ]
    assert titles == ["head set to zero"] * 2 + ["contacts without the head: 95% intervals"]
    # a drift of 0, or of less by rounding, has a place on logarithmic axes
    plots.ablation_scatter(made_profile(), short.assign(drift_cosine=[-1e-17] * 8 + [0.1] * 8))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.02, 1.0]))
def test_names_are_over_no_other_name(seed: int, spread: float):
    """Many heads have no significant difference: their points lie one over the other."""
    random = np.random.default_rng(seed)
    figure = Figure(figsize=(3.5, 2.3))
    axes = figure.add_axes((0.15, 0.15, 0.8, 0.8))
    across, up = spread * random.random(120), random.normal(size=120)
    axes.scatter(across, up)
    name_points(axes, across, up, np.argsort(-np.abs(up))[:8], [f"L{n}H19" for n in range(120)])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert len(boxes) == 8
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_ablation_without_precision_draws_the_drift_alone():
    ablation = made_ablation().assign(precision_change=np.nan)
    assert len(plots.ablation_scatter(made_profile(), ablation).axes) == 2
    with pytest.raises(OptionError, match="no number for any head"):
        plots.ablation_scatter(made_profile(), ablation.assign(drift_cosine=np.nan))
    with pytest.raises(OptionError, match="lacks the column 'mode'"):
        plots.ablation_scatter(made_profile(), pandas.DataFrame({"name": ["L0H0"]}))


def marked(figure: Figure) -> tuple[set[object], int]:
    """Names of hatched heads, and how many heads have a frame."""
    boxes = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    hatched = {box.get_label() for box in boxes if box.get_hatch()}
    return hatched, sum(not box.get_hatch() for box in boxes)


@pytest.mark.parametrize(("max_q", "judged"), [(1e-9, "none"), (0.05, "one"), (0.7, "all")])
def test_every_figure_goes_by_the_rules_of_its_profile(max_q: float, judged: str):
    """q is 1e-8 for the planted head and 0.6 for the others."""
    profile = made_profile(rules={"max_q": max_q})
    heads = set(profile.heads["name"])
    significant = {"none": set(), "one": {"L1H2"}, "all": heads}[judged]
    grid = plots.property_grid(profile, NAME)
    assert marked(grid) == (heads - significant, int(judged != "none"))
    said = f"not significantly more than expected (q > {max_q:g})"
    assert (said in texts(grid)) == (judged != "all")
    none = any(t.startswith("no head looks there significantly more") for t in texts(grid))
    assert none == (judged == "none")

    shown_heads = plots.property_map(profile).axes[0].get_yticklabels()
    positive: Any = profile.effects[profile.effects["difference"] > 0]
    expected = significant & set(positive.loc[positive["kind"] != "offset", "name"])
    assert {label.get_text() for label in shown_heads} == expected

    scatter = plots.ablation_scatter(profile, made_ablation())
    points = [p for p in scatter.axes[0].collections if isinstance(p, PathCollection)]
    across = np.concatenate([np.asarray(p.get_offsets())[:, 0] for p in points])
    assert (across > 0).sum() == len(expected)

    for name in ("L1H2", "L0H0"):
        bars: Any = plots.head_card(profile.head(name)).axes[1].patches
        grey = {bar.get_facecolor() == to_rgba(CHANCE) for bar in bars}
        assert grey == {name not in significant}


def test_less_than_expected_goes_by_the_rules_too():
    profile = made_profile(rules={"max_q": 0.6})
    effects: Any = profile.effects
    less = (effects["p"] == 0.5) & (effects["high"] < 0) & (effects["kind"] != "offset")
    assert (visible_effects(profile).to_numpy() < 0).sum() == less.sum() > 10
    assert not (visible_effects(made_profile()).to_numpy() < 0).any()


def test_names_are_never_formulas(tmp_path: Any):
    profile = made_profile(rename={NAME: HOSTILE})
    for figure in (
        plots.property_grid(profile, HOSTILE),
        plots.property_map(profile),
        profile.head("L1H2").plot(),
    ):
        assert any("<b>$x_1$|[a](b) </b>" in text for text in texts(figure))
        plots.save(figure, tmp_path / "x.png")


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_figures_are_saved(tmp_path: Any, kind: str):
    profile = made_profile()
    for number, figure in enumerate(
        [
            plots.property_grid(profile, NAME, path=tmp_path / f"0.{kind}"),
            plots.offset_profiles(profile, path=tmp_path / f"1.{kind}"),
            plots.property_map(profile, path=tmp_path / f"2.{kind}"),
            plots.ablation_scatter(profile, made_ablation(), path=tmp_path / f"3.{kind}"),
            plots.head_card(profile.head("L1H2"), path=tmp_path / f"4.{kind}"),
        ]
    ):
        path = tmp_path / f"{number}.{kind}"
        assert path.stat().st_size > 1000
        if kind == "png":
            with Image.open(path) as image:
                assert image.width == round(300 * figure.get_size_inches()[0])


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ("BOS sink", "sink"),
        ("offset -1", "position"),
        ("positional", "position"),
        ("strand", "residue"),
        ("contact", "pair"),
        ("mixed", "none"),
    ],
)
def test_families_of_labels(label: str, wanted: str):
    assert family(label, {"to strand": "residue", "contact": "pair"}) == wanted


@pytest.mark.parametrize(
    ("share", "text"), [(0.0378, "3.8%"), (0.00038, "0.038%"), (0.31, "31%"), (0.0, "0%")]
)
def test_small_shares_are_not_written_as_nothing(share: float, text: str):
    assert percent(share) == text
