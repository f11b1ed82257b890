"""Which part of each operation of a plan each of several threads computes.

A step is cut in two ways. Forward and backward, each thread has some *samples* of the batch: what
one sample becomes depends on no other. From the gradients of the parameters on, which are sums over
all samples, each thread has some of the *parameters*: the rows of a gradient, and the same part of
the flat arrays that the optimizer works on. Where a thread needs what another one computes, a new
*phase* begins, once all threads are there: two phases make a step of Dense layers.

Where threads wait awake for each other, a phase more costs next to nothing, and a product of few
samples with a large matrix is cut by its *columns*: each thread then prepares its own part of the
matrix for the product, and not the whole, which for few rows counts.

Nothing here knows layers. Cuts are followed from the batch through the operations, and from the
flat gradient back to what it is made of; what cannot be cut, one thread computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from npnn.backends import tuning
from npnn.backends.operations.cut import Cut, outermost
from npnn.backends.operations.kinds import flops, kind_of
from npnn.backends.recording.node import Node, replay_views


@dataclass
class Share:
    """How an operation is divided.

    Attributes
    ----------
    cut : Cut or None
        Of the result; None where the first thread computes all of it.
    reads : dict
        The cut of each argument of which a thread reads only a part.
    phase : int
        When it is computed: after all operations of earlier phases.
    """

    cut: Cut | None
    reads: dict[Node, Cut]
    phase: int = 0


class Division:
    """The shares of a plan's operations.

    Parameters
    ----------
    nodes : list of Node
        The operations, in order.
    inputs : list of Node
        Leaves that are written before each replay. The first that is no number has the samples
        along its first axis, as have all others that are as long.
    parts : dict
        The flat array that a value is a part of, and where it starts there.
    threads : int
        How many there are.
    awake : bool, optional
        Whether they wait for each other awake.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        inputs: Iterable[Node],
        parts: dict[Node, tuple[Node, int]],
        threads: int,
        awake: bool = False,
    ) -> None:
        self.threads, self.parts, self.awake = threads, parts, awake
        self.shares: dict[Node, Share] = {}
        self._seen: dict[Node, Cut | None] = {}
        self.samples = self._cuts_of_samples(inputs)
        self.flat = self._cuts_of_joins()
        by_length = {join.size: cut for join, cut in self.flat.items()}
        self._not_before: dict[Node, int] = {}
        self._share_out(nodes, by_length)
        self._not_before = self._last_phases(nodes)
        self._share_out(nodes, by_length)

    def has_work(self, node: Node, thread: int) -> bool:
        """Return whether a thread computes a part of the operation."""
        cut = self.shares[node].cut
        return thread == 0 if cut is None else cut.at[thread] < cut.at[thread + 1]

    def by_columns(self, node: Node) -> bool:
        """Return whether an operation is cut along another axis than the outermost."""
        cut = self._cut_of(node)
        return cut is not None and cut.axis != outermost(node.shape)

    def together(self, nodes: Sequence[Node]) -> bool:
        """Return whether operations can be one: of the same phase, and cut in the same way."""
        shares = [self.shares[node] for node in nodes]
        first = shares[0]
        reads: dict[Node, Cut | None] = {}
        for node, share in zip(nodes, shares, strict=True):
            same = share.phase == first.phase and (share.cut is None) == (first.cut is None)
            same &= self.by_columns(node) == self.by_columns(nodes[0])
            if not same or not _in_proportion(share.cut, first.cut):
                return False
            for arg in node.args:
                read = share.reads.get(arg)
                if reads.setdefault(arg, read) != read:
                    return False
        return True

    def overwrites_its_own(self, user: Node, old: Node, node: Node) -> bool:
        """Return whether what a thread writes over `old` is what it alone reads of it as `user`."""
        mine, theirs = self.shares[node], self.shares[user]
        if mine.cut is None or theirs.cut is None:
            return mine.cut is theirs.cut
        for arg in user.args:
            if self.parts.get(arg.base, (None, 0))[0] is old:
                return False
            if arg.base is not old:
                continue
            of_leaf = arg is old and old not in self.shares
            lies = theirs.reads.get(arg) if of_leaf else self.seen(arg)
            if lies is None or theirs.reads.get(arg) != lies:
                return False
            if (lies if of_leaf else self._cut_of(old)) != mine.cut:
                return False
        return True

    # What is cut, and where --------------------------------------------------------------------

    def _cuts_of_samples(self, inputs: Iterable[Node]) -> dict[Node, Cut]:
        arrays = [leaf for leaf in inputs if leaf.shape]
        count = arrays[0].shape[0] if arrays else 0
        at = tuple(count * thread // self.threads for thread in range(self.threads + 1))
        return {leaf: Cut(0, at) for leaf in arrays if leaf.shape[0] == count and count > 1}

    def _cuts_of_joins(self) -> dict[Node, Cut]:
        """Return where to cut flat arrays, so that their parts take equally long to compute."""
        made_of: dict[Node, list[tuple[int, Node]]] = {}
        for part, (join, start) in self.parts.items():
            made_of.setdefault(join, []).append((start, part))
        cuts = {}
        for join, parts in made_of.items():
            if join.size < tuning.LARGE or sum(part.size for _, part in parts) < join.size:
                continue
            parts.sort(key=lambda item: item[0])
            costs = [flops(part) + tuning.OPTIMIZER * part.size for _, part in parts]
            at = [0]
            for thread in range(1, self.threads):
                left, number = sum(costs) * thread / self.threads, 0
                while left > costs[number]:
                    left -= costs[number]
                    number += 1
                start, part = parts[number]
                axis = outermost(part.shape)
                row = part.size // part.shape[axis]
                at.append(start + row * round(left / costs[number] * part.shape[axis]))
            cuts[join] = Cut(0, (*at, join.size))
        return cuts

    def _wanted(self, node: Node, by_length: dict[int, Cut]) -> Cut | None:
        """Return the cut that flat arrays ask of an operation."""
        if node in self.parts:
            join, start = self.parts[node]
            if join not in self.flat:
                return None
            axis = outermost(node.shape)
            row = node.size // node.shape[axis]
            within = [min(max(i - start, 0), node.size) for i in self.flat[join].at]
            return Cut(axis, tuple(-(-i // row) for i in within))
        return by_length.get(node.size) if len(node.shape) == 1 else None

    def _share_out(self, nodes: Iterable[Node], by_length: dict[int, Cut]) -> None:
        self._seen.clear()
        for node in nodes:
            self.shares[node] = self._share(node, self._wanted(node, by_length))

    def _share(self, node: Node, wanted: Cut | None) -> Share:
        if node in self.flat:
            # Its parts have been computed in their places, each thread's by itself.
            return self._timed(node, wanted if self._joined_in_place(node) else None, {})
        if node.size <= 1:
            return self._timed(node, None, {})
        if self._better_by_columns(node):
            columns = _even(node, 1, self.threads)
            return self._timed(node, columns, {node.args[1]: columns})
        axis, found = outermost(node.shape), self._offered(node, wanted)
        along = (axis, 1) if node.elementwise and len(node.shape) == 2 else (axis,)
        for arg in sorted(node.args, key=lambda arg: -arg.size):
            cut = self.seen(arg)
            if cut is not None and (node.elementwise or not self.by_columns(arg.base)):
                for each in along:
                    found += self._offered(node, cut.in_proportion(each, node.shape[each]), arg)
        if not found and (node.size >= tuning.LARGE or flops(node) >= 100 * tuning.LARGE):
            found = self._offered(node, _even(node, axis, self.threads))
        first = found[:1] if wanted is not None else found
        return min(first, key=lambda share: share.phase, default=self._timed(node, None, {}))

    def _offered(self, node: Node, cut: Cut | None, like: Node | None = None) -> list[Share]:
        """Return the share with such a cut, if there is one that reads `like` as it is cut."""
        reads = None if cut is None else kind_of(node).reads_for(node, cut)
        if reads is None or (like is not None and reads.get(like) != self.seen(like)):
            return []
        return [self._timed(node, cut, reads)]

    def _better_by_columns(self, node: Node) -> bool:
        """Return whether each thread shall compute columns of a product, for all samples."""
        if not self.awake or node.op != "matmul" or node in self.parts or len(node.shape) != 2:
            return False
        a, b = node.args
        if len(a.shape) != 2 or self._cut_of(a.base) is None or self.seen(b) is not None:
            return False
        few = a.shape[0] <= tuning.SAMPLES * self.threads
        return few and node.shape[1] >= tuning.COLUMNS * self.threads and b.size >= tuning.WEIGHTS

    def _timed(self, node: Node, cut: Cut | None, reads: dict[Node, Cut]) -> Share:
        """Return a share, of the first phase in which all that it reads is there."""
        share = Share(cut, reads)
        # Each thread brings the samples that it has from outside, too.
        made = [arg for arg in node.args if arg.base in self.shares or arg.base in self.samples]
        phases = [self._phase_after(node, share, arg) for arg in made]
        share.phase = max([*phases, self._not_before.get(node, 0)])
        return share

    def _last_phases(self, nodes: Iterable[Node]) -> dict[Node, int]:
        """Return the phase of a flat array for its parts, and for what is computed along with it.

        A thread that has the first layers would otherwise wait for the others, and they for it; and
        moments would be read once more.
        """
        last: dict[Node, int] = {}
        for part, (join, _) in self.parts.items():
            last[join] = max(last.get(join, 0), self.shares[part].phase)
        found = {part: last[join] for part, (join, _) in self.parts.items() if join in self.flat}
        for join in self.flat:
            alike = (node for node in nodes if node.shape == join.shape and node.elementwise)
            found.update({node: max(found.get(node, 0), last[join]) for node in alike})
        return found

    def _joined_in_place(self, join: Node) -> bool:
        return all(self.parts.get(part.base, (None,))[0] is join for part in join.args)

    def _phase_after(self, node: Node, share: Share, arg: Node) -> int:
        """Return the first phase in which all that a share needs of `arg` is there."""
        before = self.shares.get(arg.base) or Share(self.samples[arg.base], {})
        if share.cut is None or before.cut is None:
            own = share.cut is before.cut
        elif node in self.flat:
            own = before.cut == self._wanted(arg.base, {})
        else:
            own = share.reads.get(arg) == self.seen(arg) is not None
        return before.phase + (not own)

    def _cut_of(self, node: Node) -> Cut | None:
        share = self.shares.get(node)
        return self.samples.get(node) if share is None else share.cut

    def seen(self, node: Node) -> Cut | None:
        """Return where a view shows its base to be cut; None if not along one of its axes."""
        if node not in self._seen:
            cut = self._cut_of(node.base)
            self._seen[node] = cut if node.view is None or cut is None else _through(node, cut)
        return self._seen[node]


def seconds(nodes: Iterable[Node]) -> float:
    """Return roughly how long operations take in one thread."""
    return sum(
        flops(node) * tuning.SECONDS_PER_FLOP
        if node.op == "matmul"
        else (node.nbytes + sum(arg.nbytes for arg in node.args)) * tuning.SECONDS_PER_BYTE
        + max(0, kind_of(node).cost(node) - 1) * node.size * tuning.SECONDS_PER_ADDITION
        for node in nodes
    )


def _even(node: Node, axis: int, threads: int) -> Cut:
    """Return the cut of an axis into equal parts."""
    n = node.shape[axis]
    return Cut(axis, tuple(n * thread // threads for thread in range(threads + 1)))


def _in_proportion(a: Cut | None, b: Cut | None) -> bool:
    """Return whether two cuts give each thread the same part of a whole."""
    if a is None or b is None:
        return a is b
    return all(i * b.at[-1] == j * a.at[-1] for i, j in zip(a.at, b.at, strict=True))


def _through(node: Node, cut: Cut) -> Cut | None:
    """Return a cut of the outermost axis of a view's base as a cut of the view."""
    base = node.base
    if cut.axis != outermost(base.shape):
        return None
    memory = np.empty(base.shape, base.dtype)
    view = replay_views(node, memory)
    start = view.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
    row = memory.nbytes // max(1, base.shape[cut.axis])
    axes = [axis for axis, n in enumerate(view.shape) if n > 1]
    if not axes or any(view.strides[axis] < 0 for axis in axes):
        return None
    axis = max(axes, key=lambda axis: view.strides[axis])
    stride = view.strides[axis]
    if stride == 0:
        return None
    others = sum((view.shape[i] - 1) * view.strides[i] for i in axes if i != axis)
    at = []
    for i in cut.at[1:-1]:
        index = min(max(-(-(i * row - start) // stride), 0), view.shape[axis])
        before = index == 0 or start + (index - 1) * stride + others < i * row
        after = index == view.shape[axis] or start + index * stride >= i * row
        if not before or not after:
            return None
        at.append(index)
    return Cut(axis, (0, *at, view.shape[axis]))
