"""The optimizers: how a gradient changes the parameters, each its formula and nothing else.

An optimizer is used in either of two ways: ``model.fit(..., optimizer=Adam())``, or by hand::

    optimizer = Adam(alpha=1e-2)
    optimizer.norm = dataset.norm
    optimizer.model = model
    optimizer.model.chain = loss_layer
    optimizer.step(*dataset.get_train_batch())
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from npnn import checked
from npnn.arrays import Array, array_namespace
from npnn.layers.row import Row
from npnn.normalization import Normalization
from npnn.schedules import Schedule
from npnn.settings import Settings

if TYPE_CHECKING:
    from npnn.model import Sequential

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "GradientDescent",
    "Optimizer",
    "RMSprop",
]


class Optimizer(Settings):
    r"""Base of the optimizers.

    A subclass names its `moments`, the arrays it keeps for each parameter (they start at 0), and
    gives its formula, :meth:`update`. What changes from step to step, such as the learning rate,
    is computed on the host by :meth:`scalars` and enters the formula as an argument.

    Before the formula, the gradient g of the loss takes in the penalties and is limited:

    .. math::

        g \leftarrow g + \lambda_2 \theta + \lambda_1 \mathrm{sign}(\theta), \qquad
        g \leftarrow \min(\max(g, -c), c), \qquad
        g \leftarrow g \, \frac{n}{\max(\lVert g \rVert, n)}

    with weight_decay :math:`\lambda_2`, weight_decay_l1 :math:`\lambda_1`, clip_value c and
    clip_norm n, the norm being that of all parameters together.

    Parameters
    ----------
    alpha : float, default 1e-3
        Learning rate.
    weight_decay, weight_decay_l1 : float, default 0
        Weights of the penalties :math:`\tfrac{1}{2} \lVert\theta\rVert^2` and
        :math:`\lVert\theta\rVert_1`, which `get_loss` does not count.
    clip_norm, clip_value : float, optional
        Largest norm and largest magnitude of the gradient.
    schedule : Schedule, optional
        Multiplies alpha by a factor that depends on the number of steps taken, not of epochs:
        an epoch has ``ceil(samples / batch_size)`` steps.

    Raises
    ------
    TypeError
        If an argument is unknown or of the wrong kind.
    ValueError
        If a number is out of range; the message names it.
    """

    running = ("alpha", "schedule")
    moments: ClassVar[tuple[str, ...]] = ()
    registry: ClassVar[dict[str, type[Optimizer]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Optimizer.registry[cls.__name__] = cls

    def __init__(
        self,
        alpha: float = 1e-3,
        *,
        weight_decay: float = 0.0,
        weight_decay_l1: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        schedule: Schedule | None = None,
        **unknown: Any,
    ) -> None:
        for name in unknown:
            names = [n for n in self._arguments() if n != "alpha"]
            raise TypeError(
                f"{type(self).__name__} has no argument {name!r}: the learning rate is alpha, as "
                f"in {type(self).__name__}(alpha=0.01), and the others are {', '.join(names)}"
            )
        self.alpha = alpha
        self.weight_decay = checked.not_negative(weight_decay, "weight_decay")
        self.weight_decay_l1 = checked.not_negative(weight_decay_l1, "weight_decay_l1")
        self.clip_norm = None if clip_norm is None else checked.positive(clip_norm, "clip_norm")
        self.clip_value = None if clip_value is None else checked.positive(clip_value, "clip_value")
        self.schedule = schedule
        self.factor = 1.0
        self.steps = 0
        self.state: list[list[Array]] = []
        self.slots: tuple[Any, ...] = ()  # of the parameters that the moments are of
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
    def alpha(self) -> float:
        """The learning rate before its schedule."""
        return self._alpha

    @alpha.setter
    def alpha(self, alpha: float) -> None:
        self._alpha = checked.positive(alpha, "alpha")

    @property
    def schedule(self) -> Schedule | None:
        """What the learning rate is multiplied by, as a function of the steps taken."""
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Schedule | None) -> None:
        if schedule is not None:
            checked.instance(schedule, Schedule, "schedule", "Cosine(10_000)")
        self._schedule = schedule

    @property
    def rate(self) -> float:
        """The learning rate of this step: alpha times `factor` times the schedule's."""
        schedule = self._schedule
        return self.alpha * self.factor * (schedule(self.steps - 1) if schedule else 1.0)

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
        if self.clip_value is not None:
            c = self.clip_value
            gradients = [xp.minimum(xp.maximum(g, -c), c) for g in gradients]
        if self.clip_norm is not None:
            squares = [xp.sum(g * g) for g in gradients]
            norm = xp.sqrt(sum(squares[1:], start=squares[0]))
            factor = self.clip_norm / xp.maximum(norm, self.clip_norm)
            gradients = [g * factor for g in gradients]
        return gradients

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
            If the model has no loss (``model.chain = ...``), or a shape does not fit.

        Notes
        -----
        Ctrl-C within a step may leave the parameters updated in part; ``fit`` stops between steps.
        """
        self._needed_model().runner.train(self, x, t, w)

    def predict(self, x: Any, t: Any = None, c: Any = None) -> Array:
        """Return the outputs for raw inputs `x`; with targets, also add to the loss's metrics."""
        return self._needed_model().runner.predict(x, t)

    def predict_class(self, x: Any) -> Array:
        """Return the class of each input: the largest output, or whether the only one is > 1/2."""
        return self._needed_model().runner.predict_class(x)

    def _needed_model(self) -> Sequential:
        if self._model is None:
            raise ValueError(f"{type(self).__name__} has no model: set optimizer.model first")
        return self._model

    # Files -------------------------------------------------------------------------------------

    def recipe(self) -> tuple[Any, ...]:
        """Return what two optimizers have in common whose steps are the same, but for numbers."""
        names = [name for name in self._arguments() if name not in self.running]
        return (type(self), *((name, repr(getattr(self, name))) for name in names))

    def twin(self) -> Optimizer:
        """Return an optimizer of the same settings, which nobody changes."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self), state=[], slots=(), _model=None)
        return twin

    def to_config(self) -> dict[str, Any]:
        """Return the optimizer's arguments as plain values."""
        config: dict[str, Any] = {"type": type(self).__name__}
        for name in self._arguments():
            value = getattr(self, name)
            config[name] = value.to_config() if isinstance(value, Schedule) else value
        return config

    @staticmethod
    def from_config(config: dict[str, Any]) -> Optimizer:
        """Return a fresh optimizer from what :meth:`to_config` gave."""
        arguments = {key: value for key, value in config.items() if key != "type"}
        if arguments.get("schedule") is not None:
            arguments["schedule"] = Schedule.from_config(arguments["schedule"])
        return Optimizer.registry[config["type"]](**arguments)

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


class GradientDescent(Optimizer):
    r"""Plain gradient descent: :math:`\theta \leftarrow \theta - \alpha g`.

    Parameters
    ----------
    alpha : float, default 1e-3
        Learning rate.
    **options
        Those of :class:`Optimizer`.

    References
    ----------
    Cauchy 1847; Robbins and Monro 1951, "A stochastic approximation method".
    """

    def update(self, p: Array, g: Array, *, rate: Array) -> tuple[Array, ...]:
        return (p - rate * g,)


class SGD(Optimizer):
    r"""Gradient descent with momentum.

    .. math::

        v \leftarrow \mu v + g, \qquad \theta \leftarrow \theta - \alpha v

    or, with Nesterov's look ahead, :math:`\theta \leftarrow \theta - \alpha (g + \mu v)`.

    Parameters
    ----------
    alpha : float, default 1e-3
        Learning rate.
    momentum : float, default 0
        :math:`\mu`, at least 0 and below 1.
    nesterov : bool, default False
        Whether to look ahead.
    **options
        Those of :class:`Optimizer`.

    References
    ----------
    Polyak 1964; Sutskever et al. 2013, "On the importance of initialization and momentum".
    """

    moments = ("v",)

    def __init__(
        self,
        alpha: float = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(alpha, **options)
        self.momentum = checked.fraction(momentum, "momentum")
        self.nesterov = nesterov

    def update(self, p: Array, g: Array, v: Array, *, rate: Array) -> tuple[Array, ...]:
        v = self.momentum * v + g
        step = g + self.momentum * v if self.nesterov else v
        return p - rate * step, v


class RMSprop(Optimizer):
    r"""The gradient divided by the root of its running mean square.

    .. math::

        s \leftarrow \beta s + (1 - \beta) g^2, \qquad
        \theta \leftarrow \theta - \alpha \frac{g}{\sqrt{s} + \epsilon}

    Parameters
    ----------
    alpha : float, default 1e-3
        Learning rate.
    beta : float, default 0.9
        Memory of the mean square.
    epsilon : float, default 1e-8
        Keeps the quotient finite.
    **options
        Those of :class:`Optimizer`.

    References
    ----------
    Tieleman and Hinton 2012, lecture 6.5, "Neural networks for machine learning".
    """

    moments = ("s",)

    def __init__(
        self, alpha: float = 1e-3, beta: float = 0.9, epsilon: float = 1e-8, **options: Any
    ) -> None:
        super().__init__(alpha, **options)
        self.beta = checked.fraction(beta, "beta")
        self.epsilon = checked.positive(epsilon, "epsilon")

    def update(self, p: Array, g: Array, s: Array, *, rate: Array) -> tuple[Array, ...]:
        xp = array_namespace(g)
        s = self.beta * s + (1.0 - self.beta) * (g * g)
        return p - rate * (g / (xp.sqrt(s) + self.epsilon)), s


class Adam(Optimizer):
    r"""Running means of the gradient and of its square, both corrected for starting at zero.

    .. math::

        m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
        \theta \leftarrow \theta
            - \alpha \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    The code takes the corrections out of the arrays, as the paper suggests at the end of its
    section 2: with :math:`c = \sqrt{1 - \beta_2^t}` the last formula is
    :math:`\theta - \alpha_t m / (\sqrt{v} + \epsilon_t)` for
    :math:`\alpha_t = \alpha c / (1 - \beta_1^t)` and :math:`\epsilon_t = \epsilon c`.

    Parameters
    ----------
    alpha : float, default 1e-3
        Learning rate.
    beta1, beta2 : float, default 0.9 and 0.999
        Memory of the two means.
    epsilon : float, default 1e-8
        Keeps the quotient finite.
    **options
        Those of :class:`Optimizer`.

    References
    ----------
    Kingma and Ba 2015, "Adam: a method for stochastic optimization", algorithm 1.
    """

    moments = ("m", "v")

    def __init__(
        self,
        alpha: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        **options: Any,
    ) -> None:
        super().__init__(alpha, **options)
        self.beta1 = checked.fraction(beta1, "beta1")
        self.beta2 = checked.fraction(beta2, "beta2")
        self.epsilon = checked.positive(epsilon, "epsilon")

    def scalars(self) -> dict[str, float]:
        c = math.sqrt(1.0 - self.beta2**self.steps)
        rate = self.rate * c / (1.0 - self.beta1**self.steps)
        return {"rate": rate, "epsilon": self.epsilon * c}

    def update(
        self, p: Array, g: Array, m: Array, v: Array, *, rate: Array, epsilon: Array
    ) -> tuple[Array, ...]:
        xp = array_namespace(g)
        m = self.beta1 * m + (1.0 - self.beta1) * g
        v = self.beta2 * v + (1.0 - self.beta2) * (g * g)
        return p - rate * (m / (xp.sqrt(v) + epsilon)), m, v


class AdamW(Adam):
    r"""Adam with the weight decay beside the gradient instead of inside it.

    .. math::

        \theta \leftarrow \theta - \alpha \lambda \theta

    and then the formula of :class:`Adam`.

    Parameters
    ----------
    alpha : float, default 1e-3
        Learning rate.
    beta1, beta2 : float, default 0.9 and 0.999
        Memory of the two means.
    epsilon : float, default 1e-8
        Keeps the quotient finite.
    decay : float, default 1e-2
        :math:`\lambda`; `weight_decay` would add to the gradient instead.
    **options
        Those of :class:`Optimizer`.

    References
    ----------
    Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2.
    """

    def __init__(
        self,
        alpha: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        decay: float = 1e-2,
        **options: Any,
    ) -> None:
        super().__init__(alpha, beta1, beta2, epsilon, **options)
        self.decay = checked.not_negative(decay, "decay")

    def scalars(self) -> dict[str, float]:
        return {**super().scalars(), "keep": 1.0 - self.rate * self.decay}

    def update(  # type: ignore[override]
        self, p: Array, g: Array, m: Array, v: Array, *, rate: Array, epsilon: Array, keep: Array
    ) -> tuple[Array, ...]:
        return super().update(keep * p, g, m, v, rate=rate, epsilon=epsilon)


class Adagrad(Optimizer):
    r"""The gradient divided by the root of the sum of all its squares so far.

    .. math::

        s \leftarrow s + g^2, \qquad
        \theta \leftarrow \theta - \alpha \frac{g}{\sqrt{s} + \epsilon}

    Parameters
    ----------
    alpha : float, default 1e-2
        Learning rate.
    epsilon : float, default 1e-10
        Keeps the quotient finite.
    **options
        Those of :class:`Optimizer`.

    References
    ----------
    Duchi, Hazan and Singer 2011, "Adaptive subgradient methods".
    """

    moments = ("s",)

    def __init__(self, alpha: float = 1e-2, epsilon: float = 1e-10, **options: Any) -> None:
        super().__init__(alpha, **options)
        self.epsilon = checked.positive(epsilon, "epsilon")

    def update(self, p: Array, g: Array, s: Array, *, rate: Array) -> tuple[Array, ...]:
        xp = array_namespace(g)
        s = s + g * g
        return p - rate * (g / (xp.sqrt(s) + self.epsilon)), s


class Adadelta(Optimizer):
    r"""Steps in the units of the parameters: the ratio of two running root mean squares.

    .. math::

        s \leftarrow \rho s + (1 - \rho) g^2, \qquad
        \Delta = \frac{\sqrt{d + \epsilon}}{\sqrt{s + \epsilon}} g, \qquad
        d \leftarrow \rho d + (1 - \rho) \Delta^2, \qquad
        \theta \leftarrow \theta - \alpha \Delta

    Parameters
    ----------
    alpha : float, default 1
        Learning rate.
    rho : float, default 0.9
        Memory of the two means.
    epsilon : float, default 1e-6
        Starts the steps, and keeps the quotient finite.
    **options
        Those of :class:`Optimizer`.

    References
    ----------
    Zeiler 2012, "ADADELTA: an adaptive learning rate method", algorithm 1.
    """

    moments = ("s", "d")

    def __init__(
        self, alpha: float = 1.0, rho: float = 0.9, epsilon: float = 1e-6, **options: Any
    ) -> None:
        super().__init__(alpha, **options)
        self.rho = checked.fraction(rho, "rho")
        self.epsilon = checked.positive(epsilon, "epsilon")

    def update(self, p: Array, g: Array, s: Array, d: Array, *, rate: Array) -> tuple[Array, ...]:
        xp = array_namespace(g)
        s = self.rho * s + (1.0 - self.rho) * (g * g)
        delta = xp.sqrt(d + self.epsilon) / xp.sqrt(s + self.epsilon) * g
        d = self.rho * d + (1.0 - self.rho) * (delta * delta)
        return p - rate * delta, s, d
