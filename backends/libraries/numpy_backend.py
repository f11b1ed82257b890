"""NumPy, on the CPU: a step is recorded once and replayed as a static plan."""

from __future__ import annotations

import contextlib
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from npnn.backends import tuning
from npnn.backends.backend import Array, Backend, Step
from npnn.backends.host import host_array
from npnn.backends.recording.capture import CapturedStep


class NumpyBackend(Backend):
    """NumPy arrays on the CPU."""

    name = "numpy"
    rows_at_once = tuning.ROWS_AT_ONCE

    def load(self) -> None:
        self.xp = xp

    def owns(self, x: Any) -> bool:
        return type(x) is np.ndarray and x.dtype.isnative

    def convert(self, x: Any) -> Array:
        return host_array(x)

    def unrounded(self, x: Any) -> Array:
        return x if type(x) is np.ndarray and x.dtype == self.dtype else host_array(x)

    def on_host(self, x: Array) -> Array:
        return x

    def current(self) -> contextlib.AbstractContextManager[Any]:
        return np.errstate(under="ignore")  # what becomes 0 there is as good as 0

    def uncaptured(self, step: Step) -> Step:
        return np.errstate(under="ignore")(step)

    def capture(self, step: Step) -> Step:
        return CapturedStep(self.uncaptured(step), self.dtype)
