"""What may be called by its name: losses, optimizers and activations."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from npnn import checked, words
from npnn.plain import is_ours

T = TypeVar("T")


def called(
    value: Any, kind: type[T], name: str, kinds: Iterable[type[T]], others: Mapping[str, str] = {}
) -> T:
    """Return `value`, or what it is the name of, made with its default arguments.

    Parameters
    ----------
    value : object or str
        An object of `kind`, or the name of a class, with or without its last word and however its
        words are joined: ``"cross_entropy"`` is CrossEntropyLoss.
    kind : type
        What is needed.
    name : str
        The argument's, for the error.
    kinds : iterable of type
        Those that there are.
    others : mapping, optional
        Names that others have for them, without what is between words.
    """
    if isinstance(value, kind):
        return value
    # A class of a person's own does not take a name that the package has.
    by_name: dict[str, type[T]] = {}
    for each in sorted(filter(_has_defaults, kinds), key=lambda each: not is_ours(each)):
        by_name.setdefault(spoken(each.__name__), each)
    if not isinstance(value, str):
        example = f"{next(iter(by_name.values())).__name__}(), or its name"
        checked.instance(value, kind, name, example)
    by_letters = {words.plain(each): found for each, found in by_name.items()}
    asked = words.plain(value).removesuffix("loss")
    if asked in by_letters:
        return by_letters[asked]()
    closest = others.get(asked) or words.closest(asked, by_name)
    hint = f": did you mean {closest!r}?" if closest else ""
    raise ValueError(f"{name}: there is no {value!r}{hint}; there are {', '.join(by_name)}")


def spoken(name: str) -> str:
    """Return the name of a class in small letters, its words apart."""
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name.removesuffix("Loss")).lower()


def _has_defaults(kind: type) -> bool:
    """Return whether objects of a class can be made without an argument."""
    parameters = list(inspect.signature(kind).parameters.values())
    needed = [p for p in parameters if p.default is p.empty and p.kind not in _REST]
    return not kind.__name__.startswith("_") and not needed


_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
