"""Dropout: what it leaves out, how often, and that it does nothing outside training."""

import numpy as np
import pytest
from layer_checks import (
    assert_captured_is_eager,
    assert_gradients_are_those_of_central_differences,
    built,
)

import npnn
from npnn.layers import Dropout


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_is_that_of_central_differences(training, backend):
    layer = built(Dropout(0.4), (3, 2), backend, training=training)
    x = np.random.default_rng(0).standard_normal((4, 3, 2))
    assert_gradients_are_those_of_central_differences(layer, x, backend)


def test_values_are_left_out_where_the_noise_is_below_the_probability(backend):
    layer = built(Dropout(0.25), (4,), backend, training=True)
    layer.random = backend.asarray([[0.0, 0.2499, 0.25, 0.9]])
    x = backend.asarray([[1.0, 2.0, 3.0, 4.0]])
    np.testing.assert_allclose(
        backend.to_numpy(layer.forward(x)), [[0.0, 0.0, 4.0, 16.0 / 3.0]], atol=1e-14
    )
    np.testing.assert_allclose(
        backend.to_numpy(layer.backward(x)), [[0.0, 0.0, 4.0, 16.0 / 3.0]], atol=1e-14
    )


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.8])
def test_the_share_left_out_is_the_probability_and_the_mean_stays(probability):
    layer = Dropout(probability)
    layer.build(100_000)
    layer.training, layer.random = True, np.random.default_rng(1).random((1, 100_000))
    y = layer.forward(np.ones((1, 100_000)))
    assert (y == 0.0).mean() == pytest.approx(probability, abs=0.005)
    assert y.mean() == pytest.approx(1.0, abs=0.02)


def test_outside_training_nothing_happens(backend):
    layer = built(Dropout(0.5), (3,), backend)
    x = backend.asarray([[1.0, 2.0, 3.0]])
    assert layer.forward(x) is x
    assert layer.backward(x) is x


def test_a_captured_step_computes_what_the_plain_one_does(captured_on):
    assert_captured_is_eager(
        lambda: [npnn.Dense(None, 6), Dropout(0.3), npnn.Tanh(), Dropout()], (3,), captured_on
    )


@pytest.mark.filterwarnings("ignore:layer 1, Dropout.* stands last")
def test_each_step_leaves_out_others(backend_name):
    dense = npnn.Dense(200, 200)
    model = npnn.Sequential([dense, Dropout()], backend=backend_name, seed=0, capture=False)
    model.chain = npnn.RMSLoss()
    optimizer = npnn.GradientDescent(1e-9)
    optimizer.model = model
    kept = set()
    for _ in range(3):
        optimizer.step(np.ones((1, 200)), np.zeros((1, 200)))
        kept.add(tuple((model.backend.to_numpy(model.layers[1].factor) > 0.0)[0]))
    assert len(kept) == 3


@pytest.mark.parametrize("probability", [-0.1, 1.0, float("nan")])
def test_a_probability_out_of_range_is_refused(probability):
    with pytest.raises(ValueError, match=r"probability must be (at least 0 and below 1|a finite)"):
        Dropout(probability)


def test_dropout_survives_its_config():
    layer = Dropout(0.3, (2, 3))
    assert layer.to_config() == npnn.Layer.from_config(layer.to_config()).to_config()
    assert repr(layer) == "Dropout(0.3)"
