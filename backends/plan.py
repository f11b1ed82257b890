"""The static plan: a recorded step with its memory laid out, replayed as a flat list of calls.

From the nodes of a trace, in this order:

1. what no result needs is left out;
2. every value gets a place: a parameter or moment is updated where it lies, gradients are
   computed straight into their part of the flat gradient, an elementwise operation writes over an
   argument that nobody needs any more, and all else shares one arena;
3. each operation becomes calls that write into its place (``operations.py``);
4. the calls become the body of one Python function, with every view taken beforehand.

A replay therefore runs no layer code and allocates no array.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Set
from typing import Any

import numpy as np

from npnn.backends.operations import RUN, Call, joins_windows, run_ufunc, scratch_bytes, turned
from npnn.backends.tracer import Node, replay_views

ALIGNMENT = 64
SMALL = 4096  # bytes, up to which memory is not worth saving
THIN = 4  # channels up to which a window on images is copied channel by channel
LARGE = 1 << 19  # elements of arrays that several of no cache holds
BLOCK = 1 << 18
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
        self.turned = {node for node in self.operations if self._lies_betterturned(node)}
        self.places: dict[Node, Place] = {}
        self._find_places()
        self.arena = self.memory(self._lay_out())
        self.arrays: dict[Node, np.ndarray] = {}
        self._scratch = np.empty(max(map(scratch_bytes, self.operations), default=0), np.uint8)
        self.calls: list[Call] = []
        self.owners: list[list[Node]] = []  # the operations that each call belongs to
        for group in self.groups:
            self._append(group, self.run(group))
        for leaf, array, result in self.carry:
            if result is not leaf and self.results.get(result) is not leaf:
                self._append([result], self.write(array, result))
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

    def memory(self, nbytes: int) -> np.ndarray:
        """Return so many bytes for the values of the plan."""
        return np.empty(nbytes, np.uint8)

    def write(self, array: np.ndarray, result: Node) -> list[Call]:
        """Return the calls that copy a value into an array that is carried."""
        return [(np.copyto, (array, self.array(result)))]

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

    def _lies_betterturned(self, join: Node) -> bool:
        """Return whether a join along the last axis should lie in memory with that axis first.

        What a kernel's places see of images of few channels would else be copied few by few
        elements. Products do not mind, and they must be all that use it.
        """
        if join.op != "concat" or not joins_windows(join) or join.args[0].shape[-1] > THIN:
            return False
        users = self.users.get(join, [])
        if join in self.kept or any(user.op != "matmul" for user in users):
            return False
        lies = turned(np.empty(join.nbytes, np.uint8), join)
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
            return turned(memory, node)
        return memory.view(node.dtype).reshape(node.shape)

    def scratch(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return memory that only the calls of one operation may use."""
        dtype = np.dtype(dtype)
        memory: np.ndarray = self._scratch[: math.prod(shape) * dtype.itemsize].view(dtype)
        return memory.reshape(shape)

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

    # To be timed -------------------------------------------------------------------------------

    def keep_inputs(self) -> Callable[[], None]:
        """Return what writes the inputs again that the plan holds now."""
        kept = [(self.array(leaf), self.array(leaf).copy()) for leaf in self.inputs]

        def restore() -> None:
            for array, batch in kept:
                array[...] = batch

        return restore

    def wait(self) -> None:
        """Wait until what was called is done."""

    # What it costs -----------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Bytes of the arena; parameters, moments and data are not in it."""
        return self.arena.nbytes + self._scratch.nbytes


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
