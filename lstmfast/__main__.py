"""`python -m lstmfast`: the command line."""

import sys

from lstmfast.cli import main

if __name__ == "__main__":
    sys.exit(main())
