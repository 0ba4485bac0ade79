"""A first pass over FASTA files: validate everything, find repeats, fingerprint the bytes.

Embedding a file reads it three times: here, to compute, and to write the results in input order.
Between passes only a few bytes per record are kept, never the records.
"""

import hashlib
import shutil
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from esmkit.errors import InputError, OutputError
from esmkit.sequences.picking import checked_ids
from esmkit.sequences.proteins import OnInvalid, Protein, read_named
from esmkit.sequences.report import InputReport

__all__ = ["InputIndex"]

_DIGEST_BYTES = 16


@dataclass(frozen=True)
class InputIndex:
    """What is known of an input after one pass.

    Attributes
    ----------
    paths : tuple of Path
        The files; standard input and pipes stand here as the temporary files they were copied to.
    files : list of dict
        Name, size in bytes and SHA-256 of each file.
    report : InputReport
        What was done to the input.
    unique_of : numpy.ndarray of int64, shape (records,)
        For each protein in input order the number of its sequence; equal sequences share one.
    first_of : numpy.ndarray of int64, shape (sequences,)
        For each distinct sequence the protein that brought it first. Ascending.
    lengths : numpy.ndarray of int64, shape (records,)
        Residues of each protein.
    on_invalid : str
        The rule under which the input was read.
    digests : numpy.ndarray of S16, shape (records,)
        BLAKE2 digest of each sequence.
    ids : tuple of str, optional
        IDs of the records that were asked for.
    """

    paths: tuple[Path, ...]
    files: list[dict[str, object]]
    report: InputReport
    unique_of: NDArray[np.int64]
    first_of: NDArray[np.int64]
    lengths: NDArray[np.int64]
    on_invalid: OnInvalid
    digests: NDArray[np.bytes_]
    ids: tuple[str, ...] | None = None

    @classmethod
    def build(
        cls,
        sources: Sequence[str | Path],
        *,
        on_invalid: OnInvalid = "error",
        scratch: Path,
        ids: Iterable[str] | None = None,
        look: Callable[[Protein], None] = lambda protein: None,
    ) -> "InputIndex":
        """Read and validate every record.

        Parameters
        ----------
        sources : sequence of str or Path
            FASTA files; ``-`` is standard input. What can be read only once, standard input and
            pipes such as ``<(zcat seqs.gz)``, is copied into ``scratch``.
        on_invalid : {'error', 'replace', 'skip', 'degap'}
            See :func:`esmkit.sequences.proteins.read_fasta`.
        scratch : Path
            An existing folder for these copies.
        ids : iterable of str, optional
            Take these records only; see :func:`esmkit.sequences.proteins.read_fasta`.
        look : callable
            Called with each protein as it goes by, for what would read the input again otherwise.

        Raises
        ------
        InputError
            For the first file or record that is not acceptable, or if none is left.
        UnknownIdError
            If no record has one of ``ids``, or several have it.
        """
        if not sources:
            raise InputError("no FASTA file given; name one, or - for standard input")
        if [str(s) for s in sources].count("-") > 1:
            raise InputError("standard input (-) can be read once only; name it once")
        paths = tuple(_rereadable(source, scratch) for source in sources)
        names = ["standard input" if str(s) == "-" else str(s) for s in sources]
        report = InputReport()
        ids = None if ids is None else checked_ids(ids)
        digests = bytearray()
        lengths = array("q")
        try:
            for protein in read_named(zip(paths, names, strict=True), on_invalid, ids, report):
                look(protein)
                digests += _digest(protein)
                lengths.append(len(protein))
        except InputError as error:
            text = str(error)
            for name, path in zip(names, paths, strict=True):
                text = text.replace(str(path), name)  # a copy goes by the name of its original
            raise InputError(text) from None
        if not lengths:
            raise InputError(report.nothing_left())
        keys = np.frombuffer(digests, dtype=f"S{_DIGEST_BYTES}")
        _, first, group = np.unique(keys, return_index=True, return_inverse=True)
        by_first = np.argsort(first)  # number distinct sequences in the order they first appear
        number = np.empty_like(by_first)
        number[by_first] = np.arange(len(by_first))
        report.duplicate_sequences = len(lengths) - len(first)
        files: list[dict[str, object]] = [
            {"name": Path(name).name, "bytes": path.stat().st_size, "sha256": _sha256(path)}
            for name, path in zip(names, paths, strict=True)
        ]
        return cls(
            paths,
            files,
            report,
            number[group.reshape(-1)],
            first[by_first],
            np.frombuffer(lengths, np.int64),
            on_invalid,
            keys,
            ids,
        )

    @property
    def sequences(self) -> int:
        """Number of distinct sequences."""
        return len(self.first_of)

    @property
    def residues_to_compute(self) -> int:
        """Residues of the distinct sequences."""
        return int(self.lengths[self.first_of].sum())

    def proteins(self) -> Iterator[tuple[int, Protein]]:
        """Read the input again: (number of the sequence, protein) in input order.

        Raises
        ------
        InputError
            If the files are no longer what they were in the first pass.
        """
        count = 0
        paths = [(path, "") for path in self.paths]
        again = read_named(paths, self.on_invalid, self.ids, InputReport())
        for count, protein in enumerate(again, 1):
            if count > len(self.digests) or _digest(protein) != self._digest_of(count - 1):
                break
            yield int(self.unique_of[count - 1]), protein
        else:
            if count == len(self.digests):
                return
        raise InputError(
            "the input changed while it was being read; leave the file alone and run the same again"
        )

    def _digest_of(self, record: int) -> bytes:
        # NumPy strips trailing zero bytes from S16 items; every digest has 16
        return bytes(self.digests[record]).ljust(_DIGEST_BYTES, b"\0")

    def distinct(self) -> Iterator[tuple[int, Protein]]:
        """Read the input again, each distinct sequence once: (its number, protein)."""
        seen = 0
        for number, protein in self.proteins():
            if number == seen:  # numbers are given in the order of first appearance
                seen += 1
                yield number, protein


def _digest(protein: Protein) -> bytes:
    return hashlib.blake2b(protein.sequence.encode(), digest_size=_DIGEST_BYTES).digest()


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _rereadable(source: str | Path, scratch: Path) -> Path:
    """Return a path that can be read several times."""
    if str(source) == "-":
        if sys.stdin is None:
            raise InputError("standard input is closed; give a FASTA file instead of -")
        return _spool(sys.stdin.buffer, scratch)
    path = Path(source)
    try:
        is_pipe = path.is_fifo()
    except OSError as error:  # a pasted sequence, say, which is no file name
        raise InputError(
            f"{str(source)[:30]!r}… cannot be a file name ({error.strerror}); put the sequence in "
            "a FASTA file, or pipe it to -"
        ) from None
    if is_pipe:
        with path.open("rb") as pipe:
            return _spool(pipe, scratch)
    return path


def _spool(stream: IO[bytes], folder: Path) -> Path:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".fasta", delete=False) as copy:
            shutil.copyfileobj(stream, copy)
    except OSError as error:
        raise OutputError(
            f"cannot keep a copy of the input in {str(folder)!r} ({error.strerror or error}); make "
            "room, set TMPDIR to another folder, or give a FASTA file"
        ) from None
    return Path(copy.name)
