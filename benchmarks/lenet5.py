"""One training step of LeNet-5 at batch 64, in npnn and in its peers, each as its users write it.

Padding of 2; 6 maps 5x5, tanh, pooling; 16 maps 5x5, tanh, pooling; 120 maps 5x5, tanh; 84, tanh;
10. ``CONTESTANTS[name]()`` returns a function of a batch, and batches, as in `contestants`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

ALPHA = 1e-3
BATCH = 64
Contestant = tuple[Callable[[Any, Any], Any], list[tuple[Any, Any]]]


def batches(count: int = 64) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return random images with one-hot classes, enough that training does not come to an end."""
    rng = np.random.default_rng(1)
    eye = np.eye(10, dtype=np.float32)
    return [
        (
            rng.standard_normal((BATCH, 28, 28, 1), dtype=np.float32),
            eye[rng.integers(0, 10, BATCH)],
        )
        for _ in range(count)
    ]


def npnn_layers() -> list[Any]:
    """Return the layers of the network in npnn."""
    import npnn
    from npnn.layers import Conv2D, Flatten, MaxPool, Pad2D

    return [
        Pad2D((28, 28, 1), 2, 2),
        Conv2D(None, 6, kernel_size=5),
        npnn.Tanh(),
        MaxPool(),
        Conv2D(None, 16, kernel_size=5),
        npnn.Tanh(),
        MaxPool(),
        Conv2D(None, 120, kernel_size=5),
        npnn.Tanh(),
        Flatten(),
        npnn.Dense(None, 84),
        npnn.Tanh(),
        npnn.Dense(None, 10),
        npnn.Softmax(),
    ]


def _npnn(backend: str) -> Contestant:
    import npnn

    model = npnn.Sequential(npnn_layers(), backend=backend, seed=0)
    model.chain = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam(alpha=ALPHA)
    optimizer.model = model
    asarray = model.backend.asarray

    def step(x: Any, t: Any) -> None:
        optimizer.step(x, t)
        if backend not in ("numpy", "numba"):
            model.chain.get_loss()  # waits for the step

    return step, [(asarray(x), asarray(t)) for x, t in batches()]


def torch_eager() -> Contestant:
    import torch
    from torch import nn

    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.MaxPool2d(2),
        nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(),
        nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=ALPHA, fused=True)
    loss_function = nn.CrossEntropyLoss()

    def step(x: Any, c: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_function(model(x), c).backward()
        optimizer.step()

    return step, [
        (
            torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))),
            torch.from_numpy(t.argmax(1)),
        )
        for x, t in batches()
    ]


def jax_jit() -> Contestant:
    import jax.numpy as jnp
    from contestants import jax_training

    step = jax_training(*jax_loss(), ALPHA)
    return step, [(jnp.asarray(x), jnp.asarray(t)) for x, t in batches()]


def jax_loss() -> tuple[Any, Any]:
    """Return the loss as a function of parameters and a batch, and the first parameters."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> tuple[Any, Any]:
        scale = (1 / np.prod(shape[:-1])) ** 0.5
        return jnp.asarray(rng.normal(0, scale, shape), jnp.float32), jnp.zeros(shape[-1])

    parameters = [
        drawn(5, 5, 1, 6), drawn(5, 5, 6, 16), drawn(5, 5, 16, 120), drawn(120, 84), drawn(84, 10),
    ]  # fmt: skip

    def convolve(x: Any, w: Any, b: Any, padding: int = 0) -> Any:
        y = lax.conv_general_dilated(
            x, w, (1, 1), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.tanh(y + b)

    def pool(x: Any) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def loss(parameters: Any, x: Any, t: Any) -> Any:
        first, second, third, fourth, last = parameters
        x = pool(convolve(x, *first, padding=2))
        x = pool(convolve(x, *second))
        x = convolve(x, *third).reshape(x.shape[0], -1)
        x = jnp.tanh(x @ fourth[0] + fourth[1])
        return -jnp.mean(jnp.sum(t * jax.nn.log_softmax(x @ last[0] + last[1]), axis=-1))

    return loss, parameters


CONTESTANTS: dict[str, Callable[[], Contestant]] = {
    "npnn numpy": partial(_npnn, "numpy"),
    "npnn numba": partial(_npnn, "numba"),
    "npnn jax": partial(_npnn, "jax"),
    "npnn torch": partial(_npnn, "torch"),
    "PyTorch eager, fused Adam": torch_eager,
    "JAX, hand-written, jit": jax_jit,
}
