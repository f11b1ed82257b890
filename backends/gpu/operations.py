"""Kernels of the operations that are in no loop, of those that stand alone or go over any axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from npnn.backends import tuning
from npnn.backends.gpu.kernels import (
    LONG,
    TYPES,
    WARP,
    Launch,
    Writer,
    expression,
    literal,
)
from npnn.backends.operations.join import joined_from
from npnn.backends.operations.store import part_of
from npnn.backends.recording.node import Node

if TYPE_CHECKING:
    from npnn.backends.gpu.cupy_plan import CupyPlan


def write_elementwise(plan: CupyPlan, node: Node) -> list[Launch]:
    """Return the launch of one elementwise operation, whatever the shapes."""
    constant = [arg.value if arg.size == 1 else None for arg in node.args]
    arrays = [plan.array(a) if c is None else c for a, c in zip(node.args, constant, strict=True)]
    return _elementwise(plan, node, plan.array(node), arrays, constant)


def _elementwise(
    plan: CupyPlan,
    node: Node,
    out: np.ndarray,
    arrays: list[np.ndarray],
    constant: list[np.ndarray | None] | None = None,
) -> list[Launch]:
    if not out.size:
        return []
    writer = Writer(plan, out.shape)
    lines: list[str] = []
    values = [
        writer.load(lines, f"x{n}", array) if c is None else literal(c)
        for n, (array, c) in enumerate(zip(arrays, constant or [None] * len(arrays), strict=True))
    ]
    value = expression(node, values)
    lines.append(f"{writer.element(out)} = {value};")
    return [writer.write_flat(lines)]


def write_copy(plan: CupyPlan, out: np.ndarray, x: np.ndarray) -> list[Launch]:
    """Return the launch that copies one array into another, which may be of another dtype."""
    node = Node("astype", (Node("leaf", (), (), x.shape, x.dtype),), (), out.shape, out.dtype)
    return _elementwise(plan, node, out, [x])


def write_reshaped(plan: CupyPlan, node: Node) -> list[Launch]:
    """Return the launch of a reshape that no view can show."""
    x = plan.array(node.args[0])
    return write_copy(plan, plan.array(node).reshape(x.shape), x)


def write_concat(plan: CupyPlan, node: Node) -> list[Launch]:
    """Return the launches of a join."""
    pairs = joined_from(plan, node)
    return [launch for target, x in pairs for launch in write_copy(plan, target, x)]


def write_setitem(plan: CupyPlan, node: Node) -> list[Launch]:
    """Return the launches that replace, or change, a part of an array."""
    old, new = map(plan.array, node.args)
    out = plan.array(node)
    launches = [] if np.shares_memory(out, old) else write_copy(plan, out, old)
    how, key = node.attrs
    part = part_of(out, key)
    if not how:
        return launches + write_copy(plan, part, new)
    change = Node(how, (node, node.args[1]), (), part.shape, node.dtype)
    return launches + _elementwise(plan, change, part, [part, new])


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
    ctype, given = TYPES[node.dtype.name], TYPES[x.dtype.name]
    number, target = int(writer.element(x).strip("@")), writer.whole(out.reshape(-1))
    index = writer.index_type()
    at = writer._coordinates(range(len(kept)), "i", index)
    below = writer._coordinates(range(len(kept), x.ndim), "j", index)
    place = " + ".join([*at.terms(x), *below.terms(x)]) or "0"
    value = f"a{number}[{place}]"
    limit = "-INFINITE" if node.op in ("max", "argmax") else "INFINITE"
    if x.dtype.kind != "f":
        limit = f"inside ? {writer._place(number, at)} : 0"  # the first of the row
    start = {"sum": [f"{ctype} t = 0;"], "argmax": [f"{given} best = {limit};"]}.get(
        node.op, [f"{ctype} t = {limit};"]
    )
    start += [f"{index} t = {LONG - 1};"] * (node.op == "argmax")
    add = {
        "sum": f"t += {value};",
        "max": f"t = larger<{ctype}>({value}, t);",
        "min": f"t = smaller<{ctype}>({value}, t);",
        "argmax": f"if (beats<{given}>({value}, j, best, t)) {{ best = {value}; t = j; }}",
    }[node.op]
    end = "best, t" if node.op == "argmax" else "t"
    lines = [
        f"const {index} i = blockIdx.x * ({index})TEAMS + threadIdx.y;",
        f"const bool inside = i < {rows};",
        *at.lines,
        *start,
        f"for ({index} j = threadIdx.x; inside && j < {columns}; j += LANES) {{",
        *below.lines,
        add,
        "}",
        f"t = team_{node.op}<LANES>({end});",
        f"if (inside && threadIdx.x == 0) {target}[i] = t;",
    ]
    return [writer.launch(lines, -(-rows // teams), lanes, teams)]


WRITE = {
    "astype": write_elementwise, "where": write_elementwise, "copy": write_reshaped,
    "sum": write_reduction, "max": write_reduction, "min": write_reduction,
    "argmax": write_reduction, "take": write_take, "concat": write_concat,
    "setitem": write_setitem,
}  # fmt: skip
