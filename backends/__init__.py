"""The machinery: one file for each array library, and the register of them.

The mathematics in ``npnn`` knows none of this; a model is handed one :class:`Backend`.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np

from npnn import checked
from npnn.arrays import array_namespace, device
from npnn.backends.backend import DTYPES, Backend, device_name
from npnn.errors import MissingError
from npnn.trees import first

__all__ = [
    "DTYPES", "Backend", "available", "device_name", "get", "library", "names", "of", "register",
]  # fmt: skip

# Name -> where its class is, so that a library is imported only when it is asked for.
_register: dict[str, str | type[Backend]] = {
    "numpy": "npnn.backends.libraries.numpy_backend:NumpyBackend",
    "numba": "npnn.backends.libraries.numba_backend:NumbaBackend",
    "cupy": "npnn.backends.libraries.cupy_backend:CupyBackend",
    "torch": "npnn.backends.libraries.torch_backend:TorchBackend",
    "jax": "npnn.backends.libraries.jax_backend:JaxBackend",
    "array_api_strict": "npnn.backends.libraries.strict_backend:ArrayApiStrictBackend",
}


def names() -> list[str]:
    """Return the names of all registered backends, installed or not."""
    return list(_register)


def register(name: str, backend: type[Backend]) -> None:
    """Make `backend` reachable as ``Sequential(backend=name)``.

    Parameters
    ----------
    name : str
        Must not be taken.
    backend : type
        A subclass of :class:`Backend`.
    """
    if name in _register:
        raise ValueError(f"a backend named {name!r} is registered already")
    if not (isinstance(backend, type) and issubclass(backend, Backend)):
        raise TypeError(f"backend must be a subclass of Backend, not {checked.shown(backend)}")
    _register[name] = backend


def get(
    backend: str | Backend,
    dtype: Any = "float32",
    device: str | int | None = None,
    precision: str | None = None,
) -> Backend:
    """Return the backend of that name for a dtype, a device and a precision of matrix products.

    Raises
    ------
    ValueError
        If the name, the dtype, the device or the precision is unknown.
    npnn.MissingError
        If the library, its driver or its device is not there; the message names the remedy.
    """
    if isinstance(backend, Backend):
        return backend
    if isinstance(dtype, np.dtype) or dtype is np.float32 or dtype is np.float64:
        dtype = np.dtype(dtype).name
    return _class(backend)(dtype, device, precision)


def of(x: Any) -> tuple[str, str | None]:
    """Return the name and the device of the backend whose arrays `x` is; of several, the first.

    What is no array of such a library is NumPy's.
    """
    try:
        array = first(x)
        name, where = library(array_namespace(array)), device_name(device(array))
    except (TypeError, AttributeError, IndexError, StopIteration):  # a number, a table, or nothing
        return "numpy", None
    return (name, where) if name in _register else ("numpy", None)


def library(module: ModuleType) -> str:
    """Return the name of a module's library: of jax.numpy, say, or of array_api_compat.torch."""
    parts = module.__name__.split(".")
    return next((part for part in reversed(parts) if part in _register and
                 (part != "numpy" or parts[0] != "jax")), module.__name__)  # fmt: skip


def available() -> dict[str, dict[str, Any]]:
    """Return which backends work here, on which devices, and why the others do not.

    Returns
    -------
    dict
        Name to ``{"works": bool, "devices": list of str, "reason": str}``.
    """
    found = {}
    for name in _register:
        try:
            backend = _class(name)()
            found[name] = {"works": True, "devices": backend.devices(), "reason": ""}
        except (MissingError, ImportError) as error:
            found[name] = {"works": False, "devices": [], "reason": str(error)}
    return found


def _class(name: str) -> type[Backend]:
    if not isinstance(name, str) or name not in _register:
        raise ValueError(f"unknown backend {checked.shown(name)}; there are {', '.join(_register)}")
    entry = _register[name]
    if isinstance(entry, str):
        module, _, attribute = entry.partition(":")
        entry = getattr(importlib.import_module(module), attribute)
        _register[name] = entry
    return entry
