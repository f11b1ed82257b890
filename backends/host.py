"""What a person calls numbers, of whatever library or kind, as a NumPy array on the host."""

from __future__ import annotations

import decimal
import numbers
from collections.abc import Iterator, Set
from typing import Any

import numpy as np

LARGEST = np.iinfo(np.int64).max


def host_array(x: Any) -> np.ndarray:
    """Return an array of any library, or nested lists of numbers, as a NumPy array on the host.

    It is a plain one, of bool, a signed integer or a float of at most 64 bits; no number is rounded
    but one that has more digits than float64.

    Raises
    ------
    TypeError
        If there is something that is no real number.
    ValueError
        If rows differ in length, a mask hides a value, or an integer has more than 64 bits.
    """
    if isinstance(x, np.ma.MaskedArray):
        return _numbers(_unmasked(x), x)
    if isinstance(x, np.ndarray):
        return _numbers(np.asarray(x), x)  # of no subclass: a matrix has products of its own
    _refuse(x)
    return _numbers(_on_host(x), x)


def _refuse(x: Any) -> None:
    """Raise the error for what holds numbers, but not as an array or a list does."""
    kind = type(x).__name__
    if isinstance(x, Iterator):
        raise TypeError(f"a {kind} can be walked over only once: make a list of it, as in list(x)")
    if isinstance(x, Set):
        raise TypeError(f"a {kind} has no order: make a list of it, as in sorted(x)")
    if hasattr(x, "toarray") and hasattr(x, "nnz"):
        size = f"{np.prod(x.shape) * np.dtype(x.dtype).itemsize / 1e6:,.1f} MB"
        raise TypeError(
            f"a {kind} is sparse, and layers need all numbers of it: x.toarray() makes a dense "
            f"array of it, of {size}"
        )


def _on_host(x: Any) -> Any:
    """Return an array of another library, or whatever NumPy makes one of, as one of NumPy."""
    if hasattr(x, "detach"):
        x = x.detach()
    if str(getattr(x, "dtype", "")) == "torch.bfloat16":  # which NumPy has not
        x = x.float()
    for to_host in ("get", "cpu"):
        # Arrays on a GPU say how they come to the host; NumPy cannot read them where they are.
        if not hasattr(x, "__array__") and hasattr(x, to_host) and hasattr(x, "__dlpack__"):
            return np.asarray(getattr(x, to_host)())
    if hasattr(x, "__dlpack__"):
        try:
            return np.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError, ValueError):
            x = x.cpu() if hasattr(x, "cpu") else x.get() if hasattr(x, "get") else x
    if isinstance(x, (list, tuple)) and any(_needs_host(part) for part in x):
        x = [host_array(part) for part in x]
    try:
        return np.asarray(x)
    except ValueError as error:
        raise ValueError(f"rows must be of one shape to make an array: {error}") from None


def _needs_host(part: object) -> bool:
    """Return whether NumPy would make something else of a part than what it says."""
    return isinstance(part, np.ma.MaskedArray) or hasattr(part, "detach")


def _numbers(array: np.ndarray, given: Any) -> np.ndarray:
    """Return `array` with a dtype that every library knows, or say that it holds no numbers.

    That is native byte order, signed integers, and numbers instead of objects that are numbers.
    """
    if array.dtype.kind == "O":
        array = _of_objects(array)
    if array.dtype.kind == "V" and array.dtype.names is None and "float" in array.dtype.name:
        array = array.astype(np.float32)  # such as bfloat16, which is NumPy's only by a guest
    kind, itemsize = array.dtype.kind, array.dtype.itemsize
    if kind not in "fiub":
        raise TypeError(
            f"an array of numbers is needed, not one of {array.dtype} ({type(given).__name__})"
            + _remedy(array)
        )
    if kind == "u" and itemsize > 1:
        if itemsize == 8 and array.size and array.max() > LARGEST:
            place = tuple(int(i) for i in np.argwhere(array > LARGEST)[0])
            raise ValueError(_beyond(array[place], place))
        return array.astype(np.int64)
    if kind == "f" and itemsize > 8:
        return array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _remedy(array: np.ndarray) -> str:
    if array.dtype.names is not None:
        return "; numpy.lib.recfunctions.structured_to_unstructured(x) makes columns of its fields"
    if array.dtype.kind == "M":
        return "; numbers are such as the seconds (x - x.min()) / np.timedelta64(1, 's')"
    if array.dtype.kind == "m":
        return "; numbers are such as the seconds x / np.timedelta64(1, 's')"
    if array.dtype.kind == "S":
        return "; they are bytes, of which np.char.decode(x) makes words"
    if array.dtype.kind == "U":
        try:
            array.astype(np.float64)
        except ValueError:
            return ""
        return "; they are digits: np.asarray(x, dtype=float) makes numbers of them"
    return ""


def _beyond(value: object, place: tuple[int, ...]) -> str:
    return (
        f"integers must fit 64 bits with a sign, but there is a {value} at {place} (counted from "
        "0): scale them, or give floats"
    )


def _of_objects(array: np.ndarray) -> np.ndarray:
    for kind, dtype in (
        ((bool, np.bool_), np.bool_),
        (numbers.Integral, np.int64),
        ((numbers.Real, np.bool_, decimal.Decimal), np.float64),
    ):
        if not all(isinstance(value, kind) for value in array.flat):
            continue
        try:
            return array.astype(dtype)
        except OverflowError:
            place, value = next(v for v in np.ndenumerate(array) if abs(v[1]) > LARGEST)
            raise ValueError(_beyond(value, place)) from None
    strange = [
        item
        for item in np.ndenumerate(array)
        if not isinstance(item[1], (numbers.Real, np.bool_, decimal.Decimal))
    ]
    # A hole is named before the words it is among.
    place, value = next((item for item in strange if not isinstance(item[1], str)), strange[0])
    where = f" at {place} (counted from 0)" if place else ""
    raise TypeError(
        f"an array of numbers is needed, but there is a {value!r} ({type(value).__name__}){where}"
    )


def _unmasked(x: np.ma.MaskedArray[Any, Any]) -> np.ndarray:
    hidden = np.argwhere(np.ma.getmaskarray(x))
    if len(hidden):
        place = tuple(int(i) for i in hidden[0])
        raise ValueError(
            f"{len(hidden)} values are hidden by a mask, the first at {place} (counted from 0): "
            "fill them, as in x.filled(0), or leave those samples out"
        )
    return np.asarray(x)
