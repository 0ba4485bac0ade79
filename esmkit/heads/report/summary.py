"""A profile as a folder: tables, figures and a summary that a biologist can read."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from esmkit import plots
from esmkit.errors import MissingDependencyError, OptionError
from esmkit.files.disk import disk_errors, place_of, through_links, write_durably
from esmkit.files.names import FIGURE_FORMATS, check_folder, file_name
from esmkit.files.tables import open_table, write_table
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
from esmkit.heads.report.removal import removal
from esmkit.heads.statistics import MIN_ARCS, MIN_PROTEINS
from esmkit.plots.profiles import FAMILIES, family, kinds_of
from esmkit.plots.protocols import Profile

if TYPE_CHECKING:
    import pandas


__all__ = ["summary", "write_report"]

FIGURES = "figures"
"""The folder of the figures in that of the report."""

LISTED = 3
"""Heads that the summary names for each label, chains left out that it lists."""

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
        Heading(1, f"What the attention heads of {profile.provenance['checkpoint']['name']} see"),
        *_source(profile),
        *[
            Paragraph(
                " ".join(found.sentences),
                f"Does a head see {QUESTIONS[found.property]}? {found.verdict}.",
            )
            for found in answers
        ],
        *_numbers(answers),
        Heading(2, "Labels"),
        _labels(profile, kinds),
    ]
    if ablation is not None and len(ablation):
        blocks += [Heading(2, "Without the head"), *removal(profile, ablation)]
    blocks += [
        Heading(2, "Read with care"),
        Points(_caveats(profile)),
        Heading(2, "Methods"),
        Points(_methods(profile)),
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


def _caveats(profile: Profile) -> list[str]:
    effects: Any = profile.effects
    chains, tests = len(profile.provenance["chains"]), int(effects["q"].notna().sum())
    max_q = profile.rules.max_q
    called = int((effects["q"] <= max_q).sum())
    if profile.provenance.get("control"):
        meaning = (
            "They stand out from heads of untrained networks of the same shape; if the others did "
            f"not differ from those at all, {100 * max_q:g}% of the findings would be false."
        )
    else:
        meaning = (
            "Without the control they stand out from shifted labels only, as many heads of untrained "
            "networks do, by a random taste for amino acids: take q as a description."
        )
    return [
        "Attention is not explanation: where a head looks does not say what the model uses it for "
        "(Jain & Wallace 2019); ablation is the other half of the story.",
        f"One checkpoint and {chains:,} chains. Other weights, sizes and protein families may "
        "differ; intervals cover the choice of chains of this kind, nothing else.",
        f"{tests:,} tests, {called:,} of them with q of at most {max_q:g}. " + meaning,
        "Significant is not large: look at share and ratio.",
        "Properties go together (strands are rich in valine, and pair over contacts): a label names "
        "the strongest, not the only one.",
    ]


def _methods(profile: Profile) -> list[str]:
    resamples = profile.provenance.get("resamples", 0)
    models = profile.provenance.get("random_models", 0)
    control, factor = "no random weights in this run;", ""
    if profile.provenance.get("control"):
        control = f"{models} model{'s' * (models != 1)} of the same shape with random weights, and"
        factor = (
            " The variance over shifts is multiplied, for each property, by the mean squared "
            "deviation of the heads with random weights (inflation; Devlin & Roeder 1999)."
        )
    return [
        "Share: of the head's weight between resolved residues, the part on pairs with the property "
        "(residues: on pairs whose key has it).",
        "Background: what that would be for a map with the head's own weight at each distance along "
        "the chain (offset, key - query) and of each query, and even beside that; for strong links "
        "with the distances alone. Difference = share - background.",
        "Test: labels are shifted circularly along each chain, all shifts; one-sided for more than "
        f"expected.{factor} q after Benjamini & Hochberg (1995) over heads x properties. Intervals: "
        f"bootstrap over chains, {resamples:,} resamples, 95%.",
        f"Support: at least {MIN_PROTEINS} chains with the property, and {MIN_ARCS} links of weight "
        "0.3 or more (Vig et al. 2021) for shares of links; otherwise insufficient. "
        "Chains without a property count for none of its numbers.",
        f"Controls: {control} a head that knows only its mean offsets. Heads are chosen in every "
        "second chain (half A) and judged in the others (half B). Contacts: Cβ within 8 Å, 24 or "
        "more apart (as Rao et al. 2021 for range).",
    ]
