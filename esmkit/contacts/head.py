"""Contact heads: which attention heads count how much in a contact map."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.encoder.names import HeadChoice, Heads, choose_heads, head_name
from esmkit.errors import CheckpointError, OptionError
from esmkit.files.disk import disk_errors, write_durably

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.sequences.proteins import Protein

__all__ = ["ContactHead"]

_FORMAT = "esmkit contact head 1"


@dataclass(frozen=True)
class ContactHead:
    """Weights with which the corrected maps of attention heads make a contact map.

    For each head the map a of residues is symmetrised, s = a + its transpose, and corrected by its
    average product, ``s_ij - s_i. s_.j / s_..`` (APC; Dunn et al. 2008, Rao et al. 2021). A regression
    then gives a score from 0 to 1, sigmoid(bias + sum of weight times map), which is no frequency of
    contacts (``docs/explain/numbers.md``); single heads give the mean of their maps, a score of any size.

    Attributes
    ----------
    choice : HeadChoice
        The n heads with a weight.
    weights : numpy.ndarray of float64, shape (n,)
    bias : float
    method : {'regression', 'heads'}
        Whether the result is a score from 0 to 1, or of any size.
    source : str
        Where the weights are from, in words.
    provenance : dict
        JSON-ready facts about a fit or a choice; ``chains`` and ``sequences`` are what it was made
        on.

    See Also
    --------
    esmkit.Esm2.contacts : Takes one, as ``head``.
    esmkit.contacts.fit : Fits one to structures.

    References
    ----------
    Dunn, Wahl and Gloor 2008, doi:10.1093/bioinformatics/btm604 (average product correction). Rao et al.
    2021, Transformer protein language models are unsupervised structure learners,
    doi:10.1101/2020.12.15.422761.

    Examples
    --------
    >>> from esmkit import ContactHead  # doctest: +SKIP
    >>> model = esmkit.load()  # doctest: +SKIP
    >>> own = ContactHead.of_checkpoint(model)  # doctest: +SKIP
    >>> own.method, len(own.weights), own.choice.names[:2]  # doctest: +SKIP
    ('regression', 45, ('L0H9', 'L1H0'))
    >>> pair = ContactHead.mean_of(model, ["L5H4", "L3H18"])  # doctest: +SKIP
    >>> pair.save("pair.json")  # doctest: +SKIP
    >>> again = ContactHead.load("pair.json", model)  # doctest: +SKIP
    >>> again.check_fits(model)  # doctest: +SKIP
    >>> again.to_dict()["weights"], again.learnt_from(esmkit.data.demo_proteins()[0])  # doctest: +SKIP
    ({'L3H18': 0.5, 'L5H4': 0.5}, None)
    >>> weights, bias = model.contact_regression()  # doctest: +SKIP
    >>> ContactHead.regression(model, weights, bias, source="my own").source  # doctest: +SKIP
    'my own'
    """

    choice: HeadChoice
    weights: NDArray[np.float64] = field(repr=False)
    bias: float
    method: Literal["regression", "heads"]
    source: str
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"ContactHead({self.source}: {self.method!r}, {len(self.weights)} head(s))"

    @classmethod
    def of_checkpoint(cls, model: "Encoder") -> "ContactHead":
        """Return the contact head that the checkpoint brought.

        Parameters
        ----------
        model : Encoder

        Returns
        -------
        ContactHead

        Raises
        ------
        CheckpointError
            If it brought none.
        """
        if not model.has_contact_head:
            raise CheckpointError(
                f"{model.checkpoint.name} has no contact head; fit one with `esmkit.contacts.fit` "
                "and use it with `head`, or take single heads with `esmkit.ContactHead.mean_of`"
            )
        weights, bias = model.contact_regression()
        return cls.regression(
            model, weights, bias, source=f"contact head of {model.checkpoint.name}"
        )

    @classmethod
    @checked
    def regression(
        cls,
        model: "Encoder",
        weights: NDArray[np.float64],
        bias: float,
        *,
        source: str,
        provenance: dict[str, Any] | None = None,
    ) -> "ContactHead":
        """Return a regression over all heads of a model, layer by layer; zeros are left out.

        Parameters
        ----------
        model : Encoder
        weights : numpy.ndarray of float, shape (N * H,)
        bias : float
        source : str
            Where the weights are from, in words.
        provenance : dict, optional
            JSON-ready facts about the fit.

        Returns
        -------
        ContactHead

        Raises
        ------
        OptionError
            If there is not one weight for each head.
        """
        names = [head_name(n, h) for n in range(model.layers) for h in range(model.heads)]
        if len(weights) != len(names):
            raise OptionError(
                f"a regression has a weight for each of the {len(names)} heads, not {len(weights)}"
            )
        used = np.flatnonzero(weights)
        if not len(used):
            used = np.array([0])
        choice = choose_heads(
            [names[i] for i in used], "all", of_layers=model.layers, of_heads=model.heads
        )
        return cls(choice, weights[used], bias, "regression", source, provenance or {})

    @classmethod
    def mean_of(cls, model: "Encoder", heads: Heads) -> "ContactHead":
        """Return the mean of the corrected maps of some heads, such as ``["L5H4"]``.

        What :func:`esmkit.contacts.best_heads` returns knows on which chains the heads were chosen;
        it becomes the ``provenance``.

        Parameters
        ----------
        model : Encoder
        heads : str, pair of int, or sequence of these
            Names such as ``L5H4``, pairs such as ``(5, 4)``, or ``L5`` for a whole layer.

        Returns
        -------
        ContactHead

        Raises
        ------
        OptionError
            If the model has no such head.
        """
        choice = choose_heads(heads, "all", of_layers=model.layers, of_heads=model.heads)
        count = len(choice.heads)
        source = f"mean of {', '.join(choice.names)}" if count > 1 else f"head {choice.names[0]}"
        chosen_on = getattr(heads, "chosen_on", None)  # none for heads that were named
        return cls(choice, np.full(count, 1 / count), 0.0, "heads", source, dict(chosen_on or {}))

    def learnt_from(self, protein: "Protein") -> str | None:
        """Return the chain from which the head was fitted, or chosen, that a protein is or is like.

        Sequences are compared, so that a chain is known again under another ID: see
        :func:`esmkit.sequences.likeness.are_alike`. Files that older versions wrote have the IDs of
        chains alone; then those are compared.

        Parameters
        ----------
        protein : Protein

        Returns
        -------
        str or None
            The ID of the chain. None if there is none, and for heads that the checkpoint brought or
            the user named: from which chains they are is not known here.
        """
        from esmkit.sequences.likeness import first_alike

        chains, sequences = self.provenance.get("chains"), self.provenance.get("sequences")
        if not isinstance(chains, list):
            return None
        if not isinstance(sequences, list) or len(sequences) != len(chains):
            return protein.id if protein.id in chains else None
        place = first_alike(protein.sequence, [str(sequence) for sequence in sequences])
        return None if place is None else str(chains[place])

    def check_fits(self, model: "Encoder") -> None:
        """Refuse a model of another shape.

        Parameters
        ----------
        model : Encoder

        Raises
        ------
        OptionError
            If the model has other numbers of layers or heads than the one this is for.
        """
        shape = (self.choice.of_layers, self.choice.of_heads)
        if shape != (model.layers, model.heads):
            raise OptionError(
                f"the {self.source} is for a model of {shape[0]} layers with {shape[1]} heads, and "
                f"{model.checkpoint.name} has {model.layers} with {model.heads}; make one for it"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return {
            "format": _FORMAT,
            "method": self.method,
            "source": self.source,
            "layers": self.choice.of_layers,
            "heads": self.choice.of_heads,
            "bias": self.bias,
            "weights": dict(zip(self.choice.names, map(float, self.weights), strict=True)),
            "provenance": self.provenance,
        }

    @checked
    def save(self, path: str | Path) -> None:
        """Write the head as JSON.

        Parameters
        ----------
        path : path
            The file; one that exists is overwritten.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        with disk_errors(path):
            write_durably(Path(path), (json.dumps(self.to_dict(), indent=1) + "\n").encode())

    @classmethod
    @checked
    def load(cls, path: str | Path, model: "Encoder") -> "ContactHead":
        """Read a head that :meth:`save` wrote.

        Parameters
        ----------
        path : path
        model : Encoder
            The model that it is for.

        Returns
        -------
        ContactHead

        Raises
        ------
        CheckpointError
            If the file is missing, is not such a head, or was fitted to a model of another shape.
        """
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            if found["format"] != _FORMAT:
                raise ValueError(f"format {found['format']!r}")
            names, weights = list(found["weights"]), list(found["weights"].values())
            bias, method = float(found["bias"]), found["method"]
            shape = (int(found["layers"]), int(found["heads"]))
            source, provenance = str(found["source"]), dict(found["provenance"])
            values = np.array(weights, dtype=float)
            if method not in ("regression", "heads") or not np.isfinite([*values, bias]).all():
                raise ValueError("a weight is no number, or the method is unknown")
        except OSError as error:
            raise CheckpointError(
                f"cannot read head weights {str(path)!r} ({error.strerror or error}); check the "
                "path"
            ) from None
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f"{str(path)!r} is not a contact head of esmkit's ({error}); make one with "
                "`esmkit contacts fit`"
            ) from None
        if shape != (model.layers, model.heads):
            raise CheckpointError(
                f"{str(path)!r} was fitted to a model of {shape[0]} layers with {shape[1]} heads, "
                f"and {model.checkpoint.name} has {model.layers} with {model.heads}; fit one to it "
                "with `esmkit contacts fit`"
            )
        try:
            choice = choose_heads(names, "all", of_layers=shape[0], of_heads=shape[1])
        except OptionError as error:
            raise CheckpointError(f"{str(path)!r}: {error}") from None
        if set(choice.names) != set(names):  # L5 for a whole layer, or l5h4
            raise CheckpointError(
                f"{str(path)!r} is not a contact head of esmkit's (its heads are not named like "
                "L5H4, each once); make one with `esmkit contacts fit`"
            )
        order = [names.index(name) for name in choice.names]
        return cls(choice, values[order], bias, method, source, provenance)
