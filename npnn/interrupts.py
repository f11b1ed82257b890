"""Ctrl-C, where Python would raise it: never within a step, and in ``fit`` between two of them.

Only Python's own handler is replaced, for as long as it takes, in the main thread. A program that
handles the signal itself, or ignores it, goes on to do so.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from signal import SIGINT, default_int_handler
from threading import get_ident, main_thread
from types import FrameType

try:  # what those of the module signal call, in a tenth of their time
    from _signal import getsignal, signal  # type: ignore[import-not-found]
except ImportError:  # another Python than CPython
    from signal import getsignal, signal

PATIENCE = 5.0  # seconds that a step may take after Ctrl-C


class _State:
    steps = 0  # that are being done: one within another
    trainings = 0  # fits that are being done
    seen: list[float] = []  # when Ctrl-C was pressed


def _note(number: int, frame: FrameType | None) -> None:
    """Note the first Ctrl-C, and each within a step; raise the others."""
    _State.seen.append(time.monotonic())
    if _State.steps and _State.seen[-1] - _State.seen[0] < PATIENCE:
        return
    if _State.trainings and len(_State.seen) == 1:
        return
    if not _State.trainings:
        _give_back()
    raise KeyboardInterrupt


def _give_back() -> None:
    _State.steps, _State.seen = 0, []
    signal(SIGINT, default_int_handler)


def hold() -> bool:
    """Keep Ctrl-C back until :func:`release`, which is to be called if this says so."""
    if get_ident() != main_thread().ident:
        return False
    handler = getsignal(SIGINT)
    if handler is not _note and handler is not default_int_handler:
        return False
    _State.steps += 1
    if handler is not _note:
        try:
            signal(SIGINT, _note)
        except ValueError:  # not in the main interpreter
            _State.steps -= 1
            return False
    return True


def release() -> None:
    """Raise the Ctrl-C that was held back, unless a training looks for it."""
    _State.steps -= 1
    if not _State.steps and not _State.trainings:
        seen = bool(_State.seen)
        _give_back()
        if seen:
            raise KeyboardInterrupt


@contextlib.contextmanager
def noted() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into what is asked for between two steps; a second one is raised."""
    if not hold():
        yield lambda: False
        return
    _State.steps -= 1
    _State.trainings += 1
    try:
        yield lambda: bool(_State.seen)
    finally:
        _State.trainings -= 1
        if not _State.trainings:
            _give_back()
