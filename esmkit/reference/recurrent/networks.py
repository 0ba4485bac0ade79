"""A recurrent network and a transformer of about the same size, which say what comes next.

Both embed each number of a sequence, hand the vectors through a few layers, and make 20 logits of
each. They differ in how a place learns of those before it: the recurrent network hands one state
from place to place, the transformer looks at all places at once, with a causal mask.

References
----------
.. [1] Cho et al. 2014, arXiv:1406.1078 (gated recurrent unit).
.. [2] Hochreiter and Schmidhuber 1997, Neural Computation 9, 1735 (LSTM).
.. [3] Vaswani et al. 2017, arXiv:1706.03762; with the norm before each half of a layer, GELU and
   rotary positions, as in ESM-2.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esmkit.arguments import what_is
from esmkit.errors import InputError, OptionError
from esmkit.reference.bounds import at_least
from esmkit.reference.recurrent.letters import LETTERS, VOCABULARY

__all__ = ["RecurrentNetwork", "TransformerNetwork", "parameter_count"]

ROTARY_BASE = 10_000.0  # Su et al. 2021, arXiv:2104.09864
START_SCALE = 0.02  # standard deviation of the weights of a transformer at the start, as in BERT


class _Network(nn.Module):
    """Numbers to vectors, layers, and vectors to logits; the layers are made by each kind."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width: int = width
        self.embedding: nn.Embedding = nn.Embedding(VOCABULARY, width)
        self.output: nn.Linear = nn.Linear(width, len(LETTERS))
        nn.init.normal_(self.embedding.weight, std=1.0)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return logits (B, T, 20) of what follows each of the numbers (B, T)."""
        if not isinstance(numbers, Tensor) or numbers.ndim != 2 or not numbers.numel():
            raise InputError(
                f"numbers are {what_is(numbers)}; give a tensor (sequences, places), such as "
                "torch.from_numpy(letter_numbers('MKT'))[None]"
            )
        if not 0 <= int(numbers.min()) <= int(numbers.max()) < VOCABULARY:
            raise InputError(
                f"numbers {int(numbers.min())} to {int(numbers.max())}; give 0 to {VOCABULARY - 1}, "
                "as letter_numbers makes them"
            )
        return self.read(self.embedding(numbers))

    def read(self, embedded: Tensor) -> Tensor:
        """Return logits (B, T, 20), given the embedded numbers (B, T, D)."""
        return self.output(self.layers_of(embedded))

    def layers_of(self, embedded: Tensor) -> Tensor:
        """Return the vectors after the last layer, (B, T, D) as those given."""
        raise NotImplementedError


class RecurrentNetwork(_Network):
    """A network that reads one place after the other and hands a state on.

    Parameters
    ----------
    kind : {'lstm', 'gru'}
        In PyTorch on a CPU the LSTM is several times faster.
    width : int, D
        Numbers of the embedding and of the state of each layer.
    layers : int
    seed : int
        Of the random weights at the start.

    Raises
    ------
    OptionError
        If the kind is another, or width or layers is under 1.

    See Also
    --------
    TransformerNetwork : One of about the same size that looks at all places at once.

    References
    ----------
    Hochreiter and Schmidhuber 1997, Neural Computation 9:1735 (LSTM).
    Cho et al. 2014, arXiv:1406.1078 (gated recurrent unit).

    Examples
    --------
    >>> network = RecurrentNetwork(width=8, layers=1)
    >>> network(torch.zeros(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 20])
    >>> network.layers_of(torch.zeros(2, 5, 8)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        kind: Literal["lstm", "gru"] = "lstm",
        *,
        width: int = 118,
        layers: int = 2,
        seed: int = 0,
    ) -> None:
        if kind not in ("lstm", "gru"):
            raise OptionError(f"a recurrent network of kind {kind!r}; give 'lstm' or 'gru'")
        at_least(1, width=width, layers=layers)
        at_least(0, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(width)
            make = nn.GRU if kind == "gru" else nn.LSTM
            self.recurrent: nn.GRU | nn.LSTM = make(width, width, layers, batch_first=True)

    def layers_of(self, embedded: Tensor) -> Tensor:
        """Return the state of the last layer at each place, (B, T, D), given embedded (B, T, D)."""
        return self.recurrent(embedded)[0]


class TransformerNetwork(_Network):
    """A network in which each place looks at itself and at all places before it.

    Parameters
    ----------
    width : int, D
    layers : int
    heads : int, H, which divides the width into heads of an even width
    seed : int
        Of the random weights at the start.

    Raises
    ------
    OptionError
        If heads of an even width do not divide the width, or a number is under 1.

    See Also
    --------
    RecurrentNetwork : One of about the same size that reads place by place.

    References
    ----------
    Vaswani et al. 2017, arXiv:1706.03762.

    Examples
    --------
    >>> network = TransformerNetwork(width=8, layers=1, heads=2)
    >>> network(torch.zeros(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 20])
    >>> network.layers_of(torch.zeros(2, 5, 8)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(self, *, width: int = 96, layers: int = 2, heads: int = 6, seed: int = 0) -> None:
        at_least(1, width=width, layers=layers, heads=heads)
        at_least(0, seed=seed)
        if width % (2 * heads):
            raise OptionError(
                f"{heads} heads and a width of {width}; rotary positions turn pairs of numbers, so "
                "give a width that is an even number times the heads"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(width)
            self.blocks: nn.ModuleList = nn.ModuleList(_Block(width, heads) for _ in range(layers))
            self.norm: nn.LayerNorm = nn.LayerNorm(width)
        self.heads: int = heads

    def layers_of(self, embedded: Tensor) -> Tensor:
        """Return the vectors after the last layer and the final norm, (B, T, D).

        They are made of the embedded numbers, (B, T, D) too.
        """
        turns = _rotary(embedded.shape[1], self.width // self.heads).to(embedded)
        x = embedded
        for block in self.blocks:
            x = block(x, turns)
        return self.norm(x)


def check_network(network: nn.Module) -> None:
    """Refuse what is no network of this folder or of PyTorch."""
    if not isinstance(network, nn.Module):
        raise InputError(
            f"the network is {what_is(network)}; give a RecurrentNetwork or TransformerNetwork"
        )


class _Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for map_ in (self.query_key_value, self.attention_output, self.expand, self.contract):
            nn.init.normal_(map_.weight, std=START_SCALE)
            nn.init.zeros_(map_.bias)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        sequences, tokens, width = x.shape
        three = self.query_key_value(self.attention_norm(x))  # (B, T, D) -> (B, T, 3 D)
        split = three.view(sequences, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (B, H, T, K)
        query, key = _turn(query, turns), _turn(key, turns)
        found = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        found = found.transpose(1, 2).reshape(sequences, tokens, width)
        x = x + self.attention_output(found)
        return x + self.contract(F.gelu(self.expand(self.feed_forward_norm(x))))


def _rotary(tokens: int, width: int) -> Tensor:
    """Return cosine and sine of the angle of each position and pair of numbers: (2, T, K/2)."""
    speed = ROTARY_BASE ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(tokens, dtype=torch.float64)[:, None] * speed
    return torch.stack([angles.cos(), angles.sin()])


def _turn(x: Tensor, turns: Tensor) -> Tensor:
    """Turn pairs of numbers (B, H, T, K) by their position; the halves are the two of a pair."""
    cos, sin = turns
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def parameter_count(network: nn.Module) -> int:
    """Return how many numbers a network has to learn.

    >>> parameter_count(RecurrentNetwork(width=8, layers=1))
    932
    """
    return sum(parameter.numel() for parameter in network.parameters())
