"""``python -m actors.cli``: the command line where the console script is not installed."""

import sys

from actors.cli import main

sys.exit(main())
