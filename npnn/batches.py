"""The order of the samples in each epoch, and the data that are cut into batches by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import backends
from npnn.arrays import Array
from npnn.trees import first, leaves, len_of, mapped

if TYPE_CHECKING:
    from npnn.acceptance import Acceptance
    from npnn.backends import Backend
    from npnn.backends.backend import Tree

SHARE_OF_DATA = 0.5  # of the device's free memory; the rest is for a step


def order(seed: int, epoch: int, num_samples: int, shuffle: bool = True) -> np.ndarray:
    """Return the numbers of the samples in the order of an epoch, counted from 1."""
    if shuffle:
        return np.random.default_rng([seed, epoch]).permutation(num_samples)
    return np.arange(num_samples)


class Walk:
    """The samples of one epoch after another, so many at a time, without an end.

    Where that number divides an epoch, these are the batches that :func:`npnn.training.fit` trains
    on. Where it does not, fit ends an epoch with a smaller batch, and here one takes in samples of
    the next epoch: of those the first that it does not hold already.
    """

    def __init__(self, seed: int, num_samples: int) -> None:
        self.seed, self.num_samples, self.epoch = seed, num_samples, 0
        self._rest = order(seed, 0, 0)

    def take(self, size: int) -> np.ndarray:
        """Return the numbers of the next samples, no more than there are, each of them once."""
        batch, self._rest = self._rest[:size], self._rest[size:]
        if len(batch) < size:
            self.epoch += 1
            following = order(self.seed, self.epoch, self.num_samples)
            first = following[~np.isin(following, batch)][: size - len(batch)]
            self._rest = following[~np.isin(following, first)]
            batch = np.concatenate([batch, first])
        return batch


def cut(samples: Any, size: int) -> list[Any]:
    """Return parts of `size` samples; the last may be smaller."""
    count = samples.shape[0]
    return [samples[start : min(start + size, count)] for start in range(0, count, size)]


def rows_of(data: Any, size: int) -> Iterator[Any]:
    """Yield all samples of arrays, in order, so many at a time."""
    count = first(data).shape[0]
    for start in range(0, count, size):
        stop = min(start + size, count)
        yield mapped(data, partial(_rows, start, stop))


def in_parts(
    predict: Callable[[Tree], Array], batch: Tree, size: int | None, backend: Backend
) -> Array:
    """Return what is predicted for a batch, so many samples at a time."""
    if size is None or len_of(batch["x"]) <= size:
        return predict(batch)
    outputs = [predict(part) for part in rows_of(batch, size)]
    with backend.current():
        return backend.xp.concat(outputs)


def _rows(start: int, stop: int, array: Array) -> Array:
    return array[start:stop, ...]


class Data:
    """Prepared inputs, targets and weights on the model's device."""

    remark = ""

    def __init__(self, backend: Backend, arrays: Tree) -> None:
        self.backend, self.arrays = backend, arrays

    def __len__(self) -> int:
        return len_of(self.arrays["x"])

    @property
    def bound(self) -> Tree:
        """What each step reads of the device, and finds there."""
        return self.arrays

    def split(self, order: np.ndarray, size: int) -> list[Array]:
        """Return the numbers of the samples of each batch."""
        return cut(self.backend.asarray(order, keep_integers=True), size)

    def batches(self, indices: list[Array]) -> Iterator[Tree]:
        """Yield what each step is given."""
        return ({"index": index} for index in indices)

    def rows(self, size: int) -> Iterator[Tree]:
        """Yield all samples, in order, so many at a time."""
        return rows_of(self.arrays, size)

    def chosen(self, rows: np.ndarray) -> Data:
        """Return some of the samples."""
        with self.backend.current():
            index = self.backend.asarray(rows, keep_integers=True)
            take = self.backend.xp.take
            return Data(self.backend, mapped(self.arrays, lambda a: take(a, index, axis=0)))


class StreamedData(Data):
    """Prepared inputs, targets and weights that stay on the host: a step is given its batch."""

    def __init__(self, backend: Backend, arrays: Tree, remark: str) -> None:
        super().__init__(backend, arrays)
        self.remark = remark

    @property
    def bound(self) -> Tree:
        """Nothing: a batch comes with each step."""
        return {}

    def split(self, order: np.ndarray, size: int) -> list[Array]:
        """Return the numbers of the samples of each batch, on the host."""
        return cut(order, size)

    def batches(self, indices: list[Array]) -> Iterator[Tree]:
        """Yield batches, while the next ones are on their way."""
        flat = {str(path): array for path, array in leaves(self.arrays)}
        for batch in self.backend.batches(flat, indices):
            arrays = iter(batch.values())
            yield mapped(self.arrays, partial(_next_of, arrays))

    def rows(self, size: int) -> Iterator[Tree]:
        """Yield all samples, in order, so many at a time."""
        return self.batches(cut(np.arange(len(self)), size))

    def chosen(self, rows: np.ndarray) -> Data:
        """Return some of the samples."""
        return StreamedData(self.backend, mapped(self.arrays, lambda a: a[rows]), self.remark)


def _next_of(arrays: Iterator[Array], old: Array) -> Array:
    return next(arrays)


def prepared(
    accept: Acceptance, x: Any, t: Any, w: Any, name: str, *, training: bool = False
) -> Data:
    """Return data on the device, or on the host if they would leave it too little memory."""
    backend = accept.network.backend
    accepted = partial(accept.data, x, t, w, f"{name}: ", training=training)
    free = backend.free_memory()
    if backend.owns(x) or (free is not None and _nbytes(x, t, backend) <= SHARE_OF_DATA * free):
        return Data(backend, accepted(backend=backend))
    host = backends.get("numpy", backend.dtype_name)
    arrays = accepted(backend=host)
    if free is None:
        return Data(backend, mapped(arrays, partial(backend.asarray, keep_integers=True)))
    remark = (
        f"{name} ({_nbytes(x, t, backend) / 1e9:.1f} GB) stay in the host's memory and are "
        f"streamed: the device has {free / 1e9:.1f} GB free"
    )
    return StreamedData(backend, arrays, remark)


def _nbytes(x: Any, t: Any, backend: Backend) -> int:
    """Return how many bytes inputs and targets take on the device."""
    arrays = [a for _, a in leaves(x)] if isinstance(x, (dict, tuple)) else [x]
    try:
        shapes = [getattr(a, "shape", None) or np.shape(a) for a in (*arrays, t)]
    except ValueError:  # which is said where an array is made of it
        return 0
    return sum(map(math.prod, shapes)) * np.dtype(backend.dtype_name).itemsize


def split(data: Data, share: float, seed: int) -> tuple[Data, Data]:
    """Return what is trained on, and a share of the samples that is validated on."""
    count = round(share * len(data))
    if not 0 < count < len(data):
        raise ValueError(
            f"validation_split={share} of {len(data)} samples leaves none to train on or to "
            "validate on"
        )
    order = np.random.default_rng([seed, 0]).permutation(len(data))
    return data.chosen(np.sort(order[count:])), data.chosen(np.sort(order[:count]))
