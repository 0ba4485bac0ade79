"""Walk through nested parameters: one function for every array of a network, whatever its shape.

A *tree* is an array, or a dataclass, dict, tuple or list of trees. What else stands in it (a number
of heads, None) belongs to the tree but is no parameter: it is left as it is.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from esmkit.errors import InputError
from esmkit.reference.encoder import Array

__all__ = ["parameter_count", "tree_arrays", "tree_map", "tree_replace"]

Tree = TypeVar("Tree")


def tree_map(function: Callable[..., Array], tree: Tree, *others: Any) -> Tree:
    """Apply a function to every array of a tree, with the arrays at the same places of others.

    Parameters
    ----------
    function : callable, takes one array of each tree and returns the new one
    tree : dataclass, dict, tuple or list of arrays, nested in any way
    *others : trees of the same form

    Returns
    -------
    A tree of the form of the first.

    Raises
    ------
    InputError
        If the trees differ in form.

    Examples
    --------
    >>> tree_map(lambda a, b: a + b, {"w": np.ones(2), "n": 3}, {"w": np.ones(2), "n": 3})
    {'w': array([2., 2.]), 'n': 3}
    """
    if isinstance(tree, np.ndarray):
        if not all(isinstance(other, np.ndarray) for other in others):
            raise InputError("the trees differ in form: one has an array where another has none")
        return function(tree, *others)
    parts = _parts(tree)
    if parts is None:
        return tree
    found = [_parts(other) for other in others]
    if any(other is None or other.keys() != parts.keys() for other in found):
        raise InputError(f"the trees differ in form: {type(tree).__name__} with {list(parts)}")
    new = {
        name: tree_map(function, part, *(o[name] for o in found if o))
        for name, part in parts.items()
    }
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return dataclasses.replace(tree, **new)
    return new if isinstance(tree, dict) else type(tree)(new.values())  # type: ignore[return-value]


def tree_arrays(tree: Any, name: str = "") -> dict[str, Array]:
    """Return every array of a tree by its name, such as ``layers.0.attention.query.weight``.

    Examples
    --------
    >>> list(tree_arrays({"a": [np.ones(1), np.ones(2)], "b": np.ones(3)}))
    ['a.0', 'a.1', 'b']
    """
    if isinstance(tree, np.ndarray):
        return {name: tree}
    found: dict[str, Array] = {}
    for part, inner in (_parts(tree) or {}).items():
        found |= tree_arrays(inner, f"{name}.{part}" if name else str(part))
    return found


def tree_replace(tree: Tree, name: str, array: Array) -> Tree:
    """Return a tree with another array at one place; the tree given stays as it is.

    Parameters
    ----------
    tree : dataclass, dict, tuple or list of arrays, nested in any way
    name : str
        As `tree_arrays` names it.
    array : array
        Of the shape of the one it replaces.

    Returns
    -------
    tree
        Of the form of the one given.

    Raises
    ------
    InputError
        If there is no such array, or the shape is another.

    Examples
    --------
    >>> tree_replace({"a": [np.zeros(2), np.zeros(1)]}, "a.1", np.ones(1))
    {'a': [array([0., 0.]), array([1.])]}
    """
    arrays = tree_arrays(tree)
    if name not in arrays:
        raise InputError(
            f"there is no array {name!r}; there are {', '.join(list(arrays)[:5])}, ..."
        )
    array = np.asarray(array)
    if array.shape != arrays[name].shape:
        raise InputError(f"{name} is of shape {arrays[name].shape}, not {array.shape}")
    new = iter((arrays | {name: array}).values())
    return tree_map(lambda _: next(new), tree)


def parameter_count(tree: Any) -> int:
    """Count the numbers in all arrays of a tree.

    >>> parameter_count({"weight": np.ones((3, 2)), "bias": np.ones(3)})
    9
    """
    return sum(array.size for array in tree_arrays(tree).values())


def _parts(tree: Any) -> dict[Any, Any] | None:
    """Return what a tree is made of, or None if it is a leaf."""
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    if isinstance(tree, dict):
        return tree
    if isinstance(tree, tuple | list):
        return dict(enumerate(tree))
    return None
