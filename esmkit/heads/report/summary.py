"""A profile as a folder: tables, figures and a summary that a biologist can read."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit.errors import OptionError
from esmkit.files.disk import disk_errors, through_links, write_durably
from esmkit.files.names import FIGURE_FORMATS, check_folder
from esmkit.files.tables import write_table
from esmkit.heads.report import sections
from esmkit.heads.report.answers import QUESTIONS, Answer, answer
from esmkit.heads.report.files import (
    ATLAS,
    LOSS,
    Shown,
    write_figures,
    write_paper,
    write_tables,
)
from esmkit.heads.report.masked_loss import masked_loss
from esmkit.heads.report.page import (
    Block,
    Figures,
    Heading,
    Link,
    Paragraph,
    Points,
    Table,
    to_html,
    to_markdown,
)
from esmkit.heads.report.removal import removal
from esmkit.heads.report.repeats import repeats
from esmkit.plots.profiles import FAMILIES, family, kinds_of, without_hit
from esmkit.plots.protocols import Profile
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas


__all__ = ["PROVENANCE", "add_ablation", "summary", "write_report"]

PROVENANCE = "provenance.json"
"""Name of the file that says where a report comes from."""

LISTED = 3
"""Heads that the summary names for each label, chains left out that it lists."""

ATLAS_SAID = (
    "All heads, to search and sort:",
    "label and reason of each, where it looks, its strongest links, and what its removal does.",
)

REFERENCES = (
    "Vig et al. 2021, BERTology meets biology, ICLR (arXiv:2006.15222): attention against "
    "properties of proteins, links of at least 0.3.",
    "Rao et al. 2021, Transformer protein language models are unsupervised structure learners, "
    "ICLR: contacts in attention.",
    "Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57:289: false discovery rate.",
    "Devlin & Roeder 1999, Genomic control for association studies, Biometrics 55:997.",
    "Lin et al. 2023, Science 379:1123: ESM-2.",
    "Olsson et al. 2022, In-context learning and induction heads (arXiv:2209.11895): heads that copy.",
    "Jain & Wallace 2019, Attention is not explanation, NAACL (arXiv:1902.10186).",
)


def write_report(
    profile: Profile,
    folder: str | Path,
    *,
    ablation: "pandas.DataFrame | None" = None,
    circuits: "pandas.DataFrame | None" = None,
    kind: str = "png",
    force: bool = False,
    unfinished: str = "",
    atlas: bool = False,
    progress: Say = silent,
) -> list[Path]:
    """Write a profile into a folder: tables, figures, a summary.

    ``effects.csv`` and ``effects.parquet`` (if pyarrow is installed) have a line for each head and
    property, ``heads.csv`` one for each head, ``offsets.csv`` where each looks along the chain;
    ``table.csv``, ``table.md`` and ``table.tex`` are the line of each head for a paper; ``figures/``
    a grid of heads for each property that is no offset and that a head looks for, offset profiles,
    heads that copy (with ``repeats.csv``, if that was measured), and heads beside properties;
    ``summary.md`` and ``summary.html`` (one file, figures included)
    answer in words; ``provenance.json`` says where it comes from. With ablations and circuits,
    their tables too. The summary is written last.

    Parameters
    ----------
    profile : HeadProfile
    folder : path
        Made if need be.
    ablation : pandas.DataFrame, optional
        As :func:`esmkit.plots.ablation_scatter` takes it.
    circuits : pandas.DataFrame, optional
        A table that is written as it is.
    kind : {'png', 'svg', 'pdf'}
        Format of the figures.
    force : bool
        Write into a folder that is not empty, over files of the same name.
    unfinished : str
        What is still to come, for the head of the summary; by default nothing.
    atlas : bool
        Whether ``atlas.html`` will stand beside the summary, so that it names it.
    progress : callable
        Called with the name of each figure before it is drawn.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    OptionError
        If the kind is another.
    OutputError
        If the folder is a file or not empty, or cannot be written.

    See Also
    --------
    esmkit.heads.HeadProfile.save : Calls it.
    esmkit.heads.read_profile : Reads the folder back.
    """
    if kind not in FIGURE_FORMATS:
        raise OptionError(f"figures are {', '.join(FIGURE_FORMATS)}, not {kind!r}")
    folder = through_links(Path(folder))
    check_folder(folder, "folder", force=force, forced="force=True")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        written, notes = write_tables(profile, folder, circuits, ablation)
        if ablation is not None:
            written.append(_write_ablation(folder, ablation))
        figures, shown = write_figures(profile, folder, ablation, kind, progress=progress)
        pages = _write_pages(profile, folder, ablation, shown, notes, unfinished, atlas)
    return [*written, *figures, *pages]


def add_ablation(
    profile: Profile,
    folder: Path,
    ablation: "pandas.DataFrame | None",
    *,
    kind: str,
    notes: list[str],
    atlas: bool = False,
    progress: Say = silent,
) -> list[Path]:
    """Write what an ablation changes in a report: its table, its figures, the paper's, the summary.

    Parameters
    ----------
    profile : HeadProfile
    folder : Path
        Where to write; the files take their places in the report later.
    ablation : pandas.DataFrame, optional
        Without one, the summary alone is written, as of a report that is to have none.
    kind : {'png', 'svg', 'pdf'}
        Format of the figures, as in the report.
    notes : list of str
        Sentences for the end of the summary.
    atlas : bool
        Whether ``atlas.html`` will stand beside the summary, so that it names it.
    progress : callable
        Called with the name of each figure before it is drawn.

    Returns
    -------
    list of Path
        What was written, the summary last but for the provenance.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        if ablation is not None:
            written = [_write_ablation(folder, ablation), *write_paper(profile, folder, ablation)]
        figures, shown = write_figures(
            profile, folder, ablation, kind, only=["ablation", LOSS], progress=progress
        )
        return [
            *written,
            *figures,
            *_write_pages(profile, folder, ablation, shown, notes, "", atlas),
        ]


def _write_ablation(folder: Path, ablation: "pandas.DataFrame") -> Path:
    write_table(folder / "ablation.csv", ablation, "csv")
    return folder / "ablation.csv"


def _write_pages(
    profile: Profile,
    folder: Path,
    ablation: "pandas.DataFrame | None",
    shown: Shown,
    notes: list[str],
    unfinished: str,
    atlas: bool,
) -> list[Path]:
    """Write provenance and summary; return their paths."""
    facts = {**profile.provenance, "left_out": profile.left_out}
    blocks = summary(
        profile,
        ablation=ablation,
        figures=shown,
        notes=notes,
        unfinished=unfinished,
        atlas=atlas,
    )
    title = str(profile.provenance["checkpoint"]["name"])
    written = []
    for name, text in {
        PROVENANCE: json.dumps(facts, indent=1, default=str, ensure_ascii=False) + "\n",
        "summary.md": to_markdown(blocks),
        "summary.html": to_html(blocks, f"Attention heads of {title}"),
    }.items():
        write_durably(folder / name, text.encode("utf-8", "replace"))
        written.append(folder / name)
    return written


def summary(
    profile: Profile,
    *,
    ablation: "pandas.DataFrame | None" = None,
    figures: dict[str, tuple[str, str, str]] | None = None,
    notes: list[str] | None = None,
    unfinished: str = "",
    atlas: bool = False,
) -> list[Block]:
    """Return the summary as blocks of a page; every number in it is from the profile."""
    figures, answers = figures or {}, [answer(profile, name) for name in QUESTIONS]
    kinds = kinds_of(profile)
    blocks: list[Block] = [
        Heading(
            1,
            f"Where the attention of {profile.provenance['checkpoint']['name']} goes, head by head",
        ),
        *([Paragraph(unfinished, "Not finished:", True)] if unfinished else []),
        *_source(profile),
        *([Link(ATLAS, *ATLAS_SAID)] if atlas else []),
        *[
            Paragraph(
                " ".join(found.sentences),
                f"{QUESTIONS[found.property].capitalize()}: {found.verdict[0].lower()}"
                f"{found.verdict[1:]}.",
            )
            for found in answers
        ],
        *_numbers(answers),
        Heading(2, "Labels"),
        _labels(profile, kinds),
        *sections.findings(profile),
        *sections.replication(profile.replication),
        *sections.disulfides(profile.disulfides, profile.rules.max_q),
        *repeats(profile),
    ]
    if ablation is not None and len(ablation):
        blocks += [Heading(2, "Without the head"), *removal(profile, ablation)]
        blocks += masked_loss(profile, ablation)
    blocks += [
        Heading(2, "Read with care"),
        Points(sections.caveats(profile)),
        Heading(2, "Methods"),
        Points(sections.methods(profile)),
        Heading(2, "References"),
        Points(REFERENCES),
        *[Paragraph(note) for note in notes or []],
    ]
    if figures:
        small = [figures[name] for name in QUESTIONS if name in figures]
        large = [
            figures[n]
            for n in ("ablation", LOSS, "repeats", "offsets", "properties")
            if n in figures
        ]
        blocks += [Heading(2, "Figures"), Figures(small, small=True), Figures(large)]
        blocks += _not_drawn(profile)
    return blocks


def _not_drawn(profile: Profile) -> list[Block]:
    """Say which properties have no figure, and why."""
    reasons = without_hit(profile)
    said = []
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name, why in reasons.items() if why == reason]
        said.append(f"{reason}: {', '.join(names)}.")
    return [Paragraph(" ".join(said), "No figure of its own:")] if said else []


def _source(profile: Profile) -> list[Block]:
    facts, chains = profile.provenance["checkpoint"], len(profile.provenance["chains"])
    layers = profile.heads["layer"].nunique()
    blocks: list[Block] = []
    if not facts.get("official"):
        note = facts.get("note") or f"{facts['name']} is not an official ESM-2 checkpoint."
        blocks.append(Paragraph(f"{note}".rstrip(".") + ".", "Not the original weights:", True))
    known = facts.get("sha256") or "unknown"
    text = (
        f"{len(profile.heads):,} heads in {layers} layers, "
        f"{profile.effects['property'].nunique()} properties, {chains:,} protein chains. "
        f"Weights from {facts.get('source', 'an unknown source')}, SHA-256 {str(known)[:12]}."
    )
    if profile.left_out:
        listed = "; ".join(f"{name} ({why})" for name, why in profile.left_out[:LISTED])
        more = len(profile.left_out) - LISTED
        text += f" Left out: {listed}" + (f"; and {more:,} more" if more > 0 else "") + "."
    return [Paragraph(text), *blocks]


def _numbers(answers: list[Answer]) -> list[Block]:
    found = [each for each in answers if each.numbers]
    if not found:
        return []
    rows = [[name, *(each.numbers[name] for each in found)] for name in found[0].numbers]
    return [
        Table(["", *(each.property for each in found)], rows),
        Paragraph(
            "Shares are of the head's weight between residues (weight on BOS and EOS left out); "
            "points are percentage points of it, more than expected if positive."
        ),
    ]


def _labels(profile: Profile, kinds: dict[str, str]) -> Table:
    """Return how many heads carry which label, by family."""
    table: Any = profile.heads
    rows = []
    for key, text in FAMILIES.items():
        labels = table.loc[[family(label, kinds) == key for label in table["label"]], "label"]
        counts = []
        for label, count in labels.value_counts().items():
            names = list(table.loc[table["label"] == label, "name"])
            counts.append(f"{label} ({', '.join(names) if count <= LISTED else count})")
        if counts:
            rows.append([f"{text}", str(len(labels)), ", ".join(counts)])
    return Table(
        ["label is about", "heads", "labels, and the heads with each or their number"], rows
    )
