"""Scores of variants beside their formulas written out with transformers' model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import EsmForMaskedLM

from esmkit.errors import CheckpointError, InputError, OptionError, UnknownIdError
from esmkit.esm2 import Esm2
from esmkit.score.variants import plan as planning
from esmkit.score.variants.asked import all_variants
from esmkit.score.variants.passes import compute_units
from esmkit.score.variants.plan import STRATEGIES, Plan
from esmkit.score.variants.scoring import LeftOutWarning, score_variants
from esmkit.sequences.proteins import AMINO_ACIDS
from oracles.checkpoints import random_sequence
from oracles.variant_scores import load_both, make_with_head, score

Both = tuple[Esm2, EsmForMaskedLM]
Change = tuple[int, str, str]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return load_both(make_with_head(tmp_path_factory.mktemp("with-head"), (2, 4, 32)))


def changes_of(wild: str, seed: int) -> list[list[Change]]:
    """Two single substitutions, a double one, and a triple one with both ends."""
    random = np.random.default_rng(seed)
    found = []
    for sites in (
        [random.integers(len(wild))],
        [len(wild) - 1],
        sorted(random.choice(len(wild), 2, replace=False)),
        [0, len(wild) // 2, len(wild) - 1],
    ):
        new = [random.choice([a for a in AMINO_ACIDS if a != wild[s]]) for s in sites]
        found.append([(int(s), wild[s], str(n)) for s, n in zip(sites, new, strict=True)])
    return found


def written(changes: list[Change]) -> str:
    return ":".join(f"{old}{site + 1}{new}" for site, old, new in changes)


def mutated(wild: str, changes: list[Change]) -> str:
    letters = list(wild)
    for site, _, new in changes:
        letters[site] = new
    return "".join(letters)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_scores_are_those_of_the_formulas_on_ten_proteins(strategy: Any, both: Both):
    model, other = both
    for seed in range(10):
        wild = random_sequence(6 + 2 * seed, seed)
        if seed == 3:
            wild = wild[:5] + "X" + wild[6:]  # it has no probability among the 20
        wanted = [c for c in changes_of(wild, seed) if all(old != "X" for _, old, _ in c)]
        found = score_variants(model, wild, [written(c) for c in wanted], strategy=strategy)
        assert found.mutant.tolist() == [written(c) for c in wanted]
        expected = [score(other, wild, mutated(wild, c), c, strategy) for c in wanted]
        # float32 beside float64; a pllr is the difference of two sums over all residues
        tolerance = 2e-5 if strategy == "pllr" else 1e-5
        np.testing.assert_allclose(found.score, expected, atol=tolerance)
        assert np.ptp(expected) > 0.1


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("residues", [11, 12, 13, 31])
def test_windows_have_each_site_in_their_middle(strategy: Any, residues: int, both: Both):
    model, other = both
    wild, size = random_sequence(residues, residues), 12
    if residues == 31:  # windows whose neighbours look alike
        wild = (wild[:7] * 5)[:residues]
    wanted = changes_of(wild, residues)
    from esmkit.score.variants.mutations import parse_variant

    variants = [parse_variant(written(c)) for c in wanted]
    plan = Plan(wild, variants, strategy, size=size)
    values = dict(compute_units(model, plan.units, batch_tokens=64))
    found = plan.scores(values)
    expected = [score(other, wild, mutated(wild, c), c, strategy, size) for c in wanted]
    # As above: over 160 scores of other seeds a pllr is off by up to 1.39e-5 with oneDNN's products, and by
    # 1.43e-5 with MKL's
    tolerance = 2e-5 if strategy == "pllr" else 1e-5
    np.testing.assert_allclose([found[v] for v in variants], expected, atol=tolerance)


@pytest.mark.parametrize("residues", [9, 30])
def test_insertions_and_deletions_by_pllr(residues: int, both: Both):
    model, other = both
    wild, size = random_sequence(residues, 1), 12
    from esmkit.score.variants.mutations import parse_variant

    a, b = wild[3], wild[4]
    edits = {
        f"{a}4del": wild[:3] + wild[4:],
        f"{a}4_{b}5insGS": wild[:4] + "GS" + wild[4:],
        f"{a}4_{b}5dup": wild[:5] + wild[3:5] + wild[5:],
        f"{wild[0]}1delinsWW:{wild[-1]}{residues}del": "WW" + wild[1:-1],
    }
    variants = [parse_variant(text) for text in edits]
    plan = Plan(wild, variants, "pllr", size=size)
    found = plan.scores(dict(compute_units(model, plan.units, batch_tokens=99)))
    for variant, own in zip(variants, edits.values(), strict=True):
        np.testing.assert_allclose(
            # float32, and the difference of two sums over all residues
            *(found[variant], score(other, wild, own, [], "pllr", size)),
            atol=2e-5,
        )
    assert plan.passes < residues * (len(edits) + 1) + 4 or residues == 9


def test_what_the_wild_type_says_already_is_not_computed_again(both: Both):
    """Of a long protein most windows do not hold the site that changes."""
    wild = random_sequence(60, 2)
    from esmkit.score.variants.mutations import parse_variant

    variant = parse_variant(f"{wild[2]}3{'A' if wild[2] != 'A' else 'G'}")
    plan = Plan(wild, [variant], "pllr", size=10)
    assert plan.units[-1].passes <= 10 < 60
    units = Plan(wild, [variant, variant][:1], "masked-marginals", size=10).units
    assert [unit.passes for unit in units] == [1]


def test_the_whole_scan_is_nineteen_for_each_residue(both: Both):
    model, _ = both
    table = score_variants(model, "MKXTAY")
    assert len(table) == 19 * 5 == len(all_variants("MKXTAY"))
    assert table.columns.tolist() == [
        *("id", "mutant", "residue_number", "residue", "mutant_residue", "mutations", "score"),
    ]
    assert table.mutant[0] == "M1A"
    assert set(table.residue_number) == {1, 2, 4, 5, 6}
    plan = Plan("MKXTAY", all_variants("MKXTAY"), "masked-marginals")
    assert plan.passes == 5


def test_of_several_proteins_each_has_its_own(both: Both):
    model, _ = both
    proteins = {"P1": "MKTAYIA", "P2": "MKRAYIA", "again": "MKTAYIA"}
    table = score_variants(model, proteins, {"P2": ["R3K"], "P1": ["T3S", "T3S"], "again": ["T3S"]})
    assert table[["id", "mutant"]].to_numpy().tolist() == [
        *(["P1", "T3S"], ["P1", "T3S"], ["P2", "R3K"], ["again", "T3S"]),
    ]
    assert table.score[0] == table.score[1] == table.score[3]
    alone = score_variants(model, "MKTAYIA", ["T3S"])
    np.testing.assert_allclose(alone.score[0], table.score[0], atol=1e-5)
    with pytest.raises(OptionError, match="does not say which protein a mutation is of"):
        score_variants(model, proteins, ["T3S"])
    with pytest.raises(UnknownIdError, match="give sequences of these IDs"):
        score_variants(model, proteins, {"P9": ["T3S"]})


def test_numbers_that_begin_elsewhere(both: Both):
    model, _ = both
    table = score_variants(model, "HPETLVK", ["H24A", "P25G"], first_number=24)
    assert table.mutant.tolist() == ["H24A", "P25G"]
    assert table.residue_number.tolist() == [1, 2]
    plain = score_variants(model, "HPETLVK", ["H1A", "P2G"])
    np.testing.assert_array_equal(table.score, plain.score)


def test_what_does_not_fit_is_refused_or_left_out(both: Both):
    model, _ = both
    asked = ["T3S", "W3S", "T3T", "K2del"]
    said = r"mutation 2: W3S has W at residue 3, .* \(and 2 more\); .*`on_invalid=\"skip\"`"
    with pytest.raises(InputError, match=said):
        score_variants(model, "MKTAYIA", asked)
    with pytest.warns(LeftOutWarning, match=r"left out 3 row\(s\): mutation 2: .*mutation 3: .*"):
        table = score_variants(model, "MKTAYIA", asked, on_invalid="skip")
    assert table.mutant.tolist() == ["T3S"]
    with pytest.raises(InputError, match="W3S has W"):
        score_variants(model, "MKTAYIA", ["W3S"], on_invalid="skip")
    with pytest.raises(InputError, match=r'K2del changes the length.*`strategy="pllr"`'):
        score_variants(model, "MKTAYIA", ["K2del"])
    with pytest.raises(OptionError, match="best"):
        score_variants(model, "MKTAYIA", ["T3S"], strategy="best")  # type: ignore[arg-type]


def test_of_several_proteins_the_remedy_is_one_of_this_function(both: Both):
    with pytest.raises(
        OptionError, match=r"list of mutations does not say .* there are 2; give one"
    ) as told:
        score_variants(both[0], ["MKTAYIA", "MKT"], ["K2R"])
    assert "`ids`" not in str(told.value)


def test_a_scan_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch, both: Both):
    monkeypatch.setattr("esmkit.score.variants.asked.MOST_VARIANTS", 100)
    with pytest.raises(OptionError, match="every substitution of 7 residues is 133 variants"):
        score_variants(both[0], "MKTAYIA")


def test_a_protein_of_one_residue(both: Both):
    model, other = both
    found = score_variants(model, "M", ["M1A"], strategy="pllr")
    np.testing.assert_allclose(found.score[0], score(other, "M", "A", [], "pllr"), atol=1e-5)
    assert len(score_variants(model, "M")) == 19


def test_baselines_stand_beside_what_was_measured(both: Both):
    import pandas

    model, _ = both
    frame = pandas.DataFrame({"mutant": ["K2R", "T3S:A4G"], "fitness": [1.0, 0.5]})
    for strategy in STRATEGIES:
        table = score_variants(model, "MKTAYIA", frame, measured="fitness", strategy=strategy)
        assert table.measured.tolist() == [1.0, 0.5]
        assert table.blosum62.tolist() == [2.0, 1.0]
        if strategy == "wt-marginals":
            entropy = table.site_entropy
        np.testing.assert_allclose(table.site_entropy, entropy, atol=1e-6)
        assert (table.site_entropy < 0).all()


def test_a_checkpoint_without_a_head_is_refused(tmp_path: Path):
    from esmkit.esm2 import load
    from oracles.checkpoints import make_checkpoint

    model = load(make_checkpoint(tmp_path / "none", (2, 4, 32)), compiled=False)
    for strategy in STRATEGIES:
        with pytest.raises(CheckpointError, match="masked-LM head"):
            score_variants(model, "MKTAY", ["K2R"], strategy=strategy)


def test_units_are_cut_so_that_a_stop_loses_little(monkeypatch: pytest.MonkeyPatch, both: Both):
    model, _ = both
    whole = score_variants(model, random_sequence(30, 4))
    monkeypatch.setattr(planning, "_SITES", 7)
    plan = Plan(random_sequence(30, 4), all_variants(random_sequence(30, 4)), "masked-marginals")
    assert [unit.passes for unit in plan.units] == [7, 7, 7, 7, 2]
    again = score_variants(model, random_sequence(30, 4), batch_tokens=50)
    np.testing.assert_allclose(again.score, whole.score, atol=1e-5)
