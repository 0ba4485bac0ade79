"""The Transformer of Vaswani et al. 2017, whole, from the functions of `esmkit.reference.encoder`.

ESM-2 is the encoder of this blueprint with four changes: the norm goes before each half of a layer
instead of after it, GELU replaces ReLU, rotary positions replace those added to the embedding, and
there is no decoder. All else is shared and stands in `reference`, as do the axes and the sources in
brackets.

``layers`` holds one layer of each kind, ``positions`` the three ways to say where a token stands,
``stacks`` encoder, decoder, both together and the decoder alone, ``untrained`` draws them.
``generation`` writes letter by letter, and ``cost`` counts what that takes; ``gradients`` is the
backward pass, ``training`` the loop, ``tasks`` what to train on: from residues to secondary
structure, and copying.
"""

from esmkit.reference.transformer.cost import multiplications
from esmkit.reference.transformer.generation import (
    Cache,
    Writing,
    choose,
    generate,
    start_cache,
    step,
)
from esmkit.reference.transformer.gradients import (
    Batch,
    decoder_layer_backward,
    encoder_layer_backward,
    loss_and_gradients,
)
from esmkit.reference.transformer.layers import (
    DecoderLayer,
    attend,
    causal_mask,
    cross_attention,
    decoder_layer,
    encoder_layer,
    relu,
)
from esmkit.reference.transformer.positions import (
    SINUSOID_BASE,
    embed,
    learned_positions,
    rotary_angles,
    sinusoidal_positions,
)
from esmkit.reference.transformer.stacks import (
    POSITIONS,
    DecoderOnly,
    DecoderStack,
    EncoderStack,
    Forward,
    Pass,
    Transformer,
    forward,
    run_decoder,
    run_encoder,
)
from esmkit.reference.transformer.tasks import (
    BEGIN,
    HIDDEN,
    LETTERS,
    RESIDUES,
    STATES,
    Stretches,
    accuracy,
    copy_batches,
    cut,
    score_states,
    state_batches,
    write_states,
)
from esmkit.reference.transformer.training import train
from esmkit.reference.transformer.untrained import (
    random_decoder_layer,
    random_decoder_only,
    random_decoder_stack,
    random_encoder_stack,
    random_layer,
    random_transformer,
)

__all__ = [
    "BEGIN",
    "HIDDEN",
    "LETTERS",
    "POSITIONS",
    "RESIDUES",
    "SINUSOID_BASE",
    "STATES",
    "Batch",
    "Cache",
    "DecoderLayer",
    "DecoderOnly",
    "DecoderStack",
    "EncoderStack",
    "Forward",
    "Pass",
    "Stretches",
    "Transformer",
    "Writing",
    "accuracy",
    "attend",
    "causal_mask",
    "choose",
    "copy_batches",
    "cross_attention",
    "cut",
    "decoder_layer",
    "decoder_layer_backward",
    "embed",
    "encoder_layer",
    "encoder_layer_backward",
    "forward",
    "generate",
    "learned_positions",
    "loss_and_gradients",
    "multiplications",
    "random_decoder_layer",
    "random_decoder_only",
    "random_decoder_stack",
    "random_encoder_stack",
    "random_layer",
    "random_transformer",
    "relu",
    "rotary_angles",
    "run_decoder",
    "run_encoder",
    "score_states",
    "sinusoidal_positions",
    "start_cache",
    "state_batches",
    "step",
    "train",
    "write_states",
]
