"""Threads that work on one step side by side, and the number of them that a machine is good for.

Each has a part of every large operation. The matrix products of a part run in its own thread
alone: were each product shared out by the library beneath NumPy, what one processor has in its
cache would go to the other with every operation.

There are two kinds of them. Where a step is machine code alone, a team (``team.py``) of any number
waits awake for each other. Calls of NumPy are shared by the helpers below, up to four threads, who
sleep until they are called: LeNet-5 takes less time so than with the library's own threads, and
keeps its pace where other processes are at work. All else, and what is too short to be divided, is
left to the threads of the library.

How many threads the library uses holds for the whole process: while a divided step runs, products
of other Python threads run in one thread each, and a limit that another thread sets meanwhile ends
with the step. After it the number is what it was before.
"""

from __future__ import annotations

import os
import threading
import time
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

    def __init__(self) -> None:
        self._go, self._done, self._next = Gate(), Gate(), Gate()
        self._number = 0
        self._phases: Phases = ()
        self._context = copy_context()
        self._error: BaseException | None = None
        self._retired = self._ended = False
        self._thread = threading.Thread(target=self._work, name="npnn", daemon=True)
        _started.append(self)
        start(self._thread)

    def start(self, phases: Phases, number: int) -> None:
        """Begin, under the settings for errors of NumPy that hold where this is called."""
        self._phases, self._number, self._context = phases, number, copy_context()
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

    def at_work(self) -> bool:
        """Return whether the thread has begun and not ended.

        ``Thread.is_alive`` says no of one that lives once Ctrl-C has come during ``join``, in
        Python 3.11.
        """
        return self._thread.ident is not None and not self._ended

    def retire(self) -> None:
        """Let the thread end once it has done the task that it is at."""
        self._retired = True
        while True:
            with suppress(RuntimeError):
                self._go.open()  # also for one that is about to begin
            with suppress(RuntimeError):
                self._next.open()
            if not self.at_work():
                break
            time.sleep(1e-3)
        with suppress(ValueError):
            _started.remove(self)

    def _work(self) -> None:
        try:
            while True:
                self._go.wait()
                self._context.run(self._run)
                if self._retired:
                    return
                self._phases = ()
                self._done.open()
        finally:
            self._ended = True

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


# Ctrl-C comes anywhere, and any number of times. Helpers wait again only when all has gone well;
# those that were started and do not are retired before the next work.
_waiting: list[Helper] = []
_started: list[Helper] = []
_in_use = threading.Lock()
_forks: list[bool] = []
_usual: list[int] = []  # threads that products use otherwise, while they are limited to one
_refused: list[BaseException] = []  # by a system that lets no thread be started


class NoThread(RuntimeError):
    """No thread can be started: there may be no more, or none at all."""


def start(thread: threading.Thread) -> None:
    """Start a thread; where that cannot be, steps run in one thread from now on."""
    try:
        thread.start()
    except RuntimeError as error:
        _refused.append(error)
        raise NoThread(str(error)) from error


def _forget() -> None:
    """Forget the threads, which do not live on in a forked process."""
    global _in_use
    _waiting.clear()
    _started.clear()
    _forks.clear()
    _refused.clear()
    _in_use = threading.Lock()
    _set_back()


def forgotten_by_forks(forget: Task) -> None:
    """Have a forked process forget threads, which do not live on in it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)


forgotten_by_forks(_forget)


def _wait_for_step() -> None:
    """Have no step under way when a process forks: the child would inherit locks that are held."""
    _forks.append(_in_use.acquire(timeout=1.0))


def _go_on() -> None:
    if _forks.pop():
        _in_use.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_step, after_in_parent=_go_on)


def run_phases(phases: Phases, granted: int = 1) -> None:
    """Run phases one after another, the tasks of each side by side.

    Where the helpers are busy with the step of another thread, all tasks run in this one.
    """
    side_by_side = partial(_run_side_by_side, phases)
    with_the_others(side_by_side, partial(_run_one_by_one, phases), _retire_others, granted)


def with_the_others(side_by_side: Task, one_by_one: Task, end: Task, granted: int) -> None:
    """Do what needs several threads, with products in one each; or the other, in this one alone.

    That is where the threads are busy, where none can be started, and under a limit of fewer
    threads than the number `granted` when the step was divided.

    If the first is interrupted, `end` has the threads end that were at work: nobody knows how far
    they are, but none may go on after this.
    """
    if (
        blas() is None
        or _refused
        or _in_use.locked()
        or not _side_by_side(side_by_side, end, granted)
    ):
        one_by_one()


def _side_by_side(function: Task, end: Task, granted: int) -> bool:
    """Do what needs several threads; return whether they could be had."""
    with _in_use:  # of another thread that came just now, the step is waited for
        try:
            if not _usual:  # else Ctrl-C has come before the number was set back
                _usual.append(_threads_of_products())
            if _usual[0] < granted:
                return False
            for library in blas().lib_controllers:
                library.set_num_threads(1)
            function()
        except BaseException as error:
            try:
                at_any_rate(end)
            finally:
                at_any_rate(end)  # Ctrl-C may have come just before the first
            if isinstance(error, NoThread):
                return False
            raise
        finally:
            try:
                at_any_rate(_set_back)
            finally:
                at_any_rate(_set_back)
    return True


def at_any_rate(function: Task) -> None:
    """Call a function again until it has come to its end; raise Ctrl-C that came meanwhile then."""
    interrupt = None
    while True:
        try:
            function()
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


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
    _retire_others()
    helpers = _waiting[: len(phases[0]) - 1]
    del _waiting[: len(helpers)]
    helpers += [Helper() for _ in range(len(helpers), len(phases[0]) - 1)]
    for number, helper in enumerate(helpers):
        helper.start(phases, number + 1)
    for number, tasks in enumerate(phases):
        if number:
            for helper in helpers:
                helper.go_on()
        if tasks[0] is not None:
            tasks[0]()
        for helper in helpers:
            helper.meet()
    _waiting.extend(helpers)
    for helper in helpers:
        helper.raise_error()


def _retire_others() -> None:
    """Retire the helpers that do not wait for work."""
    for helper in [helper for helper in _started if helper not in _waiting]:
        helper.retire()


def count() -> int:
    """Return how many threads a step may use: as many as NumPy's matrix products may.

    So ``OPENBLAS_NUM_THREADS`` and threadpoolctl's limits hold for npnn too. One where the library
    beneath NumPy cannot be told to use a single thread, or no other can be started.
    """
    if blas() is None or _refused:
        return 1
    return _usual[0] if _usual else _threads_of_products()


def _threads_of_products() -> int:
    return max(1, int(blas().lib_controllers[0].num_threads or 1))


@cache
def blas() -> Any:
    """Return what controls the library beneath NumPy's matrix products; None if not known."""
    from threadpoolctl import ThreadpoolController

    try:
        found = ThreadpoolController().select(user_api="blas")
    except (OSError, RuntimeError):  # a system without such libraries, or without threads
        return None
    numpys = [library.filepath for library in found.lib_controllers if "numpy" in library.filepath]
    found = found.select(filepath=numpys) if numpys else found
    return found if found.lib_controllers else None
