"""``npnn --completion SHELL``: what a shell reads to complete commands and options."""

from __future__ import annotations

import argparse
from typing import Any

from npnn.errors import extra


class Completion(argparse.Action):
    """Print the completion of a shell and leave."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Print what shtab makes of the parser."""
        try:
            import shtab
        except ImportError:
            raise extra("shtab", "completion") from None
        print(shtab.complete(parser, shell=values))
        parser.exit()
