"""The affine map that brings raw inputs to about unit scale; it travels with the model."""

from __future__ import annotations

from typing import Any

import numpy as np

from npnn.arrays import Array, array_namespace, device


class Normalization:
    r"""Shift and scale the inputs: :math:`(x - \mathrm{offset}) / \mathrm{scale}`.

    Parameters
    ----------
    offset, scale : float or array_like
        Broadcast against the features. A scale of zero (a feature that never varies) counts as 1,
        so that such a feature becomes 0 instead of NaN.

    Examples
    --------
    >>> norm = Normalization.standard([[1.0, 10.0], [3.0, 30.0]])
    >>> norm([[1.0, 30.0]])
    array([[-1.,  1.]])
    """

    def __init__(self, offset: Any = 0.0, scale: Any = 1.0) -> None:
        self.offset = np.asarray(offset, dtype=np.float64)
        scale = np.asarray(scale, dtype=np.float64)
        if not (np.isfinite(self.offset).all() and np.isfinite(scale).all()):
            raise ValueError("offset and scale must be finite numbers")
        self.scale = np.where(scale == 0.0, 1.0, scale)

    @classmethod
    def standard(cls, x: Any) -> Normalization:
        """Return the map to mean 0 and standard deviation 1 of each feature of `x`."""
        x = np.asarray(x, dtype=np.float64)
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        # A large feature that never varies has a deviation of its rounding errors, not of 0.
        return cls(mean, np.where(deviation <= 1e-12 * np.abs(mean), 0.0, deviation))

    @classmethod
    def min_max(cls, x: Any) -> Normalization:
        """Return the map of each feature of `x` to the range from -1 to 1."""
        x = np.asarray(x, dtype=np.float64)
        low, high = x.min(axis=0), x.max(axis=0)
        return cls((low + high) / 2, (high - low) / 2)

    def check_fits(self, shape: tuple[int, ...]) -> None:
        """Raise the error for samples of a `shape` that offset and scale cannot be applied to."""
        for name, array in (("offset", self.offset), ("scale", self.scale)):
            try:
                fits = np.broadcast_shapes(array.shape, (2, *shape)) == (2, *shape)
            except ValueError:
                fits = False
            if not fits:
                raise ValueError(
                    f"norm does not fit the inputs: its {name} has shape {array.shape}, and one "
                    f"sample has shape {tuple(shape)}"
                )

    def __call__(self, x: Any) -> Array:
        """Return the normalised `x`: an array of the same library, dtype and device."""
        if isinstance(x, (list, tuple)):
            x = np.asarray(x, dtype=np.float64)
        xp = array_namespace(x)
        if not xp.isdtype(x.dtype, "real floating"):
            x = xp.astype(x, xp.float32)
        offset, scale = self._place(x)
        return normalize(x, offset, scale)

    def inverse(self, x: Array) -> Array:
        """Return the raw inputs that `x` is the normalised form of."""
        offset, scale = self._place(x)
        return x * scale + offset

    def _place(self, x: Array) -> tuple[Array, Array]:
        xp, options = array_namespace(x), {"dtype": x.dtype, "device": device(x)}
        return xp.asarray(self.offset, **options), xp.asarray(self.scale, **options)

    def to_config(self) -> dict[str, Any]:
        """Return the map as plain lists, for a file."""
        return {"offset": self.offset.tolist(), "scale": self.scale.tolist()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Normalization) and self.to_config() == other.to_config()

    def __hash__(self) -> int:
        return hash(str(self.to_config()))

    def __repr__(self) -> str:
        return f"Normalization(offset={self.offset.tolist()}, scale={self.scale.tolist()})"


def normalize(x: Array, offset: Array, scale: Array) -> Array:
    """Return the normalised inputs, for arrays of one library."""
    return (x - offset) / scale
