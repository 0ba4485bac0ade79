"""What the fuzz tests share: how many inputs, what each may cost, and the tally of outcomes.

``ESMKIT_TRIALS=40`` makes forty times as many inputs (over 100,000 in all); with
``ESMKIT_TALLY=FILE`` each test adds a line of JSON with what became of its inputs.
"""

import contextlib
import json
import os
import re
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

from esmkit.errors import EsmkitError

TRIALS = int(os.environ.get("ESMKIT_TRIALS", "1"))

SECONDS = 5.0
"""Of processor time for one input; most take a few milliseconds."""

MEGABYTES = 150
"""By which one input may raise the peak of the process; most raise it by nothing."""


def many(examples: int) -> settings:
    """Settings for a property: so many inputs, times ``ESMKIT_TRIALS``, none kept on disk."""
    return settings(
        max_examples=examples * TRIALS,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )


class Tally:
    """Counts outcomes, and holds each input to its bounds of time and memory.

    Attributes
    ----------
    outcomes : collections.Counter
        ``accepted``, and the reasons of refusals with their particulars left out.
    """

    def __init__(
        self, name: str, *, seconds: float = SECONDS, megabytes: float = MEGABYTES
    ) -> None:
        self.bounds = seconds, megabytes
        self.name = name
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0
        self.largest = 0.0

    @contextlib.contextmanager
    def trial(self) -> Iterator[None]:
        """Run one input; a refusal ends it, anything else that is raised fails the test."""
        before, start = peak(reset=True), time.process_time()
        try:
            yield
        except EsmkitError as error:
            text = str(error)
            assert len(text) > 20, text  # a reason, and what to do
            assert "\n" not in text
            assert len(text) < 2_000
            self.outcomes[_reason(text)] += 1
        else:
            self.outcomes["accepted"] += 1
        seconds, grown = time.process_time() - start, peak() - before
        self.slowest, self.largest = max(self.slowest, seconds), max(self.largest, grown)
        assert seconds < self.bounds[0], f"{seconds} s of processor time"
        assert grown < self.bounds[1], f"{grown} MB more than before"

    def report(self) -> None:
        """Make sure that both outcomes were seen, and add a line to the tally file."""
        inputs = sum(self.outcomes.values())
        accepted = self.outcomes["accepted"]
        assert 0 < accepted < inputs, self.outcomes
        target = os.environ.get("ESMKIT_TALLY")
        if target:
            line = {
                "test": self.name,
                "inputs": inputs,
                "accepted": accepted,
                "refused": inputs - accepted,
                "reasons": len(self.outcomes) - 1,
                "slowest_seconds": round(self.slowest, 3),
                "largest_growth_mb": round(self.largest, 1),
                "process_peak_mb": round(peak()),
                "most_frequent": dict(self.outcomes.most_common(12)),
            }
            with Path(target).open("a") as handle:
                handle.write(json.dumps(line) + "\n")


def peak(*, reset: bool = False) -> float:
    """Return the largest resident memory of this process in MB, since the last reset if there was.

    Linux counts anew after a 5 is written to ``clear_refs``. ``ru_maxrss``, which is asked where
    there is no ``/proc``, cannot be reset, and a child begins with that of its parent.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert found
    return int(found[1]) / 1024


def _reason(text: str) -> str:
    """Return an error without its particulars: quoted text, numbers, names of files."""
    text = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "…", text)
    return re.sub(r"\d[\d,.]*", "#", text)[:70]
