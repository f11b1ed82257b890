"""Where the parameters that are trained lie, packed into one array, and the moments of each."""

from __future__ import annotations

import hashlib
import itertools
import math
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from npnn.arrays import Array, array_namespace
from npnn.backends.host import host_array

if TYPE_CHECKING:
    from npnn.backends import Backend
    from npnn.layers.layer import Layer
    from npnn.network import Network, Slot
    from npnn.optimizers import Optimizer


class Packing:
    """The parameters of one model that are trained, as parts of one array where that is possible.

    Parameters
    ----------
    backend : Backend
        The model's. Where it cannot write into arrays, each parameter stays one of its own.

    Attributes
    ----------
    arrays : list of array
        What a step is given and gives.
    slots : list of Slot
        Where the parts are seen, in their order.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.arrays: list[Array] = []
        self.slots: list[Slot] = []
        self._shapes: list[tuple[int, ...]] = []
        self._views: list[Array] = []
        self._network: Network | None = None
        # Moments of parameters that are frozen now.
        self._resting: dict[tuple[Layer, str], list[Array]] = {}
        self._moments_of: Callable[[], Optimizer | None] = lambda: None
        self._lent: list[list[Array]] = []  # its moments

    def hold(self, network: Network) -> bool:
        """Make the trained parameters of a network parts of one array; whether they were not."""
        arrays = [slot.get() for slot in network.trained]
        of_others = [
            (view, array)
            for view, array in itertools.zip_longest(self._views, arrays)
            if view is not array
        ]
        self.slots = network.trained
        if of_others and network is self._network and self.backend.in_place:
            self._take_back(*zip(*of_others, strict=True))
        elif of_others:
            self._network = None  # until it is done: Ctrl-C may come
            self.arrays, self._shapes = self.backend.pack(arrays), network.shapes
            self._bind()
        self._network = network
        return bool(of_others)

    def _take_back(self, views: Sequence[Array], arrays: Sequence[Array]) -> None:
        """Go on where the parts lay, which a model has packed that some layers belong to, too.

        Steps were recorded that know where that is.
        """
        with self.backend.current():
            self.backend.store(list(views), list(arrays))
        self._put(self._views)

    def read_again(self) -> None:
        """Take the parameters from the layers, where somebody else may have replaced them."""
        self.arrays = [slot.get() for slot in self.slots]

    def replace(self, arrays: list[Array]) -> None:
        """Store other numbers, packed, in the place of those that are there."""
        stored = self.backend.store(self.arrays, arrays)
        if stored is not self.arrays:
            self.arrays = stored
            self._bind()

    def _bind(self) -> None:
        self._views = self.backend.unpack(self.arrays, self._shapes)
        self._put(self._views)

    def _put(self, views: Sequence[Array]) -> None:
        for slot, view in zip(self.slots, views, strict=True):
            slot.put(view)

    def unpack(self, packed: list[Array]) -> list[tuple[str, Array]]:
        """Return the slot's name and the part of each parameter in a packed array of any kind."""
        arrays = self.backend.unpack(packed, self._shapes)
        return [(slot.name, a) for slot, a in zip(self.slots, arrays, strict=True)]

    def pack(self, arrays: dict[str, Any]) -> list[Array]:
        """Return one packed array of arrays by slot, the opposite of :meth:`unpack`."""
        asarray = self.backend.asarray
        return self.backend.pack([asarray(arrays[slot.name]) for slot in self.slots])

    # The moments of the optimizers --------------------------------------------------------------

    def give_moments(self, optimizer: Optimizer) -> None:
        """Give an optimizer moments for the packed parameters: those it has, or new ones."""
        slots = tuple((slot.layer, slot.attribute) for slot in self.slots)
        if not all(self.backend.owns(array) for moment in optimizer.state for array in moment):
            optimizer.state, optimizer.slots = [], ()  # the model computes elsewhere now
        if optimizer.slots == slots and len(optimizer.state) == len(optimizer.moments):
            return
        if optimizer.kept is not None:
            self._give_back(optimizer, optimizer.kept, slots)
            if optimizer.slots == slots:
                return
        shapes = [tuple(array.shape) for array in self.arrays]
        known = self._moments(optimizer)
        if known and all(slot in known for slot in slots):
            columns = zip(*(known[slot] for slot in slots), strict=True)
            optimizer.state = [self.backend.pack(list(column)) for column in columns]
        elif not (optimizer.state and not optimizer.slots and _fit(optimizer.state, shapes)):
            optimizer.state, known = self._new_moments(optimizer, shapes), {}
            optimizer.steps = 0
        self._resting = known
        optimizer.slots = slots

    def _give_back(
        self, optimizer: Optimizer, kept: Kept, slots: tuple[tuple[Layer, str], ...]
    ) -> None:
        """Give a copy the moments of the optimizer that it was made of, if the parameters fit."""
        optimizer.kept = None
        if kept.marks != _marks(slots):
            return
        names = [slot.name for slot in self.slots]
        optimizer.state = [
            self.pack(dict(zip(names, _cut(moment, self._shapes), strict=True)))
            for moment in kept.moments
        ]
        optimizer.slots = slots

    def _new_moments(
        self, optimizer: Optimizer, shapes: list[tuple[int, ...]]
    ) -> list[list[Array]]:
        """Return moments of zero: where those of an optimizer lie that is gone, if they fit.

        A recorded step knows where they lie.
        """
        zeros = self.backend.zeros
        state = [[zeros(shape) for shape in shapes] for _ in optimizer.moments]
        fitting = len(self._lent) == len(state) and _fit(self._lent, shapes)
        if self.backend.in_place and fitting and self._moments_of() is None:
            with self.backend.current():
                pairs = zip(self._lent, state, strict=True)
                state = [self.backend.store(*pair) for pair in pairs]
        self._lent, self._moments_of = state, weakref.ref(optimizer)
        return state

    def _moments(self, optimizer: Optimizer) -> dict[tuple[Layer, str], list[Array]]:
        """Return the moments of each parameter that the optimizer has, or had, here."""
        shapes = [tuple(getattr(layer, name).shape) for layer, name in optimizer.slots]
        moments = [self.backend.unpack(moment, shapes) for moment in optimizer.state]
        now = {slot: [m[n] for m in moments] for n, slot in enumerate(optimizer.slots)}
        return {**self._resting, **now} if now else {}


class Kept(NamedTuple):
    """What a copy of an optimizer goes on from, where it is given the parameters of then.

    Attributes
    ----------
    marks : list of str
        By which each of the parameters is known.
    moments : list of ndarray
        Those of all parameters, of one axis.
    """

    marks: list[str]
    moments: list[Any]


def kept_of(optimizer: Optimizer) -> Kept | None:
    """Return what a copy of an optimizer goes on from; None where it has trained nothing."""
    if not optimizer.slots:
        return optimizer.kept
    moments = []
    for moment in optimizer.state:
        parts = [host_array(array).reshape(-1) for array in moment]
        moments.append(array_namespace(parts[0]).concat(parts))
    return Kept(_marks(optimizer.slots), moments)


def _marks(slots: Sequence[tuple[Layer, str]]) -> list[str]:
    arrays = [host_array(getattr(layer, name)) for layer, name in slots]
    return [f"{a.shape} {hashlib.blake2b(a.tobytes()).hexdigest()}" for a in arrays]


def _cut(flat: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    ends = list(itertools.accumulate(map(math.prod, shapes)))
    starts = [0, *ends]
    return [flat[a:b].reshape(s) for a, b, s in zip(starts, ends, shapes, strict=False)]


def _fit(state: list[list[Array]], shapes: list[tuple[int, ...]]) -> bool:
    return all([tuple(array.shape) for array in moment] == shapes for moment in state)
