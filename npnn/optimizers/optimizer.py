"""The base of the optimizers: their settings, what limits a gradient, and training by hand."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from npnn import checked
from npnn.arrays import Array, array_namespace
from npnn.guided import unknown_argument
from npnn.layers.row import Row
from npnn.normalization import Normalization
from npnn.packing import Kept, kept_of
from npnn.plain import Named, Reader, Writer, again
from npnn.schedules import FunctionSchedule, Rate, Schedule, as_schedule, factor_of
from npnn.settings import Settings

if TYPE_CHECKING:
    from npnn.layers.layer import Layer
    from npnn.model import Sequential


class Optimizer(Named, Settings):
    r"""Base of the optimizers.

    A subclass names its `moments`, the arrays it keeps for each parameter (they start at 0), and
    gives its formula, :meth:`update`. What changes from step to step, such as the learning rate,
    is computed on the host by :meth:`scalars` and enters the formula as an argument. One with
    ``squares = True`` has no gradients whose squares are too large for the dtype.

    Before the formula, the gradient g of the loss takes in the penalties and is limited:

    .. math::

        g \leftarrow g + \lambda_2 \theta + \lambda_1 \mathrm{sign}(\theta), \qquad
        g \leftarrow \min(\max(g, -c), c), \qquad
        g \leftarrow g \, \frac{n}{\max(\lVert g \rVert, n)}

    with weight_decay :math:`\lambda_2`, weight_decay_l1 :math:`\lambda_1`, clip_value c and
    clip_norm n, the norm being that of all parameters together. RMSprop, Adagrad and Adadelta
    have a c of at most 4.5e15 in float32, so that squares can be summed up.

    Parameters
    ----------
    alpha : float or callable, default 1e-3
        Learning rate, or a function that gives it for the number of steps taken, from 0.
    weight_decay, weight_decay_l1 : float, default 0
        Weights of the penalties :math:`\tfrac{1}{2} \lVert\theta\rVert^2` and
        :math:`\lVert\theta\rVert_1`, which `get_loss` does not count.
    clip_norm, clip_value : float, optional
        Largest norm and largest magnitude of the gradient.
    schedule : Schedule or callable, optional
        Multiplies alpha by a factor that depends on the number of steps taken, not of epochs:
        an epoch has ``ceil(samples / batch_size)`` steps.

    Raises
    ------
    TypeError
        If an argument is unknown or of the wrong kind.
    ValueError
        If a number is out of range; the message names it.

    Notes
    -----
    A copy, or what was pickled, goes on from the moments and the steps of the optimizer where it
    trains the same parameters: those of a copy of the model, made at the same time. Where it trains
    others, it starts anew.
    """

    running = ("alpha", "schedule")
    moments: ClassVar[tuple[str, ...]] = ()
    squares: ClassVar[bool] = False
    file_kind = "optimizer"

    def __init__(
        self,
        alpha: Rate = 1e-3,
        *,
        weight_decay: float = 0.0,
        weight_decay_l1: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        schedule: Schedule | Callable[[int], float] | None = None,
        **unknown: Any,
    ) -> None:
        for name in unknown:
            raise unknown_argument(type(self).__name__, name, self._arguments())
        self.alpha: Any = alpha
        self.weight_decay = checked.not_negative(weight_decay, "weight_decay")
        self.weight_decay_l1 = checked.not_negative(weight_decay_l1, "weight_decay_l1")
        self.clip_norm = None if clip_norm is None else checked.positive(clip_norm, "clip_norm")
        self.clip_value = None if clip_value is None else checked.positive(clip_value, "clip_value")
        self.schedule = schedule
        self.factor = 1.0
        self.steps = 0
        self.state: list[list[Array]] = []
        self.slots: tuple[tuple[Layer, str], ...] = ()  # of the parameters that the moments are of
        self.kept: Kept | None = None  # of the optimizer that this one is a copy of
        self._model: Sequential | None = None
        self._norm: Normalization | None = None

    # The formula -------------------------------------------------------------------------------

    def update(self, *arrays: Any, **scalars: Any) -> tuple[Array, ...]:
        """Return the new parameters and the new moments: ``update(p, g, *moments, rate=...)``.

        Parameters
        ----------
        *arrays : array
            Parameters p, the gradient g of the loss, and the arrays named by `moments`, of one
            shape.
        **scalars : float or array of no axes
            What :meth:`scalars` gives for this step: the learning rate `rate`, and what more a
            subclass needs.
        """
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def scalars(self) -> dict[str, float]:
        """Return what :meth:`update` needs for step number ``self.steps`` (counted from 1)."""
        return {"rate": self.rate}

    @property
    def alpha(self) -> Any:
        """The learning rate before its schedule: a number, or a function of the steps taken."""
        return self._alpha

    @alpha.setter
    def alpha(self, alpha: Rate) -> None:
        if isinstance(alpha, Schedule) and not isinstance(alpha, FunctionSchedule):
            raise TypeError(
                f"alpha is a number, and a schedule multiplies it: {type(self).__name__}("
                f"alpha=1e-3, schedule={alpha!r})"
            )
        if isinstance(alpha, (Row, dict, Iterator)):
            raise TypeError(
                "alpha must be a number, not a model or its parameters: write model.fit(x, t, "
                f"optimizer={type(self).__name__}()), or optimizer.model = model for steps by hand"
            )
        of_steps = callable(alpha) and not isinstance(alpha, type)
        self._alpha: float | Schedule = (
            as_schedule(alpha, "alpha", "") if of_steps else checked.positive(alpha, "alpha")
        )

    @property
    def schedule(self) -> Any:
        """What the learning rate is multiplied by, as a function of the steps taken."""
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Schedule | Callable[[int], float] | None) -> None:
        if schedule is not None:
            schedule = as_schedule(schedule, "schedule", "Cosine(10_000)")
        self._schedule: Schedule | None = schedule

    @property
    def rate(self) -> float:
        """The learning rate of this step: alpha times `factor` times the schedule's."""
        schedule, alpha, count = self._schedule, self._alpha, max(self.steps - 1, 0)
        if isinstance(alpha, Schedule):
            alpha = factor_of(alpha, count)
        return alpha * self.factor * (factor_of(schedule, count) if schedule else 1.0)

    def updated(self, arrays: Sequence[Array], scalars: dict[str, Any]) -> tuple[Array, ...]:
        """Return what :meth:`update` makes of parameters, gradients and moments, looked at."""
        found = self.update(*arrays, **scalars)
        parameters, _, *moments = arrays
        needed = [tuple(array.shape) for array in (parameters, *moments)]
        is_row = isinstance(found, (tuple, list)) and len(found) == len(needed)
        if not is_row or [tuple(getattr(a, "shape", ())) for a in found] != needed:
            names = ", ".join(("parameters", *self.moments))
            raise TypeError(
                f"{type(self).__name__}.update must return a tuple of arrays of the shapes that "
                f"they came in: ({names},), not {checked.shown(found)}"
            )
        return tuple(found)

    def limit(self, parameters: Sequence[Array], gradients: Sequence[Array]) -> list[Array]:
        """Return the gradients with the penalties taken in, and clipped."""
        gradients = list(gradients)
        xp = array_namespace(gradients[0])
        pairs = list(zip(parameters, gradients, strict=True))
        if self.weight_decay:
            gradients = [g + self.weight_decay * p for p, g in pairs]
        if self.weight_decay_l1:
            pairs = list(zip(parameters, gradients, strict=True))
            gradients = [g + self.weight_decay_l1 * xp.sign(p) for p, g in pairs]
        c = self._largest(gradients[0])
        if c is not None:
            gradients = [xp.minimum(xp.maximum(g, -c), c) for g in gradients]
        if self.clip_norm is not None:
            # In a unit in which squares are neither too large nor too small for the dtype.
            unit = functools.reduce(xp.maximum, [xp.max(xp.abs(g)) for g in gradients])
            most = 0.1 * float(xp.finfo(unit.dtype).max)
            unit = xp.minimum(xp.maximum(unit, self.clip_norm), most)
            shares = [g / unit for g in gradients]
            norm = xp.sqrt(sum(xp.sum(g * g) for g in shares))
            too_long = norm > self.clip_norm / unit
            factor = self.clip_norm / xp.where(too_long, norm, 1.0)
            gradients = [
                xp.where(too_long, share * factor, g)
                for share, g in zip(shares, gradients, strict=True)
            ]
        return gradients

    def _largest(self, gradient: Array) -> float | None:
        """Return the magnitude that a gradient is clipped to, if it is."""
        if not self.squares:
            return self.clip_value
        most = math.sqrt(float(array_namespace(gradient).finfo(gradient.dtype).max)) / 4096
        return most if self.clip_value is None else min(self.clip_value, most)

    # Training by hand --------------------------------------------------------------------------

    @property
    def model(self) -> Any:
        """The model that :meth:`step` trains, with the losses (and models) chained to it."""
        return self._model

    @model.setter
    def model(self, model: Sequential | None) -> None:
        if model is not None:
            checked.instance(model, Row, "model", "Sequential([...])", "Sequential")
        self._model = model
        if self._norm is not None and model is not None:
            model.norm = self._norm

    @property
    def norm(self) -> Normalization | None:
        """The normalisation of the inputs; it is the model's, and travels with it."""
        return self._norm if self._model is None else self._model.norm

    @norm.setter
    def norm(self, norm: Normalization | None) -> None:
        if norm is not None:
            checked.instance(norm, Normalization, "norm", "Normalization.standard(x)")
        self._norm = norm
        if self._model is not None:
            self._model.norm = norm

    def step(self, x: Any, t: Any, c: Any = None, w: Any = None) -> None:
        """Train on one batch.

        Parameters
        ----------
        x : array_like, shape (batch, inputs)
            Raw inputs; `norm` is applied to them.
        t : array_like
            Targets: of the shape of the outputs, or integer classes.
        c : ignored
            The batch's classes, so that ``step(*dataset.get_train_batch())`` can be written.
        w : array_like, shape (batch,), optional
            How much each sample counts; 1 if None.

        Raises
        ------
        ValueError
            If the model has no loss (``model.chain = ...``), a shape does not fit, or there is a
            number that ``fit`` would refuse.

        Notes
        -----
        Of arrays that lie on a GPU the numbers are not looked at, which would be to wait for it. A
        step that fails changes nothing. Ctrl-C within a step is raised at its end.
        """
        model = self._model
        if model is None or model.is_undecided:
            model = self._needed_model(x)
        model.runner.train(self, x, t, w)

    def predict(self, x: Any, t: Any = None, c: Any = None) -> Array:
        """Return the outputs for raw inputs `x`; with targets, also add to the loss's metrics."""
        return self._needed_model(x).runner.predict(x, t)

    def predict_class(self, x: Any) -> Array:
        """Return the class of each input: the largest output, or whether the only one is > 1/2.

        Of several outputs of Sigmoid, each is an answer of its own: 1 where it is > 1/2, else 0.
        """
        return self._needed_model(x).runner.predict_class(x)

    def _needed_model(self, x: Any) -> Sequential:
        """Return the model, which computes where `x` is if it is to find that out."""
        if self._model is None:
            raise ValueError(f"{type(self).__name__} has no model: set optimizer.model first")
        if self._model.is_undecided:
            self._model.decide(x)
        return self._model

    # Files -------------------------------------------------------------------------------------

    def recipe(self) -> tuple[object, ...]:
        """Return what two optimizers have in common whose steps are the same, but for numbers."""
        names = [name for name in self._arguments() if name not in self.running]
        return (type(self), *((name, repr(getattr(self, name))) for name in names))

    def twin(self) -> Optimizer:
        """Return an optimizer of the same settings, which nobody changes."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self), state=[], slots=(), kept=None, _model=None)
        return twin

    def to_config(self) -> dict[str, Any]:
        """Return the optimizer's arguments as plain values."""
        return self._described(Writer())

    @staticmethod
    def from_config(config: dict[str, Any]) -> Optimizer:
        """Return a fresh optimizer from what :meth:`to_config` gave."""
        optimizer: Optimizer = Reader().named("optimizer", config)
        return optimizer

    def __reduce__(self) -> tuple[object, ...]:
        state = {"steps": self.steps, "factor": self.factor, "kept": kept_of(self)}
        return again, (type(self), "optimizer", self.to_config()), state

    def __repr__(self) -> str:
        defaults = inspect.signature(Optimizer).parameters
        shown = [
            f"{name}={getattr(self, name)!r}"
            for name in self._arguments()
            if name not in defaults
            or name == "alpha"
            or getattr(self, name) != defaults[name].default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"
