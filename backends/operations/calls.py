"""How each operation of a plan runs: as calls of NumPy's functions that write into its place.

Each is a function ``(memory, node) -> calls``; the table :data:`RUN` names it. A ufunc needs no
entry. Most do what the name says, in the way that a profile showed to be the fastest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from npnn.backends import tuning
from npnn.backends.operations.elementwise import OPERATIONS
from npnn.backends.recording.tracer import Node, key_of

if TYPE_CHECKING:
    from npnn.backends.planning.draft import Draft

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments; the last of a ufunc's is the array it writes to."""
_ONE = np.array(1, np.int8)


class Memory(Protocol):
    """Where operations find their arrays: a plan, or the part of one that a thread works on."""

    draft: Draft

    def array(self, node: Node) -> np.ndarray:
        """Return the array that holds a value."""

    def scratch(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return memory that only the calls of one operation may use."""


def flops(node: Node) -> int:
    """Return the floating-point operations of one operation, a function counted as one."""
    if node.op == "matmul":
        return 2 * node.size * node.args[0].shape[-1]
    if node.op in ("sum", "max", "min", "argmax"):
        return node.args[0].size
    if node.op == "setitem":
        return node.args[1].size if node.attrs[0] else 0
    return node.size * (cost_of(node) > 0)


def cost_of(node: Node) -> float:
    """Return how many additions take as long as an operation does for one element."""
    known = OPERATIONS.get(node.op)
    return float(node.elementwise) if known is None else known.cost


def scratch_bytes(node: Node) -> int:
    """Return how much memory the calls of an operation need among themselves."""
    if node.op == "where":
        return node.nbytes
    return node.nbytes * _parts_of_sum(node) if node.op == "matmul" else tuning.ROW * 8


def run_ufunc(memory: Memory, node: Node) -> list[Call]:
    """Any elementwise operation of NumPy's own."""
    arrays = [memory.array(n) for n in (*node.args, node)]
    if node.shape == ():
        arrays = [a.reshape(1) for a in arrays]  # half the overhead of no axes at all
    seen = _of_one_shape if node.size <= tuning.GATHERED else _in_long_rows
    start, arrays = seen(memory, node, arrays)
    return [*start, (getattr(np, node.op), tuple(arrays))]


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


def run_where(memory: Memory, node: Node) -> list[Call]:
    """A choice, by bit masks; few elements are put in one by one."""
    condition, a, b = map(memory.array, node.args)
    out = memory.array(node)
    over_a = np.shares_memory(out, a)
    value = node.args[2].value
    or_zero = value is not None and not value.tobytes().strip(b"\0")
    if node.size <= (tuning.FEW if or_zero else tuning.ROW) or node.dtype.itemsize not in (4, 8):
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
    turn: Call = (np.subtract, (signs, _ONE, mask)) if mine is b else (np.negative, (signs, mask))
    return [
        turn,
        (np.bitwise_xor, (mine, other, out)),
        (np.bitwise_and, (out, mask, out)),
        (np.bitwise_xor, (out, other, out)),
    ]


def _put(out: np.ndarray, x: np.ndarray, where: np.ndarray) -> Call:
    if out.flags.c_contiguous and where.shape == out.shape and x.shape in (out.shape, ()):
        return np.putmask, (out, where, x)  # half the overhead
    return np.copyto, (out, x, "same_kind", where)


def run_astype(memory: Memory, node: Node) -> list[Call]:
    """A change of dtype."""
    return [(np.copyto, (memory.array(node), memory.array(node.args[0]), "unsafe"))]


def run_copy(memory: Memory, node: Node) -> list[Call]:
    """A reshape that no view can show."""
    x = memory.array(node.args[0])
    return [(np.copyto, (memory.array(node).reshape(x.shape), x))]


def run_matmul(memory: Memory, node: Node) -> list[Call]:
    """A product; of two matrices by ``dot``, which costs a third of matmul's overhead."""
    a, b = map(memory.array, node.args)
    out = memory.array(node)
    while a.ndim == b.ndim > 2 and a.shape[0] == b.shape[0] == 1:
        a, b, out = a[0], b[0], out[0]
    if a.ndim > 2 and b.ndim == 2 and a.flags.c_contiguous:
        a, out = a.reshape(-1, a.shape[-1]), out.reshape(-1, out.shape[-1])
    if a.ndim != 2 or b.ndim != 2:
        return [(np.matmul, (a, b, out))]
    parts = _parts_of_sum(node)
    if parts > 1:
        a, b = a.T.reshape(parts, -1, len(a)).mT, b.reshape(parts, -1, b.shape[1])
        if not b.flags.c_contiguous:
            a, b, out = b.mT, a.mT, out.T
        several = memory.scratch((parts, *out.shape), out.dtype)
        return [(np.matmul, (a, b, several)), (np.add.reduce, (several, 0, None, out))]
    if not (a.flags.forc and b.flags.forc and out.flags.c_contiguous):
        # Of parts of larger matrices, dot would make copies, and it writes into none.
        return [(np.matmul, (a, b, out))]
    if a.size > b.size and not a.flags.c_contiguous and node.args[0].base in memory.draft.turned:
        parts = _parts(len(a))
        a, out = a.reshape(parts, -1, a.shape[1]), out.reshape(parts, -1, out.shape[1])
        return [(np.matmul, (a, b, out))]
    return [(a.dot, (b, out))]


def _parts_of_sum(product: Node) -> int:
    """Return into how many sums to cut each sum of a product: OpenBLAS is slow at few long ones."""
    length = product.args[0].shape[-1]
    return _parts(length) if product.size <= tuning.ROW * 4 <= length else 1


def _parts(length: int) -> int:
    """Return into how many equal parts of about the length of a row to cut a length."""
    most = max(1, 2 * length // tuning.ROW)
    return max(n for n in range(1, most + 1) if length % n == 0)


def run_sum(memory: Memory, node: Node) -> list[Call]:
    """A sum; over whole rows or columns as a product with ones, three times as fast."""
    x, out = memory.array(node.args[0]), memory.array(node)
    axes, keepdims = node.attrs
    if x.dtype.kind == "f" and x.flags.c_contiguous and x.ndim and x.size:
        count = math.prod(x.shape[axis] for axis in axes)
        if axes == tuple(range(len(axes))) and x.ndim > len(axes):
            return [(_ones(count, x.dtype).dot, (x.reshape(count, -1), out.reshape(-1)))]
        if axes == (x.ndim - 1,):
            return [(x.reshape(-1, count).dot, (_ones(count, x.dtype), out.reshape(-1)))]
        if len(axes) == x.ndim and count <= 4096:
            return [(x.reshape(-1).dot, (_ones(count, x.dtype), out.reshape(())))]
    return [(np.add.reduce, (x, axes, None, out, keepdims))]


def _ones(count: int, dtype: Any) -> np.ndarray:
    return np.ones(count, dtype)


def _run_extremum(ufunc: np.ufunc) -> Callable[[Memory, Node], list[Call]]:
    def run(memory: Memory, node: Node) -> list[Call]:
        """A largest or smallest value; over a few columns, column by column."""
        x, out = memory.array(node.args[0]), memory.array(node)
        axes, keepdims = node.attrs
        if axes == (x.ndim - 1,) and 2 <= x.shape[-1] <= 8:
            columns = [x[..., i] for i in range(x.shape[-1])]
            first = out.reshape(columns[0].shape)
            calls: list[Call] = [(ufunc, (columns[0], columns[1], first))]
            return calls + [(ufunc, (first, column, first)) for column in columns[2:]]
        return [(ufunc.reduce, (x, axes, None, out, keepdims))]

    return run


def run_argmax(memory: Memory, node: Node) -> list[Call]:
    """The place of the largest value in the last axis."""
    return [(memory.array(node.args[0]).argmax, (-1, memory.array(node)))]


def run_take(memory: Memory, node: Node) -> list[Call]:
    """Rows by number; the numbers were made by training, none is out of range."""
    x, index = map(memory.array, node.args)
    return [(x.take, (index, node.attrs[0], memory.array(node), "clip"))]


def run_concat(memory: Memory, node: Node) -> list[Call]:
    """A join."""
    return [(np.copyto, pair) for pair in joined_from(memory, node)]


def joined_from(memory: Memory, node: Node) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the parts of a join, and what is copied to each; some were computed in their place."""
    axis, out = node.attrs[0], memory.array(node)
    arrays = [memory.array(part) for part in node.args]
    windows = _as_windows(arrays) if joins_windows(node) else None
    if windows is not None:
        return [(_split(out, windows.shape), windows)]
    starts = np.cumsum([0, *(part.shape[axis] for part in node.args)]).tolist()
    return [
        (out[(slice(None),) * axis + (slice(start, stop),)], array)
        for part, array, start, stop in zip(node.args, arrays, starts, starts[1:], strict=False)
        if memory.draft.parts.get(part.base, (None, -1)) != (node, start)
    ]


def joins_windows(join: Node) -> bool:
    """Return whether parts of one array, of one shape, are joined along the last axis."""
    same = {(part.base, part.shape, part.view is None) for part in join.args}
    last = join.attrs[0] == len(join.shape) - 1 > 0
    return len(same) == 1 and last and join.args[0].view is not None and join.size > tuning.FEW


def _as_windows(parts: list[np.ndarray]) -> np.ndarray | None:
    """Return parts that lie a step apart, or on a grid, as one array with two axes for them."""
    starts = [part.__array_interface__["data"][0] for part in parts]
    offsets = [start - starts[0] for start in starts]
    step = offsets[1] if len(parts) > 1 else 0
    across = next((n for n, offset in enumerate(offsets) if offset != n * step), len(parts))
    down, rest = divmod(len(parts), across)
    below = offsets[across] if down > 1 else 0
    grid = [i * below + j * step for i in range(down) for j in range(across)]
    if rest or grid != offsets or len({part.strides for part in parts}) > 1:
        return None
    first = parts[0]
    return np.lib.stride_tricks.as_strided(
        first,
        (*first.shape[:-1], down, across, first.shape[-1]),
        (*first.strides[:-1], below, step, first.strides[-1]),
    )


def turned(memory: np.ndarray, node: Node) -> np.ndarray:
    """Return bytes as an array whose last axis lies outermost."""
    lies = memory.view(node.dtype).reshape(node.shape[-1], *node.shape[:-1])
    return np.moveaxis(lies, 0, -1)


def _split(out: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a view of `out` with its last axis seen as the last three of `shape`."""
    if out.flags.c_contiguous:
        return out.reshape(shape)
    outermost = np.moveaxis(out, -1, 0)
    return np.moveaxis(outermost.reshape(*shape[-3:], *shape[:-3]), (0, 1, 2), (-3, -2, -1))


def run_setitem(memory: Memory, node: Node) -> list[Call]:
    """An array with a part of it replaced, or changed by a ufunc."""
    old, new = map(memory.array, node.args)
    out = memory.array(node)
    calls: list[Call] = [] if np.shares_memory(out, old) else [(np.copyto, (out, old))]
    how, key = node.attrs
    part = out[key_of(key)]
    if how:
        return [*calls, (getattr(np, how), (part, new, part))]
    return [*calls, (np.copyto, (part, new, "unsafe"))]


RUN: dict[str, Callable[[Memory, Node], list[Call]]] = {
    "where": run_where,
    "astype": run_astype,
    "copy": run_copy,
    "matmul": run_matmul,
    "sum": run_sum,
    "max": _run_extremum(np.maximum),
    "min": _run_extremum(np.minimum),
    "argmax": run_argmax,
    "take": run_take,
    "concat": run_concat,
    "setitem": run_setitem,
}
