"""Film how a variational autoencoder unfolds a plane in which every point is an icon.

To the left is where the encoder puts the icons that it is shown, to the right what the decoder
paints from a grid of points. What is drawn is a function of this program's own.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import npnn
from npnn.callbacks import Film
from npnn.datasets import FourSmallIcons
from npnn.layers import Flatten, Latent, Sample, Shape

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="numpy", help="the array library to compute on")
parser.add_argument("--epochs", type=int, default=150)
parser.add_argument("--output", type=Path, default=Path("npnn-output"), help="folder of the film")
options = parser.parse_args()
options.output.mkdir(parents=True, exist_ok=True)

dataset = FourSmallIcons(seed=0, noise=0.1)
encoder = npnn.Sequential(
    [Flatten((3, 3, 1)), npnn.Dense(32), npnn.Tanh(), Latent(4)], backend=options.backend, seed=0
)
decoder = npnn.Sequential(
    [Sample(4), npnn.Dense(32), npnn.Tanh(), npnn.Dense(9), Shape((3, 3, 1)), npnn.Sigmoid()],
    backend=options.backend,
    seed=1,
)
divergence = npnn.KullbackLeiblerLoss(beta=0.3)
encoder.chain, divergence.chain, decoder.chain = divergence, decoder, npnn.BinaryCrossEntropyLoss()

EDGE, SIDE = 2.0, 11
ticks = np.linspace(-EDGE, EDGE, SIDE)
points = np.array([(across, down) for down in ticks[::-1] for across in ticks])
grid = np.concatenate([points, np.ones_like(points)], axis=1)


def draw(training: npnn.training.Training) -> Figure:
    """Draw the codes of the icons, and the icons of a grid of codes."""
    codes = encoder.backend.to_numpy(encoder.predict(dataset.x_validation_data))
    painted = decoder.backend.to_numpy(decoder.predict(grid))
    figure = Figure(figsize=(7.4, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for label, (name, marker) in enumerate(zip(dataset.class_names, "osD^", strict=True)):
        points = codes[dataset.c_validation_data == label, :2]
        left.scatter(*points.T, s=20, marker=marker, label=name)
    left.legend(frameon=False, ncols=4, loc="upper center", fontsize=8, handletextpad=0.1)
    left.set(title="codes", xlim=(-3.0, 3.0), ylim=(-3.0, 3.0))
    framed = np.pad(painted[..., 0], ((0, 0), (0, 1), (0, 1)))
    tiles = framed.reshape(SIDE, SIDE, 4, 4).transpose(0, 2, 1, 3).reshape(4 * SIDE, 4 * SIDE)
    right.imshow(tiles, cmap="gray_r", vmin=0.0, vmax=1.0, extent=(-EDGE, EDGE, -EDGE, EDGE))
    right.set_title("icons of a grid of codes")
    left.set_aspect("equal")
    return figure


clean = FourSmallIcons(num_data=4, noise=0.0).x_data[dataset.c_train_data]
film = Film(options.output / "film_vae.gif", draw=draw, frames=45)
history = encoder.fit(
    dataset.x_train_data,
    clean,
    optimizer=npnn.Adam(alpha=5e-3),
    epochs=options.epochs,
    seed=0,
    callbacks=[film],
)
print(f"divergence {history['loss_0'][-1]:.3f}, surprise at the pixels {history['loss_1'][-1]:.3f}")
print(f"the film: {film.path}")
