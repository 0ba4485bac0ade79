"""The licences of everything that `pip install esmkit` brings, as their packages declare them.

``python tests/reliability/licences.py`` prints the table of ``licences.md``.
"""

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[2] / "pyproject.toml"

EXTRAS = ("parquet", "explorer")
"""Those that users install; tests and benchmarks are never shipped."""

PERMISSIVE = {
    *("MIT", "MIT-CMU", "ISC", "0BSD", "BSD", "BSD-2-Clause", "BSD-3-Clause", "Zlib", "CC0-1.0"),
    *("Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSL-1.0", "PSF-2.0", "CNRI-Python"),
    "LicenseRef-Biopython-License-Agreement",
}

WEAK_COPYLEFT = {"MPL-2.0", "LGPL-2.1-or-later"}
"""Their files stay under their licence; a program that imports them may have another."""

CLASSIFIERS = {
    "MIT License": "MIT",
    "BSD License": "BSD",
    "Apache Software License": "Apache-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "ISC License (ISCL)": "ISC",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
}

BY_HAND = {
    "transformers": "Apache-2.0",  # "Apache 2.0 License"
    "mdtraj": "LGPL-2.1-or-later",  # "LGPLv2.1+"
}
"""What neither expression nor classifier says in words that can be compared."""


def dependencies() -> Iterator[metadata.Distribution]:
    """Yield every package that esmkit needs, directly or not, in the order of the names."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    todo = [Requirement(line) for line in project["dependencies"]]
    for extra in EXTRAS:
        todo += [Requirement(line) for line in project["optional-dependencies"][extra]]
    found: dict[str, metadata.Distribution] = {}
    while todo:
        wanted = todo.pop()
        key = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if key in found:
            continue
        found[key] = distribution = metadata.distribution(wanted.name)
        for line in distribution.requires or []:
            more = Requirement(line)
            if more.marker is None or more.marker.evaluate({"extra": ""}):
                todo.append(more)
    yield from (found[key] for key in sorted(found))


def licences_of(distribution: metadata.Distribution) -> list[str]:
    """Return the licences of a package, all of which apply; of alternatives all are listed."""
    facts: Any = distribution.metadata
    expression = facts.get("License-Expression")
    name = re.sub(r"[-_.]+", "-", facts["Name"]).lower()
    if name in BY_HAND:
        return [BY_HAND[name]]
    if not expression and re.fullmatch(
        r"[A-Za-z0-9.-]+( (AND|OR) [A-Za-z0-9.-]+)*", facts.get("License") or ""
    ):
        expression = facts["License"]
    if expression:
        return sorted({part.strip("() ") for part in re.split(r" AND | OR ", expression)})
    lines = facts.get_all("Classifier") or []
    kinds = [line.rpartition(" :: ")[2] for line in lines if line.startswith("License ::")]
    return sorted({str(CLASSIFIERS.get(kind, kind)) for kind in kinds})


def table() -> str:
    """Return the table as Markdown, versions left out: they change, licences seldom do."""
    lines = ["| package | licence |", "|---|---|"]
    for distribution in dependencies():
        lines.append(
            f"| {distribution.metadata['Name']} | {', '.join(licences_of(distribution))} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
