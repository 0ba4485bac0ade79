"""Bars that name what is being done: which model the chains run through, heads, figures."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from esmkit.files.run_options import Run

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Passes", "advance", "bar"]


def bar(total: int, name: str, unit: str, run: Run) -> "tqdm":
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


def advance(shown: "tqdm", _: str = "") -> None:
    """Take one step."""
    shown.update()


class Passes:
    """One bar over all passes of the chains: through the model, and through its controls.

    Called with the stage of each chain before its turn: 0 is the model, 1, 2, ... its controls.

    Parameters
    ----------
    chains, controls : int
    run : Run
    names : sequence of str, optional
        What the passes are called, in their order (:func:`esmkit.heads.controls.passes`).
    """

    def __init__(self, chains: int, controls: int, run: Run, names: Sequence[str] = ()) -> None:
        self._controls = controls
        self._names = names
        self._stages: list[int] = []
        self._bar = bar(chains * (1 + controls), "chains", "chain", run)

    def __call__(self, stage: int) -> None:
        """Take one step, and name the pass if it is another."""
        if stage not in self._stages:
            if len(self._stages) == 1:  # now it is known how many chains take part
                self._bar.total = self._bar.n * (1 + self._controls)
            self._stages.append(stage)
            self._bar.set_description(f"heads: {self.name(stage)}")
        self._bar.update()

    def name(self, stage: int) -> str:
        """Return what a pass is called."""
        number = self._stages.index(stage) if stage in self._stages else stage
        if number < len(self._names):
            return self._names[number]
        return f"control {number}/{max(number, self._controls)}" if number else "chains"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
