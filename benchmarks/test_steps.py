"""Times of npnn's own backends: steps, epochs, prediction, the command line.

``pytest benchmarks`` prints pytest-benchmark's table; ``make bench`` also runs the side-by-side
comparison with other libraries. Times are shown, not judged.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from contestants import CONTESTANTS
from workloads import WORKLOADS

import npnn
import npnn.backends.tuning

BACKENDS = [
    name
    for name, found in npnn.backends.available().items()
    if found["works"] and name != "array_api_strict"
]
MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"


def classifier(backend: str, *widths: int, capture: bool = True) -> npnn.Sequential:
    layers: list[npnn.Layer] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [npnn.Dense(inputs, outputs), npnn.ReLU()]
    layers[-1] = npnn.Softmax()
    return npnn.Sequential(layers, backend=backend, seed=0, capture=capture)


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_step(benchmark, backend, workload):
    benchmark.group = f"step: {workload}"
    name = f"npnn {backend}"
    if name not in CONTESTANTS:
        pytest.skip(f"{name} is no contestant")
    step, pool = CONTESTANTS[name](WORKLOADS[workload])
    turn = itertools.cycle(pool)
    step(*next(turn))
    benchmark(lambda: step(*next(turn)))


@pytest.mark.parametrize("workload", ["xor", "mnist"])
@pytest.mark.parametrize("contestant", ["npnn numpy, uncaptured", "PyTorch eager, fused Adam"])
def test_uncaptured_step(benchmark, contestant, workload):
    benchmark.group = f"uncaptured step: {workload}"
    if contestant.startswith("npnn"):
        step, pool = CONTESTANTS["npnn numpy"](WORKLOADS[workload])
        model = step.__self__.model
        model.capture = False
    else:
        pytest.importorskip("torch")
        step, pool = CONTESTANTS[contestant](WORKLOADS[workload])
    turn = itertools.cycle(pool)
    step(*next(turn))
    benchmark(lambda: step(*next(turn)))


@pytest.mark.parametrize("flushed", [True, False], ids=["flushed", "left alone"])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_step_with_dead_units(benchmark, monkeypatch, backend, flushed):
    """Train until three quarters of the moments have died away; left alone, they are denormal."""
    benchmark.group = "step with dead units: mnist"
    name = f"npnn {backend}"
    if backend not in BACKENDS:
        pytest.skip(f"{name} is not installed")
    if not flushed:
        monkeypatch.setattr(npnn.backends.tuning, "FLUSH_EVERY", 1 << 60)
    step, pool = CONTESTANTS[name](WORKLOADS["mnist"])
    model = step.__self__.model
    turn = itertools.cycle(pool)
    for x, t in pool[:8]:
        step(x, t)
    for hidden in (model.layers[0], model.layers[2]):
        hidden.b[: 3 * len(hidden.b) // 4] = -1e6  # these units will never fire again
    for _ in range(1000):
        step(*next(turn))
    moments = np.concatenate([np.ravel(m) for moment in step.__self__.state for m in moment])
    tiny = np.finfo(np.float32).tiny
    benchmark.extra_info["denormal"] = float(np.mean((moments != 0) & (np.abs(moments) < tiny)))
    assert flushed == (benchmark.extra_info["denormal"] < 1e-3)
    benchmark(lambda: step(*next(turn)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_epoch_of_digits(benchmark, backend):
    benchmark.group = "epoch of Digits (64-128-64-10, batch 32)"
    data = npnn.datasets.Digits(seed=0)
    model = classifier(backend, 64, 128, 64, 10)
    model.fit(data, epochs=1)
    benchmark.pedantic(lambda: model.fit(data, epochs=5), rounds=3)


@pytest.mark.skipif(not MNIST.exists(), reason="the MNIST images are not beside the project")
@pytest.mark.parametrize("backend", BACKENDS)
def test_epoch_of_mnist(benchmark, backend):
    benchmark.group = "epoch of 7,000 MNIST images (784-256-128-10, batch 128)"
    data = npnn.datasets.MNIST(MNIST, seed=0)
    model = classifier(backend, 784, 256, 128, 10)
    model.fit(data, epochs=1, batch_size=128)
    benchmark.pedantic(lambda: model.fit(data, epochs=1, batch_size=128), rounds=3)


@pytest.mark.parametrize("rows", [1, 10_000])
@pytest.mark.parametrize("backend", BACKENDS)
def test_predict(benchmark, backend, rows):
    benchmark.group = f"predict {rows} rows (784-256-128-10)"
    model = classifier(backend, 784, 256, 128, 10)
    x = model.backend.asarray(np.random.default_rng(0).random((rows, 784), dtype=np.float32))

    def predict():
        y = model.predict(x)
        model.backend.synchronize()
        return y

    predict()
    benchmark(predict)


def test_from_the_shell_to_a_trained_xor_model(benchmark, tmp_path):
    command = [sys.executable, "-m", "npnn", "train", "xor-two-classes", "--no-pictures"]
    benchmark.pedantic(
        lambda: subprocess.run([*command, "--output", tmp_path], check=True, capture_output=True),
        rounds=3,
    )
