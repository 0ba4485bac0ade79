"""What notebooks draw with: a style for pyplot, colours, one matrix on axes of one's own."""

import subprocess
import sys
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from esmkit import plots
from esmkit.errors import InputError

SEQUENCE = "MKTAYIAKQRQISFVKSHFS"


def axes():
    return Figure(figsize=(3, 3)).subplots()


def test_the_style_is_set_and_the_remark_about_bars_is_not_seen():
    with matplotlib.rc_context(), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        plots.notebook_style()
        assert matplotlib.rcParams["figure.dpi"] == 120
        assert matplotlib.rcParams["figure.constrained_layout.use"]
        assert matplotlib.rcParams["axes.titlelocation"] == "left"
        assert matplotlib.rcParams["font.size"] == 7
        warnings.warn("IProgress not found. Please update jupyter", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["something else"]


def test_which_weights_these_are_is_said_once_and_in_words():
    """In a fresh process, as "once" means once for each; other warnings are shown as ever."""
    code = """
import warnings
from esmkit import plots
from esmkit.errors import FittedHeadWarning, OfflineCheckpointWarning
for _ in range(2):
    plots.notebook_style()
    for kind in (OfflineCheckpointWarning, FittedHeadWarning):
        warnings.warn("not the original " * 8, kind)
warnings.warn("another", UserWarning)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    said = [line.split(":")[0] for line in lines if "Warning: not" in line]
    assert said == ["OfflineCheckpointWarning", "FittedHeadWarning"]
    assert max(map(len, lines)) <= 100
    assert "<string>:9: UserWarning: another" in lines


def test_the_style_needs_no_pyplot():
    code = "from esmkit import plots; plots.notebook_style(); import sys; print('pyplot' in str([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_colours_are_told_apart():
    """Apart from each other, and from white, in RGB."""
    assert list(plots.COLOURS) == ["blue", "orange", "green", "purple", "grey"]
    colours = np.array([to_rgb(colour) for colour in [*plots.COLOURS.values(), "white"]])
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distances[np.triu_indices(6, 1)].min() > 0.2


@pytest.mark.parametrize("marks", [0, 2])
def test_residue_n_stands_at_n(marks: int):
    """Of residues and of tokens alike: the pixel under (n, n) is that of residue n."""
    count = len(SEQUENCE) + marks
    values = np.zeros((count, count))
    values[5 - 1 + marks // 2, 7 - 1 + marks // 2] = 1  # residue 5 looks at residue 7
    drawn = axes()
    image = plots.draw_matrix(drawn, values, sequence=SEQUENCE, title="made", vmax=2)
    left, right, bottom, top = image.get_extent()
    assert (right - left, bottom - top) == (count, count)
    row, column = int(5 - top), int(7 - left)
    assert values[row, column] == 1
    assert drawn.get_title() == "made"
    assert image.norm.vmax == 2
    labels = [text.get_text() for text in drawn.get_xticklabels()]
    assert labels[0].lstrip("M") == "1"
    assert len(drawn.figure.axes) == 2  # and the bar


def test_a_matrix_of_anything():
    drawn = axes()
    image = plots.draw_matrix(
        drawn, np.eye(3, 5), colours="viridis", colourbar=False, aspect="auto"
    )
    assert image.get_cmap().name == "viridis"
    assert tuple(image.get_extent()) == (-0.5, 4.5, 2.5, -0.5)
    assert drawn.get_aspect() == "auto"
    assert len(drawn.figure.axes) == 1


def test_colours_of_a_map_are_those_of_attention():
    image = plots.draw_matrix(axes(), np.eye(3))
    assert image.get_cmap() is plots.map_colours()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros(3), r"values of shape \(3,\) are no matrix; give \(rows, columns\)"),
        (
            np.zeros((20, 21)),
            "21 rows or columns do not fit a sequence of 20 residues; give one for each residue, or "
            "22 with the start and the end mark",
        ),
    ],
)
def test_what_does_not_fit_is_refused(values: np.ndarray, said: str):
    with pytest.raises(InputError, match=said):
        plots.draw_matrix(axes(), values, sequence=SEQUENCE)
