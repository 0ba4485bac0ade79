"""How far one process goes with more cores than are here, from what the parts of a pass take.

    python -m benchmarks cores

What Python itself does of a pass holds its lock, which one thread can hold at a time; products,
attention and norms do not. So passes are run on one core and each of these operations is timed. Then
``Esm2.embed`` runs in as many threads as there would be cores, with the very code of a real run, but
each of these operations sleeps for the time that it took: as the operation does, a sleep lets others
have the lock, and it takes no core. What is left is Python, and some small operations, for which the
cores that are here have to do: the figures are rather too low than too high.

A pass that several threads share is taken to last as long as one of one thread with so many times
fewer tokens. What is lost by sharing is measured on the cores that are here.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import nn

from benchmarks.harness import ratios
from benchmarks.scaling import one_length
from esmkit.encoder import compiled, onednn, packing, threads
from esmkit.encoder.encoder import Encoder
from esmkit.esm2 import load
from esmkit.sequences.proteins import Protein

CORES = (1, 2, 4, 8, 16, 32, 64, 128)

RESIDUES = 254
"""Of each protein: four, with BOS and EOS, make a pass of 1,024 tokens."""

TIMED, LEAST, EACH, REAL = 8, 16, 6, 32
"""Passes that are timed; that are slept through, at least and for each core; that really run."""

WAKING = 60e-6
"""Seconds by which a sleep is longer than was asked for."""

Name = tuple[str | int, ...]
"""What kind of operation it is, and its widths."""


@cache
def _zeros(shape: tuple[int, ...]) -> torch.Tensor:
    """Return zeros that nobody writes to."""
    return torch.zeros(shape)


class Clock:
    """Times the operations of a pass, or sleeps in their place.

    Attributes
    ----------
    seconds : dict
        For each operation, by name and width, what it took for a token of one thread's, run by run.
    asleep : dict
        The median of each; what is in it is slept for.
    share : int
        Threads among which the tokens of a pass are shared out.
    """

    def __init__(self) -> None:
        self.seconds: dict[Name, list[float]] = {}
        self.asleep: dict[Name, float] = {}
        self.share = 1

    def run(
        self, name: Name, shape: tuple[int, ...], tokens: int, make: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """Return what ``make`` returns, or after as long a time something of that shape."""
        each = self.asleep.get(name)
        if each is not None:
            time.sleep(max(0.0, each * tokens / self.share - WAKING))
            return _zeros(shape)
        begun = time.perf_counter()
        made = make()
        self.seconds.setdefault(name, []).append((time.perf_counter() - begun) / tokens)
        return made


class Product:
    """oneDNN's product, by the clock."""

    def __init__(self, clock: Clock, product: Any) -> None:
        self._clock, self._product = clock, product

    def _run(self, make: Callable[..., torch.Tensor], x: Any, weight: Any, *given: Any) -> Any:
        name, shape = ("products", x.shape[-1], len(weight)), (*x.shape[:-1], len(weight))
        return self._clock.run(name, shape, x.shape[-2], lambda: make(*given))

    def __call__(self, x: torch.Tensor, weight: torch.Tensor, *rest: Any) -> torch.Tensor:
        return self._run(self._product, x, weight, x, weight, *rest)

    def binary(self, x: Any, add: torch.Tensor, weight: torch.Tensor, *rest: Any) -> torch.Tensor:
        return self._run(self._product.binary, x, weight, x, add, weight, *rest)


class Norm(nn.Module):
    """A layer norm, by the clock."""

    def __init__(self, clock: Clock, norm: nn.Module) -> None:
        super().__init__()
        self._clock, self._norm = clock, norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._clock.run(("norms",), tuple(x.shape), x.shape[-2], lambda: self._norm(x))


@contextmanager
def by_the_clock(model: Encoder) -> Iterator[Clock]:
    """Have the operations of a model timed, or slept for."""
    clock = Clock()
    product, attend, parts = onednn.onednn_product(), compiled.compile_attention(), model.parts()
    layers = tuple(
        replace(
            layer,
            attention_norm=Norm(clock, layer.attention_norm),
            feed_forward_norm=Norm(clock, layer.feed_forward_norm),
        )
        for layer in parts.layers
    )
    watched = replace(parts, layers=layers, final_norm=Norm(clock, parts.final_norm))

    def attended(query: torch.Tensor, *rest: Any) -> torch.Tensor:
        heads, tokens, width = query.shape
        shape = (tokens, heads, width)
        return clock.run(("attention",), shape, tokens, lambda: attend(query, *rest))

    places = {
        (onednn, "onednn_product"): lambda: Product(clock, product),
        (onednn, "compile_attention"): lambda: attended,
        (model, "parts"): lambda: watched,
    }
    before = {(where, name): getattr(where, name) for where, name in places}
    try:
        for (where, name), new in places.items():
            setattr(where, name, new)
        yield clock
    finally:
        for (where, name), old in before.items():
            setattr(where, name, old)


def proteins(passes: int) -> list[Protein]:
    """Return different proteins of one length for that many passes of 1,024 tokens."""
    text = one_length(RESIDUES + 4 * passes)
    pieces = [text[start : start + RESIDUES] for start in range(4 * passes)]
    return [Protein(id=f"p{n}", header=f"p{n}", sequence=piece) for n, piece in enumerate(pieces)]


@contextmanager
def as_if(cores: int, most: int) -> Iterator[None]:
    """Let PyTorch have that many threads, of which ``most`` passes are computed at once."""
    found = torch.get_num_threads(), threads.MOST_PASSES
    torch.set_num_threads(cores)
    threads.MOST_PASSES = most
    try:
        yield
    finally:
        torch.set_num_threads(found[0])
        threads.MOST_PASSES = found[1]


def seconds_of(model: Any, passes: int) -> float:
    """Return what so many passes of 1,024 tokens take, or half as many of twice as many tokens."""
    given = proteins(passes)
    begun = time.perf_counter()
    for _ in model.embed(given, residues=False, batch_tokens=packing.pass_tokens()):
        pass
    return time.perf_counter() - begun


def parts(model: Any, clock: Clock, rounds: int) -> tuple[float, list[str]]:
    """Return the seconds of a pass on one core, and a table of what they are spent on."""
    passes = TIMED
    whole = []
    with as_if(1, 1):
        seconds_of(model, passes)  # warms up
        for _ in range(rounds):
            for runs in clock.seconds.values():
                runs.clear()
            whole.append(seconds_of(model, passes) / passes)
    pass_seconds = statistics.median(whole)
    each: dict[Any, float] = dict.fromkeys(("products", "attention", "norms"), 0.0)
    for name, runs in clock.seconds.items():
        each[name[0]] += 1_024 * statistics.median(runs) * len(runs) / passes
    lines = ["| part of a pass | milliseconds | share |", "|---|---|---|"]
    for name, seconds in each.items():
        lines.append(f"| {name} | {1e3 * seconds:.1f} | {seconds / pass_seconds:.1%} |")
    rest = pass_seconds - sum(each.values())
    lines.append(
        f"| all else: Python, and small operations | {1e3 * rest:.1f} | {rest / pass_seconds:.1%} |"
    )
    return pass_seconds, lines


def with_cores(model: Any, clock: Clock) -> list[str]:
    """Return a table of what more and more cores would do, most operations slept for."""
    lines = [
        "| cores | one thread a pass: times one core | passes at once, threads of each | times one core |",
        "|---|---|---|---|",
    ]
    first = 0.0
    clock.asleep = {name: statistics.median(runs) for name, runs in clock.seconds.items()}
    for cores in CORES:
        rates = []
        for most in (cores, threads.MOST_PASSES):
            with as_if(cores, most):
                clock.share = threads.threads_of_a_pass()
                passes = max(LEAST, EACH * cores)
                rates.append(passes / seconds_of(model, passes))
        first = first or rates[0]
        shared = "as before" if clock.share == 1 else f"{cores // clock.share}, {clock.share}"
        again = "" if clock.share == 1 else f"{rates[1] / first:.1f}"
        lines.append(f"| {cores} | {rates[0] / first:.1f} | {shared} | {again} |")
    clock.asleep = {}
    return lines


def more_than_cores(model: Any, rounds: int) -> list[str]:
    """Return a table of more workers, and more threads, than the cores that are here, in turn."""
    ways = {
        "2, of 1 thread": (2, 16),
        "4, of 1 thread": (4, 16),
        "8, of 1 thread": (8, 16),
        "1, of 2 threads": (2, 1),
        "2, of 2 threads": (4, 2),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):  # the first warms up
        for name, (cores, most) in ways.items():
            with as_if(cores, most):
                taken = seconds_of(model, REAL)
            if turn:
                seconds[name].append(taken)
    first = seconds["2, of 1 thread"]
    lines = ["| passes at once | seconds | times slower |", "|---|---|---|"]
    for name, runs in seconds.items():
        slower = "1" if runs is first else ratios(first, runs)
        lines.append(f"| {name} | {statistics.median(runs):.2f} | {slower} |")
    return lines


def report(rounds: int) -> list[str]:
    """Measure the parts, and what follows from them."""
    model = load()
    if not model.compiled or not torch.backends.mkldnn.is_available():
        return ["Not run: there are no products of oneDNN here, or attention is not compiled."]
    usual = model.operations
    model.operations = onednn.FastOperations(products=True, compiled=True)
    with by_the_clock(model) as clock:
        _, of_parts = parts(model, clock, rounds)
        of_cores = with_cores(model, clock)
    model.operations = usual
    here = more_than_cores(model, rounds)
    return [
        "A pass of 1,024 tokens (four proteins of 254 residues) on one core, with oneDNN's products (esmkit "
        "has MKL's on an x86-64 processor without AVX-512). What holds Python's lock is at most what is in "
        "the last row:",
        "",
        *of_parts,
        "",
        "So many cores, by running `Esm2.embed` with products, attention and norms slept for as long as "
        f"they took, on the {os.cpu_count()} cores that are here. With one thread a pass, and as esmkit "
        f"does it, at most {threads.MOST_PASSES} passes at once, each with as many threads, and times "
        "the tokens, as there are cores for; sharing is taken to cost nothing:",
        "",
        *of_cores,
        "",
        f"Really, on the cores that are here and with the products that esmkit has on them, "
        f"{1_024 * REAL:,} tokens; what sharing costs is in the row of one pass of two threads:",
        "",
        *here,
    ]
