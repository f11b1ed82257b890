"""What Dense and the convolutions have in common: weights, biases, and an activation behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from npnn import checked, named
from npnn.arrays import Array, Shape
from npnn.guided import constructor_is_own
from npnn.layers.activations import Activation
from npnn.layers.layer import Layer
from npnn.layers.row import Joined


class Weighted(Layer):
    """Base of the layers with weights `w` and, unless they are left out, biases `b`.

    One that is constructed with an `activation` is a row of itself and that; within a model, these
    are two layers like any others.
    """

    parameter_names = ("w", "b")
    w: Array
    b: Array

    if not TYPE_CHECKING:

        def __new__(cls, *args: Any, **options: Any) -> Any:
            activation = options.pop("activation", None) if constructor_is_own(cls) else None
            if activation is None:
                return super().__new__(cls, *args, **options)
            kinds = [k for k in Layer.registry.values() if issubclass(k, Activation)]
            following = named.called(activation, Layer, "activation", kinds)
            return Joined([cls(*args, **options), following])

    @property
    def bias(self) -> bool:
        """Whether there are biases."""
        return "b" in self.parameter_names

    @property
    def activation(self) -> None:
        """None: an activation is a layer of its own."""

    def _suiting(self, name: str, value: Any) -> Any:
        if name == "initializer" and self.is_built:
            raise AttributeError(
                f"{type(self).__name__}.initializer draws w, and w is drawn: set w itself"
            )
        return super()._suiting(name, value)

    def _take_bias(self, bias: bool) -> None:
        if not checked.flag(bias, "bias"):
            vars(self)["parameter_names"] = ("w",)


def look_at_shapes(cls: type, args: Sequence[Any], options: dict[str, Any]) -> None:
    """Raise the error for a shape_in without a shape_out; one shape by place is shape_out."""
    shape_out = args[1] if len(args) > 1 else options.get("shape_out")
    if shape_out is None and (len(args) != 1 or options.get("shape_in")):
        both_shapes(cls.__name__, None, None)


def both_shapes(
    name: str, shape_in: int | Shape | None, shape_out: int | Shape | None
) -> tuple[Any, Any]:
    """Return shape_in and shape_out, where one alone is shape_out; a layer `name` needs that."""
    if shape_in is None and shape_out is None:
        raise TypeError(
            f"{name} needs shape_out: {name}(64) makes 64 outputs of what comes in, {name}(4, 64) "
            "of 4 inputs"
        )
    return (None, shape_in) if shape_out is None else (shape_in, shape_out)
