"""What a stream answered to commands from outside, so that a repeat gets the same answer.

At most `REPLIES_MAX` a stream and `REPLY_AGE_NS` old, folded from the headers of its turns.
Refusals are not remembered; submissions and outcomes have rules of their own (engine.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.decider import Accepted, Refused

if TYPE_CHECKING:
    from goclaw_actors.actor import Entity
    from goclaw_actors.message import Message
    from goclaw_events.envelope import Cause

REPLIES_MAX: Final = 1_000
REPLY_AGE_NS: Final = 24 * 3600 * 1_000_000_000


class Known(NamedTuple):
    """A command that was accepted: its body's digest, the answer, and when."""

    digest: bytes | None
    reply: Any
    time_ns: int


def known_reply(entity: Entity, message: Message, now_ns: int) -> Accepted | Refused | None:
    """Return the answer to a command seen before, or None if it is new."""
    known = (entity.replies or {}).get(message.command_id or "")
    if known is None or known.time_ns < now_ns - REPLY_AGE_NS:
        return None
    if known.digest != message.digest:
        text = f"command {message.command_id} was sent before with another body"
        return Refused("command_conflict", text, "use a new command id")
    return Accepted(known.reply[0] if known.reply else "", repeated=True)


def cause_of(message: Message, reply: Any) -> Cause:
    """Return the cause of a turn; that of an accepted command holds the answer.

    A command that was passed on is remembered by whoever answers it.
    """
    if reply is None:
        return message.cause()._replace(command_id=None, digest=None)
    kept = message.command_id is not None and isinstance(reply, Accepted)
    return message.cause(list(reply) if kept else None)


def fold_reply(entity: Entity, cause: Cause, time_ns: int) -> None:
    """Take in the header of a recorded turn."""
    if cause.command_id is None:
        return
    if entity.replies is None:
        entity.replies = {}
    replies = entity.replies
    replies.pop(cause.command_id, None)  # the oldest stands first
    replies[cause.command_id] = Known(cause.digest, cause.reply, time_ns)
    while len(replies) > REPLIES_MAX or _oldest(replies) < time_ns - REPLY_AGE_NS:
        del replies[next(iter(replies))]


def _oldest(replies: dict[str, Known]) -> int:
    return next(iter(replies.values())).time_ns
