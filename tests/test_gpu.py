"""On a real GPU: captured steps agree with NumPy's, and a step is one graph, without waiting."""

import warnings

import numpy as np
import pytest
from conftest import AVAILABLE
from test_capture import assert_close
from test_cupy_plan import classifier, fitted, lenet5, trainer, weights

from npnn import batches

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not AVAILABLE["cupy"]["works"], reason=AVAILABLE["cupy"]["reason"]),
]


@pytest.mark.parametrize("make", [lenet5, classifier])
def test_a_network_trains_on_a_gpu_as_it_does_on_numpy(make):
    ours, batches = trainer(make, "cupy", dtype="float64")
    theirs, _ = trainer(make, "numpy", dtype="float64", capture=False)
    for x, t in batches:
        ours.step(x, t)
        theirs.step(x, t)
    on_host = [ours.model.backend.to_numpy(a) for _, a in ours.model.runner.arrays()]
    assert_close(on_host, weights(theirs), 1e-10)


def test_with_cublaslt_a_step_is_one_graph():
    pytest.importorskip("nvmath.bindings.cublasLt")
    optimizer, batches = trainer(classifier, "cupy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch in batches:
            optimizer.step(*batch)
    (plan, _), *_ = next(iter(optimizer.model.runner.side()._training.values()))[1].plans.values()
    assert plan.backend.products.name == "cuBLASLt"
    assert len(plan.pieces) == 1


@pytest.mark.parametrize("precision", ["tf32", "bfloat16", "float16"])
def test_rounded_products_train_nearly_as_exact_ones_do(precision):
    losses = []
    for options in ({"precision": precision}, {"precision": "float32"}):
        trains, batches = trainer(classifier, "cupy", **options)
        for batch in batches:
            trains.step(*batch)
        losses.append(trains.model.chain.get_loss())
    loss, expected = losses
    assert loss != expected
    assert abs(loss - expected) < 0.02 * expected


def test_streamed_data_give_the_same_training(monkeypatch):
    expected, _ = fitted("numpy")
    monkeypatch.setattr(batches, "SHARE_OF_DATA", 0.0)
    history, _ = fitted("cupy")
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-9)
