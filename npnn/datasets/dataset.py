"""The dataset every other one is built on: arrays, a split, and random batches."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from npnn import checked, labels
from npnn.batches import Walk
from npnn.datasets.given import (
    TASKS,
    NDArray,
    as_class_names,
    as_inputs,
    as_integers,
    as_targets,
    feature_names_of,
    rows_of_parts,
)
from npnn.guided import guided
from npnn.normalization import Normalization

Batch = tuple[NDArray, NDArray, NDArray | None]


class Dataset:
    r"""Inputs and targets, split into a training and a validation part, served in random batches.

    Parameters
    ----------
    x : array_like
        The raw inputs, one sample per row: shape ``(n, ...)``. A one-dimensional `x` is `n`
        samples of one feature.
    t : array_like
        The targets: shape ``(n, k)``, or ``(n,)`` for one output. Of a classification, one-hot
        rows, or ``(n,)`` integer classes or words, of which one-hot rows are made. Rows go
        together by their place, whatever the index of a table says.
    c : array_like, optional
        The integer classes, shape ``(n,)``; by default derived from `t`. None for regression.
    train_fraction : float
        The share of the samples that trains, strictly between 0 and 1; the number of training
        samples is that share of all, rounded. The split is random. It is stratified by class for
        a classification or binary task: both parts hold about the same share of every class.
    seed : int, optional
        Makes the split and every batch repeatable. None draws them afresh each time.
    norm : Normalization, optional
        What the optimizer applies to the inputs of a batch; by default mean 0 and standard
        deviation 1 of every feature over the training part.
    class_names, feature_names : sequence of str, optional
        Names for reports and files. Class names default to the words in `t`, sorted, or to "0",
        "1", ... (None for regression); feature names to those of a table's columns.
    name : str, optional
        By default the name of the class.
    task : {"classification", "binary", "regression"}, optional
        By default "classification" if `t` has two or more columns and every row is one-hot, if
        it is words, or if it is integers (not floats) 0 to k - 1, all of them, for at most 20
        classes and n / 2; "binary" if it has one column of zeros and ones, and "regression"
        otherwise.
    num_train : int, optional
        The first `num_train` samples are the training part, in place of a random split
        (`train_fraction` is then not used, and the parts share memory with the whole).
    strata : array_like of int, optional
        Groups, shape ``(n,)``, of which both parts are to hold about the same share; by default
        the classes, and none for regression.
    parts : tuple of two arrays of int, optional
        The rows of the training part and of the validation part, in place of a random split; no
        row is in both. At most one of `num_train`, `strata` and `parts` is given.

    Attributes
    ----------
    x_data, y_data, c_data : ndarray
        All raw inputs, targets and classes, in the order given. Inputs are float32, except that
        ``uint8`` inputs stay so (a quarter of the memory), and that those of 64 bits stay so where
        float32 would make one number of different ones, such as times in seconds; so do targets.
        Classes are int64, and None for regression.
    columns : list of str or None
        The columns of the table that `x` was, in which inputs for a model that was trained on it
        are looked for by name.
    x_train_data, y_train_data, c_train_data : ndarray
        The training part.
    x_validation_data, y_validation_data, c_validation_data : ndarray
        The validation part.
    num_train_data, num_validation_data : int
        The number of samples in each part.
    train_batch_size, validation_batch_size : int
        The size of a batch unless another is asked for; the square root of the part's number of
        samples, rounded. Both can be set.
    norm : Normalization
        The normalisation of the inputs.
    class_names, feature_names : tuple of str or None
        As above.
    task, name, seed
        As above.
    shape_in, shape_out : tuple of int
        The shape of one sample's input and of its target.

    Notes
    -----
    The arrays are writable and raw: nothing here normalises them. Changing them in place changes
    the batches, but not `norm`.

    The batches of each part walk through a random permutation of it and go on with a fresh one
    when it is used up. A batch never holds a sample twice, also where it spans two permutations,
    and the numbers of times that any two samples were served never differ by more than one.
    Training batches come in the order in which `fit` trains on them where it is given the same
    `seed` and batch size; that it ends an epoch with a smaller batch, if the samples do not divide,
    is the one difference. The two parts are walked independently: drawing validation batches does
    not change the training batches that follow.

    Examples
    --------
    >>> data = Dataset([[0.0], [1.0], [2.0], [3.0]], [1.0, 3.0, 5.0, 7.0], train_fraction=0.5)
    >>> data.task, data.num_train_data, data.num_validation_data
    ('regression', 2, 2)
    >>> inputs, targets, classes = data.get_train_batch(2)
    >>> inputs.shape, targets.shape, classes
    ((2, 1), (2, 1), None)
    """

    _made_here = False
    """Whether nobody else has the arrays of inputs, so that they need not be copied."""

    @guided
    def __init__(
        self,
        x: npt.ArrayLike,
        t: npt.ArrayLike,
        c: npt.ArrayLike | None = None,
        train_fraction: float = 0.7,
        seed: int | None = None,
        norm: Normalization | None = None,
        class_names: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        name: str | None = None,
        task: str | None = None,
        *,
        num_train: int | None = None,
        strata: npt.ArrayLike | None = None,
        parts: tuple[NDArray, NDArray] | None = None,
    ) -> None:
        if task is not None:
            checked.word(task, "task", TASKS)
        if norm is not None:
            checked.instance(norm, Normalization, "norm", "Normalization.standard(x)")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a string, not {checked.shown(name)}")
        if class_names is not None:
            class_names = checked.names(class_names, "class_names")
        how = {"num_train": num_train, "strata": strata, "parts": parts}
        given = [argument for argument, value in how.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} contradict each other: give one of them")
        split_rng, train_rng, validation_rng = generators(seed)[:3]
        seed = checked.seed(seed)
        train_seed = int(train_rng.integers(1 << 32)) if seed is None else seed

        self.seed = seed
        self.name = type(self).__name__ if name is None else name
        self.x_data = as_inputs(x, copy=not self._made_here)
        num = len(self.x_data)
        self.y_data, self.c_data, self.task, found = as_targets(t, c, task, class_names, num)
        self.shape_in: tuple[int, ...] = self.x_data.shape[1:]
        self.shape_out: tuple[int, ...] = self.y_data.shape[1:]
        self.class_names = as_class_names(found or class_names, self.task, self.shape_out[0])
        self.columns = labels.columns_of(x)
        if norm is not None:
            norm.check_fits(self.shape_in)
        self.feature_names = feature_names_of(x, feature_names, prod(self.shape_in))

        train: NDArray | slice
        validation: NDArray | slice
        if parts is not None:
            train, validation = rows_of_parts(parts, num)
        elif num_train is None:
            groups = self.c_data if strata is None else as_integers("strata", strata, num)
            train, validation = split(num, train_fraction, groups, split_rng)
        else:
            count = checked.integer(num_train, "num_train")
            if not 0 < count < num:
                raise ValueError(
                    f"num_train must leave at least one sample for each part of the {num}, "
                    f"not {count}"
                )
            train, validation = slice(0, count), slice(count, num)
        self.x_train_data = self.x_data[train]
        self.y_train_data = self.y_data[train]
        self.c_train_data = None if self.c_data is None else self.c_data[train]
        self.x_validation_data = self.x_data[validation]
        self.y_validation_data = self.y_data[validation]
        self.c_validation_data = None if self.c_data is None else self.c_data[validation]

        self.norm = self._standard() if norm is None else norm
        self._train = Walk(train_seed, self.num_train_data)
        self._validation = Walk(int(validation_rng.integers(1 << 32)), self.num_validation_data)
        self._train_batch_size: int = max(1, round(self.num_train_data**0.5))
        self._validation_batch_size: int = max(1, round(self.num_validation_data**0.5))

    def _standard(self) -> Normalization:
        """Return what brings the inputs to unit scale, where nobody says it."""
        return Normalization.standard(self.x_train_data)

    @property
    def num_train_data(self) -> int:
        """The number of training samples."""
        return int(self.x_train_data.shape[0])

    @property
    def num_validation_data(self) -> int:
        """The number of validation samples."""
        return int(self.x_validation_data.shape[0])

    @property
    def train_batch_size(self) -> int:
        """The number of samples in a training batch unless another is asked for."""
        return self._train_batch_size

    @train_batch_size.setter
    def train_batch_size(self, value: int) -> None:
        self._train_batch_size = _batch_size("train_batch_size", value, self.num_train_data)

    @property
    def validation_batch_size(self) -> int:
        """The number of samples in a validation batch unless another is asked for."""
        return self._validation_batch_size

    @validation_batch_size.setter
    def validation_batch_size(self, value: int) -> None:
        self._validation_batch_size = _batch_size(
            "validation_batch_size", value, self.num_validation_data
        )

    def get_train_batch(self, batch_size: int | None = None) -> Batch:
        """Return the next random batch of the training part.

        Parameters
        ----------
        batch_size : int, optional
            From 1 to `num_train_data`; by default `train_batch_size`.

        Returns
        -------
        inputs, targets, classes : ndarray
            Copies: raw inputs and targets, as above but bytes as float32, and classes as int64
            (None for regression).
        """
        size = self.train_batch_size if batch_size is None else batch_size
        rows = self._train.take(_batch_size("batch_size", size, self.num_train_data))
        return _rows(rows, self.x_train_data, self.y_train_data, self.c_train_data)

    def get_validation_batch(self, batch_size: int | None = None) -> Batch:
        """Return the next random batch of the validation part.

        Parameters
        ----------
        batch_size : int, optional
            From 1 to `num_validation_data`; by default `validation_batch_size`.

        Returns
        -------
        inputs, targets, classes : ndarray
            Copies: raw inputs and targets, as above but bytes as float32, and classes as int64
            (None for regression).
        """
        size = self.validation_batch_size if batch_size is None else batch_size
        rows = self._validation.take(_batch_size("batch_size", size, self.num_validation_data))
        return _rows(rows, self.x_validation_data, self.y_validation_data, self.c_validation_data)

    def __repr__(self) -> str:
        """Return the task, the sizes of the parts, and the shapes."""
        classes = "" if self.class_names is None else f" ({len(self.class_names)} classes)"
        return (
            f"<{self.name}: {self.task}{classes}, {self.num_train_data} training and "
            f"{self.num_validation_data} validation samples, shape_in={self.shape_in}, "
            f"shape_out={self.shape_out}>"
        )


def generators(seed: int | None) -> list[np.random.Generator]:
    """Return independent generators: of the split, the two walks, and a dataset's own points."""
    seed = checked.seed(seed)
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4)]


def _batch_size(argument: str, value: Any, num: int) -> int:
    size = checked.integer(value, argument)
    if not 1 <= size <= num:
        raise ValueError(f"{argument} must be from 1 to {num}, the number of samples, not {size}")
    return size


def _rows(rows: NDArray, x: NDArray, y: NDArray, c: NDArray | None) -> Batch:
    inputs = x[rows]
    if inputs.dtype == np.uint8:
        inputs = inputs.astype(np.float32)
    return inputs, y[rows], None if c is None else c[rows]


def split(
    num: int, train_fraction: float, groups: NDArray | None, rng: np.random.Generator
) -> tuple[NDArray, NDArray]:
    """Return the rows of a training and a validation part, in which groups have the same share."""
    fraction = checked.number(train_fraction, "train_fraction")
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"train_fraction must lie strictly between 0 and 1, not {fraction}")
    count = round(fraction * num)
    if not 0 < count < num:
        raise ValueError(
            f"train_fraction={fraction} of {num} sample(s) leaves {count} for training and "
            f"{num - count} for validation; each part needs at least one"
        )
    order = rng.permutation(num)
    if groups is not None:
        # A sample's place within its own group, from 0 to 1: sorted by it, any first part of the
        # order holds about the same share of every group, and the total is exact.
        place = np.empty(num)
        shuffled = groups[order]
        for group in np.unique(groups):
            members = order[shuffled == group]
            place[members] = (np.arange(len(members)) + 0.5) / len(members)
        order = order[np.argsort(place[order], kind="stable")]
    return np.sort(order[:count]), np.sort(order[count:])
