"""Labels of pairs where repeats are left out: what is withdrawn, what stays, and how it is said."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from esmkit.esm2 import Esm2
from esmkit.heads import measuring, profile
from esmkit.heads.judgement import TESTED_AGAIN, copies, judge
from esmkit.heads.labels import Rules, describe
from esmkit.heads.properties import Property, standard_properties
from esmkit.heads.report.paper import head_table, table_latex, table_markdown
from esmkit.heads.report.summary import summary
from esmkit.heads.scores import ChainLabels, score_block
from esmkit.heads.unrepeated import copies_in
from esmkit.structure import Structure
from oracles.head_chains import made, softmax
from oracles.head_profiles import made_profile, with_repeats
from tests.oracles.checkpoints import random_sequence
from tests.oracles.head_chains import offsets_of

UNIT, BETWEEN, AFTER = 40, 15, 40
CONTACT = [of for of in standard_properties() if of.name == "long-range contact"]
FACTS = {"bos": 0.1, "eos": 0.1, "top_offset": 2.0, "top_offset_share": 0.1, "positional": 0.2}
EFFECT: dict[str, Any] = {
    "property": "long-range contact",
    "kind": "pair",
    "share": 0.12,
    "background": 0.04,
    "difference": 0.08,
    "low": 0.06,
    "high": 0.10,
    "ratio": 3.0,
    "ratio_low": 2.4,
    "q": 1e-4,
    "half_a": 0.08,
    "half_b": 0.07,
    "half_b_low": 0.05,
}


def partners(chain: Structure) -> np.ndarray:
    """Contacts that are no copies: between the stretch in the middle and that at the end."""
    random = np.random.default_rng(len(chain))
    after = 2 * UNIT + BETWEEN + random.permutation(AFTER)[:BETWEEN]
    return np.stack([UNIT + np.arange(BETWEEN), after], axis=1)


def copied() -> np.ndarray:
    return np.stack([np.arange(UNIT), UNIT + BETWEEN + np.arange(UNIT)], axis=1)


def chain(seed: int) -> Structure:
    """Two copies of a segment that touch, residue by residue, and other pairs that touch."""
    unit = random_sequence(UNIT, 3 * seed)
    rest = random_sequence(BETWEEN + AFTER + seed, 3 * seed + 1)
    found = made(unit + rest[:BETWEEN] + unit + rest[BETWEEN:], name=f"c{seed}_A")
    places = 30.0 * np.arange(len(found))[:, None] * [1, 0, 0]
    for i, j in [*copied(), *partners(found)]:
        places[j] = places[i]
    return made(found.sequence, name=found.id, places=places)


def maps_of(chain: Structure, heads: int) -> np.ndarray:
    """Head 0 looks at copies and at nothing else, head 1 at the other contacts; the rest anywhere."""
    size = len(chain)
    maps = softmax(np.random.default_rng(size).normal(0, 0.3, (heads, size, size)))
    for head, pairs in ((0, copied()), (1, partners(chain))):
        for i, j in [*pairs, *pairs[:, ::-1]]:
            maps[head, i] *= 0.4
            maps[head, i, j] += 0.6
    return maps


@pytest.fixture
def attends(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Structure]], None]:
    """Give the heads of any model made maps: the first two heads of layer 0 are those above."""

    def give(chains: list[Structure]) -> None:
        known = {chain.sequence: chain for chain in chains}

        def compute(model: Any, items: Any, choice: Any, take: Any, *, prepare: Any, **_: Any):
            _, protein = next(iter(items))
            maps = maps_of(known[protein.sequence], len(choice.heads))
            whole = np.zeros((len(maps), len(protein) + 2, len(protein) + 2), np.float32)
            whole[:, 1:-1, 1:-1] = maps
            for layer in dict.fromkeys(layer for layer, _ in choice.heads):
                places = [n for n, (own, _) in enumerate(choice.heads) if own == layer]
                heads = [choice.heads[n][1] for n in places]
                take(None, layer, heads, prepare(torch.tensor(whole[places])))
            yield [0]

        monkeypatch.setattr(measuring, "compute", compute)

    return give


def test_a_head_that_looks_only_at_copies_loses_its_label(tiny: Esm2, attends: Any):
    chains = [chain(seed) for seed in range(12)]
    attends(chains)
    found: Any = profile(tiny, chains, properties=CONTACT, control=False, resamples=200)
    assert found.provenance["repeated"] == [each.id for each in chains]
    heads = found.heads.set_index("name")
    assert heads.loc["L0H0", "label"] == "mixed"
    assert "where repeats are left out, " in heads.loc["L0H0", "evidence"]
    assert heads.loc["L0H0", "evidence"].endswith(
        "; withdrawn, as it needs repeats: long-range contact"
    )
    assert heads.loc["L0H1", "label"] == "long-range contact"
    assert "withdrawn" not in heads.loc["L0H1", "evidence"]
    rows = found.effects.set_index("name")
    before = {**rows.loc["L0H0"], "unrepeated_proteins": np.nan}
    assert judge(before).holds  # else nothing would be withdrawn
    assert judge(rows.loc["L0H0"]).withdrawn
    assert abs(rows.loc["L0H0", "unrepeated_difference"]) < 0.002
    text = str(summary(found))
    assert "12 of 12 chains have stretches that are repeated (c0_A, c1_A" in text
    assert "1 of the 2 effects of pairs" in text
    assert "withdrawn: L0H0 long-range contact" in text


def test_where_nothing_is_repeated_nothing_is_tested_again(tiny: Esm2):
    chains = [made(random_sequence(60, seed), name=f"r{seed}_A") for seed in range(3)]
    assert all(copies_in(each) is None for each in chains)
    found: Any = profile(tiny, chains, properties=CONTACT, control=False, resamples=100)
    assert found.provenance["repeated"] == []
    assert not [name for name in found.effects.columns if name.startswith("unrepeated_")]


def test_scores_without_some_pairs_are_those_of_loops():
    """Weights and labels of pairs that are left out are gone, and their offsets have fewer pairs."""
    structure = made(random_sequence(14, 0), unresolved=(5,))
    random = np.random.default_rng(0)
    labels, gone = random.random((2, 14, 14)) < [[[0.3]], [[0.2]]]
    of = Property("made", "pair", lambda _: labels)
    maps = softmax(random.normal(0, 1, (2, 14, 14)))
    found = score_block(maps, ChainLabels(structure, [of], gone))
    kept = [i for i in range(14) if i != 5]
    apart = offsets_of(14)
    for head, a in enumerate(maps):
        pairs = [(i, j) for i in kept for j in kept if not gone[i, j]]
        assert found.mass[head] == pytest.approx(sum(a[pair] for pair in pairs))
        assert found.hits[head, 0] == pytest.approx(sum(a[p] for p in pairs if labels[p]))
        weights, rows = {}, {}
        for i, j in pairs:  # iterative proportional fitting, term by term
            weights[i, j] = 1.0
        for _ in range(300):
            for axis in (0, 1):
                group = lambda p: p[0] if axis == 0 else apart[p]  # noqa: E731, B023
                wanted, reached = {}, {}
                for pair in pairs:
                    wanted[group(pair)] = wanted.get(group(pair), 0) + a[pair]
                    reached[group(pair)] = reached.get(group(pair), 0) + weights[pair]
                for pair in pairs:
                    weights[pair] *= wanted[group(pair)] / reached[group(pair)]
        rows = sum(weights[pair] for pair in pairs if labels[pair])
        assert found.expected[head, 0] == pytest.approx(rows, rel=1e-6)


def test_copies_are_left_out_both_ways_and_with_their_neighbours():
    found = copies_in(chain(1))
    assert found is not None
    np.testing.assert_array_equal(found, found.T)
    for i, j in copied()[2:-2]:
        assert found[i, j - 2 : j + 3].all()
        assert found[j, i - 2 : i + 3].all()
    assert not found[np.arange(len(found)), np.arange(len(found))].any()


def again(**changed: float) -> dict[str, Any]:
    same = {f"unrepeated_{name}": EFFECT.get(name, np.nan) for name in TESTED_AGAIN}
    same["unrepeated_proteins"] = 40.0
    return {**EFFECT, **same, **{f"unrepeated_{name}": value for name, value in changed.items()}}


def test_an_effect_is_no_larger_than_it_is_without_repeats():
    assert judge(again()) == judge(EFFECT)
    assert judge(again()).holds
    gone = judge(again(q=0.3))
    assert (gone.size, gone.withdrawn) == ("none", True)
    assert gone.lacks == ("where repeats are left out, q = 0.3 within pairs",)
    assert judge(again(low=0.001)).size == "trace"
    assert judge(again(low=0.02, ratio_low=1.1)).size == "slight"
    assert judge(again(share=0.7, difference=0.66, low=0.6)) == judge(EFFECT)  # never larger
    weak = judge({**again(q=0.3), "q": 0.2})
    assert (weak.size, weak.withdrawn) == ("none", False)
    assert judge({**again(q=0.3), "unrepeated_proteins": np.nan}) == judge(EFFECT)


def test_another_label_takes_its_place_and_the_evidence_says_so():
    strand = {**EFFECT, "property": "strand partner", "difference": 0.07}
    label, evidence = describe(FACTS, [again(q=0.3), strand])
    assert label == "strand partner"
    assert evidence.endswith("; withdrawn, as it needs repeats: long-range contact")


SCORES = {
    "repeat_score": 0.45,
    "repeat_low": 0.41,
    "repeat_high": 0.49,
    "repeat_control": 0.008,
    "repeat_difference_low": 0.4,
}


def test_a_head_that_copies_is_labelled_so_whatever_else_it_does():
    text = (
        "45% [41%, 49%] of its weight goes from a residue of a repeated segment to the aligned one "
        "of the other copy, 0.80% between unrelated halves; without repeats "
    )
    sink = {**FACTS, **SCORES, "bos": 0.6}
    assert describe(sink, [EFFECT]) == (
        "repeat",
        f"{text}BOS sink: 60% of its weight goes to BOS",
    )
    label, evidence = describe({**FACTS, **SCORES}, [EFFECT])
    assert label == "repeat"
    assert evidence.startswith(f"{text}long-range contact: 12% against 4.0% expected")
    small = {**EFFECT, "q": 0.5}
    assert describe({**FACTS, **SCORES}, [small])[1] == f"{text}mixed"


@pytest.mark.parametrize(
    "changed",
    [
        {"repeat_difference_low": 0.2 - 1e-9},
        {"repeat_difference_low": np.nan},
        {"permuted_most": 0.42},
        {"random_most": 0.42},
    ],
)
def test_a_head_that_does_not_copy_has_another_label(changed: dict[str, float]):
    assert copies({**SCORES, "repeat_difference_low": 0.2, "permuted_most": 0.03})
    assert not copies({**SCORES, **changed})
    assert not copies({**SCORES}, Rules(repeat=0.41))
    assert describe({**FACTS, **SCORES, **changed}, [EFFECT])[0] == "long-range contact"


def test_report_and_table_say_what_copies():
    found = with_repeats(made_profile(), ["L1H1"])
    text = str(summary(found))
    assert "Heads that copy: 1 of 8." in text
    assert "L1H1 look at the aligned" not in text
    assert "L1H1 looks at the aligned residue of the first" in text
    assert "of the heads of untrained networks 3.0%" in text
    row = head_table(found).set_index("name").loc["L1H1"]
    assert row["property"] == "aligned residue of another copy"
    assert row["share_percent"] == pytest.approx(50)
    assert row["background_percent"] == pytest.approx(1)
    assert (row["chains"], row["pairs"]) == (30, 3_706)
    line = next(
        line
        for line in table_markdown(found, head_table(found)).splitlines()
        if line.startswith("| L1H1")
    )
    assert line == (
        "| L1H1 | repeat | aligned residue of another copy | 50 | 1.0 | +49.0 [+44.0, +54.0] | - | "
        "30 / 3,706 |"
    )
    assert r"\toprule" in table_latex(found, head_table(found))
    none = with_repeats(made_profile(), [])
    assert "No head looks at the aligned residue of another copy." in str(summary(none))
    assert "Repeats" not in str(summary(made_profile()))
