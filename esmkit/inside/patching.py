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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from esmkit.arguments import checked, items_of, what_is
from esmkit.encoder import packing
from esmkit.encoder.activations import Activation, Activations
from esmkit.encoder.encoder import Encoder
from esmkit.errors import InputError, OptionError
from esmkit.inside.corruption import is_mutation, mutated
from esmkit.inside.edits import Edit, Place, Places
from esmkit.inside.gradients import Live, Metric, gradients
from esmkit.inside.memory import check_memory
from esmkit.inside.metrics import log_odds, one_number
from esmkit.inside.patched import Patching
from esmkit.inside.result import FINAL, LOGITS, Trace
from esmkit.inside.tracer import Tracer, activations_of, held_for
from esmkit.sequences.given import OneProtein, one_protein
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import SPECIALS, encode
from esmkit.sequences.windows import Long, cut_into_pieces
from esmkit.text import warn_caller

__all__ = ["NothingToRestoreWarning", "patch"]

Method = Literal["both", "exact", "attribution"]

WHAT = {
    "heads": (("L*H*.output",), False),
    "layers": (("L*.attention_output", "L*.feed_forward_output"), False),
    "positions": (("embedding", "L*.residual"), True),
}
"""Names for what is patched: activations, and whether at each token alone."""


class NothingToRestoreWarning(UserWarning):
    """The metric is the same in the clean and in the corrupted run."""


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


@dataclass(frozen=True)
class _Run:
    """One of the two runs: a sequence and what is hidden in it."""

    protein: Protein
    mask: tuple[int, ...]

    @property
    def place(self) -> Place:
        residues = len(self.protein)
        return Place(repr(self.protein.id), residues, 0, 1, 0, residues)


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

    Warns
    -----
    NothingToRestoreWarning
        If the metric is the same in both runs: changes are given, and no restoration.

    Raises
    ------
    InputError
        If the two are not equally long, or would be read in windows.
    OptionError
        If there is no such activation, the metric is not one number, or a mutation does not fit.
    CheckpointError
        If the metric needs a masked-LM head or a contact head and there is none.

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
    runs = _runs(clean, corrupted, clean_mask, mask, long)
    differing = _differing(*runs)
    of_metric = _metric(metric, runs, differing)
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
        runs: tuple[_Run, _Run],
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
        run: _Run,
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
        raise OptionError(f"{error}, or `what` is {', '.join(map(repr, WHAT))}") from None
    if not chosen:
        raise OptionError(f"name at least one activation to patch, or {', '.join(map(repr, WHAT))}")
    return chosen, each if by_residue is None else by_residue


def _runs(clean: Any, corrupted: Any, clean_mask: Any, mask: Any, long: Long) -> tuple[_Run, _Run]:
    """Return the two runs, checked."""
    one = one_protein(clean, "one protein is the clean run")
    if corrupted is None:
        if mask is None:
            raise OptionError(
                "`corrupted` is a protein as long as the clean one, a mutation such as 'A24G', or None "
                "with residues to hide in `mask`, such as [23]"
            )
        other = Protein(f"{one.id}_hidden", one.sequence)
    elif is_mutation(corrupted):
        other = mutated(one, corrupted)
    else:
        other = one_protein(corrupted, "one protein is the corrupted run")
    if len(one) != len(other):
        raise InputError(
            f"{one.id!r} has {len(one):,} residues and {other.id!r} {len(other):,}, and values are put in "
            "residue by residue; take a corrupted sequence of the same length"
        )
    pieces = cut_into_pieces(one, long)
    if len(pieces) > 1:
        raise InputError(
            f"{one.id!r} has {len(one):,} residues and would be read in {len(pieces)} windows, and a patch "
            'is in one pass; use `long="whole"`, or give a part of it'
        )
    stop = pieces[0][1]
    found = []
    for protein, hidden in ((one, clean_mask), (other, mask)):
        items = () if hidden is None or isinstance(hidden, Mapping) else hidden
        if isinstance(hidden, Mapping):
            raise OptionError(
                "`mask` of patch is residues of one protein, such as [23], not a dict"
            )
        items = items_of(items) if items_of(items) is not None else items
        read = Protein(protein.id, protein.sequence[:stop], protein.header)
        encode(read.sequence, mask=items)  # which refuses what is no residue
        found.append(_Run(read, tuple(sorted({int(index) for index in items}))))
    return found[0], found[1]


def _differing(one: _Run, other: _Run) -> tuple[int, ...]:
    """Return the residues, from 1, in which two runs differ."""
    pairs = zip(one.protein.sequence, other.protein.sequence, strict=True)
    letters = {n for n, (a, b) in enumerate(pairs) if a != b}
    both = set(one.mask) & set(other.mask)
    hidden = set(one.mask) ^ set(other.mask)
    return tuple(sorted(n + 1 for n in (letters - both) | hidden))


def _metric(
    metric: Any, runs: tuple[_Run, _Run], differing: tuple[int, ...]
) -> Callable[[Live], torch.Tensor]:
    """Return the metric, made from its name if it has one."""
    if callable(metric):
        return metric
    if metric != "log_odds":
        raise OptionError(
            "`metric` is 'log_odds' or a function of a run's activations, such as lambda seen: "
            f"seen.contact_scores[3, 40], not {what_is(metric)}"
        )
    if len(differing) != 1:
        raise OptionError(
            f"the metric 'log_odds' is that of the one residue in which the runs differ, and they differ "
            f"in {len(differing)}; name it with esmkit.inside.log_odds(residue, letter, against)"
        )
    number = differing[0]
    a, b = (run.protein.sequence[number - 1] for run in runs)
    for letter, run in zip((a, b), runs, strict=True):
        if letter not in AMINO_ACIDS:
            raise OptionError(
                f"residue {number} of {run.protein.id!r} is {letter}, which is no amino acid and has no "
                "log-odds; name two letters with esmkit.inside.log_odds(residue, letter, against)"
            )
    return log_odds(number, a, "others" if a == b else b)


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
    return float(spearmanr(a[known], b[known]).statistic)
