"""Fit a straight line: a single Dense layer is linear regression."""

import argparse
from pathlib import Path

import npnn
from npnn import plots
from npnn.datasets import NoisyLinear

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="numpy", help="the array library to compute on")
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument(
    "--output", type=Path, default=Path("npnn-output"), help="folder of the picture"
)
options = parser.parse_args()

dataset = NoisyLinear(seed=0)
model = npnn.Sequential([npnn.Dense(1, 1)], backend=options.backend, seed=0)
history = model.fit(
    dataset,
    loss=npnn.RMSLoss(),
    optimizer=npnn.Adam(alpha=0.05),
    epochs=options.epochs,
)

at_zero, at_one = (float(y[0]) for y in model.predict([[0.0], [1.0]]))
print(f"learnt: t = {at_one - at_zero:.3f} x {at_zero:+.3f}")
print(f"half the mean squared error, validation: {history['val_loss'][-1]:.4f}")

options.output.mkdir(parents=True, exist_ok=True)
picture = options.output / "linear_regression.png"
plots.regression(model, dataset.x_validation_data, dataset.y_validation_data, picture)
print(f"the points and the line: {picture}")
