"""The static plan on a GPU: kernels and matrix products, replayed as one CUDA graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from npnn.backends.gpu.cupy_letter import Letter
from npnn.backends.gpu.cupy_target import Cuda
from npnn.backends.gpu.kernels import TYPES, Coordinates, Launch
from npnn.backends.planning.draft import Draft
from npnn.backends.planning.plan import Plan
from npnn.backends.recording.node import Node, NotRecorded
from npnn.backends.tuning import FLAT_THREADS, MOST_BLOCKS


class CupyPlan(Plan):
    """A step on the device.

    Parameters
    ----------
    draft : Draft
        What was recorded, its arrays being shadows of CuPy's.
    target : Cuda
        Whose shadows they are.
    numbers : set of Node
        The inputs that come from the host.
    """

    target: Cuda

    def __init__(self, draft: Draft, target: Cuda, numbers: set[Node]) -> None:
        for node in (*draft.nodes, *draft.inputs):
            if node.dtype.name not in TYPES:
                raise NotRecorded(f"{node.op}() of {node.dtype}, which no kernel knows")
        super().__init__(draft, target)
        self.numbers, self.cupy = numbers, target.cupy
        self.entering = [n for n in draft.inputs if n in draft.users or n in draft.kept]
        self.letter = Letter(self.entering, self.numbers, len(draft.outputs))
        self.block = self.cupy.zeros(self.letter.nbytes, np.uint8)
        # One small copy to the device says all. It has left the host's memory when it returns.
        self.send = self.letter.sender(self.cupy, self.block, draft.outputs)
        self.enter, self.leave = self._write_entrance(), self._write_exit()
        passages = [self.enter, *(function for function, _ in self.calls), self.leave]
        self.launches: list[Any] = [launch for launch in passages if launch is not None]
        target.make_ready(self.launches)
        self.pieces: list[Any] | None = None
        self.has_run = False

    def replay(self) -> None:
        """Do the step on what the plan's inputs hold, without waiting for it."""
        if not self.has_run:
            # The first time, libraries set themselves up, which no graph can contain.
            self.has_run = True
            for launch in self.launches:
                launch()
            return
        if self.pieces is None:
            self.pieces = self._capture()
        for piece in self.pieces:
            piece()

    def _capture(self) -> list[Any]:
        """Return the calls that do the step: graphs, and what no graph can contain between."""
        runs: list[list[Any]] = [[]]
        for launch in self.launches:
            if launch.capturable:
                runs[-1].append(launch)
            else:
                runs += [[launch], []]
        stream = self.cupy.cuda.Stream(non_blocking=True)
        pieces: list[Any] = []
        try:
            for run in runs:
                # A graph of one kernel costs what the kernel costs.
                many = len(run) > 1
                pieces += [self._graph(stream, run)] if many else run
        except Exception as error:
            warnings.warn(
                f"the step is not made a CUDA graph, because {type(error).__name__} was raised: "
                f"{error}; its kernels are launched one by one",
                RuntimeWarning,
                stacklevel=2,
            )
            return self.launches
        return pieces

    def _graph(self, stream: Any, run: list[Any]) -> Any:
        with stream:
            stream.begin_capture()
            try:
                for launch in run:
                    launch()
            finally:
                graph = stream.end_capture()
        return graph.launch

    # What goes in and out ----------------------------------------------------------------------

    def _write_entrance(self) -> Launch | None:
        """Write the kernel that puts a batch, and the numbers of a step, where the plan reads them.

        What changes with each step, it finds in the block: a number itself, or an address.
        """
        lines = []
        arrays = [self.array(leaf) for leaf in self.entering]
        for number, (leaf, target) in enumerate(zip(self.entering, arrays, strict=True)):
            if leaf in self.numbers:
                word = f"({TYPES[leaf.dtype.name]}*)((long long*)block + {number})"
                lines.append(f"if (thread == 0) y{number}[0] = *{word};")
                continue
            ctype = TYPES[leaf.dtype.name]
            lines.append(f"const {ctype}* x{number} = ((const {ctype}**)block)[{number}];")
            lines.append(_each(target.size, f"y{number}[e] = x{number}[e];"))
        return self._write_passage("y", lines, arrays)

    def _write_exit(self) -> Launch | None:
        """Write the kernel that copies the outputs into arrays of their own."""
        lines = []
        arrays = [self.array(node) for node in self.draft.outputs]
        for number, array in enumerate(arrays):
            ctype, word = TYPES[array.dtype.name], len(self.entering) + number
            at = Coordinates(array.shape, range(array.ndim), [array], "e", "long long")
            place = " + ".join(at.terms(array)) or "0"
            lines.append(f"{ctype}* y{number} = (({ctype}**)block)[{word}];")
            lines.append(
                _each(array.size, " ".join([*at.lines, f"y{number}[e] = x{number}[{place}];"]))
            )
        return self._write_passage("x", lines, arrays)

    def _write_passage(
        self, name: str, lines: list[str], arrays: list[np.ndarray]
    ) -> Launch | None:
        if not arrays:
            return None
        largest = max(array.size for array in arrays)
        blocks = min(max(1, -(-largest // (4 * FLAT_THREADS))), MOST_BLOCKS)
        start = f"const long long thread = blockIdx.x * {FLAT_THREADS}LL + threadIdx.x;"
        named = {f"{name}{number}": array for number, array in enumerate(arrays)}
        block = {"block": self.target.shadows.of(self.block)}
        return self.target.kernel(block | named, [start, *lines], blocks, (FLAT_THREADS,))

    def take_in(self, values: list[Any]) -> None:
        """Have a value for each of `entering` copied into the plan's memory."""
        self.given = values  # what is timed takes them in again
        self.send(*values)
        if self.enter is not None:
            self.enter()

    def keep_inputs(self) -> Callable[[], None]:
        return (lambda: None) if self.enter is None else self.enter

    def wait(self) -> None:
        self.cupy.cuda.get_current_stream().synchronize()

    @property
    def nbytes(self) -> int:
        """Bytes of device memory; parameters, moments and data are not in it."""
        return self.arena.nbytes + self.target.scratch_size


def _each(size: int, line: str) -> str:
    step = f"gridDim.x * {FLAT_THREADS}LL"
    return f"for (long long e = thread; e < {size}; e += {step}) {{ {line} }}"
