"""What inputs, targets and layers must be, looked at before they are trained with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.arrays import Array, array_namespace
from npnn.backends.backend import Backend, host_array
from npnn.layers.layer import Layer

if TYPE_CHECKING:
    from npnn.loss_layer import LossLayer
    from npnn.sequential import Sequential

# Arrays ------------------------------------------------------------------------------------------

_ROLES = {"x": "inputs x", "t": "targets t"}


def as_array(backend: Backend, value: Any, name: str) -> Array:
    """Return inputs (`name` "x") or targets ("t") as an array; the error says what is wrong.

    The remedies are looked for only here, where the conversion has failed.
    """
    try:
        return backend.asarray(value, keep_integers=name == "t")
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{_ROLES[name]}: {error}{_remedy(value, name, error)}") from None


def _remedy(value: Any, name: str, error: Exception) -> str:
    bad = []
    for column in getattr(value, "columns", ()):
        try:
            host_array(value[column])
        except (TypeError, ValueError):
            bad.append(f"{column!r} ({getattr(value[column], 'dtype', 'of no dtype')})")
    if bad:
        return (
            f"; look at column{'s' * (len(bad) > 1)} {', '.join(bad)}: fill or drop missing "
            "values, and turn words and categories into numbers"
        )
    if name == "t" and isinstance(error, TypeError) and _has_words(value):
        return "; classes are integers, such as np.unique(t, return_inverse=True)[1] gives"
    return ""


def _has_words(value: Any) -> bool:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # on a GPU, where there are no words
        return False
    return array.dtype.kind in "US" or any(isinstance(item, str) for item in array.flat)


def check_inputs(x: Array, model: Sequential) -> None:
    """Raise the error for inputs that do not have the model's shape, or are empty."""
    if model.shape_in is None:
        model.build_at(tuple(x.shape[1:]))
    shape, given = model.shape_in, tuple(x.shape)
    assert shape is not None
    if len(given) != len(shape) + 1:
        raise ValueError(
            f"inputs must have {len(shape) + 1} axes, (batch, {', '.join(map(str, shape))}), "
            f"but have {len(given)}: {given}"
        )
    if given[1:] != shape:
        raise ValueError(
            f"inputs must have shape (batch, {', '.join(map(str, shape))}), but have shape {given}"
        )
    if given[0] == 0:
        raise ValueError("inputs are empty: there must be at least one sample")


def prepare_targets(t: Array, raw: Any, loss: LossLayer, backend: Backend) -> Array:
    """Return targets of the shape and dtype that the loss needs; or the integers of classes.

    Parameters
    ----------
    t : array
        Of the backend; integers are still integers.
    raw : array_like
        What the user gave: whether it was boolean is not seen in `t` any more.
    loss : LossLayer
        The last one of the chain.
    backend : Backend
        The chain's.
    """
    shape = loss.shape_in
    assert shape is not None
    if loss.takes_classes and shape[-1] > 1:
        is_column = t.ndim == len(shape) + 1 and t.shape[-1] == 1
        if is_column or t.ndim == len(shape):
            t = _classes(t, raw, loss, backend)
            return t[..., 0] if is_column else t
    return loss.prepare_targets(t, shape, backend.dtype)


def _classes(t: Array, raw: Any, loss: LossLayer, backend: Backend) -> Array:
    """Return class labels as integers, or say why they are none."""
    xp, number = backend.xp, (loss.shape_in or ())[-1]
    if not xp.isdtype(t.dtype, "integral"):
        is_boolean = "bool" in str(raw.dtype if hasattr(raw, "dtype") else np.asarray(raw).dtype)
        if is_boolean and number == 2:
            return xp.astype(t, xp.int32)
        if is_boolean:
            remedy = f"booleans name 2 classes, but there are {number} outputs"
        elif bool(xp.any(xp.isnan(t))):
            remedy = "the labels hold NaN: leave those samples out, then use t.astype(int)"
        else:
            remedy = "class labels must be integers: t.astype(int)"
        raise ValueError(
            f"{type(loss).__name__}: targets of shape {tuple(t.shape)} do not fit outputs of shape "
            f"(batch, {', '.join(map(str, loss.shape_in or ()))}); {remedy}"
        )
    low, high = int(xp.min(t)), int(xp.max(t))
    if low < 0 or high >= number:
        raise ValueError(
            f"class labels must be from 0 to {number - 1}, but there is a "
            f"{low if low < 0 else high}"
        )
    return t


def check_finite(array: Array, raw: Any, backend: Backend, what: str) -> None:
    """Raise the error for an array with a number that is none; it names the first one's place.

    Parameters
    ----------
    array : array
        Of the backend.
    raw : array_like
        What the user gave, which may hold numbers that are too large for the backend's dtype.
    backend : Backend
        The model's.
    what : str
        What the array is, for the error.
    """
    xp = array_namespace(array)
    if bool(xp.all(xp.isfinite(array))):
        return
    host = backend.to_numpy(array)
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(host))[0])
    where = f"at sample {place[0]}, position {place[1:]} (counted from 0)"
    given = host_array(raw)
    given = given[place] if given.shape == host.shape else given[place[0]]
    if np.isfinite(given).all():
        raise ValueError(
            f"{what} must fit {backend.dtype_name}, but there is a {given} {where}: scale them"
            + (", or use Sequential(dtype='float64')" if backend.dtype_name == "float32" else "")
        )
    raise ValueError(f"{what} must be finite numbers, but there is a {host[place]} {where}")


def quiet() -> contextlib.AbstractContextManager[Any]:
    """Keep NumPy from warning of numbers that a check is about to name."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


# Layers ------------------------------------------------------------------------------------------


def check_built(layer: Layer, shape_out: Any) -> None:
    """Raise the error for a layer whose build forgot something."""
    for name in (*layer.parameter_names, *layer.state_names):
        if name not in vars(layer):
            raise ValueError(
                f"build drew no {name!r}, which its parameter_names or state_names list: "
                f"call self.draw({name!r}, ...) in it"
            )
    if not isinstance(shape_out, tuple) or shape_out != layer.shape_out:
        raise ValueError(
            "build must set shape_out and return it, a tuple of ints; "
            f"it returned {shape_out!r}, and shape_out is {layer.shape_out!r}"
        )


@contextlib.contextmanager
def watching(layers: Sequence[tuple[str, Layer]]) -> Iterator[None]:
    """Look at the shapes of all that layers give while a chain runs for the first time.

    Each layer's methods are replaced by ones that look, and put back; later runs cost nothing.
    """
    before = [(layer, dict(vars(layer))) for _, layer in layers]
    for place, layer in layers:
        vars(layer).update(_watched(place, layer))
    try:
        yield
    finally:
        for layer, attributes in before:
            for name in ("forward", "backward"):
                vars(layer).pop(name, None)
                if name in attributes:
                    vars(layer)[name] = attributes[name]


def _watched(place: str, layer: Layer) -> dict[str, Callable[..., Array]]:
    from npnn.loss_layer import LossLayer

    plain_forward, plain_backward = layer.forward, layer.backward
    came: list[tuple[int, ...]] = []  # the shape of the inputs
    who = f"layer {place}, {type(layer).__name__}" if place else type(layer).__name__

    def forward(x: Array, *more: Any, **options: Any) -> Array:
        y = plain_forward(x, *more, **options)
        came[:] = [tuple(x.shape)]
        _expect(y, (x.shape[0], *(layer.shape_out or ())), f"{who}: forward gave")
        return y

    def backward(*gradients: Any, **options: Any) -> Array:
        gradient = plain_backward(*gradients, **options)
        for name in layer.parameter_names:
            given = getattr(layer, f"grad_{name}", None)
            shape = tuple(getattr(layer, name).shape)
            _expect(given, shape, f"{who}: backward left as grad_{name}")
        _expect(gradient, came[0] if came else None, f"{who}: backward gave")
        return gradient

    if isinstance(layer, LossLayer):
        return {"backward": backward}  # it is measured, not run forward
    return {"forward": forward, "backward": backward}


def _expect(value: Any, shape: tuple[int, ...] | None, who: str) -> None:
    if value is None or not hasattr(value, "shape"):
        raise TypeError(f"{who} {value!r}, but an array of shape {shape} is needed")
    if shape is not None and tuple(value.shape) != shape:
        raise ValueError(f"{who} an array of shape {tuple(value.shape)}, but {shape} is needed")
