"""CUDA C for the operations of a plan: one kernel for each loop, and for what is in none.

What a loop contains is found in ``fusion.py``. Here it is written for many threads, in one of two
ways. Where each element stands alone, threads share out the elements. Where rows are summed up, a
*team* of up to 32 threads takes a row, and exchanges values by shuffles; sums over the batch are
added up in registers, then among the teams of a block, and at last among the blocks by the one that
ends last, in an order that is always the same: no result depends on which thread was the first.
Elements that lie side by side in all arrays are loaded, and stored, four or two at a time.

All shapes, strides and constants stand in the source; the addresses are arguments.
"""

from __future__ import annotations

import math
import re
from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.backends.elementwise import OPERATIONS, Language, computed_in
from npnn.backends.fusion import Loop, part_of
from npnn.backends.loop_writer import LoopWriter
from npnn.backends.operations import _as_windows, _split, joins_windows
from npnn.backends.tracer import Node, NotRecorded

if TYPE_CHECKING:
    from npnn.backends.cupy_plan import CupyPlan

TYPES = {
    "float32": "float", "float64": "double", "int64": "long long", "int32": "int",
    "int16": "short", "int8": "signed char", "uint8": "unsigned char", "bool": "bool",
}  # fmt: skip
FLAT_THREADS = 256  # of a block in which each element stands alone
ROW_THREADS = 512  # of a block that works on rows: a power of two, and at least a warp
WARP = 32
PACKS = (4, 2)  # elements that a thread may load at once, if they lie side by side
MOST_SUMS = 16  # columns of a row that one thread adds up over the batch, in registers
MOST_KEPT = 8  # columns of a row of which a thread keeps each value in a register
ROWS_EACH = 4  # rows that a team should have before there is another block
MOST_BLOCKS = 512  # that leave partial sums
LONG = 1 << 31  # elements from which an int cannot count
# A product and a sum are rounded one after the other, as NumPy does it: not in one instruction.
OPTIONS = ("-std=c++17", "-fmad=false")

C = Language(
    {name: f"{name}({{0}})" for name in ("sqrt", "exp", "exp2", "expm1", "log", "log2", "log10")}
    | {name: f"{name}({{0}})" for name in ("log1p", "tanh", "sin", "cos", "floor", "ceil")}
    | {"pow": "pow({0}, {1})", "cast": "{0}"},
    choice="({0} ? {1} : {2})",
    number="{0}",
    words=("&&", "||", "!"),
)
TOKEN = re.compile("@([0-9]+)@")  # an element of an array

PRELUDE = Path(__file__).with_name("prelude.cu").read_text()


class CudaLoop(Loop):
    """A run of operations that will be one kernel; some that a product does are none of it."""

    language = C
    dtypes = TYPES.keys()

    def __init__(self, riding: Set[Node], *args: Any) -> None:
        super().__init__(*args)
        self.riding = riding

    def _classify(self, node: Node) -> tuple[str, int] | None:
        if node in self.riding:
            return None
        found = super()._classify(node)
        if found is None:
            return None
        kinds = {*self.kind.values(), found[0]}
        # What follows from a total is computed once, by the block that ends last.
        if found[0] == "scalar" and "total" not in kinds:
            return None
        many = self.columns > MOST_SUMS * WARP
        return None if many and {"column", "sum"} <= kinds else found

    def _classify_reduction(self, node: Node) -> tuple[str, int] | None:
        x = node.args[0]
        if self.flat and node.op == "sum" and x.shape == self.shape:
            return ("total", 0) if self.argument_kind(x, x) == "full" else None
        return super()._classify_reduction(node)


class Launch:
    """A kernel with its grid and its arguments; called, it is put on the current stream."""

    capturable = True

    def __init__(self, name: str, grid: tuple[int, ...], block: tuple[int, ...]) -> None:
        self.name, self.grid, self.block = name, grid, block
        self.arrays: list[np.ndarray] = []
        self.arguments: tuple[int, ...] = ()
        self.function: Any = None

    def __call__(self) -> None:
        """Put the kernel on the current stream."""
        self.function(self.grid, self.block, self.arguments)


class Sources:
    """The kernels of one plan, compiled together."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.launches: list[Launch] = []

    def add(
        self,
        parameters: list[str],
        arrays: list[np.ndarray],
        body: list[str],
        grid: tuple[int, ...],
        block: tuple[int, ...],
    ) -> Launch:
        """Take in a kernel, and return what launches it."""
        launch = Launch(f"k{len(self.texts)}", grid, block)
        launch.arrays = arrays
        lines = "\n".join(body)
        # The counts say how many registers a thread may have, no more.
        head = f'extern "C" __global__ void __launch_bounds__({math.prod(block)}) {launch.name}'
        self.texts.append(f"{head}({', '.join(parameters)}) {{\n{lines}\n}}\n")
        self.launches.append(launch)
        return launch

    @property
    def text(self) -> str:
        """The whole source."""
        return PRELUDE + "\n" + "\n".join(self.texts)


class Writer:
    """Writes one kernel over the elements of one shape, and gathers the arrays it works on.

    In the lines of its body ``@3@`` stands for an element of the array ``a3``, ``@column@`` for the
    column it is in, and ``@own@`` for the how many-th of its columns that is to the thread.
    """

    def __init__(self, plan: CupyPlan, shape: tuple[int, ...]) -> None:
        self.plan, self.shape = plan, shape
        self.arrays: list[np.ndarray] = []  # seen in the shape, or as they are
        self.seen: list[bool] = []  # which of the two
        self.numbers: dict[Any, int] = {}
        self.before: list[str] = []
        self.loaded: set[str] = set()
        self.may_pack = True

    # Elements and their places -----------------------------------------------------------------

    def _number(self, array: np.ndarray, seen: bool) -> int:
        key = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype)
        if (key, seen) not in self.numbers:
            self.numbers[key, seen] = len(self.arrays)
            self.arrays.append(array)
            self.seen.append(seen)
        return self.numbers[key, seen]

    def element(self, array: np.ndarray) -> str:
        """Return what stands for an element until the places are known."""
        return f"@{self._number(np.broadcast_to(array, self.shape), True)}@"

    def whole(self, array: np.ndarray) -> str:
        """Return the name of an array that is indexed otherwise."""
        return f"a{self._number(array, False)}"

    def load(self, lines: list[str], name: str, array: np.ndarray, where: str = "") -> str:
        """Have an element loaded into a variable, in `lines`, unless it is already."""
        if array.size == 1 < math.prod(self.shape):
            return self.load_number(array)
        if name not in self.loaded:
            value = f"{where} ? {self.element(array)} : 0" if where else self.element(array)
            lines.append(f"const {TYPES[array.dtype.name]} {name} = {value};")
            self.loaded.add(name)
        return name

    def load_number(self, array: np.ndarray) -> str:
        """Have the one element of an array loaded before anything else."""
        whole = self.whole(array.reshape(1))
        if whole not in self.loaded:
            self.before.append(f"const {TYPES[array.dtype.name]} n{whole} = {whole}[0];")
            self.loaded.add(whole)
        return f"n{whole}"

    def launch(self, lines: list[str], blocks: int, lanes: int, teams: int) -> Launch:
        """Return the launch of what was written, in blocks of so many teams."""
        parameters = [f"{TYPES[a.dtype.name]}* a{n}" for n, a in enumerate(self.arrays)]
        sizes = f"[[maybe_unused]] constexpr int LANES = {lanes}, TEAMS = {teams};"
        lines = [sizes, *self.before, *lines]
        return self.plan.sources.add(parameters, self.arrays, lines, (blocks,), (lanes, teams))

    def index_type(self) -> str:
        """Return the type that can count to the farthest element."""
        extents = [math.prod(self.shape)]
        for array in self.arrays:
            steps = zip(array.shape, array.strides, strict=True)
            extents.append(sum((n - 1) * abs(s) for n, s in steps) // array.itemsize)
        return "int" if max(extents) < LONG // 2 else "long long"

    # Elements that stand alone -----------------------------------------------------------------

    def write_flat(self, body: list[str], totals: Totals | None = None) -> Launch:
        """Return the launch of a kernel that shares out the elements among the threads."""
        size, index, axes = math.prod(self.shape), self.index_type(), range(len(self.shape))
        at = self._coordinates(axes, "e", index)
        pack = self._pack(at.sizes[-1], at.last[:-1], at.last[-1]) if at.last else 1
        packs, rest = divmod(size, pack)
        blocks = max(1, -(-(packs + rest) // FLAT_THREADS))
        if totals is not None:
            blocks = min(blocks, MOST_BLOCKS)
        turn = f"blockIdx.x * ({index}){FLAT_THREADS} + threadIdx.y * LANES + threadIdx.x"
        lines = one = [*at.lines, *self._placed(body, at)]
        if pack > 1:
            of_packs = self._coordinates(axes, "q", index, pack)
            lines = [*of_packs.lines, *self._packed(body, of_packs, pack, at.last[-1])]
        if rest:
            # What no pack is left for is done one by one.
            left = [f"const {index} e = q + {packs * (pack - 1)};", *one]
            lines = [f"if (q < {packs}) {{", *lines, "} else {", *left, "}"]
        counter = "q" if pack > 1 else "e"
        turns = _turns(index, counter, turn, packs + rest, blocks * FLAT_THREADS)
        lines = [*turns, *lines, "}"]
        if totals is not None:
            lines = [*totals.start, *lines, *totals.finish(WARP, FLAT_THREADS // WARP, blocks)]
        return self.launch(lines, blocks, WARP, FLAT_THREADS // WARP)

    def _pack(self, size: int, lead: list[int], last: int) -> int:
        """Return how many neighbours along an axis, of so many, all arrays load at once."""

        def fits(array: np.ndarray, pack: int) -> bool:
            width, step = min(16, pack * array.itemsize), array.strides[last]
            begins = [self.plan.alignment(array), *(array.strides[axis] for axis in lead)]
            return step == 0 or (step == array.itemsize and not any(b % width for b in begins))

        arrays = [a for a, seen in zip(self.arrays, self.seen, strict=True) if seen]
        for pack in PACKS if self.may_pack else ():
            whole = size % pack == 0 or (not lead and size > pack)
            if whole and all(fits(array, pack) for array in arrays):
                return pack
        return 1

    # Where an element lies ---------------------------------------------------------------------

    def _coordinates(self, axes: range, counter: str, index: str, pack: int = 1) -> Coordinates:
        seen = [a for a, is_seen in zip(self.arrays, self.seen, strict=True) if is_seen]
        return Coordinates(self.shape, axes, seen, counter, index, pack)

    def _place(self, number: int, at: Coordinates, column: str = "") -> str:
        array = self.arrays[number]
        terms = at.terms(array)
        if column and array.strides[-1]:
            terms.append(_times(column, array.strides[-1] // array.itemsize))
        return f"a{number}[{' + '.join(terms) or '0'}]"

    def _placed(self, lines: list[str], at: Coordinates, column: str = "") -> list[str]:
        """Return lines with the place of each element filled in."""
        return [TOKEN.sub(lambda m: self._place(int(m[1]), at, column), line) for line in lines]

    def _packed(
        self, body: list[str], at: Coordinates, pack: int, last: int, column: str = ""
    ) -> list[str]:
        """Return lines for each of some neighbours along an axis, loaded and stored at once."""
        if pack == 1:
            return _owned(self._placed(body, at, column), "k", column)
        loads, stores, inside = [], [], {}
        for token in sorted({match[0] for line in body for match in TOKEN.finditer(line)}):
            number = int(token.strip("@"))
            array, inside[token] = self.arrays[number], self._place(number, at, column)
            if not array.strides[last]:
                continue  # one for all of them
            kind, place = f"Pack<{TYPES[array.dtype.name]}, {pack}>", inside[token]
            inside[token], here = f"p{number}.v[c]", f"*({kind}*)&{place}"
            read = any(token in line.removeprefix(f"{token} = ") for line in body)
            loads.append(f"{kind} p{number} = {here};" if read else f"{kind} p{number};")
            if any(line.startswith(f"{token} = ") for line in body):
                stores.append(f"{here} = p{number};")
        body = [TOKEN.sub(lambda match: inside[match[0]], line) for line in body]
        body = _owned(body, f"k * {pack} + c", f"{column} + c")
        loop = ["#pragma unroll", f"for (int c = 0; c < {pack}; ++c) {{", *body, "}"]
        return [*loads, *loop, *stores]


def _owned(lines: list[str], own: str, column: str) -> list[str]:
    return [line.replace("@own@", own).replace("@column@", column) for line in lines]


def _turns(index: str, counter: str, start: str, stop: int, step: int) -> list[str]:
    """Return the head of a loop, or of what is done once where no thread has a second turn."""
    if step < stop:
        more = f"{counter} += ({index}){step}"
        return [f"for ({index} {counter} = {start}; {counter} < {stop}; {more}) {{"]
    return [f"const {index} {counter} = {start};", f"if ({counter} < {stop}) {{"]


class Coordinates:
    """A counter over some axes, taken apart into as few coordinates as all arrays allow.

    It may count packs of elements that are neighbours along the last axis.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        axes: range,
        arrays: list[np.ndarray],
        counter: str,
        index: str,
        pack: int = 1,
    ) -> None:
        groups: list[list[int]] = []
        for axis in (axis for axis in axes if shape[axis] > 1):
            last = groups[-1][-1] if groups else None
            if last is not None and all(
                a.strides[last] == shape[axis] * a.strides[axis] for a in arrays
            ):
                groups[-1].append(axis)
            else:
                groups.append([axis])
        self.last = [group[-1] for group in groups]
        self.sizes = [math.prod(shape[axis] for axis in group) for group in groups]
        self.lines: list[str] = []
        self.names = [f"{counter}{n}" for n in range(len(groups))]
        below = 1
        for n in reversed(range(len(groups))):
            count = self.sizes[n] // (pack if n == len(groups) - 1 else 1)
            # Dividing numbers without a sign takes fewer instructions.
            value = f"(unsigned {index}){counter}" if len(groups) > 1 else counter
            value += f" / {below}" * (below > 1) + f" % {count}" * (n > 0)
            value = f"({value}) * {pack}" if pack > 1 and n == len(groups) - 1 else value
            self.lines.append(f"const {index} {self.names[n]} = {value};")
            below *= count

    def terms(self, array: np.ndarray) -> list[str]:
        """Return the summands of the place of an element."""
        steps = [array.strides[axis] // array.itemsize for axis in self.last]
        return [_times(name, s) for name, s in zip(self.names, steps, strict=True) if s]


def _times(name: str, step: int) -> str:
    return name if step == 1 else f"{name} * {step}"


class Totals:
    """Sums over the whole of a loop, or over its rows, and what follows from them."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.start: list[str] = []
        self.sums: list[tuple[str, str, str, int]] = []  # register, type, target, columns
        self.totals: list[tuple[str, str]] = []  # register, type
        self.after: list[str] = []  # done once, by one thread

    def __bool__(self) -> bool:
        return bool(self.sums or self.totals)

    def add_sum(self, name: str, ctype: str, target: str, columns: int) -> None:
        """Have values added up, column by column, into registers `name`, one for each column."""
        self.start.append(f"{ctype} {name}[OWN] = {{}};")
        self.sums.append((name, ctype, target, columns))

    def add_total(self, name: str, ctype: str) -> None:
        """Have values added up into the register `name`."""
        self.start.append(f"{ctype} {name} = 0;")
        self.totals.append((name, ctype))

    def finish(
        self, lanes: int, teams: int, chunks: int, tiles: int = 1, column: str = ""
    ) -> list[str]:
        """Return the lines that add up what the threads have, in `chunks` times `tiles` blocks.

        The column of the register number `m` of a thread is `column`.
        """
        first = "threadIdx.y == 0 && threadIdx.x == 0"
        threads, blocks = lanes * teams, chunks * tiles
        partial = chunks > 1 or (tiles > 1 and bool(self.totals))
        lines: list[str] = []
        last: list[str] = []  # what the block that ends last does
        for name, ctype, target, columns in self.sums:
            place = target
            if chunks > 1:
                scratch = self.writer.whole(self.writer.plan.scratch_array(ctype, chunks * columns))
                place = f"({scratch} + (long long)chunk * {columns})"
                # Few columns leave threads to share out the blocks.
                width = threads if chunks <= 8 else min(threads, 1 << (columns - 1).bit_length())
                sizes = f"{threads}, {width}, {chunks}, {columns}"
                last.append(f"sum_of_blocks<{sizes}>({scratch}, {target});")
            lines += [
                "#pragma unroll",
                "for (int m = 0; m < OWN; ++m) {",
                f"const {ctype} sum = block_sum<LANES, TEAMS>({name}[m]);",
                f"const int j = {column};",
                f"if (threadIdx.y == 0 && j < {columns}) {place}[j] = sum;",
                "}",
            ]
        for name, ctype in self.totals:
            lines.append(f"{name} = block_total<LANES, TEAMS>({name});")
            if partial:
                scratch = self.writer.whole(self.writer.plan.scratch_array(ctype, blocks))
                lines.append(f"if ({first}) {scratch}[blockIdx.x] = {name};")
                mine = "threadIdx.y * LANES + threadIdx.x"
                last += [
                    f"{name} = 0;",
                    f"for (int b = {mine}; b < {blocks}; b += {threads})",
                    f"    {name} += {scratch}[b];",
                    f"{name} = block_total<LANES, TEAMS>({name});",
                ]
        if partial:
            counter = self.writer.whole(self.writer.plan.counter)
            lines += [f"if (!comes_last((unsigned*){counter}, {blocks})) return;", *last]
        if self.after:
            lines += [f"if ({first}) {{", *self.after, "}"]
        return lines


class KernelWriter(Writer, LoopWriter):
    """Writes the kernel of a loop."""

    end = ";"

    def __init__(self, plan: CupyPlan, loop: CudaLoop) -> None:
        super().__init__(plan, loop.shape)
        self.loop, self.memory = loop, plan
        self.names = {node: f"t{n}" for n, node in enumerate(loop.nodes)}
        kinds = set(loop.kind.values())
        self.is_flat = kinds <= {"full", "store"} or (
            kinds <= {"full", "store", "total", "scalar"} and not any(loop.level.values())
        )
        self.has_columns = "column" in kinds
        top = max(loop.level.values()) + 1
        self.keeps = top > 1 and loop.columns <= MOST_KEPT * WARP
        self.holders: dict[str, tuple[int, str]] = {}  # level and name of each value
        self.kept: set[str] = set()
        self.row_start: list[str] = []
        self.inner: list[list[str]] = [[] for _ in range(top)]
        self.row_end: list[list[str]] = [[] for _ in range(top)]
        self.totals = Totals(self)
        self.after, self.copies = self.totals.after, []

    def launches(self) -> list[Launch]:
        """Return the launches that run the loop."""
        self.write_operations()
        if self.is_flat:
            return [*self.copies, self.write_flat(self.inner[0], self.totals or None)]
        return [*self.copies, self._write_rows()]

    # Operations --------------------------------------------------------------------------------

    def expression(self, node: Node, values: list[str]) -> str:  # noqa: D102
        return expression(node, values)

    def made(self, node: Node, value: str) -> str:  # noqa: D102
        name = self.names[node]
        if self.loop.kind[node] == "full":
            self.holders[name] = self.loop.level[node], name
        return f"const {TYPES[node.dtype.name]} {name} = {value};"

    def copied(self, out: np.ndarray, x: np.ndarray) -> list[Launch]:  # noqa: D102
        return write_copy(self.plan, out, x)

    def reduce(self, node: Node) -> None:  # noqa: D102
        x, name, level = node.args[0], self.names[node], self.loop.level[node]
        kind, ctype = self.loop.kind[node], TYPES[node.dtype.name]
        of_column = self.loop.kind.get(x) == "column"
        value = self.value(x, x, "column" if of_column else "full", level)
        if kind == "sum":
            target = self.whole(self.plan.array(node).reshape(-1))
            self.totals.add_sum(name, ctype, target, self.loop.columns)
            self.inner[level].append(f"{name}[@own@] += {value};")
        elif kind == "total":
            self.totals.add_total(name, ctype)
            if of_column:
                self.row_end[level].append(f"if (inside && lane == 0) {name} += {value};")
            else:
                self.inner[level].append(f"{name} += {value};")
            self.store(node, self.totals.after)
        elif node.op == "argmax":
            self._argmax(node, value)
        else:
            start = {"sum": "0", "max": "-INFINITE", "min": "INFINITE"}[node.op]
            add = {
                "sum": f"{name} += {value};",
                "max": f"{name} = larger<{ctype}>({value}, {name});",
                "min": f"{name} = smaller<{ctype}>({value}, {name});",
            }[node.op]
            self.row_start.append(f"{ctype} {name} = {start};")
            self.inner[level].append(add)
            self.row_end[level].append(f"{name} = team_{node.op}<LANES>({name});")
            self.store(node, self.row_end[level])

    def _argmax(self, node: Node, value: str) -> None:
        name, level = self.names[node], self.loop.level[node]
        x = TYPES[node.args[0].dtype.name]
        self.row_start += [f"{x} best_{name} = -INFINITE;", f"int at_{name} = {LONG - 1};"]
        self.inner[level].append(
            f"if (beats<{x}>({value}, @column@, best_{name}, at_{name})) "
            f"{{ best_{name} = {value}; at_{name} = @column@; }}"
        )
        team = f"team_argmax<LANES>(best_{name}, at_{name})"
        self.row_end[level].append(f"const long long {name} = {team};")
        self.store(node, self.row_end[level])

    # Values ------------------------------------------------------------------------------------

    def value(self, arg: Node, node: Node, kind: str, level: int) -> str:  # noqa: D102
        loop = self.loop
        if arg in loop.kind:
            name = self.names[arg]
            if loop.kind[arg] == "full" and loop.level[arg] != level:
                return self._at(name, arg, level)
            return name
        if arg.value is not None and arg.size == 1:
            return literal(arg.value)
        given = loop.argument_kind(arg, node) if arg is not node else kind
        array = self.plan.array(arg)
        name = f"x{self._argument(arg)}"
        if given == "scalar":
            return self.load_number(array)
        if given == "column":
            column = array.reshape((*loop.lead, 1))
            if self.is_flat:
                return self.load(self.inner[0], name, column)
            # Threads beyond the last row must not read what its team may write over.
            return self.load(self.row_start, name, column, "inside")
        return self._at(name, arg, level)

    def _at(self, name: str, arg: Node, level: int) -> str:
        """Return a value of each element at a level, loaded unless an earlier one has kept it."""
        made, variable = self.holders.get(name, (level, f"{name}_{level}"))
        if not self.keeps or made >= level:
            loaded = self.load(self.inner[level], f"{name}_{level}", self.plan.array(arg))
            if loaded == f"{name}_{level}":
                self.holders.setdefault(name, (level, loaded))
            return loaded
        if name not in self.kept:
            self.kept.add(name)
            self.row_start.append(f"{TYPES[arg.dtype.name]} kept_{name}[OWN];")
            self.inner[made].append(f"kept_{name}[@own@] = {variable};")
        return f"kept_{name}[@own@]"

    def _argument(self, arg: Node) -> int:
        return self.numbers.setdefault(("argument", arg), len(self.numbers))

    def store(self, node: Node, lines: list[str]) -> None:  # noqa: D102
        kind, name = self.loop.kind[node], self.names[node]
        if node in self.plan.transient or (kind == "full" and self._stays_here(node)):
            return
        array = self.plan.array(node)
        if kind == "full":
            lines.append(f"{self.element(array)} = {name};")
        elif kind == "column":
            # Each thread of the team has read what may be written over.
            place = self.element(array.reshape((*self.loop.lead, 1)))
            lines += ["__syncwarp();", f"if (inside && lane == 0) {place} = {name};"]
        else:
            lines.append(f"{self.whole(array.reshape(1))}[0] = {name};")

    def _stays_here(self, node: Node) -> bool:
        """Return whether nobody but this loop, which keeps it in a register, needs a value."""
        users = self.plan.users.get(node, ())
        return self.keeps and node not in self.plan.kept and self.loop.kind.keys() >= {*users}

    # Rows --------------------------------------------------------------------------------------

    def _write_rows(self) -> Launch:
        loop, totals = self.loop, self.totals
        rows, lead = math.prod(loop.lead), list(range(len(loop.lead)))
        pack = self._pack(loop.columns, lead, len(lead)) if loop.columns > 1 else 1
        packs = loop.columns // pack
        lanes = min(WARP, 1 << (packs - 1).bit_length())
        threads = ROW_THREADS if totals else FLAT_THREADS
        teams = min(threads // lanes, max(WARP // lanes, 1 << (rows - 1).bit_length()))
        # Where no row is summed up, blocks share out the columns too.
        each, tiles = -(-packs // lanes), 1
        if not self.has_columns:
            each, tiles = tiles, each
        chunks = -(-rows // teams)
        if totals:
            chunks = min(-(-chunks // ROWS_EACH), max(1, MOST_BLOCKS // tiles))
        index = self.index_type()
        at = self._coordinates(range(len(lead)), "i", index)
        stores = any(line.startswith("@") for inner in self.inner for line in inner)
        lines = [
            f"[[maybe_unused]] constexpr int OWN = {each * pack};",
            *totals.start,
            "const int lane = threadIdx.x;",
            # The second axis of a grid would be too short for some.
            f"const int chunk = blockIdx.x / {tiles}, tile = blockIdx.x % {tiles};",
            # Loads cannot go before a store of the turn before: unrolled, they only take registers.
            *["#pragma unroll 1"] * (stores and chunks * teams < rows),
            *_turns(index, "first", f"chunk * ({index})TEAMS", rows, chunks * teams),
            f"const {index} i = first + threadIdx.y;",
            f"const bool inside = i < {rows};",
            *at.lines,
            *self._placed(self.row_start, at),
        ]
        column = f"((tile + k) * LANES + lane) * {pack}"
        for inner, row_end in zip(self.inner, self.row_end, strict=True):
            if inner:
                # Registers have no places: a loop over them must be unrolled.
                lines += ["#pragma unroll"] * (bool(totals.sums) or self.keeps)
                lines += [
                    f"for (int k = 0; k < {each}; ++k) {{",
                    f"const int column = {column};",
                    f"if (inside && column < {loop.columns}) {{",
                    *self._packed(inner, at, pack, len(lead), "column"),
                    "}",
                    "}",
                ]
            lines += self._placed(row_end, at)
        lines.append("}")
        if totals:
            its = f"((tile + m / {pack}) * LANES + lane) * {pack} + m % {pack}"
            lines += totals.finish(lanes, teams, chunks, tiles, its)
        return self.launch(lines, chunks * tiles, lanes, teams)


# Operations that are in no loop ------------------------------------------------------------------


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
    """Return the launches of a join; parts that were computed in their place are there already."""
    axis, out = node.attrs[0], plan.array(node)
    if joins_windows(node):
        windows = _as_windows([plan.array(part) for part in node.args])
        if windows is not None:
            return write_copy(plan, _split(out, windows.shape), windows)
    launches: list[Launch] = []
    start = 0
    for part in node.args:
        stop = start + part.shape[axis]
        if plan.parts.get(part.base, (None, -1)) != (node, start):
            target = out[(slice(None),) * axis + (slice(start, stop),)]
            launches += write_copy(plan, target, plan.array(part))
        start = stop
    return launches


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
    """Return the launch that gathers rows by number; none is out of range."""
    x, index = map(plan.array, node.args)
    (axis,), out = node.attrs, plan.array(node)
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
    teams = FLAT_THREADS // lanes
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


# Expressions -------------------------------------------------------------------------------------


def expression(node: Node, values: list[str]) -> str:
    """Return the expression of one operation on values of the dtypes of its arguments."""
    if not C.knows(node.op) or (OPERATIONS[node.op].of == "floats" and node.dtype.kind != "f"):
        raise NotRecorded(f"{node.op}(), of which there is no kernel")
    computed = computed_in(node)
    given = [
        value
        if arg.dtype == computed or (node.op == "where" and number == 0)
        else f"({TYPES[computed.name]})({value})"
        for number, (value, arg) in enumerate(zip(values, node.args, strict=True))
    ]
    given = [value if value.isidentifier() else f"({value})" for value in given]
    return C.write(node.op, given, computed.name)


def literal(value: np.ndarray) -> str:
    """Return a constant as it is written in C, to the last bit."""
    ctype, number = TYPES[value.dtype.name], value.reshape(()).item()
    if value.dtype.kind == "b":
        return "true" if number else "false"
    if value.dtype.kind != "f":
        return f"({ctype})({number}LL)"
    if math.isfinite(number):
        return f"({ctype}){number.hex()}"
    return f"({ctype})" + (
        "NO_NUMBER" if number != number else "INFINITE" if number > 0 else "-INFINITE"
    )
