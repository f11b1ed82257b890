"""The kind of each operation, by its name; a ufunc needs no entry."""

from __future__ import annotations

import numpy as np

from npnn.backends.operations.gather import Gather
from npnn.backends.operations.join import Join
from npnn.backends.operations.kind import Kind
from npnn.backends.operations.pointwise import Cast, Choice, Move, Pointwise
from npnn.backends.operations.product import Product
from npnn.backends.operations.reduction import Argmax, Extremum, Sum
from npnn.backends.operations.store import Store
from npnn.backends.recording.node import Node

KINDS: dict[str, Kind] = {
    "where": Choice(),
    "astype": Cast(),
    "copy": Move(),
    "matmul": Product(),
    "sum": Sum(),
    "max": Extremum(np.maximum),
    "min": Extremum(np.minimum),
    "argmax": Argmax(),
    "take": Gather(),
    "concat": Join(),
    "setitem": Store(),
}
_UFUNC, _VIEW = Pointwise(), Kind()


def kind_of(node: Node) -> Kind:
    """Return what answers for an operation."""
    return KINDS.get(node.op) or (_UFUNC if node.elementwise else _VIEW)


def flops(node: Node) -> int:
    """Return the floating-point operations of one operation, a function counted as one."""
    return kind_of(node).flops(node)
