"""`python -m itdash`: the command line without an installed script."""

import sys

from itdash.cli import main

sys.exit(main())
