"""Shadows of a device's memory, on which a plan is laid out as if it were the host's.

A shadow is a NumPy array over addresses of the host that are never read, each of which stands for
an address of the device. So shapes, strides, views and what shares memory are found by NumPy.
"""

from __future__ import annotations

import bisect
import mmap
from typing import Any

import numpy as np

ALIGNED = 256  # bytes: what device memory of one's own begins at


class Region:
    """A stretch of shadow, and the device memory it stands for."""

    def __init__(self, nbytes: int, address: int | None = None, owner: Any = None) -> None:
        self.bytes = np.frombuffer(_untouched(max(1, nbytes)), np.uint8)
        self.start = self.bytes.__array_interface__["data"][0]
        self.stop = self.start + len(self.bytes)
        self.address, self.owner = address, owner


def _untouched(nbytes: int) -> mmap.mmap:
    """Return memory that cannot be written to, and takes none as long as nobody reads it."""
    if hasattr(mmap, "MAP_PRIVATE"):
        # What is shared would be charged for, and there may be less of it than on the device.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        return mmap.mmap(-1, nbytes, flags=flags, prot=mmap.PROT_READ)
    return mmap.mmap(-1, nbytes, access=mmap.ACCESS_READ)


class Shadows:
    """The regions of one plan, and the device addresses of what lies in them."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._regions: list[Region] = []

    def add(self, region: Region) -> Region:
        """Take in a region."""
        at = bisect.bisect(self._starts, region.start)
        self._starts.insert(at, region.start)
        self._regions.insert(at, region)
        return region

    def of(self, array: Any) -> np.ndarray:
        """Return the shadow of an array on the device."""
        shadow, region = shadow_of(array)
        self.add(region)
        return shadow

    def where(self, shadow: np.ndarray) -> tuple[Region, int]:
        """Return the region of a shadow, and the offset in it."""
        address = shadow.__array_interface__["data"][0]
        region = self._regions[bisect.bisect(self._starts, address) - 1]
        assert region.start <= address <= region.stop, "memory that is not of the plan"
        return region, address - region.start

    def pointer(self, shadow: np.ndarray) -> int:
        """Return the device address that a shadow stands for."""
        region, offset = self.where(shadow)
        assert region.address is not None
        return region.address + offset


def shadow_of(array: Any) -> tuple[np.ndarray, Region]:
    """Return a shadow with the shape and the strides of an array on the device."""
    dtype, steps = np.dtype(array.dtype), zip(array.shape, array.strides, strict=True)
    reach = [(n - 1) * s for n, s in steps] if array.size else []
    low = sum(r for r in reach if r < 0)
    high = sum(r for r in reach if r > 0) + dtype.itemsize
    region = Region(high - low, array.data.ptr + low, array)
    shadow = np.ndarray(array.shape, dtype, region.bytes, -low, array.strides)
    return shadow, region
