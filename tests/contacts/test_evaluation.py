"""No chain is scored by a head that was made on it; and two heads are compared chain by chain."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esmkit.contacts import (
    ContactHead,
    best_heads,
    bootstrap,
    differences,
    evaluate,
    evaluate_best,
    fit,
    rank_heads,
)
from esmkit.contacts.choosing import halves
from esmkit.contacts.comparison import differences_text
from esmkit.data import demo_structure, ts50
from esmkit.errors import InputError, OptionError
from esmkit.esm2 import Esm2
from oracles.checkpoints import random_sequence
from oracles.contact_oracles import Planted, plain_scores


@pytest.fixture(scope="module")
def chains() -> list[Any]:
    return ts50()[:6]


@pytest.fixture(scope="module")
def head(tiny: Esm2, chains) -> ContactHead:
    return fit(tiny, chains[:2], inverse_penalty=50.0)


def disguised(structure: Any, name: str, kind: str) -> Any:
    """The same chain as it comes along elsewhere: another ID, a tag, cut off, with mutations."""
    sequence = structure.sequence
    contacts = structure.contacts()
    if kind == "renamed":
        return dataclasses.replace(structure, id=name)
    if kind == "tagged":
        contacts = np.pad(contacts, (6, 0))
        return Planted(name, "GSHMAS" + sequence, contacts)
    if kind == "cut off":
        return Planted(name, sequence[10:70], contacts[10:70, 10:70])
    letters = list(sequence)
    for place in range(0, len(letters), 7):
        letters[place] = "A" if letters[place] != "A" else "G"
    return Planted(name, "".join(letters), contacts)


DISGUISES = ["renamed", "tagged", "cut off", "mutated"]


@pytest.mark.parametrize("kind", DISGUISES)
def test_chains_of_a_fit_are_left_out_whatever_they_are_called(tiny: Esm2, chains, head, kind):
    other = disguised(chains[1], "another", kind)
    result = evaluate(tiny, [chains[0], other, chains[2]], head)
    assert result.left_out == {chains[0].id: chains[0].id, "another": chains[1].id}
    assert list(result.chains.index.levels[0]) == [chains[2].id]  # type: ignore[attr-defined]
    alone = evaluate(tiny, [chains[2]], head)
    assert result.summary.equals(alone.summary)
    assert result.to_text().splitlines()[1] == (
        "left out: 2 chain(s) that the head was made on, or their relatives "
        f"({chains[0].id}, another as {chains[1].id})"
    )
    assert "left out: 2" in result._repr_html_()
    assert alone.to_text().splitlines()[1] == (
        "no chain is one that the head was made on, or its relative"
    )


def test_a_name_alone_is_no_relative(tiny: Esm2, chains, head):
    """Another protein that is called like a chain of the fit is scored."""
    stranger = dataclasses.replace(chains[3], id=chains[0].id)
    assert evaluate(tiny, [stranger], head).left_out == {}


def test_chains_of_a_fit_are_scored_on_request_and_that_is_said(tiny: Esm2, chains, head):
    result = evaluate(tiny, chains[:3], head, training_chains="score")
    assert result.in_sample == {c.id: c.id for c in chains[:2]}
    assert result.left_out == {}
    for chain in chains[:3]:
        expected = tiny.contacts(chain.protein, head=head).score(chain)
        assert result.chains.loc[chain.id].equals(expected)
    assert result.to_text().splitlines()[1] == (
        "IN-SAMPLE, too high: the head was made on 2 of these chains, or on relatives "
        f"({chains[0].id}, {chains[1].id})"
    )
    with pytest.raises(
        InputError,
        match=r"^the regression fitted to 2 chain\(s\) was made on all of these 2 chain\(s\), or on "
        r'relatives \(.*\); give other structures, or `training_chains="score"` to score them in-',
    ):
        evaluate(tiny, chains[:2], head)
    with pytest.raises(
        OptionError, match=r"^training_chains is 'leave-out' or 'score', not 'keep'$"
    ):
        evaluate(tiny, chains, head, training_chains="keep")  # type: ignore[arg-type]
    for function in (evaluate, evaluate_best, rank_heads):
        with pytest.raises(OptionError, match=r"^length is 'resolved' or 'full', not 'L'$"):
            function(tiny, chains, length="L")  # type: ignore[arg-type]


def test_heads_remember_through_files(tiny: Esm2, chains, head, tmp_path: Path):
    head.save(tmp_path / "head.json")
    again = ContactHead.load(tmp_path / "head.json", tiny)
    assert again.learnt_from(dataclasses.replace(chains[1], id="x").protein) == chains[1].id
    assert again.learnt_from(chains[2].protein) is None
    # a file of an older version has IDs alone, and one of somebody's making may hold anything
    found = json.loads((tmp_path / "head.json").read_text())
    del found["provenance"]["sequences"]
    (tmp_path / "old.json").write_text(json.dumps(found))
    old = ContactHead.load(tmp_path / "old.json", tiny)
    assert old.learnt_from(chains[1].protein) == chains[1].id
    assert old.learnt_from(dataclasses.replace(chains[1], id="x").protein) is None
    for odd in ("1abc", 3, {"a": 1}, None):
        strange = dataclasses.replace(head, provenance={"chains": odd})
        assert strange.learnt_from(chains[1].protein) is None
    strange = dataclasses.replace(head, provenance={"chains": [1, 2], "sequences": [3, None]})
    assert strange.learnt_from(chains[1].protein) is None


def test_heads_chosen_in_python_remember_their_chains_too(tiny: Esm2, chains, tmp_path: Path):
    names = best_heads(rank_heads(tiny, chains[:3]), 2)
    assert isinstance(names, list)
    assert len(names) == 2
    chosen = ContactHead.mean_of(tiny, names)
    result = evaluate(tiny, chains[:4], chosen)
    assert set(result.left_out) == {c.id for c in chains[:3]}
    chosen.save(tmp_path / "chosen.json")
    again = ContactHead.load(tmp_path / "chosen.json", tiny)
    assert again.learnt_from(chains[1].protein) == chains[1].id
    # heads that somebody names are theirs to answer for
    assert evaluate(tiny, chains[:1], ContactHead.mean_of(tiny, list(names))).left_out == {}


@pytest.mark.parametrize("count", [1, 3])
def test_the_best_heads_are_scored_on_the_other_half(tiny: Esm2, chains, count: int):
    """By hand: rank on one half, take the names, score the chains of the other."""
    told: list[str] = []
    result = evaluate_best(tiny, chains, count, progress=told.append)
    assert told == 2 * [c.id for c in chains]
    side = halves([c.sequence for c in chains])
    assert sorted(side) == [0, 0, 0, 1, 1, 1]
    for which in (0, 1):
        here = [c for c, half in zip(chains, side, strict=True) if half == which]
        there = [c for c, half in zip(chains, side, strict=True) if half != which]
        names = best_heads(rank_heads(tiny, there), count)
        for chain in here:
            assert set(result.heads[chain.id].choice.names) == set(names)
            expected = tiny.contacts(chain.protein, heads=list(names)).score(chain)
            assert result.chains.loc[chain.id].equals(expected)
    assert set(result.head.choice.names) == set(best_heads(rank_heads(tiny, chains), count))
    assert repr(result).startswith(f"Evaluation({result.chosen}: 6 chain(s)")
    assert repr(result.head) == f"ContactHead({result.head.source}: 'heads', {count} head(s))"
    text = result.to_text().splitlines()
    assert ", chosen on one half of 6 chains and scored on the other, both ways (" in text[0]
    assert text[1] == "no chain is one that the head was made on, or its relative"
    assert result.reliability is None


def test_relatives_stay_in_one_half(tiny: Esm2, chains):
    """Three chains, each also in disguise: were the two in different halves, each would be scored
    with heads that the other had chosen."""
    doubled = [
        *chains[:4],
        *(disguised(c, f"{c.id}'", k) for c, k in zip(chains, DISGUISES, strict=False)),
    ]
    for seed in range(5):
        side = halves([c.sequence for c in doubled], seed=seed)
        assert list(side[:4]) == list(side[4:])
        assert sorted(side) == [0] * 4 + [1] * 4
    result = evaluate_best(tiny, doubled)
    for chain in chains[:4]:
        assert result.heads[chain.id] is result.heads[f"{chain.id}'"]


def test_chains_that_are_strangers_to_those_chosen_on(tiny: Esm2, chains):
    pool = chains[:4]
    result = evaluate_best(tiny, chains[4:], choose_on=pool)
    assert result.left_out == {}
    best = best_heads(rank_heads(tiny, pool), 1)
    assert all(h.choice.names == tuple(best) for h in result.heads.values())
    assert result.to_text().startswith(f"best head on 4 other chain(s) ({best[0]}), 2 chain(s)")
    # one of those chosen on, and a chain made of two of them, one of each half
    side = halves([c.sequence for c in pool])
    one, two = (pool[list(side).index(which)] for which in (0, 1))
    size = len(one) + len(two)
    both: Any = Planted("both", one.sequence + two.sequence, np.eye(size, dtype=bool))
    mixed = evaluate_best(tiny, [*chains[4:], one, both], choose_on=pool)
    assert list(mixed.left_out) == ["both"]
    assert mixed.left_out["both"] == one.id
    assert "other chains with the best on all" in mixed.to_text().splitlines()[0]
    there = [c for c, half in zip(pool, side, strict=True) if half == 1]
    assert mixed.heads[one.id].choice.names == tuple(best_heads(rank_heads(tiny, there), 1))
    with pytest.raises(InputError, match=r"each of these 1 chain\(s\) has relatives in both halv"):
        evaluate_best(tiny, [both], choose_on=pool)


def test_choices_that_cannot_be(tiny: Esm2, chains):
    for count in (0, 9):
        with pytest.raises(
            OptionError, match=rf"the best of 8 heads are 1 to 8 of them, not {count}$"
        ):
            evaluate_best(tiny, chains, count)
    with pytest.raises(OptionError, match=r"^1 chain\(s\) of one family cannot be split into hal"):
        evaluate_best(tiny, chains[:1])
    family = [chains[0], disguised(chains[0], "x", "mutated")]
    with pytest.raises(OptionError, match=r"^2 chain\(s\) of one family cannot be split"):
        evaluate_best(tiny, family)
    with pytest.raises(InputError, match="there is no structure to score on"):
        evaluate_best(tiny, [])
    with pytest.raises(InputError, match="comes twice"):
        evaluate_best(tiny, [*chains, chains[0]])
    short: Any = [Planted(f"s{n}", random_sequence(20, n), np.eye(20, dtype=bool)) for n in (1, 2)]
    with pytest.raises(OptionError, match=r"none of 2 chain\(s\) is long enough for pairs at long"):
        evaluate_best(tiny, short)


def test_l_is_that_of_all_residues_on_request(tiny: Esm2, chains):
    """A chain with residues that are not resolved; by loops over pairs."""
    gapped: Any = Planted("gap", chains[0].sequence, chains[0].contacts())
    gapped.resolved = np.arange(len(gapped)) % 3 != 0
    gapped._contacts = gapped._contacts & gapped.resolved[:, None] & gapped.resolved
    probability = tiny.contacts(gapped.protein).probability
    for length, number in (("full", len(gapped)), ("resolved", int(gapped.resolved.sum()))):
        result = evaluate(tiny, [gapped], length=length)  # type: ignore[arg-type]
        expected = plain_scores(probability, gapped.contacts(), gapped.resolved, number)
        for name, row in expected.items():
            for column in ("P@L", "P@L/2", "P@L/5", "ceiling P@L"):
                found = result.chains.loc[("gap", name), column]
                assert found == pytest.approx(row[column], nan_ok=True)
        word = {"full": "all", "resolved": "resolved"}[length]
        assert result.to_text().splitlines()[2] == f"L is the number of {word} residues"
        ranked = rank_heads(tiny, [gapped], length=length)  # type: ignore[arg-type]
        of_head = tiny.contacts(gapped.protein, heads="L1H2").probability
        expected = plain_scores(of_head, gapped.contacts(), gapped.resolved, number)
        row = ranked.query("name == 'L1H2' and range == 'long'").iloc[0]
        assert row["P@L/2"] == pytest.approx(expected["long"]["P@L/2"])


def test_differences_are_taken_chain_by_chain(tiny: Esm2, chains):
    tiny_chain = demo_structure()
    scored = [*chains[:4], tiny_chain]
    one = evaluate(tiny, scored[:4], ContactHead.mean_of(tiny, ["L1H0"]))
    other = evaluate(tiny, scored[1:])
    table = differences(one, other, seed=3)
    assert list(table.columns) == ["difference", "low", "high", "chains"]
    for (name, measure), row in table.to_dict("index").items():  # type: ignore[misc]
        apart = [
            one.chains.loc[(c.id, name), measure] - other.chains.loc[(c.id, name), measure]
            for c in scored[1:4]
        ]
        assert row["chains"] == 3
        assert row["difference"] == pytest.approx(np.mean(apart))
        assert (row["low"], row["high"]) == pytest.approx(bootstrap(apart, seed=3))
    lines = differences_text(one, other, seed=3).splitlines()
    assert lines[0] == (
        "less contact head of tiny-esm2, on the 3 chain(s) of both, difference by chain "
        "[95 % interval over chains]"
    )
    row = table.loc[("long", "P@L/2")]
    assert lines[3 + 9].split() == [
        *("long", "(24+)", "P@L/2", f"{row['difference']:+.3f}"),
        *(f"[{row['low']:+.3f},", f"{row['high']:+.3f}]"),
    ]
    assert not differences(one, one)[["difference", "low", "high"]].to_numpy().any()
    with pytest.raises(OptionError, match="the two have no chain in common; evaluate both on the"):
        differences(one, evaluate(tiny, [tiny_chain]))
    with pytest.raises(
        OptionError, match="P@L of resolved and of full residues cannot be compared"
    ):
        differences(one, evaluate(tiny, scored, length="full"))


def test_a_difference_can_be_sure_where_intervals_overlap():
    """Chains that are hard or easy for both heads: what the paired interval is for."""
    import pandas

    from esmkit.contacts import Evaluation, summarize_scores

    random = np.random.default_rng(0)
    ease = random.random(40)
    found = []
    for gain in (0.05, 0.0):
        tables = {}
        for n, base in enumerate(ease):
            row = dict.fromkeys(["P@L", "P@L/2", "P@L/5", "AUC-PR"], base + gain)
            row |= {f"ceiling {cut}": 1.0 for cut in ("P@L", "P@L/2", "P@L/5")}
            row |= {"background": 0.1, "pairs": 9, "contacts": 1}
            tables[str(n)] = pandas.DataFrame({k: [v] * 3 for k, v in row.items()})
            tables[str(n)].index = pandas.Index(["short", "medium", "long"])
        found.append(
            Evaluation(
                None,  # type: ignore[arg-type]
                "x",
                None,
                pandas.concat(tables, names=["id", "range"]),
                summarize_scores(tables),
            )
        )
    one, other = (f.summary.loc[("long", "P@L")] for f in found)
    assert one["low"] < other["high"]  # of the means nothing can be said
    row = differences(*found).loc[("long", "P@L")]
    np.testing.assert_allclose(row[["difference", "low", "high"]].to_numpy(float), 0.05)
