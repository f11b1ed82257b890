"""MNIST at half its size, seen through kernels of 1, 3 and 5 pixels at once: two Inception modules.

Szegedy et al. 2014, "Going deeper with convolutions"; here with a few channels, and batch
normalisation after the first convolution.
"""

import argparse
import math
from pathlib import Path

import npnn
from npnn import plots, reports
from npnn.datasets import MNIST
from npnn.layers import BatchNorm, Conv2D, Dropout, Flatten, Inception, MaxPool

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="numpy", help="the array library to compute on")
parser.add_argument("--epochs", type=int, default=8)
parser.add_argument("--folder", help="where the MNIST files are; downloaded once if not given")
parser.add_argument("--samples", type=int, help="train on so many of the images only")
parser.add_argument("--output", type=Path, default=Path("npnn-output"), help="folder of pictures")
options = parser.parse_args()

dataset = MNIST(options.folder, seed=0, flat=False, size=14)
model = npnn.Sequential(
    [
        Conv2D((14, 14, 1), 16, kernel_size=3, padding="same"),
        BatchNorm(),
        npnn.ReLU(),
        Inception(None, 8, 8, 16, 4, 8, 8),
        MaxPool(),
        Inception(None, 16, 16, 32, 8, 16, 16),
        Conv2D(None, 16, kernel_size=1),
        npnn.ReLU(),
        Flatten(),
        Dropout(0.2),
        npnn.Dense(None, 10),
        npnn.Softmax(),
    ],
    backend=options.backend,
    seed=0,
)
model.norm, model.class_names = dataset.norm, list(dataset.class_names)
print(model.summary())

images, classes = dataset.x_train_data[: options.samples], dataset.y_train_data[: options.samples]
steps = options.epochs * math.ceil(len(images) / 64)
history = model.fit(
    images,
    classes,
    validation_data=(dataset.x_validation_data, dataset.y_validation_data),
    loss=npnn.CrossEntropyLoss(label_smoothing=0.05),
    optimizer=npnn.Adam(alpha=5e-3, schedule=npnn.schedules.Cosine(steps, warm_up=steps // 20)),
    batch_size=64,
    epochs=options.epochs,
    progress=True,
)
print(f"accuracy on images that were not trained on: {history['val_accuracy'][-1]:.4f}")

outputs = model.predict(dataset.x_validation_data, batch_size=500)
classes = model.backend.to_numpy(outputs).argmax(axis=-1)
counts = reports.confusion_counts(dataset.c_validation_data, classes, 10)

options.output.mkdir(parents=True, exist_ok=True)
picture = options.output / "inception.png"
plots.confusion_matrix(counts, model.class_names, picture)
print(f"which digit was taken for which: {picture}")
