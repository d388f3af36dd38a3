"""Durations as people write them, in seconds within."""

from __future__ import annotations

import math
import re
from typing import Final

from goclaw_events.errors import EventsError

DURATION_S_MAX: Final = 10 * 366 * 86_400.0
"""No timer is further away than ten years."""

_UNITS_S: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER: Final = r"([0-9]{1,12}(?:\.[0-9]{1,9})?)"
_DURATION: Final = re.compile(
    "".join(f"(?:{_NUMBER}{unit})?" for unit in ("d", "h", "m(?!s)", "s", "ms")) + r"\Z"
)
_HINT: Final = "write 200ms, 30s, 5m, 1h30m or 2d, or a number of seconds"


class BadDuration(EventsError):
    """A duration cannot be read, or is out of range."""

    code = "invalid_duration"


def parse_duration(value: object) -> float:
    """Return seconds for `200ms`, `30s`, `5m`, `1h30m`, `2d` or a number of seconds.

    Units go from large to small, each at most once; a string without a unit is refused.
    Raises `BadDuration` for anything else, below zero or beyond ten years.
    """
    seconds = _seconds(value)
    if seconds is None or not math.isfinite(seconds):
        msg = f"{_shown(value)} is not a duration"
        raise BadDuration(msg, hint=_HINT, value=_shown(value))
    if seconds < 0:
        msg = f"a duration of {_shown(value)} is below zero"
        raise BadDuration(msg, hint=_HINT, value=_shown(value))
    if seconds > DURATION_S_MAX:
        msg = f"a duration of {_shown(value)} is longer than ten years"
        raise BadDuration(msg, hint=_HINT, value=_shown(value))
    return seconds


def _seconds(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        # Clamped: an integer beyond the range of floats must not raise OverflowError.
        return float(max(-1, min(value, 2 * int(DURATION_S_MAX))))
    if isinstance(value, float):
        return value
    if not isinstance(value, str) or not value or len(value) > 80:  # noqa: PLR2004
        return None
    match = _DURATION.match(value)
    if match is None:
        return None
    parts = zip(match.groups(), _UNITS_S.values(), strict=True)
    return math.fsum(float(number) * unit_s for number, unit_s in parts if number)


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**20 else "so large a number"
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004


def format_duration(seconds: float) -> str:
    """Write seconds so that `parse_duration` reads them back (to the millisecond)."""
    left_ms = round(seconds * 1000)
    if left_ms == 0:
        return "0s"
    text = ""
    for unit, unit_s in _UNITS_S.items():
        count, left_ms = divmod(left_ms, round(unit_s * 1000))
        if count:
            text += f"{count}{unit}"
    return text
