"""Which operations of a draft become one loop: those that go over the same rows and columns.

A run of operations on arrays of one shape, with sums over the last or the batch axis, becomes one
loop over rows, and in it one loop over columns for each *level*. A value that needs the sum of its
row (as Softmax does) is one level above what the sum is made of. A value that nobody outside the
run needs never reaches memory.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from npnn.backends.operations.kinds import kind_of
from npnn.backends.operations.reduction import Reduction
from npnn.backends.planning.draft import Draft
from npnn.backends.planning.loop import REDUCTIONS, STORES, Loop, stored
from npnn.backends.recording.node import Node, replay_views


def fuse(
    draft: Draft,
    make_loop: Callable[..., Loop],
    worth: Callable[[list[Node]], bool] = lambda group: True,
) -> None:
    """Group the operations into loops, where they can be and are worth it."""
    bound, carried, outside = draft.bound, draft.carried, draft.outside
    users = {node: len(of) for node, of in draft.users_of_all().items()}

    def look(node: Node) -> np.ndarray:
        """Return an array that lies in memory as that of `node` will."""
        base = bound.get(node.base, node.base.value)
        return replay_views(node, np.empty(node.base.shape) if base is None else base)

    def passed_on(node: Node) -> bool:
        return users.get(node) == 1 and node not in outside

    loop: Loop | None = None
    for node in sorted(_sums_first(draft.nodes), key=draft.phase):
        if loop is not None and _may_join(draft, loop, node) and loop.add(node):
            continue
        shape = stored(node)[0].shape if node.op in STORES else node.shape
        shape = node.args[0].shape if node.op in REDUCTIONS else shape
        fits = shape and 0 not in shape and _along_rows(draft, node)
        loop = make_loop(shape, look, passed_on, carried) if fits else None
        if loop is not None and loop.add(node):
            draft.groups.append(loop.nodes)
            draft.loops[node] = loop
        else:
            loop = None
            draft.groups.append([node])
    for group in draft.groups:
        if group[0] in draft.loops and not worth(group):
            del draft.loops[group[0]]
    draft.transient = _never_in_memory(draft)


def _never_in_memory(draft: Draft) -> set[Node]:
    """Find the values that are made and used up in one turn of a loop."""
    loops = [loop for loop in draft.loops.values() if len(loop.nodes) > 1]
    inside = {node: loop for loop in loops for node in loop.nodes}
    users: dict[Node, list[Node]] = {}
    for node in draft.nodes:
        for arg in node.args:
            users.setdefault(arg.base, []).append(node if arg.view is None else arg)

    def used_here(node: Node, loop: Loop) -> bool:
        return all(
            inside.get(user) is loop
            and (loop.kind[node] != "full" or loop.level[user] == loop.level[node])
            for user in users.get(node, ())
        )

    return {
        node
        for node, loop in inside.items()
        if loop.kind[node] in ("full", "column", "scalar") and used_here(node, loop)
    } - draft.outside


def _may_join(draft: Draft, loop: Loop, node: Node) -> bool:
    """Return whether the same threads run an operation and those of a loop, at once."""
    if draft.division is None:
        return True
    return _along_rows(draft, node) and draft.division.together([*loop.nodes, node])


def _along_rows(draft: Draft, node: Node) -> bool:
    """Return whether each thread has some rows of the loop that an operation would be in."""
    if draft.division is None or draft.division.shares[node].cut is None:
        return True
    kind = kind_of(node)
    return not isinstance(kind, Reduction) or kind.goes_along_rows(node)


def _sums_first(nodes: list[Node]) -> list[Node]:
    """Return the operations with each sum right behind what it sums, to be of its loop."""
    sums: dict[Node, list[Node]] = {}
    for node in nodes:
        x = node.args[0] if node.op == "sum" else None
        if x is not None and x.op not in ("leaf", "constant") and not x.view:
            sums.setdefault(x, []).append(node)
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
