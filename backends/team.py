"""Threads that run the programs of one step side by side, none of them with the interpreter's lock.

Between two phases, and for a moment between two steps, they wait awake: to wake a thread that
sleeps takes as long as a step of a small model. What they tell each other stands in words of
memory, each in a cache line of its own.
"""

from __future__ import annotations

import atexit
import ctypes
import platform
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from npnn.backends import threads
from npnn.backends.native import Native, Program, address_of, brought, call, load, nogil, run

LINE = 128  # bytes from one word to the next
# Where the words lie: how many threads are through with a phase, whether all shall end, the address
# of the step to run, that of the function that gives way, and what each thread is at.
THERE, STOP, STEP, GIVE_WAY, STATES = 0, LINE, 2 * LINE, 3 * LINE, 4 * LINE
IDLE, BUSY, ASLEEP = 0, 1, 2
AWAKE = 5000  # looks for work, some tenths of a millisecond, after which a thread goes to sleep
PATIENCE = 200  # looks after which a thread that waits lets others have its processor
_WORD = ir.IntType(64)


class Step:
    """A step in machine code, for several threads.

    Parameters
    ----------
    phases : list of list of list of Native
        What each thread runs in each phase.
    arrays : dict
        Arrays that come with each call.
    parts : dict
        The part of each that a thread brings itself: it is in its cache then.
    """

    def __init__(
        self,
        phases: Sequence[Sequence[Sequence[Native]]],
        arrays: Mapping[Any, np.ndarray],
        parts: Mapping[Any, Sequence[np.ndarray]],
    ) -> None:
        self.brought = {key: Brought(array, parts[key]) for key, array in arrays.items()}
        first = [[b.pieces[t] for b in self.brought.values()] for t in range(len(phases[0]))]
        programs = [[Program(pieces) for pieces in phase] for phase in phases]
        programs[0] = [Program([*a, *b]) for a, b in zip(first, phases[0], strict=True)]
        self.programs, self.threads = programs, len(phases[0])
        places = [number for phase in programs for p in phase for number in p.place]
        self._description = np.array([self.threads, len(phases), *places], np.int64)
        self.address = address_of(self._description)

    def __call__(self) -> None:
        """Run the step: side by side, or where another step has the threads, one by one."""
        threads.with_the_others(self._side_by_side, self._one_by_one)

    def _side_by_side(self) -> None:
        team = Team.of(self.threads)
        try:
            team.run(self)
        except BaseException:
            team.stop()
            raise

    def _one_by_one(self) -> None:
        for programs in self.programs:
            for program in programs:
                program()


class Brought:
    """Takes an array, to be copied by the pieces of each thread."""

    def __init__(self, array: np.ndarray, parts: Sequence[np.ndarray]) -> None:
        self.dtype, self.given = array.dtype, array
        self.offsets = [address_of(part) - address_of(array) for part in parts]
        self.pieces = [brought(part) for part in parts]

    def __call__(self, array: Any) -> None:
        """Take the array of the next step."""
        self.given = np.ascontiguousarray(array, self.dtype)
        start = address_of(self.given)
        for piece, offset in zip(self.pieces, self.offsets, strict=True):
            piece.block[1] = start + offset


class Team:
    """Threads, all but the first of which are started here, and the words that they share."""

    _current: Team | None = None

    def __init__(self, count: int) -> None:
        self.count = count
        self._memory = np.zeros(STATES + LINE * (count + 1), np.uint8)
        self._words = -(-address_of(self._memory) // LINE) * LINE
        self._write(GIVE_WAY, _give_way())
        self._gates = [threads.Gate() for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"npnn-{number}", daemon=True)
            for number in range(1, count)
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def of(cls, count: int) -> Team:
        """Return the threads of this process, as many as asked for or more."""
        team = cls._current
        if team is None or team.count < count:
            if team is not None:
                team.stop()
            team = cls._current = cls(count)
        return team

    def run(self, step: Step) -> None:
        """Run a step."""
        asleep = begin(self._words, step.address)
        if asleep:
            for number in range(1, step.threads):
                if asleep & 1 << number:
                    self._gates[number].open()
        work(self._words, 0)

    def stop(self) -> None:
        """Have all threads end, once they are through with what they are at."""
        Team._current = None
        self._write(STOP, 1)
        while any(thread.is_alive() for thread in self._threads):
            for thread, gate in zip(self._threads, self._gates[1:], strict=True):
                with suppress(RuntimeError):
                    gate.open()
                with suppress(KeyboardInterrupt):
                    thread.join(1e-3)

    def read(self, word: int) -> int:
        """Return what stands in a word."""
        return ctypes.c_int64.from_address(self._words + word).value

    def _write(self, word: int, value: int) -> None:
        ctypes.c_int64.from_address(self._words + word).value = value

    @classmethod
    def end(cls) -> None:
        """Have the threads end before the interpreter does, and takes their machine code along."""
        if cls._current is not None:
            cls._current.stop()

    @classmethod
    def forget(cls) -> None:
        """Forget the threads, which do not live on in a forked process."""
        cls._current = None

    def _serve(self, number: int) -> None:
        while serve(self._words, number):
            self._gates[number].wait()


threads.forgotten_by_forks(Team.forget)
atexit.register(Team.end)


def _give_way() -> int:
    """Return the address of the function that lets other threads have this one's processor."""
    if sys.platform == "win32":
        function = ctypes.WinDLL("kernel32").Sleep  # of no milliseconds
    else:
        function = ctypes.CDLL(None).sched_yield
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


# In machine code ---------------------------------------------------------------------------------


def _changing(operation: str) -> Any:
    """Return a function that changes the word at an address and returns what it was, at once."""

    @intrinsic
    def change(typing: Any, address: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = builder.inttoptr(args[0], _WORD.as_pointer())
            return builder.atomic_rmw(operation, place, args[1], "seq_cst")

        return types.intp(types.intp, types.intp), code

    return change


exchange, add = _changing("xchg"), _changing("add")


@intrinsic
def replace(typing: Any, address: Any, old: Any, new: Any) -> Any:
    """Write a word if another one stands there, and return whether it did."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], _WORD.as_pointer())
        both = builder.cmpxchg(place, args[1], args[2], "seq_cst", "seq_cst")
        return builder.extract_value(both, 1)

    return types.boolean(types.intp, types.intp, types.intp), code


@intrinsic
def pause(typing: Any) -> Any:
    """Let the processor breathe between two looks at the same word."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if platform.machine() in ("x86_64", "AMD64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), kind), [])
        return context.get_dummy_value()

    return types.void(), code


@nogil("intp(intp, intp)")
def begin(words: int, step: int) -> int:
    """Tell the threads of a step to begin; return those that sleep, a bit for each."""
    exchange(words + STEP, step)
    exchange(words + THERE, 0)
    asleep = 0
    for number in range(1, load(step)):
        if exchange(words + STATES + LINE * number, BUSY) == ASLEEP:
            asleep |= 1 << number
    return asleep


@nogil("intp(intp, intp)")
def look_away(words: int, looks: int) -> int:
    """Wait a little; return the number of times that a thread has done so."""
    pause()
    if looks % PATIENCE == PATIENCE - 1:
        call(load(words + GIVE_WAY), 0)
    return looks + 1


@nogil("void(intp, intp)")
def work(words: int, number: int) -> None:
    """Do a thread's part of the step.

    The step is described by the number of threads, the number of phases, and for each phase and
    thread the address and the length of the table of its program.
    """
    step = load(words + STEP)
    count, phases = load(step), load(step + 8)
    for phase in range(phases):
        program = step + 16 + 16 * (phase * count + number)
        run(load(program), load(program + 8))
        if number and phase == phases - 1:
            exchange(words + STATES + LINE * number, IDLE)
            add(words + THERE, 1)
            return
        add(words + THERE, 1)
        looks = 0
        while load(words + THERE) < count * (phase + 1):
            looks = look_away(words, looks)
            if load(words + STOP):
                return


@nogil("boolean(intp, intp)")
def serve(words: int, number: int) -> bool:
    """Do a thread's part of each step; return when there was none for long, or at the end False."""
    state = words + STATES + LINE * number
    looks = 0
    while not load(words + STOP):
        if load(state) == BUSY:
            work(words, number)
            looks = 0
        elif looks > AWAKE and replace(state, IDLE, ASLEEP):
            return True
        else:
            looks = look_away(words, looks)
    return False
