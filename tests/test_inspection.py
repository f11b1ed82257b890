"""Looking into a plan: its rows, what they cost, and the table of them."""

import importlib.util

import numpy as np
import pytest

import npnn
from npnn.arrays import array_namespace
from npnn.backends.cpu.compiled import MachineCode
from npnn.backends.operations.kinds import flops
from npnn.backends.planning import inspection
from npnn.backends.planning.target import Target
from npnn.backends.recording.capture import CapturedStep
from npnn.backends.recording.tracer import Trace

TARGETS = [Target()] + [MachineCode()] * (importlib.util.find_spec("numba") is not None)
BATCH, INPUTS, OUTPUTS = 16, 8, 3


class Descent:
    """A Dense layer that learns the outputs t by plain gradient descent."""

    def __init__(self, target=None):
        self.dense = npnn.Dense(INPUTS, OUTPUTS)
        self.dense.dtype, self.dense.place = "float64", "0"
        self.dense.build(INPUTS, np.random.default_rng(0))
        self.carry = {"w": self.dense.w, "b": self.dense.b}
        rng = np.random.default_rng(1)
        self.inputs = {
            "x": rng.standard_normal((BATCH, INPUTS)),
            "t": rng.standard_normal((BATCH, OUTPUTS)),
        }
        self.plan = CapturedStep(self.step, np.float64, target).plan(self.carry, {}, self.inputs)

    def step(self, carry, data, inputs):
        layer = self.dense
        vars(layer).update(w=carry["w"], b=carry["b"])
        error = layer.forward(inputs["x"]) - inputs["t"]
        layer.backward(error * (1.0 / BATCH))
        new = {name: carry[name] - 0.1 * getattr(layer, f"grad_{name}") for name in carry}
        return new, {"loss": array_namespace(error).sum(error * error)}


def test_a_dense_layer_costs_what_can_be_counted_by_hand():
    descent = Descent()
    rows = inspection.rows(descent.plan)
    of_layer = {(row.origin.rsplit(".", 1)[1], row.operation): row for row in rows if row.layer}
    forward = of_layer["forward", "matmul"]
    assert forward.flops == 2 * BATCH * INPUTS * OUTPUTS
    assert forward.nbytes == 8 * (BATCH * INPUTS + INPUTS * OUTPUTS + BATCH * OUTPUTS)
    assert forward.result == "16x3"
    assert forward.origin == "Dense.forward"
    assert of_layer["forward", "add"].flops == BATCH * OUTPUTS
    assert of_layer["backward", "matmul"].flops == 2 * BATCH * INPUTS * OUTPUTS
    assert of_layer["backward", "matmul"].result == "8x3"
    assert of_layer["backward", "sum"].flops == BATCH * OUTPUTS
    # The gradient at the inputs is needed by nobody.
    assert len(of_layer) == len([row for row in rows if row.layer]) == 4


def test_the_update_belongs_to_no_layer_and_lies_outside_the_arena():
    descent = Descent()
    rows = inspection.rows(descent.plan)
    found = [row for row in rows if row.operation == "subtract" and row.result in ("8x3", "3")]
    assert [row.result for row in found] == ["8x3", "3"]
    for row in found:
        assert row.offset is None
        assert row.layer in ("", "0")
        assert row.origin.startswith("Descent.step")


@pytest.mark.parametrize("target", TARGETS)
def test_fused_or_not_a_step_computes_as_much(target):
    counted = [
        sum(row.flops for row in inspection.rows(descent.plan))
        for descent in (Descent(), Descent(target))
    ]
    assert counted[0] == counted[1]


@pytest.mark.parametrize("target", TARGETS)
def test_each_row_lies_within_the_arena(target):
    plan = Descent(target).plan
    for row in inspection.rows(plan):
        assert row.layer in ("", "0")
        assert row.offset is None or 0 <= row.offset < plan.nbytes


@pytest.mark.skipif(len(TARGETS) < 2, reason="Numba is not installed")
def test_operations_that_run_as_one_are_one_row():
    descent = Descent(MachineCode())
    rows = inspection.rows(descent.plan)
    assert len(rows) == len(descent.plan.calls) < len(Descent().plan.calls)
    (of_layer,) = (row for row in rows if "fused" in row.operation)
    assert of_layer.origin == "Dense.forward+Descent.step+Dense.backward"
    assert of_layer.layer == "0"
    updates = [row for row in rows if row.operation == "multiply+subtract"]
    assert [(row.result, row.layer) for row in updates] == [("8x3", ""), ("3", "")]


def test_what_moves_values_counts_as_no_computing():
    trace = Trace()
    xp, x = trace.namespace, trace.leaf(np.ones((3, 4)))
    y = xp.asarray(x, copy=True)
    y[0] = 1.0
    index = trace.leaf(np.zeros(2, int))
    moving = [
        xp.astype(x, xp.float32),
        xp.concat([x, x]),
        xp.where(x > 0.0, x, 1.0),
        xp.take(x, index, axis=0),
        xp.reshape(x.mT, (12,)),
        y,
        x.mT,
    ]
    assert [flops(array.node) for array in moving] == [0] * len(moving)
    computing = [x + 1.0, xp.exp(x), xp.sum(x), xp.max(x, axis=0), xp.argmax(x, axis=-1)]
    assert [flops(array.node) for array in computing] == [12] * len(computing)
    assert flops((x @ x.mT).node) == 2 * 3 * 3 * 4
    batch = trace.leaf(np.ones((5, 2, 3)))
    assert flops((batch @ x).node) == 5 * 2 * 2 * 3 * 4


@pytest.mark.parametrize("target", TARGETS)
def test_measuring_runs_the_step_so_many_times(target):
    measured, replayed = Descent(target), Descent(target)
    seconds = inspection.measure(measured.plan, repeats=4)
    assert len(seconds) == len(measured.plan.calls)
    assert min(seconds) > 0.0
    step = CapturedStep(replayed.step, np.float64, target)
    for _ in range(4):
        step(replayed.carry, {}, replayed.inputs)
    for name, array in replayed.carry.items():
        np.testing.assert_array_equal(measured.carry[name], array)
    rows = inspection.rows(measured.plan, seconds)
    assert sum(row.seconds for row in rows) == pytest.approx(sum(seconds))


def test_the_table_has_a_line_for_each_row_and_totals():
    descent = Descent()
    rows = inspection.rows(descent.plan)
    heads, rule, *lines, totals = inspection.table(rows).splitlines()
    assert heads.split() == ["from", "operation", "result", "at", "bytes", "FLOPs"]
    assert set(rule) == {"-", " "}
    assert len(lines) == len(rows)
    assert lines[0].split()[:4] == ["0", "Dense.forward", "matmul", "16x3"]
    assert f"{sum(row.flops for row in rows):,}" in totals
    assert f"{sum(row.nbytes for row in rows):,}" in totals


def test_the_table_of_a_measured_plan_has_times_and_rates():
    descent = Descent()
    seconds = [1e-6] * len(descent.plan.calls)
    seconds[0] = 0.0
    rows = inspection.rows(descent.plan, seconds)
    heads, _, first, *lines, totals = inspection.table(rows).splitlines()
    for head in ("us", "share", "GFLOP/s", "GB/s"):
        assert head in heads
    assert first.split()[-2:] == ["0.0", "0.0%"]  # no rate without a time
    assert lines
    assert totals.split()[-4:-2] == [f"{sum(seconds) * 1e6:.1f}", "100.0%"]


def test_what_carries_a_value_over_is_a_row_too():
    def step(carry, data, inputs):
        return {"a": inputs["x"]}, {}

    captured = CapturedStep(step, np.float64)
    plan = captured.plan({"a": np.zeros(3)}, {}, {"x": np.ones(3)})
    (row,) = inspection.rows(plan)
    assert (row.result, row.flops) == ("3", 0)
    assert "total" in inspection.table([row])
