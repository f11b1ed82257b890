"""The multilayer perceptrons that everything is measured on, and their batches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Workload(NamedTuple):
    name: str
    sizes: tuple[int, ...]
    batch: int
    activation: str

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products of one step."""
        pairs = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        # Forward, the gradient of the weights, and that of the inputs but for the first layer.
        products = 2 * sum(a * b for a, b in pairs) + sum(a * b for a, b in pairs[1:])
        return 2 * self.batch * products


WORKLOADS = {
    w.name: w
    for w in (
        Workload("xor", (2, 4, 4, 2), 16, "leaky_relu"),
        Workload("small", (20, 64, 64, 5), 64, "relu"),
        Workload("mnist", (784, 256, 128, 10), 128, "relu"),
        Workload("wide", (784, 1024, 1024, 10), 256, "relu"),
    )
}
"""What every benchmark is made of."""

WITH_EXPONENTIALS = {
    w.name: w
    for w in (
        Workload("small-tanh", (20, 64, 64, 5), 64, "tanh"),
        Workload("small-sigmoid", (20, 64, 64, 5), 64, "sigmoid"),
        Workload("mnist-tanh", (784, 256, 128, 10), 128, "tanh"),
        Workload("mnist-100", (784, 256, 128, 100), 128, "relu"),
    )
}
"""What is also measured beside other libraries on the CPU."""


def batches(workload: Workload, count: int = 64) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return random batches; enough of them that training does not come to an end.

    A benchmark that repeats one batch is wrong: its loss goes to zero, its gradients become
    denormal, and every library slows down.
    """
    rng = np.random.default_rng(1)
    count = min(count, max(8, (1 << 26) // (workload.batch * workload.sizes[0] * 4)))
    eye = np.eye(workload.sizes[-1], dtype=np.float32)
    return [
        (
            rng.standard_normal((workload.batch, workload.sizes[0]), dtype=np.float32),
            eye[rng.integers(0, workload.sizes[-1], workload.batch)],
        )
        for _ in range(count)
    ]
