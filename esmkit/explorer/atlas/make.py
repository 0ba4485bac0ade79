"""Puts an atlas together: tables, what needs the model, and the model it is compared with."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esmkit._version import __version__
from esmkit.arguments import checked
from esmkit.encoder.encoder import Encoder
from esmkit.errors import InputError
from esmkit.explorer.atlas.chains import choose_examples
from esmkit.explorer.atlas.numbers import (
    EFFECT_FIELDS,
    head_rows,
    numbers_of,
    offsets_of,
    property_rows,
    size_words,
)
from esmkit.explorer.atlas.page import FORMAT, Atlas, Weights
from esmkit.explorer.atlas.removal import removal_numbers
from esmkit.explorer.atlas.tables import Tables, other_of, read_tables
from esmkit.explorer.atlas.weights import matrices, of_examples
from esmkit.heads.result import HeadProfile

if TYPE_CHECKING:
    import pandas

    from esmkit.structure import Structure

__all__ = ["assemble", "atlas", "check_model", "weights_of"]


@checked
def atlas(
    profile: "HeadProfile | str | Path",
    *,
    model: Encoder | None = None,
    structures: "Iterable[Structure] | None" = None,
    ablation: "pandas.DataFrame | None" = None,
    circuits: "pandas.DataFrame | None" = None,
    compare: "HeadProfile | str | Path | None" = None,
    command: str = "",
) -> Atlas:
    """Make one page with all heads of a model, to be searched, sorted and filtered.

    For each head it shows label and reason, every number with its interval, where it looks along
    the sequence, what its removal does, and, with ``model``, its OV and QK amino-acid matrices and
    its strongest links on example chains. The page needs no network and no server.

    Parameters
    ----------
    profile : HeadProfile or path
        From :func:`esmkit.heads.profile`, or the folder that ``esmkit heads`` wrote, from which
        the other tables are taken as well.
    model : Encoder, optional
        The model of the profile; without it the page has neither matrices nor links.
    structures : iterable of Structure, optional
        The chains of the profile, up to four of which become examples; by default those of TS50.
    ablation : pandas.DataFrame, optional
        From :func:`esmkit.heads.ablation.ablate`; columns with an interval beside them are shown.
    circuits : pandas.DataFrame, optional
        From :meth:`esmkit.heads.circuits.Circuits.to_frame`.
    compare : HeadProfile or path, optional
        Another model, whose heads stand beside those of the same name. Matrices and links are
        taken from the ``atlas.html`` of its folder, if that has one.
    command : str
        The command line, recorded in the page.

    Returns
    -------
    Atlas
        Shows itself in Jupyter; ``.save(path)`` writes the file.

    Raises
    ------
    InputError
        If a folder is none of ``esmkit heads``, the model is not that of the profile, or none of
        the structures is a chain of it.

    See Also
    --------
    esmkit.explore : A page about one protein.

    Examples
    --------
    >>> model, chains = esmkit.load(), esmkit.data.ts50()[:10]         # doctest: +SKIP
    >>> few = {"resamples": 100, "control": False}                     # doctest: +SKIP
    >>> profile = esmkit.heads.profile(model, chains, **few)           # doctest: +SKIP
    >>> page = esmkit.atlas(profile, model=model, structures=chains)   # doctest: +SKIP
    >>> page.save("atlas.html").name                                   # doctest: +SKIP
    'atlas.html'
    """
    if isinstance(profile, str | Path):
        tables = read_tables(Path(profile))
        ablation = tables.ablation if ablation is None else ablation
        circuits = tables.circuits if circuits is None else circuits
        tables = Tables(tables.profile, ablation, circuits, tables.repeats)
    else:
        tables = Tables(profile, ablation, circuits)
    other = None if compare is None else other_of(compare)
    weights: Weights = {}, {}
    if model is not None:
        check_model(tables.profile, model)
        weights = weights_of(model, tables.profile, structures)
    return assemble(tables, weights, other, command=command)


def check_model(profile: HeadProfile, model: Encoder) -> None:
    """Refuse a model that is not that of the profile.

    Raises
    ------
    InputError
    """
    of = profile.provenance["checkpoint"]
    if len(profile.heads) != model.layers * model.heads:
        raise InputError(
            f"the profile is about {len(profile.heads)} heads and {model.checkpoint.name} has "
            f"{model.layers * model.heads}; load the model that was profiled, {of.get('name')}"
        )
    if of.get("sha256") not in (None, model.checkpoint.sha256):
        raise InputError(
            f"the profile is of the weights {of.get('name')} with SHA-256 "
            f"{str(of.get('sha256'))[:12]}, and those of {model.checkpoint.name} have "
            f"{str(model.checkpoint.sha256)[:12]}; load the model that was profiled"
        )


def weights_of(
    model: Encoder, profile: HeadProfile, structures: "Iterable[Structure] | None"
) -> Weights:
    """Return what the page shows of the model itself, on chains of the profile.

    Raises
    ------
    InputError
        If there are structures, and none is a chain of the profile.
    """
    from esmkit.data import ts50

    of_profile = set(profile.provenance["chains"])
    given = ts50() if structures is None else list(structures)
    chains = [chain for chain in given if chain.id in of_profile]
    if not chains and structures is not None:
        raise InputError(
            f"none of the {len(given):,} structures is a chain of the profile, such as "
            f"{min(of_profile, default='')!r}; give those that were profiled"
        )
    said, arrays = matrices(model)
    shown, links = of_examples(model, choose_examples(chains))
    return said | shown, arrays | links


def assemble(
    tables: Tables,
    weights: Weights,
    other: tuple[Tables, Weights] | None = None,
    *,
    command: str = "",
) -> Atlas:
    """Return the page of one model, or of two beside each other.

    Parameters
    ----------
    tables : Tables
    weights : tuple of dict and dict of str to bytes
        From :func:`weights_of`; both empty without a model.
    other : tuple of Tables and weights, optional
        The model that is compared.
    command : str
    """
    each = [(tables, weights), *([other] if other is not None else [])]
    models, arrays = [], {}
    for place, (of, (said, packed)) in enumerate(each):
        facts, numbers = _part(of)
        models.append(facts | said)
        arrays |= {f"{place}-{name}": array for name, array in (numbers | packed).items()}
    if len(models) > 1 and models[0]["name"] == models[1]["name"]:
        models[1]["name"] += " (second)"
    notes = _notes(models, tables.profile, None if other is None else other[0].profile)
    data = {
        "format": FORMAT,
        "models": models,
        "sizes": size_words(),
        "fields": list(EFFECT_FIELDS),
        "notes": notes,
        "esmkit": __version__,
        "command": command,
    }
    return Atlas(data, arrays)


def _part(tables: Tables) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return what the tables say of one model."""
    profile = tables.profile
    names = [str(name) for name in profile.heads["name"]]
    numbers = numbers_of(profile, tables.circuits, tables.repeats)
    if tables.ablation is not None:
        numbers += removal_numbers(tables.ablation, names)
    properties, effects, sizes = property_rows(profile)
    offsets, shares = offsets_of(profile)
    provenance = profile.provenance
    checkpoint = provenance["checkpoint"]
    # a float32 for each: one with its interval and q, by number and head
    values = np.stack([number.values for number in numbers]).astype("<f4")
    facts = {
        "name": str(checkpoint.get("name", "unknown weights")),
        "checkpoint": checkpoint,
        "layers": len(set(profile.heads["layer"])),
        "chains": len(provenance["chains"]),
        "ablated": _ablated(tables.ablation),
        "resamples": provenance.get("resamples"),
        "control": bool(provenance.get("control")),
        "maxQ": profile.rules.max_q,
        "command": str(provenance.get("command", "")),
        "heads": head_rows(profile),
        "numbers": [number.facts() for number in numbers],
        "properties": properties,
        "offsets": offsets,
        "circuits": None,
        "examples": [],
    }
    arrays = {"numbers": values, "effects": effects.astype("<f4"), "shares": shares.astype("<f4")}
    packed = {name: np.ascontiguousarray(array).tobytes() for name, array in arrays.items()}
    return facts, packed | {"sizes": sizes.tobytes()}


def _ablated(ablation: Any) -> int:
    if ablation is None:
        return 0
    return int(max(ablation["chains"])) if "chains" in ablation else -1


def _notes(
    models: Sequence[dict[str, Any]], profile: HeadProfile, other: HeadProfile | None
) -> list[str]:
    """Return what a reader has to know before the numbers."""
    notes = [
        str(model["checkpoint"]["note"]) for model in models if model["checkpoint"].get("note")
    ]
    for model in models:
        if model["circuits"] is None:
            notes.append(
                f"Matrices and links of {model['name']} are not in this page: they need the model "
                "(`esmkit heads atlas FOLDER` computes them)."
            )
    if other is not None:
        if profile.provenance["chains"] != other.provenance["chains"]:
            notes.append(
                "The two models were profiled on different chains, so that numbers differ for that reason too."
            )
        if [*profile.heads["name"]] != [*other.heads["name"]]:
            notes.append(
                "The two models have different heads; those of the same name stand beside each "
                "other, which says nothing of their being alike."
            )
    return list(dict.fromkeys(notes))
