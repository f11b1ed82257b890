"""What the writing of a loop is made of in every language: its operations, one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from npnn.backends.operations.kind import Memory
from npnn.backends.operations.store import part_of
from npnn.backends.planning.loop import REDUCTIONS, STORES, Loop, stored
from npnn.backends.recording.node import Node


class Axes:
    """The axes longer than 1 of arrays of one shape, those together that lie in all as one."""

    def __init__(
        self,
        shape: Sequence[int],
        axes: Iterable[int],
        arrays: Sequence[np.ndarray],
        counter: str = "i",
    ) -> None:
        groups: list[list[int]] = []
        for axis in (axis for axis in axes if shape[axis] > 1):
            last = groups[-1][-1] if groups else None
            if last is not None and all(
                a.strides[last] == shape[axis] * a.strides[axis] for a in arrays
            ):
                groups[-1].append(axis)
            else:
                groups.append([axis])
        self.last = [group[-1] for group in groups]
        self.sizes = [math.prod(shape[axis] for axis in group) for group in groups]
        self.names = [f"{counter}{number}" for number in range(len(groups))]

    def steps(self, array: np.ndarray) -> list[int]:
        """Return how many elements lie between two neighbours along each."""
        return [array.strides[axis] // array.itemsize for axis in self.last]

    def terms(self, array: np.ndarray) -> list[str]:
        """Return the summands of the place of an element."""
        named = zip(self.names, self.steps(array), strict=True)
        return [times(name, step) for name, step in named if step]


def times(name: str, step: int) -> str:
    """Return the expression of a product."""
    return name if step == 1 else f"{name} * {step}"


class LoopWriter(Protocol):
    """Writes a loop, line by line; a language says how it writes each kind of line."""

    loop: Loop
    names: dict[Node, str]  # of what the loop makes
    memory: Memory
    inner: list[list[str]]  # for each level, what is done for each element,
    row_end: list[list[str]]  # and then for each row
    after: list[str]  # what is done once, after all
    copies: list[Any]  # what is done before

    end: str  # of a line

    # What a language does its own way ----------------------------------------------------------

    def value(self, arg: Node, user: Node, kind: str, level: int) -> str:
        """Return the expression of an argument of an operation, loaded if need be."""

    def element(self, array: np.ndarray) -> str:
        """Return the name of an element of an array of the loop's shape."""

    def expression(self, node: Node, values: list[str]) -> str:
        """Return the expression of an operation on these values."""

    def made(self, node: Node, expression: str) -> str:
        """Return the line that gives a value its name."""

    def reduce(self, node: Node) -> None:
        """Write a sum, or another reduction."""

    def store(self, node: Node, lines: list[str]) -> None:
        """Write what brings a value to memory, if it has a place there."""

    def copied(self, target: np.ndarray, array: np.ndarray) -> list[Any]:
        """Return what copies an array."""

    # What all languages have in common ---------------------------------------------------------

    def begin(self, loop: Loop, memory: Memory) -> None:
        """Have nothing written yet of a loop, whose arrays are in a memory."""
        self.loop, self.memory = loop, memory
        self.names = {node: f"t{number}" for number, node in enumerate(loop.nodes)}
        levels = range(max(loop.level.values()) + 1)
        self.inner, self.row_end = [[] for _ in levels], [[] for _ in levels]
        self.after, self.copies = [], []

    def write_operations(self) -> None:
        """Write all operations of the loop."""
        for node in self.loop.nodes:
            if node.op in REDUCTIONS:
                self.reduce(node)
            elif node.op in STORES:
                self._store_parts(node)
            else:
                kind, level = self.loop.kind[node], self.loop.level[node]
                values = [self.value(arg, node, kind, level) for arg in node.args]
                after = [self.after] * (level + 1)
                lines = {"full": self.inner, "column": self.row_end}.get(kind, after)[level]
                lines.append(self.made(node, self.expression(node, values)))
                self.store(node, lines)

    def parts(self, node: Node) -> list[np.ndarray]:
        """Return the parts of arrays that a store writes into."""
        out = self.memory.array(node)
        if node.op == "concat":
            return np.split(out, len(node.args), axis=-1)
        return [part_of(out, node.attrs[1])]

    def _store_parts(self, node: Node) -> None:
        level, out = self.loop.level[node], self.memory.array(node)
        places = [self.element(part) for part in self.parts(node)]
        values = [self.value(value, value, "full", level) for value in stored(node)]
        if node.op == "setitem":
            old, (how, _) = self.memory.array(node.args[0]), node.attrs
            inside, apart = node.args[0] in self.loop.kind, not np.shares_memory(out, old)
            assert not (inside and apart), f"{node} follows what lies elsewhere"
            # What is written over completely need not be copied first.
            chain = [n for n in self.loop.nodes if n.op == "setitem" and self._starts_at(n, node)]
            if apart and (how or sum(n.args[1].size for n in chain) < node.size):
                self.copies += self.copied(out, old)
            if how:
                change = Node(how, (node, node.args[1]), (), node.args[1].shape, node.dtype)
                values = [self.expression(change, [places[0], *values])]
        self.inner[level] += [f"{p} = {v}{self.end}" for p, v in zip(places, values, strict=True)]

    def _starts_at(self, node: Node, first: Node) -> bool:
        while node is not first and node.args[0] in self.loop.kind:
            node = node.args[0]
        return node is first
