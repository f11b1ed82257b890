"""What may be set on a layer, a loss or an optimizer, and who learns of it.

A captured step holds the numbers that it was recorded with. Whoever holds one compares a single
number, :data:`changes`, with the one it saw, at each step; only where they differ does it look
which of its own objects was changed. That is safe among threads: a number comes once, and is seen
only when the object bears it.
"""

from __future__ import annotations

import itertools
import opcode
from collections.abc import Iterator
from functools import cache, cached_property
from types import CodeType, FunctionType
from typing import Any, ClassVar

from npnn import checked, words
from npnn.guided import ANEW, Guided
from npnn.plain import arguments

changes = [0]
"""The number of the last change of a setting of anything."""
_numbers = itertools.count(1)


def look_again() -> int:
    """Have everybody who holds captured steps look whether they still hold; return the number."""
    number = changes[0] = next(_numbers)
    return number


class Settings(Guided):
    """Base of what has settings: an attribute that there is not is refused when it is set.

    There are: the constructor's arguments, what the class or an annotation names, and what a
    method of the class stores in ``self``.

    Attributes
    ----------
    running : tuple of str
        Arguments that each step asks for anew.
    switches : tuple of str
        Settings that are set back and forth; what was recorded is kept for each state of them.
    changed : int
        The number of the last change of another setting of this object.
    """

    running: ClassVar[tuple[str, ...]] = ()
    switches: ClassVar[tuple[str, ...]] = ()
    _working: ClassVar[frozenset[str]] = frozenset()
    changed: int = 0

    def __init_subclass__(cls) -> None:
        cls._working = frozenset()  # until it is asked for

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self)._working:
            self.__dict__[name] = value  # what changes in each step, without a further look
            return
        known, settings = _attributes(type(self))  # type: ignore[arg-type]
        if name not in known:
            self._refuse(name, known)
        old = vars(self).get(name, _NOTHING)
        if name in self.switches:
            value = checked.flag(value, name)
        elif name in settings and old is not _NOTHING and old is not value:
            value = self._suiting(name, value)
        elif _is_read_only(type(self), name):
            who = type(self).__name__
            raise AttributeError(f"{who}.{name} cannot be set: {self.fixed.get(name, ANEW)}")
        object.__setattr__(self, name, value)
        if name in settings and not _same(old, value):
            if name in self.switches:
                look_again()
            else:
                self.mark_changed()

    def mark_changed(self) -> None:
        """Have all steps that were recorded with this object's settings recorded anew."""
        number = next(_numbers)
        vars(self)["changed"] = number
        changes[0] = number

    def _refuse(self, name: str, known: frozenset[str]) -> None:
        public = sorted(n for n in known if not n.startswith("_"))
        hint = words.instead(name, public, words.ATTRIBUTES)
        hint = hint or f": it has {', '.join(self._arguments())}"
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}")

    @classmethod
    @cache
    def _arguments(cls) -> tuple[str, ...]:
        """Return the names of the constructor's arguments, those passed on to a base included."""
        return arguments(cls)


_NOTHING = object()


def _same(old: object, new: object) -> bool:
    return old is new or (type(new) in (bool, int, float, str, tuple) and old == new)


@cache
def _attributes(cls: type[Settings]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the attributes that objects of a class may have, and which of them are settings."""
    arguments = cls._arguments()
    arrays = [*getattr(cls, "parameter_names", ()), *getattr(cls, "state_names", ())]
    known = {*arguments, *arrays, *(f"grad_{name}" for name in arrays)}
    for base in cls.__mro__:
        if base is not object:
            known.update(vars(base), getattr(base, "__annotations__", ()))
            for function in _functions(base):
                known.update(_stored(function.__code__))
    settings = {*arguments, *arrays, *cls.switches} - set(cls.running)
    properties = {n for base in cls.__mro__ for n, v in vars(base).items() if hasattr(v, "__set__")}
    cls._working = frozenset(known - settings - properties)
    return frozenset(known), frozenset(settings)


def _is_read_only(cls: type, name: str) -> bool:
    return isinstance(found := getattr(cls, name, None), property) and found.fset is None


def _functions(cls: type) -> Iterator[FunctionType]:
    for value in vars(cls).values():
        parts: tuple[object, ...] = (value,)
        if isinstance(value, property):
            parts = value.fget, value.fset
        elif isinstance(value, cached_property):
            parts = (value.func,)
        elif isinstance(value, (staticmethod, classmethod)):
            parts = (value.__func__,)
        yield from (part for part in parts if isinstance(part, FunctionType))


def _stored(code: CodeType) -> Iterator[str]:
    """Yield the names of the attributes that a function stores, in `self` or anything else."""
    above = 0  # what comes before an argument larger than a byte
    for operation, argument in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        argument |= above
        above = argument << 8 if operation == opcode.opmap["EXTENDED_ARG"] else 0
        if operation == opcode.opmap["STORE_ATTR"]:
            yield code.co_names[argument]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _stored(constant)
