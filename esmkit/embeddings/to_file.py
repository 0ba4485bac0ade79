"""The embed task on disk: FASTA files to one embedding file, in shards that survive a kill."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.embeddings.options import EmbedOptions
from esmkit.embeddings.writers import EMBEDDING_FORMATS, open_writer
from esmkit.files.disk import disk_errors
from esmkit.files.outputs import choose_format, is_stream, name_of_target
from esmkit.files.pending import Pending
from esmkit.files.run_options import Run
from esmkit.files.shards import ShardReader
from esmkit.files.tables import import_pyarrow
from esmkit.files.task import Task, run_to_file, writing
from esmkit.sequences.index import InputIndex
from esmkit.text import Say

# PyTorch is imported only after the input has been validated: a typing error is answered at once.
if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = ["EmbedTask", "embed_file"]


@checked
def embed_file(
    model: "Encoder | Callable[[], Encoder]",
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    options: EmbedOptions = EmbedOptions(),  # noqa: B008 - frozen
    *,
    ids: Iterable[str] | None = None,
    file_format: str | None = None,
    run: Run = Run(),  # noqa: B008 - frozen
) -> None:
    """Embed the proteins of FASTA files into one file.

    The input is validated from start to end before anything is written. Results go to shards in
    ``<output>.work``; a run that was killed and is started again goes on after its last shard.
    The output appears when it is whole, and the folder goes.

    Parameters
    ----------
    model : Encoder or callable
        A callable returns the model; it is called only after the input has been validated.
    sources : path, or sequence of paths
        FASTA files, plain or gzip; ``-`` is standard input.
    output : str or Path
        The file to write, through a link if it is one. ``-`` is standard output; it and other
        streams, such as a pipe, take CSV.
    options : EmbedOptions
    ids : iterable of str, optional
        Take these records only; see :func:`esmkit.read_fasta`.
    file_format : {'h5', 'parquet', 'npz', 'csv'}, optional
        Output format, whatever the name of the output ends in; by default what it ends in (``.h5``,
        ``.hdf5``, ``.hdf``, ``.he5``, ``.parquet``, ``.pq``, ``.npz``, ``.csv``): one dataset or
        array per protein, or a table with one row per protein (or residue) and layer. Always
        float32.
    run : Run
        How to treat what is there already, and whom to tell.

    Raises
    ------
    InputError, UnknownIdError, OptionError, CheckpointError, OutputError, ResumeError,
    NonFiniteError
        One sentence with the remedy. What was computed before is kept.

    See Also
    --------
    esmkit.read : Reads the file back.
    esmkit.Esm2.embed : The same in memory.
    esmkit.embeddings.cluster.embed_dataset : The same on a Ray cluster.

    Examples
    --------
    >>> ubiquitin = esmkit.data.ubiquitin_fasta()  # doctest: +SKIP
    >>> options = esmkit.EmbedOptions(layers=[0, 6])  # doctest: +SKIP
    >>> esmkit.embed_file(esmkit.load, ubiquitin, "ubiquitin.h5", options)  # doctest: +SKIP
    >>> found = esmkit.read("ubiquitin.h5")  # doctest: +SKIP
    >>> found["1UBI_A"].shape, found.layers  # doctest: +SKIP
    ((2, 320), [0, 6])
    >>> found.close()  # doctest: +SKIP
    """
    formats = tuple(EMBEDDING_FORMATS)
    file_format = choose_format(output, file_format, formats, streamed=("csv",), say=run.say)
    if file_format == "parquet":
        import_pyarrow()
    run_to_file(
        EmbedTask(model, options, file_format),
        sources,
        output,
        ids=ids,
        with_sidecar=file_format == "csv" and not is_stream(output),
        run=run,
    )


class EmbedTask(Task):
    """Hidden states of each protein, pooled or per residue."""

    name = "embed"

    def __init__(
        self, model: "Encoder | Callable[[], Encoder]", options: EmbedOptions, file_format: str
    ) -> None:
        super().__init__(model, long=options.long, on_invalid=options.on_invalid)
        self._options = options
        self._format = file_format
        self._layers: list[int] = []

    def prepare(self, index: InputIndex, say: Say) -> None:
        """Resolve the layers."""
        self._layers = self.model.resolve_layers(self._options.layers)

    def options(self) -> dict[str, Any]:
        """Return layers, pooling and format."""
        return {
            "format": self._format,
            "layers": self._layers,
            "per": self._options.per,
            "pool": self._options.pool if self._options.per == "protein" else None,
            "dtype_stored": "float32",
            "batch-tokens": self._options.batch_tokens,
        }

    def compute(
        self, index: InputIndex, missing: NDArray[np.bool_], pending: Pending
    ) -> Iterator[Sequence[int]]:
        """Embed what is missing, a batch at a time."""
        from esmkit.embeddings.embed import compute

        options = self._options
        for batch in compute(
            self.model,
            index.distinct(),
            self._layers,
            options,
            keep_residues=options.per == "residue",
            missing=missing,
        ):
            for number, embedding in batch:
                if options.per == "residue":
                    values = embedding.residues
                else:
                    values = embedding.mean if options.pool == "mean" else embedding.bos
                pending.add(number, values)
            yield [number for number, _ in batch]

    def write(
        self, index: InputIndex, shards: ShardReader, provenance: dict[str, Any], target: Any
    ) -> None:
        """Write one dataset, array or row for each protein."""
        where = name_of_target(target)
        with disk_errors(where):
            writer = open_writer(
                self._format, target, provenance, layers=self._layers, per=self._options.per
            )
        try:
            for number, protein in index.proteins():
                values = shards[number]
                with writing(where):
                    writer.add(protein, values)
        finally:
            with writing(where):
                writer.close()
