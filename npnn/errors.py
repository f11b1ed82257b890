"""The package's own error types; a user's mistake is a ``ValueError`` or a ``TypeError``."""

from __future__ import annotations

import math


class MissingError(RuntimeError):
    """A library, driver or device is not there; the message ends with what would mend it."""


class FileError(ValueError):
    """A file is damaged, or not such a one as is needed; or it could not hold what is saved."""


class DivergedError(ArithmeticError):
    """The training loss, or the parameters, became NaN or infinite.

    Attributes
    ----------
    epoch, step : int
        Where it happened, counted from 1. The model holds the parameters from before that step.
    """

    def __init__(self, loss: float, epoch: int, step: int) -> None:
        self.loss, self.epoch, self.step = loss, epoch, step
        became = f"training loss became {loss}"
        if math.isfinite(loss):
            became = "parameters became infinite or NaN"
        super().__init__(
            f"the {became} at epoch {epoch}, step {step}; the model keeps the parameters from "
            "before that step. A smaller alpha or clip_norm=1.0 usually helps."
        )


def extra(library: str, extra_name: str) -> MissingError:
    """Return the error for an optional library, with the command that installs it."""
    return MissingError(
        f"{library} is needed for this and is not installed: pip install 'npnn-xp[{extra_name}]', "
        f"or pip install {library}"
    )


class GradientError(AssertionError):
    """A derivative is not that of its formula; the message says which one, and by how much."""
