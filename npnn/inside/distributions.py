"""How the numbers of each layer are distributed, and which units or layers learn nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npnn import checked
from npnn.inside.passes import Pass, looking
from npnn.layers import Activation
from npnn.network import Network

if TYPE_CHECKING:
    from npnn.model import Sequential

OF = ("weights", "activations", "gradients")
VANISHING = 1e-3
"""A gradient whose root mean square is smaller than this share of another layer's is named."""


class Distribution(NamedTuple):
    """A histogram.

    Attributes
    ----------
    of : str
        ``"weights"``, ``"activations"`` or ``"gradients"`` (of the loss, by the weights).
    place, layer : str
        Of the layer, and how it is written.
    counts, edges : ndarray
        How many numbers lie between each edge and the next; there is one edge more.
    mean, rms : float
        The mean of the numbers, and the root of the mean of their squares.
    remark : str
        What is wrong with the layer: dead units, a gradient that vanishes, or numbers that are not
        finite; often empty.
    """

    of: str
    place: str
    layer: str
    counts: np.ndarray
    edges: np.ndarray
    mean: float
    rms: float
    remark: str


def distributions(model: Sequential, x: Any, t: Any = None, bins: int = 30) -> list[Distribution]:
    r"""Return histograms of the weights, activations and gradients of each layer.

    Parameters
    ----------
    model : Sequential
        Nothing of it is changed.
    x, t : array_like
        Raw inputs and targets.
    bins : int, default 30
        Of each histogram.

    Returns
    -------
    list of Distribution
        Those of the weights, then those of what each layer gives, then those of the gradients by
        the weights. A unit is called dead that gives the same for every sample; a gradient
        vanishes whose root mean square is below a thousandth of the largest layer's.

    Examples
    --------
    >>> import npnn
    >>> model = npnn.Sequential([npnn.Dense(1, 2), npnn.ReLU(), npnn.Dense(2, 1)], seed=0)
    >>> [(d.of, d.place) for d in npnn.inside.distributions(model, [[0.0], [1.0]], [0.0, 1.0])][:3]
    [('weights', '0'), ('weights', '2'), ('activations', '0')]
    """
    checked.integer(bins, "bins", 1)
    with looking(model, x, t) as found:
        found.backward()
        return summarised(found, bins)


def summarised(found: Pass, bins: int) -> list[Distribution]:
    """Return the histograms of a pass that went forward and back."""
    to_numpy, network = found.backend.to_numpy, found.network
    layers = {place: layer for place, layer in network.layers if not hasattr(layer, "get_loss")}
    weights = _by_layer({s.name: s.get() for s in network.parameters}, network, to_numpy)
    gradients = _by_layer(found.grad_parameters(), network, to_numpy)
    gives = {
        place: to_numpy(y)
        for place, y in found.outputs.items()
        if place in layers and hasattr(y, "shape")
    }
    largest = max((_rms(g) for g in gradients.values()), default=0.0)
    return [
        *(_of("weights", p, layers[p], a, bins, "") for p, a in weights.items()),
        *(
            _of("activations", p, layers[p], a, bins, _of_dead_units(layers[p], a))
            for p, a in gives.items()
        ),
        *(
            _of("gradients", p, layers[p], a, bins, _of_vanishing(a, largest))
            for p, a in gradients.items()
        ),
    ]


def findings(found: list[Distribution]) -> list[str]:
    """Return what there is to say of the layers, as sentences that name them."""
    return [f"layer {d.place}, {d.layer}: {d.remark}" for d in found if d.remark]


def _by_layer(arrays: dict[str, Any], network: Network, to_numpy: Any) -> dict[str, np.ndarray]:
    """Return the numbers of all parameters of each layer together."""
    parts: dict[str, list[np.ndarray]] = {}
    for slot in network.parameters:
        place = slot.name.removesuffix(f".{slot.attribute}")
        parts.setdefault(place, []).append(np.asarray(to_numpy(arrays[slot.name])).reshape(-1))
    return {place: np.concatenate(found) for place, found in parts.items()}


def _of(of: str, place: str, layer: Any, a: np.ndarray, bins: int, remark: str) -> Distribution:
    flat = np.asarray(a, np.float64).reshape(-1)
    finite = flat[np.isfinite(flat)]
    if len(finite) < len(flat):
        remark = f"{len(flat) - len(finite)} of {len(flat)} {of} are not finite"
    counts, edges = np.histogram(finite, bins)
    mean = float(finite.mean()) if len(finite) else 0.0
    return Distribution(of, place, repr(layer), counts, edges, mean, _rms(finite), remark)


def _rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(a, dtype=np.float64)))) if a.size else 0.0


def _of_dead_units(layer: Any, y: np.ndarray) -> str:
    """Say how many units of an activation give the same for all samples."""
    if not isinstance(layer, Activation) or len(y) < 2:
        return ""
    units = y.reshape(-1, y.shape[-1])
    dead = int(np.sum(units.max(axis=0) == units.min(axis=0)))
    if not dead:
        return ""
    return f"{dead} of {units.shape[1]} units are dead: each gives the same for all samples"


def _of_vanishing(g: np.ndarray, largest: float) -> str:
    own = _rms(g)
    if own >= VANISHING * largest:
        return ""
    share = own / largest
    return f"the gradient vanishes: it is {share:.1e} of the largest layer's"
