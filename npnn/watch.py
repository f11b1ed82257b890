"""What a layer gives, looked at while a step runs for the first time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from npnn.arrays import array_namespace
from npnn.checked import shown
from npnn.trees import first, leaves

if TYPE_CHECKING:
    from npnn.layers.layer import Layer
    from npnn.network import Work


class Watch:
    """Looks at the shapes of all that layers give, once for each kind of step.

    Parameters
    ----------
    dtype : str
        What the network computes with.
    keeps : bool
        Whether the layers keep what their twins held, for a person to look at.
    """

    def __init__(self, dtype: str, keeps: bool) -> None:
        self.dtype, self.keeps = dtype, keeps
        self._seen: set[str] = set()
        self._batch = 0

    def of(self, kind: str) -> Watch | None:
        """Return what looks at a kind of step, or None where that was done."""
        return None if kind in self._seen else self

    def done(self, kind: str, work: Work) -> None:
        """Take leave of a step, and of its twins."""
        self._seen.add(kind)
        if self.keeps:
            work.leave()

    def forward(self, layer: Layer, x: Any, y: Any) -> None:
        """Look at what a layer's forward gave."""
        self._batch = first(x).shape[0]
        shape = (self._batch, *(layer.shape_out or ()))
        who = f"{_who(layer)}: forward gave"
        _expect(y, shape, who)
        _expect_dtype(y, self.dtype, who)

    def backward(self, layer: Layer, gradient: Any) -> None:
        """Look at what a layer's backward gave, and left."""
        who = _who(layer)
        for name in layer.parameter_names:
            given = getattr(layer, f"grad_{name}", None)
            _expect(given, getattr(layer, name).shape, f"{who}: backward left as grad_{name}")
            _expect_dtype(given, self.dtype, f"{who}: backward left as grad_{name}")
        if gradient is None and layer.takes_integers:
            return
        given = dict(leaves(gradient))
        for path, shape in _shapes(layer.shape_in):
            _expect(given.get(path), (self._batch, *shape), f"{who}: backward gave")
            _expect_dtype(given.get(path), self.dtype, f"{who}: backward gave")


def _shapes(shape: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Yield the path and the shape of each input."""
    if isinstance(shape, dict):
        for key, value in shape.items():
            yield from _shapes(value, (*path, key))
    elif isinstance(shape, tuple) and any(isinstance(part, (tuple, dict)) for part in shape):
        for number, part in enumerate(shape):
            yield from _shapes(part, (*path, number))
    else:
        yield path, shape or ()


def _who(layer: Layer) -> str:
    name = type(layer).__name__
    return f"layer {layer.place}, {name}" if layer.place else name


def _expect(value: Any, shape: Any, who: str) -> None:
    shape = tuple(shape)
    if value is None or not hasattr(value, "shape"):
        raise TypeError(f"{who} {shown(value)}, but an array of shape {shape} is needed")
    given = tuple(value.shape)
    fits = len(given) == len(shape) and all(
        n in (None, m) for n, m in zip(shape, given, strict=True)
    )
    if not fits:
        raise ValueError(f"{who} an array of shape {given}, but {shape} is needed")


def _expect_dtype(value: Any, dtype: str, who: str) -> None:
    """Raise the error for floats of another dtype: what is computed of them would have it, too."""
    xp = array_namespace(value)
    if xp.isdtype(value.dtype, "real floating") and value.dtype != getattr(xp, dtype):
        raise TypeError(
            f"{who} an array of {value.dtype}, but the model computes with {dtype}: arrays beside "
            f"those that come in must be made of that dtype, as in xp.asarray(..., dtype=x.dtype)"
        )
