"""What is lost without a head of what the model was trained to do, in words: the masked-LM loss."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from esmkit.heads.report.page import Block, Heading, Paragraph, Table
from esmkit.plots.ablation import MODE_TEXT, lead_mode
from esmkit.plots.profiles import FAMILIES, family, kinds_of, one_line, specialisation
from esmkit.plots.protocols import Profile
from esmkit.text import signed

__all__ = ["LOSS", "has_loss", "masked_loss"]

LOSS = "masked_lm_loss_change"

ROWS = 8
"""Heads in the table of those that the loss misses most."""

LOOKING = ("pair", "residue", "repeat")
"""Families of labels that say what a head looks for, and not only where."""


def has_loss(ablation: Any) -> bool:
    """Tell whether a table of ablations has the masked-LM loss."""
    return LOSS in ablation and bool(ablation[LOSS].notna().any())


def masked_loss(profile: Profile, ablation: Any) -> list[Block]:
    """Say which heads the loss misses most, and whether those look for something or make contacts.

    Parameters
    ----------
    profile : HeadProfile
    ablation : pandas.DataFrame
        With the columns of :func:`esmkit.heads.masked_loss.loss_without`, or without.

    Returns
    -------
    list of Block
        One sentence if the model has no masked-LM head; nothing if that is not known.
    """
    title = Heading(2, "What the model was trained to do, without the head")
    facts = profile.provenance.get("lm_head", {})
    if not has_loss(ablation):
        if facts is not None:
            return []
        text = (
            "Not measured: this model has no masked-LM head, which guesses hidden residues "
            "(`esmkit score fit` fits one to it)."
        )
        return [title, Paragraph(text)]
    mode = lead_mode(ablation["mode"])
    rows = ablation[(ablation["mode"] == mode) & ablation[LOSS].notna()]
    others = ablation[(ablation["mode"] != mode) & ablation[LOSS].notna()]
    said = [*_first(rows, profile.rules.max_q), *_other_modes(others, rows)]
    lead = f"Masked-LM loss ({MODE_TEXT.get(mode, mode)}):"
    return [
        title,
        Paragraph(" ".join(said), lead),
        _table(profile, rows),
        *_layers(rows),
        Paragraph(" ".join(_agreement(profile, rows)), "Specialised, and needed:"),
        Paragraph(" ".join(_how(rows, facts)), "How it was measured:"),
    ]


def _first(rows: Any, max_q: float) -> list[str]:
    """Name the heads that cost most, and say how many are beyond chance."""
    worst = rows.nlargest(3, LOSS)
    named = "; ".join(f"{row['name']} {_change(row)}" for row in worst.to_dict("records"))
    intact = float((rows["masked_lm_loss"] - rows[LOSS]).iloc[0])
    said = [
        f"The intact model has {intact:.3f} nats per hidden residue (a perplexity of "
        f"{np.exp(intact):.2f}). It rises most without {named} nats; the largest is "
        f"{_perplexity(worst.iloc[0])} in perplexity."
    ]
    if rows["masked_lm_loss_q"].notna().any():
        sure = rows[rows["masked_lm_loss_q"] <= max_q]
        more, less = int((sure[LOSS] > 0).sum()), int((sure[LOSS] < 0).sum())
        said.append(
            f"With a false discovery rate of at most {max_q:g} the loss rises without {more:,} of "
            f"{len(rows):,} heads, and falls without {less:,}; half of all heads change it by less "
            f"than {np.median(np.abs(rows[LOSS])):.4f}."
        )
    return said


def _other_modes(others: Any, rows: Any) -> list[str]:
    said = []
    by_name = rows.set_index("name")[LOSS]
    for mode, found in others.groupby("mode", sort=False):
        worst = found.nlargest(3, LOSS).to_dict("records")
        text = f"With the {MODE_TEXT.get(str(mode), str(mode))} it is " + "; ".join(
            f"{row['name']} {_change(row)}" for row in worst
        )
        rank = _rank_correlation(by_name, found.set_index("name")[LOSS])
        said.append(
            text + (f" (rank correlation of the two {rank:+.2f})." if rank == rank else ".")
        )
    return said


def _table(profile: Profile, rows: Any) -> Table:
    labels = dict(zip(profile.heads["name"], profile.heads["label"], strict=True))
    cells = []
    for row in rows.nlargest(ROWS, LOSS).to_dict("records"):
        points = _interval(row, "precision_change", "low", "high", 100, 1)
        cells.append(
            [
                str(row["name"]),
                one_line(str(labels.get(row["name"], ""))),
                _change(row),
                _perplexity(row),
                "-" if np.isnan(row["masked_lm_loss_q"]) else f"{row['masked_lm_loss_q']:.2g}",
                points,
            ]
        )
    return Table(
        [
            *("without", "label", "loss, nats per residue", "perplexity", "q"),
            "long-range P@L, points",
        ],
        cells,
    )


def _layers(rows: Any) -> list[Block]:
    """Say what all heads of each layer are worth together, beside the sum of each alone."""
    if not {"layer", "layer_loss_change"} <= set(rows) or rows["layer_loss_change"].isna().all():
        return []
    cells = []
    for layer, of in rows.groupby("layer"):
        first = of.iloc[0]
        whole = _interval(first, "layer_loss_change", "layer_loss_low", "layer_loss_high", 1, 3)
        cells.append([f"L{layer}", whole, signed(of[LOSS].sum(), 3), f"{len(of):,}"])
    header = ["layer", "all its heads together, nats", "sum of its heads alone", "heads"]
    return [
        Paragraph(
            "Where all together cost more than the sum, heads stand in for each other when one is "
            "missing; where they cost less, a head alone disturbs what the others say.",
            "Whole layers of attention:",
        ),
        Table(header, cells),
    ]


def _agreement(profile: Profile, rows: Any) -> list[str]:
    """Say whether the three answers name the same heads."""
    said, loss = [], rows.set_index("name")[LOSS]
    chance = 1.96 / np.sqrt(max(len(loss) - 1, 1))
    size = specialisation(profile).fillna(0.0)
    others = {"the largest significant difference of where it looks": size}
    if "precision_change" in rows and rows["precision_change"].notna().any():
        contacts = rows.set_index("name")["precision_change"]
        others["the size of the change of contacts"] = contacts.abs()
        others["what contacts lose (gains count as less than nothing)"] = -contacts
    for text, values in others.items():
        rank = _rank_correlation(loss, values)
        if rank == rank:
            said.append(f"rank correlation of the loss with {text} {rank:+.2f}")
    if said:
        within = f"each alone within {chance:.2f} of 0 may be chance, were heads independent"
        said = [f"Over {len(loss):,} heads: {'; '.join(said)} ({within})."]
    kinds = kinds_of(profile)
    of = {
        str(name): family(str(label), kinds)
        for name, label in zip(profile.heads["name"], profile.heads["label"], strict=True)
    }
    families = loss.index.to_series().map(of)
    means = [
        f"{FAMILIES[name]} {signed(loss[families == name].mean(), 4)} ({int((families == name).sum()):,})"
        for name in FAMILIES
        if (families == name).any()
    ]
    said.append(f"Mean change by what the label is about (heads): {', '.join(means)}.")
    top = loss.nlargest(ROWS).index
    looking = sum(of.get(str(name)) in LOOKING for name in top)
    all_looking = int(families.isin(LOOKING).sum())
    said.append(
        f"With a label of what they look for: {looking} of the {len(top)} heads that cost most, "
        f"{all_looking:,} of all {len(loss):,}."
    )
    return said


def _rank_correlation(one: Any, other: Any) -> float:
    """Return Spearman's coefficient over the heads of both; NaN where one does not vary."""
    import pandas

    both = pandas.concat([one, other], axis=1).dropna()
    return float(both.corr(method="spearman").iloc[0, 1]) if len(both) > 2 else float("nan")


def _how(rows: Any, facts: Mapping[str, Any] | None) -> list[str]:
    whose = "the checkpoint's own masked-LM head"
    if facts and facts.get("source") == "fitted":
        held_out = ", ".join(facts.get("perplexity") or {})
        whose = (
            f"a masked-LM head that was fitted to this encoder afterwards ({facts.get('name')}), and is "
            f"not ESM-2's own: what it cannot read is not seen here. It was fitted to "
            f"{facts.get('trained_on', 'proteins that are not named')}"
            + (f" ({held_out})" if held_out else "")
        )
    hidden, chains = int(rows["masked_lm_residues"].max()), int(rows.get("chains", [0]).max())
    on = f" of {chains:,} chains" if chains else ""
    return [
        f"{hidden:,} residues{on} were hidden once, each together with a seventh of its chain, and "
        f"guessed among the 20 amino acids by {whose}. Intervals are over chains; heads that could be "
        "missed on other proteins, or by other residues than those hidden, are not ruled out."
    ]


def _change(row: Any) -> str:
    return _interval(row, LOSS, "masked_lm_loss_low", "masked_lm_loss_high", 1, 4)


def _perplexity(row: Any) -> str:
    return f"{signed(100 * np.expm1(row[LOSS]), 1)}%"


def _interval(row: Any, name: str, low: str, high: str, unit: float, digits: int) -> str:
    value, *ends = (unit * float(row.get(key, np.nan)) for key in (name, low, high))
    if np.isnan(value):
        return "unknown"
    text = signed(value, digits)
    if np.isnan(ends[0]):
        return text
    return f"{text} [{signed(ends[0], digits)}, {signed(ends[1], digits)}]"
