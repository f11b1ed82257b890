"""Models as ONNX files: what ONNX Runtime computes of them is what they compute."""

import io
import os
import sys

import numpy as np
import pytest

import npnn
import npnn.onnx
from npnn.cli import main
from npnn.layers import (
    AvgPool,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Inception,
    Latent,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool,
    Pad2D,
    Parallel,
    ReLU,
    Residual,
    Sample,
    Shape,
    Sigmoid,
    Softmax,
    Softplus,
    Swish,
    Tanh,
    UpConv2D,
)

runtime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

MODELS = int(os.environ.get("NPNN_ONNX", "30"))  # 300 in a campaign
ACTIVATIONS = [
    Linear, ReLU, lambda: LeakyReLU(slope=0.2), Tanh, Sigmoid, Swish, Softplus, Softmax,
]  # fmt: skip
OF_IMAGES = [
    lambda: Conv2D(None, 4, 3, padding="same"),
    lambda: Conv2D(None, 6, (3, 2), (2, 1), padding="same", bias=False),
    lambda: Conv2D(None, 4, 3, groups=2, padding=1),
    lambda: UpConv2D(None, 4, 3, 2),
    lambda: UpConv2D(None, 2, 2, 3, padding="same"),
    lambda: UpConv2D(None, 4, 3, 1, 2, padding=1),
    lambda: MaxPool(kernel_size=3, stride=1),
    lambda: AvgPool(kernel_size=2, stride=1),
    lambda: Pad2D(None, (1, 0), 2, 0.5),
    lambda: BatchNorm(),
    lambda: LayerNorm(),
    lambda: Residual([Conv2D(None, 4, 3, padding="same"), ReLU()]),
    lambda: Parallel([Conv2D(None, 2, 1), [ReLU(), Conv2D(None, 2, 3, padding="same")]]),
    lambda: Inception(None, 2, 2, 2, 2, 2, 2),
]
OF_ROWS = [
    lambda: Dense(None, 8),
    lambda: Dense(None, (2, 4)),
    lambda: Dense(None, 6, bias=False),
    lambda: Dropout(0.3),
    lambda: BatchNorm(),
    lambda: LayerNorm(),
    lambda: Residual([Dense(None, 4), Tanh(), Dense(None, 8)]),
    lambda: Parallel([Dense(None, 3), [Dense(None, 4), Sigmoid()]]),
    lambda: npnn.Sequential([Dense(None, 8), ReLU()]),
]


def run(model, x, **options):
    """Return what ONNX Runtime makes of a model for inputs."""
    file = io.BytesIO()
    npnn.onnx.export(model, file, **options)
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (y,) = session.run(["y"], {"x": x})
    return y


def check(model, x, tolerance=1e-5):
    expected = np.asarray(model.backend.to_numpy(model.predict(x)))
    for rows in (x, x[:1]):
        actual = run(model, rows.astype(np.float32))
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(actual, expected[: len(rows)], atol=tolerance * scale)


def random_model(rng, dtype="float32"):
    """Return a model of layers that fit, and inputs for it; with what training leaves in it."""
    images = rng.random() < 0.6
    shape = (8, 8, 4) if images else (8,)
    layers, kinds = [], OF_IMAGES if images else OF_ROWS
    while len(layers) < 5:
        kind = [kinds, ACTIVATIONS][int(rng.random() < 0.3)]
        layer = kind[rng.integers(len(kind))]()
        try:
            trial = npnn.Sequential([*layers, layer], seed=0)
            trial.build_at(shape)
        except ValueError:
            continue
        layers = [*trial.layers]
    end = [[Flatten(), Dense(None, 3), Softmax()], [GlobalAvgPool()], [Latent(None, 4), Sample()]]
    layers += end[rng.integers(3)] if len(layers[-1].shape_out) == 3 else end[2 * rng.integers(2)]
    model = npnn.Sequential(layers, seed=int(rng.integers(1 << 30)), dtype=dtype)
    model.build_at(shape)
    model.norm = npnn.Normalization(rng.normal(size=shape[-1]), rng.uniform(0.5, 2, shape[-1]))
    for name, array in model.parameters().items():
        new = np.asarray(array) + rng.normal(0, 0.1, array.shape)
        model.set_arrays({**dict(model.runner.arrays()), name: new.astype(dtype)})
    x = rng.normal(size=(6, *shape)).astype(dtype)
    model.chain = npnn.RMSLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    optimizer.step(x, np.zeros((6, *model.shape_out), dtype))
    return model, x


@pytest.mark.filterwarnings("ignore:layer .* leave one of the two out:UserWarning")
@pytest.mark.parametrize("seed", range(MODELS))
def test_a_random_model_computes_the_same_elsewhere(seed):
    check(*random_model(np.random.default_rng(seed)))


@pytest.mark.parametrize("backend", ["numpy", "numba", "jax", "torch"])
@pytest.mark.later("numba", "jax", "torch")
def test_a_trained_classifier_takes_its_norm_and_its_names_along(backend, tmp_path):
    pytest.importorskip(backend)
    data = npnn.datasets.Digits()
    model = npnn.Sequential([Dense(64, 16), ReLU(), Dense(16, 10), Softmax()], backend=backend)
    model.fit(data, epochs=2)
    x = data.x_validation_data[:50]
    check(model, np.asarray(x, np.float32))
    npnn.onnx.export(model, tmp_path / "digits.onnx", name="digits")
    proto = onnx.load(tmp_path / "digits.onnx")
    names = {entry.key: entry.value.split("\n") for entry in proto.metadata_props}
    assert names["class_names"] == [str(digit) for digit in range(10)]
    assert proto.graph.name == "digits"


def test_a_regression_answers_in_its_own_units():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3)).astype(np.float32)
    t = 1e6 + 1e5 * x.sum(axis=1, keepdims=True)
    model = npnn.Sequential([Dense(3, 8), Tanh(), Dense(8, 1)], seed=0)
    model.fit(x, t, epochs=20)
    np.testing.assert_allclose(run(model, x), model.predict(x), rtol=1e-5)


def test_an_autoencoder_of_images_keeps_their_shape():
    layers = [Conv2D((8, 8, 1), 3, 3, 2, padding="same"), Flatten(), Dense(None, 12)]
    layers += [Shape(None, (2, 2, 3)), UpConv2D(None, 1, 4, 4), Sigmoid()]
    model = npnn.Sequential(layers, seed=0)
    check(model, np.random.default_rng(0).random((5, 8, 8, 1), np.float32))


def test_float64_is_computed_in_where_it_is_asked_for():
    model = npnn.Sequential([Dense(3, 2), Tanh()], seed=0, dtype="float64")
    x = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(run(model, x, dtype="float64"), model.predict(x), rtol=1e-12)


@pytest.mark.parametrize("layer", [LeakyReLU(slope=0.3), BatchNorm(), LayerNorm(), Swish()])
def test_no_number_has_fewer_digits_than_float64(layer):
    model = npnn.Sequential([Dense(3, 4), layer, Dense(4, 2), Softmax()], seed=0, dtype="float64")
    x = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_allclose(run(model, x, dtype="float64"), model.predict(x), atol=1e-12)


@pytest.mark.parametrize("dtype", ["int8", "float16", "foo"])
def test_a_dtype_that_nothing_is_computed_in_is_refused(dtype):
    with pytest.raises(ValueError, match="dtype must be one of float32, float64"):
        npnn.onnx.exported(npnn.Sequential([Dense(3, 2)]), dtype=dtype)


def test_without_the_package_the_command_that_installs_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(npnn.MissingError, match=r"pip install 'npnn-xp\[onnx\]'"):
        npnn.onnx.exported(npnn.Sequential([Dense(3, 2)]))


class Squared(Layer):
    """A layer of one's own."""

    def forward(self, x):
        return x * x


def test_a_layer_of_ones_own_is_written_by_a_function_of_ones_own():
    model = npnn.Sequential([Dense(3, 2), Squared()], seed=0)
    with pytest.raises(TypeError, match=r"Squared.* by @npnn\.onnx\.written\.register"):
        npnn.onnx.exported(model)
    npnn.onnx.written.register(Squared, lambda layer, graph, x: graph.add("Mul", [x, x]))
    check(model, np.ones((4, 3), np.float32))


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(ValueError, match="the input shape is not known"):
        npnn.onnx.export(npnn.Sequential([Dense(None, 2)]), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_file_that_computes_the_same(tmp_path, capsys):
    model = npnn.Sequential([Dense(3, 4), ReLU(), Dense(4, 2), Softmax()], seed=0)
    model.class_names = ["cat", "dog"]
    model.save(tmp_path / "model.safetensors")
    arguments = [str(tmp_path / "model.safetensors"), str(tmp_path / "model.onnx")]
    assert main(["export", *arguments]) == 0
    assert "classes 'cat', 'dog'" in capsys.readouterr().out
    session = runtime.InferenceSession(arguments[1], providers=["CPUExecutionProvider"])
    x = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(session.run(["y"], {"x": x})[0], model.predict(x), atol=1e-6)
    assert main(["export", str(tmp_path / "no.safetensors"), arguments[1]]) == 2
