"""Sections of the summary: findings by family, replication, disulfides, caveats and methods."""

from typing import TYPE_CHECKING, Any, cast

from esmkit.heads.judgement import judge, lacks_q
from esmkit.heads.replication import STATES
from esmkit.heads.report.disulfides import within_chains_answer
from esmkit.heads.report.page import Block, Heading, Paragraph, Table
from esmkit.heads.report.repeats import METHOD
from esmkit.heads.statistics import FAMILIES, MIN_ARCS, MIN_PROTEINS
from esmkit.plots.protocols import Profile

if TYPE_CHECKING:
    import pandas

__all__ = ["caveats", "disulfides", "findings", "methods", "replication"]

SHOWN = 5
"""Heads that the table of disulfides within chains shows."""


def findings(profile: Profile) -> list[Block]:
    """Say how many tests each family has, and what came of them."""
    effects: Any = profile.effects
    rules, rows = profile.rules, []
    for kind, family in FAMILIES.items():
        of = effects[(effects["kind"] == kind) & effects["q"].notna()]
        if of.empty:
            continue
        effects_of = of.to_dict("records")
        found = [judge(row, rules) for row in effects_of]
        large = sum(one.holds for one in found), sum(lacks_q(row, rules) for row in effects_of)
        rows.append(
            [
                family,
                f"{of['name'].nunique():,} heads x {of['property'].nunique():,} properties",
                f"{int((of['q'] <= rules.max_q).sum()):,}",
                f"{sum(one.confirmed for one in found):,}",
                *(("", "") if kind == "offset" else (f"{count:,}" for count in large)),
            ]
        )
    if not rows:
        return []
    columns = ["tests of", "tests", f"q of at most {rules.max_q:g}", "confirmed", "of these, large"]
    columns.append("large, but q too high")
    return [
        Heading(2, "Findings, by family of tests"),
        Table(columns, rows),
        Paragraph(
            "Each family is corrected for its own tests. Confirmed: besides, the interval and both "
            "halves of the chains lie above 0. Large, so as to be a label "
            "(a head may have several, and one that goes by distances keeps that label): "
            f"{100 * rules.min_difference:g} points and {rules.min_ratio:g} times the expected share "
            f"by the lower ends of their intervals, or {100 * rules.large_difference:g} points. Heads "
            "that look at a fixed distance are found for that very offset, which is what they are, "
            "not news."
        ),
    ]


def replication(replicated: "pandas.DataFrame | None") -> list[Block]:
    """Say which effects hold in a second set of chains.

    Parameters
    ----------
    replicated : pandas.DataFrame, optional
        As :func:`esmkit.heads.replication.replicate` returns it.
    """
    if replicated is None or replicated.empty:
        return []
    rows, table = [], cast(Any, replicated)
    for state, text in STATES.items():
        for family in FAMILIES.values():
            of = table[(table["state"] == state) & (table["family"] == family)]
            judged = of[of["holds"] != "insufficient"]
            if of.empty:
                continue
            relative = f"{judged['relative'].median():.2f}" if len(judged) else "not known"
            held = int((judged["holds"] == "yes").sum())
            rows.append([f"{text}, {family}", f"{len(of):,}", f"{held:,}", relative])
    labels = table[table["state"] == "label"]
    held = labels[labels["holds"] == "yes"]
    said = f"Labels of a property that hold there: {len(held):,} of {len(labels):,}"
    lost = [
        f"{r['name']} {r['property']}" for r in labels.to_dict("records") if r["holds"] != "yes"
    ]
    said += f" (not: {', '.join(lost)})." if lost else "."
    return [
        Heading(2, "On a second set of chains"),
        Paragraph(
            f"{said} The second set has up to {int(table['other_proteins'].max()):,} chains with a "
            "property, none of which is in the first. An effect holds if its interval there lies "
            "above 0; of effects that are none, 2.5% would."
        ),
        Table(
            ["chosen in the first set", "effects", "hold", "second difference / first, median"],
            rows,
        ),
        Paragraph(
            "That an effect holds says that the head has it on other chains too. It does not say that "
            "it was learnt: a taste for some residues is the same on all chains also in a network "
            "that was not trained. For that there is q."
        ),
    ]


def disulfides(table: "pandas.DataFrame | None", max_q: float) -> list[Block]:
    """Say how well heads tell bonded cysteine pairs from others of the same chain.

    Parameters
    ----------
    table : pandas.DataFrame, optional
        As :func:`esmkit.heads.disulfides.within_chains` returns it.
    max_q : float
        False discovery rate up to which a head counts.
    """
    measured = cast(Any, table)
    if measured is None or not len(measured):
        return []
    found = within_chains_answer(measured, max_q)
    known = measured[measured["auc"].notna()].sort_values(by="auc", ascending=False, kind="stable")
    rows = [
        [
            str(row["name"]),
            f"{row['auc']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
            f"{row['q']:.2g}",
            f"{row['half_a']:.2f}, {row['half_b']:.2f}",
            f"{row['position']:.2f}",
        ]
        for row in known.head(SHOWN).to_dict("records")
    ]
    header = ["head", "AUC [95% interval]", "q", "two halves", "position only"]
    return [
        Heading(2, "Disulfides, within chains"),
        Paragraph(" ".join(found.sentences), f"{found.verdict}."),
        *([Table(header, rows)] if rows else []),
    ]


def caveats(profile: Profile) -> list[str]:
    """Return what keeps the numbers from saying more than they do."""
    effects: Any = profile.effects
    chains, max_q = len(profile.provenance["chains"]), profile.rules.max_q
    counts = []
    for kind, family in FAMILIES.items():
        of = effects[(effects["kind"] == kind) & effects["q"].notna()]
        if len(of):
            counts.append(f"{family}: {int((of['q'] <= max_q).sum()):,} of {len(of):,}")
    if profile.provenance.get("control"):
        meaning = (
            "They stand out from heads of untrained networks of the same shape; if the others of "
            f"their family did not differ from those at all, {100 * max_q:g}% of the findings would "
            "be false."
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
        f"Tests with q of at most {max_q:g}: {', '.join(counts) or 'none'}. {meaning}",
        "Significant is not large: look at the share, and at the difference and its interval.",
        "Properties go together (strands are rich in valine, and pair over contacts): a label names "
        "the one with the largest difference, not the only one.",
    ]


def methods(profile: Profile) -> list[str]:
    """Return how the numbers were made."""
    resamples = profile.provenance.get("resamples", 0)
    control, factor = "no untrained models in this run;", ""
    if profile.provenance.get("control"):
        random = profile.provenance.get("random_models", 0)
        permuted = profile.provenance.get("permuted_models", 0)
        control = (
            f"{_models(random)} of the same shape with random weights, {_models(permuted)} with the "
            "trained weights of each tensor in random order (permuted), and"
        )
        factor = (
            " The variance over shifts is multiplied, for each property, by the mean squared "
            "deviation of the heads of untrained models, random or permuted, whichever is larger "
            "(inflation; Devlin & Roeder 1999)."
        )
    copied: Any = profile.repeats
    return [
        "Share: of the head's weight between resolved residues, the part on pairs with the property "
        "(residues: on pairs whose key has it).",
        "Background: what that would be for a map with the head's own weight at each distance along "
        "the chain (offset, key - query) and of each query, and even beside that; for strong links "
        "with the distances alone. Difference = share - background.",
        "Test: labels are shifted circularly along each chain, all shifts; one-sided for more than "
        f"expected.{factor} q after Benjamini & Hochberg (1995) over the heads x properties of a "
        "family (pairs, residues, offsets; annotations by their kind). Intervals: bootstrap over "
        f"chains, {resamples:,} resamples, 95%.",
        "Sizes, by the lower ends of the intervals of difference and ratio: a trace, slightly more, "
        "a preference, most of its weight (esmkit.heads.judgement). Strong links decide nothing.",
        f"Support: at least {MIN_PROTEINS} chains with the property, and {MIN_ARCS} links of weight "
        "0.3 or more for shares of links; otherwise insufficient. Chains without a property count "
        "for none of its numbers but one: pooled_arc_share is over the links of all chains, as Vig "
        "et al. (2021) define it.",
        *(
            [METHOD.format(sequences=int(copied["sequences"].max()), repeat=profile.rules.repeat)]
            if copied is not None and len(copied)
            else []
        ),
        f"Controls: {control} a head that knows only its mean offsets. Half A: every second chain; "
        "half B: the others. Contacts: Cβ within 8 Å, 24 or more apart (as Rao et al. 2021 for "
        "range).",
    ]


def _models(count: int) -> str:
    return f"{count} model{'s' * (count != 1)}"
