"""The bounds of pyproject.toml are the versions that `.ci/lowest` runs, and nothing is kept out."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOR_USERS = ("parquet", "explorer")
"""Extras that `.ci/lowest` installs; the lowest Ray and s3fs were not run."""


def pins(name: str) -> dict[str, str]:
    """Return the versions that a file of constraints names."""
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def requirements() -> list[Requirement]:
    lines = list(PROJECT["dependencies"])
    for extra in FOR_USERS:
        lines += PROJECT["optional-dependencies"][extra]
    found = [Requirement(line) for line in lines]
    assert len(found) == 18
    return found


def test_each_lower_bound_is_the_version_that_was_run():
    lowest = pins(".ci/lowest.txt")
    for wanted in requirements():
        if wanted.name != "torch":  # other versions than the pinned one cost gigabytes to fetch
            assert str(wanted.specifier) == f">={lowest[wanted.name]}", wanted.name
    assert lowest["torch"] == pins("constraints.txt")["torch"]


def test_no_version_is_kept_out_from_above():
    for wanted in requirements():
        assert [one.operator for one in wanted.specifier] == [">="], wanted.name
    assert PROJECT["requires-python"].startswith(">=")
    assert "," not in PROJECT["requires-python"]


def test_the_tested_set_lies_within_the_bounds():
    tested = pins("constraints.txt")
    for wanted in requirements():
        assert tested[wanted.name] in wanted.specifier, wanted.name


def test_the_share_of_tests_is_there():
    share = re.findall(r"tests/[a-z0-9_/]+\.py", (ROOT / ".ci" / "bounds").read_text())
    assert len(share) > 15
    assert all((ROOT / path).is_file() for path in share)


def test_the_table_of_versions_names_them_all():
    text = (ROOT / "docs" / "systems.md").read_text()
    rows = dict(re.findall(r"^\| ([\w-]+) \| ([\w.]+) \|", text, re.MULTILINE))
    lowest = pins(".ci/lowest.txt")
    for wanted in requirements():
        assert rows[wanted.name] == lowest[wanted.name], wanted.name
