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
from contextvars import Context, copy_context
from functools import cache, partial
from typing import Any, ClassVar

Task = Callable[[], None]
Phases = Sequence[Sequence[Task | None]]
"""For each phase, the task of each thread; None where it has none."""


class Gate:
    """Lets one thread through each time another one opens it; closed at first."""

    def __init__(self) -> None:
        lock = threading.Lock()
        lock.acquire()
        self.open, self.wait = lock.release, lock.acquire


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
    """Forget the step that another thread was at when the process forked."""
    global _in_use
    _forks.clear()
    _refused.clear()
    _in_use = threading.Lock()
    _set_back()


def forgotten_by_forks(forget: Task, **others: Task) -> None:
    """Have a forked process forget threads, which do not live on in it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget, **others)


def _wait_for_step() -> None:
    """Have no step under way when a process forks: the child would inherit locks that are held."""
    _forks.append(_in_use.acquire(timeout=1.0))


def _go_on() -> None:
    if _forks.pop():
        _in_use.release()


forgotten_by_forks(_forget, before=_wait_for_step, after_in_parent=_go_on)


class Crew:
    """Threads of one kind, all but the first of which are started here.

    A step takes the crew that waits, and has it wait again when all has gone well. Ctrl-C comes
    anywhere, and any number of times: crews that were started and do not wait are stopped before
    the next step.
    """

    waiting: ClassVar[Crew | None]
    started: ClassVar[list[Crew]]

    def __init_subclass__(cls) -> None:
        cls.forget()
        forgotten_by_forks(cls.forget)

    def __init__(self, count: int) -> None:
        self.count, self.stopped = count, False
        self.gates = [Gate() for _ in range(count)]
        self._ended: list[int] = []
        self._threads = [
            threading.Thread(target=self._live, args=(number,), name=f"npnn-{number}", daemon=True)
            for number in range(1, count)
        ]
        self.started.append(self)
        for thread in self._threads:
            start(thread)

    def run(self, step: Any) -> None:
        """Run a step, the first thread's part of it in this one."""
        raise NotImplementedError

    def serve(self, number: int) -> None:
        """Do a thread's part of each step, until the crew is stopped."""
        raise NotImplementedError

    @classmethod
    def share(cls, count: int, step: Any) -> None:
        """Have the crew that waits run a step, if it has so many threads, or a new one."""
        if cls.waiting is not None and cls.waiting.count < count:
            cls.waiting = None
        cls.stop_others()
        crew, cls.waiting = cls.waiting, None
        crew = crew or cls(count)
        crew.run(step)
        cls.waiting = crew

    @classmethod
    def stop_others(cls) -> None:
        """Have the threads end that do not wait for a step."""
        for crew in [crew for crew in cls.started if crew is not cls.waiting]:
            crew.stop()

    @classmethod
    def end(cls) -> None:
        """Have all threads end, also those that wait for a step."""
        cls.waiting = None
        cls.stop_others()

    @classmethod
    def forget(cls) -> None:
        """Forget the threads, which do not live on in a forked process."""
        cls.waiting, cls.started = None, []

    def stop(self) -> None:
        """Have all threads end, once they are through with what they are at."""
        self.stopped = True
        while self.at_work():
            for gate in self.gates:
                with suppress(RuntimeError):
                    gate.open()
            time.sleep(1e-3)
        with suppress(ValueError):
            self.started.remove(self)

    def at_work(self) -> bool:
        """Return whether threads have begun that have not ended.

        ``Thread.is_alive`` says no of one that lives once Ctrl-C has come during ``join``, in
        Python 3.11.
        """
        begun = [thread for thread in self._threads if thread.ident is not None]
        return len(self._ended) < len(begun)

    def _live(self, number: int) -> None:
        try:
            self.serve(number)
        finally:
            self._ended.append(number)


class Helpers(Crew):
    """Threads that sleep until there are tasks."""

    def __init__(self, count: int) -> None:
        self._done = [Gate() for _ in range(count)]
        self._contexts: list[Context] = []
        self._tasks: Sequence[Task | None] = ()
        self._errors: list[BaseException] = []
        super().__init__(count)

    def run(self, step: Phases) -> None:
        """Run phases one after another, under the settings for errors of NumPy that hold here."""
        self._contexts = [copy_context() for _ in step[0]]
        for tasks in step:
            self._tasks = tasks
            others = [number for number, task in enumerate(tasks) if number and task is not None]
            for number in others:
                self.gates[number].open()
            if tasks[0] is not None:
                tasks[0]()
            for number in others:
                self._done[number].wait()
            if self._errors:
                raise self._errors.pop()
        self._contexts, self._tasks = [], ()

    def serve(self, number: int) -> None:
        """Do the tasks of this number."""
        while True:
            self.gates[number].wait()
            if self.stopped:
                return
            task = self._tasks[number]
            try:
                if task is not None:
                    self._contexts[number].run(task)
            except BaseException as error:
                self._errors.append(error)
            self._done[number].open()


def run_phases(phases: Phases, granted: int = 1) -> None:
    """Run phases one after another, the tasks of each side by side.

    Where the helpers are busy with the step of another thread, all tasks run in this one.
    """
    side_by_side = partial(Helpers.share, len(phases[0]), phases)
    with_the_others(side_by_side, partial(_run_one_by_one, phases), Helpers.stop_others, granted)


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
