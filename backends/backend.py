"""What an array library must bring: arrays on a device, transfers, randomness, running a step.

Everything here has a default that works for any library that follows the Array API standard; a
subclass sets :attr:`Backend.xp` and overrides what its library does better.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from npnn import checked
from npnn.arrays import array_namespace, read_each
from npnn.backends.host import host_array
from npnn.errors import MissingError

Array = Any
Tree = dict[str, Any]
"""Arrays (and numbers), in nested dicts and lists."""
Step = Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]
"""``step(carry, data, inputs) -> (carry, outputs)``: a pure function of trees of arrays.

The carry lives from call to call and is changed by each (parameters, moments, state); the old one
may be overwritten. Data lives from call to call and is only read (a training set, the weights of
a prediction). Inputs are new at each call: a batch, the numbers of this step, the metrics so far.
"""

DTYPES = ("float32", "float64")
ON_CPU = 1  # as DLPack numbers it


class Backend:
    """One array library, with the dtype and the device of one model.

    Parameters
    ----------
    dtype : str
        ``"float32"`` or ``"float64"``.
    device : str, int or None
        Where arrays live; None is the library's own default.
    precision : str or None
        In what the factors of matrix products are rounded, one of `precisions`; sums, parameters
        and all else stay in `dtype`. None does not round.

    Attributes
    ----------
    name : str
        The name a model is constructed with.
    xp : module
        The library's Array API namespace.
    execution : str
        How a step runs, to finish the sentence "the backend runs the step as ...".
    in_place : bool
        Whether arrays can be written; then all parameters live in one flat array.
    asynchronous : bool
        Whether to look at a value is to wait for a device.
    precisions : tuple of str
        The precisions of products that there are for float32.
    rows_at_once : int or None
        Samples up to which a prediction is best made in one step; None if of all.
    """

    name: ClassVar[str]
    in_place: ClassVar[bool] = True
    asynchronous: bool = False
    execution: ClassVar[str] = "it is, layer by layer, and plans nothing ahead"
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    rows_at_once: ClassVar[int | None] = None
    xp: Any

    def __init__(
        self,
        dtype: str = "float32",
        device: str | int | None = None,
        precision: str | None = None,
    ) -> None:
        checked.word(dtype, "dtype", DTYPES)
        if not isinstance(device, (str, int, type(None))) or isinstance(device, bool):
            shown = checked.shown(device)
            raise TypeError(f"device must be the name or the number of one, or None, not {shown}")
        if precision is not None:
            self._check_precision(precision, dtype)
        self.precision = precision or dtype
        self._number_dtypes: set[Any] = set()
        self.load()
        self.dtype_name = dtype
        self.dtype = getattr(self.xp, dtype)
        self.device = self.find_device(device)

    def _check_precision(self, precision: str, dtype: str) -> None:
        if not isinstance(precision, str) or precision not in self.precisions:
            if len(self.precisions) == 1:
                raise ValueError(
                    f"precision must be left out, or 'float32', for backend {self.name!r}, which "
                    f"rounds no factors of products; it is {checked.shown(precision)}"
                )
            raise ValueError(
                f"precision must be one of {', '.join(self.precisions)} for backend "
                f"{self.name!r}, not {checked.shown(precision)}"
            )
        if dtype != "float32":
            raise ValueError(
                f"precision={precision!r} is for dtype='float32': leave it out with dtype={dtype!r}"
            )

    # A new library says at least this much -----------------------------------------------------

    def load(self) -> None:
        """Import the library and set `xp`; MissingError names the remedy if it is not there."""
        raise NotImplementedError

    def find_device(self, device: str | int | None) -> Any:
        """Return the library's own device object, or raise MissingError or ValueError."""
        if device not in (None, "cpu"):
            raise ValueError(
                f"device must be None or 'cpu' for backend {self.name!r}, not {device!r}"
            )
        return None

    @classmethod
    def devices(cls) -> list[str]:
        """Return the names of the devices that can be used here."""
        return ["cpu"]

    # Arrays ------------------------------------------------------------------------------------

    def asarray(self, x: Any, *, keep_integers: bool = False, copy: bool = False) -> Array:
        """Return `x` as an array of this library, on this device, of this dtype.

        Parameters
        ----------
        x : array_like
            An array of any library that speaks DLPack, or whatever NumPy understands.
            Complex numbers, dates and text are refused.
        keep_integers : bool, default False
            Whether an integer array stays one (class targets, indices).
        copy : bool, default False
            Whether the result must not share its memory with `x`.
        """
        y = self.unrounded(x)
        if not self.owns(y):
            if not (keep_integers and y.dtype.kind in "iu"):
                with np.errstate(under="ignore"):
                    y = y.astype(self.dtype_name, copy=False)  # here, so that less is sent
            y = self.convert(y)
            return self.copy(y) if copy else y
        if y.dtype == self.dtype:
            return self.copy(y) if copy else y
        if keep_integers and self.xp.isdtype(y.dtype, "integral"):
            return self.copy(y) if copy else y
        with self.current():
            return self.xp.astype(y, self.dtype)

    def unrounded(self, x: Any) -> Array:
        """Return `x` as an array of numbers of any dtype: of this library, or of NumPy's.

        What lies on the host and is not of this library stays there.
        """
        if self.owns(x):
            y = x
        elif _is_on_host(x):
            return host_array(x)
        else:
            y = self.convert(x)
        # Looked up once for a dtype: what is asked for here is asked in every step.
        if y.dtype in self._number_dtypes:
            return y
        if self.xp.isdtype(y.dtype, ("bool", "integral", "real floating")):
            self._number_dtypes.add(y.dtype)
            return y
        return host_array(y)  # which has numbers of it, or says what is wrong

    def on_host(self, x: Array) -> np.ndarray | None:
        """Return `x` as a NumPy array where that takes neither a copy nor a wait, else None."""
        return None if self.asynchronous else self.to_numpy(x)

    def owns(self, x: Any) -> bool:
        """Return whether `x` is already an array of this library on this device."""
        return isinstance(x, type(self.xp.zeros(1)))

    def convert(self, x: Any) -> Array:
        """Return an array of another kind as one of this library, on this device.

        Its dtype stays what it is.
        """
        return self.xp.asarray(host_array(x), device=self.device)

    def to_numpy(self, x: Array) -> np.ndarray:
        """Return `x` as a NumPy array on the host."""
        return np.asarray(x)

    def read(self, arrays: Sequence[Array]) -> list[float]:
        """Return the numbers that arrays of no axes hold, in one transfer where that is faster."""
        return read_each(arrays)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """Return an array of zeros."""
        return self.xp.zeros(shape, dtype=self.dtype, device=self.device)

    def copy(self, x: Array) -> Array:
        """Return `x` in memory of its own."""
        with self.current():
            return self.xp.asarray(x, copy=True)

    def random(self, kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return random numbers, ``"uniform"`` over [0, 1) or ``"normal"``.

        They are drawn on the host, so that a seed gives the same ones on every backend.
        """
        if kind == "normal":
            return self.asarray(rng.standard_normal(shape))
        drawn = rng.random(shape).astype(self.dtype_name)
        # Rounded to fewer digits, a number just below 1 could become 1.
        return self.asarray(np.minimum(drawn, np.nextafter(drawn.dtype.type(1), 0)))

    def current(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which the library's functions compute on this device."""
        return contextlib.nullcontext()

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it."""

    # Data that stay on the host ----------------------------------------------------------------

    def free_memory(self) -> int | None:
        """Return the bytes that are free on the device; None if it has no memory of its own."""
        return None

    def entrance(self, *arrays: Any) -> Backend:
        """Return the backend as whose arrays a captured step takes `arrays` in.

        It is this one; or NumPy's, for arrays that lie on the host and that the step brings to the
        device itself.
        """
        return self

    def batches(
        self, arrays: dict[str, np.ndarray], indices: Sequence[np.ndarray]
    ) -> Iterator[dict[str, Array]]:
        """Yield rows of arrays of the host, batch by batch, as arrays of this backend.

        Parameters
        ----------
        arrays : dict
            NumPy arrays with as many rows.
        indices : sequence of array
            The numbers of the rows of each batch. What is yielded holds until the next is.
        """
        for index in indices:
            yield {name: self.asarray(a[index], keep_integers=True) for name, a in arrays.items()}

    # Parameters --------------------------------------------------------------------------------

    def pack(self, arrays: Sequence[Array]) -> list[Array]:
        """Return `arrays` in the form a step carries them: one flat array where possible."""
        if not self.in_place or not arrays:
            return list(arrays)
        xp = array_namespace(arrays[0])  # not self.xp: the arrays may be recorded ones
        with self.current():
            return [xp.concat([xp.reshape(a, (-1,)) for a in arrays])]

    def unpack(self, packed: Sequence[Array], shapes: Sequence[tuple[int, ...]]) -> list[Array]:
        """Return the arrays that :meth:`pack` made `packed` of; views of it where possible."""
        if not self.in_place or not packed:
            return list(packed)
        flat, start, arrays = packed[0], 0, []
        xp = array_namespace(flat)
        for shape in shapes:
            stop = start + math.prod(shape)
            arrays.append(xp.reshape(flat[start:stop], shape))
            start = stop
        return arrays

    def store(self, old: list[Array], new: list[Array]) -> list[Array]:
        """Return `new`; or `old`, with `new` written into it, where the library allows it."""
        if not self.in_place:
            return new
        with self.current():
            for target, value in zip(old, new, strict=True):
                if target is not value:
                    target[...] = value
        return old

    @property
    def loss_scale(self) -> float | None:
        """The first factor of a loss whose gradients would else be too small for `precision`."""
        return 65536.0 if self.precision == "float16" else None

    # Running a step ----------------------------------------------------------------------------

    def capture(self, step: Step) -> Step:
        """Return a faster function that does the same as `step`; here, `step` itself.

        Parameters
        ----------
        step : callable
            A pure function of arrays, see :data:`Step`.
        """
        return step

    def uncaptured(self, step: Step) -> Step:
        """Return a function that runs `step` as it is, on this device."""
        return step

    def __repr__(self) -> str:
        device = "" if self.device is None else f", device={str(self.device)!r}"
        rounded = "" if self.precision == self.dtype_name else f", precision={self.precision!r}"
        return f"<backend {self.name}: {self.dtype_name}{rounded}{device}>"


def device_name(device: Any) -> str | None:
    """Return what a library's device is called when a backend is constructed."""
    number, platform = getattr(device, "id", None), getattr(device, "platform", "cuda")
    if number is not None:
        return f"{platform}:{number}"
    return None if device is None or "cpu" in str(device).lower() else str(device)


def _is_on_host(x: Any) -> bool:
    """Return whether `x` lies where NumPy can read it."""
    if isinstance(x, np.ndarray) or not hasattr(x, "__dlpack_device__"):
        return True
    return int(x.__dlpack_device__()[0]) == ON_CPU


def warn_of_no_capture(why: str, stacklevel: int) -> None:
    """Warn of a step that runs as it stands, though a faster function should replace it."""
    warnings.warn(
        f"the step is not captured, because {why}; it runs uncaptured",
        RuntimeWarning,
        stacklevel=stacklevel,
    )


def missing(library: str, backend: str, command: str) -> MissingError:
    """Return the error for a backend whose library is not installed."""
    return MissingError(f"backend {backend!r} needs {library}, which is not installed: {command}")
