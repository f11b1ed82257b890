"""Files with machine code: what they hold is used only if it is what their name promises.

A file begins with the digest of its key and of the rest. So one that is cut off, changed, or has
the place of another is never run: what it should hold is made anew, and written over it. Where
nothing can be read or written, all goes on without.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from npnn.io import replacing

MOST_BYTES = 1 << 26  # which no file of ours comes near


def read(key: bytes) -> bytes | None:
    """Return what was written under a key; None if nothing was, or it is no longer whole."""
    path = _path(key)
    with suppress(OSError, ValueError):
        found = os.lstat(path) if path is not None else None
        if path is None or found is None or not stat.S_ISREG(found.st_mode):
            return None  # a pipe would be waited for
        content = path.read_bytes() if found.st_size <= MOST_BYTES else b""
        size = hashlib.sha256().digest_size
        if content[:size] == _digest(key, content[size:]):
            return content[size:]
    return None


def write(key: bytes, content: bytes) -> None:
    """Keep something under a key, where that is possible."""
    path = _path(key)
    if path is None:
        return
    with suppress(OSError, ValueError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir()):
            path.unlink()
        with replacing(path) as file:
            file.write(_digest(key, content) + content)


def folder() -> Path | None:
    """Return the folder: in NPNN_CACHE_DIR, or the user's cache folder; None without either."""
    own, users = os.environ.get("NPNN_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    try:
        if own:
            return Path(own) / "kernels"
        return Path(users or Path.home() / ".cache") / "npnn" / "kernels"
    except (RuntimeError, KeyError):  # a user whom the system does not know
        return None


def _path(key: bytes) -> Path | None:
    place = folder()
    return None if place is None else place / f"{hashlib.sha256(key).hexdigest()[:32]}.kernel"


def _digest(key: bytes, content: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(key).digest() + content).digest()
