"""Circuits equal what Hugging Face's layer 0 does; their statistics equal the plain definitions."""

from typing import Any

import numpy as np
import pytest
import torch
from Bio.Align import substitution_matrices
from scipy.stats import ks_2samp, spearmanr
from transformers import EsmModel

from esmkit.errors import OptionError
from esmkit.esm2 import Esm2, load
from esmkit.heads.circuits import OFFSETS, Circuits, circuits
from esmkit.heads.similarity import (
    RandomHeads,
    Similarity,
    blosum62,
    centre,
    copying_score,
    empirical_p,
    turn,
)
from esmkit.reference import encoder as reference
from esmkit.sequences.proteins import AMINO_ACIDS
from esmkit.sequences.tokens import encode
from oracles.checkpoints import make_checkpoint, random_sequence

QUICK: dict[str, Any] = {"permutations": 20, "controls": 20}


@pytest.fixture(scope="module")
def found(tiny: Esm2) -> Circuits:
    return circuits(tiny, **QUICK)


def eager(folder) -> Any:
    return EsmModel.from_pretrained(
        folder, add_pooling_layer=False, attn_implementation="eager"
    ).eval()


def scipy_correlation(a: np.ndarray, b: np.ndarray) -> float:
    result: Any = spearmanr(a, b)
    return result.statistic


def assert_scores_are_those_of_layer_0(folder, found: Circuits) -> int:
    """Compare QK with the logarithm of Hugging Face's own attention weights; return how many.

    A weight is exp(score) over the sum of its row, so differences within a row are those of scores.
    """
    sequence = random_sequence(60, seed=3)
    letters = np.array([AMINO_ACIDS.index(letter) for letter in sequence])
    tokens = torch.from_numpy(encode(sequence))[None]
    with torch.no_grad():
        maps = eager(folder)(tokens, output_attentions=True).attentions[0][0, :, 1:-1, 1:-1]
    logarithms = maps.double().log().numpy()  # (H, R, R)
    compared = 0
    for i in range(len(sequence)):
        near = np.arange(max(0, i - 16), min(len(sequence), i + 17))
        places = near - i + 16
        ours = found.qk[0][:, places, letters[i], letters[near]]  # (H, near)
        theirs = logarithms[:, i, near]
        np.testing.assert_allclose(
            ours - ours[:, :1], theirs - theirs[:, :1], rtol=0, atol=1e-4, err_msg=str(i)
        )
        compared += len(near) - 1
    return compared


def test_qk_of_layer_0_is_the_score_of_real_residues(any_tiny_folder):
    found = circuits(load(any_tiny_folder, "cpu"), **QUICK)
    assert assert_scores_are_those_of_layer_0(any_tiny_folder, found) == 60 * 32 - 16 * 17


def test_qk_itself_is_the_score_of_the_reference(tiny: Esm2, found):
    """Not only differences within rows: the reference's own trace, biases and scaling included."""
    tensors = {name: t.numpy() for name, t in tiny.network.state_dict().items()}
    p = reference.read_parameters(tensors, tiny.heads)
    trace = reference.encode(p, encode(AMINO_ACIDS)[None], trace=True).trace
    assert trace is not None
    scores = trace[0]["scores"][0, :, 1:-1, 1:-1]  # (H, 20, 20): residue i is letter i
    for i, j in np.ndindex(20, 20):
        if abs(j - i) <= 16:
            np.testing.assert_allclose(found.qk[0, :, j - i + 16, i, j], scores[:, i, j], atol=1e-9)


def test_ov_of_layer_0_is_what_hugging_face_writes(any_tiny_folder):
    model, network = load(any_tiny_folder, "cpu"), eager(any_tiny_folder)
    found = circuits(model, **QUICK)
    attention = network.encoder.layer[0].attention
    kept = []
    attention.self.value.register_forward_hook(lambda m, i, o: kept.append(o[0, 1:-1]))
    tokens = torch.from_numpy(encode(AMINO_ACIDS))[None]
    with torch.no_grad():
        network(tokens)
        embedding = network.get_input_embeddings().weight[tokens[0, 1:-1]]
        width = model.width // model.heads
        for head in range(model.heads):
            alone = torch.zeros_like(kept[0])
            part = slice(head * width, (head + 1) * width)
            alone[:, part] = kept[0][:, part]
            logits = (attention.output.dense(alone) @ embedding.T).double().numpy()
            effect = logits - logits.mean(0) - logits.mean(1)[:, None] + logits.mean()
            # float32 sums of numbers up to some 200
            np.testing.assert_allclose(found.ov[0, head], effect, rtol=0, atol=2e-3)
    assert np.abs(found.ov[0]).max() > 1


def test_shapes_and_centring(found: Circuits):
    assert found.ov.shape == (2, 4, 20, 20)
    assert found.qk.shape == (2, 4, 33, 20, 20)
    assert list(found.offsets) == list(OFFSETS)
    for axis in (-1, -2):
        np.testing.assert_allclose(found.ov.sum(axis), 0, atol=1e-9)


def test_turning_a_key_is_the_rotary_embedding():
    random = np.random.default_rng(0)
    keys = random.normal(size=(3, 20, 8))
    frequencies = reference.inverse_frequencies(8).astype(np.float64)
    ours = turn(keys, np.arange(5), frequencies)  # (3, 5, 20, 8)
    cos, sin = reference.rotary_tables(frequencies, 5)
    for offset in range(5):
        theirs = reference.rotate(keys, cos[offset], sin[offset])
        np.testing.assert_allclose(ours[:, offset], theirs, rtol=0, atol=1e-12)
    back = turn(ours[:, 3], np.array([-3]), frequencies)[:, 0]
    np.testing.assert_allclose(back, keys, rtol=0, atol=1e-12)


def test_copying_score_of_known_matrices():
    random = np.random.default_rng(1)
    vectors = random.normal(size=(20, 6))
    assert copying_score(vectors @ vectors.T) == pytest.approx(1)
    assert copying_score(-vectors @ vectors.T) == pytest.approx(-1)
    quarter = np.zeros((20, 20))
    quarter[:2, :2] = [[0, -1], [1, 0]]  # a rotation: eigenvalues i and -i
    assert copying_score(quarter) == pytest.approx(0, abs=1e-12)
    assert np.isnan(copying_score(np.zeros((20, 20))))
    # what is added to every source alike changes no eigenvalue once targets are centred
    matrix = random.normal(size=(20, 20))
    matrix -= matrix.mean(1, keepdims=True)
    assert copying_score(matrix) == pytest.approx(copying_score(centre(matrix)))


def test_blosum62_is_the_published_table_in_our_order():
    table: Any = blosum62()
    theirs: Any = substitution_matrices.load("BLOSUM62")
    at = AMINO_ACIDS.index
    known = {"WW": 11, "AA": 4, "IV": 3, "DE": 2, "WG": -2, "CE": -4, "FY": 3}
    assert {pair: table[at(pair[0]), at(pair[1])] for pair in known} == known
    np.testing.assert_array_equal(table, table.T)
    assert np.trace(table) == sum(theirs[a, a] for a in AMINO_ACIDS)


@pytest.mark.parametrize("diagonal", [True, False])
def test_correlations_equal_scipy_with_and_without_permutation(diagonal: bool):
    random = np.random.default_rng(2)
    matrices = np.round(random.normal(size=(3, 20, 20)), 1)  # with ties
    ours = Similarity(diagonal=diagonal, permutations=5, seed=7).correlate(matrices)
    taken = np.ones((20, 20), bool) if diagonal else ~np.eye(20, dtype=bool)
    orders = np.random.default_rng(7)
    tables = [blosum62()]
    for _ in range(5):
        order = orders.permutation(20)
        tables.append(blosum62()[order][:, order])
    theirs: Any = [[scipy_correlation(m[taken], t[taken]) for t in tables] for m in matrices]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_blosum62_itself_is_found_and_a_flat_matrix_is_no_number():
    both = np.stack([blosum62(), np.ones((20, 20))])
    pairs = Similarity(diagonal=False, permutations=99, seed=0).correlate(both)
    p = empirical_p(pairs[:, 0], pairs[:, 1:])
    assert pairs[0, 0] == pytest.approx(1)
    assert p[0] == 0.01
    assert np.isnan(p[1])


def test_empirical_p_counts_both_sides_and_equals():
    p = empirical_p(np.array([0.5, -0.5, 0.9, 0.0]), np.array([-0.6, 0.5 - 1e-14, 0.1]))
    np.testing.assert_allclose(p, [3 / 4, 3 / 4, 1 / 4, 1])


def test_random_heads_are_gaussian_projections():
    """The short way, through Gram matrices, has the distribution of the long one."""
    random = np.random.default_rng(4)
    normed = random.normal(size=(20, 32)) * np.linspace(0.1, 2, 32)
    targets = random.normal(size=(20, 32)) + normed
    plain = Similarity(diagonal=False)
    offsets, frequencies = np.array([-2, 0, 5]), reference.inverse_frequencies(8)
    short = RandomHeads(normed, targets, 8, 400, seed=[0])
    long_ov, long_qk = [], []
    for _ in range(400):
        read, write, query, key = random.normal(size=(4, 32, 8))
        long_ov.append(centre(normed @ read @ write.T @ targets.T))
        turned = turn(normed @ key, offsets, frequencies)
        long_qk.append(centre(normed @ query @ turned.swapaxes(-1, -2)))
    short_ov, short_qk = short.ov(), list(short.qk(offsets, frequencies))
    np.testing.assert_allclose(centre(short_ov), short_ov, atol=1e-9)
    pairs = [
        (copying_score(short_ov), copying_score(np.stack(long_ov))),
        (plain.correlate(short_ov)[:, 0], plain.correlate(np.stack(long_ov))[:, 0]),
        *(
            [
                [np.abs(plain.correlate(scan)).max() for scan in scans]
                for scans in (short_qk, long_qk)
            ],
        ),
    ]
    for ours, theirs in pairs:
        result: Any = ks_2samp(ours, theirs)
        assert result.pvalue > 0.01


def test_random_heads_are_rarely_significant(tmp_path):
    """192 heads of random checkpoints: 5 % at p <= 0.05, as the name of p says."""
    rates = {"copying_p": 0, "blosum_ov_p": 0, "blosum_qk_p": 0}
    heads = 0
    for seed in range(4):
        folder = make_checkpoint(tmp_path / str(seed), (3, 16, 64), seed)
        model = load(folder, "cpu")
        # The embedding of ESM-2 holds BLOSUM62, which is what makes the Mantel test pass
        table: Any = model.network.get_input_embeddings().weight
        values, columns = np.linalg.eigh(blosum62())
        root = torch.tensor(columns * np.sqrt(values.clip(min=0)), dtype=table.dtype)
        table.data[torch.from_numpy(encode(AMINO_ACIDS)[1:-1]), :20] += 3 * root
        frame: Any = circuits(
            model, permutations=100, controls=199, seed=seed, offsets=range(-2, 3)
        ).to_frame()
        heads += len(frame)
        for name in rates:
            rates[name] += int((frame[name] <= 0.05).sum())
    for name, count in rates.items():  # 192 x 0.05 = 9.6, standard deviation 3
        assert count <= 19, name
    assert heads == 192


def test_table_has_a_row_for_each_head(found: Circuits):
    table: Any = found.to_frame()
    assert list(table["name"]) == [f"L{n}H{h}" for n in range(2) for h in range(4)]
    assert table.notna().all().all()
    assert table["copying"].between(-1, 1).all()
    for name in [name for name in table if str(name).endswith("_q")]:
        assert (table[name] >= table[f"{str(name)[:-2]}_p"] - 1e-12).all()
    table["copying"] = 0.0  # a copy
    assert found.to_frame()["copying"].to_numpy().all()


def test_one_head_at_every_offset_agrees_with_its_row(found: Circuits):
    row: Any = found.to_frame().set_index("name").loc["L1H2"]
    table: Any = found.head("L1H2")
    assert list(table.index) == list(OFFSETS)
    assert table["blosum"].abs().idxmax() == row["blosum_qk_offset"]
    assert table["blosum"][row["blosum_qk_offset"]] == row["blosum_qk"]
    assert table["score"].idxmax() == row["offset"]
    np.testing.assert_allclose(table["score"], found.qk[1, 2].mean((1, 2)))
    off = ~np.eye(20, dtype=bool)
    alone = centre(found.qk[1, 2, 20])
    theirs = scipy_correlation((alone + alone.T)[off], blosum62()[off])
    assert table["blosum_symmetric"][4] == pytest.approx(theirs)
    query, key = table["favourite"][4].split(">")
    assert alone[AMINO_ACIDS.index(query), AMINO_ACIDS.index(key)] == alone.max()


def test_matrices_with_letters(found: Circuits):
    ov, qk = found.matrix("L0H1"), found.matrix("L0H1", offset=-3)
    assert (ov.index.name, ov.columns.name) == ("source", "target")
    assert (qk.index.name, qk.columns.name) == ("query", "key")
    assert ov.loc["C", "W"] == found.ov[0, 1, 1, 18]
    assert qk.loc["C", "W"] == found.qk[0, 1, 13, 1, 18]
    assert "<table" in found._repr_html_()


def test_same_seed_same_table_and_offsets_in_any_order(tiny: Esm2, found: Circuits):
    again = circuits(tiny, offsets=list(OFFSETS)[::-1], **QUICK)
    assert again.to_frame().equals(found.to_frame())
    other = circuits(tiny, seed=1, **QUICK).to_frame()
    assert not other["copying_p"].equals(found.to_frame()["copying_p"])
    np.testing.assert_array_equal(other["copying"], found.to_frame()["copying"])


def test_a_head_that_writes_nothing_has_no_score(tiny_folder):
    model = load(tiny_folder, "cpu")
    layer: Any = model.network.encoder.layer[0]
    layer.attention.self.value.weight.data[:8] = 0
    table: Any = circuits(model, **QUICK).to_frame()
    columns = ["copying", "copying_p", "copying_q", "blosum_ov", "blosum_ov_p", "blosum_ov_q"]
    assert table.loc[0, columns].isna().all()
    assert table.loc[1:].notna().all().all()


def test_a_head_that_asks_the_same_of_every_letter_is_like_no_table(tiny_folder):
    model = load(tiny_folder, "cpu")
    layer: Any = model.network.encoder.layer[1]
    layer.attention.self.query.weight.data[8:16] = 0
    found = circuits(model, **QUICK)
    table: Any = found.to_frame().set_index("name")
    assert table.loc["L1H1"].filter(like="blosum_qk").isna().all()
    assert np.isfinite(table.loc["L1H1", "offset_score"])
    assert table.drop("L1H1").notna().all().all()
    assert set(found.head("L1H1")["spread"]) == {0}


def test_errors_say_what_there_is(tiny: Esm2, found: Circuits):
    with pytest.raises(OptionError, match="there is no L2H0: the model has layers 0 to 1"):
        found.head("L2H0")
    with pytest.raises(OptionError, match="give one head, such as L1H0, not 'L1'"):
        found.matrix("L1")
    with pytest.raises(OptionError, match="no offset 17: these circuits have -16 to 16; give"):
        found.matrix("L1H0", offset=17)
    wrong: list[dict[str, Any]] = [{"offsets": []}, {"permutations": 0}, {"controls": 0}]
    for options in wrong:
        with pytest.raises(OptionError, match="need at least one offset, one permutation and one"):
            circuits(tiny, **options)


@pytest.mark.weights
def test_heads_of_esm2_write_against_what_they_read(real: Esm2):
    """Masked-LM heads that look at a residue mostly lower it; L0H8 does little else."""
    found = circuits(real, permutations=100, controls=100)
    table: Any = found.to_frame().set_index("name")
    assert (table["copying"] < 0).mean() > 0.9
    assert table.loc["L0H8", "copying"] < -0.99
    assert assert_scores_are_those_of_layer_0(real.checkpoint.folder, found) > 1_000
