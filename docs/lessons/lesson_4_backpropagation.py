r"""
4. Backpropagation through Dense
================================

A layer of several neurons is a product of matrices. Row :math:`i` of :math:`x` is a sample, column
:math:`o` of :math:`w` a neuron, and

.. math:: y_{io} = \sum_j x_{ij} w_{jo} + b_o

A loss :math:`L` stands somewhere behind the layer. What comes back from there is
:math:`G_{io} = \partial L / \partial y_{io}`, as large as :math:`y`. From it the layer finds the
gradients of its parameters, and what it hands on to the layer before it. No layer needs to know more
of the others: that is all there is to backpropagation.
"""

# %%
# Three derivatives
# -----------------
# **The weights.** :math:`w_{jo}` stands in column :math:`o` of the outputs only, in each row, where
# it is multiplied by :math:`x_{ij}`:
#
# .. math::
#
#     \frac{\partial L}{\partial w_{jo}} = \sum_i G_{io} \, x_{ij}
#     \quad\Longleftrightarrow\quad \frac{\partial L}{\partial w} = x^T G
#
# **The bias.** It is added to each row:
#
# .. math:: \frac{\partial L}{\partial b_o} = \sum_i G_{io}
#
# **The inputs.** :math:`x_{ij}` is in row :math:`i` only, in each column, where it is multiplied by
# :math:`w_{jo}`:
#
# .. math::
#
#     \frac{\partial L}{\partial x_{ij}} = \sum_o G_{io} \, w_{jo}
#     \quad\Longleftrightarrow\quad \frac{\partial L}{\partial x} = G w^T
#
# Three lines of the library:
#
# .. literalinclude:: /../npnn/layers/dense.py
#    :pyobject: Dense.backward

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import approx_fprime

import npnn
from npnn.plots import style

rng = np.random.default_rng(0)
x, G = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
layer = npnn.Dense(3, 2)
npnn.Sequential([layer], dtype="float64", seed=0)
w, b = np.array(layer.w, np.float64), np.array(layer.b, np.float64)


def behind(x, w, b):
    """Return a loss of which G is the gradient: the sum of the outputs, weighed by it."""
    layer.w, layer.b = w.reshape(3, 2), b
    return (G * layer.forward(x.reshape(5, 3))).sum()


behind(x, w, b)
grad_x = layer.backward(G)
grad_w, grad_b = layer.grad_w, layer.grad_b
for name, derived, measured in (
    ("w", grad_w, approx_fprime(w.ravel(), lambda w: behind(x, w, b))),
    ("b", grad_b, approx_fprime(b, lambda b: behind(x, w, b))),
    ("x", grad_x, approx_fprime(x.ravel(), lambda x: behind(x, w, b))),
):
    error = np.abs(derived.ravel() - measured).max()
    print(f"d L / d {name}: differs from the measured slopes by {error:.1e}")
    assert error < 1e-5

# %%
# Through the whole network
# -------------------------
# Layer by layer, from the last to the first, each takes the gradient of its outputs and returns that
# of its inputs. Here by hand, through two layers and the hyperbolic tangent between them, of which
#
# .. math:: \frac{d \tanh x}{dx} = 1 - \tanh^2 x
#
# .. literalinclude:: /../npnn/layers/activations.py
#    :pyobject: Tanh.backward

layers = [npnn.Dense(3, 4), npnn.Tanh(), npnn.Dense(4, 2)]
npnn.Sequential(layers, dtype="float64", seed=0)
t = rng.normal(size=(5, 2))
loss = npnn.RMSLoss(2)


def through(x):
    """Return the loss of inputs that go through all layers."""
    for each in layers:
        x = each.forward(x)
    return loss.value(x, t).sum()


y = x
for each in layers:
    y = each.forward(y)
gradient = loss.derivative(y, t)
for each in reversed(layers):
    gradient = each.backward(gradient)
measured = approx_fprime(x.ravel(), lambda x: through(x.reshape(5, 3)))
np.testing.assert_allclose(gradient.ravel(), measured, atol=1e-5)

# %%
# The step of the library is no more than that, and an update. This is the whole of it:
#
# .. literalinclude:: /../npnn/step.py
#    :pyobject: train_step
#
# How far gradients come
# ----------------------
# The gradient is multiplied by a matrix and a derivative for each layer. If these make it smaller on
# the average, the first layers of a deep network learn nothing. The picture has the size of the
# gradient at each of 20 layers: of the logistic function, whose slope is 1/4 at most, nothing is
# left; with Tanh and initial weights of variance :math:`2 / (n_{in} + n_{out})` most of it arrives.

figure = Figure(figsize=(6.4, 3.6), layout="constrained")
axes = figure.add_subplot()
for number, kind in enumerate((npnn.Tanh, npnn.ReLU, npnn.Sigmoid)):
    chain = [part for _ in range(20) for part in (npnn.Dense(64, 64), kind())]
    drawn = npnn.Sequential(chain, seed=0, dtype="float64")
    y = rng.normal(size=(32, 64))
    for each in drawn.layers:
        y = each.forward(y)
    gradient, sizes = rng.normal(size=y.shape), []
    for each in reversed(drawn.layers):
        gradient = each.backward(gradient)
        if isinstance(each, npnn.Dense):
            sizes.append(np.sqrt((gradient**2).mean()))
    axes.semilogy(range(1, 21), sizes[::-1], color=style.PALETTE[number], label=kind.__name__)
axes.legend(frameon=False)
axes.set_xticks(range(1, 21))
style.plain(axes, "layer", "size of the gradient")

# %%
# Exercise
# --------
# The gradient of the weights needs the inputs, that of Tanh the outputs. So what is computed on the
# way forward must be kept until it is needed on the way back. How many numbers are that for a batch
# of 32 in the network of 20 layers above? Compare with what ``model.summary()`` says.
#
# .. solution:: backpropagation
