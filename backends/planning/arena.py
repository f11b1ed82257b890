"""Where the values of a plan lie: stretches of one memory, taken again once they are free."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

ALIGNMENT = 64
FOREVER = 1 << 60
Gaps = list[tuple[int, int]]
"""Offsets and lengths of what is free."""


class Place:
    """A stretch of memory and the operations between which it is taken."""

    def __init__(self, nbytes: int, birth: int, death: int) -> None:
        self.nbytes, self.birth, self.death = nbytes, birth, death
        self.offset = 0
        self.array: np.ndarray | None = None  # memory that is not the plan's own
        self.bounds: tuple[int, ...] = ()  # the bytes at which threads divide it


def lay_out(places: Iterable[Place], phase_at: Callable[[int], int]) -> int:
    """Give each place its offset, and return how many bytes they take together.

    Parameters
    ----------
    places : iterable of Place
        One may come several times; those in memory of others need none.
    phase_at : callable
        The phase of a time. What is free at the end of one phase is free for all threads in the
        next.
    """
    free: Gaps = [(0, FOREVER)]
    alive: list[Place] = []
    dead: list[Place] = []  # but another thread may not be as far yet
    top = 0
    own = {id(p): p for p in places if p.array is None}.values()
    for place in sorted(own, key=lambda p: p.birth):
        dead += [p for p in alive if p.death < place.birth]
        alive = [p for p in alive if p.death >= place.birth]
        phase = phase_at(place.birth)
        for old in [p for p in dead if phase_at(p.death) < phase]:
            dead.remove(old)
            free = _give_back(free, old.offset, aligned(old.nbytes))
        own_parts = [p for p in dead if p.bounds and phase_at(p.birth) == phase]
        twin = next((p for p in own_parts if p.bounds == place.bounds), None)
        if twin is not None:
            # What each thread finds there it alone has written and read.
            dead.remove(twin)
            place.offset = twin.offset
            alive.append(place)
            continue
        size = aligned(place.nbytes)
        # The tightest gap that fits: what was used last is often still in the cache.
        gap = min((g for g in free if g[1] >= size), key=lambda g: g[1])
        free.remove(gap)
        if gap[1] > size:
            free.append((gap[0] + size, gap[1] - size))
        place.offset = gap[0]
        alive.append(place)
        top = max(top, place.offset + size)
    return top


def aligned(nbytes: int) -> int:
    """Return a number of bytes made so large that what lies behind begins in a cache line."""
    return max(1, -(-nbytes // ALIGNMENT)) * ALIGNMENT


def _give_back(free: Gaps, offset: int, size: int) -> Gaps:
    """Return the gaps with one more, neighbours joined."""
    merged: Gaps = []
    for start, length in sorted([*free, (offset, size)]):
        if merged and merged[-1][0] + merged[-1][1] == start:
            merged[-1] = (merged[-1][0], merged[-1][1] + length)
        else:
            merged.append((start, length))
    return merged
