"""NumPy arrays, whose steps Numba compiles."""

from __future__ import annotations

import importlib.util

from npnn.backends.backend import Step, missing
from npnn.backends.libraries.numpy_backend import NumpyBackend


class NumbaBackend(NumpyBackend):
    """NumPy arrays on the CPU, elementwise work compiled by Numba."""

    name = "numba"

    def load(self) -> None:
        super().load()
        if importlib.util.find_spec("numba") is None:
            command = "pip install 'npnn-xp[numba]', or pip install numba"
            raise missing("Numba", self.name, command)

    def capture(self, step: Step) -> Step:
        from numba import config

        if config.DISABLE_JIT:  # for a debugger, say
            return super().capture(step)
        from npnn.backends.cpu.compiled import CompiledStep, MachineCode

        return CompiledStep(self.uncaptured(step), self.dtype, MachineCode())
