"""Gradient descent, plain and with momentum."""

from __future__ import annotations

from typing import Any

from npnn import checked
from npnn.arrays import Array
from npnn.optimizers.optimizer import Optimizer
from npnn.schedules import Rate


class GradientDescent(Optimizer):
    r"""Plain gradient descent: :math:`\theta \leftarrow \theta - \alpha g`.

    Parameters
    ----------
    alpha : float or callable, default 1e-3
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
    alpha : float or callable, default 1e-3
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
        alpha: Rate = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(alpha, **options)
        self.momentum = checked.fraction(momentum, "momentum")
        self.nesterov = checked.flag(nesterov, "nesterov")

    def update(self, p: Array, g: Array, v: Array, *, rate: Array) -> tuple[Array, ...]:
        v = self.momentum * v + g
        step = g + self.momentum * v if self.nesterov else v
        return p - rate * step, v
