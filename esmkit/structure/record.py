"""One protein chain with coordinates: what contacts, heads and the explorer measure against."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from esmkit.arguments import checked, what_is
from esmkit.errors import InputError, OptionError
from esmkit.sequences.proteins import Protein
from esmkit.structure import secondary
from esmkit.text import visible

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONFIDENT", "CONTACT_CUTOFF", "Structure"]

CONTACT_CUTOFF = 8.0
"""Å between Cβ; the definition of CASP and of the ESM papers."""

MAX_DISULFIDE = 2.5
"""Å between the sulfurs; a disulfide bond is 2.05 Å long."""

CONFIDENT = 70
"""pLDDT from which the AlphaFold database calls a residue confident."""

_THREE_STATES = str.maketrans("HGIEBTS-", "HHHEECCC")


@dataclass(frozen=True, eq=False, repr=False)
class Structure:
    """One protein chain: its whole sequence, and coordinates for the residues that have some.

    Arrays have a row for each of the R residues of the sequence, are in Å, hold NaN where there
    is no coordinate, and are read-only; Biopython rounds coordinates to float32. What is computed
    from them is computed when first used.

    Attributes
    ----------
    id : str
        Name of the file without its endings, ``_``, name of the chain: ``1ubi_A``.
    path : pathlib.Path
        The file.
    chain : str
        The authors' name of the chain; ``""`` where a PDB file has a blank.
    model : int
        Number of the model in the file.
    sequence : str
        R letters; X is an unknown or missing residue.
    residue_numbers : tuple of str
        The authors' numbers with insertion code (``52A``); ``""`` for residues without any atom.
    backbone : numpy.ndarray
        float64, (R, 4, 3): N, CA, C, O.
    cb : numpy.ndarray
        float64, (R, 3): Cβ, for glycine Cα. A residue of another kind whose Cβ is missing has NaN.
    sg : numpy.ndarray
        float64, (R, 3): the sulfur of cysteines, else NaN.
    notes : tuple of str
        What had to be decided on reading, one sentence each.
    plddt : numpy.ndarray or None
        float64, (R,), 0 to 100: how sure a prediction is of each residue, NaN for those without
        Cα; None for a structure that was determined by experiment, or is not known to be predicted.
    min_plddt : float or None
        What :meth:`confident` left residues out by.
    around : numpy.ndarray
        float64, (M, 4, 3): N, CA, C, O of residues of other protein chains of the same model of the
        file, within 30 Å. Secondary structure and hydrogen bonds are those of the chain among them.
    around_letters : str
        Their M letters.

    See Also
    --------
    read_structure : One chain of a file.
    read_structures : All chains of a folder.

    References
    ----------
    Kabsch and Sander 1983, Biopolymers 22:2577 (DSSP: secondary structure and hydrogen bonds).

    Examples
    --------
    >>> from esmkit.data import demo_structure
    >>> ubiquitin = demo_structure()
    >>> ubiquitin
    Structure(1ubi_A: 76 residues, 76 resolved)
    >>> ubiquitin.secondary_structure[:20]
    '-EEEEEETTS-EEEEE--TT'
    >>> int(ubiquitin.contacts().sum()) // 2
    337
    >>> ubiquitin.protein.sequence[:10], ubiquitin.secondary_structure_3[:10]
    ('MQIFVKTLTG', 'CEEEEEECCC')
    >>> ubiquitin.ca.shape, int(ubiquitin.resolved.sum()), ubiquitin.distances.shape
    ((76, 3), 76, (76, 76))
    >>> ubiquitin.strand_partners[0].tolist(), len(ubiquitin.hydrogen_bonds)
    ([1, 15], 57)
    >>> len(ubiquitin.disulfides)
    0
    >>> ubiquitin.to_frame().loc[0, ["author_number", "letter", "secondary_structure"]].tolist()
    ['1', 'M', '-']
    """

    id: str
    path: Path
    chain: str
    model: int
    sequence: str
    residue_numbers: tuple[str, ...]
    backbone: np.ndarray
    cb: np.ndarray
    sg: np.ndarray
    notes: tuple[str, ...] = ()
    plddt: np.ndarray | None = None
    min_plddt: float | None = None
    around: np.ndarray = field(default_factory=lambda: np.empty((0, 4, 3)))
    around_letters: str = ""

    def __post_init__(self) -> None:
        for name in (
            "backbone",
            "cb",
            "sg",
            "around",
        ):  # views, so that the caller's arrays stay writable
            object.__setattr__(self, name, _fixed(getattr(self, name).view()))
        if self.plddt is not None:
            object.__setattr__(self, "plddt", _fixed(self.plddt.view()))

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def ca(self) -> np.ndarray:
        """float64, (R, 3), Å: Cα."""
        return self.backbone[:, 1]

    @property
    def protein(self) -> Protein:
        """The sequence as a protein that the model takes."""
        chain = f", chain {self.chain}" if self.chain else ""
        # A header is one line, and names of files and of mmCIF's chains may hold any character
        header = visible(f"{self.id} {self.path.name}{chain}")
        return Protein(self.id, self.sequence, header)

    @cached_property
    def resolved(self) -> np.ndarray:
        """bool, (R,): whether the residue has a Cβ (glycine: Cα), so that it can be in contact."""
        return _fixed(np.asarray(np.isfinite(self.cb).all(axis=1)))

    @cached_property
    def distances(self) -> np.ndarray:
        """float32, (R, R), Å: between Cβ (glycine: Cα); NaN where one is not resolved."""
        from scipy.spatial.distance import cdist

        return _fixed(cdist(self.cb, self.cb).astype(np.float32))

    @checked
    def contacts(self, cutoff: float = CONTACT_CUTOFF) -> np.ndarray:
        """Return which residues are in contact: Cβ-Cβ closer than a cutoff (Cα for glycine).

        Parameters
        ----------
        cutoff : float
            Å.

        Returns
        -------
        numpy.ndarray
            bool, (R, R), symmetric; False where a residue is not resolved, and on the diagonal.

        Raises
        ------
        OptionError
            If the cutoff is not a positive number.

        See Also
        --------
        distances : What they are read from.

        Examples
        --------
        >>> from esmkit.data import demo_structure
        >>> contacts = demo_structure().contacts()
        >>> contacts.shape, bool((contacts == contacts.T).all()), bool(contacts[3, 64])
        ((76, 76), True, True)
        """
        if not (isinstance(cutoff, int | float | np.number) and 0 < cutoff < np.inf):
            raise OptionError(
                f"the cutoff of a contact is a positive number of Å such as 8, not {cutoff!r}"
            )
        close = self.distances < cutoff  # NaN is never smaller
        np.fill_diagonal(close, False)
        return close

    @checked
    def confident(self, min_plddt: float) -> "Structure":
        """Return the structure with the residues that its prediction is not sure of left out.

        They count as not resolved: they have no coordinates, so that they are in no contact and no
        secondary structure. Numbers and sequence stay.

        Parameters
        ----------
        min_plddt : float
            Least pLDDT, 0 to 100; 70 and more is confident in the AlphaFold database.

        Returns
        -------
        Structure

        Raises
        ------
        OptionError
            If it is no number from 0 to 100.
        InputError
            If the structure is not known to be predicted, or no residue is left.

        Examples
        --------
        >>> path = esmkit.data.demo_structure().path
        >>> as_if = esmkit.read_structure(path, predicted=True)  # its B-factors are no pLDDT
        >>> as_if.confident(10).notes[-1]
        '44 of 76 residues have a pLDDT below 10 and count as not resolved'
        """
        if not 0 <= min_plddt <= 100:
            raise OptionError(f"`min_plddt` is a number from 0 to 100, not {what_is(min_plddt)}")
        if 0 < min_plddt <= 1:
            raise OptionError(
                f"`min_plddt` is a number from 0 to 100, and {min_plddt:g} is hardly meant; "
                f"give `min_plddt={100 * min_plddt:g}`"
            )
        if self.plddt is None:
            raise InputError(
                f"{self.id!r} has no pLDDT, as it is not known to be a predicted structure "
                f"({str(self.path)!r} does not name a program of prediction, or tells of an "
                "experiment); leave `min_plddt` out, or if its B-factors are pLDDT give "
                "`predicted=True`"
            )
        low = ~(self.plddt >= min_plddt)  # NaN is not
        left = int((self.resolved & low).sum())
        if not (self.resolved & ~low).any():
            highest = np.nanmax(self.plddt)
            raise InputError(
                f"no residue of {self.id!r} has a pLDDT of {min_plddt:g} or more (the highest is "
                f"{highest:.1f}); lower `min_plddt`"
            )
        note = (
            f"{left:,} of {int(self.resolved.sum()):,} residues have a pLDDT below {min_plddt:g} and "
            "count as not resolved"
        )
        return replace(
            self,
            backbone=np.where(low[:, None, None], np.nan, self.backbone),
            cb=np.where(low[:, None], np.nan, self.cb),
            sg=np.where(low[:, None], np.nan, self.sg),
            notes=(*self.notes, note),
            min_plddt=float(min_plddt),
        )

    @cached_property
    def _bonds_and_letters(self) -> tuple[np.ndarray, str]:
        bonds, letters = secondary.hydrogen_bonds_and_letters(
            self.backbone, self.sequence, self.around, self.around_letters
        )
        return _fixed(bonds), letters

    @property
    def secondary_structure(self) -> str:
        """R letters of DSSP: H E G B I T S, ``-`` coil, ``.`` backbone not complete.

        A strand may pair with one of another chain of the file. In a file of this chain alone, as
        those of TS50 are, there is none, and such a strand is coil.
        """
        return self._bonds_and_letters[1]

    @property
    def secondary_structure_3(self) -> str:
        """R letters: H (H, G, I), E (E, B), C (T, S, coil), ``.`` backbone not complete."""
        return self.secondary_structure.translate(_THREE_STATES)

    @property
    def hydrogen_bonds(self) -> np.ndarray:
        """int64, (n, 2): donor (N-H) and acceptor (C=O), Kabsch-Sander energy < -0.5 kcal/mol.

        Those within the chain; of a donor the two strongest count, in the chain or not.
        """
        return self._bonds_and_letters[0]

    @cached_property
    def strand_partners(self) -> np.ndarray:
        """int64, (n, 2), i < j: pairs of the chain in a beta bridge, parallel or antiparallel (DSSP)."""
        return _fixed(secondary.bridges(self.hydrogen_bonds, secondary.linked(self.backbone)))

    @cached_property
    def disulfides(self) -> np.ndarray:
        """int64, (n, 2), i < j: cysteines whose sulfurs are closer than 2.5 Å."""
        from scipy.spatial.distance import cdist

        close = np.triu(cdist(self.sg, self.sg) < MAX_DISULFIDE, 1)
        return _fixed(np.argwhere(close).astype(np.int64))

    def to_frame(self) -> "pd.DataFrame":
        """Return a table with a row for each residue.

        Returns
        -------
        pandas.DataFrame
            ``residue_number`` (1-based, in the sequence), ``author_number``, ``letter``,
            ``secondary_structure``, ``resolved``, and ``ca_x`` to ``cb_z`` in Å; for a predicted
            structure also ``plddt``.
        """
        import pandas as pd

        columns = {
            "residue_number": np.arange(1, len(self) + 1),
            "author_number": list(self.residue_numbers),
            "letter": list(self.sequence),
            "secondary_structure": list(self.secondary_structure),
            "resolved": self.resolved,
        }
        for name, array in (("ca", self.ca), ("cb", self.cb)):
            columns |= {f"{name}_{axis}": array[:, k] for k, axis in enumerate("xyz")}
        if self.plddt is not None:
            columns["plddt"] = self.plddt
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        many = "residue" if len(self) == 1 else "residues"
        return f"Structure({self.id}: {len(self):,} {many}, {self.resolved.sum():,} resolved)"

    def _confidence_rows(self) -> dict[str, str]:
        if self.plddt is None:
            return {}
        known = self.plddt[np.isfinite(self.plddt)]
        return {
            "pLDDT": f"median {np.median(known):.0f}, {(known < CONFIDENT).sum():,} below {CONFIDENT}"
        }

    def _repr_html_(self) -> str:
        from html import escape

        rows = {
            "residues": f"{len(self):,}, {self.resolved.sum():,} resolved",
            "contacts": f"{int(self.contacts().sum()) // 2:,} pairs, Cβ closer than 8 Å",
            "disulfides": f"{len(self.disulfides):,}",
            **self._confidence_rows(),
            **{f"note {i}": escape(note) for i, note in enumerate(self.notes, 1)},
        }
        body = "".join(f"<tr><th>{k}</th><td>{v}</td></tr>" for k, v in rows.items())
        lines = [
            f"{i + 1:>6,} {text[i : i + 60]}"
            for i in range(0, len(self), 60)
            for text in (self.sequence, self.secondary_structure)
        ]
        return (
            f"<table><caption>{escape(self.id)}</caption>{body}</table>"
            f"<pre>{escape(chr(10).join(lines))}</pre>"
        )


def _fixed(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
