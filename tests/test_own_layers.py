"""Layers that a user writes, and what users set and hand in."""

import numpy as np
import pytest
from test_capture import assert_close

import npnn
from npnn.arrays import array_namespace, scatter_add
from npnn.layers import Dense, Layer, Softmax, Tanh

RNG = np.random.default_rng(0)


class Embedding(Layer):
    """A row of w for each integer."""

    parameter_names = ("w",)
    takes_integers = True

    def __init__(self, rows, size):
        self.rows, self.size = rows, size

    def build(self, shape_in, rng=None):
        self.shape_in = self.accept(shape_in)
        self.shape_out = (*self.shape_in, self.size)
        self.draw("w", "GlorotUniform", rng, (self.rows, self.size), self.rows, self.size)
        return self.shape_out

    def forward(self, x):
        xp = array_namespace(x)
        self.index = xp.reshape(x, (-1,))
        return xp.reshape(xp.take(self.w, self.index, axis=0), (*x.shape, self.size))

    def backward(self, grad_y):
        xp = array_namespace(grad_y)
        rows = xp.reshape(grad_y, (-1, self.size))
        self.grad_w = scatter_add(xp.zeros_like(self.w), self.index, rows)


class Recurrent(Layer):
    """h <- tanh(x u + h v), from zero, over sequences of any length; the last h comes out."""

    parameter_names = ("u", "v")

    def __init__(self, shape_out):
        self.shape_out = (shape_out,)

    def build(self, shape_in, rng=None):
        inputs, units = shape_in[-1], self.shape_out[0]
        self.shape_in = (None, inputs)
        self.draw("u", "GlorotUniform", rng, (inputs, units), inputs, units)
        self.draw("v", "GlorotUniform", rng, (units, units), units, units)
        return self.shape_out

    def forward(self, x):
        xp = array_namespace(x)
        self.x, self.h = x, [xp.zeros_like(x[:, 0, :] @ self.u)]
        for time in range(x.shape[1]):
            self.h.append(xp.tanh(x[:, time, :] @ self.u + self.h[-1] @ self.v))
        return self.h[-1]

    def backward(self, grad_y):
        xp, grad_x = array_namespace(grad_y), []
        self.grad_u, self.grad_v = xp.zeros_like(self.u), xp.zeros_like(self.v)
        for time in reversed(range(self.x.shape[1])):
            grad_a = grad_y * (1.0 - self.h[time + 1] ** 2)
            self.grad_u = self.grad_u + self.x[:, time, :].mT @ grad_a
            self.grad_v = self.grad_v + self.h[time].mT @ grad_a
            grad_x.append((grad_a @ self.u.mT)[:, None, :])
            grad_y = grad_a @ self.v.mT
        return xp.concat(grad_x[::-1], axis=1)


class Product(Layer):
    """The product of two inputs, element by element."""

    def build(self, shape_in, rng=None):
        self.shape_in = self.accept(shape_in)
        self.shape_out = self.shape_in["a"]
        return self.shape_out

    def forward(self, x):
        self.x = x
        return x["a"] * x["b"]

    def backward(self, grad_y):
        return {"a": grad_y * self.x["b"], "b": grad_y * self.x["a"]}


def model_of(layers, backend_name, capture=True, **options):
    return npnn.Sequential(
        layers, backend=backend_name, dtype="float64", seed=1, capture=capture, **options
    )


def numbers_of(model):
    return [np.array(model.backend.to_numpy(a)) for a in model.parameters().values()]


def trained(layers, batches, backend_name, capture, loss=None, weights=None):
    """Return the losses and the parameters after a step on each batch."""
    model = model_of(layers, backend_name, capture)
    model.chain = loss or npnn.RMSLoss()
    optimizer = npnn.SGD(alpha=0.1, momentum=0.5)
    optimizer.model = model
    losses = []
    for x, t in batches:
        optimizer.step(x, t, w=None if weights is None else weights[: len(t)])
        losses.append(model.chain.get_loss())
    return [np.array(losses), *numbers_of(model)], model


def slope_is_that_of_the_loss(layers, x, t, w=None):
    """Compare a step of plain gradient descent with central differences of the loss."""
    model = model_of(layers, "numpy")
    model.chain = npnn.RMSLoss()
    model.predict(x)  # from here on the shapes are known
    before = {name: np.array(a) for name, a in model.parameters().items()}

    def loss(values):
        model.set_arrays(values)
        return model.evaluate(x, t, w)["loss"]

    optimizer = npnn.GradientDescent(alpha=1.0)
    optimizer.model = model
    optimizer.step(x, t, w=w)
    after = {name: np.array(a) for name, a in model.parameters().items()}
    for name, array in before.items():
        for place in list(np.ndindex(array.shape))[:: max(1, array.size // 7)]:
            changed = []
            for step in (1e-6, -1e-6):
                values = {key: a.copy() for key, a in before.items()}
                values[name][place] += step
                changed.append(loss(values))
            difference = (changed[0] - changed[1]) / 2e-6
            assert difference == pytest.approx(before[name][place] - after[name][place], abs=1e-7)


WORDS = [RNG.integers(0, 7, (5, 3)) for _ in range(3)]
TARGETS = [RNG.standard_normal((5, 2)) for _ in range(3)]


def words():
    return [Embedding(7, 4), npnn.Flatten(), Dense(None, 2)]


def sequences():
    return [Recurrent(4), Dense(None, 2)]


def two_inputs():
    return [Product(), Dense(None, 2)]


def shared():
    twice = Dense(4, 4)
    return [Dense(3, 4), Tanh(), twice, Tanh(), twice, Dense(4, 2)]


SEQUENCES = [RNG.standard_normal((5, length, 3)) for length in (4, 6, 4)]
PAIRS = [{"a": RNG.standard_normal((5, 3)), "b": RNG.standard_normal((5, 3))} for _ in range(3)]
ROWS = [RNG.standard_normal((5, 3)) for _ in range(3)]
CASES = [(words, WORDS), (sequences, SEQUENCES), (two_inputs, PAIRS), (shared, ROWS)]


@pytest.mark.parametrize(("layers", "inputs"), CASES)
def test_a_layer_of_ones_own_trains_captured_as_uncaptured_and_as_on_numpy(
    layers, inputs, backend_name
):
    batches = list(zip(inputs, TARGETS, strict=True))
    expected, _ = trained(layers(), batches, "numpy", False)
    for capture in (True, False):
        found, _ = trained(layers(), batches, backend_name, capture)
        assert_close(found, expected, 1e-12)


@pytest.mark.parametrize(("layers", "inputs"), CASES)
def test_its_gradients_are_those_of_the_loss(layers, inputs):
    slope_is_that_of_the_loss(layers(), inputs[0], TARGETS[0])


def test_sequences_of_other_lengths_are_taken_and_others_are_not(backend_name):
    model = model_of(sequences(), backend_name)
    for x in SEQUENCES:
        assert model.predict(x).shape == (5, 2)
    with pytest.raises(ValueError, match=r"\(batch, any, 3\)"):
        model.predict(np.zeros((2, 4, 5)))


def test_integers_arrive_as_they_are(backend_name):
    large = 2**31 - 1 if backend_name == "jax" else 2**53 + 1

    class IsLarge(Layer):
        takes_integers = True

        def forward(self, x):
            xp = array_namespace(x)
            return xp.astype(x == large, xp.float64)

    model = npnn.Sequential([IsLarge()], backend=backend_name, dtype="float64")
    y = model.backend.to_numpy(model.predict([[large], [large - 1]]))
    assert y.ravel().tolist() == [1.0, 0.0]


def test_whole_floats_are_integers_where_a_layer_takes_those_and_others_are_named(backend_name):
    numbers, t = np.arange(12).reshape(6, 2) % 5, np.arange(6) % 3

    def embedding():
        layers = [Embedding(5, 2), npnn.Flatten(), Dense(None, 3), Softmax()]
        return npnn.Sequential(layers, backend=backend_name, seed=0)

    losses = embedding().fit(numbers, t, epochs=2)["loss"]
    for dtype in (np.float32, np.float64, np.uint8):
        assert embedding().fit(numbers.astype(dtype), t, epochs=2)["loss"] == losses
    data = npnn.datasets.Dataset(numbers, t, num_train=5)
    from_data = embedding()
    from_data.fit(data, epochs=1)
    assert from_data.norm is None  # which would make other numbers of them
    embedding().fit(numbers > 2, t, epochs=1)
    model = embedding()
    model.fit(numbers, t, epochs=1)
    model.predict(numbers.astype(np.float32))
    for strange in (0.5, np.nan, 3e9):
        bad = numbers.astype(np.float32)
        bad[3, 1] = strange
        for use in (lambda: model.predict(bad), lambda: model.fit(bad, t)):  # noqa: B023
            with pytest.raises(ValueError, match=r"layer 0, Embedding, must be integers, .*mple 3"):
                use()
    model.norm = npnn.Normalization(0.0, 2.0)
    with pytest.raises(ValueError, match=r"integers, of which model\.norm makes others"):
        model.predict(numbers)


def test_a_layer_that_stands_twice_has_one_set_of_weights(backend_name):
    _, model = trained(shared(), list(zip(ROWS, TARGETS, strict=True)), backend_name, True)
    assert list(model.parameters()) == ["0.w", "0.b", "2.w", "2.b", "5.w", "5.b"]
    assert model.layers[2] is model.layers[4]


def test_two_models_train_the_same_weights_in_turn(backend_name):
    body = Dense(3, 4)
    models = [model_of([body, Tanh(), Dense(4, 2)], backend_name) for _ in range(2)]
    optimizers = []
    for model in models:
        model.chain = npnn.RMSLoss()
        optimizers.append(npnn.SGD(alpha=0.1))
        optimizers[-1].model = model
    seen = [numbers_of(models[0])[0]]
    for turn in range(4):
        optimizers[turn % 2].step(ROWS[0], TARGETS[0])
        weights = [numbers_of(model)[0] for model in models]
        np.testing.assert_array_equal(*weights)
        assert not np.array_equal(weights[0], seen[-1])
        seen.append(weights[0])


@pytest.mark.later("jax")
def test_sample_weights_are_those_of_repeated_samples(backend_name):
    counts = np.array([1, 3, 0, 2, 1])
    x, t = ROWS[0], TARGETS[0]
    again = np.repeat(np.arange(5), counts)
    layers = lambda: [Dense(3, 4), Tanh(), Dense(4, 2)]  # noqa: E731
    for capture in (True, False):
        found, model = trained(layers(), [(x, t)] * 3, backend_name, capture, weights=counts)
        expected, other = trained(layers(), [(x[again], t[again])] * 3, backend_name, capture)
        assert_close(found, expected, 1e-12)
        weighted, repeated = model.evaluate(x, t, counts), other.evaluate(x[again], t[again])
        assert weighted == pytest.approx(repeated, abs=1e-12)


def test_sample_weights_are_in_fit_and_in_each_metric(captured_on):
    x = RNG.standard_normal((40, 3))
    t = RNG.integers(2, size=40)
    w = RNG.integers(0, 3, 40).astype(float)
    model = model_of([Dense(3, 4), Tanh(), Dense(4, 2), Softmax()], captured_on)
    history = model.fit(x, t, w=w, epochs=3, seed=0, validation_data=(x, t, w), batch_size=8)
    again = np.repeat(np.arange(40), w.astype(int))
    expected = model.evaluate(x[again], t[again])
    assert history["val_loss"][-1] == pytest.approx(expected["loss"], abs=1e-10)
    assert history["val_accuracy"][-1] == pytest.approx(expected["accuracy"], abs=1e-10)
    for wrong, message in ((-w, "at least 0"), (w[:3], r"shape \(40,\)"), (0 * w, "not all")):
        if captured_on != "cupy" or "shape" in message:
            with pytest.raises(ValueError, match=message):
                model.fit(x, t, w=wrong, epochs=1)


# What is set ------------------------------------------------------------------------------------


def test_a_frozen_layer_stays_as_it_is_and_thaws(backend_name):
    for capture in (True, False):
        layers = [Dense(3, 4), Tanh(), Dense(4, 2)]
        model = model_of(layers, backend_name, capture)
        model.chain = npnn.RMSLoss()
        optimizer = npnn.Adam(alpha=0.1, weight_decay=0.1)
        optimizer.model = model
        before = numbers_of(model)
        optimizer.step(ROWS[0], TARGETS[0])
        layers[0].trainable = False
        moving = numbers_of(model)
        optimizer.step(ROWS[0], TARGETS[0])
        resting = numbers_of(model)
        layers[0].trainable = True
        optimizer.step(ROWS[0], TARGETS[0])
        after = numbers_of(model)
        same = [[np.array_equal(a, b) for a, b in zip(x, y, strict=True)]
                for x, y in ((before, moving), (moving, resting), (resting, after))]  # fmt: skip
        assert same == [[False] * 4, [True, True, False, False], [False] * 4]


def test_a_frozen_model_says_that_there_is_nothing_to_train(backend_name):
    model = model_of([Dense(3, 2)], backend_name)
    model.layers[0].trainable = False
    with pytest.raises(ValueError, match="every layer has trainable = False"):
        model.fit(ROWS[0], TARGETS[0], epochs=1)


CHANGES = [
    (lambda: npnn.Dropout(0.5), "probability", 0.0),
    (lambda: npnn.LeakyReLU(), "slope", 0.7),
    (lambda: npnn.BatchNorm(), "momentum", 0.1),
    (lambda: npnn.LayerNorm(), "epsilon", 0.5),
]


@pytest.mark.parametrize("capture", [True, False])
@pytest.mark.parametrize(("make", "name", "value"), CHANGES)
def test_a_changed_setting_acts_from_the_next_step_on(make, name, value, capture, captured_on):
    def run(first, then):
        layer = make()
        model = model_of([Dense(3, 4), layer, Dense(4, 2)], captured_on, capture)
        setattr(layer, name, first)
        model.chain = npnn.RMSLoss()
        optimizer = npnn.SGD(alpha=0.1)
        optimizer.model = model
        optimizer.step(ROWS[0], TARGETS[0])
        setattr(layer, name, then)
        for x, t in zip(ROWS[1:], TARGETS[1:], strict=True):
            optimizer.step(x, t)
        return [*numbers_of(model), np.array(model.backend.to_numpy(model.predict(ROWS[0])))]

    old = getattr(make(), name)
    changed, unchanged = run(old, value), run(old, old)
    assert any(not np.allclose(a, b) for a, b in zip(changed, unchanged, strict=True))


@pytest.mark.parametrize("capture", [True, False])
def test_a_changed_loss_and_optimizer_act_from_the_next_step_on(capture, captured_on):
    def run(change):
        model = model_of([Dense(3, 4), Tanh(), Dense(4, 2)], captured_on, capture)
        model.chain = npnn.HuberLoss(delta=5.0)
        optimizer = npnn.SGD(alpha=0.1, momentum=0.5)
        optimizer.model = model
        optimizer.step(ROWS[0], TARGETS[0])
        change(model, optimizer)
        for x, t in zip(ROWS[1:], TARGETS[1:], strict=True):
            optimizer.step(x, t)
        return np.concatenate([a.ravel() for a in numbers_of(model)])

    changes = [
        lambda model, optimizer: None,
        lambda model, optimizer: setattr(model.chain, "delta", 0.01),
        lambda model, optimizer: setattr(optimizer, "momentum", 0.0),
        lambda model, optimizer: setattr(optimizer, "clip_norm", 1e-3),
        lambda model, optimizer: setattr(
            model, "layers", [model.layers[0], npnn.ReLU(), model.layers[2]]
        ),
    ]
    found = [run(change) for change in changes]
    for number, one in enumerate(found):
        for other in found[:number]:
            assert not np.allclose(one, other)


def test_the_weight_of_a_penalty_can_be_changed_between_steps(captured_on):
    model = model_of([Dense(3, 4), npnn.layers.Softplus()], captured_on)
    penalty, decoder = npnn.KullbackLeiblerLoss(beta=0.0), model_of([Dense(4, 2)], captured_on)
    model.chain, penalty.chain, decoder.chain = penalty, decoder, npnn.RMSLoss()
    optimizer = npnn.SGD(alpha=0.1)
    optimizer.model = model
    optimizer.step(ROWS[0], TARGETS[0])
    assert penalty.get_loss() == 0.0
    penalty.beta = 1.0
    optimizer.step(ROWS[0], TARGETS[0])
    assert penalty.get_loss() != 0.0


@pytest.mark.parametrize(
    ("thing", "name", "hint"),
    [
        (Dense(2, 3), "trainble", "trainable"),
        (npnn.Dropout(), "p", "write probability"),
        (npnn.Adam(), "lr", "alpha"),
        (npnn.CrossEntropyLoss(), "label_smothing", "label_smoothing"),
        (npnn.Sequential(), "norms", "norm"),
    ],
)
def test_an_attribute_that_there_is_not_is_refused(thing, name, hint):
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'.*{hint}"):
        setattr(thing, name, 1)


class Counting(Layer):
    state_names = ("count",)

    def build(self, shape_in, rng=None):
        self.count = np.zeros((), self.dtype)
        return super().build(shape_in, rng)

    def forward(self, x):
        self.count = self.count + 1.0
        return x

    def backward(self, grad_y):
        return grad_y


@pytest.mark.parametrize("layer", [Counting, npnn.BatchNorm])
def test_a_step_that_carries_a_state_on_has_nothing_recorded_anew(layer, backend_name):
    model = npnn.Sequential(
        [Dense(3, 2), layer(), Dense(2, 2)], backend=backend_name, capture=False
    )
    model.chain = npnn.RMSLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    x, t = np.ones((5, 3)), np.ones((5, 2))
    optimizer.step(x, t)
    seen = npnn.settings.changes[0]
    optimizer.step(x, t)
    assert npnn.settings.changes[0] == seen
