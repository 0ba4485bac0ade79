"""The profile of all heads: every property, its background, its statistics and its controls."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.encoder.names import choose_heads
from esmkit.errors import InputError, OptionError
from esmkit.files.provenance import run_provenance
from esmkit.heads.controls import check_untrained, measure_controls
from esmkit.heads.labels import Rules
from esmkit.heads.measuring import measure
from esmkit.heads.properties import Property, standard_properties
from esmkit.heads.result import HeadProfile
from esmkit.heads.resume import Keeper
from esmkit.heads.tables import beyond_controls, effects_table, heads_table
from esmkit.heads.unrepeated import unrepeated_columns
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["profile"]

Array = NDArray[np.float64]


@checked
def profile(
    model: "Encoder",
    structures: Iterable["Structure"],
    *,
    properties: Sequence[Property] | None = None,
    control: bool = True,
    untrained: int | None = None,
    resamples: int = 2_000,
    seed: int = 0,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    repeats: "pandas.DataFrame | None" = None,
    progress: Say = silent,
    keep: Keeper = Keeper(),  # noqa: B008 - keeps nothing
) -> HeadProfile:
    """Measure what each attention head looks at, with backgrounds, intervals and controls.

    Parameters
    ----------
    model : Encoder
    structures : iterable of Structure
        Chains, such as :func:`esmkit.data.ts50`; those over 1,022 residues, repeats and those
        hardly resolved are left out and listed.
    properties : sequence of Property, optional
        By default :func:`esmkit.heads.standard_properties`.
    control : bool
        Measure untrained models of the same architecture as well, one or some of each kind
        (:func:`esmkit.heads.untrained.control_models`): with seeded random weights, and with the
        trained weights of each tensor in random order. Without it ``p`` is no more than ``p_shift``.
    untrained : int, optional
        How many untrained models of each kind, 1 to 10; by default as many as give 300 heads (three
        for the 8M). With fewer the profile is made sooner, and its p values rest on fewer heads.
    resamples : int
        Bootstrap samples of proteins.
    seed : int
        Seed of the bootstrap and of the random and permuted weights.
    rules : Rules
        Thresholds of labels, figures and texts.
    repeats : pandas.DataFrame, optional
        What :func:`esmkit.heads.repeat_scores` returned for this model: heads that copy are then
        labelled "repeat". Without it none is.
    progress : callable
        Called with the ID of each chain before its turn, in each pass
        (:func:`esmkit.heads.controls.passes` lists them).
    keep : Keeper
        Stores what was measured of each chain, and returns what it already has.

    Returns
    -------
    HeadProfile
        Columns of ``effects``: ``name``, ``layer``, ``head``, ``property``, ``kind``, ``family``
        (of tests: pairs, residues or offsets); ``share``,
        the part of the head's weight between residues that is on labelled pairs; ``background``,
        that expected from its own offsets and queries (:mod:`esmkit.heads.scores`; for offsets:
        from an even spread); ``difference`` and its 95 % interval ``low``, ``high`` over proteins;
        ``ratio`` of share and background with ``ratio_low`` and ``ratio_high``, and ``log_odds``;
        ``p``, against labels that are shifted and heads that are not trained,
        ``p_shift``, against shifts alone, and the ``inflation`` between the two
        (:mod:`esmkit.heads.statistics`): the larger of that of random and of permuted weights;
        ``q`` (Benjamini-Hochberg) and ``p_bonferroni`` of ``p``
        over all heads and the properties of the family; ``arc_share`` and ``arc_background`` for
        weights of at least 0.3, in the proteins with the property, ``arcs`` in all of these, and
        ``pooled_arc_share``, the same share over the ``pooled_arcs`` of all proteins, those without
        the property included, as Vig et al. 2021 define it (but between resolved residues);
        ``proteins`` and ``labelled``, the
        support; ``half_a`` and ``half_b`` (with ``half_b_low``, ``half_b_high``), the difference in
        every second protein and in the others; ``position_only``, the share of a head that knows
        nothing but its mean offsets; ``weight``, that between residues of the chains with the
        property, to which shares refer; ``best_in``, the proteins in which this head has the
        largest difference of all; ``beyond_control``, for disulfides, the ratio over that of any
        two cysteines, with ``beyond_control_low`` and ``beyond_control_high``, proteins resampled
        for both together; ``random`` and ``permuted``, the difference of the same head in the
        first model with random and with permuted weights, ``random_limit`` and ``permuted_limit``,
        the 95th percentile of its size over all heads of all of them. NaN where the support
        is insufficient: a property in fewer than 10 proteins, or fewer than 100 arcs. If chains
        have repeats (:mod:`esmkit.heads.unrepeated`), properties of pairs were tested again without
        them: columns of the same names with ``unrepeated_`` before, in ``unrepeated_proteins``
        proteins.

    Raises
    ------
    InputError
        If no chain can be used.
    OptionError
        If two properties have one name, or a number is out of range.

    See Also
    --------
    esmkit.heads.write_report : Tables, figures and a summary in a folder.
    esmkit.heads.ablate : What heads do, rather than where they look.

    References
    ----------
    Vig et al. 2021, BERTology meets biology, arXiv:2006.15222. Benjamini and Hochberg 1995,
    J. R. Stat. Soc. B 57, 289 (false discovery rate). Devlin and Roeder 1999, Biometrics 55, 997
    (inflation).

    Examples
    --------
    >>> chains = esmkit.data.ts50()[:10]
    >>> found = profile(esmkit.load(), chains, resamples=100, control=False)  # doctest: +SKIP
    >>> found.best("long-range contact", 1)["name"].item()                   # doctest: +SKIP
    'L5H4'
    """
    chosen = list(standard_properties() if properties is None else properties)
    names = [of.name for of in chosen]
    if not chosen or len(set(names)) < len(names):
        raise OptionError("give at least one property, and each name once")
    if resamples < 100:
        raise OptionError(f"resamples is at least 100, not {resamples}")
    check_untrained(untrained)
    choice = choose_heads(None, "all", of_layers=model.layers, of_heads=model.heads)
    left_out: list[tuple[str, str]] = []
    chains = list(structures) if control else structures
    measured = measure(
        *(model, chains, chosen, choice),
        progress=progress,
        left_out=left_out,
        keep=keep,
        again=True,
    )
    if not measured.chains:
        why = f" ({left_out[0][0]}: {left_out[0][1]})" if left_out else ""
        raise InputError(f"no chain can be used{why}; give protein chains of 3 to 1,022 residues")
    controls = None
    if control:
        controls = measure_controls(
            model, chains, chosen, choice, seed, progress, keep, models=untrained
        )
    effects = measured.accumulator.effects(
        resamples=resamples, seed=seed, inflated=controls.inflation if controls else 1.0
    )
    between = beyond_controls(chosen, measured, resamples=resamples, seed=seed)
    table = effects_table(chosen, choice, measured, effects, controls, between)
    if measured.apart is not None and measured.repeated:
        inflated = controls.inflation if controls else 1.0
        asked: Any = {"resamples": resamples, "seed": seed}
        table = table.assign(**unrepeated_columns(chosen, measured.apart, inflated, **asked))
    provenance = run_provenance(
        "heads",
        checkpoint=model.checkpoint.to_dict(),
        shape={"layers": model.layers, "heads": model.heads, "width": model.width},
        settings={
            "chains": measured.chains,
            "repeated": measured.repeated,
            "properties": names,
            "resamples": resamples,
            "seed": seed,
            "rules": asdict(rules),
            "control": control,
            "random_models": len(controls.random) if controls else 0,
            "permuted_models": len(controls.permuted) if controls else 0,
        },
        dtype=str(model.dtype).removeprefix("torch."),
        device=model.device.type,
        compiled=model.compiled,
        made_from={},
        command="",
        packages=("torch", "transformers", "numpy", "pandas", "mdtraj"),
    )
    heads = heads_table(choice, measured, table, rules, repeats)
    return HeadProfile(table, heads, provenance, left_out, repeats=repeats)
