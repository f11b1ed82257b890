"""A run of operations that becomes one loop: what it can take in, and what each is to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

import numpy as np

from npnn.backends.operations.elementwise import Language
from npnn.backends.operations.kinds import kind_of
from npnn.backends.recording.node import Node

REDUCTIONS = ("sum", "max", "min", "argmax")
STORES = ("setitem", "concat")  # they write into parts of an array


class Loop:
    """A run of operations that will be one loop over the rows and columns of `shape`."""

    language: Language
    dtypes: Set[str]
    adds_up_when_flat = False  # whether an array of one axis, too, is summed up in it

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
        found = self.classify(node)
        if found is None:
            return False
        self.kind[node], self.level[node] = found
        self.nodes.append(node)
        lying = node.args[1:] if node.op == "setitem" else node.args
        outside = [arg for arg in lying if arg.shape == self.shape and arg not in self.kind]
        in_rows = all(self._in_rows(arg, (-1, self.columns)) for arg in outside)
        self.nested |= not in_rows or node.op in STORES
        return True

    def classify(self, node: Node) -> tuple[str, int] | None:
        """Return what an operation would be to the loop, and of which level; None if it cannot."""
        dtypes = {n.dtype.name for n in (node, *node.args)}
        return kind_of(node).in_loop(self, node) if dtypes <= self.dtypes else None

    def stores(self, values: Sequence[Node], node: Node) -> tuple[str, int] | None:
        """Return what an operation is that writes values of the loop's shape into an array."""
        if self.flat or any((v.shape, v.dtype) != (self.shape, node.dtype) for v in values):
            return None
        if any(self.argument_kind(value, value) != "full" for value in values):
            return None
        return "store", max(self.level.get(value, 0) for value in values)

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
