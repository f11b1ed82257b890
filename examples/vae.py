"""Learn a plane of icons: each sample a small gaussian in it, each point of it an icon.

Kingma and Welling 2013, "Auto-encoding variational Bayes". Two losses pull at the chain: the
decoder's, to paint what came in, and the divergence, to fill the plane without gaps.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import npnn
from npnn.datasets import FourSmallIcons
from npnn.layers import Flatten, Latent, Sample, Shape
from npnn.loss_layer import KullbackLeiblerLoss

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="numpy", help="the array library to compute on")
parser.add_argument("--epochs", type=int, default=150)
parser.add_argument(
    "--output", type=Path, default=Path("npnn-output"), help="folder of the picture"
)
options = parser.parse_args()

dataset = FourSmallIcons(seed=0, noise=0.1)
images = dataset.x_train_data
clean = FourSmallIcons(num_data=4, noise=0.0).x_data[dataset.c_train_data]

encoder = npnn.Sequential(
    [
        Flatten((3, 3, 1)),
        npnn.Dense(None, 32),
        npnn.Tanh(),
        Latent(None, 4),  # two means and two variances
    ],
    backend=options.backend,
    seed=0,
)
decoder = npnn.Sequential(
    [
        Sample(4),
        npnn.Dense(None, 32),
        npnn.Tanh(),
        npnn.Dense(None, 9),
        Shape(None, (3, 3, 1)),
        npnn.Sigmoid(),
    ],
    backend=options.backend,
    seed=1,
)
divergence, loss = KullbackLeiblerLoss(beta=0.3), npnn.BinaryCrossEntropyLoss()
encoder.chain, divergence.chain, decoder.chain = divergence, decoder, loss

history = encoder.fit(images, clean, optimizer=npnn.Adam(alpha=5e-3), epochs=options.epochs)
print(
    f"divergence: {history['loss_0'][-1]:.3f}, surprise at the pixels: {history['loss_1'][-1]:.3f}"
)

# The last half of what the encoder gives are variances; in prediction, Sample uses the means only.
to_numpy = decoder.backend.to_numpy
means = to_numpy(encoder.predict(dataset.x_validation_data))[:, :2]
ticks = np.linspace(-2.0, 2.0, 13)
points = np.array([(across, down) for down in ticks[::-1] for across in ticks])
plane = to_numpy(decoder.predict(np.concatenate([points, np.ones_like(points)], axis=1)))

figure = Figure(figsize=(9.0, 4.4), layout="constrained")
left, right = figure.subplots(1, 2)
for label, (name, marker) in enumerate(zip(dataset.class_names, "osD^", strict=True)):
    left.scatter(*means[dataset.c_validation_data == label].T, s=20, marker=marker, label=name)
left.set_title("where the encoder puts the icons")
left.legend(frameon=False)
# Each icon gets a margin of a pixel, then the icons are laid side by side.
framed = np.pad(plane[..., 0], ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
tiles = framed.reshape(13, 13, 4, 4).transpose(0, 2, 1, 3).reshape(52, 52)
edge = 2.0 + 2.0 / 12
right.imshow(tiles, cmap="gray_r", vmin=0.0, vmax=1.0, extent=(-edge, edge, -edge, edge))
right.set_title("what the decoder makes of the plane")
left.set(xlim=(-edge, edge), ylim=(-edge, edge))
for axes in (left, right):
    axes.set_xlabel("first mean")
    axes.set_ylabel("second mean")
    axes.set_aspect("equal")

options.output.mkdir(parents=True, exist_ok=True)
picture = options.output / "vae.png"
figure.savefig(picture, dpi=150)
print(f"the plane of icons: {picture}")
