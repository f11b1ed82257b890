"""Film how the plane is divided while exclusive or is learnt."""

import argparse
from pathlib import Path

import npnn
from npnn.callbacks import Film
from npnn.datasets import XORTwoClasses

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="numpy", help="the array library to compute on")
parser.add_argument("--epochs", type=int, default=80)
parser.add_argument("--output", type=Path, default=Path("npnn-output"), help="folder of the film")
options = parser.parse_args()
options.output.mkdir(parents=True, exist_ok=True)

dataset = XORTwoClasses(seed=0, noise=0.18)
model = npnn.Sequential(
    [npnn.Dense(2, 8), npnn.Tanh(), npnn.Dense(8, 2), npnn.Softmax()],
    backend=options.backend,
    seed=3,
)
film = Film(options.output / "film_xor.gif", dataset, frames=45)
history = model.fit(
    dataset, optimizer=npnn.Adam(alpha=5e-3), epochs=options.epochs, seed=0, callbacks=[film]
)
print(f"accuracy on points that were not trained on: {history['val_accuracy'][-1]:.3f}")
print(f"the film: {film.path}")
