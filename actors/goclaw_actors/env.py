"""The world as a port: time and names. Nothing else in this floor asks the system for them."""

from __future__ import annotations

import os
import secrets
import time
from typing import Final, NamedTuple, Protocol

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ANCHOR_S: Final = 1.0
JUMP_S: Final = 60.0


class Clock(Protocol):
    """Tell the time in nanoseconds since 1970, UTC; never backwards between two calls."""

    def now_ns(self) -> int:
        """Return the time."""
        ...


class SystemClock:
    """Advance with the monotonic clock between wall-clock anchors, taken once a second.

    A wall clock set back does not take time back; `jump_s` is the largest jump that an anchor
    saw, for `doctor` and the logs to report beyond `JUMP_S`.
    """

    def __init__(self) -> None:
        self._wall_ns = time.time_ns()
        self._mono_ns = time.monotonic_ns()
        self._last_ns = self._wall_ns
        self.jump_s = 0.0

    def now_ns(self) -> int:
        """Return the time; called by the dispatchers' thread."""
        passed = time.monotonic_ns() - self._mono_ns
        now = self._wall_ns + passed
        if passed > ANCHOR_S * 1e9:
            wall = time.time_ns()
            self.jump_s = max(self.jump_s, abs(wall - now) / 1e9)
            self._wall_ns, self._mono_ns = wall, self._mono_ns + passed
            now = wall
        self._last_ns = max(now, self._last_ns)
        return self._last_ns


class Identity(NamedTuple):
    """Which process this is: the node's lasting id and the id of this start of it."""

    node: str
    boot: str

    @property
    def holder(self) -> str:
        """Return the name under which attempts are held."""
        return f"{self.node}:{self.boot}"


def new_boot() -> str:
    """Return an id for this start of the process."""
    return f"{os.getpid():x}-{secrets.token_hex(4)}"


def new_id(prefix: str, now_ns: int) -> str:
    """Return a ULID with a prefix: sorts by time, in milliseconds, then 80 random bits."""
    number = ((now_ns // 1_000_000) << 80) | secrets.randbits(80)
    digits = []
    for _ in range(26):
        digits.append(_ALPHABET[number & 31])
        number >>= 5
    return f"{prefix}_{''.join(reversed(digits))}"
