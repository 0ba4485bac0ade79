"""How much a residue that was read long ago still counts for what is said now."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.errors import InputError
from esmkit.reference.bounds import at_least
from esmkit.reference.recurrent.letters import LETTERS, given_sequences, letter_numbers
from esmkit.reference.recurrent.networks import RecurrentNetwork, TransformerNetwork, check_network
from esmkit.sequences.proteins import Protein

__all__ = ["influence", "letter_spread"]


def influence(
    network: RecurrentNetwork | TransformerNetwork,
    sequences: Sequence[str | Protein],
    *,
    residues: int = 256,
) -> NDArray[np.float64]:
    """Return the influence of each residue on what is said of the next one, by distance.

    Of each protein the first ``residues`` are read, and the 20 log-probabilities of what follows are
    differentiated with respect to the embedding of every residue before. The influence is the
    Frobenius norm of that Jacobian, 20 x D, times `letter_spread`: a network has an influence of 1
    where another letter would change the log-probabilities by a vector of a length of about 1, were
    they linear.

    Parameters
    ----------
    network : RecurrentNetwork or TransformerNetwork
    sequences : sequence of str or Protein, P proteins of ``residues`` residues or more
    residues : int

    Returns
    -------
    (P, residues) float64
        Column d - 1 is the residue d before the one that is predicted.

    Raises
    ------
    InputError
        If a protein is shorter, or there is none.
    OptionError
        If ``residues`` is under 1.

    Examples
    --------
    >>> from esmkit.reference.recurrent import RecurrentNetwork
    >>> influence(RecurrentNetwork(width=8, layers=1), ["MKTVRQERLK"], residues=10).shape
    (1, 10)
    """
    at_least(1, residues=residues)
    check_network(network)
    given_sequences(sequences)
    network.eval()
    found = []
    for place, sequence in enumerate(sequences):
        numbers = letter_numbers(sequence)[: residues + 1]
        if len(numbers) <= residues:
            raise InputError(
                f"sequence {place}: {len(numbers) - 1} residues, and influence is measured over "
                f"{residues}; give longer proteins, or ask for fewer residues"
            )
        found.append(_jacobian_norms(network, numbers)[:0:-1])  # without START, the last first
    return np.array(found).reshape(-1, residues) * letter_spread(network)


def letter_spread(network: RecurrentNetwork | TransformerNetwork) -> float:
    """Return how far apart the embeddings of two letters are: the root of the mean square.

    Parameters
    ----------
    network : RecurrentNetwork or TransformerNetwork

    Returns
    -------
    float, over pairs of different letters

    Examples
    --------
    >>> from esmkit.reference.recurrent import RecurrentNetwork
    >>> round(letter_spread(RecurrentNetwork(width=8, layers=1)), 1)  # about sqrt(2 D)
    4.0
    """
    table = network.embedding.weight.detach().double()[: len(LETTERS)]
    centred = table - table.mean(dim=0)
    pairs = len(LETTERS) * (len(LETTERS) - 1) / 2
    return float((len(LETTERS) * centred.square().sum() / pairs).sqrt())


def _jacobian_norms(
    network: RecurrentNetwork | TransformerNetwork, numbers: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the norm of d (20 log-probabilities, at the last place) / d (embedding): (T,).

    The sequence is read 20 times side by side, and each copy says one letter, so that one backward
    pass gives all 20 rows.
    """
    copies = len(LETTERS)
    with torch.enable_grad():
        embedded = network.embedding(torch.from_numpy(numbers).expand(copies, -1)).detach()
        embedded.requires_grad_()
        said = network.read(embedded)[:, -1].log_softmax(dim=-1).diagonal().sum()
        (gradient,) = torch.autograd.grad(said, embedded)  # (20, T, D)
    return gradient.double().square().sum(dim=(0, 2)).sqrt().numpy()
