"""The IDX file format, in which MNIST and its relatives are distributed."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from npnn.errors import FileError

MOST_TIMES = 1032  # what gzip can make of a byte
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read an array from an IDX file, compressed with gzip or not.

    Parameters
    ----------
    path : path-like
        The file. Compression is recognised by the file's first bytes, not by its name.

    Returns
    -------
    ndarray
        The array, in the byte order of this machine.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    npnn.FileError
        If it is not an IDX file, or holds fewer or more bytes than its header announces.

    Notes
    -----
    An IDX file begins with a magic number of four bytes: 0, 0, the type of an element, and the
    number of dimensions. The types are 0x08 (uint8), 0x09 (int8), 0x0B (int16), 0x0C (int32),
    0x0D (float32) and 0x0E (float64). The size of each dimension follows as a big-endian uint32,
    then the elements, big-endian, the last dimension varying fastest.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            file.seek(0)
            return _read(path, file, size)
        import gzip
        import zlib

        file.seek(0)
        try:
            with gzip.open(file) as unpacked:
                return _read(path, unpacked, size * MOST_TIMES)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FileError(f"{path} is a damaged or truncated gzip file: {error}") from None


def _read(path: Path, file: Any, most: int) -> npt.NDArray[Any]:
    """Return the array of a file that has at most so many bytes."""
    data = file.read(4)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES or data[3] == 0:
        raise FileError(
            f"{path} is not an IDX file: expected a magic number of 0, 0, a type "
            f"({', '.join(f'0x{code:02x}' for code in TYPES)}) and a number of dimensions from 1 "
            f"up, found {'0x' + data[:4].hex() if data else 'no bytes'}"
        )
    dtype = np.dtype(TYPES[data[2]])
    start = 4 + 4 * data[3]
    header = file.read(start - 4)
    if len(header) < start - 4:
        raise FileError(
            f"{path} is truncated: expected a header of {start} bytes for {data[3]} dimensions, "
            f"found {4 + len(header)} bytes"
        )
    shape = tuple(int.from_bytes(header[at : at + 4], "big") for at in range(0, start - 4, 4))
    size = prod(shape) * dtype.itemsize
    # One byte more, and never much more than there can be.
    values = file.read(min(size, most) + 1)
    if len(values) != size:
        problem = "is truncated" if len(values) < size else "has bytes after its data"
        raise FileError(
            f"{path} {problem}: expected {start + size} bytes for the shape {shape}, found "
            f"{start + len(values)}{' or more' if len(values) > size else ''}"
        )
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="))
