"""The failed messages of a partition that nobody has seen to: each is seen to once.

Whoever has one said once more, or puts it away, found its row; somebody else may have done so in
the same moment. The dispatcher, which alone writes the partition, decides who was first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.decider import Send
from goclaw_actors.errors import NotParked
from goclaw_actors.messages import MESSAGES
from goclaw_events.facts import MessageSettled
from goclaw_events.tables import u16, u64
from goclaw_events.value import BlobRef, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from goclaw_events.facts import MessageFailed
    from goclaw_events.journal import Journal


def said_again(failed: MessageFailed, journal: Journal) -> Send:
    """Return a parked message as a new one.

    Raises `BlobMissing`, and `UnknownType` of one that could not be stored: its text is known.
    """
    kept: Any = failed.message
    said = unpack(journal.blob(kept)) if isinstance(kept, BlobRef) else kept
    body = MESSAGES.decode(failed.message_type, failed.message_version, said)
    return Send(failed.target, body)


class Parked:
    """Say which parked messages may be settled. A row goes when its batch is written, not before.

    What was settled since the log was opened is kept by its number: bugs are few.
    """

    def __init__(self, journal: Journal, partition: int) -> None:
        self._journal = journal
        self._partition = partition
        self._settled: set[int] = set()

    def clear(self) -> None:
        """Begin anew, by the rows: the batches that settled may have been abandoned."""
        self._settled.clear()

    def settle(self, facts: Iterable[object]) -> NotParked | None:
        """Take note of what facts settle that are to be recorded.

        Return the refusal if such a message is parked no more: then they may not be recorded.
        """
        numbers = [fact.number for fact in facts if isinstance(fact, MessageSettled)]
        for number in numbers:
            key = u16(self._partition) + u64(number)
            if number in self._settled or not any(self._journal.rows("parked", key)):
                msg = f"no message is parked at {self._partition}:{number}"
                return NotParked(msg, hint="somebody else saw to it")
        self._settled.update(numbers)
        return None
