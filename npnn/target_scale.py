"""Targets of any size: learnt at unit scale, and given in their own units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from npnn.layers.layer import given_by
from npnn.layers.weighted import Weighted
from npnn.normalization import Normalization

if TYPE_CHECKING:
    from npnn.batches import Data
    from npnn.model import Sequential
    from npnn.network import Network

ORDINARY = 1e-2, 10.0
"""Targets whose mean and spread are no larger, and whose spread is no smaller, stay as they are."""


def find(model: Sequential, data: Data, validation: Data | None) -> None:
    """Give a model that is new a `target_norm`, if the targets need one, and bring them to it.

    It has one scale for all outputs, so that the loss is the same but for a factor.

    Parameters
    ----------
    model : Sequential
        With its loss.
    data, validation : Data
        What it is trained and validated on; their targets are replaced.
    """
    network, t = model.runner.network, data.arrays["t"]
    if network.losses[-1].power_of_scale is None or not _is_new(network):
        return
    norm = _norm_of(t if isinstance(t, np.ndarray) else network.backend.to_numpy(t))
    if norm is None:
        return
    model.target_norm = norm
    for each in (data, validation):
        if each is not None:
            each.arrays["t"] = norm(each.arrays["t"])


def _norm_of(t: np.ndarray) -> Normalization | None:
    """Return what brings targets to unit scale, if they are far from it."""
    t = t.astype(np.float64)
    mean = t.mean(axis=0)
    spread, size = float(np.sqrt(t.var(axis=0).mean())), float(np.abs(mean).max())
    least, most = ORDINARY
    if size <= most and (least <= spread <= most or spread == 0.0):
        return None
    # What lies closer together than the digits of float32 is not told apart.
    return Normalization(mean, max(spread, 1e-6 * size))


def _is_new(network: Network) -> bool:
    """Return whether a model was never trained, and its last layer gives any numbers."""
    models = [link for link in network.links if not link.is_loss]
    made = [layer for _, layer in network.row if not _gives_on(layer)]
    if len(models) > 1 or network.model.target_norm is not None or not made:
        return False
    biases = [slot.get() for slot in network.trained if slot.attribute == "b"]
    to_numpy = network.backend.to_numpy
    untouched = bool(biases) and not any(np.any(to_numpy(b)) for b in biases)
    return untouched and isinstance(made[-1], Weighted)


def _gives_on(layer: object) -> bool:
    return getattr(layer, "is_loss", False) or given_by(layer) == "inputs"  # type: ignore[arg-type]
