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
        for name in layer.state_names:
            setattr(layer, name, backend.asarray([0.5, 1.0, 2.0]))
        assert_gradients_are_those_of_central_differences(layer, x, backend)


def in_torch(layer, x, weight):
    """Return what PyTorch makes of the same: y, gradients, and running means."""
    theirs = torch.nn.LayerNorm(3) if isinstance(layer, LayerNorm) else None
    images = x.ndim == 4 and theirs is None
    if theirs is None:
        kind = torch.nn.BatchNorm2d if images else torch.nn.BatchNorm1d
        theirs = kind(3, momentum=1.0 - layer.momentum)
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


def test_a_captured_step_computes_what_the_plain_one_does(backend_name):
    def layers():
        # Not a bias before a mean is taken off: its gradient is rounding, which Adam blows up.
        return [BatchNorm(momentum=0.7), Conv2D(None, 3, 2), npnn.Tanh(), LayerNorm()]

    assert_captured_is_eager(layers, (3, 4, 1), backend_name)


def test_what_is_normalised_has_mean_0_and_variance_1():
    x = np.random.default_rng(2).normal(5.0, 3.0, (50, 4, 4, 8))
    for layer, axes in ((BatchNorm(epsilon=1e-12), (0, 1, 2)), (LayerNorm(epsilon=1e-12), 3)):
        layer.dtype, layer.training = "float64", True
        layer.build((4, 4, 8))
        y = layer.forward(x)
        np.testing.assert_allclose(y.mean(axis=axes), 0.0, atol=1e-10)
        np.testing.assert_allclose(y.var(axis=axes), 1.0, atol=1e-10)


def test_running_means_come_to_those_of_the_data_and_prediction_leaves_them(backend_name):
    model = npnn.Sequential([BatchNorm(2)], backend=backend_name, dtype="float64")
    model.chain = npnn.RMSLoss()
    optimizer = npnn.GradientDescent(1e-12)
    optimizer.model = model
    rng, to_numpy = np.random.default_rng(3), model.backend.to_numpy
    x = rng.normal([1.0, -2.0], [2.0, 0.5], (200, 2))
    for _ in range(100):
        optimizer.step(x, np.zeros_like(x))
    state = {name: to_numpy(array).copy() for name, array in model.state().items()}
    np.testing.assert_allclose(state["0.running_mean"], x.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(state["0.running_variance"], x.var(axis=0, ddof=1), rtol=1e-3)
    y = to_numpy(model.predict(x))
    np.testing.assert_allclose(y.mean(axis=0), 0.0, atol=1e-3)
    np.testing.assert_allclose(to_numpy(model.predict(x[:1])), y[:1], atol=1e-12)
    for name, array in model.state().items():
        np.testing.assert_array_equal(to_numpy(array), state[name])


def test_a_single_sample_has_no_variance_and_does_not_divide_by_zero():
    layer = BatchNorm()
    layer.build(2)
    layer.training = True
    np.testing.assert_array_equal(layer.forward(np.array([[3.0, 4.0]])), [[0.0, 0.0]])
    np.testing.assert_array_equal(layer.backward(np.array([[1.0, 1.0]])), [[0.0, 0.0]])
    assert np.isfinite(layer.running_variance).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchNorm(momentum=1.0), "momentum must be at least 0 and below 1"),
        (lambda: BatchNorm(epsilon=0.0), "epsilon must be positive, such as 1e-5"),
        (lambda: LayerNorm(epsilon=-1.0), "epsilon must be positive"),
        (lambda: LayerNorm(3).build(4), r"\(3,\), but is given \(4,\)"),
    ],
)
def test_what_is_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_parameters_and_state_survive_their_file(tmp_path):
    model = npnn.Sequential([BatchNorm(3, momentum=0.5), LayerNorm()], seed=0)
    model.set_arrays(
        {name: a + np.arange(3) for name, a in {**model.parameters(), **model.state()}.items()}
    )
    model.save(tmp_path / "model.safetensors")
    loaded = npnn.load(tmp_path / "model.safetensors")
    x = np.random.default_rng(4).standard_normal((2, 3))
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.layers[0].momentum == 0.5
    assert list(model.state()) == ["0.running_mean", "0.running_variance"]
