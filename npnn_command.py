"""What the command ``npnn`` runs: Ctrl-C ends it with a line, also while it is still imported.

It stands outside the package, whose import is what takes the time.
"""

import sys


def main() -> int:
    """Run the command line and return the exit code."""
    try:
        from npnn.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("npnn: interrupted", file=sys.stderr)
        return 130
