"""Every example in a docstring runs and prints what it shows."""

import doctest
import importlib.util
import pkgutil
import warnings
from pathlib import Path

import matplotlib.pyplot
import pytest

import esmkit
from esmkit.encoder.checkpoints import FittedHeadWarning, OfflineCheckpointWarning
from esmkit.esm2 import Esm2
from oracles.commands import write_fasta

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = sorted(
    [module.name for module in pkgutil.walk_packages(esmkit.__path__, "esmkit.")] + ["esmkit"]
)
MODULES.remove("esmkit.__main__")  # runs the command


def examples(name: str) -> list[doctest.DocTest]:
    """The docstrings of a module that hold examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = finder.find(importlib.import_module(name), extraglobs={"esmkit": esmkit})
    return [test for test in found if test.examples]


def run(test: doctest.DocTest) -> int:
    """Run the examples that are not skipped, and return how many there were."""
    said: list[str] = []
    with matplotlib.rc_context():  # a style that an example sets is no other test's
        doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
    assert not said, "".join(said)
    return sum(not example.options.get(doctest.SKIP) for example in test.examples)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for test in examples(name):
        run(test)


def test_there_are_examples():
    """A finder that finds nothing would make every other test here pass."""
    found = [test for name in MODULES for test in examples(name)]
    every = [example for test in found for example in test.examples]
    skipped = [example for example in every if example.options.get(doctest.SKIP)]
    assert len(every) - len(skipped) >= 60
    broken = "def f():\n    '''\n    >>> 1 + 1\n    3\n    '''\n"
    names: dict[str, object] = {}
    exec(broken, names)
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2"):
        run(doctest.DocTestFinder().find(names["f"], "f", globs={})[0])


def has_skipped_examples(name: str) -> bool:
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None
    return "doctest: +SKIP" in Path(found.origin).read_text(encoding="utf-8")


NEED_WEIGHTS = [name for name in MODULES if has_skipped_examples(name)]


FEWER_CHAINS = {
    "esmkit.explorer.atlas.make": 12,
    "esmkit.heads.disulfides": 20,
    "esmkit.heads.masked_loss": 5,
    "esmkit.heads.replication": 24,
}
"""Examples that take a minute with all chains: they get the shortest, and print the same."""

FEWER_PROTEINS = {"esmkit.files.run_options", "esmkit.inside.to_file", "esmkit.results"}
"""Examples that run all demo proteins, one of 1,520 residues among them: they get the one they name."""


def test_there_are_examples_that_need_weights():
    assert len(NEED_WEIGHTS) >= 15
    assert FEWER_CHAINS.keys() | FEWER_PROTEINS <= set(NEED_WEIGHTS)


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("name", NEED_WEIGHTS)
def test_examples_that_need_weights_run_too(name: str, real: Esm2, tmp_path: Path, monkeypatch):
    """Those that are skipped elsewhere, with the real checkpoint."""
    tests = [t for t in examples(name) if any(e.options.get(doctest.SKIP) for e in t.examples)]
    assert tests
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(esmkit, "load", lambda *_, **__: real)
    if name in FEWER_CHAINS:
        for of in ("ts50", "replication"):
            few = sorted(getattr(esmkit.data, of)(), key=len)[: FEWER_CHAINS[name]]
            monkeypatch.setattr(esmkit.data, of, lambda few=few: few)
    if name in FEWER_PROTEINS:
        some = {p.header: p.sequence for p in esmkit.data.demo_proteins() if p.id == "P69905"}
        written = write_fasta(tmp_path / "demo.fasta", some)
        monkeypatch.setattr(esmkit.data, "demo_fasta", lambda: written)
    for test in tests:
        for example in test.examples:
            example.options.pop(doctest.SKIP, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OfflineCheckpointWarning)
            warnings.simplefilter("ignore", FittedHeadWarning)
            run(test)
        matplotlib.pyplot.close("all")
