"""Sums, largest and smallest values over some axes, and the place of the largest in the last."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.backends.operations.cut import Cut, outermost
from npnn.backends.operations.kind import Call, Kind, Memory
from npnn.backends.recording.node import Node, Shape

if TYPE_CHECKING:
    from npnn.backends.planning.loop import Loop


def shape_of(x: Node, axis: Any, keepdims: bool) -> tuple[Shape, tuple[int, ...]]:
    """Return the shape of a reduction, and the axes that it goes over, in order."""
    axes = range(len(x.shape)) if axis is None else axis
    gone = tuple(sorted(np.lib.array_utils.normalize_axis_tuple(axes, len(x.shape))))
    shape = tuple(1 if i in gone else n for i, n in enumerate(x.shape) if keepdims or i not in gone)
    return shape, gone


class Reduction(Kind):
    """A reduction of an array over the axes in `attrs`, beside which stands whether they stay."""

    def flops(self, node: Node) -> int:
        return node.args[0].size

    def axes(self, node: Node) -> tuple[int, ...]:
        """Return the axes that it goes over."""
        axes: tuple[int, ...] = node.attrs[0]
        return axes

    def goes_along_rows(self, node: Node) -> bool:
        """Return whether what it goes over has its outermost axis still in the result."""
        return outermost(node.args[0].shape) not in self.axes(node)

    def reads_for(self, node: Node, cut: Cut) -> dict[Node, Cut] | None:
        (x,), (gone, keepdims) = node.args, node.attrs
        left = [axis for axis in range(len(x.shape)) if axis not in gone]
        return cut.read([(x, cut.axis if keepdims else left[cut.axis])])

    def in_loop(self, loop: Loop, node: Node) -> tuple[str, int] | None:
        x, axes = node.args[0], self.axes(node)
        if loop.flat:
            whole = node.op == "sum" and loop.adds_up_when_flat and x.shape == loop.shape
            return ("total", 0) if whole and loop.argument_kind(x, x) == "full" else None
        counted = node.op == "sum" or x.dtype.kind == "f"
        if not counted or (x.base in loop.kind and x not in loop.kind):
            return None
        last = len(x.shape) - 1
        if x.shape == loop.shape and loop.argument_kind(x, x) == "full":
            level = loop.level.get(x, 0)
            if axes == (last,):
                return "column", level
            if node.op == "sum" and axes == tuple(range(last)):
                return "sum", level
            if node.op == "sum" and len(axes) == len(x.shape):
                return "total", level
        elif loop.kind.get(x) == "column" and node.op == "sum" and len(axes) == len(x.shape):
            return "total", loop.level[x]
        return None


class Sum(Reduction):
    """A sum; over whole rows or columns as a product with ones, three times as fast."""

    def calls(self, memory: Memory, node: Node) -> list[Call]:
        x, out = memory.array(node.args[0]), memory.array(node)
        axes, keepdims = node.attrs
        if x.dtype.kind == "f" and x.flags.c_contiguous and x.ndim and x.size:
            count = math.prod(x.shape[axis] for axis in axes)
            if axes == tuple(range(len(axes))) and x.ndim > len(axes):
                return [(np.ones(count, x.dtype).dot, (x.reshape(count, -1), out.reshape(-1)))]
            if axes == (x.ndim - 1,):
                return [(x.reshape(-1, count).dot, (np.ones(count, x.dtype), out.reshape(-1)))]
            if len(axes) == x.ndim and count <= 4096:
                return [(x.reshape(-1).dot, (np.ones(count, x.dtype), out.reshape(())))]
        return [(np.add.reduce, (x, axes, None, out, keepdims))]


class Extremum(Reduction):
    """A largest or smallest value; over a few columns, column by column."""

    def __init__(self, ufunc: np.ufunc) -> None:
        self.ufunc = ufunc

    def calls(self, memory: Memory, node: Node) -> list[Call]:
        x, out = memory.array(node.args[0]), memory.array(node)
        axes, keepdims = node.attrs
        if axes == (x.ndim - 1,) and 2 <= x.shape[-1] <= 8:
            columns = [x[..., i] for i in range(x.shape[-1])]
            first = out.reshape(columns[0].shape)
            calls: list[Call] = [(self.ufunc, (columns[0], columns[1], first))]
            return calls + [(self.ufunc, (first, column, first)) for column in columns[2:]]
        return [(self.ufunc.reduce, (x, axes, None, out, keepdims))]


class Argmax(Reduction):
    """The place of the largest value in the last axis."""

    def axes(self, node: Node) -> tuple[int, ...]:
        return (len(node.args[0].shape) - 1,)

    def goes_along_rows(self, node: Node) -> bool:
        return True

    def reads_for(self, node: Node, cut: Cut) -> dict[Node, Cut] | None:
        return cut.read([(node.args[0], cut.axis)])

    def calls(self, memory: Memory, node: Node) -> list[Call]:
        return [(memory.array(node.args[0]).argmax, (-1, memory.array(node)))]
