"""The kernel of a loop, written in CUDA C for many threads.

What a loop contains is found in ``fusion.py``. Where each element stands alone, threads share out
the elements. Where rows are summed up, a *team* of up to 32 threads takes a row, and exchanges
values by shuffles; sums over the batch are added up in registers, then among the teams of a block,
and at last among the blocks by the one that ends last, in an order that is always the same: no
result depends on which thread was the first.
"""

from __future__ import annotations

import math
from collections.abc import Set
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.backends import tuning
from npnn.backends.gpu.kernels import (
    TYPES,
    WARP,
    C,
    Launch,
    Writer,
    _turns,
    expression,
    literal,
    reduction,
)
from npnn.backends.gpu.operations import write_copy
from npnn.backends.planning.loop import Loop
from npnn.backends.planning.loop_writer import LoopWriter
from npnn.backends.recording.node import Node

if TYPE_CHECKING:
    from npnn.backends.gpu.cupy_plan import CupyPlan


class CudaLoop(Loop):
    """A run of operations that will be one kernel; some that a product does are none of it."""

    language = C
    dtypes = TYPES.keys()
    adds_up_when_flat = True

    def __init__(self, riding: Set[Node], *args: Any) -> None:
        super().__init__(*args)
        self.riding = riding

    def classify(self, node: Node) -> tuple[str, int] | None:
        found = None if node in self.riding else super().classify(node)
        if found is None:
            return None
        kinds = {*self.kind.values(), found[0]}
        # What follows from a total is computed once, by the block that ends last.
        if found[0] == "scalar" and "total" not in kinds:
            return None
        many = self.columns > tuning.MOST_SUMS * WARP
        return None if many and {"column", "sum"} <= kinds else found


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
                taken = self.writer.target.scratch_array(ctype, chunks * columns)
                scratch = self.writer.whole(taken)
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
                scratch = self.writer.whole(self.writer.target.scratch_array(ctype, blocks))
                lines.append(f"if ({first}) {scratch}[blockIdx.x] = {name};")
                mine = "threadIdx.y * LANES + threadIdx.x"
                last += [
                    f"{name} = 0;",
                    f"for (int b = {mine}; b < {blocks}; b += {threads})",
                    f"    {name} += {scratch}[b];",
                    f"{name} = block_total<LANES, TEAMS>({name});",
                ]
        if partial:
            counter = self.writer.whole(self.writer.target.counter)
            lines += [f"if (!comes_last((unsigned*){counter}, {blocks})) return;", *last]
        if self.after:
            lines += [f"if ({first}) {{", *self.after, "}"]
        return lines


class KernelWriter(Writer, LoopWriter):
    """Writes the kernel of a loop."""

    end = ";"

    def __init__(self, plan: CupyPlan, loop: CudaLoop) -> None:
        super().__init__(plan, loop.shape)
        self.begin(loop, plan)
        kinds = set(loop.kind.values())
        self.is_flat = kinds <= {"full", "store"} or (
            kinds <= {"full", "store", "total", "scalar"} and not any(loop.level.values())
        )
        self.has_columns = "column" in kinds
        self.keeps = len(self.inner) > 1 and loop.columns <= tuning.MOST_KEPT * WARP
        self.holders: dict[str, tuple[int, str]] = {}  # level and name of each value
        self.kept: set[str] = set()
        self.row_start: list[str] = []
        self.totals = Totals(self)
        self.after = self.totals.after

    def launches(self) -> list[Launch]:
        """Return the launches that run the loop."""
        self.write_operations()
        if self.is_flat:
            return [*self.copies, self.write_flat(self.inner[0], self.totals or None)]
        return [*self.copies, self._write_rows()]

    # Operations --------------------------------------------------------------------------------

    def expression(self, node: Node, values: list[str]) -> str:
        return expression(node, values)

    def made(self, node: Node, value: str) -> str:
        name = self.names[node]
        if self.loop.kind[node] == "full":
            self.holders[name] = self.loop.level[node], name
        return f"const {TYPES[node.dtype.name]} {name} = {value};"

    def copied(self, out: np.ndarray, x: np.ndarray) -> list[Launch]:
        return write_copy(self.plan, out, x)

    def reduce(self, node: Node) -> None:
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
        else:
            start, add, end = reduction(node, name, value, "@column@")
            self.row_start += start
            self.inner[level].append(add)
            self.row_end[level].append(end)
            self.store(node, self.row_end[level])

    # Values ------------------------------------------------------------------------------------

    def value(self, arg: Node, node: Node, kind: str, level: int) -> str:
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

    def store(self, node: Node, lines: list[str]) -> None:
        kind, name = self.loop.kind[node], self.names[node]
        if node in self.plan.draft.transient or (kind == "full" and self._stays_here(node)):
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
        users = self.plan.draft.users.get(node, ())
        return self.keeps and node not in self.plan.draft.kept and self.loop.kind.keys() >= {*users}

    # Rows --------------------------------------------------------------------------------------

    def _write_rows(self) -> Launch:
        loop, totals = self.loop, self.totals
        rows, lead = math.prod(loop.lead), list(range(len(loop.lead)))
        pack = self._pack(loop.columns, lead, len(lead)) if loop.columns > 1 else 1
        packs = loop.columns // pack
        lanes = min(WARP, 1 << (packs - 1).bit_length())
        threads = tuning.ROW_THREADS if totals else tuning.FLAT_THREADS
        teams = min(threads // lanes, max(WARP // lanes, 1 << (rows - 1).bit_length()))
        # Where no row is summed up, blocks share out the columns too.
        each, tiles = -(-packs // lanes), 1
        if not self.has_columns:
            each, tiles = tiles, each
        chunks = -(-rows // teams)
        if totals:
            chunks = min(-(-chunks // tuning.ROWS_EACH), max(1, tuning.MOST_BLOCKS // tiles))
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
