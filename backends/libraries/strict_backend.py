"""array-api-strict, which allows the standard and nothing else: slow, and there for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from npnn.backends.backend import Array, Backend, missing


class ArrayApiStrictBackend(Backend):
    """The reference implementation of the Array API standard."""

    name = "array_api_strict"

    def load(self) -> None:
        try:
            import array_api_strict
        except ImportError:
            raise missing("array-api-strict", self.name, "pip install array-api-strict") from None
        self.xp = array_api_strict

    def owns(self, x: Any) -> bool:
        return isinstance(x, self.xp.asarray(0).__class__)

    def to_numpy(self, x: Array) -> np.ndarray:
        return np.from_dlpack(x)
