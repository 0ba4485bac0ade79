"""``esmkit score fit`` around the fit: files in, one file out, and what to print."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit.files.disk import check_output
from esmkit.score.fitting import check_enough, distinct, fit_lm_head
from esmkit.text import Say

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = ["fit_to_file"]


def fit_to_file(
    model: "Callable[[], Encoder]",
    proteins: Sequence[str | os.PathLike[str]],
    output: Path,
    *,
    validation: Sequence[str | os.PathLike[str]] | None,
    force: bool,
    options: Mapping[str, Any],
    progress: Say,
) -> str:
    """Fit a masked-LM head to FASTA files and write it: what ``esmkit score fit`` does.

    Parameters
    ----------
    model : callable
        Loads the encoder; called after the input has been read.
    proteins : sequence of path
    output : Path
    validation : sequence of path, optional
    force : bool
        Overwrite the output.
    options : mapping
        The others of :func:`fit_lm_head`.
    progress : callable
        Called with a sentence for each step.

    Returns
    -------
    str
        What to print.
    """
    check_output(output, force=force, forced="force=True")
    on_invalid: Any = options.get("on_invalid", "error")
    known = distinct([Path(path) for path in proteins], on_invalid)
    given = validation and distinct([Path(path) for path in validation], on_invalid)
    check_enough(len(known), len(known))
    fitted = fit_lm_head(model(), known, validation=given or None, progress=progress, **options)
    fitted.save(output, force=force)
    quality = fitted.validation
    verdict = "better than letters" if quality.ratio_high < 1 else "NOT better than letters"
    return (
        f"fitted on {fitted.facts['trained_on']}, {fitted.facts['hidden_residues']:,} hidden "
        f"residues; best after epoch {fitted.best_epoch} of "
        f"{len(fitted.perplexities)}\nvalidation: {fitted.facts['validation']}\n"
        f"validation, {verdict}: {quality.to_text()}"
    )
