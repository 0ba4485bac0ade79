"""What is published about ESM-2 and can be measured: values, protocols, sources. No torch here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from esmkit.errors import InputError, OptionError
from esmkit.text import did_you_mean

if TYPE_CHECKING:
    from esmkit.structure import Structure

__all__ = [
    "CLAIMS",
    "SETS",
    "SIZES",
    "Claim",
    "check_chains",
    "choose_claims",
    "needs_chains",
    "size_of",
]

SIZES: Mapping[tuple[int, int, int], str] = {
    (6, 20, 320): "8M",
    (12, 20, 480): "35M",
    (30, 20, 640): "150M",
    (33, 20, 1280): "650M",
    (36, 40, 2560): "3B",
    (48, 40, 5120): "15B",
}
"""Published sizes by layers, heads and width (Lin et al. 2023)."""

SETS: Mapping[str, tuple[str, int | None]] = {
    "large-valid": ("fair-esm's large validation set", 14_842),
    "casp14": ("CASP14", None),
    "cameo": ("CAMEO, April to June 2022", None),
    "fusion": ("Zhang eval-200", 200),
    "proteingym": ("ProteinGym 1.x, substitutions (217 assays)", None),
    "golden": ("the token ids named", None),
}
"""Data of published results: what they are, and how many chains where that is published."""

FAIR_ESM = (
    "README of fair-esm, comparison to related works, unsupervised contact prediction (Lin et al. "
    "2023, doi:10.1126/science.ade2574)"
)
FUSION = (
    "Thorstenson 2026, arXiv:2606.21876v2, and the tables beside its code, plm-contact-fusion; Zhang "
    "eval-200 are 200 of the 1,431 chains of Zhang et al. 2024 (doi:10.1073/pnas.2406285121)"
)
PROTEINGYM = (
    "ProteinGym, zero-shot substitutions (Notin et al. 2023, doi:10.1101/2023.12.07.570727)"
)
TRANSFORMERS = "EsmModelIntegrationTest, in the tests of Hugging Face's transformers"

_HEAD_PROTOCOL = (
    "contact head of the checkpoint (logistic regression, fitted on 20 chains), P@L, L the number of "
    "resolved residues, pairs 24 or more apart, contacts within 8 Å of Cβ"
)
_MAP_PROTOCOL = (
    "symmetrised, APC-corrected attention map (the published ones in bfloat16), P@L/2, L the length of "
    "the sequence, pairs 24 or more apart, contacts within 8 Å of Cβ"
)
_SCORES = (
    "masked-marginals; a long protein is read in windows of 1,022 residues around the site (published: "
    "of 1,024 tokens)"
)
_ALLOWED = "allowed is 0.0001 and 0.0001 of the value"


@dataclass(frozen=True)
class Claim:
    """One published result.

    Attributes
    ----------
    name : str
        Short name, as ``only`` takes it.
    what : str
        The quantity, in words.
    protocol : str
        How it was measured.
    values : mapping from str to float
        Published value by size of the model.
    source : str
        Where it is published.
    on : str
        Name of the data, one of ``SETS``.
    interval : tuple of float or None
        Published 95 % interval, where there is one.
    digits : int
        Published digits after the point.
    """

    name: str
    what: str
    protocol: str
    values: Mapping[str, float]
    source: str
    on: str
    interval: tuple[float, float] | None = None
    digits: int = 3

    def data(self) -> str:
        """Return what it was measured on, in words.

        >>> choose_claims(["head-L5H4"])[0].data()
        'Zhang eval-200 (200 chains)'
        """
        what, count = SETS.get(self.on, (self.on, None))
        return what if count is None else f"{what} ({count:,} chains)"

    def rounding(self) -> float:
        """Return by how much rounding may have moved the published value.

        >>> choose_claims(["three-heads"])[0].rounding()
        5e-05
        """
        return 0.5 * 10.0**-self.digits


def _by_size(*values: float) -> dict[str, float]:
    return dict(zip(SIZES.values(), values, strict=True))


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "contacts-large-valid",
        "long-range P@L of the contact head",
        _HEAD_PROTOCOL,
        _by_size(0.159, 0.288, 0.422, 0.501, 0.527, 0.545),
        FAIR_ESM,
        "large-valid",
    ),
    Claim(
        "contacts-casp14",
        "long-range P@L of the contact head",
        _HEAD_PROTOCOL,
        _by_size(0.098, 0.164, 0.268, 0.325, 0.340, 0.370),
        FAIR_ESM,
        "casp14",
    ),
    Claim(
        "contacts-cameo",
        "long-range P@L of the contact head",
        _HEAD_PROTOCOL,
        _by_size(0.157, 0.284, 0.401, 0.476, 0.499, 0.517),
        FAIR_ESM,
        "cameo",
    ),
    Claim(
        "head-L5H4",
        "long-range P@L/2 of head L5H4 alone, the best head",
        _MAP_PROTOCOL,
        {"8M": 0.249},
        FUSION,
        "fusion",
        interval=(0.232, 0.268),
    ),
    Claim(
        "three-heads",
        "long-range P@L/2 of the mean of the three best heads",
        _MAP_PROTOCOL
        + "; chosen on 10 other chains, here on one half of the chains and scored on the other",
        {"8M": 0.2745},
        FUSION,
        "fusion",
        digits=4,
    ),
    Claim(
        "L5H4-is-best",
        "share of chains on which L5H4 is the best of all heads",
        _MAP_PROTOCOL + "; heads that tie for the best share a chain",
        {"8M": 0.695},
        FUSION,
        "fusion",
    ),
    Claim(
        "categorical-jacobian",
        "long-range P@L/2 of the categorical Jacobian",
        "Zhang et al. 2024, P@L/2, pairs 24 or more apart",
        {"8M": 0.234},
        FUSION,
        "fusion",
    ),
    Claim(
        "proteingym",
        "mean Spearman of substitutions, 217 assays",
        _SCORES + "; mean over the assays of a protein in each function, over the proteins of a "
        "function, over functions",
        _by_size(0.226, 0.321, 0.387, 0.414, 0.406, 0.400),
        PROTEINGYM,
        "proteingym",
    ),
    Claim(
        "proteingym-TEM-1",
        "Spearman of BLAT_ECOLX_Stiffler_2015",
        _SCORES,
        _by_size(0.399, 0.557, 0.661, 0.731, 0.589, 0.430),
        f"{PROTEINGYM}, DMS_substitutions_Spearman_DMS_level.csv",
        "proteingym",
    ),
    Claim(
        "golden-states",
        "difference from 3 x 3 published values of the last hidden state, the one nearest to its limit",
        f"token ids 0 6 4 13 5 4 16 12 11 7 2; {_ALLOWED}",
        {"8M": 0.0},
        TRANSFORMERS,
        "golden",
        digits=12,
    ),
    Claim(
        "golden-logits",
        "difference from 3 x 3 published logits of the masked-LM head, the one nearest to its limit",
        f"token ids 0 1 2 3 4 5, all of them attended to; {_ALLOWED}",
        {"8M": 0.0},
        TRANSFORMERS,
        "golden",
        digits=12,
    ),
)
"""All results, in the order of the table."""


def size_of(layers: int, heads: int, width: int) -> str | None:
    """Return the published size that a model has the shape of.

    >>> size_of(6, 20, 320), size_of(2, 4, 32)
    ('8M', None)
    """
    return SIZES.get((layers, heads, width))


def choose_claims(only: Iterable[str] = ()) -> tuple[Claim, ...]:
    """Return the results of some names, or all, in the order of the table.

    Raises
    ------
    OptionError
        If there is none of that name.

    Examples
    --------
    >>> [claim.name for claim in choose_claims(["golden-logits", "head-L5H4"])]
    ['head-L5H4', 'golden-logits']
    """
    wanted = tuple(only)
    known = [claim.name for claim in CLAIMS]
    for name in wanted:
        if name not in known:
            meant = did_you_mean(name, known)
            raise OptionError(
                f"there is no published result {name!r}{meant or '; there are ' + ', '.join(known)}"
            )
    return tuple(claim for claim in CLAIMS if not wanted or claim.name in wanted)


def needs_chains(claims: Iterable[Claim]) -> bool:
    """Tell whether results need structures."""
    return any(claim.on not in ("proteingym", "golden") for claim in claims)


def check_chains(chains: "Sequence[Structure]") -> None:
    """Refuse no chains, and two of one ID.

    Raises
    ------
    InputError
    """
    if not chains:
        raise InputError("there is no structure to score on; give at least one chain")
    seen: set[str] = set()
    for chain in chains:
        if chain.id in seen:
            raise InputError(f"structure {chain.id!r} comes twice; give each chain once")
        seen.add(chain.id)
