"""The metrics of a chain: sums on the device, until somebody waits for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from npnn.arrays import Array


class Measured(NamedTuple):
    """What metrics are made of.

    Attributes
    ----------
    sums : list of array
        Arrays of no axes: the loss of each loss layer, then the accuracy of the last one, if it has
        one, each summed over the samples.
    counts : list of int
        Samples of each loss layer.
    """

    sums: list[Array]
    counts: list[int]

    def metrics(self, numbers: Sequence[float]) -> dict[str, float]:
        """Return the metrics, given the numbers that :attr:`sums` hold."""
        of = [*self.counts, self.counts[-1]]
        means = [total / n if n else math.nan for total, n in zip(numbers, of, strict=False)]
        losses, accuracy = means[: len(self.counts)], means[len(self.counts) :]
        metrics = {"loss": sum(losses)}
        if len(losses) > 1:
            metrics |= {f"loss_{number}": value for number, value in enumerate(losses)}
        return {**metrics, "accuracy": accuracy[0]} if accuracy else metrics
