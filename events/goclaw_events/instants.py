"""Points in time as people write them, in nanoseconds since 1970 within."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from goclaw_events.errors import EventsError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HINT: Final = "write 2026-12-01T09:00:00+01:00, or Z for UTC"
_CHARS_MAX: Final = 64


class BadInstant(EventsError):
    """A point in time cannot be read, or does not say in which time zone it is."""

    code = "invalid_time"


def parse_instant(value: object) -> int:
    """Return nanoseconds since 1970 (UTC) for an ISO 8601 text with an offset; to the microsecond.

    Raises `BadInstant` for anything else: without its offset a time is not known, only guessed.
    """
    text = repr(value)[:_CHARS_MAX]
    if not isinstance(value, str) or len(value) > _CHARS_MAX:
        msg = f"{text} is not a point in time"
        raise BadInstant(msg, hint=_HINT, value=text)
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        msg = f"{text} is not a point in time"
        raise BadInstant(msg, hint=_HINT, value=text) from error
    if found.tzinfo is None:
        msg = f"{text} does not say in which time zone it is"
        raise BadInstant(msg, hint=_HINT, value=text)
    passed = found - _EPOCH
    if passed < timedelta(0):
        msg = f"{text} is before 1970"
        raise BadInstant(msg, hint=_HINT, value=text)
    return (passed // timedelta(microseconds=1)) * 1_000
