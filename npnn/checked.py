"""What a number, or an object, that a person gives must be; each check returns it, or names it.

The errors name the argument, what was expected and what came.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np


def integer(value: Any, name: str, least: int | None = None, most: int | None = None) -> int:
    """Return `value` as an int, from `least` to `most`."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {value!r}") from None
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, not {number}")
    if most is not None and number > most:
        raise ValueError(f"{name} must be at most {most}, not {number}")
    return number


def seed(value: Any, name: str = "seed") -> int | None:
    """Return what can start a generator of random numbers; None lets it start anywhere."""
    return None if value is None else integer(value, name, 0)


def number(value: Any, name: str) -> float:
    """Return `value` as a finite float."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value}")
    return float(value)


def positive(value: Any, name: str) -> float:
    """Return a number greater than 0."""
    if number(value, name) <= 0.0:
        raise ValueError(f"{name} must be greater than 0, not {value}")
    return float(value)


def not_negative(value: Any, name: str) -> float:
    """Return a number of at least 0."""
    if number(value, name) < 0.0:
        raise ValueError(f"{name} must be at least 0, not {value}")
    return float(value)


def fraction(value: Any, name: str) -> float:
    """Return a number of at least 0 that is below 1."""
    if not 0.0 <= number(value, name) < 1.0:
        raise ValueError(f"{name} must be at least 0 and below 1, not {value}")
    return float(value)


def factor(value: Any, name: str) -> float:
    """Return a number above 0, and of at most 1."""
    if not 0.0 < number(value, name) <= 1.0:
        raise ValueError(f"{name} must be above 0 and at most 1, not {value}")
    return float(value)


def pair(value: Any, name: str, least: int = 1) -> tuple[int, int]:
    """Return an int for both axes, or a pair of ints, as a pair."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or any(isinstance(n, bool) or not hasattr(n, "__index__") for n in both):
        raise TypeError(f"{name} must be an int or a pair of ints, not {value!r}")
    if min(both) < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")
    return int(both[0]), int(both[1])


def sequence(value: Any, name: str, what: str) -> list[Any]:
    """Return the parts of a list, a tuple or an array; `what` says what they should be.

    A string is no sequence of its letters here, a dict none of its keys, a set has no order, and
    what can be walked over only once would be empty at the second time.
    """
    if isinstance(value, (str, bytes, Mapping, Set, Iterator)) or not hasattr(value, "__iter__"):
        raise TypeError(f"{name} must be a list of {what}, not {value!r}")
    return list(value)


def strings(value: Any, name: str) -> tuple[str, ...]:
    """Return a sequence of strings."""
    try:
        found = sequence(value, name, "strings")
        if not all(isinstance(part, str) for part in found):
            raise TypeError
    except TypeError:
        raise TypeError(f"{name} must be a sequence of strings, not {value!r}") from None
    return tuple(map(str, found))  # not NumPy's, which a file could not hold


def flag(value: Any, name: str) -> bool:
    """Return a bool; an array, or a word such as "no", is none."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def instance(value: Any, kind: type, name: str, example: str, called: str = "") -> None:
    """Raise the error for a `value` of another kind, such as a class instead of an object."""
    if isinstance(value, kind):
        return
    called = called or kind.__name__
    article = "an" if called[0] in "AEIO" else "a"
    hint = f" such as {example}"
    if isinstance(value, type) and issubclass(value, kind):
        hint = f", not a class: write {value.__name__}(...)"
    raise TypeError(f"{name} must be {article} {called}{hint}; it is {value!r}")
