"""`python -m simplerl`."""

import sys

from simplerl.cli import main

sys.exit(main())
