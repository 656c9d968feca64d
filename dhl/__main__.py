"""`python -m dhl`."""

import sys

from dhl.cli import main

sys.exit(main())
