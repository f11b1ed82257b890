"""What a number, or an object, that a person gives must be; each check returns it, or names it.

The errors name the argument, what was expected and what came.
"""

from __future__ import annotations

import inspect
import math
import numbers
import operator
import os
from collections.abc import Mapping, Set
from typing import Any

import numpy as np

LEAST, MOST = 1e-37, 1e37
"""Between them is what float32 has, with all its digits and room for a factor."""


def shown(value: Any, most: int = 100) -> str:
    """Return what a value looks like, in one line of at most so many letters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def integer(value: Any, name: str, least: int | None = None, most: int | None = None) -> int:
    """Return `value` as an int, from `least` to `most`."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {shown(value)}") from None
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, not {number}")
    if most is not None and number > most:
        raise ValueError(f"{name} must be at most {most}, not {number}")
    return number


def seed(value: Any, name: str = "seed") -> int | None:
    """Return what can start a generator of random numbers; None lets it start anywhere."""
    return None if value is None else integer(value, name, 0)


def number(value: Any, name: str) -> float:
    """Return `value` as a finite float; zero has no sign."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, not {shown(value)}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value}")
    return float(value) + 0.0


def positive(value: Any, name: str) -> float:
    """Return a number greater than 0, of a size that each dtype has."""
    found = number(value, name)
    if found <= 0.0:
        raise ValueError(f"{name} must be greater than 0, not {value}")
    if not LEAST <= found <= MOST:
        raise ValueError(f"{name} must be from {LEAST} to {MOST}, which float32 has, not {value}")
    return found


def not_negative(value: Any, name: str) -> float:
    """Return a number of at least 0."""
    found = number(value, name)
    if found < 0.0:
        raise ValueError(f"{name} must be at least 0, not {value}")
    return found


def fraction(value: Any, name: str) -> float:
    """Return a number of at least 0 that is below 1."""
    found = number(value, name)
    if not 0.0 <= found < 1.0:
        raise ValueError(f"{name} must be at least 0 and below 1, not {value}")
    return found


def factor(value: Any, name: str) -> float:
    """Return a number above 0, and of at most 1."""
    if not 0.0 < number(value, name) <= 1.0:
        raise ValueError(f"{name} must be above 0 and at most 1, not {value}")
    return float(value)


def share(value: Any, name: str) -> float:
    """Return a number from 0 to 1."""
    found = number(value, name)
    if not 0.0 <= found <= 1.0:
        raise ValueError(f"{name} must be between 0 and 1, not {value}")
    return found


def pair(value: Any, name: str, least: int = 1) -> tuple[int, int]:
    """Return an int for both axes, or a pair of ints, as a pair."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    try:
        first, second = [integer(n, name) for n in both]
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be an int or a pair of ints, not {shown(value)}") from None
    if min(first, second) < least:
        raise ValueError(f"{name} must be at least {least}, not {shown(value)}")
    return first, second


def sequence(value: Any, name: str, what: str) -> list[Any]:
    """Return the parts of a list, a tuple or an array; `what` says what they should be.

    A string is no sequence of its letters here, nor a dict one of its keys, and a set has no order.
    What can be walked over only once is, here: go on with what is returned.
    """
    try:
        if isinstance(value, (str, bytes, Mapping, Set)):
            raise TypeError
        return list(value)
    except TypeError:  # of an array without axes, too
        raise TypeError(f"{name} must be a list of {what}, not {shown(value)}") from None


def strings(value: Any, name: str) -> tuple[str, ...]:
    """Return a sequence of strings."""
    try:
        found = sequence(value, name, "strings")
        if not all(isinstance(part, str) for part in found):
            raise TypeError
    except TypeError:
        raise TypeError(f"{name} must be a sequence of strings, not {shown(value)}") from None
    return tuple(map(str, found))  # not NumPy's, which a file could not hold


def names(value: Any, name: str) -> list[str]:
    """Return strings of which each tells something else."""
    found = strings(value, name)
    twice = next((each for each in found if found.count(each) > 1), None)
    if twice is not None:
        raise ValueError(f"{name} must differ, but {twice!r} is there twice")
    return list(found)


def path(value: Any, name: str) -> str:
    """Return the path of a file, as a string."""
    try:
        if isinstance(value, (bytes, bool)):
            raise TypeError
        return str(os.fspath(value))
    except TypeError:
        raise TypeError(f"{name} must be the path of a file, not {shown(value)}") from None


def text(value: Any, name: str) -> str:
    """Return a string that is not empty."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {shown(value)}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    return value


def word(value: Any, name: str, words: tuple[str, ...], or_else: str = "") -> str:
    """Return one of some words; `or_else` says what may be there instead of one."""
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"{name} must be one of {', '.join(words)}{or_else}, not {shown(value)}")
    return value


def flag(value: Any, name: str) -> bool:
    """Return a bool; an array, or a word such as "no", is none."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, not {shown(value)}")
    return bool(value)


def function(value: Any, name: str, arguments: tuple[str, ...]) -> Any:
    """Return what can be called with so many arguments; they are named in the error."""
    kind = f"a function of ({', '.join(arguments)})"
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"{name} must be {kind}, not {shown(value)}")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # of a builtin, perhaps
        return value
    try:
        signature.bind(*arguments)
    except TypeError:
        raise TypeError(f"{name} must be {kind}, not of {signature}") from None
    return value


def instance(value: Any, kind: type, name: str, example: str, called: str = "") -> None:
    """Raise the error for a `value` of another kind, such as a class instead of an object."""
    if isinstance(value, kind):
        return
    called = called or kind.__name__
    article = "an" if called[0] in "AEIO" else "a"
    hint = f" such as {example}"
    if isinstance(value, type) and issubclass(value, kind):
        hint = f", not a class: write {value.__name__}(...)"
    raise TypeError(f"{name} must be {article} {called}{hint}; it is {shown(value)}")
