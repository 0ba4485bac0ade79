"""Ablation: a head is taken away, and what changes downstream is measured.

A head can be specialised and not matter, or matter and not be specialised; this is the other side
of the comparison. One head at a time is ablated in every token of every chain, BOS and EOS
included, where the heads' outputs are about to be joined by W^O:

``mean``
    its output becomes its own mean over all residues of the chains given, BOS and EOS left out:
    what it always says stays, what depends on the residue goes (mean ablation, Wang et al. 2022,
    arXiv:2211.00593);
``zero``
    its output becomes 0 (Michel et al. 2019, arXiv:1905.10650). That is far outside what later
    layers are used to: a head that says nearly the same of every residue is missed much at zero
    and hardly at its mean. So ``mean`` comes first, and is the fairer where the two disagree.

Contacts can change in two ways, which are measured apart. Without the head's *output* the maps of
later layers are others; the contact regression still reads the head's own map, which does not
depend on its own output. Without its *map* the regression lacks a term, and nothing in the network
has changed. Without *both* the head is gone. The output of a head of the last layer touches no map,
so that all its change of contacts is that of a regression that lost a term it was fitted with; what
another regression would do without the head is asked in :mod:`esmkit.heads.refit`.

Layers before the ablated one do not change, so a pass starts at the ablated layer, from the hidden
states that enter it. Memory does not depend on the depth of the model or the number of heads.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.contacts.head import ContactHead
from esmkit.encoder import packing
from esmkit.encoder.activations import Activation
from esmkit.encoder.forward import encoder_layer, enter, remaining_layers
from esmkit.encoder.names import choose_heads, head_name
from esmkit.encoder.stream import MapStream
from esmkit.encoder.watch import Watch
from esmkit.errors import InputError, NonFiniteError, OptionError
from esmkit.heads.changes import MEASURES, REMOVED, summarize, with_rates
from esmkit.heads.contact_sums import ContactSums
from esmkit.heads.resume import ABLATION, Keeper
from esmkit.inside.edits import Place, read_edits
from esmkit.inside.tracer import Tracer, activations_of
from esmkit.sequences.tokens import SPECIALS, encode
from esmkit.sequences.windows import MAX_RESIDUES
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["MODES", "Mode", "ablate", "check_chains", "check_modes"]

Mode = Literal["mean", "zero"]
MODES: tuple[Mode, ...] = ("mean", "zero")

BATCH_TOKENS = 4_096
"""Most tokens of a row; beyond it activations leave the cache and nothing is gained."""


def ablate(
    model: "Encoder",
    structures: Iterable["Structure"],
    *,
    modes: Sequence[Mode] | Mode = MODES,
    heads: Sequence[str] | None = None,
    contact_head: ContactHead | None = None,
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
    modes : {'mean', 'zero'} or sequence of them
        What takes the place of the head's output; see :mod:`esmkit.heads.ablation`.
    heads : sequence of str, optional
        Names such as ``L5H4``, or ``L5`` for a whole layer; by default all.
    contact_head : ContactHead, optional
        By default the checkpoint's own.
    seed : int
        Seed of the bootstrap and of the tests. All rows have the same resamples.
    progress : callable
        Called with the name of each head before its turn.
    keep : Keeper
        Stores what was measured without each head, and returns what it already has.

    Returns
    -------
    pandas.DataFrame
        A row for each head and mode, by layer and head: ``name``, ``layer``, ``head``, ``mode``.
        Precisions are at long range, means over chains, 0 to 1; a change is one without the head
        less that of the intact model, negative where the head helps, with the 95 % interval of its
        mean, a bootstrap over chains (NaN for fewer than two).

        The head gone altogether, output and map: ``precision`` (P@L) and ``precision_half``
        (P@L/2); ``precision_change`` with ``low`` and ``high``; ``precision_half_change`` with
        ``precision_half_low`` and ``precision_half_high``.

        Its output gone, its own map still read by the contact regression: ``output_change``,
        ``output_low``, ``output_high``, and ``output_half_...``; 0 in the last layer.

        Its map gone from the contact regression, its output kept: ``map_change``, ``map_low``,
        ``map_high``, and ``map_half_...``; the same in every mode; 0 where it has no weight.

        ``q``, ``output_q``, ``map_q``: the false discovery rate of these changes of P@L over the
        heads of the table, for each mode (:mod:`esmkit.heads.changes`); NaN where nothing changes.

        ``drift_cosine``, 1 - cosine between the mean embeddings with and without the head's output,
        0 to 2; ``drift_relative``, the mean over residues of the length of the change of a
        residue's vector over the length of the vector, from 0; both of the last hidden state, means
        over chains, with ``drift_cosine_low`` and so on. ``chains`` counts chains, ``scored`` those
        with a precision. Precisions are NaN if there is no contact head.

    Raises
    ------
    InputError
        If there is no structure, two have the same ID, or one is too long.
    OptionError
        If there is no such head or mode, or the contact head is for a model of another shape.
    NonFiniteError
        If a result is NaN or infinite.

    See Also
    --------
    esmkit.heads.refit.refit_without : The contact regression fitted anew without a head's map.

    References
    ----------
    Wang et al. 2022, arXiv:2211.00593 (mean ablation).

    Examples
    --------
    >>> chains = esmkit.data.ts50()[:2]
    >>> table = ablate(esmkit.load(), chains, heads=["L5H4"], modes=["mean"])  # doctest: +SKIP
    >>> bool(table["precision_change"].item() < 0)                            # doctest: +SKIP
    True
    """
    import pandas

    wanted = check_modes(modes)
    choice = choose_heads(heads, "all", of_layers=model.layers, of_heads=model.heads)
    regression = contact_head
    if regression is not None:
        regression.check_fits(model)
    elif model.has_contact_head:
        regression = ContactHead.of_checkpoint(model)
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        batches = _batches(model, check_chains(structures), regression)
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
                    changes = keep.get(ABLATION, place, MEASURES)
                    if changes is None:
                        value = mean[head] if mode == "mean" else torch.zeros_like(mean[head])
                        found = [batch.without(head, value) for batch in batches]
                        changes = {
                            k: np.concatenate([f[k] for f in found])[order] for k in MEASURES
                        }
                        keep.put(ABLATION, place, changes)
                    facts = {"name": head_name(layer, head), "layer": layer, "head": head}
                    rows.append({**facts, "mode": mode, **summarize(changes, seed)})
    return with_rates(pandas.DataFrame(rows))


def check_modes(modes: Sequence[Mode] | Mode) -> list[Mode]:
    """Return what takes the place of an output, as a list.

    Raises
    ------
    OptionError
        If there is none, one is unknown, or one comes twice.
    """
    wanted: list[Any] = [modes] if isinstance(modes, str) else list(modes)
    if not wanted or not set(wanted) <= set(MODES) or len(set(wanted)) < len(wanted):
        raise OptionError(f"modes are 'mean', 'zero' or both, each once, not {modes!r}")
    return wanted


def check_chains(structures: Iterable["Structure"]) -> "list[Structure]":
    """Return chains as a list, or say which cannot be used to take heads away.

    Raises
    ------
    InputError
        If there is none, two have the same ID, or one is over 1,022 residues.
    """
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
        self._places = [Place(repr(chain.id), len(chain), 0, 1, 0, len(chain)) for chain in chains]
        self.residues = sum(len(chain) for chain in chains)
        self.contacts = ContactSums(model, chains, head)
        self._parts = model.parts()
        self._remedy = model.non_finite_remedy
        # What the layer before returned, (1, T, D), and what all layers share
        self._left, self._row = enter(self.pack, self._parts, model.operations)
        self._intact = self._of_residues(self.contacts.intact(self.pack, self.names))

    def enter(self, layer: int) -> None:
        """Run the layer as it is; after it ``output`` (H, K) is its heads' sum over residues."""
        self.layer, self._entering = layer, self._left
        outputs = Activation("head_output", layer)
        tracer = Tracer(self.pack, self._places, [outputs])
        self._left = self._run(self.contacts.watch(self.pack, layer), tracer)
        kept = [values[outputs][:, 1:-1].transpose(0, 1) for values in tracer.kept]  # (R, H, K)
        self.output = torch.cat(kept).cpu().double().sum(0)

    def without(self, head: int, value: torch.Tensor) -> dict[str, NDArray[np.float64]]:
        """Return the measures of each chain if the output of a head is a constant (K,)."""
        name = f"{head_name(self.layer, head)}.output"
        edits = read_edits({name: value}, activations_of(self.model))
        stream = self.contacts.without(self.pack, self.layer, head)
        left = self._run(stream, Tracer(self.pack, self._places, [], edits))
        row = dataclasses.replace(self._row, stream=stream)
        final = remaining_layers(left, self._parts, row, first=self.layer + 1)
        final = final[:, : self.pack.ids.shape[1]]
        if not bool(torch.isfinite(final).all()):
            raise NonFiniteError(
                f"without {head_name(self.layer, head)} the model returns NaN or infinity; "
                f"{self._remedy}"
            )
        pairs = zip(self._intact, self._of_residues(final[0]), strict=True)
        drift = np.array([_drift(intact, changed) for intact, changed in pairs])
        scores = self.contacts.precisions()
        found = {"drift_cosine": drift[:, 0], "drift_relative": drift[:, 1]}
        for place, half in enumerate(("", "half_")):
            found[f"precision_{half}".rstrip("_")] = scores["both"][:, place]
            for prefix, removed in REMOVED.items():
                change = scores[removed][:, place] - scores["intact"][:, place]
                found[f"{prefix}{half}change"] = change
        return found

    def _run(self, stream: MapStream, watch: Watch) -> torch.Tensor:
        row = dataclasses.replace(self._row, stream=stream, watch=watch)
        return encoder_layer(self.layer, self._entering, self._parts.layers[self.layer], row)

    def _of_residues(self, states: torch.Tensor) -> list[NDArray[np.float64]]:
        values = states.cpu().double().numpy()  # (T, D)
        return [values[tokens] for tokens in self.tokens]


def _drift(intact: NDArray[np.float64], changed: NDArray[np.float64]) -> tuple[float, float]:
    """Return 1 - cosine between the means of two (R, D), and the mean of |change| / |vector|."""
    a, b = intact.mean(0), changed.mean(0)
    lengths = np.linalg.norm(intact, axis=1)
    relative = np.linalg.norm(changed - intact, axis=1) / lengths
    return float(1 - a @ b / np.sqrt((a @ a) * (b @ b))), float(relative.mean())
