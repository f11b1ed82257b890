"""Training as a whole: the same on every backend, captured or not, through models and losses."""

import numpy as np
import pytest
from layer_checks import plain_backend
from oracles import (
    ACTIVATIONS,
    LAYERS,
    LOSSES,
    OPTIMIZERS,
    gradients_of_a_step,
    host_parameters,
    numerical_gradients,
    relative_error,
)

import npnn
from npnn import backends, layers
from npnn.backends.libraries.numpy_backend import NumpyBackend


class SquarePenalty(npnn.LossLayer):
    """A tenth of the square of what passes; it needs no targets."""

    needs_targets = False

    def value(self, y, t):
        return 0.1 * y**2

    def derivative(self, y, t):
        return 0.2 * y


class Multiply(npnn.Layer):
    """What comes in times a uniform random number, in training; nothing else otherwise."""

    noise = "uniform"

    def forward(self, x):
        self.scale = self.random if self.training else None
        return x if self.scale is None else x * self.scale

    def backward(self, grad_y):
        return grad_y if self.scale is None else grad_y * self.scale


class Centre(npnn.Layer):
    """What comes in minus its running mean, which counts as a constant."""

    state_names = ("mean",)

    def build(self, shape_in, rng=None):
        self.shape_in = self.shape_out = self.accept(shape_in)
        self.draw("mean", "Constant", rng, self.shape_in)
        return self.shape_out

    def forward(self, x):
        if self.training:
            of_batch = npnn.arrays.array_namespace(x).mean(x, axis=0)
            self.mean = 0.75 * self.mean + 0.25 * of_batch
        return x - self.mean

    def backward(self, grad_y):
        return grad_y


def training(model, loss, **options):
    """Return an optimizer that trains `model` on `loss`."""
    model.chain = loss
    optimizer = options.pop("optimizer", npnn.Adam)(**options)
    optimizer.model = model
    return optimizer


# The same on every backend -----------------------------------------------------------------------


def after_xor(backend, dtype, seed=3):
    """Return a model after 200 steps of learning XOR."""
    layers = [npnn.Dense(2, 4), npnn.LeakyReLU(), npnn.Dense(4, 4), npnn.LeakyReLU()]
    layers += [npnn.Dense(4, 2), npnn.Softmax()]
    model = npnn.Sequential(layers, backend=backend, dtype=dtype, seed=seed)
    optimizer = training(model, npnn.CrossEntropyLoss(), alpha=1e-2)
    rng = np.random.default_rng(0)
    for _ in range(200):
        x = rng.uniform(-1.0, 1.0, (32, 2))
        optimizer.step(x, (x[:, 0] * x[:, 1] > 0.0).astype(np.int64))
    return model


@pytest.fixture(scope="module")
def xor_on_numpy():
    return {dtype: host_parameters(after_xor("numpy", dtype)) for dtype in backends.DTYPES}


@pytest.mark.parametrize("dtype", backends.DTYPES)
def test_numpy_learns_xor(dtype):
    # Two of forty starts get stuck; the other 38 are right about 0.92 to 0.99 of the plane.
    x = np.random.default_rng(1).uniform(-1.0, 1.0, (4000, 2))
    models = [after_xor("numpy", dtype, seed) for seed in range(3)]
    right = [np.mean(model.predict_class(x) == (x[:, 0] * x[:, 1] > 0.0)) for model in models]
    assert max(right) > 0.9


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_the_same_seed_and_batches_give_the_same_parameters_on_every_backend(
    dtype, tolerance, backend_name, xor_on_numpy
):
    parameters = host_parameters(after_xor(backend_name, dtype))
    for name, expected in xor_on_numpy[dtype].items():
        np.testing.assert_allclose(parameters[name], expected, rtol=0, atol=tolerance)


def test_rounding_to_float32_is_all_that_the_dtypes_differ_by(xor_on_numpy):
    single, double = (xor_on_numpy[dtype] for dtype in backends.DTYPES)
    for name, expected in double.items():
        np.testing.assert_allclose(single[name], expected, rtol=0, atol=1e-5)


# Captured or not ---------------------------------------------------------------------------------

# Every layer, every loss and every optimizer is in at least one of these. A layer that is not
# listed takes part with its arguments by default, or is added here.
CONSTRUCT = {
    # Not a bias before a mean is taken off: its gradient is rounding, which Adam blows up.
    "BatchNorm": lambda: npnn.Sequential([npnn.Tanh(), layers.BatchNorm()]),
    "Dense": lambda: npnn.Dense(3, 3),
    "Conv2D": lambda: of_images(layers.Conv2D(None, 1, (2, 1), padding="same")),
    "UpConv2D": lambda: of_images(layers.UpConv2D(None, 1, (2, 1), padding="same")),
    "MaxPool": lambda: of_images(layers.MaxPool(kernel_size=1)),
    "AvgPool": lambda: of_images(layers.AvgPool(kernel_size=1)),
    "GlobalAvgPool": lambda: of_images(layers.GlobalAvgPool(), (1, 1, 3)),
    "Pad2D": lambda: of_images(
        npnn.Sequential([layers.Pad2D(None, 1), layers.MaxPool(kernel_size=(3, 1))])
    ),
    "Shape": lambda: layers.Shape(None, (3,)),
    "Parallel": lambda: layers.Parallel([npnn.Dense(None, 1), npnn.Dense(None, 2)]),
    "Residual": lambda: layers.Residual([npnn.Dense(None, 3), npnn.Tanh()]),
    "Inception": lambda: of_images(
        npnn.Sequential([layers.Inception(None, 1, 1, 1, 1, 1, 1), layers.Conv2D(None, 1, 1)])
    ),
    "Latent": lambda: npnn.Sequential([layers.Latent(None, 4), npnn.Dense(None, 3)]),
    "Sample": lambda: npnn.Sequential([layers.Latent(None, 6), layers.Sample()]),
}


def of_images(layer, shape=(1, 3, 1)):
    """Return `layer` between rows of three numbers, seen as an image."""
    return npnn.Sequential([layers.Shape(None, shape), layer, layers.Flatten()])


OPTIONS = [{}, {"clip_norm": 0.5, "weight_decay_l1": 0.01}, {"clip_value": 0.1}]
COUNT = max(len(ACTIVATIONS) + len(LAYERS), len(LOSSES), len(OPTIMIZERS))
KINDS = [*ACTIVATIONS, *LAYERS]
TRIPLES = [
    (
        KINDS[i % len(KINDS)],
        LOSSES[i % len(LOSSES)],
        OPTIMIZERS[i % len(OPTIMIZERS)],
        OPTIONS[i % 3],
    )
    for i in range(COUNT)
]


def trained(kind, loss, optimizer, options, backend, steps, capture):
    """Return the parameters, the losses and the outputs of some training steps."""
    layer = CONSTRUCT.get(kind.__name__, kind)()
    # Probabilities suit every loss, and Sigmoid is the canonical activation of one.
    last = npnn.Softmax() if loss is npnn.CrossEntropyLoss else npnn.Sigmoid()
    model = npnn.Sequential(
        [npnn.Dense(2, 3), layer, npnn.Dense(3, 2), last],
        backend=backend,
        dtype="float64",
        seed=1,
        capture=capture,
    )
    optimizer = training(model, loss(), optimizer=optimizer, alpha=0.01, **options)
    rng, losses = np.random.default_rng(4), []
    for _ in range(steps):
        optimizer.step(rng.standard_normal((6, 2)), np.eye(2)[rng.integers(2, size=6)])
        losses.append(model.chain.get_loss())
    y = model.backend.to_numpy(model.predict(rng.standard_normal((6, 2))))
    return [*host_parameters(model).values(), np.array(losses), y]


@pytest.mark.parametrize(
    ("kind", "loss", "optimizer", "options"),
    TRIPLES,
    ids=["-".join(kind.__name__ for kind in triple[:3]) for triple in TRIPLES],
)
@pytest.mark.every_case
def test_a_captured_step_computes_what_the_plain_one_does(
    kind, loss, optimizer, options, captured_on
):
    # The plan is this project's own; what another library compiles takes fewer steps.
    backend = backends.get(captured_on)
    compiled = type(backend).capture is not backends.Backend.capture
    steps = 100 if isinstance(backend, NumpyBackend) else 15 if compiled else 3
    captured, plain = (
        trained(kind, loss, optimizer, options, name, steps, capture)
        for name, capture in [(captured_on, True), (plain_backend(captured_on), False)]
    )
    for ours, expected in zip(captured, plain, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_a_captured_step_takes_batches_of_changing_size(captured_on):
    def run(backend, capture):
        model = npnn.Sequential(
            [npnn.Dense(2, 3), npnn.Tanh(), npnn.Dense(3, 2)],
            backend=backend,
            dtype="float64",
            seed=0,
            capture=capture,
        )
        optimizer = training(model, npnn.RMSLoss())
        rng = np.random.default_rng(0)
        for size in (4, 1, 4, 7, 4):
            optimizer.step(rng.standard_normal((size, 2)), rng.standard_normal((size, 2)))
        return [*host_parameters(model).values(), np.array(model.chain.get_loss())]

    captured, plain = run(captured_on, True), run(plain_backend(captured_on), False)
    for ours, expected in zip(captured, plain, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_without_capture_layers_keep_the_activations_and_gradients_of_the_last_step(backend_name):
    dense = npnn.Dense(2, 3)
    model = npnn.Sequential(
        [dense, npnn.Sigmoid()], backend=backend_name, dtype="float64", seed=0, capture=False
    )
    optimizer = training(model, npnn.RMSLoss(), optimizer=npnn.GradientDescent, alpha=1.0)
    before = host_parameters(model)
    optimizer.step([[1.0, 2.0]], [[0.0, 0.5, 1.0]])
    after = host_parameters(model)
    to_numpy = model.backend.to_numpy
    np.testing.assert_array_equal(to_numpy(dense.x), [[1.0, 2.0]])
    np.testing.assert_allclose(to_numpy(dense.grad_w), before["0.w"] - after["0.w"], atol=1e-14)
    y = to_numpy(model.layers[1].y)
    np.testing.assert_allclose(
        to_numpy(model.chain.loss), 0.5 * (y - [[0.0, 0.5, 1.0]]) ** 2, atol=1e-15
    )


def test_a_captured_step_sees_a_changed_momentum(working_backends):
    def run(backend):
        model = npnn.Sequential(
            [npnn.Dense(1, 1, initializer="Constant")], backend=backend, dtype="float64"
        )
        optimizer = training(model, npnn.RMSLoss(), optimizer=npnn.SGD, alpha=0.5)
        for optimizer.momentum in (0.0, 0.9):
            optimizer.step([[0.0]], [[8.0]])
        return float(model.parameters()["0.b"][0])

    assert [run(name) for name in working_backends] == [9.6] * len(working_backends)


# Metrics -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", backends.DTYPES)
def test_a_training_step_reports_the_loss_and_accuracy_of_its_batches(dtype, captured_on):
    model = npnn.Sequential(
        [npnn.Dense(2, 2, initializer="Constant"), npnn.Sigmoid()],
        backend=captured_on,
        dtype=dtype,
    )
    loss = npnn.BinaryCrossEntropyLoss()
    optimizer = training(model, loss, alpha=1e-12)
    optimizer.step(np.zeros((1, 2)), [[0.0, 1.0]])
    optimizer.step(np.zeros((3, 2)), np.zeros((3, 2)))
    assert loss.num_samples == 4
    assert loss.get_loss() == pytest.approx(2.0 * np.log(2.0), rel=1e-6)
    optimizer.step(np.zeros((1, 2)), [[0.0, 1.0]])
    optimizer.predict(np.zeros((3, 2)), np.ones((3, 2)))
    optimizer.predict(np.zeros((2, 2)))
    assert loss.num_samples == 3


@pytest.mark.parametrize("dtype", backends.DTYPES)
def test_the_reported_accuracy_is_that_of_the_outputs(dtype, captured_on):
    model = npnn.Sequential([npnn.Softmax(2)], backend=captured_on, dtype=dtype)
    model.chain = loss = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    optimizer.predict([[1.0, 0.0], [0.0, 1.0]], [0, 0])
    optimizer.predict([[1.0, 0.0], [0.0, 1.0]], [0, 1])
    assert loss.get_accuracy() == 0.75


# Models and losses in one chain ------------------------------------------------------------------


def autoencoder(backend):
    encoder = npnn.Sequential(
        [npnn.Dense(3, 2), npnn.Tanh()], backend=backend, dtype="float64", seed=0
    )
    decoder = npnn.Sequential(
        [npnn.Dense(2, 3), npnn.Sigmoid()], backend=backend, dtype="float64", seed=1
    )
    penalty, loss = SquarePenalty(), npnn.RMSLoss()
    encoder.chain, penalty.chain, decoder.chain = penalty, decoder, loss
    return encoder, decoder, penalty, loss


def test_the_gradients_of_a_chain_are_those_of_the_sum_of_its_losses(captured_on):
    encoder, decoder, penalty, loss = autoencoder(captured_on)
    x = np.random.default_rng(5).standard_normal((4, 3))
    models = [encoder, decoder]
    actual = gradients_of_a_step(models, x, x)
    expected = numerical_gradients(models, [penalty, loss], x, x)
    for ours, theirs in zip(actual, expected, strict=True):
        for name in theirs:
            assert relative_error(ours[name], theirs[name]) < 1e-6


@pytest.mark.parametrize("loss", LOSSES, ids=lambda kind: kind.__name__)
def test_the_gradients_of_a_model_are_those_of_its_loss(loss, captured_on):
    last = npnn.Softmax() if loss is npnn.CrossEntropyLoss else npnn.Sigmoid()
    model = npnn.Sequential([npnn.Dense(3, 2), last], backend=captured_on, dtype="float64", seed=2)
    model.chain = loss()
    rng = np.random.default_rng(6)
    x, t = rng.standard_normal((4, 3)), np.eye(2)[rng.integers(2, size=4)]
    (actual,) = gradients_of_a_step([model], x, t)
    (expected,) = numerical_gradients([model], [model.chain], x, t)
    for name in expected:
        assert relative_error(actual[name], expected[name]) < 1e-6


def test_each_loss_of_a_chain_keeps_its_own_sum(backend_name):
    encoder, decoder, penalty, loss = autoencoder(backend_name)
    optimizer = npnn.Adam(alpha=1e-3)
    optimizer.model = encoder
    x = np.random.default_rng(7).standard_normal((4, 3))
    to_numpy = encoder.backend.to_numpy
    code, y = to_numpy(encoder.predict(x)), to_numpy(optimizer.predict(x, x))
    np.testing.assert_allclose(to_numpy(decoder.predict(code)), y, atol=1e-14)
    assert penalty.get_loss() == pytest.approx(0.1 * (code**2).sum() / 4)
    assert loss.get_loss() == pytest.approx(0.5 * ((y - x) ** 2).sum() / 4)
    before = [host_parameters(model) for model in (encoder, decoder)]
    optimizer.step(x, x)
    for model, old in zip((encoder, decoder), before, strict=True):
        for name, array in host_parameters(model).items():
            assert not np.array_equal(array, old[name])


def test_a_model_may_be_trained_in_a_chain_and_alone_in_turn(backend_name):
    encoder, decoder, _, _ = autoencoder(backend_name)
    together, alone = npnn.GradientDescent(0.1), npnn.GradientDescent(0.1)
    together.model, alone.model = encoder, decoder
    x = np.random.default_rng(8).standard_normal((4, 3))
    together.step(x, x)
    (gradients,) = gradients_of_a_step([decoder], x[:, :2], x)
    before = [host_parameters(model) for model in (encoder, decoder)]
    alone.step(x[:, :2], x)
    after = host_parameters(decoder)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(after[name], before[1][name] - 0.1 * gradient, atol=1e-14)
    both = gradients_of_a_step([encoder, decoder], x, x)
    together.step(x, x)
    for model, old, of_model in zip((encoder, decoder), (before[0], after), both, strict=True):
        for name, array in host_parameters(model).items():
            np.testing.assert_allclose(array, old[name] - 0.1 * of_model[name], atol=1e-14)


def test_a_penalty_alone_needs_no_targets(backend_name):
    model = npnn.Sequential([npnn.Dense(2, 2)], backend=backend_name, dtype="float64", seed=0)
    optimizer = training(model, SquarePenalty(), optimizer=npnn.GradientDescent, alpha=0.1)
    x, losses = np.eye(2), []
    for _ in range(3):
        optimizer.step(x, None)
        losses.append(model.chain.get_loss())
    assert losses[0] > losses[1] > losses[2]


def test_a_chain_that_does_not_fit_is_refused_with_the_place_of_the_link():
    encoder = npnn.Sequential([npnn.Dense(3, 2)])
    encoder.chain = SquarePenalty()
    encoder.chain.chain = npnn.Sequential([npnn.Dense(5, 3)])
    optimizer = npnn.Adam()
    optimizer.model = encoder
    with pytest.raises(ValueError, match=r"(?s)link 2 of the chain.*\(5,\), but is given \(2,\)"):
        optimizer.step(np.zeros((1, 3)), np.zeros((1, 3)))


def test_a_chain_that_comes_back_to_a_link_is_refused():
    encoder = npnn.Sequential([npnn.Dense(2, 2)])
    encoder.chain = npnn.Sequential([npnn.Dense(2, 2)])
    encoder.chain.chain = encoder
    optimizer = npnn.Adam()
    optimizer.model = encoder
    with pytest.raises(ValueError, match="the chain comes back to"):
        optimizer.step(np.zeros((1, 2)), np.zeros((1, 2)))


def test_a_chain_that_ends_with_a_model_cannot_be_trained():
    encoder, decoder, _, _ = autoencoder("numpy")
    decoder.chain = None
    optimizer = npnn.Adam()
    optimizer.model = encoder
    with pytest.raises(ValueError, match="loss"):
        optimizer.step(np.zeros((1, 3)), np.zeros((1, 3)))


def test_models_of_different_dtypes_cannot_be_chained():
    encoder = npnn.Sequential([npnn.Dense(2, 2)], dtype="float32")
    encoder.chain = npnn.Sequential([npnn.Dense(2, 2)], dtype="float64")
    encoder.chain.chain = npnn.RMSLoss()
    optimizer = npnn.Adam()
    optimizer.model = encoder
    with pytest.raises(ValueError, match="dtype"):
        optimizer.step(np.zeros((1, 2)), np.zeros((1, 2)))


# Layers made of layers, with noise, with state ---------------------------------------------------


def test_a_model_in_a_model_trains_as_its_layers_in_a_row(backend_name):
    def layers():
        tanh = npnn.Tanh()
        return npnn.Dense(2, 3), npnn.Dense(3, 3, initializer="HeNormal"), tanh, npnn.Dense(3, 1)

    def run(model):
        optimizer = training(model, npnn.RMSLoss(), alpha=0.05)
        rng = np.random.default_rng(9)
        for _ in range(5):
            optimizer.step(rng.standard_normal((4, 2)), rng.standard_normal(4))
        return list(host_parameters(model).values())

    options = {"backend": backend_name, "dtype": "float64", "seed": 0}
    first, second, third, fourth = layers()
    nested = npnn.Sequential([first, npnn.Sequential([second, third]), fourth], **options)
    flat = npnn.Sequential(layers(), **options)
    start = list(host_parameters(flat).values())
    nested.set_arrays(dict(zip(nested.parameters(), start, strict=True)))
    for ours, expected in zip(run(nested), run(flat), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-13)


def test_the_logits_of_a_model_in_a_model_give_the_same_gradients(backend_name):
    options = {"backend": backend_name, "dtype": "float64", "seed": 0}
    nested = npnn.Sequential([npnn.Sequential([npnn.Dense(2, 3), npnn.Softmax()])], **options)
    flat = npnn.Sequential([npnn.Dense(2, 3), npnn.Softmax()], **options)
    nested.set_arrays({f"0.{name}": array for name, array in host_parameters(flat).items()})
    for model in (nested, flat):
        model.chain = npnn.CrossEntropyLoss()
    x, t = [[1.0, 2.0], [3.0, -1.0]], [2, 0]
    (ours,), (expected,) = gradients_of_a_step([nested], x, t), gradients_of_a_step([flat], x, t)
    for name, gradient in expected.items():
        np.testing.assert_allclose(ours[f"0.{name}"], gradient, atol=1e-14)


def test_random_numbers_of_layers_are_the_same_on_every_backend(captured_on):
    def run(backend):
        model = npnn.Sequential(
            [npnn.Dense(3, 4), Multiply(), npnn.Dense(4, 2), Multiply()],
            backend=backend,
            dtype="float64",
            seed=0,
        )
        optimizer = training(model, npnn.RMSLoss(), alpha=0.05)
        rng, losses = np.random.default_rng(10), []
        for size in (5, 5, 3):
            optimizer.step(rng.standard_normal((size, 3)), rng.standard_normal((size, 2)))
            losses.append(model.chain.get_loss())
        return [*host_parameters(model).values(), np.array(losses)], model

    (ours, model), (expected, _) = run(captured_on), run("numpy")
    for actual, array in zip(ours, expected, strict=True):
        np.testing.assert_allclose(actual, array, rtol=0, atol=1e-12)
    to_numpy = model.backend.to_numpy
    x = np.ones((2, 3))
    np.testing.assert_array_equal(to_numpy(model.predict(x)), to_numpy(model.predict(x)))
    w0, b0, w2, b2 = ours[:4]
    np.testing.assert_allclose(to_numpy(model.predict(x)), (x @ w0 + b0) @ w2 + b2)


def test_each_step_has_random_numbers_of_its_own(backend_name):
    # With inputs of 0 and targets of 0, the gradient at the bias b is b * noise**2.
    model = npnn.Sequential([npnn.Dense(1, 1), Multiply()], backend=backend_name, dtype="float64")
    model.set_arrays({"0.w": np.ones((1, 1)), "0.b": np.ones(1)})
    model.chain = npnn.RMSLoss()
    changes = {float(gradients_of_a_step([model], [[0.0]], [[0.0]])[0]["0.b"][0]) for _ in range(4)}
    assert len(changes) == 4
    assert all(0.0 <= change < 1.0 for change in changes)


@pytest.mark.parametrize("capture", [True, False])
def test_the_state_of_a_layer_goes_from_step_to_step_and_not_through_predictions(
    capture, captured_on
):
    model = npnn.Sequential(
        [npnn.Dense(2, 2), Centre()], backend=captured_on, dtype="float64", capture=capture
    )
    model.set_arrays({"0.w": np.eye(2), "0.b": np.zeros(2), "1.mean": np.zeros(2)})
    optimizer = training(model, npnn.RMSLoss(), alpha=1e-12)
    expected = np.zeros(2)
    for x in (np.array([[4.0, 0.0]]), np.array([[8.0, 4.0], [0.0, 4.0]]), np.ones((3, 2))):
        optimizer.step(x, np.zeros_like(x))
        expected = 0.75 * expected + 0.25 * x.mean(axis=0)
        y = model.backend.to_numpy(optimizer.predict(x))
        np.testing.assert_allclose(y, x - expected, atol=1e-10)
    assert list(model.parameters()) == ["0.w", "0.b"]
    assert list(model.state()) == ["1.mean"]
    state = model.backend.to_numpy(model.state()["1.mean"])
    np.testing.assert_allclose(state, expected, atol=1e-10)


# After an error ----------------------------------------------------------------------------------


class Faulty(npnn.LossLayer):
    """A loss whose derivative was forgotten."""

    def value(self, y, t):
        return y - t


def test_after_a_failed_step_the_model_is_what_it_was(working_backends):
    x = np.ones((1, 2))
    for name in working_backends:
        model = npnn.Sequential([npnn.Dense(2, 1)], backend=name, seed=0)
        before = model.backend.to_numpy(model.predict(x))
        optimizer = training(model, Faulty())
        with pytest.raises(NotImplementedError):
            optimizer.step(x, [[1.0]])
        np.testing.assert_array_equal(model.backend.to_numpy(model.predict(x)), before)


def test_a_failed_step_is_not_counted():
    optimizer = training(npnn.Sequential([npnn.Dense(2, 1)]), Faulty())
    with pytest.raises(NotImplementedError):
        optimizer.step(np.ones((1, 2)), [[1.0]])
    assert optimizer.steps == 0


@pytest.mark.parametrize("capture", [True, False])
def test_training_goes_on_from_a_weight_that_was_set_by_hand(capture, captured_on):
    model = npnn.Sequential(
        [npnn.Dense(1, 1, initializer="Constant")], backend=captured_on, capture=capture
    )
    optimizer = training(model, npnn.RMSLoss(), optimizer=npnn.GradientDescent, alpha=0.5)
    optimizer.step([[0.0]], [[0.0]])
    model.layers[0].w = model.backend.asarray([[5.0]])
    optimizer.step([[1.0]], [[0.0]])
    assert float(model.parameters()["0.w"][0, 0]) == 2.5
