"""Looks at the values of arrays: which are no numbers, and which a dtype would make one.

A look that takes a microsecond comes first and says that all is well, or nothing; only then is each
value looked at, and the error names the first one that is wrong.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import numpy as np

from npnn.arrays import Array, array_namespace, device
from npnn.backends.backend import Backend
from npnn.backends.host import host_array

SURE = 2.0**47  # a sum of squares below has terms below 2**24, all integers of which float32 holds
FEWEST_STEPS = 1000  # into which a feature's range must be divided by a dtype
ROUNDING = 1e-12  # relative; what varies less varies by float64's rounding


def all_small(x: np.ndarray) -> bool:
    """Return whether all numbers are finite and below 2**24; False says nothing."""
    return bool(np.vdot(x, x) < SURE)


def all_fractions(x: np.ndarray) -> bool:
    """Return whether all numbers are from 0 to 1; False says nothing."""
    # As integers, positive floats are in order, and negative ones and NaN come after all.
    size = x.dtype.itemsize
    x = x.view(UNSIGNED[size])
    return x.size > 0 and bool(x.item(x.argmax()) <= ONES[size])


def all_probabilities(x: np.ndarray) -> bool:
    """Return whether no number is negative, and each row sums to 1; False says nothing."""
    ones, all_one = _ones(x.shape, x.dtype)
    sums = x.dot(ones)
    if sums.tobytes() != all_one:  # as where each is of one class
        sums -= 1.0
        if not np.vdot(sums, sums) < 1e-4:
            return False
    return bool(x.item(x.argmin()) >= 0.0)  # of a NaN, which comes first, too


def all_below(x: np.ndarray, number: int) -> bool:
    """Return whether all integers are from 0 to `number` - 1; False says nothing."""
    # As unsigned ones, negative integers come after all.
    x = x.view(UNSIGNED[x.dtype.itemsize])
    return x.size > 0 and bool(x.item(x.argmax()) < number)


UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
ONES = {4: int(np.float32(1).view(np.uint32)), 8: int(np.float64(1).view(np.uint64))}


@functools.lru_cache(64)
def _ones(shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, bytes]:
    """Return a row of ones, and the bytes of as many ones as there are rows."""
    return np.ones(shape[-1], dtype), np.ones(shape[:-1], dtype).tobytes()


def check_finite(array: Array, raw: Any, backend: Backend, what: str) -> None:
    """Raise the error for an array with a number that is none; it names the first one's place.

    Parameters
    ----------
    array : array
        Of the backend, or of NumPy.
    raw : array_like
        What the user gave, which may hold numbers that are too large for the backend's dtype.
    backend : Backend
        The model's.
    what : str
        What the array is, for the error.
    """
    xp = array_namespace(array)
    if not xp.isdtype(array.dtype, "real floating") or bool(xp.all(xp.isfinite(array))):
        return
    host = array if isinstance(array, np.ndarray) else backend.to_numpy(array)
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(host))[0])
    given = host_array(raw)
    given = given[place] if given.shape == host.shape else given[place[0]]
    if np.isfinite(given).all():
        raise ValueError(
            f"{what} must fit {backend.dtype_name}, but there is a {given} {_where(place)}: "
            "scale them" + _wider(backend)
        )
    raise ValueError(f"{what} must be finite numbers, but there is a {host[place]} {_where(place)}")


def like(old: Array, value: Any, what: str) -> Array:
    """Return numbers as an array such as an `old` one: of its library, dtype, device and shape.

    Raises
    ------
    TypeError
        If they are no real numbers.
    ValueError
        If they have another shape, or one is too large for the dtype; `what` is what they are.
    """
    xp = array_namespace(old)
    host = None if _is_of(xp, value, old) else _numbers_of(value, what)
    shape = tuple((value if host is None else host).shape)
    if shape != tuple(old.shape):
        raise ValueError(f"{what} must have shape {tuple(old.shape)}, not {shape}")
    if host is None:
        return value
    with quiet():
        array = xp.asarray(host, dtype=old.dtype, device=device(old), copy=True)
    if np.isfinite(host).all() and not bool(xp.all(xp.isfinite(array))):
        raise ValueError(f"{what} must fit {old.dtype}, but there is a {np.abs(host).max()}")
    return array


def numbers_like(shape: tuple[int, ...], dtype: str, value: Any, what: str) -> np.ndarray:
    """Return numbers as an array on the host, of a shape and a dtype; see :func:`like`."""
    array: np.ndarray = like(np.empty(shape, dtype), value, what)
    return array


def check_numbers(array: Array, what: str, needed: str, *, infinite: bool = False) -> None:
    """Raise the error for an array of a layer with a number that is none, or perhaps infinite."""
    xp = array_namespace(array)
    if not xp.isdtype(array.dtype, "real floating"):
        return
    wrong = xp.isnan(array) if infinite else ~xp.isfinite(array)
    check_none(wrong, array, what, needed)


def check_none(wrong: Array, array: Array, what: str, needed: str) -> None:
    """Raise the error for an array if numbers of it are `wrong`; it names the first one's place."""
    xp = array_namespace(array)
    if not bool(xp.any(wrong)):
        return
    flat = xp.reshape(wrong, (-1,))
    first = int(xp.argmax(xp.astype(flat, xp.uint8)))
    place = tuple(int(i) for i in np.unravel_index(first, array.shape))
    found = float(xp.reshape(array, (-1,))[first])
    where = f" at {place} (counted from 0)" if place else ""
    raise ValueError(f"{what} must be {needed}, but there is a {found:.6g}{where}")


def _is_of(xp: Any, value: Any, old: Array) -> bool:
    """Return whether a value is an array of a namespace, and lies where another one does."""
    try:
        return (
            array_namespace(value) is xp
            and value.dtype == old.dtype
            and device(value) == device(old)
        )
    except TypeError:  # such as of a list
        return False


def _numbers_of(value: Any, what: str) -> np.ndarray:
    try:
        return host_array(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what}: {error}") from None


def check_exact(array: np.ndarray, raw: np.ndarray, backend: Backend, what: str) -> None:
    """Raise the error for integers that a float has not: two that differ would become one."""
    wrong = _inexact(raw, array)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"{what} that are integers must be ones that {backend.dtype_name} has, but there is a "
            f"{raw[place]} {_where(place)}, of which it makes {array[place]:.0f}: "
            + _apart(backend, what)
        )


def check_apart(raw: np.ndarray, backend: Backend, what: str) -> None:
    """Raise the error for samples with a feature whose values a narrower dtype would make one."""
    lost = merges(raw, backend.dtype_name)
    if lost.any():
        feature = tuple(int(i) for i in np.argwhere(lost)[0])
        values = raw.reshape(len(raw), -1)[:, int(np.argmax(lost))]
        raise ValueError(
            f"{what} at position {feature} (counted from 0) are from {values.min()} to "
            f"{values.max()}, of which {backend.dtype_name} makes only "
            f"{len(np.unique(values.astype(backend.dtype_name)))} different numbers: "
            + _apart(backend, what)
        )


def merges(x: np.ndarray, dtype: str = "float32") -> np.ndarray:
    """Return of each feature whether a narrower dtype would make one number of different ones.

    An integer must be one that the dtype has. The range of other numbers must span at least
    `FEWEST_STEPS` numbers of the dtype, unless it is so small that it comes of rounding.
    """
    if x.dtype.kind != "f":
        return np.asarray(_inexact(x, x.astype(dtype)).any(axis=0))
    if x.dtype.itemsize <= np.dtype(dtype).itemsize:
        return np.zeros(x.shape[1:], bool)
    low, high = x.min(axis=0), x.max(axis=0)
    largest = np.maximum(np.abs(low), np.abs(high))
    with quiet():
        step = np.spacing(largest.astype(dtype)).astype(np.float64)
        span = high - low
        return np.asarray((span > ROUNDING * largest) & (span < FEWEST_STEPS * step))


def whole(x: Array, what: str) -> Array:
    """Return numbers as integers that places can be counted by, or say which one is none."""
    xp = array_namespace(x)
    if xp.isdtype(x.dtype, "integral") and xp.iinfo(x.dtype).bits >= 32:
        return x
    if not xp.isdtype(x.dtype, "real floating"):
        return xp.astype(x, xp.int32)
    with quiet():
        good = (xp.floor(x) == x) & (xp.abs(x) < 2.0**31)
        if bool(xp.all(good)):
            return xp.astype(x, xp.int32)
    host, bad = host_array(x), ~host_array(good)
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    raise ValueError(f"{what} must be integers, but there is a {host[place]} {_where(place)}")


def _inexact(raw: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Return which integers became others as floats."""
    if raw.dtype.kind not in "iu" or raw.dtype.itemsize < 4:
        return np.zeros(raw.shape, bool)
    with quiet():
        return np.asarray(array.astype(np.int64) != raw)


def _apart(backend: Backend, what: str) -> str:
    """Return what keeps numbers apart."""
    if "inputs" in what:
        remedy = "have them centred first, by model.norm = npnn.Normalization.standard(x)"
    else:
        remedy = "subtract their mean first"
    return remedy + _wider(backend)


def _wider(backend: Backend) -> str:
    is_narrow = backend.dtype_name == "float32"
    return ", or use Sequential(dtype='float64')" if is_narrow else ""


def _where(place: tuple[int, ...]) -> str:
    return f"at sample {place[0]}, position {place[1:]} (counted from 0)"


def quiet() -> contextlib.AbstractContextManager[object]:
    """Keep NumPy from telling of numbers that a check is about to name, or that vanish."""
    return np.errstate(all="ignore")
