"""Where threads divide an array: along which axis, and how that goes through an operation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from npnn.backends.recording.node import Node


class Cut(NamedTuple):
    """An axis, and the indices at which it is cut, from 0 to its length."""

    axis: int
    at: tuple[int, ...]

    def part(self, array: np.ndarray, thread: int) -> np.ndarray:
        """Return what one thread has of an array."""
        mine = slice(self.at[thread], self.at[thread + 1])
        part: np.ndarray = array[(*(slice(None),) * self.axis, mine)]
        return part

    def shape_of_part(self, shape: tuple[int, ...], thread: int) -> tuple[int, ...]:
        """Return the shape of a part of an array that is cut in proportion to this cut."""
        axis = outermost(shape)
        start, stop = (i * shape[axis] // self.at[-1] for i in self.at[thread : thread + 2])
        return *shape[:axis], stop - start, *shape[axis + 1 :]

    def in_proportion(self, axis: int, length: int) -> Cut | None:
        """Return the cut of an axis, maybe of another length, into parts as large as these are."""
        if not self.at[-1] or any(i * length % self.at[-1] for i in self.at):
            return None
        return Cut(axis, tuple(i * length // self.at[-1] for i in self.at))

    def read(
        self, axes: Iterable[tuple[Node, int]], *, may_repeat: bool = False
    ) -> dict[Node, Cut] | None:
        """Return what is read of each argument along such an axis; None if it cannot be cut so.

        An argument of length 1 there is the same for all, where it `may_repeat`.
        """
        reads: dict[Node, Cut] = {}
        for arg, axis in axes:
            if axis < 0 or (arg.shape[axis] == 1 and self.at[-1] != 1):
                if not may_repeat:
                    return None
                continue
            read = Cut(axis, self.at)
            if arg.shape[axis] != self.at[-1] or reads.setdefault(arg, read) != read:
                return None
        return reads


def outermost(shape: tuple[int, ...]) -> int:
    """Return the first axis that is not of length 1."""
    return next((axis for axis, n in enumerate(shape) if n != 1), 0)
