"""The score task in memory: what the masked-LM head says of proteins, as a stream.

:mod:`esmkit.score.to_file` runs the same computation from FASTA files to a file on disk.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.encoder.encoder import Encoder
from esmkit.score.options import ScoreOptions
from esmkit.score.passes import Logits
from esmkit.score.protein_score import ProteinScore
from esmkit.score.running import results_of
from esmkit.sequences.given import ManyProteins, OneProtein
from esmkit.sequences.many import Results, one_table
from esmkit.sequences.proteins import OnInvalid
from esmkit.sequences.tokens import TOKENS
from esmkit.sequences.windows import Long

if TYPE_CHECKING:
    import pandas

__all__ = ["log_probabilities", "logits", "pseudo_perplexity", "score"]


@overload
def score(
    model: Encoder,
    proteins: OneProtein,
    *,
    masked: bool = True,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 16_384,
    progress: bool = False,
) -> ProteinScore: ...
@overload
def score(
    model: Encoder,
    proteins: ManyProteins,
    *,
    masked: bool = True,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 16_384,
    progress: bool = False,
) -> Results[ProteinScore]: ...
@checked
def score(
    model: Encoder,
    proteins: OneProtein | ManyProteins,
    *,
    masked: bool = True,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 16_384,
    progress: bool = False,
) -> ProteinScore | Results[ProteinScore]:
    """Say what the model expects at each residue, and how well the protein fits that.

    Parameters
    ----------
    model : Encoder
        With a masked-LM head.
    proteins : one protein, or many
        See :mod:`esmkit.sequences.given`.
    masked : bool
        Hide each residue in turn: R passes for a protein of R residues. Without, one pass with
        nothing hidden, in which the model sees the residue that it is asked for.
    long, on_invalid, batch_tokens
        Rules for long sequences and unknown letters, and size of a pass; see
        :class:`ScoreOptions`.
    progress : bool
        With many, show a progress bar on standard error.

    Returns
    -------
    ProteinScore or Results
        Of many the results in input order, each computed when it is asked for; ``.to_frame()``
        gives a row of numbers per protein.

    Raises
    ------
    CheckpointError
        If the model has no masked-LM head.
    InputError, OptionError, NonFiniteError
        The message names the record and the remedy.

    Examples
    --------
    >>> found = esmkit.load().score("MKTVRQERLKSIVRILERSKEPVSG")          # doctest: +SKIP
    >>> found.masked, found.surprise.shape, 1 < found.pseudo_perplexity   # doctest: +SKIP
    (True, (25,), True)
    >>> figure = found.plot()                                           # doctest: +SKIP
    """
    options = ScoreOptions(
        masked=masked, long=long, on_invalid=on_invalid, batch_tokens=batch_tokens
    )
    return results_of(
        *(model, proteins, options, "score"),
        make=lambda one: one,
        kind=ProteinScore,
        frame=lambda scores, ids: _summaries(scores),
        progress=progress,
    )


@overload
def logits(
    model: Encoder,
    proteins: OneProtein,
    *,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 4_096,
    progress: bool = False,
) -> NDArray[np.float32]: ...
@overload
def logits(
    model: Encoder,
    proteins: ManyProteins,
    *,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 4_096,
    progress: bool = False,
) -> Results[NDArray[np.float32]]: ...
@checked
def logits(
    model: Encoder,
    proteins: OneProtein | ManyProteins,
    *,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 4_096,
    progress: bool = False,
) -> NDArray[np.float32] | Results[NDArray[np.float32]]:
    """Return the logits of each residue of one pass, with nothing hidden.

    Parameters
    ----------
    model : Encoder
        With a masked-LM head.
    proteins : one protein, or many
        See :mod:`esmkit.sequences.given`.
    long, on_invalid, batch_tokens, progress
        As in :func:`score`; over windows logits are averaged.

    Returns
    -------
    numpy.ndarray of float32, shape (R, 33), or Results of these
        A column for each token, in the order of :data:`esmkit.sequences.tokens.TOKENS`; BOS and
        EOS have no row.

    Raises
    ------
    CheckpointError, InputError, OptionError, NonFiniteError
        As in :func:`score`.

    Examples
    --------
    >>> esmkit.load().logits("MKTVRQERLKSIVRIL").shape    # doctest: +SKIP
    (16, 33)
    """
    options = ScoreOptions(
        masked=False, long=long, on_invalid=on_invalid, batch_tokens=batch_tokens
    )
    return results_of(
        *(model, proteins, options, "logits"),
        make=None,
        kind=np.ndarray,
        frame=_logits_table,
        progress=progress,
    )


@overload
def log_probabilities(
    model: Encoder,
    proteins: OneProtein,
    *,
    masked: bool = True,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 16_384,
    progress: bool = False,
) -> "pandas.DataFrame": ...
@overload
def log_probabilities(
    model: Encoder,
    proteins: ManyProteins,
    *,
    masked: bool = True,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 16_384,
    progress: bool = False,
) -> "Results[pandas.DataFrame]": ...
@checked
def log_probabilities(
    model: Encoder,
    proteins: OneProtein | ManyProteins,
    *,
    masked: bool = True,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 16_384,
    progress: bool = False,
) -> "pandas.DataFrame | Results[pandas.DataFrame]":
    """Return how likely each of the 20 amino acids is at each residue: log p(a | all others).

    The softmax goes over the 20 amino acids; other tools take all 33 tokens.

    Parameters
    ----------
    model : Encoder
        With a masked-LM head.
    proteins : one protein, or many
        See :mod:`esmkit.sequences.given`.
    masked, long, on_invalid, batch_tokens, progress
        As in :func:`score`.

    Returns
    -------
    pandas.DataFrame, or Results of these
        float32, natural logarithms, R x 20: index (``residue_number``, ``residue``), numbers from
        1; columns ``A`` to ``Y``.

    Raises
    ------
    CheckpointError, InputError, OptionError, NonFiniteError
        As in :func:`score`.

    Examples
    --------
    >>> table = esmkit.load().log_probabilities("MKTVRQERLKSIVRIL")    # doctest: +SKIP
    >>> table.shape, table.loc[2, "A"].shape                        # doctest: +SKIP
    ((16, 20), (1,))
    """
    import pandas

    options = ScoreOptions(
        masked=masked, long=long, on_invalid=on_invalid, batch_tokens=batch_tokens
    )
    return results_of(
        *(model, proteins, options, "log_probabilities"),
        make=ProteinScore.letters,
        kind=pandas.DataFrame,
        frame=_letters_table,
        progress=progress,
    )


@overload
def pseudo_perplexity(
    model: Encoder,
    proteins: OneProtein,
    *,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 16_384,
    progress: bool = False,
) -> float: ...
@overload
def pseudo_perplexity(
    model: Encoder,
    proteins: ManyProteins,
    *,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 16_384,
    progress: bool = False,
) -> Results[float]: ...
@checked
def pseudo_perplexity(
    model: Encoder,
    proteins: OneProtein | ManyProteins,
    *,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 16_384,
    progress: bool = False,
) -> float | Results[float]:
    """Return exp(-mean of log p(residue | all others)), each residue hidden in turn.

    1 if the model foresees every residue, 20 if it knows nothing (Salazar et al. 2020, "Masked
    language model scoring"). Residues that are none of the 20 amino acids (X, B, U, Z, O) are left
    out of the mean; of a protein without any other it is NaN. :func:`score` says how many they are.

    Parameters
    ----------
    model : Encoder
        With a masked-LM head.
    proteins : one protein, or many
        See :mod:`esmkit.sequences.given`.
    long, on_invalid, batch_tokens, progress
        As in :func:`score`.

    Returns
    -------
    float, or Results of these
        ``.to_frame()`` of many has the index ``id`` and a column ``pseudo_perplexity``;
        ``.to_numpy()`` is float64, (B,).

    Raises
    ------
    CheckpointError, InputError, OptionError, NonFiniteError
        As in :func:`score`.

    Examples
    --------
    >>> 1 < esmkit.load().pseudo_perplexity("MKTVRQERLKSIVRILERSKEPVSG")    # doctest: +SKIP
    True
    """
    options = ScoreOptions(long=long, on_invalid=on_invalid, batch_tokens=batch_tokens)
    return results_of(
        *(model, proteins, options, "pseudo_perplexity"),
        make=lambda one: one.pseudo_perplexity,
        kind=float,
        frame=_perplexities,
        array=lambda values: np.array(values, np.float64),
        progress=progress,
    )


def _summaries(scores: Sequence[ProteinScore]) -> "pandas.DataFrame":
    import pandas

    index = pandas.Index([one.id for one in scores], name="id")
    return pandas.DataFrame([one.summary() for one in scores], index=index)


def _logits_table(arrays: Sequence[Logits], ids: list[str]) -> "pandas.DataFrame":
    import pandas

    tables = []
    for array in arrays:
        table = pandas.DataFrame(array, columns=list(TOKENS))
        table.insert(0, "residue_number", range(1, len(array) + 1))
        tables.append(table)
    return one_table(zip(ids, tables, strict=True))


def _letters_table(tables: "Sequence[pandas.DataFrame]", ids: list[str]) -> "pandas.DataFrame":
    import pandas

    if not tables:
        return pandas.DataFrame()
    return pandas.concat(dict(zip(ids, tables, strict=True)), names=["id"])


def _perplexities(values: Sequence[float], ids: list[str]) -> "pandas.DataFrame":
    import pandas

    index = pandas.Index(ids, name="id")
    return pandas.DataFrame({"pseudo_perplexity": values}, index=index, dtype=np.float64)
