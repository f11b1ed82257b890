"""Where a model's arrays are computed on, and in which order, whatever is current."""

from __future__ import annotations

from typing import Any


class Context:
    """Inside it a device is current, and the current stream comes after all that was done in it.

    Streams do not wait for each other: with a step under ``with a:`` and the next one under
    ``with b:``, both would be at the same parameters, and at the same memory of a plan. So the new
    stream waits for the old one; the host waits for nothing.

    Parameters
    ----------
    cupy : module
        CuPy.
    device : cupy.cuda.Device
        Where the arrays are.
    """

    def __init__(self, cupy: Any, device: Any) -> None:
        self.cupy, self.device = cupy, device
        self.current_stream = cupy.cuda.get_current_stream
        self.last: Any = None  # the stream that was used last

    def __enter__(self) -> None:
        self.device.__enter__()
        stream = self.current_stream()
        if stream is not self.last:
            if self.last is not None and stream != self.last:
                stream.wait_event(self.last.record(self.cupy.cuda.Event(disable_timing=True)))
            self.last = stream

    def __exit__(self, *error: object) -> None:
        self.last = self.current_stream()  # another thread may have come with its own since
        self.device.__exit__(*error)
