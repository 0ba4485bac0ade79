"""The report of a profile: its words and numbers are those of the tables, whatever they are."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from esmkit import plots
from esmkit.attention.extract import attention
from esmkit.embeddings import writers as exports
from esmkit.errors import InputError, MissingDependencyError, OptionError, OutputError
from esmkit.esm2 import Esm2
from esmkit.files.tables import write_table
from esmkit.heads import card
from esmkit.heads.reading import read_profile
from esmkit.heads.report import page as pages
from esmkit.heads.report import summary as report
from esmkit.heads.report.answers import answer
from esmkit.heads.report.summary import summary, write_report
from esmkit.heads.statistics import Accumulator
from esmkit.sequences.proteins import Protein
from oracles.head_profiles import PAIRS, dots, made_ablation, made_profile

HOSTILE = '<script>alert(1)</script>|**x** [a](http://b) ![c](d) `e`\n# f "&amp;"'


class Reader(HTMLParser):
    """Tags and text of a page; its figures, and whatever it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.said: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def change(profile: Any, name: str, property_name: str, **values: Any) -> None:
    chosen = (profile.effects["name"] == name) & (profile.effects["property"] == property_name)
    assert chosen.sum() == 1
    for column, value in values.items():
        if column not in profile.effects:
            profile.effects[column] = np.nan
        profile.effects.loc[chosen, column] = value


# Files


@pytest.fixture
def few_dots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of the time of a report; here no test looks at them."""
    monkeypatch.setattr("esmkit.heads.report.files._drawn", dots)


def test_report_writes_tables_figures_and_summary(tmp_path: Path):
    profile = made_profile()
    written = write_report(profile, tmp_path / "heads", ablation=made_ablation())
    names = {str(path.relative_to(tmp_path / "heads")) for path in written}
    assert {"effects.csv", "heads.csv", "ablation.csv", "summary.md", "summary.html"} <= names
    assert {"provenance.json", "figures/offsets.png", "figures/properties.png"} <= names
    assert {"figures/ablation.png", "figures/disulfide.png"} <= names
    there = {str(p.relative_to(tmp_path / "heads")) for p in tmp_path.rglob("*") if p.is_file()}
    assert there == names  # nothing unfinished is left
    # of seven properties one, in too few chains, has no grid
    assert len([name for name in names if name.startswith("figures/")]) == 6 + 3
    columns = [f"offset_{offset}" for offset in range(-32, 33)]
    offsets = profile.heads[["name", "layer", "head", *columns]]
    tables = {"effects": profile.effects, "offsets": offsets}
    for name, table in (tables | {"heads": profile.heads.drop(columns=columns)}).items():
        back = pandas.read_csv(tmp_path / "heads" / f"{name}.csv")
        pandas.testing.assert_frame_equal(back, table)
    facts = json.loads((tmp_path / "heads/provenance.json").read_text())
    assert facts["checkpoint"] == profile.provenance["checkpoint"]
    assert facts["left_out"] == []


@pytest.mark.usefixtures("few_dots")
def test_a_property_without_a_hit_has_no_figure_and_the_summary_says_why(tmp_path: Path):
    profile = made_profile()
    change(profile, "L1H2", "disulfide", q=0.06)
    change(profile, "L1H2", "to strand", q=0.2)
    write_report(profile, tmp_path)
    names = {path.stem.split("-")[0] for path in (tmp_path / "figures").iterdir()}
    assert {"disulfide", "to_strand", "rare"}.isdisjoint(names)
    assert {"strand_partner", "cysteine_pair", "offsets", "properties"} <= names
    assert (
        "**No figure of its own:** No head looks there significantly more than expected (q of at "
        "most 0.05): disulfide, to strand. In too few chains to be judged: rare."
    ) in (tmp_path / "summary.md").read_text()
    profile.effects["q"] = 1.0
    write_report(profile, tmp_path / "none")
    assert [path.stem for path in (tmp_path / "none/figures").iterdir()] == ["offsets"]


@pytest.mark.usefixtures("few_dots")
def test_a_folder_reads_back_also_one_of_an_earlier_version(tmp_path: Path):
    profile = made_profile(labels={"L0H0": "NA", "L0H1": "=1+1", "L0H2": "7"})
    profile.left_out.append(("1ABC", "too long"))
    write_report(profile, tmp_path / "new")
    write_report(profile, tmp_path / "old")
    (tmp_path / "old" / "offsets.csv").unlink()
    write_table(tmp_path / "old" / "heads.csv", profile.heads)
    for name in ("new", "old"):
        found = read_profile(tmp_path / name)
        for table in ("effects", "heads"):
            pandas.testing.assert_frame_equal(
                getattr(found, table), getattr(profile, table), check_exact=True
            )
        assert (found.provenance, found.left_out) == (profile.provenance, profile.left_out)
        assert found.rules == profile.rules
        plots.offset_profiles(found)
    (tmp_path / "old" / "effects.csv").write_text("name\nL0H0\n")
    with pytest.raises(InputError, match="is not a folder that `esmkit heads` wrote"):
        read_profile(tmp_path / "old")
    with pytest.raises(InputError, match="there is no folder"):
        read_profile(tmp_path / "nowhere")


@pytest.mark.usefixtures("few_dots")
def test_parquet_holds_the_effects(tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is optional")
    profile = made_profile()
    write_report(profile, tmp_path)
    back = parquet.read_table(tmp_path / "effects.parquet")
    pandas.testing.assert_frame_equal(back.to_pandas(), profile.effects)


@pytest.mark.usefixtures("few_dots")
def test_without_pyarrow_the_summary_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing() -> Any:
        raise MissingDependencyError("no pyarrow")

    monkeypatch.setattr("esmkit.files.tables.import_pyarrow", missing)
    assert exports.import_pyarrow is not missing
    (tmp_path / "effects.parquet").write_bytes(b"of an earlier run")
    written = write_report(made_profile(), tmp_path, force=True)
    assert "effects.parquet" not in {path.name for path in written}
    assert not (tmp_path / "effects.parquet").exists()
    assert "effects.parquet was not written" in (tmp_path / "summary.md").read_text()


@pytest.mark.usefixtures("few_dots")
def test_a_folder_with_something_in_it_needs_force(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty; `force=True` writes into it all the same"):
        write_report(made_profile(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    write_report(made_profile(), tmp_path, force=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    with pytest.raises(OutputError, match="is a file; name a folder"):
        write_report(made_profile(), tmp_path / "mine.txt", force=True)
    with pytest.raises(OptionError, match="figures are png, svg, pdf, not 'gif'"):
        write_report(made_profile(), tmp_path / "new", kind="gif")
    assert not (tmp_path / "new").exists()


def test_a_report_that_fails_leaves_no_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "to_html", fails)
    with pytest.raises(OutputError, match="No space left on device"):
        write_report(made_profile(properties=PAIRS[:2]), tmp_path)
    assert not list(tmp_path.glob("summary*"))
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith((".part", ".tmp"))]


# What it says


def test_a_planted_head_is_the_answer_with_its_numbers():
    found = answer(made_profile(), "long-range contact")
    assert (found.verdict, found.head) == ("A preference, not a detector", "L1H2")
    # planted: share 5 %, background 2 %; half B is 0.9 of that with interval 0.5 to 1.3
    assert found.numbers["half B of the chains: difference [95% interval]"] == (
        "+2.7 points [+1.5, +3.9]"
    )
    assert found.numbers["share of its weight"] == "5.0%"
    assert found.numbers["background, from its offsets and queries in each chain"] == "2.0%"
    assert found.numbers["position only, from its mean offsets"] == "1.8%"
    assert found.numbers["share / background [95% interval]"] == "2.50 [interval not known]"
    assert found.numbers["support"] == "50 chains, 18,000 ordered pairs"
    assert found.numbers["strong links (weight ≥ 0.3) on such pairs"] == "fewer than 100 (50)"
    assert found.numbers["false discovery rate within pairs (Benjamini-Hochberg)"] == "q = 1e-08"
    assert found.sentences[0] == (
        "L1H2 puts 5.0% of its weight between residues on long-range contacts, 2.0% expected from "
        "its distances and queries: +3.0 points [+2.4, +3.6], 2.50 times [interval not known] as "
        "much. The other 95.0% of it is elsewhere."
    )
    assert "q = 1e-08 (within pairs: 8 heads x 5 properties)." in found.sentences[1]
    assert found.sentences[-1] == (
        "Power: 50 chains with 18,000 such pairs in both orders; its interval reaches 0.6 points to "
        "either side, so that a smaller effect of this head would not stand out."
    )


def test_ratios_and_untrained_heads_are_told_if_they_are_known():
    profile = made_profile()
    known = {"ratio_low": 1.61, "ratio_high": 2.9, "permuted": 0.0001, "permuted_limit": 0.00073}
    change(profile, "L1H2", "long-range contact", **known)
    found = answer(profile, "long-range contact")
    assert "2.50 times [1.61, 2.90] as much" in found.sentences[0]
    assert (
        "Of heads with permuted weights, 95% are within ±0.073 points, of heads with random "
        "weights within ±0.01." in found.sentences
    )
    assert found.numbers["permuted weights: difference"] == (
        "+0.01 points (95% of heads within ±0.073)"
    )


@pytest.mark.parametrize("arcs", [0, 62, 99, 100, 250])
def test_strong_links_are_told_but_decide_nothing(arcs: int):
    profile = made_profile()
    enough = {"arc_share": 0.3, "arc_background": 0.02} if arcs >= 100 else {}
    change(profile, "L1H2", "strand partner", arcs=arcs, **enough)
    found = answer(profile, "strand partner")
    assert found.verdict == "A trace"
    text = " ".join(found.sentences)
    if enough:
        assert f"Of its {arcs} strong links (weight of at least 0.3) 30% are such pairs" in text
    else:
        assert f"Its {arcs} strong links (weight of at least 0.3) are too few" in text


@pytest.mark.parametrize(
    ("size", "verdict"),
    [
        ({"low": 0.0049}, "A trace"),
        ({"low": 0.02, "ratio_low": 1.24}, "Slightly more than expected"),
        ({"low": 0.005, "ratio_low": 1.25}, "A preference, not a detector"),
        ({"low": 0.05, "ratio_low": 1.1}, "A preference, not a detector"),
        ({"share": 0.6, "difference": 0.5, "low": 0.4, "ratio_low": 4}, "Most of its weight"),
        (
            {"share": 0.6, "difference": 0.5, "low": 0.39, "ratio_low": 4},
            "A preference, not a detec",
        ),
    ],
)
def test_the_scale_of_words(size: dict[str, float], verdict: str):
    profile = made_profile()
    change(profile, "L1H2", "long-range contact", **size)
    assert answer(profile, "long-range contact").verdict.startswith(verdict)


@pytest.mark.parametrize("label", ["positional", "offset -3"])
def test_what_offsets_explain_is_positional_however_large(label: str):
    profile = made_profile(labels={"L1H2": label})
    change(profile, "L1H2", "helix partner", ratio_low=1.18)
    found = answer(profile, "helix partner")
    assert found.verdict == "Mostly positional"
    assert f"L1H2 is labelled {label}: most of its weight is where its distances" in " ".join(
        found.sentences
    )
    change(profile, "L1H2", "helix partner", ratio=2.0, ratio_low=1.8)
    assert answer(profile, "helix partner").verdict == "Mostly positional"
    # another head that is labelled for the property is the answer, though smaller
    effect = {"share": 0.04, "background": 0.02, "difference": 0.02, "low": 0.015, "ratio_low": 1.5}
    change(profile, "L0H1", "helix partner", q=0.001, half_a=0.02, half_b_low=0.01, **effect)
    assert answer(profile, "helix partner").head == "L0H1"


def test_a_sink_is_called_one():
    found = answer(made_profile(labels={"L1H2": "BOS sink"}), "long-range contact")
    assert found.verdict == "In a sink"
    assert "these shares are of the rest" in " ".join(found.sentences)


@pytest.mark.parametrize(
    ("values", "lacks"),
    [
        ({"q": 0.06}, "q = 0.06 within pairs"),
        ({"half_b_low": -0.001}, "the two halves of the chains do not both show it"),
        ({"half_b_low": np.nan}, "the two halves of the chains do not both show it"),
        ({"q": np.nan}, "q not known within pairs"),
        ({"low": -0.001}, "the lower end of its interval is -0.10 points"),
    ],
)
def test_what_is_not_confirmed_says_what_it_lacks(values: dict[str, float], lacks: str):
    profile = made_profile()
    change(profile, "L1H2", "long-range contact", **values)
    found = answer(profile, "long-range contact")
    assert found.verdict == "None confirmed"
    assert f"That is not confirmed: {lacks}." in found.sentences[1]
    assert "No other head is confirmed either." in found.sentences
    assert "nan" not in " ".join([*found.sentences, *found.numbers.values()])


def test_too_little_data_is_insufficient_and_what_is_missing_not_measured():
    rare = answer(made_profile(), "rare")
    assert (rare.verdict, rare.numbers) == ("Insufficient", {})
    assert rare.sentences == ["3 of the chains have one; fewer than 10 allow no answer."]
    assert answer(made_profile(), "nothing").verdict == "Not measured"


def test_a_head_for_cysteines_is_not_sold_as_one_for_disulfides():
    profile = made_profile()  # planted: 6 times for bonded, 5 times for any two
    found = answer(profile, "disulfide")
    assert "Whether bonded ones have more of it was not measured" in " ".join(found.sentences)
    beyond = {"beyond_control": 1.2, "beyond_control_high": 1.5}
    change(profile, "L1H2", "disulfide", beyond_control_low=0.9, **beyond)
    found = answer(profile, "disulfide")
    assert found.verdict == "Not beyond any cysteine pair"
    text = " ".join(found.sentences)
    assert "on any two cysteines, bonded or not, it puts 5.00 times" in text
    assert "on bonded ones 1.20 times [0.90, 1.50] that, which may be a liking" in text
    assert "More than chance, but not more than on its control: L1H2." in text
    change(profile, "L1H2", "disulfide", beyond_control_low=1.01)
    found = answer(profile, "disulfide")
    assert found.verdict == "A trace"
    assert "1.20 times [1.01, 1.50] that, in the same resampled chains." in " ".join(
        found.sentences
    )


def test_without_the_control_of_cysteines_that_is_said():
    text = " ".join(answer(made_profile(properties=PAIRS[:4]), "disulfide").sentences)
    assert "may be no more than a liking for cysteines" in text


def test_best_in_is_told_if_it_was_counted():
    profile = made_profile()
    assert "Chain by chain" not in " ".join(answer(profile, "long-range contact").sentences)
    change(profile, "L1H2", "long-range contact", best_in=31)
    text = " ".join(answer(profile, "long-range contact").sentences)
    assert "L1H2 is the best of all heads in 31 of 50 chains; no head is in more." in text
    change(profile, "L0H0", "long-range contact", best_in=32)
    text = " ".join(answer(profile, "long-range contact").sentences)
    assert "L0H0 is the best of all heads most often: in 32 of 50 chains (L1H2: 31)." in text


def test_best_in_and_weight_are_counted():
    counted = Accumulator(2, 1)
    for hits in ([0.9, 0.1], [0.8, 0.2], [0.1, 0.3]):
        counted.add(_scores(np.array(hits)), np.array([4]))
    for _ in range(9):
        counted.add(_scores(np.array([0.0, 0.5])), np.array([0]))  # without the property
    for _ in range(7):
        counted.add(_scores(np.array([0.9, 0.1])), np.array([4]))
    effects = counted.effects(resamples=100, seed=0)
    np.testing.assert_array_equal(effects.best_in[:, 0], [9, 1])
    np.testing.assert_allclose(effects.weight[:, 0], [20.0, 20.0])


def _scores(hits: Any) -> Any:
    from esmkit.heads.scores import BlockScores

    one = np.ones((2, 1))
    fields: dict[str, Any] = dict.fromkeys(BlockScores.__dataclass_fields__, one)
    fields |= {"mass": np.array([2.0, 2.0]), "hits": hits[:, None], "expected": 0.1 * one}
    return BlockScores(**{**fields, "arcs": np.array([0, 0])})


def test_summary_warns_of_other_weights_and_counts_labels():
    note = "tiny is not the original ESM-2"
    facts = {"name": "tiny", "official": False, "note": note, "sha256": None}
    profile = made_profile(checkpoint=facts)
    profile.left_out.append(("1ABC", "it has too many residues"))
    text = pages.to_markdown(summary(profile))
    assert f"> **Not the original weights:** {note}." in text
    assert "8 heads in 2 layers, 8 properties, 50 protein chains" in text
    assert "Left out: 1ABC (it has too many residues)." in text
    assert "| a kind of pair | 1 | long-range contact (L1H2) |" in text
    assert "| mixed or insufficient | 7 | mixed (7) |" in text
    assert "nan" not in text.lower().replace("explanation", "")
    assert "Not the original" not in pages.to_markdown(summary(made_profile()))


@pytest.mark.parametrize(
    ("max_q", "called", "false"),
    [(1e-9, (0, 0, 0), "1e-07%"), (0.05, (5, 1, 1), "5%"), (0.7, (40, 8, 8), "70%")],
)
def test_the_summary_goes_by_the_rules_of_its_profile(
    max_q: float, called: tuple[int, int, int], false: str
):
    profile = made_profile(rules={"max_q": max_q})
    text = pages.to_markdown(summary(profile, ablation=made_ablation()))
    pairs, residues, offsets = called
    assert (
        f"Tests with q of at most {max_q:g}: pairs: {pairs} of 40, residues: {residues} of 8, "
        f"offsets: {offsets} of 8." in text
    )
    assert f"all, {false} of the findings would be false" in text
    assert ("**Long-range contacts: none confirmed.**" in text) == (not pairs)
    assert f"| pairs | 8 heads x 5 properties | {pairs} |" in text
    # with one significant head or more the drift can be ranked against their differences
    assert ("Rank correlation of drift" in text) == bool(pairs)


def test_summary_tells_of_ablations():
    text = pages.to_markdown(summary(made_profile(), ablation=made_ablation()))
    for said in (
        "away alone, on 20 chains: its output set to its mean, its map left out of the contact",
        "**Contacts (head set to its mean):** Long-range P@L changes most without L1H2: "
        "-1.0 [-1.5, -0.5] percentage points.",
        "Of 8 heads 1 have an interval below 0, where 0.2 would by chance; with a false discovery "
        "rate of at most 0.05 it is L1H2.",
        "With the head set to zero it is L1H2 -2.0 [-2.5, -1.5];",
        "| L1H2 | -1.0 [-1.5, -0.5] | 0.0 [-0.4, +0.4] | -1.0 [-1.3, -0.7] | -3.0 [-4.0, -2.0] |",
        "Fitted to half of 50 chains and scored on the others, and the other way round, a regression "
        "on all heads has a long-range P@L of 0.130. Without the map of L1H2 it has 0.100 (-3.0 "
        "[-4.0, -2.0] points): the other heads do not make up for it. 1 of 8 heads have a weight in it",
        "**Embeddings (head set to its mean):** The mean embedding moves most without L1H2 0.005;",
        "With the head set to zero it is L0H3 0.1; L1H2 0.01;",
        "Rank correlation of the two over 8 heads:",
    ):
        assert said in text, said
    assert text.index("set to its mean") < text.index("set to zero")


def test_the_summary_says_which_heads_fall_when_set_to_their_means():
    """As two heads of ESM-2 8M do: first and second at zero, 53rd and 70th at the mean."""
    profile = made_profile(6, 20)
    rows = [
        {
            "name": f"L{n // 20}H{n % 20}",
            "mode": mode,
            "precision_change": 0.0,
            "drift_cosine": drift,
        }
        for n in range(120)
        for mode, drift in (("zero", 120.0 - n), ("mean", 120.0 - (n + 60) % 120))
    ]
    text = pages.to_markdown(summary(profile, ablation=pandas.DataFrame(rows)))
    fallen = "L0H0 is number 61, L0H1 is number 62, L0H2 is number 63 of 120"
    assert f"but at its mean {fallen}: most of what zero takes is a constant." in text
    both: Any = pandas.DataFrame(rows).pivot(index="name", columns="mode", values="drift_cosine")
    rank = both.rank().corr().loc["mean", "zero"]
    assert f"Rank correlation of the two over 120 heads: {rank:+.2f}." in text


@pytest.mark.parametrize(
    "change", ["no precision", "no rates", "one mode", "no refit", "one chain"]
)
def test_the_summary_tells_what_a_table_of_ablations_has(change: str):
    table: Any = made_ablation()
    if change == "no precision":
        table[[n for n in table if n.endswith(("change", "low", "high", "q"))]] = np.nan
    elif change == "no rates":
        table = table[["name", "mode", "precision_change", "drift_cosine"]]
    elif change == "one mode":
        table = table[table["mode"] == "zero"]
    elif change == "no refit":
        table[[n for n in table if n.startswith("refit")]] = np.nan
    else:
        table[[n for n in table if n.endswith(("low", "high", "q"))]] = np.nan
    text = pages.to_markdown(summary(made_profile(), ablation=table))
    part = text[text.index("## Without the head") : text.index("## Read with care")]
    assert "nan" not in part
    assert ("P@L changes most" in part) == (change != "no precision")
    assert ("interval below 0" in part) == (change in ("one mode", "no refit"))
    assert ("set to its mean" in part) == (change != "one mode")
    assert ("regression that never knew" in part) == (change in ("one mode", "one chain"))
    assert "The mean embedding moves most without" in part


@pytest.mark.parametrize("shape", [(1, 1), (3, 2)])
def test_profiles_of_other_shapes_and_few_properties(tmp_path: Path, shape: tuple[int, int]):
    profile = made_profile(*shape, properties=PAIRS[:2])
    write_report(profile, tmp_path / "heads", kind="svg")
    text = (tmp_path / "heads/summary.md").read_text()
    assert "**Disulfides: not measured.**" in text
    assert "figures/offsets.svg" in text


def test_offsets_alone_make_a_report(tmp_path: Path):
    write_report(made_profile(properties=PAIRS[-1:]), tmp_path)
    assert (tmp_path / "summary.html").exists()


def test_hostile_names_are_text(tmp_path: Path):
    facts = {"name": HOSTILE, "official": False, "note": HOSTILE, "sha256": None}
    profile = made_profile(checkpoint=facts, rename={"long-range contact": HOSTILE})
    profile.left_out.append((HOSTILE, HOSTILE))
    write_report(profile, tmp_path)
    page = Reader((tmp_path / "summary.html").read_text())
    assert not page.open
    assert "script" not in page.tags
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert "<script>alert(1)</script>" in "".join(page.said)
    text = (tmp_path / "summary.md").read_text()
    assert "<script" not in text.replace("\\<script", "")
    assert not re.search(r"(?<!\\)\]\((?!<figures/)", text)
    assert "\n# f" not in text
    assert "\\|\\*\\*x\\*\\*" in text
    assert all(path.parent == tmp_path / "figures" for path in tmp_path.rglob("*.png"))


def test_the_page_is_whole_in_one_file(tmp_path: Path):
    write_report(made_profile(), tmp_path, ablation=made_ablation())
    text = (tmp_path / "summary.html").read_text()
    page = Reader(text)
    assert page.tags.count("img") == 4 + 3
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    for path in re.findall(r"\]\(<([^>]+)>\)", (tmp_path / "summary.md").read_text()):
        assert (tmp_path / path).is_file()


# One head


def test_card_shows_its_head(tiny: Esm2):
    profile = made_profile()
    shown = profile.head("L1H2")
    assert (shown.label, shown.evidence) == ("long-range contact", "as planted")
    assert list(shown.top["property"])[:2] == ["to strand", "long-range contact"]
    assert len(shown.top) == 6
    row = profile.heads.set_index("name").loc["L1H2"]
    np.testing.assert_array_equal(shown.offset_shares, [row[f"offset_{n}"] for n in shown.offsets])
    text = repr(shown)
    assert text.startswith("L1H2: long-range contact (tiny · 50 chains)")
    assert "5.0%  expected 2.0%  +3.00 points [+2.40, +3.60]  q = 1e-08" in text
    assert Reader(shown._repr_html_()).tags.count("img") == 1
    with_map = profile.head("L1H2", model=tiny, protein="MKTVRQERLKSIV")
    assert with_map.maps is not None
    assert with_map.maps.heads == ("L1H2",)
    assert Reader(with_map._repr_html_()).tags.count("img") == 2


def test_card_refuses_what_does_not_fit(tiny: Esm2):
    profile = made_profile()
    maps = attention(tiny, Protein("P", "MKTVRQERL", "P"), heads=["L0H0"])
    with pytest.raises(OptionError, match="no head 'L7H0' in this profile"):
        profile.head("L7H0")
    with pytest.raises(OptionError, match="do not have head L1H2"):
        profile.head("L1H2", maps=maps)
    with pytest.raises(OptionError, match="maps or a model that computes them, not both"):
        profile.head("L1H2", maps=maps, model=tiny)
    with pytest.raises(OptionError, match="a protein needs the model too"):
        profile.head("L1H2", protein="MKT")


def test_card_without_any_known_effect():
    profile = made_profile(properties=PAIRS[5:6])
    shown = profile.head("L1H2")
    assert shown.top.empty
    assert Reader(shown._repr_html_()).tags.count("img") == 1
    assert card.SHOWN_EFFECTS == 6


def test_profile_shows_itself_and_opens_doors(tmp_path: Path):
    profile = made_profile(labels={"L0H0": "<i>x</i>"})
    text = profile._repr_html_()
    assert "<i>" not in text
    assert text.count("<tr") == 1 + 8
    assert profile.plot("disulfide").get_suptitle().startswith("disulfide")
    assert profile.plot().get_suptitle().startswith("Heads and the properties")
    assert tmp_path / "r/summary.md" in profile.save(tmp_path / "r")


@pytest.mark.parametrize(("scored", "few"), [(5, True), (20, False)])
def test_the_summary_says_where_chains_are_too_few_for_a_rate(scored: int, few: bool):
    """Of 8 heads on 5 chains no single one has a rate below 8 x 2 / 2**5."""
    table = made_ablation().assign(q=0.5, scored=scored)
    text = pages.to_markdown(summary(made_profile(), ablation=table))
    said = ", which 5 chains are too few to show of one head" if few else ""
    assert f"with a false discovery rate of at most 0.05 it is none{said}." in text
