"""Step by step in the live page: every number is the reference's, and so is every equation's."""

import math
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy, norm

from esmkit.encoder.activations import LAYER_STEPS, OF_HEADS
from esmkit.encoder.encoder import Encoder
from esmkit.esm2 import Esm2
from esmkit.reference import encoder as reference
from esmkit.reference.masked_lm import masked_lm_steps, read_masked_lm_head
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.tokens import TOKENS, encode
from oracles.live_steps import live_files, run_steps

SEQUENCE = "MKTAYIWQRDEX"
LAYER, HEAD, QUERY, KEY = 1, 3, 4, 9

TOLERANCE = 1e-3
"""Of the largest number of a vector. Weights are held in 16 bits, each within 1.5e-5 of the largest of
its row; two layers of random weights, larger than trained ones, make 2e-4 of it at most."""

SHOWN = 2e-3
"""Of a number in an equation, of its own size: four digits, and the weights' 16 bits."""

MATHML = "{http://www.w3.org/1998/Math/MathML}"


def place(layer: int, head: int = HEAD, *, end: bool = False) -> dict[str, Any]:
    return {"layer": layer, "head": head, "query": QUERY, "key": KEY, "end": end}


@pytest.fixture(scope="module")
def shown(tiny_lm: Esm2) -> dict[str, Any]:
    places = [place(0), place(LAYER), place(LAYER, end=True)]
    return run_steps(tiny_lm, [{"sequence": SEQUENCE, "places": places}])[0]


class Oracle:
    """The reference in float64, with the weights of a model."""

    def __init__(self, model: Encoder, sequence: str, hidden: tuple[int, ...] = ()) -> None:
        tensors = {name: t.numpy() for name, t in model.network.state_dict().items()}
        self.parameters = reference.read_parameters(tensors, model.heads)
        ids = encode(sequence)[None].copy()
        for residue in hidden:
            ids[0, residue + 1] = reference.MASK
        found = reference.encode(self.parameters, ids, trace=True)
        self.hidden = found.hidden_states
        assert found.trace is not None
        self.trace = found.trace
        assert model.lm_head is not None
        parts = {n: t.detach().numpy() for n, t in model.lm_head.weights.tensors().items()}
        self.head = read_masked_lm_head(tensors, parts)
        self.end = masked_lm_steps(found.hidden_states[-1], self.head)

    def layer(self, layer: int, head: int, query: int, key: int) -> dict[str, np.ndarray]:
        """Steps by the names of the page, of one query and one key, both from 0."""
        found: dict[str, np.ndarray] = {}
        first = "embedding" if layer == 0 else f"L{layer - 1}.residual"
        found[first] = self.hidden[layer][0, query + 1]
        for step in LAYER_STEPS:
            values = self.trace[layer][step]
            if step in OF_HEADS:
                token = key + 1 if step in ("key", "value", "rotated_key") else query + 1
                name = f"L{layer}H{head}.{step.removeprefix('head_')}"
                found[name] = values[0, head, token]
            else:
                found[f"L{layer}.{step}"] = values[0, query + 1]
        return found


@pytest.fixture(scope="module")
def oracle(tiny_lm: Esm2) -> Oracle:
    return Oracle(tiny_lm, SEQUENCE)


def values_of(walk: list[dict[str, Any]]) -> dict[str, list[float]]:
    """The vector that each step is named after."""
    return {step["name"]: step["vectors"][-1]["values"] for step in walk}


@pytest.mark.parametrize("layer", [0, LAYER])
def test_steps_of_a_layer_are_those_of_the_reference_under_its_names(shown, oracle, layer: int):
    found = values_of(shown["walks"][layer])
    expected = oracle.layer(layer, HEAD, QUERY, KEY)
    assert list(found) == list(expected)
    for name, values in expected.items():
        largest = np.abs(values).max()
        np.testing.assert_allclose(found[name], values, atol=TOLERANCE * largest, err_msg=name)


def test_steps_after_the_last_layer_are_those_of_the_reference(shown, oracle):
    found = values_of(shown["walks"][2])
    expected = {name: oracle.end[name][0, QUERY + 1] for name in oracle.end}
    logits = expected["logits"][[TOKENS.index(letter) for letter in AMINO_ACIDS]]
    expected["probabilities"] = softmax(logits)
    assert list(found) == ["final", "lm_hidden", "lm_normed", "logits", "probabilities"]
    for name, values in expected.items():
        largest = np.abs(values).max()
        np.testing.assert_allclose(found[name], values, atol=TOLERANCE * largest, err_msg=name)


def test_what_one_head_adds_is_its_columns_of_w_o(shown, oracle):
    walk = {step["name"]: step for step in shown["walks"][LAYER]}
    step = walk[f"L{LAYER}.attention_output"]
    vectors = {vector["name"]: vector["values"] for vector in step["vectors"]}
    mixed = oracle.trace[LAYER]["head_output"][0, :, QUERY + 1]  # (H, K)
    size = mixed.shape[1]
    weight = oracle.parameters.layers[LAYER].attention.output.weight
    expected = weight[:, HEAD * size : (HEAD + 1) * size] @ mixed[HEAD]
    np.testing.assert_allclose(vectors[f"L{LAYER}H{HEAD}.part"], expected, atol=TOLERANCE)
    np.testing.assert_allclose(vectors[f"L{LAYER}.head_output"], mixed.ravel(), atol=TOLERANCE)
    length = re.search(r"alone adds a vector of length ([\d.]+)", step["text"][0])
    assert length
    assert float(length[1]) == pytest.approx(np.linalg.norm(expected), rel=SHOWN)


@pytest.mark.parametrize("bits", [16, 8])
def test_rows_are_of_the_weights_that_the_page_runs_with(tiny_lm: Esm2, bits: int):
    """However many bits they have: what one head adds has the length that the run itself found."""
    runs = [{"sequence": SEQUENCE, "places": [place(LAYER)]}]
    walk = run_steps(tiny_lm, runs, bits=bits)[0]["walks"][0]
    step = next(one for one in walk if one["name"] == f"L{LAYER}.attention_output")
    part = next(one["values"] for one in step["vectors"] if one["name"].endswith(".part"))
    length = re.search(r"alone adds a vector of length ([\d.]+)", step["text"][0])
    assert length
    # Four digits are shown
    assert float(length[1]) == pytest.approx(np.linalg.norm(part), rel=5e-4)


def test_norms_say_mean_and_variance_of_what_they_read(shown, oracle):
    walk = {step["name"]: step for step in shown["walks"][LAYER]}
    for name, before in (
        ("attention_input", oracle.hidden[LAYER]),
        ("feed_forward_input", oracle.trace[LAYER]["attention_residual"]),
    ):
        step = walk[f"L{LAYER}.{name}"]
        read = before[0, QUERY + 1]
        assert step["mean"] == pytest.approx(read.mean(), abs=TOLERANCE * np.abs(read).max())
        assert step["variance"] == pytest.approx(read.var(), rel=TOLERANCE)


# --------------------------------------------------------------------------------- the equations


def numeric(element: ElementTree.Element) -> str:
    """One equation of numbers as Python, everything that computes nothing left out."""
    tag = element.tag.removeprefix(MATHML)
    parts = [numeric(child) for child in element]
    if tag == "mfrac":
        return f"(({parts[0]})/({parts[1]}))"
    if tag == "msqrt":
        return f"math.sqrt({''.join(parts)})"
    if tag == "msup":
        return f"({parts[0]})**({parts[1]})"
    if tag in ("math", "mrow"):
        return re.sub(r"\)\(", ")*(", "".join(parts))
    signs = {"\u00d7": "*", "\u2212": "-", "Φ": "phi", "e": "math.e"}
    text = (element.text or "").replace("\u00a0", " ")
    return signs.get(text, text)


def sides(markup: str) -> list[str]:
    return numeric(ElementTree.fromstring(markup)).split("=")


def test_equations_are_well_formed_and_only_of_mathml(shown):
    allowed = {
        "math",
        "mrow",
        "mi",
        "mn",
        "mo",
        "mtext",
        "mfrac",
        "msqrt",
        "msub",
        "msup",
        "munder",
    }
    count = 0
    for walk in shown["walks"]:
        for step in walk:
            for markup in step["equations"] + step["first"]:
                tree = ElementTree.fromstring(markup)
                assert {e.tag.removeprefix(MATHML) for e in tree.iter()} <= allowed
                assert all(element.tag.startswith(MATHML) for element in tree.iter())
                for element in tree.iter():
                    children = {"mfrac": 2, "msub": 2, "msup": 2, "munder": 2}
                    wanted = children.get(element.tag.removeprefix(MATHML))
                    assert wanted is None or len(element) == wanted
                count += 1
    assert count > 150


@pytest.mark.parametrize("which", ["equations", "first"])
def test_equations_end_in_the_number_that_is_drawn(shown, which: str):
    seen = 0
    for walk in shown["walks"]:
        for step in walk:
            picked = step["picked"] if which == "equations" else 0
            values = step["vectors"][-1]["values"]
            if step["name"].endswith((".scores", ".weights")):
                picked = KEY + 1
            assert eval(sides(step[which][-1])[-1]) == pytest.approx(values[picked], rel=SHOWN), (
                step["name"]
            )
            seen += 1
    assert seen == 16 + 16 + 5


COMPUTED = ("attention_input", "rotated_query", "rotated_key", "weights", "attention_residual")
COMPUTED += ("feed_forward_input", "feed_forward_hidden", "residual", "final", "lm_hidden")
COMPUTED += ("lm_normed", "probabilities", "embedding")


def test_what_stands_left_of_the_last_sign_is_what_stands_right(shown):
    """Where an equation holds all of its numbers, they give the result."""
    seen = set()
    for walk in shown["walks"]:
        for step in walk:
            name = step["name"].rpartition(".")[2]
            if name not in COMPUTED or (name == "residual" and step["title"] == "What arrives"):
                continue
            *_, left, right = sides(step["equations"][-1])
            # Between numbers of four digits, of which a difference can lose two
            found = eval(left, {"math": math, "phi": norm.cdf, "cos": math.cos})
            assert found == pytest.approx(eval(right), rel=2e-2, abs=2e-3), step["name"]
            seen.add(name)
    assert seen == set(COMPUTED)


def test_sums_write_out_the_largest_products_with_the_weights_themselves(shown, oracle):
    p = oracle.parameters.layers[LAYER]
    size = len(p.attention.query.bias) // 4
    steps, end = oracle.trace[LAYER], oracle.end
    token = QUERY + 1
    normed = steps["attention_input"][0]
    head = oracle.head
    whole = {  # map, what it reads, and the row of number 1
        f"L{LAYER}H{HEAD}.query": (p.attention.query, normed[token], HEAD * size),
        f"L{LAYER}H{HEAD}.value": (p.attention.value, normed[KEY + 1], HEAD * size),
        f"L{LAYER}.attention_output": (
            p.attention.output,
            steps["head_output"][0, :, token].ravel(),
            0,
        ),
        f"L{LAYER}.feed_forward_hidden": (p.expand, steps["feed_forward_input"][0, token], 0),
        f"L{LAYER}.feed_forward_output": (p.contract, steps["feed_forward_hidden"][0, token], 0),
        "lm_hidden": (head.dense, end["final"][0, token], 0),
        "logits": (head.decoder, end["lm_normed"][0, token], 0),
    }
    walks = {step["name"]: step for walk in shown["walks"][1:] for step in walk}
    for name, (p, read, first) in whole.items():
        step = walks[name]
        line = next(
            numeric(ElementTree.fromstring(e)) for e in step["equations"] if "+</mo><mo>…" in e
        )
        row = first + step["picked"]
        products = p.weight[row] * read
        largest = sorted(products, key=abs)[-3:][::-1]
        *terms, dots, rest = line.strip("=").replace("+", " + ").split(" + ")
        assert dots == "…"
        for term, expected in zip(terms, largest, strict=True):
            assert eval(term) == pytest.approx(expected, rel=1e-2), name
        assert eval(rest.partition("=")[0]) == pytest.approx(p.bias[row], rel=SHOWN), name


def test_the_embedding_is_a_row_of_the_table_times_the_factor_of_hidden_tokens(tiny_lm: Esm2):
    """ESM-2 scales by the share of tokens kept in training over the share kept here."""
    first = {**place(0), "query": 0}
    runs = [{"sequence": SEQUENCE, "options": {"mask": [QUERY]}, "places": [first]}]
    step = run_steps(tiny_lm, runs)[0]["walks"][0][0]
    row = Oracle(tiny_lm, SEQUENCE).parameters.embedding[TOKENS.index("M")]
    _, product, _ = sides(step["equations"][-1])
    factor, _, entry = product.partition("*")
    assert float(factor) == pytest.approx(0.88 / (1 - 1 / 14), rel=SHOWN)
    assert eval(entry) == pytest.approx(row[step["picked"]], rel=SHOWN)


def test_without_the_weights_as_text_equations_still_say_the_result(tiny_lm: Esm2, shown):
    bare = run_steps(
        tiny_lm, [{"sequence": SEQUENCE, "places": [place(LAYER)]}], without_rows=True
    )[0]
    for with_rows, without in zip(shown["walks"][LAYER], bare["walks"][0], strict=True):
        assert without["vectors"][-1] == with_rows["vectors"][-1]
        if not with_rows["name"].endswith("expand"):
            numbers = re.findall(r"<mn>([\d.]+)</mn>", without["equations"][-1])
            assert numbers, with_rows["name"]
    query = next(step for step in bare["walks"][0] if step["name"].endswith(".query"))
    full = next(step for step in shown["walks"][LAYER] if step["name"].endswith(".query"))
    assert len(query["equations"]) < len(full["equations"])


# ---------------------------------------------------------------------------------- the guesses


def shares_of(oracle: Oracle, letters: str) -> np.ndarray:
    columns = [TOKENS.index(letter) for letter in letters]
    return softmax(oracle.end["logits"][0, 1:-1][:, columns], axis=1)


ORDER = "AVILMCFYWGPSTNQHKRDE"


def test_guesses_are_the_softmax_over_20_amino_acids(shown, oracle):
    guess = shown["guess"]
    expected = shares_of(oracle, ORDER)  # (R, 20)
    np.testing.assert_allclose(
        np.reshape(guess["shares"], expected.shape), expected, atol=TOLERANCE, rtol=0
    )
    bits = math.log2(20) - entropy(expected, base=2, axis=1)
    np.testing.assert_allclose(
        guess["bits"], bits, atol=5e-3
    )  # bits are steep where shares are small
    known = [i for i, letter in enumerate(SEQUENCE) if letter in AMINO_ACIDS]
    assert known == list(range(len(SEQUENCE) - 1))
    own = [expected[i, ORDER.index(SEQUENCE[i])] for i in known]
    assert guess["own"][-1] is None  # X is none of the 20
    np.testing.assert_allclose(guess["own"][:-1], own, atol=TOLERANCE)
    assert guess["perplexity"] == pytest.approx(np.exp(-np.mean(np.log(own))), rel=5e-3)


def test_the_order_of_letters_is_that_of_the_variant_map():
    from esmkit.plots import variants

    text = live_files()["guess.js"]
    assert f'"{variants.LETTERS}"' in text
    assert str(list(variants.GROUPS)) in text


def test_a_hidden_residue_is_a_mask_for_the_model(tiny_lm: Esm2):
    hidden = run_steps(
        tiny_lm,
        [
            {
                "sequence": SEQUENCE,
                "options": {"mask": [QUERY]},
                "places": [place(0), place(1, end=True)],
            }
        ],
    )[0]
    oracle = Oracle(tiny_lm, SEQUENCE, hidden=(QUERY,))
    expected = shares_of(oracle, ORDER)
    found = np.reshape(hidden["guess"]["shares"], expected.shape)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    embedding = hidden["walks"][0][0]
    assert embedding["vectors"][0]["values"] == [0] * 32
    assert "is hidden" in embedding["text"][0]
    assert "It was hidden" in hidden["walks"][1][-1]["text"][0]


def test_what_moved_is_half_the_sum_of_absolute_differences(tiny_lm: Esm2):
    changed = SEQUENCE[:3] + "G" + SEQUENCE[4:]
    longer = SEQUENCE[:3] + "GG" + SEQUENCE[3:]
    runs = [{"sequence": SEQUENCE, "then": changed}, {"sequence": longer, "then": SEQUENCE}]
    same, other = run_steps(tiny_lm, runs)
    now, then = (shares_of(Oracle(tiny_lm, s), ORDER) for s in (SEQUENCE, changed))
    np.testing.assert_allclose(same["moved"], np.abs(now - then).sum(1) / 2, atol=TOLERANCE)
    assert same["pairs"] == list(range(len(SEQUENCE)))
    # What was put in has no residue to be compared with; what follows it is compared with its own
    assert other["pairs"] == [0, 1, 2, -1, -1, *range(3, len(SEQUENCE))]
    now = shares_of(Oracle(tiny_lm, longer), ORDER)
    then = shares_of(Oracle(tiny_lm, SEQUENCE), ORDER)
    moved = [
        None if j < 0 else abs(now[i] - then[j]).sum() / 2 for i, j in enumerate(other["pairs"])
    ]
    assert other["moved"][3:5] == [None, None]
    np.testing.assert_allclose(
        [v for v in other["moved"] if v is not None],
        [v for v in moved if v is not None],
        atol=TOLERANCE,
    )


def test_a_model_without_a_head_ends_at_the_final_norm(tiny: Esm2):
    found = run_steps(tiny, [{"sequence": SEQUENCE, "places": [place(LAYER, end=True)]}])[0]
    assert found["guess"] is None
    assert [step["name"] for step in found["walks"][0]] == ["final"]


# ------------------------------------------------------------------------------------ the text


@pytest.mark.parametrize("name", sorted(live_files()))
def test_nothing_reaches_the_page_as_markup(name: str):
    text = live_files()[name]
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser"):
        assert way not in text
