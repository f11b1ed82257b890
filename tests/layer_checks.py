"""What the tests of the layers share: a layer built on a backend, and its gradients checked."""

import numpy as np
from oracles import central_differences, host_parameters, relative_error

import npnn
from npnn import backends


def built(layer, shape, backend, *, training=False, batch=4, seed=1):
    """Return `layer`, built for `shape` on `backend`, its parameters moved away from 0 and 1."""
    rng = np.random.default_rng(seed)
    layer.dtype = backend.dtype_name
    layer.build(shape, rng)
    for _, part in layer.walk():
        part.training = training
        for name in part.parameter_names:
            value = np.asarray(getattr(part, name))
            setattr(part, name, value + rng.normal(0.0, 0.1, value.shape))
        if part.noise is not None:
            noise = (batch, *part.noise_shape)
            drawn = rng.random(noise) if part.noise == "uniform" else rng.standard_normal(noise)
            part.random = backend.asarray(drawn)
    layer.to(backend)
    return layer


def distinct(rng, shape):
    """Return numbers in random order of which no two are near each other, nor one near 0."""
    numbers = np.linspace(-2.0, 2.0, int(np.prod(shape)) + 1)
    return rng.permutation(numbers[numbers != 0.0][: int(np.prod(shape))]).reshape(shape)


def gradients(layer, x, weight, backend):
    """Return y, the gradient at x, and those of the parameters, of the sum of weight * y."""
    y = layer.forward(backend.asarray(x))
    grad_x = layer.backward(backend.asarray(weight))
    of_parameters = {
        f"{place}.{name}": backend.to_numpy(getattr(part, f"grad_{name}"))
        for place, part in layer.walk()
        for name in part.parameter_names
    }
    return backend.to_numpy(y), backend.to_numpy(grad_x), of_parameters


def assert_gradients_are_those_of_central_differences(layer, x, backend):
    """Check what comes out, and the gradients at the input and at each parameter, also of parts.

    The differences are NumPy's: JAX compiles each operation alone.
    """
    on_numpy = backends.get("numpy", "float64")
    shape = (len(x), *layer.shape_out)
    weight = np.random.default_rng(2).standard_normal(shape)
    y, gradient, of_parameters = gradients(layer, x, weight, backend)
    layer.to(on_numpy)
    for _, part in layer.walk():
        if part.random is not None:
            part.random = on_numpy.asarray(part.random)
    np.testing.assert_allclose(y, layer.forward(x), rtol=0, atol=1e-10)

    def total(x):
        return float((layer.forward(x) * weight).sum())

    assert relative_error(gradient, central_differences(total, x)) < 1e-6
    for place, part in layer.walk():
        for name in part.parameter_names:
            old = getattr(part, name)

            def total_with(value, part=part, name=name):
                setattr(part, name, value)
                return total(x)

            expected = central_differences(total_with, old)
            setattr(part, name, old)
            assert relative_error(of_parameters[f"{place}.{name}"], expected) < 1e-6


def images_first(x):
    """Return (batch, height, width, channels) as PyTorch's (batch, channels, height, width)."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def images_last(x):
    """Return PyTorch's images as those of this package."""
    return np.moveaxis(np.asarray(x), 1, -1)


def trained(layers, shape, backend, *, capture, sizes, outputs=2, loss=None):
    """Return what some steps of training leave: parameters, state, losses, and outputs."""
    last = [npnn.layers.Flatten(), npnn.Dense(None, outputs), npnn.Softmax()]
    model = npnn.Sequential(backend=backend, dtype="float64", seed=1, capture=capture)
    model.layers = [*layers, *last]
    model.build_at(shape)
    model.chain = loss or npnn.CrossEntropyLoss()
    optimizer = npnn.Adam(alpha=0.01)
    optimizer.model = model
    rng, losses = np.random.default_rng(4), []
    for size in sizes:
        optimizer.step(rng.standard_normal((size, *shape)), rng.integers(outputs, size=size))
        losses.append(model.chain.get_loss())
    y = model.backend.to_numpy(model.predict(rng.standard_normal((5, *shape))))
    state = [model.backend.to_numpy(array) for array in model.state().values()]
    return [*host_parameters(model).values(), *state, np.array(losses), y]


def plain_backend(name):
    """Return where a captured step is compared uncaptured: JAX compiles each operation alone."""
    return "numpy" if name == "jax" else name


def assert_captured_is_eager(make_layers, shape, backend_name, **options):
    """Check that training with a captured step is training without, on the same numbers."""
    # JAX compiles a whole step for a batch of another size.
    options["sizes"] = [5] * 5 + ([] if backend_name == "jax" else [3])
    captured = trained(make_layers(), shape, backend_name, capture=True, **options)
    plain = trained(make_layers(), shape, plain_backend(backend_name), capture=False, **options)
    for ours, expected in zip(captured, plain, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)
