"""The losses: values, gradients, the canonical link, and the metrics that they keep."""

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import LOSSES, by_name, central_differences, relative_error

import npnn
from npnn import backends

F = torch.nn.functional
BATCH, OUTPUTS = 5, 3
CANONICAL = [kind for kind in LOSSES if kind.canonical_activation is not None]


def any_outputs(rng):
    return rng.normal(0.0, 2.0, (BATCH, OUTPUTS)), rng.normal(0.0, 2.0, (BATCH, OUTPUTS))


def probabilities(rng):
    y = rng.dirichlet(np.full(OUTPUTS, 5.0), BATCH)
    return y, np.eye(OUTPUTS)[rng.integers(OUTPUTS, size=BATCH)]


def answers(rng):
    return rng.uniform(0.05, 0.95, (BATCH, OUTPUTS)), rng.uniform(0.0, 1.0, (BATCH, OUTPUTS))


def gaussians(rng):
    y = np.concatenate([rng.normal(0.0, 1.0, (BATCH, 2)), rng.uniform(0.2, 2.0, (BATCH, 2))], 1)
    return y, np.zeros_like(y)


def divergence(y, t):
    mean, variance = y[:, :2], y[:, 2:]
    normal = torch.distributions.Normal
    unit = normal(torch.zeros_like(mean), torch.ones_like(mean))
    return torch.distributions.kl_divergence(normal(mean, variance.sqrt()), unit).sum()


# For every loss of the package: outputs and targets it is made for, and the same in PyTorch,
# summed over the outputs and the batch.
CASES = {
    "RMSLoss": (any_outputs, lambda y, t: 0.5 * F.mse_loss(y, t, reduction="sum")),
    "L1Loss": (any_outputs, lambda y, t: F.l1_loss(y, t, reduction="sum")),
    "HuberLoss": (any_outputs, lambda y, t: F.huber_loss(y, t, reduction="sum")),
    "KullbackLeiblerLoss": (gaussians, divergence),
    "CrossEntropyLoss": (
        probabilities,
        lambda y, t: F.nll_loss(torch.log(y), t.argmax(dim=-1), reduction="sum"),
    ),
    "BinaryCrossEntropyLoss": (
        answers,
        lambda y, t: F.binary_cross_entropy(y, t, reduction="sum"),
    ),
}

# The same from the logits.
FROM_LOGITS = {
    "RMSLoss": CASES["RMSLoss"][1],
    "CrossEntropyLoss": lambda x, t: F.cross_entropy(x, t, reduction="sum"),
    "BinaryCrossEntropyLoss": (
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="sum")
    ),
}


def case_of(table, kind):
    if kind.__name__ not in table:
        pytest.fail(f"{kind.__name__} is new: add it to the tables in {__file__}")
    return table[kind.__name__]


def loss_of(kind, backend, y, t, logits=None):
    loss = kind()
    logits = None if logits is None else backend.asarray(logits)
    loss.forward(backend.asarray(y), backend.asarray(t, keep_integers=True), logits=logits)
    return loss


# Formulas ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSSES, ids=by_name)
def test_get_loss_is_the_scalar_that_backward_differentiates(kind, backend):
    y, t = case_of(CASES, kind)[0](np.random.default_rng(0))
    gradient = backend.to_numpy(loss_of(kind, backend, y, t).backward())
    expected = central_differences(lambda y: loss_of(kind, backend, y, t).get_loss(), y)
    assert relative_error(gradient, expected) < 1e-6


@pytest.mark.parametrize("kind", LOSSES, ids=by_name)
def test_a_loss_has_the_value_and_the_gradient_of_torch(kind, backend):
    outputs, in_torch = case_of(CASES, kind)
    y, t = outputs(np.random.default_rng(1))
    loss = loss_of(kind, backend, y, t)
    tensor = torch.tensor(y, requires_grad=True)
    expected = in_torch(tensor, torch.tensor(t)) / BATCH
    expected.backward()
    np.testing.assert_allclose(
        backend.to_numpy(loss.backward()), tensor.grad.numpy(), rtol=0, atol=1e-10
    )
    assert loss.loss.shape == y.shape
    assert loss.get_loss() == pytest.approx(expected.item(), abs=1e-10)


@pytest.mark.parametrize("kind", CANONICAL, ids=by_name)
@pytest.mark.later("jax")
def test_a_loss_from_logits_has_the_value_and_the_gradient_of_torch(kind, backend):
    rng = np.random.default_rng(2)
    logits, (_, t) = rng.normal(0.0, 3.0, (BATCH, OUTPUTS)), case_of(CASES, kind)[0](rng)
    y = backend.to_numpy(kind.canonical_activation().forward(backend.asarray(logits)))
    loss = loss_of(kind, backend, y, t, logits)
    tensor = torch.tensor(logits, requires_grad=True)
    expected = case_of(FROM_LOGITS, kind)(tensor, torch.tensor(t)) / BATCH
    expected.backward()
    np.testing.assert_allclose(
        backend.to_numpy(loss.backward()), tensor.grad.numpy(), rtol=0, atol=1e-10
    )
    assert loss.get_loss() == pytest.approx(expected.item(), abs=1e-10)


@pytest.mark.parametrize("kind", CANONICAL, ids=by_name)
def test_the_canonical_gradient_is_that_of_both_derivatives_one_after_the_other(kind, backend):
    rng = np.random.default_rng(3)
    logits, (_, t) = rng.normal(0.0, 2.0, (BATCH, OUTPUTS)), case_of(CASES, kind)[0](rng)
    activation = kind.canonical_activation()
    y = activation.forward(backend.asarray(logits))
    one, two = kind(), kind()
    one.forward(y, backend.asarray(t), logits=backend.asarray(logits))
    two.forward(y, backend.asarray(t))
    at_once = backend.to_numpy(one.backward())
    in_turn = backend.to_numpy(activation.backward(two.backward()))
    np.testing.assert_allclose(at_once, in_turn, rtol=0, atol=1e-12)
    assert one.get_loss() == pytest.approx(two.get_loss(), abs=1e-12)


@pytest.mark.parametrize("kind", CANONICAL, ids=by_name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(data=st.data())
def test_a_canonical_loss_of_any_logits_is_finite_and_so_is_its_gradient(
    kind, dtype, backend_name, data
):
    # The square of the distance is finite only below the root of the largest number.
    largest = {"float32": 1e15, "float64": 1e150}[dtype]
    if kind is not npnn.RMSLoss:
        largest = largest**2
    largest = float(np.dtype(dtype).type(largest))
    numbers = st.floats(-largest, largest, width=32 if dtype == "float32" else 64)
    logits = data.draw(hnp.arrays(dtype, (BATCH, OUTPUTS), elements=numbers))
    backend = backends.get(backend_name, dtype)
    _, t = case_of(CASES, kind)[0](np.random.default_rng(4))
    y = kind.canonical_activation().forward(backend.asarray(logits))
    loss = kind()
    loss.forward(y, backend.asarray(t), logits=backend.asarray(logits))
    assert math.isfinite(loss.get_loss())
    assert np.isfinite(backend.to_numpy(loss.backward())).all()


def test_cross_entropy_of_extreme_logits_is_their_distance(backend32):
    model = npnn.Sequential([npnn.Softmax(3)], backend=backend32)
    model.chain = loss = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    optimizer.predict([[1e4, 0.0, 0.0], [-1e4, 1e4, 0.0]], [1, 0])
    assert loss.get_loss() == pytest.approx((1e4 + 2e4) / 2, rel=1e-6)


def test_binary_cross_entropy_of_extreme_logits_is_their_size(backend32):
    model = npnn.Sequential([npnn.Sigmoid(1)], backend=backend32)
    model.chain = loss = npnn.BinaryCrossEntropyLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    optimizer.predict([[1e4], [-1e4], [1e4]], [0, 1, 1])
    assert loss.get_loss() == pytest.approx((1e4 + 1e4 + 0.0) / 3, rel=1e-6)


@pytest.mark.parametrize("kind", CANONICAL, ids=by_name)
def test_training_at_extreme_logits_keeps_the_parameters_finite(kind, backend32):
    dense = npnn.Dense(2, 3, initializer=npnn.initializers.Constant(1e4))
    model = npnn.Sequential([dense, kind.canonical_activation()], backend=backend32)
    model.chain = loss = kind()
    optimizer = npnn.GradientDescent(alpha=1e-3)
    optimizer.model = model
    optimizer.step([[1.0, 0.0], [-1.0, 2.0]], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert math.isfinite(loss.get_loss())
    for array in model.parameters().values():
        assert np.isfinite(backend32.to_numpy(array)).all()


def test_cross_entropy_of_certain_and_right_probabilities_is_zero():
    with np.errstate(all="ignore"):
        loss = npnn.CrossEntropyLoss()
        loss.forward(np.array([[1.0, 0.0]]), np.array([0]))
        assert loss.get_loss() == 0.0


def test_binary_cross_entropy_of_certain_and_right_probabilities_is_zero():
    with np.errstate(all="ignore"):
        loss = npnn.BinaryCrossEntropyLoss()
        loss.forward(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]))
        assert loss.get_loss() == 0.0


# Targets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_integer_classes_are_the_same_targets_as_one_hot_ones(dtype, backend):
    classes = np.array([2, 0, 1, 1, 2], dtype=dtype)
    y, _ = probabilities(np.random.default_rng(5))
    of_classes = loss_of(npnn.CrossEntropyLoss, backend, y, classes)
    one_hot = loss_of(npnn.CrossEntropyLoss, backend, y, np.eye(OUTPUTS)[classes])
    np.testing.assert_array_equal(
        backend.to_numpy(of_classes.backward()), backend.to_numpy(one_hot.backward())
    )
    assert of_classes.get_loss() == one_hot.get_loss()
    assert of_classes.get_accuracy() == one_hot.get_accuracy()


@pytest.mark.parametrize("kind", LOSSES, ids=by_name)
def test_targets_of_one_output_may_lack_its_axis(kind):
    y, t = np.array([[0.2], [0.7]]), np.array([1.0, 1.0])
    with_axis, without = kind(), kind()
    with_axis.forward(y, t[:, None])
    without.forward(y, t)
    assert with_axis.get_loss() == without.get_loss()


@pytest.mark.parametrize("kind", [k for k in LOSSES if k.needs_targets], ids=by_name)
def test_targets_of_another_shape_are_refused_with_both_shapes(kind):
    with pytest.raises(ValueError, match=rf"{kind.__name__}: .*\(5, 2\).*\(batch, 3\)"):
        kind().forward(np.full((5, 3), 0.5), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="do not fit outputs"):
        kind().forward(np.full((5, 3), 0.5), np.zeros(5))


# Metrics -----------------------------------------------------------------------------------------


def test_a_cross_entropy_answer_is_correct_where_the_largest_output_is(backend):
    y = [[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]]
    loss = loss_of(npnn.CrossEntropyLoss, backend, y, np.array([0, 0, 1, 2]))
    assert loss.get_accuracy() == 0.75


@pytest.mark.later("jax")
def test_a_binary_answer_is_correct_on_the_side_of_one_half_that_its_target_is_on(backend):
    y = [[0.9, 0.1], [0.9, 0.9], [0.4, 0.4], [0.6, 0.4]]
    t = [[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.8, 0.2]]
    loss = loss_of(npnn.BinaryCrossEntropyLoss, backend, y, t)
    assert loss.get_accuracy() == (1.0 + 0.5 + 0.0 + 1.0) / 4


@pytest.mark.parametrize("kind", [npnn.RMSLoss, npnn.L1Loss], ids=by_name)
def test_a_distance_has_no_accuracy(kind):
    loss = loss_of(kind, backends.get("numpy", "float64"), [[1.0]], [[2.0]])
    assert loss.get_accuracy() is None


@pytest.mark.parametrize("kind", LOSSES, ids=by_name)
def test_before_any_batch_the_loss_is_nan(kind):
    loss = kind()
    assert math.isnan(loss.get_loss())
    accuracy = loss.get_accuracy()
    assert accuracy is None or math.isnan(accuracy)


def test_the_loss_is_the_mean_over_all_samples_of_batches_of_any_size(backend):
    loss = npnn.RMSLoss()
    for y in ([[2.0]], [[0.0], [4.0], [2.0]]):
        loss.forward(backend.asarray(y), backend.asarray([[0.0]] * len(y)))
    assert loss.get_loss() == pytest.approx((2.0 + 0.0 + 8.0 + 2.0) / 4)


@pytest.mark.later("jax")
def test_the_accuracy_is_the_share_over_all_samples_of_batches_of_any_size(backend):
    loss = npnn.CrossEntropyLoss()
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    for y in ([right], [wrong, wrong, right]):
        loss.forward(backend.asarray(y), backend.asarray([0] * len(y), keep_integers=True))
    assert loss.get_accuracy() == 0.5


def test_reading_starts_new_sums_at_the_next_batch():
    loss = npnn.RMSLoss()
    loss.forward(np.array([[2.0]]), np.array([[0.0]]))
    assert loss.get_loss() == loss.get_loss() == 2.0
    loss.forward(np.array([[4.0]]), np.array([[0.0]]))
    assert loss.get_loss() == 8.0


def test_loss_and_accuracy_are_read_of_the_same_batches():
    loss = npnn.BinaryCrossEntropyLoss()
    loss.forward(np.array([[0.5 + 1e-9]]), np.array([[1.0]]))
    assert loss.get_accuracy() == 1.0
    assert loss.get_loss() == pytest.approx(math.log(2.0))


def test_training_and_prediction_are_never_mixed():
    loss = npnn.RMSLoss()
    for training, y in ((True, 2.0), (False, 4.0), (False, 0.0)):
        loss.training = training
        loss.forward(np.array([[y]]), np.array([[0.0]]))
    assert loss.get_loss() == 4.0
    loss.training = True
    loss.forward(np.array([[2.0]]), np.array([[0.0]]))
    assert loss.get_loss() == 2.0


def test_a_loss_lets_its_input_through_and_adds_the_gradient_that_comes_in():
    loss, x = npnn.RMSLoss(), np.array([[1.0, 2.0]])
    assert loss.forward(x, np.zeros((1, 2))) is x
    np.testing.assert_array_equal(loss.backward(np.array([[10.0, 20.0]])), [[11.0, 22.0]])


def test_a_loss_without_formulas_says_so():
    with pytest.raises(NotImplementedError, match="LossLayer has no value"):
        npnn.LossLayer().forward(np.zeros((1, 1)), np.zeros((1, 1)))
    with pytest.raises(NotImplementedError, match="LossLayer has no derivative"):
        npnn.LossLayer().derivative(np.zeros(1), np.zeros(1))


# What comes to a loss --------------------------------------------------------------------------


def step_of(model, loss, t):
    model.chain = loss
    optimizer = npnn.GradientDescent(alpha=0.1)
    optimizer.model = model
    before = [np.array(a) for a in model.parameters().values()]
    optimizer.step(np.random.default_rng(0).standard_normal((2, *model.shape_in)), t)
    return before


UNSUITABLE = [
    ([npnn.Dense(3, 2)], npnn.CrossEntropyLoss, r"layer 0, Dense\(3, 2\), gives numbers of any"),
    ([npnn.Dense(3, 2), npnn.Softplus()], npnn.CrossEntropyLoss, r"layer 1, Softplus\(2\)"),
    ([npnn.Dense(3, 2), npnn.Sigmoid()], npnn.CrossEntropyLoss, r"not sum to 1.*Softmax\(\) last"),
    ([npnn.Dense(3, 2), npnn.Linear()], npnn.CrossEntropyLoss, r"layer 0, Dense"),
    ([npnn.Sequential([npnn.Dense(3, 2), npnn.ReLU()])], npnn.CrossEntropyLoss, r"layer 0.1, ReLU"),
    ([npnn.Dense(3, (2, 2)), npnn.Softmax(), npnn.layers.Flatten()], npnn.CrossEntropyLoss,
     r"layer 2, Flatten\(\(2, 2\)\), gives numbers that need not sum to 1"),
    ([npnn.Dense(3, 2)], npnn.BinaryCrossEntropyLoss, r"numbers from 0 to 1.*Sigmoid\(\) last"),
    ([npnn.Dense(3, 2), npnn.Tanh(), npnn.layers.Flatten()], npnn.BinaryCrossEntropyLoss, "Tanh"),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "loss", "message"), UNSUITABLE)
def test_a_loss_after_what_does_not_suit_it_names_the_layer_to_add(layers, loss, message):
    model = npnn.Sequential(layers, seed=0)
    t = np.eye(int(np.prod(model.shape_out)))[:2].reshape(2, *model.shape_out)
    with pytest.raises(ValueError, match=message):
        step_of(model, loss(), t)
    with pytest.raises(ValueError, match=message):
        model.fit(np.zeros((2, 3)), t, loss=loss())


class Own(npnn.Dense):
    """A layer whose outputs only its author knows."""

    def forward(self, x):
        y = np.abs(super().forward(x)) + 0.1
        return y / y.sum(axis=-1, keepdims=True)


def test_of_layers_of_ones_own_nothing_is_known():
    model = npnn.Sequential([Own(3, 2)], seed=0, capture=False)
    step_of(model, npnn.CrossEntropyLoss(), [0, 1])
    assert model.predict_class(np.zeros((1, 3))).shape == (1,)


@pytest.mark.parametrize(
    ("activation", "loss"),
    [(npnn.Sigmoid, npnn.BinaryCrossEntropyLoss), (npnn.Softmax, npnn.CrossEntropyLoss)],
    ids=by_name,
)
@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.later("jax")
def test_logits_are_found_behind_layers_that_change_the_shape(activation, loss, size, captured_on):
    def trained(*last):
        model = npnn.Sequential(
            [npnn.Dense(3, 4), activation(), *last], backend=captured_on, dtype="float64", seed=0
        )
        model.chain = loss()
        optimizer = npnn.GradientDescent(alpha=0.1)
        optimizer.model = model
        rng = np.random.default_rng(1)
        for _ in range(3):
            t = np.eye(4)[rng.integers(4, size=5)].reshape(5, *model.shape_out)
            optimizer.step(size * rng.standard_normal((5, 3)), t)
        arrays = [model.backend.to_numpy(a) for a in model.parameters().values()]
        return [model.chain.get_loss(), *arrays]

    plain = trained()
    assert np.isfinite(plain[0])
    for ours, expected in zip(trained(npnn.layers.Shape(None, (1, 4))), plain, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_the_loss_by_default_looks_behind_a_change_of_shape():
    model = npnn.Sequential(
        [npnn.Dense(3, 4), npnn.Sigmoid(), npnn.layers.Shape(None, (2, 2))], seed=0
    )
    model.fit(np.zeros((2, 3)), np.ones((2, 2, 2)), epochs=1)
    assert isinstance(model.chain, npnn.BinaryCrossEntropyLoss)


def test_the_loss_by_default_is_not_that_of_what_stands_within_a_layer():
    inner = npnn.layers.Residual([npnn.Dense(3, 3), npnn.Sigmoid()])
    model = npnn.Sequential([npnn.Dense(3, 3), inner], seed=0)
    model.fit(np.zeros((2, 3)), np.ones((2, 3)), epochs=1)
    assert isinstance(model.chain, npnn.RMSLoss)


@pytest.mark.later("jax")
def test_a_variance_that_was_rounded_to_zero_has_a_logarithm(backend32):
    loss = npnn.losses.KullbackLeiblerLoss(2)
    loss.forward(backend32.asarray([[0.5, 0.0]]))
    assert np.isfinite(loss.get_loss())
    assert np.isfinite(backend32.to_numpy(loss.backward())).all()


@pytest.mark.later("jax")
def test_accuracy_of_pixels_is_a_share(backend):
    rng = np.random.default_rng(2)
    y, t = rng.random((3, 4, 4, 2)), rng.integers(2, size=(3, 4, 4, 2)).astype(float)
    loss = loss_of(npnn.BinaryCrossEntropyLoss, backend, y, t)
    assert loss.get_accuracy() == pytest.approx(((y > 0.5) == (t > 0.5)).mean())


# Classes -----------------------------------------------------------------------------------------


def test_each_output_of_several_sigmoids_is_an_answer(backend_name):
    model = npnn.Sequential([npnn.Dense(3, 4), npnn.Sigmoid()], backend=backend_name, seed=0)
    x = np.random.default_rng(3).standard_normal((5, 3))
    to_numpy = model.backend.to_numpy
    answers = to_numpy(model.predict_class(x))
    np.testing.assert_array_equal(answers, to_numpy(model.predict(x)) > 0.5)
    assert answers.dtype.kind == "i"


def test_a_regression_has_no_classes():
    model = npnn.Sequential([npnn.Dense(3, 4), npnn.Tanh(), npnn.Dense(4, 1)], seed=0)
    with pytest.raises(ValueError, match=r"ends with layer 2, Dense\(4, 1\): predict returns"):
        model.predict_class(np.zeros((2, 3)))


# Several answers for each sample ------------------------------------------------------------------


class Near(npnn.RMSLoss):
    """A distance of which a part counts as correct; in several forms, as people write them."""

    form = staticmethod(lambda xp, near: near)

    def correct(self, y, t):
        xp = npnn.arrays.array_namespace(y)
        return self.form(xp, xp.abs(y - t) < 1.0)


PIXELS = np.random.default_rng(8)
IMAGES = PIXELS.normal(size=(6, 4, 4, 1)).astype(np.float32)
KINDS = PIXELS.integers(0, 3, (6, 4, 4))
ONE_HOT = np.eye(3, dtype=np.float32)[KINDS]


def accuracies(loss, last, t, w, **options):
    """Return the accuracy that each way to measure reports, and what it should be."""
    model = npnn.Sequential([npnn.Conv2D((4, 4, 1), 3, 1), last()], seed=0, **options)
    model.chain = loss()
    y = model.backend.to_numpy(model.predict(IMAGES))
    if loss is npnn.CrossEntropyLoss:
        right = y.argmax(axis=-1) == KINDS
    elif loss is npnn.BinaryCrossEntropyLoss:
        right = (y > 0.5) == (ONE_HOT > 0.5)
    else:
        right = np.abs(y - ONE_HOT) < 1.0
    expected = np.average(right.reshape(6, -1).mean(axis=1), weights=w)
    evaluated = model.evaluate(IMAGES, t, w, batch_size=4)["accuracy"]
    trained = model.fit(IMAGES, t, w=w, epochs=1, optimizer=npnn.GradientDescent(1e-9))["accuracy"]
    optimizer = npnn.GradientDescent(1e-9)
    optimizer.model = model
    optimizer.step(IMAGES, t, w=w)
    return [evaluated, trained[0], model.chain.get_accuracy()], expected


@pytest.mark.parametrize("w", [None, np.arange(6.0)])
@pytest.mark.parametrize(
    ("loss", "last", "t"),
    [
        (npnn.CrossEntropyLoss, npnn.Softmax, KINDS),
        (npnn.CrossEntropyLoss, npnn.Softmax, KINDS[..., None]),
        (npnn.CrossEntropyLoss, npnn.Softmax, ONE_HOT),
        (npnn.BinaryCrossEntropyLoss, npnn.Sigmoid, ONE_HOT),
        (Near, npnn.Linear, ONE_HOT),
    ],
)
@pytest.mark.parametrize("name", ["numpy", "torch", "array_api_strict"])
def test_an_accuracy_is_the_share_of_all_answers(loss, last, t, w, name):
    found, expected = accuracies(loss, last, t, w, backend=name)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("capture", [True, False])
@pytest.mark.parametrize(
    ("form", "shape"),
    [
        (lambda xp, near: xp.reshape(near, (-1,)), r"\(192,\)"),
        (lambda xp, near: xp.sum(xp.astype(near, xp.float32)), r"\(\)"),
    ],
)
def test_answers_that_belong_to_no_sample_are_refused(form, shape, capture, monkeypatch):
    monkeypatch.setattr(Near, "form", staticmethod(form))
    with pytest.raises(ValueError, match=rf"Near: correct gave .* {shape}, but \(4, ...\)"):
        accuracies(Near, npnn.Linear, ONE_HOT, None, capture=capture)


def test_no_accuracy_is_beyond_one(monkeypatch):
    count = staticmethod(lambda xp, near: xp.sum(xp.astype(near, xp.float32), axis=(1, 2, 3)))
    monkeypatch.setattr(Near, "form", count)
    with pytest.raises(ValueError, match="an accuracy is from 0 to 1, but the loss makes it"):
        accuracies(Near, npnn.Linear, ONE_HOT, None)
    loss = npnn.BinaryCrossEntropyLoss(1)
    loss.set_sums([np.float32(0.0), np.float32(3.0000002)], 3)
    assert loss.get_accuracy() == 1.0
