"""Recorded arrays: their shapes and dtypes, and what a replay gives, are those of the library."""

import array_api_compat.numpy as real
import numpy as np
import pytest
from graphs import check
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, broadcastable_shapes, mutually_broadcastable_shapes

from npnn.backends.recording.capture import CapturedStep
from npnn.backends.recording.node import NotRecorded
from npnn.backends.recording.tracer import Recorded, Trace

DTYPES = ("float32", "float64", "int64", "bool")
NUMBERS = (True, 2, -1, 0.5, 2.0, 0.0)
BINARY = [
    "add", "subtract", "multiply", "divide", "pow", "maximum", "minimum", "floor_divide",
    "remainder", "atan2", "logaddexp", "equal", "not_equal", "less", "less_equal", "greater",
    "greater_equal", "logical_and", "logical_or", "logical_xor",
]  # fmt: skip
UNARY = [
    "abs", "negative", "positive", "square", "sqrt", "exp", "expm1", "log", "log1p", "tanh",
    "sin", "cos", "sign", "floor", "ceil", "logical_not", "isnan", "isfinite",
    "reciprocal",
]  # fmt: skip
OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
dtypes = st.sampled_from(DTYPES)
shapes = array_shapes(min_dims=0, max_dims=3, max_side=4)


def array(shape, dtype, seed=0):
    """Return small numbers, a few of them equal, none so that a cast of them is undefined."""
    values = np.random.default_rng([seed, *shape]).integers(-3, 4, shape)
    return np.asarray(values > 0 if dtype == "bool" else values, dtype=dtype)


def opposite(x):
    return -x


def record(function, *arrays):
    """Return what a function of arrays gives for recorded ones."""
    trace = Trace()
    return function(trace.namespace, *map(trace.leaf, arrays))


# Elementwise -------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(
    st.sampled_from(BINARY),
    mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=4),
    dtypes,
    dtypes,
)
def test_two_arrays_give_the_shape_dtype_and_values_of_the_library(name, broadcast, first, second):
    a, b = (
        array(shape, dtype, seed)
        for seed, (shape, dtype) in enumerate(
            zip(broadcast.input_shapes, (first, second), strict=True)
        )
    )
    check(lambda xp, a, b: getattr(xp, name)(a, b), a, b)


@settings(max_examples=300)
@given(st.sampled_from(list(OPERATORS)), shapes, dtypes, st.sampled_from(NUMBERS), st.booleans())
@example("**", (3,), "int64", 2, False)
@example("**", (3,), "int64", 0.5, False)
@example("**", (3,), "bool", 2, False)
@example("**", (3,), "bool", 0.5, False)
@example("**", (3,), "float32", 2, True)
def test_a_number_on_either_side_is_promoted_as_by_the_library(name, shape, dtype, number, left):
    operate = OPERATORS[name]
    check(lambda xp, a: operate(number, a) if left else operate(a, number), array(shape, dtype))


@settings(max_examples=100)
@given(st.sampled_from(UNARY), shapes, dtypes)
def test_one_array_gives_the_shape_dtype_and_values_of_the_library(name, shape, dtype):
    check(lambda xp, a: getattr(xp, name)(a), array(shape, dtype))


@settings(max_examples=100)
@given(
    mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=4),
    dtypes,
    st.one_of(dtypes, st.sampled_from(NUMBERS)),
    st.booleans(),
)
def test_a_choice_is_promoted_and_broadcast_as_by_the_library(broadcast, first, other, swapped):
    one, two, three = broadcast.input_shapes
    arrays = [array(one, "bool"), array(two, first, 1)]
    if isinstance(other, str):
        arrays.append(array(three, other, 2))

    def function(xp, condition, a, b=other):
        return xp.where(condition, b, a) if swapped else xp.where(condition, a, b)

    check(function, *arrays)


@given(shapes, dtypes, dtypes)
def test_a_cast_is_that_of_the_library(shape, before, after):
    check(lambda xp, a: xp.astype(a, getattr(xp, after)), array(shape, before))


@pytest.mark.parametrize("scalar", [np.float64(0.5), np.float32(0.5), np.int64(2)])
@pytest.mark.parametrize("left", [False, True])
def test_a_scalar_with_a_dtype_counts_as_an_array(scalar, left):
    x = array((3,), "float32")
    check(lambda xp, a: scalar * a if left else a * scalar, x)
    check(lambda xp, a: scalar - a if left else a**scalar, x)


def test_an_array_of_the_library_mixes_with_recorded_ones():
    constant = array((4, 3), "float64")
    x = array((2, 4), "float32", 1)
    check(lambda xp, a: constant[0, 0] + constant.T[:1] * xp.sum(a) + xp.sum(a), x)
    check(lambda xp, a: (a @ constant, constant.T @ a.mT)[1], x)


@pytest.mark.parametrize("operate", ["+=", "-=", "*=", "/=", "//=", "**="])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("other", [*DTYPES, 2, 1.5])
def test_an_operation_in_place_keeps_shape_and_dtype(operate, dtype, other):
    names = {}
    exec(f"def change(y, b):\n    y {operate} b\n    return y", names)

    def function(xp, a, b=other):
        return names["change"](xp.asarray(a, copy=True), b)

    rest = [array((3,), other, 1)] if isinstance(other, str) else []
    check(function, array((2, 3), dtype), *rest)


def test_an_operation_in_place_cannot_make_an_array_larger():
    def function(xp, a, b):
        a = xp.asarray(a, copy=True)
        a += b
        return a

    check(function, array((3,), "float64"), array((2, 3), "float64"))


# Reductions --------------------------------------------------------------------------------------


@st.composite
def reductions(draw):
    shape = draw(array_shapes(min_dims=0, max_dims=3, max_side=4))
    axis = st.integers(-len(shape) - 1, len(shape))
    axes = st.lists(axis, max_size=3).map(tuple)
    return shape, draw(st.one_of(st.none(), axis, axes))


@settings(max_examples=300)
@given(
    st.sampled_from(["sum", "max", "min", "mean"]),
    reductions(),
    st.booleans(),
    dtypes,
)
def test_a_reduction_is_that_of_the_library(name, shape_and_axis, keepdims, dtype):
    shape, axis = shape_and_axis
    assume(shape != () or axis in (None, ()))
    x = array(shape, dtype)
    check(lambda xp, a: getattr(xp, name)(a, axis=axis, keepdims=keepdims), x)


@given(array_shapes(max_dims=3, max_side=4), dtypes)
def test_the_place_of_the_largest_is_that_of_the_library(shape, dtype):
    check(lambda xp, a: xp.argmax(a, axis=-1), array(shape, dtype))


def test_the_largest_of_numbers_some_of_which_are_none_is_none():
    x = np.array([[1.0, np.nan, 3.0], [np.nan, 1.0, np.nan], [-np.inf, -np.inf, -np.inf]])
    for name in ("max", "min", "sum"):
        for axis in (0, 1, None):
            check(lambda xp, a, name=name, axis=axis: getattr(xp, name)(a, axis=axis), x)
    check(lambda xp, a: xp.argmax(a, axis=-1), x)


def test_a_sum_may_be_asked_for_in_another_dtype():
    for dtype in ("float32", "float64", "int64"):
        x = array((3, 4), "float32")
        check(lambda xp, a, dtype=dtype: xp.sum(a, axis=0, dtype=getattr(xp, dtype)), x)


# Products, gathers, joins ------------------------------------------------------------------------


@given(
    mutually_broadcastable_shapes(signature="(a,b),(b,c)->(a,c)", max_dims=2, max_side=4),
    dtypes,
    dtypes,
    st.booleans(),
)
def test_a_product_is_that_of_the_library(broadcast, first, second, turned):
    one, two = broadcast.input_shapes
    a, b = array(one, first), array(two, second, 1)
    check(lambda xp, a, b: b.mT @ a.mT if turned else a @ b, a, b)


def test_a_product_that_does_not_fit_is_refused():
    check(lambda xp, a, b: a @ b, array((2, 3), "float64"), array((2, 3), "float64"))


@given(array_shapes(max_dims=3, max_side=4), array_shapes(min_dims=1, max_dims=1), dtypes)
def test_rows_taken_are_those_of_the_library(shape, count, dtype):
    for axis in range(-len(shape), len(shape)):
        index = np.random.default_rng(0).integers(0, shape[axis], count)
        check(lambda xp, a, i, axis=axis: xp.take(a, i, axis=axis), array(shape, dtype), index)


@given(
    array_shapes(max_dims=3, max_side=3),
    st.lists(st.tuples(st.integers(1, 3), dtypes), min_size=1, max_size=3),
    st.data(),
)
def test_a_join_is_that_of_the_library(shape, parts, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    arrays = []
    for seed, (length, dtype) in enumerate(parts):
        own = list(shape)
        own[axis] = length
        arrays.append(array(tuple(own), dtype, seed))
    check(lambda xp, *arrays: xp.concat(list(arrays), axis=axis), *arrays)
    check(lambda xp, *arrays: xp.concat([a * 2 for a in arrays], axis=axis), *arrays)


def test_arrays_that_cannot_be_joined_are_refused():
    def function(xp, a, b):
        return xp.concat([a, b], axis=0)

    check(function, array((2, 3), "float64"), array((2, 1), "float64"))


# Views -------------------------------------------------------------------------------------------


@st.composite
def keys(draw, shape):
    parts = []
    for length in shape[: draw(st.integers(0, len(shape)))]:
        choice = draw(st.integers(0, 2))
        if choice == 0:
            parts.append(draw(st.integers(-length, length - 1)))
        else:
            bound = st.none() | st.integers(-length, length)
            step = draw(st.sampled_from([None, 1, 2, -1, -2]))
            parts.append(slice(draw(bound), draw(bound), step))
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts.append(...)
    return tuple(parts)


@settings(max_examples=150)
@given(array_shapes(max_dims=3, max_side=4), dtypes, st.data())
def test_a_part_read_and_a_part_written_are_those_of_the_library(shape, dtype, data):
    x, key = array(shape, dtype), data.draw(keys(shape))
    check(lambda xp, a: a[key], x)
    check(lambda xp, a: (a * 2)[key], x)
    new = data.draw(st.sampled_from([1, 0.5]))

    def writing(xp, a):
        y = xp.asarray(a, copy=True)
        y[key] = new
        z = xp.asarray(y, copy=True)
        z[key] = a[key] * 2
        return xp.concat([xp.reshape(part, (-1,)) for part in (a, y, z)])

    check(writing, x)


@given(array_shapes(max_dims=3, max_side=4), dtypes, st.data())
def test_other_views_are_those_of_the_library(shape, dtype, data):
    x = array(shape, dtype)
    axes = tuple(data.draw(st.permutations(range(len(shape)))))
    target = data.draw(broadcastable_shapes(shape, max_dims=4, max_side=4))
    place = data.draw(st.integers(-len(shape) - 1, len(shape)))
    check(lambda xp, a: xp.permute_dims(a, axes), x)
    check(lambda xp, a: xp.reshape(xp.permute_dims(a, axes), (-1,)), x)
    check(lambda xp, a: xp.reshape(xp.permute_dims(a, axes) + 1, shape), x)
    check(lambda xp, a: xp.broadcast_to(a, target), x)
    check(lambda xp, a: xp.reshape(xp.broadcast_to(a, target), (-1,)) * 2, x)
    check(lambda xp, a: xp.expand_dims(a, axis=place), x)
    check(lambda xp, a: xp.squeeze(xp.expand_dims(a, axis=place), axis=place), x)
    check(lambda xp, a: a.mT, x)
    check(lambda xp, a: a.T, x)
    check(lambda xp, a: xp.concat([row * 2 for row in a[..., None]]), x)


# Arrays out of nothing ---------------------------------------------------------------------------


def test_arrays_made_of_numbers_are_those_of_the_library():
    x = array((2, 3), "float32")
    check(lambda xp, a: xp.zeros_like(a), x)
    check(lambda xp, a: xp.zeros_like(a, dtype=xp.int64), x)
    check(lambda xp, a: a + xp.ones((2, 3), dtype=a.dtype), x)
    check(lambda xp, a: a * xp.full((3,), 7.0), x)
    check(lambda xp, a: a + xp.arange(3), x)
    check(lambda xp, a: a @ xp.eye(3, dtype=a.dtype), x)
    check(lambda xp, a: a + xp.linspace(0.0, 1.0, 3), x)
    check(lambda xp, a: xp.asarray(0.1, dtype=a.dtype) * a, x)
    check(lambda xp, a: xp.asarray(0.1) * a, x)
    check(lambda xp, a: xp.asarray(a, dtype=xp.float64), x)
    check(lambda xp, a: xp.clip(a, -1, 1.0) + xp.finfo(a.dtype).eps, x)


def test_a_constant_array_is_not_written_to():
    table = np.arange(100.0)

    def function(xp, a):
        y = xp.asarray(table, copy=True) if xp is real else xp.asarray(table)
        y[3:5] = a
        return xp.maximum(y, 0.0) + table

    check(function, array((2,), "float64"))
    np.testing.assert_array_equal(table, np.arange(100.0))


# What is recorded --------------------------------------------------------------------------------


def test_the_same_operation_twice_is_recorded_once():
    y = record(lambda xp, a: xp.exp(a - 1.0) * xp.exp(a - 1.0), array((3,), "float64"))
    assert [node.op for node in y.trace.nodes] == ["subtract", "exp", "multiply"]
    assert y.node.args[0] is y.node.args[1]


def test_operations_that_differ_in_one_detail_are_two():
    def function(xp, a):
        sums = [xp.sum(a, axis=0), xp.sum(a, axis=1), xp.sum(a, axis=0, keepdims=True)]
        parts = [a[0], a[1], a[0:1], a[..., 0], xp.astype(a, xp.int64), xp.astype(a, xp.float32)]
        numbers = [a + 0.0, a + 1, a + True, a + 1.5]
        return [x.node for x in (*sums, *parts, *numbers)]

    nodes = record(function, array((2, 2), "float64"))
    # 1 and True are the same number to a floating-point array.
    assert len(set(nodes)) == len(nodes) - 1


def test_an_operation_knows_who_asked_for_it():
    class Asking:
        place = "3.1"

        def forward(self, x):
            return opposite(x)

    layer = Asking()
    y = record(lambda xp, a: layer.forward(a), array((3,), "float64"))
    assert y.node.origin[0].endswith("Asking.forward")
    assert y.node.origin[1] == "3.1"


def test_a_view_is_no_operation_and_a_copy_is_one():
    def function(xp, a):
        return xp.reshape(a, (6,)), xp.reshape(a.mT, (6,)), a[0, 0], a.mT[1:]

    flat, copied, number, part = record(function, array((2, 3), "float64"))
    assert (flat.node.op, copied.node.op) == ("reshape", "copy")
    assert flat.node.base is number.node.base is part.node.base
    assert flat.node.base.op == "leaf"
    assert copied.node.base is copied.node


def test_products_are_not_elementwise():
    y = record(lambda xp, a: [a @ a, a + a, xp.where(a > 0, a, 1.0)], array((2, 2), "float64"))
    assert [x.node.elementwise for x in y] == [False, True, True]


# What is not -------------------------------------------------------------------------------------

REFUSED = {
    "sort": lambda xp, a: xp.sort(a),
    "cumulative_sum": lambda xp, a: xp.cumulative_sum(a, axis=0),
    "vecdot": lambda xp, a: xp.vecdot(a, a),
    "indexing by arrays": lambda xp, a: a[a > 0],
    "argmax": lambda xp, a: xp.argmax(a, axis=0),
    "vectors": lambda xp, a: a @ a[0],
}


@pytest.mark.parametrize("look", [float, int, bool])
def test_a_value_cannot_be_looked_at(look):
    with pytest.raises(NotRecorded, match="looking at a value"):
        record(lambda xp, a: look(a[0, 0]), array((2, 2), "float64"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_recorded_is_said_to_be(name):
    with pytest.raises(NotRecorded, match=name):
        record(REFUSED[name], array((2, 2), "float64"))


def test_an_index_that_is_a_bool_is_no_number():
    with pytest.raises(NotRecorded, match="index"):
        record(lambda xp, a: a[True], array((2, 2), "float64"))


def test_a_function_that_the_library_has_and_the_standard_has_not_is_not_taken_for_another():
    def step(carry, data, inputs):
        return carry, {"y": real.linalg.norm(inputs["x"])}

    captured = CapturedStep(step, np.float64)
    x = array((2, 2), "float64")
    with pytest.warns(RuntimeWarning, match="uncaptured"):
        _, outputs = captured({}, {}, {"x": x})
    assert outputs["y"] == real.linalg.norm(x)


def test_a_recorded_array_says_what_it_is():
    trace = Trace()
    x = trace.leaf(array((2, 3), "float32"))
    assert isinstance(x, Recorded)
    assert (x.shape, x.ndim, x.size, x.dtype, x.device) == ((2, 3), 2, 6, np.float32, "cpu")
    assert repr((x + 1).node) == "add(2x3, ()) -> 2x3 float32"
