"""What comes in: inputs, targets and weights, looked at and brought to the backend's arrays.

Every door leads through here: `fit`, `step`, `predict`, `predict_class` and `evaluate`, with and
without capture, of data on the device and of those that are streamed to it. A batch is looked at as
a data set is, by looks that take a microsecond where all is well; but not where a look would be a
wait for a device, of whose arrays only whole data sets are looked at.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import known, labels
from npnn.arrays import Array, array_namespace, fits
from npnn.backends.backend import Backend
from npnn.datasets.schema import read_inputs
from npnn.losses import BinaryCrossEntropyLoss, CrossEntropyLoss, LossLayer
from npnn.normalization import normalize
from npnn.targets import prepare_targets
from npnn.trees import Path, leaves, len_of, mapped, place
from npnn.values import (
    all_below,
    all_fractions,
    all_probabilities,
    all_small,
    check_apart,
    check_exact,
    check_finite,
    quiet,
    whole,
)

if TYPE_CHECKING:
    from npnn.backends.backend import Tree
    from npnn.model import Sequential
    from npnn.network import Network

# Which targets need no further look: a loss of one's own, with a check of its own, is always asked.
QUICK_LOOKS = {
    LossLayer.check_targets: all_small,
    CrossEntropyLoss.check_targets: all_probabilities,
    BinaryCrossEntropyLoss.check_targets: all_fractions,
}


class Acceptance:
    """Brings what a person gives to the form in which a network's steps take it in.

    Parameters
    ----------
    network : Network
        Whose inputs and targets they are.
    """

    def __init__(self, network: Network) -> None:
        self.network, self.model = network, network.model
        self._dtype = np.dtype(network.backend.dtype_name)
        self._shapes: set[object] = set()  # of inputs that were taken in
        self._forms: dict[object, bool] = {}  # of targets that were; whether they are classes
        self._norm: object = None
        self._unsure = bool(network.unsure)
        # Forms of batches that a step takes in as they are, and the look at their targets.
        self._plain: dict[object, Callable[[np.ndarray], bool]] = {}

    def batch(self, x: Any, t: Any = None, w: Any = None) -> tuple[Tree, bool]:
        """Return a batch as arrays that a step takes in, and whether it must normalise them.

        Inputs of the backend's own dtype are normalised in the step. Others are first: they may
        have more digits, which only the difference from the offset keeps.
        """
        if type(x) is np.ndarray and type(t) is np.ndarray and w is None:
            look = self._plain.get((x.shape, x.dtype, t.shape, t.dtype))
            norm = self.model.norm
            if look is not None and norm is self._norm and all_small(x) and look(t):
                return {"x": x, "t": t}, norm is not None
        given, backend = (x, t), self.network.backend
        if self.model.capture:
            backend = backend.entrance(x, t)
        as_before = self._as_before(x, t, backend)
        if as_before is not None:
            x, t, is_raw = as_before
            x = x if backend.owns(x) else backend.asarray(x)
            if t is not None:
                t = t if backend.owns(t) else backend.asarray(t, keep_integers=True)
                t = self._fitting(t)
        else:
            x, is_raw = self._inputs(x, backend)
            if t is not None:
                t = self._targets(t, len_of(x), backend)
            self._look_at_outputs(x, t, is_raw)
        scaled = t if t is None else self._scaled(t, backend)
        batch = {"x": x} if t is None else {"x": x, "t": scaled}
        if type(x) is np.ndarray and x is given[0] and t is not None and scaled is given[1]:
            look = QUICK_LOOKS.get(type(self.network.losses[-1]).check_targets)
            if look is not None and x.dtype == t.dtype == self._dtype:
                self._plain[x.shape, x.dtype, t.shape, t.dtype] = look
        if w is not None:
            batch["w"] = as_weights(w, len_of(x), backend)
        return batch, is_raw

    def _look_at_outputs(self, x: Any, t: Any, is_raw: bool) -> None:
        """Look once whether the losses have use for what is made of inputs."""
        if self._unsure and t is not None:
            self._unsure, norm = False, self.model.norm
            known.look(self.network, norm(x) if is_raw and norm is not None else x)

    def _as_before(self, x: Any, t: Any, backend: Backend) -> tuple[Any, Any, bool] | None:
        """Return a batch, rounded, that has the form of one before it and nothing wrong in it.

        With it whether the step must normalise it. This is asked in each step; where it is None,
        all is looked at.
        """
        view, norm, own = _view(x, backend), self.model.norm, self._dtype
        if view is None or view.shape not in self._shapes or norm is not self._norm:
            return None
        if self.model.takes_integers:
            return None
        is_raw = norm is not None
        if view.dtype != own:
            if view.dtype.kind not in "fiub":
                return None
            if norm is not None and not _holds(own, view.dtype):
                if view.dtype != np.float64:
                    return None
                with quiet():
                    view, is_raw = normalize(view, norm.offset, norm.scale), False
            x = view = _cast(view, own)
        if not all_small(view):
            return None
        if t is None:
            return x, t, is_raw
        view = _view(t, backend)
        of_classes = None if view is None else self._forms.get((view.shape, view.dtype, len_of(x)))
        if view is None or of_classes is None:
            return None
        loss: LossLayer = self.network.losses[-1]
        if of_classes:
            return (x, t, is_raw) if all_below(view, loss.shape_in[-1]) else None  # type: ignore[index]
        if view.dtype != own:
            t = view = _cast(view, own)
        look = QUICK_LOOKS.get(type(loss).check_targets)
        return (x, t, is_raw) if look is not None and look(view) else None

    def _fitting(self, t: Array) -> Array:
        """Return targets of a form that was taken in before, as the last loss needs them."""
        loss, shape = self.network.losses[-1], self.network.shape_out
        return (
            t if t.ndim == len(shape) and shape[-1] > 1 else loss.prepare_targets(t, shape, t.dtype)
        )

    def data(
        self,
        x: Any,
        t: Any,
        w: Any = None,
        name: str = "",
        backend: Backend | None = None,
        *,
        training: bool = False,
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
        training : bool, default False
            Whether samples must differ that did before they were rounded.
        """
        backend = backend or self.network.backend
        with backend.current():
            x, _ = self._inputs(x, backend, name, whole=True, training=training)
            data, count = {"x": x}, len_of(x)
            if t is not None:
                found = self._targets(t, count, backend, name, whole=True, training=training)
                data["t"] = self._scaled(found, backend)
                self._look_at_outputs(x, t, False)
            if w is not None:
                data["w"] = as_weights(w, count, backend)
        return data

    # Inputs ------------------------------------------------------------------------------------

    def _inputs(self, x: Any, backend: Backend, name: str = "", **how: bool) -> tuple[Any, bool]:
        """Return inputs as arrays, and whether a step must normalise them."""
        model = self.model
        if model.norm is not self._norm and model.norm is not None:
            model.norm.check_fits(self.network.shape_in)
        self._norm = model.norm
        raw = raw_inputs(backend, x, model)
        if model.takes_integers and hasattr(raw, "shape"):
            raw = self._whole(raw, backend)
        shape = raw.shape if hasattr(raw, "shape") else _shapes(raw)
        if shape not in self._shapes:
            check_inputs(raw, model)
            self._shapes.add(shape)
        if hasattr(raw, "shape"):
            return self._input(raw, x, backend, f"{name}inputs", **how)
        found = {
            path: self._input(array, _at(x, path), backend, f"{name}inputs{place(path)}", **how)
            for path, array in leaves(raw)
        }
        arrays = iter(array for array, _ in found.values())
        return mapped(raw, lambda _: next(arrays)), any(is_raw for _, is_raw in found.values())

    def _whole(self, raw: Array, backend: Backend) -> Array:
        what = f"inputs of layer 0, {type(self.model.layers[0]).__name__},"
        if self.model.norm is not None:
            raise ValueError(f"{what} must be integers, of which model.norm makes others")
        with backend.current():
            return whole(raw, what)

    def _input(
        self,
        raw: Array,
        given: Any,
        backend: Backend,
        what: str,
        *,
        whole: bool = False,
        training: bool = False,
    ) -> tuple[Array, bool]:
        norm, is_host = self.model.norm, isinstance(raw, np.ndarray)
        integers = self.model.takes_integers and norm is None and _are_integers(raw)
        if norm is None or (_holds(self._dtype, raw.dtype) and not whole):
            with quiet():
                x = raw if integers else _rounded(raw, backend)
            _look(x, raw, given, backend, what, whole)
            if training and is_host and not integers:
                check_apart(raw, backend, what)
            return backend.asarray(x, keep_integers=True), norm is not None
        with quiet():
            exact = _rounded(raw, backend) if _holds(self._dtype, raw.dtype) else raw
            centred = norm(exact)
            x = _rounded(centred, backend)
        _look(x, centred, given, backend, what, whole)
        return backend.asarray(x), False

    # Targets -----------------------------------------------------------------------------------

    def _targets(
        self,
        t: Any,
        count: int,
        backend: Backend,
        name: str = "",
        *,
        whole: bool = False,
        training: bool = False,
    ) -> Array:
        """Return the targets as the last loss needs them, or say what is wrong."""
        if not self.network.losses:
            raise ValueError("the model has no loss: set model.chain, or give fit a loss")
        loss, given = self.network.losses[-1], t
        if labels.are_words(t, loss):
            t = labels.as_classes(t, self.model.class_names, loss)
        raw = unrounded(backend, t, "t")
        with quiet(), backend.current():
            array = backend.asarray(raw, keep_integers=True)
            view = _view(raw, backend)
            form = raw.shape, (raw if view is None else view).dtype, count
            if form in self._forms and not whole and view is None:
                return self._fitting(array)
            fitting = prepare_targets(array, given, loss, backend)
            if fitting.shape[0] != count:
                raise ValueError(f"{count} inputs do not go with {fitting.shape[0]} targets")
            of_classes = fitting.ndim == len(self.network.shape_out)
            seen = fitting
            if (
                isinstance(raw, np.ndarray) and not of_classes
            ):  # what lies on the host is seen there
                seen = _rounded(raw, backend).reshape(fitting.shape)
            _look(seen, raw, given, backend, f"{name}targets", whole)
            if not of_classes:
                loss.check_targets(fitting)
        if training and not of_classes and isinstance(raw, np.ndarray):
            check_apart(raw, backend, f"{name}targets")
        if not of_classes or fitting is array:
            self._forms[form] = of_classes
        return fitting

    def _scaled(self, t: Array, backend: Backend) -> Array:
        """Return targets at the scale at which the model computes."""
        norm = self.network.target_norm
        if norm is None:
            return t
        with quiet(), backend.current():
            return norm(t)


def _view(x: Any, backend: Backend) -> np.ndarray | None:
    """Return an array of the backend, or of NumPy, as one of NumPy where that costs nothing."""
    if type(x) is np.ndarray:
        return x
    return backend.on_host(x) if backend.owns(x) else None


def _cast(x: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    with quiet():
        return x.astype(dtype)


def _holds(dtype: np.dtype[Any], other: Any) -> bool:
    """Return whether each number of another dtype, of any library, is one of `dtype`."""
    # The library first: array_api_strict warns where its dtypes are compared with others'.
    library: Any = type(other)
    return _holds_all(library, other, dtype)


@functools.cache
def _holds_all(library: Any, other: Any, dtype: np.dtype[Any]) -> bool:
    try:
        other = np.dtype(str(other).rpartition(".")[2])
    except TypeError:  # such as bfloat16
        return False
    return np.can_cast(other, dtype) and not (other.kind in "iu" and other.itemsize == 8)


def _rounded(x: Array, backend: Backend) -> Array:
    """Return an array of the backend's dtype, which lies where `x` does."""
    if isinstance(x, np.ndarray):
        return x.astype(backend.dtype_name, copy=False)
    return backend.asarray(x)


def _are_integers(x: Array) -> bool:
    return bool(array_namespace(x).isdtype(x.dtype, "integral"))


def _look(x: Array, raw: Array, given: Any, backend: Backend, what: str, wait: bool) -> None:
    """Raise the error for numbers that are none, or that became others: `x` was made of `raw`."""
    host = x if isinstance(x, np.ndarray) else backend.on_host(x)
    if host is None:
        if wait:
            check_finite(x, given, backend, what)
        return
    if host.dtype.kind != "f" or all_small(host):
        return
    check_finite(host, given, backend, what)
    if raw is not x:
        raw = raw if isinstance(raw, np.ndarray) else backend.to_numpy(raw)
        check_exact(host, raw.reshape(host.shape), backend, what)


# Inputs ------------------------------------------------------------------------------------------


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


def raw_inputs(backend: Backend, x: Any, model: Sequential) -> Any:
    """Return inputs as an array, or as several, not rounded yet; or say what is wrong with them."""
    if hasattr(x, "x_train_data"):
        raise TypeError(
            f"inputs x: a {type(x).__name__} is for fit; elsewhere give arrays of it, such as "
            "x_validation_data and y_validation_data"
        )
    if isinstance(x, dict) and not x:
        raise ValueError("inputs x: there is nothing in the dict")
    if isinstance(x, (dict, tuple)) and is_tree(x, model.shape_in):
        return _of_tree(x, lambda array: unrounded(backend, array, "x"))
    if hasattr(x, "columns"):
        x = read_inputs(x, model.details)
    return unrounded(backend, x, "x")


def as_weights(w: Any, count: int, backend: Backend) -> Array:
    """Return the weights of samples as an array, or say what is wrong with them."""
    array = backend.asarray(unrounded(backend, w, "w"))
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
        total, info = float(xp.sum(array)), xp.finfo(array.dtype)
        if not float(info.smallest_normal) <= total / count <= total <= float(info.max) / 1e6:
            raise ValueError(
                f"weights w must have a sum that {backend.dtype_name} holds, with many more of its "
                "kind: divide them by w.max()"
            )
    return array


_ROLES = {"x": "inputs x", "t": "targets t", "w": "weights w"}


def unrounded(backend: Backend, value: Any, name: str) -> Array:
    """Return inputs (`name` "x"), targets ("t") or weights ("w") as an array, not rounded yet.

    The error says what is wrong. The remedies are looked for only here, where the conversion has
    failed.
    """
    try:
        return backend.unrounded(value)
    except (TypeError, ValueError) as error:
        hole = labels.hole_among_words(value) if name == "t" else ""
        if hole:
            raise TypeError(f"{_ROLES[name]}: {hole}") from None
        kind = TypeError if isinstance(error, TypeError) else ValueError
        remedy = labels.strange_columns(value)
        if name == "t" and labels.is_text(value):
            remedy = "; words are classes where npnn.Softmax() or npnn.Sigmoid() is the last layer"
        raise kind(f"{_ROLES[name]}: {error}{remedy}") from None


def check_inputs(x: Any, model: Sequential) -> None:
    """Raise the error for inputs that do not have the model's shape, or are empty."""
    if model.shape_in is None:
        model.build_at(mapped(x, lambda array: tuple(array.shape[1:])))
    if isinstance(model.shape_in, dict) and isinstance(x, dict):
        missing = [name for name in model.shape_in if name not in x]
        if missing:
            raise ValueError(f"inputs lack {missing[0]!r}: the model takes {list(model.shape_in)}")
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
        hint = ""
        if shape == (1,) and len(given) == 1:
            hint = ": x[:, None] makes samples of one number each"
        elif 0 not in given and fits(shape, given):
            hint = ": x[None] makes a batch of one sample"
        raise ValueError(
            f"{what} must have {len(shape) + 1} axes, {wanted}, but have {len(given)}: {given}"
            + hint
        )
    if any(n not in (None, m) for n, m in zip(shape, given[1:], strict=True)):
        raise ValueError(f"{what} must have shape {wanted}, but have shape {given}")
    if given[0] == 0:
        raise ValueError(f"{what} are empty: there must be at least one sample")
