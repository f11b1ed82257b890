"""Machine code that runs piece after piece without the interpreter, and without its lock.

A :class:`Native` is a function at an address and the block of numbers that it reads: where its
arrays lie, their shapes and strides. A :class:`Program` runs several of them in one call from
Python. Loops are compiled by Numba from the sources that ``loops.py`` writes; products are those
of the library beneath NumPy, called where it lies in memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

from npnn.backends import tuning
from npnn.backends.cpu import threads
from npnn.backends.cpu.machine import run
from npnn.backends.cpu.numba_adapter import address_of_kernel
from npnn.backends.operations.kind import Call
from npnn.backends.operations.product import lies
from npnn.backends.planning.loop_writer import Axes

HEAD = """\
import numpy as np
from npnn.backends.cpu import functions
from npnn.backends.cpu.numba_adapter import array_at, call_cblas, copy, word_at

def kernel(block):
"""
ROW_MAJOR, TRANSPOSED = 101, {False: 111, True: 112}  # CBLAS's numbers for them
# Arguments of CBLAS's products: an enumeration, an integer, an address, and the numbers 1 and 0.
GEMM, GEMV = "eeeiii1aiai0ai", "eeii1aiai0ai"


class Native:
    """A function in machine code with the numbers that it reads.

    Parameters
    ----------
    body : str
        The source of what it does with its `block`; compiled when it is run first.
    block : list of int
        The numbers.
    kept : object
        What they point to.
    """

    def __init__(self, body: str, block: Sequence[int], kept: Any) -> None:
        self.body, self.block, self.kept = body, np.array(block, np.int64), kept

    @cached_property
    def address(self) -> int:
        """Where the function lies."""
        return address_of_kernel(HEAD + self.body + "\n")

    def __call__(self) -> None:
        """Run it alone."""
        self._alone()

    @cached_property
    def _alone(self) -> Program:
        return Program([self])


class Program:
    """Pieces of machine code that are run one after the other."""

    def __init__(self, pieces: Iterable[Native]) -> None:
        self.pieces = tuple(pieces)
        rows = [(piece.address, address_of(piece.block)) for piece in self.pieces]
        self.table = np.array(rows, np.int64).reshape(-1, 2)
        self.place = address_of(self.table), len(rows)

    def __call__(self) -> None:
        """Run them."""
        run(*self.place)


def joined(calls: Iterable[Call]) -> list[Call]:
    """Return calls with those of machine code that follow one another as one program."""
    found: list[Call] = []
    pieces: list[Native] = []
    for function, arguments in calls:
        if isinstance(function, Native):
            pieces.append(function)
            continue
        if pieces:
            found.append((Program(pieces), ()))
            pieces = []
        found.append((function, arguments))
    return [*found, (Program(pieces), ())] if pieces else found


def address_of(array: np.ndarray) -> int:
    """Return where an array's first element lies."""
    address: int = array.__array_interface__["data"][0]
    return address


# Pieces ------------------------------------------------------------------------------------------


def loop(body: str, arguments: dict[str, np.ndarray | int]) -> Native:
    """Return a piece whose source is `body`, in which arrays and numbers have names."""
    block: list[int] = []
    lines = []
    for name, value in arguments.items():
        if isinstance(value, np.ndarray):
            rows = value.ndim and value.strides[-1] == value.itemsize
            layout = "C" if value.flags.c_contiguous else "rows" if rows else "A"
            dtype = "bool_" if value.dtype == np.bool else value.dtype.name
            lines.append(
                f"    {name} = array_at(block, {len(block)}, np.{dtype}, {value.ndim}, {layout!r})"
            )
            block += [address_of(value), *value.shape, *value.strides]
        else:
            lines.append(f"    {name} = word_at(block, {len(block)})")
            block.append(value)
    return Native("\n".join([*lines, body]), block, list(arguments.values()))


def copied(target: np.ndarray, source: np.ndarray) -> list[Native] | None:
    """Return the piece that copies an array to another; None where their dtypes differ."""
    if target.dtype != source.dtype:
        return None
    source = np.broadcast_to(source, target.shape)
    if target.strides == source.strides and target.flags.forc:
        return [_copied(target, source)]
    return [_each("a0[{0}] = a1[{0}]", target, source)]


def added_up(x: np.ndarray, out: np.ndarray) -> list[Native] | None:
    """Return the pieces that sum over the first axis; None where the two do not match."""
    if x.dtype != out.dtype or x.shape[1:] != out.shape or not x.size:
        return None
    first, again = copied(out, x[0]), np.lib.stride_tricks.as_strided
    assert first is not None
    target = again(out, x[1:].shape, (0, *out.strides))
    return [*first, _each("a0[{0}] += a1[{0}]", target, x[1:])]


def _each(line: str, *arrays: np.ndarray) -> Native:
    """Return the piece that does what a line says for each element, in the order of the memory."""
    first = arrays[0]
    axes = sorted(range(first.ndim), key=lambda axis: [-array.strides[axis] for array in arrays])
    joined = Axes(first.shape, axes, arrays)
    shape, again = joined.sizes or [1], np.lib.stride_tricks.as_strided
    seen = [again(x, shape, [x.strides[i] for i in joined.last] or [x.itemsize]) for x in arrays]
    indices = [f"i{axis}" for axis in range(len(shape))]
    body = [
        f"{'    ' * axis}    for {index} in range(a0.shape[{axis}]):"
        for axis, index in enumerate(indices)
    ]
    body.append("    " * (len(shape) + 1) + line.format(", ".join(indices)))
    return loop("\n".join(body), {f"a{number}": array for number, array in enumerate(seen)})


def brought(target: np.ndarray) -> Native:
    """Return the piece that fills an array from the address in the second place of its block."""
    return _copied(target, target)


def _copied(target: np.ndarray, source: np.ndarray) -> Native:
    body = "    copy(word_at(block, 0), word_at(block, 1), word_at(block, 2))"
    block = [address_of(target), address_of(source), target.nbytes]
    return Native(body, block, (target, source))


def taken(out: np.ndarray, x: np.ndarray, numbers: np.ndarray) -> list[Native] | None:
    """Return the piece that copies the rows of `x` of such numbers."""
    if not (out.flags.c_contiguous and x.flags.c_contiguous and out.size) or out.dtype != x.dtype:
        return None
    body = """\
    for i in range(len(numbers)):
        copy(out + i * nbytes, x + numbers[i] * nbytes, nbytes)"""
    places: dict[str, np.ndarray | int] = {"out": address_of(out), "x": address_of(x)}
    piece = loop(body, {**places, "nbytes": out.nbytes // len(numbers), "numbers": numbers})
    piece.kept = out, x, numbers
    return [piece]


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> list[Native] | None:
    """Return the pieces that multiply matrices, or few of them; None where they lie unsuitably."""
    if a.ndim == b.ndim == out.ndim == 3 and len(out) <= tuning.MOST_PRODUCTS:
        pieces = [_product(*of_one) for of_one in zip(a, b, out, strict=True)]
        return None if None in pieces else pieces  # type: ignore[return-value]
    if a.ndim > 2 or b.ndim > 2:
        return None
    b = b.reshape(-1, 1) if b.ndim == 1 else b
    a = a.reshape(1, -1) if a.ndim == 1 else a
    piece = _product(a, b, out.reshape(len(a), b.shape[1]))
    return None if piece is None else [piece]


def _product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Native | None:
    found = _cblas(a.dtype.name)
    if found is None or not (a.dtype == b.dtype == out.dtype) or 0 in (*a.shape, *b.shape):
        return None
    gemm, gemv, bits = found
    of_a, of_b, of_out = map(lies, (a, b, out))
    if of_a is None or of_b is None or of_out is None:
        return None
    if of_out[0]:
        return _product(b.T, a.T, out.T)
    (rows, columns), between = out.shape, a.shape[1]
    if 1 in out.shape:
        matrix, vector = (a, b) if columns == 1 else (b.T, a.T)
        (turned, leading), flat = lies(matrix) or of_a, vector[:, 0]
        size = matrix.shape[::-1] if turned else matrix.shape
        steps = [x.strides[0] // x.itemsize if len(x) > 1 else 1 for x in (flat, out.reshape(-1))]
        block = [gemv, ROW_MAJOR, TRANSPOSED[turned], *size, address_of(matrix), leading]
        block += [address_of(vector), steps[0], address_of(out), steps[1]]
        kinds = GEMV
    else:
        block = [gemm, ROW_MAJOR, TRANSPOSED[of_a[0]], TRANSPOSED[of_b[0]], rows, columns, between]
        block += [address_of(a), of_a[1], address_of(b), of_b[1], address_of(out), of_out[1]]
        kinds = GEMM
    body = f"    call_cblas(block, np.{a.dtype.name}, {bits}, {kinds!r})"
    return Native(body, block, (a, b, out))


@cache
def _cblas(dtype: str) -> tuple[int, int, int] | None:
    """Return where the products of matrices, and with vectors, lie, and the bits of an integer."""
    letter = {"float32": "s", "float64": "d"}.get(dtype)
    controller = threads.blas()
    if letter is None or controller is None:
        return None
    library = ctypes.CDLL(controller.lib_controllers[0].filepath)
    for prefix in ("scipy_", ""):
        for suffix, bits in (("64_", 64), ("", 32)):
            names = [f"{prefix}cblas_{letter}{name}{suffix}" for name in ("gemm", "gemv")]
            if all(hasattr(library, name) for name in names):
                gemm, gemv = (ctypes.cast(library[name], ctypes.c_void_p).value for name in names)
                assert gemm is not None
                assert gemv is not None
                return gemm, gemv, bits
    return None
