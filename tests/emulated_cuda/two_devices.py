"""Checks of two devices; test_device.py runs these with EMU_NDEV=2."""

import cupy
import emulated
import pytest
from checking import ADD, COPY, clean, faults, kernel, refused
from cupy.cuda import runtime

__all__ = ["clean"]  # a fixture


@pytest.fixture
def other():
    """An array of device 1, with device 0 the current one."""
    with cupy.cuda.Device(1):
        return cupy.zeros(4, "float32")


def test_work_is_done_on_the_current_device(other):
    with cupy.cuda.Device(1), emulated.counting() as counted:
        x = other + 1
    assert x.device.id == 1
    assert counted["launch on 1"] == 1


def test_another_device_s_memory_is_refused_to_kernels_and_products_without_access(other):
    with faults("other device"):
        kernel(ADD)((1,), (1,), (other, 4))
        with refused("IllegalAddress"):
            runtime.deviceSynchronize()
    square = cupy.ndarray((2, 2), "float32", other.data)
    with faults("other device"), pytest.raises(Exception, match="INVALID_VALUE"):
        product(square)
    runtime.deviceEnablePeerAccess(1)
    with refused("PeerAccessAlreadyEnabled"):
        runtime.deviceEnablePeerAccess(1)
    try:
        kernel(ADD)((1,), (1,), (other, 4))
        with faults("other device"):  # it works, and is counted
            product(square)
    finally:
        runtime.deviceDisablePeerAccess(1)
    assert other.get().tolist() == [1] * 4


def product(x):
    """Have cuBLAS of the current device multiply a matrix with itself."""
    import numpy as np
    from cupy.cuda import cublas

    with cupy.cuda.Device(0):
        out, numbers = cupy.zeros((2, 2), "float32"), np.array([1, 0], "float32")
        one, nought = numbers.ctypes.data, numbers[1:].ctypes.data
        handle, p = cupy.cuda.get_cublas_handle(), x.data.ptr
        cublas.sgemm(handle, 0, 0, 2, 2, 2, one, p, 2, p, 2, nought, out.data.ptr, 2)


def test_copies_reach_the_other_device_without_access(other):
    x = cupy.ones(4, "float32")
    runtime.memcpyAsync(other.data.ptr, x.data.ptr, 16, COPY["d2d"], 0)
    assert other.get().tolist() == [1] * 4


def test_streams_events_kernels_and_handles_are_of_one_device(other):
    with cupy.cuda.Device(1):
        stream, event = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Event()
        handle = cupy.cuda.get_cublas_handle()
        of_other = kernel(ADD).kernel
    x = cupy.zeros(4, "float32")
    from cupy.cuda import cublas
    from cupy_backends.cuda.api import driver

    for error, call in (
        ("INVALID_HANDLE", lambda: launch(kernel(ADD).kernel.ptr, stream.ptr)),
        ("INVALID_HANDLE", lambda: driver.launchKernel(of_other.ptr, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0)),
        ("InvalidResourceHandle", lambda: runtime.eventRecord(event.ptr, 0)),
    ):
        with faults("wrong handle"), refused(error):
            call()
    p = x.data.ptr
    with faults("refused products"), pytest.raises(cublas.CUBLASError, match="INVALID_VALUE"):
        cublas.sgemm(handle, 0, 0, 2, 2, 2, p, p, 2, p, 2, p, p, 2)
    cupy.cuda.Stream.null.wait_event(event)  # that is allowed


def launch(function, stream):
    from cupy_backends.cuda.api import driver

    driver.launchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, 0, 0)


def test_a_graph_keeps_the_device_of_its_kernels(other):
    with cupy.cuda.Device(1):
        stream = cupy.cuda.Stream(non_blocking=True)
        kernel(ADD).compile()
        with stream:
            stream.begin_capture()
            kernel(ADD)((1,), (1,), (other, 4))
            graph = stream.end_capture()
    with faults():
        graph.launch()
    runtime.deviceSynchronize()
    assert other.get().tolist() == [1] * 4


def test_a_capture_on_one_device_does_not_forbid_waiting_for_the_other():
    stream = cupy.cuda.Stream()
    stream.begin_capture()
    with cupy.cuda.Device(1):
        runtime.deviceSynchronize()
        cupy.cuda.Stream.null.synchronize()
    stream.end_capture()
