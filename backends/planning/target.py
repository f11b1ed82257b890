"""What a plan is made for: NumPy, unless a target does some of it its own way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from npnn.backends.operations.cut import Cut
from npnn.backends.operations.kind import Call, Memory
from npnn.backends.operations.kinds import kind_of
from npnn.backends.planning.draft import Draft
from npnn.backends.recording.node import Node


class Target:
    """Runs each operation by calls of NumPy's functions."""

    awake = False
    """Whether threads wait for each other awake."""
    turns = True
    """Whether a join of windows may lie with its last axis first."""

    cuts_sums = True
    """Whether few long sums of products are faster in parts."""

    def group(self, draft: Draft) -> None:
        """Find the operations that run as one, and what then needs no memory."""
        draft.groups = [[node] for node in draft.nodes]

    def memory(self, draft: Draft, nbytes: int) -> np.ndarray:
        """Return so many bytes for the values of a plan."""
        return np.empty(nbytes, np.uint8)

    def constant(self, node: Node) -> np.ndarray:
        """Return the array of a value that is the same in each step."""
        assert node.value is not None
        return node.value

    def calls(self, group: list[Node], memory: Memory) -> list[Call]:
        """Return the calls that do what a group of operations says."""
        return [call for node in group for call in kind_of(node).calls(memory, node)]

    def write(self, memory: Memory, array: np.ndarray, value: Node) -> list[Call]:
        """Return the calls that copy a value into an array that is carried."""
        return [(np.copyto, (array, memory.array(value)))]

    def joined(self, calls: Iterable[Call]) -> list[Call]:
        """Return calls that do the same as those, or fewer."""
        return list(calls)

    def without_lock(self, plan: Any, brought: Mapping[Node, Cut]) -> Any:
        """Return what runs all phases without the interpreter's lock; None if nothing does.

        Its attribute ``brought`` has for each input that it cuts what takes the array.
        """
        return None
