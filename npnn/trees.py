"""Arrays in nested dicts, lists and tuples: what comes in, and what a step takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

Tree: TypeAlias = Any
"""A leaf, or a dict, list or tuple of trees."""

Path = tuple[str | int, ...]


def mapped(tree: Tree, function: Callable[[Any], Any]) -> Tree:
    """Return a tree with a function of each leaf in its place."""
    if isinstance(tree, dict):
        return {key: mapped(value, function) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)([mapped(value, function) for value in tree])
    return function(tree)


def leaves(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the path and the value of each leaf."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, (list, tuple)):
        for index, value in enumerate(tree):
            yield from leaves(value, (*path, index))
    else:
        yield path, tree


def len_of(tree: Tree) -> int:
    """Return the number of samples that arrays hold."""
    return int(first(tree).shape[0])


def first(tree: Tree) -> Any:
    """Return the first leaf."""
    while isinstance(tree, (dict, list, tuple)):
        tree = next(iter(tree.values())) if isinstance(tree, dict) else tree[0]
    return tree


def place(path: Path) -> str:
    """Return how a person would write the path of a leaf, such as ``['image'][0]``."""
    return "".join(f"[{part!r}]" for part in path)
