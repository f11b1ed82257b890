"""Padding and reshaping."""

import numpy as np
import pytest
from layer_checks import (
    assert_captured_is_eager,
    assert_gradients_are_those_of_central_differences,
    built,
)

import npnn
from npnn.layers import Conv2D, Flatten, Pad2D, Shape

LAYERS = {
    "Pad2D": (lambda: Pad2D(None, (1, 2), 1, 0.5), (3, 2, 2)),
    "Shape": (lambda: Shape(None, (2, 6)), (3, 4)),
    "Flatten": (lambda: Flatten(), (3, 2, 2)),
}
EACH = pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS.keys())


@EACH
def test_the_gradient_is_that_of_central_differences(make, shape, backend):
    x = np.random.default_rng(0).standard_normal((2, *shape))
    assert_gradients_are_those_of_central_differences(built(make(), shape, backend), x, backend)


@EACH
def test_shapes_are_what_build_says(make, shape, backend):
    layer = built(make(), shape, backend)
    y = layer.forward(backend.asarray(np.zeros((5, *shape))))
    assert tuple(y.shape) == (5, *layer.shape_out)
    assert tuple(layer.backward(y).shape) == (5, *shape)


@pytest.mark.parametrize("value", [0.0, -1.5, float("-inf")])
def test_padding_is_that_of_numpy(value, backend):
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 2))
    layer = built(Pad2D(None, (1, 0), (2, 3), value), (3, 4, 2), backend)
    expected = np.pad(x, ((0, 0), (1, 0), (2, 3), (0, 0)), constant_values=value)
    np.testing.assert_array_equal(backend.to_numpy(layer.forward(backend.asarray(x))), expected)
    np.testing.assert_array_equal(backend.to_numpy(layer.backward(backend.asarray(expected))), x)


def test_reshaping_keeps_the_order_of_the_values(backend):
    x = np.arange(24.0).reshape(2, 3, 4)
    shaped = built(Shape(None, (2, 2, 3)), (3, 4), backend).forward(backend.asarray(x))
    np.testing.assert_array_equal(backend.to_numpy(shaped), x.reshape(2, 2, 2, 3))
    flat = built(Flatten(), (2, 2, 3), backend).forward(shaped)
    np.testing.assert_array_equal(backend.to_numpy(flat), x.reshape(2, 12))


def test_a_captured_step_computes_what_the_plain_one_does(backend_name):
    def layers():
        return [Shape(None, (3, 4, 1)), Pad2D(None, 1, (0, 1), 0.5), Conv2D(None, 2, 2), Flatten()]

    assert_captured_is_eager(layers, (12,), backend_name)


def test_no_margin_is_no_work():
    x = np.zeros((1, 2, 2, 1))
    layer = Pad2D()
    assert layer.build((2, 2, 1)) == (2, 2, 1)
    assert layer.forward(x) is x
    assert layer.backward(x) is x


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Shape((3, 4), (5, 2)), ValueError, r"\(3, 4\) hold 12 values.* 10 of .*\(5, 2\)"),
        (lambda: Shape(None, (5, 2)).build(12), ValueError, "hold 12 values"),
        (lambda: Shape(shape_in=12), TypeError, "Shape needs shape_out"),
        (lambda: Pad2D(None, -1), ValueError, "pad_axis0 must be at least 0, not -1"),
        (lambda: Pad2D(None, 0, (1, 2, 3)), TypeError, "pad_axis1 must be an int or a pair"),
        (lambda: Pad2D().build(12), ValueError, r"images .* not \(12,\).*\(3, 4, 1\)"),
        (lambda: Flatten((2, 3)).build((3, 2)), ValueError, r"\(2, 3\), but is given \(3, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_layers_survive_their_file(tmp_path):
    layers = [Shape((12,), (3, 4, 1)), Pad2D(None, (0, 1), 2, 0.5), Flatten()]
    model = npnn.Sequential(layers, seed=0)
    model.save(tmp_path / "model.safetensors")
    loaded = npnn.load(tmp_path / "model.safetensors")
    x = np.random.default_rng(2).standard_normal((2, 12))
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert [repr(layer) for layer in loaded.layers] == [repr(layer) for layer in layers]
