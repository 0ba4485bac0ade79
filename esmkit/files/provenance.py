"""How two runs differ, in words short enough for a message."""

import json
from pathlib import Path
from typing import Any

__all__ = ["PROVENANCE", "change", "provenance_sidecar"]

MAX_SHOWN = 60
"""Characters of a value that a message shows."""


def change(name: str, before: Any, now: Any) -> str:
    """Say how an entry of a fingerprint has changed; of two long lists only what one of them has.

    >>> change("layers", [2], [0])
    'layers was [2], now [0]'
    """
    lists = isinstance(before, list) and isinstance(now, list) and len(before + now) > 2
    if lists and len(_text(before + now)) > MAX_SHOWN:
        gone = [value for value in before if value not in now]
        new = [value for value in now if value not in before]
        only = [f"{_brief(v)} only {when}" for v, when in ((gone, "then"), (new, "now")) if v]
        sizes = f"{name} was {len(before):,} values, now {len(now):,}"
        return f"{sizes}: {', '.join(only) or 'in another order'}"
    first, second = _text(before), _text(now)
    start = 0
    if _brief(before) == _brief(now):  # they differ further on
        pairs = enumerate(zip(first, second, strict=False))
        start = next((n for n, (a, b) in pairs if a != b), MAX_SHOWN) - 10
    skipped = "…" if start else ""
    return f"{name} was {skipped}{_brief(before, start)}, now {skipped}{_brief(now, start)}"


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _brief(value: object, start: int = 0) -> str:
    text = _text(value)[start:]
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


PROVENANCE = "provenance"


def provenance_sidecar(path: Path) -> Path:
    """Return where the provenance of a CSV stands: CSV itself has no place for it."""
    return path.with_name(path.name + ".provenance.json")
