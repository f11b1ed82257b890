"""The schedules against PyTorch's and against their formulas."""

import math

import numpy as np
import pytest
import torch
from oracles import by_name, package_classes

import npnn

SCHEDULES = package_classes(npnn.Schedule.registry, npnn.Schedule)
SCHEDULES.remove(npnn.schedules.FunctionSchedule)  # which is whatever its function is

# Arguments of every schedule of the package, and the same in PyTorch.
CASES = {
    "ConstantRate": ({}, lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda n: 1.0)),
    "StepDecay": (
        {"every": 7, "factor": 0.3},
        lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=7, gamma=0.3),
    ),
    "ExponentialDecay": (
        {"factor": 0.93},
        lambda o: torch.optim.lr_scheduler.ExponentialLR(o, gamma=0.93),
    ),
    "Cosine": (
        {"length": 40, "final": 0.1},
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=40, eta_min=0.1),
    ),
    "ReduceOnPlateau": (
        {"factor": 0.5, "patience": 3, "threshold": 0.01, "smallest": 0.05},
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(
            o, factor=0.5, patience=3, threshold=0.01, min_lr=0.05
        ),
    ),
}


def case_of(kind):
    if kind.__name__ not in CASES:
        pytest.fail(f"{kind.__name__} is new: add it to the table in {__file__}")
    return CASES[kind.__name__]


@pytest.mark.parametrize("kind", SCHEDULES, ids=by_name)
def test_a_schedule_is_that_of_torch(kind):
    arguments, in_torch = case_of(kind)
    schedule = kind(**arguments)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = in_torch(optimizer)
    watched = np.concatenate([np.linspace(2.0, 1.0, 5), np.full(15, 1.0), np.full(20, 0.995)])
    for count, loss in enumerate(watched):
        assert schedule(count) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        schedule.observe(float(loss))
        if kind is npnn.ReduceOnPlateau:
            theirs.step(float(loss))
        else:
            theirs.step()


def test_a_warm_up_rises_to_one_and_the_cosine_falls_from_there_to_its_end():
    schedule = npnn.Cosine(12, warm_up=4, final=0.2)
    assert [schedule(n) for n in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    for n in range(4, 13):
        expected = 0.2 + 0.8 * (1.0 + math.cos(math.pi * (n - 4) / 8)) / 2.0
        assert schedule(n) == pytest.approx(expected, abs=1e-15)
    assert schedule(12) == schedule(1000) == pytest.approx(0.2)


def test_a_plateau_is_left_by_a_relative_improvement_only():
    schedule = npnn.ReduceOnPlateau(factor=0.1, patience=2, threshold=0.1)
    for loss in (1.0, 0.95, 0.91):  # none improves on 1 by a tenth
        schedule.observe(loss)
    assert schedule(0) == 1.0
    schedule.observe(0.89)
    for loss in (0.89, 0.89):
        schedule.observe(loss)
    assert schedule(0) == 1.0
    schedule.observe(0.89)
    assert schedule(0) == pytest.approx(0.1)


def test_a_plateau_of_negative_losses_is_left_by_a_lower_one():
    schedule = npnn.ReduceOnPlateau(patience=1)
    for loss in (-1.0, -2.0, -3.0, -4.0, -5.0):
        schedule.observe(loss)
    assert schedule(0) == 1.0


def test_the_factor_of_a_plateau_never_goes_below_the_smallest():
    schedule = npnn.ReduceOnPlateau(factor=0.1, patience=1, smallest=0.05)
    for _ in range(20):
        schedule.observe(1.0)
    assert schedule(0) == 0.05


@pytest.mark.parametrize("kind", SCHEDULES, ids=by_name)
def test_a_schedule_survives_its_config_with_what_it_learnt(kind):
    schedule = kind(**case_of(kind)[0])
    for loss in (1.0, 0.5, 0.5, 0.5, 0.5, 0.5):
        schedule.observe(loss)
    again = npnn.Schedule.from_config(schedule.to_config())
    assert repr(again) == repr(schedule)
    for loss in (0.5, 0.5, 0.5, 0.5):
        schedule.observe(loss)
        again.observe(loss)
    assert [again(n) for n in range(50)] == [schedule(n) for n in range(50)]


@pytest.mark.parametrize(
    ("kind", "arguments", "name"),
    [
        (npnn.StepDecay, {"every": 0}, "every"),
        (npnn.StepDecay, {"every": 1, "factor": 0.0}, "factor"),
        (npnn.StepDecay, {"every": 1, "factor": 1.1}, "factor"),
        (npnn.ExponentialDecay, {"factor": math.nan}, "factor"),
        (npnn.Cosine, {"length": 0}, "length"),
        (npnn.Cosine, {"length": 5, "warm_up": 5}, "warm_up"),
        (npnn.Cosine, {"length": 5, "warm_up": -1}, "warm_up"),
        (npnn.Cosine, {"length": 5, "final": 1.5}, "final"),
        (npnn.ReduceOnPlateau, {"patience": 0}, "patience"),
        (npnn.ReduceOnPlateau, {"factor": -1.0}, "factor"),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(kind, arguments, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        kind(**arguments)


@pytest.mark.parametrize("every", [2.0, True, "2"])
def test_a_count_that_is_no_int_is_a_type_error(every):
    with pytest.raises(TypeError, match="every must be an int"):
        npnn.StepDecay(every)


def test_a_schedule_without_a_formula_says_so():
    with pytest.raises(NotImplementedError, match="Schedule gives no factor"):
        npnn.Schedule()(0)
