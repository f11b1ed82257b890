"""The command line as a module: ``python -m npnn``."""

import sys

from npnn.cli import main

if __name__ == "__main__":
    sys.exit(main())
