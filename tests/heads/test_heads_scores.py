"""Scores of attention maps against plain loops, and p_alpha(f) of Vig et al. 2021."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esmkit.data import ts50
from esmkit.esm2 import Esm2
from esmkit.heads.properties import Property, standard_properties
from esmkit.heads.scores import THRESHOLD, BlockScores, ChainLabels, score_block
from esmkit.heads.statistics import MIN_ARCS, Accumulator
from oracles.head_chains import made, naive_scores, offsets_of, softmax


def some_properties(seed: int) -> list[Property]:
    """Pairs that are symmetric and some that are not, residues, offsets, and empty ones."""

    def pairs(structure, symmetric: bool):
        random = np.random.default_rng(seed)
        found = random.random((len(structure), len(structure))) < 0.3
        return found | found.T if symmetric else found

    def residues(structure):
        return np.random.default_rng(seed).random(len(structure)) < 0.4

    return [
        Property("one way", "pair", lambda s: pairs(s, False)),
        Property("offset +2", "offset", 2),
        Property("both ways", "pair", lambda s: pairs(s, True)),
        Property("to some", "residue", residues),
        Property("offset -1", "offset", -1),
        Property("no pair", "pair", lambda s: np.zeros((len(s), len(s)), bool)),
        Property("to none", "residue", lambda s: np.zeros(len(s), bool)),
        Property("offset 0", "offset", 0),
        Property("offset +40", "offset", 40),
    ]


@settings(max_examples=20)
@given(
    residues=st.integers(3, 8),
    sharpness=st.floats(0, 3),
    seed=st.integers(0, 10**6),
    gaps=st.sets(st.integers(0, 7), max_size=3),
)
def test_scores_are_what_their_definitions_say(residues, sharpness, seed, gaps):
    gaps = tuple(gap for gap in gaps if gap < residues - 3)
    chain = made("ACDEFGHI"[:residues], unresolved=gaps)
    random = np.random.default_rng(seed)
    # with BOS and EOS set apart, rows do not sum to 1
    maps = softmax(random.normal(0, sharpness, (2, residues, residues + 2)))[:, :, 1:-1]
    properties = some_properties(seed)
    given_maps = maps.copy()
    labels = ChainLabels(chain, properties)
    found = score_block(maps, labels)
    np.testing.assert_array_equal(maps, given_maps)
    for head in range(2):
        inner = maps[head : head + 1, chain.resolved][:, :, chain.resolved]
        background = labels.background(inner.sum(2), labels.by_offset(inner))[0]
        for place, of in enumerate(properties):
            expected = naive_scores(maps[head], chain, of, background)
            for name, value in expected.items():
                ours = getattr(found, name)
                ours = ours[head] if ours.ndim == 1 else ours[head, place]
                np.testing.assert_allclose(ours, value, rtol=0, atol=1e-10, err_msg=of.name + name)


@pytest.mark.parametrize("gaps", [(), (4,), (0, 13, 14, 15)])
@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_background_is_that_of_queries_and_offsets(gaps: tuple[int, ...], sharpness: float):
    """The only map u_i w_(j-i) with the sums of rows and of offsets of the head."""
    residues = 30
    chain = made("ACDEFGHIKLMNPQRSTVWYACDEFGHIKL", unresolved=gaps)
    labels = ChainLabels(chain, some_properties(0))
    random = np.random.default_rng(6)
    apart = offsets_of(residues)
    near = np.exp(-np.abs(apart - 2))
    a = softmax(random.normal(0, sharpness, (3, residues, residues)) + 2 * sharpness * near)
    a *= random.random((3, residues, 1))  # some queries have given most to BOS
    kept = np.flatnonzero(chain.resolved)
    inner = a[:, kept[:, None], kept]
    b = labels.background(inner.sum(2), labels.by_offset(inner))
    np.testing.assert_allclose(b.sum(2), inner.sum(2), rtol=0, atol=1e-8)
    between = apart[kept[:, None], kept]
    relative = b / np.diagonal(b, axis1=1, axis2=2)[:, :, None]  # by its own u_i w_0
    for offset in np.unique(between):
        here = between == offset
        np.testing.assert_allclose(b[:, here].sum(1), inner[:, here].sum(1), rtol=1e-12)
        np.testing.assert_allclose(np.ptp(relative[:, here], axis=1), 0, rtol=0, atol=1e-9)


def test_a_background_without_weight():
    """A head that gives all to BOS, and a query that does, and offsets without weight."""
    labels = ChainLabels(made("ACDEFG"), some_properties(0))
    maps = np.zeros((3, 6, 6))
    maps[1] = np.eye(6, k=1)
    maps[2] = 1 / 6
    maps[2, 2] = 0
    found = score_block(maps, labels)
    assert found.mass.tolist() == pytest.approx([0, 5, 5])
    for name in BlockScores.__dataclass_fields__:
        assert np.isfinite(getattr(found, name)).all()
    b = labels.background(maps.sum(2), labels.by_offset(maps))
    np.testing.assert_allclose(b, maps, rtol=0, atol=1e-10)


@pytest.mark.parametrize("gaps", [(), (4,), (0, 3, 4)])
def test_profile_and_squares(gaps: tuple[int, ...]):
    residues = 11
    chain = made("ACDEFGHIKLM", unresolved=gaps)
    maps = softmax(np.random.default_rng(1).normal(0, 2, (2, residues, residues)))
    labels = ChainLabels(chain, some_properties(1))
    found = score_block(maps, labels)
    kept = [i for i in range(residues) if i not in gaps]
    for head, a in enumerate(maps):
        sums, squares = [], 0.0
        for offset in range(1 - residues, residues):
            along = [a[i, i + offset] for i in kept if i + offset in kept]
            sums.append(sum(along))
            squares += len(along) * np.mean(along) ** 2 if along else 0.0
        np.testing.assert_allclose(found.profile[head], sums, rtol=0, atol=1e-12)
        inner = [a[i, j] for i in kept for j in kept]
        overall = len(inner) * np.mean(inner) ** 2
        every = sum(x * x for x in inner)
        np.testing.assert_allclose(
            found.squares[head], np.array([every, squares, overall]), rtol=1e-12
        )
    pairs = [sum(i + d in kept for i in kept) for d in range(1 - residues, residues)]
    np.testing.assert_array_equal(labels.offset_pairs, pairs)
    of_pairs = labels.pairs(0)
    np.testing.assert_array_equal(
        labels.offset_labels[0],
        [
            sum(
                of_pairs[x, y] for x, i in enumerate(kept) for y, j in enumerate(kept) if j - i == d
            )
            for d in range(1 - residues, residues)
        ],
    )


def test_residues_beside_a_gap_are_no_neighbours():
    chain = made("ACDEFG", unresolved=(2,))
    maps = np.zeros((1, 6, 6))
    maps[0, 1, 3] = maps[0, 3, 4] = 1.0
    found = score_block(maps, ChainLabels(chain, [Property("offset +1", "offset", 1)]))
    assert found.hits[0, 0] == 1.0
    assert found.profile[0, 5 + 2] == 1.0


def test_several_heads_are_each_on_their_own():
    chain = made("ACDEFGHIKLMN")
    labels = ChainLabels(chain, some_properties(3))
    maps = softmax(np.random.default_rng(2).normal(0, 2, (5, 12, 12)))
    together = score_block(maps, labels)
    for head in range(5):
        alone = score_block(maps[head : head + 1], labels)
        for name in BlockScores.__dataclass_fields__:
            np.testing.assert_allclose(
                getattr(together, name)[head], getattr(alone, name)[0], rtol=0, atol=1e-12
            )


def test_a_head_that_counts_positions_has_no_excess():
    """Whether its weight depends on offsets alone or a softmax cuts it at the ends."""
    residues = 80
    chain = next(s for s in ts50() if len(s) > residues and s.secondary_structure.count("H") > 40)
    apart = offsets_of(len(chain))
    profile = np.exp(-0.5 * (np.abs(apart) - 3.5) ** 2)
    maps = np.stack([profile / 4, softmax(6 * profile), softmax(6 * profile * (apart > 0))])
    of = [p for p in standard_properties() if p.kind != "offset"]
    found = score_block(maps, ChainLabels(chain, of))
    assert found.hits[0, [p.name for p in of].index("helix partner")] > 20
    # the background is met within 1e-12 of a row
    np.testing.assert_allclose(found.expected, found.hits, rtol=0, atol=1e-9)


def p_alpha(maps: list[np.ndarray], labels: list[np.ndarray]) -> tuple[float, int]:
    """Vig et al. 2021, equation 1: the labelled part of all arcs, over the chains of a data set."""
    above, labelled = 0, 0
    for alpha, f in zip(maps, labels, strict=True):
        for i in range(len(alpha)):
            for j in range(len(alpha)):
                if alpha[i][j] >= 0.3:
                    above += 1
                    labelled += int(f[i][j])
    return (labelled / above if above else float("nan")), above


def test_p_alpha_on_small_maps():
    chains = [made("ACDEFGHI", name=f"chain{n}_A") for n in range(12)]
    random = np.random.default_rng(4)
    maps = [softmax(random.normal(0, 3, (1, 8, 8))) for _ in chains]
    of = some_properties(5)
    gathered = Accumulator(1, len(of))
    for chain, some in zip(chains, maps, strict=True):
        labels = ChainLabels(chain, of)
        gathered.add(score_block(some, labels), labels.counts)
    effects = gathered.effects(resamples=100, seed=0)
    for place in (0, 1, 2, 3, 4, 7):
        of_pairs = [ChainLabels(chain, of).pairs(place) for chain in chains]
        share, above = p_alpha([m[0] for m in maps], of_pairs)
        assert above >= MIN_ARCS
        np.testing.assert_allclose(effects.arc_share[0, place], share, rtol=1e-12)
        assert gathered.arcs[0, place] == above


def test_a_weight_of_exactly_the_threshold_is_an_arc():
    maps = np.zeros((1, 4, 4))
    maps[0, 0, 1], maps[0, 1, 2] = THRESHOLD, np.nextafter(THRESHOLD, 0)
    found = score_block(maps, ChainLabels(made("ACDE"), some_properties(0)))
    assert found.arcs.tolist() == [1]


@pytest.mark.weights
def test_p_alpha_on_ten_real_chains(real: Esm2):
    chains = ts50()[:10]
    of = [
        p
        for p in standard_properties()
        if p.name in ("medium-range contact", "to helix", "to leucine", "offset -1")
    ]
    heads = ["L1H14", "L2H18", "L4H19", "L5H4"]
    gathered = Accumulator(len(heads), len(of))
    maps: list[np.ndarray] = []
    every: list[list[np.ndarray]] = []
    for chain in chains:
        whole = real.attention(chain.sequence, heads=heads).maps
        labels = ChainLabels(chain, of)
        gathered.add(score_block(whole, labels), labels.counts)
        resolved = np.flatnonzero(chain.resolved)
        maps.append(whole[:, resolved][:, :, resolved].astype(np.float64))
        every.append([labels.pairs(place) for place in range(len(of))])
    assert (gathered.proteins == 10).all()
    effects = gathered.effects(resamples=100, seed=0)
    compared = 0
    for head in range(len(heads)):
        for place in range(len(of)):
            share, above = p_alpha([m[head] for m in maps], [e[place] for e in every])
            assert gathered.arcs[head, place] == above
            if above >= MIN_ARCS:
                compared += 1
                np.testing.assert_allclose(effects.arc_share[head, place], share, rtol=1e-12)
            else:
                assert np.isnan(effects.arc_share[head, place])
    assert compared >= 8
