"""Attention maps of one protein: which heads, what can be asked of them, how they are shown."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import as_array, checked, what_is, whole_number
from esmkit.encoder.names import _LAYER_NAME, HeadChoice, head_name, parse_head
from esmkit.errors import OptionError
from esmkit.sequences.sites import GivenSites, parse_stretch, residue_numbers
from esmkit.structure.given import GivenStructure, structure_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from esmkit.structure.given import GivenStructure

__all__ = ["AttentionMaps"]


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Attention maps of one protein, residues only.

    Indexing with a name gives one map: ``maps["L5H4"]``, or ``maps[5, 4]``, is float32 (R, R),
    ``[query, key]``, and ``maps["L5"]`` the maps (h, R, R) of a layer's heads; ``np.asarray(maps)``
    is all of them. Row i holds the weights that residue i gives to every residue; with the mass it
    gives to BOS and EOS they sum to 1. For a protein read in windows, pairs that were never in one
    window are NaN, overlaps are averaged, and rows need not sum to 1.

    Attributes
    ----------
    id, header, sequence : str
        The protein; R residues (fewer than the input if it was truncated).
    choice : HeadChoice
        The n heads that are here, and the shape of the model.
    bos, eos : numpy.ndarray of float32, shape (n, R)
        Mass that each residue sends to the two special tokens.
    windows : int
        In how many windows the protein was read; 1 for any that fits the model.
    checkpoint : str
        Name of the weights.
    get : callable
        Takes a place, 0 to n - 1, and returns that map; a file is read when it is called.

    See Also
    --------
    AttentionFile, esmkit.plots.attention_grid

    Examples
    --------
    >>> maps = esmkit.load().attention("MKTVRQERLKSIVRILERSKEPVSG")    # doctest: +SKIP
    >>> len(maps.heads), maps.heads[0], maps.maps.shape                # doctest: +SKIP
    (120, 'L0H0', (120, 25, 25))
    >>> maps.top(2, head="L5H4", min_separation=6)["head"].tolist()    # doctest: +SKIP
    ['L5H4', 'L5H4']
    >>> maps.layer_mean(5).shape, float(maps.rollout()[0].sum().round(3))  # doctest: +SKIP
    ((25, 25), 1.0)
    """

    id: str
    header: str
    sequence: str
    choice: HeadChoice
    bos: NDArray[np.float32] = field(repr=False)
    eos: NDArray[np.float32] = field(repr=False)
    get: Callable[[int], NDArray[np.float32]] = field(repr=False)
    windows: int = 1
    checkpoint: str = ""

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the n heads, in the order of ``maps``, ``bos`` and ``eos``."""
        return self.choice.names

    @property
    def maps(self) -> NDArray[np.float32]:
        """All maps: float32, (n, R, R), ``[head, query, key]``. A file is read for it."""
        return np.stack([self.get(place) for place in range(len(self))])

    def __len__(self) -> int:
        return len(self.choice.heads)

    def __iter__(self) -> Iterator[str]:
        return iter(self.heads)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return ``maps``, an array of its own each time."""
        if copy is False:
            raise ValueError("the maps are gathered into a new array: copy=False cannot be had")
        return as_array(self.maps, dtype)

    def __getitem__(self, name: str | tuple[int, int]) -> NDArray[np.float32]:
        layer_only = _LAYER_NAME.fullmatch(name) if isinstance(name, str) else None
        if layer_only is None:
            return self.get(self._place(name))
        number = int(layer_only[1])
        places = [place for place, (layer, _) in enumerate(self.choice.heads) if layer == number]
        if not places:
            raise OptionError(f"no head of {name} is here; there are {self._there()}")
        return np.stack([self.get(place) for place in places])

    def _place(self, name: str | tuple[int, int]) -> int:
        head = parse_head(name)
        if head not in self.choice.heads:
            raise OptionError(f"head {head_name(*head)} is not here; there are {self._there()}")
        return self.choice.place(*head)

    def _there(self) -> str:
        names = self.heads
        return ", ".join(names) if len(names) <= 8 else f"{names[0]} to {names[-1]} ({len(names)})"

    def __repr__(self) -> str:
        windows = f", read in {self.windows} windows" if self.windows > 1 else ""
        return (
            f"AttentionMaps({self.id}: {len(self.sequence)} residues, {len(self)} head(s): "
            f"{self._there()}{windows})"
        )

    def top(
        self,
        count: int = 20,
        *,
        head: str | tuple[int, int] | None = None,
        min_separation: int = 0,
        residue: int | str | None = None,
        residues: "GivenSites | None" = None,
        zoom: "str | tuple[int, int] | None" = None,
        structure: "GivenStructure | None" = None,
    ) -> "pandas.DataFrame":
        """Return the strongest pairs.

        Parameters
        ----------
        count : int
            How many rows.
        head : str or pair of int, optional
            The only head to look at; by default all that are here.
        min_separation : int
            Leave out pairs closer than this along the sequence; 6 leaves out neighbours and turns.
        residue, residues : int, str, list, optional
            Only pairs from or to this residue, or one of these: ``59``, ``"H59"``,
            ``"59,88-92"``. See :mod:`esmkit.sequences.sites`.
        zoom : str or (int, int), optional
            Only pairs with both residues in this stretch: ``"50-120"``.
        structure : Structure, or path FILE or FILE:CHAIN, optional
            Structure of the protein, to give the numbers of its authors too.

        Returns
        -------
        pandas.DataFrame
            Columns ``head``, ``query_number`` and ``key_number`` (residue numbers from 1),
            ``query`` and ``key`` (letters), ``separation`` (key - query) and ``weight`` (0 to 1),
            strongest first, ties in the order of head, query and key. With a structure also
            ``query_author_number`` and ``key_author_number``, text such as ``52A``, empty for
            residues that it lacks.

        Raises
        ------
        OptionError, UnknownIdError, InputError
            If a head or a residue is not here, or the structure is of another protein.
        """
        import pandas

        wanted = self._wanted(residue, residues, zoom)
        for option, given, least in (("count", count, 0), ("min_separation", min_separation, 0)):
            number = whole_number(given)
            if number is None or number < least:
                raise OptionError(f"{option} is at least {least}, not {what_is(given)}")
        residues = len(self.sequence)
        far = np.abs(np.subtract.outer(np.arange(residues), np.arange(residues))) >= min_separation
        far &= wanted
        rows: list[tuple[float, int, int, int]] = []
        for place in range(len(self)) if head is None else [self._place(head)]:
            values = np.where(far, self.get(place), np.nan).ravel()
            seen = np.flatnonzero(~np.isnan(values))
            if len(seen) > count > 0:  # ties at the edge stay in, to be cut in a fixed order below
                edge = np.partition(values[seen], len(seen) - count)[len(seen) - count]
                seen = seen[values[seen] >= edge]
            best = seen[np.argsort(-values[seen], kind="stable")][:count]
            rows += [(float(values[i]), place, *divmod(int(i), residues)) for i in best]
            rows = sorted(rows, key=lambda row: (-row[0], row[1:]))[:count]
        table = pandas.DataFrame(
            {
                "head": [self.heads[place] for _, place, _, _ in rows],
                "query_number": [query + 1 for _, _, query, _ in rows],
                "query": [self.sequence[query] for _, _, query, _ in rows],
                "key_number": [key + 1 for _, _, _, key in rows],
                "key": [self.sequence[key] for _, _, _, key in rows],
                "separation": [key - query for _, _, query, key in rows],
                "weight": [weight for weight, _, _, _ in rows],
            }
        )
        if structure is not None:
            from esmkit.structure.numbering import numbering_of

            authors = numbering_of(self.id, self.sequence, structure_of(structure)).authors
            for end in ("query", "key"):
                names = [authors[number - 1] for number in table[f"{end}_number"]]
                table[f"{end}_author_number"] = pandas.Series(names, dtype=object)
        return table

    def _wanted(self, residue: Any, residues: Any, zoom: Any) -> NDArray[np.bool_]:
        """Return which pairs are of residues that were asked for: (R, R), or one value for all."""
        if residue is not None and residues is not None:
            raise OptionError("give `residue` or `residues`, not both; `residues` takes several")
        wanted = np.ones((len(self.sequence), 1), bool)
        for given, option in ((residue, "residue"), (residues, "residues")):
            if given is not None:
                numbers = residue_numbers(given, self.sequence, name=self.id, option=option)
                there = np.zeros(len(self.sequence), bool)
                there[np.subtract(numbers, 1)] = True
                wanted = there[:, None] | there
        if zoom is not None:
            stretch = parse_stretch(zoom).of_each([self.id])[self.id]
            inside = np.zeros(len(self.sequence), bool)
            inside[np.subtract(stretch.numbers(self.sequence, self.id), 1)] = True
            wanted = wanted & inside[:, None] & inside
        return wanted

    def layer_mean(self, layer: int) -> NDArray[np.float32]:
        """Return the mean map of a layer's heads: float32, (R, R)."""
        if whole_number(layer) is None:
            raise OptionError(f"a layer is a whole number, not {what_is(layer)}")
        self._need_whole(layer)
        places = [place for place, (of, _) in enumerate(self.choice.heads) if of == layer]
        total = np.zeros((len(self.sequence), len(self.sequence)), np.float32)
        for place in places:
            total += self.get(place)
        return total / np.float32(len(places))

    def rollout(self) -> NDArray[np.float32]:
        """Return attention rollout: how much of each residue arrives where, through all layers.

        Abnar & Zuidema 2020: the product over layers of (A + I) / 2, where A is the mean map of a
        layer's heads. Taken over residues: BOS and EOS are left out and rows rescaled to 1, for
        what flows through them has no place in the sequence.

        Returns
        -------
        numpy.ndarray of float32, shape (R, R)
            ``[output, input]``, rows summing to 1.

        Raises
        ------
        OptionError
            If a head is missing, or the protein was read in windows.

        References
        ----------
        Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers, arXiv:2005.00928.
        """
        if self.windows > 1:
            raise OptionError(
                f"{self.id!r} was read in {self.windows} windows, and rollout needs every pair; "
                'compute its maps with `long="whole"`'
            )
        flow = np.eye(len(self.sequence))
        for layer in range(self.choice.of_layers):
            mean = self.layer_mean(layer).astype(np.float64)
            flow = (0.5 * mean / mean.sum(1, keepdims=True)) @ flow + 0.5 * flow
        return flow.astype(np.float32)

    def _need_whole(self, layer: int) -> None:
        there = self.choice.by_layer.get(layer, ())
        if len(there) < self.choice.of_heads:
            raise OptionError(
                f"layer {layer} is here with {len(there)} of its {self.choice.of_heads} heads; "
                "layer means and rollout need all of them, so leave `heads` out"
            )

    def plot(
        self,
        head: str | tuple[int, int] | None = None,
        *,
        residues: "GivenSites | None" = None,
        mark: "GivenSites | None" = None,
        zoom: "str | tuple[int, int] | None" = None,
        domains: Any = None,
        structure: "GivenStructure | None" = None,
        path: Any = None,
    ) -> "Figure":
        """Draw the grid of all heads, or one head large.

        See :func:`esmkit.plots.attention_grid` and :func:`esmkit.plots.attention_head`; arcs,
        layer means and rollout are :func:`esmkit.plots.attention_arcs` and
        :func:`esmkit.plots.attention_flow`.

        Parameters
        ----------
        head : str or pair of int, optional
            Such as ``L5H4`` or ``(5, 4)``; by default the grid, or the head if only one is here.
        residues : int, str, list, optional
            Cover all links but those from or to these: ``"59,88-92"``, ``[59, 88]``.
        mark : int, str, list, optional
            Draw lines at these residues: ``"H59,H88"``; letters are checked.
        zoom : str or (int, int), optional
            Show this stretch only: ``"50-120"``.
        domains : str, path, dict or table, optional
            Strips beside one head: ``"kinase:10-120,SH2:130-200"``. See
            :func:`esmkit.sequences.domains.parse_domains`.
        structure : Structure, or path FILE or FILE:CHAIN, optional
            Secondary structure and the authors' residue numbers, beside one head.
        path : path, optional
            Where to save: PNG, SVG or PDF by its extension, 300 dpi.

        Returns
        -------
        matplotlib.figure.Figure

        Examples
        --------
        >>> ubiquitin = esmkit.data.demo_proteins()[0]
        >>> maps = esmkit.load().attention(ubiquitin)                           # doctest: +SKIP
        >>> figure = maps.plot("L5H4", mark="K48,K63", zoom="40-76")            # doctest: +SKIP
        """
        from esmkit import plots

        annotated: Any = {"residues": residues, "mark": mark, "zoom": zoom}
        annotated |= {"domains": domains, "structure": structure}
        if head is None and len(self) == 1:
            head = self.heads[0]
        if head is None:
            return plots.attention_grid(self, path=path, **annotated)
        return plots.attention_head(self, head_name(*parse_head(head)), path=path, **annotated)

    @checked
    def on_structure(
        self,
        head: str | tuple[int, int],
        structure: "GivenStructure",
        path: str | Path,
        *,
        count: int | None = None,
        min_separation: int = 6,
    ) -> Path:
        """Write the strongest links of a head as links on a structure, for a molecular viewer.

        Each link joins the Cβ of two residues (Cα of glycine), the thicker the more attention one
        gives the other: blue if they touch in the structure, vermilion if not.

        Parameters
        ----------
        head : str or pair of int
            Such as ``L5H4`` or ``(5, 4)``.
        structure : Structure, or path FILE or FILE:CHAIN
            Structure of the same protein, in a file that is still there.
        path : path
            The file to write: ``.pml`` is a PyMOL script, ``.cxc`` are ChimeraX commands, ``.mvsx``
            is for Mol* (molstar.org/viewer) and has the structure in it.
        count : int, optional
            How many pairs; by default as many as residues are resolved, but no more than 100.
        min_separation : int
            Leave out pairs closer than this along the sequence.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        OptionError
            If the head is not here, the path ends in something else, or a number is below 1.
        InputError
            If the structure is that of another protein, or its residues have no names by which a
            viewer could find them.

        Examples
        --------
        >>> model, ubiquitin = esmkit.load(), esmkit.data.demo_structure() # doctest: +SKIP
        >>> maps = model.attention(ubiquitin.protein, heads="L5H4")        # doctest: +SKIP
        >>> maps.on_structure("L5H4", ubiquitin, "ubiquitin.pml").name     # doctest: +SKIP
        'ubiquitin.pml'
        """
        from esmkit.attention.on_structure import head_view
        from esmkit.files.views import write_view
        from esmkit.structure.given import structure_of
        from esmkit.structure.views import viewer_of

        for option, given in (("count", count), ("min_separation", min_separation)):
            if given is not None and given < 1:
                raise OptionError(f"`{option}` is at least 1, not {given}")
        viewer_of(path)
        name = head_name(*parse_head(head))
        view = head_view(self, name, structure_of(structure), count, min_separation)
        write_view(view, [Path(path)])
        return Path(path)

    def _repr_html_(self) -> str:
        from html import escape

        from esmkit import plots

        return f"<p>{escape(repr(self))}</p>{plots.inline_html(self.plot())}"
