"""Files of other formats than text, and text that is packed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from npnn.datasets import arrow
from npnn.datasets.cells import quoted
from npnn.errors import FileError, MissingError
from npnn.io import human_bytes

MARKS = {
    b"PAR1": "parquet",
    b"ARROW1": "feather",
    b"FEA1": "feather",
    b"SQLite format 3\0": "sqlite",
    b"\xd0\xcf\x11\xe0": "xls",
    b"\x89HDF": "hdf5",
    **{bytes([0x80, version]): "pickle" for version in range(2, 6)},
}
FREE, MOST_TIMES = 256 << 20, 200  # bytes that any packed text may become; times its size, else


def of(path: Path, data: bytes) -> str:
    """Return the format of a file's contents; "text" if it is that, packed or not."""
    for mark, kind in MARKS.items():
        if data.startswith(mark):
            return kind
    if data.startswith(b"PK\x03\x04") and b"xl/workbook.xml" in data:
        return "excel"
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".json") and data.lstrip()[:1] in (b"{", b"["):
        return "json"
    return "text"


def unpacked(path: Path, data: bytes) -> bytes:
    """Return text as it is, or as it was before it was packed."""
    for mark, module in ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ\0", "lzma")):
        if data.startswith(mark):
            packer = import_module(module)
            try:
                with packer.open(io.BytesIO(data)) as file:
                    return _limited(path, file, len(data))
            except (OSError, EOFError, ValueError) as error:
                raise FileError(f"{path} is damaged: {error}") from None
    return _only_member(path, data) if data.startswith(b"PK\x03\x04") else data


def _only_member(path: Path, data: bytes) -> bytes:
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(io.BytesIO(data)) as archive:
            names = [
                info.filename
                for info in archive.infolist()
                if not info.is_dir() and not info.filename.startswith(("__MACOSX/", "."))
            ]
            chosen = names
            for suffixes in ((".csv", ".tsv"), (".csv", ".tsv", ".txt")):
                tables = [name for name in names if name.lower().endswith(suffixes)]
                chosen = chosen if len(chosen) == 1 or len(tables) != 1 else tables
            if len(chosen) != 1:
                raise FileError(f"{path} must hold one table, and it holds {quoted(names)}")
            with archive.open(chosen[0]) as file:
                return _limited(path, file, len(data))
    except (BadZipFile, OSError, RuntimeError, EOFError) as error:
        raise FileError(f"{path} cannot be unpacked: {error}") from None


def _limited(path: Path, file: IO[bytes], packed: int) -> bytes:
    most = max(FREE, int(MOST_TIMES * packed))
    data = file.read(most + 1)
    if len(data) > most:
        raise FileError(f"{path} would become more than {human_bytes(most)}: unpack it first")
    return data


def _library(module: str, path: Path, what: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise MissingError(
            f"{path} is {what}, which {package} reads, and that is not installed: "
            f"pip install 'npnn-xp[table]', or pip install {package}"
        ) from None


def _arrow(path: Path, module: str, what: str, data: bytes) -> dict[str, Any]:
    reader = _library(module, path, what)
    try:
        table = reader.read_table(io.BytesIO(data))
        columns = [_of_arrow(column) for column in table.columns]
    except Exception as error:  # of pyarrow, which has many
        raise FileError(f"{path} cannot be read as {what}: {error!s:.300}") from None
    return _named(path, list(table.column_names), columns)


def _of_arrow(column: Any) -> Any:
    found = arrow.plain(column)
    return column.to_pylist() if found is None else found


def _parquet(path: Path, data: bytes) -> dict[str, Any]:
    return _arrow(path, "pyarrow.parquet", "a Parquet file", data)


def _feather(path: Path, data: bytes) -> dict[str, Any]:
    return _arrow(path, "pyarrow.feather", "a Feather file", data)


def _excel(path: Path, data: bytes) -> dict[str, Any]:
    workbook = _library("openpyxl", path, "an Excel workbook").load_workbook(
        io.BytesIO(data), read_only=True, data_only=True
    )
    try:
        sheet = workbook.worksheets[0]
        rows = [row for row in sheet.iter_rows(values_only=True) if any(c is not None for c in row)]
    finally:
        workbook.close()
    if len(rows) < 2:
        raise FileError(f"{path}: its first sheet holds no table")
    width = max(len(row) for row in rows)
    while len(rows) > 2 and width > 1 and sum(cell is not None for cell in rows[0]) < 2:
        del rows[0]  # a title
    rows = [row + (None,) * (width - len(row)) for row in rows]
    names = [f"column {i}" if name is None else str(name) for i, name in enumerate(rows[0])]
    return _named(path, names, list(zip(*rows[1:], strict=True)))


def _old_excel(path: Path, data: bytes) -> dict[str, Any]:
    raise FileError(
        f"{path} is a workbook of Excel before 2007, which nothing here reads: save it as .xlsx or "
        ".csv"
    )


def _hdf5(path: Path, data: bytes) -> dict[str, Any]:
    raise FileError(f"{path} is an HDF5 file, which nothing here reads: save it as Parquet or CSV")


def _pickle(path: Path, data: bytes) -> dict[str, Any]:
    raise FileError(
        f"{path} is a pickle, which could run anything when it is read: save it as Parquet or CSV"
    )


def _json(path: Path, data: bytes) -> dict[str, Any]:
    """Read a list of objects, or an object on each line."""
    try:
        text = data.decode("utf-8-sig")
        if text.lstrip()[:1] == "[":
            records = json.loads(text)
        elif (whole := _whole(text)) is not None:
            records = _records_of(whole)
        else:
            records = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise FileError(f"{path} cannot be read as JSON, a record on each line: {error}") from None
    if not records or not all(isinstance(record, dict) for record in records):
        raise FileError(f"{path} must hold records: an object of names and values on each line")
    records = [_flat(record) for record in records]
    names = list(dict.fromkeys(name for record in records for name in record))
    return {name: [record.get(name) for record in records] for name in names}


def _whole(text: str) -> dict[str, Any] | None:
    """Return the object that all of a text is, if it is one alone, and not a record."""
    try:
        whole = json.loads(text)
    except ValueError:  # a record on each line
        return None
    nested = isinstance(whole, dict) and any(isinstance(v, (list, dict)) for v in whole.values())
    return whole if nested else None


def _records_of(whole: dict[str, Any]) -> list[Any]:
    """Return the records of an object: of its columns, or of the one list of records within."""
    lists = [value for value in whole.values() if isinstance(value, list)]
    even = len(lists) == len(whole) and len({len(each) for each in lists}) == 1
    if even and not all(isinstance(value, dict) for each in lists for value in each):
        return [dict(zip(whole, row, strict=True)) for row in zip(*lists, strict=True)]
    if whole and all(isinstance(value, dict) for value in whole.values()):  # as pandas writes them
        rows = dict.fromkeys(row for column in whole.values() for row in column)
        return [{name: column.get(row) for name, column in whole.items()} for row in rows]
    found = [each for each in lists if each and all(isinstance(value, dict) for value in each)]
    return found[0] if len(found) == 1 else [whole]


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record in which those that it holds stand side by side: "place.x", "place.y"."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": each for inner, each in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def _sqlite(path: Path, data: bytes) -> dict[str, Any]:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.deserialize(data)
            tables = [
                name
                for (name,) in connection.execute(
                    "select name from sqlite_master where type in ('table', 'view') "
                    "and name not like 'sqlite_%'"
                )
            ]
            if len(tables) != 1:
                raise FileError(f"{path} must hold one table, and it holds {quoted(tables)}")
            quoted_name = tables[0].replace('"', '""')
            cursor = connection.execute(f'select * from "{quoted_name}"')
            names = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
        except sqlite3.Error as error:
            raise FileError(f"{path} cannot be read as an SQLite file: {error}") from None
    return _named(path, names, list(zip(*rows, strict=True)) or [()] * len(names))


def _named(path: Path, names: list[str], columns: list[Any]) -> dict[str, Any]:
    if len(set(names)) < len(names):
        raise FileError(f"{path}: its columns must have different names, not {quoted(names)}")
    return dict(zip(names, columns, strict=True))


READERS: dict[str, Callable[[Path, bytes], dict[str, Any]]] = {
    "parquet": _parquet,
    "feather": _feather,
    "excel": _excel,
    "xls": _old_excel,
    "hdf5": _hdf5,
    "pickle": _pickle,
    "json": _json,
    "sqlite": _sqlite,
}
