"""Compare esmkit with Hugging Face and with the reference, on the user's own weights and proteins.

Three implementations of one encoder: transformers' ``EsmModel`` with eager attention, exactly as it
is; esmkit's packed forward; and :mod:`esmkit.reference.encoder`, NumPy in float64, which shares no code
with either. A table says how far apart they are, where, and how far apart rounding may put them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.encoder.encoder import Encoder
from esmkit.errors import InputError, OptionError, VerificationError
from esmkit.reference.implementations import Array, Implementations
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import PAD, encode
from esmkit.sequences.windows import MAX_RESIDUES
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

__all__ = ["Check", "Verification", "verify"]

TOLERANCE = 1e-5
"""Largest difference allowed in a model of up to six layers, see :data:`REASONS`."""

LAYERS_OF_TOLERANCE = 6
"""Rounding adds up from layer to layer: deeper models may differ in proportion to their depth."""

REASONS = {
    "relative": "of the layer's largest value; float32 rounds each step by 6e-8 of that",
    "absolute": "values are 0 to 1; float32 rounds the scores, and the exponential amplifies",
    "contacts": "values are 0 to 1; the regression multiplies the rounding of the maps by weights "
    "of up to 29 (8M), which together come to 153",
}

CONTACT_TOLERANCE = 1e-4
"""The same for contact probabilities: 3e-6 in a map times weights of up to 29."""

MASK_EVERY = 7
"""In the rows "with masks" every seventh residue is ``<mask>``; every second protein has none."""

EXTRA_PADDING = 3
"""Padding tokens after the longest sequence of a padded batch."""


@dataclass(frozen=True)
class Check:
    """One row: two computations of the same arrays.

    Attributes
    ----------
    compared, quantity : str
        Which implementations, and which of their results.
    absolute, relative : float
        Largest difference of all; as it is, and divided by the largest magnitude in its array.
    where : str
        Protein, layer (or hidden state) and head at which the bounded one of the two is largest.
    bounded : str
        Which of the two has to stay within the tolerance.
    tolerance : float
    reason : str
        Why the tolerance is what it is.
    values : int
        How many values were compared.
    """

    compared: str
    quantity: str
    absolute: float
    relative: float
    where: str
    bounded: str
    tolerance: float
    reason: str
    values: int

    @property
    def passed(self) -> bool:
        """Whether the bounded difference is within the tolerance; NaN is not."""
        return bool(getattr(self, self.bounded) <= self.tolerance)


@dataclass(frozen=True)
class Verification:
    """The table of :func:`verify`, and what it was made from."""

    checkpoint: dict[str, object]
    proteins: list[str]
    truncated: list[str]
    checks: list[Check]

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
            "proteins": self.proteins,
            "truncated": self.truncated,
            "checks": rows,
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
        return "\n".join([*(line.rstrip() for line in lines), "", *why])

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


class _Comparison:
    """Gathers the largest difference between two streams of arrays."""

    def __init__(self, compared: str, quantity: str, bounded: str, reason: str, tolerance: float):
        self._facts = (compared, quantity)
        self._bound = (bounded, tolerance, REASONS[reason])
        self._absolute = self._relative = 0.0
        self._measured = -1.0
        self._where = "nothing compared"
        self._values = 0

    def add(self, ours: Array, theirs: Array, where: str, *, heads: int | None = None) -> None:
        """Compare two arrays; with ``heads`` the first axis is heads, and the worst is named."""
        if ours.shape != theirs.shape:
            raise VerificationError(f"at {where} the shapes differ: {ours.shape}, {theirs.shape}")
        difference = np.abs(ours.astype(np.float64) - theirs)
        scale = float(np.abs(theirs).max())
        absolute = float(difference.max())
        self._values += difference.size
        relative = absolute / scale if scale else absolute
        if not (np.isfinite(absolute) and np.isfinite(scale)):  # NaN must not pass as small
            absolute = relative = np.inf
        measured = relative if self._bound[0] == "relative" else absolute
        if measured > self._measured:
            if heads is not None:
                where += f"H{int(np.unravel_index(difference.argmax(), difference.shape)[0])}"
            self._measured, self._where = measured, where
        self._absolute = max(self._absolute, absolute)
        self._relative = max(self._relative, relative)

    def check(self) -> Check:
        """Return the row. A comparison of nothing is a failure, not a success."""
        return Check(
            *self._facts,
            self._absolute if self._values else np.inf,
            self._relative if self._values else np.inf,
            self._where,
            *self._bound,
            self._values,
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
        Hugging Face; and with ``<mask>`` tokens, and in a padded batch.

    Raises
    ------
    InputError
        If there are no proteins.
    OptionError
        If the model is not in float32.
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
    checks.one_at_a_time(_with_masks(chosen), names, ", with masks", progress)
    checks.padded(clean, names, progress)
    cut = [protein.id for protein in chosen if len(protein) > MAX_RESIDUES]
    return Verification(model.checkpoint.to_dict(), names, cut, [c.check() for c in checks.rows])


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
        self.rows: list[_Comparison] = []
        self._depth = max(1.0, model.layers / LAYERS_OF_TOLERANCE)
        self._contacts = model.has_contact_head

    def row(self, compared: str, quantity: str, bounded: str, reason: str = "") -> _Comparison:
        tolerance = CONTACT_TOLERANCE if reason == "contacts" else TOLERANCE
        found = _Comparison(compared, quantity, bounded, reason or bounded, tolerance * self._depth)
        self.rows.append(found)
        return found

    def reference_rows(self, suffix: str) -> tuple[_Comparison, _Comparison, _Comparison | None]:
        compared = "reference / Hugging Face"
        contacts = None
        states = self.row(compared, f"hidden states{suffix}", "relative")
        maps = self.row(compared, f"attention maps{suffix}", "absolute")
        if self._contacts:
            contacts = self.row(compared, f"contact map{suffix}", "absolute", "contacts")
        return states, maps, contacts

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
        for number, (ids, name) in enumerate(zip(sequences, names, strict=True)):
            progress(f"{name}{suffix}")
            # its neighbours on both sides, and a shorter piece of itself, in one pack
            beside = [*sequences[max(0, number - 1) : number], *sequences[number + 1 : number + 2]]
            packed = self.computed.packed(ids, [*beside, ids[: len(ids) // 2 + 1]])
            their_states, their_maps, their_contacts = self.computed.hugging_face(ids[None])
            (our_states, our_maps), our_contacts = self.computed.reference(ids[None])
            alone = self.computed.packed(ids, [])
            for number, theirs in enumerate(their_states):
                where = f"{name}, hidden state {number}"
                states.add(our_states[number], theirs, where)
                packed_row.add(packed[number], theirs[0], where)
                alone_row.add(packed[number], alone[number], where)
            parts = zip(our_maps, self.computed.streamed(ids), their_maps, strict=True)
            for number, (ours, stream, theirs) in enumerate(parts):
                maps.add(ours[0], theirs[0], f"{name}, L{number}", heads=1)
                streamed.add(stream, theirs[0], f"{name}, L{number}", heads=1)
            if contacts and our_contacts is not None and their_contacts is not None:
                contacts.add(our_contacts, their_contacts, name)

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
            # Wider than the longest, so that every row has padding
            widest = max(len(sequences[i]) for i in pair) + EXTRA_PADDING
            ids = np.full((len(pair), widest), PAD)
            for row, i in enumerate(pair):
                ids[row, : len(sequences[i])] = sequences[i]
            their_states, their_maps, their_contacts = self.computed.hugging_face(ids)
            (our_states, our_maps), our_contacts = self.computed.reference(ids)
            for row, i in enumerate(pair):
                real, name = slice(len(sequences[i])), names[i]
                for n, theirs in enumerate(their_states):
                    where = f"{name}, hidden state {n}"
                    states.add(our_states[n][row, real], theirs[row, real], where)
                for n, theirs in enumerate(their_maps):
                    part = (row, slice(None), real, real)
                    maps.add(our_maps[n][part], theirs[part], f"{name}, L{n}", heads=1)
                if contacts and our_contacts is not None and their_contacts is not None:
                    residues = slice(len(sequences[i]) - 2)
                    cut = (row, residues, residues)
                    contacts.add(our_contacts[cut], their_contacts[cut], name)


def _pairs(order: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(order), 2):
        yield order[start : start + 2]
