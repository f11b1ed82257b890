"""The one thing a formula needs to know of its arrays: the namespace that computes on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeAlias

import array_api_compat
from array_api_compat import device
from array_api_extra import at

from npnn import checked

Array: TypeAlias = Any
"""An array of any library that follows the Python Array API standard."""

Shape: TypeAlias = tuple[int, ...]
"""The shape of one sample: no batch axis."""

MOST_AXES, MOST_NUMBERS = 32, 2**48

__all__ = [
    "Array",
    "Shape",
    "add_at",
    "array_namespace",
    "as_array_shape",
    "as_shape",
    "device",
    "fits",
    "is_of_one_array",
    "read_each",
    "scatter_add",
    "set_at",
]


_namespaces: dict[type, ModuleType] = {}


def array_namespace(x: Array) -> Any:
    """Return the namespace of the functions that compute on `x`."""
    xp: Any = _namespaces.get(type(x))
    if xp is None:
        xp = array_api_compat.array_namespace(x)
        if isinstance(xp, ModuleType):  # one for all arrays of a type; recorded ones have their own
            _namespaces[type(x)] = xp
    return xp


def add_at(x: Array, index: tuple[Any, ...], value: Array) -> Array:
    """Return `x` with `value` added to the part that slices show; use only what is returned.

    Written in place where the library allows it, and as a new array where it does not.
    """
    return at(x)[index].add(value)


def set_at(x: Array, index: tuple[Any, ...], value: Array) -> Array:
    """Return `x` with the part that slices show replaced; use only what is returned."""
    return at(x)[index].set(value)


def scatter_add(x: Array, index: Array, values: Array) -> Array:
    r"""Return `x` with rows added to it: :math:`x_{i_n} \leftarrow x_{i_n} + v_n` for every n.

    Parameters
    ----------
    x : array, shape (rows, ...)
    index : array of integers, shape (n,)
        The row that each value is added to; a row that comes again is added to again.
    values : array, shape (n, ...)
        Of the dtype of `x`.
    """
    xp = array_namespace(x)
    rows = xp.arange(x.shape[0], dtype=index.dtype, device=device(index))
    hits = xp.astype(rows[:, None] == index[None, :], x.dtype)
    sums = hits @ xp.reshape(values, (values.shape[0], -1))
    return x + xp.reshape(sums, x.shape)


def read_each(arrays: Sequence[Array]) -> list[float]:
    """Return the numbers that arrays of no axes hold, one after the other."""
    return [float(array) for array in arrays]


def as_shape(shape: Any, name: str) -> Any:
    """Return `shape` as a tuple of positive ints; `name` is the argument's, for the error.

    An axis of any length is None. Where samples are several arrays, their shapes stand in a dict or
    a tuple.
    """
    if isinstance(shape, dict):
        if not shape:
            raise ValueError(f"{name} must have at least one axis, not {{}}")
        return {key: as_shape(part, f"{name}[{key!r}]") for key, part in shape.items()}
    axes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if any(isinstance(part, (tuple, list, dict)) for part in axes):
        return tuple(as_shape(part, f"{name}[{number}]") for number, part in enumerate(axes))
    if not axes:
        raise ValueError(f"{name} must have at least one axis, not {checked.shown(shape)}")
    if len(axes) > MOST_AXES:
        raise ValueError(f"{name} has {len(axes)} axes, and no array has more than {MOST_AXES}")
    found = []
    for axis in axes:
        try:
            any_length = axis is None and len(axes) > 1
            found.append(None if any_length else checked.integer(axis, name))
        except TypeError:
            raise TypeError(
                f"{name} must be an int or a tuple of ints, not {checked.shown(shape)}"
            ) from None
    if any(axis is not None and axis < 1 for axis in found):
        raise ValueError(f"{name} must be positive, not {checked.shown(shape)}")
    if math.prod(axis or 1 for axis in found) > MOST_NUMBERS:
        raise ValueError(f"{name} is larger than any array can be: {shape!r:.200}")
    return tuple(found)


def is_of_one_array(shape: Any) -> bool:
    """Return whether a shape is that of one array, and not of several in a dict or a tuple."""
    return isinstance(shape, tuple) and not any(isinstance(n, (tuple, dict)) for n in shape)


def as_array_shape(shape: Any, name: str) -> Shape:
    """Return `shape` as a tuple of positive ints, as :func:`as_shape` does for one array."""
    found = as_shape(shape, name)
    if not is_of_one_array(found):
        raise TypeError(f"{name} must be the shape of one array, not {checked.shown(shape)}")
    axes: Shape = found
    return axes


def fits(shape: Any, given: Any) -> bool:
    """Return whether samples of the shape `given` are of `shape`, where None is any length."""
    if isinstance(shape, dict):
        same = isinstance(given, dict) and shape.keys() == given.keys()
        return same and all(fits(part, given[key]) for key, part in shape.items())
    if isinstance(shape, tuple):
        same = isinstance(given, tuple) and len(shape) == len(given)
        return same and all(map(fits, shape, given))
    return shape is None or shape == given
