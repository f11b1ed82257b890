"""The links of a chain, in the order a batch meets them: their layers in one row, and their slots.

A :class:`Network` says what there is, and looks whether it fits. A step works on the twins that
:meth:`Network.at_work` gives, through which a batch goes forward and a gradient backward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from npnn.arrays import Array
from npnn.known import after as known_after
from npnn.known import check, passes_on
from npnn.layers.activations import Softmax
from npnn.layers.layer import Layer, Link, given_by
from npnn.layers.regularizing import Dropout
from npnn.layers.row import Row

if TYPE_CHECKING:
    from npnn.losses import LossLayer
    from npnn.model import Sequential
    from npnn.normalization import Normalization
    from npnn.watch import Watch


class Slot(NamedTuple):
    """Where an array of a layer has its place, and all the places at which the layer stands."""

    name: str
    layer: Layer
    attribute: str
    at: tuple[int, ...]

    def get(self) -> Array:
        """Return the array that is there."""
        return getattr(self.layer, self.attribute)

    def put(self, array: Array) -> None:
        """Put an array there; that is no change of a setting."""
        vars(self.layer)[self.attribute] = array


def arrays_in(slots: Sequence[Slot]) -> list[Array]:
    """Return the arrays that are in slots: at each step, so without a call for each."""
    return [slot.layer.__dict__[slot.attribute] for slot in slots]


class Network:
    """Models and losses, in the order a batch meets them.

    Parameters
    ----------
    model : Sequential
        The first link; ``model.chain`` is the next, and so on.
    alone : bool, default False
        Whether to stop at the model.

    Attributes
    ----------
    links : list of Link
        The models and losses.
    row : list of (str, Layer)
        The layers of all models, and the losses, each with its place.
    layers : list of (str, Layer)
        Those and all layers within them.
    unsure : list of (int, int)
        Where losses stand that need to know what comes, and where that is made, of which nothing
        is known.
    trained, frozen, state : list of Slot
        Parameters that training changes, those that it does not, and what is carried along.

    Raises
    ------
    ValueError
        If a link does not fit the shape that comes to it, or the chain comes back to itself.
    """

    def __init__(self, model: Sequential, *, alone: bool = False) -> None:
        self.model, self.backend = model, model.backend
        self.links = [model] if alone else links_of(model)
        if not alone and self.links[-1].chain is not None:
            raise ValueError(f"the chain comes back to {self.links[-1].chain!r}")
        self._connect()
        _check_norm_within(model)
        self.target_norm = self._find_target_norm()
        within = [layer for link in self.links for _, layer in link.walk()]
        self._changed = [(layer, layer.changed) for layer in within]
        self._trainable = [(layer, layer.trainable) for layer in within]
        self.row: list[tuple[str, Layer]] = []
        self.layers: list[tuple[str, Layer]] = []
        self._may_train: list[bool] = []
        for number, link in enumerate(self.links):
            self._add(str(number) if number else "", link, True)
        self.unsure: list[tuple[int, int]] = []
        self.losses_at, self.activations = self._find_losses()
        self.losses: list[LossLayer] = [self.row[at][1] for at in self.losses_at]  # type: ignore[misc]
        for loss in self.losses:
            norm = self.target_norm
            vars(loss)["target_scale"] = 1.0 if norm is None else float(norm.scale.reshape(()))
        parameters = list(self._slots("parameter_names"))
        self.trained = [slot for slot in parameters if self._may_train[slot.at[0]]]
        self.frozen = [slot for slot in parameters if not self._may_train[slot.at[0]]]
        self.parameters = parameters
        self.state = list(self._slots("state_names"))
        self._check_arrays()
        self.shapes = [tuple(slot.get().shape) for slot in self.trained]
        # What comes out may be the very array that came in.
        self.gives_on = all(
            _is_loss(layer) or given_by(layer) == "inputs" or type(layer) is Dropout
            for _, layer in self.row
        )
        self.noisy = [layer for _, layer in self.layers if layer.noise is not None]
        self.again = [
            (before, at)
            for slot in {id(s.layer): s for s in self.state}.values()
            for before, at in zip(slot.at, slot.at[1:], strict=False)
        ]

    def _add(self, place: str, layer: Layer, may_train: bool) -> None:
        """Take in a link: rows are opened, so that their layers follow one another."""
        may_train = may_train and layer.trainable
        if isinstance(layer, Row):
            for name, child in layer.children():
                separator = ":" if layer in self.links else "."
                self._add(f"{place}{separator}{name}" if place else name, child, may_train)
            return
        self.row.append((place, layer))
        self._walk(place, layer, may_train)

    def _walk(self, place: str, layer: Layer, may_train: bool) -> None:
        self.layers.append((place, layer))
        self._may_train.append(may_train and layer.trainable)
        for name, child in layer.children():
            self._walk(f"{place}.{name}", child, self._may_train[-1] and may_train)

    def _slots(self, kind: str) -> Iterator[Slot]:
        places: dict[int, list[int]] = {}
        for at, (_, layer) in enumerate(self.layers):
            places.setdefault(id(layer), []).append(at)
        for at, (place, layer) in enumerate(self.layers):
            if places[id(layer)][0] == at:
                for name in getattr(layer, kind):
                    yield Slot(f"{place}.{name}", layer, name, tuple(places[id(layer)]))

    def _check_arrays(self) -> None:
        """Raise the error for a layer that another model has taken elsewhere."""
        backend = self.backend
        with backend.current():
            for slot in (*self.parameters, *self.state):
                array = slot.get()
                is_float = backend.owns(array) and backend.xp.isdtype(array.dtype, "real floating")
                if not backend.owns(array) or (is_float and array.dtype != backend.dtype):
                    raise ValueError(
                        f"{slot.name!r} is an array of {type(array).__module__} and "
                        f"{array.dtype}, but the model computes on {backend!r}: models with a "
                        "layer in common need one backend, dtype and device"
                    )

    def _find_losses(self) -> tuple[list[int], set[int]]:
        """Return where losses stand, and where activations whose inputs those take instead."""
        losses, activations = [], set()
        given, made = "", -1  # what is known of what comes, and where it was made
        loss: Any
        for at, (_, loss) in enumerate(self.row):
            if not _is_loss(loss):
                known = known_after(loss, given)
                made = made if passes_on(loss) and known == given and made >= 0 else at
                given = known
                continue
            losses.append(at)
            if made >= 0 and not check(loss, given, *self.row[made]):
                self.unsure.append((at, made))
            before = self._canonical_before(at, loss.canonical_activation)
            if before is not None and loss.chain is None:
                activations.add(before)
        return losses, activations

    def _canonical_before(self, at: int, canonical: type[Layer] | None) -> int | None:
        """Return where the activation is of which a loss takes the inputs, if there is one.

        Between them is nothing but what gives the same numbers on, along the same last axis.
        """
        for before in range(at - 1, -1, -1):
            layer: Any = self.row[before][1]
            if type(layer) is canonical:
                return before
            if _is_loss(layer) or given_by(layer) != "inputs":
                return None
            if layer.shape_in[-1] != layer.shape_out[-1] and canonical is Softmax:
                return None
        return None

    def answers(self) -> str:
        """Return what is known of the outputs, as `Layer.gives` says it, of which classes are made.

        Raises
        ------
        ValueError
            If they are known to be any numbers, as those of a regression are.
        """
        given, made, joined = "", -1, False
        for at, (_, layer) in enumerate(self.row):
            if not _is_loss(layer):
                known = known_after(layer, given)
                joined = given == "probabilities" and known == "fractions"
                made = made if passes_on(layer) and known == given and made >= 0 else at
                given = known
        place, last = self.row[made] if made >= 0 else ("", self.model)
        if given == "" and made >= 0:
            given = _by_loss(links_of(self.model)[-1])
        if given in ("numbers", "positives", "gaussians"):
            raise ValueError(
                "predict_class tells classes of what Softmax or Sigmoid gives, but the model ends "
                f"with layer {place}, {last!r}: predict returns its numbers"
            )
        if joined:
            raise ValueError(
                "predict_class needs the probabilities of an answer along the last axis, of which "
                f"layer {place}, {last!r}, has made another: leave it out"
            )
        return given

    def _connect(self) -> None:
        shape = None
        for number, link in enumerate(self.links):
            if not link.is_loss:
                mine, given = repr(self.backend), repr(link.backend)
                if mine != given:
                    raise ValueError(
                        "all models of a chain need one backend, dtype and device: "
                        f"link {number} is on {given}, link 0 on {mine}"
                    )
                if not link.is_built:
                    link.build_at(link.shape_in or shape)
            try:
                if shape is not None:
                    link.accept(shape)
                    if link.is_loss:
                        link.build(shape)
            except ValueError as error:
                raise ValueError(f"link {number} of the chain, {link!r}: {error}") from None
            shape = link.shape_out

    def _find_target_norm(self) -> Normalization | None:
        """Return the scale at which the model computes: alone, or behind it a loss that has one."""
        others: list[Any] = self.links[1:]
        suits = not others or (
            len(others) == 1 and others[0].is_loss and others[0].power_of_scale is not None
        )
        norm = self.model.target_norm
        if norm is None or not suits:
            return None
        if self.model.shape_out is not None:
            norm.check_fits(self.model.shape_out, "target_norm", "outputs")
        return norm

    @property
    def shape_in(self) -> Any:
        """The shape of one sample of the inputs."""
        return self.model.shape_in

    @property
    def shape_out(self) -> Any:
        """The shape of one sample of the targets of the last loss."""
        return self.losses[-1].shape_in

    def check_trains(self) -> None:
        """Raise the error for a network that there is nothing to train of."""
        if not self.losses:
            raise ValueError(
                "the model has no loss to train on: set model.chain = CrossEntropyLoss(...), say"
            )
        if not self.links[-1].is_loss:
            raise ValueError("the chain ends with a model: its chain must be a loss")
        if not self.parameters:
            raise ValueError("the model has no parameters to train")
        if not self.trained:
            raise ValueError("there is nothing to train: every layer has trainable = False")

    def check_targets_are_there(self, t: Any) -> None:
        """Raise the error for targets that are missing, if a loss needs them."""
        for loss in self.losses:
            if t is None and loss.needs_targets:
                raise ValueError(
                    f"targets are needed beside the inputs: {loss!r} compares with them"
                )

    def is_past(self) -> bool:
        """Return whether a setting of what it is made of was changed for good since it was."""
        return any(layer.changed != number for layer, number in self._changed)

    def is_current(self) -> bool:
        """Return whether all settings of what it is made of are as they were then."""
        as_then = all(layer.trainable == then for layer, then in self._trainable)
        return as_then and not self.is_past()

    def at_work(self) -> Work:
        """Return the layers' twins, for one step."""
        return Work(self)


class Work:
    """The twins of a network's layers during one step."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.row = [layer.twin() for _, layer in network.row]
        self.layers = self.row
        if len(network.layers) > len(network.row):
            self.layers = [part for layer in self.row for part in _within(layer)]
        for (place, _), layer in zip(network.layers, self.layers, strict=True):
            layer.__dict__["place"] = place
        self.losses: list[Any] = [self.row[at] for at in network.losses_at]

    def set(self, slots: Sequence[Slot], arrays: Sequence[Array]) -> None:
        """Give the twins their parameters, or their state."""
        for slot, array in zip(slots, arrays, strict=True):
            for at in slot.at:
                self.layers[at].__dict__[slot.attribute] = array

    def begin(self, *, training: bool, noise: Sequence[Array], metrics: Sequence[Any]) -> None:
        """Tell the twins what this step is, and hand them random numbers and running sums."""
        for layer in self.layers:
            layer.__dict__["training"] = training
        if noise:
            noisy = [layer for layer in self.layers if layer.noise is not None]
            for layer, drawn in zip(noisy, noise, strict=True):
                layer.__dict__["random"] = drawn
        for loss, sums in zip(self.losses, metrics, strict=True):
            self._weighted = len(sums) > 2
            loss.set_sums(sums)

    def forward(self, x: Any, t: Array, w: Array, watch: Watch | None = None) -> Array:
        """Return what the last link gives for inputs `x`; losses take in `t` if it is there."""
        before, logits, network = x, None, self.network
        for at, layer in enumerate(self.row):
            if at not in network.losses_at:
                if at in network.activations:
                    logits = x
                elif logits is not None:
                    logits = layer.forward(logits)  # which gives on what comes in
                before, x = x, layer.forward(x)
                if watch is not None:
                    watch.forward(layer, before, x)
                if network.again:
                    self._pass_state_on()
            elif t is not None or not layer.needs_targets:  # type: ignore[attr-defined]
                x = layer.measure(x, t, w, logits)  # type: ignore[attr-defined]
                logits = None
        return x

    def _pass_state_on(self) -> None:
        """Let a layer that comes again go on from the state in which it was left."""
        for before, at in self.network.again:
            for name in self.layers[at].state_names:
                self.layers[at].__dict__[name] = getattr(self.layers[before], name)

    def backward(self, watch: Watch | None = None) -> None:
        """Leave the gradients of the sum of all losses in the layers."""
        gradient: Any = None
        losses_at, activations = self.network.losses_at, self.network.activations
        for at in range(len(self.row) - 1, -1, -1):
            layer = self.row[at]
            if at in activations:
                continue  # the loss behind it took its derivative at its inputs
            gradient = layer.backward(gradient)
            if watch is not None and at not in losses_at:
                watch.backward(layer, gradient)

    def gradients(self) -> list[Array]:
        """Return the gradient of each trained parameter, summed over the places it stands at."""
        found = []
        for slot in self.network.trained:
            name = f"grad_{slot.attribute}"
            first, *others = [getattr(self.layers[at], name) for at in slot.at]
            found.append(sum(others, start=first) if others else first)
        return found

    def state(self) -> list[Array]:
        """Return what is carried to the next step."""
        return [getattr(self.layers[slot.at[-1]], slot.attribute) for slot in self.network.state]

    def metrics(self) -> list[list[Array]]:
        """Return the running sums of each loss, as many as were handed in."""
        return [loss.sums(self._weighted) for loss in self.losses]

    def leave(self) -> None:
        """Leave in the layers what a person may want to look at after an uncaptured step."""
        for (_, layer), twin in zip(self.network.layers, self.layers, strict=True):
            left = twin.__dict__
            for name in (*layer.parameter_names, *layer.state_names, "is_twin"):
                left.pop(name, None)
            if list(layer.children()):
                left = {name: value for name, value in left.items() if name not in vars(layer)}
            layer.__dict__.update(left)


def _check_norm_within(model: Any) -> None:
    """Raise the error for a norm of a model within another one, which would be expected to count.

    It maps the raw inputs of its own model alone.
    """
    place, inner = "model", model
    while model.norm is None and isinstance(inner, Row) and len(inner):
        place, inner = f"{place}.layers[0]", inner.layers[0]
        if getattr(inner, "norm", None) is not None:
            raise ValueError(
                f"{place} has a norm, but as a layer it takes its inputs as they are: "
                f"model.norm = {place}.norm has them normalised"
            )


def _is_loss(layer: Layer) -> bool:
    return isinstance(layer, Link) and layer.is_loss


def _by_loss(loss: Any) -> str:
    """Return what a loss says of the outputs before it, of which nothing else is known."""
    if getattr(loss, "is_loss", False) and loss.power_of_scale is not None:
        return "numbers"
    return str(getattr(loss, "needs", ""))


def links_of(first: Link | None) -> list[Any]:
    """Return a link and what is chained to it, each once."""
    links: list[Any] = []
    link: Any = first
    while link is not None and not any(link is other for other in links):
        links.append(link)
        link = link.chain
    return links


def all_within(link: Link | None) -> Iterator[Any]:
    """Yield a link, what is chained to it, and all layers within."""
    return (layer for each in links_of(link) for _, layer in each.walk())


def _within(layer: Layer) -> Iterator[Layer]:
    yield layer
    for _, child in layer.children():
        yield from _within(child)
