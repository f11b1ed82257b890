"""The static plan: memory that is shared, overwritten and updated in place changes no result."""

import tracemalloc

import numpy as np
import pytest
from graphs import assert_replay_is_eager, check, check_program, examples, interpreted
from hypothesis import given
from hypothesis import strategies as st

from npnn.arrays import array_namespace
from npnn.backends import tuning
from npnn.backends.cpu import loops
from npnn.backends.cpu.compiled import MachineCode
from npnn.backends.planning.plan import Plan
from npnn.backends.planning.target import Target
from npnn.backends.recording.capture import CapturedStep

EAGER = {"SMALL": 0, "FEW": 0, "GATHERED": 0, "ROW": 64}


@pytest.fixture(params=[EAGER, {**EAGER, "FEW": 256, "GATHERED": 512, "ROW": 128}, {}], ids=str)
def limits(request, monkeypatch):
    """With what is done for large arrays done for small ones too."""
    for name, value in request.param.items():
        monkeypatch.setattr(tuning, name, value)


@pytest.fixture
def saving(monkeypatch):
    """With memory saved also where arrays are small."""
    monkeypatch.setattr(tuning, "SMALL", 0)


def plan_of(step, carry, data, inputs):
    """Return the plan of a step."""
    plan = CapturedStep(step, np.float64).plan(carry, data, inputs)
    assert isinstance(plan, Plan)
    return plan


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


# Random steps ------------------------------------------------------------------------------------


@examples(60)
@given(st.binary(min_size=2, max_size=150), st.sampled_from([4, 8, 14, 20]))
def test_a_random_step_gives_what_it_gives_uncaptured(limits, source, length):
    check_program(source, length=length)


@examples(50)
@given(st.binary(min_size=2, max_size=150))
def test_a_random_run_of_elementwise_operations_gives_what_it_gives_uncaptured(saving, source):
    check_program(source, length=12, fused=True)


# Rows and sums ------------------------------------------------------------------------------------

LONG = {
    "a bias of few channels": lambda xp, x, b: x + b,
    "times few channels": lambda xp, x, b: b * x,
    "few channels of another": lambda xp, x, b: x - (b + 1.0),
    "larger than a number": lambda xp, x, b: xp.maximum(x, 0.5),
    "smaller than a number": lambda xp, x, b: xp.minimum(0.5, x),
    "a number of the step": lambda xp, x, b: xp.maximum(x, xp.sum(b)),
    "every second": lambda xp, x, b: x[:, ::2] + b,
    "a constant row": lambda xp, x, b: x * xp.arange(6),
    "one after the other": lambda xp, x, b: (x + b) * (b - 1.0) + xp.maximum(x, 0.0),
}


@pytest.mark.parametrize("shape", [(64, 16, 6), (16, 6), (2, 8, 6), (7, 13, 6)], ids=str)
@pytest.mark.parametrize("name", LONG)
def test_short_rows_are_seen_as_long_ones(name, shape, monkeypatch):
    monkeypatch.setattr(tuning, "SMALL", 0)
    check(LONG[name], numbers(*shape), numbers(6))


@pytest.mark.parametrize("shape", [(8192, 6, 25), (4099, 3, 5), (12288, 70, 70)], ids=str)
def test_long_sums_of_products_are_cut(shape):
    length, rows, columns = shape
    a, b = numbers(length, rows), numbers(length, columns)
    check(lambda xp, a, b: a.mT @ b, a, b)
    check(lambda xp, a, b: a[:, ::2].mT @ b, a, b)
    check(lambda xp, a, b: a.mT @ b[:, ::2], a, b)
    check(lambda xp, a, b: xp.reshape(a, (1, length, rows)).mT @ b[None, ...], a, b)


def windows(x, step=1):
    """Return what a 3x3 kernel sees at each place of images, joined along the last axis."""
    xp, size = array_namespace(x), 6 * step
    taps = [(i, j) for i in range(3) for j in range(3)]
    seen = [x[:, i : i + size : step, j : j + size : step, :] for i, j in taps]
    return xp.concat(seen, axis=-1)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize("batch", [2, 200])
def test_windows_on_images_are_joined_whole(batch, channels, step):
    x, w = numbers(batch, 14, 15, channels), numbers(5, 9 * channels)

    def products(xp, x, w):
        columns = xp.reshape(windows(x, step), (-1, 9 * channels))
        y = columns @ w.mT
        return [y, y.mT @ columns]

    check(products, x, w)
    check(lambda xp, x, w: [windows(x, step), *products(xp, x, w)], x, w)
    check(lambda xp, x, w: windows(x, step) * 2.0 + products(xp, x, w)[0][0, 0], x, w)
    check(lambda xp, x, w: windows(xp.permute_dims(x, (0, 2, 1, 3)), step), x, w)


def test_windows_of_few_channels_lie_channel_by_channel():
    def step(carry, data, inputs):
        columns = windows(inputs["x"])
        xp = array_namespace(columns)
        return carry, {"y": xp.reshape(columns, (-1, columns.shape[-1])) @ data["w"]}

    for channels, turned in ((1, 1), (8, 0)):
        data, inputs = {"w": numbers(9 * channels, 5)}, {"x": numbers(20, 8, 8, channels)}
        plan = plan_of(step, {}, data, inputs)
        assert len(plan.draft.turned) == turned
        assert plan.calls[0][0] is np.copyto
        assert len(plan.calls) == 2


def test_parts_that_lie_anyhow_are_joined_one_by_one():
    def step(xp, x):
        far = xp.concat([x[:, 0:2], x[:, 5:7], x[:, 3:5], x[:, 8:10]], axis=-1)
        twice = xp.concat([x[:, 4:6], x[:, 4:6], x[:, 4:6]], axis=-1)
        back = xp.concat([x[:, 6:8], x[:, 4:6], x[:, 2:4]], axis=-1)
        mixed = xp.concat([x[:10, :10], xp.reshape(x, (20, 10))[:10, :], x[10:, :10]], axis=-1)
        return [far, twice, back, mixed]

    check(step, numbers(20, 10))
    check(step, numbers(600, 10)[::30])


# Arrays that have as many elements as another's last axis, without being one row.
SQUARES = {
    "a column": ((64, 64), (64, 1)),
    "a column of each": ((64, 16, 16), (16, 1)),
    "one for each image": ((16, 32, 32, 16), (16, 1, 1, 1)),
    "one row for all": ((64, 48, 16), (1, 1, 16)),
}


@pytest.mark.parametrize("target", [Target(), MachineCode()])
@pytest.mark.parametrize("shapes", SQUARES.values(), ids=SQUARES)
def test_a_column_is_not_taken_for_a_row(shapes, target, monkeypatch):
    monkeypatch.setattr(loops, "_compiled", interpreted)
    x, c = numbers(*shapes[0]), numbers(*shapes[1], seed=1)
    check(lambda xp, x, c: x - c, x, c, target=target)
    check(lambda xp, x, c: c * x, x, c, target=target)
    check(lambda xp, x, c: xp.maximum(x, c), x, c, target=target)


@pytest.mark.parametrize("size", [33, 40, 64, 100, 128])
def test_as_many_classes_as_samples_have_probabilities(size):
    def softmax(xp, x):
        e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    check(softmax, numbers(size, size))


def test_empty_arrays_are_left_empty():
    check(lambda xp, x: xp.maximum(x, 0.0), np.zeros((0, 3)))
    check(lambda xp, x, r: x + r, np.zeros((0, 3)), np.ones(3))


@pytest.mark.parametrize("target", [Target(), MachineCode()])
@pytest.mark.parametrize("size", [4, 64])
def test_the_sign_of_zero_is_kept(size, target, monkeypatch):
    monkeypatch.setattr(loops, "_compiled", interpreted)
    x = numbers(size, size)
    check(lambda xp, x: 1.0 / xp.where(x > 0.0, x, -0.0), x, target=target)
    both = lambda xp, x: 1.0 / xp.where(x > 1.0, 0.0, xp.where(x > 0.0, x, -0.0))  # noqa: E731
    check(both, x, target=target)


def test_long_sums_in_float32_lose_no_digits():
    a, b = (numbers(1 << 16, 4, seed=s).astype(np.float32) for s in (1, 2))
    plan = CapturedStep(lambda c, d, i: (c, {"y": i["a"].mT @ i["b"]}), np.float32)
    y = plan({}, {}, {"a": a, "b": b})[1]["y"]
    exact = a.astype(np.float64).T @ b.astype(np.float64)
    assert np.abs(y - exact).max() < 1e-5 * np.abs(a).T.astype(np.float64).dot(np.abs(b)).max()


# What is carried ---------------------------------------------------------------------------------

# Each is given two arrays a and b of one shape, the namespace, and an input x of that shape, and
# returns the new a, the new b and the outputs.
CARRIES = {
    "swapped": lambda xp, a, b, x: (b, a, []),
    "swapped and changed": lambda xp, a, b, x: (b + 1.0, a * x, []),
    "each made of both old ones": lambda xp, a, b, x: (a + b, a - b, []),
    "left alone": lambda xp, a, b, x: (a, b + a, []),
    "old one is an output": lambda xp, a, b, x: (a * x, b, [a]),
    "both old ones are outputs": lambda xp, a, b, x: (a * x, a + b, [b, a]),
    "old and new are outputs": lambda xp, a, b, x: (a * x, b, [a, a * x]),
    "a view of the old one is an output": lambda xp, a, b, x: (a * x, b, [a[::-1], a.mT]),
    "set to the new other one": lambda xp, a, b, x: (a * x, a * x, []),
    "set to the old other one": lambda xp, a, b, x: (a * x, a, []),
    "both set to one": lambda xp, a, b, x: (b, b, [b]),
    "set to an input": lambda xp, a, b, x: (x, a * x, [x]),
    "set to a constant": lambda xp, a, b, x: (xp.zeros_like(a), a + x, []),
    "set to its own view": lambda xp, a, b, x: (a[::-1], b, []),
    "set to a view of the other": lambda xp, a, b, x: (b[::-1], a[..., ::-1], []),
    "set to a view of the new other": lambda xp, a, b, x: (a * x, (a * x)[::-1], []),
    "made of its own view": lambda xp, a, b, x: (a + a[::-1] * x, b, []),
    "overwritten and read reversed": lambda xp, a, b, x: (((a * 2.0) * x)[::-1] + b, b, []),
    "a choice of itself": lambda xp, a, b, x: (xp.where(a > b, a, b), b, []),
    "a choice of itself twice": lambda xp, a, b, x: (xp.where(x > 0, a, a), a, []),
    "a choice of its own view": lambda xp, a, b, x: (xp.where(x > 0, (a * 2.0)[::-1], b), b, []),
    "a product": lambda xp, a, b, x: (a @ b, b, []),
    "made of a sum": lambda xp, a, b, x: (x / xp.sum(a), xp.max(a, axis=0) + b, []),
    "a joined one": lambda xp, a, b, x: (
        xp.reshape(xp.concat([xp.reshape(v * x, (-1,)) for v in (a, b)])[: a.size], a.shape),
        b,
        [],
    ),
    "needed late": lambda xp, a, b, x: (a * 2.0, xp.tanh(x @ b) + a, [xp.sum(a, axis=0)]),
}


def carried(function):
    def step(carry, data, inputs):
        xp = array_namespace(inputs["x"])
        a, b, outputs = function(xp, carry["a"], carry["b"], inputs["x"])
        return {"a": a, "b": b}, {"outputs": outputs}

    return step


@pytest.mark.parametrize("name", CARRIES)
@pytest.mark.parametrize("size", [3, 30])
def test_what_is_carried_may_be_made_of_anything(name, size, limits):
    carry = {"a": numbers(size, size), "b": numbers(size, size, seed=1)}
    inputs = [{"x": numbers(size, size, seed=seed) / size} for seed in range(3)]
    assert_replay_is_eager(carried(CARRIES[name]), carry, {}, inputs)


def test_bits_may_be_carried_and_chosen_by(limits):
    def step(carry, data, inputs):
        a, b, x = carry["a"], carry["b"], inputs["x"]
        xp = array_namespace(x)
        return {"a": xp.where(a, b, x), "b": xp.where(b, xp.logical_not(b), a)}, {}

    for shape in ((3, 4), (70, 70)):
        bits = [numbers(*shape, seed=seed) > 0 for seed in range(4)]
        carry = {"a": bits[0], "b": bits[1]}
        assert_replay_is_eager(step, carry, {}, [{"x": bits[2]}, {"x": bits[3]}])


def test_a_joined_array_may_be_carried(limits):
    def step(carry, data, inputs):
        a, x = carry["a"], inputs["x"]
        xp = array_namespace(x)
        return {"a": xp.concat([x * 2.0, x + a[:3]])}, {"a": xp.sum(a)}

    inputs = [{"x": numbers(3, seed=seed)} for seed in range(3)]
    assert_replay_is_eager(step, {"a": numbers(6)}, {}, inputs)


def test_a_part_of_a_joined_array_may_be_an_output_or_carried(limits):
    def step(carry, data, inputs):
        x = inputs["x"]
        xp = array_namespace(x)
        first, second = x * 2.0, xp.tanh(x)
        joined = xp.concat([first, second])
        later = xp.exp(joined * 0.5) + 1.0
        return {"a": second}, {"first": first, "y": later * later}

    inputs = [{"x": numbers(300, seed=seed)} for seed in range(3)]
    assert_replay_is_eager(step, {"a": numbers(300)}, {}, inputs)


def test_a_part_of_a_joined_array_may_be_needed_after_it(limits):
    def step(carry, data, inputs):
        x = inputs["x"]
        xp = array_namespace(x)
        first = xp.tanh(x)
        total = xp.sum(xp.concat([first, x * 2.0]))
        others = [xp.exp(x * number) for number in range(4)]
        for other in others:
            total = total + xp.sum(other @ other.mT if other.ndim > 1 else other * other)
        return carry, {"y": first + others[0] + total + others[3]}

    assert_replay_is_eager(step, {}, {}, [{"x": numbers(600, seed=seed)} for seed in range(3)])


def test_a_part_of_a_joined_array_may_meet_all_of_it(limits):
    def step(carry, data, inputs):
        x = inputs["x"]
        xp = array_namespace(x)
        first = x[:1] * 2.0
        joined = xp.concat([first, x * 3.0])
        return carry, {"y": xp.where(joined > 0.0, first, joined)}

    assert_replay_is_eager(step, {}, {}, [{"x": numbers(600, seed=seed)} for seed in range(3)])


def test_what_is_written_into_an_array_may_come_from_that_array(limits):
    def step(carry, data, inputs):
        a, b, x = carry["a"], carry["b"], inputs["x"]
        xp = array_namespace(x)
        shifted = xp.asarray(x, copy=True)
        shifted[1:] = shifted[:-1]
        turned = xp.asarray(b, copy=True)
        turned[::-1] = a
        return {"a": turned, "b": shifted * b}, {"turned": turned[1:]}

    inputs = [{"x": numbers(4, seed=seed)} for seed in range(3)]
    assert_replay_is_eager(step, {"a": numbers(4), "b": numbers(4)}, {}, inputs)


def test_arrays_of_users_need_not_be_contiguous():
    def step(carry, data, inputs):
        a, d = carry["a"], data["d"]
        xp = array_namespace(a)
        new = a @ d + xp.sum(a, axis=0) + xp.reshape(d, (-1,))[:4] * inputs["x"]
        flat = xp.reshape(a, (-1,)) * 2.0
        return {"a": new, "b": xp.sum(new, axis=-1)}, {"flat": flat, "d": xp.reshape(d, (2, 8))}

    big = numbers(8, 8)
    carry, data = {"a": big[::2, ::2], "b": numbers(8)[::2]}, {"d": numbers(8, 8).T[4:, :4]}
    captured = CapturedStep(step, np.float64)
    theirs = {"a": carry["a"].copy(), "b": carry["b"].copy()}
    for seed in range(3):
        inputs = {"x": numbers(4, seed=seed)}
        theirs, expected = step(theirs, {"d": data["d"].copy()}, inputs)
        _, outputs = captured(carry, data, inputs)
        for name in carry:
            np.testing.assert_allclose(carry[name], theirs[name])
        for name in outputs:
            np.testing.assert_allclose(outputs[name], expected[name])
        data["d"] *= 0.5  # in place: the plan reads the array, not what it once held


@pytest.mark.parametrize("capture", [True, False])
def test_a_step_may_replace_the_values_of_its_own_trees(capture):
    def step(carry, data, inputs):
        carry["a"] = carry["a"] + inputs["x"]
        return carry, {"a": carry["a"]}

    run = CapturedStep(step, np.float64) if capture else step
    carry = {"a": np.zeros(3)}
    for _ in range(3):
        carry, outputs = run(carry, {}, {"x": np.ones(3)})
    np.testing.assert_array_equal(carry["a"], [3.0, 3.0, 3.0])
    np.testing.assert_array_equal(outputs["a"], [3.0, 3.0, 3.0])


# Choices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 300])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("other", ["float32", "float64", "int64", "bool"])
def test_a_choice_between_dtypes_keeps_the_values(size, dtype, other, limits):
    a, b = (numbers(size) * 9).astype(dtype), (numbers(size, seed=1) * 9).astype(other)
    check(lambda xp, c, a, b: xp.where(c, a, b), numbers(size, seed=2) > 0, a, b)
    check(lambda xp, c, a: xp.where(c, a, 0), numbers(size, seed=2) > 0, a)
    check(lambda xp, c, a: xp.where(c, 1.5, a), numbers(size, seed=2) > 0, a)
    check(lambda xp, c, a, b: xp.where(c, a[:1], b) * 2, numbers(size, seed=2) > 0, a, b)


def test_a_choice_keeps_what_is_no_number():
    a = np.array([np.nan, np.inf, -np.inf, -0.0] * 100)
    for shape in ((400,), (100, 4), (4,)):
        x = a[: np.prod(shape)].reshape(shape)
        check(lambda xp, a: xp.where(a == a, a, xp.zeros_like(a)), x)
        check(lambda xp, a: xp.where(a > 0, 1.0, a), x)


# Memory ------------------------------------------------------------------------------------------


def layers(x, w, count):
    for _ in range(count):
        x = array_namespace(x).tanh(x @ w) * 2.0 + 1.0
    return x


@pytest.mark.parametrize("count", [1, 2])
def test_memory_does_not_grow_with_the_length_of_a_step(count, monkeypatch):
    monkeypatch.setattr(CapturedStep, "threads_for", lambda *_: count)

    def sizes(count):
        def step(carry, data, inputs):
            return {}, {"y": layers(inputs["x"], data["w"], count)}

        return plan_of(step, {}, {"w": numbers(100, 100)}, {"x": numbers(50, 100)}).nbytes

    assert sizes(20) == sizes(5) <= (1 + 2 * count) * 50 * 100 * 8 + 1000


def test_values_that_are_alive_together_share_no_memory(saving):
    def step(carry, data, inputs):
        x = inputs["x"]
        xp = array_namespace(x)
        values = [xp.tanh(x * number) for number in range(5)]
        total = values[0]
        for value in values[1:]:
            total = total @ value
        return {}, {"y": total, "first": values[0]}

    plan = plan_of(step, {}, {}, {"x": numbers(8, 8)})
    last = {}
    for node in plan.draft.operations:
        for arg in node.args:
            last[arg.base] = plan.draft.time[node]
    for node in plan.draft.operations:
        for other in list(plan.draft.order)[: plan.draft.order[node]]:
            needed = plan.draft.outputs.count(other) or last.get(other, -1) > plan.draft.time[node]
            if needed:
                assert not np.shares_memory(plan.array(node), plan.array(other))


def test_a_parameter_is_updated_where_it_lies():
    def step(carry, data, inputs):
        p, m = carry["p"], carry["m"]
        m = 0.9 * m + inputs["g"]
        return {"p": p - 0.1 * m, "m": m}, {}

    carry = {"p": numbers(1000), "m": numbers(1000)}
    plan = plan_of(step, carry, {}, {"g": numbers(1000)})
    assert {id(carry["p"]), id(carry["m"])} == {id(plan.array(node)) for node in plan.draft.results}
    assert len(plan.calls) == 4


def test_gradients_are_computed_where_they_are_joined():
    def step(carry, data, inputs):
        x = inputs["x"]
        xp = array_namespace(x)
        parts = [xp.reshape(x.mT @ x, (-1,)), xp.sum(x, axis=0)]
        return {"p": carry["p"] - xp.concat(parts)}, {}

    plan = plan_of(step, {"p": numbers(20)}, {}, {"x": numbers(6, 4)})
    # The join itself is no call any more.
    assert [group[0].op for group in plan.owners] == ["matmul", "sum", "subtract"]


def test_what_no_result_needs_is_not_computed():
    def step(carry, data, inputs):
        x = inputs["x"]
        xp = array_namespace(x)
        xp.exp(x @ x.mT)
        return carry, {"y": x + 1.0}

    plan = plan_of(step, {}, {}, {"x": numbers(3, 3)})
    assert [node.op for node in plan.draft.order] == ["add"]


@pytest.mark.parametrize("shape", [(3, 4), (300, 40)])
def test_a_product_allocates_nothing_even_where_its_argument_dies(shape):
    def step(carry, data, inputs):
        x = inputs["x"] * 2.0
        for _ in range(4):
            x = x @ data["w"]
        return carry, {"y": array_namespace(x).sum(x)}

    captured = CapturedStep(step, np.float64)
    data, inputs = {"w": numbers(shape[1], shape[1])}, {"x": numbers(*shape)}
    captured({}, data, inputs)
    tracemalloc.start()
    for _ in range(3):
        captured({}, data, inputs)
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    captured({}, data, inputs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 1024
