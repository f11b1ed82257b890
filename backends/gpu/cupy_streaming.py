"""Batches that come from the host's memory while the device computes on those before.

Rows are gathered into memory that the operating system may not move, from where the device fetches
them on a stream of their own. Two events guard each slot: the device may read a batch when it has
been copied, and the next one may take its place when it has been read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from itertools import cycle
from typing import Any

import numpy as np

AHEAD = 2  # batches that are on their way while one is computed on


class Slot:
    """Memory for one batch on both sides."""

    def __init__(self, cupy: Any, arrays: dict[str, np.ndarray], rows: int) -> None:
        self.host: dict[str, np.ndarray] = {}
        self.device: dict[str, Any] = {}
        for name, array in arrays.items():
            shape = (rows, *array.shape[1:])
            count = int(np.prod(shape))
            pinned = cupy.cuda.alloc_pinned_memory(max(1, count * array.itemsize))
            self.host[name] = np.frombuffer(pinned, array.dtype, count).reshape(shape)
            self.device[name] = cupy.empty(shape, array.dtype)
        self.copied = cupy.cuda.Event(disable_timing=True)
        self.read = cupy.cuda.Event(disable_timing=True)
        self.read.record()  # the memory may be what is still being read as something else

    def fill(self, arrays: dict[str, np.ndarray], index: np.ndarray, stream: Any) -> None:
        """Gather rows, and send them off."""
        self.copied.synchronize()  # the memory of the host is still being copied from until then
        stream.wait_event(self.read)
        self.rows = len(index)
        for name, array in arrays.items():
            part = self.host[name][: self.rows]
            np.take(array, index, axis=0, out=part, mode="clip")
            self.device[name].data.copy_from_host_async(part.ctypes.data, part.nbytes, stream)
        self.copied.record(stream)


def streamed(
    cupy: Any, arrays: dict[str, np.ndarray], indices: Sequence[np.ndarray]
) -> Generator[dict[str, Any], None, None]:
    """Yield batches on the device; see :meth:`npnn.backends.backend.Backend.batches`."""
    stream = cupy.cuda.Stream(non_blocking=True)
    rows = max(map(len, indices), default=0)
    slots = cycle([Slot(cupy, arrays, rows) for _ in range(AHEAD + 1)])
    under_way: deque[Slot] = deque()
    left = iter(indices)

    def send() -> None:
        index = next(left, None)
        if index is not None:
            under_way.append(next(slots))
            under_way[-1].fill(arrays, index, stream)

    try:
        for _ in range(AHEAD):
            send()
        while under_way:
            slot = under_way.popleft()
            current = cupy.cuda.get_current_stream()
            current.wait_event(slot.copied)
            yield {name: array[: slot.rows] for name, array in slot.device.items()}
            slot.read.record(current)
            send()
    finally:
        # Whoever stops early leaves copies on their way into memory that others may get.
        stream.synchronize()
