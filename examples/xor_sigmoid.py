"""Learn exclusive or: two noisy inputs, one output that says how likely they differ."""

import argparse
from pathlib import Path

import npnn
from npnn import plots
from npnn.datasets import XORBinClasses

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="numpy", help="the array library to compute on")
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument(
    "--output", type=Path, default=Path("npnn-output"), help="folder of the picture"
)
options = parser.parse_args()

dataset = XORBinClasses(seed=0)
model = npnn.Sequential(
    [
        npnn.Dense(2, 4),
        npnn.Tanh(),
        npnn.Dense(4, 1),
        npnn.Sigmoid(),
    ],
    backend=options.backend,
    seed=0,
)

history = model.fit(
    dataset,
    loss=npnn.BinaryCrossEntropyLoss(),
    optimizer=npnn.Adam(alpha=0.03),
    epochs=options.epochs,
)
print(f"accuracy on points that were not trained on: {history['val_accuracy'][-1]:.3f}")

options.output.mkdir(parents=True, exist_ok=True)
picture = options.output / "xor_sigmoid.png"
plots.decision_boundary(model, dataset.x_validation_data, dataset.c_validation_data, picture)
print(f"the plane and the points: {picture}")
