"""The passes that make a plan of a recorded step, in their order.

Each is a function that looks at what those before it have found out, and adds to the draft.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from npnn.backends.operations.product import parts_of_sum
from npnn.backends.planning.division import Division
from npnn.backends.planning.draft import Draft
from npnn.backends.planning.places import find_places, turn_joins, write_over_old_values
from npnn.backends.planning.target import Target
from npnn.backends.recording.node import Node


def cut_long_sums(draft: Draft, target: Target) -> None:
    """Have few long sums of products, as of a kernel over all images, added up in parts.

    OpenBLAS is slow at long ones, and threads share the parts. The recording itself changes, once
    for all drafts of it.
    """
    for number, node in reversed(list(enumerate(draft.nodes))):
        parts = parts_of_sum(node) if target.cuts_sums and node.op == "matmul" else 1
        if parts > 1:
            a, b = _in_parts(node.args[0], -1, parts), _in_parts(node.args[1], -2, parts)
            several = Node("matmul", (a, b), (), (parts, *node.shape[-2:]), node.dtype)
            several.origin = node.origin
            node.op, node.args, node.attrs = "sum", (several,), ((0,), len(node.shape) == 3)
            draft.nodes[number:number] = [a, b, several]


def _in_parts(node: Node, axis: int, parts: int) -> Node:
    """Return a matrix as a stack of parts of it, cut along one of its axes; a view."""

    def view(array: np.ndarray) -> np.ndarray:
        first: np.ndarray = np.moveaxis(array.reshape(array.shape[-2:]), axis, 0)
        return np.moveaxis(first.reshape(parts, -1, first.shape[1]), 1, axis)

    shape = [parts, *node.shape[-2:]]
    shape[axis] //= parts
    return Node("parts", (node,), (axis, parts), tuple(shape), node.dtype, view=view)


def save_old_values(draft: Draft, target: Target) -> None:
    """Put copies of the carried values that are asked for when changed before all else."""
    changed = {leaf for leaf, _, result in draft.carry if result is not leaf}
    copies: dict[Node, Node] = {}

    def saved(node: Node) -> Node:
        if node.base not in changed:
            return node
        return copies.setdefault(node, Node("copy", (node,), (), node.shape, node.dtype))

    draft.outputs = [saved(node) for node in draft.outputs]
    draft.carry = [(leaf, array, saved(result)) for leaf, array, result in draft.carry]
    draft.nodes = [*copies.values(), *draft.nodes]


def leave_out_what_is_not_needed(draft: Draft, target: Target) -> None:
    """Keep the operations that results are made of; a view is none."""
    wanted = {*draft.outputs, *(result for _, _, result in draft.carry)}
    for node in reversed(draft.nodes):
        if node in wanted:
            wanted.update(node.args)
    draft.nodes = [node for node in draft.nodes if node in wanted and node.view is None]


def compute_parts_in_place(draft: Draft, target: Target) -> None:
    """Find the values that can be computed straight into their part of a joined array."""
    computed = set(draft.nodes)
    for join in draft.nodes:
        if join.op != "concat" or len(join.shape) != 1:
            continue
        start = 0
        for part in join.args:
            base = part.base
            reshaped = part
            while reshaped.view is not None and reshaped.op == "reshape":
                reshaped = reshaped.args[0]
            free = base in computed and base not in draft.parts
            owned = free and base.op not in ("concat", "setitem") and base.dtype == join.dtype
            if owned and reshaped is base:
                draft.parts[base] = (join, start)
            start += part.size


def divide_among_threads(draft: Draft, target: Target) -> None:
    """Give each of several threads its share, and sort the operations by their phases."""
    if draft.threads > 1:
        draft.division = Division(
            draft.nodes, draft.inputs, draft.parts, draft.threads, target.awake
        )
        draft.nodes.sort(key=draft.phase)


def group(draft: Draft, target: Target) -> None:
    """Have the target say which operations run as one, and in which order."""
    target.group(draft)
    draft.time = {node: i for i, nodes in enumerate(draft.groups) for node in nodes}
    draft.order = {node: i for i, node in enumerate(draft.time)}


def find_users(draft: Draft, target: Target) -> None:
    """Find who reads each value; what reads a part of a joined array reads the array."""
    for node in draft.order:
        for arg in node.args:
            draft.users.setdefault(arg.base, []).append(node)
    draft.kept = draft.outside
    for part, (join, _) in draft.parts.items():
        draft.users.setdefault(join, []).extend(draft.users.get(part, ()))
        if part in draft.kept:
            draft.kept.add(join)


PASSES: tuple[Callable[[Draft, Target], None], ...] = (
    cut_long_sums,
    save_old_values,
    leave_out_what_is_not_needed,
    compute_parts_in_place,
    divide_among_threads,
    group,
    find_users,
    write_over_old_values,
    turn_joins,
    find_places,
)


def worked_out(draft: Draft, target: Target) -> Draft:
    """Return the draft after all passes."""
    for each in PASSES:
        each(draft, target)
    return draft
