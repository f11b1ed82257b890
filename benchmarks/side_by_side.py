"""Times npnn and its peers side by side, and writes the ratios to RESULTS.md.

Every contestant runs in a process of its own. They are measured in turn, round after round, so
that a noisy minute hits all of them; a figure is the median over the rounds of each round's
median over varied batches. Run: ``python benchmarks/side_by_side.py`` (``make bench`` does).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import lenet5
from workloads import WITH_EXPONENTIALS, WORKLOADS

HERE = Path(__file__).parent
NEEDS = {
    "npnn numpy": "numpy",
    "npnn numba": "numba",
    "npnn jax": "jax",
    "npnn torch": "torch",
    "PyTorch eager, fused Adam": "torch",
    "JAX, hand-written, jit": "jax",
    "Keras on JAX": "keras",
    "Thinc": "thinc",
    "scikit-learn": "sklearn",
}
COLUMNS = (*WORKLOADS, *WITH_EXPONENTIALS, "lenet5")
LIBRARIES = ("numpy", "numba", "jax", "torch", "keras", "thinc", "scikit-learn", "onnxruntime")


class Process:
    """A contestant in its own process, idle while others are measured."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *command],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} died")
        return line

    def measure(self, workload: str, seconds: float) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{workload} {seconds}\n")
        self.process.stdin.flush()
        return float(self._answer())


def runs(contestant: str, workload: str) -> bool:
    """Return whether a contestant takes part in a workload."""
    if workload in WITH_EXPONENTIALS:
        return contestant != "Thinc"  # which has no such functions
    return workload in WORKLOADS or contestant in lenet5.CONTESTANTS


def measure(rounds: int, seconds: float, only: list[str]) -> dict[str, dict[str, float]]:
    """Return the median microseconds of each contestant that is installed, by workload."""
    names = [n for n, module in NEEDS.items() if importlib.util.find_spec(module)]
    names = [n for n in names if not only or any(part in n for part in only)]
    commands = {name: ["contestants.py", name] for name in names}
    workloads = {name: [w for w in COLUMNS if runs(name, w)] for name in names}
    return in_turn(commands, workloads, rounds, seconds)


def in_turn(
    commands: dict[str, list[str]], workloads: dict[str, list[str]], rounds: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Return the medians that programs give, asked in turn about each of their workloads."""
    processes = [Process(name, command) for name, command in commands.items()]
    times: dict[str, dict[str, list[float]]] = {
        name: {workload: [] for workload in own} for name, own in workloads.items()
    }
    for process in processes:
        for workload in workloads[process.name]:
            process.measure(workload, 0.2)
    columns = dict.fromkeys(workload for own in workloads.values() for workload in own)
    for number in range(rounds):
        for workload in columns:
            # Each round starts with another one: nobody is always after the same neighbour.
            turn = number % len(processes)
            for process in processes[turn:] + processes[:turn]:
                if workload in workloads[process.name]:
                    times[process.name][workload].append(process.measure(workload, seconds))
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    for process in processes:
        process.process.kill()
    return {n: {w: statistics.median(v) for w, v in ws.items()} for n, ws in times.items()}


def tables(times: dict[str, dict[str, float]]) -> str:
    """Return the times and the ratios as Markdown."""
    from tabulate import tabulate

    heads = ["", *COLUMNS]
    align = ("left", *["right"] * len(COLUMNS))
    text = ["Median microseconds of one training step (forward, backward, Adam), float32:\n"]
    rows = [
        [name, *(f"{own[w]:,.0f}" if w in own else "" for w in COLUMNS)]
        for name, own in times.items()
    ]
    text.append(tabulate(rows, heads, tablefmt="github", colalign=align))
    for ours in ("npnn numpy", "npnn numba"):
        if ours not in times:
            continue
        text.append(f"\nThe peer's time divided by that of {ours} (above 1: npnn is faster):\n")
        rows = [
            [name, *(f"{own[w] / times[ours][w]:.2f}" if w in own else "" for w in COLUMNS)]
            for name, own in times.items()
            if not name.startswith("npnn")
        ]
        text.append(tabulate(rows, heads, tablefmt="github", colalign=align))
    return "\n".join(text)


def machine() -> str:
    """Return what this was measured on."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    versions = []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{name} absent")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{model}, {cores} cores, {platform.system()}, Python {platform.python_version()}; "
        + ", ".join(versions)
    )


def write_section(title: str, text: str, path: Path = HERE / "RESULTS.md") -> None:
    """Replace the section `title` of the results, or add it; the others stay as they are."""
    parts = path.read_text().split("\n## ") if path.exists() else ["# Measured\n"]
    kept = [part for part in parts[1:] if part.splitlines()[0] != title]
    sections = "".join(f"\n## {part.rstrip()}\n" for part in [*kept, f"{title}\n\n{text}"])
    path.write_text(parts[0].rstrip() + "\n" + sections)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="of names")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args()
    text = f"{tables(measure(options.rounds, options.seconds, options.only))}\n\n{machine()}"
    print(text)
    if not options.no_write:
        write_section("Training steps, side by side", text)


if __name__ == "__main__":
    main()
