"""The embed task in memory: hidden states of proteins, pooled or per residue, as a stream.

:mod:`esmkit.embed_fasta` runs the same computation from FASTA files to a file on disk.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit import packing
from esmkit.alphabet import SPECIALS, encode
from esmkit.errors import InputError, OptionError
from esmkit.model import Esm2
from esmkit.policies import EmbedOptions, Long, cut_into_pieces, tokens_of
from esmkit.sequences import OnInvalid, Protein, clean_proteins, read_fasta

__all__ = ["Embedding", "compute", "embed"]

LOOK_AHEAD_BATCHES = 32
"""Batches' worth of input that is held and sorted by length at a time."""

PASS_TOKENS = 1_024
"""Most tokens of one forward pass on a CPU, where a batch takes several: their hidden states stay in
the cache, which saves a tenth of the time of 4,096."""

LOOK_AHEAD_BYTES = 128 * 2**20
"""Results that may wait in memory for their window; fewer batches if they would exceed it."""


@dataclass(frozen=True)
class Embedding:
    """Hidden states of one protein.

    L layers were asked for; with one layer the leading axis is left out, as in the files.

    Attributes
    ----------
    id, header, sequence : str
        The protein. ``sequence`` is what was embedded (shorter than the input if truncated).
    layers : tuple of int
        Hidden state numbers, 0..N.
    mean : numpy.ndarray of float32, shape (D,) or (L, D)
        Mean over residues; BOS and EOS take no part.
    bos : numpy.ndarray of float32, shape (D,) or (L, D)
        The BOS token; over windows, its mean.
    """

    id: str
    header: str
    sequence: str
    layers: tuple[int, ...]
    mean: NDArray[np.float32]
    bos: NDArray[np.float32]
    kept_residues: NDArray[np.float32] | None = field(repr=False)

    @property
    def residues(self) -> NDArray[np.float32]:
        """One vector per residue: float32, (R, D) or (L, R, D), row 0 the first residue.

        Raises
        ------
        OptionError
            If they were not kept.
        """
        if self.kept_residues is None:
            raise OptionError(
                f"the residues of {self.id!r} were not kept; embed with residues=True"
            )
        return self.kept_residues

    def __repr__(self) -> str:
        which = ", ".join(map(str, self.layers))
        return (
            f"Embedding({self.id}: {len(self.sequence)} residues, layer(s) {which}, "
            f"width {self.mean.shape[-1]})"
        )

    def _repr_html_(self) -> str:
        from html import escape

        rows = {
            "residues": f"{len(self.sequence):,}",
            "layer(s)": ", ".join(map(str, self.layers)),
            ".mean": f"float32 {self.mean.shape}",
            ".bos": f"float32 {self.bos.shape}",
            ".residues": "not kept"
            if self.kept_residues is None
            else f"float32 {self.residues.shape}",
        }
        body = "".join(f"<tr><th>{k}</th><td>{v}</td></tr>" for k, v in rows.items())
        title = escape(self.header if self.header.startswith(self.id) else self.id)
        return f"<table><caption>{title}</caption>{body}</table>"


class _Accumulator:
    """Puts the pieces of one protein together, averaging where windows overlap."""

    def __init__(self, pieces: Sequence[tuple[int, int]], *, keep_residues: bool) -> None:
        self._single = len(pieces) == 1
        self._keep = keep_residues or not self._single
        self._residues = pieces[-1][1]
        self._pieces = len(pieces)
        self._seen = torch.zeros(self._residues)
        self._sum: torch.Tensor | None = None  # (L, R, D), on the CPU
        self._mean: torch.Tensor | None = None  # (L, D)
        self._bos: torch.Tensor | None = None  # (L, D)

    def add(self, states: torch.Tensor, start: int, stop: int) -> None:
        """Take the hidden states (L, T, D) of the piece that covers residues start to stop."""
        states = states.float()
        bos, inner = states[:, 0], states[:, 1:-1]
        self._bos = bos if self._bos is None else self._bos + bos
        if self._single:
            self._mean = inner.mean(dim=1)
        if self._keep:
            inner = inner.cpu()
            if self._sum is None:
                self._sum = torch.zeros(len(inner), self._residues, inner.shape[-1])
            self._sum[:, start:stop] += inner
            self._seen[start:stop] += 1

    def result(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return mean (L, D), BOS (L, D) and, if kept, residues (L, R, D)."""
        assert self._bos is not None  # every protein has at least one piece
        residues = None if self._sum is None else self._sum / self._seen[:, None]
        mean = self._mean
        if mean is None:
            assert residues is not None  # proteins in several pieces keep theirs
            mean = residues.mean(dim=1)
        return mean, self._bos / self._pieces, residues


def _compute_batch(
    model: Esm2,
    proteins: Sequence[Protein],
    layers: Sequence[int],
    options: EmbedOptions,
    keep_residues: bool,
) -> list[Embedding]:
    """Embed one batch, in one pass or more."""
    cut = [cut_into_pieces(protein, options.long) for protein in proteins]
    gathered = [_Accumulator(pieces, keep_residues=keep_residues) for pieces in cut]
    costs = (
        (stop - start + SPECIALS, (number, start, stop))
        for number, pieces in enumerate(cut)
        for start, stop in pieces
    )
    on_cpu = model.device.type == "cpu"
    most = min(options.batch_tokens, PASS_TOKENS) if on_cpu else options.batch_tokens
    for part in packing.look_ahead(costs, most):
        ids = [encode(proteins[n].sequence[start:stop]) for n, start, stop in part]
        pack = packing.pack(ids, model.device)
        states = model.forward(pack, layers, names=[proteins[n].id for n, _, _ in part])
        for place, where in pack.sequences():
            number, start, stop = part[place]
            gathered[number].add(states[:, where], start, stop)
    results = [accumulator.result() for accumulator in gathered]
    # One transfer from the device for all pooled vectors of the batch
    means = torch.stack([mean.to(model.device) for mean, _, _ in results]).cpu().numpy()
    starts = torch.stack([bos.to(model.device) for _, bos, _ in results]).cpu().numpy()
    single = len(layers) == 1
    embeddings = []
    for protein, pieces, mean, bos, (_, _, residues) in zip(
        proteins, cut, means, starts, results, strict=True
    ):
        kept = residues.numpy() if keep_residues and residues is not None else None
        embeddings.append(
            Embedding(
                protein.id,
                protein.header,
                protein.sequence[: pieces[-1][1]],
                tuple(layers),
                mean[0] if single else mean,
                bos[0] if single else bos,
                kept[0] if single and kept is not None else kept,
            )
        )
    return embeddings


def compute(
    model: Esm2,
    items: Iterable[tuple[int, Protein]],
    layers: Sequence[int],
    options: EmbedOptions,
    *,
    keep_residues: bool,
    missing: NDArray[np.bool_] | None = None,
) -> Iterator[list[tuple[int, Embedding]]]:
    """Embed numbered proteins batch by batch, in the order in which batches are computed.

    Windows of the stream are sorted by length and cut into batches by token budget. Both depend
    on the stream and the options alone, so a run that goes on where another one stopped computes
    the very batches that are missing.

    Parameters
    ----------
    model : Esm2
    items : iterable of (int, Protein)
        Proteins under numbers of the caller's; each number once.
    layers : sequence of int
        Hidden states 0..N, already resolved.
    options : EmbedOptions
    keep_residues : bool
        Whether ``residues`` is wanted, which takes memory.
    missing : numpy.ndarray of bool, optional
        For each number whether its result is wanted; a batch without any is not computed.

    Yields
    ------
    list of (int, Embedding)
        The results of one batch.
    """
    per_token = len(layers) * model.width * 4 if keep_residues else 1
    most = LOOK_AHEAD_BATCHES * options.batch_tokens
    budget = max(options.batch_tokens, min(most, LOOK_AHEAD_BYTES // per_token))
    costs = ((tokens_of(protein, options.long), (number, protein)) for number, protein in items)
    for window in packing.look_ahead(costs, budget):
        tokens = [tokens_of(protein, options.long) for _, protein in window]
        for batch in packing.batches_by_tokens(tokens, options.batch_tokens):
            members = [window[i] for i in batch]
            if missing is not None and not any(missing[number] for number, _ in members):
                continue
            proteins = [protein for _, protein in members]
            results = _compute_batch(model, proteins, layers, options, keep_residues)
            yield [(number, r) for (number, _), r in zip(members, results, strict=True)]


@overload
def embed(model: Esm2, proteins: str | Protein, **options: Any) -> Embedding: ...
@overload
def embed(
    model: Esm2, proteins: Path | Iterable[str | Protein], **options: Any
) -> Iterator[Embedding]: ...
def embed(  # type: ignore[misc] - the overloads leave the options to this signature
    model: Esm2,
    proteins: str | Path | Protein | Iterable[str | Protein],
    *,
    layers: Sequence[int] | int | Literal["all"] = -1,
    residues: bool = True,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 4_096,
) -> Embedding | Iterator[Embedding]:
    """Embed one protein, or stream many.

    Parameters
    ----------
    model : Esm2
    proteins : str, Path, Protein or iterable of str or Protein
        A sequence or a Protein gives one result; a FASTA path (a ``Path``, or text with a dot or
        a slash in it) or an iterable gives an iterator.
    layers : int, sequence of int, or 'all'
        Hidden states 0 (token embedding) to N (last layer), or negatives.
    residues : bool
        Keep the vector of every residue; without them a stream needs little memory.
    long, on_invalid, batch_tokens
        As in :class:`EmbedOptions`.

    Returns
    -------
    Embedding or iterator of Embedding
        In input order.

    Raises
    ------
    InputError, OptionError, NonFiniteError
        With the record and the remedy.

    Examples
    --------
    >>> embedding = esmkit.load().embed("MKTVRQERLKSIVRILERSKEPVSG")    # doctest: +SKIP
    >>> embedding.mean.shape, embedding.residues.shape                # doctest: +SKIP
    ((320,), (25, 320))
    """
    options = EmbedOptions(long=long, on_invalid=on_invalid, batch_tokens=batch_tokens)
    numbers = model.resolve_layers([layers] if isinstance(layers, int) else layers)
    single = isinstance(proteins, Protein) or (
        isinstance(proteins, str) and not any(mark in proteins for mark in "./\\")
    )
    if isinstance(proteins, str | Path) and not single:
        stream = read_fasta(proteins, on_invalid=on_invalid)
    else:
        listed = [proteins] if isinstance(proteins, str | Protein) else proteins
        stream = clean_proteins(listed, on_invalid=on_invalid)  # type: ignore[arg-type]
    batches = compute(model, enumerate(stream), numbers, options, keep_residues=residues)
    results = _in_order(batches)
    if not single:
        return results
    for result in results:
        return result
    raise InputError("the sequence was left out by on_invalid='skip'; nothing is left to embed")


def _in_order(batches: Iterable[list[tuple[int, Embedding]]]) -> Iterator[Embedding]:
    """Yield results 0, 1, 2, ..., holding those of a window that overtook others."""
    ready: dict[int, Embedding] = {}
    given = 0
    for batch in batches:
        ready.update(batch)
        while given in ready:
            yield ready.pop(given)
            given += 1
