"""What runs programs in machine code, alone or side by side, without the interpreter and its lock.

All of it stands in one file, by which Numba tells whether what it compiled earlier still holds.

Threads that work on a step wait for each other awake, and for a moment also for the next step: to
wake a thread that sleeps takes as long as a step of a small model. What they tell each other stands
in words of memory, each in a cache line of its own.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LINE = 128  # bytes from one word to the next
# Where the words lie: how many threads are through with a phase, whether all shall end, the address
# of the step to run, those of the functions that give way and that doze, for how long, and what
# each thread is at.
THERE, STOP, STEP, GIVE_WAY, DOZE, DOZE_FOR, STATES = (LINE * place for place in range(7))
IDLE, BUSY, ASLEEP = 0, 1, 2
AWAKE = 5000  # looks for work, 0.14 ms where measured, after which a thread goes to sleep
PATIENCE = 200  # looks after which a thread that waits lets others have its processor
LONG = 200_000  # looks after which it dozes between them: who it waits for may never come
_WORD = ir.IntType(64)


@intrinsic
def load(typing: Any, address: Any) -> Any:
    """Return the word at an address, as another thread may have written it."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], _WORD.as_pointer())
        return builder.load_atomic(place, "acquire", 8)

    return types.intp(address), code


@intrinsic
def call(typing: Any, address: Any, block: Any) -> Any:
    """Call a function of a block."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_WORD])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1]])
        return context.get_dummy_value()

    return types.void(address, block), code


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


def nogil(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function that runs without the interpreter's lock, kept on disk where possible."""

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            machine: Callable[..., Any] = njit(signature, nogil=True, cache=True)(function)
        except Exception:  # such as no folder that may be written to, or a damaged file
            machine = njit(signature, nogil=True)(function)
        return machine

    return compiled


@nogil("void(intp, intp)")
def run(table: int, count: int) -> None:
    """Call the functions of a table, each with its block."""
    for place in range(table, table + 16 * count, 16):
        call(load(place), load(place + 8))


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
    if looks > LONG:
        call(load(words + DOZE), load(words + DOZE_FOR))
    elif looks % PATIENCE == PATIENCE - 1:
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
