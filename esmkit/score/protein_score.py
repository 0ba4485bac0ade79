"""What the masked-LM head says of one protein: what it expects at each residue, and how well it fits."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import as_array, checked
from esmkit.errors import OptionError
from esmkit.score.probabilities import entropy_of
from esmkit.sequences.letters import AMINO_ACIDS

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["PERPLEXITY", "ProteinScore"]

PERPLEXITY = {True: "pseudo_perplexity", False: "one_pass_perplexity"}
"""Name of the perplexity, by whether each residue was hidden."""

_PLACE = {letter: place for place, letter in enumerate(AMINO_ACIDS)}


@dataclass(frozen=True, eq=False)
class ProteinScore:
    """What a model expects at each residue of one protein of R residues, and how that fits.

    Residues that are none of the 20 amino acids (X, B, U, Z, O) have no probability of their own:
    they are ``NaN`` and left out of the means. What is expected in their place is there.

    Attributes
    ----------
    id, header, sequence : str
        The protein; R residues (fewer than the input if it was truncated).
    log_probabilities : numpy.ndarray of float32, shape (R, 20)
        Natural logarithm of the probability of each amino acid, in the order of
        ``ACDEFGHIKLMNPQRSTVWY``; the softmax goes over these 20 alone.
    masked : bool
        Whether each residue was hidden while it was guessed. Without, the model sees the residue
        that it is asked for, and is far less surprised.
    windows : int
        In how many different windows the protein was read.
    checkpoint, head : str
        Name of the weights, and of the masked-LM head if it is not theirs.

    See Also
    --------
    esmkit.Esm2.score : Makes it.
    esmkit.score_file : The same from FASTA files to a file.

    References
    ----------
    Salazar et al. 2020, Masked language model scoring, arXiv:1910.14659.

    Examples
    --------
    >>> ubiquitin = esmkit.load().score(esmkit.data.demo_proteins()[0])  # doctest: +SKIP
    >>> ubiquitin  # doctest: +SKIP
    ProteinScore(1UBI_A: 76 residues, pseudo-perplexity 11.75)
    >>> round(ubiquitin.pseudo_perplexity, 1) == round(ubiquitin.perplexity, 1)  # doctest: +SKIP
    True
    >>> ubiquitin.log_probabilities.shape, ubiquitin.counted, ubiquitin.left_out  # doctest: +SKIP
    ((76, 20), 76, 0)
    >>> ubiquitin.log_probability.shape, ubiquitin.entropy.shape  # doctest: +SKIP
    ((76,), (76,))
    >>> ubiquitin.sequence[:20]  # doctest: +SKIP
    'MQIFVKTLTGKTITLEVEPS'
    >>> ubiquitin.expected[:20]  # doctest: +SKIP
    'MKVTVNVPNGEEVTITLKKG'
    >>> round(ubiquitin.mean_surprise, 1), round(ubiquitin.mean_entropy, 1)  # doctest: +SKIP
    (3.6, 3.3)
    >>> round(ubiquitin.accuracy, 2)  # doctest: +SKIP
    0.24
    >>> int(ubiquitin.surprise.argmax()) + 1, ubiquitin.summary()["length"]  # doctest: +SKIP
    (72, 76)
    >>> ubiquitin.letters().shape  # doctest: +SKIP
    (76, 20)
    >>> figures = ubiquitin.plot(), ubiquitin.logo()  # doctest: +SKIP
    """

    id: str
    header: str
    sequence: str
    log_probabilities: NDArray[np.float32] = field(repr=False)
    masked: bool = True
    windows: int = 1
    checkpoint: str = ""
    head: str = ""

    def __len__(self) -> int:
        return len(self.sequence)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return ``log_probabilities``."""
        return as_array(self.log_probabilities, dtype, copy)

    # ------------------------------------------------------------------ per residue

    @cached_property
    def log_probability(self) -> NDArray[np.float32]:
        """Natural logarithm of the probability of each residue that is there: float32, (R,)."""
        found = np.full(len(self), np.nan, np.float32)
        places = np.array([_PLACE.get(letter, -1) for letter in self.sequence])
        there = np.flatnonzero(places >= 0)
        found[there] = self.log_probabilities[there, places[there]]
        return found

    @property
    def surprise(self) -> NDArray[np.float64]:
        """How surprised the model is by each residue, -log2 p, in bits: float64, (R,)."""
        return -self.log_probability.astype(np.float64) / np.log(2)

    @property
    def entropy(self) -> NDArray[np.float64]:
        """How undecided it is at each site, in bits, 0 to log2(20) = 4.32: float64, (R,)."""
        return entropy_of(self.log_probabilities) / np.log(2)

    @property
    def expected(self) -> str:
        """The most likely amino acid at each site, R letters."""
        return "".join(AMINO_ACIDS[place] for place in self.log_probabilities.argmax(axis=1))

    # ------------------------------------------------------------------ of the whole protein

    @cached_property
    def _counts(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.log_probability)

    @property
    def counted(self) -> int:
        """How many residues the means are over."""
        return int(self._counts.sum())

    @property
    def left_out(self) -> int:
        """How many are left out of them: X, B, U, Z and O."""
        return len(self) - self.counted

    @property
    def mean_surprise(self) -> float:
        """Mean of ``surprise`` over the residues that count, bits; NaN if there is none."""
        return self._mean(self.surprise)

    @property
    def mean_entropy(self) -> float:
        """Mean of ``entropy`` over the same residues, bits.

        It is what the surprise would be on average if residues were drawn as the model expects.
        """
        return self._mean(self.entropy)

    @property
    def accuracy(self) -> float:
        """Share of these residues that are the most likely one of their site."""
        hits = [a == b for a, b in zip(self.sequence, self.expected, strict=True)]
        return self._mean(np.array(hits, np.float64))

    def _mean(self, values: NDArray[np.float64]) -> float:
        return float(values[self._counts].mean()) if self.counted else float("nan")

    @property
    def perplexity(self) -> float:
        """Exp of the mean of -log p over the residues that count; see ``masked`` for its name."""
        return float(np.exp(self.mean_surprise * np.log(2)))

    @property
    def pseudo_perplexity(self) -> float:
        """exp(-mean of log p(residue | all others)): 1 if all is foreseen, 20 for blind guessing.

        Raises
        ------
        OptionError
            If nothing was hidden.
        """
        if not self.masked:
            raise OptionError(
                "nothing was hidden, so this is no pseudo-perplexity; take `.one_pass_perplexity`, "
                "or score with `masked=True`"
            )
        return self.perplexity

    @property
    def one_pass_perplexity(self) -> float:
        """exp(-mean of log p(residue | whole sequence)), of one pass with nothing hidden.

        The model sees each residue that it is asked for, so this is much lower than the
        pseudo-perplexity; compare it with others of its kind only.

        Raises
        ------
        OptionError
            If each residue was hidden.

        Examples
        --------
        >>> seen = esmkit.load().score("CYIQNCPLG", masked=False)  # doctest: +SKIP
        >>> seen.masked, round(seen.one_pass_perplexity, 1)  # doctest: +SKIP
        (False, 6.8)
        """
        if self.masked:
            raise OptionError(
                "each residue was hidden; take `.pseudo_perplexity`, or score with `masked=False`"
            )
        return self.perplexity

    def summary(self) -> dict[str, Any]:
        """Return the numbers of the protein, as a row of the table per protein has them.

        Returns
        -------
        dict
            ``length`` (residues that were read), ``pseudo_perplexity`` (or
            ``one_pass_perplexity``), ``mean_surprise_bits``, ``mean_entropy_bits``, ``accuracy``,
            ``counted`` and ``left_out``.
        """
        return {
            "length": len(self),
            PERPLEXITY[self.masked]: self.perplexity,
            "mean_surprise_bits": self.mean_surprise,
            "mean_entropy_bits": self.mean_entropy,
            "accuracy": self.accuracy,
            "counted": self.counted,
            "left_out": self.left_out,
        }

    # ------------------------------------------------------------------ shown

    @checked
    def to_frame(self, *, all_letters: bool = False) -> "pandas.DataFrame":
        """Return a table of the residues.

        Parameters
        ----------
        all_letters : bool
            Add the log-probability of each amino acid, columns ``A`` to ``Y``.

        Returns
        -------
        pandas.DataFrame
            A row per residue: ``residue_number`` (from 1), ``residue``, ``log_probability``
            (natural), ``surprise_bits``, ``entropy_bits``, ``rank`` (1 if the residue is the most
            likely one), ``expected`` (the most likely one) and ``expected_probability``. Without a
            value where the residue is none of the 20.

        Examples
        --------
        >>> flat = np.full((2, 20), -np.log(20), np.float32)
        >>> table = ProteinScore("p", "", "MX", flat).to_frame()
        >>> table[["residue_number", "residue", "log_probability"]].round(2)
           residue_number residue  log_probability
        0               1       M             -3.0
        1               2       X              NaN
        """
        import pandas

        own = self.log_probability
        rank = (self.log_probabilities > own[:, None]).sum(axis=1) + 1
        table = {
            "residue_number": np.arange(1, len(self) + 1, dtype=np.int32),
            "residue": list(self.sequence),
            "log_probability": own,
            "surprise_bits": self.surprise.astype(np.float32),
            "entropy_bits": self.entropy.astype(np.float32),
            "rank": pandas.array(np.where(self._counts, rank, 0), dtype="Int8"),
            "expected": list(self.expected),
            "expected_probability": np.exp(self.log_probabilities.max(axis=1)),
        }
        table["rank"][~self._counts] = pandas.NA
        if all_letters:
            table |= dict(zip(AMINO_ACIDS, self.log_probabilities.T, strict=True))
        return pandas.DataFrame(table)

    def letters(self) -> "pandas.DataFrame":
        """Return the log-probabilities of all letters as a table.

        Returns
        -------
        pandas.DataFrame
            float32, natural logarithms, R x 20: index (``residue_number``, ``residue``), columns
            ``A`` to ``Y``.
        """
        import pandas

        numbers = range(1, len(self) + 1)
        index = pandas.MultiIndex.from_arrays(
            [numbers, list(self.sequence)], names=["residue_number", "residue"]
        )
        return pandas.DataFrame(self.log_probabilities, index=index, columns=list(AMINO_ACIDS))

    def plot(self, *, path: Any = None, **annotated: Any) -> "Figure":
        """Draw the surprise along the sequence; see :func:`esmkit.plots.surprise`.

        Parameters
        ----------
        path : path, optional
            Where to save: PNG, SVG or PDF by its extension.
        **annotated
            As :func:`esmkit.plots.surprise` takes them.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from esmkit import plots

        return plots.surprise(self, path=path, **annotated)

    def logo(self, *, path: Any = None, **annotated: Any) -> "Figure":
        """Draw what is expected at each residue as a logo; see :func:`esmkit.plots.logo`.

        Parameters
        ----------
        path : path, optional
            Where to save: PNG, SVG or PDF by its extension.
        **annotated
            As :func:`esmkit.plots.logo` takes them.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from esmkit import plots

        return plots.logo(self, path=path, **annotated)

    def __repr__(self) -> str:
        name = "pseudo-perplexity" if self.masked else "one-pass perplexity"
        out = f", {self.left_out} of them left out" if self.left_out else ""
        windows = f", read in {self.windows} windows" if self.windows > 1 else ""
        fit = f"{name} {self.perplexity:.2f}"
        return f"ProteinScore({self.id}: {len(self)} residues{out}, {fit}{windows})"

    def _repr_html_(self) -> str:
        from html import escape

        from esmkit import plots

        return f"<p>{escape(repr(self))}</p>{plots.inline_html(self.plot())}"
