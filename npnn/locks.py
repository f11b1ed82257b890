"""Whose turn it is: a model is trained by one thread at a time, and does one step at a time.

Layers and losses may belong to several models, so that the locks are theirs: what is used together
for the first time has one pair of them in common from then on.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from npnn.settings import Settings
from npnn.waiting import waits_for

Lock: TypeAlias = contextlib.AbstractContextManager[Any]

LOOK = 0.2  # seconds between two looks whether the thread that trains waits for this one
PATIENCE = 1.0  # seconds that a fork waits for the steps of other threads


class Locks:
    """The locks of what is used together; the thread that holds one may take it again.

    Attributes
    ----------
    training : lock
        Held from the first step of a training to its last. Taken before `step`.
    trainer : int
        The thread that is training; 0 if none is. Changed by who holds both locks.
    step : lock
        Held by each step and prediction, and where numbers are set or read that belong together.
    parts : tuple of Locks
        Itself.
    """

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.parts: tuple[Locks, ...] = (self,)
        self.renew()

    def renew(self) -> None:
        """Replace the locks by some that nobody holds."""
        self.training = threading.RLock()
        self.step: Lock = threading.RLock()
        self.trainer = 0

    def __reduce__(self) -> tuple[Callable[[], Locks], tuple[()]]:
        return _new, ()  # a copy of a layer is another layer


class Joined:
    """The locks of what was used apart before: all of them, always in one order.

    Attributes
    ----------
    parts : tuple of Locks
        Those of each.
    """

    def __init__(self, parts: Iterable[Locks]) -> None:
        self.parts = tuple(sorted(parts, key=lambda locks: locks.number))

    @property
    def training(self) -> Lock:
        """Those of trainings."""
        return _together([locks.training for locks in self.parts])

    @property
    def trainer(self) -> int:
        """A thread that is training; 0 if none is."""
        return max(locks.trainer for locks in self.parts)

    @property
    def step(self) -> Lock:
        """Those of steps."""
        return _together([locks.step for locks in self.parts])


def locks_of(things: Iterable[Settings]) -> Locks | Joined:
    """Return the locks of things that are used together; those that have none get them."""
    things = list(things)
    with _giving:
        known = [vars(thing)["locks"].parts for thing in things if "locks" in vars(thing)]
        parts = frozenset(itertools.chain.from_iterable(known)) or frozenset([_new()])
        locks: Locks | Joined = next(iter(parts))
        if len(parts) > 1:
            locks = _joined.get(parts) or _joined.setdefault(parts, Joined(parts))
        for thing in things:
            vars(thing).setdefault("locks", locks)
    return locks


@contextlib.contextmanager
def held(name: str, locks: Callable[[], Locks | Joined]) -> Iterator[Locks | Joined]:
    """Hold the locks ``"training"`` or ``"step"`` of what, by then, is used together."""
    while True:
        found = locks()
        with getattr(found, name):
            if locks() is found:
                yield found
                return


@contextlib.contextmanager
def trained(locks: Callable[[], Locks | Joined]) -> Iterator[Locks | Joined]:
    """Let this thread alone train what is used together; others may predict between its steps.

    Raises
    ------
    RuntimeError
        If the thread that is training waits for what this one trains, or for this one.
    """
    this = threading.get_ident()
    with _giving:
        _waiting[this] = locks()
        _check_for_circle(this)
    try:
        _wait_for_others(locks(), this)
        with held("training", locks) as found:
            _waiting.pop(this, None)
            before = [part.trainer for part in found.parts]
            try:
                with found.step:
                    for part in found.parts:
                        part.trainer = this
                yield found
            finally:
                with found.step:
                    for part, trainer in zip(found.parts, before, strict=True):
                        part.trainer = trainer
    finally:
        _waiting.pop(this, None)  # Ctrl-C may have ended the wait


@contextlib.contextmanager
def changed(thing: Settings) -> Iterator[None]:
    """Let this thread alone change what others may train, or compute with."""
    if "locks" not in vars(thing):
        yield
        return
    with trained(lambda: locks_of([thing])) as locks, locks.step:
        yield


def _wait_for_others(locks: Locks | Joined, this: int) -> None:
    """Wait while others train; raise the error for one that waits for this thread to end.

    A callback may have started it. Who trains when this returns is waited for by the lock itself.
    """
    for part in locks.parts:
        while not part.training.acquire(timeout=LOOK):
            if waits_for(part.trainer, this):
                raise RuntimeError(
                    "the model is being trained by a thread that waits for this one, as a callback "
                    "does that waits for a thread which it started: neither could go on. Change or "
                    "train the model in the callback itself, or let the thread go on alone"
                )
        part.training.release()


def _check_for_circle(this: int) -> None:
    """Raise the error for a thread that would wait for one that waits for it."""
    reached, threads = {0, this}, [this]
    while threads:
        waiting = _waiting.get(threads.pop())
        trainers = {part.trainer for part in waiting.parts} if waiting else set()
        if this in trainers and len(reached) > 2:
            del _waiting[this]
            raise RuntimeError(
                "the model is being trained by a thread that waits for a model that this one "
                "trains: neither could go on"
            )
        threads += trainers - reached
        reached |= trainers


@contextlib.contextmanager
def _together(locks: Sequence[Lock]) -> Iterator[None]:
    # An ExitStack could be interrupted when a lock is taken and not noted yet.
    if not locks:
        yield
        return
    with locks[0], _together(locks[1:]):
        yield


# What a forked process inherits ------------------------------------------------------------------

_numbers = itertools.count()
_all: weakref.WeakSet[Locks] = weakref.WeakSet()
_joined: weakref.WeakValueDictionary[frozenset[Locks], Joined] = weakref.WeakValueDictionary()
_giving = threading.RLock()
_waiting: dict[int, Locks | Joined] = {}  # what a thread is about to train
_stopped: dict[int, list[Any]] = {}  # locks of steps, by the thread that is about to fork


def _new() -> Locks:
    with _giving:
        _look_after_forks()
        locks = Locks()
        _all.add(locks)
    return locks


@functools.cache
def _look_after_forks() -> None:
    # Behind the backends, which look after threads of their own: what is last comes first.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_stop, after_in_parent=_go_on, after_in_child=_begin_anew)


def _stop() -> None:
    """Have no step under way when a process forks: the child would inherit half of it."""
    end, stopped = time.monotonic() + PATIENCE, _stopped.setdefault(threading.get_ident(), [])
    with _giving:
        found = sorted(_all, key=lambda locks: locks.number)
    for locks in found:
        step: Any = locks.step
        if step.acquire(timeout=max(0.0, end - time.monotonic())):
            stopped.append(step)


def _go_on() -> None:
    for step in _stopped.pop(threading.get_ident()):
        step.release()


def _begin_anew() -> None:
    """Forget who holds a lock: of all threads, only this one lives on."""
    global _giving
    _giving = threading.RLock()
    _stopped.clear()
    _waiting.clear()
    for locks in _all:
        locks.renew()
