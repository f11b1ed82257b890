"""The plan of a step as machine code: elementwise runs in loops, and products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from npnn.backends import tuning
from npnn.backends.cpu.loops import FUNCTIONS, NumbaLoop, NumbaWriter, number, of_numbers
from npnn.backends.operations.cut import Cut
from npnn.backends.operations.kind import Call, Memory
from npnn.backends.planning.draft import Draft
from npnn.backends.planning.fusion import fuse
from npnn.backends.planning.loop import Loop
from npnn.backends.planning.plan import Part, Plan
from npnn.backends.planning.target import Target
from npnn.backends.recording.capture import CapturedStep
from npnn.backends.recording.node import Node


class CompiledStep(CapturedStep):
    """A captured step that several threads share already where it is short."""

    def plan_of(self, draft: Draft, values: list[Any]) -> Plan:
        count = self.threads_for(draft.nodes, tuning.WORTH_AWAKE)
        if count > 1:
            plan = Plan(draft.for_threads(count), MachineCode(awake=True))
            if of_machine_code(plan):
                return plan
        return super().plan_of(draft, values)


class MachineCode(Target):
    """Runs of elementwise operations are compiled, and products called where they lie in memory.

    Parameters
    ----------
    awake : bool, default False
        Whether threads wait for each other awake, if no call needs the interpreter.
    """

    def __init__(self, *, awake: bool = False) -> None:
        self.awake = awake

    def group(self, draft: Draft) -> None:
        fuse(draft, NumbaLoop, self._is_worth_a_loop)

    def _is_worth_a_loop(self, group: list[Node]) -> bool:
        if len(group) > 1 or self.awake:
            return True
        node = group[0]
        changes = node.op == "setitem" and node.attrs[0] != ""
        return node.size >= tuning.ALONE and (changes or node.op in FUNCTIONS)

    def calls(self, group: list[Node], memory: Memory) -> list[Call]:
        loop = memory.draft.loops.get(group[0])
        if self.awake and number(group[0]):
            return [of_numbers(group[0], memory)]
        if loop is None:
            calls = super().calls(group, memory)
        else:
            calls = NumbaWriter(memory, loop, _shape(loop, memory)).calls()
        return [piece for call in calls for piece in _native(call)]

    def write(self, memory: Memory, array: np.ndarray, value: Node) -> list[Call]:
        return [piece for call in super().write(memory, array, value) for piece in _native(call)]

    def joined(self, calls: Iterable[Call]) -> list[Call]:
        from npnn.backends.cpu import native

        return native.joined(calls)

    def without_lock(self, plan: Plan, brought: Mapping[Node, Cut]) -> Any:
        division = plan.draft.division
        if not self.awake or division is None or not of_machine_code(plan):
            return None
        from npnn.backends.cpu.team import Step

        phases: Any = [[[call for (call, _), _ in section] for section in p] for p in plan.phases]
        arrays = {leaf: plan.array(leaf) for leaf in brought}
        parts = {
            leaf: [cut.part(arrays[leaf], thread) for thread in range(division.threads)]
            for leaf, cut in brought.items()
        }
        return Step(phases, arrays, parts)


def of_machine_code(plan: Plan) -> bool:
    """Return whether no call of a plan needs the interpreter."""
    from npnn.backends.cpu.native import Native

    return all(isinstance(function, Native) for function, _ in plan.calls)


def _shape(loop: Loop, memory: Memory) -> tuple[int, ...]:
    """Return the shape of what one thread has of a loop."""
    if not isinstance(memory, Part):
        return loop.shape
    division = memory.draft.division
    assert division is not None
    cut = division.shares[loop.nodes[0]].cut
    if cut is not None and division.by_columns(loop.nodes[0]):
        return *loop.lead, cut.at[memory.thread + 1] - cut.at[memory.thread]
    return loop.shape if cut is None else cut.shape_of_part(loop.shape, memory.thread)


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
    elif name == "take" and isinstance(of, np.ndarray) and arguments[1::2] == (0, "clip"):
        pieces = native.taken(arguments[2], of, arguments[0])
    elif name == "reduce" and of is np.add and arguments[1] == 0:
        pieces = native.added_up(arguments[0], arguments[3])
    elif name == "dot" and isinstance(of, np.ndarray):
        pieces = native.product(of, *arguments)
    return [call] if pieces is None else [(piece, ()) for piece in pieces]
