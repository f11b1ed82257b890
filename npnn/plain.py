"""What a file holds beside arrays: plain values, and objects known by class and arguments."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

import numpy as np

from npnn.errors import FileError

DEPTH = 64  # of objects within objects
MOST_PLACES = 1 << 15  # at which layers stand


class Registry(dict[str, type]):
    """The classes that a file may name.

    The package's own classes have their plain names; so have others, unless the package has that
    name, when they go by that of their module, too.
    """

    def add(self, cls: type) -> None:
        """Take in a class; one that was defined anew takes the place of the old one."""
        self[self._key(cls)] = cls

    def name_of(self, cls: type) -> str:
        """Return what a file calls a class, or say why no file can."""
        key = self._key(cls)
        known = self.get(key)
        if "<locals>" in cls.__qualname__:
            raise FileError(
                f"the class {cls.__name__} is defined in a function, where nobody who reads the "
                "file can find it: define it at the top of a module"
            )
        if known is None:
            raise FileError(f"the class {cls.__name__} is a base of others, and not for itself")
        if known is not cls and _identity(known) != _identity(cls):
            raise FileError(
                f"the class {cls.__name__} of {cls.__module__} would be taken for that of "
                f"{known.__module__}, which has its name: give it another one"
            )
        return key

    def find(self, name: Any, kind: str) -> type:
        """Return the class that a file names."""
        if not isinstance(name, str):
            raise FileError(f"a {kind} needs a type, the name of its class, not {name!r:.100}")
        if name not in self:
            raise FileError(
                f"unknown {kind} type {name!r:.100}: import the module that defines it first"
            )
        return self[name]

    def _key(self, cls: type) -> str:
        name = cls.__name__
        if is_ours(cls) or not (name in self and is_ours(self[name])):
            return name
        return f"{cls.__module__}.{cls.__qualname__}"


def is_ours(cls: type) -> bool:
    """Return whether a class is the package's own."""
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


def _identity(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


class Named:
    """Base of what a file can hold by its class and arguments.

    Attributes
    ----------
    file_kind : str
        What a file, and an error, calls such an object.
    registry : Registry
        The classes of that kind.
    """

    file_kind: ClassVar[str] = ""
    registry: ClassVar[Registry]

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        super().__init_subclass__()
        if "file_kind" in vars(cls):
            KINDS[cls.file_kind] = cls
            cls.registry = Registry()
        elif not (abstract or (cls.__name__.startswith("_") and is_ours(cls))):
            cls.registry.add(cls)

    def _described(self, writer: Writer) -> dict[str, Any]:
        """Return the class and the constructor's arguments as plain values."""
        cls: type = type(self)
        config = {"type": self.registry.name_of(cls)}
        for name in file_arguments(cls):
            try:
                value = getattr(self, name)
            except AttributeError:
                raise FileError(f"it does not store its argument {name} under that name") from None
            config[name] = writer.value(value, f"its argument {name}")
        if not is_ours(cls):
            _check_comes_back(self, config)
        return config

    @classmethod
    def _restored(cls, config: dict[str, Any], reader: Reader) -> Any:
        """Return a fresh object from what :meth:`_described` gave."""
        return cls(**reader.arguments(config))


def _check_comes_back(thing: Named, config: dict[str, Any]) -> None:
    """Raise the error for an object of whose arguments a file would make another one."""
    cls: Any = type(thing)
    if any(_holds_layer(value) for value in config.values()):
        return  # it is read with the model
    try:
        other = cls._restored(config, Reader())
    except Exception as error:
        raise FileError(
            f"it could not be made anew of its arguments, {config!r:.200}: {error}"
        ) from None
    names = file_arguments(cls)
    if any(p.kind is p.VAR_KEYWORD for parameters in _signatures(cls) for p in parameters):
        ours = [base for base in cls.__mro__ if is_ours(base)]  # what came in by any name
        names = *names, *(n for n in vars(other) if not any(hasattr(base, n) for base in ours))
    for name in names:
        before, after = getattr(thing, name), getattr(other, name)
        if not _alike(before, after):
            raise FileError(
                f"made anew of what it stores, its {name} would be {after!r:.100} instead of "
                f"{before!r:.100}: a constructor stores each argument, as it is, under its name"
            )


def _holds_layer(value: Any) -> bool:
    """Return whether what :class:`Writer` gave holds a layer."""
    if isinstance(value, list):
        return any(map(_holds_layer, value))
    if isinstance(value, dict):
        return not value.keys().isdisjoint(("layer", "again")) or _holds_layer([*value.values()])
    return False


def _alike(one: Any, other: Any) -> bool:
    """Return whether two plain values are the same; of others that is not known."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    plain = (bool, int, float, str, np.ndarray, np.generic, type(None))
    if not isinstance(one, plain) or not isinstance(other, plain):
        return True
    return np.array_equal(np.asarray(one), np.asarray(other)) or (one != one) is True


KINDS: dict[str, type[Named]] = {}
"""The base of each kind."""


class Writer:
    """Makes plain values of arguments, layers among them; one that comes again is its number."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._layers: list[Named] = []  # so that no other has their id
        self._depth = 0

    def value(self, value: Any, what: str) -> Any:
        """Return an argument as plain values; `what` is its name, for the error."""
        if isinstance(value, Named):
            return self._named(value)
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            return {"array": value.tolist(), "dtype": value.dtype.name}
        if isinstance(value, (tuple, list)):
            return [self.value(item, what) for item in value]
        if isinstance(value, dict):
            pairs = value.items()
            return {"pairs": [[self.value(k, what), self.value(v, what)] for k, v in pairs]}
        return scalar(value, what)

    def _named(self, thing: Named) -> dict[str, Any]:
        kind = type(thing).file_kind
        if kind == "layer":
            if id(thing) in self._numbers:
                return {"again": self._numbers[id(thing)]}
            self._numbers[id(thing)] = len(self._numbers)
            self._layers.append(thing)
        self._depth += 1
        try:
            if self._depth > DEPTH:
                raise FileError(f"a file holds at most {DEPTH} objects within each other")
            return {kind: thing._described(self)}
        finally:
            self._depth -= 1


class Reader:
    """Makes objects of plain values again.

    Parameters
    ----------
    backend : Backend, optional
        That of models within the model.
    """

    def __init__(self, backend: Any = None) -> None:
        self.backend = backend
        self._layers: list[Any] = []
        self._sizes: dict[int, int] = {}
        self._depth = 0

    def arguments(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a constructor."""
        return {name: self.value(value) for name, value in config.items() if name != "type"}

    def value(self, value: Any) -> Any:
        """Return the argument that :meth:`Writer.value` described."""
        if isinstance(value, list):
            found = [self.value(item) for item in value]
            # Layers come in lists, all else in tuples.
            return found if any(map(_is_layer, found)) else tuple(found)
        if not isinstance(value, dict):
            return value
        if value.keys() == {"again"}:
            return self._again(value["again"])
        if value.keys() == {"pairs"}:
            pairs = value["pairs"]
            if not isinstance(pairs, list) or not all(
                isinstance(pair, list) and len(pair) == 2 for pair in pairs
            ):
                raise FileError(f"no pairs: {pairs!r:.100}")
            return {self.value(key): self.value(item) for key, item in pairs}
        if value.keys() == {"array", "dtype"}:
            if value["dtype"] not in _DTYPES:
                raise FileError(f"no dtype of an array: {value['dtype']!r:.100}")
            return np.array(value["array"], value["dtype"])
        for kind in value:
            if len(value) == 1 and kind in KINDS:
                return self.named(kind, value[kind])
        raise FileError(f"nothing that a file can hold: {value!r:.100}")

    def named(self, kind: str, config: Any) -> Any:
        """Return the object of a kind that was described."""
        if not isinstance(config, dict):
            raise FileError(f"a {kind} must be described by its type, not {config!r:.100}")
        found = KINDS[kind].registry.find(config.get("type"), kind)
        number = len(self._layers)
        if kind == "layer":
            self._layers.append(None)
        self._depth += 1
        try:
            if self._depth > DEPTH:
                raise FileError(f"there are more than {DEPTH} objects within each other")
            thing = found._restored(config, self)  # type: ignore[attr-defined]
        except FileError:
            raise
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise FileError(f"{kind} {config['type']}: {error}") from error
        finally:
            self._depth -= 1
        if kind == "layer":
            self._layers[number] = thing
            self._check_size([thing])
        return thing

    def layers(self, entries: Any) -> list[Any]:
        """Return the layers of a list."""
        if not isinstance(entries, list):
            raise FileError(f"the layers must be a list, not {entries!r:.100}")
        found = []
        for number, entry in enumerate(entries):
            try:
                found.append(self.value(entry))
            except FileError as error:
                raise FileError(f"layer {number}: {error}") from None
            if not _is_layer(found[-1]):
                raise FileError(f"layer {number} is none, but {entry!r:.100}")
        self._check_size(found)
        return found

    def _again(self, number: Any) -> Any:
        if type(number) is not int or not 0 <= number < len(self._layers):
            raise FileError(f"there is no earlier layer {number!r:.100} that could stand again")
        if self._layers[number] is None:
            raise FileError(f"layer {number} cannot stand within itself")
        return self._layers[number]

    def _check_size(self, layers: list[Any]) -> None:
        """Bound the places of layers, which those that stand again can multiply."""
        if sum(map(self._size, layers)) > MOST_PLACES or len(self._sizes) > MOST_PLACES:
            raise FileError(f"there are more than {MOST_PLACES:,} places for layers")

    def _size(self, layer: Any) -> int:
        """Return at how many places layers stand in a layer, itself among them."""
        if id(layer) not in self._sizes:
            self._sizes[id(layer)] = 1 + sum(self._size(child) for _, child in layer.children())
        return self._sizes[id(layer)]


def _is_layer(value: Any) -> bool:
    return isinstance(value, Named) and type(value).file_kind == "layer"


_DTYPES = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)))
_DTYPES += ("float16", "float32", "float64")


@cache
def file_arguments(cls: type) -> tuple[str, ...]:
    """Return the names of a constructor's arguments, if all can be given by name."""
    for parameters in _signatures(cls):
        kinds = [parameter.kind for parameter in parameters]
        for parameter, kind in zip(parameters, kinds, strict=True):
            rest = kind is parameter.VAR_POSITIONAL and parameter.VAR_KEYWORD not in kinds
            if rest or kind is parameter.POSITIONAL_ONLY:
                raise FileError(
                    f"its argument {parameter.name} cannot be given by name, as a file gives it"
                )
    return arguments(cls)


def arguments(cls: type) -> tuple[str, ...]:
    """Return the names of a constructor's arguments, those passed on to a base included."""
    rest = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
    names: dict[str, None] = {}
    for parameters in _signatures(cls):
        names |= {p.name: None for p in parameters if p.kind not in rest}
    return tuple(names)


def _signatures(cls: type) -> Iterator[list[inspect.Parameter]]:
    """Yield the parameters of the constructor, and of those that it passes the rest on to."""
    for base in cls.__mro__:
        if "__init__" in vars(base) and base is not object:
            parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
            yield parameters
            if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
                break


def scalar(value: Any, what: str) -> Any:
    """Return a number, a string, a bool or None as Python's own, or say that it is none."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value)
    if isinstance(value, str):
        return str(value)
    raise FileError(
        f"{what} is {value!r:.200}, and a file holds numbers, strings, bools, None, and lists, "
        "tuples and dicts of them"
    )


def jsonable(value: Any, what: str, depth: int = 0) -> Any:
    """Return what JSON can hold for a value of a person's own: NumPy's as Python's numbers."""
    if depth > DEPTH:
        raise FileError(f"{what} is nested more than {DEPTH} deep")
    if isinstance(value, dict):
        return {
            scalar(key, f"a key of {what}"): jsonable(item, f"{what}[{key!r:.50}]", depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [jsonable(item, what, depth + 1) for item in value]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufU":
        return value.tolist()
    return scalar(value, what)


def field(state: dict[str, Any], name: str, *types: type) -> Any:
    """Return a value that was saved, if it is there and of one of the types."""
    value = state.get(name)
    if name not in state or type(value) not in types or value != value:  # NaN is nothing, too
        found = f"{state[name]!r:.100}" if name in state else "missing"
        raise FileError(f"what was saved as {name} is {found}")
    return value


def again(cls: type, kind: str, config: dict[str, Any]) -> Any:
    """Return what was described by :class:`Writer`; what defines the class was imported for it."""
    return Reader().named(kind, config)
