"""Models as files that need NumPy alone: in a process without npnn they compute the same."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

import npnn
import npnn.numpy_file
import npnn.onnx
from npnn.cli import main
from npnn.layers import Dense, Layer, ReLU, Softmax

MODELS = int(os.environ.get("NPNN_ONNX", "30"))
RUN = """
import glob, importlib.util, sys
sys.modules["npnn"] = None  # which an import would find missing
import numpy as np

for path in sorted(glob.glob("model_*.py")):
    spec = importlib.util.spec_from_file_location(path[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    x = np.load(path[:-3] + ".npy")
    y = module.predict(x)
    assert y.dtype == x.dtype, (path, y.dtype)
    assert np.array_equal(module.predict(x.tolist()), y)
    np.save(path[:-3] + "_y.npy", y)
assert sys.modules["npnn"] is None
"""


def run(folder):
    subprocess.run([sys.executable, "-c", RUN], cwd=folder, check=True)


@pytest.mark.filterwarnings("ignore:layer .* leave one of the two out:UserWarning")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_random_models_compute_the_same_where_npnn_is_not(dtype, tolerance, tmp_path):
    random_model = pytest.importorskip("test_onnx").random_model
    expected, seen = {}, set()
    for seed in range(MODELS):
        model, x = random_model(np.random.default_rng(seed), dtype)
        seen.update(type(layer) for layer in every(model))
        npnn.numpy_file.export(model, tmp_path / f"model_{seed}.py")
        np.save(tmp_path / f"model_{seed}.npy", x)
        expected[seed] = np.asarray(model.predict(x))
    run(tmp_path)
    for seed, y in expected.items():
        scale = max(1.0, float(np.abs(y).max()))
        actual = np.load(tmp_path / f"model_{seed}_y.npy")
        np.testing.assert_allclose(actual, y, rtol=0, atol=tolerance * scale)
    assert len(seen) > 20


def every(layer):
    yield layer
    for _, child in layer.children():
        yield from every(child)


def test_each_built_in_layer_is_written():
    known = npnn.numpy_file.written.registry
    for kind in Layer.registry.values():
        if getattr(npnn.layers, kind.__name__, None) is kind is not npnn.layers.Activation:
            assert any(base in known for base in kind.__mro__[:-1] if base is not Layer), kind


def test_a_trained_regression_answers_in_its_own_units(tmp_path):
    rng = np.random.default_rng(0)
    x = 1e6 + rng.normal(size=(80, 3))
    t = 1e5 * x[:, :1] - 1e11
    model = npnn.Sequential([Dense(3, 8), ReLU(), Dense(8, 1)], seed=0)
    model.norm = npnn.Normalization.standard(x)
    model.fit(x, t, epochs=3)
    npnn.numpy_file.export(model, tmp_path / "model_0.py")
    names = {}
    exec((tmp_path / "model_0.py").read_text(encoding="utf-8"), names)
    np.testing.assert_allclose(names["predict"](x), np.asarray(model.predict(x)), rtol=1e-5)


def test_classes_go_along_and_the_file_can_be_read(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(30, 2))
    model = npnn.Sequential([Dense(2, 3), Softmax()], seed=0)
    model.fit(x, [["a", 'b"', "c\n"][n % 3] for n in range(30)], epochs=1)
    model.save(tmp_path / "m.safetensors")
    file = tmp_path / "model.py"
    assert main(["export", "--numpy", str(tmp_path / "m.safetensors"), str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert "    x = softmax(x)\n" in text
    assert "def sigmoid" not in text
    assert max(map(len, text.splitlines())) <= 110
    names = {}
    exec(text, names)
    assert names["CLASSES"] == ["a", 'b"', "c\n"]
    np.testing.assert_allclose(names["predict"](x), np.asarray(model.predict(x)), atol=1e-6)


def test_what_cannot_be_written_is_said_and_the_old_file_stays(tmp_path):
    path = tmp_path / "model.py"
    path.write_text("old")
    with pytest.raises(ValueError, match="the input shape is not known"):
        npnn.numpy_file.export(npnn.Sequential([Dense(None, 2)]), path)
    with pytest.raises(ValueError, match="several inputs"):
        npnn.numpy_file.export(several(), path)
    assert path.read_text() == "old"
    # What a class of one's own computes is only its author's knowledge.
    for layer in (Plus(3), Doubled()):
        model = npnn.Sequential([Dense(3, 3), layer])
        with pytest.raises(TypeError, match="no lines of NumPy are known for"):
            npnn.numpy_file.export(model, io.BytesIO())
        with pytest.raises(TypeError, match="no operators of ONNX are known for"):
            npnn.onnx.exported(model)


class Doubled(ReLU):
    def forward(self, x):
        return 2.0 * super().forward(x)


class Plus(Layer):
    def __init__(self, shape_in=None):
        self.shape_in = self.shape_out = (shape_in,)

    def forward(self, x):
        return x + 1.0

    def backward(self, grad_y):
        return grad_y


@pytest.mark.parametrize("module", [npnn.onnx, npnn.numpy_file])
def test_wrong_arguments_are_said(module):
    model = npnn.Sequential([Dense(3, 3)])
    for other in (Dense(3, 3), [Dense(3, 3)], None):
        with pytest.raises(TypeError, match="model must be a Sequential such as"):
            module.exported(other)
    with pytest.raises(TypeError, match="name must be a string, not 3"):
        module.exported(model, name=3)
    with pytest.raises(ValueError, match="name must not be empty"):
        module.exported(model, name="")
    with pytest.raises(ValueError, match="inputs must be one of columns, features, not 'x'"):
        module.exported(model, inputs="x")


def several():
    model = npnn.Sequential([Dense(2, 2)])
    vars(model)["shape_in"] = ((2,), (3,))
    return model


TABLE = "size,colour,price\n" + "".join(
    f"{n},{'red' if n % 3 else 'blue'},{5000 + 70 * n}\n" for n in range(40)
)


def test_a_checkpoint_of_a_table_answers_in_the_units_of_its_target(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(TABLE)
    assert main(["train", "t.csv", "--target", "price", "--no-pictures", "--epochs", "40"]) == 0
    answers = []
    for name in ("model", "checkpoint"):
        path = f"npnn-output/{name}.safetensors"
        assert main(["export", "--numpy", path, f"{name}.py"]) == 0
        names = {}
        exec((tmp_path / f"{name}.py").read_text(encoding="utf-8"), names)
        assert names["INPUTS"] == ["size", "colour"]
        answers.append(names["predict"]([[3, "blue"], [20, "red"]]))
        assert main(["export", "--numpy", "--inputs", "features", path, f"{name}.py"]) == 0
        exec((tmp_path / f"{name}.py").read_text(encoding="utf-8"), names)
        assert names["INPUTS"] == ["size", "colour=blue", "colour=red"]
        answers[-1] = names["predict"]([[3, 1, 0], [20, 0, 1]])
    np.testing.assert_allclose(*answers, rtol=1e-4)
    assert np.abs(answers[0][:, 0] - [5210, 6400]).max() < 2000
