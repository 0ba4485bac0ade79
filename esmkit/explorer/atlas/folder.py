"""The atlas and the folder of ``esmkit heads``: made with it, added to it, read back from it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from esmkit.errors import OutputError
from esmkit.explorer.atlas.page import Atlas, Weights
from esmkit.explorer.atlas.tables import Tables, other_of, read_tables
from esmkit.files.disk import (
    delete,
    delete_folder,
    disk_errors,
    named_place,
    through_links,
    write_durably,
)
from esmkit.files.locks import take_lock
from esmkit.files.run_options import Run
from esmkit.heads.made import add_to_folder, read_made, record
from esmkit.heads.report.files import ATLAS
from esmkit.heads.result import HeadProfile
from esmkit.text import working

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["FolderAtlas", "add_atlas"]


class FolderAtlas:
    """Makes the atlas of a folder while ``esmkit heads`` writes it.

    What needs the model is computed at the first call and kept for the second, when the ablation
    is there.

    Parameters
    ----------
    compare : path, optional
        A finished folder of another model; read at once.
    command : str
        The command line, recorded in the page.

    Raises
    ------
    InputError
        If the folder to compare with is none.
    """

    def __init__(self, compare: str | Path | None = None, *, command: str = "") -> None:
        self._other = None if compare is None else other_of(compare)
        self._command = command
        self._weights: Weights | None = None

    def __call__(
        self,
        profile: HeadProfile,
        model: "Encoder",
        structures: "list[Structure]",
        circuits: "pandas.DataFrame | None",
        ablation: "pandas.DataFrame | None",
    ) -> str:
        """Return the text of the page."""
        from esmkit.explorer.atlas.make import assemble, weights_of

        if self._weights is None:
            self._weights = weights_of(model, profile, structures)
        tables = Tables(profile, ablation, circuits)
        return assemble(tables, self._weights, self._other, command=self._command).to_html()


def add_atlas(
    folder: str | Path,
    model: "Callable[[], Encoder]",
    structures: "Callable[[], list[Structure]]",
    *,
    compare: str | Path | None = None,
    run: Run = Run(),  # noqa: B008 - frozen
) -> Path:
    """Make the atlas of a finished folder from its tables, and put it there.

    Nothing is measured again: the model is run on up to four chains, for their links.

    Parameters
    ----------
    folder : path
        That ``esmkit heads`` wrote.
    model, structures : callable
        Called after the folders have been read; the chains of the profile.
    compare : path, optional
        A finished folder of another model.
    run : Run
        ``force`` replaces a page that is not as a run wrote it; ``command`` is recorded.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If a folder is none of ``esmkit heads``, or model or structures are not those of it.
    OutputError
        If the page cannot be written, or one that somebody changed is in its place.

    See Also
    --------
    esmkit.atlas : A page without a folder.
    """
    folder = through_links(Path(folder))  # PyTorch is loaded when the folders are known to be good
    tables = read_tables(folder)
    other = None if compare is None else other_of(compare)
    chains = structures()

    from esmkit.explorer.atlas.make import assemble, check_model, weights_of

    loaded = model()
    check_model(tables.profile, loaded)
    with working(run.say, "computing matrices, and links of the example chains"):
        page = assemble(
            *(tables, weights_of(loaded, tables.profile, chains), other), command=run.command
        )
    _put(folder, page, force=run.force)
    return folder / ATLAS


def _put(folder: Path, page: Atlas, *, force: bool) -> None:
    """Write the page into a finished folder, and into the list of its files."""
    text = page.to_html().encode()
    made = read_made(folder)
    if made is None:  # of HeadProfile.save, or an earlier version: there is no list of files
        if (folder / ATLAS).exists() and not force:
            raise OutputError(
                f"{str(folder / ATLAS)!r} exists; use `run=Run(force=True)` to replace it"
            )
        with disk_errors(folder):
            write_durably(folder / ATLAS, text)
        return
    real = named_place(folder)
    place = real.with_name(f".{real.name}.atlas")  # of a run that was killed, if it is there
    with disk_errors(folder):
        place.mkdir(exist_ok=True)
        with take_lock(place / "lock", folder / ATLAS) as lock:
            try:
                staged = place / "staged"
                delete(staged)
                staged.mkdir()
                write_durably(staged / ATLAS, text)
                write_durably(staged / "provenance.json", (folder / "provenance.json").read_bytes())
                record(staged, made.identity, made.ablation, made.files)
                add_to_folder(staged, made, force=force)
            finally:
                delete_folder(place, last=("lock",), lock=lock)
