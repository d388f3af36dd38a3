"""The world as a port: time and names. Nothing else in this floor asks the system for them."""

from __future__ import annotations

import os
import secrets
import time
from logging import getLogger
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

log = getLogger(__name__)
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

    It never goes back, and never stands still: where the wall clock is behind what was told
    (it was set back, or the log, whose last time is `least_ns`, was written by a clock that was
    ahead) it goes on with the monotonic clock until the wall clock has caught up. A jump of the
    wall clock beyond `JUMP_S` is logged, and told to `on_jump`, in seconds; `jump_s` is the largest
    that an anchor saw.
    """

    def __init__(
        self,
        least_ns: int = 0,
        *,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
        on_jump: Callable[[float], None] | None = None,
    ) -> None:
        self._on_jump = on_jump
        self._wall = wall
        self._monotonic = monotonic
        self._read_ns = wall()
        self._mono_ns = monotonic()
        self._told_ns = max(self._read_ns, least_ns)
        self.jump_s = 0.0
        if self._told_ns > self._read_ns:
            self._jumped((self._read_ns - self._told_ns) / 1e9, "behind what the log recorded last")

    def now_ns(self) -> int:
        """Return the time; called by the dispatchers' thread."""
        mono_ns = self._monotonic()
        passed = mono_ns - self._mono_ns
        if passed <= ANCHOR_S * 1e9:
            return self._told_ns + passed
        wall_ns = self._wall()
        jump_s = (wall_ns - self._read_ns - passed) / 1e9
        self.jump_s = max(self.jump_s, abs(jump_s))
        self._jumped(jump_s, "off what the monotonic clock says")
        self._read_ns, self._mono_ns = wall_ns, mono_ns
        self._told_ns = max(wall_ns, self._told_ns + passed)
        return self._told_ns

    def _jumped(self, jump_s: float, what: str) -> None:
        if abs(jump_s) > JUMP_S:
            extra = {"action": "clock_jumped", "jump_s": round(jump_s, 3)}
            log.warning("the wall clock is %+.0f s %s", jump_s, what, extra=extra)
            if self._on_jump is not None:
                self._on_jump(jump_s)


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
