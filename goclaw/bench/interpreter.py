"""How the interpreter was built: one that was compiled with a profile of itself is faster.

`scripts/setup.sh` runs this file with each Python that it finds, before anything is installed: it
may import the standard library alone.
"""

from __future__ import annotations

import sys
import sysconfig
from typing import Final

_DEBIAN: Final = "deb_system"
"""An installation scheme that Debian and Ubuntu add: their packages are built with a profile, and
leave no other trace of it."""


def is_optimised() -> bool:
    """Tell whether the interpreter was compiled with a profile, as far as it says so."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    flags = sysconfig.get_config_var("PY_CORE_CFLAGS") or ""
    return (
        "--enable-optimizations" in arguments
        or "-fprofile-use" in flags
        or _DEBIAN in sysconfig.get_scheme_names()
    )


def how_built() -> str:
    """Return how the interpreter was built, for people."""
    return "with a profile" if is_optimised() else "without a profile"


if __name__ == "__main__":
    sys.exit(not is_optimised())
