"""The middle of a variational autoencoder: a gaussian for each sample, and a draw from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from npnn.arrays import Array, Shape, array_namespace, as_array_shape
from npnn.layers.activations import Softplus
from npnn.layers.composite import Parallel
from npnn.layers.dense import Dense
from npnn.layers.layer import Layer
from npnn.layers.weighted import both_shapes, look_at_shapes

if TYPE_CHECKING:
    import numpy as np


class Latent(Parallel):
    r"""Two heads of a Dense layer each: the means and the variances of n gaussians.

    .. math::

        y = (\mu, \sigma^2), \qquad \mu = x w_0 + b_0, \qquad
        \sigma^2 = \ln(1 + e^{x w_1 + b_1})

    with the derivatives of Dense and Softplus.

    Parameters
    ----------
    shape_in : int or tuple of int, optional
        Shape of one input sample, flattened if it has several axes; inferred if None.
    shape_out : int
        Means and variances together, 2 n: what comes out, as of any layer; ``Latent(4)`` is
        ``Latent(None, 4)``.

    Raises
    ------
    TypeError
        If `shape_out` is missing.
    ValueError
        If `shape_out` is odd.

    References
    ----------
    Kingma and Welling 2013, "Auto-encoding variational Bayes", section 3.
    """

    gives = "gaussians"
    _look_at: ClassVar[Any] = classmethod(look_at_shapes)

    def __init__(
        self, shape_in: int | Shape | None = None, shape_out: int | Shape | None = None
    ) -> None:
        shape_in, shape_out = both_shapes(type(self).__name__, shape_in, shape_out)
        outputs = as_array_shape(shape_out, "shape_out")
        half = _half(outputs)
        super().__init__([Dense(None, half), [Dense(None, half), Softplus()]], shape_in)
        self.shape_out = outputs

    __repr__ = Layer.__repr__


class Sample(Layer):
    r"""A draw from the gaussians that come in; outside training their means.

    .. math::

        z = \mu + \sigma e, \qquad x = (\mu, \sigma^2), \qquad e \sim \mathcal{N}(0, 1), \qquad
        \frac{\partial z}{\partial \mu} = 1, \qquad
        \frac{\partial z}{\partial \sigma^2} = \frac{e}{2 \sigma}

    The noise e comes from outside, so that the draw has a derivative.

    Parameters
    ----------
    shape_in : int or tuple of int, optional
        Shape of one sample, means and variances joined along the last axis; inferred if None.

    Raises
    ------
    ValueError
        If the last axis is odd.

    References
    ----------
    Kingma and Welling 2013, "Auto-encoding variational Bayes", section 2.4.
    """

    gives = "numbers"
    noise = "normal"

    def __init__(self, shape_in: int | Shape | None = None) -> None:
        self.shape_in = None if shape_in is None else as_array_shape(shape_in, "shape_in")

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        shape = self.accept(shape_in)
        self.shape_in, self.shape_out = shape, _half(shape)
        return self.shape_out

    @property
    def noise_shape(self) -> Shape:
        assert self.shape_out is not None
        return self.shape_out

    def forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        half = x.shape[-1] // 2
        mean, variance = x[..., :half], x[..., half:]
        if not self.training:
            self.slope = xp.zeros_like(mean)
            return mean
        deviation = xp.sqrt(at_least_tiny(variance))
        self.slope = 0.5 * self.random / deviation
        return mean + deviation * self.random

    def backward(self, grad_y: Array) -> Array:
        return array_namespace(grad_y).concat([grad_y, grad_y * self.slope], axis=-1)


def at_least_tiny(variance: Array) -> Array:
    """Return variances of which none is 0, as one may be rounded to, and all have a logarithm."""
    xp = array_namespace(variance)
    return xp.maximum(variance, float(xp.finfo(variance.dtype).smallest_normal))


def _half(shape: Shape) -> Shape:
    if shape[-1] % 2:
        raise ValueError(
            f"as many means as variances make an even last axis, such as {shape[-1] + 1}, "
            f"not {shape[-1]}"
        )
    return (*shape[:-1], shape[-1] // 2)
