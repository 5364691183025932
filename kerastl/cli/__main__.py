"""`python -m kerastl.cli`: the command where its script is not on the path."""

import sys

from kerastl.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
