"""Tell four icons apart wherever they are: eight kernels of 3x3, and where each fits best."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import npnn
from npnn.datasets import FourSteppedIcons
from npnn.layers import Conv2D, Flatten, MaxPool

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="numpy", help="the array library to compute on")
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument(
    "--output", type=Path, default=Path("npnn-output"), help="folder of the picture"
)
options = parser.parse_args()

dataset = FourSteppedIcons(seed=0)
convolution = Conv2D((8, 8, 1), 8, kernel_size=3)
model = npnn.Sequential(
    [
        convolution,
        npnn.ReLU(),
        MaxPool(kernel_size=6),  # of each kernel, the place where it fits best
        Flatten(),
        npnn.Dense(None, 4),
        npnn.Softmax(),
    ],
    backend=options.backend,
    seed=0,
)
print(model.summary())
history = model.fit(dataset, optimizer=npnn.Adam(alpha=0.02), epochs=options.epochs)
print(f"accuracy on icons that were not trained on: {history['val_accuracy'][-1]:.3f}")

to_numpy = model.backend.to_numpy
images = dataset.x_validation_data[:8]
classes = to_numpy(model.predict_class(images))
kernels = to_numpy(convolution.w)
largest = np.abs(kernels).max()

figure = Figure(figsize=(9.0, 3.0), layout="constrained")
above, below = figure.subplots(2, 8)
for axes, image, found in zip(above, images, classes, strict=True):
    axes.imshow(image[..., 0], cmap="gray_r", vmin=-0.5, vmax=1.5)
    axes.set_title(dataset.class_names[found])
for axes, kernel in zip(below, kernels, strict=True):
    axes.imshow(kernel[..., 0], cmap="RdBu_r", vmin=-largest, vmax=largest)
for axes in (*above, *below):
    axes.set_xticks([])
    axes.set_yticks([])
above[0].set_ylabel("icons, as\nclassified")
below[0].set_ylabel("the kernels\nlearnt")

options.output.mkdir(parents=True, exist_ok=True)
picture = options.output / "icons.png"
figure.savefig(picture, dpi=150)
print(f"icons and kernels: {picture}")
