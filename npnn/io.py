"""Files that are written whole or not at all, what is read of them, and how large they are."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeAlias

from npnn import checked

try:
    import fcntl
except ImportError:  # Windows, where nobody can remove a file that is open
    fcntl = None  # type: ignore[assignment]

Place: TypeAlias = "str | os.PathLike[str] | IO[bytes]"
"""A path, or a binary file that is open."""

SLOTS = 8  # temporary files of one name that are looked for
PATIENCE = 60.0  # seconds, without locks, for a file that is closed and waits to be renamed


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise the error for a path at which no file can be, by the name that the user gave it."""
    called = f"cannot write {os.fspath(path)!r}"
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{called}: there is no folder {str(Path(path).parent)!r}")
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{called}: it is a folder")
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, f"{called}: it is a link that leads back to itself")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"{called}: it is a device, a pipe or a socket, and no file")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a temporary file that takes the place of `path` once it is wholly on the disk.

    An old file's mode stays, and a link stays a link. What a killed process left half written on
    the way to the same place is removed.
    """
    check_place(path)
    target = os.path.realpath(path)
    handle, name = _temporary(target)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            _take_over_mode(name, target)
            if fcntl is not None:  # still locked, so that nobody takes it for left behind
                os.replace(name, target)
        if fcntl is None:
            os.replace(name, target)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = os.fspath(path)  # such as of a disk that is full
        raise


def append(path: str | os.PathLike[str], data: bytes) -> None:
    """Add to the end of a file, in one piece."""
    check_place(path)
    with open(path, "ab") as file:
        file.write(data)


@contextlib.contextmanager
def writing(target: Place) -> Iterator[IO[bytes]]:
    """Open a path to be replaced; a file that is open already is written to as it stands."""
    file = _open_file(target, "write")
    if file is not None:
        yield file
        return
    with replacing(checked.path(target, "path")) as file:
        yield file


@contextlib.contextmanager
def reading(source: Place) -> Iterator[tuple[IO[bytes], int | None]]:
    """Open a path for reading, or take an open file from where it stands; and say how long it is.

    The length is None where that cannot be known before.
    """
    file = _open_file(source, "read")
    if file is not None:
        yield file, _length(file)
        return
    path = checked.path(source, "path")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no model file {path}")
    with open(path, "rb") as file:
        yield file, os.fstat(file.fileno()).st_size


def called(place: Place) -> str:
    """Return what an error calls a path, or an open file."""
    if isinstance(place, (str, os.PathLike)):
        return os.fspath(place)
    name = getattr(place, "name", None)
    return name if isinstance(name, str) else f"the {type(place).__name__}"


def counted(count: int, noun: str) -> str:
    """Return a number of things with their name, of which there may be one."""
    return f"{count} {noun}{'s' * (count != 1)}"


def human_bytes(count: int) -> str:
    """Return a number of bytes in the unit that a person would use."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def _open_file(place: Place, method: str) -> IO[bytes] | None:
    """Return a file that is open, if `place` is one, and for bytes."""
    if isinstance(place, (str, os.PathLike)) or not hasattr(place, method):
        return None
    if isinstance(place, io.TextIOBase):
        raise TypeError(f"the file must be open for bytes, in mode 'rb' or 'wb', not {place!r}")
    return place


def _length(file: IO[bytes]) -> int | None:
    try:
        here = file.tell()
        end = file.seek(0, os.SEEK_END)
        file.seek(here)
    except (OSError, AttributeError, ValueError):
        return None
    return end - here


def _temporary(target: str) -> tuple[int, str]:
    """Return a new file beside `target`, open and locked, and its name; remove what is left there.

    The names are the same ones each time. Whoever writes to such a file holds a lock on it, which
    ends with the process; so one without a lock was left behind.
    """
    folder, base = os.path.split(target)
    if len(os.fsencode(base)) > 100:  # a longer name might be too long
        base = hashlib.sha256(os.fsencode(base)).hexdigest()[:32]
    handle, chosen, number = -1, "", 0
    while number < SLOTS or handle < 0:
        name = os.path.join(folder, f".{base}.{number}.tmp")
        number += 1
        _remove_left_behind(name)
        if handle < 0:
            handle, chosen = _created(name), name
    return handle, chosen


def _created(name: str) -> int:
    """Return a new file, open and locked; -1 if somebody has it."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        handle = os.open(name, flags, 0o666)
    except FileExistsError:
        return -1
    except PermissionError:
        if os.path.exists(name):
            return -1
        raise
    if fcntl is not None:
        with contextlib.suppress(OSError):  # there are disks without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink == 0:  # somebody took it for left behind, just before
            os.close(handle)
            return -1
    return handle


def _remove_left_behind(name: str) -> None:
    """Remove a temporary file if nobody writes to it."""
    if fcntl is None:
        with contextlib.suppress(OSError):
            if time.time() - os.stat(name).st_mtime > PATIENCE:
                os.unlink(name)
        return
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine, now = os.fstat(handle), os.lstat(name)
        if (mine.st_dev, mine.st_ino) == (now.st_dev, now.st_ino):
            os.unlink(name)
    except OSError:
        pass  # it is locked, or gone
    finally:
        os.close(handle)


def _take_over_mode(name: str, target: str) -> None:
    """Give a new file the mode of the one that it replaces, and its owner where that is allowed."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return
    new = os.stat(name)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with contextlib.suppress(OSError):
            os.chown(name, old.st_uid, old.st_gid)
    if old.st_mode != new.st_mode:
        os.chmod(name, stat.S_IMODE(old.st_mode))
