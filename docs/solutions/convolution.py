# Each layer adds a pixel at each side: 5x5 after two, (2n + 1) x (2n + 1) after n.
import numpy as np

import npnn

rng = np.random.default_rng(0)
for n in (1, 2, 3, 4):
    layers = [npnn.Conv2D(1, 3, padding="same") for _ in range(n)]
    y = rng.normal(size=(1, 15, 15, 1))
    for layer in layers:
        layer.build((15, 15, 1), rng)
        y = layer.forward(y)
    gradient = np.zeros_like(y)
    gradient[0, 7, 7, 0] = 1.0
    for layer in reversed(layers):
        gradient = layer.backward(gradient)
    seen = np.count_nonzero(gradient)
    print(f"{n} layers: {seen} pixels, {2 * n + 1} x {2 * n + 1}")
    assert seen == (2 * n + 1) ** 2
