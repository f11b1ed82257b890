"""The plan of a step as machine code: elementwise runs in loops, and products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from npnn.backends import tuning
from npnn.backends.cpu.loops import (
    FUNCTIONS,
    NumbaLoop,
    NumbaWriter,
    number,
    of_numbers,
)
from npnn.backends.operations.calls import Call, Memory
from npnn.backends.planning.division import Cut
from npnn.backends.planning.fusion import FusedPlan, Loop
from npnn.backends.planning.plan import Part, Plan
from npnn.backends.recording.capture import CapturedStep
from npnn.backends.recording.tracer import Node


class CompiledStep(CapturedStep):
    """A captured step that several threads share already where it is short."""

    def plan_of(self, nodes: list[Node], *rest: Any) -> Plan:
        count = self.threads_for(nodes, tuning.WORTH_AWAKE)
        if count > 1:
            carry, data, inputs, outputs = rest
            leaves = [leaf for leaf, _ in inputs]
            plan = AwakePlan(nodes, carry, data, leaves, outputs, count)
            if plan.of_machine_code:
                return plan
        return super().plan_of(nodes, *rest)


class NumbaPlan(FusedPlan):
    """A plan whose runs of elementwise operations are compiled."""

    loop_type = NumbaLoop

    def run(self, group: list[Node], memory: Memory) -> list[Call]:
        loop = self._loop(group)
        if self.awake and number(group[0]):
            return [of_numbers(group[0], memory)]
        if loop is None:
            calls = super().run(group, memory)
        else:
            calls = NumbaWriter(memory, self.transient, loop, self._shape(loop, memory)).calls()
        return [piece for call in calls for piece in _native(call)]

    def joined(self, calls: Iterable[Call]) -> list[Call]:
        from npnn.backends.cpu import native

        return native.joined(calls)

    def write(self, array: np.ndarray, result: Node) -> list[Call]:
        return [piece for call in super().write(array, result) for piece in _native(call)]

    def _shape(self, loop: Loop, memory: Memory) -> tuple[int, ...]:
        """Return the shape of what one thread has of a loop."""
        if not isinstance(memory, Part):
            return loop.shape
        assert self.division is not None
        cut = self.division.shares[loop.nodes[0]].cut
        if cut is not None and self.division.by_columns(loop.nodes[0]):
            return *loop.lead, cut.at[memory.thread + 1] - cut.at[memory.thread]
        return loop.shape if cut is None else cut.shape_of_part(loop.shape, memory.thread)

    def _loop(self, group: list[Node]) -> Loop | None:
        """Return the loop that runs a group, if it is worth one."""
        first = group[0]
        worth = len(group) > 1 or self.awake or self._alone(first)
        return self.loops.get(first) if worth else None

    def _alone(self, node: Node) -> bool:
        """Return whether an operation alone is worth a loop."""
        changes = node.op == "setitem" and node.attrs[0] != ""
        return node.size >= tuning.ALONE and (changes or node.op in FUNCTIONS)


class AwakePlan(NumbaPlan):
    """A plan of machine code alone, if it can be, whose threads wait for each other awake."""

    awake = True

    @property
    def of_machine_code(self) -> bool:
        """Whether no call needs the interpreter."""
        from npnn.backends.cpu.native import Native

        return all(isinstance(function, Native) for function, _ in self.calls)

    def without_lock(self, brought: Mapping[Node, Cut]) -> Any:
        if self.division is None or not self.of_machine_code:
            return None
        from npnn.backends.cpu.team import Step

        phases: Any = [[[call for (call, _), _ in section] for section in p] for p in self.phases]
        arrays = {leaf: self.array(leaf) for leaf in brought}
        parts = {
            leaf: [cut.part(arrays[leaf], thread) for thread in range(self.division.threads)]
            for leaf, cut in brought.items()
        }
        return Step(phases, arrays, parts)


def _native(call: Call) -> list[Call]:
    """Return the calls of machine code that do the same as one of NumPy's, or that."""
    from npnn.backends.cpu import native

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
