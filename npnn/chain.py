"""A batch's way through models and losses, as pure functions of arrays that can be captured."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from npnn import checks
from npnn.arrays import Array, Shape, array_namespace
from npnn.layers.layer import Layer
from npnn.loss_layer import LossLayer
from npnn.loss_scaling import chosen, unscaled
from npnn.metrics import Measured
from npnn.normalization import normalize

if TYPE_CHECKING:
    import numpy as np

    from npnn.backends.backend import Backend, Step, Tree
    from npnn.optimizer import Optimizer
    from npnn.sequential import Sequential


_nothing = contextlib.nullcontext()


class Chain:
    """The links that start at a model: models and losses, in the order a batch meets them.

    Parameters
    ----------
    model : Sequential
        The first link; ``model.chain`` is the next, and so on.
    alone : bool, default False
        Whether to stop at the model.

    Raises
    ------
    ValueError
        If a link does not fit the shape that comes to it, or a link comes twice.
    """

    def __init__(self, model: Sequential, *, alone: bool = False) -> None:
        self.model, self.alone = model, alone
        self.backend = model.backend
        self.links = links_of(model, alone)
        self._connect()
        self._versions = [(link, link.version) for link in self.links]
        self.layers = [
            (f"{number}:{place}" if number else place, layer)
            for number, link in enumerate(self.links)
            for place, layer in link.walk()
        ]
        self.losses = [link for link in self.links if isinstance(link, LossLayer)]
        for loss in self.losses:
            loss.read = self.backend.read
        self.parameter_slots = _slots(self.layers, "parameter_names")
        self.state_slots = _slots(self.layers, "state_names")
        self._holders = [layer for _, layer, _ in self.parameter_slots]
        self._held_names = [name for _, _, name in self.parameter_slots]
        self.noisy = [layer for _, layer in self.layers if layer.noise is not None]
        self.views: list[Array] = []
        self.zero = self.backend.zeros(())
        scale = self.backend.loss_scale
        self.scaling = [] if scale is None else self.numbers(scale, 0.0)
        self._attached: Optimizer | None = None
        self._norm: tuple[Any, Tree] = (None, {})
        self._accepted: set[Any] = set()
        self._looked_at: set[Any] = set()
        self._has_run: set[str] = set()
        self._captured: dict[Any, Any] = {}
        self.packed: list[Array] = []

    def numbers(self, *values: float) -> list[Array]:
        """Return arrays of no axes."""
        return [self.backend.asarray(value) for value in values]

    def is_current(self, model: Sequential) -> bool:
        """Return whether this is still the chain of `model`."""
        link: Any = model
        for expected, version in self._versions:
            if link is not expected or link.version != version:
                return False
            link = None if self.alone else link.chain
        return link is None

    @property
    def shape_in(self) -> Shape:
        """The shape of one sample of the inputs."""
        assert self.model.shape_in is not None
        return self.model.shape_in

    @property
    def shape_out(self) -> Shape:
        """The shape of one sample of the targets of the last loss."""
        shape = self.losses[-1].shape_in
        assert shape is not None
        return shape

    # The pure functions ------------------------------------------------------------------------

    def forward(self, x: Array, t: Array = None) -> Array:
        """Return what the last link gives for inputs `x`; losses take in `t` if it is there."""
        for before, link in zip([None, *self.links], self.links, strict=False):
            if not isinstance(link, LossLayer):
                x = link.forward(x)
            elif t is not None or not link.needs_targets:
                x = link.measure(x, t, self._logits(before, link))
        return x

    def backward(self) -> None:
        """Leave the gradients of the sum of all losses in the layers."""
        gradient: Array = None
        for link, after in reversed(list(zip(self.links, [*self.links[1:], None], strict=True))):
            if isinstance(after, LossLayer) and not isinstance(link, LossLayer):
                gradient = link.backward(gradient, at_logits=after.from_logits)
            else:
                gradient = link.backward(gradient)

    def train_step(self, optimizer: Optimizer) -> Any:
        """Return the training step as a function ``(carry, data, inputs) -> (carry, outputs)``."""

        @self._leaving_no_trace
        def step(carry: Tree, data: Tree, inputs: Tree) -> tuple[Tree, Tree]:
            parameters = carry["parameters"]
            if parameters is not self.packed:
                self._bind_parameters(parameters)
            self._bind(carry["state"], inputs, training=True)
            for loss in self.losses:
                loss.scale = carry["scaling"][0] if carry["scaling"] else None
            with self._watching("train"):
                self.forward(*_batch(data, inputs))
                self.backward()
            gradients = [getattr(layer, f"grad_{name}") for _, layer, name in self.parameter_slots]
            gradients, finite, scaling = unscaled(self.backend.pack(gradients), carry["scaling"])
            gradients = optimizer.limit(parameters, gradients)
            updated = [
                optimizer.update(*arrays, **inputs["scalars"])
                for arrays in zip(parameters, gradients, *carry["moments"], strict=True)
            ]
            if finite is not None:
                old = zip(parameters, *carry["moments"], strict=True)
                updated = [chosen(finite, *pair) for pair in zip(updated, old, strict=True)]
            new, *moments = [list(column) for column in zip(*updated, strict=True)]
            carry = {
                "parameters": new, "moments": moments, "state": self.state, "scaling": scaling
            }  # fmt: skip
            return carry, {"metrics": self._metrics()}

        return step

    def predict_step(self, carry: Tree, data: Tree, inputs: Tree) -> tuple[Tree, Tree]:
        """Compute outputs and metrics; the weights come in as data and stay as they are."""
        for (_, layer, name), value in zip(self.parameter_slots, data["parameters"], strict=True):
            setattr(layer, name, value)
        self._bind(data["state"], inputs, training=False)
        with self._watching("predict"):
            y = self.forward(*_batch(data, inputs))
        return carry, {"y": y, "metrics": self._metrics()}

    def _watching(self, kind: str) -> contextlib.AbstractContextManager[None]:
        """Look at what the layers give, if this kind of step is run for the first time."""
        return _nothing if kind in self._has_run else self._watched_run(kind)

    @contextlib.contextmanager
    def _watched_run(self, kind: str) -> Iterator[None]:
        with checks.watching(self.layers):
            yield
        self._has_run.add(kind)

    # Running them ------------------------------------------------------------------------------

    def train(self, optimizer: Optimizer, x: Any, t: Any) -> None:
        """Do one training step on a batch of raw inputs and targets."""
        if self._attached is not optimizer:
            self.attach(optimizer)  # which says first what there is not to train
        if t is None:
            self.refuse_without_targets()
        x, t = self.accept(x, t)
        inputs = {"x": x} if t is None else {"x": x, "t": t}
        self.run_training(optimizer, self._norm_data(), inputs, x.shape[0])

    def run_training(
        self,
        optimizer: Optimizer,
        data: Tree,
        inputs: Tree,
        num_samples: int,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Do one training step on accepted arrays, and store what it gives."""
        with self.model.lock:
            self.attach(optimizer)
            captured, version = self._captured.get(optimizer, (None, 0))
            if captured is None or version != optimizer.version:
                captured = self._capture(self.train_step(optimizer))
                self._captured[optimizer] = captured, optimizer.version
            for loss in self.losses:
                loss.begin(training=True)
            carry = self._carry(optimizer)
            optimizer.steps += 1
            try:
                inputs["scalars"] = optimizer.scalars()
                inputs["noise"] = self._draw_noise(num_samples, rng) if self.noisy else []
                inputs["metrics"] = self._metrics()
                updated, outputs = captured(carry, data, inputs)
            except BaseException:
                optimizer.steps -= 1
                raise
            if updated is not carry:
                self._store(optimizer, updated)
            self._take_metrics(outputs["metrics"], num_samples)

    def training_plan(self, optimizer: Optimizer, x: Array, t: Array) -> Any:
        """Return the static plan of a training step on a batch; None if the backend makes none."""
        self.attach(optimizer)
        captured = self._capture(self.train_step(optimizer))
        if not hasattr(captured, "plan"):
            return None
        steps = optimizer.steps
        optimizer.steps = max(1, steps)
        inputs = {
            "x": x,
            "t": t,
            "scalars": optimizer.scalars(),
            "noise": self._draw_noise(x.shape[0]),
            "metrics": self._metrics(),
        }
        optimizer.steps = steps
        carry = self._carry(optimizer)
        return captured.plan(carry, {}, inputs)

    def _carry(self, optimizer: Optimizer) -> Tree:
        return {
            "parameters": self.packed,
            "moments": optimizer.state,
            "state": self.state,
            "scaling": self.scaling,
        }

    def _store(self, optimizer: Optimizer, updated: Tree) -> None:
        store = self.backend.store
        self.scaling = updated["scaling"]
        optimizer.state = [
            store(*pair) for pair in zip(optimizer.state, updated["moments"], strict=True)
        ]
        packed = store(self.packed, updated["parameters"])
        self._bind_state(updated["state"])
        if packed is not self.packed:
            self.packed = packed
            self._bind_parameters(packed)

    def predict(self, x: Any, t: Any = None) -> Array:
        """Return the outputs for raw inputs `x`; with targets, also add to the metrics."""
        x, t = self.accept(x, t)
        inputs = {"x": x} if t is None else {"x": x, "t": t}
        return self.run_prediction(self._norm_data(), inputs, x.shape[0])

    def run_prediction(self, data: Tree, inputs: Tree, num_samples: int) -> Array:
        """Compute the outputs of accepted arrays; with targets, also add to the metrics."""
        with self.model.lock:
            captured = self._captured.get("predict")
            if captured is None:
                step = self._leaving_no_trace(self.predict_step)
                captured = self._captured["predict"] = self._capture(step)
            measured = "t" in inputs or "t" in data
            if measured:
                for loss in self.losses:
                    loss.begin(training=False)
            parameters = [getattr(layer, name) for _, layer, name in self.parameter_slots]
            state, metrics = self.state, self._metrics()
            _, outputs = captured(
                {},
                {**data, "parameters": parameters, "state": state},
                {**inputs, "metrics": metrics},
            )
            if self.model.capture:
                # jax.jit leaves what it traced in the layers; a plan leaves them as they were.
                for (_, layer, name), value in zip(self.parameter_slots, parameters, strict=True):
                    setattr(layer, name, value)
                self._bind_state(state)
            self._take_metrics(outputs["metrics"] if measured else metrics, num_samples * measured)
            return outputs["y"]

    def metrics(self) -> dict[str, float]:
        """Return the loss (of all losses together), and the accuracy of the last one."""
        measured = self.measured()
        return measured.metrics(self.backend.read(measured.sums))

    def measured(self) -> Measured:
        """Return what the metrics are made of, without waiting for it."""
        totals = self._metrics()
        correct = [totals[-1][1]] if self.losses[-1].has_accuracy else []
        sums = [loss for loss, _ in totals] + correct
        return Measured(sums, [loss.end() for loss in self.losses])

    def predict_class(self, x: Any) -> Array:
        """Return the class of each raw input; NaN has none, and is refused."""
        given, (x, _) = x, self.accept(x)
        with self.backend.current():
            checks.check_finite(x, given, self.backend, "inputs")
            y = self.predict(x)
            xp = array_namespace(y)
            # An infinite output is the largest, and an answer.
            of_nan = xp.where(xp.isnan(y), y, 0.0)
            checks.check_finite(of_nan, y, self.backend, "outputs of the model")
            classes = xp.argmax(y, axis=-1)
            return xp.astype(y[..., 0] > 0.5, classes.dtype) if y.shape[-1] == 1 else classes

    # Inputs ------------------------------------------------------------------------------------

    def accept(self, x: Any, t: Any = None) -> tuple[Array, Array]:
        """Return inputs and targets as arrays that a step takes in, their shapes checked."""
        given, backend = t, self.backend
        if self.model.capture:
            backend = backend.entrance(x, t)
        x, t = self._as_arrays(x, t, backend)
        key = (x.shape, None if t is None else (t.shape, t.dtype))
        if key in self._accepted:
            return x, t
        with backend.current():
            fitting = self._check_shapes(x, t, given, backend)
            of_classes = t is not None and fitting.ndim == len(self.shape_out)
            if t is not None and not of_classes and key not in self._looked_at:
                # Their values, unlike their shape, cost a look at each; one batch tells already.
                self.losses[-1].check_targets(fitting)
                self._looked_at.add(key)
        if fitting is t and (backend.asynchronous or not of_classes):
            # What needs no conversion needs no second look; one at labels may wait for a device.
            self._accepted.add(key)
        return x, fitting

    def _as_arrays(self, x: Any, t: Any, backend: Backend) -> tuple[Array, Array]:
        asarray = backend.asarray
        try:
            return asarray(x), None if t is None else asarray(t, keep_integers=True)
        except (TypeError, ValueError):
            # Asked again, each says by its name what is wrong with it.
            checks.as_array(backend, x, "x")
            checks.as_array(backend, t, "t")
            raise

    def _check_shapes(self, x: Array, t: Array, given: Any, backend: Backend) -> Array:
        """Return the targets as the last loss needs them, or say what does not fit."""
        checks.check_inputs(x, self.model)
        if t is None:
            return None
        if not self.losses:
            raise ValueError("the model has no loss: set model.chain, or give fit a loss")
        t = checks.prepare_targets(t, given, self.losses[-1], backend)
        if t.shape[0] != x.shape[0]:
            raise ValueError(f"{x.shape[0]} inputs do not go with {t.shape[0]} targets")
        return t

    def refuse_without_targets(self) -> None:
        """Raise the error for targets that are missing, if a loss needs them."""
        for loss in self.losses:
            if loss.needs_targets:
                raise ValueError(
                    f"targets are needed beside the inputs: {loss!r} compares with them"
                )

    def prepare(
        self, x: Any, t: Any, name: str = "", backend: Backend | None = None
    ) -> tuple[Array, Array]:
        """Return a whole data set as arrays of a backend: all checked, inputs normalised.

        Parameters
        ----------
        x, t : array_like
            Raw inputs and targets.
        name : str, optional
            What the errors call them, such as ``"the training data: "``.
        backend : Backend, optional
            The model's own if None.
        """
        given = x, t
        backend = backend or self.backend
        with checks.quiet(), backend.current():
            x, t = self._as_arrays(x, t, backend)
            t = self._check_shapes(x, t, given[1], backend)
            if self.model.norm is not None:
                self.model.norm.check_fits(self.shape_in)
                x = self.model.norm(x)
            checks.check_finite(x, given[0], backend, f"{name}inputs")
            if t is not None:
                checks.check_finite(t, given[1], backend, f"{name}targets")
                if t.ndim > len(self.shape_out):
                    self.losses[-1].check_targets(t)
        return x, t

    def _norm_data(self) -> Tree:
        norm = self.model.norm
        if norm is None:
            return {}
        if self._norm[0] is not norm:
            norm.check_fits(self.shape_in)
            asarray = self.backend.asarray
            self._norm = (norm, {"norm": [asarray(norm.offset), asarray(norm.scale)]})
        return self._norm[1]

    # Parameters and state ----------------------------------------------------------------------

    @property
    def state(self) -> list[Array]:
        """The arrays that layers carry from step to step without a gradient."""
        return [getattr(layer, name) for _, layer, name in self.state_slots]

    def arrays(self) -> list[tuple[str, Array]]:
        """Return the name and the array of every parameter and state of the chain."""
        slots = (*self.parameter_slots, *self.state_slots)
        return [(name, getattr(layer, attribute)) for name, layer, attribute in slots]

    def set_arrays(self, arrays: dict[str, Any]) -> None:
        """Replace the arrays that :meth:`arrays` lists by others of the same names."""
        if arrays.keys() != {name for name, _ in self.arrays()}:
            raise ValueError("the arrays are not those of this chain")
        asarray = self.backend.asarray
        new = [asarray(arrays[name], copy=True) for name, _, _ in self.parameter_slots]
        state = [asarray(arrays[name], copy=True) for name, _, _ in self.state_slots]
        for (name, old), value in zip(self.arrays(), [*new, *state], strict=True):
            if tuple(old.shape) != tuple(value.shape):
                raise ValueError(f"{name!r} has shape {tuple(value.shape)}, not {tuple(old.shape)}")
        self.set_packed(self.backend.pack(new), state)

    def set_packed(self, packed: list[Array], state: list[Array]) -> None:
        """Replace the parameters, packed, and the state."""
        self.packed = self.backend.store(self.packed, packed)
        self._bind_parameters(self.packed)
        self._bind_state(state)

    def unpack(self, packed: list[Array]) -> list[tuple[str, Array]]:
        """Return the slot and the part of each parameter in a packed array of any kind."""
        arrays = self.backend.unpack(packed, self.shapes)
        return [(name, a) for (name, _, _), a in zip(self.parameter_slots, arrays, strict=True)]

    def pack(self, arrays: dict[str, Any]) -> list[Array]:
        """Return one packed array of arrays by slot, the opposite of :meth:`unpack`."""
        asarray = self.backend.asarray
        return self.backend.pack([asarray(arrays[name]) for name, _, _ in self.parameter_slots])

    # The parts between -------------------------------------------------------------------------

    def attach(self, optimizer: Optimizer) -> None:
        """Make the packed parameters this chain's own, and give a new optimizer its moments."""
        if self._attached is optimizer and self._holds_parameters():
            return
        if not self.losses:
            raise ValueError(
                "the model has no loss to train on: set model.chain = CrossEntropyLoss(...), say"
            )
        if not isinstance(self.links[-1], LossLayer):
            raise ValueError("the chain ends with a model: its chain must be a loss")
        if not self.parameter_slots:
            raise ValueError("the model has no parameters to train")
        if not self._holds_parameters():
            arrays = [getattr(layer, name) for _, layer, name in self.parameter_slots]
            self.shapes = [tuple(array.shape) for array in arrays]
            self.packed = self.backend.pack(arrays)
            self._bind_parameters(self.packed)
        names = optimizer.moments
        shapes = [tuple(array.shape) for array in self.packed]
        if len(optimizer.state) != len(names) or any(
            [tuple(array.shape) for array in moment] != shapes for moment in optimizer.state
        ):
            optimizer.state = [[self.backend.zeros(s) for s in shapes] for _ in names]
        self._attached = optimizer

    def _holds_parameters(self) -> bool:
        """Return whether the layers' parameters are still the parts of this chain's packed ones.

        They are not where another chain has trained the model, or a person has set one.
        """
        held = map(getattr, self._holders, self._held_names)
        return bool(self.views) and all(map(operator.is_, held, self.views))

    def _capture(self, step: Any) -> Any:
        return (self.backend.capture if self.model.capture else self.backend.uncaptured)(step)

    def _leaving_no_trace(self, step: Step) -> Step:
        """Make `step` give back the layers as they were, if it was run only to be recorded.

        What layers keep for backward would otherwise be arrays without values.
        """

        def clean(carry: Tree, data: Tree, inputs: Tree) -> tuple[Tree, Tree]:
            if self.backend.owns(inputs["index" if "index" in inputs else "x"]):
                return step(carry, data, inputs)
            kept, views = [dict(vars(layer)) for _, layer in self.layers], self.views
            try:
                return step(carry, data, inputs)
            finally:
                for (_, layer), attributes in zip(self.layers, kept, strict=True):
                    vars(layer).clear()
                    vars(layer).update(attributes)
                self.views = views

        return clean

    def _connect(self) -> None:
        seen: set[int] = set()
        shape = None
        for number, link in enumerate(self.links):
            for _, layer in link.walk():
                if id(layer) in seen:
                    raise ValueError(f"{layer!r} stands in the chain twice")
                seen.add(id(layer))
            if not isinstance(link, LossLayer):
                mine, given = repr(self.backend), repr(link.backend)
                if mine != given:
                    raise ValueError(
                        "all models of a chain need one backend, dtype and device: "
                        f"link {number} is on {given}, link 0 on {mine}"
                    )
                if link.shape_out is None:
                    link.build_at(shape)
            try:
                if shape is not None:
                    link.accept(shape)
                    if isinstance(link, LossLayer):
                        link.build(shape)
            except ValueError as error:
                raise ValueError(f"link {number} of the chain, {link!r}: {error}") from None
            shape = link.shape_out

    @staticmethod
    def _logits(before: Any, loss: LossLayer) -> Array:
        canonical = loss.canonical_activation
        if canonical is None or loss.chain is not None or isinstance(before, LossLayer):
            return None
        while isinstance(before.layers[-1], type(before)):
            before = before.layers[-1]
        return before.logits if type(before.layers[-1]) is canonical else None

    def _bind_parameters(self, packed: list[Array]) -> None:
        self.views = self.backend.unpack(packed, self.shapes)
        for (_, layer, name), array in zip(self.parameter_slots, self.views, strict=True):
            setattr(layer, name, array)

    def _bind_state(self, state: list[Array]) -> None:
        for (_, layer, name), array in zip(self.state_slots, state, strict=True):
            setattr(layer, name, array)

    def _bind(self, state: list[Array], inputs: Tree, *, training: bool) -> None:
        self._bind_state(state)
        for _, layer in self.layers:
            layer.training = training
        for layer, random in zip(self.noisy, inputs.get("noise", ()), strict=training):
            layer.random = random
        for loss, (total, correct) in zip(self.losses, inputs["metrics"], strict=True):
            loss.total_loss, loss.total_correct = total, correct

    def _metrics(self) -> list[list[Array]]:
        # The zeros are arrays of the backend too, so that the first batch is no special case.
        zero = self.zero
        return [
            [
                zero if type(loss.total_loss) is float else loss.total_loss,
                zero if type(loss.total_correct) is float else loss.total_correct,
            ]
            for loss in self.losses
        ]

    def _take_metrics(self, metrics: list[list[Array]], num_samples: int) -> None:
        for loss, (total, correct) in zip(self.losses, metrics, strict=True):
            loss.total_loss, loss.total_correct = total, correct
            loss.num_samples += num_samples

    def _draw_noise(self, num_samples: int, rng: np.random.Generator | None = None) -> list[Array]:
        rng = rng or self.model.rng
        backend = self.backend.entrance() if self.model.capture else self.backend
        return [
            backend.random(str(layer.noise), (num_samples, *layer.noise_shape), rng)
            for layer in self.noisy
        ]


def links_of(model: Sequential, alone: bool = False) -> list[Any]:
    """Return the links that start at `model`: itself, its chain, the chain of that, and so on."""
    links: list[Any] = []
    link: Any = model
    while link is not None and not any(link is other for other in links):
        links.append(link)
        link = None if alone else link.chain
    if link is not None:
        raise ValueError(f"the chain comes back to {link!r}")
    return links


def parts(num_samples: int, batch_size: int) -> list[slice]:
    """Return the slices that cut `num_samples` into batches; the last may be smaller."""
    starts = range(0, num_samples, batch_size)
    return [slice(start, min(start + batch_size, num_samples)) for start in starts]


def _slots(layers: list[tuple[str, Layer]], kind: str) -> list[tuple[str, Layer, str]]:
    return [
        (f"{place}.{name}" if place else name, layer, name)
        for place, layer in layers
        for name in getattr(layer, kind)
    ]


def _batch(data: Tree, inputs: Tree) -> tuple[Array, Array]:
    if "index" not in inputs:
        x = inputs["x"]
        return (normalize(x, *data["norm"]) if "norm" in data else x), inputs.get("t")
    xp = array_namespace(inputs["index"])
    x = xp.take(data["x"], inputs["index"], axis=0)
    return x, xp.take(data["t"], inputs["index"], axis=0) if "t" in data else None
