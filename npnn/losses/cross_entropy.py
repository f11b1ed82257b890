"""Losses that measure the surprise at classes, taken from the logits where they are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from npnn import checked
from npnn.arrays import Array, Shape, array_namespace, device
from npnn.layers.activations import Sigmoid, Softmax
from npnn.losses.loss import LossLayer
from npnn.plain import Reader, Writer


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
    class_weights : sequence of float, dict of int to float, or "balanced", optional
        How much each class counts; a class that a dict does not name counts 1, and all do if None.
        ``"balanced"`` has all classes count alike: ``fit`` gives a class N / (K n) if n of its N
        samples are of it. The mean is still over the number of samples.

    Raises
    ------
    TypeError
        If the weights are of another kind.
    ValueError
        If the smoothing is out of range; if a weight is negative or missing, or of no class; if
        they are to be balanced, and ``fit`` has not seen the targets.

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
    needs = "probabilities"
    takes_classes = True

    def __init__(
        self,
        shape_in: int | Shape | None = None,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | Mapping[int, float] | str | None = None,
    ) -> None:
        super().__init__(shape_in)
        self.label_smoothing = checked.fraction(label_smoothing, "label_smoothing")
        self.class_weights = _class_weights(class_weights)
        self.balanced: tuple[float, ...] | None = None

    def accept(self, shape_in: Shape | int) -> Shape:
        """Return `shape_in` as a tuple, or say that it or the weights are for another one."""
        shape = super().accept(shape_in)
        given, count = self.class_weights, shape[-1]
        if isinstance(given, tuple) and len(given) != count:
            raise ValueError(f"has {len(given)} class_weights, but there are {count} classes")
        if isinstance(given, dict) and not all(0 <= c < count for c in given):
            raise ValueError(
                f"class_weights are for classes {sorted(given)}, but there are {count} classes, "
                f"from 0 to {count - 1}"
            )
        return shape

    def look_at(self, t: Array) -> None:
        """Find the weights that balance the classes, if they shall be balanced."""
        if self.class_weights != "balanced":
            return
        assert self.shape_in is not None
        xp, classes = array_namespace(t), range(self.shape_in[-1])
        if xp.isdtype(t.dtype, "integral"):
            each = [float(xp.sum(xp.astype(t == c, xp.float32))) for c in classes]
        else:
            each = [float(xp.sum(t[..., c])) for c in classes]
        # The weight of a class without samples is never asked for.
        balanced = tuple(sum(each) / (len(each) * n) if n else 1.0 for n in each)
        if balanced != self.balanced:
            self.balanced = balanced
            self.mark_changed()

    def _described(self, writer: Writer) -> dict[str, Any]:
        config = super()._described(writer)
        return config if self.balanced is None else {**config, "balanced": list(self.balanced)}

    @classmethod
    def _restored(cls, config: dict[str, Any], reader: Reader) -> Any:
        config = dict(config)
        balanced = _class_weights(config.pop("balanced", None))
        loss = super()._restored(config, reader)
        count = None if loss.shape_in is None else loss.shape_in[-1]
        if isinstance(balanced, tuple) and len(balanced) == count:
            loss.balanced = balanced
        elif balanced is not None:
            raise ValueError(f"{balanced!r:.200} cannot balance {count} classes")
        return loss

    def weights_of(self, count: int) -> tuple[float, ...] | None:
        """Return the weights of so many classes; None if all count alike."""
        given = self.class_weights
        if isinstance(given, dict):
            return tuple(given.get(c, 1.0) for c in range(count))
        if isinstance(given, str):
            if self.balanced is None:
                raise ValueError(
                    "class_weights='balanced' are made of all targets, which only fit knows: give "
                    "numbers, such as len(t) / (classes * np.bincount(t))"
                )
            return self.balanced
        return given

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
        weights = self.weights_of(t.shape[-1])
        if weights is None:
            return t
        xp = array_namespace(t)
        return t * xp.concat([xp.full((1,), w, dtype=t.dtype, device=device(t)) for w in weights])

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
    needs = "fractions"

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


def _class_weights(given: Any) -> tuple[float, ...] | dict[int, float] | str | None:
    """Return the weights of classes as they were given, each looked at."""
    if given is None or (isinstance(given, str) and given == "balanced"):
        return given
    if isinstance(given, Mapping):
        classes = [checked.integer(c, "a class of class_weights") for c in given]
        numbers = [checked.not_negative(w, "class_weights") for w in given.values()]
        return dict(zip(classes, numbers, strict=True))
    try:
        if isinstance(given, (str, bytes, Set)):
            raise TypeError
        found = tuple(given)
    except TypeError:
        raise TypeError(
            "class_weights must be a number for each class, a dict of classes and numbers, or "
            f"'balanced', not {checked.shown(given)}"
        ) from None
    return tuple(checked.not_negative(w, "class_weights") for w in found)


def _farther(least: float, most: float) -> float:
    """Return which of the two is farther from 1."""
    return least if 1.0 - least > most - 1.0 else most
