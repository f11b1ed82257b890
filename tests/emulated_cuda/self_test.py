"""Checks of the emulated device: run self_test.py

Each check is a program of its own, started with the environment that it names.
"""

import os
import subprocess
import sys

import numpy as np

CHECKS = {}


def check(function=None, /, **environment):
    if function is None:
        return lambda function: check(function, **environment)
    CHECKS[function.__name__] = (function, environment)
    return function


def raw(source, name):
    import cupy

    return cupy.RawKernel(source, name)


@check
def elementwise():
    import cupy

    x = np.linspace(-3, 3, 1000, dtype="float32").reshape(20, 50)
    y = cupy.tanh(cupy.asarray(x)) * 2 + cupy.asarray(x)[:, ::-1]
    np.testing.assert_allclose(y.get(), np.tanh(x) * 2 + x[:, ::-1], rtol=1e-6)


@check
def every_dtype_becomes_every_other():
    import cupy

    names = ["?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d", "F", "D"]
    for a in names:
        x = np.array([0, 1, 2, 3, 100]).astype(a)
        for b in names:
            np.testing.assert_array_equal(cupy.asarray(x).astype(b).get(), x.astype(b))


@check
def float16():
    import cupy

    every = np.arange(65536, dtype="uint16").view("float16")
    as_float = cupy.asarray(every).astype("float32")
    np.testing.assert_array_equal(as_float.get(), every.astype("float32"))
    drawn = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype="uint32").view("float32")
    rounded = cupy.asarray(drawn).astype("float16").get()
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(rounded, drawn.astype("float16"))
    assert ((cupy.arange(3, dtype="float16") + 1).get() == [1, 2, 3]).all()


@check
def reductions_and_order():
    import cupy

    x = np.random.default_rng(0).standard_normal((37, 53)).astype("float32")
    g = cupy.asarray(x)
    for name in ("sum", "max", "mean", "argmax", "sort", "argsort", "cumsum", "var"):
        ours, theirs = getattr(cupy, name)(g, axis=1), getattr(np, name)(x, axis=1)
        np.testing.assert_allclose(ours.get(), theirs, rtol=1e-4, atol=1e-6)


@check
def products_by_cublas():
    import cupy

    rng = np.random.default_rng(0)
    for dtype, rtol in (("float32", 1e-5), ("float64", 1e-12), ("float16", 1e-2)):
        a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((2, 5, 7), (2, 7, 3)))
        stacked = (cupy.asarray(a) @ cupy.asarray(b)).get()
        np.testing.assert_allclose(stacked, a @ b, rtol=rtol, atol=rtol)
        single = (cupy.asarray(a[0]) @ cupy.asarray(b[0])).get()
        np.testing.assert_allclose(single, a[0] @ b[0], rtol=rtol, atol=rtol)


@check
def products_by_cublaslt():
    import cupy
    from nvmath.bindings import cublasLt as lt

    rng = np.random.default_rng(0)
    a, b, bias = (rng.standard_normal(s).astype("float32") for s in ((4, 6), (6, 5), (5,)))
    ga, gb, gbias, c = *map(cupy.asarray, (a, b, bias)), cupy.empty((4, 5), "float32")
    workspace = cupy.empty(1 << 16, "uint8")
    handle, what = lt.create(), lt.matmul_desc_create(68, 0)

    def put(setter, target, attribute, value, dtype):
        cell = np.array([value], dtype)
        setter(target, attribute, cell.ctypes.data, cell.nbytes)

    attributes = lt.MatmulDescAttribute
    put(lt.matmul_desc_set_attribute, what, attributes.EPILOGUE, 2 | 4, "int32")
    put(lt.matmul_desc_set_attribute, what, attributes.BIAS_POINTER, gbias.data.ptr, "int64")
    # Columns first: c' = b' a', and the bias is one of c's columns.
    layouts = [lt.matrix_layout_create(0, *s) for s in ((5, 6, 5), (6, 4, 6), (5, 4, 5))]
    preference = lt.matmul_preference_create()
    found = np.zeros(1, lt.matmul_heuristic_result_dtype)
    count = np.zeros(1, "int32")
    lt.matmul_algo_get_heuristic(
        handle, what, layouts[0], layouts[1], layouts[2], layouts[2], preference, 1,
        found.ctypes.data, count.ctypes.data,
    )  # fmt: skip
    one, nought = np.ones(1, "float32"), np.zeros(1, "float32")
    lt.matmul(
        handle, what, one.ctypes.data, gb.data.ptr, layouts[0], ga.data.ptr, layouts[1],
        nought.ctypes.data, c.data.ptr, layouts[2], c.data.ptr, layouts[2],
        found["algo"].ctypes.data, workspace.data.ptr, workspace.nbytes,
        cupy.cuda.get_current_stream().ptr,
    )  # fmt: skip
    np.testing.assert_allclose(c.get(), np.maximum(a @ b + bias, 0), rtol=1e-5, atol=1e-6)


@check
def a_graph_runs_what_was_captured():
    import cupy
    import emulated

    x = cupy.arange(4, dtype="float32")
    cupy.multiply(x, 1, out=x)  # compiled before
    with cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        cupy.multiply(x, 2, out=x)
        cupy.multiply(x, 3, out=x)
        graph = stream.end_capture()
        emulated.reset()
        graph.launch()
        graph.launch()
        stream.synchronize()
    assert (x.get() == [0, 36, 72, 108]).all(), x
    counted = emulated.counters()
    assert counted["graphLaunch"] == 2, counted
    assert "launch" not in counted, counted


@check
def a_capture_refuses_waiting():
    import cupy

    x = cupy.arange(4, dtype="float32")
    with cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        try:
            stream.synchronize()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            assert "StreamCapture" in str(error), error
        else:
            raise AssertionError("a wait was captured")
        try:
            stream.end_capture()
        except cupy.cuda.runtime.CUDARuntimeError:
            pass
    assert x.get()[3] == 3


@check(EMU_MODE="lazy")
def nothing_runs_before_somebody_waits():
    import cupy

    x = cupy.zeros(1, "float32")
    cupy.cuda.Device().synchronize()
    there = np.frombuffer((__import__("ctypes").c_char * 4).from_address(x.data.ptr), "float32")
    x += 1
    assert there[0] == 0
    cupy.cuda.Device().synchronize()
    assert there[0] == 1


@check(EMU_NDEV="2")
def two_devices():
    import cupy
    import emulated

    with cupy.cuda.Device(1):
        x = cupy.arange(3, dtype="float32")
        emulated.reset()
        y = x + 1
    assert y.device.id == 1
    assert emulated.counters().get("launch on 1") == 1, emulated.counters()


NEIGHBOUR = r"""
extern "C" __global__ void neighbour(float* x) {
  __shared__ float cells[64];
  cells[threadIdx.x] = x[threadIdx.x];
  SYNC
  x[threadIdx.x] = cells[(threadIdx.x + 33) % 64];
}
"""


@check(EMU_RACE="1")
def a_planted_race_is_seen():
    import cupy
    import emulated

    raw(NEIGHBOUR.replace("SYNC", ""), "neighbour")((1,), (64,), (cupy.ones(64, "float32"),))
    cupy.cuda.Device().synchronize()
    assert emulated.counters().get("races", 0) > 0, emulated.counters()


@check(EMU_RACE="1")
def a_clean_kernel_is_not_complained_of():
    import cupy
    import emulated

    x = cupy.arange(64, dtype="float32")
    raw(NEIGHBOUR.replace("SYNC", "__syncthreads();"), "neighbour")((1,), (64,), (x,))
    assert (x.get() == np.roll(np.arange(64), -33)).all()
    assert cupy.sum(x).item() == 2016
    assert not emulated.faults(), emulated.faults()


BEYOND = r"""
extern "C" __global__ void beyond(float* x, int n) { if (threadIdx.x <= n) x[threadIdx.x] = 1; }
"""


@check(EMU_RACE="1", EMU_POOL="0")
def an_access_out_of_bounds_is_seen():
    import cupy
    import emulated

    x, kernel = cupy.zeros(100, "float32"), raw(BEYOND, "beyond")
    for last, expected in ((99, 0), (100, 1)):
        kernel((1,), (128,), (x, np.int32(last)))
        cupy.cuda.Device().synchronize()
        assert emulated.faults().get("out of bounds", 0) == expected, emulated.faults()


def main():
    if len(sys.argv) == 2:
        CHECKS[sys.argv[1]][0]()
        return
    failed = 0
    for name, (_, environment) in CHECKS.items():
        given = {**os.environ, "PYTHONWARNINGS": "ignore", **environment}
        command = [sys.executable, __file__, name]
        done = subprocess.run(command, env=given, capture_output=True, text=True)
        failed += done.returncode != 0
        print("FAILED" if done.returncode else "ok    ", name.replace("_", " "), flush=True)
        if done.returncode:
            print(done.stdout[-2000:], done.stderr[-3000:])
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed")
    sys.exit(failed > 0)


main()
