"""The arrays of an NPZ file: inputs and targets, looked at before they are believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from npnn.datasets.cells import as_floats, quoted
from npnn.datasets.given import NDArray


def is_npz(path: Path) -> bool:
    """Whether a file is of NumPy's format NPZ, by its name or its first bytes."""
    if path.suffix.lower() == ".npz":
        return True
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def load_npz(path: Path) -> dict[str, NDArray]:
    """Return the arrays of a file by their names."""
    import zipfile
    import zlib

    try:
        # Opened here: np.load leaves a file that it opened itself open when it fails.
        with path.open("rb") as file:
            data = np.load(file, allow_pickle=False)
            if isinstance(data, np.ndarray):
                raise ValueError("it holds a single array without a name (NPY)")
            arrays = {name: data[name] for name in data.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as an NPZ file of plain arrays: {error}") from None
    wrong = [name for name, values in arrays.items() if not isinstance(values, np.ndarray)]
    if wrong:
        raise ValueError(f"{path} is not an NPZ file: it holds {quoted(wrong)}")
    return arrays


def inputs_of(path: Path, arrays: dict[str, NDArray]) -> NDArray:
    """Return the array "x" as float32, of two axes or more."""
    if "x" not in arrays:
        raise ValueError(f"{path} must hold an array 'x'; it holds {quoted(list(arrays))}")
    x = arrays["x"]
    if x.dtype.kind not in "fiub":
        raise ValueError(f"{path}: the array 'x' must hold real numbers, not {x.dtype}")
    if x.ndim == 1:
        x = x[:, None]
    if x.size == 0:
        raise ValueError(f"{path}: the array 'x' must not be empty; its shape is {x.shape}")
    _report_rows(path, "x", x)
    return as_floats(path, "x", x)


def targets_of(path: Path, name: str, t: NDArray, num: int) -> NDArray:
    """Return the array of targets if it goes with so many inputs, a single column as one axis."""
    if t.dtype.kind not in "fiubU":
        raise ValueError(f"{path}: the array {name!r} must hold numbers or text, not {t.dtype}")
    if t.ndim not in (1, 2) or len(t) != num or t.size == 0:
        raise ValueError(
            f"{path}: the array {name!r} must have the shape ({num},) or ({num}, outputs) to go "
            f"with 'x', not {t.shape}"
        )
    if t.dtype.kind != "U":
        _report_rows(path, name, t)
    return t[:, 0] if t.ndim == 2 and t.shape[1] == 1 else t


def _report_rows(path: Path, name: str, values: NDArray) -> None:
    rows = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if rows.size:
        first = ", ".join(map(str, rows[:5].tolist())) + (", ..." if rows.size > 5 else "")
        raise ValueError(
            f"{path}: the array {name!r} has missing or infinite values in {rows.size} row(s): "
            f"{first} (counted from 0)"
        )


def is_one_hot(t: NDArray) -> bool:
    """Whether each row has a single 1, and zeros."""
    return bool(((t == 0) | (t == 1)).all() and (t.sum(axis=1) == 1).all())
