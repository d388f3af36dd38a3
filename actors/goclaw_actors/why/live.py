"""A node at work as a sight: its live actors, what waits in inboxes, and what is being written.

Made and asked on the node's thread, between two batches: what it shows is one moment. What is not
durable yet is part of it, so an answer may leave only once that is: `Node.when_durable`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from goclaw_actors.message import from_record
from goclaw_actors.why.passive import ASIDE
from goclaw_actors.why.sight import STARTING
from goclaw_actors.work import AttemptToken
from goclaw_events.ids import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from goclaw_actors.actor import Entity
    from goclaw_actors.dispatcher import Dispatcher
    from goclaw_actors.message import Message
    from goclaw_actors.task.state import Task
    from goclaw_actors.why.passive import Passive
    from goclaw_events.envelope import TimerRow


class LiveSight:
    """What the dispatchers of a node show. `place_of` says where the executor has an attempt."""

    def __init__(
        self,
        dispatchers: Sequence[Dispatcher],
        passive: Passive,
        place_of: Callable[[AttemptToken], str],
        now_ns: int,
        *,
        brief: bool = False,
    ) -> None:
        self.now_ns = now_ns
        self.moving: dict[str, bool] | None = {} if brief else None
        self._dispatchers = dispatchers
        self._passive = passive
        self._place_of = place_of
        self._coming: dict[str, list[Any]] | None = None

    @property
    def partitions(self) -> int:
        """Return how many partitions there are."""
        return len(self._dispatchers)

    def _of(self, stream: str) -> Dispatcher:
        return self._dispatchers[partition_of(stream, len(self._dispatchers))]

    def actor(self, stream: str) -> Entity | None:
        """Return the live actor, or one of one's own; nothing is activated."""
        turns = self._of(stream).turns
        live = turns.directory.live.get(stream)
        if live is not None and live.state is not None:
            return live if live.seq else None
        flying = [
            batch.frame.data
            for batch in turns.in_flight
            if batch.frame is not None and stream in batch.builder.streams
        ]
        return self._passive.actor(stream, flying)

    def time_ns(self, stream: str, number: int) -> int:
        """Return when a fact was recorded, or will have been."""
        if self.moving is not None:
            return 0
        for batch in reversed(self._of(stream).turns.in_flight):
            if batch.builder.first <= number:
                return batch.now_ns
        return self._passive.time_ns(stream, number)

    def entered_ns(self, stream: str) -> int:
        """Return since when a task is in its state."""
        if self.moving is not None:
            return 0
        for batch in reversed(self._of(stream).turns.in_flight):
            told = (fact for turn in batch.builder.told if turn.stream == stream
                    for fact in turn.facts)  # fmt: skip
            if any(type(fact) not in ASIDE for fact in told):
                return batch.now_ns
        return self._passive.entered_ns(stream)

    def begun_ns(self, stream: str) -> int:
        """Return when a stream began."""
        if self.moving is not None:
            return 0
        begun_ns = self._passive.begun_ns(stream)
        flying = (b for b in self._of(stream).turns.in_flight if stream in b.builder.streams)
        return begun_ns or next((batch.now_ns for batch in flying), 0)

    def coming(self, stream: str) -> Sequence[Any]:
        """Return what is in an inbox, waits to be taken in, or is on its way to the partition."""
        if self._coming is None:
            self._coming = {}
            for target, body in self._under_way():
                self._coming.setdefault(target, []).append(body)
        return self._coming.get(stream, ())

    def _under_way(self) -> Iterator[tuple[str, Any]]:
        for dispatcher in self._dispatchers:
            waiting: Iterator[Message] = chain(dispatcher.turns.undelivered(), dispatcher.commands)
            for message in waiting:
                yield message.target, message.body
            flying = (b.builder.out for b in dispatcher.turns.in_flight)
            sent = [records for out in flying for _, _, records in out]
            for records in chain(sent, (each[2] for each in dispatcher.exchange.waiting)):
                for record in records:
                    yield record.target, from_record(record).body

    def has_timer(self, row: TimerRow) -> bool:
        """Tell whether a timer is set: it is armed, or its minute has not come."""
        dispatcher = self._of(row.stream)
        for batch in reversed(dispatcher.turns.in_flight):
            if row in batch.builder.timers_removed:
                return False
            if row in batch.builder.timers_added:
                return True
        return dispatcher.timers.will_fire(row) and self._passive.has_timer(row)

    def attempt(self, task: Task) -> str:
        """Return where an attempt is: with the executor, or about to be."""
        dispatcher = self._of(task.stream)
        token = AttemptToken(dispatcher.partition, dispatcher.turns.era, task.token)
        for batch in dispatcher.turns.in_flight:
            if any(start.token == token for start in batch.starts):
                return STARTING
        return self._place_of(token)

    def is_given_up(self, stream: str) -> bool:
        """Tell whether an actor was given up."""
        return stream in self._of(stream).turns.bugs.poisoned
