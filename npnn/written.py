"""What is known of a layer by those that write it down for where npnn is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from npnn.layers.layer import Layer
from npnn.layers.row import Row


def check_known(layer: Layer, known: Mapping[Any, object], what: str, register: str) -> None:
    """Raise the error for a layer that computes what is not known, of its own or another's.

    Parameters
    ----------
    layer : Layer
        What is to be written.
    known : mapping
        Whose keys are the classes that can be; a class that computes as they do can be, too.
    what : str
        What is written for each of them, for the error.
    register : str
        Where a function for another class is registered, and what it takes.
    """
    if isinstance(layer, Row):
        return  # whose layers are
    kind: Any = next(base for base in type(layer).__mro__ if base in known)
    if kind is object or type(layer).forward is not kind.forward:
        raise TypeError(
            f"no {what} are known for {layer!r}: register a function {register} for "
            f"{type(layer).__name__}"
        )
