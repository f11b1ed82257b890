"""Memory over a million steps: ``pytest benchmarks/test_memory.py``; it takes a minute or two.

``NPNN_BENCH_STEPS=100000`` makes fewer.
"""

from __future__ import annotations

import gc
import itertools
import os

import pytest
from contestants import CONTESTANTS
from workloads import WORKLOADS

STEPS = int(os.environ.get("NPNN_BENCH_STEPS", "1000000"))
FIRST = 1_000


def resident() -> int:
    """Return the bytes of memory that this process has of the system."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
@pytest.mark.parametrize("contestant", ["npnn numpy", "npnn numba"])
def test_a_million_steps_take_no_more_memory_than_the_first(contestant):
    if contestant not in CONTESTANTS:
        pytest.skip(f"{contestant} is no contestant")
    step, pool = CONTESTANTS[contestant](WORKLOADS["xor"])
    turn = itertools.cycle(pool)
    for _ in range(FIRST):
        step(*next(turn))
    gc.collect()
    before = resident()
    for _ in range(STEPS - FIRST):
        step(*next(turn))
    gc.collect()
    assert resident() - before < 1 << 20
