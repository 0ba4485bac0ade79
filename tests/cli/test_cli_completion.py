"""Shell completion: what Tab offers in bash, zsh and fish, and that their scripts load."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class

import esmkit
from esmkit.cli import _COMMANDS, cli

SHELLS = ("bash", "zsh", "fish")


def offered(*typed: str) -> list[str]:
    """What is offered for the last word: words, or ``<file>`` where the shell completes files."""
    kind = get_completion_class("bash")
    assert kind is not None
    complete = kind(cli, {}, "esmkit", "_ESMKIT_COMPLETE")
    items = complete.get_completions(list(typed[:-1]), typed[-1])
    return ["<file>" if item.type == "file" else item.value for item in items]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (("em",), ["embed"]),
        (("",), list(_COMMANDS)),
        (("embed", "--la"), ["--layers"]),
        (("embed", "--long", "w"), ["window", "whole"]),
        (("embed", "seqs.fasta", "--dt"), ["--dtype"]),
        (("embed", "se"), ["<file>"]),
        (("embed", "-o", ""), ["<file>"]),
        (("embed", "--model", "mod"), ["<file>"]),
        (("attention", "se"), ["<file>"]),
        (("verify", "se"), ["<file>"]),
        (("heads", "--structures", ""), ["<file>"]),
        (("weights", "f"), ["fetch"]),
        (("contacts", "e"), ["<file>", "evaluate"]),
        (("contacts", "se"), ["<file>"]),
        (("contacts", "--str"), ["--structure"]),  # of predict, the word that may be left out
        (("contacts", "seqs.fasta", "--str"), ["--structure"]),
        (("contacts", "--structure", "1ubi"), ["<file>"]),
        (("contacts", "fit", "--ch"), ["--chains"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_tab_offers(typed: tuple[str, ...], expected: list[str]):
    assert offered(*typed) == expected


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables with which ``esmkit`` is this copy."""
    program = tmp_path / "bin" / "esmkit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m esmkit "$@"\n')
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(esmkit.__file__).parents[1]),
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_its_script(shell: str, environment: dict[str, str]):
    done = subprocess.run(
        ["esmkit"],
        env={**environment, "_ESMKIT_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f"_ESMKIT_COMPLETE={shell}_complete" in done.stdout


BASH = """
eval "$(_ESMKIT_COMPLETE=bash_source esmkit)"
complete -p esmkit > /dev/null || exit 3
try() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _esmkit_completion esmkit 2> /dev/null  # compopt is for the prompt only
    echo "${COMPREPLY[*]}"
}
try esmkit em
try esmkit embed --la
"""

FISH = """
_ESMKIT_COMPLETE=fish_source esmkit | source
complete --do-complete 'esmkit em' | string split --fields 1 \\t
complete --do-complete 'esmkit embed --la' | string split --fields 1 \\t
"""

# Outside of its line editor zsh completes nothing; what the script calls is asked for instead
ZSH = """
autoload -Uz compinit && compinit -u -D
eval "$(_ESMKIT_COMPLETE=zsh_source esmkit)"
(( $+functions[_esmkit_completion] )) || exit 3
try() { COMP_WORDS="$1" COMP_CWORD=$2 _ESMKIT_COMPLETE=zsh_complete esmkit | sed -n 2p }
try 'esmkit em' 1
try 'esmkit embed --la' 2
"""


@pytest.mark.parametrize(("shell", "script"), [("bash", BASH), ("zsh", ZSH), ("fish", FISH)])
def test_the_lines_of_the_readme_complete(
    shell: str, script: str, environment: dict[str, str], tmp_path: Path
):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed here")
    done = subprocess.run(
        [program, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["embed", "--layers"]
