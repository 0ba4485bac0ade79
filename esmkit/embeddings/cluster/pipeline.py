"""FASTA files to a partitioned dataset: plan, run on Ray Data, say what was done.

Readers turn what is missing into ranges of records, a pool of workers turns each range into a part
of the dataset, and the driver is told a few numbers for each. Ray Data holds the readers back when
the workers do not keep up, so that memory does not grow with the input.
"""

import functools
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from esmkit.embeddings.cluster.cluster import WorkerPool, Workers, connect, plan_workers
from esmkit.embeddings.cluster.dataset import PROVENANCE_FILE, Input, Manifest, Part
from esmkit.embeddings.cluster.plan import (
    Failures,
    RangePlan,
    begin,
    is_left_by_killed,
    range_bytes_for,
)
from esmkit.embeddings.cluster.storage import Folder, absolute, size_of
from esmkit.embeddings.cluster.worker import Embedder, Settings, identify, read_item
from esmkit.embeddings.options import EmbedOptions
from esmkit.encoder.checkpoints import Checkpoint, read_config, resolve, warn_if_not_original
from esmkit.encoder.devices import can_be_compiled, refuse_to_compile
from esmkit.encoder.names import resolve_layers
from esmkit.errors import CheckpointError, InputError, OptionError, needed
from esmkit.files.provenance import run_identity, run_provenance
from esmkit.files.run_options import Run
from esmkit.sequences.report import InputReport
from esmkit.text import Say

__all__ = ["embed_dataset"]


def embed_dataset(
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    options: EmbedOptions = EmbedOptions(),  # noqa: B008 - frozen
    *,
    model: str | Path = "auto",
    device: str = "auto",
    dtype: str = "float32",
    compiled: bool | None = None,
    workers: Workers = Workers(),  # noqa: B008 - frozen
    range_bytes: int | None = None,
    run: Run = Run(),  # noqa: B008 - frozen
) -> None:
    """Embed the proteins of FASTA files into a folder of Parquet files, on a Ray cluster.

    The rows are those of the local engine, computed by the same code. A run that was killed and is
    started again computes the ranges that have no part yet.

    Parameters
    ----------
    sources : path, or sequence of paths
        FASTA files, plain or gzip, which all machines of the cluster can read; fsspec URLs such as
        ``s3://bucket/seqs.fasta`` are taken too.
    output : str or Path
        A folder that all machines share, or a URL.
    options : EmbedOptions
    model, device, dtype, compiled
        Arguments of :func:`esmkit.load`; every machine must have the model, or be able to fetch it.
    workers : Workers
    range_bytes : int, optional
        Input in one part, in bytes: what a worker that dies loses. By default by size.
    run : Run
        How to treat what is there already, and whom to tell.

    Raises
    ------
    MissingDependencyError, OptionError
        If there is no Ray, no cluster, too few processors or too little memory; before anything
        starts.
    CheckpointError, ResumeError, OutputError
        One sentence with the remedy.
    InputError
        If a file cannot be read; or, when all else is done, naming the ranges that could not be
        embedded.
    """
    sources = [sources] if isinstance(sources, str | Path) else list(sources)
    urls = _check_sources(sources)
    sizes = [size_of(url) for url in urls]
    with needed("a cluster", "pyarrow", extra="ray", instead="embed without a cluster"):
        import pyarrow  # noqa: F401
    folder = Folder(output)
    folder.names()  # a wrong address is told before Ray is started
    with connect(workers) as ray:
        checkpoint = resolve(model, say=run.say)
        warn_if_not_original(checkpoint)
        pool = plan_workers(ray, workers, device, checkpoint.folder)
        if compiled:
            refuse_to_compile(pool.device, dtype)
        run.say(f"model: {checkpoint}, {dtype} on {pool.device}{', compiled' if compiled else ''}")
        run.say(f"{pool.number} worker(s) of {pool.cpus} processor(s)" + _gpus(pool))
        config = read_config(checkpoint.folder)
        layers = resolve_layers(options.layers, config["num_hidden_layers"], checkpoint.name)
        inputs = _identify(ray, urls, sizes)
        per_range = range_bytes or range_bytes_for(
            sum(sizes), pool, checkpoint.folder, len(layers) * config["hidden_size"], options.per
        )
        identity = _identity(checkpoint, layers, options, pool, dtype)
        plan = begin(
            folder,
            Manifest(identity, per_range, inputs),
            run,
            asked_range=range_bytes is not None,
        )
        if plan is None:
            run.say(f"{folder.url} is complete already: nothing is computed")
            run.then()
            return
        facts = _facts(checkpoint, config, layers, options, pool, dtype, compiled, run.command)
        settings = Settings(
            folder.url,
            plan.manifest.run,
            _name_on_workers(model, checkpoint),
            pool.device,
            dtype,
            checkpoint.sha256,
            pool.cpus,
            tuple(layers),
            config["hidden_size"],
            options,
            json.dumps(facts),
            compiled,
        )
        failures = _compute(ray, plan, settings, pool, run)
        _finish(folder, plan, failures, facts, run.say)
        run.then()


def _gpus(pool: WorkerPool) -> str:
    return f" and {pool.gpus:g} GPU" if pool.gpus else ""


def _check_sources(sources: Sequence[str | Path]) -> list[str]:
    if not sources:
        raise InputError("no FASTA file given; name at least one")
    if any(str(source) == "-" for source in sources):
        raise OptionError(
            "a cluster reads files that all workers can open, not standard input; write the records "
            "to a file"
        )
    return [absolute(source) for source in sources]


def _identify(ray: Any, urls: Sequence[str], sizes: Sequence[int]) -> list[Input]:
    """Hash the input files, on the cluster: a file that it cannot read is found before work begins."""
    remote = ray.remote(identify).options(num_cpus=0)
    waiting = [remote.remote({"file": file, "url": url}) for file, url in enumerate(urls)]
    inputs = []
    for url, size, answer in zip(urls, sizes, ray.get(waiting), strict=True):
        if answer["error"]:
            raise InputError(answer["error"])
        name = url.rsplit("/", 1)[-1]
        inputs.append(Input(name, url, size, answer["sha256"], answer["gzip"], None))
    return inputs


def _name_on_workers(model: str | Path, checkpoint: Checkpoint) -> str:
    """Return a name under which other processes, on other machines too, find the same weights."""
    path = Path(model).expanduser()
    if str(model) != "auto":
        return str(path.absolute()) if path.exists() else str(model)
    return checkpoint.name


def _identity(
    checkpoint: Checkpoint, layers: list[int], options: EmbedOptions, pool: WorkerPool, dtype: str
) -> dict[str, Any]:
    """Return everything that the rows depend on, besides the input."""
    return run_identity(
        "embed",
        checkpoint=checkpoint.sha256,
        dtype=dtype,
        device=pool.device,
        settings={
            "layers": layers,
            "per": options.per,
            "pool": options.pool if options.per == "protein" else None,
            "long": options.long,
            "on-invalid": options.on_invalid,
            "batch-tokens": options.batch_tokens,
        },
    )


def _facts(
    checkpoint: Checkpoint,
    config: dict[str, Any],
    layers: list[int],
    options: EmbedOptions,
    pool: WorkerPool,
    dtype: str,
    compiled: bool | None,
    command: str,
) -> dict[str, Any]:
    """Return the provenance as the local engine writes it, as far as it is known beforehand.

    Whether attention was compiled may differ between machines; the footer of each part says it.
    """
    where_possible = can_be_compiled(pool.device, dtype) and "where possible"
    return run_provenance(
        "embed",
        checkpoint=checkpoint.to_dict(),
        shape={
            "layers": config["num_hidden_layers"],
            "heads": config["num_attention_heads"],
            "width": config["hidden_size"],
        },
        settings={
            "format": "parquet",
            "layers": layers,
            "per": options.per,
            "pool": options.pool if options.per == "protein" else None,
            "dtype_stored": "float32",
            "batch-tokens": options.batch_tokens,
            "long": options.long,
        },
        dtype=dtype,
        device=pool.device,
        compiled=where_possible if compiled is None else compiled,
        made_from={"engine": "ray"},  # the input is known when all of it was read
        command=command,
        packages=("torch", "transformers", "numpy", "pyarrow", "ray"),
    )


def _compute(ray: Any, plan: RangePlan, settings: Settings, pool: WorkerPool, run: Run) -> Failures:
    """Compute what is missing; return what could not be done."""
    failures = Failures()
    items = plan.items()
    if not items:
        return failures
    if not any(item["gzip"] for item in items):
        pool = replace(pool, number=min(pool.number, len(items)))
    bar = _Progress(plan, show=run.progress)
    try:
        dataset = _dataset(ray, items, settings, pool, plan.manifest.range_bytes)
        for block in dataset.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        ):
            for answer in block.to_pylist():
                if answer["kind"] == "fatal":
                    raise CheckpointError(answer["error"])
                plan.take(answer, failures, run.say)
                bar.take(answer)
    finally:
        bar.close()
    return failures


def _dataset(
    ray: Any, items: list[dict[str, Any]], settings: Settings, pool: WorkerPool, range_bytes: int
) -> Any:
    """Return the pipeline: items -> ranges -> answers. It runs when its rows are asked for."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # A block for each range: what is handed to a worker at a time
    context.target_max_block_size = max(1, range_bytes // 2)
    data = ray.data.from_items(items, override_num_blocks=len(items))
    # Readers wait for disks rather than compute: they ask for no processor, and so never keep a
    # worker, or wait for one, that holds the last.
    ranges = data.flat_map(
        functools.partial(read_item, range_bytes=range_bytes),
        num_cpus=0,
        compute=ray.data.TaskPoolStrategy(size=pool.number),
    )
    return ranges.map(
        Embedder,
        fn_constructor_args=(settings,),
        compute=ray.data.ActorPoolStrategy(size=pool.number, max_tasks_in_flight_per_actor=2),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
    )


class _Progress:
    """Bytes of input done, with the rate in sequences and the time left."""

    def __init__(self, plan: RangePlan, *, show: bool) -> None:
        self._begun: float | None = None
        self._sequences = self._residues = 0
        total, done = plan.bytes()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc="embed",
            disable=not show,
            mininterval=0.2 if sys.stderr.isatty() else 10.0,
            dynamic_ncols=True,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]",
        )

    def take(self, answer: dict[str, Any]) -> None:
        """Count one answer."""
        begun = self._begun
        if begun is None:  # without the time in which the workers load their model
            begun = self._begun = time.monotonic() - answer["seconds"]
        if answer["part"]:
            part = json.loads(answer["part"])
            self._sequences += part["proteins"]
            self._residues += part["residues"]
        spent = max(1e-9, time.monotonic() - begun)
        self._bar.set_postfix_str(
            f"{self._sequences:,} sequences, {self._sequences / spent:,.1f} sequences/s, "
            f"{self._residues / spent:,.0f} residues/s",
            refresh=False,
        )
        self._bar.update(answer["progress"])

    def close(self) -> None:
        """Leave the last line standing."""
        self._bar.close()


def _finish(
    folder: Folder, plan: RangePlan, failures: Failures, facts: dict[str, Any], say: Say
) -> None:
    """Write the provenance if every range has its part; otherwise say what is missing."""
    failures.save(folder)
    plan.manifest.save(folder)
    missing = plan.missing()
    report = total_report(plan.held.values())
    for line in report.lines():
        say(line)
    if failures or missing:
        raise InputError(failures.sentence(missing, len(plan.held)))
    if not report.proteins:
        raise InputError(report.nothing_left())
    files = [
        {"name": file.name, "bytes": file.bytes, "sha256": file.sha256, "ranges": file.ranges}
        for file in plan.manifest.inputs
    ]
    provenance = {
        **facts,
        "range_bytes": plan.manifest.range_bytes,
        "inputs": files,
        "input_report": report.to_dict(),
    }
    for name in filter(is_left_by_killed, folder.names()):
        folder.remove(name)
    folder.write(PROVENANCE_FILE, (json.dumps(provenance, indent=2) + "\n").encode())


def total_report(parts: Iterable[Part]) -> InputReport:
    """Add up what the parts say was done to their records."""
    total = InputReport()
    for part in parts:
        for name, value in part.report.items():
            before = getattr(total, name)
            if name == "longest":
                total.longest = max(before, value)
            elif isinstance(value, list):
                before.extend(value[: max(0, 200 - len(before))])
            else:
                setattr(total, name, before + value)
    return total
