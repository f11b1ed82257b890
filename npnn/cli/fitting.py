"""How a table is trained on where nobody says it: steps, epochs, weights of classes."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.callbacks import Callback
from npnn.cli.models import outputs_of
from npnn.cli.recipes import new_model, new_optimizer
from npnn.datasets.dataset import split

if TYPE_CHECKING:
    from npnn.datasets import Dataset
    from npnn.training import Training

# Found by benchmarks/tables.py, on other splits of its tables than those that it reports.
MOST_STEPS = 4000
FEWEST_EPOCHS, MOST_EPOCHS = 20, 300
HELD_OUT = 0.2  # of the rows that train
ENOUGH = 400  # rows that are held out in all, by one network or by several
MOST_PARTS = 8
PATIENCE = 15, 4  # epochs, and a part of all there may be
NETWORKS = (([128], 0.3), ([128, 64], 0.0))  # hidden layers, and their dropout
DROPOUTS = (0.0, 0.3)  # of layers that somebody asked for
FEWEST_ROWS = 6  # of which some can be held out
# As many epochs as were best, since all rows train, the rate falls, and of classes the right one is
# found more often long after the probabilities were best.
LONGER = 2.0


def batch_size_of(rows: int) -> int:
    """Return how many rows a step takes."""
    return int(min(256, max(16, 2 ** round(math.log2(max(1.0, rows / 30))))))


def most_epochs(rows: int, batch_size: int) -> int:
    """Return how many epochs a table is trained for at most."""
    steps = math.ceil(rows / batch_size)
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, MOST_STEPS // steps))


def find(run: dict[str, Any], data: Dataset, options: argparse.Namespace, progress: bool) -> None:
    """Set how many epochs to train for, and the hidden layers and dropout if nobody said them.

    They are those that are best for rows that are held out. These are some of those that train;
    the validation part is not looked at.
    """
    most = most_epochs(data.num_train_data, run["batch_size"])
    run["epochs"], run["falls"] = most, True
    if data.num_train_data < FEWEST_ROWS:
        return
    before, best = dict(run), math.inf
    for tried in _tried(run, options):
        errors = _errors({**before, **tried}, data, options, progress)
        if errors.min() < best:
            best = float(errors.min())
            epochs = round(LONGER * (int(errors.argmin()) + 1))
            run.update(tried, epochs=max(3, min(most, epochs)))


def _tried(run: dict[str, Any], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the settings of which one is chosen: those that nobody said."""
    if options.hidden is None:
        chosen = options.dropout
        return [
            {"hidden": list(hidden), "dropout": dropout if chosen is None else chosen}
            for hidden, dropout in NETWORKS
        ]
    if options.dropout is None and run["hidden"]:
        return [{"dropout": dropout} for dropout in DROPOUTS]
    return [{}]


class HeldOut(Callback):
    """The mean squared error of numbers, or of probabilities, for rows that are held out.

    A network that is sure of a few mistakes has a large loss, though most answers may be right;
    with its loss alone one would end long before it answers best.

    Parameters
    ----------
    x, t : ndarray
        Those rows.
    w : ndarray or None
        How much each counts.
    patience : int
        Epochs without improvement after which training ends.

    Attributes
    ----------
    errors : list of float
        The error after each epoch.
    """

    def __init__(self, x: np.ndarray, t: np.ndarray, w: np.ndarray | None, patience: int) -> None:
        self.x, self.t, self.w, self.patience = x, t, w, patience
        self.errors: list[float] = []
        self.best = 0

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        errors = np.square(outputs_of(training.model, self.x) - self.t).mean(axis=1)
        self.errors.append(float(np.average(errors, weights=self.w)))
        if self.errors[-1] < self.errors[self.best]:
            self.best = len(self.errors) - 1
        if len(self.errors) - self.best > self.patience:
            training.stop(f"no improvement for {self.patience} epochs")


def _errors(
    run: dict[str, Any], data: Dataset, options: argparse.Namespace, progress: bool
) -> np.ndarray:
    """Return the mean error after each epoch for rows that are held out."""
    x, t, classes = data.x_train_data, data.y_train_data, data.c_train_data
    curves = []
    rng = np.random.default_rng(run["seed"])
    patience = max(PATIENCE[0], run["epochs"] // PATIENCE[1])
    for number in range(min(MOST_PARTS, math.ceil(ENOUGH / (HELD_OUT * len(x))))):
        train, held_out = split(len(x), 1.0 - HELD_OUT, classes, rng)
        model = new_model({**run, "seed": run["seed"] + number}, data, options)
        weights = weights_of(run, classes, held_out)
        looking = HeldOut(x[held_out], t[held_out], weights, patience)
        history = model.fit(
            x[train],
            t[train],
            w=weights_of(run, classes, train),
            epochs=run["epochs"],
            batch_size=run["batch_size"],
            optimizer=new_optimizer(run),
            seed=run["seed"] + number,
            callbacks=[looking],
            progress=progress,
        )
        if history.interrupted:
            raise KeyboardInterrupt
        errors = looking.errors
        curves.append(errors + [errors[-1]] * (run["epochs"] - len(errors)))
    means: np.ndarray = np.mean(curves, axis=0)
    return means


def weights_of(
    run: dict[str, Any], classes: Any, rows: np.ndarray | slice = slice(None)
) -> np.ndarray | None:
    """Return how much each row counts, if classes are to count alike."""
    if not run.get("balance") or classes is None:
        return None
    _, which, counts = np.unique(classes[rows], return_inverse=True, return_counts=True)
    weights: np.ndarray = len(which) / (len(counts) * counts[which])
    return weights
