"""``esmkit reproduce`` from structures and assays to a table; work is kept as it comes."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit.errors import OptionError, OutputError
from esmkit.files.disk import check_output, disk_errors, through_links
from esmkit.files.outputs import is_stream, open_stream
from esmkit.files.pending import Pending
from esmkit.files.provenance import provenance_sidecar, run_identity, run_provenance
from esmkit.files.run_options import Run
from esmkit.files.shards import ShardReader
from esmkit.files.tables import without_formulas
from esmkit.files.work_folder import WorkFolder, finished_by_killed_run, tidy_up, was_finishing
from esmkit.published.gym_files import Gym, read_gym
from esmkit.published.keeping import Keep, ShardKeep
from esmkit.published.known import check_chains, choose_claims, needs_chains

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.published.table import Reproduction
    from esmkit.structure import Structure

__all__ = ["FORMATS", "reproduce_to_file"]

FORMATS = (".csv", ".tsv", ".md", ".json")
"""What the name of a table may end in."""

SHARD_BYTES = 2**20
"""Size at which kept measurements are written, if they are not written for their age before."""


def reproduce_to_file(
    model: "Callable[[], Encoder]",
    structures: "Callable[[], list[Structure]]",
    output: Path | None,
    *,
    chains_are: Any = "other",
    proteingym: str | Path | None = None,
    only: Sequence[str] = (),
    seed: int = 0,
    run: Run = Run(),  # noqa: B008 - frozen
) -> "Reproduction | None":
    """Measure published results and write the table; see :func:`esmkit.reproduce`.

    What was measured of each chain and assay goes to shards in ``<output>.work``. A run that is
    stopped at any moment and started again goes on after its last shard.

    Parameters
    ----------
    model, structures : callable
        Called only after the options, the output and ProteinGym's files have been found good.
    output : Path or None
        Table to write, by its ending as CSV, TSV, Markdown or JSON; CSV on a stream. None: nothing
        is written or kept.
    chains_are, proteingym, only, seed
        As in :func:`esmkit.reproduce`.
    run : Run
        How to treat what is there already, and whom to tell.

    Returns
    -------
    Reproduction or None
        None if an earlier run was stopped just after it had written this very table.

    Raises
    ------
    InputError, OptionError, CheckpointError, OutputError, ResumeError, NonFiniteError
        One sentence with the remedy. What was measured before is kept.
    """
    claims = choose_claims(only)
    home = None if output is None or is_stream(output) else through_links(output)
    if home is not None:
        _check(home, run)
    gym = None if proteingym is None else read_gym(proteingym)

    chains = structures() if needs_chains(claims) else []
    if needs_chains(claims):
        check_chains(chains)
    loaded = model()

    from esmkit.published.reproducing import measure_rows

    given: Any = {"chains_are": chains_are, "seed": seed}
    if output is None or home is None:
        with _told(run) as progress:
            found = measure_rows(loaded, claims, chains, gym, progress=progress, **given)
        if output is not None:
            with disk_errors(output), open_stream(output) as stream:
                stream.write(_text(found, ".csv"))
        run.then()
        return found
    settings = {
        "only": [claim.name for claim in claims],
        "chains-are": chains_are,
        "seed": seed,
        **_inputs(chains, gym),
    }
    identity = run_identity(
        "reproduce",
        checkpoint=loaded.checkpoint.sha256,
        dtype=str(loaded.dtype),
        device=loaded.device.type,
        settings=settings,
    )
    if finished_by_killed_run(home):
        if finished_by_killed_run(home, identity) and not run.restart:
            run.say(f"{home} was complete: the run before was stopped just after writing it")
            tidy_up(home, run.then)
            return None
        check_output(home, force=run.force)
        tidy_up(home)
    work = WorkFolder(home, identity, restart=run.restart, force=run.force)
    try:
        with _kept(work, run) as keep, _told(run) as progress:
            work.note_attention(compiled=loaded.compiled)
            found = measure_rows(loaded, claims, chains, gym, keep=keep, progress=progress, **given)
        facts = _provenance(loaded, settings, work, run)
        with disk_errors(home):
            work.temporary().write_text(_text(found, home.suffix.lower()), encoding="utf-8")
        sidecar = provenance_sidecar(home), (json.dumps(facts, indent=2) + "\n").encode()
        work.finish(sidecar=sidecar, then=run.then)
        return found
    finally:
        work.close()


def _check(home: Path, run: Run) -> None:
    """Refuse an output that names no format, or may not be written."""
    if home.suffix.lower() not in FORMATS:
        raise OptionError(f"{str(home)!r} says no format: let it end in {', '.join(FORMATS)}")
    check_output(home, force=run.force or finished_by_killed_run(home))
    try:
        check_output(provenance_sidecar(home), force=run.force or was_finishing(home))
    except OutputError as error:
        raise OutputError(f"the provenance beside the table: {error}") from None


def _inputs(chains: "Sequence[Structure]", gym: Gym | None) -> dict[str, Any]:
    """Return what identifies the chains and the assays."""
    from esmkit.published.chains import chain_digest

    found: dict[str, Any] = {"chains": [f"{chain.id} {chain_digest(chain)}" for chain in chains]}
    if gym is not None:
        found["assays"] = [f"{assay.id} {assay.digest()}" for assay in gym.assays]
        published = json.dumps([assay.published for assay in gym.assays])
        found["published"] = hashlib.sha256(published.encode()).hexdigest()
    return found


@contextmanager
def _kept(work: WorkFolder, run: Run) -> Iterator[Keep]:
    """Yield what keeps measurements in a work folder."""
    if work.damaged:
        run.say(f"{work.damaged} damaged shard(s) found by checksum; they are computed anew")
    if there := len(work.shard_of):
        run.say(f"going on with the {there:,} measurements in {work.folder}")
    with Pending(work, SHARD_BYTES) as pending, ShardReader(work.shard_of) as shards:
        yield ShardKeep(work, pending, shards)


@contextmanager
def _told(run: Run) -> Iterator[Callable[[str], None]]:
    """Yield what is told of each measurement before its turn."""
    from tqdm import tqdm

    with tqdm(desc="reproduce", unit="step", disable=not run.progress, dynamic_ncols=True) as bar:

        def told(text: str) -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update()

        yield told


def _text(found: "Reproduction", suffix: str) -> str:
    """Return the table as text of a format."""
    if suffix == ".md":
        return found.to_markdown()
    if suffix == ".json":
        return found.to_json() + "\n"
    separator = "\t" if suffix == ".tsv" else ","
    table = without_formulas(found.to_frame())
    return table.to_csv(index=False, sep=separator, lineterminator="\n")


def _provenance(
    model: "Encoder", settings: dict[str, Any], work: WorkFolder, run: Run
) -> dict[str, Any]:
    """Return what stands beside the table."""
    return run_provenance(
        "reproduce",
        checkpoint=model.checkpoint.to_dict(),
        shape={"layers": model.layers, "heads": model.heads, "width": model.width},
        settings=settings,
        dtype=str(model.dtype),
        device=model.device.type,
        compiled=work.compiled(model.compiled),
        made_from={},
        command=run.command,
        packages=("torch", "transformers", "numpy", "scipy", "pandas"),
    )
