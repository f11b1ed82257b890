"""CuPy, on an NVIDIA GPU."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from npnn.backends.backend import Array, Backend, Step, Tree
from npnn.backends.gpu.cupy_capture import CupyStep
from npnn.backends.gpu.cupy_context import Context
from npnn.backends.gpu.cupy_streaming import streamed
from npnn.backends.gpu.products import PRECISIONS, BlasProducts, find_products
from npnn.backends.host import host_array
from npnn.backends.libraries.numpy_backend import NumpyBackend
from npnn.errors import MissingError

INSTALL = (
    "pip install 'npnn-xp[cupy-cuda13]' (or cupy-cuda12, whichever CUDA version nvidia-smi shows)"
)


class CupyBackend(Backend):
    """CuPy arrays on one GPU."""

    name = "cupy"
    execution = "kernels generated for it, replayed as a CUDA graph"
    precisions = PRECISIONS
    asynchronous = True

    def load(self) -> None:
        try:
            import cupy
        except ImportError as error:
            if "cupy" not in str(error) or "failed" in str(error).lower():
                raise MissingError(f"CuPy is installed but cannot be loaded: {error}") from None
            raise MissingError(
                f"backend 'cupy' needs CuPy, which is not installed: {INSTALL}"
            ) from None
        import array_api_compat.cupy as xp

        self.cupy, self.xp = cupy, xp
        if self._count(cupy) == 0:
            raise MissingError(f"backend 'cupy' {self._why_none(cupy.cuda.runtime)}")
        try:
            # Both are loaded when they are first used, which would be amid a step.
            cupy.cuda.cublas, cupy.cuda.nvrtc.getVersion()
        except (ImportError, RuntimeError) as error:
            raise MissingError(
                f"backend 'cupy' needs cuBLAS and NVRTC beside CuPy: {error}: {INSTALL}"
            ) from None

    @staticmethod
    def _count(cupy: Any) -> int:
        try:
            return int(cupy.cuda.runtime.getDeviceCount())
        except cupy.cuda.runtime.CUDARuntimeError:
            return 0

    @staticmethod
    def _why_none(runtime: Any) -> str:
        """Return why CuPy sees no GPU, and what would help."""
        try:
            driver, needed = runtime.driverGetVersion(), runtime.runtimeGetVersion()
        except runtime.CUDARuntimeError as error:
            return f"cannot ask for the NVIDIA driver: {error}"
        if driver == 0:
            return (
                "needs an NVIDIA GPU and its driver; no driver is found here (nvidia-smi would "
                "show it). backend='numpy' runs the same model on the CPU."
            )
        if driver // 1000 < needed // 1000:
            return (
                f"finds CuPy for CUDA {_version(needed)}, but the driver knows CUDA "
                f"{_version(driver)} at most: pip uninstall the cupy-cuda package that is there, "
                f"then pip install 'npnn-xp[cupy-cuda{driver // 1000}]', or renew the driver"
            )
        return (
            f"finds a driver (CUDA {_version(driver)}) but no GPU that this process may use: "
            "nvidia-smi lists those there are, CUDA_VISIBLE_DEVICES may hide them"
        )

    def find_device(self, device: str | int | None) -> Any:
        kind, _, index = str(device).rpartition(":")
        if device is None or device == "cuda":
            number = self.cupy.cuda.runtime.getDevice()
        elif index.isdecimal() and kind in ("", "cuda"):
            number = int(index)
        else:
            number = -1
        if not 0 <= number < self._count(self.cupy):
            raise ValueError(f"device must be one of {self.devices()}, not {device!r}")
        return self.cupy.cuda.Device(number)

    @classmethod
    def devices(cls) -> list[str]:
        import cupy

        return [f"cuda:{i}" for i in range(cls._count(cupy))]

    def current(self) -> Context:
        return self._context

    @cached_property
    def _context(self) -> Context:
        return Context(self.cupy, self.device)

    # What launches kernels must do so where the arrays are -------------------------------------

    def asarray(self, x: Any, *, keep_integers: bool = False, copy: bool = False) -> Array:
        if not copy and self.owns(x) and x.dtype == self.dtype:
            return x
        with self.current():
            return super().asarray(x, keep_integers=keep_integers, copy=copy)

    def owns(self, x: Any) -> bool:
        return isinstance(x, self.cupy.ndarray) and x.device == self.device

    def convert(self, x: Any) -> Array:
        with self._memory("what is copied to the device", getattr(x, "nbytes", 0)):
            if _on_gpu(x) and not isinstance(x, self.cupy.ndarray):
                x = self.cupy.from_dlpack(x.detach() if hasattr(x, "detach") else x)
            if isinstance(x, self.cupy.ndarray):
                return self._from_another_device(x)
            return self.cupy.asarray(host_array(x))

    def _from_another_device(self, x: Array) -> Array:
        """Copy an array when its device's current stream has written it, and before it goes on."""
        if x.device == self.device:
            return x
        event, current_stream = self.cupy.cuda.Event, self.cupy.cuda.get_current_stream
        with x.device:
            x = self.cupy.ascontiguousarray(x)
            written = current_stream().record(event(disable_timing=True))
        current_stream().wait_event(written)
        copied = self.cupy.asarray(x)
        read = current_stream().record(event(disable_timing=True))
        with x.device:
            current_stream().wait_event(read)
        return copied

    unrounded = Backend.unrounded  # not NumPy's

    def on_host(self, x: Array) -> None:
        return None

    def entrance(self, *arrays: Any) -> Backend:
        return self if any(map(_on_gpu, arrays)) else self._host

    @cached_property
    def _host(self) -> Backend:
        return NumpyBackend(self.dtype_name)

    def to_numpy(self, x: Array) -> np.ndarray:
        with self.current():
            return self.cupy.asnumpy(x)  # type: ignore[no-any-return]

    def read(self, arrays: Sequence[Array]) -> list[float]:
        with self.current():
            # One copy for all of them, and one wait.
            numbers: np.ndarray = self.cupy.asnumpy(self.xp.stack(arrays))
            return numbers.tolist()  # type: ignore[no-any-return]

    # Memory ------------------------------------------------------------------------------------

    def zeros(self, shape: tuple[int, ...]) -> Array:
        nbytes = math.prod(shape) * np.dtype(self.dtype_name).itemsize
        with self._memory(f"an array of shape {shape}", nbytes):
            return super().zeros(shape)

    def allocate(self, nbytes: int, batch_size: int, fixed: int) -> Any:
        """Return so many bytes of device memory, for a step whose batches do not need `fixed`."""
        with self._memory(f"a step with batch size {batch_size}", nbytes, batch_size, fixed):
            return self.cupy.cuda.alloc(nbytes)

    def free_memory(self) -> int:
        # What CuPy's pool keeps for later is as good as free.
        with self.device:
            return int(self.device.mem_info[0] + self.cupy.get_default_memory_pool().free_bytes())

    @contextlib.contextmanager
    def _memory(
        self, what: str, nbytes: int, batch_size: int = 0, fixed: int = 0
    ) -> Iterator[None]:
        """Do something on the device; an error says how much memory there should have been."""
        try:
            with self.current():
                yield
        except self.cupy.cuda.memory.OutOfMemoryError:
            free = self.free_memory()
            fitting = batch_size * (free - fixed) // max(nbytes - fixed, 1)
            hint = f": batch_size={fitting} would fit" if fitting > 0 else ""
            raise MemoryError(
                f"{what} needs {_size(nbytes)} of memory on {self.device}, of which "
                f"{_size(free)} are free{hint}"
            ) from None

    def batches(
        self, arrays: dict[str, np.ndarray], indices: Sequence[np.ndarray]
    ) -> Iterator[dict[str, Array]]:
        batches = streamed(self.cupy, arrays, indices)
        try:
            while True:
                # Not while a batch is used: what follows may be meant for another device.
                with self.current():
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch
        finally:
            with self.current():
                batches.close()

    @cached_property
    def products(self) -> BlasProducts:
        """The library of matrix products."""
        with self.current():
            return find_products(self.cupy, self.precision)

    def capture(self, step: Step) -> Step:
        return CupyStep(step, self)

    def uncaptured(self, step: Step) -> Step:
        def on_device(carry: Tree, data: Tree, inputs: Tree) -> tuple[Tree, Tree]:
            with self.current():
                return step(carry, data, inputs)

        return on_device

    def synchronize(self) -> None:
        self.device.synchronize()


def _on_gpu(x: Any) -> bool:
    return hasattr(x, "__dlpack_device__") and x.__dlpack_device__()[0] == 2


def _size(nbytes: int) -> str:
    """Return a number of bytes as people write it."""
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:,.1f} MB"


def _version(number: int) -> str:
    """Return CUDA's number for a version as people write it: 13020 is 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"
