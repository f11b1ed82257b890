"""Film how a curve is bent until it fits a noisy sine."""

import argparse
from pathlib import Path

import npnn
from npnn.callbacks import Film
from npnn.datasets import NoisySine

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="numpy", help="the array library to compute on")
parser.add_argument("--epochs", type=int, default=200)
parser.add_argument("--output", type=Path, default=Path("npnn-output"), help="folder of the film")
options = parser.parse_args()
options.output.mkdir(parents=True, exist_ok=True)

dataset = NoisySine(seed=0)
model = npnn.Sequential(
    [npnn.Dense(1, 16), npnn.Tanh(), npnn.Dense(16, 16), npnn.Tanh(), npnn.Dense(16, 1)],
    backend=options.backend,
    seed=0,
)
film = Film(options.output / "film_sine.gif", dataset, frames=45)
history = model.fit(
    dataset, optimizer=npnn.Adam(alpha=5e-3), epochs=options.epochs, seed=0, callbacks=[film]
)
print(f"half the mean squared error, validation: {history['val_loss'][-1]:.4f}")
print(f"the film: {film.path}")
