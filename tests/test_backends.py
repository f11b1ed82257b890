"""What a backend promises: arrays in and out, the register, and errors that name the remedy."""

import sys

import numpy as np
import pytest

import npnn
from npnn import backends

X = [[1.0, -2.0], [3.5, 4.0]]


def in_library(library, array):
    """Return a NumPy array as an array of another library, or skip."""
    if library == "list":
        return array.tolist()
    if library == "numpy":
        return array
    name = {"jax": "jax.numpy"}.get(library, library)
    return pytest.importorskip(name).asarray(array)


LIBRARIES = ["list", "numpy", "torch", "jax", "array_api_strict"]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_an_array_of_any_library_becomes_one_of_the_backend(library, dtype, backend, backend32):
    x = in_library(library, np.array([[1, -2], [3, 4]], dtype=dtype))
    for there in (backend, backend32):
        array = there.asarray(x)
        assert there.owns(array)
        assert array.dtype == there.dtype
        np.testing.assert_array_equal(there.to_numpy(array), [[1, -2], [3, 4]])


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_integers_stay_integers_where_they_may(library, dtype, backend):
    x = in_library(library, np.array([1, 2, 3], dtype=dtype))
    array = backend.asarray(x, keep_integers=True)
    assert backend.xp.isdtype(array.dtype, "integral")
    np.testing.assert_array_equal(backend.to_numpy(array), [1, 2, 3])
    assert backend.asarray([0.5], keep_integers=True).dtype == backend.dtype


def test_booleans_become_zeros_and_ones(backend):
    array = backend.asarray(np.array([True, False]), keep_integers=True)
    assert array.dtype == backend.dtype
    np.testing.assert_array_equal(backend.to_numpy(array), [1.0, 0.0])


@pytest.mark.parametrize(
    "view",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12.0)[::-2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(1.5),
        np.zeros((0, 2)),
    ],
    ids=["transposed", "reversed", "fortran", "scalar", "empty"],
)
def test_an_array_of_any_layout_is_read_correctly(view, backend, backend32):
    for there in (backend, backend32):
        np.testing.assert_array_equal(there.to_numpy(there.asarray(view)), view)


def test_numbers_in_the_other_byte_order_are_read_correctly(working_backends):
    for name in working_backends:
        there = backends.get(name)
        for dtype in (">f8", ">i4"):
            array = there.asarray(np.arange(3, dtype=dtype))
            np.testing.assert_array_equal(there.to_numpy(array), [0, 1, 2])


def test_an_array_that_may_not_be_written_is_read_all_the_same(backend):
    x = np.array(X)
    x.flags.writeable = False
    np.testing.assert_array_equal(backend.to_numpy(backend.asarray(x)), x)


@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
def test_a_copy_shares_no_memory(library, backend):
    x = in_library(library, np.array(X))
    copied = backend.asarray(x, copy=True)
    x[0, 0] = 99.0
    assert float(copied[0, 0]) == 1.0


def test_a_tensor_that_autograd_watches_is_taken_without_it(backend):
    torch = pytest.importorskip("torch")
    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    np.testing.assert_array_equal(backend.to_numpy(backend.asarray(x)), X)


@pytest.mark.parametrize(
    "x", [[["a", "b"]], [None], [1j], object()], ids=["text", "none", "complex", "object"]
)
def test_what_holds_no_numbers_is_a_type_error(x, backend):
    with pytest.raises(TypeError, match="array of numbers is needed"):
        backend.asarray(x)


def test_ragged_lists_are_a_value_error(backend):
    with pytest.raises(ValueError, match="rows must be of one shape"):
        backend.asarray([[1.0, 2.0], [3.0]])


def test_arrays_of_no_axes_are_read_together(backend, backend32):
    numbers = [1.5, -2.0, 0.25]
    for there in (backend, backend32):
        found = there.read([there.asarray(number) for number in numbers])
        assert found == numbers
        assert {type(number) for number in found} == {float}


def test_zeros_are_zeros(backend, backend32):
    for there in (backend, backend32):
        for shape in ((), (2, 3)):
            array = there.zeros(shape)
            assert there.owns(array)
            assert array.dtype == there.dtype
            np.testing.assert_array_equal(there.to_numpy(array), np.zeros(shape))


def test_what_is_packed_is_unpacked_again(backend):
    shapes = [(2, 3), (3,), (), (1, 1, 2)]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    packed = backend.pack([backend.asarray(array) for array in arrays])
    assert len(packed) == (1 if backend.in_place else len(shapes))
    for actual, expected in zip(backend.unpack(packed, shapes), arrays, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(actual), expected)
    assert backend.unpack(backend.pack([]), []) == []


def test_what_is_stored_is_in_the_old_memory_where_that_can_be_written(backend):
    old, new = [backend.zeros((2,))], [backend.asarray([1.0, 2.0])]
    stored = backend.store(old, new)
    np.testing.assert_array_equal(backend.to_numpy(stored[0]), [1.0, 2.0])
    assert (stored[0] is old[0]) == backend.in_place


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_random_numbers_are_the_same_on_every_backend(kind, backend, backend32):
    expected = backends.get("numpy", "float64").random(kind, (500, 2), np.random.default_rng(0))
    for there in (backend, backend32):
        drawn = there.random(kind, (500, 2), np.random.default_rng(0))
        assert there.owns(drawn)
        assert drawn.dtype == there.dtype
        np.testing.assert_array_equal(there.to_numpy(drawn), expected.astype(there.dtype_name))
    mean, deviation = (0.5, 12**-0.5) if kind == "uniform" else (0.0, 1.0)
    assert expected.mean() == pytest.approx(mean, abs=0.1)
    assert expected.std() == pytest.approx(deviation, rel=0.1)


class LargestNumbers:
    """A generator that draws the largest number below 1."""

    def random(self, shape):
        return np.full(shape, np.nextafter(1.0, 0.0))


def test_uniform_random_numbers_are_below_one(backend32):
    drawn = backend32.random("uniform", (3,), LargestNumbers())
    assert (backend32.to_numpy(drawn) < 1.0).all()


def a_step(carry, data, inputs):
    w = carry["w"] + inputs["rate"] * inputs["x"] @ data["x"]
    return {"w": w}, {"y": w * 2.0}


def test_a_captured_step_does_the_same_as_the_step(backend):
    def run(step):
        carry, data = {"w": backend.zeros((2, 2))}, {"x": backend.asarray(X)}
        for rate in (0.5, 0.25, 0.125):
            inputs = {"rate": rate, "x": backend.asarray([[rate, 1.0], [1.0, 0.0]])}
            carry, outputs = step(carry, data, inputs)
        return backend.to_numpy(carry["w"]), backend.to_numpy(outputs["y"])

    captured, plain = run(backend.capture(a_step)), run(a_step)
    for ours, expected in zip(captured, plain, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-14)
    backend.synchronize()


# JAX has one switch for float64 ------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["without float64", "with float64"])
def jax_float64(request):
    """JAX with its switch for float64 off, as in a fresh process, and on."""
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param)
    yield request.param
    jax.config.update("jax_enable_x64", before)


def test_float32_on_jax_stays_float32_whether_or_not_float64_was_asked_for(jax_float64):
    model = npnn.Sequential(
        [npnn.Dense(2, 3), npnn.Tanh(), npnn.Dense(3, 2), npnn.Softmax()], backend="jax", seed=0
    )
    model.norm = npnn.Normalization([1.0, 2.0], [3.0, 4.0])
    model.chain = npnn.CrossEntropyLoss()
    optimizer = npnn.AdamW(clip_norm=1.0)
    optimizer.model = model
    for _ in range(2):
        optimizer.step(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1]))
    arrays = [*model.parameters().values(), *(a for moment in optimizer.state for a in moment)]
    for array in (*arrays, model.predict(np.zeros((1, 2))), model.chain.total_loss):
        assert array.dtype == np.float32


def test_asking_for_float64_on_jax_gives_float64():
    pytest.importorskip("jax")
    backend = backends.get("jax", "float64")
    assert backend.asarray(np.array([1.0 + 1e-12])).dtype == np.float64
    assert float(backend.asarray([1.0 + 1e-12])[0]) == 1.0 + 1e-12


@pytest.mark.parametrize("outputs", [1, 3])
def test_classes_are_predicted_on_jax_whether_or_not_float64_was_asked_for(outputs, jax_float64):
    model = npnn.Sequential([npnn.Linear(outputs)], backend="jax")
    assert model.predict_class(np.full((2, outputs), 0.7)).shape == (2,)


# The register ------------------------------------------------------------------------------------


def test_the_register_holds_a_backend_for_each_library():
    assert {"numpy", "cupy", "torch", "jax", "array_api_strict"} <= set(backends.names())


@pytest.mark.gpu
def test_what_is_available_says_why_the_rest_is_not():
    found = backends.available()
    assert list(found) == backends.names()
    assert found["numpy"] == {"works": True, "devices": ["cpu"], "reason": ""}
    for about in found.values():
        assert about["works"] == bool(about["devices"]) == (not about["reason"])


def test_each_device_that_is_listed_can_be_chosen(backend_name):
    for device in backends.available()[backend_name]["devices"]:
        there = backends.get(backend_name, "float32", device)
        np.testing.assert_array_equal(there.to_numpy(there.asarray(X)), X)


def test_a_backend_says_what_it_is(backend, backend_name):
    assert backend.name == backend_name
    assert repr(backend).startswith(f"<backend {backend_name}: float64")
    assert backends.get(backend) is backend


@pytest.mark.parametrize("name", ["numpi", "", None, 3, ["numpy"]])
def test_an_unknown_backend_is_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match=r"unknown backend .*; there are numpy, "):
        backends.get(name)


@pytest.mark.parametrize("dtype", ["float16", "int32", "double", None, np.float16])
def test_an_unknown_dtype_is_refused_with_those_there_are(dtype, backend_name):
    with pytest.raises(ValueError, match="dtype must be one of float32, float64"):
        backends.get(backend_name, dtype)


@pytest.mark.parametrize("device", ["nonsense", "cpu:x"])
def test_an_unknown_device_is_refused(device, backend_name):
    with pytest.raises(ValueError, match="device must be"):
        backends.get(backend_name, "float32", device)


def test_a_device_of_jax_has_no_negative_number():
    pytest.importorskip("jax")
    with pytest.raises(ValueError, match="device must be"):
        backends.get("jax", "float32", "cpu:-1")


@pytest.mark.parametrize("name", [name for name in backends.names() if name != "numpy"])
def test_a_library_that_is_not_installed_is_missed_with_the_command_that_installs_it(
    name, monkeypatch
):
    monkeypatch.setitem(sys.modules, name, None)  # a backend is named after its library
    with pytest.raises(npnn.MissingError, match=rf"backend '{name}' needs .*pip install"):
        npnn.Sequential([npnn.Dense(1, 1)], backend=name)
    about = backends.available()[name]
    assert not about["works"]
    assert "pip install" in about["reason"]


def test_a_cupy_that_does_not_load_says_why(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "cupy":
                raise ImportError("libcudart.so.13: cannot open shared object file")

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(npnn.MissingError, match=r"cannot be loaded: libcudart.so.13"):
        backends.get("cupy")


def test_a_backend_of_ones_own_joins_by_being_registered(monkeypatch):
    monkeypatch.setattr(backends, "_register", dict(backends._register))

    class Own(backends._class("numpy")):
        name = "own"

    backends.register("own", Own)
    assert "own" in backends.available()
    assert npnn.Sequential([npnn.ReLU(1)], backend="own").predict([[-1.0]]).shape == (1, 1)
    with pytest.raises(ValueError, match="'own' is registered already"):
        backends.register("own", Own)
    with pytest.raises(TypeError, match="must be a subclass of Backend"):
        backends.register("other", object)
