"""A contact head fitted anew, by the protocol of Rao et al. 2021."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from esmkit._version import __version__
from esmkit.arguments import checked
from esmkit.contacts.head import ContactHead
from esmkit.contacts.map import MIN_SEPARATION
from esmkit.contacts.prediction import corrected_maps
from esmkit.errors import InputError, OptionError
from esmkit.text import Say, silent

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.sequences.proteins import Protein
    from esmkit.structure import Structure

__all__ = ["INVERSE_PENALTY", "fit"]

INVERSE_PENALTY = 0.15
"""C of the L1 penalty (Rao et al. 2021, appendix A.3)."""

MAX_ITERATIONS = 1_000
"""Weak penalties need more than scikit-learn's 100; a fit that converged earlier is the same."""


@checked
def fit(
    model: "Encoder",
    structures: Iterable["Structure"],
    *,
    inverse_penalty: float = INVERSE_PENALTY,
    min_separation: int = MIN_SEPARATION,
    seed: int = 0,
    progress: Say = silent,
) -> ContactHead:
    """Fit a contact head: logistic regression on the corrected maps of all heads.

    Every pair of resolved residues at least ``min_separation`` apart is an observation; Rao et al.
    took about 20 chains. L1 penalty, liblinear (scikit-learn). All features of all chains are held
    at once: 4 bytes for each head and pair, 90 MB for 20 chains of 137 residues and 120 heads.

    Parameters
    ----------
    model : Encoder
    structures : iterable of Structure
        Chains to learn from, none over 1,022 residues.
    inverse_penalty : float
        C of scikit-learn's ``LogisticRegression``; smaller leaves fewer heads.
    min_separation : int
        Least j - i of a pair.
    seed : int
        Seed of the solver.
    progress : callable
        Called with the ID of each chain before its turn.

    Returns
    -------
    ContactHead
        With chains, their sequences, counts and settings in its ``provenance``, so that
        :func:`esmkit.contacts.evaluate` can leave them out.

    Raises
    ------
    InputError
        If the chains hold no contact, or nothing but contacts, or one is too long.
    OptionError
        If a number is out of range.

    See Also
    --------
    esmkit.contacts.evaluate : Scores the head on other chains.

    References
    ----------
    Rao et al. 2021, Transformer protein language models are unsupervised structure learners,
    doi:10.1101/2020.12.15.422761, appendix A.3.

    Examples
    --------
    >>> chains = sorted(esmkit.data.ts50(), key=len)[:2]  # doctest: +SKIP
    >>> head = esmkit.contacts.fit(esmkit.load(), chains)  # doctest: +SKIP
    >>> head.method, head.provenance["chains"]  # doctest: +SKIP
    ('regression', ['3a4r_A', '2cvi_A'])
    >>> esmkit.load().contacts("MKTVRQERLKSIVRIL", head=head).probability.shape  # doctest: +SKIP
    (16, 16)
    """
    from sklearn.linear_model import LogisticRegression

    if not inverse_penalty > 0 or min_separation < 1:
        raise OptionError(
            f"the inverse penalty is above 0 and the least separation at least 1, not "
            f"{inverse_penalty} and {min_separation}"
        )
    features, labels, proteins = [], [], []
    for structure in structures:
        progress(structure.id)
        i, j = np.triu_indices(len(structure), min_separation)
        kept = structure.resolved[i] & structure.resolved[j]
        i, j = i[kept], j[kept]
        features.append(corrected_maps(model, structure.protein)[:, i, j].T)
        labels.append(structure.contacts()[i, j])
        proteins.append(structure.protein)
    true = np.concatenate(labels) if labels else np.zeros(0, bool)
    if not true.any() or true.all():
        raise InputError(
            f"{len(proteins)} chain(s) with {len(true):,} pairs at least {min_separation} residues "
            f"apart hold {int(true.sum()):,} contacts; a fit needs pairs of both kinds: give "
            "more, or longer, chains"
        )
    regression = LogisticRegression(
        **_lasso(),
        C=inverse_penalty,
        solver="liblinear",
        random_state=seed,
        max_iter=MAX_ITERATIONS,
    )
    regression.fit(np.concatenate(features), true)
    weights = regression.coef_.reshape(-1).astype(np.float64)
    return ContactHead.regression(
        model,
        weights,
        float(np.ravel(regression.intercept_)[0]),
        source=f"regression fitted to {len(proteins)} chain(s)",
        provenance=_provenance(
            model, proteins, true, weights, inverse_penalty, min_separation, seed
        ),
    )


def _lasso() -> dict[str, Any]:
    """Return what asks for an L1 penalty: ``penalty`` was replaced in scikit-learn 1.8."""
    import sklearn

    version = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
    return {"l1_ratio": 1.0} if version >= (1, 8) else {"penalty": "l1"}


def _provenance(
    model: "Encoder",
    proteins: "list[Protein]",
    true: np.ndarray,
    weights: np.ndarray,
    inverse_penalty: float,
    min_separation: int,
    seed: int,
) -> dict[str, object]:
    import sklearn

    return {
        "esmkit": __version__,
        "checkpoint": model.checkpoint.to_dict(),
        "protocol": "Rao et al. 2021: L1 logistic regression (liblinear) on APC-corrected maps",
        "inverse_penalty": inverse_penalty,
        "min_separation": min_separation,
        "seed": seed,
        # With sequences a chain is known again whatever it is called, and so are its relatives
        "chains": [protein.id for protein in proteins],
        "sequences": [protein.sequence for protein in proteins],
        "pairs": len(true),
        "contacts": int(true.sum()),
        "heads_with_weight": int((weights != 0).sum()),
        "scikit-learn": sklearn.__version__,
    }
