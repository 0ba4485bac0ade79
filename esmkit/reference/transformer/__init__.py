"""The Transformer of Vaswani et al. 2017, whole, from the functions of `esmkit.reference.encoder`.

ESM-2 is the encoder of this blueprint with four changes: the norm goes before each half of a layer
instead of after it, GELU replaces ReLU, rotary positions replace those added to the embedding, and
there is no decoder. All else is shared and stands in `reference`, as do the axes and the sources in
brackets.

``layers`` holds one layer of each kind, ``positions`` the three ways to say where a token stands,
``stacks`` encoder, decoder, both together and the decoder alone, ``untrained`` draws them.
"""

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
    count_parameters,
    forward,
    run_decoder,
    run_encoder,
)
from esmkit.reference.transformer.untrained import (
    random_decoder_layer,
    random_decoder_only,
    random_decoder_stack,
    random_encoder_stack,
    random_layer,
    random_transformer,
)

__all__ = [
    "POSITIONS",
    "SINUSOID_BASE",
    "DecoderLayer",
    "DecoderOnly",
    "DecoderStack",
    "EncoderStack",
    "Forward",
    "Pass",
    "Transformer",
    "attend",
    "causal_mask",
    "count_parameters",
    "cross_attention",
    "decoder_layer",
    "embed",
    "encoder_layer",
    "forward",
    "learned_positions",
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
    "sinusoidal_positions",
]
