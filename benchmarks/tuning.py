"""Measures the numbers of ``backends/tuning.py`` anew, on the CPU of this machine.

How long operations take is timed. For each limit, steps are recorded with half of it, with it and
with twice of it, and timed in turn; what is faster by more than the noise of a round is worth
changing. Run: ``python benchmarks/tuning.py``, or with the names of some limits.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from contestants import make
from tabulate import tabulate
from workloads import WORKLOADS

from npnn.backends import tuning

LIMITS = (
    "FLUSH_EVERY", "WORTH", "WORTH_AWAKE", "OPTIMIZER", "LARGE", "SAMPLES", "COLUMNS", "WEIGHTS",
    "SMALL", "THIN", "FEW", "GATHERED", "ROW", "ALONE", "SHORT", "AT_ONCE", "SEEN_AS_ONE",
    "MOST_PRODUCTS",
)  # fmt: skip
CONTESTANTS = ("npnn numpy", "npnn numba")


def seconds(function: Callable[[], Any], repeats: int = 30) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def rates() -> list[tuple[str, float, float]]:
    """Return the names of the rates, what they are, and what was measured."""
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 512, 512), dtype=np.float32)
    x, y = rng.standard_normal((2, 1 << 20), dtype=np.float32)
    few, out = x[: 1 << 12], np.empty(1 << 12, np.float32)
    with threadpool_limits(1):
        flop = seconds(lambda: a @ b) / (2 * 512**3)
        byte = seconds(lambda: np.add(x, y, x)) / (3 * x.nbytes)
        addition = seconds(lambda: np.add(few, few, out), 1000) / few.size
    return [
        ("SECONDS_PER_FLOP", tuning.SECONDS_PER_FLOP, flop),
        ("SECONDS_PER_BYTE", tuning.SECONDS_PER_BYTE, byte),
        ("SECONDS_PER_ADDITION", tuning.SECONDS_PER_ADDITION, addition),
    ]


def variants(name: str) -> dict[float, Any]:
    """Return steps, with their batches, that were recorded under several values of a limit."""
    usual, found = getattr(tuning, name), {}
    for value in (usual / 2, usual, usual * 2):
        setattr(tuning, name, value if isinstance(usual, float) else int(value))
        for contestant in CONTESTANTS:
            for workload in (*WORKLOADS, "lenet5"):
                step, pool = make(contestant, workload)
                step(*pool[0])
                found[value, contestant, workload] = step, pool
    setattr(tuning, name, usual)
    return found


def compared(name: str, rounds: int) -> list[list[Any]]:
    """Return a row for each value of a limit: by how much steps take longer than with the usual."""
    steps, times = variants(name), {}
    for number in range(rounds):
        for key, (step, pool) in steps.items():
            batch = pool[number % len(pool)]
            repeats = 20 if key[2] in ("xor", "small") else 3
            times.setdefault(key, []).append(seconds(lambda s=step, b=batch: s(*b), repeats))
    medians = {key: statistics.median(values) for key, values in times.items()}
    usual = getattr(tuning, name)
    return [
        [name, value, contestant]
        + [
            f"{medians[value, contestant, w] / medians[usual, contestant, w] - 1:+.1%}"
            for w in (*WORKLOADS, "lenet5")
        ]
        for value in sorted({key[0] for key in steps})
        if value != usual
        for contestant in CONTESTANTS
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(LIMITS)}")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    wrong = set(options.names) - set(LIMITS)
    if wrong:
        parser.error(f"no limit is called {', '.join(sorted(wrong))}")
    print(tabulate(rates(), ["", "is", "measured"], floatfmt=".1e"))
    for name in options.names or LIMITS:
        heads = ["", "value", "", *WORKLOADS, "lenet5"]
        print(tabulate(compared(name, options.rounds), heads), flush=True)


if __name__ == "__main__":
    main()
