"""A message on its way: what is said, to whom, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.messages import MESSAGES
from goclaw_actors.spill import spill
from goclaw_events.envelope import Cause, MessageRecord, Position

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.decider import Accepted, Body, Refused
    from goclaw_events.envelope import MessageId, TimerRow

MESSAGE_VALUE_BYTES_MAX: Final = 512


class Reply(NamedTuple):
    """The answer to a command, given only when what it says is durable."""

    answer: Accepted | Refused
    position: Position | None


class Message:
    """A message with its cause.

    `row` is its inbox row, if it has one; `timer` the timer that fired it; both go when it is
    handled. `fresh` says that the target cannot have a stream yet, so none is looked for;
    `continues` that an actor told itself to go on.
    """

    __slots__ = (
        "blobs", "body", "command_id", "continues", "correlation", "digest", "fresh", "id",
        "reply_to", "row", "target", "timer", "traceparent",
    )  # fmt: skip

    def __init__(self, target: str, body: Body, *, fresh: bool = False) -> None:
        self.target = target
        self.body = body
        self.fresh = fresh
        self.continues = False
        self.id: MessageId | None = None
        self.command_id: str | None = None
        self.correlation: str | None = None
        self.traceparent: str | None = None
        self.digest: bytes | None = None
        self.reply_to: Callable[[Reply], None] | None = None
        self.row: tuple[int, int] | None = None
        self.timer: TimerRow | None = None
        self.blobs: dict[bytes, bytes] | None = None

    def cause(self, reply: Any = None) -> Cause:
        """Return the cause that the turn handling this message records."""
        return Cause(
            self.id, self.command_id, self.correlation, self.traceparent, self.digest, reply
        )

    def record(self, blobs: dict[bytes, bytes]) -> MessageRecord:
        """Return the message as an inbox or outbox row holds it; its larger values go to `blobs`.

        So a frame holds as many messages as a batch may leave.
        """
        name, version = MESSAGES.names[type(self.body)]
        body = spill(self.body, blobs, MESSAGE_VALUE_BYTES_MAX)
        return MessageRecord(
            self.target,
            name,
            version,
            list(body),
            self.id or (),
            self.correlation,
            self.traceparent,
        )


def from_record(record: MessageRecord) -> Message:
    """Return the message that a row holds; raises `UnknownType`."""
    message = Message(record.target, MESSAGES.decode(record.type, record.version, record.data))
    message.id = record.id or None
    message.correlation = record.correlation
    message.traceparent = record.traceparent
    return message
