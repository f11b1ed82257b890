"""What comes in: inputs, targets and weights, looked at and brought to the backend's arrays."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.arrays import Array, array_namespace
from npnn.backends.backend import Backend, host_array
from npnn.trees import Path, first, leaves, mapped, place

if TYPE_CHECKING:
    from npnn.backends.backend import Tree
    from npnn.losses import LossLayer
    from npnn.model import Sequential
    from npnn.network import Network


class Acceptance:
    """Brings what a person gives to the form in which a network's steps take it in.

    Parameters
    ----------
    network : Network
        Whose inputs and targets they are.
    """

    def __init__(self, network: Network) -> None:
        self.network, self.model = network, network.model
        self._accepted: set[object] = set()
        self._looked_at: set[object] = set()

    def batch(self, x: Any, t: Any = None, w: Any = None) -> Tree:
        """Return a batch as arrays that a step takes in, their shapes checked."""
        backend = self.network.backend
        if self.model.capture:
            backend = backend.entrance(x, t)
        given = t
        x, t = self._as_arrays(x, t, backend)
        batch = {"x": x} if t is None else {"x": x, "t": t}
        if w is not None:
            batch["w"] = as_weights(w, len_of(x), backend)
        of_x = x.shape if hasattr(x, "shape") else _shapes(x)
        key = of_x, None if t is None else (t.shape, t.dtype)
        if key in self._accepted:
            return batch
        with backend.current():
            fitting = self._check_shapes(x, t, given, backend)
            of_classes = t is not None and fitting.ndim == len(self.network.shape_out)
            if t is not None and not of_classes and key not in self._looked_at:
                # Their values, unlike their shape, cost a look at each; one batch tells already.
                self.network.losses[-1].check_targets(fitting)
                self._looked_at.add(key)
        if fitting is t and (backend.asynchronous or not of_classes):
            # What needs no conversion needs no second look; one at labels may wait for a device.
            self._accepted.add(key)
        if t is not None:
            batch["t"] = fitting
        return batch

    def data(
        self, x: Any, t: Any, w: Any = None, name: str = "", backend: Backend | None = None
    ) -> Tree:
        """Return a whole data set as arrays of a backend: all checked, inputs normalised.

        Parameters
        ----------
        x, t, w : array_like
            Raw inputs, targets and weights.
        name : str, optional
            What the errors call them, such as ``"the training data: "``.
        backend : Backend, optional
            The model's own if None.
        """
        given = x, t
        backend = backend or self.network.backend
        with quiet(), backend.current():
            x, t = self._as_arrays(x, t, backend)
            t = self._check_shapes(x, t, given[1], backend)
            if self.model.norm is not None:
                self.model.norm.check_fits(self.network.shape_in)
                x = self.model.norm(x)
            for path, array in leaves(x):
                check_finite(array, _at(given[0], path), backend, f"{name}inputs{place(path)}")
            data = {"x": x}
            if t is not None:
                check_finite(t, given[1], backend, f"{name}targets")
                if t.ndim > len(self.network.shape_out):
                    self.network.losses[-1].check_targets(t)
                data["t"] = t
            if w is not None:
                data["w"] = as_weights(w, len_of(x), backend)
        return data

    def _as_arrays(self, x: Any, t: Any, backend: Backend) -> tuple[Any, Array]:
        integers = self.model.takes_integers
        try:
            if isinstance(x, (dict, tuple)) and is_tree(x, self.model.shape_in):
                x = _of_tree(x, lambda a: backend.asarray(a, keep_integers=integers))
            else:
                x = backend.asarray(x, keep_integers=integers)
            return x, None if t is None else backend.asarray(t, keep_integers=True)
        except (TypeError, ValueError):
            # Asked again, each says by its name what is wrong with it.
            as_inputs(backend, x, self.model)
            as_array(backend, t, "t")
            raise

    def _check_shapes(self, x: Any, t: Array, given: Any, backend: Backend) -> Array:
        """Return the targets as the last loss needs them, or say what does not fit."""
        check_inputs(x, self.model)
        if t is None:
            return None
        if not self.network.losses:
            raise ValueError("the model has no loss: set model.chain, or give fit a loss")
        t = prepare_targets(t, given, self.network.losses[-1], backend)
        if t.shape[0] != len_of(x):
            raise ValueError(f"{len_of(x)} inputs do not go with {t.shape[0]} targets")
        return t


# Inputs ------------------------------------------------------------------------------------------


def len_of(x: Any) -> int:
    """Return the number of samples of inputs."""
    return int((x if hasattr(x, "shape") else first(x)).shape[0])


def _shapes(x: Any) -> tuple[Any, ...]:
    return tuple((path, a.shape) for path, a in leaves(x))


def is_tree(x: Any, shape: Any) -> bool:
    """Return whether inputs are several arrays: in a dict, or in a tuple."""
    if isinstance(x, dict):
        return True
    if not isinstance(x, tuple):
        return False
    if shape is not None:
        return any(isinstance(part, (tuple, dict)) for part in shape)
    return bool(x) and all(hasattr(array, "shape") or isinstance(array, dict) for array in x)


def _of_tree(x: Any, function: Any) -> Any:
    """Return the arrays of inputs, in the dicts and tuples that hold them."""
    if isinstance(x, dict):
        return {key: _of_tree(value, function) for key, value in x.items()}
    return tuple(_of_tree(v, function) for v in x) if isinstance(x, tuple) else function(x)


def _at(x: Any, path: Path) -> Any:
    for part in path:
        x = x[part]
    return x


def as_inputs(backend: Backend, x: Any, model: Sequential) -> Any:
    """Return inputs as an array, or as several; the error says which, and what is wrong."""
    if not is_tree(x, model.shape_in):
        return as_array(backend, x, "x", keep_integers=model.takes_integers)
    return _of_tree(x, lambda a: as_array(backend, a, "x", keep_integers=model.takes_integers))


def as_weights(w: Any, count: int, backend: Backend) -> Array:
    """Return the weights of samples as an array, or say what is wrong with them."""
    array = as_array(backend, w, "w", keep_integers=False)
    if array.shape != (count,):
        raise ValueError(
            f"weights w must have shape ({count},), one for each sample, but have shape "
            f"{tuple(array.shape)}"
        )
    if not backend.asynchronous:
        xp = backend.xp
        good = bool(xp.all(xp.isfinite(array))) and bool(xp.all(array >= 0.0))
        if not good or not bool(xp.any(array > 0.0)):
            raise ValueError(
                "weights w must be finite numbers of at least 0, and not all of them 0"
            )
    return array


_ROLES = {"x": "inputs x", "t": "targets t", "w": "weights w"}


def as_array(backend: Backend, value: Any, name: str, *, keep_integers: bool = True) -> Array:
    """Return inputs (`name` "x"), targets ("t") or weights ("w") as an array.

    The error says what is wrong.

    The remedies are looked for only here, where the conversion has failed.
    """
    try:
        return backend.asarray(value, keep_integers=keep_integers)
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


def check_inputs(x: Any, model: Sequential) -> None:
    """Raise the error for inputs that do not have the model's shape, or are empty."""
    if model.shape_in is None:
        model.build_at(mapped(x, lambda array: tuple(array.shape[1:])))
    for path, array in leaves(x):
        try:
            shape = _at(model.shape_in, path)
        except (KeyError, IndexError, TypeError):
            shape = None
        if not isinstance(shape, tuple):
            raise ValueError(
                f"inputs are {_described(mapped(x, lambda a: tuple(a.shape)))}, but the model "
                f"takes samples of shape {model.shape_in}"
            )
        _check_input(tuple(array.shape), shape, f"inputs{place(path)}")
    lengths = {array.shape[0] for _, array in leaves(x)}
    if len(lengths) > 1:
        raise ValueError(f"inputs have different numbers of samples: {sorted(lengths)}")


def _described(shapes: object) -> str:
    return f"arrays of shapes {shapes}"


def _check_input(given: tuple[int, ...], shape: tuple[int | None, ...], what: str) -> None:
    wanted = f"(batch, {', '.join('any' if n is None else str(n) for n in shape)})"
    if len(given) != len(shape) + 1:
        raise ValueError(
            f"{what} must have {len(shape) + 1} axes, {wanted}, but have {len(given)}: {given}"
        )
    if any(n not in (None, m) for n, m in zip(shape, given[1:], strict=True)):
        raise ValueError(f"{what} must have shape {wanted}, but have shape {given}")
    if given[0] == 0:
        raise ValueError(f"{what} are empty: there must be at least one sample")


# Targets -----------------------------------------------------------------------------------------


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


def quiet() -> contextlib.AbstractContextManager[object]:
    """Keep NumPy from warning of numbers that a check is about to name."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")
