"""``esmkit attention``: FASTA in, per-head attention maps or figures out."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from esmkit.cli.options import (
    PATH,
    ModelChoice,
    attention_layers_option,
    batch_tokens_option,
    default_output,
    heads_option,
    id_option,
    long_option,
    make_say,
    model_options,
    names_list,
    on_invalid_option,
    run_of,
)
from esmkit.cli.stopping import kept
from esmkit.cli.streams import at_terminal
from esmkit.cli.values import Command, is_folder_for_figures, is_input, optional
from esmkit.cli.viewing import head_views, view_options

__all__ = ["command"]

NO_PLOT = "\0no plot"


def _are_reductions(word: str) -> bool:
    """Tell whether a word after ``--reduce`` is its value."""
    from esmkit.attention.options import REDUCTIONS

    return set(word.split(",")) <= {*REDUCTIONS, "all"} or not is_input(word)


@dataclass(frozen=True)
class Drawing:
    """What ``--plot`` and the options of figures ask for.

    Attributes
    ----------
    folder : str
        Empty for the default; :data:`NO_PLOT` if there is nothing to draw.
    options : dict
        Arguments of :class:`esmkit.attention.figure_options.FigureOptions`.
    structures : tuple of str
        Structures of the proteins, FILE or FILE:CHAIN.
    """

    folder: str
    options: dict[str, Any]
    structures: tuple[str, ...]


def figure_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--plot`` and what belongs to it, passed as ``drawing``."""

    @functools.wraps(function)
    def with_drawing(
        *args: Any, plot: str, plot_heads: tuple[str, ...] | None, plot_format: str, **rest: Any
    ) -> Any:
        options: dict[str, Any] = {"heads": plot_heads}
        for name in ("residues", "mark", "zoom", "domains"):
            options[name] = rest.pop(name)
        structures = rest.pop("structures")
        viewed = rest["on_structure"] is not None
        options["structure"] = None if viewed else structures or None
        if plot == NO_PLOT and any(given is not None for given in options.values()):
            plot = ""  # they say what figures show
        options["structure"] = structures or None
        options["kind"] = plot_format
        return function(*args, drawing=Drawing(plot, options, structures), **rest)

    changed: Callable[..., Any] = with_drawing
    for option in (
        click.option(
            "--structure",
            "structures",
            type=PATH,
            multiple=True,
            metavar="FILE[:CHAIN]",
            help="PDB or mmCIF of a protein: its secondary structure and numbers, beside figures, "
            "or with --on-structure what links are drawn on; may be given several times.",
        ),
        click.option(
            "--domains",
            metavar="NAME:A-B,...|FILE",
            help="Strips on figures: kinase:10-120,SH2:130-200, or a table with name,start,end[,id].",
        ),
        click.option("--zoom", metavar="A-B", help="Draw this stretch only, such as 50-120."),
        click.option(
            "--mark", metavar="RESIDUES", help="Mark residues on figures, such as H59,H88."
        ),
        click.option(
            "--residues",
            metavar="RESIDUES",
            help="Draw only links from or to these, also on --structure: 59,88-92 or, of several proteins, P69905:59.",
        ),
        click.option(
            "--plot-format",
            type=click.Choice(["png", "svg", "pdf"]),
            default="png",
            show_default=True,
            help="Format of the figures.",
        ),
        click.option(
            "--plot-heads",
            callback=names_list,
            help="Heads to draw large. [default: the 6 whose far residues look at each other most]",
        ),
        optional(
            "--plot",
            "plot",
            without="",
            takes=is_folder_for_figures,
            default=NO_PLOT,
            metavar="[FOLDER]",
            help="Draw the grid of heads, and some large with their strongest links. "
            "[default: <stem>.attention]",
        ),
    ):
        changed = option(changed)
    return changed


@click.command("attention", cls=Command, short_help="Extract per-head attention maps of proteins.")
@click.argument("fasta", nargs=-1, type=PATH, metavar="[FASTA]...")
@click.option(
    "-o", "--output", type=PATH, help="File to write. [default: <stem>.attention.h5, or .csv]"
)
@heads_option
@attention_layers_option
@figure_options
@view_options
@optional(
    "--reduce",
    "reduce",
    without="all",
    takes=_are_reductions,
    callback=names_list,
    metavar="[NAMES]",
    help="Numbers in place of maps: entropy,distance,special,offsets (any of them), or all. [all]",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["h5", "csv", "tsv", "parquet"]),
    help="Output format. [default: what its name ends in; h5, or csv with --reduce]",
)
@click.option(
    "--store",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Precision of the maps in the file.",
)
@click.option(
    "--max-bytes",
    default="10GB",
    show_default=True,
    help="Refuse maps larger than this before compression, unless --force.",
)
@long_option
@on_invalid_option
@id_option
@batch_tokens_option(2048)
@click.option("--demo", is_flag=True, help="Use the demo protein, ubiquitin, in place of FASTA.")
@click.option("--force", is_flag=True, help="Overwrite outputs, and exceed --max-bytes.")
@click.option("--restart", is_flag=True, help="Throw unfinished work away and begin anew.")
@model_options
def command(
    fasta: tuple[str, ...],
    output: str | None,
    heads: tuple[str, ...] | None,
    layers: tuple[int, ...],
    drawing: Drawing,
    on_structure: tuple[str, ...] | None,
    links: int | None,
    reduce: tuple[str, ...] | None,
    file_format: str | None,
    store: str,
    max_bytes: str,
    long: str,
    on_invalid: str,
    ids: tuple[str, ...],
    batch_tokens: int,
    force: bool,
    restart: bool,
    demo: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Extract the attention maps of proteins (FASTA: plain, .gz, or - for standard input).

    Every head of every layer, residues only, to HDF5; with --reduce a table of numbers instead.
    Without FASTA, on a terminal, the demo protein (ubiquitin) is used; an attention file in its
    place is drawn. A run that is stopped goes on where it was when the same command is given again.
    Residues are numbered from 1 in the sequence as given, in files, tables and figures; letters
    (H59) are checked.

    \b
    Examples:
      esmkit attention --plot
      esmkit attention seqs.fasta --heads L5H4,L4H11
      esmkit attention seqs.attention.h5 --plot figures --plot-heads L5H4
      esmkit attention --demo --plot-heads L5H4 --mark K48,K63 --zoom 40-76 -o K48.h5
      esmkit attention ubiquitin.fasta --heads L5H4 --structure 1ubi.pdb --on-structure -o links.h5
      esmkit attention proteome.fasta --reduce entropy,special -o heads.csv

    Read it back with Python:

    \b
      import esmkit
      esmkit.read("seqs.attention.h5")["P69905"]["L5H4"]
    """
    from esmkit.attention.figure_options import FigureOptions
    from esmkit.attention.options import REDUCTIONS, AttentionOptions
    from esmkit.attention.to_file import attention_file
    from esmkit.files.contents import is_hdf5
    from esmkit.files.names import check_folder, folder_beside
    from esmkit.files.outputs import is_stream
    from esmkit.files.work_folder import was_finishing
    from esmkit.sequences.proteins import read_fasta
    from esmkit.text import parse_bytes

    say = make_say(quiet)
    sources = _sources(fasta, demo=demo, say=make_say(quiet=False))
    if reduce == ("all",):
        reduce = REDUCTIONS
    plotted = drawing.folder != NO_PLOT
    if reduce and (plotted or on_structure):
        raise click.UsageError(
            "--reduce keeps no maps to draw; leave --reduce out, or what is about figures"
        )
    drawn_only = len(sources) == 1 and is_hdf5(sources[0])
    if drawn_only and ids:
        raise click.UsageError("--id picks records out of FASTA; leave it out with an .h5 file")
    if drawn_only:
        target = Path(sources[0])
    else:
        kind = file_format or ("csv" if reduce else "h5")
        target = Path(output) if output else default_output(sources, f".attention.{kind}")
    streamed = is_stream(target)
    folder = Path(drawing.folder) if drawing.folder not in ("", NO_PLOT) else folder_beside(target)
    plotted = plotted or (drawn_only and on_structure is None)
    figures = FigureOptions(**drawing.options) if plotted else None
    views = head_views(
        *(drawing.options["heads"] or heads, drawing.structures, on_structure, links, target, say),
        residues=drawing.options["residues"],
    )

    def draw(*, force: bool, going_on: bool = False) -> None:
        for sentence in views.write(target) if views is not None else ():
            say(sentence)
        if figures is None:
            return
        from tqdm import tqdm

        from esmkit.attention.to_figures import attention_figures

        drawn = attention_figures(target, folder, force=force, going_on=going_on, **figures.given())
        count = sum(1 for _ in tqdm(drawn, "drawing", unit="figure", disable=quiet, delay=1.0))
        say(f"drew {count} figure(s) in {folder}")

    if drawn_only:
        if views is not None:
            views.check_file(target, force=force)
        draw(force=force)
        return
    going_on = was_finishing(target)  # figures of a run that was stopped while it drew them
    if plotted:
        check_folder(folder, "folder", force=force or going_on, beside=target)
    if views is not None:
        proteins = read_fasta(_read_twice(sources), on_invalid=on_invalid, ids=ids or None)  # type: ignore[arg-type]
        views.check(proteins, force=force or going_on)

    def finish() -> None:
        if not streamed:
            say(f"wrote {target}")
        if plotted or views is not None:
            draw(force=force or going_on, going_on=going_on and not force)

    options = AttentionOptions(
        heads,
        layers,
        store,  # type: ignore[arg-type]
        reduce or (),  # type: ignore[arg-type]
        long,  # type: ignore[arg-type]
        on_invalid,  # type: ignore[arg-type]
        batch_tokens,
    )
    with kept(not streamed):
        attention_file(
            model.load,
            sources,
            target,
            options,
            ids=ids or None,
            max_bytes=parse_bytes(max_bytes),
            file_format=file_format,
            figures=figures,
            run=run_of(force=force, restart=restart, quiet=quiet, then=finish),
        )


def _read_twice(sources: tuple[str, ...]) -> list[str]:
    """Return sources that can be read more than once."""
    if "-" in sources:
        raise click.UsageError("to draw on a structure, give a FASTA file in place of -")
    return list(sources)


def _sources(fasta: tuple[str, ...], *, demo: bool, say: Callable[[str], None]) -> tuple[str, ...]:
    """Return the inputs: the demo protein if it was asked for, or nobody named another."""
    if demo and fasta:
        raise click.UsageError("--demo stands in place of FASTA; leave one of the two out")
    if fasta:
        return fasta
    if not demo and not at_terminal():
        raise click.UsageError(
            "name a FASTA file, or - for standard input; `esmkit attention --demo --plot` draws the "
            "demo protein, ubiquitin"
        )
    from esmkit.data import ubiquitin_fasta

    why = "" if demo else "no FASTA given: "
    say(f"{why}using the demo protein, ubiquitin (1UBI_A)")
    return (str(ubiquitin_fasta()),)
