"""The callbacks that a person asks for: looked at before training begins."""

from __future__ import annotations

from npnn import checked, words
from npnn.callbacks.callback import Callback, FunctionCallback
from npnn.layers.layer import Layer

MOMENTS = [name for name in vars(Callback) if name.startswith("on_")]


def as_callbacks(callbacks: object) -> list[Callback]:
    """Return a list of callbacks, of which each may be a function."""
    if not isinstance(callbacks, (list, tuple)):
        hint = f": write [{type(callbacks).__name__}(...)]" * isinstance(callbacks, Callback)
        raise TypeError(
            f"callbacks must be a list of callbacks, not {checked.shown(callbacks)}{hint}"
        )
    found: list[Callback] = []
    for number, callback in enumerate(callbacks):
        if callable(callback) and not isinstance(callback, (Callback, Layer, type)):
            checked.function(callback, f"callbacks[{number}]", ("training", "metrics"))
            callback = FunctionCallback(callback)
        example = "EarlyStopping(), or a function of (training, metrics)"
        checked.instance(callback, Callback, f"callbacks[{number}]", example)
        _check_moments(type(callback))
        if any(callback is other for other in found):
            raise ValueError(
                f"callbacks[{number}] is there twice, and would count each epoch twice"
            )
        found.append(callback)
    return found


def _check_moments(kind: type[Callback]) -> None:
    """Raise the error for a method that looks as if it were called, and never is."""
    for name in dir(kind):
        if name.startswith("on_") and name not in MOMENTS and callable(getattr(kind, name)):
            closest = words.closest(name, MOMENTS)
            hint = f"did you mean {closest}? " if closest else ""
            raise TypeError(
                f"{kind.__name__} has {name}, which is never called: {hint}there are "
                f"{', '.join(MOMENTS)}"
            )
