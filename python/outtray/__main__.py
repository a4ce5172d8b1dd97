"""python -m outtray: the command."""

import sys

from .cli import main

sys.exit(main())
