"""What a head is worth for what the model was trained to do: the masked-LM loss without it.

ESM-2 was trained to guess hidden residues. Here the residues of real proteins are hidden, the heads
are taken away one at a time, and the loss is what it was less what it is: where a head looks, and
what contacts lose without it, say nothing about that.

Hidden residues
    The residues of a chain are cut at random (with a seed, and its sequence, so that neither other
    chains nor their order matter) into :data:`~esmkit.heads.hidden_rows.PARTS` parts of like size, and some of these are hidden
    in turn by ``<mask>``: by default :data:`DRAWS`, so that more than half of the residues are hidden
    once, or all. With a residue a seventh of its chain is hidden (14 %; in training 15 % of the
    residues were chosen and 80 % of these hidden). X, B, U, Z and O are never hidden.
Loss
    -log p of the residue that is hidden, in nats, by a softmax over the 20 amino acids; the mean over
    the residues of a chain, then over chains. A perplexity is its exponential.
Head
    Its output is replaced in every token, BOS and EOS included, as in :mod:`esmkit.heads.ablation`: by
    its mean over all residues of these hidden copies (``mean``), or by 0 (``zero``). A head whose W^O is
    0 changes nothing, to the last bit.

All heads of a layer are taken away together, too: what its attention is worth. Heads can stand in for
each other, so that this is no sum of what they are worth alone.

A pass begins behind the heads of the layer that is touched, and its last layer is computed for the
hidden tokens alone. Memory holds one chain at one layer.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.arguments import whole_number
from esmkit.contacts.scores import bootstrap
from esmkit.encoder.lm_head import LmHead
from esmkit.encoder.names import choose_heads, head_name
from esmkit.encoder.threads import side_by_side
from esmkit.errors import CheckpointError, NonFiniteError, OptionError
from esmkit.heads.ablation import MODES, Mode, check_chains, check_modes
from esmkit.heads.changes import flip_test
from esmkit.heads.hidden_rows import PARTS, HiddenRow, Job, hidden_parts
from esmkit.heads.resume import LOSS, Keeper
from esmkit.heads.statistics import benjamini_hochberg
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["COLUMNS", "DRAWS", "head_facts", "loss_without"]

DRAWS = 4
"""Parts that are hidden in turn: each takes a pass for each head and mode. All seven take 7/4 of the time."""

PASS_TOKENS = 1_536
"""Most tokens of a row on a CPU, so that hidden states stay in its cache."""

BATCH_TOKENS = 16_384
"""Most tokens of a row elsewhere."""

COLUMNS = (
    *("masked_lm_loss", "masked_lm_loss_change", "masked_lm_loss_low", "masked_lm_loss_high"),
    *("masked_lm_loss_p", "masked_lm_loss_q", "masked_lm_residues"),
    *("layer_loss_change", "layer_loss_low", "layer_loss_high"),
)
"""What the table has beside the head and the mode."""

Array = NDArray[np.float64]


def loss_without(
    model: "Encoder",
    structures: Iterable["Structure"],
    *,
    modes: Sequence[Mode] | Mode = MODES,
    heads: Sequence[str] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Say = silent,
    keep: Keeper = Keeper(),  # noqa: B008 - keeps nothing
) -> "pandas.DataFrame":
    """Take one head at a time out of the model, and measure how well it guesses hidden residues.

    Parameters
    ----------
    model : Encoder
        With a masked-LM head: the checkpoint's own, or one that was fitted to it, which is warned of.
    structures : iterable of Structure
        Chains of up to 1,022 residues, each ID once; their sequences alone are used.
    modes : {'mean', 'zero'} or sequence of them
        What takes the place of the head's output; see :mod:`esmkit.heads.masked_loss`.
    heads : sequence of str, optional
        Names such as ``L5H4``, or ``L5`` for a whole layer; by default all.
    draws : int
        Parts of each chain that are hidden in turn, 1 to 7; with 7 each residue is hidden once.
    seed : int
        Seed of what is hidden when, of the bootstrap and of the test.
    progress : callable
        Called with chain and layer, such as ``1ubi_A L5``, before each turn.
    keep : Keeper
        Stores what was measured of a chain without each head of a layer, and returns what it already
        has; it must be one for these heads, modes and draws.

    Returns
    -------
    pandas.DataFrame
        A row for each head and mode, by layer and head: ``name``, ``layer``, ``head``, ``mode``.
        ``masked_lm_loss`` without the head, in nats per residue, mean over chains;
        ``masked_lm_loss_change``, that less the loss of the intact model, above 0 where the head
        helps, with the 95 % interval of its mean, a bootstrap over chains, ``masked_lm_loss_low`` and
        ``masked_lm_loss_high`` (NaN for fewer than two). ``masked_lm_loss_p``, two-sided, by flipping
        the signs of chains; ``masked_lm_loss_q``, the false discovery rate over the heads of the table,
        for each mode (:mod:`esmkit.heads.changes`); NaN where nothing changes.
        ``masked_lm_residues`` counts the residues that were hidden. ``layer_loss_change``,
        ``layer_loss_low`` and ``layer_loss_high`` are those of all heads of its layer together.

    Raises
    ------
    CheckpointError
        If there is no masked-LM head: before anything is computed.
    InputError
        If there is no structure, two have the same ID, or one is too long.
    OptionError
        If there is no such head or mode, or no such number of draws.
    NonFiniteError
        If a result is NaN or infinite.

    Examples
    --------
    >>> chains = esmkit.data.ts50()[:5]
    >>> table = loss_without(esmkit.load(), chains, heads=["L0"], modes=["mean"])  # doctest: +SKIP
    >>> bool(table["layer_loss_change"].iloc[0] > 0)                               # doctest: +SKIP
    True
    """
    wanted = check_modes(modes)
    choice = choose_heads(heads, "all", of_layers=model.layers, of_heads=model.heads)
    # By ID, so that neither the order given nor the rows change the sums
    chains = sorted(check_chains(structures), key=lambda chain: chain.id)
    if not 1 <= (whole_number(draws) or 0) <= PARTS:
        raise OptionError(
            f"the parts of a chain that are hidden in turn are 1 to {PARTS}, not {draws!r}"
        )
    parts = [hidden_parts(chain.sequence, seed)[:draws] for chain in chains]
    hiding = _Hiding(model, model.lm_head, chains, parts)
    of_layer: dict[int, Array] = {}
    for layer, numbers in sorted(choice.by_layer.items()):
        found = []
        for place, chain in enumerate(chains):
            progress(f"{chain.id} L{layer}")
            at = place * model.layers + layer
            kept = keep.get(LOSS, at, ("loss",))
            if kept is None:
                kept = {"loss": hiding.losses(place, layer, numbers, wanted)}
                keep.put(LOSS, at, kept)
            found.append(kept["loss"])
        of_layer[layer] = np.stack(found)  # (chains, 1 + modes * (heads + 1))
    residues = sum(len(part) for of_chain in parts for part in of_chain)
    return _table(of_layer, choice.by_layer, wanted, residues, seed)


def head_facts(model: "Encoder") -> dict[str, Any] | None:
    """Return whose masked-LM head a model has (:class:`esmkit.encoder.lm_head.LmHead`), or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is asked for, not used
            return model.lm_head.facts
    except CheckpointError:
        return None


class _Hiding:
    """Chains with hidden residues, and what the loss is if heads say something else."""

    def __init__(
        self,
        model: "Encoder",
        head: LmHead,
        chains: "Sequence[Structure]",
        parts: Sequence[Sequence[NDArray[np.int64]]],
    ) -> None:
        self._model, self._head, self._chains, self._hidden = model, head, chains, parts

    def _rows(self, place: int) -> "Iterator[HiddenRow]":
        """Yield rows that hold the copies of a chain; few tokens each, for a CPU."""
        chain, parts = self._chains[place], self._hidden[place]
        most = PASS_TOKENS if self._model.device.type == "cpu" else BATCH_TOKENS
        step = max(1, most // (len(chain) + 2))
        for start in range(0, len(parts), step):
            yield HiddenRow.of(self._model, self._head, chain.sequence, parts[start : start + step])

    @cached_property
    def means(self) -> torch.Tensor:
        """What each head says of a residue on average, (N, H, K)."""
        sums, residues = torch.zeros((), dtype=torch.float64), 0
        with torch.inference_mode():
            for row in (row for place in range(len(self._chains)) for row in self._rows(place)):
                sums, residues = sums + row.sums(), residues + len(row.inner)
        return sums / residues

    def losses(self, place: int, layer: int, heads: Sequence[int], modes: Sequence[Mode]) -> Array:
        """Return the loss of a chain: intact; then for each mode without each head, and without all.

        Parameters
        ----------
        place : int
            Of the chain.
        layer : int
        heads : sequence of int
        modes : sequence of str

        Returns
        -------
        numpy.ndarray of float64, shape (1 + modes * (heads + 1),)
            NaN if the chain has no residue that can be hidden.
        """
        if not self._hidden[place]:
            return np.full(1 + len(modes) * (len(heads) + 1), np.nan)
        mean = self.means[layer]  # (H, K)
        jobs: list[Job] = [(None, None)]
        for mode in modes:
            value = mean if mode == "mean" else torch.zeros_like(mean)
            jobs += [*((head, value[head]) for head in heads), (None, value)]
        sums, count = np.zeros(len(jobs)), 0
        with side_by_side(self._model.device) as run:
            for row in self._rows(place):
                row.enter(layer)
                sums += list(run(row.loss, jobs))
                count += len(row.hidden)
        if not np.isfinite(sums).all():
            raise NonFiniteError(
                f"without a head of layer {layer} the model returns NaN or infinity for "
                f"{self._chains[place].id!r}; {self._model.non_finite_remedy}"
            )
        return sums / count


def _table(
    of_layer: dict[int, Array],
    heads: Any,
    modes: Sequence[Mode],
    residues: int,
    seed: int,
) -> "pandas.DataFrame":
    """Return the rows: means over chains, intervals, and rates over the heads of a mode."""
    import pandas

    rows: list[dict[str, Any]] = []
    for layer, losses in of_layer.items():
        numbers = heads[layer]
        changes = losses - losses[:, :1]
        for place, head in enumerate(numbers):
            for turn, mode in enumerate(modes):
                first = 1 + turn * (len(numbers) + 1)
                own, whole = changes[:, first + place], changes[:, first + len(numbers)]
                row = {"name": head_name(layer, head), "layer": layer, "head": head, "mode": mode}
                row["masked_lm_loss"] = _mean(losses[:, first + place])
                row |= _summary("masked_lm_loss", own, seed)
                row["masked_lm_loss_p"] = flip_test(own, seed=seed)
                row["masked_lm_residues"] = residues
                rows.append(row | _summary("layer_loss", whole, seed))
    table: Any = pandas.DataFrame(rows)
    of_mode: Any = table.groupby("mode", sort=False)["masked_lm_loss_p"]
    rates = of_mode.transform(lambda p: benjamini_hochberg(p.to_numpy()))
    table["masked_lm_loss_q"] = rates
    return table[["name", "layer", "head", "mode", *COLUMNS]]


def _summary(prefix: str, changes: Array, seed: int) -> dict[str, float]:
    low, high = bootstrap(changes, seed=seed)
    ends = {f"{prefix}_low": low, f"{prefix}_high": high}
    return {f"{prefix}_change": _mean(changes), **ends}


def _mean(values: Array) -> float:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else float("nan")
