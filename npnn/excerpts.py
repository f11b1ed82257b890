"""Parts of this package's own source, with all that they need, for a file that stands alone."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

PACKAGE = __name__.partition(".")[0]


class Module(NamedTuple):
    """The source of a module: what it defines at its top, and what it imports there."""

    lines: list[str]
    defined: dict[str, ast.stmt]
    imported: dict[str, tuple[str, str]]


class Excerpts:
    """Functions, classes and constants of this package, each once, after those it needs.

    Attributes
    ----------
    imports : set of str
        The lines that import what is not of this package.
    parts : list of str
        The sources, in an order in which they can be run.
    """

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self.parts: list[str] = []
        self._homes: dict[str, str] = {}

    def take(self, wanted: Any) -> str:
        """Take a function or a class along, and return its name."""
        self._take(wanted.__module__, wanted.__name__)
        return str(wanted.__name__)

    def _take(self, home: str, name: str) -> None:
        module = _module(home)
        if name not in module.defined:
            origin, original = module.imported[name]
            if origin.partition(".")[0] == PACKAGE:
                self._take(origin, original)
            elif original:
                self.imports.add(f"from {origin} import {original}")
            else:
                self.imports.add(f"import {origin}" + (f" as {name}" if name != origin else ""))
            return
        if name in self._homes:
            assert self._homes[name] == home, f"{name} is of {home} and of {self._homes[name]}"
            return
        self._homes[name] = home
        node = module.defined[name]
        for used in _names(node):
            if used in module.defined or used in module.imported:
                self._take(home, used)
        self.parts.append(_source(module.lines, node))


@functools.cache
def _module(name: str) -> Module:
    text = inspect.getsource(sys.modules[name])
    defined: dict[str, ast.stmt] = {}
    imported: dict[str, tuple[str, str]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined[node.name] = node
        elif isinstance(node, ast.Assign):
            defined |= {t.id: node for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined[node.target.id] = node
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported |= {a.asname or a.name: (node.module, a.name) for a in node.names}
        elif isinstance(node, ast.Import):
            imported |= {a.asname or a.name: (a.name, "") for a in node.names}
    return Module(text.splitlines(), defined, imported)


def _names(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement reads; those of its annotations are not read."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.Name):
                yield child.id
            elif isinstance(child, ast.AST):
                yield from _names(child)


def _source(lines: list[str], node: Any) -> str:
    """Return the lines of a statement, with its decorators and the comments above it."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(each.lineno for each in decorators)]) - 1
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return "\n".join(lines[first : node.end_lineno])
