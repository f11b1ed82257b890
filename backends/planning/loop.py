"""A run of operations that becomes one loop: what it can take in, and what each is to it."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

import numpy as np

from npnn.backends.operations.elementwise import Language, suits
from npnn.backends.recording.tracer import Node, key_of

REDUCTIONS = ("sum", "max", "min", "argmax")
STORES = ("setitem", "concat")  # they write into parts of an array


class Loop:
    """A run of operations that will be one loop over the rows and columns of `shape`."""

    language: Language
    dtypes: Set[str]

    def __init__(
        self,
        shape: tuple[int, ...],
        look: Callable[[Node], np.ndarray],
        passed_on: Callable[[Node], bool],
        carried: set[Node],
    ) -> None:
        self.shape, self.lead, self.columns = shape, shape[:-1], shape[-1]
        self.look = look  # how an argument lies in memory
        self.passed_on = passed_on  # whether one operation inside the step alone needs a value
        self.carried = carried  # the values that the step leaves in memory of its own
        self.flat = len(shape) == 1
        self.nested = False  # whether a loop over rows must be one for each axis
        self.nodes: list[Node] = []
        self.kind: dict[Node, str] = {}  # full, column, sum (over rows), total, scalar, store
        self.level: dict[Node, int] = {}

    def add(self, node: Node) -> bool:
        """Take `node` in, if it can be computed in this loop."""
        found = self._classify(node)
        if found is None:
            return False
        self.kind[node], self.level[node] = found
        self.nodes.append(node)
        lying = node.args[1:] if node.op == "setitem" else node.args
        outside = [arg for arg in lying if arg.shape == self.shape and arg not in self.kind]
        in_rows = all(self._in_rows(arg, (-1, self.columns)) for arg in outside)
        self.nested |= not in_rows or node.op in STORES
        return True

    def _classify(self, node: Node) -> tuple[str, int] | None:
        dtypes = {n.dtype.name for n in (node, *node.args)}
        if not dtypes <= self.dtypes:
            return None
        if node.op in REDUCTIONS:
            return self._classify_reduction(node)
        if node.op in STORES:
            return self._classify_store(node)
        if not self.language.knows(node.op) or not suits(node):
            return None
        if node.shape == self.shape:
            kind = "full"
        elif self.flat or not self.lead:
            return None
        elif node.shape in ((*self.lead, 1), self.lead):
            kind = "column"
        elif node.shape == ():
            kind = "scalar"
        else:
            return None
        level = 0
        for arg in node.args:
            given = self.argument_kind(arg, node)
            if given is None or (given == "full" and kind != "full"):
                return None
            if given in ("total", "scalar") and arg in self.kind and kind != "scalar":
                return None
            if kind == "scalar" and given not in ("total", "scalar"):
                return None
            if arg in self.kind and kind != "scalar":
                after = 1 if kind == "full" and given == "column" else 0
                level = max(level, self.level[arg] + after)
        return kind, level

    def _classify_reduction(self, node: Node) -> tuple[str, int] | None:
        x = node.args[0]
        counted = node.op == "sum" or x.dtype.kind == "f"
        if self.flat or not counted or (x.base in self.kind and x not in self.kind):
            return None
        last = len(x.shape) - 1
        axes = (last,) if node.op == "argmax" else node.attrs[0]
        if x.shape == self.shape and self.argument_kind(x, x) == "full":
            level = self.level.get(x, 0)
            if axes == (last,):
                return "column", level
            if node.op == "sum" and axes == tuple(range(last)):
                return "sum", level
            if node.op == "sum" and len(axes) == len(x.shape):
                return "total", level
        elif self.kind.get(x) == "column" and node.op == "sum" and len(axes) == len(x.shape):
            return "total", self.level[x]
        return None

    def _classify_store(self, node: Node) -> tuple[str, int] | None:
        values = stored(node)
        last = node.op == "setitem" or node.attrs[0] == len(node.shape) - 1
        if node.op == "concat" and all(value.view is not None for value in values):
            return None  # NumPy copies what is there already as fast
        if self.flat or not last or any(value.shape != self.shape for value in values):
            return None
        if any(value.dtype != node.dtype for value in values):
            return None
        if any(self.argument_kind(value, value) != "full" for value in values):
            return None
        if node.op == "setitem":
            old, (how, key) = node.args[0], node.attrs
            if how and not self.language.knows(how):
                return None
            if part_of(np.empty(node.shape), key).shape != self.shape:
                return None
            if old.base in self.kind and not self._follows(node):
                return None
        return "store", max(self.level.get(value, 0) for value in values)

    def _follows(self, node: Node) -> bool:
        """Return whether a store only adds to what others of this loop store, elsewhere."""
        old, (how, key) = node.args[0], node.attrs
        if how or self.kind.get(old) != "store" or node in self.carried:
            return False
        sample = np.empty(node.shape, np.bool)
        while old.op == "setitem" and old in self.kind:
            if not self.passed_on(old):
                return False
            parts = part_of(sample, key), part_of(sample, old.attrs[1])
            try:
                if np.shares_memory(*parts, max_work=1 << 12):  # type: ignore[arg-type]
                    return False
            except np.exceptions.TooHardError:
                return False
            old = old.args[0]
        return old not in self.kind

    def argument_kind(self, arg: Node, node: Node) -> str | None:
        """Return how `node` reads `arg`; None if no loop of this shape can."""
        if arg in self.kind:
            kind = self.kind[arg]
            # A row of numbers, one for each sample, would be read as one for each column.
            mixed = kind == "column" and arg.shape == self.lead and node.shape != self.lead
            return None if kind in ("sum", "store") or mixed else kind
        if arg.base in self.kind:
            return None
        if arg.size == 1 and len(arg.shape) <= len(node.shape):
            return "scalar"
        if arg.shape == self.shape:
            return None if self.flat and not self._in_rows(arg, (-1, self.columns)) else "full"
        if self.flat:
            return None
        if arg.shape == (*self.lead, 1) or (arg.shape == self.lead == node.shape):
            return "column" if self._in_rows(arg, (-1,)) else None
        ones = arg.shape[:-1]
        if arg.shape[-1:] == (self.columns,) and all(n == 1 for n in ones):
            return "row" if node.shape == self.shape else None
        return None

    def reads_in_time(self, user: Node, old: Node, node: Node) -> bool:
        """Return whether `user` reads each element of `old` before `node` writes over it."""
        if node.op == "setitem":
            return user is node and old is node.args[0] and node.args.count(old) == 1
        if user.op == "setitem" and old is user.args[0]:
            return False
        # It must be read in the turn in which it is written, or in an earlier loop of it.
        read, written = self.argument_kind(old, user), self.kind[node]
        same = read == written or {read, written} == {"scalar", "total"}
        return same and (written != "full" or self.level[user] <= self.level[node])

    def _in_rows(self, arg: Node, shape: tuple[int, ...]) -> bool:
        """Return whether an argument can be seen as rows and columns, whatever its axes."""
        if arg.view is None and arg.op != "leaf":
            return True
        array = self.look(arg)
        return np.may_share_memory(array, array.reshape(shape))


def stored(node: Node) -> tuple[Node, ...]:
    """Return the values that an operation writes into parts of an array."""
    return node.args[1:] if node.op == "setitem" else node.args


def part_of(array: np.ndarray, key: tuple[Any, ...]) -> np.ndarray:
    """Return the part of an array that a recorded index shows."""
    part: np.ndarray = array[key_of(key)]
    return part
