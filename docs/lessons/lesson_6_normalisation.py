r"""
6. Normalisation
================

Each layer learns from what the layers before it give, and that changes while they learn. It is
easier where numbers keep a mean of 0 and a variance of 1. BatchNorm brings each channel there over
the samples of a batch, LayerNorm each sample over its channels:

.. math::

    \mu = \overline{x}, \qquad \sigma^2 = \overline{(x - \mu)^2} + \epsilon, \qquad
    \hat x = \frac{x - \mu}{\sigma}, \qquad y = \gamma \hat x + \beta

A bar is a mean over :math:`N` values: of a channel for one, of a sample for the other. Then
:math:`\gamma` and :math:`\beta`, which are learnt, can bring any other mean and variance back.
"""

# %%
# The derivative
# --------------
# Let :math:`g = \partial L / \partial \hat x`. Each :math:`\hat x_j` depends on :math:`x_i` in three
# ways: on itself if :math:`i = j`, on the mean, and on the variance. The mean moves by
# :math:`1/N` with each of its values. Of the variance, what the mean moves drops out, since
# :math:`\sum_j (x_j - \mu) = 0`:
#
# .. math::
#
#     \frac{\partial \mu}{\partial x_i} = \frac{1}{N}, \qquad
#     \frac{\partial \sigma^2}{\partial x_i} = \frac{2}{N} (x_i - \mu)
#     \quad\Longrightarrow\quad
#     \frac{\partial \sigma}{\partial x_i} = \frac{x_i - \mu}{N \sigma} = \frac{\hat x_i}{N}
#
# By the quotient rule
#
# .. math::
#
#     \frac{\partial \hat x_j}{\partial x_i}
#     = \frac{[i = j] - \frac{1}{N}}{\sigma} - \frac{x_j - \mu}{\sigma^2} \frac{\hat x_i}{N}
#     = \frac{1}{\sigma} \Big( [i = j] - \frac{1}{N} - \frac{\hat x_j \hat x_i}{N} \Big)
#
# and the sum over all outputs, each times its gradient, is made of two means:
#
# .. math::
#
#     \frac{\partial L}{\partial x_i}
#     = \sum_j g_j \frac{\partial \hat x_j}{\partial x_i}
#     = \frac{1}{\sigma} \Big( g_i - \overline{g} - \hat x_i \, \overline{g \hat x} \Big)
#
# It takes from a gradient what would only move all values alike, or only stretch them, since neither
# changes what comes out. For BatchNorm :math:`\gamma` is one number for all values of the mean, and
# stands before the bracket:
#
# .. literalinclude:: /../npnn/layers/normalizing.py
#    :pyobject: BatchNorm.backward
#
# For LayerNorm it differs from value to value, and is a factor of :math:`g`:
#
# .. literalinclude:: /../npnn/layers/normalizing.py
#    :pyobject: LayerNorm.backward

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import approx_fprime

import npnn
from npnn.plots import style

rng = np.random.default_rng(0)
x, G = rng.normal(2.0, 3.0, size=(6, 4)), rng.normal(size=(6, 4))
for layer in (npnn.BatchNorm(), npnn.LayerNorm()):
    layer.build(4, rng)
    layer.training = True
    layer.gamma, layer.beta = rng.uniform(0.5, 2.0, size=4), rng.normal(size=4)
    y = layer.forward(x)
    derived = layer.backward(G)
    grad_gamma = layer.grad_gamma
    axis = 0 if isinstance(layer, npnn.BatchNorm) else 1
    normal = (y - layer.beta) / layer.gamma
    np.testing.assert_allclose(normal.mean(axis=axis), 0.0, atol=1e-9)
    np.testing.assert_allclose(normal.var(axis=axis), 1.0, rtol=1e-4)

    def behind(x, layer=layer):
        """Return a loss of which G is the gradient."""
        return (G * layer.forward(x.reshape(6, 4))).sum()

    np.testing.assert_allclose(derived.ravel(), approx_fprime(x.ravel(), behind), atol=1e-5)
    np.testing.assert_allclose(grad_gamma, (G * normal).sum(axis=0), rtol=1e-6)
    # Nothing of the gradient is left that would move or stretch all values alike.
    inner = derived if axis else derived / layer.gamma
    np.testing.assert_allclose(inner.sum(axis=axis), 0.0, atol=1e-9)
    print(f"{type(layer).__name__}: the derivative agrees with measured slopes")

# %%
# Outside training
# ----------------
# A single sample has no batch, so BatchNorm keeps a running mean and variance, those of the batches
# that it saw, the later ones counting more. LayerNorm needs none: it does the same at all times.

batch_norm = npnn.BatchNorm(momentum=None)
batch_norm.build(4, rng)
batch_norm.training = True
batches = rng.normal(2.0, 3.0, size=(20, 32, 4))
for each in batches:
    batch_norm.forward(each)
np.testing.assert_allclose(batch_norm.running_mean, batches.mean(axis=(0, 1)), rtol=1e-5)
everything = batches.reshape(-1, 4)
np.testing.assert_allclose(batch_norm.running_variance, everything.var(axis=0, ddof=1), rtol=1e-5)

# %%
# Through a deep network
# ----------------------
# The standard deviation of what comes out of each of 20 rectified layers, whose initial weights are
# three times too small: without normalisation nothing is left, and with either one all of it.

figure = Figure(figsize=(6.4, 3.4), layout="constrained")
axes = figure.add_subplot()
for number, norm in enumerate((None, npnn.BatchNorm, npnn.LayerNorm)):
    h, spread = rng.normal(size=(64, 64)), []
    for _ in range(20):
        dense = npnn.Dense(64, 64)
        dense.build(64, rng)
        h = h @ (dense.w / 3.0)
        if norm is not None:
            each = norm()
            each.build(64, rng)
            each.training = True
            h = each.forward(h)
        h = np.maximum(h, 0.0)
        spread.append(h.std())
    name = "none" if norm is None else norm.__name__
    axes.semilogy(
        range(1, 21), spread, ("-", "-", "--")[number], color=style.PALETTE[number], label=name
    )
axes.legend(frameon=False)
axes.set_xticks(range(1, 21))
style.plain(axes, "layer", "standard deviation")

# %%
# Exercise
# --------
# A Dense layer stands before a BatchNorm. What gradient does its bias get, and why can it be left out
# (``Dense(64, bias=False)``)?
#
# .. solution:: normalisation
