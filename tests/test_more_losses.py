"""Huber, smoothed and weighted cross-entropy, and the divergence from the unit gaussian."""

import json

import numpy as np
import pytest
import torch
from oracles import central_differences, gradients_of_a_step, numerical_gradients, relative_error

import npnn
from npnn.losses import CrossEntropyLoss, HuberLoss, KullbackLeiblerLoss

F = torch.nn.functional
BATCH, CLASSES = 5, 3
WEIGHTS = (0.5, 2.0, 1.25)
OPTIONS = [
    {"label_smoothing": 0.1},
    {"class_weights": WEIGHTS},
    {"label_smoothing": 0.3, "class_weights": WEIGHTS},
]


def measured(loss, backend, y, t=None, logits=None):
    place = backend.asarray
    t = None if t is None else place(t, keep_integers=True)
    loss.forward(place(y), t, logits=None if logits is None else place(logits))
    return loss


# Huber -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delta", [0.3, 1.0, 2.5])
def test_huber_has_the_value_and_the_gradient_of_torch(delta, backend):
    rng = np.random.default_rng(0)
    y, t = rng.normal(0.0, 2.0, (2, BATCH, CLASSES))
    y[0, 0] = t[0, 0] + delta
    loss = measured(HuberLoss(delta=delta), backend, y, t)
    tensor = torch.tensor(y, requires_grad=True)
    expected = F.huber_loss(tensor, torch.tensor(t), reduction="sum", delta=delta) / BATCH
    expected.backward()
    assert loss.get_loss() == pytest.approx(expected.item(), abs=1e-10)
    np.testing.assert_allclose(
        backend.to_numpy(loss.backward()), tensor.grad.numpy(), rtol=0, atol=1e-10
    )


def test_the_gradient_of_huber_is_that_of_central_differences(backend):
    rng = np.random.default_rng(1)
    y, t = rng.normal(0.0, 2.0, (2, BATCH, CLASSES))
    gradient = backend.to_numpy(measured(HuberLoss(), backend, y, t).backward())
    expected = central_differences(lambda y: measured(HuberLoss(), backend, y, t).get_loss(), y)
    assert relative_error(gradient, expected) < 1e-6


# Cross-entropy -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
@pytest.mark.parametrize("kind", ["classes", "probabilities"])
def test_smoothing_and_weights_are_those_of_torch_by_either_path(options, kind, backend):
    rng = np.random.default_rng(2)
    logits = rng.normal(0.0, 2.0, (BATCH, CLASSES))
    t = rng.integers(CLASSES, size=BATCH)
    if kind == "probabilities":
        t = rng.dirichlet(np.ones(CLASSES), BATCH)
    softmax = npnn.Softmax()
    y = softmax.forward(backend.asarray(logits))
    from_logits = measured(CrossEntropyLoss(**options), backend, y, t, logits)
    from_outputs = measured(CrossEntropyLoss(**options), backend, y, t)

    tensor = torch.tensor(logits, requires_grad=True)
    weights = options.get("class_weights")
    expected = F.cross_entropy(
        tensor,
        torch.tensor(t),
        weight=None if weights is None else torch.tensor(weights, dtype=torch.float64),
        label_smoothing=options.get("label_smoothing", 0.0),
        reduction="sum",
    )
    expected = expected / BATCH
    expected.backward()
    for loss, gradient in (
        (from_logits, from_logits.backward()),
        (from_outputs, softmax.backward(from_outputs.backward())),
    ):
        assert loss.get_loss() == pytest.approx(expected.item(), abs=1e-10)
        np.testing.assert_allclose(
            backend.to_numpy(gradient), tensor.grad.numpy(), rtol=0, atol=1e-10
        )


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
def test_the_gradients_of_a_captured_step_are_those_of_its_loss(options, captured_on):
    model = npnn.Sequential(
        [npnn.Dense(2, 3), npnn.Softmax()], backend=captured_on, dtype="float64", seed=0
    )
    model.chain = CrossEntropyLoss(**options)
    rng = np.random.default_rng(3)
    x, t = rng.standard_normal((4, 2)), rng.integers(3, size=4)
    (actual,) = gradients_of_a_step([model], x, t)
    (expected,) = numerical_gradients([model], [model.chain], x, t)
    for name in expected:
        assert relative_error(actual[name], expected[name]) < 1e-6


@pytest.mark.later("jax")
def test_smoothing_and_weights_do_not_change_what_counts_as_correct(backend):
    y, t = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]], np.array([0, 2])
    loss = CrossEntropyLoss(label_smoothing=0.9, class_weights=(0.0, 0.0, 1.0))
    assert measured(loss, backend, y, t).get_accuracy() == 0.5


def test_without_arguments_it_is_the_plain_loss(backend):
    rng = np.random.default_rng(4)
    y, t = rng.dirichlet(np.ones(CLASSES), BATCH), rng.integers(CLASSES, size=BATCH)
    plain = measured(CrossEntropyLoss(), backend, y, t).get_loss()
    ones = measured(CrossEntropyLoss(class_weights=[1.0] * CLASSES), backend, y, t).get_loss()
    assert ones == pytest.approx(plain, abs=1e-14)


# The divergence ----------------------------------------------------------------------------------


def gaussians(rng):
    return np.concatenate([rng.normal(0.0, 2.0, (BATCH, 2)), rng.uniform(0.2, 3.0, (BATCH, 2))], 1)


@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_the_divergence_has_the_value_and_the_gradient_of_torch(beta, backend):
    y = gaussians(np.random.default_rng(5))
    loss = measured(KullbackLeiblerLoss(beta=beta), backend, y)
    tensor = torch.tensor(y, requires_grad=True)
    mean, variance = tensor[:, :2], tensor[:, 2:]
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, variance.sqrt()), normal(0.0, 1.0))
    expected = beta * expected.sum() / BATCH
    expected.backward()
    assert loss.get_loss() == pytest.approx(expected.item(), abs=1e-10)
    np.testing.assert_allclose(
        backend.to_numpy(loss.backward()), tensor.grad.numpy(), rtol=0, atol=1e-10
    )


def test_the_unit_gaussian_is_no_distance_from_itself(backend):
    loss = measured(KullbackLeiblerLoss(), backend, [[0.0, 0.0, 1.0, 1.0]])
    assert loss.get_loss() == 0.0
    np.testing.assert_array_equal(backend.to_numpy(loss.backward()), np.zeros((1, 4)))


def test_the_divergence_stands_between_two_models(captured_on):
    options = {"backend": captured_on, "dtype": "float64"}
    encoder = npnn.Sequential([npnn.Dense(3, 4), npnn.Softplus()], seed=0, **options)
    decoder = npnn.Sequential([npnn.Dense(4, 3)], seed=1, **options)
    kl, loss = KullbackLeiblerLoss(beta=0.5), npnn.RMSLoss()
    encoder.chain, kl.chain, decoder.chain = kl, decoder, loss
    x = np.random.default_rng(6).standard_normal((4, 3))
    actual = gradients_of_a_step([encoder, decoder], x, x)
    expected = numerical_gradients([encoder, decoder], [kl, loss], x, x)
    for ours, theirs in zip(actual, expected, strict=True):
        for name in theirs:
            assert relative_error(ours[name], theirs[name]) < 1e-6


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({0: 0.5, 1: 2.0, 2: 1.25}, WEIGHTS),
        ({2: 1.25, 0: 0.5}, (0.5, 1.0, 1.25)),
        ({}, (1.0, 1.0, 1.0)),
        (np.array(WEIGHTS), WEIGHTS),
        ({np.int64(1): np.float32(2.0)}, (1.0, 2.0, 1.0)),
    ],
    ids=str,
)
def test_a_dict_weighs_the_classes_that_it_names(given, expected, backend):
    rng = np.random.default_rng(3)
    y, t = rng.dirichlet(np.ones(CLASSES), BATCH), np.arange(BATCH) % CLASSES
    found = [
        measured(CrossEntropyLoss(class_weights=w), backend, y, t).get_loss()
        for w in (given, expected)
    ]
    assert found[0] == found[1]


@pytest.mark.later("jax")
def test_balanced_weights_are_made_of_all_targets_of_a_training(captured_on):
    rng = np.random.default_rng(4)
    x, t = rng.standard_normal((40, 3)), np.repeat([0, 1, 2], [4, 30, 6])

    def trained(weights, t=t):
        model = npnn.Sequential(
            [npnn.Dense(3, 3), npnn.Softmax()], backend=captured_on, dtype="float64", seed=0
        )
        loss = CrossEntropyLoss(class_weights=weights)
        model.fit(x, t, loss=loss, epochs=2, validation_split=0.0, seed=0)
        return model, loss

    model, loss = trained("balanced")
    other, _ = trained(40 / (3 * np.bincount(t)))
    for name, array in model.parameters().items():
        np.testing.assert_allclose(
            model.backend.to_numpy(array), model.backend.to_numpy(other.parameters()[name])
        )
    model.fit(x, t[::-1] // 2, loss=loss, epochs=1)
    assert loss.balanced == (40 / (3 * 34), 40 / (3 * 6), 1.0)


def test_balanced_weights_need_targets_to_be_made_of():
    model = npnn.Sequential([npnn.Dense(3, 3), npnn.Softmax()], seed=0)
    model.chain = CrossEntropyLoss(class_weights="balanced")
    optimizer = npnn.Adam()
    optimizer.model = model
    with pytest.raises(ValueError, match=r"only fit knows.*np.bincount"):
        optimizer.step(np.zeros((2, 3)), [0, 1])


@pytest.mark.parametrize("wrong", ["balance", 3.0, {1.0, 2.0}, b"abc", {"a": 1.0}, [True, False]])
def test_weights_of_another_kind_are_refused(wrong):
    with pytest.raises(TypeError, match=r"class_weights"):
        CrossEntropyLoss(class_weights=wrong)


# Errors and files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HuberLoss(delta=0.0), "delta must be greater than 0, not 0.0"),
        (lambda: CrossEntropyLoss(label_smoothing=1.0), "at least 0 and below 1, not 1.0"),
        (lambda: CrossEntropyLoss(class_weights=[1.0, -1.0]), "class_weights must be at least 0"),
        (
            lambda: CrossEntropyLoss(class_weights=[1.0, 2.0]).build(3),
            "has 2 class_weights, but there are 3 classes",
        ),
        (
            lambda: CrossEntropyLoss(class_weights={3: 1.0}).build(3),
            r"class_weights are for classes \[3\], but there are 3 classes, from 0 to 2",
        ),
        (lambda: KullbackLeiblerLoss(beta=-1.0), "beta must be at least 0, not -1.0"),
        (lambda: KullbackLeiblerLoss(3), "even last axis, such as 4, not 3"),
        (lambda: KullbackLeiblerLoss().build(5), "even last axis, such as 6, not 5"),
    ],
)
def test_what_is_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "loss",
    [
        HuberLoss(3, 2.0),
        CrossEntropyLoss(3, 0.1, WEIGHTS),
        CrossEntropyLoss(3),
        CrossEntropyLoss(3, class_weights={2: 3.0}),
        CrossEntropyLoss(3, class_weights="balanced"),
        KullbackLeiblerLoss(4, 0.5),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_a_loss_survives_its_config(loss):
    config = json.loads(json.dumps(loss.to_config()))
    assert repr(npnn.Layer.from_config(config)) == repr(loss)
