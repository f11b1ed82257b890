"""Arguments of the command line, and what it says when one is wrong."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from typing import NoReturn

from npnn import backends


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error and leave."""
        say_error(message)
        raise SystemExit(2)


def whole(least: int) -> Callable[[str], int]:
    """Return the type of whole numbers from `least` up."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(
                f"must be a whole number, {least} or more, not {text!r}"
            )
        return value

    return convert


def positive(text: str) -> float:
    """Return a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def hidden_sizes(text: str) -> list[int]:
    """Return the sizes of hidden layers."""
    if text.strip() in ("0", "none", ""):
        return []
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError(
            f"must be sizes such as 128,64 (or 0 for no hidden layer), not {text!r}"
        )
    return sizes


def backend_name(text: str) -> str:
    """Return the name of a registered backend."""
    if text not in backends.names():
        raise argparse.ArgumentTypeError(
            f"unknown backend {text!r}; there are {', '.join(backends.names())}"
        )
    return text


def device_name(text: str) -> str | int:
    """Return a device: its number, or its name."""
    return int(text) if text.isdigit() else text


def sentence(error: BaseException) -> str:
    """Return an error as one line."""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    elif isinstance(error, MemoryError):
        text = f"not enough memory: {error}" if str(error) else "not enough memory"
    else:
        text = str(error)
    return " ".join(text.split())


def say_error(text: str) -> None:
    """Print an error on the standard error stream."""
    say_aside(f"error: {text}")


def say_aside(text: str) -> None:
    """Print a line on the standard error stream."""
    sys.stdout.flush()
    print(f"npnn: {text}", file=sys.stderr)
