"""Archive and give up what is old while an engine runs: step by step, on a thread of its own."""

from __future__ import annotations

import functools
import threading
from logging import getLogger
from typing import TYPE_CHECKING, Final

from goclaw.expiry import Expirer
from goclaw.housekeeping import Housekeeping
from goclaw_actors.archiving import Archiver, number_before
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.env import SystemClock
from goclaw_actors.errors import Stopping
from goclaw_events.errors import CodedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw.config import Settings
    from goclaw_actors.archiving import Post
    from goclaw_actors.node import Node
    from goclaw_events.rocks import RocksJournal

log = getLogger(__name__)
FORGET_EVERY_S: Final = 3600.0
STOP_S: Final = 30.0
"""A segment that is being written when the engine stops is waited for so long."""


class Retention:
    """Keep to the settings of `retention`. Made, started and stopped by the engine.

    `emitted_bytes` says how much tasks emitted since the start.
    What fails is logged and tried again at the next look; the engine goes on.
    """

    def __init__(self, house: Housekeeping, emitted_bytes: Callable[[], int]) -> None:
        self.house = house
        self.archiver = house.archiver
        self.expirer = house.expirer
        self._settings = house.settings
        self._journal = house.journal
        self._clock = house.clock
        self._stopping = threading.Event()
        self._told = ""
        self._forget_at_ns = 0
        self._emitted_bytes = emitted_bytes
        self._output_max = 0
        """Look how much output there is once so much was emitted."""
        self._thread = threading.Thread(target=self._run, name="goclaw-retention", daemon=True)

    def start(self) -> None:
        """Look for what is old, from now on; does nothing if nothing is archived or forgotten."""
        settings = self._settings
        wanted = (settings.archive_after_s, settings.run_id_retention_s, settings.output_s,
                  settings.output_bytes_max)  # fmt: skip
        if any(limit is not None for limit in wanted):
            self._thread.start()

    def stop(self) -> None:
        """End after the step that is being taken. Idempotent."""
        self._stopping.set()
        self.archiver.stop()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._stopping.wait(self._settings.check_every_s):
            for partition in range(self._journal.partitions):
                self._take(functools.partial(self._look, partition))
            self._take(self.forget_step)
            self._take(self.bound_step)

    def _look(self, partition: int) -> None:
        while not self._stopping.is_set() and self.archive_step(partition):
            pass
        self.expire_step(partition)

    def _take(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Stopping:
            return
        except CodedError as error:
            if error.code != self._told:
                self._told = error.code
                extra = {"action": "retention_failed", "code": error.code}
                log.warning("old facts are kept: %s", error, extra=extra)
        else:
            self._told = ""

    def archive_step(self, partition: int) -> bool:
        """Archive one segment if enough is old; tell whether another one may follow."""
        settings = self._settings
        if settings.archive_after_s is None:
            return False
        floor = self._journal.floor(partition)
        old = self._number_at(partition, settings.archive_after_s, floor)
        if old - floor < settings.archive_facts_min:
            return False
        before = min(old, floor + settings.archive_facts_max)
        info = self.archiver.archive(partition, before) or self.archiver.archive(partition, old)
        return info is not None and info.last + 1 < old

    def expire_step(self, partition: int) -> None:
        """Give up the segments that are old enough, as far as no unfinished run needs them."""
        age_s = self._settings.expire_after_s
        if age_s is not None:
            old = self._number_at(partition, age_s, self._journal.history(partition))
            plan = self.expirer.plan(partition, old)
            if plan is not None:
                self.expirer.expire(plan)

    def forget_step(self) -> None:
        """Forget runs and output, once in a while: all that is kept of either is read for it."""
        now_ns = self._clock.now_ns()
        if now_ns >= self._forget_at_ns:
            self._forget_at_ns = now_ns + int(FORGET_EVERY_S * 1e9)
            count = self.house.forget()
            if count:
                extra = {"action": "runs_forgotten", "runs": count}
                log.info("forgot the ids of %d runs", count, extra=extra)
            self.house.forget_output()

    def bound_step(self) -> None:
        """Delete the oldest output where there is too much: counted at first, then if it may be."""
        bytes_max = self._settings.output_bytes_max
        emitted = self._emitted_bytes()
        if bytes_max is not None and (emitted > self._output_max or not self._output_max):
            left = self.house.bound_output()
            self._output_max = emitted + max(1, bytes_max - left)

    def _number_at(self, partition: int, age_s: float, least: int) -> int:
        return number_before(
            self._journal, partition, self._clock.now_ns() - int(age_s * 1e9), least
        )


def housekeeping_of(
    journal: RocksJournal, node: Node, post: Post, settings: Settings
) -> Housekeeping:
    """Return what keeps house in the log of a node, whether that runs or stands by."""
    kinds = deciders(StoredContents(journal))  # of its own: this is another thread than the node's
    archiver = Archiver(journal, node, kinds, post)
    expirer = Expirer(journal, archiver, kinds)
    clock = SystemClock(max(journal.head(p).time_ns for p in range(journal.partitions)))
    return Housekeeping(journal, archiver, expirer, clock, settings.retention)
