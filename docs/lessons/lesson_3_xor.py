r"""
3. Exclusive or, in both ways
=============================

Exclusive or is 1 where exactly one of two inputs is 1. No straight line parts the plane so that the
corners :math:`(0, 0)` and :math:`(1, 1)` are on one side of it and the other two on the other, so a
single neuron cannot learn it. A hidden layer can.
"""

# %%
# Why one neuron cannot
# ---------------------
# A neuron decides by the sign of :math:`x_1 w_1 + x_2 w_2 + b`. For the four corners that would have
# to be
#
# .. math:: b < 0, \qquad w_1 + b > 0, \qquad w_2 + b > 0, \qquad w_1 + w_2 + b < 0.
#
# The two in the middle add up to :math:`w_1 + w_2 + 2b > 0`, the two outer ones to
# :math:`w_1 + w_2 + 2b < 0`. That cannot both be; and training shows it.

import numpy as np
from scipy.optimize import approx_fprime

import npnn
from npnn import plots
from npnn.datasets import XORBinClasses, XORTwoClasses

dataset = XORBinClasses(seed=0)
line = npnn.Sequential([npnn.Dense(2, 1), npnn.Sigmoid()], seed=0)
history = line.fit(dataset, optimizer=npnn.Adam(alpha=0.05), epochs=60, seed=0)
print("accuracy of a line:", history["val_accuracy"][-1])
assert history["val_accuracy"][-1] < 0.8

# %%
# One output: Sigmoid and binary cross-entropy
# --------------------------------------------
# The probability of "different" is a single output :math:`y = \sigma(x)`, with
#
# .. math::
#
#     L = -t \ln y - (1 - t) \ln (1 - y), \qquad
#     \frac{\partial L}{\partial x}
#     = \Big( \frac{1 - t}{1 - y} - \frac{t}{y} \Big) \, y (1 - y)
#     = (1 - t) y - t (1 - y) = y - t
#
# .. literalinclude:: /../npnn/layers/activations.py
#    :pyobject: Sigmoid.backward
#
# .. literalinclude:: /../npnn/losses/cross_entropy.py
#    :pyobject: BinaryCrossEntropyLoss.derivative

sigmoid, binary = npnn.Sigmoid(), npnn.BinaryCrossEntropyLoss(1)
x, t = np.array([0.7]), np.array([1.0])
y = sigmoid.forward(x)
np.testing.assert_allclose(sigmoid.backward(binary.derivative(y, t)), y - t, rtol=1e-12)
measured = approx_fprime(x, lambda x: binary.value(npnn.Sigmoid().forward(x), t).sum())
np.testing.assert_allclose(measured, y - t, atol=1e-6)
np.testing.assert_allclose(binary.canonical_value(x, y, t), binary.value(y, t), rtol=1e-12)

# %%
# The slope of the hidden layers' LeakyReLU is 1 to the right of zero and small to the left, so that
# a unit that is off still learns:
#
# .. literalinclude:: /../npnn/layers/activations.py
#    :pyobject: LeakyReLU.backward

leaky, points = npnn.LeakyReLU(), np.array([-2.0, -0.1, 0.2, 3.0])
leaky.forward(points)
slopes = approx_fprime(points, npnn.LeakyReLU().forward).diagonal()
np.testing.assert_allclose(leaky.backward(np.ones(4)), slopes, atol=1e-6)

one_output = npnn.Sequential(seed=1)
one_output.layers = [
    npnn.Dense(2, 4),
    npnn.LeakyReLU(4),
    npnn.Dense(4, 4),
    npnn.LeakyReLU(4),
    npnn.Dense(4, 1),
    npnn.Sigmoid(1),
]
loss_layer = npnn.loss_layer.BinaryCrossEntropyLoss(1)
optimizer = npnn.optimizer.Adam(alpha=5e-3)
optimizer.norm = dataset.norm
optimizer.model = one_output
optimizer.model.chain = loss_layer
for _ in range(1500):
    optimizer.step(*dataset.get_train_batch()[:2])
result = one_output.evaluate(dataset.x_validation_data, dataset.y_validation_data)
print("one output:", result)
assert result["accuracy"] > 0.99
figure = plots.decision_boundary(one_output, dataset.x_validation_data, dataset.c_validation_data)

# %%
# Two outputs: Softmax and cross-entropy
# --------------------------------------
# The same with an output for each class, as the page before derived it.

dataset = XORTwoClasses(seed=0)
two_outputs = npnn.Sequential(seed=1)
two_outputs.layers = [
    npnn.Dense(2, 4),
    npnn.LeakyReLU(4),
    npnn.Dense(4, 4),
    npnn.LeakyReLU(4),
    npnn.Dense(4, 2),
    npnn.Softmax(2),
]
loss_layer = npnn.loss_layer.CrossEntropyLoss(2)
optimizer = npnn.optimizer.Adam(alpha=1e-2)
optimizer.norm = dataset.norm
optimizer.model = two_outputs
optimizer.model.chain = loss_layer
for _ in range(1500):
    optimizer.step(*dataset.get_train_batch()[:2])
result = two_outputs.evaluate(dataset.x_validation_data, dataset.y_validation_data)
print("two outputs:", result)
assert result["accuracy"] > 0.99
figure_of_two = plots.decision_boundary(
    two_outputs, dataset.x_validation_data, dataset.c_validation_data
)

# %%
# Exercise
# --------
# Find weights by hand: two rectifiers in the hidden layer are enough. (Add the inputs up; what must
# happen to the sum between 1 and 2?)
#
# .. solution:: xor
