"""What surrounds a fact or a message: cause, message record, position, cursor."""

from __future__ import annotations

import base64
import binascii
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

import msgpack

from goclaw_events.errors import EventsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MessageId: TypeAlias = tuple[int, ...]
"""(first, index) within the partition, (source partition, first, index) from another one."""


NEW_TUPLE: Final[Callable[..., Any]] = tuple.__new__
"""Make a `NamedTuple` of its class and all its fields, in half the time that its own call takes.

For what is made for every turn: the class's own `__new__` is Python.
"""

N = TypeVar("N", bound=tuple[Any, ...])


def maker(kind: type[N], fields: int) -> Callable[[tuple[Any, ...]], N]:
    """Return what makes a `NamedTuple` of a tuple of all its fields, as `NEW_TUPLE` does.

    `fields` is how many its user gives. Raises `TypeError`, when the module is imported, where
    the class has another number: who adds a field, default or not, is led to its users.
    """
    known: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]  # of every NamedTuple
    if len(known) != fields:
        msg = f"{kind.__name__} has {len(known)} fields, and is made of {fields}: {known}"
        raise TypeError(msg)
    return partial(NEW_TUPLE, kind)


class Cause(NamedTuple):
    """Why a turn happened. Written once a turn; every field may be None.

    A turn that answered several messages names the first of them.
    `message` is set for a message of an actor; `command_id`, `digest` (of the command's body) and
    `reply` (packed, at most 1 KiB) for a command from outside; `correlation` and `traceparent`
    are handed on from cause to effect.
    """

    message: MessageId | None = None
    command_id: str | None = None
    correlation: str | None = None
    traceparent: str | None = None
    digest: bytes | None = None
    reply: Any = None


class Fact(NamedTuple):
    """A fact as it is stored: `data` holds the positional fields of `type` in `version`."""

    stream: str
    seq: int
    type: str
    version: int
    data: list[Any]


class Turn(NamedTuple):
    """One message handled by one actor: its cause and the facts it recorded, in order."""

    cause: Cause
    facts: list[Fact]


class Told(NamedTuple):
    """A turn as the process that recorded it has it: the facts as objects, from `seq` on."""

    stream: str
    seq: int
    facts: Sequence[Any]


class MessageRecord(NamedTuple):
    """A message between actors as an inbox or outbox row holds it."""

    target: str
    type: str
    version: int
    data: list[Any]
    id: MessageId
    correlation: str | None
    traceparent: str | None


class AttemptRow(NamedTuple):
    """A running attempt: which stream, which try, who holds it.

    `lease_until_ns` is when its lease ends if nobody hears of it: after its heartbeat limit, or 30
    s. It is renewed in memory, by its heartbeats, else as long as its process lives; no row says
    so. That its holder is gone, which another boot of the same node proves, ends it at once.
    """

    token: int
    stream: str
    attempt: int
    holder: str
    lease_until_ns: int


class OpenRow(NamedTuple):
    """Something unfinished: what it waits for (`kind`, `referent`), when it wakes, since when."""

    stream: str
    kind: str
    referent: str
    wake_ns: int
    since_ns: int


class TimerRow(NamedTuple):
    """A timer of a stream: when it is due and its id within the stream."""

    due_ns: int
    stream: str
    id: str


class Position(NamedTuple):
    """A place in the log. Written `partition:number`; a bare number means partition 0."""

    partition: int
    number: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read `partition:number` or `number`; raises `InvalidPosition`."""
        left, colon, right = text.rpartition(":")
        try:
            found = cls(int(left) if colon else 0, int(right))
        except ValueError:
            found = cls(-1, -1)
        if found.partition < 0 or found.number < 0:
            msg = f"{text!r} is not a position"
            raise InvalidPosition(msg, hint="write a number, or partition:number, such as 0:42")
        return found


class InvalidPosition(EventsError):
    """A position or cursor cannot be read."""

    code = "invalid_position"


class Cursor(NamedTuple):
    """Where a reader of the whole log stands: for each partition, its era and last number read."""

    log: bytes
    places: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        packed = msgpack.packb([self.log[:4], *[list(p) for p in self.places]])
        return "c" + base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read the opaque token; raises `InvalidPosition`."""
        try:
            raw = base64.urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4))
            log, *places = msgpack.unpackb(raw)
            return cls(log, tuple((int(era), int(number)) for era, number in places))
        except (ValueError, TypeError, binascii.Error, msgpack.UnpackException) as error:
            msg = f"{text[:40]!r} is not a cursor"
            raise InvalidPosition(msg, hint="pass a cursor as Goclaw printed it") from error


def numbers(cursor: Cursor) -> Mapping[int, int]:
    """Return the last number read of each partition."""
    return {partition: number for partition, (_, number) in enumerate(cursor.places)}
