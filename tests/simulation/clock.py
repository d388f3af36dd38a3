"""The clocks of the simulated machine; the engine reads them through its own `SystemClock`."""

from __future__ import annotations

from typing import Final

START_NS: Final = 1_800_000_000 * 10**9
SECOND_NS: Final = 10**9


class MachineClocks:
    """A wall clock that may be set, and a monotonic one that stands still while suspended."""

    def __init__(self, tick_ns: int) -> None:
        self.wall_ns = START_NS
        self.mono_ns = SECOND_NS
        self.drift_ppm = 0
        self._tick_ns = tick_ns

    def wall(self) -> int:
        """Return the wall clock's time."""
        return self.wall_ns

    def monotonic(self) -> int:
        """Return the monotonic clock's time; looking at it takes time itself."""
        self.advance(self._tick_ns)
        return self.mono_ns

    def advance(self, ns: int) -> None:
        """Let time pass; the wall clock drifts away from the monotonic one."""
        self.mono_ns += ns
        self.wall_ns += ns + ns * self.drift_ppm // 1_000_000

    def jump(self, ns: int) -> None:
        """Set the wall clock forward or back."""
        self.wall_ns += ns

    def suspend(self, ns: int) -> None:
        """Let the whole machine sleep: nothing runs, the monotonic clock stands still."""
        self.wall_ns += ns
