"""The emulated device refuses what CUDA forbids, and finds each fault that is planted here."""

import ctypes
import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

if "EMU_HOME" not in os.environ:
    pytest.skip("the emulated device is not loaded", allow_module_level=True)

import cupy
import emulated
import numpy as np
from checking import ADD, COPY, MODES, clean, faults, kernel, refused
from cupy.cuda import runtime
from cupy_backends.cuda.api import driver

pytestmark = pytest.mark.gpu
GLOBAL, THREAD_LOCAL, RELAXED = MODES
HERE = Path(__file__).parent
__all__ = ["clean"]  # a fixture


@pytest.mark.parametrize(
    ("file", "environment"),
    [
        ("races.py", {"EMU_RACE": "1", "EMU_POOL": "0"}),
        ("two_devices.py", {"EMU_NDEV": "2"}),
    ],
)
def test_checks_that_need_an_environment_of_their_own(file, environment):
    settings = HERE.parents[1] / "pyproject.toml"
    options = ["-q", "--noconftest", "-p", "no:cacheprovider", "-c", settings]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, HERE / file],
        env={**os.environ, "EMU_MODE": "eager", "EMU_STRICT": "0", **environment},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stdout[-8000:] + done.stderr[-2000:]


# What is computed --------------------------------------------------------------------------------


def test_operations_and_reductions_agree_with_numpy():
    x = np.random.default_rng(0).standard_normal((37, 53)).astype("float32")
    y = cupy.tanh(cupy.asarray(x)) * 2 + cupy.asarray(x)[:, ::-1]
    np.testing.assert_allclose(y.get(), np.tanh(x) * 2 + x[:, ::-1], rtol=1e-5, atol=1e-6)
    for name in ("sum", "argmax", "sort", "argsort", "cumsum"):
        ours, theirs = getattr(cupy, name)(cupy.asarray(x), axis=1), getattr(np, name)(x, axis=1)
        np.testing.assert_allclose(ours.get(), theirs, rtol=1e-4, atol=1e-5)


def test_each_dtype_becomes_the_next():
    dtypes = ["?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d", "F", "D"]
    for a, b in itertools.pairwise(dtypes):
        x = np.array([0, 1, 2, 3, 100]).astype(a)
        np.testing.assert_array_equal(cupy.asarray(x).astype(b).get(), x.astype(b))


def test_float16_is_rounded_as_numpy_rounds_it():
    every = np.arange(65536, dtype="uint16").view("float16")
    np.testing.assert_array_equal(cupy.asarray(every).astype("f").get(), every.astype("f"))
    drawn = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype="uint32").view("float32")
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(cupy.asarray(drawn).astype("e").get(), drawn.astype("e"))


def test_threads_of_a_block_work_together():
    scan = kernel(r"""scan(int* x) {
        __shared__ int sums[4];
        int v = x[threadIdx.x], lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        for (int d = 1; d < 32; d *= 2) {
            int other = __shfl_up_sync(~0u, v, d);
            if (lane >= d) v += other;
        }
        if (lane == 31) sums[warp] = v;
        __syncthreads();
        for (int w = 0; w < warp; ++w) v += sums[w];
        x[threadIdx.x] = v;
        if (x[threadIdx.x] < 0) return;
        atomicAdd(x + 128, 1);
    }""")
    for shuffle in (False, True):
        with emulated.mode(shuffle=shuffle):
            x = cupy.arange(129, dtype="int32") % 128
            scan((1,), (128,), (x,))
            assert x.get().tolist() == [*np.cumsum(np.arange(128)).tolist(), 128]


def test_a_kernel_that_nvrtc_does_not_know_is_refused():
    with pytest.raises(cupy.cuda.compiler.CompileException, match="no_such_function"):
        kernel("wrong(int* x) { *x = no_such_function(); }").compile()


# Order, modes and counters -----------------------------------------------------------------------


def value(x):
    """Return an element that lies on the device, without waiting."""
    return ctypes.c_float.from_address(x.data.ptr).value


def test_work_is_done_when_the_mode_says():
    x = cupy.zeros(1, "float32")
    x += 1
    assert value(x) == 1
    with emulated.mode("lazy"):
        x += 1
        assert value(x) == 1
        cupy.cuda.Device().synchronize()
        assert value(x) == 2
        x += 1
    assert value(x) == 3  # what waits is done when the mode ends
    with emulated.mode("random", seed=3):
        done = []
        for _ in range(50):
            x += 1
            done.append(value(x))
    assert 3 < done[-1] < 53 or done != list(range(4, 54))
    with pytest.raises(ValueError, match="eager"):
        emulated.mode("slow")


def test_lazy_work_waits_for_events_of_other_streams():
    x, (a, b) = cupy.zeros(1, "float32"), (cupy.cuda.Stream(non_blocking=True) for _ in "ab")
    event = cupy.cuda.Event()
    with emulated.mode("lazy"):
        with a:
            x += 1
            event.record()
        b.wait_event(event)
        with b:
            x *= 5
        b.synchronize()
        assert value(x) == 5
        with a:
            x += 1
            event.record()
        assert not event.done
        assert event.done  # who asks again is not left waiting
        assert value(x) == 6


def test_counters_are_of_a_block_or_from_the_last_reset():
    x = cupy.zeros(10, "float32")
    with emulated.counting() as counted:
        x += 1
        x.get()
    assert counted["launch"] == counted["copy d2h pageable async"] == 1
    assert counted["wait memcpy"] == 1
    assert counted["graphLaunch"] == 0
    emulated.reset()
    x += 1
    assert emulated.counters()["launch"] == 1


# Captures and graphs -----------------------------------------------------------------------------


class Capture:
    """A capture that a test begins and, at the latest, ends."""

    def __init__(self, mode=RELAXED, non_blocking=True):
        self.stream = cupy.cuda.Stream(non_blocking=non_blocking)
        self.x = cupy.zeros(4, "float32")
        self.add = kernel(ADD)
        self.add.compile()
        self.mode = mode

    def __enter__(self):
        self.stream.begin_capture(self.mode)
        return self

    def __exit__(self, *error):
        if self.stream.is_capturing():
            self.stream.end_capture()

    def launch(self, stream=None):
        with stream or self.stream:
            self.add((1,), (1,), (self.x, 4))

    def end(self, error=None):
        """End it; with an error of CUDA's, if one is named."""
        if error is None:
            return self.stream.end_capture()
        with refused(error):
            self.stream.end_capture()


def test_a_graph_does_what_was_captured_each_time():
    with Capture() as capture:
        capture.launch()
        capture.launch()
        graph = capture.end()
    assert capture.x.get().tolist() == [0] * 4
    with emulated.counting() as counted:
        graph.launch()
        graph.launch(cupy.cuda.Stream(non_blocking=True))
    assert capture.x.get().tolist() == [4] * 4
    assert (counted["graphLaunch"], counted["launch"]) == (2, 0)


def test_a_graph_of_nothing_does_nothing():
    with Capture() as capture:
        graph = capture.end()
    with emulated.counting() as counted:
        graph.launch()
    assert counted["graphLaunch"] == 1


def test_a_captured_stream_takes_others_along_until_they_join_it():
    for joins in (True, False):
        with Capture() as capture:
            other, events = cupy.cuda.Stream(non_blocking=True), [cupy.cuda.Event() for _ in "ab"]
            capture.launch()
            events[0].record(capture.stream)
            other.wait_event(events[0])
            capture.launch(other)
            assert other.is_capturing()
            if joins:
                events[1].record(other)
                capture.stream.wait_event(events[1])
            graph = capture.end(None if joins else "StreamCaptureUnjoined")
        assert not other.is_capturing()
        if joins:
            graph.launch()
            assert capture.x.get().tolist() == [2] * 4


def unsafe_calls():
    """Yield calls that a capture forbids unless it is relaxed, by name."""
    memory, pinned, event = runtime.malloc(8), runtime.hostAlloc(8, 0), cupy.cuda.Event()
    event.record()
    other = cupy.cuda.Stream(non_blocking=True)
    with Capture() as capture:
        graph = capture.end()
    yield "malloc", lambda: runtime.malloc(8)
    yield "free", lambda: runtime.free(memory)
    yield "hostAlloc", lambda: runtime.hostAlloc(8, 0)
    yield "freeHost", lambda: runtime.freeHost(pinned)
    yield "memcpy", lambda: runtime.memcpy(memory, memory, 8, COPY["d2d"])
    yield "memset", lambda: runtime.memset(memory, 0, 8)
    yield "eventSynchronize", event.synchronize
    yield "eventQuery", lambda: runtime.check_status(runtime.eventQuery(event.ptr))
    yield "streamSynchronize", other.synchronize
    yield "streamQuery", lambda: runtime.check_status(runtime.streamQuery(other.ptr))
    yield "a new kernel", lambda: kernel("a_new_one() {}").compile()
    yield "graphExecDestroy", lambda: runtime.graphExecDestroy(graph.graphExec)


UNSAFE = [
    "malloc", "free", "hostAlloc", "freeHost", "memcpy", "memset", "eventSynchronize", "eventQuery",
    "streamSynchronize", "streamQuery", "a new kernel",
]  # fmt: skip


@pytest.mark.parametrize("name", UNSAFE)
def test_a_capture_that_is_not_relaxed_refuses_what_may_be_unsafe(name):
    for mode in (GLOBAL, THREAD_LOCAL):
        call = dict(unsafe_calls())[name]
        with Capture(mode) as capture:
            with refused("STREAM_?CAPTURE_?UNSUPPORTED|StreamCaptureUnsupported"):
                call()
            capture.end("StreamCaptureInvalidated")
    call = dict(unsafe_calls())[name]
    with Capture(RELAXED) as capture:
        call()
        capture.end()
    assert any(counter.startswith("in a capture: ") for counter in emulated.counters())


def on_another_thread(call):
    """Return the error that a call raises on another thread, or None."""
    errors = [None]

    def run():
        try:
            call()
        except runtime.CUDARuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return errors[-1]


def test_only_a_global_capture_forbids_other_threads_what_may_be_unsafe():
    for mode in (GLOBAL, THREAD_LOCAL, RELAXED):
        with Capture(mode) as capture:
            error = on_another_thread(lambda: runtime.malloc(8))
            assert bool(error) == (mode == GLOBAL)
            capture.end(error and "StreamCaptureInvalidated")


def test_a_capture_ends_on_the_thread_that_began_it_unless_it_is_relaxed():
    for mode in (GLOBAL, THREAD_LOCAL, RELAXED):
        with Capture(mode) as capture:
            error = on_another_thread(capture.stream.end_capture)
            assert ("WrongThread" in (error or "")) == (mode != RELAXED)


HOST = np.zeros(4, "float32")
IN_A_CAPTURE = {
    "waiting for it": lambda c: c.stream.synchronize(),
    "asking for it": lambda c: runtime.check_status(runtime.streamQuery(c.stream.ptr)),
    "waiting for the device": lambda c: runtime.deviceSynchronize(),
    "a copy from pageable memory": lambda c: runtime.memcpyAsync(
        c.x.data.ptr, HOST.ctypes.data, 16, COPY["h2d"], c.stream.ptr
    ),
    "a copy to pageable memory": lambda c: runtime.memcpyAsync(
        HOST.ctypes.data, c.x.data.ptr, 16, COPY["d2h"], c.stream.ptr
    ),
    "a callback": lambda c: c.stream.add_callback(lambda *_: None, None),
    "another graph": lambda c: c.graph.launch(c.stream),
}


@pytest.mark.parametrize("name", IN_A_CAPTURE)
def test_no_capture_takes_what_it_cannot_contain(name):
    with Capture() as before:
        graph = before.end()
    for mode in (GLOBAL, RELAXED):
        with Capture(mode) as capture:
            capture.graph = graph
            with refused("StreamCaptureUnsupported"):
                IN_A_CAPTURE[name](capture)
            capture.end("StreamCaptureInvalidated")
    cupy.cuda.Device().synchronize()


def test_copies_of_pinned_memory_are_captured():
    pinned = cupy.cuda.alloc_pinned_memory(16)
    host = np.frombuffer(pinned, "float32", 4)
    with Capture() as capture:
        runtime.memcpyAsync(capture.x.data.ptr, pinned.ptr, 16, COPY["h2d"], capture.stream.ptr)
        graph = capture.end()
    host[:] = 7  # read when the graph runs
    graph.launch()
    assert capture.x.get().tolist() == [7] * 4


def test_the_legacy_stream_is_refused_while_a_blocking_stream_is_captured():
    def uses():
        yield lambda c: c.launch(cupy.cuda.Stream.null)
        yield lambda c: cupy.cuda.Stream.null.synchronize()
        yield lambda c: runtime.check_status(runtime.streamQuery(0))
        yield lambda c: runtime.memset(c.x.data.ptr, 0, 16)
        yield lambda c: runtime.memcpy(c.x.data.ptr, c.x.data.ptr, 16, COPY["d2d"])
        yield lambda c: runtime.memsetAsync(c.x.data.ptr, 0, 16, 0)

    for use in uses():
        with Capture(non_blocking=False) as capture:
            with refused("CAPTURE_IMPLICIT|CaptureImplicit"):
                use(capture)
            capture.end("StreamCaptureInvalidated")
        with Capture(non_blocking=True) as capture:
            use(capture)
            capture.end()
    with Capture(non_blocking=False) as capture:
        with refused("StreamCaptureImplicit"):
            cupy.cuda.Stream.null.is_capturing()
        capture.end()


def test_events_of_a_capture_are_its_own():
    before, event = cupy.cuda.Event(), cupy.cuda.Event()
    before.record()
    with Capture() as capture:
        with refused("StreamCaptureIsolation"):
            capture.stream.wait_event(before)
        capture.end("StreamCaptureInvalidated")
    for ask in (event.synchronize, lambda: runtime.check_status(runtime.eventQuery(event.ptr))):
        with Capture() as capture:
            event.record(capture.stream)
            with refused("CapturedEvent"):
                ask()
            capture.end("StreamCaptureInvalidated")
    with Capture() as capture:
        event.record(capture.stream)
        capture.end()
    for ask in (event.synchronize, lambda: cupy.cuda.Stream.null.wait_event(event)):
        with refused("CapturedEvent"):
            ask()
    event.record()
    event.synchronize()


def test_two_captures_do_not_merge():
    event = cupy.cuda.Event()
    with Capture() as a, Capture() as b:
        event.record(a.stream)
        with refused("StreamCaptureMerge"):
            b.stream.wait_event(event)
        a.end("StreamCaptureInvalidated")
        b.end("StreamCaptureInvalidated")


def test_a_capture_begins_and_ends_once_and_on_its_own_stream():
    with refused("IllegalState"):
        cupy.cuda.Stream(non_blocking=True).end_capture()
    with refused("StreamCaptureUnsupported"):
        runtime.streamBeginCapture(0, RELAXED)
    with Capture() as capture:
        with refused("IllegalState"):
            capture.stream.begin_capture()
        capture.end()
    with Capture() as capture:
        other, event = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Event()
        event.record(capture.stream)
        other.wait_event(event)
        with refused("StreamCaptureUnmatched"):
            other.end_capture()
        capture.end("StreamCaptureInvalidated")


def test_what_was_destroyed_is_refused():
    stream = runtime.streamCreateWithFlags(1)
    runtime.streamDestroy(stream)
    event = runtime.eventCreate()
    runtime.eventDestroy(event)
    with Capture() as capture:
        graph = capture.end()
    executable = graph.graphExec
    del graph
    for error, call in (
        ("InvalidResourceHandle", lambda: runtime.streamSynchronize(stream)),
        ("InvalidResourceHandle", lambda: runtime.memsetAsync(capture.x.data.ptr, 0, 16, stream)),
        ("InvalidResourceHandle", lambda: runtime.eventRecord(event, 0)),
        ("InvalidResourceHandle", lambda: runtime.streamWaitEvent(0, event)),
        ("InvalidValue", lambda: runtime.graphLaunch(executable, 0)),
    ):
        with faults("wrong handle"), refused(error):
            call()


# Memory ------------------------------------------------------------------------------------------


def test_copies_and_fills_stay_in_their_memory():
    p, host = runtime.malloc(1024), np.zeros(2048, "uint8").ctypes.data
    runtime.memcpy(p, host, 1024, COPY["h2d"])
    for call in (
        lambda: runtime.memcpy(p, host, 1025, COPY["h2d"]),
        lambda: runtime.memcpy(host, p + 1, 1024, COPY["d2h"]),
        lambda: runtime.memcpy(host, p - 1, 10, COPY["d2h"]),
        lambda: runtime.memset(p + 1000, 0, 25),
    ):
        with faults("out of bounds"), refused("InvalidValue"):
            call()
    with faults("wrong copy"):
        runtime.memcpy(p, host, 10, COPY["d2h"])
    with faults("wrong free"), refused("InvalidValue"):
        runtime.free(p + 512)
    runtime.free(p)
    with faults("wrong free"), refused("InvalidValue"):
        runtime.free(p)


def test_memory_that_was_freed_is_refused_to_all():
    p, host, stream = runtime.malloc(1024), HOST.ctypes.data, cupy.cuda.Stream(non_blocking=True)
    with Capture() as capture:
        with capture.stream:
            capture.add((1,), (1,), (p, 4))
        runtime.memsetAsync(p, 0, 8, capture.stream.ptr)
        graph = capture.end()
    x = cupy.ndarray((16, 16), "float32", cupy.cuda.MemoryPointer(
        cupy.cuda.UnownedMemory(p, 1024, None), 0))  # fmt: skip
    runtime.free(p)
    for call, error in (
        (lambda: runtime.memcpy(host, p, 16, COPY["d2h"]), "InvalidValue"),
        (lambda: runtime.memsetAsync(p, 0, 8, stream.ptr), "InvalidValue"),
        (lambda: cupy.matmul(x, x), "INVALID_VALUE"),
        (lambda: graph.launch(), None),
        (lambda: kernel(ADD)((1,), (1,), (p, 4)), None),
    ):
        with faults("freed memory"):
            if error is None:
                call()
                with refused("IllegalAddress"):
                    cupy.cuda.Device().synchronize()
            else:
                with pytest.raises(Exception, match=error):
                    call()


def test_the_device_is_lost_after_a_kernel_went_astray_until_it_is_recovered():
    x = cupy.zeros(4, "float32")
    with faults("out of bounds"):
        kernel("far(float* x) { x[1ll << 31] = 1; }")((1,), (1,), (x,))
        for call in (cupy.cuda.Device().synchronize, lambda: x + 1, lambda: runtime.malloc(8)):
            with refused("IllegalAddress|ILLEGAL_ADDRESS"):
                call()
        assert emulated.recover() == 700
    assert (x + 1).get().tolist() == [1] * 4
    with faults("out of bounds"), emulated.mode("lazy"):
        kernel("far(float* x) { x[1ll << 31] = 1; }")((1,), (1,), (x,))
        x += 1  # this is not done any more
    assert x.get().tolist() == [0] * 4


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("if (threadIdx.x < 3) __syncthreads(); else __syncwarp(~0u);", "deadlocks"),
        ("x[threadIdx.x] = __shfl_xor_sync(0xffffu, x[threadIdx.x], 16);", "wrong masks"),
        ("x[threadIdx.x] = 3 / x[threadIdx.x];", "divisions by zero"),
        ("volatile int a[1 << 16]; a[0] = 1; x[0] = a[0];", "stack overflows"),
    ],
)
def test_a_kernel_that_cannot_end_well_is_found_out(body, fault):
    with faults(fault):
        kernel(f"wrong(int* x) {{ {body} }}")((1,), (32,), (cupy.zeros(32, "int32"),))


# Launches ----------------------------------------------------------------------------------------


def test_launches_keep_to_the_limits_of_the_device():
    nothing = kernel("nothing() {}")
    bound = cupy.RawKernel('extern "C" __global__ void __launch_bounds__(64) bound() {}', "bound")
    for grid, block in (((1,), (1024,)), ((1, 65535), (1,)), ((1,), (1, 1, 64)), ((1,), (16, 64))):
        nothing(grid, block, ())
    bound((1,), (64,), ())
    for grid, block in (
        ((1 << 31,), (1,)),
        ((1, 65536), (1,)),
        ((1, 1, 65536), (1,)),
        ((1,), (1025,)),
        ((1,), (1, 1, 65)),
        ((1,), (33, 32)),
    ):
        with refused("INVALID_VALUE"):
            nothing(grid, block, ())
    for none in range(6):  # CuPy itself would make it 1
        sizes = [int(n != none) for n in range(6)]
        with refused("INVALID_VALUE"):
            driver.launchKernel(nothing.kernel.ptr, *sizes, 0, 0, 0, 0)
    with refused("OUT_OF_RESOURCES"):
        bound((1,), (65,), ())
    with refused("INVALID_VALUE"):
        nothing((1,), (1,), (), shared_mem=50000)
    nothing.max_dynamic_shared_size_bytes = 50000
    nothing((1,), (1,), (), shared_mem=50000)


# Products ----------------------------------------------------------------------------------------


def test_products_by_cublas_agree_with_numpy():
    rng = np.random.default_rng(0)
    for dtype, rtol in (("float32", 1e-5), ("float64", 1e-12), ("float16", 1e-2)):
        a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((2, 5, 7), (2, 7, 3)))
        for x, y in ((a, b), (a[0], b[0]), (b[0].T, a[0].T), (a[0], a[1].T), (b[0].T, b[1])):
            ours = cupy.matmul(cupy.asarray(x), cupy.asarray(y)).get()
            np.testing.assert_allclose(ours, x @ y, rtol=rtol, atol=rtol)


def sgemm(m=4, n=4, k=4, lda=4, ldb=4, ldc=4, a=0, b=64, c=128, size=192):
    """Have cuBLAS multiply matrices that begin at these bytes of an allocation."""
    from cupy.cuda import cublas

    memory = runtime.malloc(size)
    runtime.memset(memory, 0, size)
    numbers = np.array([1, 0], "float32")
    one, nought = numbers.ctypes.data, numbers[1:].ctypes.data
    handle = cupy.cuda.get_cublas_handle()
    places = (memory + a, lda, memory + b, ldb, nought, memory + c, ldc)
    try:
        cublas.sgemm(handle, 0, 0, m, n, k, one, *places)
    finally:
        runtime.free(memory)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"size": 191}, "out of bounds"),
        ({"a": 144}, "out of bounds"),
        ({"b": -4}, "out of bounds"),
        ({"ldc": 5}, "out of bounds"),
        ({"lda": 3}, "refused products"),
        ({"m": -1}, "refused products"),
        ({"c": 60}, "refused products"),
        ({"c": 130}, "refused products"),
        ({"a": 2}, "refused products"),
    ],
)
def test_cublas_refuses_matrices_that_do_not_fit(given, fault):
    sgemm()
    with faults(fault), pytest.raises(Exception, match="INVALID_VALUE"):
        sgemm(**given)


class Lt:
    """A product of cuBLASLt, of 5 x 6 and 6 x 4 numbers, with a bias and the rectifier."""

    def __init__(self):
        from nvmath.bindings import cublasLt

        rng = np.random.default_rng(0)
        self.host = [rng.standard_normal(s).astype("f") for s in ((4, 6), (6, 5), (5,))]
        self.a, self.b, self.bias = map(cupy.asarray, self.host)
        self.lt, self.out = cublasLt, cupy.zeros((4, 5), "float32")
        self.workspace, self.handle = cupy.zeros(1 << 16, "uint8"), cublasLt.create()
        self.what = cublasLt.matmul_desc_create(68, 0)
        self.describe("EPILOGUE", 2 | 4, "int32")
        self.describe("BIAS_POINTER", self.bias.data.ptr, "int64")
        # Columns first: c' = b' a', and the bias is one of c's columns.
        shapes = (5, 6, 5), (6, 4, 6), (5, 4, 5)
        self.layouts = [cublasLt.matrix_layout_create(0, *shape) for shape in shapes]

    def describe(self, name, value, dtype):
        cell = np.array([value], dtype)
        attribute = getattr(self.lt.MatmulDescAttribute, name)
        self.lt.matmul_desc_set_attribute(self.what, attribute, cell.ctypes.data, cell.nbytes)

    def find(self):
        lt, (a, b, c) = self.lt, self.layouts
        preference, count = lt.matmul_preference_create(), np.zeros(1, "int32")
        attribute, size = lt.MatmulPreferenceAttribute.MAX_WORKSPACE_BYTES, np.array([1 << 16])
        lt.matmul_preference_set_attribute(preference, attribute, size.ctypes.data, 8)
        found = np.zeros(1, lt.matmul_heuristic_result_dtype)
        lt.matmul_algo_get_heuristic(
            self.handle, self.what, a, b, c, c, preference, 1, found.ctypes.data, count.ctypes.data
        )
        return np.ascontiguousarray(found["algo"])

    def run(self, algorithm, workspace=None, nbytes=1 << 16, stream=None):
        one, nought = np.ones(1, "float32"), np.zeros(1, "float32")
        a, b, c = self.layouts
        out, workspace = self.out.data.ptr, workspace or self.workspace.data.ptr
        self.lt.matmul(
            self.handle, self.what, one.ctypes.data, self.b.data.ptr, a, self.a.data.ptr, b,
            nought.ctypes.data, out, c, out, c, algorithm.ctypes.data, workspace, nbytes,
            (stream or cupy.cuda.get_current_stream()).ptr,
        )  # fmt: skip


def test_a_product_by_cublaslt_has_a_bias_and_a_rectifier():
    product = Lt()
    product.run(product.find())
    a, b, bias = product.host
    np.testing.assert_allclose(product.out.get(), np.maximum(a @ b + bias, 0), rtol=1e-5, atol=1e-6)


def test_cublaslt_refuses_what_does_not_fit():
    product = Lt()
    algorithm, workspace = product.find(), product.workspace.data.ptr
    for fault, wrong in (
        ("refused products", lambda: product.run(np.zeros_like(algorithm))),
        ("refused products", lambda: product.run(algorithm, nbytes=8)),
        ("refused products", lambda: product.run(algorithm, workspace + 4)),
        ("host memory", lambda: product.run(algorithm, HOST.ctypes.data // 16 * 16)),
    ):
        with faults(fault), pytest.raises(product.lt.cuBLASLtError, match="INVALID_VALUE"):
            wrong()
    for fault, bias in (
        ("refused products", product.bias.data.ptr + 4),
        ("host memory", HOST.ctypes.data // 16 * 16),
    ):
        product.describe("BIAS_POINTER", bias, "int64")
        with faults(fault), pytest.raises(product.lt.cuBLASLtError, match="INVALID_VALUE"):
            product.run(algorithm)
    product.describe("EPILOGUE", 1, "int32")  # another problem than the algorithm was found for
    with faults("refused products"), pytest.raises(product.lt.cuBLASLtError, match="INVALID_VALUE"):
        product.run(algorithm)
    product.run(product.find())


def test_what_is_not_emulated_says_so():
    with faults("not emulated"), pytest.raises(runtime.CUDARuntimeError, match="NotSupported"):
        runtime.mallocManaged(8)
