"""Where the values of a draft lie: passes that give each its place, over another one if they can.

A parameter or moment is updated where it lies, gradients are computed straight into their part of
the flat gradient, and an elementwise operation writes over an argument that nobody needs any more.
"""

from __future__ import annotations

from npnn.backends.operations.join import lies_better_turned
from npnn.backends.operations.kinds import kind_of
from npnn.backends.planning.arena import FOREVER, Place
from npnn.backends.planning.draft import Draft
from npnn.backends.planning.target import Target
from npnn.backends.recording.node import Node


def write_over_old_values(draft: Draft, target: Target) -> None:
    """Find the new values that can be written where the old ones lie."""
    elsewhere = {*draft.parts, *(join for join, _ in draft.parts.values())}
    for leaf, array, result in draft.carry:
        fresh = result in draft.order and result not in {*elsewhere, *draft.results}
        if fresh and array.flags.c_contiguous and _overwritable(draft, leaf, result):
            draft.results[result] = leaf


def turn_joins(draft: Draft, target: Target) -> None:
    """Find the joins that should lie in memory with their last axis first."""
    draft.turned = {
        node
        for node in draft.order
        if target.turns
        and node.op == "concat"
        and node not in draft.kept
        and lies_better_turned(node, draft.users.get(node, []))
    }


def find_places(draft: Draft, target: Target) -> None:
    """Give each value the array it stands for, the place of another, or one of its own."""
    places = draft.places
    for leaf, array in draft.bound.items():
        places[leaf] = Place(0, -1, FOREVER)
        places[leaf].array = array
    for leaf in draft.inputs:
        places[leaf] = Place(leaf.nbytes, -1, draft.death(leaf))
    for node in draft.order:
        if node in places or node in draft.transient:
            continue
        if node in draft.parts:
            join = draft.parts[node][0]
            if join not in places:
                places[join] = Place(join.nbytes, draft.time[node], draft.death(join))
        elif node in draft.results:
            places[node] = places[draft.results[node]]
        else:
            own = Place(node.nbytes, draft.time[node], draft.death(node))
            places[node] = _taken_over(draft, node) or own
            places[node].bounds = _bounds(draft, node) or places[node].bounds


def _bounds(draft: Draft, node: Node) -> tuple[int, ...]:
    """Return the bytes at which threads divide a value."""
    if draft.division is None or node in draft.turned or draft.division.by_columns(node):
        return ()
    cut = draft.division.shares[node].cut
    return () if cut is None else tuple(i * (node.nbytes // cut.at[-1]) for i in cut.at)


def _taken_over(draft: Draft, node: Node) -> Place | None:
    """Return the place of an argument that dies here, if `node` may overwrite it."""
    for arg in kind_of(node).may_replace(node):
        if arg not in draft.places or not _overwritable(draft, arg, node):
            continue
        place = draft.places[arg]
        if place.array is None:
            place.death = max(place.death, draft.death(node))
            return place
        # An old parameter or moment: its place is free until the new one is written.
        for result, leaf in draft.results.items():
            if leaf is arg and _overwritable(draft, node, result):
                return place
    return None


def _overwritable(draft: Draft, old: Node, node: Node) -> bool:
    """Return whether `node` may be written where `old` lies, element by element.

    Nobody may need the old value later, or read it when it is overwritten already.
    """
    if (old.shape, old.dtype) != (node.shape, node.dtype) or old in draft.kept:
        return False
    for user in draft.users.get(old, ()):
        if draft.division is not None:
            if draft.phase(user) < draft.phase(node):
                continue
            if not draft.division.overwrites_its_own(user, old, node):
                return False
        later = draft.order[user] > draft.order[node]
        together = draft.time[user] == draft.time[node]
        if later or (together and not _reads_in_time(draft, user, old, node)):
            return False
    return True


def _reads_in_time(draft: Draft, user: Node, old: Node, node: Node) -> bool:
    """Return whether `user` reads `old` before `node`, of the same group, writes over it.

    Where the group is one operation, each element must be read just before it is written.
    """
    loop = draft.loops.get(draft.groups[draft.time[node]][0])
    if loop is None:
        in_time = kind_of(user).reads_in_time(user, old)
    else:
        in_time = loop.reads_in_time(user, old, node)
    of_its_memory = [arg for arg in user.args if draft.owner(arg) is draft.owner(old)]
    return in_time and all(arg is old for arg in of_its_memory)
