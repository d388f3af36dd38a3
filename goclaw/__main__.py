"""Let `python -m goclaw` be the command line."""

from __future__ import annotations

import sys

from goclaw.cli import main

if __name__ == "__main__":
    sys.exit(main())
