"""Recording a step: arrays that note what is asked of them instead of computing it.

A step runs once on :class:`Recorded` arrays. Each has a shape and a dtype, found by asking NumPy
itself, and a :class:`Node` that says which operation would have made it. What comes out is a list
of nodes in the order of the step, ready to be given memory and replayed (see ``plan.py``).

To record another operation of the standard, add a method to :class:`Namespace`; every NumPy ufunc
is recorded already. Say how it is run: one entry in the table of ``kinds.py``.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial, partialmethod
from typing import Any

import array_api_compat.numpy as real
import numpy as np

from npnn.backends.operations import gather, join, product, reduction
from npnn.backends.recording.node import (
    Node,
    NotRecorded,
    Shape,
    attrs_of,
    is_elementwise,
    key_of,
    replay_views,
)


class Trace:
    """The nodes recorded so far."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.namespace = Namespace(self)
        self._known: dict[Hashable, Node] = {}
        self._bound: dict[Node, np.ndarray] = {}
        self.in_range: Node | None = None  # the numbers of a batch's rows, which training made

    def leaf(self, array: Any, *, bound: bool = False) -> Recorded:
        """Return a recorded array for one from outside; for `array` itself if it is `bound`."""
        node = Node("leaf", (), (), tuple(array.shape), np.dtype(array.dtype))
        if bound:
            self._bound[node] = array
        return Recorded(self, node)

    def constant(self, value: Any, dtype: Any = None) -> Node:
        """Return the node of a number or an array that is the same at every replay."""
        array = np.asarray(value, dtype=dtype)
        content = array.tobytes() if array.size < 64 else id(array)
        key = ("constant", array.dtype, array.shape, content)
        if key not in self._known:
            self._known[key] = Node("constant", (), (), array.shape, array.dtype, value=array)
        return self._known[key]

    def add(
        self,
        op: str,
        args: Sequence[Node],
        shape: Shape,
        dtype: Any,
        attrs: tuple[Any, ...] = (),
        view: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Recorded:
        """Record an operation; one that was recorded before, with the same arguments, is shared."""
        key = (op, tuple(map(id, args)), attrs)
        node = self._known.get(key)
        if node is None:
            node = Node(op, tuple(args), attrs, shape, np.dtype(dtype), view=view)
            node.origin = _origin()
            self._known[key] = node
            self.nodes.append(node)
        return Recorded(self, node)

    def view(self, x: Node, op: str, attrs: tuple[Any, ...], look: Any) -> Recorded:
        """Record a view of x, or a copy where NumPy itself would make one."""
        sample = self._bound.get(x.base, x.base.value)
        if sample is None:
            # Memory that is asked for and never touched costs nothing, and NumPy tells the rest.
            sample = np.empty(x.base.shape, x.base.dtype)
        after = look(replay_views(x, sample))
        if after.size and not np.may_share_memory(sample, after):
            return self.add("copy", (x,), after.shape, x.dtype, (op, *attrs))
        return self.add(op, (x,), after.shape, x.dtype, attrs, look)

    def ufunc(self, ufunc: np.ufunc, *args: Any) -> Recorded:
        """Record an elementwise operation."""
        if ufunc is np.power and type(args[1]) in (int, float):
            # As NumPy's own operator does.
            if args[1] == 2:
                return self.ufunc(np.square, args[0])
            if args[1] == 0.5 and args[0].dtype.kind == "f":
                return self.ufunc(np.sqrt, args[0])
        dtypes = tuple(_dtype_or_number(arg) for arg in args)
        dtype, number_dtype = _result_dtype(ufunc, dtypes)
        nodes = [self.node(arg, number_dtype) for arg in args]
        shape = np.broadcast_shapes(*(node.shape for node in nodes))
        return self.add(ufunc.__name__, nodes, shape, dtype)

    def node(self, x: Any, dtype: Any = None) -> Node:
        """Return the node of a recorded array, of a number (as `dtype`), or of an array."""
        if isinstance(x, Recorded):
            return x.node
        if isinstance(x, np.ndarray | np.generic):
            return self.constant(x)
        return self.constant(x, dtype)


class Recorded:
    """Stands for an array while a step is recorded."""

    __array_ufunc__ = None  # NumPy's own arrays leave the operators to this class

    def __init__(self, trace: Trace, node: Node) -> None:
        self.trace, self.node = trace, node

    shape = property(lambda self: self.node.shape)
    dtype = property(lambda self: self.node.dtype)
    ndim = property(lambda self: len(self.node.shape))
    size = property(lambda self: self.node.size)
    device = "cpu"

    mT = property(lambda self: self.trace.view(self.node, "mT", (), lambda x: x.mT))
    T = property(lambda self: self.trace.view(self.node, "T", (), lambda x: x.T))

    def __array_namespace__(self, api_version: str | None = None) -> Namespace:
        return self.trace.namespace

    def __repr__(self) -> str:
        return (
            f"<array of shape {self.shape} and {self.dtype} in a step that is being recorded; "
            "capture=False shows its numbers>"
        )

    def __getitem__(self, key: Any) -> Recorded:
        attrs = attrs_of(key)
        return self.trace.view(self.node, "getitem", attrs, operator.itemgetter(key_of(attrs)))

    def __setitem__(self, key: Any, value: Any) -> None:
        # The handle moves on to a new node; the plan writes in place where nobody needs the old.
        old, new, attrs, how = self.node, self.trace.node(value, self.dtype), attrs_of(key), ""
        if len(new.args) == 2 and new.elementwise and new.dtype == old.dtype:
            part, operand = new.args
            if part.op == "getitem" and part.args == (old,) and part.attrs == attrs:
                # x[key] += operand: the ufunc's name goes with the key, and it works in place.
                how, new = new.op, operand
        self.node = self.trace.add("setitem", (old, new), old.shape, old.dtype, (how, attrs)).node

    def __matmul__(self, other: Any) -> Recorded:
        return self.trace.namespace.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Recorded:
        return self.trace.namespace.matmul(other, self)

    def _look(self) -> Any:
        raise NotRecorded("looking at a value")

    __bool__ = __float__ = __int__ = __index__ = _look

    def __iter__(self) -> Iterator[Recorded]:
        return (self[i] for i in range(self.shape[0]))

    __hash__ = object.__hash__


def _in_place(ufunc: np.ufunc, a: Recorded, b: Any) -> Recorded:
    """Return what `a` becomes: as in NumPy, it keeps its shape and its dtype."""
    result = a.trace.ufunc(ufunc, a, b)
    if result.shape != a.shape or not np.can_cast(result.dtype, a.dtype, "same_kind"):
        raise ValueError(f"{result.node} cannot be written into {a.shape}, {a.dtype}")
    return a.trace.namespace.astype(result, a.dtype)


def _operators() -> None:
    both = {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide,
        "pow": np.power, "floordiv": np.floor_divide, "mod": np.remainder,
        "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    }  # fmt: skip
    one = {
        "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
        "eq": np.equal, "ne": np.not_equal,
        "neg": np.negative, "abs": np.absolute, "invert": np.invert, "pos": np.positive,
    }  # fmt: skip
    for name, ufunc in {**both, **one}.items():
        setattr(Recorded, f"__{name}__", lambda a, *b, f=ufunc: a.trace.ufunc(f, a, *b))
    for name, ufunc in both.items():
        setattr(Recorded, f"__r{name}__", lambda a, b, f=ufunc: a.trace.ufunc(f, b, a))
        setattr(Recorded, f"__i{name}__", lambda a, b, f=ufunc: _in_place(f, a, b))


_operators()


class Namespace:
    """The Array API namespace of recorded arrays."""

    # Functions that make arrays out of numbers: what they give is a constant of the plan.
    _creation = ("arange", "eye", "zeros", "ones", "full", "linspace", "empty")
    # What is no array passes through: dtypes, constants, questions about dtypes.
    _views = (
        "reshape", "permute_dims", "expand_dims", "squeeze", "broadcast_to", "matrix_transpose",
    )  # fmt: skip
    _plain = ("pi", "inf", "nan", "newaxis", "isdtype", "finfo", "iinfo", "bool", "e")

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __getattr__(self, name: str) -> Any:
        function: Any = getattr(np, name, None)
        if is_elementwise(function):
            return partial(self._trace.ufunc, function)
        if name in self._views:
            return partial(self._view, name)
        if name in self._creation:
            return self._constant(getattr(real, name))
        if name in self._plain or isinstance(function, type):
            return getattr(real, name)
        raise NotRecorded(f"{name}()")

    @property
    def __name__(self) -> str:
        return "npnn.backends.recording.tracer"

    def _view(self, name: str, x: Recorded, *args: Any, **options: Any) -> Recorded:
        attrs = (*(tuple(a) if isinstance(a, list) else a for a in args), *options.items())
        look = partial(_called, getattr(real, name), args, options)
        return self._trace.view(x.node, name, attrs, look)

    def _constant(self, create: Callable[..., np.ndarray]) -> Callable[..., Recorded]:
        def function(*args: Any, **options: Any) -> Recorded:
            options.pop("device", None)
            return Recorded(self._trace, self._trace.constant(create(*args, **options)))

        return function

    def zeros_like(self, x: Recorded, dtype: Any = None, device: Any = None) -> Recorded:
        zeros = np.zeros(x.shape, x.dtype if dtype is None else dtype)
        return Recorded(self._trace, self._trace.constant(zeros))

    def asarray(self, x: Any, dtype: Any = None, copy: bool | None = None) -> Recorded:
        given = Recorded(self._trace, self._trace.node(x, dtype))
        return given if dtype is None else self.astype(given, dtype)

    # Elementwise -------------------------------------------------------------------------------

    def where(self, condition: Recorded, a: Any, b: Any) -> Recorded:
        dtype = np.result_type(*(_dtype_or_number(v) for v in (a, b)))
        given = (self.asarray(v, t) for v, t in ((condition, bool), (a, dtype), (b, dtype)))
        nodes = [v.node for v in given]
        shape = np.broadcast_shapes(*(node.shape for node in nodes))
        return self._trace.add("where", nodes, shape, dtype)

    def astype(self, x: Recorded, dtype: Any, copy: bool = True) -> Recorded:
        same = x.dtype == np.dtype(dtype)
        return x if same else self._trace.add("astype", (x.node,), x.shape, dtype, (str(dtype),))

    def clip(self, x: Recorded, min: Any = None, max: Any = None) -> Recorded:
        x = x if min is None else self._trace.ufunc(np.maximum, x, min)
        return x if max is None else self._trace.ufunc(np.minimum, x, max)

    # Reductions --------------------------------------------------------------------------------

    def _reduce(
        self, name: str, x: Recorded, *, axis: Any = None, dtype: Any = None, keepdims: bool = False
    ) -> Recorded:
        x = self.asarray(x, dtype)
        shape, gone = reduction.shape_of(x.node, axis, keepdims)
        dtype = getattr(real, name)(np.ones(1, x.dtype)).dtype
        return self._trace.add(name, (x.node,), shape, dtype, (gone, keepdims))

    sum = partialmethod(_reduce, "sum")
    max = partialmethod(_reduce, "max")
    min = partialmethod(_reduce, "min")

    def mean(self, x: Recorded, *, axis: Any = None, keepdims: bool = False) -> Recorded:
        total = self._reduce("sum", x, axis=axis, keepdims=keepdims)
        return self._trace.ufunc(np.divide, total, x.size // total.size)

    def argmax(self, x: Recorded, *, axis: int, keepdims: bool = False) -> Recorded:
        if keepdims or axis % x.ndim != x.ndim - 1:
            raise NotRecorded("argmax() but over the last axis")
        return self._trace.add("argmax", (x.node,), x.shape[:-1], np.intp)

    # Products, gathers, joins ------------------------------------------------------------------

    def matmul(self, a: Recorded, b: Recorded) -> Recorded:
        nodes = self._trace.node(a), self._trace.node(b)
        dtype = np.result_type(*(node.dtype for node in nodes))
        return self._trace.add("matmul", nodes, product.shape_of(*nodes), dtype)

    def take(self, x: Recorded, index: Recorded, *, axis: int) -> Recorded:
        axis %= x.ndim
        nodes = (x.node, self._trace.node(index))
        is_sure = nodes[1] is self._trace.in_range
        attrs = axis, "clip" if is_sure else "raise"
        return self._trace.add("take", nodes, gather.shape_of(*nodes, axis), x.dtype, attrs)

    def concat(self, arrays: Sequence[Recorded], *, axis: int = 0) -> Recorded:
        axis, nodes = axis % arrays[0].ndim, [a.node for a in arrays]
        dtype = np.result_type(*(a.dtype for a in arrays))
        return self._trace.add("concat", nodes, join.shape_of(nodes, axis), dtype, (axis,))


def _called(function: Any, args: Any, options: Any, x: np.ndarray) -> Any:
    return function(x, *args, **options)


def _origin() -> tuple[str, str]:
    """Return the method outside this package that is being recorded, and its object's place."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__") in _machinery:
        frame = frame.f_back
    # A helper function belongs to the method that calls it.
    while frame.f_back is not None and "." not in frame.f_code.co_qualname:
        frame = frame.f_back
    return frame.f_code.co_qualname, getattr(frame.f_locals.get("self"), "place", "")


_machinery = (__name__, "npnn.backends.backend")


def _dtype_or_number(x: Any) -> Any:
    # Not isinstance: np.float64 is a float too, and has a dtype that counts.
    return x if type(x) in (bool, int, float) else np.dtype(x.dtype)


_dtypes: dict[Hashable, tuple[np.dtype[Any], np.dtype[Any]]] = {}


def _result_dtype(ufunc: np.ufunc, args: tuple[Any, ...]) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Return the dtype that NumPy gives, and the one it turns a plain number into."""
    key = (ufunc, tuple(a if isinstance(a, np.dtype) else type(a) for a in args))
    if key not in _dtypes:
        ones = [np.ones(1, a) if isinstance(a, np.dtype) else type(a)(1) for a in args]
        with np.errstate(all="ignore"):
            result = ufunc(*ones).dtype
        _dtypes[key] = result, np.result_type(*ones)
    return _dtypes[key]
