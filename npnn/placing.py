"""Where a model computes: its backend, named in one of several ways, and a move to another one."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from npnn import backends, words
from npnn.described import Described
from npnn.layers.layer import Layer
from npnn.network import links_of
from npnn.runner import Runner

if TYPE_CHECKING:
    from npnn.arrays import Array
    from npnn.backends import Backend

_ON_GPU = "backend='cupy' computes on a GPU, and so does backend='torch', device='cuda'"
_NO_BACKENDS = {
    **dict.fromkeys(("cuda", "gpu"), _ON_GPU),
    "cpu": "backend='numpy' computes on the CPU, and backend='numba' faster",
    "auto": "name one, such as backend='torch' for tensors of PyTorch",
    "pytorch": "write backend='torch'",
}


def backend_of(
    backend: Any, dtype: str, device: str | int | None, precision: str | None
) -> Backend:
    """Return the backend that a name, or the module of an array library, stands for."""
    name = _library(backend) if isinstance(backend, ModuleType) else backend
    if isinstance(name, str) and name not in backends.names():
        closest = words.closest(name, backends.names())
        hint = _NO_BACKENDS.get(name.lower()) or (closest and f"did you mean {closest!r}?")
        there_are = f"there are {', '.join(backends.names())}"
        raise ValueError(f"unknown backend {name!r}: {hint}; {there_are}" if hint else
                         f"unknown backend {name!r}; {there_are}")  # fmt: skip
    try:
        return backends.get(name, dtype, device, precision)
    except ValueError as error:
        if str(device).partition(":")[0] in ("cuda", "gpu") and "device" in str(error):
            raise ValueError(f"{error}: {_ON_GPU}") from None
        raise


class Placed(Described):
    """Layers in a row that compute on a backend."""

    backend: Backend
    runner: Runner

    def to(self, where: Any, device: str | int | None = None) -> Any:
        """Have the model compute elsewhere from now on, and return it.

        What is chained to it moves too. An optimizer that has trained it starts anew, but for
        backends of the same arrays.

        Parameters
        ----------
        where : str, module, device or Backend
            A backend, such as ``"cupy"``; or a device of its own, such as ``"cuda:1"``.
        device : str or int, optional
            Of the new backend; its default if None.
        """
        _move(self, where, device)
        return self

    def compute_on(self, backend: Backend) -> None:
        """Forget what was recorded on another backend: the arrays are on this one now."""
        epochs = self.runner.epochs
        model: Any = self
        self.backend = backend
        self.runner = Runner(model)  # which asks the model for it
        self.runner.epochs = epochs

    def place_on(self, backend: Backend) -> None:
        """Have the parameters and the state be arrays of a backend."""
        super().to(backend)

    def forward(self, x: Array) -> Array:
        """Return what the last layer gives for a batch `x`, an array of the model's backend."""
        with self.backend.current():
            return super().forward(x)

    def backward(self, grad_y: Array) -> Array:
        """Return the gradient at the inputs, leaving those of the parameters in the layers."""
        with self.backend.current():
            return super().backward(grad_y)


def _move(model: Placed, where: Any, device: str | int | None) -> None:
    """Have a model, and what is chained to it, compute elsewhere from now on.

    Parameters
    ----------
    model : Sequential
        Its parameters and its state move with it.
    where : str, module, device or Backend
        A backend, or a device of the one that there is.
    device : str or int, optional
        Of the new backend.
    """
    old = model.backend
    is_backend = isinstance(where, (ModuleType, backends.Backend)) or where in backends.names()
    name, at = (where, device) if is_backend else (old.name, where)
    at = at if at is None or isinstance(at, int) else str(at)
    rounded = None if old.precision == model.dtype else old.precision
    new = backend_of(name, model.dtype, at, rounded)
    if new.dtype_name != model.dtype:
        raise ValueError(f"the model is of {model.dtype}, and the backend of {new.dtype_name}")
    if repr(new) == repr(old):
        return
    with model.runner.training() as locks, locks.step:
        links = links_of(model)
        # All arrays are there before one is put in.
        moved = [(layer, n, _at(new, old, a)) for layer, n, a in _arrays(links)]
        for layer, attribute, array in moved:
            vars(layer)[attribute] = array
        for link in links:
            if link.is_loss:
                link.reset()
            else:
                link.compute_on(new)


def _arrays(links: list[Any]) -> list[tuple[Layer, str, Array]]:
    """Return the parameters and states of links, each once."""
    found = {
        (id(layer), name): (layer, name, vars(layer)[name])
        for link in links
        for _, layer in link.walk()
        for name in (*layer.parameter_names, *layer.state_names)
        if name in vars(layer)
    }
    return list(found.values())


def _at(new: Backend, old: Backend, array: Array) -> Array:
    return new.asarray(old.to_numpy(array), copy=True)


def _library(module: ModuleType) -> str:
    """Return the name of a module's library: of jax.numpy, say, or of array_api_compat.torch."""
    parts = module.__name__.split(".")
    return next((part for part in reversed(parts) if part in backends.names() and
                 (part != "numpy" or parts[0] != "jax")), module.__name__)  # fmt: skip
