"""What the host tells the device at each step: one block of memory, sent by one small copy."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from npnn.backends.gpu.cupy_shadows import ALIGNED
from npnn.backends.recording.capture import defined
from npnn.backends.recording.node import Node

LETTER = 1 << 15  # bytes: what a copy takes along while the host goes on
_WORDS = {"float64": "d", "float32": "f4x"}  # numbers as they lie in 8 bytes; the others are whole


class Letter:
    """One block of memory.

    It begins with a word of 8 bytes for each value that comes in, a number itself or where an array
    lies, and one for where each output is to be written. Behind them are the arrays themselves that
    the host brings, where they are small.

    Parameters
    ----------
    entering : list of Node
        What comes in.
    numbers : set of Node
        Those of it that are numbers.
    outputs : int
        How many arrays go out.
    """

    def __init__(self, entering: list[Node], numbers: set[Node], outputs: int) -> None:
        kinds = [_WORDS.get(n.dtype.name, "q") if n in numbers else "q" for n in entering]
        self.words = struct.Struct("".join(kinds) + "q" * outputs)
        self.numbers = [node in numbers for node in entering]
        self.starts: list[int | None] = []  # of each array's place behind the words
        self.nbytes = -(-self.words.size // ALIGNED) * ALIGNED
        for node in entering:
            fits = node not in numbers and self.nbytes + node.nbytes <= LETTER
            self.starts.append(self.nbytes if fits else None)
            if fits:
                self.nbytes += -(-node.nbytes // ALIGNED) * ALIGNED
        self.memory = np.zeros(self.nbytes, np.uint8)
        self.address = self.memory.ctypes.data
        self.places = [
            None
            if start is None
            else self.memory[start : start + n.nbytes].view(n.dtype).reshape(n.shape)
            for n, start in zip(entering, self.starts, strict=True)
        ]
        self.dtypes = [node.dtype for node in entering]
        self.kept: list[Any] = []
        self.sent = 0  # bytes of it that count

    def sender(self, cupy: Any, block: Any, outputs: list[Node]) -> Callable[..., list[Any]]:
        """Return the function that copies a letter with its arguments to a block of the device.

        It returns arrays for the outputs, which the letter names too.
        """
        names: dict[str, Any] = {
            "ndarray": cupy.ndarray, "letter": self, "bring": partial(self._bring, cupy, block),
            "pack": self.words.pack_into, "memory": self.memory.data,
            "copy": block.data.copy_from_host_async, "address": self.address,
        }  # fmt: skip
        given = [f"x{n}" for n in range(len(self.dtypes))]
        words, lines = [], [f"letter.sent = {self.words.size}", "letter.kept.clear()"]
        for n, x in enumerate(given):
            if self.numbers[n]:
                words.append(f"{'float' if self.dtypes[n].kind == 'f' else 'int'}({x})")
                continue
            simple = f"type({x}) is ndarray and {x}.flags.c_contiguous"
            lines.append(f"word{n} = {x}.data.ptr if {simple} else bring({n}, {x})")
            words.append(f"word{n}")
        for n, node in enumerate(outputs):
            names[f"dtype{n}"] = node.dtype
            lines.append(f"y{n} = ndarray({node.shape}, dtype{n})")
            words.append(f"y{n}.data.ptr")
        lines.append(f"pack({', '.join(['memory', '0', *words])})")
        if words:
            lines.append("copy(address, letter.sent)")
        lines.append(f"return [{', '.join(f'y{n}' for n in range(len(outputs)))}]")
        return defined(f"send({', '.join(given)})", lines, names)

    def _bring(self, cupy: Any, block: Any, n: int, value: Any) -> int:
        """Return where the device finds an array that is the host's, or lies unsuitably."""
        start, place = self.starts[n], self.places[n]
        if place is not None and start is not None and not isinstance(value, cupy.ndarray):
            place[...] = value
            self.sent = start + place.nbytes
            return int(block.data.ptr + start)
        copied = cupy.ascontiguousarray(cupy.asarray(value, self.dtypes[n]))
        # Until the next step: memory that is freed is given again in the stream's order.
        self.kept.append(copied)
        return int(copied.data.ptr)
