"""Tests and times npnn on an NVIDIA GPU, beside its peers, and writes a section of RESULTS.md.

First the tests that need a GPU are run. Then every contestant runs in a process of its own, one
after the other for each workload, round after round. A large device copy and a large product in
tf32, measured in the same run, say what the card can do. Run: ``python benchmarks/gpu.py``; with
``--rounds 3 --seconds 0.3`` it takes less than ten minutes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gpu_contestants import ADAM, COLUMNS, CONTESTANTS, LARGE, PARAMETERS
from side_by_side import machine, write_section

HERE = Path(__file__).parent
NEEDS = {name: "torch" if "PyTorch" in name else "jax" for name in CONTESTANTS}
NEEDS["npnn cupy"] = "cupy"
LIBRARIES = ("cupy-cuda13x", "cupy-cuda12x", "nvmath-python", "torch", "jax", "numpy")
SIDE = 8192  # rows and columns of the product that is the ceiling
COPIED = 1 << 31  # bytes
ADAM_BYTES = 7 * 4 * PARAMETERS  # p, m and v are read and written, g is read


class Process:
    """A contestant in its own process, idle while others are measured."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(HERE / "gpu_contestants.py"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def measure(self, workload: str, seconds: float) -> float:
        """Return the microseconds of a step; NaN if there is none."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{workload} {seconds}\n")
            self.process.stdin.flush()
            return float(self.process.stdout.readline() or "nan")
        except BrokenPipeError:
            return math.nan


def measure(
    names: list[str], columns: list[str], rounds: int, seconds: float, until: float
) -> dict[str, dict[str, float]]:
    """Return the median microseconds of each contestant, by workload, as far as time allows."""
    processes = {name: Process(name) for name in names}
    times: dict[str, dict[str, list[float]]] = {n: {w: [] for w in columns} for n in names}
    for workload in columns:
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                if time.monotonic() < until or not times[name][workload]:
                    times[name][workload].append(processes[name].measure(workload, seconds))
        print(f"{workload} is done", file=sys.stderr, flush=True)
    for process in processes.values():
        process.process.kill()
    for process in processes.values():
        process.process.wait()  # until their memory is free again
    return {n: {w: statistics.median(v) for w, v in ws.items()} for n, ws in times.items()}


def ceilings() -> tuple[float, float]:
    """Return the bytes a second of a device copy, and the FLOPs a second of a product in tf32."""
    import cupy
    import numpy as np

    from npnn.backends.products import Matrix, Product, find_products

    a, b = cupy.zeros(COPIED // 4, np.float32), cupy.empty(COPIED // 4, np.float32)
    copying = _seconds(cupy, lambda: cupy.copyto(b, a))
    x, y = (cupy.random.standard_normal((SIDE, SIDE), dtype=np.float32) for _ in range(2))
    out = cupy.empty((SIDE, SIDE), np.float32)
    parts = (Matrix(m.data.ptr, SIDE, SIDE, SIDE, False, 0) for m in (x, y, out))
    multiply = find_products(cupy, "tf32").make(Product(*parts, 1, "float32"))
    return 2 * COPIED / copying, 2 * SIDE**3 / _seconds(cupy, multiply)


def _seconds(cupy: Any, call: Any, repeats: int = 20) -> float:
    """Return the seconds of one call, of many between two events of the device."""
    for _ in range(3):
        call()
    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    for _ in range(repeats):
        call()
    stop.record()
    stop.synchronize()
    return float(cupy.cuda.get_elapsed_time(start, stop)) / 1e3 / repeats


def tables(times: dict[str, dict[str, float]], copy: float, product: float) -> str:
    """Return times, ratios and shares of what the card can do as Markdown."""
    from tabulate import tabulate

    columns = list(next(iter(times.values())))
    align = ("left", *["right"] * len(columns))
    rows = [[n, *(_shown(own[w], ",.0f") for w in columns)] for n, own in times.items()]
    text = [
        "Microseconds of one training step (forward, backward, Adam), many put on the device and "
        "waited for at the end; `large` in tf32, the others in float32; `adam` is the update of "
        f"{PARAMETERS:,} parameters alone:\n",
        tabulate(rows, ["", *columns], tablefmt="github", colalign=align),
    ]
    ours = times.get("npnn cupy")
    if ours is None:
        return "\n".join(text)
    rows = [
        [n, *(_shown(own[w] / ours[w], ".2f") for w in columns)]
        for n, own in times.items()
        if own is not ours
    ]
    if rows:
        text.append("\nThe peer's time divided by that of npnn (above 1: npnn is faster):\n")
        text.append(tabulate(rows, ["", *columns], tablefmt="github", colalign=align))
    text.append(
        f"\nA device copy moved {copy / 1e9:,.0f} GB/s (read and written), a product of "
        f"{SIDE}x{SIDE} matrices in tf32 ran at {product / 1e12:,.0f} TFLOP/s."
    )
    if ADAM in ours:
        share = ADAM_BYTES / (ours[ADAM] * 1e-6) / copy
        text.append(f"Adam reached {share:.0%} of the copy's rate.")
    if "large" in ours:
        share = LARGE.flops / (ours["large"] * 1e-6) / product
        text.append(
            f"The products of `large` reached, with all else, {share:.0%} of the product's."
        )
    return "\n".join(text)


def _shown(value: float, how: str) -> str:
    return "" if math.isnan(value) else f"{value:{how}}"


def card() -> str:
    """Return the card, its driver and the versions of the libraries."""
    import cupy

    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(0)["name"].decode()
    versions = []
    for library in LIBRARIES:
        if importlib.util.find_spec(library.split("-")[0]) is None:
            continue
        try:
            versions.append(f"{library} {importlib.metadata.version(library)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        driver = (answer.split() or ["unknown"])[0]
    except OSError:
        driver = "unknown"
    return f"{name}, driver {driver}, CUDA {runtime.runtimeGetVersion()}; {', '.join(versions)}"


def run_tests(seconds: float) -> str:
    """Run the tests on the GPU, and return their last line."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            command, cwd=HERE.parent, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the tests did not end within {seconds:.0f} s"
    lines = [line for line in done.stdout.splitlines() if not line.startswith("SKIPPED")]
    print("\n".join(lines[-60:]), file=sys.stderr)
    return lines[-1] if lines else done.stderr[-500:]


def main() -> None:
    """Test, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--minutes", type=float, default=9.0, help="that all may take")
    parser.add_argument("--no-tests", action="store_true", help="leave the tests out")
    parser.add_argument("--only", nargs="+", choices=COLUMNS, default=list(COLUMNS))
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    until = time.monotonic() + 60.0 * options.minutes
    tested = "not run" if options.no_tests else run_tests(30.0 * options.minutes)
    print(f"tests: {tested}", file=sys.stderr, flush=True)
    names = [n for n, module in NEEDS.items() if importlib.util.find_spec(module)]
    times = measure(names, options.only, options.rounds, options.seconds, until)
    text = "\n\n".join([tables(times, *ceilings()), f"Tests on it: {tested}", card(), machine()])
    print(text)
    if not options.no_write:
        write_section("On a GPU, side by side", text)


if __name__ == "__main__":
    main()
