"""What is known of the outputs of layers, and whether a loss has use for them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.arrays import Array
from npnn.layers.composite import Inception, Parallel
from npnn.layers.layer import Layer, given_by
from npnn.layers.pooling import AvgPool, GlobalAvgPool, MaxPool
from npnn.layers.regularizing import Dropout
from npnn.layers.row import Row
from npnn.layers.shaping import Pad2D
from npnn.trees import mapped
from npnn.values import quiet

if TYPE_CHECKING:
    from npnn.losses import LossLayer
    from npnn.network import Network

ROWS = 16  # that are looked at

_GIVEN = {
    "numbers": "gives numbers of any size",
    "positives": "gives positive numbers of any size",
    "fractions": "gives numbers that need not sum to 1",
    "probabilities": "gives probabilities",
    "gaussians": "gives means and variances",
    "dropped": "sets some of them to 0 and scales the others up",
}
_NEEDED = {
    "probabilities": ("probabilities that sum to 1", "put npnn.Softmax() last"),
    "fractions": ("numbers from 0 to 1", "put npnn.Sigmoid() last"),
    "gaussians": (
        "means and, as many, variances",
        "put npnn.Latent(...) last, or take CrossEntropyLoss, which compares probabilities",
    ),
}
_SUIT = {
    "probabilities": {"probabilities"},
    "fractions": {"fractions", "probabilities"},
    "gaussians": {"gaussians", "positives", "fractions"},
}


def after(layer: Layer, before: str) -> str:
    """Return what is known of a layer's outputs, where `before` is known of what comes in.

    Both are words of `Layer.gives`, ``"dropped"``, or nothing.
    """
    kind, own = type(layer), given_by(layer)
    if own == "inputs":
        shapes: Any = layer.shape_in, layer.shape_out
        joined = None in shapes or shapes[0][-1] != shapes[1][-1]
        return "fractions" if joined and before == "probabilities" else before
    if kind is Dropout:
        return {"": "", "numbers": "numbers", "positives": "numbers"}.get(before, "dropped")
    if kind in (AvgPool, GlobalAvgPool, MaxPool):
        return "fractions" if before == "probabilities" and kind is MaxPool else before
    if isinstance(layer, Pad2D) and kind is Pad2D:
        within = before == "fractions" and 0.0 <= layer.pad_value <= 1.0
        return before if within else "numbers" if before in ("numbers", "positives") else ""
    if isinstance(layer, Parallel) and kind in (Parallel, Inception):
        found = {_of_row(branch, before) for branch in layer.branches}
        one = found.pop() if len(found) == 1 else ""
        return "fractions" if one == "probabilities" and len(layer.branches) > 1 else one
    return own


def passes_on(layer: Layer) -> bool:
    """Return whether a layer's outputs are what comes in, but for their shape, or some of it."""
    return given_by(layer) == "inputs" or type(layer) in (
        AvgPool, Dropout, GlobalAvgPool, MaxPool, Pad2D,
    )  # fmt: skip


def _of_row(row: Row, before: str) -> str:
    for layer in row.layers:
        before = _of_row(layer, before) if isinstance(layer, Row) else after(layer, before)
    return before


def check(loss: LossLayer, given: str, place: str, layer: Layer) -> bool:
    """Return whether what is known of outputs suits a loss; raise the error where it does not.

    Parameters
    ----------
    loss : LossLayer
        What needs to know.
    given : str
        What is known.
    place, layer : str, Layer
        What made the outputs such as they are.
    """
    if given == "probabilities" and layer.shape_out is not None and layer.shape_out[-1] == 1:
        raise ValueError(
            f"layer {place}, {layer!r}, gives 1 whatever comes in, as of one number alone: of two "
            "classes npnn.Sigmoid() gives the probability of the second"
        )
    if not loss.needs:
        return True
    if given == "":
        return False
    if given not in _SUIT[loss.needs]:
        _refuse(loss, place, layer, _GIVEN[given])
    return True


def _refuse(loss: LossLayer, place: str, layer: Layer, gives: str) -> None:
    needed, remedy = _NEEDED[loss.needs]
    if type(layer) is Dropout:
        remedy = f"put it before, and {remedy.removeprefix('put ')}"
    raise ValueError(
        f"{type(loss).__name__} needs {needed}, but layer {place}, {layer!r}, {gives}: {remedy}"
    )


def look(network: Network, x: Any) -> None:
    """Raise the error for outputs that a loss has no use for, where no layer says what it gives.

    Parameters
    ----------
    network : Network
        Its `unsure` losses are those that it is looked for.
    x : array, or tree of arrays
        Inputs, normalised, of which a few are looked at.
    """
    asarray, seen = network.backend.asarray, _Seen()
    work = network.at_work()
    with network.backend.current(), quiet(), contextlib.suppress(Exception):
        # Whatever goes wrong here does so in the step too, which says by what.
        rows = mapped(x, lambda array: asarray(array[:ROWS], keep_integers=True))
        work.set(network.parameters, [slot.get() for slot in network.parameters])
        work.set(network.state, [slot.get() for slot in network.state])
        work.begin(training=False, noise=(), metrics=[[0.0, 0.0] for _ in work.losses])
        work.forward(rows, None, None, seen)  # type: ignore[arg-type]
    for at, made in network.unsure:
        y = seen.outputs.get(id(work.row[made]))
        if y is not None:
            loss: Any = network.row[at][1]
            wrong = _wrong_with(network.backend.to_numpy(y), loss.needs)
            if wrong:
                _refuse(loss, *network.row[made], f"gives {wrong}")


class _Seen:
    """Keeps what layers give."""

    def __init__(self) -> None:
        self.outputs: dict[int, Array] = {}

    def forward(self, layer: Layer, x: Any, y: Array) -> None:
        self.outputs[id(layer)] = y


def _wrong_with(y: np.ndarray, needs: str) -> str:
    """Return what is wrong with outputs; nothing if they are as they are needed."""
    if not np.isfinite(y).all():
        return ""
    if needs == "gaussians":
        least = float(y[..., y.shape[-1] // 2 :].min())
        return f"a variance of {least:.3g}" if least <= 0.0 else ""
    low, high, sums = float(y.min()), float(y.max()), y.sum(axis=-1)
    if low < -1e-6 or high > 1.0 + 1e-3:
        return f"a {low if low < -1e-6 else high:.3g}"
    farthest = float(sums.flat[np.abs(sums - 1.0).argmax()])
    off = needs == "probabilities" and abs(farthest - 1.0) > 0.01
    return f"numbers that sum to {farthest:.3g}" if off else ""
