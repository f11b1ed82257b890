r"""
8. Autoencoder
==============

Nobody needs to say what is in an image for a network to learn from it. An autoencoder is asked to
paint what it is shown, through a narrow place: an encoder makes few numbers of many, the *code*, and
a decoder the many of the few,

.. math:: z = f(x), \qquad \hat x = g(z), \qquad L = \frac{1}{N} \sum_i \ell(\hat x_i, x_i)

The targets are the inputs. What gets through the narrow place must be what images have in common.
"""

# %%
# Two models in a chain
# ---------------------
# The gradient of the decoder's inputs is that of the encoder's outputs; so the two are trained as one
# network, by the chain rule alone:
#
# .. math::
#
#     \frac{\partial L}{\partial \theta_f}
#     = \frac{\partial L}{\partial \hat x} \,
#       \frac{\partial \hat x}{\partial z} \, \frac{\partial z}{\partial \theta_f}
#
# With linear layers and squares the best that can be done is known: for a code of :math:`k` numbers
# it is the projection on the :math:`k` directions in which the data spread most, the principal
# components, and the loss that is left is half the sum of the other variances,
#
# .. math:: L_{\min} = \frac{1}{2} \sum_{j > k} \lambda_j
#
# which are the eigenvalues of the covariance. Training must come there from above, and no farther.

import numpy as np

import npnn
from npnn import plots
from npnn.datasets import Digits

digits = Digits(seed=0)
x = digits.x_train_data / 16.0
centred = x - x.mean(axis=0)
spread = np.linalg.eigvalsh(np.cov(centred.T, bias=True))[::-1]
least = 0.5 * spread[2:].sum()

linear = npnn.Sequential([npnn.Dense(64, 2), npnn.Dense(2, 64)], seed=0)
history = linear.fit(
    centred, centred, epochs=60, batch_size=64, optimizer=npnn.Adam(alpha=3e-3), seed=0
)
left = linear.evaluate(centred, centred)["loss"]
print(f"a linear code of 2 numbers: {left:.4f}, the least there can be: {least:.4f}")
assert least * 0.9999 < left < 1.03 * least

# %%
# The gradient that comes through the chain, beside slopes that are measured at some weights of the
# encoder:

encoder, decoder = npnn.Dense(64, 2), npnn.Dense(2, 64)
loss, batch = npnn.RMSLoss(64), centred[:20].astype(np.float64)
npnn.Sequential([encoder, decoder], dtype="float64", seed=0)


def loss_of(entry, value):
    """Return the loss with one weight of the encoder changed."""
    kept, encoder.w[entry] = encoder.w[entry], value
    found = loss.value(decoder.forward(encoder.forward(batch)), batch).sum() / len(batch)
    encoder.w[entry] = kept
    return found


painted = decoder.forward(encoder.forward(batch))
encoder.backward(decoder.backward(loss.derivative(painted, batch) / len(batch)))
for entry in [(10, 0), (20, 1), (42, 0)]:
    here, h = encoder.w[entry], 1e-5
    measured = (loss_of(entry, here + h) - loss_of(entry, here - h)) / (2.0 * h)
    np.testing.assert_allclose(encoder.grad_w[entry], measured, atol=1e-7)

# %%
# Bent codes
# ----------
# Layers that are not linear can fold the digits into the plane better. Each point is a digit that was
# not trained on, at its code:

encoder = npnn.Sequential(
    [npnn.Dense(64, 128), npnn.ReLU(), npnn.Dense(128, 32), npnn.ReLU(), npnn.Dense(32, 2)], seed=0
)
decoder = npnn.Sequential(
    [npnn.Dense(2, 32), npnn.ReLU(), npnn.Dense(32, 128), npnn.ReLU(), npnn.Dense(128, 64)], seed=1
)
encoder.chain, decoder.chain = decoder, npnn.RMSLoss()
history = encoder.fit(x, x, epochs=120, batch_size=32, optimizer=npnn.Adam(alpha=2e-3), seed=0)
print(f"a bent code of 2 numbers: {history['loss'][-1]:.4f}")
assert history["loss"][-1] < 0.85 * least
seen = digits.x_validation_data / 16.0
codes = np.asarray(encoder.predict(seen))
figure = plots.codes(codes, digits.c_validation_data)

# %%
# Digits above, and what two numbers keep of them below:

ten = [int((digits.c_validation_data == c).argmax()) for c in range(10)]
shown = np.concatenate([seen[ten], np.asarray(decoder.predict(codes[ten]))]).reshape(20, 8, 8)
pairs = plots.images(shown, columns=10, limits=(0.0, 1.0))

# %%
# Exercise
# --------
# How many numbers must a linear code have to keep 90 % of the variance of the digits?
#
# .. solution:: autoencoder
