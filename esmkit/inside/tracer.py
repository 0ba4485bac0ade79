"""What keeps and edits activations while a pass goes by."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from esmkit.encoder.activations import MAPS, Activation, Activations
from esmkit.encoder.encoder import Encoder
from esmkit.encoder.packing import Pack
from esmkit.encoder.watch import INSIDE, Watch
from esmkit.inside.edits import Edit, Place, edited

__all__ = ["Tracer", "activations_of", "held_for"]


def activations_of(model: Encoder) -> Activations:
    """Return which activations a model has."""
    parts = model.parts()
    hidden = parts.layers[0].expand.out_features
    return Activations(model.layers, model.heads, model.width, hidden, model.has_lm_head)


@dataclass(frozen=True)
class _Step:
    """What is done at one step of one layer."""

    keep: tuple[Activation, ...] = ()
    edits: tuple[Edit, ...] = ()


def held_for(keep: Sequence[Activation], edits: Sequence[Edit]) -> tuple[Activation, ...]:
    """Return what a trace has to hold, so that what is to be kept can be had.

    Scores and weights follow from turned queries and keys, which are a hundred times smaller, and are
    made when they are asked for; unless an edit comes between.
    """
    changed = {edit.activation.layer for edit in edits if edit.activation.step in MAPS}
    held: dict[Activation, None] = {}
    for one in keep:
        if one.is_map and one.layer not in changed:
            held |= dict.fromkeys(Activation(step, one.layer) for step in INSIDE[:2])
        else:
            held[one] = None
    return tuple(held)


class Tracer(Watch):
    """Keeps some activations of the sequences of a pack, and edits some.

    An activation is kept as it is after its edits. Reading changes nothing: every result of the
    pass is the same, to the last bit.

    Parameters
    ----------
    pack : Pack
        The batch that goes through the model.
    places : sequence of Place
        What each sequence is, in the order in which they were given to
        :func:`esmkit.encoder.packing.pack`.
    keep : sequence of Activation
    edits : sequence of Edit

    Attributes
    ----------
    kept : list of dict from Activation to torch.Tensor
        Of each sequence, in that order, with BOS and EOS; tokens are on the activation's axis of
        tokens. They may share memory with the pass.
    """

    def __init__(
        self,
        pack: Pack,
        places: Sequence[Place],
        keep: Sequence[Activation],
        edits: Sequence[Edit] = (),
    ) -> None:
        self._pack = pack
        self._places = places
        self._sequences = list(pack.sequences())
        self._steps: dict[tuple[int | None, str], _Step] = {}
        for one in (*keep, *(edit.activation for edit in edits)):
            self._steps[one.layer, one.step] = _Step(
                tuple(a for a in keep if (a.layer, a.step) == (one.layer, one.step)),
                tuple(
                    e
                    for e in edits
                    if (e.activation.layer, e.activation.step) == (one.layer, one.step)
                ),
            )
        self.kept: list[dict[Activation, torch.Tensor]] = [{} for _ in places]

    def sees(self, layer: int, *steps: str) -> bool:
        """Say whether any of these steps is kept or edited."""
        return any((layer, step) in self._steps for step in steps)

    def edits(self, layer: int, *steps: str) -> bool:
        """Say whether any of these steps is edited."""
        found = (self._steps.get((layer, step)) for step in steps)
        return any(step.edits for step in found if step is not None)

    def at(self, layer: int | None, step: str, x: torch.Tensor) -> torch.Tensor:
        """Edit and keep an activation of the row."""
        what = self._steps.get((layer, step))
        if what is None:
            return x
        if what.edits:
            x = x.clone()
        for number, tokens in self._sequences:
            for edit in what.edits:
                if edit.sequence not in (None, number):
                    continue
                own = _part(x, edit.activation, tokens)
                own.copy_(edited(edit, own, self._places[number]))
            for one in what.keep:
                self._keep(number, one, _part(x, one, tokens))
        return x

    def at_map(self, layer: int, step: str, tokens: slice, x: torch.Tensor) -> torch.Tensor:
        """Edit and keep scores or weights of one sequence, (H, n, n)."""
        what = self._steps.get((layer, step))
        if what is None:
            return x
        number = next(number for number, where in self._sequences if where == tokens)
        if what.edits:
            x = x.clone()
        for edit in what.edits:
            if edit.sequence not in (None, number):
                continue
            own = x if edit.activation.head is None else x[edit.activation.head]
            own.copy_(edited(edit, own, self._places[number]))
        for one in what.keep:
            self._keep(number, one, x if one.head is None else x[one.head], fresh=one.head is None)
        return x

    def _keep(self, number: int, one: Activation, x: torch.Tensor, *, fresh: bool = False) -> None:
        # The memory of a row that is one sequence is kept as it is; a part of one would hold all of it
        whole = fresh or (len(self._sequences) == 1 and one.head is None)
        self.kept[number][one] = x if whole else x.clone()


def _part(x: torch.Tensor, one: Activation, tokens: slice) -> torch.Tensor:
    """Return the part of a row's activation that is one sequence's, and perhaps one head's."""
    if x.ndim == 3:
        return x[0, tokens]  # (n, D)
    return x[0, :, tokens] if one.head is None else x[0, one.head, tokens]  # (H, n, K), (n, K)
