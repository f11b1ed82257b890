"""How a new model begins: units that bend at samples, and the same answer for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.initializers import generator
from npnn.layers import Dense, Layer, Linear

if TYPE_CHECKING:
    from npnn.model import Sequential


def spread(model: Sequential, x: Any, seed: int | None = None) -> None:
    r"""Move the bend of each unit of a new model's first layer to a random sample.

    With biases of zero :math:`w \cdot x + b` changes its sign at the mean of normalised inputs for
    all units, and what is learnt of one input is two straight lines until the biases have moved.
    With :math:`b = -w \cdot x_i` it does so at the sample :math:`x_i`.

    Parameters
    ----------
    model : Sequential
        Built, and not yet trained; left as it is unless it begins with a dense layer that has
        biases and an activation behind it.
    x : array_like
        Raw inputs.
    seed : int, optional
        Makes it repeatable.
    """
    layers: list[Layer] = list(model.layers[:2])
    bends = len(layers) == 2 and not isinstance(layers[1], (Dense, Linear))
    if not bends or type(layers[0]) is not Dense or not layers[0].bias:
        return
    rng = generator(seed)
    host = _on_host(model)
    w = host["0.w"]
    rows = x[rng.integers(len(x), size=w.shape[1])]
    if model.norm is not None:
        rows = model.norm(np.asarray(rows, np.float64))
    bends_at = np.asarray(rows, np.float64).reshape(w.shape[1], -1)
    host["0.b"] = -np.sum(bends_at * w.T, axis=1).astype(w.dtype)
    model.set_arrays(host)


def level(model: Sequential) -> None:
    """Let a new model answer the same for all samples, before it is trained.

    The weights of its last dense layer become zero. Else the random function that it begins with
    stays where there are too few samples to say otherwise.

    Parameters
    ----------
    model : Sequential
        Built, and not yet trained.
    """
    last = max((i for i, layer in enumerate(model.layers) if type(layer) is Dense), default=None)
    if last is not None:
        host = _on_host(model)
        host[f"{last}.w"] = np.zeros_like(host[f"{last}.w"])
        model.set_arrays(host)


def _on_host(model: Sequential) -> dict[str, np.ndarray]:
    arrays = {**model.parameters(), **model.state()}
    return {name: np.array(model.backend.to_numpy(array)) for name, array in arrays.items()}
