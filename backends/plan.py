"""The static plan: a recorded step with its memory laid out, replayed as a flat list of calls.

From the nodes of a trace, in this order:

1. what no result needs is left out;
2. every value gets a place: a parameter or moment is updated where it lies, gradients are
   computed straight into their part of the flat gradient, an elementwise operation writes over an
   argument that nobody needs any more, and all else shares one arena;
3. each operation becomes calls that write into its place (the table `RUN`);
4. the calls become the body of one Python function, with every view taken beforehand.

A replay therefore runs no layer code and allocates no array.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Set
from typing import Any

import numpy as np

from npnn.backends.tracer import Node, key_of, replay_views

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments; the last of a ufunc's is the array it writes to."""
ALIGNMENT = 64
SMALL = 4096  # bytes, up to which memory is not worth saving
FEW = 256  # elements, up to which the number of calls decides and not what they do
ROW = 1024  # elements from which the overhead of NumPy's loop over a row no longer counts
THIN = 4  # channels up to which a window on images is copied channel by channel
LARGE = 1 << 19  # elements of arrays that several of no cache holds
BLOCK = 1 << 18
_ONE = np.array(1, np.int8)
FOREVER = 1 << 60


class Place:
    """A stretch of memory and the operations between which it is taken."""

    def __init__(self, nbytes: int, birth: int, death: int) -> None:
        self.nbytes, self.birth, self.death = nbytes, birth, death
        self.offset = 0
        self.array: np.ndarray | None = None  # memory that is not the plan's own


class Plan:
    """A step, ready to be replayed.

    Parameters
    ----------
    nodes : list of Node
        The operations in the order of the step.
    carry : list of (Node, array, Node)
        Leaf, the array it stands for, and the value that array has after the step.
    data : list of (Node, array)
        Leaves that are only read.
    inputs : list of Node
        Leaves that are written before each replay.
    outputs : list of Node
        What the step returns.
    """

    def __init__(
        self,
        nodes: list[Node],
        carry: list[tuple[Node, np.ndarray, Node]],
        data: list[tuple[Node, np.ndarray]],
        inputs: list[Node],
        outputs: list[Node],
    ) -> None:
        self.carry, self.data, self.inputs, self.outputs = carry, data, inputs, outputs
        self.groups = self.group(self._needed(self._old_values_saved(nodes)))
        self.operations = [node for group in self.groups for node in group]
        self.order = {node: i for i, node in enumerate(self.operations)}
        self.time = {node: i for i, group in enumerate(self.groups) for node in group}
        self.users: dict[Node, list[Node]] = {}
        for node in self.operations:
            for arg in node.args:
                self.users.setdefault(arg.base, []).append(node)
        self.kept = {n.base for n in (*self.outputs, *(result for _, _, result in self.carry))}
        self.parts = self._parts_of_joins()
        self.results = self._results_in_place()
        self.turned = {node for node in self.operations if self._lies_better_turned(node)}
        self.places: dict[Node, Place] = {}
        self._find_places()
        self.arena = np.empty(self._lay_out(), np.uint8)
        self.arrays: dict[Node, np.ndarray] = {}
        self._scratch = np.empty(self._most_scratch(), np.uint8)
        self.calls: list[Call] = []
        self.owners: list[list[Node]] = []  # the operations that each call belongs to
        for group in self.groups:
            self._append(group, self.run(group))
        for leaf, array, result in self.carry:
            if result is not leaf and self.results.get(result) is not leaf:
                self._append([result], [(np.copyto, (array, self.array(result)))])
        self._work_in_blocks()

    # What a faster plan does its own way -------------------------------------------------------

    transient: Set[Node] = frozenset()
    """Values that never need memory."""

    def group(self, nodes: list[Node]) -> list[list[Node]]:
        """Return the operations in the order they run, those together that run as one."""
        return [[node] for node in nodes]

    def run(self, group: list[Node]) -> list[Call]:
        """Return the calls that do what a group of operations says."""
        return [call for node in group for call in RUN.get(node.op, run_ufunc)(self, node)]

    def reads_in_time(self, user: Node, old: Node, node: Node) -> bool:
        """Return whether `user` reads `old` before `node`, of the same group, writes over it.

        Where the group is one operation, each element must be read just before it is written.
        """
        if user.op in ("where", "setitem"):
            # They take several calls, which only one argument outlives.
            lasting = user.args[1:] if user.op == "where" else user.args[:1]
            fits = user.args.count(old) == lasting.count(old) == 1
        else:
            fits = user.elementwise
        return fits and self._reads_plainly(user, old)

    def _reads_plainly(self, user: Node, old: Node) -> bool:
        return all(arg is old for arg in user.args if self._owner(arg) is self._owner(old))

    # What is needed, and how long --------------------------------------------------------------

    def _old_values_saved(self, nodes: list[Node]) -> list[Node]:
        """Return `nodes` behind copies of the carried values that are asked for when changed."""
        changed = {leaf for leaf, _, result in self.carry if result is not leaf}
        copies: dict[Node, Node] = {}

        def saved(node: Node) -> Node:
            if node.base not in changed:
                return node
            return copies.setdefault(node, Node("copy", (node,), (), node.shape, node.dtype))

        self.outputs = [saved(node) for node in self.outputs]
        self.carry = [(leaf, array, saved(result)) for leaf, array, result in self.carry]
        return [*copies.values(), *nodes]

    def _needed(self, nodes: list[Node]) -> list[Node]:
        wanted = {*self.outputs, *(result for _, _, result in self.carry)}
        for node in reversed(nodes):
            if node in wanted:
                wanted.update(node.args)
        return [node for node in nodes if node in wanted and node.view is None]

    def death(self, node: Node) -> int:
        """Return the time after which nobody needs the value."""
        if node in self.kept:
            return FOREVER
        times = [self.time[user] for user in self.users.get(node, ())]
        return max([self.time.get(node, -1), *times])

    def _overwritable(self, old: Node, node: Node) -> bool:
        """Return whether `node` may be written where `old` lies, element by element.

        Nobody may need the old value later, or read it when it is overwritten already.
        """
        if (old.shape, old.dtype) != (node.shape, node.dtype) or old in self.kept:
            return False
        for user in self.users.get(old, ()):
            later = self.order[user] > self.order[node]
            together = self.time[user] == self.time[node]
            if later or (together and not self.reads_in_time(user, old, node)):
                return False
        return True

    def _owner(self, node: Node) -> Node:
        """Return the node whose memory `node` lies in."""
        return self.parts[node.base][0] if node.base in self.parts else node.base

    def _parts_of_joins(self) -> dict[Node, tuple[Node, int]]:
        """Find the values that can be computed straight into their part of a joined array."""
        parts: dict[Node, tuple[Node, int]] = {}
        for join in self.operations:
            if join.op != "concat" or len(join.shape) != 1:
                continue
            start = 0
            for part in join.args:
                base, dtype = part.base, join.dtype
                reshaped = part
                while reshaped.view is not None and reshaped.op == "reshape":
                    reshaped = reshaped.args[0]
                joined = base.op in ("concat", "setitem") or base in parts
                owned = base in self.order and not joined
                if owned and reshaped is base and base.dtype == dtype:
                    parts[base] = (join, start)
                    self.users.setdefault(join, []).extend(self.users.get(base, ()))
                    if base in self.kept:
                        self.kept.add(join)
                start += part.size
        return parts

    def _results_in_place(self) -> dict[Node, Node]:
        """Find the new values that can be written where the old ones lie: result -> leaf."""
        results: dict[Node, Node] = {}
        elsewhere = {*self.parts, *(join for join, _ in self.parts.values())}
        for leaf, array, result in self.carry:
            fresh = result in self.order and result not in elsewhere and result not in results
            if fresh and array.flags.c_contiguous and self._overwritable(leaf, result):
                results[result] = leaf
        return results

    def _lies_better_turned(self, join: Node) -> bool:
        """Return whether a join along the last axis should lie in memory with that axis first.

        What a kernel's places see of images of few channels would else be copied few by few
        elements. Products do not mind, and they must be all that use it.
        """
        if join.op != "concat" or not _joins_windows(join) or join.args[0].shape[-1] > THIN:
            return False
        users = self.users.get(join, [])
        if join in self.kept or any(user.op != "matmul" for user in users):
            return False
        lies = _turned(np.empty(join.nbytes, np.uint8), join)
        seen = [arg for user in users for arg in user.args if arg.base is join]
        return all(np.may_share_memory(replay_views(arg, lies), lies) for arg in seen)

    # Memory ------------------------------------------------------------------------------------

    def _find_places(self) -> None:
        for leaf, array, _ in self.carry:
            self.places[leaf] = Place(0, -1, FOREVER)
            self.places[leaf].array = array
        for leaf, array in self.data:
            self.places[leaf] = Place(0, -1, FOREVER)
            self.places[leaf].array = array
        for leaf in self.inputs:
            self.places[leaf] = Place(leaf.nbytes, -1, self.death(leaf))
        for node in self.operations:
            if node in self.places or node in self.transient:
                continue
            if node in self.parts:
                join = self.parts[node][0]
                if join not in self.places:
                    self.places[join] = Place(join.nbytes, self.time[node], self.death(join))
            elif node in self.results:
                self.places[node] = self.places[self.results[node]]
            else:
                place = self._taken_over(node)
                self.places[node] = place or Place(node.nbytes, self.time[node], self.death(node))

    def _taken_over(self, node: Node) -> Place | None:
        """Return the place of an argument that dies here, if `node` may overwrite it."""
        # A few bytes more cost less than NumPy's look at whether the arrays overlap; but what
        # overwrites a part of an argument saves a copy of the rest.
        partly = node.op in ("setitem", "where")
        if not partly and not (node.elementwise and node.nbytes > SMALL):
            return None
        for arg in node.args[:1] if node.op == "setitem" else reversed(node.args):
            if arg not in self.places or not self._overwritable(arg, node):
                continue
            place = self.places[arg]
            if place.array is None:
                place.death = max(place.death, self.death(node))
                return place
            # An old parameter or moment: its place is free until the new one is written.
            for result, leaf in self.results.items():
                if leaf is arg and self._overwritable(node, result):
                    return place
        return None

    def _lay_out(self) -> int:
        """Give each place its offset in the arena, and return the arena's size."""
        free: list[tuple[int, int]] = [(0, FOREVER)]
        alive: list[Place] = []
        top = 0
        own = {id(p): p for p in self.places.values() if p.array is None}.values()
        for place in sorted(own, key=lambda p: p.birth):
            for old in [p for p in alive if p.death < place.birth]:
                alive.remove(old)
                free = _give_back(free, old.offset, _aligned(old.nbytes))
            size = _aligned(place.nbytes)
            # The tightest gap that fits: what was used last is often still in the cache.
            gap = min((g for g in free if g[1] >= size), key=lambda g: g[1])
            free.remove(gap)
            if gap[1] > size:
                free.append((gap[0] + size, gap[1] - size))
            place.offset = gap[0]
            alive.append(place)
            top = max(top, place.offset + size)
        return top

    def array(self, node: Node) -> np.ndarray:
        """Return the array that holds `node` while it is alive."""
        if node not in self.arrays:
            self.arrays[node] = self._array(node)
        return self.arrays[node]

    def _array(self, node: Node) -> np.ndarray:
        if node.view is not None:
            return replay_views(node, self.array(node.base))
        if node.value is not None:
            return node.value
        if node in self.parts:
            join, start = self.parts[node]
            return self.array(join)[start : start + node.size].reshape(node.shape)
        place = self.places[node]
        if place.array is not None:
            return place.array
        memory = self.arena[place.offset : place.offset + node.nbytes]
        if node in self.turned:
            return _turned(memory, node)
        return memory.view(node.dtype).reshape(node.shape)

    def scratch(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return memory that only the calls of one operation may use."""
        dtype = np.dtype(dtype)
        memory: np.ndarray = self._scratch[: math.prod(shape) * dtype.itemsize].view(dtype)
        return memory.reshape(shape)

    def _most_scratch(self) -> int:
        masks = [node.nbytes for node in self.operations if node.op == "where"]
        sums = [
            node.nbytes * _parts_of_sum(node) for node in self.operations if node.op == "matmul"
        ]
        return max([ROW * 8, *masks, *sums])

    def _append(self, group: list[Node], calls: list[Call]) -> None:
        self.calls += calls
        self.owners += [group] * len(calls)

    def _work_in_blocks(self) -> None:
        """Run ufuncs over large arrays block by block: what one wrote, the next finds in the cache.

        They are the optimizer's, and every array among them is read and written in step.
        """
        calls, owners = self.calls, self.owners
        self.calls, self.owners, start = [], [], 0
        while start < len(calls):
            size = _flat_size(calls[start])
            stop = start + 1
            while size >= LARGE and stop < len(calls) and _flat_size(calls[stop]) == size:
                stop += 1
            run = list(zip(calls[start:stop], owners[start:stop], strict=True))
            blocks = range(0, size, BLOCK) if size >= LARGE and _in_step(run) else [None]
            for first in blocks:
                for (function, arguments), owner in run:
                    if first is not None:
                        arguments = tuple(
                            a if a.size == 1 else a[first : first + BLOCK] for a in arguments
                        )
                    self._append(owner, [(function, arguments)])
            start = stop

    # What it costs -----------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Bytes of the arena; parameters, moments and data are not in it."""
        return self.arena.nbytes + self._scratch.nbytes


# How each operation runs ----------------------------------------------------------------------
#
# A function (plan, node) -> calls, each writing into plan.array(node) or a part of it. A ufunc
# needs no entry.


def run_ufunc(plan: Plan, node: Node) -> list[Call]:
    """Any elementwise operation of NumPy's own."""
    arrays = [plan.array(n) for n in (*node.args, node)]
    if node.shape == ():
        arrays = [a.reshape(1) for a in arrays]  # half the overhead of no axes at all
    start, arrays = _in_long_rows(plan, node, arrays)
    return [*start, (getattr(np, node.op), tuple(arrays))]


def _in_long_rows(
    plan: Plan, node: Node, arrays: list[np.ndarray]
) -> tuple[list[Call], list[np.ndarray]]:
    """Return the arrays seen as longer rows, where rows are so short that their number decides.

    A bias for a few channels is repeated, and so is the number of ``maximum(x, 0)``: NumPy has no
    vector instructions for a largest value of an array and a number.
    """
    short = [i for i, a in enumerate(arrays[:-1]) if a.shape != node.shape]
    others = [a for i, a in enumerate(arrays) if i not in short]
    if len(short) != 1 or not all(a.flags.c_contiguous for a in others):
        return [], arrays
    row = arrays[short[0]]
    number = row.size == 1 and node.op in ("maximum", "minimum")
    if not number and (row.size == 1 or row.size > ROW // 8 or row.size != node.shape[-1]):
        return [], arrays
    count = node.size // row.size
    times = max(n for n in range(1, min(count, ROW // row.size) + 1) if count % n == 0)
    if times < 8 or count // times < 2:
        return [], arrays
    constant = node.args[short[0]].value is not None
    shape = times, row.size
    longer = np.empty(shape, row.dtype) if constant else plan.scratch(shape, row.dtype)
    longer[...] = row.reshape(-1)
    arrays = [longer.reshape(-1) if i in short else a for i, a in enumerate(arrays)]
    seen = [a if i in short else a.reshape(-1, longer.size) for i, a in enumerate(arrays)]
    return [] if constant else [(np.copyto, (longer, row.reshape(-1)))], seen


def run_where(plan: Plan, node: Node) -> list[Call]:
    """A choice, by bit masks: a masked copy takes ten times as long, but for few elements."""
    condition, a, b = map(plan.array, node.args)
    out = plan.array(node)
    over_a = np.shares_memory(out, a)
    if node.size <= FEW or node.dtype.itemsize not in (4, 8):
        if over_a:
            inverse = plan.scratch(condition.shape, np.bool)
            copy: Call = (np.copyto, (out, b, "same_kind", inverse))
            return [(np.logical_not, (condition, inverse)), copy]
        start: list[Call] = [] if np.shares_memory(out, b) else [(np.copyto, (out, b))]
        return [*start, (np.copyto, (out, a, "same_kind", condition))]
    # True as -1, all bits set, where the value that is kept in `out` shall be replaced.
    bits = np.dtype(f"i{node.dtype.itemsize}")
    mask = plan.scratch(condition.shape, bits)
    signs = condition.view(np.int8)
    a, b, out = a.view(bits), b.view(bits), out.view(bits)
    if node.args[2].value is not None and not node.args[2].value.any():
        return [(np.negative, (signs, mask)), (np.bitwise_and, (a, mask, out))]
    mine, other = (b, a) if np.shares_memory(out, b) else (a, b)
    turn: Call = (np.subtract, (signs, _ONE, mask)) if mine is b else (np.negative, (signs, mask))
    return [
        turn,
        (np.bitwise_xor, (mine, other, out)),
        (np.bitwise_and, (out, mask, out)),
        (np.bitwise_xor, (out, other, out)),
    ]


def run_astype(plan: Plan, node: Node) -> list[Call]:
    """A change of dtype."""
    return [(np.copyto, (plan.array(node), plan.array(node.args[0]), "unsafe"))]


def run_copy(plan: Plan, node: Node) -> list[Call]:
    """A reshape that no view can show."""
    x = plan.array(node.args[0])
    return [(np.copyto, (plan.array(node).reshape(x.shape), x))]


def run_matmul(plan: Plan, node: Node) -> list[Call]:
    """A product; of two matrices by ``dot``, which costs a third of matmul's overhead."""
    a, b = map(plan.array, node.args)
    out = plan.array(node)
    while a.ndim == b.ndim > 2 and a.shape[0] == b.shape[0] == 1:
        a, b, out = a[0], b[0], out[0]
    if a.ndim > 2 and b.ndim == 2 and a.flags.c_contiguous:
        a, out = a.reshape(-1, a.shape[-1]), out.reshape(-1, out.shape[-1])
    if a.ndim != 2 or b.ndim != 2:
        return [(np.matmul, (a, b, out))]
    parts = _parts_of_sum(node)
    if parts > 1 and a.flags.forc and b.flags.forc:
        a, b = a.T.reshape(parts, -1, len(a)).mT, b.reshape(parts, -1, b.shape[1])
        if not b.flags.c_contiguous:
            a, b, out = b.mT, a.mT, out.T
        several = plan.scratch((parts, *out.shape), out.dtype)
        return [(np.matmul, (a, b, several)), (np.add.reduce, (several, 0, None, out))]
    if a.size > b.size and not a.flags.c_contiguous and node.args[0].base in plan.turned:
        parts = _parts(len(a))
        a, out = a.reshape(parts, -1, a.shape[1]), out.reshape(parts, -1, out.shape[1])
        return [(np.matmul, (a, b, out))]
    return [(a.dot, (b, out))]


def _parts_of_sum(product: Node) -> int:
    """Return into how many sums to cut each sum of a product: OpenBLAS is slow at few long ones."""
    length = product.args[0].shape[-1]
    return _parts(length) if product.size <= ROW * 4 <= length else 1


def _parts(length: int) -> int:
    """Return into how many equal parts of about the length of a row to cut a length."""
    most = max(1, 2 * length // ROW)
    return max(n for n in range(1, most + 1) if length % n == 0)


def run_sum(plan: Plan, node: Node) -> list[Call]:
    """A sum; over whole rows or columns as a product with ones, three times as fast."""
    x, out = plan.array(node.args[0]), plan.array(node)
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


def _run_extremum(ufunc: np.ufunc) -> Callable[[Plan, Node], list[Call]]:
    def run(plan: Plan, node: Node) -> list[Call]:
        """A largest or smallest value; over a few columns, column by column."""
        x, out = plan.array(node.args[0]), plan.array(node)
        axes, keepdims = node.attrs
        if axes == (x.ndim - 1,) and 2 <= x.shape[-1] <= 8:
            columns = [x[..., i] for i in range(x.shape[-1])]
            first = out.reshape(columns[0].shape)
            calls: list[Call] = [(ufunc, (columns[0], columns[1], first))]
            return calls + [(ufunc, (first, column, first)) for column in columns[2:]]
        return [(ufunc.reduce, (x, axes, None, out, keepdims))]

    return run


def run_argmax(plan: Plan, node: Node) -> list[Call]:
    """The place of the largest value in the last axis."""
    return [(plan.array(node.args[0]).argmax, (-1, plan.array(node)))]


def run_take(plan: Plan, node: Node) -> list[Call]:
    """Rows by number; the numbers were made by training, none is out of range."""
    x, index = map(plan.array, node.args)
    return [(x.take, (index, node.attrs[0], plan.array(node), "clip"))]


def run_concat(plan: Plan, node: Node) -> list[Call]:
    """A join; parts that were computed in their place are there already."""
    axis, out = node.attrs[0], plan.array(node)
    if _joins_windows(node):
        windows = _as_windows([plan.array(part) for part in node.args])
        if windows is not None:
            return [(np.copyto, (_split(out, windows.shape), windows))]
    calls: list[Call] = []
    start = 0
    for part in node.args:
        stop = start + part.shape[axis]
        if plan.parts.get(part.base, (None, -1)) != (node, start):
            target = out[(slice(None),) * axis + (slice(start, stop),)]
            calls.append((np.copyto, (target, plan.array(part))))
        start = stop
    return calls


def _joins_windows(join: Node) -> bool:
    """Return whether parts of one array, of one shape, are joined along the last axis."""
    same = {(part.base, part.shape, part.view is None) for part in join.args}
    last = join.attrs[0] == len(join.shape) - 1 > 0
    return len(same) == 1 and last and join.args[0].view is not None and join.size > FEW


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


def _turned(memory: np.ndarray, node: Node) -> np.ndarray:
    """Return bytes as an array whose last axis lies outermost."""
    lies = memory.view(node.dtype).reshape(node.shape[-1], *node.shape[:-1])
    return np.moveaxis(lies, 0, -1)


def _split(out: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a view of `out` with its last axis seen as the last three of `shape`."""
    if out.flags.c_contiguous:
        return out.reshape(shape)
    outermost = np.moveaxis(out, -1, 0)
    return np.moveaxis(outermost.reshape(*shape[-3:], *shape[:-3]), (0, 1, 2), (-3, -2, -1))


def run_setitem(plan: Plan, node: Node) -> list[Call]:
    """An array with a part of it replaced, or changed by a ufunc."""
    old, new = map(plan.array, node.args)
    out = plan.array(node)
    calls: list[Call] = [] if np.shares_memory(out, old) else [(np.copyto, (out, old))]
    how, key = node.attrs
    part = out[key_of(key)]
    if how:
        return [*calls, (getattr(np, how), (part, new, part))]
    return [*calls, (np.copyto, (part, new, "unsafe"))]


RUN: dict[str, Callable[[Plan, Node], list[Call]]] = {
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


def _flat_size(call: Call) -> int:
    """Return the size of the flat arrays that a ufunc works on, beside numbers; 0 if of others."""
    function, arguments = call
    if not isinstance(function, np.ufunc):
        return 0
    sizes = {a.size for a in arguments if a.size > 1}
    plain = all(a.ndim == 1 and a.flags.c_contiguous for a in arguments if a.size > 1)
    return sizes.pop() if len(sizes) == 1 and plain else 0


def _in_step(run: list[tuple[Call, list[Node]]]) -> bool:
    """Return whether any two arrays of some calls are the same memory, or have none in common."""
    spans = {
        (start := a.__array_interface__["data"][0], start + a.nbytes)
        for (_, arguments), _ in run
        for a in arguments
    }
    ordered = sorted(spans)
    return all(a[1] <= b[0] for a, b in itertools.pairwise(ordered))


def _aligned(nbytes: int) -> int:
    return max(1, -(-nbytes // ALIGNMENT)) * ALIGNMENT


def _give_back(free: list[tuple[int, int]], offset: int, size: int) -> list[tuple[int, int]]:
    """Return the gaps with one more, neighbours joined."""
    merged: list[tuple[int, int]] = []
    for start, length in sorted([*free, (offset, size)]):
        if merged and merged[-1][0] + merged[-1][1] == start:
            merged[-1] = (merged[-1][0], merged[-1][1] + length)
        else:
            merged.append((start, length))
    return merged
