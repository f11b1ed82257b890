"""Convolution and its transpose, against finite differences, PyTorch and each other."""

import itertools

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
from npnn import backends
from npnn.layers import Conv2D, UpConv2D

F = torch.nn.functional

# Arguments that together use everything there is, and an image that each fits.
ARGUMENTS = [
    ({"kernel_size": (2, 3), "stride": (2, 1), "groups": 2, "padding": 1}, (4, 3, 4)),
    ({"kernel_size": 3, "stride": 2, "padding": "same"}, (5, 4, 2)),
    ({}, (4, 5, 2)),
    ({"kernel_size": 1, "stride": 2, "padding": "same"}, (5, 4, 2)),
    ({"kernel_size": 2, "stride": 2}, (4, 4, 2)),
    ({"kernel_size": (4, 2), "groups": 4, "padding": "same"}, (4, 3, 4)),
]
KINDS = pytest.mark.parametrize("kind", [Conv2D, UpConv2D], ids=["Conv2D", "UpConv2D"])


def arguments_on(backend_name):
    """Return what a backend is tested with: JAX compiles each operation anew for each shape."""
    return ARGUMENTS[:1] if backend_name == "jax" else ARGUMENTS


def to_torch(array):
    return torch.tensor(array, requires_grad=True)


@KINDS
@pytest.mark.later("jax")
def test_the_gradients_are_those_of_central_differences(kind, backend):
    for options, shape in arguments_on(backend.name)[:3]:
        layer = built(kind(None, 4, **options), shape, backend)
        x = np.random.default_rng(0).standard_normal((2, *shape))
        assert_gradients_are_those_of_central_differences(layer, x, backend)


def torch_conv2d(x, w, b, layer):
    rows, columns = layer.window.margins
    padded = F.pad(x, (*columns, *rows))
    return F.conv2d(padded, w, b, stride=layer.strides, groups=layer.groups)


def torch_upconv2d(x, w, b, layer):
    rows, columns = layer.window.margins
    y = F.conv_transpose2d(x, w, None, stride=layer.strides, groups=layer.groups)
    # A kernel smaller than its stride leaves pixels at the end that nothing is painted into.
    height, width = layer.window.padded
    y = F.pad(y, (0, width - y.shape[3], 0, height - y.shape[2]))
    y = y[:, :, rows[0] : height - rows[1], columns[0] : width - columns[1]]
    return y + b[:, None, None]


@pytest.mark.parametrize(("kind", "in_torch"), [(Conv2D, torch_conv2d), (UpConv2D, torch_upconv2d)])
def test_values_and_gradients_are_those_of_torch(kind, in_torch, backend):
    for options, shape in arguments_on(backend.name):
        layer = built(kind(None, 4, **options), shape, backend)
        rng = np.random.default_rng(1)
        x = rng.standard_normal((3, *shape))
        grad_y = rng.standard_normal((3, *layer.shape_out))
        y, grad_x, of_parameters = gradients(layer, x, grad_y, backend)

        w, b = (backend.to_numpy(getattr(layer, name)) for name in "wb")
        tensors = [to_torch(array) for array in (images_first(x), images_first(w), b)]
        expected = in_torch(*tensors, layer)
        expected.backward(torch.tensor(images_first(grad_y)))
        pairs = [
            (y, images_last(expected.detach())),
            (grad_x, images_last(tensors[0].grad)),
            (of_parameters[".w"], images_last(tensors[1].grad)),
            (of_parameters[".b"], tensors[2].grad.numpy()),
        ]
        for ours, theirs in pairs:
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, (5, 2)])
def test_padding_same_is_that_of_torch(kernel):
    numpy = backends.get("numpy", "float64")
    layer = built(Conv2D(None, 2, kernel, padding="same"), (6, 5, 3), numpy)
    x = np.random.default_rng(2).standard_normal((2, 6, 5, 3))
    expected = F.conv2d(
        torch.tensor(images_first(x)),
        torch.tensor(images_first(layer.w)),
        torch.tensor(layer.b),
        padding="same",
    )
    np.testing.assert_allclose(layer.forward(x), images_last(expected), rtol=0, atol=1e-12)


def test_the_transposed_convolution_is_the_transpose_of_the_convolution():
    numpy, rng = backends.get("numpy", "float64"), np.random.default_rng(3)
    for options, shape in ARGUMENTS:
        up = built(UpConv2D(None, 4, **options), shape, numpy)
        conv = built(Conv2D(None, shape[-1], **options), up.shape_out, numpy)
        assert conv.shape_out == up.shape_in
        conv.w, conv.b, up.b = up.w, 0.0 * conv.b, 0.0 * up.b
        x, y = rng.standard_normal((2, *shape)), rng.standard_normal((2, *up.shape_out))
        assert np.sum(conv.forward(y) * x) == pytest.approx(np.sum(y * up.forward(x)))


@KINDS
def test_a_captured_step_computes_what_the_plain_one_does(kind, captured_on):
    for options, shape in arguments_on(captured_on)[:4:3]:
        assert_captured_is_eager(lambda: [kind(None, 4, **options)], shape, captured_on)  # noqa: B023


def test_a_convolution_sees_what_is_under_its_kernel_and_nothing_else():
    layer = built(Conv2D(None, 1, 2), (3, 4, 1), backends.get("numpy", "float64"))
    for row, column in itertools.product(range(3), range(4)):
        x = np.zeros((1, 3, 4, 1))
        x[0, row, column, 0] = 1.0
        touched = layer.forward(x)[0, :, :, 0] != layer.b[0]
        seen = {(row - i, column - j) for i in (0, 1) for j in (0, 1)}
        assert {tuple(place) for place in np.argwhere(touched)} == {
            (h, w) for h, w in seen if 0 <= h < 2 and 0 <= w < 3
        }


def test_parameters_shapes_and_operations_are_those_of_the_textbook():
    conv = Conv2D((28, 28, 1), 6, 5)
    assert conv.build((28, 28, 1), np.random.default_rng(0)) == (24, 24, 6)
    assert (conv.w.shape, conv.b.shape) == ((6, 5, 5, 1), (6,))
    assert conv.flops == 2 * 24 * 24 * 6 * 25
    np.testing.assert_array_equal(conv.b, 0.0)
    depthwise = Conv2D(None, 8, groups=4)
    depthwise.build((5, 5, 4), np.random.default_rng(0))
    assert depthwise.w.shape == (8, 3, 3, 1)
    up = UpConv2D((4, 4, 6), 2, 2, 2)
    assert up.build((4, 4, 6), np.random.default_rng(0)) == (8, 8, 2)
    assert up.w.shape == (6, 2, 2, 2)


def test_weights_are_drawn_as_the_number_of_places_suits():
    conv = Conv2D(None, 64, 3, initializer="HeNormal")
    conv.build((8, 8, 32), np.random.default_rng(0))
    assert conv.w.var() == pytest.approx(2.0 / (9 * 32), rel=0.05)
    following = npnn.Sequential([Conv2D((8, 8, 1), 4), npnn.ReLU()], seed=0)
    asked = npnn.Sequential([Conv2D((8, 8, 1), 4, initializer="HeNormal"), npnn.ReLU()], seed=0)
    np.testing.assert_array_equal(following.parameters()["0.w"], asked.parameters()["0.w"])


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: Conv2D(None, 2, 5), (4, 8, 1), r"kernel of 5 rows .* input of 4 rows.* most 4"),
        (lambda: Conv2D(None, 2, 3, 2), (8, 7, 1), r"rows 7 .*would be dropped; 7 or 9 rows fit"),
        (
            lambda: Conv2D(None, 2, 2, 4, padding=1),
            (4, 5, 1),
            r"columns 6 .*dropped; 4 or 8 columns fit, or padding='same'",
        ),
        (lambda: Conv2D(None, 4, groups=3), (5, 5, 6), "4 output channels .* 3 groups; .* 1 or 2$"),
        (lambda: Conv2D(None, 6, groups=3), (5, 5, 4), "4 input channels .* 3 groups; .* 1 or 2$"),
        (lambda: Conv2D(None, (3, 4, 2)), (5, 5, 1), r"\(3, 3, 2\), but shape_out says \(3, 4, 2"),
        (lambda: UpConv2D(None, (4, 4, 2)), (3, 3, 1), r"\(5, 5, 2\), but shape_out says"),
        (lambda: Conv2D(None, 2), (25,), r"images .* not \(25,\): .*Shape\(\(25,\), \(5, 5, 1\)\)"),
        (lambda: UpConv2D(None, 2, 3, padding=2), (1, 1, 1), "takes away all 3 rows: at most 1"),
        (lambda: Conv2D(None, 2, 0), (5, 5, 1), "kernel_size must be at least 1, not 0"),
        (lambda: Conv2D(None, 2, stride=(1, 0)), (5, 5, 1), "stride must be at least 1"),
        (lambda: Conv2D(None, 2, padding="full"), (5, 5, 1), "padding must be one of valid, same"),
        (lambda: Conv2D(None, 2, padding=-1), (5, 5, 1), "padding must be"),
        (lambda: Conv2D(None, 2, groups=0), (5, 5, 1), "groups must be at least 1"),
        (lambda: Conv2D(None, (2, 2)), (5, 5, 1), "number of channels or"),
    ],
)
def test_what_does_not_fit_is_refused_with_numbers_that_would(make, shape, message):
    with pytest.raises(ValueError, match=message):
        make().build(shape, np.random.default_rng(0))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"shape_out": 2, "kernel_size": 2.5}, {"shape_out": 2, "padding": None}],
)
@KINDS
def test_what_is_missing_or_of_the_wrong_type_is_refused(kind, arguments):
    with pytest.raises(TypeError, match=r"shape_out|kernel_size|padding"):
        kind(**arguments)


@KINDS
def test_a_convolution_survives_its_file(kind, tmp_path):
    layer = kind((4, 4, 2), 4, (2, 1), groups=2, padding="same", initializer="HeNormal")
    model = npnn.Sequential([layer, npnn.Tanh()], seed=0)
    model.save(tmp_path / "model.safetensors")
    loaded = npnn.load(tmp_path / "model.safetensors")
    x = np.random.default_rng(5).standard_normal((2, 4, 4, 2))
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert repr(loaded.layers[0]) == repr(layer)
