"""Training in NumPy: gradients by the chain rule, Adam, and a small ESM-2 trained from nothing.

``backward`` undoes each function of ``esmkit.reference.encoder``; ``optimizer`` turns gradients into
better parameters; ``tree`` walks through nested parameters. PyTorch is not used: the tests compare
every gradient with its automatic ones.
"""

from esmkit.reference.training.backward import (
    cross_entropy,
    embedding_backward,
    feed_forward_backward,
    gelu_backward,
    layer_norm_backward,
    linear_backward,
    multi_head_attention_backward,
    relu_backward,
    softmax_backward,
)
from esmkit.reference.training.optimizer import Adam, clip_gradients, learning_rate
from esmkit.reference.training.tree import parameter_count, tree_arrays, tree_map

__all__ = [
    "Adam",
    "clip_gradients",
    "cross_entropy",
    "embedding_backward",
    "feed_forward_backward",
    "gelu_backward",
    "layer_norm_backward",
    "learning_rate",
    "linear_backward",
    "multi_head_attention_backward",
    "parameter_count",
    "relu_backward",
    "softmax_backward",
    "tree_arrays",
    "tree_map",
]
