"""Every public name is documented: what it takes and gives, and an example that runs.

Public names are those that a room exports: ``__all__`` of each package and of the modules that
stand beside them, with the methods and properties of their classes. The examples themselves are
run by ``test_doctests.py``, those marked ``+SKIP`` with the real checkpoint.
"""

import functools
import importlib
import inspect
import pkgutil
import re
from typing import Any

import pytest

import esmkit

# What numpydoc's validation finds and a reader would miss. Its rules of taste (capitals, full
# stops, a summary of one line) are left to the eye.
MISTAKES = {
    "GL06": "unknown section",
    "GL07": "sections in another order",
    "GL08": "no docstring",
    "GL09": "deprecation in another place",
    "PR01": "parameters that are not described",
    "PR02": "parameters that do not exist",
    "PR03": "parameters in another order",
    "RT01": "no Returns",
    "YD01": "no Yields",
}

# Names without an example, and why. One dictionary a half of the rooms.
WITHOUT_EXAMPLE = {
    # errors, text, arguments, sequences, encoder, structure, reference, files, data, plots,
    # attention
    **{
        "esmkit.errors.ClosedFileError": "needs a file that a model has written",
        "esmkit.errors.FittedHeadWarning": "which head a model has depends on the weights at hand",
        "esmkit.errors.MissingDependencyError": "needs an environment without some package",
        "esmkit.errors.NonFiniteError": "needs weights whose numbers overflow",
        "esmkit.errors.OfflineCheckpointWarning": "which weights are used depends on the machine",
        "esmkit.errors.ResumeError": "needs a run that was stopped half-way",
        "esmkit.reference.training.train.Training": "a record; the example of train has one",
        "esmkit.reference.transformer.generation.Writing": "a record; that of generate has one",
        "esmkit.reference.transformer.tasks.Stretches": "a record; that of cut has one",
    },
    # embeddings, score, contacts, inside, heads, explorer, esm2, results, sklearn, the package
    **{
        "esmkit.embeddings.cluster.check.check_dataset": "needs what embed_dataset has written",
        "esmkit.embeddings.cluster.pipeline.embed_dataset": "starts a Ray cluster, which takes long",
        "esmkit.embeddings.cluster.merge.merge_dataset": "needs what embed_dataset has written",
        "esmkit.explorer.atlas.folder.FolderAtlas": "called by `esmkit heads` while it writes",
        "esmkit.explorer.atlas.folder.add_atlas": "needs a folder that takes minutes; in the help",
        "esmkit.heads.report.summary.write_report": "HeadProfile.save, which calls it, has one",
        "esmkit.inside.means.Means.value_for": "called by an edit whose value is means",
        "esmkit.inside.result.Trace.value_for": "called by an edit whose value is a run",
    },
}

ROOMS = sorted(
    {"esmkit"}
    | {
        module.name
        for module in pkgutil.walk_packages(esmkit.__path__, "esmkit.")
        if (module.ispkg or module.name.count(".") == 1)
        and not module.name.startswith("esmkit.cli")
        and "._" not in module.name
    }
)


def home_of(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def members(cls: type) -> dict[str, Any]:
    """The public methods and properties that a class itself defines."""
    kinds = (property, classmethod, staticmethod, functools.cached_property)
    return {
        name: value
        for name, value in vars(cls).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, kinds))
    }


def public_names(room: str) -> dict[str, Any]:
    """Functions and classes that a room exports, and what belongs to the classes, by full name."""
    module = importlib.import_module(room)
    found: dict[str, Any] = {}
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if not hasattr(value, "__qualname__") or not value.__module__.startswith("esmkit"):
            continue  # a constant, a module, or a name for a type
        found[home_of(value)] = value
        if inspect.isclass(value):
            for member, of_class in members(value).items():
                found[f"{home_of(value)}.{member}"] = of_class
    return found


def is_named(parameter: str, documentation: str) -> bool:
    return re.search(rf"\b{parameter}\b", documentation) is not None


def mistakes(name: str, value: Any) -> list[str]:
    """What numpydoc's validation says about one name, in the two forms that are in use here.

    The long form has sections. In the short form, without Parameters and Returns, the sentences
    name every parameter and begin with what is returned; a dataclass describes its parameters
    under Attributes.
    """
    from numpydoc.validate import validate

    documentation = inspect.getdoc(value) or ""
    is_short = not re.search(r"^(Parameters|Returns|Yields)\n-", documentation, re.MULTILINE)
    found: list[str] = []
    for code, message in validate(name)["errors"]:
        if code not in MISTAKES or (is_short and code in ("RT01", "YD01")):
            continue
        if code == "RT01" and "\nYields\n---" in documentation:
            continue  # a function that checks at the call and returns a generator
        if code == "PR01" and (is_short or inspect.isclass(value)):
            missing = re.findall(r"'\**(\w+)'", message)
            message = ", ".join(m for m in missing if not is_named(m, documentation))
            if not message:
                continue
        found.append(f"{name}: {MISTAKES[code]} ({message})")
    return found


def has_example(name: str, value: Any) -> bool:
    """Whether a name has an example of its own, or that of its class uses it."""
    if ">>>" in (getattr(value, "__doc__", None) or ""):
        return True
    module, _, member = name.rpartition(".")
    package, _, owner = module.rpartition(".")
    cls = getattr(importlib.import_module(package), owner, None) if package else None
    if not inspect.isclass(cls):
        return False
    texts = [cls.__doc__ or "", *(m.__doc__ or "" for m in members(cls).values())]
    examples = [line for text in texts for line in text.splitlines()]
    return any(
        re.match(r" *(>>>|\.\.\.)", line) and re.search(rf"\.{member}\b", line) for line in examples
    )


@pytest.mark.parametrize("room", ROOMS)
def test_parameters_and_returns_are_described(room: str):
    pytest.importorskip("numpydoc", reason="numpydoc, which validates docstrings, is missing")
    found = [m for name, value in public_names(room).items() for m in mistakes(name, value)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_have_an_example_or_a_reason(room: str):
    without = [
        name
        for name, value in public_names(room).items()
        if not has_example(name, value) and name not in WITHOUT_EXAMPLE
    ]
    assert not without, "\n".join(without)


def test_reasons_are_needed():
    """A name that has an example, or is gone, needs no reason."""
    every = {name: value for room in ROOMS for name, value in public_names(room).items()}
    assert len(every) > 450
    stale = [n for n in WITHOUT_EXAMPLE if n not in every or has_example(n, every[n])]
    assert not stale
    assert all(len(reason) > 20 for reason in WITHOUT_EXAMPLE.values())
