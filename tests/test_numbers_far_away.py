"""Numbers from 1e-38 to 1e38: what a dtype can tell is told, forward and backward.

The oracle is the same formula with more digits and a wider range; where both might fail alike, it
is mpmath. What is new in the package is found by itself.
"""

import math

import mpmath
import numpy as np
import pytest
from oracles import ACTIVATIONS, LAYERS, LOSSES, OPTIMIZERS, by_name
from test_layers import CASES, case_of

import npnn
from npnn import backends, loss_scaling

WIDER = {"float32": "float64", "float64": "longdouble"}
POWERS = {"float32": (-37, -30, -20, -10, -3, 0, 1, 3, 10, 17, 20, 30, 37)}
POWERS["float64"] = tuple(8 * p for p in POWERS["float32"])
MOST = {"float32": 3e-6, "float64": 1e-14}  # the largest relative error
WHERE = [("numpy", "float32"), ("numpy", "float64"), ("numba", "float32")]
TAILS = (0.01, 0.3, 1.0, 2.5, 5.0, 8.0, 9.5, 12.0, 17.0, 20.0, 35.0, 42.0, 60.0, 80.0)
# Its variance is what it carries along, and must itself be a number of the dtype.
LARGEST = {"BatchNorm": {"float32": 1e17, "float64": 1e136}}

pytestmark = pytest.mark.skipif(np.finfo("longdouble").nmant < 60, reason="no longer numbers")


@pytest.fixture(params=WHERE, ids="-".join)
def where(request):
    """A backend whose steps are captured, of one dtype."""
    name, dtype = request.param
    if not backends.available()[name]["works"]:
        pytest.skip(f"{name} is not installed")
    return backends.get(name, dtype)


class Both:
    """A formula of arrays by name, captured on a backend, and with more digits on NumPy."""

    def __init__(self, backend, formula):
        self.backend, self.formula = backend, formula
        self.step = backend.capture(lambda carry, data, inputs: (carry, formula(**inputs)))

    def __call__(self, **arrays):
        backend, dtype = self.backend, self.backend.dtype_name
        arrays = {key: np.asarray(value, dtype) for key, value in arrays.items()}
        wide = {key: value.astype(WIDER[dtype]) for key, value in arrays.items()}
        with np.errstate(all="ignore"):
            given = {key: backend.asarray(value) for key, value in arrays.items()}
            found = {k: backend.to_numpy(v) for k, v in self.step({}, {}, given)[1].items()}
            return found, self.formula(**wide)


def check(found, expected, what, each=False):
    """Compare what the dtype has: each number by its own size, or by that of the largest."""
    for key, right in expected.items():
        info, size = np.finfo(found[key].dtype), np.abs(right)
        told = (size <= info.max) & (size >= 4 * info.smallest_normal)
        scale = size if each else np.full(size.shape, size.max(initial=0.0))
        limit = np.maximum(MOST[info.dtype.name] * scale, 2 * info.smallest_normal)
        with np.errstate(all="ignore"):
            wrong = told & ~(np.abs(found[key] - right) <= limit)
        if wrong.any():
            at = tuple(np.argwhere(wrong)[0])
            raise AssertionError(f"{what}: {key} is {found[key][at]}, not {right[at]}")


def numbers(rng, shape, size):
    return size * rng.choice([-1.0, 1.0], shape) * rng.uniform(1.0, 2.0, shape)


def sizes(dtype):
    """Yield sizes of inputs, parameters and gradients of which one is far away, or two are."""
    for size in (10.0**power for power in POWERS[dtype]):
        yield from ((size, 1.0, 1.0), (1.0, size, 1.0), (1.0, 1.0, size))
        yield from ((size, 1.0 / size, 1.0), (1.0, 1.0 / size, size))


def formula_of(layer, training):
    """Return the formula of a layer, forward and backward, and the arrays that its parts have."""
    slots = [
        (f"{place}.{name}", number, name)
        for number, (place, part) in enumerate(layer.walk())
        for name in (*part.parameter_names, *part.state_names, *["random"] * bool(part.noise))
    ]

    def formula(x, grad_y, **arrays):
        twin = layer.twin()
        parts = [part for _, part in twin.walk()]
        for part in parts:
            vars(part)["training"] = training
        for key, number, name in slots:
            vars(parts[number])[name] = arrays[key]
        found = {"y": twin.forward(x), "grad_x": twin.backward(grad_y)}
        for key, number, name in slots:
            if name in parts[number].parameter_names:
                found[f"gradient of {key}"] = getattr(parts[number], f"grad_{name}")
        return found

    return formula


def arrays_of(layer, rng, size, batch):
    found = {}
    for place, part in layer.walk():
        for name in part.parameter_names:
            found[f"{place}.{name}"] = numbers(rng, getattr(part, name).shape, size)
        found |= {f"{place}.{name}": getattr(part, name) for name in part.state_names}
        if part.noise is not None:
            found[f"{place}.random"] = rng.uniform(0.1, 1.0, (batch, *part.noise_shape))
    return found


@pytest.mark.later
@pytest.mark.parametrize("kind", [*ACTIVATIONS, *LAYERS], ids=by_name)
def test_a_layer_has_its_values_and_gradients_at_any_size(kind, where):
    dtype = where.dtype_name
    for construct, shape in [(kind, (3,))] if kind in ACTIVATIONS else case_of(CASES, kind):
        layer = construct()
        layer.dtype = dtype
        layer.build(shape, np.random.default_rng(0))
        differs = any(part.state_names or part.noise for _, part in layer.walk())
        for training in (True, False)[: 1 + differs]:
            both = Both(where, formula_of(layer, training))
            for of_x, of_parameters, of_gradient in sizes(dtype):
                if of_x > LARGEST.get(kind.__name__, {}).get(dtype, math.inf):
                    continue
                if kind is npnn.Tanh and of_x == 10.0:  # see EXACT
                    continue
                rng = np.random.default_rng(1)
                x = numbers(rng, (4, *shape), of_x)
                x = np.abs(x) if kind is npnn.Sample else x  # half of them are variances
                grad_y = numbers(rng, (4, *layer.shape_out), of_gradient)
                arrays = arrays_of(layer, rng, of_parameters, 4)
                what = f"{layer!r} of x {of_x:g}, parameters {of_parameters:g}, {of_gradient:g}"
                check(*both(x=x, grad_y=grad_y, **arrays), what)


# Of Tanh only y: where that rounds to 1, 1 - y² is 0, which an exponential more would prevent.
EXACT = {
    "Tanh": (lambda x: mpmath.tanh(x), None),
    "Sigmoid": (
        lambda x: 1 / (1 + mpmath.exp(-x)),
        lambda x: mpmath.exp(-x) / (1 + mpmath.exp(-x)) ** 2,
    ),
    "Swish": (
        lambda x: x / (1 + mpmath.exp(-x)),
        lambda x: (1 + mpmath.exp(-x) * (1 + x)) / (1 + mpmath.exp(-x)) ** 2,
    ),
    "Softplus": (lambda x: mpmath.log1p(mpmath.exp(x)), lambda x: 1 / (1 + mpmath.exp(-x))),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_tails_of_an_activation_have_all_their_digits(name, where):
    layer, (value, slope) = getattr(npnn, name)(), EXACT[name]
    x = np.array([sign * size for size in TAILS for sign in (1, -1)], where.dtype_name)
    found, _ = Both(where, formula_of(layer, True))(x=x, grad_y=np.ones_like(x))
    with mpmath.workdps(80):
        each = [mpmath.mpf(float(number)) for number in x]
        right = {"y": np.array([float(value(number)) for number in each])}
        if slope is not None:
            right["grad_x"] = np.array([float(slope(number)) for number in each])
    check(found, right, name, each=True)


@pytest.mark.parametrize("kind", [npnn.LayerNorm, npnn.BatchNorm], ids=by_name)
@pytest.mark.parametrize("far", [1e3, -1e6])
def test_what_lies_far_from_zero_is_normalised_by_how_it_differs(kind, far, where):
    layer, rng = kind(), np.random.default_rng(0)
    layer.build((5,), rng)
    both = Both(where, formula_of(layer, True))
    for spread in (0.0, 1.0, 7.0):
        x = far + spread * rng.integers(-9, 9, (6, 5))
        arrays = arrays_of(layer, rng, 1.0, 6)
        check(*both(x=x, grad_y=rng.standard_normal((6, 5)), **arrays), f"{far} and {spread}")


def test_a_mean_of_pixels_is_there_where_their_sum_is_not(where):
    largest = 0.9 * np.finfo(where.dtype_name).max
    for layer in (npnn.AvgPool(), npnn.GlobalAvgPool()):
        layer.build((2, 2, 1))
        found, _ = Both(where, formula_of(layer, True))(
            x=np.full((1, 2, 2, 1), largest), grad_y=np.ones((1, *layer.shape_out[:-1], 1))
        )
        np.testing.assert_allclose(found["y"], largest, rtol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_a_variance_that_is_no_number_makes_none_of_what_is_normalised(training):
    layer = npnn.BatchNorm()
    layer.build((2,))
    layer.training = training
    vars(layer)["running_variance"] = np.full(2, np.inf, "float32")
    with np.errstate(all="ignore"):
        assert np.isnan(layer.forward(np.array([[1e30, -1e30], [3e30, 2e30]], "float32"))).all()


def test_a_running_variance_is_right_where_the_mean_has_no_square():
    layer = npnn.BatchNorm()
    layer.build((1,))
    layer.training = True
    layer.forward(np.array([[1.00e20], [1.01e20]], "float32"))
    np.testing.assert_allclose(layer.running_variance, [0.5 * (0.01e20) ** 2], rtol=1e-4)


# Losses ------------------------------------------------------------------------------------------


def loss_formula(loss, logits):
    def formula(x, t, w=None):
        twin = loss.twin()
        twin.set_sums([0.0, 0.0, 0.0])
        y = x if not logits else loss.canonical_activation().forward(x)
        twin.measure(y, t, w, x if logits else None)
        return {"loss": twin.loss, "grad": twin.backward()}

    return formula


def loss_batch(kind, logits, rng, size):
    """Return outputs (or logits) of a size, and targets that the loss has use for."""
    x, t = numbers(rng, (4, 4), size), rng.standard_normal((4, 4))
    if not kind.needs_targets:
        x = np.abs(x)  # variances
    elif kind.needs and not logits:
        x = np.minimum(np.abs(x), 0.5)  # probabilities
    if kind.takes_classes:
        t = np.eye(4)
    elif kind.needs:
        t = rng.uniform(0.0, 1.0, (4, 4)).round(1)
    else:
        t = numbers(rng, (4, 4), size)
    return x, t


@pytest.mark.later
@pytest.mark.parametrize("kind", LOSSES, ids=by_name)
def test_a_loss_has_its_value_and_gradient_at_any_size(kind, where):
    largest = math.sqrt(np.finfo(where.dtype_name).max) / 4
    for logits in (False, True)[: 2 if kind.needs and kind.needs_targets else 1]:
        both = Both(where, loss_formula(kind(4), logits))
        for size in (10.0**power for power in POWERS[where.dtype_name]):
            size = min(size, largest) if kind.power == 2 or not kind.needs_targets else size
            x, t = loss_batch(kind, logits, np.random.default_rng(2), size)
            check(*both(x=x, t=t), f"{kind.__name__} of {size:g}, logits: {logits}")


@pytest.mark.later
@pytest.mark.parametrize("weight", [1e-30, 1e30])
def test_weights_of_classes_and_of_samples_may_be_of_any_size(weight, where):
    rng = np.random.default_rng(3)
    loss = npnn.CrossEntropyLoss(4, class_weights=[weight, 1.0, weight, 2.0])
    for logits in (True, False):
        x, t = loss_batch(npnn.CrossEntropyLoss, logits, rng, 0.3)
        w = numbers(rng, 4, weight)
        check(*Both(where, loss_formula(loss, logits))(x=x, t=t), f"classes {weight:g}")
        loss_1 = loss_formula(npnn.CrossEntropyLoss(4), logits)
        check(*Both(where, loss_1)(x=x, t=t, w=abs(w)), f"samples {weight:g}")


@pytest.mark.parametrize("weights", [[1e38, 1e38], [1e-40, 0.0]])
def test_weights_whose_sum_is_no_number_are_refused(weights):
    model = npnn.Sequential([npnn.Dense(1, 1)], seed=0)
    with pytest.raises(ValueError, match=r"weights w must have a sum .* divide them by w.max\(\)"):
        model.fit([[1.0], [2.0]], [[1.0], [2.0]], w=weights)


def test_variances_near_one_and_near_nought_keep_their_digits(where):
    loss = npnn.KullbackLeiblerLoss(2)
    info = np.finfo(where.dtype_name)
    for variance in (1.0 + 8 * float(info.eps), 2 * float(info.smallest_normal), 0.25):
        variance = float(info.dtype.type(variance))
        found, _ = Both(where, loss_formula(loss, False))(x=[[0.0, variance]], t=[[0.0, 0.0]])
        right = (1 - 1 / mpmath.mpf(variance)) / 2
        assert found["grad"][0, 1] == pytest.approx(float(right), rel=MOST[info.dtype.name])


# Optimizers --------------------------------------------------------------------------------------


@pytest.mark.later
@pytest.mark.parametrize("kind", OPTIMIZERS, ids=by_name)
def test_an_optimizer_takes_the_step_that_its_formula_says(kind, where):
    """Three gradients of one size: the third step knows what the moments of the others hold."""
    dtype = where.dtype_name
    optimizer, sign = kind(), np.array([1.0, -1.0, 1.0])
    scalars = []
    for optimizer.steps in (1, 2, 3):
        scalars.append(optimizer.scalars())

    def formula(p, g):
        moments = [0.0 * p for _ in optimizer.moments]
        for each in scalars:
            (limited,) = optimizer.limit([p], [g])
            p, *moments = optimizer.update(p, limited, *moments, **each)
        return {"p": p}

    both = Both(where, formula)
    for size in (10.0**power for power in POWERS[dtype]):
        if isinstance(optimizer, npnn.Adam) and size > math.sqrt(np.finfo(dtype).max):
            found, _ = both(p=0.0 * sign, g=size * sign)
            assert np.isnan(found["p"]).all()  # and none that stands still
            continue
        check(*both(p=0.0 * sign, g=size * sign), f"{optimizer!r} at {size:g}", each=True)


def test_clip_norm_knows_all_numbers_of_its_dtype(where):
    info, optimizer = np.finfo(where.dtype_name), npnn.SGD(clip_norm=2.0)
    for size in (float(info.max) / 4, 1e3, float(info.smallest_normal) * 1e7):
        found, right = Both(where, lambda g: {"g": optimizer.limit([g], [g])[0]})(
            g=size * np.array([3.0, -1.0, 0.5])
        )
        check(found, right, f"{size:g}")


def test_a_scale_of_the_loss_stays_a_number():
    scaling = [np.float32(2.0**15), np.float32(0.0)]
    for gradient in (np.zeros(2, "float32"), np.full(2, np.inf, "float32")):
        with np.errstate(all="ignore"):
            for _ in range(400):
                scaling[1] = np.float32(loss_scaling.GROWTH)
                _, _, scaling = loss_scaling.unscaled([gradient], scaling)
        assert 1e-9 < scaling[0] < 1e30


def test_the_last_counts_of_a_schedule_have_their_digits():
    length = 10**9
    right = mpmath.sin(mpmath.pi / 2 / length) ** 2
    assert npnn.Cosine(length)(length - 1) == pytest.approx(float(right), rel=1e-12)
    assert npnn.Cosine(10)(0) == npnn.Cosine(10, warm_up=3)(2) == 1.0
    assert npnn.Cosine(10, final=0.1)(10) == npnn.Cosine(10, final=0.1)(10**6) == 0.1
