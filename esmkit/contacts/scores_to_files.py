"""What ``esmkit contacts evaluate`` and ``esmkit contacts fit`` do: scores on many chains, to files."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit.errors import OptionError
from esmkit.files.disk import check_output
from esmkit.files.outputs import format_of_name, is_stream
from esmkit.files.tables import write_table
from esmkit.files.together import Together
from esmkit.structure import Structure

if TYPE_CHECKING:
    from esmkit.contacts.head import ContactHead
    from esmkit.encoder.encoder import Encoder

__all__ = ["evaluate_to_files", "fit_to_file"]


def evaluate_to_files(
    model: "Callable[[], Encoder]",
    structures: Callable[[], list[Structure]],
    make_head: "Callable[[Encoder], ContactHead] | None",
    *,
    each_head: bool,
    output: Path | None,
    plot: Path | None,
    force: bool,
    progress: bool,
    best: int | None = None,
    choose_on: "Callable[[], list[Structure]] | None" = None,
    calibration: Sequence[Path] = (),
    **options: Any,
) -> str:
    """Score a contact head, or each attention head, on structures; write and draw the table.

    Parameters
    ----------
    model, structures : callable
        Called only after the outputs have been found good.
    make_head : callable, optional
        Given the model, returns the contact head; by default the checkpoint's own.
    each_head : bool
        Score every attention head by itself instead.
    output, plot : Path, optional
        The table, and precision against rank.
    force, progress : bool
        Whether to overwrite, and whether to show how far it is.
    best : int, optional
        Score so many of the best heads instead, each chain with heads that others chose.
    choose_on : callable, optional
        Chains for that; by default those to score on.
    calibration : sequence of Path
        Where to write the reliability table (``.csv``, ``.tsv``) or to draw it.
    **options
        ``length``, ``training_chains`` and ``seed``, as in :func:`esmkit.contacts.evaluate`.

    Returns
    -------
    str
        The table to print.
    """
    named = [
        *((path, name) for path, name in ((output, "output"), (plot, "plot")) if path is not None),
        *((path, "calibration") for path in calibration),
    ]
    files = [path for path, _ in named if not (path == output and is_stream(path))]

    if files:
        Together.take_back(files[0])
    for path, name in named:
        if path in files:
            check_output(path, force=force, named=name, forced="force=True")
    _check_calibration(calibration, applies=not each_head and best is None)
    with Together(files[0], files) if files else contextlib.nullcontext() as together:

        def place(path: Path) -> Path:
            return path if together is None or path not in files else together.staged(path)

        text = _evaluated(
            model,
            structures(),
            make_head,
            each_head=each_head,
            output=output and place(output),
            plot=plot and place(plot),
            progress=progress,
            best=best,
            choose_on=choose_on,
            calibration=[place(path) for path in calibration],
            **options,
        )
        if together is not None:
            together.finish()
    return text


def _evaluated(
    model: "Callable[[], Encoder]",
    chains: list[Structure],
    make_head: "Callable[[Encoder], ContactHead] | None",
    *,
    each_head: bool,
    output: Path | None,
    plot: Path | None,
    progress: bool,
    best: int | None,
    choose_on: "Callable[[], list[Structure]] | None",
    calibration: Sequence[Path],
    **options: Any,
) -> str:
    """Score, write and draw."""
    if each_head:
        return _each_head_to_files(model(), chains, output, plot, progress, **options)

    from esmkit import plots
    from esmkit.contacts.choosing import evaluate_best
    from esmkit.contacts.comparison import differences_text
    from esmkit.contacts.evaluation import evaluate
    from esmkit.contacts.prediction import contacts
    from esmkit.contacts.scores import precision_curves

    loaded = model()
    if best is not None:
        options.pop("training_chains", None)
        pool = chains if choose_on is None else choose_on()
        with _bar(len(pool) + len(chains), "contacts", progress) as told:
            result = evaluate_best(loaded, chains, best, choose_on=pool, progress=told, **options)
    else:
        head = make_head(loaded) if make_head else None
        if calibration and head is not None and head.method != "regression":
            raise OptionError(
                "a calibration is of probabilities, and single heads give scores; leave one of the two out"
            )
        with _bar(len(chains), "contacts", progress) as told:
            result = evaluate(loaded, chains, head, progress=told, **options)
    lines = [result.to_text()]
    scored = [chain for chain in chains if chain.id in result.heads]
    length = result.length
    if (make_head or best is not None) and loaded.has_contact_head:
        with _bar(len(scored), "own head", progress) as told:
            own = evaluate(loaded, scored, length=length, progress=told)
        lines.append(differences_text(result, own))
    if output is not None:
        kind = "tsv" if format_of_name(output) == "tsv" else "csv"
        write_table(output, result.chains.reset_index(), kind)
    if plot is not None:
        maps = (
            contacts(loaded, c.protein, head=result.heads[c.id]).onto(c, ranking=True)
            for c in scored
        )
        plots.precision_by_rank(precision_curves(maps, length=length), path=plot)
    for path in calibration:
        assert result.reliability is not None  # of a regression there always is one
        if path.suffix in _TABLES:
            write_table(path, result.reliability.table, path.suffix[1:])
        else:
            result.reliability.plot(path=path)
    return "\n\n".join(lines)


_TABLES = (".csv", ".tsv")
_FIGURES = (".png", ".svg", ".pdf")


def _check_calibration(paths: Sequence[Path], *, applies: bool) -> None:
    """Refuse outputs that name no format, and a choice of heads that gives no probabilities."""
    if paths and not applies:
        raise OptionError(
            "a calibration is of probabilities, and single heads give scores; leave one of the two out"
        )
    for path in paths:
        if path.suffix not in (*_TABLES, *_FIGURES):
            raise OptionError(
                f"{str(path)!r} says neither a table nor a figure; let the calibration end in "
                f"{', '.join(_TABLES)}, {', '.join(_FIGURES)}"
            )


def _each_head_to_files(
    loaded: "Encoder",
    chains: list[Structure],
    output: Path | None,
    plot: Path | None,
    progress: bool,
    *,
    length: Any = "resolved",
    seed: int = 0,
    **_: Any,
) -> str:
    """Score each attention head by itself; write and draw the table."""
    from esmkit import plots
    from esmkit.contacts.ranking import rank_heads

    with _bar(len(chains), "contacts", progress) as told:
        table = rank_heads(loaded, chains, length=length, seed=seed, progress=told)
    long = table.query("range == 'long'").sort_values(by="P@L/2", ascending=False)
    columns = ["name", "P@L", "P@L/2", "P@L/5", "low", "high", "background"]
    if output is not None:
        write_table(output, table, "tsv" if format_of_name(output) == "tsv" else "csv")
    if plot is not None:
        plots.head_precision_grid(table, path=plot)
    return (
        f"the ten best of {len(long)} heads at long range, {len(chains)} chain(s), interval "
        f"of P@L/2\n\n{long[columns].head(10).round(3).to_string(index=False)}\n\n"
        f"L is the number of {'resolved' if length == 'resolved' else 'all'} residues; IN-SAMPLE, a "
        "little too high: these heads are the best on these very chains (`esmkit.contacts.evaluate_best` chooses on others)"
    )


def fit_to_file(
    model: "Callable[[], Encoder]",
    structures: Callable[[], list[Structure]],
    output: Path,
    *,
    chains: int | None,
    seed: int,
    inverse_penalty: float,
    force: bool,
    progress: bool,
) -> str:
    """Fit a contact head and score it on the chains that took no part.

    Returns
    -------
    str
        What to print.
    """
    import numpy as np

    check_output(output, force=force, forced="force=True")
    found = structures()
    if chains is not None and chains > len(found):
        raise OptionError(
            f"{chains} chains were asked for and there are {len(found)}; ask for less"
        )
    order = np.random.default_rng(seed).permutation(len(found))
    fitted = [found[i] for i in sorted(order[:chains])] if chains is not None else found
    rest = [chain for chain in found if chain.id not in {c.id for c in fitted}]

    from esmkit.contacts.fitting import fit

    loaded = model()
    with _bar(len(fitted), "fit", progress) as told:
        head = fit(loaded, fitted, inverse_penalty=inverse_penalty, seed=seed, progress=told)
    head.save(output)
    facts = head.provenance
    fact = (
        f"{head.source}: {facts['pairs']:,} pairs, {facts['contacts']:,} contacts; "
        f"{facts['heads_with_weight']} of {loaded.layers * loaded.heads} heads have a weight"
    )
    return "\n".join([fact, *_scores_of_fit(loaded, head, rest, progress)])


def _scores_of_fit(
    loaded: "Encoder", head: "ContactHead", rest: list[Structure], progress: bool
) -> list[str]:
    """Return what to print of a head that was fitted, on chains that took no part."""
    from esmkit.contacts.comparison import differences_text
    from esmkit.contacts.evaluation import evaluate

    if not rest:
        return ["no chain is left to score it on; `chains` fits to some and scores on the rest"]
    if all(head.learnt_from(chain.protein) is not None for chain in rest):
        return [
            f"the {len(rest)} other chain(s) are relatives of those it was fitted to, so it is not "
            "scored; fit to `chains` of a set that is not one family"
        ]
    with _bar(len(rest), "score", progress) as told:
        result = evaluate(loaded, rest, head, progress=told)
    lines = ["", result.to_text()]
    if loaded.has_contact_head:
        own = evaluate(loaded, [chain for chain in rest if chain.id in result.heads])
        lines += ["", own.to_text(), "", differences_text(result, own)]
    return lines


@contextlib.contextmanager
def _bar(total: int, name: str, shown: bool) -> Iterator[Callable[[str], None]]:
    """Yield what is told of each chain before its turn."""
    from tqdm import tqdm

    with tqdm(total=total, desc=name, unit="chain", disable=not shown, dynamic_ncols=True) as bar:

        def told(_: str) -> None:
            bar.update()

        yield told
