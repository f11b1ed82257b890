"""Arrays where scikit-learn's ``array_api_dispatch`` lets them be: on their device, from X to y."""

from __future__ import annotations

from typing import Any

import numpy as np

from npnn.arrays import Array, array_namespace, device
from npnn.backends.host import host_array
from npnn.errors import MissingError
from npnn.normalization import Normalization, mean_and_deviation, varying

try:
    from sklearn.utils._array_api import _convert_to_numpy, get_namespace
except ImportError as error:
    raise MissingError(
        f"npnn.sklearn needs scikit-learn 1.7 or newer ({error}): pip install 'npnn-xp[sklearn]', "
        "or pip install 'scikit-learn>=1.7'"
    ) from None


def on_host(array: Any) -> np.ndarray:
    """Return an array of any library as one of NumPy, which may hold words."""
    if isinstance(array, np.ndarray):
        return array
    xp, follows = get_namespace(array)
    found: np.ndarray = _convert_to_numpy(array, xp) if follows else host_array(array)
    return found


def floats_of(x: Any) -> tuple[Any, Any]:
    """Return the dtypes of floats that `x` may have."""
    xp, follows = get_namespace(x)
    return (xp.float64, xp.float32) if follows else (np.float64, np.float32)


def as_beside(x: Array, array: Array) -> Array:
    """Return an array as one of the library, and on the device, of `x`.

    Without dispatch that is NumPy. NumPy alone has arrays of words, and they stay there.
    """
    xp, follows = get_namespace(x)
    if not follows or isinstance(x, np.ndarray):
        return on_host(array)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "fiub":
        return array
    if not isinstance(array, np.ndarray) and array_namespace(array) is array_namespace(x):
        return array
    return xp.asarray(on_host(array), device=device(x))


def rows_of(x: Array, rows: np.ndarray) -> Array:
    """Return some rows of an array, where it lies."""
    if isinstance(x, np.ndarray):
        return x[rows]
    xp = array_namespace(x)
    return xp.take(x, xp.asarray(rows, device=device(x)), axis=0)


def check_same_place(fitted: Array, x: Array, method: str) -> None:
    """Raise the error for inputs of another library, or device, than those of fit."""
    if get_namespace(x)[0] is not get_namespace(fitted)[0] or device_of(x) != device_of(fitted):
        raise ValueError(
            f"inputs of {method}() must use the same namespace and the same device as those of "
            f"fit(): {_described(fitted)}, not {_described(x)}"
        )


def device_of(x: Array) -> Any:
    """Return where an array lies; the host's memory is one place."""
    return "cpu" if isinstance(x, np.ndarray) else device(x)


def _described(x: Array) -> str:
    return f"{get_namespace(x)[0].__name__} on {device_of(x)}"


def standard(x: Array, w: np.ndarray | None) -> Normalization:
    """Return the map to mean 0 and deviation 1 of samples with weights, found where they lie."""
    if isinstance(x, np.ndarray):
        return Normalization.standard(x, w)
    first = x[0, ...]  # from which others differ by small numbers, and so exact ones
    weights = None if w is None else array_namespace(x).astype(as_beside(x, w / w.max()), x.dtype)
    mean, deviation = mean_and_deviation(x - first, weights)
    mean, deviation = on_host(first + mean), on_host(deviation)
    return Normalization(mean, varying(deviation, mean))
