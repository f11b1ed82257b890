"""The benchmark on a GPU is rehearsed where there is none: all its parts, all of them small."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu
pytest.importorskip("emulated", reason="elsewhere it would be no rehearsal")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_the_benchmark_runs_on_an_emulated_device_and_writes_no_results():
    before = (BENCHMARKS / "RESULTS.md").read_bytes()
    command = [sys.executable, BENCHMARKS / "gpu.py", "--no-tests", "--rounds", "1"]
    command += ["--seconds", "0.01", "--only", "xor", "large", "adam"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a rehearsal: the device is emulated")
    for part in ("copy and product: (", "LeNet-5: Accuracy(", "microseconds: {'npnn cupy': "):
        assert part in done.stderr
    assert (BENCHMARKS / "RESULTS.md").read_bytes() == before
