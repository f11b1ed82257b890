"""Sources of Numba's functions in files of their own, beside which Numba keeps what it compiled."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

_modules: dict[str, Any] = {}


def module_of(source: str) -> Any:
    """Return the module of a source, from memory or from its file."""
    if source not in _modules:
        usual = folder()
        try:
            _modules[source] = _loaded(source, usual)
        except Exception:
            # A file may be damaged, or of a user who lets nobody else read or write there.
            own = folder_of_this_process()
            if own == usual:
                raise
            _modules[source] = _loaded(source, own)
    return _modules[source]


def _loaded(source: str, place: Path) -> Any:
    name = "npnn_" + hashlib.sha256(source.encode()).hexdigest()[:24]
    path = place / f"{name}.py"
    if not path.exists():
        temporary = place / f"{name}.{os.getpid()}.{threading.get_ident()}.tmp"
        temporary.write_text(source)
        os.replace(temporary, path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where Numba looks for what it compiled earlier
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "kernel"):
            raise ImportError(f"{path} is damaged")
    except BaseException:
        del sys.modules[name]
        raise
    return module


def folder() -> Path:
    """Return the folder for sources: NPNN_CACHE_DIR, or npnn in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "npnn"
    wanted = Path(os.environ.get("NPNN_CACHE_DIR") or default) / "kernels"
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        if os.access(wanted, os.W_OK):
            return wanted
    except OSError:
        pass
    return folder_of_this_process()


@cache
def folder_of_this_process() -> Path:
    """Return a folder that nobody else uses."""
    return Path(tempfile.mkdtemp(prefix="npnn-kernels-"))
