"""No option takes for its value what is none: the next option, or the FASTA."""

import importlib
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esmkit.cli import _COMMANDS
from esmkit.cli.values import Command, is_input


def commands() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name in _COMMANDS:
        command = importlib.import_module(f"esmkit.cli.{name}").command
        inner = dict(command.commands) if isinstance(command, click.Group) else {"": command}
        if getattr(command, "invoke_without_command", False):
            inner[""] = command
        found |= {f"{name} {key}".strip(): value for key, value in inner.items()}
    return found


def parse(name: str, *words: str) -> dict[str, object]:
    """Parse words as a command does, without carrying it out."""
    command = commands()[name]
    return command.make_context(name, list(words)).params


TAKING = {
    name: [
        option
        for option in command.params
        if isinstance(option, click.Option) and not option.is_flag and not option.count
    ]
    for name, command in commands().items()
}


@pytest.mark.parametrize("name", [name for name in TAKING if not name.startswith("weights")])
def test_no_option_of_any_command_takes_the_next_one(name: str):
    command = commands()[name]
    assert isinstance(command, Command)
    checked = 0
    for option in TAKING[name]:
        for word in option.opts:
            if getattr(option, "flag_value", None) in ("", "all"):
                given_without = parse(name, word, "--quiet")
                assert given_without["quiet"] is True
                continue
            with pytest.raises(click.UsageError) as caught:
                parse(name, word, "--quiet")
            assert str(caught.value) == (
                f"Option {word!r} requires an argument; '--quiet' is the next option."
            )
            checked += 1
    assert checked > 3


@given(
    before=st.lists(st.sampled_from(["a.fasta", "-", "b.fa.gz"]), max_size=2),
    after=st.lists(st.sampled_from(["c.faa", "d.FASTA"]), max_size=2),
    folder=st.sampled_from([None, "figures", "my/drawings", "seqs"]),
    name=st.sampled_from(["attention", "contacts predict"]),
    following=st.sampled_from([[], ["--heads", "L0H1"], ["-q"]]),
)
def test_plot_takes_a_folder_and_nothing_else(before, after, folder, name, following):
    words = [*before, "--plot", *[folder] * bool(folder), *after, *following]
    found = parse(name, *words)
    assert found["plot"] == (folder or "")
    assert found["fasta"] == (*before, *after)  # in the order in which they were given


def test_plot_of_files_folders_and_pipes_that_are_there(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("seqs").write_text(">P1\nMKV\n")
    Path("drawn.fasta").mkdir()
    assert parse("attention", "--plot", "seqs") | {"plot": "", "fasta": ("seqs",)} == parse(
        "attention", "--plot", "seqs"
    )
    assert parse("attention", "--plot", "drawn.fasta")["plot"] == "drawn.fasta"
    assert parse("attention", "--plot=any.fasta")["plot"] == "any.fasta"
    assert parse("contacts predict", "--plot", "--structure", "1ubi.pdb")["structures"] == (
        "1ubi.pdb",
    )
    assert is_input("/dev/null")
    assert not is_input("x" * 300)
    assert parse("attention", "--", "--plot")["fasta"] == ("--plot",)


@pytest.mark.parametrize(
    ("words", "reduce", "fasta"),
    [
        (["--reduce", "-o", "x.csv"], ("all",), ()),
        (["--reduce", "seqs.fasta"], ("all",), ("seqs.fasta",)),
        (["--reduce", "entropy,special", "seqs.fasta"], ("entropy", "special"), ("seqs.fasta",)),
        (["seqs.fasta", "--reduce"], ("all",), ("seqs.fasta",)),
        (["--reduce", "-"], ("all",), ("-",)),
        (["--reduce", "entropi", "seqs.fasta"], ("entropi",), ("seqs.fasta",)),  # refused later
        (["--reduce=all", "--quiet"], ("all",), ()),
    ],
)
def test_reduce_takes_reductions_and_nothing_else(words, reduce, fasta):
    found = parse("attention", *words)
    assert (found["reduce"], found["fasta"]) == (reduce, fasta)


def test_a_file_called_like_a_reduction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("entropy").write_text("")
    assert parse("attention", "--reduce", "entropy")["reduce"] == ("entropy",)


def test_a_format_names_the_file_it_makes(run, tiny_folder: Path, tmp_path: Path):
    (tmp_path / "seqs.fasta").write_text(">P1\nMKTAYIAKQR\n")
    model = ("--model", tiny_folder)
    done = run("attention", "--reduce", "--format", "tsv", "seqs.fasta", *model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seqs.attention.tsv").read_text().startswith("id\tlength\tlayer\thead\t")
    done = run("embed", "seqs.fasta", "-o", "x.csv", "--format", "h5", *model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "'x.csv' will hold HDF5, as was asked, although its name ends in .csv" in done.stderr
    done = run("attention", "x.csv", cwd=tmp_path)  # embeddings, by what the file holds
    assert "holds no attention maps of esmkit's" in done.stderr
    done = run("contacts", "seqs.fasta", "-o", "/dev/stdout", "--plot", "-q", *model, cwd=tmp_path)
    assert done.stdout.startswith("id\ti_number\t")
    assert (tmp_path / "seqs.contacts" / "P1.contacts.png").exists()


def test_an_empty_list_of_names_is_no_list(run):
    """As an empty variable of a shell gives it: ``--reduce`` would be left out without a word."""
    for option in ("--reduce", "--heads", "--plot-heads"):
        with pytest.raises(click.UsageError, match=f"{option}' has an empty value"):
            parse("attention", "x.fasta", f"{option}=")
        with pytest.raises(click.BadParameter, match="names nothing"):
            parse("attention", "x.fasta", f"{option}= , ")
