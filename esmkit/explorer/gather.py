"""Computes all that one page shows: heads, contacts, structure, labels, where it comes from."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from esmkit._version import __version__
from esmkit.arguments import checked
from esmkit.attention.extract import compute
from esmkit.attention.passes import Piece
from esmkit.contacts.prediction import contacts as predict_contacts
from esmkit.encoder.encoder import Encoder
from esmkit.encoder.names import Heads, Layers, choose_heads, head_name
from esmkit.explorer.budget import PagePlan, plan_heads
from esmkit.explorer.facts import facts, head_map, rows_of, thumbnail
from esmkit.explorer.labels import Labels, read_labels
from esmkit.explorer.live.choices import check_live
from esmkit.explorer.live.make import explore_live
from esmkit.explorer.live.weights import Bits
from esmkit.explorer.page import Explorer
from esmkit.explorer.parts import (
    MAX_RESIDUES_SHOWN,
    PAGE_BYTES,
    array_bytes,
    model_facts,
    protein_and_windows,
    structure_facts,
)
from esmkit.explorer.structure import Truth, truth_of
from esmkit.explorer.trace import Trace, run_trace
from esmkit.sequences.given import OneProtein
from esmkit.sequences.proteins import Protein
from esmkit.sequences.windows import Long
from esmkit.structure import Structure
from esmkit.structure.given import GivenStructure, structure_of

if TYPE_CHECKING:
    from esmkit.heads.result import HeadProfile

__all__ = ["MAX_RESIDUES_SHOWN", "PAGE_BYTES", "explore"]

NOTABLE = 1 / 255
"""Difference between the page's weights and the model's from which the page says so at its top."""

NEVER_SEEN = 65_535
"""Code of a contact probability that is not known."""


@checked
def explore(
    model: Encoder,
    protein: OneProtein,
    *,
    structure: GivenStructure | None = None,
    profile: "HeadProfile | str | Path | None" = None,
    heads: Heads | None = None,
    layers: Layers = "all",
    long: Long = "window",
    live: bool = False,
    live_bits: Bits = 16,
    max_bytes: int = PAGE_BYTES,
    command: str = "",
) -> Explorer:
    """Make a page on which the attention of one protein can be walked through.

    The page holds the 16-bit queries, keys and values of the reference encoder, from which the
    browser makes each map when it is opened; :attr:`Explorer.check` says how far these maps are
    from the model's own. It needs no network and no server.

    With ``live`` it holds the model itself instead, and runs it on any sequence that a reader types,
    pastes or makes by changing a residue: maps, contacts and steps follow, and what changed is shown.

    Parameters
    ----------
    model : Encoder
    protein : str, Protein or what else is one protein
        Of at most 5,000 residues; also Biopython's Seq or SeqRecord, an (ID, sequence) tuple, or a
        FASTA file of one record. See :mod:`esmkit.sequences.given`.
    structure : Structure, or path FILE or FILE:CHAIN, optional
        Structure of the same protein: adds distances, true contacts, secondary structure, and scores.
    profile : HeadProfile or path, optional
        From :func:`esmkit.heads.profile`, or the folder that ``esmkit heads`` wrote: names and
        colours the heads.
    heads : str, pair of int, or sequence of these, optional
        Names such as ``L5H4``, pairs such as ``(5, 4)``, or ``L5`` for a whole layer; by default
        all heads of ``layers``, or as many as fit into ``max_bytes``, those first in which
        residues far apart look at each other.
    layers : int, sequence of int, or 'all'
        Attention layers 0..N-1, or negatives from the end.
    long : {'window', 'whole', 'truncate', 'error'}
        As in :class:`esmkit.attention.options.AttentionOptions`.
    live : bool
        Put the model into the page, for sequences of at most 1,022 residues.
    live_bits : {16, 8}
        Size of a weight in a live page: with 8 bits the page is half as large, and less exact.
    max_bytes : int
        Largest page.
    command : str
        The command line, recorded in the page.

    Returns
    -------
    Explorer
        Shows itself in Jupyter; ``.save(path)`` writes the file.
        :class:`esmkit.explorer.LiveExplorer` with ``live``.

    Raises
    ------
    MissingDependencyError
        If Bokeh is not installed.
    InputError, OptionError
        With the record and the remedy.

    See Also
    --------
    esmkit.atlas : A page about all heads of a model.
    esmkit.plots.attention_grid : The maps as a figure.

    Examples
    --------
    >>> page = esmkit.explore(esmkit.load(), "MKTVRQERLKSIVRILERSKEPVSG")    # doctest: +SKIP
    >>> page.save("page.html").name                                        # doctest: +SKIP
    'page.html'
    """
    from esmkit.explorer.figures import need_bokeh

    need_bokeh()
    check_live(live, live_bits=live_bits, heads=heads, layers=layers)
    if live:
        return explore_live(
            *(model, protein),
            structure=structure,
            profile=profile,
            long=long,
            bits=live_bits,
            max_bytes=max_bytes,
            command=command,
        )
    one, pieces = protein_and_windows(protein, long)
    structure = None if structure is None else structure_of(structure)
    truth = truth_of(one, structure) if structure is not None else None
    labels = read_labels(profile, model) if profile is not None else None
    choice = choose_heads(
        *(heads, layers),
        of_layers=model.layers,
        of_heads=model.heads,
    )
    plan = plan_heads(
        model, one, pieces, choice, named=heads is not None, max_bytes=max_bytes, labels=labels
    )
    trace = run_trace(model, one.sequence, pieces, plan.choice, strips=plan.strips)
    check = compare(model, one, trace, long)
    rows, arrays = _heads(trace, truth, labels)
    arrays |= _layers(trace)
    data = {
        "id": one.id,
        "header": one.header,
        "sequence": one.sequence,
        "pieces": [list(piece) for piece in pieces],
        "model": model_facts(model),
        "heads": rows,
        "layers": _layer_facts(trace),
        "labels": {"source": labels.source, "note": labels.note} if labels else None,
        "structure": structure_facts(truth, arrays),
        "contacts": _contacts(model, one, structure, long, arrays),
        "check": check,
        "notes": _notes(plan, labels, check, model),
        "esmkit": __version__,
        "command": command,
    }
    return Explorer(data, arrays)


def _notes(
    plan: PagePlan, labels: Labels | None, check: dict[str, Any], model: Encoder
) -> list[str]:
    notes = list(plan.notes)
    if labels is not None and labels.note:
        notes.append(labels.note)
    if check["largest"] > NOTABLE:
        notes.append(
            f"The weights of this page differ by up to {check['largest']:.2g} (in {check['where']}) "
            f"from those that the model computed in {str(model.dtype).removeprefix('torch.')}: maps "
            "are made from float32 queries and keys."
        )
    return notes


def compare(model: Encoder, protein: Protein, trace: Trace, long: Long) -> dict[str, Any]:
    """Return the largest difference between the page's weights and the model's own maps.

    Returns
    -------
    dict
        ``largest``, in units of weight (0 to 1), BOS and EOS included, and ``where``.
    """
    first = np.cumsum([0] + [stop - start + 2 for start, stop in trace.pieces])
    worst: dict[str, Any] = {"largest": 0.0, "where": ""}

    def take(piece: Piece, layer: int, heads: Sequence[int], maps: torch.Tensor) -> None:
        tokens = piece.stop - piece.start + 2
        for head, theirs in zip(heads, maps.float().cpu().numpy(), strict=True):
            ours = rows_of(trace.heads[layer, head], int(first[piece.index]), tokens)
            difference = float(np.abs(ours - theirs).max())
            if difference >= worst["largest"]:
                worst.update(largest=difference, where=head_name(layer, head))

    choice = choose_heads(
        [head_name(*head) for head in trace.heads],
        "all",
        of_layers=model.layers,
        of_heads=model.heads,
    )
    for _ in compute(model, [(0, protein)], choice, take, long=long, batch_tokens=2_048):
        pass
    return worst


def _heads(
    trace: Trace, truth: Truth | None, labels: Labels | None
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return the facts of each head, and its arrays."""
    rows, arrays, small = [], {}, []
    for (layer, head), packed in trace.heads.items():
        name = head_name(layer, head)
        found = head_map(packed, trace.pieces)
        picture, _ = thumbnail(found.weights)
        small.append(picture)
        known = facts(found, truth)
        row = {"name": name, "layer": layer, "head": head, "scales": packed.scales, **known}
        if labels is not None:
            given = labels.heads[name]
            row |= {"label": given.label, "evidence": given.evidence, "family": given.family}
        rows.append(row)
        arrays[f"head-{name}"] = array_bytes(packed.query, packed.key, packed.value)
        arrays[f"contribution-{name}"] = array_bytes(packed.contribution)
    arrays["thumbnails"] = b"".join(picture.tobytes() for picture in small)
    return rows, arrays


def _layers(trace: Trace) -> dict[str, bytes]:
    arrays = {}
    for number, layer in trace.layers.items():
        arrays[f"lengths-{number}"] = array_bytes(layer.lengths)
        if layer.output is not None:
            arrays[f"before-{number}"] = array_bytes(layer.before, layer.before_scales)
            arrays[f"added-{number}"] = array_bytes(layer.added, layer.added_scales)
            arrays[f"output-{number}"] = array_bytes(layer.output)
    return arrays


def _layer_facts(trace: Trace) -> dict[str, Any]:
    return {
        str(number): {"outputScale": layer.output_scale if layer.output is not None else None}
        for number, layer in trace.layers.items()
    }


def _contacts(
    model: Encoder,
    protein: Protein,
    structure: Structure | None,
    long: Long,
    arrays: dict[str, bytes],
) -> dict[str, Any] | None:
    """Predict contacts, score them on the structure if there is one."""
    if not model.has_contact_head:
        return None
    contacts = predict_contacts(model, protein, long=long)
    upper = contacts.probability[np.triu_indices(len(contacts), 1)]
    codes = np.where(np.isnan(upper), NEVER_SEEN, np.round(np.nan_to_num(upper) * (NEVER_SEEN - 1)))
    arrays["probabilities"] = array_bytes(codes.astype("<u2"))
    scores = None
    if structure is not None:
        scores = contacts.score(structure).reset_index().to_dict("records")
    return {"source": contacts.source, "scores": scores}
