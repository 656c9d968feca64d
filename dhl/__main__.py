"""`python -m dhl`."""

import sys

from dhl.cli.parser import main

sys.exit(main())
