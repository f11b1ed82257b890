"""Pooling, against finite differences and PyTorch."""

import numpy as np
import pytest
import torch
from layer_checks import (
    assert_captured_is_eager,
    assert_gradients_are_those_of_central_differences,
    built,
    distinct,
    gradients,
    images_first,
    images_last,
)

import npnn
from npnn import backends
from npnn.layers import AvgPool, Conv2D, GlobalAvgPool, MaxPool

F = torch.nn.functional
ARGUMENTS = [
    ({"kernel_size": 3, "stride": (1, 2)}, (4, 5, 2)),
    ({}, (4, 6, 2)),
    ({"kernel_size": (1, 2), "stride": 2}, (3, 4, 3)),
]
POOLS = pytest.mark.parametrize("kind", [MaxPool, AvgPool], ids=["MaxPool", "AvgPool"])


def arguments_on(backend_name):
    return ARGUMENTS[:1] if backend_name == "jax" else ARGUMENTS


@POOLS
@pytest.mark.later("jax")
def test_the_gradient_is_that_of_central_differences(kind, backend):
    for options, shape in arguments_on(backend.name):
        layer = built(kind(**options), shape, backend)
        x = distinct(np.random.default_rng(0), (2, *shape))
        assert_gradients_are_those_of_central_differences(layer, x, backend)


def test_the_gradient_of_the_global_mean_is_that_of_central_differences(backend):
    layer = built(GlobalAvgPool(), (3, 4, 2), backend)
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 2))
    assert_gradients_are_those_of_central_differences(layer, x, backend)
    np.testing.assert_allclose(
        backend.to_numpy(layer.forward(backend.asarray(x))), x.mean(axis=(1, 2)), atol=1e-14
    )


@pytest.mark.parametrize(("kind", "in_torch"), [(MaxPool, F.max_pool2d), (AvgPool, F.avg_pool2d)])
def test_values_and_gradients_are_those_of_torch_also_where_pixels_are_equal(
    kind, in_torch, backend
):
    rng = np.random.default_rng(2)
    for options, shape in arguments_on(backend.name):
        layer = built(kind(**options), shape, backend)
        x = rng.integers(0, 3, (5, *shape)).astype(np.float64)
        grad_y = rng.standard_normal((5, *layer.shape_out))
        y, grad_x, _ = gradients(layer, x, grad_y, backend)
        tensor = torch.tensor(images_first(x), requires_grad=True)
        expected = in_torch(tensor, layer.kernel, layer.strides)
        expected.backward(torch.tensor(images_first(grad_y)))
        np.testing.assert_allclose(y, images_last(expected.detach()), rtol=0, atol=1e-10)
        np.testing.assert_allclose(grad_x, images_last(tensor.grad), rtol=0, atol=1e-10)


def test_of_equal_pixels_the_first_one_read_has_the_gradient(backend):
    layer = built(MaxPool(), (2, 2, 1), backend)
    x = backend.asarray([[[[1.0], [3.0]], [[3.0], [3.0]]]])
    layer.forward(x)
    grad_x = backend.to_numpy(layer.backward(backend.asarray([[[[5.0]]]])))
    np.testing.assert_array_equal(grad_x[0, :, :, 0], [[0.0, 5.0], [0.0, 0.0]])


@pytest.mark.parametrize("kind", [MaxPool, AvgPool, GlobalAvgPool])
def test_a_captured_step_computes_what_the_plain_one_does(kind, captured_on):
    for options, shape in arguments_on(captured_on)[:2]:
        options = {} if kind is GlobalAvgPool else options

        def layers(options=options):
            return [Conv2D(None, 2, 1), kind(**options)]

        assert_captured_is_eager(layers, shape, captured_on)


def test_the_stride_is_the_size_of_the_window_unless_it_is_given():
    assert MaxPool(kernel_size=(2, 3)).build((4, 6, 1)) == (2, 2, 1)
    assert MaxPool(kernel_size=2, stride=1).build((4, 6, 1)) == (3, 5, 1)
    assert AvgPool((4, 4, 2), (2, 2, 2)).build((4, 4, 2)) == (2, 2, 2)
    assert GlobalAvgPool().build((4, 6, 3)) == (3,)


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: MaxPool(), (7, 8, 1), r"rows 6 .*would be dropped; 6 or 8 rows fit$"),
        (lambda: AvgPool(kernel_size=3), (6, 8, 1), r"columns 6 to 7 .*dropped; 6 or 9 columns"),
        (lambda: MaxPool(kernel_size=5), (4, 8, 1), "kernel of 5 rows .* 4 rows.* at most 4"),
        (lambda: MaxPool(None, (3, 3, 1)), (4, 4, 1), r"\(2, 2, 1\), but shape_out says \(3, 3,"),
        (lambda: MaxPool(kernel_size=0), (4, 4, 1), "kernel_size must be at least 1"),
        (lambda: AvgPool(stride=0), (4, 4, 1), "stride must be at least 1"),
        (lambda: GlobalAvgPool(), (16,), r"images .* not \(16,\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_numbers_that_would(make, shape, message):
    with pytest.raises(ValueError, match=message):
        make().build(shape)


def test_pools_survive_their_file(tmp_path):
    layers = [MaxPool((8, 6, 2), None, (2, 1)), AvgPool(None, None, 2, (1, 2)), GlobalAvgPool()]
    model = npnn.Sequential([*layers, npnn.Dense(None, 2)], seed=0)
    model.save(tmp_path / "model.safetensors")
    loaded = npnn.load(tmp_path / "model.safetensors")
    x = np.random.default_rng(3).standard_normal((2, 8, 6, 2))
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert [repr(layer) for layer in loaded.layers] == [repr(layer) for layer in model.layers]


def test_a_captured_maximum_is_found_without_a_copy_of_the_images():
    numpy = backends.get("numpy", "float32")
    model = npnn.Sequential([MaxPool((64, 64, 4))], backend=numpy)
    model.predict(np.zeros((8, 64, 64, 4)))
    (plan, _), *_ = model.runner.side(alone=True)._prediction.plans.values()
    assert plan.nbytes <= (1.0 + 2 * 0.25) * 8 * 64 * 64 * 4 * 4
