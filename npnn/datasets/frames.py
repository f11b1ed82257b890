"""Frames of other libraries: their columns as arrays that are plain."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from npnn.datasets import arrow
from npnn.datasets.cells import Factors, factors_of, quoted
from npnn.datasets.given import NDArray
from npnn.labels import is_missing


def is_frame(data: Any) -> bool:
    """Whether data are a frame: columns that have names, and give arrays."""
    if hasattr(data, "collect_schema") and hasattr(data, "collect"):
        raise TypeError(f"a {type(data).__name__} holds no data yet: give x.collect()")
    return not isinstance(data, (str, bytes, os.PathLike)) and (
        hasattr(data, "columns") and hasattr(data, "__getitem__")
    )


def frame_columns(frame: Any) -> dict[str, NDArray | Factors]:
    """Return the columns of a frame of pandas, Polars, pyarrow or their like, by name."""
    names = list(getattr(frame, "column_names", frame.columns))
    found = {}
    for place, name in enumerate(names):
        series = frame[name] if isinstance(name, str) else frame.iloc[:, place]
        found[str(name)] = _of_series(series)
    if len(found) < len(names):
        raise ValueError(f"the columns of a frame must have different names, not {quoted(names)}")
    return found


def named(column: Any, frame: Any) -> Any:
    """Return what a column of a frame is called, if it is given by a name that is no string."""
    names = list(getattr(frame, "column_names", frame.columns))
    is_name = not isinstance(column, str) and any(column == name for name in names)
    return str(column) if is_name else column


def _of_series(series: Any) -> NDArray | Factors:
    """Return a column in its own type: text by its different values, where that can be had."""
    found = _of_arrow(series)
    if found is None and hasattr(series, "factorize") and _may_be_text(series.dtype):
        try:
            codes, distinct = series.factorize()
        except TypeError:  # of lists, say
            codes, distinct = series.map(str).factorize()
        texts = list(distinct)
        if all(isinstance(text, str) for text in texts):
            codes = np.where(codes < 0, len(texts), codes)
            found = factors_of([*texts, ""], codes)
    if found is None:
        found = np.asarray(series.to_numpy() if hasattr(series, "to_numpy") else series)
    return found


def _of_arrow(series: Any) -> NDArray | Factors | None:
    """Return a column of pyarrow, or of Polars where pyarrow is installed too; else None."""
    if not hasattr(series, "dictionary_encode"):
        try:
            series = series.to_arrow()
        except (AttributeError, ImportError):
            return None
    return arrow.plain(series)


def _may_be_text(dtype: Any) -> bool:
    return str(dtype) in ("object", "category", "str", "string")


def plain(values: Any) -> list[str] | Factors | NDArray:
    """Return a column as an array of numbers, truth values or times; else as text."""
    if isinstance(values, Factors):
        return values
    array = values if isinstance(values, np.ndarray) else _object_array(values)
    if array.dtype.kind in "fiubM":
        return array.astype(np.float64) if array.dtype.kind == "f" else array
    if array.dtype.kind == "m":
        return np.where(
            np.isnat(array), np.nan, array.astype("timedelta64[us]").astype(np.int64) / 1e6
        )
    given = array.tolist()
    present = [value for value in given if not is_missing(value)]
    kinds = {type(value) for value in present}
    if kinds and kinds <= {bool} and len(present) == len(given):
        return np.asarray(given, bool)
    if kinds and all(issubclass(kind, (int, float)) and kind is not bool for kind in kinds):
        return np.asarray([np.nan if is_missing(v) else float(v) for v in given], np.float64)
    if kinds and all(hasattr(value, "toordinal") for value in present):
        times = [None if is_missing(value) else value.replace(**_local(value)) for value in given]
        return np.asarray(times, "datetime64[us]")
    return ["" if is_missing(value) else str(value).strip() for value in given]


def _local(value: Any) -> dict[str, Any]:
    """Return what makes a moment one without a zone: the time that its clock showed."""
    return {"tzinfo": None} if hasattr(value, "tzinfo") else {}


def _object_array(values: Iterable[Any]) -> NDArray:
    listed = list(values)
    array = np.empty(len(listed), object)
    array[:] = listed
    return array
