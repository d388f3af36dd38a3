"""Named points at which the simulated process can die: where the engine meets its ports."""

from __future__ import annotations

from collections import Counter
from typing import Final

FAILPOINTS: Final = (
    "append", "write", "between writes", "before flush", "after flush", "between callbacks",
    "done", "reply", "after reply", "start", "between starts", "stop", "run ended", "committed",
    "decide", "evolve", "open", "recover", "closing",
)  # fmt: skip
"""Every name that is passed to `hit`."""


class Crash(BaseException):
    """The process is killed here: nothing of it runs any more."""


class Failpoints:
    """Count how often each point is passed; die at the chosen one."""

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self._armed = ""
        self._left = 0

    def arm(self, name: str, nth: int) -> None:
        """Die when `name` is passed for the `nth` time from now."""
        assert name in FAILPOINTS, name
        self._armed, self._left = name, nth

    def disarm(self) -> None:
        """Let the process live."""
        self._armed = ""

    def hit(self, name: str) -> None:
        """Pass a point; raises `Crash` if this is the one."""
        if name != self._armed:
            return
        self._left -= 1
        if self._left <= 0:
            self._armed = ""
            self.passed[name] += 1
            raise Crash(name)
