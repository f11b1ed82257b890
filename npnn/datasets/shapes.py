"""Small generated problems in the plane, whose classes no straight line parts."""

from __future__ import annotations

import numpy as np

from npnn import checked
from npnn.datasets.dataset import Dataset, generators
from npnn.datasets.given import NDArray, one_hot


class Shapes(Dataset):
    """Base of the problems whose two classes are drawn in the plane, a point of each in turn."""

    def __init__(
        self, seed: int | None, num_data: int, noise: float, train_fraction: float
    ) -> None:
        num = checked.integer(num_data, "num_data")
        if num < 4:
            raise ValueError(f"num_data must be at least 4, two points for each class, not {num}")
        deviation = checked.not_negative(noise, "noise")
        rng, classes = generators(seed)[3], np.arange(num) % 2
        points = self.points(rng, classes) + deviation * rng.standard_normal((num, 2))
        super().__init__(
            points,
            one_hot(classes, 2),
            train_fraction=train_fraction,
            seed=seed,
            class_names=self.names,
            feature_names=("x1", "x2"),
            task="classification",
        )

    names: tuple[str, str] = ("first", "second")

    def points(self, rng: np.random.Generator, classes: NDArray) -> NDArray:
        """Return a point for each class, before the noise."""
        raise NotImplementedError(f"{type(self).__name__} has no points")


class Clusters(Shapes):
    r"""Two clouds of points: :math:`x_i = \pm (1, 1) + e_i`, which a straight line may part.

    Parameters
    ----------
    seed : int, optional
        Makes the points, the split and the batches repeatable.
    num_data : int
        The number of points, at least 4; an even one gives both classes the same number.
    noise : float
        The standard deviation of the gaussian :math:`e_i`; from about 1 on the clouds overlap.
    train_fraction : float
        The share that trains.

    Examples
    --------
    >>> Clusters(seed=0).num_train_data
    280
    """

    def __init__(
        self,
        seed: int | None = None,
        num_data: int = 400,
        noise: float = 0.5,
        train_fraction: float = 0.7,
    ) -> None:
        super().__init__(seed, num_data, noise, train_fraction)

    def points(self, rng: np.random.Generator, classes: NDArray) -> NDArray:
        return np.repeat(2.0 * classes[:, None] - 1.0, 2, axis=1)


class Circles(Shapes):
    r"""A disc within a ring.

    .. math:: x_i = r_i (\cos a_i, \sin a_i) + e_i,

    where the angle :math:`a_i` is uniform, and :math:`r_i` such that points are spread evenly over
    the disc, up to 0.5, and over the ring, from 0.7 to 1.

    Parameters
    ----------
    seed : int, optional
        Makes the points, the split and the batches repeatable.
    num_data : int
        The number of points, at least 4; an even one gives both classes the same number.
    noise : float
        The standard deviation of the gaussian :math:`e_i`.
    train_fraction : float
        The share that trains.
    """

    names = ("disc", "ring")

    def __init__(
        self,
        seed: int | None = None,
        num_data: int = 400,
        noise: float = 0.05,
        train_fraction: float = 0.7,
    ) -> None:
        super().__init__(seed, num_data, noise, train_fraction)

    def points(self, rng: np.random.Generator, classes: NDArray) -> NDArray:
        low, high = np.where(classes == 0, 0.0, 0.7), np.where(classes == 0, 0.5, 1.0)
        radius = np.sqrt(rng.uniform(low**2, high**2))
        angle = rng.uniform(0.0, 2 * np.pi, len(classes))
        found: NDArray = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        return found


class Spirals(Shapes):
    r"""Two arms that wind around each other.

    .. math:: x_i = s_i (\cos a_i, \sin a_i) + e_i, \qquad a_i = 2 \pi \, \mathrm{turns} \, s_i
              + \pi c_i,

    where :math:`s_i` is uniform from 0.1 to 1, and :math:`c_i`, 0 or 1, is the class.

    Parameters
    ----------
    seed : int, optional
        Makes the points, the split and the batches repeatable.
    num_data : int
        The number of points, at least 4; an even one gives both classes the same number.
    noise : float
        The standard deviation of the gaussian :math:`e_i`.
    train_fraction : float
        The share that trains.
    turns : float
        How often each arm goes round.
    """

    def __init__(
        self,
        seed: int | None = None,
        num_data: int = 400,
        noise: float = 0.02,
        train_fraction: float = 0.7,
        turns: float = 1.5,
    ) -> None:
        self.turns = checked.positive(turns, "turns")
        super().__init__(seed, num_data, noise, train_fraction)

    def points(self, rng: np.random.Generator, classes: NDArray) -> NDArray:
        along = rng.uniform(0.1, 1.0, len(classes))
        angle = 2 * np.pi * self.turns * along + np.pi * classes
        found: NDArray = along[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        return found
