"""A kernel in CUDA C: its elements and their places, what is loaded, and its launch.

Elements that lie side by side in all arrays are loaded, and stored, four or two at a time. All
shapes, strides and constants stand in the source; the addresses are arguments.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.backends import tuning
from npnn.backends.operations.elementwise import OPERATIONS, Language, computed_in
from npnn.backends.planning.loop_writer import Axes, times
from npnn.backends.recording.node import Node, NotRecorded

if TYPE_CHECKING:
    from npnn.backends.gpu.cupy_plan import CupyPlan
    from npnn.backends.gpu.loops import Totals

TYPES = {
    "float32": "float", "float64": "double", "int64": "long long", "int32": "int",
    "int16": "short", "int8": "signed char", "uint8": "unsigned char", "bool": "bool",
}  # fmt: skip
WARP = 32
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

PRELUDE = Path(__file__).with_name("prelude.cu").read_text(encoding="utf-8")


class Launch:
    """A kernel with its grid and its arguments; called, it is put on the current stream.

    Parameters
    ----------
    name : str
        What the kernel is called.
    arrays : dict
        The arrays whose addresses it is handed, by the names that they have in it.
    lines : list of str
        What it does.
    blocks : int
        The size of the grid.
    block : tuple of int
        The shape of a block.
    """

    capturable = True

    def __init__(
        self,
        name: str,
        arrays: dict[str, np.ndarray],
        lines: list[str],
        blocks: int,
        block: tuple[int, ...],
    ) -> None:
        self.name, self.grid, self.block, self.arrays = name, (blocks,), block, arrays
        given = ", ".join(f"{TYPES[a.dtype.name]}* {x}" for x, a in arrays.items())
        # The counts say how many registers a thread may have, no more.
        head = f'extern "C" __global__ void __launch_bounds__({math.prod(block)}) {name}({given})'
        self.text = "\n".join([f"{head} {{", *lines, "}\n"])
        self.arguments: tuple[int, ...] = ()
        self.function: Any = None

    def __call__(self) -> None:
        """Put the kernel on the current stream."""
        self.function(self.grid, self.block, self.arguments)


class Writer:
    """Writes one kernel over the elements of one shape, and gathers the arrays it works on.

    In the lines of its body ``@3@`` stands for an element of the array ``a3``, ``@column@`` for the
    column it is in, and ``@own@`` for the how many-th of its columns that is to the thread.
    """

    def __init__(self, plan: CupyPlan, shape: tuple[int, ...]) -> None:
        self.plan, self.target, self.shape = plan, plan.target, shape
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
        arrays = {f"a{n}": array for n, array in enumerate(self.arrays)}
        sizes = f"[[maybe_unused]] constexpr int LANES = {lanes}, TEAMS = {teams};"
        lines = [sizes, *self.before, *lines]
        return self.target.kernel(arrays, lines, blocks, (lanes, teams))

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
        teams = tuning.FLAT_THREADS // WARP
        blocks = max(1, -(-(packs + rest) // tuning.FLAT_THREADS))
        if totals is not None:
            blocks = min(blocks, tuning.MOST_BLOCKS)
        turn = f"blockIdx.x * ({index}){tuning.FLAT_THREADS} + threadIdx.y * LANES + threadIdx.x"
        lines = one = [*at.lines, *self._placed(body, at)]
        if pack > 1:
            of_packs = self._coordinates(axes, "q", index, pack)
            lines = [*of_packs.lines, *self._packed(body, of_packs, pack, at.last[-1])]
        if rest:
            # What no pack is left for is done one by one.
            left = [f"const {index} e = q + {packs * (pack - 1)};", *one]
            lines = [f"if (q < {packs}) {{", *lines, "} else {", *left, "}"]
        counter = "q" if pack > 1 else "e"
        turns = _turns(index, counter, turn, packs + rest, blocks * tuning.FLAT_THREADS)
        lines = [*turns, *lines, "}"]
        if totals is not None:
            lines = [*totals.start, *lines, *totals.finish(WARP, teams, blocks)]
        return self.launch(lines, blocks, WARP, teams)

    def _pack(self, size: int, lead: list[int], last: int) -> int:
        """Return how many neighbours along an axis, of so many, all arrays load at once."""

        def fits(array: np.ndarray, pack: int) -> bool:
            width, step = min(16, pack * array.itemsize), array.strides[last]
            begins = [self.target.alignment(array), *(array.strides[axis] for axis in lead)]
            return step == 0 or (step == array.itemsize and not any(b % width for b in begins))

        arrays = [a for a, seen in zip(self.arrays, self.seen, strict=True) if seen]
        for pack in tuning.PACKS if self.may_pack else ():
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
            terms.append(times(column, array.strides[-1] // array.itemsize))
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


class Coordinates(Axes):
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
        super().__init__(shape, axes, arrays, counter)
        self.lines: list[str] = []
        below, last = 1, len(self.sizes) - 1
        for n in reversed(range(len(self.sizes))):
            count = self.sizes[n] // (pack if n == last else 1)
            # Dividing numbers without a sign takes fewer instructions.
            value = f"(unsigned {index}){counter}" if last else counter
            value += f" / {below}" * (below > 1) + f" % {count}" * (n > 0)
            value = f"({value}) * {pack}" if pack > 1 and n == last else value
            self.lines.append(f"const {index} {self.names[n]} = {value};")
            below *= count


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


def reduction(
    node: Node, name: str, value: str, column: str, index: str = "int", first: str = ""
) -> tuple[list[str], str, str]:
    """Return what begins a reduction in each thread of a team, takes in a value, and ends it.

    The largest and the smallest value begin with the `first`, or an infinite one.
    """
    op, ctype = node.op, TYPES[node.args[0].dtype.name]
    limit = first or {"sum": "0", "min": "INFINITE"}.get(op, "-INFINITE")
    if op == "argmax":
        best, at = f"best_{name}", f"at_{name}"
        start = [f"{ctype} {best} = {limit};", f"{index} {at} = {LONG - 1};"]
        better = f"if (beats<{ctype}>({value}, {column}, {best}, {at}))"
        add = f"{better} {{ {best} = {value}; {at} = {column}; }}"
        return start, add, f"const long long {name} = team_argmax<LANES>({best}, {at});"
    start = [f"{TYPES[node.dtype.name]} {name} = {limit};"]
    chosen = {"max": "larger", "min": "smaller"}.get(op)
    taken = f"{chosen}<{ctype}>({value}, {name})" if chosen else f"{name} + {value}"
    return start, f"{name} = {taken};", f"{name} = team_{op}<LANES>({name});"


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
