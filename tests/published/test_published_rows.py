"""What is published, the verdicts, and the table."""

import json

import numpy as np
import pandas
import pytest

import esmkit
from esmkit.contacts.evaluation import PUBLISHED
from esmkit.encoder.checkpoints.known import OFFICIAL
from esmkit.errors import InputError, OptionError, VerificationError
from esmkit.published import Reproduction
from esmkit.published.known import (
    CLAIMS,
    SETS,
    SIZES,
    check_chains,
    choose_claims,
    needs_chains,
    size_of,
)
from esmkit.published.rows import judge, not_run


def claim(name: str):
    return choose_claims([name])[0]


def test_the_sizes_are_those_of_the_checkpoints_esmkit_knows():
    for checkpoint in OFFICIAL.values():
        size, _, shape = checkpoint.size.partition(": ")
        layers, heads, width = (int("".join(filter(str.isdigit, p))) for p in shape.split(","))
        assert size_of(layers, heads, width) == size
    assert size_of(2, 4, 32) is None


def test_contact_values_are_those_that_evaluate_names():
    values = claim("contacts-large-valid").values
    for repo, value in PUBLISHED.items():
        assert values[repo.split("_")[2]] == value
    assert list(values) == list(SIZES.values())


def test_every_result_has_a_source_and_known_data():
    assert len({c.name for c in CLAIMS}) == len(CLAIMS)
    for each in CLAIMS:
        assert set(each.values) <= set(SIZES.values())
        assert each.on in SETS
        assert each.source
        assert each.protocol
        assert "8M" in each.values


@pytest.mark.parametrize(
    ("own", "low", "high", "other", "verdict"),
    [
        (0.25, 0.23, 0.27, [], "reproduced"),
        (0.26, 0.249, 0.28, [], "reproduced"),  # an end counts
        (0.26, 0.2494, 0.28, [], "reproduced"),  # 0.249 may be 0.2494
        (0.26, 0.2496, 0.28, [], "differs"),
        (0.2, 0.18, 0.2486, [], "reproduced"),
        (0.2, 0.18, 0.2484, [], "differs"),
        (0.25, 0.23, 0.27, ["other weights"], "not comparable"),
        (0.2, 0.18, 0.22, ["other weights"], "not comparable"),
    ],
)
def test_verdicts(own: float, low: float, high: float, other: list[str], verdict: str):
    row = judge(claim("head-L5H4"), "8M", own, low, high, on="200 chains", other=other)
    assert row.verdict == verdict
    assert row.published == 0.249
    assert (row.published_low, row.published_high) == (0.232, 0.268)
    assert row.inside == (low <= 0.249 <= high)
    if other:
        assert row.because == "other weights"


def test_what_is_not_run_has_no_value_and_is_inside_nothing():
    row = not_run(claim("proteingym"), None, "a masked-LM head")
    assert (row.own, row.published, row.inside) == (None, None, None)
    assert row.because == "missing: a masked-LM head"


def some() -> Reproduction:
    rows = [
        judge(claim("head-L5H4"), "8M", 0.18, 0.15, 0.21, on="200 chains"),
        judge(claim("three-heads"), "8M", 0.27, 0.25, 0.29, on="200 chains"),
        judge(claim("golden-states"), "8M", 3e-5, -7e-5, 13e-5, on="11 tokens"),
        not_run(claim("contacts-casp14"), "8M", "CASP14"),
        not_run(claim("contacts-cameo"), "8M", "CAMEO"),
    ]
    return Reproduction({"name": "mine"}, rows)


def test_the_table_as_text_markdown_json_html_and_frame():
    found = some()
    lines = found.to_text().splitlines()
    assert lines[0].split() == [
        "verdict",
        "result",
        "published",
        *["own", "[95", "%", "interval]", "on", "because"],
    ]
    assert "0.249 [0.232, 0.268]  0.180 [0.150, 0.210]" in lines[1]
    assert "0.2745" in lines[2]
    assert "9 values" in lines[3]
    assert "3.0e-05 off" in lines[3]
    assert lines[-1] == "2 reproduced, 1 differ, 0 not comparable, 2 not run"
    (said,) = [line for line in lines if line.startswith("head-L5H4: ")]
    assert "Published for Zhang eval-200 (200 chains), official weights of" in said
    marked = found.to_markdown().splitlines()
    assert {line.count("|") for line in marked[:7]} == {7}
    facts = json.loads(found.to_json())
    assert facts["results"][0]["verdict"] == "differs"
    assert facts["results"][3]["own"] is None
    frame = found.to_frame()
    assert frame["result"].tolist() == [row.name for row in found.rows]
    assert frame["own"].dtype == np.float64
    assert frame["inside"].tolist()[:2] == [False, True]
    html = found._repr_html_()
    assert html.count("<tr") == 6
    assert "arXiv:2606.21876" in html
    assert repr(found) == "Reproduction(mine: 2 reproduced, 1 differ, 0 not comparable, 2 not run)"


def test_an_empty_table_has_its_columns():
    frame = Reproduction({"name": "mine"}, []).to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.columns[0] == "verdict"


def test_what_differs_is_an_error_with_both_values():
    with pytest.raises(VerificationError) as error:
        some().raise_if_differs()
    assert str(error.value) == (
        "head-L5H4: published is 0.249 [0.232, 0.268], and here it is 0.180 [0.150, 0.210] on 200 "
        "chains, with the same weights and data; check the weights (`esmkit weights check`), the "
        "files, and what `esmkit verify` says"
    )
    Reproduction({"name": "mine"}, some().rows[1:]).raise_if_differs()


def test_unknown_names_are_refused():
    with pytest.raises(OptionError) as error:
        choose_claims(["heads-L5H4"])
    assert (
        str(error.value) == "there is no published result 'heads-L5H4'; did you mean 'head-L5H4'?"
    )
    with pytest.raises(OptionError, match="there is no published result 'x'; there are contacts-"):
        choose_claims(["x"])


def test_chains_are_needed_for_contacts_alone_and_come_once():
    assert not needs_chains(choose_claims(["proteingym", "golden-logits"]))
    assert needs_chains(choose_claims(["proteingym", "L5H4-is-best"]))
    with pytest.raises(InputError, match="no structure to score on; give at least one chain"):
        check_chains([])
    ubiquitin = esmkit.data.demo_structure()
    with pytest.raises(InputError, match="structure '1ubi_A' comes twice; give each chain once"):
        check_chains([ubiquitin, ubiquitin])
