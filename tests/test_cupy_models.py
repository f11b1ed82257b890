"""Models on a GPU train as they do on NumPy, whatever is rounded, whichever library multiplies."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_gpu import (
    DEVICE,
    EMULATED,
    NETWORKS,
    RoundingBackend,
    classifier,
    dense,
    faults,
    lenet5,
    on,
    plan_of,
    some_mode,
    table,
    trainer,
    weights,
)
from oracles import LOSSES, OPTIMIZERS, by_name, relative_error
from test_capture import KINDS, OPTIONS, Multiply, assert_close, model_of, trained
from test_plan import numbers

import npnn
from npnn import loss_scaling
from npnn.backends.gpu import products

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:layer .* leave one of the two out:UserWarning"),
]

# Models ------------------------------------------------------------------------------------------

COUNT = max(-(-len(KINDS) // 3), len(LOSSES), len(OPTIMIZERS))
MODELS = [
    ([KINDS[(3 * i + n) % len(KINDS)] for n in range(3)], LOSSES[i % len(LOSSES)],
     OPTIMIZERS[i % len(OPTIMIZERS)])
    for i in range(COUNT)
]  # fmt: skip


def test_no_kind_of_layer_is_left_out():
    assert {kind for kinds, _, _ in MODELS for kind in kinds} == set(KINDS)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("number", range(COUNT))
def test_a_model_trains_as_it_does_on_numpy(number, dtype, tolerance):
    kinds, loss, optimizer = MODELS[number]

    def run(backend, capture):
        options = on(backend, dtype=dtype, seed=1, capture=capture)
        # Adam's first steps are as large for the smallest gradient, rounded, as for the largest.
        return trained(model_of(kinds, loss, **options), loss(), optimizer(alpha=1e-5), 3)

    with some_mode(number):
        ours = run("cupy", True)
    assert_close(ours, run("numpy", False), tolerance)


# What a product may round, and how near the results then are.
PRECISIONS = {"float64": 1e-12, "float32": 1e-5, "tf32": 2e-3, "bfloat16": 2e-2, "float16": 2e-3}


@settings(max_examples=NETWORKS, derandomize="NPNN_MODELS" not in os.environ)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    st.sampled_from(LOSSES),
    st.sampled_from(OPTIMIZERS),
    st.sampled_from(OPTIONS),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.sampled_from(list(PRECISIONS)),
    st.integers(0, 99),
)
def test_a_random_model_trains_as_it_does_on_numpy(
    library, kinds, loss, optimizer, options, sizes, precision, mode
):
    dtype = "float64" if precision == "float64" else "float32"

    def run(backend, **more):
        model = model_of(kinds, loss, dtype=dtype, seed=0, **on(backend, **more))
        return trained(model, loss(), optimizer(alpha=1e-5, **options), 3, sizes)

    given = {} if precision == "float64" else {"precision": precision}
    before = faults()
    with np.errstate(all="ignore"), some_mode(mode):
        expected = run("numpy", capture=False)
        assert_close(run("cupy", **given), expected, PRECISIONS[precision])
    assert faults() == before


def test_a_noisy_model_trains_the_same_from_the_same_seed():
    def run(backend, capture):
        layers = [npnn.Dense(3, 8), npnn.LeakyReLU(), Multiply(), npnn.Dense(8, 2), Multiply()]
        model = npnn.Sequential(layers, **on(backend, dtype="float64", seed=2, capture=capture))
        return trained(model, npnn.RMSLoss(), npnn.Adam(alpha=1e-3), 12, sizes=(6, 6, 5))

    assert_close(run("cupy", True), run("numpy", False), 1e-12)


# Networks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-11)])
@pytest.mark.parametrize("make", [lenet5, classifier])
def test_a_network_trains_as_it_does_on_numpy(make, dtype, tolerance, library):
    ours, batches = trainer(make, "cupy", npnn.SGD, dtype=dtype)
    theirs, _ = trainer(make, "numpy", npnn.SGD, dtype=dtype, capture=False)
    assert ours.model.backend.products.name == library
    for x, t in batches:
        ours.step(x, t)
        theirs.step(x, t)
    assert_close(weights(ours), weights(theirs), tolerance)
    x, t = batches[0]
    y = ours.model.backend.to_numpy(ours.model.predict(x))
    np.testing.assert_allclose(y, theirs.model.predict(x), atol=tolerance)


def test_a_variational_autoencoder_trains_as_it_does_on_numpy():
    def run(backend, capture):
        options = on(backend, dtype="float64", capture=capture)
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


@pytest.mark.parametrize("backend", ["numpy", "cupy"])
def test_a_prediction_of_what_is_no_number_is_none(backend):
    x = numbers(4, 20)
    x[2, 3] = np.nan
    layers, _ = classifier()
    model = npnn.Sequential(layers, **on(backend, seed=0))
    accepted = {"x": model.backend.asarray(x)}  # what predict would refuse
    y = model.backend.to_numpy(model.runner.run_prediction({}, accepted, 4, alone=True))
    assert np.isnan(y[2]).all()
    assert np.isfinite(y[[0, 1, 3]]).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=by_name)
def test_an_optimizer_is_one_kernel(optimizer):
    trains, batches = trainer(classifier, "cupy", optimizer)
    trains.step(*batches[0])
    ops = [[node.origin[0] for node in group] for group in plan_of(trains).draft.groups]
    updates = [group for group in ops if any(name.endswith(".update") for name in group)]
    assert len(updates) == 1


# Libraries of products ---------------------------------------------------------------------------


def test_a_bias_that_lies_anyhow_is_not_left_to_the_library(monkeypatch):
    lt = pytest.importorskip("nvmath.bindings.cublasLt")
    pointers, describe = [], products._describe

    def noted(*given):
        set_attribute, *_, described = given
        if set_attribute is lt.matmul_desc_set_attribute:
            pointers.extend(v for k, v in described.items() if k.name == "BIAS_POINTER")
        describe(*given)

    monkeypatch.setattr(products, "_describe", noted)

    def make():
        layers = [npnn.Dense(3, 5), npnn.ReLU(), npnn.Dense(5, 7), npnn.ReLU(), npnn.Dense(7, 2)]
        return layers, npnn.RMSLoss()

    # 15 numbers come before the first bias, 55 before the second: neither begins a pack of four.
    ours, batches = trainer(make, "cupy")
    theirs, _ = trainer(make, "numpy")
    for batch in batches:
        ours.step(*batch)
        theirs.step(*batch)
    assert_close(weights(ours), weights(theirs), 1e-5)
    assert not pointers
    even, batches = trainer(lambda: dense(4, 8, 8, 2), "cupy")
    even.step(*batches[0])
    assert pointers
    assert all(pointer % 16 == 0 for pointer in pointers)


def test_what_cublaslt_cannot_compute_cublas_does(monkeypatch):
    lt = pytest.importorskip("nvmath.bindings.cublasLt")

    def make():
        return [npnn.Dense(9, 8), npnn.Tanh(), npnn.Dense(8, 3)], npnn.RMSLoss()

    theirs, batches = trainer(make, "numpy", dtype="float64")
    ours, _ = trainer(make, "cupy", dtype="float64")
    choose, asked = lt.matmul_algo_get_heuristic, []

    def heuristic(*arguments):
        asked.append(arguments)
        if len(asked) % 3 == 0:
            return choose(*arguments)
        if len(asked) % 3 == 1:
            raise lt.cuBLASLtError(15)  # not supported
        return None  # and none is found

    monkeypatch.setattr(lt, "matmul_algo_get_heuristic", heuristic)
    for batch in batches:
        ours.step(*batch)
        theirs.step(*batch)
    assert len(asked) > 3
    assert_close(weights(ours), weights(theirs), 1e-12)


def test_a_graph_that_cannot_be_made_is_no_error(monkeypatch):
    ours, batches = trainer(classifier, "cupy", dtype="float64")
    theirs, _ = trainer(classifier, "numpy", dtype="float64")
    cuda = ours.model.backend.cupy.cuda
    end = cuda.Stream.end_capture

    def refuse(self):
        end(self)
        raise cuda.runtime.CUDARuntimeError(900)

    monkeypatch.setattr(cuda.Stream, "end_capture", refuse)
    ours.step(*batches[0])
    with pytest.warns(RuntimeWarning, match=r"StreamCaptureUnsupported.*one by one"):
        ours.step(*batches[1])
    ours.step(*batches[2])
    for batch in batches[:3]:
        theirs.step(*batch)
    assert_close(weights(ours), weights(theirs), 1e-12)


# Precision ---------------------------------------------------------------------------------------


@pytest.fixture
def computations(library, monkeypatch):
    """The types of computation (cublasComputeType_t) of the products that are asked for."""
    cupy, found = pytest.importorskip("cupy"), set()
    if library == "cuBLASLt":
        lt = pytest.importorskip("nvmath.bindings.cublasLt")
        create = lt.matmul_desc_create

        def noted(compute, scale):
            found.add(compute)
            return create(compute, scale)

        monkeypatch.setattr(lt, "matmul_desc_create", noted)
    else:
        multiply = cupy.cuda.cublas.gemmStridedBatchedEx

        def noted(*arguments):
            found.add(arguments[-2])
            return multiply(*arguments)

        monkeypatch.setattr(cupy.cuda.cublas, "gemmStridedBatchedEx", noted)
    return found


@pytest.mark.parametrize(
    ("precision", "compute", "digits"),
    [("float32", 68, 1e-6), ("tf32", 77, 2e-3), ("bfloat16", 75, 2e-2), ("float16", 74, 2e-3)],
)
def test_products_are_rounded_as_asked_for_and_nothing_else_is(
    precision, compute, digits, computations
):
    def run(backend, **options):
        trains, batches = trainer(classifier, backend, npnn.SGD, **options)
        trains.alpha = 0.1
        before = weights(trains)
        for batch in batches:
            trains.step(*batch)
        after = weights(trains)
        assert {array.dtype for array in after} == {np.dtype("float32")}
        moved = np.concatenate([(a - b).ravel() for a, b in zip(after, before, strict=True)])
        return trains.model.chain.get_loss(), moved

    loss, moved = run("cupy", precision=precision)
    assert computations == {compute}
    exact_loss, exact = run("numpy", capture=False)
    assert abs(loss - exact_loss) < digits * exact_loss
    if EMULATED:
        _, expected = run(RoundingBackend("float32", None, precision))
        assert relative_error(moved, expected) < 1e-3
        assert (relative_error(moved, exact) > 1e-2) == (precision != "float32")


@pytest.mark.parametrize(
    ("precision", "least", "most"),
    # A card may compute in tf32 instead of the shorter ones.
    [
        ("float32", 0.0, 1e-6),
        ("tf32", 1e-4, 1e-3),
        ("bfloat16", 1e-4, 4e-3),
        ("float16", 1e-4, 1e-3),
    ],
)
def test_a_product_is_as_exact_as_its_precision(precision, least, most, library):
    a, b = np.random.default_rng(0).standard_normal((2, 256, 256), np.float32)
    backend = npnn.backends.get("cupy", device=DEVICE, precision=precision)
    step = backend.capture(lambda carry, data, inputs: (carry, {"y": data["a"] @ inputs["b"]}))
    data, inputs = {"a": backend.asarray(a)}, {"b": backend.asarray(b)}
    for _ in range(2):
        y = backend.to_numpy(step({}, data, inputs)[1]["y"])
        assert least <= relative_error(y, a.astype(float) @ b.astype(float)) < most


def test_float16_loses_no_small_gradient_and_leaves_out_what_overflows():
    def run(backend, large, **options):
        trains, batches = trainer(classifier, backend, npnn.SGD, **options)
        trains.alpha = 1.0
        # Almost certain of what is right: of gradients so small float16 keeps hardly a digit.
        with trains.model.backend.current():
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

    if not EMULATED:
        return  # a card may compute in tf32, which does not overflow
    ours, moved = run("cupy", 1e9, precision="float16")
    assert not any(change.any() for change in moved)
    assert [float(x) for x in ours.model.runner.scaling] == [32768.0, 0.0]


def test_the_scale_of_the_loss_grows_while_nothing_overflows(monkeypatch):
    monkeypatch.setattr(loss_scaling, "GROWTH", 2)
    trains, batches = trainer(classifier, "cupy", precision="float16")
    scales = []
    for batch in batches:
        trains.step(*batch)
        scales.append(float(trains.model.runner.scaling[0]))
    assert scales == [65536.0, 131072.0, 131072.0, 262144.0]


def test_the_scale_of_the_loss_is_kept_in_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_scaling, "GROWTH", 6)
    scales = []

    class Look(npnn.Callback):
        def on_epoch_end(self, training, metrics):
            scales.append([float(x) for x in training.runner.scaling])

    def fit(path, epochs, resume=None):
        x, t = table(40)
        layers, loss = classifier()
        model = npnn.Sequential(layers, **on("cupy", seed=0, precision="float16"))
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


def test_what_cannot_be_rounded_is_refused():
    with pytest.raises(ValueError, match=r"one of float32, tf32, bfloat16, float16 for.*'cupy'"):
        npnn.Sequential(backend="cupy", precision="float8")
    with pytest.raises(ValueError, match=r"leave it out with dtype='float64'"):
        npnn.Sequential(backend="cupy", dtype="float64", precision="tf32")
    with pytest.raises(ValueError, match=r"left out, or 'float32', for backend 'numpy'.*'tf32'"):
        npnn.Sequential(backend="numpy", precision="tf32")
    with pytest.raises(ValueError, match=r"precision='tf32' needs capture=True"):
        npnn.Sequential(backend="cupy", precision="tf32", capture=False)
