"""Datasets that hand out random batches: built in, downloaded once, or from a user's own file.

A dataset is host-side data (NumPy arrays of raw values) with a split into a training and a
validation part, and the normalisation the optimizer applies to what the batches hold.
"""

from __future__ import annotations

from npnn.datasets.columns import CategoryColumn, Column, DateColumn, NumberColumn, TextColumn
from npnn.datasets.dataset import Dataset
from npnn.datasets.digits import Digits
from npnn.datasets.icons import FourSmallIcons, FourSteppedIcons, TwoSteppedIcons
from npnn.datasets.idx import read_idx
from npnn.datasets.mnist import MNIST, FashionMNIST
from npnn.datasets.points import (
    ANDFunction,
    NoisyLinear,
    NoisySine,
    XORBinClasses,
    XORFunction,
    XORTwoClasses,
)
from npnn.datasets.schema import TableSchema
from npnn.datasets.shapes import Circles, Clusters, Spirals
from npnn.datasets.sources import RawTable, read_table
from npnn.datasets.table import Table

__all__ = [
    "MNIST",
    "ANDFunction",
    "CategoryColumn",
    "Circles",
    "Clusters",
    "Column",
    "Dataset",
    "DateColumn",
    "Digits",
    "FashionMNIST",
    "FourSmallIcons",
    "FourSteppedIcons",
    "NoisyLinear",
    "NoisySine",
    "NumberColumn",
    "RawTable",
    "Spirals",
    "Table",
    "TableSchema",
    "TextColumn",
    "TwoSteppedIcons",
    "XORBinClasses",
    "XORFunction",
    "XORTwoClasses",
    "read_idx",
    "read_table",
]
