"""Tests and times npnn on an NVIDIA GPU, beside its peers, and writes a section of RESULTS.md.

The tests that need a GPU are run first, then LeNet-5 is trained on the card and on the CPU. Then
every contestant runs in a process of its own, one after the other for each workload, round after
round. A large device copy and a large product in tf32, measured in the same run, say what the card
can do, and a table says which goals were met. Run: ``python benchmarks/gpu.py``; all of it takes
less than ten minutes.

It needs CuPy; PyTorch and JAX take part where they are installed. To a machine without a network
all else is brought as wheels: ``python benchmarks/gpu.py --wheels FOLDER`` downloads them, and
there ``python benchmarks/gpu.py --install FOLDER`` runs with them. On an emulated device (``make
cupy ARGS=benchmarks/gpu.py``) it is a rehearsal: all is small, and nothing is written.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import math
import os
import select
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_wheels
import lenet5
from gpu_contestants import COLUMNS, CONTESTANTS
from gpu_report import OURS, SIDE, Accuracy, Times, tables
from side_by_side import machine, write_section

HERE = Path(__file__).parent
NEEDS = {name: "torch" if "PyTorch" in name else "jax" for name in CONTESTANTS}
NEEDS[OURS] = "cupy"
LIBRARIES = ("cupy-cuda13x", "cupy-cuda12x", "nvmath-python", "torch", "jax", "numpy")
LONGEST = 120.0  # seconds that a contestant may take to begin and to be measured
COPIED = 1 << 31  # bytes


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
        self._answer()

    def _answer(self) -> str:
        """Return a line of its output; it is ended if none comes in time."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], LONGEST)[0]:
            print(f"{self.process.args[-1]}: no answer", file=sys.stderr, flush=True)
            self.process.kill()
        return self.process.stdout.readline()

    def measure(self, workload: str, seconds: float) -> float:
        """Return the microseconds of a step; NaN if there is none."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{workload} {seconds}\n")
            self.process.stdin.flush()
            return float(self._answer() or "nan")
        except BrokenPipeError:
            return math.nan


def measure(
    names: list[str], columns: list[str], rounds: int, seconds: float, until: float
) -> Times:
    """Return the median microseconds of each contestant, by workload, as far as time allows."""
    processes = {name: Process(name) for name in names}
    times: dict[str, dict[str, list[float]]] = {n: {w: [] for w in columns} for n in names}
    for workload in columns:
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                before = times[name][workload]
                due = time.monotonic() < until or (name == OURS and not before)
                if due and not any(map(math.isnan, before)):
                    before.append(processes[name].measure(workload, seconds))
        row = ", ".join(f"{n} {times[n][workload]}" for n in names)
        print(f"{workload}: {row}", file=sys.stderr, flush=True)
    for process in processes.values():
        process.process.kill()
    for process in processes.values():
        process.process.wait()  # until their memory is free again
    return {
        n: {w: statistics.median(v or [math.nan]) for w, v in ws.items()} for n, ws in times.items()
    }


def ceilings(copied: int, side: int) -> tuple[float, float]:
    """Return the bytes a second of a device copy, and the FLOPs a second of a product in tf32."""
    import cupy

    found = 2 * copied / _copying(cupy, copied), 2 * side**3 / _multiplying(cupy, side)
    cupy.get_default_memory_pool().free_all_blocks()
    return found


def _copying(cupy: Any, nbytes: int) -> float:
    a, b = (cupy.arange(nbytes // 4, dtype="float32") for _ in range(2))
    return _seconds(cupy, lambda: cupy.copyto(b, a))


def _multiplying(cupy: Any, side: int) -> float:
    import numpy as np

    from npnn.backends.gpu.products import Matrix, Product, find_products

    rng = np.random.default_rng(0)
    x, y, out = (cupy.asarray(rng.random((side, side), np.float32) - 0.5) for _ in range(3))
    parts = (Matrix(m.data.ptr, side, side, side, False, 0) for m in (x, y, out))
    return _seconds(cupy, find_products(cupy, "tf32").make(Product(*parts, 1, "float32")))


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
    # No clock ticks while an emulated device does something small.
    return max(1e-9, float(cupy.cuda.get_elapsed_time(start, stop)) / 1e3 / repeats)


def accuracy(mnist: Path | None, rehearsal: bool) -> Accuracy:
    """Train LeNet-5 on the CPU and on the card: on MNIST, or on the digits that npnn has."""
    import numpy as np

    import npnn
    from npnn.datasets import MNIST, Digits

    if mnist is not None:
        data: Any = MNIST(mnist, seed=0, flat=False)
        parts = (data.x_train_data, data.x_validation_data)
        epochs, name = 3, f"{data.num_train_data:,} images of MNIST"
    else:
        data = Digits(seed=0, flat=False)
        wide = np.ones((1, 3, 3, 1), np.float32)
        parts = tuple(
            np.pad(np.kron(x, wide), ((0, 0), (2, 2), (2, 2), (0, 0)))
            for x in (data.x_train_data, data.x_validation_data)
        )
        epochs, name = 20, f"{data.num_train_data:,} digits of 8x8 pixels, widened"
    count = 8 if rehearsal else None
    reached = []
    for backend in ("numpy", "cupy"):
        model = npnn.Sequential(lenet5.npnn_layers(), backend=backend, seed=0)
        model.norm = data.norm
        started = time.perf_counter()
        history = model.fit(
            parts[0][:count],
            data.y_train_data[:count],
            validation_data=(parts[1][:count], data.y_validation_data[:count]),
            loss=npnn.CrossEntropyLoss(),
            optimizer=npnn.Adam(alpha=1e-3),
            epochs=1 if rehearsal else epochs,
            batch_size=64,
            seed=0,
        )
        reached.append((history["val_accuracy"][-1], time.perf_counter() - started))
    (cpu, cpu_seconds), (gpu, gpu_seconds) = reached
    return Accuracy(name, len(parts[1][:count]), cpu, gpu, cpu_seconds, gpu_seconds)


def card() -> str:
    """Return the card, its driver and the versions of the libraries."""
    import cupy

    from npnn import backends

    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(0)["name"].decode()
    versions = []
    for library in LIBRARIES:
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
    products = backends.get("cupy").products.name
    return (
        f"{name}, driver {driver}, CUDA {runtime.runtimeGetVersion()}; products by {products}; "
        + ", ".join(versions)
    )


def run_tests(seconds: float) -> str:
    """Run the tests on the GPU, and return their last line."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu"]
    command += ["-p", "no:cacheprovider", "-p", "no:benchmark"]
    if importlib.util.find_spec("xdist"):
        command += ["-n", str(min(12, os.cpu_count() or 1))]
    # Not with the folder of the sources in the path: npnn is to be the one that is installed.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=HERE.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        print(output if isinstance(output, str) else output.decode(), file=sys.stderr)
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
    parser.add_argument("--mnist", type=Path, help="folder of MNIST's four files, for LeNet-5")
    parser.add_argument("--wheels", type=Path, help="download what --install needs, and end")
    parser.add_argument("--python", default="3.12", help="of the machine that the wheels are for")
    parser.add_argument("--cuda", type=int, default=13, help="of the CuPy on that machine")
    parser.add_argument("--install", type=Path, help="run with the wheels of this folder")
    options = parser.parse_args()
    if options.wheels:
        gpu_wheels.download(options.wheels, options.python, options.cuda)
        return
    if options.install:
        gpu_wheels.install(options.install)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    run(options)


def run(options: argparse.Namespace) -> None:
    """Do all that the options ask for; what fails is told, and the rest is done."""
    until = time.monotonic() + 60.0 * options.minutes
    failures = []

    def attempt(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            result = function(*arguments)
        except Exception:
            failures.append(what)
            traceback.print_exc()
            return None
        print(f"{what}: {result}", file=sys.stderr, flush=True)
        return result

    where = attempt("the card", card)
    if where is None:
        sys.exit("npnn does not run on a GPU here")
    rehearsal = "Emulated" in where
    names = [n for n, module in NEEDS.items() if importlib.util.find_spec(module)]
    if rehearsal:
        # An emulated device is CuPy's alone.
        names = [OURS]
        os.environ["NPNN_REHEARSAL"] = "1"
    tested = "not run"
    if not options.no_tests:
        tested = attempt("tests", run_tests, 30.0 * options.minutes)
        if " passed" not in str(tested) or " failed" in tested or " error" in tested:
            failures.append("tests")
    sizes = (1 << 20, 64) if rehearsal else (COPIED, SIDE)
    copy, product = attempt("copy and product", ceilings, *sizes) or (math.nan, math.nan)
    lenet = attempt("LeNet-5", accuracy, options.mnist, rehearsal)
    given = names, options.only, options.rounds, options.seconds, until
    times = attempt("microseconds", measure, *given) or {}
    text = "\n\n".join(
        [tables(times, copy, product, lenet), f"Tests on it: {tested}", where, machine()]
    )
    lost = [f"{w} of {n}" for n, own in times.items() for w, t in own.items() if math.isnan(t)]
    if rehearsal:
        print(
            "a rehearsal: the device is emulated, so that there is no speed to be told or written"
        )
        failures += lost
    else:
        print(text)
        if not options.no_write:
            write_section("On a GPU, side by side", text)
    if failures:
        sys.exit(f"failed: {', '.join(failures)}")


if __name__ == "__main__":
    main()
