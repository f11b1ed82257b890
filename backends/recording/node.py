"""One value of a recorded step: the operation that makes it, of which values, or where it lies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Shape = tuple[int, ...]


class NotRecorded(Exception):
    """The step does something that cannot be recorded; it is run as it is instead."""


class Node:
    """One value of the step: an operation with its arguments, or a leaf that comes from outside.

    Attributes
    ----------
    op : str
        ``"leaf"``, ``"constant"``, the name of a ufunc, or one of the operations of Namespace.
    args : tuple
        Nodes; numbers have become constants.
    attrs : tuple
        What else the operation needs, such as axes.
    origin : tuple
        The function that asked for it, such as ``Dense.forward``, and the id of its object.
    base : Node
        The node whose memory this one looks into; itself if it is no view.
    """

    __slots__ = ("args", "attrs", "base", "dtype", "op", "origin", "shape", "value", "view")

    def __init__(
        self,
        op: str,
        args: tuple[Node, ...],
        attrs: tuple[Any, ...],
        shape: Shape,
        dtype: np.dtype[Any],
        *,
        view: Callable[[np.ndarray], np.ndarray] | None = None,
        value: np.ndarray | None = None,
    ) -> None:
        self.op, self.args, self.attrs, self.shape, self.dtype = op, args, attrs, shape, dtype
        self.view, self.value = view, value
        self.base: Node = args[0].base if view is not None else self
        self.origin: tuple[str, str] = ("", "")

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self.size * self.dtype.itemsize

    @property
    def elementwise(self) -> bool:
        """Whether each element of the result comes from one element of each argument."""
        return self.op in ELEMENTWISE or is_elementwise(getattr(np, self.op, None))

    def __repr__(self) -> str:
        shapes = ", ".join("x".join(map(str, arg.shape)) or "()" for arg in self.args)
        return f"{self.op}({shapes}) -> {'x'.join(map(str, self.shape)) or '()'} {self.dtype}"


# Operations beside the ufuncs whose results have one element for each element of the arguments.
ELEMENTWISE = {"where", "astype"}


def is_elementwise(function: Any) -> bool:
    """Return whether a function of NumPy works element by element, and gives one array."""
    # matmul and its like are ufuncs with a signature.
    one = isinstance(function, np.ufunc) and function.nout == 1
    return one and function.signature is None


def replay_views(node: Node, base: np.ndarray) -> np.ndarray:
    """Return what `node` sees of `base`, the array of its base node."""
    if node.view is None:
        return base
    return node.view(replay_views(node.args[0], base))


def attrs_of(key: Any) -> tuple[Any, ...]:
    """Return an index in a hashable form, the opposite of :func:`key_of`."""
    parts = key if isinstance(key, tuple) else (key,)
    if not all(p is None or p is ... or type(p) in (int, slice) for p in parts):
        raise NotRecorded("indexing by arrays")
    return tuple((p.start, p.stop, p.step) if isinstance(p, slice) else p for p in parts)


def key_of(attrs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an index out of its hashable form; it never gives a scalar, always a view."""
    key = tuple(slice(*part) if isinstance(part, tuple) else part for part in attrs)
    return key if ... in attrs else (*key, ...)
