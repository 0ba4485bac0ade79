"""What a package index shows of esmkit: the README, without links into the repository."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


def for_an_index(readme: str) -> str:
    """Return the README without what leads nowhere outside the repository.

    Pictures in the repository are left out; of links to its files and to other parts of the page
    the words stay. Links that begin with ``https:`` stay as they are.
    """
    away = r"\((?!https?:)[^()\s]*\)"
    text = re.sub(rf"(?m)^\[?!\[[^\]]*\]{away}(?:\]{away})?[ ]*\n", "", readme)
    text = re.sub(rf"!\[[^\]]*\]{away}", "", text)
    link = rf"(?<!!)\[(?P<words>[^\]]*)\]{away}"
    return re.sub(rf"{link}|`[^`]*`", lambda found: found["words"] or found[0], text)


class CustomMetadataHook(MetadataHookInterface):
    """Sets the description; hatchling finds it by ``[tool.hatch.metadata.hooks.custom]``."""

    def update(self, metadata: dict) -> None:
        """Set ``readme``."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": for_an_index(text)}
