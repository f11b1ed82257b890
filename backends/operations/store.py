"""Arrays with a part of them replaced, or changed by an elementwise operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.backends.operations.cut import Cut
from npnn.backends.operations.kind import Call, Kind, Memory
from npnn.backends.recording.node import Node, key_of

if TYPE_CHECKING:
    from npnn.backends.planning.loop import Loop


class Store(Kind):
    """What is stored goes into the array itself, unless somebody needs the old one.

    Its `attrs` are the name of the operation, empty where it replaces, and the index.
    """

    def flops(self, node: Node) -> int:
        return node.args[1].size if node.attrs[0] else 0

    def reads_for(self, node: Node, cut: Cut) -> dict[Node, Cut] | None:
        old, new = node.args
        key: tuple[Any, ...] = key_of(node.attrs[1])
        middle = key.index(...)
        left_out = len(old.shape) - len(key) + 1
        of_axes = (*key[:middle], *(slice(None),) * left_out, *key[middle + 1 :])
        if any(part is None or isinstance(part, int) for part in key):
            return None
        if of_axes[cut.axis] != slice(None):
            return None
        reads = {old: Cut(cut.axis, cut.at)}
        axis = cut.axis - len(old.shape) + len(new.shape)
        if axis >= 0 and new.shape[axis] == cut.at[-1] > 1:
            reads[new] = Cut(axis, cut.at)
        return None if old is new else reads

    def may_replace(self, node: Node) -> Sequence[Node]:
        return node.args[:1]

    def reads_in_time(self, node: Node, old: Node) -> bool:
        return node.args.count(old) == node.args[:1].count(old) == 1

    def calls(self, memory: Memory, node: Node) -> list[Call]:
        old, new = map(memory.array, node.args)
        out = memory.array(node)
        calls: list[Call] = [] if np.shares_memory(out, old) else [(np.copyto, (out, old))]
        how, key = node.attrs
        part = part_of(out, key)
        if how:
            return [*calls, (getattr(np, how), (part, new, part))]
        return [*calls, (np.copyto, (part, new, "unsafe"))]

    def in_loop(self, loop: Loop, node: Node) -> tuple[str, int] | None:
        (old, new), (how, key) = node.args, node.attrs
        if (how and not loop.language.knows(how)) or loop.flat or new.shape != loop.shape:
            return None
        if part_of(np.empty(node.shape), key).shape != loop.shape:
            return None
        if old.base in loop.kind and not self._follows(loop, node):
            return None
        return loop.stores((new,), node)

    def _follows(self, loop: Loop, node: Node) -> bool:
        """Return whether it only adds to what others of the loop store, elsewhere."""
        old, (how, key) = node.args[0], node.attrs
        if how or loop.kind.get(old) != "store" or node in loop.carried:
            return False
        sample = np.empty(node.shape, np.bool)
        while old.op == "setitem" and old in loop.kind:
            if not loop.passed_on(old):
                return False
            parts = part_of(sample, key), part_of(sample, old.attrs[1])
            try:
                if np.shares_memory(*parts, max_work=1 << 12):  # type: ignore[arg-type]
                    return False
            except np.exceptions.TooHardError:
                return False
            old = old.args[0]
        return old not in loop.kind


def part_of(array: np.ndarray, key: tuple[Any, ...]) -> np.ndarray:
    """Return the part of an array that a recorded index shows."""
    part: np.ndarray = array[key_of(key)]
    return part
