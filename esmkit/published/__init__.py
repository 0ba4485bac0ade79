"""Published results of ESM-2 beside what one's own weights and data give.

``known`` lists what is published, with sources; ``rows`` judges one result; ``chains`` measures on
structures, ``golden`` single numbers, ``proteingym`` variants; ``reproducing`` makes the table,
``table`` is the table, ``to_file`` what ``esmkit reproduce`` does.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.published.reproducing import reproduce
    from esmkit.published.rows import Row
    from esmkit.published.table import Reproduction

__all__ = ["Reproduction", "Row", "reproduce"]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__, {"Reproduction": "table", "Row": "rows", "reproduce": "reproducing"}
    )
