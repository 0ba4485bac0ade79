"""Files for molecular viewers beside an output: their names, and that they may be written."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from esmkit.errors import OptionError
from esmkit.files.disk import check_output, disk_errors, write_durably
from esmkit.files.names import FileNames, with_ending
from esmkit.structure.record import Structure
from esmkit.structure.views import VIEWERS, View, render

__all__ = ["ViewFiles", "write_view"]


@dataclass(frozen=True)
class ViewFiles:
    """Which views are written beside an output.

    Attributes
    ----------
    viewers : tuple of str
        Of :data:`esmkit.structure.views.VIEWERS`.
    beside : Path
        The output: ``x.contacts.tsv`` has ``x.contacts.pml`` beside it.
    count : int, optional
        How many links; the default is the task's own.
    """

    viewers: tuple[str, ...]
    beside: Path
    count: int | None = None

    def paths(self, structures: Sequence[Structure], name: str = "") -> list[list[Path]]:
        """Return for each structure the files of its view, one for each viewer.

        Parameters
        ----------
        structures : sequence of Structure
            Of several the ID stands in the names.
        name : str
            Stands last in the names, such as that of a head.
        """
        name_of = FileNames()
        times: Counter[str] = Counter()
        paths = []
        for structure in structures:
            middle = f".{name_of(structure.id)}" if len(structures) > 1 else ""
            times[middle] += 1  # structures of one name in different folders
            middle += f"~{times[middle]}" if times[middle] > 1 else ""
            plain = with_ending(self.beside, "")
            start = plain.name + middle + (f".{name}" if name else "")
            endings = [ending for viewer, ending in VIEWERS.items() if viewer in self.viewers]
            paths.append([plain.with_name(start + ending) for ending in endings])
        return paths

    def check(
        self, structures: Sequence[Structure], names: Sequence[str] = ("",), *, force: bool
    ) -> None:
        """Make sure, before anything is computed, that there is a structure and room for the files.

        Raises
        ------
        OptionError
            If there is no structure, or no link is asked for.
        OutputError
            If a file exists and ``force`` is not set, or cannot be written.
        """
        if not structures:
            raise OptionError("links are drawn on a structure; name one with `structure`")
        if self.count is not None and self.count < 1:
            raise OptionError(f"the number of links is at least 1, not {self.count}")
        for name in names:
            for paths in self.paths(structures, name):
                for path in paths:
                    check_output(path, force=force)


def write_view(view: View, paths: Sequence[Path]) -> str:
    """Write a view for several viewers, and return a sentence on it.

    Raises
    ------
    InputError
        If the structure's file is gone, or a viewer could not find the residues in it.
    OutputError
        If a file cannot be written.
    """
    for path in paths:
        content = render(view, path)
        with disk_errors(path):
            write_durably(path, content)
    touching = sum(view.touching)
    many = "link" if len(view.links) == 1 else "links"
    said = [
        f"wrote {', '.join(str(path) for path in paths)}: {len(view.links):,} {many} on "
        f"{view.structure.id}, {touching:,} of them between residues that touch"
    ]
    return "; ".join([*said, *(text.rstrip(".") for text in view.lacking)])
