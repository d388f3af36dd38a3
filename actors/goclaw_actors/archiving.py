"""Archive what a partition has behind it: snapshots, a sealed segment, a fact, then the deletion.

There is one way, whether an engine runs or a node only stands by. Every step is found done, or
is done again, by whoever comes after a crash: a segment without its fact is sealed anew, a fact
without its deletion is completed when the log is opened, and here.
"""

from __future__ import annotations

import threading
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.alive import active_tasks, alive, needs_snapshot
from goclaw_actors.errors import Stopping
from goclaw_events.facts import SegmentSealed
from goclaw_events.frame import read_header
from goclaw_events.ids import OWNERS, kind_of
from goclaw_events.rocks.archiving import STEPS as DROP_STEPS
from goclaw_events.rocks.archiving import drop_archived
from goclaw_events.segments.sealing import STEPS as SEAL_STEPS
from goclaw_events.segments.sealing import seal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw_actors.decider import Decider, Send
    from goclaw_actors.node import Node
    from goclaw_events.errors import CodedError
    from goclaw_events.journal import Done, Journal
    from goclaw_events.rocks import RocksJournal
    from goclaw_events.segments.records import SegmentInfo

    Post = Callable[[Callable[[Any], None], Any], None]

log = getLogger(__name__)
WAIT_S: Final = 0.1
STEPS: Final = (
    "snapshots",
    "seal",
    *(f"seal.{name}" for name in SEAL_STEPS),
    "record",
    "drop",
    *(f"drop.{name}" for name in DROP_STEPS),
    "dropped",
)
"""Between these something may be killed; a test does."""


def _no_step(_: str) -> None:
    return


class Archiver:
    """Archive prefixes of a log's partitions. Not for the dispatchers' thread: every call blocks.

    `post` has a function called on the dispatchers' thread. `step` is told of each of `STEPS`
    before it is taken.
    """

    def __init__(
        self,
        journal: RocksJournal,
        node: Node,
        kinds: Mapping[str, Decider[Any]],
        post: Post,
        step: Callable[[str], None] = _no_step,
    ) -> None:
        self._journal = journal
        self._node = node
        self._kinds = kinds
        self._post = post
        self.step = step
        self._stopped: CodedError | None = None
        self.busy = threading.Lock()
        """Held by whoever changes what is archived."""

    def stop(self, error: CodedError | None = None) -> None:
        """Have whoever waits for the dispatchers hear an error (None: `Stopping`), from now on."""
        if self._stopped is None:
            hint = "what was begun is completed at the next start"
            self._stopped = error or Stopping("the engine is stopping", hint=hint)

    def check(self) -> None:
        """Raise what `stop` was given, once it was called."""
        if self._stopped is not None:
            raise self._stopped

    def archive(self, partition: int, before: int) -> SegmentInfo | None:
        """Seal everything of a partition below `before`, a frame not cut; None: that is nothing.

        Raises what reading and writing the log raises, `SnapshotMissing`, `Stopping`. One caller
        at a time gets in.
        """
        with self.busy:
            return self._archive(partition, before)

    def _drop(self, partition: int) -> None:
        drop_archived(self._journal, partition, step=lambda name: self.step(f"drop.{name}"))

    def _archive(self, partition: int, before: int) -> SegmentInfo | None:
        self._drop(partition)
        stop = boundary(self._journal, partition, before)
        if stop <= self._journal.floor(partition):
            return None
        self.step("snapshots")
        self._require_snapshots(partition, stop)
        self.step("seal")
        info = seal(self._journal, partition, stop, step=lambda name: self.step(f"seal.{name}"))
        self.step("record")
        self.record(partition, SegmentSealed(*info))
        self.step("drop")
        self._drop(partition)
        self.step("dropped")
        extra = {"action": "segment_sealed", "segment": info.name, "facts": info.facts}
        log.info("archived %d:%d to %d", partition, info.first, info.last, extra=extra)
        return info

    def _require_snapshots(self, partition: int, stop: int) -> None:
        journal, kinds = self._journal, self._kinds
        found = alive(journal, kinds, partition)
        for stream in [each for each in found if kind_of(each) in OWNERS]:
            found.update(active_tasks(journal, kinds, stream, stop))
        streams = [s for s in sorted(found) if needs_snapshot(journal, partition, s, stop)]
        if streams:
            dispatcher = self._node.dispatchers[partition]
            self._await(lambda done: dispatcher.require_snapshots(streams, stop, done))

    def record(self, partition: int, fact: Any, *sends: Send) -> None:
        """Record a fact on `$partition`, and say something with it; returns when it is durable."""
        dispatcher = self._node.dispatchers[partition]
        self._await(lambda done: dispatcher.record([fact], done, sends))

    def _await(self, ask: Callable[[Done], None]) -> None:
        """Ask the dispatchers for something, and wait until it is durable."""
        heard = threading.Event()
        told: list[CodedError | None] = []

        def done(error: CodedError | None) -> None:
            told.append(error)
            heard.set()

        self._post(ask, done)
        while not heard.wait(WAIT_S):
            self.check()
        if told[0] is not None:
            raise told[0]


def boundary(journal: Journal, partition: int, before: int) -> int:
    """Return the largest number that begins a frame, or ends the log, and is at most `before`."""
    before = min(before, journal.durable(partition) + 1)
    if before <= 1:
        return 1
    for data in journal.frames(partition, before - 1, before - 1):
        header = read_header(data)
        after = header.first + header.facts_count
        return after if after <= before else header.first
    return 1


def number_before(journal: Journal, partition: int, time_ns: int, least: int) -> int:
    """Return the first number that was recorded at `time_ns` or later; not below `least`.

    Times never go back within a partition, so half of what is left is ruled out at each look.
    """
    low, high = least, journal.durable(partition) + 1
    while low < high:
        middle = (low + high) // 2
        header = read_header(next(iter(journal.frames(partition, middle, middle))))
        if header.time_ns < time_ns:
            low = header.first + header.facts_count
        else:
            high = min(middle, header.first)
    return max(low, least)
