"""What the tests compare with, and how they find what there is to test.

Central differences in float64, relative errors, and the package's own classes by kind.
"""

import numpy as np

import npnn
from npnn.layers.activations import Activation
from npnn.layers.layer import Link
from npnn.layers.weighted import Weighted


def central_differences(function, x, step=1e-5):
    """Return the gradient of a scalar function of one NumPy array."""
    x = np.array(x, dtype=np.float64)
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        middle = x[place]
        x[place] = middle + step
        above = function(x)
        x[place] = middle - step
        below = function(x)
        x[place] = middle
        gradient[place] = (above - below) / (2.0 * step)
    return gradient


def relative_error(actual, expected):
    """Return the largest difference, relative to the largest number."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    size = max(np.abs(actual).max(), np.abs(expected).max())
    return 0.0 if size == 0.0 else float(np.abs(actual - expected).max() / size)


def away_from_zero(rng, shape):
    """Return random numbers of which none is near a kink at 0."""
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.1, 2.0, shape)


def package_classes(registry, base):
    """Return the classes of a registry that the package itself defines below `base`."""
    return [
        kind
        for kind in registry.values()
        if issubclass(kind, base)
        and kind is not base
        and kind.__module__.startswith("npnn.")
        and not kind.__name__.startswith("_")
    ]


def by_name(kind):
    """Return the name that a parametrised test shows for a class."""
    return kind.__name__


ACTIVATIONS = package_classes(npnn.Layer.registry, Activation)
LOSSES = package_classes(npnn.Layer.registry, npnn.LossLayer)
OPTIMIZERS = package_classes(npnn.Optimizer.registry, npnn.Optimizer)
LAYERS = [
    kind
    for kind in package_classes(npnn.Layer.registry, npnn.Layer)
    if not issubclass(kind, (Activation, Link)) and kind is not Weighted
]


def host_parameters(model):
    """Return float64 copies of a model's parameters."""
    return {
        name: np.array(model.backend.to_numpy(array), dtype=np.float64)
        for name, array in model.parameters().items()
    }


def gradients_of_a_step(models, x, t):
    """Return the gradient of every parameter that a training step uses, by model and name.

    A step of plain gradient descent with alpha = 1 subtracts just the gradient. The parameters
    are put back.
    """
    before = [host_parameters(model) for model in models]
    optimizer = npnn.GradientDescent(alpha=1.0)
    optimizer.model = models[0]
    optimizer.step(x, t)
    after = [host_parameters(model) for model in models]
    for model, arrays in zip(models, before, strict=True):
        model.set_arrays({**model.state(), **arrays})
    return [
        {name: old[name] - new[name] for name in old}
        for old, new in zip(before, after, strict=True)
    ]


def numerical_gradients(models, losses, x, t):
    """Return central differences of the sum of `losses` by every parameter of `models`."""
    optimizer = npnn.GradientDescent()
    optimizer.model = models[0]
    gradients = []
    for model in models:
        start = host_parameters(model)

        def total(value, name, model=model, start=start):
            model.set_arrays({**model.state(), **start, name: value})
            optimizer.predict(x, t)
            return sum(loss.get_loss() for loss in losses)

        gradients.append(
            {
                name: central_differences(lambda value, name=name: total(value, name), array)
                for name, array in start.items()
            }
        )
        model.set_arrays({**model.state(), **start})
    return gradients
