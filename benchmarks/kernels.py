"""Reads the kernels of training steps as NVIDIA's compiler makes them, and writes RESULTS.md.

Each step of ``gpu_contestants.py`` is captured, not run. Its kernels are compiled with the options
that CuPy passes, and taken apart. This needs no GPU, but CuPy with a device, if an emulated one:
``.venv-cupy/emulated/run benchmarks/kernels.py``. It needs nvdisasm too, which
``pip install nvidia-cuda-nvdisasm`` brings, in the PATH or in the environment.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

HERE = Path(__file__).parent
ARCHITECTURES = ("sm_80", "sm_90")
ADDED = ("-ftz=true", "--device-as-default-execution-space")  # by CuPy, behind a plan's options
SHARE = 0.02  # of the bytes that a step moves: what a kernel must have to be shown
RESIDENT, REGISTERS = 2048, 65536  # threads and registers of a multiprocessor


class Compiled(NamedTuple):
    """What NVRTC makes of a source."""

    log: str
    ptx: str
    cubin: bytes


def compiled(source: str, architecture: str, options: tuple[str, ...]) -> Compiled:
    """Return what NVRTC makes of a source, in a process without the emulated device."""
    hidden = ("LD_PRELOAD", "LD_LIBRARY_PATH", "EMU_HOME") if "EMU_HOME" in os.environ else ()
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, __file__, "--compile", f"-arch={architecture}", *options, *ADDED]
    done = subprocess.run(command, input=source.encode(), capture_output=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return Compiled(*pickle.loads(done.stdout))


def compile_here(source: bytes, options: list[str]) -> tuple[str, str, bytes]:
    from cuda.bindings import nvrtc

    def text(size: Any, get: Any) -> bytes:
        buffer = bytes(size(program)[1])
        get(program, buffer)
        return buffer

    program = nvrtc.nvrtcCreateProgram(source, b"kernels.cu", 0, [], [])[1]
    given = [option.encode() for option in (*options, "--ptxas-options=-v")]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(given), given)
    log = text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog).decode()
    if status:
        raise SystemExit(log)
    ptx = text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX).decode()
    return log, ptx, text(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)


# What the compiler says --------------------------------------------------------------------------


class Used(NamedTuple):
    """What one kernel takes, by the assembler's own account."""

    registers: int
    local: int  # bytes of a thread's memory: arrays that are in no registers, and what is spilled
    shared: int


def resources(log: str) -> dict[str, Used]:
    """Return what each kernel takes, from what ``ptxas -v`` prints."""
    found = {}
    for part in log.split("Function properties for ")[1:]:
        shared = re.search(r"(\d+) bytes smem", part)
        numbers = [re.search(rf"(\d+){what}", part) for what in (" bytes stack", " bytes spill s")]
        stack, spilled = (int(number[1]) if number else 0 for number in numbers)
        registers = re.search(r"Used (\d+) registers", part)
        assert registers is not None, part
        used = Used(int(registers[1]), max(stack, spilled), int(shared[1]) if shared else 0)
        found[part.split()[0]] = used
    return found


def instructions(cubin: bytes) -> dict[str, Counter[str]]:
    """Return for each kernel how often each instruction stands in its machine code."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [disassembler(), "-c", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {}
    for part in re.split(r"\n//-+ \.text\.", text)[1:]:
        ops = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", part)
        found[part.split()[0]] = Counter(op for op in ops if op != "NOP")
    return found


def disassembler() -> str:
    """Return the path of nvdisasm."""
    path = shutil.which("nvdisasm")
    if path is None:
        try:
            files = metadata.files("nvidia-cuda-nvdisasm") or []
        except metadata.PackageNotFoundError:
            raise SystemExit("nvdisasm is missing: pip install nvidia-cuda-nvdisasm") from None
        path = next(str(file.locate()) for file in files if file.name == "nvdisasm")
    return path


def accesses(ops: Counter[str], *names: str) -> str:
    """Return how many instructions load or store how many bits, such as ``4 of 128``."""
    widths: Counter[int] = Counter()
    for op, count in ops.items():
        name, *parts = op.split(".")
        if name in names:
            number = next((p for p in parts if re.fullmatch(r"[US]?(8|16|64|128)", p)), "32")
            widths[int(number.strip("US"))] += count
    return ", ".join(f"{n} of {bits}" for bits, n in sorted(widths.items(), reverse=True))


def count(ops: Counter[str], pattern: str) -> int:
    return sum(n for op, n in ops.items() if re.match(pattern, op))


# Steps -------------------------------------------------------------------------------------------


class Captured(Exception):
    """The plan is there, and need not run."""


class Kernel(NamedTuple):
    """One kernel of a step."""

    name: str
    does: str
    blocks: int
    threads: int
    nbytes: int


def plan_of(step: Callable[[], Any]) -> Any:
    """Return the plan that a step makes where it first runs; it does not run."""
    from npnn.backends.gpu.cupy_plan import CupyPlan
    from npnn.backends.gpu.cupy_target import Cuda

    plans: list[Any] = []

    def write(plan: Any, *given: Any) -> None:
        plans.append(plan)
        written(plan, *given)
        raise Captured

    written, not_ready = CupyPlan.__init__, mock.patch.object(Cuda, "make_ready")
    with not_ready, mock.patch.object(CupyPlan, "__init__", write), suppress(Captured):
        step()
    return plans[0]


def captured(workload: str) -> tuple[str, list[Kernel]]:
    """Return the source of a step's kernels, and what each of them does."""
    import gpu_contestants

    gpu_contestants.BATCHES = 1
    contestant = gpu_contestants.npnn_cupy(workload)
    plan = plan_of(lambda: contestant.step(*contestant.batches[0]))
    functions = [id(function) for function, _ in plan.calls]
    owners = dict(zip(functions, plan.owners, strict=True))
    kernels = []
    for launch in plan.target.kernels:
        names = [node.origin[0] for node in owners.get(id(launch), ())]
        parts = [*dict.fromkeys(name or "step" for name in names)]
        more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
        does = ", ".join(parts[:3]) + more if parts else "in or out"
        sizes = (a.itemsize * int(size_of(a.shape, a.strides)) for a in launch.arrays.values())
        threads = launch.block[0] * (launch.block[1] if len(launch.block) > 1 else 1)
        kernels.append(Kernel(launch.name, does, launch.grid[0], threads, sum(sizes)))
    return plan.target.source, kernels


def size_of(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    size = 1
    for n, step in zip(shape, strides, strict=True):
        size *= n if step else 1
    return size


def resident(threads: int, used: Used) -> int:
    """Return how many threads run on a multiprocessor at once, as far as registers allow."""
    of_block = -(-used.registers // 8) * 8 * threads
    return min(RESIDENT // threads, REGISTERS // of_block, 32) * threads


def rows(workload: str) -> tuple[list[list[Any]], str]:
    """Return the rows of the table for one step, and the compiler's version."""
    from npnn.backends.gpu.kernels import OPTIONS

    source, kernels = captured(workload)
    made = [compiled(source, architecture, OPTIONS) for architecture in ARCHITECTURES]
    version = re.search(r"release .*", made[-1].ptx)
    assert version is not None
    takes, ops = [resources(m.log) for m in made], instructions(made[-1].cubin)
    alike: dict[tuple[Any, ...], list[Kernel]] = {}
    for kernel in kernels:
        key = (kernel.does, kernel.threads, *(used[kernel.name] for used in takes))
        key += tuple(sorted(ops[kernel.name].items()))
        alike.setdefault(key, []).append(kernel)
    least = SHARE * sum(kernel.nbytes for kernel in kernels)
    found = []
    for same in alike.values():
        first, nbytes = same[0], sum(kernel.nbytes for kernel in same)
        if nbytes < least:
            continue
        used, o = [of[first.name] for of in takes], ops[first.name]
        found.append([
            workload, first.does, len(same), f"{nbytes / 1e6:,.2f}",
            f"{max(kernel.blocks for kernel in same):,} x {first.threads}",
            "/".join(str(u.registers) for u in used), min(resident(first.threads, u) for u in used),
            max(u.local for u in used), max(u.shared for u in used),
            accesses(o, "LDG", "LD"), accesses(o, "STG", "ST"), count(o, "FFMA"),
            count(o, r"D(ADD|MUL|FMA|SETP)|MUFU\.\w+64"), sum(o.values()),
        ])  # fmt: skip
    return found, version[0]


HEADS = (
    "step", "what it does", "launches", "MB", "blocks x threads", "registers", "resident threads",
    "local bytes", "shared bytes", "loads", "stores", "FFMA", "f64", "instructions",
)  # fmt: skip


def main() -> None:
    """Capture, compile, print, write."""
    import gpu_contestants
    from side_by_side import write_section
    from tabulate import tabulate

    parser = argparse.ArgumentParser(description=__doc__)
    columns = gpu_contestants.COLUMNS
    parser.add_argument("--only", nargs="+", choices=columns, default=list(columns))
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args()
    table, version = [], ""
    for workload in options.only:
        lines, version = rows(workload)
        table += lines
    names = " and ".join(ARCHITECTURES)
    text = (
        f"The kernels of a training step that move at least {SHARE:.0%} of its bytes, compiled by "
        f"NVRTC, {version}, for {names}; no GPU was asked. `MB` are those of all arrays that a "
        "kernel names, `registers` those of a thread for one architecture and the other, "
        "`resident threads` how many of them a multiprocessor of 65,536 registers holds, of 2,048 "
        "at most; `local bytes` are what is spilled, or lies in arrays in no registers. The rest "
        f"is counted in the machine code for {ARCHITECTURES[-1]}: loads and stores of so many "
        "bits, single fused multiplications and additions (of divisions, roots and exponentials), "
        "double-precision arithmetic, all instructions. What is alike but for sizes is one row:\n\n"
        + tabulate(table, HEADS, tablefmt="github", colalign=("left",) * 2 + ("right",) * 12)
    )
    print(text)
    if not options.no_write:
        write_section("Kernels, as the compiler makes them", text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--compile"]:
        sys.stdout.buffer.write(pickle.dumps(compile_here(sys.stdin.buffer.read(), sys.argv[2:])))
    else:
        main()
