"""A recorded step on its way to a plan, with what each pass has found out about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npnn.backends.planning.arena import FOREVER, Place
from npnn.backends.planning.division import Division
from npnn.backends.planning.loop import Loop
from npnn.backends.recording.node import Node


@dataclass(eq=False)
class Draft:
    """What is known of a plan that is being made.

    Attributes
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
    parts : dict
        The values that are computed straight into a joined array: it, and where they start in it.
    division : Division or None
        What each of several threads does.
    groups : list of list of Node
        The operations in the order they run, those together that run as one.
    loops : dict
        The loops among the groups, by their first operations.
    transient : set of Node
        Values that never need memory.
    order, time : dict
        The number of each operation, and of its group.
    users : dict
        The operations that read a value, or a view of it.
    kept : set of Node
        The values that are needed after the step.
    results : dict
        The new values that are written where the old ones lie, by the leaves of those.
    turned : set of Node
        The values whose last axis lies outermost in memory.
    places : dict
        Where values lie.
    """

    nodes: list[Node]
    carry: list[tuple[Node, Any, Node]]
    data: list[tuple[Node, Any]]
    inputs: list[Node]
    outputs: list[Node]
    threads: int = 1
    parts: dict[Node, tuple[Node, int]] = field(default_factory=dict)
    division: Division | None = None
    groups: list[list[Node]] = field(default_factory=list)
    loops: dict[Node, Loop] = field(default_factory=dict)
    transient: set[Node] = field(default_factory=set)
    order: dict[Node, int] = field(default_factory=dict)
    time: dict[Node, int] = field(default_factory=dict)
    users: dict[Node, list[Node]] = field(default_factory=dict)
    kept: set[Node] = field(default_factory=set)
    results: dict[Node, Node] = field(default_factory=dict)
    turned: set[Node] = field(default_factory=set)
    places: dict[Node, Place] = field(default_factory=dict)

    def for_threads(self, threads: int) -> Draft:
        """Return what was recorded, before any pass, for so many threads."""
        return Draft(self.nodes, self.carry, self.data, self.inputs, self.outputs, threads)

    @property
    def operations(self) -> Iterable[Node]:
        """The operations in the order they run."""
        return self.order

    @property
    def bound(self) -> dict[Node, np.ndarray]:
        """The arrays of the leaves that stand for one and the same in each step."""
        return {leaf: array for leaf, array, _ in self.carry} | dict(self.data)

    @property
    def carried(self) -> set[Node]:
        """The values that lie in the arrays of the carry after the step."""
        return {result.base for _, _, result in self.carry}

    @property
    def outside(self) -> set[Node]:
        """The values that somebody beside the operations needs."""
        return self.carried | {node.base for node in self.outputs}

    def users_of_all(self) -> dict[Node, list[Node]]:
        """Return the operations that read a value, or a view of it, in the order of the step."""
        users: dict[Node, list[Node]] = {}
        for node in self.nodes:
            for base in {arg.base: None for arg in node.args}:
                users.setdefault(base, []).append(node)
        return users

    def phase(self, node: Node) -> int:
        """Return the phase in which an operation runs."""
        return 0 if self.division is None else self.division.shares[node].phase

    def death(self, node: Node) -> int:
        """Return the time after which nobody needs the value."""
        if node in self.kept:
            return FOREVER
        times = [self.time[user] for user in self.users.get(node, ())]
        return max([self.time.get(node, -1), *times])

    def owner(self, node: Node) -> Node:
        """Return the node whose memory a value lies in."""
        return self.parts[node.base][0] if node.base in self.parts else node.base
