"""Scores of variants: how much likelier the model finds a mutated protein than the wild type.

``mutations`` reads what people write, ``rows`` their tables, ``placing`` holds both against the
sequence, and ``asked`` gathers it. ``plan`` has the conventions and what each takes to compute,
``passes`` computes it; ``scoring`` is the method, ``to_file`` and ``to_files`` the command. ``measured``
compares scores with measurements, ``baselines`` are what they have to beat.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.score.variants.measured import compare
    from esmkit.score.variants.mutations import Variant, parse_variant
    from esmkit.score.variants.scoring import LeftOutWarning, score_variants

__all__ = ["LeftOutWarning", "Variant", "compare", "parse_variant", "score_variants"]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "LeftOutWarning": "scoring",
            "Variant": "mutations",
            "compare": "measured",
            "parse_variant": "mutations",
            "score_variants": "scoring",
        },
    )
