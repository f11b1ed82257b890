"""Squeeze digits of 64 pixels through 8 numbers, and paint them again with kernels."""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

import npnn
from npnn.datasets import Digits
from npnn.layers import Conv2D, Shape, UpConv2D

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="numpy", help="the array library to compute on")
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument(
    "--output", type=Path, default=Path("npnn-output"), help="folder of the picture"
)
options = parser.parse_args()

dataset = Digits(seed=0, flat=False)
train, validation = dataset.x_train_data / 16.0, dataset.x_validation_data / 16.0

encoder = npnn.Sequential(
    [
        Conv2D((8, 8, 1), 16, kernel_size=3, stride=2, padding="same"),
        npnn.LeakyReLU(),
        Conv2D(None, 32, kernel_size=3, stride=2, padding="same"),
        npnn.LeakyReLU(),
        npnn.Dense(None, 8),
    ],
    backend=options.backend,
    seed=0,
)
decoder = npnn.Sequential(
    [
        npnn.Dense(8, 2 * 2 * 32),
        npnn.LeakyReLU(),
        Shape(None, (2, 2, 32)),
        UpConv2D(None, 16, kernel_size=3, stride=2, padding="same"),
        npnn.LeakyReLU(),
        UpConv2D(None, 1, kernel_size=3, stride=2, padding="same"),
        npnn.Sigmoid(),
    ],
    backend=options.backend,
    seed=1,
)
loss = npnn.BinaryCrossEntropyLoss()
encoder.chain, decoder.chain = decoder, loss

history = encoder.fit(
    train,
    train,
    validation_data=(validation, validation),
    optimizer=npnn.Adam(alpha=3e-3),
    epochs=options.epochs,
)
codes = encoder.predict(validation)
painted = decoder.backend.to_numpy(decoder.predict(codes))
error = ((painted - validation) ** 2).mean() ** 0.5
spread = validation.std(axis=0).mean()
print(f"loss, validation: {history['val_loss'][-1]:.2f}")
print(f"root mean squared error of a pixel: {error:.3f} (their standard deviation: {spread:.3f})")

figure = Figure(figsize=(9.0, 2.2), layout="constrained")
above, below = figure.subplots(2, 10)
for number, (digit, copy) in enumerate(zip(above, below, strict=True)):
    index = int((dataset.c_validation_data == number).argmax())
    digit.imshow(validation[index, ..., 0], cmap="gray_r", vmin=0.0, vmax=1.0)
    copy.imshow(painted[index, ..., 0], cmap="gray_r", vmin=0.0, vmax=1.0)
for axes in (*above, *below):
    axes.set_xticks([])
    axes.set_yticks([])
above[0].set_ylabel("digits\ngiven")
below[0].set_ylabel("from\n8 numbers")

options.output.mkdir(parents=True, exist_ok=True)
picture = options.output / "autoencoder.png"
figure.savefig(picture, dpi=150)
print(f"digits, and what 8 numbers keep of them: {picture}")
