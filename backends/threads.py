"""Threads that work on one step side by side, and the number of them that a machine is good for.

Each has a part of every large operation. The matrix products of a part run in its own thread
alone: were each product shared out by the library beneath NumPy, what one processor has in its
cache would go to the other with every operation.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import cache
from typing import Any

Task = Callable[[], None]


class Helper:
    """A thread that waits for a task, does it, and waits for the next."""

    def __init__(self) -> None:
        self._task: Task | None = None
        self._error: BaseException | None = None
        self._go, self._done = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._done.acquire()
        threading.Thread(target=self._work, name="npnn-helper", daemon=True).start()

    def start(self, task: Task) -> None:
        """Begin a task, under the error settings of NumPy that hold where this is called."""
        context = copy_context()
        self._task = lambda: context.run(task)
        self._go.release()

    def wait(self) -> None:
        """Return when the task is done, or raise what it raised."""
        interrupted = None
        while True:
            try:
                self._done.acquire()
                break
            except KeyboardInterrupt as error:
                interrupted = error  # not before the helper has let go of the plan's memory
        error, self._error = self._error, None
        if error is not None or interrupted is not None:
            raise error or interrupted  # type: ignore[misc]

    def _work(self) -> None:
        while True:
            self._go.acquire()
            assert self._task is not None
            try:
                self._task()
            except BaseException as error:  # raised where the task was given
                self._error = error
            self._task = None
            self._done.release()


_helpers: list[Helper] = []
_in_use = threading.Lock()


def _forget() -> None:
    """Forget the threads, which do not live on in a forked process."""
    global _in_use
    _helpers.clear()
    _in_use = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def run_phases(phases: Sequence[Sequence[Task | None]]) -> None:
    """Run phases one after another, the tasks of each side by side.

    Where the helpers are busy with the step of another thread, all tasks run in this one.
    """
    library = _blas()
    if library is None or not _in_use.acquire(blocking=False):
        for task in (task for tasks in phases for task in tasks if task is not None):
            task()
        return
    try:
        with library.limit(limits=1):
            for tasks in phases:
                _run_side_by_side(tasks)
    finally:
        _in_use.release()


def _run_side_by_side(tasks: Sequence[Task | None]) -> None:
    while len(_helpers) < len(tasks) - 1:
        _helpers.append(Helper())
    started = [(h, t) for h, t in zip(_helpers, tasks[1:], strict=False) if t is not None]
    for helper, task in started:
        helper.start(task)
    try:
        if tasks[0] is not None:
            tasks[0]()
    finally:
        for helper, _ in started:
            helper.wait()


def count() -> int:
    """Return how many threads a step may use: as many as NumPy's matrix products may.

    So ``OPENBLAS_NUM_THREADS`` and threadpoolctl's limits hold for npnn too. One where the library
    beneath NumPy cannot be told to use a single thread.
    """
    library = _blas()
    return 1 if library is None else max(1, int(library.lib_controllers[0].num_threads or 1))


@cache
def _blas() -> Any:
    """Return what controls the library beneath NumPy's matrix products; None if not known."""
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().select(user_api="blas")
    numpys = [library.filepath for library in found.lib_controllers if "numpy" in library.filepath]
    found = found.select(filepath=numpys) if numpys else found
    return found if found.lib_controllers else None
