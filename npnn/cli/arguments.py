"""Arguments of the command line, and what it says when one is wrong."""

from __future__ import annotations

import argparse
import codecs
import math
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection
from typing import Any, NoReturn

from npnn import backends, words

PLAINER = "npnn.plainer"
"""The way to write what an encoding has no letter for; see :func:`_plainer`."""
_PLAIN = {"→": "-", "–": "-", "²": "2", "…": "..."}


def _plainer(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write ornaments as ASCII, and the letters of a name as their numbers."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    plain = _PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode()
    return plain, error.start + 1


codecs.register_error(PLAINER, _plainer)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and what it is for in lines of the terminal's width."""

    def format_help(self) -> str:
        """Return the help, whose examples keep their lines."""
        if self.description:
            width = max(20, shutil.get_terminal_size().columns - 2)  # as argparse has it
            self.description = textwrap.fill(" ".join(self.description.split()), width)
        return super().format_help()

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


def port(text: str) -> int:
    """Return the number of a port."""
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, not {text!r}")
    return value


def positive(text: str) -> float:
    """Return a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def share(text: str) -> float:
    """Return a share that is not the whole."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to below 1, not {text!r}")
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


def column_list(text: str) -> list[str]:
    """Return the columns that are named with commas between them; quotes keep a comma in a name."""
    import csv

    names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    if not names or "" in names:
        raise argparse.ArgumentTypeError(f"must be columns such as id,name or 0,3, not {text!r}")
    return names


def delimiter(text: str) -> str:
    """Return what separates cells, which may be said in words where a shell makes it hard."""
    words = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|"}
    found = words.get(text, text)
    if found != "auto" and len(found) != 1:
        raise argparse.ArgumentTypeError(
            f"must be a single character, {', '.join(words)} or auto, not {text!r}"
        )
    return found


def column_kinds(text: str) -> dict[str, str]:
    """Return the kinds that columns are said to be of."""
    pairs = [pair.rpartition("=") for pair in column_list(text)]
    if not all(name and equal and kind in KINDS for name, equal, kind in pairs):
        raise argparse.ArgumentTypeError(
            f"must be columns and what they are ({', '.join(KINDS)}), such as zip=category, "
            f"not {text!r}"
        )
    return {name: kind for name, _, kind in pairs}


def word_list(text: str) -> list[str]:
    """Return words with commas between them; none stands for no word."""
    return [] if text.strip().lower() == "none" else [word.strip() for word in text.split(",")]


KINDS = ("number", "category", "date", "text")
TABLE_OPTIONS = ("header", "delimiter", "decimal", "encoding")


def add_table_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say how a CSV file is to be read."""
    add = command.add_argument
    add(
        "--header",
        choices=("auto", "yes", "no"),
        help="whether line 1 of a text holds names (auto)",
    )
    add(
        "--delimiter", type=delimiter, metavar="CHAR", help="between cells, or tab, ... (found out)"
    )
    add("--decimal", choices=("auto", ".", ","), help="decimal mark of a CSV (found out)")
    add("--encoding", metavar="NAME", help="of a CSV, such as cp1252 (found out)")


def add_column_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say what the columns of a table become."""
    add = command.add_argument
    add(
        "--kinds",
        type=column_kinds,
        metavar="COLUMN=KIND,...",
        help=f"what columns are, of {', '.join(KINDS)} (found out)",
    )
    add(
        "--categories",
        type=whole(1),
        metavar="N",
        help="different values of text that are categories; more are words (50)",
    )
    add(
        "--missing",
        type=word_list,
        metavar="WORD,WORD",
        help="what stands for no value beside an empty cell, or none (NA, N/A, null, ?, -, ...)",
    )


def table_options(found: dict[str, Any]) -> dict[str, Any]:
    """Return the options as arguments of the functions that read tables."""
    chosen = {name: found.get(name) or "auto" for name in TABLE_OPTIONS}
    header = {"auto": "auto", "yes": True, "no": False}[chosen["header"]]
    return {**chosen, "header": header}


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


def unknown_data(data: str, kind: str, names: Collection[str]) -> str:
    """Return the error for data that are no file, and none of those that have a name."""
    closest = words.closest(data, names)
    hint = f": did you mean {closest!r}?" if closest else ""
    return (
        f"argument DATA: there is no file {data!r}, and no {kind} of that name{hint}; there are "
        f"{', '.join(names)}"
    )
