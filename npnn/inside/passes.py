"""One batch on its way through a model's layers and back, with what each of them took and gave.

It goes through twins of the layers, outside of what the model has recorded, so that nothing of the
model is changed: no parameter, no running statistic, no random number, no metric.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from npnn.acceptance import Acceptance
from npnn.arrays import Array, array_namespace
from npnn.layers.layer import Layer
from npnn.layers.row import Row
from npnn.locks import held
from npnn.losses import default_loss
from npnn.losses.loss import mean
from npnn.network import Network, arrays_in
from npnn.trees import len_of, mapped
from npnn.values import quiet

if TYPE_CHECKING:
    from npnn.model import Sequential


class Event(NamedTuple):
    """What a layer did: ``"forward"`` or ``"backward"``, what it took, and what it gave."""

    kind: str
    place: str
    layer: Layer
    taken: Any
    given: Any


class Pass:
    """A batch in the twins of a network's layers.

    Parameters
    ----------
    network : Network
        Whose layers.
    x, t, w : array
        Accepted inputs, targets and weights.
    training : bool
        Whether layers behave as in a training step.
    parameters : sequence of array, optional
        Used instead of those of the model, in the order of ``network.parameters``.

    Attributes
    ----------
    outputs : dict
        What each layer gave, by its place.
    arriving, leaving : dict
        The gradient that came to each layer's backward, and what that gave.
    injected : dict
        By place, gradients that take the place of those that arrive.
    events : list of Event
        All of it in its order.
    """

    def __init__(
        self,
        network: Network,
        x: Any,
        t: Array = None,
        w: Array = None,
        *,
        training: bool = False,
        parameters: Sequence[Array] | None = None,
    ) -> None:
        self.network, self.backend = network, network.backend
        self.x, self.t, self.w = x, t, w
        self.work = network.at_work()
        self.work.set(network.parameters, parameters or arrays_in(network.parameters))
        self.work.set(network.state, arrays_in(network.state))
        zeros = [self.backend.zeros(()) for _ in range(2 if w is None else 3)]
        noise = self._noise() if training else ()
        self.work.begin(training=training, noise=noise, metrics=[zeros] * len(self.work.losses))
        self.outputs: dict[str, Any] = {}
        self.arriving: dict[str, Any] = {}
        self.leaving: dict[str, Any] = {}
        self.injected: dict[str, Any] = {}
        self.events: list[Event] = []
        for (place, _), twin in zip(network.layers, self.work.layers, strict=True):
            self._look_at(f"link {place}" if _is_loss(twin) else place, twin)

    def _noise(self) -> list[Array]:
        rng, count = copy.deepcopy(self.network.model.rng), len_of(self.x)
        noisy = self.network.noisy
        return [
            self.backend.random(str(layer.noise), (count, *layer.noise_shape), rng)
            for layer in noisy
        ]

    def _look_at(self, place: str, twin: Any) -> None:
        """Have a twin say what it does: it is this pass's own, and so may have other methods."""
        forward: Callable[..., Any] = twin.measure if _is_loss(twin) else twin.forward
        backward: Callable[..., Any] = twin.backward

        def looked_forward(x: Any, *rest: Any) -> Any:
            self.outputs[place] = y = forward(x, *rest)
            self.events.append(Event("forward", place, twin, x, y))
            return y

        def looked_backward(gradient: Any = None) -> Any:
            gradient = self.injected.get(place, gradient)
            if gradient is None and not _is_loss(twin):
                y = self.outputs[place]
                gradient = array_namespace(y).zeros_like(y)
            self.arriving[place] = gradient
            self.leaving[place] = given = backward(gradient)
            self.events.append(Event("backward", place, twin, gradient, given))
            return given

        twin.__dict__["measure" if _is_loss(twin) else "forward"] = looked_forward
        twin.__dict__["backward"] = looked_backward

    def forward(self) -> Array:
        """Return what the last link gives."""
        return self.work.forward(self.x, self.t, self.w)

    def backward(self) -> None:
        """Go back from the loss, or from what is injected, leaving gradients everywhere."""
        self.work.backward()

    def loss(self) -> Array:
        """Return the loss that the batch has, at the scale at which the model computes."""
        total = sum(loss.total_loss for loss in self.work.losses)
        xp = array_namespace(self.w) if self.w is not None else None
        return mean(total, len_of(self.x) if xp is None else xp.sum(self.w))

    def grad_parameters(self) -> dict[str, Array]:
        """Return the gradient of every parameter of the chain, summed over all its places."""
        found = {}
        for slot in self.network.parameters:
            name = f"grad_{slot.attribute}"
            first, *others = [getattr(self.work.layers[at], name) for at in slot.at]
            found[slot.name] = sum(others, start=first)
        return found

    def grad_outputs(self) -> dict[str, Array]:
        """Return the gradient at what each layer gave.

        Where a loss took its derivative at the inputs of an activation, those behind the
        activation are found by the long way.
        """
        places = {place for place, _ in _places(self.network)}
        found = {place: g for place, g in self.arriving.items() if place in places}
        row = self.network.row
        for at in sorted(self.network.activations):
            behind = next(n for n in self.network.losses_at if n > at)
            loss: Any = self.work.row[behind]
            gradient = loss.derivative(loss.y, loss.t) * loss.share
            if behind + 1 < len(row):  # a model, whose gradient is added
                gradient = gradient + self.leaving[row[behind + 1][0]]
            for number in range(behind - 1, at - 1, -1):
                found[row[number][0]] = gradient
                if number > at:
                    gradient = type(self.work.row[number]).backward(self.work.row[number], gradient)
        return found

    def by_place(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return what was found in the order of the layers, those included that are only rows."""
        places = [place for place, _ in _places(self.network)]
        return {
            place: found[stand_in]
            for place in places
            if (stand_in := self.stand_in(place)) in found
        }

    def stand_in(self, place: str) -> str:
        """Return the place whose outputs are those of the layer at `place`: of a row, its last."""
        layers = dict(_places(self.network))
        known = {name for name, _ in self.network.layers}
        while place not in known and isinstance(layers.get(place), Row):
            *_, (last, _) = layers[place].children()
            place = f"{place}{':' if layers[place] in self.network.links else '.'}{last}"
        return place

    def inputs_unscaled(self, gradient: Any) -> Any:
        """Return a derivative by what the layers saw as one by what was given to the model."""
        norm = self.network.model.norm
        if norm is None:
            return gradient
        scale = self.backend.asarray(norm.scale)
        return mapped(gradient, lambda g: g / scale)


@contextlib.contextmanager
def looking(
    model: Sequential,
    x: Any,
    t: Any = None,
    w: Any = None,
    *,
    training: bool = False,
    alone: bool = False,
) -> Iterator[Pass]:
    """Send a batch forward through a model, and keep its numbers as they are for so long.

    Parameters
    ----------
    model : Sequential
        With what is chained to it, unless it is `alone`; a loss it has by default.
    x, t, w : array_like
        Raw inputs, targets and weights.
    training : bool, default False
        Whether layers behave as in a training step.
    alone : bool, default False
        Whether there is no loss.

    Raises
    ------
    ValueError, TypeError
        As :meth:`npnn.Sequential.evaluate` would.
    """
    with held("step", model.runner.locks), model.backend.current(), quiet():
        model.runner.build_for(x)
        network = network_of(model, alone)
        if not alone:
            network.check_targets_are_there(t)
        data = Acceptance(network).data(x, t, w)
        found = Pass(network, data["x"], data.get("t"), data.get("w"), training=training)
        found.forward()
        yield found


def network_of(model: Sequential, alone: bool) -> Network:
    """Return a model's network, with a loss of its own for so long if it has none."""
    if alone or model.chain is not None:
        return Network(model, alone=alone)
    vars(model)["_chain"] = default_loss(model)  # no change of a setting: it is taken back
    try:
        return Network(model)
    finally:
        del vars(model)["_chain"]


def place_of(place: Any, network: Network, name: str) -> str:
    """Return the place of a layer, which may be given as a number; `name` is the argument's."""
    places = [found for found, _ in _places(network)]
    shown = str(place)
    if isinstance(place, int) and not isinstance(place, bool) and place < 0:
        shown = str(len(network.model.layers) + place)
    if shown not in places:
        listed = ", ".join(map(repr, places))
        raise ValueError(f"{name} must be the place of a layer, not {place!r}; there are {listed}")
    return shown


def _places(network: Network) -> list[tuple[str, Layer]]:
    """Return all layers of the models with their places, those that are only rows included."""
    found = []
    for number, link in enumerate(network.links):
        if not link.is_loss:
            prefix = f"{number}:" if number else ""
            found += [(f"{prefix}{place}", layer) for place, layer in link.walk() if place]
    return found


def _is_loss(layer: Layer) -> bool:
    return bool(getattr(layer, "is_loss", False))
