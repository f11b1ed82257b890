"""Products of matrices, or of many of them."""

from __future__ import annotations

import numpy as np

from npnn.backends import tuning
from npnn.backends.operations.cut import Cut
from npnn.backends.operations.kind import Call, Kind, Memory
from npnn.backends.recording.node import Node, NotRecorded, Shape


def shape_of(a: Node, b: Node) -> Shape:
    """Return the shape of a product; raise the error of two that do not fit."""
    if min(len(a.shape), len(b.shape)) < 2:
        raise NotRecorded("matmul() of vectors")
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"shapes {a.shape} and {b.shape} do not fit a product")
    return *np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]


def lies(matrix: np.ndarray) -> tuple[bool, int] | None:
    """Return how the last two axes lie for a library of products; None if it cannot read them.

    That is whether they are transposed, and how far the rows, or then the columns, are apart.
    """
    (rows, columns), (down, right) = matrix.shape[-2:], matrix.strides[-2:]
    size = matrix.itemsize
    if (right == size or columns == 1) and (rows == 1 or _apart(down, columns * size, size)):
        return False, down // size if rows > 1 else columns
    if (down == size or rows == 1) and (columns == 1 or _apart(right, rows * size, size)):
        return True, right // size if columns > 1 else rows
    return None


def _apart(stride: int, least: int, itemsize: int) -> bool:
    return stride >= least and stride % itemsize == 0


class Product(Kind):
    """A product; of two matrices by ``dot``, which costs a third of matmul's overhead."""

    def flops(self, node: Node) -> int:
        return 2 * node.size * node.args[0].shape[-1]

    def reads_for(self, node: Node, cut: Cut) -> dict[Node, Cut] | None:
        a, b = node.args
        if a is b:
            return None
        ahead = len(node.shape) - cut.axis
        of_a, of_b = (a, len(a.shape) - ahead), (b, len(b.shape) - ahead)
        return cut.read([of_a] * (ahead != 1) + [of_b] * (ahead != 2), may_repeat=True)

    def calls(self, memory: Memory, node: Node) -> list[Call]:
        a, b = map(memory.array, node.args)
        out = memory.array(node)
        while a.ndim == b.ndim > 2 and a.shape[0] == b.shape[0] == 1:
            a, b, out = a[0], b[0], out[0]
        if a.ndim > 2 and b.ndim == 2 and a.flags.c_contiguous:
            a, out = a.reshape(-1, a.shape[-1]), out.reshape(-1, out.shape[-1])
        if a.ndim != 2 or b.ndim != 2:
            return [(np.matmul, (a, b, out))]
        if not (a.flags.forc and b.flags.forc and out.flags.c_contiguous):
            # Of parts of larger matrices, dot would make copies, and it writes into none.
            return [(np.matmul, (a, b, out))]
        of_turned = node.args[0].base in memory.draft.turned
        if a.size > b.size and not a.flags.c_contiguous and of_turned:
            parts = _parts(len(a))
            a, out = a.reshape(parts, -1, a.shape[1]), out.reshape(parts, -1, out.shape[1])
            return [(np.matmul, (a, b, out))]
        return [(a.dot, (b, out))]


def parts_of_sum(product: Node) -> int:
    """Return into how many sums to cut each sum of a product: OpenBLAS is slow at few long ones."""
    length = product.args[0].shape[-1]
    if product.shape[:-2] not in ((), (1,)):
        return 1
    return _parts(length) if product.size <= tuning.ROW * 4 <= length else 1


def _parts(length: int) -> int:
    """Return into how many equal parts of about the length of a row to cut a length."""
    most = max(1, 2 * length // tuning.ROW)
    return max(n for n in range(1, most + 1) if length % n == 0)
