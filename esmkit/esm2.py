"""The public class: an encoder that embeds, attends and predicts contacts."""

from typing import Final

from esmkit.attention.extract import attention
from esmkit.contacts.prediction import contacts
from esmkit.embeddings.embed import embed
from esmkit.encoder.encoder import Encoder
from esmkit.inside.attribution import attribute_contact, attribute_logit
from esmkit.inside.decomposition import decompose
from esmkit.inside.lens import logit_lens
from esmkit.inside.patching import patch
from esmkit.inside.tracing import trace
from esmkit.score.scoring import log_probabilities, logits, pseudo_perplexity, score
from esmkit.score.variants.scoring import score_variants

__all__ = ["Esm2", "load"]


class Esm2(Encoder):
    """ESM-2: embeddings, attention maps and contacts of proteins, and the network itself.

    Made by :func:`esmkit.load`. :meth:`embed`, :meth:`attention` and :meth:`contacts` take a
    sequence, a :class:`~esmkit.Protein`, a FASTA path or an iterable, which is streamed. All else is
    documented at :class:`~esmkit.encoder.encoder.Encoder`.

    Parameters
    ----------
    network, checkpoint, device, dtype, has_contact_head, lm_head, compiled, tune, say
        As :class:`~esmkit.encoder.encoder.Encoder` takes them. :func:`esmkit.load` finds them.

    References
    ----------
    Lin et al. 2023, Evolutionary-scale prediction of atomic-level protein structure with a language
    model, Science 379, 1123, doi:10.1126/science.ade2574.

    Examples
    --------
    >>> model = esmkit.load()                                   # doctest: +SKIP
    >>> model.embed("MKTVRQERLKSIVRILERSKEPVSG").mean.shape     # doctest: +SKIP
    (320,)
    >>> model.attention("MKTVRQERLKSIVRILERSKEPVSG", heads="L5H4")["L5H4"].shape  # doctest: +SKIP
    (25, 25)
    """

    embed = embed
    attention = attention
    contacts = contacts
    trace = trace
    decompose = decompose
    attribute_logit = attribute_logit
    attribute_contact = attribute_contact
    logit_lens = logit_lens
    patch = patch
    logits = logits
    log_probabilities = log_probabilities
    pseudo_perplexity = pseudo_perplexity
    score = score
    score_variants = score_variants


load: Final = Esm2.load
