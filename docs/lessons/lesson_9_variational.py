r"""
9. Variational autoencoder
==========================

Between the codes of an autoencoder are gaps, from which the decoder paints nothing that makes sense.
A variational autoencoder has none: the encoder gives a gaussian for each sample, with a mean
:math:`\mu` and a variance :math:`\sigma^2`, the decoder is trained on points that are drawn from it,
and a penalty draws all gaussians towards the one of mean 0 and variance 1. Neighbours must then look
alike, and the plane is filled.
"""

# %%
# How far a gaussian is from the unit gaussian
# --------------------------------------------
# Their divergence, after Kullback and Leibler, is the mean over :math:`z \sim q` of
# :math:`\ln q(z) - \ln p(z)`, with
#
# .. math::
#
#     \ln q(z) = -\tfrac{1}{2} \ln 2 \pi \sigma^2 - \frac{(z - \mu)^2}{2 \sigma^2}, \qquad
#     \ln p(z) = -\tfrac{1}{2} \ln 2 \pi - \frac{z^2}{2}
#
# The mean of :math:`(z - \mu)^2` is :math:`\sigma^2`, and that of :math:`z^2` is
# :math:`\mu^2 + \sigma^2`, so that
#
# .. math::
#
#     D = -\tfrac{1}{2} \ln \sigma^2 - \tfrac{1}{2} + \tfrac{1}{2} (\mu^2 + \sigma^2)
#       = \tfrac{1}{2} \big( \mu^2 + \sigma^2 - \ln \sigma^2 - 1 \big)
#
# .. math::
#
#     \frac{\partial D}{\partial \mu} = \mu, \qquad
#     \frac{\partial D}{\partial \sigma^2} = \tfrac{1}{2} \Big( 1 - \frac{1}{\sigma^2} \Big)
#
# It is 0 where :math:`\mu = 0` and :math:`\sigma^2 = 1`. The library has mean and variance behind
# each other in one array:
#
# .. literalinclude:: /../npnn/losses/kullback_leibler.py
#    :pyobject: KullbackLeiblerLoss.value
#
# .. literalinclude:: /../npnn/losses/kullback_leibler.py
#    :pyobject: KullbackLeiblerLoss.derivative
#
# The formula is compared with the integral that it stands for, and the derivative with slopes:

import numpy as np
from scipy.integrate import quad
from scipy.optimize import approx_fprime
from scipy.stats import norm

import npnn
from npnn import plots
from npnn.datasets import FourSmallIcons
from npnn.layers import Flatten, Latent, Sample, Shape

divergence = npnn.KullbackLeiblerLoss(2)
for mean, variance in ((0.0, 1.0), (1.5, 0.3), (-0.4, 2.0)):
    y = np.array([mean, variance])
    q, p = norm(mean, np.sqrt(variance)), norm()
    integral, _ = quad(lambda z, q=q, p=p: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -15.0, 15.0)
    found = divergence.value(y, y).sum()
    np.testing.assert_allclose(found, integral, atol=1e-7)
    slopes = approx_fprime(y, lambda y: divergence.value(y, y).sum())
    np.testing.assert_allclose(divergence.derivative(y, y), slopes, atol=1e-6)
    print(f"mean {mean:4}, variance {variance}: divergence {found:.4f}")

# %%
# A draw that has a derivative
# ----------------------------
# How would a random number move if the mean moved? Draw it so that the chance comes from elsewhere:
#
# .. math::
#
#     z = \mu + \sigma e, \qquad e \sim \mathcal{N}(0, 1), \qquad
#     \frac{\partial z}{\partial \mu} = 1, \qquad
#     \frac{\partial z}{\partial \sigma^2} = \frac{e}{2 \sigma}
#
# since :math:`\sigma = \sqrt{\sigma^2}` has the derivative :math:`1 / (2 \sigma)`.
#
# .. literalinclude:: /../npnn/layers/latent.py
#    :pyobject: Sample.forward
#
# .. literalinclude:: /../npnn/layers/latent.py
#    :pyobject: Sample.backward

rng = np.random.default_rng(0)
sample, y, G = Sample(4), np.array([[0.3, -1.0, 0.5, 2.0]]), np.array([[1.0, -0.7]])
sample.build(4, rng)
sample.training, sample.random = True, rng.normal(size=(1, 2))
z = sample.forward(y)
np.testing.assert_allclose(z, y[:, :2] + np.sqrt(y[:, 2:]) * sample.random, rtol=1e-9)
derived = sample.backward(G)
measured = approx_fprime(y[0], lambda y: (G * sample.forward(y[None])).sum())
np.testing.assert_allclose(derived[0], measured, atol=1e-6)

# %%
# A variance must be positive, whatever the layer before it gives. Softplus makes it so:
#
# .. math:: \sigma^2 = \ln (1 + e^x), \qquad \frac{d \sigma^2}{dx} = \frac{e^x}{1 + e^x}
#
# .. literalinclude:: /../npnn/layers/activations.py
#    :pyobject: Softplus

softplus, points = npnn.Softplus(), np.array([-3.0, 0.0, 0.4, 5.0])
np.testing.assert_allclose(softplus.forward(points), np.log(1.0 + np.exp(points)))
slopes = approx_fprime(points, npnn.Softplus().forward).diagonal()
np.testing.assert_allclose(softplus.backward(np.ones(4)), slopes, atol=1e-6)

# %%
# A plane of icons
# ----------------
# The divergence stands between encoder and decoder. What it wants of the gaussians, and what the
# decoder wants of them, is added up on the way back.

dataset = FourSmallIcons(seed=0, noise=0.1)
clean = FourSmallIcons(num_data=4, noise=0.0).x_data[dataset.c_train_data]
encoder = npnn.Sequential([Flatten((3, 3, 1)), npnn.Dense(32), npnn.Tanh(), Latent(4)], seed=0)
decoder = npnn.Sequential(
    [Sample(4), npnn.Dense(32), npnn.Tanh(), npnn.Dense(9), Shape((3, 3, 1)), npnn.Sigmoid()],
    seed=1,
)
middle = npnn.KullbackLeiblerLoss(beta=0.3)
encoder.chain, middle.chain, decoder.chain = middle, decoder, npnn.BinaryCrossEntropyLoss()
history = encoder.fit(
    dataset.x_train_data, clean, optimizer=npnn.Adam(alpha=5e-3), epochs=120, seed=0
)
first, second = history["loss_0"][-1], history["loss_1"][-1]
print(f"divergence {first:.3f}, surprise at the pixels {second:.3f}")
assert history["loss_1"][-1] < 2.5
gaussians = np.asarray(encoder.predict(dataset.x_validation_data))
figure = plots.codes(
    gaussians[:, :2], dataset.c_validation_data, class_names=list(dataset.class_names)
)

# %%
# Outside training Sample gives the mean, so that a grid of means is a grid of icons:

ticks = np.linspace(-2.0, 2.0, 11)
grid = np.array([(across, down, 1.0, 1.0) for down in ticks[::-1] for across in ticks])
plane = plots.images(np.asarray(decoder.predict(grid)), columns=11, limits=(0.0, 1.0))

# %%
# Exercise
# --------
# What does :math:`\beta`, the weight of the divergence, do? Say what you expect for 0 and for a large
# number, of the variances and of what is painted; then train both.
#
# .. solution:: variational
