"""Actors as a log has them, without anybody who works on it: they are loaded, never told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.actor import Entity
from goclaw_actors.rebuild import Unheard, load
from goclaw_actors.recent import RecentFrames
from goclaw_events.codec import FACTS
from goclaw_events.errors import HistoryExpired
from goclaw_events.facts import (
    AttemptReturned,
    OutcomeRefused,
    ProgressReported,
    SignalAccepted,
    SignalConsumed,
    SignalEnded,
    StateSaved,
    StepRecorded,
    StepsUnused,
    TaskAdjusted,
    TaskMoved,
)
from goclaw_events.frame import read_header
from goclaw_events.ids import kind_of, partition_of
from goclaw_events.tables import timer_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goclaw_actors.decider import Decider
    from goclaw_events.envelope import TimerRow
    from goclaw_events.journal import Journal

TURNS_MAX: Final = 32
ASIDE: Final = frozenset(
    {
        AttemptReturned, OutcomeRefused, ProgressReported, SignalAccepted, SignalConsumed,
        SignalEnded, StateSaved, StepRecorded, StepsUnused, TaskAdjusted, TaskMoved,
    }
)  # fmt: skip
"""Facts of a task that leave it in the state that it is in."""
_ASIDE_NAMES: Final = frozenset(FACTS.names[cls].name for cls in ASIDE)
KEPT_MAX: Final = 10_000
"""So many actors are kept loaded for one answer; then it begins anew."""


class Passive:
    """Read a journal, keeping what was read: for one answer, or a slice of them."""

    def __init__(self, journal: Journal, kinds: Mapping[str, Decider[Any]]) -> None:
        self.journal = journal
        self._kinds = kinds
        self._known: dict[str, Entity | None] = {}
        self._times: dict[tuple[int, int], int] = {}
        self._recent = RecentFrames()

    def partition(self, stream: str) -> int:
        """Return the partition that owns a stream."""
        return partition_of(stream, self.journal.partitions)

    def keep(self, entity: Entity) -> None:
        """Take in an actor that was read before, and has no newer facts."""
        self._known[entity.stream] = entity

    def actor(self, stream: str, flying: Sequence[bytes] = ()) -> Entity | None:
        """Return an actor as its facts leave it, those of the frames `flying` included.

        None where it has none, or they were given up. Raises what reading them raises.
        """
        if stream in self._known:
            return self._known[stream]
        if len(self._known) >= KEPT_MAX:
            self._known.clear()
        entity = Entity(stream, self._kinds[kind_of(stream)], Unheard())
        try:
            load(entity, self.journal, self.partition(stream), flying, None, 0, self._recent)
        except HistoryExpired:
            entity.seq = 0
        found = self._known[stream] = entity if entity.seq else None
        return found

    def time_ns(self, stream: str, number: int) -> int:
        """Return when a durable fact was recorded; 0: it cannot be read any more."""
        place = (self.partition(stream), number)
        if place not in self._times:
            if len(self._times) >= KEPT_MAX:
                self._times.clear()
            self._times[place] = self._time_ns(*place)
        return self._times[place]

    def _time_ns(self, partition: int, number: int) -> int:
        try:
            for frame in self.journal.frames(partition, number, number):
                return read_header(frame).time_ns
        except HistoryExpired:
            return 0
        return 0

    def entered_ns(self, stream: str) -> int:
        """Return since when a task is in the state in which its durable facts leave it.

        0 where so much was said to it meanwhile that it is not looked for.
        """
        partition, found_ns = self.partition(stream), 0
        first = max(1, self.journal.last_seq(partition, stream) - TURNS_MAX)
        try:
            frames = self.journal.stream_frames(partition, stream, first)
            for at, (_, data) in enumerate(frames):
                for turn in self._recent.turns(data, stream, at):
                    if any(fact.type not in _ASIDE_NAMES for fact in turn.facts):
                        found_ns = turn.time_ns
        except HistoryExpired:
            return 0
        return found_ns

    def begun_ns(self, stream: str) -> int:
        """Return when the first durable fact of a stream was recorded; 0: not known."""
        try:
            for _, frame in self.journal.stream_frames(self.partition(stream), stream):
                return read_header(frame).time_ns
        except HistoryExpired:
            return 0
        return 0

    def has_timer(self, row: TimerRow) -> bool:
        """Tell whether a timer stands in the table."""
        return self.journal.get("timers", timer_key(self.partition(row.stream), row)) is not None
