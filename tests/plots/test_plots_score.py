"""Figures of scores: what is drawn is what was computed, for every kind of protein."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import PathPatch, Rectangle, StepPatch
from matplotlib.path import Path as MplPath

import esmkit
from esmkit import plots
from esmkit.errors import OptionError
from esmkit.plots.logo import CLASSES
from esmkit.score.protein_score import ProteinScore
from esmkit.sequences.letters import AMINO_ACIDS


def made(sequence: str, seed: int = 0, **facts) -> ProteinScore:
    """A score of random probabilities, some sure and some not."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1, (len(sequence), 20)) * random.uniform(0, 5, (len(sequence), 1))
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return ProteinScore("made", "made up", sequence, logs.astype(np.float32), **facts)


def rows_of(figure, label: str = "bits") -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_ylabel() == label]


@pytest.mark.parametrize("scale", ["information", "probability"])
def test_letters_of_a_logo_are_as_high_as_their_share(scale: str):
    score = made("MKTVRQERLK" * 6 + "X")
    figure = score.logo(scale=scale)
    rows = rows_of(figure, "bits" if scale == "information" else "probability")
    assert [axes.get_xlim() for axes in rows] == [(0.5, 50.5), (50.5, 61.5)]
    p = np.exp(score.log_probabilities.astype(float))
    entropy = -(p * np.log2(p)).sum(axis=1)
    shares = p * (np.log2(20) - entropy)[:, None] if scale == "information" else p
    top = rows[0].get_ylim()[1]
    assert top >= shares.sum(axis=1).max() - 1e-6
    for number in (1, 7, 50, 51, 61):
        axes = rows[number > 50]
        for name, (letters, _) in CLASSES.items():
            patch = next(
                (one for one in axes.patches if one.get_label() == name),
                PathPatch(MplPath([(0, 0)] * 3)),
            )
            points = np.asarray(patch.get_path().vertices)
            mine = points[np.abs(points[:, 0] - number) < 0.49]
            # The strongest letter of a class reaches from what is below it to its own share above
            of_class = [AMINO_ACIDS.index(letter) for letter in letters]
            largest = max(of_class, key=lambda place: shares[number - 1, place])
            height = shares[number - 1, largest]
            if height < 0.01 * top:
                continue
            below = shares[number - 1][shares[number - 1] < height].sum()
            assert mine[:, 1].max() == pytest.approx(below + height, abs=1e-6)
    assert figure.get_suptitle() == "made · what the model expects at each residue"


def test_letters_below_a_logo_say_how_well_they_were_expected():
    logs = np.full((4, 20), np.log(0.01 / 19), np.float32)
    for number, letter in enumerate("MKWA"):
        logs[number, AMINO_ACIDS.index(letter)] = np.log(0.99)
    score = ProteinScore("p", "", "MRWX", logs)
    figure = score.logo()
    labels = rows_of(figure)[0].xaxis.get_minorticklabels()
    assert [label.get_text() for label in labels] == ["M", "R", "W", "X"]
    assert [label.get_fontweight() for label in labels] == ["bold", "normal", "bold", "normal"]
    assert [label.get_color() for label in labels] == ["black", "white", "black", "0.3"]


def test_bars_are_the_surprise_and_the_line_is_the_entropy():
    score = made("MKTVRQERLK" * 51 + "XMK")
    figure = score.plot()
    rows = rows_of(figure)
    assert [axes.get_xlim() for axes in rows] == [(0.5, 180.5), (180.5, 360.5), (360.5, 513.5)]
    bars = [one for axes in rows for one in axes.patches if isinstance(one, Rectangle)]
    bars = {round(one.get_x() + 0.43): one for one in bars if one.get_width() < 1}
    heights = [bars[number].get_height() for number in range(1, 514)]
    np.testing.assert_allclose(heights, np.nan_to_num(score.surprise), atol=1e-9)
    orange = [number for number, one in bars.items() if to_rgb(one.get_facecolor())[0] > 0.8]
    assert len(orange) == round(0.05 * 512)
    assert (
        min(score.surprise[n - 1] for n in orange)
        == sorted(score.surprise[~np.isnan(score.surprise)])[-len(orange)]
    )
    texts = [text.get_text() for axes in rows for text in axes.texts]
    assert sorted(texts) == sorted(f"{score.sequence[n - 1]}{n}" for n in orange)
    stairs = [one for axes in rows for one in axes.patches if isinstance(one, StepPatch)]
    drawn = np.concatenate([one.get_data()[0] for one in stairs])
    np.testing.assert_allclose(drawn, score.entropy)
    assert "1 of them not counted" in figure.texts[1].get_text()


def test_what_is_marked_and_known_stands_on_both(tmp_path: Path):
    ubiquitin = esmkit.data.demo_structure()
    score = made(ubiquitin.sequence, masked=False, checkpoint="some-8m", head="mine")
    options = {"structure": ubiquitin, "mark": "K48", "zoom": "20-60", "domains": "all:1-76"}
    for draw in (plots.logo, plots.surprise):
        figure = draw(score, path=tmp_path / "x.svg", **options)
        assert figure.get_suptitle().endswith("residues 20 to 60")
        text = (tmp_path / "x.svg").read_text()
        for said in (">K48<", "helix (1ubi_A)", "all 1-76", "one-pass perplexity"):
            assert said in text, said
        assert "some-8m with a fitted masked-LM head (mine)" in text
        first = (tmp_path / "x.svg").read_bytes()
        draw(score, path=tmp_path / "y.svg", **options)
        assert (tmp_path / "y.svg").read_bytes() == first


@pytest.mark.parametrize("sequence", ["M", "X", "MK", "W" * 49, "W" * 51])
@pytest.mark.filterwarnings("error")
def test_proteins_of_every_length_are_drawn(sequence: str, tmp_path: Path):
    for figure in (made(sequence).logo(), made(sequence).plot()):
        plots.save(figure, tmp_path / "x.png")
    assert "ProteinScore(made" in made(sequence)._repr_html_()


def test_a_scale_that_is_none():
    with pytest.raises(OptionError, match="scale is 'information' or 'probability', not 'bits'"):
        made("MK").logo(scale="bits")
