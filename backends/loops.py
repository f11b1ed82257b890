"""Loops that Numba compiles: what belongs into one, its source, and the cache of what was compiled.

A run of operations on arrays of one shape, with sums over the last or the batch axis, becomes one
function: a loop over rows, and in it one loop over columns for each *level*. A value that needs
the sum of its row (as Softmax does) is one level above what the sum is made of::

    for i in range(rows):
        for j in range(columns):      # level 0: bias, largest value of the row
        for j in range(columns):      # level 1: exponentials, and their sum
        ...

A value that nobody outside the run needs never reaches memory. Parts of larger arrays, such as
what a kernel's place sees of images, are read and written where they lie; the loop over rows is
then one for each axis. The functions are written to files in a cache folder, so that Numba can keep
what it compiled from one process to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from typing import Any

import numpy as np

from npnn.backends.elementwise import Language, computed_in, suits
from npnn.backends.operations import Call, Memory
from npnn.backends.sources import module_of
from npnn.backends.tracer import Node, key_of

# What Numba computes just as NumPy does: it knows no float16, and has small integers grow.
DTYPES = {"float32", "float64", "int64", "bool"}
REDUCTIONS = ("sum", "max", "min", "argmax")
STORES = ("setitem", "concat")  # they write into parts of an array
SHORT = 32  # columns up to which their number stands in the source, for the compiler to unroll
SEEN_AS_ONE = 128  # columns that rows have together which are no longer short
# Elements from which a loop is run by several threads. They stand in the way of those of the matrix
# products: a step of 784-1024-1024-10 on two cores took 24 ms so, and 16 ms with one thread.
PARALLEL_SIZE = 1 << 24

FUNCTIONS = ("exp", "expm1", "log", "log1p", "tanh")  # of functions.py
NUMBA = Language(
    {name: f"functions.{name}_{{dtype}}({{0}})" for name in FUNCTIONS}
    | {name: f"np.{name}({{0}})" for name in ("sqrt", "floor", "ceil")}
    | {"cast": "np.{dtype}({0})"}
)


class Loop:
    """A run of operations that will be one loop over the rows and columns of `shape`."""

    language = NUMBA
    dtypes: Set[str] = DTYPES

    def __init__(
        self,
        shape: tuple[int, ...],
        look: Callable[[Node], np.ndarray],
        passed_on: Callable[[Node], bool],
        carried: set[Node],
    ) -> None:
        self.shape, self.lead, self.columns = shape, shape[:-1], shape[-1]
        self.look = look  # how an argument lies in memory
        self.passed_on = passed_on  # whether one operation inside the step alone needs a value
        self.carried = carried  # the values that the step leaves in memory of its own
        self.flat = len(shape) == 1
        self.nested = False  # whether a loop over rows must be one for each axis
        self.nodes: list[Node] = []
        self.kind: dict[Node, str] = {}  # full, column, sum (over rows), total, scalar, store
        self.level: dict[Node, int] = {}

    def add(self, node: Node) -> bool:
        """Take `node` in, if it can be computed in this loop."""
        found = self._classify(node)
        if found is None:
            return False
        self.kind[node], self.level[node] = found
        self.nodes.append(node)
        lying = node.args[1:] if node.op == "setitem" else node.args
        outside = [arg for arg in lying if arg.shape == self.shape and arg not in self.kind]
        in_rows = all(self._in_rows(arg, (-1, self.columns)) for arg in outside)
        self.nested |= not in_rows or node.op in STORES
        return True

    def _classify(self, node: Node) -> tuple[str, int] | None:
        dtypes = {n.dtype.name for n in (node, *node.args)}
        if not dtypes <= self.dtypes:
            return None
        if node.op in REDUCTIONS:
            return self._classify_reduction(node)
        if node.op in STORES:
            return self._classify_store(node)
        if not self.language.knows(node.op) or not suits(node):
            return None
        if node.shape == self.shape:
            kind = "full"
        elif self.flat or not self.lead:
            return None
        elif node.shape in ((*self.lead, 1), self.lead):
            kind = "column"
        elif node.shape == ():
            kind = "scalar"
        else:
            return None
        level = 0
        for arg in node.args:
            given = self.argument_kind(arg, node)
            if given is None or (given == "full" and kind != "full"):
                return None
            if given in ("total", "scalar") and arg in self.kind and kind != "scalar":
                return None
            if kind == "scalar" and given not in ("total", "scalar"):
                return None
            if arg in self.kind and kind != "scalar":
                after = 1 if kind == "full" and given == "column" else 0
                level = max(level, self.level[arg] + after)
        return kind, level

    def _classify_reduction(self, node: Node) -> tuple[str, int] | None:
        x = node.args[0]
        counted = node.op == "sum" or x.dtype.kind == "f"
        if self.flat or not counted or (x.base in self.kind and x not in self.kind):
            return None
        last = len(x.shape) - 1
        axes = (last,) if node.op == "argmax" else node.attrs[0]
        if x.shape == self.shape and self.argument_kind(x, x) == "full":
            level = self.level.get(x, 0)
            if axes == (last,):
                return "column", level
            if node.op == "sum" and axes == tuple(range(last)):
                return "sum", level
            if node.op == "sum" and len(axes) == len(x.shape):
                return "total", level
        elif self.kind.get(x) == "column" and node.op == "sum" and len(axes) == len(x.shape):
            return "total", self.level[x]
        return None

    def _classify_store(self, node: Node) -> tuple[str, int] | None:
        values = stored(node)
        last = node.op == "setitem" or node.attrs[0] == len(node.shape) - 1
        if node.op == "concat" and all(value.view is not None for value in values):
            return None  # NumPy copies what is there already as fast
        if self.flat or not last or any(value.shape != self.shape for value in values):
            return None
        if any(value.dtype != node.dtype for value in values):
            return None
        if any(self.argument_kind(value, value) != "full" for value in values):
            return None
        if node.op == "setitem":
            old, (how, key) = node.args[0], node.attrs
            if how and not self.language.knows(how):
                return None
            if part_of(np.empty(node.shape), key).shape != self.shape:
                return None
            if old.base in self.kind and not self._follows(node):
                return None
        return "store", max(self.level.get(value, 0) for value in values)

    def _follows(self, node: Node) -> bool:
        """Return whether a store only adds to what others of this loop store, elsewhere."""
        old, (how, key) = node.args[0], node.attrs
        if how or self.kind.get(old) != "store" or node in self.carried:
            return False
        sample = np.empty(node.shape, np.bool)
        while old.op == "setitem" and old in self.kind:
            if not self.passed_on(old):
                return False
            parts = part_of(sample, key), part_of(sample, old.attrs[1])
            try:
                if np.shares_memory(*parts, max_work=1 << 12):  # type: ignore[arg-type]
                    return False
            except np.exceptions.TooHardError:
                return False
            old = old.args[0]
        return old not in self.kind

    def argument_kind(self, arg: Node, node: Node) -> str | None:
        """Return how `node` reads `arg`; None if no loop of this shape can."""
        if arg in self.kind:
            kind = self.kind[arg]
            # A row of numbers, one for each sample, would be read as one for each column.
            mixed = kind == "column" and arg.shape == self.lead and node.shape != self.lead
            return None if kind in ("sum", "store") or mixed else kind
        if arg.base in self.kind:
            return None
        if arg.size == 1 and len(arg.shape) <= len(node.shape):
            return "scalar"
        if arg.shape == self.shape:
            return None if self.flat and not self._in_rows(arg, (-1, self.columns)) else "full"
        if self.flat:
            return None
        if arg.shape == (*self.lead, 1) or (arg.shape == self.lead == node.shape):
            return "column" if self._in_rows(arg, (-1,)) else None
        ones = arg.shape[:-1]
        if arg.shape[-1:] == (self.columns,) and all(n == 1 for n in ones):
            return "row" if node.shape == self.shape else None
        return None

    def _in_rows(self, arg: Node, shape: tuple[int, ...]) -> bool:
        """Return whether an argument can be seen as rows and columns, whatever its axes."""
        if arg.view is None and arg.op != "leaf":
            return True
        array = self.look(arg)
        return np.may_share_memory(array, array.reshape(shape))


class Writer:
    """Writes the source of one loop, and gathers the arrays it works on.

    Parameters
    ----------
    memory : Memory
        Where the arrays are.
    transient : set of Node
        What need not be stored.
    loop : Loop
        What is computed.
    shape : tuple of int
        That of the loop, or of the part of it that lies in `memory`.
    """

    def __init__(
        self, memory: Memory, transient: Set[Node], loop: Loop, shape: tuple[int, ...]
    ) -> None:
        self.memory, self.transient, self.loop, self.shape = memory, transient, loop, shape
        self.lead, self.columns = shape[:-1], shape[-1]
        self.rows = 1 if loop.flat else math.prod(self.lead)
        self.joined = self._rows_to_join()
        self.rows, self.columns = self.rows // self.joined, self.columns * self.joined
        self.arrays: list[np.ndarray] = []
        self.constants: list[float] = []
        self.names: dict[Node, str] = {node: f"t{i}" for i, node in enumerate(loop.nodes)}
        self.known: dict[Any, str] = {}
        self.before: list[str] = []
        self.after: list[str] = []
        top = max(loop.level.values()) + 1
        self.row_start: list[list[str]] = [[] for _ in range(top)]
        self.inner: list[list[str]] = [[] for _ in range(top)]
        self.row_end: list[list[str]] = [[] for _ in range(top)]
        self.loaded: set[Any] = set()
        self.copies: list[Call] = []
        axes = [f"i{axis}" if n > 1 else "0" for axis, n in enumerate(self.lead)]
        self.row = ", ".join(axes) if loop.nested else "i"
        self.grid = self._grid()

    def _rows_to_join(self) -> int:
        """Return how many short rows become a long one, in which what is read of each is repeated.

        Their number comes from all axes but the first: the source then holds for any batch.
        """
        loop, joined = self.loop, 1
        kinds = {loop.argument_kind(arg, node) for node in loop.nodes for arg in node.args}
        if loop.flat or loop.nested or "column" in {*kinds, *loop.kind.values()}:
            return 1
        for n in reversed(self.lead[1:]):
            joined *= n if joined * self.columns < SEEN_AS_ONE and self.columns <= SHORT else 1
        shape = self.rows // joined, joined * self.columns
        nodes = {arg for node in loop.nodes for arg in (node, *node.args)} - self.transient
        full = [self.memory.array(node) for node in nodes if node.shape == loop.shape]
        return joined if all(np.may_share_memory(a, a.reshape(shape)) for a in full) else 1

    def _grid(self) -> Grid | None:
        """Return the axes of a loop that reads and writes elements one by one, and nothing else."""
        loop, arrays = self.loop, []
        for node in loop.nodes:
            if loop.kind[node] not in ("full", "store"):
                return None
            reads = stored(node) if node.op in STORES else node.args
            outside = [arg for arg in reads if arg not in loop.kind]
            kinds = {arg: loop.argument_kind(arg, node) for arg in outside}
            if not set(kinds.values()) <= {"full", "scalar"}:
                return None
            arrays += [self.memory.array(arg) for arg in outside if kinds[arg] == "full"]
            arrays += self._parts(node)
            if node not in self.transient and node.op not in STORES:
                arrays.append(self.memory.array(node))
        return Grid.of(self.shape, [array.reshape(self.shape) for array in arrays])

    def _parts(self, node: Node) -> list[np.ndarray]:
        """Return the parts of arrays that a store writes into."""
        if node.op not in STORES:
            return []
        out = self.memory.array(node)
        if node.op == "concat":
            return np.split(out, len(node.args), axis=-1)
        return [part_of(out, node.attrs[1])]

    def calls(self) -> list[Call]:
        """Return the call that runs the loop."""
        for node in self.loop.nodes:
            if node.op in REDUCTIONS:
                self._reduction(node)
            elif node.op in STORES:
                self._write(node)
            else:
                self._elementwise(node)
        source = self._source()
        arguments: dict[str, np.ndarray | int] = {
            **{f"a{i}": array for i, array in enumerate(self.arrays)},
            "constants": np.array(self.constants or [0.0], self._float()),
        }
        if self.grid is not None:
            arguments["count"] = self.grid.shape[0]
        return [*self.copies, _compiled(source, arguments)]

    def _float(self) -> np.dtype[Any]:
        kinds = [n.dtype for n in self.loop.nodes if n.dtype.kind == "f"]
        return kinds[0] if kinds else np.dtype(np.float32)

    # Operations --------------------------------------------------------------------------------

    def _elementwise(self, node: Node) -> None:
        kind, level = self.loop.kind[node], self.loop.level[node]
        args = [self._read(arg, node, kind, level) for arg in node.args]
        expression = NUMBA.write(node.op, args, computed_in(node).name)
        lines = {"full": self.inner, "column": self.row_end}.get(kind, [self.after] * (level + 1))
        lines[level].append(f"{self.names[node]} = {expression}")
        self._store(node, lines[level])

    def _write(self, node: Node) -> None:
        level, out = self.loop.level[node], self.memory.array(node)
        places = [self._element(part) for part in self._parts(node)]
        names = [self._read(value, value, "full", level) for value in stored(node)]
        if node.op == "setitem":
            old, (how, _) = node.args[0], node.attrs
            inside, apart = old in self.loop.kind, not np.shares_memory(out, self.memory.array(old))
            assert not (inside and apart), f"{node} follows what lies elsewhere"
            # What is written over completely need not be copied first.
            chain = [n for n in self.loop.nodes if n.op == "setitem" and self._starts_at(n, node)]
            if apart and (how or sum(n.args[1].size for n in chain) < node.size):
                self.copies.append((np.copyto, (out, self.memory.array(old))))
            if how:
                names = [NUMBA.write(how, [places[0], names[0]], node.dtype.name)]
        self.inner[level] += [f"{p} = {n}" for p, n in zip(places, names, strict=True)]

    def _starts_at(self, node: Node, first: Node) -> bool:
        while node is not first and node.args[0] in self.loop.kind:
            node = node.args[0]
        return node is first

    def _reduction(self, node: Node) -> None:
        x, name, level = node.args[0], self.names[node], self.loop.level[node]
        kind, dtype = self.loop.kind[node], node.dtype.name
        column = self.loop.kind.get(x) == "column"
        value = self._read(x, x, "column" if column else "full", level)
        lines = self.row_end[level] if column else self.inner[level]
        if kind == "sum":
            array = self._array(node, "row")
            self.before.append(f"{array}[:] = 0")
            row = self._repeated(array, node)
            lines.append(f"{row}[j] += {value}")
            if row != array:
                self.before.append(f"{row}[:] = 0")
                self.after += self._each_column(f"{array}[j % {node.size}] += {row}[j]")
        elif kind == "total":
            self.before.append(f"{name} = np.{dtype}(0)")
            lines.append(self._added(node, value))
            self._store(node, self.after)
        elif node.op == "argmax":
            best = f"best_{name}"
            self.row_start[level] += [f"{name} = 0", f"{best} = np.{x.dtype.name}(-np.inf)"]
            lines.append(f"if {value} > {best} or ({value} != {value} and {best} == {best}):")
            lines.append(f"    {best} = {value}; {name} = j")
            self._store(node, self.row_end[level])
        elif node.op == "sum":
            self.row_start[level].append(f"{name} = np.{dtype}(0)")
            lines.append(self._added(node, value))
            self._store(node, self.row_end[level])
        else:
            start, better = {"max": ("-np.inf", "larger"), "min": ("np.inf", "smaller")}[node.op]
            self.row_start[level] += [f"{name} = np.{dtype}({start})", f"nan_{name} = False"]
            lines.append(f"nan_{name} |= {value} != {value}")
            lines.append(f"{name} = functions.{better}({name}, {value})")
            self.row_end[level].append(f"if nan_{name}: {name} = np.{dtype}(np.nan)")
            self._store(node, self.row_end[level])

    def _added(self, node: Node, value: str) -> str:
        """Return the line that adds a value to a sum, in an order that suits the processor."""
        name = self.names[node]
        floats = node.dtype.kind == node.args[0].dtype.kind == "f"
        return f"{name} = functions.added({name}, {value})" if floats else f"{name} += {value}"

    # Values ------------------------------------------------------------------------------------

    def _read(self, arg: Node, node: Node, kind: str, level: int) -> str:
        """Return the expression for an argument, loaded where it is read first."""
        if arg in self.loop.kind:
            name = self.names[arg]
            if self.loop.kind[arg] == "full" and self.loop.level[arg] != level:
                name = f"{name}_{level}"
                self._load(name, arg, "full", level)
            return name
        if arg.value is not None and arg.size == 1 and arg.dtype == self._float():
            key = ("constant", arg.value.tobytes())  # 0.0 is not -0.0
            if key not in self.known:
                self.known[key] = f"c{len(self.constants)}"
                self.before.append(f"{self.known[key]} = constants[{len(self.constants)}]")
                self.constants.append(float(arg.value.reshape(())))
            return self.known[key]
        given = self.loop.argument_kind(arg, node) if arg is not node else kind
        assert given is not None
        name = self.known.setdefault(("name", arg), f"x{len(self.known)}")
        if given == "scalar":
            if ("scalar", arg) not in self.loaded:
                self.loaded.add(("scalar", arg))
                self.before.append(f"{name} = {self._array(arg, 'scalar')}[0]")
            return name
        if given == "column":
            if ("column", arg) not in self.loaded:
                self.loaded.add(("column", arg))
                self.row_start[0].append(f"{name} = {self._array(arg, 'column')}[{self.row}]")
            return name
        name = f"{name}_{level}"
        self._load(name, arg, given, level)
        return name

    def _load(self, name: str, arg: Node, kind: str, level: int) -> None:
        if name not in self.loaded:
            self.loaded.add(name)
            if kind == "full":
                place = self._element(self.memory.array(arg))
            else:
                array = self._array(arg, kind)
                row = self._repeated(array, arg)
                place = f"{row}[j]"
                if row != array and row not in self.loaded:
                    self.loaded.add(row)
                    self.before += self._each_column(f"{row}[j] = {array}[j % {arg.size}]")
            self.inner[level].append(f"{name} = {place}")

    def _repeated(self, array: str, node: Node) -> str:
        """Return the name of a row as long as those of the loop, which may be several as one."""
        if self.joined == 1:
            return array
        key = "repeated", array
        if key not in self.known:
            self.known[key] = self._named(np.empty(self.columns, node.dtype))
        return self.known[key]

    def _each_column(self, line: str) -> list[str]:
        return ["for j in range(columns):", f"    {line}"]

    def _store(self, node: Node, lines: list[str]) -> None:
        if node in self.transient:
            return
        kind = self.loop.kind[node]
        if kind == "full":
            place = self._element(self.memory.array(node))
        elif kind == "column":
            place = f"{self._array(node, kind)}[{self.row}]"
        else:
            place = f"{self._array(node, 'scalar')}[0]"
        lines.append(f"{place} = {self.names[node]}")

    def _element(self, array: np.ndarray) -> str:
        """Return the expression for an element of an array of the loop's shape."""
        if self.grid is not None:
            flat, index = self.grid.seen(array.reshape(self.shape))
            return f"{self._named(flat)}[{index}]"
        lead = self.lead if self.loop.nested else (self.rows,)
        return f"{self._named(_reshaped(array, (*lead, self.columns)))}[{self.row}, j]"

    def _array(self, node: Node, kind: str) -> str:
        """Return the argument name of an array of another shape than the loop's."""
        lead = self.lead if self.loop.nested else (self.rows,)
        shape = {"column": lead, "scalar": (1,)}.get(kind, (-1,))
        return self._named(_reshaped(self.memory.array(node), shape))

    def _named(self, shaped: np.ndarray) -> str:
        """Return the argument name of an array; the same memory gets one name."""
        key = (shaped.__array_interface__["data"][0], shaped.shape, shaped.strides, shaped.dtype)
        if key not in self.known:
            self.known[key] = f"a{len(self.arrays)}"
            self.arrays.append(shaped)
        return self.known[key]

    # Source ------------------------------------------------------------------------------------

    def _source(self) -> str:
        if self.grid is not None:
            return self._source_on_grid(self.grid)
        loop = self.loop
        alone = not {"sum", "total"} & {*loop.kind.values()} and self.rows > 1 and not loop.nested
        outer = "prange" if alone and self._is_large() else "range"
        names = ", ".join(f"a{i}" for i in range(len(self.arrays)))
        counts = [f"n{axis}" for axis in range(len(self.lead))] if loop.nested else ["rows"]
        rows = self.lead if loop.nested else (self.rows,)
        shape = (*rows, self.columns)
        whole = [f"a{i}.shape" for i, a in enumerate(self.arrays) if a.shape == shape]
        sizes = whole[0] if whole else ", ".join(map(str, shape))
        lines = [
            f"def kernel({names}, constants):",
            f"    {', '.join(counts)}, columns = {sizes}",
            *([f"    columns = {self.columns}"] if self.shape[-1] <= SHORT else []),
            *(f"    {line}" for line in self.before),
        ]
        pad = "    "
        if self.rows > 1 or loop.nested:
            for index, count in zip(self.row.split(", "), counts, strict=True):
                if index != "0":
                    lines.append(f"{pad}for {index} in {outer}({count}):")
                    pad += "    "
        else:
            lines.append("    i = 0")
        for start, inner, end in zip(self.row_start, self.inner, self.row_end, strict=True):
            lines += [pad + line for line in start]
            if inner:
                lines.append(f"{pad}for j in range(columns):")
                lines += [f"{pad}    {line}" for line in inner]
            lines += [pad + line for line in end]
        lines += [f"    {line}" for line in self.after]
        return "\n".join(lines) + "\n"

    def _is_large(self) -> bool:
        return math.prod(self.shape) >= PARALLEL_SIZE

    def _source_on_grid(self, grid: Grid) -> str:
        names = ", ".join(f"a{i}" for i in range(len(self.arrays)))
        lines = [
            f"def kernel({names}, constants, count):",
            *(f"    {line}" for line in self.before),
        ]
        # The count of the outermost is no part of the source: it goes with the batch.
        ranges = ["prange(count)" if self._is_large() else "range(count)"]
        ranges += [f"range({size})" for size in grid.shape[1:]]
        pad = "    "
        for index, numbers in zip(grid.indices, ranges, strict=True):
            lines.append(f"{pad}for {index} in {numbers}:")
            pad += "    "
        lines += [pad + line for line in self.inner[0]]
        return "\n".join(lines) + "\n"


class Grid:
    """The axes of a loop over parts of arrays, those joined that lie in memory as one.

    The strides stand in the source, so that the compiler knows which elements are neighbours.
    """

    def __init__(self, axes: list[list[int]], shape: tuple[int, ...]) -> None:
        self.last = [group[-1] for group in axes]
        self.shape = tuple(math.prod(shape[axis] for axis in group) for group in axes)
        self.indices = [f"i{number}" for number in range(len(axes))]

    @classmethod
    def of(cls, shape: tuple[int, ...], arrays: list[np.ndarray]) -> Grid | None:
        """Return the axes that suit all arrays, which are of one shape."""
        if any(s < 0 or s % a.itemsize for a in arrays for s in a.strides):
            return None
        axes: list[list[int]] = []
        for axis in (axis for axis, size in enumerate(shape) if size > 1):
            before = axes[-1][-1] if axes else None
            if before is not None and all(
                a.strides[before] == shape[axis] * a.strides[axis] for a in arrays
            ):
                axes[-1].append(axis)
            else:
                axes.append([axis])
        return cls(axes, shape) if axes else None

    def seen(self, array: np.ndarray) -> tuple[np.ndarray, str]:
        """Return the memory from an array's first element on, and the index into it."""
        strides = [array.strides[axis] // array.itemsize for axis in self.last]
        extent = 1 + sum((n - 1) * s for n, s in zip(self.shape, strides, strict=True))
        flat = np.lib.stride_tricks.as_strided(array, (extent,), (array.itemsize,))
        terms = [f"{i} * {s}" for i, s in zip(self.indices, strides, strict=True) if s]
        return flat, " + ".join(terms).replace(" * 1 ", " ").removesuffix(" * 1") or "0"


def number(node: Node) -> bool:
    """Return whether an operation makes one number of others."""
    floats = all(n.shape == () and n.dtype.name in ("float32", "float64") for n in node.args)
    return floats and node.shape == () and NUMBA.knows(node.op) and node.dtype.kind == "f"


def of_numbers(node: Node, memory: Memory) -> Call:
    """Return the call that makes one number of others."""
    arrays = {f"a{i}": memory.array(arg).reshape(1) for i, arg in enumerate(node.args)}
    expression = NUMBA.write(node.op, [f"{a}[0]" for a in arrays], node.dtype.name)
    source = f"def kernel({', '.join(arrays)}, out):\n    out[0] = {expression}"
    return _compiled(source, {**arrays, "out": memory.array(node).reshape(1)})


def _reshaped(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    shaped = array.reshape(shape)
    assert np.may_share_memory(shaped, array), f"{array.strides} is not seen as {shape}"
    return shaped


def worth_threads(node: Node) -> bool:
    """Return whether an operation alone is large enough for a loop that threads share."""
    return node.elementwise and node.size >= PARALLEL_SIZE


def stored(node: Node) -> tuple[Node, ...]:
    """Return the values that an operation writes into parts of an array."""
    return node.args[1:] if node.op == "setitem" else node.args


def part_of(array: np.ndarray, key: tuple[Any, ...]) -> np.ndarray:
    """Return the part of an array that a recorded index shows."""
    part: np.ndarray = array[key_of(key)]
    return part


def _compiled(source: str, arguments: dict[str, np.ndarray | int]) -> Call:
    """Return the call of a loop's function."""
    from npnn.backends import native  # which needs Numba, and the loops of a GPU do not

    if "prange" in source:
        options = "nogil=True, cache=True, parallel=True, error_model='numpy'"
        head = f"{native.IMPORTS}\nfrom numba import njit, prange\n\n@njit({options})\n"
        return module_of(head + source).kernel, tuple(arguments.values())
    _, body = source.split("\n", 1)
    return native.loop(body, arguments), ()
