"""Each token hidden in turn: equal to copies that go through the network one by one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import EsmForMaskedLM, EsmModel

from esmkit.encoder import masked
from esmkit.encoder.hidden_token import FirstAttention
from esmkit.encoder.masked import masked_logits, masked_states
from esmkit.encoder.operations import Operations
from esmkit.encoder.rotary import rotary_tables, rotate
from esmkit.errors import CheckpointError, InputError, NonFiniteError
from esmkit.esm2 import Esm2, load
from esmkit.sequences.tokens import BOS, EOS, MASK, TOKENS, encode
from oracles.checkpoints import SHAPES, assert_close, make_checkpoint, random_sequence

Ids = NDArray[np.int64]


def copies(ids: Ids, places: Sequence[int]) -> list[Ids]:
    found = [ids.copy() for _ in places]
    for copy, place in zip(found, places, strict=True):
        copy[place] = MASK
    return found


def one_by_one(model: Esm2, ids: Ids, places: Sequence[int]) -> NDArray[np.float32]:
    """esmkit's own plain pass over each copy."""
    rows = [
        model.hidden_states([copy])[0][0, place]
        for copy, place in zip(copies(ids, places), places, strict=True)
    ]
    return np.array(rows).reshape(-1, model.width)


@torch.inference_mode()
def by_transformers(network: Any, ids: Ids, places: Sequence[int]) -> NDArray[np.float32]:
    given = torch.from_numpy(np.array(copies(ids, places)))
    output = network(given)
    found = output.logits if hasattr(output, "logits") else output.last_hidden_state
    return found[torch.arange(len(places)), torch.tensor(places)].numpy()


def hidden(model: Esm2, ids: Ids, places: Sequence[int], **options: Any) -> NDArray[np.float32]:
    (states,) = masked_states(model, [(ids, places)], **options)
    return states.float().numpy()


def network_of(folder: Path) -> EsmModel:
    return EsmModel.from_pretrained(folder, add_pooling_layer=False).eval()


@pytest.fixture(scope="module", params=[*SHAPES, (1, 2, 16)], ids=lambda s: "x".join(map(str, s)))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("masked") / "model", request.param, seed=3)


@pytest.mark.parametrize("compiled", [None, False], ids=["default", "plain"])
def test_every_site_equals_copies_and_transformers(folder: Path, compiled: bool | None):
    model, network = load(folder, "cpu", compiled=compiled), network_of(folder)
    for residues in (1, 2, 3, 40):
        ids = encode(random_sequence(residues, residues))
        places = range(len(ids))  # BOS and EOS can be hidden too
        found = hidden(model, ids, places)
        assert_close(found, by_transformers(network, ids, places))
        assert_close(found, one_by_one(model, ids, places))


def test_300_residues(tiny: Esm2, tiny_folder: Path):
    """More than one pass, the last of another size."""
    ids = encode(random_sequence(300, 0))
    found = hidden(tiny, ids, range(1, 301))
    some = [0, 1, 150, 298, 299]
    wanted = by_transformers(network_of(tiny_folder), ids, [i + 1 for i in some])
    assert_close(found[some], wanted)


def protein(letters: str) -> Ids:
    """Token ids of residues, of which ``_`` is a ``<mask>`` that is there."""
    return np.array([BOS, *(MASK if x == "_" else TOKENS.index(x) for x in letters), EOS], np.int64)


PROTEINS = st.text("LAGVSXB_", min_size=1, max_size=9).map(protein)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Ids, list[int]]:
    ids = draw(PROTEINS)
    return ids, draw(st.lists(st.integers(0, len(ids) - 1), max_size=12))


@given(given=st.lists(requests(), max_size=5), most=st.sampled_from([1, 7, 40, 16_384]))
@settings(max_examples=25)
def test_any_proteins_any_order_any_budget(
    tiny: Esm2, given: list[tuple[Ids, list[int]]], most: int
):
    """Masks that are there, unknown residues, repeated places and proteins, none at all."""
    results = list(masked_states(tiny, given, batch_tokens=most))
    assert len(results) == len(given)
    for (ids, places), found in zip(given, results, strict=True):
        assert found.shape == (len(places), tiny.width)
        assert_close(found.numpy(), one_by_one(tiny, ids, places))


def test_masks_that_are_there_count_in_token_dropout(tiny: Esm2, tiny_folder: Path):
    ids = protein("MK_VRQE_RLKSX_VRIL")
    places = range(1, len(ids) - 1)  # those masks too
    wanted = by_transformers(network_of(tiny_folder), ids, places)
    assert_close(hidden(tiny, ids, places), wanted)


def test_neighbours_change_nothing(tiny: Esm2):
    given = [(encode(random_sequence(n, n)), range(1, n + 1)) for n in (9, 30, 5, 9, 61)]
    together = [found.numpy() for found in masked_states(tiny, given)]
    for (ids, places), found in zip(given, together, strict=True):
        np.testing.assert_allclose(hidden(tiny, ids, places), found, rtol=0, atol=2e-6)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each pass."""
    tokens: list[int] = []
    run = masked._hidden_states

    def counted(model: Any, packed: Any, *rest: Any) -> torch.Tensor:
        tokens.append(packed.ids.shape[1])
        return run(model, packed, *rest)

    monkeypatch.setattr(masked, "_hidden_states", counted)
    return tokens


def test_what_is_asked_for_twice_is_computed_once(tiny: Esm2, passes: list[int]):
    ids, other = encode(random_sequence(20, 1)), encode(random_sequence(7, 2))
    given = [(ids, [3, 9, 3]), (other, [1]), (ids, [9, 4]), (other.copy(), [1, 1])]
    results = list(masked_states(tiny, given))
    assert sum(passes) == 3 * 22 + 9
    assert torch.equal(results[0][0], results[0][2])
    assert torch.equal(results[0][1], results[2][0])
    assert torch.equal(results[1][0], results[3][1])


def test_a_pass_is_no_larger_than_allowed(tiny: Esm2, passes: list[int]):
    ids = encode(random_sequence(1_022, 1))
    places = range(1, 1_023, 60)
    hidden(tiny, ids, places)
    assert max(passes) <= masked.PASS_TOKENS  # on a CPU, whatever is allowed
    passes.clear()
    hidden(tiny, ids, places, batch_tokens=100)  # a copy is not cut
    assert passes == [1_024] * len(places)


def test_small_work_is_shared_between_threads(tiny: Esm2, passes: list[int]):
    hidden(tiny, encode(random_sequence(40, 1)), range(1, 41))
    assert len(passes) >= torch.get_num_threads() > 1


def attention_of_copies(
    x: torch.Tensor, mask: torch.Tensor, layer: Any, rotary: Any, places: Sequence[int]
) -> torch.Tensor:
    """The formula, for each copy anew."""
    found = []
    for place in places:
        copy = x.clone()
        copy[place] = mask
        width = rotary[0].shape[-1]
        query, key, value = (
            dense(copy).unflatten(-1, (-1, width)).transpose(0, 1)
            for dense in (layer.query, layer.key, layer.value)
        )
        scores = rotate(query, *rotary) @ rotate(key, *rotary).transpose(1, 2) * width**-0.5
        found.append((scores.softmax(-1) @ value).transpose(0, 1))
    return torch.stack(found)  # (c, T, H, K)


class Layer:
    """The part of a layer that attention needs; sharper with a larger gain."""

    def __init__(self, width: int, gain: float, dtype: torch.dtype, mask_gain: float = 1.0) -> None:
        random = torch.Generator().manual_seed(0)
        self.attention_norm = torch.nn.Identity()
        for name, size in (("query", gain), ("key", gain), ("value", 1.0)):
            dense = torch.nn.Linear(width, width).requires_grad_(False)
            dense.weight.copy_(size * torch.randn(width, width, generator=random) * width**-0.5)
            dense.bias.copy_(torch.randn(width, generator=random))
            setattr(self, name, dense.to(dtype))


@pytest.mark.parametrize("mask_gain", [1.0, 12.0])
@pytest.mark.parametrize("gain", [0.5, 2.0, 6.0, 20.0])
@torch.inference_mode()
def test_the_key_that_rules_can_be_the_one_that_is_hidden(gain: float, mask_gain: float):
    """The softmax from even to one-hot; against float64 where nothing can cancel.

    With the largest gain scores reach thousands, and float32 rounds them by 1e-4 before any softmax.
    """
    random = torch.Generator().manual_seed(1)
    tokens, width, heads = 40, 32, 4
    x = torch.randn(tokens, width, generator=random).double()
    mask = mask_gain * torch.randn(width, generator=random).double()
    x, mask = x.float().double(), mask.float().double()
    frequencies = 100.0 ** -torch.arange(0, 1, 0.25)
    places = torch.arange(tokens)
    turns = [rotary_tables(places, frequencies, dtype) for dtype in (torch.float32, torch.float64)]
    turns[1] = (turns[0][0].double(), turns[0][1].double())
    layers: list[Any] = [Layer(width, gain, dtype) for dtype in (torch.float32, torch.float64)]
    wanted = attention_of_copies(x, mask, layers[1], turns[1], range(tokens))
    wide = FirstAttention.of(x, mask, layers[1], turns[1], Operations()).of_copies(places)
    assert wide.shape == (tokens, tokens, heads, width // heads)
    np.testing.assert_allclose(wide.numpy(), wanted.numpy(), rtol=0, atol=1e-11)
    shared = FirstAttention.of(x.float(), mask.float(), layers[0], turns[0], Operations())
    if gain > 2:  # single keys rule, and are not themselves alone
        ruled = (shared.rest_log_sum < shared.log_sum - 5).float().mean()
        assert ruled > 0.2
    plain = attention_of_copies(x.float(), mask.float(), layers[0], turns[0], range(tokens))
    error = (shared.of_copies(places) - wanted).abs().max()
    assert error <= 3 * (plain - wanted).abs().max() + 2e-6


def scaled(folder: Path, to: Path, gain: float) -> Path:
    """A checkpoint whose scores of the first layer are ``gain`` times as large."""
    network = network_of(folder)
    layer: Any = network.encoder.layer[0]
    with torch.no_grad():
        for dense in (layer.attention.self.query, layer.attention.self.key):
            dense.weight *= gain**0.5
            dense.bias *= gain**0.5
    network.save_pretrained(to)
    return to


def test_dominant_keys_in_a_whole_model(tiny_folder: Path, tmp_path: Path):
    sharp = scaled(tiny_folder, tmp_path / "sharp", gain=8.0)
    model, network = load(sharp, "cpu"), network_of(sharp)
    ids = encode("MMMMMKTVRQ" * 3)
    places = range(1, len(ids) - 1)
    found = hidden(model, ids, places)
    np.testing.assert_allclose(found, by_transformers(network, ids, places), rtol=0, atol=5e-5)


def test_bfloat16(tiny_folder: Path):
    """As near to float32 as the plain copies in bfloat16 are, more or less."""
    ids, places = encode(random_sequence(30, 1)), range(1, 31)
    exact = hidden(load(tiny_folder, "cpu"), ids, places)
    model = load(tiny_folder, "cpu", dtype="bfloat16")
    (found,) = masked_states(model, [(ids, places)])
    assert found.dtype == torch.bfloat16
    ours = np.abs(found.float().numpy() - exact).mean()
    plain = np.abs(one_by_one(model, ids, places) - exact).mean()
    assert 0 < ours < 1.5 * plain


@pytest.fixture(scope="module")
def with_head(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    network = EsmForMaskedLM.from_pretrained(tiny_folder)
    to = tmp_path_factory.mktemp("head") / "model"
    network.save_pretrained(to)
    return to


def test_logits_equal_those_of_transformers(with_head: Path):
    model, network = load(with_head, "cpu"), EsmForMaskedLM.from_pretrained(with_head).eval()
    given = [(encode(random_sequence(n, n)), list(range(n, 0, -1))) for n in (25, 1, 6)]
    for (ids, places), found in zip(given, masked_logits(model, given), strict=True):
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.float32
        assert_close(found, by_transformers(network, ids, places))


def test_logits_without_a_head_are_refused_before_anything_is_read(tiny: Esm2):
    def read() -> Any:
        raise AssertionError("something was read")
        yield

    with pytest.raises(CheckpointError, match="no masked-LM head"):
        masked_logits(tiny, read())


@pytest.mark.parametrize(
    ("ids", "places", "said"),
    [
        (encode("MK"), [4], r"protein number 2: cannot hide token 4; there are tokens 0 to 3"),
        (encode("MK"), [1, -1], r"cannot hide token -1"),
        (np.array([0, 33, 2]), [1], r"token ids must be 0 to 32"),
        (np.array([], np.int64), [], r"at least one"),
    ],
)
def test_what_cannot_be_hidden(tiny: Esm2, ids: Ids, places: list[int], said: str):
    with pytest.raises(InputError, match=said):
        list(masked_states(tiny, [(encode("MK"), [1]), (ids, places)]))


def test_not_a_number_is_refused(tiny_folder: Path):
    model = load(tiny_folder, "cpu")
    with torch.no_grad():
        model.network.get_input_embeddings().weight[TOKENS.index("W")] = torch.nan
    list(masked_states(model, [(encode("MKM"), [1, 2])]))
    with pytest.raises(NonFiniteError, match="weights check"):
        list(masked_states(model, [(encode("MKW"), [1, 2])]))


def test_layers_with_hooks_and_adapters_are_called(tiny_folder: Path):
    """What somebody has hung on a layer, or put in its place, is not passed by."""
    model, ids, places = load(tiny_folder, "cpu"), encode(random_sequence(12, 1)), range(1, 13)
    before = hidden(model, ids, places)

    def change(name: str) -> Callable[[], None]:
        for layer in model.parts().layers:
            dense: Any = getattr(layer, name)
            return dense.register_forward_hook(lambda module, args, output: 1.1 * output).remove
        raise AssertionError

    for name in ("query", "key", "value", "output", "expand", "contract"):
        undo = change(name)
        found = hidden(model, ids, places)
        assert np.abs(found - before).max() > 1e-3
        assert_close(found, one_by_one(model, ids, places))
        undo()


@pytest.mark.weights
def test_real_weights(real: Esm2):
    network = network_of(real.checkpoint.folder)
    ids = encode("MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG")
    found = hidden(real, ids, range(1, 77))
    some = [0, 20, 47, 75]
    assert_close(found[some], by_transformers(network, ids, [i + 1 for i in some]))
    assert_close(found[some], one_by_one(real, ids, [i + 1 for i in some]))
