"""Text from files on its way into a page: nothing in it may act, and nothing in it may hide."""

import json
import math
from typing import Any

from esmkit.text import visible

__all__ = ["json_for_script"]


def json_for_script(value: Any) -> str:
    r"""Return a value as JSON that can stand inside ``<script>`` and holds no hidden character.

    ``<``, ``>`` and ``&`` are written as escapes, so no ``</script>`` or ``<!--`` can come out of
    a name; all else beyond ASCII is escaped as well. NaN and infinity become null.

    >>> json_for_script({"id": "</script>"})
    '{"id":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(_clean(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if isinstance(value, bool | int) or value is None:
        return value
    if hasattr(value, "item"):  # a NumPy scalar
        return _clean(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return visible(str(value))
