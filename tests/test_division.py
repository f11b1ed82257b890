"""Several threads on one step: each computes a part of it, and together they give what one does."""

import importlib.util

import numpy as np
import pytest
from graphs import STORING, assert_replay_is_eager, check, check_program, examples, interpreted
from hypothesis import given
from hypothesis import strategies as st
from oracles import LOSSES, OPTIMIZERS
from test_capture import KINDS, OPTIONS, assert_close, model_of, trained

from npnn.arrays import array_namespace
from npnn.backends import tuning
from npnn.backends.cpu import loops
from npnn.backends.cpu.compiled import MachineCode
from npnn.backends.planning.target import Target
from npnn.backends.recording.capture import CapturedStep

NUMBA = importlib.util.find_spec("numba") is not None
TARGETS = [Target()] + [MachineCode(), MachineCode(awake=True)] * NUMBA
BACKENDS = ["numpy"] + ["numba"] * NUMBA


@pytest.fixture(params=[2, 3], ids=["two threads", "three threads"])
def several(request, monkeypatch):
    """With small steps divided as large ones are, and their memory used again."""
    monkeypatch.setattr(CapturedStep, "threads_for", lambda *_: request.param)
    monkeypatch.setattr(tuning, "LARGE", 4)
    monkeypatch.setattr(tuning, "COLUMNS", 1)
    monkeypatch.setattr(tuning, "WEIGHTS", 1)
    monkeypatch.setattr(tuning, "SMALL", 0)
    monkeypatch.setattr(tuning, "FEW", 0)
    monkeypatch.setattr(tuning, "ROW", 2)
    monkeypatch.setattr(loops, "_compiled", interpreted)
    return request.param


@pytest.mark.parametrize("target", TARGETS)
@examples(20)
@given(st.binary(min_size=2, max_size=150), st.sampled_from([4, 8, 14, 20]))
def test_a_random_step_gives_what_it_gives_uncaptured(several, target, source, length):
    check_program(source, target, length=length)


@pytest.mark.parametrize("target", TARGETS)
@examples(15)
@given(st.binary(min_size=2, max_size=150), st.booleans())
def test_a_random_run_of_operations_gives_what_it_gives_uncaptured(several, target, source, stores):
    options = {"instructions": STORING} if stores else {"fused": True}
    check_program(source, target, length=12, **options)


@pytest.mark.later("three threads", "numba")
@pytest.mark.filterwarnings("ignore:layer .* leave one of the two out:UserWarning")
@pytest.mark.parametrize("backend", BACKENDS)
@examples(8)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=2),
    st.sampled_from(LOSSES),
    st.sampled_from(OPTIMIZERS),
    st.sampled_from(OPTIONS),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
)
def test_a_random_model_trains_as_it_does_uncaptured(
    several, backend, kinds, loss, optimizer, options, sizes
):
    def run(capture):
        model = model_of(kinds, loss, backend=backend, dtype="float64", seed=0, capture=capture)
        return trained(model, loss(), optimizer(alpha=1e-2, **options), 3, sizes)

    with np.errstate(all="ignore"):
        assert_close(run(True), run(False), 1e-10)


CASES = {
    "rows by their own numbers": lambda xp, x, n: xp.take(n, n, axis=0),
    "a part of a join made of another": lambda xp, x, n: xp.concat([2 * x, 3 * (2 * x)]) + 1,
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_read_in_several_ways_is_cut_in_none(several, target, case):
    x = np.random.default_rng(0).standard_normal(4)
    check(case, x, np.array([2, 0, 3, 1]), target=target)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_stored_in_another_order_is_not_written_over_what_is_read(several, target):
    def step(carry, data, inputs):
        xp = array_namespace(carry["a"])
        a, b = carry["a"], carry["b"]
        total = xp.sum(inputs["x"] * 2.0)
        b[::-1] = a
        return {"a": b, "b": inputs["x"] * 3.0}, {"mean": total / 12.0}

    rng = np.random.default_rng(0)
    carry = {name: rng.standard_normal((3, 4)) for name in "ab"}
    batches = [{"x": rng.standard_normal((3, 4))} for _ in range(3)]
    assert_replay_is_eager(step, carry, {}, batches, target)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_read_as_a_row_and_as_a_column_is_not_read_in_one_loop(several, target):
    def step(carry, data, inputs):
        row, column = data["row"], data["column"]
        return carry, {"less": column <= row, "size": abs(row)}

    rng = np.random.default_rng(0)
    data = {"row": rng.standard_normal(4), "column": rng.standard_normal((4, 1))}
    assert_replay_is_eager(step, {}, data, [{}], target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("groups", [(), (1,)], ids=["matrices", "a group of them"])
def test_few_long_sums_are_added_up_in_parts_that_threads_share(several, target, groups):
    def step(carry, data, inputs):
        y = 2.0 * inputs["y"]
        return carry, {"w": y.mT @ inputs["x"] + 1.0}

    rng = np.random.default_rng(0)
    shapes = {"x": (*groups, 12, 3), "y": (*groups, 12, 2)}
    batch = {name: rng.integers(-4, 5, shape) + 0.0 for name, shape in shapes.items()}
    captured = assert_replay_is_eager(step, {}, {}, [batch], target)
    ((plan, _),) = captured.plans.values()
    (product,) = (node for node in plan.draft.operations if node.op == "matmul")
    assert product.shape == (12, 2, 3)
    assert plan.draft.division.shares[product].cut.at[-1] == 12
