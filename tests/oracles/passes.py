"""A pass of the reference in float64 in which something is added to one activation."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from esmkit.reference import encoder as reference


@dataclass
class Pass:
    steps: dict[tuple[int | None, str], np.ndarray]
    final: np.ndarray
    contacts: np.ndarray


class Bumped:
    """Runs one sequence, adding a change to the activation of a (layer, step)."""

    def __init__(self, model: Any, ids: Any) -> None:
        tensors = {name: tensor.numpy() for name, tensor in model.network.state_dict().items()}
        self.parameters = reference.read_parameters(tensors, model.heads)
        self.ids = ids

    def run(self, what: tuple[int | None, str] | None, change: Any) -> Pass:
        p, ids = self.parameters, self.ids[None]
        steps: dict[tuple[int | None, str], np.ndarray] = {}

        def at(layer: int | None, step: str, x: np.ndarray) -> np.ndarray:
            steps[layer, step] = x + change if (layer, step) == what else x
            return steps[layer, step]

        x = at(
            None, "embedding", reference.embed_tokens(ids, np.ones(ids.shape, bool), p.embedding)[0]
        )
        rotary = reference.rotary_tables(p.inverse_frequencies, ids.shape[1])
        for n, layer in enumerate(p.layers):
            normed = at(n, "attention_input", reference.layer_norm(x, layer.attention_norm))
            made = reference.project_heads(normed[None], normed[None], layer.attention, p.heads)
            query, key, value = (
                at(n, step, y[0]) for step, y in zip(("query", "key", "value"), made, strict=True)
            )
            query = at(n, "rotated_query", reference.rotate(reference.scale_query(query), *rotary))
            key = at(n, "rotated_key", reference.rotate(key, *rotary))
            scores = at(n, "scores", query @ key.swapaxes(-1, -2))
            weights = at(n, "weights", reference.softmax(scores))
            mixed = at(n, "head_output", weights @ value)
            joined = reference.concatenate_heads(mixed[None])[0]
            added = at(n, "attention_output", reference.linear(joined, layer.attention.output))
            x = at(n, "attention_residual", x + added)
            normed = at(n, "feed_forward_input", reference.layer_norm(x, layer.feed_forward_norm))
            hidden = reference.gelu(reference.linear(normed, layer.expand))
            hidden = at(n, "feed_forward_hidden", hidden)
            added = at(n, "feed_forward_output", reference.linear(hidden, layer.contract))
            x = at(n, "residual", x + added)
        final = at(None, "final", reference.layer_norm(x, p.final_norm))
        maps = [steps[n, "weights"][None] for n in range(len(p.layers))]
        return Pass(steps, final, reference.contact_probabilities(p, maps, ids)[0])
