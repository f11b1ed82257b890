"""Objects that say what to write instead, where an argument or an attribute is not there."""

from __future__ import annotations

import functools
import inspect
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar

from npnn import words
from npnn.plain import arguments, is_ours

P = ParamSpec("P")
R = TypeVar("R")
ANEW = "make a new one"
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_REST = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


class Guided:
    """Base of what people construct: its errors say what there is instead of what there is not.

    What is set later on is looked at as the constructor does, and kept in its form. A class that
    shares its constructor's arguments between ways of writing them looks at them, as they were
    written, in ``_look_at(args, options)``; that of a base serves only as long as its constructor
    does.

    Attributes
    ----------
    fixed : dict of str to str
        What cannot be set once it is constructed, and what to do instead.
    """

    fixed: ClassVar[Mapping[str, str]] = {}

    if not TYPE_CHECKING:  # who checks types knows the constructor and the attributes better

        def __new__(cls, *args: Any, **options: Any) -> Any:
            by_place, names = _accepted(cls)
            if names is not None:
                for name in options:
                    if name not in names:
                        raise unknown_argument(cls.__name__, name, names)
            look = _look_of(cls)
            if look is not None and (args or options):  # a copy is made of none
                look(args, options)
            if by_place is not None:
                _check_places(cls.__name__, args, options, by_place)
            return object.__new__(cls)

        def __getattr__(self, name: str) -> Any:
            raise _NotThere(self, name)

        def __setattr__(self, name: str, value: Any) -> None:
            if name in vars(self) and name in _arguments(type(self)):
                value = self._suiting(name, value)
            object.__setattr__(self, name, value)

    def _suiting(self, name: str, value: Any) -> Any:
        """Return what a constructor's argument is to be from now on as the constructor keeps it.

        It raises the constructor's error for one that it refuses; who wrote a class, and its
        constructor, looks himself.
        """
        cls: type = type(self)
        self._check_not_fixed(name, value)
        names = {n for n in arguments(cls) if n != name and hasattr(self, n)}
        if not is_ours(_constructed_by(cls)) or not _required(cls) <= {*names, name}:
            return value
        return getattr(cls(**{n: getattr(self, n) for n in names}, **{name: value}), name)

    def _check_not_fixed(self, name: str, value: Any) -> None:
        """Raise the error for a value of what cannot be set, unless it is the one that it has."""
        if name in self.fixed and value is not getattr(self, name):
            who = type(self).__name__
            raise AttributeError(f"{who}.{name} is fixed once it is made: {self.fixed[name]}")

    def _missing(self, name: str) -> AttributeError:
        """Return the error for an attribute that there is not."""
        cls = type(self)
        plainly = f"{cls.__name__} has no attribute {name!r}"
        if name.startswith("_"):  # what others ask for to find out what something is
            return AttributeError(plainly)
        static = inspect.getattr_static(cls, name, None)
        if isinstance(static, property):
            try:
                static.fget(self)  # type: ignore[misc]
            except AttributeError as error:
                return error
        known = {n for n in (*dir(cls), *vars(self)) if not n.startswith("_")} - {name}
        return AttributeError(f"{plainly}{words.instead(name, known, words.ATTRIBUTES)}")


class _NotThere(AttributeError):
    """An attribute that there is not; what to write instead is looked for when it is shown.

    Who only asks whether it is there pays nothing for that.
    """

    def __init__(self, owner: Guided, name: str) -> None:
        super().__init__(name=name, obj=owner)
        self.owner, self.missing = owner, name

    def __str__(self) -> str:
        return str(self.owner._missing(self.missing))

    def __reduce__(self) -> tuple[type[AttributeError], tuple[str]]:
        return AttributeError, (str(self),)


def unknown_argument(who: str, name: str, names: Collection[str]) -> TypeError:
    """Return the error for an argument that `who`, which has those of `names`, has not."""
    hint = words.instead(name, names, words.ARGUMENTS) or f": it has {_listed(names)}"
    return TypeError(f"{who} has no argument {name!r}{hint}")


def guided(function: Callable[P, R]) -> Callable[P, R]:
    """Have a method, or a constructor, say what to write instead of an argument that it has not."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    names = [p.name for p in parameters]
    by_place = [p.name for p in parameters if p.kind in _BY_PLACE]
    known, most = frozenset(names), 1 + len(by_place)

    @functools.wraps(function)
    def called(*args: P.args, **options: P.kwargs) -> R:
        for name in options:
            if name not in known:
                raise unknown_argument(_called(function, args), name, names)
        if len(args) > most:
            raise TypeError(
                f"{_called(function, args)} takes {_listed(by_place)} by place, and by name "
                f"{_listed([n for n in names if n not in by_place])}; it is given {len(args) - 1} "
                "arguments by place"
            )
        return function(*args, **options)

    return called


def _called(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """Return the name that a method is called by: a constructor is by its class's."""
    name = function.__name__
    return type(args[0]).__name__ if name == "__init__" else name


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "none"


def constructor_is_own(cls: type) -> bool:
    """Return whether a class is constructed as that is which looks at how it is written."""
    return _look_of(cls) is not None


@functools.cache
def _look_of(cls: type) -> Callable[[Sequence[Any], dict[str, Any]], None] | None:
    """Return what looks at a constructor's arguments, if the constructor is of the same class."""
    for base in cls.__mro__:
        if "_look_at" in vars(base):
            look: Callable[[Sequence[Any], dict[str, Any]], None] = getattr(cls, "_look_at")  # noqa: B009
            return look
        if "__init__" in vars(base):
            return None
    return None


@functools.cache
def _arguments(cls: type) -> frozenset[str]:
    """Return the names of a constructor's arguments."""
    return frozenset(arguments(cls))


@functools.cache
def _constructed_by(cls: type) -> type:
    """Return the class that the constructor of another one is of."""
    return next(base for base in cls.__mro__ if "__init__" in vars(base))


@functools.cache
def _required(cls: type) -> frozenset[str]:
    """Return the names of the arguments that a constructor cannot do without."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    needed = (p.name for p in parameters if p.default is p.empty and p.kind not in _REST)
    return frozenset(needed)


@functools.cache
def _accepted(cls: type) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return a constructor's arguments by place, and by name; None for those that may be any."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    kinds = {parameter.kind for parameter in parameters}
    names = tuple(p.name for p in parameters if p.kind not in _REST)
    by_place = tuple(p.name for p in parameters if p.kind in _BY_PLACE)
    return (
        None if inspect.Parameter.VAR_POSITIONAL in kinds else by_place,
        None if inspect.Parameter.VAR_KEYWORD in kinds else names,
    )


def _check_places(
    who: str, args: Sequence[Any], options: Collection[str], by_place: Sequence[str]
) -> None:
    for name, value in zip(by_place, args, strict=False):
        if name in options:
            shown = reprlib.repr(value)
            raise TypeError(f"{who} is given {name} by name, and {shown} in its place")
    if len(args) > len(by_place):
        raise TypeError(
            f"{who} takes {_listed(by_place)} by place, but is given {len(args)} arguments: "
            f"{', '.join(map(reprlib.repr, args))}"
        )
