"""Ablation: the output of a head is taken away, and what changes downstream is measured.

A head can be specialised and not matter, or matter and not be specialised; this is the other side
of the comparison. One head at a time is ablated in every token of every chain, BOS and EOS
included, where the heads' outputs are about to be joined by W^O:

``zero``
    its output becomes 0 (Michel et al. 2019, arXiv:1905.10650);
``mean``
    its output becomes its own mean over all residues of the chains given, BOS and EOS left out:
    what it always says stays, what depends on the residue goes (mean ablation, Wang et al. 2022,
    arXiv:2211.00593). Zero is far outside what later layers are used to, so ``mean`` is the fairer
    of the two where they disagree.

Layers before the ablated one do not change, so a pass starts at the ablated layer, from the hidden
states that enter it. Memory does not depend on the depth of the model or the number of heads.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.contacts.correction import corrected_sum
from esmkit.contacts.head import ContactHead
from esmkit.contacts.scores import CUTS, RANGES, bootstrap, ranked_pairs
from esmkit.encoder import packing
from esmkit.encoder.forward import Edit, encoder_layer, enter, remaining_layers
from esmkit.encoder.names import choose_heads, head_name
from esmkit.encoder.packing import Pack
from esmkit.encoder.stream import MapStream, Sink
from esmkit.errors import InputError, NonFiniteError, OptionError
from esmkit.heads.resume import ABLATION, Keeper
from esmkit.sequences.tokens import SPECIALS, encode
from esmkit.sequences.windows import MAX_RESIDUES
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["MODES", "Mode", "ablate"]

Mode = Literal["zero", "mean"]
MODES: tuple[Mode, ...] = ("zero", "mean")

MEASURED = ("P@L", "P@L/2")
"""Precisions at long range that are compared with the intact model."""

INTERVALS = {
    "precision_change": "",
    "precision_half_change": "precision_half_",
    "drift_cosine": "drift_cosine_",
    "drift_relative": "drift_relative_",
}
"""Measures with an interval, and the prefix of ``low`` and ``high`` in the names of its columns."""

CHANGES = (
    *("precision", "precision_change", "precision_half", "precision_half_change"),
    *("drift_cosine", "drift_relative"),
)
"""Measures of each chain without a head, in the order of the columns."""

BATCH_TOKENS = 4_096
"""Most tokens of a row; beyond it activations leave the cache and nothing is gained."""


def ablate(
    model: "Encoder",
    structures: Iterable["Structure"],
    *,
    modes: Sequence[Mode] | Mode = MODES,
    heads: Sequence[str] | None = None,
    contact_head: ContactHead | None = None,
    remove_map: bool = True,
    seed: int = 0,
    progress: Say = silent,
    keep: Keeper = Keeper(),  # noqa: B008 - keeps nothing
) -> "pandas.DataFrame":
    """Take one head at a time out of the model, and measure contacts and embeddings without it.

    Parameters
    ----------
    model : Encoder
    structures : iterable of Structure
        Chains of up to 1,022 residues, each ID once, such as :func:`esmkit.data.ts50`.
    modes : {'zero', 'mean'} or sequence of them
        What takes the place of the head's output; see :mod:`esmkit.heads.ablation`.
    heads : sequence of str, optional
        Names such as ``L5H4``, or ``L5`` for a whole layer; by default all.
    contact_head : ContactHead, optional
        By default the checkpoint's own.
    remove_map : bool
        Whether the head's own map leaves the contact regression too. By default it does: the head
        is then gone altogether. Without, the change is what its output did to the maps of *later*
        layers alone, so that it is 0 for every head of the last layer. The map of an ablated head
        does not depend on its own output.
    seed : int
        Seed of the bootstrap. All rows have the same resamples.
    progress : callable
        Called with the name of each head before its turn.
    keep : Keeper
        Stores what was measured without each head, and returns what it already has.

    Returns
    -------
    pandas.DataFrame
        A row for each head and mode, by layer and head: ``name``, ``layer``, ``head``, ``mode``;
        ``precision`` and ``precision_half``, long-range P@L and P@L/2 without the head, means over
        chains, 0 to 1; ``precision_change`` and ``precision_half_change``, the same less that of
        the intact model: negative where the head helps; ``drift_cosine``, 1 - cosine between the
        mean embeddings with and without the head, 0 to 2; ``drift_relative``, the mean over
        residues of the length of the change of a residue's vector over the length of the vector,
        from 0; both of the last hidden state, means over chains. ``low`` and ``high`` are the 95 %
        interval of ``precision_change``, those of the others have its name in front
        (``drift_cosine_low``): bootstrap over chains, NaN for fewer than two. ``chains`` counts
        them, ``scored`` those with a precision. Precisions are NaN if there is no contact head.

    Raises
    ------
    InputError
        If there is no structure, two have the same ID, or one is too long.
    OptionError
        If there is no such head or mode.
    NonFiniteError
        If a result is NaN or infinite.

    Examples
    --------
    >>> chains = esmkit.data.ts50()[:2]
    >>> table = ablate(esmkit.load(), chains, heads=["L5H4"], modes=["zero"])  # doctest: +SKIP
    >>> bool(table["precision_change"].item() < 0)                            # doctest: +SKIP
    True
    """
    import pandas

    wanted = _check_modes(modes)
    choice = choose_heads(heads, "all", of_layers=model.layers, of_heads=model.heads)
    if contact_head is None and model.has_contact_head:
        contact_head = ContactHead.of_checkpoint(model)
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        batches = _batches(model, _check_structures(structures), contact_head)
        # One order of chains, so that neither the order given nor the rows change the intervals
        order = np.argsort([name for batch in batches for name in batch.names])
        for layer in range(max(choice.by_layer) + 1):
            for batch in batches:
                batch.enter(layer)
            total = torch.stack([batch.output for batch in batches]).sum(0)  # (H, K)
            mean = total / sum(batch.residues for batch in batches)
            for head in choice.by_layer.get(layer, ()):
                progress(head_name(layer, head))
                for mode in wanted:
                    place = (layer * model.heads + head) * len(MODES) + MODES.index(mode)
                    changes = keep.get(ABLATION, place, CHANGES)
                    if changes is None:
                        value = mean[head] if mode == "mean" else torch.zeros_like(mean[head])
                        found = [batch.without(head, value, remove_map) for batch in batches]
                        changes = {k: np.concatenate([f[k] for f in found])[order] for k in CHANGES}
                        keep.put(ABLATION, place, changes)
                    facts = {"name": head_name(layer, head), "layer": layer, "head": head}
                    rows.append({**facts, "mode": mode, **_summary(changes, seed)})
    return pandas.DataFrame(rows)


def _check_modes(modes: Sequence[Mode] | Mode) -> list[Mode]:
    wanted: list[Any] = [modes] if isinstance(modes, str) else list(modes)
    if not wanted or not set(wanted) <= set(MODES) or len(set(wanted)) < len(wanted):
        raise OptionError(f"modes are 'zero', 'mean' or both, each once, not {modes!r}")
    return wanted


def _check_structures(structures: Iterable["Structure"]) -> "list[Structure]":
    chains, seen = list(structures), set()
    if not chains:
        raise InputError("there is no structure to ablate heads on; give at least one chain")
    for chain in chains:
        if len(chain) > MAX_RESIDUES:  # windows would ablate different means
            raise InputError(
                f"structure {chain.id!r} has {len(chain):,} residues, and heads are ablated on at "
                f"most {MAX_RESIDUES:,}, in one pass; leave it out"
            )
        if chain.id in seen:
            raise InputError(f"structure {chain.id!r} comes twice; give each chain once")
        seen.add(chain.id)
    return chains


def _batches(
    model: "Encoder", chains: "Sequence[Structure]", head: ContactHead | None
) -> "list[_Batch]":
    """Pack chains into rows, longest first; results do not depend on which share a row."""
    cut = packing.batches_by_tokens([len(chain) + SPECIALS for chain in chains], BATCH_TOKENS)
    return [_Batch(model, [chains[i] for i in part], head) for part in cut]


class _Batch:
    """Chains in one row, at the entrance of one layer."""

    def __init__(
        self, model: "Encoder", chains: "Sequence[Structure]", head: ContactHead | None
    ) -> None:
        self.model = model
        self.pack = packing.pack([encode(chain.sequence) for chain in chains], model.device)
        self.names = [chain.id for chain in chains]
        inner = {place: slice(t.start + 1, t.stop - 1) for place, t in self.pack.sequences()}
        self.tokens = [inner[place] for place in range(len(chains))]  # residues of each chain
        self.residues = sum(len(chain) for chain in chains)
        self.regression = _Regression(model, chains, head)
        self._parts = model.parts()
        self._remedy = model.non_finite_remedy
        # What the layer before returned, (1, T, D), and what all layers share
        self._left, self._row = enter(self.pack, self._parts, model.operations)
        self._intact = self._of_residues(self.regression.intact(self.pack, self.names))
        self._precision = self.regression.precision()

    def enter(self, layer: int) -> None:
        """Run the layer as it is; after it ``output`` (H, K) is its heads' sum over residues."""
        self.layer, self._entering = layer, self._left
        kept = torch.cat([torch.arange(t.start, t.stop) for t in self.tokens])
        sums: list[torch.Tensor] = []

        def look(mixed: torch.Tensor) -> torch.Tensor:
            sums.append(mixed[0, kept.to(mixed.device)].double().sum(0).cpu())
            return mixed

        self._left = self._run(self.regression.watch(self.pack, layer), look)
        self.output = sums[0]

    def without(
        self, head: int, value: torch.Tensor, remove_map: bool
    ) -> dict[str, NDArray[np.float64]]:
        """Return what changes in each chain if the output of a head is a constant (K,)."""

        def replace(mixed: torch.Tensor) -> torch.Tensor:
            mixed[:, :, head] = value.to(mixed)
            return mixed

        removed = head if remove_map else None
        stream = self.regression.watch_later(self.pack, self.layer, removed)
        row = dataclasses.replace(self._row, stream=stream)
        left = self._run(stream, replace)
        final = remaining_layers(left, self._parts, row, first=self.layer + 1)
        final = final[:, : self.pack.ids.shape[1]]
        if not bool(torch.isfinite(final).all()):
            raise NonFiniteError(
                f"without {head_name(self.layer, head)} the model returns NaN or infinity; "
                f"{self._remedy}"
            )
        pairs = zip(self._intact, self._of_residues(final[0]), strict=True)
        drift = np.array([_drift(intact, changed) for intact, changed in pairs])
        precision = self.regression.precision()
        found: dict[str, NDArray[np.float64]] = {}
        for place, name in enumerate(("precision", "precision_half")):
            found[name] = precision[:, place]
            found[f"{name}_change"] = precision[:, place] - self._precision[:, place]
        return found | {"drift_cosine": drift[:, 0], "drift_relative": drift[:, 1]}

    def _run(self, stream: MapStream, edit: Edit) -> torch.Tensor:
        row = dataclasses.replace(self._row, stream=stream)
        layer = self._parts.layers[self.layer]
        return encoder_layer(self.layer, self._entering, layer, row, edit=edit)

    def _of_residues(self, states: torch.Tensor) -> list[NDArray[np.float64]]:
        values = states.double().cpu().numpy()  # (T, D)
        return [values[tokens] for tokens in self.tokens]


class _Regression:
    """The contact maps of a batch: a sum over maps, of which those before a layer stay."""

    def __init__(
        self, model: "Encoder", chains: "Sequence[Structure]", head: ContactHead | None
    ) -> None:
        self._model = model
        self._chains = chains
        self._head = head
        self._by_layer: Mapping[int, Sequence[int]] = head.choice.by_layer if head else {}
        self._weights = torch.zeros(model.layers, model.heads, device=model.device)
        if head is not None:
            layers, numbers = np.array(head.choice.heads).T
            self._weights[layers, numbers] = torch.tensor(head.weights).to(self._weights)
        self._contacts = [chain.contacts() for chain in chains]
        self._kept = [torch.zeros(len(c), len(c), device=model.device) for c in chains]
        self._sums = self._kept

    def intact(self, pack: Pack, names: Sequence[str]) -> torch.Tensor:
        """Run the whole model as it is; return its last hidden state, (T, D)."""
        self._sums = [kept.clone() for kept in self._kept]
        sink, last = self._add_to(self._sums), [self._model.layers]
        return self._model.forward(pack, last, names=names, sink=sink, heads=self._by_layer)[0]

    def watch(self, pack: Pack, layer: int) -> MapStream:
        """Add the maps of a layer to what is kept."""
        wanted = {layer: self._by_layer.get(layer, ())}
        return MapStream(pack, self._add_to(self._kept), wanted)

    def watch_later(self, pack: Pack, layer: int, removed: int | None) -> MapStream:
        """Sum the maps of the layers after one, and take one head of it away if one is given."""
        self._sums = [kept.clone() for kept in self._kept]
        later = {n: heads for n, heads in self._by_layer.items() if n > layer}
        own = [head for head in self._by_layer.get(layer, ()) if head == removed]
        sink = self._add_to(self._sums, less=layer)
        return MapStream(pack, sink, {**later, layer: own})

    def _add_to(self, sums: list[torch.Tensor], less: int | None = None) -> Sink:
        def add(layer: int, place: int, heads: Sequence[int], maps: torch.Tensor) -> None:
            weights = self._weights[layer, list(heads)] * (-1 if layer == less else 1)
            inner = maps[:, 1:-1, 1:-1]  # (h, R, R)
            sums[place] += corrected_sum(inner, weights)

        return add

    def precision(self) -> NDArray[np.float64]:
        """Return long-range P@L and P@L/2 of each chain, (chains, 2); NaN where undefined."""
        found = np.full((len(self._chains), len(MEASURED)), np.nan)
        if self._head is None:
            return found
        least, most = RANGES["long"]
        for number, (chain, values) in enumerate(zip(self._chains, self._sums, strict=True)):
            if self._head.method == "regression":
                values = torch.sigmoid(values + self._head.bias)
            there = chain.resolved[:, None] & chain.resolved
            known = np.where(there, values.cpu().numpy(), np.nan)
            true = self._contacts[number][ranked_pairs(known, least=least, most=most)]
            for place, cut in enumerate(MEASURED):
                count = int(chain.resolved.sum()) // CUTS[cut]
                if count and len(true):
                    found[number, place] = true[:count].sum() / count
        return found


def _drift(intact: NDArray[np.float64], changed: NDArray[np.float64]) -> tuple[float, float]:
    """Return 1 - cosine between the means of two (R, D), and the mean of |change| / |vector|."""
    a, b = intact.mean(0), changed.mean(0)
    lengths = np.linalg.norm(intact, axis=1)
    relative = np.linalg.norm(changed - intact, axis=1) / lengths
    return float(1 - a @ b / np.sqrt((a @ a) * (b @ b))), float(relative.mean())


def _summary(changes: Mapping[str, NDArray[np.float64]], seed: int) -> dict[str, float]:
    """Average each measure over chains, with intervals for what is a change."""
    row: dict[str, float] = {}
    for name, values in changes.items():
        kept = values[~np.isnan(values)]
        row[name] = float(kept.mean()) if len(kept) else float("nan")
        if name in INTERVALS:
            low, high = bootstrap(values, seed=seed)
            row |= {f"{INTERVALS[name]}low": low, f"{INTERVALS[name]}high": high}
    scored = ~np.isnan(changes["precision"])
    return row | {"chains": len(scored), "scored": int(scored.sum())}
