"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

import math
from typing import Any

from npnn import checked
from npnn.arrays import Array, array_namespace
from npnn.optimizers.optimizer import Optimizer
from npnn.schedules import Rate


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
    :math:`\alpha_t = \alpha c / (1 - \beta_1^t)` and :math:`\epsilon_t = \epsilon c`. The mean v
    moves towards :math:`g^2` as :math:`v + (1 - \beta_2) (g^2 - v)`: where a square is too large
    for the dtype (g beyond 1e19 in float32, which `clip_value` prevents) the next step gives NaN,
    and no parameter that stands still.

    Parameters
    ----------
    alpha : float or callable, default 1e-3
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
        alpha: Rate = 1e-3,
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
        v = v + (1.0 - self.beta2) * (g * g - v)
        return p - rate * (m / (xp.sqrt(v) + epsilon)), m, v


class AdamW(Adam):
    r"""Adam with the weight decay beside the gradient instead of inside it.

    .. math::

        \theta \leftarrow \theta - \alpha \lambda \theta

    and then the formula of :class:`Adam`.

    Parameters
    ----------
    alpha : float or callable, default 1e-3
        Learning rate.
    beta1, beta2 : float, default 0.9 and 0.999
        Memory of the two means.
    epsilon : float, default 1e-8
        Keeps the quotient finite.
    decay : float, default 1e-2
        :math:`\lambda`; `weight_decay`, which adds to the gradient, is Adam's.
    **options
        Those of :class:`Optimizer`.

    References
    ----------
    Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2.
    """

    def __init__(
        self,
        alpha: Rate = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        decay: float = 1e-2,
        **options: Any,
    ) -> None:
        if checked.not_negative(options.get("weight_decay", 0.0), "weight_decay"):
            raise TypeError(
                "AdamW's weight decay, which is no part of the gradient, is decay: write AdamW("
                f"decay={options['weight_decay']}); Adam(weight_decay=...) adds to the gradient"
            )
        super().__init__(alpha, beta1, beta2, epsilon, **options)
        self.decay = checked.not_negative(decay, "decay")

    def scalars(self) -> dict[str, float]:
        return {**super().scalars(), "keep": 1.0 - self.rate * self.decay}

    def update(  # type: ignore[override]
        self, p: Array, g: Array, m: Array, v: Array, *, rate: Array, epsilon: Array, keep: Array
    ) -> tuple[Array, ...]:
        return super().update(keep * p, g, m, v, rate=rate, epsilon=epsilon)
