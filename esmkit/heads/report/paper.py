"""One line for each head, for a paper: as a pandas table, and as Markdown and LaTeX."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from esmkit.heads.report.page import Block, Heading, Paragraph, Table, to_markdown
from esmkit.plots.ablation import lead_mode
from esmkit.plots.profiles import family, judged, kinds_of, one_line
from esmkit.plots.protocols import Profile
from esmkit.text import percent, signed

if TYPE_CHECKING:
    import pandas

__all__ = ["head_table", "table_latex", "table_markdown"]

NUMBERS = {
    "share_percent": ("share", 100.0),
    "background_percent": ("background", 100.0),
    "difference_points": ("difference", 100.0),
    "low_points": ("low", 100.0),
    "high_points": ("high", 100.0),
    "q": ("q", 1.0),
}
"""Columns of numbers: the column of the effects they come from, and what its unit is multiplied by."""

HEADER = (
    *("head", "label", "property", "share (%)", "background (%)"),
    *("difference [95% interval] (points)", "q", "support (chains / pairs)"),
)

WITHOUT = {
    "contacts_change_points": ("precision_change", 100.0),
    "contacts_low_points": ("low", 100.0),
    "contacts_high_points": ("high", 100.0),
    "contacts_q": ("q", 1.0),
    "loss_change_nats": ("masked_lm_loss_change", 1.0),
    "loss_low_nats": ("masked_lm_loss_low", 1.0),
    "loss_high_nats": ("masked_lm_loss_high", 1.0),
    "loss_q": ("masked_lm_loss_q", 1.0),
}
"""Columns of what is lost without the head: where they come from, and the unit, as above."""

LOST = {
    "contacts_{}_points": ("P@L without it [95% interval] (points)", 1.0, 1),
    "loss_{}_nats": ("masked-LM loss without it [95% interval] (1/1000 nat)", 1_000.0, 1),
}
"""Cells of what is lost: their columns, header, unit and digits."""

REPEAT = "repeat"
"""Label of heads that copy."""

Q_FLOOR = 1e-9
"""Smaller false discovery rates are not told apart."""

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "\u00d7": r"$\times$",
    "β": r"$\beta$",
    "α": r"$\alpha$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
"""Characters that LaTeX would take for markup, or has no letter for."""


def head_table(profile: Profile, ablation: "pandas.DataFrame | None" = None) -> "pandas.DataFrame":
    """Return one line for each head: what it looks for most, and how sure that is.

    Parameters
    ----------
    profile : HeadProfile
    ablation : pandas.DataFrame, optional
        As :func:`esmkit.heads.ablation.ablate` returns it, with or without the masked-LM loss.

    Returns
    -------
    pandas.DataFrame
        By layer and head: ``name``, ``layer``, ``head``, ``label``; ``property``, the one that the
        label names, or else, fixed offsets left out, the significant one with the largest
        difference; ``share_percent`` and ``background_percent`` of the head's weight between
        residues; ``difference_points`` with its 95 % interval ``low_points`` and ``high_points``,
        percentage points; ``q``, the false discovery rate; ``chains`` with the property and
        ``pairs`` with it in these, the support. A head without a significant property has empty
        cells, and ``reason`` says why. With an ablation also what is lost without the head, set to its
        mean if that was measured: ``contacts_change_points``, of long-range P@L, with its interval
        and ``contacts_q``; and where it was measured ``loss_change_nats``, of the masked-LM loss per
        residue, with its interval and ``loss_q``.

    Examples
    --------
    >>> import pandas
    >>> effects = pandas.DataFrame(
    ...     {"name": ["L0H0"], "layer": 0, "head": 0, "property": "disulfide", "kind": "pair"}
    ...     | {"share": 0.02, "background": 0.001, "difference": 0.019, "low": 0.01}
    ...     | {"high": 0.03, "q": 1e-4, "proteins": 20, "labelled": 80}
    ... )
    >>> heads = effects[["name", "layer", "head"]].assign(label="disulfide", evidence="made up")
    >>> where_from = {"checkpoint": {"name": "made up"}, "chains": ["chain"] * 20}
    >>> profile = esmkit.heads.HeadProfile(effects, heads, where_from)
    >>> head_table(profile)[["name", "property", "share_percent", "chains"]]
       name   property  share_percent  chains
    0  L0H0  disulfide            2.0      20
    """
    import pandas

    kinds, table = kinds_of(profile), profile.heads.sort_values(by=["layer", "head"])
    effects: Any = judged(profile, profile.effects)
    of_head = {str(name): rows for name, rows in effects.groupby("name", sort=False)}
    rows: list[dict[str, Any]] = []
    for facts in table.to_dict("records"):
        name, label = str(facts["name"]), str(facts["label"])
        own: Any = of_head.get(name, effects.iloc[:0])
        found = _copying(profile, name) if label == REPEAT else _top(own, label)
        row = {"name": name, "layer": facts["layer"], "head": facts["head"], "label": label}
        row["property"] = "" if found is None else str(found["property"])
        for column, (source, unit) in NUMBERS.items():
            row[column] = np.nan if found is None else unit * float(found[source])
        support = {"chains": "proteins", "pairs": "labelled"}
        for column, source in support.items():
            row[column] = np.nan if found is None else int(found[source])
        evidence = str(facts["evidence"])
        row["reason"] = "" if found is not None else _why(profile, own, label, evidence, kinds)
        rows.append(row)
    columns = ["name", "layer", "head", "label", "property", *NUMBERS, "chains", "pairs", "reason"]
    found_all = pandas.DataFrame(rows, columns=columns).astype(
        {"chains": "Int64", "pairs": "Int64"}
    )
    return found_all if ablation is None else _with_lost(found_all, ablation)


def _with_lost(table: Any, ablation: Any) -> "pandas.DataFrame":
    """Add what is lost without each head, before the column of reasons."""
    if ablation.empty:
        return table
    of = ablation[ablation["mode"] == lead_mode(ablation["mode"])].set_index("name")
    for column, (source, unit) in WITHOUT.items():
        if source in of and of[source].notna().any():
            table[column] = unit * table["name"].map(of[source])
    return table[[*(name for name in table.columns if name != "reason"), "reason"]]


def _lost(table: Any) -> dict[str, tuple[str, float, int]]:
    """Return the cells of what is lost that a table has."""
    return {name: cell for name, cell in LOST.items() if name.format("change") in table.columns}


def _lost_cells(row: Any, lost: dict[str, tuple[str, float, int]]) -> list[str]:
    cells = []
    for name, (_, unit, digits) in lost.items():
        values = [unit * row.get(name.format(end), np.nan) for end in ("change", "low", "high")]
        value, *ends = ("-" if np.isnan(v) else signed(v, digits) for v in values)
        cells.append(value if "-" in (value, *ends) else f"{value} [{ends[0]}, {ends[1]}]")
    return cells


def _copying(profile: Profile, name: str) -> Any:
    """Return what a head does at repeats as a row of effects; None if that was not measured."""
    table: Any = profile.repeats
    rows = [] if table is None else table[table["name"] == name].to_dict("records")
    if not rows:
        return None
    (of,) = rows
    return {
        "property": "aligned residue of another copy",
        "share": of["repeat_score"],
        "background": of["repeat_control"],
        "difference": of["repeat_difference"],
        "low": of["repeat_difference_low"],
        "high": of["repeat_difference_high"],
        "q": np.nan,
        "proteins": of["sequences"],
        "labelled": of["pairs"],
    }


def _top(rows: Any, label: str) -> Any:
    """Return the significant effect that a label names, or the largest of them; None without any."""
    held = rows[rows["significant"] & (rows["difference"] > 0)]
    named = held[held["property"].isin([label, f"to {label}"])]
    if len(named):
        return named.iloc[0]
    held = held[held["kind"] != "offset"]
    return None if held.empty else held.loc[held["difference"].idxmax()]


def _why(profile: Profile, rows: Any, label: str, evidence: str, kinds: dict[str, str]) -> str:
    """Say why a head has no property."""
    wanted = rows[rows["kind"] != "offset"]
    if wanted["difference"].isna().all():
        why = "no property occurs in enough chains"
    else:
        why = f"no property with q of at most {profile.rules.max_q:g}"
        if (wanted["q"] <= profile.rules.max_q).any():
            why += " that is more than its control explains, or more than expected"
    told = family(label, kinds) in ("position", "sink")
    return f"{why}; {one_line(evidence)}" if told else why


def table_markdown(profile: Profile, table: "pandas.DataFrame") -> str:
    """Return the table of :func:`head_table` as Markdown (GitHub's), with what its columns are.

    Names are escaped.
    """
    lost, rows = _lost(table), []
    for row in table.to_dict("records"):
        cells = _cells(row, _q_text)
        rows.append([*cells, *[""] * (len(HEADER) - len(cells)), *_lost_cells(row, lost)])
    blocks: list[Block] = [
        Heading(1, _title(profile)),
        Paragraph(_caption(profile)),
        Table([*HEADER, *(text for text, *_ in lost.values())], rows),
        *[Paragraph(note) for note in [*_notes(profile), *_lost_notes(lost)]],
    ]
    return to_markdown(blocks)


def table_latex(profile: Profile, table: "pandas.DataFrame") -> str:
    r"""Return the table of :func:`head_table` as LaTeX, for ``\input``: a longtable of booktabs.

    The preamble needs ``\usepackage{booktabs,longtable}``, and a font encoding of today, such as
    ``\usepackage[T1]{fontenc}``.
    """
    last = len(HEADER) - 3
    lost = _lost(table)
    header = [*HEADER, *(text for text, *_ in lost.values())]
    head = " & ".join(_latex(name) for name in header) + r" \\"
    lines = [
        r"% needs \usepackage[T1]{fontenc} and \usepackage{booktabs,longtable}",
        r"\begingroup\small",
        rf"\begin{{longtable}}{{lllrrlll{'l' * len(lost)}}}",
        rf"\caption{{{_latex(_title(profile))}. {_latex(_caption(profile))}}}\label{{tab:heads}}\\",
        *(r"\toprule", head, r"\midrule", r"\endfirsthead"),
        *(r"\toprule", head, r"\midrule", r"\endhead"),
        rf"\midrule\multicolumn{{{len(header)}}}{{r}}{{continued}}\\",
        *(r"\endfoot", r"\bottomrule", r"\endlastfoot"),
    ]
    for row in table.to_dict("records"):
        cells = _cells(row, _q_latex)
        if len(cells) < len(HEADER):
            why = (
                rf"\multicolumn{{{last + 1}}}{{p{{0.6\textwidth}}}}{{\emph{{{_latex(cells[2])}}}}}"
            )
            texts = [*map(_latex, cells[:2]), why]
        else:
            texts = [*map(_latex, cells[:3]), *map(_minus, cells[3:6]), cells[6], cells[7]]
        texts += map(_minus, _lost_cells(row, lost))
        lines.append(" & ".join(texts) + r" \\")
    lines.append(r"\end{longtable}")
    notes = [*_notes(profile), *_lost_notes(lost)]
    lines += [rf"\noindent {_latex(note)}\par" for note in notes]
    return "\n".join([*lines, r"\endgroup"]) + "\n"


def _cells(row: Any, write_q: Any) -> list[str]:
    """Return the cells of a head as text; three, the last of them the reason, without a property."""
    first = [str(row["name"]), one_line(row["label"])]
    if not row["property"]:
        return [*first, str(row["reason"])]
    points = [row[name] for name in ("difference_points", "low_points", "high_points")]
    known = [abs(value) for value in points if not np.isnan(value)]
    digits = 1 if max(known, default=0) >= 1 else 2
    middle, low, high = (signed(value, digits) for value in points)
    interval = "" if np.isnan(points[1]) else f" [{low}, {high}]"
    return [
        *first,
        one_line(row["property"]),
        percent(row["share_percent"] / 100).removesuffix("%"),
        percent(row["background_percent"] / 100).removesuffix("%"),
        middle + interval,
        write_q(row["q"]),
        f"{int(row['chains']):,} / {int(row['pairs']):,}",
    ]


def _q_text(value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"< {Q_FLOOR:g}" if value < Q_FLOOR else f"{value:.1g}"


def _q_latex(value: float) -> str:
    if np.isnan(value):
        return "-"
    if value < Q_FLOOR:
        return r"$<10^{-9}$"
    digit, _, power = f"{value:.0e}".partition("e")
    return f"${value:.1g}$" if int(power) >= -3 else rf"${digit}\times10^{{{int(power)}}}$"


def _minus(text: str) -> str:
    return text.replace("-", "$-$").replace("+", "$+$")


def _latex(text: Any) -> str:
    r"""Return text of one line with what LaTeX would take for markup escaped.

    >>> _latex("100% of L_0 & $x")
    '100\\% of L\\_0 \\& \\$x'
    """
    return "".join(_LATEX.get(character, character) for character in one_line(text))


def _title(profile: Profile) -> str:
    name = one_line(profile.provenance["checkpoint"]["name"])
    return f"What the {len(profile.heads):,} attention heads of {name} look for"


def _caption(profile: Profile) -> str:
    facts, chains = profile.provenance["checkpoint"], profile.provenance["chains"]
    weights = str(facts.get("sha256") or "unknown")[:12]
    text = (
        f"Weights: {one_line(facts['name'])} (SHA-256 {weights}). Measured on {len(chains):,} "
        f"protein chain{'s' * (len(chains) != 1)}"
    )
    if 0 < len(chains) <= 3:
        text += f" ({', '.join(map(one_line, chains))})"
    return text + "; the chains are listed in provenance.json."


def _notes(profile: Profile) -> Sequence[str]:
    """Return what stands below the table: what its columns are, and over what q is taken."""
    over = "over all heads and properties"
    if "family" in profile.effects.columns:
        names = ", ".join(dict.fromkeys(map(str, profile.effects["family"])))
        over = f"over all heads and the properties of one family (families: {names})"
    copied = (
        " Heads that copy: share of the weight of a residue in a segment of random residues that is "
        "written twice, on the aligned residue of the other copy; background: the same between "
        "unrelated halves; support: sequences / pairs; no q."
        if profile.repeats is not None and REPEAT in set(profile.heads["label"])
        else ""
    )
    return (
        "Share: of the head's weight between residues (that on BOS and EOS left out), the part on "
        "pairs with the property. Background: what its weight at each distance along the chain, and "
        "of each query, would put there; for offsets, an even spread. Difference: share less "
        "background, percentage points, with the 95% interval of a bootstrap over chains." + copied,
        f"q: false discovery rate after Benjamini and Hochberg (1995), {over}; properties with q of "
        f"at most {profile.rules.max_q:g} are named: that of the label, or else the one with the "
        "largest difference, fixed offsets left out.",
    )


def _lost_notes(lost: dict[str, tuple[str, float, int]]) -> list[str]:
    """Return what the columns of what is lost are."""
    if not lost:
        return []
    text = "Without it: the head alone is taken away, on some of the chains. Long-range P@L falls where "
    text += "contacts need the head."
    if len(lost) > 1:
        text += " The masked-LM loss, per hidden residue, rises where guessing hidden residues needs it."
    return [text]
