"""Columns of pyarrow as arrays of NumPy, or as text of which each value is held once."""

from __future__ import annotations

from typing import Any

import numpy as np

from npnn.datasets.cells import Factors, factors_of
from npnn.datasets.given import NDArray


def plain(column: Any) -> NDArray | Factors | None:
    """Return a column as numbers, truth values, times or text; None if it holds something else.

    Its memory is read as it is: pyarrow's own way to NumPy imports pandas, where that is installed,
    and makes an object of each cell where one is missing.

    Parameters
    ----------
    column : pyarrow.Array or pyarrow.ChunkedArray
        The column.
    """
    import pyarrow as pa

    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    kind, types = column.type, pa.types
    if types.is_dictionary(kind):
        if not _is_text(kind.value_type):
            return plain(column.cast(kind.value_type))
        return _factors(column)
    if _is_text(kind):
        return _factors(column.dictionary_encode())
    if types.is_boolean(kind):
        codes = _numbers(column.cast("uint8"), 2)
        return factors_of(["False", "True", ""], codes) if column.null_count else codes.astype(bool)
    if types.is_floating(kind) or (types.is_integer(kind) and column.null_count):
        return _numbers(column.cast("float64", safe=False), np.nan)
    if types.is_integer(kind):
        return _numbers(column, 0)
    if types.is_duration(kind):
        micro = column.cast(pa.duration("us"), safe=False).cast("int64")
        return _numbers(micro.cast("float64", safe=False), np.nan) / 1e6
    if types.is_timestamp(kind) or types.is_date(kind):
        micro = column.cast(pa.timestamp("us"), safe=False).cast("int64")
        return _numbers(micro, np.iinfo(np.int64).min).view("datetime64[us]")
    return None


def _is_text(kind: Any) -> bool:
    return str(kind) in ("string", "large_string", "string_view")


def _numbers(column: Any, missing: float) -> NDArray:
    """Return the numbers of a column as they lie in memory."""
    whole = column.combine_chunks()
    if hasattr(whole, "num_chunks"):  # of older versions, where there is one chunk
        whole = whole.chunk(0)
    kind = np.dtype(whole.type.to_pandas_dtype())
    there, numbers = whole.buffers()
    found = np.frombuffer(numbers, kind, len(whole), whole.offset * kind.itemsize)
    if not whole.null_count:
        return found
    bits = np.unpackbits(np.frombuffer(there, np.uint8), bitorder="little")
    return np.where(bits[whole.offset : whole.offset + len(whole)], found, kind.type(missing))


def _factors(column: Any) -> Factors:
    """Return text of a dictionary."""
    import pyarrow as pa

    column = column.unify_dictionaries()
    distinct = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
    chunks = [chunk.indices.cast("int32") for chunk in column.chunks]
    codes = _numbers(pa.chunked_array(chunks, "int32"), len(distinct))
    return factors_of([*("" if text is None else text for text in distinct), ""], codes)
