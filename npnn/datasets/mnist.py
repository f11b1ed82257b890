"""MNIST and Fashion-MNIST: from a folder, or downloaded once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import numpy as np

from npnn import checked
from npnn.datasets.dataset import Dataset
from npnn.datasets.given import NDArray, one_hot
from npnn.datasets.idx import read_idx
from npnn.errors import MissingError, extra
from npnn.normalization import Normalization

PARTS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "t10k": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class MNIST(Dataset):
    """Handwritten digits of 28x28 pixels: 60,000 for training and 10,000 for validation.

    Parameters
    ----------
    folder : path-like, optional
        Where the four IDX files are (``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and
        the two that begin with ``t10k``), as they are or compressed, with the suffix ``.gz``. By
        default they are downloaded once, checked, and kept in the user's cache folder; this needs
        pooch.
    seed : int, optional
        Makes the batches (and the split, if there is one) repeatable.
    flat : bool
        Whether an image is a vector of 784 pixels, or has the shape ``(28, 28, 1)``.
    train_fraction : float
        The share that trains where the folder holds only one of the two parts: that part is then
        split at random, in about this proportion for each class.
    size : {28, 14}
        Pixels of a side. With 14, each pixel is the mean of 2x2, which is a quarter of the work.

    Notes
    -----
    `x_data` and its parts stay ``uint8``, from 0 to 255: as float32 they would take 220 MB. The
    batches are float32. `norm` shifts and scales by the mean and the standard deviation over all
    pixels of the training images.
    """

    url: ClassVar[str] = "https://ossci-datasets.s3.amazonaws.com/mnist/"
    checksums: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
    }
    offset: ClassVar[float] = 33.32
    scale: ClassVar[float] = 78.57
    labels: ClassVar[tuple[str, ...]] = tuple("0123456789")
    _made_here = True

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        seed: int | None = None,
        flat: bool = True,
        train_fraction: float = 0.7,
        size: int = 28,
    ) -> None:
        checked.flag(flat, "flat")
        if size not in (28, 14):
            raise ValueError(f"size must be 28 or 14, not {size!r}")
        where = self._download() if folder is None else Path(folder)
        parts = [_read_part(*paths) for paths in _find_parts(where)]
        images = np.concatenate([part[0] for part in parts]) if parts[1:] else parts[0][0]
        classes = np.concatenate([part[1] for part in parts]).astype(np.int64)
        if size == 14:
            images = _halved(images)
        super().__init__(
            images.reshape((-1, size * size) if flat else (-1, size, size, 1)),
            one_hot(classes, 10),
            classes,
            train_fraction=train_fraction,
            seed=seed,
            norm=Normalization(self.offset, self.scale),
            class_names=self.labels,
            task="classification",
            num_train=len(parts[0][1]) if parts[1:] else None,
        )
        if size == 14:
            x = self.x_train_data
            self.norm = Normalization(round(float(x.mean()), 2), round(float(x.std()), 2))

    @classmethod
    def _download(cls) -> Path:
        try:
            import pooch
        except ImportError:
            raise extra("pooch", "data") from None
        try:
            cache = Path(pooch.os_cache("npnn")) / cls.__name__.lower()
        except (RuntimeError, KeyError) as error:  # a user whom the system does not know
            raise MissingError(
                f"there is no folder to download {cls.__name__} into ({error}): set XDG_CACHE_HOME "
                "to one, or put the four files into a folder and pass its path as folder"
            ) from None
        store = pooch.create(path=cache, base_url=cls.url, registry=cls.checksums)
        for name in cls.checksums:
            try:
                store.fetch(name)
            except OSError as error:
                raise MissingError(
                    f"could not download {cls.url}{name} into {cache} ({error}); try again, or "
                    "put the four files into a folder and pass its path as folder"
                ) from error
        return cache


class FashionMNIST(MNIST):
    """Pieces of clothing of 28x28 pixels: 60,000 for training and 10,000 for validation.

    The files have the names and the format of those of MNIST, and everything said there holds.

    Parameters
    ----------
    folder : path-like, optional
        Where the four IDX files are; by default they are downloaded once.
    seed : int, optional
        Makes the batches (and the split, if there is one) repeatable.
    flat : bool
        Whether an image is a vector of 784 pixels, or has the shape ``(28, 28, 1)``.
    train_fraction : float
        The share that trains where the folder holds only one of the two parts.
    size : {28, 14}
        Pixels of a side.
    """

    url: ClassVar[str] = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    checksums: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
    }
    offset: ClassVar[float] = 72.94
    scale: ClassVar[float] = 90.02
    labels: ClassVar[tuple[str, ...]] = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )


def _halved(images: NDArray) -> NDArray:
    """Return images whose pixels are the means of 2x2, rounded to whole numbers."""
    pixels = images.reshape(len(images), 14, 2, 14, 2)
    sums = pixels.sum(axis=(2, 4), dtype=np.uint16)
    halved: NDArray = ((sums + 2) // 4).astype(np.uint8)
    return halved


def _find_parts(folder: Path) -> list[tuple[Path, Path]]:
    if not folder.is_dir():
        raise ValueError(f"folder must be an existing folder, not {str(folder)!r}")
    found: list[tuple[Path, Path]] = []
    for names in PARTS.values():
        images, labels = (_find(folder, name) for name in names)
        if images is not None and labels is not None:
            found.append((images, labels))
        elif images is not None or labels is not None:
            there, absent = (images, names[1]) if labels is None else (labels, names[0])
            raise ValueError(
                f"{folder} holds {there and there.name} but no {absent} or {absent}.gz"
            )
    if not found:
        present = sorted(entry.name for entry in folder.iterdir())[:8]
        raise ValueError(
            f"{folder} holds no IDX files: expected {' and '.join(PARTS['train'])} or "
            f"{' and '.join(PARTS['t10k'])} (or each with .gz), found "
            f"{', '.join(present) or 'no files'}"
        )
    return found


def _find(folder: Path, name: str) -> Path | None:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    return None


def _read_part(images_path: Path, labels_path: Path) -> tuple[NDArray, NDArray]:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise ValueError(
            f"{images_path} must hold uint8 images of the shape (n, 28, 28), found {images.dtype} "
            f"of the shape {images.shape}"
        )
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise ValueError(
            f"{labels_path} must hold uint8 labels of the shape (n,), found {labels.dtype} of the "
            f"shape {labels.shape}"
        )
    if len(images) != len(labels):
        raise ValueError(
            f"{labels_path} must hold a label for each of the {len(images)} images of "
            f"{images_path.name}, found {len(labels)}"
        )
    if labels.size and labels.max() > 9:
        raise ValueError(f"{labels_path} must hold labels from 0 to 9, found {labels.max()}")
    return images, labels
