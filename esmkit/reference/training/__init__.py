"""Training in NumPy: gradients by the chain rule, Adam, and a small ESM-2 trained from nothing.

``backward`` undoes each function of ``esmkit.reference.encoder``; ``model`` does both for a whole
ESM-2; ``optimizer`` turns gradients into better parameters; ``batches`` and ``train`` are the training
itself; ``measures`` says what was learned; ``save`` writes a checkpoint; ``tree`` walks through nested
parameters. PyTorch trains nothing here: the tests compare every gradient with its automatic ones.
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
from esmkit.reference.training.batches import Batch, crops_of, hide, random_batch, repeat_rows
from esmkit.reference.training.measures import (
    copy_shares,
    counting_losses,
    letter_similarity,
    offset_shares,
)
from esmkit.reference.training.model import (
    MaskedLm,
    embed_tokens_backward,
    encoder_layer_backward,
    masked_lm_loss,
    masked_lm_loss_and_gradients,
    random_masked_lm,
)
from esmkit.reference.training.optimizer import Adam, clip_gradients, learning_rate
from esmkit.reference.training.save import save_checkpoint
from esmkit.reference.training.train import Training, held_out_batch, loss_of, train
from esmkit.reference.training.tree import parameter_count, tree_arrays, tree_map, tree_replace

__all__ = [
    "Adam",
    "Batch",
    "MaskedLm",
    "Training",
    "clip_gradients",
    "copy_shares",
    "counting_losses",
    "crops_of",
    "cross_entropy",
    "embed_tokens_backward",
    "embedding_backward",
    "encoder_layer_backward",
    "feed_forward_backward",
    "gelu_backward",
    "held_out_batch",
    "hide",
    "layer_norm_backward",
    "learning_rate",
    "letter_similarity",
    "linear_backward",
    "loss_of",
    "masked_lm_loss",
    "masked_lm_loss_and_gradients",
    "multi_head_attention_backward",
    "offset_shares",
    "parameter_count",
    "random_batch",
    "random_masked_lm",
    "relu_backward",
    "repeat_rows",
    "save_checkpoint",
    "softmax_backward",
    "train",
    "tree_arrays",
    "tree_map",
    "tree_replace",
]
