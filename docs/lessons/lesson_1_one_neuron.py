r"""
1. One neuron
=============

A neuron with one input weighs it, adds a number of its own, and that is its answer:

.. math::

    y = x w + b

To learn is to find the weight :math:`w` and the bias :math:`b` with which the answers are close to
given targets :math:`t`. Each miss is squared, so that large ones count more, and its half is taken,
so that no factor 2 is left in the derivative. Over a batch of :math:`N` samples,

.. math::

    L = \frac{1}{N} \sum_{i=1}^{N} \tfrac{1}{2} (y_i - t_i)^2
"""

# %%
# The derivative
# --------------
# By the chain rule the miss of each sample is multiplied by what the parameter was multiplied with:
#
# .. math::
#
#     \frac{\partial L}{\partial w}
#     = \frac{1}{N} \sum_i \frac{\partial L_i}{\partial y_i} \frac{\partial y_i}{\partial w}
#     = \frac{1}{N} \sum_i (y_i - t_i) \, x_i,
#     \qquad
#     \frac{\partial L}{\partial b} = \frac{1}{N} \sum_i (y_i - t_i)
#
# In the library the first factor is the affair of the loss,
#
# .. literalinclude:: /../npnn/losses/distances.py
#    :pyobject: RMSLoss.derivative
#
# and the second that of the layer, for all samples, inputs and outputs at once:
#
# .. literalinclude:: /../npnn/layers/dense.py
#    :pyobject: Dense.backward
#
# Both are called here by hand, and compared with a slope that SciPy measures: it moves the
# parameters a little, and looks how far the loss goes.

import numpy as np
from scipy.optimize import approx_fprime

import npnn
from npnn import plots

dataset = npnn.datasets.NoisyLinear(seed=0)
x = np.asarray(dataset.x_train_data, np.float64)
t = np.asarray(dataset.y_train_data, np.float64)

neuron = npnn.Dense(1, 1)
npnn.Sequential([neuron], dtype="float64", seed=0)
loss = npnn.RMSLoss(1)


def loss_of(parameters):
    """Return the mean loss for a weight and a bias."""
    neuron.w, neuron.b = parameters[:1].reshape(1, 1), parameters[1:]
    return loss.value(neuron.forward(x), t).mean()


start = np.array([0.4, -0.3])
loss_of(start)
neuron.backward(loss.derivative(neuron.forward(x), t) / len(x))
derived = np.concatenate([neuron.grad_w.ravel(), neuron.grad_b])
measured = approx_fprime(start, loss_of)
print("derived ", derived)
print("measured", measured)
np.testing.assert_allclose(derived, measured, rtol=1e-4)

# %%
# Downhill
# --------
# The gradient points uphill, so a step against it makes the loss smaller, if it is short enough:
#
# .. math:: w \leftarrow w - \alpha \frac{\partial L}{\partial w}
#
# with the learning rate :math:`\alpha`. ``fit`` takes such steps, one for each batch.

model = npnn.Sequential([npnn.Dense(1, 1)], seed=0)
history = model.fit(dataset, optimizer=npnn.GradientDescent(alpha=0.1), epochs=60, seed=0)
figure = plots.regression(model, dataset.x_validation_data, dataset.y_validation_data)

# %%
# A line has a closed form, too: the least squares of Gauss and Legendre. Both find the same one.

matrix = np.concatenate([model.norm(dataset.x_train_data), np.ones_like(x)], axis=1)
closed, *_ = np.linalg.lstsq(matrix, t, rcond=None)
found = [float(a.item()) for a in model.parameters().values()]
print("closed form:", closed.ravel(), "found:", found)
np.testing.assert_allclose(found, closed.ravel(), atol=0.03)

# %%
# Exercise
# --------
# With :math:`|y - t|` instead of the square, what is the derivative of the loss with respect to
# :math:`b`, and which number is a bias alone (without a weight) drawn to: the mean of the targets
# or their median? Guess, then find it with ``L1Loss``.
#
# .. solution:: one_neuron
