"""The plan on a GPU, run by a stand-in: kernels compute what NumPy computes, and nothing waits."""

import numpy as np
import pytest
import stand_in_gpu as gpu
from graphs import STORING, assert_replay_is_eager, check, check_program
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import LOSSES, OPTIMIZERS, relative_error
from test_capture import KINDS, assert_close, model_of, trained
from test_plan import CARRIES, carried, numbers

import npnn
from npnn import loss_scaling, training
from npnn.arrays import array_namespace
from npnn.backends import cuda
from npnn.backends import plan as planning
from npnn.backends.cupy_capture import CupyStep
from npnn.backends.cupy_plan import Region
from npnn.profiling import profile

pytestmark = pytest.mark.skipif(gpu.COMPILER is None, reason="the stand-in for a GPU needs g++")

# Blocks so small that many work together, and sums by several threads of each.
SMALL = {"FLAT_THREADS": 32, "ROW_THREADS": 32, "ROWS_EACH": 1}
SETTINGS = {
    "cuBLASLt": (True, {}),
    "cuBLASLt, small blocks": (True, SMALL),
    "cuBLAS, small blocks": (False, SMALL),
}


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS)
def backend(request, monkeypatch):
    """CuPy as a backend, in float64."""
    lt, limits = request.param
    gpu.installed(monkeypatch, lt=lt)
    for name, value in limits.items():
        monkeypatch.setattr(cuda, name, value)
    monkeypatch.setattr(planning, "SMALL", 0)
    return npnn.backends.get("cupy", "float64")


class OnDevice:
    """A captured step that is given NumPy arrays, and has them looked at as the device's."""

    def __init__(self, step, backend):
        self.captured, self.views = CupyStep(step, backend), {}

    def __call__(self, carry, data, inputs):
        given = [self._seen(tree) for tree in (carry, data)]
        _, outputs = self.captured(*given, self._seen(inputs, keep=False))
        return carry, outputs

    def _seen(self, tree, keep=True):
        if isinstance(tree, dict):
            return {key: self._seen(value, keep) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self._seen(value, keep) for value in tree]
        if not keep:
            return gpu.on_device(tree)
        return self.views.setdefault(id(tree), (tree, gpu.on_device(tree)))[1]


@pytest.fixture
def capture(backend):
    return lambda step, dtype: OnDevice(step, backend)


# Random steps ------------------------------------------------------------------------------------


@settings(max_examples=8)
@given(st.binary(min_size=30, max_size=200))
def test_a_random_step_gives_what_it_gives_uncaptured(capture, source):
    check_program(source, capture, length=30)


@settings(max_examples=8)
@given(st.binary(min_size=30, max_size=200))
def test_a_random_run_of_elementwise_operations_gives_what_it_gives_uncaptured(capture, source):
    check_program(source, capture, length=16, fused=True)


@settings(max_examples=8)
@given(st.binary(min_size=30, max_size=200), st.booleans())
def test_parts_of_arrays_that_kernels_write_give_what_they_give_uncaptured(capture, source, fused):
    check_program(source, capture, length=8, fused=fused, instructions=STORING)


@pytest.mark.parametrize("name", CARRIES)
def test_what_is_carried_may_be_made_of_anything(name, capture):
    a, b = numbers(4, 4), numbers(4, 4, seed=1)
    inputs = [{"x": numbers(4, 4, seed=seed)} for seed in range(3)]
    assert_replay_is_eager(carried(CARRIES[name]), {"a": a, "b": b}, {}, inputs, capture)


# Models ------------------------------------------------------------------------------------------

COUNT = max(-(-len(KINDS) // 3), len(LOSSES), len(OPTIMIZERS))
MODELS = [
    ([KINDS[(3 * i + n) % len(KINDS)] for n in range(3)], LOSSES[i % len(LOSSES)],
     OPTIMIZERS[i % len(OPTIMIZERS)])
    for i in range(COUNT)
]  # fmt: skip


def test_no_kind_of_layer_is_left_out():
    assert {kind for kinds, _, _ in MODELS for kind in kinds} == set(KINDS)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("number", range(COUNT))
def test_a_model_trains_as_it_does_on_numpy(number, dtype, tolerance, monkeypatch):
    gpu.installed(monkeypatch)
    kinds, loss, optimizer = MODELS[number]

    def run(backend, capture):
        options = {"backend": backend, "dtype": dtype, "seed": 1, "capture": capture}
        # Adam's first steps are as large for the smallest gradient, rounded, as for the largest.
        return trained(model_of(kinds, loss, **options), loss(), optimizer(alpha=1e-5), 3)

    assert_close(run("cupy", True), run("numpy", False), tolerance)


def lenet5():
    layers = [
        npnn.layers.Pad2D((28, 28, 1), 2, 2),
        npnn.layers.Conv2D(None, 6, kernel_size=5),
        npnn.Tanh(),
        npnn.layers.MaxPool(),
        npnn.layers.Conv2D(None, 16, kernel_size=5),
        npnn.Tanh(),
        npnn.layers.MaxPool(),
        npnn.layers.Conv2D(None, 120, kernel_size=5),
        npnn.Tanh(),
        npnn.layers.Flatten(),
        npnn.Dense(None, 84),
        npnn.Tanh(),
        npnn.Dense(None, 10),
        npnn.Softmax(),
    ]
    return layers, npnn.CrossEntropyLoss()


def classifier():
    layers = [npnn.Dense(20, 64), npnn.ReLU(), npnn.Dense(64, 600), npnn.ReLU()]
    return [*layers, npnn.Dense(600, 5), npnn.Softmax()], npnn.CrossEntropyLoss()


def trainer(make, backend, optimizer=npnn.Adam, **options):
    """Return an optimizer with a model of `make`, and batches for it."""
    layers, loss = make()
    model = npnn.Sequential(layers, backend=backend, seed=0, **options)
    model.chain = loss
    trains = optimizer(alpha=1e-3)
    trains.model = model
    rng = np.random.default_rng(1)
    classes = model.shape_out[-1]
    batches = [
        (
            rng.standard_normal((12, *model.shape_in)),
            np.eye(classes)[rng.integers(classes, size=12)],
        )
        for _ in range(4)
    ]
    return trains, batches


def weights(optimizer):
    return [np.array(array) for _, array in optimizer.model.runner.arrays()]


@pytest.mark.parametrize("make", [lenet5, classifier])
def test_a_network_trains_as_it_does_on_numpy(make, monkeypatch):
    gpu.installed(monkeypatch)
    ours, batches = trainer(make, "cupy", dtype="float64")
    theirs, _ = trainer(make, "numpy", dtype="float64", capture=False)
    for x, t in batches:
        ours.step(x, t)
        theirs.step(x, t)
    assert_close(weights(ours), weights(theirs), 1e-11)
    x, t = batches[0]
    np.testing.assert_allclose(ours.model.predict(x), theirs.model.predict(x), atol=1e-11)


def test_a_variational_autoencoder_trains_as_it_does_on_numpy(monkeypatch):
    gpu.installed(monkeypatch)

    def run(backend, capture):
        options = {"backend": backend, "dtype": "float64", "capture": capture}
        encoder = npnn.Sequential(
            [npnn.Dense(10, 8), npnn.Tanh(), npnn.layers.Latent(None, 2)], seed=0, **options
        )
        decoder = npnn.Sequential(
            [npnn.layers.Sample(2), npnn.Dense(None, 10), npnn.Sigmoid()], seed=1, **options
        )
        encoder.chain, decoder.chain = npnn.KullbackLeiblerLoss(), npnn.BinaryCrossEntropyLoss()
        encoder.chain.chain = decoder
        optimizer = npnn.Adam(alpha=1e-3)
        optimizer.model = encoder
        x = np.random.default_rng(2).uniform(size=(12, 10))
        for _ in range(4):
            optimizer.step(x, x)
        return weights(optimizer)

    assert_close(run("cupy", True), run("numpy", False), 1e-12)


# What a step costs -------------------------------------------------------------------------------


@pytest.mark.parametrize("lt", [True, False], ids=["cuBLASLt", "cuBLAS"])
def test_a_step_neither_waits_nor_brings_anything_to_the_host(lt, monkeypatch):
    gpu.installed(monkeypatch, lt=lt)
    optimizer, batches = trainer(classifier, "cupy")
    batches = [tuple(map(optimizer.model.backend.asarray, batch)) for batch in batches]
    for batch in batches:
        optimizer.step(*batch)
    gpu.counts.clear()
    for batch in batches:
        optimizer.step(*batch)
    assert gpu.counts["transfers"] == gpu.counts["waits"] == 0
    # Inputs, the last layer with the loss, two rectifiers back, Adam, outputs; biases and
    # rectifiers ride on products of cuBLASLt.
    kernels = 6 if lt else 8
    step = gpu.launched[-8 - kernels :]
    assert step.count("product") == 8
    assert len(set(step)) == kernels + 1
    assert gpu.counts["launches"] == 4 * len(step)
    # With cuBLAS, pieces of more than one kernel become graphs of their own, and there are none.
    assert gpu.counts["graphs"] == (4 if lt else 0)
    optimizer.model.runner.metrics()
    assert gpu.counts["transfers"] > 0  # the counters count


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_is_one_kernel(optimizer, monkeypatch):
    gpu.installed(monkeypatch)
    trains, batches = trainer(classifier, "cupy", optimizer)
    trains.step(*batches[0])
    (plan, _), *_ = next(iter(trains.model.runner._captured.values()))[0].plans.values()
    ops = [[n.origin[0] for n in group] for group in plan.groups]
    updates = [group for group in ops if any(name.endswith(".update") for name in group)]
    assert len(updates) == 1


def test_kernels_of_rows_and_of_long_sums(capture):
    def softmax(xp, x):
        e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        y = e / xp.sum(e, axis=-1, keepdims=True)
        return [y, xp.sum(y * x, axis=0), xp.sum(y * y), xp.argmax(y, axis=-1)]

    for shape in ((1, 1), (3, 2), (70, 5), (5, 40), (130, 33), (2, 700), (3, 2, 9)):
        check(softmax, numbers(*shape), make_plan=capture)

    def sums(xp, x):
        y = xp.maximum(x, 0.0)
        return [y, xp.sum(y), xp.sum(xp.reshape(x, (-1,)) * 2.0), xp.sum(x, axis=0) / 3.0]

    for shape in ((1, 1), (300, 3), (2, 700), (1000, 40)):
        check(sums, numbers(*shape), make_plan=capture)


def test_products_of_matrices_that_lie_anyhow(capture):
    a, b = numbers(6, 5), numbers(5, 7)
    check(lambda xp, a, b: [a @ b, (b.mT @ a.mT).mT], a, b, make_plan=capture)
    check(lambda xp, a, b: a[::2] @ b[:, ::2], a, b, make_plan=capture)
    check(lambda xp, a, b: a[::-1] @ b[:, ::-1], a, b, make_plan=capture)
    check(lambda xp, a, b: a[:, :1] @ b[:1] + a[:, 1:2] @ b[1:2], a, b, make_plan=capture)
    many, deep = numbers(4, 6, 5), numbers(2, 3, 5, 7)
    check(lambda xp, m, b: [m @ b, m[::2] @ b, m.mT @ m], many, b, make_plan=capture)
    check(lambda xp, m, d: [m[:3] @ d, m[:2, None] @ d, m[:1] @ d], many, deep, make_plan=capture)


def test_what_no_number_is_stays_where_it_is(capture):
    x = numbers(9, 6)
    x[2, 3], x[4, 0], x[4, 5], x[5] = np.nan, np.nan, np.inf, -np.inf

    def largest(xp, x):
        parts = [xp.max(x, axis=-1), xp.min(x, axis=-1), xp.argmax(x, axis=-1), xp.max(x, axis=0)]
        return [*parts, xp.maximum(x, 0.0), xp.minimum(x, 0.0), xp.sign(x), xp.isfinite(x)]

    check(largest, x, make_plan=capture)


def test_a_prediction_of_what_is_no_number_is_none(monkeypatch):
    gpu.installed(monkeypatch)
    x = numbers(4, 20)
    x[2, 3] = np.nan
    for backend in ("numpy", "cupy"):
        layers, _ = classifier()
        y = np.asarray(npnn.Sequential(layers, backend=backend, seed=0).predict(x))
        assert np.isnan(y[2]).all()
        assert np.isfinite(y[[0, 1, 3]]).all()


def test_an_operation_without_a_kernel_is_named_and_runs_uncaptured(backend):
    step = OnDevice(
        lambda c, d, i: (c, {"y": array_namespace(i["x"]).arctan2(i["x"], 2.0)}), backend
    )
    with pytest.warns(RuntimeWarning, match=r"arctan2"):
        _, outputs = step({}, {}, {"x": numbers(3)})
    np.testing.assert_array_equal(outputs["y"], np.arctan2(numbers(3), 2.0))


def test_a_graph_that_cannot_be_made_is_no_error(monkeypatch):
    gpu.installed(monkeypatch)
    ours, batches = trainer(classifier, "cupy", dtype="float64")
    theirs, _ = trainer(classifier, "numpy", dtype="float64")

    def refuse(self):
        self.recorded = None
        raise gpu.CUDARuntimeError("cudaErrorStreamCaptureUnsupported")

    monkeypatch.setattr(gpu.Stream, "end_capture", refuse)
    ours.step(*batches[0])
    with pytest.warns(RuntimeWarning, match=r"StreamCaptureUnsupported.*one by one"):
        ours.step(*batches[1])
    ours.step(*batches[2])
    for batch in batches[:3]:
        theirs.step(*batch)
    assert_close(weights(ours), weights(theirs), 1e-12)


def test_parts_of_a_table_are_inputs_too(monkeypatch):
    gpu.installed(monkeypatch)
    table = numbers(12, 25)
    losses = []
    for x, t in ((table[:, :20], table[:, 20:]), (table[:, :20].copy(), table[:, 20:].copy())):
        layers, _ = classifier()
        trains = npnn.SGD(alpha=1e-3)
        trains.model = npnn.Sequential(layers[:-1], backend="cupy", dtype="float64", seed=0)
        trains.model.chain = npnn.RMSLoss()
        trains.step(gpu.on_device(x), gpu.on_device(t))
        losses.append(trains.model.chain.get_loss())
    assert losses[0] == losses[1]


def test_a_bias_that_lies_anyhow_is_not_left_to_the_library(monkeypatch):
    gpu.installed(monkeypatch)

    def make():
        layers = [npnn.Dense(3, 5), npnn.ReLU(), npnn.Dense(5, 7), npnn.ReLU(), npnn.Dense(7, 2)]
        return layers, npnn.RMSLoss()

    ours, batches = trainer(make, "cupy")
    theirs, _ = trainer(make, "numpy")
    for batch in batches:
        ours.step(*batch)
        theirs.step(*batch)
    assert_close(weights(ours), weights(theirs), 1e-5)


def test_what_cublaslt_cannot_compute_cublas_does(monkeypatch):
    gpu.installed(monkeypatch)

    def make():
        return [npnn.Dense(9, 8), npnn.Tanh(), npnn.Dense(8, 3)], npnn.RMSLoss()

    theirs, batches = trainer(make, "numpy", dtype="float64")
    ours, _ = trainer(make, "cupy", dtype="float64")
    choose, refused = gpu.CublasLt.matmul_algo_get_heuristic, []

    def heuristic(self, *arguments):
        refused.append(arguments)
        if len(refused) % 3 == 0:
            return choose(self, *arguments)
        if len(refused) % 3 == 1:
            raise self.cuBLASLtError("not supported")
        return None  # and none is found

    monkeypatch.setattr(gpu.CublasLt, "matmul_algo_get_heuristic", heuristic)
    for batch in batches:
        ours.step(*batch)
        theirs.step(*batch)
    assert len(refused) > 3
    assert_close(weights(ours), weights(theirs), 1e-12)


def test_shadows_may_be_larger_than_the_memory_of_the_host():
    region = Region(1 << 40)
    assert len(region.bytes) == 1 << 40
    assert not region.bytes.flags.writeable


def test_small_arrays_of_the_host_are_inputs_too(backend):
    step = OnDevice(lambda c, d, i: (c, {"y": i["x"] * i["n"] + i["k"]}), backend)
    step._seen = lambda tree, keep=True: tree
    for n in (2.0, 3.0):
        _, outputs = step({}, {}, {"x": numbers(3), "n": n, "k": np.array(2)})
        np.testing.assert_array_equal(outputs["y"], numbers(3) * n + 2)


# Precision ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lt", [True, False], ids=["cuBLASLt", "cuBLAS"])
@pytest.mark.parametrize(
    ("precision", "compute", "digits"),
    [("float32", 68, 1e-6), ("tf32", 77, 2e-3), ("bfloat16", 75, 2e-2), ("float16", 74, 2e-3)],
)
def test_products_are_rounded_as_asked_for_and_nothing_else_is(
    precision, compute, digits, lt, monkeypatch
):
    gpu.installed(monkeypatch, lt=lt)
    ours, batches = trainer(classifier, "cupy", precision=precision)
    theirs, _ = trainer(classifier, "numpy", capture=False)
    for batch in batches:
        ours.step(*batch)
        theirs.step(*batch)
    assert {name for name in gpu.counts if str(name).startswith("computed")} == {
        f"computed as {compute}"
    }
    assert {array.dtype for array in weights(ours)} == {np.dtype("float32")}
    differ = [
        not np.array_equal(*pair) for pair in zip(weights(ours), weights(theirs), strict=True)
    ]
    assert any(differ)
    loss, expected = ours.model.chain.get_loss(), theirs.model.chain.get_loss()
    assert abs(loss - expected) < digits * expected


def test_float16_loses_no_small_gradient_and_leaves_out_what_overflows(monkeypatch):
    gpu.installed(monkeypatch)

    def run(backend, large, **options):
        trains, batches = trainer(classifier, backend, npnn.SGD, **options)
        trains.alpha = 1.0
        # Almost certain of what is right: of gradients so small float16 keeps hardly a digit.
        trains.model.layers[-2].b[0] = 14.0
        before = weights(trains)
        x, _ = batches[0]
        trains.step(x * large, np.zeros(len(x), int))
        return trains, [a - b for a, b in zip(weights(trains), before, strict=True)]

    ours, moved = run("cupy", 1.0, precision="float16")
    _, expected = run("numpy", 1.0)
    # The first biases start at zero: what they become is the gradient, unrounded.
    assert 0.0 < np.abs(expected[1]).max() < 1e-5
    assert relative_error(moved[1], expected[1]) < 0.02
    assert [float(x) for x in ours.model.runner.scaling] == [65536.0, 1.0]

    ours, moved = run("cupy", 1e9, precision="float16")
    assert not any(change.any() for change in moved)
    assert [float(x) for x in ours.model.runner.scaling] == [32768.0, 0.0]


def test_the_scale_of_the_loss_grows_while_nothing_overflows(monkeypatch):
    gpu.installed(monkeypatch)
    monkeypatch.setattr(loss_scaling, "GROWTH", 2)
    trains, batches = trainer(classifier, "cupy", precision="float16")
    scales = []
    for batch in batches:
        trains.step(*batch)
        scales.append(float(trains.model.runner.scaling[0]))
    assert scales == [65536.0, 131072.0, 131072.0, 262144.0]


def test_what_cannot_be_rounded_is_refused(monkeypatch):
    gpu.installed(monkeypatch)
    with pytest.raises(ValueError, match=r"one of float32, tf32, bfloat16, float16 for.*'cupy'"):
        npnn.Sequential(backend="cupy", precision="float8")
    with pytest.raises(ValueError, match=r"leave it out with dtype='float64'"):
        npnn.Sequential(backend="cupy", dtype="float64", precision="tf32")
    with pytest.raises(ValueError, match=r"left out, or 'float32', for backend 'numpy'.*'tf32'"):
        npnn.Sequential(backend="numpy", precision="tf32")
    with pytest.raises(ValueError, match=r"precision='tf32' needs capture=True"):
        npnn.Sequential(backend="cupy", precision="tf32", capture=False)


def test_the_scale_of_the_loss_is_kept_in_checkpoints(tmp_path, monkeypatch):
    gpu.installed(monkeypatch)
    monkeypatch.setattr(loss_scaling, "GROWTH", 6)
    scales = []

    class Look(npnn.Callback):
        def on_epoch_end(self, training, metrics):
            scales.append([float(x) for x in training.runner.scaling])

    def fit(path, epochs, resume=None):
        x, t = numbers(40, 20), np.arange(40) % 5
        layers, loss = classifier()
        model = npnn.Sequential(layers, backend="cupy", seed=0, precision="float16")
        callbacks = [npnn.Checkpoint(path), Look()]
        options = {"batch_size": 10, "epochs": epochs, "seed": 1, "resume": resume}
        model.fit(x, t, loss=loss, callbacks=callbacks, **options)

    fit(tmp_path / "whole", 3)
    whole = scales.copy()
    assert whole[1] == [131072.0, 2.0]  # it has grown once in eight steps
    scales.clear()
    fit(tmp_path / "first", 2)
    fit(tmp_path / "then", 3, resume=tmp_path / "first")
    assert scales == whole


@pytest.mark.parametrize("capture", [True, False])
def test_all_is_done_on_the_device_that_was_chosen(capture, monkeypatch):
    gpu.installed(monkeypatch)
    monkeypatch.setattr(gpu, "home", 1)
    monkeypatch.setattr(gpu.cuda.runtime, "getDeviceCount", lambda: 2)
    trains, batches = trainer(classifier, "cupy", device="cuda:1", capture=capture)
    for batch in batches:
        trains.step(*batch)
    model, (x, t) = trains.model, batches[0]
    model.fit(x, t, epochs=2, batch_size=5, seed=0)
    model.evaluate(x, t)
    model.predict(x)
    model.predict_class(x)
    monkeypatch.setattr(batches, "SHARE_OF_DATA", 0.0)
    model.fit(x, t, epochs=2, batch_size=5, seed=0)
    assert gpu.counts["copies"] > 0
    assert gpu.counts["on device 0"] == 0
    assert gpu.counts["on device 1"] > 0
    assert gpu.Device.entered == [0]


# Memory ------------------------------------------------------------------------------------------


def fitted(backend, progress=False, **options):
    """Return the history and the model of a training, with validation."""
    rng = np.random.default_rng(3)
    x, t = rng.standard_normal((50, 20)), rng.integers(5, size=50)
    layers, loss = classifier()
    model = npnn.Sequential(layers, backend=backend, seed=0, dtype="float64", **options)
    model.norm = npnn.Normalization.standard(x)
    history = model.fit(
        x, t, loss=loss, epochs=3, batch_size=8, seed=1, validation_split=0.2, progress=progress
    )
    return history, model


def test_data_larger_than_the_device_are_streamed(monkeypatch, capsys):
    gpu.installed(monkeypatch)
    expected, theirs = fitted("numpy")
    _, resident = fitted("cupy", progress=True)
    assert gpu.counts["copies"] == 0
    assert "streamed" not in capsys.readouterr().err
    monkeypatch.setattr(gpu.memory, "free", 15_000)  # of which the data need 8400
    monkeypatch.setattr(gpu.cuda, "alloc", gpu.unlimited)
    history, ours = fitted("cupy", progress=True)
    assert "the training data (0.0 GB) stay in the host" in capsys.readouterr().err
    assert gpu.counts["copies"] == 3 * 2 * (5 + 1)  # epochs, inputs and targets, batches
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-10)
    for model in (ours, resident):
        for mine, other in zip(model.layers, theirs.layers, strict=True):
            if hasattr(mine, "w"):
                np.testing.assert_allclose(np.asarray(mine.w), other.w, atol=1e-12)


def test_whoever_stops_early_leaves_no_copies_under_way(monkeypatch):
    gpu.installed(monkeypatch)
    x = numbers(20, 3)
    backend = npnn.backends.get("cupy", "float64")
    batches = backend.batches({"x": x}, np.split(np.arange(20), 5))
    np.testing.assert_array_equal(next(batches)["x"], x[:4])
    waits = gpu.counts["waits"]
    batches.close()
    assert gpu.counts["waits"] == waits + 1


def test_too_little_memory_says_which_batch_size_would_fit(monkeypatch):
    gpu.installed(monkeypatch)
    optimizer, batches = trainer(classifier, "cupy")
    optimizer.step(*batches[0])
    monkeypatch.setattr(gpu.memory, "free", 250_000)
    x, t = (np.concatenate([part] * 3) for part in batches[0])
    with pytest.raises(
        MemoryError, match=r"batch size 36 needs 0.\d MB.*0.\d MB are free"
    ) as caught:
        optimizer.step(x, t)
    fitting = int(str(caught.value).partition("batch_size=")[2].split()[0])
    assert 1 < fitting < 36
    optimizer.step(x[:fitting], t[:fitting])
    monkeypatch.setattr(gpu.memory, "free", 10)
    with pytest.raises(MemoryError, match=r"0.0 MB are free$"):
        optimizer.step(x[:3], t[:3])


def test_a_plan_can_be_looked_into_and_timed(monkeypatch):
    gpu.installed(monkeypatch)
    optimizer, batches = trainer(classifier, "cupy")
    assert "matmul+add+maximum" in str(optimizer.model.plan())
    before = weights(optimizer)
    rows = profile(optimizer.model, *batches[0], steps=2)
    assert min(row.seconds for row in rows) > 0.0
    assert sum(row.operation.startswith("matmul") for row in rows) == 8
    assert all(np.isfinite(a).all() for a in weights(optimizer))
    assert not np.array_equal(weights(optimizer)[0], before[0])
