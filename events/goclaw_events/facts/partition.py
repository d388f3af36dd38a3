"""What happened to a partition itself. Stream `$partition`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from goclaw_events.value import Value


class Marked(NamedTuple):
    """Hold the number of a frame that has no fact of an actor."""


class PartitionOpened(NamedTuple):
    """A process took the partition over: it is the single writer from here on."""

    node: str
    boot: str
    version: str


class PartitionClosed(NamedTuple):
    """The process that held the partition stopped as it was asked to; nothing comes after it."""

    node: str
    boot: str


class MessageFailed(NamedTuple):
    """Handling a message raised: what it had produced was discarded, the message is parked."""

    target: str
    target_seq: int
    message_type: str
    message_version: int
    message: Value
    code: str
    trace: str


class MessageSettled(NamedTuple):
    """Somebody saw to a parked message, by the number of its `MessageFailed`: it is parked no more.

    `how`: `redelivered` (it is said once more, as a new message of the same frame), `discarded`.
    """

    number: int
    how: str
    reason: str
    by: str


class StreamPoisoned(NamedTuple):
    """A stream cannot go on: its own decider was not asked."""

    stream: str
    code: str
    message: str


class SegmentSealed(NamedTuple):
    """The facts numbered `first` to `last` stand in the segment file `name`, read back and whole.

    `frames`, `facts` and `file_bytes` count what it holds, `digest` covers all of it,
    `last_hash` is that of its last frame; `ended` counts the runs with nothing above it.
    """

    name: str
    first: int
    last: int
    frames: int
    facts: int
    file_bytes: int
    digest: bytes
    last_hash: bytes
    ended: int


class SegmentsExpired(NamedTuple):
    """The facts numbered below `below` were given up; `baseline` holds what they came to.

    `digest` covers that file; `runs` counts the runs that lost history.
    """

    below: int
    baseline: str
    digest: bytes
    runs: int


PartitionFact: TypeAlias = (
    Marked
    | PartitionOpened
    | PartitionClosed
    | MessageFailed
    | MessageSettled
    | StreamPoisoned
    | SegmentSealed
    | SegmentsExpired
)
