"""Where the time and the memory of a step go."""

import tracemalloc

import numpy as np
import pytest

import npnn
from npnn import plots
from npnn.backends.planning import inspection
from npnn.profiling import profile

WORKS = npnn.backends.available()


def classifier(backend="numpy", hidden=32, **options) -> npnn.Sequential:
    layers = [npnn.Dense(8, hidden), npnn.ReLU(), npnn.Dense(hidden, 3), npnn.Softmax()]
    return npnn.Sequential(layers, backend=backend, seed=0, **options)


@pytest.fixture(params=["numpy", "numba"])
def planning(request) -> str:
    if not WORKS[request.param]["works"]:
        pytest.skip(WORKS[request.param]["reason"])
    return request.param


def test_a_profile_counts_the_products_of_a_step_and_times_every_call(planning):
    rows = profile(classifier(planning), np.ones((16, 8)), np.zeros(16, int), steps=3)
    products = sum(row.flops for row in rows if row.operation == "matmul")
    # Forward and the gradients of both weights, and of the second layer's input only.
    assert products == 2 * 16 * (2 * (8 * 32 + 32 * 3) + 32 * 3)
    assert all(row.seconds > 0 for row in rows)
    assert {"0", "2"} <= {row.layer for row in rows if row.operation == "matmul"}
    table = inspection.table(rows)
    assert "Dense.forward" in table
    assert "GFLOP/s" in table


def test_a_backend_without_a_plan_cannot_be_profiled():
    with pytest.raises(ValueError, match="there is no plan"):
        profile(classifier("array_api_strict"), np.ones((4, 8)), np.zeros(4, int))
    with pytest.raises(ValueError, match="steps must be at least 1"):
        profile(classifier(), np.ones((4, 8)), np.zeros(4, int), steps=0)


def test_a_plan_is_shown_without_training(planning):
    model = classifier(planning)
    before = {name: np.array(a) for name, a in model.parameters().items()}
    text = model.plan(batch_size=16)
    assert "Adam" in text
    assert "16x32" in text
    assert model.chain is None
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(array, before[name])
    assert "layer by layer" in classifier("array_api_strict").plan()


def test_the_memory_of_training_that_the_summary_tells_is_true():
    model = classifier(hidden=4000)
    told = [line for line in model.summary().splitlines() if line.startswith("training with Adam")]
    number, unit = told[0].split(": ")[1].split(" (")[0].split()
    promised = float(number) * {"KiB": 2**10, "MiB": 2**20}[unit]
    x, t = np.ones((32, 8), np.float32), np.eye(3, dtype=np.float32)[np.zeros(32, int)]
    model = classifier(hidden=4000)  # the other one has packed its parameters already
    model.chain = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    tracemalloc.start()
    try:
        optimizer.step(x, t)
        # The first step packs the parameters into one array, and gives up those it was built with.
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used == pytest.approx(promised, rel=0.1)


def test_a_profile_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    rows = profile(classifier(), np.ones((16, 8)), np.zeros(16, int), steps=2)
    path = tmp_path / "profile.png"
    figure = plots.profile(rows, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert len(figure.axes[0].get_yticks()) == len(rows)
    with pytest.raises(ValueError, match="no rows"):
        plots.profile([])
