"""What ordinary users do that was wrong without a word, or crashed: each comes out right now."""

from fractions import Fraction

import numpy as np
import pytest
from oracles import host_parameters

import npnn
from npnn import Dense, Sequential
from npnn.arrays import array_namespace, scatter_add
from npnn.callbacks import Checkpoint, EarlyStopping, LearningRateSchedule
from npnn.layers import BatchNorm, Dropout, Flatten, Latent, LayerNorm, Linear, Tanh

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 4)).astype(np.float32)
T, C = X[:, :1], np.arange(12) % 3


def regression(**how):
    return Sequential([Dense(4, 5), Tanh(), Dense(5, 1)], seed=0, **how)


def classifier(**how):
    return Sequential([Dense(4, 5), Tanh(), Dense(5, 3), npnn.Softmax()], seed=0, **how)


def trained_by(model, optimizer):
    model.chain = npnn.losses.default_loss(model)
    optimizer.model = model
    return optimizer


# Weights of samples -------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", [True, False])
def test_a_batch_whose_samples_all_weigh_nothing_changes_nothing(captured_on, capture):
    w = np.array([0.0] * 4 + [1.0] * 8)
    how = {"epochs": 1, "batch_size": 4, "shuffle": False}

    def weights_after(*data, w=None):
        model = regression(backend=captured_on, capture=capture)
        model.fit(*data, w=w, optimizer=npnn.GradientDescent(alpha=0.1), **how)
        return host_parameters(model)

    weighed, left_out = weights_after(X, T, w=w), weights_after(X[4:], T[4:])
    for name, array in weighed.items():
        np.testing.assert_allclose(array, left_out[name], rtol=1e-6, atol=1e-7)


# Layers of one's own ------------------------------------------------------------------------------


class Embedding(npnn.Layer):
    takes_integers = True
    parameter_names = ("table",)

    def build(self, shape_in, rng=None):
        self.shape_in = self.accept(shape_in)
        self.draw("table", None, rng, (5, 2), 5, 2)
        self.shape_out = (*self.shape_in, 2)
        return self.shape_out

    def forward(self, x):
        xp = array_namespace(self.table)
        self.x = xp.reshape(x, (-1,))
        return xp.reshape(xp.take(self.table, self.x, axis=0), (*x.shape, 2))

    def backward(self, grad_y):
        xp = array_namespace(grad_y)
        rows = xp.reshape(grad_y, (-1, 2))
        self.grad_table = scatter_add(xp.zeros_like(self.table), self.x, rows)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("capture", [True, False])
def test_a_number_of_no_row_is_an_error_wherever_a_layer_takes_rows(backend, capture):
    if not npnn.backends.available()[backend]["works"]:
        pytest.skip(f"{backend} does not work here")
    layers = [Embedding(), Flatten(), Dense(None, 3), npnn.Softmax()]
    model = Sequential(layers, seed=0, backend=backend, capture=capture)
    good = np.arange(24).reshape(12, 2) % 5
    model.fit(good, C, epochs=1)
    before, bad = host_parameters(model), good.copy()
    bad[3, 1] = 5
    for use in (lambda: model.predict(bad), lambda: model.fit(bad, C, epochs=1)):
        with pytest.raises(IndexError, match="5 is out of bounds"):
            use()
    for name, array in host_parameters(model).items():
        np.testing.assert_array_equal(array, before[name])
    assert np.isfinite(model.fit(good, C, epochs=1)["loss"]).all()


class Wider(npnn.Layer):
    """Compute with numbers of 64 bits, in one of two directions."""

    def __init__(self, backward_too=False):
        self.backward_too = backward_too

    def forward(self, x):
        xp = array_namespace(x)
        return x if self.backward_too else xp.astype(x, xp.float64)

    def backward(self, grad_y):
        xp = array_namespace(grad_y)
        return xp.astype(grad_y, xp.float64)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("capture", [True, False])
def test_a_layer_that_computes_with_other_floats_than_its_model_is_named(backend, capture):
    if not npnn.backends.available()[backend]["works"]:
        pytest.skip(f"{backend} does not work here")
    how = {"backend": backend, "capture": capture}
    for layer, which in ((Wider(), "forward gave"), (Wider(True), "backward gave")):
        model = Sequential([Dense(4, 3), layer, Dense(3, 1)], **how)
        with pytest.raises(TypeError, match=f"layer 1, Wider: {which} an array of .*float64, but"):
            model.fit(X, T, epochs=1)
    model = Sequential([Dense(4, 3), Wider(), Dense(3, 1)], dtype="float64", **how)
    assert model.fit(X, T, epochs=1).num_epochs == 1


class Doubles(npnn.Layer):
    def __init__(self, count=3):
        self.count = 2 * count

    def forward(self, x):
        return x * self.count

    def backward(self, grad_y):
        return grad_y * self.count


class ByAnyName(Linear):
    def __init__(self, **options):
        super().__init__()
        self.options = options


class Particular(Linear):
    def __init__(self, name=None):
        if name is not None and not name.islower():
            raise ValueError("a name must be written small")
        super().__init__()
        self.name = None if name is None else name.upper()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Doubles(5), "Doubles: made anew .*, its count would be 20 instead of 10"),
        (ByAnyName(colour="red"), r"its options would be \{.*\} instead of \{'colour': 'red'\}"),
        (Particular("small"), "it could not be made anew of its arguments.*written small"),
    ],
)
def test_a_layer_of_which_a_file_would_make_another_is_not_saved(layer, message, tmp_path):
    model = Sequential([Dense(4, 3), layer, Dense(3, 1)])
    with pytest.raises(npnn.FileError, match=message):
        model.save(tmp_path / "m.safetensors")
    with pytest.raises(npnn.FileError, match=message):
        model.fit(X, T, epochs=1, callbacks=[Checkpoint(tmp_path / "c.safetensors")])
    assert not list(tmp_path.iterdir())


# Arrays of a person's own -------------------------------------------------------------------------


def test_an_array_that_was_given_as_weights_is_no_part_of_the_model(backend_name):
    model = regression(backend=backend_name)
    w = np.ones((4, 5), np.float32)
    model.layers[0].w = w
    before = np.array(model.backend.to_numpy(model.predict(X)))
    w[:] = 9.0
    np.testing.assert_array_equal(model.backend.to_numpy(model.predict(X)), before)


@pytest.mark.parametrize("capture", [True, False])
@pytest.mark.parametrize("layers", [[Linear()], [Flatten(), Linear()], [Dropout(0.5)]])
def test_what_is_predicted_is_never_the_array_that_came_in(layers, capture):
    torch = pytest.importorskip("torch")
    x = torch.ones((2, 4))
    y = Sequential(layers, backend="torch", capture=capture).predict(x)
    y += 1.0
    assert bool((x == 1.0).all())
    x = np.ones((2, 4), np.float32)
    y = Sequential(layers, capture=capture).predict(x)
    y += 1.0
    assert (x == 1.0).all()


def test_a_metric_that_changes_its_arrays_changes_no_other():
    def wipes(y, t):
        y[:], t[:] = 0, 0
        return 0.0

    alone = classifier().fit(X, C, epochs=1, metrics=["f1"])["f1"]
    assert classifier().fit(X, C, epochs=1, metrics=[wipes, "f1"])["f1"] == alone


# Things in common ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"dtype": "float64"}, {"backend": "torch"}])
def test_models_of_two_kinds_that_share_a_layer_are_told(how):
    pytest.importorskip("torch")
    common = Dense(4, 4)
    one = Sequential([common, Dense(4, 1)])
    one.predict(X)
    Sequential([common, Dense(4, 2)], **how).predict(X)
    with pytest.raises(
        ValueError, match=r"'0\.w' is an array of .*: models with a layer in common"
    ):
        one.predict(X)


def test_a_callback_is_there_once():
    stopping = EarlyStopping(3)
    with pytest.raises(ValueError, match=r"callbacks\[1\] is there twice"):
        regression().fit(X, T, callbacks=[stopping, stopping])


def test_two_schedules_multiply_the_rate_both():
    seen = []
    schedules = [LearningRateSchedule(lambda epoch: 0.5**epoch) for _ in range(2)]
    look = type("Looks", (npnn.Callback,), {
        "on_batch_end": lambda self, training: seen.append(training.optimizer.factor)
    })()  # fmt: skip
    regression().fit(X, T, epochs=3, batch_size=12, callbacks=[*schedules, look])
    assert seen == [1.0, 0.25, 0.0625]


def test_a_training_that_cannot_go_on_leaves_model_and_optimizer(tmp_path):
    path = tmp_path / "c.safetensors"
    regression().fit(X, T, epochs=2, callbacks=[Checkpoint(path)])
    for bad in (Checkpoint(tmp_path / "none" / "c"), EarlyStopping(monitor="nothing")):
        model, optimizer = regression(), npnn.Adam()
        before = host_parameters(model)
        with pytest.raises((OSError, ValueError)):
            model.fit(X, T, epochs=3, resume=path, optimizer=optimizer, callbacks=[bad])
        for name, array in host_parameters(model).items():
            np.testing.assert_array_equal(array, before[name])
        assert (optimizer.steps, model.runner.epochs) == (0, 0)


# Arguments ----------------------------------------------------------------------------------------


def test_a_share_may_be_a_number_of_any_kind():
    plain = classifier().fit(X, C, loss=npnn.CrossEntropyLoss(label_smoothing=0.25), epochs=1)
    for share in (Fraction(1, 4), np.float64(0.25), np.float32(0.25)):
        loss = npnn.CrossEntropyLoss(label_smoothing=share)
        assert classifier().fit(X, C, loss=loss, epochs=1) == plain
        assert type(loss.label_smoothing) is float


@pytest.mark.parametrize("number", [1e-320, 1e-50, 1e300])
def test_a_number_that_float32_has_not_is_no_epsilon_and_no_rate(number):
    for make in (
        lambda: npnn.Adam(epsilon=number),
        lambda: npnn.Adam(alpha=number),
        lambda: npnn.Adam(clip_norm=number),
        lambda: LayerNorm(epsilon=number),
        lambda: npnn.HuberLoss(delta=number),
    ):
        with pytest.raises(ValueError, match=r"must be from 1e-37 to 1e\+37, which float32 has"):
            make()


@pytest.mark.parametrize("shape", [{}, {"a": 3}, [[1, 2]], ((2,), (3,))])
def test_the_shape_of_a_layer_is_that_of_one_array(shape):
    for make in (
        lambda: Dense(4, shape), lambda: Dense(shape, 4), lambda: Linear(shape),
        lambda: BatchNorm(shape), lambda: Latent(4, shape), lambda: npnn.KullbackLeiblerLoss(shape),
        lambda: npnn.layers.Shape(4, shape), lambda: npnn.RMSLoss(shape),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=r"shape.* must "):
            make()


@pytest.mark.parametrize("x", [{"a": X}, (X, X), {"a": X, "b": X}])
@pytest.mark.parametrize("layer", [Dense, Flatten, npnn.ReLU, BatchNorm, Dropout])
def test_several_arrays_are_told_to_be_too_many_for_one_layer(layer, x):
    first = Dense(None, 2) if layer is Dense else layer()
    model = Sequential([first])
    with pytest.raises(ValueError, match=r"layer 0, .*: takes one array, but is given several"):
        model.predict(x)


class Product(npnn.Layer):
    def build(self, shape_in, rng=None):
        self.shape_in = self.accept(shape_in)
        self.shape_out = self.shape_in["a"]
        return self.shape_out

    def forward(self, x):
        self.x = x
        return x["a"] * x["b"]

    def backward(self, grad_y):
        return {"a": grad_y * self.x["b"], "b": grad_y * self.x["a"]}


def test_an_input_that_is_missing_is_named():
    model = Sequential([Product(), Dense(None, 1)])
    model.fit({"a": X, "b": X}, T, epochs=1)
    for use in (
        lambda: model.predict({"a": X}),
        lambda: model.fit({"a": X}, T),
        lambda: model.evaluate({"a": X}, T),
    ):
        with pytest.raises(ValueError, match="inputs lack 'b': the model takes"):
            use()


def test_what_is_always_1_is_no_metric():
    with pytest.raises(ValueError, match="'top_3' is always 1 where there are 3 classes"):
        classifier().fit(X, C, metrics=["top_3"])
    assert "top_2" in classifier().fit(X, C, epochs=1, metrics=["top_2"])


def test_parameters_that_diverge_are_not_called_the_loss():
    optimizer = npnn.GradientDescent(alpha=1e37)
    model = Sequential([Dense(4, 1)], seed=0)
    with pytest.raises(npnn.DivergedError, match="the parameters became infinite or NaN at epoch"):
        model.fit(1e3 * X, T, epochs=1, optimizer=optimizer, batch_size=12)


def test_what_a_layer_gives_instead_of_an_array_is_told_in_one_line():
    class Lists(Linear):
        def forward(self, x):
            return [x]

    model = Sequential([Lists(), Dense(4, 1)])
    with pytest.raises(TypeError, match=r"forward gave .*, but an array of shape") as caught:
        model.predict(RNG.standard_normal((500, 4)))
    assert len(str(caught.value).splitlines()) == 1


# Parts of one's own -------------------------------------------------------------------------------


class Plain(npnn.optimizers.Optimizer):
    def update(self, parameters, gradients, *, rate):
        return (parameters - rate * gradients,)


class Bare(Plain):
    def update(self, parameters, gradients, *, rate):
        return parameters - rate * gradients


class Summed(Plain):
    def update(self, parameters, gradients, *, rate):
        xp = array_namespace(parameters)
        return (xp.sum(parameters - rate * gradients),)


class Forgets(Plain):
    def update(self, parameters, gradients, *, rate):
        return None


@pytest.mark.parametrize("kind", [Bare, Summed, Forgets])
def test_an_optimizer_that_returns_something_else_is_told_and_changes_nothing(kind, backend_name):
    model, same = (regression(backend=backend_name) for _ in range(2))
    before = host_parameters(model)
    with pytest.raises(TypeError, match=f"{kind.__name__}.update must return a tuple of arrays"):
        model.fit(X, T, epochs=1, optimizer=kind(0.1))
    for name, array in host_parameters(model).items():
        np.testing.assert_array_equal(array, before[name])
    model.fit(X, T, epochs=1, optimizer=Plain(0.1), seed=0)
    same.fit(X, T, epochs=1, optimizer=npnn.GradientDescent(0.1), seed=0)
    for name, array in host_parameters(model).items():
        np.testing.assert_allclose(array, host_parameters(same)[name], rtol=1e-6)


class Squares(npnn.losses.LossLayer):
    def value(self, y, t):
        return (y - t) ** 2

    def derivative(self, y, t):
        return 2.0 * (y - t)


class MeanOfSamples(Squares):
    def value(self, y, t):
        return array_namespace(y).mean((y - t) ** 2, axis=0)


class OneNumber(Squares):
    def value(self, y, t):
        return array_namespace(y).mean((y - t) ** 2)


class Nothing(Squares):
    def value(self, y, t):
        return None


class SlopeOfAll(Squares):
    def derivative(self, y, t):
        return array_namespace(y).sum(2.0 * (y - t))


@pytest.mark.parametrize("kind", [MeanOfSamples, OneNumber, Nothing, SlopeOfAll])
def test_a_loss_that_gives_no_number_for_each_output_is_told(kind, backend_name):
    model = regression(backend=backend_name)
    assert model.fit(X, T, epochs=1, loss=Squares()).num_epochs == 1
    message = f"{kind.__name__}: (value|derivative) gave .*, but .* each output .*needed"
    with pytest.raises(ValueError, match=message):
        model.fit(X, T, epochs=1, loss=kind())


class Words(npnn.schedules.Schedule):
    def __call__(self, count):
        return "a"


class Below(Words):
    def __call__(self, count):
        return -1.0


@pytest.mark.parametrize("kind", [Words, Below])
def test_what_a_schedule_of_ones_own_gives_is_looked_at(kind):
    for how in (
        {"optimizer": npnn.Adam(schedule=kind())},
        {"callbacks": [LearningRateSchedule(kind())]},
    ):
        with pytest.raises(
            (TypeError, ValueError), match=rf"what {kind.__name__}\(.*\) gives for 0"
        ):
            regression().fit(X, T, epochs=1, **how)


def test_a_method_of_a_callback_that_is_never_called_is_named():
    for name, meant in (("on_epoch_ends", "on_epoch_end"), ("on_train_batch_end", "on_batch_end")):
        kind = type("Mine", (npnn.Callback,), {name: lambda self, training, metrics: None})
        with pytest.raises(TypeError, match=f"Mine has {name}, which is never called.*{meant}"):
            regression().fit(X, T, callbacks=[kind()])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([np.ones(2)], "must return a dict of names and arrays"),
        ({"a": np.array([object()])}, "returns as 'a' an array of object"),
        ({"a": np.array([1j])}, "returns as 'a' an array of complex128"),
    ],
)
def test_what_a_callback_goes_on_from_is_looked_at_before_training(arrays, message, tmp_path):
    kind = type("Mine", (npnn.Callback,), {"get_arrays": lambda self: arrays})
    model = regression()
    before = host_parameters(model)
    with pytest.raises(npnn.FileError, match=f"Mine.get_arrays {message}"):
        model.fit(X, T, epochs=1, callbacks=[kind(), Checkpoint(tmp_path / "c.safetensors")])
    for name, array in host_parameters(model).items():
        np.testing.assert_array_equal(array, before[name])
