"""The losses: what training makes small, and the gradient that training starts from.

A loss is a link of a chain: ``model.chain = loss``. A loss that only looks at what passes, such
as a penalty on a code, may itself be followed by a model: ``loss.chain = decoder``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

from npnn.arrays import Array, Shape, array_namespace, as_shape, device, read_each
from npnn.layers.activations import Linear, Sigmoid, Softmax
from npnn.layers.layer import Layer, Link

__all__ = [
    "BinaryCrossEntropyLoss",
    "CrossEntropyLoss",
    "HuberLoss",
    "KullbackLeiblerLoss",
    "L1Loss",
    "LossLayer",
    "RMSLoss",
    "default_loss",
]


class LossLayer(Link):
    r"""Base of the losses.

    A subclass gives the loss of each output, :meth:`value`, and its :meth:`derivative` with
    respect to that output. The scalar that is reported and differentiated is

    .. math::

        L = \frac{1}{\mathrm{batch}}
            \sum_{\mathrm{batch}} \sum_{\mathrm{outputs}} \mathrm{value}(y, t)

    or, with a weight w for each sample, :math:`\sum w \, \mathrm{value} / \sum w`.

    Where the layer before is the loss's `canonical_activation`, the model asks for
    :meth:`canonical_value` of that activation's inputs (the logits) instead, and the gradient at
    the logits is the plain difference :math:`(y - t) / \mathrm{batch}`.

    Parameters
    ----------
    shape_in : int or tuple of int, optional
        Shape of one sample of the model's output; inferred if None.

    Attributes
    ----------
    loss : array
        The loss of each output in the last batch.
    needs_targets : bool
        False for a loss that judges the outputs alone.
    takes_classes : bool
        True for a loss whose targets may be integer classes, one for each sample.
    chain : Sequential or None
        What follows.
    """

    is_loss = True
    canonical_activation: ClassVar[type[Layer] | None] = None
    read: Callable[[Sequence[Array]], list[float]] = staticmethod(read_each)
    total_loss: Array
    total_correct: Array
    total_weight: Array
    scale: Array = None  # what the gradient is multiplied by where it would else be too small
    needs_targets: ClassVar[bool] = True
    takes_classes: ClassVar[bool] = False

    def __init__(self, shape_in: int | Shape | None = None) -> None:
        self.shape_in = None if shape_in is None else as_shape(shape_in, "shape_in")
        self.is_inferred = shape_in is None
        self.reset()
        self._was_training = False

    def accept(self, shape_in: Shape | int) -> Shape:
        """Return `shape_in` as a tuple; only a shape given at construction can contradict it."""
        return as_shape(shape_in, "shape_in") if self.is_inferred else super().accept(shape_in)

    # The formulas ------------------------------------------------------------------------------

    def value(self, y: Array, t: Array) -> Array:
        """Return the loss of each output `y` for its target `t`."""
        raise NotImplementedError(f"{type(self).__name__} has no value")

    def derivative(self, y: Array, t: Array) -> Array:
        """Return the derivative of :meth:`value` with respect to `y`."""
        raise NotImplementedError(f"{type(self).__name__} has no derivative")

    def canonical_value(self, logits: Array, y: Array, t: Array) -> Array:
        """Return :meth:`value` computed from the canonical activation's inputs."""
        return self.value(y, t)

    def canonical_derivative(self, y: Array, t: Array) -> Array:
        """Return the derivative of :meth:`canonical_value`, summed over a sample, by the logits."""
        return y - t

    def correct(self, y: Array, t: Array) -> Array | None:
        """Return 1 for each output answered correctly, else 0; None without such a notion.

        Of shape ``(batch, ...)``; what further axes hold counts by its share of the sample.
        """
        return None

    # The link of a chain -----------------------------------------------------------------------

    def forward(self, x: Array, t: Array = None, w: Array = None, *, logits: Array = None) -> Array:
        """Add the batch's loss and accuracy to the running ones and return `x`, unchanged.

        Parameters
        ----------
        x : array, shape (batch, outputs)
            What the layer before gave.
        t : array
            The targets, of the shape of `x`, or integer classes of shape ``(batch,)``.
        w : array, shape (batch,), optional
            How much each sample counts; 1 if None.
        logits : array, optional
            The inputs of the layer before, if it is the canonical activation.
        """
        self.begin(self.training)
        self.num_samples += x.shape[0] if w is None else 0
        return self.measure(x, t, w, logits)

    def measure(self, x: Array, t: Array, w: Array = None, logits: Array = None) -> Array:
        """Do what :meth:`forward` does, as a pure function of arrays."""
        xp = array_namespace(x)
        if self.needs_targets:
            t = self.prepare_targets(t, tuple(x.shape[1:]), x.dtype)
        self.y, self.t, self.from_logits = x, t, logits is not None
        self.loss = self.value(x, t) if logits is None else self.canonical_value(logits, x, t)
        correct = self.correct(x, t)
        if correct is not None and correct.ndim > 1:
            correct = xp.mean(correct, axis=tuple(range(1, correct.ndim)))
        self.share: Array = 1.0 / x.shape[0]
        if w is not None:
            column = xp.reshape(w, (-1, *[1] * (x.ndim - 1)))
            self.loss = self.loss * column
            correct = None if correct is None else correct * w
            weight = xp.sum(w)
            self.share = column / weight
            self.total_weight = self.total_weight + weight
        self.total_loss = self.total_loss + xp.sum(self.loss)
        if correct is not None:
            self.total_correct = self.total_correct + xp.sum(correct)
        return x

    def backward(self, grad_y: Array = None) -> Array:
        """Return the gradient of :meth:`get_loss` of the last batch.

        It is taken at the loss's input, or at the logits if :meth:`forward` was given them. Where
        a model follows the loss, `grad_y` is its gradient, and is added.
        """
        derivative = self.canonical_derivative if self.from_logits else self.derivative
        gradient = derivative(self.y, self.t) * self.share
        if self.scale is not None:
            gradient = gradient * self.scale
        return gradient if grad_y is None else gradient + grad_y

    def prepare_targets(self, t: Array, shape: Shape, dtype: object) -> Array:
        """Return targets of one sample shape `shape`: those of one output may lack its axis."""
        if t.ndim == len(shape) and shape[-1] == 1:
            t = t[..., None]
        if t.ndim != len(shape) + 1 or tuple(t.shape[1:]) != tuple(shape):
            raise ValueError(
                f"{type(self).__name__}: targets of shape {tuple(t.shape)} do not fit outputs of "
                f"shape (batch, {', '.join(map(str, shape))})"
            )
        return t if t.dtype == dtype else array_namespace(t).astype(t, dtype)

    def check_targets(self, t: Array) -> None:
        """Raise the error for prepared targets whose values make no sense; here, all do.

        It looks at values on the host, once for a data set and not in every step.
        """

    # The metrics -------------------------------------------------------------------------------

    def begin(self, training: bool) -> None:
        """Start new sums if the last ones were read, or were those of the other mode."""
        if self._was_read or self._was_training != training:
            self.reset()
        self._was_training = training

    def reset(self) -> None:
        """Forget the accumulated loss and accuracy."""
        self.total_loss = self.total_correct = 0.0
        self.total_weight = 0.0  # of samples that have weights; the others are counted
        self.num_samples = 0
        self._was_read = False

    def sums(self, weighted: bool = True) -> list[Array]:
        """Return the sums that a step goes on from: of the loss, of what is correct, of weights."""
        sums = [self.total_loss, self.total_correct]
        return [*sums, self.total_weight] if weighted else sums

    def set_sums(self, sums: Sequence[Array]) -> None:
        """Put in what :meth:`sums` gave, after a step."""
        self.total_loss, self.total_correct, *weight = sums
        if weight:
            (self.total_weight,) = weight

    def end(self) -> int:
        """Return how many samples without weights the sums are of; the next batch starts anew."""
        self._was_read = True
        return self.num_samples

    @property
    def has_accuracy(self) -> bool:
        """Whether the loss has a notion of a correct answer."""
        return type(self).correct is not LossLayer.correct

    def get_loss(self) -> float:
        """Return the mean loss of the samples since it was last read; NaN if there were none.

        After one batch it is exactly the scalar that :meth:`backward` differentiates. Training
        and prediction are never mixed: a change of mode starts anew.
        """
        return self._mean(self.total_loss)

    def get_accuracy(self) -> float | None:
        """Return the share of samples answered correctly, or None where the loss has none."""
        return self._mean(self.total_correct) if self.has_accuracy else None

    def _mean(self, total: Array) -> float:
        count, weight = self.end(), self.total_weight
        if type(total) is float:
            return math.nan  # there was no batch
        numbers = self.read([total] if type(weight) is float else [total, weight])
        return mean(numbers[0], count + sum(numbers[1:]))


def default_loss(model: Layer) -> LossLayer:
    """Return a loss of the last layer's canonical kind; half the squared distance for the rest."""
    last = model
    while children := list(last.children()):
        last = children[-1][1]
    for kind in LossLayer.__subclasses__():
        if kind.canonical_activation is type(last):
            return kind(model.shape_out)
    return RMSLoss(model.shape_out)


def mean(total: float, weight: float) -> float:
    """Return a sum divided by the weights of what was summed; NaN if there was nothing."""
    return total / weight if weight else math.nan


class RMSLoss(LossLayer):
    r"""Half the squared distance, the loss of least squares: not a root mean square.

    It has its name from what it makes small: the root of the mean square is smallest where the
    sum of the squares is, and of the two only the sum has the plain derivative y - t. So the
    number that is reported has no root, is summed (not averaged) over the outputs of a sample, and
    is half of what other libraries call the squared error.

    .. math::

        \mathrm{value} = \tfrac{1}{2} (y - t)^2, \qquad \frac{d\,\mathrm{value}}{dy} = y - t

    Parameters
    ----------
    shape_in : int or tuple of int, optional
        Shape of one sample; inferred if None.
    """

    canonical_activation = Linear

    def value(self, y: Array, t: Array) -> Array:
        return 0.5 * (y - t) ** 2

    def derivative(self, y: Array, t: Array) -> Array:
        return y - t


class L1Loss(LossLayer):
    r"""The absolute distance; less moved by outliers than the squared one.

    .. math::

        \mathrm{value} = |y - t|, \qquad \frac{d\,\mathrm{value}}{dy} = \mathrm{sign}(y - t)

    Parameters
    ----------
    shape_in : int or tuple of int, optional
        Shape of one sample; inferred if None.
    """

    def value(self, y: Array, t: Array) -> Array:
        return array_namespace(y).abs(y - t)

    def derivative(self, y: Array, t: Array) -> Array:
        return array_namespace(y).sign(y - t)


class HuberLoss(LossLayer):
    r"""The squared distance near the target, and the absolute one further away.

    .. math::

        \mathrm{value} = \begin{cases} \tfrac{1}{2} (y - t)^2 & |y - t| \le \delta \\
            \delta \, (|y - t| - \tfrac{1}{2} \delta) & \text{else} \end{cases}, \qquad
        \frac{d\,\mathrm{value}}{dy} = \min(\max(y - t, -\delta), \delta)

    Parameters
    ----------
    shape_in : int or tuple of int, optional
        Shape of one sample; inferred if None.
    delta : float, default 1
        The distance :math:`\delta` from which on it is linear.

    Raises
    ------
    ValueError
        If `delta` is not positive.

    References
    ----------
    Huber 1964, "Robust estimation of a location parameter".
    """

    def __init__(self, shape_in: int | Shape | None = None, delta: float = 1.0) -> None:
        super().__init__(shape_in)
        if not (0.0 < delta < math.inf):
            raise ValueError(f"delta must be positive and finite, such as 1.0, not {delta}")
        self.delta = delta

    def value(self, y: Array, t: Array) -> Array:
        near = self.derivative(y, t)
        return near * (y - t - 0.5 * near)

    def derivative(self, y: Array, t: Array) -> Array:
        xp = array_namespace(y)
        return xp.minimum(xp.maximum(y - t, -self.delta), self.delta)


class CrossEntropyLoss(LossLayer):
    r"""The surprise at the right class, for probabilities that sum to 1.

    .. math::

        \mathrm{value}_n = -t_n \ln y_n, \qquad
        \frac{\partial\,\mathrm{value}_n}{\partial y_n} = -\frac{t_n}{y_n}

    After Softmax it is taken from the logits x, which is finite for any x:

    .. math::

        \mathrm{value}_n = t_n \Big( \ln \sum_k e^{x_k} - x_n \Big), \qquad
        \frac{\partial L}{\partial x_n} = \frac{y_n - t_n}{\mathrm{batch}}

    With smoothing s, and a weight w for each of the K classes, the targets above are

    .. math::

        t_n \leftarrow w_n \Big( (1 - s) \, t_n + \frac{s}{K} \Big), \qquad
        \frac{\partial L}{\partial x_n} = \frac{y_n \sum_k t_k - t_n}{\mathrm{batch}}

    Parameters
    ----------
    shape_in : int or tuple of int, optional
        Number of classes; inferred if None.
    label_smoothing : float, default 0
        Share s of the target that is spread over all classes, at least 0 and below 1.
    class_weights : sequence of float, optional
        How much each class counts; 1 if None. The mean is still over the number of samples.

    Raises
    ------
    ValueError
        If the smoothing is out of range, or a weight is negative or missing.

    Notes
    -----
    Targets are one-hot (or any probabilities that sum to 1), or integer classes. A sample counts
    as correct when its largest output is at its largest target.

    References
    ----------
    Bishop 2006, "Pattern recognition and machine learning", section 4.3.4. Smoothing: Szegedy et
    al. 2015, "Rethinking the Inception architecture for computer vision", section 7.
    """

    canonical_activation = Softmax
    takes_classes = True

    def __init__(
        self,
        shape_in: int | Shape | None = None,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(shape_in)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(
                f"label_smoothing must be at least 0 and below 1, such as 0.1, not "
                f"{label_smoothing}"
            )
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else tuple(map(float, class_weights))
        if not all(0.0 <= w < math.inf for w in self.class_weights or ()):
            raise ValueError(f"class_weights must be at least 0 and finite, not {class_weights}")

    def accept(self, shape_in: Shape | int) -> Shape:
        """Return `shape_in` as a tuple, or say that it or the weights are for another one."""
        shape = super().accept(shape_in)
        if self.class_weights is not None and len(self.class_weights) != shape[-1]:
            raise ValueError(
                f"has {len(self.class_weights)} class_weights, but there are {shape[-1]} classes"
            )
        return shape

    def prepare_targets(self, t: Array, shape: Shape, dtype: object) -> Array:
        """Return one-hot targets; integer classes have one axis fewer than the outputs."""
        xp = array_namespace(t)
        if t.ndim == len(shape) and xp.isdtype(t.dtype, "integral"):
            classes = xp.arange(shape[-1], dtype=t.dtype, device=device(t))
            t = xp.astype(t[..., None] == classes, dtype)
            # Where a label is no class, nothing is 1, and what follows is NaN instead of wrong.
            t = t / xp.sum(t, axis=-1, keepdims=True)
        return super().prepare_targets(t, shape, dtype)

    def check_targets(self, t: Array) -> None:
        """Raise the error for targets that are no probabilities of the classes."""
        xp = array_namespace(t)
        low, sums = float(xp.min(t)), xp.sum(t, axis=-1)
        least, most = float(xp.min(sums)), float(xp.max(sums))
        # Probabilities that a person has rounded to two digits are let through.
        if low < 0.0 or least < 0.95 or most > 1.05:
            found = f"there is a {low:g}" if low < 0.0 else f"one sums to {_farther(least, most):g}"
            raise ValueError(
                "CrossEntropyLoss: the targets of a sample must be probabilities that sum to 1, "
                f"or an integer class, but {found}. Where several classes may be right at once, "
                "use Sigmoid and BinaryCrossEntropyLoss"
            )

    def value(self, y: Array, t: Array) -> Array:
        xp, t = array_namespace(y), self.weigh(t)
        return -t * xp.log(xp.where(t > 0.0, y, 1.0))  # 0 ln 0 is 0

    def derivative(self, y: Array, t: Array) -> Array:
        xp, t = array_namespace(y), self.weigh(t)
        return -t / xp.where(t > 0.0, y, 1.0)

    def canonical_value(self, logits: Array, y: Array, t: Array) -> Array:
        xp, t = array_namespace(logits), self.weigh(t)
        shifted = logits - xp.max(logits, axis=-1, keepdims=True)
        return t * (xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True)) - shifted)

    def canonical_derivative(self, y: Array, t: Array) -> Array:
        t = self.weigh(t)
        if self.class_weights is None:
            return y - t
        return y * array_namespace(t).sum(t, axis=-1, keepdims=True) - t

    def weigh(self, t: Array) -> Array:
        """Return the targets smoothed, and times the weights of their classes."""
        if self.label_smoothing:
            t = (1.0 - self.label_smoothing) * t + self.label_smoothing / t.shape[-1]
        if self.class_weights is None:
            return t
        xp = array_namespace(t)
        weights = [
            xp.full((1,), weight, dtype=t.dtype, device=device(t)) for weight in self.class_weights
        ]
        return t * xp.concat(weights)

    def correct(self, y: Array, t: Array) -> Array:
        xp = array_namespace(y)
        return xp.astype(xp.argmax(y, axis=-1) == xp.argmax(t, axis=-1), y.dtype)


class BinaryCrossEntropyLoss(LossLayer):
    r"""The surprise at yes-or-no answers, each output a probability of its own.

    .. math::

        \mathrm{value} = -t \ln y - (1 - t) \ln(1 - y), \qquad
        \frac{d\,\mathrm{value}}{dy} = \frac{1 - t}{1 - y} - \frac{t}{y}

    After Sigmoid it is taken from the logits x, which is finite for any x:

    .. math::

        \mathrm{value} = \max(x, 0) - t x + \ln(1 + e^{-|x|}), \qquad
        \frac{\partial L}{\partial x} = \frac{y - t}{\mathrm{batch}}

    Parameters
    ----------
    shape_in : int or tuple of int, optional
        Number of outputs; inferred if None.

    Notes
    -----
    An output counts as correct when it lies on the side of 1/2 that its target lies on; with
    several outputs each is counted by its share.

    References
    ----------
    Bishop 2006, "Pattern recognition and machine learning", section 4.3.2.
    """

    canonical_activation = Sigmoid

    def check_targets(self, t: Array) -> None:
        """Raise the error for targets that are no probabilities."""
        xp = array_namespace(t)
        low, high = float(xp.min(t)), float(xp.max(t))
        if low < 0.0 or high > 1.0:
            raise ValueError(
                "BinaryCrossEntropyLoss: targets must be from 0 (no) to 1 (yes), but there is a "
                f"{low if low < 0.0 else high:g}: make 0 and 1 of two labels, as in "
                "t == t.max()"
            )

    def value(self, y: Array, t: Array) -> Array:
        xp = array_namespace(y)
        yes, no = self._where_it_counts(y, t)
        return -t * xp.log(yes) - (1.0 - t) * xp.log(no)

    def derivative(self, y: Array, t: Array) -> Array:
        yes, no = self._where_it_counts(y, t)
        return (1.0 - t) / no - t / yes

    @staticmethod
    def _where_it_counts(y: Array, t: Array) -> tuple[Array, Array]:
        """Return y and 1 - y, but 1 where the target gives them no weight: 0 ln 0 is 0."""
        xp = array_namespace(y)
        return xp.where(t > 0.0, y, 1.0), xp.where(t < 1.0, 1.0 - y, 1.0)

    def canonical_value(self, logits: Array, y: Array, t: Array) -> Array:
        xp = array_namespace(logits)
        return xp.maximum(logits, 0.0) - t * logits + xp.log1p(xp.exp(-xp.abs(logits)))

    def correct(self, y: Array, t: Array) -> Array:
        xp = array_namespace(y)
        return xp.astype((y > 0.5) == (t > 0.5), y.dtype)


class KullbackLeiblerLoss(LossLayer):
    r"""How far gaussians are from the unit gaussian: the penalty on the code of an autoencoder.

    .. math::

        L = \frac{\beta}{\mathrm{batch}} \sum_{\mathrm{batch}} \sum_n \tfrac{1}{2}
            \big( \mu_n^2 + \sigma_n^2 - \ln \sigma_n^2 - 1 \big), \qquad
        \frac{d\,\mathrm{value}}{d\mu} = \beta \mu, \qquad
        \frac{d\,\mathrm{value}}{d\sigma^2} = \frac{\beta}{2} \Big( 1 - \frac{1}{\sigma^2} \Big)

    of outputs :math:`y = (\mu, \sigma^2)`, joined along the last axis. It needs no targets, and
    stands between two models::

        encoder.chain = kl
        kl.chain = decoder
        decoder.chain = RMSLoss()

    where the encoder ends with ``Latent``, and the decoder begins with ``Sample``.

    Parameters
    ----------
    shape_in : int or tuple of int, optional
        Shape of one sample, its last axis even; inferred if None.
    beta : float, default 1
        Weight of this loss beside that of the outputs.

    Raises
    ------
    ValueError
        If `beta` is negative or the last axis is odd.

    References
    ----------
    Kingma and Welling 2013, "Auto-encoding variational Bayes", appendix B; with a weight, Higgins
    et al. 2017, "beta-VAE".
    """

    needs_targets = False

    def __init__(self, shape_in: int | Shape | None = None, beta: float = 1.0) -> None:
        super().__init__(shape_in)
        if not 0.0 <= beta < math.inf:
            raise ValueError(f"beta must be at least 0 and finite, such as 1.0, not {beta}")
        self.beta = beta
        if self.shape_in is not None:
            self.accept(self.shape_in)

    def accept(self, shape_in: Shape | int) -> Shape:
        """Return `shape_in` as a tuple, or say that there is not a variance for each mean."""
        shape = super().accept(shape_in)
        if shape[-1] % 2:
            raise ValueError(
                f"as many means as variances make an even last axis, such as {shape[-1] + 1}, "
                f"not {shape[-1]}"
            )
        return shape

    def value(self, y: Array, t: Array) -> Array:
        xp, (mean, variance) = array_namespace(y), _halves(y)
        of_mean = 0.5 * mean * mean
        of_variance = 0.5 * (variance - xp.log(variance) - 1.0)
        return self.beta * xp.concat([of_mean, of_variance], axis=-1)

    def derivative(self, y: Array, t: Array) -> Array:
        xp, (mean, variance) = array_namespace(y), _halves(y)
        return self.beta * xp.concat([mean, 0.5 - 0.5 / variance], axis=-1)


def _farther(least: float, most: float) -> float:
    """Return which of the two is farther from 1."""
    return least if 1.0 - least > most - 1.0 else most


def _halves(y: Array) -> tuple[Array, Array]:
    half = y.shape[-1] // 2
    return y[..., :half], y[..., half:]
