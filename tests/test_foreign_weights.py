"""Weights of PyTorch and Keras: a model that has them computes what theirs does."""

import os
import sys

import numpy as np
import pytest
from keras_files import tree_of, write_keras

import npnn
import npnn.keras
import npnn.torch
from npnn.layers import (
    AvgPool,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    MaxPool,
    Parallel,
    ReLU,
    Residual,
    Softmax,
    Tanh,
    UpConv2D,
)  # fmt: skip

torch = pytest.importorskip("torch")
nn = torch.nn
F = torch.nn.functional


class Branched(nn.Module):
    """Two branches of a flattened image, joined, and one that is added to what comes in."""

    def __init__(self):
        super().__init__()
        self.c, self.a, self.b = nn.Conv2d(2, 3, 3), nn.Linear(72, 4), nn.Linear(72, 5)
        self.inner, self.end = nn.Linear(9, 9), nn.Linear(9, 2)

    def forward(self, x):
        x = self.c(x).flatten(1)
        x = torch.cat([self.a(x), torch.tanh(self.b(x))], 1)
        return self.end(x + self.inner(x))


def of_torch(kind):
    """Return a module whose running statistics are not those it began with, and its model."""
    torch.manual_seed(0)
    if kind == "mlp":
        module = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5), nn.LayerNorm(5),
            nn.Dropout(0.5), nn.Linear(5, 3, bias=False),
        )  # fmt: skip
        layers = [Dense(6, 8), BatchNorm(), ReLU(), Dense(5), LayerNorm(), Dropout(0.5)]
        layers += [Dense(3, bias=False)]
        shape = (6,)
    elif kind == "lenet":
        module = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5),
            nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Tanh(),
            nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10), nn.Softmax(1),
        )  # fmt: skip
        layers = [Conv2D((28, 28, 1), 6, 5, padding=2), Tanh(), AvgPool(kernel_size=2)]
        layers += [Conv2D(16, 5), Tanh(), AvgPool(kernel_size=2), Flatten(), Dense(120), Tanh()]
        layers += [Dense(84), Tanh(), Dense(10), Softmax()]
        shape = (1, 28, 28)
    elif kind == "branches":
        module, shape = Branched(), (2, 8, 6)
        layers = [Conv2D((8, 6, 2), 3, 3), Flatten(), Parallel([Dense(4), [Dense(5), Tanh()]])]
        layers += [Residual([Dense(9)]), Dense(2)]
    else:
        module = nn.Sequential(
            nn.Conv2d(2, 6, 5, padding=2), nn.BatchNorm2d(6), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(6, 4, 3, groups=2), nn.Tanh(), nn.ConvTranspose2d(4, 3, 2, 2), nn.Flatten(),
            nn.BatchNorm1d(3 * 8 * 4), nn.Linear(3 * 8 * 4, 7), nn.Tanh(), nn.Linear(7, 4),
        )  # fmt: skip
        layers = [Conv2D((12, 8, 2), 6, 5, padding=2), BatchNorm(), Tanh(), AvgPool(kernel_size=2)]
        layers += [Conv2D(4, 3, groups=2), Tanh(), UpConv2D(3, 2, stride=2), Flatten()]
        layers += [BatchNorm(), Dense(7), Tanh(), Dense(4)]
        shape = (2, 12, 8)
    module = module.double()
    for _ in range(3):
        module(torch.randn(16, *shape).double() * 2 + 1)
    module.eval()
    x = torch.randn(5, *shape).double()
    return module, npnn.Sequential(layers, seed=1, dtype="float64"), x


def check(module, model, x, tolerance=1e-12):
    given = x.numpy() if x.ndim == 2 else np.moveaxis(x.numpy(), 1, -1)
    expected = module(x).detach().numpy()
    np.testing.assert_allclose(model.predict(given), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", ["mlp", "lenet", "branches", "all"])
def test_a_state_dict_goes_in_and_comes_back(kind):
    module, model, x = of_torch(kind)
    state = module.state_dict()
    npnn.torch.load_state_dict(model, state)
    check(module, model, x)
    back = npnn.torch.state_dict(model)
    assert [array.shape for array in back.values()] == [tensor.shape for tensor in state.values()]
    for array, (name, tensor) in zip(back.values(), state.items(), strict=True):
        if not name.endswith("tracked"):
            np.testing.assert_array_equal(array, tensor.numpy())


@pytest.mark.parametrize("kind", ["mlp", "lenet"])
def test_what_was_trained_here_computes_the_same_in_torch(kind):
    module, model, x = of_torch(kind)
    given = x.numpy() if x.ndim == 2 else np.moveaxis(x.numpy(), 1, -1)
    model.fit(given, model.predict(given), epochs=2, loss=npnn.RMSLoss())
    tensors = {name: torch.from_numpy(a) for name, a in npnn.torch.state_dict(model).items()}
    assert tensors.keys() == module.state_dict().keys()
    module.load_state_dict(tensors)
    check(module, model, x)


@pytest.mark.parametrize("kind", ["mlp", "lenet"])
def test_float32_agrees_to_its_digits(kind):
    module, model, x = of_torch(kind)
    module, x = module.float(), x.float()
    model = npnn.Sequential(model.layers, seed=1)
    npnn.torch.load_state_dict(model, module.state_dict())
    check(module, model, x, 1e-6)


def test_files_of_a_state_dict_are_read(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    module, model, x = of_torch("all")
    torch.save(module.state_dict(), tmp_path / "a.pt")
    save_file(module.state_dict(), tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        _, model, _ = of_torch("all")
        npnn.torch.load_state_dict(model, tmp_path / name)
        check(module, model, x)


def test_names_say_in_which_order_the_modules_stand(tmp_path):
    module, model, x = of_torch("branches")
    state = dict(sorted(module.state_dict().items()))  # as a file without an order has them
    names = ["c", "a", "b", "inner", "end"]
    with pytest.raises(ValueError, match=r"layer 0, Conv2D"):
        npnn.torch.load_state_dict(model, state)
    npnn.torch.load_state_dict(model, state, names=names)
    check(module, model, x)
    for wrong in (names[1:], [*names[1:], "d"]):
        with pytest.raises(ValueError, match=r"names must be a, b, c, end, inner, in some order"):
            npnn.torch.load_state_dict(model, state, names=wrong)
    with pytest.raises(ValueError, match="'a' is there twice"):
        npnn.torch.load_state_dict(model, state, names=["a", "a", "b", "c", "end"])
    with pytest.raises(TypeError, match="names must be a sequence of strings, not 'cab'"):
        npnn.torch.load_state_dict(model, state, names="cab")


def test_what_does_not_fit_is_said_and_changes_nothing():
    module, model, _ = of_torch("mlp")
    before = {name: np.array(array) for name, array in model.runner.arrays()}
    state = module.state_dict()
    wrong = {**state, "3.weight": torch.zeros(5, 9)}
    with pytest.raises(ValueError, match=r"layer 3, Dense.*3\.weight.*\(5, 9\).*\(5, 8\)"):
        npnn.torch.load_state_dict(model, wrong)
    with pytest.raises(ValueError, match=r"layer 0, Dense.*0\.bias is missing"):
        npnn.torch.load_state_dict(model, {n: a for n, a in state.items() if n != "0.bias"})
    with pytest.raises(ValueError, match="4 modules"):
        npnn.torch.load_state_dict(model, {n: a for n, a in state.items() if n[0] != "6"})
    for name, array in model.runner.arrays():
        np.testing.assert_array_equal(array, before[name])


def test_what_holds_no_tensors_is_said(tmp_path, monkeypatch):
    module, model, _ = of_torch("mlp")
    for state in (module, None, 3):
        with pytest.raises(TypeError, match=r"as module\.state_dict\(\) gives it"):
            npnn.torch.load_state_dict(model, state)
    with pytest.raises(ValueError, match="state holds 'model', which is no tensor"):
        npnn.torch.load_state_dict(model, {"model": module.state_dict(), "epoch": 3})
    (tmp_path / "a.pt").write_bytes(b"hello")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "a.safetensors").write_bytes(b"hello")
    torch.save(module, tmp_path / "whole.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for file in tmp_path.iterdir():
        with pytest.raises(npnn.FileError, match=file.name):
            npnn.torch.load_state_dict(model, file)
    with pytest.raises(FileNotFoundError):
        npnn.torch.load_state_dict(model, tmp_path / "no.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(npnn.MissingError, match=r"pip install 'npnn-xp\[torch\]'"):
        npnn.torch.load_state_dict(model, tmp_path / "a.pt")


# Keras -------------------------------------------------------------------------------------------


def of_keras(kind):
    """Return layers as Keras describes them, with their weights, and the model of the same."""
    if kind == "mlp":
        shapes = [
            ("Dense", {}, (6, 8), (8,)),
            ("BatchNormalization", {"epsilon": 1e-3}, *[(8,)] * 4),
        ]
        shapes += [("ReLU", {}), ("Dropout", {"rate": 0.5}), ("Dense", {}, (8, 3), (3,))]
        layers = [Dense(6, 8), BatchNorm(epsilon=1e-3), ReLU(), Dropout(0.5), Dense(3)]
        shape = (6,)
    elif kind == "lenet":
        shapes = [("Conv2D", {}, (5, 5, 1, 6), (6,)), ("Activation", {}), ("MaxPooling2D", {})]
        shapes += [("Conv2D", {}, (5, 5, 6, 16), (16,)), ("Activation", {}), ("MaxPooling2D", {})]
        shapes += [("Flatten", {}), ("Dense", {}, (400, 120), (120,)), ("Activation", {})]
        shapes += [
            ("Dense", {}, (120, 84), (84,)),
            ("Activation", {}),
            ("Dense", {}, (84, 10), (10,)),
        ]
        layers = [Conv2D((28, 28, 1), 6, 5, padding="same"), Tanh(), MaxPool(kernel_size=2)]
        layers += [Conv2D(16, 5), Tanh(), MaxPool(kernel_size=2), Flatten(), Dense(120), Tanh()]
        layers += [Dense(84), Tanh(), Dense(10)]
        shape = (28, 28, 1)
    else:
        shapes = [("Conv2DTranspose", {}, (2, 2, 3, 2), (3,)), ("Flatten", {})]
        shapes += [("LayerNormalization", {"epsilon": 1e-3}, (72,), (72,)), ("Dense", {}, (72, 4))]
        layers = [UpConv2D((3, 2, 2), 3, 2, stride=2), Flatten(), LayerNorm(epsilon=1e-3)]
        layers += [Dense(4, bias=False)]
        shape = (3, 2, 2)
    rng = np.random.default_rng(0)
    described = [
        (name, config, [rng.uniform(0.1, 0.6, s) - 0.35 * (len(s) > 1) for s in sizes])
        for name, config, *sizes in shapes
    ]
    model = npnn.Sequential(layers, seed=1, dtype="float64")
    return described, model, rng.normal(size=(5, *shape)), layers


def computed(described, layers, x):
    """Return what layers give for images with their channels last, by PyTorch's functions."""
    given = {
        "Conv2D": lambda x, w, b: image(F.conv2d, x, w, b, padding=2 * (x.shape[1] == 28)),
        "Conv2DTranspose": lambda x, w, b: image(F.conv_transpose2d, x, w, b, stride=2),
        "Dense": lambda x, w, b=0: x @ w + b,
        "BatchNormalization": lambda x, g, b, m, v: F.batch_norm(x, m, v, g, b, eps=1e-3),
        "LayerNormalization": lambda x, g, b: F.layer_norm(x, g.shape, g, b, eps=1e-3),
        "MaxPooling2D": lambda x: F.max_pool2d(x.movedim(-1, 1), 2).movedim(1, -1),
        "Flatten": lambda x: x.flatten(1),
        "ReLU": torch.relu,
        "Activation": torch.tanh,
        "Dropout": lambda x: x,
    }
    x = torch.from_numpy(x)
    for name, _, arrays in described:
        x = given[name](x, *map(torch.from_numpy, arrays))
    return x.numpy()


def image(function, x, w, b, **options):
    return function(x.movedim(-1, 1), w.permute(3, 2, 0, 1), b, **options).movedim(1, -1)


@pytest.mark.parametrize("file", ["a.keras", "a.weights.h5"])
@pytest.mark.parametrize("kind", ["mlp", "lenet", "others"])
def test_files_as_keras_lays_them_out_are_read(kind, file, tmp_path):
    described, model, x, layers = of_keras(kind)
    write_keras(tmp_path / file, described)
    npnn.keras.load_weights(model, tmp_path / file)
    expected = computed(described, layers, x)
    np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=1e-12)


def test_what_keras_wrote_for_other_layers_is_said_and_changes_nothing(tmp_path, monkeypatch):
    described, model, _, _ = of_keras("mlp")
    before = {name: np.array(array) for name, array in model.runner.arrays()}
    path = tmp_path / "a.keras"
    dense, norm = described[0], described[1]
    wrong = {
        r"layer 1, BatchNorm.*has epsilon=0\.01": [dense, (norm[0], {"epsilon": 0.01}, norm[2])],
        r"layer 0, Dense.*shape \(8, 6\), but needs \(6, 8\)": [(*dense[:2], [dense[2][0].T])],
        "the file has 3 layers Dense, the model 2": [*described, dense],
        "layer 4, Dense.*the file has 1 layers Dense": described[:2],
        "layer 1, BatchNorm.*has 3 arrays": [dense, (*norm[:2], norm[2][1:]), dense],
        "'embedding' is of a kind that is not known": [("Embedding", {}, [np.ones((3, 2))])],
    }
    for message, layers in wrong.items():
        if "8, 6" in message:
            layers = [(*dense[:2], [dense[2][0].T, dense[2][1]]), *described[1:]]
        write_keras(path, layers)
        with pytest.raises(ValueError, match=message):
            npnn.keras.load_weights(model, path)
    for name, array in model.runner.arrays():
        np.testing.assert_array_equal(array, before[name])
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(npnn.MissingError, match=r"pip install 'npnn-xp\[keras\]'"):
        npnn.keras.load_weights(model, path)


def test_damaged_files_of_keras_are_said(tmp_path):
    h5py = pytest.importorskip("h5py")
    described, model, _, _ = of_keras("mlp")
    write_keras(tmp_path / "whole.keras", described)
    whole = (tmp_path / "whole.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    assert whole.count(b'"BatchNormalization"') == 1
    changed = whole.replace(b'"BatchNormalization"', b'"BatchNormalisation"')
    (tmp_path / "changed.keras").write_bytes(changed)
    (tmp_path / "whole.keras").unlink()
    with h5py.File(tmp_path / "flat.weights.h5", "w") as file:
        file["layers"] = np.ones(3)
    with h5py.File(tmp_path / "flatter.weights.h5", "w") as file:
        file["layers/dense"] = np.ones(3)
    with h5py.File(tmp_path / "nested.weights.h5", "w") as file:
        file["layers/sequential/layers/dense/vars/0"] = np.ones(3)
    for file in tmp_path.iterdir():
        with pytest.raises(npnn.FileError, match=file.name):
            npnn.keras.load_weights(model, file)
    with pytest.raises(TypeError, match="path must be the path of a file, not None"):
        npnn.keras.load_weights(model, None)


@pytest.mark.filterwarnings("ignore")  # Keras's own
@pytest.mark.parametrize("file", ["a.keras", "a.weights.h5"])
@pytest.mark.parametrize("kind", ["mlp", "lenet", "others"])
@pytest.mark.later("lenet", "others")
def test_keras_itself_lays_them_out_so(kind, file, tmp_path):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    described, model, x, _ = of_keras(kind)
    parts = [keras.Input(x.shape[1:])]
    for name, config, arrays in described:
        options = {**config}
        if name.startswith("Conv"):
            options |= {"filters": len(arrays[1]), "kernel_size": arrays[0].shape[:2]}
            options |= {"strides": 2} if name.endswith("pose") else {}
            options |= {"padding": "same"} if x.shape[1] == 28 and len(parts) == 1 else {}
        elif name == "Dense":
            options = {"units": arrays[0].shape[1], "use_bias": len(arrays) == 2}
        elif name == "Activation":
            options = {"activation": "tanh"}
        parts.append(getattr(keras.layers, name)(**options))
    theirs = keras.Sequential(parts)
    theirs.set_weights([array for _, _, arrays in described for array in arrays])
    save = theirs.save if file == "a.keras" else theirs.save_weights
    save(tmp_path / file)
    (tmp_path / "own").mkdir()
    write_keras(tmp_path / "own" / file, described)
    assert tree_of(tmp_path / file) == tree_of(tmp_path / "own" / file)
    npnn.keras.load_weights(model, tmp_path / file)
    expected = keras.ops.convert_to_numpy(theirs(x.astype("float32")))
    np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=1e-6)
