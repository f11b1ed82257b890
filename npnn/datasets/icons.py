"""Small noisy icons: images that a convolution of a few numbers tells apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npnn import checked
from npnn.datasets.dataset import Dataset, generators
from npnn.datasets.given import NDArray, one_hot
from npnn.normalization import Normalization

ICONS = {
    "plus": (".#.", "###", ".#."),
    "times": ("#.#", ".#.", "#.#"),
    "ring": ("###", "#.#", "###"),
    "tee": ("###", ".#.", ".#."),
}
SIZE = 3


class _Icons(Dataset):
    """Icons of 3x3 pixels on a larger background, with noise on every pixel."""

    def __init__(
        self,
        names: Sequence[str],
        size: int,
        seed: int | None,
        num_data: int,
        noise: float,
        train_fraction: float,
    ) -> None:
        images, classes = draw_icons(names, size, seed, num_data, noise)
        super().__init__(
            images,
            one_hot(classes, len(names)),
            classes,
            train_fraction=train_fraction,
            seed=seed,
            # Paper and ink become -1 and 1. A scale for each pixel would blow up the noise of
            # those that are the same in all icons.
            norm=Normalization(0.5, 0.5),
            class_names=names,
            task="classification",
        )


class FourSmallIcons(_Icons):
    r"""Four icons of 3x3 pixels: plus, times, ring and tee.

    ::

        . # .     # . #     # # #     # # #
        # # #     . # .     # . #     . # .
        . # .     # . #     # # #     . # .

    A pixel is 0 for paper and 1 for ink, plus gaussian noise. Sample i has the class i mod 4.

    Parameters
    ----------
    seed : int, optional
        Makes the noise, the split and the batches repeatable.
    num_data : int
        The number of images, at least 4.
    noise : float
        The standard deviation of the noise.
    train_fraction : float
        The share that trains; each icon is split in this proportion.

    Examples
    --------
    >>> data = FourSmallIcons(seed=0)
    >>> data.shape_in, data.class_names, data.num_train_data
    ((3, 3, 1), ('plus', 'times', 'ring', 'tee'), 280)
    """

    def __init__(
        self,
        seed: int | None = None,
        num_data: int = 400,
        noise: float = 0.2,
        train_fraction: float = 0.7,
    ) -> None:
        super().__init__(tuple(ICONS), 3, seed, num_data, noise, train_fraction)


class TwoSteppedIcons(_Icons):
    """A plus or a times of 3x3 pixels, up to one step from the upper left corner of 4x4 pixels.

    The icons are those of `FourSmallIcons`, each at one of the four places where it fits, drawn at
    random.

    Parameters
    ----------
    seed : int, optional
        Makes the places, the noise, the split and the batches repeatable.
    num_data : int
        The number of images, at least 2.
    noise : float
        The standard deviation of the noise.
    train_fraction : float
        The share that trains; each icon is split in this proportion.
    """

    def __init__(
        self,
        seed: int | None = None,
        num_data: int = 400,
        noise: float = 0.2,
        train_fraction: float = 0.7,
    ) -> None:
        super().__init__(("plus", "times"), 4, seed, num_data, noise, train_fraction)


class FourSteppedIcons(_Icons):
    """A plus, times, ring or tee of 3x3 pixels, up to five steps into an image of 8x8 pixels.

    The icons are those of `FourSmallIcons`, each at one of the 36 places where it fits, drawn at
    random: what a convolution learns at one place it knows at all of them.

    Parameters
    ----------
    seed : int, optional
        Makes the places, the noise, the split and the batches repeatable.
    num_data : int
        The number of images, at least 4.
    noise : float
        The standard deviation of the noise.
    train_fraction : float
        The share that trains; each icon is split in this proportion.
    """

    def __init__(
        self,
        seed: int | None = None,
        num_data: int = 1000,
        noise: float = 0.2,
        train_fraction: float = 0.7,
    ) -> None:
        super().__init__(tuple(ICONS), 8, seed, num_data, noise, train_fraction)


def draw_icons(
    names: Sequence[str], size: int, seed: int | None, num_data: int, noise: float
) -> tuple[NDArray, NDArray]:
    """Return noisy images of shape (num_data, size, size, 1) and their classes, in turn."""
    num = checked.integer(num_data, "num_data")
    if num < len(names):
        raise ValueError(f"num_data must be at least {len(names)}, one of each icon, not {num}")
    deviation = checked.number(noise, "noise")
    if deviation < 0.0:
        raise ValueError(f"noise must be a standard deviation from 0 up, not {deviation}")
    icons = np.array([[[c == "#" for c in row] for row in ICONS[name]] for name in names])
    rng = generators(seed)[3]
    classes = np.arange(num) % len(names)
    rows, columns = rng.integers(size - SIZE + 1, size=(2, num, 1, 1))
    within = np.arange(SIZE)
    images = np.zeros((num, size, size))
    sample = np.arange(num)[:, None, None]
    images[sample, rows + within[:, None], columns + within] = icons[classes]
    images += deviation * rng.standard_normal(images.shape)
    return images[..., None], classes
