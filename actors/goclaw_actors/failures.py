"""What is recorded of a message whose handling raised."""

from __future__ import annotations

import traceback
from typing import Any, Final

from goclaw_actors.messages import MESSAGES
from goclaw_actors.spill import spill
from goclaw_actors.work import Outcome, Saved
from goclaw_events.errors import CodedError
from goclaw_events.facts import MessageFailed
from goclaw_events.value import pack

TRACE_CHARS_MAX: Final = 4096


def failure_of(
    stream: str, seq: int, body: Any, error: Exception, blobs: dict[bytes, bytes]
) -> MessageFailed:
    """Return the fact: the whole message, its large values in `blobs`, and a bounded trace.

    It never raises: a message that cannot be stored is recorded as text.
    """
    if isinstance(body, (Outcome, Saved)):
        body = body._replace(blobs=None)  # they are stored with the frame already
    name, version = MESSAGES.names[type(body)]
    code = error.code if isinstance(error, CodedError) else "internal_bug"
    failed = MessageFailed(stream, seq, name, version, list(body), code, _trace(error))
    try:
        pack(list(failed))
        return spill(failed, blobs)  # type: ignore[no-any-return] # the same type comes back
    except Exception:  # noqa: BLE001 - what was raised may be anything
        return failed._replace(message=[storable(repr(body))[:TRACE_CHARS_MAX]])


def _trace(error: Exception) -> str:
    try:
        lines = traceback.format_exception(error)
    except Exception:  # noqa: BLE001 - what was raised may be anything
        return type(error).__name__
    return storable("".join(lines))[-TRACE_CHARS_MAX:]


def storable(text: str) -> str:
    """Return text without lone surrogates, which UTF-8 cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode()
