"""The proteins that were given as a stream, and what comes of many of them: one result each."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import what_is
from esmkit.errors import EsmkitError, InputError, OptionError
from esmkit.sequences.proteins import Protein

if TYPE_CHECKING:
    import pandas

__all__ = ["ProteinStream", "Results", "one_table"]

Result = TypeVar("Result")


class ProteinStream(Iterator[Protein]):
    """Proteins in input order, read as they are asked for, or ahead of that.

    Parameters
    ----------
    proteins : iterator of Protein
    count : int, optional
        How many there are, if that is known.

    Attributes
    ----------
    count : int or None
        How many there are; known at the latest when all have been read.
    ids : list of str
        IDs of those that have been read.
    error : EsmkitError or None
        What has stopped the reading; it is raised when its place is reached.
    """

    def __init__(self, proteins: Iterator[Protein], count: int | None = None) -> None:
        self.count = count
        self.ids: list[str] = []
        self._proteins = proteins
        self._ahead: deque[Protein] = deque()
        self.error: EsmkitError | None = None

    def read_ahead(self, most: int | None = None) -> None:
        """Read until so many are held, or all; an error is kept until its place is reached."""
        while self.error is None and (most is None or len(self._ahead) < most):
            try:
                self._ahead.append(self._read())
            except StopIteration:
                return
            except EsmkitError as error:
                self.error = error

    def checked(self) -> Self:
        """Return the stream, or raise the error that stands before its first protein."""
        if not self._ahead and self.error is not None:
            raise self.error
        return self

    def _read(self) -> Protein:
        try:
            protein = next(self._proteins)
        except StopIteration:
            self.count = len(self.ids)
            raise
        self.ids.append(protein.id)
        return protein

    def __next__(self) -> Protein:
        if self._ahead:
            return self._ahead.popleft()
        if self.error is not None:
            raise self.error
        try:
            return self._read()
        except EsmkitError as error:
            self.error = error  # whoever asks again hears it again
            raise


class Results(Iterator[Result], Generic[Result]):
    """Results of many proteins, in input order, each computed when it is asked for.

    Made by :meth:`esmkit.Esm2.embed`, :meth:`~esmkit.Esm2.attention` and
    :meth:`~esmkit.Esm2.contacts` when they are given many proteins. Like a generator, it is gone
    through once and keeps only the IDs, so that a whole proteome fits: ``for one in results``,
    ``next(results)``, ``list(results)``. :meth:`to_frame` and :meth:`to_numpy` gather all of them,
    and keep them.

    Parameters
    ----------
    results : iterator
    stream : ProteinStream
        Where they come from.
    kind : type
        What each is.
    task : str
        The method that makes them, such as ``embed``.
    frame : callable
        Makes a table of a list of results.
    array : callable, optional
        Makes an array of a list of results.
    progress : bool
        Show a progress bar on standard error.

    Examples
    --------
    >>> results = esmkit.load().embed(["MKTVRQERLK", "GSHMKTAYIA"])        # doctest: +SKIP
    >>> [embedding.mean.shape for embedding in results]                  # doctest: +SKIP
    [(320,), (320,)]
    """

    def __init__(
        self,
        results: Iterator[Result],
        stream: ProteinStream,
        kind: type[Result],
        task: str,
        *,
        frame: Callable[[Sequence[Result]], "pandas.DataFrame"],
        array: Callable[[Sequence[Result]], NDArray[np.float32]] | None = None,
        progress: bool = False,
    ) -> None:
        self._source = results
        self._stream = stream
        self._kind = kind
        self._task = task
        self._frame = frame
        self._array = array
        self._progress = progress
        self._bar: Any = None
        self._given = 0
        self._process: int | None = None
        self._ended = False
        self._error: EsmkitError | None = None
        self._kept: list[Result] | None = None

    # -------------------------------------------------------------------- one after the other

    def __iter__(self) -> Iterator[Result]:
        """Return an iterator over what has not been given yet, or over all if they were kept.

        Raises
        ------
        InputError
            If all have been given and none was kept.
        """
        if self._kept is not None:
            return iter(self._kept)
        if self._ended and self._given:
            every = f"all {self._given:,} results have" if self._given > 1 else "the result has"
            self._refuse_again(f"{every} been given")
        return self

    def __next__(self) -> Result:
        if self._error is not None:
            raise self._error
        if self._process != os.getpid():
            self._begin_here()
        try:
            result = next(self._source)
        except StopIteration:
            self._ended = True
            self._close_bar()
            raise
        except BaseException as error:
            self._close_bar()
            name = type(error).__name__
            self._error = error if isinstance(error, EsmkitError) else self._stopped(name)
            raise
        self._given += 1
        if self._progress:
            self._show()
        return result

    def _begin_here(self) -> None:
        """Refuse to go on in a fork of the process that began: its threads are not here."""
        if self._process is not None and self._kept is None:
            raise InputError(
                f"the results of {self._task} were begun in another process, and go on in that one "
                f"only; call {self._task} in this one, or give it list(results)"
            )
        self._process = os.getpid()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise OptionError(
            f"the results of {self._task} are computed as they are asked for, in this process, and "
            "cannot be copied or sent to another; send list(results)"
        )

    def close(self) -> None:
        """Stop computing, and let go of what is held for it."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()
        self._close_bar()

    def _stopped(self, name: str) -> InputError:
        return InputError(
            f"the results were stopped by {name} after {self._given:,}; call {self._task} again"
        )

    def _refuse_again(self, what: str) -> NoReturn:
        raise InputError(
            f"{what} and none is kept; call {self._task} again, and keep them with "
            "results = list(...)"
        )

    def _show(self) -> None:
        if self._bar is None:
            from tqdm import tqdm

            total = self._stream.count
            self._bar = tqdm(total=total, desc=self._task, unit="protein", dynamic_ncols=True)
        self._bar.update()

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()

    # -------------------------------------------------------------------- all of them

    @property
    def ids(self) -> list[str]:
        """IDs of all proteins, in order.

        The input is read to its end for it, and its proteins are held; nothing is computed.
        """
        self._stream.read_ahead()
        if self._stream.error is not None:
            raise self._stream.error
        return list(self._stream.ids)

    def _all(self) -> list[Result]:
        """Return all results, computed now and kept."""
        if self._kept is None:
            if self._given:
                some = "one result has" if self._given == 1 else f"{self._given:,} results have"
                self._refuse_again(f"{some} been given already")
            kept = list(self)
            self._kept, self._source = kept, iter(kept)
            self._ended, self._progress = False, False
        return self._kept

    def to_frame(self) -> "pandas.DataFrame":
        """Return one pandas table of all results, which are computed for it and kept.

        Returns
        -------
        pandas.DataFrame
            Of embeddings, a row per protein (and layer): index ``id``, or (``id``, ``layer``);
            columns 0 to D - 1, float32, the mean over residues. Of attention and of contact maps,
            each one's own table (``top()`` and ``to_frame()``) under the other, with a column
            ``id`` before. Of scores a row of numbers per protein, index ``id``; of log-probabilities
            index (``id``, ``residue_number``, ``residue``).

        Raises
        ------
        InputError
            If some have been given already and are not kept.
        """
        return self._frame(self._all())

    def to_numpy(self) -> NDArray[np.float32]:
        """Return one array of all results, which are computed for it and kept.

        Returns
        -------
        numpy.ndarray of float32, shape (B, D), or (B, L, D) with several layers
            The mean over residues of each of B proteins.

        Raises
        ------
        OptionError
            If these are maps, which have no common shape.
        InputError
            If some have been given already and are not kept.
        """
        if self._array is None:
            raise OptionError(
                f"each {self._kind.__name__} is residues by residues, and proteins have different "
                "numbers of them, so there is no one array: take [np.asarray(one) for one in "
                "results]"
            )
        return self._array(self._all())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        found = self.to_numpy()
        if copy is False:
            raise ValueError("results are gathered into a new array: copy=False cannot be had")
        return found if dtype is None else found.astype(dtype)

    # -------------------------------------------------------------------- what it is

    def __len__(self) -> int:
        """Return how many results there are in all, if that is known."""
        if self._stream.count is None:
            raise TypeError("how many results there are is not known yet; use len(results.ids)")
        return self._stream.count

    def __bool__(self) -> bool:
        return True

    def __contains__(self, item: object) -> bool:
        """Return whether there is a result of this ID; nothing is computed, or used up."""
        if isinstance(item, str):
            return item in self.ids
        raise OptionError(f"results are looked up by their IDs, not by {what_is(item)}")

    def __getitem__(self, place: Any) -> NoReturn:
        raise OptionError(
            f"results come one after the other and have no places, such as {place!r}; take "
            "next(results), or list(results) for all of them"
        )

    def __getattr__(self, name: str) -> NoReturn:
        kind = self.__dict__.get("_kind", object)
        if not name.startswith("_") and (
            hasattr(kind, name) or name in getattr(kind, "__dataclass_fields__", {})
        ):
            raise AttributeError(
                f"these are the results of many proteins, and .{name} is that of one; loop over "
                f"them: [one.{name} for one in results], or take next(results).{name}"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        count = self._stream.count
        many = "proteins" if count is None else f"{count:,} protein{'s' if count != 1 else ''}"
        if self._kept is not None:
            state = "computed and kept"
        elif self._error is not None:
            state = f"stopped by an error after {self._given:,}"
        elif self._ended:
            state = "all given, and not kept"
        elif self._given:
            state = f"{self._given:,} given"
        else:
            state = "each computed when it is asked for"
        gather = "results.to_frame(), results.to_numpy() and results.ids"
        if self._array is None:
            gather = "results.to_frame() and results.ids"
        return (
            f"Results of {self._task}: {many}, {state}. Use `for one in results:`, next(results) "
            f"for the first {self._kind.__name__}, list(results) for all; {gather} gather them."
        )


def one_table(tables: "Iterable[tuple[str, pandas.DataFrame]]") -> "pandas.DataFrame":
    """Return tables of proteins one below the other, with a column ``id`` before."""
    import pandas

    found = []
    for name, table in tables:
        table.insert(0, "id", name)
        found.append(table)
    return pandas.concat(found, ignore_index=True) if found else pandas.DataFrame()
