"""Batch and layer normalisation, against finite differences and PyTorch."""

import numpy as np
import pytest
import torch
from layer_checks import (
    assert_captured_is_eager,
    assert_gradients_are_those_of_central_differences,
    built,
    gradients,
    images_first,
    images_last,
)

import npnn
from npnn.layers import BatchNorm, Conv2D, LayerNorm

SHAPES = [(3,), (2, 2, 3)]
CASES = {
    "BatchNorm-training": (BatchNorm, True),
    "BatchNorm-prediction": (BatchNorm, False),
    "LayerNorm": (LayerNorm, True),
}
EACH = pytest.mark.parametrize(("kind", "training"), CASES.values(), ids=CASES.keys())


@EACH
def test_the_gradients_are_those_of_central_differences(kind, training, backend):
    for shape in SHAPES:
        layer = built(kind(), shape, backend, training=training)
        x = np.random.default_rng(0).standard_normal((4, *shape))
        for name in layer.state_names[:2]:
            setattr(layer, name, backend.asarray([0.5, 1.0, 2.0]))
        assert_gradients_are_those_of_central_differences(layer, x, backend)


def in_torch(layer, x, weight):
    """Return what PyTorch makes of the same: y, gradients, and means of all that it has seen."""
    theirs = torch.nn.LayerNorm(3) if isinstance(layer, LayerNorm) else None
    images = x.ndim == 4 and theirs is None
    if theirs is None:
        kind = torch.nn.BatchNorm2d if images else torch.nn.BatchNorm1d
        theirs = kind(3, momentum=None)
    theirs = theirs.double().train(layer.training)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(np.asarray(layer.gamma)))
        theirs.bias.copy_(torch.tensor(np.asarray(layer.beta)))
    tensor = torch.tensor(images_first(x) if images else x, requires_grad=True)
    y = theirs(tensor)
    y.backward(torch.tensor(images_first(weight) if images else weight))
    turn = images_last if images else np.asarray
    return theirs, turn(y.detach()), turn(tensor.grad)


@EACH
@pytest.mark.parametrize("shape", SHAPES, ids=["rows", "images"])
def test_values_gradients_and_running_means_are_those_of_torch(kind, training, shape, backend):
    rng = np.random.default_rng(1)
    layer = built(kind(), shape, backend, training=training)
    x, weight = rng.normal(3.0, 2.0, (2, 4, *shape))
    copy = built(kind(), shape, npnn.backends.get("numpy", "float64"), training=training)
    theirs, y, grad_x = in_torch(copy, x, weight)
    actual_y, actual_grad_x, of_parameters = gradients(layer, x, weight, backend)
    pairs = [
        (actual_y, y),
        (actual_grad_x, grad_x),
        (of_parameters[".gamma"], theirs.weight.grad.numpy()),
        (of_parameters[".beta"], theirs.bias.grad.numpy()),
    ]
    if kind is BatchNorm:
        pairs += [
            (backend.to_numpy(layer.running_mean), theirs.running_mean.numpy()),
            (backend.to_numpy(layer.running_variance), theirs.running_var.numpy()),
        ]
    for ours, expected in pairs:
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)


def test_a_captured_step_computes_what_the_plain_one_does(captured_on):
    def layers():
        # Not a bias before a mean is taken off: its gradient is rounding, which Adam blows up.
        return [BatchNorm(momentum=0.7), Conv2D(None, 3, 2), npnn.Tanh(), LayerNorm()]

    assert_captured_is_eager(layers, (3, 4, 1), captured_on)


def test_what_is_normalised_has_mean_0_and_variance_1():
    x = np.random.default_rng(2).normal(5.0, 3.0, (50, 4, 4, 8))
    for layer, axes in ((BatchNorm(epsilon=1e-12), (0, 1, 2)), (LayerNorm(epsilon=1e-12), 3)):
        layer.dtype, layer.training = "float64", True
        layer.build((4, 4, 8))
        y = layer.forward(x)
        np.testing.assert_allclose(y.mean(axis=axes), 0.0, atol=1e-10)
        np.testing.assert_allclose(y.var(axis=axes), 1.0, atol=1e-10)


def test_running_means_come_to_those_of_the_data_and_prediction_leaves_them(captured_on):
    model = npnn.Sequential([BatchNorm(2)], backend=captured_on, dtype="float64")
    model.chain = npnn.RMSLoss()
    optimizer = npnn.GradientDescent(1e-12)
    optimizer.model = model
    rng, to_numpy = np.random.default_rng(3), model.backend.to_numpy
    x = rng.normal([1.0, -2.0], [2.0, 0.5], (200, 2))
    for _ in range(100):
        optimizer.step(x, np.zeros_like(x))
    state = {name: to_numpy(array).copy() for name, array in model.state().items()}
    np.testing.assert_allclose(state["0.running_mean"], x.mean(axis=0), rtol=1e-3)
    # The same samples again count as new ones, by which the variance without bias is smaller.
    np.testing.assert_allclose(state["0.running_variance"], x.var(axis=0), rtol=1e-3)
    y = to_numpy(model.predict(x))
    np.testing.assert_allclose(y.mean(axis=0), 0.0, atol=1e-3)
    np.testing.assert_allclose(to_numpy(model.predict(x[:1])), y[:1], atol=1e-12)
    for name, array in model.state().items():
        np.testing.assert_array_equal(to_numpy(array), state[name])


@pytest.mark.parametrize("momentum", [None, 0.9])
@pytest.mark.parametrize("shape", SHAPES, ids=["rows", "images"])
def test_batches_count_by_their_samples_in_running_means(shape, momentum, captured_on):
    model = npnn.Sequential([BatchNorm(shape, momentum)], backend=captured_on, dtype="float64")
    model.chain = npnn.RMSLoss()
    optimizer = npnn.GradientDescent(1e-12)
    optimizer.model = model
    data = np.random.default_rng(5).normal(3.0, 2.0, (65, *shape))
    batches = [data[:32], data[32:64], data[64:]]
    for x in batches:
        optimizer.step(x, np.zeros_like(x))
    kept = 1.0 if momentum is None else momentum
    ages = np.concatenate([[kept ** (2 - n)] * len(x) for n, x in enumerate(batches)])
    values, weights = data.reshape(-1, 3), np.repeat(ages, data[0].size // 3)
    mean = np.average(values, axis=0, weights=weights)
    # Of the decayed squares about their own means, and of those means: Chan, Golub and LeVeque.
    state = {name: model.backend.to_numpy(array) for name, array in model.state().items()}
    np.testing.assert_allclose(state["0.running_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(state["0.running_weight"], weights.sum(), rtol=1e-12)
    if momentum is None:
        variance = values.var(axis=0, ddof=1)
        np.testing.assert_allclose(state["0.running_variance"], variance, rtol=1e-12)
    else:
        variance = np.average((values - mean) ** 2, axis=0, weights=weights)
        np.testing.assert_allclose(state["0.running_variance"], variance, rtol=0.03)


def test_a_single_sample_is_normalised_by_what_came_before(backend_name):
    model = npnn.Sequential([BatchNorm(2, None)], backend=backend_name, dtype="float64")
    model.chain = npnn.RMSLoss()
    optimizer = npnn.GradientDescent(1e-12)
    optimizer.model = model
    data = np.random.default_rng(6).normal(-4.0, 3.0, (40, 2))
    for x in data:
        optimizer.step(x[None], np.zeros((1, 2)))
    state = {name: model.backend.to_numpy(array) for name, array in model.state().items()}
    np.testing.assert_allclose(state["0.running_mean"], data.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(state["0.running_variance"], data.var(axis=0, ddof=1), rtol=1e-12)


def test_the_first_sample_alone_leaves_the_variance_that_it_has_not():
    layer = BatchNorm()
    layer.build(2)
    layer.training = True
    x = np.array([[3.0, 4.0]])
    np.testing.assert_allclose(layer.forward(x), x, rtol=1e-4)
    np.testing.assert_allclose(layer.backward(np.ones((1, 2))), np.ones((1, 2)), rtol=1e-4)
    np.testing.assert_array_equal(layer.running_variance, [1.0, 1.0])


def test_batches_of_one_train_to_what_evaluate_says(captured_on):
    rng = np.random.default_rng(7)
    x = rng.normal(5.0, 3.0, (60, 4))
    t = x @ rng.standard_normal((4, 1))
    model = npnn.Sequential([npnn.Dense(4, 8), BatchNorm(), npnn.Tanh(), npnn.Dense(None, 1)],
                            backend=captured_on, seed=0)  # fmt: skip
    history = model.fit(x, t, loss=npnn.RMSLoss(), epochs=8, batch_size=1, seed=0)
    assert model.evaluate(x, t)["loss"] < 1.5 * history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("kind", [BatchNorm, LayerNorm])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_rows_far_from_zero_are_centred_before_they_are_rounded(kind, spread, backend32):
    x = 1e6 + spread * np.random.default_rng(8).integers(-3, 4, (64, 32)).astype(float)
    layer = built(kind(), (32,), backend32, training=True)
    with backend32.current():
        layer.forward(backend32.asarray(x))
        y = backend32.to_numpy(layer.normal)
    axis = 0 if kind is BatchNorm else -1
    centred = x - x.mean(axis=axis, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=axis, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchNorm(momentum=1.0), "momentum must be at least 0 and below 1"),
        (lambda: BatchNorm(epsilon=0.0), "epsilon must be greater than 0, not 0.0"),
        (lambda: LayerNorm(epsilon=-1.0), "epsilon must be greater than 0"),
        (lambda: LayerNorm(3).build(4), r"\(3,\), but is given \(4,\)"),
    ],
)
def test_what_is_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_parameters_and_state_survive_their_file(tmp_path):
    model = npnn.Sequential([BatchNorm(3, momentum=0.5), LayerNorm()], seed=0)
    model.set_arrays(
        {name: a + np.arange(len(a)) for name, a in {**model.parameters(), **model.state()}.items()}
    )
    model.save(tmp_path / "model.safetensors")
    loaded = npnn.load(tmp_path / "model.safetensors")
    x = np.random.default_rng(4).standard_normal((2, 3))
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.layers[0].momentum == 0.5
    assert list(model.state()) == [f"0.{name}" for name in BatchNorm.state_names]
