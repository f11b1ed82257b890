"""A stand-in for CuPy and for a GPU: kernels are compiled by g++ and run thread by thread.

``installed(monkeypatch)`` puts it where ``import cupy`` finds it. Its arrays are NumPy arrays; a
kernel's CUDA C is compiled with a small header that says what a block, a barrier and a shuffle are,
and runs over its whole grid, the threads of a block taking turns at each barrier. Streams record
what is launched while they are captured, and graphs repeat it. What would be a transfer to the
host, or would wait for the device, is counted.
"""

import ctypes
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import array_api_compat
import array_api_compat.numpy as real
import numpy as np

COMPILER = shutil.which("g++")

HEADER = r"""
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(n)
#define __shared__ static
struct Place { unsigned x, y, z; };
static Place threadIdx, blockIdx, blockDim, gridDim;

// A block's threads, each with a stack of its own, take turns: whoever comes to a barrier waits.
struct Thread { jmp_buf at; ucontext_t start; bool begun, done; char cell[16]; };
static const size_t STACK = 1 << 16;
static Thread* threads; static char* stacks;
static unsigned count, current, alive;
static ucontext_t ground; static jmp_buf grounded;
static void (*body)(void**); static void** arguments;
static unsigned arrived[40], round_of[40], members[40];

static void enter(unsigned next) {
    current = next;
    threadIdx = {next % blockDim.x, next / blockDim.x, 0};
    Thread& t = threads[next];
    if (t.begun) _longjmp(t.at, 1);
    t.begun = true;
    setcontext(&t.start);
}
static void give_way() {
    unsigned self = current, next = self;
    do next = (next + 1) % count; while (threads[next].done);
    if (next == self) return;
    if (!_setjmp(threads[self].at)) enter(next);
}
static void barrier(unsigned group) {
    unsigned mine = round_of[group];
    if (++arrived[group] == members[group]) { arrived[group] = 0; ++round_of[group]; return; }
    while (round_of[group] == mine) give_way();
}
static void run_thread() {
    body(arguments);
    threads[current].done = true;
    if (--alive == 0) _longjmp(grounded, 1);
    give_way();
}
static void run_block(bool together) {
    if (!together) {
        for (unsigned y = 0; y < blockDim.y; ++y)
            for (unsigned x = 0; x < blockDim.x; ++x) { threadIdx = {x, y, 0}; body(arguments); }
        return;
    }
    memset(arrived, 0, sizeof arrived); memset(members, 0, sizeof members);
    alive = count; members[0] = count;
    for (unsigned n = 0; n < count; ++n) {
        Thread& t = threads[n];
        ++members[1 + n / 32];
        t.begun = t.done = false;
        getcontext(&t.start);
        t.start.uc_stack.ss_sp = stacks + n * STACK; t.start.uc_stack.ss_size = STACK;
        t.start.uc_link = 0;
        makecontext(&t.start, run_thread, 0);
    }
    if (!_setjmp(grounded)) enter(0);
}
static void run_grid(void (*kernel)(void**), void** given, const unsigned* size, bool together) {
    body = kernel; arguments = given;
    gridDim = {size[0], size[1], 1}; blockDim = {size[2], size[3], 1};
    count = blockDim.x * blockDim.y;
    if (together) {
        threads = (Thread*)malloc(count * sizeof(Thread)); stacks = (char*)malloc(count * STACK);
    }
    for (unsigned y = 0; y < gridDim.y; ++y)
        for (unsigned x = 0; x < gridDim.x; ++x) { blockIdx = {x, y, 0}; run_block(together); }
    if (together) { free(threads); free(stacks); }
}
static void __syncthreads() { barrier(0); }
static void __syncwarp() { barrier(1 + current / 32); }
static void __threadfence() {}
static double __longlong_as_double(long long v) { double d; memcpy(&d, &v, 8); return d; }
static unsigned atomicAdd(unsigned* p, unsigned v) { unsigned old = *p; *p += v; return old; }
template <typename T> static T __shfl_xor_sync(unsigned mask, T v, int step, int width) {
    memcpy(threads[current].cell, &v, sizeof v);
    __syncwarp();
    T other;
    memcpy(&other, threads[current ^ step].cell, sizeof other);
    __syncwarp();
    return other;
}
"""

FLAGS = [COMPILER, "-O0", "-std=c++17", "-w", "-fPIC"]
folder = Path(tempfile.mkdtemp(prefix="npnn-stand-in-"))
counts = Counter()  # launches, graphs, transfers, waits, since the test began
launched = []  # the name of each kernel, or product, that ran


class CUDARuntimeError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


home = 0  # the device that all arrays are on


class ndarray(np.ndarray):
    """An array on the device."""

    device = property(lambda self: cuda.Device(home))
    data = property(lambda self: Memory(self.__array_interface__["data"][0]))

    def __array_function__(self, function, types, args, options):
        return on_device(super().__array_function__(function, types, args, options))

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return array.view(ndarray)  # what has no axes is an array too

    def __getitem__(self, key):
        return on_device(super().__getitem__(key))

    def get(self):
        counts["transfers"] += 1
        return np.array(self)

    def _look(self, convert):
        counts["transfers"] += 1
        return convert(np.asarray(self)[()])

    __float__ = lambda self: self._look(float)  # noqa: E731
    __bool__ = lambda self: self._look(bool)  # noqa: E731
    __int__ = lambda self: self._look(int)  # noqa: E731
    item = lambda self: self._look(lambda x: x.item())  # noqa: E731


class Memory:
    def __init__(self, ptr, owner=None):
        self.ptr, self.owner = ptr, owner

    def copy_from_host_async(self, source, nbytes, stream):
        counts["copies"] += 1
        counts[f"on device {Device.entered[-1]}"] += 1
        stream.later.append(lambda: ctypes.memmove(self.ptr, source, nbytes))


def on_device(x):
    """Return a result as an array on the device, if it is numbers."""
    return np.asarray(x).view(ndarray) if isinstance(x, np.ndarray | np.generic) else x


# Kernels -----------------------------------------------------------------------------------------


class RawModule:
    def __init__(self, code, options=()):
        self.code = code
        self.library = None

    def get_function(self, name):
        if self.library is None:
            self.library = compiled(self.code)
        run = getattr(self.library, f"run_{name}")
        return lambda grid, block, arguments: put(Kernel(name, run, grid, block, arguments))


class Kernel:
    def __init__(self, name, run, grid, block, arguments):
        assert np.prod(block) % 32 == 0
        assert np.prod(block) <= 1024
        assert max(grid[1:], default=1) < 1 << 16
        self.name, self.run = name, run
        self.sizes = (ctypes.c_uint * 4)(*(*grid, 1)[:2], *(*block, 1)[:2])
        # As CuPy does: an int is an int64, a float is a double.
        cells = [
            ctypes.c_double(a) if isinstance(a, float) else ctypes.c_int64(a) for a in arguments
        ]
        self.cells = cells
        self.pointers = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(c) for c in cells))

    def __call__(self):
        launched.append(self.name)
        counts["launches"] += 1
        self.run(self.pointers, self.sizes)


def compiled(code):
    """Return the library of some kernels' source."""
    path = folder / f"{hashlib.sha256(code.encode()).hexdigest()[:24]}.so"
    if not path.exists():
        header, source = folder / "gpu.h", path.with_suffix(".cpp")
        if not header.exists():
            header.write_text(HEADER)
            subprocess.run([*FLAGS, "-x", "c++-header", header], check=True)
        source.write_text('#include "gpu.h"\n' + code + "".join(_entries(code)))
        subprocess.run([*FLAGS, "-shared", "-o", path, source], check=True)
    return ctypes.CDLL(str(path))


def _entries(code):
    for kernel in code.split('extern "C" __global__ void ')[1:]:
        head, text = kernel.split("\n", 1)
        name, parameters = re.search(r" (\w+)\((.*)\) \{", head).groups()
        types = [p.rpartition(" ")[0] for p in parameters.split(", ")] if parameters else []
        given = ", ".join(f"*({t}*)a[{n}]" for n, t in enumerate(types))
        together = "true" if re.search(r"sync|team_|block_|comes_last", text) else "false"
        yield f"static void call_{name}(void** a) {{ {name}({given}); }}\n"
        yield (
            f'extern "C" void run_{name}(void** a, unsigned* s) '
            f"{{ run_grid(call_{name}, a, s, {together}); }}\n"
        )


# Streams and graphs ------------------------------------------------------------------------------


class Stream:
    def __init__(self, non_blocking=False, null=False):
        self.ptr, self.recorded = (0 if null else id(self)), None
        self.later = []  # copies, each put off for as long as nobody waits for it

    def __enter__(self):
        streams.append(self)
        return self

    def __exit__(self, *error):
        streams.pop()

    def begin_capture(self):
        assert self.ptr, "cannot capture on the default (legacy) stream"
        self.recorded = []

    def end_capture(self):
        graph, self.recorded = Graph(self.recorded), None
        return graph

    def is_capturing(self):
        return self.recorded is not None

    def synchronize(self):
        counts["waits"] += 1
        while self.later:
            self.later.pop(0)()

    def wait_event(self, event):
        event.happen()


class Graph:
    def __init__(self, calls):
        self.calls = calls

    def launch(self, stream=None):
        counts["graphs"] += 1
        for call in self.calls:
            call()


class Event:
    def __init__(self, **options):
        self.before, self.awaited = [], True

    def record(self, stream=None):
        stream = stream or streams[-1]
        if stream.later:
            assert self.awaited, "the host has written over what may still be copied"
            self.awaited = False
        self.before, stream.later = stream.later, []

    def happen(self):
        while self.before:
            self.before.pop(0)()

    def synchronize(self):
        counts["waits"] += 1
        self.awaited = True
        self.happen()


streams = [Stream(null=True)]


def put(call):
    """Put a call on the current stream: it is done at once, or recorded."""
    stream = streams[-1]
    counts[f"on device {Device.entered[-1]}"] += 1
    if stream.recorded is None:
        call()
    else:
        stream.recorded.append(call)


# Products ----------------------------------------------------------------------------------------


def matrices(address, rows, columns, step, between, count, dtype):
    """Return an array over matrices that lie column by column, as BLAS sees them."""
    size = np.dtype(dtype).itemsize
    reach = (count - 1) * between + (columns - 1) * step + rows
    memory = np.ctypeslib.as_array((ctypes.c_byte * (reach * size)).from_address(address))
    assert step >= rows
    return np.ndarray((count, rows, columns), dtype, memory, 0, (between * size, size, step * size))


DATA = {0: np.float32, 1: np.float64}
COMPUTED = {68: 23, 70: 52, 74: 10, 75: 7, 77: 10}  # bits of a mantissa, by cublasComputeType_t


def rounded(x, compute):
    """Return the factor of a product as tensor cores see it."""
    if compute == 74:
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float32)
    lost = 23 - COMPUTED[compute]
    if lost <= 0:
        return x
    bits = np.ascontiguousarray(x).view(np.int32)
    return ((bits + (1 << lost - 1)) >> lost << lost).view(np.float32)


def gemm(
    handle, trans_a, trans_b, m, n, k, alpha, a, type_a, lda, stride_a, b, type_b, ldb, stride_b,
    beta, c, type_c, ldc, stride_c, count, compute, algorithm,
):  # fmt: skip
    if streams[-1].is_capturing():
        raise NotImplementedError("calling cuBLAS API during stream capture is not supported")
    dtype = DATA[type_a]
    first = matrices(a, *((k, m) if trans_a else (m, k)), lda, stride_a, count, dtype)
    second = matrices(b, *((n, k) if trans_b else (k, n)), ldb, stride_b, count, dtype)
    out = matrices(c, m, n, ldc, stride_c, count, dtype)
    launched.append("product")
    counts["launches"] += 1
    counts[f"computed as {compute}"] += 1
    first, second = first.mT if trans_a else first, second.mT if trans_b else second
    with np.errstate(invalid="ignore"):
        out[...] = rounded(first, compute) @ rounded(second, compute)


class CublasLt:
    """What is used of nvmath.bindings.cublasLt."""

    matmul_heuristic_result_dtype = np.dtype([("algo", [("data_", "<u8", (8,))]), ("state", "<i4")])
    MatmulDescAttribute = SimpleNamespace(TRANSA=3, TRANSB=4, EPILOGUE=7, BIAS_POINTER=8)
    MatrixLayoutAttribute = SimpleNamespace(BATCH_COUNT=5, STRIDED_BATCH_OFFSET=6)
    MatmulPreferenceAttribute = SimpleNamespace(
        MAX_WORKSPACE_BYTES=1, MIN_ALIGNMENT_A_BYTES=5, MIN_ALIGNMENT_B_BYTES=6,
        MIN_ALIGNMENT_C_BYTES=7, MIN_ALIGNMENT_D_BYTES=8,
    )  # fmt: skip

    cuBLASLtError = type("cuBLASLtError", (Exception,), {})

    def __init__(self):
        self.things = {}

    def _new(self, *content):
        number = len(self.things) + 1
        self.things[number] = {"made": content}
        return number

    def create(self):
        return self._new()

    def matmul_desc_create(self, compute, scale):
        return self._new(compute, scale)

    def matrix_layout_create(self, kind, rows, columns, step):
        return self._new(kind, rows, columns, step)

    def matmul_preference_create(self):
        return self._new()

    def get_matmul_desc_attribute_dtype(self, attribute):
        return {3: np.int32, 4: np.int32, 7: np.uint32, 8: np.int64}[attribute]

    def get_matrix_layout_attribute_dtype(self, attribute):
        return {5: np.int32, 6: np.int64}[attribute]

    def get_matmul_preference_attribute_dtype(self, attribute):
        return np.uint64 if attribute == 1 else np.uint32

    def _set(self, dtype, thing, attribute, buffer, size):
        assert np.dtype(dtype).itemsize == size
        value = np.frombuffer(ctypes.string_at(buffer, size), dtype)[0]
        self.things[thing][attribute] = int(value)

    def matmul_desc_set_attribute(self, thing, attribute, buffer, size):
        dtype = self.get_matmul_desc_attribute_dtype(attribute)
        self._set(dtype, thing, attribute, buffer, size)

    def matrix_layout_set_attribute(self, thing, attribute, buffer, size):
        dtype = self.get_matrix_layout_attribute_dtype(attribute)
        self._set(dtype, thing, attribute, buffer, size)

    def matmul_preference_set_attribute(self, thing, attribute, buffer, size):
        dtype = self.get_matmul_preference_attribute_dtype(attribute)
        self._set(dtype, thing, attribute, buffer, size)

    def matmul_algo_get_heuristic(
        self, handle, operation, a, b, c, d, preference, wanted, results, count
    ):
        self.things[operation]["aligned"] = self.things[preference]
        ctypes.memmove(count, ctypes.byref(ctypes.c_int(1)), 4)

    def matmul(
        self, handle, operation, alpha, a, layout_a, b, layout_b, beta, c, layout_c, d, layout_d,
        algorithm, workspace, workspace_size, stream,
    ):  # fmt: skip
        assert stream == streams[-1].ptr
        assert (c, layout_c) == (d, layout_d)
        put(lambda: self._multiply(operation, a, layout_a, b, layout_b, d, layout_d))

    def _multiply(self, operation, a, layout_a, b, layout_b, d, layout_d):
        described = self.things[operation]
        launched.append("product")
        counts["launches"] += 1
        counts[f"computed as {described['made'][0]}"] += 1
        first, second, out = (
            self._matrices(*pair) for pair in ((a, layout_a), (b, layout_b), (d, layout_d))
        )
        for address, attribute in ((a, 5), (b, 6), (d, 7), (d, 8)):
            assert address % described["aligned"][attribute] == 0
        first = first.mT if described[3] else first
        second = second.mT if described[4] else second
        compute = described["made"][0]
        with np.errstate(invalid="ignore"):
            result = rounded(first, compute) @ rounded(second, compute)
        epilogue = described.get(7, 1)
        if epilogue & 4:
            assert described[8] % 16 == 0, "a bias that some cards cannot read"
            bias = matrices(described[8], result.shape[-2], 1, result.shape[-2], 0, 1, out.dtype)
            result = result + bias
        out[...] = np.fmax(result, 0) if epilogue & 2 else result  # of NaN, cuBLASLt makes 0

    def _matrices(self, address, layout):
        kind, rows, columns, step = self.things[layout]["made"]
        between, count = self.things[layout][6], self.things[layout][5]
        return matrices(address, rows, columns, step, between, count, DATA[kind])

    def matmul_desc_destroy(self, thing):
        del self.things[thing]["made"]

    matrix_layout_destroy = matmul_preference_destroy = matmul_desc_destroy


# The module --------------------------------------------------------------------------------------


class Device:
    entered: ClassVar = [0]

    def __init__(self, number=0):
        self.id = number

    def __enter__(self):
        self.entered.append(self.id)
        return self

    def __exit__(self, *error):
        assert self.entered.pop() == self.id

    def __eq__(self, other):
        # NumPy's functions, which do the work of CuPy's here, know no other device.
        return other == "cpu" if isinstance(other, str) else self.id == other.id

    def __hash__(self):
        return self.id

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    def synchronize(self):
        counts["waits"] += 1

    @property
    def mem_info(self):
        return memory.free, memory.total


memory = SimpleNamespace(free=1 << 40, total=1 << 40)


def alloc(nbytes):
    if nbytes > memory.free:
        raise OutOfMemoryError(f"Out of memory allocating {nbytes:,} bytes")
    return unlimited(nbytes)


def unlimited(nbytes):
    # What nobody has written to is full of NaN, and starts where the device's memory would.
    whole = np.full(nbytes + 256, 255, np.uint8)
    start = -whole.__array_interface__["data"][0] % 256
    return Memory(whole[start:].__array_interface__["data"][0], whole)


cuda = SimpleNamespace(
    runtime=SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: 1,
        getDevice=lambda: 0,
    ),
    Device=Device,
    Stream=Stream,
    Event=Event,
    alloc=alloc,
    alloc_pinned_memory=bytearray,
    memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    get_current_stream=lambda: streams[-1],
    get_cublas_handle=lambda: 1,
    cublas=SimpleNamespace(gemmStridedBatchedEx=lambda *a: gemm(*a)),
)


def asnumpy(x):
    counts["transfers"] += 1
    return np.array(x)


def module():
    """Return the stand-in as the module that ``import cupy`` gives."""
    cupy = ModuleType("cupy")
    cupy.ndarray, cupy.cuda, cupy.RawModule = ndarray, cuda, RawModule
    cupy.asnumpy = asnumpy
    cupy.get_default_memory_pool = lambda: SimpleNamespace(free_bytes=lambda: 0)
    cupy.asarray = lambda x, dtype=None: on_device(np.asarray(x, dtype))
    cupy.ascontiguousarray = lambda x: on_device(np.ascontiguousarray(x))
    cupy.empty = lambda shape, dtype: on_device(np.empty(shape, dtype))
    cupy.zeros = lambda shape, dtype: on_device(np.zeros(shape, dtype))
    return cupy


class Namespace(ModuleType):
    """The Array API namespace: NumPy's, its results on the device."""

    def __getattr__(self, name):
        function = getattr(real, name)
        if isinstance(function, type) or not callable(function):
            return function

        def call(*args, **options):
            options.pop("device", None)
            if name not in ("reshape", "isdtype"):
                counts[f"on device {Device.entered[-1]}"] += 1
            return on_device(function(*args, **options))

        return call


def not_installed(name):
    raise ImportError(name)


def installed(monkeypatch, lt=True):
    """Make ``import cupy`` find the stand-in, and cuBLASLt beside it if asked for."""
    namespace = Namespace("array_api_compat.cupy")
    monkeypatch.setitem(sys.modules, "cupy", module())
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", namespace)
    monkeypatch.setattr(array_api_compat, "cupy", namespace, raising=False)
    bindings = ModuleType("nvmath.bindings")
    if lt:
        bindings.cublasLt = CublasLt()
    else:
        bindings.__getattr__ = not_installed
    monkeypatch.setitem(sys.modules, "nvmath", ModuleType("nvmath"))
    monkeypatch.setitem(sys.modules, "nvmath.bindings", bindings)
    counts.clear()
    launched.clear()
