"""Arrays joined along an axis; among them the windows on images, which lie a step apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from npnn.backends import tuning
from npnn.backends.operations.cut import Cut
from npnn.backends.operations.kind import Call, Kind, Memory
from npnn.backends.recording.node import Node, Shape, replay_views

if TYPE_CHECKING:
    from npnn.backends.planning.loop import Loop


def shape_of(parts: Sequence[Node], axis: int) -> Shape:
    """Return the shape of a join; raise the error of parts that do not fit."""
    before, after = parts[0].shape[:axis], parts[0].shape[axis + 1 :]
    if any((part.shape[:axis], part.shape[axis + 1 :]) != (before, after) for part in parts):
        raise ValueError(f"arrays of shapes {[part.shape for part in parts]} cannot be joined")
    return *before, sum(part.shape[axis] for part in parts), *after


class Join(Kind):
    """A join; windows on one array are copied as one."""

    def reads_for(self, node: Node, cut: Cut) -> dict[Node, Cut] | None:
        return None if node.attrs[0] == cut.axis else cut.read([(a, cut.axis) for a in node.args])

    def calls(self, memory: Memory, node: Node) -> list[Call]:
        axis, out = node.attrs[0], memory.array(node)
        arrays = [memory.array(part) for part in node.args]
        windows = _as_windows(arrays) if _joins_windows(node) else None
        if windows is not None:
            return [(np.copyto, (_split(out, windows.shape), windows))]
        starts = np.cumsum([0, *(part.shape[axis] for part in node.args)]).tolist()
        return [
            (np.copyto, (out[(slice(None),) * axis + (slice(start, stop),)], array))
            for part, array, start, stop in zip(node.args, arrays, starts, starts[1:], strict=False)
            # Some were computed in their places.
            if memory.draft.parts.get(part.base, (None, -1)) != (node, start)
        ]

    def in_loop(self, loop: Loop, node: Node) -> tuple[str, int] | None:
        if all(part.view is not None for part in node.args):
            return None  # NumPy copies what is there already as fast
        return loop.stores(node.args, node) if node.attrs[0] == len(node.shape) - 1 else None


def _joins_windows(join: Node) -> bool:
    """Return whether parts of one array, of one shape, are joined along the last axis."""
    same = {(part.base, part.shape, part.view is None) for part in join.args}
    last = join.attrs[0] == len(join.shape) - 1 > 0
    return len(same) == 1 and last and join.args[0].view is not None and join.size > tuning.FEW


def _as_windows(parts: list[np.ndarray]) -> np.ndarray | None:
    """Return parts that lie a step apart, or on a grid, as one array with two axes for them."""
    starts = [part.__array_interface__["data"][0] for part in parts]
    offsets = [start - starts[0] for start in starts]
    step = offsets[1] if len(parts) > 1 else 0
    across = next((n for n, offset in enumerate(offsets) if offset != n * step), len(parts))
    down, rest = divmod(len(parts), across)
    below = offsets[across] if down > 1 else 0
    grid = [i * below + j * step for i in range(down) for j in range(across)]
    if rest or grid != offsets or len({part.strides for part in parts}) > 1:
        return None
    first = parts[0]
    return np.lib.stride_tricks.as_strided(
        first,
        (*first.shape[:-1], down, across, first.shape[-1]),
        (*first.strides[:-1], below, step, first.strides[-1]),
    )


def lies_better_turned(join: Node, users: Sequence[Node]) -> bool:
    """Return whether a join should lie in memory with its last axis first.

    What a kernel's places see of images of few channels would else be copied few by few elements.
    Products do not mind, and they must be all that use it.
    """
    if not _joins_windows(join) or join.args[0].shape[-1] > tuning.THIN:
        return False
    if any(user.op != "matmul" for user in users):
        return False
    lies = turned(np.empty(join.nbytes, np.uint8), join)
    seen = [arg for user in users for arg in user.args if arg.base is join]
    return all(np.may_share_memory(replay_views(arg, lies), lies) for arg in seen)


def turned(memory: np.ndarray, node: Node) -> np.ndarray:
    """Return bytes as an array whose last axis lies outermost."""
    lies = memory.view(node.dtype).reshape(node.shape[-1], *node.shape[:-1])
    return np.moveaxis(lies, 0, -1)


def _split(out: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a view of `out` with its last axis seen as the last three of `shape`."""
    if out.flags.c_contiguous:
        return out.reshape(shape)
    outermost = np.moveaxis(out, -1, 0)
    return np.moveaxis(outermost.reshape(*shape[-3:], *shape[:-3]), (0, 1, 2), (-3, -2, -1))
