"""Learn exclusive or as two classes, step by step, with an optimizer driven by hand."""

import argparse
from pathlib import Path

import npnn
from npnn import plots
from npnn.datasets import XORTwoClasses

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="numpy", help="the array library to compute on")
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument(
    "--output", type=Path, default=Path("npnn-output"), help="folder of the picture"
)
options = parser.parse_args()

dataset = XORTwoClasses(seed=0)
model = npnn.Sequential(backend=options.backend, seed=0)
model.layers = [
    npnn.Dense(2, 4),
    npnn.LeakyReLU(),
    npnn.Dense(4, 4),
    npnn.LeakyReLU(),
    npnn.Dense(4, 2),
    npnn.Softmax(),
]
loss = npnn.CrossEntropyLoss()
optimizer = npnn.Adam(alpha=0.01)
optimizer.norm = dataset.norm
optimizer.model = model
optimizer.model.chain = loss

steps = -(-dataset.num_train_data // dataset.train_batch_size)
for epoch in range(1, options.epochs + 1):
    for _ in range(steps):
        inputs, targets, _ = dataset.get_train_batch()
        optimizer.step(inputs, targets)
    if epoch % 20 == 0 or epoch == options.epochs:
        print(f"epoch {epoch}: loss {loss.get_loss():.4f}, accuracy {loss.get_accuracy():.3f}")

model.class_names = list(dataset.class_names)
result = model.evaluate(dataset.x_validation_data, dataset.y_validation_data)
print(f"accuracy on points that were not trained on: {result['accuracy']:.3f}")

options.output.mkdir(parents=True, exist_ok=True)
picture = options.output / "xor_softmax.png"
plots.decision_boundary(model, dataset.x_validation_data, dataset.c_validation_data, picture)
print(f"the plane and the points: {picture}")
