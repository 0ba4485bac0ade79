"""The table for a paper: one line for each head, its numbers those of the effects."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from esmkit.heads.report.paper import head_table, table_latex, table_markdown
from esmkit.heads.report.summary import write_report
from oracles.head_profiles import made_profile

HOSTILE = r"50%_of & $x$ #1 {a} \b ~^<|>"


def change(profile: Any, name: str, property_name: str, **values: Any) -> None:
    chosen = (profile.effects["name"] == name) & (profile.effects["property"] == property_name)
    assert chosen.sum() == 1
    profile.effects.loc[chosen, list(values)] = list(values.values())


def test_one_line_for_each_head_in_order():
    profile = made_profile()
    profile = replace(profile, heads=profile.heads.iloc[::-1])
    change(profile, "L0H3", "to strand", difference=0.04, share=0.29, q=0.03, low=0.01, high=0.07)
    table = profile.table()
    assert list(table["name"]) == [f"L{layer}H{head}" for layer in range(2) for head in range(4)]
    rows = table.set_index("name")
    planted = rows.loc["L1H2"]  # share 5 %, background 2 %, 18,000 pairs in 50 chains
    assert (planted["property"], planted["chains"], planted["pairs"]) == (
        *("long-range contact", 50, 18_000),
    )
    np.testing.assert_allclose(
        planted[["share_percent", "background_percent", "difference_points"]].astype(float),
        [5.0, 2.0, 3.0],
    )
    np.testing.assert_allclose(planted[["low_points", "high_points"]].astype(float), [2.4, 3.6])
    assert planted["q"] == 1e-8
    assert planted["reason"] == ""
    # the label names none, so the significant one with the largest difference
    assert rows.loc["L0H3", "property"] == "to strand"
    assert rows.loc["L0H3", "q"] == 0.03
    for name in set(rows.index) - {"L1H2", "L0H3"}:
        assert rows.loc[name, "reason"] == "no property with q of at most 0.05"
        assert rows.loc[name, "property"] == ""
        assert rows.loc[name, table.columns[5:12]].isna().all()


def test_the_property_is_that_of_the_label():
    """Not that with the largest difference; an offset only if the label is one."""
    profile = made_profile(labels={"L1H2": "strand", "L0H0": "offset -1", "L0H1": "offset +7"})
    change(profile, "L0H0", "offset -1", difference=0.5, share=0.51, q=1e-5)
    change(profile, "L0H2", "offset -1", difference=0.5, share=0.51, q=1e-5)
    rows = profile.table().set_index("name")
    assert rows.loc["L1H2", "property"] == "to strand"
    assert rows.loc["L0H0", "property"] == "offset -1"
    assert rows.loc["L0H2", "reason"] == "no property with q of at most 0.05"
    assert rows.loc["L0H1", "reason"] == "no property with q of at most 0.05; as planted"


def test_less_than_expected_is_no_support_and_too_few_chains_are_told_apart():
    profile = made_profile(rules={"max_q": 0.1})
    change(profile, "L1H2", "long-range contact", difference=-0.03)
    profile.effects.loc[profile.effects["name"] == "L0H0", ["difference", "q"]] = np.nan
    rows = profile.table().set_index("name")
    assert rows.loc["L1H2", "property"] == "to strand"
    assert rows.loc["L0H0", "reason"] == "no property occurs in enough chains"
    assert rows.loc["L0H1", "reason"] == "no property with q of at most 0.1"


@pytest.mark.parametrize("families", [False, True])
def test_the_three_files_say_the_same(tmp_path: Path, families: bool):
    profile = made_profile()
    if families:
        profile.effects["family"] = "pairs"
    else:  # a profile of an earlier version
        profile = replace(profile, effects=profile.effects.drop(columns="family", errors="ignore"))
    write_report(profile, tmp_path)
    table = pandas.read_csv(tmp_path / "table.csv", keep_default_na=False, na_values={"q": ""})
    assert list(table["name"]) == list(profile.heads["name"])
    markdown = (tmp_path / "table.md").read_text()
    latex = (tmp_path / "table.tex").read_text()
    cells = "L1H2 | long-range contact | long-range contact | 5.0 | 2.0 | +3.0 [+2.4, +3.6] | 1e-08"
    assert f"| {cells} | 50 / 18,000 |" in markdown
    assert r"5.0 & 2.0 & $+$3.0 [$+$2.4, $+$3.6] & $1\times10^{-8}$ & 50 / 18,000 \\" in latex
    for text in (markdown, latex.replace("\\", "")):
        assert "tiny (SHA-256 abababababab). Measured on 50 protein chains" in text
        assert "share (%)" in text
        assert "difference [95% interval] (points)" in text
        assert text.count("no property with q of at most 0.05") == 7
        over = "of one family (families: pairs)" if families else "over all heads and properties;"
        assert over in text
    assert sum(reason != "" for reason in table["reason"]) == 7


def test_hostile_names_are_text_in_latex_and_markdown():
    facts = {"name": HOSTILE, "official": True, "sha256": None}
    profile = made_profile(rename={"long-range contact": HOSTILE}, checkpoint=facts)
    text = table_latex(profile, head_table(profile))
    escaped = (
        r"50\%\_of \& \$x\$ \#1 \{a\} \textbackslash{}b \textasciitilde{}\textasciicircum{}"
        r"\textless{}\textbar{}\textgreater{}"
    )
    assert text.count(escaped) == 4  # twice in the caption, label and property of the planted head
    body = text.split(r"\endlastfoot")[1].split(r"\end{longtable}")[0].strip().split("\n")
    assert len(body) == 8
    for line in body:
        cells = re.sub(r"\\&", "", line).count("&") + 1
        assert cells + 5 * (r"\multicolumn{6}" in line) == 8
        assert line.endswith(r" \\")
    # braces close, formulas too, and no character of LaTeX's stands bare
    bare = re.sub(r"\\[\\&%$#_{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[#_~]", re.sub(r"\$[^$]*\$", "", bare.replace("% needs", "")))
    assert "| L1H2 |" in table_markdown(profile, head_table(profile))


def test_best_names_heads_that_have_support_only():
    profile = made_profile()
    assert list(profile.best("long-range contact")["name"]) == ["L1H2"]
    assert profile.best("rare").empty
    every = profile.best("long-range contact", 8, supported=False)
    assert list(every["supported"]) == [True] + [False] * 7
    change(profile, "L0H0", "long-range contact", difference=0.9)  # large, by chance
    assert list(profile.best("long-range contact", 2, supported=False)["name"]) == ["L1H2", "L0H0"]
    assert list(profile.best("long-range contact")["name"]) == ["L1H2"]
