"""OV and QK circuits: what a head's weights alone say about amino acids.

After Elhage et al. 2021, "A mathematical framework for transformer circuits"
(transformer-circuits.pub/2021/framework). A head does two things that its weights keep apart. Its
*QK circuit* decides where it looks: the score of each amino acid as query with each as key. Its
*OV circuit* decides what it then writes: how much looking at one amino acid speaks for each.

A token is taken to hold nothing but its own embedding e, scaled by 0.88 as where nothing is masked
(token dropout), and the layer reads it through its LayerNorm, gain and bias: n = LN(0.88 e). In
layer 0 that is exactly what the head reads. In later layers it is an approximation: the residual
stream then holds what earlier layers wrote as well, and a circuit tells what the head would do with
the trace of the embedding in it.

``QK[q, k]`` at offset d (key position less query position) is the score before the softmax,
``(W_Q n_q + b_Q) K**-0.5 . R(d) (W_K n_k + b_K)``, with the rotary embedding R of the model. All
biases take part, so that in layer 0 it *is* the score of two residues d apart in any protein.

``OV[s, t]`` is ``W_O W_V (n_s - mean n) . (e_t - mean e)``, means over the 20 amino acids: what is
the same for every source, the biases among it, does not depend on where the head looks, and what is
the same for every target changes no preference between them. As unembedding the embedding itself
is taken: ESM-2 ties its masked-LM head to it. The path through the final norm and that head's own
dense layer is left out, for the offline checkpoint has no such head.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.encoder.names import choose_heads, head_name
from esmkit.errors import OptionError
from esmkit.heads.similarity import (
    LETTERS,
    RandomHeads,
    Similarity,
    add_false_discovery,
    centre,
    copying_score,
    empirical_p,
    turn,
)
from esmkit.reference import encoder as reference
from esmkit.sequences.proteins import AMINO_ACIDS
from esmkit.sequences.tokens import encode
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder

__all__ = ["OFFSETS", "Circuits", "circuits"]

OFFSETS = range(-16, 17)
"""Offsets scanned by default: four turns of a helix to either side."""

PERMUTATIONS = 2_000
"""Permutations of the Mantel test: the smallest p is 1 in 2,001."""

CONTROLS = 1_000
"""Random heads for each layer: the smallest p is 1 in 1,001."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Circuits:
    """The circuits of all heads. ``A`` = 20 amino acids, in the order of ``amino_acids``.

    Attributes
    ----------
    checkpoint : str
        Name of the weights.
    amino_acids : str
        ``ACDEFGHIKLMNPQRSTVWY``.
    offsets : numpy.ndarray of int64, shape (O,)
        Key position less query position, ascending.
    ov : numpy.ndarray of float64, shape (N, H, A, A)
        ``[source, target]``; rows and columns each sum to 0.
    qk : numpy.ndarray of float64, shape (N, H, O, A, A)
        ``[query, key]``, scores before the softmax.
    table : pandas.DataFrame
        See :meth:`to_frame`.
    by_offset : pandas.DataFrame
        The same for each offset: see :meth:`head`.
    """

    checkpoint: str
    amino_acids: str
    offsets: NDArray[np.int64]
    ov: Array = field(repr=False)
    qk: Array = field(repr=False)
    table: "pandas.DataFrame" = field(repr=False)
    by_offset: "pandas.DataFrame" = field(repr=False)

    def to_frame(self) -> "pandas.DataFrame":
        """Return a table with a row for each head, by layer and head.

        Returns
        -------
        pandas.DataFrame
            ``name``, ``layer``, ``head``;

            ``copying``, -1 to 1: the sum of the eigenvalues of the OV matrix over the sum of their
            magnitudes (Elhage et al. 2021): 1 if looking at an amino acid always speaks for it;

            ``blosum_ov``, the Spearman correlation of OV with BLOSUM62 over the 380 ordered pairs
            of different amino acids, and ``blosum_ov_diagonal`` over all 400;

            ``blosum_qk``, the one of QK at the offset ``blosum_qk_offset`` where it is strongest,
            ``blosum_qk_diagonal`` over all 400 there, and ``blosum_qk_symmetric`` of QK plus its
            transpose there. QK takes part less the means of its rows and columns, as OV does:
            BLOSUM62 is a log-odds against the frequencies of both letters and has none of them;

            ``copying_p``, ``blosum_ov_p`` and ``blosum_qk_p``, two-sided, against heads with random
            projections; ``blosum_ov_mantel_p`` and ``blosum_qk_mantel_p`` against permutations of
            the letters, a much weaker claim (see :mod:`esmkit.heads.similarity`). Those of QK are
            of the strongest of all offsets in each random head or permutation too, so that the
            choice of the offset is paid for. ``..._q`` are the same after Benjamini and Hochberg
            over the heads;

            ``offset``, where the mean score over all pairs of letters is highest, and
            ``offset_score``, by how much it exceeds the mean over offsets: where the head looks if
            the amino acids do not matter.
        """
        return self.table.copy()

    def head(self, name: str) -> "pandas.DataFrame":
        """Return one head at every offset.

        Parameters
        ----------
        name : str
            Such as ``L5H4``.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``offset``: ``score``, the mean of QK over all pairs of amino acids;
            ``spread``, the standard deviation of QK less the means of its rows and columns: how
            much the pair matters; ``blosum``, ``blosum_diagonal`` and ``blosum_symmetric`` as in
            :meth:`to_frame`; and ``favourite``, the pair that this head likes most beyond what
            either letter does alone, query first (``C>C``).

        Raises
        ------
        OptionError
            If there is no such head.
        """
        layer, head = self._choose(name)
        rows = self.by_offset[self.by_offset["name"] == head_name(layer, head)]
        return rows.drop(columns="name").set_index("offset")

    def matrix(self, name: str, offset: int | None = None) -> "pandas.DataFrame":
        """Return the OV matrix of a head, or with an offset its QK matrix, with letters.

        Raises
        ------
        OptionError
            If there is no such head or offset.
        """
        import pandas

        layer, head = self._choose(name)
        values, axes = self.ov[layer, head], ("source", "target")
        if offset is not None:
            if offset not in self.offsets:
                raise OptionError(
                    f"there is no offset {offset}: these circuits have {self.offsets[0]} to "
                    f"{self.offsets[-1]}; give others to circuits()"
                )
            place = int(np.flatnonzero(self.offsets == offset)[0])
            values, axes = self.qk[layer, head, place], ("query", "key")
        letters = list(self.amino_acids)
        return pandas.DataFrame(
            values,
            index=pandas.Index(letters, name=axes[0]),
            columns=pandas.Index(letters, name=axes[1]),
        )

    def _choose(self, name: str) -> tuple[int, int]:
        layers, heads = self.ov.shape[:2]
        chosen, *others = choose_heads([name], "all", of_layers=layers, of_heads=heads).heads
        if others:
            raise OptionError(f"give one head, such as {head_name(*chosen)}, not {name!r}")
        return chosen

    def _repr_html_(self) -> str:
        return self.table.round(3).to_html(index=False)


def circuits(
    model: "Encoder",
    *,
    offsets: Sequence[int] = OFFSETS,
    permutations: int = PERMUTATIONS,
    controls: int = CONTROLS,
    seed: int = 0,
    progress: Say = silent,
) -> Circuits:
    """Compute the OV and QK circuits of every head from its weights, and compare with BLOSUM62.

    Parameters
    ----------
    model : Encoder
        Its weights as they are in memory; computed in float64.
    offsets : sequence of int
        Key position less query position; each once is enough, in any order.
    permutations : int
        Permutations of the Mantel test; at least 1.
    controls : int
        Random heads for each layer; at least 1.
    seed : int
        Seed of both.
    progress : callable
        Called with the name of each layer, such as ``L5``, before its turn.

    Returns
    -------
    Circuits

    Raises
    ------
    OptionError
        If there are no offsets, permutations or controls.

    Examples
    --------
    >>> found = circuits(esmkit.load())                                     # doctest: +SKIP
    >>> found.to_frame().nlargest(3, "copying")["name"].tolist()            # doctest: +SKIP
    ['L3H10', 'L0H7', 'L5H11']
    """
    scanned = np.unique(np.asarray(offsets, dtype=np.int64))
    if not len(scanned) or min(permutations, controls) < 1:
        raise OptionError("circuits need at least one offset, one permutation and one control")
    tensors = {n: t.float().cpu().numpy() for n, t in model.network.state_dict().items()}
    p = reference.read_parameters(tensors, model.heads)
    ids = encode(AMINO_ACIDS)[None, 1:-1]
    embedded = reference.embed_tokens(ids, ids >= 0, p.embedding)  # (1, A, D)
    normed = [reference.layer_norm(embedded, layer.attention_norm) for layer in p.layers]
    targets = p.embedding[ids[0]]  # (A, D)
    each = list(zip(normed, p.layers, strict=True))
    ov = np.stack([_ov(n, layer.attention, targets, p.heads) for n, layer in each])
    qk = np.stack([_qk(n, layer.attention, scanned, p) for n, layer in each])
    width = targets.shape[1] // p.heads
    comparison = _Comparison(scanned, p.inverse_frequencies, permutations, seed)
    for layer, (of_layer, _) in enumerate(each):
        progress(f"L{layer}")
        null = RandomHeads(of_layer[0], targets, width, controls, seed=[seed, layer])
        comparison.add_layer(layer, ov[layer], qk[layer], null)
    table, by_offset = comparison.tables()
    return Circuits(model.checkpoint.name, AMINO_ACIDS, scanned, ov, qk, table, by_offset)


def _ov(normed: Array, attention: reference.Attention, targets: Array, heads: int) -> Array:
    """Return the OV matrices of one layer, (H, A, A), from what it reads, (1, A, D)."""
    value = reference.split_heads(reference.linear(normed, attention.value), heads)[0]  # (H, A, K)
    # W_O takes the heads side by side: its columns fall into heads, (D, H*K) -> (H, K, D)
    output = attention.output.weight.T.reshape(heads, -1, targets.shape[1])
    return centre(value @ output @ targets.T)  # (H, A, K) @ (H, K, D) @ (D, A)


def _qk(
    normed: Array,
    attention: reference.Attention,
    offsets: NDArray[np.int64],
    p: reference.Parameters,
) -> Array:
    """Return the QK matrices of one layer, (H, O, A, A): query at position 0, key at the offset."""
    query, key, _ = reference.project_heads(normed, normed, attention, p.heads)  # (1, H, A, K)
    query, key = reference.scale_query(query)[0], turn(key[0], offsets, p.inverse_frequencies)
    return query[:, None] @ key.swapaxes(-1, -2)  # (H, 1, A, K) @ (H, O, K, A)


class _Comparison:
    """Gathers the rows of both tables of :class:`Circuits`."""

    def __init__(
        self, offsets: NDArray[np.int64], frequencies: Array, permutations: int, seed: int
    ) -> None:
        self._offsets, self._frequencies = offsets, frequencies
        self._permuted = Similarity(diagonal=False, permutations=permutations, seed=seed)
        self._plain = Similarity(diagonal=False)
        self._diagonal = Similarity(diagonal=True)
        self._rows: list[dict[str, Any]] = []
        self._parts: list[pandas.DataFrame] = []

    def add_layer(self, layer: int, ov: Array, qk: Array, null: RandomHeads) -> None:
        """Take the matrices of one layer, (H, A, A) and (H, O, A, A), and its random heads."""
        random = null.ov()  # (controls, A, A)
        copying, random_copying = copying_score(ov), copying_score(random)
        random_ov = self._plain.correlate(random)[:, 0]
        scans = null.qk(self._offsets, self._frequencies)
        random_qk = np.array([np.abs(self._plain.correlate(scan)).max() for scan in scans])
        pairs_ov = self._permuted.correlate(ov)  # (H, 1 + P)
        found: dict[str, Any] = {
            "copying": copying,
            "copying_p": empirical_p(copying, random_copying),
            "blosum_ov": pairs_ov[:, 0],
            "blosum_ov_p": empirical_p(pairs_ov[:, 0], random_ov),
            "blosum_ov_mantel_p": empirical_p(pairs_ov[:, 0], pairs_ov[:, 1:]),
            "blosum_ov_diagonal": self._diagonal.correlate(ov)[:, 0],
        }
        for head, scores in enumerate(qk):
            name = head_name(layer, head)
            row = {"name": name, "layer": layer, "head": head}
            row |= {key: values[head] for key, values in found.items()}
            self._rows.append(row | self._scan(name, scores, random_qk))

    def _scan(self, name: str, qk: Array, random: Array) -> dict[str, Any]:
        """Compare one head at every offset, (O, A, A)."""
        import pandas

        alone = centre(qk)
        pairs = self._permuted.correlate(alone)  # (O, 1 + P)
        best = [divmod(int(matrix.argmax()), LETTERS) for matrix in alone]
        found = {
            "score": qk.mean(axis=(-1, -2)),
            "spread": alone.std(axis=(-1, -2)),
            "blosum": pairs[:, 0],
            "blosum_diagonal": self._diagonal.correlate(alone)[:, 0],
            "blosum_symmetric": self._plain.correlate(alone + alone.swapaxes(-1, -2))[:, 0],
        }
        favourites = [f"{AMINO_ACIDS[query]}>{AMINO_ACIDS[key]}" for query, key in best]
        self._parts.append(
            pandas.DataFrame(
                {"name": name, "offset": self._offsets, **found, "favourite": favourites}
            )
        )
        strength = np.abs(pairs).max(axis=0, keepdims=True)  # (1, 1 + P); NaN if one is flat
        place = int(np.nan_to_num(np.abs(pairs[:, 0])).argmax())
        peak = int(found["score"].argmax())
        return {
            "blosum_qk": found["blosum"][place],
            "blosum_qk_p": empirical_p(strength[:, 0], random)[0],
            "blosum_qk_mantel_p": empirical_p(strength[:, 0], strength[:, 1:])[0],
            "blosum_qk_offset": self._offsets[place] if strength[0, 0] >= 0 else np.nan,
            "blosum_qk_diagonal": found["blosum_diagonal"][place],
            "blosum_qk_symmetric": found["blosum_symmetric"][place],
            "offset": int(self._offsets[peak]),
            "offset_score": float(found["score"][peak] - found["score"].mean()),
        }

    def tables(self) -> "tuple[pandas.DataFrame, pandas.DataFrame]":
        """Return a row for each head, and one for each head and offset."""
        import pandas

        table = add_false_discovery(pandas.DataFrame(self._rows))
        return table, pandas.concat(self._parts, ignore_index=True)
