"""A profile as a folder: tables, figures and a summary that a biologist can read."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from esmkit import plots
from esmkit.errors import MissingDependencyError, OptionError
from esmkit.files.disk import disk_errors, place_of, through_links, write_durably
from esmkit.files.names import FIGURE_FORMATS, check_folder, file_name
from esmkit.files.tables import open_table, write_table
from esmkit.heads.report import sections
from esmkit.heads.report.answers import QUESTIONS, Answer, answer
from esmkit.heads.report.page import (
    Block,
    Figures,
    Heading,
    Paragraph,
    Points,
    Table,
    to_html,
    to_markdown,
)
from esmkit.plots.profiles import FAMILIES, family, kinds_of, specialisation
from esmkit.plots.protocols import Profile
from esmkit.text import signed

if TYPE_CHECKING:
    import pandas


__all__ = ["summary", "write_report"]

FIGURES = "figures"
"""The folder of the figures in that of the report."""

LISTED = 3
"""Heads that the summary names for each label and mode of ablation, chains left out that it lists."""

REFERENCES = (
    "Vig et al. 2021, BERTology meets biology, ICLR (arXiv:2006.15222): attention against "
    "properties of proteins, links of at least 0.3.",
    "Rao et al. 2021, Transformer protein language models are unsupervised structure learners, "
    "ICLR: contacts in attention.",
    "Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57:289: false discovery rate.",
    "Devlin & Roeder 1999, Genomic control for association studies, Biometrics 55:997.",
    "Lin et al. 2023, Science 379:1123: ESM-2.",
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
) -> list[Path]:
    """Write a profile into a folder: tables, figures, a summary.

    ``effects.csv`` and ``effects.parquet`` (if pyarrow is installed) have a line for each head and
    property, ``heads.csv`` one for each head; ``figures/`` a grid of heads for each property that
    is no offset, offset profiles, and heads beside properties; ``summary.md`` and ``summary.html``
    (one file, figures included) answer in words; ``provenance.json`` says where it comes from. With
    ablations and circuits, their tables too. The summary is written last.

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
    """
    if kind not in FIGURE_FORMATS:
        raise OptionError(f"figures are {', '.join(FIGURE_FORMATS)}, not {kind!r}")
    folder = through_links(Path(folder))
    check_folder(folder, "folder", force=force, forced="force=True")
    with disk_errors(folder):
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        written, notes = _write_tables(profile, folder, ablation, circuits)
        shown: dict[str, tuple[str, str, str]] = {}
        for name, figure in _figures(profile, ablation):
            path = folder / FIGURES / f"{file_name(name)}.{kind}"
            plots.save(figure, path)
            written.append(path)
            if name in (*QUESTIONS, "offsets", "properties", "ablation"):
                title = figure.get_suptitle()
                shown[name] = (title, f"{FIGURES}/{path.name}", plots.inline_html(figure))
        facts = {**profile.provenance, "left_out": profile.left_out}
        blocks = summary(profile, ablation=ablation, figures=shown, notes=notes)
        title = str(profile.provenance["checkpoint"]["name"])
        for name, text in {
            "provenance.json": json.dumps(facts, indent=1, default=str, ensure_ascii=False) + "\n",
            "summary.md": to_markdown(blocks),
            "summary.html": to_html(blocks, f"Attention heads of {title}"),
        }.items():
            write_durably(folder / name, text.encode("utf-8", "replace"))
            written.append(folder / name)
    return written


def _write_tables(
    profile: Profile,
    folder: Path,
    ablation: "pandas.DataFrame | None",
    circuits: "pandas.DataFrame | None",
) -> tuple[list[Path], list[str]]:
    tables = {"effects": profile.effects, "heads": profile.heads}
    tables |= {"ablation": ablation} if ablation is not None else {}
    tables |= {"circuits": circuits} if circuits is not None else {}
    for name, table in (("replication", profile.replication), ("disulfides", profile.disulfides)):
        tables |= {name: table} if table is not None else {}
    written, notes = [], []
    for name, table in tables.items():
        path = folder / f"{name}.csv"
        write_table(path, table, "csv")
        written.append(path)
    path = place_of(folder / "effects.parquet")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open_table("parquet", unfinished, profile.provenance) as writer:
            writer.add(profile.effects)
        unfinished.replace(path)
        written.append(path)
    except MissingDependencyError:
        notes.append(
            "effects.parquet was not written, for pyarrow is not installed "
            "(pip install 'esmkit[parquet]'); effects.csv holds the same."
        )
        path.unlink(missing_ok=True)  # one of an earlier run would contradict effects.csv
    finally:
        unfinished.unlink(missing_ok=True)
    return written, notes


def _figures(profile: Profile, ablation: "pandas.DataFrame | None") -> Any:
    """Yield name and figure, one after the other, so that they never all lie in memory."""
    kinds = kinds_of(profile)
    looked_for = [name for name, kind in kinds.items() if kind != "offset"]
    for name in looked_for:
        yield name, plots.property_grid(profile, name)
    yield "offsets", plots.offset_profiles(profile)
    if looked_for:
        yield "properties", plots.property_map(profile)
    if ablation is not None and _has_numbers(ablation):
        figure: Figure = plots.ablation_scatter(profile, ablation)
        yield "ablation", figure


def _has_numbers(ablation: Any) -> bool:
    return bool(ablation[["precision_change", "drift_cosine"]].notna().to_numpy().any())


def summary(
    profile: Profile,
    *,
    ablation: "pandas.DataFrame | None" = None,
    figures: dict[str, tuple[str, str, str]] | None = None,
    notes: list[str] | None = None,
) -> list[Block]:
    """Return the summary as blocks of a page; every number in it is from the profile."""
    figures, answers = figures or {}, [answer(profile, name) for name in QUESTIONS]
    kinds = kinds_of(profile)
    blocks: list[Block] = [
        Heading(
            1,
            f"Where the attention of {profile.provenance['checkpoint']['name']} goes, head by head",
        ),
        *_source(profile),
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
        *sections.disulfides(profile.disulfides),
    ]
    if ablation is not None and len(ablation):
        blocks += [Heading(2, "Without the head"), *_ablation(profile, ablation)]
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
        large = [figures[n] for n in ("ablation", "offsets", "properties") if n in figures]
        blocks += [Heading(2, "Figures"), Figures(small, small=True), Figures(large)]
    return blocks


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


def _ablation(profile: Profile, ablation: Any) -> list[Block]:
    """Say which heads cost most when taken away, and whether those are the specialised ones."""
    blocks: list[Block] = []
    size = specialisation(profile).fillna(0.0)
    names = {"zero": "set to zero", "mean": "set to its mean"}
    for mode, rows in ablation.groupby("mode", sort=False):
        said = []
        scored = rows[rows["precision_change"].notna()]
        if len(scored):
            worst = scored.nsmallest(LISTED, "precision_change")
            listed = "; ".join(
                f"{r['name']} {signed(100 * r['precision_change'], 1)}"
                + (
                    f" [{signed(100 * r['low'], 1)}, {signed(100 * r['high'], 1)}]"
                    if "low" in rows.columns and not np.isnan(r["low"])
                    else ""
                )
                for _, r in worst.iterrows()
            )
            said.append(f"long-range P@L changes most for {listed} (percentage points).")
        drift = rows[rows["drift_cosine"].notna()].nlargest(LISTED, "drift_cosine")
        if len(drift):
            listed = "; ".join(f"{r['name']} {r['drift_cosine']:.2g}" for _, r in drift.iterrows())
            said.append(f"The mean embedding moves most without {listed} (1 - cosine).")
        both = rows[rows["name"].isin(size.index) & rows["drift_cosine"].notna()]
        if len(both) > 2 and both["name"].map(size).nunique() > 1:
            rank = both["name"].map(size).corr(both["drift_cosine"], method="spearman")
            if not np.isnan(rank):
                said.append(
                    "Rank correlation of drift with the head's largest significant difference: "
                    f"{rank:+.2f}."
                )
        blocks.append(Paragraph(" ".join(said), f"Head {names.get(str(mode), str(mode))}:"))
    return blocks
