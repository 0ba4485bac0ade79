"""What the summary says of heads that copy, and of labels where repeats are left out."""

from typing import Any, cast

import numpy as np

from esmkit.heads.judgement import UNREPEATED, judge
from esmkit.heads.report.page import Block, Heading, Paragraph, Table
from esmkit.plots.protocols import Profile
from esmkit.text import percent, shorten

__all__ = ["METHOD", "repeats"]

SHOWN = 8
"""Heads that the table of copying shows."""

NAMED = 6
"""Chains, or labels, that a sentence names."""

METHOD = (
    "Repeats: {sequences:,} segments of 40 to 80 random residues (frequencies of Swiss-Prot), each "
    "written twice, and as many with an unrelated second half. Repeat score: mean weight from each "
    "residue to the aligned one of the other copy, over both directions, weight on BOS and EOS not "
    "left out; intervals over sequences. A head copies if the lower end of the difference "
    "from unrelated halves is {repeat:g} or more. Real repeats: local alignments of a protein with itself "
    "(Smith & Waterman 1981, BLOSUM62), at most 0.001 by chance in its residues in random order; "
    "weight on the aligned residues of all copies against that on as many of the residues 3 to 10 "
    "before and after them."
)


def repeats(profile: Profile) -> list[Block]:
    """Say which heads copy, and which labels of pairs need repeats.

    Parameters
    ----------
    profile : HeadProfile
        Its ``repeats`` is what ``esmkit heads`` measured, or None.
    """
    blocks = [*_copying(profile), *_again(profile)]
    return [Heading(2, "Repeats"), *blocks] if blocks else []


def _copying(profile: Profile) -> list[Block]:
    table = cast(Any, profile.repeats)
    if table is None or not len(table):
        return []
    labels = dict(zip(profile.heads["name"], profile.heads["label"], strict=True))
    ranked = table.sort_values(by="repeat_score", ascending=False, kind="stable")
    names = [name for name in table["name"] if labels.get(name) == "repeat"]
    other = ranked[~ranked["name"].isin(names)]
    said = (
        f"At the second copy of a segment of random residues {', '.join(names)} "
        f"{'looks' if len(names) == 1 else 'look'} at the aligned "
        "residue of the first, and at the first copy at that of the second."
        if names
        else "No head looks at the aligned residue of another copy."
    )
    if len(other):
        first = other.iloc[0]
        said += f" Of the others, the most is {percent(first['repeat_score'])} ({first['name']})"
        if "permuted_most" in table:
            most = max(float(first["random_most"]), float(first["permuted_most"]))
            said += f"; of the heads of untrained networks {percent(most)}"
        said += "."
    if "real_difference" in table and names:
        own = table[table["name"].isin(names)]
        best = table.sort_values(by="real_difference", ascending=False)["name"].head(len(names))
        again = len(set(best) & set(names))
        said += (
            f" On {int(own['real_proteins'].iloc[0]):,} real proteins with internal repeats, "
            f"{again} of these {len(names)} are among the {len(names)} heads with most weight on "
            "the other copies."
        )
    header = ["head", "repeat score [95% interval]", "unrelated halves", "residue after it"]
    real = "real_difference" in table
    header += ["real repeats", "beside them", "difference [95% interval]"] if real else []
    verdict = f"Heads that copy: {len(names):,} of {len(table):,}."
    rows = [_row(row, real) for row in ranked.head(max(SHOWN, len(names))).to_dict("records")]
    return [Paragraph(said, verdict), Table(header, rows)]


def _row(row: Any, real: bool) -> list[str]:
    cells = [
        str(row["name"]),
        f"{percent(row['repeat_score'])} [{percent(row['repeat_low'])}, "
        f"{percent(row['repeat_high'])}]",
        percent(row["repeat_control"]),
        percent(row["next_score"]),
    ]
    if real:
        ends = f"[{100 * row['real_low']:+.1f}, {100 * row['real_high']:+.1f}]"
        cells += [percent(row["real_weight"]), percent(row["real_background"])]
        cells.append(f"{100 * row['real_difference']:+.1f} points {ends}")
    return cells


def _again(profile: Profile) -> list[Block]:
    """Say which labels hold where repeats are left out."""
    chains = list(profile.provenance.get("repeated", []))
    effects: Any = profile.effects
    if not chains or f"{UNREPEATED}proteins" not in effects.columns:
        return []
    rules = profile.rules
    pairs = effects[(effects["kind"] == "pair") & effects["difference"].notna()]
    judged = [
        (row, judge({**row, f"{UNREPEATED}proteins": np.nan}, rules), judge(row, rules))
        for row in pairs.to_dict("records")
    ]
    held = [row for row, before, _ in judged if before.holds]
    gone = [f"{row['name']} {row['property']}" for row, _, now in judged if now.withdrawn]
    smaller = sum(now.rank < before.rank for _, before, now in judged)
    named = ", ".join(shorten(name, 40) for name in chains[:NAMED])
    more = f" and {len(chains) - NAMED:,} more" if len(chains) > NAMED else ""
    said = (
        f"{len(chains):,} of {len(profile.provenance['chains']):,} chains have stretches that are "
        f"repeated ({named}{more}). With pairs of a residue and its aligned one in another copy, and "
        f"those next to it, left out, {len(held) - len(gone):,} of the {len(held):,} effects of pairs "
        "that are large enough for a label are so still"
    )
    said += f"; withdrawn: {', '.join(gone)}" if gone else ""
    said += f"; {smaller:,} of all effects of pairs are of a smaller size." if smaller else "."
    return [Paragraph(said, "Labels of pairs, tested again without repeats.")]
