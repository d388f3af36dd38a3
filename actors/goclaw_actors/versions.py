"""The version that a command insists on: that of its target, as whoever sent it looked at it.

A version counts what was decided about an actor, not the progress of what it sees to (ADR 0027).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.decider import Refused
from goclaw_actors.signalling import digest_of
from goclaw_events.ids import kind_of
from goclaw_events.value import pack

if TYPE_CHECKING:
    from goclaw_actors.actor import Entity
    from goclaw_actors.decider import Body

_CHANGED: Final = {
    "workflow": ("run_changed", "run", "goclaw runs show"),
    "saga": ("saga_changed", "saga", "goclaw sagas show"),
    "schedule": ("schedule_changed", "schedule", "goclaw schedules show"),
    "lane": ("lane_changed", "lane", "goclaw lanes show"),
}
"""By kind of stream: the code of the refusal, what it is called, and what shows it."""


def command_digest(body: Body, if_version: int | None) -> bytes:
    """Return what tells two commands of one id apart, with the version that one insists on."""
    digest = digest_of(body)
    return digest if if_version is None else pack([digest, if_version])


def outdated(entity: Entity, wanted: int) -> Refused | None:
    """Return why a command does not apply any more; None: nothing was decided meanwhile.

    What is not there yet, or not any more, is left to the decider to refuse.
    """
    version_of = entity.decider.version
    assert version_of is not None, f"commands to {entity.stream} insist on no version"
    version = version_of(entity.state)
    if version is None or version == wanted:
        return None
    code, what, shown_by = _CHANGED[kind_of(entity.stream)]
    text = f"the {what} was changed meanwhile: its version is {version}, not {wanted}"
    return Refused(code, text, f"look at it again: {shown_by}")
