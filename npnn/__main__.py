"""The command line as a module: ``python -m npnn``, which ends as ``npnn`` does."""

import sys

from npnn_command import main

if __name__ == "__main__":
    sys.exit(main())
