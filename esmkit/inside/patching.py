"""Activation patching: which activations of a clean run restore a metric in a corrupted one.

A patch puts one activation of the clean run into the corrupted one, and all else goes on from there:
what it restores of the metric has come through it (causal tracing, Meng et al. 2022,
arXiv:2202.05262). Attribution patching estimates all patches at once, by the gradient of the metric at
the corrupted run times the difference of the activations (Syed et al. 2023, arXiv:2310.10348): exact
as far as the metric is linear on the way.

Many patched copies go through the model side by side. A product may round otherwise with other numbers
of copies, so every pass has the same number of them, and each copy is compared with, and takes its values
from, runs of the two sequences in the same place of such a pass. A run that is patched with itself
changes nothing, to the last bit.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from esmkit.arguments import checked, what_is
from esmkit.encoder import packing
from esmkit.encoder.activations import Activation, Activations
from esmkit.encoder.encoder import Encoder
from esmkit.errors import OptionError
from esmkit.inside.edits import Edit, Places
from esmkit.inside.gradients import Live, Metric, gradients
from esmkit.inside.memory import check_memory
from esmkit.inside.metrics import one_number
from esmkit.inside.patched import Patching
from esmkit.inside.result import FINAL, LOGITS, Trace
from esmkit.inside.runs import Run, differing_residues, metric_of, two_runs
from esmkit.inside.tracer import Tracer, activations_of, held_for
from esmkit.sequences.given import OneProtein
from esmkit.sequences.tokens import SPECIALS, encode
from esmkit.sequences.windows import Long
from esmkit.text import warn_caller

__all__ = ["NothingToRestoreWarning", "patch"]

Method = Literal["both", "exact", "attribution"]

WHAT: dict[str, tuple[tuple[str, ...], bool]] = {
    "heads": (("L*H*.output",), False),
    "layers": (("L*.attention_output", "L*.feed_forward_output"), False),
    "positions": (("embedding", "L*.residual"), True),
}
"""Names for what is patched: activations, and whether at each token alone."""


class NothingToRestoreWarning(UserWarning):
    """The metric is the same in the clean and in the corrupted run.

    Examples
    --------
    >>> import warnings  # doctest: +SKIP
    >>> with warnings.catch_warnings(record=True) as said:
    ...     warnings.simplefilter("always")
    ...     found = esmkit.patch(
    ...         esmkit.load(), "MKTVRQ", "MKTVRA", lambda run: 0 * run.final.sum(),
    ...         what="L0.residual", by_residue=True, method="exact",
    ...     )  # doctest: +SKIP
    >>> any(issubclass(one.category, NothingToRestoreWarning) for one in said)  # doctest: +SKIP
    True
    """


@dataclass(frozen=True)
class _Target:
    """What one patch puts in."""

    activation: Activation
    token: int | None = None  # of all with BOS and EOS, or every one

    def edit(self, source: Any, sequence: int, tokens: int) -> Edit:
        places = None
        if self.token is not None:
            bos, eos = self.token == 0, self.token == tokens - 1
            residues = () if bos or eos else (self.token - 1,)
            places = Places(str(self.token), residues, bos, eos)
        return Edit(self.activation, source, places, sequence)


class _Read(Live):
    """The activations of a trace as tensors, for a metric, and which of them it asks for."""

    def __init__(self, model: Encoder, known: Activations, trace: Trace) -> None:
        self._model, self._known, self._trace = model, known, trace
        self.asked: dict[Activation, None] = {}

    def _of(self, one: Activation) -> torch.Tensor:
        self.asked[one] = None
        return torch.from_numpy(np.array(self._trace.tokens(one.name), np.float64))


@checked
def patch(
    model: Encoder,
    clean: OneProtein,
    corrupted: Any,
    metric: Any = "log_odds",
    *,
    what: Any = "heads",
    by_residue: bool | None = None,
    method: Method = "both",
    mask: Any = None,
    clean_mask: Any = None,
    long: Long = "window",
    batch_tokens: int = 2_048,
    progress: bool = False,
) -> Patching:
    """Say how much each activation of a clean run restores of a metric in a corrupted run.

    Parameters
    ----------
    model : Encoder
    clean : one protein
        As :meth:`esmkit.Esm2.embed` takes it.
    corrupted : one protein, a mutation, or None
        As long as ``clean``; a mutation of it such as ``"A24G"``; or None for ``clean`` itself with
        residues hidden by ``mask``. See also :func:`esmkit.inside.scrambled`.
    metric : callable or 'log_odds'
        Given the activations of a run as tensors, as for :meth:`esmkit.Trace.gradient`, it returns one
        number; :func:`esmkit.inside.log_odds` and :func:`esmkit.inside.contact_score` make such. By
        default the log-odds at the one residue in which the runs differ: of the clean letter against
        the corrupted one, or against the mean of the others if the residue is hidden.
    what : 'heads', 'layers', 'positions', or names of activations
        The output of each head; what attention and the feed-forward half of each layer add to the
        stream; the stream after each layer at each token; or any, such as ``"L5H*.weights"``. The stream of
        a whole layer restores all by itself, so it is patched by tokens.
    by_residue : bool, optional
        Patch at each token alone, BOS and EOS too; by default for ``positions`` only.
    method : {'both', 'exact', 'attribution'}
        A pass for each patch, an estimate of all by one backward pass, or both and their rank
        correlation.
    mask, clean_mask : iterable of int, optional
        Residues, counted from 0, that are hidden in the corrupted and in the clean run.
    long : {'window', 'whole', 'truncate', 'error'}
        What is read in windows is refused.
    batch_tokens : int
        Tokens of one pass; on a CPU at most 1,024.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Patching
        With the ``restoration`` of each, 0 as corrupted and 1 as clean.

    Raises
    ------
    InputError
        If the two are not equally long, or would be read in windows.
    OptionError
        If there is no such activation, the metric is not one number, or a mutation does not fit.
    CheckpointError
        If the metric needs a masked-LM head or a contact head and there is none.

    Warns
    -----
    NothingToRestoreWarning
        If the metric is the same in both runs: changes are given, and no restoration.

    See Also
    --------
    esmkit.inside.mutated, esmkit.inside.scrambled : Other corrupted runs.

    References
    ----------
    Wang et al. 2022, arXiv:2211.00593 (activation patching). Syed, Rager and Conmy 2023,
    arXiv:2310.10348 (attribution patching).

    Examples
    --------
    >>> import esmkit
    >>> found = esmkit.patch(esmkit.load(), "MKTVRQERLKSIVRIL", "K10E")      # doctest: +SKIP
    >>> len(found.to_frame()), found.differing                              # doctest: +SKIP
    (120, (10,))
    """
    if method not in ("both", "exact", "attribution"):
        raise OptionError(f"`method` is 'both', 'exact' or 'attribution', not {what_is(method)}")
    known = activations_of(model)
    chosen, each = _chosen(what, by_residue, known)
    runs = two_runs(clean, corrupted, clean_mask, mask, long)
    differing = differing_residues(*runs)
    of_metric = metric_of(metric, runs, differing)
    tokens = len(runs[0].protein) + SPECIALS
    targets = [
        _Target(one, token) for one in chosen for token in (range(tokens) if each else [None])
    ]
    room = packing.most_tokens(batch_tokens, model.device) // tokens
    copies = 1 if method == "attribution" else max(1, min(room, len(targets)))
    patcher = _Patcher(model, known, of_metric, runs, chosen, copies)
    exact = {"metric": np.full(len(targets), np.nan), "change": np.full(len(targets), np.nan)}
    if method != "attribution":
        exact = patcher.exact(targets, progress)
    estimated = np.full(len(targets), np.nan)
    if method != "exact":
        estimated = patcher.estimate(targets)
    whole = patcher.of_clean - patcher.of_corrupted
    if whole == 0:
        warn_caller(
            f"the metric is {patcher.of_clean:.6g} in both runs, so there is nothing to restore; changes "
            "are given, and no restoration",
            NothingToRestoreWarning,
        )
    return Patching(
        id=runs[0].protein.id,
        sequence=runs[0].protein.sequence,
        corrupted_id=runs[1].protein.id,
        corrupted_sequence=runs[1].protein.sequence,
        differing=differing,
        metric=_words(of_metric),
        clean=patcher.of_clean,
        corrupted=patcher.of_corrupted,
        by_residue=each,
        rank_correlation=_rank_correlation(exact["change"], estimated),
        checkpoint=model.checkpoint.name,
        table=_table(targets, runs[0].protein.sequence, exact, estimated, whole),
    )


class _Patcher:
    """Runs the two sequences, and patched copies of the corrupted one."""

    def __init__(
        self,
        model: Encoder,
        known: Activations,
        metric: Metric,
        runs: tuple[Run, Run],
        chosen: Sequence[Activation],
        copies: int,
    ) -> None:
        self._model, self._known, self._metric, self._copies = model, known, metric, copies
        self._runs = runs
        reading = _Read(model, known, self._pass(runs[0], known.whole[:-1], copies=1)[0])
        one_number(metric(reading))
        self._asked = [one for one in reading.asked if one not in (FINAL, LOGITS)]
        keep = tuple(dict.fromkeys((*chosen, *self._asked)))
        self._clean, self._corrupted = (self._pass(run, keep) for run in runs)
        self._start = [self._number(one) for one in self._corrupted]
        self.of_clean, self.of_corrupted = self._number(self._clean[0]), self._start[0]

    def exact(self, targets: Sequence[_Target], progress: bool) -> dict[str, Any]:
        """Return metric and change of each patch."""
        from tqdm import tqdm

        values, changes = [], []
        with tqdm(total=len(targets), unit="patch", disable=not progress) as bar:
            for part in _parts(targets, self._copies):
                tokens = len(self._runs[0].protein) + SPECIALS
                edits = [t.edit(self._clean[n], n, tokens) for n, t in enumerate(part)]
                found = self._pass(self._runs[1], self._asked, edits)[: len(part)]
                numbers = [self._number(one) for one in found]
                values += numbers
                changes += [a - b for a, b in zip(numbers, self._start, strict=False)]
                bar.update(len(part))
        return {"metric": np.array(values), "change": np.array(changes)}

    def estimate(self, targets: Sequence[_Target]) -> Any:
        """Return the gradient at the corrupted run times the difference, for each patch."""
        run = self._runs[1]
        of = list(dict.fromkeys(t.activation.of_all_heads for t in targets))
        _, slopes = gradients(
            *(self._model, self._known, run.protein.sequence, run.place, self._metric, of),
            mask=run.mask,
        )
        products: dict[Activation, Any] = {}
        for one in dict.fromkeys(t.activation for t in targets):
            slope = slopes[one.of_all_heads]
            slope = slope if one.head is None else slope[one.head]
            a, b = (
                x.tokens(one.name).astype(np.float64) for x in (self._clean[0], self._corrupted[0])
            )
            product = np.moveaxis(slope * (a - b), one.token_axis, 0)
            products[one] = product.reshape(len(product), -1).sum(axis=1)  # of each token
        return np.array(
            [
                products[t.activation].sum() if t.token is None else products[t.activation][t.token]
                for t in targets
            ]
        )

    def _number(self, trace: Trace) -> float:
        return one_number(self._metric(_Read(self._model, self._known, trace)))

    def _pass(
        self,
        run: Run,
        keep: Sequence[Activation],
        edits: Sequence[Edit] = (),
        copies: int | None = None,
    ) -> list[Trace]:
        """Run copies of a sequence side by side, each with its edits."""
        copies = self._copies if copies is None else copies
        places = [run.place] * copies
        check_memory(self._known, keep, places, None)
        pack = packing.pack(
            [encode(run.protein.sequence, mask=run.mask)] * copies, self._model.device
        )
        held = tuple(dict.fromkeys((*held_for(keep, edits), FINAL)))
        tracer = Tracer(pack, places, held, edits)
        names = [place.name for place in places]
        self._model.forward(pack, [self._model.layers], names=names, watch=tracer)
        protein = run.protein.id, run.protein.header, run.protein.sequence
        arrays = [
            {one: x.float().cpu().numpy() for one, x in values.items()} for values in tracer.kept
        ]
        return [
            Trace(self._model, self._known, protein, [run.place], keep, [values], mask=run.mask)
            for values in arrays
        ]


def _parts(targets: Sequence[_Target], size: int) -> Iterator[Sequence[_Target]]:
    return (targets[start : start + size] for start in range(0, len(targets), size))


# ------------------------------------------------------------------------ what was given


def _chosen(
    what: Any, by_residue: bool | None, known: Activations
) -> tuple[tuple[Activation, ...], bool]:
    """Return the activations to patch, and whether at each token alone."""
    names, each = WHAT.get(what, (what, False)) if isinstance(what, str) else (what, False)
    try:
        chosen = known.choose(names)
    except OptionError as error:
        if not isinstance(what, str):
            raise
        raise OptionError(f"{error}, or to patch is one of {', '.join(map(repr, WHAT))}") from None
    if LOGITS in chosen:
        raise OptionError(
            "nothing follows from the logits, so they cannot be patched; patch 'final', from which they "
            "are made"
        )
    if not chosen:
        raise OptionError(f"name at least one activation to patch, or {', '.join(map(repr, WHAT))}")
    return chosen, each if by_residue is None else by_residue


def _words(metric: Any) -> str:
    """Return what to call a metric."""
    name = getattr(metric, "__name__", type(metric).__name__)
    return "metric" if name == "<lambda>" else name.replace("_", " ")


# ------------------------------------------------------------------------ what is returned


def _table(
    targets: Sequence[_Target],
    sequence: str,
    exact: Mapping[str, Any],
    estimated: Any,
    whole: float,
) -> Any:
    import pandas

    last = len(sequence) + 1
    tokens = ["BOS", *(f"{letter}{n}" for n, letter in enumerate(sequence, 1)), "EOS"]
    restored = {
        name: values / whole if whole else np.full(len(targets), np.nan)
        for name, values in (("change", exact["change"]), ("attributed", estimated))
    }
    table = pandas.DataFrame(
        {
            "activation": [t.activation.name for t in targets],
            "layer": [t.activation.layer for t in targets],
            "head": [t.activation.head for t in targets],
            "step": [t.activation.step for t in targets],
            "token": ["all" if t.token is None else tokens[t.token] for t in targets],
            "residue_number": [None if t.token in (None, 0, last) else t.token for t in targets],
            "metric": exact["metric"],
            "change": exact["change"],
            "restoration": restored["change"],
            "attributed": estimated,
            "attributed_restoration": restored["attributed"],
        }
    )
    return table.astype(dict.fromkeys(("layer", "head", "residue_number"), "Int64"))


def _rank_correlation(a: Any, b: Any) -> float:
    """Return Spearman's rank correlation, NaN if one is constant or not known."""
    from scipy.stats import spearmanr

    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 2 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
        return math.nan
    found: Any = spearmanr(a[known], b[known])
    return float(found.statistic)
