"""The one thing a formula needs to know of its arrays: the namespace that computes on them."""

from __future__ import annotations

from types import ModuleType
from typing import Any, TypeAlias

import array_api_compat
from array_api_compat import device
from array_api_extra import at

Array: TypeAlias = Any
"""An array of any library that follows the Python Array API standard."""

Shape: TypeAlias = tuple[int, ...]
"""The shape of one sample: no batch axis."""

__all__ = ["Array", "Shape", "add_at", "array_namespace", "as_shape", "device", "set_at"]


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


def as_shape(shape: int | tuple[int, ...] | list[int], name: str) -> Shape:
    """Return `shape` as a tuple of positive ints; `name` is the argument's, for the error."""
    axes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    for axis in axes:
        if isinstance(axis, bool) or not hasattr(axis, "__index__"):
            raise TypeError(f"{name} must be an int or a tuple of ints, not {shape!r}")
        if axis < 1:
            raise ValueError(f"{name} must be positive, not {shape!r}")
    if not axes:
        raise ValueError(f"{name} must have at least one axis, not {shape!r}")
    return tuple(int(axis) for axis in axes)
