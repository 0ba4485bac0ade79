"""Each command that takes ``--model``, and each thing that may happen on the way to the Hub.

The long form, each command in each situation with the patience of real use, is
``python tests/reliability/hub_matrix.py``; its figures are in benchmarks/RELIABILITY.md.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import click
import pytest
from hub_matrix import COMMANDS, chosen

from esmkit.cli import cli
from oracles.hub_situations import SITUATIONS

THE_WORD_LEFT_OUT = {
    "contacts predict": "contacts",
    "score proteins": "score",
    "heads profile": "heads",
}


def with_model(command: click.Command, *names: str) -> Iterator[str]:
    """Yield the names of all commands that take ``--model``."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from with_model(below, *names, name)
    elif any("--model" in parameter.opts for parameter in command.params):
        yield " ".join(names)


def test_every_command_is_in_it():
    found = {THE_WORD_LEFT_OUT.get(name, name) for name in with_model(cli)}
    assert len(found) >= 14
    assert found <= set(COMMANDS)


def test_the_short_form_has_every_situation_and_every_command():
    cells = list(chosen(short=True, only=[]))
    assert [s.name for _, s in cells] == [s.name for s in SITUATIONS]
    assert {c for c, _ in cells} >= set(COMMANDS) - {"embed on Ray", "heads atlas"}
    assert len({s.name for s in SITUATIONS}) == len(SITUATIONS)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_weights_or_one_sentence():
    """Each situation with one command, and a twentieth of the patience."""
    done = subprocess.run(
        [sys.executable, hub_matrix_file(), "--short", "--json", "--patience", "0.05"],
        capture_output=True,
        text=True,
    )
    assert done.stdout, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert [one for one in found if not one["good"]] == []
    possible = [s.name for s in SITUATIONS if s.possible()]
    assert {one["situation"] for one in found} == set(possible)


def hub_matrix_file() -> str:
    return str(sys.modules["hub_matrix"].__file__)
