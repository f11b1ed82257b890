"""What may be a weight, by whatever door it comes: set, drawn, read from a file, or put back."""

import copy
import io
import pickle

import numpy as np
import pytest
from oracles import host_parameters

import npnn
from npnn import files
from npnn.callbacks import Callback, Checkpoint
from npnn.initializers import Initializer
from npnn.layers import BatchNorm, Layer

X = np.linspace(-1.0, 1.0, 12).reshape(4, 3).astype(np.float32)
T = np.array([0, 1, 0, 1])


def small(**how):
    layers = [npnn.Dense(3, 4), BatchNorm(), npnn.Tanh(), npnn.Dense(4, 2), npnn.Softmax()]
    return npnn.Sequential(layers, seed=0, **how)


def with_one(array, value):
    array = np.array(array)
    array.reshape(-1)[-1] = value
    return array


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number_is_refused_before_anything_is_changed(value, backend_name):
    model = small(backend=backend_name)
    before = host_parameters(model)
    arrays = {n: np.array(model.backend.to_numpy(a)) for n, a in model.parameters().items()}
    arrays |= {n: np.array(model.backend.to_numpy(a)) for n, a in model.state().items()}
    for name, array in arrays.items():
        place, _, attribute = name.partition(".")
        bad = with_one(array, value)
        message = f"must be finite numbers, but there is a {value}|must be (at least 0|no NaN)"
        for given in (bad, bad.tolist(), model.backend.asarray(bad)):
            with pytest.raises(ValueError, match=message):
                model.set_arrays({**arrays, name: given})
            with pytest.raises(ValueError, match=message):
                setattr(model.layers[int(place)], attribute, given)
    for name, array in host_parameters(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_the_place_of_a_weight_that_is_no_number_is_named():
    model = small()
    bad = np.zeros((3, 4))
    bad[1, 2] = np.nan
    where = r"must be finite numbers, but there is a nan at \(1, 2\) \(counted from 0\)"
    with pytest.raises(ValueError, match=f"^w of Dense {where}$"):
        model.layers[0].w = bad
    with pytest.raises(ValueError, match=f"^'0.w' {where}$"):
        model.set_arrays({**model.parameters(), **model.state(), "0.w": bad})


@pytest.mark.parametrize("name", ["running_variance", "running_weight"])
def test_no_running_statistic_is_negative(name):
    model = small()
    with pytest.raises(ValueError, match=f"{name} of BatchNorm must be at least 0, but .* -1"):
        setattr(model.layers[1], name, -np.ones_like(getattr(model.layers[1], name)))


def test_a_callback_puts_no_nan_back():
    class Spoils(Callback):
        def on_epoch_end(self, training, metrics):
            arrays = training.get_arrays()
            training.set_arrays({**arrays, "0.w": with_one(arrays["0.w"], np.nan)})

    model = small()
    with pytest.raises(ValueError, match=r"'0\.w' must be finite numbers"):
        model.fit(X, T, epochs=2, callbacks=[Spoils()])
    assert np.isfinite(model.predict(X)).all()


class Draws(Initializer):
    """Draw what it is told to."""

    def __init__(self, value):
        self.value = value

    def __call__(self, rng, shape, fan_in, fan_out):
        return self.value


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (np.full((3, 4), np.nan), "w must be finite numbers, but there is a nan"),
        (np.ones(7), r"w must have shape \(3, 4\), not \(7,\)"),
        (np.full((3, 4), 1e300), r"w must fit float32, but there is a 1e\+300"),
        (None, "w: an array of numbers is needed"),
    ],
)
def test_what_an_initializer_draws_is_looked_at(drawn, message):
    with pytest.raises((TypeError, ValueError), match=message):
        npnn.Sequential([npnn.Dense(3, 4, initializer=Draws(drawn))])


def test_an_initializer_may_draw_a_list():
    model = npnn.Sequential([npnn.Dense(3, 2, initializer=Draws([[1, 2]] * 3))])
    np.testing.assert_array_equal(model.layers[0].w, [[1, 2]] * 3)


def test_weights_that_are_set_before_the_shape_is_known_are_those_that_there_are(backend_name):
    w = np.arange(6.0).reshape(3, 2)
    model = npnn.Sequential([npnn.Dense(None, 2)], seed=0, backend=backend_name)
    model.layers[0].w = w
    np.testing.assert_allclose(model.backend.to_numpy(model.predict(X)), X @ w, rtol=1e-6)
    model = npnn.Sequential([npnn.Dense(None, 2)], seed=0, backend=backend_name)
    model.layers[0].w = w.T
    with pytest.raises(ValueError, match=r"layer 0.* w of Dense must have shape \(3, 2\)"):
        model.predict(X)


# Files -------------------------------------------------------------------------------------------


def spoiled(value, name="0.w"):
    """Return a model with a weight that no door takes."""
    model = small()
    place, _, attribute = name.partition(".")
    array = getattr(model.layers[int(place)], attribute)
    array.reshape(-1)[0] = value
    return model


@pytest.mark.parametrize(
    ("name", "value"),
    [("0.w", np.nan), ("3.b", np.inf), ("1.running_variance", -1.0), ("1.gamma", np.nan)],
)
def test_a_weight_that_is_no_number_is_neither_saved_nor_loaded(name, value, tmp_path):
    model, path = spoiled(value, name), tmp_path / "m.safetensors"
    with pytest.raises(npnn.FileError, match=f"the model cannot be saved: '{name}' must be"):
        model.save(path)
    assert not list(tmp_path.iterdir())
    files.write(model, path, {**model.parameters(), **model.state()}, {}, None)
    with pytest.raises(npnn.FileError, match=f"{path.name}: '{name}' must be"):
        npnn.load(path)


def test_a_checkpoint_with_a_weight_or_a_moment_that_is_no_number_changes_nothing(tmp_path):
    path = tmp_path / "c.safetensors"
    small().fit(X, T, epochs=1, callbacks=[Checkpoint(path)], seed=0)
    good = path.read_bytes()
    _, arrays, _ = files.read(path)
    for name in ("chain/0.w", "optimizer/v/0.w", "optimizer/m/3.b", "chain/1.running_mean"):
        assert name in arrays
        bad = good.replace(arrays[name].tobytes(), with_one(arrays[name], np.nan).tobytes())
        model = small()
        before = host_parameters(model)
        with pytest.raises(npnn.FileError, match=r"must be (no NaN|finite numbers), but there is"):
            model.fit(X, T, epochs=2, resume=io.BytesIO(bad))
        for slot, array in host_parameters(model).items():
            np.testing.assert_array_equal(array, before[slot])


def test_a_copy_is_as_its_model_is_even_where_that_diverged():
    for model in (copy.deepcopy(spoiled(np.nan)), pickle.loads(pickle.dumps(spoiled(np.nan)))):
        assert np.isnan(model.layers[0].w[0, 0])


class Lowest(Layer):
    """Keep the lowest number that there was: nothing is below infinity."""

    state_names = ("lowest",)

    def build(self, shape_in, rng=None):
        self.lowest = np.full(shape_in, np.inf, self.dtype)
        return super().build(shape_in)

    def forward(self, x):
        return x

    def backward(self, grad_y):
        return grad_y


def test_the_state_of_a_layer_of_ones_own_may_be_infinite(tmp_path):
    model, path = npnn.Sequential([Lowest(), npnn.Dense(3, 2)]), tmp_path / "m.safetensors"
    model.predict(X)
    model.save(path)
    assert np.isinf(npnn.load(path).layers[0].lowest).all()
    with pytest.raises(ValueError, match="lowest of Lowest must be no NaN"):
        model.layers[0].lowest = np.full(3, np.nan)
