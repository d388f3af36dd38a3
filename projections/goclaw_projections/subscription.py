"""Follow the log: every durable fact behind a position, each once, in its partition's order."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause, Cursor, Position
from goclaw_events.errors import CursorFromLostHistory
from goclaw_events.frame import decode_frame
from goclaw_projections.checkpoint import START, Place, is_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from goclaw_events.frame import Frame
    from goclaw_events.journal import Journal

FRAMES_READ_MAX: Final = 64
FACTS_READ_MAX: Final = 4096
_HINT_LOST: Final = "subscribe again from the start, or from where the log now ends"


class Recorded(NamedTuple):
    """A fact as it stands in the log: where, when, of which stream, why, and the fact itself."""

    position: Position
    time_ns: int
    stream: str
    seq: int
    type: str
    fact: Any
    cause: Cause


class Tail:
    """Tell subscribers of one log that more of it is durable. Any thread may call anything."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._subscriptions: tuple[Subscription, ...] = ()

    def notify(self, partition: int, number: int) -> None:
        """Say that `partition` is durable up to `number`. Cheap; the committer's thread calls."""
        for subscription in self._subscriptions:
            subscription.wake(partition, number)

    @property
    def subscriptions(self) -> int:
        """Return how many subscriptions are open."""
        return len(self._subscriptions)

    def end(self) -> Cursor:
        """Return the cursor behind everything that is durable now."""
        places = []
        for partition in range(self._journal.partitions):
            era = self._journal.head(partition).era
            places.append((era, self._journal.durable(partition)))
        return Cursor(self._journal.log_id, tuple(places))

    def subscribe(
        self,
        after: Cursor | Mapping[int, int] | None = None,
        *,
        partitions: Iterable[int] | None = None,
        keep: Callable[[str], bool] | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> Subscription:
        """Return a subscription to the facts behind `after`.

        `after`: a cursor, or the last number read of each partition (None: from the start).
        `partitions`: only these. `keep`: only streams whose name it accepts. `on_ready` is called,
        on whatever thread notifies, once for each time that facts may have come since the last
        `poll`; it must not block. Raises `CursorFromLostHistory`.
        """
        places = self._places(after)
        subscription = Subscription(
            self,
            self._journal,
            places=places,
            partitions=range(self._journal.partitions) if partitions is None else partitions,
            keep=keep,
            on_ready=on_ready,
        )
        with self._lock:
            self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Stop telling a subscription; it calls this itself when it is closed."""
        with self._lock:
            self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)

    def close(self) -> None:
        """Close every subscription: who waits for a fact is told that there is none."""
        for subscription in self._subscriptions:
            subscription.close()

    def _places(self, after: Cursor | Mapping[int, int] | None) -> list[Place]:
        partitions = self._journal.partitions
        if after is None:
            return [START] * partitions
        if not isinstance(after, Cursor):
            eras = [self._journal.head(partition).era for partition in range(partitions)]
            return [Place(era, after.get(partition, 0)) for partition, era in enumerate(eras)]
        if after.log[:4] != self._journal.log_id[:4] or len(after.places) != partitions:
            msg = "the cursor belongs to another log"
            raise CursorFromLostHistory(msg, hint=_HINT_LOST)
        places = [Place(*place) for place in after.places]
        for partition, place in enumerate(places):
            if is_lost(self._journal, partition, place):
                msg = f"the cursor stands at {partition}:{place.number}, which was given up"
                raise CursorFromLostHistory(
                    msg, hint=_HINT_LOST, partition=partition, number=place.number
                )
        return places


class Subscription:
    """Read facts at one's own pace; a slow reader lags, nothing is dropped.

    One thread reads at a time; `close` may be called from any other.
    """

    def __init__(
        self,
        tail: Tail,
        journal: Journal,
        *,
        places: list[Place],
        partitions: Iterable[int],
        keep: Callable[[str], bool] | None,
        on_ready: Callable[[], None] | None,
    ) -> None:
        self._tail = tail
        self._journal = journal
        self._read = places
        self._given = list(places)
        self._partitions = sorted(set(partitions))
        self._keep = keep
        self._on_ready = on_ready
        self._ready = threading.Event()
        self._buffer: deque[tuple[Recorded, int]] = deque()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Tell whether the subscription was closed: no fact will come."""
        return self._closed

    @property
    def cursor(self) -> Cursor:
        """Return the cursor behind the last fact handed out; subscribing there continues."""
        places = self._given if self._buffer else self._read
        return Cursor(self._journal.log_id, tuple((place.era, place.number) for place in places))

    def wake(self, partition: int, number: int) -> None:
        """Note that a partition is durable up to `number`; the tail calls this."""
        if self._ready.is_set() or partition not in self._partitions:
            return
        if self._read[partition].number < number:
            self._ready.set()
            if self._on_ready is not None:
                self._on_ready()

    def poll(self, limit: int = FACTS_READ_MAX) -> list[Recorded]:
        """Return up to `limit` facts that are there now, without waiting.

        Call it until it returns none, then wait for `on_ready`. A log that cannot be read raises
        `LogDamaged` or `UnknownType`.
        """
        found: list[Recorded] = []
        while not self._closed and len(found) < limit and (self._buffer or self._fill()):
            recorded, era = self._buffer.popleft()
            self._given[recorded.position.partition] = Place(era, recorded.position.number)
            found.append(recorded)
        return found

    def next(self, timeout_s: float | None = None) -> Recorded | None:
        """Return the next fact; None after `timeout_s` (None: wait) or once closed."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._closed:
            found = self.poll(1)
            if found:
                return found[0]
            left_s = None if deadline is None else deadline - time.monotonic()
            if (left_s is not None and left_s <= 0) or not self._ready.wait(left_s):
                return None
        return None

    def __iter__(self) -> Iterator[Recorded]:
        """Yield facts, waiting for each, until the subscription is closed."""
        while (recorded := self.next()) is not None:
            yield recorded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the subscription: `next` returns None, iteration ends. Idempotent."""
        if not self._closed:
            self._closed = True
            self._tail.forget(self)
            self._ready.set()
            if self._on_ready is not None:
                self._on_ready()

    def _fill(self) -> bool:
        """Read frames into the buffer; tell whether a fact came. Clears `ready` before it looks."""
        while True:
            self._ready.clear()
            if self._closed:
                self._ready.set()
                return False
            behind = [p for p in self._partitions if self._is_behind(p)]
            for partition in behind:
                self._read_partition(partition)
            if self._buffer or not behind:
                return bool(self._buffer)

    def _is_behind(self, partition: int) -> bool:
        return self._read[partition].number < self._journal.durable(partition)

    def _read_partition(self, partition: int) -> None:
        start = self._read[partition].number + 1
        for count, data in enumerate(self._journal.frames(partition, start), 1):
            frame = decode_frame(data, check=False)
            self._take(frame, start)
            self._read[partition] = Place(frame.header.era, frame.last)
            if count >= FRAMES_READ_MAX or len(self._buffer) >= FACTS_READ_MAX:
                return

    def _take(self, frame: Frame, start: int) -> None:
        header, keep = frame.header, self._keep
        for number, cause, fact in frame.facts():
            if number >= start and (keep is None or keep(fact.stream)):
                said = FACTS.decode(fact.type, fact.version, fact.data)
                position = Position(header.partition, number)
                recorded = Recorded(
                    position, header.time_ns, fact.stream, fact.seq, fact.type, said, cause
                )
                self._buffer.append((recorded, header.era))
