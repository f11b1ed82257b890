"""Where a model computes: its backend, named in one of several ways, and a move to another one."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from npnn import backends, checked, words
from npnn.described import Described
from npnn.guided import ANEW
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
    "pytorch": "write backend='torch'",
}


def backend_of(
    backend: Any, dtype: str, device: str | int | None, precision: str | None
) -> Backend:
    """Return the backend that a name, or the module of an array library, stands for."""
    name = backends.library(backend) if isinstance(backend, ModuleType) else backend
    if isinstance(name, str) and name == "auto":
        for argument, value in (("device", device), ("precision", precision)):
            if value is not None:
                raise ValueError(
                    f"{argument}={value!r} needs a backend by its name: backend='auto' finds one "
                    "out from the first data"
                )
        name = "numpy"
    if isinstance(name, str) and name not in backends.names():
        closest = words.closest(name, backends.names())
        hint = _NO_BACKENDS.get(name.lower()) or (closest and f"did you mean {closest!r}?")
        there_are = f"there are {', '.join(backends.names())}"
        raise ValueError(f"unknown backend {checked.shown(name)}: {hint}; {there_are}" if hint else
                         f"unknown backend {checked.shown(name)}; {there_are}")  # fmt: skip
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
    is_undecided: bool = False
    fixed = {
        **dict.fromkeys(("backend", "device"), "model.to('torch'), say, moves it"),
        "dtype": f"{ANEW}, or npnn.load(path, dtype='float64')",
    }

    @property
    def device(self) -> Any:
        """Where the arrays are; :meth:`to` moves them."""
        return self.backend.device

    @property
    def precision(self) -> str:
        """What the factors of matrix products are rounded to."""
        return self.backend.precision

    def _suiting(self, name: str, value: Any) -> Any:
        self._check_not_fixed(name, value)
        if name == "capture":
            return checked_capture(value, self.backend)
        return checked.seed(value) if name == "seed" else super()._suiting(name, value)

    def check_not_fitting(self, what: str) -> None:
        if self.runner.is_fitting:
            raise RuntimeError(
                f"{what} cannot be changed by a callback while fit trains the model: the data "
                "were made for the one that there was. Change it before fit, or after it"
            )

    def decide(self, x: Any) -> None:
        """Have a model of ``backend="auto"`` compute where the first data are that it is given."""
        if self.is_undecided:
            data = getattr(x, "x_train_data", x)
            self.to(*backends.of(data))

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
        for link in links_of(self):
            if not link.is_loss:
                link.is_undecided = False
        return self

    def compute_on(self, backend: Backend) -> None:
        """Forget what was recorded on another backend: the arrays are on this one now."""
        epochs = self.runner.epochs
        model: Any = self
        vars(self)["backend"] = backend
        Runner.__init__(self.runner, model)  # others who wait for it go on there
        self.runner.epochs = epochs

    def place_on(self, backend: Backend) -> None:
        """Have the parameters and the state be arrays of a backend."""
        super().to(backend)

    def forward(self, x: Array) -> Array:
        """Return what the last layer gives for a batch `x`, an array of the model's backend."""
        self.decide(x)
        with self.backend.current():
            return super().forward(x)

    def backward(self, grad_y: Array) -> Array:
        """Return the gradient at the inputs, leaving those of the parameters in the layers."""
        with self.backend.current():
            return super().backward(grad_y)


def checked_capture(capture: Any, backend: Backend) -> bool:
    """Return whether steps are captured, which those must be whose products are rounded."""
    if not checked.flag(capture, "capture") and backend.precision != backend.dtype_name:
        raise ValueError(
            f"precision={backend.precision!r} needs capture=True: the products of a step "
            "that is run layer by layer are the library's own"
        )
    return bool(capture)


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
        model.check_not_fitting("the backend")
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
