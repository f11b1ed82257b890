"""Whether a thread waits for this one: where this one would wait for it, neither could go on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any


def waits_for(thread: int, this: int, seen: frozenset[int] = frozenset()) -> bool:
    """Return whether a thread surely waits for another one to end, or for what it computes."""
    frames = _frames()
    for frame in _callers(frames.get(thread)):
        for awaited in _awaited(frame, frames):
            if awaited == this:
                return True
            if awaited not in seen and waits_for(awaited, this, seen | {thread, awaited}):
                return True
    return False


def _frames() -> dict[int, FrameType]:
    """Return where each thread is; nothing where Python cannot tell."""
    found: dict[int, FrameType] = getattr(sys, "_current_frames", dict)()
    return found


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _awaited(frame: FrameType, frames: dict[int, FrameType]) -> Iterator[int]:
    """Yield the threads for which the function of a frame waits without a limit of time."""
    module, name = frame.f_globals.get("__name__"), frame.f_code.co_name
    if (module, name) not in _WAITS:
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


_FUTURES = ("result", "exception", "wait", "as_completed")
_WAITS = {("threading", "join"), *(("concurrent.futures._base", name) for name in _FUTURES)}
