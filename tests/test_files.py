"""Model files: the same model again on any backend, and never half a file."""

import json
import os

import numpy as np
import pytest
import safetensors.numpy
from array_api_compat import array_namespace

import npnn
from npnn import files


class Doubling(npnn.Layer):
    """A layer that this package does not know: a factor, trained, and a count, carried along."""

    parameter_names = ("factor",)
    state_names = ("count",)

    def __init__(self, start=2.0, *, tags=("a", "b")):
        self.start, self.tags = start, tags

    def build(self, shape_in, rng=None):
        self.shape_in = self.shape_out = self.accept(shape_in)
        self.factor = np.full(self.shape_in, self.start, dtype=self.dtype)
        self.count = np.zeros((), dtype=self.dtype)
        return self.shape_out

    def forward(self, x):
        self.x = x
        if self.training:
            self.count = self.count + 1.0
        return self.factor * x

    def backward(self, grad_y):
        self.grad_factor = array_namespace(grad_y).sum(grad_y * self.x, axis=0)
        return grad_y * self.factor


def on(backend: str, **options) -> npnn.Sequential:
    layers = [npnn.Dense(3, 5), npnn.LeakyReLU(slope=0.2), npnn.Dense(None, 2), npnn.Softmax()]
    model = npnn.Sequential(layers, backend=backend, seed=1, **options)
    model.norm = npnn.Normalization([1.0, 2.0, 3.0], 2.0)
    model.class_names = ["no", "yes"]
    model.details = {"notes": ["any", {"plain": 1.5}, None]}
    model.chain = npnn.CrossEntropyLoss(2)
    return model


@pytest.fixture
def saved(tmp_path):
    model = on("numpy")
    path = tmp_path / "model.safetensors"
    model.save(path)
    return model, path


X = np.random.default_rng(5).normal(size=(7, 3))


def test_a_model_saved_on_one_backend_answers_the_same_on_each_other_one(
    backend_name, working_backends, tmp_path
):
    model, path = on(backend_name), tmp_path / "model.safetensors"
    model.save(path)
    y = model.backend.to_numpy(model.predict(X))
    for there in working_backends:
        again = npnn.load(path, backend=there)
        assert again.backend.name == there
        np.testing.assert_allclose(again.backend.to_numpy(again.predict(X)), y, atol=1e-6)


def test_everything_comes_back(saved):
    model, path = saved
    again = npnn.load(path)
    assert repr(again) == repr(model)
    assert (again.norm, again.class_names, again.details) == (
        model.norm,
        model.class_names,
        model.details,
    )
    assert repr(again.chain) == repr(model.chain)
    assert (again.dtype, again.shape_in, again.shape_out) == ("float32", (3,), (2,))
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(again.parameters()[name], array)


def test_double_precision_stays_and_can_be_changed(tmp_path):
    model, path = on("numpy", dtype="float64"), tmp_path / "model.safetensors"
    model.save(path)
    again = npnn.load(path)
    assert again.dtype == "float64"
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert npnn.load(path, dtype="float32").predict(X).dtype == np.float32


def test_a_loaded_model_can_be_trained_on(saved):
    _, path = saved
    model = npnn.load(path)
    t = np.arange(7) % 2
    before = model.evaluate(X, t)["loss"]
    model.fit(X, t, epochs=50, optimizer=npnn.Adam(0.05), seed=0)
    assert model.evaluate(X, t)["loss"] < before


def test_a_layer_of_ones_own_comes_back_with_arguments_parameters_and_state(tmp_path):
    path = tmp_path / "model.safetensors"
    model = npnn.Sequential([Doubling(3.0, tags=("x",)), npnn.Dense(None, 1)], seed=0)
    x = np.ones((4, 2))
    model.fit(x, np.zeros((4, 1)), epochs=3, batch_size=2)
    model.save(path)
    again = npnn.load(path)
    layer = again.layers[0]
    assert (layer.start, layer.tags) == (3.0, ("x",))
    assert float(layer.count) == 6.0
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_a_layer_that_nobody_defined_is_named(saved, monkeypatch):
    _, path = saved
    monkeypatch.delitem(npnn.Layer.registry, "LeakyReLU")
    with pytest.raises(ValueError, match="unknown layer type 'LeakyReLU': import the module"):
        npnn.load(path)


def test_a_model_of_unknown_shape_cannot_be_saved(tmp_path):
    model = npnn.Sequential([npnn.Dense(None, 2)])
    with pytest.raises(ValueError, match="input shape is not known"):
        model.save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


# Files that are no model -------------------------------------------------------------------------


def test_a_file_cut_off_anywhere_is_refused(saved, tmp_path):
    _, path = saved
    data = path.read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in range(0, len(data), 10):
        cut.write_bytes(data[:length])
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            npnn.load(cut)


def test_a_file_with_a_tail_is_refused(saved, tmp_path):
    _, path = saved
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        npnn.load(path)


@pytest.mark.parametrize("data", [b"", b"hello, world", b"\0" * 100, os.urandom(500)])
def test_any_other_file_is_refused(data, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=str(path)):
        npnn.load(path)


def test_no_file_and_a_folder_are_said(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no model file {path}"):
            npnn.load(path)


def rewritten(path, change_metadata=None, change_tensors=None):
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = safetensors.numpy.load_file(path)
    if change_metadata:
        metadata.update(change_metadata)
    if change_tensors:
        change_tensors(tensors)
    path.write_bytes(safetensors.numpy.save(tensors, metadata))


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(safetensors.numpy.save({"w": np.zeros(3)}))
    with pytest.raises(ValueError, match="but not a model of npnn"):
        npnn.load(path)


def test_a_file_of_a_later_version_asks_for_an_upgrade(saved):
    _, path = saved
    rewritten(path, {"format_version": str(files.FORMAT + 1), "npnn_version": "9.1"})
    with pytest.raises(ValueError, match=r"written by npnn 9\.1, in file format 2.*upgrade npnn"):
        npnn.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("2.w"), "'2.w' is missing"),
        (lambda tensors: tensors.update({"9.w": np.zeros(2)}), "'9.w' is not in the model"),
        (lambda tensors: tensors.update({"0.b": np.zeros(4)}), r"'0.b' has shape \(4,\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named_with_the_file(saved, change, message):
    _, path = saved
    rewritten(path, change_tensors=change)
    with pytest.raises(ValueError, match=f"{path}: .*{message}"):
        npnn.load(path)


def test_the_metadata_are_json_and_nothing_is_pickled(saved):
    _, path = saved
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["model"])["class_names"] == ["no", "yes"]
    assert b"pickle" not in path.read_bytes()
