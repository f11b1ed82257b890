"""The affine map that brings raw inputs to about unit scale; it travels with the model."""

from __future__ import annotations

from typing import Any

import numpy as np

from npnn.arrays import Array, array_namespace, device
from npnn.backends.host import host_array
from npnn.guided import ANEW, Guided


class Normalization(Guided):
    r"""Shift and scale the inputs: :math:`(x - \mathrm{offset}) / \mathrm{scale}`.

    Numbers of 64 bits are shifted with 64 bits, integers among them without an error, so that what
    lies close together far from zero is told apart also by a model that computes with float32.

    Parameters
    ----------
    offset, scale : float or array_like
        Broadcast against the features. A scale of zero (a feature that never varies) counts as 1,
        so that such a feature becomes 0 instead of NaN.

    Raises
    ------
    TypeError
        If they are no real numbers.
    ValueError
        If one is not finite.

    Examples
    --------
    >>> norm = Normalization.standard([[1.0, 10.0], [3.0, 30.0]])
    >>> norm([[1.0, 30.0]])
    array([[-1.,  1.]])
    """

    fixed = {"offset": ANEW, "scale": ANEW}

    def __init__(self, offset: Any = 0.0, scale: Any = 1.0) -> None:
        self.offset, scale = _numbers(offset, "offset"), _numbers(scale, "scale")
        if not (np.isfinite(self.offset).all() and np.isfinite(scale).all()):
            raise ValueError("offset and scale must be finite numbers")
        self.scale = np.where(scale == 0.0, 1.0, scale)

    @classmethod
    def standard(cls, x: Any, w: Any = None) -> Normalization:
        """Return the map to mean 0 and standard deviation 1 of each feature of `x`.

        Parameters
        ----------
        x : array_like, shape (samples, ...)
            Numbers.
        w : array_like, shape (samples,), optional
            How much each sample counts; 1 if None.
        """
        x = _samples(x)
        first, rest = _from_first(x)
        mean, deviation = mean_and_deviation(rest, None if w is None else _weights(w, len(x)))
        if x.dtype.kind == "f":
            return cls(first + mean, varying(deviation, first + mean))
        return cls(first + mean, deviation)

    @classmethod
    def min_max(cls, x: Any) -> Normalization:
        """Return the map of each feature of `x` to the range from -1 to 1."""
        first, rest = _from_first(_samples(x))
        low, high = rest.min(axis=0), rest.max(axis=0)
        return cls(first + (low + high) / 2, (high - low) / 2)

    def check_fits(self, shape: tuple[int, ...], name: str = "norm", what: str = "inputs") -> None:
        """Raise the error for samples of a `shape` that offset and scale cannot be applied to.

        It calls the map `name`, and the samples `what`.
        """
        for part, array in (("offset", self.offset), ("scale", self.scale)):
            try:
                fits = np.broadcast_shapes(array.shape, (2, *shape)) == (2, *shape)
            except ValueError:
                fits = False
            if not fits:
                raise ValueError(
                    f"{name} does not fit the {what}: its {part} has shape {array.shape}, and one "
                    f"sample has shape {tuple(shape)}"
                )

    def __call__(self, x: Any) -> Array:
        """Return the normalised `x`: an array of the same library and device.

        Its dtype is that of `x` if this is float32 or float64; else float64 for numbers of 64 bits,
        such as those of a list, and float32 for shorter ones.
        """
        try:
            xp = array_namespace(x)
        except TypeError:
            xp = None
        if xp is None or isinstance(x, np.ndarray):
            x = _numbers_of(x, "x")
            xp = array_namespace(x)
        if x.dtype not in (xp.float32, xp.float64):
            if xp.isdtype(x.dtype, "integral") and _bits(x) >= 32:
                return _shifted_exactly(x, self.offset) / self._place(x, self.scale)
            x = xp.astype(x, xp.float32)
        return normalize(x, self._place(x, self.offset), self._place(x, self.scale))

    def inverse(self, x: Array) -> Array:
        """Return the raw inputs that `x` is the normalised form of."""
        return x * self._place(x, self.scale) + self._place(x, self.offset)

    @staticmethod
    def _place(x: Array, values: np.ndarray) -> Array:
        xp = array_namespace(x)
        return xp.asarray(values, dtype=_floating(x), device=device(x))

    def to_config(self) -> dict[str, Any]:
        """Return the map as plain lists, for a file."""
        return {"offset": self.offset.tolist(), "scale": self.scale.tolist()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Normalization) and self.to_config() == other.to_config()

    def __hash__(self) -> int:
        return hash(str(self.to_config()))

    def __repr__(self) -> str:
        return f"Normalization(offset={self.offset.tolist()}, scale={self.scale.tolist()})"


def mean_and_deviation(x: Array, w: Array = None) -> tuple[Array, Array]:
    """Return mean and standard deviation of samples, which count by their weights if there are any.

    Those of the numbers are taken in a unit in which no square is too large or too small.
    """
    xp = array_namespace(x)
    largest = xp.max(xp.abs(x), axis=0)
    unit = 2.0 ** xp.floor(xp.log2(xp.where(largest > 0.0, largest, xp.ones_like(largest))))
    x = x / unit
    if w is None:
        return xp.mean(x, axis=0) * unit, xp.std(x, axis=0) * unit
    share = xp.reshape(w / xp.sum(w), (-1, *(1 for _ in x.shape[1:])))
    mean = xp.sum(share * x, axis=0)
    return mean * unit, xp.sqrt(xp.sum(share * (x - mean) ** 2, axis=0)) * unit


def varying(deviation: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return deviations, 0 where they are but rounding errors of a feature that never varies."""
    return np.where(deviation <= 1e-12 * np.abs(mean), 0.0, deviation)


def normalize(x: Array, offset: Array, scale: Array) -> Array:
    """Return the normalised inputs, for arrays of one library."""
    return (x - offset) / scale


def denormalize(y: Array, offset: Array, scale: Array) -> Array:
    """Return what `y` is the normalised form of, for arrays of one library."""
    return y * scale + offset


def _shifted_exactly(x: Array, offset: np.ndarray) -> Array:
    """Return integers minus the offset, rounded once.

    Each integer, and the whole part of the offset, is cut in two halves that a float with half the
    digits holds, and the halves are subtracted from each other.
    """
    xp, dtype = array_namespace(x), _floating(x)
    bits = 32 if dtype == xp.float64 else 16
    unit = 2.0**bits
    whole = np.floor(offset)
    high = np.floor(whole / unit)
    parts = [
        xp.asarray(part, dtype=dtype, device=device(x))
        for part in (high, whole - high * unit, offset - whole)
    ]
    above = xp.astype(x >> bits, dtype) - parts[0]
    below = xp.astype(x & (2**bits - 1), dtype) - parts[1]
    return (above * unit + below) - parts[2]


def _floating(x: Array) -> Any:
    """Return the dtype of floats that the numbers of an array are shifted in."""
    xp = array_namespace(x)
    if xp.isdtype(x.dtype, "real floating"):
        return x.dtype
    return xp.float64 if _bits(x) == 64 else xp.float32


def _bits(x: Array) -> int:
    return int(array_namespace(x).iinfo(x.dtype).bits)


def _numbers(values: Any, name: str) -> np.ndarray:
    """Return numbers as float64; `name` is the argument's, for the error."""
    return _numbers_of(values, name).astype(np.float64)


def _numbers_of(values: Any, name: str) -> np.ndarray:
    try:
        return host_array(values)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _samples(x: Any) -> np.ndarray:
    """Return the samples that a map is made for, or say what is wrong with them."""
    x = _numbers_of(x, "x")
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"x must hold samples and features, and its shape is {x.shape}")
    if x.dtype.kind == "f":
        good = np.isfinite(x)
        if not good.all():
            place = tuple(int(i) for i in np.argwhere(~good)[0])
            raise ValueError(
                f"x must hold finite numbers, but there is a {x[place]} at sample {place[0]}, "
                f"position {place[1:]} (counted from 0)"
            )
        return np.asarray(x, np.float64)
    return np.asarray(x, np.int64)


def _weights(w: Any, count: int) -> np.ndarray:
    w = _numbers(w, "w")
    if w.shape != (count,) or not (np.isfinite(w) & (w >= 0.0)).all() or not w.any():
        raise ValueError(
            f"w must be {count} finite numbers of at least 0, one for each sample, and not all 0"
        )
    share: np.ndarray = w / w.max()
    return share


def _from_first(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first sample, and how far each is from it: small numbers, and so exact ones."""
    first = x[0].astype(np.float64)
    if x.dtype.kind == "f":
        return first, x - first
    if int(x.max()) - int(x.min()) > np.iinfo(np.int64).max:
        return first, x.astype(np.float64) - first
    return first, (x - x[0]).astype(np.float64)
