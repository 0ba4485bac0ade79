"""Every figure."""

from typing import Any

from matplotlib.figure import Figure


def attention_grid(maps: Any, *, path: Any = None) -> Figure: ...
def attention_head(maps: Any, head: str, *, path: Any = None) -> Figure: ...
def inline_html(figure: Figure) -> str: ...
