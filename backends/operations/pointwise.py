"""Operations of which each element comes from one element of each argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from npnn.backends import tuning
from npnn.backends.operations.cut import Cut, outermost
from npnn.backends.operations.elementwise import OPERATIONS, suits
from npnn.backends.operations.kind import Call, Kind, Memory
from npnn.backends.recording.node import Node

if TYPE_CHECKING:
    from npnn.backends.planning.loop import Loop

_ONE = np.array(1, np.int8)


class Pointwise(Kind):
    """Any elementwise operation of NumPy's own."""

    def flops(self, node: Node) -> int:
        return node.size * (self.cost(node) > 0)

    def cost(self, node: Node) -> float:
        known = OPERATIONS.get(node.op)
        return 1.0 if known is None else known.cost

    def reads_for(self, node: Node, cut: Cut) -> dict[Node, Cut] | None:
        ahead = len(node.shape) - cut.axis
        return cut.read([(arg, len(arg.shape) - ahead) for arg in node.args], may_repeat=True)

    def may_replace(self, node: Node) -> Sequence[Node]:
        # A few bytes more cost less than NumPy's look at whether the arrays overlap.
        return node.args[::-1] if node.nbytes > tuning.SMALL else ()

    def reads_in_time(self, node: Node, old: Node) -> bool:
        return True

    def calls(self, memory: Memory, node: Node) -> list[Call]:
        arrays = [memory.array(n) for n in (*node.args, node)]
        if node.shape == ():
            arrays = [a.reshape(1) for a in arrays]  # half the overhead of no axes at all
        seen = _of_one_shape if node.size <= tuning.GATHERED else _in_long_rows
        start, arrays = seen(memory, node, arrays)
        return [*start, (getattr(np, node.op), tuple(arrays))]

    def in_loop(self, loop: Loop, node: Node) -> tuple[str, int] | None:
        if not loop.language.knows(node.op) or not suits(node):
            return None
        if node.shape == loop.shape:
            kind = "full"
        elif loop.flat or not loop.lead:
            return None
        elif node.shape in ((*loop.lead, 1), loop.lead):
            kind = "column"
        elif node.shape == ():
            kind = "scalar"
        else:
            return None
        level = 0
        for arg in node.args:
            given = loop.argument_kind(arg, node)
            if given is None or (given == "full" and kind != "full"):
                return None
            if given in ("total", "scalar") and arg in loop.kind and kind != "scalar":
                return None
            if kind == "scalar" and given not in ("total", "scalar"):
                return None
            if arg in loop.kind and kind != "scalar":
                after = 1 if kind == "full" and given == "column" else 0
                level = max(level, loop.level[arg] + after)
        return kind, level


def _of_one_shape(
    memory: Memory, node: Node, arrays: list[np.ndarray]
) -> tuple[list[Call], list[np.ndarray]]:
    """Return the arrays with a row or a column repeated to the shape of the others.

    For few elements, to gather them by number takes half of what NumPy needs to prepare itself for
    arrays of several shapes.
    """
    out = arrays[-1]
    short = [i for i, a in enumerate(arrays) if a.size != 1 and a.shape != out.shape]
    if len(short) != 1 or not all(a.flags.c_contiguous for a in arrays):
        return [], arrays
    row = arrays[short[0]]
    numbers = np.broadcast_to(np.arange(row.size).reshape(row.shape), out.shape).copy()
    whole = memory.scratch(out.shape, row.dtype)
    seen = [whole if i in short else a for i, a in enumerate(arrays)]
    return [(row.take, (numbers, None, whole, "clip"))], seen


def _in_long_rows(
    memory: Memory, node: Node, arrays: list[np.ndarray]
) -> tuple[list[Call], list[np.ndarray]]:
    """Return the arrays seen as longer rows, where rows are so short that their number decides.

    A bias for a few channels is repeated, and so is the number of ``maximum(x, 0)``: NumPy has no
    vector instructions for a largest value of an array and a number.
    """
    out = arrays[-1]
    short = [i for i, a in enumerate(arrays[:-1]) if a.shape != out.shape]
    others = [a for i, a in enumerate(arrays) if i not in short]
    if not out.size or len(short) != 1 or not all(a.flags.c_contiguous for a in others):
        return [], arrays
    row = arrays[short[0]]
    number = row.size == 1 and node.op in ("maximum", "minimum")
    whole = row.shape[-1:] == (row.size,) == out.shape[-1:]  # not a column of as many
    if not number and (row.size == 1 or row.size > tuning.ROW // 8 or not whole):
        return [], arrays
    count = out.size // row.size
    times = max(n for n in range(1, min(count, tuning.ROW // row.size) + 1) if count % n == 0)
    if times < 8 or count // times < 2:
        return [], arrays
    constant = node.args[short[0]].value is not None
    shape = times, row.size
    longer = np.empty(shape, row.dtype) if constant else memory.scratch(shape, row.dtype)
    longer[...] = row.reshape(-1)
    arrays = [longer.reshape(-1) if i in short else a for i, a in enumerate(arrays)]
    seen = [a if i in short else a.reshape(-1, longer.size) for i, a in enumerate(arrays)]
    return [] if constant else [(np.copyto, (longer, row.reshape(-1)))], seen


class Cast(Pointwise):
    """A change of dtype."""

    def calls(self, memory: Memory, node: Node) -> list[Call]:
        return [(np.copyto, (memory.array(node), memory.array(node.args[0]), "unsafe"))]


class Choice(Pointwise):
    """A choice between two values, by bit masks; few elements are put in one by one."""

    def may_replace(self, node: Node) -> Sequence[Node]:
        return node.args[::-1]  # it saves a copy of the rest

    def reads_in_time(self, node: Node, old: Node) -> bool:
        # It takes several calls, which only one argument outlives.
        return node.args.count(old) == node.args[1:].count(old) == 1

    def calls(self, memory: Memory, node: Node) -> list[Call]:
        condition, a, b = map(memory.array, node.args)
        out = memory.array(node)
        over_a = np.shares_memory(out, a)
        value = node.args[2].value
        or_zero = value is not None and not value.tobytes().strip(b"\0")
        few = node.size <= (tuning.FEW if or_zero else tuning.ROW)
        if few or node.dtype.itemsize not in (4, 8):
            if over_a:
                inverse = memory.scratch(condition.shape, np.bool)
                return [(np.logical_not, (condition, inverse)), _put(out, b, inverse)]
            start: list[Call] = [] if np.shares_memory(out, b) else [(np.copyto, (out, b))]
            return [*start, _put(out, a, condition)]
        bits = np.dtype(f"i{node.dtype.itemsize}")
        mask = memory.scratch(condition.shape, bits)
        a, b, out = a.view(bits), b.view(bits), out.view(bits)
        if or_zero:
            # Bits times one or zero: what a float would make of an infinity, an integer does not.
            return [(np.copyto, (mask, condition)), (np.multiply, (a, mask, out))]
        # True as -1, all bits set, where the value that is kept in `out` shall be replaced.
        signs = condition.view(np.int8)
        mine, other = (b, a) if np.shares_memory(out, b) else (a, b)
        start = [(np.subtract, (signs, _ONE, mask)) if mine is b else (np.negative, (signs, mask))]
        return [
            *start,
            (np.bitwise_xor, (mine, other, out)),
            (np.bitwise_and, (out, mask, out)),
            (np.bitwise_xor, (out, other, out)),
        ]


def _put(out: np.ndarray, x: np.ndarray, where: np.ndarray) -> Call:
    if out.flags.c_contiguous and where.shape == out.shape and x.shape in (out.shape, ()):
        return np.putmask, (out, where, x)  # half the overhead
    return np.copyto, (out, x, "same_kind", where)


class Move(Pointwise):
    """A copy: a reshape that no view can show, or an old value that is kept."""

    def reads_for(self, node: Node, cut: Cut) -> dict[Node, Cut] | None:
        (x,) = node.args
        axis = outermost(x.shape)
        read = cut.in_proportion(axis, x.shape[axis]) if cut.axis == outermost(node.shape) else None
        return None if read is None else {x: read}

    def may_replace(self, node: Node) -> Sequence[Node]:
        return ()

    def reads_in_time(self, node: Node, old: Node) -> bool:
        return False

    def calls(self, memory: Memory, node: Node) -> list[Call]:
        x = memory.array(node.args[0])
        return [(np.copyto, (memory.array(node).reshape(x.shape), x))]
