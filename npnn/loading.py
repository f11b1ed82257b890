"""A model from a file, on any backend."""

from __future__ import annotations

from npnn import backends, files
from npnn.io import Place
from npnn.model import Sequential


def load(
    path: Place,
    *,
    backend: str | backends.Backend = "numpy",
    dtype: str | None = None,
    device: str | int | None = None,
    precision: str | None = None,
) -> Sequential:
    """Return the model that a file holds, on any backend.

    Parameters
    ----------
    path : path_like or binary file
        What :meth:`Sequential.save` or the Checkpoint callback wrote; an open file is read to its
        end.
    backend : str, default "numpy"
        Not necessarily the one the model was trained on; ``"auto"`` as for :class:`Sequential`.
    dtype : str, optional
        The file's own if None.
    device : str or int, optional
        The backend's default if None.
    precision : str, optional
        Of matrix products, as for :class:`Sequential`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    npnn.FileError
        If it is damaged, no model of this package, of a later version, or holds a layer of a class
        that nobody has defined.
    """
    description, arrays, _ = files.read(path)
    dtype = description["dtype"] if dtype is None else dtype
    model = Sequential(backend=backend, dtype=dtype, device=device, precision=precision)
    files.fill(model, path, description, arrays)
    return model
