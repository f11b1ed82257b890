"""The 1,797 handwritten digits that come with the package."""

from __future__ import annotations

import numpy as np

from npnn import checked
from npnn.datasets.dataset import Dataset
from npnn.datasets.given import one_hot
from npnn.normalization import Normalization


class Digits(Dataset):
    """Handwritten digits of 8x8 pixels: 1,797 images of ten classes, with no download.

    The test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI
    Machine Learning Repository, 1998; CC BY 4.0). A pixel counts the ink in a 4x4 block of the
    scan, from 0 to 16. The file ``data/digits.md`` in this package says how the data were made.

    Parameters
    ----------
    seed : int, optional
        Makes the split and the batches repeatable.
    train_fraction : float
        The share that trains; each digit is split in about this proportion.
    flat : bool
        Whether an image is a vector of 64 pixels, or has the shape ``(8, 8, 1)``.

    Notes
    -----
    `norm` shifts by 4.884 and scales by 6.017: the mean and the standard deviation over all pixels
    of all images. Normalising each pixel by itself learns a little slower here, since it blows up
    the border pixels, which hold ink in a few images only.

    Examples
    --------
    >>> data = Digits(seed=0)
    >>> data.num_train_data, data.num_validation_data, data.shape_in, data.shape_out
    (1438, 359, (64,), (10,))
    """

    def __init__(
        self, seed: int | None = None, train_fraction: float = 0.8, flat: bool = True
    ) -> None:
        from importlib.resources import files

        with (
            (files(__package__) / "data" / "digits.npz").open("rb") as file,
            np.load(file, allow_pickle=False) as data,
        ):
            images, labels = data["images"], data["labels"].astype(np.int64)
        shape = (-1, 64) if checked.flag(flat, "flat") else (-1, 8, 8, 1)
        x = images.reshape(shape).astype(np.float32)
        super().__init__(
            x,
            one_hot(labels, 10),
            labels,
            train_fraction=train_fraction,
            seed=seed,
            norm=Normalization(4.884, 6.017),
            task="classification",
        )
