"""The safetensors format: named arrays one behind the other, after a header of JSON.

A file begins with the length of the header, in 8 bytes, the least first. The header tells dtype,
shape and place of each array, and holds strings beside them; what it says is looked at before
memory is taken for it. The arrays follow without a gap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import numpy as np

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "|b1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}

MOST_MEMORY = 52 << 20  # bytes, that a text of JSON may become
_COST = {b"{": 200, b"[": 72, b",": 24, b'"': 13}
_KEY = 64  # of an object with more than four


class Place(NamedTuple):
    """Where the array of a name lies behind the header, and what it is."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    end: int


def header_of(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """Return what a file begins with; :func:`write` goes on with the arrays."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name in _order(arrays):
        array = arrays[name]
        end = start + array.nbytes
        dtype = NAMES[array.dtype.newbyteorder("<")]
        entries[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    check_cost(text)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write(file: IO[bytes], header: bytes, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a header and its arrays."""
    file.write(header)
    for name in _order(arrays):
        array = arrays[name]
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        file.write(array.reshape(-1).view(np.uint8).data)


def _order(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names, so that each array begins at a multiple of its own size."""
    return sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))


def read_header(file: IO[bytes], size: int | None) -> tuple[dict[str, str], list[Place]]:
    """Return the strings and the arrays' places.

    Parameters
    ----------
    file : binary file
        Stands behind the header then.
    size : int, optional
        Bytes that the file has from here on, if that is known.

    Raises
    ------
    ValueError
        If it is no header, or one of a file of another size.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little")
    left = None if size is None else size - 8
    if len(start) < 8 or not 2 <= length <= (MOST_MEMORY if left is None else left):
        raise ValueError("it does not begin with a header")
    if length > MOST_MEMORY:
        raise ValueError(f"its header of {length:,} bytes is too long")
    text = file.read(length)
    if len(text) < length:
        raise ValueError(f"its header has {length:,} bytes, but {len(text):,} are there")
    header = parsed(text)
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(s, str) for s in metadata.values()):
        raise ValueError("its __metadata__ are not strings")
    places = sorted((_place(*item) for item in header.items()), key=lambda place: place[3:])
    at = 0
    for place in places:
        if place.start != at:
            raise ValueError(f"{place.name!r} begins at byte {place.start:,} instead of {at:,}")
        at = place.end
    if left is not None and at != left - length:
        raise ValueError(f"its arrays have {at:,} bytes, but {left - length:,} are there")
    return metadata, places


def read_arrays(file: IO[bytes], places: list[Place]) -> dict[str, np.ndarray]:
    """Return the arrays that lie behind the header, which nobody else holds."""
    size = places[-1].end if places else 0
    data = np.empty(size, np.uint8)
    view, at = data.data, 0
    while at < size:
        part = file.read(min(size - at, 1 << 24))
        if not part:
            raise ValueError(f"its arrays have {size:,} bytes, but {at:,} are there")
        view[at : at + len(part)] = part
        at += len(part)
    if file.read(1):
        raise ValueError(f"its arrays have {size:,} bytes, but there are more")
    found = {}
    for name, dtype, shape, start, end in places:
        own = data[start:end]
        own = own if start % dtype.itemsize == 0 else own.copy()
        array = own.view(dtype).reshape(shape)
        found[name] = array.astype(dtype.newbyteorder("="), copy=False)
    return found


def parsed(text: str | bytes) -> Any:
    """Return what a text of JSON says, or raise a ValueError; it has no room for a great deal."""
    check_cost(text if isinstance(text, bytes) else text.encode("ascii", "backslashreplace"))
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def check_cost(text: bytes) -> None:
    """Raise the error for JSON that would take much more memory than its text."""
    cost = cost_of(text)
    if cost > MOST_MEMORY:
        raise ValueError(
            f"its JSON of {len(text):,} bytes is too much: it could take {cost >> 20} MiB of "
            f"memory, of which {MOST_MEMORY >> 20} are allowed beside the arrays"
        )


def cost_of(text: bytes) -> int:
    """Return about how many bytes of memory JSON takes at most."""
    # As str, and once more as a part of what comes out; each letter may take four bytes.
    wide = b"\\u" in text or not text.isascii()
    cost = len(text) * (8 if wide else 2)
    cost += sum(size * text.count(sign) for sign, size in _COST.items())
    return cost + _KEY * max(0, text.count(b":") - 4 * text.count(b"{"))


def _place(name: str, entry: Any) -> Place:
    """Return what the header says of one array, if it can be."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} must have dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{name!r} has the dtype {dtype!r}; there are {', '.join(DTYPES)}")
    if not _are_sizes(shape) or len(shape) > 64:
        raise ValueError(f"{name!r} has no shape, but {shape!r}")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{name!r} has no data_offsets, but {offsets!r}")
    start, end = offsets
    found = np.dtype(DTYPES[dtype])
    if math.prod(shape) * found.itemsize != end - start:
        raise ValueError(
            f"{name!r} of dtype {dtype} and shape {tuple(shape)} does not take the {end - start:,} "
            "bytes that its data_offsets say"
        )
    return Place(name, found, tuple(shape), start, end)


def _are_sizes(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(n) is int and 0 <= n < 2**62 for n in numbers)
