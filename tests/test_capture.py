"""From a step to its plans: trained models are the same, replays cost little, nothing is stale."""

import functools
import gc
import importlib.util
import itertools
import os
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from graphs import examples, interpreted
from hypothesis import given
from hypothesis import strategies as st
from oracles import ACTIVATIONS, LAYERS, LOSSES, OPTIMIZERS, by_name, host_parameters

import npnn
from npnn.arrays import array_namespace
from npnn.backends.cpu import loops
from npnn.backends.planning.plan import Plan
from npnn.backends.recording import capture as capturing
from npnn.backends.recording.capture import CapturedStep, _flush_denormals

BACKENDS = ["numpy"] + ["numba"] * (importlib.util.find_spec("numba") is not None)


# Models ------------------------------------------------------------------------------------------

# How to make a layer that cannot be made without arguments, or would be large.
CONSTRUCT = {
    "Dense": lambda: npnn.Dense(None, 4),
    "Conv2D": lambda: npnn.layers.Conv2D(None, 2, padding="same"),
    "UpConv2D": lambda: npnn.layers.UpConv2D(None, 2, stride=2),
    "Shape": lambda: npnn.layers.Shape(None, (2, 16)),
    "Latent": lambda: npnn.layers.Latent(None, 4),
    "Parallel": lambda: npnn.layers.Parallel([npnn.Tanh(), [npnn.Dense(None, 2), npnn.ReLU()]]),
    "Residual": lambda: npnn.layers.Residual([npnn.Dense(None, 32), npnn.Tanh()]),
    "Inception": lambda: npnn.layers.Inception(None, 2, 2, 2, 2, 2, 2),
    "Pad2D": lambda: npnn.layers.Pad2D(None, 1, (0, 2)),
}
IMAGE = (4, 4, 2)
KINDS = [*ACTIVATIONS, *LAYERS]


class Multiply(npnn.Layer):
    """What comes in times a uniform random number, in training; nothing else otherwise."""

    noise = "uniform"

    def forward(self, x):
        self.scale = self.random if self.training else None
        return x if self.scale is None else x * self.scale

    def backward(self, grad_y):
        return grad_y if self.scale is None else grad_y * self.scale


def made(kind):
    return CONSTRUCT.get(kind.__name__, kind)()


@functools.cache
def takes_features(kind):
    """Return whether a kind of layer can be built for samples of one axis."""
    try:
        made(kind).build((32,), np.random.default_rng(0))
    except (TypeError, ValueError):
        return False
    return True


def within(kind):
    """Return a layer of a kind, between others that give it 32 features, or an image of them."""
    # Variances must be positive.
    first = npnn.Softplus() if kind is npnn.layers.Sample else npnn.Tanh()
    before, layer = [npnn.Dense(None, int(np.prod(IMAGE))), first], made(kind)
    if takes_features(kind):
        return [*before, layer, npnn.layers.Flatten()]
    return [*before, npnn.layers.Shape(None, IMAGE), layer, npnn.layers.Flatten()]


def model_of(kinds, loss, **options):
    """Return a model of three inputs and two outputs with layers of some kinds in it."""
    # Probabilities suit every loss.
    last = npnn.Softmax() if loss is npnn.CrossEntropyLoss else npnn.Sigmoid()
    middle = [layer for kind in kinds for layer in within(kind)]
    model = npnn.Sequential(**options)
    model.layers = [*middle, npnn.Dense(None, 2), last]
    model.build_at((3,))
    return model


def trained(model, loss, optimizer, steps, sizes=(6,), seed=4):
    """Return what training leaves: parameters, state, losses and outputs."""
    model.chain = loss
    optimizer.model = model
    rng, losses = np.random.default_rng(seed), []
    for _, size in zip(range(steps), itertools.cycle(sizes), strict=False):
        x, t = rng.standard_normal((size, *model.shape_in)), np.eye(2)[rng.integers(2, size=size)]
        optimizer.step(x, t)
        losses.append(model.chain.get_loss())
    to_numpy = model.backend.to_numpy
    y = to_numpy(model.predict(rng.standard_normal((6, *model.shape_in))))
    state = [to_numpy(array) for array in model.state().values()]
    return [*host_parameters(model).values(), *state, np.array(losses), y]


def assert_close(actual, expected, tolerance):
    """Check arrays, relative to the largest number of all that is not below a tenth."""
    for ours, theirs in zip(actual, expected, strict=True):
        assert np.isfinite(theirs).all()
        scale = max(np.abs(theirs).max(), 0.1)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)


COUNT = max(len(KINDS), len(LOSSES), len(OPTIMIZERS))
TRIPLES = [
    tuple(kinds[i % len(kinds)] for kinds in (KINDS, LOSSES, OPTIMIZERS)) for i in range(COUNT)
]


@pytest.mark.later("float64", "numba")
@pytest.mark.filterwarnings("ignore:layer .* leave one of the two out:UserWarning")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("triple", TRIPLES, ids=lambda triple: "-".join(map(by_name, triple)))
def test_after_a_hundred_steps_a_captured_model_is_the_plain_one(
    triple, backend, dtype, tolerance, monkeypatch
):
    monkeypatch.setattr(loops, "_compiled", interpreted)
    kind, loss, optimizer = triple

    def run(capture):
        options = {"backend": backend, "dtype": dtype, "seed": 1, "capture": capture}
        return trained(model_of([kind], loss, **options), loss(), optimizer(alpha=1e-3), 100)

    with np.errstate(all="ignore"):
        assert_close(run(True), run(False), tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_noisy_model_trains_the_same_from_the_same_seed(backend, dtype, tolerance):
    def run(capture):
        layers = [npnn.Dense(3, 8), npnn.LeakyReLU(), Multiply(), npnn.Dense(8, 2), Multiply()]
        model = npnn.Sequential(layers, backend=backend, dtype=dtype, seed=2, capture=capture)
        return trained(model, npnn.RMSLoss(), npnn.Adam(alpha=1e-3), 100, sizes=(6, 6, 5))

    assert_close(run(True), run(False), tolerance)


OPTIONS = [{}, {"clip_norm": 0.5}, {"clip_value": 0.01}, {"weight_decay_l1": 0.1}]


@pytest.mark.filterwarnings("ignore:layer .* leave one of the two out:UserWarning")
@examples(30)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=2),
    st.sampled_from(LOSSES),
    st.sampled_from(OPTIMIZERS),
    st.sampled_from(OPTIONS),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
)
def test_a_random_model_trains_as_it_does_uncaptured(kinds, loss, optimizer, options, sizes):
    def run(capture):
        model = model_of(kinds, loss, dtype="float64", seed=0, capture=capture)
        return trained(model, loss(), optimizer(alpha=1e-3, **options), 3, sizes)

    with np.errstate(all="ignore"):
        assert_close(run(True), run(False), 1e-12)


# What a replay costs -----------------------------------------------------------------------------

XOR = {"widths": (2, 4, 4, 2), "batch": 16}
MNIST = {"widths": (784, 256, 128, 10), "batch": 128}
SIZES = pytest.mark.parametrize("size", [XOR, MNIST], ids=["xor", "mnist"])


def classifier(widths, batch, backend="numpy", **options):
    """Return an optimizer with a model, and batches to train it on."""
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [npnn.Dense(inputs, outputs), npnn.ReLU()]
    layers[-1] = npnn.Softmax()
    model = npnn.Sequential(layers, backend=backend, seed=0, **options)
    model.chain = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    rng = np.random.default_rng(1)
    eye = np.eye(widths[-1], dtype=np.float32)
    batches = [
        (
            rng.standard_normal((batch, widths[0]), dtype=np.float32),
            eye[rng.integers(0, widths[-1], batch)],
        )
        for _ in range(8)
    ]
    return optimizer, itertools.cycle(batches)


@SIZES
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_replayed_step_takes_no_fresh_memory_of_the_system(size, backend):
    resource = pytest.importorskip("resource")
    optimizer, batches = classifier(**size, backend=backend)

    def faults(steps):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(steps):
            optimizer.step(*next(batches))
        return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / steps

    steps = 200 if size is XOR else 20
    faults(20)
    # Other threads of the process may take memory meanwhile, but hardly each time.
    assert min(faults(steps), faults(steps)) < 5.0


@SIZES
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_replayed_step_allocates_no_array(size, backend, monkeypatch):
    optimizer, batches = classifier(**size, backend=backend)
    grown, replay = [], CapturedStep.__call__

    def measured(self, *trees):
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        result = replay(self, *trees)
        grown.append(tracemalloc.get_traced_memory()[1] - before)
        return result

    # NumPy's loops cast, and broadcast, through buffers of so many elements.
    usual = np.setbufsize(16)
    try:
        for _ in range(3):
            optimizer.step(*next(batches))
        monkeypatch.setattr(CapturedStep, "__call__", measured)
        tracemalloc.start()
        for _ in range(10):
            optimizer.step(*next(batches))
    finally:
        tracemalloc.stop()
        np.setbufsize(usual)
    # The outputs are two numbers; with them come the key of the plan and two dicts. Each thread's
    # ufuncs keep a kilobyte of notes while they run.
    assert max(grown[2:]) < 4096


def resident():
    """Return the bytes of memory that this process has of the system."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_ten_thousand_steps_take_no_more_memory_than_the_first_thousand():
    optimizer, batches = classifier(**XOR)

    def run(steps):
        for _ in range(steps):
            optimizer.step(*next(batches))
        gc.collect()

    run(1000)
    before = resident()
    run(9_000)
    assert resident() - before < 1 << 20
    tracemalloc.start()
    try:
        run(200)
        before, _ = tracemalloc.get_traced_memory()
        run(1000)
        assert tracemalloc.get_traced_memory()[0] - before < 2048
    finally:
        tracemalloc.stop()


def test_a_capture_costs_little_and_a_replay_nearly_nothing():
    """Counted in calls of Python functions, whatever the machine."""
    optimizer, batches = classifier(**XOR)
    x, t = next(batches)
    optimizer.predict(x, t)
    calls = []

    def count(frame, event, _):
        calls[-1] += event == "call"

    for _ in range(3):
        calls.append(0)
        sys.setprofile(count)
        optimizer.step(x, t)
        sys.setprofile(None)
    captured, _, replayed = calls  # the second one looks up once more whose locks it needs
    assert captured < 10_000
    assert 0 < replayed < 100


# One plan for each shape -------------------------------------------------------------------------


def test_each_shape_and_dtype_of_a_batch_has_a_plan_of_its_own():
    captured = CapturedStep(lambda c, d, i: (c, {"y": i["x"] * 2}), np.float64)
    for x in (np.ones(3), np.ones(4), np.ones((1, 3)), np.ones(3, np.float32), np.ones(3, int)):
        for _ in range(2):
            _, outputs = captured({}, {}, {"x": x})
            assert outputs["y"].dtype == x.dtype
            np.testing.assert_array_equal(outputs["y"], x * 2)
    assert len(captured.plans) == 5


def test_inputs_and_data_of_the_same_names_are_kept_apart():
    def step(carry, data, inputs):
        return carry, {"y": {**data, **inputs}["a"] - {**data, **inputs}["b"]}

    captured = CapturedStep(step, np.float64)
    a, b = np.ones(3), np.zeros(3)
    for _ in range(2):
        for data, inputs in (({"b": b}, {"a": a}), ({}, {"a": a, "b": b})):
            _, outputs = captured({}, data, inputs)
            np.testing.assert_array_equal(outputs["y"], [1.0, 1.0, 1.0])


def test_old_plans_are_forgotten(monkeypatch):
    monkeypatch.setattr(capturing, "MOST_PLANS", 3)
    carry = {"sum": np.zeros(())}

    def step(carry, data, inputs):
        total = array_namespace(inputs["x"]).sum(inputs["x"])
        return {"sum": carry["sum"] + total}, {}

    captured = CapturedStep(step, np.float64)
    for size in (1, 2, 3, 4, 5, 6, 1, 6, 2):
        captured(carry, {}, {"x": np.ones(size)})
    assert carry["sum"] == 30.0
    assert len(captured.plans) == len(captured.replays) == 3


def test_a_step_without_arrays_and_one_with_numbers_only_can_be_captured():
    captured = CapturedStep(lambda c, d, i: (c, {"y": i["a"] * 2.0}), np.float32)
    for number in (0.25, 0.5):
        _, outputs = captured({}, {}, {"a": number})
        assert outputs["y"] == 2.0 * number
        assert outputs["y"].dtype == np.float32


def test_a_plan_can_be_asked_for_without_running_it():
    carry = {"a": np.ones(3)}
    captured = CapturedStep(lambda c, d, i: ({"a": c["a"] + i["x"]}, {}), np.float64)
    plan = captured.plan(carry, {}, {"x": np.ones(3)})
    assert isinstance(plan, Plan)
    np.testing.assert_array_equal(carry["a"], np.ones(3))
    assert not captured.plans


# What cannot be captured -------------------------------------------------------------------------


class Halving(npnn.Layer):
    """Half of what comes in, in a way that is given."""

    def __init__(self, way=None):
        self.way = way

    def forward(self, x):
        return self.way(array_namespace(x), x)

    def backward(self, grad_y):
        return 0.5 * grad_y


def by_value(xp, x):
    return x * 0.5 if float(xp.sum(x * 0.0)) == 0.0 else x


def by_sorting(xp, x):
    return x * 0.5 + 0.0 * xp.sort(x)


def by_numpy(xp, x):
    return np.multiply(x, 0.5)


def by_method(xp, x):
    return x.clip(-1e9, 1e9) * 0.5


def by_indices(xp, x):
    y = xp.asarray(x, copy=True)
    y[y == y] = 0.5 * x[x == x]
    return y


UNCAPTURED = {
    by_value: "value",
    by_sorting: "sort",
    by_numpy: "ufuncs",
    by_method: "clip",
    by_indices: "index",
}


def halving(way, capture):
    model = npnn.Sequential(
        [npnn.Dense(2, 3), Halving(way), npnn.Dense(3, 2)], dtype="float64", seed=0, capture=capture
    )
    return trained(model, npnn.RMSLoss(), npnn.Adam(), 5, sizes=(4, 3))


@pytest.mark.parametrize("way", UNCAPTURED, ids=by_name)
def test_what_cannot_be_recorded_runs_as_it_is_with_one_warning(way):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        ours = halving(way, True)
    # One for the training step, one for the prediction.
    assert [warning.category for warning in seen] == [RuntimeWarning] * 2
    for warning in seen:
        assert UNCAPTURED[way] in str(warning.message)
        assert "uncaptured" in str(warning.message)
    for actual, expected in zip(ours, halving(way, False), strict=True):
        np.testing.assert_array_equal(actual, expected)


def by_branch(xp, x):
    return x * 0.5 if xp.sum(x * 0.0) == 0.0 else x


def by_place(xp, x):
    return x * [0.0, 0.5][1 + int(xp.sum(x * 0.0))]


@pytest.mark.parametrize("way", [by_value, by_branch, by_place, by_numpy], ids=by_name)
def test_what_jax_cannot_trace_runs_as_it_is_with_one_warning(way):
    if not npnn.backends.available()["jax"]["works"]:
        pytest.skip("jax does not work here")

    def trained_by(capture):
        layers = [npnn.Dense(2, 3), Halving(way), npnn.Dense(3, 2)]
        model = npnn.Sequential(layers, backend="jax", seed=0, capture=capture)
        history = model.fit(np.ones((7, 2)), np.ones((7, 2)), epochs=2, batch_size=4)
        return [*history["loss"], *np.asarray(model.predict(np.ones((3, 2)))).ravel()]

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        ours = trained_by(True)
    told = [str(warning.message) for warning in seen if warning.category is RuntimeWarning]
    assert len(told) == 2, told  # one for the training step, one for the prediction
    assert all("looking at a value; it runs uncaptured" in text for text in told)
    np.testing.assert_allclose(ours, trained_by(False), rtol=1e-6)


def test_a_step_that_cannot_be_recorded_has_no_plan():
    captured = CapturedStep(lambda c, d, i: (c, {"y": float(i["x"])}), np.float64)
    with pytest.warns(RuntimeWarning, match="value"):
        assert captured.plan({}, {}, {"x": np.ones(())}) is None
    assert captured({}, {}, {"x": np.ones(())})[1] == {"y": 1.0}


def test_an_error_of_the_step_itself_is_raised_and_forgotten():
    broken = [True]

    def step(carry, data, inputs):
        if broken[0]:
            raise LookupError("broken")
        return carry, {"y": inputs["x"] + 1.0}

    captured = CapturedStep(step, np.float64)
    for _ in range(2):
        with pytest.raises(LookupError, match="broken"):
            captured({}, {}, {"x": np.ones(3)})
    with pytest.raises(LookupError, match="broken"):
        captured.plan({}, {}, {"x": np.ones(3)})
    broken[0] = False
    np.testing.assert_array_equal(captured({}, {}, {"x": np.ones(3)})[1]["y"], [2.0] * 3)
    assert len(captured.plans) == 1


# Nothing stale, nothing shared -------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_replaced_by_hand_is_what_is_used(backend):
    def run(capture):
        dense, norm = npnn.Dense(2, 2), npnn.layers.BatchNorm()
        model = npnn.Sequential(
            [dense, norm, npnn.Tanh()], backend=backend, dtype="float64", seed=0, capture=capture
        )
        model.chain = npnn.RMSLoss()
        optimizer = npnn.SGD(0.1, momentum=0.9)
        optimizer.model = model
        rng = np.random.default_rng(0)
        x, t = rng.standard_normal((5, 2)), rng.uniform(-1.0, 1.0, (5, 2))
        found = []

        def look():
            optimizer.step(x, t)
            found.extend([model.chain.get_loss(), np.asarray(optimizer.predict(x))])

        look()
        dense.w = rng.standard_normal((2, 2))
        look()
        norm.running_mean = np.full(2, 0.5)
        look()
        dense.b[:] = 3.0  # in place
        look()
        model.set_arrays(
            {name: array * 0.5 for name, array in model.parameters().items()} | model.state()
        )
        look()
        optimizer.norm = npnn.Normalization(np.full(2, 2.0), np.full(2, 0.1))
        look()
        optimizer.norm = npnn.Normalization(np.full(2, -1.0), np.full(2, 0.3))
        look()
        optimizer.state = [[array * 0.0 for array in moment] for moment in optimizer.state]
        look()
        optimizer.alpha = 0.01
        look()
        optimizer.momentum = 0.0
        look()
        x *= 2.0
        look()
        return found

    for ours, expected in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_what_a_replay_returns_is_not_changed_by_the_next():
    optimizer, batches = classifier(**XOR)
    model = optimizer.model
    (x, t), (other, _) = next(batches), next(batches)
    kept = x.copy(), t.copy()
    optimizer.step(x, t)
    y, total = optimizer.predict(x), model.chain.total_loss
    before = np.array(y), np.array(total)
    for _ in range(3):
        optimizer.predict(other)
        optimizer.step(other, t)
    np.testing.assert_array_equal(y, before[0])
    np.testing.assert_array_equal(total, before[1])
    y[...] = np.nan
    assert np.isfinite(optimizer.predict(x)).all()
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(t, kept[1])


# Denormal numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_only_what_is_about_to_become_denormal_is_set_to_zero(dtype):
    info = np.finfo(dtype)
    small = [info.smallest_subnormal, info.tiny, -info.tiny, info.tiny / info.eps]
    large = [1.1 * info.tiny / info.eps, 1e-30, -1e-30, 1.0, -np.inf, info.max]
    x = np.array([*small, *large] * 5000, dtype)
    tree = {"moments": [[x]], "count": np.array([1, 0]), "number": np.array(info.tiny, dtype)}
    _flush_denormals(capturing.leaves(tree))
    kept = np.array([0.0] * len(small) + large, dtype)
    np.testing.assert_array_equal(x, np.tile(kept, 5000))
    np.testing.assert_array_equal(tree["count"], [1, 0])
    bad = np.array([np.nan, 1.0], dtype)
    _flush_denormals(capturing.leaves({"bad": bad}))
    np.testing.assert_array_equal(bad, [np.nan, 1.0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_moments_of_dead_units_do_not_become_denormal(backend):
    optimizer, batches = classifier(**XOR, backend=backend)
    for _ in range(10):
        optimizer.step(*next(batches))
    _, t = next(batches)
    nothing = np.zeros((16, 2), np.float32)
    for _ in range(3000):
        optimizer.step(nothing, t)
    tiny = np.finfo(np.float32).tiny
    for moment in optimizer.state:
        sizes = np.abs(np.asarray(moment[0]))
        assert not ((sizes > 0.0) & (sizes < tiny)).any()
    assert (np.asarray(optimizer.state[0][0])[:8] == 0.0).all()  # those of the first weights
