"""The metrics of a chain: sums on the device, until somebody waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from npnn.arrays import Array
from npnn.losses.loss import mean

if TYPE_CHECKING:
    from npnn.losses import LossLayer


class Measured(NamedTuple):
    """What metrics are made of.

    Attributes
    ----------
    sums : list of array
        Arrays of no axes: for each loss the sum of it, of what is correct, and of weights.
    counts : list of int
        Samples without weights, of each loss.
    has_accuracy : bool
        Whether the last loss has a notion of a correct answer.
    """

    sums: list[Array]
    counts: list[int]
    has_accuracy: bool

    @classmethod
    def of(cls, losses: Sequence[LossLayer], sums: list[list[Array]]) -> Measured:
        """Return what was measured until now; the next batch starts new sums."""
        flat = [array for each in sums for array in each]
        return cls(flat, [loss.end() for loss in losses], losses[-1].has_accuracy)

    def metrics(self, numbers: Sequence[float]) -> dict[str, float]:
        """Return the metrics, given the numbers that :attr:`sums` hold.

        The loss is that of all losses together, the accuracy that of the last one.
        """
        each = [numbers[start : start + 3] for start in range(0, len(numbers), 3)]
        weights = [found[2] + count for found, count in zip(each, self.counts, strict=True)]
        losses = [mean(found[0], weight) for found, weight in zip(each, weights, strict=True)]
        metrics = {"loss": sum(losses)}
        if len(losses) > 1:
            metrics |= {f"loss_{number}": value for number, value in enumerate(losses)}
        if self.has_accuracy:
            metrics["accuracy"] = mean(each[-1][1], weights[-1])
        return metrics
