"""Compiled loops: they compute what NumPy computes, wherever they are and whatever they fuse."""

import importlib.util

import numpy as np
import pytest
from graphs import STORING, assert_replay_is_eager, check, check_program, examples, interpreted
from hypothesis import given
from hypothesis import strategies as st
from test_plan import CARRIES, carried, numbers

from npnn.arrays import array_namespace
from npnn.backends import tuning
from npnn.backends.cpu import loops
from npnn.backends.cpu.compiled import MachineCode
from npnn.backends.recording.capture import CapturedStep

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="Numba is not installed"
)


@pytest.fixture
def sources(monkeypatch):
    """Loops run by Python instead of compiled, which is quick; their sources are kept."""
    seen = []

    def run(source, arguments):
        seen.append(source)
        return interpreted(source, arguments)

    monkeypatch.setattr(loops, "_compiled", run)
    monkeypatch.setattr(tuning, "SMALL", 0)
    monkeypatch.setattr(tuning, "ALONE", 0)
    return seen


def compare(function, *arrays):
    check(function, *arrays, target=MachineCode())


def groups(function, *arrays):
    """Return the operations of each group of the plan of a function."""

    def step(carry, data, inputs):
        xp = array_namespace(inputs["a"][0])
        return carry, {"y": function(xp, *inputs["a"])}

    plan = CapturedStep(step, np.float64, MachineCode()).plan({}, {}, {"a": list(arrays)})
    return [[node.op for node in group] for group in plan.draft.groups]


# Random steps ------------------------------------------------------------------------------------


@examples(50)
@given(st.binary(min_size=2, max_size=150), st.sampled_from([4, 8, 14, 20]))
def test_a_random_step_gives_what_it_gives_uncaptured(sources, source, length):
    check_program(source, MachineCode(), length=length)


@examples(80)
@given(st.binary(min_size=2, max_size=150), st.sampled_from([8, 16]))
def test_a_random_run_of_elementwise_operations_gives_what_it_gives_uncaptured(
    sources, source, length
):
    check_program(source, MachineCode(), length=length, fused=True)


@examples(120)
@given(st.binary(min_size=20, max_size=200), st.sampled_from([4, 8]), st.booleans())
def test_parts_of_arrays_that_loops_write_give_what_they_give_uncaptured(
    sources, source, length, fused
):
    check_program(source, MachineCode(), length=length, fused=fused, instructions=STORING)


# Each is given arrays x and y of shape (6, 4), and another z of shape (3, 4).
STORES = {
    "one after the other": lambda xp, x, y, z: _written(x, (0, z), (3, 2.0 * z)),
    "overlapping": lambda xp, x, y, z: _written(x, (0, z), (1, 2.0 * z), (2, 3.0 * z)),
    "over everything": lambda xp, x, y, z: _written(xp.zeros(x.shape), (0, z - 1.0), (3, 2.0 * z)),
    "over half": lambda xp, x, y, z: _written(xp.zeros(x.shape), (0, z - 1.0)),
    "and added to the rest": lambda xp, x, y, z: _filled(xp.zeros(x.shape), z),
    "added to the whole": lambda xp, x, y, z: _whole(x + 0.0, y),
    "from itself": lambda xp, x, y, z: _written(x, (1, x[0:3] - z)),
    "to what lies beside": lambda xp, x, y, z: _moved(x + 0.0, z),
    "before and after": lambda xp, x, y, z: _kept(x + 0.0, z),
    "joined": lambda xp, x, y, z: xp.concat([xp.reshape(_written(x, (0, z), (3, z + 1.0)), (-1,))]),
    "columns": lambda xp, x, y, z: xp.concat([x - y, x[:, :2] * 1.0, x + y], axis=-1),
    "columns in one loop": lambda xp, x, y, z: xp.concat([x - y, x, x + y], axis=-1),
}


def _written(x, *parts):
    y = x + 0.0
    for start, part in parts:
        y[start : start + 3] = part
    return y


def _moved(y, z):
    y[1:4] = y[0:3] - z
    y[2:5] = y[1:4] - z
    y[0:3] += z
    y[1:4] += z
    return y


def _filled(y, z):
    y[0:3] = z - 1.0
    y[3:6] += z
    return y


def _whole(x, y):
    t = y - 1.0
    x[...] += t
    return [x, t]


def _kept(y, z):
    y[0:3] = z - 1.0
    early = y[0:3]
    y[3:6] = 2.0 * z
    return [y, early * 3.0]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", STORES)
def test_parts_of_arrays_are_written_as_numpy_writes_them(name, compiled, request, monkeypatch):
    if compiled:
        monkeypatch.setattr(tuning, "ALONE", 0)
    else:
        request.getfixturevalue("sources")
    compare(STORES[name], numbers(6, 4), numbers(6, 4, seed=1), numbers(3, 4, seed=2))


def test_parts_make_up_what_is_carried(sources):
    def step(carry, data, inputs):
        y = array_namespace(inputs["z"]).zeros((6, 4))
        y[0:3] = inputs["z"] - 1.0
        y[3:6] = 2.0 * inputs["z"]
        return {"m": y}, {}

    inputs = [{"z": numbers(3, 4, seed=seed)} for seed in range(3)]
    assert_replay_is_eager(step, {"m": numbers(6, 4)}, {}, inputs, MachineCode())


def test_the_stores_of_a_window_are_one_loop(sources):
    def spread(xp, x, y):
        out = xp.zeros(x.shape)
        for rows in (slice(0, None, 2), slice(1, None, 2)):
            out[rows] = xp.where(x[rows] == y, y, 0.0)
        return out

    x = numbers(8, 4)
    y = np.maximum(x[0::2], x[1::2])
    compare(spread, x, y)
    assert groups(spread, x, y)[-1] == ["equal", "where", "setitem"] * 2


@pytest.mark.parametrize("seed", range(5))
def test_random_steps_give_the_same_compiled(seed):
    source = np.random.default_rng(seed).bytes(150)
    check_program(source, MachineCode(), length=8, fused=True)


@pytest.mark.parametrize("name", CARRIES)
def test_what_is_carried_may_be_made_of_anything(name, sources):
    carry = {"a": numbers(4, 4), "b": numbers(4, 4, seed=1)}
    inputs = [{"x": numbers(4, 4, seed=seed)} for seed in range(3)]
    assert_replay_is_eager(carried(CARRIES[name]), carry, {}, inputs, MachineCode())


# Every operation ---------------------------------------------------------------------------------


def every_operation(xp, x, y):
    """Return one number for each operation that loops know, in one loop."""
    positive = xp.abs(x) + 0.5
    below, same = x < y, xp.logical_not(x != y)
    arithmetic = [x + y, x - y, x * y, x / positive, -x, +x, xp.square(x), xp.sign(x)]
    functions = [xp.sqrt(positive), xp.exp(x), xp.log(positive), xp.tanh(x), xp.log1p(positive)]
    functions += [xp.expm1(x), xp.maximum(x, y), xp.minimum(x, y), xp.where(below, x, y)]
    bits = [below, same, x > y, x >= y, x <= y, x == y, xp.logical_or(below, same)]
    bits += [xp.logical_and(below, x <= y)]
    casts = [xp.astype(bit, x.dtype) for bit in bits]
    casts += [xp.astype(xp.astype(x, xp.int64), x.dtype)]
    casts += [xp.astype(xp.astype(x, xp.bool), x.dtype)]
    return [*arithmetic, *functions, *casts]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_operation_compiled_gives_what_numpy_gives(dtype):
    x = np.array([[-2.0, -0.5, 0.0, 3.0], [1.0, 0.25, -1.0, np.nan]], dtype)
    x, y = x[:, :3], x[::-1, 1:].copy()
    compare(every_operation, x, np.nan_to_num(y))
    fused = groups(every_operation, x, y)
    assert len(fused) == 1
    assert {"exp", "tanh", "where", "logical_or", "maximum", "astype"} <= set(fused[0])


def test_what_is_no_number_stays_so():
    x = np.array([[np.nan, 1.0, -np.inf], [np.inf, -np.inf, 0.0], [-np.inf] * 3])
    y = x[::-1].copy()

    def function(xp, x, y):
        largest = xp.max(x + y, axis=-1, keepdims=True)
        smallest = xp.min(x * 2.0, axis=-1)
        place = xp.argmax(x * 1.0, axis=-1)
        return [xp.maximum(x, y), xp.minimum(x, y), largest, smallest, place, xp.sign(x)]

    compare(function, x, y)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_reductions_compiled_give_what_numpy_gives(dtype, sources):
    x = (numbers(5, 4) * 9.0).astype(dtype)

    def function(xp, x):
        y = x * 2 + 1
        rows = [xp.sum(y, axis=-1), xp.max(y, axis=-1, keepdims=True), xp.min(y, axis=-1)]
        rows += [xp.argmax(y, axis=-1), xp.sum(xp.sum(y, axis=-1, keepdims=True))]
        return [*rows, xp.sum(y, axis=0), xp.sum(y), xp.max(y), xp.mean(y, axis=-1)]

    compare(function, x)


@pytest.mark.parametrize("shape", [(3, 4), (4, 4), (1, 4), (4, 1)])
def test_what_sums_give_is_read_as_numpy_reads_it(shape, sources):
    def function(xp, x):
        y = x * 2.0
        over_rows, over_columns = xp.sum(y, axis=0), xp.sum(y, axis=-1)
        at_once = y + over_rows
        largest, total = xp.max(y, axis=-1, keepdims=True), xp.sum(y)
        square = [y + over_columns] if x.shape[0] in (1, x.shape[1]) else []
        turned = [over_columns + over_columns * y[..., 0], largest.mT * 2.0, over_rows[::-1] - y]
        return [at_once, y - largest, y * total, (y - largest) / total, *square, *turned]

    compare(function, numbers(*shape))


def test_a_long_sum_is_as_exact_as_that_of_numpy():
    x = np.random.default_rng(0).random((40000, 3)).astype(np.float32)

    def step(carry, data, inputs):
        xp = array_namespace(inputs["x"])
        y = inputs["x"] * 0.5 + 0.1
        return carry, {"total": xp.sum(y), "columns": xp.sum(y, axis=0)}

    _, outputs = CapturedStep(step, np.float32, MachineCode())({}, {}, {"x": x})
    exact = x * 0.5 + 0.1
    np.testing.assert_allclose(outputs["total"], exact.sum(dtype=np.float64), rtol=2e-6)
    np.testing.assert_allclose(outputs["columns"], exact.sum(0, dtype=np.float64), rtol=5e-5)


def test_dtypes_that_numba_counts_differently_are_left_to_numpy():
    bits = numbers(3, 4) > 0
    small = np.arange(12, dtype=np.uint8).reshape(3, 4)
    compare(lambda xp, a: xp.astype(a + a, xp.float64) * 2.0, bits)
    compare(lambda xp, a: xp.astype(a * a, xp.float64) - 1.0, bits)
    compare(lambda xp, a: xp.astype(a - 20, xp.float64) * 2.0, small)
    compare(lambda xp, a: xp.astype(a, xp.float64) * 2.0 + 1.0, small)
    compare(lambda xp, a: (a * 2 + 1) * a, small.astype(np.float16))
    compare(lambda xp, a: xp.astype(xp.logical_and(a, a + 1), xp.float64) * 2.0, small * 0.5)


def test_numbers_of_two_dtypes_keep_their_digits(sources):
    def function(xp, x):
        return xp.astype(x * 0.1, xp.float64) * 1000.1

    for dtype in ("float32", "float64"):
        compare(function, numbers(3, 4).astype(dtype))


# Who reads what is overwritten -------------------------------------------------------------------


def test_a_loop_overwrites_nothing_that_a_later_level_reads(sources):
    def step(carry, data, inputs):
        p, x = carry["p"], inputs["x"]
        xp = array_namespace(x)
        largest = xp.max(x, axis=-1, keepdims=True)
        later = p - (x - largest) * 1.5
        return {"p": p * 2.0}, {"later": later}

    inputs = [{"x": numbers(3, 4, seed=seed)} for seed in range(3)]
    assert_replay_is_eager(step, {"p": numbers(3, 4)}, {}, inputs, MachineCode())


@pytest.mark.parametrize("axis", [0, 1])
def test_a_loop_overwrites_no_row_that_each_turn_reads(axis, sources):
    def step(carry, data, inputs):
        x = inputs["x"]
        y = x + carry["b"]
        return {"b": array_namespace(x).sum(y, axis=axis)}, {"y": y}

    inputs = [{"x": numbers(4, 4, seed=seed)} for seed in range(3)]
    assert_replay_is_eager(step, {"b": numbers(4)}, {}, inputs, MachineCode())


def test_a_loop_overwrites_nothing_that_is_read_in_another_order(sources):
    def step(carry, data, inputs):
        y = inputs["x"] + carry["b"].mT
        return {"b": y * 0.5}, {}

    inputs = [{"x": numbers(4, 4, seed=seed)} for seed in range(3)]
    assert_replay_is_eager(step, {"b": numbers(4, 4)}, {}, inputs, MachineCode())


def test_parameters_and_moments_are_updated_in_one_loop(sources):
    def step(carry, data, inputs):
        p, m, v, g = carry["p"], carry["m"], carry["v"], inputs["g"]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        p = p - inputs["rate"] * m / (array_namespace(g).sqrt(v) + 1e-8)
        return {"p": p, "m": m, "v": v}, {}

    carry = {"p": numbers(50), "m": numbers(50), "v": numbers(50) ** 2}
    inputs = {"g": numbers(50), "rate": 0.1}
    plan = CapturedStep(step, np.float64, MachineCode()).plan(carry, {}, inputs)
    assert len(plan.calls) == 1
    assert len(plan.draft.results) == 3
    assert_replay_is_eager(step, carry, {}, [inputs] * 3, MachineCode())


# How arrays lie in memory ------------------------------------------------------------------------

DEEP = {
    "turned": lambda xp, x: (x.mT + 1.0) * 2.0,
    "permuted": lambda xp, x: (xp.permute_dims(x, (1, 0, 2)) + 1.0) * 2.0,
    "cut": lambda xp, x: (x[:, :2, ::2] + 1.0) * 2.0,
    "reversed": lambda xp, x: (x[:, ::-1] + 1.0) * x,
    "broadcast": lambda xp, x: (xp.broadcast_to(x[0], (3, *x.shape[1:])) + 1.0) * 2.0,
    "summed": lambda xp, x: xp.sum(x.mT, axis=-1) + xp.sum(x.mT * 2.0),
    "columns": lambda xp, x: (x * x[:, ::2, :1][:, :1] + x[:, :, :1]) * x[..., 1:2],
    "lead": lambda xp, x: (xp.sum(x * 2.0, axis=-1) + x[:, :, 0].mT.mT) * 3.0,
    "rows": lambda xp, x: (x + x[:1, :1, ::-1]) * x[0, 0],
    "joined": lambda xp, x: (x[:, 1:] + 1.0) * x[:, :-1],
}


@pytest.mark.parametrize("name", DEEP)
def test_what_is_no_rows_and_columns_is_left_to_numpy(name, sources):
    compare(DEEP[name], numbers(2, 3, 4))


def test_arrays_of_users_need_not_be_contiguous(sources):
    def step(carry, data, inputs):
        y = (data["d"] * inputs["x"] + carry["c"]) * 2.0
        return {"c": y * 0.1}, {"y": array_namespace(y).sum(y)}

    big = numbers(4, 6, 8)
    carry, data = {"c": big[::2, ::2, ::2]}, {"d": numbers(4, 3, 2).T}
    captured = CapturedStep(step, np.float64, MachineCode())
    theirs = {"c": carry["c"].copy()}
    for seed in range(3):
        inputs = {"x": numbers(2, 3, 4, seed=seed)}
        theirs, expected = step(theirs, data, inputs)
        _, outputs = captured(carry, data, inputs)
        np.testing.assert_allclose(carry["c"], theirs["c"])
        np.testing.assert_allclose(outputs["y"], expected["y"])


def test_a_loop_needs_no_array_of_its_own_shape(sources):
    def function(xp, rows, columns):
        return xp.sum(xp.exp(rows * columns) + rows, axis=-1)

    compare(function, numbers(3, 1), numbers(4))
    assert "3, 4" in sources[0]


def test_empty_arrays_go_through(sources):
    x = numbers(0, 3)
    compare(lambda xp, x: [(x + 1.0) * 2.0, xp.sum(x * 2.0, axis=0), xp.sum(x, axis=1)], x)
