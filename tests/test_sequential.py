"""The model: shapes, errors, looking at it, and predicting."""

import itertools
import sys
import threading
import typing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import host_parameters

import npnn
from npnn import backends


def a_model(backend="numpy", **options):
    layers = [npnn.Dense(3, 5), npnn.ReLU(), npnn.Dense(5, 2), npnn.Softmax()]
    return npnn.Sequential(layers, backend=backend, seed=0, **options)


# Shapes ------------------------------------------------------------------------------------------


def test_shapes_are_inferred_from_layer_to_layer():
    layers = [npnn.Dense(3, (2, 4)), npnn.Tanh(), npnn.Dense(None, 5), npnn.Softmax()]
    model = npnn.Sequential(layers)
    assert [layer.shape_in for layer in layers] == [(3,), (2, 4), (2, 4), (5,)]
    assert [layer.shape_out for layer in layers] == [(2, 4), (2, 4), (5,), (5,)]
    assert (model.shape_in, model.shape_out) == ((3,), (5,))


@given(widths=st.lists(st.integers(1, 6), min_size=2, max_size=5), batch=st.integers(1, 4))
def test_a_model_of_any_widths_has_the_shapes_of_its_ends(widths, batch):
    layers = [npnn.Dense(widths[0], widths[1])]
    layers += [npnn.Dense(None, width) for width in widths[2:]]
    model = npnn.Sequential(layers)
    assert model.predict(np.zeros((batch, widths[0]))).shape == (batch, widths[-1])
    assert [layer.w.shape for layer in layers] == list(itertools.pairwise(widths))


def test_an_input_shape_that_is_not_known_yet_is_asked_for():
    model = npnn.Sequential([npnn.Dense(None, 4), npnn.Tanh()])
    assert model.shape_in is None
    for look in (npnn.Sequential.parameters, npnn.Sequential.summary):
        with pytest.raises(ValueError, match="the input shape is not known"):
            look(model)


def test_an_input_shape_that_is_not_given_is_taken_from_the_first_data(backend_name):
    layers = [npnn.Dense(None, 4), npnn.Tanh()]
    model = npnn.Sequential(layers, backend=backend_name)
    first = model.backend.to_numpy(model.predict(np.ones((2, 3))))
    assert (model.shape_in, model.shape_out) == ((3,), (4,))
    np.testing.assert_array_equal(model.backend.to_numpy(model.predict(np.ones((2, 3)))), first)
    with pytest.raises(ValueError, match=r"\(batch, 3\), but have shape \(2, 5\)"):
        model.predict(np.ones((2, 5)))


def test_a_layer_that_does_not_fit_is_named_with_its_place_and_both_shapes():
    with pytest.raises(ValueError) as caught:
        npnn.Sequential([npnn.Dense(2, 3), npnn.ReLU(), npnn.Dense(4, 1)])
    message = str(caught.value)
    for part in ("layer 2", "Dense(4, 1)", "(4,)", "(3,)", "layer 1", "ReLU"):
        assert part in message


def test_a_loss_that_does_not_fit_is_named_with_both_shapes():
    model = a_model()
    with pytest.raises(ValueError, match=r"RMSLoss\(3\) after Softmax.*\(3,\).*\(2,\)"):
        model.chain = npnn.RMSLoss(3)
    assert model.chain is None


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ([npnn.Dense(2, 2), "ReLU"], TypeError, "layer 1 must be a Layer, not 'ReLU'"),
        ([npnn.Dense(2, 2), npnn.ReLU], TypeError, "layer 1 must be a Layer"),
        ([], ValueError, "at least one layer"),
    ],
)
def test_what_is_no_list_of_layers_is_refused(layers, error, message):
    with pytest.raises(error, match=message):
        npnn.Sequential(layers)


@pytest.mark.parametrize("chain", ["loss", npnn.RMSLoss, npnn.ReLU(2)])
def test_what_is_neither_loss_nor_model_cannot_be_chained(chain):
    with pytest.raises(TypeError, match="chain must be a loss or a model"):
        a_model().chain = chain


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [npnn.Dense(2, 4), npnn.Dense(7, 1)],
        lambda: [npnn.Dense(2, 4), 3],
        lambda: [],
    ],
)
def test_after_an_error_the_model_is_what_it_was(layers):
    model = a_model()
    x = np.ones((1, 3))
    before, old_layers, old_parameters = model.predict(x), model.layers, model.parameters()
    with pytest.raises((TypeError, ValueError)):
        model.layers = layers()
    assert model.layers == old_layers
    assert model.parameters().keys() == old_parameters.keys()
    assert (model.shape_in, model.shape_out) == ((3,), (2,))
    np.testing.assert_array_equal(model.predict(x), before)


def test_after_an_error_the_new_layers_are_what_they_were():
    layer = npnn.Dense(None, 3)
    with pytest.raises(ValueError, match="layer 2"):
        npnn.Sequential([npnn.Dense(2, 4), layer, npnn.Dense(7, 1)])
    assert layer.shape_in is None
    assert not layer.is_built


def test_after_an_error_a_seed_still_gives_the_same_weights():
    model = npnn.Sequential(seed=0)
    with pytest.raises(ValueError, match="layer 1"):
        model.layers = [npnn.Dense(2, 4), npnn.Dense(7, 1)]
    model.layers = [npnn.Dense(2, 4)]
    expected = npnn.Sequential([npnn.Dense(2, 4)], seed=0)
    np.testing.assert_array_equal(model.parameters()["0.w"], expected.parameters()["0.w"])


def test_layers_that_are_assigned_anew_are_used_at_once(backend_name):
    model = a_model(backend_name)
    model.predict(np.ones((1, 3)))
    model.layers = [npnn.Dense(2, 4, initializer="Constant"), npnn.Sigmoid()]
    y = model.backend.to_numpy(model.predict(np.ones((1, 2))))
    np.testing.assert_array_equal(y, np.full((1, 4), 0.5))


# Parameters --------------------------------------------------------------------------------------


def test_parameters_are_named_by_place_and_role(backend_name):
    model = a_model(backend_name)
    shapes = {name: tuple(array.shape) for name, array in model.parameters().items()}
    assert shapes == {"0.w": (3, 5), "0.b": (5,), "2.w": (5, 2), "2.b": (2,)}
    assert model.state() == {}
    assert all(model.backend.owns(array) for array in model.parameters().values())


def test_parameters_of_a_model_in_a_model_are_named_by_both_places():
    inner = npnn.Sequential([npnn.Dense(None, 4), npnn.Tanh()])
    model = npnn.Sequential([npnn.Dense(2, 3), inner, npnn.Dense(4, 1)])
    assert list(model.parameters()) == ["0.w", "0.b", "1.0.w", "1.0.b", "2.w", "2.b"]


def test_set_arrays_replaces_all_parameters_by_copies(backend_name):
    model, other = a_model(backend_name), a_model("numpy")
    other.set_arrays({name: array + 1.0 for name, array in other.parameters().items()})
    arrays = {name: np.array(array) for name, array in other.parameters().items()}
    model.set_arrays(arrays)
    for array in arrays.values():
        array[...] = 99.0
    x = np.ones((2, 3))
    np.testing.assert_allclose(
        model.backend.to_numpy(model.predict(x)), other.predict(x), atol=1e-6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("2.w"), "'2.w' is missing"),
        (lambda arrays: arrays.update({"3.w": np.zeros(1)}), "'3.w' is not in the model"),
        (
            lambda arrays: arrays.update({"2.w": np.zeros((2, 5))}),
            r"'2.w' must have shape \(5, 2\), not \(2, 5\)",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused_and_none_is_set(change, message):
    model = a_model()
    before = host_parameters(model)
    arrays = {name: np.full(array.shape, 7.0) for name, array in before.items()}
    change(arrays)
    with pytest.raises(ValueError, match=message):
        model.set_arrays(arrays)
    for name, array in host_parameters(model).items():
        np.testing.assert_array_equal(array, before[name])


# Looking at it -----------------------------------------------------------------------------------


def test_the_repr_is_the_code_that_makes_the_model():
    layers = [npnn.Dense(3, 2, initializer="Orthogonal"), npnn.LeakyReLU(2, slope=0.2)]
    assert repr(npnn.Sequential(layers)) == (
        "Sequential([\n    Dense(3, 2, initializer=Orthogonal(gain=1.0)),\n"
        "    LeakyReLU(2, slope=0.2),\n], backend='numpy', dtype='float32')"
    )
    assert repr(npnn.Sequential()) == "Sequential(backend='numpy')"


@pytest.mark.parametrize(("dtype", "memory"), [("float32", "128 B"), ("float64", "256 B")])
def test_the_summary_counts_parameters_memory_and_operations(dtype, memory):
    lines = a_model(dtype=dtype).summary().splitlines()
    numbers = {line.split()[0]: line.split() for line in lines if line.strip()}
    first, third, total = numbers["0"], numbers["2"], numbers["total"]
    assert first[-1] == "30"  # 3 * 5 products and as many sums
    assert "20" in first  # 3 * 5 weights and 5 biases
    assert third[-1] == "20"
    assert "12" in third
    assert "32" in total
    assert total[-1] == str(30 + 5 + 20 + 5 * 2)
    assert memory in next(line for line in lines if "total" in line)
    assert "backend numpy" in lines[-2]
    assert dtype in lines[-2]


def test_a_model_without_layers_says_so():
    for look in (npnn.Sequential.summary, lambda model: model.predict([[1.0]])):
        with pytest.raises(ValueError, match=r"assign model\.layers first"):
            look(npnn.Sequential())


# Predicting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["list", "numpy", "torch", "jax", "array_api_strict"])
def test_inputs_of_any_library_give_the_same_outputs_of_the_backends(library, backend_name):
    x = np.random.default_rng(0).standard_normal((4, 3))
    model = a_model(backend_name, dtype="float64")
    if library == "list":
        given_x = x.tolist()
    elif library == "numpy":
        given_x = x
    else:
        name = "jax.numpy" if library == "jax" else library
        given_x = pytest.importorskip(name).asarray(x)
    y = model.predict(given_x)
    assert model.backend.owns(y)
    assert y.dtype == model.backend.dtype
    expected = a_model("numpy", dtype="float64").predict(np.asarray(given_x))
    np.testing.assert_allclose(model.backend.to_numpy(y), expected, atol=1e-6)


def test_raw_inputs_are_normalised(backend_name):
    model = npnn.Sequential([npnn.Linear(2)], backend=backend_name)
    model.norm = npnn.Normalization(offset=[1.0, 2.0], scale=[2.0, 4.0])
    y = model.backend.to_numpy(model.predict([[3, 10], [1, 2]]))
    np.testing.assert_array_equal(y, [[1.0, 2.0], [0.0, 0.0]])


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_a_batch_size_changes_no_output(batch_size, backend_name):
    x = np.random.default_rng(1).standard_normal((5, 3))
    model = a_model(backend_name, dtype="float64")
    expected = model.backend.to_numpy(model.predict(x))
    actual = model.backend.to_numpy(model.predict(x, batch_size=batch_size))
    np.testing.assert_allclose(actual, expected, atol=1e-14)


class Counted(npnn.Layer):
    """Gives its inputs, and notes how many there were."""

    counts: typing.ClassVar[list[int]] = []

    def forward(self, x):
        self.counts.append(x.shape[0])
        return x

    def backward(self, grad_y):
        return grad_y


def test_of_many_samples_so_many_are_predicted_at_once_as_the_caches_hold():
    model = npnn.Sequential([npnn.Dense(3, 4), Counted(), npnn.Tanh()], seed=0, capture=False)
    counts = Counted.counts
    x = np.random.default_rng(0).standard_normal((20_000, 3)).astype(np.float32)
    expected = np.tanh(x @ model.layers[0].w + model.layers[0].b)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model.function()(x), model.predict(x))
    assert max(counts) == model.backend.rows_at_once
    del counts[:]
    model.predict(x, batch_size=len(x))
    assert counts == [20_000]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_that_is_not_positive_is_refused(batch_size):
    with pytest.raises(ValueError, match="batch_size"):
        a_model().predict(np.zeros((5, 3)), batch_size=batch_size)


def test_an_evaluation_with_a_batch_size_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="batch_size"):
        a_model().evaluate(np.zeros((5, 3)), np.zeros(5, dtype=int), batch_size=-1)


def test_the_class_of_many_outputs_is_the_largest_and_of_one_output_whether_above_half(backend):
    many = npnn.Sequential([npnn.Linear(3)], backend=backend)
    classes = many.predict_class([[0.1, 0.7, 0.2], [5.0, -1.0, 2.0]])
    np.testing.assert_array_equal(backend.to_numpy(classes), [1, 0])
    one = npnn.Sequential([npnn.Linear(1)], backend=backend)
    classes = one.predict_class([[0.4], [0.5], [0.6]])
    np.testing.assert_array_equal(backend.to_numpy(classes), [0, 0, 1])
    assert backend.xp.isdtype(classes.dtype, "integral")


def test_an_evaluation_is_the_loss_and_the_accuracy_over_all_samples(backend_name):
    rng = np.random.default_rng(2)
    x, t = rng.standard_normal((7, 3)), rng.integers(2, size=7)
    model = a_model(backend_name, dtype="float64")
    y = model.backend.to_numpy(model.predict(x))
    result = model.evaluate(x, t, batch_size=3)
    assert result["loss"] == pytest.approx(-np.log(y[np.arange(7), t]).mean(), abs=1e-12)
    assert result["accuracy"] == pytest.approx((y.argmax(axis=1) == t).mean())
    assert model.evaluate(x, t) == pytest.approx(result)


def test_predicting_trains_nothing_and_keeps_the_inputs(backend_name):
    model, x = a_model(backend_name), np.ones((2, 3), dtype="float32")
    before = host_parameters(model)
    model.predict(x)
    np.testing.assert_array_equal(x, np.ones((2, 3)))
    for name, array in host_parameters(model).items():
        np.testing.assert_array_equal(array, before[name])


# Errors of the data ------------------------------------------------------------------------------


@pytest.fixture
def trained(backend_name):
    model = a_model(backend_name)
    model.chain = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    return optimizer


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 4)), r"must have shape \(batch, 3\), but have shape \(2, 4\)"),
        (np.zeros(3), r"must have 2 axes, \(batch, 3\), but have 1: \(3,\)"),
        (np.zeros((2, 3, 1)), r"must have 2 axes, \(batch, 3\), but have 3: \(2, 3, 1\)"),
        (np.zeros((0, 3)), "inputs are empty"),
        (1.0, "must have 2 axes"),
    ],
)
def test_inputs_of_another_shape_are_refused_with_both_shapes(x, message, trained):
    for use in (trained.model.predict, trained.predict, trained.predict_class):
        with pytest.raises(ValueError, match=message):
            use(x)
    with pytest.raises(ValueError, match=message):
        trained.step(x, [0, 1])
    assert trained.steps == 0


@pytest.mark.parametrize("x", [np.zeros((0, 3)), 1.0], ids=["empty", "scalar"])
def test_such_inputs_are_refused_with_a_batch_size_too(x):
    with pytest.raises(ValueError, match="inputs"):
        a_model().predict(x, batch_size=2)


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([0, 1, 1], "2 inputs do not go with 3 targets"),
        ([0, 2], "class labels must be from 0 to 1, but there is a 2"),
        ([-1, 1], "class labels must be from 0 to 1, but there is a -1"),
        (np.zeros((2, 3)), r"\(2, 3\) do not fit outputs of shape \(batch, 2\)"),
        ([0.0, 1.0], r"\(2,\) do not fit outputs"),
        (0, "do not fit outputs"),
    ],
)
def test_targets_that_do_not_fit_are_refused_and_nothing_is_trained(t, message, trained):
    before = host_parameters(trained.model)
    with pytest.raises(ValueError, match=message):
        trained.step(np.zeros((2, 3)), t)
    assert trained.steps == 0
    for name, array in host_parameters(trained.model).items():
        np.testing.assert_array_equal(array, before[name])


# Where it runs -----------------------------------------------------------------------------------


def test_an_unknown_backend_dtype_or_device_is_refused_with_what_there_is(backend_name):
    with pytest.raises(
        ValueError, match=r"unknown backend 'numpi': did you mean 'numpy'.*there are numpy"
    ):
        npnn.Sequential(backend="numpi")
    with pytest.raises(ValueError, match="dtype must be one of float32, float64, not 'half'"):
        npnn.Sequential(backend=backend_name, dtype="half")
    with pytest.raises(ValueError, match=r"device must be .*'nonsense'"):
        npnn.Sequential(backend=backend_name, device="nonsense")


def test_a_backend_that_is_not_installed_is_missed_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(npnn.MissingError, match=r"backend 'torch' needs .*pip install torch"):
        npnn.Sequential(backend="torch")


def test_a_backend_may_be_given_as_an_object(backend):
    model = npnn.Sequential([npnn.Dense(2, 1)], backend=backend)
    assert model.backend is backend
    assert model.dtype == "float64"
    assert model.parameters()["0.w"].dtype == backend.dtype


@pytest.mark.parametrize("dtype", backends.DTYPES)
def test_the_parameters_and_outputs_have_the_dtype_of_the_model(dtype, backend_name):
    model = a_model(backend_name, dtype=dtype)
    model.chain = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    optimizer.step(np.ones((2, 3)), [0, 1])
    for array in (*model.parameters().values(), model.predict(np.ones((2, 3)))):
        assert array.dtype == model.backend.dtype


# Threads and copies ------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", [True, False], ids=["captured", "plain"])
def test_threads_that_share_a_model_get_their_own_answers(capture):
    layers = [npnn.Dense(4, 32), npnn.Tanh(), npnn.Dense(32, 3), npnn.Softmax()]
    model = npnn.Sequential(layers, seed=0, capture=capture)
    batches = np.random.default_rng(0).standard_normal((2, 16, 4))
    expected = [model.predict(x) for x in batches]
    wrong = []

    def ask(number):
        for _ in range(300):
            if not np.array_equal(model.predict(batches[number]), expected[number]):
                wrong.append(number)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        asking = [threading.Thread(target=ask, args=(number,)) for number in (0, 1)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []
