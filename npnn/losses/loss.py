"""The base of the losses: a link of a chain, which a batch passes and which keeps its metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from npnn import checked
from npnn.arrays import Array, Shape, array_namespace, as_array_shape, read_each
from npnn.layers.layer import Layer, Link
from npnn.plain import again

LEAST = 1.2e-38  # weight of all samples of a batch, which is a number of float32


class LossLayer(Link, abstract=True):
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
    needs : str
        What the layer before must give: ``"probabilities"``, ``"fractions"`` or ``"gaussians"``;
        all is well if this is empty. Where a layer does not say what it gives, its outputs for the
        first batch are looked at.
    needs_targets : bool
        False for a loss that judges the outputs alone.
    takes_classes : bool
        True for a loss whose targets may be integer classes, one for each sample.
    power : int or None
        To which power of the unit of the targets the loss grows; None if they have none. It holds
        for the class itself, not for its subclasses.
    target_scale : float
        By what the outputs and targets that come here were divided; the mean loss is told in the
        units that they had.
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
    needs: ClassVar[str] = ""
    needs_targets: ClassVar[bool] = True
    takes_classes: ClassVar[bool] = False
    power: ClassVar[int | None] = None
    target_scale: float = 1.0

    def __init__(self, shape_in: int | Shape | None = None) -> None:
        self.shape_in = None if shape_in is None else as_array_shape(shape_in, "shape_in")
        self.is_inferred = shape_in is None
        self.reset()
        self._was_training = False

    def accept(self, shape_in: Shape | int) -> Shape:
        """Return `shape_in` as a tuple; only a shape given at construction can contradict it."""
        return (
            as_array_shape(shape_in, "shape_in") if self.is_inferred else super().accept(shape_in)
        )

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
        if self.loss is None or self.loss.ndim != x.ndim or self.loss.shape[0] != x.shape[0]:
            raise ValueError(
                f"{type(self).__name__}: value gave {_shape_shown(self.loss)}, but the loss of "
                f"each output is needed, of shape {tuple(x.shape)}: the sum over the outputs, and "
                "the mean over the samples, are taken of it"
            )
        correct = self.correct(x, t)
        if correct is not None:
            correct = self._shares(correct, x)
        self.share: Array = 1.0 / x.shape[0]
        if w is not None:
            column = xp.reshape(w, (-1, *[1] * (x.ndim - 1)))
            self.loss = self.loss * column
            correct = None if correct is None else correct * w
            weight = xp.sum(w)
            self.share = column / xp.maximum(weight, LEAST)  # of a batch without any it is 0
            self.total_weight = self.total_weight + weight
        self.total_loss = self.total_loss + xp.sum(self.loss)
        if correct is not None:
            self.total_correct = self.total_correct + xp.sum(correct)
        return x

    def _shares(self, correct: Array, x: Array) -> Array:
        """Return of each sample the share of its answers that are correct."""
        if correct.ndim == 0 or correct.shape[0] != x.shape[0]:
            raise ValueError(
                f"{type(self).__name__}: correct gave an array of shape {tuple(correct.shape)}, "
                f"but ({x.shape[0]}, ...) is needed: 1 or 0 for each answer of each sample"
            )
        xp = array_namespace(x)
        correct = xp.astype(correct, x.dtype)
        return xp.mean(correct, axis=tuple(range(1, correct.ndim))) if correct.ndim > 1 else correct

    def backward(self, grad_y: Array = None) -> Array:
        """Return the gradient of :meth:`get_loss` of the last batch.

        It is taken at the loss's input, or at the logits if :meth:`forward` was given them. Where
        a model follows the loss, `grad_y` is its gradient, and is added.
        """
        if "from_logits" not in vars(self):
            raise ValueError(
                f"{type(self).__name__} has seen no batch to go back from: model.fit or "
                "optimizer.step go forward and backward; alone, forward(y, t) comes first"
            )
        derivative = self.canonical_derivative if self.from_logits else self.derivative
        gradient = derivative(self.y, self.t)
        if getattr(gradient, "shape", None) != self.y.shape:
            raise ValueError(
                f"{type(self).__name__}: {derivative.__name__} gave {_shape_shown(gradient)}, but "
                f"one number for each output is needed, of shape {tuple(self.y.shape)}"
            )
        gradient = gradient * self.share
        if self.scale is not None:
            gradient = gradient * self.scale
        return gradient if grad_y is None else gradient + grad_y

    def prepare_targets(self, t: Array, shape: Shape, dtype: object) -> Array:
        """Return targets of one sample shape `shape`: those of one output may lack its axis."""
        if t.ndim == len(shape) and shape[-1] == 1:
            t = t[..., None]
        if t.ndim != len(shape) + 1 or tuple(t.shape[1:]) != tuple(shape):
            hint = ": of classes, npnn.Softmax() is the last layer, and CrossEntropyLoss the loss"
            raise ValueError(
                f"{type(self).__name__}: targets of shape {tuple(t.shape)} do not fit outputs of "
                f"shape (batch, {', '.join(map(str, shape))})"
                + hint
                * (not self.takes_classes and t.ndim == len(shape) and shape[-1] > 1)
            )
        return t if t.dtype == dtype else array_namespace(t).astype(t, dtype)

    def check_targets(self, t: Array) -> None:
        """Raise the error for prepared targets whose values make no sense; here, all do.

        It looks at values on the host, once for a data set and not in every step.
        """

    def look_at(self, t: Array) -> None:
        """Take in all prepared targets of a training that is about to begin; here, nothing."""

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

    def sums_so_far(self) -> dict[str, Any]:
        """Return what the metrics are made of, and for which mode, by the attributes' names."""
        names = "total_loss", "total_correct", "total_weight", "num_samples"
        return {name: vars(self)[name] for name in (*names, "_was_read", "_was_training")}

    def sums(self, weighted: bool = True) -> list[Array]:
        """Return the sums that a step goes on from: of the loss, of what is correct, of weights."""
        sums = [self.total_loss, self.total_correct]
        return [*sums, self.total_weight] if weighted else sums

    def set_sums(self, sums: Sequence[Array], num_samples: int = 0) -> None:
        """Put in what :meth:`sums` gave, after a step on so many samples without weights."""
        own = self.__dict__  # in each step, and no settings
        own["total_loss"], own["total_correct"] = sums[:2]
        own["num_samples"] += num_samples
        if len(sums) > 2:
            own["total_weight"] = sums[2]

    def end(self) -> int:
        """Return how many samples without weights the sums are of; the next batch starts anew."""
        self._was_read = True
        return self.num_samples

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (type(self), self.to_config(), self.chain)

    @property
    def power_of_scale(self) -> int | None:
        """`power`, where the class itself says it."""
        return vars(type(self)).get("power")

    @property
    def unit(self) -> float:
        """What the loss is multiplied by to be in the units of the targets."""
        return float(self.target_scale ** (self.power_of_scale or 0))

    @property
    def has_accuracy(self) -> bool:
        """Whether the loss has a notion of a correct answer."""
        return type(self).correct is not LossLayer.correct

    def get_loss(self) -> float:
        """Return the mean loss of the samples since it was last read; NaN if there were none.

        After one batch it is exactly the scalar that :meth:`backward` differentiates. Training
        and prediction are never mixed: a change of mode starts anew.
        """
        return self._mean(self.total_loss) * self.unit

    def get_accuracy(self) -> float | None:
        """Return the share of samples answered correctly, or None where the loss has none."""
        return as_share(self._mean(self.total_correct)) if self.has_accuracy else None

    def _mean(self, total: Array) -> float:
        count, weight = self.end(), self.total_weight
        if type(total) is float:
            return math.nan  # there was no batch
        numbers = self.read([total] if type(weight) is float else [total, weight])
        return mean(numbers[0], count + sum(numbers[1:]))


def _shape_shown(array: Any) -> str:
    if not hasattr(array, "shape"):
        return checked.shown(array)
    return f"an array of shape {tuple(array.shape)}"


def mean(total: float, weight: float) -> float:
    """Return a sum divided by the weights of what was summed; NaN if there was nothing."""
    return total / weight if weight else math.nan


def as_share(accuracy: float) -> float:
    """Return an accuracy without what rounding took it beyond 1, or say that it is none."""
    if accuracy > 1.001 or accuracy < 0.0:
        raise ValueError(
            f"an accuracy is from 0 to 1, but the loss makes it {accuracy:.6g}: its correct must "
            "give 1 for an answer that is correct, else 0"
        )
    return min(accuracy, 1.0)


def _again(cls: type[LossLayer], config: dict[str, Any], chain: Link | None) -> LossLayer:
    """Return a loss that was copied, or pickled; its sums start anew."""
    loss: LossLayer = again(cls, "layer", config)
    loss.chain = chain
    return loss
