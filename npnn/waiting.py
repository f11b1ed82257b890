"""Whether a thread waits for this one: where this one would wait for it, neither could go on."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

STANDSTILL = 10.0
"""Seconds that a thread stands at one place before it is taken to wait for one that it started."""


class Waiting:
    """What this thread sees of another one that it waits for.

    Parameters
    ----------
    other : int
        The thread.
    may_be_its : bool
        Whether the other one may have started this one: it is younger than what is waited for.
    """

    def __init__(self, other: int, may_be_its: bool) -> None:
        self.other, self.may_be_its = other, may_be_its
        self._stands: tuple[int, int] | None = None
        self._since = 0.0

    def is_for_ever(self) -> bool:
        """Return whether the other thread waits for this one."""
        if _waits_for(self.other, threading.get_ident(), frozenset()):
            return True
        frame = _frames().get(self.other) if self.may_be_its else None
        stands = None if frame is None or not _waits(frame) else (id(frame), frame.f_lasti)
        if stands is None or stands != self._stands:
            self._stands, self._since = stands, time.monotonic()
        return stands is not None and time.monotonic() - self._since > STANDSTILL


def _frames() -> dict[int, FrameType]:
    """Return where each thread is; nothing where Python cannot tell."""
    found: dict[int, FrameType] = getattr(sys, "_current_frames", dict)()
    return found


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _waits(frame: FrameType) -> bool:
    """Return whether a thread waits for others, for as long as it takes them."""
    module = frame.f_globals.get("__name__")
    return module in ("threading", "queue") and frame.f_locals.get("timeout", None) is None


def _waits_for(thread: int, this: int, seen: frozenset[int]) -> bool:
    """Return whether a thread waits for this one to end, or for what it computes."""
    frames = _frames()
    for frame in _callers(frames.get(thread)):
        for awaited in _awaited(frame, frames):
            if awaited == this:
                return True
            if awaited not in seen and _waits_for(awaited, this, seen | {thread, awaited}):
                return True
    return False


def _awaited(frame: FrameType, frames: dict[int, FrameType]) -> Iterator[int]:
    """Yield the threads for which the function of a frame waits without a limit of time."""
    module, name = frame.f_globals.get("__name__"), frame.f_code.co_name
    known = {("threading", "join"), *((_FUTURES, n) for n in ("result", "exception", "wait"))}
    if (module, name) not in known and (module, name) != (_FUTURES, "as_completed"):
        return
    given: dict[str, Any] = dict(frame.f_locals)
    if given.get("timeout") is not None:
        return
    if module == "threading":
        yield getattr(given.get("self"), "ident", None) or 0
        return
    futures = given.get("fs") or [given.get("self")]
    for thread, other in frames.items():
        for within in _callers(other):
            item = within.f_locals.get("self") if within.f_code.co_name == "run" else None
            if getattr(item, "future", item) in futures and item is not None:
                yield thread


_FUTURES = "concurrent.futures._base"
