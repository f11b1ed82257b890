"""Threads that work on one step side by side, and the number of them that a machine is good for.

Each has a part of every large operation. The matrix products of a part run in its own thread
alone: were each product shared out by the library beneath NumPy, what one processor has in its
cache would go to the other with every operation.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import cache, partial
from typing import Any

Task = Callable[[], None]
Phases = Sequence[Sequence[Task | None]]
"""For each phase, the task of each thread; None where it has none."""


class Gate:
    """Lets one thread through each time another one opens it; closed at first."""

    def __init__(self) -> None:
        lock = threading.Lock()
        lock.acquire()
        self.open, self.wait = lock.release, lock.acquire


class Helper:
    """A thread that sleeps until there are tasks, does those of its number, and sleeps again."""

    def __init__(self, number: int) -> None:
        self._go, self._done, self._next = Gate(), Gate(), Gate()
        self._number = number
        self._phases: Phases = ()
        self._context = copy_context()
        self._error: BaseException | None = None
        self._retired = False
        self._thread = threading.Thread(target=self._work, name=f"npnn-{number}", daemon=True)
        self._thread.start()

    def start(self, phases: Phases) -> None:
        """Begin, under the settings for errors of NumPy that hold where this is called."""
        self._phases, self._context = phases, copy_context()
        self._go.open()

    def meet(self) -> None:
        """Return when the helper is through with its phase."""
        self._done.wait()

    def go_on(self) -> None:
        """Let the helper begin its next phase."""
        self._next.open()

    def raise_error(self) -> None:
        """Raise what a task has raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def retire(self) -> None:
        """Let the thread end once it has done the task that it is at."""
        self._retired = True
        while self._thread.is_alive():
            with suppress(RuntimeError):
                self._go.open()
            with suppress(RuntimeError):
                self._next.open()
            with suppress(KeyboardInterrupt):
                self._thread.join(1e-3)

    def _work(self) -> None:
        while True:
            self._go.wait()
            self._context.run(self._run)
            if self._retired:
                return
            self._phases = ()
            self._done.open()

    def _run(self) -> None:
        for number, tasks in enumerate(self._phases):
            if number:
                self._done.open()
                self._next.wait()
            if self._retired:
                return
            task = tasks[self._number]
            if task is None or self._error is not None:
                continue
            try:
                task()
            except BaseException as error:
                self._error = error


_helpers: list[Helper] = []
_in_use = threading.Lock()
_usual: list[int] = []  # threads that products use otherwise, while they are limited to one


def _forget() -> None:
    """Forget the threads, which do not live on in a forked process."""
    global _in_use
    _helpers.clear()
    _in_use = threading.Lock()
    _set_back()


def forgotten_by_forks(forget: Task) -> None:
    """Have a forked process forget threads, which do not live on in it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)


forgotten_by_forks(_forget)


def run_phases(phases: Phases) -> None:
    """Run phases one after another, the tasks of each side by side.

    Where the helpers are busy with the step of another thread, all tasks run in this one.
    """
    with_the_others(partial(_run_side_by_side, phases), partial(_run_one_by_one, phases))


def with_the_others(side_by_side: Task, one_by_one: Task) -> None:
    """Do what several threads do, with products in one each; where they are busy, the other."""
    if blas() is None or not _in_use.acquire(blocking=False):
        one_by_one()
        return
    try:
        if not _usual:  # else Ctrl-C has come before the number was set back
            _usual.append(count())
        for library in blas().lib_controllers:
            library.set_num_threads(1)
        side_by_side()
    finally:
        try:
            _set_back()
        finally:
            _in_use.release()


def _set_back() -> None:
    """Let products use as many threads as usual."""
    if not _usual:
        return
    for library in blas().lib_controllers:
        library.set_num_threads(_usual[0])
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread()  # threads of others may set limits again
    _usual.clear()


def _run_one_by_one(phases: Phases) -> None:
    for tasks in phases:
        for task in tasks:
            if task is not None:
                task()


def _run_side_by_side(phases: Phases) -> None:
    while len(_helpers) < len(phases[0]) - 1:
        _helpers.append(Helper(len(_helpers) + 1))
    helpers = _helpers[: len(phases[0]) - 1]
    try:
        for helper in helpers:
            helper.start(phases)
        for number, tasks in enumerate(phases):
            if number:
                for helper in helpers:
                    helper.go_on()
            if tasks[0] is not None:
                tasks[0]()
            for helper in helpers:
                helper.meet()
    except BaseException:
        # Nobody knows how far they are: Ctrl-C comes anywhere. But none may go on after this.
        for helper in helpers:
            helper.retire()
        _helpers.clear()
        raise
    for helper in helpers:
        helper.raise_error()


def count() -> int:
    """Return how many threads a step may use: as many as NumPy's matrix products may.

    So ``OPENBLAS_NUM_THREADS`` and threadpoolctl's limits hold for npnn too. One where the library
    beneath NumPy cannot be told to use a single thread.
    """
    library = blas()
    if library is None:
        return 1
    return _usual[0] if _usual else max(1, int(library.lib_controllers[0].num_threads or 1))


@cache
def blas() -> Any:
    """Return what controls the library beneath NumPy's matrix products; None if not known."""
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().select(user_api="blas")
    numpys = [library.filepath for library in found.lib_controllers if "numpy" in library.filepath]
    found = found.select(filepath=numpys) if numpys else found
    return found if found.lib_controllers else None
