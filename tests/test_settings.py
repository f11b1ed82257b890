"""What is set later on is looked at as the constructor looks, and does what it would have done."""

import dis
from types import CodeType, FunctionType

import numpy as np
import pytest
from oracles import host_parameters

import npnn
from npnn import callbacks, initializers
from npnn.plain import KINDS, arguments, is_ours
from npnn.settings import _stored

RNG = np.random.default_rng(3)
X = RNG.normal(size=(12, 4)).astype(np.float32)
C = np.arange(12) % 3
IMAGES = RNG.normal(size=(5, 8, 8, 2)).astype(np.float32)

MADE = {
    "Dense": lambda: npnn.Dense(4, 3),
    "Conv2D": lambda: npnn.Conv2D((8, 8, 2), 4, 3),
    "UpConv2D": lambda: npnn.UpConv2D((8, 8, 2), 4, 3),
    "Shape": lambda: npnn.Shape(4, (2, 2)),
    "Latent": lambda: npnn.Latent(4, 4),
    "Parallel": lambda: npnn.Parallel([npnn.Dense(4, 2)]),
    "Residual": lambda: npnn.Residual([npnn.Dense(4, 4)]),
    "Sequential": lambda: npnn.Sequential([npnn.Dense(4, 3)]),
    "Cosine": lambda: npnn.Cosine(10),
    "StepDecay": lambda: npnn.StepDecay(3),
    "ExponentialDecay": lambda: npnn.ExponentialDecay(0.5),
}
OTHERS = {
    "EarlyStopping": npnn.EarlyStopping,
    "Checkpoint": lambda: npnn.Checkpoint("x"),
    "CSVLog": lambda: npnn.CSVLog("x"),
    "LearningRateSchedule": lambda: npnn.LearningRateSchedule(npnn.Cosine(3)),
    "Monitor": callbacks.Monitor,
    "Normalization": npnn.Normalization,
}
NOT_FOR_ITSELF = {"Row", "Joined", "Described", "Placed", "Weighted", "FunctionSchedule"}
# What some argument takes that would be nonsense for others.
WORDS = {"path", "monitor", "padding", "initializer", "class_weights", "mode"}


def kinds():
    """Return how one of each class is made whose settings there are."""
    found = dict(OTHERS)
    for base in KINDS.values():
        for name, cls in base.registry.items():
            if is_ours(cls) and name not in NOT_FOR_ITSELF:
                found[name] = MADE.get(name, cls)
    return found


@pytest.mark.parametrize("kind", kinds())
def test_what_a_constructor_would_refuse_is_refused_later(kind):
    make = kinds()[kind]
    names = {*arguments(type(make()))} | {"trainable"} & {*dir(make())}
    for name in names:
        for junk in ("no", float("nan"), object(), b"x", [1, "x"]):
            if name in WORDS and isinstance(junk, str) and name in ("path", "monitor"):
                continue
            made = make()
            before = dict(vars(made))
            with pytest.raises((TypeError, ValueError, AttributeError), match=f"{name}|layer"):
                setattr(made, name, junk)
            assert {**vars(made), "locks": 0} == {**before, "locks": 0}


NEEDED = {
    **{key: {"shape_out": 4} for key in ("Dense", "Conv2D", "UpConv2D", "Latent", "Shape")},
    **{key: {"path": "x"} for key in ("Checkpoint", "CSVLog")},
    "LearningRateSchedule": {"schedule": npnn.Cosine(3)},
    "Parallel": {"branches": [npnn.Dense(3)]},
    "Residual": {"layers": [npnn.Dense(3)]},
    "Cosine": {"length": 3},
    "StepDecay": {"every": 3},
    "ExponentialDecay": {"factor": 0.5},
}


@pytest.mark.parametrize("kind", sorted(set(kinds()) - {"Normalization", "Sequential"}))
def test_an_array_is_no_argument_and_is_told_in_one_line(kind):
    cls, wide = type(kinds()[kind]()), np.arange(900).reshape(300, 3)
    for name in set(arguments(cls)) - {"activation"}:
        with pytest.raises((TypeError, ValueError)) as caught:
            cls(**{**NEEDED.get(kind, {}), name: wide})
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 300
        assert "ambiguous" not in message


@pytest.mark.parametrize("name", ["backend", "dtype", "device", "precision", "seed", "capture"])
def test_a_model_is_told_where_it_computes_by_words(name, tmp_path):
    wide = np.arange(900).reshape(300, 3)
    npnn.Sequential([npnn.Dense(2, 1)]).save(tmp_path / "m")
    makers = [npnn.Sequential]
    if name not in ("seed", "capture"):
        makers.append(lambda **options: npnn.load(tmp_path / "m", **options))
    for make in makers:
        with pytest.raises((TypeError, ValueError), match=rf"^(unknown )?{name}") as caught:
            make(**{name: wide})
        assert len(str(caught.value)) < 300


def test_numpys_own_words_for_a_dtype_are_known(backend_name):
    for dtype in (np.float64, np.dtype("float64"), "float64"):
        assert npnn.Sequential(backend=backend_name, dtype=dtype).dtype == "float64"
    with pytest.raises(ValueError, match="dtype must be one of float32, float64, not <class"):
        npnn.Sequential(dtype=np.float16)


@pytest.mark.parametrize("value", ["no", 0, None, np.array([1, 0]), 1.0])
def test_a_layer_is_trainable_or_not(value):
    for layer in (npnn.Dense(4, 3), npnn.Sequential([npnn.Dense(4, 3)]), npnn.RMSLoss()):
        with pytest.raises(TypeError, match="trainable must be True or False, not"):
            layer.trainable = value
        layer.trainable = np.False_
        assert layer.trainable is False


def test_what_is_set_later_has_the_form_that_the_constructor_gives_it():
    loss = npnn.CrossEntropyLoss()
    loss.class_weights = [1, 2, 3]
    assert loss.class_weights == npnn.CrossEntropyLoss(class_weights=[1, 2, 3]).class_weights
    layer = npnn.Dense(None, 3)
    layer.initializer = "HeNormal"
    assert layer.initializer == initializers.HeNormal()
    stopping = npnn.EarlyStopping()
    stopping.monitor = "validation f1"
    assert stopping.monitor == "val_f1"
    scheduled = npnn.LearningRateSchedule(npnn.ReduceOnPlateau())
    scheduled.schedule = lambda epoch: 0.5
    assert scheduled.schedule(3) == 0.5
    scheduled.monitor, scheduled.mode = "accuracy", "max"
    assert (scheduled.watch.monitor, scheduled.watch.mode) == ("accuracy", "max")
    own = Own(3)
    own.size = "what its writer makes of it"
    assert own.size == "what its writer makes of it"


class Own(npnn.Layer):
    """Whoever writes a constructor looks at its arguments himself."""

    def __init__(self, size):
        self.size = size


CHANGES = {
    "slope": (npnn.LeakyReLU, 0.4, X),
    "probability": (npnn.Dropout, 0.2, X),
    "epsilon": (npnn.LayerNorm, 0.5, X),
    "pad_value": (lambda **o: npnn.Pad2D((8, 8, 2), 1, 2, **o), 3.0, IMAGES),
    "momentum": (npnn.BatchNorm, None, X),
}


def stepped(layer, x, capture, change=None):
    """Return what a step leaves of a model with a layer that is changed after another one."""
    layers = [layer, npnn.Flatten(), npnn.Dense(None, 2)]
    model = npnn.Sequential(layers, seed=1, capture=capture)
    model.chain, optimizer = npnn.RMSLoss(), npnn.GradientDescent(0.01)
    optimizer.model = model
    model.build_at(x.shape[1:])
    before, t = host_parameters(model), np.ones((len(x), 2))
    state = {name: np.array(array) for name, array in model.state().items()}
    optimizer.step(x, t)
    model.set_arrays({**before, **state})
    model.rng = np.random.default_rng(0)
    if change:
        setattr(layer, *change)
    for _ in range(2):
        optimizer.step(x, t)
    return {**host_parameters(model), "y": model.predict(x)}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("capture", [True, False])
def test_a_setting_of_a_layer_counts_from_the_next_step_on(name, capture):
    kind, value, x = CHANGES[name]
    found = stepped(kind(), x, capture, (name, value))
    usual = stepped(kind(), x, capture)
    for key, array in stepped(kind(**{name: value}), x, capture).items():
        np.testing.assert_array_equal(found[key], array)
    assert any(not np.array_equal(found[key], usual[key]) for key in found)


FIXED = {
    "kernel_size": lambda: npnn.Conv2D((8, 8, 2), 4, 3),
    "stride": lambda: npnn.MaxPool(2),
    "groups": lambda: npnn.UpConv2D(4, 3),
    "padding": lambda: npnn.Conv2D(4, 3),
    "pad_axis0": npnn.Pad2D,
    "channels_1x1": npnn.Inception,
    "branches": lambda: npnn.Parallel([npnn.Dense(4, 2)]),
    "bias": lambda: npnn.Dense(4, 3),
    "offset": npnn.Normalization,
    "backend": npnn.Sequential,
    "device": npnn.Sequential,
    "precision": npnn.Sequential,
    "dtype": npnn.Sequential,
}
OTHER = {"padding": "same", "backend": "torch", "device": "cuda", "dtype": "float64"}


@pytest.mark.parametrize("name", FIXED)
def test_what_a_thing_is_made_of_cannot_be_set(name):
    thing = FIXED[name]()
    before = getattr(thing, name)
    with pytest.raises(AttributeError, match=rf"\.{name} (is fixed once|cannot be set)"):
        setattr(thing, name, OTHER.get(name, 2))
    assert getattr(thing, name) is before


def test_an_initializer_that_has_drawn_is_not_another_one():
    layer = npnn.Sequential([npnn.Dense(4, 3)]).layers[0]
    with pytest.raises(AttributeError, match="initializer draws w, and w is drawn: set w itself"):
        layer.initializer = "HeNormal"


# Arrays ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", [True, False])
def test_weights_may_be_set_from_anything_that_holds_numbers(backend_name, capture):
    torch = pytest.importorskip("torch")
    w = np.arange(12.0).reshape(4, 3) / 8
    for given in (w, w.tolist(), w.astype(np.float16), torch.tensor(w, requires_grad=True)):
        model = npnn.Sequential([npnn.Dense(4, 3)], seed=0, backend=backend_name, capture=capture)
        model.predict(X)
        model.layers[0].w = given
        xp = model.backend.xp
        assert model.backend.owns(model.layers[0].w)
        assert model.layers[0].w.dtype == xp.float32
        y = model.predict(X)
        assert y.dtype == xp.float32
        np.testing.assert_allclose(model.backend.to_numpy(y), X @ w, rtol=1e-6)
        model.set_arrays({"0.w": (2 * w).tolist(), "0.b": (1, 0, 0)})
        y = model.backend.to_numpy(model.predict(X))
        np.testing.assert_allclose(y, X @ (2 * w) + [1, 0, 0], rtol=1e-6, atol=1e-6)
        assert model.fit(X, X[:, :3], epochs=1).num_epochs == 1


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("no", TypeError, "an array of numbers is needed"),
        (None, TypeError, "an array of numbers is .* a None"),
        (np.ones((4, 5), "f"), ValueError, r"must have shape \(4, 3\), not \(4, 5\)"),
        (2.0, ValueError, r"must have shape \(4, 3\), not \(\)"),
        (np.full((4, 3), 1e300), ValueError, "must fit .*float32, but there is a 1e\\+300"),
    ],
)
def test_weights_that_are_none_are_refused(value, error, message, backend_name):
    model = npnn.Sequential([npnn.Dense(4, 3)], seed=0, backend=backend_name)
    before = host_parameters(model)
    with pytest.raises(error, match=f"w of Dense:? {message}"):
        model.layers[0].w = value
    with pytest.raises(error, match=f"'0.w':? {message}"):
        model.set_arrays({"0.b": np.ones(3), "0.w": value})
    for name, array in host_parameters(model).items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("arrays", [None, [("0.w", 1)], "0.w"])
def test_arrays_are_set_by_name(arrays):
    with pytest.raises(TypeError, match="arrays must be a dict of names and arrays, not"):
        npnn.Sequential([npnn.Dense(4, 3)]).set_arrays(arrays)


def stored(code):
    """Return what the disassembler says that a function stores."""
    found = [each.argval for each in dis.get_instructions(code) if each.opname == "STORE_ATTR"]
    inner = [stored(each) for each in code.co_consts if isinstance(each, CodeType)]
    return [*found, *(name for names in inner for name in names)]


def test_what_methods_store_is_what_the_disassembler_says():
    space = {}
    lines = "\n".join(f"    self.a{number} = self.b{number}" for number in range(400))
    exec(f"def many(self):\n{lines}", space)  # more names than a byte counts
    methods = [m for c in vars(npnn).values() if isinstance(c, type) for m in vars(c).values()]
    functions = [space["many"], *(m for m in methods if isinstance(m, FunctionType))]
    assert len(functions) > 100
    for function in functions:
        assert list(_stored(function.__code__)) == stored(function.__code__)
