"""Losses that measure how far outputs are from numbers: a regression's."""

from __future__ import annotations

from npnn import checked
from npnn.arrays import Array, Shape, array_namespace
from npnn.layers.activations import Linear
from npnn.losses.loss import LossLayer


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
    power = 2

    def value(self, y: Array, t: Array) -> Array:
        return 0.5 * (y - t) * (y - t)

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

    power = 1

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

    power = 2

    def __init__(self, shape_in: int | Shape | None = None, delta: float = 1.0) -> None:
        super().__init__(shape_in)
        self.delta = checked.positive(delta, "delta")

    def value(self, y: Array, t: Array) -> Array:
        near = self.derivative(y, t)
        return near * (y - t - 0.5 * near)

    def derivative(self, y: Array, t: Array) -> Array:
        xp, delta = array_namespace(y), self.delta / self.target_scale
        return xp.minimum(xp.maximum(y - t, -delta), delta)
