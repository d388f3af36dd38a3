"""What is wrong with the parameters of a request, as its refusal lists it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_events.plain_words import plain_message

if TYPE_CHECKING:
    from pydantic import ValidationError


def faults_of(error: ValidationError) -> list[dict[str, str]]:
    """Return each fault as `path` and `message`."""
    return [
        {
            "path": ".".join(str(step) for step in fault["loc"]),
            "message": plain_message(fault["msg"]),
        }
        for fault in error.errors(include_url=False, include_input=False)
    ]
