"""Races and accesses astray, planted to be found; test_device.py runs these with EMU_RACE=1."""

import threading

import cupy
import emulated
import numpy as np
import pytest
from checking import ADD, COPY, clean, faults, kernel
from cupy.cuda import runtime

__all__ = ["clean"]  # a fixture


def zeros(size, dtype="float32"):
    return cupy.zeros(size, dtype)


# Threads of a launch -----------------------------------------------------------------------------

BLOCK = """neighbour(float* x) {
    __shared__ float cells[64];
    cells[threadIdx.x] = x[threadIdx.x];
    SYNC
    x[threadIdx.x] = cells[(threadIdx.x + 33) % 64];
}"""
WARP = BLOCK.replace("64", "32")
# Threads 0 to 3 of each block leave a partial sum; the block that ends last adds them all up.
LAST = """last(const float* x, float* partial, float* total, unsigned* counter) {
    __shared__ bool is_last;
    int i = blockIdx.x * 4 + threadIdx.x;
    if (threadIdx.x < 4) partial[i] = x[i];
    ALL
    if (threadIdx.x == 0) {
        ONE
        is_last = atomicAdd(counter, 1u) == gridDim.x - 1;
        if (is_last) *counter = 0;
    }
    __syncthreads();
    if (is_last && threadIdx.x == 0) {
        __threadfence();
        *total = 0;
        for (int n = 0; n < 4 * gridDim.x; ++n) *total += partial[n];
    }
}"""
COUNT = """count(const int* x, int* y) {
    __shared__ int counts[4];
    if (threadIdx.x < 4) counts[threadIdx.x] = 0;
    FIRST
    atomicAdd(&counts[x[threadIdx.x] % 4], 1);
    SECOND
    if (threadIdx.x < 4) atomicAdd(&y[threadIdx.x], counts[threadIdx.x]);
}"""
ROWS = """rows(float* x, int other) {
    int i = blockIdx.x * 32 + threadIdx.x;
    float v = x[(i + other) % (gridDim.x * 32)];
    x[i] = v + 1;
}"""
HALVES = """halves(float* x) {
    int lane = threadIdx.x;
    if (lane < 16) { x[lane] += 1; __syncwarp(0xffffu); x[15 - lane] += 1; }
    else { __syncwarp(0xffff0000u); x[MIRROR - lane] += 1; }
}"""
BYTES = "bytes(unsigned char* x, int n) { x[threadIdx.x / n] = 1; }"
MIXED = "mixed(unsigned char* x, int n) { if (threadIdx.x) x[n] = 1; else *(int*)x = 5; }"

SYNC, FENCE = "__syncthreads();", "__threadfence();"


def filled(source, **given):
    for name, text in given.items():
        source = source.replace(name, text)
    return source


def last(everyone="", one=""):
    arguments = (cupy.ones(12, "float32"), zeros(12), zeros(1), zeros(1, "uint32"))
    return filled(LAST, ALL=everyone, ONE=one), (3,), (64,), arguments


def count(first="", second=""):
    arguments = (cupy.arange(64, dtype="int32"), zeros(4, "int32"))
    return filled(COUNT, FIRST=first, SECOND=second), (3,), (64,), arguments


def warp(sync):
    return filled(WARP, SYNC=sync), (1,), (32,), (zeros(32),)


RACY = {
    "no barrier": lambda: (filled(BLOCK, SYNC=""), (1,), (64,), (zeros(64),)),
    "a warp's barrier for a block": lambda: (
        filled(BLOCK, SYNC="__syncwarp();"), (1,), (64,), (zeros(64),),
    ),
    "no barrier of a warp": lambda: warp(""),
    "a shuffle for a warp's barrier": lambda: warp("__shfl_xor_sync(~0u, 1, 1);"),
    "a barrier of the wrong half": lambda: (
        filled(HALVES, MIRROR="31"), (1,), (32,), (zeros(32),),
    ),
    "two blocks, one cell": lambda: (
        "two(float* x) { if (threadIdx.x == 0) *x = 1; }", (2,), (32,), (zeros(1),),
    ),
    "a row that another block overwrites": lambda: (
        ROWS, (4,), (32,), (zeros(128), np.int32(32)),
    ),
    "no fence": lambda: last(SYNC),
    "a fence without a barrier": lambda: last(FENCE),
    "a fence of another thread": lambda: last(SYNC + "if (threadIdx.x == 9) __threadfence();"),
    "a fence behind the atomic operation": lambda: last(
        SYNC + "if (threadIdx.x == 1) { atomicAdd(counter, 0u); __threadfence(); }"
    ),
    "no barrier before atomic operations": lambda: count("", SYNC),
    "no barrier after atomic operations": lambda: count(SYNC, ""),
    "two threads, one byte": lambda: (
        BYTES, (1,), (64,), (zeros(64, "uint8"), np.int32(2)),
    ),
    "a byte of another's word": lambda: (
        MIXED, (1,), (2,), (zeros(8, "uint8"), np.int32(3)),
    ),
}  # fmt: skip
CLEAN = {
    "a barrier": lambda: (filled(BLOCK, SYNC=SYNC), (1,), (64,), (zeros(64),)),
    "a barrier of a warp": lambda: warp("__syncwarp();"),
    "a barrier of each half": lambda: (
        filled(HALVES, MIRROR="32 + 15"), (1,), (32,), (zeros(32),),
    ),
    "a row of one's own": lambda: (ROWS, (4,), (32,), (zeros(128), np.int32(0))),
    "fences, then a barrier": lambda: last(FENCE + SYNC),
    "a barrier, then a fence": lambda: last(SYNC, FENCE),
    "a fence of another thread between barriers": lambda: last(
        SYNC + "if (threadIdx.x == 9) __threadfence();" + SYNC
    ),
    "atomic operations between barriers": lambda: count(SYNC, SYNC),
    "a byte for each thread": lambda: (
        BYTES, (1,), (64,), (zeros(64, "uint8"), np.int32(1)),
    ),
    "a byte of another word": lambda: (
        MIXED, (1,), (2,), (zeros(8, "uint8"), np.int32(4)),
    ),
    "threads that end early": lambda: (
        "early(float* x) { if (threadIdx.x > 9) return; __syncthreads(); x[threadIdx.x] = 1; }",
        (1,), (64,), (zeros(64),),
    ),
    "blocks that add to one cell": lambda: (
        "sum(float* x) { atomicAdd(x, 1.0f); }", (5,), (64,), (zeros(1),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", RACY)
def test_a_planted_race_is_found(name, shuffle):
    source, grid, block, arguments = RACY[name]()
    with faults("races"), emulated.mode(shuffle=shuffle):
        kernel(source)(grid, block, arguments)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_kernel_is_not_complained_of(name, shuffle):
    source, grid, block, arguments = CLEAN[name]()
    with faults(), emulated.mode(shuffle=shuffle):
        for _ in range(3):
            kernel(source)(grid, block, arguments)


def test_modules_keep_their_shared_arrays_apart():
    mirrored = """template <typename T> __device__ T mirrored(T v) {
        __shared__ T cells[64];
        cells[threadIdx.x] = v;
        __syncthreads();
        return cells[63 - threadIdx.x];
    }"""
    x = cupy.arange(64, dtype="float32")
    with faults():
        for name in "ab":
            source = f"{name}(float* x) {{ x[threadIdx.x] = mirrored(x[threadIdx.x]); }}"
            kernel(source, mirrored)((1,), (64,), (x,))
    assert x.get().tolist() == list(range(64))


def test_cupy_s_own_kernels_are_not_complained_of():
    with faults():
        x = cupy.arange(1000, dtype="float32").reshape(10, 100)
        x.sum(axis=0), x.sum(), x.argmax(axis=1), cupy.cumsum(x), cupy.nonzero(x % 7 == 0)
        cupy.sort(x[::-1].ravel()).get(), (x > 3).any()
        for dtype in ("int32", "float16", "float64"):
            cupy.add.at(zeros(4, dtype), cupy.array([1, 1, 2, 3] * 100), 1)


# Memory ------------------------------------------------------------------------------------------

AT = "at(float* x, long long i, int writes) { if (writes) x[i] = 1; else x[0] = x[i]; }"


@pytest.mark.parametrize("writes", [0, 1])
@pytest.mark.parametrize("place", [-10_000, -1, 0, 9, 10, 10_000])
def test_an_access_out_of_bounds_is_found_on_both_sides(place, writes):
    with faults(*["out of bounds"] * (not 0 <= place < 10)):
        kernel(AT)((1,), (1,), (zeros(10), np.int64(place), np.int32(writes)))


@pytest.mark.parametrize(("ctype", "dtype"), [("float", "float32"), ("double", "float64")])
@pytest.mark.parametrize("start", [0, 1, 2, 4])
def test_a_misaligned_vector_is_found(start, ctype, dtype):
    before = f"struct alignas(16) Pack {{ {ctype} v[4]; }};"
    source = f"pack({ctype}* x) {{ Pack p = *(Pack*)x; *(Pack*)x = p; }}"
    x = zeros(16, dtype)
    with faults(*["misaligned"] * (start * x.itemsize % 16 > 0)):
        kernel(source, before)((1,), (1,), (x[start:],))


def test_memory_that_is_not_a_kernel_s_is_found():
    pageable, pinned = zeros(4).get(), cupy.cuda.alloc_pinned_memory(16)
    freed = zeros(4).data.ptr
    shared = "shared(float* x) { extern __shared__ float s[]; s[threadIdx.x] = *x; }"
    for fault, source, x, options in (
        ("host memory", ADD, pageable.ctypes.data, {}),
        ("host memory", ADD, pinned.ptr, {}),
        ("freed memory", ADD, freed, {}),
        ("uninitialised", ADD, cupy.empty(4, "float32"), {}),
        ("out of bounds", shared, zeros(4), {"shared_mem": 12}),
    ):
        with faults(fault):
            kernel(source)((1,), (4 if options else 1,), (x, 4)[: 1 if options else 2], **options)
    with faults():
        kernel(shared)((1,), (4,), (zeros(4),), shared_mem=16)


# Streams -----------------------------------------------------------------------------------------


class Two:
    """Two streams, and memory that both work on."""

    def __init__(self, non_blocking=True):
        self.a, self.b = (cupy.cuda.Stream(non_blocking=non_blocking) for _ in "ab")
        self.x, self.add, self.event = zeros(4), kernel(ADD), cupy.cuda.Event()
        self.null = cupy.cuda.Stream.null
        runtime.deviceSynchronize()

    def work(self, stream, count=4, x=None):
        with stream:
            self.add((1,), (1,), (self.x if x is None else x, count))

    def copy(self, stream, start=0):
        y = cupy.empty_like(self.x)
        at = self.x.data.ptr + start
        runtime.memcpyAsync(y.data.ptr, at, 16 - start, COPY["d2d"], stream.ptr)

    def graph(self, fill=None):
        """Return a graph of two branches; `fill` begins at a byte of the memory."""
        events = cupy.cuda.Event(), cupy.cuda.Event()
        self.a.begin_capture()
        events[0].record(self.a)
        self.b.wait_event(events[0])
        self.work(self.a, 2)
        runtime.memsetAsync(self.x.data.ptr + fill, 0, 4, self.b.ptr)
        events[1].record(self.b)
        self.a.wait_event(events[1])
        return self.a.end_capture()


def follows_an_event(t):
    t.work(t.a)
    t.event.record(t.a)
    t.b.wait_event(t.event)
    t.work(t.b)


def follows_an_earlier_event(t):
    t.event.record(t.a)
    t.work(t.a)
    t.b.wait_event(t.event)
    t.work(t.b)


def waits_between(wait):
    def run(t):
        t.work(t.a)
        wait(t)
        t.work(t.b)

    return run


def product(t, workspaces):
    x, y = zeros((4, 4)), zeros((4, 4))
    runtime.deviceSynchronize()
    with t.a:
        cupy.matmul(x, x, out=y)
    with t.b:
        if workspaces:
            y.copy()
        else:
            x.copy()


def launches(*streams, fill=12, wait=False):
    def run(t):
        graph = t.graph(fill)
        for stream in streams:
            graph.launch(getattr(t, stream))
        if wait:
            t.a.synchronize()
        t.work(t.b)

    return run


def pooled(t, waits):
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        for stream in (t.a, t.b, t.a, t.b) * 3:
            with stream:
                y = cupy.arange(100, dtype="float32")
                y += 1
                y = y * y  # what it was goes back to the pool of its stream
        if not waits:
            with t.b:
                z = y + 1  # of b, used by a, and given to another array of b's
                t.event.record()
            t.a.wait_event(t.event)
            t.work(t.a, x=z)
            del z
            with t.b:
                cupy.ones(100, "float32")


STREAM_RACES = {
    "two kernels": lambda t: (t.work(t.a), t.work(t.b)),
    "an event that was recorded before": follows_an_earlier_event,
    "a stream that does not block and the legacy one": lambda t: (t.work(t.null), t.work(t.a)),
    "a kernel and a copy": lambda t: (t.work(t.a), t.copy(t.b)),
    "a copy and a kernel": lambda t: (t.copy(t.a), t.work(t.b)),
    "waiting for the other": waits_between(lambda t: t.b.synchronize()),
    "a product and a copy": lambda t: product(t, True),
    "a graph and a kernel": launches("a"),
    "branches of a graph": launches(fill=4),
    "memory of another stream's that went back to the pool": lambda t: pooled(t, False),
}
ORDERED = {
    "one stream": lambda t: (t.work(t.a), t.copy(t.a), t.work(t.a)),
    "other memory": lambda t: (t.work(t.a, 2), t.copy(t.b, 8)),
    "two readers": lambda t: (t.copy(t.a), t.copy(t.b)),
    "an event": follows_an_event,
    "waiting for the stream": waits_between(lambda t: t.a.synchronize()),
    "waiting for the device": waits_between(lambda t: runtime.deviceSynchronize()),
    "asking for the stream": waits_between(lambda t: t.a.done),
    "waiting for an event": waits_between(lambda t: (t.event.record(t.a), t.event.synchronize())),
    "asking for an event": waits_between(lambda t: (t.event.record(t.a), t.event.done)),
    "waiting for a copy": waits_between(lambda t: t.x.get(stream=t.a)),
    "a product and a reader": lambda t: product(t, False),
    "a graph that is waited for": launches("a", wait=True),
    "a graph on two streams": launches("a", "b"),
    "pools of two streams": lambda t: pooled(t, True),
}


@pytest.mark.parametrize("mode", emulated.mode.NAMES)
@pytest.mark.parametrize("name", STREAM_RACES)
def test_what_no_event_orders_is_found(name, mode):
    two = Two()
    with faults("stream races"), emulated.mode(mode):
        STREAM_RACES[name](two)
        if name == "branches of a graph":
            two.graph(4).launch(two.a)


@pytest.mark.parametrize("name", ORDERED)
def test_what_is_ordered_is_not_complained_of(name):
    two = Two()
    with faults():
        ORDERED[name](two)


def test_blocking_streams_wait_for_the_legacy_stream_and_it_for_them():
    two = Two(non_blocking=False)
    with faults():
        two.work(two.a)
        two.work(two.null)
        two.work(two.b)
    with faults("stream races"):
        two.work(two.a)
        two.work(two.b)


def test_two_threads_are_ordered_as_one():
    two = Two()

    def work():
        two.work(two.a)
        two.a.synchronize()

    with faults():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        two.work(two.b)


def test_copies_of_pinned_memory_race_as_others_do():
    two, pinned = Two(), cupy.cuda.alloc_pinned_memory(16)
    with faults("stream races"):
        runtime.memcpyAsync(two.x.data.ptr, pinned.ptr, 16, COPY["h2d"], two.a.ptr)
        runtime.memcpyAsync(two.x.data.ptr, pinned.ptr, 16, COPY["h2d"], two.b.ptr)
