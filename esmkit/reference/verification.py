"""Compare esmkit with Hugging Face and with the reference, on the user's own weights and proteins.

Three implementations of one encoder: transformers' ``EsmModel`` with eager attention, exactly as it
is; esmkit's packed forward; and :mod:`esmkit.reference.encoder`, NumPy in float64, which shares no code
with either. With a masked-LM head, logits are compared too, and with fair-esm where it is installed. A table says how far apart they are, where, and how far apart rounding may put them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.encoder.encoder import Encoder
from esmkit.errors import InputError, OptionError, VerificationError, install_command
from esmkit.reference.comparison import Check, Comparison, tolerance_of
from esmkit.reference.implementations import Array, Implementations, Outputs
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import PAD, encode
from esmkit.sequences.windows import MAX_RESIDUES
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

__all__ = ["Check", "Verification", "verify"]

MASK_EVERY = 7
"""In the rows "with masks" every seventh residue is ``<mask>``; every second protein has none."""

EXTRA_PADDING = 3
"""Padding tokens after the longest sequence of a padded batch."""


@dataclass(frozen=True)
class Verification:
    """The table of :func:`verify`, what it was made from, and notes on what was not compared.

    Attributes
    ----------
    checkpoint : dict
        The weights.
    proteins, truncated : list of str
        IDs of what was compared, and of those of which the first 1,022 residues were.
    checks : list of Check
    lm_head : dict or None
        Where the masked-LM head comes from.
    notes : list of str

    Examples
    --------
    >>> of = {"where": "P, L0", "bounded": "absolute", "tolerance": 1e-5, "reason": "rounding"}
    >>> check = Check("packed / Hugging Face", "hidden states", 3e-7, 1e-7, **of, values=640)
    >>> found = Verification({"name": "mine"}, ["P"], [], [check])
    >>> found.passed, found.to_dict()["checks"][0]["absolute"], len(found.to_frame())
    (True, 3e-07, 1)
    >>> found.raise_if_failed()
    >>> print(found.to_text().splitlines()[1])
    ok  packed / Hugging Face  hidden states  3.0e-07   1.0e-07   1e-05 abs.  P, L0
    """

    checkpoint: dict[str, object]
    proteins: list[str]
    truncated: list[str]
    checks: list[Check]
    lm_head: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every check is within its tolerance."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        rows = [{**asdict(check), "passed": check.passed} for check in self.checks]
        return {
            "passed": self.passed,
            "checkpoint": self.checkpoint,
            "lm_head": self.lm_head,
            "proteins": self.proteins,
            "truncated": self.truncated,
            "checks": rows,
            "notes": self.notes,
        }

    def to_frame(self) -> "pandas.DataFrame":
        """Return one row for each check."""
        import pandas

        return pandas.DataFrame(self.to_dict()["checks"])

    def to_text(self) -> str:
        """Return the table as text, a line for each check, and the reasons of the tolerances."""
        head = ("", "compared", "what", "absolute", "relative", "allowed", "worst at")
        rows: list[tuple[str, ...]] = [head]
        for c in self.checks:
            allowed = f"{c.tolerance:.0e} {c.bounded[:3]}."
            verdict = "ok" if c.passed else "OVER"
            figures = (f"{c.absolute:.1e}", f"{c.relative:.1e}", allowed)
            rows.append((verdict, c.compared, c.quantity, *figures, c.where))
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = ["  ".join(t.ljust(w) for t, w in zip(r, widths, strict=True)) for r in rows]
        why = dict.fromkeys(f"{c.tolerance:.0e} {c.bounded[:3]}.: {c.reason}" for c in self.checks)
        return "\n".join([*(line.rstrip() for line in lines), "", *why, *self.notes])

    def _repr_html_(self) -> str:
        columns = ["passed", "compared", "quantity", "absolute", "relative", "tolerance", "where"]
        return self.to_frame()[columns].to_html(float_format="{:.1e}".format, index=False)

    def raise_if_failed(self) -> None:
        """Raise if a check is over its tolerance.

        Raises
        ------
        VerificationError
            Names the first such check, its difference and where it is.
        """
        for c in self.checks:
            if not c.passed:
                raise VerificationError(
                    f"{c.compared}, {c.quantity}: the {c.bounded} difference "
                    f"{getattr(c, c.bounded):.1e} at {c.where} is over {c.tolerance:.0e}; check "
                    "the weights (esmkit weights check) and the versions of torch and transformers"
                )


@checked
def verify(
    model: Encoder,
    proteins: Iterable[Protein],
    *,
    progress: Say = silent,
) -> Verification:
    """Compare the implementations on some proteins.

    Sequences over 1,022 residues take part with their first 1,022. All maps of two proteins are held
    at a time, in float32 and float64: two of 1,022 residues need some 5 GB with the 8M model.

    Parameters
    ----------
    model : Encoder
        In float32.
    proteins : iterable of Protein
        A handful; every head of every layer of each is compared.
    progress : callable
        Called with the ID of each protein before its turn.

    Returns
    -------
    Verification
        One row each for: reference against Hugging Face (hidden states, attention maps, contact
        map), packed against Hugging Face and against one at a time, streamed attention against
        Hugging Face; and with ``<mask>`` tokens, and in a padded batch. With a masked-LM head, one
        each for logits: reference and packed against Hugging Face, and packed against fair-esm if
        it is installed; and with masks, and in a padded batch with masks.

    Raises
    ------
    InputError
        If there are no proteins.
    CheckpointError
        If the checkpoint has a masked-LM head that cannot be used.
    OptionError
        If the model is not in float32.

    See Also
    --------
    encode : The reference that is compared with.

    Examples
    --------
    >>> model = esmkit.load()                                           # doctest: +SKIP
    >>> found = verify(model, [esmkit.Protein("P", "MKTVRQERLKSIV")])    # doctest: +SKIP
    >>> found.passed, len(found.to_frame()) == len(found.checks)         # doctest: +SKIP
    (True, True)
    >>> found.raise_if_failed()                                         # doctest: +SKIP
    >>> found.checks[0].compared                                        # doctest: +SKIP
    'reference / Hugging Face'
    """
    if model.dtype != torch.float32:
        raise OptionError("verification is about float32: load the model with dtype float32")
    chosen = list(proteins)
    if not chosen:
        raise InputError("there is no protein to verify with; give at least one")
    clean = [encode(protein.sequence[:MAX_RESIDUES]) for protein in chosen]
    names = [protein.id for protein in chosen]
    checks = _Checks(model)
    checks.one_at_a_time(clean, names, "", progress)
    masked = _with_masks(chosen)
    checks.one_at_a_time(masked, names, ", with masks", progress)
    checks.padded(clean, names, progress)
    checks.padded_logits(masked, names, progress)
    cut = [protein.id for protein in chosen if len(protein) > MAX_RESIDUES]
    head = checks.computed.lm_head
    return Verification(
        model.checkpoint.to_dict(),
        names,
        cut,
        [c.check() for c in checks.rows],
        None if head is None else head.facts,
        checks.notes(),
    )


def _with_masks(proteins: Sequence[Protein]) -> list[NDArray[np.int64]]:
    """Mask every seventh residue of every second protein, from the first: shares must not mix."""
    return [
        encode(sequence, mask=range(0, len(sequence) - 1, MASK_EVERY) if number % 2 == 0 else ())
        for number, sequence in enumerate(protein.sequence[:MAX_RESIDUES] for protein in proteins)
    ]


class _Checks:
    """Runs the implementations against each other and gathers the rows of the table."""

    def __init__(self, model: Encoder) -> None:
        self.computed = Implementations(model)
        self.rows: list[Comparison] = []
        self._contacts = model.has_contact_head

    def row(self, compared: str, quantity: str, bounded: str, reason: str = "") -> Comparison:
        reason = reason or bounded
        tolerance = tolerance_of(reason, self.computed.model.layers)
        found = Comparison(compared, quantity, bounded, reason, tolerance)
        self.rows.append(found)
        return found

    def reference_rows(self, suffix: str) -> tuple[Comparison, Comparison, Comparison | None]:
        compared = "reference / Hugging Face"
        contacts = None
        states = self.row(compared, f"hidden states{suffix}", "relative")
        maps = self.row(compared, f"attention maps{suffix}", "absolute")
        if self._contacts:
            contacts = self.row(compared, f"contact map{suffix}", "absolute", "contacts")
        return states, maps, contacts

    def logit_rows(self, suffix: str) -> "_LogitRows | None":
        if self.computed.lm_head is None:
            return None
        theirs = ["Hugging Face", "fair-esm"] if self.computed.has_fair_esm else ["Hugging Face"]
        names = ["reference / Hugging Face", *(f"packed / {name}" for name in theirs)]
        return _LogitRows(
            self.computed,
            [self.row(name, f"logits{suffix}", "absolute", "logits") for name in names],
        )

    def notes(self) -> list[str]:
        """Say what was not compared, and why."""
        if self.computed.lm_head is None:
            return [
                f"{self.computed.model.checkpoint.name} has no masked-LM head: no logits compared"
            ]
        if not self.computed.has_fair_esm:
            return [
                f"logits were not compared with fair-esm: it is not installed ({install_command('fair-esm')}), or has no "
                "network of this shape"
            ]
        return []

    def one_at_a_time(
        self,
        sequences: Sequence[NDArray[np.int64]],
        names: Sequence[str],
        suffix: str,
        progress: Callable[[str], None],
    ) -> None:
        """Every protein alone through reference and Hugging Face; all together through the pack."""
        states, maps, contacts = self.reference_rows(suffix)
        packed_row = self.row("packed / Hugging Face", f"hidden states{suffix}", "relative")
        alone_row = self.row("packed / one at a time", f"hidden states{suffix}", "relative")
        streamed = self.row("streamed / Hugging Face", f"attention maps{suffix}", "absolute")
        logits = self.logit_rows(suffix)
        for number, (ids, name) in enumerate(zip(sequences, names, strict=True)):
            progress(f"{name}{suffix}")
            # its neighbours on both sides, and a shorter piece of itself, in one pack
            beside = [*sequences[max(0, number - 1) : number], *sequences[number + 1 : number + 2]]
            packed = self.computed.packed(ids, [*beside, ids[: len(ids) // 2 + 1]])
            theirs, ours = self.computed.hugging_face(ids[None]), self.computed.reference(ids[None])
            alone = self.computed.packed(ids, [])
            for number, state in enumerate(theirs.states):
                where = f"{name}, hidden state {number}"
                states.add(ours.states[number], state, where)
                packed_row.add(packed[number], state[0], where)
                alone_row.add(packed[number], alone[number], where)
            parts = zip(ours.maps, self.computed.streamed(ids), theirs.maps, strict=True)
            for number, (our_maps, stream, their_maps) in enumerate(parts):
                maps.add(our_maps[0], their_maps[0], f"{name}, L{number}", heads=1)
                streamed.add(stream, their_maps[0], f"{name}, L{number}", heads=1)
            if contacts and ours.contacts is not None and theirs.contacts is not None:
                contacts.add(ours.contacts, theirs.contacts, name)
            if logits:
                logits.add(ids[None], 0, packed, ours, theirs, name)

    def padded(
        self,
        sequences: Sequence[NDArray[np.int64]],
        names: Sequence[str],
        progress: Callable[[str], None],
    ) -> None:
        """Neighbouring proteins in padded batches of two; only real tokens are compared."""
        states, maps, contacts = self.reference_rows(", padded")
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        for pair in _pairs(order):
            progress(" and ".join(names[i] for i in pair) + ", padded")
            ids = _padded([sequences[i] for i in pair])
            theirs, ours = self.computed.hugging_face(ids), self.computed.reference(ids)
            for row, i in enumerate(pair):
                real, name = slice(len(sequences[i])), names[i]
                for n, state in enumerate(theirs.states):
                    where = f"{name}, hidden state {n}"
                    states.add(ours.states[n][row, real], state[row, real], where)
                for n, their_maps in enumerate(theirs.maps):
                    part = (row, slice(None), real, real)
                    maps.add(ours.maps[n][part], their_maps[part], f"{name}, L{n}", heads=1)
                if contacts and ours.contacts is not None and theirs.contacts is not None:
                    residues = slice(len(sequences[i]) - 2)
                    cut = (row, residues, residues)
                    contacts.add(ours.contacts[cut], theirs.contacts[cut], name)

    def padded_logits(
        self,
        sequences: Sequence[NDArray[np.int64]],
        names: Sequence[str],
        progress: Callable[[str], None],
    ) -> None:
        """Logits of padded batches of two with masks: the share of masks is that of a sequence."""
        logits = self.logit_rows(", padded, with masks")
        if logits is None:
            return
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        for pair in _pairs(order):
            progress(" and ".join(names[i] for i in pair) + ", padded, with masks")
            ids = _padded([sequences[i] for i in pair])
            theirs = self.computed.hugging_face(ids)
            ours = self.computed.reference(ids, attentions=False)
            beside = [sequences[i] for i in pair]
            for row, i in enumerate(pair):
                packed = self.computed.packed(sequences[i], beside)
                logits.add(ids, row, packed, ours, theirs, names[i])


class _LogitRows:
    """The rows of logits: reference and packed against Hugging Face, packed against fair-esm."""

    def __init__(self, computed: Implementations, rows: Sequence[Comparison]) -> None:
        self._computed = computed
        self._rows = rows

    def add(
        self,
        ids: NDArray[np.int64],
        row: int,
        packed: Array,
        ours: Outputs,
        theirs: Outputs,
        name: str,
    ) -> None:
        """Compare the logits of one row of a padded batch (B, T), its real tokens only."""
        if ours.logits is None or theirs.logits is None:
            raise VerificationError("there are no logits to compare")
        real = slice(packed.shape[1])
        esmkits, hugging_face = self._computed.logits(packed), theirs.logits[row, real]
        pairs = [(ours.logits[row, real], hugging_face), (esmkits, hugging_face)]
        if self._computed.has_fair_esm:
            pairs.append((esmkits, self._computed.fair_esm(ids)[row, real]))
        for comparison, (first, second) in zip(self._rows, pairs, strict=True):
            comparison.add(first, second, name)


def _padded(sequences: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return a padded batch (B, T), wider than the longest, so that every row has padding."""
    widest = max(len(sequence) for sequence in sequences) + EXTRA_PADDING
    ids = np.full((len(sequences), widest), PAD)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
    return ids


def _pairs(order: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(order), 2):
        yield order[start : start + 2]
