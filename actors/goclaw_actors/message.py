"""A message on its way: what is said, to whom, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.messages import MESSAGES
from goclaw_actors.signalling import COMMAND_OF
from goclaw_actors.spill import spill
from goclaw_events.envelope import NEW_TUPLE, Cause, MessageRecord, Position

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
    `continues` that an actor told itself to go on. `if_version`: the version that the target must
    still have; only who asks from outside says so, so that it is in no row.

    Hundreds of thousands are made a second, most by actors: what only some have is no slot.
    """

    __slots__ = (
        "__dict__", "body", "correlation", "fresh", "id", "target", "traceparent",
    )  # fmt: skip

    continues = False
    row: tuple[int, int] | None = None
    command_id: str | None = None
    digest: bytes | None = None
    if_version: int | None = None
    reply_to: Callable[[Reply], None] | None = None
    timer: TimerRow | None = None
    blobs: dict[bytes, bytes] | None = None

    def __init__(
        self,
        target: str,
        body: Body,
        id: MessageId | None = None,  # noqa: A002 - as the log calls it
        correlation: str | None = None,
        traceparent: str | None = None,
        *,
        fresh: bool = False,
    ) -> None:
        self.target = target
        self.body = body
        self.fresh = fresh
        self.id = id
        self.correlation = correlation
        self.traceparent = traceparent

    def answer_for(self, asked: Message) -> None:
        """Take over from a command who waits for its answer, and how a repeat is known."""
        self.command_id = asked.command_id
        self.digest = asked.digest
        self.reply_to = asked.reply_to

    def cause(self, reply: Any = None) -> Cause:
        """Return the cause that the turn handling this message records."""
        cause: Cause = NEW_TUPLE(
            Cause,
            (self.id, self.command_id, self.correlation, self.traceparent, self.digest, reply),
        )
        return cause

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
    body = MESSAGES.decode(record.type, record.version, record.data)
    message = Message(
        record.target,
        body,
        id=record.id or None,
        correlation=record.correlation,
        traceparent=record.traceparent,
    )
    command = COMMAND_OF.get(type(body))
    if command is not None and getattr(body, command):
        message.command_id, message.digest = getattr(body, command), body.digest
    return message
