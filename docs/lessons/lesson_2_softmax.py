r"""
2. Softmax and cross-entropy
============================

A network that chooses among classes ends with a number for each of them, :math:`x_1, x_2, \dots`,
of any size and sign. Softmax makes probabilities of them: it takes the exponential, which is
positive and grows with its argument, and divides by the sum:

.. math::

    y_n = \frac{e^{x_n}}{\sum_k e^{x_k}}

The index :math:`n` counts outputs here, and :math:`k` inputs; each sum is over all inputs.
"""

# %%
# The derivative, in two cases
# ----------------------------
# Every output depends on every input: on one through the numerator and the sum, on all others
# through the sum alone. By the quotient rule, with :math:`s = \sum_k e^{x_k}`, whose derivative with
# respect to :math:`x_k` is :math:`e^{x_k}`:
#
# **n equals k.** The numerator is differentiated, too:
#
# .. math::
#
#     \frac{\partial y_n}{\partial x_k}
#     = \frac{e^{x_n} s - e^{x_n} e^{x_k}}{s^2}
#     = \frac{e^{x_n}}{s} \Big( 1 - \frac{e^{x_k}}{s} \Big)
#     = y_n (1 - y_k)
#
# **n does not equal k.** The numerator is a constant, whose derivative is 0:
#
# .. math::
#
#     \frac{\partial y_n}{\partial x_k}
#     = \frac{0 \cdot s - e^{x_n} e^{x_k}}{s^2}
#     = \frac{e^{x_n}}{s} \Big( 0 - \frac{e^{x_k}}{s} \Big)
#     = y_n (0 - y_k)
#
# The two differ in one digit only, which is 1 if the indices are equal and 0 if they are not, as in
# an identity matrix. That is how the library writes it:
#
# .. literalinclude:: /../npnn/layers/activations.py
#    :pyobject: Softmax.jacobian
#
# The matrix is compared with slopes that SciPy measures.

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import approx_fprime

import npnn
from npnn.plots import style

softmax = npnn.Softmax()
x = np.array([1.0, -0.5, 2.0])
derived = softmax.jacobian(x)
measured = approx_fprime(x, softmax.forward)
print(derived.round(4))
np.testing.assert_allclose(derived, measured, atol=1e-6)
y = softmax.forward(x)
for n in range(3):
    for k in range(3):
        case = y[n] * (1.0 - y[k]) if n == k else y[n] * (0.0 - y[k])
        np.testing.assert_allclose(derived[n, k], case, rtol=1e-12)

# %%
# Without the matrix
# ------------------
# In training a gradient :math:`g_n = \partial L / \partial y_n` comes in, and
# :math:`\partial L / \partial x_k` goes out. The chain rule sums over all outputs, and the digit that
# is 1 or 0 leaves a single term of the first sum:
#
# .. math::
#
#     \frac{\partial L}{\partial x_k}
#     = \sum_n g_n \, y_n \big( [n = k] - y_k \big)
#     = g_k y_k - y_k \sum_n g_n y_n
#     = y_k \Big( g_k - \sum_n g_n y_n \Big)
#
# .. literalinclude:: /../npnn/layers/activations.py
#    :pyobject: Softmax.backward

g = np.array([0.3, -1.2, 0.7])
softmax.forward(x)
np.testing.assert_allclose(softmax.backward(g), g @ derived, atol=1e-12)
print("backward gives what the product with the matrix gives:", softmax.backward(g).round(4))

# %%
# Exponentials overflow: that of 1000 is no number that a computer has. But a constant that is taken
# from all inputs cancels in the quotient, so the library takes the largest one, and the exponentials
# are 1 at most:
#
# .. literalinclude:: /../npnn/layers/activations.py
#    :pyobject: Softmax.forward

np.testing.assert_allclose(softmax.forward(x + 1000.0), y, rtol=1e-12)

# %%
# Cross-entropy
# -------------
# The right class is told by targets that are 1 for it and 0 for all others. The loss is the surprise
# at it: the smaller its probability was, the larger is
#
# .. math:: L = -\sum_n t_n \ln y_n, \qquad \frac{\partial L}{\partial y_n} = -\frac{t_n}{y_n}
#
# Put into the derivative of Softmax, the quotients cancel, since :math:`\sum_n t_n = 1`:
#
# .. math::
#
#     \frac{\partial L}{\partial x_k}
#     = y_k \Big( -\frac{t_k}{y_k} + \sum_n \frac{t_n}{y_n} y_n \Big)
#     = y_k - t_k
#
# What is left is the miss, as for a line with squares. The library uses this short form where
# Softmax comes before the loss, and takes the loss itself from the inputs of Softmax, so that no
# logarithm of zero can occur:
#
# .. literalinclude:: /../npnn/losses/cross_entropy.py
#    :pyobject: CrossEntropyLoss.canonical_value
#
# .. literalinclude:: /../npnn/losses/cross_entropy.py
#    :pyobject: CrossEntropyLoss.canonical_derivative

loss, t = npnn.CrossEntropyLoss(3), np.array([0.0, 0.0, 1.0])


def loss_of(x):
    """Return the loss of the inputs of Softmax, from the definition."""
    return loss.value(npnn.Softmax().forward(x), t).sum()


np.testing.assert_allclose(loss.canonical_value(x, y, t).sum(), loss_of(x), rtol=1e-12)
the_long_way = softmax.backward(loss.derivative(softmax.forward(x), t))
np.testing.assert_allclose(the_long_way, y - t, atol=1e-12)
np.testing.assert_allclose(loss.canonical_derivative(y, t), y - t, atol=1e-12)
np.testing.assert_allclose(approx_fprime(x, loss_of), y - t, atol=1e-6)
print("y - t is", (y - t).round(4))

# %%
# To the left three probabilities while one input grows, to the right the loss of the class of that
# input, and its derivative: as good as -1 while the class is thought impossible, and near 0 when it
# is thought certain.

grid = np.linspace(-6.0, 8.0, 300)
inputs = np.stack([grid, np.zeros_like(grid), np.ones_like(grid)], axis=-1)
probabilities, first = softmax.forward(inputs), np.array([1.0, 0.0, 0.0])
figure = Figure(figsize=(9.0, 3.4), layout="constrained")
left, right = figure.subplots(1, 2)
for n in range(3):
    left.plot(grid, probabilities[:, n], color=style.PALETTE[n], label=f"y{n + 1}")
right.plot(grid, loss.canonical_value(inputs, probabilities, first).sum(axis=-1), label="loss")
right.plot(grid, (probabilities - first)[:, 0], label="derivative")
for axes in (left, right):
    axes.legend(frameon=False)
    style.plain(axes, "x1, beside x2 = 0 and x3 = 1", "")

# %%
# Exercise
# --------
# With two classes, show that Softmax is the logistic function of the difference of its inputs,
# :math:`y_1 = \sigma(x_1 - x_2)`, and that the two cases above become
# :math:`\sigma' = \sigma (1 - \sigma)`.
#
# .. solution:: softmax
