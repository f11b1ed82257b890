"""Kernels of the operations that are in no loop, of those that stand alone or go over any axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from npnn.backends import tuning
from npnn.backends.gpu.kernels import (
    WARP,
    Launch,
    Writer,
    expression,
    literal,
    reduction,
)
from npnn.backends.operations.kinds import kind_of
from npnn.backends.planning.loop import REDUCTIONS
from npnn.backends.recording.node import Node

if TYPE_CHECKING:
    from npnn.backends.gpu.cupy_plan import CupyPlan


def write_elementwise(plan: CupyPlan, node: Node) -> list[Launch]:
    """Return the launch of one elementwise operation, whatever the shapes."""
    return _elementwise(plan, node, plan.array(node), plan.array)


def _elementwise(
    plan: CupyPlan, node: Node, out: np.ndarray, array_of: Callable[[Node], np.ndarray]
) -> list[Launch]:
    if not out.size:
        return []
    writer = Writer(plan, out.shape)
    lines: list[str] = []
    values = [
        writer.load(lines, f"x{n}", array_of(arg))
        if arg.value is None or arg.size != 1
        else literal(arg.value)
        for n, arg in enumerate(node.args)
    ]
    value = expression(node, values)
    lines.append(f"{writer.element(out)} = {value};")
    return [writer.write_flat(lines)]


def write_copy(plan: CupyPlan, out: np.ndarray, x: np.ndarray) -> list[Launch]:
    """Return the launch that copies one array into another, which may be of another dtype."""
    return _of_arrays(plan, "astype", [x], out)


def write_calls(plan: CupyPlan, node: Node) -> list[Launch]:
    """Return the launches that do what NumPy's calls would: copies, and changes of parts."""
    launches: list[Launch] = []
    for function, arguments in kind_of(node).calls(plan, node):
        if function is np.copyto:
            launches += write_copy(plan, *arguments[:2])
        else:
            *given, out = arguments
            launches += _of_arrays(plan, function.__name__, given, out)
    return launches


def _of_arrays(plan: CupyPlan, op: str, given: list[np.ndarray], out: np.ndarray) -> list[Launch]:
    """Return the launch of an elementwise operation on arrays."""
    arrays = {Node("leaf", (), (), x.shape, x.dtype): x for x in given}
    node = Node(op, tuple(arrays), (), out.shape, out.dtype)
    return _elementwise(plan, node, out, arrays.__getitem__)


def write_take(plan: CupyPlan, node: Node) -> list[Launch]:
    """Return the launch that gathers rows by number; one out of range is the first or the last."""
    x, index = map(plan.array, node.args)
    axis, out = node.attrs[0], plan.array(node)
    if not out.size:
        return []
    # Seen in the shape of the result, each row begins where the first one does.
    strides = (*x.strides[:axis], *[0] * index.ndim, *x.strides[axis + 1 :])
    first = np.lib.stride_tricks.as_strided(x, out.shape, strides, writeable=False)
    index = index.reshape(index.shape + (1,) * (x.ndim - axis - 1))
    writer = Writer(plan, out.shape)
    writer.may_pack = False  # neighbours need not come from the same row
    lines: list[str] = []
    row = writer.load(lines, "row", index)
    step = x.strides[axis] // x.itemsize
    lines.append(
        f"const long long start = ({row} < 0 ? 0 : {row} < {x.shape[axis]} ? {row} : "
        f"{x.shape[axis] - 1}) * {step}LL;"
    )
    lines.append(f"{writer.element(out)} = (&{writer.element(first)})[start];")
    return [writer.write_flat(lines)]


def write_reduction(plan: CupyPlan, node: Node) -> list[Launch]:
    """Return the launch of a sum, or a largest or smallest value, over any axes."""
    x, out = plan.array(node.args[0]), plan.array(node)
    axes = (x.ndim - 1,) if node.op == "argmax" else node.attrs[0]
    if not out.size:
        return []
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    x = x.transpose(*kept, *axes)
    rows, columns = math.prod(x.shape[: len(kept)]), math.prod(x.shape[len(kept) :])
    lanes = min(WARP, 1 << max(0, columns - 1).bit_length())
    teams = tuning.FLAT_THREADS // lanes
    writer = Writer(plan, x.shape)
    number, target = int(writer.element(x).strip("@")), writer.whole(out.reshape(-1))
    index = writer.index_type()
    at = writer._coordinates(range(len(kept)), "i", index)
    below = writer._coordinates(range(len(kept), x.ndim), "j", index)
    place = " + ".join([*at.terms(x), *below.terms(x)]) or "0"
    value = f"a{number}[{place}]"
    # Integers have no infinity: theirs begin with the first of the row.
    first = f"inside ? {writer._place(number, at)} : 0" if x.dtype.kind != "f" else ""
    first = "" if node.op == "sum" else first
    start, add, end = reduction(node, "t", value, "j", index, first)
    lines = [
        f"const {index} i = blockIdx.x * ({index})TEAMS + threadIdx.y;",
        f"const bool inside = i < {rows};",
        *at.lines,
        *start,
        f"for ({index} j = threadIdx.x; inside && j < {columns}; j += LANES) {{",
        *below.lines,
        add,
        "}",
        end,
        f"if (inside && threadIdx.x == 0) {target}[i] = t;",
    ]
    return [writer.launch(lines, -(-rows // teams), lanes, teams)]


WRITE = {
    "where": write_elementwise, "take": write_take,
    **dict.fromkeys(("astype", "copy", "concat", "setitem"), write_calls),
    **dict.fromkeys(REDUCTIONS, write_reduction),
}  # fmt: skip
