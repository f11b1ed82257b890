"""A model as a plain function: it predicts as the model did, in any thread."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import npnn
from npnn.layers import BatchNorm, Dense, ReLU, Softmax

BACKENDS = ["numpy", "numba", "jax", "torch", "array_api_strict"]


def network(backend="numpy", **options):
    layers = [Dense(5, 16), BatchNorm(), ReLU(), Dense(16, 3), Softmax()]
    model = npnn.Sequential(layers, seed=0, backend=backend, **options)
    model.norm = npnn.Normalization(np.arange(5.0), np.full(5, 2.0))
    return model


def rows(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32)


@pytest.mark.parametrize("capture", [True, False])
@pytest.mark.parametrize("backend", BACKENDS)
def test_it_gives_what_predict_gives(backend, capture):
    pytest.importorskip(backend)
    model = network(backend, capture=capture)
    function, host = model.function(), model.backend.to_numpy
    for count in (1, 7, 1, 7):
        for x in (rows(count), rows(count).astype(np.float64), rows(count).tolist()):
            for _ in range(2):
                y, expected = function(x), model.predict(x)
                assert type(y) is type(expected)
                np.testing.assert_allclose(host(y), host(expected), rtol=1e-6)


def test_training_goes_on_without_it():
    model, x = network(), rows(40)
    function, before = model.function(), model.predict(x)
    model.fit(x, np.arange(40) % 3, epochs=2)
    assert not np.allclose(model.predict(x), before)
    np.testing.assert_array_equal(function(x), before)
    np.testing.assert_array_equal(function(x[:9]), before[:9])


def test_the_answers_of_a_regression_are_in_its_own_units():
    x = rows(64)
    model = npnn.Sequential([Dense(5, 8), ReLU(), Dense(8, 1)], seed=0)
    model.fit(x, 1e6 + 1e5 * x[:, :1], epochs=3)
    function = model.function()
    for _ in range(2):
        np.testing.assert_array_equal(function(x), model.predict(x))


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_threads_call_it_at_once(backend):
    pytest.importorskip(backend)
    function = network(backend).function()
    inputs = [rows(1 + seed % 3, seed) for seed in range(24)]
    expected = [function(x) for x in inputs]

    def work(start):
        for turn in range(200):
            at = (start + turn) % len(inputs)
            np.testing.assert_array_equal(function(inputs[at]), expected[at])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [None] * 4


def test_what_it_returned_stays():
    function = network().function()
    first = function(rows(1))
    kept = first.copy()
    function(rows(1, 1))
    np.testing.assert_array_equal(first, kept)


def test_it_can_be_pickled():
    function = network().function()
    again = pickle.loads(pickle.dumps(function))
    np.testing.assert_array_equal(again(rows(4)), function(rows(4)))


def test_wrong_inputs_are_refused_before_and_after_right_ones():
    function, x = network().function(), rows(2)
    bad = x.copy()
    bad[1, 3] = np.nan
    for _ in range(2):
        with pytest.raises(ValueError, match="inputs"):
            function(bad)
        with pytest.raises(ValueError, match="inputs"):
            function(x[:, :4])
        function(x)


def test_a_model_without_shapes_says_so():
    with pytest.raises(ValueError, match="the input shape is not known"):
        npnn.Sequential([Dense(3)]).function()
