"""The plan on a GPU: random programs, and kernels that compute what NumPy computes."""

import math
import os
import sys

import numpy as np
import pytest
from graphs import STORING, Program, assert_replay_is_eager, check, check_program
from hypothesis import given, settings
from hypothesis import strategies as st
from on_gpu import (
    DEVICE,
    PROGRAMS,
    OnDevice,
    classifier,
    lenet5,
    plan_of,
    rounding,
    some_mode,
    trainer,
)
from test_plan import CARRIES, carried, numbers

import npnn
from npnn.arrays import array_namespace
from npnn.backends import tuning
from npnn.backends.gpu import cupy_target
from npnn.backends.gpu import kernels as cuda
from npnn.backends.gpu.cupy_shadows import Region
from npnn.backends.recording.capture import mapped
from npnn.profiling import profile

pytestmark = pytest.mark.gpu

# Blocks so small that many work together, and sums by several threads of each.
SMALL = {"FLAT_THREADS": 32, "ROW_THREADS": 32, "ROWS_EACH": 1}
SETTINGS = {
    "float64": ("float64", True, {}),
    "float32, small blocks": ("float32", True, SMALL),
    "float64, small blocks, without cuBLASLt": ("float64", False, SMALL),
}
RANDOM = settings(
    max_examples=max(1, PROGRAMS // (3 * len(SETTINGS))),
    derandomize="NPNN_PROGRAMS" not in os.environ,
)


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS)
def backend(request, monkeypatch):
    """CuPy as a backend."""
    dtype, lt, limits = request.param
    if not lt:
        monkeypatch.setitem(sys.modules, "nvmath.bindings", None)
    for name, value in limits.items():
        monkeypatch.setattr(tuning, name, value)
    monkeypatch.setattr(tuning, "SMALL", 0)
    backend = npnn.backends.get("cupy", dtype, DEVICE)
    assert lt or backend.products.name == "cuBLAS"
    return backend


@pytest.fixture
def capture(backend):
    return lambda step, dtype: OnDevice(step, backend)


# Random steps ------------------------------------------------------------------------------------


@RANDOM
@given(st.binary(min_size=30, max_size=200))
def test_a_random_step_gives_what_it_gives_uncaptured(backend, capture, source):
    with some_mode(sum(source)):
        check_program(source, capture, length=30, dtype=backend.dtype_name)


@RANDOM
@given(st.binary(min_size=30, max_size=200))
def test_a_random_run_of_elementwise_operations_gives_what_it_gives_uncaptured(
    backend, capture, source
):
    with some_mode(sum(source)):
        check_program(source, capture, length=16, fused=True, dtype=backend.dtype_name)


@RANDOM
@given(st.binary(min_size=30, max_size=200), st.booleans())
def test_parts_of_arrays_that_kernels_write_give_what_they_give_uncaptured(
    backend, capture, source, fused
):
    options = {"fused": fused, "instructions": STORING, "dtype": backend.dtype_name}
    with some_mode(sum(source)):
        check_program(source, capture, length=8, **options)


@settings(RANDOM, max_examples=max(1, PROGRAMS // 12))
@given(st.binary(min_size=30, max_size=200), st.sampled_from(["tf32", "bfloat16", "float16"]))
def test_a_random_step_gives_what_it_gives_with_rounded_factors(emulated, source, precision):
    kind, program = rounding(precision), Program(source, length=20, dtype="float32")

    def step(carry, data, inputs):
        trees = carry, data, inputs
        if type(inputs["x"]) is np.ndarray:
            trees = [mapped(tree, lambda x: x.view(kind)) for tree in trees]
        return program(*trees)

    backend = npnn.backends.get("cupy", "float32", DEVICE, precision)
    rng = np.random.default_rng(len(source))
    trees = program.carry(rng), program.data(rng), [program.inputs(rng) for _ in range(2)]
    with np.errstate(all="ignore"), some_mode(sum(source)):
        assert_replay_is_eager(step, *trees, lambda step, dtype: OnDevice(step, backend))


@pytest.mark.parametrize("name", CARRIES)
def test_what_is_carried_may_be_made_of_anything(name, capture):
    a, b = numbers(4, 4), numbers(4, 4, seed=1)
    inputs = [{"x": numbers(4, 4, seed=seed)} for seed in range(3)]
    assert_replay_is_eager(carried(CARRIES[name]), {"a": a, "b": b}, {}, inputs, capture)


# Kernels -----------------------------------------------------------------------------------------


def test_kernels_of_rows_and_of_long_sums(capture):
    def softmax(xp, x):
        e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        y = e / xp.sum(e, axis=-1, keepdims=True)
        return [y, xp.sum(y * x, axis=0), xp.sum(y * y), xp.argmax(y, axis=-1)]

    for shape in ((1, 1), (3, 2), (70, 5), (5, 40), (130, 33), (2, 700), (3, 2, 9)):
        check(softmax, numbers(*shape), target=capture)

    def sums(xp, x):
        y = xp.maximum(x, 0.0)
        return [y, xp.sum(y), xp.sum(xp.reshape(x, (-1,)) * 2.0), xp.sum(x, axis=0) / 3.0]

    for shape in ((1, 1), (300, 3), (2, 700), (1000, 40)):
        check(sums, numbers(*shape), target=capture)


def test_products_of_matrices_that_lie_anyhow(capture):
    a, b = numbers(6, 5), numbers(5, 7)
    check(lambda xp, a, b: [a @ b, (b.mT @ a.mT).mT], a, b, target=capture)
    check(lambda xp, a, b: a[::2] @ b[:, ::2], a, b, target=capture)
    check(lambda xp, a, b: a[::-1] @ b[:, ::-1], a, b, target=capture)
    check(lambda xp, a, b: a[:, :1] @ b[:1] + a[:, 1:2] @ b[1:2], a, b, target=capture)
    many, deep = numbers(4, 6, 5), numbers(2, 3, 5, 7)
    check(lambda xp, m, b: [m @ b, m[::2] @ b, m.mT @ m], many, b, target=capture)
    check(lambda xp, m, d: [m[:3] @ d, m[:2, None] @ d, m[:1] @ d], many, deep, target=capture)


def test_what_no_number_is_stays_where_it_is(capture):
    x = numbers(9, 6)
    x[2, 3], x[4, 0], x[4, 5], x[5] = np.nan, np.nan, np.inf, -np.inf

    def largest(xp, x):
        parts = [xp.max(x, axis=-1), xp.min(x, axis=-1), xp.argmax(x, axis=-1), xp.max(x, axis=0)]
        return [*parts, xp.maximum(x, 0.0), xp.minimum(x, 0.0), xp.sign(x), xp.isfinite(x)]

    check(largest, x, target=capture)


def test_an_operation_without_a_kernel_is_named_and_runs_uncaptured(backend):
    step = OnDevice(
        lambda c, d, i: (c, {"y": array_namespace(i["x"]).arctan2(i["x"], i["x"] + 2.0)}), backend
    )
    with pytest.warns(RuntimeWarning, match=r"arctan2"):
        _, outputs = step({}, {}, {"x": numbers(3)})
    np.testing.assert_allclose(outputs["y"], np.arctan2(numbers(3), numbers(3) + 2.0), rtol=1e-14)


def test_small_arrays_of_the_host_are_inputs_too(backend):
    captured = backend.capture(lambda c, d, i: (c, {"y": i["x"] * i["n"] + i["k"]}))
    for n in (2.0, 3.0):
        _, outputs = captured({}, {}, {"x": numbers(3), "n": n, "k": np.array(2)})
        np.testing.assert_allclose(outputs["y"].get(), numbers(3) * n + 2, rtol=1e-14)


def test_shadows_may_be_larger_than_the_memory_of_the_host():
    region = Region(1 << 40)
    assert len(region.bytes) == 1 << 40
    assert not region.bytes.flags.writeable


@pytest.mark.parametrize("make", [lenet5, classifier])
def test_blocks_are_whole_warps_and_grids_are_long_only_in_their_first_axis(make):
    trains, batches = trainer(make, "cupy")
    trains.step(*batches[0])
    for launch in plan_of(trains).target.kernels:
        assert math.prod(launch.block) % 32 == 0
        assert math.prod(launch.block) <= 1024
        assert max(launch.grid[1:], default=1) < 1 << 16


@pytest.mark.skipif(os.environ.get("EMU_NVRTC") == "0", reason="NVIDIA's compiler is not asked")
def test_what_the_compiler_refuses_is_an_error(monkeypatch):
    monkeypatch.setattr(cupy_target, "PRELUDE", f"#include <vector>\n{cuda.PRELUDE}")
    trains, batches = trainer(classifier, "cupy")
    with pytest.raises(Exception, match=r"vector"):
        trains.step(*batches[0])


def test_a_plan_can_be_looked_into_and_timed():
    trains, batches = trainer(classifier, "cupy")
    if trains.model.backend.products.epilogues:
        assert "matmul+add+maximum" in str(trains.model.plan())
    before = {name: a.get() for name, a in trains.model.parameters().items()}
    rows = profile(trains.model, *batches[0], steps=2)
    assert min(row.seconds for row in rows) > 0.0
    assert sum(row.operation.startswith("matmul") for row in rows) == 8
    after = {name: a.get() for name, a in trains.model.parameters().items()}
    assert all(np.isfinite(a).all() for a in after.values())
    assert not np.array_equal(after["0.w"], before["0.w"])
