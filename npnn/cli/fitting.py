"""How a table is trained on where nobody says it: steps, epochs, weights of classes."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.callbacks import EarlyStopping
from npnn.cli.models import target_units
from npnn.cli.recipes import new_model, new_optimizer
from npnn.datasets.dataset import split

if TYPE_CHECKING:
    from npnn.datasets import Dataset

# Found by benchmarks/tables.py, on other splits of its tables than those that it reports.
MOST_STEPS = 4000
FEWEST_EPOCHS, MOST_EPOCHS = 20, 300
HELD_OUT = 0.2  # of the rows that train
FEW_ROWS = 500  # below which one part that is held out tells too little
PARTS = 3
PATIENCE = 15
DROPOUTS = (0.0, 0.3)
LONGER = 1.25  # as many epochs as were best, since all rows train, and the rate falls


def batch_size_of(rows: int) -> int:
    """Return how many rows a step takes."""
    return int(min(256, max(16, 2 ** round(math.log2(max(1.0, rows / 30))))))


def most_epochs(rows: int, batch_size: int) -> int:
    """Return how many epochs a table is trained for at most."""
    steps = math.ceil(rows / batch_size)
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, MOST_STEPS // steps))


def find(run: dict[str, Any], data: Dataset, options: argparse.Namespace, progress: bool) -> None:
    """Set how many epochs to train for, and the dropout if nobody said it.

    They are those that are best for rows that are held out. These are some of those that train;
    the validation part is not looked at.
    """
    most = most_epochs(data.num_train_data, run["batch_size"])
    run["epochs"], run["falls"] = most, True
    if data.num_train_data < 2 * PARTS:
        return
    tried = DROPOUTS if options.dropout is None and run["hidden"] else (run["dropout"],)
    best = math.inf
    for dropout in tried:
        losses = _losses({**run, "dropout": dropout}, data, options, progress)
        if losses.min() < best:
            best, run["dropout"] = float(losses.min()), dropout
            run["epochs"] = max(3, min(most, round(LONGER * (int(losses.argmin()) + 1))))


def _losses(
    run: dict[str, Any], data: Dataset, options: argparse.Namespace, progress: bool
) -> np.ndarray:
    """Return the mean loss after each epoch for rows that are held out."""
    x, t, classes = data.x_train_data, data.y_train_data, data.c_train_data
    curves = []
    rng = np.random.default_rng(run["seed"])
    for number in range(PARTS if len(x) < FEW_ROWS else 1):
        train, held_out = split(len(x), 1.0 - HELD_OUT, classes, rng)
        model = new_model({**run, "seed": run["seed"] + number}, data, options)
        offset, scale = target_units(model)
        history = model.fit(
            x[train],
            (t[train] - offset) / scale,
            w=weights_of(run, classes, train),
            validation_data=(x[held_out], (t[held_out] - offset) / scale),
            epochs=run["epochs"],
            batch_size=run["batch_size"],
            optimizer=new_optimizer(run),
            seed=run["seed"],
            callbacks=[EarlyStopping(max(PATIENCE, run["epochs"] // 8), restore_best=False)],
            progress=progress,
        )
        if history.interrupted:
            raise KeyboardInterrupt
        losses = history["val_loss"]
        curves.append(losses + [losses[-1]] * (run["epochs"] - len(losses)))
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
