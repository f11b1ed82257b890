"""The static plan: a recorded step with its memory laid out, replayed as a flat list of calls.

From the nodes of a trace, in this order:

1. passes find out what is needed, what each thread does, what runs as one, and where each value
   lies (``passes.py``);
2. what lies in no other array is packed into one arena (``arena.py``);
3. each operation becomes calls that write into its place (``target.py``);
4. the calls become the bodies of Python functions, with every view taken beforehand: one function,
   or where a step is large one for each thread and phase (``capture.py``).

A replay therefore runs no layer code and allocates no array.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from npnn.backends.operations.join import turned
from npnn.backends.operations.kind import Call
from npnn.backends.planning.arena import lay_out
from npnn.backends.planning.division import Division
from npnn.backends.planning.draft import Draft
from npnn.backends.planning.passes import worked_out
from npnn.backends.planning.target import Target
from npnn.backends.recording.node import Node, replay_views

Section = list[tuple[Call, list[Node]]]
"""Calls that one thread makes one after the other, each with the operations it belongs to."""


class Plan:
    """A step, ready to be replayed.

    Parameters
    ----------
    draft : Draft
        What was recorded.
    target : Target
        What it will run on.
    """

    def __init__(self, draft: Draft, target: Target) -> None:
        self.draft, self.target = worked_out(draft, target), target
        places = draft.places.values()
        self.arena = target.memory(draft, lay_out(places, self._phase_at))
        self.arrays: dict[Node, np.ndarray] = {}
        self._scratch = [np.empty(0, np.uint8) for _ in range(draft.threads)]
        self.phases = self._phases()
        sections = [section for phase in self.phases for section in phase]
        self.calls = [call for section in sections for call, _ in section]
        self.owners = [owner for section in sections for _, owner in section]

    def _phase_at(self, time: int) -> int:
        """Return the phase of a time; for one thread, each time is a phase of its own."""
        if self.draft.division is None:
            return time
        return self.draft.phase(self.draft.groups[time][0]) if time >= 0 else 0

    # Calls -------------------------------------------------------------------------------------

    def _phases(self) -> list[list[Section]]:
        """Return the calls of each thread in each phase."""
        draft, division = self.draft, self.draft.division
        count = max(map(draft.phase, draft.operations), default=0) + 1
        phases: list[list[Section]] = [[[] for _ in range(draft.threads)] for _ in range(count)]
        for group in draft.groups:
            for thread, section in enumerate(phases[draft.phase(group[0])]):
                if division is None or division.has_work(group[0], thread):
                    memory = Part(self, division, group, thread) if division else self
                    section += [(call, group) for call in self.target.calls(group, memory)]
        copies = self._last_copies()
        if division is None:
            phases[0][0] += copies
        elif copies:
            phases.append([copies, *([] for _ in range(draft.threads - 1))])
        return phases

    def _last_copies(self) -> Section:
        """Return the calls that bring the results that lie elsewhere to where they belong."""
        return [
            (call, [result])
            for leaf, array, result in self.draft.carry
            if result is not leaf and self.draft.results.get(result) is not leaf
            for call in self.target.write(self, array, result)
        ]

    # Memory ------------------------------------------------------------------------------------

    def array(self, node: Node) -> np.ndarray:
        """Return the array that holds `node` while it is alive."""
        if node not in self.arrays:
            self.arrays[node] = self._array(node)
        return self.arrays[node]

    def _array(self, node: Node) -> np.ndarray:
        if node.view is not None:
            return replay_views(node, self.array(node.base))
        if node.value is not None:
            return self.target.constant(node)
        if node in self.draft.parts:
            join, start = self.draft.parts[node]
            return self.array(join)[start : start + node.size].reshape(node.shape)
        place = self.draft.places[node]
        if place.array is not None:
            return place.array
        memory = self.arena[place.offset : place.offset + node.nbytes]
        if node in self.draft.turned:
            return turned(memory, node)
        return memory.view(node.dtype).reshape(node.shape)

    def scratch(self, shape: tuple[int, ...], dtype: Any, thread: int = 0) -> np.ndarray:
        """Return memory that only the calls of one operation may use."""
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes > self._scratch[thread].nbytes:
            self._scratch[thread] = np.empty(nbytes, np.uint8)
        memory: np.ndarray = self._scratch[thread][:nbytes].view(dtype)
        return memory.reshape(shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the arena; parameters, moments and data are not in it."""
        return self.arena.nbytes + sum(memory.nbytes for memory in self._scratch)

    # To be timed -------------------------------------------------------------------------------

    def keep_inputs(self) -> Callable[[], None]:
        """Return what writes the inputs again that the plan holds now."""
        kept = [(self.array(leaf), self.array(leaf).copy()) for leaf in self.draft.inputs]

        def restore() -> None:
            for array, batch in kept:
                array[...] = batch

        return restore

    def wait(self) -> None:
        """Wait until what was called is done."""


class Part:
    """The part of a plan that one thread works on, for the operations of one group."""

    def __init__(self, plan: Plan, division: Division, group: list[Node], thread: int) -> None:
        self.plan, self.draft, self.thread = plan, plan.draft, thread
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
