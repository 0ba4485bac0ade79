"""Gathers what a live page holds: the weights, the protein it begins with, its structure, labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit._version import __version__
from esmkit.contacts.head import ContactHead
from esmkit.encoder.names import head_name
from esmkit.errors import OptionError
from esmkit.explorer.labels import Labels, read_labels
from esmkit.explorer.live.accuracy import compare_packed
from esmkit.explorer.live.engine import kernel_bytes
from esmkit.explorer.live.page import LiveExplorer
from esmkit.explorer.live.weights import MOST_RESIDUES, Bits, pack_weights
from esmkit.explorer.parts import model_facts, protein_and_windows, structure_facts
from esmkit.explorer.structure import truth_of
from esmkit.sequences.given import OneProtein
from esmkit.sequences.windows import Long
from esmkit.structure.given import GivenStructure, structure_of

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.heads.result import HeadProfile

__all__ = ["explore_live"]

NOTABLE = 1e-3
"""Difference of an attention weight or a contact's score from which the page says so at its top."""


def explore_live(
    model: "Encoder",
    protein: OneProtein,
    *,
    structure: GivenStructure | None,
    profile: "HeadProfile | str | Path | None",
    long: Long,
    bits: Bits,
    max_bytes: int,
    command: str,
) -> LiveExplorer:
    """Make a page that runs the model; the arguments are those of :func:`esmkit.explore`.

    Raises
    ------
    InputError, OptionError
        With the record and the remedy.
    """
    one, pieces = protein_and_windows(protein, long)
    if len(one) > MOST_RESIDUES:
        raise OptionError(
            f"{one.id!r} has {len(one):,} residues and a live page reads at most "
            f'{MOST_RESIDUES:,}; cut the sequence, use `long="truncate"`, or leave out `live`, for a '
            "page with maps that were made before"
        )
    truth = truth_of(one, structure_of(structure)) if structure is not None else None
    labels = read_labels(profile, model) if profile is not None else None
    manifest, weights = pack_weights(model, bits)
    arrays = {"weights": weights, "kernel": kernel_bytes()}
    check = compare_packed(model, one.sequence, manifest, weights)
    regression = ContactHead.of_checkpoint(model) if model.has_contact_head else None
    data = {
        "live": True,
        "id": one.id,
        "header": one.header,
        "sequence": one.sequence,
        "pieces": [list(piece) for piece in pieces],
        "model": model_facts(model),
        "manifest": manifest,
        "heads": _heads(model, labels),
        "labels": {"source": labels.source, "note": labels.note} if labels else None,
        "structure": structure_facts(truth, arrays),
        "contacts": {"source": regression.source} if regression else None,
        "check": check,
        "notes": _notes(labels, check, bits),
        "esmkit": __version__,
        "command": command,
    }
    page = LiveExplorer(data, arrays)
    _refuse_large(page, bits, max_bytes)
    return page


def _heads(model: "Encoder", labels: Labels | None) -> list[dict[str, Any]]:
    """Return a row for each head; the page adds what it finds about it."""
    rows = []
    for layer in range(model.layers):
        for head in range(model.heads):
            row: dict[str, Any] = {"name": head_name(layer, head), "layer": layer, "head": head}
            if labels is not None:
                given = labels.heads[row["name"]]
                row |= {"label": given.label, "evidence": given.evidence, "family": given.family}
            rows.append(row)
    return rows


def _notes(labels: Labels | None, check: dict[str, Any], bits: Bits) -> list[str]:
    notes = [labels.note] if labels is not None and labels.note else []
    largest = max(check["map"], check["contact"] or 0.0)
    if largest > NOTABLE:
        notes.append(
            f"The weights of this page are held in {bits} bits, which changes attention weights by up "
            f"to {check['map']:.2g}"
            + (
                f" and scores of contacts by up to {check['contact']:.2g}"
                if check["contact"]
                else ""
            )
            + f", measured on {check['residues']} residues of the protein it begins with."
        )
    return notes


def _refuse_large(page: LiveExplorer, bits: Bits, max_bytes: int) -> None:
    size = len(page.to_html().encode())
    if size <= max_bytes:
        return
    smaller = "pack the weights with `live_bits=8`, or " if bits == 16 else ""
    raise OptionError(
        f"a live page of {page.data['model']['checkpoint']['name']} with weights of {bits} bits takes "
        f"{size / 1e6:,.0f} MB and at most {max_bytes / 1e6:,.0f} MB are allowed; {smaller}allow more "
        "with `max_bytes`"
    )
