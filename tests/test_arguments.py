"""Odd values for every argument of the public functions: a result, or one sentence of esmkit's."""

import importlib
import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import esmkit
from esmkit.arguments import as_array, checked, what_is, whole_number
from esmkit.attention.summaries import summarize
from esmkit.data import demo_fasta
from esmkit.errors import EsmkitError, InputError, OptionError
from esmkit.sequences import clean_sequence, encode
from oracles.checkpoints import random_sequence
from oracles.commands import write_fasta

ODD: dict[str, Any] = {
    "None": None,
    "True": True,
    "1.5": 1.5,
    "nan": float("nan"),
    "-7": -7,
    "text": "x",
    "empty text": "",
    "bytes": b"x",
    "object": object(),
    "class": int,
    "list": [],
    "list of None": [None],
    "dict": {"a": 1},
    "NumPy number": np.int64(1),
    "array": np.array([1, 2]),
    "empty array": np.array([]),
    "table": np.zeros((2, 2)),
}

Call = tuple[Callable[..., Any], dict[str, Any]]


@pytest.fixture(scope="module")
def calls(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Call]:
    """Each function with arguments that it takes, from which one at a time is replaced."""
    folder = tmp_path_factory.mktemp("calls")
    sequence = random_sequence(12, 1)
    fasta = write_fasta(folder / "in.fasta", {"a": sequence})
    structure = esmkit.data.demo_structure()
    maps, contacts = tiny.attention(sequence), tiny.contacts(sequence)
    whole = tiny.contacts(structure)
    many = {"long": "window", "on_invalid": "error", "batch_tokens": 64, "progress": False}
    return {
        "embed": (tiny.embed, {"proteins": sequence, "layers": -1, "residues": True, **many}),
        "attention": (tiny.attention, {"proteins": sequence, "heads": None, "layers": 0, **many}),
        "contacts": (tiny.contacts, {"proteins": sequence, "head": None, "heads": None, **many}),
        "summarize": (summarize, {"model": tiny, "proteins": sequence, "reduce": ["entropy"], "heads": None}),
        "load": (
            lambda **o: esmkit.load(**o),
            {"model": tiny.checkpoint.folder, "device": "cpu", "dtype": "float32", "compiled": False, "tune": True, "say": print},
        ),
        "read_fasta": (
            lambda **o: list(esmkit.read_fasta(**o)),
            {"paths": fasta, "on_invalid": "error", "ids": None, "report": None},
        ),
        "read_structure": (esmkit.read_structure, {"path": structure.path, "chain": None, "model": None}),
        "read_structures": (
            lambda **o: list(esmkit.read_structures(**o)),
            {"folder": structure.path.parent, "model": None, "report": None},
        ),
        "read": (esmkit.read, {"path": fasta}),
        "EmbedOptions": (
            esmkit.EmbedOptions,
            {"layers": (1,), "per": "protein", "pool": "mean", "long": "window", "on_invalid": "error", "batch_tokens": 9},
        ),
        "AttentionOptions": (
            esmkit.AttentionOptions,
            {"heads": None, "layers": "all", "dtype": "float16", "reduce": (), "long": "window", "on_invalid": "error", "batch_tokens": 9},
        ),
        "Run": (esmkit.Run, {"force": False, "restart": False, "command": "", "progress": False, "say": print, "then": print}),
        "embed_file": (
            esmkit.embed_file,
            {"model": tiny, "sources": fasta, "output": folder / "fasta" / "x.h5", "options": esmkit.EmbedOptions(), "ids": None, "file_format": None, "run": esmkit.Run()},
        ),
        "attention_file": (
            esmkit.attention_file,
            {"model": tiny, "sources": fasta, "output": folder / "fasta" / "y.h5", "options": esmkit.AttentionOptions(), "run": esmkit.Run()},
        ),
        "contacts_file": (
            esmkit.contacts_file,
            {"model": tiny, "sources": fasta, "output": folder / "fasta" / "z.h5", "run": esmkit.Run()},
        ),
        "maps": (lambda name: maps[name], {"name": "L0H1"}),
        "maps.top": (maps.top, {"count": 3, "head": "L0H1", "min_separation": 0}),
        "maps.layer_mean": (maps.layer_mean, {"layer": 0}),
        "maps.plot": (maps.plot, {"head": "L0H1"}),
        "contacts.to_frame": (contacts.to_frame, {"min_separation": 6, "min_probability": 0.1}),
        "contacts.top": (contacts.top, {"count": 3, "min_separation": 6}),
        "contacts.score": (whole.score, {"structure": structure}),
        "contacts.plot": (whole.plot, {"structure": structure}),
        "Structure.contacts": (structure.contacts, {"cutoff": 8.0}),
        "encode": (encode, {"sequence": "MKT", "mask": ()}),
        "clean_sequence": (clean_sequence, {"sequence": "MKT", "record": "", "on_invalid": "error"}),
        "EsmEmbedder": (
            lambda X, **o: esmkit.EsmEmbedder(**o).fit_transform(X),
            {"X": [sequence], "model": tiny, "layer": -1, "pool": "mean", "long": "window", "on_invalid": "error", "device": "auto", "dtype": "float32", "compiled": None},
        ),
        "explore": (
            lambda **o: esmkit.explore(heads="L0H0", **o),
            {"model": tiny, "protein": sequence[:4], "structure": None, "profile": None, "max_bytes": 10**7},
        ),
    }  # fmt: skip


NAMES = [
    *("embed", "attention", "contacts", "summarize", "load", "read_fasta", "read_structure"),
    *("read_structures", "read", "EmbedOptions", "AttentionOptions", "Run", "embed_file"),
    *("attention_file", "contacts_file", "maps", "maps.top", "maps.layer_mean", "maps.plot"),
    *("contacts.to_frame", "contacts.top", "contacts.score", "contacts.plot"),
    *("Structure.contacts", "encode", "clean_sequence", "EsmEmbedder", "explore"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_odd_values(
    name: str, calls: dict[str, Call], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert list(calls) == NAMES
    call, options = calls[name]
    wrong, refused = [], 0
    for argument in options:
        for what, value in ODD.items():
            if name == "load" and argument == "model" and what == "text":
                continue  # the name of a model on the Hub, for which it is asked
            try:
                call(**{**options, argument: value})
            except EsmkitError as error:
                refused += 1
                if "\n" in str(error):
                    wrong.append(f"{argument}={what}: {error}")
            except Exception as error:
                wrong.append(f"{argument}={what}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)
    assert refused >= len(options)


def test_numbers_of_numpy_are_numbers(tiny: Any):
    sequence = random_sequence(12, 1)
    expected = tiny.embed(sequence, layers=[0, 2])
    for layers in (np.array([0, 2]), (np.int64(0), np.int32(2)), range(0, 3, 2), np.array([0, -1])):
        np.testing.assert_array_equal(tiny.embed(sequence, layers=layers).mean, expected.mean)
    for layer in (2, np.int64(2), np.uint8(2), np.array([2])):
        np.testing.assert_array_equal(tiny.embed(sequence, layers=layer).mean, expected.mean[1])
    for layers in (
        "last",
        6.0,
        True,
        np.True_,
        [True],
        ["0"],
        [0.0],
        np.array([0.5]),
        None,
        {0: 1},
    ):
        for method in (tiny.embed, tiny.attention):
            with pytest.raises(
                OptionError, match="layers are whole numbers, one or a list of them"
            ):
                method(sequence, layers=layers)
    assert tiny.embed(sequence, batch_tokens=np.int64(64)).id == "sequence_1"
    assert esmkit.EmbedOptions(layers=np.array([0, 2])).layers == (0, 2)  # type: ignore[arg-type]


def test_heads_are_names_or_pairs(tiny: Any):
    sequence = random_sequence(12, 1)
    expected = tiny.attention(sequence, heads=["L1H2", "L0H3"])
    for heads in ([(1, 2), (0, 3)], [(1, 2), "L0H3"], np.array([[1, 2], [0, 3]]), ("l1h2", "L0H3")):
        found = tiny.attention(sequence, heads=heads)
        assert found.heads == ("L0H3", "L1H2")
        np.testing.assert_array_equal(found.maps, expected.maps)
    for one in ((1, 2), np.array([1, 2]), "L1H2", [(np.int64(1), 2)]):
        assert tiny.attention(sequence, heads=one).heads == ("L1H2",)
        assert tiny.contacts(sequence, heads=one).source == "head L1H2"
    for pair in ((1, 2), (np.int64(1), np.int32(2)), np.array([1, 2])):
        np.testing.assert_array_equal(expected[pair], expected["L1H2"])
        assert set(expected.top(3, head=pair)["head"]) == {"L1H2"}
    np.testing.assert_array_equal(expected[1, 2], expected["L1H2"])
    for heads in (5, [5, 4], [1.5], [(1, 2, 3)], [(1.0, 2)], [(True, 0)], [None], [(1, -2)]):
        with pytest.raises(OptionError, match=r"pairs? .*\(5, 4\)"):
            tiny.attention(sequence, heads=heads)  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="there is no L1H9"):
        tiny.attention(sequence, heads=(1, 9))
    with pytest.raises(OptionError, match="head L0H0 is not here"):
        expected[0, 0]


def test_a_structure_is_its_path_too(tiny: Any, tmp_path: Path):
    structure = esmkit.data.demo_structure()
    contacts = tiny.contacts(structure)
    expected = contacts.score(structure)
    for path in (
        structure.path,
        str(structure.path),
        f"{structure.path}:A",
        Path(f"{structure.path}:A"),
    ):
        assert contacts.score(path).equals(expected)
        assert contacts.plot(path)
    with pytest.raises(InputError, match=r"there is no file 'x\.pdb'"):
        contacts.score("x.pdb")
    page = esmkit.explore(tiny, structure.protein, structure=str(structure.path), heads=(0, 1))
    assert page.data["structure"]["name"] == structure.id


def test_arrays_of_results(tiny: Any):
    sequence = random_sequence(12, 1)
    embedding, maps = tiny.embed(sequence), tiny.attention(sequence)
    contacts = tiny.contacts(sequence)
    for result, expected in (
        (embedding, embedding.mean),
        (maps, maps.maps),
        (contacts, contacts.probability),
    ):
        np.testing.assert_array_equal(np.asarray(result), expected)
        assert np.asarray(result, dtype=np.float64).dtype == np.float64
        copied = np.array(result)
        assert not np.shares_memory(copied, np.asarray(result))
        with pytest.raises(ValueError, match="copy"):
            np.asarray(result, dtype=np.float64, copy=False)
    assert np.shares_memory(np.asarray(contacts), contacts.probability)
    assert np.shares_memory(np.asarray(contacts, copy=False), contacts.probability)
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(maps, copy=False)


@given(st.integers(-(2**40), 2**40))
def test_whole_numbers(number: int):
    assert whole_number(number) == whole_number(np.int64(number)) == number
    assert whole_number(float(number)) is None
    assert whole_number([number]) is None
    assert what_is(number) == str(number)


def test_checked_shows_what_it_wraps():
    @checked
    def scale(
        count: int, factor: float = 1.0, *, name: "str | None" = None, names: list[str]
    ) -> float:
        """Scale."""
        return count * factor

    assert list(inspect.signature(scale).parameters) == ["count", "factor", "name", "names"]
    assert scale(np.int64(3), 2, names=["a"]) == 6  # type: ignore[arg-type]
    for options, message in (
        ({"count": 1.5}, r"^count of scale is a whole number, not 1\.5 \(a float\)$"),
        ({"factor": "x"}, "^factor of scale is a number, not 'x'$"),
        ({"factor": True}, "^factor of scale is a number, not True$"),
        ({"name": 3}, "^name of scale is text or None, not 3$"),
        ({"names": "a"}, "^names of scale is a list of text, not 'a'$"),
        ({"names": [None]}, "^names of scale is a list of text, not a list$"),
    ):
        with pytest.raises(OptionError, match=message):
            scale(**{"count": 1, "names": [], **options})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="missing a required argument: 'count'"):
        scale(names=[])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"scale\(\) got an unexpected keyword argument 'factors'"):
        scale(1, factors=2, names=[])  # type: ignore[call-arg]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_array(np.ones(2)) is not None


def test_files_are_looked_for_at_the_call(tmp_path: Path):
    for call in (esmkit.read_fasta, lambda path: esmkit.read_fasta([demo_fasta(), path])):
        with pytest.raises(InputError, match=r"there is no file 'nothing\.fasta'"):
            call("nothing.fasta")
        with pytest.raises(InputError, match="is a folder"):
            call(tmp_path)
    for ids, what in ((7, "7"), ({"a": 1}, "a dict"), (b"P1", "a bytes")):
        with pytest.raises(OptionError, match=f"^`ids` is a list of IDs, not {what}$"):
            esmkit.read_fasta(demo_fasta(), ids=ids)  # type: ignore[arg-type]
    with demo_fasta().open() as handle, pytest.raises(OptionError, match="a list of paths, not a"):
        esmkit.read_fasta(handle)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"^model of explore is an Encoder, not 'MKT'$"):
        esmkit.explore("MKT", "MKT")  # type: ignore[arg-type]


def test_the_transformer_has_a_module_of_its_name():
    module = importlib.import_module("esmkit.sklearn")
    assert module.EsmEmbedder is esmkit.EsmEmbedder
    assert esmkit.sklearn is module


def test_a_count_below_none_is_refused(tiny: Any):
    contacts = tiny.contacts(random_sequence(12, 1))
    assert contacts.top(0).empty
    with pytest.raises(OptionError, match=r"^count is at least 0, not -1$"):
        contacts.top(-1)
