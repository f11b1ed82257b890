"""Rows by number."""

from __future__ import annotations

from npnn.backends.operations.cut import Cut
from npnn.backends.operations.kind import Call, Kind, Memory
from npnn.backends.recording.node import Node, Shape


def shape_of(x: Node, index: Node, axis: int) -> Shape:
    """Return the shape of what is gathered along an axis."""
    return *x.shape[:axis], *index.shape, *x.shape[axis + 1 :]


class Gather(Kind):
    """Rows by number: none made by training is out of range; of others, one may be.

    Those that a layer takes by numbers of its own are looked at by NumPy, which raises the error.
    """

    def reads_for(self, node: Node, cut: Cut) -> dict[Node, Cut] | None:
        x, index = node.args
        by_rows = node.attrs == (0, "clip") and cut.axis == 0 and len(index.shape) == 1
        return cut.read([(index, 0)]) if by_rows and index is not x else None

    def calls(self, memory: Memory, node: Node) -> list[Call]:
        x, index = map(memory.array, node.args)
        axis, mode = node.attrs
        return [(x.take, (index, axis, memory.array(node), mode))]
