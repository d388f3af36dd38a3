"""A log that nobody works on as a sight: what the next engine would find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.given_up import given_up
from goclaw_actors.message import from_record
from goclaw_actors.why.sight import LOST
from goclaw_events.frame import message_record
from goclaw_events.tables import attempt_key
from goclaw_events.value import unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_actors.actor import Entity
    from goclaw_actors.task.state import Task
    from goclaw_actors.why.passive import Passive
    from goclaw_events.envelope import TimerRow


class StoredSight:
    """What the durable rows show. Where an engine writes them meanwhile, it is not one moment."""

    def __init__(self, passive: Passive, now_ns: int) -> None:
        self.now_ns = now_ns
        self.moving: dict[str, bool] | None = None
        self._passive = passive
        self._journal = passive.journal
        self._coming: dict[str, list[Any]] | None = None
        self._given_up: set[str] | None = None

    @property
    def partitions(self) -> int:
        """Return how many partitions there are."""
        return self._journal.partitions

    def actor(self, stream: str) -> Entity | None:
        """Return an actor as its durable facts leave it."""
        return self._passive.actor(stream)

    def time_ns(self, stream: str, number: int) -> int:
        """Return when a fact was recorded."""
        return self._passive.time_ns(stream, number)

    def entered_ns(self, stream: str) -> int:
        """Return since when a task is in its state."""
        return self._passive.entered_ns(stream)

    def begun_ns(self, stream: str) -> int:
        """Return when a stream began."""
        return self._passive.begun_ns(stream)

    def coming(self, stream: str) -> Sequence[Any]:
        """Return what stands in the rows of messages that were not handled."""
        if self._coming is None:
            self._coming = {}
            for table in ("inbox", "outbox"):
                for _, value in self._journal.rows(table):
                    message = from_record(message_record(unpack(value)))
                    self._coming.setdefault(message.target, []).append(message.body)
        return self._coming.get(stream, ())

    def has_timer(self, row: TimerRow) -> bool:
        """Tell whether a timer stands in the table."""
        return self._passive.has_timer(row)

    def attempt(self, task: Task) -> str:
        """Return that an attempt was lost with whoever held it, if it is known to run."""
        key = attempt_key(self._passive.partition(task.stream), task.token)
        return "" if self._journal.get("attempts", key) is None else LOST

    def is_given_up(self, stream: str) -> bool:
        """Tell whether an actor was given up."""
        if self._given_up is None:
            partitions = range(self._journal.partitions)
            found = [given_up(self._journal, partition) for partition in partitions]
            self._given_up = {stream for each in found for stream in each.poisoned}
        return stream in self._given_up
