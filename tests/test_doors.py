"""What comes in by any door: numbers of any kind, looked at before anything is made of them."""

import array
import decimal
import fractions

import numpy as np
import pytest
from oracles import host_parameters

import npnn
from npnn.backends.host import host_array

RNG = np.random.default_rng(7)
STAMPS = 1_700_000_000 + np.arange(200)[:, None]
X = RNG.normal(size=(20, 3)).astype(np.float32)
C = (X[:, 0] > 0).astype(np.int64)


def regression(backend="numpy", **options):
    return npnn.Sequential(
        [npnn.Dense(1, 4), npnn.Tanh(), npnn.Dense(4, 1)], backend=backend, seed=1, **options
    )


def identity(backend="numpy", features=1, **options):
    """A model that gives what comes in, once it was normalised."""
    model = npnn.Sequential([npnn.Dense(features, features)], backend=backend, **options)
    model.set_arrays({"0.w": np.eye(features), "0.b": np.zeros(features)})
    return model


def trained_by(model, norm=None):
    model.norm = norm
    optimizer = npnn.GradientDescent(1e-3)
    optimizer.model = model
    return optimizer


def refused(use, error, message):
    with pytest.raises(error, match=message) as caught:
        use()
    return str(caught.value)


# Normalised before they are rounded --------------------------------------------------------------


STAMPS_OF_ANY_KIND = {
    "int64": lambda x: x,
    "float64": lambda x: x.astype(np.float64),
    "int32": lambda x: x.astype(np.int32),
    "uint32": lambda x: x.astype(np.uint32),
    "list": lambda x: x.tolist(),
    "objects": lambda x: x.astype(object),
    "big-endian": lambda x: x.astype(">i8"),
}


@pytest.mark.parametrize("kind", STAMPS_OF_ANY_KIND)
@pytest.mark.parametrize("capture", [True, False])
def test_close_numbers_far_from_zero_stay_apart_in_predictions(kind, capture, backend_name):
    x, model = STAMPS_OF_ANY_KIND[kind](STAMPS), identity(backend_name, capture=capture)
    model.norm = npnn.Normalization.standard(x)
    expected = (np.arange(200) - 99.5)[:, None] / np.arange(200).std()
    for size in (None, 64):
        y = model.backend.to_numpy(model.predict(x, batch_size=size))
        np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["int64", "float64"])
@pytest.mark.later("jax")
def test_close_numbers_far_from_zero_train_as_those_near_zero(kind, captured_on):
    x, near = STAMPS_OF_ANY_KIND[kind](STAMPS), STAMPS - STAMPS[0]
    t = np.sin(near / 30.0)
    far, close = regression(captured_on), regression(captured_on)
    for model, inputs in ((far, x), (close, near)):
        model.norm = npnn.Normalization.standard(inputs)
        model.fit(inputs, t, epochs=2)
        trained_by(model, model.norm).step(inputs[:32], t[:32])
    for name, expected in host_parameters(close).items():
        np.testing.assert_allclose(host_parameters(far)[name], expected, rtol=1e-4, atol=1e-6)
    assert far.evaluate(x, t) == pytest.approx(close.evaluate(near, t), rel=1e-4)


def test_close_numbers_stay_apart_where_data_are_streamed(monkeypatch):
    model = regression()
    monkeypatch.setattr(type(model.backend), "free_memory", lambda self: 100)
    monkeypatch.setattr(type(model.backend), "owns", lambda self, x: x.size < 200)
    seen = []
    monkeypatch.setattr(
        npnn.Dense,
        "forward",
        lambda self, x, was=npnn.Dense.forward: seen.append(x) or was(self, x),
    )
    model.capture, model.norm = False, npnn.Normalization.standard(STAMPS)
    model.fit(STAMPS, np.sin(STAMPS / 30.0), epochs=1)
    assert len(np.unique(np.concatenate(seen[::2]).ravel())) == 200


def test_integers_of_64_bits_are_centred_without_an_error():
    x = np.int64(1_700_000_000_000_000_000) + np.arange(200)[:, None]  # nanoseconds
    y = npnn.Normalization.standard(x)(x)
    np.testing.assert_allclose(np.diff(y, axis=0), 1 / np.arange(200).std(), rtol=1e-6)
    ends = np.array([[-(2**63)], [2**63 - 1]])
    np.testing.assert_allclose(npnn.Normalization.min_max(ends)(ends), [[-1.0], [1.0]])


def test_arrays_of_a_backend_are_centred_with_all_their_digits(backend):
    for dtype in (np.int32, np.int64, np.float64):
        x = backend.asarray(STAMPS.astype(dtype), keep_integers=True)
        y = backend.to_numpy(npnn.Normalization.standard(STAMPS)(x))
        assert len(np.unique(y.astype(np.float32))) == 200
        np.testing.assert_allclose(y, (np.arange(200) - 99.5)[:, None] / 57.7, rtol=2e-3, atol=1e-3)


def test_a_step_of_inputs_of_one_kind_is_recorded_once_whether_they_are_rounded_or_not():
    model = regression()
    model.chain = npnn.RMSLoss()
    optimizer = trained_by(model, npnn.Normalization(0.5, 2.0))
    x, t = X[:, :1], X[:, 1:2]
    for _ in range(3):
        optimizer.step(x, t)
        optimizer.step(x.astype(np.float64), t)
    (step,) = model.runner.side()._training.values()
    assert len(step.plans) == 2


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.uint8, np.int16, bool])
@pytest.mark.parametrize("norm", [None, npnn.Normalization(0.3, 2.0)])
def test_a_batch_is_taken_in_as_the_first_one_of_its_kind_was(dtype, norm, backend_name):
    x = np.arange(20)[:, None].astype(dtype)
    trains = []
    for _ in range(2):
        model = regression(backend_name)
        model.chain = npnn.RMSLoss()
        trains.append(trained_by(model, norm))
    for _ in range(3):
        trains[0].step(x, x)
        trains[1].step(x.tolist(), x.astype(np.float64).tolist())  # which are looked at each time
    for name, expected in host_parameters(trains[1].model).items():
        np.testing.assert_allclose(
            host_parameters(trains[0].model)[name], expected, rtol=1e-5, atol=1e-6
        )
    if backend_name == "numpy":
        (step,) = trains[0].model.runner.side()._training.values()
        assert len(step.plans) == 1


def test_a_wide_model_centres_narrow_numbers_with_all_its_digits(backend_name):
    x = np.float32([[16_777_216.0], [16_777_218.0], [16_777_220.0]])
    model = identity(backend_name, dtype="float64")
    model.norm = npnn.Normalization(16_777_217.0, 1.0)  # which float32 has not
    for use in (model.predict, model.predict):
        np.testing.assert_array_equal(model.backend.to_numpy(use(x)), [[-1.0], [1.0], [3.0]])
    model.chain = npnn.RMSLoss()
    assert model.evaluate(x, [[-1.0], [1.0], [3.0]])["loss"] == 0.0


# What a dtype does not hold ----------------------------------------------------------------------


@pytest.mark.parametrize("value", [16_777_217, -(2**31) + 1, 2**62 + 1])
def test_an_integer_that_would_become_another_is_refused_and_named(value, backend_name):
    x = np.zeros((4, 1), np.int64)
    x[2] = value
    message = rf"inputs that are integers .* there is a {value} at sample 2, position \(0,\)"
    model = regression(backend_name)
    model.chain = npnn.RMSLoss()
    t = np.zeros((4, 1))
    for use in (
        lambda: model.fit(x, t),
        lambda: model.evaluate(x, t),
        lambda: model.predict(x),
        lambda: model.predict(x.tolist()),
        lambda: trained_by(model).step(x, t),
        lambda: trained_by(regression(backend_name, capture=False)).predict(x),
    ):
        assert "Normalization.standard" in refused(use, ValueError, message)
    assert np.isfinite(model.backend.to_numpy(model.predict(x * 0 + 16_777_216))).all()
    refused(lambda: model.fit(x * 0.0, x), ValueError, f"targets that are .* {value} at sample 2")


def test_a_wider_model_takes_the_integers_that_it_holds(backend_name):
    if backend_name == "jax":
        pytest.skip("JAX holds them only once it was told to, for good")
    model = identity(backend_name, dtype="float64")
    y = model.backend.to_numpy(model.predict([[2**53 - 1], [2**53]]))
    np.testing.assert_array_equal(y, [[2.0**53 - 1], [2.0**53]])
    refused(lambda: model.predict([[2**53 + 1]]), ValueError, "9007199254740993 at sample 0")


def test_training_is_not_begun_with_samples_that_rounding_makes_the_same(backend_name):
    model = regression(backend_name)
    x = STAMPS.astype(np.float64)
    message = r"inputs at position \(0,\) .* are from 1700000000.0 to .* makes only 3 different"
    refused(lambda: model.fit(x, np.zeros(200)), ValueError, message)
    refused(lambda: model.fit(x - x[0], x), ValueError, "targets at position .* only 3 different")
    for fine in (x - x[0], x / x[0] * 0 + 0.1, 0.1 + 1e-16 * (x - x[0])):
        assert model.fit(fine, np.zeros(200), epochs=1).num_epochs == 1


@pytest.mark.parametrize(
    "x", [np.array([[2**63 + 5]], np.uint64), [[2**63]], [[2**70]], [[-(2**70)]]]
)
def test_an_integer_of_more_than_64_bits_is_refused_and_named(x, backend_name):
    message = r"inputs x: integers must fit 64 bits with a sign, but there is a -?\d+ at \(0, 0\)"
    refused(lambda: regression(backend_name).predict(x), ValueError, message)


class Chosen(npnn.Layer):
    """A layer of one's own, of integers."""

    takes_integers = True

    def forward(self, x):
        return x


@pytest.fixture
def without_64_bits(backend_name):
    """Have JAX hold no numbers of 64 bits, whatever was asked for before."""
    if backend_name != "jax":
        yield
        return
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("label", [2**32, 2**32 + 1, -(2**32)])
def test_no_label_of_64_bits_becomes_another_one(label, backend_name, without_64_bits):
    model = npnn.Sequential([npnn.Dense(3, 2), npnn.Softmax()], backend=backend_name, seed=1)
    t = C.copy()
    t[5] = label
    refused(lambda: model.fit(X, t), ValueError, f"{label}")
    optimizer = trained_by(model)
    model.chain = npnn.CrossEntropyLoss()
    refused(lambda: optimizer.step(X, t), ValueError, f"{label}")
    if backend_name == "jax":
        jax = pytest.importorskip("jax")
        holds_64 = jax.config.jax_enable_x64  # as a model with float64 has asked
        jax.config.update("jax_enable_x64", False)
        own = npnn.Sequential([Chosen()], backend=backend_name)
        refused(lambda: own.predict(t[:, None]), ValueError, f"fit 32 bits, but there is a {label}")
        jax.config.update("jax_enable_x64", holds_64)


def test_a_float_beyond_the_dtype_is_refused_by_every_door(backend_name):
    x = X.astype(np.float64)
    x[3, 1] = 1e39
    model = npnn.Sequential([npnn.Dense(3, 2), npnn.Softmax()], backend=backend_name, seed=1)
    model.chain = npnn.CrossEntropyLoss()
    optimizer = trained_by(model)
    for use in (
        lambda: model.fit(x, C),
        lambda: model.predict(x),
        lambda: model.predict_class(x),
        lambda: model.evaluate(x, C),
        lambda: optimizer.step(x, C),
        lambda: optimizer.predict(x, C),
    ):
        refused(use, ValueError, r"must fit float32, but there is a 1e\+39 at sample 3, position")
    model.norm = npnn.Normalization(0.0, [1.0, 1e39, 1.0])
    assert np.isfinite(model.backend.to_numpy(model.predict(x))).all()


# Numbers of any kind -----------------------------------------------------------------------------


class Speaks:
    """An array of a library that speaks DLPack, and no more."""

    def __init__(self, x):
        self.x = x

    def __dlpack__(self, **options):
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()


def seen(model, x):
    """Return an array of the backend, where a step need not wait to look at it."""
    backend = model.backend
    return [] if backend.asynchronous else [backend.asarray(x, keep_integers=True)]


def matrix(x):
    return np.asarray(x).view(np.matrix)


def tensor(x):
    torch = pytest.importorskip("torch")
    return torch.tensor(x, dtype=torch.float32, requires_grad=True)


NUMBERS = {
    "fractions": lambda x: [[fractions.Fraction(v) for v in row] for row in x],
    "decimals": lambda x: [[decimal.Decimal(v) for v in row] for row in x],
    "mixed objects": lambda x: np.array([[np.float32(a), int(b)] for a, b in x], object),
    "longdouble": lambda x: np.array(x, np.longdouble),
    "float16": lambda x: np.array(x, np.float16),
    "read-only": lambda x: np.frombuffer(np.array(x).tobytes()).reshape(-1, 2),
    "in Fortran's order": lambda x: np.asfortranarray(x),
    "backwards": lambda x: np.array(x[::-1])[::-1],
    "big-endian": lambda x: np.array(x, ">f4"),
    "matrix": matrix,
    "memoryview": lambda x: memoryview(np.array(x)),
    "array.array": lambda x: [array.array("d", row) for row in x],
    "ranges": lambda x: [range(int(a), int(b) + 1, int(b - a)) for a, b in x],
    "a tensor with a gradient": tensor,
    "tensors with gradients": lambda x: list(tensor(x)),
    "bfloat16": lambda x: tensor(x).bfloat16(),
    "DLPack": lambda x: Speaks(np.array(x)),
    "masked, without a hole": lambda x: np.ma.array(x),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_of_any_kind_are_taken_as_floats_are(kind, backend_name):
    x = [[1.0, 3.0], [2.0, 6.0], [0.0, 4.0]]
    model = identity(backend_name, 2)
    given = NUMBERS[kind](x)
    np.testing.assert_array_equal(model.backend.to_numpy(model.predict(given)), x)
    if backend_name not in ("numpy", "torch"):
        return  # from here on, all goes the same way
    trained_by(model).model.chain = npnn.RMSLoss()
    assert model.evaluate(given, NUMBERS[kind](x))["loss"] == 0.0
    trained_by(model).step(given, NUMBERS[kind](x))
    model.fit(given, NUMBERS[kind](x), epochs=1)


def test_a_memmap_is_data(tmp_path):
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=X.shape)
    mapped[...] = X
    model = identity(features=3)
    np.testing.assert_array_equal(model.predict(mapped), X)
    assert type(host_array(mapped)) is np.ndarray


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: (row for row in X), TypeError, "generator can be walked over only once: .*list"),
        (lambda: map(list, X), TypeError, "a map can be walked over only once"),
        (lambda: zip(X, X, strict=True), TypeError, "a zip can be walked over only once"),
        (lambda: {1.0, 2.0}, TypeError, "a set has no order"),
        (lambda: X.astype(str), TypeError, r"not one of <U32 .* np.asarray\(x, dtype=float\)"),
        (lambda: [["1", 2, 3]], TypeError, r"not one of <U21 \(list\)"),
        (lambda: b"abc", TypeError, r"not one of \|S3 \(bytes\)"),
        (lambda: None, TypeError, r"there is a None \(NoneType\)$"),
        (lambda: X.astype("M8[s]"), TypeError, r"datetime64.* np.timedelta64\(1, 's'\)"),
        (lambda: X.astype("m8[s]"), TypeError, r"timedelta64.* x / np.timedelta64"),
        (
            lambda: np.array([(1, 2.0)], [("a", int), ("b", float)]),
            TypeError,
            "structured_to_unstructured",
        ),
        (lambda: [np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])], ValueError, "hidden by a mask"),
        (lambda: [[1.0], [1.0, 2.0]], ValueError, "rows must be of one shape"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_in_words(make, error, message, backend_name):
    model = npnn.Sequential([npnn.Dense(3, 2), npnn.Softmax()], backend=backend_name, seed=1)
    model.chain = npnn.CrossEntropyLoss()
    optimizer = trained_by(model)
    for use in (
        lambda: model.fit(make(), C),
        lambda: model.evaluate(make(), C),
        lambda: model.predict(make()),
        lambda: optimizer.step(make(), C),
    ):
        refused(use, error, f"^inputs x: .*{message}")
    if make() is not None:
        refused(lambda: model.fit(X, make()), error, f"^targets t: .*{message}")


def test_a_sparse_matrix_is_refused_with_the_line_that_makes_it_dense(backend_name):
    sparse = pytest.importorskip("scipy.sparse")
    model = npnn.Sequential([npnn.Dense(3, 2), npnn.Softmax()], backend=backend_name, seed=1)
    message = r"inputs x: a csr_array is sparse, .* x.toarray\(\) .* of 8.0 MB"
    refused(
        lambda: model.fit(sparse.csr_array((333_334, 3)), np.zeros(333_334, int)),
        TypeError,
        message,
    )


# A batch is looked at as a data set is -----------------------------------------------------------


def spoiled(x, place, value):
    x = np.array(x)
    x[place] = value
    return x


@pytest.mark.parametrize("capture", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_door_takes_what_is_no_number(value, capture, backend_name):
    model = npnn.Sequential([npnn.Dense(3, 3)], backend=backend_name, seed=1, capture=capture)
    model.chain = npnn.RMSLoss()
    optimizer = trained_by(model)
    optimizer.step(X, X)
    model.predict(X)
    before = host_parameters(model)
    bad = spoiled(X, (17, 2), value)
    where = r"must be finite numbers, but there is a -?(nan|inf) at sample 17, position \(2,\)"
    for x in (bad, bad.astype(np.float64), bad.tolist(), *seen(model, bad)):
        for use in (
            lambda x=x: model.fit(x, X),
            lambda x=x: model.evaluate(x, X),
            lambda x=x: model.predict(x),
            lambda x=x: model.predict(x, batch_size=4),
            lambda x=x: optimizer.step(x, X),
            lambda x=x: optimizer.predict(x, X),
        ):
            refused(use, ValueError, f"inputs {where}")
        refused(lambda x=x: model.fit(X, x), ValueError, f"targets {where}")
        refused(lambda x=x: optimizer.step(X, x), ValueError, f"targets {where}")
    assert optimizer.steps == 1
    for name, parameter in host_parameters(model).items():
        np.testing.assert_array_equal(parameter, before[name])


@pytest.mark.parametrize("label", [-1, 2, 255])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int16])
def test_a_label_out_of_range_is_found_in_a_later_batch_too(label, dtype, backend_name):
    model = npnn.Sequential([npnn.Dense(3, 2), npnn.Softmax()], backend=backend_name, seed=1)
    model.chain = npnn.CrossEntropyLoss()
    optimizer, good = trained_by(model), C.astype(dtype)
    optimizer.step(X, good)
    bad = spoiled(good, 19, label)
    for t in (bad, bad[:, None], bad.tolist(), *seen(model, bad)):
        refused(
            lambda t=t: optimizer.step(X, t), ValueError, f"from 0 to 1, but there is a {label}"
        )
    optimizer.step(X, good)
    assert optimizer.steps == 2


@pytest.mark.parametrize(
    ("last", "good", "bad", "message"),
    [
        (npnn.Sigmoid, C[:, None], 2.0, "from 0 .* there is a 2"),
        (npnn.Sigmoid, C[:, None], -0.5, "from 0 .* there is a -0.5"),
        (npnn.Softmax, np.eye(2)[C], 2.0, "must be probabilities that sum to 1"),
        (npnn.Softmax, np.eye(2)[C], -1.0, "there is a -1"),
    ],
)
def test_targets_that_make_no_sense_are_found_in_a_later_batch_too(
    last, good, bad, message, backend_name
):
    layers = [npnn.Dense(3, good.shape[1]), last()]
    model = npnn.Sequential(layers, backend=backend_name, seed=1)
    model.chain = npnn.losses.default_loss(model)
    optimizer = trained_by(model)
    for dtype in (np.float32, np.float64):
        t = good.astype(dtype)
        optimizer.step(X, t)
        wrong = spoiled(t, (19, 0), bad)
        for given in (wrong, *seen(model, wrong)):
            refused(lambda given=given: optimizer.step(X, given), ValueError, message)


class Even(npnn.RMSLoss):
    """A loss of one's own, of even targets."""

    def check_targets(self, t):
        if float(npnn.arrays.array_namespace(t).sum(t % 2.0)):
            raise ValueError("an odd target")


def test_a_loss_of_ones_own_looks_at_each_batch():
    model = regression()
    model.chain = Even()
    optimizer = trained_by(model)
    optimizer.step(X[:, :1], np.zeros((20, 1), np.float32))
    refused(lambda: optimizer.step(X[:, :1], np.ones((20, 1), np.float32)), ValueError, "odd")


def test_large_numbers_and_negative_zero_are_numbers(backend_name):
    model = npnn.Sequential([npnn.Dense(3, 1), npnn.Sigmoid()], backend=backend_name, seed=1)
    model.chain = npnn.BinaryCrossEntropyLoss()
    optimizer = trained_by(model)
    for x in (X, X * np.float32(1e20), X * np.float32(-0.0)):
        optimizer.step(x, np.where(C, 1.0, -0.0).astype(np.float32)[:, None])


@pytest.mark.parametrize("capture", [True, False])
def test_arrays_that_are_written_into_again_are_taken_in_as_they_were(capture, backend_name):
    rng = np.random.default_rng(0)
    batches = rng.standard_normal((5, 4096, 16)).astype(np.float32)

    def weights(again):
        layers = [npnn.Dense(16, 64), npnn.Tanh(), npnn.Dense(64, 1)]
        model = npnn.Sequential(layers, seed=0, backend=backend_name, capture=capture)
        model.chain = npnn.RMSLoss()
        optimizer = trained_by(model)
        x, t = np.empty((4096, 16), np.float32), np.empty((4096, 1), np.float32)
        function, outputs = model.function(), []
        for batch in batches:
            x, t = (x, t) if again else (x.copy(), t.copy())
            x[...], t[...] = batch, batch[:, :1]
            optimizer.step(x, t)
            outputs += [model.predict(x), function(x)]
            if again:
                x[...], t[...] = 9.0, -9.0
        found = [model.parameters()["0.w"], *outputs]
        return [model.backend.to_numpy(array) for array in found]

    for found, expected in zip(weights(True), weights(False), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
