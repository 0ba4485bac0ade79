"""Options of scores of variants, checked before anything is computed; nothing here loads PyTorch."""

from typing import Any, Literal

from esmkit.arguments import what_is, whole_number
from esmkit.errors import OptionError
from esmkit.score.variants.plan import check_strategy
from esmkit.score.variants.rows import MutationTable, read_mutations
from esmkit.sequences.letters import check_rule

__all__ = ["check_options", "table_or_all"]


def check_options(strategy: str, first_number: int, on_invalid: str) -> None:
    """Refuse options that are none, before anything is read."""
    check_strategy(strategy)
    check_rule(on_invalid)
    if whole_number(first_number) is None:
        raise OptionError(
            f"`first_number` is a whole number, not {what_is(first_number)}; give one"
        )


def table_or_all(
    mutations: Any, mutant_column: str | None, measured: str | None
) -> MutationTable | Literal["all"]:
    """Return mutations as they were given, read; or ``all``."""
    if not (isinstance(mutations, str) and mutations.strip().lower() == "all"):
        return read_mutations(mutations, column=mutant_column, measured=measured)
    for option, value in (("mutant_column", mutant_column), ("measured", measured)):
        if value is not None:
            raise OptionError(
                f"`{option}` names a column of a table, and all variants have none; give a table of "
                f"mutations, or leave `{option}` out"
            )
    return "all"
