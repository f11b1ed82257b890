"""The steps that everything here is about: a batch in, better parameters out; or predictions.

A step is a pure function of arrays, ``step(carry, data, inputs) -> (carry, outputs)``. The carry
goes from step to step (parameters, moments, state), data are there all the time (a training set),
inputs are new each time (a batch, the learning rate, random numbers). A backend may run it as it
stands, or record it once and replay something faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npnn.arrays import Array, array_namespace
from npnn.loss_scaling import chosen, unscaled
from npnn.normalization import denormalize, normalize
from npnn.trees import mapped

if TYPE_CHECKING:
    from npnn.backends.backend import Backend, Step, Tree
    from npnn.network import Network
    from npnn.optimizers import Optimizer
    from npnn.watch import Watch


def train_step(network: Network, optimizer: Optimizer, backend: Backend, watch: Watch) -> Step:
    """Return the training step: forward, loss, backward, update."""

    def step(carry: Tree, data: Tree, inputs: Tree) -> tuple[Tree, Tree]:
        parameters = carry["parameters"]
        work = network.at_work()
        work.set(network.trained, backend.unpack(parameters, network.shapes))
        work.set(network.frozen, data["frozen"])
        work.set(network.state, carry["state"])
        work.begin(training=True, noise=inputs["noise"], metrics=inputs["metrics"])
        for loss in work.losses:
            loss.scale = carry["scaling"][0] if carry["scaling"] else None

        look = watch.of("train")
        work.forward(*batch(data, inputs), look)
        work.backward(look)

        gradients = backend.pack(work.gradients())
        gradients, finite, scaling = unscaled(gradients, carry["scaling"])
        gradients = optimizer.limit(parameters, gradients)
        updated = [
            optimizer.updated(arrays, inputs["scalars"])
            for arrays in zip(parameters, gradients, *carry["moments"], strict=True)
        ]
        if finite is not None:
            old = zip(parameters, *carry["moments"], strict=True)
            updated = [chosen(finite, *pair) for pair in zip(updated, old, strict=True)]
        new, *moments = [list(column) for column in zip(*updated, strict=True)]

        carry = {"parameters": new, "moments": moments, "state": work.state(), "scaling": scaling}
        watch.done("train", work)
        return carry, {"metrics": work.metrics()}

    return step


def predict_step(network: Network, watch: Watch) -> Step:
    """Return the step that computes outputs, and metrics where there are targets."""

    def step(carry: Tree, data: Tree, inputs: Tree) -> tuple[Tree, Tree]:
        work = network.at_work()
        work.set(network.parameters, data["parameters"])
        work.set(network.state, data["state"])
        work.begin(training=False, noise=(), metrics=inputs["metrics"])
        y = work.forward(*batch(data, inputs), watch.of("predict"))
        if "target_norm" in data:
            y = denormalize(y, *data["target_norm"])
        watch.done("predict", work)
        return carry, {"y": y, "metrics": work.metrics()}

    return step


def batch(data: Tree, inputs: Tree) -> tuple[Any, Array, Array]:
    """Return inputs, targets and weights of a batch: those given, or rows of the data."""
    if "index" not in inputs:
        x = inputs["x"]
        if "norm" in data:
            x = normalize(x, *data["norm"])
        return x, inputs.get("t"), inputs.get("w")
    xp, index = array_namespace(inputs["index"]), inputs["index"]
    rows = {
        name: mapped(data[name], lambda array: xp.take(array, index, axis=0))
        for name in ("x", "t", "w")
        if name in data
    }
    return rows["x"], rows.get("t"), rows.get("w")
