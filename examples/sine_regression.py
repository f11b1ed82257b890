"""Fit one period of a sine with a small network: the curve is made of a few smooth steps."""

import argparse
from pathlib import Path

import npnn
from npnn import plots
from npnn.datasets import NoisySine

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="numpy", help="the array library to compute on")
parser.add_argument("--epochs", type=int, default=200)
parser.add_argument(
    "--output", type=Path, default=Path("npnn-output"), help="folder of the picture"
)
options = parser.parse_args()

dataset = NoisySine(seed=0)
model = npnn.Sequential(
    [
        npnn.Dense(1, 16),
        npnn.Tanh(),
        npnn.Dense(16, 16),
        npnn.Tanh(),
        npnn.Dense(16, 1),
    ],
    backend=options.backend,
    seed=0,
)
history = model.fit(
    dataset,
    loss=npnn.RMSLoss(),
    optimizer=npnn.Adam(alpha=0.01),
    epochs=options.epochs,
)

error = (2.0 * history["val_loss"][-1]) ** 0.5
print(f"root mean squared error, validation: {error:.3f} (the noise alone: 0.100)")

options.output.mkdir(parents=True, exist_ok=True)
picture = options.output / "sine_regression.png"
plots.regression(model, dataset.x_validation_data, dataset.y_validation_data, picture)
print(f"the points and the curve: {picture}")
