"""Direct attribution: what each component adds to a logit, or each head to a contact's score.

A contact's score is linear in the corrected maps of heads, so it is a sum over heads as it stands.

A logit is not linear in the residual stream: between them lie the final norm and the masked-LM head,
logit = E norm(GELU(W h + b)) + c. Here every step but what is linear is held at what it was in this
pass: the scales of the two norms, and the gate of GELU, Phi(z) of z Phi(z), where Phi is the normal
distribution function. What is left is linear, equals the logit exactly, and so gives each component
a contribution; these sum to the logit, with ``bias`` for what depends on no component (the biases
of the norms and of the head). It is a convention: with the gate held a component is not charged
for opening it, and what later layers make of what it has written is theirs.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.arguments import checked, what_is
from esmkit.contacts.correction import correct
from esmkit.contacts.head import ContactHead
from esmkit.encoder.encoder import Encoder
from esmkit.errors import OptionError
from esmkit.inside.components import KEEP, HeldNorm, components_of, head_writes, seen_at_once
from esmkit.inside.effects import Effects
from esmkit.sequences.given import OneProtein, one_protein
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.sites import parse_sites
from esmkit.sequences.tokens import TOKENS
from esmkit.sequences.windows import Long

__all__ = ["OTHERS", "attribute_contact", "attribute_logit", "letter_weights", "one_residue"]

OTHERS = "others"
"""Names the mean of the logits of the other 19 amino acids."""

Array = NDArray[np.float64]


def one_residue(given: Any, sequence: str, name: str, option: str) -> int:
    """Return the number, from 1, of the one residue that is named, such as 48 or K48.

    Raises
    ------
    OptionError
        If it names none, several, or one that the protein does not have.
    """
    numbers = parse_sites(given, option).of_each([name])[name].numbers(sequence, name)
    if len(numbers) != 1:
        raise OptionError(
            f"`{option}` is one residue, such as {sequence[numbers[0] - 1]}{numbers[0]}, not "
            f"{len(numbers)}"
        )
    return numbers[0]


def letter_weights(letter: str, against: str | None) -> Array:
    """Return with which weight each of the 33 logits counts, (33,).

    Parameters
    ----------
    letter : str
        One of the 20 amino acids.
    against : str, optional
        Another, or ``others`` for the mean of the other 19.

    Raises
    ------
    OptionError
        If one is no amino acid, or both are the same.
    """
    for option, value in (("letter", letter), ("against", against)):
        known = value in list(AMINO_ACIDS)
        if not known and not (option == "against" and value in (None, OTHERS)):
            more = f", '{OTHERS}' or None" if option == "against" else ""
            raise OptionError(
                f"`{option}` is one of the amino acids {AMINO_ACIDS}{more}, not {what_is(value)}"
            )
    if letter == against:
        raise OptionError(
            f"the letter and what it is set against are both {letter}, whose difference is 0; name two amino acids"
        )
    weights = np.zeros(len(TOKENS))
    weights[TOKENS.index(letter)] = 1
    others = [one for one in AMINO_ACIDS if one != letter] if against == OTHERS else [against]
    for one in others:
        if one is not None:
            weights[TOKENS.index(one)] -= 1 / len(others)
    return weights


@checked
def attribute_logit(
    model: Encoder,
    protein: OneProtein,
    residue: Any,
    letter: str | None = None,
    *,
    against: str | None = None,
    masked: bool = True,
    long: Long = "window",
) -> Effects:
    """Say what each head and layer adds to the logit of a letter at a residue.

    Parameters
    ----------
    model : Encoder
        With a masked-LM head.
    protein : one protein
        As :meth:`esmkit.Esm2.embed` takes it.
    residue : int or str
        Counted from 1, such as ``48`` or ``K48``.
    letter : str, optional
        One of the 20 amino acids; by default the one that is there.
    against : str, optional
        Another letter, whose logit is taken away: what is left is the log-odds of the two. With
        ``"others"`` it is the mean of the other 19. By default nothing is taken away; a logit alone
        has a part that all letters share.
    masked : bool
        Hide the residue, as :meth:`esmkit.Esm2.score` does.
    long : {'window', 'whole', 'truncate', 'error'}
        What is read in windows is refused.

    Returns
    -------
    Effects
        They sum to the logit, or the difference; see the top of :mod:`esmkit.inside.attribution`
        for what is held.

    Raises
    ------
    CheckpointError
        If the model has no masked-LM head.
    OptionError
        If there is no such residue, or no such amino acid.
    InputError
        If it is not one protein, or one that is read in windows.

    Examples
    --------
    >>> found = esmkit.load().attribute_logit("MKTVRQERLKSIVRIL", "K10", against="E")  # doctest: +SKIP
    >>> bool(abs(found.table["contribution"].sum() - found.value) < 1e-4)  # doctest: +SKIP
    True
    """
    head = model.lm_head
    one = one_protein(protein, "a logit of one protein is attributed")
    number = one_residue(residue, one.sequence, one.id, "residue")
    there = one.sequence[number - 1]
    letter = there if letter is None else letter
    weights = letter_weights(letter, against)
    seen = seen_at_once(model, one, [number - 1] if masked else (), long, KEEP)
    number = one_residue(residue, seen.sequence, one.id, "residue")  # which may be cut off
    states = {name: seen[name][number - 1].astype(np.float64) for name in ("embedding", "final")}
    stream = seen[f"L{model.layers - 1}.residual"][number - 1].astype(np.float64)
    direction, bias = _through_the_head(model, head, stream, states["final"], weights)
    rows = []
    for layer, parts in enumerate(model.parts().layers):
        back, constant = head_writes(parts.output, model.width)
        towards = (direction @ back).reshape(model.heads, -1)  # (H, K)
        heads = seen[f"L{layer}.head_output"][:, number - 1].astype(np.float64)  # (H, K)
        feed_forward = seen[f"L{layer}.feed_forward_output"][number - 1].astype(np.float64)
        rows += [*(towards * heads).sum(axis=1), direction @ constant, direction @ feed_forward]
    contributions = [direction @ states["embedding"], *rows, bias]
    minus = {None: "", OTHERS: " against the mean of the others"}.get(
        against, f" against {against}"
    )
    how = "hidden" if masked else "seen"
    logits = seen.logits[number - 1].astype(np.float64)
    return Effects(
        value=float(logits @ weights),
        what=f"logit of {letter}{minus} at {there}{number}, {how}",
        unit="logit",
        id=seen.id,
        sequence=seen.sequence,
        checkpoint=model.checkpoint.name,
        table=_table(model, contributions),
        head="" if head.facts["source"] == "checkpoint" else str(head.facts["name"]),
    )


def _through_the_head(
    model: Encoder, head: Any, stream: Array, final: Array, weights: Array
) -> tuple[Array, float]:
    """Return d and b such that weights . logits = d . residual + b, with gate and scales held."""
    parts, own = model.parts(), head.weights
    embedding: Any = parts.embedding.weight if own.decoder is None else own.decoder
    decoder = embedding.detach().cpu().double().numpy()  # (33, D)
    dense, offset = head_writes(own.dense, model.width)
    z = dense @ final + offset
    gate = (torch.special.ndtr(torch.from_numpy(z))).numpy()
    norm = HeldNorm.at(own.norm, gate * z)
    up = weights @ decoder
    bias = float(weights @ own.bias.cpu().double().numpy() + norm.bias @ up)
    up = gate * norm.back(up)  # of W h + b
    bias += float(offset @ up)
    up = up @ dense  # of h
    last = HeldNorm.at(parts.final_norm, stream)
    return last.back(up), bias + float(last.bias @ up)


def _table(model: Encoder, contributions: list[Any]) -> Any:
    import pandas

    every = components_of(model.layers, model.heads)
    table = pandas.DataFrame(
        {
            "component": [*(one.name for one in every), "bias"],
            "kind": [*(one.kind for one in every), "bias"],
            "layer": [*(one.layer for one in every), None],
            "head": [*(one.head for one in every), None],
            "contribution": np.array(contributions, np.float64),
        }
    )
    return table.astype({"layer": "Int64", "head": "Int64"})


@checked
def attribute_contact(
    model: Encoder,
    protein: OneProtein,
    residue: Any,
    partner: Any,
    *,
    head: ContactHead | None = None,
    long: Long = "window",
) -> Effects:
    """Say what each head adds to the score of a contact, before the sigmoid.

    Parameters
    ----------
    model : Encoder
    protein : one protein
        As :meth:`esmkit.Esm2.embed` takes it.
    residue, partner : int or str
        Counted from 1, such as ``48`` or ``K48``.
    head : ContactHead, optional
        By default that of the checkpoint.
    long : {'window', 'whole', 'truncate', 'error'}
        What is read in windows is refused.

    Returns
    -------
    Effects
        Of each head its weight in the contact head times its corrected map at the pair, and ``bias``;
        they sum to the score.

    Raises
    ------
    CheckpointError
        If there is no contact head.
    OptionError
        If there is no such residue, both are one, or the head is for another model.
    InputError
        If it is not one protein, or one that is read in windows.

    Examples
    --------
    >>> protein = esmkit.data.demo_proteins()[0]                             # doctest: +SKIP
    >>> esmkit.load().attribute_contact(protein, 4, 12).top(3).shape       # doctest: +SKIP
    (3, 6)
    """
    head = ContactHead.of_checkpoint(model) if head is None else head
    head.check_fits(model)
    one = one_protein(protein, "a contact of one protein is attributed")
    numbers = _pair(residue, partner, one)
    keep = [f"L{layer}.weights" for layer in head.choice.by_layer]
    seen = seen_at_once(model, one, (), long, keep)
    _pair(residue, partner, seen)  # which may be cut off
    i, j = (number - 1 for number in numbers)
    found = np.zeros((model.layers, model.heads))
    for layer, heads in head.choice.by_layer.items():
        maps = torch.from_numpy(np.ascontiguousarray(seen[f"L{layer}.weights"][list(heads)]))
        of_pair = correct(maps.cpu().double())[:, i, j].numpy()
        places = [head.choice.place(layer, number) for number in heads]
        found[layer, list(heads)] = head.weights[places] * of_pair
    import pandas

    every = [c for c in components_of(model.layers, model.heads) if c.kind == "head"]
    table = pandas.DataFrame(
        {
            "component": [*(c.name for c in every), "bias"],
            "kind": [*("head" for _ in every), "bias"],
            "layer": pandas.array([*(c.layer for c in every), None], dtype="Int64"),
            "head": pandas.array([*(c.head for c in every), None], dtype="Int64"),
            "contribution": [*found.ravel(), head.bias],
        }
    )
    names = " and ".join(f"{seen.sequence[n - 1]}{n}" for n in numbers)
    return Effects(
        value=float(found.sum() + head.bias),
        what=f"score of the contact of {names}",
        unit="logit" if head.method == "regression" else "corrected attention",
        id=seen.id,
        sequence=seen.sequence,
        checkpoint=model.checkpoint.name,
        table=table,
        head=head.source,
    )


def _pair(residue: Any, partner: Any, of: Any) -> tuple[int, int]:
    """Return the two residues that are named, from 1."""
    first = one_residue(residue, of.sequence, of.id, "residue")
    second = one_residue(partner, of.sequence, of.id, "partner")
    if first == second:
        raise OptionError(
            f"both residues are {of.sequence[first - 1]}{first}; a contact is one of two residues"
        )
    return first, second
