"""Chains that can be trained and can hardly be meant: told of in a warning when training begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from npnn.arrays import array_namespace
from npnn.layers.activations import (
    LeakyReLU,
    ReLU,
    Sigmoid,
    Softmax,
    Softplus,
    Swish,
    Tanh,
)
from npnn.layers.layer import given_by
from npnn.layers.normalizing import BatchNorm, LayerNorm
from npnn.layers.regularizing import Dropout
from npnn.layers.row import Row
from npnn.layers.weighted import Weighted

if TYPE_CHECKING:
    from npnn.arrays import Array
    from npnn.network import Network

INFINITE = float("inf")
RANGES: dict[type, tuple[float, float]] = {
    ReLU: (0.0, INFINITE),
    Sigmoid: (0.0, 1.0),
    Softmax: (0.0, 1.0),
    Softplus: (0.0, INFINITE),
    Swish: (-0.28, INFINITE),
    Tanh: (-1.0, 1.0),
}
"""Between which numbers the outputs of an activation are."""

_BEHIND: dict[type, tuple[type, ...]] = {
    Sigmoid: (ReLU, Sigmoid, Softmax, Softplus, Swish, Tanh),
    Softmax: (ReLU, Sigmoid, Softmax, Softplus, Tanh),
    **dict.fromkeys((LeakyReLU, ReLU, Softplus, Swish, Tanh), (Sigmoid, Softmax)),
}
"""Which activations an activation has no use for right before it."""

NEAR = 0.01  # of the largest target, by which one may be out of reach

_Placed = tuple[str, Any]


def check_not_constant(network: Network) -> None:
    """Raise the error for a layer behind which nothing is left of what comes in."""
    for place, layer in network.layers:
        shape = layer.shape_out
        if type(layer) in (LayerNorm, Softmax) and isinstance(shape, tuple) and shape[-1] == 1:
            raise ValueError(
                f"{_who((place, layer))} gives the same whatever comes in, since it compares the "
                "numbers of a sample along the last axis, and there is one alone: leave it out"
            )


def of_layers(network: Network) -> list[str]:
    """Return what is doubtful about the order of a network's layers; often nothing."""
    found = [text for row in _rows(network) for text in _of_pairs(row)]
    losses = [at for at in network.losses_at if network.row[at][1].needs_targets]  # type: ignore[attr-defined]
    if losses:
        found += _of_end(network.row[: losses[-1]])
    return found


def of_targets(network: Network, t: Array) -> list[str]:
    """Return what is doubtful about the targets of a regression: that outputs cannot reach them."""
    made = _last_that_computes(network.row[: network.losses_at[-1]])
    loss: Any = network.losses[-1]
    if made is None or loss.power_of_scale is None or network.target_norm is not None:
        return []
    low, high = RANGES.get(type(made[1]), (-INFINITE, INFINITE))
    if (low, high) == (-INFINITE, INFINITE):
        return []
    with network.backend.current():
        xp = array_namespace(t)
        least, most = network.backend.read([xp.min(t), xp.max(t)])
    room = NEAR * max(abs(least), abs(most))
    if least >= low - room and most <= high + room:
        return []
    return [
        f"targets are from {least:.6g} to {most:.6g}, but {_who(made)} gives numbers "
        f"{_between(low, high)}: leave it out, or bring the targets to that range"
    ]


def _of_pairs(row: Sequence[_Placed]) -> Iterator[str]:
    """Yield what is doubtful about activations that follow one another."""
    before: _Placed | None = None
    for at in row:
        kind = type(at[1])
        if before is not None and type(before[1]) in _BEHIND.get(kind, ()):
            made = _between(*RANGES[type(before[1])])
            yield (
                f"{_who(before)} gives numbers {made}, and {_who(at)} can make little of those: "
                "leave one of the two out"
            )
        if given_by(at[1]) != "inputs" and kind is not Dropout:
            before = at


def _of_end(row: Sequence[_Placed]) -> Iterator[str]:
    """Yield what is doubtful about the last layers, whose outputs are compared with targets."""
    if not any(isinstance(layer, Weighted) for _, layer in row):
        return
    made = _last_that_computes(row, through=())
    if made is not None and type(made[1]) in (Sigmoid, Softmax):
        made = _last_that_computes(row[: _place_of(row, made)], through=())
    if made is None:
        return
    if type(made[1]) is Dropout and made[1].probability:
        yield (
            f"{_who(made)} stands last, where it sets to 0 what is compared with the targets: put "
            "it before the last layer with weights"
        )
    elif type(made[1]) is BatchNorm and made is _last_that_computes(row, through=()):
        yield (
            f"{_who(made)} stands last, so that in training the outputs of a sample depend on the "
            "others of its batch, and in predictions do not: put it before the last layer with "
            "weights, or leave it out"
        )


def _last_that_computes(
    row: Sequence[_Placed], through: tuple[type, ...] = (Dropout,)
) -> _Placed | None:
    """Return the last layer that does not just give on what comes in."""
    for at in reversed(row):
        if given_by(at[1]) != "inputs" and type(at[1]) not in through:
            return at
    return None


def _place_of(row: Sequence[_Placed], at: _Placed) -> int:
    return next(number for number, other in enumerate(row) if other is at)


def _rows(network: Network) -> Iterator[Sequence[_Placed]]:
    """Yield the network's row, and those within its layers, opened."""
    yield network.row
    for place, layer in network.layers:
        if isinstance(layer, Row):
            yield list(_opened(place, layer))


def _opened(place: str, row: Row) -> Iterator[_Placed]:
    for name, layer in row.children():
        if isinstance(layer, Row):
            yield from _opened(f"{place}.{name}", layer)
        else:
            yield f"{place}.{name}", layer


def _who(at: _Placed) -> str:
    return f"layer {at[0]}, {at[1]!r},"


def _between(low: float, high: float) -> str:
    return f"from {low:g} on" if high == INFINITE else f"from {low:g} to {high:g}"
