"""What is asked of an operation by all that plan a step and run it; each kind answers for its own.

A kind says what an operation costs, how it goes with a cut among threads, what it may be written
over, how NumPy runs it, and how it becomes part of a loop. ``kinds.py`` names them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from npnn.backends.operations.cut import Cut
from npnn.backends.recording.node import Node

if TYPE_CHECKING:
    from npnn.backends.planning.draft import Draft
    from npnn.backends.planning.loop import Loop

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments; the last of a ufunc's is the array it writes to."""


class Memory(Protocol):
    """Where operations find their arrays: a plan, or the part of one that a thread works on."""

    draft: Draft

    def array(self, node: Node) -> np.ndarray:
        """Return the array that holds a value."""

    def scratch(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return memory that only the calls of one operation may use."""


class Kind:
    """An operation of which nothing is known; a view is such a one."""

    # What it costs -----------------------------------------------------------------------------

    def flops(self, node: Node) -> int:
        """Return the floating-point operations, a function counted as one."""
        return 0

    def cost(self, node: Node) -> float:
        """Return how many additions take as long as it does for one element of the result."""
        return 0.0

    # Among threads -----------------------------------------------------------------------------

    def reads_for(self, node: Node, cut: Cut) -> dict[Node, Cut] | None:
        """Return what is read of each argument for a cut of the result; None if it cannot be cut.

        An argument that is not named is read whole.
        """
        return None

    # In memory ---------------------------------------------------------------------------------

    def may_replace(self, node: Node) -> Sequence[Node]:
        """Return the arguments that it may be written over, the best one first."""
        return ()

    def reads_in_time(self, node: Node, old: Node) -> bool:
        """Return whether it reads each element of `old` just before it is written over."""
        return False

    # Running -----------------------------------------------------------------------------------

    def calls(self, memory: Memory, node: Node) -> list[Call]:
        """Return the calls of NumPy's functions that do it, in the way that proved the fastest."""
        raise NotImplementedError

    def in_loop(self, loop: Loop, node: Node) -> tuple[str, int] | None:
        """Return what it is to a loop, and of which level; None if the loop cannot take it in."""
        return None
