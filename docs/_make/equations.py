"""Equations as MathML, which browsers draw by themselves: no script, nothing from a network.

The one thing that browsers lack is a font with the sizes of brackets and sums. STIX Two Math comes
with ``ziamath``; the letters that equations here use are taken out of it at build time.
"""

import importlib.util
import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

__all__ = ["mathml", "setup"]

# Also what is stretched, and what may be asked for later: letters of mathematics and arrows
LETTERS = [
    *range(0x20, 0x7F), *range(0xA0, 0x100), *range(0x391, 0x3F7), *range(0x2010, 0x2070),
    *range(0x2100, 0x2150), *range(0x2190, 0x2200), *range(0x2200, 0x2300), *range(0x27E6, 0x27F0),
    *range(0x1D400, 0x1D800),
]  # fmt: skip


@cache
def _converter() -> Any:
    import math_core

    return math_core.LatexToMathML()


def mathml(latex: str, *, block: bool) -> str:
    r"""Return an equation as MathML.

    Parameters
    ----------
    latex : str
        In LaTeX. ``\cr`` ends a row as ``\\`` does, which Markdown of code hosts would swallow.
    block : bool
        Whether it stands by itself.
    """
    plain = re.sub(r"\\cr(?![a-zA-Z])", r"\\\\", latex.strip())
    made = _converter().convert_with_local_state(plain, displaystyle=block)
    # Screen readers and those who copy get the LaTeX
    return made.replace("<math", f'<math alttext="{escape(latex.strip())}"', 1)


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), block=False))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="equation">{mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def _font(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    from fontTools import subset

    found = importlib.util.find_spec("ziamath")
    assert found is not None
    assert found.origin is not None
    options = subset.Options(flavor="woff", layout_features=["*"], notdef_outline=True)
    given = Path(found.origin).parent / "fonts" / "STIXTwoMath-Regular.ttf"
    font = subset.load_font(str(given), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=LETTERS)
    subsetter.subset(font)
    subset.save_font(font, str(Path(app.outdir) / "_static" / "stix-two-math.woff"), options)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer and the font."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("build-finished", _font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
