"""Looking inside a model: what its layers give, how the loss depends on it, a step in slow motion.

Nothing here changes a model: parameters, moments, running statistics, the state of its random
numbers and what it has recorded stay as they are. :mod:`npnn.plots` draws what is found.
"""

from npnn.inside.derivatives import activations, gradients, jacobian
from npnn.inside.distributions import Distribution, distributions, findings
from npnn.inside.landscape import Landscape, loss_around
from npnn.inside.slow import Operation, explain, operations

__all__ = [
    "Distribution",
    "Landscape",
    "Operation",
    "activations",
    "distributions",
    "explain",
    "findings",
    "gradients",
    "jacobian",
    "loss_around",
    "operations",
]
