"""Optimizers that divide a gradient by the root of its squares so far."""

from __future__ import annotations

from typing import Any

from npnn import checked
from npnn.arrays import Array, array_namespace
from npnn.optimizers.optimizer import Optimizer
from npnn.schedules import Rate


class RMSprop(Optimizer):
    r"""The gradient divided by the root of its running mean square.

    .. math::

        s \leftarrow \beta s + (1 - \beta) g^2, \qquad
        \theta \leftarrow \theta - \alpha \frac{g}{\sqrt{s} + \epsilon}

    Parameters
    ----------
    alpha : float or callable, default 1e-3
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
    squares = True

    def __init__(
        self, alpha: Rate = 1e-3, beta: float = 0.9, epsilon: float = 1e-8, **options: Any
    ) -> None:
        super().__init__(alpha, **options)
        self.beta = checked.fraction(beta, "beta")
        self.epsilon = checked.positive(epsilon, "epsilon")

    def update(self, p: Array, g: Array, s: Array, *, rate: Array) -> tuple[Array, ...]:
        xp = array_namespace(g)
        s = self.beta * s + (1.0 - self.beta) * (g * g)
        return p - rate * (g / (xp.sqrt(s) + self.epsilon)), s


class Adagrad(Optimizer):
    r"""The gradient divided by the root of the sum of all its squares so far.

    .. math::

        s \leftarrow s + g^2, \qquad
        \theta \leftarrow \theta - \alpha \frac{g}{\sqrt{s} + \epsilon}

    Parameters
    ----------
    alpha : float or callable, default 1e-2
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
    squares = True

    def __init__(self, alpha: Rate = 1e-2, epsilon: float = 1e-10, **options: Any) -> None:
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
    alpha : float or callable, default 1
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
    squares = True

    def __init__(
        self, alpha: Rate = 1.0, rho: float = 0.9, epsilon: float = 1e-6, **options: Any
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
