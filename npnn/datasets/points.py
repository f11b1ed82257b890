"""Small generated problems: noisy logic gates and noisy curves."""

from __future__ import annotations

import numpy as np

from npnn import checked
from npnn.datasets.dataset import Dataset, generators
from npnn.datasets.given import NDArray, one_hot

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
MAX_RADIUS = 0.449
XOR = np.array([0, 1, 1, 0])
AND = np.array([0, 0, 0, 1])


def _corner_points(seed: int | None, num_data: int, noise: float) -> tuple[NDArray, NDArray]:
    num = checked.integer(num_data, "num_data")
    if num < 4:
        raise ValueError(f"num_data must be at least 4, a point for each corner, not {num}")
    deviation = _check_noise(noise)
    corners = np.arange(num) % 4
    shift = deviation * generators(seed)[3].standard_normal((num, 2))
    radius = np.hypot(shift[:, :1], shift[:, 1:])
    shift *= np.minimum(1.0, MAX_RADIUS / np.maximum(radius, MAX_RADIUS))
    return CORNERS[corners] + shift, corners


def _line_points(
    seed: int | None, num_data: int, noise: float, low: float
) -> tuple[NDArray, NDArray]:
    num = checked.integer(num_data, "num_data")
    if num < 2:
        raise ValueError(f"num_data must be at least 2, not {num}")
    deviation = _check_noise(noise)
    rng = generators(seed)[3]
    return rng.uniform(low, 1.0, num), deviation * rng.standard_normal(num)


def _check_noise(noise: float) -> float:
    deviation = checked.number(noise, "noise")
    if deviation < 0.0:
        raise ValueError(f"noise must be a standard deviation from 0 up, not {deviation}")
    return deviation


class XORBinClasses(Dataset):
    r"""Exclusive or over four noisy clusters, as a binary task with one output.

    Point :math:`i` belongs to corner :math:`k = i \bmod 4` of the unit square, where corners 0 to
    3 are :math:`p_k = (0, 0), (0, 1), (1, 0), (1, 1)`, and

    .. math:: x_i = p_k + e_i \min(1, 0.449 / |e_i|), \qquad
              t_i = \mathrm{XOR}(p_k) = 0, 1, 1, 0,

    where both parts of :math:`e_i` are gaussian with mean 0 and standard deviation `noise`. Every
    point is thus nearer than 0.45 to its own corner: the classes do not touch, and an accuracy of
    1 can be reached.

    Parameters
    ----------
    seed : int, optional
        Makes the points, the split and the batches repeatable.
    num_data : int
        The number of points, at least 4; a multiple of 4 gives all corners the same number.
    noise : float
        The standard deviation above.
    train_fraction : float
        The share that trains; each corner is split in this proportion.

    Examples
    --------
    >>> data = XORBinClasses(seed=1)
    >>> data.task, data.num_train_data, data.num_validation_data, data.shape_out
    ('binary', 280, 120, (1,))
    """

    def __init__(
        self,
        seed: int | None = None,
        num_data: int = 400,
        noise: float = 0.05,
        train_fraction: float = 0.7,
    ) -> None:
        x, corners = _corner_points(seed, num_data, noise)
        super().__init__(
            x,
            XOR[corners],
            train_fraction=train_fraction,
            seed=seed,
            class_names=("equal", "different"),
            feature_names=("x1", "x2"),
            task="binary",
            strata=corners,
        )


class XORTwoClasses(Dataset):
    """Exclusive or over four noisy clusters, as a classification with two one-hot outputs.

    The points are those of `XORBinClasses` with the same arguments. The target of a point is
    ``(1, 0)`` where the two coordinates of its corner are equal and ``(0, 1)`` where they differ.

    Parameters
    ----------
    seed : int, optional
        Makes the points, the split and the batches repeatable.
    num_data : int
        The number of points, at least 4; a multiple of 4 gives all corners the same number.
    noise : float
        The standard deviation of the noise before its length is cut at 0.449.
    train_fraction : float
        The share that trains; each corner is split in this proportion.
    """

    def __init__(
        self,
        seed: int | None = None,
        num_data: int = 400,
        noise: float = 0.05,
        train_fraction: float = 0.7,
    ) -> None:
        x, corners = _corner_points(seed, num_data, noise)
        super().__init__(
            x,
            one_hot(XOR[corners], 2),
            train_fraction=train_fraction,
            seed=seed,
            class_names=("equal", "different"),
            feature_names=("x1", "x2"),
            task="classification",
            strata=corners,
        )


class XORFunction(Dataset):
    """Exclusive or as a regression: the same points, and the real target 0 or 1.

    The points are those of `XORBinClasses` with the same arguments. The target is 0.0 at the
    corners (0, 0) and (1, 1), and 1.0 at (0, 1) and (1, 0).

    Parameters
    ----------
    seed : int, optional
        Makes the points, the split and the batches repeatable.
    num_data : int
        The number of points, at least 4; a multiple of 4 gives all corners the same number.
    noise : float
        The standard deviation of the noise before its length is cut at 0.449.
    train_fraction : float
        The share that trains; each corner is split in this proportion.
    """

    def __init__(
        self,
        seed: int | None = None,
        num_data: int = 400,
        noise: float = 0.05,
        train_fraction: float = 0.7,
    ) -> None:
        x, corners = _corner_points(seed, num_data, noise)
        super().__init__(
            x,
            XOR[corners],
            train_fraction=train_fraction,
            seed=seed,
            feature_names=("x1", "x2"),
            task="regression",
            strata=corners,
        )


class ANDFunction(Dataset):
    """Logical and as a regression: a problem that a single layer solves.

    The points are those of `XORBinClasses` with the same arguments. The target is 1.0 at the
    corner (1, 1) and 0.0 at the three others.

    Parameters
    ----------
    seed : int, optional
        Makes the points, the split and the batches repeatable.
    num_data : int
        The number of points, at least 4; a multiple of 4 gives all corners the same number.
    noise : float
        The standard deviation of the noise before its length is cut at 0.449.
    train_fraction : float
        The share that trains; each corner is split in this proportion.
    """

    def __init__(
        self,
        seed: int | None = None,
        num_data: int = 400,
        noise: float = 0.05,
        train_fraction: float = 0.7,
    ) -> None:
        x, corners = _corner_points(seed, num_data, noise)
        super().__init__(
            x,
            AND[corners],
            train_fraction=train_fraction,
            seed=seed,
            feature_names=("x1", "x2"),
            task="regression",
            strata=corners,
        )


class NoisyLinear(Dataset):
    r"""A straight line with noise.

    .. math:: t_i = \mathrm{slope} \cdot x_i + \mathrm{intercept} + e_i,

    where :math:`x_i` is uniform over :math:`[-1, 1)` and :math:`e_i` gaussian with mean 0 and
    standard deviation `noise`.

    Parameters
    ----------
    seed : int, optional
        Makes the points, the split and the batches repeatable.
    num_data : int
        The number of points, at least 2.
    noise : float
        The standard deviation above; its square is the smallest mean squared error to hope for.
    train_fraction : float
        The share that trains.
    slope, intercept : float
        The line.
    """

    def __init__(
        self,
        seed: int | None = None,
        num_data: int = 400,
        noise: float = 0.1,
        train_fraction: float = 0.7,
        slope: float = 2.0,
        intercept: float = -1.0,
    ) -> None:
        x, error = _line_points(seed, num_data, noise, -1.0)
        slope, intercept = checked.number(slope, "slope"), checked.number(intercept, "intercept")
        super().__init__(
            x,
            slope * x + intercept + error,
            train_fraction=train_fraction,
            seed=seed,
            feature_names=("x",),
            task="regression",
        )


class NoisySine(Dataset):
    r"""One period of a sine with noise.

    .. math:: t_i = \sin(2 \pi x_i) + e_i,

    where :math:`x_i` is uniform over :math:`[0, 1)` and :math:`e_i` gaussian with mean 0 and
    standard deviation `noise`.

    Parameters
    ----------
    seed : int, optional
        Makes the points, the split and the batches repeatable.
    num_data : int
        The number of points, at least 2.
    noise : float
        The standard deviation above; its square is the smallest mean squared error to hope for.
    train_fraction : float
        The share that trains.
    """

    def __init__(
        self,
        seed: int | None = None,
        num_data: int = 400,
        noise: float = 0.1,
        train_fraction: float = 0.7,
    ) -> None:
        x, error = _line_points(seed, num_data, noise, 0.0)
        super().__init__(
            x,
            np.sin(2 * np.pi * x) + error,
            train_fraction=train_fraction,
            seed=seed,
            feature_names=("x",),
            task="regression",
        )
