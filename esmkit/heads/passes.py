"""Bars that name what is being done: which model the chains run through, heads, figures."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from esmkit.files.run_options import Run
from esmkit.heads.unrepeated import APART

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Passes", "advance", "bar"]


def bar(total: int, name: str, unit: str, run: Run) -> "tqdm[Any]":
    """Return a bar on standard error, called ``heads: NAME``; nothing is shown if none is wanted."""
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=f"heads: {name}",
        unit=unit,
        disable=not run.progress,
        mininterval=0.2 if sys.stderr is not None and sys.stderr.isatty() else 3.0,
        dynamic_ncols=True,
    )


def advance(shown: "tqdm[Any]", _: str = "") -> None:
    """Take one step."""
    shown.update()


class Passes:
    """One bar over all passes of the chains: with the trained weights, and with those of controls.

    Called with the stage of each chain before its turn, which is another for each pass.

    Parameters
    ----------
    chains : int
    names : sequence of str
        Of the passes, in their order (:func:`esmkit.heads.controls.passes`); the first is that of the model itself.
    run : Run
    """

    def __init__(self, chains: int, names: Sequence[str], run: Run) -> None:
        self._names = ["chains", *(f"control, {name}" for name in names[1:])]
        self._stages: list[int] = []
        self._bar = bar(chains * len(names), "chains", "chain", run)

    def __call__(self, stage: int) -> None:
        """Take one step, and name the pass if it is another; chains that come again take none."""
        if stage >= APART:
            return
        if stage not in self._stages:
            if len(self._stages) == 1:  # now it is known how many chains take part
                self._bar.total = self._bar.n * len(self._names)
            self._stages.append(stage)
            number = min(len(self._stages), len(self._names)) - 1
            self._bar.set_description(f"heads: {self._names[number]}")
        self._bar.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
