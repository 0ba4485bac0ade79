"""Scores of variants in memory: what :meth:`esmkit.esm2.Esm2.score_variants` does."""

from typing import TYPE_CHECKING, Any

from esmkit.arguments import checked
from esmkit.encoder.masked import BATCH_TOKENS
from esmkit.errors import InputError
from esmkit.score.variants.asked import Asked, ask
from esmkit.score.variants.options import check_options, table_or_all
from esmkit.score.variants.passes import compute_units
from esmkit.score.variants.plan import Strategy
from esmkit.sequences.given import ManyProteins, OneProtein, one_or_many
from esmkit.sequences.proteins import OnInvalid
from esmkit.text import warn_caller

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder

__all__ = ["LeftOutWarning", "score_variants"]


class LeftOutWarning(UserWarning):
    """Rows of a table of mutations that ``on_invalid="skip"`` has left out.

    Examples
    --------
    >>> import warnings  # doctest: +SKIP
    >>> with warnings.catch_warnings(record=True) as said:
    ...     warnings.simplefilter("always")
    ...     table = esmkit.load().score_variants("CYIQNCPLG", ["Y2F", "Y3F"], on_invalid="skip")  # doctest: +SKIP
    >>> table["mutant"].tolist(), any(issubclass(one.category, LeftOutWarning) for one in said)  # doctest: +SKIP
    (['Y2F'], True)
    """


@checked
def score_variants(
    model: "Encoder",
    proteins: OneProtein | ManyProteins,
    mutations: Any = "all",
    *,
    strategy: Strategy = "masked-marginals",
    measured: str | None = None,
    mutant_column: str | None = None,
    first_number: int = 1,
    on_invalid: OnInvalid = "error",
    batch_tokens: int = BATCH_TOKENS,
    progress: bool = False,
) -> "pandas.DataFrame":
    """Score variants of proteins: how much likelier the model finds them than the wild type.

    Parameters
    ----------
    model : Encoder
        With a masked-LM head.
    proteins : one protein, or many
        The wild types, in any form that ``embed`` takes.
    mutations : 'all', str, list of str, pandas.DataFrame, path or dict
        ``"all"``: every single substitution. Variants such as ``A24G``, ``L3P:K7R``,
        ``p.Ala24Gly`` or ``K7_L9del``, in one text with commas between them; a table with a column ``mutant`` (or another usual name), or
        its CSV or TSV file, ProteinGym's among them; a dict from the ID of a protein to variants.
        See :func:`esmkit.score.variants.mutations.parse_variant`.
    strategy : {'masked-marginals', 'wt-marginals', 'mutant-marginals', 'pllr'}
        Convention of the score: log p of the new letter less that of the old one at each site, with
        the site hidden, with nothing hidden, or in the variant's own sequence, summed over sites;
        or the difference of both sequences' pseudo-log-likelihoods, which takes insertions and
        deletions, and R passes for each variant. :mod:`esmkit.score.variants.plan` has the formulas.
    measured : str, optional
        Column of what was measured; then the table has it as ``measured``, and baselines beside it.
        :func:`esmkit.score.variants.measured.compare` compares them.
    mutant_column : str, optional
        Column of the mutations.
    first_number : int
        Number that the mutations give to the first residue of the sequence, such as 24 for a
        mature protein whose precursor is counted.
    on_invalid : {'error', 'skip', 'replace', 'degap'}
        ``skip`` leaves out mutations that do not fit, with a warning that lists them, and records
        as elsewhere; the other rules are for letters of the proteins.
    batch_tokens : int
        Most tokens of a pass.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    pandas.DataFrame
        A row for each variant in the order given: ``id``, ``mutant`` (in one-letter code, with the
        numbers that were given), ``residue_number`` (from 1 in the sequence), ``residue``,
        ``mutant_residue`` (of single substitutions), ``mutations`` (how many), and ``score``,
        float64, in nats: over 0 the model finds the variant likelier than the wild type.

    Raises
    ------
    CheckpointError
        If the model has no masked-LM head.
    InputError, OptionError, UnknownIdError
        If a mutation does not fit its protein, with its row and the remedy.

    See Also
    --------
    esmkit.score.variants.compare : The scores beside what was measured.
    esmkit.plots.variant_map : The figure of a whole scan.

    References
    ----------
    Meier et al. 2021, Language models enable zero-shot prediction of the effects of mutations on
    protein function, doi:10.1101/2021.07.09.450648.

    Examples
    --------
    >>> model = esmkit.load()                                                # doctest: +SKIP
    >>> table = model.score_variants("MKTVRQERLK", ["K2R", "M1A:T3S"])       # doctest: +SKIP
    >>> table.mutant.tolist()                                                # doctest: +SKIP
    ['K2R', 'M1A:T3S']
    """
    check_options(strategy, first_number, on_invalid)
    table = table_or_all(mutations, mutant_column, measured)
    _, stream = one_or_many(proteins, on_invalid=on_invalid)
    found = list(stream)
    if not found:
        raise InputError("there is no protein to score variants of; give one")
    asked = ask(
        *(table, found),
        strategy=strategy,
        first_number=first_number,
        on_invalid=on_invalid,
        choose='give one of them, a dict such as {"P69905": ["A24G"]}',
    )
    if asked.refused.count or asked.others:
        for line in asked.report():
            warn_caller(line, LeftOutWarning)
    return _computed(model, asked, batch_tokens, progress)


def _computed(
    model: "Encoder", asked: Asked, batch_tokens: int, progress: bool
) -> "pandas.DataFrame":
    from tqdm import tqdm

    plans = asked.plans()
    units = [
        (sequence, place) for sequence, plan in plans.items() for place in range(len(plan.units))
    ]
    all_units = [plans[sequence].units[place] for sequence, place in units]
    values: dict[str, dict[int, Any]] = {sequence: {} for sequence in plans}
    total = sum(plan.passes for plan in plans.values())
    with tqdm(total=total, desc="variants", unit="pass", disable=not progress, delay=1.0) as bar:
        for number, result in compute_units(model, all_units, batch_tokens=batch_tokens):
            sequence, place = units[number]
            values[sequence][place] = result
            bar.update(all_units[number].passes)
    return asked.frame(plans, values)
