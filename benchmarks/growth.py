"""How a training step grows with the width, the batch and the depth of a network.

For each size: the time of a step, the rate of its matrix products in GFLOP/s, and that rate as a
share of what one plain product of the step's largest size reaches, measured in the same run.
Written to RESULTS.md. Run: ``python benchmarks/growth.py`` (``make bench`` does).
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from side_by_side import machine, write_section
from workloads import Workload, batches

import npnn

WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)
BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
DEPTHS = (2, 4, 8, 16, 32, 64)


def workloads() -> list[tuple[str, Workload]]:
    """Return the sizes: one of width, batch and depth changes, the others stay."""
    found = []
    for width in WIDTHS:
        found.append((f"width {width}", Workload("", (256, width, width, 10), 256, "relu")))
    for batch in BATCHES:
        found.append((f"batch {batch}", Workload("", (256, 512, 512, 10), batch, "relu")))
    for depth in DEPTHS:
        sizes = (256, *[256] * (depth - 1), 10)
        found.append((f"depth {depth}", Workload("", sizes, 256, "relu")))
    return found


def median_seconds(call: Callable[[int], Any], seconds: float) -> float:
    """Return the median time of a call, made with 0, 1, 2 and so on."""
    for number in range(3):
        call(number)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        started = time.perf_counter()
        call(len(times))
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def training(workload: Workload, backend: str) -> Callable[[int], Any]:
    """Return a training step as a function of its number."""
    layers: list[npnn.Layer] = []
    for inputs, outputs in zip(workload.sizes[:-1], workload.sizes[1:], strict=True):
        layers += [npnn.Dense(inputs, outputs), npnn.ReLU()]
    model = npnn.Sequential([*layers[:-1], npnn.Softmax()], backend=backend, seed=0)
    model.chain = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam(1e-4)
    optimizer.model = model
    pool = batches(workload, 16)
    return lambda i: optimizer.step(*pool[i % len(pool)])


def product(workload: Workload) -> tuple[Callable[[int], Any], int]:
    """Return a plain product of the size of the step's largest, and its operations."""
    pairs = list(zip(workload.sizes[:-1], workload.sizes[1:], strict=True))
    inputs, outputs = max(pairs, key=lambda pair: pair[0] * pair[1])
    rng = np.random.default_rng(0)
    a = rng.random((workload.batch, inputs), dtype=np.float32)
    b = rng.random((inputs, outputs), dtype=np.float32)
    out = np.empty((workload.batch, outputs), np.float32)
    return lambda i: np.dot(a, b, out), 2 * workload.batch * inputs * outputs


def main() -> None:
    """Measure, print, write."""
    from tabulate import tabulate

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args()
    names = ["numpy", *(["numba"] if importlib.util.find_spec("numba") else [])]
    rows = []
    for title, workload in workloads():
        row = [title]
        plain, operations = product(workload)
        calls = [plain, *(training(workload, name) for name in names)]
        # In turn, so that a noisy moment hits all of them.
        rounds = [[median_seconds(c, options.seconds / 3) for c in calls] for _ in range(3)]
        spent, *steps = np.median(rounds, axis=0)
        for seconds in steps:
            rate = workload.flops / seconds
            share = rate * spent / operations
            row += [f"{seconds * 1e6:,.0f}", f"{rate / 1e9:.1f}", f"{share:.0%}"]
        rows.append(row)
    heads = [""]
    for name in names:
        heads += [f"{name}: us", "GFLOP/s", "of a product's"]
    table = tabulate(
        rows, heads, tablefmt="github", colalign=("left", *["right"] * (len(heads) - 1))
    )
    text = (
        "256 inputs, 10 outputs, ReLU, Adam; width and batch 256, or 512 for the batches, and two "
        f"hidden layers where not said otherwise:\n\n{table}\n\n{machine()}"
    )
    print(text)
    if not options.no_write:
        write_section("Growth", text)


if __name__ == "__main__":
    main()
