"""The encoder from scratch, the transformer of 2017, and the comparison with Hugging Face.

``encoder`` is ESM-2 in NumPy, to be read from top to bottom, and ``masked_lm`` its head;
``transformer`` the encoder and decoder of Vaswani et al. 2017, and ``recurrent`` what it replaced;
``verification`` holds esmkit, Hugging Face, the reference and, for logits, fair-esm against each
other, which ``implementations`` runs.
``encoder`` is ESM-2 in NumPy, to be read from top to bottom, and ``masked_lm`` its head; ``weights``
takes the weights of a loaded model for both;
``transformer`` the encoder and decoder of Vaswani et al. 2017; ``verification`` holds esmkit, Hugging
Face, the reference and, for logits, fair-esm against each other, which ``implementations`` runs.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.reference import encoder, recurrent, transformer
    from esmkit.reference.encoder import (
        CLS,
        LAYER_NORM_EPS,
        ROTARY_BASE,
        TRAIN_MASK_RATE,
        Affine,
        Attention,
        Encoding,
        Layer,
        Parameters,
        apply_mask,
        average_product_correction,
        concatenate_heads,
        contact_features,
        contact_probabilities,
        embed_tokens,
        encode,
        encoder_layer,
        feed_forward,
        gelu,
        inverse_frequencies,
        layer_norm,
        linear,
        multi_head_attention,
        project_heads,
        read_parameters,
        residue_maps,
        rotary_tables,
        rotate,
        rotate_half,
        scale_query,
        softmax,
        split_heads,
        symmetrise,
    )
    from esmkit.reference.masked_lm import (
        MaskedLmHead,
        masked_lm_logits,
        masked_lm_steps,
        read_masked_lm_head,
    )
    from esmkit.reference.verification import Verification, verify
    from esmkit.reference.weights import masked_lm_head_of, parameters_of
    from esmkit.sequences.tokens import EOS, MASK, PAD

__all__ = [
    "CLS",
    "EOS",
    "LAYER_NORM_EPS",
    "MASK",
    "PAD",
    "ROTARY_BASE",
    "TRAIN_MASK_RATE",
    "Affine",
    "Attention",
    "Encoding",
    "Layer",
    "MaskedLmHead",
    "Parameters",
    "Verification",
    "apply_mask",
    "average_product_correction",
    "concatenate_heads",
    "contact_features",
    "contact_probabilities",
    "embed_tokens",
    "encode",
    "encoder",
    "encoder_layer",
    "feed_forward",
    "gelu",
    "inverse_frequencies",
    "layer_norm",
    "linear",
    "masked_lm_head_of",
    "masked_lm_logits",
    "masked_lm_steps",
    "multi_head_attention",
    "parameters_of",
    "project_heads",
    "read_masked_lm_head",
    "read_parameters",
    "recurrent",
    "residue_maps",
    "rotary_tables",
    "rotate",
    "rotate_half",
    "scale_query",
    "softmax",
    "split_heads",
    "symmetrise",
    "transformer",
    "verify",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Affine": "encoder",
        "Attention": "encoder",
        "CLS": "encoder",
        "EOS": "encoder",
        "Encoding": "encoder",
        "LAYER_NORM_EPS": "encoder",
        "Layer": "encoder",
        "MASK": "encoder",
        "PAD": "encoder",
        "MaskedLmHead": "masked_lm",
        "Parameters": "encoder",
        "ROTARY_BASE": "encoder",
        "TRAIN_MASK_RATE": "encoder",
        "Verification": "verification",
        "apply_mask": "encoder",
        "average_product_correction": "encoder",
        "concatenate_heads": "encoder",
        "contact_features": "encoder",
        "contact_probabilities": "encoder",
        "embed_tokens": "encoder",
        "encode": "encoder",
        "encoder_layer": "encoder",
        "feed_forward": "encoder",
        "gelu": "encoder",
        "inverse_frequencies": "encoder",
        "layer_norm": "encoder",
        "linear": "encoder",
        "masked_lm_head_of": "weights",
        "masked_lm_logits": "masked_lm",
        "masked_lm_steps": "masked_lm",
        "multi_head_attention": "encoder",
        "parameters_of": "weights",
        "project_heads": "encoder",
        "read_masked_lm_head": "masked_lm",
        "read_parameters": "encoder",
        "residue_maps": "encoder",
        "rotary_tables": "encoder",
        "rotate": "encoder",
        "rotate_half": "encoder",
        "scale_query": "encoder",
        "softmax": "encoder",
        "split_heads": "encoder",
        "symmetrise": "encoder",
        "verify": "verification",
    },
    {"encoder": "encoder", "recurrent": "recurrent", "transformer": "transformer"},
)
