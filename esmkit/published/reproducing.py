"""Measuring published results with one's own weights and data."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from esmkit.arguments import checked
from esmkit.contacts.scores import check_choice
from esmkit.encoder.checkpoints.known import OFFLINE
from esmkit.published.chains import OnChains
from esmkit.published.golden import golden_row
from esmkit.published.gym import OnGym
from esmkit.published.gym_files import Gym, read_gym
from esmkit.published.keeping import Keep
from esmkit.published.known import Claim, check_chains, choose_claims, needs_chains, size_of
from esmkit.published.rows import Row
from esmkit.published.table import Reproduction
from esmkit.text import Say, silent

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["ChainsAre", "measure_rows", "reproduce"]

ChainsAre = Literal["other", "large-valid", "casp14", "cameo", "fusion"]
"""What the chains are: one of the published sets, or others."""


@checked
def reproduce(
    model: "Encoder",
    *,
    structures: "Iterable[Structure] | None" = None,
    chains_are: ChainsAre = "other",
    proteingym: str | Path | None = None,
    only: Sequence[str] = (),
    seed: int = 0,
    progress: Say = silent,
) -> Reproduction:
    """Measure published results of ESM-2 and compare them with the published values.

    A verdict is given where weights and data are the published ones: ``reproduced`` if the published
    value lies within the interval of one's own, ``differs`` if not. With other weights or data a
    result is ``not comparable``, and the row says what is other. What needs files or weights that are
    not there is ``not run``.

    Parameters
    ----------
    model : Encoder
    structures : iterable of Structure, optional
        Chains for the results about contacts; by default TS50, 50 chains that are none of the
        published ones.
    chains_are : {'other', 'large-valid', 'casp14', 'cameo', 'fusion'}
        Published set that these structures are.
    proteingym : str or Path, optional
        Folder with ProteinGym's reference file ``DMS_substitutions.csv`` and the tables of its assays;
        with ``DMS_substitutions_Spearman_DMS_level.csv`` a part of them can be compared too.
    only : sequence of str
        Names of results; by default all.
    seed : int
        Seed of intervals, and of the halves on which heads are chosen.
    progress : callable
        Called with a line for each chain and assay before its turn.

    Returns
    -------
    Reproduction
        A row for each result.

    Raises
    ------
    InputError
        If there are no structures, two have the same ID, or files are not ProteinGym's.
    OptionError
        If there is no result of a name, or no such set.

    See Also
    --------
    esmkit.contacts.evaluate : Contact heads on structures.
    esmkit.reference.verify : The same numbers as Hugging Face and a reference.

    Examples
    --------
    >>> chains = sorted(esmkit.data.ts50(), key=len)[:4]  # doctest: +SKIP
    >>> found = esmkit.reproduce(esmkit.load(), structures=chains, only=["head-L5H4"])  # doctest: +SKIP
    >>> found.rows[0].published, found.rows[0].verdict  # doctest: +SKIP
    (0.249, 'not comparable')
    """
    check_choice("chains_are", chains_are, ChainsAre)
    claims = choose_claims(only)
    gym = None if proteingym is None else read_gym(proteingym)
    chains: list[Structure] = []
    if needs_chains(claims):
        chains = _default_chains() if structures is None else list(structures)
        check_chains(chains)
    return measure_rows(
        model, claims, chains, gym, chains_are=chains_are, seed=seed, progress=progress
    )


def _default_chains() -> "list[Structure]":
    from esmkit.data import ts50

    return ts50()


def measure_rows(
    model: "Encoder",
    claims: Sequence[Claim],
    chains: "Sequence[Structure]",
    gym: Gym | None,
    *,
    chains_are: ChainsAre = "other",
    seed: int = 0,
    keep: Keep | None = None,
    progress: Say = silent,
) -> Reproduction:
    """Measure results on what was read; see :func:`reproduce`.

    Parameters
    ----------
    model : Encoder
    claims : sequence of Claim
    chains : sequence of Structure
        Needed only for results about contacts.
    gym : Gym or None
    chains_are, seed, progress
        As in :func:`reproduce`.
    keep : Keep, optional
        Keeps measurements as they come.
    """
    size = size_of(model.layers, model.heads, model.width)
    other = _other_weights(model)
    shared: dict[str, Any] = {"keep": keep or Keep(), "seed": seed, "progress": progress}
    on_chains = OnChains(model, size, chains, chains_are, other, **shared)
    on_gym = OnGym(model, size, gym, other, **shared)

    def row(claim: Claim) -> Row:
        if claim.on == "golden":
            return golden_row(claim, model, size, other)
        return on_gym.row(claim) if claim.on == "proteingym" else on_chains.row(claim)

    return Reproduction(model.checkpoint.to_dict(), [row(claim) for claim in claims])


def _other_weights(model: "Encoder") -> list[str]:
    """Say how the weights, and the numbers they are computed in, differ from the published ones."""
    found = []
    name = model.checkpoint.name
    if model.checkpoint.sha256 == OFFLINE.sha256:
        found.append(f"other weights ({name})")
    elif not model.checkpoint.official:  # fair-esm's own files, and 3B and 15B, may be the same
        found.append(f"weights ({name}) that are not known as the official ones by their SHA-256")
    dtype = str(model.dtype).removeprefix("torch.")
    if dtype != "float32":
        found.append(f"{dtype} instead of float32")
    return found
