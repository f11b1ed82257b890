"""PyTorch tensors as plain arrays, on the CPU or a GPU; its autograd stays off."""

from __future__ import annotations

from typing import Any

import numpy as np

from npnn.backends.backend import Array, Backend, Step, missing
from npnn.backends.host import host_array
from npnn.errors import MissingError


class TorchBackend(Backend):
    """PyTorch tensors."""

    name = "torch"

    def load(self) -> None:
        try:
            import torch
        except ImportError:
            raise missing("PyTorch", self.name, "pip install torch") from None
        import array_api_compat.torch as xp

        self.torch, self.xp = torch, xp
        # Those that PyTorch can hold, and hardly compute with.
        self._partial = {torch.uint16, torch.uint32, torch.uint64}

    def find_device(self, device: str | int | None) -> Any:
        name = f"cuda:{device}" if isinstance(device, int) else device or "cpu"
        try:
            found = self.torch.device(name)
        except (RuntimeError, TypeError):
            found = None
        if found is None or found.type == "meta":
            raise ValueError(f"device must be one of {self.devices()}, not {device!r}")
        if found.type == "cuda":
            if not self.torch.cuda.is_available():
                raise MissingError(
                    f"device {name!r}: PyTorch sees no NVIDIA GPU (no driver, or a build for CPUs)"
                )
            if (found.index or 0) >= self.torch.cuda.device_count():
                raise ValueError(f"device must be one of {self.devices()}, not {device!r}")
        return found

    @classmethod
    def devices(cls) -> list[str]:
        import torch

        return ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]

    def owns(self, x: Any) -> bool:
        is_tensor = isinstance(x, self.torch.Tensor) and x.dtype not in self._partial
        return is_tensor and x.device == self.device and not x.requires_grad

    def convert(self, x: Any) -> Array:
        if isinstance(x, self.torch.Tensor):
            return x.detach().to(self.device)
        if hasattr(x, "__dlpack__") and not isinstance(x, np.ndarray):
            try:
                return self.torch.from_dlpack(x).to(self.device)
            except (AssertionError, BufferError, RuntimeError, TypeError, ValueError):
                pass  # PyTorch built without CUDA asserts that it was
        # A copy: PyTorch warns of arrays that NumPy holds read-only.
        return self.torch.asarray(host_array(x).copy(), device=self.device)

    def to_numpy(self, x: Array) -> np.ndarray:
        result: np.ndarray = x.detach().cpu().numpy()
        return result

    def on_host(self, x: Array) -> np.ndarray | None:
        return self.to_numpy(x) if x.device.type == "cpu" else None

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            self.torch.cuda.synchronize(self.device)

    def capture(self, step: Step) -> Step:
        return self.torch.no_grad()(step)  # type: ignore[no-any-return]
