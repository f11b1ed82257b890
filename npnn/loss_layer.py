"""The losses, under the name that programs of the first days import: see :mod:`npnn.losses`."""

from npnn.losses import *  # noqa: F403
