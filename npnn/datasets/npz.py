"""The arrays of an NPZ file: inputs and targets, looked at before they are believed.

Such a file is a ZIP archive of NPY files. What its directory and the headers of the arrays say is
compared with each other, and with the size of the file, before memory is taken for an array.
"""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from npnn.datasets.cells import as_floats, quoted
from npnn.datasets.given import NDArray
from npnn.errors import FileError
from npnn.io import human_bytes

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

MOST_DIRECTORY = 1 << 20  # bytes
MOST_HEADER = 10_000  # bytes, which is NumPy's own limit
FREE, MOST_TIMES = 8 << 20, 100  # bytes that any file may become; times its size, else


def is_npz(path: Path) -> bool:
    """Whether a file is of NumPy's format NPZ, by its name or its first bytes."""
    from zipfile import BadZipFile, ZipFile

    if path.suffix.lower() == ".npz":
        return True
    if not path.is_file():  # what a pipe gives is read once
        return False
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
        try:
            with ZipFile(_Careful(file)) as archive:
                return any(name.endswith(".npy") for name in archive.namelist())
        except (BadZipFile, FileError):
            return False


def load_npz(path: Path) -> dict[str, NDArray]:
    """Return the arrays of a file by their names.

    Raises
    ------
    npnn.FileError
        If it is damaged, holds anything but plain arrays, or would become far larger than it is.
    """
    from zipfile import ZipFile

    with path.open("rb") as file:
        try:
            if file.read(6) == b"\x93NUMPY":
                raise FileError("it holds a single array without a name (NPY)")
            with ZipFile(_Careful(file)) as archive:
                members = archive.infolist()
                _check_members(members, path.stat().st_size)
                for member in members:
                    _check_array(archive, member)
                return {_name(member): _read(archive, member) for member in members}
        except Exception as error:  # of zipfile, zlib, struct: whatever they stumble upon
            what = str(error) or type(error).__name__
            raise FileError(
                f"{path} cannot be read as an NPZ file of plain arrays: {what:.500}"
            ) from None


class _Careful:
    """A file of which nobody reads much at once, as only the directory of an archive is."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1) -> bytes:
        found = self.file.read(MOST_DIRECTORY + 1 if count < 0 else min(count, MOST_DIRECTORY + 1))
        if len(found) > MOST_DIRECTORY:
            raise FileError("its directory is too long")
        return found


def _name(member: ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def _check_members(members: list[ZipInfo], size: int) -> None:
    """Raise the error for what the directory says, if that cannot be."""
    from zipfile import ZIP_DEFLATED, ZIP_STORED

    strange = [member.filename for member in members if not member.filename.endswith(".npy")]
    if strange:
        raise FileError(f"it holds {quoted(strange)}, which are no arrays (.npy)")
    names = [_name(member) for member in members]
    if len(set(names)) < len(names):
        raise FileError("two of its arrays have one name")
    for member in members:
        what = f"the array {_name(member)!r}"
        if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise FileError(f"{what} is compressed in a way that NumPy does not write")
        if member.flag_bits & 1:
            raise FileError(f"{what} is encrypted")
        if member.compress_type == ZIP_STORED and member.file_size != member.compress_size:
            raise FileError(f"{what} has two sizes")
    packed = sum(member.compress_size for member in members)
    whole = sum(member.file_size for member in members)
    if packed > size:
        raise FileError(f"its arrays have {packed:,} bytes, and the file has {size:,}")
    if whole > max(FREE, MOST_TIMES * size):
        raise FileError(
            f"its {human_bytes(size)} would become {human_bytes(whole)}, more than {MOST_TIMES} "
            "times as much: write it with np.savez, uncompressed, if that is meant"
        )


def _check_array(archive: ZipFile, member: ZipInfo) -> None:
    """Raise the error for an array whose header is not that of plain values of its size."""
    what = f"the array {_name(member)!r}"
    with archive.open(member) as file:
        start = file.read(12)
        wide = start[6:7] != b"\x01"
        if start[:6] != b"\x93NUMPY" or start[6:8] not in (b"\x01\x00", b"\x02\x00"):
            raise FileError(f"{what} does not begin as one of NumPy's does")
        (length,) = struct.unpack("<I" if wide else "<H", start[8 : 12 if wide else 10])
        if length > MOST_HEADER:
            raise FileError(f"{what} has a header of {length:,} bytes")
        begins = (12 if wide else 10) + length
        header = io.BytesIO(start + file.read(max(0, begins - 12)))
    try:
        np.lib.format.read_magic(header)
        read: Any = np.lib.format
        shape, _, dtype = (read.read_array_header_2_0 if wide else read.read_array_header_1_0)(
            header
        )
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise FileError(f"{what} has a damaged header: {error}") from None
    if dtype.kind not in "biufcmMSUV" or dtype.hasobject:
        raise FileError(f"{what} holds objects of Python, not plain values")
    expected, found = math.prod(shape) * dtype.itemsize, member.file_size - begins
    if min(shape, default=0) < 0 or expected != found:
        raise FileError(
            f"{what} of shape {shape} and dtype {dtype} has {expected:,} bytes, but {found:,} are "
            "there"
        )


def _read(archive: ZipFile, member: ZipInfo) -> NDArray:
    with archive.open(member) as file:
        array: NDArray = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise FileError(f"the array {_name(member)!r} has bytes behind its values")
        return array


def inputs_of(path: Path, arrays: dict[str, NDArray]) -> NDArray:
    """Return the array "x" as float32, of two axes or more."""
    if "x" not in arrays:
        raise FileError(f"{path} must hold an array 'x'; it holds {quoted(list(arrays))}")
    x = arrays["x"]
    if x.dtype.kind not in "fiub":
        raise FileError(f"{path}: the array 'x' must hold real numbers, not {x.dtype}")
    if x.ndim == 1:
        x = x[:, None]
    if x.size == 0:
        raise FileError(f"{path}: the array 'x' must not be empty; its shape is {x.shape}")
    _report_rows(path, "x", x)
    return as_floats(path, "x", x)


def targets_of(path: Path, name: str, t: NDArray, num: int) -> NDArray:
    """Return the array of targets if it goes with so many inputs, a single column as one axis."""
    if t.dtype.kind not in "fiubU":
        raise FileError(f"{path}: the array {name!r} must hold numbers or text, not {t.dtype}")
    if t.ndim not in (1, 2) or len(t) != num or t.size == 0:
        raise FileError(
            f"{path}: the array {name!r} must have the shape ({num},) or ({num}, outputs) to go "
            f"with 'x', not {t.shape}"
        )
    if t.dtype.kind != "U":
        _report_rows(path, name, t)
    return t[:, 0] if t.ndim == 2 and t.shape[1] == 1 else t


def _report_rows(path: Path, name: str, values: NDArray) -> None:
    rows = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if rows.size:
        first = ", ".join(map(str, rows[:5].tolist())) + (", ..." if rows.size > 5 else "")
        raise FileError(
            f"{path}: the array {name!r} has missing or infinite values in {rows.size} row(s): "
            f"{first} (counted from 0)"
        )


def is_one_hot(t: NDArray) -> bool:
    """Whether each row has a single 1, and zeros."""
    return bool(((t == 0) | (t == 1)).all() and (t.sum(axis=1) == 1).all())
