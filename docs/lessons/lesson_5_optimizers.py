r"""
5. Optimizers
=============

An optimizer makes a step out of a gradient :math:`g`. The simplest takes it as it is,

.. math:: \theta \leftarrow \theta - \alpha g

and is slow in long narrow valleys: a learning rate that is small enough not to jump from wall to
wall is too small for the way along the floor. Momentum and Adam mend that in different ways.
"""

# %%
# Momentum: a heavy ball
# ----------------------
# The gradient pushes a velocity, which is what moves the parameters:
#
# .. math:: v \leftarrow \mu v + g, \qquad \theta \leftarrow \theta - \alpha v
#
# .. literalinclude:: /../npnn/optimizers/descent.py
#    :pyobject: SGD.update
#
# What does :math:`\mu` do? Where the gradient stays the same, the velocity is a geometric series,
#
# .. math:: v_n = g \, (1 + \mu + \dots + \mu^{n-1}) = g \, \frac{1 - \mu^n}{1 - \mu}
#
# so that :math:`\mu = 0.9` makes steps ten times as long in the end; where the gradient turns each
# time, from wall to wall, its terms cancel.

import numpy as np
from matplotlib.figure import Figure

import npnn
from npnn.plots import style

sgd = npnn.SGD(alpha=1.0, momentum=0.9)
p, v, g = np.zeros(1), np.zeros(1), np.array([0.5])
for n in range(1, 51):
    p, v = sgd.update(p, g, v, rate=0.1)
    np.testing.assert_allclose(v, g * (1.0 - 0.9**n) / (1.0 - 0.9), rtol=1e-12)
print(f"after 50 steps the velocity is {v[0] / g[0]:.2f} times the gradient")

# %%
# Adam: each parameter its own step
# ---------------------------------
# Adam keeps running means of the gradient and of its square, and divides one by the root of the
# other. A gradient that is always the same is divided by its own size, and the step is
# :math:`\alpha`, whether the gradient is a million or a millionth.
#
# .. math::
#
#     m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
#     v \leftarrow \beta_2 v + (1 - \beta_2) g^2
#
# Both start at zero, which is not what they are means of. What share of a mean have :math:`t` steps
# filled? If the gradient stays the same, the geometric series says
#
# .. math:: m_t = (1 - \beta_1) \, g \, (1 + \beta_1 + \dots + \beta_1^{t-1}) = g \, (1 - \beta_1^t)
#
# so each mean is divided by its share:
#
# .. math::
#
#     \theta \leftarrow \theta
#         - \alpha \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}
#
# The library has the two corrections in two numbers of each step, not in arrays. With
# :math:`c = \sqrt{1 - \beta_2^t}`, numerator and denominator are multiplied by :math:`c`:
#
# .. math::
#
#     \alpha \frac{m / (1 - \beta_1^t)}{\sqrt{v} / c + \epsilon}
#     = \frac{\alpha c}{1 - \beta_1^t} \cdot \frac{m}{\sqrt{v} + \epsilon c}
#
# .. literalinclude:: /../npnn/optimizers/adam.py
#    :pyobject: Adam.scalars
#
# .. literalinclude:: /../npnn/optimizers/adam.py
#    :pyobject: Adam.update

adam, rng = npnn.Adam(alpha=0.01), np.random.default_rng(0)
p = q = np.array([1.0, -2.0])
m = v = mean = square = np.zeros(2)
for t in range(1, 101):
    g = rng.normal(size=2) * [1e-3, 1e3]
    adam.steps = t
    p, m, v = adam.update(p, g, m, v, **adam.scalars())
    # The formula as the paper has it.
    mean = 0.9 * mean + 0.1 * g
    square = 0.999 * square + 0.001 * g**2
    q = q - 0.01 * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(p, q, rtol=1e-9)

m = v = np.zeros(2)
for t in range(1, 21):
    adam.steps, before = t, p
    p, m, v = adam.update(p, np.array([1e-3, 1e3]), m, v, **adam.scalars())
    np.testing.assert_allclose(before - p, 0.01, rtol=1e-4)
print("two gradients, a million times apart, and each step is", before - p)

# %%
# In a valley
# -----------
# The same valley, fifty times as steep across as along, and 60 steps of each optimizer. Plain descent
# has the largest rate at which it does not jump out.

STEEP = np.array([1.0, 50.0])
across, down = np.meshgrid(np.linspace(-5.5, 1.5, 200), np.linspace(-1.6, 1.6, 200))
figure = Figure(figsize=(7.0, 4.0), layout="constrained")
axes = figure.add_subplot()
axes.contour(
    across, down, 0.5 * (STEEP[0] * across**2 + STEEP[1] * down**2),
    levels=12, colors="#D0D0D0", linewidths=0.8,
)  # fmt: skip
ends = {}
for number, optimizer in enumerate(
    (npnn.GradientDescent(0.037), npnn.SGD(0.01, momentum=0.9), npnn.Adam(0.2))
):
    p, moments, path = np.array([-5.0, 1.2]), [np.zeros(2)] * len(optimizer.moments), []
    for step in range(1, 61):
        path.append(p)
        optimizer.steps = step
        p, *moments = optimizer.update(p, STEEP * p, *moments, **optimizer.scalars())
    ends[type(optimizer).__name__] = float(np.linalg.norm(p))
    axes.plot(
        *np.array(path).T, ".-", color=style.PALETTE[number], label=type(optimizer).__name__,
        linewidth=1, markersize=5,
    )  # fmt: skip
axes.legend(frameon=False)
style.plain(axes, "along", "across", grid=False)
print("distance from the lowest point:", {name: round(end, 3) for name, end in ends.items()})

# %%
# Exercise
# --------
# In a valley :math:`\tfrac{1}{2} \lambda \theta^2` plain descent multiplies :math:`\theta` by the
# same number in each step. Which one, and at which :math:`\alpha` does it begin to jump out? Why was
# the rate above 0.037?
#
# .. solution:: optimizers
