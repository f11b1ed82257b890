"""What runs the steps of one model: its captured steps, what is carried, what comes in.

A model has one runner, which ``fit``, ``step``, ``predict``, ``evaluate``, ``summary`` and ``plan``
share, so that each step is recorded once.
"""

from __future__ import annotations

import contextlib
import math
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from npnn import doubts
from npnn.acceptance import check_inputs, raw_inputs
from npnn.arrays import Array, array_namespace
from npnn.batches import in_parts, rows_of
from npnn.locks import Joined, Locks, held, locks_of, trained
from npnn.losses import default_loss
from npnn.metrics import Measured, apart, sums_of, take_sums
from npnn.network import Network, all_within, arrays_in
from npnn.packing import Packing
from npnn.ready import Ready
from npnn.scores import Metric, Scores, scored
from npnn.settings import changes, look_again
from npnn.side import Side
from npnn.trees import Path, leaves, len_of, mapped
from npnn.values import check_finite, like

if TYPE_CHECKING:
    import numpy as np

    from npnn.backends.backend import Tree
    from npnn.layers.layer import Link
    from npnn.losses import LossLayer
    from npnn.model import Sequential
    from npnn.normalization import Normalization
    from npnn.optimizers import Optimizer

MOST_SIDES = 4  # of a model whose layers are frozen and thawed
MOST_COPIED = 1 << 24  # numbers
NO_DATA: Tree = {}


class Runner:
    """Runs the steps of one model, alone or with what is chained to it.

    Parameters
    ----------
    model : Sequential
        The first link.
    """

    def __init__(self, model: Sequential) -> None:
        self.model, self.backend = model, model.backend
        self.zero = self.backend.zeros(())
        scale = self.backend.loss_scale
        self.scaling = [] if scale is None else self.numbers(scale, 0.0)
        self.packing = Packing(self.backend)
        self.epochs = 0  # that the model was trained for
        self._sides: list[Side] = []
        self._current: dict[bool, Side] = {}
        self._seen = -1
        self._locks: tuple[int, Locks | Joined] = (-1, Locks())
        self._attached: tuple[int, Callable[[], Optimizer | None], Ready | None]
        self._attached = -1, lambda: None, None
        self._data: dict[Path, Array] = {}
        self._data_are_used = False
        self._norms: dict[str, tuple[Normalization, Tree]] = {}
        self._told: set[str] = set()  # in warnings
        self.is_fitting = False  # to data that were brought to its form before

    def numbers(self, *values: float) -> list[Array]:
        """Return arrays of no axes."""
        return [self.backend.asarray(value) for value in values]

    def locks(self) -> Locks | Joined:
        """Return the locks of the model and what is chained to it."""
        seen, locks = self._locks
        if seen != changes[0]:
            seen = changes[0]
            locks = locks_of(all_within(self.model))
            self._locks = seen, locks
        return locks

    def _locks_with(self, optimizer: Optimizer | None, chain: Link | None) -> Locks | Joined:
        """Return the locks of all that an optimizer trains, or shall when it is chained."""
        locks, others = self.locks(), [*all_within(chain)]
        if optimizer is not None:
            others.append(optimizer)
        if all(vars(other).get("locks") is locks for other in others):
            return locks
        return locks_of([*all_within(self.model), *others])

    def side(self, alone: bool = False) -> Side:
        """Return the model's network, alone or with what is chained to it, as it is now."""
        now = changes[0]
        if self._seen != now:
            self._sides = [side for side in self._sides if not side.network.is_past()]
            self._current = {}
            self._seen = now
        current = self._current
        if alone not in current:
            current[alone] = self._recorded_side(alone) or self._new_side(alone)
        return current[alone]

    def _recorded_side(self, alone: bool) -> Side | None:
        fitting = (side for side in self._sides if side.alone is alone)
        return next((side for side in fitting if side.network.is_current()), None)

    def _new_side(self, alone: bool) -> Side:
        side = Side(Network(self.model, alone=alone), alone, self.model.capture)
        for loss in side.network.losses:
            vars(loss)["read"] = self.backend.read
        self._sides = [side, *self._sides[: MOST_SIDES - 1]]
        return side

    @property
    def network(self) -> Network:
        """The model with what is chained to it."""
        return self.side().network

    def build_for(self, x: Any) -> None:
        """Build a model whose shapes are not known yet for these inputs."""
        if not self.model.layers:
            raise ValueError("the model has no layers: assign model.layers first")
        if self.model.shape_in is None:
            check_inputs(raw_inputs(self.backend, x, self.model), self.model)

    # Training ----------------------------------------------------------------------------------

    def train(self, optimizer: Optimizer, x: Any, t: Any, w: Any = None) -> None:
        """Do one training step on a batch of raw inputs, targets and weights."""
        seen, locks = self._locks
        if seen != changes[0]:
            locks = self.locks()
        with locks.step:
            known = optimizer.__dict__.get("locks") is locks and not locks.trainer
            if known and self._locks == (changes[0], locks):
                self._train(optimizer, x, t, w)
                return
        with self.training(optimizer) as locks, locks.step:
            self._train(optimizer, x, t, w)

    @contextlib.contextmanager
    def training(
        self, optimizer: Optimizer | None = None, chain: Link | None = None
    ) -> Iterator[Locks | Joined]:
        """Let this thread alone train the model, and use this optimizer."""
        with trained(lambda: self._locks_with(optimizer, chain)) as locks:
            if optimizer is not None and vars(optimizer).get("locks") is not locks:
                # It goes with the model that it trains now, whatever it trained before.
                vars(optimizer)["locks"] = self._locks_with(None, chain)
            yield locks

    def _train(self, optimizer: Optimizer, x: Any, t: Any, w: Any) -> None:
        if self.model.shape_in is None:
            self.build_for(x)
        ready = self.attach(optimizer)
        if t is None:
            ready.network.check_targets_are_there(t)
        batch, is_raw = ready.side.accept.batch(x, t, w)
        data = self.norm_data("norm", self.model.norm) if is_raw else NO_DATA
        ready(optimizer, data, batch, len_of(batch["x"]))

    def attach(self, optimizer: Optimizer) -> Ready:
        """Return the training steps of an optimizer, its parameters packed and with moments.

        Whoever calls them, or :meth:`run_prediction`, holds the locks.
        """
        seen, attached, ready = self._attached
        if ready is not None and attached() is optimizer and seen == changes[0]:
            if not self.backend.in_place:
                self.packing.read_again()
            return ready
        seen = changes[0]
        side = self.side()
        side.network.check_trains()
        doubts.check_not_constant(side.network)
        self.tell(doubts.of_layers(side.network))
        if self.packing.hold(side.network):
            # For others, who may have packed the arrays that were there.
            number = look_again()
            seen = number if number == seen + 1 else seen  # else something was changed meanwhile
        self.packing.give_moments(optimizer)
        ready = Ready(self, side, optimizer)
        self._attached = seen, weakref.ref(optimizer), ready
        return ready

    def tell(self, texts: Iterable[str]) -> None:
        """Warn of what is doubtful about the model, of each thing once."""
        for text in texts:
            if text not in self._told:
                self._told.add(text)
                warnings.warn(text, UserWarning, stacklevel=2)

    @contextlib.contextmanager
    def lasting(self, data: Tree) -> Iterator[Tree]:
        """Have a training's data lie where those of the last one did, if they fit.

        A recorded step knows where they lie. Large ones are not worth a copy.
        """
        size = sum(math.prod(array.shape) for _, array in leaves(data))
        if self._data_are_used or not self.backend.in_place or size > MOST_COPIED:
            yield data
            return
        found, self._data_are_used = {}, True
        try:
            for path, array in leaves(data):
                old = self._data.get(path)
                if old is None or (old.shape, old.dtype) != (array.shape, array.dtype):
                    old = self.backend.copy(array)
                else:
                    with self.backend.current():
                        self.backend.store([old], [array])
                found[path] = old
            self._data = found
            arrays = iter(found.values())
            yield mapped(data, lambda _: next(arrays))
        finally:
            self._data_are_used = False

    # Prediction --------------------------------------------------------------------------------

    def predict(
        self, x: Any, t: Any = None, *, alone: bool = False, batch_size: int | None = None
    ) -> Array:
        """Return the outputs for raw inputs `x`; with targets, also add to the metrics."""
        seen, locks = self._locks
        if seen != changes[0]:
            locks = self.locks()
        with locks.step:
            if self._locks == (changes[0], locks) and (t is None or not locks.trainer):
                return self._predict(x, t, alone, batch_size)
        alone_at_it = contextlib.nullcontext() if t is None else self.training()
        with alone_at_it, held("step", self.locks):
            return self._predict(x, t, alone, batch_size)

    def _predict(self, x: Any, t: Any, alone: bool, batch_size: int | None) -> Array:
        if self.model.shape_in is None:
            self.build_for(x)
        side = self.side(alone)
        batch, is_raw = side.accept.batch(x, t)
        data = self.norm_data("norm", self.model.norm) if is_raw else {}
        return in_parts(
            lambda part: self.run_prediction(data, part, len_of(part["x"]), side=side),
            batch,
            batch_size or self.backend.rows_at_once,
            self.backend,
        )

    def run_prediction(
        self,
        data: Tree,
        inputs: Tree,
        num_samples: int,
        *,
        alone: bool = False,
        side: Side | None = None,
    ) -> Array:
        """Compute the outputs of accepted arrays; with targets, also add to the metrics."""
        side = side or self.side(alone)
        losses, measured = side.network.losses, "t" in inputs or "t" in data
        if measured:
            for loss in losses:
                loss.begin(training=False)
        data = {
            **data,
            "parameters": arrays_in(side.network.parameters),
            "state": arrays_in(side.network.state),
            **self.norm_data("target_norm", side.network.target_norm),
        }
        weighted = "w" in inputs or "w" in data
        inputs = {**inputs, "metrics": sums_of(losses, self.zero, weighted)}
        _, outputs = side.prediction(self)({}, data, inputs)
        if measured:
            take_sums(losses, outputs["metrics"], 0 if weighted else num_samples)
        y = outputs["y"]
        return self.backend.copy(y) if side.network.gives_on else y

    def predict_class(self, x: Any, *, alone: bool = False) -> Array:
        """Return the class of each raw input, or each answer; NaN has none, and is refused."""
        with self.locks().step:
            if self.model.shape_in is None:
                self.build_for(x)
            answers = self.side(alone).network.answers()
            y = self.predict(x, alone=alone)
        with self.backend.current():
            xp = array_namespace(y)
            # An infinite output is the largest, and an answer.
            of_nan = xp.where(xp.isnan(y), y, 0.0)
            check_finite(of_nan, y, self.backend, "outputs of the model")
            classes = xp.argmax(y, axis=-1)
            if answers == "fractions" and y.shape[-1] > 1:
                return xp.astype(y > 0.5, classes.dtype)
            return xp.astype(y[..., 0] > 0.5, classes.dtype) if y.shape[-1] == 1 else classes

    def evaluate(
        self, x: Any, t: Any, w: Any, batch_size: int, metrics: Sequence[Metric]
    ) -> dict[str, float]:
        """Return the metrics over a raw data set, without a trace in those of a training."""
        with held("step", self.locks):
            self.build_for(x)
            if self.model.chain is None:
                self.model._follow(default_loss(self.model))
            side = self.side()
            side.network.check_targets_are_there(t)
            scores, outputs = Scores(metrics, side.network), []
            data = side.accept.data(x, t, w)
            with apart(side.network.losses):
                for part in rows_of(data, batch_size):
                    y = self.run_prediction({}, part, part["t"].shape[0])
                    if scores:
                        outputs.append(self.backend.to_numpy(y))
                return {**self.metrics(), **scored(scores, outputs, data, self.backend)}

    # Metrics -----------------------------------------------------------------------------------

    def measured(self, losses: Sequence[LossLayer] | None = None) -> Measured:
        """Return what the metrics are made of, without waiting for it; by default those of now."""
        losses = self.side().network.losses if losses is None else losses
        return Measured.of(losses, sums_of(losses, self.zero))

    def metrics(self) -> dict[str, float]:
        """Return the loss (of all losses together), and the accuracy of the last one."""
        measured = self.measured()
        return measured.metrics(self.backend.read(measured.sums))

    # Parameters and state ----------------------------------------------------------------------

    def state(self) -> list[Array]:
        """Return the arrays that layers carry from step to step without a gradient."""
        return arrays_in(self.network.state)

    def arrays(self) -> list[tuple[str, Array]]:
        """Return the name and the array of every parameter and state of the chain."""
        with held("step", self.locks):
            network = self.network
            return [(slot.name, slot.get()) for slot in (*network.parameters, *network.state)]

    def set_arrays(self, arrays: dict[str, Any]) -> None:
        """Replace the arrays that :meth:`arrays` lists by others of the same names."""
        network = self.network
        slots = (*network.parameters, *network.state)
        if arrays.keys() != {slot.name for slot in slots}:
            raise ValueError("the arrays are not those of this chain")
        with held("step", self.locks), self.backend.current():
            new = [like(slot.get(), arrays[slot.name], repr(slot.name)) for slot in slots]
            for slot, value in zip(slots, new, strict=True):
                slot.layer.check_array(slot.attribute, value, repr(slot.name))
            for slot, value in zip(slots, new, strict=True):
                slot.put(self.backend.store([slot.get()], [self.backend.copy(value)])[0])

    def set_packed(self, packed: list[Array], state: list[Array]) -> None:
        """Replace the parameters, packed, and the state."""
        network = self.network
        with held("step", self.locks):
            self.packing.hold(network)
            self.packing.replace(packed)
            for slot, array in zip(network.state, state, strict=True):
                slot.put(array)

    # What comes in beside a batch --------------------------------------------------------------

    def norm_data(self, name: str, norm: Normalization | None) -> Tree:
        """Return a normalisation as what comes in beside a batch."""
        if norm is None:
            return {}
        if self._norms.get(name, (None,))[0] is not norm:
            asarray = self.backend.asarray
            self._norms[name] = (norm, {name: [asarray(norm.offset), asarray(norm.scale)]})
        return self._norms[name][1]

    def draw_noise(
        self, side: Side, num_samples: int, rng: np.random.Generator | None = None
    ) -> list[Array]:
        """Return the random numbers of a step."""
        rng = rng or self.model.rng
        backend = self.backend.entrance() if self.model.capture else self.backend
        return [
            backend.random(str(layer.noise), (num_samples, *layer.noise_shape), rng)
            for layer in side.network.noisy
        ]
