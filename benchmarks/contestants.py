"""One training step in npnn and in its peers, each written as its own users would write it.

``CONTESTANTS[name](workload)`` returns a function of a batch that trains on it and is done when
it returns, and a list of batches in the library's own form. Run as a program, this file times one
contestant on demand: it reads a workload's name from each line of its input and answers with the
median of some steps, in microseconds. The side-by-side benchmark runs each so, in its own process.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import lenet5
import numpy as np
from workloads import WITH_EXPONENTIALS, WORKLOADS, Workload, batches

ALPHA = 1e-4
Contestant = lenet5.Contestant


def _npnn(backend: str) -> Callable[[Workload], Contestant]:
    def make(workload: Workload) -> Contestant:
        import npnn

        activation = {
            "relu": npnn.ReLU,
            "leaky_relu": npnn.LeakyReLU,
            "tanh": npnn.Tanh,
            "sigmoid": npnn.Sigmoid,
        }[workload.activation]
        layers: list[Any] = []
        for inputs, outputs in zip(workload.sizes[:-1], workload.sizes[1:], strict=True):
            layers += [npnn.Dense(inputs, outputs), activation()]
        model = npnn.Sequential([*layers[:-1], npnn.Softmax()], backend=backend, seed=0)
        model.chain = npnn.CrossEntropyLoss()
        optimizer = npnn.Adam(alpha=ALPHA)
        optimizer.model = model
        asarray = model.backend.asarray
        pool = [(asarray(x), asarray(t)) for x, t in batches(workload)]
        if backend in ("numpy", "numba"):
            return optimizer.step, pool  # done when it returns

        def step(x: Any, t: Any) -> None:
            optimizer.step(x, t)
            model.chain.get_loss()  # waits for the step

        return step, pool

    return make


def torch_eager(workload: Workload) -> Contestant:
    import torch
    from torch import nn

    activation = {
        "relu": nn.ReLU,
        "leaky_relu": lambda: nn.LeakyReLU(0.1),
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
    }[workload.activation]
    layers: list[Any] = []
    for inputs, outputs in zip(workload.sizes[:-1], workload.sizes[1:], strict=True):
        layers += [nn.Linear(inputs, outputs), activation()]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=ALPHA, fused=True)
    loss_function = nn.CrossEntropyLoss()

    def step(x: Any, c: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_function(model(x), c).backward()
        optimizer.step()

    pool = [(torch.from_numpy(x), torch.from_numpy(t.argmax(1))) for x, t in batches(workload)]
    return step, pool


def jax_training(loss: Any, parameters: Any, alpha: float, waits: bool = True) -> Any:
    """Return a compiled step of Adam on ``loss(parameters, x, t)``; if it does not wait, also how.

    Where the step `waits`, it is done when it returns; else a function that waits comes with it.
    """
    import jax
    import jax.numpy as jnp

    def update(state: Any, *batch: Any) -> Any:
        parameters, first, second, count = state
        value, gradients = jax.value_and_grad(loss)(parameters, *batch)
        count = count + 1
        tree = jax.tree_util.tree_map
        first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
        second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
        correction = jnp.sqrt(1 - 0.999**count)
        rate = alpha * correction / (1 - 0.9**count)
        parameters = tree(
            lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8 * correction),
            parameters,
            first,
            second,
        )
        return (parameters, first, second, count), value

    jitted = jax.jit(update, donate_argnums=0)
    zeros = jax.tree_util.tree_map(jnp.zeros_like, parameters)
    state = (parameters, zeros, jax.tree_util.tree_map(jnp.copy, zeros), jnp.zeros((), jnp.float32))

    def step(*batch: Any) -> None:
        nonlocal state
        state, value = jitted(state, *batch)
        if waits:
            value.block_until_ready()

    return step if waits else (step, lambda: jax.block_until_ready(state))


def jax_network(workload: Workload) -> tuple[Any, Any]:
    """Return the loss of a network as a function of parameters and a batch, and the parameters."""
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    parameters = [
        (
            jnp.asarray(rng.normal(0, (2 / a) ** 0.5, (a, b)), jnp.float32),
            jnp.zeros(b, jnp.float32),
        )
        for a, b in zip(workload.sizes[:-1], workload.sizes[1:], strict=True)
    ]
    activation = {
        "relu": jax.nn.relu,
        "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.1),
        "tanh": jnp.tanh,
        "sigmoid": jax.nn.sigmoid,
    }[workload.activation]

    def loss(parameters: Any, x: Any, t: Any) -> Any:
        for w, b in parameters[:-1]:
            x = activation(x @ w + b)
        w, b = parameters[-1]
        return -jnp.mean(jnp.sum(t * jax.nn.log_softmax(x @ w + b), axis=-1))

    return loss, parameters


def jax_jit(workload: Workload) -> Contestant:
    import jax.numpy as jnp

    loss, parameters = jax_network(workload)
    step = jax_training(loss, parameters, ALPHA)
    return step, [(jnp.asarray(x), jnp.asarray(t)) for x, t in batches(workload)]


def keras_jax(workload: Workload) -> Contestant:
    import os

    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    activation = workload.activation
    if activation == "leaky_relu":
        activation = keras.layers.LeakyReLU(negative_slope=0.1)
    layers: list[Any] = [keras.Input((workload.sizes[0],))]
    for width in workload.sizes[1:-1]:
        layers.append(keras.layers.Dense(width, activation=activation))
    layers.append(keras.layers.Dense(workload.sizes[-1]))
    model = keras.Sequential(layers)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(ALPHA), loss=loss)
    return model.train_on_batch, batches(workload)


def thinc(workload: Workload) -> Contestant:
    from thinc.api import Adam, Relu, Softmax, chain

    model = chain(*(Relu(width) for width in workload.sizes[1:-1]), Softmax(workload.sizes[-1]))
    pool = batches(workload)
    model.initialize(X=pool[0][0], Y=pool[0][1])
    optimizer = Adam(ALPHA, L2=0.0, grad_clip=0.0)

    def step(x: Any, t: Any) -> None:
        y, backprop = model.begin_update(x)
        backprop((y - t) / len(x))
        model.finish_update(optimizer)

    return step, pool


def sklearn_partial_fit(workload: Workload) -> Contestant:
    from sklearn.neural_network import MLPClassifier

    warnings.filterwarnings("ignore")
    model = MLPClassifier(
        workload.sizes[1:-1],
        activation={"tanh": "tanh", "sigmoid": "logistic"}.get(workload.activation, "relu"),
        learning_rate_init=ALPHA,
        batch_size=workload.batch,
        alpha=0.0,
    )
    pool = [(x, t.argmax(1)) for x, t in batches(workload)]
    model.partial_fit(*pool[0], classes=np.arange(workload.sizes[-1]))
    return model.partial_fit, pool


CONTESTANTS: dict[str, Callable[[Workload], Contestant]] = {
    "npnn numpy": _npnn("numpy"),
    "npnn numba": _npnn("numba"),
    "npnn jax": _npnn("jax"),
    "npnn torch": _npnn("torch"),
    "PyTorch eager, fused Adam": torch_eager,
    "JAX, hand-written, jit": jax_jit,
    "Keras on JAX": keras_jax,
    "Thinc": thinc,
    "scikit-learn": sklearn_partial_fit,
}
"""Thinc has no leaky rectifier with this slope; it runs the rectifier instead."""


def make(contestant: str, workload: str) -> Contestant:
    """Return the step and the batches of a contestant on a workload."""
    if workload == "lenet5":
        return lenet5.CONTESTANTS[contestant]()
    return CONTESTANTS[contestant]((WORKLOADS | WITH_EXPONENTIALS)[workload])


def main() -> None:
    """Time steps of the contestant that the command line names, as long as somebody asks."""
    ready: dict[str, Contestant] = {}
    turn: dict[str, int] = {}
    print("ready", flush=True)
    for line in sys.stdin:
        name, seconds = line.split()
        if name not in ready:
            ready[name] = make(sys.argv[1], name)
            turn[name] = 0
            step, pool = ready[name]
            for batch in pool[:8]:
                step(*batch)
        step, pool = ready[name]
        times = []
        end = time.perf_counter() + float(seconds)
        while time.perf_counter() < end or len(times) < 5:
            batch = pool[turn[name] % len(pool)]
            turn[name] += 1
            started = time.perf_counter()
            step(*batch)
            times.append(time.perf_counter() - started)
        print(float(np.median(times)) * 1e6, flush=True)


if __name__ == "__main__":
    main()
