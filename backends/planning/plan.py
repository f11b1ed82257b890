"""The static plan: a recorded step with its memory laid out, replayed as a flat list of calls.

From the nodes of a trace, in this order:

1. what no result needs is left out;
2. every value gets a place: a parameter or moment is updated where it lies, gradients are
   computed straight into their part of the flat gradient, an elementwise operation writes over an
   argument that nobody needs any more, and all else shares one arena (``arena.py``);
3. each operation becomes calls that write into its place (``operations.py``);
4. the calls become the bodies of Python functions, with every view taken beforehand: one function,
   or where a step is large one for each thread and phase (``division.py``).

A replay therefore runs no layer code and allocates no array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import numpy as np

from npnn.backends import tuning
from npnn.backends.operations.calls import (
    RUN,
    Call,
    Memory,
    joins_windows,
    run_ufunc,
    scratch_bytes,
    turned,
)
from npnn.backends.planning.arena import FOREVER, Place, aligned, lay_out
from npnn.backends.planning.division import Cut, Division
from npnn.backends.recording.tracer import Node, replay_views

Section = list[tuple[Call, list[Node]]]
"""Calls that one thread makes one after the other, each with the operations it belongs to."""


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
    threads : int
        How many work on it side by side.
    """

    def __init__(
        self,
        nodes: list[Node],
        carry: list[tuple[Node, np.ndarray, Node]],
        data: list[tuple[Node, np.ndarray]],
        inputs: list[Node],
        outputs: list[Node],
        threads: int = 1,
    ) -> None:
        self.carry, self.data, self.inputs, self.outputs = carry, data, inputs, outputs
        nodes = self._needed(self._old_values_saved(nodes))
        self.parts = _parts_of_joins(nodes)
        self.threads = threads
        self.division: Division | None = None
        if threads > 1:
            self.division = division = Division(nodes, inputs, self.parts, threads, self.awake)
            nodes = sorted(nodes, key=lambda node: division.shares[node].phase)
        self.groups = self.group(nodes)
        self.operations = [node for group in self.groups for node in group]
        self.order = {node: i for i, node in enumerate(self.operations)}
        self.time = {node: i for i, group in enumerate(self.groups) for node in group}
        self.users: dict[Node, list[Node]] = {}
        for node in self.operations:
            for arg in node.args:
                self.users.setdefault(arg.base, []).append(node)
        self.kept = {n.base for n in (*self.outputs, *(result for _, _, result in self.carry))}
        for part, (join, _) in self.parts.items():
            self.users.setdefault(join, []).extend(self.users.get(part, ()))
            if part in self.kept:
                self.kept.add(join)
        self.results = self._results_in_place()
        self.turned = {node for node in self.operations if self._lies_better_turned(node)}
        self.places: dict[Node, Place] = {}
        self._find_places()
        self.arena = self.memory(lay_out(self.places.values(), self._phase_at))
        self.arrays: dict[Node, np.ndarray] = {}
        scratch = max(map(scratch_bytes, self.operations), default=0)
        self._scratch = np.empty((threads, aligned(scratch)), np.uint8)
        self.phases = self._phases(threads)
        copies = self._last_copies()
        if self.division is None:
            self.phases[0][0] += copies
        elif copies:
            self.phases.append([copies, *([] for _ in range(threads - 1))])
        sections = [section for phase in self.phases for section in phase]
        self.calls = [call for section in sections for call, _ in section]
        self.owners = [owner for section in sections for _, owner in section]

    # What a faster plan does its own way -------------------------------------------------------

    awake = False  # whether threads wait for each other awake
    transient: Set[Node] = frozenset()
    """Values that never need memory."""

    def group(self, nodes: list[Node]) -> list[list[Node]]:
        """Return the operations in the order they run, those together that run as one."""
        return [[node] for node in nodes]

    def run(self, group: list[Node], memory: Memory) -> list[Call]:
        """Return the calls that do what a group of operations says."""
        return [call for node in group for call in RUN.get(node.op, run_ufunc)(memory, node)]

    def joined(self, calls: Iterable[Call]) -> list[Call]:
        """Return calls that do the same as those, or fewer."""
        return list(calls)

    def without_lock(self, brought: Mapping[Node, Cut]) -> Any:
        """Return what runs all phases without the interpreter's lock; None if nothing does.

        Its attribute ``brought`` has for each input that it cuts what takes the array.
        """
        return None

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
            if self.division is not None:
                if self.phase(user) < self.phase(node):
                    continue
                if not self.division.overwrites_its_own(user, old, node):
                    return False
            later = self.order[user] > self.order[node]
            together = self.time[user] == self.time[node]
            if later or (together and not self.reads_in_time(user, old, node)):
                return False
        return True

    def _owner(self, node: Node) -> Node:
        """Return the node whose memory `node` lies in."""
        return self.parts[node.base][0] if node.base in self.parts else node.base

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
        if join.op != "concat" or not joins_windows(join) or join.args[0].shape[-1] > tuning.THIN:
            return False
        users = self.users.get(join, [])
        if join in self.kept or any(user.op != "matmul" for user in users):
            return False
        lies = turned(np.empty(join.nbytes, np.uint8), join)
        seen = [arg for user in users for arg in user.args if arg.base is join]
        return all(np.may_share_memory(replay_views(arg, lies), lies) for arg in seen)

    # Threads -----------------------------------------------------------------------------------

    def phase(self, node: Node) -> int:
        """Return the phase in which an operation runs."""
        return 0 if self.division is None else self.division.shares[node].phase

    def _phases(self, threads: int) -> list[list[Section]]:
        """Return the calls of each thread in each phase."""
        count = max(map(self.phase, self.operations), default=0) + 1
        phases: list[list[Section]] = [[[] for _ in range(threads)] for _ in range(count)]
        for group in self.groups:
            for thread, section in enumerate(phases[self.phase(group[0])]):
                if self.division is None:
                    section += [(call, group) for call in self.run(group, self)]
                elif self.division.has_work(group[0], thread):
                    part = Part(self, self.division, group, thread)
                    section += [(call, group) for call in self.run(group, part)]
        return phases

    def _last_copies(self) -> Section:
        """Return the calls that bring the results that lie elsewhere to where they belong."""
        return [
            (call, [result])
            for leaf, array, result in self.carry
            if result is not leaf and self.results.get(result) is not leaf
            for call in self.write(array, result)
        ]

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
                cut = self.division.shares[node].cut if self.division is not None else None
                whole_rows = self.division is not None and not self.division.by_columns(node)
                if cut is not None and whole_rows and node not in self.turned:
                    bytes_of_one = node.nbytes // cut.at[-1]
                    self.places[node].bounds = tuple(i * bytes_of_one for i in cut.at)

    def _taken_over(self, node: Node) -> Place | None:
        """Return the place of an argument that dies here, if `node` may overwrite it."""
        # A few bytes more cost less than NumPy's look at whether the arrays overlap; but what
        # overwrites a part of an argument saves a copy of the rest.
        partly = node.op in ("setitem", "where")
        if not partly and not (node.elementwise and node.nbytes > tuning.SMALL):
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

    def _phase_at(self, time: int) -> int:
        """Return the phase of a time; for one thread, each time is a phase of its own."""
        if self.division is None:
            return time
        return self.phase(self.groups[time][0]) if time >= 0 else 0

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

    def scratch(self, shape: tuple[int, ...], dtype: Any, thread: int = 0) -> np.ndarray:
        """Return memory that only the calls of one operation may use."""
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        memory: np.ndarray = self._scratch[thread, :nbytes].view(dtype)
        return memory.reshape(shape)

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


class Part:
    """The part of a plan that one thread works on, for the operations of one group."""

    def __init__(self, plan: Plan, division: Division, group: list[Node], thread: int) -> None:
        self.plan, self.thread = plan, thread
        self.parts, self.turned = plan.parts, plan.turned
        shares = [(node, division.shares[node]) for node in group]
        self.cuts = {arg: cut for _, share in shares for arg, cut in share.reads.items()}
        self.cuts.update({node: share.cut for node, share in shares if share.cut is not None})

    def array(self, node: Node) -> np.ndarray:
        """Return what the thread reads or writes of the array that holds `node`."""
        array, cut = self.plan.array(node), self.cuts.get(node)
        return array if cut is None else cut.part(array, self.thread)

    def scratch(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return memory that only this thread's calls of one operation may use."""
        return self.plan.scratch(shape, dtype, self.thread)


def _parts_of_joins(nodes: list[Node]) -> dict[Node, tuple[Node, int]]:
    """Find the values that can be computed straight into their part of a joined array."""
    parts: dict[Node, tuple[Node, int]] = {}
    computed = set(nodes)
    for join in nodes:
        if join.op != "concat" or len(join.shape) != 1:
            continue
        start = 0
        for part in join.args:
            base = part.base
            reshaped = part
            while reshaped.view is not None and reshaped.op == "reshape":
                reshaped = reshaped.args[0]
            owned = base in computed and base.op not in ("concat", "setitem") and base not in parts
            if owned and reshaped is base and base.dtype == join.dtype:
                parts[base] = (join, start)
            start += part.size
    return parts
