"""The loss around a point in the space of parameters, in two directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npnn import checked
from npnn.arrays import Array, array_namespace
from npnn.inside.passes import Pass, looking

if TYPE_CHECKING:
    from npnn.model import Sequential


class Landscape(NamedTuple):
    """The loss over a plane of parameters.

    Attributes
    ----------
    a, b : ndarray, shape (points,)
        How far along the first and the second direction.
    loss : ndarray, shape (points, points)
        At ``loss[i, j]`` that of the parameters plus ``a[i]`` times the first direction and
        ``b[j]`` times the second.
    """

    a: np.ndarray
    b: np.ndarray
    loss: np.ndarray


def loss_around(
    model: Sequential,
    x: Any,
    t: Any = None,
    *,
    directions: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None,
    span: float = 1.0,
    points: int = 21,
    seed: int | None = 0,
) -> Landscape:
    r"""Return the loss :math:`L(\theta + a \, d_1 + b \, d_2)` for a and b from -span to span.

    Parameters
    ----------
    model : Sequential
        Whose parameters are the point :math:`\theta`. Nothing of it is changed.
    x, t : array_like
        Raw inputs and targets.
    directions : pair of dict, optional
        Arrays by the names of :meth:`npnn.Sequential.parameters`; parameters that are not named
        stay as they are. By default drawn at random, each array with the norm of its parameter, so
        that a network whose weights are larger does not look flatter.
    span : float, default 1
        How far to go.
    points : int, default 21
        Along each direction.
    seed : int, optional
        Of the directions.

    References
    ----------
    Li et al. 2018, "Visualizing the loss landscape of neural nets", section 4.

    Examples
    --------
    >>> import npnn
    >>> model = npnn.Sequential([npnn.Dense(1, 1)], seed=0)
    >>> npnn.inside.loss_around(model, [[0.0], [1.0]], [0.0, 1.0], points=5).loss.shape
    (5, 5)
    """
    checked.positive(span, "span")
    checked.integer(points, "points", 2)
    steps = np.linspace(-span, span, points)
    with looking(model, x, t) as start:
        first, second = _directions(start, directions, checked.seed(seed))
        network = start.network
        here = [slot.get() for slot in network.parameters]
        totals = []
        for a in steps:
            row = [p + float(a) * d for p, d in zip(here, first, strict=True)]
            for b in steps:
                there = [p + float(b) * d for p, d in zip(row, second, strict=True)]
                at = Pass(network, start.x, start.t, start.w, parameters=there)
                at.forward()
                totals.append(at.loss())
        losses = np.asarray(model.backend.read(totals)) * network.losses[-1].unit
    return Landscape(steps, steps, losses.reshape(points, points))


def _directions(
    start: Pass, given: tuple[Mapping[str, Any], Mapping[str, Any]] | None, seed: int | None
) -> list[list[Array]]:
    """Return two directions, with an array for each parameter."""
    slots, backend = start.network.parameters, start.backend
    if given is None:
        rng = np.random.default_rng(seed)
        return [
            [_scaled(backend.asarray(rng.standard_normal(s.get().shape)), s.get()) for s in slots]
            for _ in range(2)
        ]
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError("directions must be a pair of dicts of arrays, by the parameters' names")
    shapes = {slot.name: tuple(slot.get().shape) for slot in slots}
    for direction in given:
        for name in direction:
            if name not in shapes:
                raise ValueError(
                    f"directions: there is no parameter {name!r}; there are {', '.join(shapes)}"
                )
            if np.shape(direction[name]) != shapes[name]:
                raise ValueError(
                    f"directions: {name!r} must have the shape {shapes[name]}, not "
                    f"{np.shape(direction[name])}"
                )
    return [
        [backend.asarray(each[n]) if n in each else backend.zeros(s) for n, s in shapes.items()]
        for each in given
    ]


def _scaled(direction: Array, parameter: Array) -> Array:
    """Return a direction with the norm of a parameter."""
    xp = array_namespace(parameter)
    norm = xp.sqrt(xp.sum(parameter * parameter))
    return direction * (norm / xp.sqrt(xp.sum(direction * direction)))
