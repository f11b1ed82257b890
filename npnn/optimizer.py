"""The optimizers, under the name that programs of the first days import."""

from npnn.optimizers import *  # noqa: F403
