"""Every optimizer step by step against PyTorch's, and what happens to a gradient before."""

import math

import numpy as np
import pytest
import torch
from oracles import OPTIMIZERS, by_name, host_parameters

import npnn

optim = torch.optim
NAN, INF = math.nan, math.inf

# For every optimizer of the package: arguments, and the same optimizer of PyTorch.
CASES = {
    "GradientDescent": [
        ({"alpha": 0.1}, lambda p: optim.SGD(p, lr=0.1)),
        (
            {"alpha": 0.1, "weight_decay": 0.3},
            lambda p: optim.SGD(p, lr=0.1, weight_decay=0.3),
        ),
    ],
    "SGD": [
        ({"alpha": 0.1}, lambda p: optim.SGD(p, lr=0.1)),
        ({"alpha": 0.1, "momentum": 0.9}, lambda p: optim.SGD(p, lr=0.1, momentum=0.9)),
        (
            {"alpha": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
            lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        ),
    ],
    "RMSprop": [
        ({"alpha": 0.01}, lambda p: optim.RMSprop(p, lr=0.01, alpha=0.9)),
        (
            {"alpha": 0.01, "beta": 0.99, "epsilon": 1e-4, "weight_decay": 0.1},
            lambda p: optim.RMSprop(p, lr=0.01, alpha=0.99, eps=1e-4, weight_decay=0.1),
        ),
    ],
    "Adam": [
        ({}, lambda p: optim.Adam(p)),
        (
            {"alpha": 0.05, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3, "weight_decay": 0.1},
            lambda p: optim.Adam(p, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
        ),
    ],
    "AdamW": [
        ({}, lambda p: optim.AdamW(p)),
        (
            {"alpha": 0.05, "decay": 0.2, "epsilon": 1e-3},
            lambda p: optim.AdamW(p, lr=0.05, weight_decay=0.2, eps=1e-3),
        ),
    ],
    "Adagrad": [
        ({}, lambda p: optim.Adagrad(p)),
        (
            {"alpha": 0.1, "epsilon": 1e-3, "weight_decay": 0.1},
            lambda p: optim.Adagrad(p, lr=0.1, eps=1e-3, weight_decay=0.1),
        ),
    ],
    "Adadelta": [
        ({}, lambda p: optim.Adadelta(p)),
        (
            {"alpha": 0.5, "rho": 0.95, "epsilon": 1e-4, "weight_decay": 0.1},
            lambda p: optim.Adadelta(p, lr=0.5, rho=0.95, eps=1e-4, weight_decay=0.1),
        ),
    ],
}


def cases_of(kind):
    if kind.__name__ not in CASES:
        pytest.fail(f"{kind.__name__} is new: add it to the table in {__file__}")
    return CASES[kind.__name__]


def steps(optimizer, backend, start, gradients):
    """Yield the parameters after each step with a given gradient."""
    p = backend.asarray(start)
    moments = [backend.zeros(start.shape) for _ in optimizer.moments]
    for gradient in gradients:
        optimizer.steps += 1
        (g,) = optimizer.limit([p], [backend.asarray(gradient)])
        p, *moments = optimizer.update(p, g, *moments, **optimizer.scalars())
        yield backend.to_numpy(p)


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=by_name)
def test_a_hundred_steps_are_those_of_torch(kind, backend):
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(4), rng.standard_normal((100, 4))
    for arguments, in_torch in cases_of(kind):
        theirs = torch.tensor(start, requires_grad=True)
        their_optimizer = in_torch([theirs])
        ours = steps(kind(**arguments), backend, start, gradients)
        for gradient, p in zip(gradients, ours, strict=True):
            theirs.grad = torch.tensor(gradient)
            their_optimizer.step()
            np.testing.assert_allclose(p, theirs.detach().numpy(), rtol=0, atol=1e-10)


def a_model(backend):
    model = npnn.Sequential(
        [npnn.Dense(3, 5), npnn.Tanh(), npnn.Dense(5, 2)],
        backend=backend,
        dtype="float64",
        seed=0,
    )
    model.chain = npnn.RMSLoss()
    return model


def assert_training_is_that_of_torch(kind, arguments, in_torch, backend):
    rng = np.random.default_rng(1)
    batches = rng.standard_normal((20, 8, 3)), rng.standard_normal((20, 8, 2))
    model, optimizer = a_model(backend), kind(**arguments)
    theirs = {
        name: torch.tensor(array, requires_grad=True)
        for name, array in host_parameters(model).items()
    }
    their_optimizer = in_torch(list(theirs.values()))
    optimizer.model = model
    for x, t in zip(*batches, strict=True):
        optimizer.step(x, t)
        linear = torch.nn.functional.linear
        hidden = torch.tanh(linear(torch.tensor(x), theirs["0.w"].mT, theirs["0.b"]))
        y = linear(hidden, theirs["2.w"].mT, theirs["2.b"])
        their_optimizer.zero_grad()
        (0.5 * ((y - torch.tensor(t)) ** 2).sum() / len(x)).backward()
        their_optimizer.step()
    for name, array in host_parameters(model).items():
        np.testing.assert_allclose(array, theirs[name].detach().numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=by_name)
def test_a_model_trains_as_the_same_model_in_torch(kind):
    for arguments, in_torch in cases_of(kind):
        assert_training_is_that_of_torch(kind, arguments, in_torch, "numpy")


def test_a_model_trains_as_the_same_model_in_torch_on_every_backend(backend_name):
    arguments, in_torch = CASES["Adam"][1]
    assert_training_is_that_of_torch(npnn.Adam, arguments, in_torch, backend_name)


# Before the formula ------------------------------------------------------------------------------


def limited(backend, parameters, gradients, **options):
    parameters, gradients = (
        [backend.asarray(array) for array in arrays] for arrays in (parameters, gradients)
    )
    arrays = npnn.GradientDescent(**options).limit(parameters, gradients)
    return [backend.to_numpy(array) for array in arrays]


def test_without_options_a_gradient_stays_as_it_is(backend):
    (g,) = limited(backend, [[1.0, -2.0]], [[3.0, 4.0]])
    np.testing.assert_array_equal(g, [3.0, 4.0])


def test_l2_decay_adds_the_parameter_and_l1_decay_its_sign(backend):
    (g,) = limited(
        backend, [[2.0, -3.0, 0.0]], [[1.0, 1.0, 1.0]], weight_decay=0.1, weight_decay_l1=0.5
    )
    np.testing.assert_allclose(g, [1.0 + 0.2 + 0.5, 1.0 - 0.3 - 0.5, 1.0], atol=1e-15)


def test_l1_decay_is_the_gradient_of_the_sum_of_magnitudes_in_torch():
    p = np.array([2.0, -3.0, 0.5])
    tensor = torch.tensor(p, requires_grad=True)
    (0.3 * tensor.abs().sum()).backward()
    (g,) = npnn.GradientDescent(weight_decay_l1=0.3).limit([p], [np.zeros(3)])
    np.testing.assert_allclose(g, tensor.grad.numpy(), atol=1e-15)


def test_clip_value_is_that_of_torch(backend):
    gradient = np.array([-3.0, -0.5, 0.0, 0.5, 3.0])
    tensor = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    tensor.grad = torch.tensor(gradient)
    torch.nn.utils.clip_grad_value_([tensor], 1.0)
    (g,) = limited(backend, [np.zeros(5)], [gradient], clip_value=1.0)
    np.testing.assert_array_equal(g, tensor.grad.numpy())


def test_clip_norm_brings_the_norm_of_all_gradients_together_to_its_value(backend):
    a, b = limited(backend, [[0.0], [0.0, 0.0]], [[3.0], [0.0, 4.0]], clip_norm=2.5)
    np.testing.assert_allclose(a, [1.5], atol=1e-15)
    np.testing.assert_allclose(b, [0.0, 2.0], atol=1e-15)


def test_clip_norm_is_that_of_torch_but_for_its_epsilon():
    rng = np.random.default_rng(2)
    arrays = [rng.standard_normal(3), rng.standard_normal((2, 2))]
    tensors = [torch.zeros(array.shape, dtype=torch.float64) for array in arrays]
    for tensor, array in zip(tensors, arrays, strict=True):
        tensor.grad = torch.tensor(array)
    torch.nn.utils.clip_grad_norm_(tensors, 0.5)
    ours = npnn.GradientDescent(clip_norm=0.5).limit([np.zeros_like(a) for a in arrays], arrays)
    for array, tensor in zip(ours, tensors, strict=True):
        np.testing.assert_allclose(array, tensor.grad.numpy(), rtol=2e-6)


@pytest.mark.parametrize("gradient", [[0.0, 0.0], [0.3, -0.4]])
def test_clip_norm_leaves_a_smaller_gradient_as_it_is(gradient, backend):
    (g,) = limited(backend, [[0.0, 0.0]], [gradient], clip_norm=1.0)
    np.testing.assert_array_equal(g, gradient)


@pytest.mark.parametrize("size", [1e38, 1e20, 1e-20, 1e-37])
@pytest.mark.parametrize("most", [2.0, 1e-30, 1e30])
def test_clip_norm_knows_gradients_of_any_size(size, most, backend32):
    gradient = np.array([3.0, -2.0]) * size
    (g,) = limited(backend32, [[0.0, 0.0]], [gradient], clip_norm=most)
    gradient = gradient.astype("float32").astype(float)
    expected = gradient * min(1.0, most / np.linalg.norm(gradient))
    np.testing.assert_allclose(g, expected, rtol=1e-6, atol=2e-38)


def test_a_gradient_that_is_infinite_is_no_number_afterwards(backend32):
    with np.errstate(invalid="ignore"):
        (g,) = limited(backend32, [[0.0, 0.0]], [[math.inf, 1.0]], clip_norm=1.0)
    assert not np.isfinite(g).all()


def test_penalties_come_first_then_values_are_clipped_then_the_norm(backend):
    (g,) = limited(
        backend, [[10.0, 0.0]], [[0.0, 4.0]], weight_decay=1.0, clip_value=3.0, clip_norm=1.0
    )
    np.testing.assert_allclose(g, np.array([3.0, 3.0]) / math.sqrt(18.0), atol=1e-15)


@pytest.mark.parametrize("options", [{"clip_norm": 0.1}, {"clip_value": 0.01}], ids=str)
def test_a_training_step_uses_the_clipped_gradient_of_all_parameters(options, backend_name):
    rng = np.random.default_rng(3)
    x, t = rng.standard_normal((8, 3)), rng.standard_normal((8, 2))

    def change(**options):
        model, optimizer = a_model(backend_name), npnn.GradientDescent(alpha=1.0, **options)
        before = host_parameters(model)
        optimizer.model = model
        optimizer.step(x, t)
        after = host_parameters(model)
        return np.concatenate([(before[name] - after[name]).ravel() for name in before])

    gradient, clipped = change(), change(**options)
    if "clip_norm" in options:
        expected = gradient * 0.1 / np.linalg.norm(gradient)
    else:
        expected = gradient.clip(-0.01, 0.01)
    np.testing.assert_allclose(clipped, expected, atol=1e-14)


# Learning rates ----------------------------------------------------------------------------------


def test_the_rate_is_alpha_times_the_factor_times_the_schedule():
    optimizer = npnn.Adam(alpha=0.1, schedule=npnn.StepDecay(2, 0.5))
    optimizer.factor = 0.3
    rates = []
    for optimizer.steps in range(1, 6):
        rates.append(optimizer.rate)
    np.testing.assert_allclose(rates, 0.03 * np.array([1.0, 1.0, 0.5, 0.5, 0.25]))


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=by_name)
def test_alpha_may_change_between_steps(kind, backend):
    optimizer = kind(alpha=0.1)
    start, gradients = np.ones(2), np.ones((2, 2))
    walk = steps(optimizer, backend, start, gradients)
    first = next(walk)
    optimizer.alpha = 1e-12
    np.testing.assert_allclose(next(walk), first, atol=1e-10)
    assert np.abs(first - start).min() > 1e-6


def test_a_captured_step_sees_a_changed_alpha_and_schedule(backend_name):
    model = npnn.Sequential(
        [npnn.Dense(1, 1, initializer="Constant")], backend=backend_name, dtype="float64"
    )
    model.chain = npnn.RMSLoss()
    optimizer = npnn.GradientDescent(alpha=1.0, schedule=npnn.ExponentialDecay(0.5))
    optimizer.model = model
    for expected_rate in (1.0, 0.5, 0.5):
        before = host_parameters(model)["0.b"]
        optimizer.step([[0.0]], [[8.0]])
        change = host_parameters(model)["0.b"] - before
        np.testing.assert_allclose(change, expected_rate * (8.0 - before), atol=1e-14)
        optimizer.alpha = {1: 1.0, 2: 2.0, 3: 1.0}[optimizer.steps]


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=by_name)
@pytest.mark.parametrize("alpha", [0.0, -1.0, NAN, INF])
def test_a_learning_rate_that_is_not_positive_and_finite_is_refused(kind, alpha):
    with pytest.raises(ValueError, match="alpha must be"):
        kind(alpha=alpha)
    optimizer = kind()
    old = optimizer.alpha
    with pytest.raises(ValueError, match="alpha must be"):
        optimizer.alpha = alpha
    assert optimizer.alpha == old


@pytest.mark.parametrize(
    ("kind", "name", "values"),
    [
        (npnn.SGD, "momentum", (-0.1, 1.0, NAN)),
        (npnn.RMSprop, "beta", (-0.1, 1.0, NAN)),
        (npnn.RMSprop, "epsilon", (0.0, -1.0, NAN)),
        (npnn.Adam, "beta1", (-0.1, 1.0, NAN)),
        (npnn.Adam, "beta2", (-0.1, 1.0, NAN)),
        (npnn.Adam, "epsilon", (0.0, NAN)),
        (npnn.AdamW, "decay", (-0.1, INF)),
        (npnn.Adagrad, "epsilon", (0.0, NAN)),
        (npnn.Adadelta, "rho", (-0.1, 1.0, NAN)),
        (npnn.Adadelta, "epsilon", (0.0, NAN)),
        (npnn.Adam, "weight_decay", (-0.1, NAN)),
        (npnn.Adam, "weight_decay_l1", (-0.1, NAN)),
        (npnn.Adam, "clip_norm", (0.0, -1.0, NAN)),
        (npnn.Adam, "clip_value", (0.0, -1.0, NAN)),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(kind, name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"^{name} must be"):
            kind(**{name: value})


@pytest.mark.parametrize("alpha", ["0.1", None, True])
def test_a_learning_rate_that_is_no_number_is_a_type_error(alpha):
    with pytest.raises(TypeError, match="alpha must be a number"):
        npnn.Adam(alpha)


# The object --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=by_name)
def test_an_optimizer_survives_its_config(kind):
    for arguments, _ in cases_of(kind):
        optimizer = kind(**arguments, clip_norm=2.0, schedule=npnn.Cosine(10, warm_up=2))
        again = npnn.Optimizer.from_config(optimizer.to_config())
        assert repr(again) == repr(optimizer)
        assert again.to_config() == optimizer.to_config()


def test_the_repr_shows_the_arguments_that_matter():
    shown = repr(npnn.SGD(0.1, momentum=0.9, clip_norm=1.0))
    assert shown == "SGD(alpha=0.1, momentum=0.9, nesterov=False, clip_norm=1.0)"


def test_an_optimizer_without_a_formula_says_so():
    with pytest.raises(NotImplementedError, match="Optimizer has no update"):
        npnn.Optimizer().update(np.zeros(1), np.zeros(1), rate=0.1)


def test_a_step_without_a_model_or_a_loss_says_what_to_set():
    optimizer = npnn.Adam()
    with pytest.raises(ValueError, match=r"set optimizer\.model first"):
        optimizer.step([[1.0]], [[1.0]])
    optimizer.model = npnn.Sequential([npnn.Dense(1, 1)])
    with pytest.raises(ValueError, match=r"model\.chain"):
        optimizer.step([[1.0]], [[1.0]])


def test_a_model_without_parameters_cannot_be_trained():
    model = npnn.Sequential([npnn.ReLU(2)])
    model.chain = npnn.RMSLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    with pytest.raises(ValueError, match="no parameters"):
        optimizer.step([[1.0, 2.0]], [[1.0, 2.0]])


def test_the_normalisation_of_an_optimizer_is_its_models(backend_name):
    norm = npnn.Normalization(offset=[1.0, 2.0], scale=[2.0, 4.0])
    optimizer, model = npnn.Adam(), npnn.Sequential([npnn.Linear(2)], backend=backend_name)
    optimizer.norm = norm
    optimizer.model = model
    assert model.norm is norm
    y = model.backend.to_numpy(optimizer.predict([[3.0, 10.0]]))
    np.testing.assert_array_equal(y, [[1.0, 2.0]])
    optimizer.norm = None
    assert model.norm is None


def test_a_step_takes_what_a_data_set_gives_as_a_batch():
    model = a_model("numpy")
    optimizer = npnn.Adam()
    optimizer.model = model
    optimizer.step(np.zeros((4, 3)), np.zeros((4, 2)), np.zeros(4))
    assert optimizer.steps == 1
    assert optimizer.predict(np.zeros((4, 3))).shape == (4, 2)


def test_a_step_without_targets_says_that_they_are_needed():
    optimizer = npnn.Adam()
    optimizer.model = a_model("numpy")
    with pytest.raises(ValueError, match="targets are needed"):
        optimizer.step(np.zeros((4, 3)), None)
