"""A masked-LM head fitted to an encoder that has none, from proteins."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from esmkit.arguments import checked, what_is, whole_number
from esmkit.errors import InputError, OptionError
from esmkit.score.fitted import FittedHead
from esmkit.score.held_out import HeldOut, letter_frequencies, measure
from esmkit.score.hidden_states import CHOSEN, HiddenStates, hidden_states
from esmkit.sequences.given import ManyProteins, one_or_many
from esmkit.sequences.likeness import are_alike
from esmkit.sequences.proteins import OnInvalid
from esmkit.text import Say, readable_bytes, silent

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.score.fitting_steps import Recipe
    from esmkit.sequences.proteins import Protein

__all__ = ["fit_lm_head"]

FEWEST_PROTEINS = 20
"""A fit to fewer would say more of these proteins than of proteins."""

MOST_VALIDATION = 60
"""Proteins set apart, where none are given: every other one is aligned with each of them."""

VALIDATION_SEED = 7_919
"""Added to the seed for what is hidden in validation proteins."""

BATCH, RATE, DECAY, DROPOUT = 512, 1e-3, 0.01, 0.3
"""Settings that did best on the validation families of the shipped head; see docs/explain/lm-head.md."""

_AT_ONCE = 8_192


@checked
def fit_lm_head(
    model: "Encoder",
    proteins: ManyProteins,
    *,
    validation: ManyProteins | None = None,
    draws: int = 2,
    epochs: int = 8,
    seed: int = 0,
    name: str = "fitted",
    trained_on: str | None = None,
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 1_024,
    progress: Say = silent,
) -> FittedHead:
    """Fit a masked-LM head to the last hidden states of an encoder, which stays as it is.

    Residues are hidden as in the training of ESM-2 (15 % of each protein). The fit is kept as it was
    when it was best on validation proteins, whose residues it does not learn from. Without
    ``validation`` up to 60 proteins drawn at random, one in ten at most, are set apart, and every
    other protein that is alike to one of them (:func:`esmkit.sequences.likeness.are_alike`, a local
    alignment) is left out: what it says of them is said of families that it has not seen, as far as
    single alignments find relatives.

    What it is fitted on decides how good it is: thousands of proteins of all kingdoms. A head that
    was fitted to the proteins of one organism is worse than the frequencies of letters on others.

    Parameters
    ----------
    model : Encoder
    proteins : many proteins
        To learn from: a FASTA file or anything that ``embed`` takes. The same sequence counts once.
    validation : many proteins, optional
        Proteins that decide when to stop, taken as they are: that they are no relatives of the
        others is for you to see to.
    draws : int
        How often each protein is run through the encoder, with other residues hidden.
    epochs : int
        How often each hidden residue is learnt from at most.
    seed : int
        Of everything that is drawn. With the same number of PyTorch's threads the same fit results.
    name : str
        Name of the head, which outputs record.
    trained_on : str, optional
        What the proteins are, in words, with source and licence; by default their number.
    on_invalid : {'error', 'replace', 'skip'}
        As in :func:`esmkit.read_fasta`.
    batch_tokens : int
        Most tokens of one forward pass; on a CPU at most 1,024.
    progress : callable
        Called with a sentence for each step.

    Returns
    -------
    FittedHead
        ``save`` it, and give the file to ``esmkit.load(lm_head=...)``.

    Raises
    ------
    InputError
        If there are fewer than 20 proteins to learn from, or none to validate on.
    OptionError
        If a number is out of range.

    Examples
    --------
    >>> model = esmkit.load()                                          # doctest: +SKIP
    >>> proteins = [chain.protein for chain in esmkit.data.ts50()]     # doctest: +SKIP
    >>> fitted = fit_lm_head(model, proteins, draws=1, epochs=1)       # doctest: +SKIP
    >>> fitted.save("head.safetensors").name                           # doctest: +SKIP
    'head.safetensors'
    """
    for option, value in (("draws", draws), ("epochs", epochs)):
        _at_least_one(option, value)
    if (number := whole_number(seed)) is None or number < 0:
        raise OptionError(f"`seed` is a whole number from 0, not {what_is(seed)}")
    known = distinct(proteins, on_invalid)
    others = None if validation is None else distinct(validation, on_invalid)
    training, held_out, how = chosen_proteins(known, others, seed, progress)
    seen = _states(
        model,
        training,
        progress,
        "to learn from",
        draws=range(draws),
        seed=seed,
        tokens=batch_tokens,
    )
    unseen = _states(
        model,
        held_out,
        progress,
        "to validate on",
        draws=range(draws),
        seed=seed + VALIDATION_SEED,
        tokens=batch_tokens,
    )
    from esmkit.score.fitting_steps import Recipe

    recipe = Recipe(epochs, BATCH, RATE, DECAY, DROPOUT, seed)
    fitted = fitted_on_states(model, seen, unseen, recipe, progress)
    facts = {
        "name": name,
        "trained_on": trained_on or f"{len(training):,} proteins",
        "validation": how,
        "draws": draws,
        **fitted.facts,
    }
    return replace(fitted, facts=facts)


def fitted_on_states(
    model: "Encoder",
    training: HiddenStates,
    validation: HiddenStates,
    recipe: "Recipe",
    progress: Say = silent,
) -> FittedHead:
    """Fit a masked-LM head to hidden states that were computed before.

    Parameters
    ----------
    model : Encoder
        That made them.
    training, validation : HiddenStates
        Of the latter, residues that were replaced by ``<mask>`` count.
    recipe : Recipe
    progress : callable
        Is told the validation perplexity after each epoch.
    """
    import torch

    from esmkit.encoder.checkpoints.lm_head import LAYER_NORM_EPS
    from esmkit.score.fitting_steps import Learner, learn

    masked = validation.masked()
    if not len(masked) or not len(training):
        raise InputError(
            f"{len(training):,} residues are there to learn from and {len(masked):,} to validate "
            "on; a fit needs both: give more, or longer, proteins"
        )
    weight: Any = model.parts().embedding.weight
    embedding = weight.detach().float().cpu()
    eps = float(model.network.config.layer_norm_eps or LAYER_NORM_EPS)
    best, perplexities = learn(
        Learner(embedding, eps, recipe.seed, torch.from_numpy(training.targets)),
        training,
        masked,
        recipe,
        told=lambda epoch, perplexity: progress(
            f"epoch {epoch} of {recipe.epochs}: validation perplexity {perplexity:.2f}"
        ),
    )
    frequencies = letter_frequencies(training.targets)
    quality = measured_on_states(best, masked, frequencies)
    facts = {
        "encoder": model.checkpoint.name,
        "encoder_sha256": model.checkpoint.sha256,
        "hidden_residues": len(training),
        "hiding": f"{CHOSEN:.0%} of the residues of a protein; of these 80 % <mask>, 10 % random, 10 % kept",
        "settings": asdict(recipe),
        "torch_threads": torch.get_num_threads(),
        "perplexity": {"validation": quality.to_dict()},
    }
    return FittedHead(best.tensors(), facts, quality, perplexities)


def measured_on_states(head: Any, states: HiddenStates, frequencies: Any) -> HeldOut:
    """Measure what a head says of hidden states.

    Parameters
    ----------
    head : callable
        Takes float32 states, (M, D), and returns logits, (M, 33).
    states : HiddenStates
    frequencies : numpy.ndarray of float, shape (20,)
        Of the letters of the training set.
    """
    return measure(logits_of(head, states), states.targets, states.proteins, frequencies)


def logits_of(head: Any, states: HiddenStates) -> np.ndarray:
    """Return float32 logits, (M, 33), of hidden states."""
    import torch

    found = [np.zeros((0, 33), np.float32)]
    with torch.no_grad():
        for start in range(0, len(states), _AT_ONCE):
            some = torch.from_numpy(states.states[start : start + _AT_ONCE].astype(np.float32))
            found.append(head(some).float().numpy())
    return np.concatenate(found)


# ------------------------------------------------------------------------------------ proteins


def _at_least_one(option: str, value: Any) -> None:
    number = whole_number(value)
    if number is None or number < 1:
        raise OptionError(f"`{option}` is a whole number of at least 1, not {what_is(value)}")


def distinct(proteins: ManyProteins, on_invalid: OnInvalid) -> "list[Protein]":
    """Return the proteins, each sequence once."""
    _, stream = one_or_many(proteins, on_invalid=on_invalid)
    return list({protein.sequence: protein for protein in stream}.values())


def check_enough(left: int, given: int) -> None:
    """Refuse a fit to fewer than 20 proteins.

    Raises
    ------
    InputError
        If there are fewer, of those that were given.
    """
    if left < FEWEST_PROTEINS:
        before = "" if left == given else f"{given:,} were given, "
        raise InputError(
            f"{before}{left:,} protein(s) are left to learn from, and a fit takes at least "
            f"{FEWEST_PROTEINS}, better thousands, of many families; give more proteins"
        )


def chosen_proteins(
    proteins: "Sequence[Protein]",
    validation: "Sequence[Protein] | None",
    seed: int,
    progress: Say = silent,
) -> "tuple[list[Protein], list[Protein], str]":
    """Return the proteins to learn from, those to validate on, and how they were chosen.

    Raises
    ------
    InputError
        If there are fewer than 20 to learn from, or none to validate on.
    """
    if validation is not None:
        held_out = list(validation)
        same = {protein.sequence for protein in held_out}
        training = [protein for protein in proteins if protein.sequence not in same]
        how = f"{len(held_out):,} proteins that were given; relatives were not looked for"
        if not held_out:
            raise InputError("there is no protein to validate on; give some, or leave it out")
    else:
        training, held_out, how = _split(proteins, seed, progress)
    check_enough(len(training), len(proteins))
    return training, held_out, how


def _split(
    proteins: "Sequence[Protein]", seed: int, progress: Say
) -> "tuple[list[Protein], list[Protein], str]":
    count = min(MOST_VALIDATION, len(proteins) // 10)
    order = np.random.default_rng(seed).permutation(len(proteins))
    held_out = [proteins[place] for place in sorted(order[:count])]
    training = []
    if len(proteins) >= FEWEST_PROTEINS:
        progress(
            f"looking for relatives of {count:,} validation proteins among "
            f"{len(proteins) - count:,} others"
        )
        training = [
            proteins[place]
            for place in sorted(order[count:])
            if not any(are_alike(proteins[place].sequence, other.sequence) for other in held_out)
        ]
    left = len(proteins) - count - len(training)
    how = (
        f"{count:,} proteins drawn at random, and {left:,} relatives of them left out (local "
        "alignments, Rost's curve and 5 points)"
    )
    return training or list(proteins), held_out, how


def _states(
    model: "Encoder",
    proteins: "Sequence[Protein]",
    progress: Say,
    purpose: str,
    *,
    draws: range,
    seed: int,
    tokens: int,
) -> HiddenStates:
    """Return the hidden states of proteins, and tell how far it is after each tenth."""
    total = sum(min(len(protein), 1_022) + 2 for protein in proteins) * len(draws)
    size = round(total * CHOSEN) * model.width * 2
    progress(
        f"hiding residues of {len(proteins):,} proteins {purpose}: {total:,} tokens; hidden "
        f"states take about {readable_bytes(size)} on disk meanwhile"
    )
    done, said = 0, 0

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        if done * 10 // total > said and total > 200_000:
            said = done * 10 // total
            progress(f"{said * 10} % of the tokens are done")

    return hidden_states(
        model, proteins, draws=draws, seed=seed, batch_tokens=tokens, advance=advance
    )
