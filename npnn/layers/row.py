"""Layers one after the other, as one layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from npnn import checked
from npnn.arrays import Array, Shape, as_shape, is_of_one_array
from npnn.errors import FileError
from npnn.layers.layer import Layer, Link
from npnn.locks import changed
from npnn.plain import Reader, Writer, is_ours

if TYPE_CHECKING:
    import numpy as np


class Row(Link):
    r"""Layers, one after the other.

    .. math::

        y = f_n(\ldots f_1(x)), \qquad \frac{\partial L}{\partial x} =
            \Big( \frac{\partial f_1}{\partial x} \Big)^T \cdots
            \Big( \frac{\partial f_n}{\partial x} \Big)^T \frac{\partial L}{\partial y}

    Parameters
    ----------
    layers : sequence of Layer, optional
        They may also be assigned later. A layer that stands in several places has one set of
        parameters.
    """

    def __init__(self, layers: Sequence[Layer] | None = None) -> None:
        self._layers: list[Layer] = []
        self._shapes: list[Shape | None] = []  # of what each gave when they were built
        if layers is not None:
            self.layers = layers

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers; assign a whole new list to change them."""
        return tuple(self._layers)

    @layers.setter
    def layers(self, layers: Sequence[Layer]) -> None:
        if isinstance(layers, Layer):
            raise TypeError(f"the layers must be a list: {type(self).__name__}([{layers!r}])")
        layers = checked.sequence(layers, "the layers", "layers")
        layers = [part for layer in layers for part in _parts(layer)]
        for number, layer in enumerate(layers):
            if isinstance(layer, type) and issubclass(layer, Layer):
                raise TypeError(
                    f"layer {number} must be a Layer, not a class: write {layer.__name__}(...)"
                )
            if not isinstance(layer, Layer):
                hint = ": an activation is a layer too, such as npnn.ReLU()"
                hint *= isinstance(layer, str) or callable(layer)
                raise TypeError(f"layer {number} must be a Layer, not {checked.shown(layer)}{hint}")
            if any(part is self for _, part in layer.walk(str(number))):
                raise ValueError(
                    f"layer {number} must not be, or hold, the {type(self).__name__} that it is "
                    "to become a part of"
                )
        if not layers:
            raise ValueError("a model needs at least one layer")
        with changed(self):
            old = self._layers, self.shape_in, self.shape_out
            self._take_in(layers)
            try:
                self._take_up()
            except BaseException:
                self._layers, self.shape_in, self.shape_out = old
                raise
            self.mark_changed()

    def _take_in(self, layers: list[Layer]) -> None:
        self._layers, self.shape_in, self.shape_out = layers, None, None

    def _take_up(self) -> None:
        """Do what there is to do when the layers are new; here they wait for a shape."""

    @property
    def takes_integers(self) -> bool:  # type: ignore[override]  # as the first layer does
        """Whether inputs that are integers shall stay integers."""
        return bool(self._layers) and self._layers[0].takes_integers

    @property
    def is_built(self) -> bool:
        if self.shape_out is None or not all(layer.is_built for layer in self._layers):
            return False
        # The layers of a row within may have been replaced since.
        return self._shapes == [layer.shape_out for layer in self._layers]

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        """Build each layer for what the one before gives; one built already keeps its weights."""
        if not self._layers:
            raise ValueError("it has no layers: assign them first")
        shape = start = self.accept(shape_in)
        followers = [*self._layers[1:], self.following]
        for number, (layer, following) in enumerate(zip(self._layers, followers, strict=True)):
            vars(layer).update(dtype=self.dtype, following=following)
            try:
                _check_takes(layer, shape)
                if layer.is_built:
                    layer.accept(shape)
                    assert layer.shape_out is not None
                    shape = layer.shape_out
                else:
                    shape = _built(layer, shape, rng)
            except FileError as error:  # the weights of a file do not fit
                raise FileError(f"layer {number}, {layer!r}: {error}") from None
            except ValueError as error:
                before = f" by layer {number - 1}, {self._layers[number - 1]!r}" if number else ""
                raise ValueError(f"layer {number}, {layer!r}: {error}{before}") from None
        self._shapes = [layer.shape_out for layer in self._layers]
        # The first layer may take samples of any length.
        self.shape_in, self.shape_out = self._layers[0].shape_in or start, shape
        return shape

    def __len__(self) -> int:
        return len(self._layers)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def __getitem__(self, place: Any) -> Any:
        """Return the layer at a place counted from 0; of a slice, a tuple of them."""
        if isinstance(place, str):
            raise TypeError(f"layers have no names but their places: write {_shown_place(place)}")
        try:
            return self.layers[place]
        except IndexError:
            raise IndexError(f"of {len(self)} layers, counted from 0, none is {place}") from None

    def children(self) -> Iterator[tuple[str, Layer]]:
        """Yield the layers and their places."""
        return ((str(number), layer) for number, layer in enumerate(self._layers))

    @property
    def flops(self) -> int:
        """Floating-point operations of one sample's forward pass."""
        return sum(layer.flops for layer in self._layers)

    def forward(self, x: Array) -> Array:
        """Return what the last layer gives for a batch `x`."""
        for layer in self._layers:
            x = layer.forward(x)
        return x

    def backward(self, grad_y: Array) -> Array:
        """Return the gradient at the inputs, leaving those of the parameters in the layers."""
        for layer in reversed(self._layers):
            grad_y = layer.backward(grad_y)
        return grad_y

    def _described(self, writer: Writer) -> dict[str, Any]:
        entries = []
        for number, layer in enumerate(self._layers):
            try:
                entries.append(writer.value(layer, "the layer"))
            except FileError as error:
                what = f"layer {number}, {type(layer).__name__}"
                raise FileError(f"{what}: {error}") from None
        config = {"type": self.registry.name_of(type(self)), "layers": entries}
        return config if self.trainable else {**config, "trainable": False}

    @classmethod
    def _restored(cls, config: dict[str, Any], reader: Reader) -> Any:
        row = cls()
        row._take_in(reader.layers(config.get("layers")))
        row.trainable = config.get("trainable", True) is not False
        return row

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self._layers))
        return shown if len(self._layers) == 1 else f"[{shown}]"


class Joined(Row):
    """Layers that were written as one: in another row they are layers of that."""


def _parts(layer: Any) -> Sequence[Any]:
    return layer.layers if isinstance(layer, Joined) else [layer]


def _shown_place(name: str) -> str:
    place = name.partition(".")[0]
    return f"model[{place}]" if place.isdigit() else "model[0]"


def _check_takes(layer: Layer, shape: Any) -> None:
    """Raise the error for several arrays that come to a layer of the package, which takes one."""
    if (
        is_ours(type(layer))
        and not isinstance(layer, Row)
        and not is_of_one_array(as_shape(shape, "shape"))
    ):
        raise ValueError(
            f"takes one array, but is given several, of the shapes {shape}: a layer of your own "
            "comes first that makes one of them"
        )


def _built(layer: Layer, shape_in: Shape, rng: np.random.Generator | None) -> Shape:
    """Build a layer and return its shape_out; what a person gave it before is not drawn anew."""
    own = vars(layer)
    given = {n: own.pop(n) for n in (*layer.parameter_names, *layer.state_names) if n in own}
    shape = layer.build(shape_in, rng)
    _check_built(layer, shape)
    for name, value in given.items():
        setattr(layer, name, value)
    return shape


def _check_built(layer: Layer, shape_out: Any) -> None:
    """Raise the error for a layer whose build forgot something."""
    for name in (*layer.parameter_names, *layer.state_names):
        if name not in vars(layer):
            raise ValueError(
                f"build drew no {name!r}, which its parameter_names or state_names list: "
                f"call self.draw({name!r}, ...) in it"
            )
    if not isinstance(shape_out, tuple) or shape_out != layer.shape_out:
        raise ValueError(
            "build must set shape_out and return it, a tuple of ints; "
            f"it returned {shape_out!r}, and shape_out is {layer.shape_out!r}"
        )
