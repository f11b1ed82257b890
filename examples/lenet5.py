"""LeNet-5 on MNIST: the network that read cheques, in the words of this library.

LeCun et al. 1998, "Gradient-based learning applied to document recognition". Unlike the original,
it pools by the maximum, connects all maps, and ends with Softmax.
"""

import argparse
from pathlib import Path

import npnn
from npnn import plots, reports
from npnn.datasets import MNIST
from npnn.layers import Conv2D, Flatten, MaxPool, Pad2D

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="numpy", help="the array library to compute on")
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--folder", help="where the MNIST files are; downloaded once if not given")
parser.add_argument("--samples", type=int, help="train on so many of the images only")
parser.add_argument("--output", type=Path, default=Path("npnn-output"), help="folder of pictures")
options = parser.parse_args()

dataset = MNIST(options.folder, seed=0, flat=False)
model = npnn.Sequential(
    [
        Pad2D((28, 28, 1), 2, 2),
        Conv2D(None, 6, kernel_size=5),
        npnn.Tanh(),
        MaxPool(),
        Conv2D(None, 16, kernel_size=5),
        npnn.Tanh(),
        MaxPool(),
        Conv2D(None, 120, kernel_size=5),
        npnn.Tanh(),
        Flatten(),
        npnn.Dense(None, 84),
        npnn.Tanh(),
        npnn.Dense(None, 10),
        npnn.Softmax(),
    ],
    backend=options.backend,
    seed=0,
)
model.norm, model.class_names = dataset.norm, list(dataset.class_names)
print(model.summary())

history = model.fit(
    dataset.x_train_data[: options.samples],
    dataset.y_train_data[: options.samples],
    validation_data=(dataset.x_validation_data, dataset.y_validation_data),
    loss=npnn.CrossEntropyLoss(),
    optimizer=npnn.Adam(alpha=1e-3),
    batch_size=64,
    epochs=options.epochs,
    progress=True,
)
print(f"accuracy on images that were not trained on: {history['val_accuracy'][-1]:.4f}")

outputs = model.predict(dataset.x_validation_data, batch_size=1000)
classes = model.backend.to_numpy(outputs).argmax(axis=-1)
counts = reports.confusion_counts(dataset.c_validation_data, classes, 10)
print(reports.class_table(counts, model.class_names))

options.output.mkdir(parents=True, exist_ok=True)
picture, curves = options.output / "lenet5.png", options.output / "lenet5_curves.png"
plots.confusion_matrix(counts, model.class_names, picture)
plots.curves(history, curves)
print(f"which digit was taken for which: {picture}; the way there: {curves}")
