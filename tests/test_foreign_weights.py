"""Weights of PyTorch and Keras: a model that has them computes what theirs does."""

import os

import numpy as np
import pytest

import npnn
import npnn.keras
import npnn.torch
from npnn.layers import AvgPool, BatchNorm, Conv2D, Dense, Flatten, LayerNorm, ReLU, Tanh, UpConv2D

torch = pytest.importorskip("torch")
nn = torch.nn


def of_torch(kind):
    """Return a module whose running statistics are not those it began with, and its model."""
    torch.manual_seed(0)
    if kind == "mlp":
        module = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5), nn.LayerNorm(5),
            nn.Linear(5, 3, bias=False),
        )  # fmt: skip
        layers = [Dense(6, 8), BatchNorm(), ReLU(), Dense(5), LayerNorm(), Dense(3, bias=False)]
        shape = (6,)
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
    for _ in range(3):
        module(torch.randn(16, *shape) * 2 + 1)
    module.eval()
    x = torch.randn(5, *shape)
    return module, npnn.Sequential(layers, seed=1), x


def check(module, model, x):
    given = x.numpy() if x.ndim == 2 else np.moveaxis(x.numpy(), 1, -1)
    expected = module(x).detach().numpy()
    np.testing.assert_allclose(model.predict(given), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["mlp", "lenet"])
def test_a_state_dict_goes_in_and_comes_back(kind):
    module, model, x = of_torch(kind)
    npnn.torch.load_state_dict(model, module.state_dict())
    check(module, model, x)
    back = npnn.torch.state_dict(model)
    assert back.keys() == module.state_dict().keys()
    for name, tensor in module.state_dict().items():
        if not name.endswith("tracked"):
            np.testing.assert_array_equal(back[name], tensor.numpy())


def test_files_of_a_state_dict_are_read(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    module, model, x = of_torch("lenet")
    torch.save(module.state_dict(), tmp_path / "a.pt")
    save_file(module.state_dict(), tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        _, model, _ = of_torch("lenet")
        npnn.torch.load_state_dict(model, tmp_path / name)
        check(module, model, x)


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
        npnn.torch.load_state_dict(model, {n: a for n, a in state.items() if n[0] != "5"})
    for name, array in model.runner.arrays():
        np.testing.assert_array_equal(array, before[name])


def of_keras(kind):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    k = keras.layers
    if kind == "mlp":
        parts = [keras.Input((6,)), k.Dense(8), k.BatchNormalization(), k.ReLU(), k.Dense(3)]
        layers = [Dense(6, 8), BatchNorm(epsilon=1e-3), ReLU(), Dense(3)]
    else:
        parts = [keras.Input((12, 8, 2)), k.Conv2D(6, 5, padding="same", activation="tanh")]
        parts += [k.AveragePooling2D(2), k.Conv2D(4, 3), k.Conv2DTranspose(3, 2, 2), k.Flatten()]
        parts += [k.Dense(7, activation="tanh"), k.Dense(4)]
        layers = [Conv2D((12, 8, 2), 6, 5, padding="same"), Tanh(), AvgPool(kernel_size=2)]
        layers += [Conv2D(4, 3), UpConv2D(3, 2, stride=2), Flatten(), Dense(7), Tanh(), Dense(4)]
    model = keras.Sequential(parts)
    rng = np.random.default_rng(0)
    model.set_weights(
        [rng.uniform(0.1, 0.6, w.shape) - 0.3 * (w.ndim > 1) for w in model.get_weights()]
    )
    return model, npnn.Sequential(layers, seed=1), rng.normal(size=(5, *model.input_shape[1:]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras's own
@pytest.mark.parametrize("file", ["a.keras", "a.weights.h5"])
@pytest.mark.parametrize("kind", ["mlp", "lenet"])
def test_keras_files_are_read(kind, file, tmp_path):
    theirs, model, x = of_keras(kind)
    save = theirs.save if file == "a.keras" else theirs.save_weights
    save(tmp_path / file)
    npnn.keras.load_weights(model, tmp_path / file)
    x = x.astype(np.float32)
    expected = np.asarray(theirs(x).detach().cpu())
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5, atol=1e-6)
