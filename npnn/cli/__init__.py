"""The command line: ``npnn train``, ``predict``, ``export``, ``info``, ``profile``, ``playground``.

What a command needs is imported when it runs, so that small things start quickly.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

import npnn
from npnn.cli.arguments import Parser, say_aside, say_error, sentence
from npnn.cli.export import add_export
from npnn.cli.info import add_info
from npnn.cli.playground import add_playground
from npnn.cli.predict import add_predict
from npnn.cli.profile import add_profile
from npnn.cli.train import INTERRUPTED, add_train
from npnn.errors import DivergedError, MissingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 2 for an error, 130 after Ctrl-C.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # which may have no letters for some names
            stream.reconfigure(errors="backslashreplace")
    try:
        options = parser().parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    if options.run is None:
        parser().print_help()
        return 0
    try:
        return int(options.run(options))
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        say_aside("interrupted")
        return INTERRUPTED
    except (ValueError, TypeError, MissingError, DivergedError, OSError, MemoryError) as error:
        if options.debug:
            raise
        say_error(sentence(error))
        return 2


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    common = Parser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show where an error came from")
    top = Parser(
        prog="npnn",
        description="Train and use neural networks on NumPy, CuPy, PyTorch or JAX arrays.",
        epilog=(
            "examples:\n"
            "  npnn train                       handwritten digits, in a few seconds\n"
            "  npnn train flowers.csv           a table of your own, its last column the target\n"
            "  npnn predict npnn-output/model.safetensors more-flowers.csv\n"
            "  npnn export npnn-output/model.safetensors model.onnx\n"
            "  npnn info                        which array libraries work here\n"
            "  npnn playground                  watch a network learn, in the browser\n"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"npnn {npnn.__version__}")
    top.set_defaults(run=None, debug=False)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    add_train(commands, common)
    add_predict(commands, common)
    add_export(commands, common)
    add_info(commands, common)
    add_profile(commands, common)
    add_playground(commands, common)
    return top
