"""Every layer against finite differences and against PyTorch, on every backend."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from layer_checks import assert_gradients_are_those_of_central_differences, built
from oracles import (
    ACTIVATIONS,
    LAYERS,
    away_from_zero,
    by_name,
    central_differences,
    relative_error,
)

import npnn
from npnn import backends, layers
from npnn.layers.activations import Activation

F = torch.nn.functional

# The same function in PyTorch, for every activation of the package.
IN_TORCH = {
    "Linear": lambda x: x,
    "ReLU": F.relu,
    "LeakyReLU": lambda x: F.leaky_relu(x, 0.1),
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "Swish": F.silu,
    "Softplus": F.softplus,
    "Softmax": lambda x: F.softmax(x, dim=-1),
}

# How to construct every layer that is not an activation, with the shape of an input sample.
CASES = {
    "Dense": [
        (lambda: npnn.Dense(3, 2), (3,)),
        (lambda: npnn.Dense((2, 3), 4), (2, 3)),
        (lambda: npnn.Dense(3, (2, 2)), (3,)),
        (lambda: npnn.Dense(2, bias=False), (3,)),
    ],
    "Conv2D": [
        (lambda: layers.Conv2D(None, 4, (2, 3), groups=2, padding=1), (2, 3, 4)),
        (lambda: layers.Conv2D(2, 2, bias=False), (2, 3, 1)),
    ],
    "UpConv2D": [
        (lambda: layers.UpConv2D(None, 2, 3, 2, padding="same"), (2, 2, 2)),
        (lambda: layers.UpConv2D(2, 2, bias=False), (2, 2, 1)),
    ],
    "MaxPool": [(layers.MaxPool, (4, 2, 2)), (lambda: layers.MaxPool(stride=1), (3, 3, 1))],
    "AvgPool": [(layers.AvgPool, (4, 2, 2)), (lambda: layers.AvgPool(stride=1), (3, 3, 1))],
    "GlobalAvgPool": [(layers.GlobalAvgPool, (2, 3, 2))],
    "Pad2D": [(lambda: layers.Pad2D(None, 1, (0, 2), 0.5), (2, 2, 2))],
    "Shape": [(lambda: layers.Shape(None, (3, 2)), (2, 3))],
    "Flatten": [(layers.Flatten, (2, 3))],
    "Dropout": [(layers.Dropout, (3,))],
    "BatchNorm": [(layers.BatchNorm, (3,)), (layers.BatchNorm, (2, 2, 3))],
    "LayerNorm": [(layers.LayerNorm, (3,)), (layers.LayerNorm, (2, 2, 3))],
    "Parallel": [(lambda: layers.Parallel([npnn.Dense(None, 2), npnn.Tanh()]), (3,))],
    "Residual": [(lambda: layers.Residual(npnn.Dense(None, 3)), (3,))],
    "Inception": [(lambda: layers.Inception(None, 1, 1, 1, 1, 1, 1), (2, 1, 1))],
    "Latent": [(lambda: layers.Latent(None, 4), (3,))],
    "Sample": [(layers.Sample, (4,))],
}


def case_of(table, kind):
    if kind.__name__ not in table:
        pytest.fail(f"{kind.__name__} is new: add it to the table in {__file__}")
    return table[kind.__name__]


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=by_name)
def test_an_activation_has_the_gradient_of_central_differences(kind, backend):
    layer = built(kind(), (3,), backend)
    x = away_from_zero(np.random.default_rng(2), (4, 3))
    assert_gradients_are_those_of_central_differences(layer, x, backend)


@pytest.mark.parametrize("kind", LAYERS, ids=by_name)
def test_a_layer_has_the_gradients_of_central_differences(kind, backend):
    for construct, shape in case_of(CASES, kind):
        layer = built(construct(), shape, backend)
        x = away_from_zero(np.random.default_rng(2), (4, *shape))
        assert_gradients_are_those_of_central_differences(layer, x, backend)


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=by_name)
def test_an_activation_has_the_values_and_gradients_of_torch(kind, backend):
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(0.0, 3.0, (6, 3)), [[-40.0, 0.0, 40.0]]])
    grad_y = rng.standard_normal(x.shape)
    layer = built(kind(), (3,), backend)
    y = backend.to_numpy(layer.forward(backend.asarray(x)))
    grad_x = backend.to_numpy(layer.backward(backend.asarray(grad_y)))

    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = case_of(IN_TORCH, kind)(x_torch)
    y_torch.backward(torch.tensor(grad_y))
    np.testing.assert_allclose(y, y_torch.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(grad_x, x_torch.grad.numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=by_name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(data=st.data())
def test_an_activation_of_any_finite_number_is_finite_and_so_is_its_gradient(
    kind, dtype, backend_name, data
):
    largest = float(np.float32(1e30)) if dtype == "float32" else 1e300
    numbers = st.floats(-largest, largest, width=32 if dtype == "float32" else 64)
    x = data.draw(hnp.arrays(dtype, (2, 3), elements=numbers))
    backend = backends.get(backend_name, dtype)
    layer = kind()
    y = layer.forward(backend.asarray(x))
    grad_x = layer.backward(backend.asarray([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]]))
    for array in (y, grad_x):
        assert array.dtype == backend.dtype
        assert np.isfinite(backend.to_numpy(array)).all()


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=by_name)
@given(shape=hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
def test_an_activation_lets_its_shape_through(kind, shape):
    layer = kind()
    assert layer.build(shape) == layer.shape_in == layer.shape_out == shape
    x = np.ones((2, *shape))
    assert layer.forward(x).shape == x.shape
    assert layer.backward(x).shape == x.shape
    assert repr(kind(shape)) == f"{kind.__name__}({shape[0] if len(shape) == 1 else shape})"


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=by_name)
def test_an_activation_made_for_a_shape_refuses_another(kind):
    with pytest.raises(ValueError, match=r"takes inputs of shape \(3,\), but is given \(4,\)"):
        kind(3).build(4)


def test_the_rectifiers_have_at_zero_the_slope_of_the_negative_side(backend):
    for layer, slope in ((npnn.ReLU(), 0.0), (npnn.LeakyReLU(slope=0.3), 0.3)):
        layer.forward(backend.asarray([[0.0]]))
        assert float(layer.backward(backend.asarray([[1.0]]))[0, 0]) == slope


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.9])
def test_a_leaky_rectifier_has_its_slope_below_zero(slope):
    layer = npnn.LeakyReLU(slope=slope)
    np.testing.assert_allclose(layer.forward(np.array([-2.0, 2.0])), [-2.0 * slope, 2.0])
    np.testing.assert_allclose(layer.backward(np.array([5.0, 5.0])), [5.0 * slope, 5.0])


@pytest.mark.parametrize("slope", [-0.1, 1.0, float("nan")])
def test_a_slope_out_of_range_is_refused(slope):
    with pytest.raises(ValueError, match="slope must be"):
        npnn.LeakyReLU(slope=slope)


def test_softmax_sums_to_one_and_does_not_change_when_all_inputs_are_shifted(backend):
    x = np.random.default_rng(4).normal(0.0, 3.0, (5, 4))
    y = backend.to_numpy(npnn.Softmax().forward(backend.asarray(x)))
    shifted = backend.to_numpy(npnn.Softmax().forward(backend.asarray(x + 1000.0)))
    np.testing.assert_allclose(y.sum(axis=-1), 1.0, atol=1e-14)
    np.testing.assert_allclose(shifted, y, atol=1e-12)


@pytest.mark.later("jax")
def test_the_jacobian_of_softmax_has_both_cases_of_the_derivation(backend):
    x = np.random.default_rng(5).normal(0.0, 2.0, (3, 4))
    layer = npnn.Softmax()
    jacobian = backend.to_numpy(layer.jacobian(backend.asarray(x)))
    y = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
    assert jacobian.shape == (3, 4, 4)
    for sample in range(3):
        for n in range(4):
            for k in range(4):
                same = 1.0 if n == k else 0.0
                expected = y[sample, n] * (same - y[sample, k])
                assert jacobian[sample, n, k] == pytest.approx(expected, abs=1e-14)


def test_the_jacobian_of_softmax_is_that_of_central_differences():
    x = np.random.default_rng(6).normal(0.0, 2.0, 4)
    for n, row in enumerate(npnn.Softmax().jacobian(x)):
        expected = central_differences(lambda x, n=n: npnn.Softmax().forward(x)[n], x)
        assert relative_error(row, expected) < 1e-6


@pytest.mark.later("jax")
def test_backward_of_softmax_is_the_gradient_times_the_jacobian(backend):
    rng = np.random.default_rng(7)
    x, grad_y = rng.standard_normal((2, 3, 5))
    layer = npnn.Softmax()
    jacobian = backend.to_numpy(layer.jacobian(backend.asarray(x)))
    grad_x = backend.to_numpy(layer.backward(backend.asarray(grad_y)))
    np.testing.assert_allclose(grad_x, np.einsum("bn,bnk->bk", grad_y, jacobian), atol=1e-14)


def test_dense_has_the_values_and_gradients_of_torch(backend):
    rng = np.random.default_rng(8)
    x, grad_y = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    w, b = rng.standard_normal((3, 2)), rng.standard_normal(2)
    layer = npnn.Dense(3, 2)
    layer.w, layer.b = backend.asarray(w), backend.asarray(b)
    y = layer.forward(backend.asarray(x))
    grad_x = layer.backward(backend.asarray(grad_y))

    tensors = [torch.tensor(array, requires_grad=True) for array in (x, w, b)]
    y_torch = F.linear(tensors[0], tensors[1].mT, tensors[2])
    y_torch.backward(torch.tensor(grad_y))
    actual = [y, grad_x, layer.grad_w, layer.grad_b]
    expected = [y_torch.detach(), *(tensor.grad for tensor in tensors)]
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(backend.to_numpy(ours), theirs.numpy(), atol=1e-10)


def test_dense_flattens_its_inputs_and_shapes_its_outputs():
    rng = np.random.default_rng(9)
    flat, shaped = npnn.Dense(6, 4), npnn.Dense((2, 3), (2, 2))
    for layer in (flat, shaped):
        layer.dtype = "float64"
        layer.build(layer.shape_in, np.random.default_rng(0))
    x = rng.standard_normal((5, 2, 3))
    y = shaped.forward(x)
    np.testing.assert_array_equal(y, flat.forward(x.reshape(5, 6)).reshape(5, 2, 2))
    np.testing.assert_array_equal(shaped.backward(y).reshape(5, 6), flat.backward(y.reshape(5, 4)))


def test_dense_infers_its_inputs():
    layer = npnn.Dense(None, 2)
    assert not layer.is_built
    assert layer.build((2, 3), np.random.default_rng(0)) == (2,)
    assert layer.is_built
    assert layer.shape_in == (2, 3)
    assert layer.w.shape == (6, 2)


def test_dense_starts_with_a_zero_bias_and_counts_its_operations():
    layer = npnn.Dense(3, 2)
    layer.build(3, np.random.default_rng(0))
    np.testing.assert_array_equal(layer.b, [0.0, 0.0])
    assert layer.flops == 12


def test_dense_needs_its_outputs_and_a_generator():
    with pytest.raises(TypeError, match="Dense needs shape_out"):
        npnn.Dense(shape_in=3)
    with pytest.raises(TypeError, match="needs rng to draw 'w'"):
        npnn.Dense(3, 2).build(3)
    with pytest.raises(ValueError, match="shape_in must be positive"):
        npnn.Dense(0, 2)
    with pytest.raises(ValueError, match=r"takes inputs of shape \(3,\), but is given \(4,\)"):
        npnn.Dense(3, 2).build(4, np.random.default_rng(0))


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=by_name)
def test_a_dense_layer_is_drawn_as_suits_the_activation_that_follows(kind):
    suited = npnn.Sequential([npnn.Dense(4, 3), kind()], seed=0)
    asked = npnn.Dense(4, 3, initializer=kind.default_initializer)
    explicit = npnn.Sequential([asked, kind()], seed=0)
    np.testing.assert_array_equal(suited.parameters()["0.w"], explicit.parameters()["0.w"])
    rectifier = kind.__name__ in ("ReLU", "LeakyReLU", "Swish", "Softplus")
    assert kind.default_initializer == ("HeNormal" if rectifier else "GlorotUniform")


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=by_name)
def test_many_models_side_by_side_are_what_each_is_alone(kind, backend):
    rng = np.random.default_rng(10)
    x, grad_y = rng.standard_normal((3, 5, 4)), rng.standard_normal((3, 5, 2))
    w, b = rng.standard_normal((3, 4, 2)), rng.standard_normal((3, 2))

    def through(x, w, b, grad_y):
        dense, activation = npnn.Dense(4, 2), kind()
        dense.w, dense.b = backend.asarray(w), backend.asarray(b)
        y = activation.forward(dense.forward(backend.asarray(x)))
        grad_x = dense.backward(activation.backward(backend.asarray(grad_y)))
        return [backend.to_numpy(array) for array in (y, grad_x, dense.grad_w, dense.grad_b)]

    together = through(x, w, b, grad_y)
    for model in range(3):
        alone = through(x[model], w[model], b[model], grad_y[model])
        for ours, theirs in zip(together, alone, strict=True):
            np.testing.assert_allclose(ours[model], theirs, atol=1e-12)


def test_a_layer_survives_its_config():
    some = [npnn.Dense((2, 3), 4, initializer="Orthogonal"), npnn.LeakyReLU(5, slope=0.2)]
    for layer in (*some, *(kind(3) for kind in ACTIVATIONS)):
        assert repr(npnn.Layer.from_config(layer.to_config())) == repr(layer)


def test_an_unknown_layer_type_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown layer type 'Nonesuch'"):
        npnn.Layer.from_config({"type": "Nonesuch"})


def test_a_layer_without_formulas_says_so():
    for method in ("forward", "backward"):
        with pytest.raises(NotImplementedError, match=f"Activation has no {method}"):
            getattr(Activation(), method)(np.zeros((1, 1)))
