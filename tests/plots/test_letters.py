"""Letters that fonts lack, and settings of Matplotlib that are not esmkit's."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from esmkit.attention.extract import attention
from esmkit.esm2 import Esm2
from esmkit.plots import figure as figure_module
from esmkit.plots import letters
from esmkit.plots.figure import new, render, save
from esmkit.plots.letters import MissingLetterWarning, families_for, missing_letters
from esmkit.sequences.proteins import Protein
from oracles.commands import Done

NAMES = ["蛋白质", "かなカナ", "🧬x", "단백질", "עברית", "P69905"]
"""Chinese, Japanese, a symbol, Korean, Hebrew (which DejaVu Sans has) and a plain one."""


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch):
    """Each test is a process in which nothing was said, and no font is installed but Matplotlib's."""
    monkeypatch.setattr(letters, "_told", set())
    monkeypatch.setattr(figure_module, "SAVED_DPI", 60)  # letters are the same with fewer dots
    own = [f for f in font_manager.fontManager.ttflist if matplotlib.get_data_path() in f.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    letters._fonts.cache_clear()
    letters._font_with.cache_clear()
    yield
    letters._fonts.cache_clear()
    letters._font_with.cache_clear()


def titled(name: str) -> Figure:
    return new(3, 1, name, f"of {name}")


def test_each_script_is_told_of_once(tmp_path: Path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in [*NAMES, *NAMES]:
            save(titled(name), tmp_path / "a.png")
            save(titled(name), tmp_path / "a.pdf")
            render(titled(name))
            titled(name).savefig(tmp_path / "b.png")  # as anybody may
    assert {warning.category for warning in caught} == {MissingLetterWarning}
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 4
    assert texts[0] == (
        "no font on this machine has 蛋 白 质 (CJK), as in '蛋白质': figures show boxes instead; "
        "install a font with these letters, such as Noto Sans CJK for Chinese, Japanese and Korean, "
        "or give the proteins other IDs"
    )
    assert [text.partition("(")[2].partition(")")[0] for text in texts] == [
        "CJK",
        "HIRAGANA, KATAKANA",
        "symbols",
        "HANGUL",
    ]


@settings(max_examples=10)
@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Z"]), max_size=8))
def test_missing_letters_are_those_without_a_glyph(text: str):
    """Matplotlib's own warnings are the oracle."""
    figure = Figure()
    figure.text(0.1, 0.5, text, parse_math=False, family="DejaVu Sans")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(os.devnull, format="png")
    warned = {int(str(w.message).split()[1]) for w in caught if "Glyph" in str(w.message)}
    found = {ord(letter) for letter in missing_letters(text)}
    # Matplotlib draws an accent and its letter as one where the font has them as one
    assert warned <= found


def test_svg_leaves_letters_to_who_shows_it(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(titled("蛋白质"), tmp_path / "a.svg")
    assert "蛋白质" in (tmp_path / "a.svg").read_text(encoding="utf-8")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A font that has two letters which DejaVu Sans lacks."""
    from fontTools.ttLib import TTFont

    font = TTFont(font_manager.findfont("DejaVu Sans"))
    for table in font["cmap"].tables:
        if table.isUnicode():
            table.cmap.update({0x86CB: table.cmap[ord("A")], 0x767D: table.cmap[ord("B")]})
    for record in font["name"].names:
        if record.nameID in (1, 4, 16):
            record.string = "Noto Sans of a test"  # type: ignore[assignment] - it encodes text
    font.save(tmp_path / "letters.ttf")
    entry = font_manager.ttfFontProperty(FT2Font(str(tmp_path / "letters.ttf")))
    monkeypatch.setattr(
        font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist, entry]
    )
    return entry.name


def test_an_installed_font_is_used(installed: str, tmp_path: Path):
    assert families_for("P1") == ["DejaVu Sans"]
    assert families_for("蛋白P1") == ["DejaVu Sans", installed]
    figure = titled("蛋白")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(figure, tmp_path / "a.png")
    assert [t.get_fontfamily() for t in figure.findobj(Text)] == [["DejaVu Sans", installed]] * 2
    with pytest.warns(MissingLetterWarning, match="no font on this machine has 质"):
        save(titled("蛋白质"), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_text_that_the_font_has_is_left_alone():
    figure = titled("P69905 αβ עברית")
    before = [text.get_fontfamily() for text in figure.findobj(Text)]
    render(figure)
    assert [text.get_fontfamily() for text in figure.findobj(Text)] == before


def test_results_in_a_notebook_say_it_once(tiny: Esm2):
    found = attention(tiny, Protein("蛋白质", "MKTVRQERLK", "蛋白质"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            found.plot()._repr_png_()  # type: ignore[attr-defined]
            found._repr_html_()
    assert [warning.category for warning in caught] == [MissingLetterWarning]


def test_a_command_says_it_once_and_never_when_quiet(
    tiny_folder: Path, tmp_path: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
):
    import esmkit.cli

    (tmp_path / "a.fasta").write_text("".join(f">{name}\nMKTV\n" for name in NAMES))
    command = ["attention", "a.fasta", "-m", tiny_folder, "--plot", "--force", "--heads", "L0H0"]
    warnings.simplefilter("always", MissingLetterWarning)
    for extra, count in (((), 1), (("-q",), 0)):
        monkeypatch.setattr(letters, "_told", set())
        monkeypatch.setattr(esmkit.cli, "_letters_told", [])
        done = run(*command, *extra, cwd=tmp_path)
        assert done.returncode == 0
        assert done.stderr.count("esmkit: warning: no font on this machine has") == count
        assert done.stderr.count("Glyph") == 0
        assert len(list((tmp_path / "a.attention").iterdir())) > len(NAMES)


HOSTILE = """\
backend: qt5agg
text.usetex: True
font.family: No Such Font
font.size: 30
savefig.format: svg
savefig.dpi: 10
savefig.transparent: True
figure.dpi: 500
axes.unicode_minus: nonsense
image.cmap: no such map
this is no setting
"""


def test_settings_of_the_users_change_no_picture_of_a_command(tiny_folder: Path, tmp_path: Path):
    """matplotlibrc in the folder, and the backend of a notebook whose package is not there."""
    pictures, texts = [], []
    for name, backend in (("plain", None), ("hostile", "module://matplotlib_inline_not_there")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a.fasta").write_text(">P1\nMKTVRQERLKSIVRI\n")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        environment.pop("MPLBACKEND", None)
        if backend is not None:
            (folder / "matplotlibrc").write_text(HOSTILE)
            environment |= {"MPLBACKEND": backend, "MPLCONFIGDIR": os.devnull}
        script = (
            "import sys; from esmkit.cli import main; sys.argv = ['esmkit', *sys.argv[1:]]; main()"
        )
        words = ["attention", "a.fasta", "-m", str(tiny_folder), "--plot", "--heads", "L0H0", "-q"]
        done = subprocess.run(
            [sys.executable, "-c", script, *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        texts.append(done.stderr)
        found = sorted((folder / "a.attention").iterdir())
        pictures.append({path.name: path.read_bytes() for path in found})
    assert pictures[0] == pictures[1]
    assert set(pictures[0]) == {"P1.L0H0.png", "P1.L0H0.arcs.png"}
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "backend",
    [
        "nonsense",
        "module://matplotlib_inline.backend_inline",
        "module://not.there",
        "tkagg",
        "\u86cb",
    ],
)
def test_matplotlib_loads_whatever_the_backend(backend: str, monkeypatch: pytest.MonkeyPatch):
    """The library draws without one, and leaves what the user has set."""
    from esmkit.plots import loading

    tried: list[str | None] = []

    def load(name: str) -> object:
        tried.append(os.environ.get("MPLBACKEND"))
        if tried[-1] is not None:
            raise ValueError(f"Key backend: {backend!r} is not a valid value for backend")
        return matplotlib

    monkeypatch.setenv("MPLBACKEND", backend)
    monkeypatch.setattr(loading.importlib, "import_module", load)
    loading.load_matplotlib()
    assert tried == [backend, None]
    assert os.environ["MPLBACKEND"] == backend
