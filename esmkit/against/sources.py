"""Sources: what somebody may have put into the model in place of the protein as it is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esmkit.against.states import Piece, Request, exact_rotary, without_token_dropout
from esmkit.encoder.checkpoints.parts import Parts
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import BOS, EOS, MASK, PAD, TOKENS, UNKNOWN
from esmkit.sequences.windows import MAX_RESIDUES, windows

__all__ = [
    "PLAIN",
    "WINDOWS",
    "Source",
    "cut",
    "cuts_of",
    "sequence_changed",
    "sources_of",
    "token_changed",
    "unmasked",
    "with_padding",
]

_ID = {token: number for number, token in enumerate(TOKENS)}
_GAPS = "-."

CUTS = (
    *(1_022, 1_024, 1_023, 1_021, 1_020, 1_000, 998, 800, 798, 768, 766, 600, 598, 550),
    *(512, 511, 510, 500, 498, 400, 398, 300, 298, 256, 255, 254, 250, 248, 200, 198, 150),
    *(128, 126, 100, 98, 64, 62, 50, 48),
)
"""Numbers of residues at which programs cut: limits of tokens, with and without specials."""

CHUNKS = (1_022, 1_024, 1_000, 512, 510, 500, 256, 254)
"""Lengths of windows side by side."""


@dataclass(frozen=True)
class Source:
    """One way to feed a protein to the model.

    Attributes
    ----------
    words : str
        What was done, such as "read in reverse".
    request : callable
        From a protein and its text in the FASTA to a :class:`Request`, or None where it would be
        the same as the protein as it is.
    change : callable, optional
        Changes the encoder itself.
    cost : int
    remedy : str
        What to do about it.
    note : str
        Which it is of several of its kind, such as "the first 22".
    """

    words: str
    request: Callable[[Protein, str], Request | None]
    change: Callable[[Parts], Parts] | None = None
    cost: int = 1
    remedy: str = "embed the sequences as they are in the FASTA"
    note: str = ""


def _ids(letters: Iterable[str], *, bos: bool = True, eos: bool = True) -> NDArray[np.int64]:
    inner = [_ID.get(letter, UNKNOWN) for letter in letters]
    return np.array([BOS] * bos + inner + [EOS] * eos, dtype=np.int64)


def _one(letters: Iterable[str]) -> Request | None:
    ids = _ids(letters)
    return Request((Piece(ids),)) if len(ids) > 2 else None


def _merged(text: str) -> Iterator[str]:
    """Yield tokens as tokenizers of transformers and fair-esm make them: unknown runs are one."""
    unknown = False
    for letter in text:
        if letter in _ID:
            yield letter
        elif not unknown:
            yield "<unk>"
        unknown = letter not in _ID


def sequence_changed(change: Callable[[str], str]) -> Callable[[Protein, str], Request | None]:
    """Return what reads a protein with its sequence changed; None where it stays the same."""

    def request(protein: Protein, text: str) -> Request | None:
        new = change(protein.sequence)
        return _one(new) if new and new != protein.sequence else None

    return request


def _replace(letters: str, by: str) -> Callable[[str], str]:
    table = str.maketrans(dict.fromkeys(letters, by))
    return lambda sequence: sequence.translate(table)


def token_changed(letters: str, token: str) -> Callable[[Protein, str], Request | None]:
    """Return what reads a protein with some letters as another token."""

    def request(protein: Protein, text: str) -> Request | None:
        if not set(letters) & set(protein.sequence):
            return None
        return _one([token if letter in letters else letter for letter in protein.sequence])

    return request


def _as_written(protein: Protein, text: str) -> Request | None:
    """Text of the FASTA, gaps and small letters as they are."""
    tokens = list(_merged(text))
    return _one(tokens) if "".join(tokens) != protein.sequence else None


def _as_written_apart(protein: Protein, text: str) -> Request | None:
    tokens = [letter if letter in _ID else "<unk>" for letter in text]
    return _one(tokens) if tokens != list(protein.sequence) else None


def _whole(protein: Protein, text: str) -> Request | None:
    return _one(protein.sequence)


def _windows(protein: Protein, text: str) -> Request | None:
    return _in_pieces(protein, windows(len(protein)), "average")


def _in_pieces(protein: Protein, pieces: Sequence[tuple[int, int]], join: str) -> Request | None:
    if len(pieces) < 2:
        return None
    made = [Piece(_ids(protein.sequence[a:b]), start=a) for a, b in pieces]
    return Request(tuple(made), "means" if join == "means" else "average")


PLAIN = Source("the sequences as they are", _whole, cost=0)
"""One pass over the whole protein, as transformers makes it."""

WINDOWS = Source(
    "windows of 1,022 residues that share half, averaged, as esmkit's", _windows, cost=0
)
"""The rule of esmkit for longer proteins."""


def cut(residues: int, *, eos: bool = True) -> Source:
    """Return the source that reads the first residues only."""

    def request(protein: Protein, text: str) -> Request | None:
        if len(protein) <= residues:
            return None
        ids = _ids(protein.sequence[:residues], eos=eos)
        return Request((Piece(ids, back=int(eos)),))

    more = "" if eos else ", without EOS"
    return Source(
        f"cut after {residues:,} residues{more}",
        request,
        remedy="embed long proteins whole or in windows (`long`)",
    )


def _chunks(size: int, join: str) -> Source:
    def request(protein: Protein, text: str) -> Request | None:
        stops = [(a, min(a + size, len(protein))) for a in range(0, len(protein), size)]
        return _in_pieces(protein, stops, join)

    how = "means of the pieces averaged" if join == "means" else "residues averaged"
    return Source(
        f"cut into pieces of {size:,} residues side by side, {how}",
        request,
        cost=2,
        remedy="embed long proteins whole or in windows (`long`)",
    )


def _window_means(protein: Protein, text: str) -> Request | None:
    return _in_pieces(protein, windows(len(protein)), "means")


def cuts_of(longest: int) -> list[Source]:
    """Return the ways to cut proteins of up to so many residues."""
    found = [cut(n) for n in CUTS if n < longest]
    found += [cut(n, eos=False) for n in (1_022, 1_023, 511, 255) if n < longest]
    found += [_chunks(n, join) for n in CHUNKS if n < longest for join in ("residues", "means")]
    if longest > MAX_RESIDUES:
        found.append(
            Source("windows of 1,022 residues that share half, their means averaged", _window_means)
        )
    return found


def _without_specials(protein: Protein, text: str) -> Request | None:
    return Request((Piece(_ids(protein.sequence, bos=False, eos=False), front=0, back=0),))


def _without_eos(protein: Protein, text: str) -> Request | None:
    return Request((Piece(_ids(protein.sequence, eos=False), back=0),))


def _without_bos(protein: Protein, text: str) -> Request | None:
    return Request((Piece(_ids(protein.sequence, bos=False), front=0),))


def _all_masked(protein: Protein, text: str) -> Request | None:
    ids = _ids(protein.sequence)
    ids[1:-1] = MASK
    return Request((Piece(ids),))


_SEQUENCES = (
    Source("the letters B, O, U and Z written as X", sequence_changed(_replace("BOUZ", "X"))),
    Source("the letters B, O, U and Z left out", sequence_changed(_replace("BOUZ", ""))),
    Source("the letters B, O, U, X and Z left out", sequence_changed(_replace("BOUXZ", ""))),
    Source("U written as C", sequence_changed(_replace("U", "C"))),
    Source("the letters B, O, U and Z read as <unk>", token_changed("BOUZ", "<unk>")),
    Source("the letters B, O, U, X and Z read as <unk>", token_changed("BOUXZ", "<unk>")),
    Source("the letters B, O, U, X and Z read as <mask>", token_changed("BOUXZ", "<mask>")),
    Source("X read as <mask>", token_changed("X", "<mask>")),
    Source(
        "an unknown letter after the last residue, such as the * that ends a sequence",
        lambda protein, text: _one([*protein.sequence, "<unk>"]),
        remedy="take the `*` away from the ends of the sequences",
    ),
    Source("an X after the last residue", lambda protein, text: _one([*protein.sequence, "X"])),
    Source(
        "the text of the FASTA as it is written: small letters and signs are unknown, runs of them "
        "one token",
        _as_written,
        remedy="write the sequences in capitals, without gaps and `*`",
    ),
    Source(
        "the text of the FASTA as it is written: each small letter and sign an unknown token",
        _as_written_apart,
        remedy="write the sequences in capitals, without gaps and `*`",
    ),
    Source(
        "the whole sequence one unknown token, as of small letters",
        lambda protein, text: _one(["<unk>"]),
        remedy="write the sequences in capitals",
    ),
    Source(
        "every residue unknown, as of small letters",
        lambda protein, text: _one(["<unk>"] * len(protein)),
        remedy="write the sequences in capitals",
    ),
    Source("every residue X", lambda protein, text: _one("X" * len(protein))),
    Source("every residue <mask>", _all_masked),
    Source("read in reverse", sequence_changed(lambda sequence: sequence[::-1])),
    Source(
        "the first residue, a methionine, left out",
        sequence_changed(lambda s: s[1:] if s.startswith("M") else s),
    ),
    Source("a methionine put before the first residue", sequence_changed(lambda s: "M" + s)),
    Source("the last residue left out", sequence_changed(lambda s: s[:-1])),
    Source(
        "the first residue left out",
        sequence_changed(lambda s: s[1:] if s[0] != "M" else s),
        cost=2,
    ),
)

_PASSES = (
    Source(
        "no token dropout: embeddings not scaled by 0.88, which ESM-2 needs without masks too",
        _whole,
        without_token_dropout,
        remedy="set token_dropout to true in the config of the model",
    ),
    Source(
        "rotary frequencies computed anew, where the checkpoint stores them rounded",
        _whole,
        exact_rotary,
        remedy="take the frequencies from the checkpoint, or accept differences of this size",
    ),
    Source(
        "without BOS and EOS",
        _without_specials,
        remedy="add the special tokens (add_special_tokens=True)",
    ),
    Source("without EOS", _without_eos, remedy="add the special tokens (add_special_tokens=True)"),
    Source("without BOS", _without_bos, remedy="add the special tokens (add_special_tokens=True)"),
    Source(
        "BOS and EOS added twice",
        lambda protein, text: Request(
            (Piece(np.concatenate([[BOS], _ids(protein.sequence), [EOS]]), front=2, back=2),)
        ),
        cost=2,
    ),
)


def sources_of(proteins: Sequence[Protein]) -> list[Source]:
    """Return the sources that differ from the plain one for some of these proteins.

    Cuts come first if all are too long for the model, and else last: a search may end at one.
    """
    lengths = [len(protein) for protein in proteins]
    cuts, others = cuts_of(max(lengths, default=0)), [*_PASSES, *_SEQUENCES]
    return [*cuts, *others] if min(lengths, default=0) > MAX_RESIDUES else [*others, *cuts]


BATCHES = (2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 256)
"""Sizes of batches that are tried for padding."""

LIMITS = (1_024, 1_026, 1_022, 1_000, 512, 256, 128)
"""Lengths in tokens to which programs pad, whatever is in the batch."""


def unmasked(lengths: Sequence[int]) -> dict[str, list[int]]:
    """Return to how many tokens each protein may have been padded, by the rule in words.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each protein, in the order of the FASTA.
    """
    tokens = np.asarray(lengths)
    longest = int(tokens.max())
    found = {f"all {len(tokens):,} in one batch": np.full(len(tokens), longest)}
    orders = {
        "in the order of the FASTA": np.arange(len(tokens)),
        "from short to long": np.argsort(tokens, kind="stable"),
        "from long to short": np.argsort(-tokens, kind="stable"),
    }
    for size in BATCHES:
        if size >= len(tokens):
            break
        for words, order in orders.items():
            to = np.empty(len(tokens), int)
            for start in range(0, len(tokens), size):
                batch = order[start : start + size]
                to[batch] = tokens[batch].max()
            found[f"batches of {size}, {words}"] = to
    for limit in LIMITS:
        if longest <= limit:
            found[f"{limit:,} tokens"] = np.full(len(tokens), limit)
    return {words: to.tolist() for words, to in found.items()}


def with_padding(protein: Protein, to: int) -> Request:
    """Return a protein with padding that is attended to like any other token."""
    ids = _ids(protein.sequence)
    pads = max(0, to - len(ids))
    return Request((Piece(np.concatenate([ids, np.full(pads, PAD)]), back=1 + pads),))
