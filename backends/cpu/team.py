"""Steps in machine code that several threads share: see ``machine.py`` for what they do there."""

from __future__ import annotations

import atexit
import ctypes
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from npnn.backends.cpu import machine, threads
from npnn.backends.cpu.machine import LINE, STATES, begin, serve, work
from npnn.backends.cpu.native import Native, Program, address_of, brought


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
        self.granted = threads.count()

    def __call__(self) -> None:
        """Run the step: side by side, or where another step has the threads, one by one."""
        side_by_side = partial(Team.share, self.threads, self)
        try:
            threads.with_the_others(side_by_side, self._one_by_one, Team.stop_others, self.granted)
        finally:
            for array in self.brought.values():
                array.let_go()

    def _one_by_one(self) -> None:
        for programs in self.programs:
            for program in programs:
                program()


class Brought:
    """Takes an array, to be copied by the pieces of each thread."""

    def __init__(self, array: np.ndarray, parts: Sequence[np.ndarray]) -> None:
        self.own = self.given = array
        self.offsets = [address_of(part) - address_of(array) for part in parts]
        self.pieces = [brought(part) for part in parts]

    def __call__(self, array: Any) -> None:
        """Take the array of the next step."""
        self._take(np.ascontiguousarray(array, self.own.dtype))

    def let_go(self) -> None:
        """Forget the array, which may be large."""
        self._take(self.own)

    def _take(self, array: np.ndarray) -> None:
        self.given = array
        start = address_of(array)
        for piece, offset in zip(self.pieces, self.offsets, strict=True):
            piece.block[1] = start + offset


class Team(threads.Crew):
    """Threads that wait awake, and the words that they share."""

    def __init__(self, count: int) -> None:
        self._memory = np.zeros(STATES + LINE * (count + 1), np.uint8)
        self._words = -(-address_of(self._memory) // LINE) * LINE
        words = machine.GIVE_WAY, machine.DOZE, machine.DOZE_FOR
        for word, value in zip(words, _ways_to_wait(), strict=True):
            self._write(word, value)
        super().__init__(count)

    def run(self, step: Step) -> None:
        """Run a step."""
        if begin(self._words, step.address):
            for number in range(1, step.threads):
                called = STATES + LINE * number + machine.CALLED
                if self.read(called):
                    self._write(called, 0)
                    self.gates[number].open()
        work(self._words, 0)

    def serve(self, number: int) -> None:
        """Look for steps; sleep where there are none for long."""
        while serve(self._words, number):
            self.gates[number].wait()

    def stop(self) -> None:
        """Have all threads end, once they are through with what they are at."""
        self._write(machine.STOP, 1)
        super().stop()

    def read(self, word: int) -> int:
        """Return what stands in a word."""
        return ctypes.c_int64.from_address(self._words + word).value

    def _write(self, word: int, value: int) -> None:
        ctypes.c_int64.from_address(self._words + word).value = value


# Before the interpreter ends, and takes their code along.
atexit.register(Team.end)


def _ways_to_wait() -> tuple[int, int, int]:
    """Return the addresses of what lets others have the processor and what dozes; and how long.

    Where a system has them under other names, the addresses are 0, and threads look without pause.
    """
    try:
        if sys.platform == "win32":
            sleep = ctypes.WinDLL("kernel32").Sleep  # of milliseconds
            functions, doze_for = (sleep, sleep), 1
        else:
            library = ctypes.CDLL(None)
            functions, doze_for = (library.sched_yield, library.usleep), 50
    except (OSError, AttributeError, TypeError):
        return 0, 0, 0
    give_way, doze = (ctypes.cast(function, ctypes.c_void_p).value for function in functions)
    return give_way or 0, doze or 0, doze_for
