"""The names of what a forward pass computes: one list for the pass, the reference, pages and files.

====================================  ==========================================================
``embedding``                         token embeddings after token dropout, (T, D)
``L5.attention_input``                the stream after the norm, (T, D)
``L5.query``, ``.key``, ``.value``    as projected, (H, T, K)
``L5.rotated_query``                  the query scaled by 1/sqrt(K) and turned by its position
``L5.rotated_key``                    the key turned by its position
``L5.scores``, ``L5.weights``         before and after the softmax, (H, T, T), [query, key]
``L5.head_output``                    what each head has gathered, before W^O, (H, T, K)
``L5.attention_output``               what all heads and the bias add to the stream, (T, D)
``L5.attention_residual``             the stream after attention, (T, D)
``L5.feed_forward_input``             the stream after the norm, (T, D)
``L5.feed_forward_hidden``            after GELU, (T, F)
``L5.feed_forward_output``            what the feed-forward half adds to the stream, (T, D)
``L5.residual``                       the stream after the layer, (T, D)
``final``                             the last residual after the final norm, (T, D)
``logits``                            of the masked-LM head, (T, 33)
====================================  ==========================================================

One head of what has heads is written ``L5H4.query``, ..., ``L5H4.weights``, and ``L5H4.output`` for
its part of ``L5.head_output``. T tokens, D width, H heads, K head width, F feed-forward width.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from esmkit.arguments import items_of, what_is
from esmkit.encoder.names import head_name
from esmkit.errors import OptionError
from esmkit.text import near

__all__ = [
    "LAYER_STEPS",
    "MAPS",
    "OF_HEADS",
    "Activation",
    "Activations",
]

LAYER_STEPS = (
    *("attention_input", "query", "key", "value", "rotated_query", "rotated_key"),
    *("scores", "weights", "head_output", "attention_output", "attention_residual"),
    *("feed_forward_input", "feed_forward_hidden", "feed_forward_output", "residual"),
)
"""Steps of one layer, in the order in which they are computed."""

OF_HEADS = LAYER_STEPS[1:9]
"""Steps that each head has its own part of: (H, T, K), or (H, T, T)."""

MAPS = ("scores", "weights")
"""Steps with a value for each pair of tokens."""

FIRST, LAST = ("embedding",), ("final", "logits")

_PLACE = re.compile(r"L(\d{1,9})(?:H(\d{1,9}))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Activation:
    """One thing that a pass computes.

    Attributes
    ----------
    step : str
        One of :data:`LAYER_STEPS`, or ``embedding``, ``final`` or ``logits``.
    layer, head : int, optional
        Where, both from 0; without a head it is that of all heads.
    """

    step: str
    layer: int | None = None
    head: int | None = None

    @property
    def name(self) -> str:
        """The name, such as ``L5.residual`` or ``L5H4.output``."""
        if self.layer is None:
            return self.step
        if self.head is None:
            return f"L{self.layer}.{self.step}"
        return f"{head_name(self.layer, self.head)}.{self.step.removeprefix('head_')}"

    @property
    def of_all_heads(self) -> "Activation":
        """The same of all heads."""
        return Activation(self.step, self.layer)

    @property
    def token_axis(self) -> int:
        """Which axis of the array is that of tokens; of maps the first of two, the queries."""
        return 1 if self.step in OF_HEADS and self.head is None else 0

    @property
    def is_map(self) -> bool:
        """Whether it has a value for each pair of tokens."""
        return self.step in MAPS


@dataclass(frozen=True)
class Activations:
    """The activations that a model has.

    Attributes
    ----------
    layers, heads : int
        N and H.
    width, hidden : int
        D and F.
    has_logits : bool
        Whether there is a masked-LM head, so that ``all`` takes its logits too.

    Examples
    --------
    >>> Activations(6, 20, 320, 1280).choose(["L5H4.output", "L*.residual"])[0].name
    'L0.residual'
    """

    layers: int
    heads: int
    width: int
    hidden: int
    has_logits: bool = True

    @cached_property
    def whole(self) -> tuple[Activation, ...]:
        """All but those of single heads, in the order of the pass."""
        inner = (Activation(step, n) for n in range(self.layers) for step in LAYER_STEPS)
        return (*map(Activation, FIRST), *inner, *map(Activation, LAST))

    @cached_property
    def by_name(self) -> dict[str, Activation]:
        """Every activation under its name in lower case, those of single heads last."""
        single = (
            Activation(step, layer, head)
            for layer in range(self.layers)
            for head in range(self.heads)
            for step in OF_HEADS
        )
        found = {one.name.lower(): one for one in (*self.whole, *single)}
        # Also under the step's full name: L5H4.head_output
        full = {
            f"{head_name(one.layer or 0, one.head)}.head_output".lower(): one
            for one in found.values()
            if one.head is not None and one.step == "head_output"
        }
        return {**found, **full}

    def find(self, name: str) -> Activation:
        """Return the activation of a name; capitals do not matter.

        Raises
        ------
        OptionError
            If there is none; near ones are named.
        """
        found = self.by_name.get(name.strip().lower()) if isinstance(name, str) else None
        if found is None:
            raise self._unknown(name)
        return found

    def choose(self, names: str | Iterable[str]) -> tuple[Activation, ...]:
        """Return the activations of names and patterns, each once, in the order of the pass.

        Parameters
        ----------
        names : str or iterable of str
            Names, or patterns with ``*``, such as ``L*.residual``, ``L5.*`` or ``L5H*.output``;
            ``all`` for everything that is not a single head's.

        Raises
        ------
        OptionError
            If there is no such activation, or a pattern fits none.
        """
        given = [names] if isinstance(names, str) else items_of(names)
        if given is None or not all(isinstance(one, str) for one in given):
            wrong = names if given is None else next(n for n in given if not isinstance(n, str))
            raise OptionError(
                "activations are names such as 'L5.residual' or 'L5H4.output', one or a list of "
                f"them, not {what_is(wrong)}"
            )
        chosen: set[Activation] = set()
        for one in given:
            chosen.update(self._matching(one.strip().lower(), one))
        order = {activation: place for place, activation in enumerate(self.by_name.values())}
        return tuple(sorted(chosen, key=lambda one: order[one]))

    def _matching(self, pattern: str, given: str) -> Sequence[Activation]:
        if pattern in ("all", "*"):
            return self.whole if self.has_logits else self.whole[:-1]
        if "*" not in pattern and "?" not in pattern:
            return [self.find(given)]
        place, _, step = pattern.rpartition(".")
        # A star in a place is a number: L*.query is of all layers, and not of each head of each
        places = ["l*", "l*h*"] if place == "*" else [place]
        found: list[Activation] = []
        for one in places if place else []:
            numbers = re.compile(re.escape(one).replace(r"\*", r"\d+").replace(r"\?", r"\d"))
            found = found or [
                activation
                for name, activation in self.by_name.items()
                if numbers.fullmatch(name.rpartition(".")[0])
                and fnmatchcase(name.rpartition(".")[2], step)
            ]
        if not found:
            raise self._unknown(given)
        return found

    def _unknown(self, name: object) -> OptionError:
        """Return the error for a name that there is not: near ones, or which there are."""
        if not isinstance(name, str):
            return OptionError(
                f"an activation is a name such as 'L5.residual' or 'L5H4.output', not {what_is(name)}"
            )
        last = self.layers - 1
        place, _, step = name.strip().rpartition(".")
        match = _PLACE.fullmatch(place)
        known = {step.removeprefix("head_") for step in OF_HEADS} if match and match[2] else set()
        known = known or set(LAYER_STEPS)
        missing = match and (int(match[1]) > last or int(match[2] or 0) >= self.heads)
        if match and missing and step.lower() in known:
            return OptionError(
                f"there is no {name}: the model has layers 0 to {last} with heads 0 to "
                f"{self.heads - 1} each"
            )
        if match and not missing:
            names = [f"{place.upper()}.{one}" for one in near(step, sorted(known), 3)]
            rest = f"{place.upper()} has {', '.join(s for s in LAYER_STEPS if s in known) or ', '.join(sorted(known))}"
            if match[2]:
                rest = f"{place.upper()} has {', '.join(sorted(known))}"
        else:
            names = [self.by_name[one].name for one in near(name.lower(), self.by_name, 3)]
            rest = (
                f"names are 'embedding', 'L0.attention_input' to 'L{last}.residual', of a head "
                "'L0H0.output', 'final' and 'logits'"
            )
        hint = f"did you mean {' or '.join(names)}?" if names else rest
        return OptionError(f"there is no activation {name!r}; {hint}")
