"""What runs programs in machine code, alone or side by side, without the interpreter and its lock.

Threads that work on a step wait for each other awake, and for a moment also for the next step: to
wake a thread that sleeps takes as long as a step of a small model. What they tell each other stands
in words of memory, each in a cache line of its own.
"""

from __future__ import annotations

from npnn.backends.cpu.numba_adapter import add, call, exchange, load, nogil, pause, replace

LINE = 128  # bytes from one word to the next
# Where the words lie: how many threads are through with a phase, whether all shall end, the address
# of the step to run, those of the functions that give way and that doze, for how long, and what
# each thread is at.
THERE, STOP, STEP, GIVE_WAY, DOZE, DOZE_FOR, STATES = (LINE * place for place in range(7))
IDLE, BUSY, ASLEEP = 0, 1, 2
CALLED = 8  # bytes behind what a thread is at: whether it slept when it was told to begin
AWAKE = 5000  # looks for work, 0.14 ms where measured, after which a thread goes to sleep
PATIENCE = 200  # looks after which a thread that waits lets others have its processor
LONG = 200_000  # looks after which it dozes between them: who it waits for may never come


@nogil("void(intp, intp)")
def run(table: int, count: int) -> None:
    """Call the functions of a table, each with its block."""
    for place in range(table, table + 16 * count, 16):
        call(load(place), load(place + 8))


@nogil("intp(intp, intp)")
def begin(words: int, step: int) -> int:
    """Tell the threads of a step to begin; return how many sleep, each of which is marked."""
    exchange(words + STEP, step)
    exchange(words + THERE, 0)
    asleep = 0
    for number in range(1, load(step)):
        state = words + STATES + LINE * number
        if exchange(state, BUSY) == ASLEEP:
            exchange(state + CALLED, 1)
            asleep += 1
    return asleep


@nogil("intp(intp, intp)")
def look_away(words: int, looks: int) -> int:
    """Wait a little; return the number of times that a thread has done so."""
    pause()
    long = looks > LONG
    if long or looks % PATIENCE == PATIENCE - 1:
        way = load(words + (DOZE if long else GIVE_WAY))
        if way:
            call(way, load(words + DOZE_FOR) if long else 0)
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
