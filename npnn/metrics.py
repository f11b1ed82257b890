"""The metrics of a chain: sums on the device, until somebody waits for them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from npnn.arrays import Array
from npnn.losses.loss import as_share, mean

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
    names : list of str
        Those of the metrics.
    units : list of float
        What each loss is multiplied by to be in the units of the targets.
    """

    sums: list[Array]
    counts: list[int]
    names: list[str]
    units: list[float]

    @classmethod
    def of(cls, losses: Sequence[LossLayer], sums: list[list[Array]]) -> Measured:
        """Return what was measured until now; the next batch starts new sums."""
        flat = [array for each in sums for array in each]
        counts, units = [loss.end() for loss in losses], [loss.unit for loss in losses]
        return cls(flat, counts, metric_names(losses), units)

    def metrics(self, numbers: Sequence[float]) -> dict[str, float]:
        """Return the metrics, given the numbers that :attr:`sums` hold.

        The loss is that of all losses together, the accuracy that of the last one.
        """
        each = [numbers[start : start + 3] for start in range(0, len(numbers), 3)]
        weights = [found[2] + count for found, count in zip(each, self.counts, strict=True)]
        losses = [
            mean(found[0], weight) * unit
            for found, weight, unit in zip(each, weights, self.units, strict=True)
        ]
        each_loss = losses if len(losses) > 1 else []
        # The accuracy is left out where the last loss has no notion of a correct answer.
        values = [sum(losses), *each_loss, as_share(mean(each[-1][1], weights[-1]))]
        return dict(zip(self.names, values, strict=False))


def sums_of(losses: Sequence[LossLayer], zero: Array, weighted: bool = True) -> list[list[Array]]:
    """Return the sums that a step goes on from: those of each loss, which begin at `zero`."""
    found = []
    for loss in losses:
        sums = loss.sums(weighted)
        # Arrays of the backend from the first batch on, which would else be a special case.
        if type(sums[0]) is float:
            sums = [zero] * len(sums)
        elif type(sums[-1]) is float:
            sums[-1] = zero
        found.append(sums)
    return found


def take_sums(losses: Sequence[LossLayer], sums: list[list[Array]], num_samples: int) -> None:
    """Put in what :func:`sums_of` gave, after a step on so many samples without weights."""
    for loss, values in zip(losses, sums, strict=True):
        loss.set_sums(values, num_samples)


def metric_names(losses: Sequence[LossLayer]) -> list[str]:
    """Return the names of the metrics of a chain with these losses."""
    each = [f"loss_{number}" for number in range(len(losses))] if len(losses) > 1 else []
    return ["loss", *each, *["accuracy"] * losses[-1].has_accuracy]


@contextlib.contextmanager
def apart(losses: Sequence[LossLayer]) -> Iterator[None]:
    """Begin sums anew for as long as this lasts; those from before go on afterwards."""
    before = [loss.sums_so_far() for loss in losses]
    try:
        for loss in losses:
            loss.reset()
        yield
    finally:
        for loss, sums in zip(losses, before, strict=True):
            vars(loss).update(sums)
