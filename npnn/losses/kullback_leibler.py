"""The loss that draws a code towards the unit gaussian."""

from __future__ import annotations

from npnn import checked
from npnn.arrays import Array, Shape, array_namespace
from npnn.layers.latent import at_least_tiny
from npnn.losses.loss import LossLayer


class KullbackLeiblerLoss(LossLayer):
    r"""How far gaussians are from the unit gaussian: the penalty on the code of an autoencoder.

    .. math::

        L = \frac{\beta}{\mathrm{batch}} \sum_{\mathrm{batch}} \sum_n \tfrac{1}{2}
            \big( \mu_n^2 + \sigma_n^2 - \ln \sigma_n^2 - 1 \big), \qquad
        \frac{d\,\mathrm{value}}{d\mu} = \beta \mu, \qquad
        \frac{d\,\mathrm{value}}{d\sigma^2} = \frac{\beta}{2} \frac{\sigma^2 - 1}{\sigma^2}

    of outputs :math:`y = (\mu, \sigma^2)`, joined along the last axis. It needs no targets, and
    stands between two models::

        encoder.chain = kl
        kl.chain = decoder
        decoder.chain = RMSLoss()

    where the encoder ends with ``Latent``, and the decoder begins with ``Sample``. A variance that
    was rounded to 0 counts as the smallest normal number of its dtype.

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

    needs = "gaussians"
    needs_targets = False

    def __init__(self, shape_in: int | Shape | None = None, beta: float = 1.0) -> None:
        super().__init__(shape_in)
        self.beta = checked.not_negative(beta, "beta")
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
        return self.beta * xp.concat([mean, 0.5 * (variance - 1.0) / variance], axis=-1)


def _halves(y: Array) -> tuple[Array, Array]:
    half = y.shape[-1] // 2
    return y[..., :half], at_least_tiny(y[..., half:])
