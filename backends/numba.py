"""NumPy arrays and the same plan as machine code: elementwise runs in loops, and products."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from npnn.backends.backend import Step, missing
from npnn.backends.capture import CapturedStep
from npnn.backends.division import Cut
from npnn.backends.loops import (
    FUNCTIONS,
    REDUCTIONS,
    STORES,
    Loop,
    Writer,
    number,
    of_numbers,
    stored,
    worth_threads,
)
from npnn.backends.numpy import NumpyBackend
from npnn.backends.operations import Call, Memory
from npnn.backends.plan import Part, Plan
from npnn.backends.tracer import Node, replay_views

WORTH_AWAKE = 1e-4  # seconds of work from which a thread that waits awake is worth having
ALONE = 4096  # elements from which a store, or a function, alone is worth a loop


class NumbaBackend(NumpyBackend):
    """NumPy arrays on the CPU, elementwise work compiled by Numba."""

    name = "numba"

    def load(self) -> None:  # noqa: D102
        super().load()
        if importlib.util.find_spec("numba") is None:
            command = "pip install 'npnn-xp[numba]', or pip install numba"
            raise missing("Numba", self.name, command)

    def capture(self, step: Step) -> Step:  # noqa: D102
        from numba import config

        if config.DISABLE_JIT:  # for a debugger, say
            return super().capture(step)
        return CompiledStep(step, self.dtype, NumbaPlan)


class CompiledStep(CapturedStep):
    """A captured step that several threads share already where it is short."""

    def plan_of(self, nodes: list[Node], *rest: Any) -> Plan:  # noqa: D102
        count = self.threads_for(nodes, WORTH_AWAKE)
        if count > 1:
            carry, data, inputs, outputs = rest
            leaves = [leaf for leaf, _ in inputs]
            plan = AwakePlan(nodes, carry, data, leaves, outputs, count)
            if plan.of_machine_code:
                return plan
        return super().plan_of(nodes, *rest)


class NumbaPlan(Plan):
    """A plan whose runs of elementwise operations are compiled."""

    loop_type: Callable[..., Loop] = Loop

    def group(self, nodes: list[Node]) -> list[list[Node]]:  # noqa: D102
        self.loops: dict[Node, Loop] = {}
        carried = {result.base for _, _, result in self.carry}
        outside = {n.base for n in self.outputs} | carried
        users = Counter(base for node in nodes for base in {arg.base for arg in node.args})

        def passed_on(node: Node) -> bool:
            return users[node] == 1 and node not in outside

        groups: list[list[Node]] = []
        loop: Loop | None = None
        for node in sorted(_sums_first(nodes), key=self.phase):
            apart = loop is not None and not self._may_join(loop, node)
            if loop is not None and not apart and loop.add(node):
                continue
            reduced = node.op in REDUCTIONS
            shape = stored(node)[0].shape if node.op in STORES else node.shape
            shape = node.args[0].shape if reduced else shape
            fits = shape and 0 not in shape and self._along_rows(node)
            options = shape, self._look, passed_on, carried
            loop = self.loop_type(*options) if fits else None
            if loop is not None and loop.add(node):
                groups.append(loop.nodes)
                self.loops[node] = loop
            else:
                loop = None
                groups.append([node])
        inside = {node: number for number, group in enumerate(groups) for node in group}
        self.transient = self._never_in_memory(nodes, groups, inside)
        return groups

    def _never_in_memory(
        self, nodes: list[Node], groups: list[list[Node]], inside: dict[Node, int]
    ) -> set[Node]:
        """Find the values that are made and used up in one turn of a loop."""
        outside = {n.base for n in self.outputs} | {result.base for _, _, result in self.carry}
        level = {}
        for group in groups:
            loop = self.loops.get(group[0])
            if loop is not None and len(group) > 1:
                level.update(loop.level)
        users: dict[Node, list[Node]] = {}
        for node in nodes:
            for arg in node.args:
                users.setdefault(arg.base, []).append(node if arg.view is None else arg)
        transient = set()
        for node in level:
            loop = self.loops[groups[inside[node]][0]]
            here = all(
                inside.get(user) == inside[node]
                and (loop.kind[node] != "full" or level[user] == level[node])
                for user in users.get(node, ())
            )
            if here and node not in outside and loop.kind[node] in ("full", "column", "scalar"):
                transient.add(node)
        return transient

    def run(self, group: list[Node], memory: Memory) -> list[Call]:  # noqa: D102
        loop = self._loop(group)
        if self.awake and number(group[0]):
            return [of_numbers(group[0], memory)]
        if loop is None:
            calls = super().run(group, memory)
        else:
            calls = Writer(memory, self.transient, loop, self._shape(loop, memory)).calls()
        return [piece for call in calls for piece in _native(call)]

    def joined(self, calls: Iterable[Call]) -> list[Call]:  # noqa: D102
        from npnn.backends import native

        return native.joined(calls)

    def write(self, array: np.ndarray, result: Node) -> list[Call]:  # noqa: D102
        return [piece for call in super().write(array, result) for piece in _native(call)]

    def _may_join(self, loop: Loop, node: Node) -> bool:
        """Return whether the same threads run an operation and those of a loop, at once."""
        if self.division is None:
            return True
        return self._along_rows(node) and self.division.together([*loop.nodes, node])

    def _along_rows(self, node: Node) -> bool:
        """Return whether each thread has some rows of the loop that an operation would be in."""
        if self.division is None or self.division.shares[node].cut is None:
            return True
        if node.op not in ("sum", "max", "min"):
            return True
        return next(axis for axis, n in enumerate(node.args[0].shape) if n > 1) not in node.attrs[0]

    def _shape(self, loop: Loop, memory: Memory) -> tuple[int, ...]:
        """Return the shape of what one thread has of a loop."""
        if not isinstance(memory, Part):
            return loop.shape
        assert self.division is not None
        cut = self.division.shares[loop.nodes[0]].cut
        if cut is not None and self.division.by_columns(loop.nodes[0]):
            return *loop.lead, cut.at[memory.thread + 1] - cut.at[memory.thread]
        return loop.shape if cut is None else cut.shape_of_part(loop.shape, memory.thread)

    def reads_in_time(self, user: Node, old: Node, node: Node) -> bool:  # noqa: D102
        loop = self._loop(self.groups[self.time[node]])
        if loop is None:
            return super().reads_in_time(user, old, node)
        if node.op == "setitem":
            plainly = node.args.count(old) == 1 and self._reads_plainly(user, old)
            return user is node and old is node.args[0] and plainly
        if user.op == "setitem" and old is user.args[0]:
            return False
        # Each element must be read in the turn in which it is written, or in an earlier loop of it.
        read, written = loop.argument_kind(old, user), loop.kind[node]
        same = read == written or {read, written} == {"scalar", "total"}
        after = written != "full" or loop.level[user] <= loop.level[node]
        return same and after and self._reads_plainly(user, old)

    def _loop(self, group: list[Node]) -> Loop | None:
        """Return the loop that runs a group, if it is worth one."""
        first = group[0]
        worth = len(group) > 1 or worth_threads(first) or self._alone(first)
        worth |= self.awake
        return self.loops.get(first) if worth else None

    def _alone(self, node: Node) -> bool:
        """Return whether an operation alone is worth a loop."""
        changes = node.op == "setitem" and node.attrs[0] != ""
        return node.size >= ALONE and (changes or node.op in FUNCTIONS)

    def _look(self, node: Node) -> np.ndarray:
        """Return an array that lies in memory as that of `node` will."""
        bound: dict[Node, np.ndarray] = {leaf: array for leaf, array, _ in self.carry}
        bound.update(self.data)
        base = bound.get(node.base, node.base.value)
        return replay_views(node, np.empty(node.base.shape) if base is None else base)


class AwakePlan(NumbaPlan):
    """A plan of machine code alone, if it can be, whose threads wait for each other awake."""

    awake = True

    @property
    def of_machine_code(self) -> bool:
        """Whether no call needs the interpreter."""
        from npnn.backends.native import Native

        return all(isinstance(function, Native) for function, _ in self.calls)

    def without_lock(self, brought: Mapping[Node, Cut]) -> Any:  # noqa: D102
        if self.division is None or not self.of_machine_code:
            return None
        from npnn.backends.team import Step

        phases: Any = [[[call for (call, _), _ in section] for section in p] for p in self.phases]
        arrays = {leaf: self.array(leaf) for leaf in brought}
        parts = {
            leaf: [cut.part(arrays[leaf], thread) for thread in range(self.division.threads)]
            for leaf, cut in brought.items()
        }
        return Step(phases, arrays, parts)


def _native(call: Call) -> list[Call]:
    """Return the calls of machine code that do the same as one of NumPy's, or that."""
    from npnn.backends import native

    function, arguments = call
    pieces: list[native.Native] | None = None
    name, of = getattr(function, "__name__", ""), getattr(function, "__self__", None)
    if function is np.matmul:
        pieces = native.product(*arguments)
    elif function is np.copyto and len(arguments) == 2:
        pieces = native.copied(*arguments)
    elif name == "take" and isinstance(of, np.ndarray) and arguments[1] == 0:
        pieces = native.taken(arguments[2], of, arguments[0])
    elif name == "reduce" and of is np.add and arguments[1] == 0:
        pieces = native.added_up(arguments[0], arguments[3])
    elif name == "dot" and isinstance(of, np.ndarray):
        pieces = native.product(of, *arguments)
    return [call] if pieces is None else [(piece, ()) for piece in pieces]


def _sums_first(nodes: list[Node]) -> list[Node]:
    """Return the operations with each sum right behind what it sums, to be of its loop."""
    sums: dict[Node, list[Node]] = {}
    for node in nodes:
        if (
            node.op == "sum"
            and node.args[0].op not in ("leaf", "constant")
            and not node.args[0].view
        ):
            sums.setdefault(node.args[0], []).append(node)
    moved = {node for group in sums.values() for node in group}
    ordered: list[Node] = []

    def put(node: Node) -> None:
        ordered.append(node)
        for follower in sums.get(node, ()):
            put(follower)

    for node in nodes:
        if node not in moved:
            put(node)
    return ordered
