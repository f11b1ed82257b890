r"""
7. Convolution and pooling
==========================

A Dense layer has a weight for each pair of a pixel and an output, and must learn everywhere anew what
an edge is. A convolution learns it once: a small kernel of weights is laid on every place of the
image, and each place gives an output,

.. math:: y_{hw} = b + \sum_{i, j} w_{ij} \, x_{h + i, \, w + j}

here for one channel, and without stride or padding.
"""

# %%
# The derivative
# --------------
# The weight :math:`w_{ij}` is used at all places, each time with another pixel; so all of them count:
#
# .. math::
#
#     \frac{\partial L}{\partial w_{ij}} = \sum_{h, w} G_{hw} \, x_{h + i, \, w + j}, \qquad
#     \frac{\partial L}{\partial b} = \sum_{h, w} G_{hw}
#
# which is a convolution itself: the gradient :math:`G` laid upon the image. A pixel
# :math:`x_{pq}` was seen from every place :math:`(h, w)` with :math:`h + i = p` and
# :math:`w + j = q`:
#
# .. math::
#
#     \frac{\partial L}{\partial x_{pq}} = \sum_{i, j} G_{p - i, \, q - j} \, w_{ij}
#
# where :math:`G` counts as 0 outside its borders. In the library the pixels under each kernel lie in
# the rows of a matrix, so that both are products of matrices. One gradient for each weight of the
# kernel is added to the pixels that it lay on:
#
# .. literalinclude:: /../npnn/layers/convolution.py
#    :pyobject: Conv2D.backward
#
# The oracles are SciPy's correlation and convolution, and measured slopes.

import numpy as np
from scipy.optimize import approx_fprime
from scipy.signal import convolve2d, correlate2d

import npnn
from npnn import plots
from npnn.datasets import FourSteppedIcons

rng = np.random.default_rng(0)
layer = npnn.Conv2D((6, 7, 1), 1, kernel_size=3)
layer.build((6, 7, 1), rng)
x, G = rng.normal(size=(6, 7)), rng.normal(size=(4, 5))
w = np.array(layer.w, np.float64)
layer.w, layer.b = w, np.array([0.25])
y = layer.forward(x[None, :, :, None])[0, :, :, 0]
grad_x = layer.backward(G[None, :, :, None])[0, :, :, 0]
kernel = w[0, :, :, 0]
np.testing.assert_allclose(y, correlate2d(x, kernel, mode="valid") + 0.25, atol=1e-9)
np.testing.assert_allclose(layer.grad_w[0, :, :, 0], correlate2d(x, G, mode="valid"), atol=1e-9)
np.testing.assert_allclose(layer.grad_b, G.sum(), rtol=1e-9)
np.testing.assert_allclose(grad_x, convolve2d(G, kernel, mode="full"), atol=1e-9)


def behind(x):
    """Return a loss of which G is the gradient."""
    return (G * layer.forward(x.reshape(1, 6, 7, 1))[0, :, :, 0]).sum()


np.testing.assert_allclose(grad_x.ravel(), approx_fprime(x.ravel(), behind), atol=1e-5)
print("outputs and all three gradients agree")

# %%
# Pooling
# -------
# After that one often wants to know only whether something was there, and not quite where. The largest
# of each window of 2x2 pixels is kept, and gets all of the gradient, since no other pixel would have
# changed it:
#
# .. math::
#
#     y_{hw} = \max_{i, j} x_{2h + i, \, 2w + j}, \qquad
#     \frac{\partial y_{hw}}{\partial x_{2h + i, \, 2w + j}}
#     = \begin{cases} 1 & \text{at the largest} \\ 0 & \text{elsewhere} \end{cases}
#
# A mean has the same derivative, a quarter, for each of its four pixels.
#
# .. literalinclude:: /../npnn/layers/pooling.py
#    :pyobject: MaxPool.backward
#
# .. literalinclude:: /../npnn/layers/pooling.py
#    :pyobject: AvgPool.backward

x, G = rng.normal(size=(4, 6)), rng.normal(size=(2, 3))
for pool in (npnn.MaxPool(2), npnn.AvgPool(2)):
    pool.build((4, 6, 1), rng)
    y = pool.forward(x[None, :, :, None])
    derived = pool.backward(G[None, :, :, None])

    def behind_pool(x, pool=pool):
        """Return a loss of which G is the gradient."""
        return (G * pool.forward(x.reshape(1, 4, 6, 1))[0, :, :, 0]).sum()

    measured = approx_fprime(x.ravel(), behind_pool)
    np.testing.assert_allclose(derived.ravel(), measured, atol=1e-5)
    print(type(pool).__name__, "gradient at", np.count_nonzero(derived), "of", x.size, "pixels")

# %%
# What kernels learn
# ------------------
# Four icons of 3x3 pixels at any place of 8x8 pixels. Eight kernels of 3x3 weights and the largest
# answer of each tell them apart, wherever they are. Above some images, below the kernels:

dataset = FourSteppedIcons(seed=0)
model = npnn.Sequential(
    [
        npnn.Conv2D((8, 8, 1), 8, kernel_size=3),
        npnn.LeakyReLU(),
        npnn.MaxPool(6),
        npnn.Dense(4),
        npnn.Softmax(),
    ],
    seed=0,
)
history = model.fit(dataset, optimizer=npnn.Adam(alpha=0.01), epochs=40, seed=0)
print(f"accuracy on images that were not trained on: {history['val_accuracy'][-1]:.3f}")
assert history["val_accuracy"][-1] > 0.9
some = [int((dataset.c_validation_data == c).argmax()) for c in range(4)]
icons = plots.images(dataset.x_validation_data[some], list(dataset.class_names), columns=4)
kernels = plots.images(np.asarray(model.parameters()["0.w"]), columns=8)

# %%
# Exercise
# --------
# An output of a second 3x3 convolution sees nine outputs of the first. How many pixels of the image
# does it see, and how many after :math:`n` such layers? Find it by a gradient: set :math:`G` to 1 at
# one place and count the pixels that get any.
#
# .. solution:: convolution
