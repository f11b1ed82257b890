"""What a file can hold it holds, whole; and what it cannot is said before training, or by save."""

import copy
import io

import numpy as np
import pytest

import npnn

X = np.random.default_rng(0).normal(size=(12, 3)).astype("f")
T = np.arange(12) % 2


def again(model):
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    return npnn.load(file)


def assert_same(one, other, x=X):
    assert repr(one) == repr(other)
    np.testing.assert_array_equal(one.predict(x), other.predict(x))


class Kin(npnn.Layer):
    """A layer that gives on what comes in, with an argument of any kind."""

    def __init__(self, thing=None):
        self.thing = thing

    def forward(self, x):
        return x

    def backward(self, grad_y):
        return grad_y


# Numbers of NumPy's ------------------------------------------------------------------------------

F, D, N = np.float32, np.float64, np.int64
LAYERS = [
    lambda: [npnn.Dense(N(3), np.uint8(4)), npnn.LeakyReLU(slope=F(0.2)), npnn.Dense(None, N(2))],
    lambda: [npnn.Dense((N(3),), (np.int32(2), N(1))), npnn.Flatten(), npnn.Dropout(F(0.25))],
    lambda: [npnn.Dense(3, 2), npnn.BatchNorm(momentum=F(0.5), epsilon=D(1e-3))],
    lambda: [npnn.Shape(3, (N(3), N(1), N(1))), npnn.Conv2D(None, N(2), (N(3), N(1)), N(1), N(1))],
    lambda: [npnn.Shape(3, (3, 1, 1)), npnn.Pad2D(None, (N(1), N(0)), N(2), F(0.5))],
    lambda: [npnn.Shape(3, (3, 1, 1)), npnn.MaxPool(None, None, (N(3), 1), N(1))],
    lambda: [npnn.Dense(3, 2, initializer=npnn.initializers.Constant(F(0.5)))],
    lambda: [npnn.Dense(3, 2, initializer=npnn.initializers.Orthogonal(N(2)))],
    lambda: [npnn.Dense(3, 2), Kin(F(0.5)), Kin([N(1), {"a": D(2.0)}]), Kin(np.bool_(True))],
    lambda: [npnn.Dense(3, 2), Kin(np.str_("word")), Kin({N(1): (F(0.5), None)}), Kin(np.array(3))],
]


@pytest.mark.parametrize("layers", LAYERS)
def test_numbers_of_numpy_are_saved_as_plain_ones(layers):
    model = npnn.Sequential(layers(), seed=0)
    loaded = again(model)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert again(loaded).to_config() == loaded.to_config()
    for layer in loaded.layers:
        for value in vars(layer).values():
            assert not isinstance(value, np.generic)


def test_an_array_as_an_argument_comes_back_as_one():
    table = np.array([[1.5, 2.0]], np.float32)
    found = again(npnn.Sequential([npnn.Dense(3, 2), Kin(table)], seed=0)).layers[1].thing
    np.testing.assert_array_equal(found, table)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    "loss",
    [
        npnn.CrossEntropyLoss(N(2), F(0.25), np.array([0.5, 2.0], "f")),
        npnn.CrossEntropyLoss(class_weights={N(0): F(0.5)}),
        npnn.HuberLoss(delta=F(0.5)),
        npnn.KullbackLeiblerLoss(beta=D(0.5)),
    ],
    ids=repr,
)
def test_numbers_of_numpy_in_a_loss_are_saved_too(loss):
    model = npnn.Sequential([npnn.Dense(3, 2), npnn.Softmax()], seed=0)
    model.chain = loss
    loaded = again(model).chain
    assert type(loaded) is type(loss)
    assert loaded.to_config() == loss.to_config()


def test_numbers_of_numpy_in_a_training_are_saved_too(tmp_path):
    path = tmp_path / "checkpoint"
    model = npnn.Sequential([npnn.Dense(3, 2), npnn.Softmax()], seed=N(1))
    model.details = {"rate": F(0.5), "rows": np.arange(3), N(3): {"deep": [D(1.0)]}, "t": (1, 2)}
    model.class_names = np.array(["no", "yes"])
    schedule = npnn.Cosine(N(90), N(2), F(0.25))
    options = {
        "callbacks": [
            npnn.Checkpoint(path), npnn.EarlyStopping(N(3), min_delta=F(0.0)),
            npnn.LearningRateSchedule(npnn.StepDecay(N(3), F(0.5))),
        ],
        "optimizer": npnn.Adam(F(0.01), beta1=D(0.8), clip_norm=F(1.0), schedule=schedule),
        "seed": N(5),
    }  # fmt: skip
    model.fit(X, T, epochs=N(2), **options)
    assert npnn.load(path).details == {
        "rate": 0.5, "rows": [0, 1, 2], "3": {"deep": [1.0]}, "t": [1, 2]
    }  # fmt: skip
    model.fit(X, T, epochs=3, resume=path)


# What no file can hold ---------------------------------------------------------------------------


def local_layer():
    class Local(Kin):
        pass

    return [npnn.Dense(3, 2), Local()]


def local_initializer():
    class Local(npnn.initializers.Initializer):
        def __call__(self, rng, shape, fan_in, fan_out):
            return np.zeros(shape)

    return [npnn.Dense(3, 2, initializer=Local())]


class Renamed(Kin):
    def __init__(self, other=1):
        self.thing = other


class Rest(Kin):
    def __init__(self, *sizes):
        self.sizes = sizes


UNSAVABLE = {
    "a layer of a function": (local_layer, "layer 1, Local: the class Local is defined in a func"),
    "an initializer of a function": (local_initializer, "layer 0, Dense: the class Local is def"),
    "a lambda": (lambda: [npnn.Dense(3, 2), Kin(lambda x: x)], "layer 1, Kin: its argument thing"),
    "a set": (lambda: [npnn.Dense(3, 2), Kin([{1}])], "layer 1, Kin: its argument thing is {1}"),
    "a complex number": (lambda: [npnn.Dense(3, 2), Kin(1j)], "its argument thing is 1j"),
    "objects": (lambda: [npnn.Dense(3, 2), Kin(np.array([None]))], "its argument thing is array"),
    "an argument that is not there": (lambda: [npnn.Dense(3, 2), Renamed()], "argument other"),
    "arguments without a name": (lambda: [npnn.Dense(3, 2), Rest(1)], "its argument sizes"),
    "within another layer": (
        lambda: [npnn.Dense(3, 2), npnn.Residual([npnn.Tanh(), Kin(print)])],
        "layer 1, Residual: layer 1, Kin: its argument thing is <built-in function print>",
    ),
}


@pytest.mark.parametrize("name", UNSAVABLE)
def test_what_cannot_be_saved_is_said_and_nothing_is_written(name, tmp_path):
    layers, message = UNSAVABLE[name]
    model = npnn.Sequential(layers(), seed=0)
    for place in (tmp_path / "model", io.BytesIO()):
        with pytest.raises(npnn.FileError, match=f"the model cannot be saved: .*{message}"):
            model.save(place)
    assert not place.getvalue()
    assert not list(tmp_path.iterdir())


class LocalState(npnn.Callback):
    def get_state(self):
        return {"when": self}


def local_optimizer():
    class Local(npnn.SGD):
        pass

    return Local()


def local_schedule():
    class Local(npnn.Schedule):
        def __call__(self, count):
            return 1.0

    return npnn.SGD(schedule=Local())


@pytest.mark.parametrize(
    ("layers", "options"),
    [
        *((layers, lambda: {}) for layers, _ in UNSAVABLE.values()),
        (lambda: [npnn.Dense(3, 2)], lambda: {"optimizer": local_optimizer()}),
        (lambda: [npnn.Dense(3, 2)], lambda: {"optimizer": local_schedule()}),
        (lambda: [npnn.Dense(3, 2)], lambda: {"callbacks": [LocalState()]}),
        (lambda: [npnn.Dense(3, 2)], lambda: {"details": {"file": print}}),
    ],
)
def test_a_checkpoint_that_cannot_be_saved_is_said_before_training(layers, options, tmp_path):
    path, options = tmp_path / "checkpoint", options()
    model = npnn.Sequential(layers(), seed=0)
    model.details = options.pop("details", {})
    before = [np.array(array) for array in model.parameters().values()]
    callbacks = [*options.pop("callbacks", []), npnn.Checkpoint(path, every=100)]
    t = np.zeros((12, 2))
    with pytest.raises(npnn.FileError, match="cannot be saved"):
        model.fit(X, t, epochs=100, callbacks=callbacks, **options)
    for old, new in zip(before, model.parameters().values(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not list(tmp_path.iterdir())
    model.fit(X, t, epochs=1, callbacks=callbacks[:-1], **options)


# Classes of one name -----------------------------------------------------------------------------


class Dense(Kin):
    """Not that of the package."""


class Softmax(npnn.Softmax):
    """One of the package's, changed."""

    def forward(self, x):
        return 1.0 - super().forward(x)


def test_a_layer_with_the_name_of_one_of_the_package_is_told_apart():
    plain = npnn.Sequential([npnn.Dense(3, 2), npnn.Softmax()], seed=0)
    own = npnn.Sequential([npnn.Dense(3, 2), Dense(3), Softmax()], seed=0)
    assert [type(layer) for layer in again(plain).layers] == [npnn.Dense, npnn.Softmax]
    assert [type(layer) for layer in again(own).layers] == [npnn.Dense, Dense, Softmax]
    assert_same(again(own), own)
    assert npnn.Layer.registry["Dense"] is npnn.Dense


def test_a_layer_with_the_name_of_one_of_the_package_is_not_taken_for_it(monkeypatch):
    file = io.BytesIO()
    npnn.Sequential([npnn.Dense(3, 2), Dense(3)], seed=0).save(file)
    monkeypatch.delitem(npnn.Layer.registry, f"{__name__}.Dense")
    file.seek(0)
    with pytest.raises(npnn.FileError, match=f"unknown layer type '{__name__}.Dense'"):
        npnn.load(file)


def test_of_two_layers_of_one_name_the_one_that_would_be_lost_is_refused():
    first = type("Twice", (Kin,), {"__module__": "one", "__qualname__": "Twice"})
    model = npnn.Sequential([npnn.Dense(3, 2), first()], seed=0)
    again(model)
    type("Twice", (Kin,), {"__module__": "another", "__qualname__": "Twice"})
    with pytest.raises(npnn.FileError, match="Twice of one would be taken for that of another"):
        again(model)
    # As a notebook does when a cell is run again.
    renewed = type("Twice", (Kin,), {"__module__": "one", "__qualname__": "Twice"})
    assert type(again(model).layers[1]) is renewed


# Layers that build in their own way --------------------------------------------------------------


class Masked(npnn.Dense):
    """Writes into what it has drawn."""

    def build(self, shape_in, rng=None):
        shape = super().build(shape_in, rng)
        self.w[0] += 1.0
        self.w *= 2.0
        return shape


class Late(npnn.Layer):
    """Makes its parts when it is built, and draws numbers in its own way."""

    parameter_names = ("own",)

    def __init__(self, size=4):
        self.size = size
        self.parts = []

    def children(self):
        return ((str(number), part) for number, part in enumerate(self.parts))

    def build(self, shape_in, rng=None):
        self.parts = [npnn.Dense(None, self.size), Masked(None, 3)]
        shape = self.shape_in = self.accept(shape_in)
        for part in self.parts:
            part.dtype = self.dtype
            shape = part.build(shape, rng)
        self.own = rng.normal(size=shape).astype(self.dtype)
        self.shape_out = shape
        return shape

    def forward(self, x):
        for part in self.parts:
            x = part.forward(x)
        return x * self.own

    def backward(self, grad_y):
        self.grad_own = grad_y[0, ...]
        grad_y = grad_y * self.own
        for part in reversed(self.parts):
            grad_y = part.backward(grad_y)
        return grad_y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_that_build_in_their_own_way_come_back_as_they_were(dtype):
    model = npnn.Sequential([Masked(3, 3), Late(), Masked(None, 2)], seed=0, dtype=dtype)
    loaded = again(model)
    assert_same(loaded, model)
    assert_same(copy.deepcopy(loaded), model)
    assert list(loaded.parameters()) == list(model.parameters())


def test_what_is_made_late_is_no_larger_than_what_the_file_has():
    file = io.BytesIO()
    npnn.Sequential([Late(4)], seed=0).build_at(3)
    model = npnn.Sequential([npnn.Dense(3, 3), Late(4)], seed=0)
    model.layers[1].size = 1_000_000
    model.save(file)
    file.seek(0)
    with pytest.raises(npnn.FileError, match=r"no array has the shape \(3, 1000000\) that its 'w'"):
        npnn.load(file)


# What was dropped --------------------------------------------------------------------------------


def nested(backend="numpy"):
    inner = npnn.Sequential([npnn.Dense(3, 4), npnn.Tanh()], seed=0, backend=backend)
    inner.norm = npnn.Normalization([1.0, 2.0, 3.0], 4.0)
    inner.class_names, inner.details = ["a", "b", "c", "d"], {"of": "the inner one"}
    middle = npnn.Sequential([inner, npnn.Dense(None, 5)], seed=1, backend=backend)
    middle.norm = npnn.Normalization(0.5, 2.0)
    outer = npnn.Sequential([middle, npnn.Dense(None, 2)], seed=2, backend=backend)
    outer.norm = npnn.Normalization(-1.0, 3.0)
    return outer


@pytest.mark.later("jax")
def test_models_within_models_keep_their_normalisation(backend_name):
    model = nested(backend_name)
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = npnn.load(file, backend=backend_name)
    for _ in range(3):
        assert type(loaded) is npnn.Sequential
        assert (loaded.norm, loaded.details) == (model.norm, model.details)
        assert loaded.class_names == model.class_names
        x = np.ones((2, 3))
        to_numpy = model.backend.to_numpy
        np.testing.assert_array_equal(to_numpy(loaded.predict(x)), to_numpy(model.predict(x)))
        loaded, model = loaded.layers[0], model.layers[0]


def test_a_model_in_a_branch_keeps_its_normalisation():
    inner = npnn.Sequential([npnn.Dense(3, 3)], seed=0)
    inner.norm = npnn.Normalization(0.5, 2.0)
    model = npnn.Sequential([npnn.Dense(3, 3), npnn.Residual(inner)], seed=0)
    loaded = again(model)
    assert loaded.layers[1].layers.norm == inner.norm
    assert_same(loaded, model)


def test_what_is_not_trained_stays_so():
    model = npnn.Sequential([npnn.Dense(3, 4), npnn.Residual([npnn.Dense(4, 4)])], seed=0)
    model.layers[0].trainable = False
    model.layers[1].layers.layers[0].trainable = False
    model.layers[1].layers.trainable = False
    loaded = again(model)
    assert not loaded.layers[0].trainable
    assert loaded.layers[1].trainable
    assert not loaded.layers[1].layers.trainable
    assert not loaded.layers[1].layers.layers[0].trainable
    model.trainable = False
    assert not again(model).trainable


def test_layers_that_stand_in_several_branches_are_shared_still():
    shared, other = npnn.Dense(3, 3), npnn.Tanh()
    parts = npnn.Parallel([[shared, other], shared, [npnn.Dense(3, 3), npnn.Residual([shared])]])
    model = npnn.Sequential([shared, parts, npnn.Dense(None, 1)], seed=0)
    loaded = again(model)
    first, branches = loaded.layers[0], loaded.layers[1].branches
    assert first is branches[0].layers[0] is branches[1].layers[0]
    assert branches[2].layers[1].layers.layers[0] is first
    assert branches[2].layers[0] is not first
    assert_same(loaded, model)
    for each in (model, loaded):
        each.fit(X, T, epochs=2, seed=0, optimizer=npnn.SGD(0.01))
    assert_same(loaded, model)


def test_what_is_said_of_a_layer_does_not_depend_on_the_order_of_saving():
    model = nested()
    first, second = model.to_config(), copy.deepcopy(model).to_config()
    assert first == second == npnn.Layer.from_config(first).to_config()
