"""What holds on a second set of chains: chosen in the first, counted by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from esmkit.data import ts50
from esmkit.errors import OptionError
from esmkit.esm2 import Esm2
from esmkit.heads import profile, standard_properties
from esmkit.heads.judgement import judge
from esmkit.heads.replication import replicate
from esmkit.heads.report.page import to_markdown
from esmkit.heads.report.summary import summary, write_report
from oracles.head_profiles import made_profile, small_profile

OTHERS = [f"other{n}" for n in range(20)]


def set_effect(of: Any, name: str, property_name: str, **values: Any) -> None:
    chosen = (of.effects["name"] == name) & (of.effects["property"] == property_name)
    assert chosen.sum() == 1
    for column, value in values.items():
        of.effects.loc[chosen, column] = value


def test_what_holds_does_not_and_cannot_be_said():
    first, second = made_profile(), made_profile(chains=OTHERS)
    set_effect(first, "L0H1", "to strand", low=0.06, difference=0.1, q=0.3, half_a=1, half_b_low=1)
    set_effect(first, "L0H2", "to strand", low=0.06, difference=0.1, q=0.3, half_a=1, half_b_low=-1)
    set_effect(second, "L0H1", "to strand", low=0.01, difference=0.05)
    set_effect(second, "L1H2", "helix partner", low=-0.001)
    set_effect(second, "L1H2", "disulfide", proteins=9, difference=np.nan, low=np.nan)
    table = first.replicates(second)
    assert list(
        zip(table["name"], table["property"], table["state"], table["holds"], strict=True)
    ) == [
        ("L1H2", "long-range contact", "label", "yes"),
        ("L1H2", "helix partner", "confirmed", "no"),
        ("L1H2", "strand partner", "confirmed", "yes"),
        ("L1H2", "disulfide", "confirmed", "insufficient"),
        ("L1H2", "cysteine pair", "confirmed", "yes"),
        ("L1H2", "to strand", "confirmed", "yes"),
        ("L0H1", "to strand", "large", "yes"),
    ]
    large = table.iloc[-1]
    assert (large["difference"], large["other_difference"]) == (0.1, 0.05)
    assert large["relative"] == 0.5
    assert large["family"] == "residues"


def test_the_second_set_has_no_part_in_the_choice():
    """What is large there alone is not in the table."""
    first, second = made_profile(), made_profile(chains=OTHERS)
    set_effect(second, "L0H3", "to strand", low=0.3, difference=0.4, q=1e-9)
    assert "L0H3" not in list(first.replicates(second)["name"])


def test_replication_needs_other_chains_and_the_same_model():
    first = made_profile()
    with pytest.raises(OptionError) as stopped:
        first.replicates(made_profile(chains=["chain7", "chain3", "a", "chain11", "chain12"]))
    assert str(stopped.value) == (
        "4 chains are in both profiles (chain11, chain12, chain3, ...); give a second set with none "
        "of the first"
    )
    facts = {"name": "esm2_t12", "sha256": "cd" * 32}
    with pytest.raises(OptionError) as stopped:
        first.replicates(made_profile(chains=OTHERS, checkpoint=facts))
    assert str(stopped.value) == (
        "the profiles are of two models, tiny and esm2_t12; replication compares one model on two "
        "sets of chains"
    )
    with pytest.raises(OptionError, match="two models, for they have other heads"):
        first.replicates(made_profile(3, 4, chains=OTHERS))
    with pytest.raises(OptionError, match="other of replicates is a HeadProfile, not 'folder'"):
        first.replicates("folder")  # type: ignore[arg-type]


def test_the_report_tells_what_holds(tmp_path: Path):
    first, second = made_profile(), made_profile(chains=OTHERS)
    set_effect(second, "L1H2", "helix partner", low=-0.001)
    found = replace(first, replication=first.replicates(second))
    text = to_markdown(summary(found))
    assert "Labels of a property that hold there: 1 of 1. " in text
    assert "| confirmed effects, pairs | 4 | 3 | 1.00 |" in text
    assert "| labels of a property, pairs | 1 | 1 | 1.00 |" in text
    set_effect(second, "L1H2", "long-range contact", low=0.0)
    lost = to_markdown(summary(replace(first, replication=first.replicates(second))))
    assert "that hold there: 0 of 1 (not: L1H2 long-range contact)." in lost
    assert "second set" not in to_markdown(summary(first))
    write_report(found, tmp_path / "heads")
    back = pandas.read_csv(tmp_path / "heads/replication.csv")
    assert found.replication is not None
    pandas.testing.assert_frame_equal(back, found.replication)


def test_halves_of_a_set_by_plain_code(tiny: Esm2):
    chains = ts50()[:24]
    few = [p for p in standard_properties() if p.name in ("to leucine", "long-range contact")]
    options: Any = {"properties": few, "resamples": 100, "control": False}
    first, second = (profile(tiny, chains[n::2], **options) for n in (0, 1))
    table = replicate(first, second)
    assert len(table) > 0
    wanted = [
        (row["name"], row["property"])
        for row in first.effects.to_dict("records")
        if judge(row).confirmed or judge({**row, "q": 0}).holds
    ]
    assert set(zip(table["name"], table["property"], strict=True)) == set(wanted)
    of = second.effects.set_index(["name", "property"])
    for row in table.to_dict("records"):
        there: Any = of.loc[(row["name"], row["property"])]
        assert row["other_difference"] == there["difference"]
        assert row["holds"] == ("yes" if there["low"] > 0 else "no")


@pytest.mark.parametrize("kept", [False, True])
def test_the_command_repeats_findings_on_a_second_set(
    tiny_folder: Path, tmp_path: Path, kept: bool, monkeypatch: pytest.MonkeyPatch
):
    """From structures, or from a folder that it wrote; the ablation is added beside it."""
    from click.testing import CliRunner

    from esmkit.cli.heads import command
    from esmkit.data import ts50_folder
    from esmkit.heads.reading import read_profile

    small_profile(monkeypatch)
    names = sorted(path.name for path in ts50_folder().glob("*.gz"))[:24]
    for n in (0, 1):
        (tmp_path / f"set{n}").mkdir()
        for name in names[n::2]:
            (tmp_path / f"set{n}" / name).symlink_to(ts50_folder() / name)
    options = ["-m", str(tiny_folder), "--device", "cpu", "--resamples", "100", "--no-ablation"]

    def run(first: int, out: str, *more: str) -> Any:
        where = ["--structures", str(tmp_path / f"set{first}"), "-o", str(tmp_path / out)]
        return CliRunner().invoke(command, [*where, *options, *more])

    second = tmp_path / "set1"
    if kept:
        assert run(1, "second").exit_code == 0
        second = tmp_path / "second"
    done = run(0, "first", "--replicate", str(second))
    assert done.exit_code == 0, done.output
    found = read_profile(tmp_path / "first")
    assert found.replication is not None
    assert set(found.replication["holds"]) <= {"yes", "no", "insufficient"}
    if kept:
        assert list(found.replicates(read_profile(second))["holds"]) == list(
            found.replication["holds"]
        )
    assert "## On a second set of chains" in (tmp_path / "first/summary.md").read_text()
    refused = run(0, "third", "--replicate", str(tmp_path / "set0"))
    assert isinstance(refused.exception, OptionError)
    assert "12 chains are in both profiles" in str(refused.exception)
    assert not (tmp_path / "third").exists()
