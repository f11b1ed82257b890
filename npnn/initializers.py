"""How weights start: drawn on the host, so that a seed gives the same ones on every backend.

An initializer is called with a generator, the shape to fill, and the number of inputs and
outputs of one unit (`fan_in`, `fan_out`). The scaled families keep the variance of what flows
forward (`fan_in`), backward (`fan_out`) or the mean of both.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npnn import checked, words
from npnn.arrays import Shape
from npnn.errors import FileError
from npnn.guided import Guided
from npnn.plain import Named, Writer, is_ours


class Initializer(Named, Guided):
    """Base of the initializers: a function ``(rng, shape, fan_in, fan_out) -> array``."""

    file_kind = "initializer"

    def __call__(
        self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int
    ) -> np.ndarray:
        """Return a float64 array of `shape`."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it draws")

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(repr(self))


class _Scaled(Initializer):
    @staticmethod
    def variance(fan_in: int, fan_out: int) -> float:
        """Return the variance of what is drawn."""
        raise NotImplementedError


class _Normal(_Scaled):
    def __call__(
        self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int
    ) -> np.ndarray:
        return rng.standard_normal(shape) * math.sqrt(self.variance(fan_in, fan_out))


class _Uniform(_Scaled):
    def __call__(
        self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int
    ) -> np.ndarray:
        # A uniform distribution over [-a, a] has the variance a**2 / 3.
        limit = math.sqrt(3.0 * self.variance(fan_in, fan_out))
        return rng.uniform(-limit, limit, shape)


class GlorotNormal(_Normal):
    """Normal with variance 2 / (fan_in + fan_out): Glorot and Bengio 2010, section 4.2."""

    @staticmethod
    def variance(fan_in: int, fan_out: int) -> float:
        return 2.0 / (fan_in + fan_out)


class GlorotUniform(_Uniform):
    """Uniform with variance 2 / (fan_in + fan_out): Glorot and Bengio 2010, equation 16."""

    variance = staticmethod(GlorotNormal.variance)


class HeNormal(_Normal):
    """Normal with variance 2 / fan_in: He et al. 2015, equation 10, for rectifiers."""

    @staticmethod
    def variance(fan_in: int, fan_out: int) -> float:
        return 2.0 / fan_in


class HeUniform(_Uniform):
    """Uniform with variance 2 / fan_in: He et al. 2015, equation 10, for rectifiers."""

    variance = staticmethod(HeNormal.variance)


class LeCunNormal(_Normal):
    """Normal with variance 1 / fan_in: LeCun et al. 1998, "Efficient BackProp", section 4.6."""

    @staticmethod
    def variance(fan_in: int, fan_out: int) -> float:
        return 1.0 / fan_in


class LeCunUniform(_Uniform):
    """Uniform with variance 1 / fan_in: LeCun et al. 1998, "Efficient BackProp", section 4.6."""

    variance = staticmethod(LeCunNormal.variance)


class Orthogonal(Initializer):
    """Random orthonormal rows or columns, times `gain`: Saxe et al. 2014.

    The first axis makes the rows, the others the columns; whichever are fewer are orthonormal.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = checked.number(gain, "gain")

    def __call__(
        self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int
    ) -> np.ndarray:
        rows, columns = shape[0], math.prod(shape[1:])
        tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(tall)
        # QR fixes the columns only up to sign; this makes them uniform over all orthonormal ones.
        q = q * np.sign(np.diagonal(r))
        matrix: np.ndarray = q if rows >= columns else q.T
        return self.gain * matrix.reshape(shape)


class Constant(Initializer):
    """The same value everywhere."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = checked.number(value, "value")

    def __call__(
        self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int
    ) -> np.ndarray:
        return np.full(shape, self.value, dtype=np.float64)


def generator(seed: int | None) -> np.random.Generator:
    """Return the generator that `seed` starts; None starts a different one every time."""
    return np.random.default_rng(seed)


def get(initializer: Initializer | str | None) -> Initializer | None:
    """Return `initializer` itself, or the one of that name with its default arguments."""
    if initializer is None or isinstance(initializer, Initializer):
        return initializer
    if not isinstance(initializer, str):
        checked.instance(initializer, Initializer, "initializer", "HeNormal(), or its name")
    names = Initializer.registry
    if initializer not in names:
        closest = words.closest(initializer, names)
        hint = f": did you mean {closest!r}?" if closest else ""
        raise ValueError(f"unknown initializer {initializer!r}{hint}; there are {', '.join(names)}")
    found: Initializer = names[initializer]()
    return found


def to_config(initializer: Initializer) -> dict[str, Any]:
    """Return an initializer as plain values, for a file."""
    return initializer._described(Writer())


class Drawn(np.random.Generator):
    """A generator that has weights drawn before: those of a file, each for its place.

    Parameters
    ----------
    places : dict of int to str
        What each layer, by its id, is called.
    arrays : dict of str to ndarray
        By the names that the layers' places give them.
    """

    def __init__(self, places: dict[int, str], arrays: dict[str, np.ndarray]) -> None:
        super().__init__(np.random.PCG64(0))
        self.places, self.arrays = places, arrays
        self.shapes = {array.shape for array in arrays.values()}

    def find(self, layer: object, name: str, shape: Shape) -> np.ndarray:
        """Return the weights of a layer, or say that they are not of this shape."""
        if id(layer) not in self.places:  # it was made by another that was built
            if shape not in self.shapes:
                raise FileError(f"no array has the shape {shape} that its {name!r} needs")
            return np.zeros(shape)
        name = f"{self.places[id(layer)]}.{name}"
        if name not in self.arrays:
            raise FileError(f"{name!r} is missing")
        array = self.arrays[name]
        if array.shape != shape:
            raise FileError(f"{name!r} has shape {array.shape}, but the model needs {shape}")
        # The package's own layers write nothing into it; nobody knows of others.
        return array if is_ours(type(layer)) else array.copy()
