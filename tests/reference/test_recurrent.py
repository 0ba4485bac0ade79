"""The recurrent network and the transformer beside it, against the same written out in NumPy."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.special import expit, log_softmax

from esmkit import reference
from esmkit.errors import InputError, OptionError
from esmkit.reference.recurrent import (
    ASK,
    LETTERS,
    START,
    RecurrentNetwork,
    TransformerNetwork,
    bigram_losses,
    growth,
    held_out_losses,
    influence,
    letter_losses,
    letter_numbers,
    letter_spread,
    recall_accuracy,
    recall_batch,
    step_by_step_share,
    time_by_length,
    train,
    train_recall,
)
from esmkit.reference.transformer import causal_mask
from esmkit.sequences import Protein

KINDS = {
    "LSTM": lambda: RecurrentNetwork("lstm", width=12, layers=2, seed=3),
    "GRU": lambda: RecurrentNetwork("gru", width=12, layers=2, seed=3),
    "transformer": lambda: TransformerNetwork(width=12, layers=2, heads=3, seed=3),
}
ANOTHER: Any = "another"

every_kind = pytest.mark.parametrize("kind", KINDS)

SEQUENCE = "MKTVRQERLKSIVRILE"


def weights(network: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in network.state_dict().items()}


def lstm_layer(x, w_in, w_state, b_in, b_state):
    """Hochreiter and Schmidhuber 1997 with a forget gate; gates in PyTorch's order i, f, g, o."""
    size, states = w_state.shape[1], []
    state, cell = np.zeros(size), np.zeros(size)
    for row in x:
        i, f, g, o = np.split(w_in @ row + b_in + w_state @ state + b_state, 4)
        cell = expit(f) * cell + expit(i) * np.tanh(g)
        state = expit(o) * np.tanh(cell)
        states.append(state)
    return np.array(states)


def gru_layer(x, w_in, w_state, b_in, b_state):
    """Cho et al. 2014, with the reset gate after the product, in PyTorch's order r, z, n."""
    state, states = np.zeros(w_state.shape[1]), []
    for row in x:
        (r, z, n), (hr, hz, hn) = (
            np.split(w_in @ row + b_in, 3),
            np.split(w_state @ state + b_state, 3),
        )
        update = expit(z + hz)
        new = np.tanh(n + expit(r + hr) * hn)
        state = (1 - update) * new + update * state
        states.append(state)
    return np.array(states)


def by_hand(kind: str, network: torch.nn.Module, numbers: np.ndarray) -> np.ndarray:
    """Logits (T, 20) of one sequence, in float64 NumPy."""
    w = weights(network)
    x = w["embedding.weight"][numbers]
    for layer in range(2):
        if kind == "transformer":
            x = transformer_layer(
                x, {n.split(".", 2)[2]: v for n, v in w.items() if f"blocks.{layer}." in n}
            )
        else:
            of = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            run = lstm_layer if kind == "LSTM" else gru_layer
            x = run(x, *(w[f"recurrent.{name}_l{layer}"] for name in of))
    if kind == "transformer":
        x = reference.layer_norm(x, reference.Affine(w["norm.weight"], w["norm.bias"]))
    return x @ w["output.weight"].T + w["output.bias"]


def transformer_layer(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """One layer from the functions of the reference, which know nothing of PyTorch."""

    def affine(name):
        return reference.Affine(w[f"{name}.weight"], w[f"{name}.bias"])

    query, key, value = [
        reference.Affine(*pair)
        for pair in zip(
            np.split(w["query_key_value.weight"], 3),
            np.split(w["query_key_value.bias"], 3),
            strict=True,
        )
    ]
    attention = reference.Attention(query, key, value, affine("attention_output"))
    x = x[None]
    rotary = reference.rotary_tables(np.array([1.0, 0.01]), x.shape[1])  # 10,000^(-2k/4)
    normed = reference.layer_norm(x, affine("attention_norm"))
    mask = causal_mask(x.shape[1])
    steps = reference.multi_head_attention(
        normed, normed, attention, 3, rotary=rotary, allowed=mask
    )
    x = x + steps["attention_output"]
    normed = reference.layer_norm(x, affine("feed_forward_norm"))
    steps = reference.feed_forward(normed, affine("expand"), affine("contract"), reference.gelu)
    return (x + steps["feed_forward_output"])[0]


@every_kind
def test_is_what_the_equations_say(kind: str):
    """In float64 the two differ by rounding: some 1e-15 of logits of magnitude 1."""
    network, numbers = KINDS[kind]().double(), letter_numbers(SEQUENCE)
    with torch.inference_mode():
        theirs = network(torch.from_numpy(numbers)[None])[0].numpy()
    assert np.abs(theirs).max() > 0.05  # logits of 0 would agree with anything
    np.testing.assert_allclose(theirs, by_hand(kind, network, numbers), rtol=0, atol=1e-12)


@every_kind
def test_a_place_knows_of_those_before_it_and_no_others(kind: str):
    network, numbers = KINDS[kind]().double(), torch.from_numpy(letter_numbers(SEQUENCE))[None]
    changed = numbers.clone()
    changed[0, 8] = (changed[0, 8] + 1) % 20
    moved = (network(numbers) - network(changed)).abs().amax(dim=2)[0].detach().numpy()
    assert (moved[:8] == 0).all()
    assert (moved[8:] > 0).all()


@every_kind
def test_the_seed_makes_the_network_and_leaves_the_generator_alone(kind: str):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    one, other = KINDS[kind](), KINDS[kind]()
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_letters_are_counted():
    """Worked out by hand: 3 A and 1 C of 4 letters, 1 added to each of 20."""
    found = letter_losses(["AAAC"], [Protein("x", "AC"), "XAX"])
    a, c = -np.log(4 / 24), -np.log(2 / 24)
    np.testing.assert_allclose(found, [(a + c) / 2, a], rtol=1e-12)  # rounding
    after_a = {"A": 3 / 23, "C": 2 / 23}  # A follows A twice, C once
    first = -np.log(2 / 21)  # one protein, which begins with A
    found = bigram_losses(["AAAC"], ["AC"])
    np.testing.assert_allclose(found, [(first - np.log(after_a["C"])) / 2], rtol=1e-12)


def test_unusual_letters_are_read_and_not_predicted():
    assert letter_numbers("AXZ").tolist() == [START, 0, ASK, ASK]
    network = KINDS["LSTM"]()
    with torch.inference_mode():
        logits = network(torch.tensor([[START, 0, ASK]]))[0].numpy()
    expected = -log_softmax(logits.astype(float), axis=1)[[0, 2], [0, 1]].mean()
    np.testing.assert_allclose(held_out_losses(network, ["AXC"]), expected, rtol=1e-5)  # float32


@every_kind
def test_held_out_loss_is_the_mean_of_a_protein(kind: str):
    network, proteins = KINDS[kind](), [SEQUENCE, "GG"]
    expected = []
    for sequence in proteins:
        numbers = letter_numbers(sequence)
        log = log_softmax(by_hand(kind, network, numbers[:-1]), axis=1)
        expected.append(-log[np.arange(len(sequence)), numbers[1:]].mean())
    np.testing.assert_allclose(held_out_losses(network, proteins), expected, rtol=1e-5)  # float32


@every_kind
def test_learns_what_can_be_learned(kind: str):
    """Letters in their order, over and over: the next one is certain, once there is one before."""
    cycle = LETTERS * 3
    network = KINDS[kind]()
    before = held_out_losses(network, [cycle])[0]
    curve = train(network, [cycle] * 4, steps=120, batch=4, residues=40, rate=1e-2)
    assert curve.shape == (120,)
    assert before > 2.5
    assert held_out_losses(network, [cycle])[0] < 0.7  # guessing has 3.0


def test_the_same_seed_trains_the_same_network():
    proteins = ["MKTVRQERLKSIVRILE" * 3, "GAVLI" * 4]
    curves, tables = [], []
    for seed in (5, 5, 6):
        network = KINDS["LSTM"]()
        curves.append(train(network, proteins, steps=3, batch=2, residues=16, seed=seed))
        tables.append(network.embedding.weight.detach().numpy().copy())
    np.testing.assert_array_equal(curves[0], curves[1])
    np.testing.assert_array_equal(tables[0], tables[1])
    assert not np.array_equal(curves[0], curves[2])


@every_kind
def test_influence_is_the_norm_of_the_jacobian(kind: str):
    """PyTorch's own Jacobian, one output after the other."""
    network = KINDS[kind]().double()
    numbers = torch.from_numpy(letter_numbers(SEQUENCE)[:11])
    embedded = network.embedding(numbers).detach()[None]
    jacobian: Any = torch.autograd.functional.jacobian(
        lambda x: network.read(x)[0, -1].log_softmax(dim=-1), embedded
    )
    norms = jacobian[:, 0].square().sum(dim=(0, 2)).sqrt().numpy()  # (11,): START and 10
    spread = np.sqrt((pdist(network.embedding.weight.detach().numpy()[:20]) ** 2).mean())
    np.testing.assert_allclose(letter_spread(network), spread, rtol=1e-12)  # rounding
    found = influence(network, [SEQUENCE, SEQUENCE[3:]], residues=10)
    assert found.shape == (2, 10)
    np.testing.assert_allclose(found[0], norms[:0:-1] * spread, rtol=1e-9)  # rounding


def test_recall_asks_for_the_first_letter():
    numbers, targets = recall_batch(np.random.default_rng(0), 50, 7)
    assert numbers.shape == targets.shape == (50, 10)
    assert (numbers[:, 0] == START).all()
    assert (numbers[:, -1] == ASK).all()
    assert (numbers[:, 1:-1] < 20).all()
    assert torch.equal(targets[:, -1], numbers[:, 1])
    assert (targets[:, :-1] == -100).all()


def test_recall_asks_for_all_letters_again():
    numbers, targets = recall_batch(np.random.default_rng(0), 50, 7, "all")
    assert numbers.shape == targets.shape == (50, 17)
    assert (numbers[:, 9] == ASK).all()
    letters = numbers[:, 1:9]
    assert torch.equal(targets[:, 9:], letters)  # from ASK on, each is to be said
    assert torch.equal(numbers[:, 10:], letters[:, :-1])  # and is then read
    assert (targets[:, :9] == -100).all()


def test_recall_counts_the_letters_that_are_right():
    """A network that always says A is right as often as A was asked for."""

    class SaysA(torch.nn.Module):
        def forward(self, numbers):
            return torch.eye(20)[0].expand(*numbers.shape, 20)

    _, targets = recall_batch(np.random.default_rng(1), 200, 6, "all")
    share = (targets[:, -7:] == 0).double().mean().item()
    assert recall_accuracy(SaysA(), 6, task="all") == pytest.approx(share, abs=1e-12)  # rounding
    assert 0.02 < share < 0.08


@every_kind
def test_recall_is_learned_over_short_distances(kind: str):
    make: Any = {"transformer": lambda: TransformerNetwork(width=32, layers=2, heads=4)}
    name: Any = kind.lower()
    network = make.get(kind, lambda: RecurrentNetwork(name, width=32, layers=1))()
    assert recall_accuracy(network, 2) < 0.3
    train_recall(network, steps=150, longest=3, rate=1e-2)
    assert recall_accuracy(network, 2) > 0.9


def test_networks_and_lengths_take_turns(monkeypatch):
    seen = []

    class Listener(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name, self.weight = name, torch.nn.Parameter(torch.ones(1))

        def forward(self, numbers):
            seen.append((self.name, numbers.shape[1], torch.is_grad_enabled()))
            return self.weight * numbers

    both = {name: Listener(name) for name in "ab"}
    found = time_by_length(both, [2, 5], repeats=3)
    assert {name: times.shape for name, times in found.items()} == {"a": (2, 3), "b": (2, 3)}
    turn = [("a", 2, False), ("b", 2, False), ("a", 5, False), ("b", 5, False)]
    assert seen == turn * 4  # one more than counted
    assert all((times > 0).all() for times in found.values())
    seen.clear()
    time_by_length(both, [3], task="learn", repeats=1)
    assert seen == [("a", 3, True), ("b", 3, True)] * 2


def test_what_waits_is_what_is_no_product_of_inputs(monkeypatch):
    """By a clock that counts: the whole takes 10 ticks, the products of inputs 4."""
    ticks = iter([0, 10, 14] * 3)
    monkeypatch.setattr("esmkit.reference.recurrent.timing.time.process_time", lambda: next(ticks))
    network = RecurrentNetwork(width=8, layers=2)
    assert step_by_step_share(network, 5, repeats=2) == pytest.approx(0.6, abs=1e-12)  # rounding


def test_growth_is_the_exponent():
    lengths = np.array([64, 128, 256, 512])
    np.testing.assert_allclose(growth(lengths, 1e-3 * lengths**1.5), 1.5, rtol=1e-12)  # rounding


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: letter_numbers(""), InputError, "an empty sequence has no residue to predict"),
        (lambda: letter_losses(["A"], ["XX"]), InputError, "without any of the 20 amino acids"),
        (lambda: RecurrentNetwork(ANOTHER), OptionError, "kind 'another'; give 'lstm' or 'gru'"),
        (
            lambda: TransformerNetwork(width=10, heads=4),
            OptionError,
            "4 heads and a width of 10; rotary positions turn pairs",
        ),
        (
            lambda: train(KINDS["LSTM"](), ["AC"], steps=0),
            OptionError,
            "steps is 0; give a whole number of 1 or",
        ),
        (lambda: train(KINDS["LSTM"](), [], steps=1), InputError, "there is no sequence; give one"),
        (
            lambda: influence(KINDS["LSTM"](), ["MKT"], residues=4),
            InputError,
            "sequence 0: 3 residues, and influence is measured over 4; give longer",
        ),
        (lambda: influence(KINDS["LSTM"](), [], residues=0), OptionError, "residues is 0"),
        (
            lambda: recall_batch(np.random.default_rng(0), 1, -1),
            OptionError,
            "1 sequences with -1 letters between; give 1 and 0 or more",
        ),
        (
            lambda: recall_batch(np.random.default_rng(0), 1, 1, ANOTHER),
            OptionError,
            "task 'another'; give 'first' or 'all'",
        ),
        (
            lambda: step_by_step_share(KINDS["LSTM"](), 0),
            OptionError,
            "length is 0; give a whole number of 1 or more",
        ),
        (
            lambda: train_recall(KINDS["LSTM"](), steps=1, longest=0),
            OptionError,
            "longest is 0; give a whole number of 1 or more",
        ),
        (lambda: time_by_length({}, [1], task=ANOTHER), OptionError, "give 'read' or 'learn'"),
        (
            lambda: time_by_length({"LSTM": KINDS["LSTM"]()}, [0]),
            OptionError,
            "length is 0; give a whole number",
        ),
        (lambda: growth([1, 2], [1.0]), InputError, "2 lengths and 1 times; give as many of one"),
    ],
)
def test_what_is_wrong_is_said(call, error, said: str):
    with pytest.raises(error, match=said):
        call()
