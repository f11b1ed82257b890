"""Several threads on one step: each computes a part of it, and together they give what one does."""

import importlib.util

import numpy as np
import pytest
from graphs import STORING, check_program, interpreted
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import LOSSES, OPTIMIZERS
from test_capture import KINDS, OPTIONS, assert_close, model_of, trained

from npnn.backends import capture as capturing
from npnn.backends import division, loops, operations
from npnn.backends import plan as planning
from npnn.backends.numba import NumbaPlan
from npnn.backends.plan import Plan

PLANS = [Plan, NumbaPlan]
BACKENDS = ["numpy"] + ["numba"] * (importlib.util.find_spec("numba") is not None)


@pytest.fixture(params=[2, 3], ids=["two threads", "three threads"])
def several(request, monkeypatch):
    """With small steps divided as large ones are, and their memory used again."""
    monkeypatch.setattr(capturing, "_threads_for", lambda nodes: request.param)
    monkeypatch.setattr(division, "LARGE", 4)
    monkeypatch.setattr(planning, "SMALL", 0)
    monkeypatch.setattr(operations, "FEW", 0)
    monkeypatch.setattr(loops, "_compiled", interpreted)
    return request.param


@pytest.mark.parametrize("plan", PLANS)
@settings(max_examples=60)
@given(st.binary(min_size=2, max_size=150), st.sampled_from([4, 8, 14, 20]))
def test_a_random_step_gives_what_it_gives_uncaptured(several, plan, source, length):
    check_program(source, plan, length=length)


@pytest.mark.parametrize("plan", PLANS)
@settings(max_examples=40)
@given(st.binary(min_size=2, max_size=150), st.booleans())
def test_a_random_run_of_operations_gives_what_it_gives_uncaptured(several, plan, source, stores):
    options = {"instructions": STORING} if stores else {"fused": True}
    check_program(source, plan, length=12, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=25)
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
