"""Loops for Numba: the source of one that ``fusion.py`` has found, and the arrays it works on.

It becomes one function::

    for i in range(rows):
        for j in range(columns):      # level 0: bias, largest value of the row
        for j in range(columns):      # level 1: exponentials, and their sum
        ...

Parts of larger arrays, such as what a kernel's place sees of images, are read and written where
they lie; the loop over rows is then one for each axis. Where each element stands alone, the axes
are those of the memory.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npnn.backends import tuning
from npnn.backends.operations.elementwise import Language, computed_in
from npnn.backends.operations.kind import Call, Memory
from npnn.backends.planning.loop import STORES, Loop, stored
from npnn.backends.planning.loop_writer import Axes, LoopWriter
from npnn.backends.recording.node import Node

# What Numba computes just as NumPy does: it knows no float16, and has small integers grow.
DTYPES = {"float32", "float64", "int64", "bool"}

FUNCTIONS = ("exp", "expm1", "log", "log1p", "tanh")  # of functions.py
NUMBA = Language(
    {name: f"functions.{name}_{{dtype}}({{0}})" for name in FUNCTIONS}
    | {name: f"np.{name}({{0}})" for name in ("sqrt", "floor", "ceil")}
    | {"cast": "np.{dtype}({0})"}
)
# Where they are computed one by one, the library of C is the faster.
ONE_BY_ONE = NUMBA._replace(calls=NUMBA.calls | {name: f"np.{name}({{0}})" for name in FUNCTIONS})


class NumbaLoop(Loop):
    """A run of operations that will be one function."""

    language = NUMBA
    dtypes = DTYPES


class NumbaWriter(LoopWriter):
    """Writes the source of one loop, and gathers the arrays it works on.

    Parameters
    ----------
    memory : Memory
        Where the arrays are.
    loop : Loop
        What is computed.
    shape : tuple of int
        That of the loop, or of the part of it that lies in `memory`.
    """

    end = ""

    def __init__(self, memory: Memory, loop: Loop, shape: tuple[int, ...]) -> None:
        self.begin(loop, memory)
        self.shape = shape
        self.transient = memory.draft.transient
        self.lead, self.columns = shape[:-1], shape[-1]
        self.rows = 1 if loop.flat else math.prod(self.lead)
        self.joined = self._rows_to_join()
        self.rows, self.columns = self.rows // self.joined, self.columns * self.joined
        self.arrays: list[np.ndarray] = []
        self.constants: list[float] = []
        self.known: dict[Any, str] = {}
        self.before: list[str] = []
        self.row_start: list[list[str]] = [[] for _ in self.inner]
        self.loaded: set[Any] = set()
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
        for n in reversed(self.lead[1:] if self.columns <= tuning.SHORT else ()):
            joined *= n if joined * self.columns < tuning.SEEN_AS_ONE else 1
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
            if node.op in STORES:
                arrays += self.parts(node)
            elif node not in self.transient:
                arrays.append(self.memory.array(node))
        return Grid.of(self.shape, [array.reshape(self.shape) for array in arrays])

    def calls(self) -> list[Call]:
        """Return the call that runs the loop."""
        self.write_operations()
        source = self._source()
        arguments: dict[str, np.ndarray | int] = {
            **{f"a{i}": array for i, array in enumerate(self.arrays)},
            "constants": np.array(self.constants or [0.0], self._float()),
        }
        if self.grid is not None:
            arguments["count"] = self.grid.sizes[0]
        return [*self.copies, _compiled(source, arguments)]

    def _float(self) -> np.dtype[Any]:
        kinds = [n.dtype for n in self.loop.nodes if n.dtype.kind == "f"]
        return kinds[0] if kinds else np.dtype(np.float32)

    # Operations --------------------------------------------------------------------------------

    def expression(self, node: Node, values: list[str]) -> str:
        many = self.grid is not None or self.columns >= tuning.AT_ONCE
        language = NUMBA if many and self.loop.kind.get(node) == "full" else ONE_BY_ONE
        return language.write(node.op, values, computed_in(node).name)

    def made(self, node: Node, value: str) -> str:
        return f"{self.names[node]} = {value}"

    def copied(self, out: np.ndarray, x: np.ndarray) -> list[Call]:
        return [(np.copyto, (out, x))]

    def reduce(self, node: Node) -> None:
        x, name, level = node.args[0], self.names[node], self.loop.level[node]
        kind, dtype = self.loop.kind[node], node.dtype.name
        column = self.loop.kind.get(x) == "column"
        value = self.value(x, x, "column" if column else "full", level)
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
            self.store(node, self.after)
        elif node.op == "argmax":
            best = f"best_{name}"
            self.row_start[level] += [f"{name} = 0", f"{best} = np.{x.dtype.name}(-np.inf)"]
            lines.append(f"if {value} > {best} or ({value} != {value} and {best} == {best}):")
            lines.append(f"    {best} = {value}; {name} = j")
            self.store(node, self.row_end[level])
        elif node.op == "sum":
            self.row_start[level].append(f"{name} = np.{dtype}(0)")
            lines.append(self._added(node, value))
            self.store(node, self.row_end[level])
        else:
            start, better = {"max": ("-np.inf", "larger"), "min": ("np.inf", "smaller")}[node.op]
            self.row_start[level] += [f"{name} = np.{dtype}({start})", f"nan_{name} = False"]
            lines.append(f"nan_{name} |= {value} != {value}")
            lines.append(f"{name} = functions.{better}({name}, {value})")
            self.row_end[level].append(f"if nan_{name}: {name} = np.{dtype}(np.nan)")
            self.store(node, self.row_end[level])

    def _added(self, node: Node, value: str) -> str:
        """Return the line that adds a value to a sum, in an order that suits the processor."""
        name = self.names[node]
        floats = node.dtype.kind == node.args[0].dtype.kind == "f"
        return f"{name} = functions.added({name}, {value})" if floats else f"{name} += {value}"

    # Values ------------------------------------------------------------------------------------

    def value(self, arg: Node, node: Node, kind: str, level: int) -> str:
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
                place = self.element(self.memory.array(arg))
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

    def store(self, node: Node, lines: list[str]) -> None:
        if node in self.transient:
            return
        kind = self.loop.kind[node]
        if kind == "full":
            place = self.element(self.memory.array(node))
        elif kind == "column":
            place = f"{self._array(node, kind)}[{self.row}]"
        else:
            place = f"{self._array(node, 'scalar')}[0]"
        lines.append(f"{place} = {self.names[node]}")

    def element(self, array: np.ndarray) -> str:
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
        names = ", ".join(f"a{i}" for i in range(len(self.arrays)))
        if self.grid is not None:
            # The count of the outermost is no part of the source: it goes with the batch.
            counts = ["count", *map(str, self.grid.sizes[1:])]
            over, head = list(zip(self.grid.names, counts, strict=True)), list[str]()
            inside, names = self.inner[0], f"{names}, constants, count"
        else:
            over, head, inside = self._over_rows()
            names = f"{names}, constants"
        lines, pad = [f"    {line}" for line in head + self.before], "    "
        for index, count in over:
            lines.append(f"{pad}for {index} in range({count}):")
            pad += "    "
        lines += [pad + line for line in inside]
        lines += [f"    {line}" for line in self.after]
        return "\n".join([f"def kernel({names}):", *lines]) + "\n"

    def _over_rows(self) -> tuple[list[tuple[str, str]], list[str], list[str]]:
        """Return the indices of a loop over rows with their counts, what is before and inside."""
        loop = self.loop
        counts = [f"n{axis}" for axis in range(len(self.lead))] if loop.nested else ["rows"]
        shape = (*(self.lead if loop.nested else (self.rows,)), self.columns)
        whole = [f"a{i}.shape" for i, a in enumerate(self.arrays) if a.shape == shape]
        sizes = whole[0] if whole else ", ".join(map(str, shape))
        head = [f"{', '.join(counts)}, columns = {sizes}"]
        head += [f"columns = {self.columns}"] * (self.shape[-1] <= tuning.SHORT)
        over = [pair for pair in zip(self.row.split(", "), counts, strict=True) if pair[0] != "0"]
        if self.rows == 1 and not loop.nested:
            over, head = [], [*head, "i = 0"]
        inside = []
        for start, inner, end in zip(self.row_start, self.inner, self.row_end, strict=True):
            columns = [f"    {line}" for line in inner]
            inside += [*start, *["for j in range(columns):"] * bool(inner), *columns, *end]
        return over, head, inside


class Grid(Axes):
    """The axes of a loop over parts of arrays.

    The strides stand in the source, so that the compiler knows which elements are neighbours.
    """

    @classmethod
    def of(cls, shape: tuple[int, ...], arrays: list[np.ndarray]) -> Grid | None:
        """Return the axes that suit all arrays, which are of one shape."""
        if any(s < 0 or s % a.itemsize for a in arrays for s in a.strides):
            return None
        axes = cls(shape, range(len(shape)), arrays)
        return axes if axes.sizes else None

    def seen(self, array: np.ndarray) -> tuple[np.ndarray, str]:
        """Return the memory from an array's first element on, and the index into it."""
        steps = zip(self.sizes, self.steps(array), strict=True)
        extent = 1 + sum((n - 1) * step for n, step in steps)
        flat = np.lib.stride_tricks.as_strided(array, (extent,), (array.itemsize,))
        return flat, " + ".join(self.terms(array)) or "0"


def number(node: Node) -> bool:
    """Return whether an operation makes one number of others."""
    floats = all(n.shape == () and n.dtype.name in ("float32", "float64") for n in node.args)
    return floats and node.shape == () and NUMBA.knows(node.op) and node.dtype.kind == "f"


def of_numbers(node: Node, memory: Memory) -> Call:
    """Return the call that makes one number of others."""
    arrays = {f"a{i}": memory.array(arg).reshape(1) for i, arg in enumerate(node.args)}
    expression = ONE_BY_ONE.write(node.op, [f"{a}[0]" for a in arrays], node.dtype.name)
    source = f"def kernel({', '.join(arrays)}, out):\n    out[0] = {expression}"
    return _compiled(source, {**arrays, "out": memory.array(node).reshape(1)})


def _reshaped(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    shaped = array.reshape(shape)
    assert np.may_share_memory(shaped, array), f"{array.strides} is not seen as {shape}"
    return shaped


def _compiled(source: str, arguments: dict[str, np.ndarray | int]) -> Call:
    """Return the call of a loop's function."""
    from npnn.backends.cpu import native  # which needs Numba, and the loops of a GPU do not

    _, body = source.split("\n", 1)
    return native.loop(body, arguments), ()
