"""Files for molecular viewers that ``esmkit attention`` writes: heads of a file on structures."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from esmkit.attention.hdf5 import AttentionFile
from esmkit.attention.on_structure import MIN_SEPARATION, head_view
from esmkit.encoder.names import head_name, parse_head
from esmkit.errors import OptionError
from esmkit.files.views import ViewFiles, write_view
from esmkit.sequences.proteins import Protein
from esmkit.sequences.sites import GivenSites, parse_sites
from esmkit.structure import Structure
from esmkit.structure.pairing import Pairing

__all__ = ["HeadViews"]


class HeadViews:
    """Views of heads on structures that ``esmkit attention`` writes beside its file of maps.

    Parameters
    ----------
    heads : sequence of str
        Such as ``L5H4``.
    structures : sequence of Structure
    files : ViewFiles
    residues : str, int, list or dict, optional
        Draw only links from or to these.

    Raises
    ------
    OptionError
        If no head is named, or what is named is no head.
    """

    def __init__(
        self,
        heads: Sequence[str],
        structures: Sequence[Structure],
        files: ViewFiles,
        residues: GivenSites | None = None,
    ) -> None:
        names = dict.fromkeys(head_name(*parse_head(head)) for head in heads)
        if not names:
            raise OptionError("name the heads to draw on the structure with `heads`, such as L5H4")
        self._heads = list(names)
        self._structures = structures
        self._files = files
        self._residues = None if residues is None else parse_sites(residues)
        self._numbers: dict[str, tuple[int, ...]] = {}
        self._pairs: list[tuple[str, Structure]] = []

    def check(self, proteins: Iterable[Protein], *, force: bool) -> None:
        """Find the protein of each structure, before anything is computed.

        Raises
        ------
        InputError
            If a structure is of none of the proteins.
        OptionError, OutputError
            See :meth:`esmkit.files.views.ViewFiles.check`.
        """
        self._files.check(self._structures, self._heads, force=force)
        pairing = Pairing(self._structures)
        sequences = {}
        for protein in proteins:
            pairing.look(protein)
            if self._residues:
                sequences[protein.id] = protein.sequence
        if self._residues:
            for name, sites in self._residues.of_each(list(sequences)).items():
                self._numbers[name] = sites.numbers(sequences[name], name)
        self._pairs = [(protein.id, structure) for protein, structure in pairing.pairs()]

    def check_file(self, path: str | Path, *, force: bool) -> None:
        """Do the same with the proteins of an attention file, and find the heads in it."""
        with AttentionFile(path) as found:
            for head in self._heads:
                if head not in found.heads:
                    raise OptionError(
                        f"head {head} is not in {str(path)!r}, which holds {len(found.heads)} "
                        f"head(s), {found.heads[0]} to {found.heads[-1]}"
                    )
            proteins = (Protein(m.id, m.sequence, m.header) for m in found.values())
            self.check(proteins, force=force)

    def write(self, path: str | Path) -> list[str]:
        """Write the views of an attention file, and say what was written.

        Raises
        ------
        InputError, OutputError
            See :func:`esmkit.files.views.write_view`.
        """
        said = []
        structures = [structure for _, structure in self._pairs]
        with AttentionFile(path) as found:
            for head in self._heads:
                paths = self._files.paths(structures, head)
                for (name, structure), of_head in zip(self._pairs, paths, strict=True):
                    view = head_view(
                        *(found[name], head, structure, self._files.count, MIN_SEPARATION),
                        residues=self._numbers.get(name) or None,
                    )
                    said.append(write_view(view, of_head))
        return said
