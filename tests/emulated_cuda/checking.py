"""What the checks of the emulated device have in common."""

import contextlib

import cupy
import emulated
import pytest
from cupy.cuda import runtime
from cupy_backends.cuda.api.driver import CUDADriverError

MODES = (
    runtime.streamCaptureModeGlobal,
    runtime.streamCaptureModeThreadLocal,
    runtime.streamCaptureModeRelaxed,
)
COPY = {
    "h2d": runtime.memcpyHostToDevice,
    "d2h": runtime.memcpyDeviceToHost,
    "d2d": runtime.memcpyDeviceToDevice,
}


def kernel(source, before=""):
    """Return the kernel of a source that begins with ``NAME(parameters) { body``."""
    name = source.split("(")[0].strip()
    return cupy.RawKernel(f'{before} extern "C" __global__ void {source}', name)


ADD = "add(float* x, int n) { for (int i = 0; i < n; ++i) x[i] += 1; }"


@contextlib.contextmanager
def faults(*names):
    """Expect that the device counts these faults in the block, and no other."""
    emulated.reset()
    try:
        yield
        wait()
        found = set(emulated.faults())
    finally:
        emulated.recover()
        emulated.reset()
    assert found == set(names)


def refused(error, kind=None):
    """Expect CUDA's error of this name."""
    return pytest.raises(kind or (runtime.CUDARuntimeError, CUDADriverError), match=error)


def wait():
    """Wait for everything, unless the device is lost."""
    with contextlib.suppress(runtime.CUDARuntimeError):
        runtime.deviceSynchronize()


@pytest.fixture(autouse=True)
def clean():
    """Leave the device as it was, and see that no check leaves what the next one would meet."""
    emulated.reset()
    yield
    emulated.mode("eager")
    assert not emulated.faults()
    assert not emulated.recover()
