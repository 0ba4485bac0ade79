"""Gradients of one number with respect to the activations of a pass.

The pass is that of every other result, with PyTorch's products and attention, through which gradients
flow; by default with a copy of the weights in float64, so that what is rounded in float32 does not
stand in the gradient.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import gelu

from esmkit.arguments import what_is
from esmkit.contacts.correction import correct
from esmkit.contacts.head import ContactHead
from esmkit.encoder import packing
from esmkit.encoder.activations import LAYER_STEPS, MAPS, Activation, Activations
from esmkit.encoder.checkpoints.parts import Parts, parts_of
from esmkit.encoder.encoder import Encoder
from esmkit.encoder.forward import forward
from esmkit.encoder.operations import Operations
from esmkit.encoder.watch import INSIDE
from esmkit.errors import OptionError
from esmkit.inside.edits import Edit, Place
from esmkit.inside.tracer import Tracer
from esmkit.sequences.tokens import encode

__all__ = ["Exact", "Live", "Metric", "gradients"]

Exact = Literal["float64", "float32"]

FINAL, LOGITS = Activation("final"), Activation("logits")


class Live:
    """The activations of a pass as tensors, for a metric: what is computed of them has gradients.

    ``seen["L5.residual"]`` has the residues alone, :meth:`tokens` also BOS and EOS.
    """

    def __init__(
        self, model: Encoder, parts: Parts, known: Activations, tracer: "_GradientTracer"
    ) -> None:
        self._model = model
        self._parts = parts
        self._known = known
        self._tracer = tracer
        self._logits: torch.Tensor | None = None

    def __getitem__(self, name: str) -> torch.Tensor:
        one = self._known.find(name)
        values = self._of(one)
        if one.is_map:
            return values[..., 1:-1, 1:-1]
        return values.narrow(one.token_axis, 1, values.shape[one.token_axis] - 2)

    def tokens(self, name: str) -> torch.Tensor:
        """Return an activation of all tokens, BOS first and EOS last."""
        return self._of(self._known.find(name))

    @property
    def final(self) -> torch.Tensor:
        """The last hidden state, (R, D)."""
        return self["final"]

    @property
    def mean(self) -> torch.Tensor:
        """The mean of the last hidden state over residues, (D,)."""
        return self["final"].mean(dim=0)

    @property
    def logits(self) -> torch.Tensor:
        """Logits of the masked-LM head, (R, 33)."""
        return self["logits"]

    @property
    def contacts(self) -> torch.Tensor:
        """Probabilities of the checkpoint's contact head, (R, R)."""
        return torch.sigmoid(self.contact_scores)

    @property
    def contact_scores(self) -> torch.Tensor:
        """Scores of contacts before the sigmoid, (R, R)."""
        head = ContactHead.of_checkpoint(self._model)
        score: Any = head.bias
        for layer, heads in head.choice.by_layer.items():
            places = [head.choice.place(layer, number) for number in heads]
            maps = correct(self[f"L{layer}.weights"])[list(heads)]  # (h, R, R)
            weights = torch.as_tensor(head.weights[places]).to(maps)
            score = score + torch.tensordot(weights, maps, dims=1)
        return score

    def _of(self, one: Activation) -> torch.Tensor:
        """Return an activation of all tokens."""
        if one == LOGITS:
            if self._logits is None:
                self._logits = self._tracer.target(LOGITS, self._make_logits())
            return self._logits
        whole = self._tracer.live.get((one.layer, one.step))
        if whole is None:  # maps are made when they are asked for
            whole = self._map(one)
        return whole if one.head is None else whole[one.head]

    def _map(self, one: Activation) -> torch.Tensor:
        layer = one.layer
        query, key = (self._tracer.live[layer, step] for step in INSIDE[:2])
        exact = torch.promote_types(query.dtype, torch.float32)
        scores = query.to(exact) @ key.to(exact).transpose(1, 2)
        self._tracer.live[layer, "scores"] = scores
        self._tracer.live[layer, "weights"] = scores.softmax(dim=-1)
        return self._tracer.live[layer, one.step]

    def _make_logits(self) -> torch.Tensor:
        head, states = self._model.lm_head, self._tracer.live[None, "final"]
        if states.dtype != torch.float64:
            return head.logits(states)
        dense, norm = (copy.deepcopy(m).double() for m in (head.weights.dense, head.weights.norm))
        decoder: Any = head.weights.decoder
        decoder = self._parts.embedding.weight if decoder is None else decoder
        hidden = norm(gelu(dense(states)))
        return hidden @ decoder.double().T + head.weights.bias.double()


class _GradientTracer(Tracer):
    """Keeps every activation of one sequence in the graph of its gradients."""

    def __init__(
        self,
        pack: packing.Pack,
        place: Place,
        edits: Sequence[Edit],
        of: Sequence[Activation],
    ) -> None:
        super().__init__(pack, [place], [], edits)
        self._tokens = pack.ids.shape[1]
        self._of = {(one.layer, one.step) for one in of}
        # Of each step the row, which the gradient is taken of, and the part that is the sequence
        self.rows: dict[tuple[int | None, str], torch.Tensor] = {}
        self.live: dict[tuple[int | None, str], torch.Tensor] = {}

    def sees(self, layer: int, *steps: str) -> bool:
        """Say yes; only maps, which are large, are made if they are needed alone."""
        return any(step not in MAPS for step in steps) or self.edits(layer, *steps)

    def edits(self, layer: int, *steps: str) -> bool:
        """Say whether any of these steps is edited, or the gradient with respect to it is asked for."""
        return super().edits(layer, *steps) or any((layer, step) in self._of for step in steps)

    def at(self, layer: int | None, step: str, x: torch.Tensor) -> torch.Tensor:
        x = super().at(layer, step, x)
        x = self.target(Activation(step, layer), x)
        self.live[layer, step] = x[0, : self._tokens] if x.ndim == 3 else x[0, :, : self._tokens]
        return x

    def at_map(self, layer: int, step: str, tokens: slice, x: torch.Tensor) -> torch.Tensor:
        x = self.target(Activation(step, layer), super().at_map(layer, step, tokens, x))
        self.live[layer, step] = x
        return x

    def target(self, one: Activation, x: torch.Tensor) -> torch.Tensor:
        """Return the activation, with gradients if they are asked for and do not come from before."""
        if (one.layer, one.step) in self._of:
            if not x.requires_grad:
                x = x.detach().requires_grad_()
            self.rows[one.layer, one.step] = x
        return x


Metric = Callable[[Live], torch.Tensor]
"""Takes the activations of one protein as tensors, and returns one number, a 0-d tensor."""


def gradients(
    model: Encoder,
    known: Activations,
    sequence: str,
    place: Place,
    metric: Metric,
    of: Sequence[Activation],
    *,
    mask: Sequence[int] = (),
    edits: Sequence[Edit] = (),
    dtype: Exact = "float64",
) -> tuple[float, dict[Activation, NDArray[Any]]]:
    """Differentiate a metric with respect to activations of one protein, read at once.

    Parameters
    ----------
    model : Encoder
    known : Activations
    sequence : str
    place : Place
    metric : callable
        Given a :class:`Live`, returns a 0-d tensor.
    of : sequence of Activation
    mask, edits
        Of the run that is differentiated.
    dtype : {'float64', 'float32'}
        What the pass is computed in; float64 takes a copy of the weights.

    Returns
    -------
    value : float
        The metric.
    found : dict from Activation to numpy.ndarray
        Of all tokens, BOS first and EOS last, in the data type of the pass. Zero where the metric
        does not depend on it.

    Raises
    ------
    OptionError
        If the metric is not one number, or depends on nothing that it was given.
    """
    network = model.network
    kind = getattr(torch, dtype)
    if dtype == "float64" and model.device.type == "mps":
        kind = torch.float32  # which has no float64
    with torch.inference_mode(False), torch.enable_grad():
        if model.dtype != kind:
            network = copy.deepcopy(network).to(kind).requires_grad_(False)  # pyright: ignore
        parts = parts_of(network)
        pack = packing.pack([encode(sequence, mask=mask)], model.device)
        tracer = _GradientTracer(pack, place, edits, of)
        forward(pack, parts, Operations(), layers=[model.layers], watch=tracer)
        value = _one_number(metric(Live(model, parts, known, tracer)))
        rows = [tracer.rows.get((one.layer, one.step)) for one in of]
        there = [row for row in rows if row is not None]
        if not value.requires_grad:
            names = ", ".join(one.name for one in of[:3]) + ", ..." * (len(of) > 3)
            raise OptionError(
                f"the metric does not depend on {names}; compute it from what it is given, without "
                ".detach(), .item() or NumPy"
            )
        found = iter(torch.autograd.grad(value, there, allow_unused=True))
    result = {}
    for one, row in zip(of, rows, strict=True):
        gradient = next(found) if row is not None else None
        result[one] = _part_of(gradient, row, one, pack.ids.shape[1], known)
    return float(value.detach()), result


def _part_of(
    gradient: torch.Tensor | None,
    row: torch.Tensor | None,
    one: Activation,
    tokens: int,
    known: Activations,
) -> NDArray[Any]:
    """Return the gradient of all tokens of one activation; zeros if there is none."""
    if row is None:  # logits that the metric has not asked for
        return np.zeros((tokens, 33))
    found = torch.zeros_like(row) if gradient is None else gradient
    if one.step in LAYER_STEPS and one.is_map:
        values = found  # (H, n, n)
    elif found.ndim == 4:
        values = found[0, :, :tokens]
    else:
        values = found[0, :tokens] if one != LOGITS else found
    values = values if one.head is None else values[one.head]
    return values.detach().cpu().numpy()


def _one_number(value: Any) -> torch.Tensor:
    if not isinstance(value, torch.Tensor) or value.ndim or value.is_complex():
        what = (
            f"a tensor of shape {tuple(value.shape)}" if hasattr(value, "ndim") else what_is(value)
        )
        raise OptionError(
            f"the metric returned {what}, and a gradient is that of one number; return a 0-d tensor, "
            "such as seen.logits[5, 3] or seen.mean.norm()"
        )
    return value
